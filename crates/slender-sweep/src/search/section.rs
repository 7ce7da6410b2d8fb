//! `[search]` of a sweep file: reading it, and everything that can be wrong with it.

use super::space::{Point, Range, Sampler, Space, draw};
use super::spec::{Cost, Method, Metric, SearchSpec, default_eta, default_share};
use serde::de::{Error, IntoDeserializer};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use slender_config::sweep::{Expanded, SweepFile};
use slender_config::{Config, ConfigError, Origin, Problem, SourceRole, schema};
use std::collections::BTreeMap;

/// Candidates of the learning rate for every variant.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct LrGrid {
    /// The candidates.
    pub values: Vec<f64>,
    /// Share of the budget at which they are compared.
    #[serde(default = "default_lr_share")]
    pub share: f64,
}

fn default_lr_share() -> f64 {
    0.25
}

/// Why an objective of a front cannot lead a search that is running.
fn only_afterwards(name: &str) -> Option<&'static str> {
    match name {
        "score" => Some(
            "tasks are scored once a run is trained to its end, and trials are compared while they train; search by valid_bits_per_byte, then `slender search pareto DIR --by score,params_total`",
        ),
        "decode_ms" => Some(
            "decoding is measured once a run is trained to its end, and trials are compared while they train; keep decode_bytes small, then `slender search pareto DIR --by valid_loss,decode_ms`",
        ),
        _ => None,
    }
}

fn known<'de, D: Deserializer<'de>, T: Deserialize<'de>>(name: String) -> Result<T, D::Error> {
    if let Some(why) = only_afterwards(&name) {
        return Err(D::Error::custom(format!("`{name}`: {why}")));
    }
    T::deserialize(name.into_deserializer())
}

fn known_metric<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Metric>, D::Error> {
    known::<D, Metric>(String::deserialize(from)?).map(Some)
}

fn known_costs<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Cost>, D::Error> {
    let names = Vec::<String>::deserialize(from)?;
    names.into_iter().map(known::<D, Cost>).collect()
}

/// `[search]`, as it is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct SearchSection {
    /// `full` or `asha`; the default is `asha`, with `lr` it must be absent.
    method: Option<Method>,
    /// The loss that trials are compared by.
    #[serde(default, deserialize_with = "known_metric")]
    metric: Option<Metric>,
    /// Further quantities to be kept small.
    #[serde(default, deserialize_with = "known_costs")]
    objectives: Vec<Cost>,
    /// How points of `space` are drawn.
    #[serde(default)]
    sampler: Sampler,
    /// Number of points.
    trials: Option<usize>,
    /// Values of a continuous range in a grid.
    points: Option<usize>,
    /// Seed of the points.
    #[serde(default)]
    seed: u64,
    /// One of so many is promoted.
    #[serde(default = "default_eta")]
    eta: u64,
    /// Share of the budget at the lowest rung.
    min_budget: Option<f64>,
    /// A learning rate for every variant.
    lr: Option<LrGrid>,
    /// What varies.
    #[serde(default)]
    space: BTreeMap<String, Value>,
}

/// A checked `[search]`: how to search, and the points that every variant is tried at.
#[derive(Clone, Debug, PartialEq)]
pub struct Search {
    /// How work is dealt.
    pub spec: SearchSpec,
    /// Values of configuration keys, a point a trial; one empty point if nothing is drawn.
    pub points: Vec<Point>,
}

/// The search of a sweep file, if it describes one: its points become axes of `file`.
///
/// # Errors
/// Everything that is wrong with `[search]`.
pub fn read_search(file: &mut SweepFile) -> Result<Option<Search>, ConfigError> {
    let Some(section) = file.section::<SearchSection>("search")? else {
        return Ok(None);
    };
    let search = section.resolve(&|key| file.merged().origin(key))?;
    file.add_points("search.space", &search.points)?;
    Ok(Some(search))
}

