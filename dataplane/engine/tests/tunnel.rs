//! Two gateways back to back: what goes in on one side comes out on the other, and nothing else does.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use warren_engine::packet::{ipv4, protocol};
use warren_engine::{DropReason, Refused, Settings, Tally};
use warren_policy::{EspTransform, Hash, KeyBits, RuleId, TransportAction};
use warren_seam::{Carrier, Command, Encapsulation, Event, SaId, Spi, Volume};

fn transforms() -> Vec<EspTransform> {
    let bits = [KeyBits::B128, KeyBits::B192, KeyBits::B256];
    let hashes = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512];
    let cbc = bits.into_iter().flat_map(|bits| hashes.map(|hash| EspTransform::AesCbcHmac(bits, hash)));
    bits.map(EspTransform::AesGcm16).into_iter().chain(cbc).collect()
}

#[test] // F-17
fn every_transform_carries_both_families_in_both_families_raw_and_in_udp() {
    for transform in transforms() {
        for encapsulation in [Encapsulation::Raw, UDP_4500] {
            for (outer_ipv6, esn) in [(false, false), (false, true), (true, false), (true, true)] {
                let scheme = Scheme { transform, encapsulation, outer_ipv6, esn };
                let (mut one, mut two) = established_pair(scheme);
                let hosts = [("10.1.0.2", "10.2.0.2"), ("2001:db8:1::2", "2001:db8:2::2")];
                for (from, to) in hosts {
                    for payload in [24, 25, 100, 1200] {
                        let packet = Udp { from, to, payload, ..Udp::default() }.packet();
                        one.send_and_poll(1, INSIDE, &packet);
                        let wire = carry(&one, &mut two);
                        assert_eq!(wire.len(), 1, "{scheme:?} {:?}", one.counters());
                        assert!(!shows(&wire[0], &packet), "{scheme:?}");
                        assert_eq!(summary(&wire[0]).is_ipv6(), outer_ipv6);
                        assert_eq!(
                            two.receive(INSIDE),
                            [after_hops(&packet, 2)],
                            "{scheme:?} {:?}",
                            two.counters()
                        );
                    }
                    let answer = Udp { from: to, to: from, ..Udp::default() }.packet();
                    two.send_and_poll(2, INSIDE, &answer);
                    carry(&two, &mut one);
                    assert_eq!(one.receive(INSIDE), [after_hops(&answer, 2)], "{scheme:?}");
                }
                one.assert_drops(&[]);
                two.assert_drops(&[]);
            }
        }
    }
}

#[test] // RFC 3948 §2.1, RFC 6935
fn a_udp_header_has_a_checksum_only_over_ipv6() {
    for outer_ipv6 in [false, true] {
        let scheme = Scheme { encapsulation: UDP_4500, outer_ipv6, ..Scheme::default() };
        let (mut one, mut two) = established_pair(scheme);
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
        let wire = carry(&one, &mut two).remove(0);
        let outer = summary(&wire);
        assert_eq!((outer.tuple.source_port, outer.tuple.destination_port), (Some(4500), Some(4500)));
        let datagram = &wire[outer.upper_at..];
        let sum = u16::from_be_bytes([datagram[6], datagram[7]]);
        if outer_ipv6 {
            let (source, destination) = match (outer.tuple.source, outer.tuple.destination) {
                (std::net::IpAddr::V6(source), std::net::IpAddr::V6(destination)) => (source, destination),
                _ => panic!("IPv6"),
            };
            let whole = warren_engine::packet::checksum::Sum::default();
            let whole =
                whole.pseudo_ipv6(source, destination, protocol::UDP, datagram.len()).octets(datagram);
            assert_eq!(whole.finish(), 0);
        } else {
            assert_eq!(sum, 0);
        }
    }
}

#[test] // RFC 4301 §5.1.2, RFC 6040
fn the_outer_header_takes_over_what_it_should_and_nothing_else() {
    let (mut one, mut two) = established_pair(Scheme::default());
    // DSCP EF, ECT(0), five hops to go.
    let packet = Udp { traffic_class: 0xBA, ttl: 5, dont_fragment: false, ..Udp::default() }.packet();
    one.send_and_poll(1, INSIDE, &packet);
    let mut wire = one.receive(OUTSIDE).remove(0);
    let outer = summary(&wire);
    assert_eq!((outer.traffic_class, outer.ttl, outer.dont_fragment), (0xBA, 64, false));
    // Congestion on the way reaches the host.
    ipv4::set_ecn(&mut wire, 0b11);
    two.send_and_poll(2, OUTSIDE, &wire);
    assert_eq!(summary(&two.receive(INSIDE)[0]).traffic_class, 0xBB);

    // Congestion on a packet that does not know what that is: RFC 6040 §4.2.
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    let mut wire = one.receive(OUTSIDE).remove(0);
    assert!(summary(&wire).dont_fragment);
    ipv4::set_ecn(&mut wire, 0b11);
    two.send_and_poll(2, OUTSIDE, &wire);
    two.assert_drops(&[(DropReason::EcnMismatch, 1)]);
}

