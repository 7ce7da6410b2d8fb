//! Logits, loss and every gradient against PyTorch.
//!
//! The golden files come from `scripts/golden_model.py`, an independent PyTorch decoder computed in
//! f64. The bound is 1e-5 of each tensor's largest value. Measured: 4.8e-6 at worst, 4.0e-6 with
//! `SLENDER_FUSED=0`; PyTorch's own f32 comes to 3.5e-6 on the same files.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use slender_config::ModelShape;
use slender_model::{Dropout, Transformer};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest accepted `max|a - b| / max|b|` of one tensor.
const BOUND: f64 = 1e-5;

/// A golden file in memory.
struct Golden {
    shape: ModelShape,
    /// Dimensions and values of every f32 tensor.
    floats: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    /// Dimensions and values of `tokens`, `targets` and perhaps `segments`.
    integers: BTreeMap<String, (Vec<usize>, Vec<i32>)>,
}

impl Golden {
    fn read(file: &Path) -> Self {
        let bytes = std::fs::read(file).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        assert_eq!(metadata["format"], "slender-golden/1", "{}", file.display());
        let shape = serde_json::from_str(&metadata["shape"]).unwrap();
        let (mut floats, mut integers) = (BTreeMap::new(), BTreeMap::new());
        for (name, view) in SafeTensors::deserialize(&bytes).unwrap().tensors() {
            let dims = view.shape().to_vec();
            let words = view.data().as_chunks::<4>().0;
            match view.dtype() {
                Dtype::F32 => {
                    let values = words.iter().map(|&b| f32::from_le_bytes(b)).collect();
                    floats.insert(name, (dims, values));
                }
                Dtype::I32 => {
                    let values = words.iter().map(|&b| i32::from_le_bytes(b)).collect();
                    integers.insert(name, (dims, values));
                }
                other => panic!("{name} has dtype {other:?}"),
            }
        }
        Self {
            shape,
            floats,
            integers,
        }
    }

    fn ints(&self, name: &str, device: &Device) -> Option<Tensor<2, Int>> {
        let (dims, values) = self.integers.get(name)?;
        let data = TensorData::new(values.clone(), [dims[0], dims[1]]);
        Some(Tensor::from_data(data, device))
    }

    /// The same tensors as `floats` computes, by slender's model: `logits`, `loss`, `grad.*`.
    fn compute(&self) -> BTreeMap<String, Vec<f32>> {
        let device = Device::flex().autodiff();
        let model = Transformer::build(&self.shape, &device, &mut |name, dims| {
            let (found, values) = &self.floats[name];
            assert_eq!(found, dims, "{name}");
            Ok::<_, std::convert::Infallible>(values.clone())
        })
        .unwrap();
        let tokens = self.ints("tokens", &device).unwrap();
        let targets = self.ints("targets", &device).unwrap();
        let segments = self.ints("segments", &device);

        let hidden = model.hidden(tokens.clone(), segments.clone()); // [B, T, D]
        let [b, t, d] = hidden.dims();
        let logits = model.logits(hidden.reshape([b * t, d])); // [N, V]
        let loss = model.loss_sum(tokens, targets, segments, &mut Dropout::off()); // [1]
        let mut collect = CollectGradients {
            graph: loss.clone().backward(),
            path: Vec::new(),
            out: BTreeMap::from([("logits".into(), host(logits)), ("loss".into(), host(loss))]),
        };
        model.visit(&mut collect);
        collect.out
    }
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_into_vec().unwrap()
}

struct CollectGradients {
    graph: Gradients,
    path: Vec<String>,
    out: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for CollectGradients {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }

    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("grad.{}", self.path.join("."));
        let grad = param
            .val()
            .grad(&self.graph)
            .unwrap_or_else(|| panic!("{name} is missing"));
        self.out.insert(name, host(grad));
    }
}

/// `max|a - b| / max|b|`; infinite where either is not finite.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = |values: &mut dyn Iterator<Item = f64>| {
        values.fold(0.0, |worst: f64, x| {
            if x.is_finite() {
                worst.max(x.abs())
            } else {
                f64::INFINITY
            }
        })
    };
    let differences = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b));
    let difference = largest(&mut { differences });
    difference / largest(&mut b.iter().map(|b| f64::from(*b)))
}

fn golden_files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let entries = std::fs::read_dir(&folder).expect("tests/golden is part of the repository");
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    files
}

#[test]
fn logits_loss_and_gradients_match_pytorch() {
    let files = golden_files();
    let mut failures = Vec::new();
    println!(
        "{:20} {:>9} {:>9} {:>9}  worst gradient",
        "case", "logits", "loss", "gradient"
    );
    for file in &files {
        let case = file.file_stem().unwrap().to_string_lossy();
        let golden = Golden::read(file);
        let ours = golden.compute();
        let expected = golden
            .floats
            .keys()
            .filter(|name| *name == "logits" || *name == "loss" || name.starts_with("grad."));
        // As many gradients as weights, and no tensor that one side has and the other has not.
        assert!(expected.clone().eq(ours.keys()), "{case}: other tensors");
        let weights = golden.floats.len() - ours.len();
        assert_eq!(ours.len(), weights + 2, "{case}");
        let mut worst = (0.0, String::new());
        let mut errors = BTreeMap::new();
        for (name, values) in &ours {
            let error = relative_error(values, &golden.floats[name].1);
            if name.starts_with("grad.") && error >= worst.0 {
                worst = (error, name["grad.".len()..].to_owned());
            }
            if error > BOUND || error.is_nan() {
                failures.push(format!("{case}: {name} {error:.1e}"));
            }
            errors.insert(name.as_str(), error);
        }
        println!(
            "{case:20} {:9.1e} {:9.1e} {:9.1e}  {}",
            errors["logits"], errors["loss"], worst.0, worst.1
        );
    }
    assert!(failures.is_empty(), "{failures:#?}");
    // An empty folder would pass everything above.
    for case in [
        "mha-tied",
        "gqa-tied",
        "mqa-tied",
        "gqa-untied",
        "immediate-x2",
        "repeat-all-over-x2",
        "reverse-x2",
        "reverse-x3",
        "relu",
        "gelu",
        "qk-norm",
        "documents",
        "everything",
    ] {
        let found = files
            .iter()
            .any(|file| file.file_stem().is_some_and(|stem| stem == case));
        assert!(found, "tests/golden/{case}.safetensors is missing");
    }
}

#[test]
fn the_bound_tells_models_apart() {
    let file = |case: &str| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        Golden::read(&folder.join(format!("{case}.safetensors")))
    };
    let error_with = |case: &str, change: fn(&mut Golden)| {
        let mut golden = file(case);
        let logits = golden.floats["logits"].1.clone();
        change(&mut golden);
        relative_error(&golden.compute()["logits"], &logits)
    };
    assert!(error_with("reverse-x2", |_| ()) <= BOUND);
    for (case, change) in [
        (
            "reverse-x2",
            (|g| g.shape.sharing = slender_config::SharingKind::RepeatAllOver) as fn(&mut Golden),
        ),
        ("gqa-tied", |g| g.shape.norm_eps = 2e-5),
        ("gqa-tied", |g| g.shape.rope_theta = 10_010.0),
        ("relu", |g| g.shape.ffn = slender_config::FfnKind::Gelu),
        ("documents", |g| {
            g.integers.retain(|name, _| name != "segments")
        }),
    ] {
        let error = error_with(case, change);
        assert!(error > BOUND, "{case}: {error:.1e}");
    }
}
