//! Runs that differ in nothing but their seed, taken together.

use super::Measured;
use super::metric::Metric;
use crate::results::RunResult;
use serde::Serialize;
use slender_stats::noise::BySeed;
use slender_stats::{Noise, crossed};
use std::collections::{BTreeMap, HashMap};

/// What an interval allows for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Covers {
    /// Other seeds, and other questions like these.
    SeedsAndQuestions,
    /// Other seeds, on this validation text.
    Seeds,
    /// Other questions alone: there is one seed.
    Questions,
}

/// A metric of a variant over its seeds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean over the seeds.
    pub mean: f64,
    /// Standard deviation of this variant's own seeds; `None` for one.
    pub sd: Option<f64>,
    /// Seeds.
    pub seeds: usize,
    /// Lower end of the 95 % interval of the mean, if there is one.
    pub low: Option<f64>,
    /// Upper end.
    pub high: Option<f64>,
    /// What the interval allows for.
    pub covers: Option<Covers>,
}

impl Spread {
    /// Half the length of the interval.
    pub fn reach(&self) -> Option<f64> {
        Some((self.high? - self.low?) / 2.0)
    }
}

/// One variant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VariantResult {
    /// Name: the runs' without their seeds.
    pub name: String,
    /// Its runs, whatever became of them.
    pub runs: Vec<String>,
    /// Seeds of the runs that were trained.
    pub seeds: Vec<u64>,
    /// What the sweep varied, and this variant's values.
    pub axes: BTreeMap<String, serde_json::Value>,
    /// Distinct blocks.
    pub n_layers: usize,
    /// All parameters, if they are known.
    pub params_total: Option<u64>,
    /// Parameters outside the embeddings.
    pub params_non_embedding: Option<u64>,
    /// FLOPs of one whole training.
    pub train_flops: Option<f64>,
    /// Bytes that move to decode a token, see [`crate::RunFacts::decode_bytes_per_token`].
    pub decode_bytes_per_token: Option<u64>,
    /// Milliseconds to decode a token, where every trained variant was measured under one setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decode_ms: Option<f64>,
    /// Last validation loss, nats per token.
    pub valid_loss: Option<Spread>,
    /// Last validation loss, bits per byte of text.
    pub valid_bits_per_byte: Option<Spread>,
    /// Accuracy by task, fractions.
    pub tasks: BTreeMap<String, Spread>,
    /// Mean accuracy over the tasks.
    pub average: Option<Spread>,
    /// The same without BoolQ.
    pub average_without_boolq: Option<Spread>,
}

impl VariantResult {
    pub(crate) fn spread(&self, metric: &Metric) -> Option<&Spread> {
        match metric {
            Metric::BitsPerByte => self.valid_bits_per_byte.as_ref(),
            Metric::Loss => self.valid_loss.as_ref(),
            Metric::Average => self.average.as_ref(),
            Metric::AverageWithoutBoolq => self.average_without_boolq.as_ref(),
            Metric::Task(task) => self.tasks.get(task),
        }
    }
}

/// The runs of one variant.
pub(crate) struct Group<'a> {
    pub name: &'a str,
    pub runs: Vec<&'a RunResult>,
}

impl<'a> Group<'a> {
    /// Trained runs that have the metric, by seed.
    pub fn with(&self, metric: &Metric) -> BTreeMap<u64, &'a RunResult> {
        let own = self.runs.iter().filter(|run| run.counts());
        own.filter(|run| metric.of(run).is_some())
            .map(|run| (run.seed, *run))
            .collect()
    }

    pub fn by_seed(&self, metric: &Metric) -> BySeed {
        let own = self.with(metric).into_iter();
        own.filter_map(|(seed, run)| Some((seed, metric.of(run)?)))
            .collect()
    }
}

/// The variants in the order of their first runs.
pub(crate) fn groups(runs: &[RunResult]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for run in runs {
        match groups.iter_mut().find(|group| group.name == run.variant) {
            Some(group) => group.runs.push(run),
            None => groups.push(Group {
                name: &run.variant,
                runs: vec![run],
            }),
        }
    }
    groups
}

