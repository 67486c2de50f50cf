//! Configuration and extended authentication as strongSwan speaks them, captured: every message of the transaction
//! exchange is decrypted along its chain of IVs, its HASH verified, its attributes read.

use crate::crypto::{Cipher, Iv, message_iv, prf};
use crate::testing::{vector, vector_octets};
use crate::transcripts::{messages, octets};
use crate::v1::{protection, transaction, xauth};
use crate::wire::{
    Body, ConfigAttribute as A, ConfigType, ExchangeType, Header, PayloadType, SplitForm, SplitNetwork,
    Transaction,
};
use serde_json::Value;
use std::collections::BTreeMap;
use warren_policy::{Hash, KeyBits, Secret};
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
