//! Ethernet, IPv4 or IPv6, and UDP: written for the generator, read for the sink.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::checksum::{changed, finish, sum};
use crate::flow::Tuple;
use crate::size::CHECK_SEQUENCE_OCTETS;
use crate::stamp::{SENT_AT, STAMP_OCTETS, encode_time};

const ETHERNET_OCTETS: usize = 14;
const IPV4_OCTETS: usize = 20;
const IPV6_OCTETS: usize = 40;
const UDP_OCTETS: usize = 8;
const UDP: u8 = 17;
const HOPS: u8 = 64;
const UDP_CHECKSUM_AT: usize = 6;

/// The two addresses of an Ethernet frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ethernet {
    /// Who sends it.
    pub source: [u8; 6],
    /// The next hop.
    pub destination: [u8; 6],
}

/// What a received frame is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    /// A whole UDP packet whose checksums are right.
    Udp(Tuple, &'a [u8]),
    /// UDP or IPv4 with a wrong checksum.
    Damaged,
    /// Something else.
    Other,
}

/// The smallest frame that has room for a stamp, check sequence included: 64 octets in IPv4, 84 in IPv6.
#[must_use]
pub fn frame_octets_min(is_ipv6: bool) -> u16 {
    headers_octets(is_ipv6) as u16 + STAMP_OCTETS as u16 + CHECK_SEQUENCE_OCTETS
}

fn headers_octets(is_ipv6: bool) -> usize {
    ETHERNET_OCTETS + if is_ipv6 { IPV6_OCTETS } else { IPV4_OCTETS } + UDP_OCTETS
}

/// Writes a whole packet into `out`, which is as long as the frame without its check sequence and zero. The UDP checksum is
/// right in both families.
///
/// # Panics
/// When `out` is shorter than [`frame_octets_min`] says.
pub(crate) fn write(out: &mut [u8], ethernet: &Ethernet, tuple: &Tuple, stamp: &[u8; STAMP_OCTETS]) {
    let (head, ip) = out.split_at_mut(ETHERNET_OCTETS);
    head[..6].copy_from_slice(&ethernet.destination);
    head[6..12].copy_from_slice(&ethernet.source);
    let (ethertype, ip_octets): ([u8; 2], _) = match tuple.source {
        IpAddr::V4(_) => ([0x08, 0x00], IPV4_OCTETS),
        IpAddr::V6(_) => ([0x86, 0xdd], IPV6_OCTETS),
    };
    head[12..].copy_from_slice(&ethertype);
    let (ip, udp) = ip.split_at_mut(ip_octets);
    let udp_octets = udp.len() as u16;
    let addresses = match (tuple.source, tuple.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            write_ipv4(ip, udp_octets, source, destination);
            sum(&ip[12..])
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            write_ipv6(ip, udp_octets, source, destination);
            sum(&ip[8..])
        }
        _ => unreachable!("flows are made of addresses of one family"),
    };
    udp[..2].copy_from_slice(&tuple.source_port.to_be_bytes());
    udp[2..4].copy_from_slice(&tuple.destination_port.to_be_bytes());
    udp[4..6].copy_from_slice(&udp_octets.to_be_bytes());
    udp[UDP_OCTETS..UDP_OCTETS + STAMP_OCTETS].copy_from_slice(stamp);
    // Behind the stamp there are zeros only.
    let covered = sum(&udp[..UDP_OCTETS + STAMP_OCTETS]);
    let checksum = finish(addresses + u64::from(UDP) + u64::from(udp_octets) + covered);
    udp[UDP_CHECKSUM_AT..UDP_OCTETS].copy_from_slice(&never_zero(checksum).to_be_bytes());
}

/// Zero means that there is no checksum (RFC 768), so a sum that is zero is written the other way.
fn never_zero(checksum: u16) -> u16 {
    if checksum == 0 { 0xffff } else { checksum }
}

fn write_ipv4(ip: &mut [u8], udp_octets: u16, source: Ipv4Addr, destination: Ipv4Addr) {
    // Not to be fragmented: a device that must is to say so.
    ip[..12].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, HOPS, UDP, 0, 0]);
    ip[2..4].copy_from_slice(&(IPV4_OCTETS as u16 + udp_octets).to_be_bytes());
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..20].copy_from_slice(&destination.octets());
    let checksum = finish(sum(ip));
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
}

