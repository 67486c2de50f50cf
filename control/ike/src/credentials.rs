//! Our certificate with its key, and the authorities that we believe.

use crate::certificate::{Certificate, anchor, check_chain};
pub(crate) use crate::crypto::AuthMethod;
use crate::crypto::{KeyError, PrivateKey};
use crate::limits::{CERTIFICATES_MAX, RSA_BITS_MIN};
use crate::wire::Identification;
use crate::{Discard, Entropy};
use rustls_pki_types::TrustAnchor;
use std::time::Duration;
use warren_policy::identity::is_sequence;
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

impl SignatureError {
    /// Under which reason a message with it is thrown away.
    pub(crate) const fn discard(&self) -> Discard {
        match self {
            Self::BadSignature => Discard::BadSignature,
            Self::NotSigned => Discard::CannotSign,
            Self::WrongName(_) => Discard::CertificateName,
            Self::Expired | Self::NotYetValid => Discard::CertificateDate,
            Self::UnknownAuthority => Discard::CertificateAuthority,
            Self::UnknownIdentity
            | Self::NoCertificate
            | Self::TooManyCertificates
            | Self::DamagedCertificate
            | Self::WrongKey
            | Self::RsaBits(_)
            | Self::KeyUsage
            | Self::NotForIke
            | Self::Chain(_) => Discard::CertificateUnusable,
        }
    }
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

    /// Who we are where the operator gives no identity: the subject of our certificate.
    #[must_use]
    pub fn subject(&self) -> Option<Identity> {
        let subject = self.own()?.subject().to_vec();
        is_sequence(&subject).then_some(Identity::Dn(subject))
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
        if !certificate.may_sign() {
            return Err(SignatureError::KeyUsage);
        }
        let others: Vec<&[u8]> = ders.iter().copied().filter(|der| *der != leaf).collect();
        let anchors: Vec<_> = self.authorities.iter().map(|authority| authority.anchor.clone()).collect();
        check_chain(leaf, &others, &anchors, unix_time).map_err(chain_error)?;
        // Only a key that somebody vouches for is worth computing with.
        let key = certificate.key().map_err(|error| match error {
            KeyError::Unknown => SignatureError::WrongKey,
            KeyError::RsaBits(bits) => SignatureError::RsaBits(bits),
        })?;
        if key.method() != self.method() {
            return Err(SignatureError::WrongKey);
        }
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::testing::{Seeded, vector_octets};
    use crate::{certificates_from_pem, private_key_from_pem};
    use proptest::prelude::*;

    /// 2027-01-15, when most of the certificates are valid.
    pub(crate) const NOW: Duration = Duration::from_secs(1_800_000_000);
    const HASH: [u8; 32] = [0x42; 32];

    fn pem(name: &str) -> Vec<u8> {
        vector_octets(&format!("certificates/{name}"))
    }

    fn certificates(name: &str) -> Vec<Vec<u8>> {
        certificates_from_pem(&pem(&format!("{name}.pem"))).unwrap()
    }

    fn key(name: &str) -> Secret {
        private_key_from_pem(&pem(&format!("{name}.key"))).unwrap()
    }

    fn authority(name: &str) -> &'static str {
        if name.starts_with("rsa-") { "rsa-authority" } else { "authority" }
    }

    /// The credentials of one of the vectors.
    pub(crate) fn credentials(name: &str) -> Credentials {
        let chain = if name == "chained" { "chained-bundle" } else { name };
        Credentials::new(certificates(chain), key(name), certificates(authority(name))).unwrap()
    }

    fn id(text: &str) -> Vec<u8> {
        Identification::of_identity(&text.parse().unwrap()).encode()
    }

    /// What the right side says to a peer that sends `certificates` and signs with the key of `name`.
    fn judge(name: &str, certificates: &[Vec<u8>], identity: &[u8]) -> Result<Identity, SignatureError> {
        let signed = PrivateKey::decode(key(name).expose()).ok().unwrap();
        let signature = signed.sign(&HASH, &mut Seeded::new(1)).unwrap();
        let bodies: Vec<Vec<u8>> =
            certificates.iter().map(|der| [&[X509_SIGNATURE], &der[..]].concat()).collect();
        let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let judge = credentials(if name.starts_with("rsa-") { "rsa-right" } else { "p256-right" });
        judge.verify(NOW, identity, &bodies, &HASH, &signature)
    }

    fn verdict(name: &str) -> Result<Identity, SignatureError> {
        judge(name, &certificates(name), &id("left.test"))
    }

