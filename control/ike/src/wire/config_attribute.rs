//! Attributes of the configuration exchange (draft-dukes-ike-mode-cfg, draft-beaulieu-ike-xauth, Cisco Unity,
//! REQUIREMENTS W2), by meaning. An attribute without a value asks for one, or acknowledges one.

use super::attribute::Attribute;
use super::iana::{ConfigType, config_class as class};
use super::limits::{SETS_MAX, SPLIT_NAMES_MAX, SPLIT_NETWORKS_MAX, SUPPORTED_MAX, TEXT_OCTETS_MAX};
use super::malformed::Malformed;
use super::policy_set;
use super::reader::Reader;
use std::net::{Ipv4Addr, Ipv6Addr};
use warren_policy::PolicySet;

/// One attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigAttribute {
    /// INTERNAL_IP4_ADDRESS (1).
    Ip4Address(Option<Ipv4Addr>),
    /// INTERNAL_IP4_NETMASK (2).
    Ip4Netmask(Option<Ipv4Addr>),
    /// INTERNAL_IP4_DNS (3).
    Ip4Dns(Option<Ipv4Addr>),
    /// APPLICATION_VERSION (7).
    ApplicationVersion(Option<String>),
    /// INTERNAL_IP6_ADDRESS (8), with the prefix length where the sender said one.
    Ip6Address(Option<(Ipv6Addr, Option<u8>)>),
    /// INTERNAL_IP6_DNS (10).
    Ip6Dns(Option<Ipv6Addr>),
    /// INTERNAL_IP4_SUBNET (13): address and mask.
    Ip4Subnet(Option<(Ipv4Addr, Ipv4Addr)>),
    /// SUPPORTED_ATTRIBUTES (14).
    SupportedAttributes(Option<Vec<u16>>),
    /// INTERNAL_IP6_SUBNET (15): address and prefix length.
    Ip6Subnet(Option<(Ipv6Addr, u8)>),
    /// UNITY_BANNER (28672).
    Banner(Option<String>),
    /// UNITY_DEF_DOMAIN (28674).
    DefaultDomain(Option<String>),
    /// UNITY_SPLITDNS_NAME (28675).
    SplitDns(Option<Vec<String>>),
    /// UNITY_SPLIT_INCLUDE (28676): the networks of the far side; entries of 8 or of 14 octets.
    SplitInclude(Option<Vec<SplitNetwork>>),
    /// WARREN_POLICY_VERSION (24576).
    PolicyVersion(Option<u16>),
    /// WARREN_POLICY_SET (24577).
    PolicySet(SetMessage),
    /// WARREN_POLICY_ERROR (24578): why the server has less to give than it should, in words.
    PolicyError(Option<String>),
    /// What we have no word for: answered with nothing, reported in counters.
    Unknown {
        /// Attribute type, without the format bit.
        class: u16,
        /// Its value.
        value: Vec<u8>,
    },
}

/// A network of UNITY_SPLIT_INCLUDE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitNetwork {
    /// Network address.
    pub address: Ipv4Addr,
    /// Its mask.
    pub mask: Ipv4Addr,
    /// Protocol, 0 for any.
    pub protocol: u8,
    /// Source port (of the receiver), 0 for any.
    pub source_port: u16,
    /// Destination port, 0 for any.
    pub destination_port: u16,
}

/// The value of a WARREN_POLICY_SET, by the message it stands in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetMessage {
    /// In a reply or a SET: understood as a whole.
    Offered(Box<PolicySet>),
    /// In a reply or a SET: not understood as a whole, so not taken (REQUIREMENTS DC-3).
    Refused {
        /// Its number, where that could be read.
        id: Option<u16>,
        /// Why, in words for the log and for the ACK.
        reason: String,
    },
    /// In an ACK: what became of the set.
    Acknowledged {
        /// Its number.
        id: u16,
        /// Why it was refused; `None` for a set that was taken.
        refusal: Option<String>,
    },
}

/// How entries of UNITY_SPLIT_INCLUDE are written; both are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SplitForm {
    /// Address and mask, 8 octets: what most peers expect.
    Short,
    /// Protocol and ports as well, 14 octets: for peers that sent the Unity vendor ID.
    Long,
}

