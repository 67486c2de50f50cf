//! Lifetimes as attributes: a life type and a life duration belong together, whichever comes first.

use crate::wire::Attribute;
use warren_policy::Lifetime;

/// RFC 2407 §4.5: what a missing lifetime means.
pub(crate) const DEFAULT_SECONDS: u32 = 28_800;

const SECONDS: u64 = 1;
const KILOBYTES: u64 = 2;

/// What a peer said about lifetimes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) seconds: Option<u64>,
    pub(crate) kilobytes: Option<u64>,
}

/// The attributes of one lifetime, in seconds and perhaps kilobytes.
pub(crate) fn attributes(
    (type_class, duration_class): (u16, u16),
    seconds: u32,
    kilobytes: Option<u64>,
) -> Vec<Attribute<'static>> {
    let pair = |kind: u64, value: u64| {
        [Attribute::number(type_class, kind), Attribute::number(duration_class, value)]
    };
    let mut attributes = pair(SECONDS, u64::from(seconds)).to_vec();
    attributes.extend(kilobytes.into_iter().flat_map(|kilobytes| pair(KILOBYTES, kilobytes)));
    attributes
}

impl Life {
    pub(crate) fn of(attributes: &[Attribute<'_>], (type_class, duration_class): (u16, u16)) -> Self {
        let mut life = Self::default();
        let (mut kind, mut duration) = (None, None);
        for attribute in attributes {
            if attribute.class == type_class {
                kind = attribute.as_number();
            } else if attribute.class == duration_class {
                duration = attribute.as_number();
            }
            if let (Some(unit), Some(value)) = (kind, duration) {
                match unit {
                    SECONDS => life.seconds = Some(value),
                    KILOBYTES => life.kilobytes = Some(value),
                    _ => {}
                }
                (kind, duration) = (None, None);
            }
        }
        life
    }

    /// The shorter of what we want and what the peer said.
    pub(crate) fn bounded(&self, ours: Lifetime) -> Lifetime {
        let seconds = self.seconds.unwrap_or(u64::from(DEFAULT_SECONDS)).min(u64::from(ours.seconds));
        let kilobytes = match (ours.kilobytes, self.kilobytes) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Lifetime { seconds: u32::try_from(seconds).unwrap_or(u32::MAX), kilobytes }
    }

    /// The same for phase 1, whose lifetime is in seconds only.
    pub(crate) fn bounded_seconds(&self, ours: u32) -> u32 {
        self.bounded(Lifetime { seconds: ours, kilobytes: None }).seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASSES: (u16, u16) = (1, 2);

    #[test]
    fn type_and_duration_belong_together_in_either_order_and_form() {
        let long =
            |class, value: &'static [u8]| Attribute { class, value: crate::wire::Value::Long(value.into()) };
        let life = Life { seconds: Some(3600), kilobytes: Some(500_000) };
        assert_eq!(Life::of(&attributes(CLASSES, 3600, Some(500_000)), CLASSES), life);
        let swapped = [
            long(2, &[0, 0, 0x0e, 0x10]),
            Attribute::short(1, 1),
            Attribute::short(9, 9),
            long(1, &[0, 0, 0, 2]),
            long(2, &[7, 0xa1, 0x20]),
        ];
        assert_eq!(Life::of(&swapped, CLASSES), life);
        assert_eq!(Life::of(&[Attribute::short(1, 1)], CLASSES), Life::default());
    }

    #[test]
    fn the_shorter_lifetime_wins() {
        let ours = Lifetime { seconds: 3600, kilobytes: Some(100) };
        let bounded = |seconds, kilobytes| Life { seconds, kilobytes }.bounded(ours);
        assert_eq!(bounded(Some(60), None), Lifetime { seconds: 60, kilobytes: Some(100) });
        assert_eq!(bounded(Some(u64::MAX), Some(7)), Lifetime { seconds: 3600, kilobytes: Some(7) });
        assert_eq!(bounded(None, None).seconds, 3600);
        assert_eq!(Life::default().bounded_seconds(100_000), DEFAULT_SECONDS);
    }
}
