//! `cargo xtask test`: every check there is, in the order in which a mistake is found soonest.

use std::process::Command;
use std::time::Instant;

use crate::arguments::Arguments;
use crate::demo::Scenario;
use crate::heard::Heard;
use crate::packages::{Purpose, require};
use crate::repository::{cargo, own_program, release};
use crate::step::{Journal, Show};
use crate::summary::{Summary, Tally};
use crate::{Failure, fuzz, instructions, lab, setup};

/// One step: its name for `--only` and `--skip`, what it does in words, and how.
struct Step {
    name: &'static str,
    words: &'static str,
    run: fn(&mut Journal) -> Result<Tally, Failure>,
}

const STEPS: &[Step] = &[
    Step { name: "setup", words: "Debian packages and toolchain components", run: set_up },
    Step { name: "format", words: "cargo fmt --check", run: format },
    Step { name: "clippy", words: "clippy over all targets, warnings denied", run: clippy },
    Step { name: "deny", words: "licences, bans and sources of all dependencies", run: deny },
    Step { name: "build", words: "everything, and the release programs of the demo", run: build },
    Step { name: "unit", words: "unit, property and house tests", run: unit },
    Step { name: "docs", words: "documentation and its examples", run: docs },
    Step { name: "fuzz", words: "every fuzz target for a bounded time", run: fuzz_targets },
    Step {
        name: "instructions",
        words: "instructions of parsers, rules, replay and codecs, against the table",
        run: instructions::check,
    },
    Step {
        name: "sim",
        words: "two gateways, and rows of them, on a virtual clock, a few hundred seeds",
        run: sim,
    },
    Step { name: "interop", words: "strongSwan, vpnc and a Linux kernel as peers", run: interop },
    Step { name: "demo", words: "the scenes of the demo, five seconds of traffic each", run: demo },
];

/// Builds the programs that run with optimisation, always the same set: cargo settles features for all packages of
/// one command together, and another set might build their dependencies all over again.
pub const RELEASE_PROGRAMS: [&str; 13] = [
    "build",
    "--release",
    "--locked",
    "--package",
    "warrend",
    "--package",
    "dpctl",
    "--package",
    "interop",
    "--package",
    "sim",
    "--package",
    "instructions",
];

/// How many seeds the simulator plays in a test run.
const SIM_SEEDS: &str = "300";

/// Names and words of all steps, for the help text.
pub fn listing() -> String {
    STEPS.iter().map(|step| format!("      {:12} {}\n", step.name, step.words)).collect()
}

/// Runs the steps wanted and prints the summary; `Ok(false)` when something failed.
pub fn main(mut arguments: Arguments) -> Result<bool, Failure> {
    let (only, skip) = (arguments.values("--only")?, arguments.values("--skip")?);
    arguments.finish()?;
    if let Some(name) = only.iter().chain(&skip).find(|name| STEPS.iter().all(|step| step.name != *name)) {
        return Err(Failure::new(format!("no step is called `{name}`; there are\n{}", listing())));
    }
    let mut summary = Summary::default();
    for step in STEPS {
        if (!only.is_empty() && !only.iter().any(|name| name == step.name))
            || skip.iter().any(|name| name == step.name)
        {
            continue;
        }
        let good = carry_out(step, &mut summary)?;
        // Without packages nothing compiles, and a tree that does not compile fails every later step in the same way.
        if !good && matches!(step.name, "setup" | "build") {
            break;
        }
    }
    println!("{summary}");
    Ok(summary.is_good())
}

fn carry_out(step: &Step, summary: &mut Summary) -> Result<bool, Failure> {
    println!("\n── {}: {} ──", step.name, step.words);
    let mut journal = Journal::new(step.name)?;
    let started = Instant::now();
    let tally = (step.run)(&mut journal).unwrap_or_else(|failure| {
        // The log file is a convenience; the terminal has the sentence in any case.
        let _ = journal.line(&format!("{}: {failure}", step.name), Show::All);
        Tally::fail(failure.to_string())
    });
    let took = started.elapsed();
    for because in &tally.skipped {
        println!("skipped, because {because}");
    }
    println!("── {}: {} ({:.1} s) ──", step.name, word(&tally), took.as_secs_f64());
    let good = tally.failed == 0;
    summary.note(step.name, tally, took, journal.into_tail());
    Ok(good)
}

fn word(tally: &Tally) -> &'static str {
    match (tally.failed, tally.passed) {
        (1.., _) => "FAILED",
        (0, 1..) => "passed",
        (0, 0) => "skipped",
    }
}

fn one(journal: &mut Journal, command: &mut Command) -> Result<Tally, Failure> {
    let (mut first, mut last) = (None, String::new());
    let good = journal.run(command, Show::Nothing, &mut |line| {
        if first.is_none() && (line.starts_with("error") || line.starts_with("Diff in ")) {
            first = Some(line.to_owned());
        }
        last = line.to_owned();
    })?;
    Ok(if good { Tally::pass() } else { Tally::fail(first.unwrap_or(last)) })
}

fn set_up(_: &mut Journal) -> Result<Tally, Failure> {
    setup::for_test()?;
    Ok(Tally::pass())
}

