//! Aggressive and base mode answer strangers: what those learn, and what it costs us.

use super::harness::{Side, peer_configs};
use super::modes::shape;
use super::{Pair, secs};
use crate::crypto::KeyExchange;
use crate::limits::{HALF_OPEN_MAX, HALF_OPEN_PER_SOURCE_MAX, UNPROVED_KEY_EXCHANGES_PER_SECOND};
use crate::testing::Seeded;
use crate::v1::main_mode::header;
use crate::v1::phase_one::offer;
use crate::wire::{Chain, ExchangeType, Identification, PayloadType};
use crate::{Authentication, Discard, Mode, Path, PeerConfig, Remote, RemoteIdentity};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{Group, Identity, PeerId, Secret};

const HERE: [u8; 4] = [192, 0, 2, 1];

fn path(remote: impl Into<IpAddr>) -> Path {
    Path { local: "192.0.2.2:500".parse().unwrap(), remote: (remote.into(), 500).into() }
}

fn first_message(mode: Mode, cookie: u64, identity: &str) -> Vec<u8> {
    let cookies = crate::crypto::Cookies { initiator: cookie.to_be_bytes(), responder: [0; 8] };
    let identity: Identity = identity.parse().unwrap();
    let identity = Identification::of_identity(&identity).encode();
    let sa = offer(&["aes128-sha256-ecp256".parse().unwrap()], 1, 3600);
    let mut chain = Chain::new().with(PayloadType::SA, &sa);
    let exchange = match mode {
        Mode::Aggressive => {
            let half = KeyExchange::generate(Group::Ecp256, &mut Seeded::new(cookie));
            chain.push(PayloadType::KEY_EXCHANGE, half.public());
            ExchangeType::AGGRESSIVE
        }
        _ => ExchangeType::BASE,
    };
    let chain = chain.with(PayloadType::NONCE, &[9; 32]).with(PayloadType::IDENTIFICATION, &identity);
    let chain = chain.with(PayloadType::VENDOR_ID, &crate::wire::vendor::NAT_T_RFC_3947);
    header(cookies, exchange, 0).encode(&chain)
}

fn from_anywhere(mode: Mode) -> PeerConfig {
    let [_, right] = peer_configs();
    PeerConfig { mode, remote: Remote::Any, ..right }
}

fn answer(side: &mut Side, mode: Mode, cookie: u64, identity: &str) -> Vec<u8> {
    side.endpoint.handle_datagram(secs(cookie), path(HERE), &first_message(mode, cookie, identity));
    let mut answers = side.drain();
    assert_eq!(answers.len(), 1, "{identity}");
    answers.remove(0).1
}

#[test] // F-1
fn who_is_known_and_who_is_not_get_answers_of_the_same_form_for_the_same_work() {
    for mode in [Mode::Aggressive, Mode::Base] {
        let mut side = Side::new(vec![from_anywhere(mode)], Vec::new(), 1);
        let known = answer(&mut side, mode, 1, "left.test");
        let work = side.counters().key_exchanges;
        let state = side.endpoint.admission.len();
        for (cookie, identity) in
            [(2, "nobody.at.all"), (3, "right.test"), (4, "x@left.test"), (5, "192.0.2.7")]
        {
            let stranger = answer(&mut side, mode, cookie, identity);
            assert_eq!(shape(&stranger), shape(&known), "{mode}, {identity}");
            assert_eq!(side.counters().key_exchanges, work * cookie, "{mode}, {identity}");
            assert_eq!(side.endpoint.admission.len(), state * cookie as usize, "{mode}, {identity}");
            // Everything but cookies, public value, nonce, NAT-D and proof is the same octets.
            let same = |kind| {
                let of = |message: &[u8]| {
                    let (header, body) = crate::wire::Header::decode(message).unwrap();
                    let body = crate::wire::Body::decode(header.next_payload, body).unwrap();
                    body.all(kind).map(|payload| payload.body.to_vec()).collect::<Vec<_>>()
                };
                assert_eq!(of(&stranger), of(&known), "{mode}, {identity}");
            };
            [PayloadType::SA, PayloadType::IDENTIFICATION, PayloadType::VENDOR_ID].into_iter().for_each(same);
        }
        assert!(side.counters().discards().all(|(_, count)| count == 0), "{mode}");
    }
}

