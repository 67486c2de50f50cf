//! One X.509 certificate: whose key it is, what it may sign, and whether an authority of ours stands behind it
//! (RFC 5280, as RFC 4945 §5 uses it).

use crate::crypto::{Curve, KeyError, PublicKey};
use rustls_pki_types::{CertificateDer, TrustAnchor, UnixTime};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::Identity;
use webpki::{
    EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeId, KeyPurposeIdIter, KeyUsage,
    RequiredEkuNotFoundContext,
};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry;
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// id-kp-ipsecIKE (RFC 4945 §5.1.3.12).
const FOR_IKE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 17];
/// anyExtendedKeyUsage (RFC 5280 §4.2.1.12).
const FOR_ANYTHING: &[u8] = &[0x55, 0x1d, 0x25, 0];

/// A certificate that could be read. That says nothing about who made it.
pub(crate) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    /// `None` for what is no X.509 certificate, or one with something behind it.
    pub(crate) fn decode(der: &'a [u8]) -> Option<Self> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Some(Self(certificate)),
            _ => None,
        }
    }

    /// The DER of its subject's name.
    pub(crate) fn subject(&self) -> &'a [u8] {
        self.0.tbs_certificate.subject.as_raw()
    }

    /// Its public key.
    pub(crate) fn key(&self) -> Result<PublicKey, KeyError> {
        let key = self.0.public_key();
        let octets = &key.subject_public_key.data;
        if key.algorithm.algorithm == oid_registry::OID_PKCS1_RSAENCRYPTION {
            return PublicKey::rsa(octets);
        }
        PublicKey::ecdsa(curve(key).ok_or(KeyError::Unknown)?, octets)
    }

    /// Whether a key usage, if there is one, lets it sign (RFC 4945 §5.1.3.2).
    pub(crate) fn may_sign(&self) -> bool {
        match self.0.key_usage() {
            Ok(usage) => {
                usage.is_none_or(|usage| usage.value.digital_signature() || usage.value.non_repudiation())
            }
            Err(_) => false,
        }
    }

    /// Whether it names that identity, octet for octet (REQUIREMENTS F-22): a wildcard names nobody.
    pub(crate) fn names(&self, identity: &Identity) -> bool {
        let Ok(extension) = self.0.subject_alternative_name() else { return false };
        let names = extension.as_ref().map_or(&[][..], |extension| &extension.value.general_names);
        let address = |own: IpAddr| {
            let own = match own {
                IpAddr::V4(own) => own.octets().to_vec(),
                IpAddr::V6(own) => own.octets().to_vec(),
            };
            names.iter().any(|name| matches!(name, GeneralName::IPAddress(octets) if *octets == own))
        };
        match identity {
            Identity::Dn(der) => self.subject() == &der[..],
            Identity::Ipv4(own) => address((*own).into()),
            Identity::Ipv6(own) => address((*own).into()),
            Identity::Fqdn(own) => {
                !own.contains('*')
                    && names.iter().any(|name| matches!(name, GeneralName::DNSName(name) if name == own))
            }
            Identity::UserFqdn(own) => {
                names.iter().any(|name| matches!(name, GeneralName::RFC822Name(name) if name == own))
            }
            Identity::KeyId(_) => false,
        }
    }
}

fn curve(key: &SubjectPublicKeyInfo<'_>) -> Option<Curve> {
    if key.algorithm.algorithm != oid_registry::OID_KEY_TYPE_EC_PUBLIC_KEY {
        return None;
    }
    let named = key.algorithm.parameters.as_ref()?.as_oid().ok()?;
    let curves = [
        (oid_registry::OID_EC_P256, Curve::P256),
        (oid_registry::OID_NIST_EC_P384, Curve::P384),
        (oid_registry::OID_NIST_EC_P521, Curve::P521),
    ];
    curves.into_iter().find(|(oid, _)| *oid == named).map(|(_, curve)| curve)
}

/// An authority as the anchor of chains, of which only name, key and constraints are kept.
pub(crate) fn anchor(der: &[u8]) -> Result<TrustAnchor<'static>, webpki::Error> {
    webpki::anchor_from_trusted_cert(&CertificateDer::from(der)).map(|anchor| anchor.to_owned())
}

/// Whether a chain leads from `leaf` over some of `others` to one of `anchors`, every link of it valid now.
pub(crate) fn check_chain(
    leaf: &[u8],
    others: &[&[u8]],
    anchors: &[TrustAnchor<'_>],
    unix_time: Duration,
) -> Result<(), webpki::Error> {
    let leaf = CertificateDer::from(leaf);
    let others: Vec<_> = others.iter().map(|der| CertificateDer::from(*der)).collect();
    let leaf = EndEntityCert::try_from(&leaf)?;
    let time = UnixTime::since_unix_epoch(unix_time);
    leaf.verify_for_usage(webpki::ALL_VERIFICATION_ALGS, anchors, &others, time, ForIke, None, None)?;
    Ok(())
}

/// A certificate without extended key usage may do everything; one with it must be meant for IKE or for anything.
struct ForIke;

impl ExtendedKeyUsageValidator for ForIke {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        let mut is_restricted = false;
        for purpose in purposes {
            let purpose = purpose?;
            if [FOR_IKE, FOR_ANYTHING].map(KeyPurposeId::new).contains(&purpose) {
                return Ok(());
            }
            is_restricted = true;
        }
        if !is_restricted {
            return Ok(());
        }
        let required = KeyUsage::required_if_present(FOR_IKE);
        let context = RequiredEkuNotFoundContext { required, present: Vec::new() };
        Err(webpki::Error::RequiredEkuNotFoundContext(context))
    }
}
