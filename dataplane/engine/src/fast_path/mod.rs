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
mod prefetch;
mod way;

pub(crate) use flows::{Door, FlowKey};
pub(crate) use way::Way;

use crate::core::Core;
use crate::limits::BATCH_MAX;
use crate::slot::{Lanes, Origin, Slot};
use crate::stages::{discovery, receive};
use flows::FlowTable;
use packet::Packet;
use plan::Egresses;
use warren_aead::{OpenJob, SealJob};
use warren_port::{Frame, Link};

/// What the fast path of one worker knows, and vectors that are reused.
pub(crate) struct FastPath {
    flows: FlowTable,
    egresses: Egresses,
    /// Packets whose plan is looked for, in the order in which they came.
    plain: Vec<Packet>,
    /// ESP to us.
    esp: Vec<Packet>,
    /// What came out of it and may be ESP to us again.
    inner: Vec<Packet>,
    seal_jobs: Vec<SealJob<'static>>,
    open_jobs: Vec<OpenJob<'static>>,
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
            plain: Vec::with_capacity(BATCH_MAX),
            esp: Vec::with_capacity(BATCH_MAX),
            inner: Vec::with_capacity(BATCH_MAX),
            seal_jobs: Vec::with_capacity(BATCH_MAX),
            open_jobs: Vec::with_capacity(BATCH_MAX),
            detours: Vec::with_capacity(BATCH_MAX),
        }
    }

    /// Rules, routes or what discovery looks out for have changed: plans are made anew.
    pub(crate) fn invalidate(&mut self) {
        self.flows.invalidate();
        self.egresses.clear();
    }
}

/// Takes a batch as far as it can go without the stages; what they have to see is in their lanes afterwards.
pub(crate) fn run(core: &mut Core, lanes: &mut Lanes, frames: &mut Vec<Frame>, link: Link, origin: Origin) {
    read(core, lanes, frames, link, origin);
    inbound::run(core, lanes);
    outbound::run(core, lanes);
    core.fast.detours.clear();
}

fn read(core: &mut Core, lanes: &mut Lanes, frames: &mut Vec<Frame>, link: Link, origin: Origin) {
    let mac = origin.port().and_then(|port| core.fib.port(port)).map(|info| info.mac);
    for frame in frames.drain(..) {
        let Some(mac) = mac else {
            receive::admit(core, lanes, frame, link, origin);
            continue;
        };
        match Packet::read(frame, link, mac, origin) {
            Ok(packet) if packet.may_be_esp() => core.fast.esp.push(packet),
            Ok(packet) => {
                core.fast.flows.prefetch(&packet.key);
                core.fast.plain.push(packet);
            }
            Err(frame) => receive::admit(core, lanes, frame, link, origin),
        }
    }
}

/// The stages see to this packet, and to what follows it of its flow in this batch.
fn detour(core: &mut Core, lanes: &mut Lanes, packet: Packet) {
    if !core.fast.detours.contains(&packet.key) {
        core.fast.detours.push(packet.key);
    }
    match packet.into_slot() {
        Ok(slot) if matches!(slot.origin, Origin::Sa(_)) => lanes.arrived.push(slot),
        Ok(Slot { frame, summary, origin, .. }) => match discovery::look(core, &frame, &summary, origin) {
            None => lanes.arrived.push(Slot::new(frame, summary, origin)),
            Some(sight) => discovery::take(core, lanes, (frame, summary, origin), sight),
        },
        Err((frame, reason)) => core.discard_frame(frame, reason),
    }
}
