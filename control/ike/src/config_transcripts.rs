//! Configuration and extended authentication as strongSwan speaks them, captured: every message of the transaction
//! exchange is decrypted along its chain of IVs, its HASH verified, its attributes read.

use crate::crypto::{Cipher, Cookies, Iv, message_iv, prf};
use crate::testing::{vector, vector_octets};
use crate::transcripts::{messages, octets};
use crate::v1::{protection, transaction, xauth};
use crate::wire::{
    Body, Chain, ConfigAttribute as A, ConfigType, ExchangeType, Header, PayloadType, SetMessage, SplitForm,
    SplitNetwork, Transaction,
};
use serde_json::Value;
use std::collections::BTreeMap;
use warren_policy::selector::{AddressRange, PortRange, Protocol};
use warren_policy::{EspTransform, Group, Hash, KeyBits, Lifetime, PolicySet, SaMode, Secret, TrafficEnd};
use zeroize::Zeroizing;

/// One message of the transaction exchange.
struct Said {
    message_id: u32,
    transaction: Transaction<'static>,
    meaning: Vec<A>,
}

/// Captures and transcripts say `ka` and `skeyid_a`; all are AES-CBC with SHA2-256.
fn transactions(capture: &str, keys: &Value) -> Vec<Said> {
    let ka = Zeroizing::new(octets(&keys["ka"]));
    let bits = KeyBits::from_bits(ka.len() as u16 * 8).unwrap();
    let cipher = Cipher::new(bits, ka);
    let skeyid_a = octets(&keys["skeyid_a"]);
    let mut main_iv = Iv::default();
    let mut ivs: BTreeMap<u32, Iv> = BTreeMap::new();
    let mut said = Vec::new();
    for message in messages(&vector_octets(capture)) {
        let (header, ciphertext) = Header::decode(&message).unwrap();
        if header.is_encrypted() && header.message_id == 0 {
            main_iv = *ciphertext.last_chunk().unwrap();
        }
        if header.exchange != ExchangeType::TRANSACTION {
            continue;
        }
        let id = header.message_id;
        let iv = ivs.get(&id).copied().unwrap_or_else(|| message_iv(Hash::Sha256, &main_iv, id));
        let (plain, next) = protection::open(&cipher, iv, &header, &message).unwrap();
        ivs.insert(id, next);
        let body = Body::decode(header.next_payload, &plain).unwrap();
        let [hash, attributes] = body.payloads() else { panic!("a HASH and attributes") };
        assert_eq!((hash.kind, attributes.kind), (PayloadType::HASH, PayloadType::ATTRIBUTES));
        // draft-dukes-ike-mode-cfg §3.1: prf(SKEYID_a, M-ID | ATTR).
        let expected = prf(Hash::Sha256, &skeyid_a, &[&id.to_be_bytes(), attributes.raw]);
        assert_eq!(hash.body, &expected[..], "{capture}");
        let transaction = Transaction::decode(attributes.body).unwrap();
        assert_eq!(transaction.encode(), attributes.body, "written again, the same octets");
        let meaning = A::decode_all(transaction.kind, &transaction.attributes).unwrap();
        let written = A::encode_all(&meaning, SplitForm::Short).unwrap();
        // All but the status of extended authentication, a short number, which has no meaning as configuration.
        let is_status = |class: u16| class == crate::wire::iana::xauth_class::STATUS;
        for (one, other) in written.iter().zip(&transaction.attributes) {
            assert!(is_status(one.class) || one == other, "{one:?}");
        }
        let Transaction { kind, identifier, attributes } = transaction;
        let attributes = attributes.into_iter().map(crate::wire::Attribute::into_owned).collect();
        said.push(Said {
            message_id: id,
            transaction: Transaction { kind, identifier, attributes },
            meaning,
        });
    }
    said
}

fn captured(case: &str) -> Vec<Said> {
    let keys = vector(&format!("captures/{case}/keys.json"));
    transactions(&format!("captures/{case}/ike.pcap"), &keys["ike"][0])
}

fn given() -> Vec<A> {
    vec![
        A::Ip4Address(Some([10, 3, 0, 10].into())),
        A::Ip4Dns(Some([10, 2, 0, 53].into())),
        A::Ip4Dns(Some([10, 2, 0, 54].into())),
    ]
}

