//! `x · wᵀ` with a packed weight: by panels and rows for a few rows, by tiles for many.
//!
//! Up to [`FEW`] rows the weight is read once for every eight of them, at the speed of memory. Beyond,
//! the tiles of the training kernels take the panels as a left-hand matrix whose lanes are rows; formats
//! other than f32 are turned into f32 a few panels at a time, in cache. Both add the same terms in the
//! same order, so which of them runs is not to be seen in the result.

use super::Team;
use super::matvec::MAX_ROWS;
use super::packed::Packed;
use super::vector::LANES;
use crate::fused::buffers::scratch;
use crate::fused::gemm::{Left, Out, Right, multiply_made_rows};
use crate::fused::panels::{panels_of, to_lanes, to_rows};

/// Rows up to which the weight is read for every eight of them.
const FEW: usize = 24;
/// Panels of a weight that a task multiplies: 96 rows are eight tiles.
const TASK_PANELS: usize = 3;

impl Packed {
    /// Rows `x` `[N, in]` to rows `y` `[N, width]`; `y` is given its length.
    ///
    /// # Panics
    /// If `x` does not consist of whole rows.
    pub fn forward(&self, team: &Team, x: &[f32], y: &mut Vec<f32>) {
        let n = x.len() / self.terms();
        assert_eq!(x.len(), n * self.terms(), "whole rows");
        y.resize(n * self.width(), 0.0);
        match n {
            0 => {}
            1 => team.ranges_mut(y, LANES, |panels, y| {
                self.multiply_panels(panels.start, 1, x, y);
            }),
            n if n <= FEW => self.few(team, x, n, y),
            n => self.many(team, x, n, y),
        }
    }

    fn few(&self, team: &Team, x: &[f32], n: usize, y: &mut [f32]) {
        let terms = self.terms();
        // Each group of rows as `[terms][rows]`.
        let mut turned = scratch(x.len());
        for (x, turned) in x
            .chunks(MAX_ROWS * terms)
            .zip(turned.chunks_mut(MAX_ROWS * terms))
        {
            let rows = x.len() / terms;
            for (row, x) in x.chunks_exact(terms).enumerate() {
                for (turned, &x) in turned[row..].iter_mut().step_by(rows).zip(x) {
                    *turned = x;
                }
            }
        }
        // `[panel][group][rows][32]`.
        let mut out = scratch(y.len());
        let turned: &[f32] = &turned;
        team.chunks_mut(&mut out, n * LANES, |panel, mut out| {
            for x in turned.chunks(MAX_ROWS * terms) {
                let rows = x.len() / terms;
                let (group, rest) = out.split_at_mut(rows * LANES);
                self.multiply_panels(panel, rows, x, group);
                out = rest;
            }
        });
        for (row, y) in y.chunks_exact_mut(self.width()).enumerate() {
            for (y, out) in y.chunks_exact_mut(LANES).zip(out.chunks_exact(n * LANES)) {
                y.copy_from_slice(&out[row * LANES..][..LANES]);
            }
        }
    }

    fn many(&self, team: &Team, x: &[f32], n: usize, y: &mut [f32]) {
        let (terms, width) = (self.terms(), self.width());
        let panels = panels_of(n);
        let mut input = scratch(panels * terms * LANES);
        team.chunks_mut(&mut input, terms * LANES, |panel, input| {
            let x = &x[panel * LANES * terms..];
            let count = (x.len() / terms).min(LANES);
            to_lanes(x, count, terms, terms, input);
        });
        let mut output = scratch(panels * width * LANES);
        let direct = self.f32_panels();
        multiply_made_rows(
            team,
            [width, terms, panels],
            Right::new(&input, terms * LANES),
            Out::panels(&mut output, width * LANES, false),
            TASK_PANELS * LANES,
            |rows, multiply| {
                if let Some(weights) = direct {
                    let weights = &weights[rows.start * terms..rows.end * terms];
                    return multiply(Left::Lanes(weights, terms * LANES));
                }
                let mut weights = scratch(rows.len() * terms);
                for (i, out) in weights.chunks_exact_mut(terms * LANES).enumerate() {
                    self.dequantize(rows.start / LANES + i, out);
                }
                multiply(Left::Lanes(&weights, terms * LANES));
            },
        );
        team.chunks_mut(y, LANES * width, |panel, y| {
            let output = &output[panel * width * LANES..][..width * LANES];
            to_rows(output, y.len() / width, width, y, width);
        });
    }
}
