//! What is the same for every packet of a flow, done once for the flow.
//!
//! A flow is what the rules see of whole IPv4 packets: addresses, protocol, ports, and whether they came by a port of the
//! inside, of the outside, or out of an SA. Its first packet has a *plan* made for it out of the tables that the stages
//! ask: forward in clear, protect by this rule, or *slow*. Plans are forgotten when rules, routes or what discovery looks
//! out for change; SAs may come and go meanwhile.
//!
//! ```text
//!  frames ─ read ─┬─ ESP to us: lookup ─ open ─ accept ─ unwrap ─┐
//!                 │      ▲                                       │ once more for every level
//!                 │      └───────────────────────────────────────┤
//!                 └─ all others ─────────────────────────────────┴─ find ─ [number ─ seal] per level ─ send
//!
//!  at each of these: what is not plain ─► the lanes of the stages, and all of its flow behind it in this batch
//! ```
//!
//! [`stages`](crate::stages) is the whole description of what happens to a packet, and this a shortcut through it: nothing
//! is dropped here but what an SA has proved bad, and a test holds both to the same octets and the same counts.

mod flows;
mod inbound;
mod outbound;
mod packet;
mod plan;
mod way;

pub(crate) use flows::{Door, FlowKey};
pub(crate) use way::Way;

use crate::accounting::Stage;
use crate::core::Core;
use crate::limits::BATCH_MAX;
use crate::slot::{Lanes, Origin, Slot};
use crate::stages::{decap, discovery, receive};
use flows::{FlowTable, Place};
use packet::Packet;
use plan::Egresses;
use warren_aead::{OpenJob, SealJob};
use warren_port::{Frame, Link, prefetch};

/// A packet that the stages have to see.
enum Slow {
    /// As it came from the port.
    Frame(Frame),
    /// Read, and perhaps out of an SA.
    Packet(Packet),
    /// Opened and accepted, and not a plain packet inside.
    Opened(Packet),
}

/// What the fast path of one worker knows, and vectors that are reused.
pub(crate) struct FastPath {
    flows: FlowTable,
    egresses: Egresses,
    /// How many plans there ever were.
    plans_made: u64,
    /// Packets whose plan is looked for, in the order in which they came.
    plain: Vec<Packet>,
    /// ESP to us.
    esp: Vec<Packet>,
    /// What came out of it and may be ESP to us again.
    inner: Vec<Packet>,
    seal_jobs: Vec<SealJob<'static>>,
    open_jobs: Vec<OpenJob<'static>>,
    /// What the stages have to see, each with its place in the batch.
    slow: Vec<(u16, Slow)>,
    /// Flows of which a packet has gone the slow way in this batch: the rest must not overtake it.
    detours: Vec<FlowKey>,
}

impl FastPath {
    /// One that knows no flow. `seed` is unknown to whoever sends packets.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            flows: FlowTable::new(seed),
            egresses: Egresses::default(),
            plans_made: 0,
            plain: Vec::with_capacity(BATCH_MAX),
            esp: Vec::with_capacity(BATCH_MAX),
            inner: Vec::with_capacity(BATCH_MAX),
            seal_jobs: Vec::with_capacity(BATCH_MAX),
            open_jobs: Vec::with_capacity(BATCH_MAX),
            slow: Vec::with_capacity(BATCH_MAX),
            detours: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// Rules, routes or what discovery looks out for have changed: plans are made anew.
    pub(crate) fn invalidate(&mut self) {
        self.flows.invalidate();
        self.egresses.clear();
    }
}

/// Takes a batch as far as it can go without the stages; what they have to see is in their lanes afterwards, in the order in
/// which it came.
pub(crate) fn run(core: &mut Core, lanes: &mut Lanes, frames: &mut Vec<Frame>, link: Link, origin: Origin) {
    let count = frames.len();
    read(core, frames, link, origin);
    core.accounts.lap(Stage::FastRead, count);
    inbound::run(core);
    outbound::run(core, origin);
    if !core.fast.slow.is_empty() {
        leave(core, lanes, link, origin);
    }
    core.fast.detours.clear();
}

