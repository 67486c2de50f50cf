//! AES-CBC and HMAC: encrypt, then authenticate (RFC 4303 §3.3.2.1).
//!
//! CBC needs an IV that nobody can predict (RFC 3602 §3). Ours is the sequence number encrypted under a key that
//! serves for nothing else and is derived from the SA's cipher key: the method of NIST SP 800-38A appendix C with
//! a key of its own, so that no IV tells anything about a block of text. It never repeats while the sequence number
//! does not, needs no random source, and lets a test compute the packet it expects.

use crate::limits::ICV_OCTETS_MAX;
use crate::transform::{Integrity, KeyLength};
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Octets of an AES block, and of the IV.
pub(crate) const BLOCK_OCTETS: usize = 16;

/// Separates the derived key from every other use of HMAC under the cipher key.
const IV_LABEL: &[u8] = b"warren esp cbc initialisation vector";

fn algorithm(length: KeyLength) -> &'static Algorithm {
    match length {
        KeyLength::B128 => &AES_128,
        KeyLength::B192 => &AES_192,
        KeyLength::B256 => &AES_256,
    }
}

/// The AES-256 key for IVs: HMAC-SHA2-256 of a label under the cipher key.
fn iv_key(encryption: &[u8]) -> Option<EncryptingKey> {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, encryption), IV_LABEL);
    let mut octets = Zeroizing::new([0; 32]);
    octets.copy_from_slice(tag.as_ref());
    EncryptingKey::ecb(UnboundCipherKey::new(&AES_256, octets.as_slice()).ok()?).ok()
}

/// The integrity half, the same for both directions.
struct Icv {
    key: hmac::Key,
    octets: usize,
}

impl Icv {
    fn new(integrity: Integrity, key: &[u8]) -> Self {
        let algorithm = match integrity {
            Integrity::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Integrity::Sha256 => hmac::HMAC_SHA256,
            Integrity::Sha384 => hmac::HMAC_SHA384,
            Integrity::Sha512 => hmac::HMAC_SHA512,
        };
        Self { key: hmac::Key::new(algorithm, key), octets: integrity.icv_octets() }
    }

    /// Over everything from the SPI on, with the unsent half of the sequence number behind it (RFC 4303 §2.8).
    fn compute(&self, authenticated: &[u8], esn_high: Option<u32>) -> [u8; ICV_OCTETS_MAX] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(authenticated);
        if let Some(high) = esn_high {
            context.update(&high.to_be_bytes());
        }
        let mut icv = [0; ICV_OCTETS_MAX];
        icv[..self.octets].copy_from_slice(&context.sign().as_ref()[..self.octets]);
        icv
    }
}

/// The sending half of an SA.
pub(crate) struct CbcSealing {
    iv: EncryptingKey,
    cipher: EncryptingKey,
    icv: Icv,
}

impl CbcSealing {
    /// `None` when the cipher key's length is wrong.
    pub(crate) fn new(
        length: KeyLength,
        integrity: Integrity,
        encryption: &[u8],
        integrity_key: &[u8],
    ) -> Option<Self> {
        let cipher = EncryptingKey::cbc(UnboundCipherKey::new(algorithm(length), encryption).ok()?).ok()?;
        Some(Self { iv: iv_key(encryption)?, cipher, icv: Icv::new(integrity, integrity_key) })
    }

    /// The IV of the packet with that sequence number.
    pub(crate) fn iv(&self, sequence: u64) -> [u8; BLOCK_OCTETS] {
        let mut block = [0; BLOCK_OCTETS];
        block[8..].copy_from_slice(&sequence.to_be_bytes());
        self.iv.less_safe_encrypt(&mut block, EncryptionContext::None).expect("one whole block");
        block
    }

    /// Encrypts `text` in place; its length is a multiple of a block.
    pub(crate) fn encrypt(&self, iv: [u8; BLOCK_OCTETS], text: &mut [u8]) {
        let context = EncryptionContext::Iv128(FixedLength::from(iv));
        self.cipher
            .less_safe_encrypt(text, context)
            .expect("whole blocks, by the check of the packet's length");
    }

    /// The ICV of everything before it, in the first octets of the array.
    pub(crate) fn icv(&self, authenticated: &[u8], esn_high: Option<u32>) -> [u8; ICV_OCTETS_MAX] {
        self.icv.compute(authenticated, esn_high)
    }
}

/// The receiving half of an SA.
pub(crate) struct CbcOpening {
    cipher: DecryptingKey,
    icv: Icv,
}

impl CbcOpening {
    /// `None` when the cipher key's length is wrong.
    pub(crate) fn new(
        length: KeyLength,
        integrity: Integrity,
        encryption: &[u8],
        integrity_key: &[u8],
    ) -> Option<Self> {
        let cipher = DecryptingKey::cbc(UnboundCipherKey::new(algorithm(length), encryption).ok()?).ok()?;
        Some(Self { cipher, icv: Icv::new(integrity, integrity_key) })
    }

