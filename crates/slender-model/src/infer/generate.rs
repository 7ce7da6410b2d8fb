//! Prompts in, texts out.
//!
//! Requests are worked on side by side, up to a number at a time: every step gives each of them its next
//! token with one reading of the weights, and when one ends the next begins. Because no sequence sees
//! another, a text is the same alone and in any company.

use super::{
    Engine, InferError, Rows, Sampler, Sampling, Sequence, StopStrings, TextStream, log_prob,
};
use slender_data::Tokenizer;
use std::collections::VecDeque;
use std::time::Instant;

/// A prompt and how to go on from it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Tokens of the prompt, at least one.
    pub prompt: Vec<u32>,
    /// Most tokens of the answer; `None` for as many as the model has positions for.
    pub max_tokens: Option<usize>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the answer; they are not part of its text.
    pub eos: Vec<u32>,
}

/// Why an answer ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finish {
    /// A token that ends texts.
    Eos,
    /// This stop string.
    Stop(String),
    /// As many tokens as asked for.
    MaxTokens,
    /// As many tokens as the model has positions for.
    Context,
    /// Who showed the text wanted no more.
    Cancelled,
}

impl Finish {
    /// A word for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Eos => "eos",
            Self::Stop(_) => "stop",
            Self::MaxTokens => "max_tokens",
            Self::Context => "context",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Seconds of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Reading the prompt.
    pub prompt_s: f64,
    /// From the first token to the last, whatever else was worked on meanwhile.
    pub decode_s: f64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Its text.
    pub text: String,
    /// Its tokens; the last may be one that ends texts or completes a stop string.
    pub tokens: Vec<u32>,
    /// Natural logarithm of each token's probability under the model, where asked for.
    pub log_probs: Vec<f64>,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Seconds.
    pub timings: Timings,
}

/// What [`generate`] does besides.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// Requests worked on at a time, at least one.
    pub batch: usize,
    /// Whether log-probabilities are computed.
    pub log_probs: bool,
}

/// A request being worked on.
struct Active {
    index: usize,
    sequence: Sequence,
    state: State,
}

/// What of a request is not the sequence.
struct State {
    sampler: Sampler,
    text: TextStream,
    stop: StopStrings,
    eos: Vec<u32>,
    max_tokens: usize,
    positions: usize,
    answer: Generated,
    first: Instant,
}

impl State {
    fn new(request: &Request, engine: &Engine, tokenizer: &Tokenizer, prompt_s: f64) -> Self {
        Self {
            sampler: Sampler::new(request.sampling, &request.prompt),
            text: TextStream::new(tokenizer, &request.prompt),
            stop: StopStrings::new(&request.stop),
            eos: request.eos.clone(),
            max_tokens: request.max_tokens.unwrap_or(usize::MAX),
            positions: engine.shape().max_seq_len,
            answer: Generated {
                text: String::new(),
                tokens: Vec::new(),
                log_probs: Vec::new(),
                finish: Finish::MaxTokens,
                prompt_tokens: request.prompt.len(),
                timings: Timings {
                    prompt_s,
                    decode_s: 0.0,
                },
            },
            first: Instant::now(),
        }
    }

    /// Takes the next token from its logits and shows what text it completes; whether that was the end.
    fn step(
        &mut self,
        logits: &[f32],
        log_probs: bool,
        show: &mut dyn FnMut(&str) -> bool,
    ) -> bool {
        let token = self.sampler.choose(logits);
        let answer = &mut self.answer;
        answer.tokens.push(token);
        if log_probs {
            answer.log_probs.push(log_prob(logits, token));
        }
        answer.timings.decode_s = self.first.elapsed().as_secs_f64();
        let mut wanted = true;
        let mut give = |answer: &mut Generated, text: &str| {
            if !text.is_empty() {
                answer.text += text;
                wanted &= show(text);
            }
        };
        let ended = if self.eos.contains(&token) {
            Some(Finish::Eos)
        } else {
            let (text, stop) = self.stop.push(&self.text.push(token));
            give(answer, &text);
            match stop {
                Some(stop) => {
                    answer.finish = Finish::Stop(stop);
                    return true;
                }
                None if answer.tokens.len() >= self.max_tokens => Some(Finish::MaxTokens),
                // The last token need not be read.
                None if answer.prompt_tokens + answer.tokens.len() > self.positions => {
                    Some(Finish::Context)
                }
                None => None,
            }
        };
        let Some(finish) = ended else {
            if !wanted {
                answer.finish = Finish::Cancelled;
            }
            return !wanted;
        };
        answer.finish = finish;
        let (text, stop) = self.stop.push(&self.text.finish());
        give(answer, &text);
        match stop {
            Some(stop) => answer.finish = Finish::Stop(stop),
            None => give(answer, &self.stop.finish()),
        }
        true
    }
}

/// Whether a request can be answered.
///
/// # Errors
/// A setting that cannot be used, or a prompt that is empty or does not fit.
pub fn check(request: &Request, engine: &Engine) -> Result<(), InferError> {
    request.sampling.check()?;
    if request.max_tokens == Some(0) {
        let message = "max-tokens is 0\n  hint: ask for at least one token";
        return Err(InferError::Setting(message.into()));
    }
    engine.check(0, &request.prompt)
}

