//! Against scipy and statsmodels: `golden.json` is written by `scripts/golden_stats.py`.

use serde_json::Value;
use slender_stats::{Noise, crossed, holm, jonckheere, mcnemar, page, t_quantile, t_two_sided};

fn golden(name: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("golden.json")).unwrap();
    let entries = all[name].as_array().unwrap().clone();
    assert!(entries.len() > 2, "{name}");
    entries
}

fn row(value: &Value) -> Vec<f64> {
    let numbers = value.as_array().unwrap().iter();
    numbers.map(|x| x.as_f64().unwrap()).collect()
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(row).collect()
}

#[track_caller]
fn near(ours: f64, entry: &Value, key: &str) {
    let theirs = entry[key].as_f64().unwrap();
    let bound = 1e-8 * theirs.abs().max(1e-3);
    assert!(
        (ours - theirs).abs() <= bound,
        "{key}: {ours} and {theirs} in {entry}"
    );
}

#[test]
fn student_s_t_is_scipy_s() {
    for entry in golden("student") {
        let (df, t) = (entry["df"].as_f64().unwrap(), entry["t"].as_f64().unwrap());
        near(t_two_sided(t, df), &entry, "p");
        near(t_quantile(0.975, df), &entry, "q975");
    }
}

#[test]
fn holm_and_mcnemar_are_statsmodels() {
    for entry in golden("holm") {
        for (ours, theirs) in holm(&row(&entry["p"])).iter().zip(row(&entry["corrected"])) {
            assert!((ours - theirs).abs() < 1e-12);
        }
    }
    for entry in golden("exact_mcnemar") {
        let count = |key: &str| entry[key].as_u64().unwrap() as usize;
        near(mcnemar(count("a"), count("b")), &entry, "p");
    }
}

#[test]
fn noise_is_the_residual_of_an_analysis_of_variance() {
    for entry in golden("noise") {
        let variants: Vec<_> = rows(&entry["y"])
            .into_iter()
            .map(|values| (0..).zip(values).collect())
            .collect();
        let noise = Noise::of(&variants).unwrap();
        near(noise.sd_within, &entry, "sd_within");
        near(noise.df_within, &entry, "df_within");
        near(noise.sd, &entry, "sd");
        near(noise.df, &entry, "df");
        if entry.get("p_paired").is_some() {
            let n = variants[0].len();
            let mean = |v: usize| variants[v].values().sum::<f64>() / n as f64;
            let t = (mean(1) - mean(0)) / noise.stderr_of_difference(n, n);
            near(t_two_sided(t, noise.df), &entry, "p_paired");
        }
    }
}

#[test]
fn crossed_means_follow_from_the_mean_squares() {
    for entry in golden("crossed") {
        let strata: Vec<_> = entry["strata"]
            .as_array()
            .unwrap()
            .iter()
            .map(rows)
            .collect();
        let mean = crossed(&strata, None).unwrap().estimate;
        near(mean.value, &entry, "mean");
        near(mean.stderr, &entry, "stderr");
        near(mean.df, &entry, "df");
        let (low, high) = mean.interval(0.95);
        near(low, &entry, "low");
        near(high, &entry, "high");
    }
}

#[test]
fn trends_are_scipy_s_and_those_of_every_permutation() {
    for entry in golden("page") {
        let trend = page(&rows(&entry["blocks"])).unwrap();
        assert!(trend.exact);
        near(trend.statistic, &entry, "statistic");
        near(trend.p, &entry, "p");
    }
    for entry in golden("jonckheere") {
        let trend = jonckheere(&rows(&entry["groups"])).unwrap();
        assert!(trend.exact);
        near(trend.strength, &entry, "strength");
        near(trend.p, &entry, "p");
    }
}
