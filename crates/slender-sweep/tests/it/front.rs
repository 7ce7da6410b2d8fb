//! The Pareto front of a real sweep directory.

use super::common::Bench;
use slender_sweep::search::{Cost, Objective, front};
use slender_sweep::{Stop, SweepOptions, run_sweep};
use std::collections::BTreeMap;

#[test]
fn equal_losses_leave_the_smallest_model_on_the_front_and_seeds_are_averaged() {
    let bench = Bench::new();
    let configs = vec![
        bench.config("small", 2, ""),
        bench.config("large-a", 8, ""),
        bench.config("large-b", 8, "seed = 1"),
        bench.config("bad", 4, ""),
    ];
    let options = SweepOptions::new(configs, bench.path("sweep"), bench.path("slender"));
    let outcome = run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    let variants: BTreeMap<String, String> = ["large-a", "large-b"]
        .map(|name| (name.to_owned(), "large".to_owned()))
        .into();
    let objectives = [Objective::ValidLoss, Objective::Cost(Cost::ParamsTotal)];
    let found = front(&outcome.results, &objectives, &variants);

    let points: Vec<(&str, usize, usize)> = (found.points.iter())
        .map(|point| (point.name.as_str(), point.runs, point.rank))
        .collect();
    assert_eq!(points, [("small", 1, 0), ("large", 2, 1)]);
    assert_eq!(found.points[0].values[0], 4.25);
    assert!(found.points[0].values[1] < found.points[1].values[1]);
    assert_eq!(found.left_out.len(), 1);
    assert!(found.left_out[0].0 == "bad" && found.left_out[0].1.contains("failed"));

    // A score is better the larger it is; every run has the same, so nothing beats on it.
    let found = front(
        &outcome.results,
        &[Objective::Score, Objective::Cost(Cost::DecodeBytes)],
        &variants,
    );
    assert_eq!(found.larger_is_better, [true, false]);
    assert_eq!(found.points[0].name, "small");
}
