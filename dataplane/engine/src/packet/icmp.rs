//! ICMP error messages (RFC 792, RFC 1191, RFC 4443): which packets may be answered, and with what bytes.

use super::checksum::Sum;
use super::summary::{Fragment, Summary};
use super::{ipv4, ipv6, protocol, read_u16, udp, write_u16};
use crate::limits::{ICMPV4_ERROR_OCTETS_MAX, ICMPV6_ERROR_OCTETS_MAX};
use std::net::{Ipv4Addr, Ipv6Addr};

/// Octets of an error message's header.
pub const HEADER_OCTETS: usize = 8;
/// Hop limit of what we send.
const TTL: u8 = 64;

/// What went wrong with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// It is too big for the way ahead, which takes packets up to this size.
    TooBig {
        /// Octets of the largest packet that fits.
        mtu: u16,
    },
    /// Its time to live ran out.
    TimeExceeded,
    /// Nobody knows the way.
    NoRoute,
}

impl Error {
    const fn ipv4(self) -> (u8, u8, u32) {
        match self {
            Self::TooBig { mtu } => (3, 4, mtu as u32),
            Self::TimeExceeded => (11, 0, 0),
            Self::NoRoute => (3, 0, 0),
        }
    }

    const fn ipv6(self) -> (u8, u8, u32) {
        match self {
            Self::TooBig { mtu } => (2, 0, mtu as u32),
            Self::TimeExceeded => (3, 0, 0),
            Self::NoRoute => (1, 0, 0),
        }
    }
}

/// Whether a packet may be answered with an error at all (RFC 1122 §3.2.2, RFC 4443 §2.4 e): never an error with an
/// error, or two gateways would keep each other busy.
#[must_use]
pub fn may_answer(summary: &Summary, packet: &[u8]) -> bool {
    if summary.fragment == Fragment::Later || summary.is_martian() || summary.is_multicast() {
        return false;
    }
    let first = packet.get(summary.upper_at).copied();
    match summary.tuple.protocol {
        protocol::ICMP => !matches!(first, None | Some(3 | 4 | 5 | 11 | 12)),
        protocol::ICMPV6 => matches!(first, Some(128..)),
        _ => true,
    }
}

/// Whether a message, from its type on, is an error that quotes a whole UDP datagram to that port, or the first
/// fragment of one. What is quoted has been on the way and is checked no further: its header may have been changed,
/// and most of it may be missing.
#[must_use]
pub fn quotes_udp_to(port: u16, number: u8, message: &[u8]) -> bool {
    let is_error = match (number, message.first()) {
        (protocol::ICMP, Some(kind)) => matches!(kind, 3 | 4 | 11 | 12),
        (protocol::ICMPV6, Some(kind)) => matches!(kind, 1..=4),
        _ => false,
    };
    let quoted = message.get(HEADER_OCTETS..).filter(|_| is_error).unwrap_or_default();
    let upper = match (number, quoted.first()) {
        (protocol::ICMP, Some(first)) if first >> 4 == 4 && quoted.len() >= ipv4::HEADER_OCTETS => {
            let is_later_fragment = read_u16(quoted, 6) & ipv4::OFFSET != 0;
            let header = usize::from(first & 0x0F) * 4;
            (quoted[9] == protocol::UDP && !is_later_fragment && header >= ipv4::HEADER_OCTETS)
                .then(|| quoted.get(header..))
                .flatten()
        }
        (protocol::ICMPV6, Some(first)) if first >> 4 == 6 && quoted.len() >= ipv6::HEADER_OCTETS => {
            (quoted[6] == protocol::UDP).then(|| &quoted[ipv6::HEADER_OCTETS..])
        }
        _ => None,
    };
    upper.is_some_and(|upper| upper.len() >= udp::HEADER_OCTETS && read_u16(upper, 2) == port)
}

