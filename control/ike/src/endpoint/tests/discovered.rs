//! Gateways that discovery found, and what they may protect.

use super::harness::{Fate, Pair, Side, secs};
use super::peer_configs;
use crate::credentials::tests::{NOW, credentials};
use crate::limits::DYNAMIC_PEERS_MAX;
use crate::wire::PayloadType;
use crate::{
    Authentication, ChildConfig, Discard, Down, Dpd, Failure, Mode, NatTraversal, Path, PeerConfig,
    PeerState, Remote, RemoteIdentity, Retransmit, Role,
};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use warren_policy::selector::AddressRange;
use warren_policy::{Lifetime, Pad, PadEntry, PeerId, Proxy, RuleId, Secret, Selector};

const MODES: [Mode; 3] = [Mode::Main, Mode::Aggressive, Mode::Base];
/// The template on either side.
const TEMPLATE: PeerId = PeerId(0);
/// The divisible child on either side.
const WHOLE: RuleId = RuleId(0);
/// The child that the initiator makes of what it found.
const FOUND: RuleId = RuleId(50);
/// Those that the responder makes come after this one.
const GRANTED: RuleId = RuleId(100);
/// The first peer that comes into being under a template.
const FIRST: PeerId = PeerId(1 << 31);

fn range(text: &str) -> AddressRange {
    let (address, length) = text.split_once('/').unwrap();
    AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

fn selector(text: &str) -> Selector {
    text.parse::<Proxy>().unwrap().selector().unwrap()
}

fn pad(identity: &str, networks: &[&str]) -> Option<Arc<Pad>> {
    let networks = networks.iter().map(|text| range(text)).collect();
    Some(Arc::new(Pad::new(vec![PadEntry { identity: Some(identity.parse().unwrap()), networks }])))
}

fn child(rule: RuleId, peer: PeerId, selector: Selector) -> ChildConfig {
    ChildConfig {
        rule,
        peer,
        selector,
        proposals: vec!["aes128gcm16".parse().unwrap()],
        lifetime: Lifetime { seconds: 1200, kilobytes: None },
        window_packets: 4096,
        is_divisible: false,
        mode: warren_policy::SaMode::Tunnel,
        carrier: warren_seam::Carrier::Network,
    }
}

fn divisible(selector: Selector) -> ChildConfig {
    ChildConfig { is_divisible: true, ..child(WHOLE, TEMPLATE, selector) }
}

fn template(config: PeerConfig, side: usize) -> PeerConfig {
    let (name, network) = [("right.test", "10.2.0.0/16"), ("left.test", "10.1.0.0/16")][side];
    PeerConfig {
        name: "found".to_owned(),
        remote: Remote::Any,
        remote_identity: RemoteIdentity::Any,
        pad: pad(name, &[network]),
        ..config
    }
}

/// Two gateways that know each other by templates only; the right one grants what it is asked for.
fn pair_with(change: impl FnOnce(&mut [PeerConfig; 2], &mut [Vec<ChildConfig>; 2])) -> Pair {
    let mut pair = Pair::with(0, |peers, children| {
        for (side, peer) in peers.iter_mut().enumerate() {
            *peer = template(peer.clone(), side);
        }
        let whole = selector("10.1.0.0/16 10.2.0.0/16");
        *children = [vec![divisible(whole)], vec![divisible(whole.mirrored())]];
        change(peers, children);
    });
    pair.sides[1].grants = Some(child(GRANTED, FIRST, selector("10.2.0.0/16 10.1.0.0/16")));
    pair
}

fn pair() -> Pair {
    pair_with(|_, _| {})
}

fn gateway(side: usize) -> IpAddr {
    [192, 0, 2, 1 + side as u8].into()
}

impl Pair {
    /// What a side does when discovery has named the other: the peer.
    fn find(&mut self, side: usize) -> PeerId {
        self.sides[side].endpoint.find_peer(TEMPLATE, gateway(1 - side)).unwrap()
    }

    /// The left side finds the right one, and opens a child for what both protect.
    fn discover(&mut self, common: &str) -> PeerId {
        let peer = self.find(0);
        let common = child(FOUND, peer, selector(common));
        self.call(0, |endpoint, now| endpoint.add_child(now, common));
        self.open(0, FOUND.0);
        peer
    }
}

fn held(side: &Side, peer: PeerId) -> &super::super::Peer {
    side.endpoint.peer(peer)
}

fn dynamic(side: &Side) -> Vec<PeerId> {
    side.endpoint.of_template(TEMPLATE)
}

fn said(side: &Side, words: &str) -> usize {
    side.notices.iter().filter(|notice| notice.contains(words)).count()
}

fn with_certificates(peers: &mut [PeerConfig; 2]) {
    for (peer, name) in peers.iter_mut().zip(["p256-left", "p256-right"]) {
        peer.authentication = Authentication::Signature(Arc::new(credentials(name)));
    }
}

fn with_clocks(mut pair: Pair) -> Pair {
    for side in [0, 1] {
        pair.call(side, |endpoint, now| endpoint.set_unix_time(now, NOW + now));
    }
    pair
}

#[test] // TED-56, TED-57, F-7
fn a_found_gateway_is_called_and_what_both_protect_connects() {
    for mode in MODES {
        for signs in [false, true] {
            let mut pair = with_clocks(pair_with(|peers, _| {
                peers.iter_mut().for_each(|peer| peer.mode = mode);
                if signs {
                    with_certificates(peers);
                }
            }));
            let peer = pair.discover("10.1.3.0/24 10.2.5.0/24");
            pair.run(secs(5));
            assert!(
                pair.is_connected(),
                "{mode} {signs}: {:?} {:?}",
                pair.left().notices,
                pair.right().notices
            );
            assert_eq!((peer, pair.find(0)), (FIRST, FIRST));
            for (side, name) in [(0, "right.test"), (1, "left.test")] {
                let came = &pair.sides[side].came;
                let [(peer, template, identity)] = &came[..] else { panic!("{mode} {signs}: {came:?}") };
                assert_eq!((*peer, *template), (FIRST, Some(TEMPLATE)), "{mode} {signs}");
                assert_eq!(identity.to_string(), name, "{mode} {signs}");
                assert_eq!(
                    held(&pair.sides[side], FIRST).config.name,
                    format!("found/{}", gateway(1 - side))
                );
                assert_eq!(dynamic(&pair.sides[side]), [FIRST]);
            }
            let [(peer, within, part, _)] = &pair.right().child_asks[..] else { panic!("{mode} {signs}") };
            assert_eq!((*peer, *within, *part), (FIRST, WHOLE, selector("10.2.5.0/24 10.1.3.0/24")));
            assert_eq!(pair.right().up[0].0, RuleId(GRANTED.0 + 1));
            assert_eq!(pair.right().inbound[0].selector, selector("10.1.3.0/24 10.2.5.0/24"));
        }
    }
}

#[test] // TED-57, TED-58
fn every_part_of_a_divisible_child_may_be_asked_for() {
    for (whole, part) in [
        ("10.1.0.0/16 10.2.0.0/16", "10.1.0.0/16 10.2.0.0/16"),
        ("10.1.0.0/16 10.2.0.0/16", "10.1.0.0/16 10.2.0.0/16 tcp"),
        ("10.1.0.0/16 10.2.0.0/16", "10.1.3.0/24 10.2.0.0/16 udp any 53"),
        ("10.1.0.0/16 10.2.0.0/16 tcp", "10.1.0.0/16 10.2.0.0/16 tcp any 443"),
        ("10.1.0.0/16 10.2.0.0/16 tcp any 443", "10.1.0.0/16 10.2.5.6 tcp 1024 443"),
        ("0.0.0.0/0 10.2.0.0/16", "10.1.7.0/24 10.2.0.0/16"),
        ("::/0 ::/0", "2001:db8:1::/64 2001:db8:2::/48"),
    ] {
        let mut pair = pair_with(|peers, children| {
            children[1] = vec![divisible(selector(whole).mirrored())];
            peers[0].pad = pad("right.test", &["10.2.0.0/16", "2001:db8:2::/48"]);
            peers[1].pad = pad("left.test", &["10.1.0.0/16", "2001:db8:1::/48"]);
        });
        pair.discover(part);
        pair.run(secs(5));
        assert!(pair.is_connected(), "{part} of {whole}: {:?}", pair.right().notices);
        assert_eq!(pair.right().child_asks.len(), 1, "{part} of {whole}");
        assert_eq!(pair.right().outbound[0].selector, selector(part).mirrored(), "{part} of {whole}");
    }
}

#[test] // TED-58, F-25
fn what_is_no_part_of_a_divisible_child_is_refused() {
    for (whole, asked) in [
        ("10.1.0.0/16 10.2.0.0/16", "10.1.0.0/16 10.2.0.0/15"),
        ("10.1.0.0/16 10.2.0.0/16", "10.0.0.0/8 10.2.0.0/16"),
        ("10.1.0.0/16 10.2.0.0/16", "10.1.0.0/16 10.3.0.0/16"),
        ("10.1.0.0/16 10.2.0.0/16 tcp", "10.1.0.0/16 10.2.0.0/16"),
        ("10.1.0.0/16 10.2.0.0/16 tcp", "10.1.0.0/16 10.2.0.0/16 udp"),
        ("10.1.0.0/16 10.2.0.0/16 tcp any 443", "10.1.0.0/16 10.2.0.0/16 tcp any 80"),
    ] {
        let mut pair = pair_with(|peers, children| {
            children[1] = vec![divisible(selector(whole).mirrored())];
            peers[0].pad = pad("right.test", &["0.0.0.0/0"]);
            peers[1].pad = pad("left.test", &["0.0.0.0/0"]);
        });
        pair.discover(asked);
        pair.run(secs(5));
        assert_eq!(pair.left().failed, [(FOUND, Failure::Refused(18))], "{asked} of {whole}");
        assert_eq!(pair.right().discarded(Discard::InvalidIdInformation), 1, "{asked} of {whole}");
        assert!(pair.right().child_asks.is_empty() && pair.right().inbound.is_empty(), "{asked} of {whole}");
    }
}

#[test]
fn nobody_is_asked_about_what_would_be_refused_anyway() {
    let mut pair = pair_with(|_, children| children[1][0].proposals = vec!["aes256gcm16".parse().unwrap()]);
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    assert_eq!(pair.left().failed, [(FOUND, Failure::Refused(14))]);
    assert!(pair.right().child_asks.is_empty());
}

#[test] // F-7, TED-59
fn an_initiator_begins_nothing_with_whom_its_identity_is_not_authorised() {
    for signs in [false, true] {
        // The identity is a good one, but not for these networks; or it is nobody's whom we know.
        for theirs in [pad("right.test", &["10.9.0.0/16"]), pad("other.test", &["10.2.0.0/16"])] {
            let mut pair = with_clocks(pair_with(|peers, _| {
                peers[0].pad = theirs;
                if signs {
                    with_certificates(peers);
                }
            }));
            pair.discover("10.1.3.0/24 10.2.5.0/24");
            pair.run(secs(5));
            assert_eq!(pair.left().failed, [(FOUND, Failure::Unauthorised)], "{signs}");
            assert_eq!(pair.left().discarded(Discard::Unauthorised), 1, "{signs}");
            let words = "found/192.0.2.2: right.test is not authorised for 10.2.5.0/24";
            assert_eq!(said(pair.left(), words), 1, "{signs}: {:?}", pair.left().notices);
            assert_eq!(
                (pair.left().came.len(), pair.right().came.len()),
                (1, 1),
                "phase 1 is none the worse"
            );
            assert!(pair.left().inbound.is_empty() && pair.right().child_asks.is_empty(), "{signs}");
        }
    }
}

#[test] // F-7, TED-59
fn a_responder_gives_nothing_to_whom_its_identity_is_not_authorised() {
    for signs in [false, true] {
        for exact in [false, true] {
            let mut pair = with_clocks(pair_with(|peers, _| {
                peers[1].pad = pad("left.test", &["10.9.0.0/16"]);
                if signs {
                    with_certificates(peers);
                }
            }));
            if exact {
                // Even if somebody has already made the child for it.
                let peer = pair.find(1);
                let made = child(GRANTED, peer, selector("10.2.5.0/24 10.1.3.0/24"));
                pair.call(1, |endpoint, now| endpoint.add_child(now, made));
            }
            pair.discover("10.1.3.0/24 10.2.5.0/24");
            pair.run(secs(5));
            assert_eq!(pair.left().failed, [(FOUND, Failure::Refused(18))], "{signs} {exact}");
            assert_eq!(pair.right().discarded(Discard::Unauthorised), 1, "{signs} {exact}");
            let words = "found/192.0.2.1: left.test is not authorised for 10.1.3.0/24";
            assert_eq!(said(pair.right(), words), 1, "{signs} {exact}: {:?}", pair.right().notices);
            assert!(pair.right().inbound.is_empty() && pair.right().child_asks.is_empty(), "{signs} {exact}");
        }
    }
}

#[test] // F-7, F-22
fn whoever_is_not_acceptable_to_the_template_is_no_gateway_of_ours() {
    for (side, judge) in [(0, "left"), (1, "right")] {
        let mut pair = pair_with(|peers, _| {
            peers[side].remote_identity = RemoteIdentity::Exactly("other.test".parse().unwrap());
        });
        pair.discover("10.1.3.0/24 10.2.5.0/24");
        pair.run(secs(60));
        assert!(pair.left().live().is_empty() && pair.right().live().is_empty(), "{judge}");
        assert_eq!(pair.left().failed.len(), 1, "{judge}");
        assert!(pair.sides[side].discarded(Discard::IdentityMismatch) > 0, "{judge}");
        assert!(pair.sides[side].came.is_empty(), "{judge}");
    }
    // Nor is one without the template's secret.
    let mut pair = pair_with(|peers, _| {
        peers[1].authentication = Authentication::PreSharedKey(Secret::new(b"another secret".to_vec()));
    });
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(60));
    assert_eq!(pair.left().failed, [(FOUND, Failure::NoAnswer)]);
    assert!(pair.left().came.is_empty() && dynamic(pair.right()).is_empty());
}

