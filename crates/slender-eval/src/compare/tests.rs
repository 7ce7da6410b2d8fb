use super::*;

fn record(task: &str, doc_id: usize, right: bool) -> ExampleRecord {
    ExampleRecord {
        task: task.to_owned(),
        doc_id,
        prompt: format!("question {doc_id}"),
        choices: vec!["a".into(), "b".into()],
        right,
        right_norm: right,
        right_paper: Some(right),
        bits_per_byte: Some(if right { 1.0 } else { 2.0 }),
        margin: Some(if right { 1.0 } else { -1.0 }),
        ..ExampleRecord::default()
    }
}

fn model(task: &str, n: usize, right: impl Fn(usize) -> bool) -> Vec<ExampleRecord> {
    (0..n).map(|i| record(task, i, right(i))).collect()
}

fn row<'a>(comparison: &'a Comparison, over: &str, score: &str) -> &'a Difference {
    let found = comparison
        .rows
        .iter()
        .find(|row| row.over == over && row.score == score);
    found.unwrap()
}

#[test]
fn the_exact_test_is_the_binomial_s() {
    // 2 · (1 + 10 + 45) / 2^10.
    assert!((mcnemar(2, 8) - 112.0 / 1024.0).abs() < 1e-12);
    assert_eq!(mcnemar(8, 2), mcnemar(2, 8));
    assert_eq!((mcnemar(0, 0), mcnemar(5, 5)), (1.0, 1.0));
    assert!(mcnemar(400, 600) < 1e-9 && mcnemar(400, 600) > 0.0);
    assert!((mcnemar(0, 5) - 2.0 / 32.0).abs() < 1e-12);
}

#[test]
fn differences_count_what_only_one_got_right() {
    let a = model("piqa", 200, |i| i % 2 == 0);
    let b = model("piqa", 200, |i| i % 2 == 0 || i % 5 == 0);
    let result = compare(("a", &a), ("b", &b)).unwrap();
    let acc = row(&result, "piqa", "acc");
    assert_eq!((acc.n, acc.only), (200, Some((0, 20))));
    assert!((acc.difference - 0.1).abs() < 1e-12);
    assert!(acc.p < 1e-5 && acc.p == mcnemar(0, 20));
    assert!(acc.low > 0.05 && acc.high < 0.15);
    let bits = row(&result, "piqa", "bits/byte");
    assert!((bits.difference + 0.1).abs() < 1e-12 && bits.only.is_none() && bits.p < 0.01);
    assert_eq!(compare(("a", &a), ("a", &a)).unwrap().rows[0].p, 1.0);
}

#[test]
fn holm_multiplies_the_smallest_by_the_number_of_tasks() {
    let mut a = model("piqa", 100, |_| false);
    a.extend(model("boolq", 100, |_| false));
    a.extend(model("winogrande", 100, |_| false));
    let mut b = model("piqa", 100, |i| i < 8);
    b.extend(model("boolq", 100, |i| i < 6));
    b.extend(model("winogrande", 100, |i| i < 1));
    let result = compare(("a", &a), ("b", &b)).unwrap();
    let p = |task| row(&result, task, "acc").p_holm.unwrap();
    assert!((p("piqa") - 3.0 * mcnemar(0, 8)).abs() < 1e-12);
    assert!((p("boolq") - 2.0 * mcnemar(0, 6)).abs() < 1e-12);
    assert_eq!(p("winogrande"), 1.0);
}

#[test]
fn means_are_with_and_without_boolq_and_corrected_for_chance() {
    let mut a = model("piqa", 100, |i| i < 50);
    a.extend(model("boolq", 100, |i| i < 50));
    a.extend(model("winogrande", 100, |i| i < 50));
    let mut b = model("piqa", 100, |i| i < 60);
    b.extend(model("boolq", 100, |i| i < 90));
    b.extend(model("winogrande", 100, |i| i < 60));
    let result = compare(("a", &a), ("b", &b)).unwrap();
    let mean = row(&result, "mean", "acc");
    assert!((mean.difference - 0.2).abs() < 1e-12 && mean.n == 3);
    let without = row(&result, "mean without boolq", "acc");
    assert!((without.difference - 0.1).abs() < 1e-12 && without.p < 0.01);
    let corrected = row(&result, "mean", "chance_corrected");
    assert!(corrected.a.abs() < 1e-12 && (corrected.b - 0.4).abs() < 1e-12);
    let text = result.to_string();
    assert!(
        text.contains("mean without boolq") && text.contains("+10.0"),
        "{text}"
    );
}

#[test]
fn texts_are_compared_by_the_numbers_that_an_evaluation_reports() {
    let of = |task: &str, better: f64| -> Vec<ExampleRecord> {
        let text = |i: usize| "a word ".repeat(1 + i % 7);
        (0..40)
            .map(|i| ExampleRecord {
                choices: vec![text(i)],
                continuations: vec![text(i)],
                bytes: vec![text(i).len()],
                tokens: vec![text(i).len()],
                log_likelihoods: vec![(better - 2.0) * (1 + i % 7) as f64 - (i % 3) as f64],
                bits_per_byte: None,
                ..record(task, i, i % 2 == 0)
            })
            .collect()
    };
    for (name, scores) in [
        (
            "wikitext",
            [
                ("word_perplexity", "word_perplexity"),
                ("bits/byte", "bits_per_byte"),
            ]
            .as_slice(),
        ),
        ("lambada_openai", &[("perplexity", "perplexity")]),
    ] {
        let (a, b) = (of(name, 0.0), of(name, 0.5));
        let task = tasks::find(name).unwrap();
        let reported = |records: &[ExampleRecord], metric: &str| {
            let all = crate::measure::measure(task, records);
            all.into_iter()
                .find(|(name, _)| name == metric)
                .unwrap()
                .1
                .value
        };
        let result = compare(("a", &a), ("b", &b)).unwrap();
        for (score, metric) in scores {
            let row = row(&result, name, score);
            assert!((row.a - reported(&a, metric)).abs() < 1e-12, "{row:?}");
            assert!((row.b - reported(&b, metric)).abs() < 1e-12, "{row:?}");
            assert!(
                row.low <= row.difference && row.difference <= row.high,
                "{row:?}"
            );
            assert!(row.high < 0.0 && row.p < 0.01, "{row:?}");
        }
        let same = compare(("a", &a), ("a", &a)).unwrap();
        assert!(same.rows.iter().all(|row| row.p == 1.0), "{same}");
    }
}

#[test]
fn unknown_tasks_are_noted() {
    let mut a = model("piqa", 10, |i| i < 5);
    a.extend(model("made_up", 10, |_| true));
    let result = compare(("a", &a), ("a", &a)).unwrap();
    assert!(
        result.notes[0].contains("made_up is no task of this program"),
        "{:?}",
        result.notes
    );
    let error = compare(("a", &a[10..]), ("a", &a[10..]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("knows none of the tasks"), "{error}");
}

#[test]
fn other_examples_are_refused_and_missing_ones_told() {
    let a = model("piqa", 10, |_| true);
    let mut b = a.clone();
    b[3].prompt = "edited".into();
    let error = compare(("a", &a), ("b", &b)).unwrap_err().to_string();
    assert!(
        error.contains("example 3 of piqa is not the same"),
        "{error}"
    );
    let result = compare(("a", &a), ("b", &a[..5])).unwrap();
    assert!(
        result.notes[0].contains("the 5 examples that both have"),
        "{:?}",
        result.notes
    );
    let other = model("boolq", 5, |_| true);
    assert!(compare(("a", &a), ("b", &other)).is_err());
}