fn meanings(said: &[Said]) -> Vec<(u32, ConfigType, Vec<A>)> {
    said.iter().map(|one| (one.message_id, one.transaction.kind, one.meaning.clone())).collect()
}

#[test] // DC-5, DC-7, DC-24
fn strongswans_pull_reads_as_it_was_meant() {
    let said = captured("ikev1-main-modecfg-pull");
    let expected = [
        (0xc832_9745, ConfigType::REQUEST, vec![A::Ip4Address(None)]),
        (0xc832_9745, ConfigType::REPLY, given()),
    ];
    assert_eq!(meanings(&said), expected);
}

#[test] // DC-5, DC-8, DC-24
fn strongswans_push_reads_as_it_was_meant() {
    let said = captured("ikev1-main-modecfg-push");
    let expected =
        [(0xe0f6_f581, ConfigType::SET, given()), (0xe0f6_f581, ConfigType::ACK, vec![A::Ip4Address(None)])];
    assert_eq!(meanings(&said), expected);
}

#[test] // DC-5, DC-24
fn a_split_include_of_strongswans_pool_reads_as_it_was_meant() {
    let transcript = vector("transcripts/d02-ikev1-main-psk-modecfg-pull.json");
    let said = transactions("transcripts/d02-ikev1-main-psk-modecfg-pull.pcap", &transcript);
    let network = SplitNetwork {
        address: [10, 92, 0, 0].into(),
        mask: [255, 255, 255, 0].into(),
        protocol: 0,
        source_port: 0,
        destination_port: 0,
    };
    let reply = vec![
        A::Ip4Address(Some([10, 93, 0, 17].into())),
        A::Ip4Dns(Some([10, 92, 0, 53].into())),
        A::Ip4Dns(Some([10, 92, 0, 54].into())),
        A::SplitInclude(Some(vec![network])),
    ];
    let expected = [
        (0x9c14_0ff8, ConfigType::REQUEST, vec![A::Ip4Address(None)]),
        (0x9c14_0ff8, ConfigType::REPLY, reply),
    ];
    assert_eq!(meanings(&said), expected);
}

#[test] // DC-5, DC-6
fn strongswans_extended_authentication_reads_as_it_was_meant() {
    let said = captured("ikev1-main-xauth-pull");
    let shape: Vec<_> = said.iter().map(|one| (one.message_id, one.transaction.kind)).collect();
    let (request, reply, set, ack) =
        (ConfigType::REQUEST, ConfigType::REPLY, ConfigType::SET, ConfigType::ACK);
    let expected = [
        (0xda5b_0f16, request),
        (0xda5b_0f16, reply),
        (0xd65b_b582, set),
        (0xd65b_b582, ack),
        (0x207b_e374, request),
        (0x207b_e374, reply),
    ];
    assert_eq!(shape, expected);
    let [question, answer, judgement, acknowledgement, pull, config] = &said[..] else { panic!("six") };
    // Octet for octet what we say in their place.
    assert_eq!(question.transaction.attributes, xauth::question());
    let password = Secret::new(b"wonderland".to_vec());
    assert_eq!(answer.transaction.attributes, xauth::answer(&question.transaction, "alice", &password));
    let users = [("alice".to_owned(), password)].into();
    assert_eq!(xauth::judge(&users, &answer.transaction).as_deref(), Some("alice"));
    assert_eq!(judgement.transaction.attributes, xauth::judgement(true));
    assert_eq!(xauth::judged(&judgement.transaction), Some(true));
    assert_eq!(acknowledgement.transaction.attributes, xauth::acknowledgement());
    assert!([question, answer, judgement, acknowledgement].iter().all(|one| xauth::is_in(&one.transaction)));
    assert!(![pull, config].iter().any(|one| xauth::is_in(&one.transaction)));
    assert_eq!((&pull.meaning, &config.meaning), (&vec![A::Ip4Address(None)], &given()));
    assert_eq!((transaction::answer(request), transaction::answer(set)), (reply, ack));
}

/// The octets of one example of the page about the wire: what stands in front of the bars.
fn example(page: &str, name: &str) -> Vec<u8> {
    let block = page.split(&format!("```hex {name}\n")).nth(1).and_then(|rest| rest.split("```").next());
    let lines = block.unwrap_or_else(|| panic!("no example {name}")).lines();
    let digits: String = lines.filter_map(|line| line.split('|').next()).collect();
    hex::decode(digits.replace(' ', "")).unwrap()
}

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/config-mode.md")).unwrap()
}

