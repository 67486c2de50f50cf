//! Phase 1 in each of its exchanges, between two of us.

use super::harness::{NatBox, Side};
use super::{Fate, Pair, secs};
use crate::credentials::tests::{NOW, credentials};
use crate::v1::main_mode::header;
use crate::wire::{Body, Chain, ExchangeType, Header, PayloadType};
use crate::{
    Authentication, Discard, Failure, Mode, NatTraversal, Path, PeerConfig, PeerState, Remote,
    RemoteIdentity, Role,
};
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{Identity, PeerId, Secret};
use warren_seam::Encapsulation;

const MODES: [Mode; 3] = [Mode::Main, Mode::Aggressive, Mode::Base];
const UDP: Encapsulation = Encapsulation::Udp { local_port: 4500, remote_port: 4500 };

/// The kinds of the payloads of a message in clear, with their lengths.
pub(super) fn shape(message: &[u8]) -> Vec<(PayloadType, usize)> {
    let (header, body) = Header::decode(message).unwrap();
    let body = Body::decode(header.next_payload, body).unwrap();
    body.payloads().iter().map(|payload| (payload.kind, payload.body.len())).collect()
}

fn kinds(message: &[u8]) -> Vec<PayloadType> {
    let known = shape(message).into_iter().map(|(kind, _)| kind);
    known.filter(|kind| *kind != PayloadType::VENDOR_ID).collect()
}

fn signing(kind: &str, mode: Mode) -> Pair {
    let mut pair = Pair::with(1, |peers, _| {
        for (peer, side) in peers.iter_mut().zip(["left", "right"]) {
            peer.mode = mode;
            peer.authentication = Authentication::Signature(Arc::new(credentials(&format!("{kind}-{side}"))));
        }
    });
    for side in [0, 1] {
        pair.call(side, |endpoint, now| endpoint.set_unix_time(now, NOW));
    }
    pair
}

#[test] // DC-1, DC-17, DC-19, DC-20, Q-24
fn every_mode_connects_in_either_direction_in_as_many_messages_as_it_has() {
    for (mode, exchange, messages) in [
        (Mode::Main, ExchangeType::MAIN, 6),
        (Mode::Aggressive, ExchangeType::AGGRESSIVE, 3),
        (Mode::Base, ExchangeType::BASE, 4),
    ] {
        for initiator in [0, 1] {
            let mut pair = Pair::in_mode(mode);
            pair.open(initiator, 0);
            pair.run(secs(60));
            assert!(pair.is_connected(), "{mode}");
            let of_phase_one = pair.sent.iter().filter(|(_, _, octets)| octets[18] == exchange.0).count();
            assert_eq!(of_phase_one, messages, "{mode}");
            let status = [0, 1].map(|side| pair.sides[side].endpoint.peers().remove(0));
            assert!(status.iter().all(|status| status.state == PeerState::Established), "{mode}");
            assert_eq!(status[initiator].role, Some(Role::Initiator));
            assert_eq!(status[0].responder_cookie, status[1].responder_cookie);
            assert_eq!((pair.left().peer_ups, pair.right().peer_ups), (1, 1), "{mode}");
            for side in &pair.sides {
                assert!(side.endpoint.unfinished.is_empty() && side.endpoint.admission.len() == 0);
                assert!(side.notices.iter().any(|notice| notice.contains(&mode.to_string())), "{mode}");
            }
        }
    }
}

#[test] // RFC 2409 §5.1, RFC 4754
fn every_mode_connects_with_signatures_of_every_kind() {
    for mode in MODES {
        for kind in ["rsa", "p256", "p384", "p521"] {
            for initiator in [0, 1] {
                let mut pair = signing(kind, mode);
                pair.open(initiator, 0);
                pair.run(secs(2));
                assert!(pair.is_connected(), "{mode}, {kind}, {initiator}");
            }
        }
    }
}

