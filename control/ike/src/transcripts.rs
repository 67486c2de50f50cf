//! Conversations of two strongSwan gateways, captured: every key is derived again, every message decrypted, every
//! HASH verified, with the code that negotiates.

use crate::crypto::{Cookies, Iv, PhaseOneKeys, PhaseOneParts, initial_iv, keymat, message_iv};
use crate::testing::{Seeded, vector, vector_octets};
use crate::v1::{esp_sa, nat, phase_one, protection};
use crate::wire::{Body, ExchangeType, Header, PayloadType, Sa};
use crate::{Discard, Endpoint, NatTraversal, Output, Path, PeerConfig, Retransmit};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use warren_policy::{IkeProposal, PeerId, Secret};
use zeroize::Zeroizing;

/// The IKE messages of a classic little-endian capture on Ethernet, IPv4 and UDP.
pub(crate) fn messages(capture: &[u8]) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    let mut rest = &capture[24..];
    while rest.len() >= 16 {
        let length = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        let frame = &rest[16..16 + length];
        rest = &rest[16 + length..];
        if frame[12..14] != [8, 0] || frame[23] != 17 {
            continue;
        }
        let udp = &frame[14 + usize::from(frame[14] & 15) * 4..];
        let port = |at: usize| u16::from_be_bytes([udp[at], udp[at + 1]]);
        let payload = &udp[8..usize::from(port(4))];
        match (port(0), port(2)) {
            (500, _) | (_, 500) => messages.push(payload.to_vec()),
            (4500, _) | (_, 4500) if payload.starts_with(&[0; 4]) => messages.push(payload[4..].to_vec()),
            _ => {}
        }
    }
    messages
}

pub(crate) fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

/// What is known of a capture from elsewhere.
struct Known {
    secret: Vec<u8>,
    /// g^xy by initiator's cookie.
    shared: BTreeMap<[u8; 8], Vec<u8>>,
    /// g(qm)^xy, in the order of the quick modes; empty without PFS.
    pfs: Vec<Vec<u8>>,
}

#[derive(Default)]
struct Quick {
    nonces: Vec<Vec<u8>>,
    spis: Vec<u32>,
}

/// One ISAKMP SA, as a listener with the secrets sees it.
struct Listener {
    proposal: IkeProposal,
    cookies: Cookies,
    sa: Vec<u8>,
    publics: Vec<Vec<u8>>,
    nonces: Vec<Vec<u8>>,
    keys: Option<PhaseOneKeys>,
    main_iv: Iv,
    ivs: BTreeMap<u32, Iv>,
    quick: BTreeMap<u32, Quick>,
    authenticated: usize,
}

/// KEYMAT by SPI, and how many messages of each kind were verified.
#[derive(Default)]
struct Heard {
    keymat: BTreeMap<u32, Vec<u8>>,
    skeyids: BTreeMap<[u8; 8], [Vec<u8>; 2]>,
    verified: BTreeMap<u8, usize>,
}

fn listen(capture: &[u8], known: &Known) -> Heard {
    let mut listeners: BTreeMap<[u8; 8], Listener> = BTreeMap::new();
    let mut heard = Heard::default();
    let mut quick_modes = 0;
    for message in messages(capture) {
        let (header, body) = Header::decode(&message).unwrap();
        let cookies = Cookies { initiator: header.cookie_i, responder: header.cookie_r };
        if !header.is_encrypted() {
            let body = Body::decode(header.next_payload, body).unwrap();
            hear_clear(&mut listeners, cookies, &body, known, &mut heard);
            continue;
        }
        let listener = listeners.get_mut(&header.cookie_i).unwrap();
        *heard.verified.entry(header.exchange.0).or_default() += 1;
        let keys = listener.keys.take().unwrap();
        hear_sealed(listener, &keys, &header, &message, known, (&mut heard, &mut quick_modes));
        listener.keys = Some(keys);
    }
    heard
}

