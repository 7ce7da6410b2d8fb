//! Causal scaled dot-product attention with grouped queries (Ainslie et al., 2023).

use crate::fused::{self, FusedOps};
use crate::reference;
use burn::backend::Dispatch;
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};

/// Which keys a query must not see.
///
/// Causal always; within the same document only, when segments are given. Documents follow one
/// another in a row, so what a query may see is a range of keys that ends at its own position.
#[derive(Clone, Debug)]
pub struct AttentionMask {
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// True where attention is forbidden: `[1 or B, 1, T, S]`.
    Forbidden(Tensor<4, Bool>),
    /// First key each query may see, `[1 or B, T]`: what the fused kernels read.
    Starts(Tensor<2, Int>),
}

impl AttentionMask {
    /// Query `i` of T sees keys `0..=i + S - T`: the last T of S positions.
    pub fn causal(t: usize, s: usize, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let kind = if fused::on_device(&device) {
            Kind::Starts(Tensor::zeros([1, t], &device))
        } else {
            Kind::Forbidden(forbidden_causal(t, s, &device))
        };
        Self { kind }
    }

    /// Causal, and only within positions whose `segments` `[B, T]` are equal; they must not fall
    /// along a row.
    pub fn documents(segments: Tensor<2, Int>) -> Self {
        let [b, t] = segments.dims();
        let device = segments.device().without_autodiff();
        let kind = if fused::on_device(&device) {
            let ids: Vec<i32> = segments.into_data().iter::<i32>().collect();
            let starts: Vec<i32> = ids.chunks(t.max(1)).flat_map(document_starts).collect();
            Kind::Starts(Tensor::from_data(TensorData::new(starts, [b, t]), &device))
        } else {
            Kind::Forbidden(forbidden_documents(segments))
        };
        Self { kind }
    }

    /// First key each query may see, `[1 or B, T]`, where the fused kernels serve.
    pub(crate) fn starts(&self) -> Option<Tensor<2, Int>> {
        match &self.kind {
            Kind::Starts(starts) => Some(starts.clone()),
            Kind::Forbidden(_) => None,
        }
    }
}

/// For each position, the first position of its document.
fn document_starts(segments: &[i32]) -> Vec<i32> {
    let mut start = 0;
    let position = |i: usize| {
        if i > 0 && segments[i] != segments[i - 1] {
            start = i as i32;
        }
        start
    };
    (0..segments.len()).map(position).collect()
}

/// `[1, 1, T, S]`, true above the diagonal that ends in the lower right corner.
pub fn forbidden_causal(t: usize, s: usize, device: &Device) -> Tensor<4, Bool> {
    let rows = (0..t).flat_map(|i| (0..s).map(move |j| j + t > i + s));
    Tensor::from_data(
        TensorData::new(rows.collect::<Vec<bool>>(), [1, 1, t, s]),
        device,
    )
}

/// `[B, 1, T, T]` from `segments` `[B, T]`: above the diagonal, or of another document.
pub fn forbidden_documents(segments: Tensor<2, Int>) -> Tensor<4, Bool> {
    let [b, t] = segments.dims();
    let causal = forbidden_causal(t, t, &segments.device());
    let rows: Tensor<4, Int> = segments.clone().reshape([b, 1, t, 1]);
    let columns: Tensor<4, Int> = segments.reshape([b, 1, 1, t]);
    let other = rows
        .expand([b, 1, t, t])
        .not_equal(columns.expand([b, 1, t, t])); // [B, 1, T, T]
    other.bool_or(causal.expand([b, 1, t, t]))
}

/// Attention of `q` `[B, T, H, Dh]` over `k` and `v` `[B, S, K, Dh]`, giving `[B, T, H, Dh]`.
///
/// Query head `h` reads key-value head `h / (H / K)`. Scores are scaled by `1/sqrt(Dh)`.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, mask: &AttentionMask) -> Tensor<4> {
    match &mask.kind {
        Kind::Starts(starts) if fused::applies(&q) => {
            let (q, k, v) = (q.into_dispatch(), k.into_dispatch(), v.into_dispatch());
            let starts = starts.clone().into_dispatch();
            Tensor::from_dispatch(Dispatch::slender_attention(q, k, v, starts))
        }
        Kind::Starts(starts) => {
            // Another dtype on flex: the plain composition, with the ranges as a table.
            let ([_, t, _, _], [_, s, _, _]) = (q.dims(), k.dims());
            let rows = starts.dims()[0];
            let starts = starts
                .clone()
                .reshape([rows, 1, t, 1])
                .expand([rows, 1, t, s]);
            let device = starts.device();
            let keys: Tensor<4, Int> = Tensor::arange(0..s as i64, &device).reshape([1, 1, 1, s]);
            let before = keys.expand([rows, 1, t, s]).lower(starts); // [B or 1, 1, T, S]
            let causal = forbidden_causal(t, s, &device).expand([rows, 1, t, s]);
            reference::attention(q, k, v, before.bool_or(causal))
        }
        Kind::Forbidden(forbidden) => reference::attention(q, k, v, forbidden.clone()),
    }
}
