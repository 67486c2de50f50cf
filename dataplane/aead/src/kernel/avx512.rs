//! AES-GCM with VAES, VPCLMULQDQ and AVX-512: four blocks in a register.
//!
//! ```text
//!   text   | 512 octets | 512 octets | ... | 1 to 512 octets |
//!            stretch      stretch            end              -> tag
//! ```
//!
//! Each piece is encrypted, and hashed with one reduction. A packet is done in one go, and the core is left to overlap
//! it with the next one, which depends on nothing in it: mixing encryption and hashing by hand was slower.

use super::associated::{Associated, MASK_COUNTER, Nonce};
use super::expanded::{BLOCKS_MAX, Expanded, REDUCTION, block, number};
use std::arch::x86_64::{
    __m128i, __m512i, _bzhi_u64, _mm_aesenc_si128, _mm_aesenclast_si128, _mm_set_epi64x, _mm_shuffle_epi8,
    _mm_xor_si128, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_xor_si256, _mm512_add_epi32,
    _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_broadcast_i32x4, _mm512_castsi512_si128,
    _mm512_castsi512_si256, _mm512_clmulepi64_epi128, _mm512_extracti64x4_epi64, _mm512_inserti32x4,
    _mm512_loadu_si512, _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_maskz_mov_epi8,
    _mm512_set1_epi32, _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_epi32,
    _mm512_storeu_si512, _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64,
    _mm512_xor_si512, _mm512_zextsi128_si512,
};

/// Octets of a register.
const REGISTER: usize = 64;
/// Registers of a stretch.
const STRETCH: usize = BLOCKS_MAX / 4;
/// Octets of a stretch.
const STRETCH_OCTETS: usize = STRETCH * REGISTER;

/// Whether this CPU can run what is in here.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
        && is_x86_feature_detected!("bmi2")
}

/// Counters of the text's blocks, as octets on the wire, from 2 on. Their lowest octet is right for ever, the one above
/// it for the first 256 blocks: [`counters`] adds what is missing.
static COUNTERS: [[[u128; 4]; STRETCH]; 8] = {
    let mut counters = [[[0; 4]; STRETCH]; 8];
    let mut at = 0;
    while at < 8 * BLOCKS_MAX {
        counters[at / BLOCKS_MAX][at % BLOCKS_MAX / 4][at % 4] = ((at as u32 + 2).swap_bytes() as u128) << 96;
        at += 1;
    }
    counters
};

/// Counters of one register of a stretch.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn counters(stretch: usize, register: usize) -> __m512i {
    let later = _mm512_set1_epi32(((stretch / 8) << 16) as i32);
    let later = _mm512_maskz_mov_epi8(0xf000_f000_f000_f000, later);
    _mm512_add_epi32(load_blocks(&COUNTERS[stretch % 8][register]), later)
}

/// What [`seal`] and [`open`] share: the text is changed in place, the tag comes out.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn crypt<const SEAL: bool, const ROUNDS: usize>(
    key: &Expanded,
    nonce: Nonce,
    aad: Associated,
    text: &mut [u8],
) -> u128 {
    let whitened = nonce.0 ^ key.round_keys()[0];
    let mut packet = Packet {
        key,
        counter: _mm512_broadcast_i32x4(block(whitened)),
        mask: block(whitened ^ MASK_COUNTER),
        lengths: block(aad.lengths(text.len())),
        stretch: 0,
        hash: block(aad.block),
    };
    // The end is never empty, unless the text is.
    let stretches = text.len().saturating_sub(1) / STRETCH_OCTETS;
    let (stretches, rest) = text.split_at_mut(stretches * STRETCH_OCTETS);
    for stretch in stretches.as_chunks_mut().0 {
        packet.stretch::<SEAL, ROUNDS>(stretch);
    }
    let tag = match rest.len().div_ceil(REGISTER) {
        0 => packet.empty::<ROUNDS>(),
        1 => packet.end::<SEAL, ROUNDS, 1>(rest),
        2 => packet.end::<SEAL, ROUNDS, 2>(rest),
        3 => packet.end::<SEAL, ROUNDS, 3>(rest),
        4 => packet.end::<SEAL, ROUNDS, 4>(rest),
        5 => packet.end::<SEAL, ROUNDS, 5>(rest),
        6 => packet.end::<SEAL, ROUNDS, 6>(rest),
        7 => packet.end::<SEAL, ROUNDS, 7>(rest),
        _ => packet.end::<SEAL, ROUNDS, 8>(rest),
    };
    number(tag)
}

