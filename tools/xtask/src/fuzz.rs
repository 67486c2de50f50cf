//! The fuzz targets of `tests/fuzz`, a package outside the workspace because it is built with coverage counters.
//!
//! They run on the same stable toolchain as everything else: the instrumentation is LLVM's own pass.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Failure;
use crate::arguments::Arguments;
use crate::failure::Context;
use crate::repository;
use crate::step::{Journal, Show};
use crate::summary::Tally;

/// How long `cargo xtask test` gives each target: enough to notice what breaks at once. A search is `xtask fuzz`.
pub const SECONDS_IN_TEST: u64 = 5;

/// How long `cargo xtask fuzz` gives each target unless told otherwise.
const SECONDS: u64 = 60;

/// Coverage counters, and comparisons that libFuzzer can learn from.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing";

/// `xtask fuzz [TARGET] [--seconds N]`
pub fn main(mut arguments: Arguments) -> Result<bool, Failure> {
    let seconds = arguments.number("--seconds")?.unwrap_or(SECONDS);
    let wanted = arguments.rest();
    let known = targets()?;
    if let Some(word) = wanted.iter().find(|word| !known.contains(word)) {
        return Err(Failure::new(format!("no fuzz target `{word}`; there are {}", known.join(", "))));
    }
    let chosen = if wanted.is_empty() { known } else { wanted };
    let tally = run(&mut Journal::new("fuzz")?, &chosen, seconds, Show::All)?;
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped.len());
    Ok(tally.failed == 0)
}

/// Every target for so long.
pub fn all(journal: &mut Journal, seconds: u64) -> Result<Tally, Failure> {
    run(journal, &targets()?, seconds, Show::Nothing)
}

fn folder() -> PathBuf {
    repository::root().join("tests/fuzz")
}

/// The names of the targets, in alphabetical order.
fn targets() -> Result<Vec<String>, Failure> {
    let listed = fs::read_dir(folder().join("targets")).context("tests/fuzz/targets")?;
    let mut names: Vec<String> = listed
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn run(journal: &mut Journal, names: &[String], seconds: u64, show: Show) -> Result<Tally, Failure> {
    let host = host()?;
    let target = repository::target().join("fuzz");
    let target_words = target.to_string_lossy();
    // With an explicit --target the flags stay away from build scripts and proc macros, which would not link.
    let words =
        ["build", "--release", "--locked", "--target", &host, "--target-dir", &target_words, "--bins"];
    let mut build = repository::cargo(&words);
    build.current_dir(folder()).env("RUSTFLAGS", INSTRUMENTATION).env_remove("CARGO_TARGET_DIR");
    if !journal.run(&mut build, show, &mut |_| {})? {
        return Ok(Tally::fail("the fuzz targets do not build"));
    }
    let mut tally = Tally::default();
    for name in names {
        let good = one(journal, &target, &host, name, seconds, show)?;
        println!("  {name}: {}", if good { "nothing found" } else { "FOUND SOMETHING" });
        tally.add(if good { Tally::pass() } else { Tally::fail(format!("{name} found something")) });
    }
    Ok(tally)
}

fn one(
    journal: &mut Journal,
    target: &Path,
    host: &str,
    name: &str,
    seconds: u64,
    show: Show,
) -> Result<bool, Failure> {
    let (corpus, artifacts) = (target.join("corpus").join(name), target.join("artifacts"));
    for path in [&corpus, &artifacts] {
        fs::create_dir_all(path).context(path.display())?;
    }
    let mut command = Command::new(target.join(host).join("release").join(name));
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-artifact_prefix={}/{name}-", artifacts.display()))
        .args(["-print_final_stats=1", "-timeout=10", "-rss_limit_mb=2048"])
        .arg(&corpus)
        .current_dir(folder());
    // libFuzzer adds what it finds to the first folder and only reads the others.
    let seeds = folder().join("seeds").join(name);
    if seeds.is_dir() {
        command.arg(seeds);
    }
    journal.run(&mut command, show, &mut |_| {})
}

/// The triple that this toolchain builds for by itself.
fn host() -> Result<String, Failure> {
    let output =
        Command::new("rustc").arg("-vV").current_dir(repository::root()).output().context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .find_map(|line| line.strip_prefix("host: "))
        .map(str::to_owned)
        .ok_or_else(|| Failure::new("rustc does not say for which host it builds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_seeds_and_a_binary_in_the_manifest() {
        let manifest = fs::read_to_string(folder().join("Cargo.toml")).unwrap();
        let names = targets().unwrap();
        assert!(!names.is_empty());
        for name in names {
            assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in the manifest");
            assert!(folder().join("seeds").join(&name).is_dir(), "{name} has no seeds");
        }
    }
}
