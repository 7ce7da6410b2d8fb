//! Whether a saved result is what an evaluation would give now.
//!
//! A result is kept only if nothing differs that could move a number of it: weights, tokenizer, tasks and their
//! versions, the content of the data, few-shot examples, what the model reads, protocols, and the program and
//! device that compute. The size of batches, what the model is called and where the data lies move none.

use crate::evaluate::Prepared;
use crate::metrics::PAPER_VERSION;
use crate::report::EvalReport;
use crate::tasks::HARNESS_VERSION;

/// How a saved result compares with an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is the evaluation's result.
    Current,
    /// It has the evaluation's tasks, and others.
    More,
    /// It is another evaluation's; in words, what differs.
    Other(String),
}

impl Prepared<'_> {
    /// Compares a saved result with what [`Prepared::run`] would give for a model of these weights.
    pub fn compare(&self, saved: &EvalReport, weights_hash: &str) -> Saved {
        match self.difference(saved, weights_hash) {
            Some(difference) => Saved::Other(difference),
            None if self.tasks.len() < saved.tasks.len() => Saved::More,
            None => Saved::Current,
        }
    }

    fn difference(&self, saved: &EvalReport, weights_hash: &str) -> Option<String> {
        let (old, new) = (&saved.settings, &self.settings);
        let seed_counts = new.num_fewshot > 0;
        let others = [
            ("the weights", saved.weights_hash == weights_hash),
            ("the tokenizer", saved.tokenizer_hash == self.tokenizer_hash),
            ("the limit of examples", old.limit == new.limit),
            ("BOS", old.add_bos == new.add_bos),
            ("the prefix token", old.prefix_token == new.prefix_token),
            ("the longest input", old.max_seq_len == new.max_seq_len),
            ("the number of shots", old.num_fewshot == new.num_fewshot),
            (
                "the seed of the shots",
                !seed_counts || old.fewshot_seed == new.fewshot_seed,
            ),
            ("the splits", old.splits == new.splits),
            ("the program or device", old.engine == new.engine),
            ("tokenization", old.tokenization == new.tokenization),
            (
                "the version of the harness",
                saved.harness == HARNESS_VERSION,
            ),
            (
                "the version of the paper's protocol",
                saved.paper_version == PAPER_VERSION,
            ),
        ];
        if let Some((what, _)) = others.iter().find(|(_, same)| !same) {
            return Some((*what).to_owned());
        }
        self.tasks
            .iter()
            .zip(&self.data)
            .find_map(|(task, (data, loaded))| {
                let name = task.name;
                let Some(old) = saved.task(name) else {
                    return Some(format!("it lacks {name}"));
                };
                let pools =
                    [&old.pool, &data.pool].map(|pool| pool.as_ref().map(|pool| &pool.digest));
                let same_data = old.digest == data.digest
                    && old.split == data.split
                    && old.fixture == data.fixture
                    && (old.loaded, old.examples) == (*loaded, data.examples.len());
                [
                    ("the data", same_data),
                    ("the few-shot examples", pools[0] == pools[1]),
                    ("the version", old.version == task.version),
                ]
                .iter()
                .find(|(_, same)| !same)
                .map(|(what, _)| format!("{what} of {name}"))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{CharTokenizer, HashModel};
    use crate::{DataSource, EvalOptions, evaluate, tasks};

    fn options() -> EvalOptions {
        EvalOptions {
            data: DataSource::Builtin,
            limit: Some(3),
            ..EvalOptions::default()
        }
    }

    fn result(options: &EvalOptions) -> EvalReport {
        let tasks = tasks::find_all(&["piqa", "boolq"]).unwrap();
        let mut model = HashModel::new(512);
        evaluate(&mut model, &CharTokenizer, &tasks, options, &mut |_| {})
            .unwrap()
            .for_model("x", None, "w")
    }

    fn compared(saved: &EvalReport, names: &[&str], options: &EvalOptions, length: usize) -> Saved {
        let tasks = tasks::find_all(names).unwrap();
        let prepared = Prepared::load(&CharTokenizer, &tasks, options, length).unwrap();
        prepared.compare(saved, "w")
    }

    #[test]
    fn a_result_is_current_until_something_that_moves_it_differs() {
        let saved = result(&options());
        let both = ["piqa", "boolq"];
        let plain = options();
        assert_eq!(compared(&saved, &both, &plain, 512), Saved::Current);
        assert_eq!(compared(&saved, &["boolq"], &plain, 512), Saved::More);
        let batches = EvalOptions {
            batch_tokens: 1,
            ..options()
        };
        assert_eq!(compared(&saved, &both, &batches, 512), Saved::Current);
        // Another name of the folder is the same data; other rows in it are not.
        let dir = tempfile::tempdir().unwrap();
        for name in ["piqa", "boolq"] {
            let task = tasks::find(name).unwrap();
            let folder = dir.path().join("data").join(task.folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("validation.jsonl"), task.fixture.unwrap()).unwrap();
        }
        let of_folder = |data: &str| EvalOptions {
            data: DataSource::Dir(dir.path().join(data)),
            ..options()
        };
        let of_data = result(&of_folder("data"));
        let elsewhere = of_folder("data/../data");
        assert_eq!(compared(&of_data, &both, &elsewhere, 512), Saved::Current);
        assert!(matches!(
            compared(&of_data, &both, &plain, 512),
            Saved::Other(_)
        ));
        let other = |what: &str, saved: &EvalReport, options: &EvalOptions, length| {
            let found = compared(saved, &both, options, length);
            assert_eq!(found, Saved::Other(what.to_owned()));
        };
        other("the longest input", &saved, &plain, 256);
        let mut options = plain.clone();
        options.engine = "another".into();
        other("the program or device", &saved, &options, 512);
        options = plain.clone();
        options.limit = Some(4);
        other("the limit of examples", &saved, &options, 512);
        let changed = |change: &dyn Fn(&mut EvalReport)| {
            let mut changed = saved.clone();
            change(&mut changed);
            changed
        };
        other(
            "the weights",
            &changed(&|r| r.weights_hash = "v".into()),
            &plain,
            512,
        );
        let tokenizer = changed(&|r| r.tokenizer_hash = "t".into());
        other("the tokenizer", &tokenizer, &plain, 512);
        let harness = changed(&|r| r.harness = "0.4.0".into());
        other("the version of the harness", &harness, &plain, 512);
        let paper = changed(&|r| r.paper_version = 1);
        other("the version of the paper's protocol", &paper, &plain, 512);
        let data = changed(&|r| r.tasks[1].digest = "d".into());
        other("the data of boolq", &data, &plain, 512);
        let version = changed(&|r| r.tasks[0].version += 1.0);
        other("the version of piqa", &version, &plain, 512);
        let fewer = changed(&|r| r.tasks.truncate(1));
        other("it lacks boolq", &fewer, &plain, 512);
        let shots = changed(&|r| r.settings.num_fewshot = 1);
        other("the number of shots", &shots, &plain, 512);
    }
}
