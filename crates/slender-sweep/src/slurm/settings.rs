//! `[slurm]`: what a cluster wants to be told.

use crate::error::SweepError;
use crate::files::read_optional;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The `[slurm]` table of a `sweep.toml`, or a file of its own given with `--slurm`.
///
/// What is left out is left to the cluster's defaults.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// Reads the `[slurm]` table of a TOML file, or the whole file if it has no tables. A file that
    /// has other tables and none of this name has the defaults.
    ///
    /// # Errors
    /// The file cannot be read, is no TOML, or has a key that is not known.
    pub fn load(path: &Path) -> Result<Self, SweepError> {
        let wrong = |message: String| SweepError::Format {
            path: path.to_owned(),
            message,
        };
        let text = read_optional(path)?.ok_or_else(|| wrong("no such file".into()))?;
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| wrong(error.to_string()))?;
        let own = match table.get("slurm") {
            Some(own) => own.clone(),
            None if table.values().any(toml::Value::is_table) => return Ok(Self::default()),
            None => toml::Value::Table(table),
        };
        let settings: Self = own
            .try_into()
            .map_err(|error: toml::de::Error| wrong(format!("[slurm]: {}", error.message())))?;
        settings
            .check()
            .map_err(|error| wrong(format!("[slurm]: {error}")))?;
        Ok(settings)
    }

    /// What `sbatch` would misread without a word.
    fn check(&self) -> Result<(), String> {
        if let Some(odd) = self
            .sbatch
            .iter()
            .find(|line| !line.trim_start().starts_with('-'))
        {
            return Err(format!(
                "`sbatch`: `{odd}` is no option\n  hint: write it with its dashes, such as \"--exclude=node7\""
            ));
        }
        for (key, value) in self.named() {
            if value
                .as_ref()
                .is_some_and(|value| value.trim().is_empty() || value.contains('\n'))
            {
                return Err(format!("`{key}`: needs a value of one line"));
            }
        }
        if self.throttle == Some(0) || self.cpus == Some(0) {
            return Err("`throttle` and `cpus` are at least 1".into());
        }
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<SlurmSettings, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.toml");
        std::fs::write(&path, text).unwrap();
        SlurmSettings::load(&path).map_err(|error| error.to_string())
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
        assert_eq!(load("[sweep]\n").unwrap(), SlurmSettings::default());
    }

    #[test]
    fn mistakes_are_named() {
        let unknown = load("[slurm]\npartitions = \"gpu\"\n").unwrap_err();
        assert!(
            unknown.contains("cluster.toml") && unknown.contains("partitions"),
            "{unknown}"
        );
        let odd = load("sbatch = [\"exclude=node7\"]\n").unwrap_err();
        assert!(
            odd.contains("`exclude=node7`") && odd.contains("hint:"),
            "{odd}"
        );
        assert!(load("throttle = 0\n").is_err() && load("qos = \"\"\n").is_err());
    }
}
