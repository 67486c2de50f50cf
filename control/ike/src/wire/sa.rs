//! The Security Association payload (RFC 2408 §3.4–3.6, RFC 2407 §4.6.1): proposals, their transforms, and
//! the transforms' attributes, three levels of payloads inside one.
//!
//! Decoding is tolerant where the RFCs let peers differ: proposals and transforms may be numbered from anywhere,
//! attributes come in any order and form, unknown ones are kept. An answer that repeats a decoded transform
//! repeats its attributes octet for octet, which RFC 2409 §5 demands.

use super::attribute::Attribute;
use super::chain::append;
use super::iana::{DOI_IPSEC, PayloadType, ProtocolId, SITUATION_IDENTITY_ONLY};
use super::limits::{PROPOSALS_MAX, TRANSFORMS_MAX};
use super::malformed::Malformed;
use super::payload::generic;
use super::reader::Reader;
use std::borrow::Cow;

/// An SA payload of the IPsec DOI, situation SIT_IDENTITY_ONLY. HASH_I is computed over the payload's body as
/// it was sent, so whoever decodes one keeps those octets too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sa<'a> {
    /// In the sender's order. Proposals of the same number belong together: all of them or none.
    pub proposals: Vec<Proposal<'a>>,
}

/// A protocol and alternative ways to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal<'a> {
    /// Its number, from wherever the sender started counting.
    pub number: u8,
    /// Which protocol it is for.
    pub protocol: ProtocolId,
    /// The sender's SPI: empty (or a cookie, to be ignored) in phase 1, four octets for ESP.
    pub spi: Cow<'a, [u8]>,
    /// In the sender's order; one of them is to be chosen.
    pub transforms: Vec<Transform<'a>>,
}

/// One way to run a protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform<'a> {
    /// Its number, from wherever the sender started counting.
    pub number: u8,
    /// Transform identifier: KEY_IKE in phase 1, the cipher for ESP.
    pub id: u8,
    /// In the sender's order.
    pub attributes: Vec<Attribute<'a>>,
}

impl<'a> Sa<'a> {
    /// Decodes the body of an SA payload.
    ///
    /// # Errors
    /// For the first rule that is broken.
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let doi = reader.u32().ok_or(Malformed::SaTruncated)?;
        if doi != DOI_IPSEC {
            return Err(Malformed::DoiUnknown);
        }
        let situation = reader.u32().ok_or(Malformed::SaTruncated)?;
        if situation != SITUATION_IDENTITY_ONLY {
            return Err(Malformed::SituationUnknown);
        }
        let mut transforms_left = TRANSFORMS_MAX;
        let mut proposals = Vec::new();
        loop {
            if proposals.len() == PROPOSALS_MAX {
                return Err(Malformed::TooManyProposals);
            }
            let (next, _, body) = generic(&mut reader)?;
            proposals.push(Proposal::decode(body, &mut transforms_left)?);
            match next {
                PayloadType::PROPOSAL => {}
                PayloadType::NONE if reader.is_empty() => return Ok(Self { proposals }),
                PayloadType::NONE => return Err(Malformed::SaTrailingOctets),
                _ => return Err(Malformed::ProposalExpected),
            }
        }
    }

    /// The body of an SA payload.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut octets = Vec::new();
        octets.extend_from_slice(&DOI_IPSEC.to_be_bytes());
        octets.extend_from_slice(&SITUATION_IDENTITY_ONLY.to_be_bytes());
        for (at, proposal) in self.proposals.iter().enumerate() {
            let last = at + 1 == self.proposals.len();
            let next = if last { PayloadType::NONE } else { PayloadType::PROPOSAL };
            append(&mut octets, next, &proposal.encode());
        }
        octets
    }
}

impl<'a> Proposal<'a> {
    fn decode(body: &'a [u8], transforms_left: &mut usize) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let [number, protocol, spi_octets, count] = reader.array().ok_or(Malformed::ProposalTruncated)?;
        let spi = reader.take(usize::from(spi_octets)).ok_or(Malformed::ProposalTruncated)?;
        let transforms = decode_transforms(&mut reader, transforms_left)?;
        if transforms.len() != usize::from(count) {
            return Err(Malformed::TransformCount);
        }
        Ok(Self { number, protocol: ProtocolId(protocol), spi: Cow::Borrowed(spi), transforms })
    }

    fn encode(&self) -> Vec<u8> {
        let (spi_octets, count) = (self.spi.len(), self.transforms.len());
        assert!(spi_octets <= 255 && count <= 255, "{spi_octets} octets of SPI, {count} transforms");
        let mut octets = vec![self.number, self.protocol.0, spi_octets as u8, count as u8];
        octets.extend_from_slice(&self.spi);
        for (at, transform) in self.transforms.iter().enumerate() {
            let next = if at + 1 == count { PayloadType::NONE } else { PayloadType::TRANSFORM };
            append(&mut octets, next, &transform.encode());
        }
        octets
    }

