//! What phase 1 becomes, whoever began it and in whichever mode: an ISAKMP SA among others with the peer, or nothing.

use super::Endpoint;
use super::isakmp::{Established, Isakmp, IsakmpId, Phase};
use crate::limits::{ISAKMP_PER_PEER_MAX, KEEPALIVE_INTERVAL, RETIRE_DELAY, SIMULTANEOUS};
use crate::v1::dpd::DeadPeerDetection;
use crate::v1::informational;
use crate::v1::isakmp_sa::IsakmpSa;
use crate::wire::NotifyType;
use crate::{Down, Failure, Notice, Output, Role};
use std::mem;
use std::time::Duration;

impl Endpoint {
    pub(super) fn next_isakmp(&mut self) -> IsakmpId {
        self.last_isakmp += 1;
        self.last_isakmp
    }

    pub(super) fn add_isakmp(&mut self, isakmp: Isakmp) {
        self.by_cookies.insert(isakmp.cookies, isakmp.id);
        if isakmp.fragments {
            self.fragmenting.insert(isakmp.id, isakmp.exchange);
        }
        self.timers.set(isakmp.id, isakmp.deadline());
        self.peer_mut(isakmp.peer).isakmps.push(isakmp.id);
        self.isakmps.insert(isakmp.id, isakmp);
    }

    /// Establishes as initiator of base mode, none of whose messages is protected: what others say in their last one
    /// is said now. It also teaches the responder from which port we speak.
    pub(super) fn greet(&mut self, now: Duration, isakmp: &mut Isakmp, sa: IsakmpSa, is_first: bool) {
        let says = is_first || sa.nat.float;
        self.establish(now, isakmp, sa, false);
        let kind = if is_first { NotifyType::INITIAL_CONTACT } else { NotifyType::CONNECTED };
        if says {
            self.inform(isakmp, informational::status(kind, isakmp.cookies));
        }
    }

    pub(super) fn establish(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        sa: IsakmpSa,
        initial_contact: bool,
    ) {
        let peer = isakmp.peer;
        if initial_contact {
            self.initial_contact(isakmp, &sa.identity);
        }
        self.counters.peers_established += 1;
        let name = self.name(peer);
        self.log(Notice::PeerEstablished {
            peer: name,
            role: isakmp.role,
            identity: sa.identity.clone(),
            proposal: sa.agreed.proposal,
            udp_encapsulation: sa.nat.float,
        });
        let identity = sa.identity.clone();
        let established = self.clocks(now, isakmp, sa);
        isakmp.phase = Phase::Established(Box::new(established));
        self.choose_current(now, isakmp);
        let held = self.peer_mut(peer);
        held.doomed = None;
        let template = held.who.as_ref().map(|who| who.template);
        if !mem::replace(&mut held.is_up, true) {
            let identity = identity.clone();
            self.outbox.push_back(Output::PeerUp { peer, template, identity, path: isakmp.path });
        }
        self.remember_identity(peer, &identity);
        self.evict_oldest(now, isakmp);
        self.begin_configuration(now, isakmp);
    }

    /// The initiator renews first; the responder only where that did not happen. Random, so that a gateway with
    /// many peers does not renew all at once.
    fn clocks(&mut self, now: Duration, isakmp: &Isakmp, sa: IsakmpSa) -> Established {
        let life = Duration::from_secs(u64::from(sa.agreed.lifetime_s));
        let [random] = self.entropy.octets::<1>();
        let percent = u32::from(random % 8) + if isakmp.role == Role::Initiator { 76 } else { 88 };
        // Who came to us without an address of its own comes again by itself.
        let renews = self.peer(isakmp.peer).is_callable();
        let sequence = u32::from_be_bytes(self.entropy.octets());
        let dpd = sa.config.dpd.filter(|_| sa.vendors.dpd);
        Established {
            at: now,
            renew_at: renews.then_some(now + life * percent / 100),
            expires_at: now + life,
            retire_at: None,
            dpd: dpd.map(|dpd| DeadPeerDetection::new(dpd, now, sequence)),
            keepalive_at: sa.nat.local.then_some(now + KEEPALIVE_INTERVAL),
            sa,
        }
    }

    /// One of several ISAKMP SAs with the peer carries new exchanges, the others retire. Both sides must come to
    /// the same one: where both began at once, the larger initiator's cookie; otherwise the newest.
    fn choose_current(&mut self, now: Duration, new: &mut Isakmp) {
        let peer = new.peer;
        let current = self.peer(peer).current.and_then(|id| self.isakmps.get_mut(&id));
        let is_silent = current.as_ref().is_some_and(|current| current.is_silent);
        if let Some(current) = current
            && let Some(old) = current.established_mut()
        {
            let at_once = !is_silent && now.saturating_sub(old.at) < SIMULTANEOUS;
            let retire_at = Some(now + RETIRE_DELAY);
            if at_once && old.sa.role != new.role && current.cookies.initiator > new.cookies.initiator {
                if let Some(established) = new.established_mut() {
                    established.retire_at = retire_at;
                }
                return;
            }
            if let Some(old) = current.established_mut() {
                old.retire_at = retire_at;
            }
            let (id, deadline) = (current.id, current.deadline());
            self.timers.set(id, deadline);
        }
        self.peer_mut(peer).current = Some(new.id);
    }

    /// A peer that begins again and again must not make us hold ever more.
    fn evict_oldest(&mut self, now: Duration, new: &Isakmp) {
        let held = self.peer(new.peer);
        if held.isakmps.len() <= ISAKMP_PER_PEER_MAX {
            return;
        }
        let current = held.current;
        let oldest = self.established(new.peer).map(|isakmp| isakmp.id).find(|id| Some(*id) != current);
        if let Some(id) = oldest {
            self.with_isakmp(id, |endpoint, isakmp| endpoint.close_isakmp(now, isakmp, Down::Closed, true));
        }
    }

    /// An unfinished negotiation leaves no trace.
    pub(super) fn forget(&mut self, isakmp: &mut Isakmp) {
        isakmp.phase = Phase::Gone;
        isakmp.retransmission = None;
        self.by_cookies.remove(&isakmp.cookies);
        self.unfinished.remove(&isakmp.id);
        let peer = self.peer_mut(isakmp.peer);
        peer.isakmps.retain(|id| *id != isakmp.id);
        if peer.current == Some(isakmp.id) {
            peer.current = None;
        }
    }

    /// A phase 1 that we began came to nothing.
    pub(super) fn main_mode_failed(&mut self, now: Duration, isakmp: &mut Isakmp, reason: Failure) {
        let peer = isakmp.peer;
        self.forget(isakmp);
        let name = self.name(peer);
        self.log(Notice::PeerFailed { peer: name, reason });
        self.after_failed_main_mode(now, peer, reason);
    }
}
