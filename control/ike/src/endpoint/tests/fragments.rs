//! Main and quick mode in fragments: packets of a size that no real path asks for make nearly every message long.

use super::harness::Fate;
use super::{Pair, rule, secs};
use crate::crypto::Cookies;
use crate::limits::{FRAGMENTS_MAX, REASSEMBLIES_PER_SOURCE_MAX};
use crate::v1::main_mode::header;
use crate::wire::{Chain, Fragment, Header, PayloadType};
use crate::{Discard, Path};
use std::time::Duration;

const PACKET_OCTETS: usize = 140;

/// Two gateways that send no packet above [`PACKET_OCTETS`] once they may fragment.
fn pair() -> Pair {
    let mut pair = Pair::new();
    pair.sides.iter_mut().for_each(|side| side.endpoint.packet_octets = PACKET_OCTETS);
    pair
}

fn is_fragment(octets: &[u8]) -> bool {
    octets.len() > 28 && octets[16] == PayloadType::FRAGMENT.0
}

fn connected(mut pair: Pair, what: &str) -> Pair {
    pair.open(0, 0);
    pair.run(secs(60));
    assert!(pair.is_connected(), "{what}");
    assert_eq!((pair.left().live().len(), pair.right().live().len()), (1, 1), "{what}");
    pair
}

#[test]
fn a_whole_negotiation_passes_in_small_packets() {
    let pair = connected(pair(), "no loss");
    let fragments = pair.sent.iter().filter(|(_, _, octets)| is_fragment(octets)).count();
    assert!(fragments > 12, "{fragments}");
    // Only the first two messages are sent before both know that they may fragment.
    for (_, _, octets) in &pair.sent[2..] {
        assert!(octets.len() + 28 <= PACKET_OCTETS, "{}", octets.len());
    }
    for side in &pair.sides {
        assert_eq!((side.endpoint.reassembler.len(), side.discarded(Discard::BadFragment)), (0, 0));
    }
}

#[test]
fn every_lost_doubled_or_late_fragment_is_made_up_for() {
    let count = connected(pair(), "no loss").sent.len();
    for fate in [Fate::Drop, Fate::Duplicate, Fate::Delay(Duration::from_millis(300)), Fate::Delay(secs(2))] {
        for number in 0..count {
            let mut pair = pair();
            pair.network = Box::new(move |at, _, _| if at == number { fate } else { Fate::Deliver });
            connected(pair, &format!("{fate:?} of {number}"));
        }
    }
}

#[test]
fn fragments_in_reverse_order_come_together() {
    let mut pair = pair();
    // Each next fragment of a burst overtakes the one before it.
    pair.network = Box::new(|_, _, octets| match is_fragment(octets) {
        true => Fate::Delay(Duration::from_millis(100 - 10 * u64::from(octets[34].min(10)))),
        false => Fate::Deliver,
    });
    let pair = connected(pair, "reversed");
    assert_eq!(pair.left().counters().retransmissions + pair.right().counters().retransmissions, 0);
}

#[test]
fn a_damaged_fragment_never_establishes_and_a_new_negotiation_succeeds() {
    let clean = connected(pair(), "clean");
    for (number, (_, _, octets)) in
        clean.sent.iter().enumerate().filter(|(_, (_, _, octets))| is_fragment(octets))
    {
        for at in (0..octets.len()).step_by(5) {
            let mut pair = pair();
            pair.network =
                Box::new(move |sent, _, _| if sent == number { Fate::Corrupt(at) } else { Fate::Deliver });
            pair.open(0, 0);
            pair.run(secs(120));
            if pair.left().live().is_empty() {
                pair.open(0, 0);
                pair.run(secs(60));
            }
            assert!(pair.is_connected(), "fragment {number}, octet {at}");
        }
    }
}

#[test]
fn whoever_may_not_fragment_gets_whole_messages() {
    for unwilling in [0, 1] {
        let mut pair = Pair::with(1, |peers, _| peers[unwilling].fragmentation = false);
        pair.sides.iter_mut().for_each(|side| side.endpoint.packet_octets = PACKET_OCTETS);
        let pair = connected(pair, "whole");
        assert!(!pair.sent.iter().any(|(_, _, octets)| is_fragment(octets)));
    }
}