#[test] // F-24
fn without_an_sa_protected_traffic_is_dropped_and_asks_once() {
    let mut one = Gateway::site(1);
    for _ in 0..5 {
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
    }
    one.assert_drops(&[(DropReason::NoSa, 5)]);
    assert!(one.receive(OUTSIDE).is_empty());
    let asked = |events: &[Event]| {
        events.iter().filter(|event| matches!(event, Event::Acquire { rule: RuleId(0), .. })).count()
    };
    assert_eq!(asked(&one.take_events()), 1);
    one.submit(Command::Rearm(RuleId(0)));
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    assert_eq!(asked(&one.take_events()), 1);
    establish(&mut one, 1, Scheme::default());
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    assert_eq!(one.receive(OUTSIDE).len(), 1);
    // The SA goes without a successor: closed again, and asking again.
    one.submit(Command::Remove(outbound(Scheme::default(), 1, 0).id));
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    assert!(one.receive(OUTSIDE).is_empty());
    assert_eq!(asked(&one.take_events()), 1);
}

#[test] // F-24
fn new_rules_keep_the_bindings_of_rules_that_stay_and_lose_no_packet() {
    let (mut one, mut two) = established_pair(Scheme::default());
    for round in 0..20 {
        let mut set = rules(1);
        // Others come, go and change places, in front and behind.
        for extra in 0..round % 4 {
            let network = format!("10.{}.0.0/16", 100 + extra);
            set.tunnel.insert(0, tunnel(2 + extra, between("10.1.0.0/16", &network)));
        }
        one.submit(Command::Rules(set));
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
        carry(&one, &mut two);
    }
    one.assert_drops(&[]);
    assert_eq!(two.receive(INSIDE).len(), 20);
}

#[test] // F-24
fn a_rule_that_is_gone_is_unbound_and_its_identifier_comes_back_unbound() {
    let (mut one, _) = established_pair(Scheme::default());
    let mut without = rules(1);
    without.tunnel.remove(0);
    without.transport.insert(0, transport(between("10.1.0.0/16", "10.2.0.0/16"), TransportAction::Discard));
    one.submit(Command::Rules(without));
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    one.submit(Command::Rules(rules(1)));
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    one.assert_drops(&[(DropReason::RuleDiscard, 1), (DropReason::NoSa, 1)]);
    assert!(one.receive(OUTSIDE).is_empty());
    let asks = |event: &Event| matches!(event, Event::Acquire { rule: RuleId(0), .. });
    assert_eq!(one.take_events().iter().filter(|event| asks(event)).count(), 1);
}

#[test]
fn an_identifier_beyond_every_table_is_refused() {
    let mut one = Gateway::site(1);
    let mut set = rules(1);
    set.tunnel.push(tunnel(u32::MAX, between("10.1.0.0/16", "10.3.0.0/16")));
    assert!(matches!(one.handle.submit(Command::Rules(set)), Err(Refused::BadRule(u32::MAX))));
    let mut set = rules(1);
    let last = warren_engine::limits::RULE_IDS_MAX as u32 - 1;
    set.tunnel.push(tunnel(last, between("10.1.0.0/16", "10.3.0.0/16")));
    assert!(one.handle.submit(Command::Rules(set)).is_ok());
}

