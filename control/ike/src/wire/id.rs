//! The Identification payload (RFC 2407 §4.6.2): who a peer is (phase 1), or which traffic an SA is for (phase 2,
//! where it is called a proxy identity).

use super::iana::IdType;
use super::malformed::Malformed;
use super::reader::Reader;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::{AddressRange, Identity, PortRange, Protocol, Selector};

/// An identification. Its data have the length that its type demands; what they mean is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identification<'a> {
    /// What the data are.
    pub kind: IdType,
    /// Upper layer protocol; zero for any.
    pub protocol: u8,
    /// Port; zero for any.
    pub port: u16,
    /// Address, subnet, range or name.
    pub data: Cow<'a, [u8]>,
}

/// One half of a selector: the traffic of one side, as a proxy identity can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Traffic {
    /// Whose addresses.
    pub addresses: AddressRange,
    /// Which protocol.
    pub protocol: Protocol,
    /// Which ports of that side.
    pub ports: PortRange,
}

impl<'a> Identification<'a> {
    /// Decodes the body of an Identification payload.
    ///
    /// # Errors
    /// When it is too short, or its data have a length that their type does not allow.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let [kind, protocol] = reader.array().ok_or(Malformed::IdTruncated)?;
        let port = reader.u16().ok_or(Malformed::IdTruncated)?;
        let data = reader.rest();
        let kind = IdType(kind);
        if !length_fits(kind, data.len()) {
            return Err(Malformed::IdLength);
        }
        Ok(Self { kind, protocol, port, data: Cow::Borrowed(data) })
    }

    /// The body of an Identification payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut octets = vec![self.kind.0, self.protocol];
        octets.extend_from_slice(&self.port.to_be_bytes());
        octets.extend_from_slice(&self.data);
        octets
    }

    /// A phase 1 identification; protocol and port stay zero.
    #[must_use]
    pub fn of_identity(identity: &'a Identity) -> Self {
        let (kind, data): (_, Cow<'a, [u8]>) = match identity {
            Identity::Ipv4(address) => (IdType::IPV4_ADDR, address.octets().to_vec().into()),
            Identity::Ipv6(address) => (IdType::IPV6_ADDR, address.octets().to_vec().into()),
            Identity::Fqdn(name) => (IdType::FQDN, name.as_bytes().into()),
            Identity::UserFqdn(name) => (IdType::USER_FQDN, name.as_bytes().into()),
            Identity::KeyId(octets) => (IdType::KEY_ID, octets.as_slice().into()),
        };
        Self { kind, protocol: 0, port: 0, data }
    }

    /// The single entity it names.
    ///
    /// # Errors
    /// For a type that names none we know, and for a name that is no printable ASCII: a name with a NUL in it
    /// would be one to us and another to whoever prints it.
    pub fn identity(&self) -> Result<Identity, Malformed> {
        let mut data = Reader::new(&self.data);
        match self.kind {
            IdType::IPV4_ADDR => v4(&mut data).map(Identity::Ipv4).ok_or(Malformed::IdLength),
            IdType::IPV6_ADDR => v6(&mut data).map(Identity::Ipv6).ok_or(Malformed::IdLength),
            IdType::FQDN => text(&self.data).map(Identity::Fqdn),
            IdType::USER_FQDN => text(&self.data).map(Identity::UserFqdn),
            IdType::KEY_ID => Ok(Identity::KeyId(self.data.to_vec())),
            _ => Err(Malformed::IdNotEntity),
        }
    }

    /// A proxy identity: an address where one is meant, a subnet where the range is one, else a range.
    /// `None` for what the payload cannot say: several ports that are not all, port zero, protocol zero.
    #[must_use]
    pub fn of_traffic(traffic: &Traffic) -> Option<Identification<'static>> {
        let protocol = match traffic.protocol {
            Protocol::Any => 0,
            Protocol::Is(0) => return None,
            Protocol::Is(number) => number,
        };
        let port = match traffic.ports {
            PortRange::ANY => 0,
            ports if ports.first() == ports.last() && ports.first() != 0 && protocol != 0 => ports.first(),
            _ => return None,
        };
        let (kind, data) = encode_addresses(&traffic.addresses);
        Some(Identification { kind, protocol, port, data: data.into() })
    }

    /// The traffic it names.
    ///
    /// # Errors
    /// For a type without addresses, an empty range, a mask with holes, or a port without a protocol.
    pub fn traffic(&self) -> Result<Traffic, Malformed> {
        let addresses = self.addresses()?;
        if self.protocol == 0 && self.port != 0 {
            return Err(Malformed::PortWithoutProtocol);
        }
        let protocol = if self.protocol == 0 { Protocol::Any } else { Protocol::Is(self.protocol) };
        let ports = if self.port == 0 { Some(PortRange::ANY) } else { PortRange::new(self.port, self.port) };
        Ok(Traffic { addresses, protocol, ports: ports.ok_or(Malformed::RangeEmpty)? })
    }

    fn addresses(&self) -> Result<AddressRange, Malformed> {
        let mut data = Reader::new(&self.data);
        let data = &mut data;
        match self.kind {
            IdType::IPV4_ADDR | IdType::IPV6_ADDR => {
                let address = self.address(data).ok_or(Malformed::IdLength)?;
                Ok(AddressRange::single(address))
            }
            IdType::IPV4_ADDR_SUBNET | IdType::IPV6_ADDR_SUBNET => {
                let address = self.address(data).ok_or(Malformed::IdLength)?;
                let mask = self.address(data).ok_or(Malformed::IdLength)?;
                let length = prefix_length(mask).ok_or(Malformed::MaskNotContiguous)?;
                AddressRange::from_prefix(address, length).ok_or(Malformed::MaskNotContiguous)
            }
            IdType::IPV4_ADDR_RANGE | IdType::IPV6_ADDR_RANGE => {
                let first = self.address(data).ok_or(Malformed::IdLength)?;
                let last = self.address(data).ok_or(Malformed::IdLength)?;
                AddressRange::new(first, last).ok_or(Malformed::RangeEmpty)
            }
            _ => Err(Malformed::IdNotAddresses),
        }
    }

    /// Takes one address of the family that the type has.
    fn address(&self, data: &mut Reader<'_>) -> Option<IpAddr> {
        match self.kind {
            IdType::IPV4_ADDR | IdType::IPV4_ADDR_SUBNET | IdType::IPV4_ADDR_RANGE => {
                v4(data).map(IpAddr::V4)
            }
            _ => v6(data).map(IpAddr::V6),
        }
    }
}

