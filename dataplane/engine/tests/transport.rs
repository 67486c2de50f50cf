//! ESP in transport mode between two gateways' own addresses: what the kernel of one says, the kernel of the other hears.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use std::net::IpAddr;
use warren_engine::packet::checksum::Sum;
use warren_engine::packet::{ipv4, protocol};
use warren_engine::{DropReason, Tally};
use warren_policy::{EspTransform, Hash, KeyBits, Protocol, RuleId, RuleSet, TransportAction};
use warren_seam::{Carrier, Command, Encapsulation, InboundSa, OutboundSa, SaId, SaMode, Spi};

const TUN: usize = 2;
const RULE: RuleId = RuleId(2);

#[derive(Clone, Copy, Debug, Default)]
struct Way {
    scheme: Scheme,
    /// What the peer's address looks like from here, where a NAT changes it.
    nat: Option<&'static str>,
}

fn ends(ipv6: bool) -> (&'static str, &'static str) {
    if ipv6 { ("2001:db8:ff::1", "2001:db8:ff::2") } else { ("192.0.2.1", "192.0.2.2") }
}

fn host(address: &str) -> String {
    format!("{address}/{}", if address.contains(':') { 128 } else { 32 })
}

fn sending(scheme: Scheme) -> OutboundSa {
    let (own, peer) = ends(scheme.outer_ipv6);
    OutboundSa {
        id: SaId(50),
        spi: Spi(0x5000),
        selector: between(&host(own), &host(peer)),
        mode: SaMode::Transport,
        rule: RULE,
        ..outbound(scheme, 1, 0)
    }
}

fn receiving(way: Way) -> InboundSa {
    let sa = sending(way.scheme);
    let remote = way.nat.map_or(sa.local, ip);
    InboundSa {
        id: SaId(51),
        spi: sa.spi,
        keys: sa.keys,
        selector: between(&host(&remote.to_string()), &host(&sa.remote.to_string())),
        remote,
        local: sa.remote,
        mode: SaMode::Transport,
        rule: RULE,
        ..inbound(way.scheme, 1, 0)
    }
}

fn protecting(networks: &[(&str, &str)]) -> RuleSet {
    let mut set = RuleSet::default();
    for (at, (own, peer)) in networks.iter().enumerate() {
        set.transport.push(transport(between(own, peer), TransportAction::Permit));
        set.tunnel.push(tunnel(RULE.0 + at as u32, between(own, peer)));
    }
    set
}

fn pair(way: Way) -> (Gateway, Gateway) {
    let (mut one, mut two) = (Gateway::site(1), Gateway::site(2));
    let (own, peer) = ends(way.scheme.outer_ipv6);
    one.submit(Command::Rules(protecting(&[(&host(own), &host(peer))])));
    one.submit(Command::InstallOutbound(Box::new(sending(way.scheme))));
    one.submit(Command::Bind { rule: RULE, stack: vec![SaId(50)] });
    two.submit(Command::InstallInbound(Box::new(receiving(way))));
    one.poll();
    two.poll();
    (one, two)
}

/// The kernel of the gateway sends it.
fn say(gateway: &mut Gateway, packet: &[u8]) {
    assert!(gateway.links[0][TUN].send(packet));
    gateway.poll();
}

fn checksum(packet: &[u8]) -> u16 {
    let seen = summary(packet);
    let segment = &packet[seen.upper_at..];
    let number = seen.tuple.protocol;
    let sum = match (seen.tuple.source, seen.tuple.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Sum::default().pseudo_ipv4(from, to, number, segment.len()),
        (IpAddr::V6(from), IpAddr::V6(to)) => Sum::default().pseudo_ipv6(from, to, number, segment.len()),
        _ => panic!("one family"),
    };
    sum.octets(segment).finish()
}

/// A TCP segment with so many octets of data and a right checksum.
fn tcp((from, to): (&str, &str), data: usize) -> Vec<u8> {
    let mut segment = vec![0; 20];
    segment[..4].copy_from_slice(&[0x13, 0x88, 0x00, 0x16]);
    (segment[12], segment[13]) = (5 << 4, 0x10);
    segment.extend((0..data).map(|at| (at * 7 + 3) as u8));
    let mut packet = ip_packet(&Udp { from, to, ..Udp::default() }, protocol::TCP, &segment);
    let at = summary(&packet).upper_at + 16;
    let sum = checksum(&packet);
    packet[at..at + 2].copy_from_slice(&sum.to_be_bytes());
    packet
}