fn read(core: &mut Core, frames: &mut Vec<Frame>, link: Link, origin: Origin) {
    let mac = origin.port().and_then(|port| core.fib.port(port)).map(|info| info.mac);
    let (door, link_octets) = (packet::door(origin), packet::link_octets(link));
    let looks_out = !core.lookout.is_idle();
    let mut plain = std::mem::take(&mut core.fast.plain);
    frames.iter().for_each(|frame| frame.bytes().first().into_iter().for_each(prefetch));
    for (at, mut frame) in (0..).zip(frames.drain(..)) {
        let packet = mac.and_then(|mac| packet::behind_link(frame.bytes(), link, mac));
        match packet.and_then(|packet| packet::read(packet, door)) {
            // Discovery has its look before a plan is made: a flood of its messages is one of new flows.
            Some((key, _)) if looks_out && plan::may_concern_discovery(&core.lookout, &key) => {
                core.fast.slow.push((at, Slow::Frame(frame)));
            }
            Some((key, head)) if frame.pop_front(link_octets) => {
                // What Ethernet padded must not be encrypted or checked as if it were part of the packet.
                frame.truncate(head.octets.into());
                if key.may_be_esp() {
                    core.fast.esp.push(Packet::new(frame, at, key, head, Place::default()));
                } else {
                    let place = core.fast.flows.locate(&key);
                    plain.push(Packet::new(frame, at, key, head, place));
                }
            }
            _ => {
                core.fast.detours.extend(packet::flow_of(&frame, link, origin));
                core.fast.slow.push((at, Slow::Frame(frame)));
            }
        }
    }
    core.fast.plain = plain;
}

impl FastPath {
    /// The packet will need its plan.
    #[inline]
    fn seek(&mut self, mut packet: Packet) {
        packet.place = self.flows.locate(&packet.key);
        self.plain.push(packet);
    }

    /// The stages see to this packet.
    fn detour(&mut self, packet: Packet) {
        self.slow.push((packet.at, Slow::Packet(packet)));
    }
}

impl Core {
    /// Takes out those packets that have failed.
    #[cold]
    fn sweep_packets(&mut self, packets: &mut Vec<Packet>) {
        for packet in packets.extract_if(.., |packet| packet.failure.is_some()) {
            let reason = packet.failure.expect("that is why it was taken out");
            self.discard_frame(packet.frame, reason);
        }
    }
}

/// Gives to the stages what they have to see, in the order in which it came.
fn leave(core: &mut Core, lanes: &mut Lanes, link: Link, origin: Origin) {
    let mut slow = std::mem::take(&mut core.fast.slow);
    slow.sort_by_key(|&(at, _)| at);
    for (_, slow) in slow.drain(..) {
        if !matches!(slow, Slow::Opened(_)) {
            unwrap(core, lanes);
        }
        match slow {
            Slow::Frame(frame) => receive::admit(core, lanes, frame, link, origin),
            Slow::Packet(packet) => match packet.into_slot(origin) {
                Ok(slot) => arrive(core, lanes, slot),
                Err((frame, reason)) => core.discard_frame(frame, reason),
            },
            Slow::Opened(packet) => match packet.into_slot(origin) {
                Ok(slot) => lanes.esp.push(slot),
                Err((frame, reason)) => core.discard_frame(frame, reason),
            },
        }
    }
    unwrap(core, lanes);
    core.fast.slow = slow;
}

/// What has been opened and accepted goes on behind that.
fn unwrap(core: &mut Core, lanes: &mut Lanes) {
    if !lanes.esp.is_empty() {
        decap::decap(core, &mut lanes.esp);
        decap::verify(core, lanes);
    }
}

fn arrive(core: &mut Core, lanes: &mut Lanes, slot: Slot) {
    let sight = match slot.origin {
        Origin::Sa(_) => None,
        _ => discovery::look(core, &slot.frame, &slot.summary, slot.origin),
    };
    match sight {
        None => lanes.arrived.push(slot),
        Some(sight) => discovery::take(core, lanes, (slot.frame, slot.summary, slot.origin), sight),
    }
}
