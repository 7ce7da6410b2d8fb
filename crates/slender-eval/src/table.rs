//! The report as a table for people: percent with standard errors, chance beside them.

use std::fmt;

use crate::means::Mean;
use crate::metrics::Estimate;
use crate::report::{EvalReport, TaskReport};
use crate::tasks::{self, Group, Metric};

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
            task.metric(Metric::Acc.name()).is_some()
                && !tasks::group_of(&task.task).is_some_and(|group| self.is_whole(group))
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
        let n = self.mean_of(over, "acc", with_boolq)?;
        let has_boolq = self.mean_of(over, "acc", true).is_some();
        let name = match (over, with_boolq) {
            ("tasks", false) if has_boolq => "without boolq".to_owned(),
            ("tasks", _) => "mean".to_owned(),
            _ => n.label(),
        };
        Some([
            name,
            match self.slice_of(n) {
                Some(slice) => format!("{} tasks, {slice}", n.tasks),
                None => format!("{} tasks", n.tasks),
            },
            percent(mean("acc")),
            percent(mean("acc_norm")),
            percent(mean("paper")),
            plain(mean("bits_per_byte"), 2),
            plain(mean("margin"), 2),
            String::new(),
        ])
    }

    /// Whether every task of the group was run.
    fn is_whole(&self, group: &Group) -> bool {
        let mut members = tasks::list().iter().filter(|task| group.holds(task));
        members.all(|task| self.task(task.name).is_some())
    }

    /// `201/67000` where the tasks of a group's mean were not scored in full; those of other means say so in
    /// their own lines.
    fn slice_of(&self, mean: &Mean) -> Option<String> {
        let members = self.tasks.iter().filter(|task| {
            tasks::group_of(&task.task).is_some_and(|group| group.name == mean.over)
        });
        let (examples, published) = members.fold((0, 0), |(examples, published), task| {
            (examples + task.examples, published + task.published)
        });
        (examples < published).then(|| format!("{examples}/{published}"))
    }

    fn write_means(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shares = |mean: &&Mean| !["bits_per_byte", "margin"].contains(&mean.metric.as_str());
        for mean in self.means.iter().filter(shares) {
            let boolq = match (mean.over.as_str(), mean.with_boolq) {
                ("tasks", false) if self.mean_of("tasks", "acc", true).is_some() => {
                    ", without boolq"
                }
                _ => "",
            };
            let over = match (mean.over.as_str(), mean.group) {
                ("tasks", _) => format!("mean of {} tasks", mean.tasks),
                (over, Some(all)) if mean.tasks < all => {
                    format!("mean of {} of {over}'s {all} tasks", mean.tasks)
                }
                (over, _) => format!("{over} of {} tasks", mean.tasks),
            };
            let slice = self
                .slice_of(mean)
                .map_or_else(String::new, |slice| format!(", {slice} examples"));
            writeln!(
                f,
                "{over}{slice}{boolq}, {}: {:.1}, 95 % interval {:.1} to {:.1}",
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
            digest: String::new(),
            content: crate::Content::default(),
            pool: None,
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
            engine: String::new(),
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
            group: None,
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
mean            2 tasks  60.0 ± 2.5           -      -          -          -
without boolq   1 tasks  50.0 ± 2.5           -      -          -          -
mean of 2 tasks, acc: 60.0, 95 % interval 55.0 to 65.0
mean of 1 tasks, without boolq, acc: 50.0, 95 % interval 55.0 to 65.0
* fixture: a slice shipped for tests, not the benchmark
2 examples before each question, drawn with seed 9
warning: boolq: look
";
        assert_eq!(report.to_string(), expected);
    }

    /// A report of BLiMP's sub-tasks of these places, three examples each.
    fn blimp(places: std::ops::Range<usize>) -> String {
        use crate::fake::{CharTokenizer, HashModel};
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("blimp")).unwrap();
        let all = tasks::find_all(&["blimp"]).unwrap();
        for task in &all[places.clone()] {
            let rows: String = (0..3)
                .map(|i| format!("{{\"sentence_good\":\"a {i}\",\"sentence_bad\":\"b {i}\"}}\n"))
                .collect();
            let file = dir.path().join("blimp").join(task.file_of(task.split));
            std::fs::write(file, rows).unwrap();
        }
        let options = crate::EvalOptions {
            data: crate::DataSource::Dir(dir.path().to_owned()),
            ..crate::EvalOptions::default()
        };
        let mut model = HashModel::new(64);
        let chosen = &all[places];
        crate::evaluate(&mut model, &CharTokenizer, chosen, &options, &mut |_| {})
            .unwrap()
            .to_string()
    }

    #[test]
    fn sub_tasks_are_shown_unless_the_whole_group_was_run() {
        let one = blimp(0..1);
        assert!(
            one.lines()
                .nth(2)
                .unwrap()
                .starts_with("blimp_adjunct_island"),
            "{one}"
        );
        let two = blimp(0..2);
        let line = |text: &str, start: &str| {
            let found = text.lines().find(|line| line.starts_with(start));
            found
                .unwrap_or_else(|| panic!("{start}: {text}"))
                .to_owned()
        };
        assert!(two.contains("blimp_adjunct_island") && two.contains("blimp_anaphor_gender"));
        let row = line(&two, "2 of blimp's 67");
        assert!(
            row.contains("2 tasks, 6/2000") && row.matches('±').count() == 4,
            "{row}"
        );
        assert!(
            two.contains("mean of 2 of blimp's 67 tasks, 6/2000 examples, acc:"),
            "{two}"
        );
        let all = blimp(0..67);
        assert!(!all.lines().any(|line| line.starts_with("blimp_")), "{all}");
        assert!(
            line(&all, "blimp ").contains("67 tasks, 201/67000"),
            "{all}"
        );
        assert!(
            all.contains("blimp of 67 tasks, 201/67000 examples, acc:"),
            "{all}"
        );
    }
}
