//! Sets of rules: those of ClassBench with their traces, many like them, and hostile ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use warren_policy::{
    AddressRange, FiveTuple, PeerId, PortRange, Protection, Protocol, RuleId, RuleSet, Selector,
    TransportAction, TransportRule, TunnelRule, Verdict,
};

use warren_policy::evaluate::{evaluate, evaluate_inbound};

use crate::limits::{SPD_COPIES_MAX, SPD_ENTRIES_PER_RULE_MAX, SPD_SPARE, SPD_TREES_MAX};
use crate::spd::{Direction, FirstMatch, Ipv4Key, Ipv6Key, NO_RULE, Spd};

const SETS: [(&str, usize); 4] = [("acl1_1k", 942), ("acl1_10k", 9774), ("fw1_1k", 857), ("ipc1_1k", 974)];

fn policies(file: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/policies");
    let path = PathBuf::from(folder).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The first nine columns of a set; the flags behind them are no business of ours.
fn rules(name: &str) -> Vec<Selector> {
    let parse = |line: &str| -> Selector {
        let fields: Vec<_> = line.trim_start_matches('@').split('\t').collect();
        let network = |text: &str| {
            let (address, length) = text.split_once('/').unwrap();
            AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
        };
        let ports = |text: &str| {
            let (first, last) = text.split_once(" : ").unwrap();
            PortRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
        };
        let protocol = match fields[4].split_once('/').unwrap() {
            (_, "0x00") => Protocol::Any,
            (number, "0xFF") => Protocol::Is(u8::from_str_radix(&number[2..], 16).unwrap()),
            other => panic!("{other:?}"),
        };
        Selector {
            source: network(fields[0]),
            destination: network(fields[1]),
            source_port: ports(fields[2]),
            destination_port: ports(fields[3]),
            protocol,
        }
    };
    policies(&format!("{name}.rules")).lines().map(parse).collect()
}

fn trace(name: &str) -> Vec<(FiveTuple, u32)> {
    let parse = |line: &str| {
        let fields: Vec<_> = line.split('\t').collect();
        let packet = FiveTuple {
            source: fields[0].parse().unwrap(),
            destination: fields[1].parse().unwrap(),
            source_port: Some(fields[2].parse().unwrap()),
            destination_port: Some(fields[3].parse().unwrap()),
            protocol: fields[4].parse().unwrap(),
        };
        let rule: i64 = fields[5].parse().unwrap();
        (packet, u32::try_from(rule).unwrap_or(NO_RULE))
    };
    policies(&format!("{name}.trace.tsv")).lines().filter(|line| !line.starts_with('#')).map(parse).collect()
}

fn first_matches(selectors: &[Selector], packets: &[FiveTuple]) -> (FirstMatch, Vec<u32>) {
    let compiled = FirstMatch::new(selectors);
    let found = looked_up(&compiled, packets);
    (compiled, found)
}

fn looked_up(compiled: &FirstMatch, packets: &[FiveTuple]) -> Vec<u32> {
    let mut found = vec![0; packets.len()];
    if packets.iter().all(|packet| packet.source.is_ipv6()) {
        let keys: Vec<_> = packets.iter().filter_map(Ipv6Key::new).collect();
        compiled.ipv6(&keys, &mut found);
    } else {
        let keys: Vec<_> = packets.iter().filter_map(Ipv4Key::new).collect();
        compiled.ipv4(&keys, &mut found);
    }
    found
}

fn scanned(selectors: &[Selector], packet: &FiveTuple) -> u32 {
    selectors.iter().position(|selector| selector.contains(packet)).map_or(NO_RULE, |at| at as u32)
}

#[test] // NT-3, NT-4
fn every_row_of_every_trace_finds_the_rule_that_the_scan_found() {
    for (name, count) in SETS {
        let (selectors, rows) = (rules(name), trace(name));
        assert_eq!((selectors.len(), rows.len()), (count, 10_000), "{name}");
        let (packets, expected): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let (_, found) = first_matches(&selectors, &packets);
        let wrong = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        assert_eq!(wrong.map(|at| (packets[at], found[at], expected[at])), None, "{name}");
        assert!(expected.iter().any(|&rule| rule != NO_RULE && rule > count as u32 / 2), "{name}");
    }
}

#[test] // NT-3, NT-4, F-24
fn every_row_of_every_trace_gets_the_verdict_of_its_tunnel_rule_from_both_sides() {
    for (name, _) in SETS {
        let any = AddressRange::any(false);
        let tunnel = |(selector, at): (Selector, u32)| TunnelRule {
            id: RuleId(at + 7),
            name: String::new(),
            selector,
            peer: PeerId(0),
            gateway: IpAddr::from(Ipv4Addr::LOCALHOST).into(),
        };
        let spd = Spd::new(&RuleSet {
            transport: vec![TransportRule {
                name: String::new(),
                selector: Selector::between(any, any).unwrap(),
                action: TransportAction::Permit,
            }],
            tunnel: rules(name).into_iter().zip(0..).map(tunnel).collect(),
        });
        let (packets, expected): (Vec<_>, Vec<_>) = trace(name).into_iter().unzip();
        let expected: Vec<_> = expected
            .into_iter()
            .map(|rule| if rule == NO_RULE { Verdict::Clear } else { Verdict::Protect(RuleId(rule + 7)) })
            .collect();
        let mirrored: Vec<_> = packets
            .iter()
            .map(|packet| FiveTuple {
                source: packet.destination,
                destination: packet.source,
                source_port: packet.destination_port,
                destination_port: packet.source_port,
                ..*packet
            })
            .collect();
        let mut verdicts = Vec::new();
        for (direction, packets) in [(Direction::Outbound, &packets), (Direction::Inbound, &mirrored)] {
            spd.classify(direction, packets, &mut verdicts);
            assert!(verdicts == expected, "{name} {direction:?}");
        }
    }
}

/// What rules and packets are drawn from.
struct Draw(ChaCha8Rng);

impl Draw {
    fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    /// A network of a few sites, each with networks inside: about half of them are hosts.
    fn network(&mut self, ipv6: bool) -> AddressRange {
        let (site, host) = (self.below(40) as u32, self.0.next_u32());
        let v4 = Ipv4Addr::from(0x0a00_0000 | site << 19 | host & 0x7ffff);
        if self.below(12) == 0 {
            return AddressRange::any(ipv6);
        }
        let length = self.one(&[13, 16, 20, 24, 27, 32, 32, 32]);
        if self.below(15) == 0 && !ipv6 {
            let last = Ipv4Addr::from(u32::from(v4) | 0x1ff).into();
            return AddressRange::new(v4.into(), last).unwrap();
        }
        if ipv6 {
            let bits = 0x2001_0db8 << 96 | u128::from(u32::from(v4)) << 64 | u128::from(host & 3);
            return AddressRange::from_prefix(Ipv6Addr::from(bits).into(), 32 + length + length / 32 * 64)
                .unwrap();
        }
        AddressRange::from_prefix(v4.into(), length).unwrap()
    }

    fn ports(&mut self) -> PortRange {
        let port = self.below(65_536) as u16;
        match self.below(8) {
            0..=3 => PortRange::ANY,
            4 => PortRange::new(1024, u16::MAX).unwrap(),
            5 => PortRange::new(port, port.saturating_add(99)).unwrap(),
            _ => {
                let known = self.one(&[22, 25, 53, 80, 443, 1521, port]);
                PortRange::new(known, known).unwrap()
            }
        }
    }

    fn selector(&mut self, ipv6: bool) -> Selector {
        let protocol = match self.below(8) {
            0 => Protocol::Any,
            1 | 2 => Protocol::Is(17),
            3 => Protocol::Is(1),
            _ => Protocol::Is(6),
        };
        Selector {
            source: self.network(ipv6),
            destination: self.network(ipv6),
            protocol,
            source_port: self.ports(),
            destination_port: self.ports(),
        }
    }

    /// A packet that the selector matches, or nearly.
    fn packet(&mut self, selector: &Selector) -> FiveTuple {
        let address = |draw: &mut Self, range: AddressRange| -> IpAddr {
            let some = u128::from(draw.0.next_u64()) << 64 | u128::from(draw.0.next_u64());
            match (range.first(), range.last()) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    let (first, last) = (u32::from(first), u32::from(last));
                    let span = u64::from(last - first) + 1;
                    Ipv4Addr::from(first + (some as u64 % span) as u32).into()
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    let (first, last) = (u128::from(first), u128::from(last));
                    let span = last - first;
                    Ipv6Addr::from(first + if span == u128::MAX { some } else { some % (span + 1) }).into()
                }
                _ => unreachable!("a range is of one family"),
            }
        };
        let port = |draw: &mut Self, range: PortRange| {
            let span = u64::from(range.last() - range.first()) + 1;
            let port = range.first() + draw.below(span) as u16;
            let hidden = range == PortRange::ANY && draw.below(6) == 0;
            (!hidden).then(|| if draw.below(20) == 0 { port.wrapping_add(1) } else { port })
        };
        FiveTuple {
            source: address(self, selector.source),
            destination: address(self, selector.destination),
            protocol: match selector.protocol {
                Protocol::Any => self.below(256) as u8,
                Protocol::Is(number) => number,
            },
            source_port: port(self, selector.source_port),
            destination_port: port(self, selector.destination_port),
        }
    }
}

