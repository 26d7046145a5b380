//! Keyed BLAKE3 of eight short texts at once.
//!
//! One short hash is one compression, whose steps wait for each other; eight of them side by
//! side are the same steps on vectors of eight words. The `blake3` crate does that for the
//! blocks of one long input, which gives eight short ones nothing. The algorithm is that of
//! section 2 of the [BLAKE3 paper], for an input of one block in the keyed mode. It is written
//! for AVX2: what the compiler makes of arrays is slower than one hash after the other.
//!
//! [BLAKE3 paper]: https://github.com/BLAKE3-team/BLAKE3-specs/blob/master/blake3.pdf

/// How many texts are hashed at once.
pub(super) const LANES: usize = 8;

/// The first 16 bytes of the keyed hash of each text; none where this processor has no way to
/// do it at once, or a text is longer than a block of 64 bytes.
pub(super) fn keyed_hashes(key: &[u8; 32], texts: &[&str; LANES]) -> Option<[[u8; 16]; LANES]> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && avx2::fit(texts) {
        // SAFETY: the processor has AVX2, as was just asked.
        #[allow(unsafe_code)]
        return Some(unsafe { avx2::compressed(key, texts) });
    }
    let _ = (key, texts);
    None
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::LANES;

    /// Longest text, bytes: one block.
    const MAX_BYTES: usize = 64;
    const IV: [u32; 4] = [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a];
    /// An input's first and last block, which is its root, in the keyed mode: `CHUNK_START`,
    /// `CHUNK_END`, `ROOT`, `KEYED_HASH`.
    const FLAGS: i32 = 1 | 2 | 8 | 16;
    /// Which word of the round before a round has in each place.
    const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    /// Which words of the message each of the seven rounds mixes in.
    const SCHEDULE: [[usize; 16]; 7] = {
        let mut rounds = [[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]; 7];
        let mut round = 1;
        while round < rounds.len() {
            let mut i = 0;
            while i < PERMUTATION.len() {
                rounds[round][i] = rounds[round - 1][PERMUTATION[i]];
                i += 1;
            }
            round += 1;
        }
        rounds
    };

    /// The same word of each hash.
    type Words = __m256i;

    /// True if each text is one block.
    pub(super) fn fit(texts: &[&str; LANES]) -> bool {
        texts.iter().all(|text| text.len() <= MAX_BYTES)
    }

    /// What the compression of each text begins with.
    #[target_feature(enable = "avx2")]
    pub(super) fn compressed(key: &[u8; 32], texts: &[&str; LANES]) -> [[u8; 16]; LANES] {
        let mut blocks = [[0; MAX_BYTES]; LANES];
        let mut longest = 0;
        for (block, text) in blocks.iter_mut().zip(texts) {
            block[..text.len()].copy_from_slice(text.as_bytes());
            longest = longest.max(text.len());
        }
        let mut message = [_mm256_setzero_si256(); 16];
        for (i, words) in message[..longest.div_ceil(4)].iter_mut().enumerate() {
            let [a, b, c, d, e, f, g, h] = &blocks;
            *words = _mm256_setr_epi32(
                word(a, i),
                word(b, i),
                word(c, i),
                word(d, i),
                word(e, i),
                word(f, i),
                word(g, i),
                word(h, i),
            );
        }
        let [a, b, c, d, e, f, g, h] = texts.each_ref().map(|text| text.len() as i32);
        let zero = _mm256_setzero_si256();
        let keyed = |i| _mm256_set1_epi32(word(key, i));
        let initial = |i: usize| _mm256_set1_epi32(IV[i] as i32);
        let lengths = _mm256_setr_epi32(a, b, c, d, e, f, g, h);
        let mut state = [
            keyed(0),
            keyed(1),
            keyed(2),
            keyed(3),
            keyed(4),
            keyed(5),
            keyed(6),
            keyed(7),
            initial(0),
            initial(1),
            initial(2),
            initial(3),
            // The counter of chunks.
            zero,
            zero,
            lengths,
            _mm256_set1_epi32(FLAGS),
        ];
        round::<0>(&mut state, &message);
        round::<1>(&mut state, &message);
        round::<2>(&mut state, &message);
        round::<3>(&mut state, &message);
        round::<4>(&mut state, &message);
        round::<5>(&mut state, &message);
        round::<6>(&mut state, &message);
        let output = |i: usize| _mm256_xor_si256(state[i], state[i + 8]);
        hash_by_hash([output(0), output(1), output(2), output(3)])
    }

    fn word(bytes: &[u8], index: usize) -> i32 {
        let word = bytes[4 * index..].first_chunk().expect("whole words");
        i32::from_le_bytes(*word)
    }

    /// Columns, and then diagonals. Every index is known, so that the state stays in registers.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn round<const ROUND: usize>(state: &mut [Words; 16], message: &[Words; 16]) {
        let words = |i: usize| {
            let order = SCHEDULE[ROUND];
            [message[order[2 * i]], message[order[2 * i + 1]]]
        };
        mix::<0, 4, 8, 12>(state, words(0));
        mix::<1, 5, 9, 13>(state, words(1));
        mix::<2, 6, 10, 14>(state, words(2));
        mix::<3, 7, 11, 15>(state, words(3));
        mix::<0, 5, 10, 15>(state, words(4));
        mix::<1, 6, 11, 12>(state, words(5));
        mix::<2, 7, 8, 13>(state, words(6));
        mix::<3, 4, 9, 14>(state, words(7));
    }

    /// The quarter round G on these words of the state.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn mix<const A: usize, const B: usize, const C: usize, const D: usize>(
        state: &mut [Words; 16],
        [first, second]: [Words; 2],
    ) {
        // Turned right by 16 and by 8, whole bytes.
        let by_16 = _mm256_set_epi8(
            13, 12, 15, 14, 9, 8, 11, 10, 5, 4, 7, 6, 1, 0, 3, 2, 13, 12, 15, 14, 9, 8, 11, 10, 5,
            4, 7, 6, 1, 0, 3, 2,
        );
        let by_8 = _mm256_set_epi8(
            12, 15, 14, 13, 8, 11, 10, 9, 4, 7, 6, 5, 0, 3, 2, 1, 12, 15, 14, 13, 8, 11, 10, 9, 4,
            7, 6, 5, 0, 3, 2, 1,
        );
        let [mut a, mut b, mut c, mut d] = [state[A], state[B], state[C], state[D]];
        a = _mm256_add_epi32(_mm256_add_epi32(a, b), first);
        d = _mm256_shuffle_epi8(_mm256_xor_si256(d, a), by_16);
        c = _mm256_add_epi32(c, d);
        b = _mm256_xor_si256(b, c);
        b = _mm256_or_si256(_mm256_srli_epi32::<12>(b), _mm256_slli_epi32::<20>(b));
        a = _mm256_add_epi32(_mm256_add_epi32(a, b), second);
        d = _mm256_shuffle_epi8(_mm256_xor_si256(d, a), by_8);
        c = _mm256_add_epi32(c, d);
        b = _mm256_xor_si256(b, c);
        b = _mm256_or_si256(_mm256_srli_epi32::<7>(b), _mm256_slli_epi32::<25>(b));
        [state[A], state[B], state[C], state[D]] = [a, b, c, d];
    }

    /// Four words of each hash, one hash after the other.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn hash_by_hash([a, b, c, d]: [Words; 4]) -> [[u8; 16]; LANES] {
        let (ab_low, ab_high) = (_mm256_unpacklo_epi32(a, b), _mm256_unpackhi_epi32(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_epi32(c, d), _mm256_unpackhi_epi32(c, d));
        // In each the hash of this lane, and of the one four behind it.
        let pairs = [
            _mm256_unpacklo_epi64(ab_low, cd_low),
            _mm256_unpackhi_epi64(ab_low, cd_low),
            _mm256_unpacklo_epi64(ab_high, cd_high),
            _mm256_unpackhi_epi64(ab_high, cd_high),
        ];
        let mut hashes = [[0; 16]; LANES];
        for (lane, pair) in pairs.into_iter().enumerate() {
            let first = [_mm256_extract_epi64::<0>(pair), _mm256_extract_epi64::<1>(pair)];
            let second = [_mm256_extract_epi64::<2>(pair), _mm256_extract_epi64::<3>(pair)];
            for (lane, [low, high]) in [(lane, first), (lane + 4, second)] {
                hashes[lane][..8].copy_from_slice(&low.to_le_bytes());
                hashes[lane][8..].copy_from_slice(&high.to_le_bytes());
            }
        }
        hashes
    }
}
