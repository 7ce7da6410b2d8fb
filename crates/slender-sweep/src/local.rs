//! The local executor: several workers as threads of this process, each with a share of the machine.
//!
//! They differ from workers on other machines in nothing. The report is rewritten as runs finish,
//! but not more often than pays, and by one process at a time.

use crate::child::Stop;
use crate::claim::{ClaimOptions, FileClock};
use crate::collect::collect;
use crate::error::SweepError;
use crate::files::io;
use crate::jobs::JobSource;
use crate::progress::Event;
use crate::report::{ReportFiles, write_report};
use crate::results::SweepResults;
use crate::slots::Slot;
use crate::worker::{WorkEnd, Worker, WorkerOptions};
use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Shortest age of a report that is worth rewriting while runs are still at work.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// Writing the report takes at most one part in so many of the time of a sweep.
const REPORT_SHARE: u32 = 20;

/// How the local executor works.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// The sweep directory.
    pub dir: PathBuf,
    /// The slender program.
    pub program: PathBuf,
    /// Device, if it is to differ from the configurations'.
    pub device: Option<String>,
    /// One worker each.
    pub slots: Vec<Slot>,
    /// See [`WorkerOptions::poll`].
    pub poll: Duration,
    /// How claims are kept.
    pub claims: ClaimOptions,
    /// See [`Worker::work`].
    pub patience: Option<Duration>,
}

/// Works on a sweep directory with one thread for each slot, each with a source of its own, until
/// nothing is left or someone asks to stop. The report is kept up to date meanwhile; the last word is
/// [`finish_report`]'s.
///
/// # Errors
/// Those of [`Worker::work`], of any thread.
pub fn run_local(
    options: &LocalOptions,
    source: &(dyn Fn() -> Box<dyn JobSource> + Sync),
    stop: &Stop,
    progress: &(dyn Fn(&Event) + Sync),
) -> Result<WorkEnd, SweepError> {
    let watch = |event: &Event| {
        progress(event);
        if matches!(event, Event::Finished { .. } | Event::Failed { .. })
            && let Err(error) = refresh_report(&options.dir, Duration::ZERO)
        {
            progress(&Event::Warning(format!("no report: {error}")));
        }
    };
    let work = |slot: &Slot| {
        let worker = WorkerOptions {
            dir: options.dir.clone(),
            program: options.program.clone(),
            device: options.device.clone(),
            slot: slot.clone(),
            poll: options.poll,
            claims: options.claims,
        };
        Worker::new(&worker, stop, &watch).work(source().as_mut(), options.patience)
    };
    let ends: Vec<Result<WorkEnd, SweepError>> = std::thread::scope(|scope| {
        let work = &work;
        let start = |slot| scope.spawn(move || work(slot));
        let threads: Vec<_> = options.slots.iter().map(start).collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, _>| thread.join();
        let joined = threads.into_iter().map(join);
        joined
            .map(|end| end.unwrap_or(Ok(WorkEnd::Stopped)))
            .collect()
    });
    let mut all = WorkEnd::Done;
    for end in ends {
        match end? {
            WorkEnd::Stopped => all = WorkEnd::Stopped,
            WorkEnd::Held if all == WorkEnd::Done => all = WorkEnd::Held,
            WorkEnd::Held | WorkEnd::Done => {}
        }
    }
    Ok(all)
}

/// Rewrites the report unless another process does so now, or it is younger than five seconds, `at_least`, or
/// `REPORT_SHARE` times what it took to write. Returns how long it took.
///
/// The time it took is kept in `report.lock`, because in a large sweep every run may be a process of its own.
///
/// # Errors
/// It cannot be made or written.
pub fn refresh_report(dir: &Path, at_least: Duration) -> Result<Option<Duration>, SweepError> {
    let mut lock = report_lock(dir)?;
    if matches!(lock.try_lock(), Err(TryLockError::WouldBlock)) {
        return Ok(None);
    }
    let written = std::fs::metadata(dir.join("results.json")).and_then(|file| file.modified());
    let cost = read_cost(&mut lock);
    let wanted = at_least.max(REPORT_EVERY).max(cost * REPORT_SHARE);
    if written.is_ok_and(|at| FileClock::of(dir).age(at) < wanted) {
        return Ok(None);
    }
    let start = Instant::now();
    write_report(&collect(dir)?, dir)?;
    let took = start.elapsed();
    write_cost(&mut lock, took);
    Ok(Some(took))
}

/// What the last report took, as `report.lock` says; nothing where it says nothing.
fn read_cost(lock: &mut File) -> Duration {
    let mut text = String::new();
    let read = lock.rewind().and_then(|()| lock.read_to_string(&mut text));
    let seconds = read.ok().and_then(|_| text.trim().parse().ok());
    seconds.map_or(Duration::ZERO, |s: f64| {
        Duration::try_from_secs_f64(s).unwrap_or_default()
    })
}

/// Keeps what a report took; without it the next one comes a little early.
fn write_cost(lock: &mut File, took: Duration) {
    let text = format!("{:.3}\n", took.as_secs_f64());
    let _ = lock
        .set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| lock.write_all(text.as_bytes()));
}

/// Writes the report, after any other process that does so.
///
/// # Errors
/// It cannot be made or written.
pub fn finish_report(dir: &Path) -> Result<(SweepResults, ReportFiles), SweepError> {
    let mut lock = report_lock(dir)?;
    // Where there are no locks, whoever writes last wins, and every file is whole.
    let _ = lock.lock();
    let start = Instant::now();
    let results = collect(dir)?;
    let files = write_report(&results, dir)?;
    write_cost(&mut lock, start.elapsed());
    Ok((results, files))
}

fn report_lock(dir: &Path) -> Result<File, SweepError> {
    let path = dir.join("report.lock");
    let open = File::options()
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .open(&path);
    open.map_err(|source| io("write", &path, source))
}
