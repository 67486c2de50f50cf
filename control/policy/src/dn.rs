//! Distinguished names as people write them: `CN=left.test, O=Example`, in the order of the DER.
//!
//! Identities are compared octet for octet, and one text can be encoded in several ways. The usual one is written
//! from text; DER that is another one has no text here, and is shown in hexadecimal digits.

use crate::limits::NAME_OCTETS_MAX;

/// A kind of attribute: its name, its object identifier, and the tag of the string that it usually is.
type Kind = (&'static str, &'static [u8], u8);

const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const OBJECT_IDENTIFIER: u8 = 0x06;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;

const KINDS: [Kind; 9] = [
    ("CN", &[0x55, 4, 3], UTF8_STRING),
    ("SERIALNUMBER", &[0x55, 4, 5], PRINTABLE_STRING),
    ("C", &[0x55, 4, 6], PRINTABLE_STRING),
    ("L", &[0x55, 4, 7], UTF8_STRING),
    ("ST", &[0x55, 4, 8], UTF8_STRING),
    ("O", &[0x55, 4, 10], UTF8_STRING),
    ("OU", &[0x55, 4, 11], UTF8_STRING),
    ("DC", &[0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25], IA5_STRING),
    ("E", &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1], IA5_STRING),
];

/// Whether the text starts like a distinguished name: with one of the attributes that we know.
pub(crate) fn is_like(text: &str) -> bool {
    text.split_once('=').is_some_and(|(name, _)| KINDS.iter().any(|(known, ..)| *known == name.trim()))
}

/// The usual DER of a name; `None` for what is none, or needs characters that would have to be escaped.
pub(crate) fn encode(text: &str) -> Option<Vec<u8>> {
    if text.len() > NAME_OCTETS_MAX {
        return None;
    }
    let attribute = |part: &str| {
        let (name, value) = part.split_once('=')?;
        let (name, value) = (name.trim(), value.trim());
        let (_, oid, tag) = KINDS.iter().find(|(known, ..)| *known == name)?;
        let escaped =
            |c: char| matches!(c, ',' | '+' | '=' | '"' | '\\' | '<' | '>' | ';' | '#') || c.is_control();
        if value.is_empty() || value.contains(escaped) || (*tag != UTF8_STRING && !value.is_ascii()) {
            return None;
        }
        let pair = [element(OBJECT_IDENTIFIER, oid), element(*tag, value.as_bytes())].concat();
        Some(element(SET, &element(SEQUENCE, &pair)))
    };
    let attributes: Vec<Vec<u8>> = text.split(',').map(attribute).collect::<Option<_>>()?;
    Some(element(SEQUENCE, &attributes.concat()))
}

/// The text of a name, where the text gives this DER again.
pub(crate) fn decode(der: &[u8]) -> Option<String> {
    let (mut names, []) = take(SEQUENCE, der)? else { return None };
    let mut text = Vec::new();
    while !names.is_empty() {
        let (set, rest) = take(SET, names)?;
        let (pair, []) = take(SEQUENCE, set)? else { return None };
        let (oid, string) = take(OBJECT_IDENTIFIER, pair)?;
        let (name, _, tag) = KINDS.iter().find(|(_, known, _)| *known == oid)?;
        let (value, []) = take(*tag, string)? else { return None };
        text.push(format!("{name}={}", std::str::from_utf8(value).ok()?));
        names = rest;
    }
    let text = text.join(", ");
    (encode(&text)? == der).then_some(text)
}

fn element(tag: u8, content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let header = match length {
        0..0x80 => vec![tag, length as u8],
        0x80..0x100 => vec![tag, 0x81, length as u8],
        _ => vec![tag, 0x82, (length >> 8) as u8, length as u8],
    };
    [&header[..], content].concat()
}

/// The content of the element at the front, and what is behind it.
fn take(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match der {
        [first, 0x81, length, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x82, high, low, rest @ ..] if *first == tag => {
            (usize::from(*high) << 8 | usize::from(*low), rest)
        }
        [first, length, rest @ ..] if *first == tag && *length < 0x80 => (usize::from(*length), rest),
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The subject of a certificate made by OpenSSL: CN=left.test, O=Warren test.
    const SUBJECT: [u8; 44] = *b"\x30\x2a\x31\x12\x30\x10\x06\x03\x55\x04\x03\x0c\x09left.test\
        \x31\x14\x30\x12\x06\x03\x55\x04\x0a\x0c\x0bWarren test";

    #[test]
    fn the_subject_of_a_certificate_reads_as_people_write_it() {
        assert_eq!(decode(&SUBJECT).as_deref(), Some("CN=left.test, O=Warren test"));
        for text in
            ["CN=left.test, O=Warren test", "CN=left.test,O=Warren test", " CN = left.test ,O= Warren test "]
        {
            assert_eq!(encode(text).as_deref(), Some(&SUBJECT[..]), "{text}");
        }
    }

    #[test] // F-22
    fn der_that_is_not_the_usual_one_has_no_text() {
        let mut printable = SUBJECT;
        printable[11] = PRINTABLE_STRING;
        let mut unknown = SUBJECT;
        unknown[10] = 99;
        let mut comma = SUBJECT;
        comma[15] = b',';
        for der in [&printable[..], &unknown, &comma, &SUBJECT[..43], &[0x30, 0], &[]] {
            assert_eq!(decode(der), None);
        }
    }

    #[test]
    fn text_that_is_no_name_has_no_der() {
        for text in
            ["", "CN", "CN=", "XY=a", "CN=a,", "CN=a, b", "CN=a\\,b", "CN=a+O=b", "C=\u{e9}", "CN=a\nb"]
        {
            assert_eq!(encode(text), None, "{text:?}");
        }
        assert!(
            is_like("CN=a") && is_like("DC = test, DC=left") && !is_like("left.test") && !is_like("a=b@test")
        );
    }

    proptest! {
        #[test]
        fn every_name_survives_the_round_trip(
            parts in prop::collection::vec((0usize..9, "[a-zA-Z0-9.@-]{1,200}"), 1..6)
        ) {
            let text: Vec<String> =
                parts.iter().map(|(kind, value)| format!("{}={value}", KINDS[*kind].0)).collect();
            let text = text.join(", ");
            let der = encode(&text).unwrap();
            prop_assert!(crate::identity::is_sequence(&der));
            prop_assert_eq!(decode(&der), Some(text));
        }

        #[test] // F-36
        fn no_octets_panic(der: Vec<u8>, text in "\\PC{0,40}") {
            let _ = (decode(&der), encode(&text), is_like(&text));
        }
    }
}
