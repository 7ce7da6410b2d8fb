//! Child processes: started in their own process group, watched, and asked to stop.
//!
//! Each child gets its own process group, so that a Ctrl-C in the terminal reaches only the sweep,
//! which then sends each child exactly one SIGUSR1: `slender train` answers it with a checkpoint
//! and exit code 75. (Not SIGTERM: a scheduler may have sent that to the child as well, and to a
//! second one it leaves at once.) A second signal kills the children at once, unless it comes
//! from a scheduler, which kills by itself when its patience ends; run directories survive that by
//! design. The thread that watches a child is the one that signals it, before it has been reaped,
//! so a recycled process id is never hit.

use crate::error::SweepError;
use crate::files::io;
use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::{Handle, Signals};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often a child is looked at.
const TICK: Duration = Duration::from_millis(50);
/// How often its heartbeat is read.
const BEAT: Duration = Duration::from_millis(500);
/// Lines of a failed child's log that are kept.
const TAIL_LINES: usize = 20;

/// The wish to stop: once for "checkpoint and leave", twice for "leave at once".
#[derive(Debug, Default)]
pub struct Stop {
    requests: Arc<AtomicUsize>,
    /// Those that came from a keyboard.
    interrupts: Arc<AtomicUsize>,
    /// SIGUSR1 came: the scheduler's warning that the time is nearly up.
    warned: Arc<AtomicBool>,
    /// The sweep was cancelled, by whatever machine.
    cancelled: AtomicBool,
    /// A scheduler runs this process: only signals from a keyboard add up.
    patient: bool,
    signals: Option<Handle>,
}

impl Stop {
    /// Stops only when [`Stop::request`] is called.
    pub fn new() -> Self {
        Self::default()
    }

    /// Also stops at SIGINT, SIGTERM, SIGHUP and SIGUSR1, until it is dropped.
    ///
    /// # Errors
    /// The operating system refuses the handlers.
    pub fn on_signals() -> std::io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGUSR1])?;
        let stop = Self {
            signals: Some(signals.handle()),
            patient: crate::claim::job_name().is_some(),
            requests: Arc::default(),
            interrupts: Arc::default(),
            warned: Arc::default(),
            cancelled: AtomicBool::new(false),
        };
        let (requests, warned) = (Arc::clone(&stop.requests), Arc::clone(&stop.warned));
        let interrupts = Arc::clone(&stop.interrupts);
        std::thread::spawn(move || {
            for signal in signals.forever() {
                if signal == SIGUSR1 {
                    warned.store(true, Ordering::SeqCst);
                    continue;
                }
                if signal == SIGINT {
                    interrupts.fetch_add(1, Ordering::SeqCst);
                }
                requests.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(stop)
    }

    /// Asks to stop; the second time, at once.
    pub fn request(&self) {
        self.requests.fetch_add(1, Ordering::SeqCst);
    }

    /// Whether anyone has asked.
    pub fn requested(&self) -> bool {
        self.requests.load(Ordering::SeqCst) > 0 || self.warned() || self.cancelled()
    }

    /// Asks to stop because the sweep was cancelled; however often, not at once.
    pub(crate) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
    }

    fn cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Whether SIGUSR1 came, and nothing else: the time limit is near, and the job may go on later.
    pub fn only_warned(&self) -> bool {
        self.warned() && !self.cancelled() && self.requests.load(Ordering::SeqCst) == 0
    }

    fn warned(&self) -> bool {
        self.warned.load(Ordering::SeqCst)
    }

    fn at_once(&self) -> bool {
        let counted = match self.patient {
            true => &self.interrupts,
            false => &self.requests,
        };
        counted.load(Ordering::SeqCst) > 1
    }

    /// Sleeps for `duration`, or until someone asks to stop.
    pub fn sleep(&self, duration: Duration) {
        let until = Instant::now() + duration;
        while !self.requested() && Instant::now() < until {
            std::thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        if let Some(handle) = &self.signals {
            handle.close();
        }
    }
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Exit code 0.
    Done,
    /// Exit code 75: checkpointed and left.
    Interrupted,
    /// Exit code 73: another process holds the run directory.
    Locked,
    /// Killed from outside: SIGKILL, SIGTERM, SIGINT, SIGHUP or SIGUSR1.
    Killed(i32),
    /// Anything else, which trying again would not mend.
    Failed {
        /// Exit code, unless a signal (such as SIGSEGV) ended it.
        code: Option<i32>,
        /// What happened, for people.
        what: String,
    },
}

impl End {
    fn of(status: std::process::ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => End::Done,
            (Some(75), _) => End::Interrupted,
            (Some(73), _) => End::Locked,
            (Some(code), _) => End::Failed {
                code: Some(code),
                what: format!("exit code {code}"),
            },
            (None, Some(signal @ (1 | 2 | 9 | 10 | 15))) => End::Killed(signal),
            (None, signal) => End::Failed {
                code: None,
                what: format!("signal {}", signal.unwrap_or_default()),
            },
        }
    }
}

