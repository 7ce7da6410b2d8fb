//! Chat templates as transformers renders them.
//!
//! The same switches (`trim_blocks`, `lstrip_blocks`), functions (`raise_exception`, `strftime_now`), filter
//! (`tojson` without HTML escapes), loop controls, string methods of Python, and the `{% generation %}` tag,
//! which marks what the model says. minijinja knows no tags of others, so the tag becomes a filter block,
//! which has the same scope and the same rules of whitespace.

use super::Message;
use super::json::Style;
use crate::DataError;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Serde, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, context};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// Steps, and pieces of 64 bytes, that a rendering may take: 64 MiB would be 2^20, a long conversation takes
/// some thousands.
const FUEL: u64 = 1 << 20;

/// Bytes of stack for a rendering. A template can nest lists as deep as it has fuel, and printing or freeing
/// them takes a few frames for each level. Only what is used takes memory.
const STACK: usize = 1 << 30;

/// Longest template in bytes. Each byte of a nested expression can take some frames of the parser's stack.
const LONGEST: usize = 1 << 16;

/// Time for a rendering. Fuel bounds what a template builds, but a list that holds another twice, which holds
/// another twice, is small to build and endless to print or to compare. A rendering that uses up all of its
/// fuel in the usual ways takes a fraction of a second.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most levels of a value that `tojson` writes.
const JSON_DEPTH: usize = 128;

/// Name of the template in messages.
const NAME: &str = "chat_template";
/// The filter that stands for `{% generation %}`, and the variable that says what it puts around a text.
const GENERATION: &str = "slender_generation";

/// A chat template with the special tokens it may print. Cheap to clone, shared between threads.
#[derive(Clone)]
pub struct ChatTemplate {
    inner: Arc<Inner>,
}

struct Inner {
    name: String,
    environment: Environment<'static>,
    special: BTreeMap<String, String>,
    marks_answers: bool,
}

impl std::fmt::Debug for ChatTemplate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatTemplate")
            .field("name", &self.inner.name)
            .field("special", &self.inner.special)
            .finish_non_exhaustive()
    }
}

impl ChatTemplate {
    /// Parses a template. `name` is where it is from, for messages; `special` are its variables such as
    /// (`bos_token`, `<s>`), of which a later one replaces an earlier.
    ///
    /// # Errors
    /// [`DataError::ChatTemplate`] with the line that does not parse.
    pub fn new(
        name: &str,
        source: &str,
        special: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, DataError> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder()
            .trim_blocks(true)
            .lstrip_blocks(true)
            .build();
        let failure = |e: Error| failure(name, &e);
        environment.set_syntax(syntax.map_err(failure)?);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment
            .set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", raise_exception);
        environment.add_filter("tojson", to_json);
        // No template needs these two, and their indentation grows with the square of the depth.
        environment.remove_filter("pprint");
        environment.remove_global("debug");
        environment.add_filter(GENERATION, generation);
        if source.len() > LONGEST {
            return Err(DataError::ChatTemplate {
                name: name.to_owned(),
                message: format!("has {} bytes, {LONGEST} at most are read", source.len()),
            });
        }
        let (source, marks_answers) = translate(source);
        // The parser goes as deep as the source does.
        let parse = move || {
            let added = environment.add_template_owned(NAME, source);
            added.map(|()| environment)
        };
        let environment = bounded(parse)
            .map_err(|message| DataError::ChatTemplate {
                name: name.to_owned(),
                message,
            })?
            .map_err(failure)?;
        Ok(Self {
            inner: Arc::new(Inner {
                name: name.to_owned(),
                environment,
                special: special.into_iter().collect(),
                marks_answers,
            }),
        })
    }

