//! `slender sweep status`: where every run of a sweep stands, as a table and as JSON.
//!
//! Read from the run directories; what a scheduler says stands beside it as a remark.

use crate::jobs::{JobSource, is_over};
use crate::slurm::QueueEntry;
use crate::state::{Phase, RunView, SweepState};
use serde_json::{Value, json};
use slender_config::{human_seconds, plural};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Format name and version of `slender sweep status --json`.
pub const SWEEP_STATUS_FORMAT: &str = "slender-sweep-status/1";

/// Runs up to which the table shows all of them.
const SHOWN_WHOLE: usize = 40;

/// A sweep's state with what a scheduler adds to it.
#[derive(Clone, Debug)]
pub struct StatusReport {
    /// What the run directories say.
    pub state: SweepState,
    /// Nothing is left to do: [`is_over`](crate::is_over).
    pub over: bool,
    /// Jobs that a scheduler may still run, by place of the run.
    pub queued: BTreeMap<u32, QueueEntry>,
    /// What a scheduler says became of the others.
    pub hints: BTreeMap<u32, String>,
}

impl StatusReport {
    /// What the run directories say, alone; `source` deals out the sweep's work.
    pub fn of(state: SweepState, source: &mut dyn JobSource) -> Self {
        Self {
            over: is_over(source, &state),
            state,
            queued: BTreeMap::new(),
            hints: BTreeMap::new(),
        }
    }

    /// Steps done and steps of all runs.
    pub fn steps(&self) -> (u64, u64) {
        let runs = self.state.runs.iter();
        runs.fold((0, 0), |(done, total), run| {
            (done + run.step(), total + run.total_steps())
        })
    }

    /// Whether nothing is left but runs that failed.
    pub fn failed(&self) -> bool {
        let failed = |run: &RunView| run.failure.is_some() && !run.is_done();
        self.over && self.state.runs.iter().any(failed)
    }

    /// One line: how many runs are in which state.
    pub fn headline(&self) -> String {
        let counts = self.state.counts();
        let parts: Vec<String> = (Phase::ALL.iter())
            .filter_map(|phase| Some(format!("{} {}", counts.get(phase)?, phase.word())))
            .collect();
        let (done, total) = self.steps();
        let runs = self.state.runs.len();
        let mut line = format!("{}: {}", plural(runs, "run"), parts.join(", "));
        let waiting = |index: &u32| {
            let run = self.state.runs.get(*index as usize);
            run.is_some_and(|run| !run.busy && !run.is_done())
        };
        let queued = self.queued.keys().filter(|index| waiting(index)).count();
        if queued > 0 {
            let _ = write!(line, "; {queued} queued in Slurm");
        }
        if total > 0 {
            let share = 100.0 * done as f64 / total as f64;
            let _ = write!(line, "; {share:.0} % of all steps");
        }
        if self.over && counts.contains_key(&Phase::Paused) {
            line += "; the search is over";
        }
        line
    }

