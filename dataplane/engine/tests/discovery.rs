//! Discovery in transit: what is caught, what passes untouched, what control sends, and what a rule that discovers asks.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use proptest::prelude::*;
use std::net::IpAddr;
use std::time::Duration;
use warren_engine::limits::{PASSING_BURST, PROBES_BURST, PROBES_PER_SECOND, SOUGHT_BURST, STRAYS_BURST};
use warren_engine::packet::{icmp, ipv4, isakmp, protocol, udp};
use warren_engine::{DropReason, EnginePort, Settings, Tally, WorkerParts, build};
use warren_policy::{Gateway as Towards, RuleId, TransportAction};
use warren_port::{Link, MemoryPort, Umem, UmemConfig};
use warren_seam::limits::CAUGHT_OCTETS_MAX;
use warren_seam::{Catch, Caught, Command, Discovery, Entry, Event, FiveTuple, Injected, PortIndex, Side};

const OUTSIDE_PORT: PortIndex = PortIndex(OUTSIDE as u16);
const INSIDE_PORT: PortIndex = PortIndex(INSIDE as u16);
/// From the far site to ours, and from ours to the far site, in both families.
const INWARD: [(&str, &str); 2] = [("10.2.0.2", "10.1.0.2"), ("2001:db8:2::2", "2001:db8:1::2")];
const OUTWARD: [(&str, &str); 2] = [("10.1.0.2", "10.2.0.2"), ("2001:db8:1::2", "2001:db8:2::2")];

/// A message with an ISAKMP header of that version, exchange type and flags, and so many octets in all.
fn message(version: u8, exchange: u8, flags: u8, octets: usize) -> Vec<u8> {
    let mut message: Vec<u8> = (0..octets).map(|at| (at * 5 + 1) as u8).collect();
    for (at, value) in [(17, version), (18, exchange), (19, flags)] {
        if let Some(octet) = message.get_mut(at) {
            *octet = value;
        }
    }
    message
}

fn datagram(like: &Udp<'_>, payload: &[u8]) -> Vec<u8> {
    let mut datagram = vec![0; udp::HEADER_OCTETS];
    udp::emit(&mut datagram, like.ports.0, like.ports.1, udp::HEADER_OCTETS + payload.len());
    datagram.extend(payload);
    ip_packet(like, protocol::UDP, &datagram)
}

fn isakmp((from, to): (&str, &str), ports: (u16, u16), message: &[u8]) -> Vec<u8> {
    datagram(&Udp { from, to, ports, ..Udp::default() }, message)
}

fn probe(between: (&str, &str)) -> Vec<u8> {
    isakmp(between, (500, 500), &message(0x10, isakmp::PROBE, 0, 300))
}

fn response(between: (&str, &str)) -> Vec<u8> {
    isakmp(between, (500, 500), &message(0x10, isakmp::RESPONSE, 0, 300))
}

/// Gateway 1 with both tunnels up, which answers probes from outside and has some of its own on their way.
fn gateway() -> Gateway {
    let mut one = Gateway::site(1);
    establish(&mut one, 1, Scheme::default());
    look_for(&mut one, true, &[OUTSIDE_PORT], true);
    one
}

fn look_for(gateway: &mut Gateway, is_on: bool, answers: &[PortIndex], asks: bool) {
    gateway.submit(Command::Discovery(Discovery { is_on, answers: answers.to_vec(), asks }));
    gateway.poll();
}

fn inject(gateway: &mut Gateway, entry: Entry, packet: &[u8]) {
    gateway.submit(Command::Inject(Box::new(Injected { entry, packet: packet.to_vec() })));
    gateway.poll();
}

fn caught(gateway: &mut Gateway) -> Vec<Caught> {
    let events = gateway.take_events().into_iter();
    events.filter_map(|event| if let Event::Caught(caught) = event { Some(*caught) } else { None }).collect()
}

fn assert_silent(gateway: &Gateway) {
    assert!(gateway.receive(INSIDE).is_empty());
    assert!(gateway.receive(OUTSIDE).is_empty());
    assert!(gateway.kernel().is_empty());
}

#[test] // TED-29, TED-31
fn a_probe_that_comes_by_an_answering_port_is_shown_to_control_and_goes_no_further() {
    for between in INWARD {
        let mut one = gateway();
        let packet = probe(between);
        one.send_and_poll(1, OUTSIDE, &packet);
        assert_silent(&one);
        one.assert_drops(&[]);
        assert_eq!((one.tally(Tally::Caught), one.tally(Tally::Discovery)), (1, 0));
        let seen = summary(&packet);
        let expected = Caught {
            catch: Catch::Probe,
            port: OUTSIDE_PORT,
            tuple: seen.tuple,
            upper_at: seen.upper_at as u16,
            packet,
        };
        assert_eq!(caught(&mut one), [expected]);
    }
}

