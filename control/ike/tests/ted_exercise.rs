//! Discovery under octets of every kind: what right messages and dialogues become when they are damaged.

#[path = "common/ted_exercise.rs"]
mod ted_exercise;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use ted_exercise::{dialogue, message, seeds};

/// Changes some octets, and sometimes the length.
fn damaged(rng: &mut ChaCha8Rng, octets: &[u8]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    for _ in 0..rng.next_u32() % 4 {
        let at = rng.next_u32() as usize % octets.len();
        octets[at] = match rng.next_u32() % 3 {
            0 => rng.next_u32() as u8,
            1 => octets[at] ^ 1 << (rng.next_u32() % 8),
            _ => octets[at].wrapping_add(1),
        };
    }
    if rng.next_u32().is_multiple_of(4) {
        octets.truncate(1 + rng.next_u32() as usize % octets.len());
    }
    octets
}

#[test] // F-36, TED-8, TED-32
fn messages_however_damaged_are_refused_or_survive_the_wire() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (messages, _) = seeds();
    let mut taken = 0;
    for right in &messages {
        assert_eq!(message(right), Ok(()));
        for _ in 0..3000 {
            taken += usize::from(message(&damaged(&mut rng, right)).is_ok());
        }
    }
    assert!((3000..messages.len() * 3000).contains(&taken), "{taken}");
}

#[test] // F-7, F-8, F-14, F-36
fn dialogues_however_damaged_end_nowhere_and_send_no_more_than_they_were_sent() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (_, dialogues) = seeds();
    let reached: Vec<_> = dialogues.iter().map(|right| dialogue(right)).collect();
    assert_eq!((reached[0].found, reached[1].found), (1, 1), "with and without a cookie");
    assert_eq!((reached[1].asked, reached[2].asked), (2, 3), "with the cookie, and repeated");
    assert_eq!((reached[3].answered, reached[4].answered), (3, 1), "asked to echo, and over the rate");
    assert_eq!((reached[5].passed, reached[5].found), (3, 0), "about something else");
    for right in &dialogues {
        for _ in 0..1000 {
            let other = &dialogues[rng.next_u32() as usize % dialogues.len()];
            dialogue(&[damaged(&mut rng, right), damaged(&mut rng, other)].concat());
        }
    }
}
