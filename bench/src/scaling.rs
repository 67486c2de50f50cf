//! What several cores do together: as many workers of one engine, each on a thread and a core of its own, sealing at once.
//!
//! Without handoff each worker is given the flows of the SAs that it owns, as steering in a NIC would do it. With handoff each
//! is given all flows, so that of two workers' packets every other one has to go to the other worker's core.
//!
//! A worker's rate is that of the time in its turns: what its generator takes in between is outside, as ever. The number of
//! packets on their way is bounded, because a ring between two workers that is full drops, and a dropped packet is no work.

use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Args;
use core_affinity::CoreId;
use warren_aead::Backend;
use warren_engine::limits::{BATCH_MAX, HANDOFF_MAX};
use warren_engine::{EnginePort, Handle, Refused, Settings, Worker, WorkerParts, build};
use warren_port::cycles;

use crate::report::Report;
use crate::rounds::{Rounds, cpu_time, lower_quartile};
use crate::rows::{Direction, Row, Size};
use crate::track::Generator;
use crate::track::judge::Judge;
use crate::track::limits::TURNS_TO_DRAIN;
use crate::track::site::{INSIDE, OUTSIDE, Own, Site};
use crate::track::traffic::Traffic;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Arguments {
    /// Numbers of workers; 1, 2, 4 and so on up to the cores that there are, unless said otherwise.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=64))]
    workers: Vec<u32>,
    /// Octets of the inner packets, or `imix`.
    #[arg(long, value_delimiter = ',')]
    sizes: Vec<Size>,
    /// Rounds of each case.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Batches that each worker is given in a round.
    #[arg(long, value_parser = clap::value_parser!(u32).range(16..=1_000_000))]
    batches: Option<u32>,
    /// Shorter rounds.
    #[arg(long)]
    quick: bool,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        Self { quick, ..Self::default() }
    }
}

/// SA pairs, which any number of workers up to this shares.
const SAS: u32 = 64;
/// Turns that are one sample.
const TURNS: usize = 16;
/// Batches of a proof, of each worker.
const PROOF_BATCHES: usize = 64;
/// Packets on their way at most: what the ring between two workers holds, less a batch.
const ON_THE_WAY_MAX: u64 = (HANDOFF_MAX - BATCH_MAX) as u64;

/// Who is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Case {
    workers: u32,
    is_steered: bool,
    size: Size,
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let cores = core_affinity::get_core_ids().ok_or("the cores of this machine are not known")?;
    let usual = [Size::Octets(64), Size::Octets(1420)];
    let sizes = if arguments.sizes.is_empty() { &usual[..] } else { &arguments.sizes };
    let (rounds, batches) = if arguments.quick { (5, 512) } else { (9, 4096) };
    let (rounds, batches) = (arguments.rounds.unwrap_or(rounds), arguments.batches.unwrap_or(batches));
    for &size in sizes {
        let mut alone = None;
        for case in cases(&arguments.workers, size, &cores)? {
            let measured = measure(case, &cores, rounds, batches)?;
            let row = row(case, &measured, alone.as_ref());
            alone.get_or_insert(measured);
            report.add(row)?;
        }
    }
    Ok(())
}

/// One worker comes first, because the others are compared with it.
fn cases(workers: &[u32], size: Size, cores: &[CoreId]) -> Result<Vec<Case>, String> {
    let mut counts = workers.to_vec();
    if counts.is_empty() {
        counts.extend((0..7).map(|power| 1 << power).filter(|&count| count as usize <= cores.len()));
    }
    if let Some(more) = counts.iter().find(|&&count| count as usize > cores.len()) {
        return Err(format!("{more} workers want a core each, and there are {}", cores.len()));
    }
    counts.retain(|&count| count != 1);
    let one = Case { workers: 1, is_steered: true, size };
    let several = |workers| [true, false].map(|is_steered| Case { workers, is_steered, size });
    Ok(std::iter::once(one).chain(counts.into_iter().flat_map(several)).collect())
}

/// Packets per second of all workers together, and cycles per packet of one core in the mean, for each round.
#[derive(Debug, Default)]
struct Measured {
    rate: Rounds,
    cycles: Rounds,
    /// The share of its core that a worker had at least: with less the workers did not all work at once.
    core: Rounds,
}