#[test] // DC-9, DC-11, DC-23
fn the_example_of_the_page_is_what_we_write_and_read() {
    let page = page();
    let body = example(&page, "attributes");
    let transaction = Transaction::decode(&body).unwrap();
    let meaning = A::decode_all(transaction.kind, &transaction.attributes).unwrap();
    assert_eq!(transaction.identifier, 0x1234);
    let end = |network: [[u8; 4]; 2], protocol, port| TrafficEnd {
        addresses: AddressRange::new(network[0].into(), network[1].into()).unwrap(),
        protocol,
        ports: port,
    };
    let set = PolicySet {
        id: 7,
        name: "office".to_owned(),
        local: vec![end([[10, 3, 0, 10]; 2], Protocol::Any, PortRange::ANY)],
        remote: vec![end(
            [[10, 2, 0, 0], [10, 2, 0, 255]],
            Protocol::Is(6),
            PortRange::new(443, 443).unwrap(),
        )],
        mode: SaMode::Tunnel,
        transforms: vec![
            EspTransform::AesGcm16(KeyBits::B256),
            EspTransform::AesCbcHmac(KeyBits::B128, Hash::Sha256),
        ],
        pfs: Some(Group::Ecp256),
        lifetime: Lifetime { seconds: 3600, kilobytes: Some(1_000_000) },
        gateway: None,
        parent: None,
    };
    let network = SplitNetwork {
        address: [10, 2, 0, 0].into(),
        mask: [255, 255, 255, 0].into(),
        protocol: 6,
        source_port: 0,
        destination_port: 443,
    };
    let expected = vec![
        A::PolicyVersion(Some(1)),
        A::Ip4Address(Some([10, 3, 0, 10].into())),
        A::Ip4Dns(Some([10, 2, 0, 53].into())),
        A::PolicySet(SetMessage::Offered(Box::new(set))),
        A::SplitInclude(Some(vec![network])),
    ];
    assert_eq!(meaning, expected);
    assert_eq!(A::encode_all(&expected, SplitForm::Long).unwrap(), transaction.attributes);
    assert_eq!(transaction.encode(), body);

    // The message around it.
    let count = |from: u8, octets: u8| (from..from + octets).collect::<Vec<u8>>();
    let cookies = Cookies {
        initiator: count(0x40, 8).try_into().unwrap(),
        responder: count(0x48, 8).try_into().unwrap(),
    };
    let chain = Chain::new().with(PayloadType::ATTRIBUTES, &body);
    let id = 0x5741_5252_u32;
    let hash = prf(Hash::Sha256, &count(0, 32), &[&id.to_be_bytes(), chain.octets()]);
    let chain = chain.with_front(PayloadType::HASH, &hash);
    assert_eq!(hex::encode(chain.octets()), hex::encode(example(&page, "plaintext")));
    let cipher = Cipher::new(KeyBits::B128, Zeroizing::new(count(0x20, 16)));
    let iv: Iv = count(0x50, 16).try_into().unwrap();
    let header = crate::v1::main_mode::header(cookies, ExchangeType::TRANSACTION, id);
    let (message, _) = protection::seal(&cipher, iv, header, &chain);
    assert_eq!(hex::encode(&message), hex::encode(example(&page, "message")));
}

