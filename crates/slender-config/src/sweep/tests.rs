//! Sweep files from text to configurations, and what is said of their slips.

use super::{Expanded, SweepFile};
use std::path::PathBuf;

/// A folder with a base and a sweep file.
struct Folder(tempfile::TempDir);

const BASE: &str = r#"
[model]
n_layers = 2
dim = 64
n_heads = 4
n_kv_heads = 4
ffn_hidden = 256
max_seq_len = 64
tie_embeddings = true
layer_sharing = { kind = "none" }
[data]
sources = [{ kind = "builtin", name = "books-mini" }]
tokenizer = { kind = "bpe", vocab_size = 512 }
[train]
batch_size = 4
steps = 1000
warmup_steps = 100
lr = 1e-3
"#;

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        std::fs::write(folder.0.path().join("base.toml"), BASE).unwrap();
        folder
    }

    fn read(&self, text: &str) -> Result<SweepFile, String> {
        let path = self.0.path().join("sweep.toml");
        std::fs::write(&path, text).unwrap();
        SweepFile::read(&path).map_err(|error| error.to_string())
    }

    fn expand(&self, text: &str) -> Result<Vec<Expanded>, String> {
        let file = self.read(text)?;
        file.expand(&[], None).map_err(|error| error.to_string())
    }

    /// What is said of `text`, without the folder's name.
    fn said(&self, text: &str) -> String {
        let error = self.expand(text).unwrap_err();
        error.replace(&format!("{}/", self.0.path().display()), "")
    }
}

fn names(runs: &[Expanded]) -> Vec<&str> {
    runs.iter().map(|run| run.name.as_str()).collect()
}

#[test]
fn axes_cross_and_zipped_ones_go_together() {
    let folder = Folder::new();
    let runs = folder
        .expand(
            "[sweep]\nbase = \"base.toml\"\n[axes]\ntrain.lr = [1e-3, 3e-3]\n\"model.n_layers\" = [2, 4]\n\
             model.dim = [64, 32]\nzip = [\"model.n_layers\", \"model.dim\"]\n",
        )
        .unwrap();
    assert_eq!(
        names(&runs),
        [
            "base-lr0.001-n_layers2-dim64",
            "base-lr0.001-n_layers4-dim32",
            "base-lr0.003-n_layers2-dim64",
            "base-lr0.003-n_layers4-dim32",
        ]
    );
    let last = &runs[3];
    assert_eq!((last.config.model.n_layers, last.config.model.dim), (4, 32));
    assert_eq!(last.config.train.lr, 3e-3);
    assert_eq!(last.config.run.name.as_deref(), Some(last.name.as_str()));
    assert_eq!(last.axes["model.n_layers"], 4);
    assert_eq!(last.axes["train.lr"], 3e-3);
    assert_eq!(last.axes.len(), 3);
    // head_dim follows from dim, as in a file of its own.
    assert_eq!(last.config.model.head_dim, Some(8));
}

#[test]
fn a_name_does_not_depend_on_its_neighbours() {
    let folder = Folder::new();
    let text =
        |values: &str| format!("[sweep]\nbase = \"base.toml\"\n[axes]\ntrain.lr = {values}\n");
    let few = folder.expand(&text("[3e-3]")).unwrap();
    let many = folder.expand(&text("[1e-3, 3e-3, 1e-2]")).unwrap();
    assert_eq!(few[0].name, many[1].name);
}

#[test]
fn seeds_make_runs_of_one_variant() {
    let folder = Folder::new();
    let file = folder
        .read("[sweep]\nbase = \"base.toml\"\nseeds = 2\n[[variants]]\nname = \"a\"\n")
        .unwrap();
    let runs = file.expand(&[], None).unwrap();
    assert_eq!(names(&runs), ["a-s0", "a-s1"]);
    assert!(runs.iter().all(|run| run.variant == "a"));
    assert_eq!((runs[1].seed, runs[1].config.run.seed), (1, 1));
    assert_eq!(runs[1].config.data.order_seed, Some(1));
    assert!(runs[0].axes.is_empty());
    let runs = file.expand(&[], Some(&[7])).unwrap();
    assert_eq!(names(&runs), ["a-s7"]);
}