    /// The four-octet SPI of an ESP or AH proposal.
    #[must_use]
    pub fn spi_u32(&self) -> Option<u32> {
        self.spi.as_ref().try_into().ok().map(u32::from_be_bytes)
    }
}

fn decode_transforms<'a>(reader: &mut Reader<'a>, left: &mut usize) -> Result<Vec<Transform<'a>>, Malformed> {
    let mut transforms = Vec::new();
    while !reader.is_empty() {
        *left = left.checked_sub(1).ok_or(Malformed::TooManyTransforms)?;
        let (next, _, body) = generic(reader)?;
        transforms.push(Transform::decode(body)?);
        match next {
            PayloadType::TRANSFORM if reader.is_empty() => return Err(Malformed::PayloadTruncated),
            PayloadType::TRANSFORM => {}
            PayloadType::NONE if reader.is_empty() => {}
            PayloadType::NONE => return Err(Malformed::SaTrailingOctets),
            _ => return Err(Malformed::TransformExpected),
        }
    }
    Ok(transforms)
}

impl<'a> Transform<'a> {
    fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let [number, id, _, _] = reader.array().ok_or(Malformed::TransformTruncated)?;
        Ok(Self { number, id, attributes: Attribute::decode_all(reader.rest())? })
    }

    fn encode(&self) -> Vec<u8> {
        let mut octets = vec![self.number, self.id, 0, 0];
        self.attributes.iter().for_each(|attribute| attribute.encode(&mut octets));
        octets
    }

    /// The first attribute of that class.
    #[must_use]
    pub fn attribute(&self, class: u16) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.class == class)
    }
}

#[cfg(test)]
mod tests {
    use super::super::iana::{TRANSFORM_KEY_IKE, esp_attribute, esp_transform, ike_attribute};
    use super::*;
    use proptest::prelude::*;

