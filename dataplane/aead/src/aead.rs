//! One AEAD under one key, by whichever library: nonce and associated data in, text changed in place, tag out.

use crate::backend::Backend;
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

/// An expanded key. AWS-LC wipes its memory when it is freed and RustCrypto's types wipe themselves; ring offers
/// neither, which is one reason why it is not the default.
pub(crate) enum Aead {
    AwsLc(aws_lc::LessSafeKey),
    Ring(Box<ring_aead::LessSafeKey>),
    Aes128(Box<Aes128Gcm>),
    Aes192(Box<Aes192Gcm>),
    Aes256(Box<Aes256Gcm>),
}

impl Aead {
    /// `None` when the backend lacks the transform or the key's length is wrong.
    pub(crate) fn new(backend: Backend, transform: Transform, key: &[u8]) -> Option<Self> {
        match backend {
            Backend::AwsLc => aws_lc_key(transform, key),
            Backend::Ring => ring_key(transform, key),
            Backend::RustCrypto => rustcrypto_key(transform, key),
        }
    }

    /// Encrypts `text` in place. The caller never uses a nonce twice.
    pub(crate) fn seal(&self, nonce: &Nonce, aad: &[u8], text: &mut [u8]) -> Tag {
        let sealed = match self {
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
            Self::AwsLc(key) => aws_lc_open(key, nonce, aad, text, tag),
            Self::Ring(key) => ring_open(key, nonce, aad, text, tag),
            Self::Aes128(key) => rustcrypto_open(&**key, nonce, aad, text, tag),
            Self::Aes192(key) => rustcrypto_open(&**key, nonce, aad, text, tag),
            Self::Aes256(key) => rustcrypto_open(&**key, nonce, aad, text, tag),
        }
    }
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
    Some(Aead::AwsLc(aws_lc::LessSafeKey::new(key)))
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
