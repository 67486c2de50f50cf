//! Gateways in a row on a virtual clock, each with its own tunnels over IKE, and a model of the workers that puts layers on
//! packets and takes them off, checks what each comes out of, and lets nothing past a rule.
//!
//! ```text
//! 10.1.0.0/16 ── node 0 ── node 1 ── … ── node n ── 10.2.0.0/16
//! ```
//!
//! Node 0 reaches node n through a tunnel to each node between, one inside the other.

use super::world::caught;
use super::{Chance, Seeded};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;
use warren_ike::{ChildConfig, Dpd, Endpoint, Path, PeerConfig, Retransmit};
use warren_policy::evaluate::evaluate_inbound;
use warren_policy::{
    AddressRange, EspProposal, EspTransform, FiveTuple, Group, Hash, IkeProposal, KeyBits, Lifetime, PeerId,
    Protection, RuleId, RuleSet, SaMode, Secret, Selector, TransportAction, TransportRule, TunnelRule,
    Verdict, evaluate,
};
use warren_seam::{Carrier, Catch, Command, Entry, Event, InboundSa, OutboundSa, SaId, Spi};
use warren_tunnels::{Notice, Output, Start, TunnelConfig, Tunnels, TunnelsConfig};

/// From one node to the next.
const HOP: Duration = Duration::from_millis(5);

pub(crate) fn node(at: usize) -> IpAddr {
    IpAddr::from([198, 51, 100, at as u8 + 1])
}

pub(crate) fn network(side: u8) -> AddressRange {
    AddressRange::from_prefix([10, side, 0, 0].into(), 16).unwrap()
}

pub(crate) fn single(address: IpAddr) -> AddressRange {
    AddressRange::single(address)
}

pub(crate) fn peer(id: u32, local: usize, remote: usize) -> PeerConfig {
    let identity = |at: usize| format!("node{at}.test").parse().unwrap();
    PeerConfig {
        id: PeerId(id),
        name: format!("node{remote}"),
        local: node(local),
        remote: warren_ike::Remote::Host(node(remote)),
        local_identity: identity(local),
        remote_identity: warren_ike::RemoteIdentity::Exactly(identity(remote)),
        mode: warren_ike::Mode::Main,
        authentication: warren_ike::Authentication::PreSharedKey(Secret::new(
            b"a pre-shared key with enough entropy".to_vec(),
        )),
        xauth: warren_ike::Xauth::Off,
        config_mode: warren_ike::ConfigMode::Off,
        fragmentation: true,
        proposals: vec![IkeProposal { encryption: KeyBits::B128, hash: Hash::Sha256, group: Group::Ecp256 }],
        lifetime: 28_800,
        dpd: Some(Dpd { delay: Duration::from_secs(5), timeout: Duration::from_secs(10) }),
        nat_traversal: warren_ike::NatTraversal::Off,
        retransmit: Retransmit { first: Duration::from_millis(200), tries: 3 },
        pad: None,
    }
}

pub(crate) fn child(rule: u32, peer: u32, selector: Selector) -> ChildConfig {
    ChildConfig {
        rule: RuleId(rule),
        peer: PeerId(peer),
        selector,
        proposals: vec![EspProposal {
            transform: EspTransform::AesGcm16(KeyBits::B128),
            pfs: None,
            esn: true,
        }],
        lifetime: Lifetime { seconds: 600, kilobytes: None },
        window_packets: 4096,
        mode: SaMode::Tunnel,
        carrier: Carrier::Network,
        is_divisible: false,
    }
}

/// A configuration from its rules: name, from, to, place of the peer.
pub(crate) fn configured(
    peers: Vec<PeerConfig>,
    rules: &[(&str, AddressRange, AddressRange, usize)],
) -> TunnelsConfig {
    let mut config = TunnelsConfig { peers, ..TunnelsConfig::default() };
    for (at, (name, source, destination, peer)) in rules.iter().enumerate() {
        let selector = Selector::between(*source, *destination).unwrap();
        let child = child(at as u32, *peer as u32, selector);
        config.rules.tunnel.push(TunnelRule {
            id: child.rule,
            name: (*name).to_owned(),
            selector,
            peer: child.peer,
            gateway: config.peers[*peer].remote.host().unwrap().into(),
        });
        config.tunnels.push(TunnelConfig { child, start: Start::OnTraffic, parallel: NonZeroU16::MIN });
    }
    config.rules.transport.push(TransportRule {
        name: "all".to_owned(),
        selector: Selector::between(AddressRange::any(false), AddressRange::any(false)).unwrap(),
        action: TransportAction::Permit,
    });
    config
}

