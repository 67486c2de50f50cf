//! Packets that are too big, too old, or have nowhere to go.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use std::time::Duration;
use warren_engine::packet::{Fragment, checksum, protocol};
use warren_engine::{DropReason, Settings, Tally};
use warren_policy::{EspTransform, Hash, KeyBits, TransportAction};
use warren_seam::{Command, Event, PortIndex};

/// The largest packet that the default tunnel takes over Ethernet: 1500 - 20 - 8 - 8 - 16 - 2.
const ROOM: usize = 1446;

fn sized(octets: usize, dont_fragment: bool) -> Vec<u8> {
    Udp { payload: octets - 28, dont_fragment, ..Udp::default() }.packet()
}

#[test] // NT-33, RFC 1191
fn the_sender_hears_exactly_how_large_a_packet_may_be() {
    let schemes = [
        Scheme::default(),
        Scheme { encapsulation: UDP_4500, ..Scheme::default() },
        Scheme { outer_ipv6: true, ..Scheme::default() },
        Scheme { transform: EspTransform::AesCbcHmac(KeyBits::B256, Hash::Sha512), ..Scheme::default() },
    ];
    for scheme in schemes {
        let (mut one, mut two) = established_pair(scheme);
        one.send_and_poll(1, INSIDE, &sized(1500, true));
        assert!(one.receive(OUTSIDE).is_empty());
        one.assert_drops(&[(DropReason::TooBig, 1)]);
        let told = one.receive(INSIDE).remove(0);
        let answer = summary(&told);
        assert_eq!((answer.tuple.source, answer.tuple.destination), (ip("10.1.0.1"), ip("10.1.0.2")));
        assert_eq!(told[20..22], [3, 4]);
        let mtu = usize::from(u16::from_be_bytes([told[26], told[27]]));
        one.send_and_poll(1, INSIDE, &sized(mtu + 1, true));
        assert_eq!(one.receive(INSIDE).len(), 1);
        one.send_and_poll(1, INSIDE, &sized(mtu, true));
        let wire = carry(&one, &mut two);
        assert!(wire[0].len() <= 1500, "{scheme:?}");
        assert_eq!(two.receive(INSIDE), [after_hops(&sized(mtu, true), 2)]);
    }
}

#[test]
fn the_gateway_itself_is_told_through_its_own_kernel() {
    let (mut one, _) = established_pair(Scheme::default());
    let packet = Udp { from: "10.1.0.1", payload: 1472, ..Udp::default() }.packet();
    assert!(one.links[0][2].send(&packet));
    one.poll();
    let told = one.kernel().remove(0);
    assert_eq!((summary(&told).tuple.destination, told[20], told[21]), (ip("10.1.0.1"), 3, 4));
    assert_eq!(usize::from(u16::from_be_bytes([told[26], told[27]])), ROOM);
    assert!(one.receive(OUTSIDE).is_empty() && one.receive(INSIDE).is_empty());
}

#[test] // RFC 8201
fn ipv6_is_told_too_and_never_less_than_its_minimum() {
    let (mut one, _) = established_pair(Scheme::default());
    let big =
        |payload| Udp { from: "2001:db8:1::2", to: "2001:db8:2::2", payload, ..Udp::default() }.packet();
    one.send_and_poll(1, INSIDE, &big(1452));
    let told = one.receive(INSIDE).remove(0);
    assert_eq!(summary(&told).tuple.source, ip("2001:db8:1::1"));
    assert_eq!(told[40..42], [2, 0]);
    assert_eq!(u32::from_be_bytes([told[44], told[45], told[46], told[47]]) as usize, ROOM);
    assert!(told.len() <= 1280);
    // Over a path of 1280 there is less room inside than any host would go down to.
    let mut narrow = table(1);
    narrow.ports[OUTSIDE].mtu = 1280;
    one.submit(Command::Forwarding(narrow));
    one.send_and_poll(1, INSIDE, &big(1300));
    let told = one.receive(INSIDE).remove(0);
    assert_eq!(u32::from_be_bytes([told[44], told[45], told[46], told[47]]), 1280);
    one.send_and_poll(1, INSIDE, &big(1240 - 8));
    assert_eq!(one.dropped(DropReason::BelowMinimumMtu), 1);
    assert!(one.receive(INSIDE).is_empty());
}