#[test]
fn a_given_order_seed_stays() {
    let folder = Folder::new();
    let runs = folder
        .expand("[sweep]\nbase = \"base.toml\"\nseeds = [3]\n[set]\ndata.order_seed = 5\n")
        .unwrap();
    assert_eq!(runs[0].config.data.order_seed, Some(5));
}

#[test]
fn variants_have_names_bases_and_overrides_of_their_own() {
    let folder = Folder::new();
    std::fs::write(
        folder.0.path().join("other.toml"),
        "extends = \"base.toml\"\n[model]\ndim = 128\nn_heads = 8\nn_kv_heads = 8\n",
    )
    .unwrap();
    let runs = folder
        .expand(
            "[sweep]\nbase = \"base.toml\"\n[set]\ntrain.steps = 50\ntrain.warmup_steps = 5\n\
             [[variants]]\nname = \"thin\"\nmodel = { n_layers = 8, dim = 32 }\n\
             [[variants]]\nbase = \"other.toml\"\ntrain.tokens = 2560\n\
             [[overrides]]\nwhen = { variant = \"thin\" }\ntrain.lr = 5e-4\n",
        )
        .unwrap();
    assert_eq!(names(&runs), ["thin", "other"]);
    assert_eq!(
        (runs[0].config.model.n_layers, runs[0].config.train.lr),
        (8, 5e-4)
    );
    assert_eq!(runs[0].config.train.steps, Some(50));
    // Tokens replace the steps of the layer below.
    assert_eq!(
        (runs[1].config.train.steps, runs[1].config.train.tokens),
        (None, Some(2560))
    );
    assert_eq!(runs[1].config.train.lr, 1e-3);
    // Where bases differ is what varies, too.
    assert_eq!(runs[0].axes["model.n_heads"], 4);
    assert_eq!(runs[1].axes["model.n_heads"], 8);
}

#[test]
fn overrides_can_leave_combinations_out() {
    let folder = Folder::new();
    let runs = folder
        .expand(
            "[sweep]\nbase = \"base.toml\"\n[axes]\nmodel.n_layers = [2, 4]\ntrain.lr = [1e-3, 1]\n\
             [[overrides]]\nwhen = { model.n_layers = 4, train.lr = 1.0 }\nskip = true\n",
        )
        .unwrap();
    assert_eq!(runs.len(), 3);
}

#[test]
fn equal_compute_changes_the_steps() {
    let folder = Folder::new();
    let text = |equal: &str| {
        format!(
            "[sweep]\nbase = \"base.toml\"\nequal = \"{equal}\"\n[[variants]]\nname = \"plain\"\n\
             [[variants]]\nname = \"deep\"\nmodel.n_layers = 6\n\
             [[variants]]\nname = \"shared\"\nmodel.layer_sharing = {{ kind = \"immediate\", repeats = 3 }}\n"
        )
    };
    let flops = |run: &Expanded| super::budget::train_flops(&run.config).unwrap();
    let runs = folder.expand(&text("train_flops")).unwrap();
    for run in &runs {
        let ratio = flops(run) / flops(&runs[0]);
        assert!((ratio - 1.0).abs() < 2e-3, "{}: {ratio}", run.name);
    }
    assert!(runs[1].config.train.total_steps() < 600);
    let warm = runs[1].config.train.warmup_steps as f64 / runs[1].config.train.total_steps() as f64;
    assert!((warm - 0.1).abs() < 1e-3, "{warm}");
    let runs = folder.expand(&text("shared_flops")).unwrap();
    assert_eq!(
        runs[1].config.train.total_steps(),
        1000,
        "an unshared variant stays"
    );
    let ratio = flops(&runs[2]) / flops(&runs[0]);
    assert!((ratio - 1.0).abs() < 2e-3, "{ratio}");
}

