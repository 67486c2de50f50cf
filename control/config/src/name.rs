//! Names that operators give to things, and names the kernel gives to interfaces.

use crate::field::Field;
use crate::limits::{INTERFACE_CHARS_MAX, NAME_CHARS_MAX};
use crate::report::{Report, Span};
use std::collections::HashSet;

const NAME_ACCEPTED: &str = "1 to 64 letters, digits, `-`, `_` and `.`";
const INTERFACE_ACCEPTED: &str = "1 to 15 characters without spaces, `/` and `:`";

/// A name that is safe in a table, in a shell and in JSON. `#` is kept for the parts of a rule with lists.
pub(crate) fn name<'a>(field: &Field<'a>, report: &mut Report<'_>) -> Option<&'a str> {
    let text = field.text(report, NAME_ACCEPTED)?;
    let fits = (1..=NAME_CHARS_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if !fits {
        report.error(&field.span, format!("`{text}` is no name"), NAME_ACCEPTED);
    }
    fits.then_some(text)
}

/// The name of a network interface, as the kernel's `dev_valid_name` has it.
pub(crate) fn interface<'a>(field: &Field<'a>, report: &mut Report<'_>) -> Option<&'a str> {
    let text = field.text(report, INTERFACE_ACCEPTED)?;
    let fits = (1..=INTERFACE_CHARS_MAX).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_graphic() && !matches!(b, b'/' | b':'));
    if !fits {
        report.error(&field.span, format!("`{text}` is no interface name"), INTERFACE_ACCEPTED);
    }
    fits.then_some(text)
}

/// `net` alone, or `net#1`, `net#2`, … when lists made several of it.
pub(crate) fn part_name(name: &str, at: usize, several: bool) -> String {
    if several { format!("{name}#{}", at + 1) } else { name.to_owned() }
}

/// Refuses what was there before.
pub(crate) struct Unique<'a> {
    what: &'static str,
    seen: HashSet<&'a str>,
}

impl<'a> Unique<'a> {
    pub(crate) fn new(what: &'static str) -> Self {
        Self { what, seen: HashSet::new() }
    }

    pub(crate) fn check(&mut self, value: &'a str, span: &Span, report: &mut Report<'_>) {
        if !self.seen.insert(value) {
            let message = format!("a second {} `{value}`", self.what);
            report.error(span, message, format!("a {} that no other has", self.what));
        }
    }
}
