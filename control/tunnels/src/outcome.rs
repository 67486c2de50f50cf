//! What becomes of the negotiator's outputs: SAs into pairs, pairs into bindings, failures into pauses.

use crate::limits::LINGER;
use crate::negotiator::Negotiator;
use crate::notice::Notice;
use crate::pair::{HalfOpen, Pair, SaFacts};
use crate::stacks::{News, Stack};
use crate::tunnel::Tunnel;
use crate::tunnels::{Output, Tunnels};
use crate::ways::Exit;
use std::net::SocketAddr;
use std::time::Duration;
use warren_ike::{Down, Failure, Role};
use warren_policy::{Lifetime, RuleId};
use warren_seam::{Command, Encapsulation, SaId};

impl<N: Negotiator> Tunnels<N> {
    /// Ends every input: takes the negotiator's outputs, and leaves no deadline, no closed pair and no remark about
    /// configuration behind.
    pub(crate) fn settle(&mut self, now: Duration) {
        loop {
            self.settle_closing(now);
            self.answer_remarks(now);
            let discovered = self.settle_discovery(now);
            let found = self.settle_ways(now);
            let moved = self.settle_stacks(now);
            if !discovered && !found && !moved {
                break;
            }
        }
        let mut touched = std::mem::take(&mut self.touched);
        touched.sort_unstable();
        touched.dedup();
        for rule in touched {
            if let Some(tunnel) = self.tunnels.get_mut(&rule) {
                tunnel.observe(now);
                self.timers.set(rule, tunnel.deadline());
            }
        }
    }

    /// Takes the negotiator's outputs. A pair that it does not know any more it does not report gone either: such
    /// pairs are dropped here.
    pub(crate) fn settle_closing(&mut self, now: Duration) {
        self.drain(now);
        while let Some((rule, inbound)) = self.closing.pop() {
            let known = self.tunnels.get_mut(&rule).and_then(|tunnel| tunnel.pair_mut(inbound));
            if let Some(outbound) = known.map(|pair| pair.outbound.id) {
                self.child_down(now, rule, (inbound, outbound), Down::Closed);
            }
            self.drain(now);
        }
    }

    pub(crate) fn drain(&mut self, now: Duration) {
        while let Some(output) = self.negotiator.poll_output() {
            self.take(now, output);
        }
        self.strayed = None;
    }

    fn take(&mut self, now: Duration, output: warren_ike::Output) {
        use warren_ike::Output as Ike;
        match output {
            Ike::Transmit { path, .. } if self.strayed == Some(path.remote.ip()) => {
                self.log(Notice::Unsent { path });
            }
            Ike::Transmit { path, octets } => match self.exit(&path) {
                Exit::Clear => self.output(Output::Transmit { path, octets }),
                Exit::Through(stack) => self.output(Output::TransmitThrough { stack, path, octets }),
                Exit::Shut => self.log(Notice::Unsent { path }),
            },
            Ike::InstallInbound { mut sa, role } => {
                sa.lane = self.lane_for(now, sa.rule, role);
                let (facts, seen) = (SaFacts::of_inbound(&sa), self.moment());
                self.half_open.insert(sa.id, HalfOpen { facts, seen, rule: sa.rule });
                self.command(Command::InstallInbound(sa));
            }
            Ike::InstallOutbound { mut sa, inbound } => {
                sa.lane = self.half_open.get(&inbound).map_or(0, |half| half.facts.lane);
                let (facts, seen) = (SaFacts::of_outbound(&sa), self.moment());
                self.half_open.insert(sa.id, HalfOpen { facts, seen, rule: sa.rule });
                self.command(Command::InstallOutbound(sa));
            }
            Ike::ChildUp { rule, inbound, outbound, role, lifetime, transform: _ } => {
                self.child_up(now, rule, (inbound, outbound), (role, lifetime));
            }
            Ike::ChildFailed { rule, reason } => self.child_failed(now, rule, reason),
            Ike::ChildDown { rule, inbound, outbound, reason } => {
                self.child_down(now, rule, (inbound, outbound), reason);
            }
            Ike::ChildAsked { .. }
            | Ike::PeerUp { .. }
            | Ike::PeerDown { .. }
            | Ike::Configurable { .. }
            | Ike::ConfigAsked { .. }
            | Ike::ConfigReceived { .. }
            | Ike::ConfigAcknowledged { .. }
            | Ike::ConfigFailed { .. } => self.remarks.push_back(output),
            Ike::MovePeer { sa, remote, .. } if self.leaves_its_way(sa, remote) => {
                self.call_back(now, sa, remote);
            }
            Ike::MovePeer { sa, remote, encapsulation } => {
                self.move_facts(sa, remote, encapsulation);
                self.command(Command::MovePeer { sa, remote, encapsulation });
            }
            Ike::Log(notice) => self.log(Notice::Ike(notice)),
        }
    }