    /// Whether `icv` is the one of `authenticated`; takes as long whichever octet differs.
    pub(crate) fn verify(&self, authenticated: &[u8], esn_high: Option<u32>, icv: &[u8]) -> bool {
        let expected = self.icv.compute(authenticated, esn_high);
        expected[..self.icv.octets].ct_eq(icv).into()
    }

    /// Decrypts `text` in place, only ever after [`verify`](Self::verify): CBC padding of a forged packet must not
    /// be looked at.
    pub(crate) fn decrypt(&self, iv: [u8; BLOCK_OCTETS], text: &mut [u8]) {
        let context = DecryptionContext::Iv128(FixedLength::from(iv));
        self.cipher.decrypt(text, context).expect("whole blocks, by the check of the packet's length");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::collections::HashSet;

    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/");

    fn octets(value: &Value, field: &str) -> Vec<u8> {
        hex::decode(value[field].as_str().unwrap()).unwrap()
    }

    fn read(file: &str) -> Value {
        serde_json::from_str(&std::fs::read_to_string(format!("{VECTORS}{file}")).unwrap()).unwrap()
    }

    fn tests(file: &Value) -> impl Iterator<Item = &Value> {
        file["testGroups"].as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap())
    }

    fn pair(encryption: &[u8]) -> (CbcSealing, CbcOpening) {
        let length = KeyLength::ALL.into_iter().find(|length| length.octets() == encryption.len()).unwrap();
        let sealing = CbcSealing::new(length, Integrity::Sha256, encryption, &[0; 32]).unwrap();
        (sealing, CbcOpening::new(length, Integrity::Sha256, encryption, &[0; 32]).unwrap())
    }

    fn agrees(key: &[u8], iv: [u8; BLOCK_OCTETS], plain: &[u8], cipher: &[u8], which: &str) {
        let (sealing, opening) = pair(key);
        let mut text = plain.to_vec();
        sealing.encrypt(iv, &mut text);
        assert_eq!(text, cipher, "{which}");
        opening.decrypt(iv, &mut text);
        assert_eq!(text, plain, "{which}");
    }

    #[test]
    fn wycheproof_cbc_is_satisfied_with_the_padding_added_here() {
        let file = read("primitives/aes_cbc_pkcs5_test.dev.json");
        let valid: Vec<_> = tests(&file).filter(|test| test["result"] == "valid").collect();
        assert!(valid.len() > 30);
        for test in valid {
            let mut plain = octets(test, "msg");
            let padding = BLOCK_OCTETS - plain.len() % BLOCK_OCTETS;
            plain.resize(plain.len() + padding, u8::try_from(padding).unwrap());
            let iv = octets(test, "iv").try_into().unwrap();
            agrees(&octets(test, "key"), iv, &plain, &octets(test, "ct"), &test["tcId"].to_string());
        }
    }

    #[test]
    fn packets_of_rfc_3602_without_integrity_decrypt_to_their_text() {
        let file = read("esp/esp_packets.json");
        let bare = |row: &&Value| row["enc"] == "aes-cbc" && row["auth"] == "none";
        let rows: Vec<_> = file.as_array().unwrap().iter().filter(bare).collect();
        assert_eq!(rows.len(), 2);
        for row in rows {
            let packet = octets(row, "esp");
            let iv = packet[8..24].try_into().unwrap();
            let plain = octets(row, "padded_plaintext");
            agrees(&octets(row, "enc_key"), iv, &plain, &packet[24..], row["id"].as_str().unwrap());
        }
    }

    #[test]
    fn wycheproof_hmac_is_satisfied_after_truncation() {
        for integrity in Integrity::ALL {
            let file = read(&format!("primitives/hmac_{integrity}_test.dev.json"));
            for test in tests(&file) {
                let icv = Icv::new(integrity, &octets(test, "key"));
                let (tag, computed) = (octets(test, "tag"), icv.compute(&octets(test, "msg"), None));
                // Wycheproof also damages octets behind those that are sent.
                let compared = icv.octets.min(tag.len());
                if test["result"] == "valid" {
                    assert_eq!(computed[..compared], tag[..compared], "{integrity} {}", test["tcId"]);
                }
            }
        }
    }

    #[test] // RFC 4303 §2.8
    fn the_upper_half_of_the_sequence_number_is_authenticated_behind_the_packet() {
        let icv = Icv::new(Integrity::Sha512, &[3; 64]);
        assert_eq!(icv.compute(b"packet", Some(0x6162_6364)), icv.compute(b"packetabcd", None));
        assert_ne!(icv.compute(b"packet", Some(0)), icv.compute(b"packet", None));
    }

    #[test] // RFC 3602 §3
    fn ivs_differ_for_each_packet_and_key_and_are_no_counters() {
        let (one, _) = pair(&[1; 16]);
        let (two, _) = pair(&[2; 16]);
        let ivs: Vec<_> = (0..1000).flat_map(|sequence| [one.iv(sequence), two.iv(sequence)]).collect();
        assert_eq!(ivs.iter().collect::<HashSet<_>>().len(), 2000);
        for pair in ivs.windows(2) {
            let differing: u32 = pair[0].iter().zip(pair[1]).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert!((20..108).contains(&differing), "{differing} of 128 bits differ");
        }
    }
}
