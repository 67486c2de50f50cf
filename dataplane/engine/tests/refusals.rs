//! Bad input: each kind in its own counter, nothing answered, nothing moved.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use proptest::prelude::*;
use std::time::Duration;
use warren_engine::DropReason;
use warren_engine::packet::{ipv4, protocol, udp};
use warren_policy::{PortRange, Protocol, RuleId, TransportAction};
use warren_seam::{Carrier, Command, Encapsulation, SaId, Side, Spi};

/// A packet on the wire from gateway 1 to gateway 2.
fn wire(one: &mut Gateway) -> Vec<u8> {
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    one.receive(OUTSIDE).remove(0)
}

fn with_header(mut packet: Vec<u8>, change: impl Fn(&mut [u8])) -> Vec<u8> {
    change(&mut packet);
    ipv4::refresh_checksum(&mut packet[..20]);
    packet
}

#[test] // F-19, F-20, F-30, F-31
fn every_kind_of_bad_esp_has_a_counter_of_its_own() {
    let (mut one, mut two) = established_pair(Scheme::default());
    let good = wire(&mut one);
    let spi = |spi: u32| with_header(good.clone(), |p| p[20..24].copy_from_slice(&spi.to_be_bytes()));
    let short = |octets: usize| {
        with_header(good[..octets].to_vec(), |p| p[2..4].copy_from_slice(&(octets as u16).to_be_bytes()))
    };
    let in_udp = {
        let mut datagram = vec![0; udp::HEADER_OCTETS];
        udp::emit(&mut datagram, 4500, 4500, udp::HEADER_OCTETS + good.len() - 20);
        datagram.extend(&good[20..]);
        ip_packet(&Udp { from: "192.0.2.1", to: "192.0.2.2", ..Udp::default() }, protocol::UDP, &datagram)
    };
    let mut flipped = good.clone();
    flipped[60] ^= 0x40;
    let mut sequence = good.clone();
    sequence[27] ^= 0x40;
    let cases = [
        (spi(0), DropReason::UnknownSpi),
        (spi(0xDEAD_BEEF), DropReason::UnknownSpi),
        (flipped, DropReason::BadIcv),
        (sequence, DropReason::BadIcv),
        // The SPI of the IPv6 SA, whose key is another.
        (spi(0x1011), DropReason::BadIcv),
        (with_header(good.clone(), |p| p[15] = 9), DropReason::WrongOuterAddress),
        (with_header(good.clone(), |p| p[6] = 0x20), DropReason::EspFragment),
        (with_header(good.clone(), |p| p[7] = 4), DropReason::EspFragment),
        (short(20), DropReason::EspLength),
        (short(27), DropReason::EspLength),
        (short(28), DropReason::EspLength),
        (short(51), DropReason::EspLength),
        (short(52), DropReason::BadIcv),
        (in_udp, DropReason::WrongEncapsulation),
    ];
    for (packet, reason) in cases {
        let before = two.dropped(reason);
        two.send_and_poll(2, OUTSIDE, &packet);
        assert_eq!(two.dropped(reason), before + 1, "{reason}: {:?}", two.counters());
    }
    assert!(two.receive(OUTSIDE).is_empty() && two.receive(INSIDE).is_empty() && two.kernel().is_empty());
    assert!(two.take_events().is_empty());
    // None of it has moved the window: the good packet still passes.
    two.send_and_poll(2, OUTSIDE, &good);
    assert_eq!(two.receive(INSIDE).len(), 1);
}