/// Refuses a search among runs that measure no validation loss, and one by nats per token among tokenizers.
///
/// # Errors
/// The first run without text for validation; `search.metric`.
pub fn check_measured(file: &SweepFile, runs: &[Expanded]) -> Result<(), ConfigError> {
    let measured = |config: &Config| {
        let mut sources = config.data.sources.iter();
        config.data.valid_fraction > 0.0 || sources.any(|source| source.role == SourceRole::Valid)
    };
    let section = file.section::<SearchSection>("search")?;
    let by_loss = section.is_some_and(|own| own.metric == Some(Metric::ValidLoss));
    let other = |run: &Expanded| run.config.data.tokenizer != runs[0].config.data.tokenizer;
    if by_loss && runs.iter().any(other) {
        return Err(ConfigError::Invalid(vec![Problem {
            origin: file.merged().origin("search.metric"),
            key: "search.metric".into(),
            message:
                "`valid_loss` is in nats per token, which do not compare across the tokenizers that are searched"
                    .into(),
            hint: Some("give \"valid_bits_per_byte\", or leave metric out".into()),
        }]));
    }
    let Some(run) = runs.iter().find(|run| !measured(&run.config)) else {
        return Ok(());
    };
    Err(ConfigError::Invalid(vec![Problem {
        origin: file.merged().origin("search"),
        key: "search".into(),
        message: format!(
            "`{}` keeps no text for validation, by which trials are compared",
            run.name
        ),
        hint: Some("set data.valid_fraction, or add a source with role = \"valid\"".into()),
    }]))
}

/// Whether a key of the configuration decides how text becomes tokens.
pub(super) fn is_of_tokenizer(key: &str) -> bool {
    key == "data" || key == "data.tokenizer" || key.starts_with("data.tokenizer.")
}

/// Most trials that a search may have.
const MOST_TRIALS: usize = 1 << 16;

impl SearchSection {
    /// Checks the section; `origin` knows where a key of the file was written.
    ///
    /// # Errors
    /// Every problem, with its place and the way out.
    pub fn resolve(&self, origin: &dyn Fn(&str) -> Option<Origin>) -> Result<Search, ConfigError> {
        let mut check = Checker {
            origin,
            problems: Vec::new(),
        };
        let mut space = Space::new();
        read_space("", &self.space, &mut space, &mut check);
        if check.problems.is_empty() {
            self.check_points(&space, &mut check);
        }
        self.check(&space, &mut check);
        if !check.problems.is_empty() {
            return Err(ConfigError::Invalid(check.problems));
        }
        let mut points = if space.is_empty() {
            vec![Point::new()]
        } else {
            let count = self.trials.unwrap_or(0);
            draw(
                &space,
                self.sampler,
                self.seed,
                count,
                self.points.unwrap_or(3),
            )
        };
        let mut spec = SearchSpec {
            method: self.method.unwrap_or_default(),
            metric: self
                .metric
                .unwrap_or(match space.keys().any(|key| is_of_tokenizer(key)) {
                    true => Metric::ValidBitsPerByte,
                    false => Metric::ValidLoss,
                }),
            costs: self.objectives.clone(),
            eta: self.eta,
            min_share: self.min_budget.unwrap_or_else(default_share),
            key: None,
        };
        if let Some(lr) = &self.lr {
            spec.method = Method::Tune;
            spec.min_share = lr.share;
            spec.key = Some(LR.into());
            let with = |point: &Point, value: &f64| {
                let mut point = point.clone();
                point.insert(LR.into(), Value::from(*value));
                point
            };
            points = (points.iter())
                .flat_map(|point| lr.values.iter().map(move |value| with(point, value)))
                .collect();
        }
        Ok(Search { spec, points })
    }

    fn check(&self, space: &Space, check: &mut Checker<'_>) {
        if !(2..=64).contains(&self.eta) {
            check.wrong(
                "eta",
                format!("{} is out of range", self.eta),
                "one of eta trials is promoted; 3 is usual, 2 to 64 are possible",
            );
        }
        if let Some(share) = self
            .min_budget
            .filter(|share| !(*share > 0.0 && *share <= 1.0))
        {
            check.wrong(
                "min_budget",
                format!("{share} is not a share of the budget"),
                "give a number above 0 and up to 1, such as 0.1: the whole budget is that of [train]",
            );
        }
        if self.method == Some(Method::Tune) {
            check.wrong(
                "method",
                "unknown value `tune`",
                "give [search] lr = { values = [...] } instead",
            );
        }
        if let Some(lr) = &self.lr {
            self.check_lr(lr, space, check);
        }
    }

