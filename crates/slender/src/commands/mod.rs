//! One file per command.

pub mod bench;
pub mod chat;
pub mod compare;
pub mod config;
pub mod coord;
pub mod data;
pub mod decode_ms;
pub mod eval;
pub mod executor;
pub mod export;
pub mod front;
pub mod generate;
pub mod gguf_fields;
pub mod import;
pub mod init;
pub mod inspect;
pub mod plan;
pub mod search;
pub mod shapes;
pub mod sweep;
pub mod sweep_dir;
pub mod tokenizer;
pub mod tokenizer_files;
pub mod train;

use crate::error::CliError;
use burn::tensor::Device;
use slender_config::DeviceSpec;
use slender_trainer::Provenance;

/// Where this program comes from, recorded at build time.
pub fn provenance() -> Provenance {
    let commit = Some(env!("SLENDER_COMMIT")).filter(|text| !text.is_empty());
    Provenance {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: commit.map(str::to_owned),
        dirty: env!("SLENDER_DIRTY").parse().ok(),
        lock_hash: blake3::hash(include_bytes!("../../../../Cargo.lock"))
            .to_hex()
            .to_string(),
    }
}

/// Sizes the one thread pool of the process; 0 takes all cores.
pub fn set_threads(threads: usize) {
    // Fails only when the pool is already running, which it is not this early.
    let _ = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global();
}

/// Opens a device by name.
pub fn open_device(name: &str) -> Result<Device, CliError> {
    let spec: DeviceSpec = name.parse()?;
    Ok(slender_kernels::open_device(&spec)?)
}
