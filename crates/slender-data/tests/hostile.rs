//! Hostile tokenizers and chat templates: the fuzz corpus replayed and mutated, with the allocations counted.
//!
//! No bytes may make a parser panic, or take memory out of proportion to the file.

#[path = "../../../fuzz/src/tokenizers.rs"]
mod parsers;
#[path = "../../../fuzz/src/replay.rs"]
mod replay;

use proptest::prelude::*;
use replay::Target;

/// Maps, automata and regular expressions of a vocabulary take kilobytes for a piece, and a tokenizer has its
/// fixed buffers.
const fn tokenizer(bytes: usize) -> usize {
    1024 * bytes + (4 << 20)
}

/// What a template may build is limited by its fuel, whatever its length.
const fn template(_: usize) -> usize {
    512 << 20
}

const TARGETS: [Target; 5] = [
    Target {
        name: "sentencepiece",
        parser: parsers::sentencepiece,
        limit: tokenizer,
    },
    Target {
        name: "llama2c_vocabulary",
        parser: parsers::llama2c_vocabulary,
        limit: tokenizer,
    },
    Target {
        name: "gguf_tokenizer",
        parser: parsers::gguf_tokenizer,
        limit: tokenizer,
    },
    Target {
        name: "tokenizer_settings",
        parser: parsers::tokenizer_settings,
        limit: template,
    },
    Target {
        name: "chat_template",
        parser: parsers::chat_template,
        limit: template,
    },
];

#[test]
fn the_corpus_neither_panics_nor_takes_memory() {
    replay::replay(&TARGETS);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn mutated_files_neither_panic_nor_take_memory(
        (target, file, changes) in replay::mutation(TARGETS.len())
    ) {
        let fine = replay::parse_changed(&TARGETS[target], file, &changes);
        prop_assert!(fine.is_ok(), "{fine:?}");
    }
}
