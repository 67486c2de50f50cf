//! Our own rule matching over the sets that DPDK's ACL library gets: verdicts of the whole database, from addresses, protocol
//! and ports, a batch of the engine at a time and without any cache.

use std::hint::black_box;

use warren_engine::limits::BATCH_MAX;
use warren_engine::spd::{Direction, Spd};
use warren_policy::{
    AddressRange, FiveTuple, PeerId, PortRange, Protocol, RuleId, RuleSet, Selector, TransportAction,
    TransportRule, TunnelRule, Verdict,
};
use warren_port::cycles;

use crate::rounds::lower_quartile;

/// Times over the whole trace in one round.
const PASSES: usize = 20;

/// One set, compiled.
pub(super) struct Rules {
    spd: Spd,
    packets: Vec<FiveTuple>,
    expected: Vec<Verdict>,
}

impl Rules {
    /// Compiles the text of a `.rules` file for the packets of a `.trace.tsv`, each with its verdict.
    pub(super) fn new(rules: &str, trace: &str) -> Result<Self, String> {
        let selectors = rules
            .lines()
            .map(|line| selector(line).ok_or_else(|| format!("`{line}` is no rule")))
            .collect::<Result<Vec<_>, _>>()?;
        let rows = trace
            .lines()
            .filter(|row| !row.starts_with('#'))
            .map(|row| packet(row).ok_or_else(|| format!("`{row}` is no packet")));
        let (packets, expected) = rows.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let spd = Spd::new(&database(&selectors).ok_or("no database of these rules")?);
        Ok(Self { spd, packets, expected })
    }

    /// How many packets its trace has.
    pub(super) fn packets(&self) -> usize {
        self.packets.len()
    }

    /// Refuses unless every packet gets the verdict of the first rule that matches it.
    pub(super) fn check(&self) -> Result<(), String> {
        let mut verdicts = Vec::new();
        self.spd.classify(Direction::Outbound, &self.packets, &mut verdicts);
        match verdicts.iter().zip(&self.expected).position(|(found, expected)| found != expected) {
            None if verdicts.len() == self.expected.len() && !verdicts.is_empty() => Ok(()),
            None => Err("our rule matching does not judge every packet".to_owned()),
            Some(at) => Err(format!("our rule matching judges packet {at} wrongly: {:?}", verdicts[at])),
        }
    }

    /// Cycles for one verdict.
    pub(super) fn measure(&self) -> f64 {
        let mut verdicts = Vec::with_capacity(BATCH_MAX);
        let passes: Vec<_> = (0..PASSES)
            .map(|_| {
                let start = cycles::now();
                for packets in self.packets.chunks(BATCH_MAX) {
                    self.spd.classify(Direction::Outbound, black_box(packets), &mut verdicts);
                    black_box(&verdicts);
                }
                (cycles::now() - start) as f64 / self.packets.len() as f64
            })
            .collect();
        lower_quartile(&passes)
    }
}

/// Everything is permitted, and each line is a tunnel of its own.
fn database(selectors: &[Selector]) -> Option<RuleSet> {
    let all = AddressRange::from_prefix([0, 0, 0, 0].into(), 0)?;
    let selector = Selector::between(all, all)?;
    let all = TransportRule { name: "all".to_owned(), selector, action: TransportAction::Permit };
    let tunnel = selectors.iter().zip(0..).map(|(&selector, number)| TunnelRule {
        id: RuleId(number),
        name: number.to_string(),
        selector,
        peer: PeerId(0),
        gateway: std::net::IpAddr::from([192, 0, 2, 1]).into(),
    });
    Some(RuleSet { transport: vec![all], tunnel: tunnel.collect() })
}

/// `@1.2.3.4/32  5.6.0.0/16  0 : 65535  53 : 53  0x11/0xFF  …`
fn selector(line: &str) -> Option<Selector> {
    let words: Vec<_> = line.strip_prefix('@')?.split_whitespace().take(9).collect();
    let [source, destination, from, _, to, first, _, last, protocol] = words[..] else { return None };
    let prefix = |word: &str| {
        let (address, length) = word.split_once('/')?;
        AddressRange::from_prefix(address.parse().ok()?, length.parse().ok()?)
    };
    let ports = |first: &str, last: &str| PortRange::new(first.parse().ok()?, last.parse().ok()?);
    let protocol = match protocol.split_once('/')? {
        (_, "0x00") => Protocol::Any,
        (number, _) => Protocol::Is(u8::from_str_radix(number.strip_prefix("0x")?, 16).ok()?),
    };
    Some(Selector {
        source: prefix(source)?,
        destination: prefix(destination)?,
        protocol,
        source_port: ports(from, to)?,
        destination_port: ports(first, last)?,
    })
}

fn packet(row: &str) -> Option<(FiveTuple, Verdict)> {
    let words: Vec<_> = row.split_whitespace().collect();
    let [source, destination, source_port, destination_port, protocol, rule] = words[..] else { return None };
    let packet = FiveTuple {
        source: source.parse().ok()?,
        destination: destination.parse().ok()?,
        protocol: protocol.parse().ok()?,
        source_port: Some(source_port.parse().ok()?),
        destination_port: Some(destination_port.parse().ok()?),
    };
    let verdict = if rule == "-1" { Verdict::Clear } else { Verdict::Protect(RuleId(rule.parse().ok()?)) };
    Some((packet, verdict))
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &str = "@1.2.3.0/24\t0.0.0.0/0\t0 : 65535\t53 : 53\t0x11/0xFF\t0x0000/0x0000\t\n\
        @1.2.0.0/16\t5.0.0.0/8\t0 : 65535\t0 : 65535\t0x00/0x00\t0x0000/0x0000\t\n";

    #[test]
    fn the_first_line_that_matches_decides_and_none_is_a_verdict_too() {
        let trace = "#src\n1.2.3.4\t5.6.7.8\t9\t53\t17\t0\n1.2.3.4\t5.6.7.8\t9\t53\t6\t1\n9.9.9.9\t5.6.7.8\t9\t53\t17\t-1\n";
        let rules = Rules::new(RULES, trace).unwrap();
        rules.check().unwrap();
        assert_eq!(rules.packets(), 3);
        let wrong = Rules::new(RULES, &trace.replace("17\t0\n", "17\t1\n")).unwrap();
        assert!(wrong.check().unwrap_err().contains("packet 0"));
    }

    #[test]
    fn what_is_no_rule_and_what_is_no_packet_are_named() {
        assert!(Rules::new("1.2.3.4/32\n", "").is_err_and(|why| why.contains("no rule")));
        assert!(Rules::new(RULES, "1.2.3.4\t5\n").is_err_and(|why| why.contains("no packet")));
        assert!(Rules::new(RULES, "#nothing\n").unwrap().check().is_err());
    }
}
