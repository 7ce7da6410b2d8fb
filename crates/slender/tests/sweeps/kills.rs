//! A sweep under attack: its process and its workers are killed again and again, and it ends with the
//! results of an undisturbed one, without a run lost or trained twice.

use crate::support::{Bench, comparable, last_step, lines, processes, signal, starts};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const RUNS: usize = 12;
const STEPS: u64 = 200;
const ROUNDS: u64 = 20;
/// Most steps, of all runs together, between two kills of the sweep. What the runs do counts, not
/// the clock, so that fast and slow machines meet the same kills: half of this on average, and as much
/// again by workers that outlive their sweep, leaves half of all steps for the end.
const STEPS_BETWEEN: u64 = 60;

fn start(bench: &Bench, dir: &str) -> Child {
    let mut command = bench.slender(&["sweep", "run", "--jobs", "2", "--dir", dir]);
    command.args(bench.configs(RUNS));
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.spawn().unwrap()
}

#[test]
fn twelve_runs_survive_twenty_kills() {
    let bench = Bench::new(RUNS, STEPS);
    let mut whole = start(&bench, "whole");
    assert!(whole.wait().unwrap().success());

    // The folder is this test's own, so what names it is this test's to kill.
    let dir = bench.path("killed");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut draw = |most: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % most
    };
    let runs = || {
        let runs = std::fs::read_dir(dir.join("runs")).into_iter().flatten();
        runs.flatten().map(|entry| entry.path())
    };
    let done = || {
        let whole = |run: &PathBuf| run.join("eval/final.json").exists();
        runs().filter(whole).count()
    };
    let trained = || runs().map(|run| last_step(&run)).sum::<u64>();
    let (mut sweeps, mut workers) = (0, 0);
    for round in 0..ROUNDS {
        let before = trained();
        let mut sweep = start(&bench, dir.to_str().unwrap());
        // Now and then a worker alone, under the eyes of the sweep.
        let (until, begun) = (before + 1 + draw(STEPS_BETWEEN), Instant::now());
        let mut next_worker = before + 1 + draw(STEPS_BETWEEN);
        while trained() < until || begun.elapsed() < Duration::from_millis(150) {
            let ended = sweep.try_wait().unwrap().is_some();
            if ended || begun.elapsed() > Duration::from_secs(60) {
                break;
            }
            if trained() >= next_worker {
                next_worker += 1 + draw(STEPS_BETWEEN);
                let mut children = processes(&dir);
                children.retain(|(_, line)| !line.contains("sweep run"));
                if !children.is_empty() {
                    signal(children[draw(children.len() as u64) as usize].0, "KILL");
                    workers += 1;
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        sweeps += u64::from(sweep.try_wait().unwrap().is_none());
        sweep.kill().unwrap();
        sweep.wait().unwrap();
        // Half of the time its workers live on as orphans, which the next sweep has to get on with.
        if round % 2 == 0 {
            for (pid, _) in processes(&dir) {
                signal(pid, "KILL");
                workers += 1;
            }
        }
    }
    let before = done();
    let last = Instant::now();
    assert!(
        start(&bench, dir.to_str().unwrap())
            .wait()
            .unwrap()
            .success()
    );
    eprintln!(
        "killed the sweep {sweeps} times and {workers} workers; {before} runs were done by then, the rest took {:.0} s",
        last.elapsed().as_secs_f64()
    );
    assert!(
        sweeps >= ROUNDS * 3 / 4,
        "{sweeps} of {ROUNDS} kills met a living sweep"
    );

    assert_eq!(comparable(&bench.path("whole")), comparable(&dir));
    let mut names = 0;
    for entry in std::fs::read_dir(dir.join("runs")).unwrap() {
        names += 1;
        let run = entry.unwrap().path();
        // Every start went on from where an earlier one had got to, never from before.
        let starts = starts(&run);
        assert!(starts.is_sorted(), "{}: {starts:?}", run.display());
        // And nobody trained it a second time once it was trained.
        let attempts = lines(&run.join("attempts.jsonl"));
        let ended = |stage: &str| {
            let done =
                |line: &&serde_json::Value| line["stage"] == stage && line["ending"] == "done";
            attempts.iter().filter(done).count()
        };
        assert!(ended("train") <= 1 && ended("eval") <= 1, "{attempts:?}");
        let weights = |dir: &std::path::Path| {
            let checkpoint = format!("checkpoints/step-{STEPS:08}/model.safetensors");
            std::fs::read(dir.join(checkpoint)).unwrap()
        };
        let twin = bench.path("whole/runs").join(run.file_name().unwrap());
        assert!(weights(&run) == weights(&twin), "{}", run.display());
    }
    assert_eq!(names, RUNS);
}