#[test]
fn udp_encapsulation_has_its_own_ways_to_be_wrong() {
    let (mut one, mut two) = established_pair(Scheme { encapsulation: UDP_4500, ..Scheme::default() });
    let good = wire(&mut one);
    let raw =
        ip_packet(&Udp { from: "192.0.2.1", to: "192.0.2.2", ..Udp::default() }, protocol::ESP, &good[28..]);
    // A second SA on another port makes that port one where ESP may stand, but not for the first SA.
    let mut other = inbound(Scheme::default(), 1, 1);
    other.encapsulation = Encapsulation::Udp { local_port: 4501, remote_port: 4500 };
    (other.id, other.spi) = (SaId(7), Spi(0x7777));
    two.submit(Command::InstallInbound(Box::new(other)));
    let mut longer = good.clone();
    longer.extend([0; 4]);
    let longer = with_header(longer, |p| p[3] += 4);
    let mut empty = good[..28].to_vec();
    empty[24..26].copy_from_slice(&8u16.to_be_bytes());
    let empty = with_header(empty, |p| p[2..4].copy_from_slice(&28u16.to_be_bytes()));
    let cases = [
        (raw, DropReason::WrongEncapsulation),
        (with_header(good.clone(), |p| p[23] = 0x95), DropReason::WrongEncapsulation),
        (with_header(good.clone(), |p| p[6] = 0x20), DropReason::EspFragment),
        (with_header(good.clone(), |p| p[25] = 7), DropReason::Malformed),
        (with_header(good.clone(), |p| p[24] = 7), DropReason::Malformed),
        (longer, DropReason::Malformed),
        (empty, DropReason::EspLength),
    ];
    for (packet, reason) in cases {
        let before = two.dropped(reason);
        two.send_and_poll(2, OUTSIDE, &packet);
        assert_eq!(two.dropped(reason), before + 1, "{reason}: {:?}", two.counters());
    }
    two.send_and_poll(2, OUTSIDE, &good);
    assert_eq!(two.receive(INSIDE).len(), 1);
}

#[test] // F-36
fn what_is_no_packet_for_us_is_counted_and_forgotten() {
    let mut one = Gateway::site(1);
    let packet = Udp::default().packet();
    let mut arp = frame(mac(1, INSIDE), &packet);
    arp[13] = 0x06;
    let mut group = frame(mac(1, INSIDE), &packet);
    group[0] |= 1;
    let cases = [
        (frame(mac(9, 9), &packet), DropReason::NotForUs),
        (group, DropReason::Multicast),
        (arp, DropReason::NotIp),
        (frame(mac(1, INSIDE), &packet)[..9].to_vec(), DropReason::Malformed),
        (frame(mac(1, INSIDE), &packet)[..14].to_vec(), DropReason::Malformed),
        (frame(mac(1, INSIDE), &packet)[..40].to_vec(), DropReason::Malformed),
        (frame(mac(1, INSIDE), &Udp { to: "224.0.0.5", ..Udp::default() }.packet()), DropReason::Multicast),
        (frame(mac(1, INSIDE), &Udp { from: "127.0.0.1", ..Udp::default() }.packet()), DropReason::Martian),
        (frame(mac(1, INSIDE), &Udp { to: "169.254.1.1", ..Udp::default() }.packet()), DropReason::Martian),
    ];
    for (frame, reason) in cases {
        let before = one.dropped(reason);
        assert!(one.links[0][INSIDE].send(&frame));
        one.poll();
        assert_eq!(one.dropped(reason), before + 1, "{reason}");
    }
    let mut wrong = packet.clone();
    wrong[11] ^= 1;
    one.send_and_poll(1, INSIDE, &wrong);
    assert_eq!(one.dropped(DropReason::HeaderChecksum), 1);
    // Ethernet padding is cut off, not carried.
    let small = Udp { payload: 4, to: "203.0.113.1", ..Udp::default() }.packet();
    let mut padded = frame(mac(1, INSIDE), &small);
    padded.resize(60, 0xEE);
    assert!(one.links[0][INSIDE].send(&padded));
    one.poll();
    assert_eq!(one.receive(OUTSIDE), [after_hops(&small, 1)]);
}

#[test] // F-24
fn before_routes_and_rules_nothing_passes() {
    let mut one = Gateway::new(1, &warren_engine::Settings::default());
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    one.assert_drops(&[(DropReason::NotReady, 1)]);
    one.submit(Command::Forwarding(table(1)));
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    assert_eq!(one.dropped(DropReason::NoRule), 1);
    assert!(one.receive(OUTSIDE).is_empty());
}

