//! Weights stored for inference: panels of 32 rows, term by term, in one of three formats.
//!
//! | format | a panel of `n` terms | bytes a weight |
//! |---|---|---:|
//! | f32 | `[n][32]` | 4 |
//! | bf16 | `[n][32]`, rounded to nearest even | 2 |
//! | q8_0 | blocks of 32 terms: `[32]` scales in half precision, `[32][32]` signed bytes | 1.0625 |
//!
//! q8_0 rounds as GGUF's type of that name does: within a row, 32 consecutive weights share the scale
//! `max|w| / 127`, stored in half precision, and each is the nearest multiple of it (before the scale
//! itself is rounded). Rows and terms that fill up panels and blocks are zero.

use super::matvec::{self, Bf16, F32, Q8};
use super::vector::{LANES, Q8_BLOCK, bf16_order};
use rayon::prelude::*;
use std::str::FromStr;

/// How weights are stored for inference. Norms are always f32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WeightFormat {
    /// As they are.
    #[default]
    F32,
    /// 16 bits, 8 of them of significance.
    Bf16,
    /// 8-bit integers in blocks of 32 with a scale, as GGUF's Q8_0.
    Q8_0,
}

impl WeightFormat {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::F32, Self::Bf16, Self::Q8_0];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
        }
    }

    /// Rounds a row of a weight to what this format can hold.
    pub fn round(self, row: &mut [f32]) {
        match self {
            Self::F32 => {}
            Self::Bf16 => row
                .iter_mut()
                .for_each(|x| *x = half::bf16::from_f32(*x).to_f32()),
            Self::Q8_0 => {
                for block in row.chunks_mut(LANES) {
                    let (scale, inverse) = q8_scale(block);
                    for x in block {
                        *x = f32::from(q8_round(*x, inverse)) * scale.to_f32();
                    }
                }
            }
        }
    }

    /// Bytes of a panel of `terms` terms.
    fn panel_bytes(self, terms: usize) -> usize {
        match self {
            Self::F32 => terms * LANES * 4,
            Self::Bf16 => terms * LANES * 2,
            Self::Q8_0 => terms.div_ceil(LANES) * Q8_BLOCK,
        }
    }
}

impl std::fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for WeightFormat {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| format!("`{name}` is not one of f32, bf16 and q8_0"))
    }
}