/// Node 0 of a row with `last` gateways behind it: network 1 to network 2 through all of them.
pub(crate) fn sender(last: usize) -> TunnelsConfig {
    let peers = (1..=last).map(|at| peer(at as u32 - 1, 0, at)).collect();
    let mut rules = vec![("site".to_owned(), network(1), network(2), last - 1)];
    for inner in (2..=last).rev() {
        rules.push((format!("to-{inner}"), network(1), single(node(inner)), inner - 2));
    }
    let rules: Vec<_> = rules.iter().map(|(name, a, b, peer)| (name.as_str(), *a, *b, *peer)).collect();
    configured(peers, &rules)
}

/// One of the gateways behind it.
pub(crate) fn gateway(at: usize, last: usize) -> TunnelsConfig {
    let rule = match at {
        at if at == last => ("site", network(2), network(1), 0),
        at => ("back", single(node(at + 1)), single(node(0)), 0),
    };
    configured(vec![peer(0, at, 0)], &[rule])
}

/// `rule` of node 0 in transport mode with `far`, which is peer `with` there.
pub(crate) fn protect(config: &mut TunnelsConfig, name: &str, own: usize, (with, far): (usize, usize)) {
    let selector = Selector::between(single(node(own)), single(node(far))).unwrap();
    let rule = (config.tunnels.len() + config.protections.len()) as u32;
    let child = ChildConfig { mode: SaMode::Transport, ..child(rule, with as u32, selector) };
    let protection = Protection { rule: child.rule, peer: child.peer, host: node(far) };
    config.rules.transport.insert(
        config.protections.len(),
        TransportRule { name: name.to_owned(), selector, action: TransportAction::Protect(protection) },
    );
    config.protections.push(TunnelConfig { child, start: Start::OnTraffic, parallel: NonZeroU16::MIN });
}

#[derive(Clone, Debug)]
struct Layer {
    source: IpAddr,
    destination: IpAddr,
    spi: Spi,
    /// Its header is the packet's own.
    is_transport: bool,
}

#[derive(Clone, Debug)]
enum Inside {
    Datagram(SocketAddr, SocketAddr, Vec<u8>),
    Data(FiveTuple),
    /// A discovery message in the name of somebody else, as an IP packet.
    Probe(Vec<u8>),
}

#[derive(Clone, Debug)]
struct Packet {
    /// Outermost first.
    layers: Vec<Layer>,
    inside: Inside,
}

impl Packet {
    fn tuple(&self) -> FiveTuple {
        let outer = |layer: &Layer| FiveTuple {
            source: layer.source,
            destination: layer.destination,
            protocol: 50,
            source_port: None,
            destination_port: None,
        };
        match (self.layers.first(), &self.inside) {
            (Some(layer), _) => outer(layer),
            (None, Inside::Data(tuple)) => *tuple,
            (None, Inside::Probe(octets)) => match caught(Catch::Probe, octets.clone()) {
                Event::Caught(caught) => caught.tuple,
                _ => unreachable!("it is caught"),
            },
            (None, Inside::Datagram(from, to, _)) => FiveTuple {
                source: from.ip(),
                destination: to.ip(),
                protocol: 17,
                source_port: Some(from.port()),
                destination_port: Some(to.port()),
            },
        }
    }
}

/// What one node did, in order, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Did {
    InstalledOutbound(RuleId),
    Bound(RuleId, usize),
    Unbound(RuleId),
    RemovedOutbound(RuleId),
}

pub(crate) struct Node {
    pub(crate) tunnels: Tunnels<Endpoint>,
    rules: RuleSet,
    pub(crate) inbound: BTreeMap<SaId, InboundSa>,
    pub(crate) outbound: BTreeMap<SaId, OutboundSa>,
    pub(crate) bound: BTreeMap<RuleId, Vec<SaId>>,
    asked: BTreeSet<RuleId>,
    used: BTreeSet<SaId>,
    pub(crate) did: Vec<Did>,
    pub(crate) notices: Vec<String>,
    pub(crate) dropped: usize,
    /// Packets that came out of what they may not come out of.
    pub(crate) wrong_carrier: usize,
    pub(crate) delivered: Vec<FiveTuple>,
    /// Datagrams that left with so many layers around them.
    pub(crate) ike_by_depth: BTreeMap<usize, usize>,
}

