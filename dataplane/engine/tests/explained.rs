//! What the rules say of a packet against what the engine does with it: random rule sets in which tunnels lie inside tunnels,
//! SAs as control would install and bind them by `warren_policy::ways`, and every packet that comes out opened layer by layer.
//!
//! `walk` is what `dpctl explain` shows. It never sees `ways`; the engine never sees `walk`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::tower::host;
use lab::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use warren_aead::{Backend, KeyLength, KeyMaterial, OpenJob, OpeningKey, Transform};
use warren_engine::packet::esp::Trailer;
use warren_engine::packet::{ipv4, protocol};
use warren_engine::{DropReason, Settings, Tally};
use warren_policy::stack::{Action, Outcome, Rematch, walk};
use warren_policy::ways::{Known, Rematching, Way, Ways, ways};
use warren_policy::{
    EspTransform, FiveTuple, Gateway as Leads, KeyBits, PeerId, PortRange, Protection, Protocol, RuleId,
    RuleSet, Selector, TransportAction, TunnelRule,
};
use warren_seam::{Command, Encapsulation, Event, OutboundSa, SaId, SaMode, Spi};

const SETS: u64 = 500;
const PACKETS: usize = 200;
const GATEWAYS: usize = 12;
const OUR: [&str; 2] = ["192.0.2.1", "2001:db8:ff::1"];

/// Splitmix64: the same sets on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    fn of<T: Copy>(&mut self, choice: &[T]) -> T {
        choice[self.below(choice.len())]
    }
}

/// Everything that one round is about.
struct World {
    rules: RuleSet,
    rematching: Rematching,
    /// By peer, which has the number of its gateway.
    gateways: Vec<IpAddr>,
    local: Vec<Option<IpAddr>>,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}", self.rematching)?;
        for rule in &self.rules.transport {
            writeln!(f, "{} {:?}", rule.selector, rule.action)?;
        }
        for rule in &self.rules.tunnel {
            writeln!(f, "{:?}: {} through {} of {:?}", rule.id, rule.selector, rule.gateway, rule.peer)?;
        }
        write!(f, "{:?}", self.local)
    }
}

