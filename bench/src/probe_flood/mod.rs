//! What a flood of garbage probes costs an established tunnel (REQUIREMENTS F-8). Figure: a million a second leave it
//! within 10 %.
//!
//! One worker on ports in memory, which always has tunnel traffic waiting: what garbage takes, the tunnel lacks. With and
//! without garbage is measured in turns on the same engine, and the figure is the median of the ratios. Rates are of
//! the core's time for us, which on an idle machine is that of the wall clock: where others use the core too, the flood does
//! not go on while the worker stands still.

pub(crate) mod site;
pub(crate) mod tap;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;
use warren_engine::packet::isakmp;
use warren_engine::{
    CounterSnapshot, DropReason, EnginePort, Handle, Settings, Tally, Worker, WorkerParts, build,
};
use warren_port::{Link, MemoryPort, Umem, UmemConfig};
use warren_seam::{Command, PortIndex};

use crate::report::{Report, remark};
use crate::rounds::{cpu_time, median};
use site::{INSIDE, OUTSIDE};
use tap::{Reel, Tap};

/// Which half of the tunnel is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Way {
    /// Clear text from inside is sealed. Garbage comes by the other port.
    Seal,
    /// ESP from outside is opened. Garbage comes by the same port.
    Open,
}

/// What comes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Garbage {
    /// Probes by a port that answers: control is shown some.
    Probes,
    /// Responses between others: some pass.
    Responses,
}

/// Arguments of the benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Octets of the tunnel's inner packets.
    #[arg(long, value_delimiter = ',', default_value = "64,576,1400")]
    sizes: Vec<usize>,
    /// Which halves of the tunnel.
    #[arg(long, value_delimiter = ',', default_value = "seal,open")]
    ways: Vec<Way>,
    /// What comes with it.
    #[arg(long, value_delimiter = ',', default_value = "probes,responses")]
    garbage: Vec<Garbage>,
    /// Garbage each second.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    per_second: u64,
    /// How often each is measured, with and without.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each measurement lasts.
    #[arg(long, default_value_t = 0.5)]
    seconds: f64,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        let (rounds, seconds) = if quick { (3, 0.1) } else { (9, 0.5) };
        Self {
            sizes: if quick { vec![64] } else { vec![64, 576, 1400] },
            ways: vec![Way::Seal, Way::Open],
            garbage: vec![Garbage::Probes, Garbage::Responses],
            per_second: 1_000_000,
            rounds,
            seconds,
        }
    }
}

/// One line of the result: all rounds of one case.
#[derive(Debug, Serialize)]
struct Row {
    benchmark: &'static str,
    way: Way,
    garbage: Garbage,
    packet_octets: usize,
    per_second: u64,
    seconds: f64,
    /// What the worker took: less than was asked for where it does not keep up.
    median_garbage_pps: f64,
    rounds_quiet_pps: Vec<f64>,
    rounds_flooded_pps: Vec<f64>,
    median_quiet_pps: f64,
    median_flooded_pps: f64,
    /// The tunnel's rate under the flood as a share of its rate in the same round without, the median of all rounds.
    ratio: f64,
    quiet_ns_per_packet: f64,
    /// What one piece of garbage takes away from the tunnel.
    ns_per_garbage: f64,
    /// As a share of what one packet of the tunnel costs.
    garbage_share_of_packet: f64,
}

/// Rates of one measurement.
#[derive(Clone, Copy)]
struct Measured {
    pps: f64,
    garbage_pps: f64,
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, out: &mut Report) -> Result<(), String> {
    if !(0.05..=600.0).contains(&arguments.seconds) {
        return Err("a measurement lasts between 0.05 and 600 seconds".to_owned());
    }
    for &octets in &arguments.sizes {
        if !(SMALLEST..=LARGEST).contains(&octets) {
            return Err(format!("an inner packet has between {SMALLEST} and {LARGEST} octets"));
        }
        for &way in &arguments.ways {
            for &garbage in &arguments.garbage {
                measure((arguments, way, garbage, octets), out)?;
            }
        }
    }
    Ok(())
}

const SMALLEST: usize = 28;
const LARGEST: usize = 1400;
/// Frames of traffic, one flow each, and of garbage.
const FLOWS: u16 = 64;
const GARBAGE: u16 = 4096;
/// Turns between two looks at the clock.
const TURNS: u32 = 16;
/// Caches are warm and rates have settled after this.
const WARM_UP: Duration = Duration::from_millis(100);

