//! What differs between the two families: how wide an address is, and how many words a key has.

use std::fmt::Debug;
use std::ops::{BitAnd, BitOr, BitXor, Not, Shl, Shr, Sub};

use super::block::Block;

/// Words of a key that hold an IPv4 source and destination.
const IPV4_WORDS: usize = 2;
/// The same for IPv6.
const IPV6_WORDS: usize = 8;

/// An IPv4 packet, ready to be looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv4Key(pub(super) [u32; 4]);

/// An IPv6 packet, ready to be looked up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ipv6Key(pub(super) [u32; 16]);

/// An address as a number. The tables of both families are the same code over this.
pub(super) trait Address:
    Copy
    + Debug
    + Default
    + Ord
    + From<u16>
    + BitAnd<Output = Self>
    + BitOr<Output = Self>
    + BitXor<Output = Self>
    + Not<Output = Self>
    + Shl<u32, Output = Self>
    + Shr<u32, Output = Self>
    + Sub<Output = Self>
{
    /// A packet as the tables look at it: source, destination, ports (the source's in the upper half), and protocol
    /// with a bit above it for each port that cannot be seen. Highest word of an address first.
    type Key: Copy + Default + Debug + PartialEq;
    /// Eight rules to compare with.
    type Block: Compare<Self>;

    /// Bits of an address.
    const BITS: u32;
    /// Every address.
    const MAX: Self;
    /// A range with fewer leading zeros in its extent is about no network in particular.
    const WIDE: u32;

    /// A key of its parts.
    fn key(source: Self, destination: Self, ports: u32, protocol: u32) -> Self::Key;

    /// One word of a key; places beyond the last word repeat the others.
    fn word(key: &Self::Key, at: u32) -> u32;

    /// Source and destination of a key.
    fn addresses(key: &Self::Key) -> (Self, Self);

    /// The lowest 32 bits.
    fn low_word(self) -> u32;

    /// Zeros in front of the first one.
    fn leading_zeros(self) -> u32;
}

/// Eight rules of one leaf, in the order in which they are tried.
pub(super) trait Compare<A: Address>: Sized {
    /// Lays out up to eight rules; what is missing never matches.
    fn new(rules: &[super::block::Line<A>]) -> Self;

    /// One bit for each rule that may match: surely where its addresses are prefixes.
    fn matches(&self, key: &A::Key) -> u32;

    /// The same for all keys at once that differ from `key` in the bits of `free` only.
    fn may_match(&self, key: &A::Key, free: &A::Key) -> u32;

    /// Which rule stands there.
    fn rule(&self, at: usize) -> u32;
}

impl Address for u32 {
    type Key = Ipv4Key;
    type Block = Block<IPV4_WORDS>;

    const BITS: Self = Self::BITS;
    const MAX: Self = Self::MAX;
    const WIDE: Self = 8;

    #[inline]
    fn key(source: Self, destination: Self, ports: u32, protocol: u32) -> Self::Key {
        Ipv4Key([source, destination, ports, protocol])
    }

    #[inline]
    fn word(key: &Self::Key, at: u32) -> u32 {
        key.0[at as usize % 4]
    }

    fn addresses(key: &Self::Key) -> (Self, Self) {
        (key.0[0], key.0[1])
    }

    #[inline]
    fn low_word(self) -> u32 {
        self
    }

    #[inline]
    fn leading_zeros(self) -> u32 {
        Self::leading_zeros(self)
    }
}

impl Address for u128 {
    type Key = Ipv6Key;
    type Block = Block<IPV6_WORDS>;

    const BITS: u32 = Self::BITS;
    const MAX: Self = Self::MAX;
    // The first of what is routed all begins with the same three bits, and most of it with the same sixteen.
    const WIDE: u32 = 24;

    #[inline]
    fn key(source: Self, destination: Self, ports: u32, protocol: u32) -> Self::Key {
        let mut key = [0; 16];
        for at in 0..4 {
            key[at] = (source >> (96 - 32 * at)) as u32;
            key[4 + at] = (destination >> (96 - 32 * at)) as u32;
        }
        key[8] = ports;
        key[9] = protocol;
        Ipv6Key(key)
    }

    #[inline]
    fn word(key: &Self::Key, at: u32) -> u32 {
        key.0[at as usize % 16]
    }

    fn addresses(key: &Self::Key) -> (Self, Self) {
        let address = |words: &[u32]| words.iter().fold(0, |all, &word| all << 32 | Self::from(word));
        (address(&key.0[..4]), address(&key.0[4..8]))
    }

    #[inline]
    fn low_word(self) -> u32 {
        self as u32
    }

    #[inline]
    fn leading_zeros(self) -> u32 {
        Self::leading_zeros(self)
    }
}
