//! Eight rules side by side, so that one packet is compared with all of them at once: four cache lines for IPv4, ten
//! for IPv6.
//!
//! Addresses are compared under the mask of the longest prefix around them. Where a range is no prefix, a hit is only
//! a candidate and [`UNSURE`] says so.

use super::address::{Address, Compare, Ipv4Key, Ipv6Key};
use super::bounds::{
    Bounds, DESTINATION, DESTINATION_HIDDEN, DESTINATION_HIDDEN_BIT, DESTINATION_PORT, PROTOCOL, SOURCE,
    SOURCE_HIDDEN, SOURCE_HIDDEN_BIT, SOURCE_PORT,
};
use super::lanes::Lanes;

/// Rules of one block.
pub(super) const BLOCK_RULES: usize = 8;
/// Of a rule's number in a block: its addresses must be compared again, as ranges. The rest is then a place in the
/// list of such rules.
pub(super) const UNSURE: u32 = 1 << 31;
/// What stands where a block has no rule.
const VACANT: u32 = u32::MAX;

/// One rule, and the number by which a block knows it.
pub(super) struct Line<A> {
    pub(super) rule: u32,
    pub(super) bounds: Bounds<A>,
}

/// Eight rules whose addresses have `W` words together.
#[repr(C, align(64))]
pub(super) struct Block<const W: usize> {
    value: [[Lanes; 2]; W],
    mask: [[Lanes; 2]; W],
    source_port: [Lanes; 2],
    destination_port: [Lanes; 2],
    protocol: [Lanes; 2],
    rules: [u32; BLOCK_RULES],
}

impl<const W: usize> Block<W> {
    fn lay_out<A: Address>(lines: &[Line<A>]) -> Self {
        let at = |lane: usize| lines.get(lane).map(|line| &line.bounds);
        let word = |of: A, word: usize| (of >> (A::BITS - 32 - 32 * word as u32)).low_word();
        let address = |lane: usize, place: usize, is_mask: bool| {
            let words = W / 2;
            let field = if place < words { SOURCE } else { DESTINATION };
            at(lane).map_or(0, |bounds| {
                let (value, mask) = bounds.prefix(field);
                word(if is_mask { mask } else { value }, place % words)
            })
        };
        let pair = |place: usize, is_mask: bool| {
            [0, 4].map(|from| Lanes::four(std::array::from_fn(|lane| address(from + lane, place, is_mask))))
        };
        let ports = |field: usize| {
            let low = |lane| at(lane).map_or(0, |bounds| bounds.low[field].low_word() as u16);
            let high = |lane| at(lane).map_or(u16::MAX, |bounds| bounds.high[field].low_word() as u16);
            [Lanes::eight(std::array::from_fn(low)), Lanes::eight(std::array::from_fn(high))]
        };
        // A vacant place asks for a protocol that no key has.
        let value = |lane| at(lane).map_or(u16::MAX, |bounds| protocol(bounds).0);
        let mask = |lane| at(lane).map_or(u16::MAX, |bounds| protocol(bounds).1);
        Self {
            value: std::array::from_fn(|place| pair(place, false)),
            mask: std::array::from_fn(|place| pair(place, true)),
            source_port: ports(SOURCE_PORT),
            destination_port: ports(DESTINATION_PORT),
            protocol: [Lanes::eight(std::array::from_fn(value)), Lanes::eight(std::array::from_fn(mask))],
            rules: std::array::from_fn(|lane| lines.get(lane).map_or(VACANT, |line| line.rule)),
        }
    }

    /// Zero in each of eight lanes whose addresses match, in two halves.
    #[inline]
    fn addresses(&self, words: &[u32; W]) -> [Lanes; 2] {
        let mut differing = [Lanes::zero(); 2];
        for ((&word, value), mask) in words.iter().zip(&self.value).zip(&self.mask) {
            let word = Lanes::all_four(word);
            for (differing, (&value, &mask)) in differing.iter_mut().zip(value.iter().zip(mask)) {
                *differing = differing.or(word.xor(value).and(mask));
            }
        }
        differing
    }

    #[inline]
    fn matches(&self, words: &[u32; W], ports: u32, protocol: u32) -> u32 {
        let [low, high] = self.addresses(words);
        let source = outside(&self.source_port, (ports >> 16) as u16);
        let destination = outside(&self.destination_port, ports as u16);
        let differs = Lanes::all_eight(protocol as u16).xor(self.protocol[0]).and(self.protocol[1]);
        low.zeros(high, source.or(destination).or(differs))
    }

    /// Ports and protocol may be anything in the bits of `free`: a hidden port is hidden whole.
    fn may_match(&self, words: &[u32; W], ports: (u32, u32), protocol: (u32, u32)) -> u32 {
        let [low, high] = self.addresses(words);
        let kept = |free: u32| Lanes::all_eight(!(free as u16));
        let source = outside(&self.source_port, (ports.0 >> 16) as u16).and(kept(ports.1 >> 16));
        let destination = outside(&self.destination_port, ports.0 as u16).and(kept(ports.1));
        let differs = Lanes::all_eight(protocol.0 as u16).xor(self.protocol[0]).and(self.protocol[1]);
        low.zeros(high, source.or(destination).or(differs.and(kept(protocol.1))))
    }
}

/// Zero in each lane whose range has the port.
#[inline]
fn outside(range: &[Lanes; 2], port: u16) -> Lanes {
    let port = Lanes::all_eight(port);
    range[0].excess(port).or(port.excess(range[1]))
}

/// Value and mask of the protocol, and of the bits that say which ports are hidden.
fn protocol<A: Address>(bounds: &Bounds<A>) -> (u16, u16) {
    let number = bounds.low[PROTOCOL];
    let mut mask = if number == bounds.high[PROTOCOL] { 0xff } else { 0 };
    if bounds.high[SOURCE_HIDDEN] == A::default() {
        mask |= SOURCE_HIDDEN_BIT as u16;
    }
    if bounds.high[DESTINATION_HIDDEN] == A::default() {
        mask |= DESTINATION_HIDDEN_BIT as u16;
    }
    (number.low_word() as u16 & mask, mask)
}

impl Compare<u32> for Block<2> {
    fn new(rules: &[Line<u32>]) -> Self {
        Self::lay_out(rules)
    }

    #[inline]
    fn matches(&self, Ipv4Key(key): &Ipv4Key) -> u32 {
        self.matches(&[key[0], key[1]], key[2], key[3])
    }

    fn may_match(&self, Ipv4Key(key): &Ipv4Key, Ipv4Key(free): &Ipv4Key) -> u32 {
        self.may_match(&[key[0], key[1]], (key[2], free[2]), (key[3], free[3]))
    }

    #[inline]
    fn rule(&self, at: usize) -> u32 {
        self.rules[at % BLOCK_RULES]
    }
}

impl Compare<u128> for Block<8> {
    fn new(rules: &[Line<u128>]) -> Self {
        Self::lay_out(rules)
    }

    #[inline]
    fn matches(&self, Ipv6Key(key): &Ipv6Key) -> u32 {
        self.matches(key.first_chunk().unwrap_or(&[0; 8]), key[8], key[9])
    }

    fn may_match(&self, Ipv6Key(key): &Ipv6Key, Ipv6Key(free): &Ipv6Key) -> u32 {
        self.may_match(key.first_chunk().unwrap_or(&[0; 8]), (key[8], free[8]), (key[9], free[9]))
    }

    #[inline]
    fn rule(&self, at: usize) -> u32 {
        self.rules[at % BLOCK_RULES]
    }
}