/// What one worker has to say about a round.
struct Stint {
    cycles_per_packet: f64,
    core: f64,
}

/// A worker that had less of its core was not there all the time.
const CORE_SHARE_MIN: f64 = 0.9;

fn row(case: Case, measured: &Measured, alone: Option<&Measured>) -> Row {
    let rate = measured.rate.median();
    let row = Row::of("scaling", &measured.rate);
    Row {
        noisy: row.noisy || measured.core.median() < CORE_SHARE_MIN,
        variant: Some(if case.is_steered { "steered" } else { "handed over" }.to_owned()),
        alg: Some(Site::PLAIN.transform.to_string()),
        size: Some(case.size),
        dir: Some(Direction::Encrypt),
        cycles_per_packet: Some(measured.cycles.median()),
        per_second: Some(rate),
        gbit_s: Some(rate * case.size.mean_octets() * 8.0 / 1e9),
        beside: alone.map(|_| "one core's rate".to_owned()),
        ratio: alone.map(|alone| measured.rate.ratio_to(&alone.rate).median()),
        sas: Some(SAS),
        cores: Some(case.workers),
        backend: Some(Backend::best().to_string()),
        note: Some("rate is of all cores, cycles are of one".to_owned()),
        ..row
    }
}

fn measure(case: Case, cores: &[CoreId], rounds: u32, batches: u32) -> Result<Measured, String> {
    let mut fleet = Fleet::new(case)?;
    fleet.prove()?;
    let mut measured = Measured::default();
    for _ in 0..rounds {
        let stints = fleet.round(cores, batches)?;
        let cycles = || stints.iter().map(|stint| stint.cycles_per_packet);
        measured.rate.push(cycles().map(|cycles| cycles::per_second() / cycles).sum());
        measured.cycles.push(cycles().sum::<f64>() / stints.len() as f64);
        measured.core.push(stints.iter().map(|stint| stint.core).fold(1.0, f64::min));
        fleet.settle()?;
    }
    fleet.prove()?;
    Ok(measured)
}

/// One engine, its workers, and what each is given.
struct Fleet {
    handle: Handle,
    members: Vec<Member>,
    started: Instant,
    way: OnTheWay,
}

struct Member {
    worker: Worker,
    generator: Generator,
    traffic: Traffic,
    next: u64,
}

/// Packets that were given to any worker and that came out of any.
#[derive(Debug, Default)]
struct OnTheWay {
    given: AtomicU64,
    came: AtomicU64,
}

impl OnTheWay {
    fn packets(&self) -> u64 {
        // What came first: it is never more than what was given then.
        let came = self.came.load(Ordering::Acquire);
        self.given.load(Ordering::Acquire).saturating_sub(came)
    }
}

impl Fleet {
    fn new(case: Case) -> Result<Self, String> {
        let site = Site { sas: SAS, ..Site::PLAIN }.checked()?;
        let (mut parts, mut generators) = (Vec::new(), Vec::new());
        for _ in 0..case.workers {
            let (generator, umem, from, to) = match case.workers {
                1 => Generator::new()?,
                _ => Generator::for_one_of_several()?,
            };
            let ports = vec![
                EnginePort { index: INSIDE, port: Box::new(from) },
                EnginePort { index: OUTSIDE, port: Box::new(to) },
            ];
            parts.push(WorkerParts { umem, ports, tun: None });
            generators.push(generator);
        }
        let (handle, workers) = build(parts, &Settings::default()).map_err(|error| error.to_string())?;
        let member = |(own, (worker, generator)): (usize, (Worker, Generator))| {
            let all = Traffic::new(Own::First, SAS, case.size);
            let owns = |rule| usize::from(handle.owner(warren_seam::RuleId(rule)).0) == own;
            let traffic = if case.is_steered { all.only(owns) } else { all };
            // Far enough from the others' numbers that no two packets have the same.
            Member { worker, generator, traffic, next: (own as u64) << 40 }
        };
        let members = workers.into_iter().zip(generators).enumerate().map(member).collect();
        let mut fleet = Self { handle, members, started: Instant::now(), way: OnTheWay::default() };
        fleet.command(site)?;
        Ok(fleet)
    }

