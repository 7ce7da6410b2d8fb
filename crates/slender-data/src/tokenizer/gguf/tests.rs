use super::*;
use crate::tokenizer::Tokenizer;
use serde_json::json;

/// Tokens with kinds, a small SentencePiece vocabulary.
fn llama() -> GgufTokenizer {
    let mut tokens: Vec<(String, i32)> = [("<unk>", 2), ("<s>", 3), ("</s>", 3)]
        .map(|(text, kind)| (text.to_owned(), kind))
        .to_vec();
    tokens.extend((0..=255).map(|b| (format!("<0x{b:02X}>"), 6)));
    let pieces = ["▁a", "ab", "▁ab", "▁▁", "▁", "a", "b"];
    tokens.extend(pieces.map(|text| (text.to_owned(), 1)));
    let (tokens, kinds): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
    GgufTokenizer {
        model: "llama".into(),
        pre: Some("default".into()),
        scores: Some(
            (0..tokens.len())
                .map(|id| 0.0 - id.saturating_sub(259) as f32)
                .collect(),
        ),
        tokens,
        token_types: Some(kinds),
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        add_bos: Some(true),
        add_space_prefix: Some(true),
        chat_template: Some("{{ bos_token }}".into()),
        ..GgufTokenizer::default()
    }
}

#[test]
fn sentencepiece_goes_there_and_back() {
    let gguf = llama();
    let tokenizer = gguf.to_tokenizer("t").unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(1), Some(2)));
    let pieces = |text: &str| -> Vec<String> {
        let ids = tokenizer.encode(text, false);
        ids.iter()
            .map(|id| tokenizer.id_to_token(*id).unwrap())
            .collect()
    };
    assert_eq!(pieces("ab  é"), ["▁ab", "▁▁", "<0xC3>", "<0xA9>"]);
    assert_eq!(tokenizer.settings().add_bos(), Some(true));
    assert_eq!(
        tokenizer
            .chat_template()
            .unwrap()
            .unwrap()
            .render(&[], false)
            .unwrap(),
        "<s>"
    );
    let (again, notes) = GgufTokenizer::from_tokenizer(&tokenizer).unwrap();
    assert!(notes.is_empty());
    assert_eq!(
        (&again.tokens, &again.token_types),
        (&gguf.tokens, &gguf.token_types)
    );
    assert_eq!(
        (again.add_bos, again.add_space_prefix),
        (Some(true), Some(true))
    );
    assert_eq!(again.to_tokenizer("t").unwrap().hash(), tokenizer.hash());
    let fields = again.fields();
    let get = |key: &str| {
        fields
            .iter()
            .find(|(k, _)| *k == key)
            .map(|(_, v)| v.clone())
    };
    assert_eq!(GgufTokenizer::from_fields(get).unwrap(), again);
}

/// LLaMA's runs of spaces have one score: which is merged first is a matter of place.
#[test]
fn pieces_of_one_score_stay_so() {
    let mut gguf = llama();
    for count in 3..8 {
        gguf.tokens.push("▁".repeat(count));
        gguf.token_types.as_mut().unwrap().push(1);
        gguf.scores.as_mut().unwrap().push(-1e9);
    }
    let runs = gguf.tokens.iter().position(|token| token == "▁▁").unwrap();
    gguf.scores.as_mut().unwrap()[runs] = -1e9;
    let tokenizer = gguf.to_tokenizer("t").unwrap();
    let (again, _) = GgufTokenizer::from_tokenizer(&tokenizer).unwrap();
    // Two spaces come after all others in the list and may have a score of their own.
    let scores = &again.scores.as_ref().unwrap()[runs..];
    let longer = &scores[scores.len() - 5..];
    assert!(longer[0] < 0.0 && longer.iter().all(|score| *score == longer[0]));
    let back = again.to_tokenizer("t").unwrap();
    assert_eq!(back.hash(), tokenizer.hash());

    // The merges of one token may be in any order; transformers 5 writes the shorter left part first.
    let mut json: serde_json::Value = serde_json::from_str(tokenizer.json()).unwrap();
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    let join = |merge: &serde_json::Value| {
        format!(
            "{}{}",
            merge[0].as_str().unwrap(),
            merge[1].as_str().unwrap()
        )
    };
    let at = (0..merges.len() - 1).find(|at| {
        join(&merges[*at]) == join(&merges[at + 1]) && !join(&merges[*at]).contains("▁▁")
    });
    merges.swap(at.unwrap(), at.unwrap() + 1);
    let other = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let (other, _) = GgufTokenizer::from_tokenizer(&other).unwrap();
    assert_eq!(other.scores, again.scores);

    // Metaspace, as transformers 5 writes it, is llama.cpp's space before a text, nearly.
    let mut json: serde_json::Value = serde_json::from_str(tokenizer.json()).unwrap();
    json["normalizer"] = serde_json::Value::Null;
    json["pre_tokenizer"] = json!({ "type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": false });
    let metaspace = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let (gguf, notes) = GgufTokenizer::from_tokenizer(&metaspace).unwrap();
    assert_eq!((gguf.add_space_prefix, notes.len()), (Some(true), 1));
    json["pre_tokenizer"]["split"] = json!(true);
    let split = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let error = GgufTokenizer::from_tokenizer(&split)
        .unwrap_err()
        .to_string();
    assert!(error.contains("Metaspace"), "{error}");

    // Merges in an order that no scores give.
    let mut json: serde_json::Value = serde_json::from_str(tokenizer.json()).unwrap();
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    merges.reverse();
    let odd = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let error = GgufTokenizer::from_tokenizer(&odd).unwrap_err().to_string();
    assert!(error.contains("scores cannot say"), "{error}");
    let merges = json["model"]["merges"].as_array_mut().unwrap();
    merges.reverse();
    merges.pop();
    let odd = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    let error = GgufTokenizer::from_tokenizer(&odd).unwrap_err().to_string();
    assert!(error.contains("are not merged"), "{error}");
}

