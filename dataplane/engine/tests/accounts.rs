//! Where the cycles go: what the stages of a measured turn had to do is what passed, and nothing is said of those that had
//! nothing to do.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use warren_engine::{Settings, Spent, Stage, StageSnapshot, Tally};
use warren_seam::Command;

const PACKETS: u64 = 10;

fn site(own: u8, workers: usize, settings: &Settings) -> Gateway {
    let mut gateway = Gateway::new(workers, settings);
    gateway.submit(Command::Forwarding(table(own)));
    gateway.submit(Command::Rules(rules(own)));
    establish(&mut gateway, own, Scheme::default());
    gateway
}

/// Ten packets from one site to the other, in one batch.
fn exchange(settings: &Settings) -> (Gateway, Gateway) {
    let (mut one, mut two) = (site(1, 1, settings), site(2, 1, settings));
    for port in 0..PACKETS as u16 {
        one.send(1, INSIDE, &Udp { ports: (5000 + port, 7), ..Udp::default() }.packet());
    }
    one.poll();
    assert_eq!(carry(&one, &mut two).len(), PACKETS as usize);
    assert_eq!(two.receive(INSIDE).len(), PACKETS as usize);
    (one, two)
}

/// Packets of every stage that had some.
fn packets(seen: &StageSnapshot) -> Vec<(Stage, u64)> {
    let of = |&stage: &Stage| (stage, seen.of(stage).packets);
    Stage::ALL.iter().map(of).filter(|&(_, packets)| packets > 0).collect()
}

fn each(stages: &[Stage]) -> Vec<(Stage, u64)> {
    stages.iter().map(|&stage| (stage, PACKETS)).collect()
}

#[test]
fn each_stage_has_as_many_packets_as_have_passed_it() {
    use Stage::*;
    let (one, two) = exchange(&Settings { sample_every: 1, fast_path: false, ..Settings::default() });
    let seen = one.handle.stages();
    let path = [Receive, Admit, Classify, Select, Mtu, Bind, Encap, Seal, Outer, Forward, Transmit];
    assert_eq!(packets(&seen), each(&path));
    assert_eq!((one.tally(Tally::Received), one.tally(Tally::Sealed)), (PACKETS, PACKETS));
    assert_eq!((seen.batches[3], seen.batches.iter().sum::<u64>()), (1, 1), "ten frames at once");
    assert_eq!((seen.put_on[1], seen.put_on.iter().sum::<u64>()), (PACKETS, PACKETS));
    assert_eq!((seen.taken_off[0], seen.taken_off.iter().sum::<u64>()), (PACKETS, PACKETS));
    assert_eq!(seen.of(Seal).batches, 1);

    let seen = two.handle.stages();
    let path = [Receive, Admit, Classify, Lookup, Open, Accept, Decap, Verify, Select, Forward, Transmit];
    let mut expected = each(&path);
    // What came out of ESP arrives anew.
    expected[2].1 = 2 * PACKETS;
    assert_eq!(packets(&seen), expected);
    assert_eq!((seen.put_on[0], seen.taken_off[1]), (PACKETS, PACKETS));
}

#[test]
fn the_fast_path_has_stages_of_its_own() {
    use Stage::*;
    let (one, two) = exchange(&Settings { sample_every: 1, ..Settings::default() });
    let seen = one.handle.stages();
    let path = [Receive, FastRead, FastFind, FastNumber, FastSeal, FastSend, Transmit];
    assert_eq!(packets(&seen), each(&path));
    assert_eq!((seen.put_on[1], seen.taken_off[0]), (PACKETS, PACKETS));
    let seen = two.handle.stages();
    assert_eq!(packets(&seen), each(&[Receive, FastRead, FastOpen, FastFind, FastSend, Transmit]));
    assert_eq!((seen.put_on[0], seen.taken_off[1]), (PACKETS, PACKETS));
}

#[test]
fn a_stage_without_packets_has_nothing_and_turns_without_any_are_idle() {
    let (mut one, _) = exchange(&Settings { sample_every: 1, ..Settings::default() });
    let seen = one.handle.stages();
    for stage in [Stage::Open, Stage::Kernel, Stage::Adopt, Stage::Answer, Stage::FastOpen] {
        assert_eq!(seen.of(stage), Spent::default(), "{stage:?}");
    }
    assert!(seen.of(Stage::Commands).cycles > 0, "rules and SAs came as commands");
    assert!(seen.turns > seen.idle_turns && seen.busy_cycles() > 0);
    one.poll();
    let later = one.handle.stages();
    assert_eq!((later.turns, later.idle_turns), (seen.turns + 1, seen.idle_turns + 1));
    assert_eq!(later.busy_cycles(), seen.busy_cycles());
    assert!(later.idle_cycles > seen.idle_cycles);
}

#[test]
fn packets_for_the_gateway_itself_leave_to_the_kernel() {
    let mut gateway = site(1, 1, &Settings { sample_every: 1, ..Settings::default() });
    gateway.send_and_poll(1, INSIDE, &Udp { to: "10.1.0.1", ..Udp::default() }.packet());
    assert_eq!(gateway.kernel().len(), 1);
    let seen = gateway.handle.stages();
    assert_eq!((seen.of(Stage::Kernel).packets, seen.of(Stage::Forward).packets), (1, 0));
    assert_eq!((seen.put_on[0], seen.taken_off[0]), (1, 1));
}

#[test]
fn workers_are_told_apart_and_added_up() {
    let mut gateway = site(1, 3, &Settings { sample_every: 1, ..Settings::default() });
    for worker in 0..3 {
        let packet = Udp { ports: (5000 + worker as u16, 7), ..Udp::default() }.packet();
        assert!(gateway.links[worker][INSIDE].send(&frame(mac(1, INSIDE), &packet)));
    }
    gateway.poll();
    let workers = gateway.handle.worker_stages();
    let of = |stage| workers.iter().map(|seen| seen.of(stage).packets).collect::<Vec<_>>();
    assert_eq!(of(Stage::Receive), [1, 1, 1]);
    assert_eq!(of(Stage::Adopt), [2, 0, 0], "the first worker owns the SA");
    let mut sum = StageSnapshot::default();
    workers.iter().for_each(|seen| sum.add(seen));
    assert_eq!(gateway.handle.stages(), sum);
    assert_eq!(sum.of(Stage::Receive).packets, 3);
}

#[test]
fn nothing_is_measured_where_the_operator_does_not_want_it() {
    let (one, two) = exchange(&Settings { sample_every: 0, ..Settings::default() });
    for gateway in [one, two] {
        assert_eq!(gateway.handle.stages(), StageSnapshot::default());
    }
}
