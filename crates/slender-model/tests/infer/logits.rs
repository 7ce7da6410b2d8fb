//! Logits with a cache against logits without.
//!
//! On the kernels the promise is equality to the last bit, in every format: between one token at a time,
//! a prompt at once, pieces, batches and numbers of threads; and in f32 with the training forward pass.
//! The composition of Burn operations keeps it to within rounding.

use super::models::{VOCAB, model, shape, shapes, tokens, uncached};
use burn::tensor::Device;
use slender_config::{ModelShape, SharingKind};
use slender_kernels::has_kernels;
use slender_kernels::infer::{Team, WeightFormat};
use slender_model::Transformer;
use slender_model::infer::{Engine, InferError, Rows, Sequence};

/// Largest accepted `max|a - b| / max|b|` between compositions that add up in other orders.
const BOUND: f32 = 2e-5;

fn engine(shape: &ModelShape, format: WeightFormat) -> Engine {
    Engine::new(model(shape), &Device::flex(), format)
}

fn composed(shape: &ModelShape, format: WeightFormat) -> Engine {
    Engine::composed(model(shape), &Device::flex(), format)
}

/// Logits of all tokens, read in pieces.
fn read(engine: &Engine, sequence: &mut Sequence, tokens: &[u32], pieces: &[usize]) -> Vec<f32> {
    engine.session(|team| {
        let (mut rest, mut logits) = (tokens, Vec::new());
        let mut pieces = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(pieces.next().unwrap().min(rest.len()));
            logits.extend(
                engine
                    .forward(team, &mut [&mut *sequence], &[now], Rows::All)
                    .unwrap(),
            );
            rest = later;
        }
        logits
    })
}

fn read_new(engine: &Engine, tokens: &[u32], pieces: &[usize]) -> Vec<f32> {
    read(engine, &mut engine.sequence(), tokens, pieces)
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| (x + 0.0).to_bits()).collect()
}

fn error(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let difference = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    difference.fold(0.0_f32, |max, x| if x <= max { max } else { x }) / largest
}

/// With `SLENDER_FUSED=0` the engine and the training pass are both composed of Burn operations, whose
/// products may round otherwise from shape to shape.
fn same(a: &[f32], b: &[f32], what: &str) {
    if has_kernels(&Device::flex()) {
        assert!(
            bits(a) == bits(b),
            "{what}: not the same bits, {}",
            error(a, b)
        );
    } else {
        assert!(error(a, b) < BOUND, "{what}: {}", error(a, b));
    }
}

#[test]
fn cached_logits_are_those_of_the_training_pass() {
    for (name, shape) in shapes() {
        let tokens = tokens(75, 1);
        let expected = uncached(&model(&shape), &tokens);
        let engine = engine(&shape, WeightFormat::F32);
        for pieces in [vec![75], vec![1], vec![3, 30, 1, 26]] {
            let logits = read_new(&engine, &tokens, &pieces);
            same(&logits, &expected, &format!("{name}, pieces of {pieces:?}"));
        }
    }
}

#[test]
fn long_texts_go_through_several_passes_and_blocks_of_keys() {
    let shape = shape();
    let tokens = tokens(600, 2);
    let expected = uncached(&model(&shape), &tokens);
    let engine = engine(&shape, WeightFormat::F32);
    for pieces in [vec![600], vec![540, 1]] {
        same(
            &read_new(&engine, &tokens, &pieces),
            &expected,
            "600 tokens",
        );
    }
}

