//! The report's words: who leads, by how much, and what cannot be concluded.
//!
//! Every sentence is computed from the results; [`crate::verdict`] has those about the variants.

use crate::analysis::Metric;
use crate::format::{list, percent};
use crate::results::{Average, RunResult, RunState, SweepResults};
use crate::search::Method;
use crate::verdict::{self, deciding_metric};
use serde::Serialize;
use slender_config::human_count;

/// What a sentence of the summary is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SentenceKind {
    /// Which variant is best, and how certain that is.
    Verdict,
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
    let trained: Vec<&RunResult> = results.runs.iter().filter(|run| run.counts()).collect();
    let scored: Vec<(&RunResult, Average)> = trained
        .iter()
        .filter_map(|run| Some((*run, run.average?)))
        .collect();
    let mut out = Vec::new();
    let mut say = |kind, text: Option<String>| {
        out.extend(text.map(|text| Sentence { kind, text }));
    };
    use SentenceKind::{Caveat, Finding, Missing, Verdict};
    say(Verdict, verdict::verdict(results).map(|(text, _)| text));
    for text in verdict::by_loss(results) {
        say(Finding, Some(text));
    }
    for text in verdict::by_score(results) {
        say(Finding, Some(text));
    }
    for trend in verdict::trends(results) {
        say(Finding, Some(trend));
    }
    say(Finding, against_chance(&scored));
    say(Finding, search(results));
    // What a search stopped, or has not come to, is in its own table.
    let by_search = |run: &RunResult| {
        let plain = run.failure.is_none();
        results.search.is_some()
            && plain
            && matches!(run.state, RunState::Paused | RunState::Pending)
    };
    for run in results.runs.iter().filter(|run| !by_search(run)) {
        say(Missing, missing(run));
    }
    for apart in measured_apart(results) {
        say(Caveat, Some(apart));
    }
    say(Caveat, no_spread(results));
    say(Caveat, tokenizers(&trained));
    say(Caveat, seeds(results, &trained));
    say(Caveat, slices(results));
    say(Caveat, altered(results));
    say(Caveat, unchecked(results));
    say(Caveat, task_sets(&scored));
    say(Caveat, unequal_budget(&trained));
    say(Caveat, unequal_size(&trained));
    say(Caveat, papers_numbers(&trained));
    out
}

