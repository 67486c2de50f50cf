//! An AES-GCM key as the kernels want it: round keys (FIPS 197 §5.2), and powers of the hash key
//! (NIST SP 800-38D §6.3), so that many blocks are hashed with one reduction.
//!
//! A block of GHASH is kept with its octets in reverse order. The product of two such blocks is the wanted one shifted
//! by one bit, so the hash key is kept shifted to make up for it, and every power made from it is too.

use std::arch::x86_64::{
    __m128i, _MM_HINT_T0, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_aeskeygenassist_si128,
    _mm_clmulepi64_si128, _mm_cvtsi128_si32, _mm_cvtsi128_si64, _mm_extract_epi64, _mm_prefetch,
    _mm_set_epi64x, _mm_set1_epi32, _mm_set1_epi64x, _mm_shuffle_epi32, _mm_xor_si128,
};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Blocks of text that are hashed with one reduction: those of a packet that fills an Ethernet frame. What waits for a
/// reduction is what costs most: with a third of it, such a packet takes a tenth longer. A short packet reads the last
/// powers only.
pub(super) const BLOCKS_MAX: usize = 96;
/// Powers kept: one for each of those blocks, one for the associated data before them, one for the lengths behind
/// them, and two more, so that the power of the first block begins a cache line.
const POWERS: usize = BLOCKS_MAX + 4;
/// Zeros behind the last power: a vector that begins with it is read whole.
const BEYOND: usize = 4;
/// Cache lines of powers that are asked for in advance: the zeros, and those of a packet of 64 octets.
const LAST_LINES: usize = 3;
/// Words of the longest key schedule: 14 rounds and the whitening before them.
const WORDS_MAX: usize = 60;
/// What the polynomial of GHASH leaves of its top bit, shifted as the hash key is.
const SHIFTED_POLYNOMIAL: u128 = (0xc2 << 120) | 1;
/// The upper half of it, for reductions.
pub(super) const REDUCTION: i64 = (SHIFTED_POLYNOMIAL >> 64) as i64;

/// The place that each octet of a block in GHASH's order comes from.
pub(super) const REVERSED: u128 = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f;

/// Wiped when dropped. Boxed from the start, so that no move leaves a copy behind.
#[derive(Zeroize, ZeroizeOnDrop)]
#[repr(C, align(64))]
pub(super) struct Expanded {
    /// H^100 to H^1, then zeros.
    powers: [u128; POWERS + BEYOND],
    /// In front of the round keys, so that they and the keys of AES-128 fill whole cache lines.
    rounds: usize,
    round_keys: [u128; WORDS_MAX / 4],
}

impl Expanded {
    /// Round keys and powers of a key of 16, 24 or 32 octets; `None` for another length.
    #[target_feature(enable = "aes,pclmulqdq,sse4.1")]
    pub(super) fn new(key: &[u8]) -> Option<Box<Self>> {
        if !matches!(key.len(), 16 | 24 | 32) {
            return None;
        }
        let mut expanded = Box::new(Self {
            powers: [0; POWERS + BEYOND],
            round_keys: [0; WORDS_MAX / 4],
            rounds: key.len() / 4 + 6,
        });
        expanded.expand(key);
        expanded.raise();
        Some(expanded)
    }

    /// Rounds of AES: 10, 12 or 14.
    pub(super) const fn rounds(&self) -> usize {
        self.rounds
    }

    /// The keys of the rounds, that of the whitening first.
    pub(super) const fn round_keys(&self) -> &[u128; WORDS_MAX / 4] {
        &self.round_keys
    }

    /// `count` powers from `H^highest` downwards, zeros below `H^1`.
    #[inline]
    pub(super) fn powers(&self, highest: usize, count: usize) -> &[u128] {
        &self.powers[POWERS - highest..][..count]
    }

    /// `H^exponent`.
    #[inline]
    pub(super) fn power(&self, exponent: usize) -> u128 {
        self.powers[POWERS - exponent]
    }

    /// Asks for the last powers and the round keys, which stand together.
    #[inline]
    pub(super) fn prefetch(&self) {
        /// Powers of a cache line.
        const LINE: usize = 64 / size_of::<u128>();
        let powers = self.powers.as_chunks::<LINE>().0;
        let last = powers.len().saturating_sub(LAST_LINES);
        // The first place of each line: `rounds` takes that of a round key in the first one. It is not asked how many there
        // are: that would be to wait for what is asked for here.
        let keys = self.round_keys.iter().skip(LINE - 1).step_by(LINE);
        let lines = powers[last..]
            .iter()
            .map(|line| &line[0])
            .chain(std::iter::once(&self.round_keys[0]))
            .chain(keys);
        for place in lines {
            // SAFETY: a prefetch never faults, and this address is that of a reference.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) };
        }
    }

