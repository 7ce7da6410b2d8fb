//! What a person sees while a run trains: a bar on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use slender_config::human_seconds;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// How much is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verbosity {
    /// Nothing but errors.
    Quiet,
    /// Progress and events.
    #[default]
    Normal,
}

/// Progress on stderr.
#[derive(Debug)]
pub struct Progress {
    verbosity: Verbosity,
    bar: Option<ProgressBar>,
    total: u64,
    last_line: Option<Instant>,
}

/// Speed and loss of the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pulse {
    pub step: u64,
    pub loss: f64,
    pub lr: f64,
    pub tokens_per_s: f64,
    pub flops_per_s: f64,
    pub peak_share: f64,
    pub seconds_left: f64,
}

/// Shortest time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);

impl Progress {
    /// Progress over `total` steps.
    pub fn new(verbosity: Verbosity, total: u64) -> Self {
        let terminal = std::io::stderr().is_terminal() && verbosity == Verbosity::Normal;
        let bar = terminal.then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(4));
            let style = ProgressStyle::with_template("{wide_bar:.cyan/dim} {pos}/{len}  {msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self {
            verbosity,
            bar,
            total,
            last_line: None,
        }
    }

    /// Says something beside the bar.
    pub fn say(&self, text: &str) {
        if self.verbosity == Verbosity::Quiet {
            return;
        }
        match &self.bar {
            Some(bar) => bar.println(text),
            None => {
                // A closed stderr must not stop a run.
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }

    pub(crate) fn pulse(&mut self, pulse: &Pulse) {
        let share = 100.0 * pulse.peak_share;
        let message = format!(
            "loss {:.4}  {:.0} tok/s  {:.1} GFLOP/s ({share:.0} % of matmul peak)  {} left",
            pulse.loss,
            pulse.tokens_per_s,
            pulse.flops_per_s / 1e9,
            human_seconds(pulse.seconds_left),
        );
        if let Some(bar) = &self.bar {
            bar.set_position(pulse.step);
            bar.set_message(message);
        } else if self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY)
            || pulse.step == self.total
        {
            self.last_line = Some(Instant::now());
            self.say(&format!(
                "step {}/{}  lr {:.2e}  {message}",
                pulse.step, self.total, pulse.lr
            ));
        }
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
