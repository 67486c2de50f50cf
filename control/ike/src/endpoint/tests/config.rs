//! Configuration pulled and pushed between two of us, and what a hostile peer can do with it.

use super::harness::selector;
use super::{Fate, Pair, rule, secs};
use crate::limits::{
    CONFIG_ANSWER_LIFE, EXCHANGE_LINGER, EXCHANGES_MAX, TRANSACTIONS_PER_EXCHANGE_MAX,
    TRANSACTIONS_PER_WINDOW_MAX, TRANSACTIONS_WINDOW,
};
use crate::v1::isakmp_sa::IsakmpSa;
use crate::wire::iana::config_class;
use crate::wire::limits::SETS_MAX;
use crate::wire::{
    Attribute, Chain, ConfigAttribute, ConfigType, ExchangeType, PayloadType, SetMessage, SplitNetwork,
    Transaction,
};
use crate::{ConfigMode, Discard, Down, Failure, Path};
use std::time::Duration;
use warren_policy::selector::{AddressRange, PortRange, Protocol};
use warren_policy::{EspTransform, KeyBits, Lifetime, PeerId, PolicySet, SaMode, TrafficEnd};

const PEER: PeerId = PeerId(0);

/// Left asks, right gives; no rule to negotiate yet.
fn configured() -> Pair {
    Pair::with(0, |peers, _| {
        peers[0].config_mode = ConfigMode::Client;
        peers[1].config_mode = ConfigMode::Server;
    })
}

fn connected() -> Pair {
    let mut pair = configured();
    pair.call(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run(secs(1));
    pair
}

fn set(id: u16) -> ConfigAttribute {
    let end = |addresses| TrafficEnd { addresses, protocol: Protocol::Any, ports: PortRange::ANY };
    let range = |address: [u8; 4], length| AddressRange::from_prefix(address.into(), length).unwrap();
    ConfigAttribute::PolicySet(SetMessage::Offered(Box::new(PolicySet {
        id,
        name: format!("set-{id}"),
        local: vec![end(range([10, 3, 0, 10], 32))],
        remote: vec![end(range([10, 2, 0, 0], 24))],
        mode: SaMode::Tunnel,
        transforms: vec![EspTransform::AesGcm16(KeyBits::B256), EspTransform::AesGcm16(KeyBits::B128)],
        pfs: None,
        lifetime: Lifetime { seconds: 3600, kilobytes: None },
        gateway: None,
        parent: None,
    })))
}

fn questions() -> Vec<ConfigAttribute> {
    vec![ConfigAttribute::PolicyVersion(Some(1)), ConfigAttribute::Ip4Address(None)]
}

fn policy() -> Vec<ConfigAttribute> {
    let network = SplitNetwork {
        address: [10, 2, 0, 0].into(),
        mask: [255, 255, 255, 0].into(),
        protocol: 6,
        source_port: 0,
        destination_port: 443,
    };
    vec![
        ConfigAttribute::PolicyVersion(Some(1)),
        ConfigAttribute::Ip4Address(Some([10, 3, 0, 10].into())),
        set(1),
        set(2),
        ConfigAttribute::SplitInclude(Some(vec![network])),
    ]
}

fn verdicts() -> Vec<ConfigAttribute> {
    let acknowledged = |id, refusal: Option<&str>| {
        ConfigAttribute::PolicySet(SetMessage::Acknowledged { id, refusal: refusal.map(str::to_owned) })
    };
    vec![acknowledged(1, None), acknowledged(2, Some("too wide"))]
}

fn pull(pair: &mut Pair) {
    pair.call(0, |endpoint, now| endpoint.pull_config(now, PEER, questions()));
}

fn push(pair: &mut Pair) {
    pair.call(1, |endpoint, now| endpoint.push_config(now, PEER, policy()));
}

/// Exchange type and message ID of everything sent so far from that number on.
fn exchanges(pair: &Pair, from: usize) -> Vec<(u8, [u8; 4])> {
    let field = |octets: &[u8]| (octets[18], octets[20..24].try_into().unwrap());
    pair.sent[from..].iter().map(|(_, _, octets)| field(octets)).collect()
}

pub(super) fn sa(pair: &Pair, side: usize) -> &IsakmpSa {
    pair.sides[side].endpoint.isakmps.values().find_map(|isakmp| isakmp.sa()).unwrap()
}

/// How side `to` sees the other.
pub(super) fn seen(to: usize) -> Path {
    let socket = |side: usize| ([192, 0, 2, side as u8 + 1], 500).into();
    Path { local: socket(to), remote: socket(1 - to) }
}

/// Side `from`, hostile but with all keys, says anything under any message ID.
pub(super) fn say(
    pair: &mut Pair,
    from: usize,
    message_id: u32,
    kind: ConfigType,
    attributes: Vec<Attribute<'_>>,
) {
    let transaction = Transaction { kind, identifier: 1, attributes };
    let iv = match sa(pair, 1 - from).exchanges.get(&message_id) {
        Some(exchange) => exchange.iv,
        None => sa(pair, from).first_iv(message_id),
    };
    let (octets, _) = sa(pair, from).seal_transaction(message_id, iv, &transaction).unwrap();
    pair.inject(1 - from, seen(1 - from), &octets);
}

fn address() -> Vec<Attribute<'static>> {
    vec![Attribute::short(config_class::POLICY_VERSION, 1)]
}

