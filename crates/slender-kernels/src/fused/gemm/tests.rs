//! Products of every layout against a triple loop in f64, and the promise that an element's bits
//! depend on its own row and column alone.

use super::*;
use crate::fused::linear::group_of;

/// Written where a product must not write.
const UNTOUCHED: f32 = 1234.5;

/// Deterministic values in -1..1.
fn values(count: usize, seed: usize) -> Vec<f32> {
    let mut state = (seed as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// How the left-hand side lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Rows,
    /// Terms so near that they are read in place.
    NearColumns,
    /// Terms so far apart that they are packed.
    FarColumns,
    Panels,
    Lanes,
}

const LAYOUTS: [Layout; 5] = [
    Layout::Rows,
    Layout::NearColumns,
    Layout::FarColumns,
    Layout::Panels,
    Layout::Lanes,
];

/// A product with both sides laid out, and what they hold.
struct Problem {
    layout: Layout,
    rows: usize,
    k: usize,
    panels: usize,
    left: Vec<f32>,
    stride: usize,
    right: Vec<f32>,
    right_panel: usize,
    right_outer: usize,
}

impl Problem {
    /// `None` where the layout does not take such sizes.
    fn new(layout: Layout, [rows, k, panels]: [usize; 3]) -> Option<Self> {
        let terms = k.next_multiple_of(LANES);
        let (stride, len) = match layout {
            Layout::Rows => (k + 3, rows * (k + 3)),
            Layout::NearColumns if rows <= 2 * LANES => (2 * LANES, k * 2 * LANES),
            Layout::FarColumns => (rows.max(2 * LANES) + 5, k * (rows.max(2 * LANES) + 5)),
            Layout::Panels => (rows * LANES + 32, terms / LANES * (rows * LANES + 32)),
            Layout::Lanes if rows.is_multiple_of(LANES) => {
                (k * LANES + 64, rows / LANES * (k * LANES + 64))
            }
            _ => return None,
        };
        let by_panels = layout == Layout::Panels;
        // Stretches of terms apart, as feature panels have them, or one panel behind the other.
        let (right_panel, right_outer) = if by_panels {
            (LANES * LANES, panels * LANES * LANES)
        } else {
            (k * LANES + 32, LANES * LANES)
        };
        let right_len = if by_panels {
            terms / LANES * right_outer
        } else {
            panels * right_panel
        };
        let mut problem = Self {
            layout,
            rows,
            k,
            panels,
            left: values(len, rows + k),
            stride,
            right: values(right_len, panels + 7 * k),
            right_panel,
            right_outer,
        };
        if by_panels {
            // Beyond the last term one side is zero and the other is anything.
            for i in 0..rows {
                for k in problem.k..terms {
                    let at = problem.left_at(i, k);
                    problem.left[at] = 0.0;
                }
            }
        }
        Some(problem)
    }

    fn left_at(&self, i: usize, k: usize) -> usize {
        match self.layout {
            Layout::Rows => i * self.stride + k,
            Layout::NearColumns | Layout::FarColumns => k * self.stride + i,
            Layout::Panels => k / LANES * self.stride + i * LANES + k % LANES,
            Layout::Lanes => i / LANES * self.stride + k * LANES + i % LANES,
        }
    }

    fn right_at(&self, k: usize, column: usize) -> usize {
        let (panel, lane) = (column / LANES, column % LANES);
        if self.layout == Layout::Panels {
            let (outer, inner) = (k / LANES, k % LANES);
            panel * self.right_panel + outer * self.right_outer + inner * LANES + lane
        } else {
            panel * self.right_panel + k * LANES + lane
        }
    }

    fn left(&self) -> Left<'_> {
        match self.layout {
            Layout::Rows => Left::Rows(&self.left, self.stride),
            Layout::NearColumns | Layout::FarColumns => Left::Columns(&self.left, self.stride),
            Layout::Panels => Left::Panels(&self.left, self.stride),
            Layout::Lanes => Left::Lanes(&self.left, self.stride),
        }
    }

    fn right(&self) -> Right<'_> {
        Right {
            data: &self.right,
            panel: self.right_panel,
            outer: self.right_outer,
        }
    }

    /// The element and the sum of its terms' sizes, which bounds its rounding.
    fn exact(&self, i: usize, column: usize) -> (f64, f64) {
        (0..self.k).fold((0.0, 0.0), |(sum, size), k| {
            let a = f64::from(self.left[self.left_at(i, k)]);
            let term = a * f64::from(self.right[self.right_at(k, column)]);
            (sum + term, size + term.abs())
        })
    }

    /// The product in panels, `[panel][rows][32]` without gaps, added to zero if `accumulate`.
    fn panels(&self, accumulate: bool) -> Vec<f32> {
        let panel = self.rows * LANES;
        let mut out = vec![if accumulate { 0.0 } else { UNTOUCHED }; self.panels * panel];
        let shape = [self.rows, self.k, self.panels];
        multiply(
            shape,
            self.left(),
            self.right(),
            Out::panels(&mut out, panel, accumulate),
        );
        out
    }
}

