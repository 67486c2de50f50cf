//! What `dpctl stack` is told: transactions with their two stacks, and the SAs that each level has.

use crate::answers::{mode, state};
use crate::levels::Named;
use std::collections::BTreeMap;
use std::time::Duration;
use warren_api::{Lane, LevelMode, Stack, StackFailure, StackLevel, StackState};
use warren_policy::{PeerId, RuleId};
use warren_tunnels::{PairStatus, State, TunnelStatus};

/// Everybody who is asked.
pub(crate) struct StackSources<'a> {
    pub(crate) now: Duration,
    /// Tunnels by their identifiers.
    pub(crate) named: &'a BTreeMap<RuleId, Named>,
    pub(crate) tunnels: &'a BTreeMap<RuleId, TunnelStatus>,
    pub(crate) peer: &'a dyn Fn(PeerId) -> String,
    /// The worker that has the SAs of a rule's lane.
    pub(crate) owner: &'a dyn Fn(RuleId, u16) -> u16,
}

impl StackSources<'_> {
    pub(crate) fn stack(&self, status: &warren_tunnels::StackStatus) -> Stack {
        let named = self.named.get(&status.rule);
        // The API has the top first, as people read stacks.
        let levels = |levels: &[warren_tunnels::StackLevel]| {
            levels.iter().rev().map(|level| self.level(level)).collect::<Vec<_>>()
        };
        Stack {
            rule: named.map_or_else(String::new, |own| own.name.clone()),
            traffic: named.map_or_else(String::new, |own| own.selector.to_string()),
            state: stack_state(status.state),
            since_s: self.now.saturating_sub(status.since).as_secs(),
            rests_s: match status.state {
                warren_tunnels::StackState::HoldDown { until } => Some(seconds_to(self.now, until)),
                _ => None,
            },
            pending: levels(&status.pending),
            completed: levels(&status.completed),
            failed: status
                .failed
                .as_ref()
                .map(|(rule, why)| StackFailure { rule: rule.clone(), why: why.map(|why| why.to_string()) }),
        }
    }

    fn level(&self, level: &warren_tunnels::StackLevel) -> StackLevel {
        let tunnel = level.tunnel.and_then(|tunnel| self.tunnels.get(&tunnel));
        let pair = tunnel.and_then(bound);
        StackLevel {
            rule: level.name.clone(),
            mode: match level.tunnel {
                None => LevelMode::Permit,
                Some(_) => mode(level.mode),
            },
            peer: level.peer.map(self.peer),
            gateway: level.gateway.map(|gateway| gateway.to_string()),
            traffic: level.selector.to_string(),
            state: level.state.map(state),
            rests_s: level.state.and_then(|state| rests(self.now, state)),
            spi_in: pair.map(|pair| pair.inbound.spi.to_string()),
            spi_out: pair.map(|pair| pair.outbound.spi.to_string()),
            transform: pair.map(|pair| pair.outbound.transform.to_string()),
            worker: pair.zip(level.tunnel).map(|(pair, rule)| (self.owner)(rule, pair.inbound.lane)),
            users: level.users as u64,
        }
    }
}

/// The pair that traffic goes through; of a tunnel around others, which no traffic is bound to, the youngest.
pub(crate) fn bound(tunnel: &TunnelStatus) -> Option<&PairStatus> {
    tunnel.pairs.iter().find(|pair| pair.bound).or_else(|| tunnel.pairs.last())
}

/// The pairs that traffic goes through side by side, in the order of their lanes.
pub(crate) fn lanes(tunnel: &TunnelStatus, owner: &dyn Fn(RuleId, u16) -> u16) -> Vec<Lane> {
    let mut bound: Vec<&PairStatus> = tunnel.pairs.iter().filter(|pair| pair.bound).collect();
    bound.sort_by_key(|pair| pair.inbound.lane);
    let lane = |pair: &PairStatus| Lane {
        lane: pair.inbound.lane,
        spi_in: pair.inbound.spi.to_string(),
        spi_out: pair.outbound.spi.to_string(),
        worker: owner(tunnel.rule, pair.inbound.lane),
    };
    bound.into_iter().map(lane).collect()
}

/// Seconds for which a tunnel is not negotiated again.
pub(crate) fn rests(now: Duration, state: State) -> Option<u64> {
    match state {
        State::HoldDown { until } => Some(seconds_to(now, until)),
        _ => None,
    }
}

/// Whole seconds, so many that it is over when they are.
pub(crate) fn seconds_to(now: Duration, until: Duration) -> u64 {
    until.saturating_sub(now).as_millis().div_ceil(1000) as u64
}

