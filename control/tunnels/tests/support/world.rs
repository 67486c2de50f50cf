//! Two sides, a wire with a seed, and a clock that jumps from event to event.

use super::engine::ModelEngine;
use super::scripted::{self, Scripted};
use super::{Chance, Seeded};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::time::Duration;
use warren_ike::{ChildConfig, Dpd, Endpoint, Entropy, Path, PeerConfig, Retransmit};
use warren_policy::{
    AddressRange, EspProposal, EspTransform, FiveTuple, Gateway, Group, Hash, IkeProposal, KeyBits, Lifetime,
    PeerId, RuleId, RuleSet, Secret, Selector, TunnelRule, Verdict,
};
use warren_seam::{Catch, Caught, Command, Entry, Event, PortIndex, Spi};
use warren_tunnels::{Lease, Negotiator, Notice, Output, Start, State, Tunnels, TunnelsConfig};

pub(crate) const ADDRESSES: [&str; 2] = ["198.51.100.1", "198.51.100.2"];
pub(crate) const LIFETIME: Lifetime = Lifetime { seconds: 120, kilobytes: None };

pub(crate) fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

pub(crate) fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

pub(crate) fn address(side: usize) -> IpAddr {
    ADDRESSES[side].parse().unwrap()
}

fn identity(side: usize) -> warren_policy::Identity {
    ["left.test", "right.test"][side].parse().unwrap()
}

fn network(side: usize, rule: usize) -> AddressRange {
    AddressRange::from_prefix(format!("10.{}.{rule}.0", side + 1).parse().unwrap(), 24).unwrap()
}

pub(crate) fn config(side: usize, rules: usize, start: Start) -> TunnelsConfig {
    let peer = PeerId(0);
    let selector = |rule| Selector::between(network(side, rule), network(1 - side, rule)).unwrap();
    let peers = vec![PeerConfig {
        id: peer,
        name: "other".to_owned(),
        local: address(side),
        remote: warren_ike::Remote::Host(address(1 - side)),
        local_identity: identity(side),
        remote_identity: warren_ike::RemoteIdentity::Exactly(identity(1 - side)),
        mode: warren_ike::Mode::Main,
        authentication: warren_ike::Authentication::PreSharedKey(Secret::new(
            b"a pre-shared key with enough entropy".to_vec(),
        )),
        xauth: warren_ike::Xauth::Off,
        config_mode: warren_ike::ConfigMode::Off,
        fragmentation: true,
        proposals: vec![IkeProposal { encryption: KeyBits::B128, hash: Hash::Sha256, group: Group::Ecp256 }],
        lifetime: 3600,
        dpd: None,
        nat_traversal: warren_ike::NatTraversal::Off,
        retransmit: Retransmit { first: scripted::FIRST, tries: scripted::TRIES },
        pad: None,
    }];
    let transform = EspTransform::AesGcm16(KeyBits::B128);
    let child = |rule: usize| ChildConfig {
        rule: RuleId(rule as u32),
        peer,
        selector: selector(rule),
        proposals: vec![EspProposal { transform, pfs: None, esn: true }],
        lifetime: LIFETIME,
        window_packets: 4096,
        is_divisible: false,
        mode: warren_policy::SaMode::Tunnel,
        carrier: warren_seam::Carrier::Network,
    };
    let tunnel = |rule: usize| TunnelRule {
        id: RuleId(rule as u32),
        name: format!("net-{rule}"),
        selector: selector(rule),
        peer,
        gateway: address(1 - side).into(),
    };
    TunnelsConfig {
        peers,
        tunnels: (0..rules)
            .map(|rule| warren_tunnels::TunnelConfig { child: child(rule), start, parallel: NonZeroU16::MIN })
            .collect(),
        rules: RuleSet { transport: Vec::new(), tunnel: (0..rules).map(tunnel).collect() },
        ..TunnelsConfig::default()
    }
}

enum Item {
    Datagram(Vec<u8>),
    Esp(Spi),
    /// A packet in clear that the other side's workers catch.
    Probe(Vec<u8>),
}