#[test] // RFC 4301 §7
fn a_packet_that_may_be_fragmented_goes_through_in_pieces() {
    let (mut one, mut two) = established_pair(Scheme::default());
    let packet = sized(1500, false);
    one.send_and_poll(1, INSIDE, &packet);
    let wire = carry(&one, &mut two);
    assert_eq!(wire.len(), 2);
    let pieces = two.receive(INSIDE);
    assert_eq!(summary(&pieces[0]).fragment, Fragment::First);
    assert_eq!(summary(&pieces[1]).fragment, Fragment::Later);
    assert_eq!([&pieces[0][20..], &pieces[1][20..]].concat(), packet[20..]);
    let offset = usize::from(u16::from_be_bytes([pieces[1][6] & 0x1F, pieces[1][7]])) * 8;
    assert_eq!(offset, pieces[0].len() - 20);
    assert_eq!((one.tally(Tally::Fragmented), one.tally(Tally::Originated)), (1, 1));
    one.assert_drops(&[]);
}

#[test]
fn clear_text_that_is_too_big_for_its_port_is_treated_alike() {
    let mut one = Gateway::site(1);
    let mut narrow = table(1);
    narrow.ports[OUTSIDE].mtu = 1000;
    one.submit(Command::Forwarding(narrow));
    let clear =
        |dont_fragment| Udp { to: "203.0.113.9", payload: 1472, dont_fragment, ..Udp::default() }.packet();
    one.send_and_poll(1, INSIDE, &clear(true));
    let told = one.receive(INSIDE).remove(0);
    assert_eq!(u16::from_be_bytes([told[26], told[27]]), 1000);
    one.send_and_poll(1, INSIDE, &clear(false));
    let pieces = one.receive(OUTSIDE);
    assert_eq!(pieces.iter().map(Vec::len).collect::<Vec<_>>(), [996, 524]);
}

#[test]
fn tcp_is_told_in_advance_in_both_directions() {
    let syn = |from: &str, to: &str| {
        let mut segment = vec![0u8; 24];
        segment[..4].copy_from_slice(&[0xC3, 0x50, 0x01, 0xBB]);
        (segment[12], segment[13]) = (0x60, 0x02);
        segment[20..24].copy_from_slice(&[2, 4, 0x05, 0xB4]);
        let (source, destination) = (from.parse().unwrap(), to.parse().unwrap());
        let sum =
            checksum::Sum::default().pseudo_ipv4(source, destination, protocol::TCP, 24).octets(&segment);
        let sum = sum.finish();
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        ip_packet(&Udp { from, to, ..Udp::default() }, protocol::TCP, &segment)
    };
    let mss = |packet: &[u8]| {
        let (source, destination) = match (summary(packet).tuple.source, summary(packet).tuple.destination) {
            (std::net::IpAddr::V4(source), std::net::IpAddr::V4(destination)) => (source, destination),
            _ => panic!("IPv4"),
        };
        let sum = checksum::Sum::default().pseudo_ipv4(source, destination, protocol::TCP, 24);
        assert_eq!(sum.octets(&packet[20..]).finish(), 0);
        usize::from(u16::from_be_bytes([packet[42], packet[43]]))
    };
    // Only the sender clamps, then only the receiver.
    for clamper in [1, 2] {
        let gateway = |own| {
            let mut gateway = Gateway::new(1, &Settings { mss_clamp: clamper == own, ..Settings::default() });
            gateway.submit(Command::Forwarding(table(own)));
            gateway.submit(Command::Rules(rules(own)));
            establish(&mut gateway, own, Scheme::default());
            gateway
        };
        let (mut one, mut two) = (gateway(1), gateway(2));
        one.send_and_poll(1, INSIDE, &syn("10.1.0.2", "10.2.0.2"));
        carry(&one, &mut two);
        assert_eq!(mss(&two.receive(INSIDE)[0]), ROOM - 40, "clamped by {clamper}");
        assert_eq!(one.tally(Tally::MssClamped) + two.tally(Tally::MssClamped), 1);
    }
    // What does not enter a tunnel is left alone.
    let mut one = Gateway::site(1);
    one.send_and_poll(1, INSIDE, &syn("10.1.0.2", "203.0.113.1"));
    assert_eq!(mss(&one.receive(OUTSIDE)[0]), 1460);
}

