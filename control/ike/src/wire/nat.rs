//! NAT-OA (RFC 3947 §5.2): the address a peer saw before translation. NAT-D bodies are bare hashes.

use super::iana::IdType;
use super::malformed::Malformed;
use super::reader::Reader;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Decodes the body of a NAT-OA payload.
///
/// # Errors
/// When it is no IPv4 or IPv6 address of the right length.
pub fn decode_original_address(body: &[u8]) -> Result<IpAddr, Malformed> {
    let mut reader = Reader::new(body);
    let [kind, _, _, _] = reader.array().ok_or(Malformed::NatOaLength)?;
    let address = match IdType(kind) {
        IdType::IPV4_ADDR => reader.array::<4>().map(|octets| Ipv4Addr::from(octets).into()),
        IdType::IPV6_ADDR => reader.array::<16>().map(|octets| Ipv6Addr::from(octets).into()),
        _ => return Err(Malformed::NatOaType),
    };
    address.filter(|_| reader.is_empty()).ok_or(Malformed::NatOaLength)
}

/// The body of a NAT-OA payload.
#[must_use]
pub fn encode_original_address(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => [&[IdType::IPV4_ADDR.0, 0, 0, 0][..], &v4.octets()].concat(),
        IpAddr::V6(v6) => [&[IdType::IPV6_ADDR.0, 0, 0, 0][..], &v6.octets()].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // RFC 3947 §5.2
    fn original_addresses_survive_the_round_trip() {
        for address in ["192.0.2.1", "2001:db8::1"] {
            let address: IpAddr = address.parse().unwrap();
            assert_eq!(decode_original_address(&encode_original_address(address)), Ok(address));
        }
        assert_eq!(encode_original_address(Ipv4Addr::new(192, 0, 2, 1).into()), [1, 0, 0, 0, 192, 0, 2, 1]);
    }

    #[test] // F-36
    fn what_is_no_address_is_refused() {
        for (body, reason) in [
            (&[][..], Malformed::NatOaLength),
            (&[1, 0, 0, 0, 192, 0, 2], Malformed::NatOaLength),
            (&[1, 0, 0, 0, 192, 0, 2, 1, 0], Malformed::NatOaLength),
            (&[5, 0, 0, 0, 192, 0, 2, 1], Malformed::NatOaLength),
            (&[2, 0, 0, 0, 192, 0, 2, 1], Malformed::NatOaType),
        ] {
            assert_eq!(decode_original_address(body), Err(reason), "{body:?}");
        }
    }
}
