//! What one worker looks out for on behalf of discovery, and how often it may tell.

use crate::limits::{
    PASSING_BURST, PASSING_PER_SECOND, PROBES_BURST, PROBES_PER_SECOND, SOUGHT_AGAIN, SOUGHT_BURST,
    SOUGHT_MAX, SOUGHT_PER_SECOND, STRAYS_BURST, STRAYS_PER_SECOND,
};
use crate::rate::TokenBucket;
use foldhash::fast::FixedState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{FiveTuple, RuleId};
use warren_seam::{Discovery, PortIndex};

/// One worker's.
pub(crate) struct Lookout {
    wanted: Arc<Discovery>,
    /// Nothing is looked out for: every packet pays for this compare and for no other.
    is_idle: bool,
    /// Limits the probes that control is shown.
    pub(crate) probes: TokenBucket,
    /// Limits the discovery messages that pass without asking a rule.
    pub(crate) passing: TokenBucket,
    /// Limits the errors that control is shown.
    pub(crate) strays: TokenBucket,
    /// What control has just been told.
    pub(crate) sought: Sought,
}

impl Lookout {
    /// Looks out for nothing. `seed` is unknown to whoever sends packets.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            wanted: Arc::default(),
            is_idle: true,
            probes: TokenBucket::new(PROBES_BURST, PROBES_PER_SECOND),
            passing: TokenBucket::new(PASSING_BURST, PASSING_PER_SECOND),
            strays: TokenBucket::new(STRAYS_BURST, STRAYS_PER_SECOND),
            sought: Sought::new(seed),
        }
    }

    /// Looks out for something else from now on. Returns what it was, for control to free.
    pub(crate) fn look_for(&mut self, wanted: Arc<Discovery>) -> Arc<Discovery> {
        self.is_idle = !wanted.is_on && !wanted.asks;
        std::mem::replace(&mut self.wanted, wanted)
    }

    /// Whether nothing is looked out for.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Whether discovery messages are recognised.
    pub(crate) fn is_on(&self) -> bool {
        self.wanted.is_on
    }

    /// Whether probes of ours are on their way.
    pub(crate) fn asks(&self) -> bool {
        self.wanted.asks
    }

    /// Whether control wants to see the probes that come by that port.
    pub(crate) fn answers(&self, port: PortIndex) -> bool {
        self.wanted.answers.contains(&port)
    }
}

/// Which destinations control has just been told of, so that a flow of packets is not a flow of events. Direct-mapped
/// under a keyed hash: whoever guesses at its places makes events repeat themselves, which the rate bounds.
pub(crate) struct Sought {
    hash: FixedState,
    rate: TokenBucket,
    /// What was told, and when.
    told: Box<[Option<(u64, Duration)>]>,
}

/// Whether control is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Telling {
    /// It is; and if it could be told, [`Sought::told`] says so under this key.
    Due(u64),
    /// It has just been.
    Repeated,
    /// There is too much to tell.
    Limited,
}

impl Sought {
    fn new(seed: u64) -> Self {
        Self {
            hash: FixedState::with_seed(seed),
            rate: TokenBucket::new(SOUGHT_BURST, SOUGHT_PER_SECOND),
            told: vec![None; SOUGHT_MAX].into(),
        }
    }

    /// Whether control is to be told that a rule has traffic from here to there. Of the flow only the addresses count: a
    /// scan of ports is no reason to ask anew.
    pub(crate) fn ask(&mut self, rule: RuleId, packet: &FiveTuple, now: Duration) -> Telling {
        let key = self.hash.hash_one((rule.0, packet.destination, packet.source));
        let fresh = |&(told, at): &(u64, Duration)| told == key && now.saturating_sub(at) < SOUGHT_AGAIN;
        if self.told[place(key)].as_ref().is_some_and(fresh) {
            Telling::Repeated
        } else if self.rate.take(now) {
            Telling::Due(key)
        } else {
            Telling::Limited
        }
    }

    /// Control has been told.
    pub(crate) fn told(&mut self, key: u64, now: Duration) {
        self.told[place(key)] = Some((key, now));
    }
}

const fn place(key: u64) -> usize {
    (key % SOUGHT_MAX as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn packet(source: u32, destination: u32) -> FiveTuple {
        FiveTuple {
            source: Ipv4Addr::from(source).into(),
            destination: Ipv4Addr::from(destination).into(),
            protocol: 17,
            source_port: Some(5000),
            destination_port: Some(6000),
        }
    }

    fn tell(sought: &mut Sought, rule: u32, packet: &FiveTuple, now: Duration) -> bool {
        let Telling::Due(key) = sought.ask(RuleId(rule), packet, now) else { return false };
        sought.told(key, now);
        true
    }

    #[test] // TED-7
    fn rule_destination_and_source_are_told_apart_and_repeated_after_a_while() {
        let (mut sought, ms) = (Sought::new(7), Duration::from_millis);
        let others = [(0, packet(1, 2)), (1, packet(1, 2)), (0, packet(1, 3)), (0, packet(2, 2))];
        for (rule, packet) in &others {
            assert!(tell(&mut sought, *rule, packet, ms(1000)));
        }
        for (rule, packet) in &others {
            assert_eq!(sought.ask(RuleId(*rule), packet, ms(1249)), Telling::Repeated);
            assert!(tell(&mut sought, *rule, packet, ms(1250)));
        }
    }

    #[test] // TED-7
    fn what_could_not_be_told_is_due_again() {
        let mut sought = Sought::new(7);
        let now = Duration::from_secs(1);
        assert!(matches!(sought.ask(RuleId(0), &packet(1, 2), now), Telling::Due(_)));
        assert!(tell(&mut sought, 0, &packet(1, 2), now));
    }

    #[test] // TED-7, F-12
    fn a_scan_is_told_at_a_bounded_rate() {
        let mut sought = Sought::new(7);
        let told = |sought: &mut Sought, now| {
            (0..100_000).filter(|&host| tell(sought, 0, &packet(1, host), now)).count()
        };
        assert_eq!(told(&mut sought, Duration::from_secs(1)), SOUGHT_BURST as usize);
        assert_eq!(told(&mut sought, Duration::from_millis(1100)), SOUGHT_PER_SECOND as usize / 10);
        assert_eq!(sought.ask(RuleId(0), &packet(2, 2), Duration::from_millis(1100)), Telling::Limited);
    }
}