/// Octets of the IPv4 message that quotes a packet of `quoted` octets.
#[must_use]
pub fn octets_ipv4(quoted: usize) -> usize {
    (ipv4::HEADER_OCTETS + HEADER_OCTETS + quoted).min(ICMPV4_ERROR_OCTETS_MAX)
}

/// Octets of the IPv6 message that quotes a packet of `quoted` octets.
#[must_use]
pub fn octets_ipv6(quoted: usize) -> usize {
    (ipv6::HEADER_OCTETS + HEADER_OCTETS + quoted).min(ICMPV6_ERROR_OCTETS_MAX)
}

/// Writes the message into `octets`, which is as long as [`octets_ipv4`] says.
pub fn emit_ipv4(octets: &mut [u8], error: Error, from: Ipv4Addr, to: Ipv4Addr, id: u16, packet: &[u8]) {
    let total_octets = octets.len();
    let header = ipv4::Header {
        traffic_class: 0,
        total_octets,
        id,
        dont_fragment: false,
        ttl: TTL,
        protocol: protocol::ICMP,
        source: from,
        destination: to,
    };
    ipv4::emit(octets, &header);
    let message = &mut octets[ipv4::HEADER_OCTETS..];
    emit_message(message, error.ipv4(), packet);
    let sum = Sum::default().octets(message).finish();
    write_u16(message, 2, sum);
}

/// Writes the message into `octets`, which is as long as [`octets_ipv6`] says.
pub fn emit_ipv6(octets: &mut [u8], error: Error, from: Ipv6Addr, to: Ipv6Addr, packet: &[u8]) {
    let payload_octets = octets.len() - ipv6::HEADER_OCTETS;
    let header = ipv6::Header {
        traffic_class: 0,
        flow_label: 0,
        payload_octets,
        next_header: protocol::ICMPV6,
        hop_limit: TTL,
        source: from,
        destination: to,
    };
    ipv6::emit(octets, &header);
    let message = &mut octets[ipv6::HEADER_OCTETS..];
    emit_message(message, error.ipv6(), packet);
    let sum = Sum::default().pseudo_ipv6(from, to, protocol::ICMPV6, payload_octets).octets(message).finish();
    write_u16(message, 2, sum);
}

