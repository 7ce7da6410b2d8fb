//! A search over a sweep directory, with a stand-in for the program whose loss follows from the
//! learning rate: who is promoted is known beforehand.

use super::common::{Bench, write_config};
use slender_sweep::search::{SearchSource, standing};
use slender_sweep::{
    ClaimOptions, Manifest, Stop, SweepOptions, SweepState, leaderboard, run_sweep,
};
use std::os::unix::fs::PermissionsExt;

/// Trains to `--until` or to step 10; the loss is lowest at a rate of 5e-3 and falls with the steps.
const SCRIPT: &str = r##"#!/bin/sh
set -e
here=$(dirname "$0")
echo "$*" >> "$here/calls.txt"
config=$2; dir=; until=10; pause=
shift 2
while [ $# -gt 0 ]; do
    case "$1" in
    --run-dir) dir=$2; shift 2 ;;
    --until) until=$2; pause=yes; shift 2 ;;
    *) shift ;;
    esac
done
cp "$config" "$dir/config.toml"
lr=$(awk '$1 == "lr" { print $3 }' "$config")
loss=$(awk -v lr="$lr" -v step="$until" 'BEGIN { x = log(lr / 5e-3); print 3 + x * x / 10 + 1 / step }')
[ -e "$dir/metrics.jsonl" ] || echo '{"format":"slender-metrics/1"}' > "$dir/metrics.jsonl"
state=finished; kind=valid
if [ -n "$pause" ]; then state=paused; kind=pause; else until=null; fi
step=$until; [ "$step" = null ] && step=10
echo "{\"kind\":\"$kind\",\"step\":$step,\"tokens\":$((step * 256)),\"loss\":$loss,\"bits_per_byte\":1.5}" >> "$dir/metrics.jsonl"
printf '{"format":"slender-status/2","state":"%s","step":%s,"total_steps":10,"until":%s,"tokens":%s,"valid_loss":%s,"valid_bits_per_byte":1.5,"elapsed_s":1,"updated_at":1770000000,"pid":%s}' \
    "$state" "$step" "$until" "$((step * 256))" "$loss" "$$" > "$dir/status.json.tmp"
mv "$dir/status.json.tmp" "$dir/status.json"
"##;

fn bench(search: &str) -> (Bench, SweepOptions) {
    let bench = Bench::new();
    let program = bench.path("searched");
    std::fs::write(&program, SCRIPT).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    write_config(&bench.path("base.toml"), 2, "");
    let text = format!(
        "[sweep]\nname = \"s\"\nbase = \"base.toml\"\n[set]\n\"eval.tasks\" = []\n{search}"
    );
    let file = bench.path("search.toml");
    std::fs::write(&file, text).unwrap();
    let options = SweepOptions::new(vec![file], bench.path("sweep"), program);
    (bench, options)
}

fn calls(bench: &Bench) -> usize {
    let text = std::fs::read_to_string(bench.path("calls.txt")).unwrap_or_default();
    text.lines().count()
}

#[test]
fn the_best_of_nine_rates_is_trained_to_the_end_and_most_are_not() {
    let rates = "[1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 2e-2, 5e-2, 1e-1]";
    let (bench, options) = bench(&format!(
        "[search]\nsampler = \"grid\"\neta = 3\nmin_budget = 0.1\n[search.space]\n\"train.lr\" = {rates}\n"
    ));
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    let manifest = Manifest::read(&options.dir).unwrap().unwrap();
    let mut source = SearchSource::of_manifest(&manifest).unwrap();
    let state = SweepState::read(&options.dir, &ClaimOptions::default()).unwrap();
    let found = standing(&mut source, &state);
    assert_eq!(found.trials.len(), 9);
    assert_eq!(found.trials[0].steps, [2, 4, 10]);
    assert_eq!(found.trials[0].axes["train.lr"], 4e-3);
    let reached = |rung: usize| {
        found
            .trials
            .iter()
            .filter(|t| t.losses[rung].is_some())
            .count()
    };
    assert_eq!(reached(0), 9);
    assert!(
        (3..=6).contains(&reached(1)) && (1..=3).contains(&reached(2)),
        "{found:#?}"
    );
    assert!(found.share_of_everything < 0.6);

    // Starting it again finds nothing to do.
    let before = calls(&bench);
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    assert_eq!(calls(&bench), before);
}

