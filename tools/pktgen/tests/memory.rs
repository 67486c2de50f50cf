//! A whole run through ports in memory and a device that mistreats packets on purpose; what the sink says is compared with
//! what the device did.
#![allow(clippy::unwrap_used)] // Everything here is a test, also what is called by one.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use warren_pktgen::{
    Endpoints, Ethernet, Expect, Ports, Ran, Rate, RunConfig, Sink, Station, Workload, WorkloadConfig, catch,
    run,
};
use warren_port::{Link, MemoryLink, MemoryPort, Umem, UmemConfig};

const STREAM: u16 = 77;

/// What the device makes of the packet with so many before it.
enum Fate {
    Pass,
    Lose,
    Twice,
    Break,
    /// Comes out behind as many of the packets after it.
    Delay(u64),
}

fn station(name: &str) -> (Station, MemoryLink) {
    let umem = Umem::new(&UmemConfig { frames: 1024, huge_pages: false, ..UmemConfig::default() }).unwrap();
    let (port, link) = MemoryPort::pair(name, Link::Ethernet, 4096);
    (Station::of(Box::new(port), umem), link)
}

fn workload(flows: u32) -> Workload {
    let config = WorkloadConfig {
        endpoints: Endpoints {
            from: "10.1.0.0/24".parse().unwrap(),
            to: "10.2.0.0/16".parse().unwrap(),
            source_ports: "1024-65535".parse().unwrap(),
            destination_ports: "9".parse().unwrap(),
        },
        flows,
        sizes: "imix".parse().unwrap(),
        rules: None,
        miss_percent: 0,
        ethernet: Ethernet { source: [2, 0, 0, 0, 0, 1], destination: [2, 0, 0, 0, 0, 2] },
        stream: STREAM,
    };
    Workload::new(&config).unwrap()
}

fn config(rate: Rate, count: u64) -> RunConfig {
    RunConfig {
        rate,
        span: Duration::from_secs(30),
        count,
        drain: Duration::from_millis(300),
        expect: Expect::Stream(STREAM),
        cores: None,
        gentle: true,
    }
}

/// A packet that came out of the device: addresses and ports, and its number in its flow.
type Left = (Vec<u8>, u64);

/// Runs `count` packets of `flows` flows through a device; the packets in the order in which they came out.
fn through(fate: impl Fn(u64) -> Fate + Sync, flows: u32, count: u64, rate: Rate) -> (Ran, Vec<Left>) {
    let ((out, from), (into, to)) = (station("out"), station("in"));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let device = scope.spawn(|| {
            let (mut number, mut left): (u64, Vec<Left>) = (0, Vec::new());
            let mut held: Vec<(u64, Vec<u8>)> = Vec::new();
            let pass = |packet: &[u8], left: &mut Vec<Left>| {
                // A full queue is the sink's slowness and none of the device's deeds.
                while !to.send(packet) {
                    std::thread::sleep(Duration::from_micros(50));
                }
                let sequence = u64::from_be_bytes(packet[46..54].try_into().unwrap());
                left.push((packet[26..38].to_vec(), sequence));
            };
            while !stop.load(Ordering::Relaxed) {
                let Some(mut packet) = from.receive() else {
                    std::thread::sleep(Duration::from_micros(50));
                    continue;
                };
                match fate(number) {
                    Fate::Pass => pass(&packet, &mut left),
                    Fate::Lose => {}
                    Fate::Twice => (0..2).for_each(|_| pass(&packet, &mut left)),
                    Fate::Break => {
                        packet[50] ^= 1;
                        assert!(to.send(&packet));
                    }
                    Fate::Delay(by) => held.push((number + by, packet)),
                }
                held.retain(|(until, packet)| {
                    let is_due = *until <= number;
                    if is_due {
                        pass(packet, &mut left);
                    }
                    !is_due
                });
                number += 1;
            }
            left
        });
        let mut ports = Ports::Apart(out, into);
        let ran = run(&mut ports, workload(flows), &config(rate, count));
        stop.store(true, Ordering::Relaxed);
        (ran.unwrap(), device.join().unwrap())
    })
}

/// First copies that come behind a larger number of their flow, and the largest extent.
fn reordered(left: &[Left]) -> (u64, u64) {
    let (mut late, mut extent) = (0, 0);
    let mut flows: HashMap<&[u8], Vec<u64>> = HashMap::new();
    for (flow, number) in left {
        let came = flows.entry(flow).or_default();
        if came.contains(number) {
            continue;
        }
        if let Some(earliest) = came.iter().position(|other| other > number) {
            late += 1;
            extent = extent.max((came.len() - earliest) as u64);
        }
        came.push(*number);
    }
    (late, extent)
}

