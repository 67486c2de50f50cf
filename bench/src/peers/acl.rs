//! Rule matching by DPDK's ACL library, over the same rules and packets as ours: `dpdk-test-acl`, which counts the cycles of
//! its lookups itself.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::ours::Rules;
use super::process;
use crate::rounds::lower_quartile;

const PROGRAM: &str = "dpdk-test-acl";
/// The rule sets that the figures to reach are stated for.
pub(super) const SETS: [&str; 4] = ["acl1_1k", "acl1_10k", "fw1_1k", "ipc1_1k"];
/// Columns of a rule that the library's own format has: addresses, two ranges of three words each, protocol.
const COLUMNS: usize = 9;
/// Times that a whole trace is looked up in a run, one after the other.
const ITERATIONS: &str = "500";
/// Runs of a round. The program reads the time stamp counter, which goes on while somebody else has the core.
const RUNS: usize = 4;
/// Packets in one call of the library.
const BATCH: &str = "256";
/// How long one run may take: it builds its tables in less than a second and looks up for half of one.
const RUN_MAX: Duration = Duration::from_secs(120);

/// One set of rules in the library's format.
pub(super) struct Set {
    /// The same for us.
    pub(super) ours: Rules,
    rules: PathBuf,
    trace: PathBuf,
    /// For each packet the first rule that matches, `None` without one.
    expected: Vec<Option<u32>>,
    folder: PathBuf,
    core: String,
}

impl Set {
    /// Converts the set of that name in the folder `vectors`; `Err` is a reason to leave it out.
    pub(super) fn new(vectors: &Path, name: &str, core: usize, folder: &Path) -> Result<Self, String> {
        let read =
            |file: PathBuf| fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()));
        let rules = read(vectors.join(format!("{name}.rules")))?;
        let rows = read(vectors.join(format!("{name}.trace.tsv")))?;
        let (trace, expected) = trace(&rows)?;
        let ours = Rules::new(&rules, &rows)?;
        let set = Self {
            ours,
            rules: folder.join(format!("{name}.rules")),
            trace: folder.join(format!("{name}.trace")),
            expected,
            folder: folder.to_owned(),
            core: core.to_string(),
        };
        let write = |path: &Path, text: String| {
            fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        write(&set.rules, own_format(&rules))?;
        write(&set.trace, trace)?;
        Ok(set)
    }

    /// Refuses unless the library finds the right rule for every packet.
    pub(super) fn check(&self) -> Result<(), String> {
        let said = self.run("1", "3")?;
        let found: Vec<_> = said.lines().filter_map(verdict).collect();
        let first_wrong = found.iter().zip(&self.expected).position(|(found, expected)| found != expected);
        match first_wrong {
            None if found.len() == self.expected.len() => Ok(()),
            None => Err(format!("{PROGRAM} judged {} packets of {}", found.len(), self.expected.len())),
            Some(at) => Err(format!("{PROGRAM} finds another rule for packet {at}: {:?}", found[at])),
        }
    }

    /// Cycles for one lookup.
    pub(super) fn measure(&self) -> Result<f64, String> {
        let one = |_| {
            let said = self.run(ITERATIONS, "0")?;
            said.lines().find_map(cycles).ok_or_else(|| format!("{PROGRAM} counts no cycles"))
        };
        Ok(lower_quartile(&(0..RUNS).map(one).collect::<Result<Vec<_>, String>>()?))
    }

    fn run(&self, iterations: &str, verbose: &str) -> Result<String, String> {
        let mut command = Command::new(PROGRAM);
        command
            .args(["-l", &self.core, "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry", "-m", "4000"])
            .args(["--force-max-simd-bitwidth=512", "--"])
            .arg(format!("--rulesf={}", self.rules.display()))
            .arg(format!("--tracef={}", self.trace.display()))
            .args([algorithm(), &format!("--iter={iterations}"), &format!("--tracestep={BATCH}")])
            .arg(format!("--verbose={verbose}"))
            .env("RUNTIME_DIRECTORY", &self.folder);
        process::run(&mut command, RUN_MAX)
    }
}