    fn command(&mut self, site: Site) -> Result<(), String> {
        let mut last = None;
        for mut command in site.commands(Own::First)? {
            last = loop {
                match self.handle.submit(command) {
                    Ok(token) => break Some(token),
                    Err(Refused::Full(back)) => command = *back,
                    Err(refused) => return Err(format!("{refused:?}")),
                }
                self.turn_all();
            };
        }
        while last.is_some_and(|last| self.handle.applied() < last) {
            self.turn_all();
        }
        Ok(())
    }

    fn turn_all(&mut self) {
        let now = self.started.elapsed();
        for member in &mut self.members {
            member.worker.poll(now);
        }
    }

    /// Everything that was given has come out. What was dropped on the way from worker to worker is no work.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..TURNS_TO_DRAIN {
            self.turn_all();
            for member in &mut self.members {
                self.way.came.fetch_add(member.generator.collect(|_| ()) as u64, Ordering::AcqRel);
            }
        }
        while self.handle.poll_event().is_some() {}
        self.is_whole()
    }

    fn is_whole(&self) -> Result<(), String> {
        let counters = self.handle.counters();
        if self.way.packets() == 0 && counters.dropped_total() == 0 {
            return Ok(());
        }
        let drops: Vec<_> = counters.drops().map(|(reason, count)| format!("{count} {reason}")).collect();
        Err(format!(
            "the work was not done: {} packets are missing, {}",
            self.way.packets(),
            drops.join(", ")
        ))
    }

    /// Every packet of a sample is opened and compared. One thread turns all workers: what they do is the same.
    fn prove(&mut self) -> Result<(), String> {
        let mut judge = Judge::new(Site { sas: SAS, ..Site::PLAIN }, Own::First);
        let (mut missing, mut wrong) = (HashSet::new(), None);
        for _ in 0..PROOF_BATCHES {
            for member in &mut self.members {
                let first = member.next;
                member.give(&self.way)?;
                missing.extend(first..member.next);
            }
            for _ in 0..4 {
                self.turn_all();
                for Member { generator, traffic, .. } in &mut self.members {
                    let came = generator.collect(|frame| {
                        let known = judge.open(frame).map(|packet| traffic.recognise(&packet));
                        match known {
                            Ok(Some(at)) if missing.remove(&at) => (),
                            Ok(_) => wrong = Some("a packet that is not what went in".to_owned()),
                            Err(why) => wrong = Some(why),
                        }
                    });
                    self.way.came.fetch_add(came as u64, Ordering::AcqRel);
                }
            }
        }
        self.is_whole()?;
        match wrong {
            None if missing.is_empty() => Ok(()),
            None => Err(format!("the work was not done: {} packets are missing", missing.len())),
            Some(why) => Err(format!("the work was not done: {why}")),
        }
    }

    /// All workers at once.
    fn round(&mut self, cores: &[CoreId], batches: u32) -> Result<Vec<Stint>, String> {
        let Self { members, started, way, .. } = self;
        let (start, stop) = (Barrier::new(members.len()), AtomicBool::new(false));
        let (start, stop, way, started) = (&start, &stop, &*way, *started);
        std::thread::scope(|scope| {
            let threads: Vec<_> = members
                .iter_mut()
                .zip(cores)
                .map(|(member, &core)| {
                    scope.spawn(move || {
                        if !core_affinity::set_for_current(core) {
                            stop.store(true, Ordering::Release);
                        }
                        start.wait();
                        let figure = member.work(way, stop, started, batches);
                        // Whoever is done first ends the round: what the others do alone is not what is measured.
                        stop.store(true, Ordering::Release);
                        figure
                    })
                })
                .collect();
            let joined = threads.into_iter().map(|thread| {
                thread.join().map_err(|_| "a worker's thread panicked".to_owned()).and_then(|figure| figure)
            });
            joined.collect()
        })
    }
}

