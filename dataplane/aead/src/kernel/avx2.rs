//! Registers of two blocks: VAES, VPCLMULQDQ and AVX2, for CPUs without AVX-512 and for those where it is switched off.

use super::expanded::{REDUCTION, REVERSED};
use super::packet::packet;
use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_aesenc_epi128, _mm256_aesenclast_epi128, _mm256_broadcastsi128_si256,
    _mm256_castsi256_si128, _mm256_clmulepi64_epi128, _mm256_extracti128_si256, _mm256_loadu_si256,
    _mm256_set_epi32, _mm256_set1_epi64x, _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_shuffle_epi32,
    _mm256_storeu_si256, _mm256_unpackhi_epi64, _mm256_unpacklo_epi64, _mm256_xor_si256,
    _mm256_zextsi128_si256,
};

type Register = __m256i;

packet!("avx2,vaes,vpclmulqdq");

/// Whether this CPU can run what is in here.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("vaes")
        && is_x86_feature_detected!("vpclmulqdq")
        && is_x86_feature_detected!("aes")
        && is_x86_feature_detected!("pclmulqdq")
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn zero() -> Register {
    _mm256_setzero_si256()
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn xor(first: Register, second: Register) -> Register {
    _mm256_xor_si256(first, second)
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn encrypt_round(state: Register, round_key: Register) -> Register {
    _mm256_aesenc_epi128(state, round_key)
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn encrypt_last(state: Register, round_key: Register) -> Register {
    _mm256_aesenclast_epi128(state, round_key)
}

/// The products of one half of each block: bit 0 of `HALVES` takes the first one's upper half, bit 4 the second one's.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn multiplied<const HALVES: i32>(first: Register, second: Register) -> Register {
    _mm256_clmulepi64_epi128::<HALVES>(first, second)
}

/// The halves of each block in each other's place.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn swapped(blocks: Register) -> Register {
    _mm256_shuffle_epi32::<0x4e>(blocks)
}

/// The lower halves of both, in turns.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn low_halves(first: Register, second: Register) -> Register {
    _mm256_unpacklo_epi64(first, second)
}

/// The upper halves of both, in turns.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn high_halves(first: Register, second: Register) -> Register {
    _mm256_unpackhi_epi64(first, second)
}

/// The octets of each block in GHASH's order.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn reversed(blocks: Register) -> Register {
    _mm256_shuffle_epi8(blocks, broadcast(block(REVERSED)))
}

/// One block, and zeros.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn extended(one: __m128i) -> Register {
    _mm256_zextsi128_si256(one)
}

/// The first block.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn lowest(blocks: Register) -> __m128i {
    _mm256_castsi256_si128(blocks)
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn load_blocks(blocks: &[u128; 2]) -> Register {
    // SAFETY: the array has the 32 octets that are read, and the instruction wants no alignment.
    unsafe { _mm256_loadu_si256(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn load(octets: &[u8; 32]) -> Register {
    // SAFETY: the array has the 32 octets that are read, and the instruction wants no alignment.
    unsafe { _mm256_loadu_si256(octets.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn store(octets: &mut [u8; 32], value: Register) {
    // SAFETY: the array has the 32 octets that are written, and the instruction wants no alignment.
    unsafe { _mm256_storeu_si256(octets.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn xor3(first: Register, second: Register, third: Register) -> Register {
    xor(xor(first, second), third)
}

/// One block in each place.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn broadcast(one: __m128i) -> Register {
    _mm256_broadcastsi128_si256(one)
}

/// What GHASH reduces by, in each half.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn reduction() -> Register {
    _mm256_set1_epi64x(REDUCTION)
}

/// Adds to the last word of each block.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn add_to_counters(counters: Register, number: i32) -> Register {
    _mm256_add_epi32(counters, _mm256_set_epi32(number, 0, 0, 0, number, 0, 0, 0))
}

#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn sum_of_lanes(lanes: Register) -> __m128i {
    _mm_xor_si128(lowest(lanes), _mm256_extracti128_si256::<1>(lanes))
}

/// So many octets, then zeros.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn first_octets(value: Register, octets: usize) -> Register {
    let mut all = [0; 32];
    store(&mut all, value);
    load_part(&all[..octets])
}

/// These octets, at most 32, and zeros behind them.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn load_part(octets: &[u8]) -> Register {
    let mut all = [0; 32];
    all[..octets.len()].copy_from_slice(octets);
    load(&all)
}

/// As many octets of the register as fit.
#[inline]
#[target_feature(enable = "avx2,vaes,vpclmulqdq")]
fn store_part(octets: &mut [u8], value: Register) {
    let mut all = [0; 32];
    store(&mut all, value);
    octets.copy_from_slice(&all[..octets.len()]);
}
