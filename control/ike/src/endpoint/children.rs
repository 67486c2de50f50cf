//! Quick mode, both roles, and the pairs of ESP SAs that it leaves.

use super::Endpoint;
use super::asking::{Wanted, is_from_end_to_end};
use super::demux::Message;
use super::isakmp::Isakmp;
use crate::limits::{EXCHANGE_LINGER, QUICK_MODES_MAX};
use crate::retransmit::{Answered, Retransmission};
use crate::v1::exchange::{Exchange, State};
use crate::v1::informational::refusal;
use crate::v1::isakmp_sa::Opened;
use crate::v1::quick::{ExpectConfirmation, ExpectResponse, Negotiated, Refusal};
use crate::wire::{Body, ExchangeType};
use crate::{Discard, Failure, Notice, Output, Path, Role};
use std::mem;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{EspProposal, Lifetime, PeerId, RuleId, SaMode};
use warren_seam::limits::GCM_BLOCKS_MAX;
use warren_seam::{Encapsulation, InboundSa, OutboundSa, SaId, Spi, Volume};

/// One pair of ESP SAs.
pub(super) struct Child {
    pub(super) rule: RuleId,
    pub(super) peer: PeerId,
    pub(super) inbound: SaId,
    pub(super) outbound: SaId,
    pub(super) inbound_spi: Spi,
    pub(super) outbound_spi: Spi,
    pub(super) role: Role,
    pub(super) transform: EspProposal,
    pub(super) lifetime: Lifetime,
    pub(super) established_at: Duration,
    encapsulation: Encapsulation,
}

impl Child {
    pub(super) const fn is_in_udp(&self) -> bool {
        matches!(self.encapsulation, Encapsulation::Udp { .. })
    }
}

/// Octets of one AES block.
const BLOCK_OCTETS: u64 = 16;

/// The limits that a worker counts: what was agreed, never beyond what one key may encrypt (REQUIREMENTS F-18).
fn volume(lifetime: Lifetime) -> Volume {
    let agreed = lifetime.kilobytes.map_or(u64::MAX, |kilobytes| kilobytes.saturating_mul(1024));
    let hard_octets = agreed.min(GCM_BLOCKS_MAX * BLOCK_OCTETS);
    Volume { soft_octets: hard_octets / 10 * 9, hard_octets }
}

fn encapsulation(isakmp: &Isakmp) -> Encapsulation {
    let Path { local, remote } = isakmp.path;
    if isakmp.nat().float {
        Encapsulation::Udp { local_port: local.port(), remote_port: remote.port() }
    } else {
        Encapsulation::Raw
    }
}

fn inbound_sa(id: SaId, isakmp: &Isakmp, negotiated: &Negotiated) -> Box<InboundSa> {
    Box::new(InboundSa {
        id,
        spi: negotiated.inbound_spi,
        transform: negotiated.proposal.transform,
        keys: negotiated.inbound_keys.clone(),
        esn: negotiated.proposal.esn,
        window_packets: negotiated.child.window_packets,
        selector: negotiated.child.selector.mirrored(),
        remote: isakmp.path.remote.ip(),
        local: isakmp.path.local.ip(),
        encapsulation: encapsulation(isakmp),
        volume: volume(negotiated.lifetime),
        mode: negotiated.child.mode,
        rule: negotiated.child.rule,
        lane: 0,
        carrier: negotiated.child.carrier,
        sequence: 0,
    })
}

fn outbound_sa(id: SaId, isakmp: &Isakmp, negotiated: &Negotiated) -> Box<OutboundSa> {
    Box::new(OutboundSa {
        id,
        spi: negotiated.outbound_spi,
        transform: negotiated.proposal.transform,
        keys: negotiated.outbound_keys.clone(),
        esn: negotiated.proposal.esn,
        selector: negotiated.child.selector,
        local: isakmp.path.local.ip(),
        remote: isakmp.path.remote.ip(),
        encapsulation: encapsulation(isakmp),
        volume: volume(negotiated.lifetime),
        mode: negotiated.child.mode,
        rule: negotiated.child.rule,
        lane: 0,
        sequence: 0,
    })
}