#[test] // TED-56
fn gateways_that_find_each_other_at_once_are_one_peer_to_each_other() {
    for mode in MODES {
        // The right side begins earlier, later, and at the same time.
        for (left, right) in
            [(0, 0), (0, 5), (5, 0), (0, 15), (15, 0), (0, 35), (35, 0), (0, 3000), (3000, 0)]
        {
            let what = format!("{mode}: {left} ms and {right} ms");
            let mut pair = pair_with(|peers, _| peers.iter_mut().for_each(|peer| peer.mode = mode));
            pair.sides[1].grants = None;
            let mut begins = [(left, 0), (right, 1)];
            begins.sort();
            for (at, side) in begins {
                pair.run_until(Duration::from_millis(at));
                let peer = pair.find(side);
                let common = selector("10.1.3.0/24 10.2.5.0/24");
                let common = if side == 0 { common } else { common.mirrored() };
                pair.call(side, |endpoint, now| endpoint.add_child(now, child(FOUND, peer, common)));
                pair.open(side, FOUND.0);
            }
            pair.run(secs(30));
            assert!(pair.is_connected(), "{what}: {:?} {:?}", pair.left().notices, pair.right().notices);
            for side in &pair.sides {
                assert_eq!(dynamic(side), [FIRST], "{what}");
                assert_eq!(side.came.len(), 1, "{what}");
                assert!(side.went.is_empty(), "{what}");
                // The one that gave way has retired.
                assert_eq!(side.endpoint.isakmps.len(), 1, "{what}");
            }
            let current = |side: &Side| {
                let id = held(side, FIRST).current.unwrap();
                side.endpoint.isakmps[&id].cookies
            };
            assert_eq!(current(pair.left()), current(pair.right()), "{what}");
        }
    }
}

