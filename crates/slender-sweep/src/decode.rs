//! `decode.json` of a run: how long its model takes for a token on one machine.
//!
//! A time depends on the processor, the threads and the weights' format, so the file carries all of
//! them, and times of different settings are never set side by side. Measuring is the program's part
//! (`slender search pareto`); here is the file, and the decision about what is to be measured.

use crate::error::SweepError;
use crate::files::{io, write_atomic};
use crate::results::RunResult;
use crate::rundir::read_json;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// Format name and version of `decode.json`.
pub const DECODE_FORMAT: &str = "slender-decode/1";

/// Longest prompt and number of decoded tokens, unless asked for others or short of positions.
const PROMPT_LEN: usize = 16;
const TOKENS: usize = 64;

/// What a time was measured under; only times of equal settings compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecodeSetting {
    /// Model of the processor.
    pub cpu: String,
    /// Device, such as `flex`.
    pub device: String,
    /// Threads of the pool.
    pub threads: usize,
    /// Format of the weights: `f32`, `bf16` or `q8_0`.
    pub weights: String,
    /// Tokens of the prompt.
    pub prompt_len: usize,
    /// Tokens decoded after it.
    pub tokens: usize,
}

impl fmt::Display for DecodeSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let threads = match self.threads {
            1 => "1 thread".to_owned(),
            n => format!("{n} threads"),
        };
        write!(
            f,
            "{} weights, {} tokens after a prompt of {}, {threads} of {} ({})",
            self.weights, self.tokens, self.prompt_len, self.cpu, self.device
        )
    }
}

/// Content of `decode.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecodeFile {
    /// [`DECODE_FORMAT`].
    pub format: String,
    /// Milliseconds to decode a token: the median of all repetitions.
    pub decode_ms: f64,
    /// The smallest median of a round.
    pub low_ms: f64,
    /// The largest median of a round.
    pub high_ms: f64,
    /// Rounds, in each of which every variant had its turn.
    pub rounds: usize,
    /// Counted repetitions in a round.
    pub repetitions: usize,
    /// Variants that took turns.
    pub variants: usize,
    /// What it was measured under.
    pub setting: DecodeSetting,
    /// Name of the machine.
    pub host: String,
    /// Unix time of the measurement.
    pub measured_at: u64,
}

impl DecodeFile {
    /// Reads `run_dir/decode.json`; `None` if there is none.
    ///
    /// # Errors
    /// An unreadable file or an unknown version.
    pub fn read(run_dir: &Path) -> Result<Option<Self>, SweepError> {
        read_json(&run_dir.join("decode.json"), &[DECODE_FORMAT])
    }

    /// Writes `run_dir/decode.json`, whole or not at all.
    ///
    /// # Errors
    /// The operating system's.
    pub fn write(&self, run_dir: &Path) -> Result<(), SweepError> {
        let path = run_dir.join("decode.json");
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| io("write", &path, std::io::Error::other(error)))?;
        write_atomic(&path, (text + "\n").as_bytes())
    }

    /// From the seconds a token took in each round; `None` without any.
    pub fn of(rounds: &[Vec<f64>], variants: usize, setting: &DecodeSetting) -> Option<Self> {
        let medians: Vec<f64> = rounds
            .iter()
            .filter_map(|round| median(round.clone()))
            .collect();
        Some(Self {
            format: DECODE_FORMAT.into(),
            decode_ms: 1e3 * median(rounds.concat())?,
            low_ms: 1e3 * medians.iter().copied().reduce(f64::min)?,
            high_ms: 1e3 * medians.iter().copied().reduce(f64::max)?,
            rounds: rounds.len(),
            repetitions: rounds.iter().map(Vec::len).max()?,
            variants,
            setting: setting.clone(),
            host: crate::holder::host(),
            measured_at: crate::holder::unix_time(),
        })
    }
}

/// The middle value, or the mean of the two middle ones.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = values[(values.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}

/// A variant whose model could be measured.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeCandidate {
    /// The variant.
    pub variant: String,
    /// Its run that is, or would be, measured.
    pub run: String,
    /// Tokens of a training sequence.
    pub seq_len: usize,
    /// What was measured before.
    pub file: Option<DecodeFile>,
}

/// What is asked for; `None` is what was measured before, or else the default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DecodeWish {
    /// Format of the weights.
    pub weights: Option<String>,
    /// Threads.
    pub threads: Option<usize>,
    /// Tokens of the prompt.
    pub prompt_len: Option<usize>,
    /// Tokens decoded after it.
    pub tokens: Option<usize>,
    /// Whether to measure everything anew.
    pub again: bool,
}