#[test] // F-27
fn esp_in_esp_without_end_is_given_up() {
    let (mut one, mut two) = established_pair(Scheme::default());
    // What the gateway itself sends to its peer is protected once more each time it comes round.
    let selector = between("192.0.2.1/32", "192.0.2.2/32");
    let mut set = rules(1);
    set.transport.push(transport(selector, TransportAction::Permit));
    set.tunnel.push(tunnel(2, selector));
    one.submit(Command::Rules(set));
    one.submit(Command::Bind { rule: RuleId(0), stack: vec![SaId(10)] });
    // Level `at` of so many, of a rule of its own and out of the level around it. Every round brings old inner numbers
    // again, which is not what this is about.
    let level = |at: u32, levels: u32| {
        let mut into = inbound(Scheme::default(), 1, 0);
        into.window_packets = 0;
        into.carrier = if at == levels { Carrier::Network } else { Carrier::Rule(RuleId(100 + at + 1)) };
        if at > 1 {
            (into.id, into.spi, into.selector) = (SaId(600 + u64::from(at)), Spi(0x9000 + at), selector);
        }
        into.rule = RuleId(100 + at);
        into
    };
    let packet = Udp { payload: 40, ..Udp::default() }.packet();
    let mut wrapped = {
        one.send_and_poll(1, INSIDE, &packet);
        one.receive(OUTSIDE).remove(0)
    };
    for levels in 1..=9 {
        (1..=levels).for_each(|at| {
            two.submit(Command::InstallInbound(Box::new(level(at, levels))));
        });
        two.send_and_poll(2, OUTSIDE, &wrapped);
        let arrived = two.receive(INSIDE).len();
        assert_eq!(arrived, usize::from(levels <= 8), "{levels}");
        let mut out = outbound(Scheme::default(), 1, 0);
        (out.id, out.spi) = (SaId(500 + u64::from(levels)), Spi(0x9000 + levels + 1));
        (out.selector, out.rule) = (selector, RuleId(2));
        one.submit(Command::Bind { rule: RuleId(2), stack: vec![out.id] });
        one.submit(Command::InstallOutbound(Box::new(out)));
        assert!(one.links[0][2].send(&wrapped));
        one.poll();
        wrapped = one.receive(OUTSIDE).remove(0);
    }
    assert_eq!(two.dropped(DropReason::TooDeep), 1);
}

