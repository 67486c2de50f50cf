//! Tunnels inside tunnels: a gateway that puts three levels on, three gateways that take one off each, and what becomes of
//! packets that come another way than the policy has them come.
//!
//! ```text
//!   host A 10.1.0.2 ─ gateway A ─ SG1 ─ SG2 ─ SG3 ─ host B 10.2.0.2
//!                        ╠══ level 3 ══╣     │     │
//!                        ╠══ level 2 ════════╣     │
//!                        ╠══ level 1 ══════════════╣
//! ```

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use std::net::IpAddr;
use warren_engine::packet::protocol;
use warren_engine::{DropReason, Settings, Tally};
use warren_policy::{RuleId, RuleSet, Selector, TransportAction};
use warren_seam::{
    Carrier, Command, Encapsulation, Event, ForwardingTable, InboundSa, OutboundSa, SaId, Side, Spi,
};

const LEVELS: usize = 3;

/// Which family each header has.
#[derive(Clone, Copy, Debug, Default)]
struct Plan {
    inner_ipv6: bool,
    /// By level, innermost first.
    outer_ipv6: [bool; LEVELS],
}

impl Plan {
    fn all() -> impl Iterator<Item = Self> {
        let bit = |bits: u8, at: u8| bits >> at & 1 == 1;
        (0..16).map(move |bits| Self {
            inner_ipv6: bit(bits, 0),
            outer_ipv6: [bit(bits, 1), bit(bits, 2), bit(bits, 3)],
        })
    }

    /// The address of A at a level; levels count from 1, which is the innermost.
    fn own(self, level: usize) -> IpAddr {
        node_address(0, self.outer_ipv6[level - 1])
    }

    /// The gateway at which a level ends.
    fn gateway(self, level: usize) -> IpAddr {
        node_address(4 - level, self.outer_ipv6[level - 1])
    }

    /// What goes into a level.
    fn selector(self, level: usize) -> Selector {
        let host = |address: IpAddr| format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 });
        match level {
            1 if self.inner_ipv6 => between("2001:db8:1::/48", "2001:db8:2::/48"),
            1 => between("10.1.0.0/16", "10.2.0.0/16"),
            _ => between(&host(self.own(level - 1)), &host(self.gateway(level - 1))),
        }
    }

    fn hosts(self) -> (&'static str, &'static str) {
        if self.inner_ipv6 { ("2001:db8:1::2", "2001:db8:2::2") } else { ("10.1.0.2", "10.2.0.2") }
    }

    fn packet(self, payload: usize) -> Vec<u8> {
        let (from, to) = self.hosts();
        Udp { from, to, payload, ..Udp::default() }.packet()
    }

    fn answer(self, payload: usize) -> Vec<u8> {
        let (to, from) = self.hosts();
        Udp { from, to, payload, ..Udp::default() }.packet()
    }
}

/// Node 0 is A, the others are SG1 to SG3.
fn node_address(node: usize, ipv6: bool) -> IpAddr {
    if ipv6 { ip(&format!("2001:db8:ff::{}", node + 1)) } else { ip(&format!("192.0.2.{}", node + 1)) }
}

fn number(node: usize) -> u8 {
    node as u8 + 10
}

