//! What is left when something is taken down half way (REQUIREMENTS NT-30): nothing. And how a peer that forgot its
//! ISAKMP SA is reached again.

use super::harness::{LATENCY, Side, peer_configs};
use super::{Fate, Pair, rule, secs};
use crate::{ChildConfig, Discard, Down, Endpoint, Failure, Mode, PeerState};
use std::time::Duration;
use warren_policy::PeerId;

const PEER: PeerId = PeerId(0);

/// Everything that an endpoint holds of its peer, but the configuration.
fn holds(endpoint: &Endpoint) -> Vec<&'static str> {
    let held = &endpoint.peers[&PEER];
    let all = [
        ("negotiation", !endpoint.isakmps.is_empty() || !held.isakmps.is_empty()),
        ("cookies", !endpoint.by_cookies.is_empty()),
        ("unfinished", !endpoint.unfinished.is_empty()),
        ("current", held.current.is_some()),
        ("pending", !held.pending.is_empty()),
        ("is up", held.is_up),
        ("doomed", held.doomed.is_some()),
        ("pairs", !endpoint.children.is_empty() || !held.children.is_empty()),
        ("opening", !endpoint.opening.is_empty()),
        ("connecting", !endpoint.connecting.is_empty()),
        ("SPI", endpoint.names.in_use() > 0),
        ("fragments", !endpoint.fragmenting.is_empty()),
        ("clock", endpoint.poll_timeout().is_some()),
    ];
    all.into_iter().filter(|(_, is_held)| *is_held).map(|(what, _)| what).collect()
}

fn is_balanced(side: &Side) -> bool {
    let down = |id| side.down.iter().any(|(_, inbound, _)| *inbound == id);
    side.inbound.iter().all(|sa| down(sa.id))
}

/// Two gateways between which the first `messages` pass and nothing after them.
fn interrupted(mode: Mode, messages: usize) -> Pair {
    let mut pair = Pair::in_mode(mode);
    pair.network = Box::new(move |number, _, _| if number < messages { Fate::Deliver } else { Fate::Drop });
    pair.open(0, 0);
    // Shorter than the first repetition.
    pair.run(Duration::from_millis(400));
    if mode == Mode::Main {
        assert_eq!(pair.sent.len(), (messages + 1).min(9));
    }
    pair
}

#[test] // NT-30
fn a_negotiation_that_is_closed_at_any_point_leaves_nothing_on_our_side() {
    for mode in [Mode::Main, Mode::Aggressive, Mode::Base] {
        for messages in 0..10 {
            for side in [0, 1] {
                let mut pair = interrupted(mode, messages);
                let what = format!("{mode} after {messages} messages, side {side} closes");
                let had_sa = pair.sides[side].endpoint.peers[&PEER].current.is_some();
                let before = pair.sent.len();
                pair.network = Box::new(|_, _, _| Fate::Deliver);
                pair.call(side, |endpoint, now| endpoint.close_peer(now, PEER));
                assert_eq!(holds(&pair.sides[side].endpoint), Vec::<&str>::new(), "{what}");
                pair.run(Duration::from_millis(1));
                let told = pair.sent[before..].iter().filter(|(from, ..)| *from == side).count();
                // A Delete for the ISAKMP SA, where there is one; before it one for the pair.
                assert_eq!(told > 0, had_sa, "{what}");
                assert!(is_balanced(&pair.sides[side]), "{what}");
                let ended = pair.sides[side].failed.len() + pair.sides[side].up.len();
                assert_eq!(ended, usize::from(side == 0 || !pair.sides[side].up.is_empty()), "{what}");
                // Whoever was not told gives up by itself, and nothing of what a responder repeats brings anything back. An
                // initiator that repeats its first message begins anew, and rightly.
                if side == 1 {
                    pair.network = Box::new(|_, from, _| if from == 0 { Fate::Drop } else { Fate::Deliver });
                }
                pair.run(secs(200));
                assert_eq!(holds(&pair.sides[side].endpoint), Vec::<&str>::new(), "{what}, later");
                assert!(is_balanced(&pair.sides[side]), "{what}, later");
            }
        }
    }
}

#[test] // NT-30
fn a_failure_and_then_closing_leaves_nothing_on_either_side() {
    for messages in 0..9 {
        let mut pair = interrupted(Mode::Main, messages);
        pair.run(secs(60));
        if messages < 8 {
            assert_eq!(pair.left().failed, [(rule(0), Failure::NoAnswer)], "{messages}");
        }
        pair.network = Box::new(|_, _, _| Fate::Deliver);
        pair.call(0, |endpoint, now| endpoint.close_peer(now, PEER));
        assert_eq!(holds(&pair.left().endpoint), Vec::<&str>::new(), "{messages}");
        pair.run(secs(100));
        assert_eq!(holds(&pair.left().endpoint), Vec::<&str>::new(), "{messages}");
        let right = holds(&pair.right().endpoint);
        // Where the last message of phase 1 never came back, only the far side has an ISAKMP SA, until it expires.
        let lonely = messages == 5;
        assert_eq!(right.is_empty(), !lonely, "{messages}: {right:?}");
        assert!(is_balanced(pair.left()) && is_balanced(pair.right()), "{messages}");
    }
}

