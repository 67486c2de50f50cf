//! Messages for the codec of IKE.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use warren_ike::wire::ted::{ENTRIES_MAX, Probe, Response, Summary, number};
use warren_ike::wire::{
    Attribute, Chain, ExchangeType, Header, Identification, Notify, NotifyType, PayloadType, Proposal,
    ProtocolId, Sa, Transform,
};
use warren_policy::{AddressRange, MaskedAddress, PortRange, Protocol, Proxy};

use crate::{counted, repeat};

const COOKIE_I: [u8; 8] = [1; 8];
const COOKIE_R: [u8; 8] = [2; 8];

pub(crate) fn run() -> Result<(), &'static str> {
    let sa = proposals();
    let body = sa.encode();
    repeat("ike_sa_decode", || counted::ike_sa_decode(black_box(&body)))?;
    repeat("ike_sa_encode", || counted::ike_sa_encode(black_box(&sa), body.len()))?;
    let header = Header::new(COOKIE_I, [0; 8], ExchangeType::MAIN, 0, 0);
    let mut payloads = vec![(PayloadType::SA, body)];
    payloads.extend((0..4).map(|at| (PayloadType::VENDOR_ID, vec![at; 16])));
    repeat("ike_message_encode", || counted::ike_message_encode(&header, black_box(&payloads)))?;
    let chain = payloads.iter().fold(Chain::new(), |chain, (kind, body)| chain.with(*kind, body));
    let message = header.encode(&chain);
    repeat("ike_message_decode", || counted::ike_message_decode(black_box(&message)))?;
    let body = identification().ok_or("a proxy identity")?.encode();
    repeat("ike_identification", || counted::ike_identification(black_box(&body)))?;
    let body = Notify::isakmp(NotifyType::R_U_THERE, COOKIE_I, COOKIE_R, &[0, 0, 0, 9]).encode();
    repeat("ike_notify", || counted::ike_notify(black_box(&body)))?;
    discovery()
}

/// Eight ways to run phase 1, as a gateway offers them that was told nothing.
fn proposals() -> Sa<'static> {
    let transform = |number: u8| Transform {
        number,
        id: 1,
        attributes: vec![
            Attribute::short(1, 7),
            Attribute::short(14, if number.is_multiple_of(2) { 128 } else { 256 }),
            Attribute::short(2, 4 + u16::from(number % 3)),
            Attribute::short(3, 1),
            Attribute::short(4, 14 + u16::from(number % 6)),
            Attribute::short(11, 1),
            Attribute::number(12, 86_400),
        ],
    };
    let transforms = (1..=8).map(transform).collect();
    Sa {
        proposals: vec![Proposal { number: 1, protocol: ProtocolId::ISAKMP, spi: (&[]).into(), transforms }],
    }
}

fn identification() -> Option<Identification<'static>> {
    let addresses = AddressRange::from_prefix(Ipv4Addr::new(10, 1, 0, 0).into(), 16)?;
    Identification::of_traffic(&warren_ike::wire::Traffic {
        addresses,
        protocol: Protocol::Any,
        ports: PortRange::ANY,
    })
}

fn discovery() -> Result<(), &'static str> {
    let address = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let summary = Summary {
        source: address(1),
        destination: address(2),
        protocol: Protocol::Is(17),
        source_port: None,
        destination_port: Some(53),
    };
    let (gateway, capabilities) = (address(3), number::SEVERAL);
    let probe = Probe { cookie: COOKIE_I, capabilities, gateway, source: None, summary, echo: None };
    let message = probe.encode(ENTRIES_MAX);
    repeat("ted_probe_decode", || counted::ted_probe_decode(black_box(&message)))?;
    let host = |last| MaskedAddress::new(address(last), IpAddr::V4(Ipv4Addr::BROADCAST));
    let proxy =
        host(1).zip(host(2)).and_then(|(a, b)| Proxy::new((a, None), (b, Some(53)), Protocol::Is(17)));
    let response = Response {
        initiator: COOKIE_I,
        responder: COOKIE_R,
        capabilities,
        gateway,
        entries: vec![proxy.ok_or("a proxy")?; ENTRIES_MAX],
        challenge: None,
    };
    let octets = response.encode().len();
    repeat("ted_response_encode", || counted::ted_response_encode(black_box(&response), octets))
}