#[test] // NT-4, Q-17
fn rules_decide_what_passes_in_clear() {
    let (mut one, mut two) = established_pair(Scheme::default());
    let clear = Udp { to: "203.0.113.9", ..Udp::default() }.packet();
    one.send_and_poll(1, INSIDE, &clear);
    assert_eq!(one.receive(OUTSIDE), [after_hops(&clear, 1)]);
    one.send_and_poll(1, INSIDE, &Udp { to: "10.9.0.1", ..Udp::default() }.packet());
    one.send_and_poll(1, INSIDE, &Udp { from: "10.77.0.1", ..Udp::default() }.packet());
    one.assert_drops(&[(DropReason::RuleDiscard, 1), (DropReason::NoRule, 1)]);
    // The answer to what went out in clear comes back in clear.
    let answer = Udp { from: "203.0.113.9", to: "10.1.0.2", ..Udp::default() }.packet();
    one.send_and_poll(1, OUTSIDE, &answer);
    assert_eq!(one.receive(INSIDE), [after_hops(&answer, 1)]);
    // What should have come through the tunnel does not come in without it, not even to ourselves.
    two.send_and_poll(2, OUTSIDE, &Udp::default().packet());
    two.send_and_poll(2, OUTSIDE, &Udp { to: "10.2.0.1", ..Udp::default() }.packet());
    two.assert_drops(&[(DropReason::ClearTextInbound, 2)]);
    assert!(two.receive(INSIDE).is_empty() && two.kernel().is_empty());
}

#[test]
fn what_is_for_the_gateway_itself_goes_to_the_kernel_and_back_out_by_the_rules() {
    let (mut one, mut two) = established_pair(Scheme::default());
    // IKE from the peer, plain and behind the non-ESP marker.
    let ike = Udp { from: "192.0.2.2", to: "192.0.2.1", ports: (500, 500), ..Udp::default() }.packet();
    let mut marked =
        Udp { from: "192.0.2.2", to: "192.0.2.1", ports: (4500, 4500), ..Udp::default() }.packet();
    marked[28..32].fill(0);
    one.send(1, OUTSIDE, &ike);
    one.send_and_poll(1, OUTSIDE, &marked);
    assert_eq!(one.kernel(), [ike, marked]);
    // A NAT keepalive is nobody's business.
    let keepalive =
        Udp { from: "192.0.2.2", to: "192.0.2.1", ports: (4500, 4500), payload: 0, ..Udp::default() };
    let mut datagram = vec![0; 9];
    warren_engine::packet::udp::emit(&mut datagram, 4500, 4500, 9);
    datagram[8] = 0xFF;
    one.send_and_poll(1, OUTSIDE, &ip_packet(&keepalive, protocol::UDP, &datagram));
    one.assert_drops(&[(DropReason::NatKeepalive, 1)]);
    // From a host of the other site through the tunnel to the gateway's inside address, and back.
    let ping = Udp { from: "10.2.0.2", to: "10.1.0.1", ..Udp::default() }.packet();
    two.send_and_poll(2, INSIDE, &ping);
    carry(&two, &mut one);
    assert_eq!(one.kernel(), [after_hops(&ping, 1)]);
    let pong = Udp { from: "10.1.0.1", to: "10.2.0.2", ..Udp::default() }.packet();
    assert!(one.links[0][2].send(&pong));
    one.poll();
    carry(&one, &mut two);
    assert_eq!(two.receive(INSIDE), [after_hops(&pong, 1)]);
    // From inside to the gateway itself.
    let own = Udp { to: "10.1.0.1", ..Udp::default() }.packet();
    one.send_and_poll(1, INSIDE, &own);
    assert_eq!(one.kernel(), [own]);
    assert_eq!(one.tally(Tally::Kernel), 4);
}

#[test] // F-19
fn replayed_packets_are_dropped_also_within_one_batch() {
    let (mut one, mut two) = established_pair(Scheme::default());
    for _ in 0..3 {
        one.send(1, INSIDE, &Udp::default().packet());
    }
    one.poll();
    let wire = one.receive(OUTSIDE);
    for packet in wire.iter().chain(&wire) {
        two.send(2, OUTSIDE, packet);
    }
    two.poll();
    assert_eq!(two.receive(INSIDE).len(), 3);
    two.send_and_poll(2, OUTSIDE, &wire[1]);
    two.assert_drops(&[(DropReason::Replayed, 4)]);
    assert_eq!(two.handle.sa_counters(SaId(1010)).unwrap().replayed, 4);
}

