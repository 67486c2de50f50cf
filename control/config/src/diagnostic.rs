//! What is wrong with a file, and where: line and column, the source line with carets, what would be accepted.

use std::fmt;
use std::ops::Range;

/// Whether the file can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, but somebody should know.
    Warning,
}

/// One remark about one place. Never holds a secret: source lines with one in them are masked before they get here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file as the operator named it.
    pub file: String,
    /// Line, counted from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Column in characters, counted from 1.
    pub column: usize,
    /// The line, or the part of it around the place.
    pub source: String,
    /// Characters of `source` to be marked.
    pub mark: Range<usize>,
    /// What is wrong, with the offending value.
    pub message: String,
    /// What would be accepted.
    pub accepted: Option<String>,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        writeln!(f, "{severity}: {}", self.message)?;
        let gutter = self.line.to_string().len();
        if self.line == 0 {
            write!(f, "{:gutter$}--> {}", "", self.file)?;
        } else {
            let (line, column) = (self.line, self.column);
            let marks = "^".repeat(self.mark.len().max(1));
            writeln!(f, "{:gutter$}--> {}:{line}:{column}", "", self.file)?;
            writeln!(f, "{:gutter$} |", "")?;
            writeln!(f, "{line} | {}", self.source)?;
            write!(f, "{:gutter$} | {:indent$}{}", "", "", marks, indent = self.mark.start)?;
        }
        match &self.accepted {
            Some(accepted) => write!(f, "\n{:gutter$} = accepted: {accepted}", ""),
            None => Ok(()),
        }
    }
}

impl Diagnostic {
    /// A remark about the file as a whole.
    pub(crate) fn of_file(severity: Severity, file: &str, message: String) -> Self {
        let (file, source) = (file.to_owned(), String::new());
        Self { severity, file, line: 0, column: 0, source, mark: 0..0, message, accepted: None }
    }

    /// All of it on one line, for a log: `FILE:LINE:COLUMN: message; accepted: …`.
    #[must_use]
    pub fn one_line(&self) -> String {
        let place = match self.line {
            0 => self.file.clone(),
            line => format!("{}:{line}:{}", self.file, self.column),
        };
        match &self.accepted {
            Some(accepted) => format!("{place}: {}; accepted: {accepted}", self.message),
            None => format!("{place}: {}", self.message),
        }
    }
}

/// Everything wrong with a file, in the order of its lines; at least one error among them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, diagnostic)| {
            if at > 0 {
                f.write_str("\n\n")?;
            }
            diagnostic.fmt(f)
        })
    }
}
