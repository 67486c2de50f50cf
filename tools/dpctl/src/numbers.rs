//! Numbers as people read them.

/// `1,234,567`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Steps of a thousand.
const PREFIXES: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];

/// Three digits and a prefix: `0`, `999`, `1.23k`, `45.6M`. Rounds down, so that a limit is never shown as passed.
fn scaled(number: u64) -> (String, &'static str) {
    let step = PREFIXES.iter().enumerate().rev().find(|(at, _)| number >= 1000_u64.pow(*at as u32));
    let Some((at @ 1.., prefix)) = step else { return (number.to_string(), "") };
    let hundredths = number / (1000_u64.pow(at as u32) / 100);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    let text = match whole {
        0..=9 => format!("{whole}.{rest:02}"),
        10..=99 => format!("{whole}.{}", rest / 10),
        _ => whole.to_string(),
    };
    (text, prefix)
}

/// `1.23 GB`.
pub(crate) fn octets(number: u64) -> String {
    let (text, prefix) = scaled(number);
    format!("{text} {prefix}B")
}

/// `1.23M`: something in a second.
pub(crate) fn rate(per_second: u64) -> String {
    let (text, prefix) = scaled(per_second);
    format!("{text}{prefix}")
}

/// `9.87 Gbit/s`.
pub(crate) fn bit_rate(octets_per_second: u64) -> String {
    let (text, prefix) = scaled(octets_per_second.saturating_mul(8));
    format!("{text} {prefix}bit/s")
}

/// `42s`, `3m05s`, `1h02m`, `2d03h`: two units at most.
pub(crate) fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match () {
        () if minutes == 0 => format!("{seconds}s"),
        () if hours == 0 => format!("{minutes}m{:02}s", seconds % 60),
        () if days == 0 => format!("{hours}h{:02}m", minutes % 60),
        () => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_never_rounded_up() {
        let counts: Vec<String> = [0, 7, 999, 1000, 12_345, 1_234_567, u64::MAX].map(count).into();
        assert_eq!(counts, ["0", "7", "999", "1,000", "12,345", "1,234,567", "18,446,744,073,709,551,615"]);
        let octets: Vec<String> =
            [0, 999, 1000, 1999, 99_999, 999_999, 1_500_000_000, u64::MAX].map(octets).into();
        assert_eq!(octets, ["0 B", "999 B", "1.00 kB", "1.99 kB", "99.9 kB", "999 kB", "1.50 GB", "18.4 EB"]);
        assert_eq!(bit_rate(1_250_000_000), "10.0 Gbit/s");
        let durations: Vec<String> = [0, 59, 60, 3599, 3600, 86_399, 86_400].map(duration).into();
        assert_eq!(durations, ["0s", "59s", "1m00s", "59m59s", "1h00m", "23h59m", "1d00h"]);
    }
}