    /// Whether as many points are asked for as there can be.
    fn check_points(&self, space: &Space, check: &mut Checker<'_>) {
        match (self.trials, self.sampler) {
            (Some(_), Sampler::Grid) => check.wrong(
                "trials",
                "a grid has as many trials as combinations",
                "drop it, or use sampler = \"sobol\" or \"random\"",
            ),
            (None, Sampler::Sobol | Sampler::Random) if !space.is_empty() => check.wrong(
                "trials",
                "is missing",
                "give the number of points to draw from [search.space]",
            ),
            (Some(count), _) if count == 0 || count > MOST_TRIALS => check.wrong(
                "trials",
                format!("{count} is out of range"),
                format!("give 1 to {MOST_TRIALS}"),
            ),
            (Some(_), _) if space.is_empty() => check.wrong(
                "trials",
                "there is nothing to draw",
                "name keys and their ranges in [search.space]; [axes], [[variants]] and [space] are tried whole",
            ),
            _ => {}
        }
        if self.points.is_some_and(|points| points < 2) {
            check.wrong("points", "a grid has at least 2 values", "give 2 or more");
        }
        let continuous = space.values().any(|range| range.count().is_none());
        if self.points.is_some() && !(self.sampler == Sampler::Grid && continuous) {
            check.wrong(
                "points",
                "is for the continuous ranges of a grid",
                "drop it, or use sampler = \"grid\" and a uniform or log_uniform range",
            );
        }
    }

    fn check_lr(&self, lr: &LrGrid, space: &Space, check: &mut Checker<'_>) {
        if self.method.is_some() {
            check.wrong(
                "lr",
                "tuning deals the budget itself and does not go with a method",
                "drop method, or put \"train.lr\" into [search.space]",
            );
        }
        if !self.objectives.is_empty() {
            check.wrong(
                "objectives",
                "the learning rate is chosen by the loss alone",
                "drop it; `slender search pareto` compares the tuned runs by any objective",
            );
        }
        if space.contains_key(LR) {
            check.wrong(
                "lr",
                "train.lr is in [search.space] too",
                "drop one of the two",
            );
        }
        let positive = |value: &f64| value.is_finite() && *value > 0.0;
        if lr.values.is_empty() || !lr.values.iter().all(positive) {
            check.wrong(
                "lr.values",
                "expected a list of positive numbers",
                "a factor of two between neighbours is fine enough: [1e-3, 2e-3, 4e-3]",
            );
        }
        if !(lr.share > 0.0 && lr.share < 1.0) {
            check.wrong(
                "lr.share",
                format!("{} is out of range", lr.share),
                "give a number above 0 and below 1: the share of the budget at which rates are compared",
            );
        }
    }
}

/// The key that `lr` tunes.
const LR: &str = "train.lr";

/// Collects problems below `[search]`.
struct Checker<'a> {
    origin: &'a dyn Fn(&str) -> Option<Origin>,
    problems: Vec<Problem>,
}

impl Checker<'_> {
    fn wrong(&mut self, key: &str, message: impl Into<String>, hint: impl Into<String>) {
        let key = format!("search.{key}");
        self.problems.push(Problem {
            // Where the key itself is not written, the place of the section is.
            origin: (self.origin)(&key).or_else(|| (self.origin)("search")),
            key,
            message: message.into(),
            hint: Some(hint.into()),
        });
    }
}

