//! What the stages have to know of an IP packet, read once.

use super::ipv4::Ipv4;
use super::ipv6::Ipv6;
use super::{Malformed, protocol, read_u16};
use crate::limits::PACKET_OCTETS_MAX;
use std::net::IpAddr;
use warren_policy::FiveTuple;

/// Whether a packet is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// A whole packet.
    Whole,
    /// The first fragment: it has the upper layer's header, or enough of it.
    First,
    /// A later fragment: its ports cannot be seen.
    Later,
}

/// An IP packet's headers, read and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What the rules look at.
    pub tuple: FiveTuple,
    /// Octets of the packet; the bytes it was read from may go on (Ethernet padding).
    pub octets: usize,
    /// Where the upper layer begins.
    pub upper_at: usize,
    /// Whether it is whole.
    pub fragment: Fragment,
    /// Nobody may fragment it. Always so for IPv6.
    pub dont_fragment: bool,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

impl Summary {
    /// Reads the packet at the front of `octets`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of(octets: &[u8]) -> Result<Self, Malformed> {
        match octets.first().map(|first| first >> 4) {
            Some(4) => Self::of_ipv4(octets),
            Some(6) => Self::of_ipv6(octets),
            Some(_) => Err(Malformed::Version),
            None => Err(Malformed::Length),
        }
    }

    fn of_ipv4(octets: &[u8]) -> Result<Self, Malformed> {
        let packet = Ipv4::new_checked(octets)?;
        if packet.fragment_offset() + packet.total_octets() > PACKET_OCTETS_MAX {
            return Err(Malformed::Length);
        }
        let fragment = match (packet.fragment_offset(), packet.more_fragments()) {
            (0, false) => Fragment::Whole,
            (0, true) => Fragment::First,
            _ => Fragment::Later,
        };
        let (source_port, destination_port) = ports(packet.protocol(), fragment, packet.payload());
        Ok(Self {
            tuple: FiveTuple {
                source: packet.source().into(),
                destination: packet.destination().into(),
                protocol: packet.protocol(),
                source_port,
                destination_port,
            },
            octets: packet.total_octets(),
            upper_at: packet.header_octets(),
            fragment,
            dont_fragment: packet.dont_fragment(),
            ttl: packet.ttl(),
            traffic_class: packet.traffic_class(),
        })
    }

    fn of_ipv6(octets: &[u8]) -> Result<Self, Malformed> {
        let packet = Ipv6::new_checked(octets)?;
        let upper = packet.upper()?;
        if upper.fragment.is_some_and(|(at, _)| at + packet.total_octets() - upper.offset > PACKET_OCTETS_MAX)
        {
            return Err(Malformed::Length);
        }
        let fragment = match upper.fragment {
            None => Fragment::Whole,
            Some((0, _)) => Fragment::First,
            Some(_) => Fragment::Later,
        };
        let payload = octets.get(upper.offset..packet.total_octets()).unwrap_or_default();
        let (source_port, destination_port) = ports(upper.protocol, fragment, payload);
        Ok(Self {
            tuple: FiveTuple {
                source: packet.source().into(),
                destination: packet.destination().into(),
                protocol: upper.protocol,
                source_port,
                destination_port,
            },
            octets: packet.total_octets(),
            upper_at: upper.offset,
            fragment,
            dont_fragment: true,
            ttl: packet.hop_limit(),
            traffic_class: packet.traffic_class(),
        })
    }

    /// Whether it is an IPv6 packet.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.tuple.source.is_ipv6()
    }

    /// The ECN field.
    #[must_use]
    pub const fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// Whether the upper layer's header stands in this packet and is of that protocol.
    #[must_use]
    pub fn is(&self, protocol: u8) -> bool {
        self.tuple.protocol == protocol && self.fragment != Fragment::Later
    }

    /// Whether the addresses may appear in a packet that is forwarded or leaves a tunnel.
    #[must_use]
    pub fn is_martian(&self) -> bool {
        Self::is_martian_tuple(&self.tuple)
    }

    /// The same of a flow.
    pub(crate) fn is_martian_tuple(tuple: &FiveTuple) -> bool {
        let never_source = match tuple.source {
            IpAddr::V4(v4) => {
                v4.octets()[0] == 0 || v4.is_loopback() || v4.is_multicast() || v4.is_broadcast()
            }
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback() || v6.is_multicast(),
        };
        let never_destination = match tuple.destination {
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_loopback(),
            IpAddr::V6(v6) => v6.is_unspecified() || v6.is_loopback(),
        };
        never_source || never_destination
    }

    /// Whether either address is confined to its link and must not be forwarded (RFC 4291 §2.5.6, RFC 3927 §7).
    #[must_use]
    pub fn is_link_local(&self) -> bool {
        Self::is_link_local_tuple(&self.tuple)
    }

    /// The same of a flow.
    pub(crate) fn is_link_local_tuple(tuple: &FiveTuple) -> bool {
        let link_local = |address| match address {
            IpAddr::V4(v4) => std::net::Ipv4Addr::is_link_local(&v4),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        link_local(tuple.source) || link_local(tuple.destination)
    }

    /// Whether it is for a group or for everybody.
    #[must_use]
    pub fn is_multicast(&self) -> bool {
        Self::is_multicast_tuple(&self.tuple)
    }

    /// The same of a flow.
    pub(crate) fn is_multicast_tuple(tuple: &FiveTuple) -> bool {
        match tuple.destination {
            IpAddr::V4(v4) => v4.is_multicast() || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.is_multicast(),
        }
    }
}

