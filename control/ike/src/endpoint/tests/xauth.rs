//! Extended authentication between two of us.

use super::{Fate, Pair, secs};
use crate::credentials::tests::{NOW, credentials};
use crate::limits::{GUESSES_PER_USER_MAX, GUESSES_WINDOW, XAUTH_PATIENCE};
use crate::wire::{ConfigAttribute, NotifyType};
use crate::{Authentication, ConfigMode, Discard, Down, Failure, PeerConfig, Xauth};
use std::sync::Arc;
use warren_policy::{PeerId, Secret};

const PEER: PeerId = PeerId(0);

fn client(user: &str, password: &str) -> Xauth {
    Xauth::Client { user: user.to_owned(), password: Secret::new(password.into()) }
}

fn server() -> Xauth {
    let user = |name: &str, password: &str| (name.to_owned(), Secret::new(password.into()));
    Xauth::Server(Arc::new([user("alice", "wonderland"), user("bob", "builder")].into()))
}

/// Left is `user`, right knows users; one rule between them.
fn with(user: Xauth, change: impl FnOnce(&mut [PeerConfig; 2])) -> Pair {
    let mut pair = Pair::with(1, |peers, _| {
        peers[0].config_mode = ConfigMode::Client;
        peers[1].config_mode = ConfigMode::Server;
        (peers[0].xauth, peers[1].xauth) = (user, server());
        change(peers);
    });
    pair.sides[1].says = Some(vec![ConfigAttribute::Ip4Address(Some([10, 3, 0, 10].into()))]);
    pair
}

/// The same where phase 1 does not say whether there is a user: no number of an ECDSA method does.
fn unsaid(user: Xauth, change: impl FnOnce(&mut [PeerConfig; 2])) -> Pair {
    let signed = |name| Authentication::Signature(Arc::new(credentials(name)));
    let mut pair = with(user, |peers| {
        peers[0].authentication = signed("p256-left");
        peers[1].authentication = signed("p256-right");
        change(peers);
    });
    (0..2).for_each(|side| pair.call(side, |endpoint, now| endpoint.set_unix_time(now, NOW)));
    pair
}

fn connect(pair: &mut Pair) {
    pair.call(0, |endpoint, now| endpoint.connect(now, PEER));
}

fn pull(pair: &mut Pair) {
    pair.call(0, |endpoint, now| endpoint.pull_config(now, PEER, vec![ConfigAttribute::Ip4Address(None)]));
}

/// Octets of every message of an exchange type, with its sender.
fn shape(pair: &Pair, exchange: u8) -> Vec<(usize, usize)> {
    let of_type = pair.sent.iter().filter(|(_, _, octets)| octets[18] == exchange);
    of_type.map(|(side, _, octets)| (*side, octets.len())).collect()
}

#[test] // DC-6
fn configuration_begins_when_the_user_is_known() {
    let mut pair = with(client("alice", "wonderland"), |_| {});
    // Opened before: it waits as well.
    pair.open(0, 0);
    pair.run(secs(2));
    assert_eq!(pair.left().configurable, [(true, None)]);
    assert_eq!(pair.right().configurable, [(true, Some("alice".to_owned()))]);
    assert!(pair.is_connected());
    let kinds: Vec<u8> = pair.sent.iter().map(|(_, _, octets)| octets[18]).collect();
    // Main mode, question and answer, status and acknowledgement, quick mode.
    assert_eq!(kinds, [2, 2, 2, 2, 2, 2, 6, 6, 6, 6, 32, 32, 32]);
    pull(&mut pair);
    pair.run(secs(1));
    assert_eq!(pair.left().received.len(), 1);
    let heard: Vec<_> = pair.sides.iter().map(|side| side.notices.join("\n")).collect();
    assert!(heard.iter().all(|notices| !notices.contains("wonderland")));
    assert!(heard[1].contains("user alice authenticated"));
}

#[test]
fn a_wrong_password_ends_the_isakmp_sa_and_is_not_tried_for_ever() {
    let mut pair = with(client("alice", "looking-glass"), |_| {});
    pair.open(0, 0);
    pair.run(secs(120));
    assert_eq!(pair.right().discarded(Discard::XauthRefused), 1);
    assert_eq!(pair.left().peer_downs, [Down::Unauthenticated]);
    assert_eq!(pair.right().peer_downs.len(), 1);
    let refused = Failure::Refused(NotifyType::AUTHENTICATION_FAILED.0);
    assert_eq!(pair.left().failed, [(super::rule(0), refused)]);
    assert!(pair.sides.iter().all(|side| side.configurable.is_empty() && side.up.is_empty()));
    assert!(pair.sides.iter().all(|side| side.endpoint.isakmps.is_empty()));
}

#[test]
fn an_unknown_user_looks_like_a_wrong_password() {
    let shape_of = |user: &str, password: &str| {
        let mut pair = with(client(user, password), |_| {});
        connect(&mut pair);
        pair.run(secs(60));
        assert_eq!(pair.right().discarded(Discard::XauthRefused), 1);
        (shape(&pair, 6), shape(&pair, 5), pair.left().peer_downs.clone())
    };
    assert_eq!(shape_of("alice", "looking-glass"), shape_of("carol", "looking-glass"));
}

