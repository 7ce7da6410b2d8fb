//! Conversations as training data: token ids, and which of them the assistant says.
//!
//! The loss counts what the model has to write itself: the answers, each with the token that ends it. Where
//! they are is known exactly. A template may mark them with `{% generation %}`; for others the conversation
//! is rendered up to each answer twice, once as a prompt for it and once with it: what comes between is what
//! the model is to write. Templates for which the one is not a beginning of the other, such as those that
//! cut reasoning out of earlier answers, have to mark them.

use super::{ChatTemplate, Message};
use crate::{DataError, Tokenizer};
use serde_json::Value;
use std::ops::Range;

/// Role whose messages are learned.
const ASSISTANT: &str = "assistant";

/// Other roles that templates know.
const ROLES: [&str; 5] = ["system", "developer", "user", "tool", "function"];

/// What a row of conversations has to look like, for hints.
const EXPECTED: &str = r#"a row is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}"#;

/// A conversation as tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedConversation {
    /// Token ids, as `apply_chat_template` gives them in Python.
    pub ids: Vec<u32>,
    /// Whether the assistant says the token, or ends an answer with it; of the length of `ids`.
    pub counted: Vec<bool>,
    /// Bytes of the text.
    pub bytes: usize,
}

impl ChatTemplate {
    /// Renders a conversation, encodes it, and finds the answers in it.
    ///
    /// # Errors
    /// [`DataError::ChatTemplate`]: the template refuses the conversation, or does not show where an answer
    /// begins.
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<EncodedConversation, DataError> {
        let (text, answers) = if self.marks_answers() {
            self.render_marked(messages)?
        } else {
            self.find_answers(tokenizer, messages)?
        };
        if answers.is_empty() {
            return Err(self.failure("the template renders no answer of the assistant"));
        }
        let (ids, counted) = tokenizer.encode_spans(&text, &answers);
        Ok(EncodedConversation {
            ids,
            counted,
            bytes: text.len(),
        })
    }

    /// The text, and the ranges of bytes of the answers.
    fn find_answers(
        &self,
        tokenizer: &Tokenizer,
        messages: &[Message],
    ) -> Result<(String, Vec<Range<usize>>), DataError> {
        const HINT: &str = "\n  hint: put {% generation %} and {% endgeneration %} around the answers in the template";
        let text = self.render_undated(messages, false)?;
        let mut answers = Vec::new();
        for (i, message) in messages
            .iter()
            .enumerate()
            .filter(|(_, m)| m.role == ASSISTANT)
        {
            let so_far = self.render_undated(&messages[..=i], false)?;
            if !text.starts_with(&so_far) {
                return Err(self.failure(&format!(
                    "message {} is rendered otherwise when others follow it{HINT}",
                    i + 1
                )));
            }
            let prompt = self.render_undated(&messages[..i], true)?;
            let Some(said) = so_far.strip_prefix(&prompt) else {
                return Err(self.failure(&format!(
                    "the prompt for message {} is not the beginning of the conversation with it{HINT}",
                    i + 1
                )));
            };
            let end = prompt.len() + end_of_answer(tokenizer, said, message.content.trim());
            answers.push(prompt.len()..end);
        }
        Ok((text, answers))
    }
}

/// Where an answer ends: after the first special token behind its text, without the line end that templates
/// put after that; without a special token, where the rendered message ends.
fn end_of_answer(tokenizer: &Tokenizer, said: &str, content: &str) -> usize {
    let ends = |from: usize| {
        let rest = &said[from..];
        let found = tokenizer.special_tokens().filter_map(|text| {
            let at = rest.find(text)?;
            Some((at, std::cmp::Reverse(text.len())))
        });
        found.min().map(|(at, length)| from + at + length.0)
    };
    match said.find(content) {
        Some(at) => ends(at + content.len()).unwrap_or(said.len()),
        // The template changed the text: the last special token ends it.
        None => {
            let mut end = None;
            while let Some(next) = ends(end.unwrap_or(0)) {
                end = Some(next);
            }
            end.unwrap_or(said.len())
        }
    }
}

/// The canonical JSON of a conversation: a list of messages, one of them the assistant's.
pub(crate) fn canonical(value: Value) -> Result<String, String> {
    let messages = messages(value)?;
    if !messages.iter().any(|message| message.role == ASSISTANT) {
        let mut unknown: Vec<String> = Vec::new();
        for role in messages.iter().map(|message| format!("{:?}", message.role)) {
            if !ROLES.iter().any(|known| role == format!("{known:?}")) && !unknown.contains(&role) {
                unknown.push(role);
            }
        }
        let found = match &unknown[..] {
            [] => String::new(),
            roles => format!(
                "; unknown roles: {}\n  hint: the role of answers is written {ASSISTANT:?}",
                roles.join(", ")
            ),
        };
        return Err(format!(
            "there is no message of the assistant to learn from{found}"
        ));
    }
    serde_json::to_string(&messages).map_err(|e| e.to_string())
}

/// What to say of rows without the column of messages; `available` are the columns they have.
pub(crate) fn missing_column(column: &str, available: &[String]) -> String {
    let list = if available.is_empty() {
        "none".to_owned()
    } else {
        available.join(", ")
    };
    let other = if available.iter().any(|name| name == "conversations") {
        "; rows of ShareGPT (\"conversations\" with \"from\" and \"value\") have to be rewritten"
    } else {
        ", or text_column names another column with such a list"
    };
    format!("no column {column:?}; there is {list}\n  hint: {EXPECTED}{other}")
}

/// A list of messages, each with `role` and `content`.
pub(crate) fn messages(value: Value) -> Result<Vec<Message>, String> {
    let Value::Array(list) = value else {
        return Err("expected a list of messages".into());
    };
    let mut messages = Vec::with_capacity(list.len());
    for (i, item) in list.into_iter().enumerate() {
        let number = i + 1;
        let Value::Object(mut more) = item else {
            return Err(format!("message {number} is not an object"));
        };
        if more.contains_key("from") && more.contains_key("value") && !more.contains_key("role") {
            return Err(format!(
                "message {number} has ShareGPT's `from` and `value`, not `role` and `content`\n  hint: {EXPECTED}; rewrite the file so"
            ));
        }
        let mut text = |key: &str| match more.shift_remove(key) {
            Some(Value::String(text)) => Ok(text),
            // Answers that only call a tool.
            Some(Value::Null) if key == "content" => Ok(String::new()),
            Some(_) => Err(format!("message {number}: `{key}` is not a text")),
            None => Err(format!("message {number} has no `{key}`")),
        };
        let (role, content) = (text("role")?, text("content")?);
        messages.push(Message {
            role,
            content,
            more,
        });
    }
    Ok(messages)
}

/// What is said in a conversation of [`canonical`] form, for learning a vocabulary.
pub(crate) fn spoken(canonical: &str) -> String {
    let messages: Vec<Message> = serde_json::from_str(canonical).unwrap_or_default();
    let texts: Vec<&str> = messages.iter().map(|message| &*message.content).collect();
    texts.join("\n")
}

#[cfg(test)]
mod tests;