fn hear_clear(
    listeners: &mut BTreeMap<[u8; 8], Listener>,
    cookies: Cookies,
    body: &Body<'_>,
    known: &Known,
    heard: &mut Heard,
) {
    let one = |kind| body.first(kind).map(|payload| payload.body);
    if let Some(sa) = one(PayloadType::SA) {
        let proposals: Vec<IkeProposal> =
            ["aes128-sha256-modp2048", "aes128-sha1-modp2048", "aes256-sha256-modp2048"]
                .iter()
                .map(|text| text.parse().unwrap())
                .collect();
        let (agreed, answer) = phase_one::choose(&proposals, 1, 86_400, sa).unwrap();
        // One transform was offered, so that our choice is the responder's: the same octets.
        assert_eq!(answer, sa);
        assert_eq!(phase_one::accept(&proposals, 1, 86_400, sa).unwrap(), agreed);
        let proposal = agreed.proposal;
        let listener = listeners.entry(cookies.initiator).or_insert_with(|| Listener {
            proposal,
            cookies,
            sa: sa.to_vec(),
            publics: Vec::new(),
            nonces: Vec::new(),
            keys: None,
            main_iv: Iv::default(),
            ivs: BTreeMap::new(),
            quick: BTreeMap::new(),
            authenticated: 0,
        });
        listener.cookies = cookies;
    }
    let Some(public) = one(PayloadType::KEY_EXCHANGE) else { return };
    let listener = listeners.get_mut(&cookies.initiator).unwrap();
    if listener.publics.iter().any(|known| known == public) {
        return;
    }
    listener.publics.push(public.to_vec());
    listener.nonces.push(one(PayloadType::NONCE).unwrap().to_vec());
    if let [initiator, responder] = &listener.publics[..] {
        let shared = &known.shared[&cookies.initiator];
        let nonces = (&listener.nonces[0][..], &listener.nonces[1][..]);
        let keys = PhaseOneKeys::from_secret(listener.proposal, &known.secret, nonces, shared, cookies);
        heard.skeyids.insert(cookies.initiator, [keys.skeyid_e.to_vec(), keys.cipher().key().to_vec()]);
        listener.main_iv = initial_iv(listener.proposal.hash, initiator, responder);
        listener.keys = Some(keys);
    }
}

fn hear_sealed(
    listener: &mut Listener,
    keys: &PhaseOneKeys,
    header: &Header,
    message: &[u8],
    known: &Known,
    (heard, quick_modes): (&mut Heard, &mut usize),
) {
    let id = header.message_id;
    let first = message_iv(listener.proposal.hash, &listener.main_iv, id);
    let iv = if id == 0 { listener.main_iv } else { *listener.ivs.get(&id).unwrap_or(&first) };
    let (plain, next) = protection::open(keys.cipher(), iv, header, message).unwrap();
    let body = Body::decode(header.next_payload, &plain).unwrap();
    let one = |kind| body.first(kind).map(|payload| payload.body);
    let hash = one(PayloadType::HASH).unwrap();
    if id == 0 {
        let parts = PhaseOneParts {
            initiator_public: &listener.publics[0],
            responder_public: &listener.publics[1],
            sa: &listener.sa,
            cookies: listener.cookies,
        };
        let identity = one(PayloadType::IDENTIFICATION).unwrap();
        let expected = match listener.authenticated {
            0 => keys.hash_i(&parts, identity),
            _ => keys.hash_r(&parts, identity),
        };
        assert_eq!(hash, &expected[..]);
        listener.authenticated += 1;
        listener.main_iv = next;
        return;
    }
    listener.ivs.insert(id, next);
    if header.exchange != ExchangeType::QUICK {
        assert_eq!(hash, &keys.hash_1(id, body.after_first())[..]);
        return;
    }
    let quick = listener.quick.entry(id).or_default();
    let expected = match &quick.nonces[..] {
        [] => keys.hash_1(id, body.after_first()),
        [initiator] => keys.hash_2(id, initiator, body.after_first()),
        [initiator, responder, ..] => keys.hash_3(id, initiator, responder),
    };
    assert_eq!(hash, &expected[..], "quick mode message {}", quick.nonces.len() + 1);
    if let (Some(sa), Some(nonce)) = (one(PayloadType::SA), one(PayloadType::NONCE)) {
        quick.nonces.push(nonce.to_vec());
        quick.spis.push(Sa::decode(sa).unwrap().proposals[0].spi_u32().unwrap());
    } else {
        let shared = known.pfs.get(*quick_modes).map(|shared| &shared[..]);
        *quick_modes += 1;
        for spi in &quick.spis {
            let nonces = (&quick.nonces[0][..], &quick.nonces[1][..]);
            heard.keymat.insert(*spi, keymat(keys, shared, 3, *spi, nonces, 128).to_vec());
        }
    }
}