/// Runs `command` to its end, appending what it writes to `log`; `beat` is called twice a second with
/// whether the child has been asked to stop, and when it says false, the child is killed. It is asked to stop with the signal `ask`.
///
/// Returns how it ended and the last lines it wrote.
pub(crate) fn run(
    command: &mut Command,
    log: &Path,
    stop: &Stop,
    ask: Signal,
    mut beat: impl FnMut(bool) -> bool,
) -> Result<(End, Vec<String>), SweepError> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .map_err(|source| io("write", log, source))?;
    let arguments: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    let _ = writeln!(file, "# slender {}", arguments.join(" "));
    let start = file.seek(SeekFrom::End(0)).unwrap_or(0);
    let both = file
        .try_clone()
        .and_then(|out| Ok((out, file.try_clone()?)));
    let (out, err) = both.map_err(|source| io("write", log, source))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(err)
        .env("NO_COLOR", "1")
        .process_group(0)
        .spawn()
        .map_err(|source| SweepError::Program {
            program: command.get_program().into(),
            source,
        })?;
    let mut asked = false;
    let mut last_beat = Instant::now();
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(source) => return Err(io("wait for", log, source)),
        }
        if stop.at_once() {
            let _ = child.kill();
        } else if stop.requested() && !asked {
            asked = true;
            let _ = kill_process(Pid::from_child(&child), ask);
        }
        if last_beat.elapsed() >= BEAT {
            last_beat = Instant::now();
            if !beat(asked) {
                let _ = child.kill();
            }
        }
        std::thread::sleep(TICK);
    };
    Ok((End::of(status), tail(log, start)))
}

/// The last lines of `log` from byte `start` on.
fn tail(log: &Path, start: u64) -> Vec<String> {
    const MOST: u64 = 64 << 10;
    let read = || -> std::io::Result<Vec<u8>> {
        let mut file = std::fs::File::open(log)?;
        let end = file.metadata()?.len();
        file.seek(SeekFrom::Start(start.max(end.saturating_sub(MOST))))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    lines[first..]
        .iter()
        .map(|line| (*line).to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_a_request_to_stop() {
        let stop = Stop::on_signals().unwrap();
        assert!(!stop.requested());
        signal_hook::low_level::raise(SIGUSR1).unwrap();
        stop.sleep(Duration::from_secs(20));
        assert!(stop.only_warned());
        let stop = Stop::on_signals().unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        let began = Instant::now();
        stop.sleep(Duration::from_secs(20));
        assert!(
            stop.requested() && !stop.only_warned() && began.elapsed() < Duration::from_secs(10)
        );
    }

    #[test]
    fn the_log_of_a_failure_is_the_end_of_its_own_attempt() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log.txt");
        std::fs::write(&log, "an earlier attempt\n").unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "seq 1 30; echo last >&2; exit 3"]);
        let (end, tail) = run(&mut command, &log, &Stop::new(), Signal::TERM, |_| true).unwrap();
        let what = "exit code 3".to_owned();
        assert_eq!(
            end,
            End::Failed {
                code: Some(3),
                what
            }
        );
        assert_eq!(tail.len(), TAIL_LINES);
        assert_eq!(tail.last().unwrap(), "last");
        let text = std::fs::read_to_string(&log).unwrap();
        assert!(text.starts_with("an earlier attempt\n# slender -c"));
    }
}
