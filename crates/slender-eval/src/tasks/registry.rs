//! Finding tasks and groups of tasks by name.

use std::sync::LazyLock;

use super::{
    Task, arc, blimp, boolq, commonsense_qa, copa, hellaswag, lambada, openbookqa, piqa, race,
    sciq, social_iqa, triviaqa, truthfulqa, wikitext, winogrande,
};
use crate::error::EvalError;

/// Tasks under one name.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// The name.
    pub name: &'static str,
    /// What is in it.
    pub about: &'static str,
    /// Whether the report gives the mean over its tasks.
    pub mean: bool,
    holds: fn(&Task) -> bool,
}

impl Group {
    /// Whether the task belongs to it.
    pub fn holds(&self, task: &Task) -> bool {
        (self.holds)(task)
    }
}

/// The eight tasks of the paper's tables (MobileLLM, Table 3), in its order.
pub const PAPER_TASKS: [&str; 8] = [
    "arc_easy",
    "arc_challenge",
    "boolq",
    "piqa",
    "social_iqa",
    "hellaswag",
    "openbookqa",
    "winogrande",
];

/// Every group.
pub static GROUPS: [Group; 3] = [
    Group {
        name: "paper",
        about: "the paper's eight zero-shot tasks",
        mean: false,
        holds: |task| PAPER_TASKS.contains(&task.name),
    },
    Group {
        name: "blimp",
        about: "67 sub-tasks of minimal pairs and their mean",
        mean: true,
        holds: |task| task.name.starts_with("blimp_"),
    },
    Group {
        name: "all",
        about: "every task",
        mean: false,
        holds: |_| true,
    },
];

/// The group whose mean a task counts in.
pub fn group_of(task: &str) -> Option<&'static Group> {
    GROUPS
        .iter()
        .find(|group| group.mean && find(task).is_ok_and(|task| group.holds(task)))
}

/// Every task, the paper's first and in its order.
pub fn list() -> &'static [&'static Task] {
    static TASKS: LazyLock<Vec<&'static Task>> = LazyLock::new(|| {
        let mut tasks: Vec<&'static Task> = vec![
            &arc::EASY,
            &arc::CHALLENGE,
            &boolq::TASK,
            &piqa::TASK,
            &social_iqa::TASK,
            &hellaswag::TASK,
            &openbookqa::TASK,
            &winogrande::TASK,
            &race::HARNESS,
            &race::MIDDLE,
            &race::HIGH,
            &triviaqa::TASK,
            &lambada::TASK,
            &sciq::TASK,
            &copa::TASK,
            &commonsense_qa::TASK,
            &truthfulqa::MC1,
            &truthfulqa::MC2,
            &wikitext::TASK,
        ];
        tasks.extend(blimp::tasks());
        tasks
    });
    &TASKS
}

/// The task of this name.
///
/// # Errors
/// [`EvalError::UnknownTask`] with the nearest name.
pub fn find(name: &str) -> Result<&'static Task, EvalError> {
    if let Some(task) = list().iter().find(|task| task.name == name) {
        return Ok(task);
    }
    let given = name.to_lowercase();
    let similarity = |spellings: &[&str]| {
        spellings
            .iter()
            .map(|spelling| strsim::jaro_winkler(&given, spelling))
            .fold(0.0, f64::max)
    };
    let tasks = list().iter().map(|task| {
        let spellings = [task.name, task.folder, &task.title.to_lowercase()];
        (similarity(&spellings), task.name)
    });
    let groups = GROUPS
        .iter()
        .map(|group| (similarity(&[group.name]), group.name));
    // The first of equals: BLiMP's sub-tasks resemble one another, the group's name stands before them.
    let nearest = groups
        .chain(tasks)
        .fold(None, |best: Option<(f64, &str)>, next| match best {
            Some(best) if best.0 >= next.0 => Some(best),
            _ => Some(next),
        })
        .filter(|(similarity, _)| *similarity > 0.6)
        .map(|(_, name)| name);
    Err(EvalError::UnknownTask {
        name: name.to_owned(),
        nearest,
    })
}

/// The tasks of these names and groups, in the order given and each once.
///
/// # Errors
/// [`EvalError::NoTasks`] when there is none, [`EvalError::UnknownTask`] for the first unknown one.
pub fn find_all<S: AsRef<str>>(names: &[S]) -> Result<Vec<&'static Task>, EvalError> {
    let mut found: Vec<&'static Task> = Vec::new();
    for name in names {
        let name = name.as_ref().trim();
        let members: Vec<&'static Task> = match GROUPS.iter().find(|group| group.name == name) {
            Some(group) => list().iter().copied().filter(|t| group.holds(t)).collect(),
            None => vec![find(name)?],
        };
        for task in members {
            if !found.iter().any(|other| other.name == task.name) {
                found.push(task);
            }
        }
    }
    if found.is_empty() {
        return Err(EvalError::NoTasks);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_found() {
        for task in list() {
            assert_eq!(find(task.name).unwrap().name, task.name);
        }
        assert_eq!(list().len(), 19 + 67);
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_nearest() {
        let error = find("siqa").unwrap_err().to_string();
        assert!(error.contains("did you mean `social_iqa`?"), "{error}");
        let error = find("ARC_esay").unwrap_err().to_string();
        assert!(error.contains("did you mean `arc_easy`?"), "{error}");
        let error = find("zzzz").unwrap_err().to_string();
        assert!(!error.contains("did you mean"), "{error}");
        assert!(error.contains("hint:"), "{error}");
    }

    #[test]
    fn tasks_are_listed_once_in_the_order_given() {
        let names: Vec<_> = find_all(&["piqa", " boolq", "piqa"])
            .unwrap()
            .iter()
            .map(|task| task.name)
            .collect();
        assert_eq!(names, ["piqa", "boolq"]);
        let paper: Vec<&str> = find_all(&["paper"])
            .unwrap()
            .iter()
            .map(|t| t.name)
            .collect();
        assert_eq!(paper, PAPER_TASKS);
        assert_eq!(find_all(&["blimp", "blimp_wh_island"]).unwrap().len(), 67);
        assert_eq!(group_of("blimp_wh_island").unwrap().name, "blimp");
        assert!(group_of("piqa").is_none());
        assert!(matches!(find_all::<&str>(&[]), Err(EvalError::NoTasks)));
    }
}
