//! A flow is never reordered (DESIGN 2): what comes in at one worker's port in an order comes out behind the second
//! gateway in that order, whichever workers own the SAs, whatever is bound and swapped meanwhile, and whatever is lost.
//!
//! ```text
//!   flow ── worker that receives it ─ ring ─ owner of the SA ══ wire ══ worker that receives it ─ ring ─ owner ── order?
//!           (fixed for each flow, as RSS does)                          (fixed for each tunnel)
//! ```

#![allow(clippy::unwrap_used, reason = "a test may")]

mod lab;

use lab::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use warren_engine::{DropReason, Settings, Tally};
use warren_policy::{RuleId, RuleSet, TransportAction};
use warren_seam::{Command, InboundSa, OutboundSa, SaId, Spi};

const WORKERS: usize = 3;
/// One more than workers, so that one of them owns two.
const TUNNELS: usize = 4;
/// Parallel SAs of one tunnel, at most.
const LANES: usize = 5;
const FLOWS: usize = 40;
/// Where the stamp stands: behind the headers of IPv4 and UDP.
const STAMP: usize = 28;

/// The same numbers for the same seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

fn network(gateway: u8, tunnel: usize) -> String {
    format!("10.{gateway}.{tunnel}.0/24")
}

/// Tunnel `k` between the networks `k` of both sites; `more` rules that no packet meets make the set another one.
fn tunnels(own: u8, more: usize) -> RuleSet {
    let peer = 3 - own;
    let everything = between("0.0.0.0/0", "0.0.0.0/0");
    let tunnel = |k: usize| tunnel(k as u32, between(&network(own, k), &network(peer, k)));
    let unmet =
        |k: usize| transport(between(&format!("10.9.{k}.0/24"), "0.0.0.0/0"), TransportAction::Discard);
    let mut transports: Vec<_> = (0..more).map(unmet).collect();
    transports.push(transport(everything, TransportAction::Permit));
    RuleSet { transport: transports, tunnel: (0..TUNNELS).map(tunnel).collect() }
}

fn gateway(own: u8) -> Gateway {
    let mut gateway = Gateway::new(WORKERS, &Settings::default());
    let mut table = table(own);
    let host = |k| neighbour(INSIDE, &format!("10.{own}.{k}.2"), host_mac(own));
    table.neighbours.extend((1..TUNNELS).map(host));
    gateway.submit(Command::Forwarding(table));
    gateway.submit(Command::Rules(tunnels(own, 0)));
    gateway
}

/// The SA of a tunnel's lane after so many rekeys.
fn sa((tunnel, lane): (usize, usize), age: u32) -> (OutboundSa, InboundSa) {
    let number = (age * LANES as u32 + lane as u32) * TUNNELS as u32 + tunnel as u32;
    let selector = between(&network(1, tunnel), &network(2, tunnel));
    let like = outbound(Scheme::default(), 1, 0);
    let (spi, rule) = (Spi(0x1_0000 + number), RuleId(tunnel as u32));
    let keys = keys(like.transform, number as u8);
    let (lane, id) = (lane as u16, u64::from(number));
    let out = OutboundSa { id: SaId(id), spi, selector, rule, lane, keys: keys.clone(), ..like };
    let like = inbound(Scheme::default(), 1, 0);
    (out, InboundSa { id: SaId(1_000_000 + id), spi, selector, rule, lane, keys, ..like })
}

struct Flow {
    tunnel: usize,
    worker: usize,
    sent: u64,
    /// Stamp of the last packet that came out.
    last: u64,
    received: u64,
}

/// Two gateways, flows through them, and the books.
struct Bench {
    one: Gateway,
    two: Gateway,
    flows: Vec<Flow>,
    /// SAs of each tunnel.
    lanes: usize,
    /// For each tunnel's lane the worker of the second gateway that receives it.
    arrival: Vec<[usize; LANES]>,
    ages: Vec<[u32; LANES]>,
    more_rules: usize,
    random: Random,
}

impl Bench {
    fn new(seed: u64) -> Self {
        Self::parallel(seed, 1)
    }

    fn parallel(seed: u64, lanes: usize) -> Self {
        let mut random = Random(seed);
        let flow = |random: &mut Random| Flow {
            tunnel: random.below(TUNNELS),
            worker: random.below(WORKERS),
            sent: 0,
            last: 0,
            received: 0,
        };
        let flows = (0..FLOWS).map(|_| flow(&mut random)).collect();
        let mut arrival: Vec<_> = (0..TUNNELS).map(|_| [(); LANES].map(|()| random.below(WORKERS))).collect();
        // The first lanes are received by others than their owners.
        arrival.iter_mut().enumerate().for_each(|(tunnel, lanes)| lanes[0] = (tunnel + 1) % WORKERS);
        let (one, two) = (gateway(1), gateway(2));
        let ages = vec![[0; LANES]; TUNNELS];
        Self { one, two, flows, lanes, arrival, ages, more_rules: 0, random }
    }

