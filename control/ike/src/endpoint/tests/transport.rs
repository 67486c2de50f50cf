//! Transport mode between the two hosts themselves (RFC 2407 §4.5, RFC 3947 §5.1), and children that are the same to a
//! peer.

use super::harness::{NatBox, selector};
use super::{Fate, Pair, rule, secs};
use crate::v1::esp_sa::offer;
use crate::wire::iana::esp_attribute as esp;
use crate::wire::{Chain, ExchangeType, PayloadType};
use crate::{ChildConfig, Discard, Down, Failure, NatTraversal, Path, PeerConfig, Role};
use std::net::IpAddr;
use warren_policy::selector::{AddressRange, PortRange, Protocol};
use warren_policy::{Lifetime, RuleId, SaMode, Selector};
use warren_seam::{Carrier, Encapsulation, Spi};

const LEFT: [u8; 4] = [192, 0, 2, 1];
const RIGHT: [u8; 4] = [192, 0, 2, 2];

fn hosts(source: [u8; 4], destination: [u8; 4]) -> Selector {
    let single = |address: [u8; 4]| AddressRange::single(IpAddr::from(address));
    Selector::between(single(source), single(destination)).unwrap()
}

fn to_transport(child: &mut ChildConfig, side: usize) {
    let selector = hosts(LEFT, RIGHT);
    child.mode = SaMode::Transport;
    child.selector = if side == 0 { selector } else { selector.mirrored() };
}

/// One child in transport mode on both sides, then changed.
fn pair_with(change: impl FnOnce(&mut [PeerConfig; 2], &mut [Vec<ChildConfig>; 2])) -> Pair {
    Pair::with(1, |peers, children| {
        for (side, children) in children.iter_mut().enumerate() {
            to_transport(&mut children[0], side);
        }
        change(peers, children);
    })
}

fn modes(pair: &Pair) -> [Vec<(SaMode, RuleId)>; 2] {
    [0, 1].map(|side| {
        let sides = &pair.sides[side];
        let inbound = sides.inbound.iter().map(|sa| (sa.mode, sa.rule));
        inbound.chain(sides.outbound.iter().map(|sa| (sa.mode, sa.rule))).collect()
    })
}

/// What the last quick mode asks for as somebody else would say it: the right side gets this chain from the left one.
fn ask(pair: &mut Pair, mode: u16, identities: &[&[u8]]) -> Result<(), Discard> {
    let ours = ["aes128gcm16".parse().unwrap()];
    let lifetime = Lifetime { seconds: 1200, kilobytes: None };
    ask_with(pair, &offer(&ours, lifetime, Spi(0x1234), mode), identities)
}

fn ask_with(pair: &mut Pair, sa: &[u8], identities: &[&[u8]]) -> Result<(), Discard> {
    let id = pair.left().endpoint.peers.values().next().unwrap().current.unwrap();
    let (isakmp, message_id) = (&pair.left().endpoint.isakmps[&id], 0x0102_0304 + pair.sent.len() as u32);
    let path = isakmp.path;
    let own = isakmp.sa().unwrap();
    let mut chain = Chain::new().with(PayloadType::SA, sa).with(PayloadType::NONCE, &[7; 32]);
    for identity in identities {
        chain.push(PayloadType::IDENTIFICATION, identity);
    }
    let hash = own.keys().hash_1(message_id, chain.octets());
    let chain = chain.with_front(PayloadType::HASH, &hash);
    let (mut octets, _) = own.seal(ExchangeType::QUICK, message_id, own.first_iv(message_id), &chain);
    if path.has_marker() {
        octets = [&[0; 4][..], &octets].concat();
    }
    let seen = match pair.nat {
        Some(nat) => (nat.outside, path.local.port() + nat.offset).into(),
        None => path.local,
    };
    let before: Vec<(Discard, u64)> = pair.right().counters().discards().collect();
    pair.inject(1, Path { local: path.remote, remote: seen }, &octets);
    let after = pair.right().counters().discards();
    let discarded = after.zip(before).find(|(after, before)| after.1 > before.1);
    pair.sent.extend(pair.sides[1].drain().into_iter().map(|(path, octets)| (1, path, octets)));
    discarded.map_or(Ok(()), |(after, _)| Err(after.0))
}

