//! How numbers are stored: three plain types, and three block formats of GGUF.
//!
//! A block is 32 numbers of one row with a common scale. Reading a block is exact arithmetic in f32, in
//! the order that llama.cpp's own reader has; writing Q8_0 rounds as it does, so that the bytes agree.

use half::{bf16, f16};
use std::fmt;

/// Numbers in one block of a quantized row.
const BLOCK: usize = 32;

/// Storage of a tensor's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    Bf16,
    /// Blocks of 32: an f16 scale and 32 signed bytes.
    Q8_0,
    /// Blocks of 32: an f16 scale and 32 nibbles, 8 being zero.
    Q4_0,
    /// Blocks of 32: an f16 scale, an f16 minimum and 32 nibbles.
    Q4_1,
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dtype::F32 => "f32",
            Dtype::F16 => "f16",
            Dtype::Bf16 => "bf16",
            Dtype::Q8_0 => "q8_0",
            Dtype::Q4_0 => "q4_0",
            Dtype::Q4_1 => "q4_1",
        })
    }
}

impl Dtype {
    /// Numbers and bytes of the smallest unit.
    fn unit(self) -> (usize, usize) {
        match self {
            Dtype::F32 => (1, 4),
            Dtype::F16 | Dtype::Bf16 => (1, 2),
            Dtype::Q8_0 => (BLOCK, 2 + BLOCK),
            Dtype::Q4_0 => (BLOCK, 2 + BLOCK / 2),
            Dtype::Q4_1 => (BLOCK, 4 + BLOCK / 2),
        }
    }

    /// Whether numbers share scales.
    pub fn is_quantized(self) -> bool {
        self.unit().0 > 1
    }

    /// Bytes of a tensor of these dimensions; `None` if that is no number, or rows are not whole blocks.
    pub fn byte_len(self, dims: &[usize]) -> Option<u64> {
        let (numbers, bytes) = self.unit();
        if numbers > 1 && !dims.last().is_some_and(|row| row.is_multiple_of(numbers)) {
            return None;
        }
        let count = dims
            .iter()
            .try_fold(1u64, |count, dim| count.checked_mul(*dim as u64))?;
        (count / numbers as u64).checked_mul(bytes as u64)
    }

    /// The numbers of stored bytes, which are whole units.
    pub(crate) fn decode(self, bytes: &[u8]) -> Vec<f32> {
        let half = |b: &[u8]| f16::from_le_bytes([b[0], b[1]]).to_f32();
        match self {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
            Dtype::F16 => bytes.chunks_exact(2).map(half).collect(),
            Dtype::Bf16 => bytes
                .chunks_exact(2)
                .map(|b| bf16::from_le_bytes([b[0], b[1]]).to_f32())
                .collect(),
            Dtype::Q8_0 => self.blocks(bytes, |block, out| {
                let scale = half(block);
                out.extend(block[2..].iter().map(|q| f32::from(*q as i8) * scale));
            }),
            // The first 16 numbers of a block are the lower nibbles, the others the upper.
            Dtype::Q4_0 => self.blocks(bytes, |block, out| {
                let scale = half(block);
                let number = |q: u8| (f32::from(q) - 8.0) * scale;
                out.extend(block[2..].iter().map(|q| number(q & 15)));
                out.extend(block[2..].iter().map(|q| number(q >> 4)));
            }),
            Dtype::Q4_1 => self.blocks(bytes, |block, out| {
                let (scale, least) = (half(block), half(&block[2..]));
                let number = |q: u8| f32::from(q) * scale + least;
                out.extend(block[4..].iter().map(|q| number(q & 15)));
                out.extend(block[4..].iter().map(|q| number(q >> 4)));
            }),
        }
    }

    fn blocks(self, bytes: &[u8], each: impl Fn(&[u8], &mut Vec<f32>)) -> Vec<f32> {
        let (numbers, size) = self.unit();
        let mut out = Vec::with_capacity(bytes.len() / size * numbers);
        for block in bytes.chunks_exact(size) {
            each(block, &mut out);
        }
        out
    }

