//! Submitting to a stand-in for Slurm: shell scripts that answer as real ones do, or as they should not.

use slender_sweep::slurm::{
    SlurmClient, SlurmSettings, SlurmWork, cover, end_hints, submissions, submit,
};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A folder of commands, and a sweep directory.
struct Cluster {
    folder: tempfile::TempDir,
}

impl Cluster {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("sweep")).unwrap();
        let cluster = Self { folder };
        // Numbers jobs, and keeps their scripts.
        cluster.command(
            "sbatch",
            "n=$(($(cat \"$here/n\" 2>/dev/null || echo 11) + 1)); echo $n > \"$here/n\"\n\
             cp \"$2\" \"$here/$n.script\"\n\
             echo 'sbatch: site policy: be nice'; echo \"$n;cluster\"",
        );
        cluster.command("squeue", "cat \"$here/queue\" 2>/dev/null || true");
        cluster.command(
            "scontrol",
            "[ \"$2\" = config ] && echo 'MaxArraySize            = 4'",
        );
        cluster
    }

    fn command(&self, name: &str, body: &str) {
        let path = self.folder.path().join(name);
        let text = format!(
            "#!/bin/sh\nhere=$(dirname \"$0\")\necho \"$0 $*\" >> \"$here/calls\"\n{body}\n"
        );
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn client(&self) -> SlurmClient {
        SlurmClient::in_folder(self.folder.path(), Duration::from_secs(20))
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("sweep")
    }

    fn submit(&self, wanted: &[u32]) -> Result<(Vec<Vec<u32>>, usize), String> {
        let work = SlurmWork {
            dir: self.dir(),
            program: "/opt/slender".into(),
            cwd: "/".into(),
            prefix: String::new(),
            device: None,
            indices: Vec::new(),
            workers: 2,
        };
        let settings = SlurmSettings::default();
        submit(&self.client(), &settings, work, "smoke", wanted)
            .map(|(done, live)| (done.into_iter().map(|each| each.indices).collect(), live))
            .map_err(|error| error.to_string())
    }

    fn prefix(&self) -> String {
        let (id, _) = submissions(&self.dir()).unwrap().unwrap();
        format!("slender-smoke-{id}")
    }

    /// Puts lines into the queue; NAME stands for the sweep's jobs.
    fn queue(&self, lines: &str) {
        let text = lines.replace("NAME", &self.prefix());
        std::fs::write(self.folder.path().join("queue"), text).unwrap();
    }

    fn scripts(&self) -> usize {
        let entries = std::fs::read_dir(self.dir().join("slurm")).unwrap();
        let script = |name: &str| name.ends_with(".sbatch");
        entries
            .filter(|e| script(&e.as_ref().unwrap().file_name().to_string_lossy()))
            .count()
    }
}

#[test]
fn what_the_queue_holds_is_not_submitted_again() {
    let cluster = Cluster::new();
    let all: Vec<u32> = (0..6).collect();
    // MaxArraySize is 4: two arrays.
    let (blocks, live) = cluster.submit(&all).unwrap();
    assert_eq!((blocks, live), (vec![vec![0, 1, 2, 3], vec![4, 5]], 0));
    let (_, recorded) = submissions(&cluster.dir()).unwrap().unwrap();
    let jobs: Vec<(&str, u32)> = recorded
        .iter()
        .map(|s| (s.job.as_str(), s.offset))
        .collect();
    assert_eq!(jobs, [("12", 0), ("13", 4)]);
    // Runs 1 and 5 are live, 2 was cancelled, another sweep's 3 is no concern of ours.
    cluster.queue(
        "12|12|1|RUNNING|None|NAME.0\n13|13|1|PENDING|Priority|NAME.4\n\
         14|12|2|CANCELLED|None|NAME.0\n15|15|3|RUNNING|None|slender-smoke-ffffffff.0\n",
    );
    let (blocks, live) = cluster.submit(&all).unwrap();
    assert_eq!((blocks, live), (vec![vec![0, 2, 3], vec![4]], 2));
    let covered = cover(&cluster.client().queue().unwrap(), &cluster.prefix());
    assert_eq!(covered.keys().copied().collect::<Vec<_>>(), [1, 5]);
    // Even when the record of a submission was lost with the process that was to write it.
    let path = cluster.dir().join("slurm/jobs.jsonl");
    let head = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, head.lines().next().unwrap().to_owned() + "\n").unwrap();
    cluster.queue("12|12|0-3|PENDING|Resources|NAME.0\n");
    assert_eq!(cluster.submit(&[0, 1, 2, 3]).unwrap(), (Vec::new(), 4));
}

#[test]
fn a_controller_that_does_not_answer_stops_a_submission() {
    let cluster = Cluster::new();
    cluster.command(
        "squeue",
        "echo 'slurm_load_jobs error: Unable to contact slurm controller (connect failure)' >&2; exit 1",
    );
    let error = cluster.submit(&[0]).unwrap_err();
    assert!(
        error.starts_with("squeue: slurm_load_jobs error: Unable"),
        "{error}"
    );
    assert_eq!(cluster.scripts(), 0);
    // One that hangs is not waited for.
    cluster.command("squeue", "exec sleep 60");
    let client = SlurmClient::in_folder(cluster.folder.path(), Duration::from_millis(200));
    let start = Instant::now();
    let error = client.queue().unwrap_err().to_string();
    assert!(error.contains("no answer within 0.2 s"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn a_refusal_is_shown_in_slurms_words_and_leaves_nothing() {
    let cluster = Cluster::new();
    cluster.command(
        "sbatch",
        "echo 'sbatch: error: invalid partition specified: gpuu' >&2; exit 1",
    );
    let error = cluster.submit(&[0]).unwrap_err();
    assert_eq!(error, "sbatch: error: invalid partition specified: gpuu");
    assert_eq!(cluster.scripts(), 0);
    cluster.command("sbatch", "echo 'Submitted batch job'");
    let error = cluster.submit(&[0]).unwrap_err();
    assert!(error.contains("it names no job"), "{error}");
    std::fs::remove_file(cluster.folder.path().join("squeue")).unwrap();
    let error = cluster.submit(&[0]).unwrap_err();
    assert!(
        error.contains("no such program") && error.contains("hint:"),
        "{error}"
    );
}

#[test]
fn accounting_may_be_absent_late_or_odd() {
    let cluster = Cluster::new();
    cluster.submit(&[0, 1, 2]).unwrap();
    let (_, recorded) = submissions(&cluster.dir()).unwrap().unwrap();
    let hints = || end_hints(&cluster.client(), &recorded);
    // There is no sacct, and the controller has forgotten.
    assert!(hints().is_empty());
    cluster.command(
        "sacct",
        "echo 'Slurm accounting storage is disabled' >&2; exit 1",
    );
    assert!(hints().is_empty());
    // Accounting knows one of three, and writes a line that means nothing.
    cluster.command(
        "sacct",
        "echo '12_1|NODE_FAIL|1:0'; echo '12_1.batch|FAILED|0:9'; echo '|||'",
    );
    let known = hints();
    assert_eq!(known.len(), 1);
    assert_eq!(known[&1], "Slurm 12_1: NODE_FAIL, exit code 1:0");
    // What the controller still knows is newer.
    cluster.command(
        "scontrol",
        "[ \"$2\" = job ] && echo 'JobId=14 ArrayJobId=12 ArrayTaskId=1 JobState=TIMEOUT ExitCode=0:15'",
    );
    assert_eq!(hints()[&1], "Slurm 12_1: TIMEOUT, exit code 0:15");
}