/// Why times cannot be set side by side.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum DecodeConflict {
    /// Two files disagree.
    #[error(
        "decoding times do not compare: `{a}` was measured with {of_a}; `{b}` with {of_b}\n  hint: --remeasure measures all variants here"
    )]
    Mixed {
        /// A run.
        a: String,
        /// Its setting.
        of_a: Box<DecodeSetting>,
        /// Another run.
        b: String,
        /// Its setting.
        of_b: Box<DecodeSetting>,
    },
    /// The files are of another setting than the one that is asked for.
    #[error(
        "`{run}` was measured with {had}; asked for is {wanted}\n  hint: --remeasure measures all variants so, and replaces what was measured"
    )]
    Other {
        /// A run that was measured.
        run: String,
        /// Its setting.
        had: Box<DecodeSetting>,
        /// The one asked for.
        wanted: Box<DecodeSetting>,
    },
    /// Some variants are to be measured beside others that were measured on another processor.
    #[error(
        "`{run}` was measured on {had}, and this machine, which has {here}, cannot measure `{missing}` beside it\n  hint: measure on the same kind of machine, or all variants here with --remeasure"
    )]
    Processor {
        /// A run that was measured.
        run: String,
        /// Its processor.
        had: String,
        /// The one here.
        here: String,
        /// A run without a measurement.
        missing: String,
    },
}

/// What is to be measured, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodeWork {
    /// The setting of all variants.
    pub setting: DecodeSetting,
    /// Indices of the candidates to measure.
    pub measure: Vec<usize>,
}

/// Decides what to measure on a machine with the processor `cpu` and `cores` cores. What was measured is
/// kept, wherever that was, as long as all of it compares.
///
/// # Errors
/// Times that would have to be mixed.
pub fn decode_work(
    candidates: &[DecodeCandidate],
    wish: &DecodeWish,
    cpu: &str,
    cores: usize,
) -> Result<DecodeWork, DecodeConflict> {
    let known = || {
        let kept = candidates.iter().filter(|_| !wish.again);
        kept.filter_map(|one| Some((one, &one.file.as_ref()?.setting)))
    };
    let first = known().next();
    if let Some((a, of_a)) = first
        && let Some((b, of_b)) = known().find(|(_, setting)| *setting != of_a)
    {
        return Err(DecodeConflict::Mixed {
            a: a.run.clone(),
            of_a: Box::new(of_a.clone()),
            b: b.run.clone(),
            of_b: Box::new(of_b.clone()),
        });
    }
    let mut setting = match first {
        Some((_, setting)) => setting.clone(),
        None => {
            // Every variant has at least the positions of its training sequences.
            let shortest = candidates.iter().map(|one| one.seq_len).min();
            let positions = shortest.unwrap_or(PROMPT_LEN + TOKENS);
            let prompt_len = wish.prompt_len.unwrap_or(PROMPT_LEN.min(positions / 2));
            DecodeSetting {
                cpu: cpu.to_owned(),
                device: "flex".into(),
                threads: cores,
                weights: "f32".into(),
                prompt_len,
                tokens: TOKENS.min(positions.saturating_sub(prompt_len)).max(1),
            }
        }
    };
    if let Some(weights) = &wish.weights {
        setting.weights.clone_from(weights);
    }
    // 0 takes all cores, as everywhere.
    setting.threads = match wish.threads {
        Some(0) => cores,
        Some(threads) => threads,
        None => setting.threads,
    };
    setting.prompt_len = wish.prompt_len.unwrap_or(setting.prompt_len);
    setting.tokens = wish.tokens.unwrap_or(setting.tokens);
    let missing = |one: &DecodeCandidate| wish.again || one.file.is_none();
    let measure: Vec<usize> = (0..candidates.len())
        .filter(|index| missing(&candidates[*index]))
        .collect();
    if let Some((one, had)) = first {
        if *had != setting {
            return Err(DecodeConflict::Other {
                run: one.run.clone(),
                had: Box::new(had.clone()),
                wanted: Box::new(setting),
            });
        }
        if let Some(index) = measure.first()
            && had.cpu != cpu
        {
            return Err(DecodeConflict::Processor {
                run: one.run.clone(),
                had: had.cpu.clone(),
                here: cpu.to_owned(),
                missing: candidates[*index].run.clone(),
            });
        }
    }
    Ok(DecodeWork { setting, measure })
}

/// How the times of trained runs compare.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Comparable {
    /// Nothing, or not every variant, was measured.
    Partly,
    /// Settings differ.
    Mixed,
    /// Every variant with a trained run was measured under one setting.
    All,
}