#[test]
fn a_space_makes_a_variant_of_every_shape() {
    let folder = Folder::new();
    let runs = folder
        .expand(
            "[sweep]\nbase = \"base.toml\"\n[space]\nparams_total = \"200K\"\ntolerance = 0.1\n\
             depth = \"2..12\"\nhead_dim = 8\ntie_embeddings = [true, false]\nffn_multiple_of = 32\npick = 3\n",
        )
        .unwrap();
    assert!(runs.len() == 6, "{:?}", names(&runs));
    for run in &runs {
        let params = run.config.accounting().unwrap().params_total as f64;
        assert!((params / 2e5 - 1.0).abs() <= 0.1, "{}: {params}", run.name);
        assert_eq!(run.config.model.head_dim, Some(8));
        assert_eq!(run.axes["model.n_layers"], run.config.model.n_layers);
    }
    assert!(runs[0].name.starts_with("base-2x") && runs[0].name.ends_with("-tied"));
}

#[test]
fn slips_are_named_with_line_key_and_hint() {
    let folder = Folder::new();
    let base = "[sweep]\nbase = \"base.toml\"\n";
    std::fs::write(folder.0.path().join("nested.toml"), "[sweep]\n").unwrap();
    for (text, wanted) in [
        (
            "[sweep]\nbase = \"base.toml\"\n[[variants]]\nname = \"../a\"\n",
            "sweep.toml:4: `variants[0].name`: `../a` cannot be the name of a folder",
        ),
        (
            "[sweep]\nbase = \"nested.toml\"\n",
            "sweep.toml:2: `sweep.base`: nested.toml is a sweep file itself",
        ),
        (
            "[set]\ntrain.lr = 1\n",
            "sweep.toml:1: this is no sweep file",
        ),
        // The sweep file's own keys.
        (
            "[sweep]\nbase = \"bas.toml\"\n",
            "sweep.toml:2: `sweep.base`: no such file: bas.toml",
        ),
        ("[sweep]\n", "`sweep.base`: is missing"),
        (
            "[sweep]\nbase = \"base.toml\"\nseed = 3\n",
            "sweep.toml:3: `sweep.seed`: unknown key\n  hint: did you mean `sweep.seeds`?",
        ),
        (
            "[sweep]\nbase = \"base.toml\"\nseeds = 0\n",
            "`sweep.seeds`: expected a number of seeds",
        ),
        (
            "[sweep]\nbase = \"base.toml\"\nseeds = [1, 1]\n",
            "seed 1 is given twice",
        ),
        (
            "[sweep]\nbase = \"base.toml\"\nequal = \"flops\"\n",
            "unknown value `flops`",
        ),
        ("[sweep]\nbase = 3\n", "expected text in quotes"),
    ] {
        assert!(
            folder.said(text).contains(wanted),
            "{}\n{wanted}",
            folder.said(text)
        );
    }
    for (text, wanted) in [
        (
            "[axis]\ntrain.lr = [1]\n",
            "sweep.toml:3: `axis`: unknown section\n  hint: did you mean [axes]?",
        ),
        (
            "[train]\nlr = 1\n",
            "keys of the configuration go below [set], [axes] or [[variants]]",
        ),
        (
            "[axes]\nmodel.n_layer = [2, 3]\n",
            "sweep.toml:4: `model.n_layer`: unknown key\n  hint: did you mean `model.n_layers`?",
        ),
        (
            "[axes]\nmodel.n_layers = [\"two\", 4]\n",
            "sweep.toml:4: `model.n_layers`: invalid type: string \"two\", expected a whole number",
        ),
        (
            "[axes]\nmodel.n_layers = 4\n",
            "expected a list of values\n  hint: write [..], or put `model.n_layers` below [set]",
        ),
        (
            "[axes]\nmodel.n_layers = []\n",
            "sweep.toml:4: `axes.model.n_layers`: the list is empty",
        ),
        (
            "[axes]\nmodel.n_layers = [2, 4]\ntrain.lr = [1]\nzip = [\"model.n_layers\", \"train.lr\"]\n",
            "sweep.toml:6: `axes.zip`: zipped axes are of different lengths: `model.n_layers` has 2, `train.lr` has 1",
        ),
        (
            "[axes]\nmodel.n_layers = [2]\nzip = [\"model.n_layer\"]\n",
            "`model.n_layer` is no axis\n  hint: did you mean `model.n_layers`?",
        ),
        (
            "[axes]\nrun.seed = [1, 2]\n",
            "seeds are not an axis like others",
        ),
        (
            "[axes]\nmodel.n_heads = [4, 5, 7]\n",
            "`model.n_heads`: dim 64 is not divisible by 5 heads",
        ),
        (
            "[axes]\ntrain.lr = [0.1, 0.1]\n",
            "two variants are called `base-lr0.1`: an axis has a value twice",
        ),
        (
            "[[variants]]\nname = \"a\"\n[[variants]]\nname = \"a\"\nmodel.n_layers = 3\n",
            "sweep.toml:5: two variants are called `a`",
        ),
        (
            "[[variants]]\nmodel.n_layers = 3\n",
            "`variants[0].name`: is missing",
        ),
        (
            "[[variants]]\nname = \"a\"\nn_layers = 3\n",
            "sweep.toml:5: `n_layers`: unknown key\n  hint: `n_layers` belongs to another section: `model.n_layers`",
        ),
        (
            "[variants]\nname = \"a\"\n",
            "head each entry with [[variants]]",
        ),
        (
            "[set]\nrun.name = \"x\"\n",
            "runs of a sweep are named by the sweep",
        ),
        (
            "[[overrides]]\nwhen = { train.lr = 1 }\n",
            "is no axis of this sweep",
        ),
        (
            "[axes]\ntrain.lr = [1e-3, 3e-3]\n[[overrides]]\nwhen = { train.lr = 3e-4 }\ntrain.warmup_steps = 1\n",
            "sweep.toml:6: `overrides[0].when.train.lr`: no run has this value\n  hint: values here: 0.001, 0.003",
        ),
        (
            "[[variants]]\nname = \"thin\"\n[[overrides]]\nwhen = { variant = \"thn\" }\nskip = true\n",
            "`overrides[0].when.variant`: no run has this value\n  hint: values here: thin",
        ),
        (
            "[set]\ntrain.lr = 1e-3\n[axes]\ntrain.lr = [2e-3]\n",
            "sweep.toml:4: `train.lr`: the sweep varies this key, so [set] does nothing",
        ),
        (
            "[axes]\ntrain.tokens = [1e4]\n",
            "expected a whole number, not negative\n  hint: write it as a whole number: 10_000",
        ),
        (
            "[executor]\nkind = \"slurm\"\n",
            "sweep.toml:3: `executor`: unknown section\n  hint: who does the work is said by --executor",
        ),
        (
            "[[overrides]]\ntrain.lr = 1\n",
            "`overrides[0].when`: expected the values",
        ),
        (
            "[space]\ndepth = 4\nhead_dim = 8\ntie_embeddings = true\n",
            "sweep.toml:3: `space`: there is no budget",
        ),
        (
            "[space]\nparams_total = 1\ndepth = \"9..4\"\nhead_dim = 7\n",
            "`space.depth`: expected a whole number, a list of them or a range",
        ),
        (
            "[space]\nparams_total = 1\ndepth = 4\nhead_dim = 7\n",
            "7 is odd, but RoPE rotates pairs",
        ),
        (
            "[space]\nparams_total = 1\ndepth = 4\nhead_dim = 8\n",
            "`space.tie_embeddings`: is missing",
        ),
        (
            "[space]\nparams_total = \"1K\"\ndepth = 4\nhead_dim = 8\ntie_embeddings = true\n",
            "sweep.toml:4: `space.params_total`: no shape of this space meets the budget; the nearest, 4x8-mha with",
        ),
        ("[axes\n", "not valid TOML"),
    ] {
        let said = folder.said(&format!("{base}{text}"));
        assert!(said.contains(wanted), "{said}\nwanted: {wanted}");
    }
}