/// Answers every request; `show(request, text)` gets the texts as they grow, and says whether it wants
/// more.
///
/// # Errors
/// A request that cannot be answered, before any is begun.
pub fn generate(
    engine: &Engine,
    tokenizer: &Tokenizer,
    requests: &[Request],
    options: Generation,
    show: &mut dyn FnMut(usize, &str) -> bool,
) -> Result<Vec<Generated>, InferError> {
    let mut answers = Vec::with_capacity(requests.len());
    generate_each(
        engine,
        tokenizer,
        requests,
        options,
        show,
        &mut |_, answer| {
            answers.push(answer);
        },
    )?;
    Ok(answers)
}

/// As [`generate`], but `done(request, answer)` gets each answer as soon as it and those of all requests before it
/// are whole.
///
/// # Errors
/// As [`generate`]; or logits that are no numbers, after answers that were done.
pub fn generate_each(
    engine: &Engine,
    tokenizer: &Tokenizer,
    requests: &[Request],
    options: Generation,
    show: &mut dyn FnMut(usize, &str) -> bool,
    done: &mut dyn FnMut(usize, Generated),
) -> Result<(), InferError> {
    requests
        .iter()
        .try_for_each(|request| check(request, engine))?;
    let mut answers = InOrder {
        waiting: vec![None; requests.len()],
        next: 0,
        done,
    };
    engine.session(|team| {
        let mut waiting: VecDeque<usize> = (0..requests.len()).collect();
        let mut active: Vec<Active> = Vec::new();
        loop {
            while active.len() < options.batch.max(1)
                && let Some(index) = waiting.pop_front()
            {
                let request = &requests[index];
                let start = Instant::now();
                let mut sequence = engine.sequence();
                let logits =
                    engine.forward(team, &mut [&mut sequence], &[&request.prompt], Rows::Last)?;
                let prompt_s = start.elapsed().as_secs_f64();
                let mut state = State::new(request, engine, tokenizer, prompt_s);
                if state.step(&logits, options.log_probs, &mut |text| show(index, text)) {
                    answers.put(index, state.answer);
                } else {
                    active.push(Active {
                        index,
                        sequence,
                        state,
                    });
                }
            }
            if active.is_empty() {
                return Ok(());
            }
            let next: Vec<u32> = active
                .iter()
                .filter_map(|one| one.state.answer.tokens.last().copied())
                .collect();
            let tokens: Vec<&[u32]> = next.iter().map(std::slice::from_ref).collect();
            let mut sequences: Vec<&mut Sequence> =
                active.iter_mut().map(|one| &mut one.sequence).collect();
            let logits = engine.forward(team, &mut sequences, &tokens, Rows::Last)?; // [active, V]
            let mut rows = logits.chunks_exact(engine.shape().vocab_size);
            active.retain_mut(|one| {
                let Some(logits) = rows.next() else {
                    return true;
                };
                let index = one.index;
                let over = one
                    .state
                    .step(logits, options.log_probs, &mut |text| show(index, text));
                if over {
                    answers.put(index, one.state.answer.clone());
                }
                !over
            });
        }
    })
}

/// Hands answers on in the order of their requests.
struct InOrder<'a> {
    waiting: Vec<Option<Generated>>,
    /// The request whose answer is handed on next.
    next: usize,
    done: &'a mut dyn FnMut(usize, Generated),
}

impl InOrder<'_> {
    fn put(&mut self, index: usize, answer: Generated) {
        self.waiting[index] = Some(answer);
        while let Some(answer) = self.waiting.get_mut(self.next).and_then(Option::take) {
            (self.done)(self.next, answer);
            self.next += 1;
        }
    }
}

/// Answers one request after what `sequence` has read already: what it shares with the prompt is not read
/// again, and afterwards it holds the prompt and the answer, but for its last token.
///
/// # Errors
/// A request that cannot be answered.
pub fn generate_on(
    engine: &Engine,
    tokenizer: &Tokenizer,
    sequence: &mut Sequence,
    request: &Request,
    log_probs: bool,
    show: &mut dyn FnMut(&str) -> bool,
) -> Result<Generated, InferError> {
    check(request, engine)?;
    let prompt = &request.prompt;
    let shared = sequence
        .tokens()
        .iter()
        .zip(prompt)
        .take_while(|(a, b)| a == b)
        .count();
    // The last token's logits are needed, so it is read in any case.
    sequence.truncate(shared.min(prompt.len() - 1));
    engine.session(|team| {
        let start = Instant::now();
        let from = sequence.tokens().len();
        let mut logits =
            engine.forward(team, &mut [&mut *sequence], &[&prompt[from..]], Rows::Last)?;
        let prompt_s = start.elapsed().as_secs_f64();
        let mut state = State::new(request, engine, tokenizer, prompt_s);
        while !state.step(&logits, log_probs, show) {
            let next = [*state.answer.tokens.last().expect("a step adds a token")];
            logits = engine.forward(team, &mut [&mut *sequence], &[&next], Rows::Last)?;
        }
        Ok(state.answer)
    })
}