/// Reads ranges, nested (`train.lr = …`) or in quotes (`"train.lr" = …`).
fn read_space(
    prefix: &str,
    table: &BTreeMap<String, Value>,
    space: &mut Space,
    check: &mut Checker<'_>,
) {
    const KINDS: [&str; 4] = ["uniform", "log_uniform", "integer", "choice"];
    for (name, value) in table {
        let key = match prefix {
            "" => name.clone(),
            _ => format!("{prefix}.{name}"),
        };
        let place = format!("space.{key}");
        if key == "run.seed" {
            check.wrong(
                &place,
                "seeds are not searched",
                "write seeds = [0, 1, 2] below [sweep]; runs that differ in the seed alone are one variant",
            );
            continue;
        }
        let range = match value {
            Value::Array(values) => choice(values),
            Value::Object(inner) if inner.keys().any(|kind| KINDS.contains(&kind.as_str())) => {
                read_range(inner)
            }
            Value::Object(inner) if is_range(&key, inner) => {
                let kind = inner.keys().find(|kind| *kind != "step");
                let kind = kind.map_or("step", String::as_str);
                let near = KINDS.iter().find(|known| plain(known) == plain(kind));
                let near = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                Err(format!("unknown kind of range `{kind}`{near}"))
            }
            Value::Object(inner) if !inner.is_empty() => {
                let inner = inner.clone().into_iter().collect();
                read_space(&key, &inner, space, check);
                continue;
            }
            _ => Err("expected a range".into()),
        };
        match range {
            Ok(range) => _ = space.insert(key, range),
            Err(message) => check.wrong(
                &place,
                message,
                "write { log_uniform = [1e-3, 1e-2] }, { uniform = [0, 0.2] }, { integer = [2, 12], step = 2 } or a list of values",
            ),
        }
    }
}

