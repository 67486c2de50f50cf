//! Packets from one worker to another: to the one that owns the SA, the port or the tun.
//!
//! A packet is copied, because the frames of one worker's UMEM must not drain into another's. The parcels go round:
//! full ones one way, empty ones back, so that nothing is allocated on the way.

use crate::limits::HANDOFF_MAX;
use crate::sad::WorkerIndex;
use crate::slot::{Origin, Slot};
use crate::wake::Bell;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use warren_policy::RuleId;
use warren_seam::SaId;

/// What the other worker has to do with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// Open it: the inbound SA is yours.
    Open {
        /// Of the SA that it has just come out of, if of any.
        rule: RuleId,
    },
    /// Protect it from this level on: the outbound SA is yours. The rule is one of that generation of rules.
    Protect {
        /// The tunnel rule.
        rule: RuleId,
        /// Levels that are done.
        level: u8,
        /// The SA of the last of them.
        below: Option<SaId>,
        /// Which rules the rule is from.
        generation: u32,
    },
    /// Route it: the port is yours.
    Forward {
        /// Levels of ESP that it has.
        level: u8,
        /// Without any it may leave by an inside port only.
        inward: bool,
        /// No rule is asked about it, then as now.
        exempt: bool,
    },
    /// Give it to the kernel: the tun is yours.
    Kernel,
}

/// One packet on its way.
pub(crate) struct Parcel {
    octets: Box<[u8]>,
    used: usize,
    /// What to do with it.
    pub(crate) work: Work,
    /// Where it came from.
    pub(crate) origin: Origin,
    /// Levels of ESP taken off so far.
    pub(crate) depth: u8,
}

impl Parcel {
    /// The packet.
    #[must_use]
    pub(crate) fn packet(&self) -> &[u8] {
        &self.octets[..self.used]
    }
}

/// The way to one other worker.
pub(crate) struct Outbox {
    full: Producer<Parcel>,
    empty: Consumer<Parcel>,
    bell: Arc<Bell>,
    parcel_octets: usize,
    sent: bool,
}

/// The way from one other worker.
pub(crate) struct Inbox {
    full: Consumer<Parcel>,
    empty: Producer<Parcel>,
}

/// A way from one worker to another, whose bell wakes it.
#[must_use]
pub(crate) fn way(parcel_octets: usize, bell: Arc<Bell>) -> (Outbox, Inbox) {
    let (full_in, full_out) = RingBuffer::new(HANDOFF_MAX);
    let (mut empty_in, empty_out) = RingBuffer::new(HANDOFF_MAX);
    for _ in 0..HANDOFF_MAX {
        let parcel = Parcel {
            octets: vec![0; parcel_octets].into(),
            used: 0,
            work: Work::Kernel,
            origin: Origin::Tun,
            depth: 0,
        };
        // The ring was made for exactly so many.
        let _ = empty_in.push(parcel);
    }
    let outbox = Outbox { full: full_in, empty: empty_out, bell, parcel_octets, sent: false };
    (outbox, Inbox { full: full_out, empty: empty_in })
}

impl Outbox {
    /// Copies a packet over; `false` when the other worker does not keep up, or the packet is larger than a parcel.
    pub(crate) fn send(&mut self, slot: &Slot, work: Work) -> bool {
        let packet = slot.frame.bytes();
        if packet.len() > self.parcel_octets {
            return false;
        }
        let Ok(mut parcel) = self.empty.pop() else { return false };
        parcel.octets[..packet.len()].copy_from_slice(packet);
        parcel.used = packet.len();
        (parcel.work, parcel.origin, parcel.depth) = (work, slot.origin, slot.depth);
        let sent = self.full.push(parcel).is_ok();
        self.sent |= sent;
        sent
    }

    /// Wakes the other worker if it sleeps and something was sent this turn.
    pub(crate) fn ring(&mut self) {
        if std::mem::take(&mut self.sent) {
            self.bell.ring_if_asleep();
        }
    }
}

impl Inbox {
    /// The next packet.
    pub(crate) fn receive(&mut self) -> Option<Parcel> {
        self.full.pop().ok()
    }

    /// Sends an emptied parcel back.
    pub(crate) fn give_back(&mut self, parcel: Parcel) {
        // As many parcels as places in the ring: it cannot be full.
        let _ = self.empty.push(parcel);
    }

    /// Whether a packet waits.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.full.is_empty()
    }
}

/// The ways to and from all other workers, by their index; none to oneself.
#[derive(Default)]
pub(crate) struct Post {
    /// To them.
    pub(crate) outboxes: Vec<Option<Outbox>>,
    /// From them.
    pub(crate) inboxes: Vec<Option<Inbox>>,
}

impl Post {
    /// Copies a packet to another worker; `false` when it does not keep up.
    pub(crate) fn send(&mut self, to: WorkerIndex, slot: &Slot, work: Work) -> bool {
        match self.outboxes.get_mut(usize::from(to)) {
            Some(Some(outbox)) => outbox.send(slot, work),
            _ => false,
        }
    }

    /// Wakes everybody who got something this turn.
    pub(crate) fn ring(&mut self) {
        self.outboxes.iter_mut().flatten().for_each(Outbox::ring);
    }

    /// Whether packets wait here.
    #[must_use]
    pub(crate) fn is_waiting(&self) -> bool {
        self.inboxes.iter().flatten().any(|inbox| !inbox.is_empty())
    }
}
