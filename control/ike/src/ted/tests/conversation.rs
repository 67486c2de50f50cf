//! GI and GR back to back on a virtual clock, with a network between them that loses, delays and repeats.

use super::lab::*;
use crate::Entropy;
use crate::ted::{NotFound, Ted, TedConfig, TedNotice, TedOutput};
use crate::testing::Seeded;
use std::collections::BTreeMap;
use std::time::Duration;
use warren_policy::{FiveTuple, Selector};
use warren_seam::{Catch, Entry, Injected};

enum Travelling {
    Probe(Vec<u8>),
    Answer(Vec<u8>),
}

struct Network {
    entropy: Seeded,
    /// Of a hundred.
    lost: usize,
    travelling: BTreeMap<(Duration, u64), Travelling>,
    sent: u64,
    probes: usize,
    answers: usize,
}

impl Network {
    fn new(seed: u64, lost: usize) -> Self {
        let entropy = Seeded::new(seed);
        Self { entropy, lost, travelling: BTreeMap::new(), sent: 0, probes: 0, answers: 0 }
    }

    fn draw(&mut self, bound: usize) -> usize {
        let entropy: &mut dyn Entropy = &mut self.entropy;
        u32::from_be_bytes(entropy.octets()) as usize % bound
    }

    /// Perhaps lost, perhaps twice, and any of it late.
    fn send(&mut self, now: Duration, copy: impl Fn() -> Travelling) {
        if self.draw(100) < self.lost {
            return;
        }
        for _ in 0..1 + usize::from(self.draw(10) == 0) {
            let delay = Duration::from_millis(5 + self.draw(400) as u64);
            self.sent += 1;
            self.travelling.insert((now + delay, self.sent), copy());
        }
    }

    fn take(&mut self, now: Duration) -> Option<Travelling> {
        let first = *self.travelling.first_key_value()?.0;
        (first.0 <= now).then(|| self.travelling.remove(&first)).flatten()
    }
}

/// Runs until the discovery is over: what was found, or why nothing was, and when.
fn drive(gi: &mut Ted, gr: &mut Ted, network: &mut Network) -> (Result<Selector, NotFound>, Duration) {
    let from = s(100);
    let mut now = from;
    loop {
        gi.acquire(now, RULE, p());
        while let Some(arrived) = network.take(now) {
            match arrived {
                Travelling::Probe(packet) => gr.handle_caught(now, caught(Catch::Probe, packet)),
                Travelling::Answer(octets) => gi.handle_message(now, path(GI, GR), &octets),
            }
        }
        if gi.poll_timeout().is_some_and(|at| at <= now) {
            gi.handle_timeout(now);
        }
        for output in outputs(gr) {
            match output {
                TedOutput::Transmit { path: way, octets } => {
                    assert_eq!(way, path(GR, GI));
                    network.answers += 1;
                    network.send(now, || Travelling::Answer(octets.clone()));
                }
                TedOutput::Log(_) => {}
                other => panic!("{other:?}"),
            }
        }
        for output in outputs(gi) {
            match output {
                TedOutput::Inject(Injected { entry: Entry::Originate, packet }) => {
                    network.probes += 1;
                    network.send(now, || Travelling::Probe(packet.clone()));
                }
                TedOutput::Found { packet, selector, .. } => {
                    assert_eq!(packet, p());
                    return (Ok(selector), now - from);
                }
                TedOutput::Log(TedNotice::NotFound { why, .. }) => return (Err(why), now - from),
                TedOutput::Log(_) => {}
                other => panic!("{other:?}"),
            }
        }
        now += Duration::from_millis(50);
        assert!(now < from + s(20), "it never ends");
    }
}

