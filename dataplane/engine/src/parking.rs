//! Frames that wait until the kernel has found their next hop's Ethernet address.

use crate::limits::{PARKED_FOR, PARKED_MAX, UNRESOLVED_EVERY, UNRESOLVED_MAX};
use crate::slot::Slot;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;
use warren_seam::PortIndex;

/// The waiting frames, oldest first, and whom control has been asked for.
pub(crate) struct Parking {
    frames: VecDeque<(Duration, Slot)>,
    asked: Vec<(PortIndex, IpAddr, Duration)>,
}

impl Default for Parking {
    fn default() -> Self {
        Self { frames: VecDeque::with_capacity(PARKED_MAX), asked: Vec::with_capacity(UNRESOLVED_MAX) }
    }
}

impl Parking {
    /// Takes a frame in; gives it back when there is no room. One that comes back, because the routes have changed and
    /// its neighbour is as unknown as before, has no more time than it had: else each change would let a scan of
    /// addresses that do not exist keep its places.
    #[must_use]
    pub(crate) fn park(&mut self, mut slot: Slot, now: Duration) -> Option<Slot> {
        if self.frames.len() >= PARKED_MAX {
            return Some(slot);
        }
        let until = *slot.waits_until.get_or_insert(now + PARKED_FOR);
        self.frames.push_back((until, slot));
        None
    }

    /// Whether it is time to ask for a neighbour (again).
    #[must_use]
    pub(crate) fn should_ask(&mut self, port: PortIndex, address: IpAddr, now: Duration) -> bool {
        self.asked.retain(|&(_, _, until)| until > now);
        self.asked.len() < UNRESOLVED_MAX
            && !self.asked.iter().any(|&(asked, whom, _)| (asked, whom) == (port, address))
    }

    /// Control has been asked.
    pub(crate) fn asked(&mut self, port: PortIndex, address: IpAddr, now: Duration) {
        self.asked.push((port, address, now + UNRESOLVED_EVERY));
    }

    /// Everything that waits, to be tried again.
    pub(crate) fn retry(&mut self, lane: &mut Vec<Slot>) {
        lane.extend(self.frames.drain(..).map(|(_, slot)| slot));
    }

    /// Takes out everything that waits in clear because a rule let it.
    pub(crate) fn retry_clear(&mut self, lane: &mut Vec<Slot>) {
        for _ in 0..self.frames.len() {
            match self.frames.pop_front() {
                Some((_, slot)) if slot.level == 0 && !slot.exempt => lane.push(slot),
                Some(other) => self.frames.push_back(other),
                None => return,
            }
        }
    }

    /// The oldest frame, once it has waited too long.
    pub(crate) fn expired(&mut self, now: Duration) -> Option<Slot> {
        let &(until, _) = self.frames.front()?;
        if until > now { None } else { self.frames.pop_front().map(|(_, slot)| slot) }
    }

    /// How many wait.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.frames.len()
    }
}