fn write_ipv6(ip: &mut [u8], udp_octets: u16, source: Ipv6Addr, destination: Ipv6Addr) {
    ip[..8].copy_from_slice(&[0x60, 0, 0, 0, 0, 0, UDP, HOPS]);
    ip[4..6].copy_from_slice(&udp_octets.to_be_bytes());
    ip[8..24].copy_from_slice(&source.octets());
    ip[24..40].copy_from_slice(&destination.octets());
}

/// Gives a packet of ours another time.
pub(crate) fn restamp(packet: &mut [u8], sent_ns: u64) {
    let is_ipv6 = packet[12] == 0x86;
    let Some((_, udp)) = packet.split_at_mut_checked(headers_octets(is_ipv6) - UDP_OCTETS) else { return };
    let Some((header, payload)) = udp.split_at_mut_checked(UDP_OCTETS) else { return };
    let Some(time) = payload.get_mut(SENT_AT..STAMP_OCTETS) else { return };
    let new = encode_time(sent_ns);
    let before = u16::from_be_bytes([header[UDP_CHECKSUM_AT], header[UDP_CHECKSUM_AT + 1]]);
    let after = changed(before, time, &new);
    time.copy_from_slice(&new);
    header[UDP_CHECKSUM_AT..].copy_from_slice(&never_zero(after).to_be_bytes());
}

/// Reads a frame that starts with an Ethernet header.
pub(crate) fn read(frame: &[u8]) -> Received<'_> {
    let Some((head, ip)) = frame.split_first_chunk::<ETHERNET_OCTETS>() else { return Received::Other };
    let packet = match head[12..] {
        [0x08, 0x00] => read_ipv4(ip),
        [0x86, 0xdd] => read_ipv6(ip),
        _ => return Received::Other,
    };
    packet.unwrap_or(Received::Other)
}

fn read_ipv4(ip: &[u8]) -> Option<Received<'_>> {
    let fixed = ip.first_chunk::<IPV4_OCTETS>()?;
    let header_octets = usize::from(fixed[0] & 15) * 4;
    let total = usize::from(u16::from_be_bytes([fixed[2], fixed[3]]));
    let is_fragment = u16::from_be_bytes([fixed[6], fixed[7]]) & 0x3fff != 0;
    if fixed[0] >> 4 != 4 || header_octets < IPV4_OCTETS || is_fragment || fixed[9] != UDP {
        return None;
    }
    if finish(sum(ip.get(..header_octets)?)) != 0 {
        return Some(Received::Damaged);
    }
    let addresses = fixed.last_chunk::<8>()?;
    let (source, destination) = addresses.split_first_chunk::<4>()?;
    let source = IpAddr::from(*source);
    let destination = IpAddr::from(*destination.first_chunk::<4>()?);
    read_udp(ip.get(header_octets..total)?, source, destination, sum(addresses))
}

fn read_ipv6(ip: &[u8]) -> Option<Received<'_>> {
    let (fixed, rest) = ip.split_first_chunk::<IPV6_OCTETS>()?;
    if fixed[0] >> 4 != 6 || fixed[6] != UDP {
        return None;
    }
    let payload = usize::from(u16::from_be_bytes([fixed[4], fixed[5]]));
    let addresses = fixed.last_chunk::<32>()?;
    let source = IpAddr::from(*addresses.first_chunk::<16>()?);
    let destination = IpAddr::from(*addresses.last_chunk::<16>()?);
    read_udp(rest.get(..payload)?, source, destination, sum(addresses))
}