impl Endpoint {
    /// Begins quick modes for rules that wait, as many at a time as is polite.
    pub(super) fn drain_pending(&mut self, now: Duration, isakmp: &mut Isakmp) {
        if isakmp.is_silent && self.peer(isakmp.peer).is_callable() {
            let peer = isakmp.peer;
            if !self.peer(peer).pending.is_empty() && !self.is_initiating(peer) {
                self.begin_phase_one(now, peer);
            }
            return;
        }
        loop {
            let Some(sa) = isakmp.sa().filter(|sa| sa.xauth.is_over()) else { return };
            if sa.exchanges.values().filter(|exchange| exchange.is_ours()).count() >= QUICK_MODES_MAX {
                return;
            }
            let Some(rule) = self.peer_mut(isakmp.peer).pending.pop_front() else { return };
            if let Err(reason) = self.begin_quick_mode(now, isakmp, rule) {
                self.child_failed(isakmp.peer, rule, reason);
            }
        }
    }

    /// The first message as initiator.
    fn begin_quick_mode(&mut self, now: Duration, isakmp: &mut Isakmp, rule: RuleId) -> Result<(), Failure> {
        let child = Arc::clone(self.rules.get(&rule).ok_or(Failure::NotConfigured)?);
        if !self.authorises(isakmp, &child.selector.destination) {
            self.counters.discard(Discard::Unauthorised);
            self.log_unauthorised(isakmp, &child.selector);
            return Err(Failure::Unauthorised);
        }
        let is_transport = child.mode == SaMode::Transport;
        if is_transport && (isakmp.nat().local || !is_from_end_to_end(isakmp, &child.selector)) {
            self.counters.discard(Discard::NotBetweenHosts);
            return Err(Failure::NotBetweenHosts);
        }
        let path = isakmp.path;
        let in_udp = isakmp.nat().float;
        let retransmit = self.peer(isakmp.peer).config.retransmit;
        let sa = isakmp.sa_mut().ok_or(Failure::PeerDown)?;
        sa.make_room().map_err(|_| Failure::Busy)?;
        let message_id = sa.fresh_message_id(&mut *self.entropy);
        let spi = self.names.spi(&mut *self.entropy);
        let begun = ExpectResponse::begin(sa.keys(), message_id, child, (spi, in_udp), &mut *self.entropy);
        let Some((state, chain)) = begun else {
            self.names.release(spi);
            return Err(Failure::Inexpressible);
        };
        let (octets, iv) = sa.seal(ExchangeType::QUICK, message_id, sa.first_iv(message_id), &chain);
        self.transmit(path, &octets);
        let exchange = Exchange {
            iv,
            state: State::Initiator(Box::new(state)),
            answered: Answered::default(),
            retransmission: Some(Retransmission::new(now, octets, retransmit)),
            ends_at: Duration::MAX,
        };
        sa.exchanges.insert(message_id, exchange);
        Ok(())
    }

