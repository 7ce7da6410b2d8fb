//! Threads that wait for work by looking, not by sleeping.
//!
//! A decoded token is some 150 pieces of work of a few microseconds each, one after another. Waking a
//! sleeping thread for each would take as long as the work, so the threads of a [`Team`] are taken from
//! the pool once, for a whole text, and look at a counter until there is something to do. What a thread
//! does not take, another does: a thread that the system holds up, or that the pool never sends, delays
//! nothing but what it has begun.

use std::any::Any;
use std::cell::UnsafeCell;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Looks before a waiting thread gives its processor to others.
const LOOKS: u32 = 4_000;
/// Further looks before it sleeps for a moment at a time.
const PATIENCE: u32 = 20_000;

/// A piece of work: its parts, and what to do with some of them.
#[derive(Clone, Copy)]
struct Job {
    parts: usize,
    work: *const (dyn Fn(Range<usize>) + Sync),
}

/// A cache line of its own, so that threads that count do not disturb threads that look.
#[repr(align(128))]
#[derive(Default)]
struct Line<T>(T);

/// The calling thread and what the pool lends it.
pub struct Team {
    threads: usize,
    /// Parts of the current job that nobody has taken.
    untaken: Line<AtomicUsize>,
    /// Parts of the current job that are done.
    done: Line<AtomicUsize>,
    /// Written by the owner between jobs only.
    job: UnsafeCell<Option<Job>>,
    over: AtomicBool,
    failed: AtomicBool,
}

// SAFETY: `job` is written only in `Team::run` while no part is untaken or in work, and read only by a
// thread that has taken a part of it; the work itself may be shared between threads.
unsafe impl Sync for Team {}

impl std::fmt::Debug for Team {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Team")
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Team {
    fn new(threads: usize) -> Self {
        Self {
            threads,
            untaken: Line::default(),
            done: Line::default(),
            job: UnsafeCell::new(None),
            over: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    /// The calling thread alone.
    pub fn alone() -> Self {
        Self::new(1)
    }

    /// Calls `work` with a team of the pool's size.
    pub fn session<R>(work: impl FnOnce(&Team) -> R) -> R {
        struct Over<'a>(&'a Team);
        impl Drop for Over<'_> {
            fn drop(&mut self) {
                self.0.over.store(true, Ordering::Release);
            }
        }
        let team = Self::new(rayon::current_num_threads().max(1));
        let shared = &team;
        rayon::in_place_scope(|scope| {
            for _ in 1..shared.threads {
                scope.spawn(move |_| shared.help());
            }
            // Also when `work` panics, or the helpers would never come home.
            let _over = Over(shared);
            work(shared)
        })
    }

    /// Threads at most.
    pub fn threads(&self) -> usize {
        self.threads
    }

    /// Calls `work` with ranges that together are `0..parts`, on all threads; large ones first.
    pub fn run(&self, parts: usize, work: impl Fn(Range<usize>) + Sync) {
        if self.threads == 1 || parts <= 1 {
            if parts > 0 {
                work(0..parts);
            }
            return;
        }
        let work: &(dyn Fn(Range<usize>) + Sync) = &work;
        // SAFETY: only the lifetime is forgotten; `AllDone` below does not let this call end, by
        // return or panic, before every part that was taken is done.
        let work: *const (dyn Fn(Range<usize>) + Sync + 'static) =
            unsafe { std::mem::transmute::<*const (dyn Fn(Range<usize>) + Sync), _>(work) };
        self.done.0.store(0, Ordering::Relaxed);
        // SAFETY: the job before is done to its last part and none is untaken, so no thread reads it.
        unsafe { *self.job.get() = Some(Job { parts, work }) };
        let all_done = AllDone { team: self, parts };
        self.untaken.0.store(parts, Ordering::Release);
        self.take_part();
        drop(all_done);
        assert!(
            !self.failed.load(Ordering::Relaxed),
            "a thread of the team panicked"
        );
    }

    /// Calls `work` with the index of each stretch of `len` elements of `data` and the stretch.
    pub fn chunks_mut<T: Send>(
        &self,
        data: &mut [T],
        len: usize,
        work: impl Fn(usize, &mut [T]) + Sync,
    ) {
        self.ranges_mut(data, len, |range, chunks| {
            for (index, chunk) in range.zip(chunks.chunks_mut(len)) {
                work(index, chunk);
            }
        });
    }

    /// As [`Team::chunks_mut`], with several neighbouring stretches in one call.
    pub fn ranges_mut<T: Send>(
        &self,
        data: &mut [T],
        len: usize,
        work: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) {
        struct Start<T>(*mut T);
        // SAFETY: threads get different elements, which may be sent to them.
        unsafe impl<T: Send> Sync for Start<T> {}
        impl<T> Start<T> {
            fn get(&self) -> *mut T {
                self.0
            }
        }
        let total = data.len();
        let start = Start(data.as_mut_ptr());
        self.run(total.div_ceil(len.max(1)), |range| {
            let (from, to) = (range.start * len, (range.end * len).min(total));
            // SAFETY: inside `data`, which is borrowed exclusively, and the ranges of a run are disjoint.
            let chunks =
                unsafe { std::slice::from_raw_parts_mut(start.get().add(from), to - from) };
            work(range, chunks);
        });
    }

    /// Takes parts of the current job until none is left.
    fn take_part(&self) {
        let mut left = self.untaken.0.load(Ordering::Acquire);
        while left > 0 {
            // Large ranges first: memory is read in long runs, and the last ones even out the ends.
            let count = (left / (2 * self.threads)).max(1);
            let taken = self.untaken.0.compare_exchange_weak(
                left,
                left - count,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match taken {
                Err(now) => left = now,
                Ok(_) => {
                    let _done = Done { team: self, count };
                    // SAFETY: a part of this job is taken and not done, so the job stays as it is; the
                    // exchange has made it visible.
                    let job = unsafe { *self.job.get() };
                    if let Some(job) = job {
                        let from = job.parts - left;
                        // SAFETY: `Team::run` keeps the work alive until this part is done.
                        unsafe { (*job.work)(from..from + count) };
                    }
                    drop(_done);
                    left = self.untaken.0.load(Ordering::Acquire);
                }
            }
        }
    }

    /// What a lent thread does.
    fn help(&self) {
        let mut looks = 0;
        while !self.over.load(Ordering::Acquire) {
            if self.untaken.0.load(Ordering::Relaxed) > 0 {
                // A panic is the owner's to report; this thread goes on, or the owner would wait.
                let result: Result<(), Box<dyn Any + Send>> =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.take_part()));
                let _ = result;
                looks = 0;
            } else {
                looks += 1;
                // A lent thread is still the pool's: what waits there must not wait for this team.
                if looks < LOOKS || rayon::yield_now() != Some(rayon::Yield::Executed) {
                    pause(looks);
                }
            }
        }
    }
}

/// Waits a little, longer the more often one has looked.
fn pause(looks: u32) {
    if looks < LOOKS {
        std::hint::spin_loop();
    } else if looks < PATIENCE {
        std::thread::yield_now();
    } else {
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Counts parts as done, also when they panic.
struct Done<'a> {
    team: &'a Team,
    count: usize,
}

impl Drop for Done<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.team.failed.store(true, Ordering::Relaxed);
        }
        self.team.done.0.fetch_add(self.count, Ordering::Release);
    }
}

