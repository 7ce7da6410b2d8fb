//! Token embedding: rows of a weight, and their gradients back to the rows.

use super::buffers::fresh;
use super::feed_forward::Target;
use rayon::prelude::*;

/// Tokens a task of the gather takes.
const TOKENS: usize = 64;
/// Elements of the gradient that a task fills with zeros.
const BLOCK: usize = 1 << 16;

/// Rows `tokens` of `weight` `[V, D]`, as `[N, D]`.
pub(crate) fn gather(weight: &[f32], tokens: &[i32], d: usize) -> Vec<f32> {
    let mut out = fresh(tokens.len() * d);
    out.par_chunks_mut(TOKENS * d)
        .zip(tokens.par_chunks(TOKENS))
        .for_each(|(out, tokens)| {
            for (out, &token) in out.chunks_exact_mut(d).zip(tokens) {
                out.copy_from_slice(&weight[token as usize * d..][..d]);
            }
        });
    out
}

/// Adds each row of `dy` `[N, D]` to its token's row of the gradient, in the order of tokens.
///
/// Tasks own ranges of the vocabulary and each looks at every token, so that no two write the same
/// row and the order of additions does not depend on threads.
pub(crate) fn scatter(dy: &[f32], tokens: &[i32], d: usize, target: Target<'_>) {
    if !target.accumulate {
        target
            .values
            .par_chunks_mut(BLOCK)
            .for_each(|part| part.fill(0.0));
    }
    let rows = target.values.len() / d;
    let each = rows.div_ceil(4 * rayon::current_num_threads()).max(1);
    target
        .values
        .par_chunks_mut(each * d)
        .enumerate()
        .for_each(|(index, part)| {
            let range = (index * each) as i32..((index + 1) * each) as i32;
            for (&token, dy) in tokens.iter().zip(dy.chunks_exact(d)) {
                if range.contains(&token) {
                    let at = (token - range.start) as usize * d;
                    part[at..at + d]
                        .iter_mut()
                        .zip(dy)
                        .for_each(|(sum, dy)| *sum += dy);
                }
            }
        });
}