fn emit_message(message: &mut [u8], (kind, code, rest): (u8, u8, u32), packet: &[u8]) {
    message[0] = kind;
    message[1] = code;
    message[2..4].fill(0);
    message[4..HEADER_OCTETS].copy_from_slice(&rest.to_be_bytes());
    let quoted = message.len() - HEADER_OCTETS;
    message[HEADER_OCTETS..].copy_from_slice(&packet[..quoted]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(number: u8, kind: u8) -> Vec<u8> {
        let mut packet = vec![0; 700];
        let header = ipv4::Header {
            traffic_class: 0,
            total_octets: 700,
            id: 1,
            dont_fragment: true,
            ttl: 9,
            protocol: number,
            source: Ipv4Addr::new(10, 1, 0, 1),
            destination: Ipv4Addr::new(10, 2, 0, 1),
        };
        ipv4::emit(&mut packet, &header);
        packet[20] = kind;
        packet
    }

    fn answered(octets: &[u8]) -> bool {
        may_answer(&Summary::of(octets).unwrap(), octets)
    }

    #[test] // RFC 1122 §3.2.2
    fn errors_are_never_answered_with_errors() {
        assert!(answered(&packet(17, 0)));
        assert!(answered(&packet(protocol::ICMP, 8)));
        assert!(!answered(&packet(protocol::ICMP, 3)));
        assert!(!answered(&packet(protocol::ICMP, 11)));
    }

    #[test] // TED-28
    fn an_error_quotes_a_datagram_where_enough_of_it_is_left() {
        let mut datagram = packet(17, 0);
        datagram[22..24].copy_from_slice(&500u16.to_be_bytes());
        let message = |kind: u8, quoted: &[u8]| [&[kind, 1, 0, 0, 0, 0, 0, 0], quoted].concat();
        let quotes = |message: &[u8]| quotes_udp_to(500, protocol::ICMP, message);
        for (kind, is_error) in
            [(3, true), (4, true), (11, true), (12, true), (0, false), (8, false), (5, false)]
        {
            assert_eq!(quotes(&message(kind, &datagram)), is_error, "{kind}");
        }
        let good = message(3, &datagram[..28]);
        assert!(quotes(&good));
        for cut in 0..good.len() {
            assert!(!quotes(&good[..cut]), "{cut}");
        }
        let changed = |at: usize, value: u8| {
            let mut message = good.clone();
            message[8 + at] = value;
            quotes(&message)
        };
        // Another port, protocol or version; a header too short or longer than the quotation; a later fragment.
        assert!(
            [(23, 1), (9, 6), (0, 0x65), (0, 0x44), (0, 0x4F), (7, 1)]
                .iter()
                .all(|&(at, to)| !changed(at, to))
        );
        // A time to live that ran out and a checksum that somebody forgot to mend are what errors quote.
        assert!(changed(8, 0) && changed(10, 0xEE));
        assert!(!quotes_udp_to(500, protocol::ICMPV6, &good));
    }

    #[test] // TED-28
    fn an_icmpv6_error_quotes_a_datagram_too() {
        let mut datagram = [0; 48];
        (datagram[0], datagram[6]) = (0x60, 17);
        datagram[42..44].copy_from_slice(&500u16.to_be_bytes());
        for (kind, is_error) in [(1, true), (4, true), (0, false), (5, false), (128, false)] {
            let message = [&[kind, 0, 0, 0, 0, 0, 0, 0], &datagram[..]].concat();
            assert_eq!(quotes_udp_to(500, protocol::ICMPV6, &message), is_error);
            assert!(!quotes_udp_to(500, protocol::ICMPV6, &message[..55]));
            assert!(!quotes_udp_to(501, protocol::ICMPV6, &message));
        }
    }

    #[test] // RFC 1191 §4
    fn fragmentation_needed_carries_the_next_hop_mtu_and_a_right_checksum() {
        let original = packet(17, 0);
        let mut octets = vec![0xEE; octets_ipv4(original.len())];
        let (gateway, host) = (Ipv4Addr::new(10, 1, 0, 254), Ipv4Addr::new(10, 1, 0, 1));
        emit_ipv4(&mut octets, Error::TooBig { mtu: 1438 }, gateway, host, 5, &original);
        assert_eq!(octets.len(), ICMPV4_ERROR_OCTETS_MAX);
        let summary = Summary::of(&octets).unwrap();
        assert_eq!(summary.tuple.destination, host);
        let message = &octets[20..];
        assert_eq!(message[..2], [3, 4]);
        assert_eq!(read_u16(message, 6), 1438);
        assert_eq!(Sum::default().octets(message).finish(), 0);
        assert_eq!(message[8..], original[..message.len() - 8]);
    }

    #[test] // RFC 4443 §3.2
    fn packet_too_big_fits_the_minimum_mtu() {
        let original = vec![0x60; 1500];
        let mut octets = vec![0; octets_ipv6(original.len())];
        let (gateway, host) = ("2001:db8::1".parse().unwrap(), "2001:db8::2".parse().unwrap());
        emit_ipv6(&mut octets, Error::TooBig { mtu: 1400 }, gateway, host, &original);
        assert_eq!(octets.len(), 1280);
        let message = &octets[40..];
        assert_eq!(message[..2], [2, 0]);
        let sum = Sum::default().pseudo_ipv6(gateway, host, protocol::ICMPV6, message.len()).octets(message);
        assert_eq!(sum.finish(), 0);
        assert!(!answered_ipv6(&octets));
    }

    fn answered_ipv6(octets: &[u8]) -> bool {
        may_answer(&Summary::of(octets).unwrap(), octets)
    }
}
