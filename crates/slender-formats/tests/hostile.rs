//! Hostile files: the fuzz corpus replayed and mutated, with the allocations counted.
//!
//! No bytes may make a parser panic, or take memory out of proportion to the file.

#[path = "../../../fuzz/src/formats.rs"]
mod parsers;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

use proptest::prelude::*;
use replay::Target;

const fn target(name: &'static str, parser: fn(&[u8])) -> Target {
    Target {
        name,
        parser,
        // Quantized numbers become eight times larger as f32, a JSON value or a short string takes tens of
        // bytes for one, and each parser has its fixed buffers.
        limit: |bytes| 256 * bytes + (1 << 20),
    }
}

const TARGETS: [Target; 7] = [
    target("safetensors", parsers::safetensors),
    target("index", parsers::index),
    target("gguf", parsers::gguf),
    target("llama2c", parsers::llama2c),
    target("llama2c_tokenizer", parsers::llama2c_tokenizer),
    target("torch", parsers::torch),
    target("hf_config", parsers::hf_config),
];

#[test]
fn the_corpus_neither_panics_nor_takes_memory() {
    replay::replay(&TARGETS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn mutated_files_neither_panic_nor_take_memory(
        (target, file, changes) in replay::mutation(TARGETS.len())
    ) {
        let fine = replay::parse_changed(&TARGETS[target], file, &changes);
        prop_assert!(fine.is_ok(), "{fine:?}");
    }
}
