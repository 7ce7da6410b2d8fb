//! The optimizer: gradients gathered from the graph, one global norm, one AdamW pass.
//!
//! Burn's own optimizers clip each tensor by itself and hide their state. Here the state is two
//! flat tensors a weight, named after it, which is what the checkpoint stores.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients as Graph, Tensor, TensorData};
use slender_config::{Scaling, TrainConfig, WeightScale};
use slender_kernels::{AdamW, Moments, adamw_update, add_gradients, squared_norms};
use slender_model::{NamedTensor, Transformer};

/// Gradients of every weight in module order, flattened, of the summed loss; what is trained is the
/// mean over `targets`, by which norm and update divide.
#[derive(Debug)]
pub struct Gradients {
    values: Vec<Tensor<1>>,
    targets: f64,
}

struct Gather<'a> {
    graph: &'a mut Graph,
    out: Vec<Tensor<1>>,
}

impl ModuleVisitor for Gather<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let weight = param.val();
        let count = weight.shape().num_elements();
        let grad = match weight.grad_remove(self.graph) {
            Some(grad) => grad.inner().reshape([count]),
            // A weight the loss does not depend on has a gradient of zero.
            None => Tensor::zeros([count], &weight.device().without_autodiff()),
        };
        self.out.push(grad);
    }
}

impl Gradients {
    /// No gradient yet, of a loss summed over `targets` tokens.
    pub fn new(targets: usize) -> Self {
        Self {
            values: Vec::new(),
            targets: targets as f64,
        }
    }

    /// Adds the gradients that `graph` holds for the weights of `model`.
    pub fn accumulate(&mut self, model: &Transformer, mut graph: Graph) {
        let mut gather = Gather {
            graph: &mut graph,
            out: Vec::with_capacity(self.values.len()),
        };
        model.visit(&mut gather);
        if self.values.is_empty() {
            self.values = gather.out;
        } else {
            let sums = std::mem::take(&mut self.values).into_iter().zip(gather.out);
            self.values = sums.map(|(sum, grad)| add_gradients(sum, grad)).collect();
        }
    }

    /// Global L2 norm over all weights of the mean's gradients, and the index of the first gradient that is not finite.
    pub fn norm(&self) -> (f64, Option<usize>) {
        let squares = squared_norms(&self.values);
        let offender = squares.iter().position(|square| !square.is_finite());
        (squares.iter().sum::<f64>().sqrt() / self.targets, offender)
    }
}

/// AdamW over a model's weights.
#[derive(Debug)]
pub struct Optimizer {
    names: Vec<String>,
    dims: Vec<Vec<usize>>,
    moments: Vec<Moments<1>>,
    scales: Vec<WeightScale>,
    /// Updates done.
    pub updates: u64,
}

struct Shapes {
    path: Vec<String>,
    names: Vec<String>,
    dims: Vec<Vec<usize>>,
}

impl ModuleVisitor for Shapes {
    fn enter_module(&mut self, name: &str, _container: &str) {
        self.path.push(name.to_owned());
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.names.push(self.path.join("."));
        self.dims.push(param.val().dims().to_vec());
    }
}

impl Optimizer {
    /// Fresh state (all moments zero) for `model`.
    pub fn new(model: &Transformer, device: &Device) -> Self {
        let mut shapes = Shapes {
            path: Vec::new(),
            names: Vec::new(),
            dims: Vec::new(),
        };
        model.visit(&mut shapes);
        let device = device.clone().without_autodiff();
        let zeros =
            |dims: &Vec<usize>| Tensor::<1>::zeros([dims.iter().product::<usize>()], &device);
        let moments = shapes.dims.iter().map(|dims| Moments {
            exp_avg: zeros(dims),
            exp_avg_sq: zeros(dims),
        });
        Self {
            moments: moments.collect(),
            scales: vec![WeightScale::ONE; shapes.names.len()],
            names: shapes.names,
            dims: shapes.dims,
            updates: 0,
        }
    }

    /// Scales rate, decay and epsilon of every weight as a parametrization asks.
    #[must_use]
    pub fn with_scaling(mut self, scaling: &Scaling) -> Self {
        let scales = self.names.iter().map(|name| scaling.of_weight(name));
        self.scales = scales.collect();
        self
    }

    /// Name of the weight at `index` in module order.
    pub fn name(&self, index: usize) -> &str {
        &self.names[index]
    }