#[test] // RFC 2409 §5.1
fn a_certificate_of_somebody_else_connects_in_no_mode() {
    for mode in MODES {
        for side in [0, 1] {
            let mut pair = Pair::with(1, |peers, _| {
                for (peer, side) in peers.iter_mut().zip(["left", "right"]) {
                    peer.mode = mode;
                    peer.authentication =
                        Authentication::Signature(Arc::new(credentials(&format!("p256-{side}"))));
                }
                let other = if side == 0 { "p256-right" } else { "p256-left" };
                peers[side].authentication = Authentication::Signature(Arc::new(credentials(other)));
            });
            for side in [0, 1] {
                pair.call(side, |endpoint, now| endpoint.set_unix_time(now, NOW));
            }
            pair.open(0, 0);
            pair.run(secs(120));
            assert_eq!(pair.left().failed.len(), 1, "{mode}, {side}");
            assert!(pair.sides[1 - side].discarded(Discard::CertificateName) >= 1, "{mode}, {side}");
            assert!(pair.sides.iter().all(|side| side.inbound.is_empty()), "{mode}, {side}");
        }
    }
}

#[test]
fn without_the_time_of_day_no_certificate_is_believed() {
    for mode in MODES {
        let mut pair = signing("p256", mode);
        pair.call(1, |endpoint, now| endpoint.set_unix_time(now, Duration::ZERO));
        pair.open(0, 0);
        pair.run(secs(120));
        assert!(pair.left().inbound.is_empty() && pair.right().inbound.is_empty(), "{mode}");
        assert!(pair.right().discarded(Discard::CertificateDate) >= 1, "{mode}");
        let said = pair.right().notices.iter().filter(|notice| notice.contains("not valid yet"));
        assert_eq!(said.count(), 1, "{mode}: once, however often it is tried");
    }
}

#[test] // DC-21
fn the_initiator_sends_its_identity_in_the_first_message_where_the_mode_has_it_there() {
    use PayloadType as P;
    for (mode, first, second) in [
        (Mode::Main, vec![P::SA], vec![P::SA]),
        (
            Mode::Aggressive,
            vec![P::SA, P::KEY_EXCHANGE, P::NONCE, P::IDENTIFICATION],
            vec![P::SA, P::KEY_EXCHANGE, P::NONCE, P::IDENTIFICATION, P::HASH, P::NAT_D, P::NAT_D],
        ),
        (Mode::Base, vec![P::SA, P::IDENTIFICATION, P::NONCE], vec![P::SA, P::IDENTIFICATION, P::NONCE]),
    ] {
        let mut pair = Pair::in_mode(mode);
        pair.open(0, 0);
        pair.run(secs(1));
        assert_eq!((kinds(&pair.sent[0].2), kinds(&pair.sent[1].2)), (first, second), "{mode}");
        let in_clear = |message: &[u8]| message.windows(9).any(|octets| octets == b"left.test");
        assert_eq!(in_clear(&pair.sent[0].2), mode != Mode::Main, "{mode}");
        // In every mode the responder knows in the end.
        assert_eq!(pair.right().came[0].2, "left.test".parse::<Identity>().unwrap());
    }
}

#[test] // REQUIREMENTS A1
fn base_mode_proves_before_it_computes() {
    use PayloadType as P;
    let mut pair = Pair::in_mode(Mode::Base);
    pair.open(0, 0);
    pair.run(Duration::from_millis(25));
    assert_eq!(pair.right().counters().key_exchanges, 0);
    assert_eq!(pair.right().endpoint.admission.len(), 1);
    pair.run(secs(1));
    assert_eq!(kinds(&pair.sent[2].2), [P::KEY_EXCHANGE, P::HASH, P::NAT_D, P::NAT_D]);
    assert_eq!(kinds(&pair.sent[3].2), [P::KEY_EXCHANGE, P::HASH, P::NAT_D, P::NAT_D]);
    assert!(pair.sent[..4].iter().all(|(_, _, octets)| octets[19] & Header::ENCRYPTION == 0));
}

