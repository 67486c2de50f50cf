//! UDP datagrams out of a classic pcap file: either byte order, Ethernet or BSD loopback, IPv4 or IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One UDP datagram of a capture.
#[derive(Clone, Debug)]
pub(crate) struct Datagram {
    /// Number of its frame, from one.
    pub(crate) frame: usize,
    /// Who sent it.
    pub(crate) source: SocketAddr,
    /// Whom it was sent to.
    pub(crate) destination: SocketAddr,
    /// What UDP carries.
    pub(crate) octets: Vec<u8>,
}

impl Datagram {
    /// The IKE message in it, without non-ESP marker (RFC 3948 §2.2); `None` for ESP and keepalives.
    pub(crate) fn ike(&self) -> Option<&[u8]> {
        if self.source.port() == 4500 || self.destination.port() == 4500 {
            return self.octets.strip_prefix(&[0; 4]);
        }
        Some(&self.octets)
    }
}

/// Every UDP datagram of a capture; frames that hold none are left out.
///
/// # Panics
/// When the file is no pcap: a test's own data are wrong.
pub(crate) fn datagrams(file: &[u8]) -> Vec<Datagram> {
    packets(file).iter().zip(1..).filter_map(|(packet, frame)| udp(packet, frame)).collect()
}

/// Every frame of a capture without its link header.
///
/// # Panics
/// When the file is no pcap: a test's own data are wrong.
pub(crate) fn packets(file: &[u8]) -> Vec<Vec<u8>> {
    let little = match file.get(..4) {
        Some([0xd4, 0xc3, 0xb2, 0xa1] | [0x4d, 0x3c, 0xb2, 0xa1]) => true,
        Some([0xa1, 0xb2, 0xc3, 0xd4] | [0xa1, 0xb2, 0x3c, 0x4d]) => false,
        _ => panic!("this is no pcap"),
    };
    let word = |at: usize| -> Option<u32> {
        let octets = file.get(at..at + 4)?.try_into().ok()?;
        Some(if little { u32::from_le_bytes(octets) } else { u32::from_be_bytes(octets) })
    };
    // The upper half of the link type holds flags and the length of a frame check sequence.
    let link_octets = match word(20).map(|link| link & 0xffff) {
        Some(1) => 14,
        Some(0) => 4,
        link => panic!("link type {link:?} is not read"),
    };
    let (mut at, mut found) = (24, Vec::new());
    while let Some(captured) = word(at + 8) {
        let octets = &file[at + 16..at + 16 + captured as usize];
        at += 16 + captured as usize;
        found.push(octets.get(link_octets..).unwrap_or_default().to_vec());
    }
    found
}

fn udp(packet: &[u8], frame: usize) -> Option<Datagram> {
    let (source, destination, protocol, payload): (IpAddr, IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
        4 => {
            let header_octets = usize::from(packet[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([*packet.get(2)?, *packet.get(3)?])).min(packet.len());
            let address =
                |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(at..at + 4)?).ok()?).into());
            (address(12)?, address(16)?, *packet.get(9)?, packet.get(header_octets..total)?)
        }
        6 => {
            let address =
                |at: usize| Some(Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(at..at + 16)?).ok()?).into());
            (address(8)?, address(24)?, *packet.get(6)?, packet.get(40..)?)
        }
        _ => return None,
    };
    let [s1, s2, d1, d2, l1, l2, ..] = *payload else { return None };
    if protocol != 17 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([l1, l2])).min(payload.len());
    Some(Datagram {
        frame,
        source: SocketAddr::new(source, u16::from_be_bytes([s1, s2])),
        destination: SocketAddr::new(destination, u16::from_be_bytes([d1, d2])),
        octets: payload.get(8..length)?.to_vec(),
    })
}
