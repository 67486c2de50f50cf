//! What a core forwards over veth: a bare loop over two sockets, and whatever else is measured beside it.
//!
//! ```text
//!   generator's core                        measured core
//!   live frames -> h0 ~~~ n0 -> XDP -> rx   receive, readdress, transmit   tx -> f0 ~~~ p0 -> dropped by the stack
//! ```
//!
//! The generator sends faster than anything here forwards, so the measured core is the limit. What is compared is
//! measured in turns, round by round, because the machine is never quiet; the figure is the median.

mod bare;
mod gateway;
mod measure;
mod topology;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::report::{Report, remark};
use crate::rounds::median;
use measure::{Measured, measure};
use topology::Topology;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Loop {
    /// Receive, write two MAC addresses, transmit: what the sockets cost without a gateway.
    Bare,
    /// The engine with a rule that lets the packets pass in clear.
    Clear,
    /// The engine with a rule that protects them with AES-GCM-128 in a tunnel.
    Protected,
}

impl Loop {
    const ALL: [Self; 3] = [Self::Bare, Self::Clear, Self::Protected];
}

/// Arguments of the benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Octets of the frames, check sequence included.
    #[arg(long, value_delimiter = ',', default_value = "64,1500")]
    sizes: Vec<usize>,
    /// What to measure, in alternation.
    #[arg(long, value_delimiter = ',')]
    loops: Vec<Loop>,
    /// How often each is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each measurement lasts.
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Frames of one batch of the bare loop. The engine's own is 64.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1024))]
    batch: u32,
    /// Attach the programs in generic mode.
    #[arg(long)]
    generic: bool,
}

/// One line of the result: all rounds of one loop at one size.
#[derive(Debug, Serialize)]
struct Row {
    benchmark: &'static str,
    #[serde(rename = "loop")]
    kind: Loop,
    frame_octets: usize,
    batch: u32,
    mode: String,
    seconds: f64,
    rounds_pps: Vec<f64>,
    median_pps: f64,
    /// As a share of the bare loop's rate in the same round, the median of all rounds: what else the machine does changes
    /// from round to round, and both feel it.
    share_of_bare: Option<f64>,
    /// What was there to be forwarded: the figure above is the loop's own limit only where this is larger.
    median_offered_pps: f64,
    /// Processor time of the measured thread, the kernel's part included. It does not grow when others use the core, but
    /// it counts waiting for packets, too.
    median_cpu_ns_per_packet: f64,
    /// The bare loop's processor time, as a share of this loop's: what `share_of_bare` would be on a quiet machine.
    cpu_share_of_bare: Option<f64>,
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, out: &mut Report) -> Result<(), String> {
    let loops = if arguments.loops.is_empty() { &Loop::ALL[..] } else { &arguments.loops };
    if !(0.1..=600.0).contains(&arguments.seconds) {
        return Err("a measurement lasts between 0.1 and 600 seconds".to_owned());
    }
    for &size in &arguments.sizes {
        let mut rounds: Vec<Vec<Measured>> = loops.iter().map(|_| Vec::new()).collect();
        for round in 0..arguments.rounds {
            for (kind, measured) in loops.iter().zip(&mut rounds) {
                let result = once(arguments, *kind, size)?;
                remark(&format!(
                    "{size} octets, round {}, {kind:?}: {:.3} of {:.3} Mpps, {:.0} ns of CPU each",
                    round + 1,
                    result.pps / 1e6,
                    result.offered_pps / 1e6,
                    result.cpu_ns_per_packet
                ));
                measured.push(result);
            }
        }
        report(out, arguments, loops, size, &rounds)?;
    }
    Ok(())
}

fn once(arguments: &Arguments, kind: Loop, size: usize) -> Result<Measured, String> {
    let topology = Topology::new(size)?;
    let station = topology.station(arguments.generic)?;
    let seconds = arguments.seconds;
    match kind {
        Loop::Bare => measure(&topology, bare::Bare::new(station, arguments.batch as usize), seconds),
        Loop::Clear => measure(&topology, gateway::Gateway::new(station, false)?, seconds),
        Loop::Protected => measure(&topology, gateway::Gateway::new(station, true)?, seconds),
    }
}

fn report(
    out: &mut Report,
    arguments: &Arguments,
    loops: &[Loop],
    size: usize,
    rounds: &[Vec<Measured>],
) -> Result<(), String> {
    let each =
        |measured: &[Measured], what: fn(&Measured) -> f64| measured.iter().map(what).collect::<Vec<_>>();
    let pps = |measured: &[Measured]| median(&each(measured, |one| one.pps));
    let cpu = |measured: &[Measured]| median(&each(measured, |one| one.cpu_ns_per_packet));
    let bare = loops.iter().zip(rounds).find(|(kind, _)| **kind == Loop::Bare).map(|(_, measured)| measured);
    for (&kind, measured) in loops.iter().zip(rounds) {
        out.write(&Row {
            benchmark: "af-xdp",
            kind,
            frame_octets: size,
            batch: arguments.batch,
            mode: measured.first().map(|one| one.mode.clone()).unwrap_or_default(),
            seconds: arguments.seconds,
            median_offered_pps: median(&each(measured, |one| one.offered_pps)),
            median_cpu_ns_per_packet: cpu(measured),
            cpu_share_of_bare: bare.map(|bare| paired(bare, measured, |one| one.cpu_ns_per_packet)),
            rounds_pps: each(measured, |one| one.pps),
            median_pps: pps(measured),
            share_of_bare: bare.map(|bare| paired(measured, bare, |one| one.pps)),
        })?;
    }
    Ok(())
}

/// The median over all rounds of one's figure as a share of the other's.
fn paired(one: &[Measured], other: &[Measured], what: fn(&Measured) -> f64) -> f64 {
    let shares: Vec<f64> = one.iter().zip(other).map(|(one, other)| what(one) / what(other)).collect();
    median(&shares)
}
