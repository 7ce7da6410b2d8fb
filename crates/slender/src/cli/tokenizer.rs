//! Arguments of `slender tokenizer`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `slender tokenizer`.
#[derive(Subcommand, Debug)]
pub enum TokenizerCommand {
    /// Write a tokenizer as tokenizer.json with its settings and chat template.
    Convert(ConvertArgs),
    /// Print token ids, one line for each line of a text.
    Encode(EncodeArgs),
    /// Render conversations with the chat template; show what a fine-tuning learns from them.
    Chat(ChatTextArgs),
}

/// `slender tokenizer convert`.
#[derive(Args, Debug)]
pub struct ConvertArgs {
    /// tokenizer.json, SentencePiece tokenizer.model, llama2.c tokenizer.bin, GGUF file, or a folder or run
    /// with a tokenizer.
    pub tokenizer: PathBuf,
    /// Folder to write; must not exist.
    #[arg(long)]
    pub out: PathBuf,
}

/// `slender tokenizer encode`.
#[derive(Args, Debug)]
pub struct EncodeArgs {
    /// As for `slender tokenizer convert`.
    pub tokenizer: PathBuf,
    /// The text; standard input if there is none.
    pub file: Option<PathBuf>,
    /// NUL ends an item, not a line end.
    #[arg(long)]
    pub null: bool,
    /// Special tokens in the text become their ids, as in Python. Otherwise they are text, as in training.
    #[arg(long)]
    pub special: bool,
    /// Begin each item with the token that begins a document.
    #[arg(long)]
    pub bos: bool,
}

/// `slender tokenizer chat`.
#[derive(Args, Debug)]
pub struct ChatTextArgs {
    /// As for `slender tokenizer convert`.
    pub tokenizer: PathBuf,
    /// JSON lines with `messages`; standard input if there is none.
    pub file: Option<PathBuf>,
    /// A Jinja file instead of the tokenizer's own template.
    #[arg(long, value_name = "FILE")]
    pub chat_template: Option<PathBuf>,
    /// End where the assistant is to speak next.
    #[arg(long, conflicts_with = "json")]
    pub prompt: bool,
    /// Print token ids and for each whether the loss counts it, one JSON object a conversation.
    #[arg(long)]
    pub json: bool,
}
