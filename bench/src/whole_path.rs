//! The whole path on one core: from a frame that a port gives out to a frame that a port takes, sealed or opened.
//!
//! Packets lie ready in their frames before the clock runs, and the clock runs around one turn of the worker. What the port
//! itself costs is measured in a bare loop in the same run, in alternation, and taken off; both numbers are in the row.
//! A seal by ring is measured in the same alternation. Before and after, every packet of a sample is opened by a library
//! and compared with what went in; without that there is no figure.

use std::time::{Duration, Instant};

use clap::Args;
use warren_aead::Backend;
use warren_engine::Settings;
use warren_engine::limits::BATCH_MAX;
use warren_policy::{EspTransform, KeyBits};

use crate::report::Report;
use crate::ring_seal::{self, RingSeal};
use crate::rounds::{Rounds, lower_quartile};
use crate::rows::{Direction, Mix, Row, Size};
use crate::track::Bare;
use crate::track::limits::{LEVELS_MAX, SAS_MAX};
use crate::track::path::Path;
use crate::track::site::Site;

/// Arguments of the benchmark. Without any, the cases that the suite has.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Arguments {
    /// Which ways.
    #[arg(long, value_delimiter = ',')]
    dirs: Vec<Direction>,
    /// Octets of the inner packets, or `imix`.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Transforms: aes128gcm16, aes256gcm16.
    #[arg(long, value_delimiter = ',')]
    algs: Vec<String>,
    /// SA pairs that take turns.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=i64::from(SAS_MAX)))]
    sas: Vec<u32>,
    /// Levels of ESP.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u8).range(1..=i64::from(LEVELS_MAX)))]
    levels: Vec<u8>,
    /// Packets of the anti-replay window; 0 switches the check off.
    #[arg(long, value_delimiter = ',')]
    windows: Vec<u32>,
    /// Rounds of each case.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Packets of one round.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1024..=100_000_000))]
    packets: Option<u32>,
    /// Every packet goes through all stages.
    #[arg(long)]
    without_fast_path: bool,
    /// Fewer cases and shorter rounds.
    #[arg(long)]
    quick: bool,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        Self { quick, ..Self::default() }
    }
}

/// One case.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Case {
    site: Site,
    dir: Direction,
    size: Size,
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
struct Effort {
    rounds: u32,
    packets: u32,
}

/// Batches that are timed as one: several turns of a mixture, so that all samples have the same packets.
const BATCHES: usize = 3;
/// A case that takes longer has fewer rounds than were asked for, which its row says, but not fewer than these.
const CASE_MAX: Duration = Duration::from_secs(20);
/// See [`CASE_MAX`].
const ROUNDS_MIN: u32 = 3;
/// Packets of a proof at least; more where there are more flows, because each has its SA.
const PROOF_PACKETS: u32 = 4096;
const SIZES: [Size; 4] = [Size::Octets(64), Size::Octets(512), Size::Octets(1420), Size::Mix(Mix::Imix)];
const DIRECTIONS: [Direction; 2] = [Direction::Encrypt, Direction::Decrypt];
const AES128: EspTransform = EspTransform::AesGcm16(KeyBits::B128);
const AES256: EspTransform = EspTransform::AesGcm16(KeyBits::B256);

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let usual = if arguments.quick {
        Effort { rounds: 5, packets: 1 << 14 }
    } else {
        Effort { rounds: 11, packets: 1 << 16 }
    };
    let effort = Effort {
        rounds: arguments.rounds.unwrap_or(usual.rounds),
        packets: arguments.packets.unwrap_or(usual.packets),
    };
    let settings = Settings { fast_path: !arguments.without_fast_path, ..Settings::default() };
    for case in cases(arguments)? {
        let row = measure(case, effort, &settings)?;
        let row = beside_one_sa(row, report.rows());
        report.add(row)?;
    }
    Ok(())
}

/// What a thousand SAs in turn may cost of what one costs, with the smallest packets.
const THOUSAND_SAS_MAX: f64 = 1.4;

/// With what it is of the same case with one SA, where that was measured before.
fn beside_one_sa(row: Row, before: &[Row]) -> Row {
    let case = |row: &Row| {
        (row.name.clone(), row.variant.clone(), row.alg.clone(), row.dir, row.size, row.levels, row.window)
    };
    let one = before.iter().find(|other| other.sas == Some(1) && case(other) == case(&row));
    let one = one.filter(|_| row.sas != Some(1)).and_then(|one| one.cycles_per_packet);
    let Some(ratio) = row.cycles_per_packet.zip(one).map(|(many, one)| many / one) else { return row };
    let is_bounded = row.sas == Some(1000) && row.size == Some(Size::Octets(64)) && row.levels == Some(1);
    Row {
        ratio: Some(ratio),
        beside: Some("one SA".to_owned()),
        bound: is_bounded.then_some(THOUSAND_SAS_MAX),
        within: is_bounded.then_some(ratio <= THOUSAND_SAS_MAX),
        note: is_bounded.then(|| "the bound is of the ratio".to_owned()),
        ..row
    }
}

