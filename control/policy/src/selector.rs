//! Traffic selectors (RFC 4301 §4.4.1.1): which packets a rule or an SA is about.
//!
//! A selector is written in the direction of travel: `source` sends, `destination` receives. The same rule seen
//! from the other gateway is [`Selector::mirrored`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses `first..=last` of one family; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// `None` for an empty range or mixed families, so that a value of this type always matches something.
    #[must_use]
    pub fn new(first: IpAddr, last: IpAddr) -> Option<Self> {
        (first.is_ipv4() == last.is_ipv4() && first <= last).then_some(Self { first, last })
    }

    /// All addresses whose first `length` bits equal those of `address`; `None` for a length the family lacks.
    #[must_use]
    pub fn from_prefix(address: IpAddr, length: u8) -> Option<Self> {
        match address {
            IpAddr::V4(v4) if length <= 32 => {
                let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
                let bits = u32::from(v4);
                Self::new(Ipv4Addr::from(bits & !host).into(), Ipv4Addr::from(bits | host).into())
            }
            IpAddr::V6(v6) if length <= 128 => {
                let host = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
                let bits = u128::from(v6);
                Self::new(Ipv6Addr::from(bits & !host).into(), Ipv6Addr::from(bits | host).into())
            }
            _ => None,
        }
    }

    /// The range of one address.
    #[must_use]
    pub const fn single(address: IpAddr) -> Self {
        Self { first: address, last: address }
    }

    /// Every address of the family.
    #[must_use]
    pub const fn any(ipv6: bool) -> Self {
        if ipv6 {
            Self {
                first: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                last: IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)),
            }
        } else {
            Self { first: IpAddr::V4(Ipv4Addr::UNSPECIFIED), last: IpAddr::V4(Ipv4Addr::BROADCAST) }
        }
    }

    /// Lowest address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.first
    }

    /// Highest address.
    #[must_use]
    pub const fn last(&self) -> IpAddr {
        self.last
    }

    /// Whether the range is of IPv6 addresses.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.first.is_ipv6()
    }

    /// Whether `address` lies inside; an address of the other family never does.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.is_ipv6() == address.is_ipv6() && self.first <= address && address <= self.last
    }

    /// Whether every address of `other` lies inside.
    #[must_use]
    pub fn contains_range(&self, other: &Self) -> bool {
        self.contains(other.first) && self.contains(other.last)
    }

    /// Whether one address lies in both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.is_ipv6() == other.is_ipv6() && self.first <= other.last && other.first <= self.last
    }

    /// The prefix length when the range is exactly one prefix.
    #[must_use]
    pub fn prefix_length(&self) -> Option<u8> {
        let (first, last, width) = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                (u128::from(u32::from(first)), u128::from(u32::from(last)), 32)
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(first), u128::from(last), 128),
            _ => return None,
        };
        let host = first ^ last;
        let contiguous = host & host.wrapping_add(1) == 0;
        (contiguous && first & host == 0).then(|| width - (128 - host.leading_zeros()) as u8)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_length() {
            Some(length) => write!(f, "{}/{length}", self.first),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// Ports `first..=last`; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// Every port, and also packets that have none.
    pub const ANY: Self = Self { first: 0, last: u16::MAX };

    /// `None` for an empty range.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Lowest port.
    #[must_use]
    pub const fn first(&self) -> u16 {
        self.first
    }

    /// Highest port.
    #[must_use]
    pub const fn last(&self) -> u16 {
        self.last
    }

    /// Whether the port matches. A packet whose port cannot be seen (RFC 4301 OPAQUE: later fragments,
    /// protocols without ports) matches only [`PortRange::ANY`].
    #[must_use]
    pub fn contains(&self, port: Option<u16>) -> bool {
        match port {
            Some(port) => self.first <= port && port <= self.last,
            None => *self == Self::ANY,
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::ANY => f.write_str("any"),
            Self { first, last } if first == last => write!(f, "{first}"),
            Self { first, last } => write!(f, "{first}-{last}"),
        }
    }
}

/// A transport protocol, or any. Zero is not *any* here: HOPOPT is a protocol too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Every protocol.
    Any,
    /// Exactly this IANA protocol number.
    Is(u8),
}

impl Protocol {
    /// Whether `number` matches.
    #[must_use]
    pub fn contains(self, number: u8) -> bool {
        match self {
            Self::Any => true,
            Self::Is(own) => own == number,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Is(1) => f.write_str("icmp"),
            Self::Is(6) => f.write_str("tcp"),
            Self::Is(17) => f.write_str("udp"),
            Self::Is(58) => f.write_str("icmpv6"),
            Self::Is(number) => write!(f, "{number}"),
        }
    }
}

/// What the rules look at in one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FiveTuple {
    /// Source address.
    pub source: IpAddr,
    /// Destination address, of the same family.
    pub destination: IpAddr,
    /// IANA protocol number of the upper layer.
    pub protocol: u8,
    /// Source port; `None` where it cannot be seen.
    pub source_port: Option<u16>,
    /// Destination port; `None` where it cannot be seen.
    pub destination_port: Option<u16>,
}

