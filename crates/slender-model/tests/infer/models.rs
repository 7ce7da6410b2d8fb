//! Small models of every kind, and tokenizers written down by hand.

use burn::tensor::{Device, Int, Tensor, TensorData};
use serde_json::json;
use slender_config::{FfnKind, ModelShape, SharingKind};
use slender_data::Tokenizer;
use slender_model::Transformer;

pub const VOCAB: usize = 270;

pub fn shape() -> ModelShape {
    ModelShape {
        n_layers: 3,
        dim: 48,
        n_heads: 6,
        n_kv_heads: 2,
        head_dim: 8,
        ffn: FfnKind::Swiglu,
        ffn_hidden: 100,
        vocab_size: VOCAB,
        max_seq_len: 640,
        rope_theta: 10_000.0,
        norm_eps: 1e-5,
        // Large, so that a wrong key shows in every logit.
        init_std: 0.2,
        qk_norm: false,
        tie_embeddings: true,
        sharing: SharingKind::None,
        repeats: 1,
    }
}

/// Every trait of a model at least once.
pub fn shapes() -> Vec<(&'static str, ModelShape)> {
    let base = shape();
    vec![
        ("grouped queries, tied", base.clone()),
        (
            "one head each, untied",
            ModelShape {
                n_kv_heads: 6,
                tie_embeddings: false,
                ..base.clone()
            },
        ),
        (
            "one key-value head, norms on queries and keys",
            ModelShape {
                n_kv_heads: 1,
                qk_norm: true,
                ..base.clone()
            },
        ),
        (
            "wide heads, long sums",
            ModelShape {
                n_layers: 1,
                dim: 672,
                n_heads: 3,
                n_kv_heads: 3,
                head_dim: 34,
                ffn_hidden: 1300,
                init_std: 0.05,
                ..base.clone()
            },
        ),
        (
            "relu, every block twice at once",
            ModelShape {
                ffn: FfnKind::Relu,
                sharing: SharingKind::Immediate,
                repeats: 2,
                ..base.clone()
            },
        ),
        (
            "gelu, all blocks three times",
            ModelShape {
                ffn: FfnKind::Gelu,
                sharing: SharingKind::RepeatAllOver,
                repeats: 3,
                ..base.clone()
            },
        ),
        (
            "there and back",
            ModelShape {
                sharing: SharingKind::Reverse,
                repeats: 2,
                qk_norm: true,
                ..base
            },
        ),
    ]
}

pub fn model(shape: &ModelShape) -> Transformer {
    Transformer::new(shape, 11, &Device::flex())
}

/// A sequence of tokens that does not repeat soon.
pub fn tokens(count: usize, seed: usize) -> Vec<u32> {
    (0..count)
        .map(|i| ((i * i * 7 + i * 13 + seed * 101) % VOCAB) as u32)
        .collect()
}

/// Logits of every token without any cache, `[T][V]`.
pub fn uncached(model: &Transformer, tokens: &[u32]) -> Vec<f32> {
    let ids: Vec<i32> = tokens.iter().map(|&token| token as i32).collect();
    let data = TensorData::new(ids, [1, tokens.len()]);
    let hidden = model.hidden(Tensor::<2, Int>::from_data(data, &Device::flex()), None); // [1, T, D]
    let [_, t, d] = hidden.dims();
    model
        .logits(hidden.reshape([t, d]))
        .into_data()
        .try_into_vec()
        .unwrap()
}

/// The characters that stand for bytes in byte-level tokenizers.
fn byte_characters() -> Vec<char> {
    let printable = |b: u32| matches!(b, 33..=126 | 161..=172 | 174..=255);
    let mut others = 256..;
    (0..256)
        .map(|b| {
            char::from_u32(if printable(b) {
                b
            } else {
                others.next().unwrap()
            })
            .unwrap()
        })
        .collect()
}

/// Token `b` is byte `b`; 256 begins and 257 ends a text.
pub fn byte_tokenizer() -> Tokenizer {
    let vocab: serde_json::Map<String, serde_json::Value> = byte_characters()
        .into_iter()
        .enumerate()
        .map(|(id, c)| (c.to_string(), json!(id)))
        .chain([
            ("<s>".to_owned(), json!(256)),
            ("</s>".to_owned(), json!(257)),
        ])
        .collect();
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(256, "<s>"), special(257, "</s>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
                  "vocab": vocab, "merges": []},
    });
    Tokenizer::from_bytes(tokenizer.to_string().as_bytes()).unwrap()
}

/// Words with a space before them as LLaMA's tokenizer has them, which drops the first space of a text, and
/// bytes for what is not among them.
pub fn word_tokenizer() -> Tokenizer {
    let words = ["<unk>", "<s>", "</s>"].map(str::to_owned);
    let bytes = (0..256).map(|b| format!("<0x{b:02X}>"));
    let more = [
        "\u{2581}",
        "a",
        "b",
        "\u{2581}a",
        "\u{2581}b",
        "\u{2581}ab",
        "\n",
        "\u{e9}",
    ];
    let all: Vec<String> = words
        .into_iter()
        .chain(bytes)
        .chain(more.map(str::to_owned))
        .collect();
    let vocab: serde_json::Map<String, serde_json::Value> = all
        .iter()
        .enumerate()
        .map(|(id, word)| (word.clone(), json!(id)))
        .collect();
    let special = |id: usize, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false,
               "rstrip": false, "normalized": false, "special": true})
    };
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [special(0, "<unk>"), special(1, "<s>"), special(2, "</s>")],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "\u{2581}"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "\u{2581}"}]},
        "pre_tokenizer": null,
        "post_processor": null,
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u{2581}"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
        "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
                  "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true, "vocab": vocab,
                  "merges": [["\u{2581}", "a"], ["\u{2581}", "b"], ["\u{2581}a", "b"]]},
    });
    Tokenizer::from_bytes(tokenizer.to_string().as_bytes()).unwrap()
}
