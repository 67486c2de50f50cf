//! Building and reading the few kinds of packets that the hosts and the wire carry, without any code of the gateway.

use std::net::{IpAddr, SocketAddr};

/// Ethernet address of a simulated station.
pub(crate) type Mac = [u8; 6];

/// What every payload of the hosts begins with: if the wire shows it, clear text leaked.
pub(crate) const MARKER: &[u8; 16] = b"warren-sim-clear";

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const UDP: u8 = 17;

/// A UDP datagram in IP in Ethernet.
///
/// # Panics
/// When the two addresses are of different families or the payload exceeds what IP can carry: a mistake of the scene.
#[must_use]
pub(crate) fn udp_frame(macs: (Mac, Mac), from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let ethertype = if from.is_ipv4() { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let mut frame = [macs.1, macs.0].concat();
    frame.extend(ethertype);
    frame.extend(udp_packet(from, to, payload, DontFragment::Yes));
    frame
}

/// The *don't fragment* bit of IPv4.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum DontFragment {
    /// Set: what hosts send.
    Yes,
    /// Clear: IKE, which knows nothing of path MTUs.
    No,
}

/// A UDP datagram in IP.
///
/// # Panics
/// As [`udp_frame`].
#[must_use]
pub(crate) fn udp_packet(
    from: SocketAddr,
    to: SocketAddr,
    payload: &[u8],
    dont_fragment: DontFragment,
) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).expect("scenes send small datagrams");
    let mut udp = Vec::with_capacity(usize::from(length));
    udp.extend(from.port().to_be_bytes());
    udp.extend(to.port().to_be_bytes());
    udp.extend(length.to_be_bytes());
    udp.extend([0, 0]);
    udp.extend(payload);
    let mut sum = pseudo_header_sum(from.ip(), to.ip(), length);
    sum = add(sum, &udp);
    let checksum = match fold(sum) {
        0 => 0xffff,
        checksum => checksum,
    };
    udp[6..8].copy_from_slice(&checksum.to_be_bytes());
    ip_packet(from.ip(), to.ip(), &udp, dont_fragment)
}

fn ip_packet(from: IpAddr, to: IpAddr, udp: &[u8], dont_fragment: DontFragment) -> Vec<u8> {
    let mut out = Vec::with_capacity(42 + udp.len());
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let length = u16::try_from(20 + udp.len()).expect("scenes send small datagrams");
            let mut header = [0u8; 20];
            header[0] = 0x45;
            header[2..4].copy_from_slice(&length.to_be_bytes());
            header[6] = if dont_fragment == DontFragment::Yes { 0x40 } else { 0 };
            header[8] = 64;
            header[9] = UDP;
            header[12..16].copy_from_slice(&from.octets());
            header[16..20].copy_from_slice(&to.octets());
            let checksum = fold(add(0, &header));
            header[10..12].copy_from_slice(&checksum.to_be_bytes());
            out.extend(header);
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            let length = u16::try_from(udp.len()).expect("scenes send small datagrams");
            out.extend([0x60, 0, 0, 0]);
            out.extend(length.to_be_bytes());
            out.extend([UDP, 64]);
            out.extend(from.octets());
            out.extend(to.octets());
        }
        _ => panic!("one family at a time"),
    }
    out.extend(udp);
    out
}

/// What the outermost IP header of a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Outer<'a> {
    /// Source address.
    pub(crate) source: IpAddr,
    /// Destination address.
    pub(crate) destination: IpAddr,
    /// Upper layer protocol.
    pub(crate) protocol: u8,
    /// What follows the IP header.
    pub(crate) payload: &'a [u8],
}

/// Reads the outermost IP header; `None` for what is no IP packet.
#[must_use]
pub(crate) fn outer(frame: &[u8]) -> Option<Outer<'_>> {
    let version = match *frame.get(12..)?.first_chunk()? {
        ETHERTYPE_IPV4 => 4,
        ETHERTYPE_IPV6 => 6,
        _ => return None,
    };
    header(frame.get(14..)?, version)
}

/// The same of a packet without a link's header.
#[must_use]
pub(crate) fn ip(packet: &[u8]) -> Option<Outer<'_>> {
    header(packet, packet.first()? >> 4)
}

