//! One table of deadlines instead of more states.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;
use std::time::Duration;

/// At most one deadline for each key.
pub(crate) struct Timers<K> {
    ordered: BTreeSet<(Duration, K)>,
    at: HashMap<K, Duration>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    pub(crate) fn new() -> Self {
        Self { ordered: BTreeSet::new(), at: HashMap::new() }
    }

    /// Replaces the deadline of `key`; `None` removes it.
    pub(crate) fn set(&mut self, key: K, deadline: Option<Duration>) {
        if let Some(old) = self.at.remove(&key) {
            self.ordered.remove(&(old, key));
        }
        if let Some(deadline) = deadline {
            self.at.insert(key, deadline);
            self.ordered.insert((deadline, key));
        }
    }

    /// The earliest deadline.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.ordered.first().map(|(deadline, _)| *deadline)
    }

    /// Takes one key whose deadline has come.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<K> {
        let (deadline, key) = *self.ordered.first()?;
        if deadline > now {
            return None;
        }
        self.set(key, None);
        Some(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_deadline_comes_first_and_only_once() {
        let mut timers = Timers::new();
        let s = Duration::from_secs;
        timers.set('a', Some(s(3)));
        timers.set('b', Some(s(2)));
        timers.set('a', Some(s(1)));
        timers.set('c', Some(s(1)));
        timers.set('c', None);
        assert_eq!(timers.next(), Some(s(1)));
        assert_eq!(timers.take_due(Duration::ZERO), None);
        assert_eq!(timers.take_due(s(9)), Some('a'));
        assert_eq!(timers.take_due(s(9)), Some('b'));
        assert_eq!((timers.take_due(s(9)), timers.next()), (None, None));
    }
}