    /// The newest SA of a lane, or one that it had before.
    fn sa(&self, tunnel: usize, lane: usize, before: u32) -> (OutboundSa, InboundSa) {
        sa((tunnel, lane), self.ages[tunnel][lane] - before)
    }

    fn install_inbound(&mut self, tunnel: usize, lane: usize) -> warren_engine::Token {
        let (_, into) = self.sa(tunnel, lane, 0);
        self.two.submit(Command::InstallInbound(Box::new(into)))
    }

    fn install_outbound(&mut self, tunnel: usize, lane: usize) {
        let (out, _) = self.sa(tunnel, lane, 0);
        self.one.submit(Command::InstallOutbound(Box::new(out)));
    }

    fn bind(&mut self, tunnel: usize) -> warren_engine::Token {
        let rule = RuleId(tunnel as u32);
        let stacks: Vec<_> = (0..self.lanes).map(|lane| vec![self.sa(tunnel, lane, 0).0.id]).collect();
        self.one.submit(match <[_; 1]>::try_from(stacks) {
            Ok([stack]) => Command::Bind { rule, stack },
            Err(stacks) => Command::Spread { rule, stacks },
        })
    }

    /// A tunnel and one of its lanes.
    fn any_lane(&mut self) -> (usize, usize) {
        let lane = self.random.below(self.lanes);
        (self.random.below(TUNNELS), lane)
    }

    /// Packets of one flow, as a card would give them to its worker; what a full port refuses was never sent.
    fn send(&mut self, flow: usize, packets: usize) {
        let Flow { tunnel, worker, .. } = self.flows[flow];
        let (from, to) = (format!("10.1.{tunnel}.2"), format!("10.2.{tunnel}.2"));
        let ports = (5000 + flow as u16, 7);
        for _ in 0..packets {
            let payload = 16 + self.random.below(64);
            let mut packet = Udp { from: &from, to: &to, ports, payload, ..Udp::default() }.packet();
            let stamp = self.flows[flow].sent + 1;
            packet[STAMP..STAMP + 8].copy_from_slice(&stamp.to_be_bytes());
            if self.one.links[worker][INSIDE].send(&frame(mac(1, INSIDE), &packet)) {
                self.flows[flow].sent = stamp;
            }
        }
    }

    /// The wire: each queue keeps its order, and nothing is promised between two of them. Returns what it carried.
    fn carry(&mut self, worker: usize) -> usize {
        let frames = drain(&self.one.links[worker][OUTSIDE]);
        for frame in &frames {
            let spi = u32::from_be_bytes(frame[34..38].try_into().unwrap());
            let number = (spi - 0x1_0000) as usize;
            let (tunnel, lane) = (number % TUNNELS, number / TUNNELS % LANES);
            assert!(self.two.links[self.arrival[tunnel][lane]][OUTSIDE].send(frame));
        }
        frames.len()
    }

    /// Looks at what came out of one worker of the second gateway. This is what the tests are about.
    fn look(&mut self, worker: usize) -> usize {
        let frames = drain(&self.two.links[worker][INSIDE]);
        for frame in &frames {
            let packet = &frame[14..];
            let number = usize::from(summary(packet).tuple.source_port.unwrap()) - 5000;
            let stamp = u64::from_be_bytes(packet[STAMP..STAMP + 8].try_into().unwrap());
            let flow = &mut self.flows[number];
            assert!(stamp > flow.last, "flow {number}: {stamp} came after {}", flow.last);
            (flow.last, flow.received) = (stamp, flow.received + 1);
        }
        frames.len()
    }

    fn totals(&self) -> (u64, u64) {
        (self.flows.iter().map(|flow| flow.sent).sum(), self.flows.iter().map(|flow| flow.received).sum())
    }
}

/// Turned by hand, worker by worker, in an order that only the seed knows.
impl Bench {
    fn step(&mut self) {
        let worker = self.random.below(WORKERS);
        match self.random.below(4) {
            0 => drop(self.one.workers[worker].poll(self.one.now)),
            1 => drop(self.two.workers[worker].poll(self.two.now)),
            2 => drop(self.carry(worker)),
            _ => drop(self.look(worker)),
        }
    }