#[test] // TED-31, F-14
fn discovery_messages_of_others_pass_in_clear_and_untouched_whatever_the_rules_say() {
    let discarded = ("10.1.0.2", "10.9.0.2");
    let cases = [
        // A probe by a port that does not answer, and a response by one that does.
        (OUTSIDE, INSIDE, vec![], [probe(INWARD[0]), probe(INWARD[1])]),
        (OUTSIDE, INSIDE, vec![OUTSIDE_PORT], [response(INWARD[0]), response(INWARD[1])]),
        // Inside ports never answer, even if somebody says so.
        (INSIDE, OUTSIDE, vec![OUTSIDE_PORT, INSIDE_PORT], [probe(OUTWARD[0]), probe(OUTWARD[1])]),
        (INSIDE, OUTSIDE, vec![], [response(OUTWARD[0]), response(OUTWARD[1])]),
        (INSIDE, OUTSIDE, vec![], [probe(discarded), response(discarded)]),
    ];
    for (from, to, answers, packets) in cases {
        let mut one = gateway();
        look_for(&mut one, true, &answers, true);
        for packet in &packets {
            one.send_and_poll(1, from, packet);
            // Not a bit but the hop and its checksum.
            assert_eq!(one.receive(to), [after_hops(packet, 1)]);
        }
        one.assert_drops(&[]);
        assert_eq!((one.tally(Tally::Sealed), one.tally(Tally::Discovery)), (0, 2));
        assert!(one.take_events().is_empty());
    }
}

#[test] // TED-31
fn what_our_own_kernel_sends_passes_too_and_pays_no_hop() {
    let mut one = gateway();
    for packet in [response(OUTWARD[0]), probe(OUTWARD[1])] {
        assert!(one.links[0][2].send(&packet));
        one.poll();
        assert_eq!(one.receive(OUTSIDE), [packet]);
    }
    assert_eq!(one.tally(Tally::Sealed), 0);
}

#[test] // TED-29
fn a_probe_to_ourselves_is_no_transit_and_reaches_the_kernel() {
    let mut one = gateway();
    let packet = probe(("10.2.0.2", "192.0.2.1"));
    one.send_and_poll(1, OUTSIDE, &packet);
    assert_eq!(one.kernel(), [packet]);
    assert!(one.take_events().is_empty());
}

/// Datagrams that resemble a probe, and why they are none.
fn lookalikes(between: (&str, &str)) -> Vec<(&'static str, Vec<u8>)> {
    let probe = |version, flags, octets| message(version, isakmp::PROBE, flags, octets);
    let mut cut = datagram(
        &Udp { from: between.0, to: between.1, ports: (500, 500), ..Udp::default() },
        &probe(0x10, 0, 300),
    );
    // Its UDP header says that there is more of it than there is.
    let at = summary(&cut).upper_at;
    cut[at + 4..at + 6].copy_from_slice(&400u16.to_be_bytes());
    vec![
        ("ME_CONNECT of version 2", isakmp(between, (500, 500), &probe(0x20, 0, 300))),
        ("another version", isakmp(between, (500, 500), &probe(0x30, 0, 300))),
        ("encrypted", isakmp(between, (500, 500), &probe(0x10, 1, 300))),
        ("half a header", isakmp(between, (500, 500), &probe(0x10, 0, 27))),
        ("nothing", isakmp(between, (500, 500), &[])),
        ("another port", isakmp(between, (500, 501), &probe(0x10, 0, 300))),
        ("to another port", isakmp(between, (501, 4500), &probe(0x10, 0, 300))),
        ("another exchange", isakmp(between, (501, 500), &message(0x10, 2, 0, 300))),
        ("a UDP length that lies", cut),
    ]
}

#[test] // TED-62, TED-29
fn what_only_resembles_a_probe_is_judged_as_usual() {
    for (inward, outward) in INWARD.into_iter().zip(OUTWARD) {
        let mut one = gateway();
        for (at, (why, packet)) in lookalikes(inward).into_iter().enumerate() {
            one.send_and_poll(1, OUTSIDE, &packet);
            assert_eq!(one.dropped(DropReason::ClearTextInbound), at as u64 + 1, "{why}");
        }
        for (at, (why, packet)) in lookalikes(outward).into_iter().enumerate() {
            one.send_and_poll(1, INSIDE, &packet);
            assert_eq!(one.tally(Tally::Sealed), at as u64 + 1, "{why}");
        }
        assert!(one.receive(OUTSIDE).iter().all(|packet| summary(packet).tuple.protocol == protocol::ESP));
        assert_eq!(one.tally(Tally::Discovery), 0);
        assert!(caught(&mut one).is_empty());
    }
}