/// A packet on its way.
struct Packet<'a> {
    key: &'a Expanded,
    /// Nonce and first round key; a block's counter is still missing.
    counter: __m512i,
    /// What becomes the mask of the tag.
    mask: __m128i,
    /// The last block of GHASH.
    lengths: __m128i,
    /// Stretches done.
    stretch: usize,
    /// The associated data while none is done, then the hash so far. It is not yet multiplied.
    hash: __m128i,
}

impl Packet<'_> {
    /// Sets all up for the round keys.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn states<const N: usize>(&self) -> [__m512i; N] {
        let mut states = [self.counter; N];
        for (register, state) in states.iter_mut().enumerate() {
            *state = _mm512_xor_si512(*state, counters(self.stretch, register));
        }
        states
    }

    /// A stretch in the middle of the text.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn stretch<const SEAL: bool, const ROUNDS: usize>(&mut self, text: &mut [u8; STRETCH_OCTETS]) {
        let mut states = self.states::<STRETCH>();
        encrypt::<ROUNDS, STRETCH>(self.key, &mut states, None);
        let mut hashed = [_mm512_setzero_si512(); STRETCH];
        let (registers, _) = text.as_chunks_mut::<REGISTER>();
        for ((octets, state), hashed) in registers.iter_mut().zip(states).zip(&mut hashed) {
            let input = load(octets);
            let output = _mm512_xor_si512(input, state);
            store(octets, output);
            *hashed = reversed(if SEAL { output } else { input });
        }
        let mut sum = Sum::zero();
        let before = _mm512_zextsi128_si512(self.hash);
        if self.stretch == 0 {
            sum = sum.add(before, _mm512_zextsi128_si512(block(self.key.power(BLOCKS_MAX + 1))));
        } else {
            hashed[0] = _mm512_xor_si512(hashed[0], before);
        }
        self.hash = sum.add_all(&hashed, self.key.powers(BLOCKS_MAX, BLOCKS_MAX)).reduced();
        self.stretch += 1;
    }

    /// What is left: 64·(N−1)+1 to 64·N octets. The tag.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn end<const SEAL: bool, const ROUNDS: usize, const N: usize>(mut self, text: &mut [u8]) -> __m128i {
        let blocks = text.len().div_ceil(16);
        let (whole, last) = text.split_at_mut(REGISTER * (N - 1));
        let (whole, _) = whole.as_chunks_mut::<REGISTER>();
        let mut states = self.states::<N>();
        encrypt::<ROUNDS, N>(self.key, &mut states, Some(&mut self.mask));
        let mut hashed = [_mm512_setzero_si512(); N];
        for ((octets, state), hashed) in whole.iter_mut().zip(states).zip(&mut hashed) {
            let input = load(octets);
            let output = _mm512_xor_si512(input, state);
            store(octets, output);
            *hashed = reversed(if SEAL { output } else { input });
        }
        let input = load_part(last);
        let output = _mm512_xor_si512(input, states[N - 1]);
        store_part(last, output);
        // Behind the text, GHASH takes zeros, and not the key stream that is there.
        let ciphertext = if SEAL { _mm512_maskz_mov_epi8(part(last.len()), output) } else { input };
        hashed[N - 1] = reversed(ciphertext);

        let mut outside = _mm512_zextsi128_si512(self.lengths);
        let mut powers = _mm512_zextsi128_si512(block(self.key.power(1)));
        if self.stretch == 0 {
            outside = _mm512_inserti32x4::<1>(outside, self.hash);
            powers = _mm512_inserti32x4::<1>(powers, block(self.key.power(blocks + 2)));
        } else {
            hashed[0] = _mm512_xor_si512(hashed[0], _mm512_zextsi128_si512(self.hash));
        }
        let sum = Sum::zero().add(outside, powers).add_all(&hashed, self.key.powers(blocks + 1, 4 * N));
        self.tag(sum)
    }

    /// The tag of a packet without text.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn empty<const ROUNDS: usize>(mut self) -> __m128i {
        encrypt::<ROUNDS, 0>(self.key, &mut [], Some(&mut self.mask));
        let outside = _mm512_inserti32x4::<1>(_mm512_zextsi128_si512(self.lengths), self.hash);
        let powers = _mm512_zextsi128_si512(block(self.key.power(1)));
        let powers = _mm512_inserti32x4::<1>(powers, block(self.key.power(2)));
        self.tag(Sum::zero().add(outside, powers))
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn tag(&self, sum: Sum) -> __m128i {
        _mm_xor_si128(reversed_block(sum.reduced()), self.mask)
    }
}

