//! `slender data prepare`: text to shards, once.
//!
//! The folder's name is the hash of everything the tokens depend on ([`spec`]), so a changed setting makes a
//! new folder and an unchanged one finds the old. Work is done in parts that survive a kill ([`parts`]); the
//! manifest is written last. With a manifest whose shards are in place, preparing is a matter of
//! milliseconds: contents are hashed by [`Dataset::verify`](crate::Dataset::verify) only.

mod corpus;
mod lock;
mod manifest;
mod parts;
mod progress;
mod spec;
mod split;
mod tokenize;

pub use manifest::{
    InputManifest, MANIFEST_FILE, MANIFEST_FORMAT, Manifest, ShardManifest, SourceManifest,
    SplitManifest, TOKENIZER_FILE,
};
pub(crate) use parts::open_shard;
pub use spec::{cache_dir, user_cache_dir};

use crate::chat::ChatTemplate;
use crate::hub::{Hub, HubConfig};
use crate::shard::TokenType;
use crate::source::{HashCache, Source};
use crate::tokenizer::train_bpe;
use crate::{
    Content, DataConfig, DataError, SourceRole, Tokenizer, TokenizerConfig, fsio, load_tokenizer,
    source,
};
use corpus::TrainingTexts;
use lock::FolderLock;
use parts::Part;
use serde_json::Value;
use split::Split;
use std::path::{Path, PathBuf};
use tokenize::Job;

/// How to prepare; none of it changes the result.
#[derive(Clone, Debug)]
pub struct PrepareOptions {
    /// Hub settings.
    pub hub: HubConfig,
    /// Show progress on stderr.
    pub progress: bool,
    /// A shard ends after the document that brings it to this many tokens.
    pub shard_tokens: u64,
    /// Stop with [`DataError::Stopped`] after this many parts: stands for a kill in tests.
    #[doc(hidden)]
    pub stop_after_parts: Option<usize>,
}

impl PrepareOptions {
    /// Hub settings from the environment, progress shown, shards of 2^25 tokens (64 MB as u16).
    pub fn from_env() -> Self {
        Self::new(HubConfig::from_env())
    }

    /// As [`PrepareOptions::from_env`] with other hub settings.
    pub fn new(hub: HubConfig) -> Self {
        Self {
            hub,
            progress: true,
            shard_tokens: 1 << 25,
            stop_after_parts: None,
        }
    }
}

/// Prepared data.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Folder, for [`Dataset::open`](crate::Dataset::open).
    pub dir: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
    /// Whether this call made it; false if it was there.
    pub fresh: bool,
}

/// Tokenizes the configured text into shards, or finds that it is done.
///
/// The result is in `<cache>/data-<16 hex digits>`. A killed call leaves finished parts, which the next call
/// keeps. Calls from several processes wait for each other.
///
/// # Errors
/// [`DataError`] naming the configuration key, file, line or repository.
pub fn prepare(config: &DataConfig, options: &PrepareOptions) -> Result<Prepared, DataError> {
    let hub = Hub::new(options.hub.clone());
    let plan = Plan::new(config, &hub)?;
    if let Some(manifest) = plan.done() {
        return Ok(Prepared {
            dir: plan.dir,
            manifest,
            fresh: false,
        });
    }
    std::fs::create_dir_all(&plan.dir).map_err(DataError::io("create", &plan.dir))?;
    let lock = FolderLock::take(&plan.dir)?;
    if let Some(manifest) = plan.done() {
        return Ok(Prepared {
            dir: plan.dir,
            manifest,
            fresh: false,
        });
    }
    if lock.exclusive {
        remove_unfinished(&plan.dir)?;
    }
    let tokenizer = plan.tokenizer(config, &hub)?;
    let job = Job {
        dir: &plan.dir,
        hub: &hub,
        tokenizer: &tokenizer,
        template: plan.template(&tokenizer)?,
        split: Split::new(config.valid_fraction),
        max_bytes: config.max_bytes,
        part_tokens: options.shard_tokens.max(1),
        progress: options.progress,
    };
    let mut new_parts = 0;
    let mut made = Vec::new();
    for (index, source) in plan.sources.iter().enumerate() {
        let parts = parts::finished(&plan.dir, index, tokenizer.hash());
        let stop = || {
            new_parts += 1;
            match options.stop_after_parts {
                Some(limit) if new_parts >= limit => Err(DataError::Stopped { parts: new_parts }),
                _ => Ok(()),
            }
        };
        let parts = tokenize::tokenize(
            &job,
            index,
            source,
            parts,
            train_cap(config, &plan.sources, index),
            stop,
        )?;
        if parts.iter().all(|part| part.bytes() == 0) {
            return Err(empty_source(config, source));
        }
        made.push(parts);
    }
    let manifest = plan.manifest(config, &tokenizer, &made);
    fsio::write_atomic(&plan.dir.join(MANIFEST_FILE), &fsio::to_json(&manifest))?;
    Ok(Prepared {
        dir: plan.dir,
        manifest,
        fresh: true,
    })
}

