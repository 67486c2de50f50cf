//! What it costs to measure where the cycles go (REQUIREMENTS X-4): the whole path with one turn in 64 measured, and with
//! every turn measured, beside the same path with none. Figure: one turn in 64 costs at most 1.01 times none.
//!
//! The gateways take turns by a few batches, and each round has gateways of its own: where memory happens to lie makes more
//! of a difference than what is looked for. A measured turn is slower than the others, so the figure of a round is a mean and
//! no quantile; only what took twice the median, and so was interrupted, is left out.

use clap::Args;
use warren_engine::Settings;
use warren_engine::limits::{BATCH_MAX, SAMPLE_EVERY};

use crate::report::Report;
use crate::rounds::{Rounds, median};
use crate::rows::{Direction, Row, Size};
use crate::track::path::Path;
use crate::track::site::Site;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Which ways.
    #[arg(long, value_delimiter = ',', default_value = "encrypt,decrypt")]
    dirs: Vec<Direction>,
    /// Octets of the inner packets, or `imix`.
    #[arg(long, value_delimiter = ',', default_value = "64,1420")]
    sizes: Vec<Size>,
    /// Packets of a batch.
    #[arg(long, value_delimiter = ',', default_value = "64,8,1", value_parser = clap::value_parser!(u16).range(1..=BATCH_MAX as i64))]
    batches: Vec<u16>,
    /// Rounds of each case, each with gateways of its own.
    #[arg(long, default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How often the gateways of a round take turns.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    stints: u32,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        let (rounds, stints) = if quick { (5, 16) } else { (25, 64) };
        let dirs = vec![Direction::Encrypt, Direction::Decrypt];
        Self { dirs, sizes: vec![Size::Octets(64)], batches: vec![64, 8], rounds, stints }
    }
}

/// Batches in a row of one gateway.
const STINT: usize = 64;
/// What one turn in so many may cost.
const RATIO_MAX: f64 = 1.01;
/// Where the middle half of the rounds lies further apart, a hundredth cannot be told.
const SPREAD_MAX: f64 = 0.02;
/// Packets that prove that the gateways do what is timed.
const PROOF_PACKETS: u64 = 1024;

/// One case.
#[derive(Debug, Clone, Copy)]
struct Case {
    dir: Direction,
    size: Size,
    packets: usize,
}

/// Cycles per packet in each round.
#[derive(Default)]
struct Measured {
    none: Rounds,
    sampled: Rounds,
    every: Rounds,
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    for &dir in &arguments.dirs {
        for &size in &arguments.sizes {
            for &packets in &arguments.batches {
                let case = Case { dir, size, packets: packets.into() };
                let measured = measure(case, arguments.rounds, arguments.stints)?;
                let [sampled, every] = rows(case, &measured);
                report.add(sampled)?;
                report.add(every)?;
            }
        }
    }
    Ok(())
}

fn measure(case: Case, rounds: u32, stints: u32) -> Result<Measured, String> {
    let mut measured = Measured::default();
    for _ in 0..rounds {
        let [none, sampled, every] = round(case, stints)?;
        measured.none.push(none);
        measured.sampled.push(sampled);
        measured.every.push(every);
    }
    Ok(measured)
}

/// Cycles per packet with no turn measured, with one in 64, and with every one.
fn round(case: Case, stints: u32) -> Result<[f64; 3], String> {
    let gateway = |sample_every| {
        let settings = Settings { sample_every, ..Settings::default() };
        let mut path = Path::with(Site::PLAIN, case.dir, case.size, &settings)?;
        path.prove(PROOF_PACKETS)?;
        Ok::<_, String>((path, Vec::with_capacity(stints as usize * STINT)))
    };
    let mut gateways = [gateway(0)?, gateway(SAMPLE_EVERY)?, gateway(1)?];
    for stint in 0..stints as usize {
        for at in 0..gateways.len() {
            // Whoever is first must not always be the same.
            let (path, cycles) = &mut gateways[(stint + at) % 3];
            for _ in 0..STINT {
                cycles.push(path.batch_of(case.packets)? as f64);
            }
            path.settle()?;
        }
    }
    for (path, _) in &mut gateways {
        path.prove(PROOF_PACKETS)?;
    }
    Ok(gateways.map(|(_, cycles)| undisturbed(&cycles) / case.packets as f64))
}

/// The mean of what was not interrupted.
fn undisturbed(cycles: &[f64]) -> f64 {
    let limit = 2.0 * median(cycles);
    let kept = cycles.iter().filter(|&&cycles| cycles <= limit);
    kept.clone().sum::<f64>() / kept.count() as f64
}

fn rows(case: Case, measured: &Measured) -> [Row; 2] {
    let row = |variant: String, rounds: &Rounds, bound: Option<f64>| {
        let ratios = rounds.ratio_to(&measured.none);
        let ratio = ratios.median();
        Row {
            variant: Some(variant),
            dir: Some(case.dir),
            beside: Some("no turn measured".to_owned()),
            ratio: Some(ratio),
            bound,
            within: bound.map(|bound| ratio <= bound),
            spread: ratios.spread(),
            noisy: ratios.spread() > SPREAD_MAX,
            ..Row::of_cycles("accounting", rounds).at_rate_of(case.size)
        }
    };
    let of = |turns: &str| format!("{turns}, batches of {}", case.packets);
    [
        row(of(&format!("one turn in {SAMPLE_EVERY}")), &measured.sampled, Some(RATIO_MAX)),
        row(of("every turn"), &measured.every, None),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_are_measured_with_batches_of_any_size() {
        for dir in [Direction::Encrypt, Direction::Decrypt] {
            for packets in [1, BATCH_MAX] {
                let case = Case { dir, size: Size::Octets(64), packets };
                let measured = measure(case, 1, 2).unwrap_or_else(|why| panic!("{case:?}: {why}"));
                let [sampled, every] = rows(case, &measured);
                assert_eq!((sampled.bound, every.bound), (Some(RATIO_MAX), None));
                assert!(sampled.ratio.is_some_and(|ratio| ratio > 0.0 && ratio.is_finite()), "{sampled:?}");
                assert!(every.cycles_per_packet.is_some_and(|cycles| cycles > 0.0));
            }
        }
    }

    #[test]
    fn an_interrupted_batch_is_left_out_and_a_slower_one_is_not() {
        assert_eq!(undisturbed(&[100.0, 100.0, 100.0, 160.0, 9000.0]), 115.0);
    }
}
