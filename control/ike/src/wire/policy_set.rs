//! The value of a WARREN_POLICY_SET: attributes within an attribute (REQUIREMENTS W2, DC-23).
//!
//! A set is understood as a whole or refused as a whole (REQUIREMENTS DC-3): what one of its attributes would have
//! restricted must not be left out because we do not know it.

use super::attribute::Attribute;
use super::config_attribute::SetMessage;
use super::iana::{ProtocolId, esp_attribute as esp, esp_transform, set_class as class};
use super::limits::{
    NAME_OCTETS_MAX, REASON_OCTETS_MAX, SELECTORS_MAX, SET_ATTRIBUTES_MAX, SET_TRANSFORMS_MAX,
};
use super::reader::Reader;
use crate::limits::{LIFETIME_KB_MIN, LIFETIME_S_MIN};
use std::net::IpAddr;
use warren_policy::selector::{AddressRange, PortRange, Protocol};
use warren_policy::{EspTransform, Group, Hash, KeyBits, Lifetime, PolicySet, SaMode, TrafficEnd};

/// Why a set is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Refusal {
    #[error("the set ends in the middle of an attribute, or has too many")]
    Truncated,
    #[error("attribute {0} is unknown")]
    Unknown(u16),
    #[error("attribute {0} ({name}) stands there twice", name = name(*.0))]
    Twice(u16),
    #[error("attribute {0} ({name}) is missing", name = name(*.0))]
    Missing(u16),
    #[error("attribute {0} ({name}) has a bad value", name = name(*.0))]
    Bad(u16),
    #[error("attribute {0} ({name}) stands there too often", name = name(*.0))]
    TooMany(u16),
    #[error("security protocol {0} is not supported")]
    Protocol(u64),
    #[error("encapsulation mode {0} is not supported")]
    Mode(u64),
    #[error("transform {0} with {1} key bits and authentication {2} is not supported")]
    Transform(u16, u16, u16),
    #[error("Diffie-Hellman group {0} is not supported")]
    Group(u64),
    #[error("the lifetime is too short")]
    Lifetime,
}

const fn name(class: u16) -> &'static str {
    match class {
        class::ID => "set id",
        class::NAME => "name",
        class::LOCAL => "local selector",
        class::REMOTE => "remote selector",
        class::PROTOCOL => "protocol",
        class::MODE => "mode",
        class::TRANSFORM => "transform",
        class::PFS => "PFS group",
        class::SECONDS => "lifetime in seconds",
        class::KILOBYTES => "lifetime in kilobytes",
        class::GATEWAY => "gateway",
        class::PARENT => "parent",
        class::REFUSAL => "refusal",
        _ => "unknown",
    }
}

/// An offered set.
pub(super) fn decode(octets: &[u8]) -> SetMessage {
    let Ok(attributes) = Attribute::decode_up_to(octets, SET_ATTRIBUTES_MAX) else {
        return SetMessage::Refused { id: None, reason: Refusal::Truncated.to_string() };
    };
    match read(&attributes) {
        Ok(set) => SetMessage::Offered(Box::new(set)),
        Err(refusal) => {
            let id = one(&attributes, class::ID).ok().flatten();
            let id = id.and_then(|attribute| number(attribute, class::ID).ok());
            SetMessage::Refused { id, reason: refusal.to_string() }
        }
    }
}