fn cookie(value: &Value) -> [u8; 8] {
    octets(value).try_into().unwrap()
}

fn check_capture(case: &str, quick_modes: usize) -> Heard {
    let keys = vector(&format!("captures/{case}/keys.json"));
    let ikes = keys["ike"].as_array().unwrap();
    let pfs = match case {
        "ikev1-main-rekey-pfs-dpd" => {
            let pfs = vector(&format!("captures/{case}/pfs.json"));
            pfs["quick_mode_dh"].as_array().unwrap().iter().map(octets).collect()
        }
        _ => Vec::new(),
    };
    let known = Known {
        secret: b"warren-test-psk".to_vec(),
        shared: ikes.iter().map(|ike| (cookie(&ike["spi_i"]), octets(&ike["dh"]))).collect(),
        pfs,
    };
    let heard = listen(&vector_octets(&format!("captures/{case}/ike.pcap")), &known);
    assert_eq!(heard.skeyids.len(), ikes.len());
    for ike in ikes {
        let [skeyid_e, ka] = &heard.skeyids[&cookie(&ike["spi_i"])];
        assert_eq!((skeyid_e, ka), (&octets(&ike["skeyid_e"]), &octets(&ike["ka"])));
    }
    assert_eq!(heard.verified[&2], 2 * ikes.len());
    assert_eq!(heard.verified[&32], 3 * quick_modes);
    let children = keys["child"].as_array().unwrap();
    assert_eq!(children.len(), quick_modes);
    for sa in children.iter().flat_map(|child| [&child["inbound"], &child["outbound"]]) {
        let spi = u32::from_str_radix(sa["spi"].as_str().unwrap(), 16).unwrap();
        let expected = [octets(&sa["enc_key"]), octets(&sa["int_key"])].concat();
        assert_eq!(heard.keymat[&spi][..expected.len()], expected);
    }
    heard
}

#[test]
fn aes_gcm_and_aes_cbc_children_come_out() {
    check_capture("ikev1-main-aes128gcm", 1);
    check_capture("ikev1-main-aes128cbc-sha256", 1);
}

#[test]
fn three_quick_modes_with_pfs_under_two_isakmp_sas_come_out() {
    let heard = check_capture("ikev1-main-rekey-pfs-dpd", 3);
    assert!(heard.verified[&5] > 4, "dead peer detection and Delete");
}

#[test]
fn mode_configuration_in_between_does_not_disturb_the_chain_of_ivs() {
    for case in ["ikev1-main-modecfg-pull", "ikev1-main-modecfg-push"] {
        let heard = check_capture(case, 1);
        assert!(heard.verified[&6] >= 2, "{case}");
    }
}

