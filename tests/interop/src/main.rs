//! Foreign-peer cases: Warren as initiator and as responder, as client and as server, against strongSwan, against vpnc,
//! and against a Linux kernel.
//!
//! A case that a peer's absence makes impossible is *skipped, because …*, never passed. Before Warren meets a peer,
//! the peer meets itself in the same lab: what fails there is no mistake of Warren's.
//!
//! `interop [WORD]…` runs the cases whose name contains one of the words. Its last lines are one `failed: CASE: WHY` for
//! each that failed, and `N passed, N failed, N skipped`.
// A program for a terminal: what it has to say goes there.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod alone;
mod bare;
mod cases;
mod config_mode;
mod kernel;
mod lanes;
mod nested;
mod strongswan;
mod vpnc;

use std::process::ExitCode;
use std::time::Instant;

use xtask::arguments::Arguments;
use xtask::summary::{Tally, shortened};
use xtask::{Failure, capture, lab, repository, supervise};

use crate::cases::{Case, Group, all};

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let first = words.first().cloned().unwrap_or_default();
    let done = match first.as_str() {
        "capture" => capture::main(Arguments::new(words.split_off(1))).map(|()| true),
        "bare" => bare::main(Arguments::new(words.split_off(1))).map(|()| true),
        "sweep" => supervise::sweep(Arguments::new(words.split_off(1))).map(|()| true),
        _ => run(&words),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("interop: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(words: &[String]) -> Result<bool, Failure> {
    lab::require_root()?;
    let program = repository::own_program()?;
    let line: Vec<_> = std::env::args().skip(1).collect();
    let whole: Vec<_> = [program.to_string_lossy().into_owned()].into_iter().chain(line).collect();
    supervise::supervised(&program, &whole)?;
    let wanted: Vec<Case> = all()
        .into_iter()
        .filter(|case| words.is_empty() || words.iter().any(|word| case.name().contains(word.as_str())))
        .collect();
    if wanted.is_empty() {
        return Err(Failure::new("no case has such a name"));
    }
    let mut tally = Tally::default();
    for group in Group::ALL {
        let cases: Vec<_> = wanted.iter().filter(|case| case.group() == group).collect();
        if cases.is_empty() {
            continue;
        }
        match ready(group) {
            Ok(()) => cases.iter().for_each(|case| tally.add(judge(case))),
            Err(why) => {
                for case in cases {
                    println!("{}: skipped, because {why}", case.name());
                    tally.add(Tally::skip(why.clone()));
                }
            }
        }
    }
    for reason in &tally.reasons {
        println!("failed: {}", shortened(reason));
    }
    println!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped.len());
    Ok(tally.failed == 0)
}

/// Whether the peer of this group can be had: installed, and able to talk to its like.
fn ready(group: Group) -> Result<(), String> {
    xtask::packages::require(group.purpose())?;
    xtask::packages::require(xtask::packages::Purpose::Lab)?;
    let started = Instant::now();
    let met = match group {
        // vpnc is a client and has nobody of its kind to meet.
        Group::Alone | Group::Vpnc => return Ok(()),
        Group::StrongSwan => strongswan::meets_itself(),
        Group::Kernel => kernel::meets_itself(),
    };
    let name = group.word();
    let seconds = started.elapsed().as_secs_f64();
    met.map_err(|failure| format!("{name} does not even reach {name} here: {failure}"))?;
    println!("{name} reaches {name} ({seconds:.1} s)");
    Ok(())
}

fn judge(case: &Case) -> Tally {
    let started = Instant::now();
    let outcome = case.run();
    let (name, seconds) = (case.name(), started.elapsed().as_secs_f64());
    match outcome {
        Ok(remark) => {
            println!("{name}: passed ({seconds:.1} s) {remark}");
            Tally::pass()
        }
        Err(failure) => {
            println!("{name}: FAILED ({seconds:.1} s)\n{failure}");
            let why = failure.to_string();
            Tally::fail(format!("{name}: {}", why.lines().next().unwrap_or_default()))
        }
    }
}
