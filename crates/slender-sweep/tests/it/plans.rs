//! Plans: sweep files and directories as sweeps, costs, and runs that are done already.

use super::common::Bench;
use slender_sweep::{
    DoneRuns, Elsewhere, Manifest, PlanCost, RunOutcome, Stop, SweepError, SweepOptions, plan,
    run_sweep,
};
use std::path::PathBuf;

fn options(bench: &Bench, name: &str, text: &str) -> SweepOptions {
    bench.config("base", 2, "");
    let file = bench.path(&format!("{name}.toml"));
    std::fs::write(&file, text).unwrap();
    let dir = bench.path(&format!("sweeps/{name}"));
    SweepOptions::new(vec![file], dir, bench.path("slender"))
}

const TWO: &str = "[sweep]\nbase = \"base.toml\"\nseeds = 2\n[axes]\nmodel.n_layers = [2, 3]\n";

#[test]
fn configurations_are_trained_with_the_seeds_that_are_asked_for() {
    let bench = Bench::new();
    bench.config("thin", 4, "");
    bench.config("wide", 2, "");
    let files = vec![bench.path("thin.toml"), bench.path("wide.toml")];
    let mut options = SweepOptions::new(files, bench.path("sweeps/seeds"), bench.path("slender"));
    options.seeds = Some(vec![0, 7]);
    let runs = plan(&options).unwrap();
    let said: Vec<_> = (runs.iter())
        .map(|run| {
            let order = run.config.data.order_seed.unwrap_or(run.config.run.seed);
            (run.name.as_str(), run.variant.as_str(), run.seed, order)
        })
        .collect();
    assert_eq!(
        said,
        [
            ("thin-s0", "thin", 0, 0),
            ("thin-s7", "thin", 7, 7),
            ("wide-s0", "wide", 0, 0),
            ("wide-s7", "wide", 7, 7)
        ]
    );
    assert!(runs.iter().all(|run| run.config.name() == run.name));
    options.seeds = None;
    assert_eq!(plan(&options).unwrap()[0].name, "thin");
}

#[test]
fn a_sweep_file_is_trained_like_a_list_of_configurations() {
    let bench = Bench::new();
    let options = options(&bench, "grid", TWO);
    let outcome = run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    assert_eq!(outcome.runs.len(), 4);
    assert!(
        outcome
            .runs
            .iter()
            .all(|(_, run)| *run == RunOutcome::Finished { before: false })
    );
    let manifest = Manifest::read(&options.dir).unwrap().unwrap();
    assert_eq!(manifest.source, Some(options.configs[0].clone()));
    let run = &manifest.runs[3];
    assert_eq!(
        (run.name.as_str(), run.variant.as_str()),
        ("base-n_layers3-s1", "base-n_layers3")
    );
    assert_eq!((run.seed, &run.axes["model.n_layers"]), (1, &3.into()));
    let calls = bench.calls();
    let wanted = format!(
        "train {} --run-dir {}",
        options.dir.join("configs/base-n_layers3-s1.toml").display(),
        options.dir.join("runs/base-n_layers3-s1").display()
    );
    assert!(calls.contains(&wanted), "{calls:?}");

    // The directory alone goes on, and there is nothing to do.
    std::fs::remove_file(&options.configs[0]).unwrap();
    let before = std::fs::read_to_string(options.dir.join("sweep.json")).unwrap();
    let again = SweepOptions::new(
        vec![options.dir.clone()],
        options.dir.clone(),
        bench.path("slender"),
    );
    let outcome = run_sweep(&again, &Stop::new(), &|_| {}).unwrap();
    assert!(
        outcome
            .runs
            .iter()
            .all(|(_, run)| *run == RunOutcome::Finished { before: true })
    );
    assert_eq!(bench.calls().len(), calls.len());
    assert_eq!(
        std::fs::read_to_string(options.dir.join("sweep.json")).unwrap(),
        before
    );
}

#[test]
fn a_directory_takes_no_overrides() {
    let bench = Bench::new();
    let first = options(&bench, "grid", TWO);
    run_sweep(&first, &Stop::new(), &|_| {}).unwrap();
    let mut again = SweepOptions::new(vec![first.dir.clone()], first.dir.clone(), PathBuf::new());
    again.sets = vec!["train.lr=1".into()];
    let error = plan(&again).unwrap_err().to_string();
    assert!(
        error.contains("is a sweep directory") && error.contains("hint:"),
        "{error}"
    );
}

