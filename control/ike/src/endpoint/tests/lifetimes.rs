//! Renewal, expiry and dead peer detection.

use super::{Fate, Pair, secs};
use crate::endpoint::Endpoint;
use crate::wire::{Attribute, Chain, Notify, NotifyType, PayloadType, Value};
use crate::{Discard, Down, Dpd, PeerState};

const DPD: Dpd = Dpd { delay: secs(10), timeout: secs(20) };

#[test]
fn the_isakmp_sa_is_renewed_and_children_do_not_notice() {
    for initiator in [0, 1] {
        let mut pair = Pair::with(2, |peers, _| peers.iter_mut().for_each(|peer| peer.lifetime = 600));
        pair.open(initiator, 0);
        pair.run(secs(2));
        let first = pair.left().endpoint.peers()[0].initiator_cookie;
        pair.run(secs(6000));
        assert!(pair.is_connected());
        assert!(pair.left().down.is_empty() && pair.right().down.is_empty());
        assert!(pair.left().peer_downs.is_empty() && pair.right().peer_downs.is_empty());
        assert_eq!((pair.left().peer_ups, pair.right().peer_ups), (1, 1));
        let (left, right) = (&pair.left().endpoint.peers()[0], &pair.right().endpoint.peers()[0]);
        assert_ne!(left.initiator_cookie, first);
        assert_eq!(left.initiator_cookie, right.initiator_cookie);
        assert!(pair.left().counters().peers_established >= 10);
        assert!(pair.sides.iter().all(|side| side.endpoint.isakmps.len() <= 2));
        // The renewed one works.
        pair.open(1 - initiator, 1);
        pair.run(secs(2));
        assert_eq!(pair.left().live().len(), 2);
    }
}

#[test]
fn the_shorter_isakmp_lifetime_holds() {
    let mut pair = Pair::with(1, |peers, _| peers[1].lifetime = 100);
    pair.open(0, 0);
    pair.run(secs(95));
    assert!(pair.right().counters().peers_established == 2);
    pair.run(secs(200));
    assert!(pair.is_connected());
    assert!(pair.left().down.is_empty());
}

#[test]
fn an_isakmp_sa_that_cannot_be_renewed_expires_with_its_children() {
    let mut pair = Pair::with(1, |peers, _| peers.iter_mut().for_each(|peer| peer.lifetime = 600));
    pair.open(0, 0);
    pair.run(secs(2));
    pair.network = Box::new(|_, _, _| Fate::Drop);
    pair.run(secs(700));
    for side in &pair.sides {
        assert!(side.live().is_empty());
        assert_eq!(side.peer_downs, [Down::Expired]);
        assert_eq!(side.endpoint.peers()[0].state, PeerState::Idle);
    }
}

#[test]
fn a_renewal_that_fails_at_first_is_tried_again() {
    let mut pair = Pair::with(1, |peers, _| peers.iter_mut().for_each(|peer| peer.lifetime = 1000));
    pair.open(0, 0);
    pair.run(secs(700));
    pair.network = Box::new(|_, _, _| Fate::Drop);
    pair.run(secs(200));
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    pair.run(secs(300));
    assert!(pair.is_connected());
    assert!(pair.left().peer_downs.is_empty() && pair.right().peer_downs.is_empty());
}

#[test] // RFC 3706
fn a_dead_peer_is_found_and_everything_of_it_goes() {
    let mut pair = Pair::with(2, |peers, _| peers[0].dpd = Some(DPD));
    pair.open(0, 0);
    pair.run(secs(100));
    assert!(pair.left().down.is_empty());
    let asked = pair.sent.len();
    assert!(asked > 9 + 10, "asked and answered while idle");
    pair.network = Box::new(|_, _, _| Fate::Drop);
    pair.run(secs(35));
    assert_eq!(pair.left().down.len(), 1);
    assert_eq!(pair.left().down[0].2, Down::DeadPeer);
    assert_eq!(pair.left().peer_downs, [Down::DeadPeer]);
    assert!(pair.left().endpoint.isakmps.is_empty());
    // When the network heals, a new negotiation says INITIAL-CONTACT, and the other side forgets too.
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    pair.open(0, 0);
    pair.run(secs(2));
    assert_eq!(pair.right().down.iter().map(|down| down.2).collect::<Vec<_>>(), [Down::InitialContact]);
    assert!(pair.is_connected());
}

#[test] // RFC 3706
fn lost_questions_do_not_kill_a_living_peer() {
    let mut pair = Pair::with(1, |peers, _| peers.iter_mut().for_each(|peer| peer.dpd = Some(DPD)));
    pair.open(0, 0);
    pair.run(secs(2));
    pair.network = Box::new(|number, _, _| if number % 3 == 0 { Fate::Drop } else { Fate::Deliver });
    pair.run(secs(500));
    assert!(pair.left().down.is_empty() && pair.right().down.is_empty());
}

