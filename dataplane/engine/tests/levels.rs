//! Levels around a rule's own tunnel, which are rules of no rule set, and base rules that protect by themselves inside them.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::tower::{Tower, far, host};
use lab::*;
use std::net::IpAddr;
use warren_engine::packet::checksum::fill_udp_ipv6;
use warren_engine::packet::protocol;
use warren_engine::{DropReason, Settings, Tally};
use warren_policy::{PeerId, Protection, RuleId, RuleSet, TransportAction};
use warren_seam::{Carrier, Command, Encapsulation, Event, OutboundSa, SaId, SaMode};

/// Both directions once.
fn exchange(one: &mut Gateway, two: &mut Gateway) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (there, back) = (Udp::default(), Udp { from: "10.2.0.2", to: "10.1.0.2", ..Udp::default() });
    one.send_and_poll(1, INSIDE, &there.packet());
    let wire = carry(one, two);
    two.send_and_poll(2, INSIDE, &back.packet());
    let answer = carry(two, one);
    assert_eq!(two.receive(INSIDE), [after_hops(&there.packet(), 2)]);
    assert_eq!(one.receive(INSIDE), [after_hops(&back.packet(), 2)]);
    (wire, answer)
}

#[test] // NT-20, NT-21, NT-23, NT-34, RFC 3948 §2
fn every_mix_of_raw_and_udp_levels_of_both_families_carries_both_directions() {
    for workers in [1, 3] {
        for tower in Tower::all(3) {
            let (mut one, mut two) = tower.build(workers);
            for (packets, ends) in [
                (exchange(&mut one, &mut two).0, (tower.own(2), tower.gateway(2))),
                (exchange(&mut one, &mut two).1, (tower.gateway(2), tower.own(2))),
            ] {
                let outer = summary(&packets[0]).tuple;
                assert_eq!((outer.source, outer.destination), ends);
                let (number, port) = match tower.0[2].encapsulation {
                    Encapsulation::Raw => (protocol::ESP, None),
                    Encapsulation::Udp { .. } => (protocol::UDP, Some(4500)),
                };
                assert_eq!((outer.protocol, outer.destination_port), (number, port), "{tower:?}");
            }
            assert_eq!((one.tally(Tally::Sealed), one.tally(Tally::Opened)), (6, 6));
            one.assert_drops(&[]);
            two.assert_drops(&[]);
        }
    }
}

#[test] // NT-34, F-24
fn levels_that_are_in_no_rule_set_work_in_both_directions_whatever_becomes_of_the_rules() {
    let tower = Tower::raw(3, false);
    for workers in [1, 3] {
        let (mut one, mut two) = tower.build(workers);
        exchange(&mut one, &mut two);
        // Other rules, more rules, and one whose number is near that of a level.
        let mut more = rules(1);
        more.tunnel.push(tunnel(75, between("10.1.0.0/16", "10.77.0.0/16")));
        for rules in [rules(1), more, rules(1)] {
            one.submit(Command::Rules(rules));
            exchange(&mut one, &mut two);
        }
        // Without the rule nothing goes out; what comes in is still what its SA and the SAs around say.
        one.submit(Command::Rules(RuleSet::default()));
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
        assert!(one.receive(OUTSIDE).is_empty());
        one.assert_drops(&[(DropReason::NoRule, 1)]);
        // And with it again it has to be bound again.
        one.submit(Command::Rules(rules(1)));
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
        assert_eq!(one.dropped(DropReason::NoSa), 1);
        one.submit(Command::Bind { rule: RuleId(0), stack: tower.stack(0) });
        exchange(&mut one, &mut two);
    }
}

#[test] // NT-34
fn the_rule_of_the_sa_around_is_what_a_level_is_held_against() {
    for level in 0..2 {
        for wrong in [Carrier::Network, Carrier::Rule(RuleId(0)), Carrier::Rule(RuleId(75))] {
            let tower = Tower::raw(3, false);
            let (mut one, mut two) = tower.build(1);
            let mut sa = tower.received(&tower.forth(level), level);
            sa.carrier = wrong;
            two.submit(Command::InstallInbound(Box::new(sa)));
            one.send_and_poll(1, INSIDE, &Udp::default().packet());
            carry(&one, &mut two);
            two.assert_drops(&[(DropReason::WrongCarrier, 1)]);
            // Its number was not spent: it is taken once the SA is right.
            two.submit(Command::InstallInbound(Box::new(tower.received(&tower.forth(level), level))));
            one.send_and_poll(1, INSIDE, &Udp::default().packet());
            carry(&one, &mut two);
            assert_eq!(two.receive(INSIDE).len(), 1);
        }
    }
}

