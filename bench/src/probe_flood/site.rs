//! The gateway under the flood, its peer, and the packets between them.
//!
//! ```text
//!   10.1/16 ── inside ─ gateway 1 ─ outside ══ ESP ══ gateway 2 ── 10.2/16
//!                                     ▲
//!                                  garbage
//! ```

use std::net::{IpAddr, Ipv4Addr};

use warren_engine::packet::{ethernet, ipv4, isakmp, protocol, udp};
use warren_policy::{
    AddressRange, EspTransform, KeyBits, PeerId, RuleId, RuleSet, Selector, TransportAction, TransportRule,
    TunnelRule,
};
use warren_seam::{
    Command, Discovery, Encapsulation, ForwardingTable, InboundSa, MacAddress, Neighbour, OutboundSa,
    PortIndex, PortInfo, Route, SaId, SaKeys, Side, Spi, Volume,
};

pub(crate) const INSIDE: PortIndex = PortIndex(0);
pub(crate) const OUTSIDE: PortIndex = PortIndex(1);
pub(crate) const RULE: RuleId = RuleId(0);
const MTU: u16 = 1600;
const UNLIMITED: Volume = Volume { soft_octets: u64::MAX, hard_octets: u64::MAX };

const fn network(site: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, site, 0, 0)
}

pub(crate) const fn host(site: u8, number: u16) -> Ipv4Addr {
    let [high, low] = number.to_be_bytes();
    Ipv4Addr::new(10, site, high, low)
}

pub(crate) const fn outer(site: u8) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, site)
}

const fn mac(site: u8, port: PortIndex) -> MacAddress {
    MacAddress([2, 0, 0, 0, site, port.0 as u8])
}

/// What makes gateway `own` one end of the tunnel; of an answering gateway when `answers`.
pub(crate) fn commands(own: u8, answers: bool) -> Result<Vec<Command>, String> {
    let peer = 3 - own;
    let selector = selector(own, peer)?;
    let (outbound, inbound) = (outbound(own, peer, selector)?, outbound(peer, own, selector)?);
    let stack = vec![outbound.id];
    let discovery =
        Discovery { is_on: true, answers: if answers { vec![OUTSIDE] } else { vec![] }, asks: false };
    Ok(vec![
        Command::Forwarding(forwarding(own, peer)),
        Command::Rules(rules(selector, peer)),
        Command::InstallInbound(Box::new(mirrored(inbound))),
        Command::InstallOutbound(Box::new(outbound)),
        Command::Bind { rule: RULE, stack },
        Command::Discovery(discovery),
    ])
}

pub(crate) fn selector(own: u8, peer: u8) -> Result<Selector, String> {
    let range = |site| AddressRange::from_prefix(IpAddr::V4(network(site)), 16);
    let both = range(own).zip(range(peer));
    both.and_then(|(own, peer)| Selector::between(own, peer)).ok_or_else(|| "no selector".to_owned())
}

pub(crate) fn rules(selector: Selector, peer: u8) -> RuleSet {
    let gateway = IpAddr::V4(outer(peer)).into();
    RuleSet {
        transport: vec![TransportRule { name: "all".to_owned(), selector, action: TransportAction::Permit }],
        tunnel: vec![TunnelRule { id: RULE, name: "peer".to_owned(), selector, peer: PeerId(0), gateway }],
    }
}

pub(crate) fn forwarding(own: u8, peer: u8) -> ForwardingTable {
    let port =
        |name: &str, port, side| PortInfo { name: name.to_owned(), mac: mac(own, port), mtu: MTU, side };
    let route = |destination: Ipv4Addr, prefix_length, via: Option<Ipv4Addr>, port| Route {
        destination: destination.into(),
        prefix_length,
        via: via.map(IpAddr::V4),
        port,
    };
    let neighbour = |port, address: Ipv4Addr, mac| Neighbour { port, address: address.into(), mac };
    ForwardingTable {
        ports: vec![port("inside", INSIDE, Side::Inside), port("outside", OUTSIDE, Side::Outside)],
        local: vec![host(own, 1).into(), outer(own).into()],
        routes: vec![
            route(network(own), 16, Some(host(own, 9)), INSIDE),
            route(outer(0), 24, None, OUTSIDE),
            route(Ipv4Addr::UNSPECIFIED, 0, Some(outer(peer)), OUTSIDE),
        ],
        neighbours: vec![
            neighbour(INSIDE, host(own, 9), MacAddress([2, 0, 0, 1, own, 9])),
            neighbour(OUTSIDE, outer(peer), mac(peer, OUTSIDE)),
        ],
    }
}

