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
