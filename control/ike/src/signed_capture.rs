//! A conversation of two strongSwan gateways with certificates and fragments, captured: each message comes out of its
//! fragments, and our credentials judge their signatures, and make the same ones.

use crate::crypto::{Cookies, PhaseOneKeys, PhaseOneParts, initial_iv};
use crate::testing::{Seeded, vector, vector_octets};
use crate::transcripts::{messages, octets};
use crate::v1::fragment::{Reassembler, room, split};
use crate::v1::protection;
use crate::wire::{Body, Fragment, Header, PayloadType};
use crate::{Counters, Credentials, Path, SignatureError, certificates_from_pem, private_key_from_pem};
use std::time::Duration;
use warren_policy::{Hash, Identity};

/// The day after the capture.
const NOW: Duration = Duration::from_secs(1_795_300_000);
/// Its keys, by which everything can be opened again.
const CASE: &str = "captures/ikev1-main-rsa-frag";

fn credentials(side: &str) -> Credentials {
    let file = |name: String| vector_octets(&format!("{CASE}/{name}"));
    let chain = certificates_from_pem(&file(format!("{side}.pem"))).unwrap();
    let key = private_key_from_pem(&file(format!("{side}.key"))).unwrap();
    Credentials::new(chain, key, certificates_from_pem(&file("ca.pem".to_owned())).unwrap()).unwrap()
}

/// The messages of main mode, put together.
fn whole_messages() -> (Vec<Vec<u8>>, Vec<Vec<Vec<u8>>>) {
    let mut reassembler = Reassembler::default();
    let (mut whole, mut fragments, mut pieces) = (Vec::new(), Vec::new(), Vec::new());
    for message in messages(&vector_octets(&format!("{CASE}/ike.pcap"))) {
        let (header, body) = Header::decode(&message).unwrap();
        if header.next_payload != PayloadType::FRAGMENT {
            whole.push(message);
            continue;
        }
        let cookies = Cookies { initiator: header.cookie_i, responder: header.cookie_r };
        let body = Body::decode(header.next_payload, body).unwrap();
        let fragment = Fragment::decode(body.first(PayloadType::FRAGMENT).unwrap().body).unwrap();
        let from = ([198, 51, 100, 1], 4500).into();
        pieces.push(message.clone());
        if let Some(message) =
            reassembler.add(NOW, (from, cookies), &fragment, &mut Counters::default()).unwrap()
        {
            whole.push(message);
            fragments.push(std::mem::take(&mut pieces));
        }
    }
    assert_eq!(reassembler.len(), 0);
    (whole, fragments)
}

/// What one side proved, and with what.
struct Proof {
    identity: Vec<u8>,
    certificates: Vec<Vec<u8>>,
    hash: Vec<u8>,
    signature: Vec<u8>,
}

/// Messages 5 and 6, opened.
fn proofs() -> [Proof; 2] {
    let ike = &vector(&format!("{CASE}/keys.json"))["ike"][0];
    let (whole, _) = whole_messages();
    let clear = |number: usize, kind| {
        let (header, body) = Header::decode(&whole[number]).unwrap();
        Body::decode(header.next_payload, body).unwrap().first(kind).unwrap().body.to_vec()
    };
    let (sa, public) = (clear(0, PayloadType::SA), [2, 3].map(|at| clear(at, PayloadType::KEY_EXCHANGE)));
    let nonces = [2, 3].map(|at| clear(at, PayloadType::NONCE));
    let (header, _) = Header::decode(&whole[4]).unwrap();
    let cookies = Cookies { initiator: header.cookie_i, responder: header.cookie_r };
    let keys = PhaseOneKeys::from_signature_nonces(
        "aes128-sha256-modp2048".parse().unwrap(),
        (&nonces[0], &nonces[1]),
        &octets(&ike["dh"]),
        cookies,
    );
    assert_eq!(keys.skeyid_e.to_vec(), octets(&ike["skeyid_e"]));
    assert_eq!(keys.cipher().key().to_vec(), octets(&ike["ka"]));
    let parts =
        PhaseOneParts { initiator_public: &public[0], responder_public: &public[1], sa: &sa, cookies };
    let mut iv = initial_iv(Hash::Sha256, &public[0], &public[1]);
    [4, 5].map(|number| {
        let (header, _) = Header::decode(&whole[number]).unwrap();
        let (plain, next) = protection::open(keys.cipher(), iv, &header, &whole[number]).unwrap();
        iv = next;
        let body = Body::decode(header.next_payload, &plain).unwrap();
        let one = |kind| body.first(kind).unwrap().body.to_vec();
        let identity = one(PayloadType::IDENTIFICATION);
        let hash = if number == 4 { keys.hash_i(&parts, &identity) } else { keys.hash_r(&parts, &identity) };
        Proof {
            certificates: body.all(PayloadType::CERTIFICATE).map(|payload| payload.body.to_vec()).collect(),
            hash: hash.to_vec(),
            signature: one(PayloadType::SIGNATURE),
            identity,
        }
    })
}

fn verify(judge: &str, proof: &Proof) -> Result<Identity, SignatureError> {
    let certificates: Vec<&[u8]> = proof.certificates.iter().map(Vec::as_slice).collect();
    credentials(judge).verify(NOW, &proof.identity, &certificates, &proof.hash, &proof.signature)
}

#[test]
fn fragments_of_strongswan_give_the_messages_that_our_fragments_would() {
    let (whole, fragments) = whole_messages();
    assert_eq!(whole.iter().map(Vec::len).collect::<Vec<_>>()[..6], [180, 160, 396, 438, 1340, 1276]);
    let floated =
        Path { local: "198.51.100.1:4500".parse().unwrap(), remote: "198.51.100.2:4500".parse().unwrap() };
    for (message, theirs) in whole[4..6].iter().zip(&fragments) {
        let (header, _) = Header::decode(message).unwrap();
        let cookies = Cookies { initiator: header.cookie_i, responder: header.cookie_r };
        let ours = split(cookies, header.exchange, message, room(floated, 600));
        assert_eq!(ours.len(), theirs.len());
        for (ours, theirs) in ours.iter().zip(theirs) {
            // All but the number of the whole, which is always one there.
            assert_eq!((&ours[..32], &ours[34..]), (&theirs[..32], &theirs[34..]));
        }
    }
}

#[test]
fn signatures_of_strongswan_are_believed_and_ours_are_the_same() {
    let [initiator, responder] = proofs();
    assert_eq!(verify("right", &initiator), Ok("left.test".parse().unwrap()));
    assert_eq!(verify("left", &responder), Ok("right.test".parse().unwrap()));
    for (side, proof) in [("left", &initiator), ("right", &responder)] {
        assert_eq!(credentials(side).sign(&proof.hash, &mut Seeded::new(1)).unwrap(), proof.signature);
        assert_eq!(credentials(side).certificate_payloads(), proof.certificates);
    }
}

#[test]
fn a_signature_of_strongswan_for_something_else_is_not_believed() {
    let [initiator, responder] = proofs();
    let crossed = Proof { signature: responder.signature.clone(), ..initiator };
    assert_eq!(verify("right", &crossed), Err(SignatureError::BadSignature));
    let foreign = Proof { certificates: responder.certificates, ..crossed };
    assert_eq!(verify("right", &foreign), Err(SignatureError::WrongName("left.test".parse().unwrap())));
    let damaged = Proof { hash: vec![0; 32], ..proofs().into_iter().next().unwrap() };
    assert_eq!(verify("right", &damaged), Err(SignatureError::BadSignature));
}
