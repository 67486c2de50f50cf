//! Delete, INITIAL-CONTACT, both sides at once, and changes of the configuration.

use super::harness::{Side, peer_configs, selector};
use super::{Fate, Pair, rule, secs};
use crate::{ChildConfig, Discard, Down, Failure, PeerState};
use std::time::Duration;
use warren_policy::PeerId;
use warren_seam::{Encapsulation, SaId};

fn connected() -> Pair {
    let mut pair = Pair::with(3, |_, _| {});
    pair.open(0, 0);
    pair.open(0, 1);
    pair.run(secs(2));
    assert!(pair.is_connected());
    pair
}

#[test]
fn a_closed_child_goes_on_both_sides_and_the_others_stay() {
    for side in [0, 1] {
        let mut pair = connected();
        let id = pair.sides[side].inbound[0].id;
        pair.call(side, |endpoint, now| endpoint.close_child(now, id));
        pair.run(secs(1));
        assert_eq!(pair.sides[side].down, [(rule(0), id, Down::Closed)]);
        assert_eq!(pair.sides[1 - side].down.len(), 1);
        assert_eq!(pair.sides[1 - side].down[0].2, Down::DeletedByPeer);
        assert!(pair.is_connected());
        assert!(pair.left().peer_downs.is_empty() && pair.right().peer_downs.is_empty());
        // Again: nothing.
        pair.call(side, |endpoint, now| endpoint.close_child(now, id));
        pair.run(secs(1));
        assert_eq!(pair.sides[side].down.len(), 1);
    }
}

#[test]
fn a_closed_peer_goes_on_both_sides_with_all_children() {
    let mut pair = connected();
    pair.open(0, 2);
    pair.call(0, |endpoint, now| endpoint.close_peer(now, PeerId(0)));
    pair.run(secs(1));
    assert_eq!(
        (pair.left().peer_downs.clone(), pair.right().peer_downs.clone()),
        (vec![Down::Closed], vec![Down::DeletedByPeer])
    );
    assert_eq!(pair.left().failed, [(rule(2), Failure::Closed)]);
    for side in &pair.sides {
        assert!(side.live().is_empty() && side.endpoint.children().is_empty());
        assert_eq!(side.endpoint.peers()[0].state, PeerState::Idle);
    }
    pair.open(1, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
}

#[test] // F-3
fn a_restarted_peer_says_so_and_old_sas_go() {
    let mut pair = connected();
    let [_, right] = peer_configs();
    let child = |number| ChildConfig {
        rule: rule(number),
        peer: PeerId(0),
        selector: selector(number).mirrored(),
        proposals: vec!["aes128gcm16".parse().unwrap()],
        lifetime: warren_policy::Lifetime { seconds: 1200, kilobytes: None },
        window_packets: 4096,
        is_divisible: false,
        mode: warren_policy::SaMode::Tunnel,
        carrier: warren_seam::Carrier::Network,
    };
    pair.sides[1] = Side::new(vec![right], (0..3).map(child).collect(), 77);
    pair.open(1, 0);
    pair.run(secs(2));
    assert!(pair.left().down.iter().all(|(_, _, reason)| *reason == Down::InitialContact));
    assert_eq!(pair.left().down.len(), 2);
    assert!(pair.left().peer_downs.is_empty());
    assert!(pair.is_connected());
}

#[test]
fn both_sides_may_begin_at_once_and_one_isakmp_sa_remains() {
    for late in [0, 1, 5, 10, 15, 25, 40] {
        let mut pair = Pair::new();
        pair.open(0, 0);
        pair.run(Duration::from_millis(late));
        pair.open(1, 0);
        pair.run(secs(30));
        assert!(pair.is_connected(), "{late} ms");
        assert!(pair.left().failed.is_empty() && pair.right().failed.is_empty(), "{late} ms");
        assert!(pair.left().down.is_empty() && pair.right().down.is_empty(), "{late} ms");
        let cookies = |side: usize| {
            let status = pair.sides[side].endpoint.peers().remove(0);
            assert_eq!(pair.sides[side].endpoint.isakmps.len(), 1, "{late} ms");
            (status.state, status.initiator_cookie, status.responder_cookie)
        };
        assert_eq!(cookies(0), cookies(1), "{late} ms");
        assert_eq!(cookies(0).0, PeerState::Established);
    }
}

#[test]
fn both_sides_at_once_on_a_bad_network_converge_too() {
    for seed in 1..40u64 {
        let mut pair = Pair::new();
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        pair.network = Box::new(move |_, _, _| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 5 {
                0 => Fate::Drop,
                1 => Fate::Delay(Duration::from_millis(state % 300)),
                2 => Fate::Duplicate,
                _ => Fate::Deliver,
            }
        });
        pair.open(0, 0);
        pair.open(1, 0);
        pair.run(secs(40));
        pair.network = Box::new(|_, _, _| Fate::Deliver);
        pair.run(secs(40));
        assert!(!pair.left().live().is_empty() || !pair.left().failed.is_empty(), "seed {seed}");
        let states = [0, 1].map(|side| pair.sides[side].endpoint.isakmps.len());
        assert!(states[0] >= 1 && states[1] >= 1, "seed {seed}: {states:?}");
    }
}