/// One round beside somebody else's: cycles per packet with AES-128-GCM and one SA.
pub(crate) fn one_round(dir: Direction, octets: u16, window: u32) -> Result<f64, String> {
    let case = Case { site: Site { window, ..Site::PLAIN }, dir, size: Size::Octets(octets) };
    let row = measure(case, Effort { rounds: 3, packets: 1 << 16 }, &Settings::default())?;
    row.cycles_per_packet.ok_or_else(|| "the whole path has no figure".to_owned())
}

/// One case's row.
fn measure(case: Case, effort: Effort, settings: &Settings) -> Result<Row, String> {
    let Case { site, dir, size } = case;
    let mut path = Path::with(site, dir, size, settings)?;
    let proof = PROOF_PACKETS.max(path.flows()).into();
    path.prove(proof)?;
    let mut bare = Bare::new()?;
    let mut ring = RingSeal::new(ring_seal::algorithm(&site.transform.to_string())?, size)?;
    // Every flow has a turn in a round, or it is not so many SAs that are measured.
    let batches = (effort.packets.max(path.flows()) as usize).div_ceil(BATCH_MAX);
    let (mut whole, mut generator, mut seal) = <(Rounds, Rounds, Rounds)>::default();
    let start = Instant::now();
    for round in 0..effort.rounds {
        if round >= ROUNDS_MIN && start.elapsed() > CASE_MAX {
            break;
        }
        whole.push(samples(batches, || path.batch())?);
        generator.push(samples(batches, || bare.batch())?);
        seal.push(ring.round(batches.min(RING_BATCHES_MAX))?);
        path.settle()?;
    }
    path.prove(proof)?;
    let own = whole.less(&generator);
    let row = Row::of_cycles("whole-path", &own).at_rate_of(size).meant_within(bound(case));
    let (share, share_bound) = (own.ratio_to(&seal).median(), share_bound(case));
    Ok(Row {
        variant: (!settings.fast_path).then(|| "without fast path".to_owned()),
        alg: Some(site.transform.to_string()),
        dir: Some(dir),
        generator_cycles: Some(generator.median()),
        share_of_ring_seal: Some(share),
        share_bound,
        share_within: share_bound.map(|bound| share <= bound),
        ring_seal_cycles: Some(seal.median()),
        sas: Some(site.sas),
        rules: Some(site.sas),
        flows: Some(path.flows()),
        levels: Some(site.levels),
        window: (dir == Direction::Decrypt).then_some(site.window),
        backend: Some(Backend::best().to_string()),
        ..row
    })
}

/// The yardstick does not get better after so many.
const RING_BATCHES_MAX: usize = 512;

/// Cycles per packet: the lower quartile of samples of some batches each.
fn samples(batches: usize, mut batch: impl FnMut() -> Result<u64, String>) -> Result<f64, String> {
    let mut figures = Vec::with_capacity(batches / BATCHES + 1);
    for _ in 0..batches.div_ceil(BATCHES) {
        let mut sum = 0;
        for _ in 0..BATCHES {
            sum += batch()?;
        }
        figures.push(sum as f64 / (BATCHES * BATCH_MAX) as f64);
    }
    Ok(lower_quartile(&figures))
}

fn cases(arguments: &Arguments) -> Result<Vec<Case>, String> {
    let Arguments { dirs, sizes, algs, sas, levels, windows, quick, .. } = arguments;
    let are_lists_empty =
        [dirs.is_empty(), sizes.is_empty(), algs.is_empty(), sas.is_empty(), levels.is_empty()];
    if are_lists_empty.iter().all(|empty| *empty) && windows.is_empty() {
        return Ok(if *quick { quick_cases() } else { full_cases() });
    }
    let or = |given: &[u32], usual| if given.is_empty() { vec![usual] } else { given.to_vec() };
    let algs = algs.iter().map(|name| transform(name)).collect::<Result<Vec<_>, _>>()?;
    let algs = if algs.is_empty() { vec![AES128] } else { algs };
    let dirs = if dirs.is_empty() { &DIRECTIONS[..] } else { dirs };
    let sizes = if sizes.is_empty() { &SIZES[..] } else { sizes };
    let levels = if levels.is_empty() { &[1][..] } else { levels };
    let mut cases = Vec::new();
    for &levels in levels {
        for sas in or(sas, 1) {
            for &transform in &algs {
                let site = Site { transform, sas, levels, ..Site::PLAIN };
                cases.extend(of_site(site, dirs, sizes, &or(windows, Site::PLAIN.window)));
            }
        }
    }
    Ok(cases)
}

/// The windows make a difference only where packets are opened.
fn of_site(site: Site, dirs: &[Direction], sizes: &[Size], windows: &[u32]) -> Vec<Case> {
    let mut cases = Vec::new();
    for &dir in dirs {
        let windows = if dir == Direction::Encrypt { &windows[..1] } else { windows };
        for &window in windows {
            cases.extend(sizes.iter().map(|&size| Case { site: Site { window, ..site }, dir, size }));
        }
    }
    cases
}

