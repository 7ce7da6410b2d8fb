//! The batch script of a job array.

use crate::slurm::SlurmSettings;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What the elements of an array are to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlurmWork {
    /// The sweep directory, absolute.
    pub dir: PathBuf,
    /// The slender program, absolute.
    pub program: PathBuf,
    /// Where `slender` was called, absolute; relative paths in configurations start there.
    pub cwd: PathBuf,
    /// Name of the sweep and its id, which together name its jobs: [`job_prefix`].
    pub prefix: String,
    /// Device, if it is to differ from the configurations'.
    pub device: Option<String>,
    /// Places of the runs in `sweep.json`, ascending. Empty for a search, whose elements take what
    /// there is.
    pub indices: Vec<u32>,
    /// Elements of a search's array.
    pub workers: u32,
}

/// What the names of a sweep's jobs begin with.
pub fn job_prefix(name: &str, id: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-_".contains(c) {
            c
        } else {
            '-'
        }
    };
    let name: String = name.chars().take(40).map(plain).collect();
    format!("slender-{name}-{id}")
}

/// One job array: a script, and the runs it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SbatchScript {
    /// What is added to an element's number to get a run's place in `sweep.json`.
    pub offset: u32,
    /// Places of the runs; empty for a search's workers.
    pub indices: Vec<u32>,
    /// The script.
    pub text: String,
}

/// The scripts that do `work`: several if the array's numbers would reach `max_array_size`.
pub fn sbatch_scripts(
    work: &SlurmWork,
    settings: &SlurmSettings,
    max_array_size: u32,
) -> Vec<SbatchScript> {
    let block = max_array_size.max(1);
    if work.indices.is_empty() {
        let all: Vec<u32> = (0..work.workers.clamp(1, block)).collect();
        return vec![SbatchScript {
            offset: 0,
            indices: Vec::new(),
            text: script(work, settings, 0, &all),
        }];
    }
    let mut scripts = Vec::new();
    let mut rest = work.indices.as_slice();
    while let Some(first) = rest.first() {
        let offset = first / block * block;
        let within = rest.partition_point(|index| *index - offset < block);
        let (now, later) = rest.split_at(within);
        let elements: Vec<u32> = now.iter().map(|index| index - offset).collect();
        scripts.push(SbatchScript {
            offset,
            indices: now.to_vec(),
            text: script(work, settings, offset, &elements),
        });
        rest = later;
    }
    scripts
}

/// What is printed of `scripts`: the one there is, for `sbatch`, or a shell script that submits each.
pub fn printed(scripts: &[SbatchScript]) -> String {
    if let [one] = scripts {
        return one.text.clone();
    }
    let mut text = format!(
        "#!/bin/bash\n# Submits {} job arrays, because one array may not have so many elements. Run it with bash.\nset -e\n",
        scripts.len()
    );
    // No line of a script may end it.
    let mut end = "END_OF_ARRAY".to_owned();
    while scripts.iter().any(|script| script.text.contains(&end)) {
        end.push('_');
    }
    for script in scripts {
        let _ = write!(text, "sbatch <<'{end}'\n{}{end}\n", script.text);
    }
    text
}

fn script(work: &SlurmWork, settings: &SlurmSettings, offset: u32, elements: &[u32]) -> String {
    let throttle = settings
        .throttle
        .map_or(String::new(), |most| format!("%{most}"));
    let logs = work.dir.join("slurm/logs/%A_%a.log");
    let mut text = String::from("#!/bin/bash\n");
    let mut option = |option: &str| {
        let _ = writeln!(text, "#SBATCH {option}");
    };
    option(&format!("--job-name={}.{offset}", work.prefix));
    option(&format!("--array={}{throttle}", ranges(elements)));
    option(&format!("--chdir={}", quoted_option(&work.cwd)));
    option(&format!("--output={}", quoted_option(&logs)));
    option("--open-mode=append");
    for each in settings.options() {
        option(&each);
    }
    text +=
        "# Each element works on one run of the sweep until it is done, resuming what is there.\n";
    text +=
        "# Exit codes: 0 done, 70 or 2 do not retry, 73 another worker has it, 75 requeue me.\n";
    text += "set -e\n";
    for line in &settings.setup {
        let _ = writeln!(text, "{line}");
    }
    // Until the program listens, the warning must not kill it; `exec` makes it the one that is warned.
    text += "trap '' USR1\n";
    let _ = write!(
        text,
        "exec {} sweep work {}",
        quoted(&work.program),
        quoted(&work.dir)
    );
    if !work.indices.is_empty() {
        match offset {
            0 => text += " --index \"$SLURM_ARRAY_TASK_ID\"",
            offset => {
                let _ = write!(text, " --index \"$((SLURM_ARRAY_TASK_ID + {offset}))\"");
            }
        }
    }
    if let Some(device) = &work.device {
        let _ = write!(text, " --device {}", quoted(Path::new(device)));
    }
    if settings.requeue {
        text += " --requeue";
    }
    text.push('\n');
    text
}