#[test] // TED-56
fn a_gateway_that_came_by_itself_is_the_one_that_is_found_later() {
    let mut pair = pair();
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    assert_eq!(pair.find(1), pair.right().came[0].0);
    assert_eq!(dynamic(pair.right()).len(), 1);
}

#[test] // TED-56
fn a_child_that_was_granted_is_renewed_by_either_side() {
    let mut pair = pair();
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    let granted = RuleId(GRANTED.0 + 1);
    for (side, number) in [(0, FOUND), (1, granted), (0, FOUND)] {
        pair.open(side, number.0);
        pair.run(secs(5));
    }
    assert!(pair.is_connected());
    assert_eq!(pair.right().child_asks.len(), 1, "who has the child need not ask");
    let roles: Vec<_> = pair.right().up.iter().map(|up| (up.0, up.3)).collect();
    let expected = [Role::Responder, Role::Responder, Role::Initiator, Role::Responder];
    assert_eq!(roles, expected.map(|role| (granted, role)));
    assert_eq!((pair.left().live().len(), pair.right().live().len()), (4, 4));
    // Without its child a gateway is refused or asks again.
    pair.call(1, |endpoint, now| endpoint.remove_child(now, granted));
    pair.run(secs(5));
    assert!(pair.left().live().is_empty() && pair.right().live().is_empty());
    pair.open(0, FOUND.0);
    pair.run(secs(5));
    assert_eq!(pair.right().child_asks.len(), 2);
    assert!(pair.is_connected());
}