#[test]
fn byte_level_goes_there_and_back() {
    let text = (0..300).map(|i| Ok(format!("sea {i} shore ship {} sheep", i * i)));
    let trained = crate::tokenizer::train_bpe(text, 300).unwrap();
    let (gguf, notes) = GgufTokenizer::from_tokenizer(&trained).unwrap();
    assert!(notes.is_empty());
    assert_eq!(
        (gguf.model.as_str(), gguf.pre.as_deref()),
        ("gpt2", Some("gpt-2"))
    );
    assert_eq!(gguf.token_types.as_ref().unwrap()[0], 3);
    let again = gguf.to_tokenizer("t").unwrap();
    for text in ["sea shore 12345  \n\t été 日本", "ship's <|endoftext|>"] {
        assert_eq!(again.encode(text, true), trained.encode(text, true));
        assert_eq!(
            again.encode_with_special(text),
            trained.encode_with_special(text)
        );
    }
    // Every cut is recognised as itself.
    let mut json: serde_json::Value = serde_json::from_str(trained.json()).unwrap();
    for cut in cut::CUTS {
        json["pre_tokenizer"] = cut.pre_tokenizer();
        json["model"]["ignore_merges"] = json!(cut.ignore_merges);
        let tokenizer = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
        let (gguf, _) = GgufTokenizer::from_tokenizer(&tokenizer).unwrap();
        assert_eq!(gguf.pre.as_deref(), Some(cut.names[0]));
        assert_eq!(
            gguf.to_tokenizer("t")
                .unwrap()
                .encode("It's 12345!\n\n x", false),
            tokenizer.encode("It's 12345!\n\n x", false)
        );
    }
}

#[test]
fn what_cannot_be_said_is_named() {
    let import = |change: &dyn Fn(&mut GgufTokenizer)| {
        let mut gguf = llama();
        change(&mut gguf);
        gguf.to_tokenizer("t").unwrap_err().to_string()
    };
    assert!(import(&|g| g.model = "bert".into()).contains("bert"));
    assert!(import(&|g| g.scores = None).contains("scores"));
    assert!(import(&|g| g.scores = Some(vec![0.0])).contains("1 entries"));
    assert!(import(&|g| g.bos = Some(9999)).contains("bos_token_id"));
    assert!(import(&|g| g.tokens[5] = "a".into()).contains("twice"));
    assert!(import(&|g| g.tokens.clear()).contains("empty"));
    let gpt2 = |g: &mut GgufTokenizer| {
        g.model = "gpt2".into();
        g.pre = Some("gpt-2".into());
        g.merges = Some(vec!["q r".into()]);
    };
    assert!(import(&gpt2).contains("q r"));
    assert!(
        import(&|g| {
            gpt2(g);
            g.pre = Some("odd".into())
        })
        .contains("odd")
    );
    assert!(
        import(&|g| {
            gpt2(g);
            g.merges = None
        })
        .contains("merges")
    );
    let get = |key: &str| (key == "tokenizer.ggml.model").then_some(GgufField::U32(1));
    assert!(
        GgufTokenizer::from_fields(get)
            .unwrap_err()
            .to_string()
            .contains("tokenizer.ggml.model")
    );
    let json = json!({ "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": null, "post_processor": null, "decoder": null,
        "model": { "type": "WordLevel", "vocab": { "a": 0 }, "unk_token": "a" } });
    let words = Tokenizer::from_bytes(json.to_string().as_bytes()).unwrap();
    assert!(
        GgufTokenizer::from_tokenizer(&words)
            .unwrap_err()
            .to_string()
            .contains("WordLevel")
    );
}
