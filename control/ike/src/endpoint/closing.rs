//! The ways an SA ends, and what goes with it.
//!
//! Children belong to the peer, not to one ISAKMP SA: they survive its renewal. They do not survive the last one,
//! because nothing could delete or renew them any more.

use super::Endpoint;
use super::isakmp::{Isakmp, IsakmpId};
use crate::limits::RETIRE_DELAY;
use crate::v1::exchange::State;
use crate::v1::informational::{SPIS_PER_DELETE, delete_esp, delete_isakmp};
use crate::v1::transaction::{Awaits, Dialogue, Question};
use crate::wire::Chain;
use crate::{ChildConfig, Down, Failure, Notice, Output, PeerConfig, RemoteIdentity};
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{Identity, PeerId, RuleId};
use warren_seam::{SaId, Spi};

impl Endpoint {
    /// Tells the peer that the pair is gone, and forgets it. `id` names its inbound SA; unknown ones are ignored.
    pub fn close_child(&mut self, _now: Duration, id: SaId) {
        self.end_child(id, Down::Closed);
    }

    fn end_child(&mut self, id: SaId, reason: Down) {
        let Some(child) = self.children.get(&id) else { return };
        let (peer, spi) = (child.peer, child.inbound_spi);
        if let Some(current) = self.peer(peer).current {
            self.with_isakmp(current, |endpoint, isakmp| {
                endpoint.inform(isakmp, delete_esp(&[spi]));
            });
        }
        self.forget_child(id, reason);
    }

    /// Deletes every pair and every ISAKMP SA of the peer, and gives up what is being negotiated.
    /// With a template, those that came under it go too.
    pub fn close_peer(&mut self, _now: Duration, peer: PeerId) {
        for dynamic in self.of_template(peer) {
            self.end_peer(dynamic, (Down::Closed, Failure::Closed));
        }
        self.end_peer(peer, (Down::Closed, Failure::Closed));
        self.sweep();
    }

    pub(super) fn end_peer(&mut self, peer: PeerId, (down, failure): (Down, Failure)) {
        if !self.peers.contains_key(&peer) {
            return;
        }
        self.admission.remove_peer(peer);
        self.fail_pending(peer, failure);
        let spis: Vec<Spi> = (self.peer(peer).children.iter())
            .filter_map(|id| self.children.get(id))
            .map(|child| child.inbound_spi)
            .collect();
        if let Some(current) = self.peer(peer).current {
            self.with_isakmp(current, |endpoint, isakmp| {
                for spis in spis.chunks(SPIS_PER_DELETE) {
                    endpoint.inform(isakmp, delete_esp(spis));
                }
            });
        }
        for id in self.peer(peer).isakmps.clone() {
            self.with_isakmp(id, |endpoint, isakmp| {
                if isakmp.sa().is_some() {
                    endpoint.inform(isakmp, delete_isakmp(isakmp.cookies));
                    endpoint.end_exchanges(isakmp, (down, failure));
                }
                endpoint.forget(isakmp);
            });
        }
        self.peer_gone(peer, down);
    }

    /// Replaces the configuration. SAs whose peer and child are unchanged stay; the others are closed. Peers under a
    /// template stay as long as it does; gateways that discovery found keep those of their children that are listed,
    /// other peers under a template all.
    pub fn reconfigure(&mut self, _now: Duration, peers: Vec<PeerConfig>, children: Vec<ChildConfig>) {
        let reason = (Down::Reconfigured, Failure::Reconfigured);
        let changed = self.changed_rules(&children);
        for rule in &changed {
            self.end_rule(*rule);
        }
        for peer in self.changed_peers(&peers) {
            for dynamic in self.of_template(peer) {
                self.end_peer(dynamic, reason);
                self.remove_dynamic(dynamic);
            }
            self.end_peer(peer, reason);
            self.peers.remove(&peer);
        }
        self.sweep();
        self.by_remote.clear();
        self.from_anywhere.clear();
        let stays: Vec<ChildConfig> = (self.rules.values())
            .filter(|old| self.keeps_children(old.peer) && children.iter().all(|new| new.rule != old.rule))
            .map(|old| ChildConfig::clone(old))
            .collect();
        self.rules.clear();
        self.by_selector.clear();
        self.divisible.clear();
        self.configure(peers, [children, stays].concat());
        self.renew_gateways();
    }