#[test]
fn guessing_is_limited_even_for_the_right_password() {
    let mut pair = with(client("alice", "looking-glass"), |_| {});
    for _ in 0..GUESSES_PER_USER_MAX {
        connect(&mut pair);
        pair.run(secs(2));
    }
    assert_eq!(pair.right().discarded(Discard::XauthRefused), u64::from(GUESSES_PER_USER_MAX));
    let retry = |pair: &mut Pair| {
        let [mut peer, _] = super::harness::peer_configs();
        peer.config_mode = ConfigMode::Client;
        peer.xauth = client("alice", "wonderland");
        pair.call(0, |endpoint, now| {
            endpoint.reconfigure(now, vec![peer], Vec::new());
            endpoint.connect(now, PEER);
        });
        pair.run(secs(2));
    };
    retry(&mut pair);
    assert_eq!(pair.right().discarded(Discard::XauthGuessing), 1);
    assert!(pair.left().configurable.is_empty());
    pair.run(GUESSES_WINDOW);
    retry(&mut pair);
    assert_eq!((pair.left().configurable.len(), pair.right().configurable.len()), (1, 1));
}

#[test] // DC-6
fn nobody_gets_anything_before_the_user_is_known() {
    // A client that does not answer for a user, and goes on at once.
    let mut pair = unsaid(Xauth::Off, |_| {});
    pair.open(0, 0);
    pair.run(secs(1));
    pull(&mut pair);
    pair.run(secs(10));
    assert!(pair.right().discarded(Discard::XauthPending) >= 2);
    assert!(pair.right().asked.is_empty() && pair.right().inbound.is_empty());
    assert!(pair.left().discarded(Discard::UnexpectedExchange) >= 1);
    // And the server does not wait for ever.
    pair.run(secs(30));
    assert_eq!(pair.right().peer_downs, [Down::Unauthenticated]);
    assert!(pair.right().configurable.is_empty() && pair.left().up.is_empty());
    assert!(
        pair.left().config_failed.contains(&Failure::PeerDown)
            || pair.left().config_failed.contains(&Failure::NoAnswer)
    );
}

#[test] // F-6
fn every_lost_damaged_or_doubled_message_is_made_up_for() {
    let fates: [fn(usize) -> Fate; 3] =
        [|_| Fate::Drop, |_| Fate::Duplicate, |at| Fate::Corrupt(40 + at * 7)];
    for fate in fates {
        for victim in 6..10 {
            let mut pair = with(client("bob", "builder"), |_| {});
            pair.network = Box::new(move |number, _, _| match number {
                number if number == victim => fate(number),
                _ => Fate::Deliver,
            });
            connect(&mut pair);
            pair.run(secs(20));
            assert_eq!(pair.left().configurable, [(true, None)], "victim {victim}");
            assert_eq!(pair.right().configurable, [(true, Some("bob".to_owned()))], "victim {victim}");
        }
    }
}

#[test]
fn children_survive_that_the_user_is_asked_again() {
    let mut pair =
        with(client("alice", "wonderland"), |peers| peers.iter_mut().for_each(|peer| peer.lifetime = 120));
    pair.open(0, 0);
    pair.run(secs(400));
    assert!(pair.right().configurable.len() >= 3);
    assert!(pair.right().configurable.iter().all(|(_, user)| user.as_deref() == Some("alice")));
    assert_eq!(pair.left().configurable.len(), pair.right().configurable.len());
    assert!(pair.is_connected());
    assert!(
        pair.left().down.is_empty()
            && pair.left().peer_downs.is_empty()
            && pair.right().peer_downs.is_empty()
    );
    pull(&mut pair);
    pair.run(secs(1));
    assert_eq!(pair.left().received.len(), 1);
}

#[test]
fn a_client_goes_on_when_the_server_does_not_ask() {
    let mut pair = unsaid(client("alice", "wonderland"), |peers| peers[1].xauth = Xauth::Off);
    connect(&mut pair);
    pair.run(secs(2));
    assert!(pair.left().configurable.is_empty());
    pair.run(XAUTH_PATIENCE);
    assert_eq!(pair.left().configurable, [(true, None)]);
    // One that is configured at once need not wait.
    let mut pair = unsaid(client("alice", "wonderland"), |peers| peers[1].xauth = Xauth::Off);
    connect(&mut pair);
    pair.run(secs(1));
    pair.sides[0].says = Some(Vec::new());
    pair.call(1, |endpoint, now| {
        endpoint.push_config(now, PEER, vec![ConfigAttribute::PolicyVersion(Some(1))]);
    });
    pair.run(secs(1));
    assert_eq!((pair.left().configurable.len(), pair.left().received.len()), (1, 1));
    assert_eq!(pair.right().acknowledged.len(), 1);
}