#[test] // F-30, TED-29
fn a_fragment_of_a_probe_is_judged_as_usual() {
    let mut one = gateway();
    for (offset, more) in [(0, true), (8, false)] {
        let mut piece = probe(INWARD[0]);
        let octets = piece.len();
        ipv4::set_fragment(&mut piece, octets, offset, more);
        one.send_and_poll(1, OUTSIDE, &piece);
    }
    one.assert_drops(&[(DropReason::ClearTextInbound, 2)]);
    assert!(one.take_events().is_empty());
}

#[test] // TED-31
fn with_discovery_off_a_probe_is_a_packet_like_any_other() {
    let mut one = gateway();
    look_for(&mut one, false, &[OUTSIDE_PORT], false);
    one.send_and_poll(1, OUTSIDE, &probe(INWARD[0]));
    one.assert_drops(&[(DropReason::ClearTextInbound, 1)]);
    one.send_and_poll(1, INSIDE, &probe(OUTWARD[0]));
    assert_eq!(one.tally(Tally::Sealed), 1);
    assert!(caught(&mut one).is_empty());
}

#[test] // TED-29
fn what_comes_out_of_a_tunnel_is_judged_whatever_it_looks_like() {
    let (mut one, mut two) = established_pair(Scheme::default());
    look_for(&mut two, true, &[OUTSIDE_PORT], true);
    let packet = probe(OUTWARD[0]);
    one.send_and_poll(1, INSIDE, &packet);
    carry(&one, &mut two);
    assert_eq!(two.receive(INSIDE), [after_hops(&packet, 2)]);
    assert_eq!((two.tally(Tally::Opened), two.tally(Tally::Discovery), two.tally(Tally::Caught)), (1, 0, 0));
}

#[test] // F-14
fn a_message_whose_hops_are_used_up_is_answered_like_any_packet() {
    let mut one = gateway();
    let (from, to) = INWARD[0];
    let last = Udp { from, to, ports: (500, 500), ttl: 1, ..Udp::default() };
    one.send_and_poll(1, OUTSIDE, &datagram(&last, &message(0x10, isakmp::RESPONSE, 0, 100)));
    one.assert_drops(&[(DropReason::TtlExpired, 1)]);
    let errors = one.receive(OUTSIDE);
    assert_eq!((errors.len(), errors[0][20]), (1, 11));
    // So is a probe that control lets go on: it loops no longer than anything else.
    inject(&mut one, Entry::Resume(OUTSIDE_PORT), &datagram(&last, &message(0x10, isakmp::PROBE, 0, 100)));
    assert_eq!(one.dropped(DropReason::TtlExpired), 2);
    assert!(one.receive(INSIDE).is_empty());
}

#[test] // TED-29, F-8
fn what_is_longer_than_any_discovery_message_is_dropped() {
    let mut one = gateway();
    for (from, exchange) in [(OUTSIDE, isakmp::PROBE), (OUTSIDE, isakmp::RESPONSE), (INSIDE, isakmp::PROBE)] {
        let between = if from == INSIDE { OUTWARD[0] } else { INWARD[0] };
        let packet = |octets: usize| isakmp(between, (500, 500), &message(0x10, exchange, 0, octets - 28));
        one.send_and_poll(1, from, &packet(CAUGHT_OCTETS_MAX));
        one.send_and_poll(1, from, &packet(CAUGHT_OCTETS_MAX + 1));
    }
    one.assert_drops(&[(DropReason::DiscoveryTooLong, 3)]);
    assert_eq!((one.tally(Tally::Caught), one.tally(Tally::Discovery)), (1, 2));
}

#[test] // F-8
fn a_flood_of_probes_is_dropped_at_its_rate_and_costs_the_tunnel_nothing() {
    let (mut one, mut two) = established_pair(Scheme::default());
    look_for(&mut two, true, &[OUTSIDE_PORT], false);
    let (burst, each) = (u64::from(PROBES_BURST), u64::from(PROBES_PER_SECOND) / 10);
    for round in 0..10u64 {
        two.now += Duration::from_millis(100);
        for _ in 0..1000 {
            two.send(2, OUTSIDE, &probe(OUTWARD[0]));
        }
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
        carry(&one, &mut two);
        assert_eq!(two.receive(INSIDE).len(), 1, "{round}");
    }
    let shown = caught(&mut two).len() as u64;
    assert_eq!(shown, burst + 9 * each);
    assert_eq!(shown, two.tally(Tally::Caught));
    two.assert_drops(&[(DropReason::ProbeRate, 10_000 - shown)]);
}

