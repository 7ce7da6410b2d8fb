//! `slender tokenizer`.

use super::tokenizer_files::read;
use crate::cli::{ChatTextArgs, ConvertArgs, EncodeArgs, TokenizerCommand};
use crate::error::CliError;
use crate::output;
use serde_json::json;
use slender_data::{Tokenizer, read_conversations};
use slender_formats::Unfinished;
use slender_trainer::exit;
use std::io::{Read, Write};
use std::path::Path;

/// Converts, encodes or renders; returns the exit code.
pub fn run(command: &TokenizerCommand) -> Result<i32, CliError> {
    match command {
        TokenizerCommand::Convert(args) => convert(args)?,
        TokenizerCommand::Encode(args) => encode(args)?,
        TokenizerCommand::Chat(args) => chat(args)?,
    }
    Ok(exit::FINISHED)
}

fn convert(args: &ConvertArgs) -> Result<(), CliError> {
    let tokenizer = read(&args.tokenizer)?;
    if args.out.exists() {
        return Err(CliError::Usage(format!(
            "{} exists\n  hint: choose a folder that does not",
            args.out.display()
        )));
    }
    let folder = Unfinished::folder(&args.out)?;
    // Even if the source says nothing, so that transformers loads the folder.
    tokenizer.settings().write(folder.path(), &tokenizer)?;
    tokenizer.save(&folder.path().join("tokenizer.json"))?;
    folder.finish()?;
    let name = |id: Option<u32>| {
        id.and_then(|id| tokenizer.id_to_token(id))
            .unwrap_or_else(|| "none".into())
    };
    let template = match tokenizer.settings().chat_template() {
        Some(_) => "with",
        None => "without",
    };
    output::talk(&format!(
        "{} tokens, BOS {}, EOS {}, {template} chat template",
        tokenizer.vocab_size(),
        name(tokenizer.bos_id()),
        name(tokenizer.eos_id()),
    ));
    output::data(&format!("{}\n", args.out.display()));
    Ok(())
}

fn input(file: Option<&Path>) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let (name, read) = match file {
        Some(file) => (
            file.display().to_string(),
            std::fs::read(file).map(|all| bytes = all),
        ),
        None => (
            "stdin".to_owned(),
            std::io::stdin().lock().read_to_end(&mut bytes).map(|_| ()),
        ),
    };
    read.map(|()| bytes)
        .map_err(|error| CliError::Io(name, error))
}

fn encode(args: &EncodeArgs) -> Result<(), CliError> {
    let tokenizer = read(&args.tokenizer)?;
    let bytes = input(args.file.as_deref())?;
    let end = if args.null { b'\0' } else { b'\n' };
    // A last line end ends a line and does not begin one.
    let text = bytes.strip_suffix(&[end]).unwrap_or(&bytes);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for item in text.split(|byte| *byte == end) {
        let ids = ids(&tokenizer, item, args);
        let line: Vec<String> = ids.iter().map(u32::to_string).collect();
        if writeln!(out, "{}", line.join(" ")).is_err() {
            return Ok(());
        }
    }
    let _ = out.flush();
    Ok(())
}

fn ids(tokenizer: &Tokenizer, item: &[u8], args: &EncodeArgs) -> Vec<u32> {
    if !args.special {
        return tokenizer.encode_bytes(item, args.bos);
    }
    let mut ids = tokenizer.encode_bytes_with_special(item);
    if let Some(first) = tokenizer.document_start_id().filter(|_| args.bos) {
        ids.insert(0, first);
    }
    ids
}

fn chat(args: &ChatTextArgs) -> Result<(), CliError> {
    let mut tokenizer = read(&args.tokenizer)?;
    if let Some(file) = &args.chat_template {
        let text = std::fs::read_to_string(file)
            .map_err(|error| CliError::Io(file.display().to_string(), error))?;
        tokenizer = tokenizer.with_chat_template(Some(text));
    }
    let template = tokenizer.chat_template()?.ok_or_else(|| {
        CliError::Usage(format!(
            "{} has no chat template\n  hint: give one with --chat-template FILE",
            args.tokenizer.display()
        ))
    })?;
    let name = args.file.as_deref().unwrap_or(Path::new("stdin"));
    let bytes = input(args.file.as_deref())?;
    for messages in read_conversations(&bytes, name) {
        let messages = messages?;
        if args.json {
            let encoded = template.encode(&tokenizer, &messages)?;
            let line = json!({ "ids": encoded.ids, "counted": encoded.counted });
            output::data(&format!("{line}\n"));
        } else {
            output::data(&template.render(&messages, args.prompt)?);
        }
    }
    Ok(())
}
