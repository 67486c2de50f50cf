//! Two SAs, one for each direction, that were negotiated together.

use crate::schedule::Jitter;
use std::net::IpAddr;
use std::time::Duration;
use warren_ike::Role;
use warren_policy::{EspTransform, Lifetime, RuleId, Selector};
use warren_seam::{Encapsulation, InboundSa, OutboundSa, SaId, Spi};

/// What may be known of an SA outside the workers: everything but its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SaFacts {
    /// Control's name.
    pub id: SaId,
    /// Of the receiver.
    pub spi: Spi,
    /// What ESP does.
    pub transform: EspTransform,
    /// 64-bit sequence numbers.
    pub esn: bool,
    /// In the direction of travel.
    pub selector: Selector,
    /// Our outer address.
    pub local: IpAddr,
    /// The peer's outer address.
    pub remote: IpAddr,
    /// Raw or in UDP.
    pub encapsulation: Encapsulation,
    /// Which of the tunnel's parallel pairs it is of, 0 where there is one.
    pub lane: u16,
    /// Anti-replay window; `None` for what we send.
    pub window_packets: Option<u32>,
}

impl SaFacts {
    pub(crate) fn of_inbound(sa: &InboundSa) -> Self {
        Self {
            id: sa.id,
            spi: sa.spi,
            transform: sa.transform,
            esn: sa.esn,
            selector: sa.selector,
            local: sa.local,
            remote: sa.remote,
            encapsulation: sa.encapsulation,
            lane: sa.lane,
            window_packets: Some(sa.window_packets),
        }
    }

    pub(crate) fn of_outbound(sa: &OutboundSa) -> Self {
        Self {
            id: sa.id,
            spi: sa.spi,
            transform: sa.transform,
            esn: sa.esn,
            selector: sa.selector,
            local: sa.local,
            remote: sa.remote,
            encapsulation: sa.encapsulation,
            lane: sa.lane,
            window_packets: None,
        }
    }
}

/// The order in which things happened here, finer than the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(pub(crate) u64);

/// An SA that was installed and is not part of a complete pair yet.
pub(crate) struct HalfOpen {
    pub(crate) facts: SaFacts,
    /// When we saw it.
    pub(crate) seen: Moment,
    pub(crate) rule: RuleId,
}

/// A pair that traffic may use.
pub(crate) struct Pair {
    pub(crate) inbound: SaFacts,
    pub(crate) outbound: SaFacts,
    pub(crate) role: Role,
    pub(crate) lifetime: Lifetime,
    pub(crate) born: Duration,
    /// When its negotiation began, as far as we could see.
    pub(crate) started: Moment,
    /// When it was complete.
    pub(crate) completed: Moment,
    /// When a successor is wanted.
    pub(crate) rekey_at: Duration,
    /// When it must not be used any more.
    pub(crate) expires_at: Duration,
    /// A better pair exists and this one is to be deleted by us at that time.
    pub(crate) closes_at: Option<Duration>,
    /// The peer negotiated a better one and is expected to delete this one; we do it if it has not by that time.
    pub(crate) superseded_until: Option<Duration>,
    /// Being deleted: no longer to be bound.
    pub(crate) closing: bool,
    /// Its hard limit was reached: not even packets in flight are taken any more.
    pub(crate) expired: bool,
}

impl Pair {
    pub(crate) fn new(
        (inbound, outbound): (SaFacts, SaFacts),
        (started, completed): (Moment, Moment),
        (role, lifetime): (Role, Lifetime),
        now: Duration,
        jitter: &mut Jitter,
    ) -> Self {
        let life = Duration::from_secs(u64::from(lifetime.seconds));
        Self {
            inbound,
            outbound,
            role,
            lifetime,
            born: now,
            started,
            completed,
            rekey_at: now + jitter.rekey_after(life, role),
            expires_at: now + life,
            closes_at: None,
            superseded_until: None,
            closing: false,
            expired: false,
        }
    }

    pub(crate) fn has(&self, sa: SaId) -> bool {
        self.inbound.id == sa || self.outbound.id == sa
    }

    /// Which of the tunnel's parallel pairs it is.
    pub(crate) const fn lane(&self) -> u16 {
        self.inbound.lane
    }

    /// Whether there is a better one, or the peer thinks so.
    pub(crate) const fn is_going(&self) -> bool {
        self.closes_at.is_some() || self.superseded_until.is_some()
    }

    /// How long it lives in all.
    pub(crate) fn life(&self) -> Duration {
        self.expires_at.saturating_sub(self.born)
    }

    /// Whether a successor is more likely than not.
    pub(crate) fn is_half_over(&self, now: Duration) -> bool {
        now >= self.born + self.life() / 2
    }

    /// When it is over at the latest.
    pub(crate) fn ends_at(&self) -> Duration {
        [self.closes_at, self.superseded_until].into_iter().flatten().fold(self.expires_at, Duration::min)
    }

    /// Whether the two were negotiated at the same time, so that "the newer one" may be another one for the peer.
    ///
    /// If the peer began one of them because it wanted to replace the other, it had completed the other before, and
    /// so had we before its first message arrived: such a pair never counts as simultaneous here.
    pub(crate) fn is_simultaneous_with(&self, other: &Self) -> bool {
        self.started < other.completed && other.started < self.completed
    }

    /// Settles which of two simultaneous pairs stays, by what both sides see alike: the two SPIs without their
    /// direction.
    pub(crate) fn outranks(&self, other: &Self) -> bool {
        self.rank() > other.rank()
    }

    pub(crate) fn rank(&self) -> (u32, u32) {
        let (a, b) = (self.inbound.spi.0, self.outbound.spi.0);
        (a.max(b), a.min(b))
    }
}