fn read(attributes: &[Attribute<'_>]) -> Result<PolicySet, Refusal> {
    if let Some(stranger) = attributes.iter().find(|one| !(class::ID..=class::PARENT).contains(&one.class)) {
        return Err(Refusal::Unknown(stranger.class));
    }
    let wanted = |class| one(attributes, class)?.ok_or(Refusal::Missing(class));
    let id = number(wanted(class::ID)?, class::ID)?;
    let protocol = wanted(class::PROTOCOL)?.as_number().ok_or(Refusal::Bad(class::PROTOCOL))?;
    if protocol != u64::from(ProtocolId::ESP.0) {
        return Err(Refusal::Protocol(protocol));
    }
    let mode = match wanted(class::MODE)?.as_number().ok_or(Refusal::Bad(class::MODE))? {
        1 => SaMode::Tunnel,
        2 => SaMode::Transport,
        other => return Err(Refusal::Mode(other)),
    };
    let pfs = match one(attributes, class::PFS)? {
        None => None,
        Some(attribute) => group(attribute)?,
    };
    let gateway = one(attributes, class::GATEWAY)?;
    let parent = one(attributes, class::PARENT)?;
    Ok(PolicySet {
        id,
        name: one(attributes, class::NAME)?.map_or(Ok(String::new()), set_name)?,
        local: all(attributes, class::LOCAL, SELECTORS_MAX, traffic_end)?,
        remote: all(attributes, class::REMOTE, SELECTORS_MAX, traffic_end)?,
        mode,
        transforms: all(attributes, class::TRANSFORM, SET_TRANSFORMS_MAX, transform)?,
        pfs,
        lifetime: lifetime(wanted(class::SECONDS)?, one(attributes, class::KILOBYTES)?)?,
        gateway: gateway.map(address).transpose()?,
        parent: parent.map(|parent| number(parent, class::PARENT)).transpose()?,
    })
}

/// The attribute of that class, which may stand there once.
fn one<'a, 'b>(attributes: &'b [Attribute<'a>], class: u16) -> Result<Option<&'b Attribute<'a>>, Refusal> {
    let mut found = attributes.iter().filter(|attribute| attribute.class == class);
    let first = found.next();
    if found.next().is_some() { Err(Refusal::Twice(class)) } else { Ok(first) }
}

