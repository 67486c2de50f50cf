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
