//! One AEAD under one key, by whichever library: nonce and associated data in, text changed in place, tag out.

use crate::backend::Backend;
use crate::kernel::{self, Kernel, Level};
use crate::transform::{KeyLength, Transform};
use aes_gcm::aead::KeyInit;
use aes_gcm::aead::inout::InOutBuf;
use aes_gcm::aes::Aes192;
use aes_gcm::{AeadInOut, Aes128Gcm, Aes256Gcm, AesGcm};
use aws_lc_rs::aead as aws_lc;
use ring::aead as ring_aead;

/// Octets of the nonce: salt, then IV.
pub(crate) const NONCE_OCTETS: usize = 12;
/// Octets of the tag.
pub(crate) const TAG_OCTETS: usize = 16;

type Nonce = [u8; NONCE_OCTETS];
type Tag = [u8; TAG_OCTETS];
type Aes192Gcm = AesGcm<Aes192, aes_gcm::aead::consts::U12>;

/// An expanded key. Our kernels and AWS-LC wipe theirs when it is freed and RustCrypto's types wipe themselves; ring offers
/// neither, which is one reason why it is not the default.
pub(crate) enum Aead {
    Kernel(Kernel),
    AwsLc(Box<aws_lc::LessSafeKey>),
    Ring(Box<ring_aead::LessSafeKey>),
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<Aes192Gcm>),
    Aes256(Box<Aes256Gcm>),
}

impl Aead {
    /// `None` when the backend lacks the transform or the key's length is wrong.
    pub(crate) fn new(backend: Backend, transform: Transform, key: &[u8]) -> Option<Self> {
        match backend {
            Backend::Avx512 => kernel_key(Level::Avx512, transform, key),
            Backend::Avx2 => kernel_key(Level::Avx2, transform, key),
            Backend::AwsLc => aws_lc_key(transform, key),
            Backend::Ring => ring_key(transform, key),
            Backend::RustCrypto => rustcrypto_key(transform, key),
        }
    }

