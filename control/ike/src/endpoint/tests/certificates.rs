//! Phase 1 with certificates: every mode with every kind of key, and whom nobody believes.

use super::harness::{Fate, NatBox, Pair, secs};
use crate::credentials::tests::{NOW, credentials};
use crate::wire::PayloadType;
use crate::{Authentication, Discard, Mode, NatTraversal, PeerConfig, RemoteIdentity};
use std::sync::Arc;
use std::time::Duration;
use warren_policy::Identity;

const MODES: [Mode; 3] = [Mode::Main, Mode::Aggressive, Mode::Base];

/// Two gateways in that mode with these certificates, whose clocks are right.
fn pair(mode: Mode, names: [&str; 2], change: impl FnOnce(&mut [PeerConfig; 2])) -> Pair {
    let mut pair = Pair::with(1, |peers, _| {
        for (peer, name) in peers.iter_mut().zip(names) {
            peer.mode = mode;
            peer.authentication = Authentication::Signature(Arc::new(credentials(name)));
        }
        change(peers);
    });
    for side in [0, 1] {
        pair.call(side, |endpoint, now| endpoint.set_unix_time(now, NOW + now));
    }
    pair
}

fn connected(mut pair: Pair, what: &str) -> Pair {
    pair.open(0, 0);
    pair.run(secs(60));
    assert!(pair.is_connected(), "{what}: {:?} {:?}", pair.left().notices, pair.right().notices);
    pair
}

/// Nobody gets anything, and `judge` (left or right) counts why, and says it once.
fn refused(mut pair: Pair, judge: usize, reason: Discard, what: &str) {
    pair.open(0, 0);
    pair.run(secs(120));
    assert!(pair.left().live().is_empty() && pair.right().live().is_empty(), "{what}");
    assert_eq!(pair.left().failed.len(), 1, "{what}");
    let judge = &pair.sides[judge];
    assert!(judge.discarded(reason) > 0, "{what}: {:?}", judge.counters());
    let words = match reason {
        Discard::CertificateDate => "valid",
        Discard::CertificateName => "does not name",
        Discard::CertificateAuthority => "no authority of ours",
        _ => "is not for IKE",
    };
    let said: Vec<_> = judge.notices.iter().filter(|notice| notice.contains("refused: ")).collect();
    let [said] = said[..] else { panic!("{what}: {:?}", judge.notices) };
    assert!(said.contains(words) || said.contains("expired"), "{what}: {said}");
}

#[test] // DC-3
fn every_mode_establishes_with_every_kind_of_key() {
    for mode in MODES {
        for kind in ["rsa", "p256", "p384", "p521"] {
            for proposal in ["aes128-sha1-ecp256", "aes256-sha256-ecp384", "aes256-sha512-modp2048"] {
                let names = [format!("{kind}-left"), format!("{kind}-right")];
                let pair = pair(mode, [&names[0], &names[1]], |peers| {
                    peers.iter_mut().for_each(|peer| peer.proposals = vec![proposal.parse().unwrap()]);
                });
                let pair = connected(pair, &format!("{mode} {kind} {proposal}"));
                assert_eq!((pair.left().peer_ups, pair.right().peer_ups), (1, 1));
            }
        }
    }
}

#[test]
fn a_chain_with_an_intermediate_is_sent_and_believed() {
    for mode in MODES {
        connected(pair(mode, ["chained", "p256-right"], |_| {}), &mode.to_string());
    }
}

#[test]
fn a_peer_is_known_by_its_distinguished_name() {
    let name = credentials("p256-left").subject().unwrap();
    for mode in MODES {
        let pair = pair(mode, ["p256-left", "p256-right"], |peers| {
            peers[0].local_identity = name.clone();
            peers[1].remote_identity = RemoteIdentity::Exactly(name.clone());
        });
        connected(pair, &mode.to_string());
    }
}

#[test]
fn nobody_is_believed_without_a_certificate_of_the_right_time_name_and_authority() {
    for mode in MODES {
        // With the clock at 1970 no certificate is valid yet. In aggressive mode the initiator judges first.
        let mut early = pair(mode, ["p256-left", "p256-right"], |_| {});
        for side in [0, 1] {
            early.call(side, |endpoint, now| endpoint.set_unix_time(now, Duration::ZERO));
        }
        let judge = usize::from(mode != Mode::Aggressive);
        refused(early, judge, Discard::CertificateDate, &format!("{mode} early"));
        for (name, reason) in [
            ("expired", Discard::CertificateDate),
            ("future", Discard::CertificateDate),
            ("self-signed", Discard::CertificateAuthority),
            ("for-servers", Discard::CertificateUnusable),
            ("many-names", Discard::CertificateName),
        ] {
            let pair = pair(mode, [name, "p256-right"], |peers| {
                if name == "many-names" {
                    peers[0].local_identity = "left.example".parse().unwrap();
                    peers[1].remote_identity = RemoteIdentity::Any;
                }
            });
            refused(pair, 1, reason, &format!("{mode} {name}"));
        }
        let pair = pair(mode, ["stranger", "p256-right"], |_| {});
        refused(pair, 1, Discard::CertificateAuthority, &format!("{mode} stranger"));
    }
}

