//! One run in a row: a storm with troubles, fair weather in which every stack must come back, a proof that nothing is
//! lost, and an end after which nothing is left.

use crate::gateway::Gateway;
use crate::network::{Network, Weather};
use crate::oracle::{Oracle, Violation, esp_packet};
use crate::packet::{MARKER, Outer, ip, outer};
use crate::row_plan::{Disturbance, RowPlan, Trouble};
use crate::row_sites::name_of_way;
use crate::run::{Broken, Report};
use crate::seed::{Seed, below};
use crate::site::Site;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use warren_policy::RuleId;

/// Fair weather in which everything the storm began may come to its end: what a run of two gateways needs, and the longest
/// pause of a level once more, because an inner level may only begin its own when an outer one is there.
const RECOVERY: Duration = Duration::from_secs(360);
/// Fair weather after that, in which nothing may be lost: longer than the longest lifetime, so that every level rekeys.
const PROOF: Duration = Duration::from_secs(100);
/// Time for the last packets to arrive.
const FLIGHT: Duration = Duration::from_secs(2);
/// Until everybody has heard the farewells, and packets in flight are not waited for any more.
const END: Duration = Duration::from_secs(60);
/// Longest step of the clock.
const STEP_MAX: Duration = Duration::from_secs(1);
/// With the headers of four levels around them packets of this length still fit through every link.
const PAYLOAD_MAX: u32 = 900;

/// ESP packets from behind other gateways that somebody also gives to the sender directly, out of 1000.
const SHORT_CUTS: u32 = 50;
/// IANA protocol number of ICMPv6, and its *time exceeded* (RFC 4443 §3.3).
const ICMPV6: u8 = 58;
const TIME_EXCEEDED: u8 = 3;

/// A frame is on its way to this node, coming from the sender's side or from the other.
type Place = (usize, Comes);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Comes {
    FromSender,
    FromBehind,
    /// Without what should be around it: somebody took it off one link and put it on another.
    PastGateways,
}

/// Where packets of a flow begin and end.
#[derive(Clone, Copy)]
struct Station {
    node: usize,
    address: IpAddr,
    /// The node itself, not a host behind it.
    is_node: bool,
}

/// Two that speak with each other.
struct Flow {
    stations: [Station; 2],
    next_packet: [Duration; 2],
}

struct Row {
    plan: RowPlan,
    now: Duration,
    sites: Vec<Site>,
    /// `None`: dead.
    gateways: Vec<Option<Gateway>>,
    network: Network<Place>,
    oracle: Oracle,
    lots: ChaCha8Rng,
    flows: Vec<Flow>,
    /// Where the packet of each number goes.
    sent: Vec<IpAddr>,
    arrived: HashSet<u64>,
    drops: BTreeMap<&'static str, u64>,
    steps: u64,
}

/// Plays the row of `seed`.
///
/// # Errors
/// With the first broken promise.
pub(crate) fn run(seed: Seed) -> Result<Report, Broken> {
    let mut row = Row::new(RowPlan::draw(seed));
    match row.play() {
        Ok(()) => Ok(row.report()),
        Err(violation) => Err(Broken { at: row.now, plan: format!("{:?}", row.plan), violation }),
    }
}

impl Row {
    fn new(plan: RowPlan) -> Self {
        let mut lots = plan.seed.stream("row world");
        let sites = plan.sites();
        let start = |site| Some(Gateway::start(Duration::ZERO, site, ChaCha8Rng::from_rng(&mut lots)));
        let gateways = sites.iter().map(start).collect();
        Self {
            now: Duration::ZERO,
            gateways,
            sites,
            network: Network::new(plan.seed.stream("row network")),
            oracle: Oracle::new((1..=3).map(|site| plan.host(site)).collect()),
            lots,
            flows: flows(&plan),
            sent: Vec::new(),
            arrived: HashSet::new(),
            drops: BTreeMap::new(),
            steps: 0,
            plan,
        }
    }