/// What a worker says of an IPv4 UDP packet that it catches.
pub(crate) fn caught(catch: Catch, packet: Vec<u8>) -> Event {
    let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap());
    let port = |at: usize| Some(u16::from_be_bytes([packet[at], packet[at + 1]]));
    let tuple = FiveTuple {
        source: address(12),
        destination: address(16),
        protocol: packet[9],
        source_port: port(20),
        destination_port: port(22),
    };
    Event::Caught(Box::new(Caught { catch, port: PortIndex(1), tuple, upper_at: 20, packet }))
}

pub(crate) struct Side<N> {
    pub(crate) tunnels: Tunnels<N>,
    pub(crate) engine: ModelEngine,
    pub(crate) notices: Vec<Notice>,
    /// Packets that left, arrived at the other side, were refused there, and found no SA here.
    pub(crate) sent: usize,
    pub(crate) arrived: usize,
    pub(crate) refused: usize,
    pub(crate) dropped: usize,
    /// On the tun port.
    pub(crate) addresses: Vec<IpAddr>,
    /// What outlives the process.
    pub(crate) leases: Vec<Lease>,
}

pub(crate) struct World<N> {
    pub(crate) now: Duration,
    pub(crate) sides: [Side<N>; 2],
    wire: BTreeMap<(Duration, u64), (usize, Item)>,
    serial: u64,
    pub(crate) chance: Chance,
    /// Of datagrams and packets alike, in thousandths.
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    pub(crate) delay: Duration,
    pub(crate) delay_spread: Duration,
    /// Whether ESP gets lost too.
    pub(crate) lossy_esp: bool,
    pub(crate) check_scripted: bool,
}

impl World<Scripted> {
    pub(crate) fn scripted(rules: usize, starts: [Start; 2], seed: u64) -> Self {
        Self::scripted_with([0, 1].map(|at| config(at, rules, starts[at])), seed)
    }

    /// The same with any configuration of each side.
    pub(crate) fn scripted_with(configs: [TunnelsConfig; 2], seed: u64) -> Self {
        let side = |at: usize| {
            let config = configs[at].clone();
            let socket = |side| SocketAddr::new(address(side), 500);
            let children = config.tunnels.iter().map(|tunnel| tunnel.child.clone()).collect();
            let own = seed.wrapping_mul(2).wrapping_add(at as u64);
            let negotiator = Scripted::new(socket(at), socket(1 - at), children, own);
            let entropy = Box::new(Seeded(Chance(!own)));
            Tunnels::with_negotiator(Duration::ZERO, config, Vec::new(), negotiator, (own, entropy))
        };
        let mut world = Self::new([side(0), side(1)], seed);
        world.check_scripted = true;
        world
    }
}

impl World<Endpoint> {
    /// Over IKE itself.
    pub(crate) fn over_ike(rules: usize, starts: [Start; 2], seed: u64) -> Self {
        Self::over_ike_with([0, 1].map(|at| config(at, rules, starts[at])), seed)
    }

    /// The same with any configuration of each side.
    pub(crate) fn over_ike_with(configs: [TunnelsConfig; 2], seed: u64) -> Self {
        let mut own = seed.wrapping_mul(2);
        let sides = configs.map(|mut config| {
            let entropies: (Box<dyn Entropy>, Box<dyn Entropy>) =
                (Box::new(Seeded(Chance(own))), Box::new(Seeded(Chance(!own))));
            own = own.wrapping_add(1);
            config.peers[0].dpd = Some(Dpd { delay: seconds(10), timeout: seconds(30) });
            Tunnels::new(Duration::ZERO, config, Vec::new(), entropies)
        });
        Self::new(sides, seed)
    }
}

impl<N: Negotiator> World<N> {
    pub(crate) fn new(tunnels: [Tunnels<N>; 2], seed: u64) -> Self {
        let sides = tunnels.map(|tunnels| Side {
            tunnels,
            engine: ModelEngine::default(),
            notices: Vec::new(),
            sent: 0,
            arrived: 0,
            refused: 0,
            dropped: 0,
            addresses: Vec::new(),
            leases: Vec::new(),
        });
        let mut world = Self {
            now: Duration::ZERO,
            sides,
            wire: BTreeMap::new(),
            serial: 0,
            chance: Chance(seed),
            loss: 0,
            duplication: 0,
            delay: millis(10),
            delay_spread: Duration::ZERO,
            lossy_esp: false,
            check_scripted: false,
        };
        world.drain(0);
        world.drain(1);
        world
    }

