//! Packets for the portable AEAD.

use std::hint::black_box;

use warren_aead::{Backend, KeyLength, KeyMaterial, OpeningKey, SealJob, SealingKey, Transform};

use crate::{counted, repeat, say};

const TRANSFORM: Transform = Transform::AesGcm16(KeyLength::B128);
const KEYS: KeyMaterial<'static> = KeyMaterial { encryption: &[7; 16], salt: [1, 2, 3, 4], integrity: &[] };

pub(crate) fn run() -> Result<(), &'static str> {
    if !takes_the_usual_path() {
        say(
            "left out: rustcrypto, because this CPU has no instructions for AES and carry-less multiplication",
        );
        return Ok(());
    }
    let sealing = SealingKey::new(Backend::RustCrypto, TRANSFORM, KEYS).map_err(|_| "a key")?;
    let opening = OpeningKey::new(Backend::RustCrypto, TRANSFORM, KEYS).map_err(|_| "a key")?;
    let (mut small, mut large) = (vec![0x5a; counted::SMALL_OCTETS], vec![0x5a; counted::LARGE_OCTETS]);
    let mut number = 0;
    repeat("rustcrypto_seal_64", || {
        number += 1;
        counted::rustcrypto_seal_64(&sealing, black_box(number), &mut small)
    })?;
    repeat("rustcrypto_seal_1420", || {
        number += 1;
        counted::rustcrypto_seal_1420(&sealing, black_box(number), &mut large)
    })?;
    repeat("rustcrypto_open_64", || counted::rustcrypto_open_64(&opening, &mut sealed(&sealing, &small)))?;
    repeat("rustcrypto_open_1420", || counted::rustcrypto_open_1420(&opening, &mut sealed(&sealing, &large)))
}

/// The library looks for these while it runs and takes another path without them.
#[cfg(target_arch = "x86_64")]
fn takes_the_usual_path() -> bool {
    std::arch::is_x86_feature_detected!("aes") && std::arch::is_x86_feature_detected!("pclmulqdq")
}

#[cfg(not(target_arch = "x86_64"))]
fn takes_the_usual_path() -> bool {
    false
}

/// Another copy, because opening leaves plaintext.
fn sealed(key: &SealingKey, packet: &[u8]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    warren_aead::seal(&mut [SealJob::new(key, 1, None, &mut packet)]);
    packet
}
