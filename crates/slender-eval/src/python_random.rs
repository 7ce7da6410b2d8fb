//! Python's `random.Random(seed).sample`, which decides what the harness's few-shot prompts show.
//!
//! The generator is MT19937 (Matsumoto and Nishimura 1998), seeded as Python seeds it from a whole number;
//! how bits become an index and a sample is CPython's, unchanged since 3.2.

const N: usize = 624;
const M: usize = 397;

/// A generator in Python's state for a seed.
pub(crate) struct PythonRandom {
    state: [u32; N],
    next: usize,
}

impl PythonRandom {
    pub(crate) fn new(seed: u32) -> Self {
        let mut state = [0_u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            state[i] = step(state[i - 1], 1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        for _ in 0..N {
            // One word of key: its index stays 0.
            state[i] = (state[i] ^ step(state[i - 1], 1_664_525)).wrapping_add(seed);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 1..N {
            state[i] = (state[i] ^ step(state[i - 1], 1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 1 << 31;
        Self { state, next: N }
    }

    fn word(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & (1 << 31)) | (self.state[(i + 1) % N] & !(1 << 31));
                let odd = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// A number below `n`, at least 1.
    fn below(&mut self, n: usize) -> usize {
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let r = (self.word() >> (32 - bits)) as usize;
            if r < n {
                return r;
            }
        }
    }

    /// Indices of `k` of `n` things, in the order drawn; `k <= n < 2³²`.
    pub(crate) fn sample(&mut self, n: usize, k: usize) -> Vec<usize> {
        let mut small = 21;
        if k > 5 {
            let mut power = 1;
            while power < 3 * k {
                power *= 4;
            }
            small += power;
        }
        let mut drawn = Vec::with_capacity(k);
        if n <= small {
            let mut pool: Vec<usize> = (0..n).collect();
            for i in 0..k {
                let j = self.below(n - i);
                drawn.push(pool[j]);
                pool[j] = pool[n - i - 1];
            }
        } else {
            for _ in 0..k {
                let mut j = self.below(n);
                while drawn.contains(&j) {
                    j = self.below(n);
                }
                drawn.push(j);
            }
        }
        drawn
    }
}

fn step(before: u32, factor: u32) -> u32 {
    (before ^ (before >> 30)).wrapping_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From `random.Random(seed)` of CPython 3.11: `getrandbits(32)` three times.
    #[test]
    fn words_are_cpython_s() {
        let mut random = PythonRandom::new(0);
        assert_eq!(
            [random.word(), random.word(), random.word()],
            [3626764237, 1654615998, 3255389356]
        );
        let mut random = PythonRandom::new(42);
        assert_eq!(
            [random.word(), random.word(), random.word()],
            [2746317213, 478163327, 107420369]
        );
        let mut random = PythonRandom::new(1234);
        assert_eq!(
            [random.word(), random.word(), random.word()],
            [4150886329, 3342196574, 1892932127]
        );
    }

    /// `random.Random(1234)`, each call after the one before: `sample(range(n), k)`.
    #[test]
    fn samples_are_cpython_s() {
        let mut random = PythonRandom::new(1234);
        assert_eq!(random.sample(10, 3), [7, 1, 0]);
        assert_eq!(random.sample(1000, 5), [92, 932, 965, 961, 826]);
        assert_eq!(random.sample(21, 5), [18, 1, 2, 3, 11]);
        assert_eq!(random.sample(22, 5), [7, 0, 11, 20, 19]);
        assert_eq!(random.sample(40, 6), [30, 29, 9, 5, 11, 7]);
        assert_eq!(random.sample(100, 8), [1, 64, 62, 31, 8, 85, 69, 59]);
        assert_eq!(
            random.sample(2241, 65),
            [
                280, 364, 2109, 188, 1104, 258, 1238, 1970, 1455, 1091, 1020, 819, 1857, 2171, 79,
                2081, 289, 23, 1366, 588, 1936, 1545, 684, 221, 312, 2033, 671, 308, 881, 590, 111,
                1418, 454, 2169, 578, 1250, 1860, 162, 1704, 1133, 164, 726, 1112, 633, 1229, 1902,
                168, 1581, 1431, 2031, 1399, 1917, 1949, 185, 1928, 696, 1800, 2126, 1793, 1211,
                1126, 507, 760, 1705, 1786
            ]
        );
        assert_eq!(random.sample(9, 9), [1, 8, 6, 3, 5, 2, 4, 0, 7]);
    }
}
