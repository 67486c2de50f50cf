//! A rule as a box: one interval for each field that rules look at; and a region, the part of all packets that reaches
//! one place of a tree.

use std::net::IpAddr;
use warren_policy::{FiveTuple, PortRange, Protocol, Selector};

use super::Direction;
use super::address::Address;

/// Source address.
pub(super) const SOURCE: usize = 0;
/// Destination address.
pub(super) const DESTINATION: usize = 1;
/// Source port.
pub(super) const SOURCE_PORT: usize = 2;
/// Destination port.
pub(super) const DESTINATION_PORT: usize = 3;
/// Protocol.
pub(super) const PROTOCOL: usize = 4;
/// One where the source port cannot be seen. Only the range of every port reaches so far.
pub(super) const SOURCE_HIDDEN: usize = 5;
/// One where the destination port cannot be seen.
pub(super) const DESTINATION_HIDDEN: usize = 6;
/// How many fields there are.
pub(super) const FIELDS: usize = 7;

/// Where the bits that say what cannot be seen stand in the word of the protocol.
pub(super) const SOURCE_HIDDEN_BIT: u32 = 1 << 8;
/// The same for the destination port.
pub(super) const DESTINATION_HIDDEN_BIT: u32 = 1 << 9;

/// Bits of a field.
pub(super) const fn field_bits<A: Address>(field: usize) -> u32 {
    match field {
        SOURCE | DESTINATION => A::BITS,
        SOURCE_PORT | DESTINATION_PORT => 16,
        PROTOCOL => 8,
        _ => 1,
    }
}

/// In which word of a key a bit of a field stands, and where in it.
pub(super) const fn place<A: Address>(field: usize, bit: u32) -> (u32, u32) {
    let words = A::BITS / 32;
    match field {
        SOURCE => (words - 1 - bit / 32, bit % 32),
        DESTINATION => (2 * words - 1 - bit / 32, bit % 32),
        SOURCE_PORT => (2 * words, 16 + bit),
        DESTINATION_PORT => (2 * words, bit),
        PROTOCOL => (2 * words + 1, bit),
        SOURCE_HIDDEN => (2 * words + 1, 8),
        _ => (2 * words + 1, 9),
    }
}

/// One rule: an interval, ends included, for each field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds<A> {
    pub(super) low: [A; FIELDS],
    pub(super) high: [A; FIELDS],
}

impl<A: Address> Bounds<A> {
    /// Of a selector, whose addresses the caller has turned into numbers.
    pub(super) fn new(selector: &Selector, source: (A, A), destination: (A, A)) -> Self {
        let protocol = match selector.protocol {
            Protocol::Any => (0, u16::from(u8::MAX)),
            Protocol::Is(number) => (number.into(), number.into()),
        };
        let hidden = |ports: PortRange| u16::from(ports == PortRange::ANY);
        let (from, to) = (selector.source_port, selector.destination_port);
        let low = [from.first(), to.first(), protocol.0, 0, 0].map(A::from);
        let high = [from.last(), to.last(), protocol.1, hidden(from), hidden(to)].map(A::from);
        Self {
            low: [source.0, destination.0, low[0], low[1], low[2], low[3], low[4]],
            high: [source.1, destination.1, high[0], high[1], high[2], high[3], high[4]],
        }
    }

    /// Whether some port need not be seen.
    pub(super) fn reaches_hidden(&self) -> bool {
        let one = A::from(1);
        self.high[SOURCE_HIDDEN] == one || self.high[DESTINATION_HIDDEN] == one
    }

    /// What of it lies in the region, or a little more; `None` if nothing does.
    pub(super) fn clipped(&self, region: &Region<A>) -> Option<Self> {
        let mut clipped = *self;
        for field in 0..FIELDS {
            let (least, most) = region.extent(field);
            clipped.low[field] = self.low[field].max(least);
            clipped.high[field] = self.high[field].min(most);
            if clipped.low[field] > clipped.high[field] {
                return None;
            }
        }
        Some(clipped)
    }

    /// Whether everything in the region matches.
    pub(super) fn covers(&self, region: &Region<A>) -> bool {
        (0..FIELDS).all(|field| {
            let (least, most) = region.extent(field);
            self.low[field] <= least && most <= self.high[field]
        })
    }

    /// Whether everything that matches the other matches this too.
    pub(super) fn contains(&self, other: &Self) -> bool {
        (0..FIELDS).all(|field| self.low[field] <= other.low[field] && other.high[field] <= self.high[field])
    }

    /// The longest prefix around the interval of an address: its value, and the mask of its bits.
    pub(super) fn prefix(&self, field: usize) -> (A, A) {
        let (low, high) = (self.low[field], self.high[field]);
        let equal = (low ^ high).leading_zeros();
        let mask = if equal == 0 { A::default() } else { A::MAX << (A::BITS - equal) };
        (low & mask, mask)
    }