fn node_table(node: usize) -> ForwardingTable {
    let own = number(node);
    let text = |node: usize| [false, true].map(|ipv6| node_address(node, ipv6).to_string());
    let mut table = ForwardingTable {
        ports: vec![port_info(own, INSIDE, 1500, Side::Inside), port_info(own, OUTSIDE, 1500, Side::Outside)],
        local: text(node).map(|address| ip(&address)).to_vec(),
        routes: vec![],
        neighbours: vec![],
    };
    // The end networks lie behind the inside ports of A and SG3; in between, outside is the side of A.
    for (_, site) in [(0, 1), (LEVELS, 2)].into_iter().filter(|(end, _)| *end == node) {
        table.routes.push(route(&format!("10.{site}.0.0/16"), None, INSIDE));
        table.routes.push(route(&format!("2001:db8:{site}::/48"), None, INSIDE));
        table.neighbours.push(neighbour(INSIDE, &format!("10.{site}.0.2"), host_mac(site)));
        table.neighbours.push(neighbour(INSIDE, &format!("2001:db8:{site}::2"), host_mac(site)));
    }
    let mut towards = |next: usize, port: usize, mac, networks: [String; 2]| {
        for (network, via) in networks.iter().zip(text(next)) {
            table.routes.push(route(network, Some(&via), port));
            table.neighbours.push(neighbour(port, &via, mac));
        }
    };
    let everywhere = ["0.0.0.0/0".to_owned(), "::/0".to_owned()];
    if node < LEVELS {
        let port = if node == 0 { OUTSIDE } else { INSIDE };
        towards(node + 1, port, mac(number(node + 1), OUTSIDE), everywhere);
    }
    if node > 0 {
        let [four, six] = text(0);
        let port = if node == 1 { OUTSIDE } else { INSIDE };
        towards(node - 1, OUTSIDE, mac(number(node - 1), port), [format!("{four}/32"), format!("{six}/128")]);
    }
    table
}

/// From A to the gateway of a level, as A knows it.
fn forth(plan: Plan, level: usize) -> OutboundSa {
    let mut sa = outbound(Scheme::default(), 1, 0);
    (sa.id, sa.spi) = (SaId(10 + level as u64), Spi(0x1000 + level as u32));
    (sa.local, sa.remote, sa.selector) = (plan.own(level), plan.gateway(level), plan.selector(level));
    sa.keys = keys(sa.transform, level as u8);
    // Each level counts for itself.
    sa.sequence = 100 * level as u64;
    sa
}

/// From the gateway of a level to A, as the gateway knows it.
fn back(plan: Plan, level: usize) -> OutboundSa {
    let mut sa = forth(plan, level);
    (sa.id, sa.spi) = (SaId(20 + level as u64), Spi(0x2000 + level as u32));
    (sa.local, sa.remote, sa.selector) = (sa.remote, sa.local, sa.selector.mirrored());
    sa.keys = keys(sa.transform, 0x10 + level as u8);
    sa
}

/// An SA as its receiver knows it.
fn received(sa: &OutboundSa, rule: usize, carrier: Carrier) -> InboundSa {
    InboundSa {
        id: SaId(100 + sa.id.0),
        spi: sa.spi,
        keys: sa.keys.clone(),
        selector: sa.selector,
        remote: sa.local,
        local: sa.remote,
        rule: RuleId(rule as u32),
        carrier,
        sequence: 0,
        ..inbound(Scheme::default(), 1, 0)
    }
}

/// What A receives at a level: out of the level around it, the outermost from the network. Level and rule have one number.
fn received_by_a(plan: Plan, level: usize, levels: usize) -> InboundSa {
    let carrier = if level == levels { Carrier::Network } else { Carrier::Rule(RuleId(level as u32 + 1)) };
    received(&back(plan, level), level, carrier)
}

fn ruled(id: u32, selector: Selector) -> RuleSet {
    RuleSet {
        transport: vec![transport(selector, TransportAction::Permit)],
        tunnel: vec![tunnel(id, selector)],
    }
}

fn node(node: usize, rules: RuleSet, workers: usize) -> Gateway {
    let mut gateway = Gateway::new(workers, &Settings::default());
    gateway.submit(Command::Forwarding(node_table(node)));
    gateway.submit(Command::Rules(rules));
    gateway.poll();
    gateway
}

/// Gateway A with a stack of so many levels, bound to rule 1.
fn stacked(plan: Plan, levels: usize, workers: usize) -> Gateway {
    let mut a = node(0, ruled(1, plan.selector(1)), workers);
    for level in 1..=levels {
        a.submit(Command::InstallInbound(Box::new(received_by_a(plan, level, levels))));
        let mut sa = forth(plan, level);
        sa.rule = RuleId(level as u32);
        a.submit(Command::InstallOutbound(Box::new(sa)));
    }
    a.submit(Command::Bind {
        rule: RuleId(1),
        stack: (1..=levels).map(|level| forth(plan, level).id).collect(),
    });
    a.poll();
    a
}