impl ConfigAttribute {
    /// What the attributes of one message of that type mean. An attribute whose value cannot be understood is
    /// [`ConfigAttribute::Unknown`]; a policy set, [`SetMessage::Refused`].
    ///
    /// # Errors
    /// For more than [`SETS_MAX`] policy sets.
    pub fn decode_all(kind: ConfigType, attributes: &[Attribute<'_>]) -> Result<Vec<Self>, Malformed> {
        let sets = attributes.iter().filter(|attribute| attribute.class == class::POLICY_SET).count();
        if sets > SETS_MAX {
            return Err(Malformed::TooManySets);
        }
        let mut decoded: Vec<Self> =
            attributes.iter().map(|attribute| Self::decode(kind, attribute)).collect();
        refuse_namesakes(&mut decoded);
        Ok(decoded)
    }

    fn decode(kind: ConfigType, attribute: &Attribute<'_>) -> Self {
        Self::known(kind, attribute).unwrap_or_else(|| Self::Unknown {
            class: attribute.class,
            value: attribute.octets().into_owned(),
        })
    }

    fn known(kind: ConfigType, attribute: &Attribute<'_>) -> Option<Self> {
        let value = attribute.octets();
        Some(match attribute.class {
            class::IP4_ADDRESS => Self::Ip4Address(optional(&value, ip4)?),
            class::IP4_NETMASK => Self::Ip4Netmask(optional(&value, ip4)?),
            class::IP4_DNS => Self::Ip4Dns(optional(&value, ip4)?),
            class::APPLICATION_VERSION => Self::ApplicationVersion(optional(&value, text)?),
            class::IP6_ADDRESS => Self::Ip6Address(optional(&value, ip6_with_prefix)?),
            class::IP6_DNS => Self::Ip6Dns(optional(&value, ip6)?),
            class::IP4_SUBNET => Self::Ip4Subnet(optional(&value, ip4_subnet)?),
            class::SUPPORTED_ATTRIBUTES => Self::SupportedAttributes(optional(&value, supported)?),
            class::IP6_SUBNET => Self::Ip6Subnet(optional(&value, ip6_subnet)?),
            class::BANNER => Self::Banner(optional(&value, text)?),
            class::DEFAULT_DOMAIN => Self::DefaultDomain(optional(&value, text)?),
            class::SPLIT_DNS => Self::SplitDns(optional(&value, split_dns)?),
            class::SPLIT_INCLUDE => Self::SplitInclude(optional(&value, split_include)?),
            class::POLICY_VERSION if value.is_empty() => Self::PolicyVersion(None),
            class::POLICY_VERSION => Self::PolicyVersion(Some(attribute.as_number()?.try_into().ok()?)),
            class::POLICY_SET => Self::PolicySet(set_message(kind, &value)?),
            class::POLICY_ERROR => Self::PolicyError(optional(&value, text)?),
            _ => return None,
        })
    }

    /// The attribute as it travels; `None` for a value that is longer than a peer has to read.
    #[must_use]
    pub fn encode(&self, form: SplitForm) -> Option<Attribute<'static>> {
        let (class, value) = match self {
            Self::Ip4Address(value) => (class::IP4_ADDRESS, ip4_octets(*value)),
            Self::Ip4Netmask(value) => (class::IP4_NETMASK, ip4_octets(*value)),
            Self::Ip4Dns(value) => (class::IP4_DNS, ip4_octets(*value)),
            Self::ApplicationVersion(value) => (class::APPLICATION_VERSION, text_octets(value.as_deref())?),
            Self::Ip6Address(value) => (class::IP6_ADDRESS, value.map_or_else(Vec::new, ip6_address_octets)),
            Self::Ip6Dns(value) => (class::IP6_DNS, value.map_or_else(Vec::new, |ip| ip.octets().to_vec())),
            Self::Ip4Subnet(value) => (class::IP4_SUBNET, value.map_or_else(Vec::new, ip4_subnet_octets)),
            Self::SupportedAttributes(value) => {
                (class::SUPPORTED_ATTRIBUTES, supported_octets(value.as_deref())?)
            }
            Self::Ip6Subnet(value) => (
                class::IP6_SUBNET,
                value.map_or_else(Vec::new, |(ip, prefix)| ip6_address_octets((ip, Some(prefix)))),
            ),
            Self::Banner(value) => (class::BANNER, text_octets(value.as_deref())?),
            Self::DefaultDomain(value) => (class::DEFAULT_DOMAIN, text_octets(value.as_deref())?),
            Self::SplitDns(value) => (class::SPLIT_DNS, split_dns_octets(value.as_deref())?),
            Self::SplitInclude(value) => {
                (class::SPLIT_INCLUDE, split_include_octets(value.as_deref(), form)?)
            }
            Self::PolicyVersion(Some(value)) => return Some(Attribute::short(class::POLICY_VERSION, *value)),
            Self::PolicyVersion(None) => (class::POLICY_VERSION, Vec::new()),
            Self::PolicySet(message) => (class::POLICY_SET, policy_set::encode(message)?),
            Self::PolicyError(value) => (class::POLICY_ERROR, text_octets(value.as_deref())?),
            Self::Unknown { class, value } => (*class, value.clone()),
        };
        Attribute::long(class, value)
    }