/// Folder that [`prepare`] would use for a configuration. Local files are hashed and hub repositories asked
/// for their commit; nothing is tokenized.
///
/// # Errors
/// As [`prepare`].
pub fn prepared_dir(config: &DataConfig, options: &PrepareOptions) -> Result<PathBuf, DataError> {
    Ok(Plan::new(config, &Hub::new(options.hub.clone()))?.dir)
}

/// What is to be prepared, and where.
struct Plan {
    dir: PathBuf,
    sources: Vec<Source>,
    /// `None`: to be trained.
    tokenizer: Option<Tokenizer>,
    spec: Value,
    spec_hash: String,
}

impl Plan {
    fn new(config: &DataConfig, hub: &Hub) -> Result<Self, DataError> {
        // Before anything is fetched for it.
        template_file(&config.tokenizer)?;
        let cache = cache_dir(config);
        std::fs::create_dir_all(&cache).map_err(DataError::io("create", &cache))?;
        let tokenizer = load_tokenizer(&config.tokenizer, hub)?
            .map(|tokenizer| with_template(tokenizer, &config.tokenizer))
            .transpose()?;
        let mut hashes = HashCache::load(&cache);
        let sources = source::plan(config, hub, &mut hashes)?;
        hashes.save()?;
        let spec = spec::spec(config, &sources, tokenizer.as_ref())?;
        let spec_hash = spec::spec_hash(&spec);
        let dir = cache.join(format!("data-{}", &spec_hash[..16]));
        Ok(Self {
            dir,
            sources,
            tokenizer,
            spec,
            spec_hash,
        })
    }

    /// The manifest, if it is this plan's and everything it lists is in place.
    fn done(&self) -> Option<Manifest> {
        let manifest = Manifest::read(&self.dir)
            .ok()
            .filter(|m| m.spec_hash == self.spec_hash)?;
        let tokenizer = Tokenizer::from_file(&self.dir.join(TOKENIZER_FILE)).ok()?;
        let shards = manifest
            .sources
            .iter()
            .flat_map(|s| s.train.shards.iter().chain(&s.valid.shards));
        let whole = tokenizer.hash() == manifest.tokenizer_hash
            && shards
                .into_iter()
                .all(|shard| match open_shard(&self.dir, shard) {
                    Ok(_) => true,
                    Err(error) => {
                        eprintln!("note: preparing again: {error}");
                        false
                    }
                });
        whole.then_some(manifest)
    }

    /// The tokenizer, saved in the folder; trained if it is to be and was not yet.
    fn tokenizer(&self, config: &DataConfig, hub: &Hub) -> Result<Tokenizer, DataError> {
        let path = self.dir.join(TOKENIZER_FILE);
        if let Some(tokenizer) = &self.tokenizer {
            tokenizer.save_in(&self.dir)?;
            return Ok(tokenizer.clone());
        }
        let vocab_size = config.tokenizer.vocab_size.unwrap_or_default();
        if let Ok(tokenizer) = Tokenizer::from_file(&path)
            && tokenizer.vocab_size() == vocab_size
        {
            return Ok(tokenizer);
        }
        let split = Split::new(config.valid_fraction);
        let texts = TrainingTexts::new(
            &self.sources,
            hub,
            split,
            spec::train_bytes(config),
            config.max_bytes,
        );
        let tokenizer = train_bpe(texts, vocab_size)?;
        let tokenizer = with_template(tokenizer, &config.tokenizer)?;
        tokenizer.save_in(&self.dir)?;
        Ok(tokenizer)
    }

    /// The chat template, if there are conversations to be rendered.
    fn template(&self, tokenizer: &Tokenizer) -> Result<Option<ChatTemplate>, DataError> {
        let conversations = |source: &Source| source.content == Content::Conversations;
        let Some(index) = self.sources.iter().position(conversations) else {
            return Ok(None);
        };
        let template = tokenizer.chat_template()?.ok_or_else(|| {
            DataError::config(
                format!("data.sources[{index}].content"),
                "the tokenizer has no chat template to write conversations with\n  hint: set data.tokenizer.chat_template to a Jinja file",
            )
        })?;
        Ok(Some(template))
    }

