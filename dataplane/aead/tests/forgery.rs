//! Nothing that was changed gets through, and nothing of it can be read.
#![allow(clippy::unwrap_used, reason = "what panics in a helper fails the test that called it")]

mod common;

use common::{Keys, octets, opened, sealed};
use warren_aead::{OpenJob, Transform, Verdict, open};

const SEQUENCE: u64 = 0x7_0000_0042;

fn each_key(test: impl Fn(Transform, &Keys, warren_aead::Backend)) {
    for transform in Transform::all() {
        let keys = Keys::new(transform, 21);
        for backend in keys.backends() {
            test(transform, &keys, backend);
        }
    }
}

fn refused_and_wiped(
    transform: Transform,
    key: &warren_aead::OpeningKey,
    mut packet: Vec<u8>,
    high: Option<u32>,
) {
    assert_eq!(opened(key, &mut packet, high), Verdict::Forged, "{transform}");
    let text = transform.text_range(packet.len()).unwrap();
    assert!(packet[text].iter().all(|&octet| octet == 0), "{transform}: text left behind");
}

#[test]
fn changing_any_octet_of_a_packet_refuses_it_and_wipes_the_text() {
    each_key(|transform, keys, backend| {
        let (sealing, opening) = (keys.sealing(backend), keys.opening(backend));
        for (length, high) in [(16, None), (96, Some(7)), (304, None)] {
            let packet = sealed(&sealing, &octets(3, length), SEQUENCE, high);
            for at in 0..packet.len() {
                for bit in [1, 0x80] {
                    let mut changed = packet.clone();
                    changed[at] ^= bit;
                    refused_and_wiped(transform, &opening, changed, high);
                }
            }
        }
    });
}

#[test] // F-19
fn a_wrong_guess_of_the_upper_sequence_half_refuses_the_packet() {
    each_key(|transform, keys, backend| {
        let packet = sealed(&keys.sealing(backend), &octets(4, 64), SEQUENCE, Some(7));
        for wrong in [None, Some(0), Some(6), Some(8)] {
            refused_and_wiped(transform, &keys.opening(backend), packet.clone(), wrong);
        }
        let mut right = packet;
        assert_eq!(opened(&keys.opening(backend), &mut right, Some(7)), Verdict::Authentic);
    });
}

#[test]
fn another_key_salt_or_integrity_key_refuses_the_packet() {
    each_key(|transform, keys, backend| {
        let packet = sealed(&keys.sealing(backend), &octets(5, 64), SEQUENCE, None);
        let mut others =
            vec![Keys { encryption: octets(99, transform.key_octets()), ..Keys::new(transform, 21) }];
        if transform.integrity_key_octets() == 0 {
            others.push(Keys { salt: [9; 4], ..Keys::new(transform, 21) });
        } else {
            // Under another cipher key the ICV is still right: CBC with HMAC authenticates the ciphertext.
            others.clear();
            others.push(Keys { integrity: octets(98, keys.integrity.len()), ..Keys::new(transform, 21) });
        }
        for other in others {
            refused_and_wiped(transform, &other.opening(backend), packet.clone(), None);
        }
    });
}

#[test]
fn a_packet_cut_short_or_made_longer_is_refused() {
    each_key(|transform, keys, backend| {
        let packet = sealed(&keys.sealing(backend), &octets(6, 64), SEQUENCE, None);
        let opening = keys.opening(backend);
        for length in 0..packet.len() + 40 {
            let mut other = packet.clone();
            other.resize(length, 0);
            let expected = match length {
                _ if length == packet.len() => Verdict::Authentic,
                _ if transform.text_range(length).is_none() => Verdict::Malformed,
                _ => Verdict::Forged,
            };
            assert_eq!(opened(&opening, &mut other, None), expected, "{transform} {backend} {length}");
        }
    });
}

#[test]
fn one_forged_packet_does_not_spoil_the_others_of_its_batch() {
    each_key(|transform, keys, backend| {
        let (sealing, opening) = (keys.sealing(backend), keys.opening(backend));
        let mut packets: Vec<_> =
            (0..8).map(|at| sealed(&sealing, &octets(at, 48), SEQUENCE + at, None)).collect();
        packets[3][20] ^= 4;
        packets[5].truncate(9);
        let mut jobs: Vec<_> =
            packets.iter_mut().map(|packet| OpenJob::new(&opening, None, packet)).collect();
        open(&mut jobs);
        for (at, job) in jobs.iter().enumerate() {
            let expected = match at {
                3 => Verdict::Forged,
                5 => Verdict::Malformed,
                _ => Verdict::Authentic,
            };
            assert_eq!(job.verdict, expected, "{transform} {backend} {at}");
        }
    });
}

#[test]
#[should_panic(expected = "the caller lays a packet out")]
fn sealing_a_packet_of_impossible_length_is_our_own_fault() {
    let keys = Keys::new(Transform::ChaCha20Poly1305, 1);
    let key = keys.sealing(warren_aead::Backend::AwsLc);
    warren_aead::seal(&mut [warren_aead::SealJob::new(&key, 1, None, &mut [0; 31])]);
}
