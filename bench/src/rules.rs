//! Rule matching without any cache: cycles for one lookup, time to compile the rules, and what they take of memory.
//!
//! The sets are those of ClassBench that DPDK's ACL library is measured with (`tests/vectors/policies`), and some of 10
//! to 100,000 rules that are made here. Every packet of every set is looked up before the clock runs, and each answer is
//! compared with the trace's, or with that of a linear scan; one wrong answer and there is no figure.

mod sets;

use std::hint::black_box;
use std::path::PathBuf;

use clap::Args;
use warren_engine::flow_cache::FlowCache;
use warren_engine::limits::BATCH_MAX;
use warren_engine::spd::{Direction, FirstMatch, Ipv4Key, Ipv6Key, NO_RULE, Spd};
use warren_policy::{
    AddressRange, FiveTuple, PeerId, RuleId, RuleSet, Selector, TransportAction, TransportRule, TunnelRule,
};
use warren_port::cycles;

use crate::report::Report;
use crate::rounds::{Rounds, cpu_time, lower_quartile};
use crate::rows::Row;
use sets::Set;

/// Times over all packets of a set in one round.
const PASSES: usize = 24;
/// Sets up to this size are also looked up by a scan from the first rule on.
const SCANNED_MAX: usize = 1_000;
/// Flows that are asked for again: some of the sixteen thousand that a cache has room for.
const WARM_FLOWS: usize = 1_024;
/// What a lookup in a warm cache may cost.
const WARM_MAX: f64 = 15.0;
/// Packets that the scan looks up in one round: it is slow.
const SCANNED_PACKETS: usize = 1_024;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Args)]
pub(crate) struct Arguments {
    /// Where `NAME.rules` and `NAME.trace.tsv` lie.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/policies"))]
    policies: PathBuf,
    /// Rounds of each set, in alternation.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Fewer rounds, and no set of 100,000 rules.
    #[arg(long)]
    quick: bool,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        let policies = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/vectors/policies").into();
        Self { policies, rounds: None, quick }
    }
}

/// Packets of one family, ready to be looked up.
enum Keys {
    Ipv4(Vec<Ipv4Key>),
    Ipv6(Vec<Ipv6Key>),
}

/// A set, compiled.
struct Compiled {
    set: Set,
    keys: Keys,
    found: Vec<u32>,
    rules: FirstMatch,
    build_ms: f64,
    spd: Spd,
    /// Cycles for a lookup of a key, for a verdict about a packet, and for a scan; one for each round.
    lookups: Rounds,
    verdicts: Rounds,
    scans: Rounds,
    /// Flows that a cache knows, the cache, and cycles for asking it about one.
    known: Vec<FiveTuple>,
    cache: FlowCache,
    cached: Rounds,
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, out: &mut Report) -> Result<(), String> {
    let mut all = sets::all(&arguments.policies, arguments.quick)?
        .into_iter()
        .map(Compiled::new)
        .collect::<Result<Vec<_>, _>>()?;
    let rounds = arguments.rounds.unwrap_or(if arguments.quick { 5 } else { 15 });
    for _ in 0..rounds {
        all.iter_mut().for_each(Compiled::round);
    }
    all.iter().try_for_each(|compiled| compiled.report(out))
}

impl Compiled {
    fn new(set: Set) -> Result<Self, String> {
        let start = cpu_time();
        let rules = FirstMatch::new(&set.rules);
        let build_ms = (cpu_time() - start).as_secs_f64() * 1e3;
        let keys = if set.packets.iter().all(|packet| packet.source.is_ipv6()) {
            Keys::Ipv6(set.packets.iter().filter_map(Ipv6Key::new).collect())
        } else {
            Keys::Ipv4(set.packets.iter().filter_map(Ipv4Key::new).collect())
        };
        let spd = Spd::new(&database(&set.rules));
        let found = vec![0; set.packets.len()];
        let (lookups, verdicts, scans, cached) = <(Rounds, Rounds, Rounds, Rounds)>::default();
        let (cache, known) = (FlowCache::new(7), Vec::new());
        let mut compiled =
            Self { set, keys, found, rules, build_ms, spd, lookups, verdicts, scans, known, cache, cached };
        compiled.look_up();
        compiled.check()?;
        compiled.warm()?;
        Ok(compiled)
    }

