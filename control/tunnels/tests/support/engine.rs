//! What the workers hold, and what they must never be told.

use std::collections::{BTreeMap, BTreeSet};
use warren_policy::{RuleId, RuleSet};
use warren_seam::{Command, Event, FiveTuple, SaId, Spi};

#[derive(Default)]
pub(crate) struct ModelEngine {
    pub(crate) inbound: BTreeMap<SaId, Spi>,
    pub(crate) outbound: BTreeMap<SaId, Spi>,
    pub(crate) bound: BTreeMap<RuleId, SaId>,
    /// What is around those.
    around: BTreeMap<RuleId, Vec<SaId>>,
    /// SAs of lanes beside the first.
    pub(crate) beside: BTreeMap<RuleId, Vec<SaId>>,
    /// Lanes of installed SAs.
    pub(crate) lanes: BTreeMap<SaId, u16>,
    turn: usize,
    asked: BTreeSet<RuleId>,
    used: BTreeSet<SaId>,
    /// Every id that ever was installed: none comes back.
    ever: BTreeSet<SaId>,
    pub(crate) has_rules: bool,
    pub(crate) rules: RuleSet,
    pub(crate) installs: usize,
    /// Packets that control gave to a worker.
    pub(crate) injected: Vec<warren_seam::Injected>,
}

impl ModelEngine {
    pub(crate) fn apply(&mut self, command: Command) {
        assert!(self.has_rules || matches!(command, Command::Rules(_)), "rules come before anything else");
        match command {
            Command::Rules(rules) => {
                self.has_rules = true;
                let ids: BTreeSet<_> = rules.tunnel.iter().map(|rule| rule.id).collect();
                assert_eq!(ids.len(), rules.tunnel.len(), "identifiers are unique");
                let means = |rules: &RuleSet, id| rules.tunnel_rule(id).map(|rule| rule.selector);
                for id in self.bound.keys().filter(|id| ids.contains(id)) {
                    let same = means(&self.rules, *id) == means(&rules, *id);
                    assert!(same, "a rule that becomes another is unbound first");
                }
                assert!(self.bound.keys().all(|id| ids.contains(id)), "what goes is unbound first");
                self.asked.retain(|id| ids.contains(id));
                self.rules = rules;
            }
            Command::Discovery(_) => {}
            Command::Inject(packet) => self.injected.push(*packet),
            Command::InstallInbound(sa) => {
                assert!(self.ever.insert(sa.id), "an SA is installed once");
                assert!(self.inbound.values().all(|spi| *spi != sa.spi), "SPIs of living SAs differ");
                self.inbound.insert(sa.id, sa.spi);
                self.lanes.insert(sa.id, sa.lane);
            }
            Command::InstallOutbound(sa) => {
                assert!(self.ever.insert(sa.id), "an SA is installed once");
                self.outbound.insert(sa.id, sa.spi);
                self.lanes.insert(sa.id, sa.lane);
                self.installs += 1;
            }
            Command::Bind { rule, stack } => {
                self.asked.remove(&rule);
                self.beside.remove(&rule);
                match stack.as_slice() {
                    [] => {
                        self.bound.remove(&rule);
                        self.around.remove(&rule);
                    }
                    [sa, around @ ..] => {
                        for sa in &stack {
                            assert!(self.outbound.contains_key(sa), "bound to an SA that is not installed");
                        }
                        self.bound.insert(rule, *sa);
                        self.around.insert(rule, around.to_vec());
                    }
                }
            }
            Command::Spread { rule, stacks } => {
                self.asked.remove(&rule);
                self.around.remove(&rule);
                let sas: Vec<SaId> = stacks.concat();
                assert!(stacks.len() > 1 && sas.len() == stacks.len(), "one SA for each of several lanes");
                let lanes: BTreeSet<_> = sas.iter().map(|sa| self.lanes[sa]).collect();
                assert_eq!(lanes.len(), sas.len(), "one stack of each lane");
                assert!(
                    sas.iter().all(|sa| self.outbound.contains_key(sa)),
                    "bound to what is not installed"
                );
                self.bound.insert(rule, sas[0]);
                self.beside.insert(rule, sas[1..].to_vec());
            }
            Command::Rearm(rule) => drop(self.asked.remove(&rule)),
            Command::Remove(sa) => {
                let others = self.around.values().chain(self.beside.values()).flatten();
                let mut bound = self.bound.values().chain(others);
                assert!(bound.all(|bound| *bound != sa), "a bound SA is removed");
                self.inbound.remove(&sa);
                self.outbound.remove(&sa);
            }
            Command::Forwarding(_) | Command::MovePeer { .. } => {}
        }
    }

    /// The SPI a packet of the rule leaves with, or the question it raises.
    pub(crate) fn send(&mut self, rule: RuleId) -> Result<Spi, Option<Event>> {
        if let Some(first) = self.bound.get(&rule) {
            let beside = self.beside.get(&rule).into_iter().flatten();
            let sas: Vec<SaId> = std::iter::once(first).chain(beside).copied().collect();
            self.turn += 1;
            return Ok(self.outbound[&sas[self.turn % sas.len()]]);
        }
        let address = "192.0.2.1".parse().unwrap();
        let packet = FiveTuple {
            source: address,
            destination: address,
            protocol: 17,
            source_port: None,
            destination_port: None,
        };
        Err(self.asked.insert(rule).then_some(Event::Acquire { rule, packet }))
    }

    /// Whether a packet with that SPI is taken, and what is said about it.
    pub(crate) fn receive(&mut self, spi: Spi) -> Option<Option<Event>> {
        let (sa, _) = self.inbound.iter().find(|(_, own)| **own == spi)?;
        Some(self.used.insert(*sa).then_some(Event::FirstInbound(*sa)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inbound.is_empty() && self.outbound.is_empty() && self.bound.is_empty()
    }
}
