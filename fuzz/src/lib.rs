//! What is done with a stranger's bytes, one function for each fuzz target.
//!
//! The fuzz targets call these, and so do the tests `hostile.rs` of the crates that the parsers are in, which
//! replay the corpus and mutate it. Any result is fine; a panic, or memory beyond what the file accounts for,
//! is not.

mod formats;
mod tokenizers;

pub use formats::{gguf, hf_config, index, llama2c, llama2c_tokenizer, safetensors, torch};
pub use tokenizers::{
    chat_template, gguf_tokenizer, llama2c_vocabulary, sentencepiece, tokenizer_settings,
};