#[test] // F-22
fn a_peer_that_the_certificate_does_not_name_is_nobody() {
    let other: Identity = "other.test".parse().unwrap();
    for mode in MODES {
        let pair = pair(mode, ["p256-left", "p256-right"], |peers| {
            peers[0].local_identity = other.clone();
            peers[1].remote_identity = RemoteIdentity::Exactly(other.clone());
        });
        refused(pair, 1, Discard::CertificateName, &mode.to_string());
    }
}

#[test]
fn a_secret_is_no_certificate() {
    for mode in MODES {
        let mut pair = pair(mode, ["p256-left", "p256-right"], |peers| {
            peers[0].authentication =
                Authentication::PreSharedKey(warren_policy::Secret::new(b"warren-test-psk".to_vec()));
        });
        pair.open(0, 0);
        pair.run(secs(120));
        assert!(pair.left().live().is_empty(), "{mode}");
        assert!(pair.right().discarded(Discard::NoProposalChosen) > 0, "{mode}");
    }
}

/// What the packets of strongSwan had in the capture.
const PACKET_OCTETS: usize = 600;

/// Two gateways with RSA certificates and small packets between them.
fn narrow_pair(mode: Mode) -> Pair {
    let mut pair = pair(mode, ["rsa-left", "rsa-right"], |_| {});
    pair.sides.iter_mut().for_each(|side| side.endpoint.packet_octets = PACKET_OCTETS);
    pair
}

#[test]
fn no_packet_of_phase_one_is_longer_than_the_path_carries() {
    for mode in MODES {
        let pair = connected(narrow_pair(mode), &mode.to_string());
        let fragments =
            pair.sent.iter().filter(|(.., octets)| octets.get(16) == Some(&PayloadType::FRAGMENT.0)).count();
        assert!(fragments >= 4, "{mode}: both sides send a certificate in fragments, {fragments}");
        for (.., octets) in &pair.sent {
            assert!(octets.len() + 28 <= PACKET_OCTETS, "{mode}: {}", octets.len());
        }
    }
}

#[test]
fn any_lost_fragment_of_a_certificate_is_made_up_for() {
    for mode in MODES {
        let clean = connected(narrow_pair(mode), &mode.to_string());
        for number in 0..clean.sent.len() {
            let mut pair = narrow_pair(mode);
            pair.network = Box::new(move |at, _, _| if at == number { Fate::Drop } else { Fate::Deliver });
            connected(pair, &format!("{mode}: {number} is lost"));
        }
    }
}

#[test] // RFC 3947
fn fragments_pass_a_nat_whose_ports_change_on_the_way() {
    for mode in MODES {
        for offset in [0, 7000] {
            let mut pair = pair(mode, ["rsa-left", "rsa-right"], |peers| {
                peers[0].local = [10, 0, 0, 1].into();
            });
            pair.sides.iter_mut().for_each(|side| side.endpoint.packet_octets = PACKET_OCTETS);
            pair.nat = Some(NatBox { inside: [10, 0, 0, 1], outside: [192, 0, 2, 1], offset });
            let pair = connected(pair, &format!("{mode}, {offset}"));
            let marked = |octets: &[u8]| {
                octets.starts_with(&[0; 4]) && octets.get(20) == Some(&PayloadType::FRAGMENT.0)
            };
            let floated = pair.sent.iter().filter(|(.., octets)| marked(octets)).count();
            // Base mode floats after its last message.
            assert_eq!(floated > 0, mode != Mode::Base, "{mode}, {offset}: {floated}");
        }
    }
}

#[test]
fn a_damaged_message_with_a_certificate_never_establishes() {
    // NAT-D payloads are protected by nothing, so that damage to them is another matter.
    let without_nat = |peers: &mut [PeerConfig; 2]| {
        peers.iter_mut().for_each(|peer| peer.nat_traversal = NatTraversal::Off);
    };
    for mode in MODES {
        let names = ["p256-left", "p256-right"];
        let clean = connected(pair(mode, names, without_nat), &mode.to_string());
        for (number, (.., octets)) in clean.sent.iter().enumerate() {
            for at in (0..octets.len()).step_by(97) {
                let mut pair = pair(mode, ["p256-left", "p256-right"], |_| {});
                pair.network = Box::new(
                    move |sent, _, _| if sent == number { Fate::Corrupt(at) } else { Fate::Deliver },
                );
                pair.open(0, 0);
                pair.run(secs(120));
                if pair.left().live().is_empty() {
                    pair.open(0, 0);
                    pair.run(secs(60));
                }
                assert!(pair.is_connected(), "{mode}: message {number}, octet {at}");
            }
        }
    }
}
