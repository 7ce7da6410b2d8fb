//! Matrix products through the `gemm` crate, on raw strides.

/// A matrix in memory: first element, rows, columns, row stride, column stride (elements).
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub cols: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> View<'a> {
    /// Row-major `[rows, cols]`.
    pub(crate) fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self {
            data,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// Rows `stride` elements apart.
    pub(crate) fn strided(data: &'a [f32], rows: usize, cols: usize, stride: usize) -> Self {
        Self {
            data,
            rows,
            cols,
            row_stride: stride,
            col_stride: 1,
        }
    }

    /// The transposed matrix.
    pub(crate) fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Elements from the first to the last, inclusive.
    fn extent(&self) -> usize {
        (self.rows - 1) * self.row_stride + (self.cols - 1) * self.col_stride + 1
    }
}

/// Who computes a product.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Threads {
    /// The calling thread; for products inside a parallel loop.
    One,
    /// The whole pool, when the product is large enough.
    All,
}

/// `dst ← (dst if accumulate) + scale · a·b`, with `dst` rows `dst_stride` elements apart.
pub(crate) fn product(
    dst: &mut [f32],
    dst_stride: usize,
    a: View<'_>,
    b: View<'_>,
    scale: f32,
    accumulate: bool,
    threads: Threads,
) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner dimensions agree");
    if m == 0 || n == 0 || k == 0 {
        return;
    }
    assert!(a.extent() <= a.data.len() && b.extent() <= b.data.len());
    assert!((m - 1) * dst_stride + n <= dst.len());
    let large = m * n * k >= 1 << 17;
    let parallelism = match threads {
        Threads::All if large => gemm::Parallelism::Rayon(0),
        _ => gemm::Parallelism::None,
    };
    // SAFETY: the assertions above keep every access inside the three slices, `dst` is borrowed
    // exclusively and its rows do not overlap because `dst_stride >= n` is implied by row-major use.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            dst_stride as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0_f32,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A new row-major `a·b`.
pub(crate) fn matmul(a: View<'_>, b: View<'_>) -> Vec<f32> {
    let mut out = vec![0.0; a.rows * b.cols];
    product(&mut out, b.cols, a, b, 1.0, false, Threads::All);
    out
}
