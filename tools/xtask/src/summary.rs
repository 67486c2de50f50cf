//! What a test run comes to: one line for each step, the reasons for what was left out, and the closing line.

use std::fmt;
use std::time::Duration;

/// How many checks of a step went which way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Checks that held.
    pub passed: u64,
    /// Checks that did not, or could not be carried out for a reason that is ours.
    pub failed: u64,
    /// Checks that could not be carried out here, each with its reason.
    pub skipped: Vec<String>,
}

impl Tally {
    /// One check that held.
    pub fn pass() -> Self {
        Self { passed: 1, ..Self::default() }
    }

    /// One check that did not.
    pub fn fail() -> Self {
        Self { failed: 1, ..Self::default() }
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
            let Tally { passed, failed, skipped } = &line.tally;
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
        write!(f, "\n{} passed, {} failed, {} skipped", all.passed, all.failed, all.skipped.len())
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
            Tally { passed: 40, failed: 2, skipped: vec![] },
            Duration::ZERO,
            vec!["boom".into()],
        );
        summary.note("peers", Tally::skip("not root"), Duration::ZERO, Vec::new());
        let text = summary.to_string();
        assert_eq!(text.lines().last(), Some("41 passed, 2 failed, 1 skipped"));
        assert!(text.contains("boom") && text.contains("skipped, because not root"));
        assert!(!summary.is_good());
    }
}
