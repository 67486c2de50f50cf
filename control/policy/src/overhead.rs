//! What one tunnel adds to a packet, from the numbers of its ESP transform (REQUIREMENTS NT-33, RFC 4303 §2).
//!
//! ```text
//! outer IP header | ESP header | IV | inner packet | padding | trailer | ICV
//!        20 or 40 |          8 |    |              |         |       2 |
//! ```
//!
//! ESP inside UDP (RFC 3948) would add 8 more; whether it is used is found out by IKE.

use crate::proposal::EspTransform;

/// SPI and sequence number.
const HEADER_OCTETS: usize = 8;
/// Pad length and next header.
const TRAILER_OCTETS: usize = 2;

/// What one tunnel adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overhead {
    /// Octets besides inner packet and padding.
    pub fixed_octets: usize,
    /// What inner packet, padding and trailer together are a multiple of.
    alignment: usize,
}

impl Overhead {
    /// Of a tunnel with that transform and an outer header of that family.
    #[must_use]
    pub const fn new(transform: EspTransform, outer_is_ipv6: bool) -> Self {
        let ip = if outer_is_ipv6 { 40 } else { 20 };
        let fixed_octets =
            ip + HEADER_OCTETS + transform.iv_octets() + TRAILER_OCTETS + transform.icv_octets();
        Self { fixed_octets, alignment: transform.alignment() }
    }

    /// Octets of the whole, at most: some packets need all of the padding.
    #[must_use]
    pub const fn octets_max(&self) -> usize {
        self.fixed_octets + self.alignment - 1
    }

    /// Octets of a packet of `inner` octets once it is inside.
    #[must_use]
    pub const fn protected(&self, inner: usize) -> usize {
        let text = (inner + TRAILER_OCTETS).next_multiple_of(self.alignment);
        self.fixed_octets - TRAILER_OCTETS + text
    }

    /// Octets of the largest packet that fits inside a packet of `outer_max` octets; 0 when none does.
    #[must_use]
    pub const fn inner_max(&self, outer_max: usize) -> usize {
        let text = outer_max.saturating_sub(self.fixed_octets - TRAILER_OCTETS);
        (text - text % self.alignment).saturating_sub(TRAILER_OCTETS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::EspProposal;

    fn overhead(transform: &str, outer_is_ipv6: bool) -> Overhead {
        Overhead::new(transform.parse::<EspProposal>().unwrap().transform, outer_is_ipv6)
    }

    #[test] // NT-33
    fn what_a_tunnel_adds_is_what_the_formats_say() {
        // RFC 4106: IV 8, ICV 16. RFC 3602 and RFC 4868: IV 16, ICV half of the hash.
        for (transform, ipv4) in [("aes128gcm16", 54), ("aes256gcm16-esn", 54), ("aes128-sha256", 62)] {
            assert_eq!(overhead(transform, false).fixed_octets, ipv4, "{transform}");
            assert_eq!(overhead(transform, true).fixed_octets, ipv4 + 20, "{transform}");
        }
        assert_eq!(overhead("aes256-sha512", false).octets_max(), 78 + 15);
        assert_eq!(overhead("aes128gcm16", false).inner_max(1500), 1446);
        assert_eq!(overhead("aes128-sha256", false).inner_max(1500), 1438);
        assert_eq!(overhead("aes128gcm16", false).inner_max(40), 0);
    }

    #[test] // NT-33
    fn the_largest_packet_fits_and_the_next_larger_does_not() {
        for transform in ["aes128gcm16", "aes256gcm16", "aes128-sha1", "aes192-sha256", "aes256-sha384"] {
            for outer_is_ipv6 in [false, true] {
                let overhead = overhead(transform, outer_is_ipv6);
                for outer in 200..1600 {
                    let inner = overhead.inner_max(outer);
                    assert!(overhead.protected(inner) <= outer, "{transform} {outer}");
                    assert!(overhead.protected(inner + 1) > outer, "{transform} {outer}");
                    assert!(
                        overhead.protected(inner) <= inner + overhead.octets_max(),
                        "{transform} {outer}"
                    );
                }
            }
        }
    }
}
