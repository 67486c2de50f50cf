//! The fast path is a shortcut through the stages and nothing else: the same packets through a gateway that has it and one
//! that has not, and the same comes out, counted the same.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use rand_chacha::ChaCha12Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::HashMap;
use warren_engine::packet::{Summary, ipv4, protocol};
use warren_engine::{CounterSnapshot, DropReason, Settings, Tally};
use warren_policy::{FiveTuple, KeyBits, RuleId, RuleSet, TransportAction};
use warren_seam::{Command, Discovery, Encapsulation, SaId, Spi};

/// Random choices.
struct Dice(ChaCha12Rng);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(ChaCha12Rng::seed_from_u64(seed))
    }

    fn below(&mut self, end: usize) -> usize {
        (self.0.next_u64() % end as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A packet as site `own` might send it, or anybody in its name.
    fn packet(&mut self, own: u8) -> Vec<u8> {
        let peer = 3 - own;
        let from = match self.below(12) {
            0 => "127.0.0.1".to_owned(),
            1 => "192.0.2.77".to_owned(),
            at => format!("10.{own}.0.{}", 2 + at % 3),
        };
        let to = match self.below(16) {
            0 => format!("10.{own}.0.1"),
            1 => "224.0.0.5".to_owned(),
            2 => "10.9.0.1".to_owned(),
            3 => "198.51.100.7".to_owned(),
            4 => format!("192.0.2.{peer}"),
            5 => "203.0.113.9".to_owned(),
            at => format!("10.{peer}.0.{}", 2 + at % 3),
        };
        let payload = match self.below(5) {
            0 => self.below(8),
            1 => 1300 + self.below(172),
            _ => self.below(300),
        };
        let udp = Udp {
            from: &from,
            to: &to,
            ports: (5000 + self.below(4) as u16, self.of(&[53, 500, 4500, 6000])),
            payload,
            ttl: self.of(&[0, 1, 2, 64, 64, 64, 64, 64, 64, 255]),
            traffic_class: self.of(&[0, 0, 1, 2, 3, 0xb8, 0xba]),
            dont_fragment: !self.one_in(4),
        };
        let mut packet = match self.below(14) {
            0 => ip_packet(&udp, protocol::ESP, &vec![7; 40 + payload]),
            1 => ip_packet(&udp, protocol::ICMP, &[8, 0, 0xf7, 0xff, 0, 0, 0, 0]),
            2 => ip_packet(&udp, 47, &vec![9; payload]),
            3 => ip_packet(&udp, protocol::TCP, &segment(self.of(&[0x02, 0x10, 0x12]))),
            4 => Udp { from: "2001:db8:1::2", to: "2001:db8:2::2", ..udp }.packet(),
            5 => ip_packet(&udp, protocol::UDP, &vec![1; self.below(9)]),
            _ => udp.packet(),
        };
        if packet[0] >> 4 == 4 {
            self.spoil(&mut packet);
        }
        packet
    }

    /// Makes a few of the packets unusual.
    fn spoil(&mut self, packet: &mut Vec<u8>) {
        let octets = packet.len();
        match self.below(40) {
            0 => packet[10] ^= 1,
            1 => ipv4::set_fragment(packet, octets, 0, true),
            2 => ipv4::set_fragment(packet, octets, 64, false),
            3 => packet.extend([0; 30]),
            4 => {
                // Options: four times nothing.
                packet[0] = 0x46;
                packet.splice(20..20, [1, 1, 1, 1]);
                let octets = packet.len() as u16;
                packet[2..4].copy_from_slice(&octets.to_be_bytes());
                ipv4::refresh_checksum(&mut packet[..24]);
            }
            5 => packet.truncate(packet.len() - 1),
            _ => {}
        }
    }
}

/// A TCP segment with a maximum segment size of 1460.
fn segment(flags: u8) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[0x13, 0x88, 0, 80]);
    (segment[12], segment[13]) = (0x60, flags);
    segment.extend([2, 4, 5, 0xb4]);
    segment
}

/// Two gateways with the same tables: the first has the fast path.
struct Twins([Gateway; 2]);

impl Twins {
    fn new(own: u8, scheme: Scheme) -> Self {
        Self([true, false].map(|fast_path| {
            let mut gateway = Gateway::new(1, &Settings { fast_path, ..Settings::default() });
            gateway.submit(Command::Forwarding(table(own)));
            gateway.submit(Command::Rules(rules(own)));
            establish(&mut gateway, own, scheme);
            gateway
        }))
    }

    fn submit(&mut self, command: impl Fn() -> Command) {
        for gateway in &mut self.0 {
            gateway.submit(command());
            gateway.poll();
        }
    }

    fn send(&mut self, own: u8, port: usize, packets: &[Vec<u8>]) {
        for gateway in &mut self.0 {
            packets.iter().for_each(|packet| gateway.send(own, port, packet));
            gateway.poll();
        }
    }

