//! Reading what `squeue`, `scontrol` and `sacct` print, of any version, and odd lines too.

use std::collections::BTreeMap;

/// An element of a job array; of a plain job, task 0 is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Element {
    /// Number of the array.
    pub array: String,
    /// Number within it.
    pub task: u32,
}

/// One line of the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// The element.
    pub element: Element,
    /// `PENDING`, `RUNNING`, ….
    pub state: String,
    /// Why it waits.
    pub reason: String,
    /// Name of the job.
    pub name: String,
}

/// States in which a job will do nothing more of itself. Any other, known or not, counts as live.
const OVER: [&str; 12] = [
    "COMPLETED",
    "CANCELLED",
    "FAILED",
    "TIMEOUT",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "BOOT_FAIL",
    "DEADLINE",
    "PREEMPTED",
    "REVOKED",
    "SPECIAL_EXIT",
    "LAUNCH_FAILED",
];

impl QueueEntry {
    /// Whether Slurm may still run it of itself.
    pub fn is_live(&self) -> bool {
        let word = self.state.split(' ').next().unwrap_or_default();
        !OVER.contains(&word) && !self.is_given_up()
    }

    /// Whether Slurm itself holds it and waits for an administrator: it could not be launched, as
    /// after a controller's death that left two copies, or was put back too often. A user's own hold
    /// is none of these, and is respected.
    pub fn is_given_up(&self) -> bool {
        let reason = self.reason.to_lowercase().replace('_', " ");
        let held = reason.contains("launch failed") || reason.contains("jobholdmaxrequeue");
        self.state.starts_with("PENDING") && held
    }
}

/// Lines of `squeue --format=%A|%F|%K|%T|%r|%j`: job, array, task, state, reason, name.
pub(crate) fn parse_queue(said: &str) -> Vec<QueueEntry> {
    let mut entries = Vec::new();
    for line in said.lines() {
        let fields: Vec<&str> = line.splitn(6, '|').map(str::trim).collect();
        let [_, array, tasks, state, reason, name] = fields[..] else {
            continue;
        };
        for task in expand(tasks) {
            entries.push(QueueEntry {
                element: Element {
                    array: array.to_owned(),
                    task,
                },
                state: state.to_owned(),
                reason: reason.to_owned(),
                name: name.to_owned(),
            });
        }
    }
    entries
}

/// Task numbers of `3`, `0-2,5%2`, `[0-8:4]` or, of a plain job, `N/A`.
fn expand(tasks: &str) -> Vec<u32> {
    let tasks = tasks.trim_matches(['[', ']']);
    let tasks = tasks.split('%').next().unwrap_or_default();
    let mut numbers = Vec::new();
    for part in tasks.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        if let (Ok(first), Ok(last), Ok(step)) = (
            first.parse::<u32>(),
            last.parse::<u32>(),
            step.parse::<usize>(),
        ) {
            // A broken line must not fill the memory.
            numbers.extend((first..=last).step_by(step.max(1)).take(1 << 22));
        }
    }
    if numbers.is_empty() { vec![0] } else { numbers }
}