/// A and the three gateways; the last of them is the peer of level 1.
fn chain(plan: Plan) -> [Gateway; LEVELS + 1] {
    [0, 1, 2, 3].map(|at| {
        if at == 0 {
            return stacked(plan, LEVELS, 1);
        }
        let level = 4 - at;
        let sa = back(plan, level);
        let mut gateway = node(at, ruled(0, sa.selector), 1);
        let from_a = received(&forth(plan, level), 0, Carrier::Network);
        gateway.submit(Command::InstallInbound(Box::new(from_a)));
        gateway.submit(Command::Bind { rule: RuleId(0), stack: vec![sa.id] });
        gateway.submit(Command::InstallOutbound(Box::new(sa)));
        gateway.poll();
        gateway
    })
}

/// Takes what left a port to the next gateway, and returns it.
fn pass_on(from: &Gateway, port: usize, to: &mut Gateway, at: usize) -> Vec<Vec<u8>> {
    let frames: Vec<_> = from.links.iter().flat_map(|links| drain(&links[port])).collect();
    frames.iter().for_each(|frame| assert!(to.links[0][at].send(frame)));
    to.poll();
    frames.into_iter().map(|frame| frame[14..].to_vec()).collect()
}

/// Source, destination, SPI and sequence number of an ESP packet.
fn esp(packet: &[u8]) -> (IpAddr, IpAddr, u32, u32) {
    let summary = summary(packet);
    assert_eq!(summary.tuple.protocol, protocol::ESP);
    let word = |at: usize| u32::from_be_bytes(packet[summary.upper_at + at..][..4].try_into().unwrap());
    (summary.tuple.source, summary.tuple.destination, word(0), word(4))
}

#[test] // NT-20, NT-21, NT-22, NT-23, NT-24, NT-25
fn each_gateway_strips_its_own_layer_and_the_packet_arrives_in_every_mix_of_families() {
    for plan in Plan::all() {
        let [mut a, mut sg1, mut sg2, mut sg3] = chain(plan);
        for round in 1..=3 {
            let packet = plan.packet(100);
            a.send_and_poll(number(0), INSIDE, &packet);
            let on = [
                pass_on(&a, OUTSIDE, &mut sg1, OUTSIDE),
                pass_on(&sg1, INSIDE, &mut sg2, OUTSIDE),
                pass_on(&sg2, INSIDE, &mut sg3, OUTSIDE),
            ];
            for (link, packets) in on.iter().enumerate() {
                let level = LEVELS - link;
                let counted = 100 * level as u32 + round;
                let expected = (plan.own(level), plan.gateway(level), 0x1000 + level as u32, counted);
                assert_eq!(esp(&packets[0]), expected, "{plan:?}");
                assert!(packets.len() == 1 && !shows(&packets[0], &packet));
            }
            // What SG1 and SG2 carry costs the host no hop, only A and SG3 do.
            assert_eq!(sg3.receive(INSIDE), [after_hops(&packet, 2)], "{plan:?}");
        }
        assert_eq!(a.tally(Tally::Sealed), 9);
        assert!([&sg1, &sg2, &sg3].iter().all(|gateway| gateway.tally(Tally::Opened) == 3));
        [&a, &sg1, &sg2, &sg3].iter().for_each(|gateway| gateway.assert_drops(&[]));
    }
}

#[test] // NT-23, NT-25, NT-34
fn what_comes_back_in_three_layers_is_peeled_layer_by_layer() {
    for plan in Plan::all() {
        let [mut a, mut sg1, mut sg2, mut sg3] = chain(plan);
        let packet = plan.answer(100);
        sg3.send_and_poll(number(3), INSIDE, &packet);
        pass_on(&sg3, OUTSIDE, &mut sg2, INSIDE);
        pass_on(&sg2, OUTSIDE, &mut sg1, INSIDE);
        let wire = pass_on(&sg1, OUTSIDE, &mut a, OUTSIDE);
        assert_eq!(esp(&wire[0]), (plan.gateway(3), plan.own(3), 0x2003, 301));
        assert_eq!(a.receive(INSIDE), [after_hops(&packet, 2)], "{plan:?}");
        assert_eq!(a.tally(Tally::Opened), 3);
        a.assert_drops(&[]);
    }
}

