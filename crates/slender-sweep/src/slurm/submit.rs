//! Submitting what is missing, and knowing what is already in the queue.
//!
//! What was submitted is written to `slurm/jobs.jsonl` of the sweep directory, for `cancel` and for
//! the reasons that accounting knows. It is not what `resume` relies on: a process killed between
//! `sbatch` and the record would make it forget a job. The sweep's jobs are known by their name,
//! which holds the sweep's id and the offset of their numbers.

use crate::claim::{Locked, lock, token};
use crate::error::SweepError;
use crate::files::{check_format, io, read_optional, write_atomic};
use crate::holder::unix_time;
use crate::slurm::queue::{Element, QueueEntry};
use crate::slurm::script::ranges;
use crate::slurm::{SlurmClient, SlurmSettings, SlurmWork, job_prefix, sbatch_scripts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Format name and version of `slurm/jobs.jsonl`.
pub const SLURM_JOBS_FORMAT: &str = "slender-slurm-jobs/1";

/// How long another process may take to submit.
const SUBMITTING: Duration = Duration::from_secs(120);

/// One job array that was submitted; a line of `slurm/jobs.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submission {
    /// Number of the array.
    pub job: String,
    /// What is added to an element's number to get a run's place in `sweep.json`.
    pub offset: u32,
    /// Places of the runs, ascending; empty for a search's workers.
    pub indices: Vec<u32>,
    /// The script, relative to the sweep directory.
    pub script: PathBuf,
    /// Unix time.
    pub at: u64,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    id: String,
}

/// What a sweep directory knows of its jobs: the id that is in their names, and the submissions.
///
/// # Errors
/// An unreadable file or an unknown version.
pub fn submissions(dir: &Path) -> Result<Option<(String, Vec<Submission>)>, SweepError> {
    let path = jobs_file(dir);
    let Some(text) = read_optional(&path)? else {
        return Ok(None);
    };
    let mut lines = text.lines();
    let head: serde_json::Value = lines
        .next()
        .and_then(|line| serde_json::from_str(line).ok())
        .unwrap_or_default();
    let format = head.get("format").and_then(serde_json::Value::as_str);
    check_format(&path, format, SLURM_JOBS_FORMAT)?;
    let id = head.get("id").and_then(serde_json::Value::as_str);
    let submitted = lines.filter_map(|line| serde_json::from_str(line).ok());
    Ok(Some((
        id.unwrap_or_default().to_owned(),
        submitted.collect(),
    )))
}

/// Jobs of the sweep that Slurm may still run, by the place of their run in `sweep.json`.
pub fn cover(queue: &[QueueEntry], prefix: &str) -> BTreeMap<u32, QueueEntry> {
    let mut covered = BTreeMap::new();
    for entry in queue.iter().filter(|entry| entry.is_live()) {
        let offset = entry
            .name
            .strip_prefix(prefix)
            .and_then(|rest| rest.strip_prefix('.'));
        if let Some(offset) = offset.and_then(|offset| offset.parse::<u32>().ok()) {
            covered.insert(offset.saturating_add(entry.element.task), entry.clone());
        }
    }
    covered
}

/// What Slurm says became of the last element of each run, in its words.
pub fn end_hints(client: &SlurmClient, submitted: &[Submission]) -> BTreeMap<u32, String> {
    let arrays: Vec<String> = submitted.iter().map(|each| each.job.clone()).collect();
    let known = client.endings(&arrays);
    let mut hints = BTreeMap::new();
    for each in submitted {
        for index in &each.indices {
            let element = Element {
                array: each.job.clone(),
                task: index - each.offset,
            };
            if let Some(words) = known.get(&element) {
                let Element { array, task } = element;
                hints.insert(*index, format!("Slurm {array}_{task}: {words}"));
            }
        }
    }
    hints
}