#[test] // RFC 2407 §4.5
fn either_side_begins_a_transport_mode_pair_and_both_have_it_in_that_mode() {
    for side in [0, 1] {
        let mut pair = pair_with(|_, _| {});
        pair.open(side, 0);
        pair.run(secs(2));
        assert!(pair.is_connected());
        assert_eq!(modes(&pair), [0, 1].map(|_| vec![(SaMode::Transport, rule(0)); 2]));
        assert_eq!(pair.left().outbound[0].selector, hosts(LEFT, RIGHT));
        assert_eq!(pair.left().inbound[0].encapsulation, Encapsulation::Raw);
        assert_eq!((pair.left().down.len(), pair.right().failed.len()), (0, 0));
    }
}

#[test] // RFC 3947 §5.1
fn in_udp_it_is_in_transport_mode_too_as_long_as_no_address_changes() {
    for (forces, side) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        let mut pair = pair_with(|peers, _| peers[forces].nat_traversal = NatTraversal::Force);
        pair.open(side, 0);
        pair.run(secs(2));
        assert!(pair.is_connected(), "{forces} forces, {side} begins");
        assert_eq!(modes(&pair), [0, 1].map(|_| vec![(SaMode::Transport, rule(0)); 2]));
        let udp = Encapsulation::Udp { local_port: 4500, remote_port: 4500 };
        assert_eq!(
            (pair.left().inbound[0].encapsulation, pair.right().outbound[0].encapsulation),
            (udp, udp)
        );
    }
}

#[test]
fn a_protocol_and_a_port_may_narrow_it() {
    let mut pair = pair_with(|_, children| {
        for (side, children) in children.iter_mut().enumerate() {
            children[0].selector.protocol = Protocol::Is(6);
            let port = PortRange::new(443, 443).unwrap();
            let selector = &mut children[0].selector;
            if side == 0 { selector.destination_port = port } else { selector.source_port = port }
        }
    });
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert_eq!(pair.right().inbound[0].selector.destination_port, PortRange::new(443, 443).unwrap());
}

#[test] // RFC 2409 §5.5
fn without_identities_it_is_for_the_two_hosts_and_what_names_them_is_the_same() {
    let named: [&[u8]; 2] = [&[1, 0, 0, 0, 192, 0, 2, 1], &[1, 0, 0, 0, 192, 0, 2, 2]];
    for identities in [&[][..], &named] {
        let mut pair = pair_with(|_, _| {});
        pair.open(0, 0);
        pair.run(secs(2));
        assert_eq!(ask(&mut pair, esp::TRANSPORT, identities), Ok(()));
        let inbound = &pair.right().inbound[1];
        assert_eq!(
            (inbound.mode, inbound.rule, inbound.selector),
            (SaMode::Transport, rule(0), hosts(LEFT, RIGHT))
        );
    }
}

#[test] // RFC 2409 §5.5
fn an_answer_without_identities_is_one_for_the_two_hosts() {
    // We answer with what was asked, so that it is the question that has none: the same look-up decides both.
    let mut pair = pair_with(|_, children| {
        children.iter_mut().for_each(|children| children[0].selector.protocol = Protocol::Is(6));
    });
    pair.open(0, 0);
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert_eq!(
        ask(&mut pair, esp::TRANSPORT, &[]),
        Err(Discard::InvalidIdInformation),
        "all protocols are more"
    );
}

#[test] // RFC 2407 §4.5
fn the_other_mode_is_refused_in_a_question_and_the_initiator_is_told() {
    for (side, number) in [(0, 2), (1, 1)] {
        let mut pair = pair_with(|_, children| children[1][0].mode = SaMode::Tunnel);
        pair.open(side, 0);
        pair.run(secs(2));
        assert_eq!(pair.sides[side].failed, [(rule(0), Failure::Refused(14))], "mode {number}");
        assert_eq!(pair.sides[1 - side].discarded(Discard::NoProposalChosen), 1);
        assert!(pair.left().inbound.is_empty() && pair.right().inbound.is_empty());
    }
}

