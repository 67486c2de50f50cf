//! IP packets that carry discovery messages: ours are built whole, those of others are taken apart as far as they hold
//! what they claim.
//!
//! ```text
//! IPv4 20 | IPv6 40, next header UDP  ──►  UDP 8  ──►  ISAKMP
//! ICMP error  ──►  8 octets  ──►  the beginning of the packet that caused it
//! ```

use crate::path::PORT_ISAKMP;
use crate::wire::Cookie;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocol numbers (IANA).
const ICMP: u8 = 1;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;
/// Octets of an IPv4 header without options.
const IPV4_OCTETS: usize = 20;
/// Octets of an IPv6 header.
const IPV6_OCTETS: usize = 40;
/// Octets of a UDP header.
const UDP_OCTETS: usize = 8;
/// Hops of a probe: as many as hosts give their packets (RFC 1700).
const HOPS: u8 = 64;
/// Octets of an ICMP error in front of its quotation (RFC 792, RFC 4443 §3).
const ICMP_OCTETS: usize = 8;

/// A UDP datagram in a whole IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Datagram<'a> {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) payload: &'a [u8],
    /// Whether the checksum says so. Over IPv4 it may be missing; over IPv6 there is always one (RFC 8200 §8.1).
    pub(super) is_intact: bool,
    /// Octets of the IP packet, without what a link appended.
    pub(super) packet_octets: usize,
}

/// Octets of the IP packet around a UDP payload of that length, without extension headers and options.
pub(super) const fn packet_octets(is_ipv6: bool, payload_octets: usize) -> usize {
    (if is_ipv6 { IPV6_OCTETS } else { IPV4_OCTETS }) + UDP_OCTETS + payload_octets
}

/// A probe's way: in the name of `source`, to port 500 of `destination` (REQUIREMENTS TED-12 … TED-15). `None` for mixed
/// families, or for more than a packet holds.
pub(super) fn build(
    source: IpAddr,
    destination: IpAddr,
    source_port: u16,
    payload: &[u8],
) -> Option<Vec<u8>> {
    let udp_octets = u16::try_from(UDP_OCTETS + payload.len()).ok()?;
    let mut packet = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => ipv4_header(source, destination, udp_octets)?,
        (IpAddr::V6(source), IpAddr::V6(destination)) => ipv6_header(source, destination, udp_octets),
        _ => return None,
    };
    let mut datagram = Vec::with_capacity(usize::from(udp_octets));
    for field in [source_port, PORT_ISAKMP, udp_octets, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(payload);
    // RFC 768: a sum of zero is sent as all ones; zero would mean that there is none.
    let checksum = match checksum(&[&pseudo_header(source, destination, udp_octets), &datagram]) {
        0 => u16::MAX,
        other => other,
    };
    if let Some(field) = datagram.get_mut(6..UDP_OCTETS) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    packet.extend(datagram);
    Some(packet)
}

/// Not to be fragmented, so that its identification may be anything (RFC 6864 §4.1).
fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr, udp_octets: u16) -> Option<Vec<u8>> {
    let total = udp_octets.checked_add(IPV4_OCTETS as u16)?;
    let mut header = vec![0x45, 0];
    header.extend(total.to_be_bytes());
    header.extend([0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
    header.extend(source.octets());
    header.extend(destination.octets());
    let checksum = checksum(&[&header]);
    if let Some(field) = header.get_mut(10..12) {
        field.copy_from_slice(&checksum.to_be_bytes());
    }
    Some(header)
}

fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr, udp_octets: u16) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0];
    header.extend(udp_octets.to_be_bytes());
    header.extend([UDP, HOPS]);
    header.extend(source.octets());
    header.extend(destination.octets());
    header
}

fn pseudo_header(source: IpAddr, destination: IpAddr, udp_octets: u16) -> Vec<u8> {
    let mut octets = Vec::with_capacity(IPV6_OCTETS);
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => octets.extend(v4.octets()),
            IpAddr::V6(v6) => octets.extend(v6.octets()),
        }
    }
    octets.extend([0, UDP]);
    octets.extend(udp_octets.to_be_bytes());
    octets
}

/// The Internet checksum (RFC 1071) of the parts one behind the other; all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0u64;
    for part in parts {
        let (words, odd) = part.as_chunks::<2>();
        sum += words.iter().map(|word| u64::from(u16::from_be_bytes(*word))).sum::<u64>();
        sum += odd.first().map_or(0, |octet| u64::from(*octet) << 8);
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IP packet as far as its addresses go.
struct Ip<'a> {
    source: IpAddr,
    destination: IpAddr,
    /// What stands behind the fixed header says the protocol; behind extension headers the worker has to.
    protocol: u8,
    upper_at: usize,
    /// As long as the packet says it is, or as much of it as there is.
    octets: &'a [u8],
    is_cut: bool,
    is_fragment: bool,
}

