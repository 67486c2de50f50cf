//! Amounts with their unit: `30s`, `1h30m`, `50GiB`. A number without a unit is refused: nobody knows what it meant.

use std::time::Duration;

/// What a duration looks like.
pub(crate) const DURATION_ACCEPTED: &str = "a duration such as `500ms`, `30s`, `5m`, `8h`, `1d` or `1h30m`";
/// What a volume looks like.
pub(crate) const VOLUME_ACCEPTED: &str = "a volume such as `512MiB`, `50GiB`, `1TiB` or `50GB`";

/// Units of time, in milliseconds.
const DURATION_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1000), ("m", 60_000), ("min", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Units of volume, in octets.
const VOLUME_UNITS: &[(&str, u64)] = &[
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
];

/// Reads a duration.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    sum(text, DURATION_UNITS).map(Duration::from_millis).ok_or_else(|| format!("`{text}` is no duration"))
}

/// Reads a volume, in octets.
pub(crate) fn volume(text: &str) -> Result<u64, String> {
    sum(text, VOLUME_UNITS).ok_or_else(|| format!("`{text}` is no volume"))
}

/// Adds up numbers with their units. `None` for anything else, and for what no 64 bits hold.
fn sum(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let mut rest = text.trim();
    let mut sum: Option<u64> = None;
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?);
        let after = after.trim_start();
        let (unit, next) =
            after.split_at(after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len()));
        let factor = units.iter().find(|(name, _)| *name == unit)?.1;
        sum = Some(sum.unwrap_or(0).checked_add(digits.parse::<u64>().ok()?.checked_mul(factor)?)?);
        rest = next.trim_start();
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_need_their_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("10min"), duration("10m"));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(volume("50GiB"), Ok(50 << 30));
        assert_eq!(volume("50 GB"), Ok(50_000_000_000));
        for text in ["", "30", "s", "30x", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["", "50", "50gib", "99999999TiB0", "20000000TiB"] {
            assert!(volume(text).is_err(), "{text}");
        }
    }
}
