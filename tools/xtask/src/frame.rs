//! What one frame on the wire between the gateways is, judged without any of Warren's own decoders: the listener
//! must not share a mistake with what it listens to.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The kinds a frame can be. Everything that shows an inner packet is `Leak`, whatever else it may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    /// IP protocol 50.
    Esp,
    /// ESP inside UDP port 4500 (RFC 3948).
    UdpEsp,
    /// An IKE message on port 500, or on 4500 behind the non-ESP marker.
    Ike,
    /// A probe that asks for the gateway in front of its destination. It names inner addresses and is in clear, which is
    /// a leak unless discovery is what is being watched.
    Probe,
    /// A gateway's answer to one.
    Response,
    /// The single octet 0xff that keeps a NAT mapping alive.
    Keepalive,
    /// ARP, or IPv6 neighbour and router discovery.
    Neighbour,
    /// Other ICMP between the gateways themselves.
    Icmp,
    /// A later fragment of a datagram whose ports are out of sight.
    Fragment,
    /// None of these, and nothing of the inside in it.
    Other,
    /// An inner address in a clear header, or the payload marker in the clear.
    Leak,
}

/// An address and how many of its leading bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Network address.
    pub address: IpAddr,
    /// Number of leading bits.
    pub bits: u32,
}

impl Prefix {
    /// True for an address of the same family that agrees in the leading bits.
    pub fn contains(&self, other: &[u8]) -> bool {
        let octets = match &self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        };
        octets.len() == other.len()
            && (0..self.bits as usize).all(|bit| {
                let mask = 0x80 >> (bit % 8);
                octets[bit / 8] & mask == other[bit / 8] & mask
            })
    }
}

impl std::str::FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not ADDRESS/BITS");
        let (address, bits) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits: u32 = bits.parse().map_err(|_| wrong())?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        if bits > most {
            return Err(wrong());
        }
        Ok(Self { address, bits })
    }
}

/// What must never be seen in clear.
#[derive(Clone, Debug, Default)]
pub struct Inside {
    /// Networks behind the gateways.
    pub prefixes: Vec<Prefix>,
    /// Octets that the demo puts into its payloads; empty for none.
    pub marker: Vec<u8>,
    /// Probes may show addresses of the inside, and nothing else may.
    pub may_probe: bool,
}

impl Inside {
    fn owns(&self, address: &[u8]) -> bool {
        self.prefixes.iter().any(|prefix| prefix.contains(address))
    }

    fn is_marked(&self, octets: &[u8]) -> bool {
        let Some(&first) = self.marker.first() else { return false };
        let mut rest = octets;
        while let Some(at) = rest.iter().position(|&octet| octet == first) {
            if rest[at..].starts_with(&self.marker) {
                return true;
            }
            rest = &rest[at + 1..];
        }
        false
    }
}

/// Judges one Ethernet frame, which may have been cut short by the capture.
pub fn classify(frame: &[u8], inside: &Inside) -> Kind {
    if inside.is_marked(frame) {
        return Kind::Leak;
    }
    match payload(frame) {
        Some((0x0800 | 0x86dd, octets)) => packet(octets, inside).unwrap_or(Kind::Other),
        Some((0x0806, _)) => Kind::Neighbour,
        _ => Kind::Other,
    }
}

/// Source and destination of the IP packet in a frame, outermost header only.
pub fn ends(frame: &[u8]) -> Option<[IpAddr; 2]> {
    let (ether_type, octets) = payload(frame)?;
    match ether_type {
        0x0800 => {
            let address = |from: usize| {
                let octets: [u8; 4] = octets.get(from..from + 4)?.try_into().ok()?;
                Some(IpAddr::from(octets))
            };
            Some([address(12)?, address(16)?])
        }
        0x86dd => {
            let address = |from: usize| {
                let octets: [u8; 16] = octets.get(from..from + 16)?.try_into().ok()?;
                Some(IpAddr::from(octets))
            };
            Some([address(8)?, address(24)?])
        }
        _ => None,
    }
}

