//! Main mode, both roles: from the first message to an ISAKMP SA.

use super::Endpoint;
use super::demux::Message;
use super::isakmp::{Established, Isakmp, IsakmpId, Phase};
use crate::crypto::Cookies;
use crate::limits::{
    ISAKMP_PER_PEER_MAX, KEEPALIVE_INTERVAL, NEGOTIATION_LIFE, NEGOTIATIONS_MAX, NEGOTIATIONS_PER_SOURCE_MAX,
    RESENDS_MAX, RETIRE_DELAY, SIMULTANEOUS,
};
use crate::path::PORT_ISAKMP;
use crate::retransmit::{Answered, Retransmission, fingerprint};
use crate::v1::dpd::DeadPeerDetection;
use crate::v1::initiator::ExpectSa;
use crate::v1::isakmp_sa::IsakmpSa;
use crate::v1::main_mode::header;
use crate::v1::responder::{self, ExpectAuth};
use crate::wire::{Chain, ExchangeType, Notify, NotifyType, PayloadType, ProtocolId};
use crate::{Discard, Down, Failure, Notice, Output, Path, PeerConfig, Role};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use warren_policy::PeerId;

impl Endpoint {
    /// Message 1 as initiator.
    pub(super) fn begin_main_mode(&mut self, now: Duration, peer: PeerId) {
        let config = Arc::clone(&self.peer(peer).config);
        // Nobody can be called who has no address.
        let Some(remote) = config.remote.host() else { return };
        let path = Path {
            local: SocketAddr::new(config.local, PORT_ISAKMP),
            remote: SocketAddr::new(remote, PORT_ISAKMP),
        };
        let cookies = Cookies { initiator: self.fresh_cookie(), responder: [0; 8] };
        let retransmit = config.retransmit;
        let (state, message) = ExpectSa::begin(config, cookies.initiator);
        let name = self.name(peer);
        self.log(Notice::PeerNegotiating { peer: name, role: Role::Initiator, path });
        self.transmit(path, &message);
        let isakmp = Isakmp {
            id: self.next_isakmp(),
            peer,
            role: Role::Initiator,
            path,
            cookies,
            started_at: now,
            phase: Phase::ExpectSa(state),
            retransmission: Some(Retransmission::new(now, message, retransmit)),
            answered: Answered::default(),
            hint: None,
            is_suspicious: false,
            ends_at: None,
        };
        self.add_isakmp(isakmp);
    }

    fn fresh_cookie(&mut self) -> [u8; 8] {
        loop {
            let cookie: [u8; 8] = self.entropy.octets();
            if cookie != [0; 8] {
                return cookie;
            }
        }
    }

    fn next_isakmp(&mut self) -> IsakmpId {
        self.last_isakmp += 1;
        self.last_isakmp
    }

    fn add_isakmp(&mut self, isakmp: Isakmp) {
        self.by_cookies.insert(isakmp.cookies, isakmp.id);
        self.timers.set(isakmp.id, isakmp.deadline());
        self.peer_mut(isakmp.peer).isakmps.push(isakmp.id);
        self.isakmps.insert(isakmp.id, isakmp);
    }