#[test]
fn a_responder_takes_from_a_peer_only_the_mode_that_is_configured() {
    for ours in MODES {
        for theirs in MODES.into_iter().filter(|mode| *mode != ours) {
            let mut pair = Pair::with(1, |peers, _| (peers[0].mode, peers[1].mode) = (ours, theirs));
            pair.open(0, 0);
            pair.run(secs(120));
            assert_eq!(pair.left().failed, [(super::rule(0), Failure::NoAnswer)], "{ours}, {theirs}");
            assert_eq!(pair.right().discarded(Discard::UnexpectedExchange), 6, "{ours}, {theirs}");
            assert_eq!((pair.right().counters().transmitted, pair.right().counters().key_exchanges), (0, 0));
        }
    }
}

#[test]
fn a_wrong_secret_connects_in_no_mode_and_leaves_nothing_behind() {
    for mode in [Mode::Aggressive, Mode::Base] {
        let mut pair = Pair::with(1, |peers, _| {
            peers.iter_mut().for_each(|peer| peer.mode = mode);
            peers[1].authentication = Authentication::PreSharedKey(Secret::new(b"another".to_vec()));
        });
        pair.open(0, 0);
        pair.run(secs(120));
        assert_eq!(pair.left().failed, [(super::rule(0), Failure::NoAnswer)], "{mode}");
        // Whoever sees the other's proof first finds it wrong.
        let judge = if mode == Mode::Base { pair.right() } else { pair.left() };
        assert_eq!(judge.discarded(Discard::BadHash), 6, "{mode}");
        for side in &pair.sides {
            assert_eq!(side.endpoint.peers()[0].state, PeerState::Idle);
            assert!(side.endpoint.isakmps.is_empty() && side.endpoint.by_cookies.is_empty(), "{mode}");
        }
    }
}

#[test] // F-22
fn a_wrong_identity_of_the_responder_connects_in_no_mode() {
    for mode in MODES {
        let mut pair = Pair::with(1, |peers, _| {
            peers.iter_mut().for_each(|peer| peer.mode = mode);
            peers[1].local_identity = "other.test".parse().unwrap();
        });
        pair.open(0, 0);
        pair.run(secs(120));
        assert_eq!(pair.left().failed, [(super::rule(0), Failure::UnacceptableAnswer)], "{mode}");
        assert!(pair.left().notices.iter().any(|notice| notice.contains("other.test")), "{mode}");
    }
}

#[test] // RFC 3947 §4
fn behind_a_nat_every_mode_floats() {
    for mode in MODES {
        for initiator in [0, 1] {
            let mut pair = Pair::with(1, |peers, _| {
                peers.iter_mut().for_each(|peer| peer.mode = mode);
                peers[0].local = [10, 0, 0, 1].into();
                peers[1].remote = Remote::Host([192, 0, 2, 1].into());
            });
            let offset = if initiator == 0 { 1000 } else { 0 };
            pair.nat = Some(NatBox { inside: [10, 0, 0, 1], outside: [192, 0, 2, 1], offset });
            pair.open(initiator, 0);
            pair.run(secs(65));
            assert!(pair.is_connected(), "{mode}, {initiator}");
            let right = pair.right().inbound[0].encapsulation;
            assert_eq!(right, Encapsulation::Udp { local_port: 4500, remote_port: 4500 + offset }, "{mode}");
            assert_eq!(pair.left().inbound[0].encapsulation, UDP, "{mode}");
            assert!(pair.left().keepalives == 3 && pair.right().keepalives == 0, "{mode}");
            let status = &pair.left().endpoint.peers()[0];
            assert!(status.local_behind_nat && !status.remote_behind_nat, "{mode}");
        }
    }
}