#[test] // TED-31, F-14
fn the_way_past_the_rules_is_narrow_and_a_flood_in_it_stops_no_probe_to_us() {
    let mut one = gateway();
    for _ in 0..1000 {
        one.send(1, INSIDE, &probe(OUTWARD[0]));
    }
    one.poll();
    let passed = one.receive(OUTSIDE).len();
    assert_eq!(passed, PASSING_BURST as usize);
    one.assert_drops(&[(DropReason::DiscoveryRate, 1000 - passed as u64)]);
    one.send_and_poll(1, OUTSIDE, &probe(INWARD[0]));
    one.send_and_poll(1, OUTSIDE, &unreachable(INWARD[0]));
    assert_eq!(caught(&mut one).len(), 2);
}

#[test] // F-8
fn probes_leave_room_for_other_events_where_control_does_not_read() {
    let mut one = gateway();
    for _ in 0..20 {
        one.now += Duration::from_secs(1);
        for _ in 0..64 {
            one.send(1, OUTSIDE, &probe(INWARD[0]));
        }
        while one.workers[0].poll(one.now) {}
        one.assert_conserved();
    }
    assert_eq!((one.tally(Tally::Caught), one.dropped(DropReason::ProbeLost)), (512, 768));
    assert_eq!(one.tally(Tally::EventsLost), 768);
    // An SA that goes is still asked for.
    one.submit(Command::Bind { rule: RuleId(0), stack: Vec::new() });
    one.send(1, INSIDE, &Udp::default().packet());
    one.poll();
    let events = one.take_events();
    assert_eq!(events.len(), 513);
    assert!(matches!(events.last(), Some(Event::Acquire { rule: RuleId(0), .. })));
}

/// An error by a router in between about a probe that somebody has sent the other way.
fn unreachable((from, to): (&str, &str)) -> Vec<u8> {
    error_about(&isakmp((to, from), (5000, 500), &message(0x10, isakmp::PROBE, 0, 300)))
}

fn error_about(quoted: &[u8]) -> Vec<u8> {
    let back = summary(quoted).tuple;
    match (ip("203.0.113.77"), ip("2001:db8:77::1"), back.source) {
        (IpAddr::V4(router), _, IpAddr::V4(to)) => {
            let mut octets = vec![0; icmp::octets_ipv4(quoted.len())];
            icmp::emit_ipv4(&mut octets, icmp::Error::NoRoute, router, to, 9, quoted);
            octets
        }
        (_, IpAddr::V6(router), IpAddr::V6(to)) => {
            let mut octets = vec![0; icmp::octets_ipv6(quoted.len())];
            icmp::emit_ipv6(&mut octets, icmp::Error::NoRoute, router, to, quoted);
            octets
        }
        _ => panic!("one family"),
    }
}

#[test] // TED-28
fn what_may_be_about_a_probe_of_ours_is_caught_only_while_we_ask_and_only_from_outside() {
    let ike = |between, version, exchange| isakmp(between, (500, 4000), &message(version, exchange, 8, 40));
    for (inward, outward) in INWARD.into_iter().zip(OUTWARD) {
        let mut one = gateway();
        let strays = [unreachable(inward), ike(inward, 0x10, 5), ike(inward, 0x20, 37)];
        for packet in &strays {
            one.send_and_poll(1, OUTSIDE, packet);
        }
        let seen = caught(&mut one);
        assert!(seen.iter().all(|seen| (seen.catch, seen.port) == (Catch::Stray, OUTSIDE_PORT)));
        assert_eq!(seen.into_iter().map(|seen| seen.packet).collect::<Vec<_>>(), strays);
        assert_silent(&one);
        // From inside they concern nobody but their receiver, and the rules say how they get there.
        one.send_and_poll(1, INSIDE, &ike(outward, 0x10, 5));
        assert_eq!(one.tally(Tally::Sealed), 1);
        one.send_and_poll(1, INSIDE, &unreachable(outward));
        one.assert_drops(&[(DropReason::NoRule, 1)]);
        look_for(&mut one, true, &[OUTSIDE_PORT], false);
        strays.iter().for_each(|packet| one.send_and_poll(1, OUTSIDE, packet));
        assert!(caught(&mut one).is_empty());
    }
}

