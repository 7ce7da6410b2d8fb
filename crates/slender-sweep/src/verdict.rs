//! The verdict in words: which variant is best, by how much, and how certain that is.
//!
//! A difference inside the noise between seeds is called that. With one seed the noise is not known,
//! and nothing is claimed.

use crate::analysis::{Comparison, Metric, Spread, VariantResult, Verdict};
use crate::format::{list, p_words, percent};
use crate::results::SweepResults;
use serde::Serialize;
use std::collections::BTreeMap;

/// How certain the verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Certainty {
    /// One variant is better than every other, beyond the noise.
    Established,
    /// Some variants are worse than the leader; others cannot be told from it.
    Partial,
    /// No variant can be told from the leader.
    Undecided,
    /// One seed each: the noise is not known.
    Unknown,
    /// The seeds of every variant agree to the last digit: the noise is not known.
    NoSpread,
    /// The variants were not measured alike.
    Apart,
}

impl Certainty {
    /// In words, for a badge.
    pub fn words(self) -> &'static str {
        match self {
            Certainty::Established => "established",
            Certainty::Partial => "partly established",
            Certainty::Undecided => "undecided",
            Certainty::Unknown => "not known: one seed",
            Certainty::NoSpread => "not known: no spread",
            Certainty::Apart => "not comparable",
        }
    }
}

/// A variant beside the leader.
struct Rival<'a> {
    name: &'a str,
    /// How much worse than the leader; not negative.
    gap: f64,
    seeds: usize,
    comparison: Option<&'a Comparison>,
}

impl Rival<'_> {
    fn is_worse(&self, leader: &str) -> bool {
        self.comparison.is_some_and(|c| match c.verdict {
            Verdict::Better => c.b == leader,
            Verdict::Worse => c.a == leader,
            _ => false,
        })
    }

    fn verdict(&self) -> Verdict {
        self.comparison.map_or(Verdict::Unknown, |c| c.verdict)
    }
}

/// The leader of a metric among variants that were measured alike, and the others, nearest first.
struct Ranking<'a> {
    leader: &'a VariantResult,
    spread: Spread,
    rivals: Vec<Rival<'a>>,
}

impl<'a> Ranking<'a> {
    /// The ranking of all variants; `None` where not all of them compare.
    fn of(results: &'a SweepResults, metric: &Metric) -> Option<Self> {
        match results.sets(metric).as_slice() {
            [all] => Self::among(results, metric, all),
            _ => None,
        }
    }