#[test]
fn between_a_tunnel_and_a_transport_child_for_the_same_traffic_the_offered_mode_decides() {
    for (tunnel, transport) in [(0, 1), (1, 0)] {
        let mut pair = Pair::with(2, |_, children| {
            for (side, children) in children.iter_mut().enumerate() {
                for child in children.iter_mut() {
                    to_transport(child, side);
                }
                children[tunnel].mode = SaMode::Tunnel;
            }
        });
        pair.open(0, 0);
        pair.run(secs(1));
        pair.open(1, 1);
        pair.run(secs(1));
        let expected = |number: usize| {
            let mode = if number == transport { SaMode::Transport } else { SaMode::Tunnel };
            (mode, rule(number as u32))
        };
        for side in [0, 1] {
            let got: Vec<_> = pair.sides[side].inbound.iter().map(|sa| (sa.mode, sa.rule)).collect();
            assert_eq!(got, [expected(0), expected(1)]);
        }
        assert!(pair.is_connected());
        // Neither is offered: refused, and not as if there were no such child.
        assert_eq!(ask(&mut pair, esp::UDP_TRANSPORT, &[]), Err(Discard::NoProposalChosen));
    }
}

#[test]
fn of_two_children_that_are_the_same_to_the_peer_it_gets_the_one_with_the_smaller_identifier() {
    let mut pair = pair_with(|_, _| {});
    let child = |pair: &Pair, number| ChildConfig {
        rule: rule(number),
        lifetime: Lifetime { seconds: number + 100, kilobytes: None },
        ..ChildConfig::clone(&pair.right().endpoint.rules[&rule(0)])
    };
    // Whatever the order in which they come, and whichever go.
    for number in [1_000_007, 1_000_003, 1_000_005] {
        let child = child(&pair, number);
        pair.call(1, |endpoint, now| endpoint.add_child(now, child));
    }
    for expected in [0, 1_000_003, 1_000_005, 1_000_007] {
        pair.open(0, 0);
        pair.run(secs(2));
        assert_eq!(pair.right().up.last().unwrap().0, rule(expected));
        pair.call(1, |endpoint, now| endpoint.remove_child(now, rule(expected)));
        pair.run(secs(1));
    }
    assert!(pair.right().endpoint.by_selector.is_empty());
    pair.open(0, 0);
    pair.run(secs(5));
    assert_eq!(pair.left().failed, [(rule(0), Failure::Refused(18))]);
}

#[test]
fn every_child_is_opened_as_itself_also_where_the_peer_takes_two_for_one() {
    let mut pair = pair_with(|_, _| {});
    let second = ChildConfig { rule: rule(9), ..ChildConfig::clone(&pair.left().endpoint.rules[&rule(0)]) };
    pair.call(0, |endpoint, now| endpoint.add_child(now, second));
    pair.open(0, 9);
    pair.open(0, 0);
    pair.run(secs(2));
    let rules = |side: usize| pair.sides[side].up.iter().map(|up| up.0).collect::<Vec<_>>();
    assert_eq!((rules(0), rules(1)), (vec![rule(9), rule(0)], vec![rule(0), rule(0)]));
    assert!(pair.is_connected());
}