#[test] // F-6
fn what_is_asked_for_is_neither_lost_nor_granted_twice() {
    let mut pair = pair();
    pair.sides[1].grants = None;
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    // First message, two repetitions.
    pair.run(secs(2));
    assert_eq!(pair.right().child_asks.len(), 3);
    assert!(pair.right().inbound.is_empty());
    let (peer, _, part, asked) = pair.right().child_asks[0].clone();
    let again = pair.right().child_asks[1].3.clone();
    assert_eq!(asked, again, "the same message");
    pair.call(1, |endpoint, now| {
        endpoint.add_child(now, child(GRANTED, peer, part));
        endpoint.grant_child(now, asked.clone());
        endpoint.grant_child(now, again);
    });
    pair.run(secs(30));
    assert!(pair.is_connected());
    assert_eq!((pair.left().live().len(), pair.right().live().len()), (1, 1));
    assert_eq!(pair.right().discarded(Discard::Retransmitted), 1);
    // Long after, with and without its child: by whoever recorded it, or by whoever grants it late.
    let seen = asked.path;
    pair.run(secs(200));
    for is_there in [true, false] {
        if !is_there {
            pair.call(1, |endpoint, now| endpoint.remove_child(now, GRANTED));
        }
        pair.inject(1, seen, &asked.message);
        pair.call(1, |endpoint, now| endpoint.grant_child(now, asked.clone()));
        pair.run(secs(5));
    }
    assert_eq!(pair.right().discarded(Discard::MessageIdReused), 4);
    assert_eq!((pair.right().child_asks.len(), pair.right().inbound.len()), (3, 1));
}