/// The rounds of AES, after the whitening, over N registers and perhaps one block more.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn encrypt<const ROUNDS: usize, const N: usize>(
    key: &Expanded,
    states: &mut [__m512i; N],
    mask: Option<&mut __m128i>,
) {
    let mut unwanted = _mm_set_epi64x(0, 0);
    let mask = mask.unwrap_or(&mut unwanted);
    for &round_key in &key.round_keys()[1..ROUNDS] {
        let round_key = _mm512_broadcast_i32x4(block(round_key));
        for state in states.iter_mut() {
            *state = _mm512_aesenc_epi128(*state, round_key);
        }
        *mask = _mm_aesenc_si128(*mask, _mm512_castsi512_si128(round_key));
    }
    let round_key = _mm512_broadcast_i32x4(block(key.round_keys()[ROUNDS]));
    for state in states.iter_mut() {
        *state = _mm512_aesenclast_epi128(*state, round_key);
    }
    *mask = _mm_aesenclast_si128(*mask, _mm512_castsi512_si128(round_key));
}

/// A sum of products that is not reduced yet. Karatsuba: three multiplications instead of four, and the low and the
/// high part are still in the middle one.
#[derive(Clone, Copy)]
struct Sum {
    low: __m512i,
    high: __m512i,
    middle: __m512i,
}