#[test] // RFC 3947 §4
fn the_first_message_on_the_other_port_is_the_one_that_the_mode_says() {
    for (mode, first) in [(Mode::Main, 4), (Mode::Aggressive, 2), (Mode::Base, 4)] {
        for side in [0, 1] {
            let mut pair = Pair::with(1, |peers, _| {
                peers.iter_mut().for_each(|peer| peer.mode = mode);
                peers[side].nat_traversal = NatTraversal::Force;
            });
            pair.open(0, 0);
            pair.run(secs(2));
            assert!(pair.is_connected(), "{mode}, {side}");
            assert!(pair.sides.iter().all(|side| side.inbound[0].encapsulation == UDP), "{mode}");
            let floated = pair.sent.iter().position(|(_, path, _)| path.local.port() == 4500);
            assert_eq!(floated, Some(first), "{mode}, {side}");
        }
    }
}

#[test]
fn off_never_floats_in_any_mode() {
    for mode in MODES {
        let mut pair = Pair::with(1, |peers, _| {
            peers.iter_mut().for_each(|peer| peer.mode = mode);
            peers[0].nat_traversal = NatTraversal::Force;
            peers[1].nat_traversal = NatTraversal::Off;
        });
        pair.open(0, 0);
        pair.run(secs(2));
        assert!(pair.is_connected(), "{mode}");
        assert!(pair.sides.iter().all(|side| side.inbound[0].encapsulation == Encapsulation::Raw), "{mode}");
    }
}

#[test] // DC-15
fn our_own_address_may_be_left_to_the_route() {
    for mode in MODES {
        let mut pair = Pair::with(1, |peers, _| {
            peers[0].local = [0, 0, 0, 0].into();
            peers.iter_mut().for_each(|peer| peer.mode = mode);
        });
        // The kernel fills in the source.
        pair.unspecified = Some([192, 0, 2, 1]);
        pair.open(0, 0);
        pair.run(secs(2));
        assert!(pair.is_connected(), "{mode}");
        assert_eq!(pair.left().inbound[0].local, std::net::IpAddr::from([192, 0, 2, 1]), "{mode}");
        assert_eq!(pair.left().inbound[0].encapsulation, Encapsulation::Raw, "{mode}");
    }
}

#[test] // DC-18
fn one_aggressive_mode_offers_one_group_and_the_responder_follows_the_public_value() {
    let list = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
    let mut pair = Pair::with(1, |peers, _| {
        peers.iter_mut().for_each(|peer| peer.mode = Mode::Aggressive);
        peers[0].proposals =
            list(&["aes256-sha384-ecp256", "aes128-sha256-ecp256", "aes128-sha256-modp2048"]);
        peers[1].proposals =
            list(&["aes256-sha384-ecp384", "aes128-sha256-modp2048", "aes128-sha256-ecp256"]);
    });
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert_eq!(pair.left().endpoint.peers()[0].proposal.unwrap().to_string(), "aes128-sha256-ecp256");
}

#[test]
fn the_third_message_of_aggressive_mode_is_repeated_until_the_peer_is_heard() {
    let mut pair = Pair::in_mode(Mode::Aggressive);
    let third = |octets: &[u8]| octets[18] == ExchangeType::AGGRESSIVE.0 && octets[19] & 1 == 1;
    let mut left = 2;
    pair.network = Box::new(move |_, _, octets| {
        if third(octets) && left > 0 {
            left -= 1;
            return Fate::Drop;
        }
        Fate::Deliver
    });
    pair.open(0, 0);
    pair.run(secs(60));
    assert!(pair.is_connected());
    assert_eq!(pair.sent.iter().filter(|(_, _, octets)| third(octets)).count(), 3);
}

#[test]
fn an_sa_that_the_responder_never_heard_of_does_not_stay() {
    let mut pair = Pair::in_mode(Mode::Aggressive);
    let third = |octets: &[u8]| octets[18] == ExchangeType::AGGRESSIVE.0 && octets[19] & 1 == 1;
    pair.network = Box::new(move |_, _, octets| if third(octets) { Fate::Drop } else { Fate::Deliver });
    pair.open(0, 0);
    pair.run(secs(100));
    assert_eq!(pair.left().failed, [(super::rule(0), Failure::NoAnswer)]);
    assert_eq!(pair.left().peer_downs, [crate::Down::DeadPeer]);
    assert!(pair.left().endpoint.isakmps.is_empty());
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
}

