//! Our certificate with its key, and the authorities that we believe.

use crate::Entropy;
use std::time::Duration;
use warren_policy::{Identity, Secret};

/// What authentication with signatures needs of us. Certificates are DER.
pub struct Credentials {
    /// Ours first, then intermediates towards the authority.
    pub(crate) chain: Vec<Vec<u8>>,
    /// The private key (PKCS#8, PKCS#1 or SEC 1 DER).
    pub(crate) key: Secret,
    /// Trust anchors.
    pub(crate) authorities: Vec<Vec<u8>>,
}

/// How phase 1 signs: the number in the transform (RFC 2409 App. A, RFC 4754 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum AuthMethod {
    RsaSignatures = 3,
    Ecdsa256 = 9,
    Ecdsa384 = 10,
    Ecdsa521 = 11,
}

/// Why there is no signature, or none that is believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SignatureError {
    /// The key is of no kind that we use.
    UnknownKey,
}

/// X.509 certificate, signature (RFC 2408 §3.9).
const X509_SIGNATURE: u8 = 4;

impl Credentials {
    pub(crate) fn method(&self) -> AuthMethod {
        AuthMethod::RsaSignatures
    }

    pub(crate) fn sign(&self, _hash: &[u8], _entropy: &mut dyn Entropy) -> Result<Vec<u8>, SignatureError> {
        Err(SignatureError::UnknownKey)
    }

    pub(crate) fn certificate_payloads(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|der| [&[X509_SIGNATURE], &der[..]].concat()).collect()
    }

    pub(crate) fn request_payloads(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    pub(crate) fn verify(
        &self,
        _unix_time: Duration,
        _identity: &[u8],
        _certificates: &[&[u8]],
        _hash: &[u8],
        _signature: &[u8],
    ) -> Result<Identity, SignatureError> {
        Err(SignatureError::UnknownKey)
    }
}
