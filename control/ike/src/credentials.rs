//! Our certificate with its key, and the authorities that we believe.

use crate::Entropy;
use crate::certificate::{Certificate, anchor, check_chain};
use crate::crypto::{AuthMethod, KeyError, PrivateKey, RSA_BITS_MIN};
use crate::limits::CERTIFICATES_MAX;
use crate::wire::Identification;
use rustls_pki_types::TrustAnchor;
use std::time::Duration;
use warren_policy::{Identity, Secret};

/// The encoding of a certificate in a payload: X.509, for signatures (RFC 2408 §3.9).
const X509_SIGNATURE: u8 = 4;

/// What authentication with signatures needs of us.
pub struct Credentials {
    /// Ours first, then intermediates towards the authority.
    chain: Vec<Vec<u8>>,
    key: PrivateKey,
    authorities: Vec<Authority>,
}

struct Authority {
    /// The whole certificate, to see whether another is the same.
    der: Vec<u8>,
    subject: Vec<u8>,
    anchor: TrustAnchor<'static>,
}

/// Why certificates and a key make no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Our own certificate is missing.
    #[error("there is no certificate of our own")]
    NoCertificate,
    /// No authority: nobody could be believed.
    #[error("there is no authority, so that no peer could be believed")]
    NoAuthority,
    /// More than [`CERTIFICATES_MAX`].
    #[error("more than {CERTIFICATES_MAX} certificates in the chain")]
    ChainTooLong,
    /// That one of the chain, counted from one, cannot be read.
    #[error("certificate {0} of the chain is no X.509 certificate")]
    Certificate(usize),
    /// That authority, counted from one, cannot be read.
    #[error("authority {0} is no X.509 certificate of an authority ({1})")]
    Authority(usize, String),
    /// The private key cannot be read.
    #[error("the private key is neither RSA nor ECDSA on P-256, P-384 or P-521, or is damaged")]
    Key,
    /// The certificate is for a key of another kind.
    #[error("the certificate's key is neither RSA nor ECDSA on P-256, P-384 or P-521")]
    CertificateKey,
    /// A weak RSA key, or one that nobody could verify with.
    #[error("the RSA key has {0} bits; at least {RSA_BITS_MIN} and at most 8192 are accepted")]
    RsaBits(u32),
    /// The private key is not that of the certificate.
    #[error("the private key does not belong to the (first) certificate")]
    Mismatch,
    /// Key usage without digitalSignature.
    #[error("the certificate's key usage does not allow signatures")]
    KeyUsage,
}

/// Why a peer's signature, or our own, is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// No certificate came with the signature.
    #[error("the peer sent no certificate")]
    NoCertificate,
    /// More than [`CERTIFICATES_MAX`].
    #[error("the peer sent more than {CERTIFICATES_MAX} certificates")]
    TooManyCertificates,
    /// Octets that are no certificate.
    #[error("the peer sent a certificate that cannot be read")]
    DamagedCertificate,
    /// An identity of a kind that we do not take.
    #[error("the peer's identity cannot be read")]
    UnknownIdentity,
    /// The peer says it is somebody whom its certificate does not name.
    #[error("the peer's certificate does not name {0}")]
    WrongName(Identity),
    /// The key is of another kind than the negotiated method says, or too small.
    #[error("the key of the peer's certificate is not what was negotiated")]
    WrongKey,
    /// Too few bits, or too many.
    #[error("the RSA key of the peer's certificate has {0} bits")]
    RsaBits(u32),
    /// The key usage does not allow signatures.
    #[error("the key usage of the peer's certificate does not allow signatures")]
    KeyUsage,
    /// The extended key usage allows other things only.
    #[error("the peer's certificate is not for IKE")]
    NotForIke,
    /// A certificate of the chain has expired.
    #[error("the peer's certificate, or one above it, has expired")]
    Expired,
    /// A certificate of the chain is not valid yet.
    #[error("the peer's certificate, or one above it, is not valid yet; is our clock right?")]
    NotYetValid,
    /// No chain to an authority of ours.
    #[error("no authority of ours issued the peer's certificate")]
    UnknownAuthority,
    /// Another rule of RFC 5280 is broken.
    #[error("the chain of the peer's certificate breaks a rule: {0}")]
    Chain(String),
    /// The signature is not that of the certificate's key over this HASH.
    #[error("the peer's signature is wrong")]
    BadSignature,
    /// We could not sign.
    #[error("our own signature could not be computed")]
    NotSigned,
}

impl Credentials {
    /// Takes our chain of certificates (DER; ours first), our key (PKCS #8, PKCS #1 or SEC 1 DER) and the
    /// certificates of the authorities that may have issued a peer's.
    ///
    /// # Errors
    /// When something cannot be read, is too weak, or does not belong together.
    pub fn new(
        chain: Vec<Vec<u8>>,
        key: Secret,
        authorities: Vec<Vec<u8>>,
    ) -> Result<Self, CredentialsError> {
        if chain.len() > CERTIFICATES_MAX {
            return Err(CredentialsError::ChainTooLong);
        }
        if authorities.is_empty() {
            return Err(CredentialsError::NoAuthority);
        }
        let own = chain.first().ok_or(CredentialsError::NoCertificate)?;
        for (number, der) in (1..).zip(&chain) {
            Certificate::decode(der).ok_or(CredentialsError::Certificate(number))?;
        }
        let own = Certificate::decode(own).ok_or(CredentialsError::Certificate(1))?;
        let private = PrivateKey::decode(key.expose()).map_err(|error| match error {
            KeyError::Unknown => CredentialsError::Key,
            KeyError::RsaBits(bits) => CredentialsError::RsaBits(bits),
        })?;
        let public = own.key().map_err(|error| match error {
            KeyError::Unknown => CredentialsError::CertificateKey,
            KeyError::RsaBits(bits) => CredentialsError::RsaBits(bits),
        })?;
        if !private.fits(&public) {
            return Err(CredentialsError::Mismatch);
        }
        if !own.may_sign() {
            return Err(CredentialsError::KeyUsage);
        }
        let authorities = (1..)
            .zip(authorities)
            .map(|(number, der)| Authority::new(number, der))
            .collect::<Result<_, _>>()?;
        Ok(Self { chain, key: private, authorities })
    }

