//! Main mode between two of us.

use super::{Fate, Pair, secs};
use crate::{Discard, Failure, NatTraversal, PeerConfig, PeerState, Role};
use std::time::Duration;
use warren_policy::{Hash, KeyBits, PeerId, Secret};
use warren_seam::Encapsulation;

fn connects(proposal: &str) {
    let mut pair = Pair::with(1, |peers, _| {
        peers.iter_mut().for_each(|peer| peer.proposals = vec![proposal.parse().unwrap()]);
    });
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected(), "{proposal}");
    let status = pair.left().endpoint.peers();
    assert_eq!(status[0].proposal.unwrap().to_string(), proposal);
}

#[test]
fn every_cipher_and_hash_connects() {
    for bits in [KeyBits::B128, KeyBits::B192, KeyBits::B256] {
        for hash in [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            connects(&format!("aes{}-{hash}-ecp256", bits.bits()));
        }
    }
}

#[test]
fn modp_and_every_curve_connect() {
    for group in ["modp2048", "modp3072", "ecp384", "ecp521"] {
        connects(&format!("aes256-sha384-{group}"));
    }
}

#[test]
fn nine_messages_are_enough_and_both_sides_know_their_part() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(60));
    assert!(pair.is_connected());
    assert_eq!(pair.sent.len(), 9);
    assert_eq!((pair.left().up[0].3, pair.right().up[0].3), (Role::Initiator, Role::Responder));
    let (left, right) = (&pair.left().endpoint.peers()[0], &pair.right().endpoint.peers()[0]);
    assert_eq!((left.state, right.state), (PeerState::Established, PeerState::Established));
    assert_eq!(
        (left.initiator_cookie, left.responder_cookie),
        (right.initiator_cookie, right.responder_cookie)
    );
    assert_eq!((pair.left().peer_ups, pair.right().peer_ups), (1, 1));
}

#[test] // DC-18
fn the_responders_order_wins() {
    let mut pair = Pair::with(1, |peers, _| {
        let list = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap()).to_vec();
        peers[0].proposals = list(["aes128-sha256-modp2048", "aes256-sha384-ecp384"]);
        peers[1].proposals = list(["aes256-sha384-ecp384", "aes128-sha256-modp2048"]);
    });
    pair.open(0, 0);
    pair.run(secs(2));
    assert_eq!(pair.left().endpoint.peers()[0].proposal.unwrap().to_string(), "aes256-sha384-ecp384");
}

#[test]
fn nothing_in_common_is_said_and_fails() {
    let mut pair = Pair::with(1, |peers, _| {
        peers[1].proposals = vec!["aes256-sha512-ecp521".parse().unwrap()];
    });
    pair.open(0, 0);
    pair.run(secs(120));
    assert_eq!(pair.left().failed, [(super::rule(0), Failure::Hinted(14))]);
    assert!(pair.right().discarded(Discard::NoProposalChosen) >= 1);
    // The notify is not authenticated, so that it only explains: the initiator went on trying.
    assert_eq!(pair.left().counters().retransmissions, 5);
    assert!(pair.left().endpoint.peers()[0].state == PeerState::Idle);
}

#[test] // F-22
fn a_wrong_identity_never_connects() {
    for side in [0, 1] {
        let mut pair = Pair::with(1, |peers, _| peers[side].local_identity = "other.test".parse().unwrap());
        pair.open(0, 0);
        pair.run(secs(120));
        assert_eq!(pair.left().failed.len(), 1);
        assert!(pair.left().inbound.is_empty() && pair.right().inbound.is_empty());
        assert!(pair.sides[1 - side].discarded(Discard::IdentityMismatch) >= 1);
        assert!(pair.sides[1 - side].notices.iter().any(|notice| notice.contains("other.test")));
    }
}

#[test] // F-22
fn an_identity_of_another_kind_with_the_same_text_never_connects() {
    let mut pair = Pair::with(1, |peers, _| {
        peers[0].local_identity = warren_policy::Identity::KeyId(b"left.test".to_vec());
    });
    pair.open(0, 0);
    pair.run(secs(120));
    assert_eq!(pair.right().discarded(Discard::IdentityMismatch), 1);
    assert!(pair.right().inbound.is_empty());
}

#[test]
fn a_wrong_secret_is_counted_and_leaves_nothing_behind() {
    let mut pair = Pair::with(1, |peers, _| {
        peers[1].authentication = crate::Authentication::PreSharedKey(Secret::new(b"another".to_vec()));
    });
    pair.open(0, 0);
    pair.run(secs(120));
    assert_eq!(pair.left().failed, [(super::rule(0), Failure::NoAnswer)]);
    let refused = pair.right().discarded(Discard::Undecryptable) + pair.right().discarded(Discard::BadHash);
    assert_eq!(refused, 6);
    let remarks = pair.right().notices.iter().filter(|notice| notice.contains("keys differ")).count();
    assert_eq!(remarks, 1);
    for side in &pair.sides {
        assert_eq!(side.endpoint.peers()[0].state, PeerState::Idle);
        assert!(side.endpoint.isakmps.is_empty() && side.endpoint.by_cookies.is_empty());
        assert!(side.endpoint.poll_timeout().is_none());
    }
}

