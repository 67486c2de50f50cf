//! What SAs take in memory: the process's resident set before and after many pairs are installed in an engine of one worker.

use std::process::{Command, Stdio};

use clap::Args;
use warren_engine::limits::BATCH_MAX;

use crate::report::Report;
use crate::rounds::Rounds;
use crate::rows::{Direction, Row, Size};
use crate::track::gateway::Gateway;
use crate::track::limits::SAS_MAX;
use crate::track::path::Path;
use crate::track::site::{Own, Site};

/// What a hundred thousand SAs may take.
const OCTETS_MAX: u64 = 256 << 20;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Arguments {
    /// SA pairs; half as many as there are SAs.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=i64::from(SAS_MAX)))]
    pairs: Option<u32>,
    /// Fewer of them.
    #[arg(long)]
    quick: bool,
}

/// Measures and writes the row. The process is best a fresh one: what others gave back would be taken again and not be seen.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let pairs = arguments.pairs.unwrap_or(if arguments.quick { 5_000 } else { SAS_MAX / 2 });
    let site = Site { sas: pairs, ..Site::PLAIN }.checked()?;
    report.add(row(site, taken(site)?)?)
}

/// The same in a process of its own.
pub(crate) fn run_apart(quick: bool, report: &mut Report) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut command = Command::new(program);
    command.arg("memory").args(quick.then_some("--quick")).stderr(Stdio::inherit());
    let output = command.output().map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err("the process for it failed".to_owned());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().try_for_each(|line| {
        let row = serde_json::from_str::<Row>(line).map_err(|error| error.to_string())?;
        // The other process has said it already.
        report.keep(row)
    })
}

/// Octets by which the resident set grew.
fn taken(site: Site) -> Result<u64, String> {
    let small = Site { sas: 16, ..site };
    // First of all that it works, and so that code, tables of a fixed size and the allocator's first blocks are there.
    Path::new(small, Direction::Encrypt, Size::Octets(64))?.prove(16 * BATCH_MAX as u64)?;
    let mut gateway = Gateway::new(Direction::Encrypt, Site { sas: 1, ..site }.commands(Own::First)?)?;
    let before = resident_octets()?;
    for index in 1..=site.sas {
        // One after the other, so that what the commands take is given back and taken again.
        gateway.command(site.pair(Own::First, 1, index % SAS_MAX)?.into())?;
    }
    let taken = resident_octets()?.saturating_sub(before);
    are_installed(&gateway, site.sas)?;
    Ok(taken)
}

/// An expanded key alone is more than this.
const OCTETS_MIN: u64 = 176;

fn row(site: Site, taken: u64) -> Result<Row, String> {
    let sas = 2 * site.sas;
    if taken < u64::from(sas) * OCTETS_MIN {
        return Err(format!(
            "{sas} SAs cannot have fitted into {taken} octets: the process had memory to spare"
        ));
    }
    Ok(Row {
        variant: Some("SAs installed".to_owned()),
        alg: Some(site.transform.to_string()),
        sas: Some(sas),
        window: Some(site.window),
        memory_octets: Some(taken),
        note: Some(format!("{} octets for each SA in the mean of both directions", taken / u64::from(sas))),
        bound: (sas == SAS_MAX).then_some(OCTETS_MAX as f64),
        within: (sas == SAS_MAX).then_some(taken <= OCTETS_MAX),
        ..Row::of("memory", &[taken as f64].into_iter().collect::<Rounds>())
    })
}

fn are_installed(gateway: &Gateway, pairs: u32) -> Result<(), String> {
    match gateway.counts_sas((1..=pairs).map(|index| index % SAS_MAX)) {
        found if found == 2 * pairs as usize => Ok(()),
        found => Err(format!("the work was not done: {found} SAs are installed")),
    }
}

/// What the kernel says that this process has in memory.
fn resident_octets() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/self/status").map_err(|error| error.to_string())?;
    let field = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes =
        field.and_then(|field| field.trim().strip_suffix(" kB")).and_then(|text| text.parse().ok());
    kilobytes.map(|kilobytes: u64| kilobytes * 1024).ok_or_else(|| "no resident set".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_row_says_how_many_sas_there_are_and_whether_a_hundred_thousand_fit() {
        let site = Site { sas: SAS_MAX / 2, ..Site::PLAIN };
        let fitting = row(site, 255 << 20).unwrap();
        assert_eq!((fitting.sas, fitting.within), (Some(SAS_MAX), Some(true)));
        assert_eq!(row(site, 257 << 20).unwrap().within, Some(false));
        assert_eq!(row(Site { sas: 7, ..site }, 1 << 20).unwrap().within, None);
    }

    #[test]
    fn memory_that_did_not_grow_is_no_figure() {
        assert!(row(Site { sas: 1000, ..Site::PLAIN }, 0).unwrap_err().contains("to spare"));
    }

    #[test]
    fn sas_are_installed_and_found() {
        taken(Site { sas: 500, ..Site::PLAIN }).unwrap();
    }

    #[test]
    fn sas_that_are_not_there_are_refused() {
        let commands = Site::PLAIN.commands(Own::First).unwrap();
        let gateway = Gateway::new(Direction::Encrypt, commands).unwrap();
        assert!(are_installed(&gateway, 1).unwrap_err().contains("0 SAs"));
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_octets().unwrap() > 1 << 20);
    }
}