    fn settle(&mut self) {
        for _ in 0..10_000 {
            self.one.poll();
            let carried: usize = (0..WORKERS).map(|worker| self.carry(worker)).sum();
            self.two.poll();
            let seen: usize = (0..WORKERS).map(|worker| self.look(worker)).sum();
            if carried + seen == 0 {
                return;
            }
        }
        panic!("packets go round and round");
    }

    fn establish(&mut self) {
        for tunnel in 0..TUNNELS {
            for lane in 0..self.lanes {
                let _ = self.install_inbound(tunnel, lane);
                self.install_outbound(tunnel, lane);
            }
            let _ = self.bind(tunnel);
        }
        self.settle();
    }

    /// As control does it: the peer can receive before anything is sent, and the old SA goes when the new one is bound.
    fn rekey(&mut self) {
        let (tunnel, lane) = self.any_lane();
        self.ages[tunnel][lane] += 1;
        let token = self.install_inbound(tunnel, lane);
        while self.two.handle.applied() < token {
            let worker = self.random.below(WORKERS);
            self.two.workers[worker].poll(self.two.now);
        }
        self.install_outbound(tunnel, lane);
        let _ = self.bind(tunnel);
        self.one.submit(Command::Remove(self.sa(tunnel, lane, 1).0.id));
    }

    /// Other rules with other generations, by which every flow goes where it went.
    fn swap_rules(&mut self) {
        self.more_rules = (self.more_rules + 1) % 5;
        let more = self.more_rules;
        self.one.submit(Command::Rules(tunnels(1, more)));
        self.two.submit(Command::Rules(tunnels(2, more)));
    }
}

#[test] // DESIGN 2
fn flows_that_are_handed_from_worker_to_worker_keep_their_order_and_lose_nothing() {
    for seed in 0..8 {
        let mut bench = Bench::new(seed);
        bench.establish();
        for _ in 0..4000 {
            if bench.random.below(3) == 0 {
                let (flow, packets) = (bench.random.below(FLOWS), 1 + bench.random.below(6));
                bench.send(flow, packets);
            }
            bench.step();
        }
        bench.settle();
        let (sent, received) = bench.totals();
        assert!(sent > 3000 && bench.one.tally(Tally::Handed) > 1000 && bench.two.tally(Tally::Handed) > 0);
        assert_eq!(received, sent, "seed {seed}");
    }
}

#[test] // DESIGN 2, F-9
fn a_rekey_reorders_nothing_and_loses_nothing() {
    for seed in 100..108 {
        let mut bench = Bench::new(seed);
        bench.establish();
        for _ in 0..4000 {
            match bench.random.below(60) {
                0 => bench.rekey(),
                1..20 => {
                    let (flow, packets) = (bench.random.below(FLOWS), 1 + bench.random.below(6));
                    bench.send(flow, packets);
                }
                _ => {}
            }
            bench.step();
        }
        bench.settle();
        let (sent, received) = bench.totals();
        assert!(bench.ages.iter().all(|ages| ages[0] > 3), "seed {seed} rekeys too little");
        assert_eq!(received, sent, "seed {seed}");
    }
}

#[test] // DESIGN 2, F-24
fn rules_that_are_swapped_under_packets_on_their_way_reorder_nothing() {
    for seed in 200..216 {
        let mut bench = Bench::new(seed);
        bench.establish();
        for _ in 0..4000 {
            match bench.random.below(60) {
                0 => bench.swap_rules(),
                1..20 => {
                    let (flow, packets) = (bench.random.below(FLOWS), 1 + bench.random.below(6));
                    bench.send(flow, packets);
                }
                _ => {}
            }
            bench.step();
        }
        bench.settle();
        let (sent, received) = bench.totals();
        assert_eq!(received, sent, "seed {seed}");
    }
}

#[test] // DESIGN 2, F-12
fn full_rings_cost_packets_and_no_order() {
    let mut lost_by = (0, 0);
    for seed in 300..304 {
        let mut bench = Bench::new(seed);
        bench.establish();
        for round in 0..60 {
            // One worker of each gateway is away for a while.
            let away = (bench.random.below(WORKERS), bench.random.below(WORKERS));
            for flow in 0..FLOWS {
                let packets = bench.random.below(24);
                bench.send(flow, packets);
            }
            for worker in (0..WORKERS).cycle().take(24) {
                if worker != away.0 {
                    bench.one.workers[worker].poll(bench.one.now);
                }
                bench.carry(worker);
                if worker != away.1 {
                    bench.two.workers[worker].poll(bench.two.now);
                }
                bench.look(worker);
            }
            match round % 4 {
                0 => bench.rekey(),
                1 => bench.swap_rules(),
                _ => {}
            }
        }
        bench.settle();
        let (sent, received) = bench.totals();
        let full = |gateway: &Gateway| gateway.dropped(DropReason::HandoffFull);
        let lost = full(&bench.one) + full(&bench.two);
        lost_by = (lost_by.0 + full(&bench.one), lost_by.1 + full(&bench.two));
        assert_eq!(received + lost, sent, "seed {seed}: every loss is one of a full ring");
    }
    assert!(lost_by.0 > 100 && lost_by.1 > 100, "nothing was full: {lost_by:?}");
}