const SIZES: [[usize; 3]; 12] = [
    [1, 1, 1],
    [3, 5, 2],
    [12, 32, 1],
    [13, 33, 3],
    [31, 64, 2],
    [32, 7, 5],
    [47, 100, 2],
    [64, 640, 9],
    [64, 641, 2],
    [50, 1300, 2],
    [96, 96, 3],
    [101, 20, 12],
];

/// The bound of a sum of `k` products in any order, with room for the addition to what is there.
fn bound(k: usize, size: f64) -> f64 {
    (k + 2) as f64 * f64::from(f32::EPSILON) / 2.0 * (size + 1.0)
}

#[test]
fn panels_agree_with_a_triple_loop() {
    for (layout, shape) in LAYOUTS.into_iter().flat_map(|l| SIZES.map(|s| (l, s))) {
        let Some(problem) = Problem::new(layout, shape) else {
            continue;
        };
        let [rows, k, panels] = shape;
        // A gap behind every panel, and elements before that are added to.
        let panel = rows * LANES + 40;
        let before = values(panels * panel, 3);
        for accumulate in [false, true] {
            let mut out = before.clone();
            let target = Out::panels(&mut out, panel, accumulate);
            multiply(shape, problem.left(), problem.right(), target);
            for (at, (&out, &before)) in out.iter().zip(&before).enumerate() {
                let (i, column) = (at % panel / LANES, at / panel * LANES + at % panel % LANES);
                if i >= rows {
                    assert!(out == before, "{layout:?} {shape:?} writes into a gap");
                    continue;
                }
                let (mut sum, size) = problem.exact(i, column);
                sum += if accumulate { f64::from(before) } else { 0.0 };
                let error = (f64::from(out) - sum).abs();
                assert!(
                    error <= bound(k, size),
                    "{layout:?} {shape:?} ({i}, {column}): {error}"
                );
            }
        }
    }
}

