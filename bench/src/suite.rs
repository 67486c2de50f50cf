//! The whole suite: every benchmark in turn, as one command runs it.
//!
//! A part that cannot run here says so and the others go on; a part that fails makes the command fail in the end.

use clap::ValueEnum;
use rustix::process::geteuid;

use crate::report::{Report, remark};
use crate::{
    accounting, aead, af_xdp, intersection, latency, memory, nested, peers, probe_flood, rules, scaling,
    setups, stages, whole_path,
};

/// Parts, in the order in which they run: what needs a quiet machine least comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Sealing and opening alone.
    Aead,
    /// The whole path on one core.
    WholePath,
    /// Where its cycles go.
    Stages,
    /// What it costs to know.
    Accounting,
    /// Rule matching, by set.
    Rules,
    /// Several cores.
    Scaling,
    /// Under half of the full rate.
    Latency,
    /// Of a hundred thousand SAs.
    Memory,
    /// Tunnels set up and deleted.
    Setups,
    /// Between veth pairs in namespaces.
    AfXdp,
    /// Three levels beside one.
    Nested,
    /// Under a million garbage probes a second.
    ProbeFlood,
    /// Of two full proxies.
    Intersection,
}

/// What the command line says about the suite.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Choice {
    /// Fewer cases and shorter rounds.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only this part; may be given several times.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// DPDK's gateway and rule matching beside ours, where Debian's packages of them are installed.
    #[arg(long)]
    pub(crate) peers: bool,
}

/// Runs the parts that are wanted.
pub(crate) fn run(choice: &Choice, report: &mut Report) -> Result<(), String> {
    let mut failed = Vec::new();
    if let Some(load) = load().filter(|&load| load > LOAD_MAX) {
        remark(&format!(
            "the machine is busy already (load {load:.1}): wait until it is quiet, or heed what is noisy"
        ));
    }
    for &part in Part::value_variants() {
        if !choice.only.is_empty() && !choice.only.contains(&part) {
            continue;
        }
        if let Some(why) = cannot_run(part) {
            remark(&format!("{}: not measured: {why}", name(part)));
            continue;
        }
        remark(&format!("\n{}", name(part)));
        if let Err(why) = one(part, choice.quick, report) {
            remark(&format!("{}: no figure: {why}", name(part)));
            failed.push(name(part));
        }
    }
    if choice.peers {
        remark("\npeers");
        if let Err(why) = peers::run(&peers::Arguments::of_suite(choice.quick), report) {
            remark(&format!("peers: no figure: {why}"));
            failed.push("peers".to_owned());
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(format!("without a figure: {}", failed.join(", "))),
    }
}

/// More than this and somebody else works here.
const LOAD_MAX: f64 = 0.5;

/// Processes that could run, in the mean of the last minute.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn one(part: Part, quick: bool, report: &mut Report) -> Result<(), String> {
    match part {
        Part::Aead => aead::run(&aead::Arguments::of_suite(quick), report),
        Part::WholePath => whole_path::run(&whole_path::Arguments::of_suite(quick), report),
        Part::Stages => stages::run(&stages::Arguments::of_suite(quick), report),
        Part::Accounting => accounting::run(&accounting::Arguments::of_suite(quick), report),
        Part::Rules => rules::run(&rules::Arguments::of_suite(quick), report),
        Part::Scaling => scaling::run(&scaling::Arguments::of_suite(quick), report),
        Part::Latency => latency::run(&latency::Arguments::of_suite(quick), report),
        Part::Memory => memory::run_apart(quick, report),
        Part::Setups => setups::run(&setups::Arguments::of_suite(quick), report),
        Part::AfXdp => af_xdp::run(&af_xdp::Arguments::of_suite(quick), report),
        Part::Nested => nested::run(&nested::Arguments::of_suite(quick), report),
        Part::ProbeFlood => probe_flood::run(&probe_flood::Arguments::of_suite(quick), report),
        Part::Intersection => intersection::run(&intersection::Arguments::of_suite(quick), report),
    }
}

/// Why a part cannot run on this machine.
fn cannot_run(part: Part) -> Option<&'static str> {
    (part == Part::AfXdp && !geteuid().is_root()).then_some("namespaces need root")
}

fn name(part: Part) -> String {
    part.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_named_runs_and_nothing_else_does() {
        let mut report = Report::silent();
        let choice = Choice { quick: true, only: vec![Part::Aead], peers: false };
        run(&choice, &mut report).unwrap();
        let mut names: Vec<_> = report.rows().iter().map(|row| row.name.clone()).collect();
        names.dedup();
        assert_eq!(names, ["aead"]);
    }

    #[test]
    fn every_part_has_a_name() {
        assert!(Part::value_variants().iter().all(|&part| !name(part).is_empty()));
    }
}
