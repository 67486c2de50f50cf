//! Benchmarks. Each writes one JSON object per line to standard output, or to the file that `--json` names, so that runs can
//! be kept and compared; what a person wants to read goes to standard error.

mod aead;
mod af_xdp;
mod intersection;
mod nested;
mod peers;
mod probe_flood;
mod report;
mod ring_seal;
mod rounds;
mod rows;
mod track;
mod whole_path;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use report::{Report, remark};

/// Benchmarks of Warren. Results are lines of JSON.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Write the lines to this file instead of standard output.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// The whole path on one core: cycles per packet for packets that are sealed and packets that are opened.
    WholePath(whole_path::Arguments),
    /// Sealing and opening alone, by each backend, beside one seal by ring.
    Aead(aead::Arguments),
    /// Packets per second through AF_XDP sockets over veth, in namespaces of its own (needs root).
    AfXdp(af_xdp::Arguments),
    /// A tunnel's throughput while garbage probes arrive, as a share of what it is without.
    ProbeFlood(probe_flood::Arguments),
    /// What a packet costs inside three tunnels, as a multiple of what it costs inside one.
    Nested(nested::Arguments),
    /// One intersection of two full proxies.
    Intersection(intersection::Arguments),
    /// What DPDK reaches on this machine: ipsec-secgw and dpdk-test-acl of Debian's packages.
    Peers(peers::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match Report::new(arguments.json.as_deref()).and_then(|mut report| run(&arguments.benchmark, &mut report))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            remark(&format!("warren-bench: {why}"));
            ExitCode::FAILURE
        }
    }
}

fn run(benchmark: &Benchmark, report: &mut Report) -> Result<(), String> {
    match benchmark {
        Benchmark::WholePath(arguments) => whole_path::run(arguments, report),
        Benchmark::Aead(arguments) => aead::run(arguments, report),
        Benchmark::AfXdp(arguments) => af_xdp::run(arguments, report),
        Benchmark::ProbeFlood(arguments) => probe_flood::run(arguments, report),
        Benchmark::Nested(arguments) => nested::run(arguments, report),
        Benchmark::Peers(arguments) => peers::run(arguments, report),
        Benchmark::Intersection(arguments) => intersection::run(arguments, report),
    }
}