/// `Err` is the reason why there is none.
pub(super) fn is_there() -> Result<(), String> {
    let asked = Command::new(PROGRAM).arg("--version").output();
    asked.map(drop).map_err(|error| format!("{PROGRAM} of Debian's package dpdk-dev cannot be run: {error}"))
}

/// The fastest that this CPU has.
fn algorithm() -> &'static str {
    let flags = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |wanted: &str| flags.split_whitespace().any(|flag| flag == wanted);
    match (has("avx512bw"), has("avx2")) {
        (true, _) => "--alg=avx512x32",
        (_, true) => "--alg=avx2",
        _ => "--alg=default",
    }
}

/// Rules without the flags of TCP, which the library's program does not read.
fn own_format(rules: &str) -> String {
    rules
        .lines()
        .map(|rule| rule.split_whitespace().take(COLUMNS).collect::<Vec<_>>().join(" ") + "\n")
        .collect()
}

/// Packets with their addresses as numbers, and which rule each must find.
fn trace(rows: &str) -> Result<(String, Vec<Option<u32>>), String> {
    let (mut text, mut expected) = (String::new(), Vec::new());
    for row in rows.lines().filter(|row| !row.starts_with('#')) {
        let (packet, rule) = packet(row).ok_or_else(|| format!("`{row}` is no packet"))?;
        text += &packet;
        expected.push(rule);
    }
    Ok((text, expected))
}

fn packet(row: &str) -> Option<(String, Option<u32>)> {
    let fields: Vec<_> = row.split_whitespace().collect();
    let [source, destination, source_port, destination_port, protocol, rule] = fields[..] else {
        return None;
    };
    let number = |address: &str| address.parse::<Ipv4Addr>().ok().map(u32::from);
    let (source, destination) = (number(source)?, number(destination)?);
    let rule = if rule == "-1" { None } else { Some(rule.parse().ok()?) };
    Some((format!("{source} {destination} {source_port} {destination_port} {protocol}\n"), rule))
}

/// `ipv4_5tuple: 1, category: 0, result: 81`; without a rule the result is one less than zero.
fn verdict(line: &str) -> Option<Option<u32>> {
    let result: u32 = line.strip_prefix("ipv4_5tuple:")?.split_once("result:")?.1.trim().parse().ok()?;
    Some((result != u32::MAX).then_some(result))
}

/// `search_ip5tuples  @lcore 1: 2000 iterations, …, 47.57 cycles/pkt, 54655644.30 pkt/sec`
fn cycles(line: &str) -> Option<f64> {
    let (before, _) = line.split_once(" cycles/pkt")?;
    before.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_packets_are_written_as_the_program_reads_them() {
        let rule = "@1.2.3.4/32\t5.6.0.0/16\t0 : 65535\t53 : 53\t0x11/0xFF\t0x0000/0x0000\t\n";
        assert_eq!(own_format(rule), "@1.2.3.4/32 5.6.0.0/16 0 : 65535 53 : 53 0x11/0xFF\n");
        let rows = "#src\tdst\n1.2.3.4\t0.0.0.5\t7\t53\t17\t0\n255.255.255.255\t0.0.0.5\t7\t53\t6\t-1\n";
        let (text, expected) = trace(rows).unwrap();
        assert_eq!(text, "16909060 5 7 53 17\n4294967295 5 7 53 6\n");
        assert_eq!(expected, [Some(0), None]);
        assert!(trace("1.2.3.4\t0.0.0.5\t7\n").is_err());
    }

    #[test]
    fn what_the_program_says_is_understood() {
        let line = "search_ip5tuples  @lcore 1: 2000 iterations, 20000000 pkts, 1 categories, \
            951411344 cycles (0.37 sec), 47.57 cycles/pkt, 54655644.30 pkt/sec";
        assert_eq!(cycles(line), Some(47.57));
        assert_eq!(verdict("ipv4_5tuple: 1, category: 0, result: 81"), Some(Some(81)));
        assert_eq!(verdict("ipv4_5tuple: 1, category: 0, result: 4294967295"), Some(None));
        assert_eq!(verdict("  num_rules=857"), None);
    }
}
