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
//!                 └─ all others ─────────────────────────────────┴─ find ─ route ─ [number ─ seal] per level ─ leave
//!
//!  at each of these: what is not plain ─► the lanes of the stages, and all of its flow behind it in this batch
//! ```
//!
//! Frames stay where they are until they leave, and what is known of each stands in a cache line beside it. What was found for
//! one packet, its rule or its SA, is kept for the next, because packets of one SA come in runs.
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
use crate::drop_reason::DropReason;
use crate::limits::{BATCH_MAX, TRANSMIT_QUEUE_MAX};
use crate::sad::{Limit, SaIndex};
use crate::slot::{Lanes, Origin, Slot};
use crate::stages::{decap, discovery, receive};
use flows::{FlowTable, Place};
use packet::{Fate, Packet};
use plan::Egresses;
use warren_aead::{OpenJob, SealJob};
use warren_port::{Frame, Link, prefetch};

/// What the fast path of one worker knows, and vectors that are reused.
pub(crate) struct FastPath {
    flows: FlowTable,
    egresses: Egresses,
    /// One for each frame of a batch.
    packets: Vec<Packet>,
    /// Frames that the stages see as they came, each with the number of those in front of it that are no such ones.
    raw: Vec<(usize, Frame)>,
    /// Memory for the others while the raw ones are taken out.
    others: Vec<Frame>,
    seal_jobs: Vec<SealJob<'static>>,
    open_jobs: Vec<OpenJob<'static>>,
    /// What has to be reported of outbound SAs.
    limits: Vec<(SaIndex, Limit)>,
    /// Flows of which a packet has gone the slow way in this batch: the rest must not overtake it.
    detours: Vec<FlowKey>,
}

/// Frames and what is known of them, place by place.
struct Batch<'b> {
    frames: &'b mut [Frame],
    packets: &'b mut [Packet],
}

impl Batch<'_> {
    #[inline]
    fn iter_mut(&mut self) -> impl Iterator<Item = (&mut Frame, &mut Packet)> {
        self.frames.iter_mut().zip(self.packets.iter_mut())
    }
}

impl FastPath {
    /// One that knows no flow. `seed` is unknown to whoever sends packets.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            flows: FlowTable::new(seed),
            egresses: Egresses::default(),
            packets: vec![Packet::RAW; BATCH_MAX],
            raw: Vec::with_capacity(BATCH_MAX),
            others: Vec::with_capacity(BATCH_MAX),
            seal_jobs: Vec::with_capacity(BATCH_MAX),
            open_jobs: Vec::with_capacity(BATCH_MAX),
            limits: Vec::with_capacity(BATCH_MAX),
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
    if frames.is_empty() {
        return;
    }
    let mut packets = std::mem::take(&mut core.fast.packets);
    // A port gives no more than it is asked for; were it to, there would be room for more.
    packets.resize(packets.len().max(frames.len()), Packet::RAW);
    let mut batch = Batch { packets: &mut packets[..frames.len()], frames: &mut frames[..] };
    let (esp, raw) = read(core, &mut batch, link, origin);
    core.accounts.lap(Stage::FastRead, batch.frames.len());
    if raw > 0 {
        set_aside(core, frames, &mut packets);
    }
    let mut batch = Batch { packets: &mut packets[..frames.len()], frames: &mut frames[..] };
    if esp > 0 {
        inbound::run(core, &mut batch);
    }
    outbound::run(core, &mut batch, origin);
    leave(core, lanes, frames, &packets, link, origin);
    core.fast.packets = packets;
    core.fast.detours.clear();
}

/// Reads the headers of the whole batch. Returns how many packets may be ESP to us, and how many frames are raw.
fn read(core: &mut Core, batch: &mut Batch<'_>, link: Link, origin: Origin) -> (usize, usize) {
    let mac = origin.port().and_then(|port| core.fib.port(port)).map(|info| info.mac);
    let (door, link_octets) = (packet::door(origin), packet::link_octets(link));
    let looks_out = !core.lookout.is_idle();
    batch.frames.iter().for_each(|frame| frame.bytes().first().into_iter().for_each(prefetch));
    let (mut esp, mut raw) = (0, 0);
    let (mut last, mut place) = (FlowKey::NONE, Place::NONE);
    for (frame, packet) in batch.iter_mut() {
        // What is not plain must not be given the levels of the last batch's packet.
        packet.levels = 0;
        let octets = mac.and_then(|mac| packet::behind_link(frame.bytes(), link, mac));
        packet.fate = match octets.and_then(|octets| packet::read(octets, door)) {
            // Discovery has its look before a plan is made: a flood of its messages is one of new flows.
            Some((key, _)) if looks_out && plan::may_concern_discovery(&core.lookout, &key) => {
                raw += 1;
                Fate::Raw
            }
            // What Ethernet padded must not be encrypted or checked as if it were part of the packet.
            Some((key, head)) if frame.crop(link_octets, head.octets.into()) => {
                packet.begin(key, head);
                if key.may_be_esp() {
                    esp += 1;
                    Fate::Esp
                } else {
                    if key != last {
                        (last, place) = (key, core.fast.flows.locate(&key));
                    }
                    packet.place = place;
                    Fate::Plain
                }
            }
            _ => {
                core.fast.detours.extend(packet::flow_of(frame, link, origin));
                raw += 1;
                Fate::Raw
            }
        };
    }
    (esp, raw)
}

