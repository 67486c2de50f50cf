//! Numbers as people read them.

/// Three digits and a prefix: `999`, `1.23 M`, `45.6 k`.
#[must_use]
pub fn short(number: f64) -> String {
    const STEPS: [(f64, &str); 4] = [(1e9, " G"), (1e6, " M"), (1e3, " k"), (1.0, "")];
    let (step, prefix) = STEPS.into_iter().find(|(step, _)| number >= *step).unwrap_or((1.0, ""));
    let scaled = number / step;
    let decimals = match scaled {
        _ if scaled == scaled.trunc() && prefix.is_empty() => 0,
        ..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$}{prefix}")
}

/// Nanoseconds in the unit that fits: `850 ns`, `12.3 us`, `4.50 ms`.
#[must_use]
pub fn time(ns: u64) -> String {
    let number = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} ms", number / 1e6),
        _ => format!("{:.2} s", number / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        let shorts: Vec<_> =
            [0.0, 7.0, 999.0, 1_000.0, 45_600.0, 1_234_567.0, 14_880_000.0, 2.5e9].map(short).into();
        assert_eq!(shorts, ["0", "7", "999", "1.00 k", "45.6 k", "1.23 M", "14.9 M", "2.50 G"]);
        assert_eq!(
            [850, 12_300, 4_500_000, 2_000_000_000].map(time),
            ["850 ns", "12.3 us", "4.50 ms", "2.00 s"]
        );
    }
}