impl FiveTuple {
    /// Whether its ports cannot be seen although it may have some: a later fragment, or one cut off in front of them.
    #[must_use]
    pub const fn hides_ports(&self) -> bool {
        self.hides_protocol()
            || has_ports(self.protocol) && (self.source_port.is_none() || self.destination_port.is_none())
    }

    /// Whether its protocol cannot be seen: a later fragment of IPv6 names only the first header of the fragmented
    /// part, which may be one more extension header (hop-by-hop, routing, destination options).
    #[must_use]
    pub const fn hides_protocol(&self) -> bool {
        self.source.is_ipv6() && is_in_front(self.protocol)
    }
}

/// Whether packets of that protocol have ports in their first four octets: TCP, UDP, DCCP, SCTP, UDP-Lite.
pub(crate) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// Whether that is an IPv6 header that may stand in front of another one, so that a later fragment names it.
pub(crate) const fn is_in_front(protocol: u8) -> bool {
    matches!(protocol, 0 | 43 | 60)
}

impl fmt::Display for FiveTuple {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let port = |port: Option<u16>| port.map_or_else(|| "-".to_owned(), |port| port.to_string());
        write!(
            f,
            "{} {} port {} -> {} port {}",
            Protocol::Is(self.protocol),
            self.source,
            port(self.source_port),
            self.destination,
            port(self.destination_port)
        )
    }
}

/// A set of packets: both addresses of one family, protocol and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Selector {
    /// Where the packets come from.
    pub source: AddressRange,
    /// Where they go.
    pub destination: AddressRange,
    /// Their upper layer protocol.
    pub protocol: Protocol,
    /// Their source ports.
    pub source_port: PortRange,
    /// Their destination ports.
    pub destination_port: PortRange,
}

impl Selector {
    /// Every packet from `source` to `destination`; `None` when the families differ.
    #[must_use]
    pub fn between(source: AddressRange, destination: AddressRange) -> Option<Self> {
        (source.is_ipv6() == destination.is_ipv6()).then_some(Self {
            source,
            destination,
            protocol: Protocol::Any,
            source_port: PortRange::ANY,
            destination_port: PortRange::ANY,
        })
    }

    /// The same traffic in the other direction.
    #[must_use]
    pub const fn mirrored(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            protocol: self.protocol,
            source_port: self.destination_port,
            destination_port: self.source_port,
        }
    }

    /// Whether the packet belongs to the set.
    #[must_use]
    pub fn contains(&self, packet: &FiveTuple) -> bool {
        self.source.contains(packet.source)
            && self.destination.contains(packet.destination)
            && self.protocol.contains(packet.protocol)
            && self.source_port.contains(packet.source_port)
            && self.destination_port.contains(packet.destination_port)
    }

    /// Whether the packet could belong to the set, were what it hides the right thing. Says the same as
    /// [`contains`](Self::contains) of a packet that hides nothing.
    #[must_use]
    pub fn may_contain(&self, packet: &FiveTuple) -> bool {
        let port = |range: &PortRange, port: Option<u16>| {
            range.contains(port) || port.is_none() && packet.hides_ports()
        };
        self.source.contains(packet.source)
            && self.destination.contains(packet.destination)
            && (packet.hides_protocol() || self.protocol.contains(packet.protocol))
            && port(&self.source_port, packet.source_port)
            && port(&self.destination_port, packet.destination_port)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {}", self.source, self.destination)?;
        if self.protocol != Protocol::Any {
            write!(f, " {}", self.protocol)?;
        }
        if self.source_port != PortRange::ANY || self.destination_port != PortRange::ANY {
            write!(f, " port {} -> {}", self.source_port, self.destination_port)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn prefix(text: &str) -> AddressRange {
        let (address, length) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    #[test]
    fn prefixes_keep_their_length() {
        for text in ["0.0.0.0/0", "10.1.0.0/16", "192.0.2.1/32", "::/0", "2001:db8::/32", "2001:db8::1/128"] {
            assert_eq!(prefix(text).to_string(), text);
        }
        assert_eq!(AddressRange::from_prefix("10.0.0.0".parse().unwrap(), 33), None);
        let odd = AddressRange::new("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()).unwrap();
        assert_eq!(odd.prefix_length(), None);
    }

    #[test]
    fn families_never_match_each_other() {
        assert!(!AddressRange::any(true).contains("192.0.2.1".parse().unwrap()));
        assert!(!AddressRange::any(false).overlaps(&AddressRange::any(true)));
        assert_eq!(Selector::between(AddressRange::any(true), AddressRange::any(false)), None);
    }

    #[test]
    fn a_port_that_cannot_be_seen_matches_only_any() {
        assert!(PortRange::ANY.contains(None));
        assert!(!PortRange::new(443, 443).unwrap().contains(None));
    }

    proptest! {
        #[test]
        fn containment_is_what_a_bitwise_comparison_says(address: u32, length in 0u8..=32, probe: u32) {
            let range = AddressRange::from_prefix(Ipv4Addr::from(address).into(), length).unwrap();
            let mask = if length == 0 { 0 } else { u32::MAX << (32 - length) };
            prop_assert_eq!(range.contains(Ipv4Addr::from(probe).into()), address & mask == probe & mask);
            prop_assert_eq!(range.prefix_length(), Some(length));
        }
    }
}
