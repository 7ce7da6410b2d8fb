//! Every sweep file under `experiments/` plans, and has the budgets of the paper's rows.

use slender_sweep::{PlannedRun, SweepOptions, paper, plan};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const TABLES: [&str; 8] = [
    "depth-width",
    "road-map",
    "embedding-sharing",
    "heads",
    "sharing-order",
    "repeats",
    "125m",
    "350m",
];

fn experiments() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../experiments")
}

fn planned(file: &Path) -> Vec<PlannedRun> {
    let folder = tempfile::tempdir().unwrap();
    let options = SweepOptions::new(vec![file.to_owned()], folder.path().into(), PathBuf::new());
    match plan(&options) {
        Ok(runs) => runs,
        Err(error) => panic!("{}: {error}", file.display()),
    }
}

fn params(run: &PlannedRun) -> u64 {
    run.facts.accounting.unwrap().params_without_norms
}

#[test]
fn every_sweep_file_is_planned() {
    let mut count = 0;
    for folder in std::fs::read_dir(experiments()).unwrap() {
        let folder = folder.unwrap().path();
        for file in std::fs::read_dir(&folder).into_iter().flatten() {
            let file = file.unwrap().path();
            if file
                .extension()
                .is_some_and(|extension| extension == "toml")
            {
                assert!(!planned(&file).is_empty());
                count += 1;
            }
        }
    }
    assert!(count >= 3 * TABLES.len(), "{count} files");
}

#[test]
fn the_paper_scale_has_every_row_at_its_printed_size_and_budget() {
    let mut rows = BTreeMap::new();
    for table in TABLES {
        for run in planned(&experiments().join(table).join("paper.toml")) {
            let Some(id) = run.facts.paper_row.clone() else {
                // The paper prints no scores of the larger models with shared layers.
                assert_eq!(table, "350m", "{}", run.name);
                assert_eq!(run.facts.repeats, 2, "{}", run.name);
                continue;
            };
            let row = paper::row(&id).unwrap();
            assert!(row.params.unwrap().agrees_with(params(&run)), "{id}");
            let tokens = (run.facts.tokens_per_step * run.facts.total_steps) as f64;
            assert!(
                (tokens / row.tokens.unwrap() - 1.0).abs() < 0.01,
                "{id}: {tokens}"
            );
            assert!(rows.insert(id, table).is_none(), "a row has two runs");
        }
    }
    let count = |table: u32| {
        let of = rows
            .keys()
            .filter(|id| paper::row(id).unwrap().table() == table);
        of.count()
    };
    for table in [1, 2, 10, 11, 13, 14] {
        let shaped = paper::rows().iter().filter(|row| row.shape.is_some());
        assert_eq!(
            count(table),
            shaped.filter(|row| row.table() == table).count(),
            "Table {table}"
        );
    }
}

#[test]
fn proxies_keep_the_proportions_of_the_paper() {
    for table in TABLES {
        let whole = planned(&experiments().join(table).join("paper.toml"));
        for (size, low, high) in [("1m", 0.7e6, 1.6e6), ("10m", 6e6, 13e6)] {
            let file = experiments().join(table).join(format!("proxy-{size}.toml"));
            let runs: Vec<PlannedRun> = planned(&file)
                .into_iter()
                .filter(|run| run.seed == 0)
                .collect();
            // Where a table has both scales, the proxies are those of the first.
            assert!(
                runs.len() == whole.len() || 2 * runs.len() >= whole.len() - 2,
                "{table}"
            );
            let first = params(&runs[0]) as f64 / params(&whole[0]) as f64;
            for (small, large) in runs.iter().zip(&whole) {
                let at = format!("{table}, {size}, {}", small.name);
                let size = params(small) as f64;
                assert!((low..high).contains(&size), "{at}: {size} parameters");
                let share = size / params(large) as f64 / first;
                assert!((share - 1.0).abs() < 0.12, "{at}: {share}");
                let (a, b) = (&small.facts, &large.facts);
                assert_eq!(a.ffn, b.ffn, "{at}");
                assert_eq!((a.n_heads, a.n_kv_heads), (b.n_heads, b.n_kv_heads), "{at}");
                assert_eq!((&a.sharing, a.repeats), (&b.sharing, b.repeats), "{at}");
                assert_eq!(a.tie_embeddings, b.tie_embeddings, "{at}");
                let shape = |facts: &slender_sweep::RunFacts| {
                    let accounting = facts.accounting.unwrap();
                    accounting.params_embedding as f64 / accounting.params_without_norms as f64
                };
                assert!((shape(a) - shape(b)).abs() < 0.05, "{at}: embeddings");
                let longer = b.total_steps / whole[0].facts.total_steps;
                assert_eq!(a.total_steps / runs[0].facts.total_steps, longer, "{at}");
            }
        }
    }
}

#[test]
fn sweep_files_are_what_the_script_writes() {
    let script = experiments().join("../scripts/make_paper_sweeps.py");
    let run = std::process::Command::new("python3")
        .arg("-B")
        .arg(script)
        .arg("--check")
        .output();
    match run {
        Ok(output) => assert!(
            output.status.success(),
            "run scripts/make_paper_sweeps.py:\n{}",
            String::from_utf8_lossy(&output.stdout)
        ),
        Err(error) => eprintln!("skipped: python3 does not start ({error})"),
    }
}

#[test]
fn the_examples_of_the_page_are_sound() {
    let page = std::fs::read_to_string(experiments().join("../docs/sweeps.md")).unwrap();
    let blocks: Vec<&str> = (page.split("```toml\n").skip(1))
        .map(|rest| rest.split("```").next().unwrap())
        .collect();
    assert!(blocks.len() >= 3);
    let folder = tempfile::tempdir().unwrap();
    let configs = experiments().join("../configs").canonicalize().unwrap();
    let head = "[sweep]\nbase = \"../configs/base/proxy-1m.toml\"\n[set]\n\
                data.tokenizer.vocab_size = 32000\n";
    let shape = "\
                model = { tie_embeddings = true, layer_sharing = { kind = \"none\" }, n_heads = 4, n_kv_heads = 4 }\n";
    for (index, block) in blocks.iter().enumerate() {
        let whole = match block.contains("[sweep]") {
            true => (*block).to_owned(),
            false if block.contains("[[variants]]") || block.contains("[space]") => {
                // A space brings the shape itself.
                let shape = if block.contains("[space]") { "" } else { shape };
                format!("{head}{shape}{block}")
            }
            // Sections that the sweep file hands on.
            false => continue,
        };
        let text = whole.replace("../configs", &configs.to_string_lossy());
        let file = folder.path().join(format!("example{index}.toml"));
        std::fs::write(&file, text).unwrap();
        assert!(!planned(&file).is_empty());
    }
}
