//! How byte-level BPE cuts text before it merges: llama.cpp's names and the rules of `tokenizers`.
//!
//! The expressions are facts of the models that use them; both programs must have the same ones.

use serde_json::{Value, json};

/// A named cut.
pub(super) struct Cut {
    /// `tokenizer.ggml.pre`; the first is written, all are read.
    pub names: &'static [&'static str],
    rules: &'static [Rule],
    /// Whether a piece that is a token is not merged at all.
    pub ignore_merges: bool,
}

enum Rule {
    /// Each digit by itself.
    Digits,
    /// An expression, each match by itself.
    Split(&'static str),
    /// GPT-2's expression, which `ByteLevel` brings along.
    Gpt2,
}

/// The cuts that are known here.
pub(super) const CUTS: &[Cut] = &[
    Cut {
        names: &["gpt-2", "mpt", "olmo", "jais"],
        rules: &[Rule::Gpt2],
        ignore_merges: false,
    },
    Cut {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell"],
        rules: &[Rule::Digits, Rule::Gpt2],
        ignore_merges: false,
    },
    Cut {
        names: &["llama-bpe", "llama3", "llama-v3"],
        rules: &[Rule::Split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )],
        ignore_merges: true,
    },
    Cut {
        names: &["qwen2", "deepseek-r1-qwen", "stablelm2"],
        rules: &[Rule::Split(
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        )],
        ignore_merges: false,
    },
];

/// The cut of a name.
pub(super) fn by_name(name: &str) -> Option<&'static Cut> {
    CUTS.iter().find(|cut| cut.names.contains(&name))
}

/// The cut of a tokenizer.json.
pub(super) fn of(pre_tokenizer: &Value, ignore_merges: bool) -> Option<&'static Cut> {
    let steps = match pre_tokenizer["type"].as_str() {
        Some("Sequence") => pre_tokenizer["pretokenizers"].as_array()?.clone(),
        _ => vec![pre_tokenizer.clone()],
    };
    CUTS.iter().find(|cut| {
        let mut rest = steps.as_slice();
        for rule in cut.rules {
            let Some((step, after)) = rest.split_first() else {
                return false;
            };
            let equal = match rule {
                Rule::Digits => step["type"] == "Digits" && step["individual_digits"] == true,
                Rule::Split(regex) => {
                    step["type"] == "Split"
                        && step["pattern"]["Regex"] == *regex
                        && matches!(step["behavior"].as_str(), Some("Isolated" | "Removed"))
                        && (step["behavior"] == "Isolated") != (step["invert"] == true)
                }
                Rule::Gpt2 => byte_level(step) && step["use_regex"] != false,
            };
            if !equal {
                return false;
            }
            rest = after;
        }
        // After an expression, `ByteLevel` only spells bytes.
        let spelled = match cut.rules.last() {
            Some(Rule::Gpt2) => rest.is_empty(),
            _ => matches!(rest, [step] if byte_level(step) && step["use_regex"] == false),
        };
        spelled && cut.ignore_merges == ignore_merges
    })
}

fn byte_level(step: &Value) -> bool {
    step["type"] == "ByteLevel" && step["add_prefix_space"] == false
}

impl Cut {
    /// The `pre_tokenizer` of a tokenizer.json.
    pub fn pre_tokenizer(&self) -> Value {
        let byte_level = |regex: bool| json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex });
        let mut steps: Vec<Value> = self
            .rules
            .iter()
            .map(|rule| match rule {
                Rule::Digits => json!({ "type": "Digits", "individual_digits": true }),
                Rule::Split(regex) => json!({ "type": "Split", "pattern": { "Regex": regex }, "behavior": "Isolated", "invert": false }),
                Rule::Gpt2 => byte_level(true),
            })
            .collect();
        if !matches!(self.rules.last(), Some(Rule::Gpt2)) {
            steps.push(byte_level(false));
        }
        match steps.len() {
            1 => steps.remove(0),
            _ => json!({ "type": "Sequence", "pretokenizers": steps }),
        }
    }
}
