//! Proxies in mask form and their intersection: the largest traffic that two gateways both protect
//! (REQUIREMENTS TED-38 … TED-53).
//!
//! ```text
//! protocol   figure 3A  ┐
//! addresses  figure 3B  ├─ each half by itself ──► a proxy, or why it is empty
//! ports      figure 3C  ┘
//! ```
//!
//! Both sides are written in one direction, from the initiator's side to the responder's. What a responder says as
//! it sees it is [`Proxy::mirrored`] first (REQUIREMENTS Q-4, TED-45).

use crate::selector::{AddressRange, FiveTuple, PortRange, Protocol, Selector};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// What became of one field. Empty is a state of its own: coded as zero it would mean *any*, which is the opposite
/// (REQUIREMENTS Q-8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field<T> {
    /// Every value.
    Any,
    /// Exactly this one.
    Is(T),
    /// No value at all.
    Empty,
}

impl<T: PartialEq> Field<T> {
    /// What both allow (figures 3A and 3C). Empty absorbs, any is neutral.
    #[must_use]
    pub fn intersection(self, other: Self) -> Self {
        match (self, other) {
            (Self::Empty, _) | (_, Self::Empty) => Self::Empty,
            (Self::Any, value) | (value, Self::Any) => value,
            (Self::Is(own), Self::Is(theirs)) if own == theirs => Self::Is(own),
            (Self::Is(_), Self::Is(_)) => Self::Empty,
        }
    }
}

/// Addresses of one family whose bits under a mask are fixed. A zero bit of the mask means *ignore*; masks need not
/// be contiguous (REQUIREMENTS Q-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MaskedAddress {
    is_ipv6: bool,
    bits: u128,
    mask: u128,
}

const fn bits_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits() as u128,
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl MaskedAddress {
    /// `None` for mixed families. Bits that the mask ignores are cleared, so that equal sets are equal values.
    #[must_use]
    pub const fn new(address: IpAddr, mask: IpAddr) -> Option<Self> {
        if address.is_ipv6() != mask.is_ipv6() {
            return None;
        }
        let mask = bits_of(mask);
        Some(Self { is_ipv6: address.is_ipv6(), bits: bits_of(address) & mask, mask })
    }

    /// Every address of the family.
    #[must_use]
    pub const fn any(is_ipv6: bool) -> Self {
        Self { is_ipv6, bits: 0, mask: 0 }
    }

    /// The prefix as a mask; `None` for a range that is no prefix, which mask form cannot say.
    #[must_use]
    pub fn from_range(range: &AddressRange) -> Option<Self> {
        let length = u32::from(range.prefix_length()?);
        let is_ipv6 = range.is_ipv6();
        let width = if is_ipv6 { 128 } else { 32 };
        let host = 1_u128.checked_shl(width - length).map_or(u128::MAX, |size| size - 1);
        let whole = if is_ipv6 { u128::MAX } else { u128::from(u32::MAX) };
        Some(Self { is_ipv6, bits: bits_of(range.first()), mask: whole & !host })
    }

    /// The range, where the mask is contiguous.
    #[must_use]
    pub fn range(&self) -> Option<AddressRange> {
        let width = if self.is_ipv6 { 128 } else { 32 };
        let length = self.mask.count_ones();
        let whole = if self.is_ipv6 { u128::MAX } else { u128::from(u32::MAX) };
        let host = 1_u128.checked_shl(width - length).map_or(u128::MAX, |size| size - 1);
        (self.mask == whole & !host)
            .then(|| AddressRange::from_prefix(self.address(), u8::try_from(length).ok()?))
            .flatten()
    }

    /// Whether it is about IPv6.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    /// The address; bits that the mask ignores are zero.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        Self::written(self.is_ipv6, self.bits)
    }

    /// The mask in the form of an address.
    #[must_use]
    pub const fn mask(&self) -> IpAddr {
        Self::written(self.is_ipv6, self.mask)
    }

    const fn written(is_ipv6: bool, bits: u128) -> IpAddr {
        if is_ipv6 {
            IpAddr::V6(Ipv6Addr::from_bits(bits))
        } else {
            // The upper bits are zero: they come from an IPv4 address.
            IpAddr::V4(Ipv4Addr::from_bits(bits as u32))
        }
    }

    /// Whether the address is one of these.
    #[must_use]
    pub const fn contains(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_ipv6 && bits_of(address) & self.mask == self.bits
    }

    /// Figure 3B: compatible iff A&B&D = C&B&D; then the address is (A&B)|(C&D) and the mask B|D. The source says
    /// *intersection* of masks and means that of the sets, which is the bitwise OR (REQUIREMENTS Q-5).
    #[must_use]
    pub const fn intersection(&self, other: &Self) -> Option<Self> {
        if self.is_ipv6 != other.is_ipv6 || self.bits & other.mask != other.bits & self.mask {
            return None;
        }
        Some(Self { is_ipv6: self.is_ipv6, bits: self.bits | other.bits, mask: self.mask | other.mask })
    }
}