    /// The conversation as text; with `add_generation_prompt` it ends where the assistant begins to speak.
    /// Special tokens are in the text by name: encode it with
    /// [`Tokenizer::encode_with_special`](crate::Tokenizer::encode_with_special) and add nothing before it.
    ///
    /// # Errors
    /// [`DataError::ChatTemplate`]: the template refuses the conversation, uses something unknown, or does
    /// not end.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, DataError> {
        let now = Value::from_function(strftime_now);
        self.text(messages, add_generation_prompt, now, ("", ""))
    }

    /// As [`ChatTemplate::render`], without a clock: the same text on every day. Templates that ask whether
    /// `strftime_now` is defined print a fixed date or none.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_undated(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
    ) -> Result<String, DataError> {
        let none = Value::UNDEFINED;
        self.text(messages, add_generation_prompt, none, ("", ""))
    }

    /// Whether the template says itself, by `{% generation %}`, what the assistant's words are.
    pub fn marks_answers(&self) -> bool {
        self.inner.marks_answers
    }

    /// [`ChatTemplate::render_undated`] without a prompt, and the ranges of bytes inside
    /// `{% generation %}`.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`].
    pub fn render_marked(
        &self,
        messages: &[Message],
    ) -> Result<(String, Vec<Range<usize>>), DataError> {
        let plain = self.render_undated(messages, false)?;
        // Code points that stand for nothing; a conversation that has one takes the next.
        let mark = (0xFDD0..0xFDF0)
            .filter_map(char::from_u32)
            .find(|c| !plain.contains(*c))
            .ok_or_else(|| DataError::ChatTemplate {
                name: self.inner.name.clone(),
                message: "the conversation uses every noncharacter from U+FDD0 to U+FDEF".into(),
            })?;
        let (open, close) = (format!("{mark}<"), format!("{mark}>"));
        let marked = self.text(messages, false, Value::UNDEFINED, (&open, &close))?;
        let mut text = String::with_capacity(plain.len());
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for (i, part) in marked.split(mark).enumerate() {
            if i == 0 {
                text.push_str(part);
                continue;
            }
            match part.as_bytes().first() {
                Some(b'<') => ranges.push(text.len()..text.len()),
                _ => {
                    let end = text.len();
                    if let Some(range) = ranges.last_mut() {
                        range.end = end;
                    }
                }
            }
            text.push_str(part.get(1..).unwrap_or_default());
        }
        ranges.retain(|range| !range.is_empty());
        Ok((text, ranges))
    }

    pub(super) fn failure(&self, message: &str) -> DataError {
        DataError::ChatTemplate {
            name: self.inner.name.clone(),
            message: message.to_owned(),
        }
    }

    fn text(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        now: Value,
        marks: (&str, &str),
    ) -> Result<String, DataError> {
        let inner = &self.inner;
        let special = Value::from(Serde(inner.special.clone()));
        let context = context! {
            messages => Value::from(Serde(messages.to_vec())),
            add_generation_prompt => add_generation_prompt,
            tools => Value::from(()),
            documents => Value::from(()),
            strftime_now => now,
            slender_generation => vec![marks.0.to_owned(), marks.1.to_owned()],
            ..special
        };
        // The thread owns what it uses: one that has not come to an end is left behind.
        let inner = Arc::clone(inner);
        let render = move || {
            let template = inner.environment.get_template(NAME);
            let text = template
                .and_then(|template| template.render(&context))
                .map_err(|e| failure(&inner.name, &e));
            // Freeing what the template has built can take as much stack as printing it.
            drop(context);
            text
        };
        bounded(render).map_err(|message| self.failure(&message))?
    }
}

/// What `work` gives, done in a thread with [`STACK`] within [`PATIENCE`]; otherwise what went wrong. A thread
/// that is not done is left behind.
fn bounded<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("chat template".into())
        .stack_size(STACK)
        .spawn(move || {
            // Nobody may be waiting any more.
            let _ = sender.send(work());
        })
        .map_err(|e| format!("no thread for it: {e}"))?;
    // In slices, so that the time in which the whole program is stopped does not count.
    for _ in 0..100 {
        match receiver.recv_timeout(PATIENCE / 100) {
            Ok(done) => {
                let _ = thread.join();
                return Ok(done);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err("the template engine failed".into()),
        }
    }
    let seconds = PATIENCE.as_secs();
    Err(format!(
        "is not done after {seconds} seconds; lists that hold one another?"
    ))
}

/// minijinja's error as ours, with the template's line and without the rest of the template.
fn failure(name: &str, error: &Error) -> DataError {
    let mut message = match error.kind() {
        ErrorKind::OutOfFuel => "does too much work; a template that does not end?".to_owned(),
        kind => error.detail().map_or(kind.to_string(), str::to_owned),
    };
    if let Some(line) = error.line() {
        message.push_str(&format!(" (line {line})"));
    }
    if message.contains("strftime_now") {
        message.push_str(
            "\n  hint: training text has no date of today; let the template ask `strftime_now is defined`",
        );
    }
    DataError::ChatTemplate {
        name: name.to_owned(),
        message,
    }
}

