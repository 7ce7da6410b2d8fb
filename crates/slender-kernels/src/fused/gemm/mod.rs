//! Matrix products on panels.
//!
//! The right-hand matrix and the result are *panels* of 32 lanes: `[panel][row][32]`. In the products
//! of a decoder the lanes are tokens, 32 consecutive ones a panel, so activations stay in panels
//! from one product to the next and weights are read where they lie, row by row (forward) or column
//! by column (backward): nothing of the size of a weight is ever packed. For weight gradients, which
//! sum over tokens, the lanes are the columns of the gradient.
//!
//! [`multiply`] runs on the calling thread; callers divide panels or rows among threads. A sum is
//! split into blocks by its length alone and each block runs in order, so an element's bits depend
//! on nothing but its own row and column.

#[cfg(test)]
mod tests;
mod tile;

pub(crate) use tile::{LANES, ROWS};

use crate::infer::Team;
use rayon::prelude::*;
use std::cell::RefCell;
use std::ops::Range;
use tile::Tile;

/// Most terms of a sum that one pass adds up: 12 rows of them fit the first-level cache.
const MAX_BLOCK: usize = 640;
/// Bytes of panels that one pass over the rows keeps in the second-level cache.
const GROUP_BYTES: usize = 640 << 10;

/// The left-hand matrix, `[rows, k]`, in memory.
#[derive(Clone, Copy)]
pub(crate) enum Left<'a> {
    /// Element `(i, k)` at `i * stride + k`: a row-major matrix.
    Rows(&'a [f32], usize),
    /// Element `(i, k)` at `k * stride + i`: a row-major matrix, transposed.
    Columns(&'a [f32], usize),
    /// Element `(i, k)` at `k / 32 * stride + i * 32 + k % 32`: lanes of panels are the sum's terms.
    Panels(&'a [f32], usize),
    /// Element `(i, k)` at `i / 32 * stride + k * 32 + i % 32`: lanes of panels are rows, of which
    /// there are a multiple of 32.
    Lanes(&'a [f32], usize),
}

impl Left<'_> {
    /// Length that `rows` rows of `k` elements need.
    fn extent(&self, rows: usize, k: usize) -> usize {
        match *self {
            Self::Rows(_, stride) => (rows - 1) * stride + k,
            Self::Columns(_, stride) => (k - 1) * stride + rows,
            Self::Panels(_, stride) => (k.div_ceil(LANES) - 1) * stride + rows * LANES,
            Self::Lanes(_, stride) => (rows.div_ceil(LANES) - 1) * stride + k * LANES,
        }
    }

    /// The matrix without its first rows.
    fn skip_rows(self, rows: usize) -> Self {
        match self {
            Self::Rows(data, stride) => Self::Rows(&data[rows * stride..], stride),
            Self::Columns(data, stride) => Self::Columns(&data[rows..], stride),
            Self::Panels(data, stride) => Self::Panels(&data[rows * LANES..], stride),
            Self::Lanes(data, stride) => Self::Lanes(&data[rows / LANES * stride..], stride),
        }
    }

    fn data(&self) -> &[f32] {
        match self {
            Self::Rows(data, _)
            | Self::Columns(data, _)
            | Self::Panels(data, _)
            | Self::Lanes(data, _) => data,
        }
    }
}

/// The right-hand matrix in panels.
#[derive(Clone, Copy)]
pub(crate) struct Right<'a> {
    pub data: &'a [f32],
    /// Distance of two panels.
    pub panel: usize,
    /// With [`Left::Panels`]: distance of two stretches of 32 terms. Otherwise terms are contiguous.
    pub outer: usize,
}

impl<'a> Right<'a> {
    /// Panels whose terms are contiguous.
    pub(crate) fn new(data: &'a [f32], panel: usize) -> Self {
        Self {
            data,
            panel,
            outer: LANES * LANES,
        }
    }
}

/// The result in panels: element `(i, panel, lane)` at `panel * panel_stride + i * row + lane`.
pub(crate) struct Out<'a> {
    pub data: &'a mut [f32],
    pub panel: usize,
    pub row: usize,
    /// Columns in all; those of the last panel beyond it are neither read nor written.
    pub width: usize,
    /// Adds to what is there.
    pub accumulate: bool,
}