fn read_udp(udp: &[u8], source: IpAddr, destination: IpAddr, addresses: u64) -> Option<Received<'_>> {
    let (header, _) = udp.split_first_chunk::<UDP_OCTETS>()?;
    let word = |at| u16::from_be_bytes([header[at], header[at + 1]]);
    let udp = udp.get(..usize::from(word(4)))?;
    let payload = udp.get(UDP_OCTETS..)?;
    let has_checksum = word(UDP_CHECKSUM_AT) != 0;
    if has_checksum && finish(addresses + u64::from(UDP) + udp.len() as u64 + sum(udp)) != 0 {
        return Some(Received::Damaged);
    }
    let tuple = Tuple { source, destination, source_port: word(0), destination_port: word(2) };
    Some(Received::Udp(tuple, payload))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stamp::Stamp;
    use proptest::prelude::*;

    const ETHERNET: Ethernet = Ethernet { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] };

    fn tuple(is_ipv6: bool, source_port: u16) -> Tuple {
        let [source, destination] =
            if is_ipv6 { ["2001:db8:1::1", "2001:db8:2::9"] } else { ["10.1.0.1", "10.2.3.4"] };
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Tuple { source, destination, source_port, destination_port: 9 }
    }

    fn packet(is_ipv6: bool, octets: usize, stamp: Stamp) -> Vec<u8> {
        let mut out = vec![0; octets];
        write(&mut out, &ETHERNET, &tuple(is_ipv6, 4321), &stamp.encode());
        out
    }

    #[test] // RFC 2544 §9
    fn the_smallest_frame_has_room_for_a_stamp() {
        assert_eq!(frame_octets_min(false), 64);
        assert_eq!(frame_octets_min(true), 84);
        let stamp = Stamp { stream: 7, sequence: 1 << 40, sent_ns: 99 };
        for (is_ipv6, octets) in [(false, 60), (true, 80)] {
            let packet = packet(is_ipv6, octets, stamp);
            let Received::Udp(read, payload) = read(&packet) else { panic!("no UDP") };
            assert_eq!((read, payload.len()), (tuple(is_ipv6, 4321), STAMP_OCTETS));
            assert_eq!(Stamp::decode(payload), Some(stamp));
        }
    }

    #[test]
    fn a_packet_is_written_octet_by_octet_as_the_rfcs_say() {
        let packet = packet(false, 60, Stamp { stream: 1, sequence: 2, sent_ns: 3 });
        let expected: Vec<u8> = [
            &[2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0][..],
            &[0x45, 0, 0, 46, 0, 0, 0x40, 0, 64, 17, 0x23, 0xba, 10, 1, 0, 1, 10, 2, 3, 4],
            &[0x10, 0xe1, 0, 9, 0, 26, 0x20, 0x40],
            b"Wp",
            &[0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 3],
        ]
        .concat();
        // The two checksums are compared with sums that were made by hand.
        let mut without = packet.clone();
        let mut expected_without = expected.clone();
        for octets in [&mut without, &mut expected_without] {
            octets[24..26].fill(0);
            octets[40..42].fill(0);
        }
        assert_eq!(without, expected_without);
        let words =
            |octets: &[u8]| octets.chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum::<u32>();
        let fold = |sum: u32| (sum & 0xffff) + (sum >> 16);
        assert_eq!(fold(words(&packet[14..34])), 0xffff);
        assert_eq!(fold(words(&packet[26..60]) + 17 + 26), 0xffff);
    }

    #[test]
    fn what_is_not_ours_is_told_from_what_is_damaged() {
        let good = packet(false, 100, Stamp { stream: 1, sequence: 2, sent_ns: 3 });
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            let is_addresses = at < 12;
            let read = read(&bad);
            assert_eq!(matches!(read, Received::Udp(..)), is_addresses, "octet {at}: {read:?}");
        }
        for length in 0..good.len() {
            assert_eq!(read(&good[..length]), Received::Other, "{length}");
        }
        let mut padded = good.clone();
        padded.extend([0xaa; 7]);
        assert!(matches!(read(&padded), Received::Udp(_, payload) if payload.len() == 58));
        let mut unsummed = good.clone();
        unsummed[40..42].fill(0);
        assert!(matches!(read(&unsummed), Received::Udp(..)));
    }

    proptest! {
        #[test]
        fn every_packet_is_read_back_also_with_another_time(
            is_ipv6: bool, more in 0usize..1400, stream: u16, sequence: u64, sent in 0u64..1 << 48, later in 0u64..1 << 48, port: u16
        ) {
            let octets = usize::from(frame_octets_min(is_ipv6) - CHECK_SEQUENCE_OCTETS) + more;
            let mut packet = vec![0; octets];
            let stamp = Stamp { stream, sequence, sent_ns: sent };
            write(&mut packet, &ETHERNET, &tuple(is_ipv6, port), &stamp.encode());
            for sent_ns in [sent, later] {
                restamp(&mut packet, sent_ns);
                let Received::Udp(read, payload) = read(&packet) else { panic!("no UDP") };
                prop_assert_eq!(read, tuple(is_ipv6, port));
                prop_assert_eq!(Stamp::decode(payload), Some(Stamp { sent_ns, ..stamp }));
            }
        }

        #[test]
        fn no_frame_makes_the_reader_panic(frame in proptest::collection::vec(any::<u8>(), 0..120), ipv6: bool, version in 0u8..8) {
            let mut frame = frame;
            if frame.len() > 23 {
                frame[12..14].copy_from_slice(if ipv6 { &[0x86, 0xdd] } else { &[8, 0] });
                frame[14] = version << 4 | 5;
                frame[if ipv6 { 20 } else { 23 }] = UDP;
            }
            let _ = read(&frame);
        }
    }
}
