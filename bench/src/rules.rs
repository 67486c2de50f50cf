//! Rule matching: TSC cycles for each lookup, without any cache, over the sets of rules that DPDK's ACL library is
//! measured with (ClassBench), and over sets of 10 to 100,000 rules made here.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use warren_engine::spd::{FirstMatch, Ipv4Key, Ipv6Key, NO_RULE};
use warren_policy::{AddressRange, FiveTuple, PortRange, Protocol, Selector};

use crate::rows::{median, remark, row};

/// Packets that are looked up together: a batch of the engine.
const BATCH: usize = 64;

/// Arguments of the benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Where `NAME.rules` and `NAME.trace.tsv` are.
    #[arg(long, default_value = "shared/vectors/policies")]
    policies: PathBuf,
    /// How often each set is measured, in alternation.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

#[derive(Serialize)]
struct Row {
    benchmark: &'static str,
    set: String,
    rules: usize,
    packets: usize,
    cycles_per_lookup: f64,
    build_ms: f64,
    octets: usize,
}

fn tsc() -> u64 {
    // SAFETY: none
    unsafe { std::arch::x86_64::_rdtsc() }
}

struct Set {
    name: String,
    rules: Vec<Selector>,
    packets: Vec<FiveTuple>,
    expected: Vec<u32>,
}

fn read(folder: &Path, name: &str) -> Result<Set, String> {
    let text = |end: &str| {
        let path = folder.join(format!("{name}{end}"));
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let rules = text(".rules")?.lines().map(|line| rule(line).ok_or(format!("no rule: {line}"))).collect::<Result<Vec<_>, _>>()?;
    let mut packets = Vec::new();
    let mut expected = Vec::new();
    for line in text(".trace.tsv")?.lines().filter(|line| !line.starts_with('#')) {
        let (packet, rule) = trace(line).ok_or(format!("no packet: {line}"))?;
        packets.push(packet);
        expected.push(rule);
    }
    Ok(Set { name: name.to_owned(), rules, packets, expected })
}

fn rule(line: &str) -> Option<Selector> {
    let mut fields = line.strip_prefix('@')?.split('\t');
    let mut prefix = || {
        let (address, length) = fields.next()?.split_once('/')?;
        AddressRange::from_prefix(address.parse().ok()?, length.parse().ok()?)
    };
    let (source, destination) = (prefix()?, prefix()?);
    let mut ports = || {
        let (first, last) = fields.next()?.split_once(" : ")?;
        PortRange::new(first.parse().ok()?, last.parse().ok()?)
    };
    let (source_port, destination_port) = (ports()?, ports()?);
    let protocol = match fields.next()?.split_once('/')? {
        (_, "0x00") => Protocol::Any,
        (number, _) => Protocol::Is(u8::from_str_radix(number.strip_prefix("0x")?, 16).ok()?),
    };
    Some(Selector { source, destination, protocol, source_port, destination_port })
}

fn trace(line: &str) -> Option<(FiveTuple, u32)> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let packet = FiveTuple {
        source: next()?.parse().ok()?,
        destination: next()?.parse().ok()?,
        source_port: Some(next()?.parse().ok()?),
        destination_port: Some(next()?.parse().ok()?),
        protocol: next()?.parse().ok()?,
    };
    let rule: i64 = next()?.parse().ok()?;
    Some((packet, u32::try_from(rule).unwrap_or(NO_RULE)))
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), String> {
    for name in ["acl1_1k", "acl1_10k", "fw1_1k", "ipc1_1k"] {
        let set = read(&arguments.policies, name)?;
        let start = Instant::now();
        let classifier = FirstMatch::new(&set.rules);
        let build_ms = start.elapsed().as_secs_f64() * 1000.0;
        let keys: Vec<_> = set.packets.iter().filter_map(Ipv4Key::new).collect();
        let mut found = vec![0; keys.len()];
        classifier.ipv4(&keys, &mut found);
        let wrong = found.iter().zip(&set.expected).filter(|(a, b)| a != b).count();
        if wrong > 0 {
            return Err(format!("{name}: {wrong} wrong"));
        }
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds {
            let start = tsc();
            for _ in 0..20 {
                for (keys, found) in keys.chunks(BATCH).zip(found.chunks_mut(BATCH)) {
                    classifier.ipv4(black_box(keys), black_box(found));
                }
            }
            rounds.push((tsc() - start) as f64 / (20 * keys.len()) as f64);
        }
        let cycles = median(&rounds);
        remark(&format!("{name}: {cycles:.1} cycles, {build_ms:.1} ms, {} octets {}", classifier.memory_octets(), classifier.describe()));
        row(&Row { benchmark: "rules", set: name.to_owned(), rules: set.rules.len(), packets: keys.len(), cycles_per_lookup: cycles, build_ms, octets: classifier.memory_octets() })?;
    }
    Ok(())
}
