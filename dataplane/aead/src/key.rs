//! The keys of one SA in one direction, expanded once when it is installed.

use crate::aead::Aead;
use crate::backend::Backend;
use crate::cbc::{CbcOpening, CbcSealing};
use crate::transform::Transform;

/// Key material as negotiated; borrowed, because its owner wipes it.
#[derive(Clone, Copy)]
pub struct KeyMaterial<'a> {
    /// Cipher key.
    pub encryption: &'a [u8],
    /// Salt of an AEAD (RFC 4106 §4, RFC 7634 §2); not used by CBC.
    pub salt: [u8; 4],
    /// HMAC key; empty for an AEAD.
    pub integrity: &'a [u8],
}

/// Why key material makes no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// [`Backend::serving`] names one that has it.
    #[error("{backend} has no {transform}")]
    Unsupported {
        /// The backend asked for.
        backend: Backend,
        /// What it lacks.
        transform: Transform,
    },
    /// [`Backend::available`] names those that it has.
    #[error("this CPU cannot run {0}")]
    Unavailable(Backend),
    /// A cipher key of the wrong length.
    #[error("{transform} needs a cipher key of {} octets, not of {octets}", transform.key_octets())]
    EncryptionLength {
        /// The transform.
        transform: Transform,
        /// The length given.
        octets: usize,
    },
    /// An integrity key of the wrong length.
    #[error("{transform} needs an integrity key of {} octets, not of {octets}", transform.integrity_key_octets())]
    IntegrityLength {
        /// The transform.
        transform: Transform,
        /// The length given.
        octets: usize,
    },
    /// The library refused a key of the right length.
    #[error("the library refused a key for {0}")]
    Refused(Transform),
}

fn check(backend: Backend, transform: Transform, keys: KeyMaterial<'_>) -> Result<(), BadKey> {
    let (encryption, integrity) = (keys.encryption.len(), keys.integrity.len());
    if !backend.supports(transform) {
        return Err(BadKey::Unsupported { backend, transform });
    }
    if !backend.is_available() {
        return Err(BadKey::Unavailable(backend));
    }
    if encryption != transform.key_octets() {
        return Err(BadKey::EncryptionLength { transform, octets: encryption });
    }
    if integrity != transform.integrity_key_octets() {
        return Err(BadKey::IntegrityLength { transform, octets: integrity });
    }
    Ok(())
}

/// One direction's cipher: an AEAD, or CBC in the shape that direction needs.
pub(crate) enum Cipher<Cbc> {
    Aead(Aead, [u8; 4]),
    Cbc(Box<Cbc>),
}

/// What an outbound SA seals with. No `Debug`, no `Clone`: one owner, who wipes it by dropping it.
pub struct SealingKey {
    transform: Transform,
    cipher: Cipher<CbcSealing>,
}

/// What an inbound SA opens with. No `Debug`, no `Clone`: one owner, who wipes it by dropping it.
pub struct OpeningKey {
    transform: Transform,
    cipher: Cipher<CbcOpening>,
}

impl SealingKey {
    /// Expands `keys`.
    ///
    /// # Errors
    /// Key material of the wrong length, or a transform that the backend lacks.
    pub fn new(backend: Backend, transform: Transform, keys: KeyMaterial<'_>) -> Result<Self, BadKey> {
        check(backend, transform, keys)?;
        let cipher = match transform {
            Transform::AesCbcHmac(length, integrity) => {
                CbcSealing::new(length, integrity, keys.encryption, keys.integrity)
                    .map(|cbc| Cipher::Cbc(Box::new(cbc)))
            }
            _ => Aead::new(backend, transform, keys.encryption).map(|aead| Cipher::Aead(aead, keys.salt)),
        };
        Ok(Self { transform, cipher: cipher.ok_or(BadKey::Refused(transform))? })
    }

    /// What it was made for.
    #[must_use]
    pub const fn transform(&self) -> Transform {
        self.transform
    }

