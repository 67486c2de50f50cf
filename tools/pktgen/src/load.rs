//! A load in memory for a worker that is turned by whoever measures it: latency at a share of what it can do.
//!
//! ```text
//!   LoadEntry::receive: packets that are due by now  --->  worker  --->  LoadExit::transmit: how long since each was due
//! ```
//!
//! A packet counts from the moment at which it was due, not from the one at which the worker came to fetch it: a worker that
//! is late finds a queue, as behind a NIC, and its lateness is in the figure. Nothing else runs beside the worker, so the
//! load disturbs nobody; what it costs itself (one clock reading for each batch, one copy for each packet) is in the figure too.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hdrhistogram::Histogram;
use warren_port::{Frame, Link, Port, PortCounters, PortMode, Umem};

use crate::clock::monotonic_ns;
use crate::generator::Source;
use crate::headers::{Received, read};
use crate::limits::{LOAD_QUEUE_MAX, LOAD_UNDER_WAY_MAX};
use crate::rate::{Pacer, Rate};
use crate::sink::histogram;
use crate::stamp::Stamp;
use crate::workload::{Workload, octets_in_memory};

/// ESP's number among IP protocols.
const ESP: u8 = 50;

/// Writes the packet with this number into an empty frame; `false` when there is none.
pub type Write = Box<dyn FnMut(u64, &mut Frame) -> bool + Send>;

/// Says which number a packet had that leaves; `None` for one that is not of the load.
pub type Number = Box<dyn Fn(&[u8]) -> Option<u64> + Send>;

/// Packets of a workload of one flow, whose number [`stamp_number`] reads again where they leave in clear.
///
/// # Panics
/// When the workload has more flows than one, which would make numbers come more than once.
#[must_use]
pub fn stamped(mut workload: Workload) -> Write {
    assert_eq!(workload.flows().count(), 1, "the numbers of one flow are the numbers of the load");
    Box::new(move |_, frame| {
        let Some(octets) = workload.next_octets() else { return false };
        let Some(out) = frame.push_back(octets_in_memory(octets)) else { return false };
        workload.write(monotonic_ns(), out);
        true
    })
}

/// The number in a packet's stamp.
#[must_use]
pub fn stamp_number() -> Number {
    Box::new(|frame| match read(frame) {
        Received::Udp(_, payload) => Stamp::decode(payload).map(|stamp| stamp.sequence),
        Received::Damaged | Received::Other => None,
    })
}

/// The number that a packet had before it was sealed, where one SA seals all packets of the load and nothing else: the sequence
/// number of ESP (RFC 4303 §2.2) less one, in a frame that starts with an Ethernet header.
#[must_use]
pub fn esp_number() -> Number {
    Box::new(|frame| {
        let ip = frame.get(14..)?;
        let esp = match ip.first()? >> 4 {
            4 if *ip.get(9)? == ESP => ip.get(usize::from(ip.first()? & 15) * 4..)?,
            6 if *ip.get(6)? == ESP => ip.get(40..)?,
            _ => return None,
        };
        let sequence = esp.get(4..8)?.first_chunk::<4>()?;
        u64::from(u32::from_be_bytes(*sequence)).checked_sub(1)
    })
}

/// What has happened since the load began, or since [`LoadWatch::begin`].
#[derive(Clone)]
pub struct Loaded {
    /// Packets that the worker fetched.
    pub entered: u64,
    /// Packets that found the queue in front of the worker full (4096), as they would at a NIC.
    pub overflowed: u64,
    /// Packets that left and whose number was known.
    pub left: u64,
    /// Packets that left and were not of the load, or left twice.
    pub unknown: u64,
    /// Time between being due and leaving, in ns.
    pub latency: Histogram<u64>,
}

/// The port at which the load enters.
pub struct LoadEntry {
    name: String,
    link: Link,
    rate: Rate,
    pacer: Option<Pacer>,
    overflowed_before: u64,
    number: u64,
    write: Write,
    shared: Arc<Shared>,
    counters: PortCounters,
}

/// The port at which it leaves.
pub struct LoadExit {
    name: String,
    link: Link,
    number: Number,
    shared: Arc<Shared>,
    counters: PortCounters,
}

/// Reads what has happened.
pub struct LoadWatch {
    shared: Arc<Shared>,
}

struct Shared {
    /// When the packet was due whose number is the place, modulo their number; zero for none.
    due: Vec<AtomicU64>,
    loaded: Mutex<Loaded>,
}