    fn octets(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    /// Phase 1: AES-CBC-128, SHA2-256, MODP 2048, pre-shared key, 86,400 s as a TLV. Numbered from zero.
    const PHASE_1: &str = "00000001 00000001 00000030 00010001 00000028 00010000 \
        80010007 800e0080 80020004 8004000e 80030001 800b0001 000c000400015180";

    #[test]
    fn a_phase_1_proposal_stands_where_rfc_2408_puts_it() {
        let body = octets(PHASE_1);
        let sa = Sa::decode(&body).unwrap();
        let [proposal] = &sa.proposals[..] else { panic!("{sa:?}") };
        assert_eq!((proposal.number, proposal.protocol, proposal.spi.len()), (0, ProtocolId::ISAKMP, 0));
        let [transform] = &proposal.transforms[..] else { panic!("{proposal:?}") };
        assert_eq!((transform.number, transform.id), (0, TRANSFORM_KEY_IKE));
        let number = |class| transform.attribute(class).and_then(Attribute::as_number);
        assert_eq!(number(ike_attribute::GROUP), Some(14));
        assert_eq!(number(ike_attribute::KEY_LENGTH), Some(128));
        assert_eq!(number(ike_attribute::LIFE_DURATION), Some(86_400));
        assert_eq!(number(ike_attribute::PRF), None);
        assert_eq!(sa.encode(), body);
    }

    #[test]
    fn proposals_with_spis_and_several_transforms_are_written_as_rfc_2408_draws_them() {
        let transform = |number, id, bits| Transform {
            number,
            id,
            attributes: vec![
                Attribute::short(esp_attribute::ENCAPSULATION, esp_attribute::TUNNEL),
                Attribute::short(esp_attribute::KEY_LENGTH, bits),
            ],
        };
        let proposal = |number, transforms| Proposal {
            number,
            protocol: ProtocolId::ESP,
            spi: 0xc0de_cafe_u32.to_be_bytes().to_vec().into(),
            transforms,
        };
        let gcm = esp_transform::AES_GCM_16;
        let sa = Sa {
            proposals: vec![
                proposal(1, vec![transform(1, gcm, 256), transform(2, gcm, 128)]),
                proposal(2, vec![transform(1, esp_transform::AES_CBC, 128)]),
            ],
        };
        let body = octets(
            "00000001 00000001 \
             0200002c 01030402 c0decafe 03000010 01140000 80040001 80060100 00000010 02140000 80040001 80060080 \
             0000001c 02030401 c0decafe 00000010 010c0000 80040001 80060080",
        );
        assert_eq!(sa.encode(), body);
        assert_eq!(Sa::decode(&body), Ok(sa));
        assert_eq!(Sa::decode(&body).unwrap().proposals[0].spi_u32(), Some(0xc0de_cafe));
    }

    #[test] // F-36
    fn bodies_that_break_a_rule_are_refused_for_it() {
        let good = "00000001 00000001 00000014 01030401 c0decafe 00000008 01140000";
        assert!(Sa::decode(&octets(good)).is_ok());
        for (body, reason) in [
            ("000000", Malformed::SaTruncated),
            ("00000000 00000001", Malformed::DoiUnknown),
            ("00000001 000000", Malformed::SaTruncated),
            ("00000001 00000002", Malformed::SituationUnknown),
            ("00000001 00000001", Malformed::PayloadTruncated),
            ("00000001 00000001 00000006 0103", Malformed::ProposalTruncated),
            ("00000001 00000001 0000000a 01030401 c0de", Malformed::ProposalTruncated),
            ("00000001 00000001 05000014 01030401 c0decafe 00000008 01140000", Malformed::ProposalExpected),
            ("00000001 00000001 02000014 01030401 c0decafe 00000008 01140000", Malformed::PayloadTruncated),
            ("00000001 00000001 00000014 01030402 c0decafe 00000008 01140000", Malformed::TransformCount),
            ("00000001 00000001 00000014 01030400 c0decafe 00000008 01140000", Malformed::TransformCount),
            ("00000001 00000001 0000000c 01030401 c0decafe", Malformed::TransformCount),
            ("00000001 00000001 00000014 01030401 c0decafe 03000008 01140000", Malformed::PayloadTruncated),
            ("00000001 00000001 00000014 01030401 c0decafe 04000008 01140000", Malformed::TransformExpected),
            ("00000001 00000001 00000012 01030401 c0decafe 00000006 0114", Malformed::TransformTruncated),
            ("00000001 00000001 00000014 01030401 c0decafe 00000009 01140000", Malformed::PayloadLength),
            (
                "00000001 00000001 00000015 01030401 c0decafe 00000009 01140000 80",
                Malformed::AttributeTruncated,
            ),
            ("00000001 00000001 00000014 01030401 c0decafe 00010008 01140000", Malformed::ReservedNotZero),
            (
                "00000001 00000001 00000015 01030401 c0decafe 00000008 01140000 00",
                Malformed::SaTrailingOctets,
            ),
            (
                "00000001 00000001 00000014 01030401 c0decafe 00000008 01140000 00",
                Malformed::SaTrailingOctets,
            ),
        ] {
            assert_eq!(Sa::decode(&octets(body)), Err(reason), "{body}");
        }
    }

    #[test]
    fn two_hundred_transforms_are_read_and_too_many_are_not() {
        let transform = || Transform { number: 1, id: 1, attributes: Vec::new() };
        let proposal = |count: usize| Proposal {
            number: 1,
            protocol: ProtocolId::ISAKMP,
            spi: Cow::Borrowed(&[]),
            transforms: (0..count).map(|_| transform()).collect(),
        };
        let many = Sa { proposals: vec![proposal(200)] };
        assert_eq!(Sa::decode(&many.encode()), Ok(many));
        let at_the_limit = Sa { proposals: (0..TRANSFORMS_MAX / 128).map(|_| proposal(128)).collect() };
        assert!(Sa::decode(&at_the_limit.encode()).is_ok());
        let beyond = Sa { proposals: (0..=TRANSFORMS_MAX / 128).map(|_| proposal(128)).collect() };
        assert_eq!(Sa::decode(&beyond.encode()), Err(Malformed::TooManyTransforms));
        let proposals = Sa { proposals: (0..=PROPOSALS_MAX).map(|_| proposal(0)).collect() };
        assert_eq!(Sa::decode(&proposals.encode()), Err(Malformed::TooManyProposals));
    }

    fn any_transform() -> impl Strategy<Value = Transform<'static>> {
        let value = (0u16..0x8000, any::<u64>());
        (any::<u8>(), any::<u8>(), prop::collection::vec(value, 0..8)).prop_map(|(number, id, values)| {
            Transform {
                number,
                id,
                attributes: values
                    .into_iter()
                    .map(|(class, value)| Attribute::number(class, value >> (class % 64)))
                    .collect(),
            }
        })
    }

    fn any_proposal() -> impl Strategy<Value = Proposal<'static>> {
        let transforms = prop::collection::vec(any_transform(), 0..6);
        (any::<u8>(), any::<u8>(), prop::collection::vec(any::<u8>(), 0..20), transforms).prop_map(
            |(number, protocol, spi, transforms)| Proposal {
                number,
                protocol: ProtocolId(protocol),
                spi: spi.into(),
                transforms,
            },
        )
    }

    proptest! {
        #[test]
        fn an_sa_reads_as_it_was_written(proposals in prop::collection::vec(any_proposal(), 1..6)) {
            let sa = Sa { proposals };
            let body = sa.encode();
            prop_assert_eq!(Sa::decode(&body), Ok(sa));
        }

        #[test] // F-36
        fn no_octets_panic(rest: Vec<u8>) {
            let _ = Sa::decode(&rest);
            let _ = Sa::decode(&[&[0, 0, 0, 1, 0, 0, 0, 1][..], &rest].concat());
        }
    }
}
