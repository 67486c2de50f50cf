//! Ports whose packets lie ready in their frames, so that receiving and transmitting only move frames: what is timed is the
//! gateway. What moving them costs is measured by [`Bare`] and taken off.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use warren_engine::limits::BATCH_MAX;
use warren_port::{Frame, Link, Port, PortCounters, PortMode, Umem, UmemConfig, cycles};

use super::limits::FRAMES;

/// Frames between a port and its generator.
type Queue = Arc<Mutex<Vec<Frame>>>;

/// The port. It locks once for a batch, and nobody else has the lock then.
pub(crate) struct Feed {
    name: String,
    waiting: Queue,
    left: Queue,
    exchange: Option<Exchange>,
    counters: PortCounters,
}

/// Frames between the memory of a worker and that of its generator. Packets that one worker hands to another leave the
/// other's memory and come home to the first one's; what each has too many of goes back this way.
#[derive(Clone)]
struct Exchange {
    to_generator: Queue,
    to_worker: Queue,
}

/// What a port receives from and transmits to.
pub(crate) struct Generator {
    umem: Umem,
    headroom: usize,
    waiting: Queue,
    left: Queue,
    exchange: Option<Exchange>,
}

/// Either memory keeps so many more frames than it began with before it gives some back.
const SURPLUS: usize = BATCH_MAX;

impl Generator {
    /// A generator, the memory of the worker whose ports they are, the port that it sends by, and the one where what comes
    /// out is collected.
    pub(crate) fn new() -> Result<(Self, Umem, Feed, Feed), String> {
        Self::between(None)
    }

    /// The same for a worker that hands packets to others. Each turn costs it two more locks.
    pub(crate) fn for_one_of_several() -> Result<(Self, Umem, Feed, Feed), String> {
        Self::between(Some(Exchange { to_generator: queue(), to_worker: queue() }))
    }

    fn between(exchange: Option<Exchange>) -> Result<(Self, Umem, Feed, Feed), String> {
        let config = UmemConfig { frames: 2 * FRAMES, frame_octets: 2048, headroom: 256, huge_pages: true };
        let parts = Umem::new(&config).and_then(|umem| umem.split(2)).map_err(|error| error.to_string())?;
        let [own, workers] = <[Umem; 2]>::try_from(parts).map_err(|_| "memory in other than two parts")?;
        let (waiting, left) = (queue(), queue());
        let port = |name: &str, waiting: &Queue, left: &Queue| Feed {
            name: name.to_owned(),
            waiting: Arc::clone(waiting),
            left: Arc::clone(left),
            exchange: None,
            counters: PortCounters::default(),
        };
        // What leaves by the port that packets come by is an answer to the sender: nobody collects it, and its frames are
        // missed, which is how it is noticed.
        let (mut from, to) = (port("from", &waiting, &queue()), port("to", &queue(), &left));
        from.exchange.clone_from(&exchange);
        Ok((
            Self { headroom: own.headroom() as usize, umem: own, waiting, left, exchange },
            workers,
            from,
            to,
        ))
    }

    /// Makes a packet ready. `false` when all frames are on their way.
    pub(crate) fn prepare(&mut self, write: impl FnOnce(&mut Frame) -> bool) -> bool {
        let Some(mut frame) = self.umem.allocate() else { return false };
        if !write(&mut frame) {
            self.umem.release(frame);
            return false;
        }
        locked(&self.waiting, |waiting| waiting.push(frame));
        true
    }

    /// Packets that the port has not taken yet.
    pub(crate) fn waiting(&self) -> usize {
        locked(&self.waiting, |waiting| waiting.len())
    }

    /// Packets that came out since this was last asked, each shown once, in the order in which they came out.
    pub(crate) fn collect(&mut self, mut see: impl FnMut(&[u8])) -> usize {
        let mut came = locked(&self.left, std::mem::take);
        let count = came.len();
        for mut frame in came.drain(..) {
            see(frame.bytes());
            frame.clear_to(self.headroom);
            self.umem.release(frame);
        }
        if let Some(exchange) = &self.exchange {
            locked(&exchange.to_generator, |frames| {
                frames.drain(..).for_each(|frame| self.umem.release(frame));
            });
            locked(&exchange.to_worker, |frames| surplus(&mut self.umem, frames));
        }
        // The room goes back too: the port must not have to ask for memory while the clock runs.
        locked(&self.left, |left| *left = came);
        count
    }
}

