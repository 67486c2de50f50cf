//! One deadline for each tunnel, soonest first.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;
use warren_policy::RuleId;

#[derive(Default)]
pub(crate) struct Timers {
    order: BTreeSet<(Duration, RuleId)>,
    deadlines: HashMap<RuleId, Duration>,
}

impl Timers {
    /// Replaces the tunnel's deadline.
    pub(crate) fn set(&mut self, rule: RuleId, deadline: Option<Duration>) {
        if let Some(old) = self.deadlines.remove(&rule) {
            self.order.remove(&(old, rule));
        }
        if let Some(deadline) = deadline {
            self.deadlines.insert(rule, deadline);
            self.order.insert((deadline, rule));
        }
    }

    pub(crate) fn next(&self) -> Option<Duration> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// Tunnels whose deadline has come; it stays until it is set anew.
    pub(crate) fn due(&self, now: Duration) -> Vec<RuleId> {
        self.order.iter().take_while(|(deadline, _)| *deadline <= now).map(|(_, rule)| *rule).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_has_one_deadline_and_the_soonest_comes_first() {
        let seconds = Duration::from_secs;
        let mut timers = Timers::default();
        timers.set(RuleId(1), Some(seconds(9)));
        timers.set(RuleId(2), Some(seconds(5)));
        timers.set(RuleId(1), Some(seconds(3)));
        assert_eq!(timers.next(), Some(seconds(3)));
        assert_eq!(timers.due(seconds(4)), [RuleId(1)]);
        timers.set(RuleId(1), None);
        assert_eq!(timers.due(seconds(9)), [RuleId(2)]);
        timers.set(RuleId(2), None);
        assert_eq!(timers.next(), None);
    }
}
