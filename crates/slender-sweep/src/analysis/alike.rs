//! Which variants were measured alike: only their numbers compare.
//!
//! A loss compares where it was measured on the same text in windows of the same length, in nats per token
//! with the same tokenizer besides; a score where the same questions were asked in the same way. What a
//! sweep varies may touch that (`eval.limit`, `data.valid_fraction`): the variants then fall into sets, and
//! nothing is compared across them.
//!
//! The text is known by the prepared data's hash. Where that differs for a reason that leaves the validation
//! text alone (another tokenizer, fewer training tokens, other weights), the settings of the data must agree
//! in everything else, and the number of bytes that were measured must be equal.

use super::metric::Metric;
use super::variants::Group;
use crate::provenance::EvalSettings;
use crate::results::RunResult;
use serde::Serialize;
use slender_config::human_count;
use std::collections::{BTreeMap, BTreeSet};

/// Settings of the data that leave the validation text as it is.
const NOT_OF_THE_TEXT: [&str; 4] = [
    "data.order_seed",
    "data.cache_dir",
    "data.document_mask",
    "data.max_tokens",
];
const MEASURED_TEXT: &str = "the measured text";
const TOKENIZER: &str = "data.tokenizer";

/// A metric whose values do not all compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeasuredApart {
    /// `valid_bits_per_byte`, `valid_loss`, `average`, `average_without_boolq` or a task.
    pub metric: String,
    /// What differs in how it was measured.
    pub differs: Vec<String>,
    /// Variants that were measured alike, in the order of their first.
    pub alike: Vec<AlikeSet>,
}

/// Variants that were measured alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlikeSet {
    /// Their names.
    pub variants: Vec<String>,
    /// What is theirs, for each thing that differs.
    pub measured: BTreeMap<String, String>,
}

impl MeasuredApart {
    /// Whether nothing differs but how much of the text was measured, which measuring all of it would mend.
    pub fn same_text_would_do(&self) -> bool {
        self.differs == [MEASURED_TEXT]
    }
}

impl AlikeSet {
    /// `eval.limit 10 questions, …`.
    pub(crate) fn words(&self) -> String {
        let words = self
            .measured
            .iter()
            .map(|(what, own)| format!("{what} {own}"));
        let words: Vec<String> = words.map(|word| word.trim_end().to_owned()).collect();
        words.join(", ")
    }
}

/// The variants that have a metric, as indices of groups, in sets that were measured alike.
pub(crate) struct Sets {
    pub sets: Vec<Vec<usize>>,
    pub apart: Option<MeasuredApart>,
}

/// What is told apart: what something is called, what must be equal (of each task, where it is one's of a task), and
/// how that is shown.
type Facets = BTreeMap<&'static str, (Parts, String)>;

/// What must be equal, by task; under an empty name where it is of no task.
type Parts = BTreeMap<String, String>;

fn whole(key: impl Into<String>) -> Parts {
    Parts::from([(String::new(), key.into())])
}

/// What all runs of a sweep together say about how to tell them apart.
struct Context {
    /// Settings of data that were prepared more than once, with other results.
    ambiguous: BTreeSet<String>,
    /// Whether all tell how many tokens and bytes were measured.
    tokens: bool,
    bytes: bool,
    tokenizers: usize,
    loss_tokens: usize,
    limits: usize,
}