impl<'a> Out<'a> {
    /// Whole panels `[panel][row][32]` with `panel` elements from one to the next.
    pub(crate) fn panels(data: &'a mut [f32], panel: usize, accumulate: bool) -> Self {
        Self {
            data,
            panel,
            row: LANES,
            width: usize::MAX,
            accumulate,
        }
    }

    /// A row-major matrix of `width` columns.
    pub(crate) fn rows(data: &'a mut [f32], width: usize, accumulate: bool) -> Self {
        Self {
            data,
            panel: LANES,
            row: width,
            width,
            accumulate,
        }
    }
}

thread_local! {
    /// Packed columns of a tile.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// `out (+)= left · right` for `rows` rows, sums of `k` terms and `panels` panels, on this thread.
///
/// With [`Left::Panels`] the terms of both sides run to the end of their last stretch of 32, whose
/// surplus must be zero on one side and finite on the other.
pub(crate) fn multiply(shape: [usize; 3], left: Left<'_>, right: Right<'_>, out: Out<'_>) {
    let target = Target::check(shape, left, right, out);
    // SAFETY: `check` has seen that every access is inside the slices, and `out` is exclusive.
    unsafe { target.compute(shape, left, right) }
}

/// As [`multiply`], on all threads: each takes some of the rows, `by` at a time.
pub(crate) fn multiply_by_rows(
    [rows, k, panels]: [usize; 3],
    left: Left<'_>,
    right: Right<'_>,
    out: Out<'_>,
    by: usize,
) {
    let target = Target::check([rows, k, panels], left, right, out);
    (0..rows.div_ceil(by)).into_par_iter().for_each(|index| {
        let first = index * by;
        let part = target.skip_rows(first);
        let count = by.min(rows - first);
        // SAFETY: as in `multiply`; the tasks write different rows.
        unsafe { part.compute([count, k, panels], left.skip_rows(first), right) }
    });
}

/// As [`multiply_by_rows`], on the threads of `team`, with a left-hand side that is made for some rows
/// at a time: `left(rows, multiply)` calls `multiply` with these rows as a matrix of their own.
pub(crate) fn multiply_made_rows(
    team: &Team,
    [rows, k, panels]: [usize; 3],
    right: Right<'_>,
    out: Out<'_>,
    by: usize,
    left: impl Fn(Range<usize>, &mut dyn FnMut(Left<'_>)) + Sync,
) {
    let target = Target::check_right([rows, k, panels], false, right, out);
    team.run(rows.div_ceil(by), |tasks| {
        for task in tasks {
            let part = task * by..(task * by + by).min(rows);
            left(part.clone(), &mut |left| {
                let count = part.len();
                Target::check_left([count, k], left);
                assert!(!matches!(left, Left::Panels(..)), "terms are contiguous");
                // SAFETY: both checks have seen that every access is inside the slices; `out` is
                // exclusive and the tasks write different rows.
                unsafe {
                    target
                        .skip_rows(part.start)
                        .compute([count, k, panels], left, right)
                }
            });
        }
    });
}

/// Terms of a block of a sum of `k`: each block is added up by itself, and the blocks in order.
pub(crate) fn block_len(k: usize) -> usize {
    let blocks = k.div_ceil(MAX_BLOCK).max(1);
    k.div_ceil(blocks).next_multiple_of(LANES)
}

/// An [`Out`] whose bounds have been checked.
#[derive(Clone, Copy)]
struct Target {
    start: *mut f32,
    panel: usize,
    row: usize,
    columns: usize,
    accumulate: bool,
}

// SAFETY: a pointer into memory that `Target::check` borrowed exclusively; who uses it from several
// threads sees to it that they write different elements.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl Target {
    /// Asserts that a product of this shape reads and writes inside the slices.
    fn check(
        [rows, k, panels]: [usize; 3],
        left: Left<'_>,
        right: Right<'_>,
        out: Out<'_>,
    ) -> Self {
        if panels > 0 {
            Self::check_left([rows, k], left);
        }
        let by_panels = matches!(left, Left::Panels(..));
        Self::check_right([rows, k, panels], by_panels, right, out)
    }

    /// The part of [`Target::check`] that knows the left-hand side.
    fn check_left([rows, k]: [usize; 2], left: Left<'_>) {
        if rows > 0 {
            assert!(k > 0, "a sum has terms");
            assert!(left.extent(rows, k) <= left.data().len(), "left-hand side");
            let lanes = matches!(left, Left::Lanes(..));
            assert!(
                !lanes || rows.is_multiple_of(LANES),
                "rows are whole panels"
            );
        }
    }

    /// The rest of [`Target::check`]; `by_panels` says that the left-hand side is [`Left::Panels`].
    fn check_right(
        [rows, k, panels]: [usize; 3],
        by_panels: bool,
        right: Right<'_>,
        out: Out<'_>,
    ) -> Self {
        let columns = out.width.min(panels * LANES);
        if rows > 0 && panels > 0 {
            assert!(k > 0, "a sum has terms");
            let right_extent = if by_panels {
                (panels - 1) * right.panel + (k.div_ceil(LANES) - 1) * right.outer + LANES * LANES
            } else {
                (panels - 1) * right.panel + k * LANES
            };
            let last_width = columns - (panels - 1) * LANES;
            let out_extent = (panels - 1) * out.panel + (rows - 1) * out.row + last_width;
            assert!(right_extent <= right.data.len(), "right-hand side");
            assert!(out_extent <= out.data.len(), "result");
            let apart = out.panel >= (rows - 1) * out.row + LANES && out.row >= LANES;
            let beside = out.panel == LANES && out.row >= columns;
            assert!(apart || beside, "no element of the result has two places");
        }
        Self {
            start: out.data.as_mut_ptr(),
            panel: out.panel,
            row: out.row,
            columns,
            accumulate: out.accumulate,
        }
    }

    /// The result without its first rows.
    fn skip_rows(&self, rows: usize) -> Self {
        Self {
            start: self.start.wrapping_add(rows * self.row),
            ..*self
        }
    }

    /// # Safety
    /// A product of this shape has been checked, and no other thread uses the rows it writes.
    unsafe fn compute(&self, [rows, k, panels]: [usize; 3], left: Left<'_>, right: Right<'_>) {
        if rows == 0 || panels == 0 {
            return;
        }
        let by_panels = matches!(left, Left::Panels(..));
        let k = if by_panels {
            k.next_multiple_of(LANES)
        } else {
            k
        };
        let block = block_len(k);
        let group = (GROUP_BYTES / (block.min(k) * LANES * 4)).clamp(1, panels);
        let groups = panels.div_ceil(group);
        let group = panels.div_ceil(groups);
        let by_lanes = matches!(left, Left::Lanes(..));
        let tiles = if by_lanes {
            rows / LANES * LANE_EDGES.len()
        } else {
            rows.div_ceil(ROWS)
        };
        PACKED.with_borrow_mut(|packed| {
            for from in (0..k).step_by(block) {
                let terms = block.min(k - from);
                let pass = Pass {
                    target: self,
                    left,
                    right,
                    from,
                    terms,
                    accumulate: self.accumulate || from > 0,
                };
                for first in (0..panels).step_by(group) {
                    let group = first..(first + group).min(panels);
                    // Tiles of nearly equal height: none runs with few accumulators.
                    let edge = |tile: usize| {
                        if by_lanes {
                            tile / LANE_EDGES.len() * LANES + LANE_EDGES[tile % LANE_EDGES.len()]
                        } else {
                            tile * rows / tiles
                        }
                    };
                    for strip in (0..tiles).step_by(STRIP) {
                        let strip = strip..(strip + STRIP).min(tiles);
                        let columns = pass.pack(edge(strip.start)..edge(strip.end), packed);
                        for tile in strip.clone() {
                            let tile_rows = edge(tile)..edge(tile + 1);
                            let packed = columns.then(|| &packed[edge(tile) - edge(strip.start)..]);
                            // SAFETY: the caller's promise.
                            unsafe { pass.tile(tile_rows, group.clone(), packed) }
                        }
                    }
                }
            }
        });
    }
}

/// Where the tiles of a panel begin whose lanes are rows.
const LANE_EDGES: [usize; 3] = [0, 11, 22];
/// Tiles whose columns are packed together: their rows of 48 elements are whole cache lines.
const STRIP: usize = 4;
/// Distance of two packed terms.
const STRIP_ROWS: usize = STRIP * ROWS;

/// One block of terms of a product.
struct Pass<'a> {
    target: &'a Target,
    left: Left<'a>,
    right: Right<'a>,
    /// The first term.
    from: usize,
    terms: usize,
    accumulate: bool,
}

impl Pass<'_> {
    /// Packs `rows` of a left-hand side whose terms are far apart; false when that is not needed.
    fn pack(&self, rows: Range<usize>, packed: &mut Vec<f32>) -> bool {
        match self.left {
            Left::Columns(data, stride) if stride > 2 * LANES => {
                let data = &data[self.from * stride + rows.start..];
                pack_columns(data, stride, self.terms, rows.len(), packed);
                true
            }
            _ => false,
        }
    }

    /// One tile of `rows` for every panel of `group`.
    ///
    /// # Safety
    /// As [`Target::compute`].
    unsafe fn tile(&self, rows: Range<usize>, group: Range<usize>, packed: Option<&[f32]>) {
        let (row, from, right) = (rows.start, self.from, self.right);
        let mut tile = Tile {
            a: std::ptr::null(),
            a_row: 1,
            a_step: 1,
            a_outer: 0,
            b: std::ptr::null(),
            b_outer: 0,
            outer: 1,
            inner: self.terms,
            c: self.target.start,
            c_row: self.target.row,
            accumulate: self.accumulate,
        };
        let mut term = from * LANES;
        match (self.left, packed) {
            (Left::Rows(data, stride), _) => {
                tile.a = data[row * stride + from..].as_ptr();
                tile.a_row = stride;
            }
            (Left::Columns(..), Some(packed)) => {
                tile.a = packed.as_ptr();
                tile.a_step = STRIP_ROWS;
            }
            (Left::Columns(data, stride), None) => {
                tile.a = data[from * stride + row..].as_ptr();
                tile.a_step = stride;
            }
            (Left::Lanes(data, stride), _) => {
                tile.a = data[row / LANES * stride + from * LANES + row % LANES..].as_ptr();
                tile.a_step = LANES;
            }
            (Left::Panels(data, stride), _) => {
                tile.a = data[from / LANES * stride + row * LANES..].as_ptr();
                tile.a_row = LANES;
                tile.a_outer = stride;
                tile.b_outer = right.outer;
                tile.outer = self.terms / LANES;
                tile.inner = LANES;
                term = from / LANES * right.outer;
            }
        }
        for panel in group {
            tile.b = right.data[panel * right.panel + term..].as_ptr();
            let at = panel * self.target.panel + row * self.target.row;
            let width = (self.target.columns - panel * LANES).min(LANES);
            // SAFETY: the caller's promise; a narrow panel goes through a buffer of whole lanes.
            unsafe {
                tile.c = self.target.start.add(at);
                if width == LANES {
                    tile::run(rows.len(), &tile);
                } else {
                    narrow(rows.len(), tile, width);
                }
            }
        }
    }
}