#[test]
fn rows_of_any_width_agree_with_a_triple_loop() {
    for (layout, shape) in LAYOUTS.into_iter().flat_map(|l| SIZES.map(|s| (l, s))) {
        let Some(problem) = Problem::new(layout, shape) else {
            continue;
        };
        let [rows, k, panels] = shape;
        for narrower in [0, 1, 15, 16, 31] {
            let width = panels * LANES - narrower;
            let before = values(rows * width + 9, 4);
            for accumulate in [false, true] {
                for by in [None, Some(1), Some(7), Some(rows)] {
                    // Rows of panels of lanes can be divided at panels only.
                    let by = match layout {
                        Layout::Lanes => by.map(|by| by.next_multiple_of(LANES)),
                        _ => by,
                    };
                    let mut out = before.clone();
                    let target = Out::rows(&mut out, width, accumulate);
                    let (left, right) = (problem.left(), problem.right());
                    match by {
                        None => multiply(shape, left, right, target),
                        Some(by) => multiply_by_rows(shape, left, right, target, by),
                    }
                    assert_eq!(out[rows * width..], before[rows * width..]);
                    for (at, (&out, &before)) in out[..rows * width].iter().zip(&before).enumerate()
                    {
                        let (mut sum, size) = problem.exact(at / width, at % width);
                        sum += if accumulate { f64::from(before) } else { 0.0 };
                        let error = (f64::from(out) - sum).abs();
                        assert!(
                            error <= bound(k, size),
                            "{layout:?} {shape:?} width {width} by {by:?}, {at}: {error}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn surplus_terms_of_the_right_hand_side_may_be_zero_instead() {
    let shape = [13, 41, 2];
    let mut problem = Problem::new(Layout::Panels, shape).expect("any size");
    let expected = problem.panels(false);
    for k in 41..64 {
        for column in 0..2 * LANES {
            let at = problem.right_at(k, column);
            problem.right[at] = 0.0;
        }
        for i in 0..13 {
            let at = problem.left_at(i, k);
            problem.left[at] = 3.0;
        }
    }
    assert!(problem.panels(false) == expected);
}

/// Every row alone, every panel alone, and any number of them together.
#[test]
fn bits_do_not_depend_on_what_is_computed_beside() {
    for (layout, shape) in LAYOUTS.into_iter().flat_map(|l| SIZES.map(|s| (l, s))) {
        let Some(problem) = Problem::new(layout, shape) else {
            continue;
        };
        let [rows, k, panels] = shape;
        let all = problem.panels(false);
        let element = |i: usize, column: usize| {
            all[column / LANES * rows * LANES + i * LANES + column % LANES].to_bits()
        };
        // Added to zero it is the same but for the sign of zeros.
        let sums = problem.panels(true);
        assert!(
            sums.iter().zip(&all).all(|(a, b)| a == b),
            "{layout:?} {shape:?}"
        );

        let step = if layout == Layout::Lanes { LANES } else { 1 };
        for first in (0..rows).step_by(step) {
            for count in [step, 5, 12, 30] {
                let count = count.next_multiple_of(step).min(rows - first);
                for panel in 0..panels {
                    let shape = [count, k, 1];
                    let mut out = vec![0.0; count * LANES];
                    let mut right = problem.right();
                    right.data = &right.data[panel * right.panel..];
                    let target = Out::panels(&mut out, count * LANES, false);
                    multiply(shape, problem.left().skip_rows(first), right, target);
                    for (at, out) in out.iter().enumerate() {
                        let (i, column) = (first + at / LANES, panel * LANES + at % LANES);
                        assert!(
                            out.to_bits() == element(i, column),
                            "{layout:?} {shape:?}: {count} rows from {first}, panel {panel}"
                        );
                    }
                }
            }
        }

        // To rows, whose last panel is narrow, on any number of threads.
        for threads in [1, 2, 5] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let pool = pool.expect("a pool");
            for (narrower, by) in [(0, 1_usize), (3, 5), (31, 96)] {
                let width = panels * LANES - narrower;
                let by = by.next_multiple_of(step);
                let mut out = vec![0.0; rows * width];
                let target = Out::rows(&mut out, width, false);
                pool.install(|| {
                    multiply_by_rows(shape, problem.left(), problem.right(), target, by);
                });
                for (at, out) in out.iter().enumerate() {
                    assert!(
                        out.to_bits() == element(at / width, at % width),
                        "{layout:?} {shape:?}: width {width}, by {by}, {threads} threads"
                    );
                }
            }
        }
    }
}

/// A lane's bits depend neither on the other lanes of its panel nor on its place in it.
#[test]
fn bits_do_not_depend_on_the_lane() {
    let shape = [29, 700, 1];
    let mut problem = Problem::new(Layout::Rows, shape).expect("any size");
    let before = problem.panels(false);
    // Every lane gets the terms of lane 5, and lane 0 other ones.
    for k in 0..700 {
        let value = problem.right[problem.right_at(k, 5)];
        for lane in 0..LANES {
            let at = problem.right_at(k, lane);
            problem.right[at] = if lane == 0 { 1e30 } else { value };
        }
    }
    let after = problem.panels(false);
    for i in 0..29 {
        for lane in 1..LANES {
            assert!(after[i * LANES + lane].to_bits() == before[i * LANES + 5].to_bits());
        }
    }
}

#[test]
fn groups_of_panels_cover_all_and_keep_threads_busy() {
    for threads in [1, 2, 3, 8] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let group = |panels| pool.as_ref().expect("a pool").install(|| group_of(panels));
        for panels in 0..200 {
            let size = group(panels);
            assert!(
                (1..=8).contains(&size),
                "{threads} threads, {panels} panels: {size}"
            );
            let tasks = panels.div_ceil(size);
            assert!(
                tasks >= threads.min(panels) / 2,
                "{threads}, {panels}: {tasks} tasks"
            );
        }
    }
}

/// Sizes that do not fit the slices end in a panic, not in memory that is not theirs.
#[test]
fn shapes_beyond_the_slices_are_refused() {
    let problem = Problem::new(Layout::Rows, [4, 40, 2]).expect("any size");
    let refused = |shape: [usize; 3], len: usize| {
        std::panic::catch_unwind(|| {
            let mut out = vec![0.0; len];
            let panel = shape[0] * LANES;
            multiply(
                shape,
                problem.left(),
                problem.right(),
                Out::panels(&mut out, panel, false),
            );
        })
        .is_err()
    };
    assert!(!refused([4, 40, 2], 256));
    assert!(refused([4, 40, 2], 255), "result");
    assert!(refused([5, 40, 2], 320), "rows");
    assert!(refused([4, 80, 1], 128), "terms");
    assert!(refused([4, 40, 3], 384), "panels");
    assert!(refused([4, 0, 1], 128), "no terms");
    assert!(!refused([0, 40, 2], 0) && !refused([4, 40, 0], 0));
}