fn stack_state(state: warren_tunnels::StackState) -> StackState {
    use warren_tunnels::StackState as Known;
    match state {
        Known::Building => StackState::Building,
        Known::Done => StackState::Done,
        Known::Suspended => StackState::Suspended,
        Known::TearingDown => StackState::TearingDown,
        Known::HoldDown { .. } => StackState::HeldDown,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::levels;
    use crate::levels::tests::{figure_7, ways_of};
    use warren_api::TunnelState;
    use warren_ike::{Failure, Role};
    use warren_policy::{Lifetime, SaMode};
    use warren_seam::{Encapsulation, SaId, Spi};
    use warren_tunnels::SaFacts;

    /// A tunnel with one pair, or without.
    pub(crate) fn tunnel(rule: u32, state: State, spi: Option<u32>) -> TunnelStatus {
        let facts = |id: u64, spi: u32| SaFacts {
            id: SaId(id),
            spi: Spi(spi),
            transform: "aes256gcm16".parse::<warren_policy::EspProposal>().unwrap().transform,
            esn: false,
            selector: figure_7().tunnel[0].selector,
            local: "192.0.2.1".parse().unwrap(),
            remote: "198.51.100.99".parse().unwrap(),
            encapsulation: Encapsulation::Udp { local_port: 4500, remote_port: 4500 },
            lane: 0,
            window_packets: None,
        };
        let pair = |spi| PairStatus {
            inbound: facts(1, spi),
            outbound: facts(2, spi + 1),
            role: Role::Initiator,
            lifetime: Lifetime { seconds: 3600, kilobytes: None },
            born: Duration::ZERO,
            expires_at: Duration::from_secs(3600),
            bound: false,
        };
        TunnelStatus {
            rule: RuleId(rule),
            state,
            since: Duration::ZERO,
            parallel: 1,
            pairs: spi.map(pair).into_iter().collect(),
            failures: 0,
            last_failure: None,
        }
    }

    /// The stack of `sites` of figure 7: sg1's tunnel is there, sg2's failed, the others were never tried.
    pub(crate) fn broken(until: Duration) -> warren_tunnels::StackStatus {
        let rules = figure_7();
        let level = |at: usize, state| {
            let rule = &rules.tunnel[at];
            warren_tunnels::StackLevel {
                rule: Some(rule.id),
                name: rule.name.clone(),
                tunnel: Some(rule.id),
                peer: Some(rule.peer),
                gateway: rule.gateway.address(),
                selector: rule.selector,
                mode: SaMode::Tunnel,
                state: Some(state),
                users: at,
            }
        };
        let permit = warren_tunnels::StackLevel {
            rule: None,
            name: "all".to_owned(),
            tunnel: None,
            peer: None,
            gateway: None,
            state: None,
            ..level(0, State::Down)
        };
        warren_tunnels::StackStatus {
            rule: RuleId(0),
            state: warren_tunnels::StackState::HoldDown { until },
            since: Duration::from_secs(1),
            pending: vec![permit, level(0, State::Down), level(1, State::HoldDown { until })],
            completed: vec![level(2, State::Up { inbound: SaId(1), outbound: SaId(2) })],
            failed: Some(("to-sg3".to_owned(), Some(Failure::NoAnswer.into()))),
        }
    }

    #[test] // NT-11, NT-14, Q-22
    fn both_stacks_are_shown_top_first_with_their_sas_and_what_failed_and_how_long_it_rests() {
        let rules = figure_7();
        let named = levels::named(&rules, &ways_of(&rules), |rule, _| Some(rule));
        let up = State::Up { inbound: SaId(1), outbound: SaId(2) };
        let tunnels = [(RuleId(2), tunnel(2, up, Some(0xc0ff_ee00)))].into();
        let sources = StackSources {
            now: Duration::from_millis(5_100),
            named: &named,
            tunnels: &tunnels,
            peer: &|peer| format!("sg{}", 3 - peer.0),
            owner: &|rule, _| rule.0 as u16 + 5,
        };
        let said = sources.stack(&broken(Duration::from_secs(17)));
        assert_eq!((said.rule.as_str(), said.state, said.since_s), ("sites", StackState::HeldDown, 4));
        assert_eq!(said.traffic, rules.tunnel[0].selector.to_string());
        assert_eq!(said.rests_s, Some(12), "it is over when that many seconds are");
        let names = |levels: &[StackLevel]| levels.iter().map(|own| own.rule.clone()).collect::<Vec<_>>();
        assert_eq!(names(&said.pending), ["to-sg3", "sites", "all"], "next to be performed first");
        assert_eq!(names(&said.completed), ["to-sg2"]);
        let done = &said.completed[0];
        assert_eq!((done.spi_in.as_deref(), done.spi_out.as_deref()), (Some("c0ffee00"), Some("c0ffee01")));
        assert_eq!((done.worker, done.users, done.state), (Some(7), 2, Some(TunnelState::Up)));
        assert_eq!((done.peer.as_deref(), done.gateway.as_deref()), (Some("sg1"), Some("192.0.2.254")));
        let next = &said.pending[0];
        assert_eq!((next.state, next.rests_s, next.worker), (Some(TunnelState::HeldDown), Some(12), None));
        let modes: Vec<_> = said.pending.iter().map(|own| own.mode).collect();
        assert_eq!(modes, [LevelMode::Tunnel, LevelMode::Tunnel, LevelMode::Permit]);
        let failed = said.failed.unwrap();
        assert_eq!((failed.rule.as_str(), failed.why), ("to-sg3", Some(Failure::NoAnswer.to_string())));
    }
}