#[test] // TED-28
fn errors_about_something_else_are_judged_as_usual_while_we_ask() {
    let mut one = gateway();
    let other_port = error_about(&isakmp(OUTWARD[0], (500, 501), &[0; 100]));
    let other_protocol = error_about(&ip_packet(&Udp::default(), protocol::TCP, &[1; 40]));
    let echo =
        ip_packet(&Udp { from: "10.2.0.2", to: "10.1.0.2", ..Udp::default() }, protocol::ICMP, &[8; 40]);
    let no_isakmp = isakmp(INWARD[0], (500, 4000), &[0; 20]);
    let me_connect = isakmp(INWARD[0], (500, 4000), &message(0x20, isakmp::PROBE, 0, 100));
    for packet in [other_port, other_protocol, echo, no_isakmp, me_connect] {
        one.send_and_poll(1, OUTSIDE, &packet);
    }
    // The errors come from a router in clear, to which no rule speaks of tunnels; the rest is clear text of the far site.
    assert_eq!(one.receive(INSIDE).len(), 2);
    one.assert_drops(&[(DropReason::ClearTextInbound, 3)]);
    assert!(one.take_events().is_empty());
}

#[test] // TED-28, F-8
fn strays_beyond_their_rate_go_the_way_of_any_packet() {
    let mut one = gateway();
    for _ in 0..200 {
        one.send(1, OUTSIDE, &isakmp(INWARD[0], (500, 4000), &message(0x10, 5, 0, 40)));
    }
    one.poll();
    let shown = caught(&mut one).len();
    assert_eq!(shown, STRAYS_BURST as usize);
    one.assert_drops(&[(DropReason::ClearTextInbound, 200 - shown as u64)]);
}

#[test] // TED-12, TED-13, TED-27
fn a_probe_of_ours_leaves_in_the_name_of_a_host_past_every_rule_and_pays_no_hop() {
    for between in [OUTWARD[0], OUTWARD[1], ("10.1.0.2", "10.9.0.2")] {
        let mut one = gateway();
        let packet = probe(between);
        inject(&mut one, Entry::Originate, &packet);
        assert_eq!(one.receive(OUTSIDE), [packet]);
        one.assert_drops(&[]);
        let counted = [Tally::Injected, Tally::Discovery, Tally::Sealed].map(|tally| one.tally(tally));
        assert_eq!(counted, [1, 1, 0]);
    }
}

#[test] // TED-28
fn a_probe_of_ours_that_finds_no_way_is_reported_to_no_host() {
    let mut one = gateway();
    let mut narrow = table(1);
    narrow.ports[OUTSIDE].mtu = 200;
    one.submit(Command::Forwarding(narrow));
    inject(&mut one, Entry::Originate, &probe(OUTWARD[0]));
    let mut cut_off = table(1);
    cut_off.routes.retain(|route| route.port == INSIDE_PORT);
    one.submit(Command::Forwarding(cut_off));
    inject(&mut one, Entry::Originate, &probe(OUTWARD[0]));
    one.assert_drops(&[(DropReason::TooBig, 1), (DropReason::NoRoute, 1)]);
    assert_silent(&one);
    assert_eq!(one.tally(Tally::IcmpSent), 0);
}

#[test] // TED-31
fn a_probe_that_control_lets_go_on_goes_on_untouched() {
    for between in INWARD {
        let mut one = gateway();
        one.send_and_poll(1, OUTSIDE, &probe(between));
        let seen = caught(&mut one).remove(0);
        inject(&mut one, Entry::Resume(seen.port), &seen.packet);
        assert_eq!(one.receive(INSIDE), [after_hops(&probe(between), 1)]);
        assert!(one.take_events().is_empty());
        one.assert_drops(&[]);
    }
}

#[test] // TED-28
fn a_stray_that_control_lets_go_on_is_judged_and_not_caught_again() {
    let ike = isakmp(INWARD[1], (500, 4000), &message(0x10, 5, 0, 40));
    for (packet, reaches) in [(unreachable(INWARD[0]), true), (ike, false)] {
        let mut one = gateway();
        one.send_and_poll(1, OUTSIDE, &packet);
        let seen = caught(&mut one).remove(0);
        inject(&mut one, Entry::Judge(seen.port), &seen.packet);
        let passed = if reaches { vec![after_hops(&packet, 1)] } else { Vec::new() };
        assert_eq!(one.receive(INSIDE), passed);
        assert_eq!(one.dropped(DropReason::ClearTextInbound), u64::from(!reaches));
        assert!(one.take_events().is_empty());
    }
}

#[test] // TED-27
fn what_control_sends_and_is_no_packet_is_dropped_and_counted() {
    let mut one = gateway();
    let mut wrong = probe(OUTWARD[0]);
    wrong[11] ^= 1;
    for (packet, reason) in [
        (&[][..], DropReason::Malformed),
        (&[0x10; 40][..], DropReason::NotIp),
        (&probe(OUTWARD[0])[..100], DropReason::Malformed),
        (&wrong, DropReason::HeaderChecksum),
        (&[0x45; 5000], DropReason::NoRoom),
    ] {
        let before = one.dropped(reason);
        inject(&mut one, Entry::Originate, packet);
        assert_eq!(one.dropped(reason), before + 1, "{reason}");
    }
    assert_silent(&one);
    // What lies behind its end is no part of it.
    let longer = [probe(OUTWARD[0]), vec![0xEE; 9]].concat();
    inject(&mut one, Entry::Originate, &longer);
    assert_eq!(one.receive(OUTSIDE), [probe(OUTWARD[0])]);
}

