//! Signatures over HASH_I and HASH_R (RFC 2409 §5.1, RFC 4754).
//!
//! IKEv1 signs the bare HASH: with RSA it stands in PKCS #1 padding without the DigestInfo that names a hash
//! function, with ECDSA it is what otherwise the digest of a message would be.

use crate::Entropy;
use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{self as ecdsa, EcdsaKeyPair, KeyPair, ParsedPublicKey};
use rand_core::{TryCryptoRng, TryRng};
use rsa::pkcs1::{DecodeRsaPrivateKey, DecodeRsaPublicKey};
use rsa::pkcs1v15::Pkcs1v15Sign;
use rsa::pkcs8::DecodePrivateKey;
use rsa::traits::PublicKeyParts;
use std::convert::Infallible;

/// Fewest bits of an RSA modulus; the chain of certificates is held to the same.
pub(crate) const RSA_BITS_MIN: u32 = 2048;

/// The authentication method attribute of phase 1 for signatures (RFC 2409 App. A, RFC 4754 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AuthMethod {
    RsaSignatures = 3,
    Ecdsa256 = 9,
    Ecdsa384 = 10,
    Ecdsa521 = 11,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyError {
    /// Neither RSA nor a key on one of the three curves, or damaged.
    Unknown,
    /// RSA with fewer than [`RSA_BITS_MIN`] bits, or more than can be computed with.
    RsaBits(u32),
}

/// A curve of RFC 4754 §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    const fn method(self) -> AuthMethod {
        match self {
            Self::P256 => AuthMethod::Ecdsa256,
            Self::P384 => AuthMethod::Ecdsa384,
            Self::P521 => AuthMethod::Ecdsa521,
        }
    }

    fn signing(self) -> &'static ecdsa::EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &ecdsa::ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &ecdsa::ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &ecdsa::ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }

    fn verifying(self) -> &'static ecdsa::EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &ecdsa::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &ecdsa::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &ecdsa::ECDSA_P521_SHA512_FIXED,
        }
    }

    /// The HASH as ECDSA reads a digest: its leftmost bits as a number. The library wants the digest of one
    /// certain function; a shorter HASH is the same number with zeros in front, of a longer one the left part counts.
    fn digest(self, hash: &[u8]) -> Option<Digest> {
        let algorithm = match self {
            Self::P256 => &digest::SHA256,
            Self::P384 => &digest::SHA384,
            Self::P521 => &digest::SHA512,
        };
        let octets = algorithm.output_len();
        let hash = &hash[..hash.len().min(octets)];
        let padded = [&vec![0; octets - hash.len()][..], hash].concat();
        Digest::import_less_safe(&padded, algorithm).ok()
    }
}

/// Our private key. Both kinds wipe themselves.
pub(crate) enum PrivateKey {
    Rsa(Box<rsa::PrivateKey>),
    Ecdsa(Curve, EcdsaKeyPair),
}

impl PrivateKey {
    /// Reads PKCS #8, PKCS #1 or SEC 1 DER.
    pub(crate) fn decode(der: &[u8]) -> Result<Self, KeyError> {
        let rsa = rsa::PrivateKey::from_pkcs8_der(der).ok();
        if let Some(key) = rsa.or_else(|| rsa::PrivateKey::from_pkcs1_der(der).ok()) {
            check_bits(key.n().bit_width_vartime())?;
            return Ok(Self::Rsa(Box::new(key)));
        }
        let ecdsa = |curve: Curve| {
            let key = EcdsaKeyPair::from_private_key_der(curve.signing(), der).ok()?;
            Some(Self::Ecdsa(curve, key))
        };
        Curve::ALL.into_iter().find_map(ecdsa).ok_or(KeyError::Unknown)
    }

    pub(crate) const fn method(&self) -> AuthMethod {
        match self {
            Self::Rsa(_) => AuthMethod::RsaSignatures,
            Self::Ecdsa(curve, _) => curve.method(),
        }
    }

    /// Whether the other half is `public`.
    pub(crate) fn fits(&self, public: &PublicKey) -> bool {
        match (self, public) {
            (Self::Rsa(own), PublicKey::Rsa(public)) => own.as_public_key() == &**public,
            (Self::Ecdsa(curve, own), PublicKey::Ecdsa(other, public)) => {
                curve == other && own.public_key().as_ref() == public.as_ref()
            }
            _ => false,
        }
    }

    /// The signature; `None` when the HASH is none, or the computation went wrong.
    pub(crate) fn sign(&self, hash: &[u8], entropy: &mut dyn Entropy) -> Option<Vec<u8>> {
        match self {
            Self::Rsa(key) => {
                let padding = Pkcs1v15Sign::new_unprefixed();
                key.sign_with_rng(&mut Blinding(entropy), padding, hash).ok()
            }
            Self::Ecdsa(curve, key) => {
                let signature = key.sign_digest(&curve.digest(hash)?).ok()?;
                Some(signature.as_ref().to_vec())
            }
        }
    }
}

/// A peer's public key.
pub(crate) enum PublicKey {
    Rsa(Box<rsa::PublicKey>),
    Ecdsa(Curve, ParsedPublicKey),
}

impl PublicKey {
    /// An RSAPublicKey (RFC 8017 App. A.1.1).
    pub(crate) fn rsa(der: &[u8]) -> Result<Self, KeyError> {
        let key = rsa::PublicKey::from_pkcs1_der(der).map_err(|_| KeyError::Unknown)?;
        check_bits(key.n().bit_width_vartime())?;
        Ok(Self::Rsa(Box::new(key)))
    }

    /// A point on that curve, uncompressed (SEC 1 §2.3.3).
    pub(crate) fn ecdsa(curve: Curve, point: &[u8]) -> Result<Self, KeyError> {
        let key = ParsedPublicKey::new(curve.verifying(), point).map_err(|_| KeyError::Unknown)?;
        Ok(Self::Ecdsa(curve, key))
    }

    pub(crate) const fn method(&self) -> AuthMethod {
        match self {
            Self::Rsa(_) => AuthMethod::RsaSignatures,
            Self::Ecdsa(curve, _) => curve.method(),
        }
    }

    pub(crate) fn verifies(&self, hash: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => {
                signature.len() == key.size()
                    && key.verify(Pkcs1v15Sign::new_unprefixed(), hash, signature).is_ok()
            }
            Self::Ecdsa(curve, key) => {
                curve.digest(hash).is_some_and(|digest| key.verify_digest_sig(&digest, signature).is_ok())
            }
        }
    }
}

fn check_bits(bits: u32) -> Result<(), KeyError> {
    let possible = RSA_BITS_MIN..=rsa::PublicKey::MAX_SIZE as u32;
    if possible.contains(&bits) { Ok(()) } else { Err(KeyError::RsaBits(bits)) }
}

/// Our randomness, for blinding what the private key is computed with.
struct Blinding<'a>(&'a mut dyn Entropy);

impl TryRng for Blinding<'_> {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(u32::from_be_bytes(self.0.octets()))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from_be_bytes(self.0.octets()))
    }

    fn try_fill_bytes(&mut self, octets: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill(octets);
        Ok(())
    }
}

impl TryCryptoRng for Blinding<'_> {}