#[test]
fn a_problem_of_many_variants_is_said_once() {
    let folder = Folder::new();
    let lrs: Vec<String> = (1..50).map(|i| format!("{}e-4", i)).collect();
    let said = folder.said(&format!(
        "[sweep]\nbase = \"base.toml\"\n[axes]\ntrain.lr = [{}]\nmodel.n_heads = [4, 3]\n",
        lrs.join(", ")
    ));
    assert_eq!(
        said.matches("is not divisible by 3 heads").count(),
        1,
        "{said}"
    );
    assert!(
        said.contains("(49 of 98 variants, such as `base-lr1e-4-n_heads3`)"),
        "{said}"
    );
}

#[test]
fn the_command_line_does_not_undo_an_axis() {
    let folder = Folder::new();
    let file = folder
        .read("[sweep]\nbase = \"base.toml\"\n[axes]\ntrain.lr = [1e-3, 2e-3]\n")
        .unwrap();
    let error = file.expand(&["train.lr=1".into()], None).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("--set: `train.lr`: the sweep varies this key")
    );
    let runs = file.expand(
        &["train.steps=7".into(), "train.warmup_steps=1".into()],
        None,
    );
    assert_eq!(runs.unwrap()[1].config.train.total_steps(), 7);
}

#[test]
fn the_command_line_does_not_undo_a_variant() {
    let folder = Folder::new();
    let file = folder
        .read("[sweep]\nbase = \"base.toml\"\n[[variants]]\nname = \"deep\"\nmodel.n_layers = 4\n[[variants]]\nname = \"plain\"\n")
        .unwrap();
    let error = file.expand(&["model.n_layers=3".into()], None).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("--set: `model.n_layers`: the sweep varies this key")
            && error.contains("[[variants]] give it (`deep`)"),
        "{error}"
    );
    assert!(file.expand(&["train.lr=2e-3".into()], None).is_ok());
}

