//! One measurement: the generator on one core, what is measured on another, a clock beside both.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use warren_port::PortCounters;

use super::Loop;
use super::proof::{FRAMES, check};
use super::topology::Topology;
use crate::rounds::cpu_time;

/// Something that forwards.
pub(crate) trait Turn: Send {
    /// One turn of its loop.
    fn turn(&mut self);
    /// What it has done so far.
    fn counted(&self) -> Counted;
    /// How its ports work.
    fn mode(&self) -> String;
    /// Cycles per packet in our own process for receiving and transmitting, without what the kernel does, where known.
    fn ring_cycles(&self) -> Option<f64> {
        None
    }
    /// What became of packets that were not forwarded, as far as it knows.
    fn fate(&self) -> String {
        String::new()
    }
}

/// Packets on both sides of a loop.
#[derive(Clone, Copy)]
pub(crate) struct Counted {
    /// Came to the port, whether there was room for them or not.
    offered: u64,
    /// Left by the other.
    forwarded: u64,
}

impl Counted {
    pub(crate) fn of(near: &PortCounters, far: &PortCounters) -> Self {
        Self { offered: near.received + near.receive_dropped, forwarded: far.transmitted }
    }
}

/// What came out.
pub(crate) struct Measured {
    pub(crate) pps: f64,
    pub(crate) offered_pps: f64,
    pub(crate) cpu_ns_per_packet: f64,
    pub(crate) ring_cycles: Option<f64>,
    pub(crate) mode: String,
}

/// Rings are full and pages are made after this.
const WARM_UP: Duration = Duration::from_millis(300);
/// Between two looks at the tap, and until whoever sends is given up.
const PROOF_STEP: Duration = Duration::from_millis(10);
/// See [`PROOF_STEP`].
const PROOF_MAX: Duration = Duration::from_secs(5);
/// Turns between two looks at the clock.
const TURNS: u32 = 64;

pub(crate) fn measure(
    topology: &Topology,
    kind: Loop,
    mut measured: impl Turn,
    seconds: f64,
) -> Result<Measured, String> {
    let [ours, theirs] = two_cores()?;
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let generator = scope.spawn(|| {
            pin(theirs)?;
            // Entering a namespace starts a thread, which inherits the core.
            topology.generate(&stop)
        });
        let result = scope.spawn(|| {
            pin(ours)?;
            turn_until(&mut measured, WARM_UP);
            prove(topology, kind, &mut measured)?;
            let (before, start, cpu) = (measured.counted(), Instant::now(), cpu_time());
            turn_until(&mut measured, Duration::from_secs_f64(seconds));
            let (after, elapsed, cpu) = (measured.counted(), start.elapsed().as_secs_f64(), cpu_time() - cpu);
            let forwarded = (after.forwarded - before.forwarded) as f64;
            if forwarded == 0.0 {
                return Err(format!("nothing was forwarded ({})", measured.fate()));
            }
            Ok::<_, String>(Measured {
                pps: forwarded / elapsed,
                offered_pps: (after.offered - before.offered) as f64 / elapsed,
                cpu_ns_per_packet: cpu.as_nanos() as f64 / forwarded,
                ring_cycles: measured.ring_cycles(),
                mode: measured.mode(),
            })
        });
        let result = result.join().map_err(|_| "the measured loop panicked".to_owned());
        stop.store(true, Ordering::Relaxed);
        generator.join().map_err(|_| "the generator panicked".to_owned())??;
        result?
    })
}

/// Frames that leave are what they should be. The tap is closed again before the clock runs.
fn prove(topology: &Topology, kind: Loop, measured: &mut impl Turn) -> Result<(), String> {
    let tap = topology.tap()?;
    let start = Instant::now();
    let mut frames = Vec::new();
    while frames.len() < FRAMES && start.elapsed() < PROOF_MAX {
        turn_until(measured, PROOF_STEP);
        frames.extend(tap.frames());
    }
    check(kind, topology.sent(), &frames).map_err(|why| format!("{why} ({})", measured.fate()))
}

fn turn_until(measured: &mut impl Turn, span: Duration) {
    let start = Instant::now();
    while start.elapsed() < span {
        for _ in 0..TURNS {
            measured.turn();
        }
    }
}

/// The first two cores that we may use.
fn two_cores() -> Result<[usize; 2], String> {
    let allowed = sched_getaffinity(None).map_err(|error| error.to_string())?;
    let mut cores = (0..CpuSet::MAX_CPU).filter(|&core| allowed.is_set(core));
    match (cores.next(), cores.next()) {
        (Some(first), Some(second)) => Ok([first, second]),
        _ => Err("one core for the generator and one for what is measured are needed".to_owned()),
    }
}

fn pin(core: usize) -> Result<(), String> {
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).map_err(|error| error.to_string())
}
