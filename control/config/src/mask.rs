//! Keeps secrets out of quoted source lines.
//!
//! The file should hold names of key files only, but people do write the key itself where its file belongs, and a
//! diagnostic that quotes the line would carry it into a log (REQUIREMENTS F-33). The judgement is by line and
//! knows no TOML, because it must hold for files that are not TOML.

use std::borrow::Cow;

/// What stands for the masked rest of a line.
const MASK: &str = "…";

/// Which lines, and from which octet on, may not be shown.
pub(crate) struct Masks(Vec<Option<usize>>);

impl Masks {
    /// Looks over the whole text once, because a value may go on over several lines.
    pub(crate) fn new(text: &str) -> Self {
        let mut inside = false;
        Self(
            text.lines()
                .map(|line| {
                    if let Some(from) = secret_value(line) {
                        inside = true;
                        return Some(from);
                    }
                    inside = inside && !starts_something_new(line);
                    inside.then_some(0)
                })
                .collect(),
        )
    }

    /// The line as it may be shown; `number` counts from 0.
    pub(crate) fn apply<'a>(&self, number: usize, line: &'a str) -> Cow<'a, str> {
        match self.0.get(number) {
            Some(Some(from)) => Cow::Owned(format!("{}{MASK}", &line[..*from])),
            _ => Cow::Borrowed(line),
        }
    }
}

/// Where the value starts on a line that gives one to a key with a telling name.
fn secret_value(line: &str) -> Option<usize> {
    // Masked from the first `=` after the word, so that one line with two of them is covered as well.
    let lower = line.to_ascii_lowercase();
    ["secret", "psk", "password", "passphrase", "key"]
        .into_iter()
        .filter_map(|word| {
            let mut from = 0;
            while let Some(at) = lower[from..].find(word).map(|at| at + from) {
                from = at + word.len();
                // Switches, not keys: `weak_secret`, `group_secret`.
                if lower[..at].ends_with("weak_") || lower[..at].ends_with("group_") {
                    continue;
                }
                let rest = &line[from..];
                let name = rest.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'));
                let after = name.map_or("", |name| &rest[name..]);
                let equals = after.trim_start_matches(['"', '\'', ' ', '\t']);
                if equals.starts_with('=') {
                    let start = line.len() - equals.len() + 1;
                    let blank = line[start..].len() - line[start..].trim_start().len();
                    return Some(start + blank);
                }
            }
            None
        })
        .min()
}

/// Whether a line can only be the next key, table, comment or nothing: a value from a line above has ended.
fn starts_something_new(line: &str) -> bool {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') || (line.starts_with('[') && line.ends_with(']')) {
        return true;
    }
    // The padding of base64 is no assignment.
    line.split_once('=').is_some_and(|(name, value)| {
        let name = name.trim();
        let value = value.trim();
        !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'"'))
            && !value.is_empty()
            && !value.starts_with('=')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let masks = Masks::new(text);
        text.lines().enumerate().map(|(at, line)| masks.apply(at, line).into_owned() + "\n").collect()
    }

    #[test] // F-33
    fn a_key_written_in_the_wrong_place_is_not_quoted() {
        for text in [
            "secret = \"hunter2\"",
            "psk=hunter2",
            "  \"secret\"  =  'hunter2'",
            "peer = [{ name = \"a\", secret = \"hunter2\" }]",
            "pre_shared_key = \"hunter2\"",
            "SECRET = \"\"\"\nhunter2\"\"\"",
            "secret = \"\"\"\nabc\nhunter2==\n\"\"\"",
            "secret = [\n  \"hunter2\"\n]",
            "secret_file = \"x\" \nhunter2",
        ] {
            assert!(!shown(text).contains("hunter2"), "{}", shown(text));
        }
    }

    #[test]
    fn other_lines_are_shown_whole() {
        let text = "[[peer]]\nname = \"gw2\"\nweak_secret = true\nsecret = \"x\"\nlocal = \"192.0.2.1\"\n";
        let expected = text.replace("\"x\"", "…");
        assert_eq!(shown(text), expected);
    }
}
