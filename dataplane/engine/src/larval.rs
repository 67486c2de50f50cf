//! Packets that wait for the second half of a pair of SAs: an outbound SA is a larval one (the state LARVAL of RFC 2367) while the
//! inbound one of its pair is in force already.
//!
//! So it is with who answers a quick mode, between his message and the last of the peer (RFC 2409 §5.5). The peer may use
//! its half as soon as it has said that last word, and what it sends is opened here before control has read the word: the
//! answer would find nothing to be protected by, and a negotiation inside a new tunnel would always lose its first one.

use crate::limits::{LARVAL_FOR, LARVAL_MAX};
use crate::slot::Slot;
use std::collections::VecDeque;
use std::time::Duration;
use warren_policy::RuleId;

/// The waiting packets, in the order in which they came.
pub(crate) struct Larval {
    packets: VecDeque<(Duration, Slot)>,
}

impl Default for Larval {
    fn default() -> Self {
        Self { packets: VecDeque::with_capacity(LARVAL_MAX) }
    }
}

impl Larval {
    /// Takes a packet in; gives it back when there is no room.
    #[must_use]
    pub(crate) fn wait(&mut self, slot: Slot, now: Duration) -> Option<Slot> {
        if self.packets.len() >= LARVAL_MAX {
            return Some(slot);
        }
        self.packets.push_back((now + LARVAL_FOR, slot));
        None
    }

    /// Takes out what waits for a rule, in its order.
    pub(crate) fn release(&mut self, rule: RuleId, lane: &mut Vec<Slot>) {
        for _ in 0..self.packets.len() {
            match self.packets.pop_front() {
                Some((_, slot)) if slot.rule == rule => lane.push(slot),
                Some(other) => self.packets.push_back(other),
                None => return,
            }
        }
    }

    /// Takes out everything.
    pub(crate) fn release_all(&mut self, lane: &mut Vec<Slot>) {
        lane.extend(self.packets.drain(..).map(|(_, slot)| slot));
    }

    /// The oldest packet, once it has waited too long.
    pub(crate) fn expired(&mut self, now: Duration) -> Option<Slot> {
        let &(until, _) = self.packets.front()?;
        if until > now { None } else { self.packets.pop_front().map(|(_, slot)| slot) }
    }

    /// How many packets wait.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }
}