fn gateway(at: usize, ipv6: bool) -> IpAddr {
    if ipv6 { ip(&format!("2001:db8:aa::{}", at + 1)) } else { ip(&format!("198.51.100.{}", at + 1)) }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let rematching = if seed.is_multiple_of(2) { Rematching::Destination } else { Rematching::Wire };
        let mostly_ipv6 = dice.of(&[0, 10, 10, 50]);
        let gateways: Vec<_> = (0..GATEWAYS).map(|at| gateway(at, dice.percent(mostly_ipv6))).collect();
        let unknown = dice.of(&[0, 0, 3]);
        let own = |address: &IpAddr| ip(OUR[usize::from(address.is_ipv6())]);
        let local = gateways.iter().map(|address| (!dice.percent(unknown)).then(|| own(address))).collect();
        let mut world = Self { rules: RuleSet::default(), rematching, gateways, local };
        world.lay_tunnels(&mut dice);
        world.lay_transport(&mut dice);
        world
    }

    fn local(&self, peer: PeerId) -> Option<IpAddr> {
        self.local[peer.0 as usize]
    }

    fn lay_tunnels(&mut self, dice: &mut Dice) {
        // Some sets are strict about sources, so that both readings find something; a few are one long chain.
        let loose = dice.of(&[50, 90, 100, 100]);
        let ported = dice.of(&[0, 0, 10]);
        let wild = dice.of(&[0, 0, 20]);
        let discovering = dice.of(&[0, 0, 5]);
        let chain = dice.of(&[3, 5, 7, GATEWAYS - 1, GATEWAYS - 1]);
        let whole = dice.of(&[85, 100]);
        let mut selectors = Vec::new();
        for site in 0..2 + dice.below(3) {
            let ipv6 = dice.percent(15);
            let (source, destination) = if ipv6 {
                (dice.of(&["2001:db8:1::/48", "::/0"]).to_owned(), format!("2001:db8:2:{site}::/64"))
            } else {
                (
                    dice.of(&["10.1.0.0/16", "10.1.0.0/24", "0.0.0.0/0"]).to_owned(),
                    format!("10.2.{site}.0/24"),
                )
            };
            selectors.push((between(&source, &destination), dice.below(6)));
        }
        for at in 0..chain {
            let ipv6 = self.gateways[at].is_ipv6();
            if !dice.percent(whole) {
                continue;
            }
            let source = match (dice.percent(loose), ipv6) {
                (true, false) => "0.0.0.0/0".to_owned(),
                (true, true) => "::/0".to_owned(),
                (false, false) => dice.of(&["10.1.0.0/16", "192.0.2.1/32", "10.1.0.0/24"]).to_owned(),
                (false, true) => dice.of(&["2001:db8:1::/48", "2001:db8:ff::1/128"]).to_owned(),
            };
            let destination = match (dice.percent(80), ipv6) {
                (false, false) => {
                    dice.of(&["198.51.100.0/30", "198.51.100.4/30", "198.51.100.0/24"]).to_owned()
                }
                _ => host(self.gateways[at]),
            };
            let next = if dice.percent(wild) { dice.below(GATEWAYS) } else { at + 1 };
            selectors.push((between(&source, &destination), next));
        }
        // Any order, and numbers with gaps.
        for at in (1..selectors.len()).rev() {
            selectors.swap(at, dice.below(at + 1));
        }
        for (at, (mut selector, leads)) in selectors.into_iter().enumerate() {
            if dice.percent(ported) {
                narrow(dice, &mut selector);
            }
            let discovers = dice.percent(discovering);
            self.rules.tunnel.push(TunnelRule {
                id: RuleId(3 * at as u32),
                name: String::new(),
                selector,
                peer: PeerId(leads as u32),
                gateway: if discovers { Leads::Discover } else { self.gateways[leads].into() },
            });
        }
    }

    fn lay_transport(&mut self, dice: &mut Dice) {
        let everything = [between("0.0.0.0/0", "0.0.0.0/0"), between("::/0", "::/0")];
        let mut set = Vec::new();
        for at in 0..dice.below(4) {
            // A host that is also a gateway, or is behind one.
            let peer = dice.below(GATEWAYS);
            let Some(local) = self.local[peer] else { continue };
            let protection = Protection {
                rule: RuleId(100 + at as u32),
                peer: PeerId(peer as u32),
                host: self.gateways[peer],
            };
            let selector = between(&host(local), &host(self.gateways[peer]));
            set.push(transport(selector, TransportAction::Protect(protection)));
        }
        for _ in 0..dice.below(3) {
            let action = dice.of(&[TransportAction::Discard, TransportAction::Bypass]);
            let destination =
                dice.of(&["10.2.0.0/24", "10.2.1.0/25", "198.51.100.2/31", "198.51.100.6/32", "10.2.2.0/23"]);
            let mut selector = between("10.1.0.0/16", destination);
            if dice.percent(40) {
                narrow(dice, &mut selector);
            }
            set.insert(dice.below(set.len() + 1), transport(selector, action));
        }
        for selector in everything {
            if dice.percent(95) {
                set.push(transport(selector, TransportAction::Permit));
            }
        }
        // One host has one protection.
        let mut seen = BTreeSet::new();
        set.retain(|rule| match rule.action {
            TransportAction::Protect(protection) => seen.insert(protection.host),
            _ => true,
        });
        self.rules.transport = set;
    }

    fn ways(&self) -> Ways {
        let local = |peer| self.local(peer);
        ways(&self.rules, &Known { rematching: self.rematching, local: &local, within: &|_| None })
    }

    fn packet(&self, dice: &mut Dice) -> (FiveTuple, bool) {
        let to_gateway = dice.percent(40);
        let destination = if to_gateway {
            dice.of(&self.gateways)
        } else if dice.percent(15) {
            ip(&format!("2001:db8:2:{}::{}", dice.below(4), 1 + dice.below(9)))
        } else {
            ip(&format!("10.2.{}.{}", dice.below(4), 1 + dice.below(200)))
        };
        let ours = dice.percent(if to_gateway { 50 } else { 10 });
        let source = match (ours, destination.is_ipv6()) {
            (true, ipv6) => ip(OUR[usize::from(ipv6)]),
            (false, false) => ip(&format!("10.1.{}.{}", dice.below(2), 2 + dice.below(100))),
            (false, true) => ip(&format!("2001:db8:1::{}", 2 + dice.below(100))),
        };
        let number = dice.of(&[protocol::TCP, protocol::UDP, protocol::UDP, 99]);
        let ports = matches!(number, protocol::TCP | protocol::UDP);
        // Ports that IKE and discovery use are other people's business.
        let port = |dice: &mut Dice| ports.then(|| dice.of(&[53, 80, 443, 5000]));
        let (source_port, destination_port) = (port(dice), port(dice));
        (FiveTuple { source, destination, protocol: number, source_port, destination_port }, ours)
    }
}

