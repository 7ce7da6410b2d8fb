//! Progress of preparation on stderr: a bar on a terminal, a line every ten seconds elsewhere.

use crate::source::Progress;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const EVERY: Duration = Duration::from_secs(10);

/// Reports how much of a source is tokenized.
pub(super) struct Reporter {
    name: String,
    /// Bytes of input files.
    total: u64,
    read: Progress,
    bar: Option<ProgressBar>,
    lines: bool,
    started: Instant,
    last: Instant,
}

impl Reporter {
    /// `total` is the stored size of all inputs, 0 if not known.
    pub fn new(name: &str, total: u64, read: Progress, show: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (show && terminal).then(|| {
            let bar = ProgressBar::new(total);
            let style = "{prefix} [{wide_bar}] {bytes}/{total_bytes} {msg} ({eta})";
            bar.set_style(ProgressStyle::with_template(style).expect("the template is valid"));
            bar.set_prefix(name.to_string());
            bar
        });
        let lines = show && !terminal;
        if lines {
            eprintln!("tokenizing {name}");
        }
        let now = Instant::now();
        Self {
            name: name.to_string(),
            total,
            read,
            bar,
            lines,
            started: now,
            last: now,
        }
    }

    /// After a batch: tokens and bytes of text so far.
    pub fn update(&mut self, tokens: u64, bytes: u64) {
        let read = self.read.load(Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_position(read.min(self.total));
            bar.set_message(summary(tokens, bytes, self.started.elapsed()));
        }
        if self.lines && self.last.elapsed() >= EVERY {
            self.last = Instant::now();
            let percent = (100 * read.min(self.total)).checked_div(self.total);
            let percent =
                percent.map_or(String::new(), |percent| format!("{percent} % of files, "));
            eprintln!(
                "tokenizing {}: {percent}{}",
                self.name,
                summary(tokens, bytes, self.started.elapsed())
            );
        }
    }

    /// At the end of the source.
    pub fn finish(&self, tokens: u64, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        if self.lines || self.bar.is_some() {
            eprintln!(
                "tokenized {}: {}",
                self.name,
                summary(tokens, bytes, self.started.elapsed())
            );
        }
    }
}

fn summary(tokens: u64, bytes: u64, elapsed: Duration) -> String {
    let mb = bytes as f64 / 1e6;
    let rate = mb / elapsed.as_secs_f64().max(1e-3);
    format!(
        "{:.2} M tokens from {mb:.1} MB, {rate:.1} MB/s",
        tokens as f64 / 1e6
    )
}