    /// Whether it came under a template whose peers have children that no configuration lists.
    fn keeps_children(&self, peer: PeerId) -> bool {
        self.peers.get(&peer).is_some_and(|held| !held.is_callable())
    }

    /// Rules that are no longer what they were. Those that are nobody's to list stay as long as the peer, unless they
    /// are listed otherwise.
    fn changed_rules(&self, children: &[ChildConfig]) -> Vec<RuleId> {
        let wanted: HashMap<RuleId, &ChildConfig> = children.iter().map(|new| (new.rule, new)).collect();
        let is_changed = |old: &&Arc<ChildConfig>| match wanted.get(&old.rule) {
            Some(new) => **new != ***old,
            None => !self.keeps_children(old.peer),
        };
        self.rules.values().filter(is_changed).map(|old| old.rule).collect()
    }

    /// Configured peers under which nothing that was negotiated is good any more.
    fn changed_peers(&self, peers: &[PeerConfig]) -> Vec<PeerId> {
        let wanted: HashMap<PeerId, &PeerConfig> = peers.iter().map(|new| (new.id, new)).collect();
        let is_changed = |old: &&super::Peer| {
            old.who.is_none() && wanted.get(&old.config.id).is_none_or(|new| !new.is_unchanged(&old.config))
        };
        self.peers.values().filter(is_changed).map(|old| old.config.id).collect()
    }

    /// Everything that was negotiated, or is being negotiated, for one rule.
    pub(super) fn end_rule(&mut self, rule: RuleId) {
        let pairs: Vec<SaId> =
            self.children.values().filter(|child| child.rule == rule).map(|child| child.inbound).collect();
        for id in pairs {
            self.end_child(id, Down::Reconfigured);
        }
        let Some(peer) = self.rules.get(&rule).map(|child| child.peer) else { return };
        let Some(held) = self.peers.get_mut(&peer) else { return };
        held.pending.retain(|pending| *pending != rule);
        for id in held.isakmps.clone() {
            self.with_isakmp(id, |endpoint, isakmp| {
                let Some(sa) = isakmp.sa_mut() else { return };
                let exchanges = mem::take(&mut sa.exchanges);
                for (message_id, exchange) in exchanges {
                    if exchange.rule() == Some(rule) {
                        endpoint.end_exchange(
                            peer,
                            exchange.state,
                            (Down::Reconfigured, Failure::Reconfigured),
                        );
                    } else {
                        sa.exchanges.insert(message_id, exchange);
                    }
                }
            });
        }
        self.child_failed(peer, rule, Failure::Reconfigured);
    }

    /// Takes over a configuration; the tables by address and selector are empty.
    pub(super) fn configure(&mut self, peers: Vec<PeerConfig>, children: Vec<ChildConfig>) {
        for config in peers {
            let (peer, config) = (config.id, Arc::new(config));
            match config.remote.host() {
                Some(remote) => self.by_remote.entry(remote).or_default().push(Arc::clone(&config)),
                None => self.from_anywhere.push(Arc::clone(&config)),
            }
            match self.peers.get_mut(&peer) {
                Some(held) => held.config = config,
                None => {
                    self.peers.insert(peer, super::Peer::new(config));
                }
            }
        }
        for here in self.by_remote.values_mut().chain([&mut self.from_anywhere]) {
            here.sort_by_key(|config| config.remote_identity == RemoteIdentity::Any);
        }
        for child in children {
            self.enter_child(child);
        }
    }

    /// Sends one informational message under the SA.
    pub(super) fn inform(&mut self, isakmp: &mut Isakmp, chain: Chain) {
        let path = isakmp.path;
        let Some(sa) = isakmp.sa_mut() else { return };
        let message = sa.seal_informational(chain, &mut *self.entropy);
        self.transmit(path, &message);
    }