/// What a search did: rungs, trials at each, and what was stopped.
fn search(results: &SweepResults) -> Option<String> {
    let search = results.search.as_ref()?;
    let all = search.trials.len();
    let method = match search.search.method {
        Method::Full => "a search that trains every trial to its end",
        Method::Asha => "a search by asynchronous successive halving",
        Method::Tune => "a search for the learning rate of each variant",
    };
    let rungs: Vec<String> = (search.rungs().into_iter().enumerate())
        .map(|(index, (step, trials))| match step {
            Some(step) => format!("{trials} at step {step}"),
            None => format!("{trials} at rung {}", index + 1),
        })
        .collect();
    let paused = match (search.paused(), search.done) {
        (0, _) => String::new(),
        (1, true) => " One was stopped there, short of its budget; it is not compared.".to_owned(),
        (1, false) => " One is paused and may go on.".to_owned(),
        (n, true) => {
            format!(" {n} were stopped there, short of their budget; they are not compared.")
        }
        (n, false) => format!(" {n} are paused and may go on."),
    };
    let end = if search.done {
        "It is over."
    } else {
        "It is not over."
    };
    Some(format!(
        "This is {method} over {all} trials; measured were {}.{paused} {end}",
        list(&rungs)
    ))
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

/// What was not measured alike; once for all metrics that differ in the same.
fn measured_apart(results: &SweepResults) -> Vec<String> {
    let mut said: Vec<(Vec<String>, String)> = Vec::new();
    let compared = deciding_metric(results);
    for apart in &results.measured_apart {
        let what = match apart.metric.as_str() {
            "valid_bits_per_byte" => "validation losses",
            // Bits per byte stand in its place where they are known.
            "valid_loss" if compared != Some(Metric::Loss) => continue,
            "valid_loss" => "validation losses in nats per token",
            "average" => "scores",
            _ => continue,
        };
        let sets: Vec<String> = (apart.alike.iter())
            .map(|alike| {
                let names = match alike.variants.as_slice() {
                    names if names.len() > 4 => format!("{} variants", names.len()),
                    names => list(names),
                };
                match alike.words().as_str() {
                    "" => names,
                    own => format!("{names} ({own})"),
                }
            })
            .collect();
        let sets = match sets.len() {
            n if n > 6 => format!("there are {n} sets of variants that were measured alike"),
            _ => format!(
                "only variants within one of these sets compare: {}",
                sets.join("; ")
            ),
        };
        said.push((
            apart.differs.clone(),
            format!(
                "The {what} were not all measured alike: they differ in {}. No order is given across that; {sets}.{}",
                list(&apart.differs),
                match apart.same_text_would_do() {
                    true => " With eval.loss_tokens = 0 all of the validation text is measured, whatever the tokenizer.",
                    false => "",
                }
            ),
        ));
    }
    said.into_iter().map(|(_, text)| text).collect()
}

/// Seeds that agree to the last digit, from which nothing can be estimated.
fn no_spread(results: &SweepResults) -> Option<String> {
    let alike = |metric: &Metric| {
        let seeds = |v: &crate::analysis::VariantResult| v.spread(metric).map_or(0, |s| s.seeds);
        let known = results
            .noise
            .iter()
            .any(|noise| noise.metric == metric.name());
        !known && results.variants.iter().any(|variant| seeds(variant) > 1)
    };
    let loss = deciding_metric(results).filter(Metric::less_is_better);
    let metrics = loss.into_iter().chain([Metric::Average]).filter(alike);
    let words: Vec<String> = metrics
        .map(|metric| match metric {
            Metric::Average => "scores".to_owned(),
            _ => "validation losses".to_owned(),
        })
        .collect();
    (!words.is_empty()).then(|| {
        format!(
            "The seeds of each variant agree in their {} to the last digit. That is no proof that there is no noise: from so few seeds it cannot be estimated, so no order of the variants is established by them.",
            list(&words)
        )
    })
}

fn tokenizers(trained: &[&RunResult]) -> Option<String> {
    let all: std::collections::BTreeSet<_> = trained
        .iter()
        .filter_map(|run| run.provenance.tokenizer_hash.as_ref())
        .collect();
    (all.len() > 1).then(|| {
        "The tokenizers differ: losses in nats per token, in the table and in the pictures of the loss, do not compare across them; bits per byte of the same text do.".into()
    })
}

fn seeds(results: &SweepResults, trained: &[&RunResult]) -> Option<String> {
    let counts: Vec<usize> = results
        .variants
        .iter()
        .map(|v| v.seeds.len())
        .filter(|n| *n > 0)
        .collect();
    let (least, most) = (*counts.iter().min()?, *counts.iter().max()?);
    if counts.len() < 2 {
        return None;
    }
    if most == 1 {
        return Some("Each variant was trained once, with one seed. How much another seed would move its loss or scores is not known, so no order of the variants shown here is established; the error bars cover the choice of questions only.".into());
    }
    let orders: std::collections::BTreeSet<_> = trained
        .iter()
        .filter_map(|run| run.settings.get("data.order_seed"))
        .collect();
    let order = match orders.len() {
        1 => {
            " Seeds changed the initial weights; the text came in one order for all (data.order_seed), so the noise of another order is not in it."
        }
        _ => "",
    };
    let few = match least {
        1 => format!("Some variants have one seed, others up to {most}; the noise is that of the latter."),
        2 => "Two seeds a variant measure the noise poorly; the intervals allow for that and are wide.".to_owned(),
        _ => String::new(),
    };
    let text = format!("{few}{order}");
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
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

/// Tasks of which some run's examples, or those in its prompts, have this content.
fn tasks_with(results: &SweepResults, content: &str) -> Vec<String> {
    let of_runs = results.runs.iter().flat_map(|run| &run.tasks);
    let with = of_runs.filter(|(_, score)| {
        let both = [&score.content, &score.fewshot_content];
        both.iter().any(|own| own.as_deref() == Some(content))
    });
    let names: std::collections::BTreeSet<&String> = with.map(|(task, _)| task).collect();
    names.into_iter().cloned().collect()
}

fn altered(results: &SweepResults) -> Option<String> {
    let tasks = tasks_with(results, "altered");
    (!tasks.is_empty()).then(|| {
        format!(
            "The examples of {} differ from the published split (eval.allow_altered): the scores are not comparable with published ones. The warnings in results.json say what differs.",
            list(&tasks)
        )
    })
}

fn unchecked(results: &SweepResults) -> Option<String> {
    let tasks = tasks_with(results, "not checked");
    (!tasks.is_empty()).then(|| {
        format!(
            "The content of the examples of {} was not checked against the published split, so whether the scores compare with published ones is not known.",
            list(&tasks)
        )
    })
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