fn narrow(dice: &mut Dice, selector: &mut Selector) {
    selector.protocol = Protocol::Is(dice.of(&[protocol::TCP, protocol::UDP]));
    if dice.percent(60) {
        let port = dice.of(&[53, 443]);
        selector.destination_port = PortRange::new(port, port).unwrap();
    }
}

/// A packet that looks like that to the rules; as a later fragment it hides its ports.
fn build(tuple: &FiveTuple, fragment: bool) -> Vec<u8> {
    let mut upper = vec![0; 24];
    if let (Some(from), Some(to)) = (tuple.source_port, tuple.destination_port) {
        upper[..2].copy_from_slice(&from.to_be_bytes());
        upper[2..4].copy_from_slice(&to.to_be_bytes());
    }
    (upper[4], upper[5], upper[12]) = (0, 24, 5 << 4);
    let (from, to) = (tuple.source.to_string(), tuple.destination.to_string());
    let mut packet = ip_packet(&Udp { from: &from, to: &to, ..Udp::default() }, tuple.protocol, &upper);
    if fragment {
        let octets = packet.len();
        ipv4::set_fragment(&mut packet, octets, 64, false);
    }
    packet
}

/// What comes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Dropped(DropReason),
    /// The rules of the SAs, outermost first; in clear without any.
    Sent(Vec<RuleId>),
}

/// What the rules say. `open` are the rules that control can bind.
fn explained(world: &World, tuple: &FiveTuple, open: &BTreeSet<RuleId>, fragment: bool) -> Fate {
    let local = |peer| world.local(peer);
    let rematch = match world.rematching {
        Rematching::Destination => Rematch::Destination,
        Rematching::Wire => Rematch::Wire(&local),
    };
    let walk = walk(&world.rules, tuple, rematch);
    let action = walk.transport.map(|at| world.rules.transport[at].action);
    let base = match (action, walk.rounds.first().and_then(|round| round.matched)) {
        (Some(TransportAction::Protect(protection)), _) => Some(protection.rule),
        (_, Some(matched)) if matched.gateway == Leads::Discover => {
            return Fate::Dropped(DropReason::Discovering);
        }
        (_, matched) => matched.map(|matched| matched.rule),
    };
    match (walk.outcome, base) {
        (Outcome::NoRule, _) => Fate::Dropped(DropReason::NoRule),
        (Outcome::Stack(stack), Some(base)) if open.contains(&base) => {
            if fragment && matches!(action, Some(TransportAction::Protect(_))) {
                return Fate::Dropped(DropReason::TransportFragment);
            }
            let level = |action: &Action| match action {
                Action::Tunnel { rule, .. } => Some(*rule),
                Action::Transport { action: TransportAction::Protect(protection), .. } => {
                    Some(protection.rule)
                }
                Action::Transport { .. } => None,
            };
            Fate::Sent(stack.performed().filter_map(level).collect())
        }
        (Outcome::Stack(_), None) => Fate::Sent(vec![]),
        (Outcome::Discard, None) => Fate::Dropped(DropReason::RuleDiscard),
        // Control has refused the rules that say so, and nothing is bound.
        (_, Some(base)) => {
            assert!(!open.contains(&base), "{base:?} is bound, and there is no stack for {tuple:?}");
            Fate::Dropped(DropReason::NoSa)
        }
        (outcome, None) => panic!("{outcome:?} without a rule"),
    }
}

/// The engine with everything bound that control would bind.
struct Bound {
    engine: Gateway,
    /// By SPI.
    sas: BTreeMap<u32, OutboundSa>,
    /// Rules that have a stack.
    open: BTreeSet<RuleId>,
    /// Which rules nothing could be bound to, and why.
    refused: BTreeMap<RuleId, String>,
}

const ENCAPSULATIONS: [Encapsulation; 2] = [Encapsulation::Raw, UDP_4500];

impl Bound {
    fn new(world: &World, seed: u64) -> Self {
        let mut engine = Gateway::new(1 + (seed % 3) as usize, &Settings::default());
        engine.submit(Command::Forwarding(table(1)));
        engine.submit(Command::Rules(world.rules.clone()));
        let mut bound =
            Self { engine, sas: BTreeMap::new(), open: BTreeSet::new(), refused: BTreeMap::new() };
        let ways = world.ways();
        let mut levels: BTreeMap<(RuleId, Option<IpAddr>), SaId> = BTreeMap::new();
        for rule in &world.rules.tunnel {
            if let Leads::Address(gateway) = rule.gateway {
                bound.open(
                    world,
                    &ways,
                    &mut levels,
                    (rule.id, rule.peer, gateway),
                    rule.selector,
                    SaMode::Tunnel,
                );
            }
        }
        for (rule, protection) in world.rules.protections() {
            let who = (protection.rule, protection.peer, protection.host);
            bound.open(world, &ways, &mut levels, who, rule.selector, SaMode::Transport);
        }
        bound.engine.poll();
        bound
    }