fn measure(
    (arguments, way, garbage, octets): (&Arguments, Way, Garbage, usize),
    out: &mut Report,
) -> Result<(), String> {
    let mut gateway = Gateway::new(way, garbage, octets)?;
    let (mut quiet, mut flooded) = (Vec::new(), Vec::new());
    for _ in 0..arguments.rounds {
        quiet.push(gateway.measure(arguments.seconds, 0)?);
        flooded.push(gateway.measure(arguments.seconds, arguments.per_second)?);
    }
    let pps = |all: &[Measured]| all.iter().map(|one| one.pps).collect::<Vec<_>>();
    let paired = |what: fn(&Measured, &Measured) -> f64| {
        median(&quiet.iter().zip(&flooded).map(|(quiet, flooded)| what(quiet, flooded)).collect::<Vec<_>>())
    };
    let result = Row {
        benchmark: "probe-flood",
        way,
        garbage,
        packet_octets: octets,
        per_second: arguments.per_second,
        seconds: arguments.seconds,
        median_garbage_pps: paired(|_, flooded| flooded.garbage_pps),
        median_quiet_pps: median(&pps(&quiet)),
        median_flooded_pps: median(&pps(&flooded)),
        ratio: paired(|quiet, flooded| flooded.pps / quiet.pps),
        quiet_ns_per_packet: paired(|quiet, _| 1e9 / quiet.pps),
        ns_per_garbage: paired(|quiet, flooded| 1e9 * lost(quiet, flooded) / flooded.garbage_pps),
        garbage_share_of_packet: paired(|quiet, flooded| {
            lost(quiet, flooded) * quiet.pps / flooded.garbage_pps
        }),
        rounds_quiet_pps: pps(&quiet),
        rounds_flooded_pps: pps(&flooded),
    };
    remark(&format!(
        "{octets} octets, {way:?}, {:.2} M {garbage:?} a second: {:.3} of {:.3} Mpps, ratio {:.3}; {:.0} ns each, {:.2} of a packet",
        result.median_garbage_pps / 1e6,
        result.median_flooded_pps / 1e6,
        result.median_quiet_pps / 1e6,
        result.ratio,
        result.ns_per_garbage,
        result.garbage_share_of_packet,
    ));
    out.write(&result)
}

/// The share of its time that the worker has lost to garbage.
fn lost(quiet: &Measured, flooded: &Measured) -> f64 {
    1.0 - flooded.pps / quiet.pps
}

/// An engine of one worker, turned by the measuring thread.
struct Gateway {
    handle: Handle,
    worker: Worker,
    started: Instant,
    per_second: Arc<AtomicU64>,
    tunnel: Tally,
}

impl Gateway {
    fn new(way: Way, garbage: Garbage, octets: usize) -> Result<Self, String> {
        let per_second = Arc::new(AtomicU64::new(0));
        let clear = clear_text((1, INSIDE), (1, 2), octets);
        let (inside, outside) = match way {
            Way::Seal => (clear, Vec::new()),
            Way::Open => {
                (Vec::new(), sealed(&clear_text((2, INSIDE), (2, 1), octets), site::commands(2, true)?)?)
            }
        };
        let exchange = match garbage {
            Garbage::Probes => isakmp::PROBE,
            Garbage::Responses => isakmp::RESPONSE,
        };
        let tap = |name: &str, traffic, garbage, per_second| {
            Box::new(Tap::new(name, Reel::new(traffic), Reel::new(garbage), per_second))
        };
        let flood = site::garbage(exchange, GARBAGE);
        let ports = vec![
            EnginePort { index: INSIDE, port: tap("inside", inside, Vec::new(), Arc::default()) },
            EnginePort { index: OUTSIDE, port: tap("outside", outside, flood, Arc::clone(&per_second)) },
        ];
        let (handle, worker) = engine(ports, site::commands(1, true)?)?;
        let tunnel = if way == Way::Seal { Tally::Sealed } else { Tally::Opened };
        let mut gateway = Self { handle, worker, started: Instant::now(), per_second, tunnel };
        gateway.turn_for(WARM_UP);
        Ok(gateway)
    }