#[test] // NT-30
fn a_refused_child_leaves_an_isakmp_sa_that_closes_with_one_delete() {
    let mut pair = Pair::with(1, |_, children| children[1].clear());
    pair.open(0, 0);
    pair.run(secs(2));
    assert_eq!(pair.left().failed, [(rule(0), Failure::Refused(18))]);
    let before = pair.sent.len();
    pair.call(0, |endpoint, now| endpoint.close_peer(now, PEER));
    assert_eq!(holds(&pair.left().endpoint), Vec::<&str>::new());
    pair.run(secs(100));
    assert_eq!(pair.sent.len(), before + 1);
    assert_eq!(pair.right().peer_downs, [Down::DeletedByPeer]);
    assert_eq!(holds(&pair.right().endpoint), Vec::<&str>::new());
}

#[test]
fn closing_a_peer_with_whom_there_is_nothing_says_nothing() {
    let mut pair = Pair::new();
    for peer in [PEER, PeerId(77)] {
        pair.call(0, |endpoint, now| endpoint.close_peer(now, peer));
        assert!(pair.sides[0].endpoint.poll_output().is_none());
    }
    pair.open(0, 0);
    pair.run(secs(2));
    pair.call(0, |endpoint, now| endpoint.close_peer(now, PEER));
    pair.run(secs(2));
    pair.call(0, |endpoint, now| endpoint.close_peer(now, PEER));
    assert!(pair.sides[0].endpoint.poll_output().is_none(), "nor does closing twice");
}

#[test]
fn the_isakmp_sa_stays_when_its_last_child_is_closed_and_carries_the_next_one() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(2));
    let id = pair.left().up[0].1;
    pair.call(0, |endpoint, now| endpoint.close_child(now, id));
    pair.run(secs(2));
    assert!(pair.left().peer_downs.is_empty() && pair.right().peer_downs.is_empty());
    assert_eq!(pair.left().endpoint.peers()[0].state, PeerState::Established);
    let before = pair.sent.len();
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert_eq!(pair.sent.len(), before + 3, "a quick mode and nothing else");
}

#[test]
fn a_delete_is_said_once_and_never_repeated() {
    let mut pair = Pair::with(2, |_, _| {});
    pair.open(0, 0);
    pair.open(0, 1);
    pair.run(secs(100));
    pair.network = Box::new(|_, _, _| Fate::Drop);
    let before = pair.sent.len();
    let ids = [pair.left().up[0].1, pair.left().up[1].1];
    pair.call(0, |endpoint, now| ids.iter().for_each(|id| endpoint.close_child(now, *id)));
    pair.run(secs(300));
    assert_eq!(pair.sent.len(), before + 2);
    assert_eq!(pair.left().counters().retransmissions, 0);
}

/// The right side restarts, and says so to nobody.
fn forget(pair: &mut Pair) {
    let children: Vec<ChildConfig> =
        pair.right().endpoint.rules.values().map(|child| ChildConfig::clone(child)).collect();
    let [_, right] = peer_configs();
    pair.sides[1] = Side::new(vec![right], children, 77);
}

/// How long until that child failed or is up once more.
fn outcome(pair: &mut Pair, number: u32) -> (Duration, bool) {
    let (begun, ups, failures) = (pair.now, pair.left().up.len(), pair.left().failed.len());
    pair.open(0, number);
    while pair.left().up.len() == ups && pair.left().failed.len() == failures {
        pair.run(LATENCY);
        assert!(pair.now < begun + secs(200), "it never ends");
    }
    (pair.now - begun, pair.left().up.len() > ups)
}