/// Two ports of one load of `packets_per_second`, not zero, and what reads the result.
///
/// The load begins with the first call of the entry's `receive`. A packet is known again by its number modulo 65,536, so not
/// more than that may be under way.
///
/// ```
/// use warren_pktgen::{Ethernet, Workload, WorkloadConfig, Endpoints, memory_load, stamp_number, stamped};
/// use warren_port::{Link, Port, Umem, UmemConfig};
///
/// let workload = Workload::new(&WorkloadConfig {
///     endpoints: Endpoints {
///         from: "10.1.0.1".parse()?,
///         to: "10.2.0.1".parse()?,
///         source_ports: "1024".parse()?,
///         destination_ports: "9".parse()?,
///     },
///     flows: 1,
///     sizes: "imix".parse()?,
///     rules: None,
///     miss_percent: 0,
///     ethernet: Ethernet { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] },
///     stream: 1,
/// })?;
/// let (mut entry, mut exit, watch) =
///     memory_load(Link::Ethernet, 100_000, stamped(workload), stamp_number());
///
/// // The worker that is measured: here it only forwards.
/// let mut umem = Umem::new(&UmemConfig { frames: 1024, huge_pages: false, ..UmemConfig::default() })?;
/// let mut frames = Vec::new();
/// while watch.read().left < 100 {
///     entry.receive(&mut umem, &mut frames, 64);
///     exit.transmit(&mut umem, &mut frames);
/// }
/// let loaded = watch.read();
/// assert_eq!((loaded.entered, loaded.unknown), (loaded.left, 0));
/// println!("p99 {} ns", loaded.latency.value_at_quantile(0.99));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn memory_load(
    link: Link,
    packets_per_second: u64,
    write: Write,
    number: Number,
) -> (LoadEntry, LoadExit, LoadWatch) {
    let due = std::iter::repeat_with(AtomicU64::default).take(LOAD_UNDER_WAY_MAX).collect();
    let shared = Arc::new(Shared { due, loaded: Mutex::new(Loaded::new()) });
    let entry = LoadEntry {
        name: "load-in".to_owned(),
        link,
        rate: Rate::Packets(packets_per_second),
        pacer: None,
        overflowed_before: 0,
        number: 0,
        write,
        shared: Arc::clone(&shared),
        counters: PortCounters::default(),
    };
    let exit = LoadExit {
        name: "load-out".to_owned(),
        link,
        number,
        shared: Arc::clone(&shared),
        counters: PortCounters::default(),
    };
    (entry, exit, LoadWatch { shared })
}

impl Loaded {
    fn new() -> Self {
        Self { entered: 0, overflowed: 0, left: 0, unknown: 0, latency: histogram() }
    }
}

impl LoadWatch {
    /// Forgets what was counted, as after a warm-up. Packets that are under way will be counted when they leave.
    pub fn begin(&self) {
        *lock(&self.shared.loaded) = Loaded::new();
    }

    /// What has happened so far.
    #[must_use]
    pub fn read(&self) -> Loaded {
        lock(&self.shared.loaded).clone()
    }
}

impl Shared {
    fn due(&self, number: u64) -> &AtomicU64 {
        &self.due[(number % LOAD_UNDER_WAY_MAX as u64) as usize]
    }
}

/// Size by which the pacer counts: it is asked for packets, so any.
const ANY_OCTETS: u16 = 64;

impl Port for LoadEntry {
    fn link(&self) -> Link {
        self.link
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize {
        let now = monotonic_ns();
        let (rate, queue) = (self.rate, LOAD_QUEUE_MAX as usize);
        let pacer = self.pacer.get_or_insert_with(|| Pacer::new(rate, now, queue, ANY_OCTETS));
        let mut received = 0;
        while received < max && umem.available() > 0 {
            let Some(due) = pacer.grant(now, ANY_OCTETS) else { break };
            let Some(mut frame) = umem.allocate() else { break };
            if !(self.write)(self.number, &mut frame) {
                umem.release(frame);
                break;
            }
            // Zero is taken for none, and a moment later is as good.
            self.shared.due(self.number).store(due.max(1), Ordering::Relaxed);
            self.number += 1;
            self.counters.received_octets += frame.len() as u64;
            frames.push(frame);
            received += 1;
        }
        self.counters.received += received as u64;
        let overflowed = pacer.forfeited(ANY_OCTETS);
        let more = overflowed - std::mem::replace(&mut self.overflowed_before, overflowed);
        self.counters.receive_dropped += more;
        if received > 0 || more > 0 {
            let mut loaded = lock(&self.shared.loaded);
            loaded.entered += received as u64;
            loaded.overflowed += more;
        }
        received
    }

    /// What is sent back this way is counted and forgotten.
    fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        let taken = frames.len();
        self.counters.transmitted += taken as u64;
        frames.drain(..).for_each(|frame| umem.release(frame));
        taken
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn mode(&self) -> PortMode {
        PortMode::Memory
    }
}

impl Port for LoadExit {
    fn link(&self) -> Link {
        self.link
    }

    fn name(&self) -> &str {
        &self.name
    }

    /// Nothing comes from there.
    fn receive(&mut self, _umem: &mut Umem, _frames: &mut Vec<Frame>, _max: usize) -> usize {
        0
    }

    fn transmit(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        let taken = frames.len();
        if taken == 0 {
            return 0;
        }
        let now = monotonic_ns();
        let mut loaded = lock(&self.shared.loaded);
        for frame in frames.drain(..) {
            self.counters.transmitted_octets += frame.len() as u64;
            let number = (self.number)(frame.bytes());
            let due = number.map_or(0, |number| self.shared.due(number).swap(0, Ordering::Relaxed));
            if due == 0 {
                loaded.unknown += 1;
            } else {
                loaded.left += 1;
                loaded.latency.saturating_record(now.saturating_sub(due));
            }
            umem.release(frame);
        }
        self.counters.transmitted += taken as u64;
        taken
    }