#[test]
fn every_variant_gets_the_rate_that_suits_it() {
    let (_bench, options) = bench(
        "[axes]\n\"model.n_layers\" = [2, 4]\n[search]\nlr = { values = [1e-3, 4e-3, 2e-2], share = 0.3 }\n",
    );
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    let manifest = Manifest::read(&options.dir).unwrap().unwrap();
    let mut source = SearchSource::of_manifest(&manifest).unwrap();
    let state = SweepState::read(&options.dir, &ClaimOptions::default()).unwrap();
    let found = standing(&mut source, &state);
    assert_eq!(found.tuned.len(), 2);
    for tuned in &found.tuned {
        assert_eq!((tuned.best, tuned.at_edge), (Some(4e-3), false));
        let fit = tuned.parabola.unwrap();
        assert!((fit.at / 5e-3 - 1.0).abs() < 1e-3, "{fit:?}");
    }
    let ended = found
        .trials
        .iter()
        .filter(|trial| trial.losses[1].is_some());
    assert_eq!(ended.count(), 2);
}

/// Nats per token grow with the vocabulary, bits per byte fall.
#[test]
fn tokenizers_are_ranked_by_bits_per_byte() {
    for (section, place) in [
        (
            "[search]\nsampler = \"grid\"\neta = 2\nmin_budget = 0.5\n[search.space]\n\"data.tokenizer.vocab_size\" = [512, 1024]\n",
            "space",
        ),
        (
            "[search]\neta = 2\nmin_budget = 0.5\n[axes]\n\"data.tokenizer.vocab_size\" = [512, 1024]\n",
            "axes",
        ),
    ] {
        let (bench, options) = bench(section);
        let script = SCRIPT
            .replace("\nloss=", "\nvocab=$(awk '$1 == \"vocab_size\" { print $3 }' \"$config\")\nloss=$(awk -v v=\"$vocab\" 'BEGIN { print log(v) }')\nbits=$(awk -v v=\"$vocab\" 'BEGIN { print 3 - log(v) / 10 }')\nignored=")
            .replace("\\\"bits_per_byte\\\":1.5", "\\\"bits_per_byte\\\":$bits")
            .replace("\"valid_bits_per_byte\":1.5", "\"valid_bits_per_byte\":'\"$bits\"'");
        std::fs::write(bench.path("searched"), script).unwrap();
        run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
        let manifest = Manifest::read(&options.dir).unwrap().unwrap();
        let mut source = SearchSource::of_manifest(&manifest).unwrap();
        let state = SweepState::read(&options.dir, &ClaimOptions::default()).unwrap();
        let found = standing(&mut source, &state);
        assert_eq!(
            found.search.metric,
            slender_sweep::search::Metric::ValidBitsPerByte
        );
        let best = &found.trials[0];
        assert_eq!(
            best.axes["data.tokenizer.vocab_size"], 1024,
            "{place}: {found:?}"
        );
        assert_eq!(best.state, "finished");
        assert!(found.trials[1].losses[1].is_none(), "{place}: {found:?}");
    }
}

#[test]
fn nats_per_token_among_tokenizers_are_refused() {
    let (_bench, options) = bench(
        "[search]\nsampler = \"grid\"\nmetric = \"valid_loss\"\n[search.space]\n\"data.tokenizer.vocab_size\" = [512, 1024]\n",
    );
    let said = run_sweep(&options, &Stop::new(), &|_| {})
        .unwrap_err()
        .to_string();
    assert!(
        said.contains("search.metric") && said.contains("hint: give \"valid_bits_per_byte\""),
        "{said}"
    );
}

#[test]
fn the_report_of_a_search_says_that_it_is_one() {
    let rates = "[1e-4, 3e-4, 1e-3, 2e-3, 4e-3, 8e-3, 2e-2, 5e-2, 1e-1]";
    let (_bench, options) = bench(&format!(
        "[search]\nsampler = \"grid\"\neta = 3\nmin_budget = 0.1\n[search.space]\n\"train.lr\" = {rates}\n"
    ));
    run_sweep(&options, &Stop::new(), &|_| {}).unwrap();
    let page = std::fs::read_to_string(options.dir.join("report.md")).unwrap();
    assert!(
        page.contains("asynchronous successive halving over 9 trials"),
        "{page}"
    );
    assert!(
        page.contains("9 at step 2, 4 at step 4 and 1 at step 10"),
        "{page}"
    );
    assert!(page.contains("8 were stopped there"), "{page}");
    assert!(
        page.contains("## The search") && page.contains("| stopped |"),
        "{page}"
    );
    assert!(!page.contains("is incomplete"), "{page}");
    let json = std::fs::read_to_string(options.dir.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(results["search"]["trials"].as_array().unwrap().len(), 9);
    let left_out = leaderboard(std::slice::from_ref(&options.dir))
        .unwrap()
        .left_out;
    assert!(
        left_out
            .iter()
            .any(|line| line.contains("8 variants that the search did not train")),
        "{left_out:?}"
    );
}