/// What ESP of the scheme takes of the room on a path, by RFC 4303 and RFC 4106.
fn room_inside(outer: usize, ipv6: bool) -> usize {
    let text = outer - if ipv6 { 40 } else { 20 } - 8 - 8 - 16;
    text / 4 * 4 - 2
}

#[test] // NT-33
fn the_sender_hears_what_all_levels_together_leave() {
    for plan in Plan::all() {
        for levels in 2..=LEVELS {
            let room =
                (1..=levels).rev().fold(1500, |room, level| room_inside(room, plan.outer_ipv6[level - 1]));
            let headers = if plan.inner_ipv6 { 48 } else { 28 };
            let mut a = stacked(plan, levels, 1);
            a.send_and_poll(number(0), INSIDE, &plan.packet(room - headers));
            let wire = a.receive(OUTSIDE).remove(0);
            assert!(wire.len() <= 1500 && wire.len() > 1500 - 4 * levels, "{plan:?} {}", wire.len());
            a.send_and_poll(number(0), INSIDE, &plan.packet(room - headers + 1));
            assert!(a.receive(OUTSIDE).is_empty());
            if plan.inner_ipv6 && room < 1280 {
                // Nobody goes below the minimum of IPv6, so telling would not help.
                a.assert_drops(&[(DropReason::BelowMinimumMtu, 1)]);
                continue;
            }
            let told = a.receive(INSIDE).remove(0);
            let mtu = if plan.inner_ipv6 { &told[44..48] } else { &told[24..28] };
            assert_eq!(u32::from_be_bytes(mtu.try_into().unwrap()), room as u32, "{plan:?} {levels}");
            a.assert_drops(&[(DropReason::TooBig, 1)]);
        }
    }
}

/// A SYN that offers segments of 1460 octets.
fn syn(plan: Plan, forth: bool) -> Vec<u8> {
    let mut segment = vec![0; 24];
    (segment[12], segment[13]) = (6 << 4, 2);
    segment[20..].copy_from_slice(&[2, 4, 0x05, 0xB4]);
    let (one, other) = plan.hosts();
    let (from, to) = if forth { (one, other) } else { (other, one) };
    ip_packet(&Udp { from, to, ..Udp::default() }, protocol::TCP, &segment)
}

fn mss(packet: &[u8]) -> u16 {
    let at = summary(packet).upper_at + 22;
    u16::from_be_bytes([packet[at], packet[at + 1]])
}

#[test] // NT-33
fn segments_fit_into_all_levels_together_in_both_directions() {
    for plan in Plan::all() {
        let room = (1..=LEVELS).rev().fold(1500, |room, level| room_inside(room, plan.outer_ipv6[level - 1]));
        let expected = (room - if plan.inner_ipv6 { 60 } else { 40 }) as u16;
        let [mut a, mut sg1, mut sg2, mut sg3] = chain(plan);
        a.send_and_poll(number(0), INSIDE, &syn(plan, true));
        pass_on(&a, OUTSIDE, &mut sg1, OUTSIDE);
        pass_on(&sg1, INSIDE, &mut sg2, OUTSIDE);
        pass_on(&sg2, INSIDE, &mut sg3, OUTSIDE);
        assert_eq!(mss(&sg3.receive(INSIDE)[0]), expected, "{plan:?}");
        sg3.send_and_poll(number(3), INSIDE, &syn(plan, false));
        pass_on(&sg3, OUTSIDE, &mut sg2, INSIDE);
        pass_on(&sg2, OUTSIDE, &mut sg1, INSIDE);
        pass_on(&sg1, OUTSIDE, &mut a, OUTSIDE);
        assert_eq!(mss(&a.receive(INSIDE)[0]), expected, "{plan:?}");
    }
}

