//! Stacks of tunnels: what was built, by which base rule.

use crate::negotiator::Negotiator;
use crate::status::StackStatus;
use crate::tunnels::Tunnels;
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{RuleId, Ways};

impl<N: Negotiator> Tunnels<N> {
    /// Every stack of more than one level, and every one that a failure keeps down; in the order of the rules.
    #[must_use]
    pub fn stacks(&self) -> Vec<StackStatus> {
        Vec::new()
    }

    /// The operator wants the stack of that rule taken down now, built or not. `false` where there is none.
    pub fn abort_stack(&mut self, now: Duration, rule: RuleId) -> bool {
        let _ = (now, rule);
        false
    }

    /// What is around the tunnels of each gateway, by the rules in force.
    #[must_use]
    pub fn ways(&self) -> &Ways {
        &self.ways
    }

    /// The identifier that the SAs of a tunnel around others carry: that of a rule, as seen from that address of ours.
    #[must_use]
    pub fn level(&self, rule: RuleId, local: IpAddr) -> Option<RuleId> {
        let _ = local;
        self.tunnels.contains_key(&rule).then_some(rule)
    }
}