    /// Whether our own certificate names that identity: a peer would refuse any other.
    #[must_use]
    pub fn names(&self, identity: &Identity) -> bool {
        self.own().is_some_and(|own| own.names(identity))
    }

    fn own(&self) -> Option<Certificate<'_>> {
        Certificate::decode(self.chain.first()?)
    }

    /// The method that our key, and so the peer's too, signs with.
    pub(crate) const fn method(&self) -> AuthMethod {
        self.key.method()
    }

    /// Whether these are the same certificates and authorities; then the key is the same too, for it belongs to the
    /// certificate.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.chain == other.chain
            && self
                .authorities
                .iter()
                .map(|authority| &authority.der)
                .eq(other.authorities.iter().map(|authority| &authority.der))
    }

    /// The body of the Signature payload.
    pub(crate) fn sign(&self, hash: &[u8], entropy: &mut dyn Entropy) -> Result<Vec<u8>, SignatureError> {
        self.key.sign(hash, entropy).ok_or(SignatureError::NotSigned)
    }

    /// The bodies of our Certificate payloads.
    pub(crate) fn certificate_payloads(&self) -> Vec<Vec<u8>> {
        self.chain.iter().map(|der| [&[X509_SIGNATURE], &der[..]].concat()).collect()
    }

    /// The bodies of our Certificate Request payloads: whom we believe.
    pub(crate) fn request_payloads(&self) -> Vec<Vec<u8>> {
        let body = |authority: &Authority| [&[X509_SIGNATURE], &authority.subject[..]].concat();
        self.authorities.iter().take(CERTIFICATES_MAX).map(body).collect()
    }

    /// Whether a peer that sends `identity_body` and these Certificate payloads made `signature` over `hash`, and
    /// an authority of ours stands behind it. Gives who it is.
    pub(crate) fn verify(
        &self,
        unix_time: Duration,
        identity_body: &[u8],
        certificates: &[&[u8]],
        hash: &[u8],
        signature: &[u8],
    ) -> Result<Identity, SignatureError> {
        let identity = Identification::decode(identity_body)
            .and_then(|identity| identity.identity())
            .map_err(|_| SignatureError::UnknownIdentity)?;
        let ders: Vec<&[u8]> = certificates
            .iter()
            .filter_map(|body| body.split_first())
            .filter(|(encoding, _)| **encoding == X509_SIGNATURE)
            .map(|(_, der)| der)
            .collect();
        if ders.len() > CERTIFICATES_MAX {
            return Err(SignatureError::TooManyCertificates);
        }
        // Peers send their own certificate first, but no rule of IKEv1 makes them.
        let leaf = named(&ders, &identity)?;
        let certificate = Certificate::decode(leaf).ok_or(SignatureError::DamagedCertificate)?;
        let key = certificate.key().map_err(|error| match error {
            KeyError::Unknown => SignatureError::WrongKey,
            KeyError::RsaBits(bits) => SignatureError::RsaBits(bits),
        })?;
        if key.method() != self.method() {
            return Err(SignatureError::WrongKey);
        }
        if !certificate.may_sign() {
            return Err(SignatureError::KeyUsage);
        }
        let others: Vec<&[u8]> = ders.iter().copied().filter(|der| *der != leaf).collect();
        let anchors: Vec<_> = self.authorities.iter().map(|authority| authority.anchor.clone()).collect();
        check_chain(leaf, &others, &anchors, unix_time).map_err(chain_error)?;
        if !key.verifies(hash, signature) {
            return Err(SignatureError::BadSignature);
        }
        Ok(identity)
    }
}

impl Authority {
    fn new(number: usize, der: Vec<u8>) -> Result<Self, CredentialsError> {
        let refuse = |reason: &str| CredentialsError::Authority(number, reason.to_owned());
        let subject = Certificate::decode(&der).ok_or_else(|| refuse("not readable"))?.subject().to_vec();
        let anchor = anchor(&der).map_err(|error| refuse(&error.to_string()))?;
        Ok(Self { der, subject, anchor })
    }
}

/// The certificate that names the identity.
fn named<'a>(ders: &[&'a [u8]], identity: &Identity) -> Result<&'a [u8], SignatureError> {
    let mut reason = SignatureError::NoCertificate;
    for der in ders {
        match Certificate::decode(der) {
            Some(certificate) if certificate.names(identity) => return Ok(der),
            Some(_) => reason = SignatureError::WrongName(identity.clone()),
            None => reason = SignatureError::DamagedCertificate,
        }
    }
    Err(reason)
}

fn chain_error(error: webpki::Error) -> SignatureError {
    match error {
        webpki::Error::CertExpired { .. } => SignatureError::Expired,
        webpki::Error::CertNotValidYet { .. } => SignatureError::NotYetValid,
        webpki::Error::UnknownIssuer | webpki::Error::InvalidSignatureForPublicKey => {
            SignatureError::UnknownAuthority
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => SignatureError::NotForIke,
        other => SignatureError::Chain(other.to_string()),
    }
}