#[test] // NT-31
fn a_peer_that_forgot_its_isakmp_sa_is_reached_by_the_second_attempt() {
    let mut pair = Pair::with(2, |_, _| {});
    pair.open(0, 0);
    pair.run(secs(20));
    let id = pair.left().up[0].1;
    forget(&mut pair);
    pair.call(0, |endpoint, now| endpoint.close_child(now, id));
    // 0.5 + 1 + 2 + 4 + 8 + 16 seconds: what it takes to give a message up.
    let (time, is_up) = outcome(&mut pair, 0);
    assert!(!is_up && time >= Duration::from_millis(31_500) && time < secs(32), "{time:?}");
    assert_eq!(pair.left().failed, [(rule(0), Failure::NoAnswer)]);
    assert!(pair.right().discarded(Discard::UnknownCookies) > 5, "it answers nothing");
    let (time, is_up) = outcome(&mut pair, 0);
    // Nine messages.
    assert!(is_up && time <= LATENCY * 10, "{time:?}");
    assert!(pair.left().peer_downs.is_empty(), "it was never gone");
    // The old one goes, and all that follows is under the new one.
    pair.run(secs(20));
    assert_eq!(pair.left().endpoint.isakmps.len(), 1);
    let (time, is_up) = outcome(&mut pair, 1);
    assert!(is_up && time <= LATENCY * 4, "{time:?}");
}

#[test]
fn a_refusal_in_clear_does_not_end_an_isakmp_sa_earlier() {
    let mut pair = Pair::new();
    pair.open(0, 0);
    pair.run(secs(20));
    let stays = pair.left().endpoint.peers()[0].initiator_cookie;
    pair.network = Box::new(|_, _, _| Fate::Drop);
    pair.open(0, 0);
    pair.run(secs(1));
    let path = pair.left().endpoint.peers()[0].path.unwrap();
    let mut notify = pair.sent.last().unwrap().2.clone();
    notify.truncate(28);
    // INVALID-COOKIE in clear, with the cookies of the SA: anybody can say that (REQUIREMENTS F-3).
    notify[16] = 11;
    notify[18] = 5;
    notify[19] = 0;
    notify[20..24].fill(0);
    notify.extend_from_slice(&[0, 0, 0, 12, 0, 0, 0, 1, 1, 0, 0, 4]);
    let length = u32::try_from(notify.len()).unwrap();
    notify[24..28].copy_from_slice(&length.to_be_bytes());
    pair.inject(0, path, &notify);
    assert_eq!(pair.left().discarded(Discard::UnprotectedInformational), 1);
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    pair.run(secs(20));
    assert_eq!(pair.left().live().len(), 2);
    assert_eq!(pair.left().endpoint.peers()[0].initiator_cookie, stays);
}

#[test]
fn a_peer_that_is_not_there_fails_every_attempt_and_its_pairs_stay_until_somebody_says_otherwise() {
    let mut pair = Pair::with(2, |_, _| {});
    pair.open(0, 0);
    pair.run(secs(20));
    pair.network = Box::new(|_, _, _| Fate::Drop);
    for attempt in 0..3 {
        let (time, is_up) = outcome(&mut pair, 1);
        assert!(!is_up && time < secs(32), "attempt {attempt}: {time:?}");
        assert_eq!(pair.left().endpoint.opening.len(), 0);
        assert!(pair.left().endpoint.peers[&PEER].pending.is_empty());
    }
    assert_eq!(pair.left().live().len(), 1);
    // It comes back without having lost anything: what it says under the old SA makes that one good again.
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    let (time, is_up) = outcome(&mut pair, 1);
    assert!(is_up && time <= LATENCY * 10, "{time:?}");
    pair.run(secs(1));
    assert!(pair.is_connected());
}

#[test]
fn whoever_says_anything_under_an_isakmp_sa_still_has_it() {
    let mut pair = Pair::with(3, |_, _| {});
    pair.open(0, 0);
    pair.open(0, 2);
    pair.run(secs(20));
    let says = |pair: &mut Pair, pair_number: usize| {
        let id = pair.right().up[pair_number].1;
        pair.call(1, |endpoint, now| endpoint.close_child(now, id));
        pair.run(secs(1));
    };
    // What we say gets lost, what the peer says does not.
    pair.network = Box::new(|_, from, _| if from == 0 { Fate::Drop } else { Fate::Deliver });
    let cookie = pair.left().endpoint.peers()[0].initiator_cookie;
    let silent = |pair: &Pair| pair.left().endpoint.isakmps.values().any(|isakmp| isakmp.is_silent);
    pair.open(0, 1);
    pair.run(secs(5));
    says(&mut pair, 0);
    pair.run(secs(40));
    assert_eq!(pair.left().failed, [(rule(1), Failure::NoAnswer)]);
    assert!(!silent(&pair), "it spoke meanwhile");
    pair.open(0, 1);
    pair.run(secs(40));
    assert_eq!(pair.left().failed.len(), 2);
    assert!(silent(&pair), "it did not");
    says(&mut pair, 1);
    assert!(!silent(&pair), "it does now");
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    let (_, is_up) = outcome(&mut pair, 1);
    assert!(is_up);
    assert_eq!(pair.left().endpoint.peers()[0].initiator_cookie, cookie, "the same ISAKMP SA");
}
