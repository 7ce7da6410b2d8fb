//! The report as a table for people: percent with standard errors, chance beside them.

use std::fmt;

use crate::error::EvalError;
use crate::means::Mean;
use crate::metrics::Estimate;
use crate::report::{EvalReport, TaskReport};
use crate::tasks::{self, Metric, Shots};

impl fmt::Display for EvalReport {
    /// A table of percentages, means with intervals, other measures, then how texts became tokens and one
    /// line for each warning. No colour, ends with a line break.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = [
            "task",
            "examples",
            "acc",
            "acc_norm",
            "paper",
            "bits/byte",
            "margin",
            "chance",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        let shown = |task: &&TaskReport| {
            task.metric(Metric::Acc.name()).is_some() && tasks::group_of(&task.task).is_none()
        };
        rows.extend(self.tasks.iter().filter(shown).map(task_row));
        let tasks = rows.len();
        for (over, with_boolq) in [("tasks", true), ("tasks", false), ("blimp", false)] {
            rows.extend(self.mean_row(over, with_boolq));
        }
        write_rows(f, &rows, tasks)?;
        self.write_means(f)?;
        self.write_others(f)?;
        if self.tasks.iter().any(|task| task.fixture) {
            writeln!(f, "* fixture: a slice shipped for tests, not the benchmark")?;
        }
        if !self.settings.tokenization.boundary.is_empty() {
            writeln!(f, "{}", self.settings.tokenization)?;
        }
        if self.settings.num_fewshot > 0 {
            let (shots, seed) = (self.settings.num_fewshot, self.settings.fewshot_seed);
            writeln!(
                f,
                "{shots} examples before each question, drawn with seed {seed}"
            )?;
        }
        for task in &self.tasks {
            for warning in &task.warnings {
                writeln!(f, "warning: {}: {warning}", task.task)?;
            }
        }
        Ok(())
    }
}

impl EvalReport {
    fn mean_of(&self, over: &str, metric: &str, with_boolq: bool) -> Option<&Mean> {
        self.means
            .iter()
            .find(|m| m.over == over && m.metric == metric && m.with_boolq == with_boolq)
    }

    fn mean_row(&self, over: &str, with_boolq: bool) -> Option<[String; 8]> {
        let mean = |metric| {
            let mean = self.mean_of(over, metric, with_boolq)?;
            Some(Estimate {
                value: mean.value,
                stderr: Some(mean.stderr),
            })
        };
        let n = self.mean_of(over, "acc", with_boolq)?.tasks;
        let has_boolq = self.mean_of(over, "acc", true).is_some();
        let name = match (over, with_boolq) {
            ("tasks", false) if has_boolq => "without boolq".to_owned(),
            ("tasks", _) => "mean".to_owned(),
            _ => over.to_owned(),
        };
        Some([
            name,
            format!("{n} tasks"),
            percent(mean("acc")),
            percent(mean("acc_norm")),
            percent(mean("paper")),
            String::new(),
            String::new(),
            String::new(),
        ])
    }

    fn write_means(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for mean in &self.means {
            let boolq = match (mean.over.as_str(), mean.with_boolq) {
                ("tasks", false) if self.mean_of("tasks", "acc", true).is_some() => {
                    ", without boolq"
                }
                _ => "",
            };
            let over = if mean.over == "tasks" {
                "mean"
            } else {
                &mean.over
            };
            writeln!(
                f,
                "{over} of {} tasks{boolq}, {}: {:.1}, 95 % interval {:.1} to {:.1}",
                mean.tasks,
                mean.metric,
                100.0 * mean.value,
                100.0 * mean.low,
                100.0 * mean.high
            )?;
        }
        Ok(())
    }

    /// Measures that are no share of examples, and tasks without an accuracy.
    fn write_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for task in &self.tasks {
            for (name, estimate) in &task.metrics {
                let share = Metric::of_name(name).is_some_and(Metric::higher_is_better);
                let text = if share && task.metric(Metric::Acc.name()).is_none() {
                    percent(Some(*estimate))
                } else if share {
                    continue;
                } else {
                    plain(Some(*estimate), 3)
                };
                writeln!(f, "{} {name}: {text}, {} examples", task.task, of(task))?;
            }
        }
        Ok(())
    }
}

