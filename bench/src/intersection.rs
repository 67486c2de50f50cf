//! What one intersection of two full proxies costs (REQUIREMENTS TED-38 … TED-53), over pairs that another program has
//! made: random masks, protocols and ports, some with nothing in common. Figure: below 100 ns.

use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Serialize};
use warren_policy::{MaskedAddress, Protocol, Proxy};

use crate::report::{Report, remark};
use crate::rounds::{cpu_time, median};

const VECTORS: &str = include_str!("../../tests/vectors/ted/proxy_intersection.dev.jsonl");
/// How long one round goes over the pairs at least.
const ROUND: Duration = Duration::from_millis(200);

/// Times over all pairs between two looks at the clock.
const PASSES: usize = 16;

/// Arguments of the benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How often each family is measured, in alternation.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) const fn of_suite(quick: bool) -> Self {
        Self { rounds: if quick { 3 } else { 9 } }
    }
}

/// One pair, as the vectors write it.
#[derive(Deserialize)]
struct Vector {
    ip: u8,
    initiator: Initiator,
    responder: Responder,
    expected: serde_json::Value,
}

#[derive(Deserialize)]
struct Initiator {
    src: IpAddr,
    smask: IpAddr,
    dst: IpAddr,
    dmask: IpAddr,
    proto: serde_json::Value,
    sport: Option<u16>,
    dport: Option<u16>,
}

/// As the responder sees it: local is its own side.
#[derive(Deserialize)]
struct Responder {
    remote: IpAddr,
    rmask: IpAddr,
    local: IpAddr,
    lmask: IpAddr,
    proto: serde_json::Value,
    rport: Option<u16>,
    lport: Option<u16>,
}

/// One line of the result: all rounds of one family.
#[derive(Serialize)]
struct Row {
    benchmark: &'static str,
    ip: u8,
    pairs: usize,
    empty: usize,
    rounds_ns: Vec<f64>,
    median_ns: f64,
}

struct Family {
    ip: u8,
    pairs: Vec<(Proxy, Proxy)>,
    empty: usize,
    rounds_ns: Vec<f64>,
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, out: &mut Report) -> Result<(), String> {
    let mut families = [family(4)?, family(6)?];
    for _ in 0..arguments.rounds {
        for family in &mut families {
            let ns = once(&family.pairs);
            family.rounds_ns.push(ns);
        }
    }
    for Family { ip, pairs, empty, rounds_ns } in families {
        let median_ns = median(&rounds_ns);
        remark(&format!(
            "IPv{ip}: {median_ns:.1} ns for each of {} pairs, {empty} of them empty",
            pairs.len()
        ));
        out.write(&Row { benchmark: "intersection", ip, pairs: pairs.len(), empty, rounds_ns, median_ns })?;
    }
    Ok(())
}

/// The pairs of one family, in one direction, checked against what the vectors expect.
fn family(ip: u8) -> Result<Family, String> {
    let mut family = Family { ip, pairs: Vec::new(), empty: 0, rounds_ns: Vec::new() };
    for line in VECTORS.lines() {
        let vector: Vector = serde_json::from_str(line).map_err(|error| format!("{error}: {line}"))?;
        if vector.ip != ip {
            continue;
        }
        let (own, theirs) = pair(&vector).ok_or_else(|| format!("no pair of proxies: {line}"))?;
        let is_empty = own.intersection(&theirs).is_err();
        if is_empty != (vector.expected == "empty") {
            return Err(format!("another result than expected: {line}"));
        }
        family.empty += usize::from(is_empty);
        family.pairs.push((own, theirs));
    }
    if family.pairs.is_empty() {
        return Err(format!("no pair of IPv{ip}"));
    }
    Ok(family)
}

fn pair(vector: &Vector) -> Option<(Proxy, Proxy)> {
    let (own, theirs) = (&vector.initiator, &vector.responder);
    let initiator = Proxy::new(
        (MaskedAddress::new(own.src, own.smask)?, own.sport),
        (MaskedAddress::new(own.dst, own.dmask)?, own.dport),
        protocol(&own.proto)?,
    )?;
    let responder = Proxy::new(
        (MaskedAddress::new(theirs.local, theirs.lmask)?, theirs.lport),
        (MaskedAddress::new(theirs.remote, theirs.rmask)?, theirs.rport),
        protocol(&theirs.proto)?,
    )?;
    Some((initiator, responder.mirrored()))
}

fn protocol(value: &serde_json::Value) -> Option<Protocol> {
    match value.as_u64() {
        Some(number) => number.try_into().ok().map(Protocol::Is),
        None => (value == "ip").then_some(Protocol::Any),
    }
}

/// Nanoseconds of the core's time for one intersection, the mean of a round.
fn once(pairs: &[(Proxy, Proxy)]) -> f64 {
    let (start, mut calls) = (cpu_time(), 0);
    loop {
        for _ in 0..PASSES {
            for (own, theirs) in pairs {
                let _ = black_box(black_box(own).intersection(black_box(theirs)));
            }
        }
        calls += PASSES * pairs.len();
        let spent = cpu_time() - start;
        if spent >= ROUND {
            return spent.as_nanos() as f64 / calls as f64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // TED-51
    fn both_families_have_pairs_and_their_results_are_the_expected_ones() {
        let (four, six) =
            (family(4).map(|family| family.pairs.len()), family(6).map(|family| family.pairs.len()));
        assert!(four.is_ok_and(|pairs| pairs > 500) && six.is_ok_and(|pairs| pairs > 100));
    }
}