    fn put(&mut self, to: usize, item: Item) {
        let spread = self.delay_spread.as_micros() as u64 + 1;
        let at = self.now + self.delay + Duration::from_micros(self.chance.below(spread));
        self.serial += 1;
        self.wire.insert((at, self.serial), (to, item));
    }

    pub(crate) fn drain(&mut self, side: usize) {
        while let Some(output) = self.sides[side].tunnels.poll_output() {
            match output {
                Output::Engine(Command::Inject(packet)) => {
                    if packet.entry == Entry::Originate && !self.chance.permille(self.loss) {
                        self.put(1 - side, Item::Probe(packet.packet.clone()));
                    }
                    self.sides[side].engine.apply(Command::Inject(packet));
                }
                Output::Engine(command) => self.sides[side].engine.apply(command),
                Output::TransmitThrough { .. } => panic!("no tunnel is inside another one here"),
                Output::Log(notice) => self.sides[side].notices.push(notice),
                Output::KeepLease(lease) => {
                    let is_other = |own: &Lease| (&own.pool, &own.holder) != (&lease.pool, &lease.holder);
                    self.sides[side].leases.retain(is_other);
                    self.sides[side].leases.push(lease);
                }
                Output::DropLease(lease) => self.sides[side].leases.retain(|own| *own != lease),
                Output::AddAddress(address) => self.sides[side].addresses.push(address),
                Output::RemoveAddress(address) => {
                    self.sides[side].addresses.retain(|own| *own != address);
                }
                Output::Transmit { octets, .. } => {
                    if self.check_scripted {
                        self.check_inbound_first(side, &octets);
                    }
                    for _ in 0..=usize::from(self.chance.permille(self.duplication)) {
                        if !self.chance.permille(self.loss) {
                            self.put(1 - side, Item::Datagram(octets.clone()));
                        }
                    }
                }
            }
        }
    }

    /// The peer may send ESP the moment it reads the second or third message.
    fn check_inbound_first(&self, side: usize, octets: &[u8]) {
        let [kind, _, _, spi] = scripted::decode(octets);
        if kind == scripted::SECOND_MESSAGE || kind == scripted::THIRD_MESSAGE {
            let repeated = self.sides[side].engine.inbound.values().any(|own| own.0 == spi);
            let closed = kind == scripted::THIRD_MESSAGE || self.loss + self.duplication > 0;
            assert!(repeated || closed, "our message leaves before our inbound SA is installed");
        }
    }

    /// A packet, judged by the rules that the side's workers have. Whether it left.
    pub(crate) fn send(&mut self, side: usize, packet: FiveTuple) -> bool {
        let rules = &self.sides[side].engine.rules;
        let Verdict::Protect(rule) = warren_policy::evaluate(rules, &packet) else { return false };
        if rules.tunnel_rule(rule).is_some_and(|rule| rule.gateway == Gateway::Discover) {
            self.sides[side].dropped += 1;
            self.sides[side].tunnels.handle_event(self.now, Event::Acquire { rule, packet });
            self.drain(side);
            return false;
        }
        let sent = self.sides[side].sent;
        self.packet(side, rule.0);
        self.sides[side].sent > sent
    }

    /// One packet of the rule, from that side.
    pub(crate) fn packet(&mut self, side: usize, rule: u32) {
        match self.sides[side].engine.send(RuleId(rule)) {
            Ok(spi) => {
                self.sides[side].sent += 1;
                if !(self.lossy_esp && self.chance.permille(self.loss)) {
                    self.put(1 - side, Item::Esp(spi));
                }
            }
            Err(event) => {
                self.sides[side].dropped += 1;
                if let Some(event) = event {
                    self.sides[side].tunnels.handle_event(self.now, event);
                    self.drain(side);
                }
            }
        }
    }

    fn next_event(&self) -> Option<Duration> {
        let wire = self.wire.keys().next().map(|(at, _)| *at);
        let timers = self.sides.iter().filter_map(|side| side.tunnels.poll_timeout());
        timers.chain(wire).min()
    }

