//! Loss, repetition, disorder and damage.

use super::{Fate, Pair, secs};
use crate::{Discard, Mode};
use std::time::Duration;

/// Messages of phase 1, three of quick mode, and what base mode says at once under its new SA.
const MODES: [(Mode, usize); 3] = [(Mode::Main, 9), (Mode::Aggressive, 6), (Mode::Base, 8)];

fn finishes(mut pair: Pair, what: &str) -> Pair {
    pair.open(0, 0);
    pair.run(secs(60));
    assert!(pair.is_connected(), "{what}");
    assert_eq!((pair.left().live().len(), pair.right().live().len()), (1, 1), "{what}");
    pair
}

#[test]
fn the_loss_of_any_one_message_is_survived() {
    for (mode, messages) in MODES {
        for lost in 0..messages {
            let mut pair = Pair::in_mode(mode);
            pair.network =
                Box::new(move |number, _, _| if number == lost { Fate::Drop } else { Fate::Deliver });
            finishes(pair, &format!("{mode} without message {lost}"));
        }
    }
}

#[test]
fn the_loss_of_any_two_messages_is_survived() {
    for (mode, messages) in MODES {
        for (first, second) in
            (0..messages).flat_map(|first| (first + 1..messages + 3).map(move |n| (first, n)))
        {
            let mut pair = Pair::in_mode(mode);
            pair.network = Box::new(move |number, _, _| match number {
                number if number == first || number == second => Fate::Drop,
                _ => Fate::Deliver,
            });
            finishes(pair, &format!("{mode} without messages {first} and {second}"));
        }
    }
}

#[test]
fn heavy_loss_ends_in_a_connection_or_in_a_failure_that_is_said() {
    let mut connected = [0; MODES.len()];
    for (mode, seed) in MODES.iter().flat_map(|(mode, _)| (0..60u64).map(move |seed| (*mode, seed))) {
        let mut pair = Pair::in_mode(mode);
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        pair.network = Box::new(move |_, _, _| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match state % 10 {
                0..4 => Fate::Drop,
                4 => Fate::Duplicate,
                5 => Fate::Delay(Duration::from_millis(state % 700)),
                6 => Fate::Corrupt((state >> 32) as usize),
                _ => Fate::Deliver,
            }
        });
        pair.open(0, 0);
        pair.run(secs(300));
        let ended = pair.left().up.len() + pair.left().failed.len();
        assert_eq!(ended, 1, "{mode}, seed {seed}");
        connected[mode as usize] += pair.left().up.len();
        // Whatever happened, nothing half-done is left.
        for side in &pair.sides {
            assert!(
                side.endpoint.opening.is_empty() && side.endpoint.unfinished.is_empty(),
                "{mode}, seed {seed}"
            );
        }
    }
    // Half of the datagrams are lost or damaged; a round trip has six tries.
    assert!(connected.iter().all(|connected| *connected > 15), "{connected:?}");
}

#[test] // F-6
fn every_message_may_come_twice() {
    for (mode, _) in MODES {
        let mut pair = Pair::in_mode(mode);
        pair.network = Box::new(|_, _, _| Fate::Duplicate);
        let pair = finishes(pair, &format!("{mode}, everything twice"));
        assert_eq!((pair.left().inbound.len(), pair.right().inbound.len()), (1, 1), "{mode}");
        assert_eq!(pair.right().counters().key_exchanges, 1, "{mode}");
        assert!(pair.right().discarded(Discard::Retransmitted) >= 2, "{mode}");
    }
}

#[test] // F-6
fn any_one_message_may_come_late_and_twice() {
    for (mode, late) in
        MODES.iter().flat_map(|(mode, messages)| (0..*messages).map(move |late| (*mode, late)))
    {
        let mut pair = Pair::in_mode(mode);
        pair.network = Box::new(move |number, _, _| match number {
            number if number == late => Fate::Delay(Duration::from_millis(1700)),
            _ => Fate::Deliver,
        });
        finishes(pair, &format!("{mode}, message {late} late"));
    }
}

#[test] // F-6
fn a_response_is_stored_and_not_computed_again() {
    let mut pair = Pair::new();
    // Message 4 is lost three times.
    let mut left = 3;
    pair.network = Box::new(move |_, from, octets| {
        let is_fourth = from == 1 && octets.get(16) == Some(&4) && octets.get(18) == Some(&2);
        if is_fourth && left > 0 {
            left -= 1;
            return Fate::Drop;
        }
        Fate::Deliver
    });
    let pair = finishes(pair, "message 4 lost three times");
    let fourth: Vec<_> = pair
        .sent
        .iter()
        .filter(|(from, _, octets)| *from == 1 && octets[16] == 4 && octets[18] == 2)
        .collect();
    assert_eq!(fourth.len(), 4);
    assert!(fourth.iter().all(|(_, _, octets)| *octets == fourth[0].2));
    assert_eq!(pair.right().counters().key_exchanges, 1);
}

fn survives_damage(mode: Mode, messages: usize, poisoned: usize) {
    let clean = finishes(Pair::in_mode(mode), "clean");
    let lengths: Vec<usize> = clean.sent.iter().map(|(_, _, octets)| octets.len()).collect();
    for (damaged, length) in lengths.into_iter().enumerate().take(messages) {
        for at in (0..length).step_by(if length > 100 { 7 } else { 3 }) {
            let mut pair = Pair::in_mode(mode);
            pair.network = Box::new(move |number, _, _| match number {
                number if number == damaged => Fate::Corrupt(at),
                _ => Fate::Deliver,
            });
            pair.open(0, 0);
            pair.run(secs(120));
            if pair.left().live().is_empty() {
                assert!(damaged < poisoned, "{mode}, message {damaged}, octet {at}");
                assert_eq!(pair.left().failed.len(), 1, "{mode}, message {damaged}, octet {at}");
                pair.open(0, 0);
                pair.run(secs(60));
            }
            assert!(pair.is_connected(), "{mode}, message {damaged}, octet {at}");
        }
    }
}

#[test]
fn a_damaged_message_never_establishes_and_leaves_the_state_able_to_finish() {
    // A damaged KE, nonce or identity poisons the hashes of both sides; only a new negotiation helps then.
    for ((mode, messages), poisoned) in MODES.into_iter().zip([4, 1, 2]) {
        survives_damage(mode, messages, poisoned);
    }
}

#[test]
fn a_damaged_message_beside_the_true_one_changes_nothing() {
    for ((mode, messages), encrypted) in MODES.into_iter().zip([5, 4, 4]) {
        damaged_copies(mode, messages, encrypted);
    }
}

fn damaged_copies(mode: Mode, messages: usize, encrypted: usize) {
    // Somebody on the path sends a damaged copy of each encrypted message first.
    let mut pair = Pair::in_mode(mode);
    pair.open(0, 0);
    let mut copied = 0;
    for _ in 0..400 {
        let before = pair.sent.len();
        pair.run(Duration::from_millis(1));
        let fresh = pair.sent[before..].to_vec();
        for (from, path, octets) in fresh {
            if octets[19] & 1 == 1 {
                let seen = crate::Path { local: path.remote, remote: path.local };
                let mut damaged = octets.clone();
                *damaged.last_mut().unwrap() ^= 1;
                pair.inject(1 - from, seen, &damaged);
                copied += 1;
            }
        }
    }
    assert!(pair.is_connected());
    assert_eq!(copied, encrypted, "{mode}");
    assert_eq!(pair.sent.len(), messages, "{mode}");
}
