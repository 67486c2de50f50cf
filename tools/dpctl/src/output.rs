//! Standard output and error, the only place that writes to them.

use crate::limits::{WIDTH_DEFAULT, WIDTH_MAX, WIDTH_MIN};
use std::io::{self, IsTerminal, StdoutLock, Write};
use warren_api::client::CallError;

/// Why the program ends with 1, or early.
pub(crate) enum Failure {
    /// Nobody reads our output any more.
    Closed,
    /// To be said on standard error.
    Said(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Said(format!("cannot write: {error}")),
        }
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::Said(error.to_string())
    }
}

/// Standard output.
pub(crate) struct Output {
    stdout: StdoutLock<'static>,
    terminal: bool,
}

impl Output {
    pub(crate) fn stdout() -> Self {
        Self { stdout: io::stdout().lock(), terminal: io::stdout().is_terminal() }
    }

    /// Whether somebody looks at it.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Columns to lay out for.
    pub(crate) fn width(&self) -> u16 {
        let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        let asked = || rustix::termios::tcgetwinsize(rustix::stdio::stdout()).ok().map(|size| size.ws_col);
        let width = said.or_else(asked).filter(|width| *width > 0).unwrap_or(WIDTH_DEFAULT);
        width.clamp(WIDTH_MIN, WIDTH_MAX)
    }

    /// Writes text, with a newline at its end if it has none.
    pub(crate) fn write(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())?;
        if text.ends_with('\n') { Ok(()) } else { self.stdout.write_all(b"\n") }
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Says what went wrong. That it cannot be said changes nothing.
pub(crate) fn complain(message: &str) {
    let _ = writeln!(io::stderr().lock(), "dpctl: {message}");
}
