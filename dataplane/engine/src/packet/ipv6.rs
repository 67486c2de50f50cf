//! IPv6 (RFC 8200) and its extension headers.

use super::{Malformed, read_u16, write_u16};
use crate::limits::EXTENSIONS_MAX;
use std::net::Ipv6Addr;

/// Octets of the fixed header.
pub const HEADER_OCTETS: usize = 40;
pub(super) const HOP_BY_HOP: u8 = 0;
pub(super) const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
pub(super) const DESTINATION: u8 = 60;

/// A packet whose length is right.
pub struct Ipv6<'a>(&'a [u8]);

/// Where the chain of extension headers ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The first header that is no extension header; in a later fragment what its fragment header says.
    pub protocol: u8,
    /// Its offset in the packet; in a later fragment that of the fragment's payload.
    pub offset: usize,
    /// The fragment's place in the original payload and whether more follow; `None` for a whole packet.
    pub fragment: Option<(usize, bool)>,
}

impl<'a> Ipv6<'a> {
    /// The one way in for bytes from the network; afterwards no getter can panic. What lies beyond the payload length
    /// is not part of the packet.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new_checked(octets: &'a [u8]) -> Result<Self, Malformed> {
        if octets.len() < HEADER_OCTETS {
            return Err(Malformed::Length);
        }
        if octets[0] >> 4 != 6 {
            return Err(Malformed::Version);
        }
        let total = HEADER_OCTETS + usize::from(read_u16(octets, 4));
        octets.get(..total).map(Self).ok_or(Malformed::Length)
    }

    /// Octets of the packet.
    #[must_use]
    pub fn total_octets(&self) -> usize {
        self.0.len()
    }

    /// DSCP and ECN.
    #[must_use]
    pub fn traffic_class(&self) -> u8 {
        self.0[0] << 4 | self.0[1] >> 4
    }

    /// Hop limit.
    #[must_use]
    pub fn hop_limit(&self) -> u8 {
        self.0[7]
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> Ipv6Addr {
        address(&self.0[8..24])
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> Ipv6Addr {
        address(&self.0[24..40])
    }

    /// Follows the extension headers.
    ///
    /// # Errors
    /// A chain that leaves the packet, or that is longer than anybody needs.
    pub fn upper(&self) -> Result<Upper, Malformed> {
        let mut upper = Upper { protocol: self.0[6], offset: HEADER_OCTETS, fragment: None };
        for _ in 0..=EXTENSIONS_MAX {
            let header = self.0.get(upper.offset..).unwrap_or_default();
            let octets = match upper.protocol {
                HOP_BY_HOP | ROUTING | DESTINATION => {
                    let [_, length, ..] = header else { return Err(Malformed::Length) };
                    (usize::from(*length) + 1) * 8
                }
                FRAGMENT => 8,
                _ => return Ok(upper),
            };
            let Some(header) = header.get(..octets) else { return Err(Malformed::Length) };
            if upper.protocol == FRAGMENT {
                let place = read_u16(header, 2);
                let (offset, more) = (usize::from(place & !7), place & 1 == 1);
                // RFC 8200 §4.5: an atomic fragment is a whole packet.
                upper.fragment = (offset != 0 || more).then_some((offset, more));
            }
            upper.protocol = header[0];
            upper.offset += octets;
            if matches!(upper.fragment, Some((1.., _))) {
                return Ok(upper);
            }
        }
        Err(Malformed::Extensions)
    }
}

fn address(octets: &[u8]) -> Ipv6Addr {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(octets);
    Ipv6Addr::from(bytes)
}

/// What a header of ours says.
pub struct Header {
    /// DSCP and ECN.
    pub traffic_class: u8,
    /// The label by which routers keep a flow together.
    pub flow_label: u32,
    /// Octets after this header.
    pub payload_octets: usize,
    /// What follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
}

/// Writes a header.
pub fn emit(octets: &mut [u8], header: &Header) {
    let first = 6 << 28 | u32::from(header.traffic_class) << 20 | header.flow_label & 0xF_FFFF;
    octets[..4].copy_from_slice(&first.to_be_bytes());
    write_u16(octets, 4, header.payload_octets as u16);
    octets[6] = header.next_header;
    octets[7] = header.hop_limit;
    octets[8..24].copy_from_slice(&header.source.octets());
    octets[24..40].copy_from_slice(&header.destination.octets());
}

/// Replaces the traffic class of a header.
pub(crate) fn set_traffic_class(header: &mut [u8; HEADER_OCTETS], traffic_class: u8) {
    header[0] = 6 << 4 | traffic_class >> 4;
    header[1] = header[1] & 0x0f | traffic_class << 4;
}

/// Octets of a fragment header (RFC 8200 §4.5).
pub const FRAGMENT_OCTETS: usize = 8;

/// What every fragment of a packet without extension headers begins with: its header, and a fragment header that still has to
/// be told its place ([`set_fragment`]).
#[must_use]
pub fn fragment_headers(header: &[u8], id: u32) -> Vec<u8> {
    let mut both = header[..HEADER_OCTETS].to_vec();
    both.extend([header[6], 0, 0, 0]);
    both.extend(id.to_be_bytes());
    both[6] = FRAGMENT;
    both
}

/// Says of a fragment that begins with [`fragment_headers`] how long it is, where it belongs, and whether more follow.
/// `offset_octets` is a multiple of 8.
pub fn set_fragment(packet: &mut [u8], total_octets: usize, offset_octets: usize, more: bool) {
    write_u16(packet, 4, (total_octets - HEADER_OCTETS) as u16);
    write_u16(packet, HEADER_OCTETS + 2, offset_octets as u16 | u16::from(more));
}

/// Takes one off the hop limit of a checked packet.
pub fn decrement_hop_limit(packet: &mut [u8]) {
    packet[7] = packet[7].saturating_sub(1);
}

/// Replaces the ECN field of a checked packet.
pub fn set_ecn(packet: &mut [u8], ecn: u8) {
    packet[1] = (packet[1] & !0x30) | (ecn & 3) << 4;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(next_header: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; HEADER_OCTETS];
        emit(
            &mut packet,
            &Header {
                traffic_class: 0xB8,
                flow_label: 0x12345,
                payload_octets: rest.len(),
                next_header,
                hop_limit: 64,
                source: "2001:db8:1::1".parse().unwrap(),
                destination: "2001:db8:2::1".parse().unwrap(),
            },
        );
        packet.extend(rest);
        packet
    }

    fn upper(octets: &[u8]) -> Result<Upper, Malformed> {
        Ipv6::new_checked(octets)?.upper()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut octets = packet(17, &[0; 8]);
        set_ecn(&mut octets, 3);
        decrement_hop_limit(&mut octets);
        let view = Ipv6::new_checked(&octets).unwrap();
        assert_eq!((view.traffic_class(), view.hop_limit()), (0xBB, 63));
        assert_eq!(read_u32_label(&octets), 0x12345);
        assert_eq!(view.destination(), "2001:db8:2::1".parse::<Ipv6Addr>().unwrap());
        assert_eq!(upper(&octets), Ok(Upper { protocol: 17, offset: 40, fragment: None }));
    }

    fn read_u32_label(octets: &[u8]) -> u32 {
        super::super::read_u32(octets, 0) & 0xF_FFFF
    }

    #[test] // F-30
    fn fragments_are_told_from_whole_packets() {
        let fragment = |place: u16| {
            let [high, low] = place.to_be_bytes();
            packet(FRAGMENT, &[17, 0, high, low, 0, 0, 0, 9, 1, 2, 3, 4, 5, 6, 7, 8])
        };
        let at = |fragment| Upper { protocol: 17, offset: 48, fragment };
        assert_eq!(upper(&fragment(0)), Ok(at(None)));
        assert_eq!(upper(&fragment(1)), Ok(at(Some((0, true)))));
        assert_eq!(upper(&fragment(16)), Ok(at(Some((16, false)))));
    }

    #[test] // F-36
    fn the_chain_is_bounded_and_never_leaves_the_packet() {
        let chain = |count: usize| {
            let mut rest: Vec<u8> = (0..count).flat_map(|_| [DESTINATION, 0, 0, 0, 0, 0, 0, 0]).collect();
            let last = rest.len() - 8;
            rest[last] = 6;
            packet(DESTINATION, &rest)
        };
        assert_eq!(upper(&chain(EXTENSIONS_MAX)).unwrap().protocol, 6);
        assert_eq!(upper(&chain(EXTENSIONS_MAX + 1)), Err(Malformed::Extensions));
        assert_eq!(upper(&packet(DESTINATION, &[6, 1, 0, 0, 0, 0, 0, 0])), Err(Malformed::Length));
        assert_eq!(upper(&packet(FRAGMENT, &[6, 0, 0])), Err(Malformed::Length));
        assert_eq!(upper(&packet(HOP_BY_HOP, &[6])), Err(Malformed::Length));
    }
}