#[test] // RFC 1812 §5.3.1
fn a_packet_out_of_hops_is_answered_also_through_the_tunnel() {
    let (mut one, mut two) = established_pair(Scheme::default());
    one.send_and_poll(1, INSIDE, &Udp { ttl: 1, ..Udp::default() }.packet());
    let told = one.receive(INSIDE).remove(0);
    assert_eq!((summary(&told).tuple.source, told[20]), (ip("10.1.0.1"), 11));
    // The second gateway answers in the name of its inside address, through the tunnel.
    one.send_and_poll(1, INSIDE, &Udp { ttl: 2, ..Udp::default() }.packet());
    carry(&one, &mut two);
    two.assert_drops(&[(DropReason::TtlExpired, 1)]);
    let wire = carry(&two, &mut one);
    assert_eq!(summary(&wire[0]).tuple.protocol, protocol::ESP);
    let told = one.receive(INSIDE).remove(0);
    assert_eq!((summary(&told).tuple.source, told[20]), (ip("10.2.0.1"), 11));
}

#[test] // F-24
fn an_error_that_quotes_protected_text_never_leaves_in_clear() {
    let (mut one, mut two) = established_pair(Scheme::default());
    // An inside host lies about its source, so the answer's route leads outside.
    let mut set = rules(1);
    set.transport.push(transport(between("198.18.0.0/16", "10.2.0.0/16"), TransportAction::Permit));
    set.tunnel.push(tunnel(2, between("198.18.0.0/16", "10.2.0.0/16")));
    one.submit(Command::Rules(set));
    establish(&mut one, 1, Scheme::default());
    one.send_and_poll(1, INSIDE, &Udp { from: "198.18.0.1", ttl: 1, ..Udp::default() }.packet());
    assert!(one.receive(OUTSIDE).is_empty());
    assert_eq!(one.dropped(DropReason::IcmpSuppressed), 1);
    // The far gateway has no rule that would carry its answer back through the tunnel.
    let mut set = rules(2);
    set.tunnel.clear();
    two.submit(Command::Rules(set));
    let (mut fresh, _) = established_pair(Scheme::default());
    fresh.send_and_poll(1, INSIDE, &Udp { ttl: 2, ..Udp::default() }.packet());
    carry(&fresh, &mut two);
    assert!(two.receive(OUTSIDE).is_empty());
    assert_eq!(two.dropped(DropReason::IcmpSuppressed), 1);
}

#[test]
fn errors_are_limited_in_rate() {
    let (mut one, _) = established_pair(Scheme::default());
    for _ in 0..200 {
        one.send(1, INSIDE, &sized(1500, true));
    }
    one.poll();
    assert_eq!(one.receive(INSIDE).len(), 50);
    assert_eq!(one.tally(Tally::IcmpLimited), 150);
    one.now += Duration::from_millis(100);
    one.send_and_poll(1, INSIDE, &sized(1500, true));
    assert_eq!(one.receive(INSIDE).len(), 1);
}