    fn among(
        results: &'a SweepResults,
        metric: &Metric,
        variants: &[&'a VariantResult],
    ) -> Option<Self> {
        let sign = if metric.less_is_better() { 1.0 } else { -1.0 };
        let mut ranked: Vec<(&VariantResult, Spread)> = variants
            .iter()
            .filter_map(|variant| Some((*variant, *variant.spread(metric)?)))
            .collect();
        ranked.sort_by(|a, b| (sign * a.1.mean).total_cmp(&(sign * b.1.mean)));
        let (leader, spread) = *ranked.first()?;
        let rivals = ranked[1..].iter().map(|(variant, other)| {
            let pair = |c: &&Comparison| {
                let names = (c.a.as_str(), c.b.as_str());
                c.metric == metric.name()
                    && (names == (&leader.name, &variant.name)
                        || names == (&variant.name, &leader.name))
            };
            Rival {
                name: &variant.name,
                // Equal means may differ in their last bits.
                gap: (sign * (other.mean - spread.mean)).max(0.0) + 0.0,
                seeds: other.seeds,
                comparison: results.comparisons.iter().find(pair),
            }
        });
        Some(Self {
            leader,
            spread,
            rivals: rivals.collect(),
        })
    }

    /// Most seeds of a variant.
    fn seeds(&self) -> usize {
        let rivals = self.rivals.iter().map(|rival| rival.seeds);
        rivals.fold(self.spread.seeds, usize::max)
    }

    fn certainty(&self) -> Certainty {
        let leader = &self.leader.name;
        let worse = self.rivals.iter().filter(|r| r.is_worse(leader)).count();
        if self
            .rivals
            .iter()
            .all(|rival| rival.verdict() == Verdict::Unknown)
        {
            match self.seeds() {
                0 | 1 => Certainty::Unknown,
                _ => Certainty::NoSpread,
            }
        } else if worse == self.rivals.len() {
            Certainty::Established
        } else if worse > 0 {
            Certainty::Partial
        } else {
            Certainty::Undecided
        }
    }
}

/// The metric that decides: loss where it compares, else the mean score.
pub(crate) fn deciding_metric(results: &SweepResults) -> Option<Metric> {
    let has = |metric: &Metric| results.variants.iter().any(|v| v.spread(metric).is_some());
    [Metric::BitsPerByte, Metric::Loss, Metric::Average]
        .into_iter()
        .find(has)
}

/// The verdict and its certainty; `None` with fewer than two variants.
pub(crate) fn verdict(results: &SweepResults) -> Option<(String, Certainty)> {
    let metric = deciding_metric(results)?;
    let measure = match metric {
        Metric::BitsPerByte => "validation loss in bits per byte",
        Metric::Loss => "validation loss",
        _ => "mean score",
    };
    if let Some(apart) = results.apart(&metric) {
        let text = format!(
            "No variant is named best by {measure}: not all were measured alike, they differ in {}.",
            list(&apart.differs)
        );
        return Some((text, Certainty::Apart));
    }
    let ranking = Ranking::of(results, &metric)?;
    if ranking.rivals.is_empty() {
        return None;
    }
    let leader = &ranking.leader.name;
    let certainty = ranking.certainty();
    let names = |worse: bool| -> Vec<String> {
        let own = ranking
            .rivals
            .iter()
            .filter(|r| r.is_worse(leader) == worse);
        own.map(|rival| rival.name.to_owned()).collect()
    };
    let (equals, worse) = (names(false), names(true));
    let text = match certainty {
        Certainty::Established => {
            let others = match worse.as_slice() {
                [other] => format!("than {other}"),
                others => format!("than each of the {} others", others.len()),
            };
            format!("{leader} is better {others} by {measure}, beyond the noise between seeds.")
        }
        Certainty::Partial => {
            let best = if equals.len() > 4 {
                format!("{leader} and {} others cannot be told apart", equals.len())
            } else {
                let mut best = vec![leader.clone()];
                best.extend(equals.clone());
                format!("{} cannot be told apart", list(&best))
            };
            let worse = match worse.as_slice() {
                [one] => format!("{one} is worse"),
                some if some.len() > 4 => format!("{} are worse than {leader}", some.len()),
                some => format!("{} are worse", list(some)),
            };
            format!("By {measure}, {best}; {worse}, beyond the noise between seeds.")
        }
        Certainty::Undecided => {
            let inside = |rival: &Rival<'_>| rival.verdict() == Verdict::InsideNoise;
            let why = match ranking.rivals.iter().all(inside) {
                true if ranking.rivals.len() == 1 => {
                    "the difference is inside the noise between seeds"
                }
                true => "all differences are inside the noise between seeds",
                false => "no difference is established",
            };
            format!(
                "By {measure}, no variant can be told from {leader}, which has the {} mean: {why}.",
                if metric.less_is_better() {
                    "lowest"
                } else {
                    "highest"
                }
            )
        }
        Certainty::Unknown | Certainty::NoSpread | Certainty::Apart => format!(
            "{leader} has the {} {measure} of {}, but {} the noise is not known, so no order of the variants is established.",
            if metric.less_is_better() {
                "lowest"
            } else {
                "highest"
            },
            ranking.rivals.len() + 1,
            match certainty {
                Certainty::NoSpread =>
                    "the seeds of each variant agree to the last digit, from which the noise cannot be estimated:",
                _ => "with one seed",
            }
        ),
    };
    Some((text, certainty))
}

/// The validation loss in numbers, for each set of variants that were measured alike.
pub(crate) fn by_loss(results: &SweepResults) -> Vec<String> {
    let metric = deciding_metric(results).filter(Metric::less_is_better);
    metric.map_or(Vec::new(), |metric| in_sets(results, &metric, &loss_words))
}

/// The mean score in numbers, likewise.
pub(crate) fn by_score(results: &SweepResults) -> Vec<String> {
    in_sets(results, &Metric::Average, &|ranking, _| {
        score_words(ranking)
    })
}

fn in_sets(
    results: &SweepResults,
    metric: &Metric,
    words: &dyn Fn(&Ranking<'_>, &Metric) -> String,
) -> Vec<String> {
    let apart = results.apart(metric);
    let mut out = Vec::new();
    for set in results.sets(metric) {
        let Some(ranking) = Ranking::among(results, metric, &set) else {
            continue;
        };
        let text = words(&ranking, metric);
        match apart {
            None => out.push(text),
            // One alone is in the table.
            Some(_) if set.len() < 2 => {}
            Some(apart) => {
                let own = apart
                    .alike
                    .iter()
                    .find(|alike| alike.variants[0] == set[0].name);
                let own = own.map(|alike| alike.words()).unwrap_or_default();
                out.push(format!(
                    "Among the {} variants with {own}: {text}",
                    set.len()
                ));
            }
        }
    }
    out
}

fn loss_words(ranking: &Ranking<'_>, metric: &Metric) -> String {
    let unit = match metric {
        Metric::Loss => "nats per token",
        _ => "bits per byte",
    };
    let show = |value: f64| format!("{value:.3}");
    let best = with_interval(&ranking.spread, show, &format!(" {unit}"));
    let leader = &ranking.leader.name;
    let lead = format!("The validation loss of {leader} is {best}");
    match ranking.rivals.first() {
        None => format!("{lead}."),
        Some(rival) => format!("{lead}; {}.", follows(rival, show, "")),
    }
}

fn score_words(ranking: &Ranking<'_>) -> String {
    let tasks = match ranking.leader.tasks.len() {
        1 => "its one zero-shot task".to_owned(),
        n => format!("the average of {n} zero-shot tasks"),
    };
    let best = with_interval(&ranking.spread, percent, " %");
    let leader = &ranking.leader.name;
    let Some(rival) = ranking.rivals.first() else {
        return format!("{leader} scores {best} on {tasks}.");
    };
    if percent(rival.gap) == "0.0" {
        let tied = ranking.rivals.iter().filter(|r| percent(r.gap) == "0.0");
        let mut names = vec![leader.clone()];
        names.extend(tied.map(|rival| rival.name.to_owned()));
        return format!("On {tasks}, {} are level with {best}.", list(&names));
    }
    format!(
        "On {tasks}, {leader} has the highest mean, {best}; {}.",
        follows(rival, percent, " points")
    )
}

/// `1.902 bits per byte (95 % interval 1.897 to 1.907, 3 seeds)`.
fn with_interval(spread: &Spread, show: impl Fn(f64) -> String, unit: &str) -> String {
    let seeds = match spread.seeds {
        1 => "one seed".to_owned(),
        n => format!("{n} seeds"),
    };
    let only = match spread.covers {
        Some(crate::analysis::Covers::Questions) => " for the choice of questions alone",
        _ => "",
    };
    match (spread.low, spread.high) {
        (Some(low), Some(high)) => format!(
            "{}{unit} (95 % interval{only} {} to {}, {seeds})",
            show(spread.mean),
            show(low),
            show(high)
        ),
        _ => format!("{}{unit} ({seeds})", show(spread.mean)),
    }
}

/// `B is 0.013 behind: inside the noise (less than 0.020 is noise)`.
fn follows(rival: &Rival<'_>, show: impl Fn(f64) -> String, unit: &str) -> String {
    let name = rival.name;
    let behind = match show(rival.gap) {
        gap if gap.trim_matches(['0', '.']).is_empty() => format!("{name} is level with it"),
        gap => format!("{name} is {gap}{unit} behind"),
    };
    let floor = rival
        .comparison
        .and_then(|c| c.least_significant_difference);
    let p = rival.comparison.and_then(|c| c.p_holm);
    match (rival.verdict(), floor, p) {
        (Verdict::Unknown, _, _) | (_, None, _) => {
            format!("{behind}, a difference whose noise is not known")
        }
        (Verdict::InsideNoise, Some(floor), _) => format!(
            "{behind}, inside the noise (seeds alone make differences of up to {}{unit})",
            show(floor)
        ),
        (Verdict::NotEstablished, Some(floor), p) => format!(
            "{behind}, beyond the noise of seeds ({}{unit}) but not established ({})",
            show(floor),
            p.map_or_else(String::new, p_words)
        ),
        (_, Some(floor), p) => format!(
            "{behind}, beyond the noise ({}{unit}; {} after Holm's correction)",
            show(floor),
            p.map_or_else(String::new, p_words)
        ),
    }
}

/// What depth does, where a curve of depths was run.
pub(crate) fn trends(results: &SweepResults) -> Vec<String> {
    let mut out = Vec::new();
    for trend in &results.trend {
        let what = match trend.metric.as_str() {
            "valid_bits_per_byte" => "Validation loss",
            "average" => "The mean score",
            _ => continue,
        };
        let (first, last) = (trend.n_layers.first(), trend.n_layers.last());
        let (Some(first), Some(last)) = (first, last) else {
            continue;
        };
        let way = if trend.test.strength > 0.0 {
            "rises"
        } else {
            "falls"
        };
        let test = match trend.test.test {
            "page" => "Page's test over seeds",
            _ => "the Jonckheere–Terpstra test",
        };
        let p = p_words(trend.p_holm);
        let depths = format!(
            "from {first} to {last} layers ({} depths)",
            trend.n_layers.len()
        );
        let text = match (trend.p_holm < 0.05, trend.seeds > 1) {
            (true, true) => format!("{what} {way} steadily {depths}: {p} by {test}."),
            (true, false) => format!(
                "{what} {way} steadily {depths}: {p} by {test}; with one seed a depth, this counts the order of the depths, not their noise."
            ),
            (false, _) => format!("{what} shows no steady trend {depths}: {p} by {test}."),
        };
        out.push(text);
    }
    out
}

/// The variant that leads each set of variants that were measured alike, and the names of the set.
pub(crate) fn leaders<'a>(
    results: &'a SweepResults,
    metric: &Metric,
) -> Vec<(&'a str, Vec<&'a str>)> {
    let of = |set: Vec<&'a VariantResult>| {
        let ranking = Ranking::among(results, metric, &set)?;
        let names = set.iter().map(|variant| variant.name.as_str());
        Some((ranking.leader.name.as_str(), names.collect()))
    };
    results.sets(metric).into_iter().filter_map(of).collect()
}