/// Ports where they can be seen (RFC 4301 §4.4.1.1: else they are OPAQUE).
fn ports(number: u8, fragment: Fragment, upper: &[u8]) -> (Option<u16>, Option<u16>) {
    let has_ports = matches!(
        number,
        protocol::TCP | protocol::UDP | protocol::DCCP | protocol::SCTP | protocol::UDP_LITE
    );
    if !has_ports || fragment == Fragment::Later || upper.len() < 4 {
        return (None, None);
    }
    (Some(read_u16(upper, 0)), Some(read_u16(upper, 2)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{ipv4, write_u16};
    use proptest::prelude::*;

    fn udp4(offset: usize, more: bool, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 20];
        let (source, destination) = ("10.1.0.1".parse().unwrap(), "10.2.0.1".parse().unwrap());
        let header = ipv4::Header {
            traffic_class: 0,
            total_octets: 20 + payload.len(),
            id: 1,
            dont_fragment: false,
            ttl: 9,
            protocol: 17,
            source,
            destination,
        };
        ipv4::emit(&mut packet, &header);
        ipv4::set_fragment(&mut packet, 20 + payload.len(), offset, more);
        packet.extend(payload);
        packet
    }

    fn seen(octets: &[u8]) -> (Fragment, Option<u16>, Option<u16>) {
        let summary = Summary::of(octets).unwrap();
        (summary.fragment, summary.tuple.source_port, summary.tuple.destination_port)
    }

    #[test] // F-30
    fn ports_are_seen_only_where_they_stand() {
        let ports = [0x13, 0x88, 0x00, 0x35, 0, 8, 0, 0];
        assert_eq!(seen(&udp4(0, false, &ports)), (Fragment::Whole, Some(5000), Some(53)));
        assert_eq!(seen(&udp4(0, true, &ports)), (Fragment::First, Some(5000), Some(53)));
        assert_eq!(seen(&udp4(8, false, &ports)), (Fragment::Later, None, None));
        assert_eq!(seen(&udp4(0, true, &ports[..3])), (Fragment::First, None, None));
    }

    #[test] // F-30, RFC 8200 §4.5
    fn a_fragment_beyond_the_end_of_any_packet_is_none() {
        assert!(Summary::of(&udp4(65_504, false, &[0; 11])).is_ok());
        assert_eq!(Summary::of(&udp4(65_504, false, &[0; 12])).err(), Some(Malformed::Length));
        assert_eq!(Summary::of(&udp4(65_528, false, &[0; 1400])).err(), Some(Malformed::Length));
        let ipv6 = |offset: u16, payload: usize| {
            let mut packet = vec![0; 48 + payload];
            packet[0] = 0x60;
            write_u16(&mut packet, 4, 8 + payload as u16);
            (packet[6], packet[40]) = (44, 17);
            write_u16(&mut packet, 42, offset);
            Summary::of(&packet).map(|summary| summary.fragment)
        };
        assert_eq!(ipv6(65_528, 7), Ok(Fragment::Later));
        assert_eq!(ipv6(65_528, 8), Err(Malformed::Length));
    }

    #[test]
    fn ethernet_padding_is_not_part_of_the_packet() {
        let mut octets = udp4(0, false, &[0; 8]);
        octets.extend([0xEE; 18]);
        assert_eq!(Summary::of(&octets).unwrap().octets, 28);
    }

    proptest! {
        #[test] // F-36
        fn no_bytes_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Summary::of(&octets);
        }

        #[test] // F-36
        fn nearly_good_bytes_make_it_panic_neither(
            version in prop::sample::select(vec![0x45u8, 0x46, 0x4F, 0x60]),
            mut octets in prop::collection::vec(any::<u8>(), 40..120),
            next in prop::sample::select(vec![0u8, 43, 44, 60, 6, 17, 50]),
        ) {
            octets[0] = version;
            let total = octets.len();
            if version == 0x60 {
                octets[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
                octets[6] = next;
            } else {
                octets[2..4].copy_from_slice(&(total as u16).to_be_bytes());
                let header = usize::from(version & 15) * 4;
                if header <= total {
                    ipv4::refresh_checksum(&mut octets[..header]);
                }
            }
            if let Ok(summary) = Summary::of(&octets) {
                prop_assert!(summary.upper_at <= summary.octets && summary.octets <= total);
                prop_assert_eq!(summary.is_ipv6(), version == 0x60);
            }
        }
    }
}
