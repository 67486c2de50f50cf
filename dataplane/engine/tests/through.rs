//! What control sends inside SAs that it names: IKE with a gateway that is reached through tunnels (REQUIREMENTS NT-12).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::tower::Tower;
use lab::*;
use std::collections::BTreeMap;
use warren_engine::packet::Fragment;
use warren_engine::{DropReason, Tally};
use warren_policy::RuleId;
use warren_seam::{Command, Entry, Event, Injected, SaId};

/// A datagram of ours to the gateway of level 0.
fn ike(tower: &Tower, port: u16, payload: usize) -> Vec<u8> {
    let (from, to) = (tower.own(0).to_string(), tower.gateway(0).to_string());
    Udp { from: &from, to: &to, ports: (port, port), payload, dont_fragment: false, ..Udp::default() }
        .packet()
}

/// For port 4500: what makes IKE of a datagram that is no ESP.
fn marked(mut packet: Vec<u8>) -> Vec<u8> {
    let at = summary(&packet).upper_at + 8;
    packet[at..at + 4].fill(0);
    packet
}

fn inject(gateway: &mut Gateway, stack: &[SaId], packet: &[u8]) {
    let entry = Entry::Through(stack.to_vec());
    gateway.submit(Command::Inject(Box::new(Injected { entry, packet: packet.to_vec() })));
}

#[test] // NT-12, Q-16
fn it_leaves_inside_the_sas_that_control_names_and_asks_no_rule() {
    for workers in [1, 2, 3] {
        for tower in Tower::all(3) {
            let (mut one, mut two) = tower.build(workers);
            for (port, payload) in [(500, 200), (4500, 200), (500, 0)] {
                let packet = ike(&tower, port, payload);
                let packet = if port == 4500 { marked(packet) } else { packet };
                inject(&mut one, &tower.stack(1), &packet);
                one.poll();
                let wire = carry(&one, &mut two);
                let outer = summary(&wire[0]).tuple;
                assert_eq!((outer.source, outer.destination), (tower.own(2), tower.gateway(2)));
                assert!(wire.len() == 1 && (payload == 0 || !shows(&wire[0], &packet)));
                assert_eq!(two.kernel(), [packet], "{tower:?} {workers}");
            }
            assert_eq!((one.tally(Tally::Injected), one.tally(Tally::Sealed)), (3, 6));
            one.assert_drops(&[]);
            two.assert_drops(&[]);
        }
    }
}

/// What the other kernel makes of fragments, by source, destination and identification.
fn reassembled(fragments: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut packets: BTreeMap<u32, BTreeMap<usize, Vec<u8>>> = BTreeMap::new();
    for fragment in fragments {
        let seen = summary(fragment);
        let word = |at: usize| u16::from_be_bytes([fragment[at], fragment[at + 1]]);
        let (id, place, more) = if seen.is_ipv6() {
            let id = u32::from(word(44)) << 16 | u32::from(word(46));
            (id, usize::from(word(42) & !7), word(42) & 1 == 1)
        } else {
            (u32::from(word(4)), usize::from(word(6) & 0x1FFF) * 8, word(6) & 0x2000 != 0)
        };
        assert_ne!(seen.fragment, Fragment::Whole);
        let header = if seen.is_ipv6() { 48 } else { 20 };
        assert!(!more || (fragment.len() - header) % 8 == 0);
        let before = packets.entry(id).or_default().insert(place, fragment[header..].to_vec());
        assert!(before.is_none());
    }
    let whole = |pieces: BTreeMap<usize, Vec<u8>>| {
        pieces.into_iter().fold(Vec::new(), |mut whole, (place, piece)| {
            assert_eq!(whole.len(), place);
            whole.extend(piece);
            whole
        })
    };
    packets.into_values().map(whole).collect()
}

#[test] // NT-12, NT-33, RFC 8200 §4.5
fn what_is_longer_than_the_sas_take_is_cut_up_to_the_longest_packet_of_ip() {
    for workers in [1, 3] {
        for tower in Tower::all(2) {
            let (mut one, mut two) = tower.build(workers);
            let header = if tower.0[0].ipv6 { 40 } else { 20 };
            for (port, payload) in [
                (500, 1450),
                (4500, 2000),
                (500, 4096),
                (4500, 9000),
                (500, 20_000),
                (4500, 65_535 - 8 - header),
            ] {
                let packet = marked(ike(&tower, port, payload));
                inject(&mut one, &tower.stack(1), &packet);
                inject(&mut one, &tower.stack(1), &packet);
                one.poll();
                let wire = carry(&one, &mut two);
                assert!(wire.iter().all(|packet| packet.len() <= 1500) && wire.len() > 2);
                let heard = two.kernel();
                assert_eq!(heard.len(), wire.len());
                let upper = packet[header..].to_vec();
                assert_eq!(reassembled(&heard), [upper.clone(), upper], "{tower:?} {payload}");
            }
            one.assert_drops(&[]);
            two.assert_drops(&[]);
        }
    }
}