    /// The ISAKMP SA ends. Quick modes of ours go on under another, if there is one.
    pub(super) fn close_isakmp(&mut self, now: Duration, isakmp: &mut Isakmp, reason: Down, tell: bool) {
        let peer = isakmp.peer;
        if tell {
            self.inform(isakmp, delete_isakmp(isakmp.cookies));
        }
        let own = isakmp.id;
        let successor = self.successor(peer, own);
        if successor.is_some() {
            self.requeue(isakmp);
        }
        self.end_exchanges(isakmp, (reason, Failure::PeerDown));
        self.forget(isakmp);
        if self.peer(peer).current.is_none() {
            self.peer_mut(peer).current = successor;
        }
        let name = self.name(peer);
        self.log(Notice::PeerClosed { peer: name, reason });
        self.after_close(now, peer, reason);
    }

    /// The newest other ISAKMP SA with the peer.
    pub(super) fn successor(&self, peer: PeerId, own: IsakmpId) -> Option<IsakmpId> {
        let others = self.established(peer).filter(|other| other.id != own);
        others.filter_map(|other| Some((other.established()?.at, other.id))).max().map(|(_, id)| id)
    }

    fn requeue(&mut self, isakmp: &mut Isakmp) {
        let peer = isakmp.peer;
        let Some(sa) = isakmp.sa_mut() else { return };
        let ours: Vec<u32> = (sa.exchanges.iter())
            .filter(|(_, exchange)| exchange.is_ours())
            .map(|(message_id, _)| *message_id)
            .collect();
        for message_id in ours {
            if let Some(State::Initiator(state)) =
                sa.exchanges.remove(&message_id).map(|exchange| exchange.state)
            {
                self.names.release(state.spi());
                self.peer_mut(peer).pending.push_back(state.child().rule);
            }
        }
    }

    fn after_close(&mut self, now: Duration, peer: PeerId, reason: Down) {
        if let Some(current) = self.peer(peer).current {
            self.with_isakmp(current, |endpoint, isakmp| {
                if let Some(established) = isakmp.established_mut() {
                    established.retire_at = None;
                }
                endpoint.drain_pending(now, isakmp);
            });
            return;
        }
        if !self.peer(peer).pending.is_empty() && !self.is_initiating(peer) {
            self.begin_phase_one(now, peer);
        }
        if self.is_negotiating(peer) {
            self.peer_mut(peer).doomed = Some(reason);
        } else {
            self.peer_gone(peer, reason);
        }
    }

    /// A phase 1 ended without an SA; `reason` is for rules that now have none to wait for.
    pub(super) fn after_failed_main_mode(&mut self, now: Duration, peer: PeerId, reason: Failure) {
        if let Some(current) = self.peer(peer).current {
            let is_silent = self.with_isakmp(current, |_, isakmp| {
                if let Some(established) = isakmp.established_mut()
                    && established.renew_at.is_none()
                {
                    established.renew_at = Some(now + RETIRE_DELAY);
                }
                isakmp.is_silent
            });
            // Nothing begins under it any more, so that what waited for its successor waits in vain.
            if is_silent == Some(true) && !self.is_negotiating(peer) {
                self.fail_pending(peer, reason);
            }
        } else if !self.is_negotiating(peer) {
            self.fail_pending(peer, reason);
            if let Some(down) = self.peer_mut(peer).doomed {
                self.peer_gone(peer, down);
            }
        }
    }

    pub(super) fn fail_pending(&mut self, peer: PeerId, reason: Failure) {
        if self.connecting.remove(&peer) {
            self.outbox.push_back(Output::ConfigFailed { peer, reason });
        }
        for rule in mem::take(&mut self.peer_mut(peer).pending) {
            self.child_failed(peer, rule, reason);
        }
    }

    /// Nothing is left with the peer.
    pub(super) fn peer_gone(&mut self, peer: PeerId, reason: Down) {
        for id in self.peer(peer).children.clone() {
            self.forget_child(id, reason);
        }
        let held = self.peer_mut(peer);
        held.doomed = None;
        if mem::replace(&mut held.is_up, false) {
            self.outbox.push_back(Output::PeerDown { peer, reason });
        }
        self.forget_identity(peer);
        self.leaving.push(peer);
    }

