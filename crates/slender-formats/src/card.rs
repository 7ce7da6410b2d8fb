//! The model card, `README.md` of an exported folder: what the model is, what it was trained on, and how it
//! scores, as far as the run directory says.

use serde_json::Value;
use slender_config::ModelShape;
use std::fmt::Write;
use std::path::Path;

/// What a card is made from.
#[derive(Debug)]
pub struct Card<'a> {
    /// The model's name.
    pub name: &'a str,
    /// Its shape, as slender trained it.
    pub shape: &'a ModelShape,
    /// Its run directory, if it has one.
    pub run: Option<&'a Path>,
    /// The checkpoint's folder.
    pub checkpoint: &'a Path,
    /// Whether shared blocks are written as often as they are executed.
    pub expanded: bool,
}

impl Card<'_> {
    /// The Markdown text.
    pub fn to_markdown(&self) -> String {
        let mut out = String::from(
            "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags:\n- slender\n---\n\n",
        );
        let _ = writeln!(out, "# {}\n", self.name);
        let shape = self.shape;
        let counted = shape.accounting(shape.max_seq_len, 1);
        let sharing = if shape.repeats == 1 {
            String::new()
        } else if self.expanded {
            format!(
                " The {} blocks it was trained with are executed {} times each; here they are written out as {} layers.",
                shape.n_layers,
                shape.repeats,
                shape.n_executed_layers()
            )
        } else {
            format!(
                " Each of its {} blocks is executed {} times, as `config.json` records under `slender`.",
                shape.n_layers, shape.repeats
            )
        };
        let _ = writeln!(
            out,
            "A decoder-only language model of {} parameters, written by slender.{sharing}\n",
            counted.params_total
        );
        let _ = writeln!(out, "| | |\n|---|---|");
        for (what, value) in [
            ("layers", shape.n_layers.to_string()),
            ("width", shape.dim.to_string()),
            ("query heads", shape.n_heads.to_string()),
            ("key-value heads", shape.n_kv_heads.to_string()),
            ("feed-forward width", shape.ffn_hidden.to_string()),
            ("vocabulary", shape.vocab_size.to_string()),
            ("longest sequence", shape.max_seq_len.to_string()),
            (
                "embeddings",
                if shape.tie_embeddings {
                    "tied"
                } else {
                    "not tied"
                }
                .to_owned(),
            ),
        ] {
            let _ = writeln!(out, "| {what} | {value} |");
        }
        self.training(&mut out);
        self.scores(&mut out);
        self.configuration(&mut out);
        out
    }

    fn run_json(&self, name: &str) -> Option<Value> {
        let text = std::fs::read(self.run?.join(name)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn training(&self, out: &mut String) {
        let state = std::fs::read(self.checkpoint.join("state.json")).ok();
        let state: Option<Value> = state.and_then(|text| serde_json::from_slice(&text).ok());
        let (run, status) = (self.run_json("run.json"), self.run_json("status.json"));
        if state.is_none() && run.is_none() && status.is_none() {
            return;
        }
        let (state, run) = (state.unwrap_or_default(), run.unwrap_or_default());
        // The status is of the last step, which this checkpoint need not be of.
        let status = status
            .filter(|status| status["step"] == state["step"])
            .unwrap_or_default();
        let _ = writeln!(out, "\n## Training\n\n| | |\n|---|---|");
        let rows = [
            ("step", &state["step"]),
            ("tokens", &state["tokens"]),
            ("validation loss (nats per token)", &status["valid_loss"]),
            ("validation bits per byte", &status["valid_bits_per_byte"]),
            ("seed", &run["seed"]),
            ("data manifest (BLAKE3)", &run["data_manifest"]),
            ("tokenizer (BLAKE3)", &run["tokenizer_hash"]),
            ("slender", &run["source"]["version"]),
            ("source commit", &run["source"]["commit"]),
        ];
        for (what, value) in rows {
            match value {
                Value::Null => {}
                Value::String(text) => drop(writeln!(out, "| {what} | {text} |")),
                other => drop(writeln!(out, "| {what} | {other} |")),
            }
        }
    }

    fn scores(&self, out: &mut String) {
        let Some(results) = self.run_json("eval/final.json") else {
            return;
        };
        let Some(tasks) = results["results"].as_object().filter(|t| !t.is_empty()) else {
            return;
        };
        let _ = writeln!(
            out,
            "\n## Scores\n\nBy `slender eval`, with lm-evaluation-harness's prompts and metrics; ± is one standard error.\n\n| task | examples | metric | score |\n|---|---|---|---|"
        );
        for (task, scores) in tasks {
            let examples = &results["n-samples"][task]["effective"];
            let slice = if results["fixture"][task] == true {
                " (a slice that ships with slender)"
            } else {
                ""
            };
            for (key, score) in scores.as_object().into_iter().flatten() {
                let Some(metric) = key.strip_suffix(",none") else {
                    continue;
                };
                let Some(number) = score.as_f64().filter(|_| !metric.ends_with("_stderr")) else {
                    continue;
                };
                let error = scores[format!("{metric}_stderr,none")].as_f64();
                let error = error.map_or(String::new(), |error| format!(" ± {error:.4}"));
                let _ = writeln!(
                    out,
                    "| {task} | {examples}{slice} | {metric} | {number:.4}{error} |"
                );
            }
        }
    }

    fn configuration(&self, out: &mut String) {
        let text = self
            .run
            .and_then(|run| std::fs::read_to_string(run.join("config.toml")).ok());
        if let Some(text) = text {
            let _ = writeln!(
                out,
                "\n## Configuration\n\nThe run's own, fully resolved; `[data]` says what it was trained on.\n\n```toml\n{}\n```",
                text.trim_end()
            );
        }
    }
}
