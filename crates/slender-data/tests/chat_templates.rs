//! Chat templates beside transformers' renderings of them (`scripts/golden_chat_templates.py`).

use serde_json::Value;
use slender_data::{ChatTemplate, Message};

#[test]
fn templates_render_as_in_transformers() {
    let golden: Value = serde_json::from_str(include_str!("data/chat_templates.json")).unwrap();
    let special: Vec<(String, String)> = golden["special"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, text)| (name.clone(), text.as_str().unwrap().to_owned()))
        .collect();
    let mut rendered = 0;
    for case in golden["cases"].as_array().unwrap() {
        let name = case["template"].as_str().unwrap();
        let source = golden["templates"][name].as_str().unwrap();
        let template = ChatTemplate::new(name, source, special.clone()).unwrap();
        let messages: Vec<Message> = serde_json::from_value(case["messages"].clone()).unwrap();
        let prompt = case["add_generation_prompt"].as_bool().unwrap();
        let text = template.render(&messages, prompt);
        match case["text"].as_str() {
            Some(expected) => {
                let text = text.unwrap_or_else(|error| panic!("{name} {messages:?}: {error}"));
                assert_eq!(text, expected, "{name} {messages:?} {prompt}");
                rendered += 1;
            }
            None => assert!(text.is_err(), "{name} {messages:?}: {text:?}"),
        }
        if let Some(answers) = case["answers"].as_array() {
            let (text, ranges) = template.render_marked(&messages).unwrap();
            let ours: Vec<&str> = ranges.into_iter().map(|range| &text[range]).collect();
            assert_eq!(
                ours,
                answers
                    .iter()
                    .map(|a| a.as_str().unwrap())
                    .collect::<Vec<_>>()
            );
        }
    }
    assert!(rendered > 60, "{rendered} cases have a text");
}