/// What SG3, SG2 and SG1 would send for one packet of B: levels 1, 2 and 3, each with those below inside.
fn layers(plan: Plan) -> [Vec<u8>; LEVELS] {
    let [_, mut sg1, mut sg2, mut sg3] = chain(plan);
    sg3.send_and_poll(number(3), INSIDE, &plan.answer(100));
    let one = pass_on(&sg3, OUTSIDE, &mut sg2, INSIDE).remove(0);
    let two = pass_on(&sg2, OUTSIDE, &mut sg1, INSIDE).remove(0);
    [one, two, sg1.receive(OUTSIDE).remove(0)]
}

/// Somebody at SG1 who has an SA to A that may carry anything to it, and puts this into it.
fn smuggled(sa: &OutboundSa, packet: &[u8]) -> Vec<u8> {
    let mut gateway = node(1, ruled(0, sa.selector), 1);
    gateway.submit(Command::InstallOutbound(Box::new(sa.clone())));
    gateway.submit(Command::Bind { rule: RuleId(0), stack: vec![sa.id] });
    gateway.send_and_poll(number(1), INSIDE, packet);
    gateway.receive(OUTSIDE).remove(0)
}

#[test] // NT-34, F-25
fn an_inner_sa_without_its_outer_is_refused_and_loses_nothing_by_it() {
    for workers in [1, 3] {
        let plan = Plan::default();
        let mut a = stacked(plan, LEVELS, workers);
        let [one, two, three] = layers(plan);
        a.send_and_poll(number(0), OUTSIDE, &one);
        a.send_and_poll(number(0), OUTSIDE, &two);
        a.assert_drops(&[(DropReason::WrongCarrier, 2)]);
        assert_eq!(a.tally(Tally::Opened), 0, "refused before anything is decrypted");
        assert!(a.receive(INSIDE).is_empty());
        // The numbers are still good for the packet that comes the right way.
        a.send_and_poll(number(0), OUTSIDE, &three);
        assert_eq!(a.receive(INSIDE).len(), 1, "{workers} workers");
    }
}

#[test] // NT-34, F-25
fn an_inner_sa_through_another_tunnel_or_past_one_is_refused() {
    for workers in [1, 3] {
        let plan = Plan::default();
        let [one, two, three] = layers(plan);
        let mut wide = back(plan, 3);
        wide.selector = between("0.0.0.0/0", "192.0.2.1/32");
        // The same peer, addresses and selectors, but another rule's tunnel.
        let mut other = wide.clone();
        (other.id, other.spi, other.keys) = (SaId(77), Spi(0x7777), keys(other.transform, 0x77));
        let mut a = stacked(plan, LEVELS, workers);
        a.submit(Command::InstallInbound(Box::new(received(&wide, 3, Carrier::Network))));
        a.submit(Command::InstallInbound(Box::new(received(&other, 7, Carrier::Network))));
        a.poll();
        let hostile = [
            ("level 2 through another tunnel", smuggled(&other, &two)),
            ("level 1 through another tunnel", smuggled(&other, &one)),
            ("level 1 out of level 3, past level 2", smuggled(&wide, &one)),
            ("the outermost level inside a tunnel", smuggled(&other, &three)),
        ];
        for (at, (what, packet)) in hostile.into_iter().enumerate() {
            // Each is the first of its maker; only what is inside is in question.
            a.submit(Command::InstallInbound(Box::new(received(&wide, 3, Carrier::Network))));
            a.submit(Command::InstallInbound(Box::new(received(&other, 7, Carrier::Network))));
            a.send_and_poll(number(0), OUTSIDE, &packet);
            assert!(a.receive(INSIDE).is_empty(), "{what}");
            a.assert_drops(&[(DropReason::WrongCarrier, at as u64 + 1)]);
        }
        a.submit(Command::InstallInbound(Box::new(received(&wide, 3, Carrier::Network))));
        a.send_and_poll(number(0), OUTSIDE, &three);
        assert_eq!(a.receive(INSIDE).len(), 1);
    }
}