#[test] // F-6
fn who_is_granted_nothing_gives_up_and_a_thousand_questions_leave_nothing_behind() {
    let mut pair = pair_with(|peers, _| {
        peers.iter_mut().for_each(|peer| {
            peer.retransmit = Retransmit { first: Duration::from_millis(500), tries: 0 };
        });
    });
    pair.sides[1].grants = None;
    let peer = pair.find(0);
    for number in 0..1000u32 {
        let part = selector(&format!("10.1.{}.0/24 10.2.{}.0/24", number / 256, number % 256));
        pair.call(0, |endpoint, now| endpoint.add_child(now, child(RuleId(1000 + number), peer, part)));
        pair.open(0, 1000 + number);
    }
    pair.run(secs(30));
    assert_eq!(pair.right().child_asks.len(), 1000);
    assert_eq!(pair.left().failed.len(), 1000);
    assert!(pair.left().failed.iter().all(|(_, reason)| *reason == Failure::NoAnswer));
    let endpoint = &pair.right().endpoint;
    let sa = endpoint.isakmps.values().next().and_then(|isakmp| isakmp.sa()).unwrap();
    assert!(sa.exchanges.is_empty());
    let quick: Vec<u32> = (pair.right().child_asks.iter())
        .map(|(.., asked)| u32::from_be_bytes(asked.message[20..24].try_into().unwrap()))
        .collect();
    assert!(quick.iter().all(|message_id| !sa.is_used(*message_id)));
    assert_eq!((endpoint.rules.len(), endpoint.by_selector.len(), endpoint.isakmps.len()), (1, 0, 1));
    assert!(endpoint.outbox.is_empty());
}

#[test]
fn what_is_granted_without_a_child_is_refused() {
    let mut pair = pair();
    pair.sides[1].grants = None;
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(Duration::from_millis(200));
    let asked = pair.right().child_asks[0].3.clone();
    pair.call(1, |endpoint, now| endpoint.grant_child(now, asked));
    pair.run(secs(5));
    assert_eq!(pair.left().failed, [(FOUND, Failure::Refused(18))]);
    assert_eq!(pair.right().child_asks.len(), 1);
}

#[test]
fn what_is_granted_after_its_sa_has_gone_has_no_effect() {
    let mut pair = pair();
    pair.sides[1].grants = None;
    let found = pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(Duration::from_millis(200));
    let asked = pair.right().child_asks[0].3.clone();
    pair.call(0, |endpoint, now| endpoint.forget_peer(now, found));
    pair.run(secs(1));
    pair.call(1, |endpoint, now| endpoint.grant_child(now, asked.clone()));
    assert_eq!(pair.right().discarded(Discard::UnknownCookies), 1);
    // Nor has a child for a peer that has gone.
    let late = child(GRANTED, FIRST, selector("10.2.5.0/24 10.1.3.0/24"));
    pair.call(1, |endpoint, now| endpoint.add_child(now, late));
    assert_eq!(pair.right().endpoint.rules.len(), 1);
    // Nor has anything that is no message of the kind.
    for message in [Vec::new(), vec![0; 28], asked.message[..40].to_vec()] {
        let asked = crate::Asked { message, ..asked.clone() };
        pair.call(1, |endpoint, now| endpoint.grant_child(now, asked));
    }
    pair.run(secs(1));
    assert!(pair.right().inbound.is_empty());
}

#[test] // F-3
fn a_damaged_question_is_none() {
    let clean = {
        let mut pair = pair();
        pair.discover("10.1.3.0/24 10.2.5.0/24");
        pair.run(secs(5));
        pair.sent
    };
    // The first message of quick mode.
    let number = clean.iter().position(|(.., octets)| octets.get(18) == Some(&32)).unwrap();
    for at in 0..clean[number].2.len() {
        let mut pair = pair();
        pair.sides[1].grants = None;
        pair.network = Box::new(move |sent, _, _| match sent {
            sent if sent < number => Fate::Deliver,
            sent if sent == number => Fate::Corrupt(at),
            _ => Fate::Drop,
        });
        pair.discover("10.1.3.0/24 10.2.5.0/24");
        pair.run(secs(5));
        assert!(pair.right().child_asks.is_empty(), "octet {at}");
    }
}

