//! Quick mode between two of us.

use super::{Fate, Pair, rule, secs};
use crate::{Discard, Down, Failure, Role};
use warren_policy::Lifetime;
use warren_policy::selector::{AddressRange, PortRange, Protocol};

#[test]
fn every_transform_connects_with_and_without_pfs_and_esn() {
    for transform in
        ["aes128gcm16", "aes192gcm16", "aes256gcm16", "aes128-sha256", "aes256-sha384", "aes256-sha512"]
    {
        for pfs in ["", "-ecp256", "-ecp521", "-modp2048"] {
            for esn in ["", "-esn"] {
                let text = format!("{transform}{pfs}{esn}");
                let mut pair = Pair::with(1, |_, children| {
                    children.iter_mut().for_each(|child| child[0].proposals = vec![text.parse().unwrap()]);
                });
                pair.open(0, 0);
                pair.run(secs(2));
                assert!(pair.is_connected(), "{text}");
                assert_eq!(pair.left().inbound[0].esn, !esn.is_empty());
                assert_eq!(pair.left().endpoint.children()[0].transform.to_string(), text);
            }
        }
    }
}

#[test] // RFC 2409 §5.5
fn pfs_gives_keys_that_do_not_follow_from_phase_1_alone() {
    let keys = |pfs: &str| {
        let mut pair = Pair::with(1, |_, children| {
            children
                .iter_mut()
                .for_each(|child| child[0].proposals = vec![format!("aes128gcm16{pfs}").parse().unwrap()]);
        });
        pair.open(0, 0);
        pair.run(secs(2));
        pair.left().inbound[0].keys.encryption.expose().to_vec()
    };
    assert_ne!(keys(""), keys("-ecp256"));
}

#[test]
fn the_order_of_outputs_lets_no_packet_come_too_early() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(2));
    let tail = |order: &[&'static str], n: usize| order[order.len() - n..].to_vec();
    assert_eq!(tail(&pair.left().order, 4), ["inbound", "transmit", "outbound", "up"]);
    assert_eq!(tail(&pair.right().order, 4), ["inbound", "transmit", "outbound", "up"]);
}

#[test]
fn selectors_are_mirrored_and_complete() {
    let mut pair = Pair::with(1, |_, children| {
        for (side, child) in children.iter_mut().enumerate() {
            let mut selector = super::harness::selector(0);
            selector.source = AddressRange::single([10, 1, 0, 7].into());
            selector.destination = AddressRange::new([10, 2, 0, 3].into(), [10, 2, 0, 9].into()).unwrap();
            selector.protocol = Protocol::Is(6);
            selector.destination_port = PortRange::new(443, 443).unwrap();
            child[0].selector = if side == 0 { selector } else { selector.mirrored() };
        }
    });
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert_eq!(
        pair.left().outbound[0].selector.to_string(),
        "10.1.0.7/32 -> 10.2.0.3-10.2.0.9 tcp port any -> 443"
    );
    assert_eq!(pair.right().inbound[0].selector, pair.left().outbound[0].selector);
}

