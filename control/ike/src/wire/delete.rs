//! The Delete payload (RFC 2408 §3.15): SAs its sender has removed.

use super::header::Cookie;
use super::iana::{DOI_IPSEC, ProtocolId};
use super::malformed::Malformed;
use super::reader::Reader;
use std::borrow::Cow;

/// Names SAs of one protocol by the SPIs under which their *sender* received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delete<'a> {
    doi: u32,
    protocol: ProtocolId,
    spi_octets: u8,
    spis: Cow<'a, [u8]>,
}

impl<'a> Delete<'a> {
    /// ESP SAs.
    ///
    /// # Panics
    /// For more than 65,535 of them: never built.
    #[must_use]
    pub fn esp(spis: &[u32]) -> Delete<'static> {
        assert!(u16::try_from(spis.len()).is_ok(), "{} SPIs in one Delete payload", spis.len());
        let octets: Vec<u8> = spis.iter().flat_map(|spi| spi.to_be_bytes()).collect();
        Delete { doi: DOI_IPSEC, protocol: ProtocolId::ESP, spi_octets: 4, spis: octets.into() }
    }

    /// The ISAKMP SA of these cookies.
    #[must_use]
    pub fn isakmp(cookie_i: Cookie, cookie_r: Cookie) -> Delete<'static> {
        let spis = [cookie_i, cookie_r].concat().into();
        Delete { doi: DOI_IPSEC, protocol: ProtocolId::ISAKMP, spi_octets: 16, spis }
    }

    /// Decodes the body of a Delete payload.
    ///
    /// # Errors
    /// When its length is not what the number and the size of its SPIs say.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let doi = reader.u32().ok_or(Malformed::DeleteTruncated)?;
        let [protocol, spi_octets] = reader.array().ok_or(Malformed::DeleteTruncated)?;
        let count = reader.u16().ok_or(Malformed::DeleteTruncated)?;
        let spis = reader.rest();
        if spis.len() != usize::from(count) * usize::from(spi_octets) || (spi_octets == 0 && count > 0) {
            return Err(Malformed::DeleteLength);
        }
        Ok(Self { doi, protocol: ProtocolId(protocol), spi_octets, spis: Cow::Borrowed(spis) })
    }

    /// The body of a Delete payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = self.spis().count() as u16;
        let mut octets = self.doi.to_be_bytes().to_vec();
        octets.extend_from_slice(&[self.protocol.0, self.spi_octets]);
        octets.extend_from_slice(&count.to_be_bytes());
        octets.extend_from_slice(&self.spis);
        octets
    }

    /// Domain of interpretation; some peers send zero in phase 1.
    #[must_use]
    pub const fn doi(&self) -> u32 {
        self.doi
    }

    /// Which protocol's SAs are gone.
    #[must_use]
    pub const fn protocol(&self) -> ProtocolId {
        self.protocol
    }

    /// The SPIs, each of the size the payload gives.
    pub fn spis(&self) -> impl Iterator<Item = &[u8]> {
        self.spis.chunks_exact(usize::from(self.spi_octets).max(1))
    }

    /// The SPIs of ESP SAs; nothing when they have another size than four octets.
    pub fn esp_spis(&self) -> impl Iterator<Item = u32> {
        self.spis().filter_map(|spi| spi.try_into().ok().map(u32::from_be_bytes))
    }

    /// The cookies of ISAKMP SAs; nothing when the SPIs have another size than sixteen octets.
    pub fn cookies(&self) -> impl Iterator<Item = (Cookie, Cookie)> {
        self.spis().filter_map(|spi| {
            let mut reader = Reader::new(spi);
            let cookies = (reader.array()?, reader.array()?);
            reader.is_empty().then_some(cookies)
        })
    }
}