    /// A table of the runs; of many only those that want or get attention, unless `all`.
    pub fn table(&self, all: bool) -> String {
        let runs: Vec<(usize, &RunView)> = self.state.runs.iter().enumerate().collect();
        let quiet = |run: &RunView| matches!(run.phase, Phase::Finished | Phase::Pending);
        let whole = all || runs.len() <= SHOWN_WHOLE;
        let shown: Vec<_> = runs
            .iter()
            .filter(|(_, run)| whole || !quiet(run))
            .collect();
        let mut rows =
            vec![["run", "state", "step", "valid", "left", "beat", "tries", ""].map(str::to_owned)];
        for (index, run) in &shown {
            rows.push([
                run.name.clone(),
                run.phase.word().to_owned(),
                format!("{}/{}", run.step(), run.total_steps()),
                run.status
                    .as_ref()
                    .and_then(|status| status.valid_loss)
                    .map_or("-".into(), |loss| format!("{loss:.4}")),
                self.left(run).map_or("-".into(), human_seconds),
                run.claim
                    .as_ref()
                    .map_or("-".into(), |(_, age)| human_seconds(age.as_secs_f64())),
                match run.attempts {
                    0 => "-".into(),
                    attempts => attempts.to_string(),
                },
                self.remark(*index as u32, run),
            ]);
        }
        let mut text = String::new();
        if rows.len() > 1 {
            let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
            let widths: Vec<usize> = (0..8).map(|column| width(column).unwrap_or(0)).collect();
            for row in &rows {
                let mut line = String::new();
                for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
                    let _ = match column {
                        0 | 1 => write!(line, "{cell:<width$}  "),
                        7 => write!(line, "{cell}"),
                        _ => write!(line, "{cell:>width$}  "),
                    };
                }
                text += line.trim_end();
                text.push('\n');
            }
        }
        let hidden = runs.len() - shown.len();
        if hidden > 0 {
            let _ = writeln!(
                text,
                "{hidden} finished or pending runs are not shown; --all shows them"
            );
        }
        text
    }

    /// Seconds of training left at the speed so far, while it is being trained.
    fn left(&self, run: &RunView) -> Option<f64> {
        let status = run
            .status
            .as_ref()
            .filter(|_| run.phase == Phase::Training)?;
        let rest = run.total_steps().checked_sub(status.step)?;
        (status.step > 0).then(|| status.elapsed_s / status.step as f64 * rest as f64)
    }

    fn remark(&self, index: u32, run: &RunView) -> String {
        if let Some((claim, _)) = &run.claim {
            let job = claim
                .job
                .as_ref()
                .map_or(String::new(), |job| format!(", {job}"));
            return format!("on {} (pid {}{job})", claim.holder.host, claim.holder.pid);
        }
        if run.is_done() {
            return String::new();
        }
        if let Some(entry) = self.queued.get(&index) {
            let element = &entry.element;
            return format!(
                "Slurm {}_{}: {} ({})",
                element.array, element.task, entry.state, entry.reason
            );
        }
        let hint = self.hints.get(&index).map(String::as_str);
        match (&run.failure, run.phase) {
            (Some(failure), Phase::Failed) => {
                format!("{}: {}", failure.stage.noun(), first_line(&failure.message))
            }
            (_, Phase::Lost) => match hint {
                Some(hint) => format!("its process is gone; {hint}"),
                None => "its process is gone; resume continues it".into(),
            },
            (_, Phase::Training) => "trained by a process that is no worker".into(),
            _ => hint.unwrap_or_default().to_owned(),
        }
    }

    /// The same for programs: [`SWEEP_STATUS_FORMAT`].
    pub fn to_json(&self) -> Value {
        let run = |(index, run): (usize, &RunView)| {
            let index = index as u32;
            json!({
                "name": run.name,
                "variant": run.entry.variant,
                "seed": run.entry.seed,
                "index": index,
                "state": run.phase,
                "step": run.step(),
                "total_steps": run.total_steps(),
                "valid_loss": run.status.as_ref().and_then(|status| status.valid_loss),
                "left_s": self.left(run),
                "attempts": run.attempts,
                "worker": run.claim.as_ref().map(|(claim, age)| json!({
                    "host": claim.holder.host,
                    "pid": claim.holder.pid,
                    "job": claim.job,
                    "stage": claim.stage,
                    "beat_s": age.as_secs_f64(),
                })),
                "queued": self.queued.get(&index).map(|entry| json!({
                    "job": format!("{}_{}", entry.element.array, entry.element.task),
                    "state": entry.state,
                    "reason": entry.reason,
                })),
                "failure": run.failure,
                "scheduler": self.hints.get(&index),
            })
        };
        let (steps, total_steps) = self.steps();
        let runs: Vec<Value> = self.state.runs.iter().enumerate().map(run).collect();
        json!({
            "format": SWEEP_STATUS_FORMAT,
            "dir": self.state.dir,
            "over": self.over,
            "counts": self.state.counts(),
            "steps": steps,
            "total_steps": total_steps,
            "runs": runs,
        })
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