#[test] // RFC 3947
fn a_question_may_come_in_fragments_and_by_the_other_port() {
    let mut pair = pair_with(|peers, children| {
        peers.iter_mut().for_each(|peer| peer.nat_traversal = NatTraversal::Force);
        for transform in ["aes192gcm16", "aes256gcm16", "aes128-sha256", "aes256-sha256", "aes256-sha512"] {
            children[1][0].proposals.push(transform.parse().unwrap());
        }
    });
    pair.sides.iter_mut().for_each(|side| side.endpoint.packet_octets = 300);
    let peer = pair.find(0);
    let whole = pair.right().endpoint.rules[&WHOLE].proposals.clone();
    let common = ChildConfig { proposals: whole, ..child(FOUND, peer, selector("10.1.3.0/24 10.2.5.0/24")) };
    pair.call(0, |endpoint, now| endpoint.add_child(now, common));
    pair.open(0, FOUND.0);
    pair.run(secs(5));
    assert!(pair.is_connected(), "{:?}", pair.right().notices);
    let asked = &pair.right().child_asks[0].3;
    assert_eq!(asked.path.local.port(), 4500);
    assert!(asked.message.len() > 300 && asked.message[18] == 32, "whole and without a marker");
    let fragment =
        |octets: &[u8]| octets.starts_with(&[0; 4]) && octets.get(20) == Some(&PayloadType::FRAGMENT.0);
    let message_id = &asked.message[20..24];
    let from_left = |sent: &&(usize, Path, Vec<u8>)| sent.0 == 0 && fragment(&sent.2);
    assert!(pair.sent.iter().filter(from_left).count() >= 2);
    assert!(!pair.sent.iter().any(|(.., octets)| octets.len() > 300 && octets[24..28] == *message_id));
}

#[test]
fn a_found_peer_stays_until_it_is_forgotten_and_then_is_told() {
    let mut pair = pair();
    let peer = pair.find(0);
    for _ in 0..3 {
        pair.run(secs(100));
        assert_eq!((dynamic(pair.left()), pair.find(0)), (vec![peer], peer));
    }
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    assert!(pair.is_connected());
    // The other side did not find us: it forgets nothing by being told to.
    let theirs = pair.right().came[0].0;
    pair.call(1, |endpoint, now| {
        endpoint.forget_peer(now, theirs);
        endpoint.forget_peer(now, TEMPLATE);
        endpoint.forget_peer(now, PeerId(77));
    });
    pair.run(secs(5));
    assert!(pair.is_connected());
    pair.call(0, |endpoint, now| endpoint.forget_peer(now, peer));
    pair.run(secs(5));
    let outcome = |side: &Side| (side.went.clone(), side.peer_downs.clone(), side.live().len());
    assert_eq!(outcome(pair.left()), (vec![peer], vec![Down::Closed], 0));
    assert_eq!(outcome(pair.right()), (vec![theirs], vec![Down::DeletedByPeer], 0));
    for side in &pair.sides {
        let endpoint = &side.endpoint;
        assert!(dynamic(side).is_empty() && endpoint.dynamic.is_empty() && endpoint.isakmps.is_empty());
        assert_eq!((endpoint.rules.len(), endpoint.by_selector.len()), (1, 0));
    }
    // Found again it is another.
    assert_ne!(pair.find(0), peer);
    // Forgotten while it is called: its child fails.
    let peer = pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.call(0, |endpoint, now| endpoint.forget_peer(now, peer));
    pair.run(secs(120));
    assert_eq!(pair.left().failed, [(FOUND, Failure::Closed)]);
    assert!(dynamic(pair.left()).is_empty() && dynamic(pair.right()).is_empty());
}

#[test] // RFC 3706
fn a_found_peer_that_dies_may_be_called_again_and_its_template_takes_it_back() {
    let mut pair = pair_with(|peers, _| {
        peers.iter_mut().for_each(|peer| peer.dpd = Some(Dpd { delay: secs(10), timeout: secs(20) }));
    });
    let peer = pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    assert!(pair.is_connected());
    pair.network = Box::new(|_, _, _| Fate::Drop);
    pair.run(secs(100));
    assert_eq!(pair.left().peer_downs, [Down::DeadPeer]);
    assert_eq!(pair.right().peer_downs, [Down::DeadPeer]);
    assert_eq!(dynamic(pair.left()), [peer], "it is still wanted");
    assert!(dynamic(pair.right()).is_empty(), "nobody wants it");
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    pair.open(0, FOUND.0);
    pair.run(secs(5));
    assert!(pair.is_connected());
    assert_eq!((pair.left().came[1].0, dynamic(pair.right()).len()), (peer, 1));
    // One that never answers fails and stays, too.
    pair.network = Box::new(|_, _, _| Fate::Drop);
    pair.run(secs(100));
    pair.open(0, FOUND.0);
    pair.run(secs(100));
    assert_eq!(pair.left().failed, [(FOUND, Failure::NoAnswer)]);
    assert_eq!(dynamic(pair.left()), [peer]);
}

