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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octets(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    #[test]
    fn esp_sas_are_named_by_four_octets_each() {
        let delete = Delete::esp(&[0xc0de_cafe, 7]);
        let body = octets("00000001 03 04 0002 c0decafe 00000007");
        assert_eq!(delete.encode(), body);
        let decoded = Delete::decode(&body).unwrap();
        assert_eq!((decoded.doi(), decoded.protocol()), (DOI_IPSEC, ProtocolId::ESP));
        assert_eq!(decoded.esp_spis().collect::<Vec<_>>(), [0xc0de_cafe, 7]);
        assert_eq!(decoded.cookies().count(), 0);
    }

    #[test]
    fn an_isakmp_sa_is_named_by_both_cookies() {
        let delete = Delete::isakmp([0x11; 8], [0x22; 8]);
        let body = octets("00000001 01 10 0001 1111111111111111 2222222222222222");
        assert_eq!(delete.encode(), body);
        let decoded = Delete::decode(&body).unwrap();
        assert_eq!(decoded.cookies().collect::<Vec<_>>(), [([0x11; 8], [0x22; 8])]);
        assert_eq!(decoded.esp_spis().count(), 0);
    }

    #[test] // F-36
    fn payloads_whose_count_is_not_their_length_are_refused() {
        for (body, reason) in [
            ("00000001 03 04 00", Malformed::DeleteTruncated),
            ("00000001 03 04 0002 c0decafe", Malformed::DeleteLength),
            ("00000001 03 04 0001 c0decafe 00", Malformed::DeleteLength),
            ("00000001 03 04 ffff", Malformed::DeleteLength),
            ("00000001 03 00 ffff", Malformed::DeleteLength),
            ("00000001 03 00 0000 00", Malformed::DeleteLength),
        ] {
            assert_eq!(Delete::decode(&octets(body)), Err(reason), "{body}");
        }
        assert_eq!(Delete::decode(&octets("00000001 03 00 0000")).map(|found| found.spis().count()), Ok(0));
    }

    proptest! {
        #[test]
        fn deletes_read_as_they_were_written(spis: Vec<u32>) {
            let delete = Delete::esp(&spis);
            let body = delete.encode();
            let decoded = Delete::decode(&body).unwrap();
            prop_assert_eq!(decoded.esp_spis().collect::<Vec<_>>(), spis);
            prop_assert_eq!(decoded, delete);
        }
    }
}