#[test]
fn the_transcripts_come_out_down_to_the_last_payload() {
    for case in ["d01-ikev1-main-psk-aes128-sha1-modp2048", "d02-ikev1-main-psk-modecfg-pull"] {
        let transcript = vector(&format!("transcripts/{case}.json"));
        let known = Known {
            secret: transcript["psk"].as_str().unwrap().as_bytes().to_vec(),
            shared: [(cookie(&transcript["cky_i"]), octets(&transcript["dh_shared_secret"]))].into(),
            pfs: Vec::new(),
        };
        let heard = listen(&vector_octets(&format!("transcripts/{case}.pcap")), &known);
        let [skeyid_e, ka] = &heard.skeyids[&cookie(&transcript["cky_i"])];
        assert_eq!((skeyid_e, ka), (&octets(&transcript["skeyid_e"]), &octets(&transcript["ka"])));
        for child in transcript["child_sas"].as_array().unwrap() {
            let spi = u32::from_str_radix(child["spi"].as_str().unwrap(), 16).unwrap();
            let expected = octets(&child["keymat"]);
            assert_eq!(heard.keymat[&spi][..expected.len()], expected, "{case}");
        }
        let sealed: usize = heard.verified.values().sum();
        let all = transcript["messages"].as_array().unwrap();
        assert_eq!(sealed, all.iter().filter(|message| message["encrypted"] == true).count());
    }
}

/// An aggressive mode with its quick mode, listened to with the secrets: the conversation, and what is known of it.
fn check_aggressive(capture: &[u8], proposal: IkeProposal, secret: &[u8], shared: &[u8]) -> [Vec<u8>; 5] {
    let all = messages(capture);
    let opening: Vec<_> = all.iter().filter(|message| message[18] == 4).collect();
    let [first, second, third] = &opening[..] else { panic!("{} messages", opening.len()) };
    let clear = |message: &'_ [u8], kind| {
        let (header, body) = Header::decode(message).unwrap();
        let body = Body::decode(header.next_payload, body).unwrap();
        body.first(kind).map(|payload| payload.body.to_vec()).unwrap()
    };
    let cookies =
        Cookies { initiator: second[..8].try_into().unwrap(), responder: second[8..16].try_into().unwrap() };
    let (ke_i, ke_r) = (clear(first, PayloadType::KEY_EXCHANGE), clear(second, PayloadType::KEY_EXCHANGE));
    let (ni, nr) = (clear(first, PayloadType::NONCE), clear(second, PayloadType::NONCE));
    let sa = clear(first, PayloadType::SA);
    let (agreed, answer) = phase_one::choose(&[proposal], 1, 86_400, &sa).unwrap();
    assert_eq!(phase_one::accept(&[proposal], 1, 86_400, &clear(second, PayloadType::SA)), Ok(agreed));
    assert_eq!(answer, clear(second, PayloadType::SA), "the same choice, octet for octet");
    let keys = PhaseOneKeys::from_secret(proposal, secret, (&ni, &nr), shared, cookies);
    let parts = PhaseOneParts { initiator_public: &ke_i, responder_public: &ke_r, sa: &sa, cookies };
    let hash_r = keys.hash_r(&parts, &clear(second, PayloadType::IDENTIFICATION));
    assert_eq!(*hash_r, clear(second, PayloadType::HASH));
    let hash_i = keys.hash_i(&parts, &clear(first, PayloadType::IDENTIFICATION));
    let iv = initial_iv(proposal.hash, &ke_i, &ke_r);
    let (header, _) = Header::decode(third).unwrap();
    let (plain, last) = protection::open(keys.cipher(), iv, &header, third).unwrap();
    let body = Body::decode(header.next_payload, &plain).unwrap();
    assert_eq!(body.first(PayloadType::HASH).unwrap().body, &hash_i[..]);
    assert_eq!(body.all(PayloadType::NAT_D).count(), 2, "NAT-D travel in messages 2 and 3 (RFC 3947 §4)");
    // The IV of quick mode continues the last block of message 3.
    let quick = all.iter().find(|message| message[18] == 32).unwrap();
    let (header, _) = Header::decode(quick).unwrap();
    let iv = message_iv(proposal.hash, &last, header.message_id);
    let (plain, _) = protection::open(keys.cipher(), iv, &header, quick).unwrap();
    let body = Body::decode(header.next_payload, &plain).unwrap();
    let hash_1 = keys.hash_1(header.message_id, body.after_first());
    assert_eq!(body.first(PayloadType::HASH).unwrap().body, &hash_1[..]);
    [
        keys.skeyid_e.to_vec(),
        keys.cipher().key().to_vec(),
        hash_i.to_vec(),
        hash_r.to_vec(),
        iv_of(&ke_i, &ke_r, proposal),
    ]
}