/// The right side, as another gateway that has taken over its address: it knows nothing of what was.
fn successor(pair: &mut Pair, identity: &str) {
    let [_, right] = peer_configs();
    let config = PeerConfig { local_identity: identity.parse().unwrap(), ..template(right, 1) };
    let whole = divisible(selector("10.2.0.0/16 10.1.0.0/16"));
    let grants = pair.sides[1].grants.take();
    pair.sides[1] = Side::new(vec![config], vec![whole], 77);
    pair.sides[1].grants = grants;
}

#[test] // F-3, F-7
fn as_long_as_a_gateway_has_sas_nobody_else_at_its_address_is_it() {
    let mut pair = pair_with(|peers, _| {
        let networks = |identity: &str| PadEntry {
            identity: Some(identity.parse().unwrap()),
            networks: vec![range("10.2.0.0/16")],
        };
        peers[0].pad = Some(Arc::new(Pad::new(vec![networks("right.test"), networks("other.test")])));
        peers[0].dpd = Some(Dpd { delay: secs(10), timeout: secs(20) });
    });
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    successor(&mut pair, "other.test");
    let peer = pair.find(1);
    let wanted = child(FOUND, peer, selector("10.2.5.0/24 10.1.3.0/24"));
    pair.call(1, |endpoint, now| endpoint.add_child(now, wanted));
    pair.open(1, FOUND.0);
    pair.run(secs(4));
    assert_eq!(pair.left().discarded(Discard::IdentityMismatch), 1);
    assert_eq!(said(pair.left(), "found/192.0.2.2: refused, because it says it is other.test"), 1);
    assert_eq!(pair.left().live().len(), 1, "what was there is none the worse");
    // Once the first one is known to be dead, the other one is the gateway.
    pair.run(secs(60));
    assert_eq!(pair.left().peer_downs, [Down::DeadPeer]);
    pair.open(1, FOUND.0);
    pair.run(secs(5));
    let came: Vec<_> = pair.left().came.iter().map(|came| (came.0, came.2.to_string())).collect();
    assert_eq!(came, [(FIRST, "right.test".to_owned()), (FIRST, "other.test".to_owned())]);
    assert!(pair.right().live().len() == 1, "{:?}", pair.right().notices);
}

#[test] // TED-56
fn who_is_wanted_is_renewed_and_who_is_idle_is_not() {
    let mut pair = pair();
    let peer = pair.find(0);
    pair.call(0, |endpoint, now| endpoint.connect(now, peer));
    pair.run(secs(3 * 3600));
    // The left side holds the peer, and renews it; the right side has no use for it, but is not asked.
    assert!(pair.left().went.is_empty() && pair.right().went.is_empty());
    assert!(pair.left().counters().peers_established >= 3);
    // Now nobody holds it, but there is a child on both sides.
    let mut pair = pair_with(|peers, _| peers[1].lifetime = 1200);
    pair.sides[1].grants.as_mut().unwrap().lifetime.seconds = 100_000;
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    pair.sides[0].endpoint.peer_mut(FIRST).is_held = false;
    pair.run(secs(3 * 3600));
    assert!(pair.left().went.is_empty() && pair.right().went.is_empty() && pair.is_connected());
    // And when that is gone, so are they, at the end of the lifetime.
    pair.call(0, |endpoint, now| endpoint.remove_child(now, FOUND));
    pair.run(secs(3 * 3600));
    assert_eq!((pair.left().went.len(), pair.right().went.len()), (1, 1));
    for side in &pair.sides {
        assert!(dynamic(side).is_empty() && side.endpoint.poll_timeout().is_none());
    }
}

