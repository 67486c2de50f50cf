//! What cargo test, nextest and our own programs say about the checks that they make: how many, which failed, and why.

use crate::summary::Tally;

/// Adds up while it listens.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) tally: Tally,
    /// A panic was announced and its message comes next.
    is_panicking: bool,
}

impl Heard {
    /// Takes one line.
    pub(crate) fn line(&mut self, line: &str) {
        let line = line.trim();
        if self.is_panicking && !line.is_empty() {
            self.is_panicking = false;
            self.explain(line);
        } else if let Some((_, because)) = line.split_once("skipped, because ") {
            self.tally.skipped.push(because.to_owned());
        } else if let Some(failed) = line.strip_prefix("failed: ") {
            self.tally.reasons.push(failed.to_owned());
        } else if let Some(name) = failed_test(line) {
            if !self.tally.reasons.iter().any(|known| known == name || is_about(known, name)) {
                self.tally.reasons.push(name.to_owned());
            }
        } else if let Some(name) = line.strip_prefix("---- ").and_then(|rest| rest.split(' ').next()) {
            // cargo test shows what failed tests said after it has named them all: the one that speaks goes last.
            if let Some(at) = self.tally.reasons.iter().position(|known| known == name) {
                let speaks = self.tally.reasons.remove(at);
                self.tally.reasons.push(speaks);
            }
        } else if line.contains("panicked at ") {
            self.is_panicking = true;
        } else {
            self.count(line);
        }
    }

    /// Why the last one failed. The first reason is the best: what follows are often consequences.
    fn explain(&mut self, why: &str) {
        if let Some(last) = self.tally.reasons.last_mut()
            && !last.contains(": ")
        {
            *last = format!("{last}: {why}");
        }
    }

    fn count(&mut self, line: &str) {
        let is_closing = line.starts_with("test result:")
            || line.starts_with("Summary [")
            || line.ends_with(" skipped") && line.starts_with(|first: char| first.is_ascii_digit());
        if !is_closing {
            return;
        }
        let words: Vec<_> =
            line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
        for pair in words.windows(2) {
            let Ok(number) = pair[0].parse::<u64>() else { continue };
            match pair[1] {
                "passed" => self.tally.passed += number,
                "failed" => self.tally.failed += number,
                _ => {}
            }
        }
    }
}

fn is_about(reason: &str, name: &str) -> bool {
    reason.strip_prefix(name).is_some_and(|rest| rest.starts_with(": "))
}

/// The name in a line of nextest (`FAIL [ 0.004s] (1/9) crate test`) or of cargo test (`test NAME ... FAILED`).
fn failed_test(line: &str) -> Option<&str> {
    if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
        return Some(name);
    }
    let kinds = ["FAIL [", "TIMEOUT [", "ABORT [", "SIGABRT [", "SIGSEGV [", "LEAK-FAIL ["];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind))?.split_once(']')?.1.trim();
    // Newer ones say which of how many it is.
    Some(match rest.strip_prefix('(').and_then(|rest| rest.split_once(") ")) {
        Some((_, name)) => name.trim(),
        None => rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Tally {
        let mut heard = Heard::default();
        lines.iter().for_each(|line| heard.line(line));
        heard.tally
    }

    #[test]
    fn closing_lines_of_all_three_kinds_are_added_up() {
        let tally = heard(&[
            "test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "     Summary [   3.210s] 31 tests run: 30 passed, 1 failed, 0 skipped",
            "linux kernel: skipped, because not installed: user-mode-linux",
            "7 passed, 0 failed, 1 skipped",
        ]);
        assert_eq!((tally.passed, tally.failed), (49, 1));
        assert_eq!(tally.skipped, ["not installed: user-mode-linux"]);
    }

    #[test]
    fn case_that_failed_is_known_by_name_and_reason() {
        let tally = heard(&[
            "strongswan/rekey/initiator: FAILED (54.0 s)",
            "1 of 10 pings were lost",
            "failed: strongswan/rekey/initiator: 1 of 10 pings were lost",
            "25 passed, 1 failed, 0 skipped",
        ]);
        assert_eq!(tally.reasons, ["strongswan/rekey/initiator: 1 of 10 pings were lost"]);
        assert_eq!(tally.failed, 1);
    }

    #[test]
    fn test_that_nextest_names_twice_is_one_with_the_message_of_its_panic() {
        let tally = heard(&[
            "        FAIL [   0.004s] (  3/900) warren-ike ted::tests::one",
            "  stderr ───",
            "    thread 'ted::tests::one' (77) panicked at control/ike/src/ted/mod.rs:7:9:",
            "    assertion `left == right` failed",
            "      left: 1",
            "        FAIL [   0.004s] warren-ike ted::tests::two",
            "     Summary [   3.210s] 900 tests run: 898 passed, 2 failed, 0 skipped",
            "        FAIL [   0.004s] (  3/900) warren-ike ted::tests::one",
            "        FAIL [   0.004s] warren-ike ted::tests::two",
        ]);
        let expected =
            ["warren-ike ted::tests::one: assertion `left == right` failed", "warren-ike ted::tests::two"];
        assert_eq!((tally.failed, tally.reasons), (2, expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn test_that_cargo_names_gets_the_message_of_its_own_panic() {
        let tally = heard(&[
            "test a ... FAILED",
            "test b ... FAILED",
            "---- a stdout ----",
            "thread 'a' panicked at src/lib.rs:1:1:",
            "first",
            "---- b stdout ----",
            "thread 'b' panicked at src/lib.rs:2:1:",
            "second",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
        ]);
        assert_eq!((tally.failed, tally.reasons), (2, vec!["a: first".to_owned(), "b: second".to_owned()]));
    }
}