#[test] // DC-2, DC-5, DC-7, DC-9, DC-11, Q-24, Q-25, Q-27
fn a_client_pulls_what_the_server_says() {
    let mut pair = connected();
    assert_eq!((pair.left().peer_ups, pair.right().peer_ups), (1, 1));
    for side in &pair.sides {
        assert_eq!(side.configurable, [(true, None)]);
    }
    let before = pair.sent.len();
    pull(&mut pair);
    pair.run(secs(1));
    let [(exchange, asked)] = &pair.right().asked[..] else { panic!("asked once") };
    assert_eq!(*asked, questions());
    let exchange = *exchange;
    // Nothing is said before the server's user says it; repetitions of the question do not become questions.
    assert!(pair.left().received.is_empty());
    pair.call(1, |endpoint, now| endpoint.reply_config(now, PEER, exchange, policy()));
    pair.run(secs(1));
    assert_eq!(pair.left().received, [(None, policy())]);
    assert_eq!(pair.right().asked.len(), 1);
    let sent = exchanges(&pair, before);
    assert!(
        sent.iter().all(|one| *one == (ExchangeType::TRANSACTION.0, exchange.0.to_be_bytes())),
        "{sent:?}"
    );
    // The question is closed.
    let before = pair.sent.len();
    pair.call(1, |endpoint, now| endpoint.reply_config(now, PEER, exchange, policy()));
    pair.run(secs(1));
    assert_eq!((pair.sent.len(), pair.left().received.len()), (before, 1));
}

#[test] // DC-2, DC-8
fn a_server_pushes_and_hears_what_was_taken() {
    let mut pair = connected();
    push(&mut pair);
    pair.run(secs(1));
    let [(Some(exchange), given)] = &pair.left().received[..] else { panic!("pushed once") };
    assert_eq!(*given, policy());
    let exchange = *exchange;
    assert!(pair.right().acknowledged.is_empty());
    pair.call(0, |endpoint, now| endpoint.acknowledge_config(now, PEER, exchange, verdicts()));
    pair.run(secs(1));
    assert_eq!(pair.right().acknowledged, [verdicts()]);
}

#[test] // DC-2, DC-8
fn a_server_may_be_the_one_that_begins() {
    let mut pair = configured();
    pair.sides[0].says = Some(verdicts());
    pair.sides[1].says = Some(policy());
    pair.call(1, |endpoint, now| endpoint.connect(now, PEER));
    pair.run(secs(1));
    pull(&mut pair);
    push(&mut pair);
    pair.run(secs(1));
    let given: Vec<_> = pair.left().received.iter().map(|(_, given)| given.clone()).collect();
    assert_eq!(given, [policy(), policy()]);
    assert_eq!(pair.right().acknowledged, [verdicts()]);
}

