//! The codec against messages that other implementations wrote, whole and broken (REQUIREMENTS F-36).

mod common;

use common::{exercise, golden};
use std::collections::BTreeMap;
use warren_ike::wire::vendor::Vendor;
use warren_ike::wire::{
    Body, Delete, ExchangeType, HEADER_OCTETS, Header, Identification, Malformed, Notify, NotifyType,
    PayloadType, ProtocolId, Sa,
};

#[test]
fn every_recorded_message_decodes_and_is_written_again_octet_for_octet() {
    let (mut clear, mut encrypted) = (0, 0);
    for (name, octets) in golden::messages() {
        let (header, rest) = Header::decode(&octets).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(header.major(), 1, "{name}");
        exercise::datagram(&octets).unwrap_or_else(|error| panic!("{name}: {error}"));
        if header.is_encrypted() {
            encrypted += 1;
            continue;
        }
        clear += 1;
        let body = Body::decode(header.next_payload, rest).unwrap();
        assert_eq!(body.padding(), b"", "{name}");
        assert_eq!(header.encode(&body.to_chain()), octets, "{name}");
        for payload in body.all(PayloadType::SA) {
            assert_eq!(Sa::decode(payload.body).unwrap().encode(), payload.body, "{name}");
        }
    }
    assert!(clear >= 60 && encrypted >= 80, "{clear} clear, {encrypted} encrypted");
}

#[test]
fn every_decrypted_message_decodes_and_its_padding_is_left_alone() {
    for (name, first, plaintext, used) in golden::plaintexts() {
        exercise::body(PayloadType(first), &plaintext).unwrap_or_else(|error| panic!("{name}: {error}"));
        let body = Body::decode(PayloadType(first), &plaintext).unwrap();
        assert_eq!(plaintext.len() - body.padding().len(), used, "{name}");
        assert_eq!(body.to_chain().octets(), &plaintext[..used], "{name}");
    }
}

#[test]
fn recorded_phase_1_and_phase_2_messages_say_what_their_peers_meant() {
    let said: BTreeMap<_, _> = golden::plaintexts()
        .into_iter()
        .map(|(name, first, plaintext, _)| (name, (PayloadType(first), plaintext)))
        .collect();
    let message = |frame: u32| &said[&format!("d01-ikev1-main-psk-aes128-sha1-modp2048.json frame {frame}")];

    let (first, plaintext) = message(5);
    let body = Body::decode(*first, plaintext).unwrap();
    let id = Identification::decode(body.first(PayloadType::IDENTIFICATION).unwrap().body).unwrap();
    assert_eq!(id.identity().unwrap().to_string(), "a.test");
    let notify = Notify::decode(body.first(PayloadType::NOTIFY).unwrap().body).unwrap();
    assert_eq!(notify.kind, NotifyType::INITIAL_CONTACT);
    assert_eq!(
        notify.cookies().map(|(i, r)| (u64::from_be_bytes(i), u64::from_be_bytes(r))),
        Some((0x6ad8_ce3c_0b09_7a63, 0x2bf2_5bad_2eaa_a4fe))
    );

    let (first, plaintext) = message(7);
    let body = Body::decode(*first, plaintext).unwrap();
    let halves: Vec<_> = body
        .all(PayloadType::IDENTIFICATION)
        .map(|payload| Identification::decode(payload.body).unwrap().traffic().unwrap())
        .collect();
    assert_eq!(halves[0].to(&halves[1]).unwrap().to_string(), "10.91.0.0/24 -> 10.92.0.0/24");
    let sa = Sa::decode(body.first(PayloadType::SA).unwrap().body).unwrap();
    assert_eq!((sa.proposals[0].protocol, sa.proposals[0].spi_u32()), (ProtocolId::ESP, Some(0x25fb_373f)));

    let (first, plaintext) = message(16);
    let body = Body::decode(*first, plaintext).unwrap();
    let delete = Delete::decode(body.first(PayloadType::DELETE).unwrap().body).unwrap();
    assert_eq!(delete.esp_spis().collect::<Vec<_>>(), [0x25fb_373f]);
}

