//! `attempts.jsonl` of a run (`slender-attempts/1`): every start of a stage and how it ended.
//!
//! Lines are appended, never changed, by the one worker that has claimed the run. A start without
//! an end is an attempt whose worker went away; a line cut short by a kill is left out when reading
//! and closed by the next append. Why a run counts as failed, and how often it was taken up without
//! getting further, is read from here, so that it survives every process that had to do with it.

use crate::error::SweepError;
use crate::files::{check_format, io, read_optional};
use crate::manifest::{Failure, Stage};
use serde::{Deserialize, Serialize};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Format name and version of `attempts.jsonl`.
pub const ATTEMPTS_FORMAT: &str = "slender-attempts/1";

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ending {
    /// The stage is done.
    Done,
    /// The worker was asked to stop, and the stage left with a checkpoint or was cut off.
    Stopped,
    /// The process left with a checkpoint (exit code 75) that its worker had not asked for.
    Interrupted,
    /// A signal from outside ended the process.
    Killed,
    /// Another process held the run directory (exit code 73).
    Locked,
    /// It failed; trying again would not mend it.
    Failed,
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum AttemptLine {
    /// A stage starts.
    Start {
        /// What is started.
        stage: Stage,
        /// Step at which it is to pause, if not at the end.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        until: Option<u64>,
        /// Machine.
        host: String,
        /// The worker's process.
        pid: u32,
        /// The scheduler's name of the job, such as `slurm 12_3`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        job: Option<String>,
        /// Steps that were done.
        from_step: u64,
        /// Unix time.
        at: u64,
    },
    /// It ended, seen by its worker.
    End {
        /// What ended.
        stage: Stage,
        /// How.
        ending: Ending,
        /// Steps done, as the run's status says.
        step: u64,
        /// Unix time.
        at: u64,
        /// Exit code, if it exited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<i32>,
        /// Signal, if one ended it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signal: Option<i32>,
        /// What happened, if it failed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The last lines it wrote, if it failed.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        log_tail: Vec<String>,
    },
    /// A person wants a failed run tried again.
    Retry {
        /// Unix time.
        at: u64,
    },
}

/// Content of `attempts.jsonl`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attempts {
    /// Its lines, oldest first.
    pub lines: Vec<AttemptLine>,
}

impl Attempts {
    /// Reads `run_dir/attempts.jsonl`; empty if there is none.
    ///
    /// # Errors
    /// An unreadable file or an unknown version.
    pub fn read(run_dir: &Path) -> Result<Self, SweepError> {
        let path = path_in(run_dir);
        let Some(text) = read_optional(&path)? else {
            return Ok(Self::default());
        };
        let mut lines = text.lines();
        let Some(head) = lines.next() else {
            return Ok(Self::default());
        };
        let head: serde_json::Value = serde_json::from_str(head).unwrap_or_default();
        let format = head.get("format").and_then(serde_json::Value::as_str);
        // A head cut short by a kill has no format at all; one of another version has.
        if format.is_some() || text.lines().count() > 1 {
            check_format(&path, format, ATTEMPTS_FORMAT)?;
        }
        Ok(Self {
            lines: lines
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect(),
        })
    }

    /// Appends a line, and the head before the first one.
    pub(crate) fn append(run_dir: &Path, line: &AttemptLine) -> Result<(), SweepError> {
        let path = path_in(run_dir);
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::OpenOptions::new()
                .create(true)
                .read(true)
                .append(true)
                .open(&path)?;
            let length = file.metadata()?.len();
            let mut text = String::new();
            if length > 0 {
                let mut last = [0];
                file.seek(SeekFrom::Start(length - 1))?;
                file.read_exact(&mut last)?;
                if last != *b"\n" {
                    text.push('\n');
                }
            }
            if length < head().len() as u64 {
                // Nothing whole was ever written.
                file.set_len(0)?;
                text = head();
            }
            text += &serde_json::to_string(line)?;
            text.push('\n');
            file.write_all(text.as_bytes())?;
            file.sync_data()
        };
        write().map_err(|source| io("write", &path, source))
    }

    /// Number of starts.
    pub fn count(&self) -> usize {
        let start = |line: &&AttemptLine| matches!(line, AttemptLine::Start { .. });
        self.lines.iter().filter(start).count()
    }

    /// Why the run counts as failed: its last attempt failed, and nobody asked for another.
    pub fn failure(&self) -> Option<Failure> {
        match self.lines.last()? {
            AttemptLine::End {
                stage,
                ending: Ending::Failed,
                code,
                message,
                log_tail,
                ..
            } => Some(Failure {
                stage: *stage,
                code: *code,
                message: message.clone().unwrap_or_else(|| "no reason given".into()),
                log_tail: log_tail.clone(),
            }),
            _ => None,
        }
    }

    /// Attempts in a row at `stage`, up to the last line, none of which got beyond the furthest
    /// step before it.
    pub(crate) fn stalls(&self, stage: Stage) -> Stalls {
        let mut stalls = Stalls::default();
        let mut furthest = 0;
        let mut open = false;
        for line in &self.lines {
            match line {
                AttemptLine::Start {
                    stage: started,
                    from_step,
                    ..
                } if *started == stage => {
                    // The attempt before had no end: its progress shows in where this one starts.
                    if *from_step > furthest {
                        stalls = Stalls::default();
                        furthest = *from_step;
                    } else if open {
                        stalls.unseen += 1;
                    }
                    open = true;
                }
                AttemptLine::End {
                    stage: ended,
                    ending,
                    step,
                    ..
                } if *ended == stage => {
                    open = false;
                    if *step > furthest {
                        stalls = Stalls::default();
                        furthest = *step;
                    } else {
                        match ending {
                            Ending::Interrupted | Ending::Killed => stalls.seen += 1,
                            Ending::Stopped => stalls.unseen += 1,
                            Ending::Done | Ending::Failed => stalls = Stalls::default(),
                            Ending::Locked => {}
                        }
                    }
                }
                AttemptLine::Retry { .. } => (stalls, open) = (Stalls::default(), false),
                _ => {}
            }
        }
        stalls
    }
}

