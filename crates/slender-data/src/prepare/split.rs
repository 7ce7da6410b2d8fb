//! Which documents are for validation.
//!
//! A document's side follows from its text alone, so it does not change when documents are added, removed or
//! reordered, and copies of a document are on one side.

/// Divides documents by the hash of their text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// A document is for validation if the first 64 bits of its hash are below this.
    threshold: u128,
}

impl Split {
    /// A split that keeps `valid_fraction` (0 to 1) of documents for validation.
    pub fn new(valid_fraction: f64) -> Self {
        // 2^64 is exact in f64, and so is the product's conversion for the ends of the range.
        Self {
            threshold: (valid_fraction.clamp(0.0, 1.0) * 18_446_744_073_709_551_616.0) as u128,
        }
    }

    /// Whether a document is for validation.
    pub fn is_valid(&self, text: &str) -> bool {
        let hash = blake3::hash(text.as_bytes());
        let first =
            u64::from_le_bytes(*hash.as_bytes().first_chunk().expect("a hash has 32 bytes"));
        u128::from(first) < self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_ends() {
        let documents: Vec<String> = (0..10_000).map(|i| format!("document {i}")).collect();
        let count = |fraction: f64| {
            documents
                .iter()
                .filter(|d| Split::new(fraction).is_valid(d))
                .count()
        };
        assert_eq!(count(0.0), 0);
        assert_eq!(count(1.0), 10_000);
        assert!((900..1100).contains(&count(0.1)), "{}", count(0.1));
        // A larger share keeps every document of a smaller one.
        let (small, large) = (Split::new(0.05), Split::new(0.1));
        assert!(
            documents
                .iter()
                .all(|d| !small.is_valid(d) || large.is_valid(d))
        );
    }
}