/// Workers on threads of their own, as in the daemon.
struct Crew {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crew {
    fn start(bench: &mut Bench) -> Self {
        let (stop, started) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let workers = bench.one.workers.drain(..).chain(bench.two.workers.drain(..));
        let start = |mut worker: warren_engine::Worker| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || worker.run(&stop, started))
        };
        let threads = workers.map(start).collect();
        Self { stop, threads }
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

fn wait_for(gateway: &mut Gateway, token: warren_engine::Token) {
    let patience = Instant::now();
    while gateway.handle.applied() < token {
        assert!(patience.elapsed() < Duration::from_secs(20), "a worker applies nothing");
        std::thread::yield_now();
    }
}

#[test] // DESIGN 2
fn a_tunnel_of_several_lanes_reorders_nothing_and_loses_nothing_when_they_are_renewed() {
    // Fewer than workers, as many, and more.
    for lanes in [2, 3, LANES] {
        for seed in 500..504 {
            let mut bench = Bench::parallel(seed, lanes);
            bench.establish();
            for _ in 0..4000 {
                match bench.random.below(80) {
                    0 => bench.rekey(),
                    1 => bench.swap_rules(),
                    2..28 => {
                        let (flow, packets) = (bench.random.below(FLOWS), 1 + bench.random.below(6));
                        bench.send(flow, packets);
                    }
                    _ => {}
                }
                bench.step();
            }
            bench.settle();
            let (sent, received) = bench.totals();
            let handed = bench.one.tally(Tally::Handed);
            assert_eq!(handed > 0, lanes < WORKERS, "{lanes} lanes, seed {seed}: {handed} handed over");
            assert_eq!(received, sent, "{lanes} lanes, seed {seed}");
        }
    }
}

#[test] // DESIGN 2
fn flows_keep_their_order_through_workers_on_threads() {
    for lanes in [1, 2] {
        through_threads(lanes);
    }
}

fn through_threads(lanes: usize) {
    let mut bench = Bench::parallel(400, lanes);
    bench.establish();
    let crew = Crew::start(&mut bench);
    let until = Instant::now() + Duration::from_millis(1000);
    let mut turns = 0;
    while Instant::now() < until {
        turns += 1;
        for _ in 0..8 {
            let (flow, packets) = (bench.random.below(FLOWS), 1 + bench.random.below(16));
            bench.send(flow, packets);
        }
        for worker in 0..WORKERS {
            bench.carry(worker);
            bench.look(worker);
        }
        match turns % 64 {
            0 => {
                let (tunnel, lane) = bench.any_lane();
                bench.ages[tunnel][lane] += 1;
                let token = bench.install_inbound(tunnel, lane);
                wait_for(&mut bench.two, token);
                bench.install_outbound(tunnel, lane);
                let _ = bench.bind(tunnel);
                let token = bench.one.submit(Command::Remove(bench.sa(tunnel, lane, 1).0.id));
                wait_for(&mut bench.one, token);
            }
            32 => bench.swap_rules(),
            _ => {}
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    let quiet_since = Instant::now();
    while quiet_since.elapsed() < Duration::from_millis(300) {
        for worker in 0..WORKERS {
            bench.carry(worker);
            bench.look(worker);
        }
    }
    crew.stop();
    let (sent, received) = bench.totals();
    let mut lost: HashMap<DropReason, u64> = HashMap::new();
    for (reason, count) in bench.one.counters().drops().chain(bench.two.counters().drops()) {
        *lost.entry(reason).or_default() += count;
    }
    let expected = [DropReason::HandoffFull, DropReason::TransmitFull];
    assert!(lost.keys().all(|reason| expected.contains(reason)), "{lost:?}");
    assert!(sent > 1000 && bench.one.tally(Tally::Handed) > 100, "{sent} packets are no test");
    assert_eq!(received + lost.values().sum::<u64>(), sent);
}
