//! Registers of four blocks: VAES, VPCLMULQDQ and AVX-512.

use super::expanded::{REDUCTION, REVERSED};
use super::packet::packet;
use std::arch::x86_64::{
    __m512i, _bzhi_u64, _mm256_castsi256_si128, _mm256_extracti128_si256, _mm256_xor_si256, _mm512_add_epi32,
    _mm512_aesenc_epi128, _mm512_aesenclast_epi128, _mm512_broadcast_i32x4, _mm512_castsi512_si128,
    _mm512_castsi512_si256, _mm512_clmulepi64_epi128, _mm512_extracti64x4_epi64, _mm512_loadu_si512,
    _mm512_mask_storeu_epi8, _mm512_maskz_loadu_epi8, _mm512_maskz_mov_epi8, _mm512_maskz_set1_epi32,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_shuffle_epi32, _mm512_storeu_si512,
    _mm512_ternarylogic_epi64, _mm512_unpackhi_epi64, _mm512_unpacklo_epi64, _mm512_xor_si512,
    _mm512_zextsi128_si512,
};

type Register = __m512i;

packet!("avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2");

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

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn zero() -> Register {
    _mm512_setzero_si512()
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn xor(first: Register, second: Register) -> Register {
    _mm512_xor_si512(first, second)
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn encrypt_round(state: Register, round_key: Register) -> Register {
    _mm512_aesenc_epi128(state, round_key)
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn encrypt_last(state: Register, round_key: Register) -> Register {
    _mm512_aesenclast_epi128(state, round_key)
}

/// The products of one half of each block: bit 0 of `HALVES` takes the first one's upper half, bit 4 the second one's.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn multiplied<const HALVES: i32>(first: Register, second: Register) -> Register {
    _mm512_clmulepi64_epi128::<HALVES>(first, second)
}

/// The halves of each block in each other's place.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn swapped(blocks: Register) -> Register {
    _mm512_shuffle_epi32::<0x4e>(blocks)
}

/// The lower halves of both, in turns.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn low_halves(first: Register, second: Register) -> Register {
    _mm512_unpacklo_epi64(first, second)
}

/// The upper halves of both, in turns.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn high_halves(first: Register, second: Register) -> Register {
    _mm512_unpackhi_epi64(first, second)
}

/// The octets of each block in GHASH's order.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn reversed(blocks: Register) -> Register {
    _mm512_shuffle_epi8(blocks, broadcast(block(REVERSED)))
}

/// One block, and zeros.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn extended(one: __m128i) -> Register {
    _mm512_zextsi128_si512(one)
}

/// The first block.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn lowest(blocks: Register) -> __m128i {
    _mm512_castsi512_si128(blocks)
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn load_blocks(blocks: &[u128; 4]) -> Register {
    // SAFETY: the array has the 64 octets that are read, and the instruction wants no alignment.
    unsafe { _mm512_loadu_si512(blocks.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn load(octets: &[u8; 64]) -> Register {
    // SAFETY: the array has the 64 octets that are read, and the instruction wants no alignment.
    unsafe { _mm512_loadu_si512(octets.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn store(octets: &mut [u8; 64], value: Register) {
    // SAFETY: the array has the 64 octets that are written, and the instruction wants no alignment.
    unsafe { _mm512_storeu_si512(octets.as_mut_ptr().cast(), value) }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn xor3(first: Register, second: Register, third: Register) -> Register {
    _mm512_ternarylogic_epi64::<0x96>(first, second, third)
}

/// One block in each place.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn broadcast(one: __m128i) -> Register {
    _mm512_broadcast_i32x4(one)
}

/// What GHASH reduces by, in each half.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn reduction() -> Register {
    _mm512_set1_epi64(REDUCTION)
}

/// Adds to the last word of each block.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn add_to_counters(counters: Register, number: i32) -> Register {
    _mm512_add_epi32(counters, _mm512_maskz_set1_epi32(0x8888, number))
}

#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn sum_of_lanes(lanes: Register) -> __m128i {
    let halves = _mm256_xor_si256(_mm512_castsi512_si256(lanes), _mm512_extracti64x4_epi64::<1>(lanes));
    _mm_xor_si128(_mm256_castsi256_si128(halves), _mm256_extracti128_si256::<1>(halves))
}

/// A bit for each of the first `octets` of a register, at most all.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn part(octets: usize) -> u64 {
    _bzhi_u64(u64::MAX, octets.min(64) as u32)
}

/// So many octets, then zeros.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn first_octets(value: Register, octets: usize) -> Register {
    _mm512_maskz_mov_epi8(part(octets), value)
}

/// The first 64 octets of these, or zeros behind fewer.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn load_part(octets: &[u8]) -> Register {
    // SAFETY: the mask has a bit for octets of the slice only; what it leaves out is not read, mapped or not.
    unsafe { _mm512_maskz_loadu_epi8(part(octets.len()), octets.as_ptr().cast()) }
}

/// As many octets of the register as fit.
#[inline]
#[target_feature(enable = "avx512bw,avx512dq,avx512vl,vaes,vpclmulqdq,bmi2")]
fn store_part(octets: &mut [u8], value: Register) {
    // SAFETY: the mask has a bit for octets of the slice only; what it leaves out is not written, mapped or not.
    unsafe { _mm512_mask_storeu_epi8(octets.as_mut_ptr().cast(), part(octets.len()), value) }
}