#[test] // NT-27
fn levels_that_are_added_later_are_negotiated_by_either_side() {
    let level = |pair: &Pair, side: usize, number: u8| {
        let to_network = Selector::between(
            AddressRange::single(IpAddr::from(LEFT)),
            AddressRange::from_prefix([10, 9, number, 0].into(), 24).unwrap(),
        )
        .unwrap();
        ChildConfig {
            rule: RuleId(70_000 + u32::from(number)),
            mode: SaMode::Tunnel,
            selector: if side == 0 { to_network } else { to_network.mirrored() },
            carrier: Carrier::Rule(RuleId(70_100 + u32::from(number))),
            ..ChildConfig::clone(&pair.sides[side].endpoint.rules[&rule(0)])
        }
    };
    let mut pair = pair_with(|_, _| {});
    for number in 0..4 {
        for side in [0, 1] {
            let child = level(&pair, side, number);
            pair.call(side, |endpoint, now| endpoint.add_child(now, child));
        }
    }
    for number in 0..4 {
        pair.open(usize::try_from(number % 2).unwrap(), 70_000 + number);
    }
    pair.run(secs(2));
    assert!(pair.is_connected());
    for side in &pair.sides {
        let mut carried: Vec<_> = side.inbound.iter().map(|sa| (sa.rule.0, sa.carrier)).collect();
        carried.sort_by_key(|(rule, _)| *rule);
        let expected = [0, 1, 2, 3].map(|number| (70_000 + number, Carrier::Rule(RuleId(70_100 + number))));
        assert_eq!(carried, expected);
    }
}

#[test]
fn transport_mode_for_anybody_else_is_begun_by_nobody_and_given_to_nobody() {
    for wrong in [hosts([10, 0, 0, 1], RIGHT), hosts(LEFT, [10, 0, 0, 2]), selector(0)] {
        for side in [0, 1] {
            let mut pair = pair_with(|_, children| {
                children[0][0].selector = wrong;
                children[1][0].selector = wrong.mirrored();
            });
            pair.open(side, 0);
            pair.run(secs(2));
            assert_eq!(pair.sides[side].failed, [(rule(0), Failure::NotBetweenHosts)], "{wrong}");
            assert_eq!(pair.sides[side].discarded(Discard::NotBetweenHosts), 1);
            assert!(pair.left().inbound.is_empty() && pair.right().inbound.is_empty());
            assert!(pair.left().peer_downs.is_empty(), "the ISAKMP SA is none the worse");
        }
    }
    let mut pair = pair_with(|_, children| {
        children[1][0].selector = hosts(RIGHT, [10, 0, 0, 1]);
    });
    pair.open(0, 0);
    pair.run(secs(2));
    let inside: [&[u8]; 2] = [&[1, 0, 0, 0, 10, 0, 0, 1], &[1, 0, 0, 0, 192, 0, 2, 2]];
    assert_eq!(ask(&mut pair, esp::TRANSPORT, &inside), Err(Discard::NotBetweenHosts));
    assert!(pair.right().inbound.is_empty());
}

/// The left side at an inside address behind a NAT; the right one knows the outside one.
fn behind_nat(inside_of_right: [u8; 4]) -> Pair {
    let nat = NatBox { inside: [10, 0, 0, 1], outside: [198, 51, 100, 7], offset: 1000 };
    let mut pair = pair_with(|peers, children| {
        peers[0].local = nat.inside.into();
        peers[1].remote = crate::Remote::Host(nat.outside.into());
        children[0][0].selector = hosts(nat.inside, RIGHT);
        children[1][0].selector = hosts(RIGHT, inside_of_right);
    });
    pair.nat = Some(nat);
    pair
}

#[test] // RFC 3947 §5.2
fn behind_a_nat_transport_mode_is_refused_by_whoever_can_tell() {
    let mut pair = behind_nat([198, 51, 100, 7]);
    pair.open(0, 0);
    pair.run(secs(2));
    assert_eq!(pair.left().failed, [(rule(0), Failure::NotBetweenHosts)]);
    assert_eq!(pair.left().discarded(Discard::NotBetweenHosts), 1);
    // Somebody who does not look: with its inside address, or without any.
    let inside: [&[u8]; 2] = [&[1, 0, 0, 0, 10, 0, 0, 1], &[1, 0, 0, 0, 192, 0, 2, 2]];
    assert_eq!(ask(&mut pair, esp::UDP_TRANSPORT, &inside), Err(Discard::InvalidIdInformation));
    assert_eq!(ask(&mut pair, esp::UDP_TRANSPORT, &[]), Err(Discard::NotBetweenHosts));
    assert!(pair.right().inbound.is_empty());
    // Where the far side lists the inside address, that is not where the packets come from.
    let mut pair = behind_nat([10, 0, 0, 1]);
    pair.open(0, 0);
    pair.run(secs(2));
    assert_eq!(ask(&mut pair, esp::UDP_TRANSPORT, &inside), Err(Discard::NotBetweenHosts));
    assert!(pair.right().inbound.is_empty());
}

