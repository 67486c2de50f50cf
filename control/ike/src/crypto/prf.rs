//! The negotiated hash, plain and as HMAC: phase 1 knows no other PRF (RFC 2409 §4).

use super::Wiped;
use aws_lc_rs::{digest as lc, hmac};
use subtle::ConstantTimeEq;
use warren_policy::Hash;
use zeroize::Zeroizing;

const fn hmac_algorithm(hash: Hash) -> hmac::Algorithm {
    match hash {
        Hash::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => hmac::HMAC_SHA256,
        Hash::Sha384 => hmac::HMAC_SHA384,
        Hash::Sha512 => hmac::HMAC_SHA512,
    }
}

const fn digest_algorithm(hash: Hash) -> &'static lc::Algorithm {
    match hash {
        Hash::Sha1 => &lc::SHA1_FOR_LEGACY_USE_ONLY,
        Hash::Sha256 => &lc::SHA256,
        Hash::Sha384 => &lc::SHA384,
        Hash::Sha512 => &lc::SHA512,
    }
}

/// prf(key, parts one after the other).
pub(crate) fn prf(hash: Hash, key: &[u8], parts: &[&[u8]]) -> Wiped {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac_algorithm(hash), key));
    for part in parts {
        context.update(part);
    }
    Zeroizing::new(context.sign().as_ref().to_vec())
}

/// hash(parts one after the other).
pub(crate) fn digest(hash: Hash, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = lc::Context::new(digest_algorithm(hash));
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// Compares in a time that depends on the lengths only.
pub(crate) fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.ct_eq(other).into()
}
