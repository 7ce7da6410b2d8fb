//! Conversations: messages, and the Jinja templates that turn them into text.
//!
//! A template is a program from a stranger. It runs in minijinja, which has no access to files or to the
//! machine, with a budget of work (`fuel`), so it ends and its memory is bounded.

mod conversation;
mod json;
mod template;

pub use conversation::EncodedConversation;
pub(crate) use conversation::{canonical, messages, missing_column, spoken};
pub use template::ChatTemplate;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user` or `assistant`, or what the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
    /// Other keys of the message, which a template may read.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl Message {
    /// A message of role and text.
    pub fn new(role: &str, content: &str) -> Self {
        Self {
            role: role.to_owned(),
            content: content.to_owned(),
            more: Map::new(),
        }
    }
}