/// The EtherType behind any VLAN tags, and what follows.
fn payload(frame: &[u8]) -> Option<(u16, &[u8])> {
    let mut ether_type = be16(frame, 12)?;
    let mut at = 14;
    while ether_type == 0x8100 || ether_type == 0x88a8 {
        ether_type = be16(frame, at + 2)?;
        at += 4;
    }
    Some((ether_type, frame.get(at..).unwrap_or_default()))
}

/// The upper layer of an IP packet, found behind its headers.
struct Upper<'a> {
    protocol: u8,
    is_later_fragment: bool,
    octets: &'a [u8],
    touches_inside: bool,
}

fn upper<'a>(packet: &'a [u8], inside: &Inside) -> Option<Upper<'a>> {
    match packet.first()? >> 4 {
        4 => {
            let header = usize::from(packet[0] & 15) * 4;
            let touches_inside = inside.owns(packet.get(12..16)?) || inside.owns(packet.get(16..20)?);
            Some(Upper {
                protocol: packet[9],
                is_later_fragment: be16(packet, 6)? & 0x1fff != 0,
                octets: packet.get(header..).unwrap_or_default(),
                touches_inside,
            })
        }
        6 => upper_v6(packet, inside),
        _ => None,
    }
}

fn upper_v6<'a>(packet: &'a [u8], inside: &Inside) -> Option<Upper<'a>> {
    let touches_inside = inside.owns(packet.get(8..24)?) || inside.owns(packet.get(24..40)?);
    let mut protocol = packet[6];
    let mut octets = packet.get(40..)?;
    let mut is_later_fragment = false;
    // Hop-by-hop, routing, fragment and destination options; a chain longer than this is nobody's traffic.
    for _ in 0..8 {
        let length = match protocol {
            0 | 43 | 60 => usize::from(*octets.get(1)?) * 8 + 8,
            44 => {
                is_later_fragment |= be16(octets, 2)? & 0xfff8 != 0;
                8
            }
            _ => break,
        };
        protocol = octets[0];
        octets = octets.get(length..)?;
    }
    Some(Upper { protocol, is_later_fragment, octets, touches_inside })
}

fn packet(octets: &[u8], inside: &Inside) -> Option<Kind> {
    let found = upper(octets, inside)?;
    let discovery = if inside.may_probe { discovery(&found) } else { None };
    if discovery == Some(Kind::Probe) {
        return discovery;
    }
    if found.touches_inside {
        return Some(Kind::Leak);
    }
    Some(match found.protocol {
        50 => Kind::Esp,
        _ if found.is_later_fragment => Kind::Fragment,
        17 => discovery.unwrap_or_else(|| datagram(found.octets)),
        // A tunnel without encryption shows the inner packet where its own payload starts.
        4 | 41 => packet(found.octets, inside).filter(|kind| *kind == Kind::Leak).unwrap_or(Kind::Other),
        1 => match (found.octets.first()?, found.octets.get(8..)) {
            // Errors quote the packet they are about.
            (3 | 4 | 5 | 11 | 12, Some(quoted)) if quotes_inside(quoted, inside) => Kind::Leak,
            _ => Kind::Icmp,
        },
        58 => match (found.octets.first()?, found.octets.get(8..)) {
            (1..=4, Some(quoted)) if quotes_inside(quoted, inside) => Kind::Leak,
            (130..=137 | 143, _) => Kind::Neighbour,
            _ => Kind::Icmp,
        },
        _ => Kind::Other,
    })
}

