//! Sets of addresses and ranges of ports that flows are made of.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::limits::{ADDRESS_BLOCKS_MAX, ADDRESSES_MAX};

/// Consecutive addresses of one family, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Block {
    first: u128,
    last: u128,
}

/// Addresses of one family. Blocks are sorted and do not touch, so every address is in it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddressSet {
    is_ipv6: bool,
    blocks: Vec<Block>,
}

/// Ports from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl AddressSet {
    /// Whether its addresses are IPv6.
    #[must_use]
    pub fn is_ipv6(&self) -> bool {
        self.is_ipv6
    }

    /// How many addresses it has, at most [`ADDRESSES_MAX`]: those behind are never used.
    #[must_use]
    pub fn count(&self) -> u128 {
        let sum = self.blocks.iter().fold(0u128, |sum, block| sum.saturating_add(block.count()));
        sum.min(ADDRESSES_MAX)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The address with `index` before it, `None` behind the last.
    #[must_use]
    pub fn nth(&self, index: u128) -> Option<IpAddr> {
        let mut left = index;
        for block in &self.blocks {
            let count = block.count();
            if left < count {
                return Some(self.address(block.first + left));
            }
            left -= count;
        }
        None
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let (is_ipv6, number) = number(address);
        is_ipv6 == self.is_ipv6
            && self.blocks.iter().any(|block| (block.first..=block.last).contains(&number))
    }

    /// Those that are also in `other`.
    #[must_use]
    pub fn inside(&self, other: &Self) -> Self {
        if self.is_ipv6 != other.is_ipv6 {
            return Self { is_ipv6: self.is_ipv6, blocks: Vec::new() };
        }
        let common = self.blocks.iter().flat_map(|one| {
            let with = |two: &Block| Block::new(one.first.max(two.first), one.last.min(two.last));
            other.blocks.iter().filter_map(with).collect::<Vec<_>>()
        });
        Self { is_ipv6: self.is_ipv6, blocks: common.collect() }
    }

    /// Those that are not in `other`.
    #[must_use]
    pub fn outside(&self, other: &Self) -> Self {
        let mut blocks = self.blocks.clone();
        if self.is_ipv6 == other.is_ipv6 {
            for hole in &other.blocks {
                blocks = blocks.into_iter().flat_map(|block| block.without(hole)).collect();
            }
        }
        Self { is_ipv6: self.is_ipv6, blocks }
    }

    fn address(&self, number: u128) -> IpAddr {
        if self.is_ipv6 {
            IpAddr::V6(Ipv6Addr::from_bits(number))
        } else {
            // Numbers of IPv4 blocks come from 32 bits.
            IpAddr::V4(Ipv4Addr::from_bits(number as u32))
        }
    }
}

impl Block {
    fn new(first: u128, last: u128) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    fn count(&self) -> u128 {
        (self.last - self.first).saturating_add(1)
    }

    /// What is left of it: up to two blocks.
    fn without(self, hole: &Self) -> impl Iterator<Item = Self> {
        if hole.last < self.first || self.last < hole.first {
            return [Some(self), None].into_iter().flatten();
        }
        let before = hole.first.checked_sub(1).and_then(|last| Self::new(self.first, last));
        let after = hole.last.checked_add(1).and_then(|first| Self::new(first, self.last));
        [before, after].into_iter().flatten()
    }
}

/// `10.1.0.0/16`, `10.1.0.1-10.1.0.9`, `10.1.0.1`, or several of them with commas between.
impl FromStr for AddressSet {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut blocks = Vec::new();
        let mut family = None;
        for part in text.split(',') {
            let (is_ipv6, block) = block(part.trim())?;
            if *family.get_or_insert(is_ipv6) != is_ipv6 {
                return Err("addresses of IPv4 and IPv6 in one set".to_owned());
            }
            blocks.push(block);
        }
        if blocks.len() > ADDRESS_BLOCKS_MAX {
            return Err(format!("more than {ADDRESS_BLOCKS_MAX} blocks of addresses"));
        }
        blocks.sort_unstable();
        let mut merged: Vec<Block> = Vec::with_capacity(blocks.len());
        for block in blocks {
            match merged.last_mut() {
                Some(last) if block.first <= last.last.saturating_add(1) => {
                    last.last = last.last.max(block.last);
                }
                _ => merged.push(block),
            }
        }
        Ok(Self { is_ipv6: family == Some(true), blocks: merged })
    }
}