    /// Message 1 as responder: a record in a fixed table, and message 2.
    pub(super) fn first_message(
        &mut self,
        now: Duration,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        if message.header.exchange != ExchangeType::MAIN {
            return Err(Discard::UnexpectedExchange);
        }
        let candidates = self.candidates(path);
        let (first, initiator) = (*candidates.first().ok_or(Discard::UnknownPeer)?, message.header.cookie_i);
        if let Some(record) = self.admission.record(path, initiator) {
            if record.request != fingerprint(message.octets) || record.resends >= RESENDS_MAX {
                return Err(Discard::Duplicate);
            }
            record.resends += 1;
            let response = record.response.to_vec();
            self.transmit(path, &response);
            return Err(Discard::Retransmitted);
        }
        let cookies = Cookies { initiator, responder: self.admission.responder_cookie(path, initiator) };
        if self.by_cookies.contains_key(&cookies) {
            return Err(Discard::Duplicate);
        }
        if !self.admission.take_first_message(now) {
            return Err(Discard::RateLimited);
        }
        let body = message.clear_body()?;
        let mut refused = Discard::NoProposalChosen;
        for peer in candidates {
            let config = Arc::clone(&self.peer(peer).config);
            match responder::answer(now, &config, path, cookies, &body, message.octets) {
                Ok(record) => {
                    let response = record.response.to_vec();
                    self.admission.insert(now, record, &mut self.counters);
                    self.transmit(path, &response);
                    return Ok(());
                }
                Err(discard) => refused = discard,
            }
        }
        self.refuse_first_message(now, path, cookies, (first, refused));
        Err(refused)
    }

    /// Says why in clear, seldom: the answer is smaller than the question and the rate is bounded, so that
    /// nobody gains by spoofing one.
    fn refuse_first_message(
        &mut self,
        now: Duration,
        path: Path,
        cookies: Cookies,
        (peer, reason): (PeerId, Discard),
    ) {
        if reason != Discard::NoProposalChosen || !self.admission.take_notify(now) {
            return;
        }
        let notify = Notify {
            protocol: ProtocolId::ISAKMP,
            ..Notify::isakmp(NotifyType::NO_PROPOSAL_CHOSEN, cookies.initiator, cookies.responder, &[])
        };
        let message_id = self.entropy.nonzero_u32();
        let chain = Chain::new().with(PayloadType::NOTIFY, &notify.encode());
        let message = header(cookies, ExchangeType::INFORMATIONAL, message_id).encode(&chain);
        self.transmit(path, &message);
        let peer = self.name(peer);
        self.log(Notice::Refused { peer, reason });
    }

    /// Peers that may speak from that address to that one of ours.
    fn candidates(&self, path: Path) -> Vec<PeerId> {
        let accepts = |config: &PeerConfig| {
            let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
            config.local == path.local.ip() || any.contains(&config.local)
        };
        let here = self.by_remote.get(&path.remote.ip()).map_or(&[][..], Vec::as_slice);
        here.iter().copied().filter(|peer| accepts(&self.peer(*peer).config)).collect()
    }

    /// Message 3 as responder. The cookie proves that the sender gets what we send to its address.
    pub(super) fn third_message(
        &mut self,
        now: Duration,
        path: Path,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        if message.header.exchange != ExchangeType::MAIN {
            let clear = !message.header.is_encrypted();
            let informational = message.header.exchange == ExchangeType::INFORMATIONAL && clear;
            return Err(match informational {
                true => Discard::UnprotectedInformational,
                false => Discard::UnexpectedExchange,
            });
        }
        let initiator = message.header.cookie_i;
        let record = self.admission.record(path, initiator).ok_or(Discard::UnknownCookies)?;
        let (peer, group) = (record.peer, record.proposal.group);
        let body = message.clear_body()?;
        let half = ExpectAuth::check(record, &body)?;
        let of_peer = self.peer(peer).isakmps.iter().filter(|id| self.unfinished.contains(id)).count();
        if self.unfinished.len() >= NEGOTIATIONS_MAX || of_peer >= NEGOTIATIONS_PER_SOURCE_MAX {
            return Err(Discard::NegotiationsFull);
        }
        if !self.admission.take_key_exchange(now, group) {
            return Err(Discard::RateLimited);
        }
        self.counters.key_exchanges += 1;
        let config = Arc::clone(&self.peer(peer).config);
        let record = self.admission.record(path, initiator).ok_or(Discard::UnknownCookies)?;
        let (state, response) = ExpectAuth::begin(record, config, &half, &mut *self.entropy)?;
        let record = self.admission.remove(path, initiator).ok_or(Discard::UnknownCookies)?;
        let name = self.name(peer);
        self.log(Notice::PeerNegotiating { peer: name, role: Role::Responder, path });
        self.transmit(path, &response);
        let isakmp = Isakmp {
            id: self.next_isakmp(),
            peer,
            role: Role::Responder,
            path,
            cookies: record.cookies,
            started_at: record.started_at,
            phase: Phase::ExpectAuth(Box::new(state)),
            retransmission: None,
            answered: Answered::new(message.octets, Some(response)),
            hint: None,
            is_suspicious: false,
            ends_at: Some(now + NEGOTIATION_LIFE),
        };
        self.unfinished.insert(isakmp.id);
        self.add_isakmp(isakmp);
        Ok(())
    }