fn header(ip: &[u8], version: u8) -> Option<Outer<'_>> {
    match version {
        4 => {
            let header = usize::from(ip.first()? & 0x0f) * 4;
            let source: [u8; 4] = ip.get(12..16)?.try_into().ok()?;
            let destination: [u8; 4] = ip.get(16..20)?.try_into().ok()?;
            let end = usize::from(u16::from_be_bytes([*ip.get(2)?, *ip.get(3)?]));
            Some(Outer {
                source: source.into(),
                destination: destination.into(),
                protocol: *ip.get(9)?,
                payload: ip.get(header..end)?,
            })
        }
        6 => {
            let source: [u8; 16] = ip.get(8..24)?.try_into().ok()?;
            let destination: [u8; 16] = ip.get(24..40)?.try_into().ok()?;
            let end = 40 + usize::from(u16::from_be_bytes([*ip.get(4)?, *ip.get(5)?]));
            Some(Outer {
                source: source.into(),
                destination: destination.into(),
                protocol: *ip.get(6)?,
                payload: ip.get(40..end)?,
            })
        }
        _ => None,
    }
}

impl<'a> Outer<'a> {
    /// Source port, destination port and payload of a UDP datagram. The checksum is not looked at: who changes a
    /// datagram on purpose mends it.
    #[must_use]
    pub(crate) fn udp(&self) -> Option<(u16, u16, &'a [u8])> {
        if self.protocol != UDP {
            return None;
        }
        let length = u16::from_be_bytes([*self.payload.get(4)?, *self.payload.get(5)?]);
        let datagram = self.payload.get(..usize::from(length))?;
        let payload = datagram.get(8..)?;
        let port = |at: usize| u16::from_be_bytes([datagram[at], datagram[at + 1]]);
        Some((port(0), port(2), payload))
    }

    /// Whether the UDP checksum holds; hosts read nothing else.
    #[must_use]
    pub(crate) fn udp_checksum_holds(&self) -> bool {
        let length = self.payload.len() as u16;
        fold(add(pseudo_header_sum(self.source, self.destination, length), self.payload)) == 0
    }
}

/// Whether the marker of the hosts' payloads can be read anywhere in the frame.
#[must_use]
pub(crate) fn shows_marker(frame: &[u8]) -> bool {
    frame.windows(MARKER.len()).any(|window| window == MARKER)
}

fn pseudo_header_sum(from: IpAddr, to: IpAddr, length: u16) -> u32 {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    };
    let sum = add(add(0, &octets(from)), &octets(to));
    sum + u32::from(UDP) + u32::from(length)
}

fn add(sum: u32, octets: &[u8]) -> u32 {
    octets
        .chunks(2)
        .fold(sum, |sum, pair| sum + (u32::from(pair[0]) << 8) + pair.get(1).copied().map_or(0, u32::from))
}

fn fold(sum: u32) -> u16 {
    let sum = (sum >> 16) + (sum & 0xffff);
    !(((sum >> 16) + sum) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_reads_back_as_it_was_built() {
        for (from, to) in [("10.1.0.10:1000", "10.2.0.10:7"), ("[fd00:1::a]:1000", "[fd00:2::a]:7")] {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            let frame = udp_frame(([1; 6], [2; 6]), from, to, MARKER);
            let outer = outer(&frame).unwrap();
            assert_eq!((outer.source, outer.destination), (from.ip(), to.ip()));
            assert_eq!(outer.udp(), Some((1000, 7, MARKER.as_slice())));
            assert!(shows_marker(&frame));
        }
    }

    #[test]
    fn a_damaged_datagram_is_recognised() {
        let mut frame = udp_frame(
            ([1; 6], [2; 6]),
            "10.1.0.10:1".parse().unwrap(),
            "10.2.0.10:7".parse().unwrap(),
            MARKER,
        );
        assert!(outer(&frame).unwrap().udp_checksum_holds());
        *frame.last_mut().unwrap() ^= 1;
        assert!(!outer(&frame).unwrap().udp_checksum_holds());
    }
}
