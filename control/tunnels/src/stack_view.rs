//! What is shown of stacks: each transaction with both of its own.

use crate::negotiator::Negotiator;
use crate::stacks::Stack;
use crate::status::{StackLevel, StackState, StackStatus};
use crate::tunnel::Tunnel;
use crate::tunnels::Tunnels;
use warren_policy::{Action, RuleId, SaMode, TransportAction};

impl<N: Negotiator> Tunnels<N> {
    /// Every stack, and every one that a failure keeps down; in the order of the rules.
    #[must_use]
    pub fn stacks(&self) -> Vec<StackStatus> {
        let protections = self.rules.protections().map(|(_, own)| own.rule);
        let rules = self.rules.tunnel.iter().map(|rule| rule.id).chain(protections);
        rules.filter_map(|rule| self.stack_status(rule)).collect()
    }

    /// The same for one rule.
    #[must_use]
    pub fn stack_status(&self, rule: RuleId) -> Option<StackStatus> {
        let Some(stack) = self.stacks.get(&rule) else { return self.kept_down_status(rule) };
        let (pending, completed) = (stack.transaction.pending(), stack.transaction.completed());
        let top_first = stack.tunnels.iter().rev();
        let levels = |actions: &[Action], tunnels: &mut dyn Iterator<Item = &Option<RuleId>>| {
            actions.iter().zip(tunnels).map(|(action, tunnel)| self.stack_level(action, *tunnel)).collect()
        };
        Some(StackStatus {
            rule,
            state: match &stack.transaction {
                own if own.is_usable() => StackState::Done,
                _ if stack.is_suspended => StackState::Suspended,
                own if own.reason().is_some() => StackState::TearingDown,
                _ => StackState::Building,
            },
            since: stack.since,
            pending: levels(pending, &mut stack.tunnels.iter()),
            completed: levels(completed, &mut top_first.into_iter()),
            failed: stack.failed.clone(),
        })
    }

    fn kept_down_status(&self, rule: RuleId) -> Option<StackStatus> {
        let kept = self.kept_down.get(&rule)?;
        let until = self.tunnels.get(&rule)?.held_until?;
        Some(StackStatus {
            rule,
            state: StackState::HoldDown { until },
            since: kept.since,
            pending: Vec::new(),
            completed: Vec::new(),
            failed: Some(kept.failed.clone()),
        })
    }

    fn stack_level(&self, action: &Action, tunnel: Option<RuleId>) -> StackLevel {
        let own = tunnel.and_then(|tunnel| self.tunnels.get(&tunnel));
        let users = tunnel.map_or(1, |tunnel| {
            let completed = |stack: &&Stack| stack.completed_at(tunnel).is_some();
            self.stacks.values().filter(completed).count()
        });
        let (rule, name, peer, gateway) = match action {
            Action::Tunnel { rule, peer, gateway, .. } => {
                (Some(*rule), self.name(*rule), Some(*peer), Some(*gateway))
            }
            Action::Transport { at, action, .. } => {
                let name = self.rules.transport.get(*at).map_or_else(String::new, |rule| rule.name.clone());
                match action {
                    TransportAction::Protect(own) => (Some(own.rule), name, Some(own.peer), Some(own.host)),
                    _ => (None, name, None, None),
                }
            }
        };
        StackLevel {
            rule,
            name,
            tunnel,
            peer,
            gateway,
            selector: own.map_or(*action.selector(), |own| own.config.child.selector),
            mode: own.map_or(SaMode::Tunnel, |own| own.config.child.mode),
            state: own.map(Tunnel::state),
            users,
        }
    }
}
