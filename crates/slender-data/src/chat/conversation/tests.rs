use super::*;
use crate::TokenizerSettings;
use serde_json::json;

/// A byte-level tokenizer with special tokens, `<s>` and `</s>` among them, and a template.
fn tokenizer(template: &str) -> Tokenizer {
    let texts = (0..200).map(|i| {
        Ok(format!(
            "What is {i}? It is {} less one. user assistant\n",
            i + 1
        ))
    });
    let trained = crate::tokenizer::train_bpe(texts, 300).unwrap();
    let mut json: Value = serde_json::from_str(trained.json()).unwrap();
    for (i, text) in ["<s>", "</s>", "<|im_start|>", "<|im_end|>"]
        .iter()
        .enumerate()
    {
        let token = json!({ "id": 300 + i, "content": text, "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true });
        json["added_tokens"].as_array_mut().unwrap().push(token);
    }
    let mut settings = TokenizerSettings::default();
    settings.set("bos_token", json!("<s>"));
    settings.set("eos_token", json!("</s>"));
    settings.set_chat_template(Some(template.into()));
    Tokenizer::from_bytes(json.to_string().as_bytes())
        .unwrap()
        .with_settings(settings)
}

fn talk() -> Vec<Message> {
    vec![
        Message::new("system", "Be exact."),
        Message::new("user", "What is 2?"),
        Message::new("assistant", "It is 3 less one."),
        Message::new("user", "user assistant <s>"),
        Message::new("assistant", "\nassistant"),
    ]
}

/// The text of each run of counted tokens, special tokens included.
fn answers(tokenizer: &Tokenizer, messages: &[Message]) -> Result<Vec<String>, String> {
    let template = tokenizer.chat_template().unwrap().unwrap();
    let encoded = template
        .encode(tokenizer, messages)
        .map_err(|e| e.to_string())?;
    assert_eq!(encoded.ids.len(), encoded.counted.len());
    let text = template.render_undated(messages, false).unwrap();
    let show = |ids: &[u32]| -> String {
        let one = |id: &u32| match tokenizer.is_special(*id) {
            true => tokenizer.id_to_token(*id).unwrap(),
            false => tokenizer.decode(&[*id]),
        };
        ids.iter().map(one).collect()
    };
    assert_eq!(show(&encoded.ids), text);
    let mut runs = Vec::new();
    let mut at = 0;
    while at < encoded.ids.len() {
        let end = (at..encoded.ids.len())
            .find(|i| encoded.counted[*i] != encoded.counted[at])
            .unwrap_or(encoded.ids.len());
        if encoded.counted[at] {
            runs.push(show(&encoded.ids[at..end]));
            // What is learned follows exactly what stands there when the model is asked. Later prompts of
            // a template without special tokens may join an answer to what stands before it.
            if runs.len() == 1 || tokenizer.is_special(encoded.ids[end - 1]) {
                let before = show(&encoded.ids[..at]);
                assert_eq!(tokenizer.encode_with_special(&before), encoded.ids[..at]);
            }
        }
        at = end;
    }
    Ok(runs)
}

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const LLAMA2: &str = "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content.strip() + ' [/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}";
const ZEPHYR: &str = "{% for m in messages %}\n{{ '<|' + m.role + '|>\n' + m.content + eos_token }}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}\n";
const PLAIN: &str = "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}";
const MARKED: &str = "{% for m in messages %}{{ m.role + '>' }}{% if m.role == 'assistant' %}{% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}{{ m.content }}{% endif %}{{ '\n' }}{% endfor %}";

#[test]
fn the_mask_covers_the_answers_with_their_ends() {
    let cases = [
        (
            CHATML,
            ["It is 3 less one.<|im_end|>", "\nassistant<|im_end|>"],
        ),
        (LLAMA2, [" It is 3 less one. </s>", " assistant </s>"]),
        (ZEPHYR, ["It is 3 less one.</s>", "\nassistant</s>"]),
        (PLAIN, ["It is 3 less one.\n", "\nassistant\n"]),
        (MARKED, ["It is 3 less one.</s>", "\nassistant</s>"]),
    ];
    for (template, expected) in cases {
        assert_eq!(
            answers(&tokenizer(template), &talk()).unwrap(),
            expected,
            "{template}"
        );
    }
}

#[test]
fn templates_that_hide_where_an_answer_begins_are_refused() {
    let forgetful = "{% for m in messages %}{{ m.role + '>' }}{% if loop.last %}{{ m.content }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ 'assistant>' }}{% endif %}";
    let error = answers(&tokenizer(forgetful), &talk()).unwrap_err();
    assert!(
        error.contains("message 3") && error.contains("{% generation %}"),
        "{error}"
    );
    let promptless = "{% for m in messages %}{{ '[' + m.role + ']' + m.content }}{% endfor %}{% if add_generation_prompt %}{{ '(assistant)' }}{% endif %}";
    let error = answers(&tokenizer(promptless), &talk()).unwrap_err();
    assert!(error.contains("prompt for message 3"), "{error}");
    let dated = "{{ strftime_now('%d') }}";
    let error = answers(&tokenizer(dated), &talk()).unwrap_err();
    assert!(error.contains("strftime_now is defined"), "{error}");
}