    /// One update of every weight: clips the global norm `norm` to `grad_clip`, then AdamW.
    ///
    /// Norm weights (one axis) are not decayed.
    pub fn step(
        &mut self,
        model: Transformer,
        grads: Gradients,
        norm: f64,
        lr: f64,
        config: &TrainConfig,
    ) -> Transformer {
        self.updates += 1;
        let clip = config.grad_clip;
        let clipped = if clip > 0.0 && norm > clip {
            clip / norm
        } else {
            1.0
        };
        let grad_scale = clipped / grads.targets;
        let opt = AdamW {
            lr,
            beta1: config.beta1,
            beta2: config.beta2,
            eps: config.eps,
            weight_decay: config.weight_decay,
            step: self.updates,
            grad_scale,
        };
        let moments = std::mem::take(&mut self.moments);
        let mut update = Update {
            opt,
            pending: grads.values.into_iter().zip(moments).zip(&self.scales),
            done: Vec::new(),
        };
        let model = model.map(&mut update);
        self.moments = update.done;
        model
    }

    /// The moments as named tensors for a checkpoint.
    pub fn to_tensors(&self) -> Vec<NamedTensor> {
        let mut out = Vec::with_capacity(2 * self.names.len());
        for ((name, dims), moments) in self.names.iter().zip(&self.dims).zip(&self.moments) {
            for (kind, tensor) in [
                ("exp_avg", &moments.exp_avg),
                ("exp_avg_sq", &moments.exp_avg_sq),
            ] {
                let values = tensor.clone().into_data().convert::<f32>();
                let values = values.try_into_vec::<f32>().expect("converted to f32");
                out.push(NamedTensor {
                    name: format!("{name}.{kind}"),
                    dims: dims.clone(),
                    values,
                });
            }
        }
        out
    }

    /// Restores moments read from a checkpoint.
    ///
    /// # Errors
    /// The name of a tensor that is missing or of the wrong size.
    pub fn restore(
        &mut self,
        tensors: Vec<NamedTensor>,
        updates: u64,
        device: &Device,
    ) -> Result<(), String> {
        let device = device.clone().without_autodiff();
        let mut by_name: std::collections::HashMap<String, NamedTensor> = tensors
            .into_iter()
            .map(|tensor| (tensor.name.clone(), tensor))
            .collect();
        let mut take = |name: String, dims: &[usize]| -> Result<Tensor<1>, String> {
            let tensor = by_name
                .remove(&name)
                .ok_or_else(|| format!("`{name}` is missing"))?;
            if tensor.dims != dims {
                return Err(format!(
                    "`{name}` has shape {:?}, the model needs {dims:?}",
                    tensor.dims
                ));
            }
            let count = tensor.values.len();
            Ok(Tensor::from_data(
                TensorData::new(tensor.values, [count]),
                &device,
            ))
        };
        let mut moments = Vec::with_capacity(self.names.len());
        for (name, dims) in self.names.iter().zip(&self.dims) {
            moments.push(Moments {
                exp_avg: take(format!("{name}.exp_avg"), dims)?,
                exp_avg_sq: take(format!("{name}.exp_avg_sq"), dims)?,
            });
        }
        self.moments = moments;
        self.updates = updates;
        Ok(())
    }
}

struct Update<I> {
    opt: AdamW,
    pending: I,
    done: Vec<Moments<1>>,
}

impl<'a, I> ModuleMapper for Update<I>
where
    I: Iterator<Item = ((Tensor<1>, Moments<1>), &'a WeightScale)>,
{
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let ((grad, moments), scale) = self
            .pending
            .next()
            .expect("one gradient a weight, in module order");
        let (id, weight, mapper) = param.consume();
        let dims = weight.dims();
        let count = dims.iter().product::<usize>();
        let opt = AdamW {
            lr: self.opt.lr * scale.lr,
            eps: self.opt.eps * scale.eps,
            // The product with the rate stays what the configuration says.
            weight_decay: if D == 1 {
                0.0
            } else {
                self.opt.weight_decay / scale.lr
            },
            ..self.opt
        };
        let flat = weight.inner().reshape([count]);
        let (flat, moments) = adamw_update(flat, grad, moments, &opt);
        self.done.push(moments);
        let weight = Tensor::from_inner(flat.reshape(dims)).require_grad();
        Param::from_mapped_value(id, weight, mapper)
    }
}