fn schemes() -> impl Iterator<Item = Scheme> {
    let transforms = [
        EspTransform::AesGcm16(KeyBits::B256),
        EspTransform::AesCbcHmac(KeyBits::B128, Hash::Sha256),
        EspTransform::AesCbcHmac(KeyBits::B256, Hash::Sha1),
    ];
    transforms.into_iter().flat_map(|transform| {
        [(Encapsulation::Raw, false), (Encapsulation::Raw, true), (UDP_4500, false), (UDP_4500, true)]
            .map(|(encapsulation, outer_ipv6)| Scheme { transform, encapsulation, outer_ipv6, esn: true })
    })
}

#[test] // NT-19, NT-21, RFC 4303 §3.1.1
fn what_one_kernel_says_the_other_hears_octet_by_octet() {
    for scheme in schemes() {
        let (mut one, mut two) = pair(Way { scheme, nat: None });
        let (own, peer) = ends(scheme.outer_ipv6);
        for data in [0, 1, 2, 3, 15, 16, 17, 100, 1300] {
            let packet = tcp((own, peer), data);
            say(&mut one, &packet);
            let wire = carry(&one, &mut two).remove(0);
            let (clear, seen) = (summary(&packet), summary(&wire));
            let number =
                if scheme.encapsulation == Encapsulation::Raw { protocol::ESP } else { protocol::UDP };
            assert_eq!(seen.tuple.protocol, number);
            assert_eq!((seen.tuple.source, seen.tuple.destination), (ip(own), ip(peer)));
            assert_eq!((seen.octets, seen.ttl, seen.upper_at), (wire.len(), clear.ttl, clear.upper_at));
            assert!(data < 32 || !shows(&wire, &packet), "{scheme:?}");
            // No second IP header: only UDP, ESP, IV, padding, trailer and ICV are added.
            let transform = scheme.transform;
            let udp = if number == protocol::UDP { 8 } else { 0 };
            let text = (20 + data + 2).next_multiple_of(transform.alignment());
            let esp = 8 + transform.iv_octets() + text + transform.icv_octets();
            assert_eq!(wire.len(), clear.upper_at + udp + esp);
            assert_eq!(two.kernel(), [packet], "{scheme:?}");
        }
        one.assert_drops(&[]);
        two.assert_drops(&[]);
    }
}

/// An IPv6 packet of these extension headers, eight octets each, in front of a datagram.
fn extended(headers: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for next in headers[1..].iter().chain(&[254]) {
        payload.extend([*next, 0, 1, 4, 0, 0, 0, 0]);
    }
    // A routing header with nothing left to visit.
    for (at, _) in headers.iter().enumerate().filter(|(_, header)| **header == 43) {
        payload[8 * at + 3] = 0;
    }
    payload.extend([0x5A; 40]);
    let (from, to) = ends(true);
    ip_packet(&Udp { from, to, ..Udp::default() }, headers[0], &payload)
}

#[test] // RFC 4303 §3.1.2
fn esp_stands_behind_hop_by_hop_and_routing_headers_and_before_destination_options() {
    let scheme = Scheme { outer_ipv6: true, ..Scheme::default() };
    for (headers, in_front) in
        [(&[0][..], 1), (&[60], 0), (&[0, 60], 1), (&[0, 60, 43, 60], 3), (&[43], 1), (&[0, 43, 60], 2)]
    {
        let (mut one, mut two) = pair(Way { scheme, nat: None });
        let packet = extended(headers);
        say(&mut one, &packet);
        let wire = carry(&one, &mut two).remove(0);
        assert_eq!(summary(&wire).tuple.protocol, protocol::ESP);
        assert_eq!(summary(&wire).upper_at, 40 + 8 * in_front, "{headers:?}");
        assert_eq!(two.kernel(), [packet], "{headers:?}");
    }
    let (mut one, _) = pair(Way { scheme, nat: None });
    let mut packet = extended(&[43]);
    packet[43] = 1;
    say(&mut one, &packet);
    one.assert_drops(&[(DropReason::TransportHeader, 1)]);
    assert!(one.receive(OUTSIDE).is_empty());
}

