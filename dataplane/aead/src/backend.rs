//! Whose code does the arithmetic; chosen at run time.

use crate::kernel::Level;
use crate::transform::{KeyLength, Transform};
use std::fmt;
use std::str::FromStr;

/// Whose AEAD code runs. AES-CBC and HMAC are always AWS-LC's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Our own kernel with VAES on registers of 512 bits. AES-GCM only.
    Avx512,
    /// The same on registers of 256 bits.
    Avx2,
    /// AWS-LC: assembly for every CPU generation; all transforms.
    AwsLc,
    /// ring: like AWS-LC below 512 octets, slower above; no AES-192. It does not wipe its keys.
    Ring,
    /// RustCrypto: no C and no assembly, two to three times slower; the oracle of the tests. AES-GCM only.
    RustCrypto,
}

impl Backend {
    /// Every backend, best first.
    pub const ALL: [Self; 5] = [Self::Avx512, Self::Avx2, Self::AwsLc, Self::Ring, Self::RustCrypto];

    /// The fastest that this CPU can run.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|backend| backend.is_available()).unwrap_or(Self::AwsLc)
    }

    /// Those that this CPU can run, fastest first.
    #[must_use]
    pub fn available() -> Vec<Self> {
        Self::ALL.into_iter().filter(|backend| backend.is_available()).collect()
    }

    /// Whether this CPU can run it. The libraries find their own way on every CPU.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Avx512 => Level::Avx512.is_available(),
            Self::Avx2 => Level::Avx2.is_available(),
            Self::AwsLc | Self::Ring | Self::RustCrypto => true,
        }
    }

    /// Whether it has code for that transform.
    #[must_use]
    pub const fn supports(self, transform: Transform) -> bool {
        match (self, transform) {
            (Self::AwsLc, _) | (_, Transform::AesCbcHmac(..)) => true,
            (Self::Ring, Transform::AesGcm16(KeyLength::B192)) => false,
            (Self::Ring, _) | (Self::Avx512 | Self::Avx2 | Self::RustCrypto, Transform::AesGcm16(_)) => true,
            (Self::Avx512 | Self::Avx2 | Self::RustCrypto, Transform::ChaCha20Poly1305) => false,
        }
    }

    /// This backend where it has code for the transform, else AWS-LC, which has all: an SA that was negotiated must
    /// not fail because of an operator's preference.
    #[must_use]
    pub const fn serving(self, transform: Transform) -> Self {
        if self.supports(transform) { self } else { Self::AwsLc }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Avx512 => "vaes-avx512",
            Self::Avx2 => "vaes-avx2",
            Self::AwsLc => "aws-lc",
            Self::Ring => "ring",
            Self::RustCrypto => "rustcrypto",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Text that names no backend.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no AEAD backend; there are vaes-avx512, vaes-avx2, aws-lc, ring and rustcrypto")]
pub struct NotABackend(String);

impl FromStr for Backend {
    type Err = NotABackend;

    fn from_str(text: &str) -> Result<Self, NotABackend> {
        Self::ALL
            .into_iter()
            .find(|backend| backend.word() == text)
            .ok_or_else(|| NotABackend(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_survives_the_round_trip_and_others_are_named() {
        for backend in Backend::ALL {
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        assert!("openssl".parse::<Backend>().unwrap_err().to_string().contains("`openssl`"));
    }

    #[test]
    fn a_backend_without_the_transform_is_replaced_by_one_that_has_it() {
        assert_eq!(Backend::Ring.serving(Transform::AesGcm16(KeyLength::B192)), Backend::AwsLc);
        assert_eq!(Backend::RustCrypto.serving(Transform::ChaCha20Poly1305), Backend::AwsLc);
        assert_eq!(Backend::Ring.serving(Transform::AesGcm16(KeyLength::B256)), Backend::Ring);
        for transform in Transform::all() {
            for backend in Backend::ALL {
                assert!(backend.serving(transform).supports(transform), "{transform}");
            }
        }
    }
}
