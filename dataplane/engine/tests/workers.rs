//! Several workers: an SA has one owner, and everybody else's packets for it find their way there in order.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use warren_engine::{DropReason, Settings, Tally, WorkerId};
use warren_policy::RuleId;
use warren_seam::{Carrier, Command, Event, SaId, Spi};

const WORKERS: usize = 3;

fn site(own: u8, workers: usize) -> Gateway {
    let mut gateway = Gateway::new(workers, &Settings::default());
    gateway.submit(Command::Forwarding(table(own)));
    gateway.submit(Command::Rules(rules(own)));
    gateway
}

fn send_to(gateway: &Gateway, worker: usize, own: u8, port: usize, packet: &[u8]) {
    assert!(gateway.links[worker][port].send(&frame(mac(own, port), packet)));
}

#[test] // DESIGN: an SA belongs to one worker
fn packets_that_land_on_the_wrong_worker_are_handed_over_in_order() {
    let (mut one, mut two) = (site(1, WORKERS), site(2, WORKERS));
    establish(&mut one, 1, Scheme::default());
    establish(&mut two, 2, Scheme::default());
    assert_eq!((one.handle.owner(RuleId(0)), one.handle.owner(RuleId(1))), (WorkerId(0), WorkerId(1)));
    // A flow stays on one worker, as the card would keep it; three flows on three workers.
    let mut sent: HashMap<u16, Vec<Vec<u8>>> = HashMap::new();
    for round in 0..20 {
        for worker in 0..WORKERS {
            let source = 5000 + worker as u16;
            let packet = Udp { ports: (source, 7), payload: 40 + round, ..Udp::default() }.packet();
            send_to(&one, worker, 1, INSIDE, &packet);
            sent.entry(source).or_default().push(after_hops(&packet, 2));
        }
    }
    one.poll();
    let wire = one.receive(OUTSIDE);
    assert_eq!(wire.len(), 60);
    // One owner numbers them all: no number twice, no gap.
    let mut numbers: Vec<_> = wire.iter().map(|packet| packet[24..28].to_vec()).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!((numbers.len(), numbers[59].clone()), (60, vec![0, 0, 0, 60]));
    for packet in &wire {
        // All on the worker that does not own the SA.
        send_to(&two, 2, 2, OUTSIDE, packet);
    }
    two.poll();
    let mut received: HashMap<u16, Vec<Vec<u8>>> = HashMap::new();
    for packet in two.receive(INSIDE) {
        received.entry(summary(&packet).tuple.source_port.unwrap()).or_default().push(packet);
    }
    assert_eq!(received, sent);
    assert_eq!((one.tally(Tally::Handed), one.tally(Tally::Adopted)), (40, 40));
    assert_eq!((two.tally(Tally::Handed), two.tally(Tally::Adopted)), (60, 60));
}

#[test] // NT-21
fn a_stack_whose_levels_belong_to_different_workers_is_put_on_all_the_same() {
    let (mut one, mut two) = (site(1, WORKERS), site(2, 1));
    establish(&mut one, 1, Scheme::default());
    establish(&mut two, 2, Scheme::default());
    let selector = between("192.0.2.1/32", "192.0.2.2/32");
    let (mut out, mut into) = (outbound(Scheme::default(), 1, 0), inbound(Scheme::default(), 1, 0));
    (out.id, out.spi, out.selector, out.rule) = (SaId(500), Spi(0x9000), selector, RuleId(2));
    (into.id, into.spi, into.selector, into.rule) = (SaId(600), out.spi, selector, RuleId(2));
    let mut inner = inbound(Scheme::default(), 1, 0);
    inner.carrier = Carrier::Rule(RuleId(2));
    two.submit(Command::InstallInbound(Box::new(inner)));
    one.submit(Command::InstallOutbound(Box::new(out)));
    one.submit(Command::Bind { rule: RuleId(0), stack: vec![SaId(10), SaId(500)] });
    two.submit(Command::InstallInbound(Box::new(into)));
    one.poll();
    two.poll();
    let packet = Udp::default().packet();
    send_to(&one, 1, 1, INSIDE, &packet);
    one.poll();
    carry(&one, &mut two);
    assert_eq!(two.receive(INSIDE), [after_hops(&packet, 2)]);
    assert_eq!((one.tally(Tally::Handed), one.tally(Tally::Sealed)), (2, 2));
}

#[test] // F-24
fn a_parcel_that_new_rules_overtake_is_judged_by_them() {
    let mut without = rules(1);
    without.transport.clear();
    for (rules, passes) in [(rules(1), true), (without, false)] {
        let mut one = site(1, 2);
        establish(&mut one, 1, Scheme::default());
        send_to(&one, 1, 1, INSIDE, &Udp::default().packet());
        one.workers[1].poll(one.now);
        assert_eq!(one.tally(Tally::Handed), 1);
        one.submit(Command::Rules(rules));
        one.poll();
        assert_eq!(one.receive(OUTSIDE).len(), usize::from(passes));
        assert_eq!(one.dropped(DropReason::NoRule), u64::from(!passes));
    }
}

#[test]
fn what_is_for_the_kernel_finds_the_worker_with_the_tun() {
    let mut one = site(1, WORKERS);
    let packet = Udp { to: "10.1.0.1", ..Udp::default() }.packet();
    one.poll();
    send_to(&one, 2, 1, INSIDE, &packet);
    one.poll();
    assert_eq!(one.kernel(), [packet]);
}

