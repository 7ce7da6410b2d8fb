//! From a sweep directory to [`SweepResults`].
//!
//! Runs that are missing, half-way, failed or written by a newer slender are kept and named; only a
//! missing or unreadable `sweep.json` is an error.

use crate::analysis::{analyse, examples, variant_names};
use crate::attempts::Attempts;
use crate::claim::ClaimOptions;
use crate::decode::{Comparable, DecodeFile, comparable};
use crate::error::SweepError;
use crate::files::read_optional;
use crate::format::natural_order;
use crate::manifest::{Failure, Manifest, ManifestRun, Stage};
use crate::metrics::Curves;
use crate::paper;
use crate::provenance::{Provenance, Validation, flat_config};
use crate::results::{
    Average, PaperNumbers, RESULTS_FORMAT, RunResult, RunState, SweepResults, TaskScore, Timing,
};
use crate::rundir::{Status, StatusState, TaskFile};
use crate::search::{SearchSource, Standing, standing};
use crate::state::SweepState;
use crate::summary::summarize;
use slender_config::Accounting;
use std::collections::BTreeMap;
use std::path::Path;

/// Reads every run of the sweep directory `dir`.
///
/// # Errors
/// `dir` holds no readable `sweep.json`.
pub fn collect(dir: &Path) -> Result<SweepResults, SweepError> {
    let Some(manifest) = Manifest::read(dir)? else {
        return Err(SweepError::NotASweep {
            path: dir.to_owned(),
        });
    };
    let mut warnings = Vec::new();
    let search = search_of(dir, &manifest, &mut warnings);
    let mut runs: Vec<RunResult> = manifest
        .runs
        .into_iter()
        .map(|run| read_run(dir, run, &mut warnings))
        .collect();
    runs.sort_by(|a, b| natural_order(&a.name, &b.name));
    name_variants(&mut runs);
    if comparable(&runs) == Comparable::Mixed {
        warnings.push(
            "decode.json: times were measured under different settings and are not compared; `slender search pareto --by valid_loss,decode_ms --remeasure` measures all variants alike".into(),
        );
    }
    let analysis = analyse(&runs);
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let name = absolute.file_name().map_or_else(
        || "sweep".to_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    let mut results = SweepResults {
        format: RESULTS_FORMAT.into(),
        name,
        summary: Vec::new(),
        warnings,
        search,
        runs,
        variants: analysis.variants,
        measured_apart: analysis.apart,
        noise: analysis.noise,
        comparisons: analysis.comparisons,
        trend: analysis.trend,
        pareto: analysis.pareto,
    };
    results.summary = summarize(&results);
    Ok(results)
}

/// How the search stands, if the sweep is one.
fn search_of(dir: &Path, manifest: &Manifest, warnings: &mut Vec<String>) -> Option<Standing> {
    let mut source = SearchSource::of_manifest(manifest)?;
    let state = SweepState::read(dir, &ClaimOptions::default()).map(Some);
    let state = warn_of(state, warnings)?;
    Some(standing(&mut source, &state))
}

/// Finds the variants of a list of configurations, where no plan names them.
fn name_variants(runs: &mut [RunResult]) {
    let known = runs.iter().map(|run| {
        let (name, variant) = (run.name.clone(), run.variant.clone());
        (name, variant, run.seed, run.settings.clone())
    });
    let names = variant_names(&known.collect::<Vec<_>>());
    for (run, name) in runs.iter_mut().zip(names) {
        run.variant = name;
    }
}

fn read_run(dir: &Path, run: ManifestRun, warnings: &mut Vec<String>) -> RunResult {
    let run_dir = dir.join(&run.dir);
    let status = warn_of(Status::read(&run_dir), warnings);
    let eval = warn_of(TaskFile::read(&run_dir), warnings);
    let curves = warn_of(Curves::read(&run_dir).map(Some), warnings).unwrap_or_default();
    let examples = warn_of(examples::read(&run_dir).map(Some), warnings).unwrap_or_default();
    let decode = warn_of(DecodeFile::read(&run_dir), warnings);
    let settings = flat_config(&[&run_dir.join("config.toml"), &dir.join(&run.config)]);
    let mut facts = run.facts;
    if facts.accounting.is_none() {
        facts.accounting = accounting_of(&run_dir);
    }
    let tasks = eval.as_ref().map(task_scores).unwrap_or_default();
    let all_tasks = facts.tasks.iter().all(|task| tasks.contains_key(task));
    // Before there were attempts, the manifest knew why a run failed.
    let failure = match warn_of(Attempts::read(&run_dir).map(Some), warnings) {
        Some(attempts) if !attempts.lines.is_empty() => attempts.failure(),
        _ => run.failure,
    };
    let state = match status.as_ref().map(|status| status.state) {
        _ if failure.is_some() => RunState::Failed,
        None => RunState::Pending,
        Some(StatusState::Running) => RunState::Running,
        Some(StatusState::Interrupted) => RunState::Interrupted,
        Some(StatusState::Paused) => RunState::Paused,
        Some(StatusState::Failed) => RunState::Failed,
        Some(StatusState::Finished) if all_tasks => RunState::Finished,
        Some(StatusState::Finished) => RunState::Trained,
    };
    let failure = failure.or_else(|| {
        let message = status.as_ref()?.error.clone()?;
        (state == RunState::Failed).then_some(Failure {
            stage: Stage::Train,
            code: None,
            message,
            log_tail: Vec::new(),
        })
    });
    let tokens = status.as_ref().map_or(0, |status| status.tokens);
    let last = curves.valid.last();
    let by = |keep: &dyn Fn(&str) -> bool| {
        let kept = tasks.iter().filter(|(task, _)| keep(task));
        Average::of(kept.map(|(_, score)| (score.acc, score.acc_stderr)))
    };
    let norm = |score: &TaskScore| match (score.acc_norm, score.acc_norm_stderr) {
        (Some(acc), stderr) => (acc, stderr),
        _ => (score.acc, score.acc_stderr),
    };
    let chances: Option<Vec<f64>> = tasks.values().map(|score| score.chance).collect();
    RunResult {
        train_flops: facts
            .accounting
            .map(|accounting| accounting.train_flops_per_token as f64 * tokens as f64),
        state,
        failure,
        step: status.as_ref().map_or(0, |status| status.step),
        tokens,
        skipped_batches: status.as_ref().map_or(0, |status| status.skipped_batches),
        valid_loss: last
            .map(|point| point.loss)
            .or_else(|| status.as_ref()?.valid_loss),
        valid_bits_per_byte: last
            .and_then(|point| point.bits_per_byte)
            .or_else(|| status.as_ref()?.valid_bits_per_byte),
        average: by(&|_| true),
        average_without_boolq: by(&|task| task != "boolq"),
        average_norm: Average::of(tasks.values().map(norm)),
        average_chance: chances
            .filter(|all| !all.is_empty())
            .map(|all| all.iter().sum::<f64>() / all.len() as f64),
        paper: facts
            .paper_row
            .as_deref()
            .and_then(paper::row)
            .map(PaperNumbers::of),
        timing: Timing {
            train_s: status.as_ref().map_or(0.0, |status| status.elapsed_s),
        },
        provenance: Provenance {
            validation: Validation::of(last, facts.seq_len, &settings),
            ..Provenance::read(&run_dir)
        },
        decode,
        tasks,
        curves,
        examples,
        settings,
        variant: run.variant,
        seed: run.seed,
        axes: run.axes,
        name: run.name,
        config: run.config,
        dir: run.dir,
        facts,
    }
}

fn task_scores(file: &TaskFile) -> BTreeMap<String, TaskScore> {
    let content = |of: &BTreeMap<String, serde_json::Value>, task: &String| {
        let content = of.get(task)?.get("content")?;
        content.as_str().map(str::to_owned)
    };
    let score = |task: &String| {
        let samples = file.n_samples.get(task).copied();
        let score = TaskScore {
            acc: file.metric(task, "acc")?,
            acc_stderr: file.metric(task, "acc_stderr"),
            acc_norm: file.metric(task, "acc_norm"),
            acc_norm_stderr: file.metric(task, "acc_norm_stderr"),
            examples: samples.map_or(0, |samples| samples.effective),
            examples_total: samples.map_or(0, |samples| samples.published.max(samples.original)),
            fixture: file.fixture.get(task).copied().unwrap_or(false),
            chance: file.chance.get(task).copied(),
            content: content(&file.data, task),
            fewshot_content: content(&file.fewshot_data, task),
            warnings: file.warnings.get(task).cloned().unwrap_or_default(),
        };
        Some((task.clone(), score))
    };
    file.results.keys().filter_map(score).collect()
}

/// The accounting in `run.json`, for a run whose vocabulary only its tokenizer knew.
fn accounting_of(run_dir: &Path) -> Option<Accounting> {
    let text = read_optional(&run_dir.join("run.json")).ok().flatten()?;
    let value: serde_json::Value = serde_json::from_str(&text).ok()?;
    serde_json::from_value(value.get("accounting")?.clone()).ok()
}

fn warn_of<T>(read: Result<Option<T>, SweepError>, warnings: &mut Vec<String>) -> Option<T> {
    read.unwrap_or_else(|error| {
        warnings.push(error.to_string());
        None
    })
}