    pub(crate) fn answer_remarks(&mut self, now: Duration) {
        while let Some(remark) = self.remarks.pop_front() {
            self.converse(now, remark);
            self.settle_closing(now);
        }
    }

    /// What is said about configuration, one remark after the other: answering one may bring the next.
    fn converse(&mut self, now: Duration, remark: warren_ike::Output) {
        use warren_ike::Output as Ike;
        match remark {
            Ike::PeerUp { peer, template, identity, path } => {
                self.client_up(peer, path);
                self.guest_up(now, (peer, template.unwrap_or(peer)), identity, path);
            }
            Ike::PeerDown { peer, .. } => {
                self.client_down(now, peer);
                self.guest_down(now, peer);
            }
            Ike::Configurable { peer, speaks_policy, user } => {
                self.client_configurable(now, peer, speaks_policy);
                self.guest_configurable(now, peer, speaks_policy, user);
            }
            Ike::ChildAsked { peer, within, selector, asked } => {
                self.asked_for(now, (peer, within), selector, asked);
            }
            Ike::ConfigAsked { peer, exchange, attributes } => {
                self.guest_asks(now, peer, exchange, &attributes);
            }
            Ike::ConfigReceived { peer, exchange, attributes } => {
                self.client_receives(now, peer, exchange, attributes);
            }
            Ike::ConfigAcknowledged { peer, attributes } => self.guest_acknowledges(peer, attributes),
            Ike::ConfigFailed { peer, reason } => {
                self.client_fails(now, peer, reason);
                self.guest_fails(peer, reason);
            }
            _ => {}
        }
    }

    fn child_up(&mut self, now: Duration, rule: RuleId, ids: (SaId, SaId), terms: (Role, Lifetime)) {
        let inbound = self.half_open.remove(&ids.0);
        let outbound = self.half_open.remove(&ids.1);
        let completed = self.moment();
        let Some(tunnel) = self.tunnels.get_mut(&rule) else {
            self.negotiator.close_child(now, ids.0);
            return;
        };
        self.touched.push(rule);
        let own = if terms.0 == Role::Initiator { tunnel.negotiation.take() } else { None };
        let (Some(inbound), Some(outbound), false) = (inbound, outbound, tunnel.closed) else {
            self.negotiator.close_child(now, ids.0);
            return;
        };
        let lane = inbound.facts.lane;
        let (was_up, was_lane_up) = (tunnel.best().is_some(), tunnel.best_of(lane).is_some());
        let started = own.as_ref().map_or(inbound.seen, |own| own.started);
        let facts = (inbound.facts, outbound.facts);
        let pair = Pair::new(facts, (started, completed), terms, now, &mut self.jitter);
        tunnel.accept(now, pair, own.as_ref().map_or(&[], |own| &own.replaces));
        tunnel.held_until = None;
        // Fewer lanes may be wanted than when it was begun.
        let surplus: Vec<SaId> = tunnel.surplus().into_iter().chain(tunnel.beyond()).collect();
        self.owners.insert(ids.0, rule);
        self.owners.insert(ids.1, rule);
        self.rebind(rule);
        for surplus in surplus {
            self.close(now, rule, surplus, false);
        }
        self.discovered_up(now, rule);
        self.news.push_back(News::Up(rule, terms.0));
        let (tunnel, role) = (self.name(rule), terms.0);
        self.log(match (was_up, was_lane_up) {
            (false, _) => Notice::Up { tunnel, role },
            (true, true) => Notice::Rekeyed { tunnel, role },
            (true, false) => Notice::LaneUp { tunnel, lane, role },
        });
    }