    fn manifest(&self, config: &DataConfig, tokenizer: &Tokenizer, made: &[Vec<Part>]) -> Manifest {
        let sources = self.sources.iter().zip(made).map(|(source, parts)| {
            let mut manifest = SourceManifest {
                name: source.name.clone(),
                role: source.role,
                weight: source.weight,
                inputs: Vec::new(),
                train: SplitManifest::default(),
                valid: SplitManifest::default(),
                train_tokens_used: 0,
                empty_documents: 0,
            };
            manifest
                .inputs
                .extend(source.inputs.iter().map(|input| InputManifest {
                    name: input.name.clone(),
                    size: input.size,
                    hash: input.hash.clone(),
                }));
            for part in parts {
                part.train
                    .iter()
                    .for_each(|shard| manifest.train.push(shard.clone()));
                part.valid
                    .iter()
                    .for_each(|shard| manifest.valid.push(shard.clone()));
                manifest.empty_documents += part.empty_documents;
            }
            manifest
        });
        let mut sources: Vec<SourceManifest> = sources.collect();
        share_budget(config.max_tokens, &mut sources);
        Manifest {
            format: MANIFEST_FORMAT.into(),
            spec_hash: self.spec_hash.clone(),
            spec: self.spec.clone(),
            tokenizer_hash: tokenizer.hash().into(),
            vocab_size: tokenizer.vocab_size(),
            bos_id: tokenizer.bos_id(),
            eos_id: tokenizer.eos_id(),
            document_start_id: tokenizer.document_start_id(),
            token_type: TokenType::for_vocab(tokenizer.vocab_size()),
            sources,
        }
    }
}

/// The tokenizer with the chat template that the configuration names.
fn with_template(tokenizer: Tokenizer, config: &TokenizerConfig) -> Result<Tokenizer, DataError> {
    match template_file(config)? {
        Some(text) => Ok(tokenizer.with_chat_template(Some(text))),
        None => Ok(tokenizer),
    }
}

/// The chat template that the configuration names. A mistake in it is said before anything is prepared, with the
/// template's own file.
fn template_file(config: &TokenizerConfig) -> Result<Option<String>, DataError> {
    const KEY: &str = "data.tokenizer.chat_template";
    let Some(path) = &config.chat_template else {
        return Ok(None);
    };
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|error| {
        DataError::config(
            KEY,
            format!("cannot read {name}: {error}\n  hint: name a Jinja file; paths are relative to the config file that names them"),
        )
    })?;
    match ChatTemplate::new(&name, &text, Vec::new()) {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(DataError::config(KEY, error.to_string())),
    }
}

/// Share of a training source in the weights; `None` if weights are not given.
fn weight_share(weight: Option<f64>, all: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    Some(weight? / all.flatten().sum::<f64>())
}

/// Training tokens after which a source need not be read on: its share of `max_tokens` if weights say what
/// that is, else all of it.
fn train_cap(config: &DataConfig, sources: &[Source], index: usize) -> Option<u64> {
    let source = &sources[index];
    if config.max_tokens == 0 || source.role == SourceRole::Valid {
        return None;
    }
    let training = sources
        .iter()
        .filter(|s| s.role != SourceRole::Valid)
        .map(|s| s.weight);
    let share = weight_share(source.weight, training).unwrap_or(1.0);
    Some((config.max_tokens as f64 * share).ceil() as u64)
}

/// Divides `max_tokens` (0: no limit) among training sources, by weight, else in proportion to their tokens.
fn share_budget(max_tokens: u64, sources: &mut [SourceManifest]) {
    let total: u64 = sources.iter().map(|s| s.train.tokens).sum();
    let weights: Vec<_> = sources
        .iter()
        .filter(|s| s.role != SourceRole::Valid)
        .map(|s| s.weight)
        .collect();
    for source in sources {
        let limit = match weight_share(source.weight, weights.iter().copied()) {
            _ if max_tokens == 0 => u64::MAX,
            Some(share) => (max_tokens as f64 * share) as u64,
            None if total <= max_tokens => u64::MAX,
            None => {
                (u128::from(max_tokens) * u128::from(source.train.tokens) / u128::from(total))
                    as u64
            }
        };
        source.train_tokens_used = source.train.tokens.min(limit);
    }
}

fn empty_source(config: &DataConfig, source: &Source) -> DataError {
    let reason = if config.max_bytes > 0 {
        format!(
            " within max_bytes = {}\n  hint: documents are used whole; raise max_bytes, or divide the text into documents",
            config.max_bytes
        )
    } else {
        String::new()
    };
    DataError::EmptySource {
        name: source.name.clone(),
        reason,
    }
}

/// Deletes what killed processes left. Only with the lock: nobody else is writing.
fn remove_unfinished(dir: &Path) -> Result<(), DataError> {
    let entries = std::fs::read_dir(dir).map_err(DataError::io("list", dir))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().contains(fsio::TMP_MARK) {
            std::fs::remove_file(entry.path()).map_err(DataError::io("remove", &entry.path()))?;
        }
    }
    Ok(())
}
