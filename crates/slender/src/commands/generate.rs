//! `slender generate`, and what `slender chat` shares with it.

use crate::cli::{Bos, GenerateArgs, InferArgs, SamplingArgs};
use crate::error::CliError;
use crate::{commands, output};
use serde::Deserialize;
use serde_json::{Value, json};
use slender_data::Tokenizer;
use slender_model::infer::{
    Engine, Finish, Generated, Generation, InferError, Request, Sampling, check, end_tokens,
    generate_each,
};
use slender_model::{LoadedModel, resolve_model_dir};
use slender_trainer::exit;
use std::io::{Read, Write};
use std::path::Path;

/// A model ready to write.
pub struct Model {
    /// The weights.
    pub engine: Engine,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// Tokens that end a text.
    pub eos: Vec<u32>,
}

impl Model {
    /// Loads the model behind `path`.
    pub fn load(path: &Path, args: &InferArgs) -> Result<Self, CliError> {
        commands::set_threads(args.device.threads.unwrap_or(0));
        let device = commands::open_device(args.device.device.as_deref().unwrap_or("flex"))?;
        let loaded = LoadedModel::load(path, &device)?;
        Ok(Self {
            engine: Engine::new(loaded.model, &device, args.weights),
            eos: end_tokens(&loaded.dir, &loaded.tokenizer)?,
            tokenizer: loaded.tokenizer,
        })
    }
}

impl SamplingArgs {
    /// As the library takes it.
    pub fn sampling(&self) -> Sampling {
        Sampling {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            seed: self.seed,
        }
    }
}

/// A line of `--prompts`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    prompt: String,
    id: Option<Value>,
    max_tokens: Option<usize>,
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    seed: Option<u64>,
    stop: Option<Vec<String>>,
    /// Its number in the file, from 1; 0 without a file of lines.
    #[serde(skip)]
    number: usize,
}

impl Line {
    fn new(prompt: String) -> Self {
        Self {
            prompt,
            id: None,
            max_tokens: None,
            temperature: None,
            top_k: None,
            top_p: None,
            min_p: None,
            repetition_penalty: None,
            seed: None,
            stop: None,
            number: 0,
        }
    }

    /// What is wrong with it, and where it is.
    fn wrong(&self, args: &GenerateArgs, error: InferError) -> CliError {
        match &args.prompts {
            Some(file) => CliError::Usage(format!("{}:{}: {error}", file.display(), self.number)),
            None => error.into(),
        }
    }
}

/// Generates; returns the exit code.
pub fn run(args: &GenerateArgs) -> Result<i32, CliError> {
    if args.batch == 0 {
        return Err(CliError::Usage(
            "--batch is 0\n  hint: work on at least one prompt at a time".into(),
        ));
    }
    let lines = lines(args)?;
    // Before the weights are read, which may take long.
    for line in &lines {
        sampling(line, args)
            .check()
            .map_err(|error| line.wrong(args, error))?;
    }
    let add_bos = match args.bos {
        Bos::Yes => true,
        Bos::No => false,
        Bos::Auto => {
            let dir = resolve_model_dir(&args.model)?;
            slender_eval::model_adds_bos(&args.model, &dir)?
        }
    };
    let model = Model::load(&args.model, &args.infer)?;
    let requests: Vec<Request> = lines
        .iter()
        .map(|line| Request {
            prompt: encode(&model.tokenizer, &line.prompt, add_bos),
            max_tokens: Some(line.max_tokens.unwrap_or(args.max_tokens)),
            sampling: sampling(line, args),
            stop: line
                .stop
                .clone()
                .unwrap_or_else(|| args.sampling.stop.clone()),
            eos: if args.sampling.ignore_eos {
                Vec::new()
            } else {
                model.eos.clone()
            },
        })
        .collect();
    for (line, request) in lines.iter().zip(&requests) {
        check(request, &model.engine).map_err(|error| line.wrong(args, error))?;
    }
    let json = args.json || args.prompts.is_some();
    let options = Generation {
        batch: args.batch,
        log_probs: json,
    };
    // One text appears as it grows; of several, each when those before it are whole.
    let stream = !json && lines.len() == 1;
    if stream && args.echo {
        output::data(&lines[0].prompt);
    }
    // Written as soon as it is whole, so that a job that is cut off leaves what it did.
    let mut write = |index: usize, answer: Generated| {
        let line: &Line = &lines[index];
        if json {
            let value = to_json(line.id.as_ref(), &line.prompt, &answer);
            output::data(&format!("{value}\n"));
        } else if stream {
            output::data("\n");
        } else {
            let prompt = if args.echo { line.prompt.as_str() } else { "" };
            output::data(&format!("{prompt}{}\n", answer.text));
        }
        if !json {
            output::talk(&summary(&answer));
        }
    };
    generate_each(
        &model.engine,
        &model.tokenizer,
        &requests,
        options,
        &mut |_, text| !stream || show(text),
        &mut write,
    )?;
    Ok(exit::FINISHED)
}