    /// FIPS 197 §5.2.
    #[target_feature(enable = "aes,sse4.1")]
    fn expand(&mut self, key: &[u8]) {
        let mut words = Zeroizing::new([0_u32; WORDS_MAX]);
        let key_words = key.len() / 4;
        for (word, octets) in words.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*octets);
        }
        let mut constant = 1;
        for at in key_words..4 * (self.rounds + 1) {
            let mut word = words[at - 1];
            if at % key_words == 0 {
                word = substituted(word).rotate_right(8) ^ constant;
                constant = (constant << 1) ^ if constant == 0x80 { 0x11b } else { 0 };
            } else if key_words == 8 && at % 8 == 4 {
                word = substituted(word);
            }
            words[at] = words[at - key_words] ^ word;
        }
        for (round_key, words) in self.round_keys.iter_mut().zip(words.as_chunks::<4>().0) {
            *round_key = words.iter().rev().fold(0, |key, &word| (key << 32) | u128::from(word));
        }
    }

    /// The hash key and its powers. The round keys are there.
    #[target_feature(enable = "aes,pclmulqdq,sse4.1")]
    fn raise(&mut self) {
        let hash_key = number(self.encrypted(0)).swap_bytes();
        // No branch and no table may depend on a bit of the key.
        let carry = 0_u128.wrapping_sub(hash_key >> 127);
        let first = block((hash_key << 1) ^ (carry & SHIFTED_POLYNOMIAL));
        let mut power = first;
        for kept in self.powers[..POWERS].iter_mut().rev() {
            *kept = number(power);
            power = product(power, first);
        }
    }

    #[target_feature(enable = "aes,sse4.1")]
    fn encrypted(&self, plain: u128) -> __m128i {
        let mut state = block(plain ^ self.round_keys[0]);
        for &round_key in &self.round_keys[1..self.rounds] {
            state = _mm_aesenc_si128(state, block(round_key));
        }
        _mm_aesenclast_si128(state, block(self.round_keys[self.rounds]))
    }
}

/// Each octet through the S-box.
#[target_feature(enable = "aes")]
fn substituted(word: u32) -> u32 {
    let words = _mm_set1_epi32(word.cast_signed());
    _mm_cvtsi128_si32(_mm_aeskeygenassist_si128::<0>(words)).cast_unsigned()
}

/// The register that holds these octets, the first in the lowest place.
#[inline]
#[target_feature(enable = "sse2")]
pub(super) fn block(number: u128) -> __m128i {
    _mm_set_epi64x((number >> 64) as i64, number as i64)
}

/// What the register holds.
#[inline]
#[target_feature(enable = "sse4.1")]
pub(super) fn number(block: __m128i) -> u128 {
    let (low, high) = (_mm_cvtsi128_si64(block), _mm_extract_epi64::<1>(block));
    (u128::from(high.cast_unsigned()) << 64) | u128::from(low.cast_unsigned())
}

/// The product of a block and a power in GHASH's field, by Montgomery's reduction.
#[inline]
#[target_feature(enable = "pclmulqdq,sse2")]
pub(super) fn product(block: __m128i, power: __m128i) -> __m128i {
    let low = _mm_clmulepi64_si128::<0x00>(block, power);
    let high = _mm_clmulepi64_si128::<0x11>(block, power);
    let crossed = _mm_clmulepi64_si128::<0x01>(block, power);
    let middle = _mm_xor_si128(crossed, _mm_clmulepi64_si128::<0x10>(block, power));
    let middle = _mm_xor_si128(middle, folded(low));
    _mm_xor_si128(high, folded(middle))
}

/// Moves the lower half's weight up by 64 bits: one half of the reduction.
#[inline]
#[target_feature(enable = "pclmulqdq,sse2")]
fn folded(part: __m128i) -> __m128i {
    let reduced = _mm_clmulepi64_si128::<0x00>(part, _mm_set1_epi64x(REDUCTION));
    _mm_xor_si128(reduced, _mm_shuffle_epi32::<0x4e>(part))
}
