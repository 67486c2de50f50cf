//! Anti-replay window (RFC 4303 §3.4.3, bitmap in the spirit of RFC 6479).
//!
//! Two steps on purpose: `check` before the AEAD, `accept` after it. Moving the window for a number nobody
//! authenticated would let an attacker close it on us.

/// Which sequence numbers of one inbound SA have been seen.
pub struct ReplayWindow {
    highest: u64,
    /// Packets; 0 when the check is off.
    window: u64,
    /// A ring of bits, one word longer than the window at least, so that clearing a word never clears a live bit.
    words: Box<[u64]>,
}

/// What the window is taken to be where ESN must guess although the check is off (RFC 4303 §3.3.3).
const GUESSING_WINDOW: u64 = warren_seam::limits::WINDOW_PACKETS_DEFAULT as u64;

impl ReplayWindow {
    /// A window of that many packets, after `highest` was seen.
    #[must_use]
    pub fn new(window_packets: u32, highest: u64) -> Self {
        let words = (window_packets.div_ceil(64) as usize + 1).next_power_of_two();
        let mut window = Self { highest: 0, window: window_packets.into(), words: vec![0; words].into() };
        if highest > 0 {
            window.highest = highest;
            window.mark(highest);
        }
        window
    }

    /// Highest number seen.
    #[must_use]
    pub const fn highest(&self) -> u64 {
        self.highest
    }

    /// The 64-bit number whose lower half was received (RFC 4303 appendix A2.1): the one of that lower half that
    /// lies in the window or closest above it. `None` for a number before the first.
    #[must_use]
    pub fn infer(&self, low: u32) -> Option<u64> {
        let window = if self.window == 0 { GUESSING_WINDOW } else { self.window };
        let (high, highest_low) = (self.highest >> 32, self.highest & u64::from(u32::MAX));
        let left_edge = (highest_low + 1).wrapping_sub(window) as u32;
        let high = if highest_low >= window - 1 {
            // Case A: the window lies in one subspace.
            if low >= left_edge { high } else { high.checked_add(1)? }
        } else if low >= left_edge {
            // Case B: the window spans two, and the number is of the older.
            high.checked_sub(1)?
        } else {
            high
        };
        (high <= u64::from(u32::MAX)).then_some(high << 32 | u64::from(low))
    }

    /// Whether the number may be new. Decides nothing.
    #[inline]
    #[must_use]
    pub fn check(&self, sequence: u64) -> bool {
        if self.window == 0 {
            return true;
        }
        if sequence > self.highest {
            return true;
        }
        sequence != 0 && self.highest - sequence < self.window && !self.is_marked(sequence)
    }

    /// Takes note of an authentic packet's number; `false` for one that was seen meanwhile (two copies in one batch
    /// both pass `check`) or has fallen out of the window.
    #[inline]
    #[must_use]
    pub fn accept(&mut self, sequence: u64) -> bool {
        if self.window == 0 {
            self.highest = self.highest.max(sequence);
            return true;
        }
        if sequence > self.highest {
            self.advance(sequence);
        } else if !self.check(sequence) {
            return false;
        }
        self.mark(sequence);
        true
    }

    #[inline]
    fn advance(&mut self, sequence: u64) {
        let (from, to) = (self.highest / 64, sequence / 64);
        if from != to {
            self.clear(from, to);
        }
        self.highest = sequence;
    }

    /// Words behind `from` up to `to` hold nothing yet.
    fn clear(&mut self, from: u64, to: u64) {
        let mask = self.words.len() as u64 - 1;
        for word in 0..(to - from).min(self.words.len() as u64) {
            self.words[((to - word) & mask) as usize] = 0;
        }
    }

    fn place(&self, sequence: u64) -> (usize, u64) {
        ((sequence / 64) as usize & (self.words.len() - 1), 1 << (sequence % 64))
    }

    fn is_marked(&self, sequence: u64) -> bool {
        let (word, bit) = self.place(sequence);
        self.words[word] & bit != 0
    }