    /// Message 2 as initiator: we learn the responder's cookie.
    pub(super) fn second_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let Phase::ExpectSa(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let body = message.clear_body()?;
        let (next, response) = state.handle(&message.header, &body, path, &mut *self.entropy)?;
        self.counters.key_exchanges += 1;
        self.by_cookies.remove(&isakmp.cookies);
        isakmp.cookies = message.cookies();
        self.by_cookies.insert(isakmp.cookies, isakmp.id);
        isakmp.phase = Phase::ExpectKe(Box::new(next));
        self.advance(now, path, isakmp, message, response);
        Ok(())
    }

    /// Message 4 as initiator: keys, and whether to float.
    pub(super) fn fourth_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let is_first =
            self.established(isakmp.peer).next().is_none() && self.peer(isakmp.peer).children.is_empty();
        let Phase::ExpectKe(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let (next, response) = state.handle(&message.clear_body()?, path, is_first)?;
        let path = if next.nat().float { path.floated() } else { path };
        isakmp.phase = Phase::ExpectLast(Box::new(next));
        self.advance(now, path, isakmp, message, response);
        Ok(())
    }

    /// As initiator: our next message is out, and repeated until it is answered.
    fn advance(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
        response: Vec<u8>,
    ) {
        let retransmit = self.peer(isakmp.peer).config.retransmit;
        self.transmit(path, &response);
        isakmp.path = path;
        isakmp.answered = Answered::new(message.octets, None);
        isakmp.retransmission = Some(Retransmission::new(now, response, retransmit));
    }

    /// Message 5 as responder: who the peer is, and message 6.
    pub(super) fn fifth_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let Phase::ExpectAuth(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        let (opened, agreed) = (state.open(&message.header, message.octets), state.agreed());
        if let Err(discard) = &opened {
            self.suspect(isakmp, *discard);
        }
        let authentic = opened?;
        let secret = Arc::clone(&self.peer(isakmp.peer).config);
        // The address chose the secret; the identity may choose among peers that share both.
        let home =
            secret.remote.host().map_or(path, |host| Path { remote: SocketAddr::new(host, 0), ..path });
        let config = self.candidates(home).into_iter().map(|peer| &self.peer(peer).config).find(|config| {
            authentic.identity.as_ref().is_some_and(|identity| config.remote_identity.accepts(identity))
                && config.shares_secret_with(&secret)
                && config.proposals.contains(&agreed.proposal)
        });
        let (Some(config), Some(identity)) = (config.map(Arc::clone), authentic.identity.clone()) else {
            let peer = self.name(isakmp.peer);
            self.log(Notice::IdentityMismatch { peer, identity: authentic.identity });
            self.forget(isakmp);
            self.after_failed_main_mode(now, isakmp.peer, Failure::UnacceptableAnswer);
            return Err(Discard::IdentityMismatch);
        };
        if config.id != isakmp.peer {
            self.peer_mut(isakmp.peer).isakmps.retain(|id| *id != isakmp.id);
            isakmp.peer = config.id;
            self.peer_mut(isakmp.peer).isakmps.push(isakmp.id);
        }
        let Phase::ExpectAuth(state) = mem::replace(&mut isakmp.phase, Phase::Gone) else {
            return Err(Discard::UnexpectedExchange);
        };
        let (sa, response) = state.handle(&authentic, config, identity, path);
        isakmp.path = path;
        isakmp.ends_at = None;
        self.unfinished.remove(&isakmp.id);
        self.transmit(path, &response);
        isakmp.answered = Answered::new(message.octets, Some(response));
        self.establish(now, isakmp, sa, authentic.initial_contact);
        Ok(())
    }

