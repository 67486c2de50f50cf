//! Benchmarks. Each writes one JSON object per line to standard output, so that runs can be kept and compared; what a
//! person wants to read goes to standard error.

mod aead;
mod af_xdp;
mod intersection;
mod nested;
mod probe_flood;
mod rows;
#[allow(unsafe_code)]
mod rules;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Benchmarks of Warren. Results are lines of JSON.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Sealing and opening alone, by each backend, beside one seal by ring.
    Aead(aead::Arguments),
    /// Packets per second through AF_XDP sockets over veth, in namespaces of its own (needs root).
    AfXdp(af_xdp::Arguments),
    /// A tunnel's throughput while garbage probes arrive, as a share of what it is without.
    ProbeFlood(probe_flood::Arguments),
    /// What a packet costs inside three tunnels, as a multiple of what it costs inside one.
    Nested(nested::Arguments),
    /// Rule matching, without any cache, over the rule sets of `shared/vectors/policies` and others.
    Rules(rules::Arguments),
    /// One intersection of two full proxies.
    Intersection(intersection::Arguments),
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().benchmark {
        Benchmark::Aead(arguments) => aead::run(&arguments),
        Benchmark::AfXdp(arguments) => af_xdp::run(&arguments),
        Benchmark::ProbeFlood(arguments) => probe_flood::run(&arguments),
        Benchmark::Nested(arguments) => nested::run(&arguments),
        Benchmark::Rules(arguments) => rules::run(&arguments),
        Benchmark::Intersection(arguments) => intersection::run(&arguments),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            rows::remark(&format!("warren-bench: {why}"));
            ExitCode::FAILURE
        }
    }
}