/// Rows of the tables of attributes, as far as their numbers.
fn numbers() -> Vec<String> {
    use crate::wire::iana::{config_class as c, set_class as s, xauth_class as x};
    let rows = [
        ("INTERNAL_IP4_ADDRESS", c::IP4_ADDRESS),
        ("INTERNAL_IP4_NETMASK", c::IP4_NETMASK),
        ("INTERNAL_IP4_DNS", c::IP4_DNS),
        ("APPLICATION_VERSION", c::APPLICATION_VERSION),
        ("INTERNAL_IP6_ADDRESS", c::IP6_ADDRESS),
        ("INTERNAL_IP6_DNS", c::IP6_DNS),
        ("INTERNAL_IP4_SUBNET", c::IP4_SUBNET),
        ("SUPPORTED_ATTRIBUTES", c::SUPPORTED_ATTRIBUTES),
        ("INTERNAL_IP6_SUBNET", c::IP6_SUBNET),
        ("XAUTH_TYPE", x::TYPE),
        ("XAUTH_USER_NAME", x::USER_NAME),
        ("XAUTH_USER_PASSWORD", x::USER_PASSWORD),
        ("XAUTH_PASSCODE", x::PASSCODE),
        ("XAUTH_MESSAGE", x::MESSAGE),
        ("XAUTH_STATUS", x::STATUS),
        ("WARREN_POLICY_VERSION", c::POLICY_VERSION),
        ("WARREN_POLICY_SET", c::POLICY_SET),
        ("WARREN_POLICY_ERROR", c::POLICY_ERROR),
        ("UNITY_BANNER", c::BANNER),
        ("UNITY_DEF_DOMAIN", c::DEFAULT_DOMAIN),
        ("UNITY_SPLITDNS_NAME", c::SPLIT_DNS),
        ("UNITY_SPLIT_INCLUDE", c::SPLIT_INCLUDE),
        ("set id", s::ID),
        ("name", s::NAME),
        ("local selector", s::LOCAL),
        ("remote selector", s::REMOTE),
        ("protocol", s::PROTOCOL),
        ("mode", s::MODE),
        ("transform", s::TRANSFORM),
        ("PFS group", s::PFS),
        ("lifetime in seconds", s::SECONDS),
        ("lifetime in kilobytes", s::KILOBYTES),
        ("gateway", s::GATEWAY),
        ("parent", s::PARENT),
        ("refusal", s::REFUSAL),
    ];
    rows.iter().map(|(name, number)| format!("| {name} | {number} | ")).collect()
}

#[test]
fn the_numbers_of_the_page_are_the_numbers_of_the_code() {
    use crate::limits::{
        CONFIG_ANSWER_LIFE, EXCHANGE_LINGER, GUESSES_PER_SOURCE_MAX, GUESSES_PER_USER_MAX, GUESSES_WINDOW,
        MESSAGE_OCTETS_MAX, TRANSACTIONS_PER_EXCHANGE_MAX, TRANSACTIONS_PER_WINDOW_MAX, TRANSACTIONS_WINDOW,
        XAUTH_PATIENCE,
    };
    use crate::wire::limits::*;
    let page = page();
    let mut expected = numbers();
    for (what, limit) in [
        ("a message: octets", MESSAGE_OCTETS_MAX),
        ("a message: attributes", CONFIG_ATTRIBUTES_MAX),
        ("a message: policy sets", SETS_MAX),
        ("a set: selectors of one side", SELECTORS_MAX),
        ("a set: transforms", SET_TRANSFORMS_MAX),
        ("a set: octets of the name", NAME_OCTETS_MAX),
        ("a refusal: octets, the rest is cut off", REASON_OCTETS_MAX),
        ("a text: octets", TEXT_OCTETS_MAX),
        ("UNITY_SPLIT_INCLUDE: entries", SPLIT_NETWORKS_MAX),
        ("UNITY_SPLITDNS_NAME: names", SPLIT_NAMES_MAX),
        ("transactions that a peer begins under one message ID", TRANSACTIONS_PER_EXCHANGE_MAX as usize),
        (
            "transactions that a peer begins under one ISAKMP SA within 60 s",
            TRANSACTIONS_PER_WINDOW_MAX as usize,
        ),
        ("wrong passwords for one user within 60 s", GUESSES_PER_USER_MAX as usize),
        ("wrong passwords from one source within 60 s", GUESSES_PER_SOURCE_MAX as usize),
        (
            "seconds in which a question must be answered by the server's policy",
            CONFIG_ANSWER_LIFE.as_secs() as usize,
        ),
    ] {
        expected.push(format!("| {what} | {limit} |"));
    }
    expected.push(format!("0x{}", hex::encode(crate::wire::vendor::UNITY)));
    expected.push(format!("0x{}", hex::encode(crate::wire::vendor::POLICY)));
    expected.push(format!("not asked within {} s", XAUTH_PATIENCE.as_secs()));
    expected.push(format!("remembered ({} s after", EXCHANGE_LINGER.as_secs()));
    assert_eq!((TRANSACTIONS_WINDOW.as_secs(), GUESSES_WINDOW.as_secs()), (60, 60));
    for line in expected {
        assert!(page.contains(&line), "{line}");
    }
}