/// The attributes of that class, of which there must be some.
fn all<T>(
    attributes: &[Attribute<'_>],
    class: u16,
    most: usize,
    read: fn(&[u8], u16) -> Result<T, Refusal>,
) -> Result<Vec<T>, Refusal> {
    let found: Vec<_> = attributes.iter().filter(|attribute| attribute.class == class).collect();
    match found.len() {
        0 => Err(Refusal::Missing(class)),
        count if count > most => Err(Refusal::TooMany(class)),
        _ => found.into_iter().map(|attribute| read(&attribute.octets(), class)).collect(),
    }
}

fn number(attribute: &Attribute<'_>, class: u16) -> Result<u16, Refusal> {
    let number = attribute.as_number().and_then(|number| number.try_into().ok());
    number.ok_or(Refusal::Bad(class))
}

/// A name goes into logs and tables as it is: one line, no control characters.
fn set_name(attribute: &Attribute<'_>) -> Result<String, Refusal> {
    let octets = attribute.octets();
    let name = std::str::from_utf8(&octets).map_err(|_| Refusal::Bad(class::NAME))?;
    if name.len() > NAME_OCTETS_MAX || name.chars().any(char::is_control) {
        return Err(Refusal::Bad(class::NAME));
    }
    Ok(name.to_owned())
}

fn traffic_end(octets: &[u8], class: u16) -> Result<TrafficEnd, Refusal> {
    selector(octets).ok_or(Refusal::Bad(class))
}

/// IP version, protocol, first and last port, first and last address.
fn selector(octets: &[u8]) -> Option<TrafficEnd> {
    let mut reader = Reader::new(octets);
    let [version, protocol] = reader.array()?;
    let ports = PortRange::new(reader.u16()?, reader.u16()?)?;
    let mut address = || -> Option<IpAddr> {
        match version {
            4 => Some(reader.array::<4>()?.into()),
            6 => Some(reader.array::<16>()?.into()),
            _ => None,
        }
    };
    let addresses = AddressRange::new(address()?, address()?)?;
    if !reader.is_empty() {
        return None;
    }
    let protocol = if protocol == 0 { Protocol::Any } else { Protocol::Is(protocol) };
    // A port of every protocol means nothing, and ignoring it would widen what the sender wrote.
    (protocol != Protocol::Any || ports == PortRange::ANY).then_some(TrafficEnd {
        addresses,
        protocol,
        ports,
    })
}

fn transform(octets: &[u8], class: u16) -> Result<EspTransform, Refusal> {
    let mut reader = Reader::new(octets);
    let fields = (reader.u16(), reader.u16(), reader.u16());
    let (Some(id), Some(bits), Some(authentication)) = fields else { return Err(Refusal::Bad(class)) };
    if !reader.is_empty() {
        return Err(Refusal::Bad(class));
    }
    let unsupported = Refusal::Transform(id, bits, authentication);
    let key = KeyBits::from_bits(bits).ok_or(unsupported)?;
    let hash = [Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512]
        .into_iter()
        .find(|hash| authentication_number(*hash) == authentication);
    match (u8::try_from(id), hash) {
        (Ok(esp_transform::AES_GCM_16), None) if authentication == 0 => Ok(EspTransform::AesGcm16(key)),
        (Ok(esp_transform::AES_CBC), Some(hash)) => Ok(EspTransform::AesCbcHmac(key, hash)),
        _ => Err(unsupported),
    }
}

const fn authentication_number(hash: Hash) -> u16 {
    match hash {
        Hash::Sha1 => esp::HMAC_SHA1,
        Hash::Sha256 => esp::HMAC_SHA2_256,
        Hash::Sha384 => esp::HMAC_SHA2_384,
        Hash::Sha512 => esp::HMAC_SHA2_512,
    }
}

fn group(attribute: &Attribute<'_>) -> Result<Option<Group>, Refusal> {
    match attribute.as_number().ok_or(Refusal::Bad(class::PFS))? {
        0 => Ok(None),
        number => {
            let known = u16::try_from(number).ok().and_then(Group::from_number);
            known.map(Some).ok_or(Refusal::Group(number))
        }
    }
}

fn lifetime(seconds: &Attribute<'_>, kilobytes: Option<&Attribute<'_>>) -> Result<Lifetime, Refusal> {
    let seconds = seconds.as_number().and_then(|number| u32::try_from(number).ok());
    let seconds = seconds.ok_or(Refusal::Bad(class::SECONDS))?;
    let kilobytes = match kilobytes {
        None => None,
        Some(attribute) => Some(attribute.as_number().ok_or(Refusal::Bad(class::KILOBYTES))?),
    };
    if seconds < LIFETIME_S_MIN || kilobytes.is_some_and(|kilobytes| kilobytes < LIFETIME_KB_MIN) {
        return Err(Refusal::Lifetime);
    }
    Ok(Lifetime { seconds, kilobytes })
}

fn address(attribute: &Attribute<'_>) -> Result<IpAddr, Refusal> {
    let octets = attribute.octets();
    let v4 = <[u8; 4]>::try_from(octets.as_ref()).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets.as_ref()).map(IpAddr::from))
        .map_err(|_| Refusal::Bad(class::GATEWAY))
}

/// In an ACK: the set's number, and why it was refused unless it was taken. `None` for anything else.
pub(super) fn decode_acknowledgement(octets: &[u8]) -> Option<SetMessage> {
    let attributes = Attribute::decode_up_to(octets, SET_ATTRIBUTES_MAX).ok()?;
    let known = |attribute: &Attribute<'_>| [class::ID, class::REFUSAL].contains(&attribute.class);
    if !attributes.iter().all(known) {
        return None;
    }
    let id = number(one(&attributes, class::ID).ok()??, class::ID).ok()?;
    let refusal = match one(&attributes, class::REFUSAL).ok()? {
        None => None,
        Some(attribute) => {
            let octets = attribute.octets();
            let reason = String::from_utf8_lossy(&octets);
            let reason = reason.get(..reason.floor_char_boundary(REASON_OCTETS_MAX))?;
            Some(reason.chars().map(|char| if char.is_control() { ' ' } else { char }).collect())
        }
    };
    Some(SetMessage::Acknowledged { id, refusal })
}

/// The value that says `message`; `None` for a set that no receiver would have to understand.
pub(super) fn encode(message: &SetMessage) -> Option<Vec<u8>> {
    let attributes = match message {
        SetMessage::Offered(set) => offered(set)?,
        SetMessage::Refused { id, reason } => acknowledgement(*id, Some(reason))?,
        SetMessage::Acknowledged { id, refusal } => acknowledgement(Some(*id), refusal.as_deref())?,
    };
    let mut octets = Vec::new();
    attributes.iter().for_each(|attribute| attribute.encode(&mut octets));
    Some(octets)
}

