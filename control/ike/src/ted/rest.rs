//! Granules that are left alone for a while, because a discovery for them came to nothing (REQUIREMENTS TED-7, Q-14).
//!
//! The table is bounded and forgets a random entry when it is full: a scan of a large network fills it, and must not be
//! able to choose what is forgotten (REQUIREMENTS F-12).

use super::initiator::Granule;
use super::status::{NotFound, Resting};
use crate::Entropy;
use crate::limits::{REST_MEMORY, RESTS_MAX};
use std::collections::BTreeMap;
use std::time::Duration;
use warren_policy::{FiveTuple, RuleId};

struct Rest {
    granule: Granule,
    packet: FiveTuple,
    until: Duration,
    failures: u32,
    why: NotFound,
}

/// What one more failure brings.
pub(super) struct Pause {
    pub(super) rest: Duration,
    /// Another granule was forgotten for it.
    pub(super) has_evicted: bool,
}

#[derive(Default)]
pub(super) struct Rests {
    slots: Vec<Rest>,
    /// Where each granule's rest stands in `slots`.
    at: BTreeMap<Granule, usize>,
}

impl Rests {
    /// Whether the granule is to be left alone now.
    pub(super) fn is_resting(&self, now: Duration, granule: &Granule) -> bool {
        self.rest(granule).is_some_and(|rest| now < rest.until)
    }

    fn rest(&self, granule: &Granule) -> Option<&Rest> {
        self.slots.get(*self.at.get(granule)?)
    }

    /// A discovery came to nothing. The pause doubles with each in a row, from `shortest` to `longest`.
    pub(super) fn fail(
        &mut self,
        now: Duration,
        granule: Granule,
        (packet, why): (FiveTuple, NotFound),
        (shortest, longest): (Duration, Duration),
        entropy: &mut dyn Entropy,
    ) -> Pause {
        let earlier = self.rest(&granule).filter(|rest| now < rest.until.saturating_add(REST_MEMORY));
        let failures = earlier.map_or(0, |rest| rest.failures).saturating_add(1);
        let doubled = 1u32.checked_shl(failures - 1).unwrap_or(u32::MAX);
        let pause = shortest.saturating_mul(doubled).min(longest.max(shortest));
        self.forget(&granule);
        let has_evicted = self.slots.len() >= RESTS_MAX;
        if has_evicted {
            let victim = u32::from_be_bytes(entropy.octets()) as usize % self.slots.len();
            self.remove_at(victim);
        }
        self.at.insert(granule, self.slots.len());
        self.slots.push(Rest { granule, packet, until: now.saturating_add(pause), failures, why });
        Pause { rest: pause, has_evicted }
    }

    /// The granule may be asked about at once, and its failures count no more.
    pub(super) fn forget(&mut self, granule: &Granule) {
        if let Some(at) = self.at.get(granule) {
            self.remove_at(*at);
        }
    }

    /// The rest is over at once; the failures still count.
    pub(super) fn cut_short(&mut self, now: Duration, granule: &Granule) {
        if let Some(rest) = self.at.get(granule).and_then(|at| self.slots.get_mut(*at)) {
            rest.until = rest.until.min(now);
        }
    }

    fn remove_at(&mut self, at: usize) {
        let gone = self.slots.swap_remove(at);
        self.at.remove(&gone.granule);
        if let Some(moved) = self.slots.get(at) {
            self.at.insert(moved.granule, at);
        }
    }

    /// Forgets what belongs to rules that do not stay.
    pub(super) fn retain(&mut self, stays: impl Fn(RuleId) -> bool) {
        self.slots.retain(|rest| stays(rest.granule.rule));
        self.at = self.slots.iter().enumerate().map(|(at, rest)| (rest.granule, at)).collect();
    }

    /// Those that rest now, soonest to be asked again first.
    pub(super) fn resting(&self, now: Duration) -> Vec<Resting> {
        let mut resting: Vec<_> = self.slots.iter().filter_map(|rest| rest.status(now)).collect();
        resting.sort_by_key(|rest| (rest.until, rest.rule));
        resting
    }

    /// The granule, if it rests now.
    pub(super) fn resting_at(&self, now: Duration, granule: &Granule) -> Option<Resting> {
        self.at.get(granule).and_then(|at| self.slots.get(*at))?.status(now)
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        assert_eq!(self.slots.len(), self.at.len());
        self.slots.len()
    }
}

