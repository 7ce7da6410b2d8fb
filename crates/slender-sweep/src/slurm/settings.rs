//! `[slurm]`: what a cluster wants to be told.

use serde::{Deserialize, Serialize};
use slender_config::sweep::{read_section, read_toml};
use slender_config::{ConfigError, Merged, Origin, Problem};
use std::path::Path;

/// The `[slurm]` table of a `sweep.toml`, or a file of its own given with `--slurm`.
///
/// What is left out is left to the cluster's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SlurmSettings {
    /// Partition, or several separated by commas.
    pub partition: Option<String>,
    /// Account to charge.
    pub account: Option<String>,
    /// Quality of service.
    pub qos: Option<String>,
    /// Generic resources of one run, such as `gpu:1`.
    pub gres: Option<String>,
    /// Time limit of one job, such as `2:00:00` or `1-12`. With `requeue`, a run may take many.
    pub time: Option<String>,
    /// Memory of one run, such as `16G`.
    pub mem: Option<String>,
    /// CPU cores of one run.
    pub cpus: Option<u32>,
    /// Node features, such as `a100|h100`.
    pub constraint: Option<String>,
    /// Runs at the same time; all that the cluster allows if left out.
    pub throttle: Option<u32>,
    /// Jobs go back into the queue after preemption, a node's death or their time limit.
    pub requeue: bool,
    /// Seconds before the time limit at which a run is told to write its checkpoint. Slurm may tell
    /// it up to a minute earlier.
    pub signal_before: u32,
    /// Shell lines before the program, such as `module load cuda`.
    pub setup: Vec<String>,
    /// Further `sbatch` options, such as `--exclude=node7`.
    pub sbatch: Vec<String>,
}

impl Default for SlurmSettings {
    fn default() -> Self {
        Self {
            partition: None,
            account: None,
            qos: None,
            gres: None,
            time: None,
            mem: None,
            cpus: None,
            constraint: None,
            throttle: None,
            requeue: true,
            signal_before: 120,
            setup: Vec::new(),
            sbatch: Vec::new(),
        }
    }
}

impl SlurmSettings {
    /// Reads the `[slurm]` table of a TOML file, or the whole file if it has no tables.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, has other tables and none of this name, or has a key or a
    /// value that is not sound.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let merged = read_toml(path)?;
        if merged.table.contains_key("slurm") {
            return Self::of(&merged);
        }
        if merged.table.values().any(toml::Value::is_table) {
            let known: Vec<&str> = merged.table.keys().map(String::as_str).collect();
            return Err(ConfigError::Invalid(vec![Problem {
                origin: Some(Origin::File {
                    file: path.to_owned(),
                    line: 1,
                }),
                key: "slurm".into(),
                message: format!("there is no such table, only {}", known.join(", ")),
                hint: Some("head Slurm's settings with [slurm]".into()),
            }]));
        }
        Self::section(&merged, "")
    }

    /// The `[slurm]` table of a sweep file; the defaults without one.
    ///
    /// # Errors
    /// A key or a value that is not sound.
    pub fn of(merged: &Merged) -> Result<Self, ConfigError> {
        Self::section(merged, "slurm")
    }

    fn section(merged: &Merged, name: &str) -> Result<Self, ConfigError> {
        let settings: Self = read_section(merged, name)?.unwrap_or_default();
        let found = settings.check();
        if found.is_empty() {
            return Ok(settings);
        }
        let problem = |(key, message, hint): (&str, String, &str)| {
            let key = match name {
                "" => key.to_owned(),
                name => format!("{name}.{key}"),
            };
            Problem {
                origin: merged.origin(&key),
                key,
                message,
                hint: Some(hint.to_owned()),
            }
        };
        let problems = found.into_iter().map(problem).collect();
        Err(ConfigError::Invalid(problems))
    }

    /// What `sbatch` would misread without a word, or refuse when the sweep is written already: key,
    /// problem and hint.
    fn check(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut found = Vec::new();
        let odd = |line: &&String| !line.trim_start().starts_with('-');
        if let Some(odd) = self.sbatch.iter().find(odd) {
            found.push((
                "sbatch",
                format!("`{odd}` is no option"),
                "write it with its dashes, such as \"--exclude=node7\"",
            ));
        }
        for (key, value) in self.named() {
            let empty = |value: &String| value.trim().is_empty() || value.contains('\n');
            if value.as_ref().is_some_and(empty) {
                let message = "needs a value of one line".to_owned();
                found.push((key, message, "leave the key out for the cluster's default"));
            } else if key == "time"
                && let Some(time) = value
                && !is_time(time)
            {
                found.push((
                    key,
                    format!("`{time}` is no time limit"),
                    "write minutes (\"90\"), \"hours:minutes:seconds\" (\"1:30:00\") or \"days-hours\" (\"1-12\")",
                ));
            }
        }
        for (key, number) in [("throttle", self.throttle), ("cpus", self.cpus)] {
            if number == Some(0) {
                found.push((key, "is at least 1".into(), "write 1 or more"));
            }
        }
        found
    }

    /// The keys that are options of `sbatch` word for word.
    fn named(&self) -> [(&'static str, &Option<String>); 7] {
        [
            ("partition", &self.partition),
            ("account", &self.account),
            ("qos", &self.qos),
            ("gres", &self.gres),
            ("time", &self.time),
            ("mem", &self.mem),
            ("constraint", &self.constraint),
        ]
    }

    /// The options of `sbatch`, without the array.
    pub(crate) fn options(&self) -> Vec<String> {
        let mut options: Vec<String> = self
            .named()
            .into_iter()
            .filter_map(|(name, value)| Some(format!("--{name}={}", value.as_ref()?)))
            .collect();
        options.extend(self.cpus.map(|cpus| format!("--cpus-per-task={cpus}")));
        if self.requeue {
            options.push("--requeue".into());
        } else {
            options.push("--no-requeue".into());
        }
        // To the batch shell, which the program has replaced by the time it comes.
        options.push(format!("--signal=B:USR1@{}", self.signal_before));
        options.extend(self.sbatch.iter().map(|option| option.trim().to_owned()));
        options
    }
}

