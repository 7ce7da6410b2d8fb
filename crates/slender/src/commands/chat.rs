//! `slender chat`: a conversation, line by line.
//!
//! A line of stdin is what the user says, and the answer goes to stdout, so it works at a terminal and in
//! a pipe. The conversation is rendered anew by the model's template for every answer, and what the cache
//! has of it already is not read again.

use crate::cli::ChatArgs;
use crate::commands::generate::{Model, show, summary, to_json};
use crate::error::CliError;
use crate::output;
use slender_data::{ChatTemplate, Message};
use slender_model::infer::{InferError, Request, Sequence, generate_on};
use slender_trainer::exit;
use std::io::{BufRead, IsTerminal, Write};

/// Talks until the input ends; returns the exit code.
pub fn run(args: &ChatArgs) -> Result<i32, CliError> {
    args.sampling.sampling().check()?;
    let model = Model::load(&args.model, &args.infer)?;
    let template = model.tokenizer.chat_template()?.ok_or_else(|| {
        CliError::Usage(format!(
            "{} has no chat template\n  hint: it is not made for conversations; `slender generate` continues a text. A template is chat_template.jinja, or chat_template in tokenizer_config.json",
            args.model.display()
        ))
    })?;
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        output::talk("A line is a message. /reset begins again, /exit or the end of input ends.");
    }
    let mut chat = Chat {
        args,
        sequence: model.engine.sequence(),
        model,
        template,
        messages: Vec::new(),
        turn: 0,
    };
    chat.reset();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            let _ = write!(std::io::stderr(), "> ");
        }
        let Some(line) = lines.next() else {
            return Ok(exit::FINISHED);
        };
        let line = line.map_err(|error| CliError::Io("stdin".into(), error))?;
        match line.trim() {
            "" => {}
            "/exit" | "/quit" => return Ok(exit::FINISHED),
            "/reset" => chat.reset(),
            _ => match chat.say(&line) {
                // At a terminal the conversation can go on otherwise.
                Err(CliError::Infer(error @ InferError::Context { .. })) if terminal => {
                    output::talk(&format!("{error}; or begin again with /reset"));
                }
                other => other?,
            },
        }
    }
}

/// A conversation.
struct Chat<'a> {
    args: &'a ChatArgs,
    model: Model,
    template: ChatTemplate,
    messages: Vec<Message>,
    /// What the model has read of it.
    sequence: Sequence,
    /// Answers so far, each with draws of its own.
    turn: u64,
}

impl Chat<'_> {
    fn reset(&mut self) {
        self.messages.clear();
        if let Some(system) = &self.args.system {
            self.messages.push(Message::new("system", system));
        }
    }

    /// Says something and shows the answer. After an error the conversation is as it was before.
    fn say(&mut self, text: &str) -> Result<(), CliError> {
        self.messages.push(Message::new("user", text));
        match self.answer(text) {
            Ok(answer) => {
                self.messages.push(Message::new("assistant", &answer));
                Ok(())
            }
            Err(error) => {
                self.messages.pop();
                Err(error)
            }
        }
    }

    fn answer(&mut self, said: &str) -> Result<String, CliError> {
        let args = self.args;
        let text = self.template.render(&self.messages, true)?;
        let mut sampling = args.sampling.sampling();
        sampling.seed = sampling.seed.wrapping_add(self.turn);
        let request = Request {
            prompt: self.model.tokenizer.encode_with_special(&text),
            max_tokens: args.max_tokens,
            sampling,
            stop: args.sampling.stop.clone(),
            eos: if args.sampling.ignore_eos {
                Vec::new()
            } else {
                self.model.eos.clone()
            },
        };
        let read = self.sequence.tokens().len();
        let answer = generate_on(
            &self.model.engine,
            &self.model.tokenizer,
            &mut self.sequence,
            &request,
            args.json,
            &mut |text| args.json || show(text),
        )?;
        self.turn += 1;
        if args.json {
            let mut value = to_json(None, said, &answer);
            value["read_before"] = read.into();
            output::data(&format!("{value}\n"));
        } else {
            output::data("\n");
            if std::io::stderr().is_terminal() {
                output::talk(&summary(&answer));
            }
        }
        Ok(answer.text)
    }
}