fn format(journal: &mut Journal) -> Result<Tally, Failure> {
    one(journal, &mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy(journal: &mut Journal) -> Result<Tally, Failure> {
    one(journal, &mut cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn deny(journal: &mut Journal) -> Result<Tally, Failure> {
    let program = match setup::cargo_deny() {
        Ok(program) => program,
        Err(why) => return Ok(Tally::skip(format!("cargo-deny cannot be had: {why}"))),
    };
    let mut command = Command::new(program);
    command.args(["--locked", "--all-features", "check", "licenses", "bans", "sources"]);
    one(journal, command.current_dir(crate::repository::root()))
}

fn build(journal: &mut Journal) -> Result<Tally, Failure> {
    let mut tally = one(journal, &mut cargo(&["build", "--locked", "--workspace", "--all-targets"]))?;
    tally.add(one(journal, &mut cargo(&RELEASE_PROGRAMS))?);
    Ok(tally)
}

fn unit(journal: &mut Journal) -> Result<Tally, Failure> {
    let has_nextest = cargo(&["nextest", "--version"]).output().is_ok_and(|output| output.status.success());
    let words: &[&str] = if has_nextest {
        &["nextest", "run", "--locked", "--workspace", "--no-fail-fast", "--status-level", "fail"]
    } else {
        &["test", "--locked", "--workspace", "--no-fail-fast", "--all-targets"]
    };
    counted(journal, &mut cargo(words))
}

fn docs(journal: &mut Journal) -> Result<Tally, Failure> {
    let mut command = cargo(&["doc", "--locked", "--workspace", "--no-deps", "--quiet"]);
    let mut tally = one(journal, command.env("RUSTDOCFLAGS", "-D warnings"))?;
    tally.add(counted(journal, &mut cargo(&["test", "--locked", "--workspace", "--doc"]))?);
    Ok(tally)
}

fn fuzz_targets(journal: &mut Journal) -> Result<Tally, Failure> {
    fuzz::all(journal, fuzz::SECONDS_IN_TEST)
}

fn sim(journal: &mut Journal) -> Result<Tally, Failure> {
    let mut command = Command::new(release("sim"));
    command.args(["--seeds", SIM_SEEDS]).current_dir(crate::repository::root());
    let mut tally = Tally::default();
    let good = journal.run(&mut command, Show::All, &mut |line| tally.add(hear_seeds(line)))?;
    if tally == Tally::default() || (!good && tally.failed == 0) {
        tally.failed += 1;
    }
    Ok(tally)
}

/// Understands the simulator's closing line, `300 seeds, 0 broken: …`, and the lines that name broken ones. A seed is a
/// check.
fn hear_seeds(line: &str) -> Tally {
    if line.starts_with("seed ") && line.contains(" broke a promise ") {
        return Tally { reasons: vec![line.to_owned()], ..Tally::default() };
    }
    let number = |text: Option<&str>| text?.split_whitespace().next()?.parse().ok();
    let mut fields = line.split(", ");
    match (number(fields.next()), fields.next()) {
        (Some(seeds), Some(broken)) if line.contains(" seeds, ") && broken.contains(" broken") => {
            let failed: u64 = number(Some(broken)).unwrap_or(0);
            Tally { passed: u64::saturating_sub(seeds, failed), failed, ..Tally::default() }
        }
        _ => Tally::default(),
    }
}

fn interop(journal: &mut Journal) -> Result<Tally, Failure> {
    if let Err(failure) = lab::require_root() {
        return Ok(Tally::skip(failure.to_string()));
    }
    counted(journal, Command::new(release("interop")).current_dir(crate::repository::root()))
}

fn demo(journal: &mut Journal) -> Result<Tally, Failure> {
    if let Err(failure) = lab::require_root() {
        return Ok(Tally::skip(failure.to_string()));
    }
    let xtask = own_program()?;
    let mut tally = Tally::default();
    for scenario in Scenario::ALL {
        if scenario == Scenario::Interop
            && let Err(why) = require(Purpose::StrongSwan)
        {
            tally.add(Tally::skip(why));
            continue;
        }
        for more in scenario.variants() {
            if more.contains(&"strongswan")
                && let Err(why) = require(Purpose::StrongSwan)
            {
                tally.add(Tally::skip(why));
                continue;
            }
            let mut command = Command::new(&xtask);
            command.args(["demo", "--scenario", scenario.word(), "--seconds", "5"]).args(*more);
            let mut why = Vec::new();
            let good = journal.run(&mut command, Show::All, &mut |line| why.extend(objection(line)))?;
            let name = [&[scenario.word()], *more].concat().join(" ");
            tally.add(if good { Tally::pass() } else { Tally::fail(format!("{name}: {}", why.join("; "))) });
        }
    }
    Ok(tally)
}

/// What a demo has against itself, in one of its lines.
fn objection(line: &str) -> Option<String> {
    let line = line.trim_start();
    ["not good: ", "xtask demo: "].iter().find_map(|words| line.strip_prefix(words)).map(str::to_owned)
}

/// Runs a command whose output says how many checks it made, shows it, and adds them up.
fn counted(journal: &mut Journal, command: &mut Command) -> Result<Tally, Failure> {
    let mut heard = Heard::default();
    let good = journal.run(command, Show::All, &mut |line| heard.line(line))?;
    let mut tally = heard.tally;
    if !good && tally.failed == 0 {
        tally.failed = 1;
    }
    if good && tally == Tally::default() {
        tally.passed = 1;
    }
    Ok(tally)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn simulator_counts_seeds() {
        let tally = hear_seeds(
            "300 seeds, 2 broken: 91 steps, 7 packets sent, 5 received, 9 ESP packets on the wire",
        );
        assert_eq!((tally.passed, tally.failed), (298, 2));
        let broken = hear_seeds("seed 7 broke a promise at 4s: Leak");
        assert_eq!((broken.failed, broken.reasons.len()), (0, 1));
    }

    #[test]
    fn every_step_has_a_name_of_its_own() {
        for (at, step) in STEPS.iter().enumerate() {
            assert!(STEPS[..at].iter().all(|other| other.name != step.name), "{}", step.name);
        }
    }
}
