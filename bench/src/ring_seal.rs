//! The yardstick: one bare seal by ring for each packet, of as many octets as ESP encrypts, and nothing around it.

use std::hint::black_box;

use ring::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey,
};
use warren_engine::limits::BATCH_MAX;
use warren_port::cycles;

use crate::rounds::lower_quartile;
use crate::rows::Size;

/// SPI and sequence number.
const ASSOCIATED: [u8; 8] = [1; 8];
const TAG_OCTETS: usize = 16;

/// Packets in memory and one key.
pub(crate) struct RingSeal {
    key: LessSafeKey,
    /// Packets of every size that occurs, and its share.
    kinds: Vec<(f64, Vec<Vec<u8>>)>,
    sequence: u64,
}

/// Octets that ESP encrypts of an inner packet: with pad length and next header, rounded up (RFC 4303 §2.4).
pub(crate) fn text_octets(inner: u16) -> usize {
    (usize::from(inner) + 2).next_multiple_of(4)
}

/// Ring's name for a transform.
pub(crate) fn algorithm(transform: &str) -> Result<&'static Algorithm, String> {
    match transform {
        "aes128gcm16" => Ok(&AES_128_GCM),
        "aes256gcm16" => Ok(&AES_256_GCM),
        "chacha20poly1305" => Ok(&CHACHA20_POLY1305),
        other => Err(format!("ring has no {other}")),
    }
}

impl RingSeal {
    pub(crate) fn new(algorithm: &'static Algorithm, size: Size) -> Result<Self, String> {
        let key = UnboundKey::new(algorithm, &[7; 32][..algorithm.key_len()])
            .map_err(|_| "ring refuses its key")?;
        let kind = |(octets, share)| (share, vec![vec![0x5a; text_octets(octets) + TAG_OCTETS]; BATCH_MAX]);
        let kinds = size.shares().into_iter().map(kind).collect();
        Ok(Self { key: LessSafeKey::new(key), kinds, sequence: 0 })
    }

    /// Cycles for one packet in the mean of the mixture; each size's is the lower quartile of so many batches.
    pub(crate) fn round(&mut self, batches: usize) -> Result<f64, String> {
        let mut mean = 0.0;
        for (share, packets) in &mut self.kinds {
            let mut figures = Vec::with_capacity(batches);
            for _ in 0..batches {
                self.sequence += BATCH_MAX as u64;
                let elapsed = batch(&self.key, self.sequence, packets)?;
                figures.push(elapsed as f64 / BATCH_MAX as f64);
            }
            mean += *share * lower_quartile(&figures);
        }
        Ok(mean)
    }
}

fn batch(key: &LessSafeKey, sequence: u64, packets: &mut [Vec<u8>]) -> Result<u64, String> {
    let mut nonce = [1; 12];
    let from = cycles::now();
    for (at, packet) in (sequence..).zip(packets.iter_mut()) {
        nonce[4..].copy_from_slice(&at.to_be_bytes());
        let text = packet.len() - TAG_OCTETS;
        let (text, icv) = packet.split_at_mut(text);
        let tag = key
            .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&ASSOCIATED), text)
            .map_err(|_| "ring failed")?;
        icv.copy_from_slice(tag.as_ref());
    }
    let elapsed = cycles::now() - from;
    black_box(packets);
    Ok(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Mix;

    #[test]
    fn every_packet_is_sealed_and_opens_again() {
        for name in ["aes128gcm16", "aes256gcm16", "chacha20poly1305"] {
            let mut ring = RingSeal::new(algorithm(name).unwrap(), Size::Mix(Mix::Imix)).unwrap();
            assert!(ring.round(1).unwrap() > 0.0);
            let mut nonce = [1; 12];
            for (_, packets) in &mut ring.kinds {
                // Each size had a batch of numbers of its own; the last batch's are known.
                let text = packets[0].len() - TAG_OCTETS;
                assert_ne!(packets[0][..text], vec![0x5a; text]);
            }
            let sequence = ring.sequence;
            nonce[4..].copy_from_slice(&sequence.to_be_bytes());
            let (_, packets) = ring.kinds.last_mut().unwrap();
            let clear = ring
                .key
                .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&ASSOCIATED), &mut packets[0])
                .unwrap();
            assert!(clear.iter().all(|&octet| octet == 0x5a));
        }
    }

    #[test]
    fn a_transform_that_ring_lacks_is_refused() {
        assert!(algorithm("aes192gcm16").is_err());
    }
}