#[test] // F-17, F-18
fn an_sa_stops_before_its_numbers_wrap_and_warns_in_time() {
    let scheme = Scheme { esn: false, ..Scheme::default() };
    let mut one = Gateway::site(1);
    let mut sa = outbound(scheme, 1, 0);
    sa.sequence = u64::from(u32::MAX) / 4 * 3 - 2;
    one.submit(Command::InstallOutbound(Box::new(sa)));
    one.submit(Command::Bind { rule: RuleId(0), stack: vec![SaId(10)] });
    one.poll();
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    assert!(one.take_events().is_empty());
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    assert_eq!(one.take_events(), [Event::SoftExpire(SaId(10))]);

    let mut sa = outbound(scheme, 1, 0);
    sa.id = SaId(20);
    sa.sequence = u64::from(u32::MAX) - 2;
    one.submit(Command::InstallOutbound(Box::new(sa)));
    one.submit(Command::Bind { rule: RuleId(0), stack: vec![SaId(20)] });
    one.poll();
    one.receive(OUTSIDE);
    for _ in 0..5 {
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
    }
    let numbers: Vec<_> = one.receive(OUTSIDE).iter().map(|wire| wire[24..28].to_vec()).collect();
    assert_eq!(numbers, [[0xFF, 0xFF, 0xFF, 0xFE], [0xFF, 0xFF, 0xFF, 0xFF]]);
    assert_eq!(one.dropped(DropReason::SaExpired), 3);
    let events = one.take_events();
    assert_eq!(events.iter().filter(|event| **event == Event::HardExpire(SaId(20))).count(), 1);
}

#[test] // F-17
fn an_sa_of_64_bit_numbers_stops_at_the_last_of_them_too() {
    for fast_path in [true, false] {
        let mut one = Gateway::new(1, &Settings { fast_path, ..Settings::default() });
        one.submit(Command::Forwarding(table(1)));
        one.submit(Command::Rules(rules(1)));
        let mut sa = outbound(Scheme { esn: true, ..Scheme::default() }, 1, 0);
        sa.sequence = u64::MAX - 2;
        one.submit(Command::InstallOutbound(Box::new(sa)));
        one.submit(Command::Bind { rule: RuleId(0), stack: vec![SaId(10)] });
        for _ in 0..5 {
            one.send_and_poll(1, INSIDE, &Udp::default().packet());
        }
        // The whole number is the IV (RFC 4106).
        let numbers: Vec<_> = one.receive(OUTSIDE).iter().map(|wire| wire[28..36].to_vec()).collect();
        assert_eq!(numbers, [(u64::MAX - 1).to_be_bytes(), u64::MAX.to_be_bytes()]);
        assert_eq!(one.dropped(DropReason::SaExpired), 3);
    }
}

#[test] // F-18
fn volume_limits_are_reported_once_and_the_hard_one_stops_both_directions() {
    let scheme = Scheme::default();
    let (mut one, mut two) = (Gateway::site(1), Gateway::site(2));
    let volume = Volume { soft_octets: 256, hard_octets: 512 };
    let (mut out, mut into) = (outbound(scheme, 1, 0), inbound(scheme, 1, 0));
    out.volume = volume;
    // The receiver counts padding too, so it stops first here.
    into.volume = Volume { soft_octets: 128, hard_octets: 256 };
    let (out_id, in_id) = (out.id, into.id);
    one.submit(Command::InstallOutbound(Box::new(out)));
    one.submit(Command::Bind { rule: RuleId(0), stack: vec![out_id] });
    two.submit(Command::InstallInbound(Box::new(into)));
    one.poll();
    two.poll();
    for _ in 0..8 {
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
        carry(&one, &mut two);
    }
    assert_eq!(one.take_events(), [Event::SoftExpire(out_id), Event::HardExpire(out_id)]);
    let events = two.take_events();
    assert_eq!(events, [Event::FirstInbound(in_id), Event::SoftExpire(in_id), Event::HardExpire(in_id)]);
    assert_eq!((one.dropped(DropReason::SaExpired), two.dropped(DropReason::SaExpired)), (4, 2));
    assert_eq!(two.receive(INSIDE).len(), 2);
}