/// The SA from one gateway to the other, as its sender knows it.
pub(crate) fn outbound(from: u8, to: u8, selector: Selector) -> Result<OutboundSa, String> {
    let transform = EspTransform::AesGcm16(KeyBits::B128);
    Ok(OutboundSa {
        id: SaId(from.into()),
        spi: Spi(0x1000 + u32::from(from)),
        transform,
        keys: SaKeys::from_keymat(transform, &vec![from; transform.keymat_octets()]).ok_or("no keys")?,
        esn: false,
        selector,
        local: outer(from).into(),
        remote: outer(to).into(),
        encapsulation: Encapsulation::Raw,
        volume: UNLIMITED,
        mode: warren_seam::SaMode::Tunnel,
        rule: RULE,
        lane: 0,
        sequence: 0,
    })
}

/// The same, as its receiver knows it. Without a window, so that the same packets may come again and again.
pub(crate) fn mirrored(sa: OutboundSa) -> InboundSa {
    InboundSa {
        id: SaId(100 + sa.id.0),
        spi: sa.spi,
        transform: sa.transform,
        keys: sa.keys,
        esn: sa.esn,
        window_packets: 0,
        selector: Selector {
            source: sa.selector.destination,
            destination: sa.selector.source,
            ..sa.selector
        },
        remote: sa.local,
        local: sa.remote,
        encapsulation: sa.encapsulation,
        volume: UNLIMITED,
        mode: sa.mode,
        rule: sa.rule,
        lane: 0,
        carrier: warren_seam::Carrier::Network,
        sequence: 0,
    }
}

/// A UDP packet in a frame to that gateway's port.
pub(crate) fn frame(
    (gateway, port): (u8, PortIndex),
    (source, destination): (Ipv4Addr, Ipv4Addr),
    (source_port, destination_port): (u16, u16),
    payload: &[u8],
) -> Vec<u8> {
    let at = ethernet::HEADER_OCTETS + ipv4::HEADER_OCTETS;
    let mut frame = vec![0; at + udp::HEADER_OCTETS];
    ethernet::emit(&mut frame, mac(gateway, port), MacAddress([2, 0, 0, 1, 0, 99]), ethernet::IPV4);
    let datagram_octets = udp::HEADER_OCTETS + payload.len();
    let header = ipv4::Header {
        traffic_class: 0,
        total_octets: ipv4::HEADER_OCTETS + datagram_octets,
        id: 0,
        dont_fragment: true,
        ttl: 64,
        protocol: protocol::UDP,
        source,
        destination,
    };
    ipv4::emit(&mut frame[ethernet::HEADER_OCTETS..], &header);
    udp::emit(&mut frame[at..], source_port, destination_port, datagram_octets);
    frame.extend(payload);
    frame
}

/// The smallest discovery messages there are, each between two other hosts: nothing but a header.
pub(crate) fn garbage(exchange: u8, count: u16) -> Vec<Vec<u8>> {
    let mut message = [0; isakmp::HEADER_OCTETS];
    (message[17], message[18]) = (0x10, exchange);
    let one = |number: u16| {
        let mut message = message;
        message[..2].copy_from_slice(&number.to_be_bytes());
        // An odd factor visits every host once, in an order that no cache foresees.
        let (from, to) = (host(2, number.wrapping_mul(40_503)), host(1, number.wrapping_mul(30_011) | 0x100));
        frame((1, OUTSIDE), (from, to), (500, 500), &message)
    };
    (0..count).map(one).collect()
}
