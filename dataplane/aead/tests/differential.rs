//! Every backend against every other, over all lengths, alignments and mixtures.
#![allow(clippy::unwrap_used, reason = "what panics in a helper fails the test that called it")]

mod common;

use aes_gcm::aes::cipher::{BlockCipherEncrypt, KeyInit};
use aes_gcm::aes::{Aes128, Aes192, Aes256, Block};
use common::{Keys, laid_out, octets, opened, sealed};
use proptest::prelude::*;
use ring::hmac;
use warren_aead::{Backend, Integrity, KeyLength, OpenJob, SealJob, Transform, Verdict, open, seal};

/// Every length up to a frame's, then some up to a jumbo frame's.
fn text_lengths() -> impl Iterator<Item = usize> {
    (0..=2304).chain([2305, 4095, 4096, 4097, 6000, 8191, 8192, 8952, 9000, 9215, 9216])
}

fn aeads() -> impl Iterator<Item = Transform> {
    Transform::all().filter(|transform| transform.block_octets() == 1)
}

#[test]
fn every_backend_seals_the_same_octets_at_every_length_and_opens_the_others() {
    let text = octets(7, 9216);
    for transform in aeads() {
        let keys = Keys::new(transform, 11);
        let backends = keys.backends();
        let sealing: Vec<_> = backends.iter().map(|&backend| keys.sealing(backend)).collect();
        let opening: Vec<_> = backends.iter().map(|&backend| keys.opening(backend)).collect();
        for length in text_lengths() {
            let sequence = 0x1_0000_0000 + length as u64;
            let esn_high = (length % 2 == 0).then_some(1);
            let packets: Vec<_> =
                sealing.iter().map(|key| sealed(key, &text[..length], sequence, esn_high)).collect();
            for (packet, backend) in packets.iter().zip(&backends) {
                assert_eq!(packet, &packets[0], "{transform} {length} {backend}");
            }
            for (key, backend) in opening.iter().zip(&backends) {
                let mut packet = packets[0].clone();
                assert_eq!(
                    opened(key, &mut packet, esn_high),
                    Verdict::Authentic,
                    "{transform} {length} {backend}"
                );
                assert_eq!(packet[transform.text_range(packet.len()).unwrap()], text[..length]);
            }
        }
    }
}

#[test]
fn a_packet_may_begin_at_any_address_and_nothing_around_it_changes() {
    let transform = Transform::AesGcm16(KeyLength::B256);
    let keys = Keys::new(transform, 13);
    let text = octets(9, 3200);
    for length in [0, 1, 15, 16, 31, 33, 63, 64, 65, 127, 129, 255, 256, 257, 1439, 1536, 1537, 3100] {
        let expected = sealed(&keys.sealing(Backend::AwsLc), &text[..length], 5, Some(1));
        for backend in keys.backends() {
            let (sealing, opening) = (keys.sealing(backend), keys.opening(backend));
            let mut buffer = vec![0xa5; length + 32 + 256];
            let aligned = buffer.as_ptr().align_offset(64);
            for at in aligned..aligned + 64 {
                let packet = at..at + length + 32;
                buffer[packet.clone()].copy_from_slice(&laid_out(transform, &text[..length], 5));
                seal(&mut [SealJob::new(&sealing, 5, Some(1), &mut buffer[packet.clone()])]);
                assert_eq!(buffer[packet.clone()], expected, "{backend} {length} {at}");
                let mut jobs = [OpenJob::new(&opening, Some(1), &mut buffer[packet.clone()])];
                open(&mut jobs);
                assert_eq!(jobs[0].verdict, Verdict::Authentic, "{backend} {length} {at}");
                assert_eq!(buffer[at + 16..at + 16 + length], text[..length], "{backend} {length} {at}");
                buffer[packet].fill(0xa5);
                assert!(buffer.iter().all(|&octet| octet == 0xa5), "{backend} {length} {at}");
            }
        }
    }
}

fn encrypt_block(key: &[u8], block: &mut [u8]) {
    let mut octets = Block::default();
    octets.copy_from_slice(block);
    match key.len() {
        16 => Aes128::new_from_slice(key).unwrap().encrypt_block(&mut octets),
        24 => Aes192::new_from_slice(key).unwrap().encrypt_block(&mut octets),
        _ => Aes256::new_from_slice(key).unwrap().encrypt_block(&mut octets),
    }
    block.copy_from_slice(&octets);
}

/// AES-CBC and HMAC from RustCrypto's block cipher and ring's hashes, one block at a time.
fn slow_cbc(keys: &Keys, integrity: Integrity, iv: &[u8], packet: &mut [u8], esn_high: Option<u32>) {
    let text = keys.transform.text_range(packet.len()).unwrap();
    packet[8..24].copy_from_slice(iv);
    let mut chain = iv.to_vec();
    for block in packet[text.clone()].chunks_exact_mut(16) {
        block.iter_mut().zip(&chain).for_each(|(octet, previous)| *octet ^= previous);
        encrypt_block(&keys.encryption, block);
        chain.copy_from_slice(block);
    }
    let algorithm = match integrity {
        Integrity::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Integrity::Sha256 => hmac::HMAC_SHA256,
        Integrity::Sha384 => hmac::HMAC_SHA384,
        Integrity::Sha512 => hmac::HMAC_SHA512,
    };
    let mut context = hmac::Context::with_key(&hmac::Key::new(algorithm, &keys.integrity));
    context.update(&packet[..text.end]);
    if let Some(high) = esn_high {
        context.update(&high.to_be_bytes());
    }
    let icv = integrity.icv_octets();
    packet[text.end..].copy_from_slice(&context.sign().as_ref()[..icv]);
}