fn offered(set: &PolicySet) -> Option<Vec<Attribute<'static>>> {
    let bounds = [set.local.len(), set.remote.len()].iter().all(|count| *count <= SELECTORS_MAX);
    if !bounds || set.transforms.len() > SET_TRANSFORMS_MAX || set.name.len() > NAME_OCTETS_MAX {
        return None;
    }
    let mut attributes = vec![Attribute::short(class::ID, set.id)];
    if !set.name.is_empty() {
        attributes.push(Attribute::long(class::NAME, set.name.clone().into_bytes())?);
    }
    for end in &set.local {
        attributes.push(Attribute::long(class::LOCAL, selector_octets(end))?);
    }
    for end in &set.remote {
        attributes.push(Attribute::long(class::REMOTE, selector_octets(end))?);
    }
    attributes.push(Attribute::short(class::PROTOCOL, u16::from(ProtocolId::ESP.0)));
    let mode = match set.mode {
        SaMode::Tunnel => 1,
        SaMode::Transport => 2,
    };
    attributes.push(Attribute::short(class::MODE, mode));
    for transform in &set.transforms {
        attributes.push(Attribute::long(class::TRANSFORM, transform_octets(*transform))?);
    }
    attributes.push(Attribute::short(class::PFS, set.pfs.map_or(0, Group::number)));
    attributes.push(Attribute::number(class::SECONDS, u64::from(set.lifetime.seconds)));
    attributes.extend(set.lifetime.kilobytes.map(|number| Attribute::number(class::KILOBYTES, number)));
    if let Some(gateway) = set.gateway {
        attributes.push(Attribute::long(class::GATEWAY, address_octets(gateway))?);
    }
    attributes.extend(set.parent.map(|parent| Attribute::short(class::PARENT, parent)));
    Some(attributes)
}

fn acknowledgement(id: Option<u16>, refusal: Option<&str>) -> Option<Vec<Attribute<'static>>> {
    let mut attributes: Vec<_> = id.map(|id| Attribute::short(class::ID, id)).into_iter().collect();
    if let Some(reason) = refusal {
        let end = reason.floor_char_boundary(REASON_OCTETS_MAX);
        attributes.push(Attribute::long(class::REFUSAL, reason.as_bytes().get(..end)?.to_vec())?);
    }
    Some(attributes)
}

fn selector_octets(end: &TrafficEnd) -> Vec<u8> {
    let version = if end.addresses.is_ipv6() { 6 } else { 4 };
    let protocol = match end.protocol {
        Protocol::Any => 0,
        Protocol::Is(number) => number,
    };
    let mut octets = vec![version, protocol];
    octets.extend([end.ports.first(), end.ports.last()].into_iter().flat_map(u16::to_be_bytes));
    octets.extend(address_octets(end.addresses.first()));
    octets.extend(address_octets(end.addresses.last()));
    octets
}

