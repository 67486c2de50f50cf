//! One negotiation of an ISAKMP SA, or what it became.

use crate::crypto::Cookies;
use crate::retransmit::{Answered, Retransmission};
use crate::v1::dpd::DeadPeerDetection;
use crate::v1::exchange::Exchange;
use crate::v1::isakmp_sa::IsakmpSa;
use crate::v1::nat::Nat;
use crate::v1::{aggressive_mode, base_mode, initiator, responder};
use crate::wire::ExchangeType;
use crate::{Path, Role};
use std::mem;
use std::time::Duration;
use warren_policy::PeerId;

/// Our own name for it; cookies change while it is negotiated.
pub(super) type IsakmpId = u64;

/// How far it is.
pub(super) enum Phase {
    ExpectSa(initiator::ExpectSa),
    ExpectKe(Box<initiator::ExpectKe>),
    /// As initiator of aggressive mode, message 2.
    ExpectAnswer(Box<aggressive_mode::ExpectAnswer>),
    /// As initiator of base mode, message 2.
    ExpectBaseSa(Box<base_mode::ExpectSa>),
    /// As initiator of base mode, message 4.
    ExpectBaseLast(Box<base_mode::ExpectLast>),
    /// As initiator, message 6.
    ExpectLast(Box<initiator::ExpectAuth>),
    /// As responder, message 5.
    ExpectAuth(Box<responder::ExpectAuth>),
    Established(Box<Established>),
    /// Removed; also what is left while a handler owns the state.
    Gone,
}

/// An ISAKMP SA with its clocks.
pub(super) struct Established {
    pub(super) sa: IsakmpSa,
    pub(super) at: Duration,
    /// When a successor is negotiated; `None` once that has begun, or where it is not ours to do.
    pub(super) renew_at: Option<Duration>,
    pub(super) expires_at: Duration,
    /// When it gives way to its successor.
    pub(super) retire_at: Option<Duration>,
    pub(super) dpd: Option<DeadPeerDetection>,
    pub(super) keepalive_at: Option<Duration>,
}

/// A negotiation or an SA.
pub(super) struct Isakmp {
    pub(super) id: IsakmpId,
    pub(super) peer: PeerId,
    pub(super) role: Role,
    /// Of phase 1.
    pub(super) exchange: ExchangeType,
    pub(super) path: Path,
    pub(super) cookies: Cookies,
    pub(super) started_at: Duration,
    pub(super) phase: Phase,
    /// Our last message of phase 1 as initiator.
    pub(super) retransmission: Option<Retransmission>,
    /// The last message of phase 1 that we accepted.
    pub(super) answered: Answered,
    /// An unauthenticated error notify: no reason to stop, but worth telling when nothing else comes.
    pub(super) hint: Option<u16>,
    /// Whether `SecretsDiffer` was said.
    pub(super) is_suspicious: bool,
    /// As initiator of aggressive mode: nobody said yet that message 3 has arrived.
    pub(super) is_unconfirmed: bool,
    /// As responder of base mode: whether both sides float is for the port of the peer's first message under the SA
    /// to say. NAT-D payloads are not authenticated, and nothing of phase 1 has come from there yet.
    pub(super) is_nat_open: bool,
    /// Whether long messages go to it in fragments.
    pub(super) fragments: bool,
    /// When the last authentic message came under the SA.
    pub(super) heard_at: Duration,
    /// A quick mode of ours was repeated to its end and nothing at all came under the SA meanwhile: the peer may have
    /// forgotten it, and the next negotiation of ours begins with a new phase 1.
    pub(super) is_silent: bool,
    /// When an unfinished negotiation as responder is forgotten.
    pub(super) ends_at: Option<Duration>,
}

impl Isakmp {
    pub(super) const fn is_gone(&self) -> bool {
        matches!(self.phase, Phase::Gone)
    }

    pub(super) const fn is_initiating(&self) -> bool {
        match self.phase {
            Phase::ExpectSa(_)
            | Phase::ExpectKe(_)
            | Phase::ExpectLast(_)
            | Phase::ExpectAnswer(_)
            | Phase::ExpectBaseSa(_)
            | Phase::ExpectBaseLast(_) => true,
            Phase::ExpectAuth(_) | Phase::Established(_) | Phase::Gone => false,
        }
    }

    pub(super) fn established(&self) -> Option<&Established> {
        match &self.phase {
            Phase::Established(established) => Some(established),
            _ => None,
        }
    }

    pub(super) fn established_mut(&mut self) -> Option<&mut Established> {
        match &mut self.phase {
            Phase::Established(established) => Some(established),
            _ => None,
        }
    }

    pub(super) fn sa(&self) -> Option<&IsakmpSa> {
        self.established().map(|established| &established.sa)
    }

    pub(super) fn sa_mut(&mut self) -> Option<&mut IsakmpSa> {
        self.established_mut().map(|established| &mut established.sa)
    }

    /// What is known of NATs on the path.
    pub(super) fn nat(&self) -> Nat {
        match &self.phase {
            Phase::ExpectLast(state) => state.nat(),
            Phase::ExpectAuth(state) => state.nat(),
            Phase::Established(established) => established.sa.nat,
            Phase::ExpectSa(_)
            | Phase::ExpectKe(_)
            | Phase::ExpectAnswer(_)
            | Phase::ExpectBaseSa(_)
            | Phase::ExpectBaseLast(_)
            | Phase::Gone => Nat::default(),
        }
    }

    /// Whether its messages may come by that path. Only where a NAT was found may the peer speak from elsewhere; that
    /// it is the peer is proved later.
    pub(super) fn may_come_by(&self, path: Path) -> bool {
        // A peer for any address of ours learns ours from the first answer.
        let same_local = self.path.local.ip() == path.local.ip() || self.path.local.ip().is_unspecified();
        let same_hosts = same_local && self.path.remote.ip() == path.remote.ip();
        same_hosts || self.nat().float
    }

    /// An authentic message came from the peer: it has the SA.
    pub(super) fn heard(&mut self, now: Duration) {
        self.heard_at = now;
        self.is_silent = false;
        self.seen_alive(now);
    }

    /// Something authentic came from the peer, perhaps under another SA.
    pub(super) fn seen_alive(&mut self, now: Duration) {
        if mem::replace(&mut self.is_unconfirmed, false) {
            self.retransmission = None;
        }
        if let Some(dpd) = self.established_mut().and_then(|established| established.dpd.as_mut()) {
            dpd.heard(now);
        }
    }

    /// The earliest of all its clocks.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let repetition = self.retransmission.as_ref().map(Retransmission::deadline);
        let own = [repetition, self.ends_at].into_iter().flatten().min();
        let Some(established) = self.established() else { return own };
        let dpd = established.dpd.as_ref().map(DeadPeerDetection::deadline);
        let exchanges = established.sa.exchanges.values().map(Exchange::deadline).min();
        let clocks =
            [established.renew_at, established.retire_at, dpd, established.keepalive_at, exchanges, own];
        let clocks = clocks.into_iter().chain([established.sa.xauth.deadline()]);
        clocks.flatten().chain([established.expires_at]).min()
    }
}
