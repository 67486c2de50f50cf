//! Which clause of which standard, and which numbered requirement, a comment names.

use std::fmt;

/// Letters before the number of a requirement.
const REQUIREMENTS: [&str; 7] = ["DC", "F", "NT", "Q", "TED", "V", "X"];

/// A requirement such as `F-24`, or a clause such as `RFC 4303 §3.4.3`. Ordered as a reader looks them up.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Clause {
    /// Letters and number.
    Requirement(String, u32),
    /// Number, and section or appendix if one is named.
    Rfc(u32, Vec<u32>, String),
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requirement(letters, number) => write!(f, "{letters}-{number}"),
            Self::Rfc(number, _, section) if section.is_empty() => write!(f, "RFC {number}"),
            Self::Rfc(number, _, section) => write!(f, "RFC {number} {section}"),
        }
    }
}

/// Every clause that `comment` names.
pub fn clauses(comment: &str) -> Vec<Clause> {
    let words: Vec<&str> = comment.split_whitespace().collect();
    let mut found = Vec::new();
    for (at, word) in words.iter().enumerate() {
        found.extend(requirement(word));
        if word.trim_start_matches(|c: char| !c.is_alphanumeric()) == "RFC" {
            let section = words.get(at + 2..).unwrap_or_default();
            found.extend(words.get(at + 1).and_then(|number| rfc(number, section)));
        }
    }
    found
}

fn requirement(word: &str) -> Option<Clause> {
    let word = word.trim_matches(|c: char| !c.is_alphanumeric());
    let (letters, digits) = word.split_once('-')?;
    let number = digits.parse().ok()?;
    REQUIREMENTS.contains(&letters).then(|| Clause::Requirement(letters.to_owned(), number))
}

fn rfc(number: &str, rest: &[&str]) -> Option<Clause> {
    let bare = number.trim_end_matches(|c: char| !c.is_ascii_digit());
    let section = if bare == number { section(rest) } else { String::new() };
    let parts = section.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect();
    Some(Clause::Rfc(bare.parse().ok()?, parts, section))
}

fn section(rest: &[&str]) -> String {
    let trimmed = |word: &str| word.trim_end_matches(|c: char| !c.is_alphanumeric()).to_owned();
    match rest {
        [word, ..] if word.starts_with('§') => trimmed(word),
        [word, name, ..] if word.eq_ignore_ascii_case("appendix") => format!("appendix {}", trimmed(name)),
        _ => String::new(),
    }
}

/// The comment on a line, if there is one.
pub fn comment_of(line: &str) -> Option<&str> {
    line.find("//").map(|at| line[at..].trim_start_matches(['/', '!', ' ']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clauses_are_found_with_their_sections() {
        let text = "Padding (RFC 4303 §2.4, F-24): see RFC 2409 appendix B. RFC 3526, not UTF-8 or AES-128.";
        let found: Vec<_> = clauses(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["RFC 4303 §2.4", "F-24", "RFC 2409 appendix B", "RFC 3526"]);
    }
}