fn array<const N: usize>(octets: &[u8], at: usize) -> Option<[u8; N]> {
    octets.get(at..)?.first_chunk::<N>().copied()
}

fn u16_at(octets: &[u8], at: usize) -> Option<u16> {
    array(octets, at).map(u16::from_be_bytes)
}

fn ip(octets: &[u8]) -> Option<Ip<'_>> {
    match octets.first()? >> 4 {
        4 => {
            let upper_at = usize::from(octets.first()? & 15) * 4;
            let total = usize::from(u16_at(octets, 2)?);
            let fragment = u16_at(octets, 6)?;
            (upper_at >= IPV4_OCTETS && total >= upper_at && octets.len() >= upper_at).then_some(())?;
            Some(Ip {
                source: Ipv4Addr::from(array::<4>(octets, 12)?).into(),
                destination: Ipv4Addr::from(array::<4>(octets, 16)?).into(),
                protocol: *octets.get(9)?,
                upper_at,
                octets: octets.get(..total).unwrap_or(octets),
                is_cut: octets.len() < total,
                is_fragment: fragment & 0x3fff != 0,
            })
        }
        6 => {
            let total = IPV6_OCTETS + usize::from(u16_at(octets, 4)?);
            Some(Ip {
                source: Ipv6Addr::from(array::<16>(octets, 8)?).into(),
                destination: Ipv6Addr::from(array::<16>(octets, 24)?).into(),
                protocol: *octets.get(6)?,
                upper_at: IPV6_OCTETS,
                octets: octets.get(..total).unwrap_or(octets),
                is_cut: octets.len() < total,
                is_fragment: false,
            })
        }
        _ => None,
    }
}

/// The UDP datagram of a whole packet whose upper layer begins at `upper_at`.
pub(super) fn datagram(packet: &[u8], protocol: u8, upper_at: usize) -> Option<Datagram<'_>> {
    let ip = ip(packet)?;
    if ip.is_cut || ip.is_fragment || protocol != UDP || upper_at < ip.upper_at {
        return None;
    }
    let upper = ip.octets.get(upper_at..)?;
    let udp_octets = u16_at(upper, 4)?;
    let udp = upper.get(..usize::from(udp_octets))?;
    let payload = udp.get(UDP_OCTETS..)?;
    let has_checksum = u16_at(udp, 6)? != 0;
    let sum = || checksum(&[&pseudo_header(ip.source, ip.destination, udp_octets), udp]);
    Some(Datagram {
        source: ip.source,
        destination: ip.destination,
        source_port: u16_at(udp, 0)?,
        destination_port: u16_at(udp, 2)?,
        payload,
        is_intact: if has_checksum { sum() == 0 } else { !ip.source.is_ipv6() },
        packet_octets: ip.octets.len(),
    })
}

/// Which packet to port 500 an error is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quotation {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) source_port: u16,
    /// CKY-I, where the quotation reaches that far: RFC 792 asks for no more than the UDP header.
    pub(super) cookie: Option<Cookie>,
}

