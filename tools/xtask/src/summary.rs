//! What a test run comes to: one line for each step, the reasons for what was left out, and the closing line.

use std::fmt;
use std::time::Duration;

use crate::limits;

/// How many checks of a step went which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that held.
    pub passed: u64,
    /// Checks that did not, or could not be carried out for a reason that is ours.
    pub failed: u64,
    /// Checks that could not be carried out here, each with its reason.
    pub skipped: Vec<String>,
    /// Which checks failed, and why, as far as that is known: a sentence for each.
    pub reasons: Vec<String>,
}

impl Tally {
    /// One check that held.
    pub fn pass() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One check that did not, because …
    pub fn fail(because: impl Into<String>) -> Self {
        Self { failed: 1, reasons: vec![because.into()], ..Self::default() }
    }

    /// One check that could not be carried out, because …
    pub fn skip(because: impl Into<String>) -> Self {
        Self { skipped: vec![because.into()], ..Self::default() }
    }

    /// Both together.
    pub fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.reasons.extend(other.reasons);
    }
}

/// One step that was run.
struct Line {
    name: String,
    tally: Tally,
    took: Duration,
    tail: Vec<String>,
}

/// All steps of a run, in order.
#[derive(Default)]
pub struct Summary(Vec<Line>);

impl Summary {
    /// Writes down how a step went; `tail` is what it said last, shown again if it failed.
    pub fn note(&mut self, name: &str, tally: Tally, took: Duration, tail: Vec<String>) {
        self.0.push(Line { name: name.to_owned(), tally, took, tail });
    }

    /// True when nothing failed.
    pub fn is_good(&self) -> bool {
        self.0.iter().all(|line| line.tally.failed == 0)
    }
}

impl fmt::Display for Summary {
    /// The last line stands alone, for whoever reads only that: `N passed, N failed, N skipped`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.0.iter().filter(|line| line.tally.failed > 0) {
            writeln!(f, "\n── {} failed; its last words ──", line.name)?;
            for said in &line.tail {
                writeln!(f, "  {said}")?;
            }
        }
        writeln!(f, "\n── summary ──")?;
        let mut all = Tally::default();
        for line in &self.0 {
            let Tally { passed, failed, skipped, .. } = &line.tally;
            let verdict = match (failed, passed) {
                (1.., _) => "FAILED",
                (0, 1..) => "passed",
                (0, 0) => "skipped",
            };
            let (name, took, left) = (&line.name, line.took.as_secs_f64(), skipped.len());
            writeln!(
                f,
                "{verdict:8} {name:14} {passed:5} passed {failed:3} failed {left:3} skipped {took:7.1} s"
            )?;
            for because in skipped {
                writeln!(f, "         skipped, because {because}")?;
            }
            all.add(line.tally.clone());
        }
        writeln!(f)?;
        // Last of all, because often nobody sees more than the last lines: what failed, by name.
        for line in self.0.iter().filter(|line| line.tally.failed > 0) {
            let reasons = &line.tally.reasons;
            for reason in reasons.iter().take(limits::REASONS_SHOWN) {
                writeln!(f, "failed: {}: {}", line.name, shortened(reason))?;
            }
            if reasons.is_empty() {
                writeln!(f, "failed: {}: its last words are above", line.name)?;
            }
            if let Some(more @ 1..) = reasons.len().checked_sub(limits::REASONS_SHOWN) {
                writeln!(f, "failed: {}: {more} more, which are above", line.name)?;
            }
        }
        write!(f, "{} passed, {} failed, {} skipped", all.passed, all.failed, all.skipped.len())
    }
}

/// One line, and not too much of it.
pub fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(limits::REASON_CHARACTERS) {
        None => line,
        Some((at, _)) => format!("{}…", &line[..at]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_line_stands_alone_and_counts_everything() {
        let mut summary = Summary::default();
        summary.note("format", Tally::pass(), Duration::ZERO, Vec::new());
        summary.note(
            "tests",
            Tally {
                passed: 40,
                failed: 2,
                reasons: vec!["one: it broke".into(), "two".into()],
                ..Tally::default()
            },
            Duration::ZERO,
            vec!["boom".into()],
        );
        summary.note("peers", Tally::skip("not root"), Duration::ZERO, Vec::new());
        let text = summary.to_string();
        assert_eq!(text.lines().last(), Some("41 passed, 2 failed, 1 skipped"));
        let named: Vec<_> = text.lines().rev().take(3).collect();
        assert_eq!(named[1..], ["failed: tests: two", "failed: tests: one: it broke"]);
        assert!(text.contains("boom") && text.contains("skipped, because not root"));
        assert!(!summary.is_good());
    }

    #[test]
    fn many_failures_leave_room_for_those_of_other_steps_in_the_last_lines() {
        let mut summary = Summary::default();
        let many = (0..100).map(|at| format!("case {at}: {}", "why ".repeat(200))).collect();
        summary.note(
            "tests",
            Tally { failed: 100, reasons: many, ..Tally::default() },
            Duration::ZERO,
            Vec::new(),
        );
        summary.note("demo", Tally::fail("config-mode: nothing passed"), Duration::ZERO, Vec::new());
        let text = summary.to_string();
        let last: Vec<_> = text.lines().rev().take(limits::REASONS_SHOWN + 3).collect();
        assert!(last.iter().any(|line| line.starts_with("failed: tests: case 0: why")), "{text}");
        assert_eq!(last[1], "failed: demo: config-mode: nothing passed");
        assert!(last.iter().all(|line| line.chars().count() < 200), "{text}");
    }
}
