//! The Internet checksum (RFC 1071), whole and incremental (RFC 1624).

use super::protocol;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::FiveTuple;

/// A running one's complement sum.
#[derive(Clone, Copy, Default)]
pub struct Sum(u64);

impl Sum {
    /// Adds octets; an odd one at the end counts as the upper half of a word, so only the last call may have one.
    #[must_use]
    pub fn octets(mut self, octets: &[u8]) -> Self {
        let mut words = octets.chunks_exact(2);
        for word in &mut words {
            self.0 += u64::from(u16::from_be_bytes([word[0], word[1]]));
        }
        if let [last] = words.remainder() {
            self.0 += u64::from(*last) << 8;
        }
        self
    }

    /// Adds a pseudo-header of IPv4 (RFC 793 §3.1).
    #[must_use]
    pub fn pseudo_ipv4(self, source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, octets: usize) -> Self {
        let mut sum = self.octets(&source.octets()).octets(&destination.octets());
        sum.0 += u64::from(protocol) + octets as u64;
        sum
    }

    /// Adds a pseudo-header of IPv6 (RFC 8200 §8.1).
    #[must_use]
    pub fn pseudo_ipv6(self, source: Ipv6Addr, destination: Ipv6Addr, protocol: u8, octets: usize) -> Self {
        let mut sum = self.octets(&source.octets()).octets(&destination.octets());
        sum.0 += u64::from(protocol) + octets as u64;
        sum
    }

    /// The checksum: the complement of the folded sum.
    #[must_use]
    pub const fn finish(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xFFFF {
            sum = (sum & 0xFFFF) + (sum >> 16);
        }
        !(sum as u16)
    }
}

/// The checksum over words that somebody else has added up. So few that two carries are all there are.
#[inline]
#[must_use]
pub(crate) const fn of_sum(sum: u32) -> u16 {
    let sum = (sum & 0xFFFF) + (sum >> 16);
    !((sum & 0xFFFF) + (sum >> 16)) as u16
}

/// The checksum after a word that it covers changed (RFC 1624 eqn. 3).
#[inline]
#[must_use]
pub fn update(checksum: u16, old: u16, new: u16) -> u16 {
    Sum(u64::from(!checksum) + u64::from(!old) + u64::from(new)).finish()
}

/// Writes the UDP checksum over IPv6 into a datagram. Zero would mean *none*, so it is sent as all ones.
pub fn fill_udp_ipv6(source: Ipv6Addr, destination: Ipv6Addr, datagram: &mut [u8]) {
    datagram[6..8].fill(0);
    let octets = datagram.len();
    let sum =
        Sum::default().pseudo_ipv6(source, destination, protocol::UDP, octets).octets(datagram).finish();
    super::write_u16(datagram, 6, if sum == 0 { 0xFFFF } else { sum });
}

/// Computes the checksum of a TCP segment or UDP datagram anew, after a NAT has changed addresses that it covers (RFC 3948
/// §3.1.2). What has none, or is cut short, is left as it is.
pub fn renew(tuple: &FiveTuple, segment: &mut [u8]) {
    let octets = segment.len();
    let at = match tuple.protocol {
        protocol::TCP if octets >= 20 => 16,
        // Without a checksum over IPv4 it stays without one.
        protocol::UDP if octets >= 8 && usize::from(super::read_u16(segment, 4)) == octets => {
            if tuple.source.is_ipv4() && super::read_u16(segment, 6) == 0 {
                return;
            }
            6
        }
        _ => return,
    };
    super::write_u16(segment, at, 0);
    let sum = match (tuple.source, tuple.destination) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Sum::default().pseudo_ipv4(from, to, tuple.protocol, octets),
        (IpAddr::V6(from), IpAddr::V6(to)) => Sum::default().pseudo_ipv6(from, to, tuple.protocol, octets),
        _ => return,
    };
    let sum = sum.octets(segment).finish();
    super::write_u16(segment, at, if sum == 0 && tuple.protocol == protocol::UDP { 0xFFFF } else { sum });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test] // RFC 1071 §3
    fn the_example_of_the_standard_sums_up() {
        let sum = Sum::default().octets(&[0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]).finish();
        assert_eq!(sum, !0xDDF2);
    }

    proptest! {
        #[test]
        fn an_update_gives_what_summing_again_gives(
            mut octets in prop::collection::vec(any::<u8>(), 20..60), at in 0usize..10, new: u16,
        ) {
            // A header is never all zero, which is the one case where the two zeros of the arithmetic differ.
            octets[19] |= 1;
            octets.truncate(octets.len() & !1);
            let before = Sum::default().octets(&octets).finish();
            let old = super::super::read_u16(&octets, 2 * at);
            if at == 9 {
                return Ok(());
            }
            super::super::write_u16(&mut octets, 2 * at, new);
            prop_assert_eq!(update(before, old, new), Sum::default().octets(&octets).finish());
        }
    }
}