#[test] // DC-6
fn quick_mode_waits_for_what_the_configuration_brings() {
    let mut pair = configured();
    pair.sides[1].says = Some(policy());
    pair.call(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run(secs(1));
    pull(&mut pair);
    pair.run(secs(1));
    assert_eq!(pair.left().received.len(), 1);
    let quick =
        |pair: &Pair| exchanges(pair, 0).iter().filter(|(kind, _)| *kind == ExchangeType::QUICK.0).count();
    assert_eq!(quick(&pair), 0);
    let child = |side: usize| crate::ChildConfig {
        rule: rule(7),
        peer: PEER,
        selector: if side == 0 { selector(7) } else { selector(7).mirrored() },
        proposals: vec!["aes128gcm16".parse().unwrap()],
        lifetime: Lifetime { seconds: 1200, kilobytes: None },
        window_packets: 64,
        is_divisible: false,
        mode: SaMode::Tunnel,
        carrier: warren_seam::Carrier::Network,
    };
    // Known to the client alone, the server refuses it.
    pair.call(0, |endpoint, now| {
        endpoint.add_child(now, child(0));
        endpoint.open_child(now, rule(7));
    });
    pair.run(secs(1));
    assert_eq!(pair.left().failed.len(), 1);
    assert_eq!(pair.right().discarded(Discard::InvalidIdInformation), 1);
    pair.call(1, |endpoint, now| endpoint.add_child(now, child(1)));
    pair.open(0, 7);
    pair.run(secs(1));
    assert!(pair.is_connected());
    // The same child again changes nothing; another one under the rule closes it, and so does removing it.
    pair.call(1, |endpoint, now| endpoint.add_child(now, child(1)));
    pair.run(secs(1));
    assert!(pair.is_connected());
    pair.call(1, |endpoint, now| endpoint.remove_child(now, rule(7)));
    pair.run(secs(1));
    assert!(pair.left().live().is_empty() && pair.right().live().is_empty());
    pair.open(0, 7);
    pair.run(secs(1));
    assert_eq!(pair.right().discarded(Discard::InvalidIdInformation), 2);
}

#[test] // DC-7, DC-8, F-6
fn every_lost_damaged_or_doubled_message_is_made_up_for() {
    let fates: [fn(usize) -> Fate; 4] =
        [|_| Fate::Drop, |_| Fate::Duplicate, |at| Fate::Corrupt(40 + at * 13), |_| Fate::Delay(secs(2))];
    for fate in fates {
        for victim in 0..4 {
            let mut pair = connected();
            pair.sides[0].says = Some(verdicts());
            pair.sides[1].says = Some(policy());
            let first = pair.sent.len();
            pair.network = Box::new(move |number, _, _| match number.checked_sub(first) {
                Some(number) if number == victim => fate(number),
                _ => Fate::Deliver,
            });
            pull(&mut pair);
            push(&mut pair);
            pair.run(secs(20));
            assert_eq!(pair.right().asked.len(), 1);
            let pushed = pair.left().received.iter().filter(|(exchange, _)| exchange.is_some()).count();
            assert_eq!((pair.left().received.len(), pushed), (2, 1), "victim {victim}");
            assert_eq!(pair.right().acknowledged, [verdicts()]);
            assert!(pair.left().config_failed.is_empty() && pair.right().config_failed.is_empty());
        }
    }
}

#[test] // DC-7
fn a_question_without_answer_fails_and_leaves_nothing() {
    let mut pair = connected();
    pull(&mut pair);
    pair.run(secs(32));
    assert_eq!(pair.left().config_failed, [Failure::NoAnswer]);
    pair.run(CONFIG_ANSWER_LIFE);
    // Too late to answer.
    let (exchange, _) = pair.right().asked[0].clone();
    let before = pair.sent.len();
    pair.call(1, |endpoint, now| endpoint.reply_config(now, PEER, exchange, policy()));
    pair.run(secs(1));
    assert_eq!(pair.sent.len(), before);
    assert!(sa(&pair, 0).exchanges.is_empty() && sa(&pair, 1).exchanges.is_empty());
}

#[test] // DC-7
fn connecting_and_asking_fail_with_a_reason() {
    let mut pair = configured();
    pull(&mut pair);
    pair.call(0, |endpoint, now| endpoint.connect(now, PeerId(9)));
    pair.call(0, |endpoint, now| endpoint.pull_config(now, PeerId(9), questions()));
    pair.network = Box::new(|_, _, _| Fate::Drop);
    pair.call(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run(secs(120));
    let failures = [Failure::PeerDown, Failure::NotConfigured, Failure::NotConfigured, Failure::NoAnswer];
    assert_eq!(pair.left().config_failed, failures);
    assert!(pair.left().endpoint.connecting.is_empty());
    // One failure for each call, and none for a call that succeeds.
    pair.network = Box::new(|_, _, _| Fate::Deliver);
    pair.call(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run(secs(1));
    pair.call(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run(secs(1));
    assert_eq!((pair.left().peer_ups, pair.left().config_failed.len()), (1, 4));
    // The ISAKMP SA goes away under a question.
    pull(&mut pair);
    pair.call(1, |endpoint, now| endpoint.close_peer(now, PEER));
    pair.run(secs(1));
    assert_eq!(pair.left().config_failed.last(), Some(&Failure::PeerDown));
    assert_eq!(pair.left().peer_downs, [Down::DeletedByPeer]);
}

#[test] // DC-24
fn what_the_server_does_not_know_is_passed_on_and_counted() {
    let mut pair = connected();
    let strange = ConfigAttribute::Unknown { class: 20_000, value: vec![1, 2, 3] };
    let asked = vec![strange.clone(), ConfigAttribute::Ip4Address(None)];
    pair.sides[1].says = Some(vec![strange.clone()]);
    pair.call(0, |endpoint, now| endpoint.pull_config(now, PEER, asked.clone()));
    pair.run(secs(1));
    assert_eq!(pair.right().asked[0].1, asked);
    assert_eq!(pair.left().received, [(None, vec![strange])]);
    assert_eq!(
        (pair.left().counters().unknown_attributes, pair.right().counters().unknown_attributes),
        (1, 1)
    );
}

#[test] // DC-11
fn what_does_not_fit_one_message_is_not_sent_in_part() {
    let mut pair = connected();
    let many: Vec<_> = (0..250).map(set).collect();
    let address = ConfigAttribute::Ip4Address(Some([10, 3, 0, 10].into()));
    pair.sides[1].says = Some([vec![address.clone()], many.clone()].concat());
    pull(&mut pair);
    pair.call(1, |endpoint, now| endpoint.push_config(now, PEER, many));
    pair.run(secs(1));
    let [(None, given)] = &pair.left().received[..] else { panic!("only the reply") };
    assert!(matches!(&given[..], [first, ConfigAttribute::PolicyError(Some(_))] if *first == address));
    assert_eq!(pair.right().config_failed, [Failure::TooLong]);
    // A hundred do.
    let hundred: Vec<_> = (0..100).map(set).collect();
    pair.call(1, |endpoint, now| endpoint.push_config(now, PEER, hundred.clone()));
    pair.run(secs(1));
    assert_eq!(pair.left().received[1].1, hundred);
    // In fragments: no packet of it is longer than any path carries.
    assert!(pair.sent.iter().all(|(.., octets)| octets.len() + 28 <= crate::limits::FRAGMENT_PACKET_OCTETS));
}

#[test] // DC-5
fn only_who_has_that_part_is_asked_or_told() {
    let mut pair = connected();
    for (from, kind) in [(1, ConfigType::REQUEST), (0, ConfigType::SET)] {
        say(&mut pair, from, 77, kind, address());
        assert_eq!(pair.sides[1 - from].discarded(Discard::UnexpectedExchange), 1);
    }
    for (from, kind) in [(0, ConfigType::REPLY), (1, ConfigType::REPLY), (0, ConfigType::ACK)] {
        let before = pair.sides[1 - from].discarded(Discard::Unsolicited);
        say(&mut pair, from, 78, kind, address());
        assert_eq!(pair.sides[1 - from].discarded(Discard::Unsolicited), before + 1);
    }
    say(&mut pair, 0, 79, ConfigType(9), address());
    assert_eq!(pair.right().discarded(Discard::UnexpectedExchange), 2);
    pair.run(secs(1));
    assert!(pair.left().received.is_empty() && pair.right().asked.is_empty());
    // Nobody who has no part at all.
    let mut pair = Pair::with(0, |peers, _| peers[0].config_mode = ConfigMode::Client);
    pair.call(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run(secs(1));
    assert_eq!((pair.left().configurable.len(), pair.right().configurable.len()), (1, 0));
    assert_eq!(pair.left().configurable, [(false, None)]);
    pull(&mut pair);
    pair.run(secs(40));
    assert_eq!(pair.left().config_failed, [Failure::NoAnswer]);
    assert!(pair.right().discarded(Discard::UnexpectedExchange) >= 1);
    assert!(sa(&pair, 1).exchanges.is_empty());
}

#[test] // DC-5
fn nothing_is_asked_before_phase_1_is_over() {
    let mut pair = configured();
    pair.call(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run(Duration::from_millis(45));
    let header = pair.sent.last().unwrap().2[..16].to_vec();
    let rest = [8, 0x10, ExchangeType::TRANSACTION.0, 1, 0, 0, 0, 9, 0, 0, 0, 60];
    let message = [&header[..], &rest, &[7; 32]].concat();
    pair.inject(1, seen(1), &message);
    assert_eq!(pair.right().discarded(Discard::UnexpectedExchange), 1);
    pair.run(secs(1));
    assert_eq!(pair.right().configurable.len(), 1);
}

#[test] // DC-5
fn a_wrong_hash_moves_nothing() {
    let mut pair = connected();
    pair.sides[1].says = Some(policy());
    let body = Transaction { kind: ConfigType::REQUEST, identifier: 0, attributes: address() }.encode();
    let chain = Chain::new().with(PayloadType::ATTRIBUTES, &body).with_front(PayloadType::HASH, &[7; 32]);
    let sender = sa(&pair, 0);
    let (forged, _) = sender.seal(ExchangeType::TRANSACTION, 99, sender.first_iv(99), &chain);
    pair.inject(1, seen(1), &forged);
    assert_eq!(pair.right().discarded(Discard::BadHash), 1);
    // Without a HASH, and with another payload than attributes.
    let bare = Chain::new().with(PayloadType::ATTRIBUTES, &body);
    let (forged, _) = sa(&pair, 0).seal(ExchangeType::TRANSACTION, 99, sa(&pair, 0).first_iv(99), &bare);
    pair.inject(1, seen(1), &forged);
    assert_eq!(pair.right().discarded(Discard::BadHash), 2);
    // The message ID is as good as new.
    say(&mut pair, 0, 99, ConfigType::REQUEST, address());
    pair.run(secs(1));
    assert_eq!(pair.right().asked.len(), 1);
}

#[test] // F-6
fn messages_that_come_back_change_nothing() {
    let mut pair = connected();
    pair.sides[0].says = Some(verdicts());
    pair.sides[1].says = Some(policy());
    let before = pair.sent.len();
    pull(&mut pair);
    push(&mut pair);
    pair.run(secs(1));
    for wait in [secs(0), EXCHANGE_LINGER + secs(1)] {
        pair.run(wait);
        let all = pair.sent[before..].to_vec();
        for (from, _, octets) in all {
            pair.inject(from, seen(from), &octets);
            pair.inject(1 - from, seen(1 - from), &octets);
        }
    }
    assert_eq!(
        (pair.right().asked.len(), pair.left().received.len(), pair.right().acknowledged.len()),
        (1, 2, 1)
    );
    assert!(pair.left().discarded(Discard::MessageIdReused) > 0);
    assert!(pair.right().discarded(Discard::MessageIdReused) > 0);
    pull(&mut pair);
    pair.run(secs(1));
    assert_eq!(pair.left().received.len(), 3);
}

#[test] // F-6
fn a_peer_may_ask_again_under_the_same_message_id_but_not_for_ever() {
    let mut pair = connected();
    pair.sides[1].says = Some(policy());
    for number in 1..=TRANSACTIONS_PER_EXCHANGE_MAX {
        say(&mut pair, 0, 1234, ConfigType::REQUEST, address());
        pair.run(secs(1));
        assert_eq!(pair.right().asked.len(), number as usize);
    }
    let answers = pair.sent.iter().filter(|(side, _, octets)| *side == 1 && octets[18] == 6).count();
    assert_eq!(answers, TRANSACTIONS_PER_EXCHANGE_MAX as usize);
    say(&mut pair, 0, 1234, ConfigType::REQUEST, address());
    assert_eq!(pair.right().discarded(Discard::RateLimited), 1);
    // While a question is open there is no second one under its message ID.
    pair.sides[1].says = None;
    for _ in 0..2 {
        say(&mut pair, 0, 1235, ConfigType::REQUEST, address());
        pair.run(secs(1));
    }
    assert_eq!(pair.right().asked.len(), TRANSACTIONS_PER_EXCHANGE_MAX as usize + 1);
    assert_eq!(pair.right().discarded(Discard::UnexpectedExchange), 1);
}

#[test] // F-6
fn endless_questions_are_refused_and_memory_stays_flat() {
    let mut pair = connected();
    for message_id in 1..5000 {
        say(&mut pair, 0, message_id, ConfigType::REQUEST, address());
        pair.run(Duration::from_millis(1));
    }
    assert_eq!(pair.right().asked.len(), TRANSACTIONS_PER_WINDOW_MAX as usize);
    assert!(sa(&pair, 1).exchanges.len() <= EXCHANGES_MAX);
    assert!(pair.right().discarded(Discard::RateLimited) > 4900);
    // Later it may ask again.
    pair.run(TRANSACTIONS_WINDOW);
    pair.sides[1].says = Some(policy());
    pull(&mut pair);
    pair.run(secs(1));
    assert_eq!(pair.left().received.len(), 1);
}

#[test] // DC-3, DC-11
fn too_many_sets_and_giant_attributes_are_refused_as_a_whole() {
    let mut pair = connected();
    let sets = vec![Attribute { class: config_class::POLICY_SET, ..address()[0].clone() }; SETS_MAX + 1];
    say(&mut pair, 1, 50, ConfigType::SET, sets.clone());
    assert_eq!(pair.left().discarded(Discard::Malformed), 1);
    let many = vec![address()[0].clone(); 2000];
    say(&mut pair, 1, 51, ConfigType::SET, many);
    assert_eq!(pair.left().discarded(Discard::Malformed), 2);
    // As an answer, the question has failed.
    pull(&mut pair);
    let message_id = *sa(&pair, 0).exchanges.keys().next().unwrap();
    say(&mut pair, 1, message_id, ConfigType::REPLY, sets);
    pair.run(secs(1));
    assert_eq!(pair.left().config_failed, [Failure::UnacceptableAnswer]);
    // One giant attribute is one that has no meaning.
    let value = vec![b'x'; 15_000];
    let giant =
        Attribute { class: config_class::BANNER, value: crate::wire::Value::Long(value.clone().into()) };
    say(&mut pair, 1, 52, ConfigType::SET, vec![giant]);
    pair.run(secs(1));
    let expected = vec![ConfigAttribute::Unknown { class: config_class::BANNER, value }];
    assert_eq!(pair.left().received.last().map(|(_, given)| given), Some(&expected));
}

#[test] // DC-3, DC-8
fn a_set_that_is_not_understood_spoils_no_other() {
    let mut pair = connected();
    pair.sides[0].says = Some(verdicts());
    let good = set(1).encode(crate::wire::SplitForm::Long).unwrap();
    let mut octets = good.octets().into_owned();
    octets[3] = 2;
    octets.extend([0x80, 0x0f, 0, 1]);
    let bad = Attribute { class: good.class, value: crate::wire::Value::Long(octets.into()) };
    say(&mut pair, 1, 60, ConfigType::SET, vec![bad, good]);
    pair.run(secs(1));
    let [(Some(_), given)] = &pair.left().received[..] else { panic!("pushed") };
    let [ConfigAttribute::PolicySet(SetMessage::Refused { id: Some(2), reason }), taken] = &given[..] else {
        panic!("{given:?}")
    };
    assert_eq!((reason.as_str(), taken), ("attribute 15 is unknown", &set(1)));
}
