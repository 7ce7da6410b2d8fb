//! Claims: which worker has a run, on file systems that several machines share.
//!
//! Two things make a claim, because neither is enough everywhere:
//!
//! 1. The operating system's lock on `worker.lock`, held as long as the worker works. A killed
//!    process gives it back by dying. It is exact on local disks, and across machines on NFSv4,
//!    Lustre mounted with `flock`, GPFS, CephFS and BeeGFS with `tuneUseGlobalFileLocks`; some
//!    mounts refuse it, and some (`nolock`, `local_lock`, `localflock`) keep it to one machine.
//! 2. `claim.json`, which says who has the run: host, process, start time. Its holder writes to it
//!    every five seconds; the file's modification time is the heartbeat, so the file server's clock
//!    decides and the machines' own may differ. A claim whose process is known to be dead, or whose
//!    heartbeat is older than [`ClaimOptions::stale_after`], is void.
//!
//! What remains: on a mount without working locks, two workers that find the same stale claim in
//! the same instant look again after a moment, and the one whose claim was overwritten leaves; and
//! a worker that was frozen for longer than the limit (a stopped virtual machine) finds on waking
//! that its claim is gone and kills its child. `slender train` holds a lock of its own on the run
//! directory, so even then two trainings write to one directory only where locks do not work at
//! all.

use crate::error::SweepError;
use crate::files::{io, write_atomic};
use crate::holder::{Holder, unix_time};
use crate::manifest::Stage;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Format name and version of `claim.json`.
pub const CLAIM_FORMAT: &str = "slender-claim/1";

/// Waited before a claim made without a working lock is believed.
const SETTLE: Duration = Duration::from_millis(500);

/// How claims are kept and judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimOptions {
    /// Time between two heartbeats.
    pub beat: Duration,
    /// Age of the last heartbeat from which on a claim is void. All workers of a sweep should use
    /// the same.
    pub stale_after: Duration,
}

impl Default for ClaimOptions {
    /// Five seconds, and a minute.
    fn default() -> Self {
        Self {
            beat: Duration::from_secs(5),
            stale_after: Duration::from_secs(60),
        }
    }
}

/// Content of `claim.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClaimFile {
    /// [`CLAIM_FORMAT`].
    pub format: String,
    /// Drawn anew for every claim.
    pub token: String,
    /// Who has it.
    #[serde(flatten)]
    pub holder: Holder,
    /// The scheduler's name of the holder's job, such as `slurm 12_3`.
    #[serde(default)]
    pub job: Option<String>,
    /// What is being done.
    pub stage: Stage,
    /// Unix time by the holder's clock.
    pub claimed_at: u64,
}

impl ClaimFile {
    /// Reads the claim on `run_dir` and when it was last renewed; `None` if there is none, or one
    /// that is not readable (which is as good as none).
    pub fn read(run_dir: &Path) -> Option<(Self, SystemTime)> {
        // Opening is what makes an NFS client ask the server for the time instead of its cache.
        let mut file = File::open(run_dir.join("claim.json")).ok()?;
        let mut text = String::new();
        file.read_to_string(&mut text).ok()?;
        let claim: Self = serde_json::from_str(&text).ok()?;
        let beat = file.metadata().ok()?.modified().ok()?;
        (claim.format == CLAIM_FORMAT).then_some((claim, beat))
    }

    /// Whether the holder still has it.
    fn holds(&self, age: Duration, options: &ClaimOptions) -> bool {
        match self.holder.is_alive() {
            Some(alive) => alive,
            None => age < options.stale_after,
        }
    }
}

/// The time of the file system that holds the sweep, which need not be this machine's.
#[derive(Clone, Copy, Debug)]
pub struct FileClock {
    then: SystemTime,
    read_at: Instant,
}

impl FileClock {
    /// Asks the file system of `dir` by writing a file; where that is not possible, this machine's
    /// clock has to do.
    pub fn of(dir: &Path) -> Self {
        let path = dir.join(format!(".clock-{}", token()));
        let ask = || -> std::io::Result<SystemTime> {
            let mut file = File::create(&path)?;
            file.write_all(b"\n")?;
            file.metadata()?.modified()
        };
        let then = ask().unwrap_or_else(|_| SystemTime::now());
        let _ = std::fs::remove_file(&path);
        Self {
            then,
            read_at: Instant::now(),
        }
    }

