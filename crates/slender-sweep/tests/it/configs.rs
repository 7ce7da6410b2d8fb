//! Every configuration under `configs/` loads, and the paper's models have the printed size.

use slender_config::Config;
use slender_sweep::{RunFacts, paper};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn configs_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../configs")
}

/// All TOML files below `dir` but the bases, which are not whole.
fn runnable(dir: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            if path.file_name().unwrap() != "base" {
                runnable(&path, out);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            out.push(path);
        }
    }
}

fn all() -> Vec<(PathBuf, Config)> {
    let mut paths = Vec::new();
    runnable(&configs_dir(), &mut paths);
    paths.sort();
    let load = |path: PathBuf| match Config::load(&path, &[]) {
        Ok(config) => (path, config),
        Err(error) => panic!("{}: {error}", path.display()),
    };
    paths.into_iter().map(load).collect()
}

#[test]
fn models_of_the_paper_have_its_shape_budget_and_printed_size() {
    let mut used = BTreeSet::new();
    for (path, config) in all() {
        let Some(id) = &config.run.paper_row else {
            continue;
        };
        let at = path.display();
        let row = paper::row(id).unwrap_or_else(|| panic!("{at}: no row {id}"));
        assert!(used.insert(row.id), "{at}: {id} has two configurations");
        let shape = row.shape.as_ref().unwrap();
        let facts = RunFacts::of(&config);
        assert_eq!(facts.n_layers, shape.layers, "{at}");
        assert_eq!(facts.dim, shape.dim, "{at}");
        assert_eq!(facts.n_heads, shape.heads, "{at}");
        assert_eq!(facts.n_kv_heads, shape.kv_heads, "{at}");
        assert_eq!(facts.ffn, shape.ffn, "{at}");
        assert_eq!(facts.ffn_hidden, shape.ffn_hidden, "{at}");
        assert_eq!(facts.tie_embeddings, shape.tied, "{at}");
        assert_eq!(facts.sharing, shape.sharing, "{at}");
        assert_eq!(facts.repeats, shape.repeats, "{at}");
        let counted = facts.accounting.unwrap().params_without_norms;
        let printed = row.params.unwrap();
        assert!(
            printed.agrees_with(counted),
            "{at}: {counted} is not {printed:?}"
        );
        let tokens = (facts.tokens_per_step * facts.total_steps) as f64;
        let budget = row.tokens.unwrap();
        assert!(
            (tokens / budget - 1.0).abs() < 0.01,
            "{at}: {tokens} tokens"
        );
    }
    let shaped = paper::rows().iter().filter(|row| row.shape.is_some());
    let missing: Vec<_> = shaped.filter(|row| !used.contains(row.id)).collect();
    assert!(
        missing.is_empty(),
        "rows without a configuration: {missing:?}"
    );
}

#[test]
fn final_models_have_their_exact_size_with_and_without_sharing() {
    for (name, wanted) in [
        ("125m-30x576-gqa3", 124_635_456),
        ("350m-32x960-gqa5", 345_355_200),
        ("600m-40x1152-gqa6", 603_188_352),
        ("1b-54x1280-gqa5", 1_005_461_760),
        ("1.5b-54x1600-gqa5", 1_511_188_800),
    ] {
        for suffix in ["", "-ls"] {
            let path = configs_dir().join(format!("{name}{suffix}.toml"));
            let config = Config::load(&path, &[]).unwrap();
            let facts = RunFacts::of(&config);
            assert_eq!(config.name(), format!("{name}{suffix}"));
            assert_eq!(
                facts.accounting.unwrap().params_total,
                wanted,
                "{name}{suffix}"
            );
            assert_eq!(facts.repeats, if suffix.is_empty() { 1 } else { 2 });
        }
    }
}

#[test]
fn small_sweeps_compare_models_of_about_one_size() {
    for prefix in ["smoke-", "proxy-1m-"] {
        let sizes: Vec<u64> = all()
            .iter()
            .filter(|(_, config)| config.name().starts_with(prefix))
            .map(|(_, config)| config.accounting().unwrap().params_total)
            .collect();
        assert!(sizes.len() >= 4, "{prefix}: {sizes:?}");
        let (low, high) = (sizes.iter().min().unwrap(), sizes.iter().max().unwrap());
        assert!(*high as f64 <= 1.1 * *low as f64, "{prefix}: {sizes:?}");
    }
}

#[test]
fn configurations_are_what_the_script_writes() {
    let script = configs_dir().join("../scripts/make_paper_configs.py");
    let run = std::process::Command::new("python3")
        .arg(script)
        .arg("--check")
        .output();
    match run {
        Ok(output) => assert!(
            output.status.success(),
            "run scripts/make_paper_configs.py:\n{}",
            String::from_utf8_lossy(&output.stdout)
        ),
        Err(error) => eprintln!("skipped: python3 does not start ({error})"),
    }
}
