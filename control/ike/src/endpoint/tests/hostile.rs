//! What a stranger can send, and what it costs us.

use super::harness::{Side, peer_configs};
use super::{Pair, rule, secs};
use crate::crypto::Cookies;
use crate::limits::{FIRST_MESSAGES_PER_SECOND, HALF_OPEN_MAX, KEY_EXCHANGES_PER_SECOND};
use crate::v1::main_mode::{header, sa_message};
use crate::v1::phase_one::offer;
use crate::wire::{Chain, Delete, ExchangeType, Notify, NotifyType, PayloadType};
use crate::{Discard, Path, PeerConfig};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::PeerId;

/// RFC 2409 App. A.
const PSK: u16 = 1;

fn first_message(cookie: u64, proposal: &str) -> Vec<u8> {
    let cookies = Cookies { initiator: cookie.to_be_bytes(), responder: [0; 8] };
    sa_message(&peer_configs()[0], cookies, &offer(&[proposal.parse().unwrap()], PSK, 3600), true)
}

fn path(remote: IpAddr) -> Path {
    Path { local: "192.0.2.2:500".parse().unwrap(), remote: (remote, 500).into() }
}

fn many_peers(count: u32) -> Vec<PeerConfig> {
    let [_, right] = peer_configs();
    (0..count)
        .map(|number| PeerConfig {
            id: PeerId(number),
            remote: crate::Remote::Host(IpAddr::from((0x0a00_0000 + number).to_be_bytes())),
            ..right.clone()
        })
        .collect()
}

#[test] // F-5
fn a_flood_of_first_messages_keeps_memory_flat_and_computes_nothing() {
    let mut side = Side::new(many_peers(3000), Vec::new(), 1);
    let capacity = side.endpoint.admission.capacity();
    for number in 0..20_000u64 {
        let now = Duration::from_micros(number * 700);
        let source = IpAddr::from((0x0a00_0000 + (number % 3000) as u32).to_be_bytes());
        side.endpoint.handle_datagram(now, path(source), &first_message(number + 1, "aes128-sha256-ecp256"));
        side.drain();
    }
    assert!(side.endpoint.admission.len() <= HALF_OPEN_MAX);
    assert_eq!(side.endpoint.admission.capacity(), capacity);
    assert_eq!(side.counters().key_exchanges, 0);
    assert!(side.endpoint.isakmps.is_empty() && side.endpoint.poll_timeout().is_none());
    assert!(side.discarded(Discard::HalfOpenReplaced) > 15_000);
}

#[test] // F-5
fn first_messages_beyond_the_rate_are_dropped_unread() {
    let mut side = Side::new(many_peers(3000), Vec::new(), 1);
    let mut answered = 0;
    for number in 0..6000u64 {
        let source = IpAddr::from((0x0a00_0000 + (number % 3000) as u32).to_be_bytes());
        side.endpoint.handle_datagram(
            secs(5),
            path(source),
            &first_message(number + 1, "aes128-sha256-ecp256"),
        );
        answered += side.drain().len();
    }
    assert_eq!(answered, FIRST_MESSAGES_PER_SECOND as usize);
    assert_eq!(side.discarded(Discard::RateLimited), 6000 - u64::from(FIRST_MESSAGES_PER_SECOND));
}

#[test] // F-5
fn the_real_peer_gets_through_a_flood_under_its_own_address() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    let seen = path([192, 0, 2, 1].into());
    for number in 0..400u64 {
        for copy in 0..1u64 {
            pair.inject(1, seen, &first_message(number * 10 + copy + 1, "aes128-sha256-ecp256"));
        }
        pair.run(Duration::from_millis(5));
    }
    assert!(pair.is_connected());
}

#[test] // F-5
fn strangers_get_no_answer() {
    let mut side = Side::new(peer_configs()[1..].to_vec(), Vec::new(), 1);
    side.endpoint.handle_datagram(
        secs(1),
        path([203, 0, 113, 9].into()),
        &first_message(1, "aes128-sha256-ecp256"),
    );
    assert!(side.drain().is_empty());
    assert_eq!(side.discarded(Discard::UnknownPeer), 1);
}