    /// Shows the first flows of the set to a cache. What it has had to evict again is left out, and is to be little.
    fn warm(&mut self) -> Result<(), String> {
        let flows = || self.set.packets.iter().zip(&self.set.expected).take(WARM_FLOWS);
        for (flow, &rule) in flows() {
            if self.cache.lookup(Direction::Outbound, flow).is_none() {
                self.cache.insert(Direction::Outbound, *flow, verdict(rule));
            }
        }
        for (flow, &rule) in flows() {
            match self.cache.lookup(Direction::Outbound, flow) {
                Some(found) if found == verdict(rule) => self.known.push(*flow),
                Some(_) => return Err(format!("{}: a cache tells another verdict", self.set.name)),
                None => {}
            }
        }
        if self.known.len() * 10 < flows().count() * 9 {
            return Err(format!("{}: the cache does not hold what it has room for", self.set.name));
        }
        Ok(())
    }

    /// Looks every packet up, a batch at a time.
    fn look_up(&mut self) {
        match &self.keys {
            Keys::Ipv4(keys) => {
                for (keys, found) in keys.chunks(BATCH_MAX).zip(self.found.chunks_mut(BATCH_MAX)) {
                    self.rules.ipv4(black_box(keys), black_box(found));
                }
            }
            Keys::Ipv6(keys) => {
                for (keys, found) in keys.chunks(BATCH_MAX).zip(self.found.chunks_mut(BATCH_MAX)) {
                    self.rules.ipv6(black_box(keys), black_box(found));
                }
            }
        }
    }

    fn check(&self) -> Result<(), String> {
        let name = &self.set.name;
        let keys = match &self.keys {
            Keys::Ipv4(keys) => keys.len(),
            Keys::Ipv6(keys) => keys.len(),
        };
        if keys != self.set.packets.len() || keys != self.set.expected.len() || keys == 0 {
            return Err(format!("{name}: not every packet was looked up"));
        }
        let wrong =
            self.found.iter().zip(&self.set.expected).filter(|(found, expected)| found != expected).count();
        if wrong > 0 {
            return Err(format!(
                "{name}: {wrong} of {keys} packets found another rule than the first that matches"
            ));
        }
        let mut verdicts = Vec::new();
        self.spd.classify(Direction::Outbound, &self.set.packets, &mut verdicts);
        let expected = self.set.expected.iter().map(|&rule| verdict(rule));
        if !verdicts.iter().copied().eq(expected) {
            return Err(format!("{name}: a packet got another verdict than its rule says"));
        }
        Ok(())
    }

    fn round(&mut self) {
        let packets = self.set.packets.len() as f64;
        let lookups: Vec<_> = (0..PASSES)
            .map(|_| {
                let start = cycles::now();
                self.look_up();
                (cycles::now() - start) as f64 / packets
            })
            .collect();
        self.lookups.push(lower_quartile(&lookups));
        let mut verdicts = Vec::new();
        let judged: Vec<_> = (0..PASSES)
            .map(|_| {
                let start = cycles::now();
                for packets in self.set.packets.chunks(BATCH_MAX) {
                    self.spd.classify(Direction::Outbound, black_box(packets), &mut verdicts);
                    black_box(&verdicts);
                }
                (cycles::now() - start) as f64 / packets
            })
            .collect();
        self.verdicts.push(lower_quartile(&judged));
        let cached: Vec<_> = (0..PASSES)
            .map(|_| {
                let start = cycles::now();
                for flow in &self.known {
                    black_box(self.cache.lookup(Direction::Outbound, black_box(flow)));
                }
                (cycles::now() - start) as f64 / self.known.len() as f64
            })
            .collect();
        self.cached.push(lower_quartile(&cached));
        if self.set.rules.len() <= SCANNED_MAX {
            let packets = &self.set.packets[..self.set.packets.len().min(SCANNED_PACKETS)];
            let start = cycles::now();
            for packet in packets {
                black_box(sets::scan(&self.set.rules, black_box(packet)));
            }
            self.scans.push((cycles::now() - start) as f64 / packets.len() as f64);
        }
    }