impl Rest {
    fn status(&self, now: Duration) -> Option<Resting> {
        (now < self.until).then_some(Resting {
            rule: self.granule.rule,
            packet: self.packet,
            until: self.until,
            failures: self.failures,
            why: self.why,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;
    use std::net::IpAddr;

    const BOUNDS: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(600));

    fn granule(at: u32) -> Granule {
        let destination = IpAddr::from((0x0a00_0000 + at).to_be_bytes());
        Granule { rule: RuleId(at % 2), destination, flow: None }
    }

    fn failed() -> (FiveTuple, NotFound) {
        let address: IpAddr = "10.1.0.1".parse().unwrap();
        let packet = FiveTuple {
            source: address,
            destination: address,
            protocol: 6,
            source_port: Some(1),
            destination_port: Some(2),
        };
        (packet, NotFound::NoAnswer)
    }

    #[test] // TED-7, Q-14
    fn a_rest_doubles_from_thirty_seconds_to_ten_minutes_and_is_forgotten_in_the_end() {
        let (mut rests, mut entropy) = (Rests::default(), Seeded::new(1));
        let mut now = Duration::from_secs(5);
        for expected in [30, 60, 120, 240, 480, 600, 600] {
            let pause = rests.fail(now, granule(1), failed(), BOUNDS, &mut entropy);
            assert_eq!((pause.rest.as_secs(), pause.has_evicted), (expected, false));
            assert!(rests.is_resting(now + pause.rest - Duration::from_millis(1), &granule(1)));
            assert!(!rests.is_resting(now + pause.rest, &granule(1)) && !rests.is_resting(now, &granule(3)));
            now += pause.rest;
        }
        let pause = rests.fail(now + REST_MEMORY, granule(1), failed(), BOUNDS, &mut entropy);
        assert_eq!(pause.rest.as_secs(), 30, "long ago");
        assert_eq!(rests.len(), 1);
    }

    #[test] // TED-7
    fn a_rest_that_is_cut_short_still_counts_and_a_forgotten_one_does_not() {
        let (mut rests, mut entropy) = (Rests::default(), Seeded::new(1));
        let now = Duration::from_secs(9);
        rests.fail(now, granule(1), failed(), BOUNDS, &mut entropy);
        rests.cut_short(now, &granule(1));
        assert!(!rests.is_resting(now, &granule(1)) && rests.resting(now).is_empty());
        assert_eq!(rests.fail(now, granule(1), failed(), BOUNDS, &mut entropy).rest.as_secs(), 60);
        rests.forget(&granule(1));
        assert_eq!(rests.fail(now, granule(1), failed(), BOUNDS, &mut entropy).rest.as_secs(), 30);
    }

    #[test] // F-12
    fn the_table_never_grows_and_nobody_can_say_what_it_forgets() {
        let forgotten = |seed| {
            let (mut rests, mut entropy) = (Rests::default(), Seeded::new(seed));
            let now = Duration::from_secs(1);
            let mut evicted = 0;
            for at in 0..2 * RESTS_MAX as u32 {
                evicted +=
                    u32::from(rests.fail(now, granule(at), failed(), BOUNDS, &mut entropy).has_evicted);
            }
            assert_eq!((rests.len(), evicted as usize), (RESTS_MAX, RESTS_MAX));
            (0..64).filter(|at| !rests.is_resting(now, &granule(*at))).collect::<Vec<_>>()
        };
        assert_ne!(forgotten(1), forgotten(2));
        assert!(forgotten(1).len() < 64, "some of the oldest survive");
    }

    #[test] // F-12
    fn rules_that_go_take_their_rests_with_them() {
        let (mut rests, mut entropy) = (Rests::default(), Seeded::new(1));
        let now = Duration::from_secs(1);
        for at in 0..100 {
            rests.fail(now, granule(at), failed(), BOUNDS, &mut entropy);
        }
        rests.retain(|rule| rule == RuleId(1));
        assert_eq!(rests.len(), 50);
        assert!(rests.is_resting(now, &granule(7)) && !rests.is_resting(now, &granule(8)));
        assert!(rests.resting(now).iter().all(|rest| rest.rule == RuleId(1)));
    }
}
