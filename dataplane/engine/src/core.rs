//! What the stages work with besides the packets themselves: one worker's tables, memory, ports and counters.

use crate::accounting::Accounts;
use crate::bindings::Bindings;
use crate::counters::{Tally, WorkerCounters};
use crate::drop_reason::DropReason;
use crate::fast_path::FastPath;
use crate::fib::Fib;
use crate::flow_cache::FlowCache;
use crate::handoff::{Post, Work};
use crate::larval::Larval;
use crate::limits::{BATCH_MAX, ICMP_BURST, ICMP_PER_SECOND, LANE_MAX, TRANSMIT_QUEUE_MAX};
use crate::lookout::Lookout;
use crate::meter::Stamp;
use crate::order::Report;
use crate::parking::Parking;
use crate::rate::TokenBucket;
use crate::sad::{Sad, WorkerIndex};
use crate::settings::Settings;
use crate::slot::Slot;
use crate::spd::Spd;
use crate::wake::Bell;
use rtrb::Producer;
use std::sync::Arc;
use std::time::Duration;
use warren_aead::{OpenJob, SealJob, Verdict};
use warren_policy::FiveTuple;
use warren_port::{Frame, Link, Port, Umem};
use warren_seam::limits::EVENTS_MAX;
use warren_seam::{Event, PortIndex};

/// A port, and the frames that wait for room in it.
pub(crate) struct Berth {
    /// Which one; `None` for the tun port.
    pub(crate) index: Option<PortIndex>,
    /// The port.
    pub(crate) port: Box<dyn Port>,
    /// What it will send next.
    pub(crate) queue: Vec<Frame>,
}

impl Berth {
    /// A port with nothing to send.
    #[must_use]
    pub(crate) fn new(index: Option<PortIndex>, port: Box<dyn Port>) -> Self {
        Self { index, port, queue: Vec::with_capacity(TRANSMIT_QUEUE_MAX) }
    }

    /// What its frames begin with.
    #[must_use]
    pub(crate) fn link(&self) -> Link {
        self.port.link()
    }
}

/// Who else there is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Colleagues {
    /// Ourselves.
    pub(crate) own: WorkerIndex,
    /// For each port a worker that has it.
    pub(crate) port_owners: Vec<Option<WorkerIndex>>,
    /// A worker that has a tun port.
    pub(crate) tun_owner: Option<WorkerIndex>,
}

/// The way of events to control.
pub(crate) struct EventOutlet {
    ring: Producer<Report>,
    bell: Arc<Bell>,
    pushed: bool,
}

impl EventOutlet {
    /// An outlet into a ring.
    #[must_use]
    pub(crate) fn new(ring: Producer<Report>, bell: Arc<Bell>) -> Self {
        Self { ring, bell, pushed: false }
    }

    /// Tells control that something of this turn waits for it.
    pub(crate) fn ring(&mut self) {
        if std::mem::take(&mut self.pushed) {
            self.bell.ring();
        }
    }
}

/// Vectors that one stage fills and empties, kept for the next batch.
pub(crate) struct Workbench {
    /// Frames just received.
    pub(crate) frames: Vec<Frame>,
    /// Flows to be looked up.
    pub(crate) flows: Vec<FiveTuple>,
    /// Whose flows they are.
    pub(crate) askers: Vec<usize>,
    /// What the rules say of them.
    pub(crate) verdicts: Vec<warren_policy::Verdict>,
    /// What each packet of a lane is told.
    pub(crate) judgements: Vec<warren_policy::Verdict>,
    /// Packets to seal.
    pub(crate) seal_jobs: Vec<SealJob<'static>>,
    /// Packets to open.
    pub(crate) open_jobs: Vec<OpenJob<'static>>,
    /// What became of them.
    pub(crate) opened: Vec<Verdict>,
}

impl Default for Workbench {
    fn default() -> Self {
        Self {
            frames: Vec::with_capacity(BATCH_MAX),
            flows: Vec::with_capacity(LANE_MAX),
            askers: Vec::with_capacity(LANE_MAX),
            verdicts: Vec::with_capacity(LANE_MAX),
            judgements: Vec::with_capacity(LANE_MAX),
            seal_jobs: Vec::with_capacity(LANE_MAX),
            open_jobs: Vec::with_capacity(LANE_MAX),
            opened: Vec::with_capacity(LANE_MAX),
        }
    }
}

