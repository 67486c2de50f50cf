//! When to rekey and how long to pause: arithmetic on times, spread by jitter so that tunnels and peers do not act
//! in step.

use crate::limits::{BACK_OFF_DOUBLINGS_MAX, BACK_OFF_MAX, BACK_OFF_MIN};
use std::time::Duration;
use warren_ike::Role;

/// Thousandths of its life after which whoever initiated a pair renews it at the latest.
const REKEY_LATEST: u32 = 820;

/// A small generator (SplitMix64). Whoever guesses it learns when we rekey, nothing more.
pub(crate) struct Jitter(u64);

impl Jitter {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A thousandth part count in `first..=last`.
    fn permille(&mut self, first: u32, last: u32) -> u32 {
        first + (self.next() % u64::from(last - first + 1)) as u32
    }

    /// How long after its birth a pair is rekeyed. Who initiated it acts clearly earlier, so that both sides
    /// rarely begin at once; the other side only acts when the first did not.
    pub(crate) fn rekey_after(&mut self, lifetime: Duration, role: Role) -> Duration {
        let permille = match role {
            Role::Initiator => self.permille(750, REKEY_LATEST),
            Role::Responder => self.permille(880, 940),
        };
        lifetime * permille / 1000
    }

    /// The latest that [`Self::rekey_after`] says to an initiator.
    pub(crate) fn rekey_latest(lifetime: Duration) -> Duration {
        lifetime * REKEY_LATEST / 1000
    }

    /// The pause after that many failures in a row, from three quarters to five quarters of the doubled step.
    pub(crate) fn back_off(&mut self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(BACK_OFF_DOUBLINGS_MAX);
        let step = (BACK_OFF_MIN * (1 << doublings)).min(BACK_OFF_MAX);
        step * self.permille(750, 1250) / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_initiator_of_a_pair_always_rekeys_before_its_responder() {
        let mut jitter = Jitter::new(7);
        let lifetime = Duration::from_secs(3600);
        for _ in 0..1000 {
            let initiator = jitter.rekey_after(lifetime, Role::Initiator);
            let responder = jitter.rekey_after(lifetime, Role::Responder);
            assert!(initiator + lifetime / 20 < responder);
            assert!(responder < lifetime);
        }
    }

    #[test]
    fn pauses_double_up_to_a_maximum_and_never_overflow() {
        let mut jitter = Jitter::new(7);
        for failures in 0..40 {
            let pause = jitter.back_off(failures);
            assert!(pause >= BACK_OFF_MIN * 3 / 4 && pause <= BACK_OFF_MAX * 5 / 4, "{pause:?}");
        }
        assert!(jitter.back_off(1) < BACK_OFF_MIN * 2);
        assert!(jitter.back_off(5) >= BACK_OFF_MIN * 12);
        assert!(jitter.back_off(u32::MAX) >= BACK_OFF_MAX * 3 / 4);
    }
}
