//! What one level adds to a packet, from the numbers of its ESP transform (REQUIREMENTS NT-33, RFC 4303 §2, §3.1).
//!
//! ```text
//! tunnel mode:     outer IP header | ESP header | IV | inner packet           | padding | trailer | ICV
//!                         20 or 40 |          8 |    |                        |         |       2 |
//! transport mode:  the packet's IP header | ESP header | IV | rest of it      | padding | trailer | ICV
//! ```
//!
//! ESP inside UDP (RFC 3948) would add 8 more; whether it is used is found out by IKE.

use crate::proposal::EspTransform;

/// SPI and sequence number.
const HEADER_OCTETS: usize = 8;
/// Pad length and next header.
const TRAILER_OCTETS: usize = 2;

/// What one level adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Overhead {
    /// Octets besides the packet and padding.
    pub fixed_octets: usize,
    /// Octets of the packet that stay in front and are not padded: its IP header in transport mode, none in a tunnel.
    clear_octets: usize,
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
        Self { fixed_octets, clear_octets: 0, alignment: transform.alignment() }
    }

    /// Of transport mode with that transform, for packets of that family without options or extension headers.
    #[must_use]
    pub const fn transport(transform: EspTransform, is_ipv6: bool) -> Self {
        let tunnel = Self::new(transform, is_ipv6);
        let clear_octets = if is_ipv6 { 40 } else { 20 };
        Self { fixed_octets: tunnel.fixed_octets - clear_octets, clear_octets, ..tunnel }
    }

    /// The same inside UDP (RFC 3948 §2.1).
    #[must_use]
    pub const fn in_udp(self) -> Self {
        Self { fixed_octets: self.fixed_octets + 8, ..self }
    }

    /// Octets of the whole, at most: some packets need all of the padding.
    #[must_use]
    pub const fn octets_max(&self) -> usize {
        self.fixed_octets + self.alignment - 1
    }

    /// Octets of a packet of `inner` octets once it is inside.
    #[must_use]
    pub const fn protected(&self, inner: usize) -> usize {
        let text =
            (inner.saturating_sub(self.clear_octets) + TRAILER_OCTETS).next_multiple_of(self.alignment);
        self.clear_octets + self.fixed_octets - TRAILER_OCTETS + text
    }

    /// Octets of the largest packet that fits inside a packet of `outer_max` octets; 0 when none does.
    #[must_use]
    pub const fn inner_max(&self, outer_max: usize) -> usize {
        let text = outer_max.saturating_sub(self.clear_octets + self.fixed_octets - TRAILER_OCTETS);
        match (text - text % self.alignment).checked_sub(TRAILER_OCTETS) {
            Some(octets) => self.clear_octets + octets,
            None => 0,
        }
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

    #[test] // NT-33, RFC 4303 §3.1.1
    fn transport_mode_adds_no_header_and_pads_only_what_is_behind_the_first() {
        let transport = |transform: &str, is_ipv6| {
            Overhead::transport(transform.parse::<EspProposal>().unwrap().transform, is_ipv6)
        };
        for is_ipv6 in [false, true] {
            assert_eq!(transport("aes128gcm16", is_ipv6).fixed_octets, 34);
            assert_eq!(transport("aes128-sha256", is_ipv6).fixed_octets, 42);
        }
        // 20 + 8 + 16 + 16 + 16: header, ESP header, IV, fourteen octets with their trailer, ICV.
        assert_eq!(transport("aes128-sha256", false).protected(34), 76);
        assert_eq!(transport("aes128-sha256", false).inner_max(76), 34);
        assert_eq!(transport("aes128-sha256", true).protected(54), 96);
        assert_eq!(transport("aes128-sha256", true).inner_max(40), 0);
    }

    #[test] // NT-33
    fn the_largest_packet_fits_and_the_next_larger_does_not() {
        for transform in ["aes128gcm16", "aes256gcm16", "aes128-sha1", "aes192-sha256", "aes256-sha384"] {
            for outer_is_ipv6 in [false, true] {
                let parsed = transform.parse::<EspProposal>().unwrap().transform;
                let transport = Overhead::transport(parsed, outer_is_ipv6);
                for (overhead, outer) in [overhead(transform, outer_is_ipv6), transport]
                    .iter()
                    .flat_map(|own| (200..1600).map(move |outer| (own, outer)))
                {
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