#[test]
fn costs_are_those_of_the_accounting() {
    let bench = Bench::new();
    let options = options(&bench, "grid", TWO);
    let runs = plan(&options).unwrap();
    let cost = PlanCost::of(&runs, Some(1e9), &DoneRuns::default());
    assert_eq!(
        (cost.total.runs, cost.total.variants, cost.total.done),
        (4, 2, 0)
    );
    let run = &cost.runs[2];
    let accounting = runs[2].config.accounting().unwrap();
    assert_eq!(run.params_total, Some(accounting.params_total));
    assert_eq!(run.tokens, 10 * 4 * 64);
    let flops = accounting.train_flops_per_token as f64 * run.tokens as f64;
    assert_eq!(
        (run.train_flops, run.seconds),
        (Some(flops), Some(flops / 1e9))
    );
    assert_eq!(run.memory_bytes, Some(accounting.train_memory_bytes));
    let sum: f64 = cost.runs.iter().map(|run| run.train_flops.unwrap()).sum();
    assert!((cost.total.train_flops / sum - 1.0).abs() < 1e-12);
    assert_eq!(cost.total.seconds_left, Some(cost.total.train_flops / 1e9));
}

#[test]
fn runs_that_are_done_are_found_wherever_they_are() {
    let bench = Bench::new();
    let first = options(
        &bench,
        "first",
        "[sweep]\nbase = \"base.toml\"\n[axes]\nmodel.n_layers = [2]\n",
    );
    run_sweep(&first, &Stop::new(), &|_| {}).unwrap();
    // A sibling sweep has two layers under another name; three layers were trained alone.
    let alone = bench.path("runs/alone");
    std::fs::create_dir_all(&alone).unwrap();
    let three = plan(&options(
        &bench,
        "x",
        "[sweep]\nbase = \"base.toml\"\n[set]\nmodel.n_layers = 3\n",
    ));
    std::fs::write(
        alone.join("config.toml"),
        three.unwrap()[0].config.to_toml(),
    )
    .unwrap();
    let status = |state: &str| {
        format!(r#"{{"format":"slender-status/1","state":"{state}","step":1,"total_steps":10}}"#)
    };
    std::fs::write(alone.join("status.json"), status("running")).unwrap();
    let text = "[sweep]\nbase = \"base.toml\"\n[[variants]]\nname = \"a\"\nmodel.n_layers = 2\nrun.log_every = 5\n\
                [[variants]]\nname = \"b\"\nmodel.n_layers = 3\n[[variants]]\nname = \"c\"\nmodel.n_layers = 4\n\
                [[variants]]\nname = \"d\"\nmodel.n_layers = 4\nrun.threads = 2\n";
    let second = options(&bench, "second", text);
    let runs = plan(&second).unwrap();
    let cost = || {
        PlanCost::of(
            &runs,
            None,
            &DoneRuns::look(&second.dir, &[bench.path("runs")]),
        )
    };
    let found = cost();
    // None of them is this sweep's, which trains all its runs.
    let elsewhere = |dir: PathBuf, finished| Some(Elsewhere { dir, finished });
    let first_run = first.dir.join("runs/base-n_layers2");
    assert_eq!(found.runs[0].elsewhere, elsewhere(first_run, true));
    assert_eq!(found.runs[1].elsewhere, elsewhere(alone.clone(), false));
    assert_eq!((&found.runs[0].done, &found.runs[1].begun), (&None, &None));
    assert_eq!(found.runs[2].same_as, None);
    assert_eq!(found.runs[3].same_as.as_deref(), Some("c"));
    assert_eq!((found.total.done, found.total.again), (0, 2));
    assert_eq!(found.total.train_flops_left, found.total.train_flops);
    std::fs::write(alone.join("status.json"), status("finished")).unwrap();
    assert_eq!(cost().runs[1].elsewhere, elsewhere(alone, true));
    assert_eq!(cost().total.again, 3);
    // What the sweep does is its plan.
    let outcome = run_sweep(&second, &Stop::new(), &|_| {}).unwrap();
    let trained = RunOutcome::Finished { before: false };
    assert!(outcome.runs.iter().all(|(_, outcome)| *outcome == trained));
    let after = cost();
    assert_eq!((after.total.done, after.total.again), (4, 0));
    assert_eq!(after.total.train_flops_left, 0.0);
    assert_eq!(after.runs[3].done, Some(second.dir.join("runs/d")));
}

#[test]
fn other_data_is_another_run() {
    let bench = Bench::new();
    let mut grid = options(&bench, "grid", TWO);
    let identity = |options: &SweepOptions| plan(options).unwrap()[0].identity.clone();
    let unknown = identity(&grid);
    grid.data_id = |_| Some("data-1".into());
    let one = identity(&grid);
    grid.data_id = |_| Some("data-2".into());
    assert!(one != unknown && one != identity(&grid));
}

#[test]
fn two_sweep_files_may_not_share_a_name() {
    let bench = Bench::new();
    let mut both = options(&bench, "one", "[sweep]\nbase = \"base.toml\"\n");
    both.configs.push(bench.path("base.toml"));
    let error = plan(&both).unwrap_err();
    assert!(matches!(error, SweepError::Plan(_)));
    assert!(
        error.to_string().contains("name their run `base`"),
        "{error}"
    );
}