/// Sorts the variants that have `metric` into sets that were measured alike.
pub(crate) fn sets(groups: &[Group<'_>], metric: &Metric) -> Sets {
    let with: Vec<(usize, Vec<&RunResult>)> = groups
        .iter()
        .enumerate()
        .map(|(index, group)| (index, group.with(metric).into_values().collect()))
        .filter(|(_, runs): &(usize, Vec<&RunResult>)| !runs.is_empty())
        .collect();
    let all: Vec<&RunResult> = with.iter().flat_map(|(_, runs)| runs.clone()).collect();
    let context = Context::of(&all);
    let mut sets: Vec<(Facets, Vec<usize>)> = Vec::new();
    for (index, runs) in &with {
        let own: Vec<Facets> = runs.iter().map(|run| context.facets(run, metric)).collect();
        let mut facets = own[0].clone();
        if own.iter().any(|other| keys(other) != keys(&facets)) {
            // Seeds that were not measured alike compare with nothing.
            let name = groups[*index].name;
            facets.insert(
                "its seeds",
                (whole(format!("mixed {name}")), "differ".into()),
            );
        }
        match sets
            .iter_mut()
            .find(|(known, _)| keys(known) == keys(&facets))
        {
            Some((_, members)) => members.push(*index),
            None => sets.push((facets, vec![*index])),
        }
    }
    let apart = (sets.len() > 1).then(|| apart(&sets, groups, metric));
    Sets {
        sets: sets.into_iter().map(|(_, members)| members).collect(),
        apart,
    }
}

fn keys(facets: &Facets) -> Vec<(&'static str, &Parts)> {
    let pairs = facets.iter();
    pairs.map(|(name, (key, _))| (*name, key)).collect()
}

/// Whether sets differ in what is called `name`: one of them lacks it, or a part that two have is not equal.
fn differ(sets: &[(Facets, Vec<usize>)], name: &str) -> bool {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    sets.iter().any(|(facets, _)| match facets.get(name) {
        None => true,
        Some((parts, _)) => parts
            .iter()
            .any(|(task, own)| *seen.entry(task).or_insert(own) != own),
    })
}

fn apart(sets: &[(Facets, Vec<usize>)], groups: &[Group<'_>], metric: &Metric) -> MeasuredApart {
    let names: BTreeSet<&'static str> = sets
        .iter()
        .flat_map(|(facets, _)| facets.keys().copied())
        .collect();
    let differing: Vec<&'static str> = (names.into_iter())
        .filter(|name| differ(sets, name))
        .collect();
    let alike = sets.iter().map(|(facets, members)| AlikeSet {
        variants: members
            .iter()
            .map(|index| groups[*index].name.to_owned())
            .collect(),
        measured: (differing.iter())
            .filter_map(|name| Some(((*name).to_owned(), facets.get(name)?.1.clone())))
            .collect(),
    });
    MeasuredApart {
        metric: metric.name().to_owned(),
        differs: differing.iter().map(|name| (*name).to_owned()).collect(),
        alike: alike.collect(),
    }
}

impl Context {
    fn of(runs: &[&RunResult]) -> Self {
        let mut prepared: BTreeMap<String, BTreeSet<Option<&String>>> = BTreeMap::new();
        for run in runs {
            let manifest = run.provenance.data_manifest.as_ref();
            prepared
                .entry(data_settings(run))
                .or_default()
                .insert(manifest);
        }
        let measured = |of: fn(&crate::provenance::Validation) -> Option<u64>| {
            runs.iter()
                .all(|run| run.provenance.validation.as_ref().and_then(of).is_some())
        };
        let count = |key: &str| -> usize {
            let values: BTreeSet<_> = runs.iter().map(|run| run.settings.get(key)).collect();
            values.len()
        };
        let tokenizers: BTreeSet<String> = runs.iter().map(|run| tokenizer(run)).collect();
        Self {
            ambiguous: prepared
                .into_iter()
                .filter(|(_, manifests)| manifests.len() > 1)
                .map(|(settings, _)| settings)
                .collect(),
            tokens: measured(|text| text.tokens),
            bytes: measured(|text| text.bytes),
            tokenizers: tokenizers.len(),
            loss_tokens: count("eval.loss_tokens"),
            limits: count("eval.limit"),
        }
    }

    fn facets(&self, run: &RunResult, metric: &Metric) -> Facets {
        match metric {
            Metric::BitsPerByte => self.of_loss(run),
            Metric::Loss => {
                let mut facets = self.of_loss(run);
                let own = tokenizer(run);
                let shown = match run.settings.get("data.tokenizer.vocab_size") {
                    Some(size) => format!("of {size}"),
                    None => own.get(..8).unwrap_or(&own).to_owned(),
                };
                facets.insert("the tokenizer", (whole(own), shown));
                facets
            }
            Metric::Average => of_scores(run, self.limits > 1, &|_| true),
            Metric::AverageWithoutBoolq => of_scores(run, self.limits > 1, &|t| t != "boolq"),
            Metric::Task(task) => of_scores(run, self.limits > 1, &|t| t == task),
        }
    }

    fn of_loss(&self, run: &RunResult) -> Facets {
        let mut facets = Facets::new();
        let mut add =
            |name, key: String, shown: String| _ = facets.insert(name, (whole(key), shown));
        let own = |key: &str| run.settings.get(key).cloned().unwrap_or_default();
        let length = run.facts.seq_len.to_string();
        add("train.seq_len", length.clone(), length);
        let fraction = own("data.valid_fraction");
        add("data.valid_fraction", fraction.clone(), fraction);
        let (sources, bytes) = (validation_sources(run), own("data.max_bytes"));
        add("data.sources", sources, String::new());
        add("data.max_bytes", bytes.clone(), bytes);
        let manifest = run.provenance.data_manifest.clone().unwrap_or_default();
        if self.ambiguous.contains(&data_settings(run)) {
            let shown = manifest.get(..8).unwrap_or(&manifest).to_owned();
            add("the prepared data", manifest, shown);
        }
        let name = match self.loss_tokens > 1 {
            true => "eval.loss_tokens",
            false => MEASURED_TEXT,
        };
        let text = run.provenance.validation.clone().unwrap_or_default();
        let setting = own("eval.loss_tokens");
        match (text.tokens, text.bytes) {
            (Some(tokens), _) if self.tokens && self.tokenizers < 2 => {
                let shown = format!("of {} tokens", human_count(tokens as f64));
                add(name, tokens.to_string(), shown);
            }
            (_, Some(bytes)) if self.bytes => {
                let shown = format!("of {} bytes", human_count(bytes as f64));
                add(name, bytes.to_string(), shown);
            }
            // Tokens of different tokenizers are not the same text, unless all of it was measured.
            _ if self.tokenizers > 1 && setting != "0" => {
                add(name, format!("{setting} {}", tokenizer(run)), setting);
            }
            _ => add(name, setting.clone(), setting),
        }
        facets
    }
}

/// All settings of a run's data, as one text.
fn data_settings(run: &RunResult) -> String {
    let own = run.settings.iter().filter(|(key, _)| {
        key.starts_with("data.") && !matches!(key.as_str(), "data.order_seed" | "data.cache_dir")
    });
    own.map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// What tells a tokenizer from another: its hash, or what the configuration says.
fn tokenizer(run: &RunResult) -> String {
    if let Some(hash) = &run.provenance.tokenizer_hash {
        return hash.clone();
    }
    let own = run
        .settings
        .iter()
        .filter(|(key, _)| key.starts_with(TOKENIZER));
    own.map(|(key, value)| format!("{key}={value} ")).collect()
}

/// The sources that have a part in the validation text, without their weights in training.
fn validation_sources(run: &RunResult) -> String {
    let known = |key: &&String| {
        key.starts_with(TOKENIZER)
            || NOT_OF_THE_TEXT.contains(&key.as_str())
            || matches!(key.as_str(), "data.valid_fraction" | "data.max_bytes")
    };
    let mut text = String::new();
    let own = run
        .settings
        .iter()
        .filter(|(key, _)| key.starts_with("data.") && !known(key));
    for (key, value) in own {
        let parsed = format!("x = {value}").parse::<toml::Table>().ok();
        let sources = parsed.as_ref().and_then(|table| table["x"].as_array());
        let Some(sources) = sources.filter(|_| key == "data.sources") else {
            text += &format!("{key}={value}\n");
            continue;
        };
        for source in sources {
            let mut source = source.clone();
            if let Some(table) = source.as_table_mut() {
                if table.get("role").and_then(toml::Value::as_str) == Some("train") {
                    continue;
                }
                table.remove("weight");
            }
            text += &format!("{source}\n");
        }
    }
    text
}

fn of_scores(run: &RunResult, by_limit: bool, wanted: &dyn Fn(&str) -> bool) -> Facets {
    let mut facets = Facets::new();
    let Some(settings) = &run.provenance.evaluation else {
        return facets;
    };
    let mut add = |name, parts: Parts, shown: String| _ = facets.insert(name, (parts, shown));
    let EvalSettings {
        protocol,
        num_fewshot,
        fewshot_seed,
        tasks,
    } = settings;
    add("the protocol", whole(protocol), protocol.clone());
    let shots = num_fewshot.unwrap_or(0);
    let shown = match fewshot_seed {
        Some(seed) if shots > 0 => format!("{shots} (seed {seed})"),
        _ => shots.to_string(),
    };
    add("the number of shots", whole(&shown), shown);
    let own = || tasks.iter().filter(|(task, _)| wanted(task));
    let names: Vec<&str> = own().map(|(task, _)| task.as_str()).collect();
    add("the tasks", whole(names.join(" ")), names.join(" "));
    let data = own().map(|(task, data)| {
        let (split, version) = (&data.split, &data.version);
        let own = format!("{:?} {split:?} {version:?}", data.data);
        (task.clone(), own)
    });
    add("the tasks' data", data.collect(), String::new());
    let counts: BTreeMap<String, u64> = own()
        .filter_map(|(task, data)| Some((task.clone(), data.examples?)))
        .collect();
    let total: u64 = counts.values().sum();
    let first = counts.values().next().copied().unwrap_or(0);
    let shown = match counts.len() {
        0 | 1 => format!("{total} questions"),
        _ if counts.values().all(|count| *count == first) => format!("{first} questions a task"),
        _ => format!("{total} questions in all"),
    };
    let name = if by_limit {
        "eval.limit"
    } else {
        "the questions"
    };
    let counts = counts.into_iter();
    add(
        name,
        counts
            .map(|(task, count)| (task, count.to_string()))
            .collect(),
        shown,
    );
    facets
}
