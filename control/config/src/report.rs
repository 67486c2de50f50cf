//! Collects what is wrong while a file is read, and turns octet positions into lines and columns.

use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::limits::{DIAGNOSTICS_MAX, SOURCE_CHARS_MAX};
use crate::mask::Masks;
use std::ops::Range;

/// Octets of the file that a remark is about.
pub(crate) type Span = Range<usize>;

pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    masks: Masks,
    found: Vec<(usize, Diagnostic)>,
    errors: usize,
    left_out: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, text, line_starts, masks: Masks::new(text), found: Vec::new(), errors: 0, left_out: 0 }
    }

    /// The file cannot be used.
    pub(crate) fn error(&mut self, span: &Span, message: impl Into<String>, accepted: impl Into<String>) {
        self.errors += 1;
        self.add(Severity::Error, span, message.into(), Some(accepted.into()));
    }

    /// The file as a whole cannot be used.
    pub(crate) fn error_of_file(&mut self, message: &str, accepted: &str) {
        self.errors += 1;
        let mut diagnostic = Diagnostic::of_file(Severity::Error, self.file, message.to_owned());
        diagnostic.accepted = Some(accepted.to_owned());
        self.found.push((0, diagnostic));
    }

    /// The file can be used, but somebody should know.
    pub(crate) fn warning(&mut self, span: &Span, message: impl Into<String>) {
        self.add(Severity::Warning, span, message.into(), None);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether more errors would not be shown, so that looking for them is waste.
    pub(crate) fn is_full(&self) -> bool {
        self.errors >= DIAGNOSTICS_MAX
    }

    /// The warnings, or everything when there was an error.
    pub(crate) fn finish(mut self) -> Result<Vec<Diagnostic>, Diagnostics> {
        self.found.sort_by_key(|(at, _)| *at);
        let mut found: Vec<Diagnostic> = self.found.into_iter().map(|(_, diagnostic)| diagnostic).collect();
        if self.left_out > 0 {
            let message = format!("{} more are not shown", self.left_out);
            let severity = if self.errors > 0 { Severity::Error } else { Severity::Warning };
            found.push(Diagnostic::of_file(severity, self.file, message));
        }
        if self.errors > 0 { Err(Diagnostics(found)) } else { Ok(found) }
    }

    fn add(&mut self, severity: Severity, span: &Span, message: String, accepted: Option<String>) {
        // Errors push warnings out, never the other way round.
        let room = match severity {
            Severity::Error => self.errors <= DIAGNOSTICS_MAX,
            Severity::Warning => self.found.len() < DIAGNOSTICS_MAX + self.errors,
        };
        if !room {
            self.left_out += 1;
            return;
        }
        let at = span.start.min(self.text.len());
        let number = self.line_starts.partition_point(|line| *line <= at) - 1;
        let line_start = self.line_starts[number];
        let line = self.text[line_start..].lines().next().unwrap_or("");
        // A remark may point at the line end itself, which is not part of what is shown.
        let line_end = line_start + line.len();
        let start = self.text.floor_char_boundary(at.min(line_end));
        let end = self.text.floor_char_boundary(span.end.clamp(start, line_end));
        let column = self.text[line_start..start].chars().count() + 1;
        let width = self.text[start..end].chars().count().max(1);
        let (source, mark) = excerpt(&self.masks.apply(number, line), column, width);
        let diagnostic = Diagnostic {
            severity,
            file: self.file.to_owned(),
            line: number + 1,
            column,
            source,
            mark,
            message: printable(&message),
            accepted: accepted.filter(|accepted| !accepted.is_empty()).map(|accepted| printable(&accepted)),
        };
        self.found.push((start, diagnostic));
    }
}

/// The part of a line worth showing, and what to mark in it. A line may be megabytes, or hold escape sequences.
fn excerpt(line: &str, column: usize, width: usize) -> (String, Range<usize>) {
    let from = if column + 8 > SOURCE_CHARS_MAX { column - SOURCE_CHARS_MAX / 2 } else { 0 };
    let source: String = line.chars().skip(from).take(SOURCE_CHARS_MAX).collect();
    let shown = source.chars().count();
    let start = (column - 1 - from).min(shown);
    let end = (start + width).min(shown.max(start + 1));
    (printable(&source), start..end)
}

/// One column for each character, and none that a terminal would obey.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