#[test]
fn an_unchanged_configuration_keeps_everything() {
    let mut pair = connected();
    let children: Vec<ChildConfig> =
        pair.left().endpoint.rules.values().map(|child| (**child).clone()).collect();
    let [left, _] = peer_configs();
    pair.call(0, |endpoint, now| endpoint.reconfigure(now, vec![left], children));
    pair.run(secs(5));
    assert!(pair.left().down.is_empty() && pair.right().down.is_empty());
    pair.open(0, 2);
    pair.run(secs(1));
    assert!(pair.is_connected());
    assert_eq!(pair.left().peer_ups, 1);
}

#[test]
fn a_changed_child_closes_its_pair_only() {
    let mut pair = connected();
    let mut children: Vec<ChildConfig> =
        pair.left().endpoint.rules.values().map(|child| (**child).clone()).collect();
    children.iter_mut().find(|child| child.rule == rule(1)).unwrap().lifetime.seconds = 99;
    let [left, _] = peer_configs();
    pair.call(0, |endpoint, now| endpoint.reconfigure(now, vec![left], children));
    pair.run(secs(5));
    assert_eq!(
        pair.left().down.iter().map(|(rule, _, why)| (*rule, *why)).collect::<Vec<_>>(),
        [(rule(1), Down::Reconfigured)]
    );
    assert_eq!(pair.right().down.len(), 1);
    assert!(pair.is_connected());
}

#[test]
fn a_changed_or_removed_peer_closes_everything_of_it() {
    for removed in [false, true] {
        let mut pair = connected();
        let children: Vec<ChildConfig> =
            pair.left().endpoint.rules.values().map(|child| (**child).clone()).collect();
        let [mut left, _] = peer_configs();
        left.authentication =
            crate::Authentication::PreSharedKey(warren_policy::Secret::new(b"new".to_vec()));
        let peers = if removed { Vec::new() } else { vec![left] };
        pair.call(0, |endpoint, now| endpoint.reconfigure(now, peers, children));
        pair.run(secs(5));
        assert_eq!(pair.left().peer_downs, [Down::Reconfigured]);
        assert_eq!(pair.right().peer_downs, [Down::DeletedByPeer]);
        assert!(pair.left().live().is_empty() && pair.right().live().is_empty());
        assert!(pair.left().endpoint.isakmps.is_empty());
        pair.open(0, 0);
        pair.run(secs(60));
        let expected = if removed { Failure::NotConfigured } else { Failure::NoAnswer };
        assert_eq!(pair.left().failed, [(rule(0), expected)]);
    }
}

#[test] // RFC 3948 §4
fn a_moved_peer_takes_its_sas_along() {
    let mut pair = Pair::with(1, |peers, _| peers[0].nat_traversal = crate::NatTraversal::Force);
    pair.open(0, 0);
    pair.run(secs(2));
    let id = pair.right().inbound[0].id;
    pair.call(1, |endpoint, now| endpoint.peer_moved(now, id, "192.0.2.1:6000".parse().unwrap()));
    pair.run(secs(1));
    let moved = Encapsulation::Udp { local_port: 4500, remote_port: 6000 };
    let outbound = pair.right().outbound[0].id;
    assert_eq!(pair.right().moves, [(id, moved), (outbound, moved)]);
    // Raw SAs do not move.
    let mut pair = connected();
    let id = pair.right().inbound[0].id;
    pair.call(1, |endpoint, now| endpoint.peer_moved(now, id, "192.0.2.1:6000".parse().unwrap()));
    pair.call(1, |endpoint, now| endpoint.peer_moved(now, SaId(999), "192.0.2.1:6000".parse().unwrap()));
    pair.run(secs(1));
    assert!(pair.right().moves.is_empty());
}

#[test]
fn a_lost_delete_is_not_the_end_of_the_world() {
    let mut pair = connected();
    pair.network = Box::new(|_, _, _| Fate::Drop);
    let id = pair.left().inbound[0].id;
    pair.call(0, |endpoint, now| endpoint.close_child(now, id));
    pair.run(secs(1));
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    pair.open(0, 0);
    pair.run(secs(1));
    assert_eq!(pair.left().live().len(), 2);
    assert_eq!(pair.right().discarded(Discard::UnknownDelete), 0);
}
