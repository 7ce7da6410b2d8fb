//! One example of a multiple-choice task as the model sees it, free of any data set's field names.
//!
//! Most tasks show one context and compare continuations. WinoGrande is the other way round
//! (partial evaluation, Trinh and Le 2018): the choice is filled into the context and the same rest
//! of the sentence is scored after it. [`Contexts`] holds both without repeating a long passage.

/// What stands before the scored text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contexts {
    /// The same for every choice.
    Shared(String),
    /// One for each choice.
    PerChoice(Vec<String>),
}

/// An example with its choices in the order of the data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The data set's own name for it, where it has one.
    pub id: Option<String>,
    /// What stands before the scored text.
    pub contexts: Contexts,
    /// The scored text of each choice, with the delimiter in front.
    pub continuations: Vec<String>,
    /// The text of each choice, whose length normalises `acc_norm`.
    pub choices: Vec<String>,
    /// Index of the right choice.
    pub gold: usize,
    /// Which choices are true, where that is more than the right one (TruthfulQA's second form).
    pub truths: Option<Vec<bool>>,
}

impl Example {
    /// An ordinary example: one context, each choice scored after it with a space between.
    pub fn shared(id: Option<String>, context: String, choices: Vec<String>, gold: usize) -> Self {
        Self {
            id,
            contexts: Contexts::Shared(context),
            continuations: choices.iter().map(|choice| format!(" {choice}")).collect(),
            choices,
            gold,
            truths: None,
        }
    }

    /// A question whose answer is generated and compared with `aliases`, the first of which is the usual one.
    pub fn question(id: Option<String>, context: String, aliases: Vec<String>) -> Self {
        Self {
            id,
            contexts: Contexts::Shared(context),
            continuations: Vec::new(),
            choices: aliases,
            gold: 0,
            truths: None,
        }
    }

    /// A whole text to score; `original` is what words and bytes are counted in.
    pub fn page(text: String, original: String) -> Self {
        Self {
            id: None,
            contexts: Contexts::Shared(String::new()),
            continuations: vec![text],
            choices: vec![original],
            gold: 0,
            truths: None,
        }
    }

    /// The example with `prefix` before each context.
    #[must_use]
    pub fn after(mut self, prefix: &str) -> Self {
        if !prefix.is_empty() {
            match &mut self.contexts {
                Contexts::Shared(context) => context.insert_str(0, prefix),
                Contexts::PerChoice(contexts) => {
                    for context in contexts {
                        context.insert_str(0, prefix);
                    }
                }
            }
        }
        self
    }

    /// The context of choice `i`. An index beyond the choices gives the empty string.
    pub fn context(&self, i: usize) -> &str {
        match &self.contexts {
            Contexts::Shared(context) => context,
            Contexts::PerChoice(contexts) => contexts.get(i).map_or("", String::as_str),
        }
    }

    /// `(context, continuation)` of each choice, in order.
    pub fn requests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.continuations
            .iter()
            .enumerate()
            .map(|(i, continuation)| (self.context(i), continuation.as_str()))
    }
}