    fn open(
        &mut self,
        world: &World,
        ways: &Ways,
        levels: &mut BTreeMap<(RuleId, Option<IpAddr>), SaId>,
        (rule, peer, gateway): (RuleId, PeerId, IpAddr),
        selector: Selector,
        mode: SaMode,
    ) {
        let way: Way = match world.local(peer).map(|local| ways.to(local, gateway)) {
            Some(Ok(way)) if way.discovers.is_none() => way.clone(),
            other => {
                let why = other.map_or("no source".to_owned(), |way| match way {
                    Ok(_) => "discovers".to_owned(),
                    Err(error) => format!("{error:?}").split([' ', '(']).next().unwrap().to_owned(),
                });
                self.refused.insert(rule, why);
                return;
            }
        };
        let mut stack = vec![
            *levels
                .entry((rule, None))
                .or_insert_with(|| self.install(world, rule, peer, gateway, selector, mode)),
        ];
        let mut inside = (world.local(peer).unwrap(), gateway);
        for outer in &way.levels {
            let key = (outer.rule, (!outer.is_own).then_some(inside.0));
            let sa = *levels.entry(key).or_insert_with(|| {
                self.install(world, outer.rule, outer.peer, outer.gateway, outer.selector, SaMode::Tunnel)
            });
            stack.push(sa);
            inside = (world.local(outer.peer).unwrap(), outer.gateway);
        }
        self.open.insert(rule);
        self.engine.submit(Command::Bind { rule, stack });
    }

    fn install(
        &mut self,
        world: &World,
        rule: RuleId,
        peer: PeerId,
        gateway: IpAddr,
        selector: Selector,
        mode: SaMode,
    ) -> SaId {
        let number = self.sas.len() as u32 + 1;
        let template = outbound(Scheme::default(), 1, 0);
        let sa = OutboundSa {
            id: SaId(number.into()),
            spi: Spi(0x1_0000 + number),
            keys: keys(template.transform, number as u8),
            selector,
            local: world.local(peer).unwrap(),
            remote: gateway,
            mode,
            encapsulation: ENCAPSULATIONS[usize::from(number.is_multiple_of(5))],
            rule,
            ..template
        };
        self.sas.insert(sa.spi.0, sa.clone());
        self.engine.submit(Command::InstallOutbound(Box::new(sa)));
        SaId(number.into())
    }

    /// Takes one layer after the other off what came out; what is inside, and whose layers they were.
    fn opened(&self, mut packet: Vec<u8>) -> (Vec<u8>, Vec<RuleId>) {
        let mut layers = Vec::new();
        loop {
            let seen = summary(&packet);
            let at = match seen.tuple.protocol {
                protocol::ESP => seen.upper_at,
                protocol::UDP if seen.tuple.destination_port == Some(4500) => seen.upper_at + 8,
                _ => return (packet, layers),
            };
            let spi = u32::from_be_bytes(packet[at..at + 4].try_into().unwrap());
            let sa = &self.sas[&spi];
            assert_eq!((seen.tuple.source, seen.tuple.destination), (sa.local, sa.remote));
            let raw = seen.tuple.protocol == protocol::ESP;
            assert_eq!(raw, sa.encapsulation == Encapsulation::Raw);
            layers.push(sa.rule);
            packet = open_one(&packet, at, sa, seen.upper_at);
        }
    }
}