fn quick_cases() -> Vec<Case> {
    let sizes = [Size::Octets(64), Size::Octets(512), Size::Octets(1420)];
    let mut cases = of_site(Site::PLAIN, &DIRECTIONS, &sizes, &[Site::PLAIN.window]);
    cases.extend(of_site(Site { sas: 1000, ..Site::PLAIN }, &DIRECTIONS, &sizes[..1], &[Site::PLAIN.window]));
    cases.extend(of_site(Site { levels: 2, ..Site::PLAIN }, &DIRECTIONS, &sizes[..1], &[Site::PLAIN.window]));
    cases
}

fn full_cases() -> Vec<Case> {
    let window = Site::PLAIN.window;
    let mut cases = Vec::new();
    for transform in [AES128, AES256] {
        cases.extend(of_site(Site { transform, ..Site::PLAIN }, &DIRECTIONS, &SIZES, &[window, 0]));
    }
    for sas in [1000, SAS_MAX] {
        cases.extend(of_site(Site { sas, ..Site::PLAIN }, &DIRECTIONS, &SIZES, &[window]));
    }
    for levels in 2..=LEVELS_MAX {
        cases.extend(of_site(Site { levels, ..Site::PLAIN }, &DIRECTIONS, &SIZES, &[window]));
    }
    cases
}

fn transform(name: &str) -> Result<EspTransform, String> {
    let known = [AES128, AES256].into_iter().find(|transform| transform.to_string() == name);
    known.ok_or_else(|| format!("`{name}` is none of aes128gcm16 and aes256gcm16"))
}

/// What the share is meant to be, wherever it is measured.
fn share_bound(case: Case) -> Option<f64> {
    bound(case)?;
    match (case.dir, case.size) {
        (Direction::Encrypt, Size::Octets(64)) => Some(0.43),
        (Direction::Encrypt, Size::Octets(512)) => Some(0.49),
        (Direction::Encrypt, Size::Octets(1420)) => Some(0.45),
        _ => None,
    }
}

/// What the figures are meant to be, on the machine that docs/performance.md names for it.
fn bound(case: Case) -> Option<f64> {
    let Case { site, dir, size } = case;
    if site != (Site { window: site.window, ..Site::PLAIN }) {
        return None;
    }
    match (dir, size) {
        (Direction::Encrypt, Size::Octets(64)) => Some(75.0),
        (Direction::Encrypt, Size::Octets(512)) => Some(130.0),
        (Direction::Encrypt, Size::Octets(1420)) => Some(240.0),
        (Direction::Decrypt, Size::Octets(64)) => Some(95.0),
        (Direction::Decrypt, Size::Octets(512)) => Some(150.0),
        (Direction::Decrypt, Size::Octets(1420)) => Some(270.0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_of_the_suite_can_be_set_up_and_none_comes_twice() {
        for cases in [quick_cases(), full_cases()] {
            for (at, case) in cases.iter().enumerate() {
                case.site.checked().unwrap();
                assert!(!cases[..at].contains(case), "{case:?}");
            }
        }
    }

    #[test]
    fn what_is_asked_for_is_measured_and_nothing_else() {
        let arguments = Arguments {
            dirs: vec![Direction::Decrypt],
            sizes: vec![Size::Octets(64)],
            sas: vec![1, 10],
            windows: vec![0, 64],
            ..Arguments::default()
        };
        let cases = cases(&arguments).unwrap();
        let found: Vec<_> = cases.iter().map(|case| (case.site.sas, case.site.window)).collect();
        assert_eq!(found, [(1, 0), (1, 64), (10, 0), (10, 64)]);
        let unknown = Arguments { algs: vec!["chacha20poly1305".to_owned()], ..Arguments::default() };
        assert!(super::cases(&unknown).is_err());
    }

    #[test]
    fn many_sas_are_compared_with_one_of_the_same_case() {
        let row = |sas, octets, cycles| Row {
            name: "whole-path".to_owned(),
            sas: Some(sas),
            levels: Some(1),
            size: Some(Size::Octets(octets)),
            cycles_per_packet: Some(cycles),
            ..Row::default()
        };
        let before = [row(1, 1420, 10.0), row(1, 64, 100.0)];
        let many = beside_one_sa(row(1000, 64, 141.0), &before);
        assert_eq!((many.ratio, many.within), (Some(1.41), Some(false)));
        assert_eq!(beside_one_sa(row(1000, 512, 141.0), &before).ratio, None);
        assert_eq!(beside_one_sa(row(1, 64, 141.0), &before).ratio, None);
    }

    #[test]
    fn a_row_says_what_was_measured() {
        let case = Case { site: Site::PLAIN, dir: Direction::Encrypt, size: Size::Octets(64) };
        let row = measure(case, Effort { rounds: 2, packets: 1024 }, &Settings::default()).unwrap();
        assert_eq!((row.name.as_str(), row.sas, row.levels, row.rounds), ("whole-path", Some(1), Some(1), 2));
        assert_eq!((row.bound, row.window), (Some(75.0), None));
        let cycles = row.cycles_per_packet.unwrap();
        let share = row.share_of_ring_seal.unwrap();
        assert!(cycles > 0.0 && row.gbit_s.unwrap() > 0.0 && share > 0.0 && share.is_finite());
    }
}
