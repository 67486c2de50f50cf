//! Benchmarks. Each writes one JSON object per line to standard output, or to the file that `--json` names, so that runs can
//! be kept and compared; what a person wants to read goes to standard error.

mod accounting;
mod aead;
mod af_xdp;
mod intersection;
mod latency;
mod memory;
mod nested;
mod page;
mod peers;
mod plots;
mod probe_flood;
mod report;
mod ring_seal;
mod rounds;
mod rows;
mod rules;
mod scaling;
mod setups;
mod stages;
mod suite;
mod track;
mod whole_path;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use report::{Report, remark};

/// Benchmarks of Warren. Without the name of one, the whole suite. Results are lines of JSON.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    suite: Suite,
    #[command(subcommand)]
    benchmark: Option<Benchmark>,
}

#[derive(clap::Args)]
struct Suite {
    /// Write the lines to this file instead of standard output.
    #[arg(long, value_name = "FILE", global = true)]
    json: Option<PathBuf>,
    /// Renew the tables and pictures in docs/ for which there are rows.
    #[arg(long, conflicts_with = "quick")]
    docs: bool,
    #[command(flatten)]
    choice: suite::Choice,
}

#[derive(Subcommand)]
enum Benchmark {
    /// The whole path on one core: cycles per packet for packets that are sealed and packets that are opened.
    WholePath(whole_path::Arguments),
    /// What it costs to measure where the cycles go.
    Accounting(accounting::Arguments),
    /// Sealing and opening alone, by each backend, beside one seal by ring.
    Aead(aead::Arguments),
    /// How long a packet is in the gateway at half of its full rate.
    Latency(latency::Arguments),
    /// Where the cycles of the whole path go.
    Stages(stages::Arguments),
    /// What several cores do together, with and without handing packets over.
    Scaling(scaling::Arguments),
    /// What SAs take in memory.
    Memory(memory::Arguments),
    /// Packets per second through AF_XDP sockets over veth, in namespaces of its own (needs root).
    AfXdp(af_xdp::Arguments),
    /// A tunnel's throughput while garbage probes arrive, as a share of what it is without.
    ProbeFlood(probe_flood::Arguments),
    /// What a packet costs inside three tunnels, as a multiple of what it costs inside one.
    Nested(nested::Arguments),
    /// Rule matching, without any cache, over the rule sets of `tests/vectors/policies` and others.
    Rules(rules::Arguments),
    /// A tunnel's set-up and deletion by IKEv1, as processor time of each side.
    Setups(setups::Arguments),
    /// One intersection of two full proxies.
    Intersection(intersection::Arguments),
    /// What DPDK reaches on this machine: ipsec-secgw and dpdk-test-acl of Debian's packages.
    Peers(peers::Arguments),
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            remark(&format!("warren-bench: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let mut report = Report::new(arguments.suite.json.as_deref())?;
    match &arguments.benchmark {
        None => {
            let outcome = suite::run(&arguments.suite.choice, &mut report);
            // What was measured is worth keeping although a part failed; that is said after.
            if arguments.suite.docs {
                page::write(report.rows())?;
            }
            outcome
        }
        Some(benchmark) => one(benchmark, &mut report),
    }
}

fn one(benchmark: &Benchmark, report: &mut Report) -> Result<(), String> {
    match benchmark {
        Benchmark::WholePath(arguments) => whole_path::run(arguments, report),
        Benchmark::Accounting(arguments) => accounting::run(arguments, report),
        Benchmark::Aead(arguments) => aead::run(arguments, report),
        Benchmark::Latency(arguments) => latency::run(arguments, report),
        Benchmark::Stages(arguments) => stages::run(arguments, report),
        Benchmark::Scaling(arguments) => scaling::run(arguments, report),
        Benchmark::Memory(arguments) => memory::run(arguments, report),
        Benchmark::AfXdp(arguments) => af_xdp::run(arguments, report),
        Benchmark::ProbeFlood(arguments) => probe_flood::run(arguments, report),
        Benchmark::Nested(arguments) => nested::run(arguments, report),
        Benchmark::Rules(arguments) => rules::run(arguments, report),
        Benchmark::Setups(arguments) => setups::run(arguments, report),
        Benchmark::Peers(arguments) => peers::run(arguments, report),
        Benchmark::Intersection(arguments) => intersection::run(arguments, report),
    }
}