    /// Numbers as stored bytes. `Err` holds a number that the type has no place for.
    pub(crate) fn encode(self, values: &[f32]) -> Result<Vec<u8>, f32> {
        match self {
            Dtype::F32 => Ok(values.iter().flat_map(|x| x.to_le_bytes()).collect()),
            Dtype::Bf16 => {
                let stored = |x: &f32| bf16::from_f32(*x);
                if let Some(lost) = values.iter().find(|x| overflows(**x, stored(x).to_f32())) {
                    return Err(*lost);
                }
                Ok(values
                    .iter()
                    .flat_map(|x| stored(x).to_le_bytes())
                    .collect())
            }
            Dtype::F16 => {
                let stored = |x: &f32| f16::from_f32(*x);
                if let Some(lost) = values.iter().find(|x| overflows(**x, stored(x).to_f32())) {
                    return Err(*lost);
                }
                Ok(values
                    .iter()
                    .flat_map(|x| stored(x).to_le_bytes())
                    .collect())
            }
            Dtype::Q8_0 => {
                let mut out = Vec::with_capacity(values.len() / BLOCK * (2 + BLOCK));
                for block in values.chunks_exact(BLOCK) {
                    let most = block.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                    let scale = most / 127.0;
                    if let Some(lost) = block
                        .iter()
                        .find(|x| !x.is_finite() || overflows(scale, f16::from_f32(scale).to_f32()))
                    {
                        return Err(*lost);
                    }
                    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
                    out.extend(f16::from_f32(scale).to_le_bytes());
                    out.extend(block.iter().map(|x| (x * inverse).round() as i8 as u8));
                }
                Ok(out)
            }
            Dtype::Q4_0 | Dtype::Q4_1 => unreachable!("four bits are read, never written"),
        }
    }
}

/// Whether a finite number became an infinite one.
fn overflows(from: f32, to: f32) -> bool {
    from.is_finite() && !to.is_finite()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_types_round_to_nearest() {
        let values = [1.0, -1.5, 0.1, 65504.0, 1e-8];
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let bytes = dtype.encode(&values).unwrap();
            assert_eq!(Some(bytes.len() as u64), dtype.byte_len(&[5]));
            for (a, b) in values.iter().zip(dtype.decode(&bytes)) {
                assert!((a - b).abs() <= a.abs() / 128.0 + 3e-8, "{dtype} {a} {b}");
            }
        }
        assert_eq!(Dtype::F16.encode(&[1.0, 65520.0]), Err(65520.0));
        assert_eq!(Dtype::Bf16.encode(&[f32::MAX]), Err(f32::MAX));
        assert!(Dtype::F16.encode(&[f32::INFINITY]).is_ok());
    }

    #[test]
    fn q8_0_is_within_half_a_step() {
        let values: Vec<f32> = (0..96)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 7.0)
            .collect();
        let bytes = Dtype::Q8_0.encode(&values).unwrap();
        assert_eq!(bytes.len(), 3 * 34);
        for (block, back) in values.chunks(32).zip(Dtype::Q8_0.decode(&bytes).chunks(32)) {
            let most = block.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            for (a, b) in block.iter().zip(back) {
                assert!((a - b).abs() <= most / 127.0 * 0.56, "{a} {b}");
            }
        }
        assert_eq!(Dtype::Q8_0.encode(&[0.0; 32]).unwrap(), [0; 34]);
        assert!(Dtype::Q8_0.encode(&[f32::NAN; 32]).is_err());
        assert!(Dtype::Q8_0.encode(&[1e9; 32]).is_err());
    }

    #[test]
    fn nibbles_are_low_halves_then_high_halves() {
        let mut block = f16::from_f32(2.0).to_le_bytes().to_vec();
        block.extend([0x81; 16]);
        let values = Dtype::Q4_0.decode(&block);
        assert_eq!(values[..16], [-14.0; 16]);
        assert_eq!(values[16..], [0.0; 16]);
        let mut block = f16::from_f32(2.0).to_le_bytes().to_vec();
        block.extend(f16::from_f32(-3.0).to_le_bytes());
        block.extend([0x81; 16]);
        let values = Dtype::Q4_1.decode(&block);
        assert_eq!(values[..16], [-1.0; 16]);
        assert_eq!(values[16..], [13.0; 16]);
    }

    #[test]
    fn sizes_that_are_no_numbers_are_none() {
        assert_eq!(Dtype::F32.byte_len(&[usize::MAX, 2]), None);
        assert_eq!(Dtype::Q8_0.byte_len(&[4, 33]), None);
        assert_eq!(Dtype::Q8_0.byte_len(&[]), None);
        assert_eq!(Dtype::Q4_1.byte_len(&[2, 64]), Some(80));
        assert_eq!(Dtype::F32.byte_len(&[]), Some(4));
    }
}