#[test] // NT-3, NT-4
fn thousands_of_rules_of_both_families_find_what_a_scan_finds() {
    for (seed, count, ipv6) in [(1, 1_000, false), (2, 1_000, true), (3, 10_000, false), (4, 10_000, true)] {
        let mut draw = Draw::new(seed);
        let mut selectors: Vec<_> = (0..count).map(|_| draw.selector(ipv6)).collect();
        // As people write them: what is about every network stands behind what is about one.
        let any = AddressRange::any(ipv6);
        selectors
            .sort_by_key(|selector| u8::from(selector.source == any) + u8::from(selector.destination == any));
        let packets: Vec<_> = (0..2_000)
            .map(|_| {
                let of = draw.one(&selectors);
                draw.packet(&of)
            })
            .collect();
        let (_, found) = first_matches(&selectors, &packets);
        for (packet, &found) in packets.iter().zip(&found) {
            assert_eq!(found, scanned(&selectors, packet), "{count} rules, {packet:?}");
        }
        let late = found.iter().filter(|&&rule| rule != NO_RULE && rule as usize > count / 10).count();
        assert!(late > 100, "only {late} packets of {count} rules of IPv6 {ipv6} get past the first tenth");
    }
}

/// Rules between a few networks, nearly all of them for some port of UDP: so trees have to look at ports, and the few that
/// are for TCP lie in one of many leaves.
fn rules_by_port(draw: &mut Draw, count: u64, ipv6: bool) -> Vec<Selector> {
    let network = |draw: &mut Draw| {
        let some = draw.below(6) as u32;
        let v4 = Ipv4Addr::from(0x0a00_0000 | some << 8);
        let v6 = Ipv6Addr::from(0x2001_0db8 << 96 | u128::from(some) << 64);
        let (address, length): (IpAddr, u8) = if ipv6 { (v6.into(), 64) } else { (v4.into(), 24) };
        AddressRange::from_prefix(address, length).unwrap()
    };
    let rule = |_| Selector {
        source: network(draw),
        destination: network(draw),
        protocol: Protocol::Is(if draw.below(25) == 0 { 6 } else { 17 }),
        source_port: if draw.below(2) == 0 { PortRange::ANY } else { one_port(draw.below(65_536) as u32) },
        destination_port: one_port(draw.below(65_536) as u32),
    };
    (0..count).map(rule).collect()
}

