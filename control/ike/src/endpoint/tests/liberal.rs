//! What other implementations put into their first message, all of it legal, none of it ours.

use super::harness::{Side, peer_configs};
use super::secs;
use crate::crypto::{Cookies, KeyExchange};
use crate::testing::Seeded;
use crate::v1::main_mode::header;
use crate::wire::iana::{TRANSFORM_KEY_IKE, ike_attribute as ike};
use crate::wire::{
    Attribute, Body, Chain, ExchangeType, Header, Identification, PayloadType, Proposal, ProtocolId, Sa,
    Transform, Value, vendor,
};
use crate::{Mode, Path, PeerConfig};
use warren_policy::{Group, Identity};

/// Encryption, hash, group, key length.
fn transform(
    number: u8,
    (encryption, hash, group, bits): (u16, u16, u16, Option<u16>),
) -> Transform<'static> {
    let mut attributes = vec![
        Attribute::short(ike::GROUP, group),
        Attribute::short(20_000, 7),
        Attribute::short(ike::AUTHENTICATION, 1),
        Attribute::short(ike::HASH, hash),
        Attribute { class: 16_000, value: Value::Long(vec![1, 2, 3].into()) },
        Attribute::short(ike::ENCRYPTION, encryption),
    ];
    attributes.extend(bits.map(|bits| Attribute::short(ike::KEY_LENGTH, bits)));
    Transform { number, id: TRANSFORM_KEY_IKE, attributes }
}

/// Fifty transforms that nobody should want, weakest last; ours somewhere in between, and stronger ones behind it.
fn proposals() -> Vec<Proposal<'static>> {
    let junk = [
        (5, 1, 2, None),
        (1, 1, 1, None),
        (5, 2, 5, None),
        (7, 1, 14, Some(128)),
        (7, 4, 2, Some(256)),
        (65_001, 4, 14, Some(128)),
        (7, 4, 31, Some(256)),
        (7, 4, 14, None),
        (7, 4, 14, Some(77)),
        (7, 99, 14, Some(128)),
    ];
    let of = |first: u8| (0..25).map(move |at| transform(first + at, junk[usize::from(at) % junk.len()]));
    let mut one: Vec<_> = of(0).collect();
    one.insert(13, transform(200, (7, 2, 19, Some(128))));
    let mut two: Vec<_> = of(25).collect();
    two.insert(3, transform(201, (7, 4, 19, Some(128))));
    two.push(transform(202, (7, 5, 19, Some(256))));
    let proposal = |number, protocol, spi: &'static [u8], transforms| Proposal {
        number,
        protocol,
        spi: spi.into(),
        transforms,
    };
    vec![
        proposal(0, ProtocolId::ISAKMP, &[], one),
        proposal(7, ProtocolId(99), &[1, 2, 3], vec![transform(1, (7, 4, 19, Some(128)))]),
        proposal(9, ProtocolId::ISAKMP, &[1, 2, 3, 4, 5, 6, 7, 8], two),
    ]
}

fn chain(mode: Mode) -> Chain {
    let sa = Sa { proposals: proposals() }.encode();
    let identity: Identity = "left.test".parse().unwrap();
    let mut chain = Chain::new().with(PayloadType::SA, &sa);
    if mode == Mode::Aggressive {
        let half = KeyExchange::generate(Group::Ecp256, &mut Seeded::new(3));
        chain.push(PayloadType::KEY_EXCHANGE, half.public());
    }
    if mode != Mode::Main {
        chain.push(PayloadType::IDENTIFICATION, &Identification::of_identity(&identity).encode());
        chain.push(PayloadType::NONCE, &[5; 8]);
    }
    for unknown in 0..20u8 {
        chain.push(PayloadType::VENDOR_ID, &vec![unknown; usize::from(unknown)]);
    }
    chain.push(PayloadType(200), &[1, 2, 3]);
    chain.push(PayloadType::VENDOR_ID, &vendor::DPD);
    chain
}

fn choice(ours: &[&str], mode: Mode) -> Option<(u8, Transform<'static>)> {
    let [_, right] = peer_configs();
    let peer =
        PeerConfig { mode, proposals: ours.iter().map(|text| text.parse().unwrap()).collect(), ..right };
    let mut side = Side::new(vec![peer], Vec::new(), 1);
    let path = Path { local: "192.0.2.2:500".parse().unwrap(), remote: "192.0.2.1:500".parse().unwrap() };
    let exchange = [ExchangeType::MAIN, ExchangeType::AGGRESSIVE, ExchangeType::BASE][mode as usize];
    let message = header(Cookies { initiator: [3; 8], responder: [0; 8] }, exchange, 0).encode(&chain(mode));
    side.endpoint.handle_datagram(secs(1), path, &message);
    let (_, answer) = side.drain().pop()?;
    let (header, body) = Header::decode(&answer).unwrap();
    if header.exchange != exchange {
        return None;
    }
    let body = Body::decode(header.next_payload, body).unwrap();
    let sa = Sa::decode(body.first(PayloadType::SA).unwrap().body).unwrap();
    assert_eq!((sa.proposals.len(), sa.proposals[0].transforms.len()), (1, 1));
    let chosen = &sa.proposals[0].transforms[0];
    let attributes = chosen.attributes.iter().cloned().map(Attribute::into_owned).collect();
    Some((sa.proposals[0].number, Transform { number: chosen.number, id: chosen.id, attributes }))
}

#[test] // DC-17, DC-18
fn the_strongest_of_ours_is_found_among_fifty_transforms_and_comes_back_as_it_was_sent() {
    for mode in [Mode::Main, Mode::Aggressive, Mode::Base] {
        for (ours, number) in [
            (&["aes256-sha384-ecp256", "aes128-sha256-ecp256", "aes128-sha1-ecp256"][..], 202),
            (&["aes256-sha512-ecp521", "aes128-sha256-ecp256", "aes128-sha1-ecp256"], 201),
            (&["aes128-sha1-ecp256"], 200),
        ] {
            let (proposal, chosen) = choice(ours, mode).unwrap();
            assert_eq!(proposal, if number == 200 { 0 } else { 9 }, "{mode}");
            let offered = proposals().into_iter().flat_map(|proposal| proposal.transforms);
            let offered = offered.into_iter().find(|transform| transform.number == number).unwrap();
            assert_eq!(chosen, offered, "{mode}: octet for octet, unknown attributes and all");
        }
    }
}

#[test] // DC-17
fn transforms_that_we_do_not_speak_are_skipped_and_if_there_are_no_others_that_is_said() {
    for mode in [Mode::Main, Mode::Aggressive, Mode::Base] {
        assert_eq!(choice(&["aes256-sha512-ecp256"], mode), None, "{mode}");
    }
}
