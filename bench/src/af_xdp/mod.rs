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
mod proof;
mod topology;

use clap::{Args, ValueEnum};
use warren_aead::Backend;

use crate::report::{Report, remark};
use crate::rounds::{Rounds, median};
use crate::rows::{Row, Size};
use measure::{Measured, measure};
use topology::Topology;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
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

    const fn word(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Clear => "clear",
            Self::Protected => "protected",
        }
    }
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

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        let (rounds, seconds) = if quick { (3, 0.5) } else { (5, 2.0) };
        Self { sizes: vec![64, 1500], loops: Vec::new(), rounds, seconds, batch: 64, generic: false }
    }
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
        Loop::Bare => measure(&topology, kind, bare::Bare::new(station, arguments.batch as usize), seconds),
        Loop::Clear => measure(&topology, kind, gateway::Gateway::new(station, false)?, seconds),
        Loop::Protected => measure(&topology, kind, gateway::Gateway::new(station, true)?, seconds),
    }
}

fn report(
    out: &mut Report,
    arguments: &Arguments,
    loops: &[Loop],
    size: usize,
    rounds: &[Vec<Measured>],
) -> Result<(), String> {
    let bare = loops.iter().zip(rounds).find(|(kind, _)| **kind == Loop::Bare).map(|(_, measured)| measured);
    for (&kind, measured) in loops.iter().zip(rounds) {
        let rate = each(measured, |one| one.pps);
        let share = bare.map(|bare| rate.ratio_to(&each(bare, |one| one.pps)).median());
        let floor = floor(kind, size);
        let core: Vec<_> = measured.iter().map(|one| one.pps * one.cpu_ns_per_packet / 1e9).collect();
        let row = Row::of("af-xdp", &rate);
        out.add(Row {
            noisy: row.noisy || median(&core) < CORE_SHARE_MIN,
            variant: Some(kind.word().to_owned()),
            alg: (kind == Loop::Protected).then(|| "aes128gcm16".to_owned()),
            size: Some(Size::Octets(size as u16)),
            ns_per_packet: Some(each(measured, |one| one.cpu_ns_per_packet).median()),
            per_second: Some(rate.median()),
            beside: share.map(|_| "the bare loop's rate".to_owned()),
            ratio: share,
            floor,
            within: share.zip(floor).map(|(share, floor)| share >= floor),
            backend: (kind == Loop::Protected).then(|| Backend::best().to_string()),
            note: Some(note(arguments, measured, bare)),
            ..row
        })?;
    }
    let work: Rounds = bare.into_iter().flatten().filter_map(|one| one.ring_cycles).collect();
    if work.len() > 0 {
        out.add(Row {
            variant: Some("ring work".to_owned()),
            size: Some(Size::Octets(size as u16)),
            note: Some(
                "receive and transmit in our own process, of calls that made no system call".to_owned(),
            ),
            ..Row::of_cycles("af-xdp", &work).meant_within(Some(RING_WORK_CYCLES_MAX))
        })?;
    }
    Ok(())
}

/// Where the measured thread had less of its core, the rate is not what the core can do.
const CORE_SHARE_MIN: f64 = 0.9;

/// What our own process may spend on the rings for each packet that is forwarded.
const RING_WORK_CYCLES_MAX: f64 = 20.0;

/// What protected forwarding is meant to keep of the bare loop's rate.
fn floor(kind: Loop, size: usize) -> Option<f64> {
    match (kind, size) {
        (Loop::Protected, 64) => Some(0.92),
        (Loop::Protected, 1420..) => Some(0.85),
        _ => None,
    }
}

/// What was there to be forwarded, because the rate is the loop's own limit only where that is more; and processor time beside
/// the bare loop's, which is what the share would be on a quiet machine.
fn note(arguments: &Arguments, measured: &[Measured], bare: Option<&Vec<Measured>>) -> String {
    let mode = measured.first().map(|one| one.mode.as_str()).unwrap_or_default();
    let offered = each(measured, |one| one.offered_pps).median() / 1e6;
    let cpu = each(measured, |one| one.cpu_ns_per_packet);
    let share = bare.map(|bare| each(bare, |one| one.cpu_ns_per_packet).ratio_to(&cpu).median());
    let share = share.map(|share| format!(", by processor time {share:.3} of the bare loop's rate"));
    format!(
        "octets of the frame with its check sequence; {mode}; batches of {}; {offered:.3} M/s offered{}; ns are of processor time, the kernel's part included",
        arguments.batch,
        share.unwrap_or_default()
    )
}

fn each(measured: &[Measured], what: fn(&Measured) -> f64) -> Rounds {
    measured.iter().map(what).collect()
}
