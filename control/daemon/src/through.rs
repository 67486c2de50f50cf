//! IKE datagrams as IP packets, for peers that are reached through tunnels of ours (REQUIREMENTS NT-12).
//!
//! ```text
//! path, message (the non-ESP marker in front, as for a socket) ──> UDP, checksum ──> IP ──> engine
//! ```
//!
//! What a socket would leave to the kernel is done here, because the engine and not the kernel sends these. The engine cuts
//! what is longer than there is room inside the tunnels.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_ike::Path;

/// IANA protocol number of UDP.
const UDP: u8 = 17;
/// Octets of headers: IPv4 without options (RFC 791 §3.1), IPv6 (RFC 8200 §3), UDP (RFC 768).
const IPV4_OCTETS: usize = 20;
const IPV6_OCTETS: usize = 40;
const UDP_OCTETS: usize = 8;
/// Hops: as many as hosts give their packets (RFC 1700).
const HOPS: u8 = 64;

/// A datagram that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoPacket {
    /// IP's lengths have sixteen bits.
    #[error("{0} octets are more than an IP packet holds")]
    TooLarge(usize),
    /// An IPv4 and an IPv6 address.
    #[error("its two addresses are of two families")]
    TwoFamilies,
}

/// Makes packets, each under another identification.
pub(crate) struct Packets {
    identification: u16,
}

impl Packets {
    /// The first identification should be a random one: after a restart fragments from before may still be on their way.
    pub(crate) const fn new(identification: u16) -> Self {
        Self { identification }
    }

    /// The packet that brings `octets` along `path`. It may be fragmented on the way.
    ///
    /// # Errors
    /// There is no such packet; nothing is sent.
    pub(crate) fn of(&mut self, path: &Path, octets: &[u8]) -> Result<Vec<u8>, NoPacket> {
        self.identification = self.identification.wrapping_add(1);
        match (path.local.ip(), path.remote.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                // The total length counts the header too.
                let datagram = udp(path, octets, usize::from(u16::MAX) - IPV4_OCTETS)?;
                Ok(ipv4(source, destination, self.identification, &datagram))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let datagram = udp(path, octets, usize::from(u16::MAX))?;
                Ok(ipv6(source, destination, &datagram))
            }
            _ => Err(NoPacket::TwoFamilies),
        }
    }
}

/// Header, checksum and payload; at most `octets_max` of them.
fn udp(path: &Path, octets: &[u8], octets_max: usize) -> Result<Vec<u8>, NoPacket> {
    let whole = UDP_OCTETS + octets.len();
    let length = u16::try_from(whole).ok().filter(|_| whole <= octets_max);
    let length = length.ok_or(NoPacket::TooLarge(octets.len()))?;
    let mut datagram = Vec::with_capacity(whole);
    for field in [path.local.port(), path.remote.port(), length, 0] {
        datagram.extend(field.to_be_bytes());
    }
    datagram.extend(octets);
    // RFC 768: a sum of zero is sent as all ones; zero would mean that there is none.
    let sum = match checksum(&[&pseudo_header(path, length), &datagram]) {
        0 => u16::MAX,
        sum => sum,
    };
    datagram[6..UDP_OCTETS].copy_from_slice(&sum.to_be_bytes());
    Ok(datagram)
}

/// Of both families: the same words, those of IPv6 with more zeros between them (RFC 768, RFC 8200 §8.1).
fn pseudo_header(path: &Path, length: u16) -> Vec<u8> {
    let mut header = Vec::with_capacity(IPV6_OCTETS);
    for address in [path.local.ip(), path.remote.ip()] {
        match address {
            IpAddr::V4(v4) => header.extend(v4.octets()),
            IpAddr::V6(v6) => header.extend(v6.octets()),
        }
    }
    header.extend([0, UDP]);
    header.extend(length.to_be_bytes());
    header
}