#[test]
fn the_side_that_a_nat_hides_refuses_when_the_other_one_begins() {
    let mut pair = behind_nat([198, 51, 100, 7]);
    pair.open(0, 0);
    pair.run(secs(2));
    pair.open(1, 0);
    pair.run(secs(5));
    assert_eq!(pair.right().failed, [(rule(0), Failure::Refused(18))]);
    assert_eq!(pair.left().discarded(Discard::InvalidIdInformation), 1);
    assert!(pair.left().inbound.is_empty() && pair.right().inbound.is_empty());
}

#[test]
fn a_transport_mode_pair_is_renewed_and_the_old_one_closed() {
    let mut pair = pair_with(|_, children| {
        children
            .iter_mut()
            .for_each(|children| children[0].proposals = vec!["aes128gcm16-ecp256".parse().unwrap()]);
    });
    pair.open(0, 0);
    pair.run(secs(2));
    let old = pair.left().up[0].1;
    pair.open(1, 0);
    pair.run(secs(2));
    assert_eq!(pair.left().up[1].3, Role::Responder);
    pair.call(0, |endpoint, now| endpoint.close_child(now, old));
    pair.run(secs(2));
    assert!(pair.is_connected());
    assert_eq!(pair.left().live().len(), 1);
    assert!(modes(&pair).iter().flatten().all(|(mode, _)| *mode == SaMode::Transport));
}

#[test]
fn the_loss_of_any_one_message_is_survived_in_transport_mode() {
    for lost in 0..9 {
        let mut pair = pair_with(|_, _| {});
        pair.network = Box::new(move |number, _, _| if number == lost { Fate::Drop } else { Fate::Deliver });
        pair.open(0, 0);
        pair.run(secs(20));
        assert!(pair.is_connected(), "{lost}");
        assert_eq!((pair.left().live().len(), pair.right().live().len()), (1, 1), "{lost}");
    }
}

#[test] // NT-34
fn a_child_whose_mode_or_carrier_changed_is_another_one() {
    let changes: [fn(&mut ChildConfig); 2] =
        [|child| child.mode = SaMode::Tunnel, |child| child.carrier = Carrier::Rule(RuleId(5))];
    for change in changes {
        for adds in [true, false] {
            let mut pair = Pair::with(2, |_, children| {
                for (side, children) in children.iter_mut().enumerate() {
                    to_transport(&mut children[0], side);
                }
            });
            pair.open(0, 0);
            pair.open(0, 1);
            pair.run(secs(2));
            let id = pair.left().up.iter().find(|up| up.0 == rule(0)).unwrap().1;
            let held: Vec<ChildConfig> =
                pair.left().endpoint.rules.values().map(|child| ChildConfig::clone(child)).collect();
            let mut changed = held.clone();
            changed.iter_mut().filter(|child| child.rule == rule(0)).for_each(change);
            let [left, _] = super::peer_configs();
            let call = |pair: &mut Pair, children: Vec<ChildConfig>| {
                let left = left.clone();
                pair.call(0, move |endpoint, now| {
                    if adds {
                        children.into_iter().for_each(|child| endpoint.add_child(now, child));
                    } else {
                        endpoint.reconfigure(now, vec![left], children);
                    }
                });
                pair.run(secs(2));
            };
            call(&mut pair, held);
            assert!(pair.left().down.is_empty(), "what is the same stays");
            call(&mut pair, changed);
            assert_eq!(pair.left().down, [(rule(0), id, Down::Reconfigured)]);
            assert_eq!(pair.right().down.len(), 1, "the peer is told");
            assert_eq!(pair.left().live().len(), 1, "the other one stays");
            // One is looked up under what it is now.
            let keys = pair.left().endpoint.by_selector.len();
            assert_eq!(keys, 2);
        }
    }
}