#[test]
fn cbc_with_hmac_equals_a_slow_one_from_other_libraries_at_every_length() {
    let text = octets(8, 9216);
    for transform in Transform::all() {
        let Transform::AesCbcHmac(_, integrity) = transform else { continue };
        let keys = Keys::new(transform, 12);
        let (sealing, opening) = (keys.sealing(Backend::AwsLc), keys.opening(Backend::AwsLc));
        for length in text_lengths().filter(|length| length % 16 == 0) {
            let esn_high = (length % 32 == 0).then_some(9);
            let sequence = 0x9_0000_0000 + length as u64;
            let mut packet = sealed(&sealing, &text[..length], sequence, esn_high);
            let mut slow = laid_out(transform, &text[..length], sequence);
            slow_cbc(&keys, integrity, &packet[8..24], &mut slow, esn_high);
            assert_eq!(packet, slow, "{transform} {length}");
            assert_eq!(opened(&opening, &mut packet, esn_high), Verdict::Authentic, "{transform} {length}");
            assert_eq!(packet[transform.text_range(packet.len()).unwrap()], text[..length]);
        }
    }
}

/// One packet of a batch: transform, backend, octets of text, where it starts in its buffer, seed, sequence, ESN.
type Item = (Transform, Backend, usize, usize, u64, u64, bool);

fn item() -> impl Strategy<Value = Item> {
    let transform = proptest::sample::select(Transform::all().collect::<Vec<_>>());
    let length = prop_oneof![4 => 0_usize..=1500, 1 => 0_usize..=9216];
    (
        transform,
        proptest::sample::select(Backend::available()),
        length,
        0_usize..64,
        any::<u64>(),
        any::<u64>(),
        any::<bool>(),
    )
        .prop_map(|(transform, backend, length, offset, seed, sequence, esn)| {
            let length = length - length % transform.block_octets();
            (transform, backend.serving(transform), length, offset, seed, sequence, esn)
        })
}

fn high(sequence: u64, esn: bool) -> Option<u32> {
    esn.then(|| u32::try_from(sequence >> 32).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_mixed_batch_equals_its_packets_one_by_one(items in proptest::collection::vec(item(), 1..=64)) {
        let keys: Vec<_> = items.iter().map(|item| Keys::new(item.0, item.4)).collect();
        let sealing: Vec<_> = items.iter().zip(&keys).map(|(item, keys)| keys.sealing(item.1)).collect();
        let opening: Vec<_> = items.iter().zip(&keys).map(|(item, keys)| keys.opening(item.1)).collect();
        let texts: Vec<_> = items.iter().map(|item| octets(!item.4, item.2)).collect();
        // The same packet at any alignment inside a larger buffer, which must keep its other octets.
        let mut buffers: Vec<_> = items.iter().zip(&texts).map(|(item, text)| {
            let mut buffer = vec![0xa5; item.3];
            buffer.extend(laid_out(item.0, text, item.5));
            buffer.extend([0x5a; 64]);
            buffer
        }).collect();

        let mut jobs: Vec<_> = items.iter().zip(&sealing).zip(&mut buffers).map(|((item, key), buffer)| {
            let end = buffer.len() - 64;
            SealJob::new(key, item.5, high(item.5, item.6), &mut buffer[item.3..end])
        }).collect();
        seal(&mut jobs);
        for (((item, keys), text), buffer) in items.iter().zip(&keys).zip(&texts).zip(&buffers) {
            let alone = sealed(&keys.sealing(Backend::AwsLc), text, item.5, high(item.5, item.6));
            prop_assert_eq!(&buffer[item.3..buffer.len() - 64], &alone[..]);
            prop_assert!(buffer[..item.3].iter().all(|&octet| octet == 0xa5));
            prop_assert!(buffer[buffer.len() - 64..].iter().all(|&octet| octet == 0x5a));
        }

        let mut jobs: Vec<_> = items.iter().zip(&opening).zip(&mut buffers).map(|((item, key), buffer)| {
            let end = buffer.len() - 64;
            OpenJob::new(key, high(item.5, item.6), &mut buffer[item.3..end])
        }).collect();
        open(&mut jobs);
        for ((job, item), text) in jobs.iter().zip(&items).zip(&texts) {
            prop_assert_eq!(job.verdict, Verdict::Authentic);
            prop_assert_eq!(&job.packet[item.0.text_range(job.packet.len()).unwrap()], &text[..]);
        }
    }

    #[test]
    fn any_octets_at_all_are_malformed_or_forged(
        transform in proptest::sample::select(Transform::all().collect::<Vec<_>>()),
        packet in proptest::collection::vec(any::<u8>(), 0..200),
        high in any::<Option<u32>>(),
    ) {
        let keys = Keys::new(transform, 5);
        for backend in keys.backends() {
            let mut attempt = packet.clone();
            let verdict = opened(&keys.opening(backend), &mut attempt, high);
            match transform.text_range(packet.len()) {
                None => prop_assert_eq!((verdict, &attempt), (Verdict::Malformed, &packet)),
                Some(text) => {
                    prop_assert_eq!(verdict, Verdict::Forged);
                    prop_assert!(attempt[text].iter().all(|&octet| octet == 0));
                }
            }
        }
    }
}