#[test]
fn ipv6_inside_ipv4_connects() {
    let mut pair = Pair::with(1, |_, children| {
        let prefix = |text: &str| AddressRange::from_prefix(text.parse().unwrap(), 48).unwrap();
        let selector =
            warren_policy::Selector::between(prefix("2001:db8:1::"), prefix("2001:db8:2::")).unwrap();
        children[0][0].selector = selector;
        children[1][0].selector = selector.mirrored();
    });
    pair.open(1, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
}

#[test]
fn a_range_of_ports_cannot_be_said_and_fails_at_once() {
    let mut pair = Pair::with(1, |_, children| {
        children[0][0].selector.protocol = Protocol::Is(6);
        children[0][0].selector.destination_port = PortRange::new(1, 1023).unwrap();
    });
    pair.open(0, 0);
    pair.run(secs(2));
    assert_eq!(pair.left().failed, [(rule(0), Failure::Inexpressible)]);
}

#[test] // F-25
fn selectors_that_no_rule_has_are_refused_and_the_initiator_told() {
    let mut pair = Pair::with(1, |_, children| {
        children[0][0].selector.destination = AddressRange::any(false);
    });
    pair.open(0, 0);
    pair.run(secs(5));
    assert_eq!(pair.left().failed, [(rule(0), Failure::Refused(18))]);
    assert_eq!(pair.right().discarded(Discard::InvalidIdInformation), 1);
    assert!(pair.right().inbound.is_empty());
    // The ISAKMP SA is none the worse.
    assert!(pair.left().peer_downs.is_empty());
}

#[test]
fn proposals_without_anything_in_common_are_refused_and_the_initiator_told() {
    for theirs in ["aes256gcm16", "aes128gcm16-ecp256", "aes128gcm16-esn", "aes128-sha256"] {
        let mut pair = Pair::with(1, |_, children| children[0][0].proposals = vec![theirs.parse().unwrap()]);
        pair.open(0, 0);
        pair.run(secs(5));
        assert_eq!(pair.left().failed, [(rule(0), Failure::Refused(14))], "{theirs}");
    }
}

#[test]
fn a_lost_refusal_is_repeated() {
    let mut pair =
        Pair::with(1, |_, children| children[0][0].proposals = vec!["aes256gcm16".parse().unwrap()]);
    pair.network = Box::new(|number, _, _| if number == 7 { Fate::Drop } else { Fate::Deliver });
    pair.open(0, 0);
    pair.run(secs(5));
    assert_eq!(pair.left().failed, [(rule(0), Failure::Refused(14))]);
    assert_eq!(pair.right().discarded(Discard::Retransmitted), 1);
}

#[test] // RFC 2407 §4.6.3.1
fn the_shorter_lifetime_holds_on_both_sides() {
    for (ours, theirs) in [(1200, 300), (300, 1200)] {
        let mut pair = Pair::with(1, |_, children| {
            children[0][0].lifetime = Lifetime { seconds: ours, kilobytes: None };
            children[1][0].lifetime = Lifetime { seconds: theirs, kilobytes: Some(5000) };
        });
        pair.open(0, 0);
        pair.run(secs(2));
        let agreed = Lifetime { seconds: 300, kilobytes: Some(5000) };
        assert_eq!((pair.left().up[0].4, pair.right().up[0].4), (agreed, agreed));
        assert_eq!(pair.left().inbound[0].volume.hard_octets, 5000 * 1024);
    }
}

#[test]
fn many_rules_share_one_isakmp_sa() {
    let mut pair = Pair::with(200, |_, _| {});
    for number in 0..200 {
        pair.open(number as usize % 2, number);
    }
    pair.run(secs(30));
    assert!(pair.is_connected());
    assert_eq!((pair.left().live().len(), pair.right().live().len()), (200, 200));
}

#[test]
fn one_negotiation_for_each_rule_at_a_time() {
    let mut pair = Pair::new();
    for _ in 0..10 {
        pair.open(0, 0);
    }
    pair.run(secs(1));
    assert_eq!(pair.left().up.len(), 1);
    pair.open(0, 0);
    pair.run(secs(1));
    assert_eq!(pair.left().up.len(), 2);
    assert!(pair.is_connected());
    assert_ne!(pair.left().inbound[0].spi, pair.left().inbound[1].spi);
}

#[test]
fn unknown_rules_fail_at_once() {
    let mut pair = Pair::new();
    pair.open(0, 77);
    pair.run(secs(1));
    assert_eq!(pair.left().failed, [(rule(77), Failure::NotConfigured)]);
}

#[test]
fn both_sides_may_open_the_same_rule_at_once() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(2));
    pair.open(0, 0);
    pair.open(1, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
    let roles = |side: usize| pair.sides[side].up.iter().map(|up| up.3).collect::<Vec<_>>();
    assert_eq!((roles(0).len(), roles(1).len()), (3, 3));
    assert!(roles(1).contains(&Role::Initiator));
}

#[test]
fn a_third_message_that_never_comes_takes_the_inbound_sa_back() {
    let mut pair = Pair::new();
    pair.network =
        Box::new(|number, from, _| if from == 0 && number >= 8 { Fate::Drop } else { Fate::Deliver });
    pair.open(0, 0);
    pair.run(secs(120));
    let inbound = pair.right().inbound[0].id;
    assert_eq!(pair.right().down, [(rule(0), inbound, Down::Unconfirmed)]);
    assert!(pair.right().outbound.is_empty());
    assert_eq!(pair.right().discarded(Discard::Unconfirmed), 1);
}

#[test] // F-6
fn a_replayed_quick_mode_opens_nothing() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(2));
    let (_, path, first) = pair.sent[6].clone();
    let seen = crate::Path { local: path.remote, remote: path.local };
    // At once, when its third message was the last one, and long after its state is gone.
    for wait in [0, 200, 2000] {
        pair.run(secs(wait));
        pair.inject(1, seen, &first);
        pair.run(secs(30));
    }
    assert_eq!(pair.right().inbound.len(), 1);
    assert!(pair.right().discarded(Discard::MessageIdReused) >= 1);
}

#[test] // F-6
fn the_table_of_exchanges_is_bounded_and_the_oldest_finished_ones_give_way() {
    let rules = 3 * crate::limits::EXCHANGES_MAX as u32;
    let mut pair = Pair::with(250, |_, _| {});
    for round in 0..rules / 250 + 1 {
        for number in 0..250 {
            pair.open(round as usize % 2, number);
        }
        pair.run(secs(3));
        for side in &pair.sides {
            let exchanges = side.endpoint.isakmps.values().filter_map(|isakmp| isakmp.sa());
            assert!(exchanges.map(|sa| sa.exchanges.len()).sum::<usize>() <= crate::limits::EXCHANGES_MAX);
        }
    }
    assert_eq!(pair.left().up.len() as u32, (rules / 250 + 1) * 250);
    assert!(pair.left().failed.is_empty() && pair.right().failed.is_empty());
    assert!(pair.is_connected());
}

#[test]
fn an_endpoint_may_move_between_threads() {
    fn is_send<T: Send>() {}
    is_send::<crate::Endpoint>();
}