    /// The time there now.
    pub fn now(&self) -> SystemTime {
        self.then + self.read_at.elapsed()
    }

    /// How long ago `time` was; zero for the future.
    pub fn age(&self, time: SystemTime) -> Duration {
        self.now().duration_since(time).unwrap_or_default()
    }
}

/// The claim on `run_dir` that is in force, with the age of its heartbeat.
pub(crate) fn live_claim(
    run_dir: &Path,
    clock: &FileClock,
    options: &ClaimOptions,
) -> Option<(ClaimFile, Duration)> {
    let (claim, beat) = ClaimFile::read(run_dir)?;
    let age = clock.age(beat);
    claim.holds(age, options).then_some((claim, age))
}

/// A run directory that this worker has; given back when dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    token: String,
    /// The claim file this worker wrote. Its heartbeat goes through this handle, so it cannot
    /// renew a claim that another worker has put in its place.
    file: File,
    last_beat: Instant,
    beat: Duration,
    stale_after: Duration,
    /// Held for its lock, which ends with it.
    _lock: Option<File>,
}

impl Claim {
    /// Claims `run_dir` for `stage`; `None` while another worker has it.
    ///
    /// # Errors
    /// The files cannot be written.
    pub(crate) fn take(
        run_dir: &Path,
        stage: Stage,
        clock: &FileClock,
        options: &ClaimOptions,
    ) -> Result<Option<Self>, SweepError> {
        let path = run_dir.join("claim.json");
        let lock = match lock(&run_dir.join("worker.lock"))? {
            Locked::Yes(file) => Some(file),
            Locked::No => return Ok(None),
            Locked::Unsupported => None,
        };
        if live_claim(run_dir, clock, options).is_some() {
            return Ok(None);
        }
        let token = token();
        let claim = ClaimFile {
            format: CLAIM_FORMAT.into(),
            token: token.clone(),
            holder: Holder::me(),
            job: job_name(),
            stage,
            claimed_at: unix_time(),
        };
        let text = serde_json::to_string(&claim).unwrap_or_default() + "\n";
        write_atomic(&path, text.as_bytes())?;
        if lock.is_none() {
            std::thread::sleep(SETTLE);
        }
        if !is_mine(run_dir, &token) {
            return Ok(None);
        }
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(&path)
            .map_err(|source| io("write", &path, source))?;
        Ok(Some(Self {
            path,
            token,
            file,
            last_beat: Instant::now(),
            beat: options.beat,
            stale_after: options.stale_after,
            _lock: lock,
        }))
    }