/// *Don't fragment* stays clear (RFC 791 §2.3): IKE has no path MTU discovery to learn from.
fn ipv4(source: Ipv4Addr, destination: Ipv4Addr, identification: u16, datagram: &[u8]) -> Vec<u8> {
    let length = IPV4_OCTETS + datagram.len();
    let mut packet = Vec::with_capacity(length);
    packet.extend([0x45, 0]);
    packet.extend((length as u16).to_be_bytes());
    packet.extend(identification.to_be_bytes());
    packet.extend([0, 0, HOPS, UDP, 0, 0]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(datagram);
    packet
}

fn ipv6(source: Ipv6Addr, destination: Ipv6Addr, datagram: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(IPV6_OCTETS + datagram.len());
    packet.extend([0x60, 0, 0, 0]);
    packet.extend((datagram.len() as u16).to_be_bytes());
    packet.extend([UDP, HOPS]);
    packet.extend(source.octets());
    packet.extend(destination.octets());
    packet.extend(datagram);
    packet
}

/// The Internet checksum (RFC 1071) of the parts one behind the other; all but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn path(local: &str, remote: &str) -> Path {
        Path { local: local.parse().unwrap(), remote: remote.parse().unwrap() }
    }

    const V4: (&str, &str) = ("192.0.2.1:500", "198.51.100.2:500");
    const V6: (&str, &str) = ("[2001:db8::1]:4500", "[2001:db8:2::2]:61234");

    /// Bit by bit, carries added as they come: slower, and not the code above.
    fn slow_sum(octets: &[u8]) -> u16 {
        let mut sum = 0_u16;
        for (at, octet) in octets.iter().enumerate() {
            let word = if at % 2 == 0 { u16::from(*octet) << 8 } else { u16::from(*octet) };
            let (wrapped, carry) = sum.overflowing_add(word);
            sum = wrapped + u16::from(carry);
        }
        sum
    }

    /// Takes a packet apart by the RFCs' figures, headers checked: its identification, and the datagram.
    fn taken_apart(packet: &[u8]) -> (Option<u16>, Vec<u8>) {
        let word = |octets: &[u8], at: usize| u16::from_be_bytes([octets[at], octets[at + 1]]);
        let (identification, mut pseudo, datagram) = match packet[0] >> 4 {
            4 => {
                assert_eq!((packet[0], usize::from(word(packet, 2))), (0x45, packet.len()));
                assert_eq!(slow_sum(&packet[..20]), 0xffff, "the header's own checksum");
                assert_eq!((packet[8], packet[9]), (64, 17));
                assert_eq!(word(packet, 6), 0, "no fragment, and it may become several");
                (Some(word(packet, 4)), packet[12..20].to_vec(), packet[20..].to_vec())
            }
            6 => {
                assert_eq!(usize::from(word(packet, 4)) + 40, packet.len());
                assert_eq!((packet[0], packet[6], packet[7]), (0x60, 17, 64));
                (None, packet[8..40].to_vec(), packet[40..].to_vec())
            }
            other => panic!("IP version {other}"),
        };
        assert_eq!(usize::from(word(&datagram, 4)), datagram.len());
        assert_ne!(word(&datagram, 6), 0, "zero says that there is no checksum");
        pseudo.extend([0, 17]);
        pseudo.extend((datagram.len() as u16).to_be_bytes());
        pseudo.extend(&datagram);
        assert_eq!(slow_sum(&pseudo), 0xffff, "UDP's checksum");
        (identification, datagram)
    }

    #[test] // NT-12
    fn a_message_of_any_length_is_one_packet_in_both_families() {
        let lengths = [0, 1, 2, 3, 4, 5, 255, 256, 1231, 1232, 1233, 1251, 1252, 1253, 1254, 2500, 3999];
        for (local, remote) in [V4, V6] {
            let path = path(local, remote);
            let mut packets = Packets::new(u16::MAX);
            for length in lengths {
                let octets: Vec<u8> = (0..length).map(|at: usize| (at * 7 + length) as u8).collect();
                let (_, datagram) = taken_apart(&packets.of(&path, &octets).unwrap());
                assert_eq!(datagram[8..], octets, "{length} octets, nothing in front and nothing behind");
                assert_eq!(datagram[..2], path.local.port().to_be_bytes());
                assert_eq!(datagram[2..4], path.remote.port().to_be_bytes());
            }
        }
    }

    #[test] // NT-12
    fn the_next_packet_has_another_identification() {
        let (mut packets, path) = (Packets::new(0xfffe), path(V4.0, V4.1));
        let identification = |packets: &mut Packets| taken_apart(&packets.of(&path, b"x").unwrap()).0;
        let all = [(); 3].map(|()| identification(&mut packets));
        assert_eq!(all, [Some(0xffff), Some(0), Some(1)]);
    }

    #[test]
    fn a_checksum_of_zero_is_sent_as_all_ones() {
        let path = path(V4.0, V4.1);
        let mut packets = Packets::new(0);
        let sums: Vec<[u8; 2]> = (0..=u16::MAX)
            .map(|word| packets.of(&path, &word.to_be_bytes()).unwrap()[26..28].try_into().unwrap())
            .collect();
        assert!(!sums.contains(&[0, 0]));
        assert_eq!(sums.iter().filter(|sum| **sum == [0xff; 2]).count(), 1, "one word makes a sum of zero");
    }

    #[test]
    fn more_than_ip_holds_is_refused_and_so_are_two_families() {
        let mut packets = Packets::new(0);
        let (v4, v6) = (path(V4.0, V4.1), path(V6.0, V6.1));
        assert_eq!(taken_apart(&packets.of(&v4, &[7; 65_507]).unwrap()).1.len(), 65_515);
        assert_eq!(packets.of(&v4, &[7; 65_508]), Err(NoPacket::TooLarge(65_508)));
        assert_eq!(taken_apart(&packets.of(&v6, &[7; 65_527]).unwrap()).1.len(), 65_535);
        assert_eq!(packets.of(&v6, &[7; 65_528]), Err(NoPacket::TooLarge(65_528)));
        assert_eq!(packets.of(&path(V4.0, V6.1), b"x"), Err(NoPacket::TwoFamilies));
    }
}