/// `0-2,5` for 0, 1, 2, 5.
pub(crate) fn ranges(ascending: &[u32]) -> String {
    let mut parts: Vec<(u32, u32)> = Vec::new();
    for number in ascending {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let show = |(first, last): &(u32, u32)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(show).collect::<Vec<_>>().join(",")
}

/// A word for the shell.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// A value in a `#SBATCH` line, where double quotes keep blanks together.
fn quoted_option(path: &Path) -> String {
    let text = path.to_string_lossy();
    if text.contains([' ', '\t', '\'', '#']) {
        format!("\"{text}\"")
    } else {
        text.into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(indices: Vec<u32>) -> SlurmWork {
        SlurmWork {
            dir: "/data/my sweeps/smoke".into(),
            program: "/opt/slender".into(),
            cwd: "/home/me".into(),
            prefix: job_prefix("smoke é", "1a2b"),
            device: None,
            indices,
            workers: 1,
        }
    }

    #[test]
    fn a_script_as_it_is_submitted() {
        let settings = SlurmSettings {
            partition: Some("gpu".into()),
            gres: Some("gpu:1".into()),
            time: Some("2:00:00".into()),
            cpus: Some(4),
            throttle: Some(2),
            setup: vec!["module load cuda".into()],
            sbatch: vec!["--exclude=node7".into()],
            ..SlurmSettings::default()
        };
        let scripts = sbatch_scripts(&work(vec![0, 1, 2, 5]), &settings, 1001);
        let wanted = r#"#!/bin/bash
#SBATCH --job-name=slender-smoke---1a2b.0
#SBATCH --array=0-2,5%2
#SBATCH --chdir=/home/me
#SBATCH --output="/data/my sweeps/smoke/slurm/logs/%A_%a.log"
#SBATCH --open-mode=append
#SBATCH --partition=gpu
#SBATCH --gres=gpu:1
#SBATCH --time=2:00:00
#SBATCH --cpus-per-task=4
#SBATCH --requeue
#SBATCH --signal=B:USR1@120
#SBATCH --exclude=node7
# Each element works on one run of the sweep until it is done, resuming what is there.
# Exit codes: 0 done, 70 or 2 do not retry, 73 another worker has it, 75 requeue me.
set -e
module load cuda
trap '' USR1
exec /opt/slender sweep work '/data/my sweeps/smoke' --index "$SLURM_ARRAY_TASK_ID" --requeue
"#;
        assert_eq!(scripts.len(), 1);
        assert_eq!(scripts[0].text, wanted);
    }

    #[test]
    fn large_sweeps_come_in_blocks() {
        let scripts = sbatch_scripts(
            &work(vec![3, 999, 1000, 2500]),
            &SlurmSettings::default(),
            1000,
        );
        let offsets: Vec<u32> = scripts.iter().map(|script| script.offset).collect();
        assert_eq!(offsets, [0, 1000, 2000]);
        assert_eq!(scripts[0].indices, [3, 999]);
        assert!(scripts[0].text.contains("--array=3,999\n"));
        assert!(scripts[1].text.contains("--array=0\n") && scripts[1].text.contains(".1000\n"));
        assert!(
            scripts[2]
                .text
                .contains("--index \"$((SLURM_ARRAY_TASK_ID + 2000))\"")
        );
    }

    /// What is printed for two arrays is a script that `bash` runs and that gives `sbatch` each of them whole.
    #[test]
    #[cfg(unix)]
    fn several_arrays_are_printed_as_one_script_that_submits_them() {
        use std::os::unix::fs::PermissionsExt;
        let settings = SlurmSettings {
            setup: vec!["echo \"$HOME\" # END_OF_ARRAY".into()],
            ..SlurmSettings::default()
        };
        let one = sbatch_scripts(&work(vec![3]), &settings, 1000);
        assert_eq!(printed(&one), one[0].text);
        let two = sbatch_scripts(&work(vec![3, 1000]), &settings, 1000);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("all.sh"), printed(&two)).unwrap();
        std::fs::write(
            path("sbatch"),
            "#!/bin/sh\ncat >> submitted\necho ==== >> submitted\n",
        )
        .unwrap();
        std::fs::set_permissions(path("sbatch"), PermissionsExt::from_mode(0o755)).unwrap();
        let search = std::env::var("PATH").unwrap_or_default();
        let status = std::process::Command::new("bash")
            .arg("all.sh")
            .current_dir(folder.path())
            .env("PATH", format!("{}:{search}", folder.path().display()))
            .status()
            .unwrap();
        assert!(status.success());
        let submitted = std::fs::read_to_string(path("submitted")).unwrap();
        assert_eq!(
            submitted,
            format!("{}====\n{}====\n", two[0].text, two[1].text)
        );
    }

    #[test]
    fn a_search_has_workers_instead_of_numbers() {
        let search = SlurmWork {
            workers: 3,
            device: Some("cuda".into()),
            ..work(Vec::new())
        };
        let scripts = sbatch_scripts(&search, &SlurmSettings::default(), 1001);
        assert!(scripts[0].text.contains("--array=0-2\n"));
        assert!(
            scripts[0]
                .text
                .ends_with("sweep work '/data/my sweeps/smoke' --device cuda --requeue\n")
        );
    }
}
