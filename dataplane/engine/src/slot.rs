//! A packet on its way through the stages, and the lanes in which batches of them wait for the next stage.

use crate::drop_reason::DropReason;
use crate::limits::LANE_MAX;
use crate::packet::Summary;
use crate::sad::SaIndex;
use std::time::Duration;
use warren_policy::RuleId;
use warren_port::Frame;
use warren_seam::{Carrier, PortIndex, Side};

/// Where a packet came from, which decides how it is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In clear, by a port.
    Port(PortIndex, Side),
    /// From the gateway's own kernel, by the tun port.
    Tun,
    /// Out of an SA, by a port.
    Sa(PortIndex),
    /// From control, which is ours whatever its source address says (REQUIREMENTS TED-12).
    Control,
    /// Made here to answer a packet that came in clear by a port of that side.
    Answer(Side),
    /// Made here to answer a packet that came out of an SA: it goes back the way the rules say, or not at all.
    AnswerToSa,
}

impl Origin {
    /// The port it came by.
    #[must_use]
    pub(crate) const fn port(self) -> Option<PortIndex> {
        match self {
            Self::Port(port, _) | Self::Sa(port) => Some(port),
            Self::Tun | Self::Control | Self::Answer(_) | Self::AnswerToSa => None,
        }
    }

    /// Whether it is somebody else's packet, which costs it a hop.
    #[must_use]
    pub(crate) const fn is_transit(self) -> bool {
        matches!(self, Self::Port(..) | Self::Sa(_))
    }
}

/// A packet. Its frame begins with the IP header.
pub(crate) struct Slot {
    /// The bytes.
    pub(crate) frame: Frame,
    /// What stands in the foremost header.
    pub(crate) summary: Summary,
    /// Where it came from.
    pub(crate) origin: Origin,
    /// Levels of ESP taken off so far.
    pub(crate) depth: u8,
    /// Levels of ESP put on so far.
    pub(crate) level: u8,
    /// The tunnel rule that protects it; until one is found, that of the SA it has just come out of.
    pub(crate) rule: RuleId,
    /// The SA at work on it, or the last that was.
    pub(crate) sa: SaIndex,
    /// Its sequence number in that SA.
    pub(crate) sequence: u64,
    /// Where ESP begins.
    pub(crate) esp_at: u16,
    /// No rule lets it out in clear: it may leave by an inside port, or protected, and in no other way.
    pub(crate) inward: bool,
    /// A discovery message: it leaves in clear whatever the rules say, now or later (REQUIREMENTS TED-31).
    pub(crate) exempt: bool,
    /// It has paid for its hop: judged again, it does not pay anew.
    pub(crate) hop_taken: bool,
    /// Until when it may wait for its neighbour's Ethernet address, once it has begun to.
    pub(crate) waits_until: Option<Duration>,
    /// Why it goes no further.
    pub(crate) failure: Option<DropReason>,
}

impl Slot {
    /// A packet that has just arrived.
    #[must_use]
    pub(crate) fn new(frame: Frame, summary: Summary, origin: Origin) -> Self {
        Self {
            frame,
            summary,
            origin,
            depth: 0,
            level: 0,
            rule: RuleId(0),
            sa: 0,
            sequence: 0,
            esp_at: 0,
            inward: false,
            exempt: false,
            hop_taken: false,
            waits_until: None,
            failure: None,
        }
    }

    /// What it has just come out of, while it comes in.
    #[must_use]
    pub(crate) const fn carrier(&self) -> Carrier {
        if self.depth == 0 { Carrier::Network } else { Carrier::Rule(self.rule) }
    }
}

/// What waits for which stage. The vectors are reused for every batch.
pub(crate) struct Lanes {
    /// Read, and nothing more known.
    pub(crate) arrived: Vec<Slot>,
    /// ESP to us.
    pub(crate) esp: Vec<Slot>,
    /// To be judged by the rules.
    pub(crate) judge: Vec<Slot>,
    /// To be protected.
    pub(crate) protect: Vec<Slot>,
    /// To be routed.
    pub(crate) forward: Vec<Slot>,
    /// For the gateway's own kernel.
    pub(crate) kernel: Vec<Slot>,
    /// Answers made meanwhile; they are sorted into the other lanes for a second round.
    pub(crate) answers: Vec<Slot>,
    /// Fragments of one packet.
    pub(crate) pieces: Vec<Slot>,
    /// Memory for a lane that is being emptied while it is filled again.
    pub(crate) spare: Vec<Slot>,
}

impl Default for Lanes {
    fn default() -> Self {
        let lane = || Vec::with_capacity(LANE_MAX);
        Self {
            arrived: lane(),
            esp: lane(),
            judge: lane(),
            protect: lane(),
            forward: lane(),
            kernel: lane(),
            answers: lane(),
            pieces: lane(),
            spare: lane(),
        }
    }
}

impl Lanes {
    /// Whether no packet waits for a stage.
    #[must_use]
    pub(crate) fn are_idle(&self) -> bool {
        [&self.arrived, &self.esp, &self.judge, &self.protect, &self.forward, &self.kernel, &self.answers]
            .iter()
            .all(|lane| lane.is_empty())
    }
}

/// Takes everything out of a lane and leaves an empty one with memory; give the emptied one back with `*spare = it`.
pub(crate) fn empty_out(lane: &mut Vec<Slot>, spare: &mut Vec<Slot>) -> Vec<Slot> {
    std::mem::replace(lane, std::mem::take(spare))
}