    /// Encrypts `text` in place. The caller never uses a nonce twice.
    pub(crate) fn seal(&self, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> Tag {
        let sealed = match self {
            Self::Kernel(key) => Some(key.seal(kernel_nonce(nonce), key.associated(aad), text)),
            Self::AwsLc(key) => aws_lc_seal(key, nonce, aad, text),
            Self::Ring(key) => ring_seal(key, nonce, aad, text),
            Self::Aes128(key) => rustcrypto_seal(&**key, nonce, aad, text),
            Self::Aes192(key) => rustcrypto_seal(&**key, nonce, aad, text),
            Self::Aes256(key) => rustcrypto_seal(&**key, nonce, aad, text),
        };
        sealed.expect("no AEAD refuses a text shorter than an IP packet")
    }

    /// Decrypts `text` in place. When the answer is `false`, `text` holds nothing that may be looked at.
    pub(crate) fn open(&self, nonce: &Nonce, aad: &[u8], text: &mut [u8], tag: &Tag) -> bool {
        match self {
            Self::Kernel(key) => key.open(kernel_nonce(nonce), key.associated(aad), text, *tag),
            Self::AwsLc(key) => aws_lc_open(key, nonce, aad, text, tag),
            Self::Ring(key) => ring_open(key, nonce, aad, text, tag),
            Self::Aes128(key) => rustcrypto_open(&**key, nonce, aad, text, tag),
            Self::Aes192(key) => rustcrypto_open(&**key, nonce, aad, text, tag),
            Self::Aes256(key) => rustcrypto_open(&**key, nonce, aad, text, tag),
        }
    }
}

fn kernel_key(level: Level, transform: Transform, key: &[u8]) -> Option<Aead> {
    match transform {
        Transform::AesGcm16(_) => Kernel::new(level, key).map(Aead::Kernel),
        Transform::ChaCha20Poly1305 | Transform::AesCbcHmac(..) => None,
    }
}

fn kernel_nonce(nonce: &Nonce) -> kernel::Nonce {
    let [s0, s1, s2, s3, iv @ ..] = *nonce;
    kernel::Nonce::esp([s0, s1, s2, s3], iv)
}

fn aws_lc_key(transform: Transform, key: &[u8]) -> Option<Aead> {
    let algorithm = match transform {
        Transform::AesGcm16(KeyLength::B128) => &aws_lc::AES_128_GCM,
        Transform::AesGcm16(KeyLength::B192) => &aws_lc::AES_192_GCM,
        Transform::AesGcm16(KeyLength::B256) => &aws_lc::AES_256_GCM,
        Transform::ChaCha20Poly1305 => &aws_lc::CHACHA20_POLY1305,
        Transform::AesCbcHmac(..) => return None,
    };
    let key = aws_lc::UnboundKey::new(algorithm, key).ok()?;
    Some(Aead::AwsLc(Box::new(aws_lc::LessSafeKey::new(key))))
}

fn aws_lc_seal(key: &aws_lc::LessSafeKey, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> Option<Tag> {
    let nonce = aws_lc::Nonce::assume_unique_for_key(*nonce);
    let tag = key.seal_in_place_separate_tag(nonce, aws_lc::Aad::from(aad), text).ok()?;
    tag.as_ref().try_into().ok()
}

fn aws_lc_open(key: &aws_lc::LessSafeKey, nonce: &Nonce, aad: &[u8], text: &mut [u8], tag: &Tag) -> bool {
    let nonce = aws_lc::Nonce::assume_unique_for_key(*nonce);
    key.open_in_place_separate_tag(nonce, aws_lc::Aad::from(aad), tag, text).is_ok()
}

fn ring_key(transform: Transform, key: &[u8]) -> Option<Aead> {
    let algorithm = match transform {
        Transform::AesGcm16(KeyLength::B128) => &ring_aead::AES_128_GCM,
        Transform::AesGcm16(KeyLength::B256) => &ring_aead::AES_256_GCM,
        Transform::ChaCha20Poly1305 => &ring_aead::CHACHA20_POLY1305,
        Transform::AesGcm16(KeyLength::B192) | Transform::AesCbcHmac(..) => return None,
    };
    let key = ring_aead::UnboundKey::new(algorithm, key).ok()?;
    Some(Aead::Ring(Box::new(ring_aead::LessSafeKey::new(key))))
}

fn ring_seal(key: &ring_aead::LessSafeKey, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> Option<Tag> {
    let nonce = ring_aead::Nonce::assume_unique_for_key(*nonce);
    let tag = key.seal_in_place_separate_tag(nonce, ring_aead::Aad::from(aad), text).ok()?;
    tag.as_ref().try_into().ok()
}

fn ring_open(key: &ring_aead::LessSafeKey, nonce: &Nonce, aad: &[u8], text: &mut [u8], tag: &Tag) -> bool {
    let nonce = ring_aead::Nonce::assume_unique_for_key(*nonce);
    let tag = ring_aead::Tag::from(*tag);
    key.open_in_place_separate_tag(nonce, ring_aead::Aad::from(aad), tag, text, 0..).is_ok()
}

fn rustcrypto_key(transform: Transform, key: &[u8]) -> Option<Aead> {
    Some(match transform {
        Transform::AesGcm16(KeyLength::B128) => Aead::Aes128(Box::new(Aes128Gcm::new_from_slice(key).ok()?)),
        Transform::AesGcm16(KeyLength::B192) => Aead::Aes192(Box::new(Aes192Gcm::new_from_slice(key).ok()?)),
        Transform::AesGcm16(KeyLength::B256) => Aead::Aes256(Box::new(Aes256Gcm::new_from_slice(key).ok()?)),
        Transform::ChaCha20Poly1305 | Transform::AesCbcHmac(..) => return None,
    })
}

/// The three AES-GCM types of RustCrypto have nonce and tag of the same size.
trait Gcm: AeadInOut<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16> {}

impl<T: AeadInOut<NonceSize = aes_gcm::aead::consts::U12, TagSize = aes_gcm::aead::consts::U16>> Gcm for T {}

fn rustcrypto_seal(key: &impl Gcm, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> Option<Tag> {
    let tag = key.encrypt_inout_detached(&(*nonce).into(), aad, InOutBuf::from(text)).ok()?;
    Some(tag.into())
}

fn rustcrypto_open(key: &impl Gcm, nonce: &Nonce, aad: &[u8], text: &mut [u8], tag: &Tag) -> bool {
    key.decrypt_inout_detached(&(*nonce).into(), aad, InOutBuf::from(text), &(*tag).into()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/primitives/");

    fn octets(value: &Value, field: &str) -> Vec<u8> {
        hex::decode(value[field].as_str().unwrap()).unwrap()
    }

    fn gcm(key: &[u8]) -> Transform {
        Transform::AesGcm16(match key.len() {
            16 => KeyLength::B128,
            24 => KeyLength::B192,
            _ => KeyLength::B256,
        })
    }

    fn by_every_backend(transform: Transform, key: &[u8], test: impl Fn(Backend, Aead)) {
        for backend in Backend::available().into_iter().filter(|backend| backend.supports(transform)) {
            test(backend, Aead::new(backend, transform, key).unwrap());
        }
    }

    /// How many tests of the file could be run: those with our sizes of nonce and tag.
    fn wycheproof(file: &str, transform: impl Fn(&[u8]) -> Transform) -> usize {
        let text = std::fs::read_to_string(format!("{VECTORS}{file}")).unwrap();
        let all: Value = serde_json::from_str(&text).unwrap();
        let ours = |group: &&Value| group["ivSize"] == 96 && group["tagSize"] == 128;
        let groups = all["testGroups"].as_array().unwrap().iter().filter(ours);
        let tests: Vec<&Value> = groups.flat_map(|group| group["tests"].as_array().unwrap()).collect();
        for test in &tests {
            let (key, aad, tag) = (octets(test, "key"), octets(test, "aad"), octets(test, "tag"));
            let (message, ciphertext) = (octets(test, "msg"), octets(test, "ct"));
            let nonce: Nonce = octets(test, "iv").try_into().unwrap();
            let valid = test["result"] != "invalid";
            by_every_backend(transform(&key), &key, |backend, aead| {
                let which = format!("{file} {} {backend}", test["tcId"]);
                let mut text = ciphertext.clone();
                let opened = aead.open(&nonce, &aad, &mut text, &tag.clone().try_into().unwrap());
                assert_eq!(opened, valid, "{which}");
                if valid {
                    assert_eq!(text, message, "{which}");
                    assert_eq!(aead.seal(&nonce, &aad, &mut text).as_slice(), tag, "{which}");
                    assert_eq!(text, ciphertext, "{which}");
                }
            });
        }
        tests.len()
    }

    #[test]
    fn wycheproof_is_satisfied_by_every_backend() {
        assert!(wycheproof("aes_gcm_test.dev.json", gcm) > 50);
        assert!(wycheproof("chacha20_poly1305_test.dev.json", |_| Transform::ChaCha20Poly1305) > 50);
    }

    #[test]
    fn nist_ciphertexts_and_tags_come_out_of_every_backend() {
        for bits in [128, 192, 256] {
            let text = std::fs::read_to_string(format!("{VECTORS}nist_gcm_encrypt_{bits}.jsonl")).unwrap();
            for (line, row) in text.lines().enumerate() {
                let row: Value = serde_json::from_str(row).unwrap();
                let (key, aad, tag) = (octets(&row, "key"), octets(&row, "aad"), octets(&row, "tag"));
                let nonce: Nonce = octets(&row, "iv").try_into().unwrap();
                by_every_backend(gcm(&key), &key, |backend, aead| {
                    let mut text = octets(&row, "pt");
                    let full = aead.seal(&nonce, &aad, &mut text);
                    // NIST also shortens tags; ours starts with the short one.
                    assert_eq!(full[..tag.len()], tag, "{bits} line {line} {backend}");
                    assert_eq!(text, octets(&row, "ct"), "{bits} line {line} {backend}");
                });
            }
        }
    }
}
