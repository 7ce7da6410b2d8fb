//! Tests of whole evaluations, with a tokenizer and a model without weights.

use super::*;
use crate::fake::{CharTokenizer, HashModel};
use crate::metrics::Estimate;
use crate::tasks::{self, Metric};

fn run(names: &[&str], max_seq_len: usize, options: &EvalOptions) -> EvalReport {
    let tasks = tasks::find_all(names).unwrap();
    let mut model = HashModel::new(max_seq_len);
    evaluate(&mut model, &CharTokenizer, &tasks, options, &mut |_| {}).unwrap()
}

fn builtin() -> EvalOptions {
    EvalOptions {
        data: DataSource::Builtin,
        ..EvalOptions::default()
    }
}

fn all_names() -> Vec<&'static str> {
    tasks::PAPER_TASKS.to_vec()
}

#[test]
fn every_example_is_scored_as_the_model_says() {
    let report = run(&all_names(), 4096, &builtin());
    assert_eq!(report.examples.len(), 8 * 40);
    for record in &report.examples {
        assert!(!record.truncated);
        for i in 0..record.choices.len() {
            let context = record.contexts.as_ref().map_or(&record.prompt, |c| &c[i]);
            let mut tokens = vec![CharTokenizer::BOS];
            tokens.extend(context.trim_end().chars().map(u32::from));
            let spaces = &context[context.trim_end().len()..];
            let mut expected = 0.0;
            for c in spaces.chars().chain(record.continuations[i].chars()) {
                expected += f64::from(HashModel::log_prob(&tokens, u32::from(c)));
                tokens.push(u32::from(c));
            }
            assert!((record.log_likelihoods[i] - expected).abs() < 1e-9);
        }
    }
    for task in &report.tasks {
        let own = report.examples.iter().filter(|r| r.task == task.task);
        let right = own.clone().filter(|r| r.right).count() as f64;
        assert_eq!(task.metric("acc").unwrap().value, right / 40.0);
        if let Some(Estimate { value, .. }) = task.metric("acc_norm") {
            assert_eq!(value, own.filter(|r| r.right_norm).count() as f64 / 40.0);
        }
    }
}

#[test]
fn batches_change_no_score_and_settings_are_kept() {
    let small = EvalOptions {
        batch_tokens: 1,
        ..builtin()
    };
    let (a, b) = (
        run(&["piqa", "boolq"], 512, &builtin()),
        run(&["piqa", "boolq"], 512, &small),
    );
    assert_eq!(a.examples, b.examples);
    assert_eq!(a.tasks, b.tasks);
    assert_eq!(a.settings.batch_tokens, 4096);
    assert_eq!(a.settings.prefix_token, Some(CharTokenizer::BOS));
    assert!(a.settings.add_bos);
}

#[test]
fn a_limit_takes_the_first_examples_and_is_reported() {
    let limited = EvalOptions {
        limit: Some(7),
        ..builtin()
    };
    let (all, some) = (
        run(&["piqa"], 512, &builtin()),
        run(&["piqa"], 512, &limited),
    );
    assert_eq!(some.examples, all.examples[..7]);
    let task = &some.tasks[0];
    assert_eq!((task.examples, task.loaded, task.published), (7, 40, 1838));
    assert!(task.fixture);
    let more = EvalOptions {
        limit: Some(1000),
        ..builtin()
    };
    assert_eq!(run(&["piqa"], 512, &more).examples.len(), 40);
}

#[test]
fn bos_moves_scores() {
    let bare = EvalOptions {
        add_bos: false,
        ..builtin()
    };
    let (with, without) = (run(&["piqa"], 512, &builtin()), run(&["piqa"], 512, &bare));
    assert_ne!(
        with.examples[0].log_likelihoods,
        without.examples[0].log_likelihoods
    );
}

#[test]
fn a_short_model_is_served_and_the_report_says_so() {
    let report = run(&["piqa"], 24, &builtin());
    let task = &report.tasks[0];
    assert!(task.windows > 0 && task.warnings.iter().any(|w| w.contains("in windows")));
    assert_eq!(
        report.examples.iter().filter(|r| r.truncated).count(),
        task.truncated + task.windows
    );
}

#[test]
fn data_is_checked_before_anything_is_scored() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("piqa")).unwrap();
    let piqa = tasks::find("piqa").unwrap();
    std::fs::write(
        dir.path().join("piqa/validation.jsonl"),
        piqa.fixture.unwrap(),
    )
    .unwrap();
    let options = EvalOptions {
        data: DataSource::Dir(dir.path().to_owned()),
        ..EvalOptions::default()
    };
    let mut model = HashModel::new(512);
    let both = tasks::find_all(&["piqa", "boolq"]).unwrap();
    let result = evaluate(&mut model, &CharTokenizer, &both, &options, &mut |_| {});
    assert!(matches!(
        result,
        Err(EvalError::MissingData { task: "boolq", .. })
    ));
    assert!(model.calls.is_empty());
    let report = evaluate(
        &mut model,
        &CharTokenizer,
        &both[..1],
        &options,
        &mut |_| {},
    )
    .unwrap();
    assert!(!report.tasks[0].fixture);
    assert!(report.tasks[0].warnings[0].contains("has 40 examples"));
    let none = evaluate(&mut model, &CharTokenizer, &[], &options, &mut |_| {});
    assert!(matches!(none, Err(EvalError::NoTasks)));
    let zero = EvalOptions {
        limit: Some(0),
        ..options
    };
    assert!(evaluate(&mut model, &CharTokenizer, &both[..1], &zero, &mut |_| {}).is_err());
}

#[test]
fn progress_ends_at_the_total_of_each_task() {
    let mut seen: Vec<Progress> = Vec::new();
    let tasks = tasks::find_all(&["piqa", "winogrande"]).unwrap();
    let mut model = HashModel::new(512);
    evaluate(&mut model, &CharTokenizer, &tasks, &builtin(), &mut |p| {
        seen.push(*p)
    })
    .unwrap();
    for (i, task) in tasks.iter().enumerate() {
        let last = seen.iter().rfind(|p| p.task == task.name).unwrap();
        assert_eq!(
            (last.done, last.task_index, last.task_count),
            (last.total, i, 2)
        );
    }
}

#[test]
fn averages_leave_boolq_out_and_fall_back_to_acc() {
    let report = run(&all_names(), 4096, &builtin());
    let acc = |task: &TaskReport| task.metric("acc").unwrap().value;
    let all: f64 = report.tasks.iter().map(acc).sum::<f64>() / 8.0;
    let rest = report.tasks.iter().filter(|t| t.task != "boolq");
    let without: f64 = rest.clone().map(acc).sum::<f64>() / 7.0;
    assert!((report.average(Metric::Acc, true).unwrap().value - all).abs() < 1e-12);
    assert!((report.average(Metric::Acc, false).unwrap().value - without).abs() < 1e-12);
    let norm = |t: &TaskReport| t.metric("acc_norm").map_or_else(|| acc(t), |e| e.value);
    let norms: f64 = rest.map(norm).sum::<f64>() / 7.0;
    assert!((report.average(Metric::AccNorm, false).unwrap().value - norms).abs() < 1e-12);
    assert_eq!(
        run(&["boolq"], 4096, &builtin()).average(Metric::Acc, false),
        None
    );
}
