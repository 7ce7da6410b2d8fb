//! A sweep on a real Slurm of two pretend nodes, through everything that befalls jobs: an element
//! cancelled, a time limit, a node's death, preemption, a controller killed and started again. It ends
//! in the same bytes as a sweep on this machine.
//!
//! Needs Slurm's daemons (Debian: `slurm-wlm`), which need not be set up, and no root; where they are
//! missing it is skipped with a word.

use crate::cluster::Cluster;
use crate::support::{self, Bench, comparable, last_step, processes, signal};
use serde_json::Value;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const RUNS: usize = 8;
const STEPS: u64 = 400;
const LONG: Duration = Duration::from_secs(600);

struct Site {
    cluster: Cluster,
    bench: Bench,
    dir: PathBuf,
    /// Most elements that were seen running at once.
    most: AtomicUsize,
}

impl Site {
    fn slender(&self, arguments: &[&str]) -> Output {
        let mut command = self.bench.slender(arguments);
        self.cluster.join(&mut command).output().unwrap()
    }

    /// Live elements of the sweep's arrays: task, state, node. A controller that died sometimes starts a
    /// job a second time and, when the node refuses, holds it for good: such an element is left out.
    fn queue(&self) -> Vec<(usize, String, String)> {
        let said = self
            .cluster
            .slurm("squeue", &["-h", "-r", "-p", "main", "-o", "%K|%T|%N|%r"]);
        let mut entries = Vec::new();
        for line in said.lines() {
            let fields: Vec<&str> = line.split('|').collect();
            if let [task, state, node, reason] = fields[..]
                && !reason.contains("launch failed")
            {
                entries.push((task.parse().unwrap(), state.to_owned(), node.to_owned()));
            }
        }
        let running = entries
            .iter()
            .filter(|(_, state, _)| state == "RUNNING")
            .count();
        self.most.fetch_max(running, Ordering::SeqCst);
        entries
    }

    fn state(&self, task: usize) -> String {
        let queue = self.queue();
        let entry = queue.into_iter().find(|(other, _, _)| *other == task);
        entry.map_or_else(|| "gone".into(), |(_, state, _)| state)
    }

    fn until(&self, what: &str, condition: impl Fn() -> bool) {
        self.cluster.until(what, LONG, condition);
    }

    /// The run directory of the run at this place.
    fn run(&self, task: usize) -> PathBuf {
        let text = std::fs::read_to_string(self.dir.join("sweep.json")).unwrap();
        let index: Value = serde_json::from_str(&text).unwrap();
        self.dir.join(index["runs"][task]["dir"].as_str().unwrap())
    }