/// Two workers, each with one of the ports, so that what comes by one has to be handed to the other.
fn divided() -> Gateway {
    let mut parts = Vec::new();
    let mut links = Vec::new();
    for own in [INSIDE, OUTSIDE] {
        let config = UmemConfig { frames: 256, frame_octets: 2048, headroom: 256, huge_pages: false };
        let (port, _) = MemoryPort::pair("tun", Link::Ip, 64);
        let mut worker = WorkerParts { umem: Umem::new(&config).unwrap(), ports: Vec::new(), tun: None };
        let mut ends = Vec::new();
        for index in [INSIDE, OUTSIDE] {
            let (port, link) = MemoryPort::pair("port", Link::Ethernet, 64);
            ends.push(link);
            if index == own {
                worker.ports.push(EnginePort { index: PortIndex(index as u16), port: Box::new(port) });
            }
        }
        worker.tun = (own == INSIDE).then_some(Box::new(port) as Box<dyn warren_port::Port>);
        parts.push(worker);
        links.push(ends);
    }
    let (handle, workers) = build(parts, &Settings::default()).unwrap();
    let mut gateway = Gateway { handle, workers, links, now: Duration::from_secs(1), events: Vec::new() };
    gateway.submit(Command::Forwarding(table(1)));
    gateway.submit(Command::Rules(rules(1)));
    establish(&mut gateway, 1, Scheme::default());
    look_for(&mut gateway, true, &[OUTSIDE_PORT], true);
    gateway
}

#[test] // TED-27, TED-31
fn a_packet_from_control_is_sent_once_and_leaves_by_the_worker_that_has_the_port() {
    let mut one = divided();
    inject(&mut one, Entry::Originate, &probe(OUTWARD[0]));
    assert_eq!(one.receive(OUTSIDE), [probe(OUTWARD[0])]);
    assert_eq!((one.tally(Tally::Injected), one.tally(Tally::Handed)), (1, 1));
    // Probes caught by the other worker come back by the first.
    assert!(one.links[1][OUTSIDE].send(&frame(mac(1, OUTSIDE), &probe(INWARD[0]))));
    one.poll();
    let seen = caught(&mut one).remove(0);
    inject(&mut one, Entry::Resume(seen.port), &seen.packet);
    assert_eq!(one.receive(INSIDE), [after_hops(&probe(INWARD[0]), 1)]);
}

#[test] // TED-31, F-14
fn a_message_that_waits_for_its_neighbour_is_not_judged_by_new_rules() {
    for workers in [1, 2] {
        let mut one = if workers == 1 { gateway() } else { divided() };
        let mut silent = table(1);
        silent.neighbours.retain(|known| known.port == INSIDE_PORT);
        one.submit(Command::Forwarding(silent));
        one.poll();
        one.send_and_poll(1, INSIDE, &probe(OUTWARD[0]));
        assert_eq!(one.counters().held(), 1);
        one.submit(Command::Rules(rules(1)));
        one.poll();
        assert_eq!((one.counters().held(), one.tally(Tally::Sealed)), (1, 0));
        one.submit(Command::Forwarding(table(1)));
        one.poll();
        assert_eq!(one.receive(OUTSIDE), [after_hops(&probe(OUTWARD[0]), 1)]);
    }
}

#[test] // TED-31
fn every_piece_of_a_message_that_had_to_be_cut_passes() {
    let mut one = gateway();
    let mut narrow = table(1);
    narrow.ports[OUTSIDE].mtu = 200;
    narrow.neighbours.retain(|known| known.port == INSIDE_PORT);
    one.submit(Command::Forwarding(narrow));
    let (from, to) = OUTWARD[0];
    let whole = Udp { from, to, ports: (500, 500), dont_fragment: false, ..Udp::default() };
    one.send_and_poll(1, INSIDE, &datagram(&whole, &message(0x10, isakmp::PROBE, 0, 300)));
    // Later fragments show no ports, and the rules would have none of them in clear.
    one.submit(Command::Rules(rules(1)));
    one.submit(Command::Forwarding(table(1)));
    one.poll();
    assert_eq!(one.receive(OUTSIDE).len(), 2);
    assert_eq!(one.tally(Tally::Sealed), 0);
}