#[test] // RFC 3947
fn without_a_nat_esp_is_raw_and_the_ports_stay() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(2));
    assert_eq!(pair.left().inbound[0].encapsulation, Encapsulation::Raw);
    assert!(pair.sent.iter().all(|(_, path, _)| path.remote.port() == 500));
}

#[test] // RFC 3947, RFC 3948
fn behind_a_nat_both_sides_float_and_the_hidden_one_keeps_the_mapping_open() {
    for initiator in [0, 1] {
        let mut pair = Pair::with(1, |peers, _| {
            peers[0].local = [10, 0, 0, 1].into();
            peers[1].remote = crate::Remote::Host([192, 0, 2, 1].into());
        });
        // Ports are translated only where the hidden side speaks first.
        let offset = if initiator == 0 { 1000 } else { 0 };
        pair.nat = Some(super::harness::NatBox { inside: [10, 0, 0, 1], outside: [192, 0, 2, 1], offset });
        pair.open(initiator, 0);
        pair.run(secs(65));
        assert!(pair.is_connected(), "initiator {initiator}");
        let right = &pair.right().inbound[0];
        assert_eq!(right.encapsulation, Encapsulation::Udp { local_port: 4500, remote_port: 4500 + offset });
        assert_eq!(
            pair.left().inbound[0].encapsulation,
            Encapsulation::Udp { local_port: 4500, remote_port: 4500 }
        );
        assert_eq!((pair.left().keepalives, pair.right().keepalives), (3, 0));
        assert_eq!(pair.right().discarded(Discard::Keepalive), 3);
        let status = &pair.left().endpoint.peers()[0];
        assert!(status.local_behind_nat && !status.remote_behind_nat && status.udp_encapsulation);
    }
}

#[test]
fn force_floats_without_a_nat() {
    for side in [0, 1] {
        let mut pair = Pair::with(1, |peers, _| peers[side].nat_traversal = NatTraversal::Force);
        pair.open(0, 0);
        pair.run(secs(2));
        assert!(pair.is_connected());
        let udp = Encapsulation::Udp { local_port: 4500, remote_port: 4500 };
        assert!(pair.sides.iter().all(|side| side.inbound[0].encapsulation == udp));
    }
}

#[test] // RFC 3947 §4
fn a_last_message_on_the_port_before_the_float_is_not_believed() {
    let mut pair = Pair::with(1, |peers, _| peers[0].nat_traversal = NatTraversal::Force);
    pair.network = Box::new(|number, _, _| if number == 5 { Fate::Drop } else { Fate::Deliver });
    pair.open(0, 0);
    pair.run(Duration::from_millis(100));
    let (from, path, octets) = pair.sent[5].clone();
    assert_eq!((from, path.local.port()), (1, 4500));
    let mut seen = crate::Path { local: path.remote, remote: path.local };
    seen.local.set_port(500);
    pair.inject(0, seen, &octets[4..]);
    assert_eq!(pair.left().discarded(Discard::WrongPath), 1);
    pair.run(secs(2));
    assert!(pair.is_connected());
    let udp = Encapsulation::Udp { local_port: 4500, remote_port: 4500 };
    assert!(pair.sides.iter().all(|side| side.inbound[0].encapsulation == udp));
}

#[test] // F-22
fn of_peers_behind_one_address_the_one_that_proved_itself_bounds_the_lifetime() {
    let mut pair = Pair::new();
    let [_, right] = super::harness::peer_configs();
    let first = PeerConfig {
        id: PeerId(1),
        remote_identity: crate::RemoteIdentity::Exactly("other.test".parse().unwrap()),
        ..right.clone()
    };
    let second = PeerConfig { lifetime: 600, ..right };
    pair.sides[1] = super::harness::Side::new(vec![first, second], Vec::new(), 2);
    pair.open(0, 0);
    pair.run(secs(1));
    let status = pair.right().endpoint.peers();
    let shown = status.iter().find(|status| status.peer == PeerId(0)).unwrap();
    assert_eq!(shown.expires_at.unwrap() - shown.established_at.unwrap(), secs(600));
}

#[test]
fn off_never_floats() {
    let mut pair = Pair::with(1, |peers, _| {
        peers[0].nat_traversal = NatTraversal::Force;
        peers[1].nat_traversal = NatTraversal::Off;
    });
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert!(pair.sides.iter().all(|side| side.inbound[0].encapsulation == Encapsulation::Raw));
}