#[test]
fn shapes_of_a_budget_stay_on_it() {
    let folder = Folder::new();
    let space = |budget: &str, more: &str| {
        format!(
            "[sweep]\nbase = \"base.toml\"\n[space]\n{budget}\ntolerance = 0.2\ndepth = [2, 4]\nhead_dim = 8\n\
             tie_embeddings = true\nffn_multiple_of = 32\npick = 2\n{more}"
        )
    };
    let total = "params_total = \"200K\"";
    let inside = "params_non_embedding = \"160K\"";
    for (budget, more, wanted) in [
        (
            total,
            "[axes]\nmodel.dim = [32, 64]\n",
            "`axes.model.dim`: changes what the shapes of [space] cost",
        ),
        (
            total,
            "[axes]\ndata.tokenizer.vocab_size = [300, 600]\n",
            "hint: give one value below [set]",
        ),
        (
            total,
            "[axes]\nmodel.ffn = [\"swiglu\", \"gelu\"]\n",
            "sweep.toml:12: `axes.model.ffn`",
        ),
        (
            total,
            "[[overrides]]\nwhen = { model.n_layers = 2 }\nmodel.dim = 64\n",
            "hint: let [space] vary it, by heads and head_dim",
        ),
        (
            total,
            "[set]\nmodel.n_layers = 3\n",
            "hint: [space] decides it, by depth",
        ),
        (
            "train_flops = \"1e12\"",
            "[axes]\ntrain.steps = [10, 20]\n",
            "`axes.train.steps`: changes",
        ),
    ] {
        let said = folder.said(&space(budget, more));
        assert!(said.contains(wanted), "{said}\nwanted: {wanted}");
    }
    // What does not change the cost varies freely.
    for (budget, more) in [
        (
            total,
            "[axes]\ntrain.lr = [1e-3, 2e-3]\ntrain.steps = [10, 20]\n[set]\ntrain.warmup_steps = 1\n",
        ),
        (inside, "[axes]\ndata.tokenizer.vocab_size = [300, 600]\n"),
    ] {
        let text = space(budget, more);
        assert!(folder.expand(&text).unwrap().len() >= 2, "{more}");
    }
    let file = folder.read(&space(total, "")).unwrap();
    for sets in ["model.n_layers=3", "model.layer_sharing.kind=none"] {
        let error = file.expand(&[sets.into()], None).unwrap_err().to_string();
        assert!(error.contains("[space] decides it, by "), "{error}");
        assert!(file.shapes(&[sets.into()]).is_err());
    }
}

#[test]
fn too_many_runs_are_refused() {
    let folder = Folder::new();
    let list: Vec<String> = (1..400).map(|i| i.to_string()).collect();
    let list = list.join(", ");
    let said = folder.said(&format!(
        "[sweep]\nbase = \"base.toml\"\n[axes]\nmodel.n_layers = [{list}]\nrun.log_every = [{list}]\n"
    ));
    assert!(said.contains("the axes cross to too many runs"), "{said}");
}