#[test]
fn without_a_route_only_insiders_are_told() {
    let mut one = Gateway::site(1);
    let mut closed = table(1);
    closed.routes.retain(|route| route.prefix_length != 0);
    one.submit(Command::Forwarding(closed));
    one.send_and_poll(1, INSIDE, &Udp { to: "203.0.113.1", ..Udp::default() }.packet());
    assert_eq!(one.receive(INSIDE)[0][20..22], [3, 0]);
    // A clear answer from outside to an inside network that is no more.
    let mut set = rules(1);
    set.transport.push(transport(between("10.5.0.0/16", "0.0.0.0/0"), TransportAction::Permit));
    one.submit(Command::Rules(set));
    one.send_and_poll(1, OUTSIDE, &Udp { from: "203.0.113.1", to: "10.5.0.1", ..Udp::default() }.packet());
    assert!(one.receive(OUTSIDE).is_empty());
    one.assert_drops(&[(DropReason::NoRoute, 2)]);
}

#[test]
fn a_packet_waits_for_its_neighbour_but_not_for_ever() {
    let (mut one, _) = established_pair(Scheme::default());
    let mut unknown = table(1);
    unknown.neighbours.retain(|known| known.port != PortIndex(OUTSIDE as u16));
    one.submit(Command::Forwarding(unknown));
    for _ in 0..3 {
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
    }
    assert_eq!(one.counters().held(), 3);
    let asked = Event::UnresolvedNeighbour { port: PortIndex(OUTSIDE as u16), address: ip("192.0.2.2") };
    assert_eq!(one.take_events(), std::slice::from_ref(&asked));
    one.submit(Command::Forwarding(table(1)));
    one.poll();
    assert_eq!((one.receive(OUTSIDE).len(), one.counters().held()), (3, 0));

    let mut unknown = table(1);
    unknown.neighbours.retain(|known| known.port != PortIndex(OUTSIDE as u16));
    one.submit(Command::Forwarding(unknown));
    for _ in 0..100 {
        one.send(1, INSIDE, &Udp::default().packet());
    }
    one.now += Duration::from_secs(2);
    one.poll();
    assert_eq!((one.counters().held(), one.dropped(DropReason::ParkingFull)), (64, 36));
    assert_eq!(one.take_events(), [asked]);
    one.now += Duration::from_secs(1);
    one.poll();
    assert_eq!((one.counters().held(), one.dropped(DropReason::NoNeighbour)), (0, 64));
}

#[test] // F-24
fn clear_text_that_waited_is_judged_again_by_new_rules() {
    let mut one = Gateway::site(1);
    let mut unknown = table(1);
    unknown.neighbours.clear();
    one.submit(Command::Forwarding(unknown));
    one.send_and_poll(1, INSIDE, &Udp { to: "203.0.113.1", ..Udp::default() }.packet());
    assert_eq!(one.counters().held(), 1);
    let mut set = rules(1);
    set.tunnel[0].selector = between("10.1.0.0/16", "0.0.0.0/0");
    one.submit(Command::Rules(set));
    one.submit(Command::Forwarding(table(1)));
    one.poll();
    assert!(one.receive(OUTSIDE).is_empty());
    one.assert_drops(&[(DropReason::NoSa, 1)]);
}

#[test]
fn what_a_port_does_not_take_is_held_and_at_last_dropped() {
    let mut one = Gateway::site(1);
    // The far end of the port has room for 4096 packets, and nobody reads them.
    for round in 0..45 {
        for _ in 0..128 {
            one.send(1, INSIDE, &Udp { to: "203.0.113.1", payload: 32, ..Udp::default() }.packet());
        }
        one.now += Duration::from_millis(round);
        for _ in 0..4 {
            one.workers[0].poll(one.now);
            one.assert_conserved();
        }
    }
    let counters = one.counters();
    assert_eq!(counters.of(Tally::Transmitted), 4096);
    assert_eq!((counters.held(), counters.dropped(DropReason::TransmitFull)), (1024, 45 * 128 - 4096 - 1024));
}