#[test] // RFC 4303 §3.1.2
fn options_of_ipv4_stay_where_they_are() {
    let (mut one, mut two) = pair(Way::default());
    let mut packet = tcp(ends(false), 60);
    packet.splice(20..20, [1, 1, 1, 1, 1, 1, 1, 0]);
    packet[0] = 0x47;
    let octets = packet.len() as u16;
    packet[2..4].copy_from_slice(&octets.to_be_bytes());
    ipv4::refresh_checksum(&mut packet[..28]);
    say(&mut one, &packet);
    let wire = carry(&one, &mut two).remove(0);
    assert_eq!((summary(&wire).upper_at, &wire[20..28]), (28, &packet[20..28]));
    assert_eq!(two.kernel(), [packet]);
}

#[test] // NT-19, RFC 4301 §4.1
fn transport_mode_is_only_for_what_the_gateway_itself_says_to_the_peer_itself() {
    let (mut one, _) = pair(Way::default());
    // Somebody behind us who uses our address.
    one.send_and_poll(1, INSIDE, &tcp(ends(false), 10));
    one.assert_drops(&[(DropReason::TransportAddress, 1)]);
    // An SA and a rule that speak of more than its two ends.
    let mut wide = sending(Scheme::default());
    wide.selector = between("192.0.2.0/24", "192.0.2.0/24");
    one.submit(Command::Rules(protecting(&[("192.0.2.0/24", "192.0.2.0/24")])));
    one.submit(Command::InstallOutbound(Box::new(wide)));
    say(&mut one, &tcp(("192.0.2.1", "192.0.2.3"), 10));
    one.assert_drops(&[(DropReason::TransportAddress, 2)]);
    assert!(one.receive(OUTSIDE).is_empty());
}

#[test] // RFC 4303 §3.3.4
fn fragments_are_not_protected_and_none_are_made() {
    let (mut one, _) = pair(Way::default());
    for (offset, more) in [(0, true), (64, true), (128, false)] {
        let mut packet = tcp(ends(false), 60);
        let octets = packet.len();
        ipv4::set_fragment(&mut packet, octets, offset, more);
        say(&mut one, &packet);
    }
    one.assert_drops(&[(DropReason::TransportFragment, 3)]);
    // Too big, and everybody might fragment it: but then it would not be whole.
    let (from, to) = ends(false);
    let free = Udp { from, to, payload: 1472, dont_fragment: false, ..Udp::default() }.packet();
    say(&mut one, &free);
    assert_eq!((one.dropped(DropReason::TooBig), one.receive(OUTSIDE).len()), (1, 0));
    let told = one.kernel().remove(0);
    // 1500 less the packet's own header, ESP, IV and ICV, in steps of four, less the trailer; and the header again.
    let room = (1500 - 20 - 8 - 8 - 16) / 4 * 4 - 2 + 20;
    assert_eq!(u16::from_be_bytes([told[26], told[27]]), room);
}

#[test] // NT-33
fn no_packet_becomes_too_big_for_the_wire_and_hardly_any_room_is_lost() {
    for scheme in schemes() {
        let (mut one, mut two) = pair(Way { scheme, nat: None });
        let (own, peer) = ends(scheme.outer_ipv6);
        let mut fitted = 0;
        for data in 1330..1460 {
            let packet = tcp((own, peer), data);
            say(&mut one, &packet);
            let wire = carry(&one, &mut two);
            assert!(wire.iter().all(|packet| packet.len() <= 1500));
            assert_eq!(two.kernel().len(), wire.len());
            fitted = if wire.is_empty() { fitted } else { wire[0].len() };
        }
        assert!(fitted > 1500 - scheme.transform.alignment() * 2, "{scheme:?} {fitted}");
        assert_eq!(one.dropped(DropReason::OuterTooBig), 0);
        assert!(one.dropped(DropReason::TooBig) > 0);
    }
}