impl Node {
    fn apply(&mut self, command: Command) {
        match command {
            Command::Rules(rules) => {
                let known: BTreeSet<RuleId> = rules
                    .tunnel
                    .iter()
                    .map(|rule| rule.id)
                    .chain(rules.protections().map(|own| own.1.rule))
                    .collect();
                assert!(self.bound.keys().all(|rule| known.contains(rule)), "what goes is unbound first");
                self.rules = rules;
            }
            Command::InstallInbound(sa) => drop(self.inbound.insert(sa.id, *sa)),
            Command::InstallOutbound(sa) => {
                self.did.push(Did::InstalledOutbound(sa.rule));
                self.outbound.insert(sa.id, *sa);
            }
            Command::Bind { rule, stack } => {
                self.asked.remove(&rule);
                for sa in &stack {
                    assert!(self.outbound.contains_key(sa), "bound to an SA that is not installed");
                }
                self.did.push(match stack.len() {
                    0 => Did::Unbound(rule),
                    levels => Did::Bound(rule, levels),
                });
                match stack.is_empty() {
                    true => drop(self.bound.remove(&rule)),
                    false => drop(self.bound.insert(rule, stack)),
                }
            }
            Command::Spread { .. } => panic!("what is inside others has one stack"),
            Command::Rearm(rule) => drop(self.asked.remove(&rule)),
            Command::Remove(id) => {
                let is_bound = self.bound.values().any(|stack| stack.contains(&id));
                assert!(!is_bound, "NT-31: an SA that a flow uses is removed");
                self.inbound.remove(&id);
                if let Some(sa) = self.outbound.remove(&id) {
                    self.did.push(Did::RemovedOutbound(sa.rule));
                }
            }
            Command::Forwarding(_)
            | Command::MovePeer { .. }
            | Command::Discovery(_)
            | Command::Inject(_) => {}
        }
    }

    /// Puts SAs around a packet, innermost first; `None` when one is not there.
    fn wrap(&self, packet: &mut Packet, stack: &[SaId]) -> Option<()> {
        for id in stack {
            let sa = self.outbound.get(id)?;
            let inside = packet.tuple();
            assert!(sa.selector.contains(&inside), "the SA of {:?} does not take {inside}", sa.rule);
            packet.layers.insert(
                0,
                Layer {
                    source: sa.local,
                    destination: sa.remote,
                    spi: sa.spi,
                    is_transport: sa.mode == SaMode::Transport,
                },
            );
        }
        Some(())
    }
}

pub(crate) struct Chain {
    pub(crate) now: Duration,
    pub(crate) nodes: Vec<Node>,
    wire: BTreeMap<(Duration, u64), (usize, Option<usize>, Packet)>,
    serial: u64,
    /// Behind which node network 3 is.
    pub(crate) third: usize,
    chance: Chance,
    /// Of everything on every link, in thousandths.
    pub(crate) loss: u64,
    /// They take nothing and send nothing.
    pub(crate) dead: BTreeSet<usize>,
    /// What is seen between a node and the next one: source and destination of the outermost header.
    pub(crate) seen: BTreeMap<usize, BTreeSet<(IpAddr, IpAddr)>>,
}

impl Chain {
    pub(crate) fn new(configs: Vec<TunnelsConfig>) -> Self {
        let nodes = configs.into_iter().enumerate().map(|(at, config)| {
            let entropy = |salt: u64| Box::new(Seeded(Chance(at as u64 * 2 + salt)));
            Node {
                tunnels: Tunnels::new(Duration::ZERO, config, Vec::new(), (entropy(0), entropy(1))),
                rules: RuleSet::default(),
                inbound: BTreeMap::new(),
                outbound: BTreeMap::new(),
                bound: BTreeMap::new(),
                asked: BTreeSet::new(),
                used: BTreeSet::new(),
                did: Vec::new(),
                notices: Vec::new(),
                dropped: 0,
                wrong_carrier: 0,
                delivered: Vec::new(),
                ike_by_depth: BTreeMap::new(),
            }
        });
        let mut chain = Self {
            now: Duration::ZERO,
            nodes: nodes.collect(),
            wire: BTreeMap::new(),
            serial: 0,
            third: 0,
            chance: Chance(7),
            loss: 0,
            dead: BTreeSet::new(),
            seen: BTreeMap::new(),
        };
        (0..chain.nodes.len()).for_each(|at| chain.drain(at));
        chain
    }