    fn play(&mut self) -> Result<(), Violation> {
        self.network.set_weather(self.plan.weather);
        let mut begins = self.plan.troubles.clone();
        let mut ends = Vec::new();
        while self.now < self.plan.storm {
            let (due, later) = begins.into_iter().partition(|trouble| trouble.from <= self.now);
            begins = later;
            self.begin(&due);
            ends.extend(due);
            let (over, lasting) = ends.into_iter().partition(|trouble: &Trouble| trouble.until <= self.now);
            ends = lasting;
            self.end(&over);
            self.chatter();
            self.step(self.plan.storm)?;
        }
        self.end(&ends);
        self.network.set_weather(Weather::FAIR);
        self.talk_until(self.now + RECOVERY)?;
        self.prove()?;
        self.shut_down()
    }

    fn begin(&mut self, troubles: &[Trouble]) {
        for trouble in troubles {
            match trouble.what {
                Disturbance::Death(at) => self.kill(at),
                Disturbance::Closed(at) => self.operate(at, "", false),
                Disturbance::ClosedAtSender(gateway) => self.operate(0, &name_of_way(gateway), false),
                Disturbance::Aborted => {
                    if let Some(sender) = &mut self.gateways[0] {
                        sender.tunnels_mut().abort_stack(self.now, RuleId(0));
                    }
                }
            }
        }
    }

    fn kill(&mut self, at: usize) {
        for (reason, count) in self.gateways[at].take().iter().flat_map(Gateway::drops) {
            *self.drops.entry(reason).or_default() += count;
        }
    }

    fn end(&mut self, troubles: &[Trouble]) {
        for trouble in troubles {
            match trouble.what {
                Disturbance::Death(at) if self.gateways[at].is_none() => {
                    let lots = ChaCha8Rng::from_rng(&mut self.lots);
                    self.gateways[at] = Some(Gateway::start(self.now, &self.sites[at], lots));
                }
                Disturbance::Closed(at) => self.operate(at, "", true),
                Disturbance::ClosedAtSender(gateway) => self.operate(0, &name_of_way(gateway), true),
                Disturbance::Death(_) | Disturbance::Aborted => {}
            }
        }
    }

    /// What an operator does to the rule of that name, or to all without one.
    fn operate(&mut self, at: usize, name: &str, up: bool) {
        let Some(gateway) = &mut self.gateways[at] else { return };
        let rules = &gateway.tunnels_mut().rules().tunnel;
        let meant: Vec<_> =
            rules.iter().filter(|rule| name.is_empty() || rule.name == name).map(|rule| rule.id).collect();
        for rule in meant {
            let known = match up {
                true => gateway.tunnels_mut().up(self.now, rule),
                false => gateway.tunnels_mut().down(self.now, rule),
            };
            assert!(known, "a rule of the row is there");
        }
    }

    /// In fair weather, when there was time to recover, nothing may be lost, rekeys of every level included.
    fn prove(&mut self) -> Result<(), Violation> {
        let first = self.sent.len();
        self.talk_until(self.now + PROOF)?;
        self.wait(FLIGHT)?;
        let missing: Vec<_> =
            (first..self.sent.len()).filter(|number| !self.arrived.contains(&(*number as u64))).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let to: BTreeMap<IpAddr, usize> = missing.iter().fold(BTreeMap::new(), |mut to, number| {
            *to.entry(self.sent[*number]).or_default() += 1;
            to
        });
        let sent = self.sent.len() - first;
        let stacks = self.gateways[0].as_mut().map(|sender| {
            let stacks = sender.tunnels_mut().stacks();
            stacks.iter().map(|stack| format!("{:?} {:?}", stack.state, stack.failed)).collect::<Vec<_>>()
        });
        Err(Violation::NotHealed(format!(
            "of {sent} packets in fair weather those to {to:?} are missing; {stacks:?}"
        )))
    }

