//! Memory of the kernels: buffers that come back, and results that are not filled before they are
//! written.
//!
//! A training step repeats the same shapes, so a kernel's intermediate buffers are kept and reused;
//! after the first step none is allocated. Results become Burn tensors, whose memory the global
//! allocator recycles (the program keeps freed pages mapped); filling them with zeros first costs
//! about a twentieth of a step at 125M parameters.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// Idle buffers, smallest first.
static IDLE: Mutex<Vec<Vec<f32>>> = Mutex::new(Vec::new());

/// A borrowed buffer of arbitrary contents; goes back when dropped.
pub(crate) struct Scratch {
    memory: Vec<f32>,
    len: usize,
}

/// `len` elements of arbitrary contents.
///
/// An idle buffer at least as large serves, unless it is more than twice as large.
pub(crate) fn scratch(len: usize) -> Scratch {
    let mut idle = IDLE
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let at = idle.partition_point(|memory| memory.len() < len);
    let fits = idle
        .get(at)
        .is_some_and(|memory| memory.len() <= 2 * len.max(512));
    let found = fits.then(|| idle.remove(at));
    drop(idle);
    let memory = found.unwrap_or_else(|| fresh(len));
    Scratch { memory, len }
}

impl Deref for Scratch {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Scratch {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        let mut idle = IDLE
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = idle.partition_point(|other| other.len() < memory.len());
        idle.insert(at, memory);
    }
}

/// `len` elements of arbitrary contents, to be overwritten.
pub(crate) fn fresh(len: usize) -> Vec<f32> {
    let mut values = Vec::<f32>::with_capacity(len);
    let start = values.as_mut_ptr();
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    // SAFETY: the empty assembly receives the pointer and may, as far as the language is concerned,
    // write to all of the memory: the elements have some value afterwards, and every bit pattern is
    // an f32. The capacity is at least `len`.
    unsafe {
        std::arch::asm!("/* {0} */", in(reg) start, options(nostack, preserves_flags));
        values.set_len(len);
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = start;
        values.resize(len, 0.0);
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_returned_buffer_serves_again() {
        let len = 123_457;
        let address = {
            let mut first = scratch(len);
            first.fill(1.0);
            first.as_ptr()
        };
        // No other test borrows buffers of this size.
        let second = scratch(len - 1000);
        assert_eq!(second.as_ptr(), address);
        assert_eq!(second.len(), len - 1000);
        assert_ne!(scratch(len).as_ptr(), address);
    }
}