/// Moves what is too much.
fn surplus(umem: &mut Umem, frames: &mut Vec<Frame>) {
    while umem.available() > FRAMES as usize + SURPLUS && frames.len() < BATCH_MAX {
        let Some(frame) = umem.allocate() else { break };
        frames.push(frame);
    }
}

fn queue() -> Queue {
    Arc::new(Mutex::new(Vec::with_capacity(FRAMES as usize)))
}

/// Nobody panics with the lock in hand, and were it so, its frames are whole all the same.
fn locked<T>(queue: &Queue, with: impl FnOnce(&mut Vec<Frame>) -> T) -> T {
    with(&mut queue.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Port for Feed {
    fn link(&self) -> Link {
        Link::Ethernet
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn receive(&mut self, umem: &mut Umem, frames: &mut Vec<Frame>, max: usize) -> usize {
        if let Some(exchange) = &self.exchange {
            locked(&exchange.to_generator, |frames| surplus(umem, frames));
            locked(&exchange.to_worker, |frames| frames.drain(..).for_each(|frame| umem.release(frame)));
        }
        let received = locked(&self.waiting, |waiting| {
            let count = waiting.len().min(max);
            frames.extend(waiting.drain(..count));
            count
        });
        self.counters.received += received as u64;
        received
    }

    fn transmit(&mut self, _umem: &mut Umem, frames: &mut Vec<Frame>) -> usize {
        let taken = frames.len();
        locked(&self.left, |left| left.append(frames));
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

/// A loop without a gateway over the same kind of ports: what the generator costs.
pub(crate) struct Bare {
    generator: Generator,
    umem: Umem,
    from: Box<dyn Port>,
    to: Box<dyn Port>,
    frames: Vec<Frame>,
}

impl Bare {
    pub(crate) fn new() -> Result<Self, String> {
        let (generator, umem, from, to) = Generator::new()?;
        let frames = Vec::with_capacity(2 * BATCH_MAX);
        Ok(Self { generator, umem, from: Box::new(from), to: Box::new(to), frames })
    }

    /// Cycles for a batch of empty packets that are received and transmitted.
    pub(crate) fn batch(&mut self) -> Result<u64, String> {
        (0..BATCH_MAX).for_each(|_| {
            self.generator.prepare(|frame| frame.push_back(64).is_some());
        });
        let from = cycles::now();
        self.from.receive(&mut self.umem, &mut self.frames, BATCH_MAX);
        self.to.receive(&mut self.umem, &mut self.frames, BATCH_MAX);
        self.to.transmit(&mut self.umem, &mut self.frames);
        let elapsed = cycles::now() - from;
        match self.generator.collect(|_| ()) {
            BATCH_MAX => Ok(elapsed),
            others => Err(format!("{others} frames came out of a bare loop, and {BATCH_MAX} went in")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_loop_gives_every_frame_back() {
        let mut bare = Bare::new().unwrap();
        for _ in 0..3 * FRAMES as usize / BATCH_MAX {
            bare.batch().unwrap();
        }
    }

    #[test]
    fn packets_come_out_as_they_were_written_and_in_order() {
        let (mut generator, mut umem, mut from, mut to) = Generator::new().unwrap();
        for octet in 0..3 {
            assert!(
                generator.prepare(|frame| frame.push_back(60).map(|octets| octets.fill(octet)).is_some())
            );
        }
        let mut frames = Vec::new();
        assert_eq!((from.receive(&mut umem, &mut frames, 2), generator.waiting()), (2, 1));
        from.receive(&mut umem, &mut frames, 2);
        to.transmit(&mut umem, &mut frames);
        let mut seen = Vec::new();
        assert_eq!(generator.collect(|packet| seen.push((packet[0], packet.len()))), 3);
        assert_eq!(seen, [(0, 60), (1, 60), (2, 60)]);
    }
}
