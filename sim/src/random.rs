//! Pseudo-random numbers and hashes that are the same on every machine and in every version, so that a failure can be found again by its seed.

/// SplitMix64: any seed will do, every step is one multiplication chain.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// True in `part` of 256 cases.
    pub(crate) fn chance(&mut self, part: u64) -> bool {
        self.next() >> 56 < part
    }

    pub(crate) fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(8) {
            let bytes = self.next().to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// Spreads every bit of `value` over the whole result.
pub(crate) fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// One number from two, order counted.
pub(crate) fn combine(left: u64, right: u64) -> u64 {
    mix(left.rotate_left(17) ^ right.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(left)
}

/// Hash of `bytes`. Four independent lanes, because states are counted by the million and the multiplications would otherwise wait for each other.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    const FACTOR: u64 = 0xff51_afd7_ed55_8ccd;
    let mut lanes = [1u64, 2, 3, 4].map(mix);
    let mut blocks = bytes.chunks_exact(32);
    for block in &mut blocks {
        for (lane, word) in lanes.iter_mut().zip(block.chunks_exact(8)) {
            *lane = (*lane ^ word_of(word)).wrapping_mul(FACTOR).rotate_left(31);
        }
    }
    let rest = blocks.remainder().chunks(8).fold(bytes.len() as u64, |sum, word| combine(sum, word_of(word)));
    lanes.iter().fold(rest, |sum, &lane| combine(sum, lane))
}

fn word_of(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    word[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_sees_every_byte_and_the_length() {
        let bytes: Vec<u8> = (0..100).collect();
        let mut seen = std::collections::HashSet::new();
        for len in 0..=bytes.len() {
            assert!(seen.insert(hash(&bytes[..len])));
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(seen.insert(hash(&changed)), "byte {at}");
        }
        assert_ne!(hash(&[0; 64]), hash(&[0; 96]));
    }

    #[test]
    fn numbers_stay_below_their_end_and_reach_all_of_it() {
        let mut random = Random::new(3);
        let mut counts = [0; 5];
        for _ in 0..1000 {
            counts[random.below(5) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| count > 100));
        assert_eq!(random.below(0), 0);
    }
}