/// What can be said of each variant against the leader, `None` for the leader itself; `None` with fewer
/// than two variants.
pub(crate) fn against_leader(results: &SweepResults) -> Option<BTreeMap<&str, Option<Verdict>>> {
    let ranking = Ranking::of(results, &deciding_metric(results)?)?;
    let best = ranking.leader.name.as_str();
    if ranking.rivals.is_empty() {
        return None;
    }
    let mut all = BTreeMap::from([(best, None)]);
    for rival in &ranking.rivals {
        let verdict = rival
            .comparison
            .map_or(Verdict::Unknown, |c| turned(c, best).verdict);
        all.insert(rival.name, Some(verdict));
    }
    Some(all)
}

/// The comparison with `first` as its first variant.
pub(crate) fn turned(comparison: &Comparison, first: &str) -> Comparison {
    let mut c = comparison.clone();
    if c.a != first {
        std::mem::swap(&mut c.a, &mut c.b);
        std::mem::swap(&mut c.seeds_a, &mut c.seeds_b);
        c.difference = -c.difference;
        (c.low, c.high) = (c.high.map(|x| -x), c.low.map(|x| -x));
        c.verdict = match c.verdict {
            Verdict::Better => Verdict::Worse,
            Verdict::Worse => Verdict::Better,
            same => same,
        };
    }
    c
}