#[test] // NT-12
fn what_must_not_be_cut_or_would_be_cut_too_small_is_dropped_and_never_sent_in_clear() {
    let tower = Tower::raw(2, false);
    let (mut one, _) = tower.build(1);
    let mut packet = ike(&tower, 500, 2000);
    packet[6] = 0x40;
    warren_engine::packet::ipv4::refresh_checksum(&mut packet[..20]);
    inject(&mut one, &tower.stack(1), &packet);
    one.poll();
    one.assert_drops(&[(DropReason::TooBig, 1)]);
    // 500 octets less a tunnel are pieces of 424: at most 128 of them.
    let mut narrow = table(1);
    narrow.ports[OUTSIDE].mtu = 500;
    one.submit(Command::Forwarding(narrow));
    inject(&mut one, &tower.stack(1), &ike(&tower, 500, 128 * 424 - 8));
    one.poll();
    assert_eq!(one.receive(OUTSIDE).len(), 128);
    inject(&mut one, &tower.stack(1), &ike(&tower, 500, 128 * 424 - 7));
    one.poll();
    one.assert_drops(&[(DropReason::TooBig, 2)]);
    assert!(one.receive(OUTSIDE).is_empty());
}

#[test] // NT-12, NT-31
fn without_one_of_its_sas_or_outside_their_selectors_it_is_dropped_for_a_reason_of_its_own() {
    for workers in [1, 3] {
        let tower = Tower::raw(3, false);
        let (mut one, _) = tower.build(workers);
        let packet = ike(&tower, 500, 100);
        for stack in [&[][..], &[SaId(51), SaId(99)], &[SaId(99)], &[SaId(99), SaId(52)], &[SaId(1060)]] {
            inject(&mut one, stack, &packet);
        }
        one.poll();
        one.assert_drops(&[(DropReason::PassageClosed, 5)]);
        // Past one of its levels: the selector of the other is not for it.
        inject(&mut one, &[SaId(52)], &packet);
        one.poll();
        assert_eq!(one.dropped(DropReason::OutsideSelector), 1);
        for octets in [&packet[..19], &[0x45; 3], &[], &[0x75; 60]] {
            inject(&mut one, &tower.stack(1), octets);
        }
        one.poll();
        assert_eq!((one.dropped(DropReason::Malformed), one.dropped(DropReason::NotIp)), (3, 1));
        assert!(one.receive(OUTSIDE).is_empty());
        assert!(one.take_events().is_empty(), "nobody is asked for SAs");
    }
}

/// All orders in which three workers may take their turns.
const TURNS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Each worker one turn at a time, in that order, until all rest.
fn turn(gateway: &mut Gateway, order: [usize; 3]) {
    for _ in 0..20 {
        for worker in order {
            gateway.workers[worker].poll(gateway.now);
            gateway.assert_conserved();
        }
    }
    gateway.poll();
}

#[test] // NT-12, NT-31, RFC 2408 §5.15
fn an_sa_that_is_removed_right_behind_it_still_carries_it_on_whichever_worker() {
    for order in TURNS {
        for ipv6 in [false, true] {
            let tower = Tower::raw(4, ipv6);
            let (mut one, mut two) = tower.build(3);
            let owners: Vec<_> = (1..4).map(|level| one.handle.owner(Tower::rule(level)).0).collect();
            assert_eq!(owners, [2, 0, 1]);
            let (short, long) = (ike(&tower, 500, 100), ike(&tower, 500, 5000));
            one.submit(Command::Bind { rule: RuleId(0), stack: vec![] });
            inject(&mut one, &tower.stack(1), &short);
            one.submit(Command::Remove(SaId(51)));
            inject(&mut one, &tower.stack(2), &marked_for(&tower, 1));
            inject(&mut one, &tower.stack(1), &long);
            one.submit(Command::Remove(SaId(52)));
            one.submit(Command::Remove(SaId(53)));
            turn(&mut one, order);
            let wire = carry(&one, &mut two);
            assert_eq!(wire.len(), 2, "{order:?}");
            // One owner of the one SA is faster than two of the two.
            let (mut heard, mut expected) = (two.kernel(), [short, marked_for(&tower, 1)]);
            heard.sort();
            expected.sort();
            assert_eq!(heard, expected, "{order:?}");
            // The third came when its SA was gone.
            one.assert_drops(&[(DropReason::PassageClosed, 1)]);
        }
    }
}

