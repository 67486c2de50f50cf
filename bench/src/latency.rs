//! How long a packet is in the gateway when it comes at half the rate that the gateway can do.
//!
//! Packets come by chance (the gaps between them are exponential), as from many senders who do not know of each other.
//! The clock is the worker's own: it goes on by what each turn of the worker takes and stands still while the generator
//! makes packets ready, so that a packet waits for the gateway and never for the generator. A packet's time is from when it
//! is due to the end of the turn that it leaves in. Time in which the kernel gave the core to another process is no
//! time of the worker's and is left out; a gateway has its cores for itself.

use std::collections::VecDeque;

use clap::Args;
use hdrhistogram::Histogram;
use warren_aead::Backend;
use warren_engine::limits::BATCH_MAX;
use warren_port::cycles;

use crate::report::Report;
use crate::rounds::{Rounds, cpu_time, lower_quartile};
use crate::rows::{Direction, Row, Size};
use crate::track::path::Path;
use crate::track::site::Site;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Arguments {
    /// Octets of the inner packets, or `imix`.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Rounds of each case.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Packets of one round.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1024..=100_000_000))]
    packets: Option<u32>,
    /// Shorter rounds.
    #[arg(long)]
    quick: bool,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        Self { quick, ..Self::default() }
    }
}

/// Of what the gateway can do.
const LOAD: f64 = 0.5;
/// A second: who waits longer has a machine that stood still.
const LATENCY_NS_MAX: u64 = 1_000_000_000;
/// Packets of a proof.
const PROOF_PACKETS: u64 = 4096;
/// Batches by which the full rate is found.
const RATE_BATCHES: usize = 512;

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let usual = [Size::Octets(64), Size::Octets(1420)];
    let sizes = if arguments.sizes.is_empty() { &usual[..] } else { &arguments.sizes };
    let (rounds, packets) = if arguments.quick { (5, 1 << 15) } else { (9, 1 << 18) };
    let (rounds, packets) = (arguments.rounds.unwrap_or(rounds), arguments.packets.unwrap_or(packets));
    for dir in [Direction::Encrypt, Direction::Decrypt] {
        for &size in sizes {
            report.add(measure(dir, size, (rounds, packets))?)?;
        }
    }
    Ok(())
}

fn measure(dir: Direction, size: Size, (rounds, packets): (u32, u32)) -> Result<Row, String> {
    let site = Site::PLAIN;
    let mut path = Path::new(site, dir, size)?;
    path.prove(PROOF_PACKETS)?;
    let mut all = histogram()?;
    let (mut tails, mut rates) = (Rounds::default(), Rounds::default());
    for _ in 0..rounds {
        let gap = full_cost(&mut path)? / LOAD;
        let round = round(&mut path, gap, packets)?;
        tails.push(round.value_at_quantile(0.99) as f64);
        rates.push(cycles::per_second() / gap);
        all.add(round).map_err(|error| error.to_string())?;
    }
    path.prove(PROOF_PACKETS)?;
    let quantile = |share| Some(all.value_at_quantile(share) as f64);
    Ok(Row {
        variant: Some(format!("{:.0} % load", LOAD * 100.0)),
        alg: Some(site.transform.to_string()),
        size: Some(size),
        dir: Some(dir),
        per_second: Some(rates.median()),
        p50_ns: quantile(0.5),
        p99_ns: quantile(0.99),
        p999_ns: quantile(0.999),
        sas: Some(site.sas),
        levels: Some(site.levels),
        backend: Some(Backend::best().to_string()),
        note: Some("the spread is that of p99".to_owned()),
        ..Row::of("latency", &tails)
    })
}

fn histogram() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).map_err(|error| error.to_string())
}

/// Cycles for one packet where there always is another one.
fn full_cost(path: &mut Path) -> Result<f64, String> {
    let mut figures = Vec::with_capacity(RATE_BATCHES);
    for _ in 0..RATE_BATCHES {
        figures.push(path.batch()? as f64 / BATCH_MAX as f64);
    }
    path.settle()?;
    Ok(lower_quartile(&figures))
}

/// Nanoseconds of each packet, of which one comes every `gap` cycles in the mean.
fn round(path: &mut Path, gap: f64, packets: u32) -> Result<Histogram<u64>, String> {
    let mut latencies = histogram()?;
    let mut arrivals = Arrivals { gap, due: 0.0, state: 0x9e37_79b9_7f4a_7c15 };
    let (mut clock, mut given, mut inside) = (0.0, 0, VecDeque::with_capacity(2 * BATCH_MAX));
    while given < packets || !inside.is_empty() {
        let mut batch = 0;
        while batch < BATCH_MAX && given < packets && arrivals.due <= clock {
            inside.push_back(arrivals.due);
            arrivals.next();
            (batch, given) = (batch + 1, given + 1);
        }
        path.prepare(batch)?;
        clock += turn(path);
        let came = path.collect();
        if came == 0 && given == packets && clock > arrivals.due + gap * f64::from(packets) {
            return Err("the work was not done: packets do not come out".to_owned());
        }
        for _ in 0..came {
            let due = inside.pop_front().ok_or("the work was not done: more came out than went in")?;
            latencies.saturating_record(((clock - due) * 1e9 / cycles::per_second()) as u64);
        }
    }
    path.settle()?;
    Ok(latencies)
}

/// Cycles of one turn. The processor's time for us is read outside of what it is compared with, so it is more unless somebody
/// else had the core in between.
fn turn(path: &mut Path) -> f64 {
    let before = cpu_time();
    let elapsed = path.turn() as f64;
    let ours = (cpu_time() - before).as_secs_f64() * cycles::per_second();
    elapsed.min(ours)
}

/// When packets are due, in cycles.
struct Arrivals {
    gap: f64,
    due: f64,
    state: u64,
}

impl Arrivals {
    fn next(&mut self) {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        // The upper bits, as a number above 0 and not above 1.
        let lot = ((self.state >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        self.due -= lot.ln() * self.gap;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_has_a_latency() {
        let mut path = Path::new(Site::PLAIN, Direction::Decrypt, Size::Octets(64)).unwrap();
        assert_eq!(round(&mut path, 1000.0, 5000).unwrap().len(), 5000);
    }

    #[test]
    fn packets_come_at_the_rate_that_was_asked_for() {
        let mut arrivals = Arrivals { gap: 100.0, due: 0.0, state: 1 };
        (0..100_000).for_each(|_| arrivals.next());
        assert!((arrivals.due / 100_000.0 - 100.0).abs() < 2.0, "{}", arrivals.due);
    }

    #[test]
    fn a_row_has_its_quantiles_in_order() {
        let row = measure(Direction::Encrypt, Size::Octets(64), (1, 2048)).unwrap();
        let (half, most, nearly_all) = (row.p50_ns.unwrap(), row.p99_ns.unwrap(), row.p999_ns.unwrap());
        assert!(0.0 < half && half <= most && most <= nearly_all, "{row}");
    }
}