    fn fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn counters(&self) -> PortCounters {
        self.counters
    }

    fn mode(&self) -> PortMode {
        PortMode::Memory
    }
}

/// A panic elsewhere must not hide its own message behind ours; the sums are valid at every step.
fn lock(loaded: &Mutex<Loaded>) -> MutexGuard<'_, Loaded> {
    loaded.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use warren_port::UmemConfig;

    const RATE: u64 = 20_000;

    fn load() -> (LoadEntry, LoadExit, LoadWatch) {
        let write = |number: u64, frame: &mut Frame| {
            let Some(out) = frame.push_back(60) else { return false };
            out[..8].copy_from_slice(&number.to_be_bytes());
            number < 1_000_000
        };
        let number = |packet: &[u8]| packet.first_chunk().map(|octets| u64::from_be_bytes(*octets));
        memory_load(Link::Ethernet, RATE, Box::new(write), Box::new(number))
    }

    fn umem() -> Umem {
        Umem::new(&UmemConfig { frames: 16_384, huge_pages: false, ..UmemConfig::default() }).unwrap()
    }

    #[test]
    fn every_packet_that_passes_has_a_latency_from_when_it_was_due() {
        let ((mut entry, mut exit, watch), mut umem) = (load(), umem());
        let mut frames = Vec::new();
        entry.receive(&mut umem, &mut frames, 64);
        assert_eq!(frames.len(), 1);
        // The worker is away for 20 ms: 400 packets become due, the first of them 20 ms ago.
        std::thread::sleep(Duration::from_millis(20));
        while entry.receive(&mut umem, &mut frames, 64) == 64 {}
        let entered = frames.len() as u64;
        assert!(entered >= 400, "{entered}");
        exit.transmit(&mut umem, &mut frames);
        let loaded = watch.read();
        assert_eq!((loaded.entered, loaded.left, loaded.unknown), (entered, entered, 0));
        assert!(loaded.latency.max() >= 19_900_000, "{}", loaded.latency.max());
        let middle = loaded.latency.value_at_quantile(0.5);
        assert!((8_000_000..loaded.latency.max()).contains(&middle), "{middle}");
        assert_eq!(umem.outstanding(), 0);
        watch.begin();
        assert_eq!((watch.read().left, watch.read().latency.len()), (0, 0));
    }

    #[test]
    fn a_worker_that_stays_away_finds_a_full_queue_and_not_more() {
        let ((mut entry, mut exit, watch), mut umem) = (load(), umem());
        let mut frames = Vec::new();
        entry.receive(&mut umem, &mut frames, 64);
        std::thread::sleep(Duration::from_millis(300));
        // At one moment, so that nothing becomes due meanwhile.
        assert_eq!(entry.receive(&mut umem, &mut frames, 10_000), LOAD_QUEUE_MAX as usize);
        let loaded = watch.read();
        assert_eq!(loaded.entered, LOAD_QUEUE_MAX + 1);
        assert!(loaded.overflowed >= 1_800, "{}", loaded.overflowed);
        assert_eq!(entry.counters().receive_dropped, loaded.overflowed);
        exit.transmit(&mut umem, &mut frames);
    }

    #[test] // RFC 4303 §2.2
    fn a_sealed_packet_is_known_by_its_sequence_number() {
        let number = esp_number();
        let ethernet = [0u8; 14];
        let (spi, sequence) = ([0, 0, 0x10, 1], 7u32.to_be_bytes());
        let mut ipv4 = [0u8; 24];
        (ipv4[0], ipv4[9]) = (0x46, ESP);
        let sealed = |ip: &[u8]| [&ethernet[..], ip, &spi, &sequence, &[9; 30]].concat();
        assert_eq!(number(&sealed(&ipv4)), Some(6));
        let mut ipv6 = [0u8; 40];
        (ipv6[0], ipv6[6]) = (0x60, ESP);
        assert_eq!(number(&sealed(&ipv6)), Some(6));
        ipv4[9] = 17;
        assert_eq!(number(&sealed(&ipv4)), None);
        let frame = sealed(&ipv6);
        assert!((0..frame.len() - 30).all(|length| number(&frame[..length]).is_none()));
    }

    #[test]
    fn a_packet_that_leaves_twice_or_is_foreign_is_not_counted_as_one_of_the_load() {
        let ((mut entry, mut exit, watch), mut umem) = (load(), umem());
        let mut frames = Vec::new();
        entry.receive(&mut umem, &mut frames, 1);
        let mut copy = umem.allocate().unwrap();
        copy.push_back(60).unwrap().copy_from_slice(frames[0].bytes());
        let mut foreign = umem.allocate().unwrap();
        foreign.push_back(4).unwrap();
        frames.extend([copy, foreign]);
        exit.transmit(&mut umem, &mut frames);
        assert_eq!((watch.read().left, watch.read().unknown), (1, 2));
    }
}
