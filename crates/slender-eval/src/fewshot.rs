//! Few-shot prompts with the harness's sampling: for a seed, the same examples in the same order.
//!
//! The harness draws with Python's `random.Random(seed).sample`, one draw for each example in the order of the
//! split, so what an example sees depends on its place and not on how many are scored. Tasks with a test split
//! draw as many as asked for; tasks that are scored on validation draw one more and drop what equals the
//! example. Both rules are its code's, kept for equal numbers.

use crate::data::{Altered, DataSource, TaskData};
use crate::error::EvalError;
use crate::example::{Contexts, Example};
use crate::python_random::PythonRandom;
use crate::tasks::{Output, Shots, Task};

/// The harness's default seed.
pub const DEFAULT_SEED: u32 = 1234;

/// Between the examples of a prompt, and before the question.
const DELIMITER: &str = "\n\n";

/// The number of examples in the prompts of `task` when `shots` are asked for: none where the prompt is fixed.
pub fn shots_of(task: &Task, shots: usize) -> usize {
    if task.shots == Shots::Never { 0 } else { shots }
}

/// Puts `shots` examples before each of the first `count` examples of `data`; gives back the split they were
/// drawn from, where it is not the scored one.
///
/// # Errors
/// The split to draw from is missing, has too few examples, or is not the published one and `altered` says to
/// refuse that.
pub fn add_shots(
    task: &'static Task,
    data: &mut TaskData,
    source: &DataSource,
    shots: usize,
    seed: u32,
    count: usize,
    altered: Altered,
) -> Result<Option<TaskData>, EvalError> {
    let shots = shots_of(task, shots);
    if shots == 0 {
        return Ok(None);
    }
    let pool = match task.shots {
        Shots::Own | Shots::Never => None,
        Shots::Train | Shots::TrainOthers => {
            if *source == DataSource::Builtin {
                return Err(EvalError::Shots {
                    task: task.name,
                    problem: "the shipped slices have no train split for few-shot examples\n  hint: take the data from the hub or a --data-dir with train.jsonl".into(),
                });
            }
            Some(TaskData::load_pool(task, source, altered)?)
        }
    };
    let prefixes = prefixes(
        task,
        data,
        pool.as_ref().unwrap_or(data),
        shots,
        seed,
        count,
    )?;
    let examples = std::mem::take(&mut data.examples).into_iter();
    let examples = examples.zip(
        prefixes
            .iter()
            .map(String::as_str)
            .chain(std::iter::repeat("")),
    );
    data.examples = examples
        .map(|(example, prefix)| example.after(prefix))
        .collect();
    Ok(pool)
}

fn prefixes(
    task: &'static Task,
    data: &TaskData,
    pool: &TaskData,
    shots: usize,
    seed: u32,
    count: usize,
) -> Result<Vec<String>, EvalError> {
    let others = task.shots == Shots::TrainOthers;
    let n = pool.examples.len();
    if n < shots + usize::from(others) {
        return Err(EvalError::Shots {
            task: task.name,
            problem: format!(
                "{shots} few-shot examples asked for, {} has {n}",
                pool.origin
            ),
        });
    }
    let texts: Vec<String> = pool
        .examples
        .iter()
        .map(|e| shot(task, e) + DELIMITER)
        .collect();
    let mut random = PythonRandom::new(seed);
    let draw = |row: &serde_json::Value| {
        let mut drawn = random.sample(n, shots + usize::from(others));
        if others {
            drawn.retain(|&i| pool.rows[i] != *row);
            drawn.truncate(shots);
            if drawn.len() < shots {
                let rest: Vec<usize> = (0..n).filter(|&i| pool.rows[i] != *row).collect();
                if rest.len() < shots {
                    return Err(EvalError::Shots {
                        task: task.name,
                        problem: format!(
                            "fewer than {shots} examples of {} differ from an example",
                            pool.origin
                        ),
                    });
                }
                drawn = random
                    .sample(rest.len(), shots)
                    .into_iter()
                    .map(|i| rest[i])
                    .collect();
            }
        }
        Ok(drawn.into_iter().map(|i| texts[i].as_str()).collect())
    };
    data.rows.iter().take(count).map(draw).collect()
}

/// An example with its answer, as it stands in a prompt.
fn shot(task: &Task, example: &Example) -> String {
    match task.output {
        Output::Answer => {
            let alias = example.choices.first().map_or("", String::as_str);
            format!("{} {alias}", example.context(0))
        }
        // The harness's target begins with a space and is put after another one.
        Output::Continuation => format!("{} {}", example.context(0), example.continuations[0]),
        _ => {
            let context = match &example.contexts {
                Contexts::Shared(context) => context,
                Contexts::PerChoice(contexts) => &contexts[example.gold],
            };
            format!("{context}{}", example.continuations[example.gold])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tasks;

    fn lines(task: &str, n: usize) -> TaskData {
        let task = tasks::find(task).unwrap();
        let rows: Vec<_> = task
            .fixture
            .unwrap()
            .lines()
            .take(n)
            .enumerate()
            .map(|(i, line)| (i + 1, serde_json::from_str(line).unwrap()))
            .collect();
        TaskData::from_rows(task, &rows, "x".into(), String::new(), false).unwrap()
    }

    #[test]
    fn an_example_is_not_shown_its_own_answer_where_the_harness_sees_to_it() {
        let task = tasks::find("piqa").unwrap();
        let data = lines("piqa", 30);
        let prefixes = prefixes(task, &data, &data, 5, DEFAULT_SEED, 30).unwrap();
        for (example, prefix) in data.examples.iter().zip(&prefixes) {
            assert_eq!(prefix.matches(DELIMITER).count(), 5);
            assert!(!prefix.contains(&shot(task, example)));
            assert!(prefix.contains("Answer: "));
        }
    }

    #[test]
    fn prompts_depend_on_the_seed_and_not_on_the_count() {
        let task = tasks::find("piqa").unwrap();
        let data = lines("piqa", 30);
        let of = |seed, count| prefixes(task, &data, &data, 2, seed, count).unwrap();
        assert_eq!(of(1, 30)[..10], of(1, 10));
        assert_ne!(of(1, 30), of(2, 30));
    }

    #[test]
    fn too_few_examples_and_fixed_prompts_are_told() {
        let task = tasks::find("piqa").unwrap();
        let data = lines("piqa", 3);
        let error = prefixes(task, &data, &data, 3, 1, 3)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("3 few-shot examples asked for, x has 3"),
            "{error}"
        );
        assert_eq!(shots_of(tasks::find("blimp_wh_island").unwrap(), 5), 0);
        let mut data = lines("piqa", 3);
        let error = add_shots(
            task,
            &mut data,
            &DataSource::Builtin,
            1,
            1,
            3,
            Altered::Report,
        )
        .unwrap_err();
        assert!(error.to_string().contains("no train split"), "{error}");
    }
}