#[test] // F-1
fn an_unknown_identity_never_connects_whatever_secret_it_has() {
    for mode in [Mode::Aggressive, Mode::Base] {
        let mut pair = Pair::with(1, |peers, _| {
            peers.iter_mut().for_each(|peer| peer.mode = mode);
            peers[0].local_identity = "nobody.test".parse().unwrap();
        });
        pair.open(0, 0);
        pair.run(secs(120));
        assert_eq!(pair.left().failed.len(), 1, "{mode}");
        assert!(pair.left().inbound.is_empty() && pair.right().inbound.is_empty());
        // The secret under which it was answered is not the one it has.
        let judge = if mode == Mode::Base { pair.right() } else { pair.left() };
        assert_eq!(judge.discarded(Discard::BadHash), 6, "{mode}");
        // A responder of base mode shows no proof to whom it does not know.
        if mode == Mode::Base {
            assert!(pair.right().notices.iter().any(|notice| notice.contains("nobody.test")));
            assert_eq!(pair.right().counters().key_exchanges, 0);
            let answers = pair.sent.iter().filter(|(from, _, _)| *from == 1);
            assert!(answers.map(|(_, _, octets)| shape(octets)).all(|shape| {
                shape.iter().all(|(kind, _)| *kind != PayloadType::HASH && *kind != PayloadType::KEY_EXCHANGE)
            }));
        }
    }
}

#[test] // F-1
fn the_hash_of_an_answer_to_a_stranger_verifies_under_no_secret_of_ours() {
    // Two gateways with the same randomness and other secrets: a stranger's answer is the same from both, so that it
    // cannot depend on the secret; that to a known identity is not.
    let of = |secret: &[u8], identity: &str| {
        let authentication = Authentication::PreSharedKey(Secret::new(secret.to_vec()));
        let peer = PeerConfig { authentication, ..from_anywhere(Mode::Aggressive) };
        let mut side = Side::new(vec![peer], Vec::new(), 1);
        answer(&mut side, Mode::Aggressive, 1, identity)
    };
    assert_eq!(of(b"one secret", "nobody.test"), of(b"another", "nobody.test"));
    assert_ne!(of(b"one secret", "left.test"), of(b"another", "left.test"));
}

#[test] // F-5
fn a_flood_of_first_messages_keeps_memory_flat_and_is_rationed() {
    for mode in [Mode::Aggressive, Mode::Base] {
        let mut side = Side::new(vec![from_anywhere(mode)], Vec::new(), 1);
        let capacity = side.endpoint.admission.capacity();
        let (seconds, per_second) = (6, 400);
        for number in 0..seconds * per_second {
            let now = Duration::from_micros(number * 1_000_000 / per_second);
            let source = IpAddr::from((0x0a00_0000 + number as u32).to_be_bytes());
            let message = first_message(mode, number + 1, "left.test");
            side.endpoint.handle_datagram(now, path(source), &message);
            side.drain();
        }
        assert!(side.endpoint.admission.len() <= HALF_OPEN_MAX, "{mode}");
        assert_eq!(side.endpoint.admission.capacity(), capacity, "{mode}");
        assert!(side.endpoint.isakmps.is_empty() && side.endpoint.unfinished.is_empty(), "{mode}");
        assert!(side.endpoint.peers.len() == 1 && side.endpoint.poll_timeout().is_none(), "{mode}");
        let share = u64::from(UNPROVED_KEY_EXCHANGES_PER_SECOND) * (seconds + 1);
        let expected = if mode == Mode::Base { 0 } else { share };
        assert!(side.counters().key_exchanges <= expected, "{mode}: {}", side.counters().key_exchanges);
        assert_eq!(side.discarded(Discard::RateLimited) > 0, mode == Mode::Aggressive, "{mode}");
    }
}

#[test] // F-5
fn one_source_holds_only_its_share_of_the_table() {
    let mut side = Side::new(vec![from_anywhere(Mode::Base)], Vec::new(), 1);
    for cookie in 1..200 {
        side.endpoint.handle_datagram(secs(1), path(HERE), &first_message(Mode::Base, cookie, "left.test"));
        side.drain();
    }
    assert_eq!(side.endpoint.admission.len(), HALF_OPEN_PER_SOURCE_MAX);
}