impl fmt::Display for MaskedAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.range() {
            Some(range) => write!(f, "{range}"),
            None => write!(f, "{}/{}", self.address(), self.mask()),
        }
    }
}

/// A full proxy: which traffic one gateway protects, in the direction of travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Proxy {
    source: MaskedAddress,
    destination: MaskedAddress,
    protocol: Protocol,
    source_port: Option<u16>,
    destination_port: Option<u16>,
}

/// Which fields of an intersection have no value. At least one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Emptiness {
    /// Figure 3B on the source halves.
    pub source: bool,
    /// Figure 3B on the destination halves.
    pub destination: bool,
    /// Figure 3A.
    pub protocol: bool,
    /// Figure 3C on the source ports.
    pub source_port: bool,
    /// Figure 3C on the destination ports.
    pub destination_port: bool,
}

impl Emptiness {
    /// The names of the fields without a value.
    pub fn fields(self) -> impl Iterator<Item = &'static str> {
        [
            ("src", self.source),
            ("dst", self.destination),
            ("proto", self.protocol),
            ("sport", self.source_port),
            ("dport", self.destination_port),
        ]
        .into_iter()
        .filter_map(|(name, is_empty)| is_empty.then_some(name))
    }
}

impl Proxy {
    /// `None` when the halves are of different families. A port of `None` is any.
    #[must_use]
    pub fn new(
        (source, source_port): (MaskedAddress, Option<u16>),
        (destination, destination_port): (MaskedAddress, Option<u16>),
        protocol: Protocol,
    ) -> Option<Self> {
        (source.is_ipv6 == destination.is_ipv6).then_some(Self {
            source,
            destination,
            protocol,
            source_port,
            destination_port,
        })
    }

    /// The selector in mask form; `None` where that cannot say it: ranges that are no prefix, ranges of ports.
    #[must_use]
    pub fn from_selector(selector: &Selector) -> Option<Self> {
        let port = |range: &PortRange| match *range {
            PortRange::ANY => Some(None),
            range if range.first() == range.last() => Some(Some(range.first())),
            _ => None,
        };
        let half = |range, ports| Some((MaskedAddress::from_range(range)?, port(ports)?));
        Self::new(
            half(&selector.source, &selector.source_port)?,
            half(&selector.destination, &selector.destination_port)?,
            selector.protocol,
        )
    }

    /// The selector, where both masks are contiguous.
    #[must_use]
    pub fn selector(&self) -> Option<Selector> {
        let port = |port: Option<u16>| match port {
            None => Some(PortRange::ANY),
            Some(port) => PortRange::new(port, port),
        };
        Some(Selector {
            protocol: self.protocol,
            source_port: port(self.source_port)?,
            destination_port: port(self.destination_port)?,
            ..Selector::between(self.source.range()?, self.destination.range()?)?
        })
    }