#[test] // NT-34, F-25
fn each_layer_is_checked_against_the_selectors_of_its_own_sa() {
    for level in 1..=LEVELS {
        let plan = Plan::default();
        let mut a = stacked(plan, LEVELS, 1);
        let mut narrow = received_by_a(plan, level, LEVELS);
        narrow.selector = between("198.51.100.0/24", "0.0.0.0/0");
        a.submit(Command::InstallInbound(Box::new(narrow)));
        a.send_and_poll(number(0), OUTSIDE, &layers(plan)[2]);
        a.assert_drops(&[(DropReason::SelectorMismatch, 1)]);
        assert_eq!(a.tally(Tally::Opened), (LEVELS - level + 1) as u64);
        assert!(a.receive(INSIDE).is_empty());
    }
}

#[test] // NT-34
fn an_outer_sa_may_have_a_successor_without_the_inner_ones_being_touched() {
    let plan = Plan::default();
    let [_, two, _] = layers(plan);
    let mut successor = back(plan, 3);
    (successor.id, successor.spi) = (SaId(33), Spi(0x3333));
    let mut a = stacked(plan, LEVELS, 1);
    a.submit(Command::InstallInbound(Box::new(received(&successor, 3, Carrier::Network))));
    a.submit(Command::Remove(received_by_a(plan, 3, LEVELS).id));
    a.send_and_poll(number(0), OUTSIDE, &smuggled(&successor, &two));
    assert_eq!(a.receive(INSIDE).len(), 1);
    a.assert_drops(&[]);
}

/// The commands that make a stack of three, in any order.
fn publication(plan: Plan) -> Vec<(&'static str, Command)> {
    let install = |level| Command::InstallOutbound(Box::new(forth(plan, level)));
    let stack = (1..=LEVELS).map(|level| forth(plan, level).id).collect();
    vec![
        ("level 1", install(1)),
        ("level 2", install(2)),
        ("level 3", install(3)),
        ("bound", Command::Bind { rule: RuleId(1), stack }),
    ]
}

#[test] // NT-31, F-24
fn no_packet_uses_a_stack_before_all_of_it_is_there_in_whatever_order_it_comes() {
    let plan = Plan::default();
    for order in 0..24 {
        let mut a = node(0, ruled(1, plan.selector(1)), 1);
        let mut commands = publication(plan);
        let mut left = order;
        while !commands.is_empty() {
            let (what, command) = commands.remove(left % commands.len());
            left /= commands.len() + 1;
            a.submit(command);
            a.send_and_poll(number(0), INSIDE, &plan.packet(100));
            let out = a.receive(OUTSIDE);
            assert_eq!(out.len(), usize::from(commands.is_empty()), "order {order}, after {what}");
            assert!(out.iter().all(|packet| esp(packet).2 == 0x1003));
        }
        // Nothing was spent on what did not leave.
        assert_eq!((a.tally(Tally::Sealed), a.dropped(DropReason::NoSa)), (3, 3));
    }
}

#[test] // NT-31, NT-32, F-24
fn with_one_sa_gone_the_whole_stack_stands_still_until_it_is_whole_again() {
    let plan = Plan::default();
    for level in 1..=LEVELS {
        let mut a = stacked(plan, LEVELS, 1);
        let acquires = |a: &mut Gateway| {
            let events = a.take_events();
            events.iter().filter(|event| matches!(event, Event::Acquire { .. })).count()
        };
        a.submit(Command::Remove(forth(plan, level).id));
        for _ in 0..3 {
            a.send_and_poll(number(0), INSIDE, &plan.packet(100));
        }
        assert!(a.receive(OUTSIDE).is_empty(), "without level {level}");
        assert_eq!((a.tally(Tally::Sealed), acquires(&mut a)), (0, 1));
        a.assert_drops(&[(DropReason::NoSa, 3)]);
        let mut successor = forth(plan, level);
        (successor.id, successor.spi) = (SaId(40), Spi(0x4000));
        let stack = (1..=LEVELS).map(|at| if at == level { SaId(40) } else { forth(plan, at).id }).collect();
        a.submit(Command::InstallOutbound(Box::new(successor)));
        a.send_and_poll(number(0), INSIDE, &plan.packet(100));
        assert!(a.receive(OUTSIDE).is_empty(), "it is there, but not bound");
        a.submit(Command::Bind { rule: RuleId(1), stack });
        a.send_and_poll(number(0), INSIDE, &plan.packet(100));
        assert_eq!(a.receive(OUTSIDE).len(), 1);
        // Unbound first, then removed: the order of every rollback.
        a.submit(Command::Bind { rule: RuleId(1), stack: vec![] });
        a.send_and_poll(number(0), INSIDE, &plan.packet(100));
        assert!(a.receive(OUTSIDE).is_empty());
    }
}

