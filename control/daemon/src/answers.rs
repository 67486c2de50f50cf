//! What `dpctl` is told: rows and counters, put together from what everybody knows at this moment.

use crate::explain_answers::ExplainSources;
use crate::flow_steering::FlowSteering;
use crate::levels::{self, Named};
use crate::ports::PortFacts;
use crate::stack_answers::{StackSources, bound, lanes};
use crate::ted_answers::TedSources;
use std::collections::BTreeMap;
use std::time::Duration;
use warren_api::explain::{Explanation, Matching};
use warren_api::{
    DropCount, LevelMode, Rule, RuleClass, Rules, Sa, SaDirection, Stack, Stats, Totals, Tunnel, TunnelState,
};
use warren_bpf::Steering;
use warren_config::Config;
use warren_engine::{CounterSnapshot, DropReason, Handle, Tally};
use warren_ike::PeerStatus;
use warren_policy::{FiveTuple, PeerId, Rematching, RuleId, SaMode, TransportAction};
use warren_seam::{Encapsulation, PortIndex};
use warren_tunnels::{PairStatus, SaFacts, State, TunnelStatus, Tunnels};

/// Everybody who is asked.
pub(crate) struct Sources<'a> {
    pub(crate) now: Duration,
    pub(crate) config: &'a Config,
    pub(crate) tunnels: &'a Tunnels,
    pub(crate) engine: &'a Handle,
    pub(crate) ports: &'a [PortFacts],
    pub(crate) steering: &'a [Steering],
    pub(crate) flow_steering: &'a FlowSteering,
    pub(crate) cores: &'a [Option<u16>],
    pub(crate) aead: &'a str,
}

