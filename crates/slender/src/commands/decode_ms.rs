//! The time of a decoded token of every variant of a sweep, for `slender search pareto`.
//!
//! Variants take turns, round after round, there and back: whatever disturbs the machine for a minute
//! hits all of them, and a drift of its speed cancels. A model is loaded for its turn and dropped, so
//! that a sweep needs the memory of one.

use crate::cli::DecodeMsArgs;
use crate::error::CliError;
use crate::{commands, output};
use burn::tensor::Device;
use slender_model::LoadedModel;
use slender_model::infer::{DecodePlan, Engine, decode_times};
use slender_sweep::{
    DecodeCandidate, DecodeFile, DecodeSetting, DecodeWish, SweepResults, decode_work,
};
use slender_trainer::cpu_name;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Turns of every variant.
const ROUNDS: usize = 5;
/// Counted repetitions of a turn, after one that is not counted.
const REPETITIONS: usize = 3;

/// Measures every trained variant that has no `decode.json`, and writes one; returns what all of them were
/// measured with, if there is any variant.
pub fn measure(
    dir: &Path,
    results: &SweepResults,
    variants: &BTreeMap<String, String>,
    args: &DecodeMsArgs,
) -> Result<Option<DecodeSetting>, CliError> {
    let (candidates, run_dirs) = candidates(dir, results, variants)?;
    if candidates.is_empty() {
        return Ok(None);
    }
    if args.tokens == Some(0) {
        return Err(CliError::Usage(
            "--tokens is 0\n  hint: it is at least 1".into(),
        ));
    }
    let wish = DecodeWish {
        weights: args.weights.map(|weights| weights.name().to_owned()),
        threads: args.threads,
        prompt_len: args.prompt_len,
        tokens: args.tokens,
        again: args.remeasure,
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let cpu = match cpu_name() {
        name if name.is_empty() => std::env::consts::ARCH.to_owned(),
        name => name,
    };
    let work = decode_work(&candidates, &wish, &cpu, cores)
        .map_err(|conflict| CliError::Usage(conflict.to_string()))?;
    if work.measure.is_empty() {
        return Ok(Some(work.setting));
    }
    output::talk(&format!(
        "measuring decode_ms of {} of {} variants: {}",
        work.measure.len(),
        candidates.len(),
        work.setting
    ));
    commands::set_threads(work.setting.threads);
    let device = commands::open_device("flex")?;
    // Rounds of each variant; none where the model cannot be loaded.
    let mut times: Vec<Vec<Vec<f64>>> = vec![Vec::new(); candidates.len()];
    let mut order = work.measure.clone();
    for round in 0..ROUNDS {
        output::talk(&format!("round {} of {ROUNDS}", round + 1));
        let mut lost = Vec::new();
        for &index in &order {
            let name = &candidates[index].variant;
            match turn(&run_dirs[index], &work.setting, &device) {
                Ok(round) => times[index].push(round),
                // A sweep whose checkpoints were partly removed still has a front of the others.
                Err(CliError::Model(error)) if round == 0 => {
                    output::talk(&format!("{name} is not measured: {error}"));
                    lost.push(index);
                }
                Err(error) => return Err(error),
            }
        }
        order.retain(|index| !lost.contains(index));
        order.reverse();
    }
    for &index in &order {
        if let Some(file) = DecodeFile::of(&times[index], order.len(), &work.setting) {
            file.write(&run_dirs[index])?;
        }
    }
    Ok(Some(work.setting))
}

/// A trained run of every variant, the one that was measured if there is one, and its directory.
fn candidates(
    dir: &Path,
    results: &SweepResults,
    variants: &BTreeMap<String, String>,
) -> Result<(Vec<DecodeCandidate>, Vec<PathBuf>), CliError> {
    let mut found: BTreeMap<&str, (DecodeCandidate, PathBuf)> = BTreeMap::new();
    for run in results.runs.iter().filter(|run| run.state.is_trained()) {
        let variant = variants.get(&run.name).unwrap_or(&run.name);
        let run_dir = dir.join(&run.dir);
        // Read again: what this version cannot read is an error here, not to be written over.
        let file = DecodeFile::read(&run_dir)?;
        let known = found.get(variant.as_str());
        if known.is_some_and(|(known, _)| known.file.is_some() || file.is_none()) {
            continue;
        }
        let candidate = DecodeCandidate {
            variant: variant.clone(),
            run: run.name.clone(),
            seq_len: run.facts.seq_len,
            file,
        };
        found.insert(variant, (candidate, run_dir));
    }
    Ok(found.into_values().unzip())
}

/// Seconds a token takes, one value a repetition.
fn turn(run_dir: &Path, setting: &DecodeSetting, device: &Device) -> Result<Vec<f64>, CliError> {
    let weights = setting.weights.parse().map_err(CliError::Usage)?;
    let model = LoadedModel::load(run_dir, device)?.model;
    let engine = Engine::new(model, device, weights);
    let plan = DecodePlan {
        batch: 1,
        prompt_len: setting.prompt_len,
        tokens: setting.tokens,
        repetitions: REPETITIONS,
    };
    Ok(decode_times(&engine, &plan)?.step_s)
}
