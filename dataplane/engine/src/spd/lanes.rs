//! Sixteen octets as lanes: what comparing eight rules at once needs, and nothing else.
//!
//! On x86-64 these are SSE2, which every such processor has: so there is nothing to choose at run time. Left to
//! itself the compiler does not find them: the same loop over arrays costs three times as much as soon as something around
//! it changes. That is why intrinsics, and with them `unsafe`, stand here. Elsewhere the same lanes are two numbers each, and the compiler makes of them what it can.

#[cfg(target_arch = "x86_64")]
pub(super) use sse2::Lanes;

#[cfg(not(target_arch = "x86_64"))]
pub(super) use portable::Lanes;

#[cfg(target_arch = "x86_64")]
#[allow(
    unsafe_code,
    reason = "the language calls every intrinsic unsafe where its feature is not named again"
)]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi16, _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_or_si128,
        _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi16, _mm_set1_epi32, _mm_setr_epi16, _mm_setr_epi32,
        _mm_setzero_si128, _mm_subs_epu16, _mm_xor_si128,
    };

    /// One expression of such instructions.
    macro_rules! sse2 {
        ($of:expr) => {
            // SAFETY: SSE2 is part of x86-64, and these take values only: there is no address to be wrong.
            unsafe { $of }
        };
    }

    /// Four lanes of 32 bits or eight of 16.
    #[derive(Clone, Copy)]
    pub(in crate::spd) struct Lanes(__m128i);

    impl Lanes {
        /// Four lanes.
        #[inline]
        pub(in crate::spd) fn four(of: [u32; 4]) -> Self {
            let [a, b, c, d] = of.map(u32::cast_signed);
            Self(sse2!(_mm_setr_epi32(a, b, c, d)))
        }

        /// Eight lanes.
        #[inline]
        pub(in crate::spd) fn eight(of: [u16; 8]) -> Self {
            let [a, b, c, d, e, f, g, h] = of.map(u16::cast_signed);
            Self(sse2!(_mm_setr_epi16(a, b, c, d, e, f, g, h)))
        }

        /// The same in each of four lanes.
        #[inline]
        pub(in crate::spd) fn all_four(of: u32) -> Self {
            Self(sse2!(_mm_set1_epi32(of.cast_signed())))
        }

        /// The same in each of eight lanes.
        #[inline]
        pub(in crate::spd) fn all_eight(of: u16) -> Self {
            Self(sse2!(_mm_set1_epi16(of.cast_signed())))
        }

        /// Zero in every lane.
        #[inline]
        pub(in crate::spd) fn zero() -> Self {
            Self(sse2!(_mm_setzero_si128()))
        }

        #[inline]
        pub(in crate::spd) fn xor(self, other: Self) -> Self {
            Self(sse2!(_mm_xor_si128(self.0, other.0)))
        }

        #[inline]
        pub(in crate::spd) fn and(self, other: Self) -> Self {
            Self(sse2!(_mm_and_si128(self.0, other.0)))
        }

        #[inline]
        pub(in crate::spd) fn or(self, other: Self) -> Self {
            Self(sse2!(_mm_or_si128(self.0, other.0)))
        }

        /// By how much each of eight lanes is above the other's: zero where it is not.
        #[inline]
        pub(in crate::spd) fn excess(self, above: Self) -> Self {
            Self(sse2!(_mm_subs_epu16(self.0, above.0)))
        }

        /// One bit for each of eight places: set where `self` and `high` (four places each) and `narrow` are zero.
        #[inline]
        pub(in crate::spd) fn zeros(self, high: Self, narrow: Self) -> u32 {
            let zero = sse2!(_mm_setzero_si128());
            let wide = sse2!(_mm_packs_epi32(_mm_cmpeq_epi32(self.0, zero), _mm_cmpeq_epi32(high.0, zero)));
            let both = sse2!(_mm_and_si128(wide, _mm_cmpeq_epi16(narrow.0, zero)));
            sse2!(_mm_movemask_epi8(_mm_packs_epi16(both, zero))).cast_unsigned()
        }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod portable {
    /// Four lanes of 32 bits; of eight lanes the odd ones stand above the even ones.
    #[derive(Clone, Copy)]
    pub(in crate::spd) struct Lanes([u32; 4]);

    impl Lanes {
        pub(in crate::spd) fn four(of: [u32; 4]) -> Self {
            Self(of)
        }

        pub(in crate::spd) fn eight(of: [u16; 8]) -> Self {
            Self(std::array::from_fn(|at| u32::from(of[2 * at]) | u32::from(of[2 * at + 1]) << 16))
        }

        pub(in crate::spd) fn all_four(of: u32) -> Self {
            Self([of; 4])
        }

        pub(in crate::spd) fn all_eight(of: u16) -> Self {
            Self::eight([of; 8])
        }

        pub(in crate::spd) fn zero() -> Self {
            Self([0; 4])
        }

        pub(in crate::spd) fn xor(self, other: Self) -> Self {
            Self(std::array::from_fn(|at| self.0[at] ^ other.0[at]))
        }

        pub(in crate::spd) fn and(self, other: Self) -> Self {
            Self(std::array::from_fn(|at| self.0[at] & other.0[at]))
        }

        pub(in crate::spd) fn or(self, other: Self) -> Self {
            Self(std::array::from_fn(|at| self.0[at] | other.0[at]))
        }

        pub(in crate::spd) fn excess(self, above: Self) -> Self {
            let (own, above) = (self.halves(), above.halves());
            Self::eight(std::array::from_fn(|at| own[at].saturating_sub(above[at])))
        }

        pub(in crate::spd) fn zeros(self, high: Self, narrow: Self) -> u32 {
            let narrow = narrow.halves();
            (0..8)
                .filter(|&at| (if at < 4 { self.0[at] } else { high.0[at - 4] }) == 0 && narrow[at] == 0)
                .fold(0, |bits, at| bits | 1 << at)
        }

        fn halves(self) -> [u16; 8] {
            std::array::from_fn(|at| (self.0[at / 2] >> (16 * (at % 2))) as u16)
        }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::{portable, sse2};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_kinds_of_lanes_say_the_same(
            words in any::<[[u32; 4]; 5]>(), halves in any::<[[u16; 8]; 4]>(), same in any::<(u32, u16)>(),
            zeroed in any::<(u8, u8)>(),
        ) {
            macro_rules! judged {
                ($lanes:ty) => {{
                    type L = $lanes;
                    // Random lanes are never zero by themselves, so some are masked away.
                    let kept = |at: usize, bits: u8| if bits >> at & 1 == 1 { u32::MAX } else { 0 };
                    let low = L::four(std::array::from_fn(|at| kept(at, zeroed.0)));
                    let high = L::four(std::array::from_fn(|at| kept(at + 4, zeroed.0)));
                    let narrow = L::eight(std::array::from_fn(|at| kept(at, zeroed.1) as u16));
                    let wide = L::four(words[0]).xor(L::all_four(same.0)).or(L::four(words[1]));
                    let above = L::eight(halves[0]).excess(L::eight(halves[1]));
                    let within = L::all_eight(same.1).excess(L::eight(halves[2]));
                    [
                        wide.and(low).zeros(L::four(words[2]).and(high), above.and(narrow)),
                        L::zero().zeros(L::zero(), above),
                        L::zero().zeros(L::zero(), within),
                        L::zero().zeros(high, narrow),
                        low.zeros(L::zero(), L::eight(halves[3]).excess(L::eight(halves[3]))),
                    ]
                }};
            }
            prop_assert_eq!(judged!(sse2::Lanes), judged!(portable::Lanes));
        }
    }
}
