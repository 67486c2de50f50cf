//! What a packet costs inside three tunnels, as a multiple of what it costs inside one (REQUIREMENTS NT-21, NT-34). Figure: at
//! most 3.2 times.
//!
//! One worker on ports in memory that always have packets waiting. Both gateways live at once and are measured in turns, and
//! the figure is the median of the ratios. Everything a packet meets is counted, not only ESP: it is received, judged, routed
//! and sent on once whatever the number of its levels, which is why three may cost less than three times one.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use serde::Serialize;
use warren_engine::{EnginePort, Handle, Tally, Worker};
use warren_policy::{AddressRange, RuleId, Selector};
use warren_seam::{Carrier, Command, OutboundSa, SaId, Spi};

use crate::probe_flood::site::{self, INSIDE, OUTSIDE};
use crate::probe_flood::tap::{Reel, Tap};
use crate::probe_flood::{clear_text, engine, sealed};
use crate::report::{Report, remark};
use crate::rounds::{cpu_time, median};

/// Which half of the stack is busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Way {
    /// Clear text from inside gets all its levels.
    Seal,
    /// What comes from outside is peeled to the innermost packet.
    Open,
}

/// Arguments of the benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Octets of the innermost packets.
    #[arg(long, value_delimiter = ',', default_value = "64,1200", value_parser = clap::value_parser!(u16).range(28..=1280))]
    sizes: Vec<u16>,
    /// Which halves of the stack.
    #[arg(long, value_delimiter = ',', default_value = "seal,open")]
    ways: Vec<Way>,
    /// How many levels are compared with one.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=4))]
    levels: u8,
    /// How often each is measured.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each measurement lasts, in milliseconds.
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u64).range(20..=60_000))]
    milliseconds: u64,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        let (rounds, milliseconds) = if quick { (5, 50) } else { (15, 300) };
        Self { sizes: vec![64, 1200], ways: vec![Way::Seal, Way::Open], levels: 3, rounds, milliseconds }
    }
}

/// One line of the result: all rounds of one case.
#[derive(Serialize)]
struct Row {
    benchmark: &'static str,
    way: Way,
    packet_octets: u16,
    levels: u8,
    rounds_one_ns: Vec<f64>,
    rounds_nested_ns: Vec<f64>,
    median_one_ns: f64,
    median_nested_ns: f64,
    /// Cost with all levels by cost with one in the same round, the median of all rounds.
    ratio: f64,
}

/// Turns between two looks at the clock.
const TURNS: u32 = 16;
/// Caches are warm and rates have settled after this.
const WARM_UP: Duration = Duration::from_millis(100);

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, out: &mut Report) -> Result<(), String> {
    for &octets in &arguments.sizes {
        for &way in &arguments.ways {
            measure(arguments, out, way, octets)?;
        }
    }
    Ok(())
}

fn measure(arguments: &Arguments, out: &mut Report, way: Way, octets: u16) -> Result<(), String> {
    let span = Duration::from_millis(arguments.milliseconds);
    let mut one = Gateway::new(way, octets, 1)?;
    let mut nested = Gateway::new(way, octets, arguments.levels)?;
    let (mut rounds_one_ns, mut rounds_nested_ns) = (Vec::new(), Vec::new());
    for round in 0..arguments.rounds {
        // Whoever is first must not always be the same.
        if round % 2 == 0 {
            rounds_one_ns.push(one.measure(span)?);
            rounds_nested_ns.push(nested.measure(span)?);
        } else {
            rounds_nested_ns.push(nested.measure(span)?);
            rounds_one_ns.push(one.measure(span)?);
        }
    }
    let ratios: Vec<_> =
        rounds_one_ns.iter().zip(&rounds_nested_ns).map(|(one, nested)| nested / one).collect();
    let result = Row {
        benchmark: "nested",
        way,
        packet_octets: octets,
        levels: arguments.levels,
        median_one_ns: median(&rounds_one_ns),
        median_nested_ns: median(&rounds_nested_ns),
        ratio: median(&ratios),
        rounds_one_ns,
        rounds_nested_ns,
    };
    remark(&format!(
        "{octets} octets, {way:?}: {:.0} ns in {} levels, {:.0} ns in one, ratio {:.2}",
        result.median_nested_ns, result.levels, result.median_one_ns, result.ratio
    ));
    out.write(&result)
}