#[test] // F-5
fn during_a_flood_in_aggressive_mode_a_peer_in_main_mode_gets_through() {
    let mut pair = Pair::new();
    let [_, right] = peer_configs();
    let open = PeerConfig { id: PeerId(1), ..from_anywhere(Mode::Aggressive) };
    let rules = pair.right().endpoint.rules.values().map(|child| (**child).clone()).collect();
    pair.sides[1] = Side::new(vec![right, open], rules, 2);
    pair.open(0, 0);
    for number in 0..3000u64 {
        let source = IpAddr::from((0x0a00_0000 + number as u32).to_be_bytes());
        pair.inject(1, path(source), &first_message(Mode::Aggressive, number + 1, "left.test"));
        if number % 20 == 0 {
            pair.run(Duration::from_millis(1));
        }
    }
    assert!(pair.is_connected());
    assert!(pair.right().discarded(Discard::RateLimited) > 1000);
}

#[test] // F-5
fn a_first_message_repeated_is_answered_from_memory_and_only_so_often() {
    for mode in [Mode::Aggressive, Mode::Base] {
        let mut side = Side::new(vec![from_anywhere(mode)], Vec::new(), 1);
        let message = first_message(mode, 1, "left.test");
        let mut answers = Vec::new();
        for _ in 0..100 {
            side.endpoint.handle_datagram(secs(1), path(HERE), &message);
            answers.extend(side.drain());
        }
        assert_eq!(answers.len(), 1 + crate::limits::RESENDS_MAX as usize, "{mode}");
        assert!(answers.iter().all(|answer| answer.1 == answers[0].1), "{mode}");
        assert_eq!(side.counters().key_exchanges, u64::from(mode == Mode::Aggressive));
    }
}

#[test] // F-5, F-21
fn a_first_message_that_cannot_be_used_computes_nothing() {
    let mut side = Side::new(vec![from_anywhere(Mode::Aggressive)], Vec::new(), 1);
    let good = first_message(Mode::Aggressive, 1, "left.test");
    let public = good.windows(4).position(|octets| octets == [10, 0, 0, 68]).unwrap() + 4;
    for change in [0, 0xff] {
        let mut message = good.clone();
        message[public..public + 64].fill(change);
        for _ in 0..1000 {
            side.endpoint.handle_datagram(secs(1), path(HERE), &message);
        }
    }
    assert!(side.drain().is_empty());
    assert_eq!((side.counters().key_exchanges, side.endpoint.admission.len()), (0, 0));
    assert_eq!(side.discarded(Discard::BadPublicValue), 2000);
    assert!(side.endpoint.admission.take_unproved(secs(1), Group::Modp8192, true));
}

#[test] // F-5
fn a_third_message_of_base_mode_from_a_stranger_computes_nothing() {
    let mut side = Side::new(vec![from_anywhere(Mode::Base)], Vec::new(), 1);
    let second = answer(&mut side, Mode::Base, 1, "left.test");
    let cookies = crate::crypto::Cookies {
        initiator: second[..8].try_into().unwrap(),
        responder: second[8..16].try_into().unwrap(),
    };
    let half = KeyExchange::generate(Group::Ecp256, &mut Seeded::new(7));
    let third = |hash: &[u8]| {
        let chain = Chain::new().with(PayloadType::KEY_EXCHANGE, half.public()).with(PayloadType::HASH, hash);
        header(cookies, ExchangeType::BASE, 0).encode(&chain)
    };
    for number in 0..100u8 {
        side.endpoint.handle_datagram(secs(1), path(HERE), &third(&[number; 32]));
    }
    assert!(side.drain().is_empty());
    assert_eq!((side.counters().key_exchanges, side.discarded(Discard::BadHash)), (0, 100));
    assert_eq!(side.endpoint.admission.len(), 1, "the state is able to finish");
}

#[test]
fn a_template_answers_from_anywhere_and_a_peer_of_one_address_does_not() {
    let [_, right] = peer_configs();
    let closed = PeerConfig { mode: Mode::Aggressive, ..right };
    let open = PeerConfig { remote: Remote::Any, remote_identity: RemoteIdentity::Any, ..closed.clone() };
    for (peer, answers) in [(closed, 0), (open, 1)] {
        let mut side = Side::new(vec![peer], Vec::new(), 1);
        let message = first_message(Mode::Aggressive, 1, "left.test");
        side.endpoint.handle_datagram(secs(1), path([203, 0, 113, 9]), &message);
        assert_eq!(side.drain().len(), answers);
        assert_eq!(side.discarded(Discard::UnknownPeer), 1 - answers as u64);
    }
}
