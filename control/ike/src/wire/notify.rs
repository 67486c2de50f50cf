//! The Notify payload (RFC 2408 §3.14, RFC 2407 §4.6.3, RFC 3706 §5.3).

use super::attribute::Attribute;
use super::header::Cookie;
use super::iana::{DOI_IPSEC, NotifyType, ProtocolId};
use super::malformed::Malformed;
use super::reader::Reader;
use std::borrow::Cow;

/// A notification about an SA, or about one that is being negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify<'a> {
    /// Domain of interpretation; some peers send zero in phase 1.
    pub doi: u32,
    /// Which protocol's SA it is about.
    pub protocol: ProtocolId,
    /// What is said.
    pub kind: NotifyType,
    /// Which SA it is about: both cookies for ISAKMP, four octets for ESP, empty for none.
    pub spi: Cow<'a, [u8]>,
    /// Depends on `kind`.
    pub data: Cow<'a, [u8]>,
}

impl<'a> Notify<'a> {
    /// About an ISAKMP SA, which its cookies name (RFC 2407 §4.6.3, RFC 3706 §5.3).
    #[must_use]
    pub fn isakmp(kind: NotifyType, cookie_i: Cookie, cookie_r: Cookie, data: &'a [u8]) -> Self {
        Self {
            doi: DOI_IPSEC,
            protocol: ProtocolId::ISAKMP,
            kind,
            spi: [cookie_i, cookie_r].concat().into(),
            data: data.into(),
        }
    }

    /// About an ESP SA, which the SPI of its receiver names.
    #[must_use]
    pub fn esp(kind: NotifyType, spi: u32, data: &'a [u8]) -> Self {
        Self {
            doi: DOI_IPSEC,
            protocol: ProtocolId::ESP,
            kind,
            spi: spi.to_be_bytes().to_vec().into(),
            data: data.into(),
        }
    }

    /// Decodes the body of a Notify payload.
    ///
    /// # Errors
    /// When it is shorter than its fixed fields and its SPI.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        Self::fields(&mut Reader::new(body)).ok_or(Malformed::NotifyTruncated)
    }

    fn fields(reader: &mut Reader<'a>) -> Option<Self> {
        let doi = reader.u32()?;
        let [protocol, spi_octets] = reader.array()?;
        let kind = NotifyType(reader.u16()?);
        let spi = reader.take(usize::from(spi_octets))?;
        Some(Self {
            doi,
            protocol: ProtocolId(protocol),
            kind,
            spi: Cow::Borrowed(spi),
            data: Cow::Borrowed(reader.rest()),
        })
    }

    /// The body of a Notify payload.
    ///
    /// # Panics
    /// For an SPI of more than 255 octets: never built.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        assert!(self.spi.len() <= 255, "an SPI of {} octets", self.spi.len());
        let mut octets = self.doi.to_be_bytes().to_vec();
        octets.extend_from_slice(&[self.protocol.0, self.spi.len() as u8]);
        octets.extend_from_slice(&self.kind.0.to_be_bytes());
        octets.extend_from_slice(&self.spi);
        octets.extend_from_slice(&self.data);
        octets
    }

    /// The cookies of the ISAKMP SA it is about, where it carries both.
    #[must_use]
    pub fn cookies(&self) -> Option<(Cookie, Cookie)> {
        let mut reader = Reader::new(&self.spi);
        let cookies = (reader.array()?, reader.array()?);
        reader.is_empty().then_some(cookies)
    }

    /// The four-octet SPI it is about.
    #[must_use]
    pub fn spi_u32(&self) -> Option<u32> {
        self.spi.as_ref().try_into().ok().map(u32::from_be_bytes)
    }

    /// The sequence number of R-U-THERE and R-U-THERE-ACK (RFC 3706 §5.3).
    #[must_use]
    pub fn sequence(&self) -> Option<u32> {
        self.data.as_ref().try_into().ok().map(u32::from_be_bytes)
    }

    /// The attributes of RESPONDER-LIFETIME (RFC 2407 §4.6.3.1).
    ///
    /// # Errors
    /// When the data are no attributes.
    pub fn attributes(&self) -> Result<Vec<Attribute<'_>>, Malformed> {
        Attribute::decode_all(&self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::super::iana::esp_attribute;
    use super::*;
    use proptest::prelude::*;

    fn octets(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    const COOKIES: (Cookie, Cookie) = ([0x11; 8], [0x22; 8]);

    #[test] // RFC 3706 §5.3
    fn r_u_there_carries_both_cookies_and_a_sequence_number() {
        let notify = Notify::isakmp(NotifyType::R_U_THERE, COOKIES.0, COOKIES.1, &[0, 0, 0, 9]);
        let body = octets("00000001 01 10 8d28 1111111111111111 2222222222222222 00000009");
        assert_eq!(notify.encode(), body);
        let decoded = Notify::decode(&body).unwrap();
        assert_eq!((decoded.cookies(), decoded.sequence()), (Some(COOKIES), Some(9)));
        assert_eq!(decoded, notify);
    }

    #[test] // RFC 2407 §4.6.3.1
    fn responder_lifetime_carries_attributes() {
        let data = octets("80010001 0002000400007080");
        let notify = Notify::esp(NotifyType::RESPONDER_LIFETIME, 0xc0de_cafe, &data);
        let body = octets("00000001 03 04 6000 c0decafe 80010001 0002000400007080");
        assert_eq!(notify.encode(), body);
        let decoded = Notify::decode(&body).unwrap();
        assert_eq!(decoded.spi_u32(), Some(0xc0de_cafe));
        let attributes = decoded.attributes().unwrap();
        assert_eq!(attributes[0], Attribute::short(esp_attribute::LIFE_TYPE, esp_attribute::SECONDS));
        assert_eq!(
            (attributes[1].class, attributes[1].as_number()),
            (esp_attribute::LIFE_DURATION, Some(28_800))
        );
    }

    #[test]
    fn a_notification_without_spi_and_data_is_a_whole_one() {
        let body = octets("00000001 01 00 000e");
        let decoded = Notify::decode(&body).unwrap();
        assert_eq!((decoded.kind, decoded.kind.is_error()), (NotifyType::NO_PROPOSAL_CHOSEN, true));
        assert_eq!((decoded.cookies(), decoded.spi_u32(), decoded.sequence()), (None, None, None));
    }

    #[test] // F-36
    fn notifications_that_end_early_are_refused() {
        for body in ["", "00000001 01 00 00", "00000001 03 04 000e c0deca"] {
            assert_eq!(Notify::decode(&octets(body)), Err(Malformed::NotifyTruncated), "{body}");
        }
    }

    proptest! {
        #[test]
        fn notifications_read_as_they_were_written(
            doi: u32, protocol: u8, kind: u16, spi in prop::collection::vec(any::<u8>(), 0..=255), data: Vec<u8>
        ) {
            let notify = Notify {
                doi, protocol: ProtocolId(protocol), kind: NotifyType(kind), spi: spi.into(), data: data.into()
            };
            let body = notify.encode();
            prop_assert_eq!(Notify::decode(&body), Ok(notify));
        }
    }
}
