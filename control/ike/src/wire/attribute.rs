//! Data attributes (RFC 2408 §3.3): a class, and a value of two octets (TV) or of any length (TLV).

use super::limits::ATTRIBUTES_MAX;
use super::malformed::Malformed;
use super::reader::Reader;
use std::borrow::Cow;

/// Attribute format bit: set for TV.
const SHORT: u16 = 0x8000;

/// The value of an attribute, in the form in which it travels.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value<'a> {
    /// TV: two octets.
    Short(u16),
    /// TLV: any number of octets.
    Long(Cow<'a, [u8]>),
}

/// One attribute. Classes mean different things in phase 1, phase 2 and mode configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attribute<'a> {
    /// Its class, 15 bits.
    pub class: u16,
    /// Its value.
    pub value: Value<'a>,
}

impl<'a> Attribute<'a> {
    /// An attribute in TV form.
    #[must_use]
    pub const fn short(class: u16, value: u16) -> Self {
        Self { class, value: Value::Short(value) }
    }

    /// A number in the form every peer expects: TV where it fits, else a TLV of four or eight octets.
    #[must_use]
    pub fn number(class: u16, value: u64) -> Self {
        let value = match (u16::try_from(value), u32::try_from(value)) {
            (Ok(short), _) => Value::Short(short),
            (_, Ok(long)) => Value::Long(long.to_be_bytes().to_vec().into()),
            _ => Value::Long(value.to_be_bytes().to_vec().into()),
        };
        Self { class, value }
    }

    /// The value as a number, whichever form it has and however many leading zeros; `None` for an empty value
    /// and for one beyond 64 bits.
    #[must_use]
    pub fn as_number(&self) -> Option<u64> {
        match &self.value {
            Value::Short(value) => Some(u64::from(*value)),
            Value::Long(octets) if octets.is_empty() => None,
            Value::Long(octets) => {
                octets.iter().try_fold(0u64, |sum, octet| Some(sum.checked_mul(256)? | u64::from(*octet)))
            }
        }
    }

    /// An attribute in TLV form; `None` for a value beyond the 16-bit length.
    pub(super) fn long(class: u16, octets: Vec<u8>) -> Option<Self> {
        u16::try_from(octets.len()).ok()?;
        Some(Self { class, value: Value::Long(octets.into()) })
    }

