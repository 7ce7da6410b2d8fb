//! Files with weights: parse, and if that succeeds, read every number.

use slender_formats::gguf::GgufFile;
use slender_formats::safetensors::{self, Index};
use slender_formats::{Blob, Checkpoint, HfConfig, LazyTensor, expected_weights, llama2c, torch};
use std::path::Path;

fn blob(bytes: &[u8]) -> Blob {
    Blob::from_bytes("hostile", bytes.to_vec())
}

fn read_all(tensors: &[LazyTensor]) {
    for tensor in tensors {
        // A file may end where its header says it goes on.
        let _ = tensor.values();
    }
}

/// A safetensors file.
pub fn safetensors(bytes: &[u8]) {
    if let Ok(tensors) = safetensors::read(&blob(bytes)) {
        read_all(&tensors);
    }
}

/// The index of a sharded checkpoint.
pub fn index(bytes: &[u8]) {
    if let Ok(index) = Index::parse(Path::new("hostile"), bytes) {
        for name in index.files() {
            assert!(!name.contains(['/', '\\']) && name != "..", "{name}");
        }
    }
}

/// A GGUF file, as such and as a model.
pub fn gguf(bytes: &[u8]) {
    if let Ok(file) = GgufFile::read(&blob(bytes)) {
        read_all(&file.tensors);
    }
    checkpoint(bytes);
}

/// A llama2.c checkpoint.
pub fn llama2c(bytes: &[u8]) {
    if let Ok((_, tensors)) = llama2c::read(&blob(bytes)) {
        read_all(&tensors);
    }
}

/// A llama2.c tokenizer.
pub fn llama2c_tokenizer(bytes: &[u8]) {
    let _ = llama2c::sentencepiece(&blob(bytes));
}

/// A PyTorch checkpoint.
pub fn torch(bytes: &[u8]) {
    if let Ok(tensors) = torch::read(&blob(bytes)) {
        read_all(&tensors);
    }
}

/// A `config.json`.
pub fn hf_config(bytes: &[u8]) {
    if let Ok(config) = HfConfig::parse(Path::new("hostile"), bytes) {
        // Whatever it claims, looking at its first weights costs nothing, and it can be written down.
        assert!(expected_weights(&config.shape).take(3).count() == 3);
        let text = config.to_json();
        assert_eq!(
            HfConfig::parse(Path::new("again"), text.as_bytes()).ok(),
            Some(config)
        );
    }
}

fn checkpoint(bytes: &[u8]) {
    if let Ok(model) = Checkpoint::read(&blob(bytes)) {
        read_all(&model.tensors);
        if let Ok(expanded) = model.expanded() {
            assert!(expanded.tensors.len() >= model.tensors.len());
        }
    }
}
