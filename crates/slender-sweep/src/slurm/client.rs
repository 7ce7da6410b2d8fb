//! Calling Slurm's commands: a time limit on each, and their own words when they fail.

use crate::error::SweepError;
use crate::slurm::queue::{Element, QueueEntry, parse_accounting, parse_jobs, parse_queue};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// `MaxArraySize` where the cluster does not say: Slurm's default.
pub const DEFAULT_MAX_ARRAY: u32 = 1001;

/// Slurm's commands.
#[derive(Clone, Debug)]
pub struct SlurmClient {
    /// Folder of the commands; `None` finds them on `PATH`.
    folder: Option<PathBuf>,
    limit: Duration,
}

impl Default for SlurmClient {
    fn default() -> Self {
        Self {
            folder: None,
            limit: Duration::from_secs(60),
        }
    }
}

impl SlurmClient {
    /// The commands in `folder`, each of which gets `limit` to answer.
    pub fn in_folder(folder: &Path, limit: Duration) -> Self {
        Self {
            folder: Some(folder.to_owned()),
            limit,
        }
    }

    /// Submits a script; returns the job's number.
    ///
    /// # Errors
    /// [`SweepError::Slurm`] with what `sbatch` said.
    pub fn sbatch(&self, script: &Path) -> Result<String, SweepError> {
        let script = script.to_string_lossy();
        let said = self.call("sbatch", &["--parsable", &script])?;
        // `--parsable` prints `12` or `12;cluster`; sites wrap sbatch and add lines of their own.
        let number = said.lines().rev().find_map(|line| {
            let id = line.trim().split(';').next().unwrap_or_default();
            let digits = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| id.to_owned())
        });
        number.ok_or_else(|| SweepError::Slurm {
            command: "sbatch".into(),
            message: format!("it names no job: {:?}", said.trim()),
        })
    }

    /// Jobs of this user that Slurm has not finished with, array elements one by one.
    ///
    /// # Errors
    /// [`SweepError::Slurm`]: then nothing is known.
    pub fn queue(&self) -> Result<Vec<QueueEntry>, SweepError> {
        let user = rustix::process::getuid().as_raw().to_string();
        let user = format!("--user={user}");
        let said = self.call(
            "squeue",
            &["--noheader", "--array", &user, "--format=%A|%F|%K|%T|%r|%j"],
        )?;
        Ok(parse_queue(&said))
    }

    /// What became of the elements of arrays: state and exit code in Slurm's words. Empty when
    /// neither accounting nor the controller knows.
    pub fn endings(&self, arrays: &[String]) -> BTreeMap<Element, String> {
        if arrays.is_empty() {
            return BTreeMap::new();
        }
        let mut known = BTreeMap::new();
        // The controller forgets after `MinJobAge`, accounting may be off or late: both are asked.
        for array in arrays.iter().rev().take(20) {
            if let Ok(said) = self.call("scontrol", &["show", "job", "--oneliner", array]) {
                known.extend(parse_jobs(&said));
            }
        }
        let jobs = format!("--jobs={}", arrays.join(","));
        let format = "--format=JobID,State,ExitCode";
        let arguments = ["--allocations", "--noheader", "--parsable2", &jobs, format];
        if let Ok(said) = self.call("sacct", &arguments) {
            for (element, state) in parse_accounting(&said) {
                known.entry(element).or_insert(state);
            }
        }
        known
    }

    /// Cancels jobs or elements.
    ///
    /// # Errors
    /// [`SweepError::Slurm`] with what `scancel` said.
    pub fn cancel(&self, jobs: &[String]) -> Result<(), SweepError> {
        for some in jobs.chunks(200) {
            let arguments: Vec<&str> = some.iter().map(String::as_str).collect();
            self.call("scancel", &arguments)?;
        }
        Ok(())
    }

    /// Puts a running job back into the queue.
    ///
    /// # Errors
    /// [`SweepError::Slurm`] with what `scontrol` said.
    pub fn requeue(&self, job: &str) -> Result<(), SweepError> {
        self.call("scontrol", &["requeue", job]).map(drop)
    }

    /// The first number that an array element must not have.
    pub fn max_array_size(&self) -> u32 {
        let said = self
            .call("scontrol", &["show", "config"])
            .unwrap_or_default();
        let line = said.lines().find(|line| line.starts_with("MaxArraySize"));
        line.and_then(|line| line.split('=').nth(1)?.trim().parse().ok())
            .filter(|size| *size > 0)
            .unwrap_or(DEFAULT_MAX_ARRAY)
    }

    /// What a command prints.
    fn call(&self, name: &str, arguments: &[&str]) -> Result<String, SweepError> {
        let program = match &self.folder {
            Some(folder) => folder.join(name),
            None => PathBuf::from(name),
        };
        let failed = |message: String| SweepError::Slurm {
            command: name.to_owned(),
            message,
        };
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|error| match error.kind() {
                std::io::ErrorKind::NotFound => failed(
                    "there is no such program on this machine\n  hint: run this on a login node of the cluster, or use --executor local"
                        .into(),
                ),
                _ => failed(error.to_string()),
            })?;
        let out = child.stdout.take().map(reader);
        let err = child.stderr.take().map(reader);
        let deadline = Instant::now() + self.limit;
        let mut nap = Duration::from_millis(2);
        let status = loop {
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if Instant::now() < deadline => std::thread::sleep(nap),
                Ok(None) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    let seconds = self.limit.as_secs_f64();
                    return Err(failed(format!("no answer within {seconds} s")));
                }
                Err(error) => return Err(failed(error.to_string())),
            }
            nap = (nap * 2).min(Duration::from_millis(50));
        };
        let text = |thread: Option<std::thread::JoinHandle<String>>| {
            thread.and_then(|t| t.join().ok()).unwrap_or_default()
        };
        let (out, err) = (text(out), text(err));
        if status.success() {
            return Ok(out);
        }
        let said = if err.trim().is_empty() { out } else { err };
        // Most of them begin with their own name.
        let said = said.trim();
        let own = said
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix(": "));
        Err(failed(own.unwrap_or(said).to_owned()))
    }
}

fn reader(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
