//! What ESP does to a packet, and how long each part of the packet is because of it.
//!
//! ```text
//!   0      4        8          8 + IV                        length - ICV   length
//!   | SPI  | seq    | IV       | text: payload, padding, trailer | ICV        |
//!   '---------------------- the `packet` of a job -----------------------------'
//! ```

use crate::limits::PACKET_OCTETS_MAX;
use std::fmt;
use std::ops::Range;

/// Octets of SPI and sequence number (RFC 4303 §2).
pub const HEADER_OCTETS: usize = 8;

/// Length of an AES key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyLength {
    /// 128 bits.
    B128,
    /// 192 bits.
    B192,
    /// 256 bits.
    B256,
}

impl KeyLength {
    /// Every length AES has.
    pub const ALL: [Self; 3] = [Self::B128, Self::B192, Self::B256];

    /// The length in octets.
    #[must_use]
    pub const fn octets(self) -> usize {
        match self {
            Self::B128 => 16,
            Self::B192 => 24,
            Self::B256 => 32,
        }
    }
}

/// HMAC with a truncated result, for the transforms that are no AEAD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Integrity {
    /// HMAC-SHA1-96 (RFC 2404): only for peers that offer nothing better.
    Sha1,
    /// HMAC-SHA2-256-128 (RFC 4868).
    Sha256,
    /// HMAC-SHA2-384-192 (RFC 4868).
    Sha384,
    /// HMAC-SHA2-512-256 (RFC 4868).
    Sha512,
}

impl Integrity {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    /// Octets of the key: always those of the digest (RFC 2404 §3, RFC 4868 §2.1.1).
    #[must_use]
    pub const fn key_octets(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Octets of the truncated result.
    #[must_use]
    pub const fn icv_octets(self) -> usize {
        match self {
            Self::Sha1 => 12,
            Self::Sha256 => 16,
            Self::Sha384 => 24,
            Self::Sha512 => 32,
        }
    }
}

/// What ESP does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transform {
    /// AES-GCM with a 16-octet ICV (RFC 4106).
    AesGcm16(KeyLength),
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-CBC (RFC 3602), then HMAC over the result.
    AesCbcHmac(KeyLength, Integrity),
}

impl Transform {
    /// Every transform, AEADs first.
    pub fn all() -> impl Iterator<Item = Self> {
        let cbc = |length| Integrity::ALL.map(move |integrity| Self::AesCbcHmac(length, integrity));
        KeyLength::ALL
            .map(Self::AesGcm16)
            .into_iter()
            .chain([Self::ChaCha20Poly1305])
            .chain(KeyLength::ALL.into_iter().flat_map(cbc))
    }

    /// Octets of the cipher key.
    #[must_use]
    pub const fn key_octets(self) -> usize {
        match self {
            Self::AesGcm16(length) | Self::AesCbcHmac(length, _) => length.octets(),
            Self::ChaCha20Poly1305 => 32,
        }
    }

    /// Octets of the integrity key; none for an AEAD.
    #[must_use]
    pub const fn integrity_key_octets(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 0,
            Self::AesCbcHmac(_, integrity) => integrity.key_octets(),
        }
    }

    /// Whether one algorithm does both, with an IV of 8 and an ICV of 16 octets (RFC 4106, RFC 7634).
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(self, Self::AesGcm16(_) | Self::ChaCha20Poly1305)
    }

    /// Octets of the initialisation vector on the wire.
    #[must_use]
    pub const fn iv_octets(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 8,
            Self::AesCbcHmac(..) => 16,
        }
    }

    /// Octets of the integrity check value.
    #[must_use]
    pub const fn icv_octets(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 16,
            Self::AesCbcHmac(_, integrity) => integrity.icv_octets(),
        }
    }

    /// What the cipher needs the text's length to be a multiple of. RFC 4303 §2.4 asks a sender for 4 at least.
    #[must_use]
    pub const fn block_octets(self) -> usize {
        match self {
            Self::AesGcm16(_) | Self::ChaCha20Poly1305 => 1,
            Self::AesCbcHmac(..) => 16,
        }
    }

    /// Octets of a packet that are not text: header, IV and ICV.
    #[must_use]
    pub const fn overhead_octets(self) -> usize {
        HEADER_OCTETS + self.iv_octets() + self.icv_octets()
    }

    /// Where the text lies in a packet of that length; `None` when no packet of this transform is so long.
    #[must_use]
    pub fn text_range(self, packet_octets: usize) -> Option<Range<usize>> {
        let text = packet_octets.checked_sub(self.overhead_octets())?;
        let fits = packet_octets <= PACKET_OCTETS_MAX && text.is_multiple_of(self.block_octets());
        let from = HEADER_OCTETS + self.iv_octets();
        fits.then_some(from..from + text)
    }
}

impl fmt::Display for KeyLength {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.octets() * 8)
    }
}

impl fmt::Display for Integrity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        })
    }
}

impl fmt::Display for Transform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AesGcm16(length) => write!(f, "aes{length}gcm16"),
            Self::ChaCha20Poly1305 => f.write_str("chacha20poly1305"),
            Self::AesCbcHmac(length, integrity) => write!(f, "aes{length}-{integrity}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_packet_add_up_to_its_length() {
        for transform in Transform::all() {
            assert_eq!(transform.text_range(transform.overhead_octets() - 1), None, "{transform}");
            let octets = transform.overhead_octets() + 64;
            let text = transform.text_range(octets).unwrap();
            assert_eq!(text, 8 + transform.iv_octets()..octets - transform.icv_octets(), "{transform}");
        }
    }

    #[test]
    fn cbc_has_whole_blocks_only_and_nothing_is_longer_than_a_packet() {
        let cbc = Transform::AesCbcHmac(KeyLength::B128, Integrity::Sha256);
        assert_eq!(cbc.text_range(cbc.overhead_octets() + 15), None);
        assert!(cbc.text_range(cbc.overhead_octets() + 16).is_some());
        let gcm = Transform::AesGcm16(KeyLength::B128);
        assert!(gcm.text_range(PACKET_OCTETS_MAX).is_some());
        assert_eq!(gcm.text_range(PACKET_OCTETS_MAX + 1), None);
    }
}