/// Rule 0 discovers the gateway in front of the far site, rule 1 as well and for IPv6.
fn seeker(workers: usize) -> Gateway {
    let mut one = Gateway::new(workers, &Settings::default());
    one.submit(Command::Forwarding(table(1)));
    let mut set = rules(1);
    set.tunnel.iter_mut().for_each(|rule| rule.gateway = Towards::Discover);
    one.submit(Command::Rules(set));
    one.poll();
    one
}

fn to(destination: &str) -> Vec<u8> {
    Udp { to: destination, ..Udp::default() }.packet()
}

fn acquired(gateway: &mut Gateway) -> Vec<(RuleId, FiveTuple)> {
    let acquire =
        |event| if let Event::Acquire { rule, packet } = event { Some((rule, packet)) } else { None };
    gateway.take_events().into_iter().filter_map(acquire).collect()
}

#[test] // TED-4, TED-5, TED-7
fn a_rule_that_discovers_drops_its_packets_and_tells_of_each_destination() {
    let mut one = seeker(1);
    for _ in 0..3 {
        for destination in ["10.2.0.2", "10.2.0.3"] {
            one.send_and_poll(1, INSIDE, &to(destination));
        }
        one.now += Duration::from_millis(80);
    }
    let told = |packets: &[Vec<u8>]| -> Vec<_> {
        packets.iter().map(|packet| (RuleId(0), summary(packet).tuple)).collect()
    };
    assert_eq!(acquired(&mut one), told(&[to("10.2.0.2"), to("10.2.0.3")]));
    // Traffic that goes on is told of again, because a probe is repeated only then.
    one.now += Duration::from_millis(10);
    one.send_and_poll(1, INSIDE, &to("10.2.0.3"));
    assert_eq!(acquired(&mut one), told(&[to("10.2.0.3")]));
    let (from, to) = OUTWARD[1];
    one.send_and_poll(1, INSIDE, &Udp { from, to, ..Udp::default() }.packet());
    assert_eq!(acquired(&mut one)[0].0, RuleId(1));
    one.assert_drops(&[(DropReason::Discovering, 8)]);
    assert_silent(&one);
}

#[test] // TED-4
fn a_rule_that_discovers_cannot_be_bound_and_rearming_it_changes_nothing() {
    let mut one = seeker(1);
    let sa = outbound(Scheme::default(), 1, 0);
    let stack = vec![sa.id];
    one.submit(Command::InstallOutbound(Box::new(sa)));
    one.submit(Command::Bind { rule: RuleId(0), stack });
    one.submit(Command::Rearm(RuleId(0)));
    one.send_and_poll(1, INSIDE, &to("10.2.0.2"));
    one.assert_drops(&[(DropReason::Discovering, 1)]);
    assert_eq!(acquired(&mut one).len(), 1);
    assert_silent(&one);
}

#[test] // TED-3, TED-5
fn what_was_found_stands_in_front_of_the_rule_and_takes_its_traffic() {
    let mut one = seeker(1);
    one.send_and_poll(1, INSIDE, &to("10.2.0.2"));
    let mut set = rules(1);
    set.tunnel.iter_mut().for_each(|rule| rule.gateway = Towards::Discover);
    set.tunnel.insert(0, tunnel(9, between("10.1.0.0/16", "10.2.0.0/24")));
    one.submit(Command::Rules(set));
    let mut sa = outbound(Scheme::default(), 1, 0);
    sa.rule = RuleId(9);
    let stack = vec![sa.id];
    one.submit(Command::InstallOutbound(Box::new(sa)));
    one.submit(Command::Bind { rule: RuleId(9), stack });
    one.send_and_poll(1, INSIDE, &to("10.2.0.2"));
    one.send_and_poll(1, INSIDE, &to("10.2.1.2"));
    assert_eq!(
        one.receive(OUTSIDE).iter().map(|packet| summary(packet).tuple.protocol).collect::<Vec<_>>(),
        [50]
    );
    assert_eq!(acquired(&mut one).len(), 2);
    one.assert_drops(&[(DropReason::Discovering, 2)]);
}

#[test] // TED-7
fn a_wish_from_before_its_rule_is_gone_is_no_news() {
    let mut one = seeker(1);
    one.send(1, INSIDE, &to("10.2.0.2"));
    one.workers[0].poll(one.now);
    let mut set = rules(1);
    set.tunnel.clear();
    one.submit(Command::Rules(set));
    one.poll();
    assert!(one.take_events().is_empty());
    // Nor is it when the identifier means another rule by then.
    let mut one = seeker(1);
    one.send(1, INSIDE, &to("10.2.0.2"));
    one.workers[0].poll(one.now);
    one.submit(Command::Rules(rules(1)));
    one.poll();
    assert!(one.take_events().is_empty());
}

