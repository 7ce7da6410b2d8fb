//! `metrics.jsonl` as curves.
//!
//! A killed and resumed run may have logged a step twice; the later line is the one whose weights
//! live on, so it wins. A line cut short by a kill is left out.

use crate::error::SweepError;
use crate::files::{check_format, read_optional};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Training loss of one logged step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrainPoint {
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Mean cross-entropy of the step's batch, nats per token.
    pub loss: f64,
}

/// One validation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ValidPoint {
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Mean cross-entropy, nats per token.
    pub loss: f64,
    /// The same in bits per byte of text.
    pub bits_per_byte: Option<f64>,
    /// Tokens that it is the mean over.
    pub measured_tokens: Option<u64>,
}

/// Loss curves of one run, in order of training.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Curves {
    /// Training loss.
    pub train: Vec<TrainPoint>,
    /// Validation loss.
    pub valid: Vec<ValidPoint>,
}

impl Curves {
    /// Reads `run_dir/metrics.jsonl`; empty if there is none.
    ///
    /// # Errors
    /// An unreadable file or an unknown version.
    pub fn read(run_dir: &Path) -> Result<Self, SweepError> {
        let path = run_dir.join("metrics.jsonl");
        let Some(text) = read_optional(&path)? else {
            return Ok(Self::default());
        };
        let mut lines = text.lines();
        let header: Option<Value> = lines
            .next()
            .and_then(|line| serde_json::from_str(line).ok());
        let format = header.as_ref().and_then(|value| value.get("format"));
        check_format(&path, format.and_then(Value::as_str), "slender-metrics/1")?;
        let (mut train, mut valid) = (BTreeMap::new(), BTreeMap::new());
        for value in lines.filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let count = |key: &str| value.get(key).and_then(Value::as_u64);
            let number = |key: &str| value.get(key).and_then(Value::as_f64);
            let (Some(step), Some(tokens), Some(loss)) =
                (count("step"), count("tokens"), number("loss"))
            else {
                continue;
            };
            match value.get("kind").and_then(Value::as_str) {
                Some("train") => {
                    train.insert(step, TrainPoint { tokens, loss });
                }
                Some("valid") => {
                    let bits_per_byte = number("bits_per_byte");
                    valid.insert(
                        step,
                        ValidPoint {
                            tokens,
                            loss,
                            bits_per_byte,
                            measured_tokens: number("valid_tokens").map(|n| n as u64),
                        },
                    );
                }
                _ => {}
            }
        }
        Ok(Self {
            train: train.into_values().collect(),
            valid: valid.into_values().collect(),
        })
    }

    /// The training curve, smoothed over a fiftieth of its points and thinned to at most `most`.
    ///
    /// The average is exponential and corrected for its start, so the first value is the first loss.
    pub fn smoothed(&self, most: usize) -> Vec<(f64, f64)> {
        let window = (self.train.len() as f64 / 50.0).max(1.0);
        let keep = 1.0 - 1.0 / window;
        let (mut sum, mut weight) = (0.0, 0.0);
        let smooth: Vec<(f64, f64)> = self
            .train
            .iter()
            .map(|point| {
                sum = keep * sum + point.loss;
                weight = keep * weight + 1.0;
                (point.tokens as f64, sum / weight)
            })
            .collect();
        let stride = smooth.len().div_ceil(most.max(1)).max(1);
        let last = smooth.len().saturating_sub(1);
        let kept = smooth.into_iter().enumerate();
        kept.filter(|(index, _)| index % stride == 0 || *index == last)
            .map(|(_, point)| point)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_logged_twice_counts_once_and_a_cut_line_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let text = r#"{"format":"slender-metrics/1"}
{"kind":"train","step":10,"tokens":100,"loss":5.0}
{"kind":"train","step":20,"tokens":200,"loss":4.0}
{"kind":"train","step":20,"tokens":200,"loss":4.5}
{"kind":"valid","step":20,"tokens":200,"loss":4.6,"bits_per_byte":2.5}
{"kind":"train","step":30,"tok"#;
        std::fs::write(dir.path().join("metrics.jsonl"), text).unwrap();
        let curves = Curves::read(dir.path()).unwrap();
        let losses: Vec<f64> = curves.train.iter().map(|point| point.loss).collect();
        assert_eq!(losses, [5.0, 4.5]);
        assert_eq!(curves.valid[0].bits_per_byte, Some(2.5));
        assert_eq!(curves.smoothed(400)[0], (100.0, 5.0));
    }

    #[test]
    fn an_unknown_version_is_named() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("metrics.jsonl"),
            "{\"format\":\"slender-metrics/9\"}\n",
        )
        .unwrap();
        let error = Curves::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("slender-metrics/9") && error.contains("slender-metrics/1"));
    }
}