    fn measure(&mut self, seconds: f64, per_second: u64) -> Result<Measured, String> {
        self.per_second.store(per_second, Ordering::Relaxed);
        self.turn_for(WARM_UP);
        let (before, start) = (self.handle.counters(), cpu_time());
        self.turn_for(Duration::from_secs_f64(seconds));
        let (after, elapsed) = (self.handle.counters(), (cpu_time() - start).as_secs_f64());
        let tunnel = after.of(self.tunnel) - before.of(self.tunnel);
        let unexpected = after.dropped_total()
            - after.dropped(DropReason::ProbeRate)
            - after.dropped(DropReason::DiscoveryRate);
        if tunnel == 0 || unexpected > 0 || !after.conserved() {
            let drops = after.drops().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>();
            return Err(format!("the tunnel does not work: {tunnel} packets, {}", drops.join(", ")));
        }
        let garbage = seen(&after) - seen(&before);
        Ok(Measured { pps: tunnel as f64 / elapsed, garbage_pps: garbage as f64 / elapsed })
    }

    fn turn_for(&mut self, span: Duration) {
        let until = cpu_time() + span;
        while cpu_time() < until {
            for _ in 0..TURNS {
                self.worker.poll(self.started.elapsed());
            }
            while self.handle.poll_event().is_some() {}
        }
    }
}

/// Discovery messages so far, whatever became of them.
fn seen(counters: &CounterSnapshot) -> u64 {
    let kept = counters.of(Tally::Caught) + counters.of(Tally::Discovery);
    kept + counters.dropped(DropReason::ProbeRate) + counters.dropped(DropReason::DiscoveryRate)
}

/// One end of the tunnel on those ports.
pub(crate) fn engine(ports: Vec<EnginePort>, commands: Vec<Command>) -> Result<(Handle, Worker), String> {
    let config = UmemConfig { frames: 4096, frame_octets: 2048, headroom: 256, huge_pages: false };
    let umem = Umem::new(&config).map_err(|error| error.to_string())?;
    let parts = WorkerParts { umem, ports, tun: None };
    let (mut handle, workers) =
        build(vec![parts], &Settings::default()).map_err(|error| error.to_string())?;
    let mut worker = workers.into_iter().next().ok_or("an engine without a worker")?;
    for command in commands {
        handle.submit(command).map_err(|refused| format!("{refused:?}"))?;
    }
    worker.poll(Duration::ZERO);
    Ok((handle, worker))
}

/// Frames of clear text, one of each flow.
pub(crate) fn clear_text(to: (u8, PortIndex), (from, towards): (u8, u8), octets: usize) -> Vec<Vec<u8>> {
    let payload = vec![0xA5; octets - SMALLEST];
    let hosts = (site::host(from, 2), site::host(towards, 2));
    (0..FLOWS).map(|flow| site::frame(to, hosts, (5000 + flow, 6000), &payload)).collect()
}

/// What the peer makes of them.
pub(crate) fn sealed(frames: &[Vec<u8>], commands: Vec<Command>) -> Result<Vec<Vec<u8>>, String> {
    let (inside, inside_end) = MemoryPort::pair("inside", Link::Ethernet, FLOWS.into());
    let (outside, outside_end) = MemoryPort::pair("outside", Link::Ethernet, FLOWS.into());
    let ports = vec![
        EnginePort { index: INSIDE, port: Box::new(inside) },
        EnginePort { index: OUTSIDE, port: Box::new(outside) },
    ];
    let (_handle, mut worker) = engine(ports, commands)?;
    frames.iter().for_each(|frame| {
        inside_end.send(frame);
    });
    while worker.poll(Duration::from_secs(1)) {}
    let sealed: Vec<_> = std::iter::from_fn(|| outside_end.receive()).collect();
    if sealed.len() == frames.len() {
        Ok(sealed)
    } else {
        Err("the peer did not seal its packets".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // F-8
    fn tunnel_and_garbage_both_pass_the_engine_in_every_case() {
        for way in [Way::Seal, Way::Open] {
            for garbage in [Garbage::Probes, Garbage::Responses] {
                let measured = Gateway::new(way, garbage, 64)
                    .and_then(|mut gateway| Ok((gateway.measure(0.05, 0)?, gateway.measure(0.05, 100_000)?)));
                let Ok((quiet, flooded)) = measured else { panic!("{:?}", measured.err()) };
                assert!(quiet.pps > 0.0 && quiet.garbage_pps == 0.0);
                assert!(flooded.pps > 0.0 && flooded.garbage_pps > 10_000.0, "{}", flooded.garbage_pps);
            }
        }
    }
}