fn raise_exception(message: String) -> Result<Value, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

/// `datetime.now().strftime(format)`, in local time.
fn strftime_now(format: &str) -> Result<String, Error> {
    use std::fmt::Write;
    let mut text = String::new();
    // Writing fails where `to_string` would panic: on a format that does not exist.
    write!(text, "{}", chrono::Local::now().format(format)).map_err(|_| {
        let message = format!("strftime_now does not know the format {format:?}");
        Error::new(ErrorKind::InvalidOperation, message)
    })?;
    Ok(text)
}

/// `json.dumps(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False)`.
fn to_json(state: &State, value: Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let separators = match separators.as_deref() {
        None => (
            if indent.is_some() { "," } else { ", " }.to_owned(),
            ": ".to_owned(),
        ),
        Some([item, key]) => (item.clone(), key.clone()),
        Some(_) => return Err(invalid("tojson: separators are two texts".into())),
    };
    let style = Style {
        ensure_ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        indent: indent.map(|n| n.min(64)),
        separators,
    };
    options.assert_all_used()?;
    if value.kind() == ValueKind::Undefined {
        return Err(invalid("tojson: the value is undefined".into()));
    }
    Ok(style.dump(&json(state, &value, JSON_DEPTH)?))
}

/// The value as JSON, at most `levels` deep. Each item takes fuel, so that one that holds itself many times
/// over has an end.
fn json(state: &State, value: &Value, levels: usize) -> Result<serde_json::Value, Error> {
    state.consume_fuel(1)?;
    let inner = || match levels {
        0 => Err(invalid(format!("tojson: more than {JSON_DEPTH} levels"))),
        _ => Ok(levels - 1),
    };
    match value.kind() {
        ValueKind::Seq | ValueKind::Iterable => {
            let levels = inner()?;
            let items = value.try_iter()?.map(|item| json(state, &item, levels));
            items.collect()
        }
        ValueKind::Map => {
            let levels = inner()?;
            let entries = value.try_iter()?.map(|key| {
                let item = json(state, &value.get_item(&key)?, levels)?;
                Ok((json_key(&key)?, item))
            });
            entries.collect()
        }
        _ => scalar(value),
    }
}

fn scalar(value: &Value) -> Result<serde_json::Value, Error> {
    serde_json::to_value(value).map_err(|e| invalid(format!("tojson: {e}")))
}

/// Keys are texts in JSON; Python writes numbers, truth values and nothing as they would be written as values.
fn json_key(key: &Value) -> Result<String, Error> {
    match key.kind() {
        ValueKind::String => Ok(key.to_string()),
        ValueKind::Bool | ValueKind::Number | ValueKind::None => Ok(scalar(key)?.to_string()),
        kind => Err(invalid(format!("tojson: a key is a {kind}"))),
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}

/// Puts the marks around what the assistant says.
fn generation(state: &State, text: String) -> Result<String, Error> {
    let mark = |index: usize| -> Result<String, Error> {
        let marks = state.lookup(GENERATION).unwrap_or_default();
        Ok(marks.get_item_by_index(index)?.to_string())
    };
    Ok(format!("{}{text}{}", mark(0)?, mark(1)?))
}

/// Writes `{% generation %}` as a filter block; whether there was one.
fn translate(source: &str) -> (String, bool) {
    let (mut out, mut rest, mut found) = (String::with_capacity(source.len()), source, false);
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        rest = tag;
        let after = tag.strip_prefix(['-', '+']).unwrap_or(tag);
        let word = after.trim_start();
        let head = &tag[..tag.len() - word.len()];
        for (name, replacement) in [
            ("generation", format!("filter {GENERATION}")),
            ("endgeneration", "endfilter".to_owned()),
        ] {
            let Some(end) = word.strip_prefix(name) else {
                continue;
            };
            if end
                .trim_start()
                .trim_start_matches(['-', '+'])
                .starts_with("%}")
            {
                out.push_str(head);
                out.push_str(&replacement);
                rest = end;
                found = true;
                break;
            }
        }
    }
    out.push_str(rest);
    (out, found)
}

#[cfg(test)]
mod tests;