/// Submits the runs at `wanted` places, without those that Slurm may still run, and records it.
/// `work` says all but the places and the prefix; `name` is the sweep's. A search's workers are
/// submitted if none of them is left.
///
/// Returns what was submitted, and how many of the wanted are in the queue already.
///
/// # Errors
/// [`SweepError::Slurm`], also if the queue cannot be read: then nothing is submitted.
pub fn submit(
    client: &SlurmClient,
    settings: &SlurmSettings,
    mut work: SlurmWork,
    name: &str,
    wanted: &[u32],
) -> Result<(Vec<Submission>, usize), SweepError> {
    let folder = work.dir.join("slurm");
    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs).map_err(|source| io("create", &logs, source))?;
    let _lock = submit_lock(&folder)?;
    let id = match submissions(&work.dir)? {
        Some((id, _)) => id,
        None => {
            let id = token()[..8].to_owned();
            let head = serde_json::to_string(&Head {
                format: SLURM_JOBS_FORMAT.into(),
                id: id.clone(),
            });
            let text = head.unwrap_or_default() + "\n";
            write_atomic(&jobs_file(&work.dir), text.as_bytes())?;
            id
        }
    };
    work.prefix = job_prefix(name, &id);
    let queue = client.queue()?;
    let covered = cover(&queue, &work.prefix);
    // What Slurm holds for good would start beside its successor if someone released it.
    let own = |entry: &&QueueEntry| entry.is_given_up() && entry.name.starts_with(&work.prefix);
    let given_up: Vec<String> = (queue.iter().filter(own))
        .map(|entry| format!("{}_{}", entry.element.array, entry.element.task))
        .collect();
    client.cancel(&given_up)?;
    let search = wanted.is_empty();
    let live = wanted
        .iter()
        .filter(|index| covered.contains_key(index))
        .count();
    if search && !covered.is_empty() {
        return Ok((Vec::new(), covered.len()));
    }
    work.indices = wanted
        .iter()
        .copied()
        .filter(|index| !covered.contains_key(index))
        .collect();
    if work.indices.is_empty() && !search {
        return Ok((Vec::new(), live));
    }
    let mut submitted = Vec::new();
    for array in sbatch_scripts(&work, settings, client.max_array_size()) {
        let script = PathBuf::from("slurm").join(format!("{}-{}.sbatch", unix_time(), token()));
        write_atomic(&work.dir.join(&script), array.text.as_bytes())?;
        let job = client.sbatch(&work.dir.join(&script));
        if job.is_err() {
            let _ = std::fs::remove_file(work.dir.join(&script));
        }
        let submission = Submission {
            job: job?,
            offset: array.offset,
            indices: array.indices,
            script,
            at: unix_time(),
        };
        record(&work.dir, &submission)?;
        submitted.push(submission);
    }
    Ok((submitted, live))
}

fn record(dir: &Path, submission: &Submission) -> Result<(), SweepError> {
    let path = jobs_file(dir);
    let write = || -> std::io::Result<()> {
        let mut file = File::options().append(true).open(&path)?;
        let line = serde_json::to_string(submission)? + "\n";
        file.write_all(line.as_bytes())?;
        file.sync_data()
    };
    write().map_err(|source| io("write", &path, source))
}

/// One process at a time looks into the queue and submits.
fn submit_lock(folder: &Path) -> Result<Option<File>, SweepError> {
    let path = folder.join("submit.lock");
    let start = Instant::now();
    loop {
        match lock(&path)? {
            Locked::Yes(file) => return Ok(Some(file)),
            Locked::Unsupported => return Ok(None),
            Locked::No if start.elapsed() > SUBMITTING => {
                return Err(SweepError::Slurm {
                    command: "sbatch".into(),
                    message: format!(
                        "another process submits this sweep, since {} s",
                        SUBMITTING.as_secs()
                    ),
                });
            }
            Locked::No => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn jobs_file(dir: &Path) -> PathBuf {
    dir.join("slurm/jobs.jsonl")
}

impl Submission {
    /// For people: `job 12: 8 runs (0-7)`.
    pub fn describe(&self) -> String {
        match self.indices.len() {
            0 => format!("job {}", self.job),
            1 => format!("job {}: run {}", self.job, self.indices[0]),
            n => format!("job {}: {n} runs ({})", self.job, ranges(&self.indices)),
        }
    }
}