/// A datagram of ours to the gateway of another level.
fn marked_for(tower: &Tower, level: usize) -> Vec<u8> {
    let (from, to) = (tower.own(level).to_string(), tower.gateway(level).to_string());
    Udp { from: &from, to: &to, ports: (500, 500), ..Udp::default() }.packet()
}

#[test] // NT-31
fn a_removed_sa_carries_nothing_else_and_its_name_is_free() {
    for workers in [1, 3] {
        let tower = Tower::raw(3, false);
        let (mut one, mut two) = tower.build(workers);
        inject(&mut one, &tower.stack(1), &ike(&tower, 500, 100));
        one.submit(Command::Remove(SaId(52)));
        // The rule is still bound to it.
        one.send(1, INSIDE, &Udp::default().packet());
        one.poll();
        assert_eq!(carry(&one, &mut two).len(), 1);
        one.assert_drops(&[(DropReason::NoSa, 1)]);
        assert!(matches!(one.take_events()[..], [Event::Acquire { rule: RuleId(0), .. }]));
        // Its name is free, and what comes under it is another SA.
        let mut other = tower.forth(2);
        other.spi = warren_seam::Spi(0x7777);
        one.submit(Command::InstallOutbound(Box::new(other)));
        inject(&mut one, &tower.stack(1), &ike(&tower, 500, 100));
        one.poll();
        assert_eq!(one.receive(OUTSIDE)[0][20..24], [0, 0, 0x77, 0x77]);
    }
}

#[test] // NT-12
fn a_worker_that_is_behind_with_its_commands_catches_up_before_it_takes_the_packet() {
    let tower = Tower::raw(2, false);
    let (mut one, mut two) = tower.build(3);
    assert_eq!(one.handle.owner(Tower::rule(1)).0, 2);
    for _ in 0..200 {
        one.submit(Command::Rearm(RuleId(0)));
    }
    inject(&mut one, &tower.stack(1), &ike(&tower, 500, 100));
    one.submit(Command::Remove(SaId(51)));
    // Worker 0 has done everything; worker 2 begins.
    for _ in 0..10 {
        one.workers[0].poll(one.now);
    }
    assert_eq!(one.tally(Tally::Handed), 1);
    one.workers[2].poll(one.now);
    one.assert_conserved();
    assert_eq!(one.tally(Tally::Sealed), 1);
    one.poll();
    assert_eq!(carry(&one, &mut two).len(), 1);
    one.assert_drops(&[]);
}

#[test] // NT-12, F-12
fn a_packet_that_takes_longer_than_its_sas_are_kept_is_lost_and_counted() {
    let tower = Tower::raw(2, false);
    let (mut one, _) = tower.build(3);
    inject(&mut one, &tower.stack(1), &ike(&tower, 500, 100));
    one.submit(Command::Remove(SaId(51)));
    one.workers[2].poll(one.now);
    one.now += std::time::Duration::from_millis(1001);
    one.workers[2].poll(one.now);
    one.poll();
    one.assert_drops(&[(DropReason::PassageClosed, 1)]);
    assert!(one.receive(OUTSIDE).is_empty() && one.take_events().is_empty());
}

#[test] // F-24, NT-12
fn rules_that_change_meanwhile_do_not_touch_it() {
    for order in TURNS {
        let tower = Tower::raw(3, false);
        let (mut one, mut two) = tower.build(3);
        inject(&mut one, &tower.stack(1), &ike(&tower, 500, 100));
        one.submit(Command::Rules(warren_policy::RuleSet::default()));
        turn(&mut one, order);
        assert_eq!(carry(&one, &mut two).len(), 1, "{order:?}");
        assert_eq!(two.kernel().len(), 1);
        one.assert_drops(&[]);
    }
}