#[test]
fn a_new_configuration_keeps_found_peers_and_those_of_their_children_that_it_lists() {
    let mut pair = pair();
    let peer = pair.discover("10.1.3.0/24 10.2.5.0/24");
    let other = child(RuleId(51), peer, selector("10.1.4.0/24 10.2.5.0/24"));
    pair.call(0, |endpoint, now| endpoint.add_child(now, other.clone()));
    pair.open(0, 51);
    pair.run(secs(5));
    assert_eq!(pair.left().live().len(), 2);
    let [left, _] = peer_configs();
    let dpd = Some(Dpd { delay: secs(10), timeout: secs(20) });
    let config = PeerConfig { dpd, ..template(left, 0) };
    let whole = divisible(selector("10.1.0.0/16 10.2.0.0/16"));
    let children = vec![whole.clone(), child(FOUND, peer, selector("10.1.3.0/24 10.2.5.0/24"))];
    pair.call(0, |endpoint, now| endpoint.reconfigure(now, vec![config.clone()], children.clone()));
    pair.run(secs(5));
    assert_eq!((dynamic(pair.left()), pair.find(0)), (vec![peer], peer));
    assert_eq!(
        pair.left().down.iter().map(|down| (down.0, down.2)).collect::<Vec<_>>(),
        [(RuleId(51), Down::Reconfigured)]
    );
    assert!(pair.is_connected() && pair.left().went.is_empty());
    assert_eq!(held(pair.left(), peer).config.dpd, dpd, "what does not matter for SAs is taken over");
    let identity = RemoteIdentity::Exactly("right.test".parse().unwrap());
    assert_eq!(held(pair.left(), peer).config.remote_identity, identity);
    // Its child is still one: it may be renewed.
    pair.open(0, FOUND.0);
    pair.run(secs(5));
    assert_eq!(pair.left().live().len(), 2);
    // Whom the template trusts has changed: all of it goes, whatever is listed.
    let changed = PeerConfig { pad: pad("right.test", &["10.2.5.0/24"]), ..config };
    pair.call(0, |endpoint, now| endpoint.reconfigure(now, vec![changed], children));
    pair.run(secs(5));
    assert_eq!(
        (pair.left().went.clone(), pair.left().peer_downs.clone()),
        (vec![peer], vec![Down::Reconfigured])
    );
    let endpoint = &pair.left().endpoint;
    assert!(endpoint.dynamic.is_empty() && pair.left().live().is_empty());
    assert_eq!((endpoint.rules.len(), endpoint.by_selector.len(), endpoint.divisible.len()), (1, 0, 1));
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    assert!(pair.is_connected());
}

#[test]
fn a_divisible_child_is_never_negotiated_itself() {
    let mut pair = pair();
    pair.open(0, WHOLE.0);
    pair.run(secs(1));
    assert_eq!(pair.left().failed, [(WHOLE, Failure::NotConfigured)]);
    // Removed, it has no parts any more.
    pair.call(1, |endpoint, now| endpoint.remove_child(now, WHOLE));
    pair.discover("10.1.3.0/24 10.2.5.0/24");
    pair.run(secs(5));
    assert_eq!(pair.left().failed[1..], [(FOUND, Failure::Refused(18))]);
    assert!(pair.right().child_asks.is_empty());
}

#[test]
fn only_templates_with_an_authorisation_database_find_peers_and_only_so_many() {
    let [left, right] = peer_configs();
    let configs = vec![
        template(left.clone(), 0),
        PeerConfig { id: PeerId(1), pad: None, ..template(left.clone(), 0) },
        PeerConfig { id: PeerId(2), ..left.clone() },
        PeerConfig { id: PeerId(3), local: [0, 0, 0, 0].into(), ..template(right, 1) },
    ];
    let mut side = Side::new(configs, Vec::new(), 1);
    let mut find =
        |template: u32, gateway: &str| side.endpoint.find_peer(PeerId(template), gateway.parse().unwrap());
    for template in [1, 2, 9, 1 << 31] {
        assert_eq!(find(template, "192.0.2.9"), None, "{template}");
    }
    assert_eq!(find(0, "2001:db8::1"), None, "our address is of the other family");
    let first = find(0, "192.0.2.9").unwrap();
    assert_eq!(find(first.0, "192.0.2.9"), None, "a peer is no template");
    assert_ne!(find(3, "192.0.2.9"), Some(first), "another template");
    assert!(find(3, "2001:db8::1").is_some(), "any address of ours");
    for number in 3..DYNAMIC_PEERS_MAX as u32 {
        assert!(find(0, &IpAddr::from((0x0a00_0000 | number).to_be_bytes()).to_string()).is_some());
    }
    assert_eq!(find(0, "192.0.2.10"), None);
    assert_eq!(find(0, "192.0.2.9"), Some(first), "who is there stays");
    side.endpoint.forget_peer(Duration::ZERO, first);
    let next = side.endpoint.find_peer(TEMPLATE, "192.0.2.10".parse().unwrap());
    assert!(next.is_some_and(|next| next != first));
    let shown = side.endpoint.peers();
    assert!(shown.iter().any(|peer| peer.name == "found/192.0.2.10" && peer.state == PeerState::Idle));
    assert!(side.drain().is_empty());
}
