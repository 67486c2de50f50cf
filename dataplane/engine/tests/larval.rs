//! Who answers a quick mode has the inbound SA before the peer's last message and the outbound one behind it. What has to
//! be protected between them waits for the second.

#![allow(clippy::unwrap_used, reason = "a test may")]

mod lab;

use lab::*;
use std::time::Duration;
use warren_engine::{DropReason, Settings, Tally};
use warren_policy::{RuleId, TransportAction};
use warren_seam::{Command, SaId};

const RULE: RuleId = RuleId(0);

/// Gateway 2 between the second and the third message of a quick mode that gateway 1 began.
fn responder(workers: usize) -> Gateway {
    let mut two = Gateway::new(workers, &Settings::default());
    two.submit(Command::Forwarding(table(2)));
    two.submit(Command::Rules(rules(2)));
    two.submit(Command::InstallInbound(Box::new(inbound(Scheme::default(), 1, 0))));
    two.poll();
    two
}

/// The third message has been read.
fn confirm(two: &mut Gateway) {
    let sa = outbound(Scheme::default(), 2, 0);
    let stack = vec![sa.id];
    two.submit(Command::InstallOutbound(Box::new(sa)));
    two.submit(Command::Bind { rule: RULE, stack });
    two.poll();
}

/// The `number`th answer of the host behind gateway 2.
fn answer(number: u16) -> Vec<u8> {
    Udp { from: "10.2.0.2", to: "10.1.0.2", ports: (7000 + number, 80), ..Udp::default() }.packet()
}

#[test] // NT-12, F-24
fn the_answer_to_what_a_peer_says_first_in_a_new_tunnel_waits_for_its_half_of_the_pair() {
    for workers in 1..=3 {
        let (mut one, mut two) = (Gateway::site(1), responder(workers));
        establish(&mut one, 1, Scheme::default());
        one.send_and_poll(1, INSIDE, &Udp::default().packet());
        carry(&one, &mut two);
        assert_eq!(two.receive(INSIDE).len(), 1, "the peer uses its half already");
        // It comes in where the SA is not, so that it has to be handed over when it may go on.
        let packets: Vec<_> = (0..5).map(answer).collect();
        for packet in &packets {
            two.links[workers - 1][INSIDE].send(&frame(mac(2, INSIDE), packet));
        }
        two.poll();
        assert!(two.receive(OUTSIDE).is_empty(), "nothing leaves in clear");
        assert_eq!((two.counters().held(), two.dropped(DropReason::NoSa)), (5, 0));
        confirm(&mut two);
        carry(&two, &mut one);
        let expected: Vec<_> = packets.iter().map(|packet| after_hops(packet, 2)).collect();
        assert_eq!(one.receive(INSIDE), expected, "in their order, and no hop is paid for twice");
        two.assert_drops(&[]);
        assert_eq!(two.counters().held(), 0);
    }
}

#[test] // F-24
fn only_a_larval_pair_is_waited_for() {
    let mut two = responder(1);
    let drops = |two: &mut Gateway| {
        let before = two.dropped(DropReason::NoSa);
        two.send_and_poll(2, INSIDE, &answer(0));
        two.dropped(DropReason::NoSa) - before
    };
    // Another rule has no half of a pair.
    let other = Udp { from: "2001:db8:2::2", to: "2001:db8:1::2", ..Udp::default() }.packet();
    two.send_and_poll(2, INSIDE, &other);
    two.assert_drops(&[(DropReason::NoSa, 1)]);
    assert_eq!(drops(&mut two), 0);
    confirm(&mut two);
    assert_eq!(two.receive(OUTSIDE).len(), 1);
    // Once the pair was whole, what is left of it is not waited for.
    two.submit(Command::Remove(outbound(Scheme::default(), 2, 0).id));
    assert_eq!(drops(&mut two), 1);
    // The peer never confirmed: the inbound SA goes.
    let mut two = responder(1);
    two.submit(Command::Remove(inbound(Scheme::default(), 1, 0).id));
    assert_eq!(drops(&mut two), 1);
    // Unbinding is no answer.
    let mut two = responder(1);
    two.submit(Command::Bind { rule: RULE, stack: Vec::new() });
    assert_eq!(drops(&mut two), 0);
    // A stack with a level that is not there is no answer either.
    two.submit(Command::Bind { rule: RULE, stack: vec![SaId(777)] });
    two.poll();
    assert_eq!(two.counters().held(), 1);
    assert_eq!(drops(&mut two), 1);
}

#[test] // F-24
fn few_packets_wait_and_none_for_long() {
    let mut two = responder(1);
    (0..100).for_each(|number| two.send(2, INSIDE, &answer(number)));
    two.poll();
    assert_eq!((two.counters().held(), two.dropped(DropReason::NoSa)), (64, 36));
    two.now += Duration::from_secs(2);
    two.poll();
    assert_eq!((two.counters().held(), two.dropped(DropReason::NoSa)), (0, 100));
    // There is room again.
    two.send_and_poll(2, INSIDE, &answer(0));
    confirm(&mut two);
    assert_eq!((two.receive(OUTSIDE).len(), two.tally(Tally::Sealed)), (1, 1));
}

#[test] // F-24
fn what_waits_for_its_pair_is_judged_by_the_rules_of_the_day() {
    for (action, passes) in [(None, true), (Some(TransportAction::Discard), false)] {
        let mut two = responder(1);
        two.send_and_poll(2, INSIDE, &answer(0));
        let mut set = rules(2);
        if let Some(action) = action {
            set.transport.insert(0, transport(between("10.2.0.0/16", "10.1.0.0/16"), action));
            set.tunnel.remove(0);
        }
        two.submit(Command::Rules(set));
        two.poll();
        assert_eq!(two.dropped(DropReason::RuleDiscard), u64::from(!passes));
        confirm(&mut two);
        assert_eq!(two.receive(OUTSIDE).len(), usize::from(passes));
    }
}