#[test] // RFC 3948 §4, F-20
fn a_moved_nat_mapping_is_reported_only_by_the_newest_authentic_packet() {
    let scheme = Scheme { encapsulation: UDP_4500, ..Scheme::default() };
    let (mut one, mut two) = established_pair(scheme);
    let moved = |wire: &[u8], port: u16| {
        let mut wire = wire.to_vec();
        wire[20..22].copy_from_slice(&port.to_be_bytes());
        wire
    };
    for _ in 0..4 {
        one.send(1, INSIDE, &Udp::default().packet());
    }
    one.poll();
    let wire = one.receive(OUTSIDE);
    two.send_and_poll(2, OUTSIDE, &wire[0]);
    assert_eq!(two.take_events(), [Event::FirstInbound(SaId(1010))]);
    // A forgery from elsewhere moves nothing.
    let mut forged = moved(&wire[2], 9);
    *forged.last_mut().unwrap() ^= 1;
    two.send_and_poll(2, OUTSIDE, &forged);
    two.send_and_poll(2, OUTSIDE, &moved(&wire[2], 1024));
    two.send_and_poll(2, OUTSIDE, &wire[1]);
    two.send_and_poll(2, OUTSIDE, &moved(&wire[3], 1024));
    let remote = "192.0.2.1:1024".parse().unwrap();
    assert_eq!(two.take_events(), [Event::PeerMoved { sa: SaId(1010), remote }]);
    assert_eq!(two.receive(INSIDE).len(), 4);
    // Control moves the other direction, and it goes there.
    let encapsulation = Encapsulation::Udp { local_port: 4500, remote_port: 1024 };
    two.submit(Command::MovePeer { sa: SaId(20), remote: ip("192.0.2.1"), encapsulation });
    two.poll();
    two.send_and_poll(2, INSIDE, &Udp { from: "10.2.0.2", to: "10.1.0.2", ..Udp::default() }.packet());
    assert_eq!(summary(&two.receive(OUTSIDE)[0]).tuple.destination_port, Some(1024));
}

#[test] // NT-21, NT-34, F-27
fn a_stack_of_two_is_put_on_innermost_first_and_taken_off_again() {
    let scheme = Scheme::default();
    let (mut one, mut two) = established_pair(scheme);
    let selector = between("192.0.2.1/32", "192.0.2.2/32");
    let mut outer_out = outbound(Scheme { encapsulation: UDP_4500, ..scheme }, 1, 0);
    (outer_out.id, outer_out.spi, outer_out.selector) = (SaId(50), Spi(0x5000), selector);
    let mut outer_in = inbound(Scheme { encapsulation: UDP_4500, ..scheme }, 1, 0);
    (outer_in.id, outer_in.spi, outer_in.selector) = (SaId(51), Spi(0x5000), selector);
    outer_in.rule = RuleId(5);
    let mut inner_in = inbound(scheme, 1, 0);
    inner_in.carrier = Carrier::Rule(RuleId(5));
    two.submit(Command::InstallInbound(Box::new(inner_in)));
    one.submit(Command::InstallOutbound(Box::new(outer_out)));
    one.submit(Command::Bind { rule: RuleId(0), stack: vec![SaId(10), SaId(50)] });
    two.submit(Command::InstallInbound(Box::new(outer_in)));
    one.poll();
    two.poll();
    let packet = Udp::default().packet();
    one.send_and_poll(1, INSIDE, &packet);
    let wire = carry(&one, &mut two);
    assert_eq!(summary(&wire[0]).tuple.protocol, protocol::UDP);
    assert_eq!(two.receive(INSIDE), [after_hops(&packet, 2)]);
    assert_eq!((one.tally(Tally::Sealed), two.tally(Tally::Opened)), (2, 2));
    // The room in the tunnel is what both levels leave of it.
    one.send_and_poll(1, INSIDE, &Udp { payload: 1472, ..Udp::default() }.packet());
    let told = one.receive(INSIDE).remove(0);
    let outer_room = (1500 - 20 - 8 - 8 - 8 - 16) / 4 * 4 - 2;
    let room = (outer_room - 20 - 8 - 8 - 16) / 4 * 4 - 2;
    assert_eq!(u16::from_be_bytes([told[26], told[27]]), room);
    let payload = usize::from(room) - 28;
    one.send_and_poll(1, INSIDE, &Udp { payload, ..Udp::default() }.packet());
    let wire = carry(&one, &mut two);
    assert!(wire[0].len() <= 1500 && wire[0].len() > 1496, "{}", wire[0].len());
    assert_eq!(two.receive(INSIDE).len(), 1);
    // With its outer SA gone half a stack is no stack.
    one.submit(Command::Remove(SaId(50)));
    one.poll();
    one.send_and_poll(1, INSIDE, &packet);
    assert!(one.receive(OUTSIDE).is_empty());
    assert_eq!(one.dropped(DropReason::NoSa), 1);
}