impl Traffic {
    /// What a selector says of its source.
    #[must_use]
    pub const fn source(selector: &Selector) -> Self {
        Self { addresses: selector.source, protocol: selector.protocol, ports: selector.source_port }
    }

    /// What a selector says of its destination.
    #[must_use]
    pub const fn destination(selector: &Selector) -> Self {
        Self {
            addresses: selector.destination,
            protocol: selector.protocol,
            ports: selector.destination_port,
        }
    }

    /// The traffic from here to `destination`; `None` when the halves differ in family or protocol.
    #[must_use]
    pub fn to(&self, destination: &Self) -> Option<Selector> {
        let selector = Selector::between(self.addresses, destination.addresses)?;
        (self.protocol == destination.protocol).then_some(Selector {
            protocol: self.protocol,
            source_port: self.ports,
            destination_port: destination.ports,
            ..selector
        })
    }
}

fn length_fits(kind: IdType, octets: usize) -> bool {
    match kind {
        IdType::IPV4_ADDR => octets == 4,
        IdType::IPV4_ADDR_SUBNET | IdType::IPV4_ADDR_RANGE => octets == 8,
        IdType::IPV6_ADDR => octets == 16,
        IdType::IPV6_ADDR_SUBNET | IdType::IPV6_ADDR_RANGE => octets == 32,
        IdType::FQDN | IdType::USER_FQDN | IdType::DER_ASN1_DN | IdType::DER_ASN1_GN | IdType::KEY_ID => {
            octets > 0
        }
        _ => true,
    }
}

fn v4(data: &mut Reader<'_>) -> Option<Ipv4Addr> {
    data.array::<4>().map(Ipv4Addr::from)
}

fn v6(data: &mut Reader<'_>) -> Option<Ipv6Addr> {
    data.array::<16>().map(Ipv6Addr::from)
}

fn text(data: &[u8]) -> Result<String, Malformed> {
    let printable = data.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(data) {
        Ok(name) if printable && !name.is_empty() => Ok(name.to_owned()),
        _ => Err(Malformed::IdNotText),
    }
}

fn prefix_length(mask: IpAddr) -> Option<u8> {
    let (ones, zeros, bits) = match mask {
        IpAddr::V4(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros(), 32),
        IpAddr::V6(mask) => (mask.to_bits().leading_ones(), mask.to_bits().trailing_zeros(), 128),
    };
    (ones + zeros >= bits).then_some(ones as u8)
}

fn encode_addresses(range: &AddressRange) -> (IdType, Vec<u8>) {
    let octets = |address: IpAddr| match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let first = octets(range.first());
    let width = (first.len() * 8) as u8;
    let (single, subnet, span) = if range.is_ipv6() {
        (IdType::IPV6_ADDR, IdType::IPV6_ADDR_SUBNET, IdType::IPV6_ADDR_RANGE)
    } else {
        (IdType::IPV4_ADDR, IdType::IPV4_ADDR_SUBNET, IdType::IPV4_ADDR_RANGE)
    };
    match range.prefix_length() {
        Some(length) if length == width => (single, first),
        Some(_) => {
            let mask: Vec<u8> =
                first.iter().zip(octets(range.last())).map(|(low, high)| !(low ^ high)).collect();
            (subnet, [first, mask].concat())
        }
        None => (span, [first, octets(range.last())].concat()),
    }
}