    #[test]
    fn both_sides_believe_each_other_with_every_kind_of_key() {
        for kind in ["rsa", "p256", "p384", "p521"] {
            let (left, right) = (credentials(&format!("{kind}-left")), credentials(&format!("{kind}-right")));
            for (own, peer, name) in [(&left, &right, "left.test"), (&right, &left, "right.test")] {
                assert_eq!(own.method(), peer.method());
                let signature = own.sign(&HASH, &mut Seeded::new(1)).unwrap();
                let bodies = own.certificate_payloads();
                let bodies: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
                let verify =
                    |hash: &[u8], signature: &[u8]| peer.verify(NOW, &id(name), &bodies, hash, signature);
                assert_eq!(verify(&HASH, &signature), Ok(name.parse().unwrap()), "{kind}");
                assert!(own.names(&name.parse().unwrap()) && !peer.names(&name.parse().unwrap()));
                let mut tampered = signature.clone();
                tampered[10] ^= 1;
                assert_eq!(verify(&HASH, &tampered), Err(SignatureError::BadSignature), "{kind}");
                assert_eq!(verify(&[0; 32], &signature), Err(SignatureError::BadSignature), "{kind}");
            }
        }
    }

    #[test]
    fn a_certificate_is_believed_only_in_its_time() {
        assert_eq!(verdict("expired"), Err(SignatureError::Expired));
        assert_eq!(verdict("future"), Err(SignatureError::NotYetValid));
        assert!(verdict("p256-left").is_ok());
    }

    #[test]
    fn only_an_authority_of_ours_makes_a_certificate_believable() {
        assert_eq!(verdict("stranger"), Err(SignatureError::UnknownAuthority));
        assert_eq!(verdict("self-signed"), Err(SignatureError::UnknownAuthority));
        // The other authority sent along makes itself no authority of ours.
        let sent = [certificates("stranger"), certificates("other-authority")].concat();
        assert_eq!(judge("stranger", &sent, &id("left.test")), Err(SignatureError::UnknownAuthority));
    }

    #[test]
    fn an_intermediate_leads_to_the_authority_in_any_order() {
        let bundle = certificates("chained-bundle");
        let reversed: Vec<Vec<u8>> = bundle.iter().rev().cloned().collect();
        assert!(judge("chained", &bundle, &id("left.test")).is_ok());
        assert!(judge("chained", &reversed, &id("left.test")).is_ok());
        assert_eq!(verdict("chained"), Err(SignatureError::UnknownAuthority));
    }

    #[test] // F-22
    fn the_identity_is_one_that_the_certificate_names() {
        let sent = certificates("many-names");
        for text in ["left.test", "second.test", "alice@left.test", "192.0.2.1", "2001:db8::1"] {
            assert_eq!(judge("many-names", &sent, &id(text)), Ok(text.parse().unwrap()), "{text}");
        }
        let subject = credentials("many-names").subject().unwrap();
        let body = Identification::of_identity(&subject).encode();
        assert_eq!(judge("many-names", &sent, &body), Ok(subject));
        for text in [
            "right.test",
            "LEFT.test",
            "left.test.",
            "eft.test",
            "alice@second.test",
            "192.0.2.2",
            "2001:db8::2",
            "keyid:6c6566742e74657374",
            "dn:30143112301006035504030c096c6566742e74657374",
        ] {
            let refused = Err(SignatureError::WrongName(text.parse().unwrap()));
            assert_eq!(judge("many-names", &sent, &id(text)), refused, "{text}");
        }
        // A common name is no name, and a subnet is nobody.
        let refused = Err(SignatureError::WrongName("left.test".parse().unwrap()));
        assert_eq!(judge("no-names", &certificates("no-names"), &id("left.test")), refused);
        let subnet = [4, 0, 0, 0, 192, 0, 2, 1, 255, 255, 255, 255];
        assert_eq!(judge("many-names", &sent, &subnet), Err(SignatureError::UnknownIdentity));
    }

    #[test] // F-22
    fn a_wildcard_names_nobody() {
        let sent = certificates("wildcard");
        for name in ["a.left.test", "*.left.test"] {
            let identity = Identity::Fqdn(name.to_owned());
            let body = Identification::of_identity(&identity).encode();
            assert_eq!(judge("wildcard", &sent, &body), Err(SignatureError::WrongName(identity)), "{name}");
        }
    }

    #[test]
    fn a_certificate_for_something_else_is_refused() {
        assert_eq!(verdict("for-servers"), Err(SignatureError::NotForIke));
        assert_eq!(verdict("for-encryption"), Err(SignatureError::KeyUsage));
        assert!(verdict("for-ike").is_ok() && verdict("for-anything").is_ok());
        let other = judge("p384-left", &certificates("p384-left"), &id("left.test"));
        assert_eq!(other, Err(SignatureError::WrongKey));
    }

    #[test]
    fn an_rsa_key_of_1024_bits_is_refused() {
        let anchors = [certificates("rsa-authority"), certificates("authority")].concat();
        let judge = Credentials::new(certificates("rsa-right"), key("rsa-right"), anchors).unwrap();
        let body = [&[X509_SIGNATURE], &certificates("rsa-1024")[0][..]].concat();
        let refused = judge.verify(NOW, &id("left.test"), &[&body], &HASH, &[1; 128]);
        assert_eq!(refused, Err(SignatureError::RsaBits(1024)));
        let own = Credentials::new(certificates("rsa-1024"), key("rsa-1024"), certificates("authority"));
        assert_eq!(own.err(), Some(CredentialsError::RsaBits(1024)));
    }