#[test] // F-27
fn a_stack_deeper_than_any_is_refused_and_counted() {
    let scheme = Scheme::default();
    let (mut one, mut two) = established_pair(scheme);
    let selector = between("192.0.2.1/32", "192.0.2.2/32");
    let mut stack = vec![outbound(scheme, 1, 0).id];
    for level in 0..8 {
        let mut out = outbound(scheme, 1, 0);
        let mut into = inbound(scheme, 1, 0);
        (out.id, out.spi, out.selector) = (SaId(500 + level), Spi(0x9000 + level as u32), selector);
        (into.id, into.spi, into.selector) = (SaId(600 + level), out.spi, selector);
        // Five of them are bound below, the last of which is the outermost.
        let around =
            |level: u64| if level < 4 { Carrier::Rule(RuleId(level as u32 + 1)) } else { Carrier::Network };
        (into.rule, into.carrier) = (RuleId(level as u32), around(level));
        stack.push(out.id);
        one.submit(Command::InstallOutbound(Box::new(out)));
        two.submit(Command::InstallInbound(Box::new(into)));
    }
    // The innermost comes out of the first of them, and their own rules begin behind it.
    let mut innermost = inbound(scheme, 1, 0);
    innermost.carrier = Carrier::Rule(RuleId(0));
    two.submit(Command::InstallInbound(Box::new(innermost)));
    let deepest = SaId(507);
    one.submit(Command::Bind { rule: RuleId(0), stack });
    one.poll();
    two.poll();
    let packet = Udp { payload: 40, ..Udp::default() }.packet();
    one.send_and_poll(1, INSIDE, &packet);
    one.assert_drops(&[(DropReason::TooDeep, 1)]);
    one.submit(Command::Remove(deepest));
    let stack = [vec![outbound(scheme, 1, 0).id], (0..5).map(|level| SaId(500 + level)).collect()].concat();
    one.submit(Command::Bind { rule: RuleId(0), stack });
    one.poll();
    one.send_and_poll(1, INSIDE, &packet);
    carry(&one, &mut two);
    assert_eq!(two.receive(INSIDE), [after_hops(&packet, 2)]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test] // F-36
    fn no_bytes_make_a_gateway_panic_or_lose_count(
        frames in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 1..20),
    ) {
        let (mut one, _) = established_pair(Scheme::default());
        for (outside, octets) in frames {
            let port = if outside { OUTSIDE } else { INSIDE };
            prop_assert!(one.links[0][port].send(&octets));
            prop_assert!(one.links[0][2].send(&octets));
            let mut framed = frame(mac(1, port), &[0x45]);
            framed.truncate(14);
            framed.extend(&octets);
            prop_assert!(one.links[0][port].send(&framed));
            one.poll();
        }
        one.assert_conserved();
        prop_assert_eq!(one.counters().held(), 0);
    }

    #[test] // F-36
    fn a_peer_with_the_right_key_may_send_what_it_likes(
        way in any::<u8>(), mut text in prop::collection::vec(any::<u8>(), 0..300), shape in any::<[u8; 4]>(),
    ) {
        exercise::headers(&text);
        // Half of them look like a packet, so that they come further.
        if shape[0] & 1 == 1 && text.len() > 42 {
            let end = text.len() - 2;
            text[end..].copy_from_slice(&[0, if shape[1] & 1 == 1 { 4 } else { 41 }]);
            if shape[1] & 1 == 1 {
                text[0] = 0x45 + shape[2] % 3;
                text[2..4].copy_from_slice(&((end - usize::from(shape[3] % 4)) as u16).to_be_bytes());
                text[12..16].copy_from_slice(&[10, 2, 0, 2]);
                text[16..20].copy_from_slice(&[10, 1, 0, 1 + shape[2] % 2]);
                let header = usize::from(text[0] & 15) * 4;
                ipv4::refresh_checksum(&mut text[..header]);
            } else {
                text[0] = 0x60;
                text[4..6].copy_from_slice(&((end - 40) as u16).to_be_bytes());
                text[6] = [0, 43, 44, 60, 6, 17, 50, 58][usize::from(shape[2] % 8)];
            }
            exercise::headers(&text);
        }
        text.insert(0, if shape[3] & 1 == 1 { 4 + (shape[3] >> 1 & 1) } else { way });
        exercise::gateway(&text);
    }

    #[test] // F-36
    fn damaged_packets_never_pass_and_never_panic(
        udp in any::<bool>(), cut in 0usize..200, at in 0usize..200, flip in 1u8..=255,
    ) {
        let encapsulation = if udp { UDP_4500 } else { Encapsulation::Raw };
        let (mut one, mut two) = established_pair(Scheme { encapsulation, ..Scheme::default() });
        let good = wire(&mut one);
        let mut damaged = good.clone();
        damaged.truncate(good.len().min(cut.max(1)));
        let place = at % damaged.len();
        damaged[place] ^= flip;
        two.send(2, OUTSIDE, &damaged);
        if damaged.len() >= 20 {
            let octets = damaged.len() as u16;
            damaged[2..4].copy_from_slice(&octets.to_be_bytes());
            let header = usize::from(damaged[0] & 15).clamp(5, 15) * 4;
            if header <= damaged.len() {
                ipv4::refresh_checksum(&mut damaged[..header]);
            }
            two.send(2, OUTSIDE, &damaged);
        }
        two.poll();
        // Only a change in what nobody authenticates (DSCP, TTL, the identification) may pass.
        let authenticated = place >= if udp { 28 } else { 20 };
        if authenticated || damaged.len() < good.len() {
            prop_assert!(two.receive(INSIDE).is_empty());
        }
    }
}

#[test]
fn an_unknown_port_counts_as_outside() {
    let fib = warren_engine::fib::Fib::default();
    assert_eq!(fib.side(warren_seam::PortIndex(3)), Side::Outside);
}

