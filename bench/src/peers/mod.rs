//! What DPDK reaches on this machine in the same run: `ipsec-secgw` beside the whole path, `dpdk-test-acl` beside our rule
//! matching.
//!
//! Both are Debian's: the programs of its packages, and the gateway's source, which is compiled in a temporary folder. They
//! get no device of this machine, only ports in memory. What cannot be had is left out with its reason; a peer that does
//! not do the work stops the benchmark.

mod acl;
mod ours;
mod pages;
mod pcap;
mod process;
mod secgw;
mod traffic;

use std::path::{Path, PathBuf};

use clap::Args;
use warren_policy::{EspTransform, KeyBits};

use crate::report::{Report, remark};
use crate::rounds::Rounds;
use crate::rows::{Direction, Row, Size};
use crate::track::site::Site;
use crate::whole_path;
use pages::Pages;
use secgw::{DRIVERS, Gateway};

/// Where the rule sets lie unless another place is named.
const POLICIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/policies");

/// What both sides run.
const AES128: EspTransform = EspTransform::AesGcm16(KeyBits::B128);

/// Arguments of the benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Octets of the inner packets.
    #[arg(long, value_delimiter = ',', default_value = "64,512,1420", value_parser = clap::value_parser!(u16).range(40..=1420))]
    sizes: Vec<u16>,
    /// How often each is measured, in alternation.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Seconds of each measurement of a gateway.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=60))]
    seconds: u16,
    /// The folder of the rule sets.
    #[arg(long, default_value = POLICIES)]
    policies: PathBuf,
}

impl Arguments {
    /// For the suite, in full or only as far as it takes to see that everything works.
    pub(crate) fn of_suite(is_quick: bool) -> Self {
        let rounds = if is_quick { 1 } else { 3 };
        Self { sizes: vec![64, 512, 1420], rounds, seconds: 2, policies: POLICIES.into() }
    }
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| format!("a temporary folder: {error}"))?;
    let core = last_core()?;
    match acl::is_there() {
        Ok(()) => rules(arguments, core, folder.path(), report)?,
        Err(why) => remark(&format!("dpdk-test-acl: skipped, because {why}")),
    }
    let pages = Pages::new();
    match Gateway::build(folder.path(), &pages, core) {
        Ok(gateway) => gateways(arguments, &gateway, pages.note(), report),
        Err(why) => {
            remark(&format!("ipsec-secgw: skipped, because {why}"));
            Ok(())
        }
    }
}

/// The last core that this process may use: the first has most of what else a machine does.
fn last_core() -> Result<usize, String> {
    let cores = rustix::thread::sched_getaffinity(None).map_err(|error| error.to_string())?;
    (0..rustix::thread::CpuSet::MAX_CPU)
        .rev()
        .find(|&core| cores.is_set(core))
        .ok_or_else(|| "no core to run on".to_owned())
}

fn rules(arguments: &Arguments, core: usize, folder: &Path, report: &mut Report) -> Result<(), String> {
    for name in acl::SETS {
        let set = match acl::Set::new(&arguments.policies, name, core, folder) {
            Ok(set) => set,
            Err(why) => {
                remark(&format!("dpdk-test-acl {name}: skipped, because {why}"));
                continue;
            }
        };
        set.check()?;
        set.ours.check()?;
        let (mut theirs, mut ours) = (Rounds::default(), Rounds::default());
        for _ in 0..arguments.rounds {
            theirs.push(set.measure()?);
            ours.push(set.ours.measure());
        }
        let packets = set.ours.packets() as u32;
        let row = |variant: String, rounds: &Rounds| Row {
            variant: Some(variant),
            flows: Some(packets),
            ..Row::of_cycles("peers", rounds)
        };
        report.add(row(format!("dpdk-test-acl {name}"), &theirs))?;
        let own = row(format!("verdicts {name}"), &ours);
        report.add(Row {
            beside: Some("dpdk-test-acl".to_owned()),
            ratio: Some(ours.ratio_to(&theirs).median()),
            noisy: own.noisy || theirs.are_noisy(),
            ..own
        })?;
    }
    Ok(())
}

fn gateways(
    arguments: &Arguments,
    gateway: &Gateway<'_>,
    note: &str,
    report: &mut Report,
) -> Result<(), String> {
    for &octets in &arguments.sizes {
        for direction in [Direction::Encrypt, Direction::Decrypt] {
            one_case(arguments, gateway, (direction, octets), note, report)?;
        }
    }
    Ok(())
}

/// Every driver, the generator and our own whole path in turns.
fn one_case(
    arguments: &Arguments,
    gateway: &Gateway<'_>,
    (direction, octets): (Direction, u16),
    note: &str,
    report: &mut Report,
) -> Result<(), String> {
    let seconds = arguments.seconds.into();
    for driver in DRIVERS {
        gateway.check(direction, octets, driver)?;
    }
    let mut generator = Rounds::default();
    let mut drivers = DRIVERS.map(|driver| (driver, Rounds::default()));
    let mut ours: Vec<_> = windows(direction).iter().map(|window| (*window, Rounds::default())).collect();
    for _ in 0..arguments.rounds {
        generator.push(gateway.generator(direction, octets, seconds)?.median());
        for (driver, rounds) in &mut drivers {
            rounds.push(gateway.measure(direction, octets, driver, seconds)?.median());
        }
        for (window, rounds) in &mut ours {
            rounds.push(whole_path::one_round(direction, octets, *window)?);
        }
    }
    let drivers = drivers.map(|(driver, rounds)| (driver, rounds.less(&generator)));
    let shape = |variant: String, rounds: &Rounds| Row {
        variant: Some(variant),
        alg: Some(AES128.to_string()),
        dir: Some(direction),
        sas: Some(1),
        ..Row::of_cycles("peers", rounds).at_rate_of(Size::Octets(octets))
    };
    for (driver, rounds) in &drivers {
        report.add(Row {
            generator_cycles: Some(generator.median()),
            window: (direction == Direction::Decrypt).then_some(0),
            note: Some(note.to_owned()),
            ..shape(format!("ipsec-secgw {} {driver}", gateway.version), rounds)
        })?;
    }
    // It may run with whichever of its drivers suits it best.
    let Some((driver, best)) =
        drivers.iter().min_by(|(_, one), (_, two)| one.median().total_cmp(&two.median()))
    else {
        return Ok(());
    };
    for (window, rounds) in &ours {
        let row = shape("whole path".to_owned(), rounds);
        report.add(Row {
            window: (direction == Direction::Decrypt).then_some(*window),
            beside: Some(format!("ipsec-secgw {} {driver}", gateway.version)),
            ratio: Some(rounds.ratio_to(best).median()),
            noisy: row.noisy || best.are_noisy(),
            ..row
        })?;
    }
    Ok(())
}

/// The same as the gateway beside ours does, and with what that leaves out: the replay check.
const fn windows(direction: Direction) -> &'static [u32] {
    match direction {
        Direction::Encrypt => &[0],
        Direction::Decrypt => &[0, Site::PLAIN.window],
    }
}