/// What makes gateway `own` one end of a stack of so many levels. All end at the same peer: where they end makes no difference
/// to what they cost here.
fn commands(own: u8, levels: u8) -> Result<Vec<Command>, String> {
    let peer = 3 - own;
    let mut commands = site::commands(own, false)?;
    let mut stack = Vec::new();
    for level in 1..=levels {
        let out = level_sa(own, peer, level)?;
        let theirs = level_sa(peer, own, level)?;
        let selector = theirs.selector;
        let mut into = site::mirrored(theirs);
        into.selector = selector;
        into.rule = RuleId(level.into());
        into.carrier =
            if level == levels { Carrier::Network } else { Carrier::Rule(RuleId((level + 1).into())) };
        stack.push(out.id);
        commands.push(Command::InstallInbound(Box::new(into)));
        commands.push(Command::InstallOutbound(Box::new(out)));
    }
    commands.push(Command::Bind { rule: site::RULE, stack });
    Ok(commands)
}

/// The SA of a level, from one gateway to the other, as its sender knows it.
fn level_sa(from: u8, to: u8, level: u8) -> Result<OutboundSa, String> {
    let selector = if level == 1 { site::selector(from, to)? } else { between_gateways(from, to)? };
    let mut sa = site::outbound(from, to, selector)?;
    (sa.id, sa.spi) = (
        SaId(u64::from(level) * 10 + u64::from(from)),
        Spi(0x2000 + u32::from(level) * 16 + u32::from(from)),
    );
    Ok(sa)
}

fn between_gateways(from: u8, to: u8) -> Result<Selector, String> {
    let host = |site| AddressRange::from_prefix(IpAddr::V4(site::outer(site)), 32);
    let both = host(from).zip(host(to));
    both.and_then(|(from, to)| Selector::between(from, to)).ok_or_else(|| "no selector".to_owned())
}

/// An engine of one worker, turned by the measuring thread.
struct Gateway {
    handle: Handle,
    worker: Worker,
    started: Instant,
    tally: Tally,
    levels: u64,
}

impl Gateway {
    fn new(way: Way, octets: u16, levels: u8) -> Result<Self, String> {
        let (mut inside, mut outside) = (Vec::new(), Vec::new());
        match way {
            Way::Seal => inside = clear_text((1, INSIDE), (1, 2), octets.into()),
            Way::Open => {
                let clear = clear_text((2, INSIDE), (2, 1), octets.into());
                outside = sealed(&clear, commands(2, levels)?)?;
            }
        }
        let port = |index, name: &str, traffic| EnginePort {
            index,
            port: Box::new(Tap::new(name, Reel::new(traffic), Reel::default(), Arc::default())),
        };
        let ports = vec![port(INSIDE, "inside", inside), port(OUTSIDE, "outside", outside)];
        let (handle, worker) = engine(ports, commands(1, levels)?)?;
        let tally = if way == Way::Seal { Tally::Sealed } else { Tally::Opened };
        let mut gateway = Self { handle, worker, started: Instant::now(), tally, levels: levels.into() };
        gateway.turn_for(WARM_UP);
        Ok(gateway)
    }

    /// Nanoseconds of the core's time for one packet.
    fn measure(&mut self, span: Duration) -> Result<f64, String> {
        let (before, start) = (self.handle.counters(), cpu_time());
        self.turn_for(span);
        let (after, elapsed) = (self.handle.counters(), cpu_time() - start);
        let of = |tally| after.of(tally) - before.of(tally);
        let (packets, levels) = (of(Tally::Transmitted), of(self.tally));
        // What is still between two stages at either look is a batch at most.
        if packets == 0 || after.dropped_total() > 0 || levels.abs_diff(packets * self.levels) > 1000 {
            let drops = after.drops().map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>();
            return Err(format!(
                "the stack does not work: {packets} packets, {levels} levels, {}",
                drops.join(", ")
            ));
        }
        Ok(elapsed.as_nanos() as f64 / packets as f64)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // NT-21, NT-34
    fn packets_pass_in_one_level_and_in_several_both_ways() {
        for way in [Way::Seal, Way::Open] {
            for levels in [1, 3] {
                let measured = Gateway::new(way, 64, levels)
                    .and_then(|mut gateway| gateway.measure(Duration::from_millis(20)));
                assert!(measured.as_ref().is_ok_and(|ns| *ns > 0.0), "{way:?} {levels} {measured:?}");
            }
        }
    }
}