/// A whole ISAKMP message to port 500 of version 1, message ID 0, not encrypted, with one of the two exchange types of
/// discovery; a probe has no responder's cookie and an answer has one.
fn discovery(found: &Upper<'_>) -> Option<Kind> {
    let message = found.octets.get(8..)?;
    let header = message.get(..28)?;
    let length = u32::from_be_bytes(header[24..28].try_into().ok()?);
    let is_plain = found.protocol == 17
        && !found.is_later_fragment
        && be16(found.octets, 2) == Some(500)
        && be16(found.octets, 4).map(u32::from) == Some(length + 8)
        && header[17] == 0x10
        && header[19..24] == [0; 5];
    match (header[18], header[8..16] == [0; 8]) {
        (240, true) if is_plain => Some(Kind::Probe),
        (241, false) if is_plain => Some(Kind::Response),
        _ => None,
    }
}

fn quotes_inside(quoted: &[u8], inside: &Inside) -> bool {
    upper(quoted, inside).is_some_and(|found| found.touches_inside)
}

fn datagram(octets: &[u8]) -> Kind {
    let (Some(from), Some(to)) = (be16(octets, 0), be16(octets, 2)) else { return Kind::Other };
    let payload = octets.get(8..).unwrap_or_default();
    if from == 500 || to == 500 {
        return Kind::Ike;
    }
    if from != 4500 && to != 4500 {
        return Kind::Other;
    }
    // The length field, because a short frame is padded to 60 octets on the wire.
    match (be16(octets, 4), payload) {
        (Some(9), [0xff, ..]) => Kind::Keepalive,
        (_, [0, 0, 0, 0, ..]) => Kind::Ike,
        _ => Kind::UdpEsp,
    }
}

