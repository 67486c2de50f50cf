//! An engine of one worker between two ports of the track, turned by the measuring thread.

use std::time::Instant;

use warren_engine::{
    CounterSnapshot, EnginePort, Handle, Refused, Settings, StageSnapshot, Worker, WorkerParts, build,
};
use warren_port::cycles;
use warren_seam::Command;

use super::Generator;
use super::limits::TURNS_TO_DRAIN;
use super::site::{self, INSIDE, OUTSIDE, Own};
use crate::rows::Direction;

/// The engine and its generator.
pub(crate) struct Gateway {
    pub(crate) generator: Generator,
    handle: Handle,
    worker: Worker,
    started: Instant,
    /// Packets that were prepared, and packets that came out.
    given: u64,
    came: u64,
}

impl Gateway {
    /// A gateway that those commands make, with packets coming by one port and leaving by the other.
    pub(crate) fn new(dir: Direction, commands: Vec<Command>) -> Result<Self, String> {
        Self::with(dir, commands, &Settings::default())
    }

    /// The same with settings of the operator's.
    pub(crate) fn with(dir: Direction, commands: Vec<Command>, settings: &Settings) -> Result<Self, String> {
        let (generator, umem, from, to) = Generator::new()?;
        let (near, far) = match dir {
            Direction::Encrypt => (INSIDE, OUTSIDE),
            Direction::Decrypt => (OUTSIDE, INSIDE),
        };
        let ports = vec![
            EnginePort { index: near, port: Box::new(from) },
            EnginePort { index: far, port: Box::new(to) },
        ];
        let parts = WorkerParts { umem, ports, tun: None };
        let (handle, workers) = build(vec![parts], settings).map_err(|error| error.to_string())?;
        let worker = workers.into_iter().next().ok_or("an engine without a worker")?;
        let mut gateway = Self { generator, handle, worker, started: Instant::now(), given: 0, came: 0 };
        gateway.command(commands)?;
        Ok(gateway)
    }

    /// Gives commands and waits until they are applied.
    pub(crate) fn command(&mut self, commands: Vec<Command>) -> Result<(), String> {
        let mut last = None;
        for mut command in commands {
            last = loop {
                match self.handle.submit(command) {
                    Ok(token) => break Some(token),
                    Err(Refused::Full(back)) => command = *back,
                    Err(refused) => return Err(format!("{refused:?}")),
                }
                self.turn();
            };
        }
        while last.is_some_and(|last| self.handle.applied() < last) {
            self.turn();
        }
        Ok(())
    }

    /// Makes a packet ready.
    pub(crate) fn prepare(
        &mut self,
        write: impl FnOnce(&mut warren_port::Frame) -> bool,
    ) -> Result<(), String> {
        match self.generator.prepare(write) {
            true => {
                self.given += 1;
                Ok(())
            }
            false => Err(format!("packets stay in the gateway: {}", self.fate())),
        }
    }

    /// One turn of the worker, as its own loop makes it. Returns cycles.
    #[inline]
    pub(crate) fn turn(&mut self) -> u64 {
        let from = cycles::now();
        self.worker.poll(self.started.elapsed());
        cycles::now() - from
    }

    /// Shows what came out, and hears what the worker has to say.
    pub(crate) fn collect(&mut self, see: impl FnMut(&[u8])) {
        self.came += self.generator.collect(see) as u64;
        while self.handle.poll_event().is_some() {}
    }

    /// Turns until everything that went in has come out.
    pub(crate) fn drain(&mut self, mut see: impl FnMut(&[u8])) -> Result<(), String> {
        self.collect(&mut see);
        for _ in 0..TURNS_TO_DRAIN {
            if self.came == self.given && self.generator.waiting() == 0 {
                break;
            }
            self.turn();
            self.collect(&mut see);
        }
        match self.came == self.given && self.counters().dropped_total() == 0 {
            true => Ok(()),
            false => Err(format!("the work was not done: {}", self.fate())),
        }
    }

    /// How many of the first level's SAs of those pairs are installed.
    pub(crate) fn counts_sas(&self, pairs: impl Iterator<Item = u32>) -> usize {
        let ids =
            pairs.flat_map(|pair| [site::sa_id(Own::First, 1, pair), site::inbound_id(Own::Second, 1, pair)]);
        ids.filter(|&id| self.handle.sa_counters(id).is_some()).count()
    }

    /// What became of the packets, in words.
    fn fate(&self) -> String {
        let drops = self.counters();
        let drops = drops.drops().map(|(reason, count)| format!("{count} {reason}")).collect::<Vec<_>>();
        let drops = if drops.is_empty() { "none dropped".to_owned() } else { drops.join(", ") };
        format!("{} packets went in, {} came out, {drops}", self.given, self.came)
    }

    /// What the stages have cost so far, in turns that were measured.
    pub(crate) fn stages(&self) -> StageSnapshot {
        self.handle.stages()
    }

    pub(crate) fn counters(&self) -> CounterSnapshot {
        self.handle.counters()
    }
}