/// Takes the raw frames out of a batch, so that no pass has to step over them: a flood of what is not plain is to cost the
/// other packets little.
#[cold]
fn set_aside(core: &mut Core, frames: &mut Vec<Frame>, packets: &mut [Packet]) {
    let FastPath { raw, others, .. } = &mut core.fast;
    for (at, frame) in frames.drain(..).enumerate() {
        if packets[at].fate == Fate::Raw {
            raw.push((others.len(), frame));
        } else {
            packets[others.len()] = packets[at];
            others.push(frame);
        }
    }
    std::mem::swap(frames, others);
}

/// Into the queues of the ports, and to the stages what they have to see, in the order in which it came.
fn leave(
    core: &mut Core,
    lanes: &mut Lanes,
    frames: &mut Vec<Frame>,
    packets: &[Packet],
    link: Link,
    origin: Origin,
) {
    let count = frames.len();
    let packets = &packets[..count];
    if core.accounts.is_sampled() {
        for packet in packets.iter().filter(|packet| packet.fate == Fate::Leaves) {
            core.accounts.levels(packet.levels.into(), packet.depth.into(), 1);
        }
    }
    let berth = packets.first().map(|first| first.berth);
    let is_one_way = packets.iter().all(|packet| packet.fate == Fate::Leaves && Some(packet.berth) == berth);
    let (mut raw, from) = (std::mem::take(&mut core.fast.raw), Arrival { link, origin });
    match berth.and_then(|berth| core.berths.get_mut(usize::from(berth))) {
        Some(berth) if is_one_way && berth.queue.len() + count <= TRANSMIT_QUEUE_MAX => {
            berth.queue.append(frames);
            raw.drain(..).for_each(|(_, frame)| from.admit(core, lanes, frame));
        }
        _ => {
            let mut raw = raw.drain(..).peekable();
            for (at, (frame, packet)) in frames.drain(..).zip(packets).enumerate() {
                while let Some((_, frame)) = raw.next_if(|(before, _)| *before <= at) {
                    from.admit(core, lanes, frame);
                }
                from.sort(core, lanes, frame, packet);
            }
            raw.for_each(|(_, frame)| from.admit(core, lanes, frame));
            unwrap(core, lanes);
        }
    }
    core.fast.raw = raw;
    core.accounts.lap(Stage::FastSend, count);
}

/// Where a batch came from.
#[derive(Clone, Copy)]
struct Arrival {
    link: Link,
    origin: Origin,
}

impl Arrival {
    /// The stages see a frame as it came.
    fn admit(self, core: &mut Core, lanes: &mut Lanes, frame: Frame) {
        unwrap(core, lanes);
        receive::admit(core, lanes, frame, self.link, self.origin);
    }

    /// Where one of several that go different ways goes.
    fn sort(self, core: &mut Core, lanes: &mut Lanes, frame: Frame, packet: &Packet) {
        match packet.fate {
            Fate::Leaves => match core.berths.get_mut(usize::from(packet.berth)) {
                Some(berth) if berth.queue.len() < TRANSMIT_QUEUE_MAX => berth.queue.push(frame),
                Some(_) => core.discard_frame(frame, DropReason::TransmitFull),
                None => core.discard_frame(frame, DropReason::NoPort),
            },
            Fate::Dropped(reason) => core.discard_frame(frame, reason),
            Fate::Raw => self.admit(core, lanes, frame),
            Fate::Opened => match packet.into_slot(frame, self.origin) {
                Ok(slot) => lanes.esp.push(slot),
                Err((frame, reason)) => core.discard_frame(frame, reason),
            },
            // Nothing is left undecided but what had to be given up: ESP inside more of it than any stack has.
            Fate::Detour | Fate::Esp | Fate::Plain => {
                unwrap(core, lanes);
                match packet.into_slot(frame, self.origin) {
                    Ok(slot) => arrive(core, lanes, slot),
                    Err((frame, reason)) => core.discard_frame(frame, reason),
                }
            }
        }
    }
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
