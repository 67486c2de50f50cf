//! Keys and packets for the tests of this crate.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use warren_aead::{
    Backend, HEADER_OCTETS, KeyMaterial, OpenJob, OpeningKey, SealJob, SealingKey, Transform, Verdict, open,
    seal,
};

/// Octets that look random and follow from `seed`: SplitMix64.
pub(crate) fn octets(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    std::iter::repeat_with(|| next().to_le_bytes()).flatten().take(length).collect()
}

/// One SA's key material.
pub(crate) struct Keys {
    pub(crate) transform: Transform,
    pub(crate) encryption: Vec<u8>,
    pub(crate) salt: [u8; 4],
    pub(crate) integrity: Vec<u8>,
}

impl Keys {
    pub(crate) fn new(transform: Transform, seed: u64) -> Self {
        Self {
            transform,
            encryption: octets(seed, transform.key_octets()),
            salt: octets(seed ^ 1, 4).try_into().unwrap(),
            integrity: octets(seed ^ 2, transform.integrity_key_octets()),
        }
    }

    fn material(&self) -> KeyMaterial<'_> {
        KeyMaterial { encryption: &self.encryption, salt: self.salt, integrity: &self.integrity }
    }

    pub(crate) fn sealing(&self, backend: Backend) -> SealingKey {
        SealingKey::new(backend, self.transform, self.material()).unwrap()
    }

    pub(crate) fn opening(&self, backend: Backend) -> OpeningKey {
        OpeningKey::new(backend, self.transform, self.material()).unwrap()
    }

    pub(crate) fn backends(&self) -> Vec<Backend> {
        Backend::available().into_iter().filter(|backend| backend.supports(self.transform)).collect()
    }
}

/// A packet with header and text, IV and ICV still zero.
pub(crate) fn laid_out(transform: Transform, text: &[u8], sequence: u64) -> Vec<u8> {
    let mut packet = vec![0; transform.overhead_octets() + text.len()];
    packet[..4].copy_from_slice(&0xc0ff_ee01_u32.to_be_bytes());
    packet[4..HEADER_OCTETS].copy_from_slice(&sequence.to_be_bytes()[4..]);
    let range = transform.text_range(packet.len()).unwrap();
    packet[range].copy_from_slice(text);
    packet
}

pub(crate) fn sealed(key: &SealingKey, text: &[u8], sequence: u64, esn_high: Option<u32>) -> Vec<u8> {
    let mut packet = laid_out(key.transform(), text, sequence);
    seal(&mut [SealJob::new(key, sequence, esn_high, &mut packet)]);
    packet
}

pub(crate) fn opened(key: &OpeningKey, packet: &mut [u8], esn_high: Option<u32>) -> Verdict {
    let mut jobs = [OpenJob::new(key, esn_high, packet)];
    assert_eq!(jobs[0].verdict, Verdict::Unopened);
    open(&mut jobs);
    jobs[0].verdict
}