#[test] // F-5
fn refusals_in_clear_are_few_and_smaller_than_the_question() {
    let mut side = Side::new(peer_configs()[1..].to_vec(), Vec::new(), 1);
    let mut answers = 0;
    for number in 0..500u64 {
        let question = first_message(number + 1, "aes256-sha512-ecp521");
        side.endpoint.handle_datagram(secs(1), path([192, 0, 2, 1].into()), &question);
        for (_, answer) in side.drain() {
            assert!(answer.len() < question.len());
            answers += 1;
        }
    }
    assert_eq!(answers, crate::limits::NOTIFIES_PER_SECOND);
    assert_eq!(side.discarded(Discard::NoProposalChosen), 500);
}

#[test] // F-5
fn a_third_message_without_our_cookie_computes_nothing() {
    let mut side = Side::new(peer_configs()[1..].to_vec(), Vec::new(), 1);
    let here = path([192, 0, 2, 1].into());
    side.endpoint.handle_datagram(secs(1), here, &first_message(5, "aes128-sha256-ecp256"));
    side.drain();
    let cookies = Cookies { initiator: 5u64.to_be_bytes(), responder: [9; 8] };
    let chain = Chain::new().with(PayloadType::KEY_EXCHANGE, &[4; 64]).with(PayloadType::NONCE, &[1; 32]);
    side.endpoint.handle_datagram(secs(1), here, &header(cookies, ExchangeType::MAIN, 0).encode(&chain));
    assert!(side.drain().is_empty());
    assert_eq!(side.discarded(Discard::UnknownCookies), 1);
    assert_eq!(side.counters().key_exchanges, 0);
}

#[test] // F-5, F-21
fn a_third_message_that_cannot_be_used_computes_nothing_and_takes_no_share_of_the_rate() {
    for proposal in ["aes128-sha256-ecp256", "aes128-sha256-modp2048"] {
        let mut peers = peer_configs()[1..].to_vec();
        peers[0].proposals = vec![proposal.parse().unwrap()];
        let octets = crate::crypto::public_octets(peers[0].proposals[0].group);
        let mut side = Side::new(peers, Vec::new(), 1);
        let here = path([192, 0, 2, 1].into());
        side.endpoint.handle_datagram(secs(1), here, &first_message(5, proposal));
        let initiator = 5u64.to_be_bytes();
        let cookies =
            Cookies { initiator, responder: side.endpoint.admission.responder_cookie(here, initiator) };
        side.drain();
        for public in [vec![0; octets], vec![0xff; octets], vec![4; octets - 1]] {
            let chain =
                Chain::new().with(PayloadType::KEY_EXCHANGE, &public).with(PayloadType::NONCE, &[1; 32]);
            let message = header(cookies, ExchangeType::MAIN, 0).encode(&chain);
            for _ in 0..KEY_EXCHANGES_PER_SECOND {
                side.endpoint.handle_datagram(secs(1), here, &message);
            }
        }
        assert!(side.drain().is_empty());
        assert_eq!(side.counters().key_exchanges, 0);
        assert_eq!(side.discarded(Discard::BadPublicValue), 3 * u64::from(KEY_EXCHANGES_PER_SECOND));
        assert!(side.endpoint.admission.take_key_exchange(secs(1), warren_policy::Group::Modp8192));
    }
}

#[test] // F-3
fn unprotected_deletes_and_notifies_change_nothing() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(2));
    let status = &pair.left().endpoint.peers()[0];
    let cookies = Cookies { initiator: status.initiator_cookie, responder: status.responder_cookie };
    let (i, r) = (cookies.initiator, cookies.responder);
    let spi = pair.left().outbound[0].spi.0;
    let seen = Path { local: "192.0.2.1:500".parse().unwrap(), remote: "192.0.2.2:500".parse().unwrap() };
    let notify = |kind| Notify::isakmp(kind, i, r, &[]).encode();
    let attacks = [
        (PayloadType::DELETE, Delete::isakmp(i, r).encode()),
        (PayloadType::DELETE, Delete::esp(&[spi]).encode()),
        (PayloadType::NOTIFY, notify(NotifyType::INITIAL_CONTACT)),
        (PayloadType::NOTIFY, notify(NotifyType::AUTHENTICATION_FAILED)),
        (PayloadType::NOTIFY, Notify::esp(NotifyType::INVALID_SPI, spi, &[]).encode()),
        (PayloadType::NOTIFY, Notify::isakmp(NotifyType::R_U_THERE, i, r, &[0, 0, 0, 1]).encode()),
    ];
    let before = pair.sent.len();
    for (kind, body) in &attacks {
        for under in [cookies, Cookies { responder: [7; 8], ..cookies }] {
            let message =
                header(under, ExchangeType::INFORMATIONAL, 0x1234).encode(&Chain::new().with(*kind, body));
            pair.inject(0, seen, &message);
        }
    }
    pair.run(secs(5));
    assert_eq!(pair.left().discarded(Discard::UnprotectedInformational), 12);
    assert!(pair.is_connected());
    assert_eq!(pair.sent.len(), before);
}