/// The scale of a block, and what its weights are multiplied by before rounding.
fn q8_scale(block: &[f32]) -> (half::f16, f32) {
    let largest = block.iter().fold(0.0_f32, |max, x| max.max(x.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    (half::f16::from_f32(scale.min(65504.0)), inverse)
}

fn q8_round(x: f32, inverse: f32) -> i8 {
    (x * inverse).round() as i8
}

/// Sixty-four bytes on a cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "read as bytes")] [u8; 64]);

/// One or several matrices over the same input, `[out, in]` each, packed.
pub struct Packed {
    format: WeightFormat,
    terms: usize,
    /// Rows of each matrix; each begins a panel.
    rows: Vec<usize>,
    panels: usize,
    data: Vec<Line>,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed")
            .field("format", &self.format)
            .field("rows", &self.rows)
            .field("terms", &self.terms)
            .finish_non_exhaustive()
    }
}

impl Packed {
    /// Packs row-major matrices of `terms` columns.
    ///
    /// # Panics
    /// If a matrix does not consist of whole rows.
    pub fn new(format: WeightFormat, terms: usize, matrices: &[&[f32]]) -> Self {
        let rows: Vec<usize> = matrices.iter().map(|matrix| matrix.len() / terms).collect();
        for (matrix, rows) in matrices.iter().zip(&rows) {
            assert_eq!(matrix.len(), rows * terms, "whole rows");
        }
        // Which 32 rows make each panel.
        let panels: Vec<&[f32]> = matrices
            .iter()
            .flat_map(|matrix| matrix.chunks(LANES * terms))
            .collect();
        let bytes = format.panel_bytes(terms);
        let lines = bytes / size_of::<Line>();
        let mut data = vec![Line([0; 64]); panels.len() * lines];
        data.par_chunks_exact_mut(lines.max(1))
            .zip(&panels)
            .for_each(|(data, rows)| {
                let bytes: &mut [u8] = as_bytes_mut(data);
                pack_panel(format, terms, rows, bytes);
            });
        Self {
            format,
            terms,
            rows,
            panels: panels.len(),
            data,
        }
    }

    /// The format.
    pub fn format(&self) -> WeightFormat {
        self.format
    }

    /// Columns of the matrices.
    pub fn terms(&self) -> usize {
        self.terms
    }

    /// Bytes that a product reads.
    pub fn bytes(&self) -> usize {
        self.data.len() * size_of::<Line>()
    }

    /// Elements of a row of products: all matrices' rows, each filled up to a multiple of 32.
    pub fn width(&self) -> usize {
        self.panels * LANES
    }

    /// Where the products of matrix `index` begin in such a row, and how many they are.
    pub fn part(&self, index: usize) -> std::ops::Range<usize> {
        let from: usize = self.rows[..index]
            .iter()
            .map(|rows| rows.next_multiple_of(LANES))
            .sum();
        from..from + self.rows[index]
    }

    /// Row `row` of the first matrix, `[in]`: the embedding of a token.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows[0] && out.len() == self.terms, "a row");
        let (panel, lane) = (self.panel(row / LANES), row % LANES);
        let scale = |bytes: &[u8]| half::f16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        for (term, out) in out.iter_mut().enumerate() {
            *out = match self.format {
                WeightFormat::F32 => {
                    let at = 4 * (term * LANES + lane);
                    let bytes = panel[at..at + 4].try_into().expect("four bytes");
                    f32::from_le_bytes(bytes)
                }
                WeightFormat::Bf16 => {
                    let at = 2 * (term * LANES + bf16_order(lane));
                    half::bf16::from_le_bytes([panel[at], panel[at + 1]]).to_f32()
                }
                WeightFormat::Q8_0 => {
                    let block = &panel[term / LANES * Q8_BLOCK..][..Q8_BLOCK];
                    let q = block[2 * LANES + term % LANES * LANES + lane] as i8;
                    f32::from(q) * scale(&block[2 * lane..])
                }
            };
        }
    }

    /// The bytes of a panel.
    pub(super) fn panel(&self, panel: usize) -> &[u8] {
        let bytes = self.panel_bytes();
        &as_bytes(&self.data)[panel * bytes..][..bytes]
    }

    pub(super) fn panel_bytes(&self) -> usize {
        self.format.panel_bytes(self.terms)
    }

    /// The products of the panels from `first` on with `rows` rows of the input, `x` `[terms][rows]`,
    /// to `out` `[panel][rows][32]`, on this thread.
    pub(super) fn multiply_panels(&self, first: usize, rows: usize, x: &[f32], out: &mut [f32]) {
        let count = out.len() / (rows * LANES);
        assert!(first + count <= self.panels, "panels that are there");
        assert_eq!(x.len(), self.terms * rows, "the rows of the input");
        assert!((1..=matvec::MAX_ROWS).contains(&rows));
        let bytes = self.panel_bytes();
        let weights = &as_bytes(&self.data)[first * bytes..][..count * bytes];
        for (panel, out) in weights
            .chunks_exact(bytes)
            .zip(out.chunks_exact_mut(rows * LANES))
        {
            let product = matvec::Product {
                panel: panel.as_ptr(),
                x: x.as_ptr(),
                terms: self.terms,
                out: out.as_mut_ptr(),
            };
            // SAFETY: the slices and the assertions above, and panels are packed in `self.format`.
            unsafe {
                match self.format {
                    WeightFormat::F32 => matvec::run::<F32>(rows, &product),
                    WeightFormat::Bf16 => matvec::run::<Bf16>(rows, &product),
                    WeightFormat::Q8_0 => matvec::run::<Q8>(rows, &product),
                }
            }
        }
    }

    /// A panel as f32, `[terms][32]`.
    pub(super) fn dequantize(&self, panel: usize, out: &mut [f32]) {
        assert_eq!(out.len(), self.terms * LANES, "room for a panel");
        let bytes = self.panel(panel).as_ptr();
        // SAFETY: the panel is packed in `self.format`, and the assertion above.
        unsafe {
            match self.format {
                WeightFormat::F32 => matvec::dequantize::<F32>(bytes, self.terms, out.as_mut_ptr()),
                WeightFormat::Bf16 => {
                    matvec::dequantize::<Bf16>(bytes, self.terms, out.as_mut_ptr());
                }
                WeightFormat::Q8_0 => matvec::dequantize::<Q8>(bytes, self.terms, out.as_mut_ptr()),
            }
        }
    }

    /// Panels of f32 weights as they lie, `[panel][terms][32]`.
    pub(super) fn f32_panels(&self) -> Option<&[f32]> {
        let floats = || {
            let bytes = as_bytes(&self.data);
            // SAFETY: lines are aligned for f32 and every bit pattern is one; the length is a multiple.
            unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / 4) }
        };
        (self.format == WeightFormat::F32).then(floats)
    }
}

fn as_bytes(lines: &[Line]) -> &[u8] {
    // SAFETY: a line is 64 bytes without padding.
    unsafe { std::slice::from_raw_parts(lines.as_ptr().cast(), size_of_val(lines)) }
}

fn as_bytes_mut(lines: &mut [Line]) -> &mut [u8] {
    // SAFETY: a line is 64 bytes without padding, and every value of them is one.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), size_of_val(lines)) }
}

/// Packs up to 32 rows.
fn pack_panel(format: WeightFormat, terms: usize, rows: &[f32], out: &mut [u8]) {
    for (lane, row) in rows.chunks_exact(terms).enumerate() {
        match format {
            WeightFormat::F32 => {
                for (out, x) in out.chunks_exact_mut(4 * LANES).zip(row) {
                    out[4 * lane..4 * lane + 4].copy_from_slice(&x.to_le_bytes());
                }
            }
            WeightFormat::Bf16 => {
                let at = 2 * bf16_order(lane);
                for (out, &x) in out.chunks_exact_mut(2 * LANES).zip(row) {
                    out[at..at + 2].copy_from_slice(&half::bf16::from_f32(x).to_le_bytes());
                }
            }
            WeightFormat::Q8_0 => {
                for (out, block) in out.chunks_exact_mut(Q8_BLOCK).zip(row.chunks(LANES)) {
                    let (scale, inverse) = q8_scale(block);
                    out[2 * lane..2 * lane + 2].copy_from_slice(&scale.to_le_bytes());
                    for (term, &x) in block.iter().enumerate() {
                        out[2 * LANES + term * LANES + lane] = q8_round(x, inverse) as u8;
                    }
                }
            }
        }
    }
}
