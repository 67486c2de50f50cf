//! Plays many seeds and says which of them broke a promise.

use clap::Parser;
use sim::{Report, Seed, run};
use std::process::ExitCode;

/// Two gateways, and rows of them, on a virtual clock and a network with bad weather between them.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// How many seeds to play.
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// The first of them; with `--seeds 1` the run to look at again.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Prints every run, not only the broken ones.
    #[arg(long)]
    verbose: bool,
}

#[expect(clippy::print_stdout, reason = "a program for people")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut total = Report::default();
    let mut broken = 0;
    for seed in (arguments.first..arguments.first.saturating_add(arguments.seeds)).map(Seed) {
        match run(seed) {
            Ok(report) => {
                if arguments.verbose {
                    println!("seed {}: {report:?}", seed.0);
                }
                total.add(report);
            }
            Err(broke) => {
                broken += 1;
                println!("seed {} broke a promise at {:?}: {:?}", seed.0, broke.at, broke.violation);
                println!("  {}", broke.plan);
            }
        }
    }
    let Report { sent, received, esp_packets, steps, .. } = total;
    println!(
        "{} seeds, {broken} broken: {steps} steps, {sent} packets sent, {received} received, {esp_packets} ESP packets on the wire",
        arguments.seeds
    );
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