    /// Renews the heartbeat when it is due; false if the claim is no longer this worker's.
    pub(crate) fn beat(&mut self) -> bool {
        if self.last_beat.elapsed() < self.beat {
            return true;
        }
        let mine = self
            .path
            .parent()
            .is_some_and(|dir| is_mine(dir, &self.token));
        // The last byte is a line end; writing it again lets the file server set the time.
        let renewed = self
            .file
            .seek(SeekFrom::End(-1))
            .and_then(|_| self.file.write_all(b"\n"))
            .and_then(|()| self.file.sync_data());
        if mine && renewed.is_ok() {
            self.last_beat = Instant::now();
        }
        // A file server that does not answer for a while is no reason to give a run up, as long as
        // nobody else can have taken it.
        mine || self.last_beat.elapsed() < self.stale_after / 2
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self
            .path
            .parent()
            .is_some_and(|dir| is_mine(dir, &self.token))
        {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn is_mine(run_dir: &Path, token: &str) -> bool {
    ClaimFile::read(run_dir).is_some_and(|(claim, _)| claim.token == token)
}

/// An attempt at a lock of the operating system.
pub(crate) enum Locked {
    /// Held until the file is closed.
    Yes(File),
    /// Another process has it.
    No,
    /// This file system has no locks.
    Unsupported,
}

/// Locks `path`, which is created if need be, without waiting.
pub(crate) fn lock(path: &Path) -> Result<Locked, SweepError> {
    let file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .map_err(|source| io("open", path, source))?;
    Ok(match file.try_lock() {
        Ok(()) => Locked::Yes(file),
        Err(std::fs::TryLockError::WouldBlock) => Locked::No,
        Err(std::fs::TryLockError::Error(_)) => Locked::Unsupported,
    })
}

/// Whether a training holds the run directory at this moment.
pub(crate) fn is_training(run_dir: &Path) -> bool {
    // Shared, so that those who only ask do not get in each other's way.
    File::open(run_dir.join("lock")).is_ok_and(|file| {
        matches!(
            file.try_lock_shared(),
            Err(std::fs::TryLockError::WouldBlock)
        )
    })
}

/// What the scheduler calls this process's job.
pub(crate) fn job_name() -> Option<String> {
    let var = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    if let Some(id) = var("SLURM_JOB_ID") {
        return Some(
            match (var("SLURM_ARRAY_JOB_ID"), var("SLURM_ARRAY_TASK_ID")) {
                (Some(array), Some(task)) => format!("slurm {array}_{task}"),
                _ => format!("slurm {id}"),
            },
        );
    }
    var("JOB_COMPLETION_INDEX").map(|index| format!("kubernetes {index}"))
}

/// A name that no other process of any machine uses.
pub(crate) fn token() -> String {
    use std::hash::{BuildHasher, Hasher};
    static SERIAL: AtomicU64 = AtomicU64::new(0);
    // The keys of the standard hasher are the operating system's randomness.
    let mut hasher = std::collections::hash_map::RandomState::new().build_hasher();
    hasher.write_u64(SERIAL.fetch_add(1, Ordering::Relaxed));
    hasher.write_u32(std::process::id());
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: ClaimOptions = ClaimOptions {
        beat: Duration::ZERO,
        stale_after: Duration::from_secs(60),
    };

    fn take(dir: &Path) -> Option<Claim> {
        Claim::take(dir, Stage::Train, &FileClock::of(dir), &QUICK).unwrap()
    }

    /// A claim file of a process on another machine, `age` old.
    fn foreign(dir: &Path, age: Duration) {
        let claim = ClaimFile {
            format: CLAIM_FORMAT.into(),
            token: "theirs".into(),
            holder: Holder {
                host: "elsewhere".into(),
                machine: "another boot".into(),
                pid: 1,
                started: 1,
            },
            job: None,
            stage: Stage::Train,
            claimed_at: 0,
        };
        let path = dir.join("claim.json");
        std::fs::write(&path, serde_json::to_string(&claim).unwrap() + "\n").unwrap();
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn one_worker_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = take(dir.path()).unwrap();
        assert!(take(dir.path()).is_none());
        assert!(first.beat());
        drop(first);
        assert!(!dir.path().join("claim.json").exists());
        assert!(take(dir.path()).is_some());
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["worker.lock"]);
    }

    #[test]
    fn a_claim_from_elsewhere_holds_while_its_heart_beats() {
        let dir = tempfile::tempdir().unwrap();
        foreign(dir.path(), Duration::from_secs(50));
        assert!(take(dir.path()).is_none());
        foreign(dir.path(), Duration::from_secs(61));
        let mut mine = take(dir.path()).unwrap();
        let (_, before) = ClaimFile::read(dir.path()).unwrap();
        std::thread::sleep(Duration::from_millis(20));
        assert!(mine.beat());
        let (_, after) = ClaimFile::read(dir.path()).unwrap();
        assert!(after > before, "the heartbeat is the file's time");
        // Taken over while this worker slept: it notices, and leaves the other's claim alone.
        foreign(dir.path(), Duration::ZERO);
        mine.last_beat -= Duration::from_secs(60);
        assert!(!mine.beat());
        drop(mine);
        assert!(dir.path().join("claim.json").exists());
    }

    #[test]
    fn a_dead_process_of_this_machine_holds_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let claim = ClaimFile {
            format: CLAIM_FORMAT.into(),
            token: "dead".into(),
            holder: Holder {
                pid: u32::MAX - 1,
                started: 1,
                ..Holder::me()
            },
            job: None,
            stage: Stage::Eval,
            claimed_at: 0,
        };
        let text = serde_json::to_string(&claim).unwrap();
        std::fs::write(dir.path().join("claim.json"), text).unwrap();
        assert!(take(dir.path()).is_some());
    }

    #[test]
    fn many_threads_and_one_winner() {
        let dir = tempfile::tempdir().unwrap();
        let barrier = std::sync::Barrier::new(8);
        let won: Vec<Option<Claim>> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        take(dir.path())
                    })
                })
                .collect();
            threads.into_iter().map(|t| t.join().unwrap()).collect()
        });
        assert_eq!(won.iter().flatten().count(), 1);
    }
}