/// Rows in columns, with a rule after the first line and after line `tasks`.
fn write_rows(f: &mut fmt::Formatter<'_>, rows: &[[String; 8]], tasks: usize) -> fmt::Result {
    if rows.len() < 2 {
        return Ok(());
    }
    let width = |column: usize| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..8).map(width).collect();
    let rule = widths.iter().sum::<usize>() + 2 * (widths.len() - 1);
    for (i, row) in rows.iter().enumerate() {
        if i == 1 || i == tasks {
            writeln!(f, "{}", "-".repeat(rule))?;
        }
        let mut line = format!("{:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            line += &format!("  {cell:>width$}");
        }
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// `100/1838` where not all were scored.
fn of(task: &TaskReport) -> String {
    if task.examples == task.published {
        task.examples.to_string()
    } else {
        format!("{}/{}", task.examples, task.published)
    }
}

fn task_row(task: &TaskReport) -> [String; 8] {
    let mark = if task.fixture { "*" } else { "" };
    [
        format!("{}{mark}", task.task),
        of(task),
        percent(task.metric(Metric::Acc.name())),
        percent(task.metric(Metric::AccNorm.name())),
        percent(task.extras.paper),
        plain(task.extras.bits_per_byte, 2),
        plain(task.extras.margin, 2),
        if task.chance > 0.0 {
            format!("{:.1}", 100.0 * task.chance)
        } else {
            "-".to_owned()
        },
    ]
}

/// `3.14 ± 0.05`; `-` where there is none.
fn plain(estimate: Option<Estimate>, digits: usize) -> String {
    match estimate {
        None => "-".to_owned(),
        Some(Estimate {
            value,
            stderr: Some(stderr),
        }) => format!("{value:.digits$} ± {stderr:.digits$}"),
        Some(Estimate {
            value,
            stderr: None,
        }) => format!("{value:.digits$} ± ?"),
    }
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

/// The table of `slender eval list`: groups, then tasks with size, chance level, version and source.
///
/// Sub-tasks of a group that has a mean are one line, unless `names` asks for them.
///
/// # Errors
/// A name that is neither task nor group.
pub fn task_table(names: &[String]) -> Result<String, EvalError> {
    let chosen = match names {
        [] => tasks::list().to_vec(),
        names => tasks::find_all(names)?,
    };
    let mut text = String::new();
    if names.is_empty() {
        for group in &tasks::GROUPS {
            let n = tasks::list()
                .iter()
                .filter(|task| group.holds(task))
                .count();
            text += &format!("group {:<6} {n:>3} tasks: {}\n", group.name, group.about);
        }
        text += "\n";
    }
    text += &format!(
        "{:<15} {:<11} {:>8} {:>7} {:>7}  {:<22} {:<6} {}\n",
        "task", "split", "examples", "chance", "version", "metrics", "shots", "source"
    );
    let mut seen: Vec<&str> = Vec::new();
    for task in chosen {
        let group = tasks::group_of(task.name).filter(|_| names.is_empty());
        let (name, examples) = match group {
            Some(group) if seen.contains(&group.name) => continue,
            Some(group) => {
                seen.push(group.name);
                let members = tasks::list().iter().filter(|task| group.holds(task));
                let examples = members.clone().map(|task| task.examples).sum();
                (format!("{} ({})", group.name, members.count()), examples)
            }
            None => (task.name.to_owned(), task.examples),
        };
        let metrics: Vec<&str> = task.metrics.iter().map(|metric| short(*metric)).collect();
        let chance = match task.chance {
            0.0 => "-".to_owned(),
            chance => format!("{:.1}%", 100.0 * chance),
        };
        let shots = match task.shots {
            Shots::Never => "0 only",
            Shots::Own => "own",
            Shots::Train | Shots::TrainOthers => "train",
        };
        text += &format!(
            "{name:<15} {:<11} {examples:>8} {chance:>7} {:>7.1}  {:<22} {shots:<6} {} [{}]\n",
            task.split,
            task.version,
            metrics.join(","),
            task.source,
            task.hub.repo,
        );
    }
    Ok(text)
}

fn short(metric: Metric) -> &'static str {
    match metric {
        Metric::WordPerplexity => "ppl/word",
        Metric::BytePerplexity => "/byte",
        Metric::BitsPerByte => "bits",
        Metric::TokenPerplexity => "/token",
        other => other.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::Tokenization;
    use crate::measure::Extras;
    use crate::report::Settings;

    fn task(name: &str, published: usize, metrics: &[(&str, f64, Option<f64>)]) -> TaskReport {
        let estimate = |&(name, value, stderr): &(&str, f64, Option<f64>)| {
            (name.to_owned(), Estimate { value, stderr })
        };
        TaskReport {
            task: name.to_owned(),
            extras: Extras::default(),
            split: String::new(),
            num_fewshot: 0,
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
            num_fewshot: 2,
            fewshot_seed: 9,
            splits: Vec::new(),
            tokenization: Tokenization::default(),
        });
        report.tasks = vec![
            task(
                "piqa",
                1838,
                &[("acc", 0.5, Some(0.03)), ("acc_norm", 0.6, Some(0.04))],
            ),
            task("boolq", 3270, &[("acc", 0.7, Some(0.04))]),
        ];
        report.tasks[0].extras.margin = Some(Estimate {
            value: -1.25,
            stderr: None,
        });
        let mean = |with_boolq, value| Mean {
            over: "tasks".into(),
            metric: "acc".into(),
            with_boolq,
            tasks: 1 + usize::from(with_boolq),
            value,
            stderr: 0.025,
            low: 0.55,
            high: 0.65,
        };
        report.means = vec![mean(true, 0.6), mean(false, 0.5)];
        let expected = "\
task           examples         acc    acc_norm  paper  bits/byte     margin  chance
------------------------------------------------------------------------------------
piqa*          100/1838  50.0 ± 3.0  60.0 ± 4.0      -          -  -1.25 ± ?    25.0
boolq          100/3270  70.0 ± 4.0           -      -          -          -    25.0
------------------------------------------------------------------------------------
mean            2 tasks  60.0 ± 2.5           -      -
without boolq   1 tasks  50.0 ± 2.5           -      -
mean of 2 tasks, acc: 60.0, 95 % interval 55.0 to 65.0
mean of 1 tasks, without boolq, acc: 50.0, 95 % interval 55.0 to 65.0
* fixture: a slice shipped for tests, not the benchmark
2 examples before each question, drawn with seed 9
warning: boolq: look
";
        assert_eq!(report.to_string(), expected);
    }

    #[test]
    fn the_list_names_every_task() {
        let table = task_table(&[]).unwrap();
        assert_eq!(table.lines().count(), tasks::GROUPS.len() + 2 + 19 + 1);
        assert!(table.contains("10042") && table.contains("blimp (67)"));
        let blimp = task_table(&["blimp".to_owned()]).unwrap();
        assert_eq!(blimp.lines().count(), 1 + 67);
        assert!(task_table(&["blimb".to_owned()]).is_err());
    }
}