    /// A new message of a quick mode.
    pub(super) fn quick_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        self.quick(now, path, isakmp, message, true)
    }

    /// A first message for which there should be a child now.
    pub(super) fn granted_message(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
    ) -> Result<(), Discard> {
        self.quick(now, path, isakmp, message, false)
    }

    fn quick(
        &mut self,
        now: Duration,
        path: Path,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
        may_ask: bool,
    ) -> Result<(), Discard> {
        let message_id = message.header.message_id;
        let sa = isakmp.sa().ok_or(Discard::UnexpectedExchange)?;
        let opened = sa.open(&message.header, message.octets)?;
        let body =
            Body::decode(message.header.next_payload, &opened.plain).map_err(|_| Discard::Undecryptable)?;
        match sa.exchanges.get(&message_id).map(|exchange| &exchange.state) {
            None if !sa.xauth.is_over() => return Err(Discard::XauthPending),
            None => {
                sa.verify_hash_1(message_id, &body)?;
                if may_ask && let Wanted::Part { within, selector } = self.wanted(isakmp, &body) {
                    return self.ask_for_child(path, isakmp, message, (within, selector));
                }
            }
            Some(State::Initiator(state)) => state.open(sa.keys(), message_id, &body)?,
            Some(State::Responder { state, .. }) => state.open(sa.keys(), message_id, &body)?,
            Some(State::Transaction(_) | State::Done) => return Err(Discard::UnexpectedExchange),
        }
        // From here on the message is the peer's.
        let state = self.claim(isakmp, message_id)?;
        isakmp.heard(now);
        self.adopt_path(isakmp, path);
        match state {
            None => self.quick_first(now, isakmp, message, (&body, &opened)),
            Some(State::Initiator(state)) => {
                self.quick_second(now, isakmp, message, (&body, &opened), *state);
                self.drain_pending(now, isakmp);
                Ok(())
            }
            Some(State::Responder { state, inbound, outbound }) => {
                self.finish_exchange(now, isakmp, message, None);
                let negotiated = state.handle();
                self.child_up(now, isakmp, negotiated, (inbound, outbound), Role::Responder);
                Ok(())
            }
            Some(State::Transaction(_) | State::Done) => Err(Discard::UnexpectedExchange),
        }
    }

    /// Takes the state out of its exchange, or notes the message ID of a new one.
    fn claim(&self, isakmp: &mut Isakmp, message_id: u32) -> Result<Option<State>, Discard> {
        let sa = isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?;
        match sa.exchanges.get_mut(&message_id) {
            Some(exchange) => Ok(Some(mem::replace(&mut exchange.state, State::Done))),
            None => {
                sa.make_room()?;
                sa.use_message_id(message_id)?;
                Ok(None)
            }
        }
    }

    fn finish_exchange(
        &self,
        now: Duration,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
        response: Option<Vec<u8>>,
    ) {
        let Some(sa) = isakmp.sa_mut() else { return };
        if let Some(exchange) = sa.exchanges.get_mut(&message.header.message_id) {
            exchange.state = State::Done;
            exchange.answered = Answered::new(message.octets, response);
            exchange.retransmission = None;
            exchange.ends_at = now + EXCHANGE_LINGER;
        }
    }

    /// First message as responder: inbound SA first, then our answer, for the peer may use it at once.
    fn quick_first(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
        (body, opened): (&Body<'_>, &Opened),
    ) -> Result<(), Discard> {
        let message_id = message.header.message_id;
        let peer = isakmp.peer;
        let in_udp = isakmp.nat().float;
        let child = match self.wanted(isakmp, body) {
            Wanted::Child(child) => Ok(child),
            Wanted::Nothing(reason) => Err(reason),
            Wanted::Part { .. } => Err(Discard::InvalidIdInformation),
            Wanted::Unauthorised(selector) => {
                self.log_unauthorised(isakmp, &selector);
                Err(Discard::Unauthorised)
            }
        };
        let spi = self.names.spi(&mut *self.entropy);
        let sa = isakmp.sa().ok_or(Discard::UnexpectedExchange)?;
        let entropy = &mut *self.entropy;
        let begun = ExpectConfirmation::begin(sa.keys(), message_id, body, child, (spi, in_udp), entropy);
        let (state, chain) = match begun {
            Ok(begun) => begun,
            Err(refusal) => {
                self.names.release(spi);
                return self.refuse_quick_mode(now, isakmp, message, &refusal);
            }
        };
        let (response, iv) = sa.seal(ExchangeType::QUICK, message_id, opened.iv, &chain);
        let (inbound, outbound) = (self.names.sa_id(), self.names.sa_id());
        let sa = inbound_sa(inbound, isakmp, state.negotiated());
        self.outbox.push_back(Output::InstallInbound { sa, role: Role::Responder });
        self.transmit(isakmp.path, &response);
        let retransmit = self.peer(peer).config.retransmit;
        let exchange = Exchange {
            iv,
            state: State::Responder { state: Box::new(state), inbound, outbound },
            answered: Answered::new(message.octets, Some(response.clone())),
            retransmission: Some(Retransmission::new(now, response, retransmit)),
            ends_at: Duration::MAX,
        };
        let sa = isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?;
        sa.exchanges.insert(message_id, exchange);
        Ok(())
    }

    fn refuse_quick_mode(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
        refused: &Refusal,
    ) -> Result<(), Discard> {
        let path = isakmp.path;
        let sa = isakmp.sa_mut().ok_or(Discard::UnexpectedExchange)?;
        let notify = sa.seal_informational(refusal(refused.notify, refused.spi), &mut *self.entropy);
        self.transmit(path, &notify);
        let exchange = Exchange {
            iv: sa.first_iv(message.header.message_id),
            state: State::Done,
            answered: Answered::new(message.octets, Some(notify)),
            retransmission: None,
            ends_at: now + EXCHANGE_LINGER,
        };
        sa.exchanges.insert(message.header.message_id, exchange);
        // Who is not authorised has been named already.
        if refused.reason != Discard::Unauthorised {
            let peer = self.name(isakmp.peer);
            self.log(Notice::Refused { peer, reason: refused.reason });
        }
        Err(refused.reason)
    }

    /// Second message as initiator: inbound, third message, outbound.
    fn quick_second(
        &mut self,
        now: Duration,
        isakmp: &mut Isakmp,
        message: &Message<'_>,
        (body, opened): (&Body<'_>, &Opened),
        state: ExpectResponse,
    ) {
        let Some(sa) = isakmp.sa() else { return };
        let message_id = message.header.message_id;
        let (rule, spi) = (state.child().rule, state.spi());
        let hosts: (IpAddr, IpAddr) = (isakmp.path.local.ip(), isakmp.path.remote.ip());
        match state.handle(sa.keys(), message_id, body, hosts) {
            Ok((negotiated, chain)) => {
                let (third, _) = sa.seal(ExchangeType::QUICK, message_id, opened.iv, &chain);
                let (inbound, outbound) = (self.names.sa_id(), self.names.sa_id());
                let sa = inbound_sa(inbound, isakmp, &negotiated);
                self.outbox.push_back(Output::InstallInbound { sa, role: Role::Initiator });
                self.transmit(isakmp.path, &third);
                self.finish_exchange(now, isakmp, message, Some(third));
                self.opening.remove(&rule);
                self.child_up(now, isakmp, negotiated, (inbound, outbound), Role::Initiator);
            }
            Err(reason) => {
                self.finish_exchange(now, isakmp, message, None);
                self.names.release(spi);
                self.child_failed(isakmp.peer, rule, reason);
            }
        }
    }

    /// Both directions are agreed: the outbound SA may be used from now on.
    fn child_up(
        &mut self,
        now: Duration,
        isakmp: &Isakmp,
        negotiated: Negotiated,
        (inbound, outbound): (SaId, SaId),
        role: Role,
    ) {
        let sa = outbound_sa(outbound, isakmp, &negotiated);
        self.outbox.push_back(Output::InstallOutbound { sa, inbound });
        let Negotiated { child, proposal: transform, lifetime, inbound_spi, outbound_spi, .. } = negotiated;
        let (rule, peer) = (child.rule, isakmp.peer);
        self.outbox.push_back(Output::ChildUp { rule, inbound, outbound, role, lifetime, transform });
        self.counters.children_established += 1;
        let name = self.name(peer);
        self.log(Notice::ChildEstablished {
            peer: name,
            rule,
            selector: child.selector,
            transform,
            inbound: inbound_spi,
            outbound: outbound_spi,
        });
        let encapsulation = encapsulation(isakmp);
        let pair = Child {
            rule,
            peer,
            inbound,
            outbound,
            inbound_spi,
            outbound_spi,
            role,
            transform,
            lifetime,
            established_at: now,
            encapsulation,
        };
        self.children.insert(inbound, pair);
        self.peer_mut(peer).children.insert(inbound);
    }

    /// A negotiation that `open_child` began ended without a pair.
    pub(super) fn child_failed(&mut self, peer: PeerId, rule: RuleId, reason: Failure) {
        if self.opening.remove(&rule) {
            self.outbox.push_back(Output::ChildFailed { rule, reason });
            let peer = self.name(peer);
            self.log(Notice::ChildFailed { peer, rule, reason });
        }
    }

    /// Where an authentic message came from is where the peer is.
    pub(super) fn adopt_path(&mut self, isakmp: &mut Isakmp, path: Path) {
        if mem::replace(&mut isakmp.is_nat_open, false)
            && let Some(sa) = isakmp.sa_mut()
        {
            sa.settle_nat(path);
            isakmp.path = path;
        }
        if isakmp.path == path {
            return;
        }
        if !isakmp.nat().float {
            isakmp.path = path;
        } else if path.has_marker() {
            self.move_peer(isakmp, path);
        }
    }

    /// The peer is reached elsewhere: IKE at once, ESP by telling the workers.
    pub(super) fn move_peer(&mut self, isakmp: &mut Isakmp, path: Path) {
        if isakmp.path == path || !isakmp.nat().float {
            return;
        }
        isakmp.path = path;
        let peer = self.name(isakmp.peer);
        self.log(Notice::PeerMoved { peer, path });
        let (remote, encapsulation) = (path.remote.ip(), encapsulation(isakmp));
        for id in self.peer(isakmp.peer).children.clone() {
            let Some(child) = self.children.get_mut(&id).filter(|child| child.is_in_udp()) else { continue };
            child.encapsulation = encapsulation;
            for sa in [child.inbound, child.outbound] {
                self.outbox.push_back(Output::MovePeer { sa, remote, encapsulation });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // F-18
    fn the_volume_is_what_was_agreed_but_never_beyond_the_key() {
        let lifetime = |kilobytes| Lifetime { seconds: 3600, kilobytes };
        assert_eq!(volume(lifetime(Some(1000))), Volume { soft_octets: 921_600, hard_octets: 1_024_000 });
        let bound = GCM_BLOCKS_MAX * BLOCK_OCTETS;
        assert_eq!(volume(lifetime(None)).hard_octets, bound);
        assert_eq!(volume(lifetime(Some(u64::MAX))).hard_octets, bound);
    }
}