    fn shut_down(&mut self) -> Result<(), Violation> {
        for gateway in self.gateways.iter_mut().flatten() {
            gateway.tunnels_mut().shutdown(self.now);
        }
        self.wait(END)?;
        self.gateways.iter().flatten().try_for_each(Gateway::check_bare)
    }

    fn talk_until(&mut self, until: Duration) -> Result<(), Violation> {
        while self.now < until {
            self.chatter();
            self.step(until)?;
        }
        Ok(())
    }

    fn wait(&mut self, time: Duration) -> Result<(), Violation> {
        let until = self.now + time;
        while self.now < until {
            self.step(until)?;
        }
        Ok(())
    }

    fn chatter(&mut self) {
        for flow in 0..self.flows.len() {
            for from in [0, 1] {
                if self.flows[flow].next_packet[from] <= self.now {
                    let stations = self.flows[flow].stations;
                    self.send(stations[from], stations[1 - from]);
                    let pause = below(&mut self.lots, 2 * self.plan.pause.as_millis() as u64 + 1);
                    self.flows[flow].next_packet[from] = self.now + Duration::from_millis(pause);
                }
            }
        }
    }

    fn send(&mut self, from: Station, to: Station) {
        let number = self.sent.len() as u64;
        let padding = (self.lots.next_u32() % PAYLOAD_MAX) as usize;
        let payload = [MARKER.as_slice(), &number.to_be_bytes(), &vec![0xAA; padding]].concat();
        let (source, destination) = (SocketAddr::new(from.address, 7), SocketAddr::new(to.address, 7));
        self.sent.push(to.address);
        let Some(gateway) = &self.gateways[from.node] else { return };
        match from.is_node {
            true => gateway.own_sends(source, destination, &payload),
            false => gateway.host_sends(source, destination, &payload),
        }
    }

    /// Lets everything happen that is due, then moves the clock to what comes next, at most to `until`.
    fn step(&mut self, until: Duration) -> Result<(), Violation> {
        self.steps += 1;
        while let Some(((at, comes), frame)) = self.network.receive(self.now) {
            let Some(gateway) = &mut self.gateways[at] else { continue };
            let opened = gateway.opened();
            // The sender's outside is the only one that does not face the sender.
            match (comes, at) {
                (Comes::PastGateways, _) => gateway.wire_receives(self.now, &frame),
                (Comes::FromSender, _) | (Comes::FromBehind, 0) => gateway.wire_receives(self.now, &frame),
                (Comes::FromBehind, _) => gateway.inside_receives(&frame),
            }
            self.settle(at)?;
            let opened_now = self.gateways[at].as_ref().map_or(opened, Gateway::opened);
            // NT-34: each layer comes out of the one around it, or is refused.
            if comes == Comes::PastGateways && opened_now != opened {
                return Err(Violation::Uncarried(format!(
                    "node {at}: {:02x?}",
                    &frame[..frame.len().min(80)]
                )));
            }
        }
        for at in 0..self.gateways.len() {
            self.settle(at)?;
        }
        let timeouts = self.gateways.iter().flatten().filter_map(Gateway::next_timeout);
        let packets = self.flows.iter().flat_map(|flow| flow.next_packet);
        let troubles = self.plan.troubles.iter().flat_map(|trouble| [trouble.from, trouble.until]);
        let next = timeouts.chain(self.network.next_arrival()).chain(packets).chain(troubles);
        let tick = self.now + Duration::from_millis(1);
        let latest = until.min(self.now + STEP_MAX).max(tick);
        self.now = next.filter(|at| *at > self.now).fold(latest, Duration::min).max(tick);
        Ok(())
    }