#[test] // NT-28, F-27
fn eight_levels_of_esp_in_udp_are_peeled_and_a_ninth_is_not() {
    for levels in [8, 9] {
        let tower = Tower(vec![tower::Level { ipv6: false, encapsulation: UDP_4500 }; levels]);
        let (mut one, mut two) = tower.build(1);
        // Two frames' worth of headers: half of the levels by the rule, the others one by one through the kernel's port.
        one.submit(Command::Bind {
            rule: RuleId(0),
            stack: (0..4).map(|level| tower.forth(level).id).collect(),
        });
        one.send_and_poll(1, INSIDE, &Udp { payload: 40, ..Udp::default() }.packet());
        let mut packet = one.receive(OUTSIDE).remove(0);
        for level in 4..levels {
            let entry = warren_seam::Entry::Through(vec![tower.forth(level).id]);
            one.submit(Command::Inject(Box::new(warren_seam::Injected { entry, packet })));
            one.poll();
            packet = one.receive(OUTSIDE).remove(0);
        }
        two.send_and_poll(2, OUTSIDE, &packet);
        assert_eq!(two.tally(Tally::Opened), 8);
        assert_eq!(two.receive(INSIDE).len(), usize::from(levels == 8));
        two.assert_drops(if levels == 8 { &[] } else { &[(DropReason::TooDeep, 1)] });
    }
}

/// What gateway 1 says to gateway 2 itself is protected by rule 5, inside one level to another gateway.
const PROTECTION: RuleId = RuleId(5);
const TUN: usize = 2;

fn ends(ipv6: bool) -> [IpAddr; 2] {
    if ipv6 { [ip("2001:db8:ff::1"), far(0, true)] } else { [ip("192.0.2.1"), far(0, false)] }
}

fn protection_rules(ipv6: bool) -> RuleSet {
    let [own, peer] = ends(ipv6);
    let protect = Protection { rule: PROTECTION, peer: PeerId(0), host: peer };
    let mut set = rules(1);
    set.transport.insert(0, transport(between(&host(own), &host(peer)), TransportAction::Protect(protect)));
    set
}

fn end_to_end(tower: &Tower) -> (OutboundSa, OutboundSa) {
    let selector = between(&host(tower.own(0)), &host(tower.gateway(0)));
    let forth = OutboundSa { mode: SaMode::Transport, rule: PROTECTION, selector, ..tower.forth(0) };
    let back = OutboundSa {
        mode: SaMode::Transport,
        rule: PROTECTION,
        selector: selector.mirrored(),
        ..tower.back(0)
    };
    (forth, back)
}

/// A tower whose innermost level is transport mode between gateway 1 and the far host itself.
fn protecting(tower: &Tower, workers: usize) -> (Gateway, Gateway) {
    let (mut one, mut two) = tower.build(workers);
    let (forth, back) = end_to_end(tower);
    one.submit(Command::Rules(protection_rules(tower.0[0].ipv6)));
    for (gateway, out, into) in [(&mut one, &forth, &back), (&mut two, &back, &forth)] {
        gateway.submit(Command::InstallInbound(Box::new(tower.received(into, 0))));
        gateway.submit(Command::InstallOutbound(Box::new(out.clone())));
    }
    one.submit(Command::Bind { rule: PROTECTION, stack: tower.stack(0) });
    one.poll();
    two.poll();
    (one, two)
}

fn said(tower: &Tower, ports: (u16, u16), payload: usize) -> Vec<u8> {
    let (from, to) = (tower.own(0).to_string(), tower.gateway(0).to_string());
    summed(Udp { from: &from, to: &to, ports, payload, ..Udp::default() }.packet())
}

fn answered(tower: &Tower, ports: (u16, u16)) -> Vec<u8> {
    let (to, from) = (tower.own(0).to_string(), tower.gateway(0).to_string());
    summed(Udp { from: &from, to: &to, ports, ..Udp::default() }.packet())
}

/// With the checksum that UDP has to have in IPv6.
fn summed(mut packet: Vec<u8>) -> Vec<u8> {
    let tuple = summary(&packet).tuple;
    if let (IpAddr::V6(from), IpAddr::V6(to)) = (tuple.source, tuple.destination) {
        fill_udp_ipv6(from, to, &mut packet[40..]);
    }
    packet
}