/// A tile of fewer than 32 columns.
///
/// # Safety
/// As [`tile::run`], with only `width` lanes of `c`.
unsafe fn narrow(rows: usize, tile: Tile, width: usize) {
    let mut buffer = [0.0_f32; ROWS * LANES];
    // SAFETY: the caller's promise, and the buffer has room for every row.
    unsafe {
        tile::run(
            rows,
            &Tile {
                c: buffer.as_mut_ptr(),
                c_row: LANES,
                accumulate: false,
                ..tile
            },
        );
    }
    for i in 0..rows {
        // SAFETY: the caller's promise for this row.
        let out = unsafe { std::slice::from_raw_parts_mut(tile.c.add(i * tile.c_row), width) };
        for (out, &sum) in out.iter_mut().zip(&buffer[i * LANES..]) {
            *out = if tile.accumulate { *out + sum } else { sum };
        }
    }
}

/// The first `count` elements of every `stride`, `terms` times, to [`STRIP_ROWS`] apart.
fn pack_columns(data: &[f32], stride: usize, terms: usize, count: usize, packed: &mut Vec<f32>) {
    let len = terms * STRIP_ROWS;
    if packed.len() < len {
        packed.resize(len, 0.0);
    }
    let packed = packed.chunks_exact_mut(STRIP_ROWS).take(terms);
    if count == STRIP_ROWS {
        // A copy of constant length is three vector moves.
        for (k, packed) in packed.enumerate() {
            packed.copy_from_slice(&data[k * stride..][..STRIP_ROWS]);
        }
    } else {
        for (k, packed) in packed.enumerate() {
            packed[..count].copy_from_slice(&data[k * stride..][..count]);
        }
    }
}