    /// The octets of the value, whichever form it has.
    #[must_use]
    pub fn octets(&self) -> Cow<'_, [u8]> {
        match &self.value {
            Value::Short(value) => value.to_be_bytes().to_vec().into(),
            Value::Long(octets) => Cow::Borrowed(octets),
        }
    }

    /// Decodes attributes up to the end of `octets`.
    ///
    /// # Errors
    /// When one ends early, or for more than [`ATTRIBUTES_MAX`].
    pub fn decode_all(octets: &'a [u8]) -> Result<Vec<Self>, Malformed> {
        Self::decode_up_to(octets, ATTRIBUTES_MAX)
    }

    /// Like [`Attribute::decode_all`], with another limit.
    pub(super) fn decode_up_to(octets: &'a [u8], most: usize) -> Result<Vec<Self>, Malformed> {
        let mut reader = Reader::new(octets);
        let mut attributes = Vec::new();
        while !reader.is_empty() {
            if attributes.len() == most {
                return Err(Malformed::TooManyAttributes);
            }
            attributes.push(Self::decode(&mut reader).ok_or(Malformed::AttributeTruncated)?);
        }
        Ok(attributes)
    }

    pub(super) fn decode(reader: &mut Reader<'a>) -> Option<Self> {
        let (format_and_class, value_or_length) = (reader.u16()?, reader.u16()?);
        let value = if format_and_class & SHORT != 0 {
            Value::Short(value_or_length)
        } else {
            Value::Long(Cow::Borrowed(reader.take(usize::from(value_or_length))?))
        };
        Some(Self { class: format_and_class & !SHORT, value })
    }

    /// Appends the attribute.
    ///
    /// # Panics
    /// For a class beyond 15 bits or a value beyond a 16-bit length: neither is ever built.
    pub fn encode(&self, octets: &mut Vec<u8>) {
        assert!(self.class < SHORT, "{} is no attribute class", self.class);
        match &self.value {
            Value::Short(value) => {
                octets.extend_from_slice(&(self.class | SHORT).to_be_bytes());
                octets.extend_from_slice(&value.to_be_bytes());
            }
            Value::Long(value) => {
                assert!(u16::try_from(value.len()).is_ok(), "an attribute of {} octets", value.len());
                octets.extend_from_slice(&self.class.to_be_bytes());
                octets.extend_from_slice(&(value.len() as u16).to_be_bytes());
                octets.extend_from_slice(value);
            }
        }
    }

    /// The same attribute, owning its value.
    #[must_use]
    pub fn into_owned(self) -> Attribute<'static> {
        let value = match self.value {
            Value::Short(value) => Value::Short(value),
            Value::Long(value) => Value::Long(Cow::Owned(value.into_owned())),
        };
        Attribute { class: self.class, value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn long(class: u16, octets: &[u8]) -> Attribute<'_> {
        Attribute { class, value: Value::Long(octets.into()) }
    }

    #[test]
    fn both_forms_are_told_apart_by_the_first_bit() {
        let octets = [0x80, 1, 0, 7, 0, 12, 0, 4, 0, 1, 0x51, 0x80, 0xff, 0xff, 0, 0, 0x40, 0, 0, 0];
        let expected = [
            Attribute::short(1, 7),
            long(12, &[0, 1, 0x51, 0x80]),
            Attribute::short(0x7fff, 0),
            long(0x4000, &[]),
        ];
        assert_eq!(Attribute::decode_all(&octets).as_deref(), Ok(&expected[..]));
    }

    #[test]
    fn a_number_reads_the_same_in_either_form_and_any_length() {
        for (octets, number) in [
            (&[][..], None),
            (&[7], Some(7)),
            (&[0, 0, 0x70, 0x80], Some(28_800)),
            (&[0, 0, 0, 0, 0, 0, 0, 0, 0, 1], Some(1)),
            (&[0xff; 8], Some(u64::MAX)),
            (&[1, 0, 0, 0, 0, 0, 0, 0, 0], None),
        ] {
            assert_eq!(long(12, octets).as_number(), number, "{octets:?}");
        }
        assert_eq!(Attribute::short(12, 28_800).as_number(), Some(28_800));
    }

    #[test]
    fn a_number_travels_in_the_form_every_peer_expects() {
        assert_eq!(Attribute::number(2, 65_535), Attribute::short(2, 65_535));
        assert_eq!(Attribute::number(2, 65_536), long(2, &[0, 1, 0, 0]));
        assert_eq!(Attribute::number(2, 1 << 32), long(2, &[0, 0, 0, 1, 0, 0, 0, 0]));
    }

    #[test] // F-36
    fn attributes_that_end_early_are_refused() {
        for octets in [&[0][..], &[0x80, 1, 0], &[0, 1, 0, 1], &[0, 1, 0xff, 0xff, 0], &[0x80, 1, 0, 1, 0]] {
            assert_eq!(Attribute::decode_all(octets), Err(Malformed::AttributeTruncated), "{octets:?}");
        }
        let most = [0x80, 1, 0, 1].repeat(ATTRIBUTES_MAX);
        assert_eq!(Attribute::decode_all(&most).map(|found| found.len()), Ok(ATTRIBUTES_MAX));
        let more = [0x80, 1, 0, 1].repeat(ATTRIBUTES_MAX + 1);
        assert_eq!(Attribute::decode_all(&more), Err(Malformed::TooManyAttributes));
    }

    proptest! {
        #[test]
        fn attributes_read_as_they_were_written(
            attributes in prop::collection::vec(
                (0u16..0x8000, prop::result::maybe_err(any::<u16>(), any::<Vec<u8>>())), 0..ATTRIBUTES_MAX)
        ) {
            let attributes: Vec<_> = attributes
                .iter()
                .map(|(class, value)| match value {
                    Ok(value) => Attribute::short(*class, *value),
                    Err(octets) => long(*class, octets),
                })
                .collect();
            let mut octets = Vec::new();
            attributes.iter().for_each(|attribute| attribute.encode(&mut octets));
            prop_assert_eq!(Attribute::decode_all(&octets).unwrap(), attributes);
        }

        #[test]
        fn a_number_survives_the_round_trip(class in 0u16..0x8000, number: u64) {
            let attribute = Attribute::number(class, number);
            prop_assert_eq!(attribute.as_number(), Some(number));
            prop_assert_eq!(attribute.clone().into_owned(), attribute);
        }
    }
}