#[test] // F-24, F-30, RFC 4301 §7
fn what_hides_its_ports_meets_rules_that_lie_in_other_leaves_than_it() {
    let mut seen = [0; 4];
    for (seed, ipv6) in (0..12).map(|seed| (seed, seed % 2 == 1)) {
        let mut draw = Draw::new(100 + seed);
        let any = AddressRange::any(ipv6);
        let transport = |selector, action| TransportRule { name: String::new(), selector, action };
        let host = if ipv6 { Ipv6Addr::LOCALHOST.into() } else { IpAddr::from(Ipv4Addr::LOCALHOST) };
        let protect =
            |rule| TransportAction::Protect(Protection { rule: RuleId(rule), peer: PeerId(1), host });
        // Of three kinds: rules that protect from end to end, rules that permit in front of a bypass, and tunnel rules.
        let (protects, permits) = (seed % 3 == 0, seed % 3 == 1);
        let mut rules = RuleSet::default();
        for (selector, at) in rules_by_port(&mut draw, 300, ipv6).into_iter().zip(0..) {
            let action = if protects { protect(5_000 + at) } else { TransportAction::Permit };
            if protects || permits {
                rules.transport.push(transport(selector, action));
            }
        }
        let last = if permits { TransportAction::Bypass } else { TransportAction::Permit };
        rules.transport.push(transport(Selector::between(any, any).unwrap(), last));
        rules.tunnel = rules_by_port(&mut draw, if protects { 0 } else { 300 }, ipv6)
            .into_iter()
            .zip(0..)
            .map(|(selector, at)| TunnelRule {
                id: RuleId(at),
                name: String::new(),
                selector,
                peer: PeerId(0),
                gateway: host.into(),
            })
            .collect();
        let packets: Vec<_> = rules_by_port(&mut draw, 400, ipv6)
            .iter()
            .map(|like| {
                let hidden = draw.below(4);
                let port = |hides: bool, range: PortRange| (!hides).then_some(range.first());
                FiveTuple {
                    protocol: draw.one(&[6, 6, 17, 60]),
                    source_port: port(hidden & 1 == 1 || hidden == 0, like.source_port),
                    destination_port: port(hidden & 2 == 2 || hidden == 0, like.destination_port),
                    ..draw.packet(like)
                }
            })
            .collect();
        let spd = Spd::new(&rules);
        let mut verdicts = Vec::new();
        for (direction, model) in [
            (Direction::Outbound, evaluate as fn(&RuleSet, &FiveTuple) -> Verdict),
            (Direction::Inbound, evaluate_inbound),
        ] {
            spd.classify(direction, &packets, &mut verdicts);
            for (packet, &verdict) in packets.iter().zip(&verdicts) {
                assert_eq!(verdict, model(&rules, packet), "{seed} {direction:?} {packet:?}");
                seen[if verdict == Verdict::Discard { seed as usize % 3 } else { 3 }] += 1;
            }
        }
    }
    assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
}