    /// What both have counted, but for who knew a flow.
    fn assert_counted_alike(&self) {
        let [fast, slow] = [&self.0[0], &self.0[1]].map(Gateway::counters);
        let flows = |counters: &CounterSnapshot| counters.of(Tally::FlowHit) + counters.of(Tally::FlowMiss);
        for &tally in Tally::ALL.iter().filter(|tally| !matches!(tally, Tally::FlowHit | Tally::FlowMiss)) {
            assert_eq!(fast.of(tally), slow.of(tally), "{}: {fast:?} {slow:?}", tally.word());
        }
        assert_eq!(fast.drops().collect::<Vec<_>>(), slow.drops().collect::<Vec<_>>());
        assert_eq!(flows(&fast), flows(&slow));
        assert_eq!(self.0[0].events, self.0[1].events);
    }

    /// What left by a port, of both.
    fn receive(&self, port: usize) -> [Vec<Vec<u8>>; 2] {
        [self.0[0].receive(port), self.0[1].receive(port)]
    }
}

/// Packets of each flow in their order. Later fragments, of which no ports can be seen, are a flow of their own.
fn by_flow(packets: &[Vec<u8>]) -> HashMap<FiveTuple, Vec<Vec<u8>>> {
    let mut flows: HashMap<_, Vec<_>> = HashMap::new();
    for packet in packets {
        flows.entry(Summary::of(packet).unwrap().tuple).or_default().push(packet.clone());
    }
    flows
}

fn assert_same_flows(fast: &[Vec<u8>], slow: &[Vec<u8>], when: &str) {
    let (fast, slow) = (by_flow(fast), by_flow(slow));
    for (flow, packets) in &slow {
        let short = |packets: &[Vec<u8>]| {
            packets
                .iter()
                .map(|packet| (packet.len(), packet[..28.min(packet.len())].to_vec()))
                .collect::<Vec<_>>()
        };
        let found = fast.get(flow).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(short(found), short(packets), "{when}: {flow:?}");
        assert!(found == packets.as_slice(), "{when}: {flow:?}");
    }
    assert_eq!(fast.len(), slow.len(), "{when}");
}

/// What can be seen of an outer packet and does not depend on the order of flows among each other.
fn outside(packets: &[Vec<u8>]) -> Vec<String> {
    let seen = |packet: &Vec<u8>| {
        let summary = Summary::of(packet).unwrap();
        let fragment = summary.fragment;
        let esp = summary.tuple.protocol == protocol::ESP || summary.tuple.source_port == Some(4500);
        let rest = if esp { vec![] } else { packet[20.min(packet.len())..].to_vec() };
        format!(
            "{:?} {} {} {} {fragment:?} {} {rest:?}",
            summary.tuple, summary.octets, summary.ttl, summary.traffic_class, summary.dont_fragment,
        )
    };
    let mut seen: Vec<_> = packets.iter().map(seen).collect();
    seen.sort();
    seen
}

fn exercise(seed: u64, scheme: Scheme) {
    let mut dice = Dice::new(seed);
    let (mut near, mut far) = (Twins::new(1, scheme), Twins::new(2, scheme));
    for round in 0..12 {
        let packets: Vec<_> = (0..dice.below(150)).map(|_| dice.packet(1)).collect();
        near.send(1, INSIDE, &packets);
        near.assert_counted_alike();
        let [fast, slow] = near.receive(OUTSIDE);
        assert_eq!(outside(&fast), outside(&slow), "seed {seed} round {round}");
        assert_eq!(outside(&near.0[0].receive(INSIDE)), outside(&near.0[1].receive(INSIDE)));
        // Both far gateways get what the fast one has sent, some of it twice, damaged, or not at all.
        let mut wire = Vec::new();
        for packet in &fast {
            match dice.below(20) {
                0 => {}
                1 => wire.extend([packet.clone(), packet.clone()]),
                2 if packet.len() > 28 => {
                    // Behind the outer headers: who came from elsewhere in a batch is seen after the rest of it.
                    let mut damaged = packet.clone();
                    let at = 28 + dice.below(damaged.len() - 28);
                    damaged[at] ^= 1 << dice.below(8);
                    wire.push(damaged);
                }
                3 if packet[0] == 0x45 => {
                    // Congestion on the way.
                    let mut marked = packet.clone();
                    ipv4::set_ecn(&mut marked, dice.below(4) as u8);
                    wire.push(marked);
                }
                _ => wire.push(packet.clone()),
            }
        }
        wire.extend((0..dice.below(10)).map(|_| dice.packet(2)));
        far.send(2, OUTSIDE, &wire);
        far.assert_counted_alike();
        let [fast, slow] = far.receive(INSIDE);
        assert_same_flows(&fast, &slow, &format!("seed {seed} round {round}"));
        assert_eq!(outside(&far.0[0].receive(OUTSIDE)), outside(&far.0[1].receive(OUTSIDE)));
        assert_same_flows(&far.0[0].kernel(), &far.0[1].kernel(), "for the kernel");
        change(&mut dice, &mut near, &mut far, scheme);
    }
}