#[test] // F-25
fn what_comes_out_is_held_against_the_selector_and_the_mode() {
    let (mut one, mut two) = pair(Way::default());
    let mut narrow = receiving(Way::default());
    narrow.selector.protocol = Protocol::Is(protocol::UDP);
    two.submit(Command::InstallInbound(Box::new(narrow.clone())));
    say(&mut one, &tcp(ends(false), 40));
    carry(&one, &mut two);
    two.assert_drops(&[(DropReason::SelectorMismatch, 1)]);
    // Each end believes in another mode.
    (narrow.mode, narrow.selector) = (SaMode::Tunnel, receiving(Way::default()).selector);
    two.submit(Command::InstallInbound(Box::new(narrow.clone())));
    say(&mut one, &tcp(ends(false), 40));
    carry(&one, &mut two);
    assert_eq!(two.dropped(DropReason::NextHeader), 1);
    (narrow.mode, narrow.selector.protocol) = (SaMode::Transport, Protocol::Is(protocol::TCP));
    two.submit(Command::InstallInbound(Box::new(narrow)));
    let mut tunnelled = sending(Scheme::default());
    tunnelled.mode = SaMode::Tunnel;
    one.submit(Command::InstallOutbound(Box::new(tunnelled)));
    say(&mut one, &tcp(ends(false), 40));
    carry(&one, &mut two);
    assert_eq!(two.dropped(DropReason::SelectorMismatch), 2, "IP in IP is not TCP");
    assert!(two.kernel().is_empty() && two.receive(INSIDE).is_empty());
}

#[test] // RFC 3948 §3.1.2
fn behind_a_nat_the_checksum_is_that_of_the_addresses_that_arrive() {
    let scheme = Scheme { encapsulation: UDP_4500, ..Scheme::default() };
    let nat = "198.51.100.7";
    let (mut one, mut two) = pair(Way { scheme, nat: Some(nat) });
    let (from, to) = ends(false);
    let sent = [tcp((from, to), 101), Udp { from, to, ..Udp::default() }.packet()];
    for packet in &sent {
        say(&mut one, packet);
        let mut wire = one.receive(OUTSIDE).remove(0);
        wire[12..16].copy_from_slice(&[198, 51, 100, 7]);
        ipv4::refresh_checksum(&mut wire[..20]);
        two.send_and_poll(2, OUTSIDE, &wire);
        let heard = two.kernel().remove(0);
        assert_eq!(summary(&heard).tuple.source, ip(nat));
        if summary(&heard).is(protocol::TCP) {
            assert_eq!(checksum(&heard), 0, "it adds up with the new address");
            assert_eq!(heard[40..], packet[40..]);
        } else {
            assert_eq!(heard[20..], packet[20..], "none stays none");
        }
    }
    two.assert_drops(&[]);
}

#[test] // NT-20, NT-21, NT-34
fn it_goes_inside_every_tunnel_and_nowhere_else() {
    let scheme = Scheme::default();
    let (mut one, mut two) = pair(Way::default());
    let selector = sending(scheme).selector;
    let mut around = OutboundSa { mode: SaMode::Tunnel, selector, ..outbound(scheme, 1, 0) };
    (around.id, around.spi) = (SaId(60), Spi(0x6000));
    let mut into = InboundSa { selector, rule: RuleId(9), ..inbound(scheme, 1, 0) };
    (into.id, into.spi) = (SaId(61), Spi(0x6000));
    one.submit(Command::InstallOutbound(Box::new(around)));
    two.submit(Command::InstallInbound(Box::new(into)));
    let inner = InboundSa { carrier: Carrier::Rule(RuleId(9)), ..receiving(Way::default()) };
    two.submit(Command::InstallInbound(Box::new(inner)));
    one.submit(Command::Bind { rule: RULE, stack: vec![SaId(50), SaId(60)] });
    let packet = tcp(ends(false), 40);
    say(&mut one, &packet);
    let wire = carry(&one, &mut two);
    assert_eq!(wire[0][20..24], [0, 0, 0x60, 0]);
    assert_eq!(two.kernel(), std::slice::from_ref(&packet));
    assert_eq!((one.tally(Tally::Sealed), two.tally(Tally::Opened)), (2, 2));
    one.assert_drops(&[]);
    // Around a tunnel it is no stack.
    one.submit(Command::Bind { rule: RULE, stack: vec![SaId(60), SaId(50)] });
    say(&mut one, &packet);
    one.assert_drops(&[(DropReason::NoSa, 1)]);
    assert!(one.receive(OUTSIDE).is_empty());
}
