//! One run: a generator on one port, a sink on another, until everything has been sent and what is still under way has had
//! time to come.
//!
//! ```text
//!   this thread          Generator ---> station out ~~~ device under test ~~~ station in ---> Sink   a thread of its own
//!   one port for both    Generator ---> station both ~~~~~~~ (reflected) ~~~~~~~ station both ---> Sink
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_setaffinity};
use warren_port::limits::RING_ENTRIES_MAX;

use crate::clock::monotonic_ns;
use crate::generator::{Generator, Sent, Source};
use crate::limits::{BATCH_MAX, FLUSH_WAIT};
use crate::rate::Rate;
use crate::sink::{Caught, Expect, Sink};
use crate::station::Station;

/// Where packets leave and come back.
pub enum Ports {
    /// They leave and nobody counts them.
    Out(Station),
    /// They leave by one and come back by the other.
    Apart(Station, Station),
    /// One port for both ways.
    Both(Station),
}

/// What a run is.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// How fast.
    pub rate: Rate,
    /// How long at most.
    pub span: Duration,
    /// How many frames at most.
    pub count: u64,
    /// How long is waited for the last packets. It ends as soon as as many have come as were sent.
    pub drain: Duration,
    /// Whose packets are counted.
    pub expect: Expect,
    /// Cores for the generator and for the sink.
    pub cores: Option<(usize, usize)>,
    /// Sleep for moments when there is nothing to do, instead of looking again at once. Bad for latencies, good for whoever
    /// shares the cores.
    pub gentle: bool,
}

/// What came out.
pub struct Ran {
    /// What was sent.
    pub sent: Sent,
    /// What came, if anybody counted.
    pub caught: Option<Caught>,
}

/// How long a gentle loop sleeps: shorter than a batch takes at a rate for which anybody would be gentle.
const NAP: Duration = Duration::from_micros(100);

/// Sends everything and counts what comes.
///
/// # Errors
/// When a core cannot be had, or a thread panicked.
pub fn run<S: Source>(ports: &mut Ports, source: S, config: &RunConfig) -> Result<Ran, String> {
    match ports {
        Ports::Out(out) => {
            pin(config.cores.map(|cores| cores.0))?;
            Ok(Ran { sent: generate(source, config, out, |_| {}), caught: None })
        }
        Ports::Both(both) => {
            pin(config.cores.map(|cores| cores.0))?;
            let mut sink = Sink::new(config.expect);
            let before = both.port.counters().receive_dropped;
            let sent = generate(source, config, both, |station| {
                sink.turn(monotonic_ns, &mut station.umem, &mut *station.port);
            });
            let progress = sink.progress();
            drain(config, sent.frames, &progress, || sink.turn_on(both));
            let overrun = both.port.counters().receive_dropped - before;
            Ok(Ran { sent, caught: Some(Caught { overrun, ..sink.finish() }) })
        }
        Ports::Apart(out, into) => apart(out, into, source, config),
    }
}

fn apart<S: Source>(
    out: &mut Station,
    into: &mut Station,
    source: S,
    config: &RunConfig,
) -> Result<Ran, String> {
    let stop = AtomicBool::new(false);
    let sink = Sink::new(config.expect);
    let progress = sink.progress();
    std::thread::scope(|scope| {
        let sink = scope.spawn(|| {
            pin(config.cores.map(|cores| cores.1))?;
            Ok::<_, String>(catch(sink, into, config.gentle, |_| stop.load(Ordering::Relaxed)))
        });
        let sent = pin(config.cores.map(|cores| cores.0)).map(|()| generate(source, config, out, refuse_all));
        if let Ok(sent) = &sent {
            drain(config, sent.frames, &progress, || 0);
        }
        stop.store(true, Ordering::Relaxed);
        let caught = sink.join().map_err(|_| "the sink panicked".to_owned())??;
        Ok(Ran { sent: sent?, caught: Some(caught) })
    })
}

/// Catches on one port until `until` says so of the time and the sums.
pub fn catch(mut sink: Sink, station: &mut Station, gentle: bool, until: impl Fn(&Sink) -> bool) -> Caught {
    let before = station.port.counters().receive_dropped;
    while !until(&sink) {
        if sink.turn_on(station) == 0 {
            pause(gentle);
        }
    }
    // What came between the last look and the end: no more than the longest ring holds, for the packets may never end.
    for _ in 0..RING_ENTRIES_MAX as usize / BATCH_MAX {
        if sink.turn_on(station) == 0 {
            break;
        }
    }
    Caught { overrun: station.port.counters().receive_dropped - before, ..sink.finish() }
}

impl Sink {
    fn turn_on(&mut self, station: &mut Station) -> usize {
        self.turn(monotonic_ns, &mut station.umem, &mut *station.port)
    }
}

/// Sends; `beside` is called once for each turn.
fn generate<S: Source>(
    source: S,
    config: &RunConfig,
    station: &mut Station,
    mut beside: impl FnMut(&mut Station),
) -> Sent {
    let begin = monotonic_ns();
    let end = begin + config.span.as_nanos() as u64;
    let mut generator = Generator::new(source, config.rate, begin, end, config.count);
    let mut now = begin;
    while !generator.is_done(now) {
        let moved = generator.turn(now, &mut station.umem, &mut *station.port);
        beside(station);
        if !moved {
            pause(config.gentle);
        }
        now = monotonic_ns();
    }
    // Sent is what has left the port, so the time until then belongs to it.
    let flush_end = now + FLUSH_WAIT.as_nanos() as u64;
    while station.port.unsent() > 0 && now < flush_end {
        station.port.transmit(&mut station.umem, &mut Vec::new());
        now = monotonic_ns();
    }
    generator.finish(now, &mut station.umem)
}

/// What comes to a port that only sends: neighbours asking, mostly. It must not fill the memory.
fn refuse_all(station: &mut Station) {
    let mut frames = Vec::new();
    station.port.receive(&mut station.umem, &mut frames, BATCH_MAX);
    frames.into_iter().for_each(|frame| station.umem.release(frame));
}

fn drain(config: &RunConfig, sent: u64, progress: &Arc<AtomicU64>, mut turn: impl FnMut() -> usize) {
    let end = monotonic_ns() + config.drain.as_nanos() as u64;
    while progress.load(Ordering::Relaxed) < sent && monotonic_ns() < end {
        if turn() == 0 {
            pause(config.gentle);
        }
    }
}

fn pause(gentle: bool) {
    if gentle {
        std::thread::sleep(NAP);
    } else {
        std::hint::spin_loop();
    }
}

fn pin(core: Option<usize>) -> Result<(), String> {
    let Some(core) = core else { return Ok(()) };
    if core >= CpuSet::MAX_CPU {
        return Err(format!("there is no core {core}"));
    }
    let mut only = CpuSet::new();
    only.set(core);
    sched_setaffinity(None, &only).map_err(|error| format!("core {core}: {error}"))
}