#[test] // RFC 3706 §5
fn traffic_makes_questions_needless() {
    let mut pair = Pair::with(1, |peers, _| peers[0].dpd = Some(DPD));
    pair.open(0, 0);
    pair.run(secs(2));
    let before = pair.sent.len();
    for _ in 0..100 {
        pair.call(0, |endpoint, now| endpoint.inbound_activity(now, warren_policy::PeerId(0)));
        pair.run(secs(5));
    }
    assert_eq!(pair.sent.len(), before);
}

#[test] // RFC 3706 §6.2, F-3
fn a_replayed_question_is_not_answered() {
    let mut pair = Pair::with(1, |peers, _| peers[0].dpd = Some(DPD));
    pair.open(0, 0);
    pair.run(secs(15));
    let (_, path, question) = pair.sent.iter().rfind(|(from, ..)| *from == 0).unwrap().clone();
    let seen = crate::Path { local: path.remote, remote: path.local };
    let before = pair.sent.len();
    pair.inject(1, seen, &question);
    pair.run(secs(1));
    assert_eq!(pair.sent.len(), before);
    assert_eq!(pair.right().discarded(Discard::BadDpdSequence), 1);
}

#[test] // RFC 3706, F-3
fn our_own_questions_sent_back_keep_no_dead_peer_alive() {
    let mut pair = Pair::with(1, |peers, _| peers[0].dpd = Some(DPD));
    pair.open(0, 0);
    pair.run(secs(2));
    let mut reflected = pair.sent.len();
    pair.network = Box::new(|_, _, _| Fate::Drop);
    for _ in 0..40 {
        pair.run(secs(1));
        for (_, path, octets) in pair.sent.split_off(reflected) {
            pair.inject(0, path, &octets);
        }
        reflected = pair.sent.len();
    }
    assert_eq!(pair.left().discarded(Discard::Reflected), 4);
    assert_eq!(pair.left().peer_downs, [Down::DeadPeer]);
}

#[test] // RFC 3706 §6.2, F-3
fn a_question_sent_back_does_not_spoil_the_peers_numbers() {
    let mut pair = Pair::with(1, |peers, _| peers.iter_mut().for_each(|peer| peer.dpd = Some(DPD)));
    pair.open(0, 0);
    pair.run(secs(15));
    let messages: Vec<_> = pair.sent.iter().skip(9).cloned().collect();
    assert!(!messages.is_empty());
    for (from, path, octets) in messages {
        pair.inject(from, path, &octets);
    }
    let reflected = |side: usize| pair.sides[side].discarded(Discard::Reflected);
    assert!(reflected(0) > 0 && reflected(1) > 0);
    pair.run(secs(200));
    assert!(pair.is_connected());
    assert!(pair.sides.iter().all(|side| side.discarded(Discard::BadDpdSequence) == 0));
}

#[test] // RFC 2407 §4.6.3.1, F-36
fn no_notified_lifetime_is_too_long_or_too_short_to_count_with() {
    let mut pair = Pair::new();
    // Late enough for the sum to be beyond what a clock can say.
    pair.run(secs(5));
    pair.open(0, 0);
    pair.run(secs(2));
    let expires_at = |pair: &Pair| pair.right().endpoint.peers()[0].expires_at.unwrap();
    let before = expires_at(&pair);
    for (seconds, least) in [(u64::MAX, before), (0, secs(15))] {
        let Endpoint { isakmps, entropy, .. } = &mut pair.sides[0].endpoint;
        let sa = isakmps.values_mut().find_map(|isakmp| isakmp.sa_mut()).unwrap();
        let mut data = Vec::new();
        Attribute::short(1, 1).encode(&mut data);
        Attribute { class: 2, value: Value::Long(seconds.to_be_bytes().to_vec().into()) }.encode(&mut data);
        let (i, r) = (sa.cookies.initiator, sa.cookies.responder);
        let notify = Notify::isakmp(NotifyType::RESPONDER_LIFETIME, i, r, &data).encode();
        let message = sa.seal_informational(Chain::new().with(PayloadType::NOTIFY, &notify), &mut **entropy);
        let path = pair.sent.iter().rfind(|(from, ..)| *from == 1).unwrap().1;
        pair.inject(1, path, &message);
        assert!(expires_at(&pair) >= least && expires_at(&pair) <= before);
    }
    assert!(expires_at(&pair) < before);
}
