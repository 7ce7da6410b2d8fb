//! RACE: questions on texts of English examinations in Chinese schools, four choices.
//!
//! Three tasks. `race` is the harness's: one example for each article of the high-school part, its last
//! question, after the other questions with their answers. `race_middle` and `race_high` ask every question of
//! a part after the article alone, the way papers report RACE; the harness has no such task, and the prompt
//! `Article: …\\n\\nQuestion: …\\nAnswer:` is ours.
//!
//! Rows come in three forms: the original files (an article with lists of questions), the hub's copy that the
//! harness reads (the list of problems as Python source), and one question a row.

use super::{HubSource, Metric, Output, Paper, Read, Shots, Task, no_caveat};
use crate::error::EvalError;
use crate::example::Example;
use crate::row::Row;

/// The harness's task.
pub(super) static HARNESS: Task = Task {
    name: "race",
    title: "RACE",
    folder: "race",
    split: "test",
    file: Some("test_high.jsonl"),
    output: Output::Choice,
    hub: HubSource {
        repo: "EleutherAI/race",
        config: Some("high"),
    },
    examples: 1045,
    chance: 0.25,
    version: 3.0,
    metrics: &[Metric::Acc],
    source: "RACE, Lai et al. 2017 (arXiv:1704.04683), non-commercial research only",
    fields: "article, and problems, or questions, options and answers",
    fixture: None,
    read: Read::One(read_last),
    paper: Paper::None,
    shots: Shots::Own,
    caveat: no_caveat,
};

/// Every question of the middle-school part.
pub(super) static MIDDLE: Task = Task {
    name: "race_middle",
    title: "RACE-m",
    folder: "race",
    split: "test",
    file: Some("test_middle.jsonl"),
    output: Output::Choice,
    hub: HubSource {
        repo: "ehovy/race",
        config: Some("middle"),
    },
    examples: 1436,
    chance: 0.25,
    version: 1.0,
    metrics: &[Metric::Acc, Metric::AccNorm],
    source: "RACE, Lai et al. 2017 (arXiv:1704.04683), non-commercial research only",
    fields: "article, and questions, options and answers, or question, options and answer",
    fixture: None,
    read: Read::Many(read_all),
    paper: Paper::Characters,
    shots: Shots::Never,
    caveat: no_caveat,
};

/// Every question of the high-school part.
pub(super) static HIGH: Task = Task {
    name: "race_high",
    title: "RACE-h",
    folder: "race",
    split: "test",
    file: Some("test_high.jsonl"),
    output: Output::Choice,
    hub: HubSource {
        repo: "ehovy/race",
        config: Some("high"),
    },
    examples: 3498,
    chance: 0.25,
    version: 1.0,
    metrics: &[Metric::Acc, Metric::AccNorm],
    source: "RACE, Lai et al. 2017 (arXiv:1704.04683), non-commercial research only",
    fields: "article, and questions, options and answers, or question, options and answer",
    fixture: None,
    read: Read::Many(read_all),
    paper: Paper::Characters,
    shots: Shots::Never,
    caveat: no_caveat,
};

/// A question with its four options.
struct Problem {
    question: String,
    options: Vec<String>,
    gold: usize,
}

impl Problem {
    fn answer(&self) -> &str {
        &self.options[self.gold]
    }
}

fn read_last(row: &Row<'_>) -> Result<Example, EvalError> {
    let mut problems = problems(row)?;
    let last = problems
        .pop()
        .ok_or_else(|| row.bad("questions", "is empty"))?;
    let mut context = format!("Article: {}\n\n", row.text("article")?);
    for problem in &problems {
        // A gap at the end of a sentence is filled; everything else is a question with its answer.
        let gap = problem.question.strip_suffix("  _  .");
        context += &match gap {
            Some(_) => {
                let kept = problem.question.len() - "  _  .".len() + 1;
                format!("{}{}\n", &problem.question[..kept], problem.answer())
            }
            None => format!(
                "Question: {}\nAnswer: {}\n",
                problem.question,
                problem.answer()
            ),
        };
    }
    context += &last.question;
    Ok(Example::shared(
        row.id("id"),
        context,
        last.options,
        last.gold,
    ))
}

fn read_all(row: &Row<'_>) -> Result<Vec<Example>, EvalError> {
    let article = row.text("article")?;
    let id = row.id("id").or_else(|| row.id("example_id"));
    let example = |problem: Problem| {
        let context = format!(
            "Article: {article}\n\nQuestion: {}\nAnswer:",
            problem.question
        );
        Example::shared(id.clone(), context, problem.options, problem.gold)
    };
    Ok(problems(row)?.into_iter().map(example).collect())
}

fn problems(row: &Row<'_>) -> Result<Vec<Problem>, EvalError> {
    if row.get("problems").is_some() {
        let value = crate::pyliteral::parse(row.text("problems")?)
            .map_err(|message| row.bad("problems", message))?;
        let list = value
            .as_array()
            .ok_or_else(|| row.bad("problems", "is not a list"))?;
        return list
            .iter()
            .map(|value| single(&Row { value, ..*row }))
            .collect();
    }
    if row.get("questions").is_none() {
        return Ok(vec![single(row)?]);
    }
    let (questions, answers) = (row.strings("questions")?, row.strings("answers")?);
    let lists = row.get("options").and_then(serde_json::Value::as_array);
    let lists = lists.ok_or_else(|| row.bad("options", "is not a list"))?;
    if questions.len() != answers.len() || questions.len() != lists.len() {
        return Err(row.bad(
            "questions",
            "has another length than `answers` or `options`",
        ));
    }
    let rows = questions.iter().zip(&answers).zip(lists);
    rows.map(|((question, answer), options)| {
        let value = serde_json::json!({"question": question, "answer": answer, "options": options});
        single(&Row {
            value: &value,
            ..*row
        })
    })
    .collect()
}

fn single(row: &Row<'_>) -> Result<Problem, EvalError> {
    let mut options = row.texts("options")?;
    let answer = row.text("answer")?;
    let gold = ["A", "B", "C", "D"]
        .iter()
        .position(|letter| *letter == answer)
        .ok_or_else(|| row.bad("answer", format!("is {answer:?}, not a letter from A to D")))?;
    if options.len() < 4 {
        return Err(row.bad("options", "has fewer than four entries"));
    }
    options.truncate(4);
    Ok(Problem {
        question: row.text("question")?.to_owned(),
        options,
        gold,
    })
}