#[test] // F-3
fn an_unprotected_refusal_does_not_end_a_negotiation() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(Duration::from_millis(1));
    let cookie: [u8; 8] = pair.sent[0].2[..8].try_into().unwrap();
    let cookies = Cookies { initiator: cookie, responder: [3; 8] };
    let notify = Notify::isakmp(NotifyType::NO_PROPOSAL_CHOSEN, cookie, [3; 8], &[]).encode();
    let message = header(cookies, ExchangeType::INFORMATIONAL, 9)
        .encode(&Chain::new().with(PayloadType::NOTIFY, &notify));
    let seen = Path { local: "192.0.2.1:500".parse().unwrap(), remote: "192.0.2.2:500".parse().unwrap() };
    pair.inject(0, seen, &message);
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert_eq!(pair.left().discarded(Discard::UnprotectedInformational), 1);
}

#[test]
fn a_forged_second_message_leaves_the_state_able_to_finish() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(Duration::from_millis(1));
    let cookie: [u8; 8] = pair.sent[0].2[..8].try_into().unwrap();
    let cookies = Cookies { initiator: cookie, responder: [3; 8] };
    let seen = Path { local: "192.0.2.1:500".parse().unwrap(), remote: "192.0.2.2:500".parse().unwrap() };
    let forged = sa_message(
        &peer_configs()[1],
        cookies,
        &offer(&["aes256-sha512-ecp521".parse().unwrap()], PSK, 3600),
        true,
    );
    pair.inject(0, seen, &forged);
    pair.inject(0, seen, &forged[..30]);
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert_eq!(pair.left().discarded(Discard::BadChoice), 1);
}

#[test]
fn another_pair_of_addresses_cannot_speak_for_an_sa() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(2));
    let (_, _, message) = pair.sent[6].clone();
    pair.inject(1, path([203, 0, 113, 9].into()), &message);
    assert_eq!(pair.right().discarded(Discard::WrongPath), 1);
}

#[test]
fn our_own_first_message_reflected_is_dropped() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(Duration::from_millis(1));
    let (_, _, message) = pair.sent[0].clone();
    let seen = Path { local: "192.0.2.1:500".parse().unwrap(), remote: "192.0.2.2:500".parse().unwrap() };
    pair.inject(0, seen, &message);
    assert_eq!(pair.left().discarded(Discard::Duplicate), 1);
    pair.run(secs(2));
    assert!(pair.is_connected());
}

#[test]
fn noise_is_counted_and_answered_with_silence() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(2));
    let before = pair.sent.len();
    let mut state = 1u64;
    for length in 0..3000usize {
        let octets: Vec<u8> = (0..length % 300)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 56) as u8
            })
            .collect();
        pair.inject(1, path([192, 0, 2, 1].into()), &octets);
        let mut on_4500 = path([192, 0, 2, 1].into());
        on_4500.local.set_port(4500);
        pair.inject(1, on_4500, &octets);
    }
    pair.run(secs(1));
    assert_eq!(pair.sent.len(), before);
    assert!(pair.is_connected());
    let counters = pair.right().counters();
    let discarded: u64 = counters.discards().map(|(_, count)| count).sum();
    assert_eq!(discarded, 6000);
    assert!(pair.right().endpoint.opening.is_empty());
    assert_eq!(pair.left().up[0].0, rule(0));
}
