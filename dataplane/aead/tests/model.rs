//! Every backend against AES-GCM as the standard writes it down: bit by bit, block by block, with nothing of the
//! kernels' arithmetic in it. Of other code it uses the block cipher only.
#![allow(clippy::unwrap_used, reason = "what panics in a helper fails the test that called it")]

mod common;

use aes_gcm::aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::aes::{Aes128, Aes192, Aes256, Block};
use common::{Keys, laid_out, octets, opened, sealed};
use proptest::prelude::*;
use warren_aead::{HEADER_OCTETS, KeyLength, Transform, Verdict};

/// NIST SP 800-38D §6.3, algorithm 1: the first bit of a block is its most significant one.
fn product(first: u128, second: u128) -> u128 {
    let (mut sum, mut shifted) = (0, second);
    for bit in (0..128).rev() {
        if (first >> bit) & 1 == 1 {
            sum ^= shifted;
        }
        shifted = (shifted >> 1) ^ if shifted & 1 == 1 { 0xe1 << 120 } else { 0 };
    }
    sum
}

fn encrypted(key: &[u8], block: u128) -> u128 {
    let mut octets = Block::default();
    octets.copy_from_slice(&block.to_be_bytes());
    match key.len() {
        16 => Aes128::new_from_slice(key).unwrap().encrypt_block(&mut octets),
        24 => Aes192::new_from_slice(key).unwrap().encrypt_block(&mut octets),
        _ => Aes256::new_from_slice(key).unwrap().encrypt_block(&mut octets),
    }
    u128::from_be_bytes(octets.into())
}

/// Blocks of GHASH, the last one filled with zeros.
fn blocks(octets: &[u8]) -> impl Iterator<Item = u128> {
    octets.chunks(16).map(|chunk| {
        let mut block = [0; 16];
        block[..chunk.len()].copy_from_slice(chunk);
        u128::from_be_bytes(block)
    })
}

/// NIST SP 800-38D §7.1, algorithm 4, for a nonce of 12 octets.
fn slow_gcm(key: &[u8], nonce: &[u8], aad: &[u8], text: &mut [u8]) -> u128 {
    let hash_key = encrypted(key, 0);
    let counter = blocks(nonce).next().unwrap() | 1;
    for (at, chunk) in (1..).zip(text.chunks_mut(16)) {
        let key_stream = encrypted(key, counter + at).to_be_bytes();
        chunk.iter_mut().zip(key_stream).for_each(|(octet, key)| *octet ^= key);
    }
    let lengths = ((aad.len() as u128 * 8) << 64) | (text.len() as u128 * 8);
    let hashed = blocks(aad).chain(blocks(text)).chain([lengths]);
    hashed.fold(0, |sum, block| product(sum ^ block, hash_key)) ^ encrypted(key, counter)
}

/// RFC 4106 §§3–5: IV behind the header, salt in front of the IV, ICV at the end, and the whole of the sequence number
/// in the associated data when it is extended.
fn slow_packet(keys: &Keys, text: &[u8], sequence: u64, esn_high: Option<u32>) -> Vec<u8> {
    let mut packet = laid_out(keys.transform, text, sequence);
    packet[HEADER_OCTETS..16].copy_from_slice(&sequence.to_be_bytes());
    let nonce = [&keys.salt[..], &packet[HEADER_OCTETS..16]].concat();
    let high = esn_high.map(u32::to_be_bytes);
    let high = high.as_ref().map_or(&[][..], |high| &high[..]);
    let aad = [&packet[..4], high, &packet[4..HEADER_OCTETS]].concat();
    let end = packet.len() - 16;
    let tag = slow_gcm(&keys.encryption, &nonce, &aad, &mut packet[16..end]);
    packet[end..].copy_from_slice(&tag.to_be_bytes());
    packet
}

fn agrees(length: KeyLength, seed: u64, text: &[u8], sequence: u64, esn_high: Option<u32>) {
    let keys = Keys::new(Transform::AesGcm16(length), seed);
    let slow = slow_packet(&keys, text, sequence, esn_high);
    for backend in keys.backends() {
        let which = format!("{backend} {length} {}", text.len());
        assert_eq!(sealed(&keys.sealing(backend), text, sequence, esn_high), slow, "{which}");
        let mut packet = slow.clone();
        assert_eq!(opened(&keys.opening(backend), &mut packet, esn_high), Verdict::Authentic, "{which}");
        assert_eq!(&packet[16..packet.len() - 16], text, "{which}");
    }
}

#[test]
fn packets_of_every_length_up_to_a_frames_equal_the_models() {
    let text = octets(40, 1600);
    for length in 0..=1600 {
        let esn_high = (length % 3 == 0).then_some(0x8000_0001);
        let key = KeyLength::ALL[length % 3];
        agrees(key, length as u64, &text[..length], 0xfedc_ba98_7654_3210, esn_high);
    }
}

#[test]
fn the_counter_goes_on_right_to_the_end_of_the_longest_packet() {
    // Its second octet changes behind block 254, and for the last time shortly before the end.
    let text = octets(41, 65_535 - 32);
    for length in
        [3071, 3072, 3073, 4063, 4064, 4065, 4079, 4080, 4081, 4097, 8160, 8161, 61_408, 65_440, 65_503]
    {
        agrees(KeyLength::B128, 41, &text[..length], 1, None);
    }
}

#[test]
fn octets_of_ones_and_of_zeros_are_no_special_case() {
    // A carry that reduction forgets shows where all bits are set.
    for octet in [0, 0xff] {
        for length in [16, 64, 256, 512, 513, 1024] {
            agrees(KeyLength::B256, 42, &vec![octet; length], u64::MAX, Some(u32::MAX));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_packet_equals_the_models(
        length in proptest::sample::select(KeyLength::ALL.to_vec()),
        seed in any::<u64>(),
        text in proptest::collection::vec(any::<u8>(), 0..1100),
        sequence in any::<u64>(),
        esn_high in any::<Option<u32>>(),
    ) {
        agrees(length, seed, &text, sequence, esn_high);
    }
}