fn iv_of(ke_i: &[u8], ke_r: &[u8], proposal: IkeProposal) -> Vec<u8> {
    initial_iv(proposal.hash, ke_i, ke_r).to_vec()
}

#[test] // DC-20
fn aggressive_mode_of_strongswan_comes_out_down_to_its_quick_mode() {
    let case = "transcripts/d03-ikev1-aggressive-psk-aes256-sha256";
    let transcript = vector(&format!("{case}.json"));
    let known = |name: &str| octets(&transcript[name]);
    let heard = check_aggressive(
        &vector_octets(&format!("{case}.pcap")),
        "aes256-sha256-modp2048".parse().unwrap(),
        transcript["psk"].as_str().unwrap().as_bytes(),
        &known("dh_shared_secret"),
    );
    assert_eq!(heard, ["skeyid_e", "ka", "hash_i", "hash_r", "iv0"].map(known));

    let case = "captures/ikev1-aggr-aes128gcm";
    let keys = vector(&format!("{case}/keys.json"));
    let known = |name: &str| octets(&keys["ike"][0][name]);
    let heard = check_aggressive(
        &vector_octets(&format!("{case}/ike.pcap")),
        "aes128-sha256-modp2048".parse().unwrap(),
        b"warren-test-psk",
        &known("dh"),
    );
    assert_eq!(heard[..2], ["skeyid_e", "ka"].map(known));
}

#[test] // RFC 3947 §4
fn the_nat_d_payloads_of_the_third_aggressive_message_name_the_ports_it_travels_between() {
    let transcript = vector("transcripts/d03-ikev1-aggressive-psk-aes256-sha256.json");
    let cookies =
        Cookies { initiator: cookie(&transcript["cky_i"]), responder: cookie(&transcript["cky_r"]) };
    let path =
        |local: &str, remote: &str| Path { local: local.parse().unwrap(), remote: remote.parse().unwrap() };
    let on_500 = path("10.9.0.2:500", "10.9.0.1:500");
    let on_4500 = path("10.9.0.1:500", "10.9.0.2:500").floated();
    for (message, path) in [(1, on_500), (2, on_4500)] {
        let payloads = transcript["messages"][message]["payloads"].as_array().unwrap();
        let nat_d = payloads.iter().find(|payload| payload["type"] == 20).unwrap();
        let [destination, _] = nat::payloads(warren_policy::Hash::Sha256, cookies, path, NatTraversal::Auto);
        assert_eq!(octets(&nat_d["body"]), destination, "message {}", message + 1);
    }
}

#[test] // F-1: what a stranger gets in aggressive mode is enough to try secrets
fn a_published_hash_r_of_aggressive_mode_comes_out() {
    let rows = vector("kdf/ikev1_aggressive_psk_hash_r.json");
    let mut seen = 0;
    for row in rows.as_array().unwrap() {
        let known = |name: &str| octets(&row[name]);
        let proposal: IkeProposal =
            format!("aes128-{}-modp2048", row["hash"].as_str().unwrap()).parse().unwrap();
        let cookies = Cookies { initiator: cookie(&row["cky_i"]), responder: cookie(&row["cky_r"]) };
        let (ni, nr, ke_i, ke_r, sa) =
            (known("ni_b"), known("nr_b"), known("g_xi"), known("g_xr"), known("sai_b"));
        let parts = PhaseOneParts { initiator_public: &ke_i, responder_public: &ke_r, sa: &sa, cookies };
        let hash_r = |secret: &[u8]| {
            // HASH_R does not depend on g^xy.
            let keys = PhaseOneKeys::from_secret(proposal, secret, (&ni, &nr), &[], cookies);
            keys.hash_r(&parts, &known("idir_b")).to_vec()
        };
        assert_eq!(hash_r(row["psk"].as_str().unwrap().as_bytes()), known("hash_r"));
        assert_ne!(hash_r(b"another"), known("hash_r"));
        seen += 1;
    }
    assert!(seen >= 1);
}