    /// All of them; `None` when one of them does not fit.
    #[must_use]
    pub fn encode_all(attributes: &[Self], form: SplitForm) -> Option<Vec<Attribute<'static>>> {
        attributes.iter().map(|attribute| attribute.encode(form)).collect()
    }
}

/// A set's number is its name in the ACK: sets that share one could not be told apart, so that none is taken.
fn refuse_namesakes(attributes: &mut [ConfigAttribute]) {
    let ids: Vec<u16> = attributes.iter().filter_map(set_id).collect();
    for attribute in attributes {
        let Some(id) = set_id(attribute) else { continue };
        if ids.iter().filter(|other| **other == id).count() > 1 {
            let reason = format!("there is more than one set with the number {id}");
            *attribute = ConfigAttribute::PolicySet(SetMessage::Refused { id: Some(id), reason });
        }
    }
}

/// The number of an offered set.
fn set_id(attribute: &ConfigAttribute) -> Option<u16> {
    match attribute {
        ConfigAttribute::PolicySet(SetMessage::Offered(set)) => Some(set.id),
        ConfigAttribute::PolicySet(SetMessage::Refused { id, .. }) => *id,
        _ => None,
    }
}

fn set_message(kind: ConfigType, value: &[u8]) -> Option<SetMessage> {
    match kind {
        ConfigType::REPLY | ConfigType::SET => Some(policy_set::decode(value)),
        ConfigType::ACK => policy_set::decode_acknowledgement(value),
        _ => None,
    }
}

/// No value, or one that `read` understands; `None` for one that it does not.
fn optional<T>(value: &[u8], read: impl FnOnce(&[u8]) -> Option<T>) -> Option<Option<T>> {
    if value.is_empty() { Some(None) } else { read(value).map(Some) }
}

/// Exactly one array.
fn exactly<const N: usize>(value: &[u8]) -> Option<[u8; N]> {
    value.try_into().ok()
}

fn ip4(value: &[u8]) -> Option<Ipv4Addr> {
    exactly::<4>(value).map(Ipv4Addr::from)
}

fn ip4_octets(value: Option<Ipv4Addr>) -> Vec<u8> {
    value.map_or_else(Vec::new, |ip| ip.octets().to_vec())
}

fn ip6(value: &[u8]) -> Option<Ipv6Addr> {
    exactly::<16>(value).map(Ipv6Addr::from)
}

/// 16 octets, or 17 with the prefix length.
fn ip6_with_prefix(value: &[u8]) -> Option<(Ipv6Addr, Option<u8>)> {
    ip6(value).map(|ip| (ip, None)).or_else(|| ip6_subnet(value).map(|(ip, prefix)| (ip, Some(prefix))))
}

fn ip6_subnet(value: &[u8]) -> Option<(Ipv6Addr, u8)> {
    let (prefix, ip) = value.split_last()?;
    Some((ip6(ip)?, *prefix)).filter(|_| *prefix <= 128)
}

fn ip6_address_octets((ip, prefix): (Ipv6Addr, Option<u8>)) -> Vec<u8> {
    ip.octets().into_iter().chain(prefix).collect()
}

fn ip4_subnet(value: &[u8]) -> Option<(Ipv4Addr, Ipv4Addr)> {
    let (ip, mask) = value.split_first_chunk::<4>()?;
    let mask = ip4(mask)?;
    is_mask(mask).then_some(((*ip).into(), mask))
}

fn ip4_subnet_octets((ip, mask): (Ipv4Addr, Ipv4Addr)) -> Vec<u8> {
    [ip.octets(), mask.octets()].concat()
}