#[test]
fn a_new_isakmp_sa_is_negotiated_in_fragments_too() {
    let mut pair = connected(pair(), "first");
    pair.call(0, |endpoint, now| endpoint.close_peer(now, warren_policy::PeerId(0)));
    pair.run(secs(5));
    assert!(pair.sides.iter().all(|side| side.endpoint.fragmenting.is_empty()));
    pair.open(0, 0);
    pair.run(secs(20));
    assert!(pair.is_connected());
}

fn fragment(cookies: Cookies, number: u8, data: &[u8]) -> Vec<u8> {
    let body = Fragment { id: 1, number, is_last: false, data }.encode();
    let chain = Chain::new().with(PayloadType::FRAGMENT, &body);
    header(cookies, crate::wire::ExchangeType::MAIN, 0).encode(&chain)
}

#[test] // F-5
fn fragments_of_strangers_are_not_kept() {
    let mut pair = connected(pair(), "victim");
    let (header, _) = Header::decode(&pair.sent[3].2).unwrap();
    let known = Cookies { initiator: header.cookie_i, responder: header.cookie_r };
    let path =
        |remote: &str| Path { local: "192.0.2.2:500".parse().unwrap(), remote: remote.parse().unwrap() };
    for number in 0..5000u64 {
        let guessed = Cookies { initiator: number.to_be_bytes(), responder: (number + 1).to_be_bytes() };
        pair.inject(1, path("192.0.2.1:500"), &fragment(guessed, 1, &[0; 1200]));
        pair.inject(1, path("198.51.100.7:500"), &fragment(known, (number % 64) as u8 + 1, &[0; 1200]));
        let first = Cookies { initiator: number.to_be_bytes(), responder: [0; 8] };
        pair.inject(1, path("192.0.2.1:500"), &fragment(first, 1, &[0; 1200]));
    }
    let right = &pair.sides[1];
    assert_eq!(right.endpoint.reassembler.len(), 0);
    assert!(right.discarded(Discard::UnknownCookies) >= 10_000);
    assert_eq!(right.discarded(Discard::WrongPath), 5000);
}

#[test] // F-5
fn a_flood_under_known_cookies_keeps_memory_flat_and_the_sas_alive() {
    let mut pair = connected(pair(), "victim");
    let (header, _) = Header::decode(&pair.sent[3].2).unwrap();
    let known = Cookies { initiator: header.cookie_i, responder: header.cookie_r };
    for number in 0..20_000u32 {
        let port = 500 + number % 100;
        let path = Path {
            local: "192.0.2.2:500".parse().unwrap(),
            remote: format!("192.0.2.1:{port}").parse().unwrap(),
        };
        let octets = fragment(known, (number % u32::from(FRAGMENTS_MAX)) as u8 + 1, &[number as u8; 1200]);
        pair.inject(1, path, &octets);
        let reassembler = &pair.sides[1].endpoint.reassembler;
        assert!(reassembler.len() <= REASSEMBLIES_PER_SOURCE_MAX);
        assert!(reassembler.octets() <= REASSEMBLIES_PER_SOURCE_MAX * crate::limits::MESSAGE_OCTETS_MAX);
    }
    assert!(pair.is_connected());
    pair.call(0, |endpoint, now| endpoint.open_child(now, rule(0)));
    pair.run(secs(60));
    assert_eq!(pair.left().live().len(), 2);
}

#[test]
fn a_fragment_of_a_fragment_or_of_another_negotiation_is_refused() {
    let mut pair = connected(pair(), "victim");
    let (_, path, third) = pair.sent[3].clone();
    let (header, _) = Header::decode(&third).unwrap();
    let known = Cookies { initiator: header.cookie_i, responder: header.cookie_r };
    let seen = Path { local: path.remote, remote: path.local };
    let foreign = Cookies { initiator: [7; 8], ..known };
    for inner in [fragment(known, 1, b"x"), fragment(foreign, 1, b"x")] {
        let body = Fragment { id: 9, number: 1, is_last: true, data: &inner }.encode();
        let chain = Chain::new().with(PayloadType::FRAGMENT, &body);
        let outer = Header::new(known.initiator, known.responder, header.exchange, 0, 0).encode(&chain);
        pair.inject(if seen.local.ip().to_string() == "192.0.2.2" { 1 } else { 0 }, seen, &outer);
    }
    let refused = pair.sides.iter().map(|side| side.discarded(Discard::BadFragment)).sum::<u64>();
    assert_eq!(refused, 2);
}
