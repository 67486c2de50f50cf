//! Who a peer says it is (RFC 2407 §4.6.2), compared exactly: no substrings, no wildcards (REQUIREMENTS F-22).

use crate::dn;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An ISAKMP identity of a single entity.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// ID_IPV4_ADDR (1).
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR (5).
    Ipv6(Ipv6Addr),
    /// ID_FQDN (2), for example `left.test`.
    Fqdn(String),
    /// ID_USER_FQDN (3), for example `alice@left.test`.
    UserFqdn(String),
    /// ID_KEY_ID (11): opaque octets, written `keyid:` and hexadecimal digits.
    KeyId(Vec<u8>),
    /// ID_DER_ASN1_DN (9): the DER of a distinguished name, as a certificate has it. Two encodings of one name are two
    /// identities; the usual one is written `CN=left.test, O=Example`, any other `dn:` and hexadecimal digits.
    Dn(Vec<u8>),
}

/// Text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no identity: an address, a host name, user@host, keyid:HEX, dn:HEX or a distinguished name is expected"
)]
pub struct NotAnIdentity(pub String);

impl FromStr for Identity {
    type Err = NotAnIdentity;

    fn from_str(text: &str) -> Result<Self, NotAnIdentity> {
        let refuse = || NotAnIdentity(text.to_owned());
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::Ipv4(address));
        }
        if let Ok(address) = text.parse::<Ipv6Addr>() {
            return Ok(Self::Ipv6(address));
        }
        if let Some(digits) = text.strip_prefix("keyid:") {
            return decode_hex(digits)
                .filter(|octets| !octets.is_empty())
                .map(Self::KeyId)
                .ok_or_else(refuse);
        }
        if let Some(digits) = text.strip_prefix("dn:") {
            return decode_hex(digits).filter(|der| is_sequence(der)).map(Self::Dn).ok_or_else(refuse);
        }
        if dn::is_like(text) {
            return dn::encode(text).map(Self::Dn).ok_or_else(refuse);
        }
        let name_like = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
        };
        match text.split_once('@') {
            Some((user, host)) if !user.is_empty() && user.is_ascii() && name_like(host) => {
                Ok(Self::UserFqdn(text.to_owned()))
            }
            None if name_like(text) => Ok(Self::Fqdn(text.to_owned())),
            _ => Err(refuse()),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => write!(f, "{address}"),
            Self::Ipv6(address) => write!(f, "{address}"),
            Self::Fqdn(name) | Self::UserFqdn(name) => f.write_str(name),
            Self::KeyId(octets) => write_hex(f, "keyid:", octets),
            Self::Dn(der) => match dn::decode(der) {
                Some(text) => f.write_str(&text),
                None => write_hex(f, "dn:", der),
            },
        }
    }
}

/// Whether the octets are one DER SEQUENCE that is not empty, and nothing else: a name that ends early or goes on
/// would be one to us and another to whoever compares it.
#[must_use]
pub fn is_sequence(der: &[u8]) -> bool {
    let [0x30, length, content @ ..] = der else { return false };
    let octets = match length {
        0 | 0x80 => return false,
        short if *short < 0x80 => return usize::from(*short) == content.len(),
        long => usize::from(long & 0x7f),
    };
    if octets > 2 || content.len() < octets {
        return false;
    }
    let (length, content) = content.split_at(octets);
    let length = length.iter().fold(0, |length, octet| length << 8 | usize::from(*octet));
    // The shortest way of writing the length is the only one.
    length == content.len() && length >= if octets == 1 { 0x80 } else { 0x100 }
}

fn write_hex(f: &mut fmt::Formatter<'_>, prefix: &str, octets: &[u8]) -> fmt::Result {
    f.write_str(prefix)?;
    octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
        return None;
    }
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_survives_the_round_trip() {
        for text in [
            "192.0.2.1",
            "2001:db8::1",
            "left.test",
            "alice@left.test",
            "keyid:00ff",
            "dn:30023000",
            "CN=left.test, O=Warren test",
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn text_that_is_no_identity_is_refused() {
        for text in [
            "",
            "a b",
            "@host",
            "user@",
            "keyid:",
            "keyid:0",
            "keyid:zz",
            "dn:",
            "dn:3000",
            "dn:300230",
            "CN=",
            "CN=a\\,b",
        ] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }

    #[test] // F-22
    fn a_distinguished_name_is_one_whole_sequence() {
        let long = |length: &[u8], content: usize| [&[0x30][..], length, &vec![0; content]].concat();
        for (der, fits) in [
            (long(&[0x7f], 0x7f), true),
            (long(&[0x81, 0x80], 0x80), true),
            (long(&[0x82, 1, 0], 0x100), true),
            (long(&[0x81, 0x7f], 0x7f), false),
            (long(&[0x82, 0, 0x80], 0x80), false),
            (long(&[0x82, 1, 0], 0x101), false),
            (long(&[0x82, 1], 0), false),
            (long(&[0x80], 4), false),
            (long(&[2], 3), false),
            (vec![0x31, 1, 0], false),
            (vec![0x30], false),
            (vec![], false),
        ] {
            assert_eq!(is_sequence(&der), fits, "{der:?}");
        }
    }
}