    /// Where the traffic comes from.
    #[must_use]
    pub const fn source(&self) -> &MaskedAddress {
        &self.source
    }

    /// Where it goes.
    #[must_use]
    pub const fn destination(&self) -> &MaskedAddress {
        &self.destination
    }

    /// Its upper layer protocol.
    #[must_use]
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Its source port; `None` is any.
    #[must_use]
    pub const fn source_port(&self) -> Option<u16> {
        self.source_port
    }

    /// Its destination port; `None` is any.
    #[must_use]
    pub const fn destination_port(&self) -> Option<u16> {
        self.destination_port
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

    /// Whether the packet is protected by it (REQUIREMENTS TED-55).
    #[must_use]
    pub fn contains(&self, packet: &FiveTuple) -> bool {
        let port = |own: Option<u16>, seen: Option<u16>| own.is_none() || own == seen;
        self.source.contains(packet.source)
            && self.destination.contains(packet.destination)
            && self.protocol.contains(packet.protocol)
            && port(self.source_port, packet.source_port)
            && port(self.destination_port, packet.destination_port)
    }

    /// The largest common subset (REQUIREMENTS TED-51).
    ///
    /// # Errors
    /// Which fields have no value in common.
    pub fn intersection(&self, other: &Self) -> Result<Self, Emptiness> {
        let source = self.source.intersection(&other.source);
        let destination = self.destination.intersection(&other.destination);
        let protocol = protocol_field(self.protocol).intersection(protocol_field(other.protocol));
        let source_port = port_field(self.source_port).intersection(port_field(other.source_port));
        let destination_port =
            port_field(self.destination_port).intersection(port_field(other.destination_port));
        match (source, destination, protocol, source_port, destination_port) {
            (
                Some(source),
                Some(destination),
                Field::Any | Field::Is(_),
                Field::Any | Field::Is(_),
                Field::Any | Field::Is(_),
            ) => Ok(Self {
                source,
                destination,
                protocol: value(protocol).map_or(Protocol::Any, Protocol::Is),
                source_port: value(source_port),
                destination_port: value(destination_port),
            }),
            _ => Err(Emptiness {
                source: source.is_none(),
                destination: destination.is_none(),
                protocol: protocol == Field::Empty,
                source_port: source_port == Field::Empty,
                destination_port: destination_port == Field::Empty,
            }),
        }
    }

    /// How many bits are pinned down: of both masks, then protocol and ports. The fewer, the larger the set.
    #[must_use]
    pub fn pinned(&self) -> u32 {
        let field = |is_pinned: bool, bits: u32| if is_pinned { bits } else { 0 };
        self.source.mask.count_ones()
            + self.destination.mask.count_ones()
            + field(self.protocol != Protocol::Any, 8)
            + field(self.source_port.is_some(), 16)
            + field(self.destination_port.is_some(), 16)
    }
}

const fn protocol_field(protocol: Protocol) -> Field<u8> {
    match protocol {
        Protocol::Any => Field::Any,
        Protocol::Is(number) => Field::Is(number),
    }
}

const fn port_field(port: Option<u16>) -> Field<u16> {
    match port {
        None => Field::Any,
        Some(port) => Field::Is(port),
    }
}

fn value<T>(field: Field<T>) -> Option<T> {
    match field {
        Field::Is(value) => Some(value),
        Field::Any | Field::Empty => None,
    }
}

/// Several entries on either side: pairwise, only what contains the packet, the largest wins; of equals the first in
/// the order of our rules, then of theirs (REQUIREMENTS TED-53).
#[must_use]
pub fn largest_common(ours: &[Proxy], theirs: &[Proxy], packet: &FiveTuple) -> Option<Proxy> {
    let pairs = ours.iter().flat_map(|own| theirs.iter().map(move |other| (own, other)));
    pairs
        .filter_map(|(own, other)| own.intersection(other).ok())
        .filter(|common| common.contains(packet))
        .min_by_key(Proxy::pinned)
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} -> {} {}", self.source, self.destination, self.protocol)?;
        let port = |port: Option<u16>| port.map_or_else(|| "any".to_owned(), |port| port.to_string());
        if self.source_port.is_some() || self.destination_port.is_some() {
            write!(f, " port {} -> {}", port(self.source_port), port(self.destination_port))?;
        }
        Ok(())
    }
}