/// RFC 4303 §3.4.4, for one packet.
fn open_one(packet: &[u8], at: usize, sa: &OutboundSa, upper_at: usize) -> Vec<u8> {
    assert_eq!(sa.transform, EspTransform::AesGcm16(KeyBits::B128));
    let material = KeyMaterial {
        encryption: sa.keys.encryption.expose(),
        salt: sa.keys.salt,
        integrity: sa.keys.integrity.expose(),
    };
    let key = OpeningKey::new(Backend::best(), Transform::AesGcm16(KeyLength::B128), material).unwrap();
    let mut esp = packet[at..].to_vec();
    let octets = esp.len();
    let mut jobs = [OpenJob::new(&key, sa.esn.then_some(0), &mut esp)];
    warren_aead::open(&mut jobs);
    assert_eq!(jobs[0].verdict, warren_aead::Verdict::Authentic);
    let text = &esp[16..octets - 16];
    let trailer = Trailer::of(text).unwrap();
    let payload = &text[..trailer.payload_octets];
    match sa.mode {
        SaMode::Tunnel => payload.to_vec(),
        SaMode::Transport => {
            let mut whole = packet[..upper_at].to_vec();
            if whole[0] >> 4 == 6 {
                whole[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
                whole[6] = trailer.next_header;
            } else {
                whole[2..4].copy_from_slice(&((upper_at + payload.len()) as u16).to_be_bytes());
                whole[9] = trailer.next_header;
                ipv4::refresh_checksum(&mut whole);
            }
            [whole, payload.to_vec()].concat()
        }
    }
}

/// Sends one packet and looks at what became of it.
fn done(bound: &mut Bound, packet: &[u8], ours: bool, turn: usize) -> Fate {
    let before = bound.engine.counters();
    let worker = turn % bound.engine.workers.len();
    if ours {
        assert!(bound.engine.links[0][2].send(packet));
    } else {
        assert!(bound.engine.links[worker][INSIDE].send(&frame(mac(1, INSIDE), packet)));
    }
    bound.engine.poll();
    let out = bound.engine.receive(OUTSIDE);
    let after = bound.engine.counters();
    let drops: Vec<_> =
        DropReason::ALL.iter().filter(|reason| after.dropped(**reason) > before.dropped(**reason)).collect();
    assert!(bound.engine.receive(INSIDE).is_empty() && bound.engine.kernel().is_empty());
    match (&out[..], &drops[..]) {
        ([], [reason]) => Fate::Dropped(**reason),
        ([sent], []) => {
            let (inside, layers) = bound.opened(sent.clone());
            assert_eq!(inside, if ours { packet.to_vec() } else { after_hops(packet, 1) });
            assert_eq!(after.of(Tally::Sealed) - before.of(Tally::Sealed), layers.len() as u64);
            Fate::Sent(layers)
        }
        other => panic!("{other:?}"),
    }
}

#[test] // NT-1, NT-2, NT-3, NT-4, NT-7, NT-9, NT-21, NT-28, NT-35, Q-17, Q-19
fn what_is_explained_of_a_packet_is_what_the_engine_does_with_it() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut packets = 0;
    for seed in 0..SETS {
        let world = World::new(seed);
        let mut bound = Bound::new(&world, seed);
        let mut dice = Dice(!seed);
        let mut wanted = BTreeSet::new();
        for turn in 0..PACKETS {
            let (mut tuple, ours) = world.packet(&mut dice);
            let fragment = !tuple.source.is_ipv6() && dice.percent(8);
            if fragment {
                (tuple.source_port, tuple.destination_port) = (None, None);
            }
            let packet = build(&tuple, fragment);
            assert_eq!(summary(&packet).tuple, tuple);
            let expected = explained(&world, &tuple, &bound.open, fragment);
            let actual = done(&mut bound, &packet, ours, turn);
            assert_eq!(actual, expected, "set {seed}, {tuple:?}, {world:?}");
            let word = match &actual {
                Fate::Sent(layers) => format!("{} layers", layers.len()),
                Fate::Dropped(reason) => reason.to_string(),
            };
            *seen.entry(format!("{:?} {word}", world.rematching)).or_default() += 1;
            if actual == Fate::Dropped(DropReason::NoSa) {
                let evaluated = warren_policy::evaluate::evaluate(&world.rules, &tuple);
                let warren_policy::Verdict::Protect(rule) = evaluated else { panic!("{evaluated:?}") };
                wanted.insert(rule);
                *seen.entry(format!("refused: {}", bound.refused[&rule])).or_default() += 1;
            }
            packets += 1;
        }
        let discovers = |rule: &RuleId| {
            world.rules.tunnel_rule(*rule).is_some_and(|rule| rule.gateway == Leads::Discover)
        };
        let asked: BTreeSet<_> = bound
            .engine
            .take_events()
            .iter()
            .filter_map(|event| match event {
                Event::Acquire { rule, .. } if !discovers(rule) => Some(*rule),
                _ => None,
            })
            .collect();
        assert_eq!(asked, wanted, "what is dropped for want of SAs asks for them, once for each rule");
    }
    println!("{packets} packets, {SETS} rule sets: {seen:#?}");
    assert_eq!(packets, 100_000);
    for reading in ["Destination", "Wire"] {
        for word in
            ["0 layers", "1 layers", "2 layers", "3 layers", "5 layers", "8 layers", "no-sa", "no-rule"]
        {
            let count = seen.get(&format!("{reading} {word}")).copied().unwrap_or(0);
            assert!(count >= 20, "{reading} {word}: {count}");
        }
    }
}
