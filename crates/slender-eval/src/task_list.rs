//! The tasks and groups themselves: the table of `slender eval list` and the same as JSON.

use serde_json::{Value, json};

use crate::error::EvalError;
use crate::tasks::{self, Metric, Paper, Shots};

/// Name and version of [`task_list`]'s JSON.
const FORMAT: &str = "slender-eval-list/1";

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

/// The groups and tasks as JSON, in the form `slender-eval-list/1`.
///
/// # Errors
/// A name that is neither task nor group.
pub fn task_list(names: &[String]) -> Result<Value, EvalError> {
    let chosen = match names {
        [] => tasks::list().to_vec(),
        names => tasks::find_all(names)?,
    };
    let shots = |shots| match shots {
        Shots::Never => Value::Null,
        Shots::Own => json!("own"),
        Shots::Train | Shots::TrainOthers => json!("train"),
    };
    let paper = |paper| match paper {
        Paper::Characters => json!("characters"),
        Paper::Plain => json!("plain"),
        Paper::AfterAnswer => json!("after Answer:"),
        Paper::None => Value::Null,
    };
    let tasks: Vec<Value> = chosen
        .iter()
        .map(|task| {
            let metrics: Vec<&str> = task.metrics.iter().map(|metric| metric.name()).collect();
            json!({
                "name": task.name,
                "title": task.title,
                "folder": task.folder,
                "file": task.file_of(task.split),
                "split": task.split,
                "examples": task.examples,
                "chance": task.chance,
                "version": task.version,
                "metrics": metrics,
                "shots": shots(task.shots),
                "paper": paper(task.paper),
                "fixture": task.fixture.is_some(),
                "hub": {"repo": task.hub.repo, "config": task.hub.config},
                "source": task.source,
            })
        })
        .collect();
    let groups: Vec<Value> = tasks::GROUPS
        .iter()
        .filter(|_| names.is_empty())
        .map(|group| {
            let members = tasks::list().iter().filter(|task| group.holds(task));
            let members: Vec<&str> = members.map(|task| task.name).collect();
            json!({"name": group.name, "about": group.about, "tasks": members})
        })
        .collect();
    Ok(json!({"format": FORMAT, "groups": groups, "tasks": tasks}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_every_task() {
        let table = task_table(&[]).unwrap();
        assert_eq!(table.lines().count(), tasks::GROUPS.len() + 2 + 19 + 1);
        assert!(table.contains("10042") && table.contains("blimp (67)"));
        let blimp = task_table(&["blimp".to_owned()]).unwrap();
        assert_eq!(blimp.lines().count(), 1 + 67);
        assert!(task_table(&["blimb".to_owned()]).is_err());
    }

    #[test]
    fn the_list_is_json_too() {
        let all = task_list(&[]).unwrap();
        assert_eq!(all["tasks"].as_array().unwrap().len(), 19 + 67);
        assert_eq!(all["groups"][1]["tasks"].as_array().unwrap().len(), 67);
        let one = task_list(&["winogrande".to_owned()]).unwrap();
        assert_eq!(one["tasks"][0]["examples"], 1267);
        assert_eq!(one["tasks"][0]["paper"], "plain");
        assert!(task_list(&["blimb".to_owned()]).is_err());
    }
}