impl Member {
    fn give(&mut self, way: &OnTheWay) -> Result<(), String> {
        for _ in 0..BATCH_MAX {
            let Self { generator, traffic, next, .. } = self;
            if !generator.prepare(|frame| traffic.write(*next, frame)) {
                return Err("the generator has no frames left: packets stay in the gateway".to_owned());
            }
            *next += 1;
        }
        way.given.fetch_add(BATCH_MAX as u64, Ordering::AcqRel);
        Ok(())
    }

    /// Cycles per packet are those of what came out of this worker: the lower quartile of samples of some turns.
    fn work(
        &mut self,
        way: &OnTheWay,
        stop: &AtomicBool,
        started: Instant,
        batches: u32,
    ) -> Result<Stint, String> {
        let (start, ours) = (Instant::now(), cpu_time());
        let mut figures = Vec::new();
        let mut given = 0;
        while given < batches && !stop.load(Ordering::Acquire) {
            let (mut cycles, mut packets) = (0, 0);
            for _ in 0..TURNS {
                // Alone there is nobody whose packets could be on the way.
                if self.generator.waiting() == 0 && way.packets() <= ON_THE_WAY_MAX {
                    self.give(way)?;
                    given += 1;
                }
                let from = cycles::now();
                let has_moved = self.worker.poll(started.elapsed());
                let elapsed = cycles::now() - from;
                let came = self.generator.collect(|_| ());
                way.came.fetch_add(came as u64, Ordering::AcqRel);
                // A turn without work waits for the others to finish theirs; on the road there would be packets.
                if has_moved {
                    cycles += elapsed;
                    packets += came;
                }
            }
            if packets > 0 {
                figures.push(cycles as f64 / packets as f64);
            }
        }
        let core = (cpu_time() - ours).as_secs_f64() / start.elapsed().as_secs_f64();
        match figures.is_empty() {
            false => Ok(Stint { cycles_per_packet: lower_quartile(&figures), core }),
            true => {
                Err("the work was not done: a worker sent nothing, or could not have its core".to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_seam::{Command, RuleId};

    fn case(workers: u32, is_steered: bool) -> Case {
        Case { workers, is_steered, size: Size::Octets(64) }
    }

    #[test]
    fn workers_seal_what_they_are_given_with_and_without_handing_it_over() {
        for case in [case(1, true), case(2, true), case(2, false), case(3, false)] {
            let mut fleet = Fleet::new(case).unwrap();
            fleet.prove().unwrap_or_else(|why| panic!("{case:?}: {why}"));
            let handed = fleet.handle.counters().of(warren_engine::Tally::Handed);
            assert_eq!(handed > 0, !case.is_steered, "{case:?}");
        }
    }

    #[test]
    fn workers_of_which_one_rule_has_no_sa_are_refused() {
        let mut fleet = Fleet::new(case(2, true)).unwrap();
        fleet.handle.submit(Command::Bind { rule: RuleId(3), stack: Vec::new() }).unwrap();
        fleet.turn_all();
        assert!(fleet.prove().unwrap_err().contains("the work was not done"));
        let mut fleet = Fleet::new(case(2, true)).unwrap();
        fleet.handle.submit(Command::Bind { rule: RuleId(3), stack: Vec::new() }).unwrap();
        fleet.members[1].give(&fleet.way).unwrap();
        assert!(fleet.settle().unwrap_err().contains("the work was not done"));
    }

    #[test]
    fn a_round_of_one_worker_has_a_figure_and_loses_nothing() {
        let mut fleet = Fleet::new(case(1, true)).unwrap();
        let cores = core_affinity::get_core_ids().unwrap();
        let figures = fleet.round(&cores[..1], 64).unwrap();
        assert!(figures.len() == 1 && figures[0].cycles_per_packet > 0.0);
        fleet.settle().unwrap();
    }

    #[test]
    fn one_worker_is_measured_first_and_more_than_there_are_cores_are_refused() {
        let cores = [CoreId { id: 0 }, CoreId { id: 1 }];
        let found = cases(&[], Size::Octets(64), &cores).unwrap();
        let found: Vec<_> = found.iter().map(|case| (case.workers, case.is_steered)).collect();
        assert_eq!(found, [(1, true), (2, true), (2, false)]);
        assert!(cases(&[3], Size::Octets(64), &cores).is_err());
    }
}
