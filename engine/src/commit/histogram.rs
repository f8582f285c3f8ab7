//! How a number was distributed, in buckets that double.

/// Buckets in a histogram.
pub const BUCKETS: usize = 24;

/// Bucket 0 counts zeros, bucket i the numbers from `2^(i-1)` up to but not including `2^i`, the last one all larger ones, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many numbers fell into each.
    pub buckets: [u64; BUCKETS],
    /// All of them together.
    pub sum: u64,
    /// The largest.
    pub max: u64,
}

impl Histogram {
    /// Counts `number`.
    pub(super) fn add(&mut self, number: u64) {
        let bucket = (u64::BITS - number.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.sum = self.sum.saturating_add(number);
        self.max = self.max.max(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_double() {
        let mut histogram = Histogram::default();
        for number in [0, 1, 2, 3, 4, 7, 8, (1 << 22) - 1, 1 << 22, u64::MAX - (1 << 30)] {
            histogram.add(number);
        }
        let mut expected = [0; BUCKETS];
        for (bucket, count) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 1), (22, 1), (23, 2)] {
            expected[bucket] = count;
        }
        assert_eq!((histogram.buckets, histogram.max), (expected, u64::MAX - (1 << 30)));
        histogram.add(u64::MAX);
        assert_eq!(histogram.sum, u64::MAX, "a sum that overflows stays at the end");
    }
}