    /// A row of that many gateways behind the sender.
    pub(crate) fn of(last: usize) -> Self {
        let gateways = (1..=last).map(|at| gateway(at, last));
        Self::new([sender(last)].into_iter().chain(gateways).collect())
    }

    pub(crate) fn drain(&mut self, at: usize) {
        while let Some(output) = self.nodes[at].tunnels.poll_output() {
            match output {
                Output::Engine(Command::Inject(injected)) => match injected.entry {
                    Entry::Originate | Entry::Resume(_) => {
                        let inside = Inside::Probe(injected.packet.clone());
                        self.leave(at, Packet { layers: Vec::new(), inside });
                    }
                    _ => panic!("what else is injected goes by other ways here"),
                },
                Output::Engine(command) => self.nodes[at].apply(command),
                Output::Transmit { path, octets } => self.ike(at, &path, octets, &[]),
                Output::TransmitThrough { stack, path, octets } => {
                    assert!(!stack.is_empty());
                    self.ike(at, &path, octets, &stack);
                }
                Output::Log(notice) => {
                    if let Notice::Stack { .. } | Notice::Failed { .. } | Notice::Down { .. } = &notice {
                        self.nodes[at].notices.push(notice.to_string());
                    }
                }
                Output::KeepLease(_)
                | Output::DropLease(_)
                | Output::AddAddress(_)
                | Output::RemoveAddress(_) => {}
            }
        }
    }

    fn ike(&mut self, at: usize, path: &Path, octets: Vec<u8>, stack: &[SaId]) {
        let mut packet =
            Packet { layers: Vec::new(), inside: Inside::Datagram(path.local, path.remote, octets) };
        *self.nodes[at].ike_by_depth.entry(stack.len()).or_default() += 1;
        let wrapped = self.nodes[at].wrap(&mut packet, stack);
        assert!(wrapped.is_some(), "IKE leaves only through what is there");
        self.leave(at, packet);
    }

    /// Where an address is.
    fn place(&self, address: IpAddr) -> usize {
        let last = self.nodes.len() - 1;
        (0..=last).find(|at| node(*at) == address).unwrap_or_else(|| match address {
            address if network(1).contains(address) => 0,
            address if network(3).contains(address) => self.third,
            _ => last,
        })
    }

    fn leave(&mut self, from: usize, packet: Packet) {
        let tuple = packet.tuple();
        let to = self.place(tuple.destination);
        let next = match to.cmp(&from) {
            std::cmp::Ordering::Greater => from + 1,
            std::cmp::Ordering::Less => from - 1,
            std::cmp::Ordering::Equal => from,
        };
        if self.dead.contains(&from) || self.chance.permille(self.loss) {
            return;
        }
        if next != from {
            let link = from.min(next);
            self.seen.entry(link).or_default().insert((tuple.source, tuple.destination));
        }
        self.serial += 1;
        self.wire.insert((self.now + HOP, self.serial), (next, Some(from), packet));
    }

    pub(crate) fn reseed(&mut self, seed: u64) {
        self.chance = Chance(seed);
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.chance.below(end)
    }

    /// A packet of our side, at that node. Whether it left.
    pub(crate) fn send(&mut self, at: usize, tuple: FiveTuple) -> bool {
        self.judge(at, Packet { layers: Vec::new(), inside: Inside::Data(tuple) })
    }

    /// What the rules say of a packet that leaves our side. Whether it leaves.
    fn judge(&mut self, at: usize, mut packet: Packet) -> bool {
        let node = &mut self.nodes[at];
        match evaluate(&node.rules, &packet.tuple()) {
            Verdict::Clear => {}
            Verdict::Protect(rule) => match node.bound.get(&rule).cloned() {
                Some(stack) => node.wrap(&mut packet, &stack).unwrap(),
                None => {
                    node.dropped += 1;
                    if node.asked.insert(rule) {
                        let event = Event::Acquire { rule, packet: packet.tuple() };
                        node.tunnels.handle_event(self.now, event);
                        self.drain(at);
                    }
                    return false;
                }
            },
            Verdict::NoRule | Verdict::Discard => {
                node.dropped += 1;
                return false;
            }
        }
        self.leave(at, packet);
        true
    }