/// Attempts without progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stalls {
    /// Those whose process went away before its worker's eyes: the run may be at fault.
    pub seen: u32,
    /// Those whose worker went away too or was asked to stop: the machine may be at fault.
    pub unseen: u32,
}

fn path_in(run_dir: &Path) -> PathBuf {
    run_dir.join("attempts.jsonl")
}

fn head() -> String {
    format!("{{\"format\":\"{ATTEMPTS_FORMAT}\"}}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(from_step: u64) -> AttemptLine {
        AttemptLine::Start {
            stage: Stage::Train,
            until: None,
            host: "lab3".into(),
            pid: 42,
            job: None,
            from_step,
            at: 1,
        }
    }

    fn end(ending: Ending, step: u64) -> AttemptLine {
        AttemptLine::End {
            stage: Stage::Train,
            ending,
            step,
            at: 2,
            code: None,
            signal: None,
            message: (ending == Ending::Failed).then(|| "no memory".into()),
            log_tail: Vec::new(),
        }
    }

    #[test]
    fn a_cut_line_costs_itself_and_not_the_next() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Attempts::read(dir.path()).unwrap(), Attempts::default());
        Attempts::append(dir.path(), &start(0)).unwrap();
        let path = path_in(dir.path());
        let whole = std::fs::read(&path).unwrap();
        // Cut anywhere, what is appended next is read back.
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            Attempts::read(dir.path()).unwrap();
            Attempts::append(dir.path(), &end(Ending::Done, 10)).unwrap();
            let read = Attempts::read(dir.path()).unwrap();
            assert_eq!(read.lines.last(), Some(&end(Ending::Done, 10)), "{cut}");
        }
        std::fs::write(&path, "{\"format\":\"slender-attempts/9\"}\n").unwrap();
        let error = Attempts::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("slender-attempts/9"), "{error}");
    }

    #[test]
    fn the_last_word_decides_whether_a_run_failed() {
        let mut attempts = Attempts {
            lines: vec![start(0), end(Ending::Failed, 4)],
        };
        assert_eq!(attempts.failure().unwrap().message, "no memory");
        attempts.lines.push(AttemptLine::Retry { at: 3 });
        assert_eq!(attempts.failure(), None);
        attempts.lines.push(start(4));
        assert_eq!((attempts.failure(), attempts.count()), (None, 2));
    }

    #[test]
    fn stalls_are_counted_across_workers_and_end_with_progress() {
        let stalls = |lines: &[AttemptLine]| {
            let lines = lines.to_vec();
            let Stalls { seen, unseen } = Attempts { lines }.stalls(Stage::Train);
            (seen, unseen)
        };
        let killed = |step| end(Ending::Killed, step);
        assert_eq!(stalls(&[]), (0, 0));
        // The first attempt got to step 5; then twice nothing.
        let mut lines = vec![
            start(0),
            killed(5),
            start(5),
            killed(5),
            start(3),
            killed(3),
        ];
        assert_eq!(stalls(&lines), (2, 0));
        // A worker that vanished, and another attempt.
        lines.extend([start(5), start(5)]);
        assert_eq!(stalls(&lines), (2, 1));
        // It turns out that the last one got further.
        lines.push(start(9));
        assert_eq!(stalls(&lines), (0, 0));
    }
}