    fn settle(&mut self, at: usize) -> Result<(), Violation> {
        let Some(gateway) = &mut self.gateways[at] else { return Ok(()) };
        let outside = gateway.settle(self.now, &mut self.oracle)?;
        let (inside, own) = (gateway.inside_sends(), gateway.own_receives());
        for frame in outside {
            let link = at.saturating_sub(1);
            let to = if at == 0 { (1, Comes::FromSender) } else { (link, Comes::FromBehind) };
            self.oracle.see_between(self.plan.ends(link), &frame)?;
            let is_esp = outer(&frame).is_some_and(|packet| esp_packet(&packet).is_some());
            if at > 1 && is_esp && self.lots.next_u32() % 1000 < SHORT_CUTS {
                let mut copy = frame.clone();
                copy[..6].copy_from_slice(&self.sites[0].stations.outside);
                self.network.send(self.now, (0, Comes::PastGateways), copy);
            }
            self.network.send(self.now, to, frame);
        }
        for frame in inside {
            // A switch: the site's host has a wire of its own.
            if frame.starts_with(&self.sites[at].stations.host) {
                outer(&frame).map_or(Ok(()), |packet| self.deliver(at, &packet))?;
            } else if at > 0 && at + 1 < self.gateways.len() {
                if self.is_complaint(at, &frame) {
                    self.oracle.see(&frame)?;
                    continue;
                }
                self.oracle.see_between(self.plan.ends(at), &frame)?;
                self.network.send(self.now, (at + 1, Comes::FromSender), frame);
            }
        }
        own.iter().filter_map(|packet| ip(packet)).try_for_each(|packet| self.deliver(at, &packet))
    }

    /// The gateway says to the next one that something of its had no hop left: its hop limit was damaged, which nothing
    /// protects in IPv6. What it quotes was on this link before.
    fn is_complaint(&self, at: usize, frame: &[u8]) -> bool {
        let is_from_router = |packet: &Outer<'_>| {
            packet.protocol == ICMPV6
                && packet.source == self.plan.node(at)
                && packet.payload.first() == Some(&TIME_EXCEEDED)
        };
        self.plan.weather.corrupt > 0 && outer(frame).as_ref().is_some_and(is_from_router)
    }

    /// A packet that came to a host, or to a program on a node, is one that was sent there, and the first of its kind.
    fn deliver(&mut self, at: usize, packet: &Outer<'_>) -> Result<(), Violation> {
        let Some((_, 7, payload)) = packet.udp() else { return Ok(()) };
        let wrong = |why: &str| {
            let (source, destination) = (packet.source, packet.destination);
            Err(Violation::WronglyDelivered(format!("at node {at}, {source} -> {destination}: {why}")))
        };
        let Some(number) = payload.strip_prefix(MARKER).and_then(|rest| rest.first_chunk()) else {
            return wrong("nobody sends such a payload");
        };
        let number = u64::from_be_bytes(*number);
        if !packet.udp_checksum_holds() || payload[MARKER.len() + 8..].iter().any(|octet| *octet != 0xAA) {
            return wrong("it is damaged");
        }
        if self.sent.get(number as usize) != Some(&packet.destination) {
            return wrong("it was not sent there");
        }
        if self.arrived.insert(number) { Ok(()) } else { wrong("it has been here before") }
    }

    fn report(&mut self) -> Report {
        for (reason, count) in self.gateways.iter().flatten().flat_map(Gateway::drops) {
            *self.drops.entry(reason).or_default() += count;
        }
        Report {
            sent: self.sent.len() as u64,
            received: self.arrived.len() as u64,
            esp_packets: self.oracle.esp_packets(),
            steps: self.steps,
            drops: std::mem::take(&mut self.drops),
        }
    }
}

fn flows(plan: &RowPlan) -> Vec<Flow> {
    let host = |node, site| Station { node, address: plan.host(site), is_node: false };
    let mut pairs = vec![[host(0, 1), host(plan.depth, 2)]];
    if let Some(gateway) = plan.second_site {
        pairs.push([host(0, 1), host(gateway, 3)]);
    }
    if plan.receiver {
        let own = |node, address| Station { node, address, is_node: true };
        let far = plan.depth + 1;
        pairs.push([own(0, plan.sender_inside()), own(far, plan.node(far))]);
    }
    pairs.into_iter().map(|stations| Flow { stations, next_packet: [Duration::ZERO; 2] }).collect()
}