#[test] // TED-7
fn every_worker_tells_of_what_it_sees() {
    let mut one = seeker(2);
    for worker in 0..2 {
        for _ in 0..3 {
            assert!(one.links[worker][INSIDE].send(&frame(mac(1, INSIDE), &to("10.2.0.2"))));
        }
    }
    one.poll();
    assert_eq!(acquired(&mut one).len(), 2);
    one.assert_drops(&[(DropReason::Discovering, 6)]);
}

#[test] // TED-7, F-12
fn a_scan_behind_a_rule_that_discovers_is_told_at_a_bounded_rate_and_starves_no_other_event() {
    let mut one = seeker(1);
    let mut set = rules(1);
    set.tunnel[0].gateway = Towards::Discover;
    set.transport.insert(0, transport(between("10.1.0.0/16", "10.7.0.0/16"), TransportAction::Permit));
    set.tunnel.push(tunnel(5, between("10.1.0.0/16", "10.7.0.0/16")));
    one.submit(Command::Rules(set));
    for host in 0..2000 {
        one.send(1, INSIDE, &to(&format!("10.2.{}.{}", 1 + host / 250, 1 + host % 250)));
    }
    one.send(1, INSIDE, &to("10.7.0.1"));
    one.poll();
    let told = acquired(&mut one);
    let scan = told.iter().filter(|(rule, _)| *rule == RuleId(0)).count();
    assert_eq!((scan, told.len()), (SOUGHT_BURST as usize, scan + 1));
    assert_eq!(one.tally(Tally::AcquireLimited), 2000 - scan as u64);
    one.assert_drops(&[(DropReason::Discovering, 2000), (DropReason::NoSa, 1)]);
    assert_silent(&one);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test] // F-36, TED-31
    fn nothing_but_discovery_messages_passes_a_rule_that_protects(
        ipv6 in any::<bool>(), outside in any::<bool>(), response in any::<bool>(), asks in any::<bool>(),
        changes in prop::collection::vec((0usize..200, any::<u8>()), 0..6), cut in 0usize..400,
    ) {
        let mut one = gateway();
        look_for(&mut one, true, &[OUTSIDE_PORT], asks);
        let between = (if outside { INWARD } else { OUTWARD })[usize::from(ipv6)];
        let kind = if response { isakmp::RESPONSE } else { isakmp::PROBE };
        let mut packet = isakmp(between, (500, 500), &message(0x10, kind, 0, 150));
        for (at, value) in changes {
            let last = packet.len() - 1;
            packet[at.min(last)] = value;
        }
        packet.truncate(cut.max(1));
        if packet[0] >> 4 == 4 && packet.len() >= 20 {
            let header = (usize::from(packet[0] & 15) * 4).clamp(20, 60).min(packet.len());
            ipv4::refresh_checksum(&mut packet[..header]);
        }
        one.send_and_poll(1, if outside { OUTSIDE } else { INSIDE }, &packet);
        let protects = rules(1).tunnel.into_iter().map(|rule| rule.selector).collect::<Vec<_>>();
        for left in one.receive(OUTSIDE).iter().chain(&one.receive(INSIDE)) {
            let seen = summary(left);
            let back = FiveTuple {
                source: seen.tuple.destination,
                destination: seen.tuple.source,
                source_port: seen.tuple.destination_port,
                destination_port: seen.tuple.source_port,
                protocol: seen.tuple.protocol,
            };
            if protects.iter().any(|selector| selector.contains(&seen.tuple) || selector.contains(&back)) {
                let message = &left[seen.upper_at + udp::HEADER_OCTETS..];
                prop_assert!(isakmp::Isakmp::new_checked(message).unwrap().is_discovery_message());
                prop_assert_eq!((seen.tuple.protocol, seen.tuple.destination_port), (17, Some(500)));
                prop_assert_eq!(left, &after_hops(&packet, 1)[..seen.octets].to_vec());
            }
        }
        for seen in caught(&mut one) {
            prop_assert_eq!(seen.packet, &packet[..summary(&packet).octets]);
            prop_assert!(outside && (asks || seen.catch == Catch::Probe));
        }
        one.assert_conserved();
    }
}

#[test]
fn a_side_that_is_unknown_counts_as_outside_where_control_names_it() {
    let mut one = gateway();
    // Clear text of the far site, by a port that is gone meanwhile.
    inject(&mut one, Entry::Judge(PortIndex(77)), &isakmp(INWARD[0], (500, 4000), &message(0x10, 5, 0, 40)));
    one.assert_drops(&[(DropReason::ClearTextInbound, 1)]);
    assert_eq!(table(1).ports[OUTSIDE].side, Side::Outside);
}
