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