/// Octets that the classifier of so many rules may have: the trees for what shows its ports and for what hides them.
const fn octets_max(rules: usize, block_octets: usize) -> usize {
    let parts = 2 * SPD_TREES_MAX;
    let blocks = 2 * SPD_COPIES_MAX * rules.div_ceil(8) + parts * (SPD_COPIES_MAX + SPD_SPARE);
    let entries = 2 * SPD_ENTRIES_PER_RULE_MAX * rules + parts * SPD_SPARE;
    // Ranges that are no prefixes are kept once more, with their rule's number.
    blocks * block_octets + 8 * entries + 2 * rules * 20
}

fn range(first: u32, last: u32) -> AddressRange {
    AddressRange::new(Ipv4Addr::from(first).into(), Ipv4Addr::from(last).into()).unwrap()
}

/// Every rule as wide as possible in all but what `narrow` does to it.
fn wide(count: u32, mut narrow: impl FnMut(u32, &mut Selector)) -> Vec<Selector> {
    let any = AddressRange::any(false);
    let make = |at| {
        let mut selector = Selector::between(any, any).unwrap();
        narrow(at, &mut selector);
        selector
    };
    (0..count).map(make).collect()
}

fn one_port(number: u32) -> PortRange {
    PortRange::new(number as u16, number as u16).unwrap()
}

/// Compiles them, holds memory to its bound, and a few packets to the scan.
fn is_bounded_and_right(what: &str, selectors: &[Selector]) {
    let compiled = FirstMatch::new(selectors);
    let (octets, most) = (compiled.memory_octets(), octets_max(selectors.len(), 256));
    assert!(octets <= most, "{what}: {octets} octets of {most}");
    let mut draw = Draw::new(9);
    let packets: Vec<_> = (0..100)
        .map(|_| {
            let of = draw.one(selectors);
            draw.packet(&of)
        })
        .collect();
    for (packet, found) in packets.iter().zip(looked_up(&compiled, &packets)) {
        assert_eq!(found, scanned(selectors, packet), "{what}: {packet:?}");
    }
}

#[test]
fn rules_that_all_overlap_stay_within_their_memory_and_are_found() {
    let count = 100_000;
    // Each a little smaller than the one behind it.
    is_bounded_and_right(
        "nested",
        &wide(count, |at, rule| rule.source = range(count - at, u32::MAX - (count - at))),
    );
    let mut draw = Draw::new(5);
    let mut interval = move || {
        let (a, b) = (draw.below(1 << 32) as u32, draw.below(1 << 32) as u32);
        (a.min(b), a.max(b))
    };
    // No two alike, and each meets a third of the others.
    let boxes = wide(5_000, |_, rule| {
        let [source, destination, from, to] = [interval(), interval(), interval(), interval()];
        rule.source = range(source.0, source.1);
        rule.destination = range(destination.0, destination.1);
        rule.source_port = PortRange::new((from.0 >> 16) as u16, (from.1 >> 16) as u16).unwrap();
        rule.destination_port = PortRange::new((to.0 >> 16) as u16, (to.1 >> 16) as u16).unwrap();
    });
    is_bounded_and_right("boxes", &boxes);
}

#[test]
fn rules_that_are_narrow_in_one_field_each_stay_within_their_memory_and_are_found() {
    let spread = |at: u32| at.wrapping_mul(0x9e37_79b9);
    is_bounded_and_right(
        "ports",
        &wide(100_000, |at, rule| rule.destination_port = one_port(spread(at) >> 16)),
    );
    // Each kind crosses every other: no cut tells all of them apart.
    let crossing = wide(6_000, |at, rule| match at % 4 {
        0 => rule.source = range(spread(at), spread(at)),
        1 => rule.destination = range(spread(at), spread(at)),
        2 => rule.source_port = one_port(spread(at) >> 16),
        _ => rule.destination_port = one_port(spread(at) >> 16),
    });
    is_bounded_and_right("crossing", &crossing);
}