/// A pair in aggressive mode whose third message of the negotiation that begins now is held back, and that message
/// as the right side would see it.
fn hold_the_third(pair: &mut Pair) -> (Path, Vec<u8>) {
    let is_third = |octets: &[u8]| octets[18] == ExchangeType::AGGRESSIVE.0 && octets[19] & 1 == 1;
    pair.network = Box::new(move |_, _, octets| if is_third(octets) { Fate::Drop } else { Fate::Deliver });
    let before = pair.sent.len();
    pair.call(0, |endpoint, now| endpoint.begin_phase_one(now, PeerId(0)));
    pair.run(Duration::from_millis(50));
    let third = pair.sent[before..].iter().find(|(_, _, octets)| is_third(octets));
    let (from, path, octets) = third.unwrap().clone();
    assert_eq!(from, 0);
    (Path { local: path.remote, remote: path.local }, octets)
}

#[test] // RFC 2409 §5.4, F-3
fn the_third_message_may_come_in_clear_but_then_its_notifies_are_not_believed() {
    let mut pair = Pair::in_mode(Mode::Aggressive);
    pair.open(0, 0);
    pair.run(secs(20));
    assert!(pair.is_connected());
    let (seen, sealed) = hold_the_third(&mut pair);
    let cookies = crate::crypto::Cookies {
        initiator: sealed[..8].try_into().unwrap(),
        responder: sealed[8..16].try_into().unwrap(),
    };
    let record = pair.sides[1].endpoint.admission.record(seen, cookies.initiator).unwrap();
    let crate::admission::Waiting::Aggressive(state) = &record.state else { panic!("aggressive mode") };
    let hash = state.expected();
    let kind = crate::wire::NotifyType::INITIAL_CONTACT;
    let notify = crate::wire::Notify::isakmp(kind, cookies.initiator, cookies.responder, &[]).encode();
    let clear = |hash: &[u8]| {
        let chain = Chain::new().with(PayloadType::HASH, hash).with(PayloadType::NOTIFY, &notify);
        header(cookies, ExchangeType::AGGRESSIVE, 0).encode(&chain)
    };
    // A wrong one changes nothing.
    pair.inject(1, seen, &clear(&[7; 32]));
    assert_eq!((pair.right().discarded(Discard::BadHash), pair.right().endpoint.isakmps.len()), (1, 1));
    pair.inject(1, seen, &clear(&hash));
    assert_eq!((pair.right().endpoint.admission.len(), pair.right().endpoint.isakmps.len()), (0, 2));
    pair.run(Duration::from_millis(50));
    assert!(pair.right().down.is_empty(), "somebody who can change a message in clear must not end SAs");
    assert!(pair.is_connected());
}

#[test] // F-6
fn a_forged_or_damaged_third_message_leaves_the_state_able_to_finish() {
    let mut pair = Pair::in_mode(Mode::Aggressive);
    let (seen, sealed) = hold_the_third(&mut pair);
    for at in (28..sealed.len()).step_by(5) {
        let mut damaged = sealed.clone();
        damaged[at] ^= 1;
        pair.inject(1, seen, &damaged);
    }
    assert_eq!(pair.right().peer_ups, 0);
    let mut cookie = sealed.clone();
    cookie[8] ^= 1;
    pair.inject(1, seen, &cookie);
    assert!(pair.right().discarded(Discard::UnknownCookies) >= 1);
    pair.inject(1, seen, &sealed);
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
}