fn address_octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn transform_octets(transform: EspTransform) -> Vec<u8> {
    let (id, bits, authentication) = match transform {
        EspTransform::AesGcm16(bits) => (esp_transform::AES_GCM_16, bits, 0),
        EspTransform::AesCbcHmac(bits, hash) => (esp_transform::AES_CBC, bits, authentication_number(hash)),
    };
    [u16::from(id), bits.bits(), authentication].into_iter().flat_map(u16::to_be_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octets(text: &str) -> Vec<u8> {
        hex::decode(text.replace(char::is_whitespace, "")).unwrap()
    }

    /// Set 7, `net`: 10.3.0.10 with 10.2.0.0/24, AES-GCM-128, ECP 256, one hour.
    const SET: &str = "80010007 00020003 6e6574 \
        0003000e 0400 0000ffff 0a03000a 0a03000a \
        0004000e 0400 0000ffff 0a020000 0a0200ff \
        80050003 80060001 00070006 0014 0080 0000 80080013 80090e10";

    fn set() -> PolicySet {
        let end = |first: [u8; 4], last: [u8; 4]| TrafficEnd {
            addresses: AddressRange::new(first.into(), last.into()).unwrap(),
            protocol: Protocol::Any,
            ports: PortRange::ANY,
        };
        PolicySet {
            id: 7,
            name: "net".into(),
            local: vec![end([10, 3, 0, 10], [10, 3, 0, 10])],
            remote: vec![end([10, 2, 0, 0], [10, 2, 0, 255])],
            mode: SaMode::Tunnel,
            transforms: vec![EspTransform::AesGcm16(KeyBits::B128)],
            pfs: Some(Group::Ecp256),
            lifetime: Lifetime { seconds: 3600, kilobytes: None },
            gateway: None,
            parent: None,
        }
    }

    #[test] // DC-11, DC-23
    fn a_set_stands_where_its_table_puts_it() {
        assert_eq!(decode(&octets(SET)), SetMessage::Offered(Box::new(set())));
        assert_eq!(encode(&SetMessage::Offered(Box::new(set()))), Some(octets(SET)));
    }

    #[test] // DC-23
    fn numbers_may_have_either_form_and_attributes_any_order() {
        let set_in_another_form = "000900080000000000000e10 000800020013 0007000600140080 0000 0006000101 \
            000500020003 0004000e 0400 0000ffff 0a020000 0a0200ff 0003000e 0400 0000ffff 0a03000a 0a03000a \
            000200036e6574 0001000400000007";
        assert_eq!(decode(&octets(set_in_another_form)), SetMessage::Offered(Box::new(set())));
        // PFS may be left out, and zero is none.
        let without = SET.replace("80080013", "");
        let zero = SET.replace("80080013", "80080000");
        let expected = SetMessage::Offered(Box::new(PolicySet { pfs: None, ..set() }));
        assert_eq!((decode(&octets(&without)), decode(&octets(&zero))), (expected.clone(), expected));
    }

    #[test] // DC-3, DC-23
    fn a_set_that_is_not_understood_as_a_whole_is_refused_for_its_reason() {
        let with = |more: &str| format!("{SET} {more}");
        let instead = |old: &str, new: &str| {
            assert!(SET.contains(old), "{old}");
            SET.replace(old, new)
        };
        let local = "0003000e 0400 0000ffff 0a03000a 0a03000a";
        for (text, refusal) in [
            (with("800f0001"), Refusal::Unknown(15)),
            // A reason has no place in an offer.
            (with("000d0001 61"), Refusal::Unknown(13)),
            (with("80060001"), Refusal::Twice(class::MODE)),
            (instead("0004000e 0400 0000ffff 0a020000 0a0200ff", ""), Refusal::Missing(class::REMOTE)),
            (instead(local, ""), Refusal::Missing(class::LOCAL)),
            (instead("80050003", ""), Refusal::Missing(class::PROTOCOL)),
            (instead("80060001", ""), Refusal::Missing(class::MODE)),
            (instead("00070006 0014 0080 0000", ""), Refusal::Missing(class::TRANSFORM)),
            (instead("80090e10", ""), Refusal::Missing(class::SECONDS)),
            (instead("80050003", "80050002"), Refusal::Protocol(2)),
            (instead("80060001", "80060003"), Refusal::Mode(3)),
            (instead("80080013", "80080002"), Refusal::Group(2)),
            (instead("80080013", "00080004 00010013"), Refusal::Group(0x1_0013)),
            (instead("80090e10", "80090009"), Refusal::Lifetime),
            (instead("80090e10", "00090008 0000000100000000"), Refusal::Bad(class::SECONDS)),
            (with("800a0001"), Refusal::Lifetime),
            (with("000b0003 010203"), Refusal::Bad(class::GATEWAY)),
            (with("000c0004 00010000"), Refusal::Bad(class::PARENT)),
            // A transform that is known and one that is not: the whole set.
            (with("00070006 000b 0000 0002"), Refusal::Transform(11, 0, 2)),
            (with("00070006 000c 0080 0000"), Refusal::Transform(12, 128, 0)),
            (with("00070006 0014 0080 0005"), Refusal::Transform(20, 128, 5)),
            (with("00070006 0014 0060 0000"), Refusal::Transform(20, 96, 0)),
            (with("00070005 0014 0080 00"), Refusal::Bad(class::TRANSFORM)),
            (instead("6e6574", "6e1b74"), Refusal::Bad(class::NAME)),
            (instead("6e6574", "6effff"), Refusal::Bad(class::NAME)),
            // Selectors: version, empty ranges, a port without protocol, octets too many and too few.
            (instead(local, "0003000e 0500 0000ffff 0a03000a 0a03000a"), Refusal::Bad(class::LOCAL)),
            (instead(local, "0003000e 0400 0000ffff 0a03000b 0a03000a"), Refusal::Bad(class::LOCAL)),
            (instead(local, "0003000e 0411 00020001 0a03000a 0a03000a"), Refusal::Bad(class::LOCAL)),
            (instead(local, "0003000e 0400 00500050 0a03000a 0a03000a"), Refusal::Bad(class::LOCAL)),
            (instead(local, "0003000f 0400 0000ffff 0a03000a 0a03000a 00"), Refusal::Bad(class::LOCAL)),
            (instead(local, "0003000d 0400 0000ffff 0a03000a 0a0300"), Refusal::Bad(class::LOCAL)),
            (instead(local, "0003000e 0600 0000ffff 0a03000a 0a03000a"), Refusal::Bad(class::LOCAL)),
            (with(&"0003000e 0400 0000ffff 0a03000a 0a03000a".repeat(SELECTORS_MAX)), {
                Refusal::TooMany(class::LOCAL)
            }),
        ] {
            let expected = SetMessage::Refused { id: Some(7), reason: refusal.to_string() };
            assert_eq!(decode(&octets(&text)), expected, "{text}");
        }
        for (text, refusal) in [
            (with("0003"), Refusal::Truncated),
            (with(&"800f0001".repeat(SET_ATTRIBUTES_MAX)), Refusal::Truncated),
            (instead("80010007", ""), Refusal::Missing(class::ID)),
            (with("80010008"), Refusal::Twice(class::ID)),
            (instead("80010007", "00010004 00010000"), Refusal::Bad(class::ID)),
        ] {
            let expected = SetMessage::Refused { id: None, reason: refusal.to_string() };
            assert_eq!(decode(&octets(&text)), expected, "{text}");
        }
    }

    #[test] // DC-8
    fn an_acknowledgement_names_the_set_and_perhaps_a_reason() {
        let taken = SetMessage::Acknowledged { id: 7, refusal: None };
        let refused = SetMessage::Acknowledged { id: 7, refusal: Some("no".into()) };
        for (message, text) in [(taken, "80010007"), (refused, "80010007 000d0002 6e6f")] {
            assert_eq!(encode(&message), Some(octets(text)));
            assert_eq!(decode_acknowledgement(&octets(text)), Some(message));
        }
        for text in ["", "000d0001 61", "80010007 80020001", "80010007 80010007", "80010007 00"] {
            assert_eq!(decode_acknowledgement(&octets(text)), None, "{text}");
        }
        // A long reason is cut where a character ends.
        let reason = "€".repeat(200);
        let long = SetMessage::Acknowledged { id: 1, refusal: Some(reason.clone()) };
        let read = decode_acknowledgement(&encode(&long).unwrap());
        assert_eq!(read, Some(SetMessage::Acknowledged { id: 1, refusal: Some(reason[..255].into()) }));
    }

    #[test] // DC-23
    fn a_set_that_no_receiver_has_to_understand_is_not_written() {
        let end = set().local[0];
        for set in [
            PolicySet { local: vec![end; SELECTORS_MAX + 1], ..set() },
            PolicySet { remote: vec![end; SELECTORS_MAX + 1], ..set() },
            PolicySet { name: "x".repeat(NAME_OCTETS_MAX + 1), ..set() },
        ] {
            assert_eq!(encode(&SetMessage::Offered(Box::new(set))), None);
        }
    }

    fn any_end() -> impl Strategy<Value = TrafficEnd> {
        let range = prop_oneof![
            any::<[u32; 2]>().prop_map(|[a, b]| {
                AddressRange::new(a.min(b).to_be_bytes().into(), a.max(b).to_be_bytes().into()).unwrap()
            }),
            any::<[u128; 2]>().prop_map(|[a, b]| {
                AddressRange::new(a.min(b).to_be_bytes().into(), a.max(b).to_be_bytes().into()).unwrap()
            }),
        ];
        (range, 0u8.., any::<[u16; 2]>()).prop_map(|(addresses, protocol, [a, b])| match protocol {
            0 => TrafficEnd { addresses, protocol: Protocol::Any, ports: PortRange::ANY },
            _ => TrafficEnd {
                addresses,
                protocol: Protocol::Is(protocol),
                ports: PortRange::new(a.min(b), a.max(b)).unwrap(),
            },
        })
    }

    fn any_transform() -> impl Strategy<Value = EspTransform> {
        let bits = prop::sample::select(vec![KeyBits::B128, KeyBits::B192, KeyBits::B256]);
        let hash = prop::sample::select(vec![Hash::Sha1, Hash::Sha256, Hash::Sha384, Hash::Sha512]);
        (bits, prop::option::of(hash)).prop_map(|(bits, hash)| match hash {
            None => EspTransform::AesGcm16(bits),
            Some(hash) => EspTransform::AesCbcHmac(bits, hash),
        })
    }

    fn any_set() -> impl Strategy<Value = PolicySet> {
        let ends = || prop::collection::vec(any_end(), 1..5);
        let first = (any::<u16>(), "[a-zß 0-9]{0,30}", ends(), ends(), any::<bool>());
        let transforms = prop::collection::vec(any_transform(), 1..5);
        let pfs = prop::option::of(prop::sample::select(Group::ALL.to_vec()));
        let lifetime = (LIFETIME_S_MIN.., prop::option::of(LIFETIME_KB_MIN..));
        let second = (transforms, pfs, lifetime, any::<Option<IpAddr>>(), any::<Option<u16>>());
        (first, second).prop_map(
            |(
                (id, name, local, remote, tunnel),
                (transforms, pfs, (seconds, kilobytes), gateway, parent),
            )| {
                let mode = if tunnel { SaMode::Tunnel } else { SaMode::Transport };
                let lifetime = Lifetime { seconds, kilobytes };
                PolicySet { id, name, local, remote, mode, transforms, pfs, lifetime, gateway, parent }
            },
        )
    }

    proptest! {
        #[test] // DC-23
        fn a_set_reads_as_it_was_written(set in any_set()) {
            let offered = SetMessage::Offered(Box::new(set));
            let octets = encode(&offered).unwrap();
            prop_assert_eq!(decode(&octets), offered);
        }

        #[test] // DC-3
        fn one_octet_more_or_less_never_changes_what_is_taken_in_silence(set in any_set(), cut: usize) {
            let offered = SetMessage::Offered(Box::new(set));
            let octets = encode(&offered).unwrap();
            let cut = cut % octets.len();
            match decode(&octets[..cut]) {
                SetMessage::Refused { .. } => {}
                // Only what may be left out may be missing: gateway, parent and the volume stand last.
                SetMessage::Offered(read) => {
                    let SetMessage::Offered(set) = offered else { unreachable!() };
                    let bare = PolicySet { gateway: None, parent: None, ..*read.clone() };
                    let mut expected = PolicySet { gateway: None, parent: None, ..*set };
                    expected.lifetime.kilobytes = read.lifetime.kilobytes;
                    prop_assert_eq!(bare, expected);
                }
                other => prop_assert!(false, "{other:?}"),
            }
        }

        #[test] // F-36
        fn no_octets_panic(octets: Vec<u8>) {
            let _ = encode(&decode(&octets));
            let _ = decode_acknowledgement(&octets);
        }
    }
}