fn say(gateway: &mut Gateway, packet: &[u8]) {
    assert!(gateway.links[0][TUN].send(packet));
    gateway.poll();
}

fn through(gateway: &mut Gateway, stack: Vec<SaId>, packet: &[u8]) {
    let entry = warren_seam::Entry::Through(stack);
    gateway.submit(Command::Inject(Box::new(warren_seam::Injected { entry, packet: packet.to_vec() })));
    gateway.poll();
}

#[test] // NT-5, NT-19, NT-21, Q-17
fn what_we_say_ourselves_is_protected_end_to_end_inside_the_tunnels() {
    for workers in [1, 3] {
        for tower in Tower::all(3) {
            let (mut one, mut two) = protecting(&tower, workers);
            let packet = said(&tower, (5000, 6000), 100);
            say(&mut one, &packet);
            assert_eq!(carry(&one, &mut two).len(), 1);
            assert_eq!(two.kernel(), [packet], "{tower:?}");
            let back = answered(&tower, (6000, 5000));
            through(&mut two, vec![SaId(60), SaId(61), SaId(62)], &back);
            carry(&two, &mut one);
            assert_eq!(one.kernel(), [back], "{tower:?}");
            one.assert_drops(&[]);
            two.assert_drops(&[]);
        }
    }
}

#[test] // NT-5, F-24
fn a_base_rule_that_protects_is_bound_acquires_once_and_is_unbound_when_it_is_gone() {
    for workers in [1, 3] {
        let tower = Tower::raw(2, false);
        let packet = said(&tower, (5000, 6000), 100);
        let (mut one, _) = protecting(&tower, workers);
        one.submit(Command::Bind { rule: PROTECTION, stack: vec![] });
        (0..3).for_each(|_| say(&mut one, &packet));
        assert!(matches!(one.take_events()[..], [Event::Acquire { rule: PROTECTION, .. }]));
        one.assert_drops(&[(DropReason::NoSa, 3)]);
        one.submit(Command::Rearm(PROTECTION));
        say(&mut one, &packet);
        assert_eq!(one.take_events().len(), 1);
        one.submit(Command::Bind { rule: PROTECTION, stack: tower.stack(0) });
        say(&mut one, &packet);
        assert_eq!(one.receive(OUTSIDE).len(), 1);
        // The same rules again: it stays bound.
        one.submit(Command::Rules(protection_rules(false)));
        say(&mut one, &packet);
        assert_eq!(one.receive(OUTSIDE).len(), 1);
        // The number comes back as a tunnel rule: what was bound to the protection is not bound to it.
        let mut other = rules(1);
        other.transport.insert(0, transport(between("192.0.2.1/32", "0.0.0.0/0"), TransportAction::Permit));
        other.tunnel.push(tunnel(PROTECTION.0, between("192.0.2.1/32", "0.0.0.0/0")));
        one.submit(Command::Rules(other));
        say(&mut one, &packet);
        assert!(one.receive(OUTSIDE).is_empty());
        assert_eq!(one.take_events().len(), 1);
        // Gone and back.
        one.submit(Command::Rules(rules(1)));
        one.submit(Command::Rules(protection_rules(false)));
        say(&mut one, &packet);
        assert!(one.receive(OUTSIDE).is_empty());
        assert_eq!(one.dropped(DropReason::NoSa), 6);
        assert_eq!(one.take_events().len(), 1);
    }
    let mut beyond = protection_rules(false);
    let TransportAction::Protect(protect) = &mut beyond.transport[0].action else { unreachable!() };
    protect.rule = RuleId(1 << 30);
    let mut gateway = Gateway::new(1, &Settings::default());
    assert!(gateway.handle.submit(Command::Rules(beyond)).is_err());
}