#[test]
fn vendor_ids_of_a_recorded_first_message_are_recognised() {
    let (_, octets) =
        golden::messages().into_iter().find(|(name, _)| name.contains("main-aes128gcm")).unwrap();
    let (header, rest) = Header::decode(&octets).unwrap();
    assert_eq!(header.exchange, ExchangeType::MAIN);
    let body = Body::decode(header.next_payload, rest).unwrap();
    let vendors: Vec<_> = body.all(PayloadType::VENDOR_ID).map(|payload| Vendor::of(payload.body)).collect();
    for expected in
        [Vendor::XAuth, Vendor::Dpd, Vendor::Fragmentation, Vendor::NatTRfc3947, Vendor::NatTDraft02]
    {
        assert!(vendors.contains(&expected), "{expected:?} is not among {vendors:?}");
    }
}

/// What each malformed capture's first message is refused for, and what its payloads are refused for when the
/// header's length is overlooked.
const MALFORMED: [(&str, Option<Malformed>, Option<Malformed>); 6] = [
    // Attributes are repeated, which a codec reports and does not judge.
    ("ikev1-duplicate-proposals", None, None),
    // IKEv2: the same header, another meaning; the version says so.
    ("ikev2-id-short", None, None),
    ("ipsec-ikev1-zero-length", Some(Malformed::HeaderLength), None),
    // A name of 276 NULs: well-formed, and refused where it is asked for.
    ("isakmp-identification-segfault", None, None),
    ("isakmp-pointer-loop", Some(Malformed::HeaderLength), Some(Malformed::PayloadTruncated)),
    ("isakmpv1-attr-oobr", Some(Malformed::HeaderLength), Some(Malformed::MisplacedPayload)),
];

#[test] // F-36
fn malformed_captures_are_refused_for_the_rule_they_break() {
    let mut read = 0;
    for path in golden::files("malformed", "pcap") {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        for datagram in golden::capture(&path) {
            let Some(octets) = datagram.ike() else { continue };
            let (_, whole, payloads) = MALFORMED.iter().find(|(known, ..)| *known == name).unwrap();
            assert_eq!(exercise::datagram(octets).err(), *whole, "{name}");
            let (header, rest) = octets.split_at(HEADER_OCTETS);
            assert_eq!(exercise::body(PayloadType(header[16]), rest).err(), *payloads, "{name}");
            read += 1;
        }
    }
    assert_eq!(read, MALFORMED.len());
}

#[test] // F-22
fn a_name_of_nuls_is_no_identity() {
    let path = golden::vectors().join("malformed/isakmp-identification-segfault.pcap");
    let datagram = golden::capture(&path).remove(0);
    let (header, rest) = Header::decode(datagram.ike().unwrap()).unwrap();
    let body = Body::decode(header.next_payload, rest).unwrap();
    let id = Identification::decode(body.first(PayloadType::IDENTIFICATION).unwrap().body).unwrap();
    assert_eq!(id.identity(), Err(Malformed::IdNotText));
}

#[test] // F-36
fn no_truncation_of_a_recorded_message_panics_or_is_taken_for_the_whole() {
    for (name, octets) in golden::messages() {
        for length in 0..octets.len() {
            assert!(exercise::datagram(&octets[..length]).is_err(), "{name} cut to {length}");
        }
    }
    for (_, first, plaintext, used) in golden::plaintexts() {
        for length in 0..used {
            let cut = exercise::body(PayloadType(first), &plaintext[..length]);
            assert!(cut.is_err(), "cut to {length}");
        }
    }
}

#[test] // F-36
fn no_single_octet_of_a_recorded_message_can_be_changed_into_a_panic() {
    let changes =
        |octet: u8| (0..8).map(move |bit| octet ^ (1 << bit)).chain([0, 0xff, octet.wrapping_add(1)]);
    for (_, mut octets) in golden::messages() {
        for at in 0..octets.len() {
            let was = octets[at];
            for changed in changes(was) {
                octets[at] = changed;
                let _ = exercise::datagram(&octets);
            }
            octets[at] = was;
        }
    }
    for (_, first, mut plaintext, _) in golden::plaintexts() {
        for at in 0..plaintext.len() {
            let was = plaintext[at];
            for changed in changes(was) {
                plaintext[at] = changed;
                let _ = exercise::body(PayloadType(first), &plaintext);
            }
            plaintext[at] = was;
        }
    }
}
