//! Looking at examples: what was asked, what each model chose, and how sure it was.

use std::collections::HashMap;
use std::fmt::Write;

use serde_json::{Value, json};

use crate::error::EvalError;
use crate::records::ExampleRecord;

/// Which examples are shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only these tasks; all if empty.
    pub tasks: Vec<String>,
    /// Only this example of each task.
    pub doc_id: Option<usize>,
    /// Only what the (first) model got wrong.
    pub wrong: bool,
    /// At most so many.
    pub limit: usize,
}

impl Filter {
    fn takes(&self, record: &ExampleRecord) -> bool {
        (self.tasks.is_empty() || self.tasks.contains(&record.task))
            && self.doc_id.is_none_or(|doc_id| doc_id == record.doc_id)
            && !(self.wrong && record.right)
    }
}

/// Examples of one model, for people.
pub fn show(records: &[ExampleRecord], filter: &Filter) -> String {
    let mut text = String::new();
    let chosen: Vec<&ExampleRecord> = records.iter().filter(|r| filter.takes(r)).collect();
    for record in chosen.iter().take(filter.limit) {
        head(&mut text, record);
        answers(&mut text, &[("", record)]);
    }
    rest(&mut text, chosen.len(), filter.limit);
    text
}

/// Examples where two models differ in being right, for people; with `doc_id` also where they agree.
///
/// # Errors
/// As [`crate::compare()`], which finds out whether they saw the same examples.
pub fn show_differences(
    a: &[ExampleRecord],
    b: &[ExampleRecord],
    filter: &Filter,
) -> Result<String, EvalError> {
    let mut text = String::new();
    let pairs = differing(a, b, filter)?;
    for (a, b) in pairs.iter().take(filter.limit) {
        head(&mut text, a);
        answers(&mut text, &[("a", a), ("b", b)]);
    }
    rest(&mut text, pairs.len(), filter.limit);
    Ok(text)
}

/// The pairs of examples that [`show_differences`] shows.
fn differing<'a>(
    a: &'a [ExampleRecord],
    b: &'a [ExampleRecord],
    filter: &Filter,
) -> Result<Vec<(&'a ExampleRecord, &'a ExampleRecord)>, EvalError> {
    crate::compare::check(("a", a), ("b", b))?;
    let others: HashMap<(&str, usize), &ExampleRecord> =
        b.iter().map(|r| ((r.task.as_str(), r.doc_id), r)).collect();
    let taken = a.iter().filter(|record| filter.takes(record));
    let pairs = taken.filter_map(|record| {
        let other = others.get(&(record.task.as_str(), record.doc_id))?;
        Some((record, *other))
    });
    let shown = pairs.filter(|(a, b)| filter.doc_id.is_some() || a.right != b.right);
    Ok(shown.collect())
}

/// The same examples as JSON, in the form `slender-eval-show/1`: `examples` are the records themselves, or with
/// a second model pairs of them under `a` and `b`; `found` counts those beyond the limit too.
///
/// # Errors
/// As [`show_differences`].
pub fn json(
    a: &[ExampleRecord],
    b: Option<&[ExampleRecord]>,
    filter: &Filter,
) -> Result<Value, EvalError> {
    let mut examples: Vec<Value> = match b {
        None => {
            let chosen = a.iter().filter(|record| filter.takes(record));
            chosen.map(|record| json!(record)).collect()
        }
        Some(b) => differing(a, b, filter)?
            .into_iter()
            .map(|(a, b)| json!({"a": a, "b": b}))
            .collect(),
    };
    let found = examples.len();
    examples.truncate(filter.limit);
    Ok(json!({"format": "slender-eval-show/1", "found": found, "examples": examples}))
}

fn head(text: &mut String, record: &ExampleRecord) {
    let id = record
        .id
        .as_ref()
        .map_or_else(String::new, |id| format!(" ({id})"));
    let _ = writeln!(text, "=== {} {}{id}", record.task, record.doc_id);
    if !record.prompt.is_empty() {
        let _ = writeln!(text, "{}", record.prompt);
    }
}

