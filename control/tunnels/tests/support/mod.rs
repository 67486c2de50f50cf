//! Two gateways' tunnels on a virtual clock, with a model of the workers below each and a bad network between.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod chain;
pub(crate) mod configured;
pub(crate) mod engine;
pub(crate) mod puppet;
pub(crate) mod scripted;
pub(crate) mod world;

/// A reproducible source of chance (SplitMix64).
#[derive(Clone)]
pub(crate) struct Chance(pub u64);

impl Chance {
    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    pub(crate) fn permille(&mut self, part: u64) -> bool {
        self.below(1000) < part
    }
}

/// Randomness with a seed.
pub(crate) struct Seeded(pub Chance);

impl warren_ike::Entropy for Seeded {
    fn fill(&mut self, octets: &mut [u8]) {
        for octet in octets {
            *octet = self.0.number() as u8;
        }
    }
}