/// Ones, then zeros.
fn is_mask(mask: Ipv4Addr) -> bool {
    u32::from(mask).leading_ones() + u32::from(mask).trailing_zeros() >= 32
}

/// Whatever the peer meant as text, on one line: what is no UTF-8 and what would move a terminal's cursor is
/// replaced, zero octets at the end are not part of it.
fn text(value: &[u8]) -> Option<String> {
    if value.len() > TEXT_OCTETS_MAX {
        return None;
    }
    let text = String::from_utf8_lossy(value);
    let text = text.trim_end_matches('\0');
    if text.is_empty() {
        return None;
    }
    Some(text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect())
}

fn text_octets(value: Option<&str>) -> Option<Vec<u8>> {
    let octets = value.unwrap_or_default().as_bytes().to_vec();
    (octets.len() <= TEXT_OCTETS_MAX).then_some(octets)
}

fn supported(value: &[u8]) -> Option<Vec<u16>> {
    let (classes, rest) = value.as_chunks::<2>();
    let fits = rest.is_empty() && classes.len() <= SUPPORTED_MAX;
    fits.then(|| classes.iter().map(|class| u16::from_be_bytes(*class)).collect())
}

fn supported_octets(value: Option<&[u16]>) -> Option<Vec<u8>> {
    let classes = value.unwrap_or_default();
    (classes.len() <= SUPPORTED_MAX).then(|| classes.iter().flat_map(|class| class.to_be_bytes()).collect())
}

/// Names with commas between them; some peers put spaces instead.
fn split_dns(value: &[u8]) -> Option<Vec<String>> {
    let text = text(value)?;
    let names = text.split([',', ' ']).filter(|name| !name.is_empty());
    let names: Vec<String> = names.map(str::to_owned).collect();
    (1..=SPLIT_NAMES_MAX).contains(&names.len()).then_some(names)
}

fn split_dns_octets(value: Option<&[String]>) -> Option<Vec<u8>> {
    let names = value.unwrap_or_default();
    if names.len() > SPLIT_NAMES_MAX {
        return None;
    }
    text_octets(Some(&names.join(",")))
}

/// Entries of 14 octets, or else of 8. A length that both divide is decided by what the entries say: a mask is
/// contiguous.
fn split_include(value: &[u8]) -> Option<Vec<SplitNetwork>> {
    let entries = |octets: usize, read: fn(&mut Reader<'_>) -> Option<SplitNetwork>| {
        let count = value.len() / octets;
        if !value.len().is_multiple_of(octets) || count > SPLIT_NETWORKS_MAX {
            return None;
        }
        let mut reader = Reader::new(value);
        (0..count).map(|_| read(&mut reader)).collect::<Option<Vec<_>>>()
    };
    entries(14, long_network).or_else(|| entries(8, short_network))
}

fn short_network(reader: &mut Reader<'_>) -> Option<SplitNetwork> {
    let (address, mask) = (reader.array::<4>()?.into(), reader.array::<4>()?.into());
    is_mask(mask).then_some(SplitNetwork { address, mask, protocol: 0, source_port: 0, destination_port: 0 })
}

fn long_network(reader: &mut Reader<'_>) -> Option<SplitNetwork> {
    let network = short_network(reader)?;
    let protocol = reader.u16()?.try_into().ok()?;
    Some(SplitNetwork { protocol, source_port: reader.u16()?, destination_port: reader.u16()?, ..network })
}