    fn report(&self, out: &mut Report) -> Result<(), String> {
        let row = |what: &str, rounds: &Rounds| Row {
            variant: Some(format!("{}{what}", self.set.name)),
            rules: Some(self.set.rules.len() as u32),
            flows: Some(self.set.packets.len() as u32),
            ..Row::of_cycles("rules", rounds)
        };
        let lookup = row("", &self.lookups).meant_within(self.set.bound);
        out.add(Row {
            build_ms: Some(self.build_ms),
            memory_octets: Some(self.rules.memory_octets() as u64),
            beside: self.set.bound.map(|_| "DPDK ACL, as PEERS.md has it".to_owned()),
            ratio: self.set.bound.map(|bound| self.lookups.median() / bound),
            ..lookup
        })?;
        out.add(Row {
            memory_octets: Some(self.spd.memory_octets() as u64),
            note: Some(
                "the whole question: transport rules, then tunnel rules, from addresses to verdicts"
                    .to_owned(),
            ),
            ..row(" verdicts", &self.verdicts)
        })?;
        out.add(Row {
            flows: Some(self.known.len() as u32),
            note: Some("the whole question to a flow cache that knows the flow".to_owned()),
            ..row(" warm", &self.cached).meant_within(self.set.bound.map(|_| WARM_MAX))
        })?;
        if self.scans.len() > 0 {
            out.add(Row {
                note: Some("a search from the first rule on, beside it".to_owned()),
                ..row(" scan", &self.scans)
            })?;
        }
        Ok(())
    }
}

/// The rules as tunnel rules behind a transport rule that lets everything pass.
fn database(rules: &[Selector]) -> RuleSet {
    let anything = |ipv6: bool| {
        let any = AddressRange::any(ipv6);
        Selector::between(any, any).map(|selector| TransportRule {
            name: String::new(),
            selector,
            action: TransportAction::Permit,
        })
    };
    let tunnel = |(selector, id): (&Selector, u32)| TunnelRule {
        id: RuleId(id),
        name: String::new(),
        selector: *selector,
        peer: PeerId(0),
        gateway: std::net::IpAddr::from(std::net::Ipv4Addr::LOCALHOST).into(),
    };
    RuleSet {
        transport: [false, true].into_iter().filter_map(anything).collect(),
        tunnel: rules.iter().zip(0..).map(tunnel).collect(),
    }
}

fn verdict(rule: u32) -> warren_policy::Verdict {
    if rule == NO_RULE {
        warren_policy::Verdict::Clear
    } else {
        warren_policy::Verdict::Protect(RuleId(rule))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_that_tells_another_verdict_gives_no_figure() {
        let mut compiled = Compiled::new(sets::made(100, false)).unwrap();
        assert!(!compiled.known.is_empty());
        compiled.known.clear();
        compiled.set.expected[7] = compiled.set.expected[7].wrapping_add(1);
        assert!(compiled.warm().unwrap_err().contains("another verdict"));
    }

    #[test]
    fn a_wrong_answer_gives_no_figure() {
        let set = sets::made(100, false);
        let mut compiled = Compiled::new(set).unwrap();
        compiled.set.expected[7] = compiled.set.expected[7].wrapping_add(1);
        assert!(compiled.check().unwrap_err().contains("1 of"));
    }

    #[test]
    fn sets_of_both_families_are_looked_up_and_measured() {
        for ipv6 in [false, true] {
            let mut compiled = Compiled::new(sets::made(300, ipv6)).unwrap();
            compiled.round();
            assert!(compiled.lookups.median() > 0.0 && compiled.verdicts.median() > 0.0);
            let mut report = Report::silent();
            compiled.report(&mut report).unwrap();
            assert_eq!(report.rows().len(), 4);
            assert_eq!(report.rows()[0].rules, Some(300));
        }
    }
}
