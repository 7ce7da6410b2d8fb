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
        }
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
