//! What a tunnel's set-up and deletion cost: IKEv1 main mode with a pre-shared key, quick mode, and the Deletes of all of
//! it, as processor time of each side. Figures: at most 1.6 ms with MODP 2048, 0.4 ms with ECP 256.
//!
//! Two gateways in one thread hand each other their datagrams in memory. All that control and worker do for a set-up is
//! counted: policy, keys, SAs with their keys expanded installed into an engine and taken out again. What the kernel does to
//! carry the datagrams is not.
//!
//! After each set-up, outside of what is counted, a packet goes each way, through both engines; after each deletion neither
//! side may have anything left. A run in which either is not so has no figure.

mod gateway;

use std::time::Duration;

use clap::Args;
use warren_policy::Group;

use crate::probe_flood::site::RULE;
use crate::report::Report;
use crate::rounds::Rounds;
use crate::rows::Row;
use gateway::Gateway;

/// Arguments of the benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How often each case is measured, in alternation.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Set-ups in each round.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    setups: u32,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) const fn of_suite(quick: bool) -> Self {
        if quick { Self { rounds: 3, setups: 5 } } else { Self { rounds: 15, setups: 20 } }
    }
}

/// What is negotiated.
#[derive(Debug, Clone, Copy)]
struct Case {
    group: Group,
    /// Quick mode has an exchange of its own.
    pfs: bool,
    /// Milliseconds of each side that a set-up and deletion should stay within.
    bound_ms: f64,
}

const CASES: [Case; 4] = [
    Case { group: Group::Modp2048, pfs: false, bound_ms: 1.6 },
    Case { group: Group::Modp2048, pfs: true, bound_ms: 1.6 },
    Case { group: Group::Ecp256, pfs: false, bound_ms: 0.4 },
    Case { group: Group::Ecp256, pfs: true, bound_ms: 0.4 },
];

/// The transform of the SAs.
const ESP: &str = "aes128gcm16";
/// Six of main mode, three of quick mode, a Delete of the pair and one of the ISAKMP SA.
const DATAGRAMS: usize = 11;
/// Between two set-ups: longer than anything lingers that the next one could be taken for.
const PAUSE: Duration = Duration::from_secs(120);

impl Case {
    fn ike(self) -> String {
        format!("aes128-sha256-{}", self.group)
    }

    fn esp(self) -> String {
        if self.pfs { format!("{ESP}-{}", self.group) } else { ESP.to_owned() }
    }

    fn variant(self, side: &str) -> String {
        format!("{}{} {side}", self.group, if self.pfs { " with PFS" } else { "" })
    }
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let mut measured = Vec::new();
    for case in CASES {
        let mut pair = Pair::new(case)?;
        // Tables of a group are made when it is first used, once in the life of a process.
        pair.set_up_and_delete()?;
        measured.push((case, pair, [Rounds::default(), Rounds::default()]));
    }
    for _ in 0..arguments.rounds {
        for (_, pair, rounds) in &mut measured {
            let spent = pair.measure(arguments.setups)?;
            rounds.iter_mut().zip(spent).for_each(|(rounds, ms)| rounds.push(ms));
        }
    }
    for (case, _, [initiator, responder]) in &measured {
        for (side, rounds) in [("initiator", initiator), ("responder", responder)] {
            let ms = rounds.median();
            report.add(Row {
                variant: Some(case.variant(side)),
                alg: Some(ESP.to_owned()),
                cpu_ms: Some(ms),
                per_second: Some(1000.0 / ms),
                bound: Some(case.bound_ms),
                within: Some(ms <= case.bound_ms),
                note: Some("one core of that side alone; without the kernel's part".to_owned()),
                ..Row::of("setups", rounds)
            })?;
        }
    }
    Ok(())
}

/// Initiator and responder.
struct Pair {
    now: Duration,
    initiator: Gateway,
    responder: Gateway,
}

impl Pair {
    fn new(case: Case) -> Result<Self, String> {
        let (initiator, responder) = (Gateway::new(1, case)?, Gateway::new(2, case)?);
        Ok(Self { now: PAUSE, initiator, responder })
    }

    /// Milliseconds of processor time of both sides for one set-up and deletion, the mean of so many.
    fn measure(&mut self, setups: u32) -> Result<[f64; 2], String> {
        self.initiator.take_spent();
        self.responder.take_spent();
        for _ in 0..setups {
            self.set_up_and_delete()?;
        }
        let spent = [self.initiator.take_spent(), self.responder.take_spent()];
        Ok(spent.map(|spent| spent.as_secs_f64() * 1000.0 / f64::from(setups)))
    }

    fn set_up_and_delete(&mut self) -> Result<(), String> {
        let now = self.now;
        self.initiator.act(|tunnels| {
            tunnels.up(now, RULE);
        })?;
        let mut datagrams = self.converse()?;
        if !self.initiator.has_pair() || !self.responder.has_pair() {
            return Err(format!("no tunnel came up, after {datagrams} datagrams"));
        }
        if !self.initiator.reaches(&mut self.responder, now)?
            || !self.responder.reaches(&mut self.initiator, now)?
        {
            return Err("a packet under the new keys did not arrive".to_owned());
        }
        self.initiator.act(|tunnels| tunnels.shutdown(now))?;
        datagrams += self.converse()?;
        self.now += PAUSE;
        let now = self.now;
        // What lingered after the Deletes goes here.
        self.initiator.act(|tunnels| tunnels.handle_timeout(now))?;
        self.responder.act(|tunnels| tunnels.handle_timeout(now))?;
        datagrams += self.converse()?;
        if !self.initiator.has_nothing() || !self.responder.has_nothing() {
            return Err("something is left after the deletion".to_owned());
        }
        match datagrams {
            DATAGRAMS => Ok(()),
            other => Err(format!("{other} datagrams instead of {DATAGRAMS}: this was another conversation")),
        }
    }

    /// Hands datagrams over until neither side has any; how many there were.
    fn converse(&mut self) -> Result<usize, String> {
        let mut count = 0;
        loop {
            let (out, back) = (self.initiator.take_datagrams(), self.responder.take_datagrams());
            if out.is_empty() && back.is_empty() {
                return Ok(count);
            }
            count += out.len() + back.len();
            for datagram in out {
                self.responder.receive(self.now, &datagram)?;
            }
            for datagram in back {
                self.initiator.receive(self.now, &datagram)?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_sets_up_carries_a_packet_each_way_and_leaves_nothing_again_and_again() {
        for case in CASES {
            let measured = Pair::new(case).and_then(|mut pair| {
                pair.measure(1)?;
                pair.measure(2)
            });
            let Ok([initiator, responder]) = measured else { panic!("{case:?}: {measured:?}") };
            assert!(initiator > 0.0 && responder > 0.0, "{case:?}");
        }
    }

    #[test]
    fn gateways_that_do_not_agree_have_no_figure() {
        let [modp, _, ecp, _] = CASES;
        let mut pair = Pair::new(modp).unwrap();
        pair.responder = Gateway::new(2, ecp).unwrap();
        let refused = pair.measure(1).unwrap_err();
        assert!(refused.contains("no tunnel came up"), "{refused}");
    }
}
