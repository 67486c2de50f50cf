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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 2408 §3.1, figure 2, field by field.
    const INFORMATIONAL: &str = "0102030405060708 1112131415161718 08 10 05 01 cafef00d 00000020 deadbeef";

    fn octets(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    #[test]
    fn fields_stand_where_rfc_2408_puts_them() {
        let datagram = octets(INFORMATIONAL);
        let (header, body) = Header::decode(&datagram).unwrap();
        assert_eq!(header.cookie_i, [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(header.cookie_r, [0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
        assert_eq!((header.next_payload, header.exchange), (PayloadType::HASH, ExchangeType::INFORMATIONAL));
        assert_eq!((header.major(), header.is_encrypted()), (1, true));
        assert_eq!((header.message_id, header.length), (0xcafe_f00d, 32));
        assert_eq!(body, [0xde, 0xad, 0xbe, 0xef]);
        assert_eq!(header.encode_with(PayloadType::HASH, body), datagram);
    }

    #[test] // F-36
    fn a_length_that_cannot_be_is_refused() {
        let datagram = octets(INFORMATIONAL);
        let refused = |length: u32, kept: usize| {
            let mut changed = datagram[..kept].to_vec();
            changed[24..28].copy_from_slice(&length.to_be_bytes());
            Header::decode(&changed).map(|(_, body)| body.len())
        };
        assert_eq!(Header::decode(&datagram[..27]), Err(Malformed::HeaderTruncated));
        for length in [0, 27, 33, u32::MAX] {
            assert_eq!(refused(length, 32), Err(Malformed::HeaderLength), "{length}");
        }
        assert_eq!(refused(28, 28), Ok(0));
        assert_eq!(refused(32, 32), Ok(4));
    }

    #[test]
    fn octets_behind_the_message_are_not_part_of_it() {
        let mut datagram = octets(INFORMATIONAL);
        datagram.extend_from_slice(&[0; 9]);
        assert_eq!(Header::decode(&datagram).unwrap().1, [0xde, 0xad, 0xbe, 0xef]);
    }

    #[test]
    fn an_encoded_message_names_its_first_payload_and_its_length() {
        let chain = Chain::new().with(PayloadType::NONCE, &[7; 16]);
        let message = Header::new([1; 8], [2; 8], ExchangeType::QUICK, 0, 9).encode(&chain);
        let (header, body) = Header::decode(&message).unwrap();
        assert_eq!((header.next_payload, header.length, header.version), (PayloadType::NONCE, 48, 0x10));
        assert_eq!(body, chain.octets());
    }

    proptest! {
        #[test]
        fn every_header_survives_the_round_trip(
            cookies: ([u8; 8], [u8; 8]), numbers: (u8, u8, u8, u8), message_id: u32, body: Vec<u8>
        ) {
            let header = Header {
                next_payload: PayloadType(numbers.0),
                version: numbers.1,
                length: 28 + body.len() as u32,
                ..Header::new(cookies.0, cookies.1, ExchangeType(numbers.2), numbers.3, message_id)
            };
            let message = header.encode_with(header.next_payload, &body);
            prop_assert_eq!(Header::decode(&message), Ok((header, &body[..])));
        }
    }
}
