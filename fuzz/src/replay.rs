//! Replays the corpus of the fuzz targets on a stable compiler, with mutations, and counts allocations.
//!
//! The tests `hostile.rs` of slender-formats and slender-data share this. Parsers are those of the targets,
//! and a failure prints what was changed, which proptest makes small.

use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

/// Counts what the process holds, and the most it held. Some parsers work in threads of their own.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);
/// Held while memory is measured: tests of a program run side by side.
static MEASURING: Mutex<()> = Mutex::new(());

// SAFETY: hands every call to the system's allocator unchanged; counting touches two numbers only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(now, Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises are those that the system's allocator wants.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` holds at once, beyond what was held before.
fn peak(work: impl FnOnce()) -> usize {
    // A test that failed while it measured has said so; the other goes on.
    let _measuring = MEASURING.lock().unwrap_or_else(PoisonError::into_inner);
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    work();
    MOST.load(Relaxed) - before
}

/// A parser, the folder of its corpus, and what it may hold for a file of some length.
pub struct Target {
    pub name: &'static str,
    pub parser: fn(&[u8]),
    pub limit: fn(usize) -> usize,
}

pub fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut files: Vec<_> = std::fs::read_dir(folder.join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), std::fs::read(&path).unwrap()))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "{name} has no corpus");
    files
}

/// Parses under the limit.
pub fn parse(target: &Target, path: &str, bytes: &[u8]) -> Result<(), String> {
    let limit = (target.limit)(bytes.len());
    let most = peak(|| (target.parser)(bytes));
    if most > limit {
        return Err(format!(
            "{path}: {most} bytes held for a file of {}",
            bytes.len()
        ));
    }
    Ok(())
}

/// Every file of every corpus, as it is.
pub fn replay(targets: &[Target]) {
    for target in targets {
        for (path, bytes) in corpus(target.name) {
            parse(target, &path, &bytes).unwrap();
        }
    }
}

/// A few changes to a file of the corpus of one of `targets`.
pub fn mutation(
    targets: usize,
) -> impl Strategy<Value = (usize, prop::sample::Index, Vec<Change>)> {
    (
        0..targets,
        any::<prop::sample::Index>(),
        prop::collection::vec(change(), 1..5),
    )
}

/// Parses a file of a corpus after `changes`.
pub fn parse_changed(
    target: &Target,
    file: prop::sample::Index,
    changes: &[Change],
) -> Result<(), String> {
    let files = corpus(target.name);
    let (path, bytes) = file.get(&files);
    let mut bytes = bytes.clone();
    for change in changes {
        apply(&mut bytes, change);
    }
    parse(target, path, &bytes)
}

/// A change to a file.
#[derive(Clone, Debug)]
pub enum Change {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    /// Overwrites eight bytes, as a length or an offset is eight bytes.
    Number(prop::sample::Index, u64),
    Repeat(prop::sample::Index, prop::sample::Index),
    Append(Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    let number = prop_oneof![
        Just(u64::MAX),
        Just(u64::MAX / 2),
        Just(1 << 32),
        0..1024u64,
        any::<u64>()
    ];
    prop_oneof![
        index().prop_map(Change::Cut),
        (index(), any::<u8>()).prop_map(|(at, byte)| Change::Flip(at, byte)),
        (index(), number).prop_map(|(at, number)| Change::Number(at, number)),
        (index(), index()).prop_map(|(from, to)| Change::Repeat(from, to)),
        prop::collection::vec(any::<u8>(), 1..40).prop_map(Change::Append),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Cut(at) => bytes.truncate(at.index(bytes.len())),
        Change::Flip(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
        }
        Change::Number(at, number) => {
            let at = at.index(bytes.len());
            let end = (at + 8).min(bytes.len());
            bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
        }
        Change::Repeat(from, to) => {
            let (from, to) = (from.index(bytes.len()), to.index(bytes.len()));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(from..from, part);
        }
        Change::Append(more) => bytes.extend(more),
    }
}