#[test]
fn every_format_reads_and_writes_alike() {
    for (name, shape) in shapes() {
        let tokens = tokens(60, 3);
        let exact = uncached(&model(&shape), &tokens);
        for format in WeightFormat::ALL {
            let engine = engine(&shape, format);
            let whole = read_new(&engine, &tokens, &[60]);
            let single = read_new(&engine, &tokens, &[1]);
            same(&single, &whole, &format!("{name}, {format}"));
            // The same rounded weights through Burn's operations.
            let plain = composed(&shape, format);
            for pieces in [vec![60], vec![1]] {
                let plain = read_new(&plain, &tokens, &pieces);
                let error = error(&plain, &whole);
                assert!(
                    error < BOUND,
                    "{name}, {format} composed, {pieces:?}: {error}"
                );
            }
            // And it is the format that differs from the exact weights, as much as it should.
            let error = error(&whole, &exact);
            let bound = match format {
                WeightFormat::F32 => BOUND,
                WeightFormat::Bf16 | WeightFormat::Q8_0 => 0.3,
            };
            assert!(error < bound, "{name}, {format}: {error}");
            assert!(
                format == WeightFormat::F32 || error > 1e-4,
                "{format} rounds"
            );
        }
    }
}

#[test]
fn a_batch_is_its_sequences_one_by_one() {
    for (name, shape) in shapes() {
        for format in [WeightFormat::F32, WeightFormat::Q8_0] {
            let engine = engine(&shape, format);
            let prompts: Vec<Vec<u32>> = [5, 40, 1, 33, 17, 64, 2, 8, 9]
                .iter()
                .map(|&len| tokens(len, len))
                .collect();
            let alone: Vec<Vec<f32>> = prompts
                .iter()
                .map(|prompt| read_new(&engine, prompt, &[1]))
                .collect();
            let mut together: Vec<Sequence> = prompts.iter().map(|_| engine.sequence()).collect();
            // All but the last token of each at once, then the last tokens at once.
            let heads: Vec<&[u32]> = prompts
                .iter()
                .map(|prompt| &prompt[..prompt.len() - 1])
                .collect();
            let tails: Vec<&[u32]> = prompts
                .iter()
                .map(|prompt| &prompt[prompt.len() - 1..])
                .collect();
            let logits = engine.session(|team| {
                let long: Vec<usize> = (0..heads.len()).filter(|&i| !heads[i].is_empty()).collect();
                let mut sequences: Vec<&mut Sequence> = together
                    .iter_mut()
                    .zip(&heads)
                    .filter_map(|(sequence, head)| (!head.is_empty()).then_some(sequence))
                    .collect();
                let heads: Vec<&[u32]> = long.iter().map(|&i| heads[i]).collect();
                let first = engine
                    .forward(team, &mut sequences, &heads, Rows::Last)
                    .unwrap();
                for (row, &index) in first.chunks_exact(VOCAB).zip(&long) {
                    let at = (prompts[index].len() - 2) * VOCAB;
                    same(row, &alone[index][at..at + VOCAB], name);
                }
                let mut sequences: Vec<&mut Sequence> = together.iter_mut().collect();
                engine
                    .forward(team, &mut sequences, &tails, Rows::Last)
                    .unwrap()
            });
            for ((row, alone), sequence) in logits.chunks_exact(VOCAB).zip(&alone).zip(&together) {
                same(row, &alone[alone.len() - VOCAB..], name);
                assert_eq!(sequence.tokens().len() * VOCAB, alone.len());
            }
        }
    }
}

/// The plain model whose layers are the executions of `shared`, one after another.
fn unrolled(shared: &ModelShape) -> Transformer {
    let weights = model(shared).to_tensors();
    let schedule = shared.schedule();
    let plain = ModelShape {
        n_layers: schedule.len(),
        sharing: SharingKind::None,
        repeats: 1,
        ..shared.clone()
    };
    Transformer::build(&plain, &Device::flex(), &mut |name, _| {
        let own = match name
            .strip_prefix("model.layers.")
            .and_then(|rest| rest.split_once('.'))
        {
            None => name.to_owned(),
            Some((layer, rest)) => {
                let layer: usize = layer.parse().unwrap();
                format!("model.layers.{}.{rest}", schedule[layer])
            }
        };
        let found = weights.iter().find(|weight| weight.name == own).unwrap();
        Ok::<_, std::convert::Infallible>(found.values.clone())
    })
    .unwrap_or_else(|never| match never {})
}

