//! Hostile files: the fuzz corpus replayed and mutated, with the allocations counted.
//!
//! No bytes may make a parser panic, or take memory out of proportion to the file.

#[path = "../../../fuzz/src/lib.rs"]
mod parsers;

use proptest::prelude::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;

/// Counts what the current thread holds, and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

// SAFETY: hands every call to the system's allocator unchanged; counting touches a thread-local number only.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|held| {
            let now = held.get().0.saturating_add(layout.size());
            held.set((now, held.get().1.max(now)));
        });
        // SAFETY: the caller's promises are those that the system's allocator wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|held| {
            let (now, most) = held.get();
            held.set((now.saturating_sub(layout.size()), most));
        });
        // SAFETY: the caller's promises are those that the system's allocator wants.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The most bytes that `work` holds at once, beyond what was held before.
fn peak(work: impl FnOnce()) -> usize {
    let before = HELD.with(|held| {
        held.set((held.get().0, held.get().0));
        held.get().0
    });
    work();
    HELD.with(|held| held.get().1) - before
}

type Parser = fn(&[u8]);

/// Parser and folder of the corpus.
const PARSERS: [(&str, Parser); 7] = [
    ("safetensors", parsers::safetensors),
    ("index", parsers::index),
    ("gguf", parsers::gguf),
    ("llama2c", parsers::llama2c),
    ("llama2c_tokenizer", parsers::llama2c_tokenizer),
    ("torch", parsers::torch),
    ("hf_config", parsers::hf_config),
];

fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
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

/// Parses under the limit: quantized numbers become eight times larger as f32, a JSON value or a short string
/// takes tens of bytes for one, and each parser has its fixed buffers.
fn parse(name: &str, parser: Parser, bytes: &[u8]) -> Result<(), String> {
    let limit = 256 * bytes.len() + (1 << 20);
    let most = peak(|| parser(bytes));
    if most > limit {
        return Err(format!(
            "{name}: {most} bytes held for a file of {}",
            bytes.len()
        ));
    }
    Ok(())
}

#[test]
fn the_corpus_neither_panics_nor_takes_memory() {
    for (name, parser) in PARSERS {
        for (path, bytes) in corpus(name) {
            parse(&path, parser, &bytes).unwrap();
        }
    }
}

/// A change to a file.
#[derive(Clone, Debug)]
enum Change {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn mutated_files_neither_panic_nor_take_memory(
        parser in 0..PARSERS.len(),
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec(change(), 1..5),
    ) {
        let (name, parser) = PARSERS[parser];
        let files = corpus(name);
        let mut bytes = file.get(&files).1.clone();
        for change in &changes {
            apply(&mut bytes, change);
        }
        let fine = parse(name, parser, &bytes);
        prop_assert!(fine.is_ok(), "{fine:?}");
    }
}