#[test]
fn paths_are_relative_to_the_sweep_file() {
    let folder = Folder::new();
    let runs = folder
        .expand(
            "[sweep]\nbase = \"base.toml\"\n[axes]\ndata.sources = [[{ kind = \"files\", paths = [\"text\"] }], \
             [{ kind = \"builtin\", name = \"books-mini\" }]]\n[set]\neval.data_dir = \"bench\"\n",
        )
        .unwrap();
    let root = folder.0.path().canonicalize().unwrap();
    let paths = runs[0].config.data.sources[0].paths.clone().unwrap();
    assert_eq!(paths, [root.join("text")]);
    assert_eq!(runs[0].config.eval.data_dir, Some(root.join("bench")));
    assert!(
        runs[0].name.starts_with("base-sources-"),
        "{}",
        runs[0].name
    );
}

#[test]
fn other_sections_are_read_by_their_owners() {
    #[derive(serde::Deserialize, Debug)]
    struct Slurm {
        partition: String,
    }
    let folder = Folder::new();
    let text = "[sweep]\nbase = \"base.toml\"\n[slurm]\npartition = \"gpu\"\n";
    let file = folder.read(text).unwrap();
    assert_eq!(
        file.section::<Slurm>("slurm").unwrap().unwrap().partition,
        "gpu"
    );
    assert!(file.section::<Slurm>("search").unwrap().is_none());
    let file = folder.read(&format!("{text}qos = 3\n")).unwrap();
    let error = file.section::<Slurm>("slurm").unwrap_err().to_string();
    assert!(
        error.contains("sweep.toml:5: `slurm.qos`: unknown key"),
        "{error}"
    );
    let file = folder.read(&format!("{text}partitions = 3\n")).unwrap();
    let error = file.section::<Slurm>("slurm").unwrap_err().to_string();
    assert!(
        error.contains("hint: did you mean `slurm.partition`?"),
        "{error}"
    );
}

#[test]
fn a_thousand_variants_take_a_fraction_of_a_second() {
    let folder = Folder::new();
    let lrs: Vec<String> = (1..=100).map(|i| format!("{}e-5", i)).collect();
    let text = format!(
        "[sweep]\nbase = \"base.toml\"\n[axes]\ntrain.lr = [{}]\nmodel.n_layers = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n",
        lrs.join(", ")
    );
    let start = std::time::Instant::now();
    assert_eq!(folder.expand(&text).unwrap().len(), 1000);
    eprintln!("1,000 variants in {:?}", start.elapsed());
}

#[test]
fn a_sweep_file_is_told_from_a_configuration() {
    let folder = Folder::new();
    folder.read("[sweep]\nbase = \"base.toml\"\n").unwrap();
    let sweep: PathBuf = folder.0.path().join("sweep.toml");
    assert!(super::is_sweep_file(&sweep));
    assert!(!super::is_sweep_file(&folder.0.path().join("base.toml")));
    let error = crate::Config::load(&sweep, &[]).unwrap_err().to_string();
    assert!(error.contains("this is a sweep file"), "{error}");
    // However it is written.
    for text in [
        "\u{feff}[sweep]\nbase = \"base.toml\"\n",
        "[sweep]\t# all of it\nbase = \"base.toml\"\n",
        "[ sweep ]\r\nbase = \"base.toml\"\r\n",
        "sweep.base = \"base.toml\"\n",
        "sweep = { base = \"base.toml\" }\n",
    ] {
        assert_eq!(folder.expand(text).map(|runs| runs.len()), Ok(1), "{text}");
        assert!(super::is_sweep_file(&sweep), "{text}");
    }
    // And even with a slip in it.
    for (text, wanted) in [
        ("\u{feff}[sweep]\t# x\nbase = \n", true),
        ("sweep.base = \n", true),
        ("sweep = 3\n", true),
        ("[model]\nnote = \"\"\"\n[sweep]\n\"\"\"\n", false),
    ] {
        std::fs::write(&sweep, text).unwrap();
        assert_eq!(super::is_sweep_file(&sweep), wanted, "{text}");
    }
}