#[test]
fn a_device_that_does_nothing_wrong_is_not_accused() {
    let (ran, left) = through(|_| Fate::Pass, 7, 5_000, Rate::Packets(50_000));
    let caught = ran.caught.unwrap();
    assert_eq!((ran.sent.frames, left.len()), (5_000, 5_000));
    assert_eq!((caught.counts.arrived, caught.missing, caught.flows), (5_000, 0, 7));
    let counts = caught.counts;
    assert_eq!((counts.duplicates, counts.reordered, counts.damaged, counts.unstamped), (0, 0, 0, 0));
    assert_eq!((counts.frames, counts.octets), (ran.sent.frames, ran.sent.octets));
    assert_eq!(caught.latency.len(), 5_000);
    assert!(caught.latency.max() > 0);
}

#[test] // X-5, RFC 4737 §3.3, RFC 4737 §4.2.1
fn losses_copies_and_disorder_are_counted_as_they_were_done() {
    let fate = |number: u64| match number {
        _ if number % 97 == 3 => Fate::Lose,
        _ if number % 101 == 7 => Fate::Twice,
        _ if number % 113 == 11 => Fate::Break,
        _ if number % 50 == 10 => Fate::Delay(5 + number % 13),
        _ => Fate::Pass,
    };
    for flows in [1, 3] {
        let count = 5_000;
        let (ran, left) = through(fate, flows, count, Rate::Packets(50_000));
        assert_eq!(ran.sent.frames, count);
        let caught = ran.caught.unwrap();
        let broken = (0..count).filter(|number| matches!(fate(*number), Fate::Break)).count() as u64;
        let mut different = left.clone();
        different.sort_unstable();
        different.dedup();
        let counts = caught.counts;
        assert_eq!((counts.arrived, counts.damaged), (different.len() as u64, broken));
        assert_eq!(counts.duplicates, (left.len() - different.len()) as u64);
        assert_eq!((counts.reordered, counts.extent_max), reordered(&left));
        assert!(counts.reordered > 20 && counts.duplicates > 20 && broken > 20);
        // All but what came last in its flow is seen as missing by the sink alone.
        let lost = count - counts.arrived;
        assert!(
            lost >= caught.missing && lost - caught.missing <= 2 * u64::from(flows),
            "{lost} {}",
            caught.missing
        );
    }
}

#[test]
fn packets_of_an_earlier_run_are_strangers() {
    let ((out, from), (into, to)) = (station("out"), station("in"));
    let mut ports = Ports::Out(out);
    let sent = run(&mut ports, workload(1), &config(Rate::Unlimited, 10)).unwrap();
    assert!(sent.caught.is_none());
    let mut sink = Sink::new(Expect::Stream(STREAM + 1));
    let Station { mut umem, mut port, .. } = into;
    while let Some(packet) = from.receive() {
        assert!(to.send(&packet));
    }
    sink.turn(|| 1, &mut umem, &mut *port);
    assert_eq!((sink.counts().strangers, sink.counts().stamped), (10, 0));
}

#[test]
fn what_the_sinks_own_port_drops_is_not_the_devices_fault() {
    let (mut into, to) = station("in");
    // Longer than a frame of the sink's memory; the port drops and counts it.
    assert!(to.send(&[0; 1900]) && to.send(&[0; 60]));
    let caught = catch(Sink::new(Expect::All), &mut into, true, |sink| sink.counts().frames == 1);
    assert_eq!((caught.counts.frames, caught.overrun), (1, 1));
}

#[test]
fn a_reflecting_device_needs_one_port() {
    let (both, link) = station("both");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                match link.receive() {
                    Some(packet) => assert!(link.send(&packet)),
                    None => std::thread::sleep(Duration::from_micros(50)),
                }
            }
        });
        let ran = run(&mut Ports::Both(both), workload(2), &config(Rate::Packets(20_000), 1_000)).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert_eq!((ran.sent.frames, ran.caught.unwrap().counts.arrived), (1_000, 1_000));
    });
}

#[test]
fn a_port_that_takes_nothing_more_costs_the_rate_and_not_the_count() {
    // Nobody empties the queue: 256 frames go in, the others are due and not sent.
    let umem = Umem::new(&UmemConfig { frames: 1024, huge_pages: false, ..UmemConfig::default() }).unwrap();
    let (port, _link) = MemoryPort::pair("out", Link::Ethernet, 256);
    let rate = RunConfig { span: Duration::from_millis(400), ..config(Rate::Packets(20_000), u64::MAX) };
    let ran = run(&mut Ports::Out(Station::of(Box::new(port), umem)), workload(1), &rate).unwrap();
    assert_eq!(ran.sent.frames, 256);
    // 8000 were due. 64 wait in the generator's hands, and as many may still be caught up with.
    let known = ran.sent.frames + ran.sent.forfeited;
    assert!((8_000 - 130..=8_001).contains(&known), "{known}");
}
