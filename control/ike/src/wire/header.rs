//! The ISAKMP header (RFC 2408 §3.1).
//!
//! ```text
//!  0        8        16            17       18        19     20          24      28
//!  | cookie | cookie | next        | version | exchange | flags | message | length | payloads, or their ciphertext
//!  |   _i   |   _r   | payload     |         | type     |       | ID      |        |
//! ```

use super::chain::Chain;
use super::iana::{ExchangeType, PayloadType, VERSION_1_0};
use super::malformed::Malformed;
use super::reader::Reader;

/// Octets of the header; also the shortest message.
pub const HEADER_OCTETS: usize = 28;

/// One side's half of the name of an ISAKMP SA (RFC 2408 §2.5.3).
pub type Cookie = [u8; 8];

/// The header of every ISAKMP message. IKEv2 shares its layout, so `version` is the first thing to look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Initiator cookie.
    pub cookie_i: Cookie,
    /// Responder cookie; zero in the first message.
    pub cookie_r: Cookie,
    /// Type of the first payload.
    pub next_payload: PayloadType,
    /// Major version in the upper, minor in the lower half.
    pub version: u8,
    /// Which exchange the message belongs to.
    pub exchange: ExchangeType,
    /// See [`Header::ENCRYPTION`] and its neighbours.
    pub flags: u8,
    /// Zero in phase 1.
    pub message_id: u32,
    /// Octets of the whole message, as received. [`Header::encode`] writes the true one.
    pub length: u32,
}

impl Header {
    /// Flag: what follows the header is ciphertext.
    pub const ENCRYPTION: u8 = 1;
    /// Flag: commit. Read and ignored.
    pub const COMMIT: u8 = 2;
    /// Flag: authenticated, not encrypted.
    pub const AUTHENTICATION_ONLY: u8 = 4;

    /// A header of version 1.0. Next payload and length are written when the message is encoded.
    #[must_use]
    pub const fn new(
        cookie_i: Cookie,
        cookie_r: Cookie,
        exchange: ExchangeType,
        flags: u8,
        message_id: u32,
    ) -> Self {
        Self {
            cookie_i,
            cookie_r,
            next_payload: PayloadType::NONE,
            version: VERSION_1_0,
            exchange,
            flags,
            message_id,
            length: 0,
        }
    }

    /// Splits a datagram (without non-ESP marker) into its header and what the header's length says belongs to
    /// the message. Octets beyond that are not part of it and are left out.
    ///
    /// # Errors
    /// When the datagram is shorter than a header or than the header says.
    pub fn decode(datagram: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let header = Self::fields(&mut Reader::new(datagram)).ok_or(Malformed::HeaderTruncated)?;
        let length = usize::try_from(header.length).map_err(|_| Malformed::HeaderLength)?;
        let body = datagram.get(HEADER_OCTETS..length).ok_or(Malformed::HeaderLength)?;
        Ok((header, body))
    }

    fn fields(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            cookie_i: reader.array()?,
            cookie_r: reader.array()?,
            next_payload: PayloadType(reader.u8()?),
            version: reader.u8()?,
            exchange: ExchangeType(reader.u8()?),
            flags: reader.u8()?,
            message_id: reader.u32()?,
            length: reader.u32()?,
        })
    }

    /// Major version.
    #[must_use]
    pub const fn major(&self) -> u8 {
        self.version >> 4
    }

    /// Whether the encryption flag is set.
    #[must_use]
    pub const fn is_encrypted(&self) -> bool {
        self.flags & Self::ENCRYPTION != 0
    }

    /// A whole message in clear: this header, then the payloads.
    #[must_use]
    pub fn encode(&self, chain: &Chain) -> Vec<u8> {
        self.encode_with(chain.first(), chain.octets())
    }

    /// A whole message whose body is given as it shall travel: ciphertext with the type of the first payload
    /// inside it, or clear payloads with their padding.
    ///
    /// # Panics
    /// When the body has 4 GiB or more; nothing from the network gets here.
    #[must_use]
    pub fn encode_with(&self, next_payload: PayloadType, body: &[u8]) -> Vec<u8> {
        let length = HEADER_OCTETS + body.len();
        assert!(u32::try_from(length).is_ok(), "a message of {length} octets cannot be written");
        let mut octets = Vec::with_capacity(length);
        octets.extend_from_slice(&self.cookie_i);
        octets.extend_from_slice(&self.cookie_r);
        octets.extend_from_slice(&[next_payload.0, self.version, self.exchange.0, self.flags]);
        octets.extend_from_slice(&self.message_id.to_be_bytes());
        octets.extend_from_slice(&(length as u32).to_be_bytes());
        octets.extend_from_slice(body);
        octets
    }
}