    fn child_failed(&mut self, now: Duration, rule: RuleId, reason: Failure) {
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return };
        let lane = tunnel.negotiation.take().map_or(0, |own| own.lane);
        tunnel.space_lanes(now);
        self.touched.push(rule);
        // What a stack gives up is no failure of the tunnel's, and none of whoever wants the tunnel next.
        if tunnel.closed || self.tearing_down == Some(rule) {
            return;
        }
        let up = tunnel.best().is_some();
        let is_further = up && tunnel.best_of(lane).is_none();
        let pause = if is_further {
            tunnel.further_failed(now, &mut self.jitter)
        } else {
            tunnel.fail(now, &mut self.jitter)
        };
        tunnel.last_failure = Some(reason);
        if up {
            tunnel.postpone_rekey(now, lane, pause);
        } else {
            tunnel.held_until = Some(now + pause);
            // Its traffic asks again.
            tunnel.has_own_use = false;
        }
        if !up {
            self.discovered_over(rule);
        }
        self.news.push_back(News::Failed(rule, reason));
        let tunnel = self.name(rule);
        self.log(Notice::Failed { tunnel, reason, pause, up });
    }

    pub(crate) fn child_down(&mut self, now: Duration, rule: RuleId, ids: (SaId, SaId), reason: Down) {
        let rule = self.owner(ids.0).unwrap_or(rule);
        let pair = self.tunnels.get_mut(&rule).and_then(|tunnel| {
            let at = tunnel.pairs.iter().position(|pair| pair.inbound.id == ids.0)?;
            Some(tunnel.pairs.remove(at))
        });
        for sa in [ids.0, ids.1] {
            self.half_open.remove(&sa);
            self.owners.remove(&sa);
        }
        let Some(pair) = pair else {
            self.command(Command::Remove(ids.1));
            self.command(Command::Remove(ids.0));
            let is_bare = |tunnel: &Tunnel| tunnel.pairs.is_empty() && tunnel.negotiation.is_none();
            if self.tunnels.get(&rule).is_some_and(is_bare) {
                self.discovered_over(rule);
            }
            return;
        };
        self.touched.push(rule);
        if let Some(tunnel) = self.tunnels.get_mut(&rule) {
            if reason == Down::DeletedByPeer && !pair.is_going() && !pair.closing {
                tunnel.reprieve();
            }
            tunnel.spare_the_last();
            tunnel.lane_lost(now, &mut self.jitter);
        }
        self.rebind(rule);
        self.command(Command::Remove(ids.1));
        let up = self.tunnels[&rule].best().is_some();
        let orderly = matches!(reason, Down::Closed | Down::DeletedByPeer) && !pair.expired;
        // What the peer sent before its Delete may be overtaken by it: ESP goes to a worker, IKE past it. A farewell to the
        // gateway behind us may be among that.
        if orderly && (up || reason == Down::DeletedByPeer) {
            self.linger(now + LINGER, ids.0);
        } else {
            self.command(Command::Remove(ids.0));
        }
        if !up {
            self.lost(now, rule, reason);
        }
    }

    /// The last pair of a tunnel is gone.
    fn lost(&mut self, now: Duration, rule: RuleId, reason: Down) {
        let name = self.name(rule);
        let is_discovered = self.discovered_over(rule);
        self.news.push_back(News::Lost(rule, reason));
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return };
        tunnel.has_own_use = false;
        // A stack that takes its level away says itself what comes next.
        let is_taken_away = self.tearing_down == Some(rule);
        let is_idle = tunnel.negotiation.is_none() && tunnel.held_until.is_none();
        if !is_taken_away && !is_discovered && !tunnel.closed && is_idle {
            if reason == Down::DeadPeer || tunnel.was_short_lived(now) {
                tunnel.held_until = Some(now + tunnel.fail(now, &mut self.jitter));
            } else if tunnel.starts_immediately() {
                tunnel.held_until = Some(now);
            } else {
                self.command(Command::Rearm(rule));
            }
        }
        self.log(Notice::Down { tunnel: name, reason });
    }

    /// Tells the engine which pair the tunnel's traffic takes now, if that changed.
    pub(crate) fn rebind(&mut self, rule: RuleId) {
        self.rebind_one(rule);
        // What is inside of it goes through its new SA too.
        let inside = |(base, stack): (&RuleId, &Stack)| (*base != rule && stack.uses(rule)).then_some(*base);
        let above: Vec<RuleId> = self.stacks.iter().filter_map(inside).collect();
        above.into_iter().for_each(|base| self.rebind_one(base));
    }

    fn rebind_one(&mut self, rule: RuleId) {
        let wanted = self.stacks_of(rule);
        let Some(tunnel) = self.tunnels.get_mut(&rule).filter(|tunnel| !tunnel.is_level) else { return };
        if tunnel.bound != wanted {
            let changes_place = !tunnel.permits && tunnel.bound.is_empty() != wanted.is_empty();
            let peer = tunnel.config.child.peer;
            tunnel.bound.clone_from(&wanted);
            self.command(match wanted.len() {
                0 | 1 => Command::Bind { rule, stack: wanted.into_iter().next().unwrap_or_default() },
                _ => Command::Spread { rule, stacks: wanted },
            });
            // While the rules of a peer are being changed they are renewed in any case.
            if changes_place && self.holdings.contains_key(&peer) {
                self.renew_rules();
            }
        }
    }

    /// Deletes a pair: first nothing is bound to it, then it goes.
    pub(crate) fn close(&mut self, now: Duration, rule: RuleId, inbound: SaId, expired: bool) {
        let Some(tunnel) = self.tunnels.get_mut(&rule) else { return };
        let Some(pair) = tunnel.pair_mut(inbound).filter(|pair| !pair.closing) else { return };
        pair.closing = true;
        pair.expired = expired;
        let lane = pair.lane();
        // What it succeeded, the peer may have forgotten long ago: traffic would go into a hole. Better none, which
        // negotiates.
        let forgotten = if expired { tunnel.superseded(lane) } else { Vec::new() };
        tunnel.spare_the_last();
        self.touched.push(rule);
        self.rebind(rule);
        if expired {
            let tunnel = self.name(rule);
            self.log(Notice::Expired { tunnel });
        }
        for inbound in forgotten.into_iter().chain([inbound]) {
            self.negotiator.close_child(now, inbound);
            self.closing.push((rule, inbound));
        }
    }

    pub(crate) fn close_all(&mut self, now: Duration, rule: RuleId) {
        let Some(tunnel) = self.tunnels.get(&rule) else { return };
        let all: Vec<_> = tunnel.pairs.iter().map(|pair| pair.inbound.id).collect();
        for inbound in all {
            self.close(now, rule, inbound, false);
        }
    }

    /// A peer behind tunnels spoke from elsewhere. It is answered where its way leads, and not there.
    fn call_back(&mut self, now: Duration, sa: SaId, strayed: std::net::IpAddr) {
        self.strayed = Some(strayed);
        let rule = self.owner(sa);
        let pair = rule.and_then(|rule| self.tunnels.get_mut(&rule)?.pair_mut(sa));
        if let Some((remote, Encapsulation::Udp { remote_port, .. })) =
            pair.map(|pair| (pair.outbound.remote, pair.outbound.encapsulation))
        {
            self.negotiator.peer_moved(now, sa, SocketAddr::new(remote, remote_port));
        }
    }

    fn move_facts(&mut self, sa: SaId, remote: std::net::IpAddr, encapsulation: Encapsulation) {
        let rule = self.owner(sa);
        let pair = rule.and_then(|rule| self.tunnels.get_mut(&rule)?.pair_mut(sa));
        if let Some(pair) = pair {
            let facts = if pair.inbound.id == sa { &mut pair.inbound } else { &mut pair.outbound };
            facts.remote = remote;
            facts.encapsulation = encapsulation;
        }
    }
}