#[test] // F-24
fn several_workers_ask_once_for_one_rule() {
    let mut one = site(1, WORKERS);
    one.poll();
    for worker in 0..WORKERS {
        send_to(&one, worker, 1, INSIDE, &Udp::default().packet());
    }
    one.poll();
    let asked = one.take_events();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(matches!(asked[0], Event::Acquire { rule: RuleId(0), .. }));
    assert_eq!(one.dropped(DropReason::NoSa), 3);
    establish(&mut one, 1, Scheme::default());
    one.submit(Command::Bind { rule: RuleId(0), stack: Vec::new() });
    one.poll();
    for worker in 0..WORKERS {
        send_to(&one, worker, 1, INSIDE, &Udp::default().packet());
    }
    one.poll();
    assert_eq!(one.take_events().len(), 1);
}

#[test]
fn a_worker_that_does_not_keep_up_costs_packets_and_nothing_else() {
    let mut one = site(1, 2);
    establish(&mut one, 1, Scheme::default());
    for _ in 0..5 {
        for _ in 0..64 {
            send_to(&one, 1, 1, INSIDE, &Udp::default().packet());
        }
        // Only the worker that does not own the SA turns.
        one.workers[1].poll(one.now);
        one.assert_conserved();
    }
    assert_eq!((one.tally(Tally::Handed), one.dropped(DropReason::HandoffFull)), (256, 64));
    one.poll();
    assert_eq!(one.receive(OUTSIDE).len(), 256);
    send_to(&one, 1, 1, INSIDE, &Udp::default().packet());
    one.poll();
    assert_eq!(one.receive(OUTSIDE).len(), 1);
}

#[test]
fn a_command_counts_as_applied_when_every_worker_has() {
    let mut one = site(1, 2);
    one.poll();
    let token = one.submit(Command::Rearm(RuleId(0)));
    assert!(one.handle.applied() < token);
    one.workers[0].poll(one.now);
    assert!(one.handle.applied() < token);
    one.workers[1].poll(one.now);
    assert_eq!(one.handle.applied(), token);
}

#[test]
fn a_full_ring_refuses_a_command_and_gives_it_back() {
    let mut one = site(1, 2);
    let mut taken = 0;
    let refused = loop {
        match one.handle.submit(Command::Rearm(RuleId(taken))) {
            Ok(_) => taken += 1,
            Err(refused) => break refused,
        }
    };
    assert!(taken > 500);
    let warren_engine::Refused::Full(command) = refused else { panic!("{refused:?}") };
    assert!(matches!(*command, Command::Rearm(RuleId(rule)) if rule == taken));
    one.poll();
    one.submit(*command);
}

#[test]
fn an_sa_shows_what_it_has_done_and_is_forgotten_when_it_goes() {
    let (mut one, mut two) = (site(1, 2), site(2, 1));
    establish(&mut one, 1, Scheme::default());
    establish(&mut two, 2, Scheme::default());
    one.now = Duration::from_secs(9);
    send_to(&one, 1, 1, INSIDE, &Udp::default().packet());
    one.poll();
    carry(&one, &mut two);
    let (out, into) =
        (one.handle.sa_counters(SaId(10)).unwrap(), two.handle.sa_counters(SaId(1010)).unwrap());
    assert_eq!((out.packets, out.octets, out.sequence), (1, 128, 1));
    assert_eq!(out.last_used, Some(Duration::from_secs(9)));
    assert_eq!((into.packets, into.sequence), (1, 1));
    one.submit(Command::Remove(SaId(10)));
    one.poll();
    assert_eq!(one.handle.sa_counters(SaId(10)), None);
}

#[test]
fn keys_of_the_wrong_length_are_refused_by_name() {
    let mut one = site(1, 1);
    let mut bad = outbound(Scheme::default(), 1, 0);
    bad.keys.encryption = warren_policy::Secret::new(vec![1; 5]);
    let refused = one.handle.submit(Command::InstallOutbound(Box::new(bad))).unwrap_err();
    assert!(refused.to_string().contains("cipher key of 16 octets"), "{refused}");
}

#[test]
fn workers_run_on_threads_of_their_own_and_sleep_when_there_is_nothing_to_do() {
    let (mut one, two) = (site(1, 2), site(2, 1));
    let stop = Arc::new(AtomicBool::new(false));
    let started = Instant::now();
    let mut two = two;
    establish(&mut two, 2, Scheme::default());
    let threads: Vec<_> = one
        .workers
        .drain(..)
        .map(|mut worker| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || worker.run(&stop, started))
        })
        .collect();
    // Long enough for both to be asleep.
    std::thread::sleep(Duration::from_millis(50));
    for rule in 0..2 {
        let sa = outbound(Scheme::default(), 1, rule);
        let stack = vec![sa.id];
        one.submit(Command::InstallOutbound(Box::new(sa)));
        let token = one.submit(Command::Bind { rule: RuleId(rule), stack });
        let patience = Instant::now();
        while one.handle.applied() < token {
            assert!(patience.elapsed() < Duration::from_secs(10), "a command does not wake a sleeper");
            std::thread::yield_now();
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    send_to(&one, 1, 1, INSIDE, &Udp::default().packet());
    let patience = Instant::now();
    let wire = loop {
        let wire = one.receive(OUTSIDE);
        if !wire.is_empty() {
            break wire;
        }
        assert!(patience.elapsed() < Duration::from_secs(10), "a parcel does not wake a sleeper");
        std::thread::yield_now();
    };
    send_to(&two, 0, 2, OUTSIDE, &wire[0]);
    two.poll();
    assert_eq!(two.receive(INSIDE).len(), 1);
    stop.store(true, Ordering::Relaxed);
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    one.assert_conserved();
}