/// A kind of range without what it may be mistyped by.
fn plain(kind: &str) -> String {
    let letters = kind.chars().filter(char::is_ascii_alphabetic);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Whether the table at `key` is a range of some kind, rather than a section of the configuration with
/// keys of its own.
fn is_range(key: &str, table: &serde_json::Map<String, Value>) -> bool {
    let value = schema::describe(key).is_some() && schema::keys_of(key).is_empty();
    value && !table.is_empty()
}

fn choice(values: &[Value]) -> Result<Range, String> {
    match values {
        [] => Err("the list is empty".into()),
        values => Ok(Range::Choice(values.to_vec())),
    }
}

fn read_range(table: &serde_json::Map<String, Value>) -> Result<Range, String> {
    let known = |key: &&String| key.as_str() != "step";
    let mut kinds = table.keys().filter(known);
    let (Some(kind), None) = (kinds.next(), kinds.next()) else {
        return Err("a range has one kind".into());
    };
    if table.contains_key("step") && kind != "integer" {
        return Err("`step` belongs to `integer`".into());
    }
    let Some(Value::Array(bounds)) = table.get(kind) else {
        return Err(format!("`{kind}` expects a list"));
    };
    if kind == "choice" {
        return choice(bounds);
    }
    let numbers: Option<Vec<f64>> = bounds.iter().map(Value::as_f64).collect();
    let Some([low, high]) = numbers
        .as_deref()
        .and_then(|all| <[f64; 2]>::try_from(all).ok())
    else {
        return Err(format!("`{kind}` expects two numbers, [smallest, largest]"));
    };
    if !(low.is_finite() && high.is_finite() && low < high) {
        return Err(format!("{low} is not below {high}"));
    }
    match kind.as_str() {
        "uniform" => Ok(Range::Uniform { low, high }),
        "log_uniform" if low > 0.0 => Ok(Range::LogUniform { low, high }),
        "log_uniform" => Err(format!("{low} has no logarithm; both ends must be above 0")),
        "integer" => {
            let step = match table.get("step") {
                None => 1,
                Some(step) => step
                    .as_i64()
                    .filter(|step| *step > 0)
                    .ok_or("`step` must be at least 1")?,
            };
            match (bounds[0].as_i64(), bounds[1].as_i64()) {
                (Some(low), Some(high)) => Ok(Range::Integer { low, high, step }),
                _ => Err("`integer` expects whole numbers".into()),
            }
        }
        other => Err(format!("unknown kind `{other}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn resolve(section: Value) -> Result<Search, String> {
        let section: SearchSection = serde_json::from_value(section).map_err(|e| e.to_string())?;
        let origin = |key: &str| {
            (key == "search").then(|| Origin::File {
                file: "sweep.toml".into(),
                line: 9,
            })
        };
        section.resolve(&origin).map_err(|error| error.to_string())
    }

    #[test]
    fn a_search_over_keys_draws_its_points() {
        let search = resolve(json!({
            "trials": 8, "seed": 3, "eta": 2, "min_budget": 0.25, "objectives": ["params_total"],
            "space": {
                "train": {"lr": {"log_uniform": [1e-3, 1e-2]}},
                "model.n_layers": {"integer": [2, 8], "step": 2},
                "model.tie_embeddings": [true, false],
            },
        }))
        .unwrap();
        assert_eq!(search.points.len(), 8);
        assert!(search.points[0].contains_key("train.lr"));
        assert_eq!(search.spec.method, Method::Asha);
        assert_eq!(search.spec.steps(100), [25, 50, 100]);
        let text = serde_json::to_string(&search.spec).unwrap();
        assert_eq!(
            serde_json::from_str::<SearchSpec>(&text).unwrap(),
            search.spec
        );
    }

    #[test]
    fn tuning_the_rate_is_a_grid_with_two_measurements() {
        let search = resolve(json!({"lr": {"values": [1e-3, 2e-3], "share": 0.2}})).unwrap();
        assert_eq!(search.points.len(), 2);
        assert_eq!(search.spec.key.as_deref(), Some("train.lr"));
        assert_eq!(search.spec.steps(50), [10, 50]);
    }

    #[test]
    fn every_problem_is_named_with_the_way_out() {
        let cases = [
            (json!({"eta": 1}), "`search.eta`: 1 is out of range"),
            (
                json!({"min_budget": 0.0}),
                "`search.min_budget`: 0 is not a share",
            ),
            (json!({"trials": 3}), "there is nothing to draw"),
            (json!({"space": {"a": [1]}}), "`search.trials`: is missing"),
            (
                json!({"space": {"a": []}, "trials": 1}),
                "the list is empty",
            ),
            (
                json!({"space": {"a": {"uniform": [2, 1]}}, "trials": 1}),
                "2 is not below 1",
            ),
            (
                json!({"space": {"a": {"log_uniform": [0, 1]}}, "trials": 1}),
                "0 has no logarithm",
            ),
            (
                json!({"space": {"a": {"integer": [1.5, 2]}}, "trials": 1}),
                "whole numbers",
            ),
            (
                json!({"space": {"a": {"uniform": [0, 1], "step": 1}}, "trials": 1}),
                "belongs to `integer`",
            ),
            (
                json!({"space": {"a": 3}, "trials": 1}),
                "`search.space.a`: expected a range",
            ),
            (
                json!({"space": {"train.lr": {"loguniform": [1e-3, 1e-2]}}, "trials": 1}),
                "`search.space.train.lr`: unknown kind of range `loguniform`; did you mean `log_uniform`?",
            ),
            (
                json!({"space": {"train": {"lr": {"normal": [0, 1]}}}, "trials": 1}),
                "`search.space.train.lr`: unknown kind of range `normal`",
            ),
            (
                json!({"space": {"run.seed": [1, 2]}, "trials": 1}),
                "`search.space.run.seed`: seeds are not searched",
            ),
            (
                json!({"sampler": "grid", "trials": 2, "space": {"a": [1]}}),
                "as many trials as combinations",
            ),
            (
                json!({"points": 4}),
                "is for the continuous ranges of a grid",
            ),
            (
                json!({"lr": {"values": []}}),
                "`search.lr.values`: expected",
            ),
            (
                json!({"lr": {"values": [1.0], "share": 1.0}}),
                "`search.lr.share`: 1 is out of range",
            ),
            (
                json!({"method": "asha", "lr": {"values": [1.0]}}),
                "does not go with a method",
            ),
        ];
        for (section, expected) in cases {
            let said = resolve(section.clone()).unwrap_err();
            assert!(said.contains(expected), "{section}: {said}");
            // One slip is one problem.
            assert_eq!(said.matches("hint: ").count(), 1, "{section}: {said}");
            assert!(
                said.starts_with("sweep.toml:9: ") && said.contains("hint: "),
                "{said}"
            );
        }
    }
}