#[test] // NT-12, NT-23
fn what_the_far_gateway_says_in_its_tunnels_reaches_our_kernel_and_nothing_else_does() {
    for tower in Tower::all(3) {
        let (mut one, mut two) = tower.build(1);
        let stack: Vec<_> = (1..3).map(|level| tower.back(level).id).collect();
        let (from, to) = (tower.gateway(0).to_string(), tower.own(0).to_string());
        let said = |from: &str, to: &str, port: u16| {
            Udp { from, to, ports: (port, port), dont_fragment: false, ..Udp::default() }.packet()
        };
        let mut expected = Vec::new();
        for packet in [said(&from, &to, 500), marked(said(&from, &to, 4500))] {
            inject(&mut two, &stack, &packet);
            expected.push(packet);
        }
        // Fragments of a long one, as two makes them.
        let long = Udp {
            from: &from,
            to: &to,
            ports: (500, 500),
            payload: 3000,
            dont_fragment: false,
            ..Udp::default()
        };
        inject(&mut two, &stack, &long.packet());
        two.poll();
        two.receive(OUTSIDE).iter().for_each(|packet| one.send(1, OUTSIDE, packet));
        one.poll();
        let heard = one.kernel();
        assert_eq!(heard[..2], expected[..], "{tower:?}");
        assert_eq!(reassembled(&heard[2..]).len(), 1);
        assert!(one.receive(INSIDE).is_empty() && one.receive(OUTSIDE).is_empty());
        one.assert_drops(&[]);
        // A keepalive ends here; octets that look like ESP are taken for it.
        let mut keepalive = said(&from, &to, 4500);
        let at = summary(&keepalive).upper_at;
        keepalive.truncate(at + 9);
        keepalive[at + 5] = 9;
        keepalive[at + 8] = 0xFF;
        if tower.0[0].ipv6 {
            keepalive[5] = 9;
        } else {
            keepalive[3] = 29;
            warren_engine::packet::ipv4::refresh_checksum(&mut keepalive[..20]);
        }
        inject(&mut two, &stack, &keepalive);
        inject(&mut two, &stack, &said(&from, &to, 4500));
        two.poll();
        two.receive(OUTSIDE).iter().for_each(|packet| one.send(1, OUTSIDE, packet));
        one.poll();
        one.assert_drops(&[(DropReason::NatKeepalive, 1), (DropReason::UnknownSpi, 1)]);
        assert!(one.kernel().is_empty());
    }
}

#[test] // NT-23, F-25
fn ike_out_of_an_sa_that_is_for_somebody_else_is_no_business_of_our_kernel() {
    for ipv6 in [false, true] {
        let tower = Tower::raw(1, ipv6);
        let (_, mut two) = tower.build(1);
        let (mut one, _) = tower.build(1);
        let sites = if ipv6 { ("2001:db8:2::2", "2001:db8:1::2") } else { ("10.2.0.2", "10.1.0.2") };
        let all = if ipv6 { "::/0" } else { "0.0.0.0/0" };
        let mut back = tower.back(0);
        back.selector = between(all, all);
        one.submit(Command::InstallInbound(Box::new(tower.received(&back, 0))));
        two.submit(Command::InstallOutbound(Box::new(back)));
        let packet = Udp { from: sites.0, to: sites.1, ports: (500, 500), ..Udp::default() }.packet();
        inject(&mut two, &[SaId(60)], &packet);
        // To somebody out on the network: it came out on our side, and stays there.
        let outward = if ipv6 { "2001:db8:77::1" } else { "203.0.113.9" };
        let away = Udp { from: sites.0, to: outward, ports: (500, 500), ..Udp::default() }.packet();
        inject(&mut two, &[SaId(60)], &away);
        two.poll();
        two.receive(OUTSIDE).iter().for_each(|packet| one.send(1, OUTSIDE, packet));
        one.poll();
        assert_eq!(one.receive(INSIDE), [after_hops(&packet, 1)]);
        assert!(one.kernel().is_empty() && one.receive(OUTSIDE).is_empty());
        one.assert_drops(&[(DropReason::NoRule, 1)]);
    }
}

#[test]
fn a_number_that_is_no_rules_is_refused_for_an_sa() {
    let tower = Tower::raw(1, false);
    let (mut one, _) = tower.build(1);
    let mut sa = tower.forth(0);
    sa.rule = RuleId(1 << 31);
    let refused = one.handle.submit(Command::InstallOutbound(Box::new(sa))).unwrap_err();
    assert!(matches!(refused, warren_engine::Refused::BadRule(_)));
}