#[test]
fn a_forged_answer_in_clear_leaves_the_initiator_able_to_finish() {
    for mode in [Mode::Aggressive, Mode::Base] {
        let clean = {
            let mut pair = Pair::in_mode(mode);
            pair.open(0, 0);
            pair.run(secs(1));
            pair.sent
        };
        let answer = if mode == Mode::Base { 3 } else { 1 };
        let seen = Path { local: "192.0.2.1:500".parse().unwrap(), remote: "192.0.2.2:500".parse().unwrap() };
        let mut pair = Pair::in_mode(mode);
        pair.open(0, 0);
        pair.run(Duration::from_millis(if mode == Mode::Base { 25 } else { 1 }));
        // The same seeds, so the true answer is known before it comes; every one of these is another.
        let length = clean[answer].2.len();
        for at in (28..length).step_by(11) {
            let mut forged = clean[answer].2.clone();
            forged[at] ^= 0x40;
            // Vendor IDs and NAT-D payloads are not authenticated; a change there is not noticed.
            if kinds_at(&forged, at) {
                pair.inject(0, seen, &forged);
            }
        }
        assert_eq!(pair.left().peer_ups, 0, "{mode}");
        pair.run(secs(2));
        assert!(pair.is_connected(), "{mode}");
    }
}

/// Whether that octet belongs to a payload that the proof covers, or is the proof.
fn kinds_at(message: &[u8], at: usize) -> bool {
    let Ok((header, body)) = Header::decode(message) else { return true };
    let Ok(body) = Body::decode(header.next_payload, body) else { return true };
    let covered =
        [PayloadType::KEY_EXCHANGE, PayloadType::NONCE, PayloadType::IDENTIFICATION, PayloadType::HASH];
    body.payloads().iter().any(|payload| {
        let start = payload.body.as_ptr() as usize - message.as_ptr() as usize;
        covered.contains(&payload.kind) && (start..start + payload.body.len()).contains(&at)
    })
}

#[test] // F-3
fn our_own_messages_reflected_change_nothing() {
    for mode in MODES {
        let mut pair = Pair::in_mode(mode);
        pair.open(0, 0);
        let mut back = 0;
        for _ in 0..400 {
            let before = pair.sent.len();
            pair.run(Duration::from_millis(1));
            let fresh = pair.sent[before..].to_vec();
            for (from, path, octets) in fresh {
                // As if the peer had sent what was sent to it.
                pair.inject(from, path, &octets);
                back += 1;
            }
        }
        assert!(pair.is_connected(), "{mode}");
        assert!(back >= 6, "{mode}");
        assert_eq!((pair.left().peer_ups, pair.right().peer_ups), (1, 1), "{mode}");
        assert!(pair.sides.iter().all(|side| side.endpoint.isakmps.len() == 1), "{mode}");
    }
}

#[test] // DC-21
fn the_identity_in_the_first_message_picks_the_secret_of_peers_from_anywhere() {
    for mode in [Mode::Aggressive, Mode::Base] {
        let mut pair = Pair::in_mode(mode);
        let [_, right] = super::peer_configs();
        let of = |number: u32, name: &str, secret: &[u8]| PeerConfig {
            id: PeerId(number),
            name: name.to_owned(),
            mode,
            remote: Remote::Any,
            remote_identity: RemoteIdentity::Exactly(name.parse().unwrap()),
            authentication: Authentication::PreSharedKey(Secret::new(secret.to_vec())),
            ..right.clone()
        };
        let peers = vec![
            of(0, "other.test", b"not this one"),
            of(1, "left.test", b"warren-test-psk"),
            of(2, "a.b", b"nor"),
        ];
        pair.sides[1] = Side::new(peers, Vec::new(), 2);
        pair.call(0, |endpoint, now| endpoint.begin_phase_one(now, PeerId(0)));
        pair.run(secs(1));
        let came = &pair.right().came;
        assert_eq!(came.len(), 1, "{mode}");
        assert_eq!((came[0].1, came[0].2.to_string()), (Some(PeerId(1)), "left.test".to_owned()), "{mode}");
    }
}