fn be16(octets: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*octets.get(at)?, *octets.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside() -> Inside {
        Inside {
            prefixes: vec!["10.1.0.0/24".parse().unwrap(), "fd00:1::/64".parse().unwrap()],
            marker: b"in the clear".to_vec(),
            may_probe: false,
        }
    }

    fn v4(protocol: u8, from: [u8; 4], to: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend(from);
        frame.extend(to);
        frame.extend(payload);
        frame
    }

    const US: [u8; 4] = [198, 51, 100, 1];
    const PEER: [u8; 4] = [198, 51, 100, 2];

    fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
        let mut octets = port.to_be_bytes().repeat(2);
        octets.extend((payload.len() as u16 + 8).to_be_bytes());
        octets.extend([0, 0]);
        octets.extend(payload);
        octets
    }

    #[test] // F-24
    fn inner_address_in_the_outer_header_is_a_leak() {
        assert_eq!(classify(&v4(1, [10, 1, 0, 10], PEER, &[8, 0]), &inside()), Kind::Leak);
        assert_eq!(classify(&v4(50, US, [10, 1, 0, 1], &[0; 64]), &inside()), Kind::Leak);
    }

    #[test] // F-24
    fn inner_address_in_a_clear_tunnel_or_an_icmp_quotation_is_a_leak() {
        let inner = v4(17, [10, 1, 0, 10], [10, 2, 0, 10], &[0; 8])[14..].to_vec();
        assert_eq!(classify(&v4(4, US, PEER, &inner), &inside()), Kind::Leak);
        let mut error = vec![3, 4, 0, 0, 0, 0, 0, 0];
        error.extend(&inner);
        assert_eq!(classify(&v4(1, US, PEER, &error), &inside()), Kind::Leak);
    }

    #[test] // F-24
    fn marker_anywhere_is_a_leak_even_under_a_protocol_that_should_hide_it() {
        assert_eq!(classify(&v4(50, US, PEER, b"....in the clear...."), &inside()), Kind::Leak);
        assert_eq!(classify(&v4(50, US, PEER, b"....in the clea"), &inside()), Kind::Esp);
    }

    #[test]
    fn ipv6_inner_address_is_a_leak_and_neighbour_discovery_is_none() {
        let mut frame = vec![0; 12];
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 8, 58, 255]);
        frame.extend("fe80::1".parse::<std::net::Ipv6Addr>().unwrap().octets());
        let mut leak = frame.clone();
        frame.extend("ff02::2".parse::<std::net::Ipv6Addr>().unwrap().octets());
        leak.extend("fd00:1::10".parse::<std::net::Ipv6Addr>().unwrap().octets());
        frame.extend([133, 0, 0, 0, 0, 0, 0, 0]);
        leak.extend([128, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(classify(&frame, &inside()), Kind::Neighbour);
        assert_eq!(classify(&leak, &inside()), Kind::Leak);
    }

    #[test]
    fn what_belongs_between_gateways_is_told_apart() {
        let table: [(Vec<u8>, Kind); 7] = [
            (v4(50, US, PEER, &[7; 60]), Kind::Esp),
            (v4(17, US, PEER, &udp(500, &[1; 28])), Kind::Ike),
            (v4(17, US, PEER, &udp(4500, &[0, 0, 0, 0, 1])), Kind::Ike),
            (v4(17, US, PEER, &udp(4500, &[0, 0, 1, 0, 1])), Kind::UdpEsp),
            (v4(17, US, PEER, &udp(4500, &[0xff])), Kind::Keepalive),
            (v4(1, US, PEER, &[8, 0, 0, 0]), Kind::Icmp),
            (v4(6, US, PEER, &[0; 20]), Kind::Other),
        ];
        for (frame, kind) in table {
            assert_eq!(classify(&frame, &inside()), kind);
        }
    }

    /// A discovery message of this exchange type with as much behind its header.
    fn discovery(exchange: u8, cookie_r: u8, more: &[u8]) -> Vec<u8> {
        let mut message = vec![7; 8];
        message.extend([cookie_r; 8]);
        message.extend([13, 0x10, exchange, 0, 0, 0, 0, 0]);
        message.extend((28 + more.len() as u32).to_be_bytes());
        message.extend(more);
        udp(500, &message)
    }

    #[test] // F-10, TED-8
    fn probe_shows_the_inside_and_is_a_leak_unless_it_is_looked_for() {
        let (a, b) = ([10, 1, 0, 10], [10, 2, 0, 10]);
        let watching = Inside { may_probe: true, ..inside() };
        let probe = v4(17, a, b, &discovery(240, 0, &[1; 40]));
        assert_eq!(classify(&probe, &watching), Kind::Probe);
        assert_eq!(classify(&probe, &inside()), Kind::Leak);
        let response = v4(17, PEER, US, &discovery(241, 9, &[1; 40]));
        assert_eq!(classify(&response, &watching), Kind::Response);
        assert_eq!(classify(&response, &inside()), Kind::Ike);
    }

    #[test] // F-24
    fn what_is_no_whole_probe_stays_a_leak_while_probes_are_looked_for() {
        let (a, b) = ([10, 1, 0, 10], [10, 2, 0, 10]);
        let watching = Inside { may_probe: true, ..inside() };
        let good = discovery(240, 0, &[1; 40]);
        let with = |at: usize, octet: u8| {
            let mut octets = good.clone();
            octets[at] = octet;
            classify(&v4(17, a, b, &octets), &watching)
        };
        for (at, octet) in [(3, 1), (5, 60), (16, 1), (25, 0x20), (26, 34), (27, 1), (31, 1), (35, 7)] {
            assert_eq!(with(at, octet), Kind::Leak, "octet {at}");
        }
        assert_eq!(classify(&v4(17, a, b, &discovery(240, 0, b"in the clear")), &watching), Kind::Leak);
        assert_eq!(
            classify(&v4(17, a, b, &discovery(241, 9, &[])), &watching),
            Kind::Leak,
            "to an inner address"
        );
        assert_eq!(classify(&v4(6, a, b, &good), &watching), Kind::Leak);
    }

    #[test] // F-36
    fn frame_cut_anywhere_is_judged_without_a_panic() {
        let whole = v4(17, US, PEER, &udp(4500, &[0, 0, 1, 0, 1]));
        for length in 0..whole.len() {
            classify(&whole[..length], &inside());
        }
    }
}
