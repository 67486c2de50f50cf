//! Where results go: lines of JSON for programs, words for whoever watches, and memory for what is made of them all.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use serde::Serialize;

use crate::rows::Row;

/// The results of one call of the program.
pub(crate) struct Report {
    lines: Box<dyn Write>,
    rows: Vec<Row>,
    /// Whether rows are said in words, too.
    is_said: bool,
}

impl Report {
    /// Lines go to `json`, or to standard output where no file is named.
    pub(crate) fn new(json: Option<&Path>) -> Result<Self, String> {
        let lines: Box<dyn Write> = match json {
            None => Box::new(std::io::stdout()),
            Some(path) => {
                let file = File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Box::new(BufWriter::new(file))
            }
        };
        Ok(Self { lines, rows: Vec::new(), is_said: true })
    }

    /// Writes a result, says it, and keeps it.
    pub(crate) fn add(&mut self, row: Row) -> Result<(), String> {
        if self.is_said {
            remark(&row.to_string());
        }
        self.keep(row)
    }

    /// The same without a word.
    pub(crate) fn keep(&mut self, row: Row) -> Result<(), String> {
        self.write(&row)?;
        self.rows.push(row);
        Ok(())
    }

    /// Writes a result of another shape, which nothing is made of.
    pub(crate) fn write(&mut self, result: &impl Serialize) -> Result<(), String> {
        let line = serde_json::to_string(result).map_err(|error| error.to_string())?;
        // At once: who reads along must not wait for the last benchmark, and who interrupts keeps what there is.
        writeln!(self.lines, "{line}").and_then(|()| self.lines.flush()).map_err(|error| error.to_string())
    }

    /// Every row so far.
    pub(crate) fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// A report that nobody reads.
    #[cfg(test)]
    pub(crate) fn silent() -> Self {
        Self { lines: Box::new(std::io::sink()), rows: Vec::new(), is_said: false }
    }
}

/// Says something to whoever watches. Nobody watching is no reason to stop.
pub(crate) fn remark(words: &str) {
    let _ = writeln!(std::io::stderr(), "{words}");
}