#[test]
fn shared_blocks_decode_as_the_layers_they_stand_for() {
    let mut seen = 0;
    for (name, shape) in shapes() {
        if shape.sharing == SharingKind::None {
            continue;
        }
        seen += 1;
        let tokens = tokens(50, 4);
        let shared = engine(&shape, WeightFormat::Bf16);
        let plain = Engine::new(unrolled(&shape), &Device::flex(), WeightFormat::Bf16);
        let expected = read_new(&plain, &tokens, &[50]);
        same(&read_new(&shared, &tokens, &[20, 1]), &expected, name);
        if let (Some(shared), Some(plain)) = (shared.weight_bytes(), plain.weight_bytes()) {
            assert_eq!(shared.0, plain.0, "read");
            assert!(shared.1 < plain.1, "stored");
        }
    }
    assert_eq!(seen, 3);
}

#[test]
fn a_prefix_is_kept_and_the_rest_forgotten() {
    for (name, shape) in shapes() {
        for engine in [
            engine(&shape, WeightFormat::F32),
            composed(&shape, WeightFormat::F32),
        ] {
            let (one, other) = (tokens(70, 5), tokens(70, 6));
            for keep in [0, 1, 31, 32, 69] {
                let mut sequence = engine.sequence();
                read(&engine, &mut sequence, &one, &[70]);
                sequence.truncate(1000);
                assert_eq!(sequence.tokens(), one);
                sequence.truncate(keep);
                let text = [&one[..keep], &other[keep..]].concat();
                let rest = read(&engine, &mut sequence, &text[keep..], &[9, 1]);
                assert_eq!(sequence.tokens(), text);
                let fresh = read_new(&engine, &text, &[70]);
                if engine.has_kernels() {
                    same(&rest, &fresh[keep * VOCAB..], name);
                } else {
                    assert!(error(&rest, &fresh[keep * VOCAB..]) < BOUND, "{name}");
                }
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_an_error_and_changes_nothing() {
    let shape = ModelShape {
        max_seq_len: 10,
        ..shape()
    };
    for engine in [
        engine(&shape, WeightFormat::F32),
        composed(&shape, WeightFormat::F32),
    ] {
        let mut sequence = engine.sequence();
        let team = Team::alone();
        let go = |sequence: &mut Sequence, tokens: &[u32]| {
            engine.forward(&team, &mut [sequence], &[tokens], Rows::Last)
        };
        assert_eq!(go(&mut sequence, &tokens(6, 1)).unwrap().len(), VOCAB);
        assert!(matches!(
            go(&mut sequence, &[]),
            Err(InferError::EmptyPrompt)
        ));
        let full = go(&mut sequence, &tokens(5, 1)).unwrap_err();
        assert!(
            full.to_string()
                .starts_with("11 tokens do not fit the model's 10 positions")
        );
        let unknown = go(&mut sequence, &[3, VOCAB as u32]).unwrap_err();
        assert!(
            unknown
                .to_string()
                .contains("token 270 is not among the model's 270")
        );
        assert_eq!(sequence.tokens(), tokens(6, 1));
        assert_eq!(go(&mut sequence, &tokens(4, 1)).unwrap().len(), VOCAB);
    }
}

#[test]
fn weights_that_are_not_numbers_are_found_out() {
    let shape = shape();
    let broken = Transformer::build(&shape, &Device::flex(), &mut |name, dims| {
        let value = if name == "model.layers.1.mlp.up_proj.weight" {
            f32::NAN
        } else {
            0.5
        };
        Ok::<_, std::convert::Infallible>(vec![value; dims.iter().product()])
    })
    .unwrap_or_else(|never| match never {});
    let engine = Engine::new(broken, &Device::flex(), WeightFormat::F32);
    let mut sequence = engine.sequence();
    let result = engine.forward(&Team::alone(), &mut [&mut sequence], &[&[1, 2]], Rows::Last);
    assert!(
        matches!(result, Err(InferError::NotANumber { tokens: 2 })),
        "{result:?}"
    );
}
