//! The report's words: who leads, by how much, and what cannot be concluded.
//!
//! Every sentence is computed from the results. The rule of thumb behind them: two averages are
//! told apart when they differ by two standard errors of their difference, taken as independent.
//! All runs answer the same questions, so a paired test would be sharper; until the report has one,
//! the error is on the side of caution.

use crate::format::{list, percent};
use crate::results::{Average, RunResult, RunState, SweepResults};
use serde::Serialize;
use slender_config::human_count;

/// What a sentence of the summary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SentenceKind {
    /// What came out.
    Finding,
    /// What cannot be concluded, and why.
    Caveat,
    /// A run that is not there.
    Missing,
}

/// One sentence of the summary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sentence {
    /// What it is for.
    pub kind: SentenceKind,
    /// The words.
    pub text: String,
}

/// The summary of a sweep, findings first.
pub(crate) fn summarize(results: &SweepResults) -> Vec<Sentence> {
    let trained: Vec<&RunResult> = results
        .runs
        .iter()
        .filter(|run| run.state.is_trained() || (run.valid_loss.is_some() && is_eval_failure(run)))
        .collect();
    let scored: Vec<(&RunResult, Average)> = trained
        .iter()
        .filter_map(|run| Some((*run, run.average?)))
        .collect();
    let mut out = Vec::new();
    let mut say = |kind, text: Option<String>| {
        out.extend(text.map(|text| Sentence { kind, text }));
    };
    use SentenceKind::{Caveat, Finding, Missing};
    say(Finding, by_loss(&trained));
    say(Finding, by_score(&scored));
    say(Finding, against_chance(&scored));
    for run in &results.runs {
        say(Missing, missing(run));
    }
    say(Caveat, seeds(&trained));
    say(Caveat, slices(results));
    say(Caveat, task_sets(&scored));
    say(Caveat, unequal_budget(&trained));
    say(Caveat, unequal_size(&trained));
    say(Caveat, papers_numbers(&trained));
    out
}

/// Trained to its end, but without scores: its loss still counts.
fn is_eval_failure(run: &RunResult) -> bool {
    let eval = crate::manifest::Stage::Eval;
    run.failure
        .as_ref()
        .is_some_and(|failure| failure.stage == eval)
}

fn by_loss(trained: &[&RunResult]) -> Option<String> {
    // Loss per token compares only models that cut text into the same tokens.
    let vocab = trained.first()?.facts.vocab_size;
    let same_tokens = trained.iter().all(|run| run.facts.vocab_size == vocab);
    let key = |run: &RunResult| {
        if same_tokens {
            run.valid_loss
        } else {
            run.valid_bits_per_byte
        }
    };
    let (unit, why) = if same_tokens {
        ("nats per token", "validation loss")
    } else {
        (
            "bits per byte",
            "validation bits per byte (the vocabularies differ)",
        )
    };
    let mut ranked: Vec<(f64, &RunResult)> = trained
        .iter()
        .filter_map(|run| Some((key(run)?, *run)))
        .collect();
    ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (best, run) = ranked.first()?;
    let bytes = match run.valid_bits_per_byte {
        Some(bits) if same_tokens => format!(", {bits:.3} bits per byte"),
        _ => String::new(),
    };
    let name = &run.name;
    Some(match ranked.get(1) {
        None => format!("The {why} of {name} is {best:.3} {unit}{bytes}."),
        Some((second, runner_up)) => format!(
            "By {why}, {name} is best of {} ({best:.3} {unit}{bytes}); {} follows {:.3} behind.",
            ranked.len(),
            runner_up.name,
            second - best
        ),
    })
}

fn by_score(scored: &[(&RunResult, Average)]) -> Option<String> {
    let mut ranked = scored.to_vec();
    ranked.sort_by(|a, b| b.1.mean.total_cmp(&a.1.mean));
    let (run, best) = ranked.first()?;
    let tasks = match best.tasks {
        1 => "its one zero-shot task".to_owned(),
        n => format!("the average of {n} zero-shot tasks"),
    };
    let errors = best.stderr.map(percent);
    let score = match errors {
        Some(stderr) => format!("{} ± {stderr} %", percent(best.mean)),
        None => format!("{} %", percent(best.mean)),
    };
    let Some((second, other)) = ranked.get(1) else {
        return Some(format!("{} scores {score} on {tasks}.", run.name));
    };
    let gap = best.mean - other.mean;
    let lead = format!(
        "On {tasks}, {} leads with {score}; {} follows {} points behind",
        run.name,
        second.name,
        percent(gap)
    );
    let Some(error) = error_of_difference(best, other) else {
        return Some(format!("{lead}."));
    };
    let lead = format!(
        "{lead}, {:.1} standard errors of the difference (± {} points)",
        gap / error,
        percent(error)
    );
    if gap >= 2.0 * error {
        return Some(format!(
            "{lead}: more than the choice of questions explains."
        ));
    }
    let apart = |average: &Average| {
        error_of_difference(best, average)
            .is_none_or(|error| best.mean - average.mean >= 2.0 * error)
    };
    let tail = match ranked.iter().any(|(_, average)| apart(average)) {
        false if ranked.len() > 2 => "; no run is more than two standard errors below the leader",
        _ => "",
    };
    Some(format!(
        "{lead}: the tasks cannot tell the two apart{tail}."
    ))
}

/// Standard error of the difference of two averages, taken as independent.
fn error_of_difference(a: &Average, b: &Average) -> Option<f64> {
    let error = a.stderr?.hypot(b.stderr?);
    (error > 0.0).then_some(error)
}