    fn deliver(&mut self) {
        while let Some(entry) = self.wire.first_entry() {
            if entry.key().0 > self.now {
                return;
            }
            let (to, item) = entry.remove();
            match item {
                Item::Datagram(octets) => {
                    let socket = |side| SocketAddr::new(address(side), 500);
                    let path = Path { local: socket(to), remote: socket(1 - to) };
                    self.sides[to].tunnels.handle_datagram(self.now, path, &octets);
                }
                Item::Probe(packet) => {
                    self.sides[to].tunnels.handle_event(self.now, caught(Catch::Probe, packet));
                }
                Item::Esp(spi) => match self.sides[to].engine.receive(spi) {
                    None => self.sides[1 - to].refused += 1,
                    Some(event) => {
                        self.sides[1 - to].arrived += 1;
                        if let Some(event) = event {
                            self.sides[to].tunnels.handle_event(self.now, event);
                        }
                    }
                },
            }
            self.drain(to);
        }
    }

    /// Lets everything happen that is due until `end`.
    pub(crate) fn run_until(&mut self, end: Duration) {
        let mut turns = 0;
        while let Some(next) = self.next_event().filter(|next| *next <= end) {
            turns = if next > self.now { 0 } else { turns + 1 };
            assert!(turns < 10_000, "the clock stands still");
            self.now = self.now.max(next);
            self.deliver();
            for side in 0..2 {
                if self.sides[side].tunnels.poll_timeout().is_some_and(|at| at <= self.now) {
                    self.sides[side].tunnels.handle_timeout(self.now);
                    self.drain(side);
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.run_until(self.now + time);
    }

    /// A packet each way for each rule every `interval`.
    pub(crate) fn run_with_traffic(&mut self, time: Duration, interval: Duration) {
        let end = self.now + time;
        while self.now < end {
            for rule in 0..self.sides[0].tunnels.rules().tunnel.len() as u32 {
                self.packet(0, rule);
                self.packet(1, rule);
            }
            self.run(interval);
        }
    }

    pub(crate) fn state(&self, side: usize, rule: usize) -> State {
        self.sides[side].tunnels.status()[rule].state
    }

    pub(crate) fn is_up(&self, side: usize, rule: usize) -> bool {
        matches!(self.state(side, rule), State::Up { .. })
    }

    /// Both sides agree on what exists: each outbound SA has its inbound SA at the other side.
    pub(crate) fn assert_same_pairs(&self, rule: usize, pairs: usize) {
        let spis = |side: usize, inbound: bool| {
            let status = &self.sides[side].tunnels.status()[rule];
            let facts = |pair: &warren_tunnels::PairStatus| {
                if inbound { pair.inbound.spi } else { pair.outbound.spi }
            };
            let mut spis: Vec<_> = status.pairs.iter().map(facts).collect();
            spis.sort();
            spis
        };
        assert_eq!(spis(0, true), spis(1, false));
        assert_eq!(spis(0, false), spis(1, true));
        assert_eq!(spis(0, true).len(), pairs);
    }

    /// Nothing is left in either engine that its tunnels do not know of: what a peer deleted is opened for a while yet.
    pub(crate) fn assert_no_orphans(&self) {
        for side in &self.sides {
            let status = side.tunnels.status();
            let pairs = || status.iter().flat_map(|tunnel| &tunnel.pairs);
            for sa in side.engine.inbound.keys() {
                assert!(side.tunnels.knows(*sa), "orphan inbound SA {sa:?}");
            }
            for sa in side.engine.outbound.keys() {
                assert!(pairs().any(|pair| pair.outbound.id == *sa), "orphan outbound SA {sa:?}");
            }
        }
    }

    pub(crate) fn shutdown(&mut self) {
        for side in 0..2 {
            self.sides[side].tunnels.shutdown(self.now);
            self.drain(side);
        }
        self.run(seconds(120));
        for side in &self.sides {
            assert!(side.engine.is_empty(), "shutdown left SAs behind");
        }
    }

    pub(crate) fn command(&mut self, side: usize, command: Command) {
        self.sides[side].engine.apply(command);
    }
}
