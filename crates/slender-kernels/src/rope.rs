//! Rotary position embedding (Su et al., 2021) in the half-split convention of Hugging Face:
//! dimension `i` of a head pairs with dimension `i + Dh/2`, not with its neighbour.

use crate::fused::{self, FusedOps};
use crate::reference;
use burn::backend::Dispatch;
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Cosines and sines of every position and pair, `[T, Dh/2]` each.
#[derive(Clone, Debug)]
pub struct RopeTable {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl RopeTable {
    /// Tables for positions `0..positions` of heads of width `head_dim`.
    ///
    /// The angle of position `p` and pair `i` is `p · theta^(-2i/Dh)`, computed in f64 and rounded
    /// once, so long sequences lose nothing to f32 range reduction.
    pub fn new(positions: usize, head_dim: usize, theta: f64, device: &Device) -> Self {
        let half = head_dim / 2;
        let angles = (0..positions).flat_map(|p| {
            (0..half).map(move |i| p as f64 * theta.powf(-2.0 * i as f64 / head_dim as f64))
        });
        let (cos, sin): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| (angle.cos() as f32, angle.sin() as f32))
            .unzip();
        let device = device.clone().without_autodiff();
        let tensor =
            |values| Tensor::from_data(TensorData::new(values, [positions, half]), &device);
        Self {
            cos: tensor(cos),
            sin: tensor(sin),
        }
    }

    /// Number of positions the table holds.
    pub fn positions(&self) -> usize {
        self.cos.dims()[0]
    }

    /// Cosines, `[T, Dh/2]`.
    pub fn cos(&self) -> Tensor<2> {
        self.cos.clone()
    }

    /// Sines, `[T, Dh/2]`.
    pub fn sin(&self) -> Tensor<2> {
        self.sin.clone()
    }

    /// The table of positions `start..start + len`.
    pub fn slice(&self, start: usize, len: usize) -> Self {
        Self {
            cos: self.cos.clone().narrow(0, start, len),
            sin: self.sin.clone().narrow(0, start, len),
        }
    }

    /// The rows of `positions` `[N]`, in that order: for tokens of several sequences in one row.
    pub fn select(&self, positions: Tensor<1, Int>) -> Self {
        Self {
            cos: self.cos.clone().select(0, positions.clone()),
            sin: self.sin.clone().select(0, positions),
        }
    }
}

/// Rotates every head of `x` `[B, T, H, Dh]` by the first T positions of `table`.
pub fn rope(x: Tensor<4>, table: &RopeTable) -> Tensor<4> {
    if fused::applies(&x) {
        let (cos, sin) = (
            table.cos.clone().into_dispatch(),
            table.sin.clone().into_dispatch(),
        );
        return Tensor::from_dispatch(Dispatch::slender_rope(x.into_dispatch(), cos, sin));
    }
    let [_, t, _, d] = x.dims();
    let factor = |values: &Tensor<2>| -> Tensor<4> {
        values.clone().narrow(0, 0, t).reshape([1, t, 1, d / 2]) // [1, T, 1, Dh/2]
    };
    reference::rope(x, factor(&table.cos), factor(&table.sin))
}
