//! Runs the commands of a step: everything they say goes to a log file, as much of it as wanted to the terminal, and
//! the last lines are kept for the summary.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::failure::Context;
use crate::{Failure, limits, repository};

/// Whether a command's output is shown while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Show {
    /// All of it.
    All,
    /// None: it matters only when the command fails.
    Nothing,
}

/// Where the commands of one step speak.
pub struct Journal {
    file: File,
    path: PathBuf,
    tail: VecDeque<String>,
}

impl Journal {
    /// Starts the log file of a step.
    pub fn new(step: &str) -> Result<Self, Failure> {
        let folder = repository::target().join("xtask/log");
        std::fs::create_dir_all(&folder).context(folder.display())?;
        let path = folder.join(format!("{step}.log"));
        Ok(Self { file: File::create(&path).context(path.display())?, path, tail: VecDeque::new() })
    }

    /// The last lines, and where the others are.
    pub fn into_tail(self) -> Vec<String> {
        let place = format!("(all of it in {})", self.path.display());
        self.tail.into_iter().chain([place]).collect()
    }

    /// Runs a command to its end. `each` sees every line of its output, both streams in the order they came.
    pub fn run(
        &mut self,
        command: &mut Command,
        show: Show,
        each: &mut dyn FnMut(&str),
    ) -> Result<bool, Failure> {
        let name = format!("{command:?}").replace('"', "");
        let (reader, writer) = std::io::pipe().context("a pipe")?;
        let errors = writer.try_clone().context("a pipe")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .spawn()
            .context(format!("starting {name}"))?;
        // The command value still holds our ends of the pipe; with them open the reader would never see its end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        for line in BufReader::new(reader).split(b'\n') {
            let line = line.context(&name)?;
            let line = String::from_utf8_lossy(&line);
            self.line(&line, show)?;
            each(&line);
        }
        Ok(child.wait().context(&name)?.success())
    }

    /// Writes a line of our own.
    pub fn line(&mut self, line: &str, show: Show) -> Result<(), Failure> {
        writeln!(self.file, "{line}").context(self.path.display())?;
        if show == Show::All {
            println!("{line}");
        }
        if self.tail.len() == limits::TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_is_heard_on_both_streams_and_its_end_is_known() {
        let mut journal = Journal::new("selftest").unwrap();
        let mut heard = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let good = journal.run(&mut command, Show::Nothing, &mut |line| heard.push(line.to_owned())).unwrap();
        assert!(!good);
        heard.sort();
        assert_eq!(heard, ["err", "out"]);
    }
}