fn against_chance(scored: &[(&RunResult, Average)]) -> Option<String> {
    let known: Vec<(Average, f64)> = scored
        .iter()
        .filter_map(|(run, average)| Some((*average, run.average_chance?)))
        .collect();
    let (_, chance) = known.first()?;
    let near = known
        .iter()
        .filter(|(average, chance)| {
            let within = |stderr| average.mean - chance < 2.0 * stderr;
            average.stderr.is_some_and(within)
        })
        .count();
    let how_many = match near {
        0 => return None,
        n if n == known.len() && n > 1 => format!("All {n} averages are"),
        1 => "One average is".to_owned(),
        n => format!("{n} of {} averages are", known.len()),
    };
    Some(format!(
        "{how_many} within two standard errors of guessing ({} %): there the scores say nothing about the shape, and validation loss is the better guide.",
        percent(*chance)
    ))
}

fn missing(run: &RunResult) -> Option<String> {
    let name = &run.name;
    match (run.state, &run.failure) {
        (RunState::Finished, _) => None,
        (_, Some(failure)) => Some(format!(
            "{name}: {} failed after step {} of {}: {}.",
            failure.stage.noun(),
            run.step,
            run.facts.total_steps,
            failure.message
        )),
        (RunState::Pending, None) => Some(format!("{name} is missing: it was not started.")),
        (state, None) => Some(format!(
            "{name} is incomplete: it is {} (step {} of {}).",
            state.words(),
            run.step,
            run.facts.total_steps
        )),
    }
}

fn seeds(trained: &[&RunResult]) -> Option<String> {
    if trained.len() < 2 {
        return None;
    }
    let same_but_seed = |a: &RunResult, b: &RunResult| {
        let mut facts = a.facts.clone();
        facts.seed = b.facts.seed;
        facts == b.facts && a.facts.seed != b.facts.seed
    };
    let repeated = trained
        .iter()
        .any(|a| trained.iter().any(|b| same_but_seed(a, b)));
    Some(if repeated {
        "Some variants were trained with several seeds; they are listed as separate runs and not pooled.".into()
    } else {
        "Each variant was trained once, with one seed. How much another seed would move its loss or scores is not known, so no order of the variants shown here is established; the error bars cover the choice of questions only.".into()
    })
}

fn slices(results: &SweepResults) -> Option<String> {
    let fixture = results.scores().any(|score| score.fixture);
    let most = results.scores().map(|score| score.examples).max()?;
    if fixture {
        Some(format!(
            "Evaluated on shipped slices, not the full tasks: at most {most} questions of each. The scores are not comparable with published ones."
        ))
    } else if results.is_partial() {
        Some(format!(
            "Evaluated on part of each task, at most {most} questions: not comparable with published scores."
        ))
    } else {
        None
    }
}

fn task_sets(scored: &[(&RunResult, Average)]) -> Option<String> {
    let first = scored.first()?.0;
    let same = scored
        .iter()
        .all(|(run, _)| run.tasks.keys().eq(first.tasks.keys()));
    (!same).then(|| {
        "The runs were evaluated on different sets of tasks; their averages do not compare.".into()
    })
}

fn unequal_budget(trained: &[&RunResult]) -> Option<String> {
    let (low, high) = range(trained.iter().map(|run| run.tokens as f64))?;
    (high > 1.01 * low).then(|| {
        format!(
            "The runs saw different amounts of text, from {} to {} tokens; any order of all of them mixes shape with budget.",
            human_count(low),
            human_count(high)
        )
    })
}

fn unequal_size(trained: &[&RunResult]) -> Option<String> {
    let accounts: Vec<_> = trained
        .iter()
        .filter_map(|run| run.facts.accounting)
        .collect();
    let mut spreads = Vec::new();
    let mut add = |what: &str, values: Vec<u64>| {
        if let Some((low, high)) = range(values.into_iter().map(|value| value as f64))
            && high > 1.05 * low
        {
            let (low, high) = (human_count(low), human_count(high));
            spreads.push(format!("{what} ({low} to {high})"));
        }
    };
    add(
        "parameters",
        accounts.iter().map(|a| a.params_total).collect(),
    );
    add(
        "parameters outside the embeddings",
        accounts.iter().map(|a| a.params_non_embedding).collect(),
    );
    add(
        "training FLOPs per token",
        accounts.iter().map(|a| a.train_flops_per_token).collect(),
    );
    (!spreads.is_empty()).then(|| {
        format!(
            "The variants differ in more than their shape, namely in {}; part of any difference may come from that.",
            list(&spreads)
        )
    })
}

fn papers_numbers(trained: &[&RunResult]) -> Option<String> {
    let with: Vec<_> = trained
        .iter()
        .filter_map(|run| Some((run, run.paper.as_ref()?)))
        .collect();
    if with.is_empty() {
        return None;
    }
    let fewer = with
        .iter()
        .any(|(run, paper)| paper.tokens.is_some_and(|t| (run.tokens as f64) < 0.95 * t));
    let tokens = if fewer {
        " and, here, on more tokens"
    } else {
        ""
    };
    Some(format!(
        "The paper's numbers come from one seed each, from undisclosed data{tokens}, and from an evaluation close to acc_norm; read them as a neighbour, not as a target."
    ))
}

/// Smallest and largest of at least two values.
fn range(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let values: Vec<f64> = values.collect();
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (values.len() > 1).then_some((low, high))
}