/// Something that happens to gateways while packets flow.
fn change(dice: &mut Dice, near: &mut Twins, far: &mut Twins, scheme: Scheme) {
    match dice.below(8) {
        0 => {
            // A successor takes over.
            let number = dice.0.next_u64() % 1_000_000 + 1000;
            let mut into = inbound(scheme, 1, 0);
            (into.id, into.spi) = (SaId(2 * number), Spi(number as u32 + 0x10_0000));
            let mut out = outbound(scheme, 1, 0);
            (out.id, out.spi) = (SaId(2 * number + 1), into.spi);
            let stack = vec![out.id];
            far.submit(|| Command::InstallInbound(Box::new(into.clone())));
            near.submit(|| Command::InstallOutbound(Box::new(out.clone())));
            near.submit(|| Command::Bind { rule: RuleId(0), stack: stack.clone() });
        }
        1 => near.submit(|| Command::Bind { rule: RuleId(0), stack: vec![] }),
        2 => {
            let stack = vec![outbound(scheme, 1, 0).id];
            near.submit(|| Command::Bind { rule: RuleId(0), stack: stack.clone() });
        }
        3 => {
            // A neighbour is forgotten, or known again.
            let mut table = table(2);
            if dice.one_in(2) {
                table.neighbours.remove(0);
            }
            far.submit(|| Command::Forwarding(table.clone()));
        }
        4 => {
            let mut rules = rules(1);
            if dice.one_in(2) {
                let bypass = between("10.1.0.0/16", "10.2.0.4/32");
                rules.transport.insert(0, transport(bypass, TransportAction::Bypass));
            }
            near.submit(|| Command::Rules(rules.clone()));
        }
        5 => near.submit(|| Command::Forwarding(table(1))),
        _ => {}
    }
}

const SCHEMES: [Encapsulation; 2] = [Encapsulation::Raw, UDP_4500];

#[test] // X-3, F-24, F-25, F-37
fn with_the_fast_path_and_without_it_the_same_comes_out_and_is_counted() {
    for seed in 0..60 {
        let encapsulation = SCHEMES[seed as usize % 2];
        exercise(seed, Scheme { encapsulation, esn: seed % 3 > 0, ..Scheme::default() });
    }
}

#[test]
fn around_ipv6_and_with_ciphers_that_are_left_to_the_stages_too() {
    for seed in 100..115 {
        exercise(seed, Scheme { outer_ipv6: true, ..Scheme::default() });
        let hmac = warren_policy::EspTransform::AesCbcHmac(KeyBits::B128, warren_policy::Hash::Sha256);
        exercise(seed, Scheme { transform: hmac, ..Scheme::default() });
    }
}

#[test] // F-24
fn clear_text_from_outside_is_refused_where_the_mirrored_flow_is_protected_even_if_its_sa_would_take_it() {
    let everything = between("0.0.0.0/0", "0.0.0.0/0");
    let mut gateway = Gateway::new(1, &Settings::default());
    gateway.submit(Command::Forwarding(table(1)));
    let rules = RuleSet {
        transport: vec![transport(everything, TransportAction::Permit)],
        tunnel: vec![tunnel(0, everything)],
    };
    gateway.submit(Command::Rules(rules));
    let mut sa = outbound(Scheme::default(), 1, 0);
    sa.selector = everything;
    let stack = vec![sa.id];
    gateway.submit(Command::InstallOutbound(Box::new(sa)));
    gateway.submit(Command::Bind { rule: RuleId(0), stack });
    let inward = Udp { from: "10.2.0.2", to: "10.1.0.2", ..Udp::default() }.packet();
    for _ in 0..3 {
        gateway.send_and_poll(1, OUTSIDE, &inward);
    }
    assert!(gateway.receive(INSIDE).is_empty() && gateway.receive(OUTSIDE).is_empty());
    gateway.assert_drops(&[(DropReason::ClearTextInbound, 3)]);
}

#[test] // TED-31
fn discovery_sees_the_messages_of_a_flow_that_was_known_before_it_was_switched_on() {
    let mut gateway = Gateway::site(1);
    let mut message = [0; 28];
    (message[17], message[18], message[27]) = (0x10, 241, 28);
    let mut datagram = vec![1, 244, 1, 244, 0, 36, 0, 0];
    datagram.extend(message);
    let like = Udp { to: "203.0.113.9", ..Udp::default() };
    let packet = ip_packet(&like, protocol::UDP, &datagram);
    (0..2).for_each(|_| gateway.send_and_poll(1, INSIDE, &packet));
    assert_eq!((gateway.tally(Tally::Discovery), gateway.tally(Tally::Clear)), (0, 2));
    gateway.submit(Command::Discovery(Discovery { is_on: true, answers: vec![], asks: false }));
    gateway.send_and_poll(1, INSIDE, &packet);
    assert_eq!((gateway.tally(Tally::Discovery), gateway.tally(Tally::Clear)), (1, 2));
}

#[test]
fn a_flow_that_is_known_does_not_go_through_the_stages() {
    let (mut one, _) = established_pair(Scheme::default());
    for _ in 0..3 {
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
    }
    assert_eq!((one.tally(Tally::FlowMiss), one.tally(Tally::FlowHit)), (1, 2));
    assert_eq!(one.receive(OUTSIDE).len(), 3);
}