/// Two workers; level 1 is worker 1's and levels 2 and 3 are worker 0's. A packet has its first level when the rule is bound
/// to another stack.
fn overtaken(plan: Plan, change: impl FnOnce(&mut Gateway)) -> Gateway {
    let mut a = stacked(plan, 2, 2);
    let framed = frame(mac(number(0), INSIDE), &plan.packet(100));
    assert!(a.links[1][INSIDE].send(&framed));
    a.workers[1].poll(a.now);
    assert_eq!(a.tally(Tally::Sealed), 1);
    change(&mut a);
    a.poll();
    a
}

#[test] // NT-31, F-24
fn a_packet_that_a_new_stack_overtakes_between_two_workers_is_no_mixture_of_both() {
    let plan = Plan::default();
    let other = |level: usize| {
        let mut sa = forth(plan, level);
        (sa.id, sa.spi, sa.rule) =
            (SaId(40 + level as u64), Spi(0x4000 + level as u32), RuleId(level as u32));
        sa
    };
    let bind = |a: &mut Gateway, stack: &[u64]| {
        (1..=2).for_each(|level| {
            a.submit(Command::InstallOutbound(Box::new(other(level))));
        });
        a.submit(Command::Bind { rule: RuleId(1), stack: stack.iter().copied().map(SaId).collect() });
    };
    let a = overtaken(plan, |_| ());
    assert_eq!(esp(&a.receive(OUTSIDE)[0]).2, 0x1002);
    for stack in [&[41, 42][..], &[11], &[12, 11]] {
        let mut a = overtaken(plan, |a| bind(a, stack));
        assert!(a.receive(OUTSIDE).is_empty());
        a.assert_drops(&[(DropReason::StackChanged, 1)]);
        assert!(!a.take_events().iter().any(|event| matches!(event, Event::Acquire { .. })));
    }
    // Only the outer level has a successor: what is inside fits, and nothing is lost.
    let a = overtaken(plan, |a| bind(a, &[11, 42]));
    assert_eq!(esp(&a.receive(OUTSIDE)[0]).2, 0x4002);
    a.assert_drops(&[]);
}

#[test] // NT-28, F-27
fn eight_levels_of_either_family_raw_or_in_udp_fit_into_a_frame_and_a_ninth_is_one_too_many() {
    for (outer_ipv6, encapsulation) in
        [(false, Encapsulation::Raw), (true, Encapsulation::Raw), (false, UDP_4500), (true, UDP_4500)]
    {
        let plan = Plan { inner_ipv6: false, outer_ipv6: [outer_ipv6; LEVELS] };
        for levels in 8..=9 {
            let mut a = node(0, ruled(1, plan.selector(1)), 1);
            let mut stack = Vec::new();
            for level in 0..levels {
                // All but the innermost go the same way; here only their headers count.
                let mut sa = forth(plan, if level == 0 { 1 } else { 2 });
                (sa.id, sa.spi, sa.remote) = (SaId(50 + level), Spi(0x5000 + level as u32), plan.gateway(1));
                sa.encapsulation = encapsulation;
                stack.push(sa.id);
                a.submit(Command::InstallOutbound(Box::new(sa)));
            }
            a.submit(Command::Bind { rule: RuleId(1), stack });
            a.send_and_poll(number(0), INSIDE, &plan.packet(40));
            let sent = a.receive(OUTSIDE).len();
            assert_eq!(sent, usize::from(levels == 8), "{levels} of IPv6 {outer_ipv6}, {encapsulation:?}");
            let refused = usize::from(levels == 9);
            let drops = a.dropped(DropReason::TooDeep) + a.dropped(DropReason::NoRoom);
            assert_eq!(drops, refused as u64);
        }
    }
}
