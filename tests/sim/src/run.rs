//! One run: a storm, then fair weather; promises are checked after every step, recovery at the end.

use crate::gateway::Gateway;
use crate::network::{End, Network, Weather};
use crate::oracle::{Oracle, Violation};
use crate::packet::{MARKER, outer};
use crate::plan::Plan;
use crate::row;
use crate::seed::{Seed, below};
use crate::site::Site;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::time::Duration;

/// Fair weather in which everything the storm began may come to its end: dead peer detection, the longest hold-down,
/// exchanges that are still repeated, and the negotiations that follow.
const RECOVERY: Duration = Duration::from_secs(180);
/// Fair weather after that, in which nothing may be lost: longer than the longest lifetime, so that every run rekeys.
const PROOF: Duration = Duration::from_secs(100);
/// Time for the last packets to arrive.
const FLIGHT: Duration = Duration::from_secs(2);
/// A row takes several times as long as a pair.
const SEEDS_PER_ROW: u64 = 3;
/// Flows of each host where a tunnel has several pairs side by side.
const FLOWS: u64 = 7;
/// Longest step of the clock.
const STEP_MAX: Duration = Duration::from_secs(1);

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Packets that the hosts sent.
    pub sent: u64,
    /// Of those, packets that arrived.
    pub received: u64,
    /// ESP packets on the wire.
    pub esp_packets: u64,
    /// Steps of the clock.
    pub steps: u64,
    /// Drops of both gateways by reason.
    pub drops: BTreeMap<&'static str, u64>,
}

/// A broken promise, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Virtual time since the start of the run.
    pub at: Duration,
    /// What was played.
    pub plan: String,
    /// What was broken.
    pub violation: Violation,
}

/// The two gateways, their hosts and what is between them.
pub(crate) struct World {
    plan: Plan,
    now: Duration,
    sites: [Site; 2],
    gateways: [Gateway; 2],
    network: Network<End>,
    oracle: Oracle,
    lots: ChaCha8Rng,
    next_packet: [Duration; 2],
    sent: u64,
    arrived: HashSet<u64>,
    duplicates: u64,
    steps: u64,
}

/// Plays what `seed` stands for: two gateways, and with every third seed also a row of them.
///
/// # Errors
/// With the first broken promise.
pub fn run(seed: Seed) -> Result<Report, Broken> {
    let mut report = run_pair(seed)?;
    if seed.0.is_multiple_of(SEEDS_PER_ROW) {
        report.add(row::run(seed)?);
    }
    Ok(report)
}

fn run_pair(seed: Seed) -> Result<Report, Broken> {
    let mut world = World::new(Plan::draw(seed));
    match world.play() {
        Ok(()) => Ok(world.report()),
        Err(violation) => Err(Broken { at: world.now, plan: format!("{:?}", world.plan), violation }),
    }
}