#[test] // TED-5, TED-37, TED-56, TED-60, Q-14
fn two_gateways_find_each_other_although_packets_are_lost_delayed_and_repeated() {
    let (mut found, mut first_time) = (0, 0);
    for seed in 0..300 {
        let (mut gi, mut gr) = (initiator(), responder());
        let mut network = Network::new(seed, 30);
        let (result, took) = drive(&mut gi, &mut gr, &mut network);
        assert!(network.probes <= 3 && network.answers <= 2 * network.probes, "seed {seed}");
        match result {
            Ok(common) => {
                assert_eq!(common, selector("10.1.0.0/16 10.2.0.0/16"), "seed {seed}");
                found += 1;
                first_time += usize::from(took <= s(1));
                // What is still on its way changes nothing.
                gi.conclude(s(108), RULE, &p(), true);
                while let Some(arrived) = network.take(s(200)) {
                    if let Travelling::Answer(octets) = arrived {
                        gi.handle_message(s(108), path(GI, GR), &octets);
                    }
                }
                assert!(!is_found(&outputs(&mut gi)) && gi.in_flight().is_empty(), "seed {seed}");
            }
            Err(why) => assert_eq!((why, took), (NotFound::NoAnswer, s(7)), "seed {seed}"),
        }
    }
    // One of two legs of each of three tries: half get through at once, seven eighths in the end.
    assert!((230..300).contains(&found) && (100..200).contains(&first_time), "{found} {first_time}");
}

#[test] // F-8, TED-60
fn the_cookie_costs_one_more_round_trip_and_nothing_else() {
    let config = TedConfig { cookie_echo: true, ..TedConfig::default() };
    let demanding = || ted(config.clone(), vec![rule(GR, &["10.2.0.0/16 10.0.0.0/8"], &["10.1.0.0/16"])], 2);
    let mut found = 0;
    for seed in 0..200 {
        let (mut gi, mut gr) = (initiator(), demanding());
        let mut network = Network::new(seed, 20);
        found += usize::from(drive(&mut gi, &mut gr, &mut network).0.is_ok());
        assert!(network.probes <= 5, "three tries and two cookies");
    }
    assert!(found > 140, "{found}");
    let (mut gi, mut gr) = (initiator(), demanding());
    let mut network = Network::new(1, 0);
    network.entropy = Seeded::new(9);
    assert_eq!(drive(&mut gi, &mut gr, &mut network).0, Ok(selector("10.1.0.0/16 10.2.0.0/16")));
}

#[test] // TED-31, TED-37
fn a_gateway_on_the_way_that_has_nothing_to_do_with_it_lets_the_nearer_one_answer() {
    let (mut gi, mut gr) = (initiator(), responder());
    let mut between =
        ted(TedConfig::default(), vec![rule("192.0.2.9", &["10.9.0.0/16 10.0.0.0/8"], &["10.1.0.0/16"])], 3);
    gi.acquire(s(1), RULE, p());
    let probe = one_probe(&outputs(&mut gi));
    between.handle_caught(s(1), caught(Catch::Probe, probe.clone()));
    let resumed = outputs(&mut between);
    let [TedOutput::Inject(Injected { entry: Entry::Resume(PORT), packet })] = &resumed[..] else {
        panic!("{resumed:?}");
    };
    assert_eq!(*packet, probe);
    gr.handle_caught(s(1), caught(Catch::Probe, packet.clone()));
    gi.handle_message(s(1), path(GI, GR), &one_datagram(&outputs(&mut gr)).1);
    assert!(is_found(&outputs(&mut gi)));
}

#[test] // TED-58, TED-45, Q-4
fn both_sides_find_the_same_tunnel_whichever_of_them_asks() {
    let near = rule(GI, &["10.1.0.0/16 10.2.5.0/24"], &["10.2.0.0/16"]);
    let far = rule(GR, &["10.2.0.0/16 10.1.3.0/24"], &["10.1.0.0/16"]);
    let mut one = ted(TedConfig::default(), vec![near], 1);
    let mut two = ted(TedConfig::default(), vec![far], 2);
    let ask = |asking: &mut Ted, answering: &mut Ted, packet: FiveTuple, way: crate::Path| {
        asking.acquire(s(1), RULE, packet);
        let probe = one_probe(&outputs(asking));
        answering.handle_caught(s(1), caught(Catch::Probe, probe));
        asking.handle_message(s(1), way, &one_datagram(&outputs(answering)).1);
        outputs(asking).into_iter().find_map(|output| match output {
            TedOutput::Found { selector, .. } => Some(selector),
            _ => None,
        })
    };
    let there = ask(&mut one, &mut two, packet(A, B), path(GI, GR)).unwrap();
    let back = ask(&mut two, &mut one, packet(B, A), path(GR, GI)).unwrap();
    assert_eq!(there, selector("10.1.3.0/24 10.2.5.0/24"));
    assert_eq!(there, back.mirrored());
}
