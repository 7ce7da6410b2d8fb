//! The report as a table for people: percent with standard errors, chance beside them.

use std::fmt;

use crate::metrics::Estimate;
use crate::report::{EvalReport, TaskReport};
use crate::tasks::{self, Metric};

impl fmt::Display for EvalReport {
    /// A table of percentages, then one line for each warning. No colour, ends with a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["task", "examples", "acc", "acc_norm", "chance"].map(str::to_owned);
        let mut rows = vec![head];
        rows.extend(self.tasks.iter().map(task_row));
        let mut averages = vec![("average", true)];
        if self.tasks.len() > 1 && self.task("boolq").is_some() {
            averages.push(("without boolq", false));
        }
        if self.tasks.len() > 1 {
            for (name, with_boolq) in averages {
                rows.push([
                    name.to_owned(),
                    String::new(),
                    percent(self.average(Metric::Acc, with_boolq)),
                    percent(self.average(Metric::AccNorm, with_boolq)),
                    String::new(),
                ]);
            }
        }
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..5).map(width).collect();
        for (i, row) in rows.iter().enumerate() {
            let line = format!(
                "{:<w0$}  {:>w1$}  {:>w2$}  {:>w3$}  {:>w4$}",
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                w0 = widths[0],
                w1 = widths[1],
                w2 = widths[2],
                w3 = widths[3],
                w4 = widths[4],
            );
            writeln!(f, "{}", line.trim_end())?;
            if i == 0 || i == self.tasks.len() {
                let last = i + 1 == rows.len();
                let rule = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
                if !last {
                    writeln!(f, "{}", "-".repeat(rule))?;
                }
            }
        }
        if self.tasks.iter().any(|task| task.fixture) {
            writeln!(f, "* fixture: a slice shipped for tests, not the benchmark")?;
        }
        for task in &self.tasks {
            for warning in &task.warnings {
                writeln!(f, "warning: {}: {warning}", task.task)?;
            }
        }
        Ok(())
    }
}

fn task_row(task: &TaskReport) -> [String; 5] {
    let mark = if task.fixture { "*" } else { "" };
    let of = if task.examples == task.published {
        task.examples.to_string()
    } else {
        format!("{}/{}", task.examples, task.published)
    };
    [
        format!("{}{mark}", task.task),
        of,
        percent(task.metric(Metric::Acc.name())),
        percent(task.metric(Metric::AccNorm.name())),
        format!("{:.1}", 100.0 * task.chance),
    ]
}

/// `31.2 ± 0.9`, in percent; `-` where there is none.
fn percent(estimate: Option<Estimate>) -> String {
    match estimate {
        None => "-".to_owned(),
        Some(Estimate { value, stderr }) => match stderr {
            Some(stderr) => format!("{:.1} ± {:.1}", 100.0 * value, 100.0 * stderr),
            None => format!("{:.1} ± ?", 100.0 * value),
        },
    }
}

/// The table of `slender eval --list`: every task with its size, chance level, version and source.
pub fn task_table() -> String {
    let mut text = format!(
        "{:<14} {:<11} {:>8} {:>7} {:>8}  {:<14} {}\n",
        "task", "split", "examples", "chance", "version", "metrics", "source"
    );
    for task in tasks::list() {
        let metrics: Vec<&str> = task.metrics.iter().map(|metric| metric.name()).collect();
        text += &format!(
            "{:<14} {:<11} {:>8} {:>6.1}% {:>8.1}  {:<14} {} [{}]\n",
            task.name,
            task.split,
            task.examples,
            100.0 * task.chance,
            task.version,
            metrics.join(","),
            task.source,
            task.hub.repo,
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Settings;

    fn task(name: &str, published: usize, metrics: &[(&str, f64, Option<f64>)]) -> TaskReport {
        let estimate = |&(name, value, stderr): &(&str, f64, Option<f64>)| {
            (name.to_owned(), Estimate { value, stderr })
        };
        TaskReport {
            task: name.to_owned(),
            metrics: metrics.iter().map(estimate).collect(),
            examples: 100,
            loaded: 100,
            published,
            version: 1.0,
            fixture: name == "piqa",
            chance: 0.25,
            origin: String::new(),
            data_blake3: String::new(),
            truncated: 0,
            windows: 0,
            warnings: vec!["look".to_owned(); usize::from(name == "boolq")],
        }
    }

    #[test]
    fn the_table_has_errors_averages_marks_and_warnings() {
        let mut report = EvalReport::new(Settings {
            limit: None,
            data: String::new(),
            add_bos: true,
            prefix_token: None,
            max_seq_len: 1,
            batch_tokens: 1,
        });
        report.tasks = vec![
            task(
                "piqa",
                1838,
                &[("acc", 0.5, Some(0.03)), ("acc_norm", 0.6, Some(0.04))],
            ),
            task("boolq", 100, &[("acc", 0.7, Some(0.04))]),
        ];
        let expected = "\
task           examples         acc    acc_norm  chance
-------------------------------------------------------
piqa*          100/1838  50.0 ± 3.0  60.0 ± 4.0    25.0
boolq               100  70.0 ± 4.0           -    25.0
-------------------------------------------------------
average                  60.0 ± 2.5  65.0 ± 2.8
without boolq            50.0 ± 3.0  60.0 ± 4.0
* fixture: a slice shipped for tests, not the benchmark
warning: boolq: look
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn the_list_names_every_task() {
        let table = task_table();
        assert_eq!(table.lines().count(), 1 + tasks::list().len());
        assert!(table.contains("10042"));
    }
}
