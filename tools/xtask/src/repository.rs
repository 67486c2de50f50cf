//! Where things lie: the repository, its target folder, the programs built into it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Context, Failure};

/// The repository's root.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest).to_owned()
}

/// Cargo's target folder; everything that xtask writes goes below it.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// A program of the release build.
pub fn release(program: &str) -> PathBuf {
    target().join("release").join(program)
}

/// The program that runs. A build in the meantime may have put a new one in its place, which the kernel says with a
/// word behind the path; the new one serves as well.
pub fn own_program() -> Result<PathBuf, Failure> {
    let path = std::env::current_exe().context("our own path")?;
    let text = path.to_string_lossy();
    Ok(text.strip_suffix(" (deleted)").map_or_else(|| path.clone(), PathBuf::from))
}

/// Cargo, run in the repository's root, with exactly the versions in `Cargo.lock`.
pub fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).current_dir(root());
    // What the cargo above says about xtask is taken by some build scripts for a change that calls for building all
    // of it again.
    let about_us =
        ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_", "LD_LIBRARY_PATH"];
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| about_us.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(name);
        }
    }
    command
}

/// Where a program is found, if it is: `PATH`, and the folders that a login without administration leaves out.
pub fn which(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path)
        .chain(sbin)
        .map(|folder| folder.join(program))
        .find(|file| rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok() && file.is_file())
}
