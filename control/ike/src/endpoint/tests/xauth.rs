//! Extended authentication between two of us.

use super::config::{sa, say, seen};
use super::{Fate, Pair, secs};
use crate::limits::{GUESSES_PER_USER_MAX, GUESSES_WINDOW, XAUTH_PATIENCE};
use crate::wire::iana::config_class;
use crate::wire::{Attribute, Chain, ConfigAttribute, ConfigType, ExchangeType, NotifyType, PayloadType};
use crate::{ConfigMode, Discard, Down, Failure, Mode, PeerConfig, Remote, RemoteIdentity, Xauth};
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

/// Loses what that side says in transaction exchanges.
fn silence(pair: &mut Pair, silent: usize) {
    pair.network = Box::new(move |_, side, octets| match octets.get(18) {
        Some(6) if side == silent => Fate::Drop,
        _ => Fate::Deliver,
    });
}

#[test] // DC-6
fn nobody_gets_anything_before_the_user_is_known() {
    let mut pair = with(client("alice", "wonderland"), |_| {});
    silence(&mut pair, 0);
    connect(&mut pair);
    pair.run(secs(1));
    // A hostile client goes on at once.
    say(&mut pair, 0, 7, ConfigType::REQUEST, vec![Attribute::short(config_class::POLICY_VERSION, 1)]);
    let client = sa(&pair, 0);
    let chain = Chain::new().with(PayloadType::NONCE, &[1; 16]).with_front(PayloadType::HASH, &[7; 32]);
    let (quick, _) = client.seal(ExchangeType::QUICK, 8, client.first_iv(8), &chain);
    pair.inject(1, seen(1), &quick);
    assert_eq!(pair.right().discarded(Discard::XauthPending), 2);
    // Our own server begins nothing either.
    pair.open(1, 0);
    pair.call(1, |endpoint, now| endpoint.push_config(now, PEER, Vec::new()));
    pair.run(secs(20));
    assert!(pair.right().asked.is_empty() && pair.right().inbound.is_empty());
    assert_eq!(pair.right().config_failed, [Failure::PeerDown]);
    assert!(shape(&pair, 32).is_empty());
    // And it does not wait for ever.
    pair.run(secs(20));
    assert_eq!(pair.right().peer_downs, [Down::Unauthenticated]);
    assert!(pair.right().configurable.is_empty() && pair.left().up.is_empty());
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
    let mut pair = with(client("alice", "wonderland"), |_| {});
    silence(&mut pair, 1);
    connect(&mut pair);
    pair.run(secs(2));
    assert!(pair.left().configurable.is_empty());
    pair.run(XAUTH_PATIENCE);
    assert_eq!(pair.left().configurable, [(true, None)]);
    // Asked after all, it still answers.
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    pair.run(secs(20));
    assert_eq!(pair.right().configurable, [(true, Some("alice".to_owned()))]);
    assert_eq!(pair.left().configurable.len(), 1);
    // One that is configured at once need not wait.
    let mut pair = with(client("alice", "wonderland"), |_| {});
    silence(&mut pair, 1);
    connect(&mut pair);
    pair.run(secs(1));
    say(&mut pair, 1, 7, ConfigType::SET, vec![Attribute::short(config_class::POLICY_VERSION, 1)]);
    pair.run(secs(1));
    assert_eq!((pair.left().configurable.len(), pair.left().received.len()), (1, 1));
}

#[test] // DC-2, DC-6, DC-7
fn a_server_of_everybody_knows_each_client_by_a_name_of_its_own() {
    for mode in [Mode::Main, Mode::Aggressive, Mode::Base] {
        let mut pair = with(client("alice", "wonderland"), |peers| {
            peers.iter_mut().for_each(|peer| peer.mode = mode);
            (peers[1].remote, peers[1].remote_identity) = (Remote::Any, RemoteIdentity::Any);
        });
        connect(&mut pair);
        pair.run(secs(2));
        let [(own, Some(PEER), _)] = &pair.right().came[..] else { panic!("one peer under the template") };
        assert_ne!(*own, PEER, "{mode}");
        assert_eq!(pair.right().configurable, [(true, Some("alice".to_owned()))], "{mode}");
        pull(&mut pair);
        pair.run(secs(1));
        assert_eq!(pair.left().received.len(), 1, "{mode}");
        pair.call(0, |endpoint, now| endpoint.close_peer(now, PEER));
        pair.run(secs(1));
        assert_eq!(pair.right().peer_downs, [Down::DeletedByPeer], "{mode}");
        // The wrong password leaves no peer behind.
        let mut pair = with(client("alice", "rabbit-hole"), |peers| {
            peers.iter_mut().for_each(|peer| peer.mode = mode);
            (peers[1].remote, peers[1].remote_identity) = (Remote::Any, RemoteIdentity::Any);
        });
        connect(&mut pair);
        pair.run(secs(60));
        assert_eq!(pair.right().discarded(Discard::XauthRefused), 1, "{mode}");
        assert!(
            pair.right().endpoint.isakmps.is_empty() && pair.right().endpoint.dynamic.is_empty(),
            "{mode}"
        );
    }
}