#[test] // F-24, F-30, RFC 4301 §7
fn later_fragments_of_what_some_ports_protect_never_leave_in_clear() {
    let (mut one, _) = established_pair(Scheme::default());
    let mut set = rules(1);
    set.tunnel[0].selector.protocol = Protocol::Is(protocol::UDP);
    set.tunnel[0].selector.destination_port = PortRange::new(6000, 6000).unwrap();
    one.submit(Command::Rules(set));
    one.submit(Command::Bind { rule: RuleId(0), stack: vec![SaId(1)] });
    let piece = |offset: usize, more: bool| {
        with_header(Udp { dont_fragment: false, ..Udp::default() }.packet(), |header| {
            ipv4::set_fragment(header, 128, offset, more);
        })
    };
    let later = piece(104, false);
    one.send_and_poll(1, INSIDE, &later);
    one.assert_drops(&[(DropReason::RuleDiscard, 1)]);
    // In clear from outside it could be put behind a first fragment that came through the tunnel.
    let back = with_header(later, |header| header[12..20].rotate_left(4));
    one.send_and_poll(1, OUTSIDE, &back);
    assert_eq!(one.dropped(DropReason::RuleDiscard), 2);
    assert!(one.receive(OUTSIDE).is_empty() && one.receive(INSIDE).is_empty());
    // Ports that can be seen, and are others, pass as the rules say.
    one.send_and_poll(1, INSIDE, &Udp { ports: (5000, 53), ..Udp::default() }.packet());
    assert_eq!(one.receive(OUTSIDE).len(), 1);
}

#[test] // F-24
fn what_a_tunnel_brought_does_not_go_back_out_in_clear_when_its_network_is_gone() {
    let (mut one, mut two) = established_pair(Scheme::default());
    let mut gone = table(2);
    gone.routes.retain(|route| route.port.0 as usize == OUTSIDE);
    two.submit(Command::Forwarding(gone));
    for (from, to) in [("10.1.0.2", "10.2.0.2"), ("2001:db8:1::2", "2001:db8:2::2")] {
        one.send_and_poll(1, INSIDE, &Udp { from, to, ..Udp::default() }.packet());
        carry(&one, &mut two);
    }
    two.assert_drops(&[(DropReason::NoRule, 2)]);
    assert!(two.receive(OUTSIDE).is_empty());
    // A rule that lets it out is the operator's word.
    let mut set = rules(2);
    let selector = between("10.1.0.0/16", "10.2.0.0/16");
    set.transport.push(transport(selector, TransportAction::Bypass));
    two.submit(Command::Rules(set));
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    carry(&one, &mut two);
    assert_eq!(two.receive(OUTSIDE).len(), 1);
}

#[test] // F-24
fn a_packet_that_waits_for_its_neighbour_does_not_leave_outside_when_the_routes_change() {
    let (mut one, mut two) = established_pair(Scheme::default());
    let mut silent = table(2);
    silent.neighbours.retain(|known| known.port.0 as usize == OUTSIDE);
    two.submit(Command::Forwarding(silent));
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    carry(&one, &mut two);
    assert_eq!(two.counters().held(), 1);
    let mut gone = table(2);
    gone.routes.retain(|route| route.port.0 as usize == OUTSIDE);
    two.submit(Command::Forwarding(gone));
    two.poll();
    two.assert_drops(&[(DropReason::NoRule, 1)]);
    assert!(two.receive(OUTSIDE).is_empty());
}

#[test] // F-12
fn a_change_of_routes_gives_no_new_time_to_what_waits_for_a_neighbour() {
    let mut one = Gateway::site(1);
    one.send_and_poll(1, INSIDE, &Udp { to: "203.0.113.1", ..Udp::default() }.packet());
    assert_eq!(one.receive(OUTSIDE).len(), 1);
    let mut silent = table(1);
    silent.neighbours.clear();
    one.submit(Command::Forwarding(silent.clone()));
    one.send_and_poll(1, INSIDE, &Udp { to: "203.0.113.1", ..Udp::default() }.packet());
    for _ in 0..4 {
        assert_eq!(one.counters().held(), 1);
        one.now += Duration::from_millis(250);
        one.submit(Command::Forwarding(silent.clone()));
        one.poll();
    }
    one.assert_drops(&[(DropReason::NoNeighbour, 1)]);
}
