//! Prompts in, texts out: the same alone and in company, for the same seed, and ended for the right reason.

use super::models::{byte_tokenizer, model, shape, shapes};
use burn::tensor::Device;
use slender_config::ModelShape;
use slender_kernels::infer::WeightFormat;
use slender_model::infer::{
    Engine, Finish, Generated, Generation, InferError, Request, Sampling, generate, generate_each,
    generate_on,
};

const ONE: Generation = Generation {
    batch: 1,
    log_probs: true,
};

fn request(text: &str, seed: u64) -> Request {
    Request {
        prompt: std::iter::once(256)
            .chain(text.bytes().map(u32::from))
            .collect(),
        max_tokens: Some(24),
        sampling: Sampling {
            temperature: 1.0,
            top_k: 40,
            seed,
            ..Sampling::greedy()
        },
        stop: Vec::new(),
        eos: vec![257],
    }
}

fn engine(shape: &ModelShape) -> Engine {
    Engine::new(model(shape), &Device::flex(), WeightFormat::F32)
}

/// Answers without their times.
fn answers(engine: &Engine, requests: &[Request], options: Generation) -> Vec<Generated> {
    let mut shown = vec![String::new(); requests.len()];
    let answers = generate(
        engine,
        &byte_tokenizer(),
        requests,
        options,
        &mut |index, text| {
            shown[index] += text;
            true
        },
    );
    let mut answers = answers.unwrap();
    for (answer, shown) in answers.iter_mut().zip(&shown) {
        assert_eq!(&answer.text, shown, "what was shown is the text");
        answer.timings = Default::default();
    }
    answers
}

#[test]
fn batches_and_seeds() {
    for (name, shape) in shapes() {
        let engine = engine(&shape);
        if !engine.has_kernels() {
            println!("skipped: composed operations round otherwise in company");
            return;
        }
        let requests: Vec<Request> = ["", "one", "a longer prompt than the others", "x", "one"]
            .iter()
            .zip([1, 2, 3, 4, 5])
            .map(|(text, seed)| request(text, seed))
            .collect();
        let alone = answers(&engine, &requests, ONE);
        for batch in [2, 5, 64] {
            let options = Generation { batch, ..ONE };
            assert_eq!(
                answers(&engine, &requests, options),
                alone,
                "{name}, {batch} at a time"
            );
        }
        assert_ne!(
            alone[1].tokens, alone[4].tokens,
            "another seed, another text"
        );
        let again = answers(&engine, &requests[1..2], ONE);
        assert_eq!(again[0], alone[1], "the same seed, the same text");
        for answer in &alone {
            assert_eq!(answer.log_probs.len(), answer.tokens.len());
            assert!(answer.log_probs.iter().all(|p| *p <= 0.0 && p.is_finite()));
        }
    }
}

#[test]
fn an_answer_ends_for_the_right_reason() {
    let engine = engine(&ModelShape {
        max_seq_len: 40,
        ..shape()
    });
    let base = request("end", 9);
    let free = Request {
        max_tokens: None,
        eos: Vec::new(),
        ..base.clone()
    };
    let [long] = &answers(&engine, std::slice::from_ref(&free), ONE)[..] else {
        panic!("one answer");
    };
    // 4 tokens of prompt, 36 positions, and a last token that need not be read.
    assert_eq!(
        (long.finish.clone(), long.tokens.len()),
        (Finish::Context, 37)
    );

    let limited = Request {
        max_tokens: Some(5),
        ..free.clone()
    };
    let ends = Request {
        eos: vec![long.tokens[7]],
        ..free.clone()
    };
    let at = long
        .tokens
        .iter()
        .position(|token| *token == long.tokens[7])
        .unwrap();
    let answers_of =
        |request: &Request| answers(&engine, std::slice::from_ref(request), ONE).remove(0);
    let five = answers_of(&limited);
    assert_eq!(
        (five.finish, &five.tokens[..]),
        (Finish::MaxTokens, &long.tokens[..5])
    );
    let eos = answers_of(&ends);
    assert_eq!(
        (eos.finish, &eos.tokens[..]),
        (Finish::Eos, &long.tokens[..=at])
    );
    // The token that ends a text is no part of it.
    assert_eq!(eos.text, byte_tokenizer().decode(&long.tokens[..at]));
}

#[test]
fn a_stop_string_ends_the_text_across_tokens() {
    let engine = engine(&shape());
    // A text of characters, so that every string of it is over several tokens.
    let free = Request {
        max_tokens: Some(60),
        eos: Vec::new(),
        ..request("stop", 3)
    };
    let long = answers(&engine, std::slice::from_ref(&free), ONE).remove(0);
    let characters: Vec<char> = long.text.chars().collect();
    let stop: String = characters[10..13].iter().collect();
    let at = long.text.find(&stop).unwrap();
    let stopped = Request {
        stop: vec!["never to be found".into(), stop.clone()],
        ..free
    };
    let answer = answers(&engine, std::slice::from_ref(&stopped), ONE).remove(0);
    assert_eq!(answer.finish, Finish::Stop(stop));
    assert_eq!(answer.text, long.text[..at]);
    assert_eq!(answer.tokens, long.tokens[..answer.tokens.len()]);
    assert!(answer.tokens.len() < long.tokens.len());
}