#[test] // DC-20
fn an_endpoint_answers_strongswans_aggressive_mode() {
    let all = messages(&vector_octets("captures/ikev1-aggr-aes128gcm/ike.pcap"));
    let config = PeerConfig { mode: crate::Mode::Aggressive, ..strongswan() };
    let mut endpoint = Endpoint::new(vec![config], Vec::new(), Box::new(Seeded::new(1)));
    let path =
        Path { local: "198.51.100.2:500".parse().unwrap(), remote: "198.51.100.1:500".parse().unwrap() };
    endpoint.handle_datagram(Duration::ZERO, path, &all[0]);
    let Some(Output::Transmit { octets, .. }) = endpoint.poll_output() else { panic!("an answer") };
    let kinds = |message: &[u8]| {
        let (header, body) = Header::decode(message).unwrap();
        let body = Body::decode(header.next_payload, body).unwrap();
        let mut kinds: Vec<_> = body.payloads().iter().map(|payload| payload.kind).collect();
        kinds.retain(|kind| *kind != PayloadType::VENDOR_ID);
        kinds.sort();
        (body.first(PayloadType::SA).unwrap().body.to_vec(), kinds)
    };
    assert_eq!(kinds(&octets), kinds(&all[1]), "the same choice and the same payloads as strongSwan's own");
    assert_eq!(endpoint.counters().key_exchanges, 1);
}

#[test]
fn under_the_wrong_secret_message_5_is_noise() {
    let transcript = vector("transcripts/d07-ikev1-main-psk-wrong-psk.json");
    let capture = vector_octets("transcripts/d07-ikev1-main-psk-wrong-psk.pcap");
    let proposal: IkeProposal = "aes128-sha1-modp2048".parse().unwrap();
    let cookies =
        Cookies { initiator: cookie(&transcript["cky_i"]), responder: cookie(&transcript["cky_r"]) };
    let (ni, nr) = (octets(&transcript["ni"]), octets(&transcript["nr"]));
    let (ke_i, ke_r) = (octets(&transcript["ke_i"]), octets(&transcript["ke_r"]));
    let shared = octets(&transcript["dh_shared_secret"]);
    let sa = octets(&transcript["sa_i_body"]);
    let fifth = messages(&capture).into_iter().find(|message| message[19] & 1 == 1).unwrap();
    let (header, _) = Header::decode(&fifth).unwrap();
    let open = |secret: &Value| {
        let keys = PhaseOneKeys::from_secret(
            proposal,
            secret.as_str().unwrap().as_bytes(),
            (&ni, &nr),
            &shared,
            cookies,
        );
        let iv = initial_iv(proposal.hash, &ke_i, &ke_r);
        let (plain, _) = protection::open(keys.cipher(), iv, &header, &fifth).unwrap();
        let body = Body::decode(header.next_payload, &plain).map_err(|_| Discard::Undecryptable)?;
        let parts = PhaseOneParts { initiator_public: &ke_i, responder_public: &ke_r, sa: &sa, cookies };
        let identity = body.first(PayloadType::IDENTIFICATION).ok_or(Discard::MissingPayload)?.body;
        let hash = body.first(PayloadType::HASH).ok_or(Discard::MissingPayload)?.body;
        let expected = keys.hash_i(&parts, identity);
        if *hash == expected[..] { Ok(expected.to_vec()) } else { Err(Discard::BadHash) }
    };
    assert_eq!(open(&transcript["psk"]), Ok(octets(&transcript["hash_i"])));
    assert!(open(&transcript["psk_responder"]).is_err());
}

