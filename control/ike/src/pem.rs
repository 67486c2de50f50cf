//! Certificates and keys as files hold them (RFC 7468). Reading the file is the caller's; this is a pure function.

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind, SliceIter};
use warren_policy::Secret;
use zeroize::Zeroize;

/// Why a text gives no certificates or no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// A section that ends before its end, or is no base64.
    #[error("damaged PEM text")]
    Damaged,
    /// No CERTIFICATE section.
    #[error("no certificate in it (a section `BEGIN CERTIFICATE` is expected)")]
    NoCertificate,
    /// No section with a private key.
    #[error("no private key in it (a section `BEGIN PRIVATE KEY` is expected)")]
    NoKey,
    /// Several sections with a private key: which of them was meant?
    #[error("more than one private key in it")]
    SeveralKeys,
    /// A key under a passphrase that nobody could type when a gateway starts.
    #[error("the private key is encrypted; decrypt it with `openssl pkey` and protect the file instead")]
    Encrypted,
}

/// Every certificate of a PEM text as DER, in order; other sections are passed over.
///
/// # Errors
/// When there is none, or the text is damaged.
pub fn certificates_from_pem(text: &[u8]) -> Result<Vec<Vec<u8>>, PemError> {
    let certificates: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(text)
        .map(|section| section.map(|der| der.to_vec()).map_err(|_| PemError::Damaged))
        .collect::<Result<_, _>>()?;
    if certificates.is_empty() { Err(PemError::NoCertificate) } else { Ok(certificates) }
}

/// The private key of a PEM text as DER: PKCS #8, PKCS #1 or SEC 1.
///
/// # Errors
/// When there is none or more than one, or it is encrypted, or the text is damaged.
pub fn private_key_from_pem(text: &[u8]) -> Result<Secret, PemError> {
    if text.windows(9).any(|word| word == b"ENCRYPTED") {
        return Err(PemError::Encrypted);
    }
    let mut found = None;
    for section in SliceIter::new(text) {
        let (kind, mut der): (SectionKind, Vec<u8>) = section.map_err(|_| PemError::Damaged)?;
        let is_key =
            matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey);
        if !is_key {
            der.zeroize();
        } else if found.replace(Secret::new(der)).is_some() {
            return Err(PemError::SeveralKeys);
        }
    }
    found.ok_or(PemError::NoKey)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::vector_octets;

    fn file(name: &str) -> Vec<u8> {
        vector_octets(&format!("certificates/{name}"))
    }

    #[test]
    fn every_certificate_of_a_bundle_comes_out_in_order() {
        let bundle = certificates_from_pem(&file("chained-bundle.pem")).unwrap();
        let single = |name| certificates_from_pem(&file(name)).unwrap().remove(0);
        assert_eq!(bundle, [single("chained.pem"), single("intermediate.pem")]);
    }

    #[test]
    fn keys_come_out_in_each_of_their_forms() {
        for name in ["rsa-left.key", "rsa-left.pkcs1.key", "p256-left.key", "p256-left.sec1.key"] {
            assert!(private_key_from_pem(&file(name)).is_ok(), "{name}");
        }
        // What OpenSSL writes before the key of a curve is passed over.
        let both =
            [&b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"[..]].concat();
        assert!(private_key_from_pem(&[both, file("p256-left.sec1.key")].concat()).is_ok());
    }

    #[test]
    fn what_is_wrong_with_a_text_is_said() {
        let (key, certificate) = (file("p256-left.key"), file("p256-left.pem"));
        for (text, reason) in [
            (file("encrypted.key"), PemError::Encrypted),
            (certificate.clone(), PemError::NoKey),
            ([key.clone(), key.clone()].concat(), PemError::SeveralKeys),
            (key[..key.len() - 30].to_vec(), PemError::Damaged),
            (Vec::new(), PemError::NoKey),
        ] {
            assert_eq!(private_key_from_pem(&text).err(), Some(reason));
        }
        assert_eq!(certificates_from_pem(&key), Err(PemError::NoCertificate));
        assert_eq!(certificates_from_pem(&certificate[..90]), Err(PemError::Damaged));
    }
}
