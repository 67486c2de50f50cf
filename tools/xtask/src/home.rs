//! The folder of one gateway below its lab's: the configuration file, what it names, the control socket, the log.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::failure::Context;
use crate::lab::Lab;

/// A folder that goes with its lab. What is written into it can be read by nobody else.
#[derive(Clone, Debug)]
pub struct Home(PathBuf);

impl Home {
    /// Makes it.
    pub fn new(lab: &Lab, name: &str) -> Result<Self, Failure> {
        let folder = lab.folder().join(name);
        fs::create_dir_all(&folder).context(folder.display())?;
        Ok(Self(folder))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Where the control socket of a configuration that names one should be.
    pub fn socket(&self) -> PathBuf {
        self.file("warrend.sock")
    }

    /// The section of a configuration that keeps everything in this folder.
    pub fn section(&self) -> String {
        let (socket, state) = (self.socket(), self.file("state"));
        format!("[gateway]\ncontrol_socket = \"{}\"\nstate = \"{}\"\n", socket.display(), state.display())
    }

    /// The configuration file. Names in it are looked up beside it.
    pub fn configuration(&self) -> PathBuf {
        self.file("warren.toml")
    }

    /// Writes the configuration file, or writes it anew.
    pub fn configure(&self, text: &str) -> Result<(), Failure> {
        self.write("warren.toml", text).map(drop)
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) -> Result<PathBuf, Failure> {
        let path = self.file(name);
        write_private(&path, text)?;
        Ok(path)
    }

    /// Writes a file that says the same as another one.
    pub fn copy(&self, from: &Path, name: &str) -> Result<PathBuf, Failure> {
        self.write(name, &fs::read_to_string(from).context(from.display())?)
    }
}

/// A file that nobody else can read, from the first octet on.
fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .context(path.display())?;
    file.write_all(text.as_bytes()).context(path.display())
}
