//! What must hold for any bytes at all: decoding ends without a panic, and what was decoded, written again and
//! decoded again, is the same. The golden tests and the fuzz targets call these same functions.

use warren_ike::wire::nat::{decode_original_address, encode_original_address};
use warren_ike::wire::vendor::Vendor;
use warren_ike::wire::{
    Attribute, Body, ConfigAttribute, Delete, Fragment, HEADER_OCTETS, Header, Identification, Malformed,
    Notify, PayloadType, Sa, SetMessage, SplitForm, Traffic, Transaction, Value,
};

/// A datagram without non-ESP marker. The result is for counting; every property is asserted.
pub(crate) fn datagram(octets: &[u8]) -> Result<(), Malformed> {
    let (header, rest) = Header::decode(octets)?;
    assert_eq!(rest.len() + HEADER_OCTETS, header.length as usize);
    assert_eq!(header.encode_with(header.next_payload, rest), octets[..header.length as usize]);
    if header.is_encrypted() {
        return Ok(());
    }
    body(header.next_payload, rest)
}

/// A chain of payloads, and each payload in it.
pub(crate) fn body(next: PayloadType, octets: &[u8]) -> Result<(), Malformed> {
    let decoded = Body::decode(next, octets)?;
    let chain = decoded.to_chain();
    assert_eq!(
        octets.strip_prefix(chain.octets()),
        Some(decoded.padding()),
        "payloads, then padding, nothing else"
    );
    assert_eq!(chain.first(), if decoded.payloads().is_empty() { PayloadType::NONE } else { next });
    if let Some(first) = decoded.payloads().first() {
        assert_eq!([first.raw, decoded.after_first()].concat(), chain.octets());
    }
    decoded.payloads().iter().try_for_each(|found| payload(found.kind, found.body))
}

/// The body of one payload.
pub(crate) fn payload(kind: PayloadType, body: &[u8]) -> Result<(), Malformed> {
    match kind {
        PayloadType::SA => sa(body),
        PayloadType::IDENTIFICATION => identification(body),
        PayloadType::NOTIFY => notify(body),
        PayloadType::DELETE => delete(body),
        PayloadType::ATTRIBUTES => configuration(body),
        PayloadType::NAT_OA => original_address(body),
        PayloadType::FRAGMENT => fragment(body),
        PayloadType::VENDOR_ID => {
            let _ = Vendor::of(body);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The body of a fragment payload. Unknown flags are not kept, so values are compared.
pub(crate) fn fragment(body: &[u8]) -> Result<(), Malformed> {
    let decoded = Fragment::decode(body)?;
    assert_eq!(Fragment::decode(&decoded.encode()), Ok(decoded));
    Ok(())
}

/// The body of an SA payload. Two reserved octets of each transform are not kept, so values are compared.
pub(crate) fn sa(body: &[u8]) -> Result<(), Malformed> {
    let decoded = Sa::decode(body)?;
    let written = decoded.encode();
    assert_eq!(written.len(), body.len());
    assert_eq!(Sa::decode(&written).as_ref(), Ok(&decoded));
    for proposal in &decoded.proposals {
        assert_eq!(proposal.spi_u32().is_some(), proposal.spi.len() == 4);
        for attribute in proposal.transforms.iter().flat_map(|transform| &transform.attributes) {
            number(attribute);
        }
    }
    Ok(())
}

/// The number in an attribute, compared with the last eight octets of its value.
fn number(attribute: &Attribute<'_>) {
    let octets = match &attribute.value {
        Value::Short(value) => return assert_eq!(attribute.as_number(), Some(u64::from(*value))),
        Value::Long(octets) => octets,
    };
    let (zeros, low) = octets.split_at(octets.len().saturating_sub(8));
    let mut padded = [0; 8];
    padded[8 - low.len()..].copy_from_slice(low);
    let fits = !octets.is_empty() && zeros.iter().all(|octet| *octet == 0);
    let number = fits.then_some(u64::from_be_bytes(padded));
    assert_eq!(attribute.as_number(), number);
    if let Some(number) = number {
        assert_eq!(Attribute::number(attribute.class, number).as_number(), Some(number));
    }
}

/// The attributes of a transform or a notification.
pub(crate) fn attributes(octets: &[u8]) -> Result<(), Malformed> {
    let mut written = Vec::new();
    for attribute in Attribute::decode_all(octets)? {
        attribute.encode(&mut written);
        number(&attribute);
    }
    assert_eq!(written, octets);
    Ok(())
}

/// The body of an Identification payload, and what it says as an identity and as traffic.
pub(crate) fn identification(body: &[u8]) -> Result<(), Malformed> {
    let decoded = Identification::decode(body)?;
    assert_eq!(decoded.encode(), body);
    if let Ok(identity) = decoded.identity() {
        let again = Identification::of_identity(&identity);
        assert_eq!((again.kind, &again.data), (decoded.kind, &decoded.data));
    }
    if let Ok(traffic) = decoded.traffic() {
        let again = Identification::of_traffic(&traffic).expect("what a payload said, a payload can say");
        assert_eq!(again.traffic(), Ok(traffic));
        let selector = traffic.to(&traffic).expect("one family, one protocol");
        assert_eq!((Traffic::source(&selector), Traffic::destination(&selector)), (traffic, traffic));
    }
    Ok(())
}

/// The body of a Notify payload.
pub(crate) fn notify(body: &[u8]) -> Result<(), Malformed> {
    let decoded = Notify::decode(body)?;
    assert_eq!(decoded.encode(), body);
    let _ = (decoded.cookies(), decoded.spi_u32(), decoded.sequence());
    if decoded.attributes().is_ok() {
        attributes(&decoded.data)?;
    }
    Ok(())
}

/// The body of a Delete payload.
pub(crate) fn delete(body: &[u8]) -> Result<(), Malformed> {
    let decoded = Delete::decode(body)?;
    assert_eq!(decoded.encode(), body);
    let spis = decoded.spis().count();
    assert!(decoded.esp_spis().count() <= spis && decoded.cookies().count() <= spis);
    Ok(())
}

/// The body of an Attributes payload. Its padding is not kept, so values are compared. What has a meaning keeps it;
/// a refused set is the one thing that is never sent.
pub(crate) fn configuration(body: &[u8]) -> Result<(), Malformed> {
    let decoded = Transaction::decode(body)?;
    let written = decoded.encode();
    assert!(written.len() <= body.len());
    assert_eq!(Transaction::decode(&written).as_ref(), Ok(&decoded));
    for meaning in ConfigAttribute::decode_all(decoded.kind, &decoded.attributes)? {
        if matches!(meaning, ConfigAttribute::PolicySet(SetMessage::Refused { .. })) {
            continue;
        }
        // Replacing what is no UTF-8 may have made a text too long.
        let Some(attribute) = meaning.encode(SplitForm::Long) else { continue };
        assert_eq!(ConfigAttribute::decode_all(decoded.kind, &[attribute]), Ok(vec![meaning]));
    }
    Ok(())
}

/// The body of a NAT-OA payload. Its reserved octets are not kept, so values are compared.
pub(crate) fn original_address(body: &[u8]) -> Result<(), Malformed> {
    let address = decode_original_address(body)?;
    assert_eq!(decode_original_address(&encode_original_address(address)), Ok(address));
    Ok(())
}