#[test] // F-24, F-25, NT-34
fn clear_text_of_the_far_host_is_refused_from_the_network_and_out_of_the_tunnels_except_ike() {
    for ipv6 in [false, true] {
        let tower = Tower::raw(3, ipv6);
        let (mut one, mut two) = protecting(&tower, 1);
        let clear = answered(&tower, (6000, 5000));
        one.send_and_poll(1, OUTSIDE, &clear);
        one.assert_drops(&[(DropReason::ClearTextInbound, 1)]);
        // The gateways where the tunnels end can say what they like in its name.
        through(&mut two, vec![SaId(61), SaId(62)], &clear);
        carry(&two, &mut one);
        one.assert_drops(&[(DropReason::ClearTextInbound, 2)]);
        assert!(one.kernel().is_empty());
        // IKE with it is how the SA comes to be.
        let ike = answered(&tower, (500, 500));
        one.send_and_poll(1, OUTSIDE, &ike);
        through(&mut two, vec![SaId(61), SaId(62)], &ike);
        carry(&two, &mut one);
        assert_eq!(one.kernel(), [ike.clone(), ike]);
        // ESP of an SA that nobody knows ends as before, and of one that we know comes in.
        let mut esp = vec![0xAA; 60];
        esp[..4].copy_from_slice(&[9, 9, 9, 9]);
        let (to, from) = (tower.own(0).to_string(), tower.gateway(0).to_string());
        one.send_and_poll(
            1,
            OUTSIDE,
            &ip_packet(&Udp { from: &from, to: &to, ..Udp::default() }, protocol::ESP, &esp),
        );
        assert_eq!(one.dropped(DropReason::UnknownSpi), 1);
        // What others say to us out of tunnels is the kernel's, as it was.
        let other = Udp { from: "10.2.0.2", to: "10.1.0.1", ..Udp::default() }.packet();
        let plain = Tower::raw(2, ipv6);
        let (mut own, mut peer) = plain.build(1);
        own.submit(Command::Rules(protection_rules(ipv6)));
        peer.send_and_poll(2, INSIDE, &other);
        carry(&peer, &mut own);
        assert_eq!(own.kernel(), [after_hops(&other, 1)]);
    }
}

#[test] // NT-33
fn the_kernel_hears_how_much_fits_into_transport_mode_inside_tunnels() {
    for tower in Tower::all(3) {
        let (mut one, mut two) = protecting(&tower, 1);
        // From the outside in, by RFC 4303, RFC 4106 and RFC 3948.
        let mut room = 1500;
        for (at, level) in tower.0.iter().enumerate().rev() {
            let ip = if level.ipv6 { 40 } else { 20 };
            let udp = if level.encapsulation == Encapsulation::Raw { 0 } else { 8 };
            let inside = (room - ip - udp - 8 - 8 - 16) / 4 * 4 - 2;
            // In transport mode the packet's own header is the outer one.
            room = if at == 0 { inside + ip } else { inside };
        }
        let headers = if tower.0[0].ipv6 { 48 } else { 28 };
        say(&mut one, &said(&tower, (1, 2), room - headers));
        let wire = carry(&one, &mut two);
        assert!(wire.len() == 1 && wire[0].len() <= 1500 && wire[0].len() > 1488, "{tower:?}");
        assert_eq!(two.kernel().len(), 1);
        say(&mut one, &said(&tower, (1, 2), room - headers + 1));
        assert!(one.receive(OUTSIDE).is_empty());
        let told = one.kernel().remove(0);
        let mtu = if tower.0[0].ipv6 { &told[44..48] } else { &told[24..28] };
        assert_eq!(u32::from_be_bytes(mtu.try_into().unwrap()), room as u32, "{tower:?}");
        one.assert_drops(&[(DropReason::TooBig, 1)]);
        // TCP is told in advance, in both directions.
        let offer = |from: IpAddr, to: IpAddr| {
            let mut segment = vec![0; 24];
            (segment[12], segment[13]) = (6 << 4, 2);
            segment[20..].copy_from_slice(&[2, 4, 0x05, 0xB4]);
            let (from, to) = (from.to_string(), to.to_string());
            ip_packet(&Udp { from: &from, to: &to, ..Udp::default() }, protocol::TCP, &segment)
        };
        let mss = |packet: &[u8]| {
            let at = summary(packet).upper_at + 22;
            u16::from_be_bytes([packet[at], packet[at + 1]])
        };
        let expected = (room - headers + 8 - 20) as u16;
        say(&mut one, &offer(tower.own(0), tower.gateway(0)));
        carry(&one, &mut two);
        assert_eq!(mss(&two.kernel()[0]), expected, "{tower:?}");
        through(&mut two, vec![SaId(60), SaId(61), SaId(62)], &offer(tower.gateway(0), tower.own(0)));
        carry(&two, &mut one);
        assert_eq!(mss(&one.kernel()[0]), expected, "{tower:?}");
    }
}
