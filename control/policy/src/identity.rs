//! Who a peer says it is (RFC 2407 §4.6.2), compared exactly: no substrings, no wildcards (REQUIREMENTS F-22).

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
}

/// Text that is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no identity: an address, a host name, user@host or keyid:HEX is expected")]
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
            Self::KeyId(octets) => {
                f.write_str("keyid:")?;
                octets.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
            }
        }
    }
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
        for text in ["192.0.2.1", "2001:db8::1", "left.test", "alice@left.test", "keyid:00ff"] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn text_that_is_no_identity_is_refused() {
        for text in ["", "a b", "@host", "user@", "keyid:", "keyid:0", "keyid:zz"] {
            assert!(text.parse::<Identity>().is_err(), "{text}");
        }
    }
}
