//! Randomness from a seed, the same on every machine and in every release.

/// SplitMix64 (G. L. Steele, D. Lea, C. H. Flood, OOPSLA 2014): small, fast, and
/// its stream is part of what a seed means here, so it is written out.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// A step of the generator's output function; also a cheap mixer.
pub fn mix(x: u64) -> u64 {
    let mut x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

impl Random {
    /// The stream of this name under this seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed) ^ mix(stream.wrapping_mul(0xd134_2543_de82_ef95)))
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        let x = mix(self.0);
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        x
    }

    pub fn wide(&mut self) -> u128 {
        u128::from(self.draw()) << 64 | u128::from(self.draw())
    }

    /// Of 32 bytes, as keys and seeds are.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.draw().to_le_bytes());
        }
        bytes
    }

    /// A number from 0 up to, and without, 1; each of 2^53 steps is as likely.
    pub fn unit(&mut self) -> f64 {
        (self.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Uniform in `from..to`; `from` where that is empty.
    pub fn between(&mut self, from: f64, to: f64) -> f64 {
        from + self.unit() * (to - from).max(0.0)
    }

    /// Below `n`; 0 where n is 0.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.draw()) * n as u128) >> 64) as usize
    }

    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Exponential of this mean.
    pub fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// An index with a probability in proportion to its rise over the one before,
    /// of rising sums.
    pub fn pick(&mut self, sums: &[f64]) -> usize {
        let all = sums.last().copied().unwrap_or(0.0);
        let x = self.unit() * all;
        sums.partition_point(|sum| *sum <= x).min(sums.len().saturating_sub(1))
    }
}

/// Rising sums of weights, for [`Random::pick`].
pub fn sums(weights: impl IntoIterator<Item = f64>) -> Vec<f64> {
    weights
        .into_iter()
        .scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_good() {
        let mut random = Random::new(1, 2);
        let drawn: [u64; 2] = [random.draw(), random.draw()];
        assert_eq!(drawn, {
            let mut again = Random::new(1, 2);
            [again.draw(), again.draw()]
        });
        assert_ne!(Random::new(1, 3).draw(), drawn[0]);
        // The reference output of SplitMix64 from state 0.
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
    }

    #[test]
    fn picks_follow_their_weights_and_never_one_of_weight_zero() {
        let sums = sums([1.0, 0.0, 3.0]);
        let mut random = Random::new(7, 0);
        let mut counts = [0; 3];
        for _ in 0..40_000 {
            counts[random.pick(&sums)] += 1;
        }
        assert_eq!(counts[1], 0);
        assert!((9_500..10_500).contains(&counts[0]), "{counts:?}");
    }
}