fn sampling(line: &Line, args: &GenerateArgs) -> Sampling {
    let base = args.sampling.sampling();
    Sampling {
        temperature: line.temperature.unwrap_or(base.temperature),
        top_k: line.top_k.unwrap_or(base.top_k),
        top_p: line.top_p.unwrap_or(base.top_p),
        min_p: line.min_p.unwrap_or(base.min_p),
        repetition_penalty: line.repetition_penalty.unwrap_or(base.repetition_penalty),
        seed: line.seed.unwrap_or(base.seed),
    }
}

/// The prompts, in order.
fn lines(args: &GenerateArgs) -> Result<Vec<Line>, CliError> {
    if let Some(file) = &args.prompt_file {
        return Ok(vec![Line::new(read(file)?)]);
    }
    let Some(file) = &args.prompts else {
        if args.prompt.is_empty() {
            return Err(CliError::Usage(
                "no prompt\n  hint: --prompt TEXT, --prompt-file FILE or --prompts FILE.jsonl; --prompt \"\" starts from nothing".into(),
            ));
        }
        return Ok(args.prompt.iter().cloned().map(Line::new).collect());
    };
    let bytes = read_bytes(file)?;
    let mut lines = Vec::new();
    for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let number = index + 1;
        let line = std::str::from_utf8(line).map_err(|error| {
            CliError::Usage(format!(
                "{}:{number}: invalid UTF-8 at byte {} of the line\n  hint: save the file as UTF-8",
                file.display(),
                error.valid_up_to() + 1
            ))
        })?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(line).map_err(|error| {
            CliError::Usage(format!(
                "{}:{number}: {error}\n  hint: each line is an object such as {{\"prompt\": \"Once upon a time\"}}",
                file.display()
            ))
        })?;
        lines.push(Line { number, ..line });
    }
    if lines.is_empty() {
        let message = format!("{} has no line with a prompt", file.display());
        return Err(CliError::Usage(message));
    }
    Ok(lines)
}

/// The text of a file, or of stdin for `-`.
fn read(file: &Path) -> Result<String, CliError> {
    String::from_utf8(read_bytes(file)?).map_err(|error| {
        CliError::Usage(format!(
            "{}: invalid UTF-8 at byte {}\n  hint: save the file as UTF-8",
            file.display(),
            error.utf8_error().valid_up_to() + 1
        ))
    })
}

fn read_bytes(file: &Path) -> Result<Vec<u8>, CliError> {
    let io = |error| CliError::Io(file.display().to_string(), error);
    if file != Path::new("-") {
        return std::fs::read(file).map_err(io);
    }
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

/// A prompt's tokens; an empty one is the token that begins a text, if there is one.
fn encode(tokenizer: &Tokenizer, prompt: &str, add_bos: bool) -> Vec<u32> {
    let mut ids = tokenizer.encode_with_special(prompt);
    let bos = tokenizer.document_start_id();
    if (add_bos || ids.is_empty()) && ids.first().copied() != bos {
        ids.splice(0..0, bos);
    }
    ids
}

/// Writes a piece of text at once; whether anybody reads it.
pub fn show(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

/// An answer as a JSON object.
pub fn to_json(id: Option<&Value>, prompt: &str, answer: &Generated) -> Value {
    let mut value = json!({
        "prompt": prompt,
        "text": answer.text,
        "tokens": answer.tokens,
        "log_probs": answer.log_probs,
        "finish_reason": answer.finish.name(),
        "prompt_tokens": answer.prompt_tokens,
        "prompt_s": answer.timings.prompt_s,
        "decode_s": answer.timings.decode_s,
    });
    if let Some(id) = id {
        value["id"] = id.clone();
    }
    if let Finish::Stop(stop) = &answer.finish {
        value["stop"] = json!(stop);
    }
    value
}

/// One line about an answer.
pub fn summary(answer: &Generated) -> String {
    let (count, times) = (answer.tokens.len(), answer.timings);
    // The first token comes with the prompt.
    let speed = if times.decode_s > 0.0 && count > 1 {
        format!(
            ", {:.1} tokens per second",
            (count - 1) as f64 / times.decode_s
        )
    } else {
        String::new()
    };
    format!(
        "{} prompt tokens in {:.2} s, {count} tokens{speed}; ended: {}",
        answer.prompt_tokens,
        times.prompt_s,
        match &answer.finish {
            Finish::Stop(stop) => format!("stop {stop:?}"),
            other => other.name().to_owned(),
        }
    )
}
