//! Standard output, standard error and the file of rows, the only place that writes to them.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use serde::Serialize;

/// Where results go.
pub(crate) struct Output {
    rows: Option<File>,
}

impl Output {
    /// Creates the file of rows, if there is to be one, before anything is measured for it.
    pub(crate) fn new(json: Option<&Path>) -> Result<Self, String> {
        let create = |path: &Path| File::create(path).map_err(|error| format!("{}: {error}", path.display()));
        Ok(Self { rows: json.map(create).transpose()? })
    }

    /// A line for people. Nobody reading is no reason to stop measuring: the rows may be what is wanted.
    #[allow(clippy::unused_self)] // The one who may write is the one who has it.
    pub(crate) fn line(&mut self, words: &str) {
        let _ = writeln!(io::stdout().lock(), "{words}");
    }

    /// A row for programs.
    pub(crate) fn row(&mut self, row: &impl Serialize) -> Result<(), String> {
        let Some(file) = &mut self.rows else { return Ok(()) };
        let line = serde_json::to_string(row).map_err(|error| error.to_string())?;
        writeln!(file, "{line}").map_err(|error| format!("cannot write a row: {error}"))
    }
}

/// Says what went wrong, or is worth knowing before.
pub(crate) fn remark(words: &str) {
    let _ = writeln!(io::stderr().lock(), "pktgen: {words}");
}