fn block(text: &str) -> Result<(bool, Block), String> {
    let address =
        |text: &str| text.trim().parse::<IpAddr>().map(number).map_err(|_| format!("`{text}` is no address"));
    if let Some((first, last)) = text.split_once('-') {
        let ((first_ipv6, first), (last_ipv6, last)) = (address(first)?, address(last)?);
        let block = Block::new(first, last).filter(|_| first_ipv6 == last_ipv6);
        return Ok((first_ipv6, block.ok_or_else(|| format!("`{text}` is no range from low to high"))?));
    }
    let (base, length) = text.split_once('/').map_or((text, None), |(base, length)| (base, Some(length)));
    let (is_ipv6, base) = address(base)?;
    let bits = if is_ipv6 { 128 } else { 32 };
    let length = match length {
        None => bits,
        Some(length) => length
            .parse::<u32>()
            .ok()
            .filter(|length| *length <= bits)
            .ok_or_else(|| format!("`{text}` is no prefix"))?,
    };
    let host = u128::MAX.checked_shr(128 - (bits - length)).unwrap_or(0);
    if base & host != 0 {
        return Err(format!("`{text}` has bits behind its prefix"));
    }
    Ok((is_ipv6, Block { first: base, last: base | host }))
}

fn number(address: IpAddr) -> (bool, u128) {
    match address {
        IpAddr::V4(address) => (false, u128::from(address.to_bits())),
        IpAddr::V6(address) => (true, address.to_bits()),
    }
}

impl PortRange {
    /// How many ports, at least one.
    #[must_use]
    pub fn count(&self) -> u128 {
        u128::from(self.last - self.first) + 1
    }

    /// The port with `index` before it, counted around the end.
    #[must_use]
    pub fn nth(&self, index: u128) -> u16 {
        self.first + (index % self.count()) as u16
    }
}

/// `5000` or `5000-5999`.
impl FromStr for PortRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (first.trim().parse(), last.trim().parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("`{text}` is no port and no range of ports")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(text: &str) -> AddressSet {
        text.parse().unwrap()
    }

    fn all(set: &AddressSet) -> Vec<String> {
        (0..set.count()).map(|index| set.nth(index).unwrap().to_string()).collect()
    }

    #[test]
    fn addresses_are_written_as_people_write_them() {
        assert_eq!(all(&set("10.0.0.4/30")), ["10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7"]);
        assert_eq!(all(&set("10.0.0.255-10.0.1.0, 10.0.0.3")), ["10.0.0.3", "10.0.0.255", "10.0.1.0"]);
        assert_eq!(all(&set("2001:db8::fe/127")), ["2001:db8::fe", "2001:db8::ff"]);
        assert_eq!(set("0.0.0.0/0").count(), 1 << 32);
        assert_eq!(set("::/0").count(), ADDRESSES_MAX);
        assert_eq!(set("255.255.255.255").nth(0), Some([255; 4].into()));
        assert_eq!(set("10.0.0.0/31").nth(2), None);
    }

    #[test]
    fn what_is_no_set_is_refused_with_the_word_that_is_wrong() {
        for (text, said) in [
            ("10.0.0.1/24", "behind its prefix"),
            ("10.0.0.0/33", "no prefix"),
            ("10.0.0.9-10.0.0.1", "from low to high"),
            ("10.0.0.1-2001:db8::1", "from low to high"),
            ("10.0.0.1,2001:db8::1", "IPv4 and IPv6"),
            ("", "no address"),
            ("host", "no address"),
        ] {
            let refused = text.parse::<AddressSet>().expect_err(text);
            assert!(refused.contains(said), "{text}: {refused}");
        }
        for text in ["", "-", "9-1", "65536", "1-65536"] {
            assert!(text.parse::<PortRange>().is_err(), "{text}");
        }
    }

    #[test]
    fn ports_count_from_their_first() {
        let range: PortRange = "65534-65535".parse().unwrap();
        assert_eq!((range.count(), range.nth(0), range.nth(1), range.nth(2)), (2, 65534, 65535, 65534));
        assert_eq!("0-65535".parse::<PortRange>().unwrap().count(), 65536);
    }

    proptest! {
        #[test]
        fn inside_and_outside_divide_a_set(
            blocks in proptest::collection::vec((0u8..200, 0u8..50), 1..6),
            rules in proptest::collection::vec((0u8..200, 0u8..50), 1..6),
        ) {
            let text = |blocks: &[(u8, u8)]| {
                let ranges = blocks.iter().map(|(at, more)| format!("10.0.0.{at}-10.0.0.{}", at + more));
                ranges.collect::<Vec<_>>().join(",")
            };
            let (of, rules) = (set(&text(&blocks)), set(&text(&rules)));
            let (inside, outside) = (of.inside(&rules), of.outside(&rules));
            prop_assert_eq!(inside.count() + outside.count(), of.count());
            for last in 0..=255u8 {
                let address = IpAddr::from([10, 0, 0, last]);
                prop_assert_eq!(inside.contains(address), of.contains(address) && rules.contains(address));
                prop_assert_eq!(outside.contains(address), of.contains(address) && !rules.contains(address));
            }
            for index in 0..of.count() {
                prop_assert!(of.contains(of.nth(index).unwrap()));
            }
        }
    }
}