/// The noise of a metric over some variants that were measured alike.
pub(crate) fn noise_of(groups: &[Group<'_>], members: &[usize], metric: &Metric) -> Option<Noise> {
    let values: Vec<BySeed> = members
        .iter()
        .map(|index| groups[*index].by_seed(metric))
        .filter(|values| !values.is_empty())
        .collect();
    Noise::of(&values)
}

pub(crate) fn describe(groups: &[Group<'_>], index: usize, metrics: &[Measured]) -> VariantResult {
    let group = &groups[index];
    let first = group.runs[0];
    let accounting = first.facts.accounting;
    let trained: Vec<&&RunResult> = group.runs.iter().filter(|run| run.counts()).collect();
    let flops: Option<Vec<f64>> = trained.iter().map(|run| run.train_flops).collect();
    let mut variant = VariantResult {
        name: group.name.to_owned(),
        runs: group.runs.iter().map(|run| run.name.clone()).collect(),
        seeds: trained.iter().map(|run| run.seed).collect(),
        axes: first.axes.clone(),
        n_layers: first.facts.n_layers,
        params_total: accounting.map(|a| a.params_total),
        params_non_embedding: accounting.map(|a| a.params_non_embedding),
        train_flops: flops
            .filter(|all| !all.is_empty())
            .map(|all| all.iter().sum::<f64>() / all.len() as f64),
        decode_bytes_per_token: first.facts.decode_bytes_per_token(),
        decode_ms: None,
        valid_loss: None,
        valid_bits_per_byte: None,
        tasks: BTreeMap::new(),
        average: None,
        average_without_boolq: None,
    };
    for measured in metrics {
        let metric = &measured.metric;
        let Some(spread) = spread(group, metric, measured.noise(index)) else {
            continue;
        };
        match metric {
            Metric::BitsPerByte => variant.valid_bits_per_byte = Some(spread),
            Metric::Loss => variant.valid_loss = Some(spread),
            Metric::Average => variant.average = Some(spread),
            Metric::AverageWithoutBoolq => variant.average_without_boolq = Some(spread),
            Metric::Task(task) => {
                variant.tasks.insert(task.clone(), spread);
            }
        }
    }
    variant
}

fn spread(group: &Group<'_>, metric: &Metric, noise: Option<Noise>) -> Option<Spread> {
    let values = group.by_seed(metric);
    let n = values.len();
    if n == 0 {
        return None;
    }
    let mean = values.values().sum::<f64>() / n as f64;
    let squares: f64 = values.values().map(|y| (y - mean).powi(2)).sum();
    let pooled = noise.map(|noise| (noise.sd_within.powi(2) / n as f64, noise.df_within));
    let runs: Vec<&RunResult> = group.with(metric).into_values().collect();
    let of_questions = metric
        .strata(&runs)
        .and_then(|strata| crossed(&strata, pooled))
        // Answers that agree to the last one say nothing about how far others would move.
        .filter(|both| both.estimate.stderr > 0.0);
    let (interval, covers) = match (of_questions, noise) {
        (Some(both), _) => (
            Some(both.estimate.interval(0.95)),
            match both.variance_of_seeds {
                Some(_) => Some(Covers::SeedsAndQuestions),
                None => Some(Covers::Questions),
            },
        ),
        (None, Some(noise)) => (
            Some(noise.mean(&values).interval(0.95)),
            Some(Covers::Seeds),
        ),
        (None, None) => (None, None),
    };
    Some(Spread {
        mean,
        sd: (n > 1).then(|| (squares / (n - 1) as f64).sqrt()),
        seeds: n,
        low: interval.map(|(low, _)| low),
        high: interval.map(|(_, high)| high),
        covers,
    })
}

/// A variant's name for each of `runs`, given as `(name, variant, seed, configuration)`.
///
/// The plan's word counts. In a list of configurations the plan knows of no variants, so runs whose
/// configurations are equal but for name and seed are one, called by the names' common part.
pub(crate) fn variant_names(
    runs: &[(String, String, u64, BTreeMap<String, String>)],
) -> Vec<String> {
    // Everything of a configuration but name and seed, as one text: a thousand runs are a million pairs.
    let rest = |config: &BTreeMap<String, String>| -> String {
        let named = |key: &str| matches!(key, "run.name" | "run.seed");
        let kept = config.iter().filter(|(key, _)| !named(key));
        kept.map(|(key, value)| format!("{key}={value}\n"))
            .collect()
    };
    let rests: Vec<String> = runs.iter().map(|run| rest(&run.3)).collect();
    let mut groups: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, run) in runs.iter().enumerate() {
        if run.0 == run.1 && !run.3.is_empty() {
            groups.entry(&rests[index]).or_default().push(index);
        }
    }
    let name_of = |index: usize| {
        let (name, variant, _, _) = &runs[index];
        if variant != name {
            return variant.clone();
        }
        let Some(alike) = groups.get(rests[index].as_str()) else {
            return name.clone();
        };
        let alike: Vec<_> = alike.iter().map(|other| &runs[*other]).collect();
        let mut seeds: Vec<u64> = alike.iter().map(|other| other.2).collect();
        seeds.sort_unstable();
        seeds.dedup();
        if alike.len() < 2 || seeds.len() < alike.len() {
            return name.clone();
        }
        let common = |len: usize| {
            alike
                .iter()
                .all(|other| other.0.get(..len) == name.get(..len))
        };
        let longest = (1..=name.len())
            .rev()
            .find(|len| name.is_char_boundary(*len) && common(*len));
        let shared = &name[..longest.unwrap_or(0)];
        let shared = shared.trim_end_matches("seed").trim_end_matches("-s");
        match shared.trim_end_matches(['-', '_', '.']) {
            "" => name.clone(),
            shared => shared.to_owned(),
        }
    };
    let names: Vec<String> = (0..runs.len()).map(name_of).collect();
    // A shortened name must not be another run's.
    let clashes = |index: &usize| {
        let own = &names[*index];
        runs.iter()
            .zip(&names)
            .any(|(run, other)| run.0 == *own && other != own)
    };
    (0..runs.len())
        .map(|index| match clashes(&index) {
            true => runs[index].0.clone(),
            false => names[index].clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_that_differ_in_their_seed_alone_are_one_variant() {
        let run = |name: &str, seed: u64, layers: &str| {
            let config = [("model.n_layers", layers), ("run.seed", &seed.to_string())];
            let config = config.map(|(k, v)| (k.to_owned(), v.to_owned()));
            (
                name.to_owned(),
                name.to_owned(),
                seed,
                BTreeMap::from(config),
            )
        };
        let names = variant_names(&[
            run("a-4x64-s0", 0, "4"),
            run("a-4x64-s1", 1, "4"),
            run("a-8x48-s0", 0, "8"),
            run("b", 3, "2"),
            run("c", 3, "2"),
        ]);
        assert_eq!(names, ["a-4x64", "a-4x64", "a-8x48-s0", "b", "c"]);
        let mut planned = run("x-s7", 7, "1");
        planned.1 = "x".into();
        assert_eq!(variant_names(&[planned]), ["x"]);
    }
}
