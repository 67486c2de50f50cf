//! What SAs take in memory: the process's resident set before and after many pairs are installed in an engine of one worker.

use clap::Args;
use warren_engine::Settings;
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

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        Self { quick, ..Self::default() }
    }
}

/// Measures and writes the row.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let pairs = arguments.pairs.unwrap_or(if arguments.quick { 5_000 } else { SAS_MAX / 2 });
    let site = Site { sas: pairs, ..Site::PLAIN }.checked()?;
    // First of all that it works, and so that code, tables of a fixed size and the allocator's first blocks are there.
    Path::new(Site { sas: 16, ..site }, Direction::Encrypt, Size::Octets(64))?
        .prove(16 * BATCH_MAX as u64)?;
    let mut gateway = Gateway::new(
        Direction::Encrypt,
        Site { sas: 1, ..site }.commands(Own::First)?,
        &Settings::default(),
    )?;
    let before = resident_octets()?;
    for index in 1..=pairs {
        // One after the other, so that what the commands take is given back and taken again.
        gateway.command(site.pair(Own::First, 1, index % SAS_MAX)?.into())?;
    }
    let taken = resident_octets()?.saturating_sub(before);
    let found = gateway.counts_sas((1..=pairs).map(|index| index % SAS_MAX));
    if found != 2 * pairs as usize {
        return Err(format!("the work was not done: {found} SAs are installed"));
    }
    drop(gateway);
    let sas = 2 * pairs;
    report.add(Row {
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
    fn memory_is_taken_by_sas_and_the_row_says_by_how_many() {
        let mut report = Report::silent();
        run(&Arguments { pairs: Some(2000), quick: true }, &mut report).unwrap();
        let row = &report.rows()[0];
        assert_eq!((row.sas, row.bound), (Some(4000), None));
        assert!(row.memory_octets.unwrap() > 4000 * 64, "{row}");
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_octets().unwrap() > 1 << 20);
    }
}