/// A configuration for the left strongSwan of the captures.
fn strongswan() -> PeerConfig {
    PeerConfig {
        id: PeerId(0),
        name: "left".to_owned(),
        local: [198, 51, 100, 2].into(),
        remote: crate::Remote::Host([198, 51, 100, 1].into()),
        local_identity: "right.test".parse().unwrap(),
        remote_identity: crate::RemoteIdentity::Exactly("left.test".parse().unwrap()),
        mode: crate::Mode::Main,
        authentication: crate::Authentication::PreSharedKey(Secret::new(b"warren-test-psk".to_vec())),
        xauth: crate::Xauth::Off,
        config_mode: crate::ConfigMode::Off,
        fragmentation: true,
        proposals: vec!["aes256-sha384-ecp384".parse().unwrap(), "aes128-sha256-modp2048".parse().unwrap()],
        lifetime: 3600,
        dpd: None,
        nat_traversal: NatTraversal::Auto,
        retransmit: Retransmit::default(),
        pad: None,
    }
}

#[test]
fn an_endpoint_answers_strongswans_first_message_with_its_choice() {
    let capture = vector_octets("captures/ikev1-main-aes128gcm/ike.pcap");
    let all = messages(&capture);
    let config = strongswan();
    let mut endpoint = Endpoint::new(vec![config], Vec::new(), Box::new(Seeded::new(1)));
    let path =
        Path { local: "198.51.100.2:500".parse().unwrap(), remote: "198.51.100.1:500".parse().unwrap() };
    endpoint.handle_datagram(Duration::ZERO, path, &all[0]);
    let Some(Output::Transmit { octets, .. }) = endpoint.poll_output() else { panic!("an answer") };
    let body = |message: &[u8]| {
        let (header, body) = Header::decode(message).unwrap();
        Body::decode(header.next_payload, body).unwrap().first(PayloadType::SA).unwrap().body.to_vec()
    };
    assert_eq!(body(&octets), body(&all[1]), "the same choice as strongSwan's own");
    // Its third message under our cookie gets a fourth.
    let mut third = all[2].clone();
    third[8..16].copy_from_slice(&octets[8..16]);
    endpoint.handle_datagram(Duration::ZERO, path, &third);
    let answered = std::iter::from_fn(|| endpoint.poll_output())
        .any(|output| matches!(output, Output::Transmit { octets, .. } if octets[16] == PayloadType::KEY_EXCHANGE.0));
    assert!(answered && endpoint.counters().key_exchanges == 1);
}

#[test]
fn strongswans_quick_mode_offer_is_understood() {
    let capture = vector_octets("captures/ikev1-main-aes128gcm/ike.pcap");
    let keys = vector("captures/ikev1-main-aes128gcm/keys.json");
    let ike = &keys["ike"][0];
    let mut main_iv = None;
    let ka = Zeroizing::new(octets(&ike["ka"]));
    let cipher = crate::crypto::Cipher::new(warren_policy::KeyBits::B128, ka);
    for message in messages(&capture).iter().filter(|message| message[19] & 1 == 1) {
        let (header, body) = Header::decode(message).unwrap();
        if header.message_id == 0 {
            main_iv = body.last_chunk::<16>().copied();
            continue;
        }
        let iv = message_iv(warren_policy::Hash::Sha256, &main_iv.unwrap(), header.message_id);
        let (plain, _) = protection::open(&cipher, iv, &header, message).unwrap();
        let body = Body::decode(header.next_payload, &plain).unwrap();
        let sa = body.first(PayloadType::SA).unwrap().body;
        let offer = esp_sa::Offer::decode(sa).unwrap();
        let lifetime = warren_policy::Lifetime { seconds: 3600, kilobytes: None };
        let ours = ["aes128gcm16".parse().unwrap()];
        let (agreed, _) = offer.choose(&ours, lifetime, 3, warren_seam::Spi(0x1000)).unwrap();
        assert_eq!(agreed.proposal, ours[0]);
        assert_eq!(agreed.spi.to_string(), keys["child"][0]["inbound"]["spi"].as_str().unwrap());
        return;
    }
    panic!("there is a quick mode");
}