/// What an ICMP error quotes, if that is UDP to port 500 and the error goes to whoever seems to have sent it.
pub(super) fn quotation(packet: &[u8], protocol: u8, upper_at: usize) -> Option<Quotation> {
    let outer = ip(packet)?;
    let message = outer.octets.get(upper_at..)?;
    let is_error = match (outer.destination.is_ipv6(), protocol) {
        // Unreachable, source quench, time exceeded, parameter problem.
        (false, ICMP) => matches!(message.first()?, 3 | 4 | 11 | 12),
        // Unreachable, too big, time exceeded, parameter problem.
        (true, ICMPV6) => matches!(message.first()?, 1..=4),
        _ => false,
    };
    if !is_error || upper_at < outer.upper_at {
        return None;
    }
    let quoted = ip(message.get(ICMP_OCTETS..)?)?;
    // Our probes have neither fragments nor extension headers, so that a quotation of one has none either.
    if quoted.protocol != UDP || quoted.is_fragment || quoted.source != outer.destination {
        return None;
    }
    let udp = quoted.octets.get(quoted.upper_at..)?;
    (u16_at(udp, 2)? == PORT_ISAKMP).then_some(Quotation {
        source: quoted.source,
        destination: quoted.destination,
        source_port: u16_at(udp, 0)?,
        cookie: array(udp, UDP_OCTETS),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// RFC 1071 as it is written there, word by word with the carry put back each time.
    fn is_summed(octets: &[u8]) -> bool {
        let mut sum = 0u32;
        for word in octets.chunks(2) {
            sum += u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum == 0xffff
    }

    #[test] // TED-12, TED-13, TED-14, TED-15, TED-27
    fn a_packet_is_these_octets() {
        let packet = build(address("10.1.3.4"), address("10.2.5.6"), 0xc000, b"ike").unwrap();
        let expected = "4500001f0000400040111ec20a0103040a020506c00001f4000b536b696b65";
        assert_eq!(hex::encode(&packet), expected);
        assert!(is_summed(&packet[..20]), "header");
        let pseudo = [&packet[12..20], &[0, 17, 0, 11][..], &packet[20..]].concat();
        assert!(is_summed(&pseudo), "UDP");
        let packet = build(address("2001:db8:1::4"), address("2001:db8:2::6"), 500, b"ike!").unwrap();
        let expected = concat!(
            "60000000000c1140",
            "20010db8000100000000000000000004",
            "20010db8000200000000000000000006",
            "01f401f4000c"
        );
        assert_eq!(hex::encode(&packet[..46]), expected);
        assert!(is_summed(&[&packet[8..40], &[0, 17, 0, 12][..], &packet[40..]].concat()), "UDP over IPv6");
        assert_eq!(build(address("10.1.3.4"), address("2001:db8::1"), 500, b""), None);
        assert_eq!(build(address("10.1.3.4"), address("10.2.5.6"), 500, &[0; 65_508]), None, "no packet");
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_all_ones() {
        // Found by trying: the payload that makes the sum zero.
        let sums = (0..=u16::MAX).map(|word| {
            let packet = build(address("10.1.3.4"), address("10.2.5.6"), 500, &word.to_be_bytes()).unwrap();
            let intact = datagram(&packet, 17, 20).unwrap().is_intact;
            (u16::from_be_bytes([packet[26], packet[27]]), intact)
        });
        let sums: Vec<_> = sums.collect();
        assert!(sums.iter().all(|(sum, intact)| *sum != 0 && *intact));
        assert!(sums.iter().any(|(sum, _)| *sum == u16::MAX));
    }

    #[test]
    fn a_datagram_is_taken_out_as_it_was_put_in_whatever_a_link_appends() {
        for (source, destination) in [("10.1.3.4", "10.2.5.6"), ("2001:db8:1::4", "2001:db8:2::6")] {
            let (source, destination) = (address(source), address(destination));
            let mut packet = build(source, destination, 4242, b"payload").unwrap();
            let octets = packet.len();
            assert_eq!(octets, packet_octets(source.is_ipv6(), 7));
            packet.extend([0xee; 9]);
            let upper_at = if source.is_ipv6() { 40 } else { 20 };
            let expected = Datagram {
                source,
                destination,
                source_port: 4242,
                destination_port: 500,
                payload: b"payload",
                is_intact: true,
                packet_octets: octets,
            };
            assert_eq!(datagram(&packet, 17, upper_at), Some(expected));
            for at in upper_at..octets {
                let mut damaged = packet.clone();
                damaged[at] ^= 0x10;
                assert!(!datagram(&damaged, 17, upper_at).is_some_and(|datagram| datagram.is_intact), "{at}");
            }
            for octets in 0..octets {
                assert_eq!(datagram(&packet[..octets], 17, upper_at), None, "cut off at {octets}");
            }
            assert_eq!(datagram(&packet, 6, upper_at), None, "not UDP");
            assert_eq!(datagram(&packet, 17, upper_at - 4), None, "inside the header");
        }
    }

    #[test]
    fn fragments_are_no_datagrams_and_a_checksum_may_be_missing_only_over_ipv4() {
        let mut packet = build(address("10.1.3.4"), address("10.2.5.6"), 4242, b"payload").unwrap();
        packet[26..28].fill(0);
        assert!(datagram(&packet, 17, 20).unwrap().is_intact);
        packet[6] = 0x20;
        assert_eq!(datagram(&packet, 17, 20), None, "more fragments");
        packet[6..8].copy_from_slice(&[0, 1]);
        assert_eq!(datagram(&packet, 17, 20), None, "a later fragment");
        let mut packet = build(address("2001:db8::1"), address("2001:db8::2"), 4242, b"payload").unwrap();
        packet[46..48].fill(0);
        assert!(!datagram(&packet, 17, 40).unwrap().is_intact);
    }

    proptest! {
        #[test] // F-36
        fn no_octets_panic(octets: Vec<u8>, first: u8, protocol: u8, upper_at in 0usize..200) {
            let mut octets = octets;
            if let Some(octet) = octets.first_mut() {
                *octet = first;
            }
            let _ = (datagram(&octets, protocol, upper_at), quotation(&octets, protocol, upper_at));
        }
    }
}