#[test]
fn answers_are_done_in_order_and_at_once() {
    let engine = engine(&shape());
    let mut requests: Vec<Request> = (0..5).map(|seed| request("first", seed)).collect();
    for (request, most) in requests.iter_mut().zip([6, 2, 2, 9, 1]) {
        request.max_tokens = Some(most);
        request.eos.clear();
    }
    let all = answers(&engine, &requests, ONE);
    for batch in [1, 2, 8] {
        let (mut done, shown) = (Vec::new(), std::cell::RefCell::new(Vec::new()));
        let mut before_the_last = 0;
        generate_each(
            &engine,
            &byte_tokenizer(),
            &requests,
            Generation { batch, ..ONE },
            &mut |index, _| {
                shown.borrow_mut().push(index);
                true
            },
            &mut |index, mut answer| {
                assert_eq!(index, done.len());
                answer.timings = Default::default();
                done.push(answer);
                if !shown.borrow().contains(&4) {
                    before_the_last += 1;
                }
            },
        )
        .unwrap();
        assert_eq!(done, all);
        // One at a time, nobody waits for who comes later.
        assert!(batch > 1 || before_the_last == 4, "{before_the_last}");
    }
}

#[test]
fn who_wants_no_more_gets_no_more() {
    let engine = engine(&shape());
    let requests = [request("first", 1), request("second", 2)];
    let options = Generation { batch: 2, ..ONE };
    let mut seen = 0;
    let answers = generate(
        &engine,
        &byte_tokenizer(),
        &requests,
        options,
        &mut |index, _| {
            seen += usize::from(index == 0);
            index != 0 || seen < 3
        },
    )
    .unwrap();
    assert_eq!(answers[0].finish, Finish::Cancelled);
    assert_ne!(answers[1].finish, Finish::Cancelled);
}

#[test]
fn a_conversation_reads_only_what_is_new_and_says_the_same() {
    let engine = engine(&shape());
    let tokenizer = byte_tokenizer();
    let mut sequence = engine.sequence();
    let mut show = |_: &str| true;
    let first = request("how are you?", 4);
    let one = generate_on(&engine, &tokenizer, &mut sequence, &first, false, &mut show).unwrap();
    let read = first.prompt.len() + one.tokens.len() - 1;
    assert_eq!(sequence.tokens().len(), read);
    let mut second = request("", 5);
    second.prompt = [&first.prompt[..], &one.tokens, &[10, 104, 109]].concat();
    let two = generate_on(
        &engine,
        &tokenizer,
        &mut sequence,
        &second,
        false,
        &mut show,
    )
    .unwrap();
    let fresh = answers(&engine, std::slice::from_ref(&second), ONE).remove(0);
    assert_eq!((two.tokens, two.text), (fresh.tokens, fresh.text));
    // A prompt that has been read already, and one that shares nothing.
    for prompt in [first.prompt.clone(), vec![7, 8, 9]] {
        let again = Request {
            prompt,
            ..first.clone()
        };
        let found =
            generate_on(&engine, &tokenizer, &mut sequence, &again, false, &mut show).unwrap();
        let fresh = answers(&engine, std::slice::from_ref(&again), ONE).remove(0);
        assert_eq!(found.tokens, fresh.tokens);
    }
}

#[test]
fn what_cannot_be_answered_is_an_error_before_anything_is() {
    let engine = engine(&ModelShape {
        max_seq_len: 8,
        ..shape()
    });
    let good = request("abc", 1);
    let with = |change: &dyn Fn(&mut Request)| {
        let mut bad = good.clone();
        change(&mut bad);
        let mut shown = 0;
        let requests = [good.clone(), bad];
        let error = generate(&engine, &byte_tokenizer(), &requests, ONE, &mut |_, _| {
            shown += 1;
            true
        })
        .unwrap_err();
        assert_eq!(shown, 0, "nothing is begun");
        error
    };
    assert!(matches!(
        with(&|r| r.prompt.clear()),
        InferError::EmptyPrompt
    ));
    assert!(matches!(
        with(&|r| r.prompt = vec![1; 9]),
        InferError::Context { .. }
    ));
    assert!(matches!(
        with(&|r| r.prompt = vec![5000]),
        InferError::Token { .. }
    ));
    assert!(matches!(
        with(&|r| r.max_tokens = Some(0)),
        InferError::Setting(_)
    ));
    assert!(matches!(
        with(&|r| r.sampling.top_p = 2.0),
        InferError::Setting(_)
    ));
}