/// Whether every variant with a trained run was measured, all under one setting.
pub(crate) fn comparable(runs: &[RunResult]) -> Comparable {
    let trained: Vec<&RunResult> = runs.iter().filter(|run| run.counts()).collect();
    let mut settings = trained
        .iter()
        .filter_map(|run| Some(&run.decode.as_ref()?.setting));
    let Some(first) = settings.next() else {
        return Comparable::Partly;
    };
    if settings.any(|setting| setting != first) {
        return Comparable::Mixed;
    }
    let measured = |variant: &str| {
        let mut own = trained.iter().filter(|run| run.variant == variant);
        own.any(|run| run.decode.is_some())
    };
    match trained.iter().all(|run| measured(&run.variant)) {
        true => Comparable::All,
        false => Comparable::Partly,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(cpu: &str, weights: &str) -> DecodeSetting {
        DecodeSetting {
            cpu: cpu.into(),
            device: "flex".into(),
            threads: 4,
            weights: weights.into(),
            prompt_len: 16,
            tokens: 64,
        }
    }

    fn candidate(name: &str, had: Option<DecodeSetting>) -> DecodeCandidate {
        DecodeCandidate {
            variant: name.into(),
            run: format!("{name}-s0"),
            seq_len: 2048,
            file: had.and_then(|had| DecodeFile::of(&[vec![0.002]], 1, &had)),
        }
    }

    #[test]
    fn the_median_is_over_all_rounds_and_the_spread_over_their_medians() {
        let rounds = [vec![0.001, 0.003, 0.002], vec![0.009, 0.004, 0.008]];
        let file = DecodeFile::of(&rounds, 3, &setting("A", "f32")).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{file:?}");
        close(file.decode_ms, 3.5);
        close(file.low_ms, 2.0);
        close(file.high_ms, 8.0);
        assert_eq!((file.rounds, file.repetitions, file.variants), (2, 3, 3));
        assert_eq!(DecodeFile::of(&[], 1, &setting("A", "f32")), None);

        let folder = tempfile::tempdir().unwrap();
        assert_eq!(DecodeFile::read(folder.path()).unwrap(), None);
        file.write(folder.path()).unwrap();
        assert_eq!(DecodeFile::read(folder.path()).unwrap(), Some(file.clone()));
        let newer = DecodeFile {
            format: "slender-decode/9".into(),
            ..file
        };
        newer.write(folder.path()).unwrap();
        let said = DecodeFile::read(folder.path()).unwrap_err().to_string();
        assert!(
            said.contains("slender-decode/9") && said.contains(DECODE_FORMAT),
            "{said}"
        );
    }

    #[test]
    fn what_was_measured_is_kept_and_the_rest_is_measured_likewise() {
        let wish = DecodeWish::default();
        let fresh = [candidate("a", None), candidate("b", None)];
        let work = decode_work(&fresh, &wish, "A", 4).unwrap();
        assert_eq!(
            (work.measure, work.setting),
            (vec![0, 1], setting("A", "f32"))
        );

        let some = [
            candidate("a", Some(setting("A", "q8_0"))),
            candidate("b", None),
        ];
        let work = decode_work(&some, &wish, "A", 8).unwrap();
        assert_eq!(
            (work.measure, work.setting),
            (vec![1], setting("A", "q8_0"))
        );

        // All of it from another machine compares; nothing is to be measured here.
        let all = [candidate("a", Some(setting("B", "f32")))];
        let work = decode_work(&all, &wish, "A", 8).unwrap();
        assert_eq!((work.measure, work.setting), (vec![], setting("B", "f32")));

        let mut short = fresh.clone();
        short[1].seq_len = 24;
        let work = decode_work(&short, &wish, "A", 4).unwrap();
        assert_eq!((work.setting.prompt_len, work.setting.tokens), (12, 12));
    }

    #[test]
    fn times_of_different_settings_are_not_mixed() {
        let wish = DecodeWish::default();
        let said = |candidates: &[DecodeCandidate], wish: &DecodeWish| {
            decode_work(candidates, wish, "A", 4)
                .unwrap_err()
                .to_string()
        };
        let (a, b) = (setting("A", "f32"), setting("B", "f32"));
        let mixed = [
            candidate("a", Some(a.clone())),
            candidate("b", Some(b.clone())),
        ];
        let text = said(&mixed, &wish);
        assert!(text.contains("`a-s0`") && text.contains("of B"), "{text}");

        let elsewhere = [candidate("a", None), candidate("b", Some(b))];
        let text = said(&elsewhere, &wish);
        assert!(
            text.contains("which has A") && text.contains("`a-s0`"),
            "{text}"
        );

        let other = DecodeWish {
            weights: Some("bf16".into()),
            ..wish
        };
        let text = said(&[candidate("a", Some(a))], &other);
        assert!(
            text.contains("bf16") && text.contains("--remeasure"),
            "{text}"
        );

        let again = DecodeWish {
            again: true,
            ..other
        };
        let work = decode_work(&mixed, &again, "A", 4).unwrap();
        assert_eq!(work.measure, [0, 1]);
        assert_eq!(work.setting, setting("A", "bf16"));
    }
}
