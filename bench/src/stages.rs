//! Where the cycles of the whole path go, stage by stage, by the engine's own accounting of every turn.

use clap::Args;
use warren_engine::{Settings, Stage, StageSnapshot};

use warren_engine::limits::BATCH_MAX;

use crate::report::Report;
use crate::rounds::Rounds;
use crate::rows::{Direction, Row, Size};
use crate::track::limits::SAS_MAX;
use crate::track::path::Path;
use crate::track::site::Site;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Arguments {
    /// Octets of the inner packets, or `imix`.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Levels of ESP; 1 unless said otherwise.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=3))]
    levels: Option<u8>,
    /// SA pairs that take turns; 1 unless said otherwise.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(SAS_MAX)))]
    sas: Option<u32>,
    /// Every packet goes through all stages.
    #[arg(long)]
    without_fast_path: bool,
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

/// Turns of a round. Short rounds and many of them: what interrupts one spoils only that one.
const SHORT_TURNS: usize = 64;
/// A stage below this share of the path is not worth a row.
const SHARE_MIN: f64 = 0.002;
const PROOF_PACKETS: u64 = 4096;
const CYCLES_THAT_MATTER: f64 = 3.0;

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let usual = [Size::Octets(64), Size::Octets(1420)];
    let sizes = if arguments.sizes.is_empty() { &usual[..] } else { &arguments.sizes };
    let (levels, sas) = (arguments.levels.unwrap_or(1), arguments.sas.unwrap_or(1));
    let site = Site { levels, sas, ..Site::PLAIN };
    let settings = Settings { fast_path: !arguments.without_fast_path, ..Settings::default() };
    let rounds = if arguments.quick { 50 } else { 400 };
    for dir in [Direction::Encrypt, Direction::Decrypt] {
        for &size in sizes {
            each_stage((site, dir, size), &settings, rounds, report)?;
        }
    }
    Ok(())
}

/// A row for each stage that packets pass.
fn each_stage(
    (site, dir, size): (Site, Direction, Size),
    settings: &Settings,
    rounds: u32,
    report: &mut Report,
) -> Result<(), String> {
    let settings = Settings { sample_every: 1, ..settings.clone() };
    let mut path = Path::with(site, dir, size, &settings)?;
    let proof = PROOF_PACKETS.max(path.flows().into());
    path.prove(proof)?;
    let mut figures: Vec<(Stage, Rounds)> =
        Stage::ALL.iter().map(|&stage| (stage, Rounds::default())).collect();
    for _ in 0..rounds {
        let before = path.stages();
        for _ in 0..SHORT_TURNS {
            path.batch()?;
        }
        path.settle()?;
        let after = path.stages();
        for (stage, figures) in &mut figures {
            figures.push(spent(*stage, &before, &after) as f64 / (SHORT_TURNS * BATCH_MAX) as f64);
        }
    }
    path.prove(proof)?;
    let whole: f64 = figures.iter().map(|(_, figures)| figures.median()).sum();
    for (stage, figures) in figures.iter().filter(|(_, figures)| figures.median() > SHARE_MIN * whole) {
        let row = Row::of_cycles("stages", figures);
        report.add(Row {
            // A cycle more or less is much of a stage that takes three, and nothing that a figure hangs on.
            noisy: row.noisy && row.spread * figures.median() > CYCLES_THAT_MATTER,
            variant: Some(stage.word().to_owned()),
            dir: Some(dir),
            size: Some(size),
            alg: Some(site.transform.to_string()),
            levels: Some(site.levels),
            sas: (site.sas > 1).then_some(site.sas),
            ..row
        })?;
    }
    Ok(())
}

fn spent(stage: Stage, before: &StageSnapshot, after: &StageSnapshot) -> u64 {
    after.of(stage).cycles - before.of(stage).cycles
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stages_that_packets_pass_have_rows_both_ways_with_and_without_the_fast_path() {
        for without_fast_path in [false, true] {
            let settings = Settings { fast_path: !without_fast_path, ..Settings::default() };
            for dir in [Direction::Encrypt, Direction::Decrypt] {
                let mut report = Report::silent();
                each_stage((Site::PLAIN, dir, Size::Octets(64)), &settings, 3, &mut report).unwrap();
                let words: Vec<_> = report.rows().iter().filter_map(|row| row.variant.as_deref()).collect();
                let aead = match (dir, without_fast_path) {
                    (Direction::Encrypt, false) => Stage::FastSeal,
                    (Direction::Encrypt, true) => Stage::Seal,
                    (Direction::Decrypt, false) => Stage::FastOpen,
                    (Direction::Decrypt, true) => Stage::Open,
                };
                assert!(words.contains(&aead.word()), "{dir}: {words:?}");
            }
        }
    }
}