#[test] // F-25
fn the_selectors_hold_on_both_ends() {
    let scheme = Scheme::default();
    let (mut one, mut two) = established_pair(scheme);
    let mut narrow = outbound(scheme, 1, 0);
    narrow.selector = between("10.1.0.0/24", "10.2.0.0/24");
    one.submit(Command::InstallOutbound(Box::new(narrow)));
    one.send_and_poll(1, INSIDE, &Udp { to: "10.2.1.2", ..Udp::default() }.packet());
    one.assert_drops(&[(DropReason::OutsideSelector, 1)]);
    assert!(one.receive(OUTSIDE).is_empty());
    let mut narrow = inbound(scheme, 1, 0);
    narrow.selector = between("10.1.5.0/24", "10.2.0.0/16");
    two.submit(Command::InstallInbound(Box::new(narrow)));
    one.send_and_poll(1, INSIDE, &Udp::default().packet());
    carry(&one, &mut two);
    two.assert_drops(&[(DropReason::SelectorMismatch, 1)]);
    assert!(two.receive(INSIDE).is_empty());
}

/// Gateway 2 as a hub: what arrives from site 1 for site 3 goes into another tunnel.
#[test] // RFC 4301 §5.2
fn a_hub_passes_from_one_tunnel_into_another_or_inside_and_outside_only_by_a_rule() {
    let scheme = Scheme::default();
    let mut two = Gateway::site(2);
    let mut set = rules(2);
    set.transport.insert(0, transport(between("10.1.0.0/16", "10.66.0.0/16"), TransportAction::Discard));
    set.transport.push(transport(between("10.1.0.0/16", "10.3.0.0/16"), TransportAction::Permit));
    set.transport.push(transport(between("10.1.0.0/16", "203.0.113.0/24"), TransportAction::Bypass));
    set.tunnel.push(tunnel(2, between("10.1.0.0/16", "10.3.0.0/16")));
    two.submit(Command::Rules(set));
    let mut wide = inbound(scheme, 1, 0);
    wide.selector = between("10.1.0.0/16", "0.0.0.0/0");
    two.submit(Command::InstallInbound(Box::new(wide)));
    let mut onward = outbound(scheme, 2, 0);
    (onward.id, onward.selector, onward.rule) = (SaId(30), between("10.1.0.0/16", "10.3.0.0/16"), RuleId(2));
    two.submit(Command::InstallOutbound(Box::new(onward)));
    two.submit(Command::Bind { rule: RuleId(2), stack: vec![SaId(30)] });
    two.poll();

    let mut one = Gateway::site(1);
    let mut set = rules(1);
    set.tunnel[0].selector = between("10.1.0.0/16", "0.0.0.0/0");
    let mut sa = outbound(scheme, 1, 0);
    sa.selector = set.tunnel[0].selector;
    one.submit(Command::Rules(set));
    one.submit(Command::InstallOutbound(Box::new(sa)));
    one.submit(Command::Bind { rule: RuleId(0), stack: vec![SaId(10)] });
    one.poll();
    let mut pass = |to: &str| {
        one.send_and_poll(1, INSIDE, &Udp { to, ..Udp::default() }.packet());
        carry(&one, &mut two);
        (two.receive(OUTSIDE), two.receive(INSIDE).len())
    };
    let (onward, inside) = pass("10.3.0.9");
    assert_eq!((onward.len(), inside), (1, 0));
    assert_eq!(summary(&onward[0]).tuple.protocol, protocol::ESP);
    let (onward, _) = pass("203.0.113.7");
    assert_eq!(summary(&onward[0]).tuple.destination, ip("203.0.113.7"));
    // No rule of the hub speaks of these: what the SA may carry may go on inside, and not outside in clear.
    assert_eq!(pass("10.2.0.2"), (vec![], 1));
    assert_eq!(pass("198.51.100.7"), (vec![], 0));
    assert_eq!(pass("10.66.0.1"), (vec![], 0));
    two.assert_drops(&[(DropReason::NoRule, 1), (DropReason::RuleDiscard, 1)]);
}

#[test]
fn settings_decide_about_the_df_bit() {
    use warren_engine::OuterFragmentation as Outer;
    for (choice, inner, expected) in [
        (Outer::CopyDontFragment, true, true),
        (Outer::CopyDontFragment, false, false),
        (Outer::SetDontFragment, false, true),
        (Outer::ClearDontFragment, true, false),
    ] {
        let mut one = Gateway::new(1, &Settings { outer_fragmentation: choice, ..Settings::default() });
        one.submit(Command::Forwarding(table(1)));
        one.submit(Command::Rules(rules(1)));
        establish(&mut one, 1, Scheme::default());
        one.send_and_poll(1, INSIDE, &Udp { dont_fragment: inner, ..Udp::default() }.packet());
        assert_eq!(summary(&one.receive(OUTSIDE)[0]).dont_fragment, expected, "{choice:?} {inner}");
    }
}