/// Lines of `scontrol show job --oneliner`.
pub(crate) fn parse_jobs(said: &str) -> BTreeMap<Element, String> {
    let mut known = BTreeMap::new();
    for line in said.lines() {
        let field = |name: &str| {
            let mut words = line.split_whitespace();
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let (Some(array), Some(task), Some(state)) =
            (field("ArrayJobId"), field("ArrayTaskId"), field("JobState"))
        else {
            continue;
        };
        for task in expand(task) {
            let element = Element {
                array: array.to_owned(),
                task,
            };
            known.insert(
                element,
                describe(state, field("ExitCode").unwrap_or_default()),
            );
        }
    }
    known
}

/// Lines of `sacct --parsable2 --format=JobID,State,ExitCode`; of several the last counts.
pub(crate) fn parse_accounting(said: &str) -> BTreeMap<Element, String> {
    let mut known = BTreeMap::new();
    for line in said.lines() {
        let fields: Vec<&str> = line.split('|').map(str::trim).collect();
        let [id, state, code, ..] = fields[..] else {
            continue;
        };
        let (array, task) = id.split_once('_').unwrap_or((id, "0"));
        // Steps such as `12_3.batch` say less than their job.
        if task.contains('.') || array.contains('.') || array.parse::<u64>().is_err() {
            continue;
        }
        for task in expand(task) {
            let element = Element {
                array: array.to_owned(),
                task,
            };
            known.insert(element, describe(state, code));
        }
    }
    known
}

fn describe(state: &str, code: &str) -> String {
    match code {
        "" | "0:0" => state.to_owned(),
        code => format!("{state}, exit code {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_read_whatever_the_line() {
        let said = "13|12|3|RUNNING|None|slender-x-1.0\n\
                    12|12|4-5%2|PENDING|JobArrayTaskLimit|slender-x-1.0\n\
                    20|20|N/A|COMPLETING|None|bash | odd\n\
                    slurm_load_jobs error: Unable to contact slurm controller\n\
                    21|21|0|CANCELLED by 0|None|x\n22|22|0|SOMETHING_NEW|None|x\n\n";
        let entries = parse_queue(said);
        let tasks: Vec<(&str, u32)> = entries
            .iter()
            .map(|entry| (entry.element.array.as_str(), entry.element.task))
            .collect();
        assert_eq!(
            tasks,
            [
                ("12", 3),
                ("12", 4),
                ("12", 5),
                ("20", 0),
                ("21", 0),
                ("22", 0)
            ]
        );
        let live: Vec<bool> = entries.iter().map(QueueEntry::is_live).collect();
        assert_eq!(live, [true, true, true, true, false, true]);
        assert_eq!(entries[3].name, "bash | odd");
    }

    #[test]
    fn what_slurm_holds_itself_is_not_waited_for() {
        let live = |line: &str| parse_queue(line)[0].is_live();
        assert!(!live("1|1|7|PENDING|launch failed requeued held|x"));
        assert!(!live("1|1|7|PENDING|JobHoldMaxRequeue|x"));
        assert!(live("1|1|7|PENDING|JobHeldUser|x"));
        assert!(live("1|1|7|PENDING|Resources|x"));
        assert!(live("1|1|7|RUNNING|None|x"));
    }

    #[test]
    fn arrays_expand() {
        assert_eq!(expand("[0-2,5%2]"), [0, 1, 2, 5]);
        assert_eq!(expand("0-8:4"), [0, 4, 8]);
        assert_eq!(expand("N/A"), [0]);
        assert_eq!(expand("5-3"), [0]);
    }

    #[test]
    fn accounting_and_controller_agree_on_words() {
        let said = "12_0|COMPLETED|0:0\n12_1|CANCELLED by 0|0:15\n12_1.batch|CANCELLED|0:15\n\
                    12_2|NODE_FAIL|1:0\n12_2|REQUEUED|0:0\n12_[3-4%2]|PENDING|0:0\nnonsense\n";
        let known = parse_accounting(said);
        let of = |task| {
            known[&Element {
                array: "12".into(),
                task,
            }]
                .as_str()
        };
        assert_eq!(of(1), "CANCELLED by 0, exit code 0:15");
        assert_eq!((of(2), of(4)), ("REQUEUED", "PENDING"));
        let said = "JobId=13 ArrayJobId=12 ArrayTaskId=1 JobName=x JobState=TIMEOUT Reason=None ExitCode=0:15\n\
                    JobId=12 ArrayJobId=12 ArrayTaskId=2-3%2 JobState=PENDING\nJobId=9 JobState=RUNNING\n";
        let known = parse_jobs(said);
        assert_eq!(known.len(), 3);
        let first = &known[&Element {
            array: "12".into(),
            task: 1,
        }];
        assert_eq!(first, "TIMEOUT, exit code 0:15");
    }
}