/// Waits until the job is done; when its owner panics, what is untaken is not done at all.
struct AllDone<'a> {
    team: &'a Team,
    parts: usize,
}

impl Drop for AllDone<'_> {
    fn drop(&mut self) {
        let left = self.team.untaken.0.swap(0, Ordering::AcqRel);
        self.team.done.0.fetch_add(left, Ordering::Release);
        let mut looks = 0;
        while self.team.done.0.load(Ordering::Acquire) < self.parts {
            looks += 1;
            // Never asleep: what is awaited takes microseconds.
            pause(looks.min(LOOKS + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    fn pool(threads: usize) -> rayon::ThreadPool {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
    }

    #[test]
    fn every_part_is_done_once_in_thousands_of_jobs() {
        for threads in [1, 2, 3, 8] {
            pool(threads).install(|| {
                Team::session(|team| {
                    for job in 0..3000 {
                        let parts = job % 37;
                        let counts: Vec<AtomicU64> = (0..parts).map(|_| 0.into()).collect();
                        team.run(parts, |range| {
                            for part in range {
                                counts[part].fetch_add(1, Ordering::Relaxed);
                            }
                        });
                        assert!(counts.iter().all(|c| c.load(Ordering::Relaxed) == 1));
                    }
                });
            });
        }
    }

    #[test]
    fn chunks_are_disjoint_and_in_place() {
        pool(3).install(|| {
            Team::session(|team| {
                for (total, len) in [(0, 4), (1, 4), (103, 10), (100, 10), (5, 1)] {
                    let mut data = vec![usize::MAX; total];
                    team.chunks_mut(&mut data, len, |index, chunk| chunk.fill(index));
                    let expected: Vec<usize> = (0..total).map(|i| i / len).collect();
                    assert_eq!(data, expected);
                }
            });
        });
    }

    #[test]
    fn a_panic_in_any_thread_reaches_the_owner_and_nobody_hangs() {
        for threads in [1, 4] {
            for bad in [0, 17, 49] {
                let result = std::panic::catch_unwind(|| {
                    pool(threads).install(|| {
                        Team::session(|team| {
                            team.run(50, |range| assert!(!range.contains(&bad), "on purpose"));
                        });
                    });
                });
                assert!(result.is_err());
            }
        }
    }

    #[test]
    fn a_session_inside_a_busy_pool_still_ends() {
        // All threads of the pool are at work in sessions of their own.
        pool(2).install(|| {
            rayon::join(
                || {
                    Team::session(|team| {
                        for _ in 0..200 {
                            team.run(10, |_| {});
                        }
                    })
                },
                || {
                    Team::session(|team| {
                        for _ in 0..200 {
                            team.run(10, |_| {});
                        }
                    })
                },
            )
        });
    }
}