    #[test]
    fn a_signature_needs_a_certificate_that_can_be_read() {
        let judge = credentials("p256-right");
        let verify = |bodies: &[&[u8]]| judge.verify(NOW, &id("left.test"), bodies, &HASH, &[1; 64]);
        let own = [&[X509_SIGNATURE], &certificates("p256-left")[0][..]].concat();
        assert_eq!(verify(&[]), Err(SignatureError::NoCertificate));
        // Another encoding is another thing, whatever follows.
        assert_eq!(verify(&[&[&[1], &own[1..]].concat(), &[]]), Err(SignatureError::NoCertificate));
        assert_eq!(verify(&[&own[..own.len() - 1]]), Err(SignatureError::DamagedCertificate));
        assert_eq!(verify(&[&[&own[..], &[0]].concat()]), Err(SignatureError::DamagedCertificate));
        assert_eq!(verify(&[&own[..]; CERTIFICATES_MAX + 1]), Err(SignatureError::TooManyCertificates));
        assert_eq!(verify(&[&own]), Err(SignatureError::BadSignature));
    }

    #[test]
    fn what_is_wrong_with_our_own_files_is_said() {
        let new = |chain: Vec<Vec<u8>>, key: Secret, authorities: Vec<Vec<u8>>| {
            Credentials::new(chain, key, authorities).err()
        };
        let (chain, authorities) = (|| certificates("p256-left"), || certificates("authority"));
        let left = || key("p256-left");
        assert_eq!(new(chain(), left(), authorities()), None);
        assert_eq!(new(chain(), key("p256-left.sec1"), authorities()), None);
        assert_eq!(new(certificates("rsa-left"), key("rsa-left.pkcs1"), authorities()), None);
        for other in ["p256-right", "p384-left", "rsa-left"] {
            assert_eq!(new(chain(), key(other), authorities()), Some(CredentialsError::Mismatch), "{other}");
        }
        assert_eq!(new(vec![], left(), authorities()), Some(CredentialsError::NoCertificate));
        assert_eq!(new(chain(), left(), vec![]), Some(CredentialsError::NoAuthority));
        assert_eq!(new(vec![vec![1]], left(), authorities()), Some(CredentialsError::Certificate(1)));
        let damaged = [chain(), vec![vec![1]]].concat();
        assert_eq!(new(damaged, left(), authorities()), Some(CredentialsError::Certificate(2)));
        let long = (0..=CERTIFICATES_MAX).flat_map(|_| chain()).collect();
        assert_eq!(new(long, left(), authorities()), Some(CredentialsError::ChainTooLong));
        assert_eq!(new(chain(), Secret::new(vec![0x30]), authorities()), Some(CredentialsError::Key));
        let unread = new(chain(), left(), [authorities(), vec![vec![1]]].concat());
        assert!(matches!(unread, Some(CredentialsError::Authority(2, _))));
        let usage = new(certificates("for-encryption"), key("for-encryption"), authorities());
        assert_eq!(usage, Some(CredentialsError::KeyUsage));
    }

    #[test]
    fn requests_name_the_authorities_and_certificates_are_sent_whole() {
        let own = credentials("p256-left");
        let subject = Certificate::decode(&certificates("authority")[0]).unwrap().subject().to_vec();
        assert_eq!(own.request_payloads(), [[&[4][..], &subject].concat()]);
        assert_eq!(own.certificate_payloads(), [[&[4][..], &certificates("p256-left")[0]].concat()]);
    }

    #[test]
    fn the_same_files_give_the_same_credentials() {
        let same = |one: &str, other: &str| credentials(one).is_same(&credentials(other));
        assert!(same("p256-left", "p256-left"));
        assert!(!same("p256-left", "p256-right"));
        let own = Credentials::new(
            certificates("p256-left"),
            key("p256-left"),
            [certificates("authority"), certificates("other-authority")].concat(),
        );
        assert!(!own.unwrap().is_same(&credentials("p256-left")));
    }

    proptest! {
        #[test] // F-36
        fn no_damaged_certificate_panics_or_is_believed(
            is_rsa: bool, changes in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..4), cut: Option<prop::sample::Index>
        ) {
            let (own, judge) = if is_rsa { ("rsa-left", "rsa-right") } else { ("p256-left", "p256-right") };
            let intact = certificates(own).remove(0);
            let mut der = intact.clone();
            for (at, change) in changes {
                let at = at.index(der.len());
                der[at] ^= change;
            }
            if let Some(cut) = cut {
                der.truncate(cut.index(der.len()));
            }
            prop_assume!(der != intact);
            if let Some(certificate) = Certificate::decode(&der) {
                let _ = (certificate.may_sign(), certificate.key().map(|key| key.verifies(&HASH, &[1; 256])));
            }
            let signature = credentials(own).sign(&HASH, &mut Seeded::new(1)).unwrap();
            let body = [&[X509_SIGNATURE], &der[..]].concat();
            let verdict = credentials(judge).verify(NOW, &id("left.test"), &[&body], &HASH, &signature);
            prop_assert!(verdict.is_err(), "{verdict:?}");
        }
    }
}