/// Everything of one worker but its loop.
pub(crate) struct Core {
    /// The time of this turn.
    pub(crate) now: Duration,
    /// The same for the meters of SAs.
    pub(crate) stamp: Stamp,
    /// What the operator chose.
    pub(crate) settings: Settings,
    /// The rules.
    pub(crate) spd: Arc<Spd>,
    /// Which rules they are.
    pub(crate) generation: u32,
    /// The last command applied.
    pub(crate) applied: u64,
    /// The routes.
    pub(crate) fib: Arc<Fib>,
    /// The SAs.
    pub(crate) sad: Sad,
    /// Which rule uses which SA.
    pub(crate) bindings: Box<Bindings>,
    /// Verdicts of flows seen lately.
    pub(crate) flows: FlowCache,
    /// What is known of flows.
    pub(crate) fast: FastPath,
    /// The frames.
    pub(crate) umem: Umem,
    /// The ports.
    pub(crate) berths: Vec<Berth>,
    /// The way to the kernel.
    pub(crate) tun: Option<Berth>,
    /// The other workers.
    pub(crate) colleagues: Colleagues,
    /// The ways to them.
    pub(crate) post: Post,
    /// Frames without a next hop yet.
    pub(crate) parking: Parking,
    /// Packets without their outbound SA yet.
    pub(crate) larval: Larval,
    /// What discovery looks out for.
    pub(crate) lookout: Lookout,
    /// Limits the ICMP messages we make.
    pub(crate) icmp_rate: TokenBucket,
    /// Identification of the next IPv4 packet of ours.
    pub ipv4_id: u16,
    /// What is counted.
    pub(crate) counters: Arc<WorkerCounters>,
    /// Where the cycles go.
    pub(crate) accounts: Accounts,
    /// What control hears.
    pub(crate) events: EventOutlet,
    /// Vectors that are reused.
    pub(crate) bench: Workbench,
}

impl Core {
    /// A worker that knows nothing yet.
    #[must_use]
    pub(crate) fn new(umem: Umem, settings: Settings, colleagues: Colleagues, events: EventOutlet) -> Self {
        Self {
            now: Duration::ZERO,
            stamp: Stamp::default(),
            spd: Arc::default(),
            generation: 0,
            applied: 0,
            fib: Arc::default(),
            sad: Sad::default(),
            bindings: Box::default(),
            flows: FlowCache::new(settings.hash_seed),
            fast: FastPath::new(settings.hash_seed.rotate_left(32)),
            umem,
            berths: Vec::new(),
            tun: None,
            // Two workers that send to one peer should not count in step.
            ipv4_id: colleagues.own.wrapping_mul(0x3C6F),
            colleagues,
            post: Post::default(),
            parking: Parking::default(),
            larval: Larval::default(),
            lookout: Lookout::new(settings.hash_seed),
            icmp_rate: TokenBucket::new(ICMP_BURST, ICMP_PER_SECOND),
            counters: Arc::default(),
            accounts: Accounts::new(settings.sample_every),
            events,
            settings,
            bench: Workbench::default(),
        }
    }

    /// The end of a packet: its frame goes home, its reason is counted.
    pub(crate) fn discard(&mut self, slot: Slot, reason: DropReason) {
        self.discard_frame(slot.frame, reason);
    }

    /// The end of a frame.
    pub(crate) fn discard_frame(&mut self, frame: Frame, reason: DropReason) {
        self.counters.drop_one(reason);
        self.umem.release(frame);
    }

    /// Takes those packets out of a lane that have failed. Most batches have none, and then nothing moves.
    pub(crate) fn sweep(&mut self, lane: &mut Vec<Slot>) {
        if lane.iter().all(|slot| slot.failure.is_none()) {
            return;
        }
        for slot in lane.extract_if(.., |slot| slot.failure.is_some()) {
            let reason = slot.failure.expect("that is why it was taken out");
            self.discard(slot, reason);
        }
    }

    /// Tells control something; `false`, and counted, when the ring is full.
    pub(crate) fn report(&mut self, event: Event) -> bool {
        let pushed = self.events.ring.push(Report { event, applied: self.applied }).is_ok();
        if pushed {
            self.events.pushed = true;
        } else {
            self.counters.add(Tally::EventsLost, 1);
        }
        pushed
    }

    /// Tells control something that only discovery needs and that anybody can cause: only while half the ring is free, so
    /// that SAs, rules and neighbours are heard of whatever passes by.
    pub(crate) fn report_if_roomy(&mut self, event: Event) -> bool {
        if self.events.ring.slots() <= EVENTS_MAX / 2 {
            self.counters.add(Tally::EventsLost, 1);
            return false;
        }
        self.report(event)
    }

    /// Gives a packet to another worker.
    pub(crate) fn hand_over(&mut self, slot: Slot, to: WorkerIndex, work: Work) {
        if self.post.send(to, &slot, work) {
            self.counters.add(Tally::Handed, 1);
            self.umem.release(slot.frame);
        } else {
            self.discard(slot, DropReason::HandoffFull);
        }
    }

    /// An identification for an IPv4 packet of ours.
    pub(crate) fn next_ipv4_id(&mut self) -> u16 {
        self.ipv4_id = self.ipv4_id.wrapping_add(1);
        self.ipv4_id
    }

    /// The place of a port.
    #[must_use]
    pub(crate) fn berth_mut(&mut self, port: PortIndex) -> Option<&mut Berth> {
        self.berths.iter_mut().find(|berth| berth.index == Some(port))
    }

    /// Packets that are neither delivered nor dropped.
    #[must_use]
    pub(crate) fn held(&self) -> usize {
        self.queued() + self.parking.len() + self.larval.len()
    }

    /// Frames that a port has not taken yet.
    #[must_use]
    pub(crate) fn queued(&self) -> usize {
        self.berths.iter().chain(&self.tun).map(|berth| berth.queue.len()).sum()
    }
}
