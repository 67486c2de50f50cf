//! `cargo xtask setup`: what a fresh Debian 12 with nothing but Rust still lacks, and, as root, installing it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::failure::Context;
use crate::packages::{Package, Purpose, missing};
use crate::repository::{self, which};
use crate::{Failure, lab};

/// The version of cargo-deny that `deny.toml` was written for and that this toolchain builds.
const CARGO_DENY: &str = "0.20.2";

/// Installs what is missing; optional things that cannot be had are named and left out.
pub fn main() -> Result<(), Failure> {
    components()?;
    let absent = missing(&Purpose::ALL);
    if absent.is_empty() {
        println!("every Debian package is there");
    } else {
        say(&absent);
        if lab::require_root().is_err() {
            return Err(Failure::new(format!("not root, so run this line first:\n{}", line(&absent))));
        }
        install_all()?;
    }
    match cargo_deny() {
        Ok(_) => println!("cargo-deny is there"),
        Err(why) => println!("cargo-deny: skipped, because {why}"),
    }
    Ok(())
}

/// The part of `main` that a build needs, quiet when there is nothing to say. Without root it goes on as long as
/// only the lab and the peers are missing.
pub fn for_test() -> Result<(), Failure> {
    components()?;
    let absent = missing(&Purpose::ALL);
    if absent.is_empty() {
        return Ok(());
    }
    say(&absent);
    if lab::require_root().is_ok() {
        return install_all();
    }
    println!("not root; to have all of it, run\n{}", line(&absent));
    match missing(&[Purpose::Build]).is_empty() {
        true => Ok(()),
        false => Err(Failure::new("nothing can be built without these packages")),
    }
}

/// What `bench --peers` wants besides, installed when that may be done. The benchmark leaves out what is still missing then.
pub fn for_peers() {
    let absent = missing(&[Purpose::Dpdk]);
    if absent.is_empty() {
        return;
    }
    let names: Vec<_> = absent.iter().map(|package| package.name).collect();
    println!("missing {}: {}", Purpose::Dpdk.words(), names.join(" "));
    if lab::require_root().is_err() {
        println!("not root; to have them, run\n{}", line(&absent));
    } else if let Err(failure) = install(&[Purpose::Dpdk]) {
        println!("left out, because {failure}");
    }
}

fn say(absent: &[&Package]) {
    for purpose in Purpose::ALL {
        let names: Vec<_> =
            absent.iter().filter(|package| package.purpose == purpose).map(|package| package.name).collect();
        if !names.is_empty() {
            println!("missing {}: {}", purpose.words(), names.join(" "));
        }
    }
}

/// The one line that somebody with the rights can paste.
fn line(absent: &[&Package]) -> String {
    let names: Vec<_> = absent.iter().map(|package| package.name).collect();
    format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", names.join(" "))
}

fn install_all() -> Result<(), Failure> {
    install(&Purpose::ALL)
}

fn install(purposes: &[Purpose]) -> Result<(), Failure> {
    if which("apt-get").is_none() {
        return Err(Failure::new("this is no Debian (no apt-get): install the packages above by hand"));
    }
    let _quiet = NoServices::new()?;
    apt(&["update", "-q"])?;
    for &purpose in purposes {
        let names: Vec<_> = missing(&[purpose]).iter().map(|package| package.name).collect();
        if names.is_empty() {
            continue;
        }
        println!("installing {}: {}", purpose.words(), names.join(" "));
        let mut words = vec!["install", "-y", "-q", "--no-install-recommends"];
        words.extend(&names);
        match apt(&words) {
            Ok(()) => {}
            Err(failure) if purpose.is_required() => return Err(failure),
            Err(failure) => println!("left out {}, because {failure}", purpose.words()),
        }
    }
    Ok(())
}

fn apt(words: &[&str]) -> Result<(), Failure> {
    let mut command = Command::new("apt-get");
    command.args(["-o", "Dpkg::Lock::Timeout=300"]).args(words).env("DEBIAN_FRONTEND", "noninteractive");
    lab::call(&mut command)
}

/// While it lives, no package may start a service: a policy of that kind (Debian policy §9.3.3.1) is put in place
/// and what was there before comes back afterwards.
struct NoServices {
    before: Option<(Vec<u8>, fs::Permissions)>,
}

impl NoServices {
    fn path() -> PathBuf {
        PathBuf::from("/usr/sbin/policy-rc.d")
    }

    fn new() -> Result<Self, Failure> {
        let path = Self::path();
        let before = fs::read(&path).ok().zip(fs::metadata(&path).ok().map(|meta| meta.permissions()));
        fs::write(&path, "#!/bin/sh\nexit 101\n").context(path.display())?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).context(path.display())?;
        Ok(Self { before })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        let path = Self::path();
        let restored = match &self.before {
            Some((octets, mode)) => {
                fs::write(&path, octets).and_then(|()| fs::set_permissions(&path, mode.clone()))
            }
            None => fs::remove_file(&path),
        };
        if let Err(error) = restored {
            eprintln!("{} could not be put back: {error}", path.display());
        }
    }
}

/// rustfmt and clippy, which a minimal toolchain lacks.
fn components() -> Result<(), Failure> {
    for (component, probe) in [("rustfmt", "fmt"), ("clippy", "clippy")] {
        if repository::cargo(&[probe, "--version"]).output().is_ok_and(|output| output.status.success()) {
            continue;
        }
        println!("adding {component} to the toolchain");
        let mut rustup = Command::new("rustup");
        lab::call(rustup.args(["component", "add", component]).current_dir(repository::root()))?;
    }
    Ok(())
}

/// cargo-deny, built into the target folder when nobody installed it. `Err` is a reason, not a failure.
pub fn cargo_deny() -> Result<PathBuf, String> {
    let own = repository::target().join("xtask/tools/bin/cargo-deny");
    if let Some(found) = which("cargo-deny").or_else(|| own.is_file().then(|| own.clone())) {
        return Ok(found);
    }
    println!("building cargo-deny {CARGO_DENY}, which takes some minutes the first time");
    let root = repository::target().join("xtask/tools");
    let root = root.to_string_lossy();
    let words =
        ["install", "--quiet", "--locked", "--debug", "--root", &root, "--version", CARGO_DENY, "cargo-deny"];
    lab::call(&mut repository::cargo(&words)).map_err(|failure| failure.to_string())?;
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::PACKAGES;

    #[test]
    fn line_to_paste_names_every_missing_package_and_stays_one_line() {
        let absent: Vec<_> = PACKAGES.iter().collect();
        let line = line(&absent);
        assert!(PACKAGES.iter().all(|package| line.contains(package.name)));
        assert!(!line.contains('\n'));
    }
}