    fn mark(&mut self, sequence: u64) {
        let (word, bit) = self.place(sequence);
        self.words[word] |= bit;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn run(window: u32, script: &[(u64, bool)]) {
        let mut window = ReplayWindow::new(window, 0);
        for (step, &(sequence, expected)) in script.iter().enumerate() {
            assert_eq!(window.accept(sequence), expected, "step {step}: {sequence}");
        }
    }

    #[test] // F-19
    fn left_edge_is_inclusive() {
        run(64, &[(64, true), (1, true), (65, true), (1, false), (2, true)]);
    }

    #[test] // F-19
    fn a_jump_forgets_everything_older_than_the_window() {
        run(64, &[(1, true), (1_000_000, true), (1, false), (999_937, true), (999_936, false)]);
        run(4096, &[(5000, true), (904, false), (905, true), (905, false), (0, false)]);
    }

    #[test] // F-19
    fn checking_moves_nothing() {
        let window = ReplayWindow::new(64, 100);
        assert!(window.check(u64::MAX));
        assert_eq!(window.highest(), 100);
        assert!(!window.check(100));
    }

    #[test]
    fn window_zero_accepts_everything() {
        run(0, &[(5, true), (5, true), (1, true)]);
    }

    #[test] // RFC 4303 appendix A2.1
    fn the_upper_half_is_guessed_in_both_cases() {
        let infer = |highest, low| ReplayWindow::new(64, highest).infer(low);
        // Case A: below the left edge means the next subspace.
        assert_eq!(infer(1000, 937), Some(937));
        assert_eq!(infer(1000, 936), Some(1 << 32 | 936));
        // Case B: the window reaches back into the subspace before.
        assert_eq!(infer(1 << 32 | 10, 20), Some(1 << 32 | 20));
        assert_eq!(infer(1 << 32 | 10, u32::MAX - 52), Some(u64::from(u32::MAX) - 52));
        assert_eq!(infer(1 << 32 | 10, u32::MAX - 53), Some(1 << 32 | u64::from(u32::MAX - 53)));
        // Before the first number and after the last there is nothing.
        assert_eq!(infer(10, u32::MAX), None);
        assert_eq!(infer(u64::MAX, 5), None);
    }

    #[test] // F-19
    fn every_decision_of_the_foreign_oracle_is_ours() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/esp/replay_window.jsonl");
        let text = std::fs::read_to_string(path).unwrap();
        let mut steps = 0;
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let esn = row["esn"].as_bool().unwrap();
            let window = row["window"].as_u64().unwrap() as u32;
            let mut window = ReplayWindow::new(window, row["initial_highest_seq64"].as_u64().unwrap());
            for step in row["steps"].as_array().unwrap() {
                let actual = step["seq64"].as_u64().unwrap();
                let sequence = if esn { window.infer(actual as u32) } else { Some(actual) };
                // A wrong guess fails the integrity check, which covers the upper half.
                let accepted = sequence.is_some_and(|sequence| sequence == actual && window.accept(sequence));
                assert_eq!(accepted, step["accept"].as_bool().unwrap(), "{}: {actual}", row["id"]);
                steps += 1;
            }
        }
        assert!(steps > 8000, "{steps}");
    }

    proptest! {
        #[test] // F-19
        fn it_decides_like_a_set_that_forgets_nothing(
            window in prop::sample::select(vec![32u32, 64, 96, 128, 1024, 4096]),
            moves in prop::collection::vec((any::<bool>(), 0u64..6000), 1..300),
        ) {
            let mut fast = ReplayWindow::new(window, 0);
            let mut seen = HashSet::new();
            let mut highest = 0u64;
            for (back, distance) in moves {
                let sequence =
                    if back { highest.saturating_sub(distance % 200) } else { highest + distance / 8 };
                let expected = sequence > 0
                    && (sequence > highest || highest - sequence < u64::from(window))
                    && !seen.contains(&sequence);
                prop_assert_eq!(fast.check(sequence), expected);
                prop_assert_eq!(fast.accept(sequence), expected);
                if expected {
                    seen.insert(sequence);
                    highest = highest.max(sequence);
                }
            }
        }

        #[test] // RFC 4303 appendix A2.1
        fn every_number_in_reach_is_inferred_from_its_lower_half(
            highest in 5000u64..1 << 40, back in 0u64..4096, forward in 0u64..1 << 31,
        ) {
            let window = ReplayWindow::new(4096, highest);
            prop_assert_eq!(window.infer((highest - back) as u32), Some(highest - back));
            prop_assert_eq!(window.infer((highest + forward) as u32), Some(highest + forward));
        }
    }
}