/// Text that is no proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no proxy: LOCAL REMOTE [PROTOCOL [LOCAL-PORT REMOTE-PORT]], for example `10.1.0.0/16 10.2.0.0/16 tcp any 443`"
)]
pub struct NotAProxy(pub String);

impl FromStr for Proxy {
    type Err = NotAProxy;

    fn from_str(text: &str) -> Result<Self, NotAProxy> {
        parse(text).ok_or_else(|| NotAProxy(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Proxy> {
    let mut words = text.split_whitespace();
    let (source, destination) = (half(words.next()?)?, half(words.next()?)?);
    let protocol = words.next().map_or(Some(Protocol::Any), protocol)?;
    let mut port = || match words.next() {
        None | Some("any" | "*") => Some(None),
        Some(port) => port.parse().ok().filter(|port| *port != 0).map(Some),
    };
    let (source_port, destination_port) = (port()?, port()?);
    if words.next().is_some() {
        return None;
    }
    Proxy::new((source, source_port), (destination, destination_port), protocol)
}

/// An address, a prefix, or an address with its mask spelled out.
fn half(text: &str) -> Option<MaskedAddress> {
    let Some((address, mask)) = text.split_once('/') else {
        return MaskedAddress::from_range(&AddressRange::single(text.parse().ok()?));
    };
    let address = address.parse().ok()?;
    match mask.parse::<u8>() {
        Ok(length) => MaskedAddress::from_range(&AddressRange::from_prefix(address, length)?),
        Err(_) => MaskedAddress::new(address, mask.parse().ok()?),
    }
}

fn protocol(word: &str) -> Option<Protocol> {
    Some(match word {
        "ip" | "any" | "*" => Protocol::Any,
        "icmp" => Protocol::Is(1),
        "tcp" => Protocol::Is(6),
        "udp" => Protocol::Is(17),
        "icmpv6" => Protocol::Is(58),
        number => Protocol::Is(number.parse().ok().filter(|number| *number != 0)?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proxy(text: &str) -> Proxy {
        text.parse().unwrap()
    }

    fn halves(a: &str, b: &str) -> String {
        half(a).unwrap().intersection(&half(b).unwrap()).map_or("none".into(), |common| common.to_string())
    }

    #[test] // V-1, V-2, V-3, V-4, V-5, TED-42, TED-43, TED-44, Q-5, Q-6
    fn halves_intersect_as_the_source_document_and_its_decided_readings_say() {
        for (a, b, expected) in [
            ("10.11.0.0/255.255.0.0", "10.0.0.0/255.0.0.0", "10.11.0.0/16"),
            ("10.11.0.0/16", "10.12.0.0/16", "none"),
            ("0.0.0.0/0", "192.0.2.0/24", "192.0.2.0/24"),
            ("10.0.0.1/255.0.0.255", "10.7.0.0/255.255.0.0", "10.7.0.1/255.255.0.255"),
            ("2001:db8::/32", "2001:db8:7::/48", "2001:db8:7::/48"),
            ("0.0.0.0/0", "::/0", "none"),
        ] {
            assert_eq!(halves(a, b), expected, "{a} {b}");
            assert_eq!(halves(b, a), expected, "{b} {a}");
        }
    }

    #[test] // V-6, V-7, TED-38, TED-39, TED-40, TED-41, TED-46, TED-47, TED-48, TED-49, Q-8, Q-9
    fn empty_is_a_state_of_its_own_and_never_any() {
        use Field::{Any, Empty, Is};
        for (a, b, expected) in [
            (Any, Is(6), Is(6)),
            (Is(6), Is(6), Is(6)),
            (Is(6), Is(17), Empty),
            (Any, Any, Any),
            (Empty, Any, Empty),
            (Empty, Is(6), Empty),
        ] {
            assert_eq!((a.intersection(b), b.intersection(a)), (expected, expected));
        }
    }

    #[test] // V-8, TED-45, TED-50, TED-54, TED-55, TED-57, Q-4
    fn the_responders_proxy_is_mirrored_and_the_packet_must_lie_inside() {
        let initiator = proxy("10.1.0.0/16 10.2.0.0/16 tcp any 443");
        let responder = proxy("10.2.5.0/24 10.0.0.0/8 tcp 443 any");
        let common = initiator.intersection(&responder.mirrored()).unwrap();
        assert_eq!(common.to_string(), "10.1.0.0/16 -> 10.2.5.0/24 tcp port any -> 443");
        let packet = |destination: &str| FiveTuple {
            source: "10.1.3.4".parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            source_port: Some(50_000),
            destination_port: Some(443),
        };
        assert!(common.contains(&packet("10.2.5.6")));
        assert!(!common.contains(&packet("10.2.9.9")));
        assert_eq!(common.selector().unwrap().to_string(), common.to_string());
    }

    #[test] // V-14, TED-58, Q-29
    fn restrictions_of_either_side_on_the_far_half_hold() {
        let initiator = proxy("10.1.0.0/16 0.0.0.0/0");
        let responder = proxy("10.2.0.0/16 10.1.7.0/24");
        let common = initiator.intersection(&responder.mirrored()).unwrap();
        assert_eq!(common.to_string(), "10.1.7.0/24 -> 10.2.0.0/16 any");
    }

    #[test] // TED-52
    fn families_have_nothing_in_common() {
        let emptiness = proxy("0.0.0.0/0 0.0.0.0/0").intersection(&proxy("::/0 ::/0")).unwrap_err();
        assert_eq!(emptiness.fields().collect::<Vec<_>>(), ["src", "dst"]);
    }

    #[test] // TED-53
    fn of_several_entries_the_largest_that_holds_the_packet_wins_and_then_the_first() {
        let ours =
            ["10.1.0.0/16 10.2.0.0/16 tcp", "10.1.0.0/16 10.2.0.0/16", "10.0.0.0/8 10.9.0.0/16"].map(proxy);
        let theirs = ["10.1.0.0/16 10.2.5.0/24", "10.1.0.0/16 10.2.0.0/16 tcp any 443"].map(proxy);
        let packet = |port| FiveTuple {
            source: "10.1.0.1".parse().unwrap(),
            destination: "10.2.5.1".parse().unwrap(),
            protocol: 6,
            source_port: Some(1),
            destination_port: Some(port),
        };
        let found = largest_common(&ours, &theirs, &packet(443)).unwrap();
        assert_eq!(found.to_string(), "10.1.0.0/16 -> 10.2.5.0/24 any");
        let elsewhere = FiveTuple { destination: "10.2.6.1".parse().unwrap(), ..packet(80) };
        assert_eq!(largest_common(&ours, &theirs, &elsewhere), None);
    }

    const BITS: u32 = 4;

    /// All sets of mask form over four bits, as sets of their members.
    fn members(proxy: &MaskedAddress) -> Vec<u32> {
        (0..1 << BITS).filter(|bits| proxy.contains(Ipv4Addr::from_bits(*bits).into())).collect()
    }

    fn small() -> Vec<MaskedAddress> {
        let upper = u32::MAX << BITS;
        let address = |bits: u32| IpAddr::V4(Ipv4Addr::from_bits(bits));
        let all = (0..1 << BITS).flat_map(|mask: u32| (0..1 << BITS).map(move |bits: u32| (bits, mask)));
        let canonical = all.filter(|(bits, mask)| bits & !mask == 0);
        canonical
            .map(|(bits, mask)| MaskedAddress::new(address(bits), address(mask | upper)).unwrap())
            .collect()
    }

    #[test] // V-13, TED-51
    fn in_a_small_space_every_intersection_is_that_of_the_sets() {
        let all = small();
        assert_eq!(all.len(), 81);
        for a in &all {
            assert_eq!(a.intersection(a), Some(*a), "idempotent");
            for b in &all {
                let both: Vec<u32> =
                    members(a).into_iter().filter(|bits| members(b).contains(bits)).collect();
                let common = a.intersection(b);
                assert_eq!(common.as_ref().map(members).unwrap_or_default(), both, "{a} {b}");
                assert_eq!(common, b.intersection(a), "commutative");
            }
        }
    }

    fn masked() -> impl Strategy<Value = MaskedAddress> {
        // Few different bits, so that intersections are often not empty.
        (0u32..8, prop::sample::select(vec![0, 0xff00_0000, 0xffff_0000, u32::MAX, 0xff00_00ff, 3])).prop_map(
            |(bits, mask)| {
                MaskedAddress::new(
                    Ipv4Addr::from_bits(bits * 0x0101_0101).into(),
                    Ipv4Addr::from_bits(mask).into(),
                )
                .unwrap()
            },
        )
    }

    fn proxies() -> impl Strategy<Value = Proxy> {
        let protocol = prop::sample::select(vec![Protocol::Any, Protocol::Is(6), Protocol::Is(17)]);
        let port = || prop::sample::select(vec![None, Some(80), Some(443)]);
        (masked(), masked(), protocol, port(), port())
            .prop_map(|(s, d, protocol, sp, dp)| Proxy::new((s, sp), (d, dp), protocol).unwrap())
    }

    fn packets() -> impl Strategy<Value = FiveTuple> {
        let address = || {
            (0u32..8, any::<bool>())
                .prop_map(|(bits, odd)| Ipv4Addr::from_bits(bits * 0x0101_0101 + u32::from(odd)).into())
        };
        let port = || prop::sample::select(vec![80u16, 443, 5000]);
        (address(), address(), prop::sample::select(vec![6u8, 17, 1]), port(), port()).prop_map(
            |(source, destination, protocol, s, d)| FiveTuple {
                source,
                destination,
                protocol,
                source_port: Some(s),
                destination_port: Some(d),
            },
        )
    }

    proptest! {
        #[test] // V-13, TED-51
        fn an_intersection_is_what_both_contain(a in proxies(), b in proxies(), packet in packets()) {
            let common = a.intersection(&b);
            let in_common = common.is_ok_and(|common| common.contains(&packet));
            prop_assert_eq!(in_common, a.contains(&packet) && b.contains(&packet));
            prop_assert_eq!(common, b.intersection(&a));
        }

        #[test] // V-13
        fn intersection_is_associative_and_any_is_neutral(a in proxies(), b in proxies(), c in proxies()) {
            let left = a.intersection(&b).ok().and_then(|ab| ab.intersection(&c).ok());
            let right = b.intersection(&c).ok().and_then(|bc| a.intersection(&bc).ok());
            prop_assert_eq!(left, right);
            prop_assert_eq!(a.intersection(&proxy("0.0.0.0/0 0.0.0.0/0")), Ok(a));
        }

        #[test] // Q-10
        fn contiguous_masks_are_ranges_and_back(address: u32, length in 0u8..=32) {
            let range = AddressRange::from_prefix(Ipv4Addr::from_bits(address).into(), length).unwrap();
            let masked = MaskedAddress::from_range(&range).unwrap();
            prop_assert_eq!(masked.range(), Some(range));
        }
    }
}