/// The choices with each model's numbers: `>` marks what it chose, `*` what is right.
fn answers(text: &mut String, models: &[(&str, &ExampleRecord)]) {
    let (_, first) = models[0];
    if first.generated.is_some() {
        for (name, record) in models {
            let answer = record.generated.as_deref().unwrap_or_default();
            let verdict = if record.right { "right" } else { "wrong" };
            let _ = writeln!(text, "  {name:<1} {answer:?}: {verdict}");
        }
        let _ = writeln!(text, "  accepted: {}\n", first.choices.join(" | "));
        return;
    }
    for i in 0..first.continuations.len() {
        let right = first
            .truths
            .as_ref()
            .map_or(i == first.gold, |truths| truths[i]);
        let mut line = format!("  {} ", if right { '*' } else { ' ' });
        for (name, record) in models {
            let value = record.log_likelihoods.get(i).copied().unwrap_or(f64::NAN);
            let n = record.characters.get(i).copied().unwrap_or(1).max(1) as f64;
            let mark = |chosen: usize, sign| {
                if chosen == i && first.choices.len() > 1 {
                    sign
                } else {
                    ' '
                }
            };
            let _ = write!(
                line,
                "{name}{} {value:9.3}{} {:7.3}/char   ",
                mark(record.chosen, '>'),
                mark(record.chosen_norm, '>'),
                value / n
            );
        }
        let shown = match &first.contexts {
            Some(contexts) => format!(
                "{}{}",
                &contexts[i][first.prompt.len()..],
                first.continuations[i]
            ),
            None => first.continuations[i].trim_start().to_owned(),
        };
        let _ = writeln!(text, "{line}{shown}");
    }
    let _ = writeln!(text);
}

fn rest(text: &mut String, found: usize, limit: usize) {
    if found > limit {
        let _ = writeln!(
            text,
            "{} more; see them with --limit {found}",
            found - limit
        );
    } else if found == 0 {
        let _ = writeln!(text, "no such example");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(doc_id: usize, chosen: usize) -> ExampleRecord {
        ExampleRecord {
            task: "piqa".into(),
            doc_id,
            prompt: format!("Question {doc_id}"),
            choices: vec!["left".into(), "right".into()],
            continuations: vec![" left".into(), " right".into()],
            log_likelihoods: vec![-1.0, -2.0],
            characters: vec![4, 5],
            gold: 1,
            chosen,
            chosen_norm: chosen,
            right: chosen == 1,
            ..ExampleRecord::default()
        }
    }

    #[test]
    fn differing_examples_are_shown_side_by_side() {
        let a: Vec<_> = (0..4).map(|i| record(i, 0)).collect();
        let b: Vec<_> = (0..4).map(|i| record(i, usize::from(i == 2))).collect();
        let filter = Filter {
            limit: 10,
            ..Filter::default()
        };
        let text = show_differences(&a, &b, &filter).unwrap();
        assert!(text.starts_with("=== piqa 2\nQuestion 2\n"), "{text}");
        assert_eq!(text.matches("===").count(), 1);
        assert!(
            text.contains("  * a     -2.000   -0.400/char   b>    -2.000>  -0.400/char   right"),
            "{text}"
        );
        let value = json(&a, Some(&b), &filter).unwrap();
        assert_eq!(value["found"], 1);
        assert_eq!(value["examples"][0]["b"]["chosen"], 1);
        let value = json(
            &a,
            None,
            &Filter {
                limit: 3,
                ..filter.clone()
            },
        )
        .unwrap();
        assert_eq!(
            (&value["found"], value["examples"].as_array().unwrap().len()),
            (&json!(4), 3)
        );
        let none = Filter {
            doc_id: Some(9),
            ..filter
        };
        assert_eq!(show(&a, &none), "no such example\n");
    }

    #[test]
    fn a_limit_says_how_many_more_there_are() {
        let a: Vec<_> = (0..4).map(|i| record(i, i % 2)).collect();
        let filter = Filter {
            wrong: true,
            limit: 1,
            ..Filter::default()
        };
        let text = show(&a, &filter);
        assert!(text.contains("=== piqa 0") && !text.contains("=== piqa 1"));
        assert!(
            text.ends_with("1 more; see them with --limit 2\n"),
            "{text}"
        );
    }
}
