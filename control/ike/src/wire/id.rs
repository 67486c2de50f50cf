//! The Identification payload (RFC 2407 §4.6.2): who a peer is (phase 1), or which traffic an SA is for (phase 2,
//! where it is called a proxy identity).

use super::iana::IdType;
use super::malformed::Malformed;
use super::reader::Reader;
use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::identity::is_sequence;
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
            Identity::Dn(der) => (IdType::DER_ASN1_DN, der.as_slice().into()),
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
            IdType::DER_ASN1_DN if is_sequence(&self.data) => Ok(Identity::Dn(self.data.to_vec())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octets(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    fn range(text: &str) -> AddressRange {
        if let Some((first, last)) = text.split_once('-') {
            return AddressRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap();
        }
        let (address, length) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    #[test]
    fn identities_travel_as_rfc_2407_numbers_them() {
        for (text, body) in [
            ("192.0.2.1", "01000000 c0000201"),
            ("a.test", "02000000 612e74657374"),
            ("u@a.test", "03000000 7540612e74657374"),
            ("2001:db8::1", "05000000 20010db8000000000000000000000001"),
            ("keyid:00ff", "0b000000 00ff"),
            (
                "dn:30143112301006035504030c096c6566742e74657374",
                "09000000 30143112301006035504030c096c6566742e74657374",
            ),
        ] {
            let identity: Identity = text.parse().unwrap();
            assert_eq!(Identification::of_identity(&identity).encode(), octets(body), "{text}");
            assert_eq!(Identification::decode(&octets(body)).unwrap().identity(), Ok(identity), "{text}");
        }
    }

    #[test]
    fn traffic_travels_as_rfc_2407_numbers_it() {
        let v6 = "20010db8000000000000000000000000";
        for (addresses, protocol, port, body) in [
            ("192.0.2.1/32", 0, 0, "01000000 c0000201".to_owned()),
            ("10.1.0.0/16", 0, 0, "04000000 0a010000 ffff0000".to_owned()),
            ("0.0.0.0/0", 17, 1701, "041106a5 00000000 00000000".to_owned()),
            ("10.1.0.1-10.1.0.9", 6, 443, "070601bb 0a010001 0a010009".to_owned()),
            ("2001:db8::/128", 0, 0, format!("05000000 {v6}")),
            ("2001:db8::/32", 0, 0, format!("06000000 {v6} ffffffff000000000000000000000000")),
            ("2001:db8::-2001:db8::2", 58, 0, format!("083a0000 {v6} 20010db8000000000000000000000002")),
        ] {
            let traffic = Traffic {
                addresses: range(addresses),
                protocol: if protocol == 0 { Protocol::Any } else { Protocol::Is(protocol) },
                ports: if port == 0 { PortRange::ANY } else { PortRange::new(port, port).unwrap() },
            };
            assert_eq!(Identification::of_traffic(&traffic).unwrap().encode(), octets(&body), "{addresses}");
            assert_eq!(Identification::decode(&octets(&body)).unwrap().traffic(), Ok(traffic), "{addresses}");
        }
    }

    #[test]
    fn a_subnet_whose_address_has_host_bits_names_the_subnet() {
        let id = octets("04000000 0a0102ff ffffff00");
        let traffic = Identification::decode(&id).unwrap().traffic().unwrap();
        assert_eq!(traffic.addresses, range("10.1.2.0/24"));
    }

    #[test] // F-22, F-36
    fn identifications_that_break_a_rule_are_refused_for_it() {
        for (body, reason) in [
            ("", Malformed::IdTruncated),
            ("010000", Malformed::IdTruncated),
            ("01000000 c00002", Malformed::IdLength),
            ("01000000 c000020101", Malformed::IdLength),
            ("02000000", Malformed::IdLength),
            ("04000000 0a010000", Malformed::IdLength),
            ("07000000 0a010000", Malformed::IdLength),
            ("05000000 c0000201", Malformed::IdLength),
            ("06000000 20010db8000000000000000000000000", Malformed::IdLength),
            ("0b000000", Malformed::IdLength),
        ] {
            assert_eq!(Identification::decode(&octets(body)), Err(reason), "{body}");
        }
        for (body, reason) in [
            ("04000000 0a010000 ff00ff00", Malformed::MaskNotContiguous),
            ("07000000 0a010009 0a010001", Malformed::RangeEmpty),
            ("04000050 0a010000 ffff0000", Malformed::PortWithoutProtocol),
            ("02000000 612e74657374", Malformed::IdNotAddresses),
            ("63000000 00", Malformed::IdNotAddresses),
        ] {
            let body = octets(body);
            assert_eq!(Identification::decode(&body).unwrap().traffic(), Err(reason), "{body:?}");
        }
        for (body, reason) in [
            ("02000000 612e7465737400", Malformed::IdNotText),
            ("02000000 612e20", Malformed::IdNotText),
            ("03000000 ff40ff", Malformed::IdNotText),
            ("04000000 0a010000 ffff0000", Malformed::IdNotEntity),
            ("09000000 3000", Malformed::IdNotEntity),
            ("09000000 30143112", Malformed::IdNotEntity),
        ] {
            let body = octets(body);
            assert_eq!(Identification::decode(&body).unwrap().identity(), Err(reason), "{body:?}");
        }
    }

    #[test]
    fn what_a_proxy_identity_cannot_say_is_not_said_otherwise() {
        let any = Traffic { addresses: range("10.0.0.0/8"), protocol: Protocol::Any, ports: PortRange::ANY };
        assert!(Identification::of_traffic(&any).is_some());
        let ports = PortRange::new(1, 2).unwrap();
        let zero = PortRange::new(0, 0).unwrap();
        let one = PortRange::new(80, 80).unwrap();
        for traffic in [
            Traffic { protocol: Protocol::Is(6), ports, ..any },
            Traffic { protocol: Protocol::Is(6), ports: zero, ..any },
            Traffic { ports: one, ..any },
            Traffic { protocol: Protocol::Is(0), ..any },
        ] {
            assert_eq!(Identification::of_traffic(&traffic), None, "{traffic:?}");
        }
    }

    #[test]
    fn halves_of_different_families_or_protocols_make_no_selector() {
        let half = |addresses: &str, protocol| Traffic {
            addresses: range(addresses),
            protocol,
            ports: PortRange::ANY,
        };
        let tcp = half("10.0.0.0/8", Protocol::Is(6));
        assert_eq!(tcp.to(&half("::/0", Protocol::Is(6))), None);
        assert_eq!(tcp.to(&half("10.0.0.0/8", Protocol::Any)), None);
        let selector = tcp.to(&half("192.0.2.0/24", Protocol::Is(6))).unwrap();
        assert_eq!(selector.to_string(), "10.0.0.0/8 -> 192.0.2.0/24 tcp");
        assert_eq!(Traffic::source(&selector), tcp);
        assert_eq!(Traffic::destination(&selector.mirrored()), tcp);
    }

    proptest! {
        #[test]
        fn traffic_survives_the_round_trip(a: [u8; 16], b: [u8; 16], v6: bool, protocol: u8, port: u16) {
            let address = |octets: [u8; 16]| match octets {
                _ if v6 => IpAddr::from(octets),
                [a, b, c, d, ..] => IpAddr::from([a, b, c, d]),
            };
            let (first, last) = (address(a).min(address(b)), address(a).max(address(b)));
            let traffic = Traffic {
                addresses: AddressRange::new(first, last).unwrap(),
                protocol: if protocol == 0 { Protocol::Any } else { Protocol::Is(protocol) },
                ports: match (protocol, port) {
                    (0, _) | (_, 0) => PortRange::ANY,
                    _ => PortRange::new(port, port).unwrap(),
                },
            };
            let body = Identification::of_traffic(&traffic).unwrap().encode();
            prop_assert_eq!(Identification::decode(&body).unwrap().traffic(), Ok(traffic));
        }

        #[test]
        fn prefixes_travel_as_subnets(address: [u8; 16], length in 0u8..128) {
            let addresses = AddressRange::from_prefix(address.into(), length).unwrap();
            let traffic = Traffic { addresses, protocol: Protocol::Any, ports: PortRange::ANY };
            let id = Identification::of_traffic(&traffic).unwrap();
            prop_assert_eq!(id.kind, IdType::IPV6_ADDR_SUBNET);
            prop_assert_eq!(id.traffic(), Ok(traffic));
        }

        #[test] // F-36
        fn no_octets_panic(kind in 0u8..13, octets: Vec<u8>) {
            if let Ok(id) = Identification::decode(&[&[kind][..], &octets].concat()) {
                let _ = (id.identity(), id.traffic());
            }
        }
    }
}
