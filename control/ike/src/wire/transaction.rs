//! The Attributes payload (draft-dukes-ike-mode-cfg §3.2): what a message of the transaction exchange says.

use super::attribute::{Attribute, Value};
use super::iana::ConfigType;
use super::limits::CONFIG_ATTRIBUTES_MAX;
use super::malformed::Malformed;
use super::reader::Reader;

/// One Attributes payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// Question or answer.
    pub kind: ConfigType,
    /// The questioner's name for the transaction; the answer repeats it.
    pub identifier: u16,
    /// Its attributes, in order.
    pub attributes: Vec<Attribute<'a>>,
}

impl<'a> Transaction<'a> {
    /// Decodes the body of an Attributes payload. Zero octets among or behind the attributes are padding: some peers
    /// pad inside the payload, and attribute zero is reserved.
    ///
    /// # Errors
    /// When it is too short, an attribute ends early, or there are more than [`CONFIG_ATTRIBUTES_MAX`].
    pub fn decode(body: &'a [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(body);
        let [kind, _reserved] = reader.array().ok_or(Malformed::AttributesTruncated)?;
        let identifier = reader.u16().ok_or(Malformed::AttributesTruncated)?;
        let mut attributes = Vec::new();
        while !matches!(reader.rest(), [] | [0] | [0, 0] | [0, 0, 0]) {
            let attribute = Attribute::decode(&mut reader).ok_or(Malformed::AttributeTruncated)?;
            if attribute.class == 0 && is_empty(&attribute) {
                continue;
            }
            if attributes.len() == CONFIG_ATTRIBUTES_MAX {
                return Err(Malformed::TooManyAttributes);
            }
            attributes.push(attribute);
        }
        Ok(Self { kind: ConfigType(kind), identifier, attributes })
    }

    /// The body of the payload.
    ///
    /// # Panics
    /// Like [`Attribute::encode`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let [high, low] = self.identifier.to_be_bytes();
        let mut octets = vec![self.kind.0, 0, high, low];
        self.attributes.iter().for_each(|attribute| attribute.encode(&mut octets));
        octets
    }

    /// The first attribute of that class.
    #[must_use]
    pub fn attribute(&self, class: u16) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.class == class)
    }
}

fn is_empty(attribute: &Attribute<'_>) -> bool {
    matches!(&attribute.value, Value::Long(octets) if octets.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn octets(text: &str) -> Vec<u8> {
        hex::decode(text.replace(' ', "")).unwrap()
    }

    #[test] // DC-5
    fn a_reply_stands_where_the_draft_puts_it() {
        // As strongSwan sent it.
        let body = octets("02000000 00010004 0a5d0011 00030004 0a5c0035 70040008 0a5c0000ffffff00");
        let reply = Transaction::decode(&body).unwrap();
        assert_eq!((reply.kind, reply.identifier), (ConfigType::REPLY, 0));
        let classes: Vec<u16> = reply.attributes.iter().map(|attribute| attribute.class).collect();
        assert_eq!(classes, [1, 3, 28_676]);
        assert_eq!(reply.encode(), body);
    }

    #[test]
    fn zero_octets_are_padding_wherever_they_stand() {
        let plain = octets("01001234 00010000 c09f0001");
        let expected = Transaction::decode(&plain).unwrap();
        assert_eq!(expected.attributes, [Attribute::long(1, vec![]).unwrap(), Attribute::short(0x409f, 1)]);
        for padded in [
            "01001234 00010000 c09f0001 00",
            "01001234 00010000 c09f0001 0000",
            "01001234 00010000 c09f0001 000000",
            "01001234 00010000 c09f0001 00000000000000",
            "01001234 00010000 00000000 c09f0001",
            "01ff1234 00000000 00010000 c09f0001 0000",
        ] {
            assert_eq!(Transaction::decode(&octets(padded)).as_ref(), Ok(&expected), "{padded}");
        }
    }

    #[test] // F-36
    fn payloads_that_break_a_rule_are_refused_for_it() {
        for (body, reason) in [
            ("", Malformed::AttributesTruncated),
            ("010000", Malformed::AttributesTruncated),
            ("01000000 0001", Malformed::AttributeTruncated),
            ("01000000 00010004 0a0000", Malformed::AttributeTruncated),
            ("01000000 8001", Malformed::AttributeTruncated),
            ("01000000 0001ffff 00", Malformed::AttributeTruncated),
        ] {
            assert_eq!(Transaction::decode(&octets(body)), Err(reason), "{body}");
        }
        let many = |count: usize| [vec![1, 0, 0, 0], [0x80, 1, 0, 1].repeat(count)].concat();
        assert!(Transaction::decode(&many(CONFIG_ATTRIBUTES_MAX)).is_ok());
        assert_eq!(Transaction::decode(&many(CONFIG_ATTRIBUTES_MAX + 1)), Err(Malformed::TooManyAttributes));
    }

    proptest! {
        #[test]
        fn a_transaction_reads_as_it_was_written(
            kind: u8,
            identifier: u16,
            attributes in prop::collection::vec(
                (1u16..0x8000, prop::result::maybe_err(any::<u16>(), any::<Vec<u8>>())), 0..20),
        ) {
            let attributes = attributes
                .into_iter()
                .map(|(class, value)| match value {
                    Ok(value) => Attribute::short(class, value),
                    Err(octets) => Attribute::long(class, octets).unwrap(),
                })
                .collect();
            let transaction = Transaction { kind: ConfigType(kind), identifier, attributes };
            let body = transaction.encode();
            prop_assert_eq!(Transaction::decode(&body), Ok(transaction));
        }

        #[test] // F-36
        fn no_octets_panic(body: Vec<u8>) {
            let _ = Transaction::decode(&body);
        }
    }
}