fn split_include_octets(value: Option<&[SplitNetwork]>, form: SplitForm) -> Option<Vec<u8>> {
    let networks = value.unwrap_or_default();
    if networks.len() > SPLIT_NETWORKS_MAX {
        return None;
    }
    let mut octets = Vec::new();
    for network in networks {
        octets.extend_from_slice(&network.address.octets());
        octets.extend_from_slice(&network.mask.octets());
        if form == SplitForm::Long {
            let fields = [u16::from(network.protocol), network.source_port, network.destination_port];
            octets.extend(fields.into_iter().flat_map(u16::to_be_bytes));
        }
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Transaction;
    use ConfigAttribute as A;
    use proptest::prelude::*;

    fn decode(kind: ConfigType, text: &str) -> Vec<A> {
        let body = hex::decode(text.replace(' ', "")).unwrap();
        let body = [&[kind.0, 0, 0, 7][..], &body].concat();
        A::decode_all(kind, &Transaction::decode(&body).unwrap().attributes).unwrap()
    }

    #[test] // DC-24
    fn what_strongswan_and_cisco_send_is_understood() {
        let ip = Ipv4Addr::new;
        let network = |address: [u8; 4], mask: [u8; 4]| SplitNetwork {
            address: address.into(),
            mask: mask.into(),
            protocol: 0,
            source_port: 0,
            destination_port: 0,
        };
        for (octets, expected) in [
            ("0001 0004 0a03000a", A::Ip4Address(Some(ip(10, 3, 0, 10)))),
            ("0001 0000", A::Ip4Address(None)),
            ("0002 0004 ffffff00", A::Ip4Netmask(Some(ip(255, 255, 255, 0)))),
            ("0003 0004 0a020035", A::Ip4Dns(Some(ip(10, 2, 0, 53)))),
            ("0007 0005 6361 6665 00", A::ApplicationVersion(Some("cafe".into()))),
            ("0007 0003 61 1b 62", A::ApplicationVersion(Some("a b".into()))),
            (
                "0008 0010 20010db8000000000000000000000007",
                A::Ip6Address(Some(("2001:db8::7".parse().unwrap(), None))),
            ),
            (
                "0008 0011 20010db8000000000000000000000007 40",
                A::Ip6Address(Some(("2001:db8::7".parse().unwrap(), Some(64)))),
            ),
            ("000a 0010 20010db8000000000000000000000035", A::Ip6Dns(Some("2001:db8::35".parse().unwrap()))),
            ("000d 0008 0a5c0000 ffff0000", A::Ip4Subnet(Some((ip(10, 92, 0, 0), ip(255, 255, 0, 0))))),
            ("000e 0004 0001 7004", A::SupportedAttributes(Some(vec![1, 0x7004]))),
            (
                "000f 0011 20010db8000000000000000000000000 30",
                A::Ip6Subnet(Some(("2001:db8::".parse().unwrap(), 48))),
            ),
            ("7000 0002 6869", A::Banner(Some("hi".into()))),
            ("7002 0006 612e74657374", A::DefaultDomain(Some("a.test".into()))),
            ("7003 0007 612e622c20632c", A::SplitDns(Some(vec!["a.b".into(), "c".into()]))),
            // strongSwan's pools send one entry of 8 octets; Unity has 14.
            (
                "7004 0008 0a5c0000 ffffff00",
                A::SplitInclude(Some(vec![network([10, 92, 0, 0], [255, 255, 255, 0])])),
            ),
            (
                "7004 000e 0a5c0000 ffffff00 0006 0000 01bb",
                A::SplitInclude(Some(vec![SplitNetwork {
                    protocol: 6,
                    destination_port: 443,
                    ..network([10, 92, 0, 0], [255, 255, 255, 0])
                }])),
            ),
            // Both forms of a number.
            ("e000 0001", A::PolicyVersion(Some(1))),
            ("6000 0004 00000001", A::PolicyVersion(Some(1))),
            ("6000 0000", A::PolicyVersion(None)),
            ("6002 0004 66756c6c", A::PolicyError(Some("full".into()))),
        ] {
            assert_eq!(decode(ConfigType::REPLY, octets), [expected], "{octets}");
        }
    }

    #[test] // DC-24
    fn fifty_six_octets_of_networks_are_four_long_or_seven_short_ones() {
        let read = |octets: &[u8]| match A::decode(
            ConfigType::REPLY,
            &Attribute::long(class::SPLIT_INCLUDE, octets.to_vec()).unwrap(),
        ) {
            A::SplitInclude(Some(networks)) => networks.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!(read(&[10, 1, 0, 0, 255, 255, 0, 0].repeat(7)), 7);
        assert_eq!(read(&[10, 1, 0, 0, 255, 255, 0, 0, 0, 17, 0, 0, 0, 53].repeat(4)), 4);
    }

    #[test] // DC-24
    fn what_has_no_meaning_stays_what_it_is_and_spoils_nothing_else() {
        let found = decode(
            ConfigType::REPLY,
            "0001 0003 0a0300  0002 0004 ffffff00  8001 0001  0008 0011 20010db8000000000000000000000007 81 \
             000d 0008 0a5c0000 ff00ff00  7004 0009 0a5c0000ffffff0000  6000 0003 010000  4e20 0002 abcd",
        );
        let classes: Vec<u16> = (found.iter())
            .filter_map(|attribute| match attribute {
                A::Unknown { class, .. } => Some(*class),
                _ => None,
            })
            .collect();
        assert_eq!(classes, [1, 1, 8, 13, 0x7004, 0x6000, 0x4e20]);
        assert_eq!(found.iter().filter(|one| matches!(one, A::Ip4Netmask(Some(_)))).count(), 1);
        let long = Attribute::long(class::BANNER, vec![b'x'; TEXT_OCTETS_MAX + 1]).unwrap();
        assert!(matches!(A::decode(ConfigType::REPLY, &long), A::Unknown { class: 0x7000, .. }));
    }

    #[test] // DC-11
    fn ten_thousand_sets_are_not_read() {
        let sets = vec![Attribute::long(class::POLICY_SET, vec![0x80, 1, 0, 1]).unwrap(); SETS_MAX + 1];
        assert_eq!(A::decode_all(ConfigType::SET, &sets), Err(Malformed::TooManySets));
        assert!(A::decode_all(ConfigType::SET, &sets[1..]).is_ok());
    }

    fn any_text() -> impl Strategy<Value = Option<String>> {
        prop::option::of("[a-zA-Z0-9 .äß€]{1,60}")
    }

    fn any_network() -> impl Strategy<Value = SplitNetwork> {
        (any::<Ipv4Addr>(), 0u32..=32, any::<(u8, u16, u16)>()).prop_map(
            |(address, length, (protocol, source_port, destination_port))| SplitNetwork {
                address,
                mask: (!u32::MAX.checked_shr(length).unwrap_or(0)).into(),
                protocol,
                source_port,
                destination_port,
            },
        )
    }

    fn any_attribute() -> impl Strategy<Value = A> {
        let mask = || (0u32..=32).prop_map(|length| (!u32::MAX.checked_shr(length).unwrap_or(0)).into());
        prop_oneof![
            any::<Option<Ipv4Addr>>().prop_map(A::Ip4Address),
            any::<Option<Ipv4Addr>>().prop_map(A::Ip4Netmask),
            any::<Option<Ipv4Addr>>().prop_map(A::Ip4Dns),
            any_text().prop_map(A::ApplicationVersion),
            prop::option::of((any::<Ipv6Addr>(), prop::option::of(0u8..=128))).prop_map(A::Ip6Address),
            any::<Option<Ipv6Addr>>().prop_map(A::Ip6Dns),
            prop::option::of((any::<Ipv4Addr>(), mask())).prop_map(A::Ip4Subnet),
            prop::option::of(prop::collection::vec(any::<u16>(), 1..9)).prop_map(A::SupportedAttributes),
            prop::option::of((any::<Ipv6Addr>(), 0u8..=128)).prop_map(A::Ip6Subnet),
            any_text().prop_map(A::Banner),
            any_text().prop_map(A::DefaultDomain),
            prop::option::of(prop::collection::vec("[a-z.]{1,12}", 1..9)).prop_map(A::SplitDns),
            prop::option::of(prop::collection::vec(any_network(), 1..4)).prop_map(A::SplitInclude),
            any::<Option<u16>>().prop_map(A::PolicyVersion),
            any_text().prop_map(A::PolicyError),
            (20_000u16..24_000, any::<Vec<u8>>()).prop_map(|(class, value)| A::Unknown { class, value }),
        ]
    }

    proptest! {
        #[test] // DC-24
        fn attributes_read_as_they_were_written(
            attributes in prop::collection::vec(any_attribute(), 0..20),
            kind in 1u8..=4,
        ) {
            let encoded = A::encode_all(&attributes, SplitForm::Long).unwrap();
            let written = Transaction { kind: ConfigType(kind), identifier: 1, attributes: encoded }.encode();
            let read = Transaction::decode(&written).unwrap();
            prop_assert_eq!(A::decode_all(read.kind, &read.attributes).unwrap(), attributes);
        }

        #[test] // F-36
        fn no_octets_panic(kind in 0u8..6, class: u16, value: Vec<u8>) {
            for class in [class & 0x7fff, class % 16, 0x6000 + class % 3, 0x7000 + class % 8] {
                let attribute = Attribute::long(class, value.clone()).unwrap();
                let decoded = A::decode(ConfigType(kind), &attribute);
                let _ = decoded.encode(SplitForm::Short);
            }
        }
    }
}