    /// Whether that prefix is all that the interval is.
    pub(super) fn is_prefix(&self, field: usize) -> bool {
        let (value, mask) = self.prefix(field);
        self.low[field] == value && self.high[field] == value | !mask
    }
}

/// Packets with known values in some bits: what has led to one place of a tree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Region<A> {
    value: [A; FIELDS],
    free: [A; FIELDS],
}

impl<A: Address> Region<A> {
    /// Every packet whose ports can be seen.
    pub(super) fn seen() -> Self {
        let mut region = Self::every();
        region.free[SOURCE_HIDDEN] = A::default();
        region.free[DESTINATION_HIDDEN] = A::default();
        region
    }

    /// Every packet.
    pub(super) fn every() -> Self {
        let free = std::array::from_fn(|field| match field {
            SOURCE | DESTINATION => A::MAX,
            _ => (A::from(1) << field_bits::<A>(field)) - A::from(1),
        });
        Self { value: [A::default(); FIELDS], free }
    }

    /// Least and greatest value of a field.
    pub(super) fn extent(&self, field: usize) -> (A, A) {
        (self.value[field], self.value[field] | self.free[field])
    }

    /// The part of it where these bits of the field have this value.
    pub(super) fn fix(&mut self, field: usize, shift: u32, width: u32, value: u32) {
        for bit in 0..width {
            let one = A::from(1) << (shift + bit);
            if self.free[field] & one != A::default() {
                self.free[field] = self.free[field] & !one;
                if value >> bit & 1 == 1 {
                    self.value[field] = self.value[field] | one;
                }
            }
        }
    }

    /// The smallest region around both.
    pub(super) fn around(&self, other: &Self) -> Self {
        let mut around = *self;
        for field in 0..FIELDS {
            let free = self.free[field] | other.free[field] | (self.value[field] ^ other.value[field]);
            around.free[field] = free;
            around.value[field] = self.value[field] & !free;
        }
        around
    }
}

/// A packet as numbers, seen from one direction.
#[derive(Clone, Copy)]
pub(super) struct Probe<A: Address> {
    /// The packet.
    pub(super) key: A::Key,
    /// Bits that it hides: what it would be if it showed them, nobody knows. All zero if it hides nothing.
    pub(super) free: A::Key,
}

impl<A: Address> Probe<A> {
    pub(super) fn new(packet: &FiveTuple, source: A, destination: A, direction: Direction) -> Self {
        let (source, destination, ports) = match direction {
            Direction::Outbound => (source, destination, (packet.source_port, packet.destination_port)),
            Direction::Inbound => (destination, source, (packet.destination_port, packet.source_port)),
        };
        let hidden = |port: Option<u16>, bit: u32| if port.is_none() { bit } else { 0 };
        let flags = hidden(ports.0, SOURCE_HIDDEN_BIT) | hidden(ports.1, DESTINATION_HIDDEN_BIT);
        let both = u32::from(ports.0.unwrap_or(0)) << 16 | u32::from(ports.1.unwrap_or(0));
        let free_ports = hidden(ports.0, 0xffff_0000) | hidden(ports.1, 0xffff);
        let free_protocol = if packet.hides_protocol() { 0xff } else { 0 };
        let zero = A::default();
        Self {
            key: A::key(source, destination, both, u32::from(packet.protocol) | flags),
            free: if packet.hides_ports() {
                A::key(zero, zero, free_ports, free_protocol | flags)
            } else {
                A::Key::default()
            },
        }
    }
}

/// Both ends of a selector's addresses as numbers; `None` for the other family.
pub(super) fn ipv4_bounds(selector: &Selector) -> Option<Bounds<u32>> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(address) => Some(u32::from(address)),
        IpAddr::V6(_) => None,
    };
    let (source, destination) = (selector.source, selector.destination);
    Some(Bounds::new(
        selector,
        (number(source.first())?, number(source.last())?),
        (number(destination.first())?, number(destination.last())?),
    ))
}

/// The same for IPv6.
pub(super) fn ipv6_bounds(selector: &Selector) -> Option<Bounds<u128>> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => Some(u128::from(address)),
    };
    let (source, destination) = (selector.source, selector.destination);
    Some(Bounds::new(
        selector,
        (number(source.first())?, number(source.last())?),
        (number(destination.first())?, number(destination.last())?),
    ))
}

/// A packet of IPv4; `None` for another.
pub(super) fn ipv4_probe(packet: &FiveTuple, direction: Direction) -> Option<Probe<u32>> {
    match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Some(Probe::new(packet, source.into(), destination.into(), direction))
        }
        _ => None,
    }
}

/// A packet of IPv6; `None` for another.
pub(super) fn ipv6_probe(packet: &FiveTuple, direction: Direction) -> Option<Probe<u128>> {
    match (packet.source, packet.destination) {
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Some(Probe::new(packet, source.into(), destination.into(), direction))
        }
        _ => None,
    }
}