    fn arrive(&mut self, at: usize, from: Option<usize>, mut packet: Packet) {
        if self.dead.contains(&at) {
            return;
        }
        let mut came_out: Option<RuleId> = None;
        loop {
            let tuple = packet.tuple();
            let is_ours = tuple.destination == node(at);
            let place = self.place(tuple.destination);
            let own = &mut self.nodes[at];
            if is_ours && !packet.layers.is_empty() {
                let layer = packet.layers.remove(0);
                let found =
                    own.inbound.values().find(|sa| sa.spi == layer.spi && sa.local == layer.destination);
                let Some(sa) = found.cloned() else {
                    own.dropped += 1;
                    return;
                };
                let carrier = came_out.map_or(Carrier::Network, Carrier::Rule);
                if sa.carrier != carrier {
                    own.wrong_carrier += 1;
                    return;
                }
                assert_eq!(layer.is_transport, sa.mode == SaMode::Transport);
                let inside = packet.tuple();
                assert!(sa.selector.contains(&inside), "F-25: {inside} comes out of the SA of {:?}", sa.rule);
                came_out = Some(sa.rule);
                let event = own.used.insert(sa.id).then_some(Event::FirstInbound(sa.id));
                own.tunnels.inbound_activity(self.now, sa.id);
                if let Some(event) = event {
                    own.tunnels.handle_event(self.now, event);
                }
                self.drain(at);
                continue;
            }
            if is_ours && let Inside::Datagram(remote, local, octets) = packet.inside {
                own.tunnels.handle_datagram(self.now, Path { local, remote }, &octets);
                return self.drain(at);
            }
            if place == at {
                if came_out.is_none() && evaluate_inbound(&own.rules, &tuple) != Verdict::Clear {
                    own.dropped += 1;
                    return;
                }
                return own.delivered.push(tuple);
            }
            if let Inside::Probe(octets) = packet.inside {
                own.tunnels.handle_event(self.now, caught(Catch::Probe, octets));
                return self.drain(at);
            }
            // Towards the sender our side begins: what goes there is judged, what comes from there must be protected.
            let outward = from.is_some_and(|from| from > at);
            match came_out {
                Some(_) => self.leave(at, packet),
                None if outward => drop(self.judge(at, packet)),
                None if evaluate_inbound(&own.rules, &tuple) == Verdict::Clear => self.leave(at, packet),
                None => own.dropped += 1,
            }
            return;
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        let mut turns = 0;
        loop {
            let wire = self.wire.keys().next().map(|(at, _)| *at);
            let timers = self.nodes.iter().filter_map(|node| node.tunnels.poll_timeout());
            let Some(next) = timers.chain(wire).min().filter(|next| *next <= end) else { break };
            turns = if next > self.now { 0 } else { turns + 1 };
            assert!(turns < 10_000, "the clock stands still");
            self.now = self.now.max(next);
            let mut due = VecDeque::new();
            while let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                due.push_back(entry.remove());
            }
            for (at, from, packet) in due {
                self.arrive(at, from, packet);
            }
            for at in 0..self.nodes.len() {
                if self.nodes[at].tunnels.poll_timeout().is_some_and(|due| due <= self.now) {
                    self.nodes[at].tunnels.handle_timeout(self.now);
                    self.drain(at);
                }
            }
        }
        self.now = end;
    }

    /// A packet from network 1 to network 2 every `interval`, and one back.
    pub(crate) fn traffic(&mut self, time: Duration, interval: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.send(0, there());
            let last = self.nodes.len() - 1;
            if !self.dead.contains(&last) {
                self.send(last, back());
            }
            self.run(interval);
        }
    }

    /// SAs that no tunnel knows of.
    pub(crate) fn assert_no_orphans(&self, at: usize) {
        let node = &self.nodes[at];
        let known = |id: SaId| node.tunnels.knows(id);
        for id in node.inbound.keys().chain(node.outbound.keys()) {
            assert!(known(*id), "orphan SA {id:?} at node {at}");
        }
    }

    /// Nothing is left there. A gateway whose peer took the tunnel away may still open what that one sent before.
    pub(crate) fn is_bare(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        let is_over = |sa: &SaId| at > 0 && node.tunnels.inbound_sas().all(|own| own != *sa);
        node.inbound.keys().all(is_over) && node.outbound.is_empty() && node.bound.is_empty()
    }
}

pub(crate) fn there() -> FiveTuple {
    FiveTuple {
        source: [10, 1, 0, 5].into(),
        destination: [10, 2, 0, 7].into(),
        protocol: 6,
        source_port: Some(50_000),
        destination_port: Some(443),
    }
}

pub(crate) fn back() -> FiveTuple {
    let there = there();
    FiveTuple {
        source: there.destination,
        destination: there.source,
        source_port: there.destination_port,
        destination_port: there.source_port,
        ..there
    }
}