    /// Asks for the memory of a key that will be worked with soon. A hint and no more.
    #[inline]
    pub fn prefetch(&self) {
        if let Cipher::Aead(Aead::Kernel(kernel), _) = &self.cipher {
            kernel.prefetch();
        }
    }

    pub(crate) const fn cipher(&self) -> &Cipher<CbcSealing> {
        &self.cipher
    }
}

impl OpeningKey {
    /// Expands `keys`.
    ///
    /// # Errors
    /// Key material of the wrong length, or a transform that the backend lacks.
    pub fn new(backend: Backend, transform: Transform, keys: KeyMaterial<'_>) -> Result<Self, BadKey> {
        check(backend, transform, keys)?;
        let cipher = match transform {
            Transform::AesCbcHmac(length, integrity) => {
                CbcOpening::new(length, integrity, keys.encryption, keys.integrity)
                    .map(|cbc| Cipher::Cbc(Box::new(cbc)))
            }
            _ => Aead::new(backend, transform, keys.encryption).map(|aead| Cipher::Aead(aead, keys.salt)),
        };
        Ok(Self { transform, cipher: cipher.ok_or(BadKey::Refused(transform))? })
    }

    /// What it was made for.
    #[must_use]
    pub const fn transform(&self) -> Transform {
        self.transform
    }

    /// Asks for the memory of a key that will be worked with soon. A hint and no more.
    #[inline]
    pub fn prefetch(&self) {
        if let Cipher::Aead(Aead::Kernel(kernel), _) = &self.cipher {
            kernel.prefetch();
        }
    }

    pub(crate) const fn cipher(&self) -> &Cipher<CbcOpening> {
        &self.cipher
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transform::{Integrity, KeyLength};

    fn seal_and_open(backend: Backend, transform: Transform, keys: KeyMaterial<'_>) -> Option<BadKey> {
        let sealing = SealingKey::new(backend, transform, keys).err();
        assert_eq!(sealing, OpeningKey::new(backend, transform, keys).err());
        sealing
    }

    #[test]
    fn key_material_of_the_wrong_length_is_refused_by_name() {
        let octets = [7; 65];
        for transform in Transform::all() {
            let (cipher, hmac) = (transform.key_octets(), transform.integrity_key_octets());
            let keys = |cipher, hmac| KeyMaterial {
                encryption: &octets[..cipher],
                salt: [0; 4],
                integrity: &octets[..hmac],
            };
            assert_eq!(seal_and_open(Backend::AwsLc, transform, keys(cipher, hmac)), None);
            for octets in [0, cipher - 1, cipher + 1] {
                let refused = seal_and_open(Backend::AwsLc, transform, keys(octets, hmac));
                assert_eq!(refused, Some(BadKey::EncryptionLength { transform, octets }));
            }
            let refused = seal_and_open(Backend::AwsLc, transform, keys(cipher, hmac + 1));
            assert_eq!(refused, Some(BadKey::IntegrityLength { transform, octets: hmac + 1 }));
        }
    }

    #[test]
    fn a_transform_that_a_backend_lacks_is_refused_and_not_replaced_in_silence() {
        let keys = KeyMaterial { encryption: &[7; 24], salt: [0; 4], integrity: &[] };
        let transform = Transform::AesGcm16(KeyLength::B192);
        let refused = seal_and_open(Backend::Ring, transform, keys);
        assert_eq!(refused, Some(BadKey::Unsupported { backend: Backend::Ring, transform }));
        assert_eq!(refused.unwrap().to_string(), "ring has no aes192gcm16");
        assert_eq!(seal_and_open(Backend::RustCrypto, transform, keys), None);
    }

    #[test]
    fn cbc_works_whichever_backend_is_preferred() {
        let transform = Transform::AesCbcHmac(KeyLength::B192, Integrity::Sha384);
        let keys = KeyMaterial { encryption: &[7; 24], salt: [0; 4], integrity: &[8; 48] };
        for backend in Backend::available() {
            assert_eq!(seal_and_open(backend, transform, keys), None);
        }
    }
}