    /// The first encrypted message does not open: most likely the secrets differ. Said once a negotiation.
    fn suspect(&mut self, isakmp: &mut Isakmp, discard: Discard) {
        if matches!(discard, Discard::Undecryptable | Discard::BadHash) && !isakmp.is_suspicious {
            isakmp.is_suspicious = true;
            let peer = self.name(isakmp.peer);
            self.log(Notice::SecretsDiffer { peer });
        }
    }

    /// Message 6 as initiator.
    pub(super) fn sixth_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        let Phase::ExpectLast(state) = &isakmp.phase else { return Err(Discard::UnexpectedExchange) };
        // Both sides have floated; believing the other port would put ESP in UDP where nobody expects it.
        if state.nat().float && !path.has_marker() {
            return Err(Discard::WrongPath);
        }
        let authentic = state.open(&message.header, message.octets)?;
        let Phase::ExpectLast(state) = mem::replace(&mut isakmp.phase, Phase::Gone) else {
            return Err(Discard::UnexpectedExchange);
        };
        isakmp.retransmission = None;
        isakmp.answered = Answered::new(message.octets, None);
        match state.handle(authentic) {
            Ok(sa) => {
                isakmp.path = path;
                self.establish(now, isakmp, sa, false);
                Ok(())
            }
            Err(identity) => {
                let peer = self.name(isakmp.peer);
                self.log(Notice::IdentityMismatch { peer, identity });
                self.main_mode_failed(now, isakmp, Failure::UnacceptableAnswer);
                Err(Discard::IdentityMismatch)
            }
        }
    }

    fn establish(&mut self, now: Duration, isakmp: &mut Isakmp, sa: IsakmpSa, initial_contact: bool) {
        let peer = isakmp.peer;
        if initial_contact {
            self.initial_contact(isakmp);
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
        let established = self.clocks(now, isakmp.role, sa);
        isakmp.phase = Phase::Established(Box::new(established));
        self.choose_current(now, isakmp);
        let held = self.peer_mut(peer);
        held.doomed = None;
        if !mem::replace(&mut held.is_up, true) {
            self.outbox.push_back(Output::PeerUp { peer, template: None, identity, path: isakmp.path });
        }
        self.evict_oldest(now, isakmp);
        self.begin_configuration(now, isakmp);
    }

    /// The initiator renews first; the responder only where that did not happen. Random, so that a gateway with
    /// many peers does not renew all at once.
    fn clocks(&mut self, now: Duration, role: Role, sa: IsakmpSa) -> Established {
        let life = Duration::from_secs(u64::from(sa.agreed.lifetime_s));
        let [random] = self.entropy.octets::<1>();
        let percent = u32::from(random % 8) + if role == Role::Initiator { 76 } else { 88 };
        let sequence = u32::from_be_bytes(self.entropy.octets());
        let dpd = sa.config.dpd.filter(|_| sa.vendors.dpd);
        Established {
            at: now,
            renew_at: Some(now + life * percent / 100),
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
        if let Some(current) = current
            && let Some(old) = current.established_mut()
        {
            let at_once = now.saturating_sub(old.at) < SIMULTANEOUS;
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

    /// A main mode that we began came to nothing.
    pub(super) fn main_mode_failed(&mut self, now: Duration, isakmp: &mut Isakmp, reason: Failure) {
        let peer = isakmp.peer;
        self.forget(isakmp);
        let name = self.name(peer);
        self.log(Notice::PeerFailed { peer: name, reason });
        self.after_failed_main_mode(now, peer, reason);
    }
}
