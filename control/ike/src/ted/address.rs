//! Which addresses may stand for an end host, and which for a gateway.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::AddressRange;

/// Whether the address can be that of one host somewhere else: neither multicast, broadcast, loopback, link-local,
/// unspecified nor reserved (RFC 6890).
pub(super) fn is_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, ..] = v4.octets();
            !(v4.is_loopback() || v4.is_link_local() || first == 0 || first >= 224)
        }
        IpAddr::V6(v6) => {
            let is_embedded_ipv4 = v6.to_ipv4_mapped().is_some();
            !(v6.is_loopback()
                || v6.is_unspecified()
                || v6.is_multicast()
                || v6.is_unicast_link_local()
                || is_embedded_ipv4)
        }
    }
}

/// Whether the address is a host's that the whole Internet may reach. Documentation addresses count as such, so that
/// every example works as it stands.
pub(super) fn is_public(address: IpAddr) -> bool {
    is_host(address)
        && match address {
            IpAddr::V4(v4) => !is_private_ipv4(v4),
            IpAddr::V6(v6) => !is_private_ipv6(v6),
        }
}

/// RFC 1918, shared address space (RFC 6598), IETF assignments and benchmarking (RFC 6890).
fn is_private_ipv4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_private()
        || first == 100 && second & 0xc0 == 64
        || first == 198 && second & 0xfe == 18
        || first == 192 && second == 0 && third == 0
}

/// Unique local (RFC 4193) and site-local (RFC 3879) addresses.
fn is_private_ipv6(address: Ipv6Addr) -> bool {
    let [first, ..] = address.octets();
    address.is_unique_local() || first == 0xfe
}

/// Whether one of the ranges holds the address.
pub(super) fn is_in(ranges: &[AddressRange], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

/// The address without the bits behind the prefix of that length, as long as the family has that many.
pub(super) fn masked(address: IpAddr, (ipv4, ipv6): (u8, u8)) -> IpAddr {
    let (length, most) = if address.is_ipv6() { (ipv6, 128) } else { (ipv4, 32) };
    AddressRange::from_prefix(address, length.min(most)).map_or(address, |range| range.first())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // F-7, F-8
    fn only_addresses_of_single_hosts_count_as_hosts_and_only_reachable_ones_as_public() {
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        for text in ["198.51.100.1", "192.0.2.1", "203.0.113.9", "8.8.8.8", "2001:db8::1", "2a00::1"] {
            assert!(is_host(address(text)) && is_public(address(text)), "{text}");
        }
        let private = [
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "100.64.0.1",
            "198.18.0.1",
            "192.0.0.8",
            "fd00::1",
            "fec0::1",
        ];
        for text in private {
            assert!(is_host(address(text)) && !is_public(address(text)), "{text}");
        }
        let none = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "169.254.1.1",
            "224.0.0.1",
            "239.1.1.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
            "fe80::1",
            "::ffff:198.51.100.1",
        ];
        for text in none {
            assert!(!is_host(address(text)) && !is_public(address(text)), "{text}");
        }
    }

    #[test] // TED-7
    fn a_granule_is_the_first_address_of_its_prefix() {
        let masked = |text: &str, bits| masked(text.parse().unwrap(), bits).to_string();
        assert_eq!(masked("10.2.5.6", (24, 64)), "10.2.5.0");
        assert_eq!(masked("2001:db8::1:2:3:4", (24, 64)), "2001:db8::");
        assert_eq!(masked("10.2.5.6", (32, 128)), "10.2.5.6");
        assert_eq!(masked("10.2.5.6", (40, 200)), "10.2.5.6");
    }
}