impl Report {
    /// Adds another run.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.esp_packets += other.esp_packets;
        self.steps += other.steps;
        for (reason, count) in other.drops {
            *self.drops.entry(reason).or_default() += count;
        }
    }
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut lots = plan.seed.stream("world");
        let sites = End::BOTH.map(|end| Site::of_pair(&plan, end));
        let gateways = sites
            .each_ref()
            .map(|site| Gateway::start(Duration::ZERO, site, ChaCha8Rng::from_rng(&mut lots)));
        Self {
            now: Duration::ZERO,
            sites,
            gateways,
            network: Network::new(plan.seed.stream("network")),
            oracle: Oracle::new(plan.hosts.to_vec()),
            lots,
            next_packet: [Duration::ZERO; 2],
            sent: 0,
            arrived: HashSet::new(),
            duplicates: 0,
            steps: 0,
            plan,
        }
    }

    fn play(&mut self) -> Result<(), Violation> {
        self.network.set_weather(self.plan.weather);
        let mut restart = self.plan.restart;
        while self.now < self.plan.storm {
            if let Some((_, end)) = restart.take_if(|(at, _)| *at <= self.now) {
                let lots = ChaCha8Rng::from_rng(&mut self.lots);
                self.gateways[end.index()] = Gateway::start(self.now, &self.sites[end.index()], lots);
            }
            self.chatter();
            self.step(self.plan.storm)?;
        }
        self.network.set_weather(Weather::FAIR);
        self.recover()?;
        self.prove()
    }

    fn recover(&mut self) -> Result<(), Violation> {
        self.talk_until(self.now + RECOVERY)?;
        let up = self.gateways.each_ref().map(Gateway::is_up);
        if up == [true; 2] { Ok(()) } else { Err(Violation::NotHealed(format!("up: {up:?}"))) }
    }

    /// With the tunnel up and the weather fair nothing may be lost and nothing may arrive twice, rekeys included.
    fn prove(&mut self) -> Result<(), Violation> {
        let (first, duplicates) = (self.sent, self.duplicates);
        self.talk_until(self.now + PROOF)?;
        let until = self.now + FLIGHT;
        while self.now < until {
            self.step(until)?;
        }
        let lanes = self.gateways.each_ref().map(Gateway::bound);
        let [west, east] = self.plan.parallel.map(|parallel| usize::from(parallel.get()));
        if west == east && lanes != [west; 2] {
            return Err(Violation::NotHealed(format!("{lanes:?} of {west} lanes are up")));
        }
        let sent = self.sent - first;
        let arrived = self.arrived.iter().filter(|number| **number / 2 >= first).count() as u64;
        let twice = self.duplicates - duplicates;
        if sent == arrived && twice == 0 {
            Ok(())
        } else {
            Err(Violation::NotHealed(format!(
                "{arrived} of {sent} packets arrived in fair weather, {twice} twice"
            )))
        }
    }

    fn talk_until(&mut self, until: Duration) -> Result<(), Violation> {
        while self.now < until {
            self.chatter();
            self.step(until)?;
        }
        Ok(())
    }

    fn chatter(&mut self) {
        for end in End::BOTH {
            if self.next_packet[end.index()] <= self.now {
                self.host_sends(end);
                let pause = below(&mut self.lots, 2 * self.plan.pause.as_millis() as u64 + 1);
                self.next_packet[end.index()] = self.now + Duration::from_millis(pause);
            }
        }
    }

    /// Packets are numbered; the lowest bit says from which host.
    fn host_sends(&mut self, end: End) {
        let number = self.sent * 2 + end.index() as u64;
        self.sent += 1;
        let mut payload = MARKER.to_vec();
        payload.extend(number.to_be_bytes());
        payload.resize(payload.len() + (self.lots.next_u32() % 1200) as usize, 0xAA);
        // Several flows where they can be spread.
        let flows = if self.plan.parallel == [NonZeroU16::MIN; 2] { 1 } else { FLOWS };
        let socket = |end: End, flow: u64| SocketAddr::new(self.plan.hosts[end.index()], 7 + flow as u16);
        let flow = number / 2 % flows;
        self.gateways[end.index()].host_sends(socket(end, flow), socket(end.other(), 0), &payload);
    }

    /// Lets everything happen that is due, then moves the clock to what comes next, at most to `until`.
    fn step(&mut self, until: Duration) -> Result<(), Violation> {
        self.steps += 1;
        while let Some((to, frame)) = self.network.receive(self.now) {
            self.gateways[to.index()].wire_receives(self.now, &frame);
            self.settle(to)?;
        }
        for end in End::BOTH {
            self.settle(end)?;
        }
        let timeouts = self.gateways.iter().filter_map(Gateway::next_timeout);
        let next =
            timeouts.chain(self.network.next_arrival()).chain(self.next_packet).chain([self.now + STEP_MAX]);
        let tick = self.now + Duration::from_millis(1);
        self.now = next.filter(|at| *at > self.now).fold(until.max(tick), Duration::min).max(tick);
        Ok(())
    }

    fn settle(&mut self, end: End) -> Result<(), Violation> {
        let frames = self.gateways[end.index()].settle(self.now, &mut self.oracle)?;
        for frame in frames {
            self.oracle.see(&frame)?;
            self.network.send(self.now, end.other(), frame);
        }
        for frame in self.gateways[end.index()].inside_sends() {
            self.host_hears(end, &frame);
        }
        Ok(())
    }

    fn host_hears(&mut self, end: End, frame: &[u8]) {
        let Some(outer) = outer(frame).filter(|outer| outer.destination == self.plan.hosts[end.index()])
        else {
            return;
        };
        let payload = outer.udp().filter(|_| outer.udp_checksum_holds()).map(|(_, _, payload)| payload);
        let number =
            payload.and_then(|payload| payload.strip_prefix(MARKER)).and_then(|rest| rest.first_chunk());
        if let Some(number) = number {
            let fresh = self.arrived.insert(u64::from_be_bytes(*number));
            self.duplicates += u64::from(!fresh);
        }
    }

    fn report(&self) -> Report {
        let mut drops = BTreeMap::new();
        for (reason, count) in self.gateways.iter().flat_map(Gateway::drops) {
            *drops.entry(reason).or_default() += count;
        }
        Report {
            sent: self.sent,
            received: self.arrived.len() as u64,
            esp_packets: self.oracle.esp_packets(),
            steps: self.steps,
            drops,
        }
    }
}