impl Sum {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self { low: zero, high: zero, middle: zero }
    }

    /// Adds each block times the power in its place.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn add(self, blocks: __m512i, powers: __m512i) -> Self {
        let halves = _mm512_xor_si512(blocks, _mm512_shuffle_epi32::<0x4e>(blocks));
        let power_halves = _mm512_xor_si512(powers, _mm512_shuffle_epi32::<0x4e>(powers));
        Self {
            low: _mm512_xor_si512(self.low, _mm512_clmulepi64_epi128::<0x00>(blocks, powers)),
            high: _mm512_xor_si512(self.high, _mm512_clmulepi64_epi128::<0x11>(blocks, powers)),
            middle: _mm512_xor_si512(self.middle, _mm512_clmulepi64_epi128::<0x00>(halves, power_halves)),
        }
    }

    /// [`Self::add`] twice, with the halves of both packed, which saves a shuffle for each.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn add_two(self, blocks: [__m512i; 2], powers: [__m512i; 2]) -> Self {
        let [first, second] = blocks;
        let [first_powers, second_powers] = powers;
        let halves =
            _mm512_xor_si512(_mm512_unpacklo_epi64(first, second), _mm512_unpackhi_epi64(first, second));
        let power_halves = _mm512_xor_si512(
            _mm512_unpacklo_epi64(first_powers, second_powers),
            _mm512_unpackhi_epi64(first_powers, second_powers),
        );
        Self {
            low: sum(
                self.low,
                _mm512_clmulepi64_epi128::<0x00>(first, first_powers),
                _mm512_clmulepi64_epi128::<0x00>(second, second_powers),
            ),
            high: sum(
                self.high,
                _mm512_clmulepi64_epi128::<0x11>(first, first_powers),
                _mm512_clmulepi64_epi128::<0x11>(second, second_powers),
            ),
            middle: sum(
                self.middle,
                _mm512_clmulepi64_epi128::<0x00>(halves, power_halves),
                _mm512_clmulepi64_epi128::<0x11>(halves, power_halves),
            ),
        }
    }

    /// Adds N registers, each with its four powers.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn add_all<const N: usize>(mut self, blocks: &[__m512i; N], powers: &[u128]) -> Self {
        let (powers, _) = powers.as_chunks::<4>();
        let (pairs, single) = blocks.as_chunks::<2>();
        let (power_pairs, single_power) = powers.as_chunks::<2>();
        for (pair, powers) in pairs.iter().zip(power_pairs) {
            self = self.add_two(*pair, [load_blocks(&powers[0]), load_blocks(&powers[1])]);
        }
        if let ([single], [powers]) = (single, single_power) {
            self = self.add(*single, load_blocks(powers));
        }
        self
    }

    /// The sum of all four lanes, reduced.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
    fn reduced(self) -> __m128i {
        let polynomial = _mm512_set1_epi64(REDUCTION);
        let middle = sum(self.middle, self.low, self.high);
        let reduced = _mm512_clmulepi64_epi128::<0x00>(self.low, polynomial);
        let middle = sum(middle, reduced, _mm512_shuffle_epi32::<0x4e>(self.low));
        let reduced = _mm512_clmulepi64_epi128::<0x00>(middle, polynomial);
        let lanes = sum(self.high, reduced, _mm512_shuffle_epi32::<0x4e>(middle));
        let halves = _mm256_xor_si256(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
        _mm_xor_si128(_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves))
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn sum(first: __m512i, second: __m512i, third: __m512i) -> __m512i {
    _mm512_ternarylogic_epi64::<0x96>(first, second, third)
}

/// The octets of each block in GHASH's order.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn reversed(blocks: __m512i) -> __m512i {
    _mm512_shuffle_epi8(blocks, _mm512_broadcast_i32x4(block(REVERSED)))
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn reversed_block(one: __m128i) -> __m128i {
    _mm_shuffle_epi8(one, block(REVERSED))
}

/// The place that each octet of a reversed block comes from.
const REVERSED: u128 = 0x0001_0203_0405_0607_0809_0a0b_0c0d_0e0f;

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn load_blocks(blocks: &[u128; 4]) -> __m512i {
    // SAFETY: the array has the 64 octets that are read, and the instruction wants no alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn load(octets: &[u8; REGISTER]) -> __m512i {
    // SAFETY: the array has the 64 octets that are read, and the instruction wants no alignment.
    unsafe { _mm512_loadu_si512(octets.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn store(octets: &mut [u8; REGISTER], value: __m512i) {
    // SAFETY: the array has the 64 octets that are written, and the instruction wants no alignment.
    unsafe { _mm512_storeu_si512(octets.as_mut_ptr().cast(), value) }
}

/// A bit for each of the first `octets` of a register, at most all.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn part(octets: usize) -> u64 {
    _bzhi_u64(u64::MAX, octets.min(REGISTER) as u32)
}

/// The first 64 octets of these, or zeros behind fewer.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn load_part(octets: &[u8]) -> __m512i {
    // SAFETY: the mask has a bit for octets of the slice only; what it leaves out is not read, mapped or not.
    unsafe { _mm512_maskz_loadu_epi8(part(octets.len()), octets.as_ptr().cast()) }
}

/// As many octets of the register as fit.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn store_part(octets: &mut [u8], value: __m512i) {
    // SAFETY: the mask has a bit for octets of the slice only; what it leaves out is not written, mapped or not.
    unsafe { _mm512_mask_storeu_epi8(octets.as_mut_ptr().cast(), part(octets.len()), value) }
}

/// Encrypts the text; the tag.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn seal(key: &Expanded, nonce: Nonce, aad: Associated, text: &mut [u8]) -> u128 {
    match key.rounds() {
        10 => crypt::<true, 10>(key, nonce, aad, text),
        12 => crypt::<true, 12>(key, nonce, aad, text),
        _ => crypt::<true, 14>(key, nonce, aad, text),
    }
}

/// Decrypts the text; the tag that it should have had.
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
pub(super) fn open(key: &Expanded, nonce: Nonce, aad: Associated, text: &mut [u8]) -> u128 {
    match key.rounds() {
        10 => crypt::<false, 10>(key, nonce, aad, text),
        12 => crypt::<false, 12>(key, nonce, aad, text),
        _ => crypt::<false, 14>(key, nonce, aad, text),
    }
}