    /// Freezes every training that has got to its middle, until it is warned of its time limit or
    /// `over` is set, so that what befalls a job meets it there however fast the machine is. Runs of
    /// `spared` are left alone.
    fn freeze(&self, over: &AtomicBool, spared: &Mutex<BTreeSet<usize>>) {
        let mut frozen: BTreeMap<usize, i32> = BTreeMap::new();
        while !over.load(Ordering::SeqCst) {
            for task in 0..RUNS {
                let run = self.run(task);
                let free = spared.lock().unwrap().contains(&task) || self.is_warned(task);
                if free {
                    if let Some(pid) = frozen.remove(&task) {
                        signal(pid, "CONT");
                    }
                } else if !frozen.contains_key(&task) && (10..STEPS).contains(&last_step(&run)) {
                    let own = processes(&run);
                    if let Some((pid, _)) = own.iter().find(|(_, line)| line.contains(" train ")) {
                        signal(*pid, "STOP");
                        frozen.insert(task, *pid);
                    }
                } else if let Some(pid) = frozen.get(&task)
                    && !Path::new(&format!("/proc/{pid}")).exists()
                {
                    frozen.remove(&task);
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        for pid in frozen.values() {
            signal(*pid, "CONT");
        }
    }

    fn is_warned(&self, task: usize) -> bool {
        self.log(task).contains("asked to write a checkpoint")
    }

    /// Waits for an element that is frozen in the middle of its training and not among `used`; returns
    /// its number, its node and its worker's process.
    fn catch(&self, used: &[usize]) -> (usize, String, i32) {
        let caught = RefCell::new(None);
        self.until("an element is frozen in the middle of training", || {
            for (task, state, node) in self.queue() {
                let run = self.run(task);
                let still = processes(&run).iter().any(|(pid, line)| {
                    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
                    line.contains(" train ") && stat.is_ok_and(|stat| stat.contains(") T "))
                });
                let claim = std::fs::read_to_string(run.join("claim.json")).unwrap_or_default();
                let claim: Value = serde_json::from_str(&claim).unwrap_or_default();
                if let (false, "RUNNING", true, Some(worker)) = (
                    used.contains(&task),
                    state.as_str(),
                    still,
                    claim["pid"].as_i64(),
                ) {
                    *caught.borrow_mut() = Some((task, node, worker as i32));
                    return true;
                }
            }
            false
        });
        caught.take().unwrap()
    }

    /// The log of an element.
    fn log(&self, task: usize) -> String {
        let logs = std::fs::read_dir(self.dir.join("slurm/logs"))
            .unwrap()
            .flatten();
        let end = format!("_{task}.log");
        let mine = logs.filter(|log| log.file_name().to_string_lossy().ends_with(&end));
        mine.map(|log| std::fs::read_to_string(log.path()).unwrap())
            .collect()
    }
}

/// Thaws everything, also when an assertion fails: a scope waits for its threads.
struct Thaw<'a>(&'a AtomicBool);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(err)
}

fn parent(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let rest = &stat[stat.rfind(')').unwrap() + 2..];
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn an_array_survives_what_befalls_jobs() {
    let cluster = match Cluster::start() {
        Ok(cluster) => cluster,
        Err(why) => {
            // Past the harness, which keeps what passing tests print.
            let _ = writeln!(
                std::io::stderr(),
                "skipped: no Slurm for the test of job arrays: {why}"
            );
            return;
        }
    };
    let bench = Bench::new(RUNS, STEPS);
    let dir = bench.path("array");
    let site = Site {
        cluster,
        bench,
        dir,
        most: AtomicUsize::new(0),
    };
    let configs = site.bench.configs(RUNS);
    let configs: Vec<&str> = configs.iter().map(|path| path.to_str().unwrap()).collect();

    // Here first: what it is to be equal to.
    let mut here = vec!["sweep", "run", "--jobs", "2", "--dir", "here"];
    here.extend(&configs);
    let local = site.slender(&here);
    assert!(local.status.success(), "{}", said(&local));

    // A minute's limit, the warning some time before; Slurm is free to warn up to a minute earlier.
    let settings = "time = \"1\"\nsignal_before = 20\ncpus = 1\nmem = \"200M\"\nthrottle = 2\n";
    std::fs::write(site.bench.path("cluster.toml"), settings).unwrap();
    let there = [
        "sweep",
        "run",
        "--dir",
        "array",
        "--executor",
        "slurm",
        "--slurm",
        "cluster.toml",
    ];
    let mut wrong = there.to_vec();
    wrong.extend(&configs);
    std::fs::write(
        site.bench.path("cluster.toml"),
        format!("{settings}partition = \"mian\"\n"),
    )
    .unwrap();
    let refused = site.slender(&wrong);
    assert_eq!(refused.status.code(), Some(70));
    assert!(
        said(&refused).contains("invalid partition specified: mian"),
        "{}",
        said(&refused)
    );
    std::fs::write(site.bench.path("cluster.toml"), settings).unwrap();
    let submitted = site.slender(&wrong);
    assert!(submitted.status.success(), "{}", said(&submitted));
    let job = String::from_utf8_lossy(&submitted.stdout).trim().to_owned();
    let again = site.slender(&["sweep", "resume", "array"]);
    assert!(
        said(&again).contains("8 in the queue already"),
        "{}",
        said(&again)
    );

    let (over, spared) = (AtomicBool::new(false), Mutex::new(BTreeSet::new()));
    let spare = |task: usize| spared.lock().unwrap().insert(task);
    let hit = std::thread::scope(|scope| {
        scope.spawn(|| site.freeze(&over, &spared));
        let _thaw = Thaw(&over);

        // Cancelled: a checkpoint, and out of the queue.
        let (cancelled, _, _) = site.catch(&[]);
        site.cluster
            .slurm("scancel", &[&format!("{job}_{cancelled}")]);
        spare(cancelled);
        site.until("the cancelled element is gone", || {
            site.state(cancelled) == "gone"
        });

        // A node's death: its daemon, the keepers of its jobs, their workers and trainings.
        let (orphaned, node, _) = site.catch(&[cancelled]);
        signal(site.cluster.pid(&format!("slurmd-{node}")).unwrap(), "KILL");
        for (task, state, place) in site.queue() {
            if state == "RUNNING" && place == node {
                let own = processes(&site.run(task));
                let worker = own.iter().map(|(pid, _)| parent(*pid)).next();
                for pid in worker.iter().map(|worker| parent(*worker)) {
                    signal(pid, "KILL");
                }
                for pid in worker.into_iter().chain(own.iter().map(|(pid, _)| *pid)) {
                    signal(pid, "KILL");
                }
            }
        }
        spare(orphaned);
        site.until("Slurm knows that the node is down", || {
            site.state(orphaned) != "RUNNING"
        });
        site.cluster.start_node(&node);
        site.until("the node is back", || {
            let said = site
                .cluster
                .slurm("sinfo", &["-h", "-N", "-p", "main", "-o", "%T"]);
            !said.contains("down") && !said.contains('*')
        });

        // Preempted: an urgent job wants both nodes.
        let (preempted, _, _) = site.catch(&[cancelled, orphaned]);
        let urgent = [
            "-p",
            "urgent",
            "-N2",
            "--exclusive",
            "-o",
            "/dev/null",
            "--wrap",
            "sleep 1",
        ];
        site.cluster.slurm("sbatch", &urgent);
        // Frozen until Slurm acts, or it would be done before.
        site.until("the preempted element waits", || {
            site.state(preempted) != "RUNNING"
        });
        spare(preempted);

        // A time limit: a frozen element cannot be done before the warning comes.
        let used = [cancelled, orphaned, preempted];
        let limited = Cell::new(0);
        site.until("an element is put back before its time is up", || {
            let back = |task: &usize| site.log(*task).contains("back into the queue");
            let found = (0..RUNS).filter(|task| !used.contains(task)).find(back);
            limited.set(found.unwrap_or(0));
            found.is_some()
        });
        [cancelled, orphaned, preempted, limited.get()]
    });
    let [cancelled, ..] = hit;

    // The controller dies and comes back. While it is away, what is in the directory is still told,
    // and nothing is submitted that it may be running.
    signal(site.cluster.pid("slurmctld").unwrap(), "KILL");
    let blind = site.slender(&["sweep", "resume", "array"]);
    assert_eq!(blind.status.code(), Some(70), "{}", said(&blind));
    assert!(said(&blind).contains("squeue: "), "{}", said(&blind));
    let status = site.slender(&["sweep", "status", "array"]);
    assert!(
        status.status.success() && said(&status).contains("8 runs: "),
        "{}",
        said(&status)
    );
    site.cluster.start_controller();
    site.until("the controller answers", || {
        let said = site.cluster.slurm("scontrol", &["ping"]);
        said.contains(" is UP")
    });

    // When the array has left the queue, what is missing is submitted, and nothing else.
    site.until("the array has left the queue", || site.queue().is_empty());
    let missing = site.slender(&["sweep", "status", "array", "--exit-code", "--json"]);
    assert_eq!(missing.status.code(), Some(75), "{}", said(&missing));
    let missing: Value = serde_json::from_slice(&missing.stdout).unwrap();
    let state = |task: usize| missing["runs"][task]["state"].as_str().unwrap().to_owned();
    assert_eq!(state(cancelled), "interrupted", "{missing}");
    let hint = missing["runs"][cancelled]["scheduler"].as_str().unwrap();
    assert!(hint.contains("CANCELLED"), "{hint}");
    let open: Vec<usize> = (0..RUNS)
        .filter(|task| state(*task) != "finished")
        .collect();
    // A job that froze too long for Slurm may be among them.
    assert!(open.contains(&cancelled) && open.len() < RUNS, "{missing}");
    let resumed = site.slender(&["sweep", "resume", "array"]);
    let again = match open.len() {
        1 => "1 run to do".to_owned(),
        open => format!("{open} runs to do"),
    };
    assert!(said(&resumed).contains(&again), "{}", said(&resumed));
    site.until("the rest has left the queue", || site.queue().is_empty());
    let done = site.slender(&["sweep", "status", "array", "--exit-code"]);
    assert!(done.status.success(), "{}", said(&done));
    let nothing = site.slender(&["sweep", "resume", "array"]);
    assert!(
        said(&nothing).contains("nothing to submit, 8 finished"),
        "{}",
        said(&nothing)
    );
    assert_eq!(site.most.load(Ordering::SeqCst), 2, "elements at once");

    // Every start of a run went on from its last checkpoint, and all came to the same bytes.
    assert_eq!(comparable(&site.bench.path("here")), comparable(&site.dir));
    for task in 0..RUNS {
        let run = site.run(task);
        let starts = support::starts(&run);
        assert!(starts.is_sorted(), "{}: {starts:?}", run.display());
        assert!(
            !hit.contains(&task) || starts.len() > 1 && starts[1] > 0,
            "{task}: {starts:?}"
        );
        let twin = site.bench.path("here/runs").join(run.file_name().unwrap());
        for file in ["model.safetensors", "optimizer.safetensors"] {
            let bytes = |dir: &Path| {
                let checkpoint = format!("checkpoints/step-{STEPS:08}");
                std::fs::read(dir.join(checkpoint).join(file)).unwrap()
            };
            assert!(bytes(&run) == bytes(&twin), "{file} of {}", run.display());
        }
    }
}