impl Sources<'_> {
    pub(crate) fn stats(&self) -> Stats {
        let workers: Vec<_> =
            self.engine.worker_counters().iter().enumerate().map(|worker| self.worker(worker)).collect();
        let status = self.tunnels.status();
        let sum = |of: fn(&warren_api::Worker) -> u64| workers.iter().map(of).sum();
        let totals = Totals {
            received: sum(|worker| worker.received),
            originated: sum(|worker| worker.originated),
            delivered: sum(|worker| worker.delivered),
            held: sum(|worker| worker.held),
            dropped: sum(|worker| worker.dropped),
            sealed: sum(|worker| worker.sealed),
            opened: sum(|worker| worker.opened),
            sas: status.iter().map(|tunnel| 2 * tunnel.pairs.len() as u64).sum(),
            tunnels_up: status.iter().filter(|tunnel| !tunnel.pairs.is_empty()).count() as u64,
            tunnels: status.len() as u64,
        };
        Stats {
            uptime_ms: self.now.as_millis() as u64,
            aead: self.aead.to_owned(),
            ports: self.ports(),
            workers,
            totals,
            tallies: self.tallies(),
            ike: self.ike(),
            ted: self.ted().counters(),
            steering: self.steering(),
        }
    }

    pub(crate) fn ted(&self) -> TedSources<'_> {
        TedSources { now: self.now, config: self.config, tunnels: self.tunnels }
    }

    fn worker(&self, (index, counters): (usize, &CounterSnapshot)) -> warren_api::Worker {
        warren_api::Worker {
            id: index as u16,
            core: self.cores.get(index).copied().flatten(),
            received: counters.of(Tally::Received),
            originated: counters.of(Tally::Originated),
            adopted: counters.of(Tally::Adopted),
            handed: counters.of(Tally::Handed),
            delivered: counters.delivered(),
            held: counters.held(),
            dropped: counters.dropped_total(),
            sealed: counters.of(Tally::Sealed),
            opened: counters.of(Tally::Opened),
            events_lost: counters.of(Tally::EventsLost),
        }
    }

    fn tallies(&self) -> BTreeMap<String, u64> {
        let counters = self.engine.counters();
        Tally::ALL.iter().map(|tally| (tally.word().to_owned(), counters.of(*tally))).collect()
    }

    /// The workers' parts of a port, added up.
    fn ports(&self) -> Vec<warren_api::Port> {
        let parts = self.engine.ports();
        let row = |(at, facts): (usize, &PortFacts)| {
            let index = (at < self.config.ports.len()).then_some(PortIndex(at as u16));
            let mut row = warren_api::Port {
                name: facts.name.clone(),
                interface: facts.interface.clone(),
                side: facts.side.to_owned(),
                queues: facts.queues,
                flow_steering: self.flow_steering.words(at),
                ..warren_api::Port::default()
            };
            for (_, part) in parts.iter().filter(|(_, part)| part.index == index) {
                row.mode = part.mode.to_string();
                row.received += part.counters.received;
                row.received_octets += part.counters.received_octets;
                row.transmitted += part.counters.transmitted;
                row.transmitted_octets += part.counters.transmitted_octets;
                row.receive_dropped += part.counters.receive_dropped;
                row.transmit_failed += part.counters.transmit_failed;
            }
            row
        };
        self.ports.iter().enumerate().map(row).collect()
    }

    fn ike(&self) -> BTreeMap<String, u64> {
        let counters = self.tunnels.negotiator().counters();
        let numbers = [
            ("received", counters.received),
            ("transmitted", counters.transmitted),
            ("retransmissions", counters.retransmissions),
            ("peers-established", counters.peers_established),
            ("children-established", counters.children_established),
            ("key-exchanges", counters.key_exchanges),
            ("unknown-attributes", counters.unknown_attributes),
        ];
        let discards = counters.discards().map(|(reason, count)| (reason.word().to_owned(), count));
        numbers.map(|(name, count)| (name.to_owned(), count)).into_iter().chain(discards).collect()
    }

    fn steering(&self) -> BTreeMap<String, u64> {
        let mut sums = BTreeMap::new();
        for counters in self.steering.iter().filter_map(|steering| steering.counters().ok()) {
            let numbers = [
                ("esp", counters.esp),
                ("udp-esp", counters.udp_esp),
                ("transit", counters.transit),
                ("passed", counters.passed),
                ("source-routed", counters.source_routed),
                ("unserved", counters.unserved),
            ];
            for (name, count) in numbers {
                *sums.entry(name.to_owned()).or_insert(0) += count;
            }
        }
        sums
    }

    pub(crate) fn drops(&self) -> Vec<DropCount> {
        let counters = self.engine.counters();
        let row = |reason: &DropReason| DropCount {
            reason: reason.word().to_owned(),
            explanation: reason.meaning().to_owned(),
            count: counters.dropped(*reason),
        };
        DropReason::ALL.iter().map(row).collect()
    }

    /// Every peer that IKE knows, also those that no configuration names.
    pub(crate) fn peers(&self) -> BTreeMap<PeerId, PeerStatus> {
        self.tunnels.negotiator().peers().into_iter().map(|peer| (peer.peer, peer)).collect()
    }

    pub(crate) fn rules(&self) -> Rules {
        let (rules, peers) = (self.tunnels.rules(), self.peers());
        let peer_name = |peer: &PeerId| peers.get(peer).map(|peer| peer.name.clone());
        let transport = rules.transport.iter().map(|rule| Rule {
            name: rule.name.clone(),
            class: RuleClass::Transport,
            selector: rule.selector.to_string(),
            peer: match rule.action {
                TransportAction::Protect(protection) => peer_name(&protection.peer),
                _ => None,
            },
            action: match rule.action {
                TransportAction::Permit => "permit",
                TransportAction::Bypass => "bypass",
                TransportAction::Discard => "discard",
                TransportAction::Protect(_) => "protect",
            }
            .to_owned(),
            hits: None,
        });
        let tunnel = rules.tunnel.iter().map(|rule| Rule {
            name: rule.name.clone(),
            class: RuleClass::Tunnel,
            selector: rule.selector.to_string(),
            action: "protect".to_owned(),
            peer: peer_name(&rule.peer),
            hits: None,
        });
        Rules { transport: transport.collect(), tunnel: tunnel.collect() }
    }

    pub(crate) fn tunnels(&self) -> Vec<Tunnel> {
        let (named, peers) = (self.named(), self.peers());
        let row = |status: &TunnelStatus| Some(self.tunnel(status, named.get(&status.rule)?, &peers));
        self.tunnels.status().iter().filter_map(row).collect()
    }

    /// What each tunnel is called.
    pub(crate) fn named(&self) -> BTreeMap<RuleId, Named> {
        let level = |rule, local| self.tunnels.level(rule, local);
        levels::named(self.tunnels.rules(), self.tunnels.ways(), level)
    }

    pub(crate) fn stacks(&self) -> Vec<Stack> {
        let (named, tunnels) = (self.named(), self.statuses());
        let sources = StackSources {
            now: self.now,
            named: &named,
            tunnels: &tunnels,
            peer: &|peer| self.tunnels.peer_name(peer),
            owner: &|rule, lane| self.engine.owner_of_lane(rule, lane).0,
        };
        self.tunnels.stacks().iter().map(|status| sources.stack(status)).collect()
    }

    fn statuses(&self) -> BTreeMap<RuleId, TunnelStatus> {
        self.tunnels.status().into_iter().map(|tunnel| (tunnel.rule, tunnel)).collect()
    }

    /// What becomes of a packet by the rules in force, on a path whose largest packet has `mtu` octets.
    pub(crate) fn explanation(&self, packet: &FiveTuple, rematch: Option<Matching>, mtu: u16) -> Explanation {
        let (named, tunnels, stacks) = (self.named(), self.statuses(), self.tunnels.stacks());
        let found = self.tunnels.discovered();
        let within = |rule| found.iter().find(|own| own.rule == rule).map(|own| own.within);
        let offered = |rule| {
            let child = self.tunnels.child(rule)?;
            child.proposals.first().map(|proposal| proposal.transform)
        };
        let sources = ExplainSources {
            now: self.now,
            rules: self.tunnels.rules(),
            ways: self.tunnels.ways(),
            named: &named,
            tunnels: &tunnels,
            stacks: &stacks,
            local: &|peer| self.tunnels.local(peer),
            within: &within,
            peer: &|peer| self.tunnels.peer_name(peer),
            level: &|rule, local| self.tunnels.level(rule, local),
            offered: &offered,
            owner: &|rule, lane| self.engine.owner_of_lane(rule, lane).0,
        };
        let rematching = rematch.map_or(self.config.stack.rematch, Rematching::from);
        sources.explanation(packet, rematching, mtu)
    }

    fn tunnel(&self, status: &TunnelStatus, rule: &Named, peers: &BTreeMap<PeerId, PeerStatus>) -> Tunnel {
        let peer = peers.get(&rule.peer);
        let bound = bound(status);
        let towards = || peer.and_then(|peer| peer.path.as_ref()).map(|path| path.local.ip());
        let configured = || self.config.peer(rule.peer).map(|peer| peer.local);
        let local = bound.map(|pair| pair.outbound.local).or_else(towards).or_else(configured);
        let remote = bound.map_or(rule.gateway, |pair| pair.outbound.remote.into());
        Tunnel {
            name: rule.name.clone(),
            peer: peer.map_or_else(String::new, |peer| peer.name.clone()),
            state: state(status.state),
            is_transport: rule.mode == SaMode::Transport,
            selector: rule.selector.to_string(),
            local: local.map_or_else(String::new, |local| local.to_string()),
            remote: remote.to_string(),
            since_s: self.now.saturating_sub(status.since).as_secs(),
            spi_in: bound.map(|pair| pair.inbound.spi.to_string()),
            spi_out: bound.map(|pair| pair.outbound.spi.to_string()),
            parallel: status.parallel,
            lanes: lanes(status, &|rule, lane| self.engine.owner_of_lane(rule, lane).0),
            transform: bound.map(|pair| pair.outbound.transform.to_string()),
            last_error: status.last_failure.map(|failure| failure.to_string()),
        }
    }

    pub(crate) fn sas(&self) -> Vec<Sa> {
        let (named, peers) = (self.named(), self.peers());
        let mut rows = Vec::new();
        for status in self.tunnels.status() {
            let Some(rule) = named.get(&status.rule) else { continue };
            let peer = peers.get(&rule.peer).map_or("", |peer| &peer.name);
            for pair in &status.pairs {
                rows.push(self.sa((peer, rule), pair, &pair.inbound, SaDirection::Inbound));
                rows.push(self.sa((peer, rule), pair, &pair.outbound, SaDirection::Outbound));
            }
        }
        rows
    }

    fn sa(
        &self,
        (peer, rule): (&str, &Named),
        pair: &PairStatus,
        facts: &SaFacts,
        direction: SaDirection,
    ) -> Sa {
        let counters = self.engine.sa_counters(facts.id).unwrap_or_default();
        Sa {
            id: facts.id.0,
            spi: facts.spi.to_string(),
            direction,
            peer: peer.to_owned(),
            rule: rule.name.clone(),
            is_transport: rule.mode == SaMode::Transport,
            transform: facts.transform.to_string(),
            esn: facts.esn,
            encapsulation: match facts.encapsulation {
                Encapsulation::Raw => "raw".to_owned(),
                Encapsulation::Udp { local_port, remote_port } => format!("udp {local_port}:{remote_port}"),
            },
            local: facts.local.to_string(),
            remote: facts.remote.to_string(),
            selector: facts.selector.to_string(),
            lane: facts.lane,
            packets: counters.packets,
            octets: counters.octets,
            sequence: counters.sequence,
            age_s: self.now.saturating_sub(pair.born).as_secs(),
            expires_in_s: pair.expires_at.saturating_sub(self.now).as_secs(),
            last_used_s: counters.last_used.map(|at| self.now.saturating_sub(at).as_secs()),
            window_packets: facts.window_packets,
        }
    }
}

/// What an SA does to a packet, in the API's words.
pub(crate) const fn mode(mode: SaMode) -> LevelMode {
    match mode {
        SaMode::Tunnel => LevelMode::Tunnel,
        SaMode::Transport => LevelMode::Transport,
    }
}

/// How a tunnel stands, in the API's words.
pub(crate) const fn state(state: State) -> TunnelState {
    match state {
        State::Down => TunnelState::Down,
        State::Closed => TunnelState::Closed,
        State::Negotiating => TunnelState::Negotiating,
        State::Up { .. } => TunnelState::Up,
        State::Rekeying { .. } => TunnelState::Rekeying,
        State::HoldDown { .. } => TunnelState::HeldDown,
        State::Discovers => TunnelState::Discovers,
    }
}