    /// The peer does not answer: all its SAs are dead, and nobody is there to be told.
    pub(super) fn peer_dead(&mut self, isakmp: &mut Isakmp) {
        let peer = isakmp.peer;
        let reason = (Down::DeadPeer, Failure::NoAnswer);
        self.end_exchanges(isakmp, reason);
        self.forget(isakmp);
        let others: Vec<IsakmpId> = self.established(peer).map(|other| other.id).collect();
        for id in others {
            self.with_isakmp(id, |endpoint, other| {
                endpoint.end_exchanges(other, reason);
                endpoint.forget(other);
            });
        }
        let name = self.name(peer);
        self.log(Notice::PeerClosed { peer: name, reason: Down::DeadPeer });
        self.peer_gone(peer, Down::DeadPeer);
        if !self.is_negotiating(peer) {
            self.fail_pending(peer, Failure::NoAnswer);
        }
    }

    /// The peer restarted: what it had before this negotiation began, it has no more. SAs that were set up
    /// meanwhile are not meant: both sides may have begun at once. Nor are those of anybody else (REQUIREMENTS F-3).
    pub(super) fn initial_contact(&mut self, isakmp: &Isakmp, identity: &Identity) {
        let (peer, since) = (isakmp.peer, isakmp.started_at);
        let reason = (Down::InitialContact, Failure::PeerDown);
        let old: Vec<IsakmpId> = (self.established(peer))
            .filter(|other| {
                let earlier = other.established().filter(|established| established.at < since);
                earlier.is_some_and(|established| established.sa.identity == *identity)
            })
            .map(|other| other.id)
            .collect();
        for id in old {
            self.with_isakmp(id, |endpoint, other| {
                endpoint.requeue(other);
                endpoint.end_exchanges(other, reason);
                endpoint.forget(other);
                let peer = endpoint.name(other.peer);
                endpoint.log(Notice::PeerClosed { peer, reason: Down::InitialContact });
            });
        }
        let stale: Vec<SaId> = (self.peer(peer).children.iter().copied())
            .filter(|id| self.children.get(id).is_some_and(|child| child.established_at < since))
            .collect();
        for id in stale {
            self.forget_child(id, Down::InitialContact);
        }
    }

    pub(super) fn forget_child(&mut self, id: SaId, reason: Down) {
        let Some(child) = self.children.remove(&id) else { return };
        self.peer_mut(child.peer).children.remove(&id);
        self.names.release(child.inbound_spi);
        let (rule, inbound, outbound) = (child.rule, child.inbound, child.outbound);
        self.outbox.push_back(Output::ChildDown { rule, inbound, outbound, reason });
        let peer = self.name(child.peer);
        self.log(Notice::ChildClosed { peer, rule, inbound: child.inbound_spi, reason });
    }

    fn end_exchanges(&mut self, isakmp: &mut Isakmp, reason: (Down, Failure)) {
        let peer = isakmp.peer;
        let Some(sa) = isakmp.sa_mut() else { return };
        for exchange in mem::take(&mut sa.exchanges).into_values() {
            self.end_exchange(peer, exchange.state, reason);
        }
    }

    /// An exchange ends before its time: what it had installed is taken back.
    pub(super) fn end_exchange(&mut self, peer: PeerId, state: State, (down, failure): (Down, Failure)) {
        match state {
            State::Initiator(state) => {
                self.names.release(state.spi());
                self.child_failed(peer, state.child().rule, failure);
            }
            State::Responder { state, inbound, outbound } => {
                let negotiated = state.negotiated();
                self.names.release(negotiated.inbound_spi);
                let rule = negotiated.child.rule;
                self.outbox.push_back(Output::ChildDown { rule, inbound, outbound, reason: down });
            }
            State::Transaction(Dialogue {
                awaits: Awaits::Answer(Question::Pull | Question::Push), ..
            }) => {
                self.outbox.push_back(Output::ConfigFailed { peer, reason: failure });
            }
            State::Transaction(_) | State::Done => {}
        }
    }
}
