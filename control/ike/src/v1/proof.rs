//! How a side proves its identity in phase 1: HASH with a pre-shared key, or CERT and SIG (RFC 2409 §5.1, §5.4).

use crate::crypto::is_equal;
use crate::wire::{Body, Chain, Identification, PayloadType};
use crate::{Authentication, Discard, Entropy, PeerConfig, SignatureError};
use std::sync::Arc;
use std::time::Duration;
use warren_policy::Identity;

/// Adds the proof to a message of ours; `hash` is what our HASH must be.
pub(crate) fn push(
    chain: &mut Chain,
    config: &PeerConfig,
    hash: &[u8],
    entropy: &mut dyn Entropy,
) -> Result<(), Discard> {
    match &config.authentication {
        Authentication::PreSharedKey(_) => chain.push(PayloadType::HASH, hash),
        Authentication::Signature(credentials) => {
            let signature = credentials.sign(hash, entropy).map_err(|_| Discard::CannotSign)?;
            for certificate in credentials.certificate_payloads() {
                chain.push(PayloadType::CERTIFICATE, &certificate);
            }
            chain.push(PayloadType::SIGNATURE, &signature);
        }
    }
    Ok(())
}

/// Asks for the certificates that we believe.
pub(crate) fn push_requests(chain: &mut Chain, config: &PeerConfig) {
    if let Authentication::Signature(credentials) = &config.authentication {
        for request in credentials.request_payloads() {
            chain.push(PayloadType::CERTIFICATE_REQUEST, &request);
        }
    }
}

/// Who is asked whether they believe a proof, and when.
#[derive(Clone, Copy)]
pub(crate) struct Judges<'a> {
    /// Peers that it may be, those of an exact identity first; all with the same secret or the same certificate.
    pub(crate) configs: &'a [Arc<PeerConfig>],
    /// Certificates have a date.
    pub(crate) unix_time: Duration,
}

/// A proof that holds.
pub(crate) struct Proved {
    /// Who it is; `None` for an identity of a kind that we do not take.
    pub(crate) identity: Option<Identity>,
    /// Whose identity it is; `None` for nobody's.
    pub(crate) config: Option<Arc<PeerConfig>>,
}

/// A message without a proof that holds.
pub(crate) struct Unproved {
    pub(crate) discard: Discard,
    /// What is wrong with a signature or its certificates.
    pub(crate) reason: Option<SignatureError>,
}

impl From<Discard> for Unproved {
    fn from(discard: Discard) -> Self {
        Self { discard, reason: None }
    }
}

impl Judges<'_> {
    /// Verifies the proof in the peer's message. `identity` is the body of its Identification payload, `hash` what
    /// its HASH must be. Refusing costs nothing and moves nothing.
    pub(crate) fn check(
        &self,
        of: &Authentication,
        identity: &[u8],
        body: &Body<'_>,
        hash: &[u8],
    ) -> Result<Proved, Unproved> {
        let named = Identification::decode(identity).and_then(|identity| identity.identity()).ok();
        match of {
            Authentication::PreSharedKey(_) => {
                let theirs = body.first(PayloadType::HASH).ok_or(Discard::MissingPayload)?;
                if !is_equal(hash, theirs.body) {
                    return Err(Discard::BadHash.into());
                }
                let config = named.as_ref().and_then(|identity| {
                    self.configs.iter().find(|config| config.remote_identity.accepts(identity)).cloned()
                });
                Ok(Proved { identity: named, config })
            }
            Authentication::Signature(_) => self.check_signature(named.as_ref(), identity, body, hash),
        }
    }

    fn check_signature(
        &self,
        named: Option<&Identity>,
        identity: &[u8],
        body: &Body<'_>,
        hash: &[u8],
    ) -> Result<Proved, Unproved> {
        let signature = body.first(PayloadType::SIGNATURE).ok_or(Discard::MissingPayload)?.body;
        let certificates: Vec<&[u8]> =
            body.all(PayloadType::CERTIFICATE).map(|payload| payload.body).collect();
        let possible = |config: &&Arc<PeerConfig>| {
            named.is_some_and(|identity| config.remote_identity.accepts(identity))
        };
        // All have the same certificate and authorities, so that one verification speaks for them all.
        let judge = self.configs.iter().find(possible).ok_or(Discard::IdentityMismatch)?;
        let Authentication::Signature(credentials) = &judge.authentication else {
            return Err(Discard::IdentityMismatch.into());
        };
        let proved = credentials
            .verify(self.unix_time, identity, &certificates, hash, signature)
            .map_err(|reason| Unproved { discard: reason.discard(), reason: Some(reason) })?;
        let config = self.configs.iter().find(|config| config.remote_identity.accepts(&proved)).cloned();
        Ok(Proved { identity: Some(proved), config })
    }
}