/// A time limit as Slurm reads it: `minutes`, `minutes:seconds`, `hours:minutes:seconds`, each of the
/// latter two also after `days-`, where the first number is of hours; or without limit.
fn is_time(text: &str) -> bool {
    let text = text.trim();
    if ["UNLIMITED", "INFINITE"]
        .iter()
        .any(|word| text.eq_ignore_ascii_case(word))
    {
        return true;
    }
    let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (days, rest) = match text.split_once('-') {
        Some((days, rest)) => (Some(days), rest),
        None => (None, text),
    };
    days.is_none_or(number) && rest.split(':').count() <= 3 && rest.split(':').all(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T>(text: &str, read: impl Fn(&Path) -> T) -> T {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.toml");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    fn load(text: &str) -> Result<SlurmSettings, String> {
        written(text, SlurmSettings::load).map_err(|error| error.to_string())
    }

    fn read(text: &str) -> Merged {
        written(text, read_toml).unwrap()
    }

    #[test]
    fn a_table_a_file_or_nothing() {
        let bare = load("partition = \"gpu\"\ncpus = 4\n").unwrap();
        assert_eq!(
            (bare.partition.as_deref(), bare.cpus),
            (Some("gpu"), Some(4))
        );
        let table = load("[sweep]\nname = \"x\"\n[slurm]\npartition = \"gpu\"\ncpus = 4\n");
        assert_eq!(table.unwrap(), bare);
        let other = load("[slrum]\ncpus = 4\n").unwrap_err();
        assert!(other.contains("no such table, only slrum"), "{other}");
        let file = read("[sweep]\nname = \"x\"\n");
        assert_eq!(SlurmSettings::of(&file).unwrap(), SlurmSettings::default());
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = load("[slurm]\npartitions = \"gpu\"\n").unwrap_err();
        assert!(
            unknown.contains("cluster.toml:2: `slurm.partitions`: unknown key\n  hint: did you mean `slurm.partition`?"),
            "{unknown}"
        );
        let kind = load("cpus = 1\nmem = 16\n").unwrap_err();
        assert!(kind.contains("cluster.toml:2: `mem`: "), "{kind}");
        let odd = load("sbatch = [\"exclude=node7\"]\n").unwrap_err();
        assert!(
            odd.contains("cluster.toml:1: `sbatch`: `exclude=node7`") && odd.contains("hint:"),
            "{odd}"
        );
        assert!(load("throttle = 0\n").is_err() && load("qos = \"\"\n").is_err());
        for time in [
            "90",
            "90:30",
            "2:00:00",
            "1-12",
            "1-12:30",
            "1-12:30:15",
            "unlimited",
        ] {
            assert!(load(&format!("time = \"{time}\"\n")).is_ok(), "{time}");
        }
        for time in ["2h", "1:2:3:4", "1-", "-2", "1:", "two"] {
            let said = load(&format!("cpus = 1\ntime = \"{time}\"\n")).unwrap_err();
            assert!(
                said.contains("cluster.toml:2: `time`: ") && said.contains("hint: write minutes"),
                "{said}"
            );
        }
    }
}
