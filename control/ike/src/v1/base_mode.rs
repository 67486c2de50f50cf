//! Base mode (draft-ietf-ipsec-ike-base-mode, REQUIREMENTS A1), both roles: identities travel in clear, and nobody
//! computes for an address that is not proved.
//!
//! ```text
//! 1  I -> R  SA, ID, NONCE, VID          3  I -> R  KE, HASH_I | [CERT] SIG_I, NAT-D, NAT-D
//! 2  I <- R  SA, ID, NONCE, [CR], VID    4  I <- R  KE, HASH_R | [CERT] SIG_R, NAT-D, NAT-D
//! ```
//!
//! The responder verifies HASH_I before it computes anything, and shows HASH_R to nobody else (REQUIREMENTS F-1).
//! Nothing is encrypted, so that no notify is believed.

use super::isakmp_sa::IsakmpSa;
use super::main_mode::header;
use super::method::method;
use super::proof::{self, Judges, Proved, Unproved};
use super::secured::{Half, PeerHalf, Secured, Setup, identity_of, own_identity};
use super::vendors::{self, Vendors};
use super::{phase_one, responder};
use crate::crypto::{BaseKey, Cookies, KeyExchange, Wiped};
use crate::limits::NONCE_OCTETS;
use crate::wire::{Body, Chain, ExchangeType, Header, PayloadType};
use crate::{Authentication, Discard, Entropy, NatTraversal, Path, PeerConfig, Role};
use std::sync::Arc;
use warren_policy::Identity;

/// The key of HASH_I, which both sides have before any Diffie-Hellman exchange.
fn base_key(setup: &Setup, nonces: (&[u8], &[u8])) -> BaseKey {
    let hash = setup.agreed.proposal.hash;
    match &setup.config.authentication {
        Authentication::PreSharedKey(secret) => BaseKey::from_secret(hash, secret.expose(), nonces),
        Authentication::Signature(_) => BaseKey::from_nonces(hash, nonces),
    }
}

/// HASH_R is the ordinary one with a pre-shared key; with signatures it has a key and an input of its own.
fn responder_hash(secured: &Secured, nonces: (&[u8], &[u8]), identities: (&[u8], &[u8])) -> Wiped {
    match &secured.setup.config.authentication {
        Authentication::PreSharedKey(_) => secured.hash(Role::Responder, identities.1),
        Authentication::Signature(_) => {
            base_key(&secured.setup, nonces).signed_hash_r(&secured.parts(), identities.0)
        }
    }
}

/// Messages 1 and 2.
fn opening(config: &PeerConfig, sa: &[u8], nonce: &[u8], nat_traversal: bool) -> Chain {
    let mut chain = Chain::new()
        .with(PayloadType::SA, sa)
        .with(PayloadType::IDENTIFICATION, &own_identity(config))
        .with(PayloadType::NONCE, nonce);
    vendors::push(&mut chain, config, nat_traversal);
    chain
}

/// As initiator, message 1 is out.
pub(crate) struct ExpectSa {
    config: Arc<PeerConfig>,
    cookie: [u8; 8],
    sa: Vec<u8>,
    nonce: Vec<u8>,
}

impl ExpectSa {
    /// A new negotiation and its first message.
    pub(crate) fn begin(
        config: Arc<PeerConfig>,
        cookie: [u8; 8],
        entropy: &mut dyn Entropy,
    ) -> (Self, Vec<u8>) {
        let sa = phase_one::offer(&config.proposals, method(&config, Role::Initiator), config.lifetime);
        let nonce = entropy.octets::<NONCE_OCTETS>().to_vec();
        let cookies = Cookies { initiator: cookie, responder: [0; 8] };
        let nat_traversal = config.nat_traversal != NatTraversal::Off;
        let chain = opening(&config, &sa, &nonce, nat_traversal);
        let message = header(cookies, ExchangeType::BASE, 0).encode(&chain);
        (Self { config, cookie, sa, nonce }, message)
    }

    /// Message 2 to message 3. Nobody proved anything yet, so this state stays if the message is no good.
    pub(crate) fn handle(
        &self,
        received: &Header,
        body: &Body<'_>,
        path: Path,
        entropy: &mut dyn Entropy,
    ) -> Result<(ExpectLast, Vec<u8>), Discard> {
        let config = &self.config;
        let one = |kind| body.first(kind).map(|payload| payload.body).ok_or(Discard::MissingPayload);
        let number = method(config, Role::Initiator);
        let agreed = phase_one::accept(&config.proposals, number, config.lifetime, one(PayloadType::SA)?)?;
        let (peer_nonce, peer_identity) = (one(PayloadType::NONCE)?.to_vec(), identity_of(body)?.to_vec());
        let cookies = Cookies { initiator: self.cookie, responder: received.cookie_r };
        let setup = Setup {
            config: Arc::clone(config),
            cookies,
            agreed,
            sa: self.sa.clone(),
            vendors: Vendors::of(body).for_config(config),
        };
        let exchange = KeyExchange::generate(agreed.proposal.group, entropy);
        let key = base_key(&setup, (&self.nonce, &peer_nonce));
        let hash = key.hash_i(exchange.public(), cookies, &self.sa, &own_identity(config));
        let mut chain = Chain::new().with(PayloadType::KEY_EXCHANGE, exchange.public());
        proof::push(&mut chain, config, &hash, entropy)?;
        setup.push_nat_d(&mut chain, path);
        let message = header(cookies, ExchangeType::BASE, 0).encode(&chain);
        let half = Half { exchange, nonce: self.nonce.clone() };
        Ok((ExpectLast { setup, half, peer_nonce, peer_identity }, message))
    }
}

/// As initiator, message 3 is out.
pub(crate) struct ExpectLast {
    setup: Setup,
    half: Half,
    peer_nonce: Vec<u8>,
    /// IDir_b.
    peer_identity: Vec<u8>,
}

impl ExpectLast {
    /// Message 4: keys, and the proof of who answered. Refusing costs nothing and moves nothing.
    pub(crate) fn open(
        &self,
        body: &Body<'_>,
        path: Path,
        judges: Judges<'_>,
    ) -> Result<(Secured, Proved), Unproved> {
        let peer = PeerHalf::with_nonce(body, &self.peer_nonce)?;
        let secured = Secured::new(self.setup.clone(), Role::Initiator, &self.half, &peer, path)?;
        let own = own_identity(&self.setup.config);
        let nonces = (&self.half.nonce[..], &self.peer_nonce[..]);
        let hash = responder_hash(&secured, nonces, (&own, &self.peer_identity));
        let authentication = &self.setup.config.authentication;
        let proved = judges.check(authentication, &self.peer_identity, body, &hash)?;
        Ok((secured, proved))
    }
}

/// As responder, message 2 is out.
pub(crate) struct ExpectProof {
    setup: Setup,
    /// IDii_b.
    identity: Box<[u8]>,
    nonces: (Box<[u8]>, Box<[u8]>),
}

impl ExpectProof {
    /// Message 1 to message 2: remembers what enters the hashes, computes nothing.
    pub(crate) fn answer(
        config: Arc<PeerConfig>,
        cookies: Cookies,
        body: &Body<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Vec<u8>), Discard> {
        let identity = identity_of(body)?;
        let nonce = body.first(PayloadType::NONCE).ok_or(Discard::MissingPayload)?.body;
        let (sa, agreed, answer) = responder::choose(&config, &config.proposals, body)?;
        let vendors = Vendors::of(body).for_config(&config);
        let own_nonce = entropy.octets::<NONCE_OCTETS>();
        let mut chain = opening(&config, &answer, &own_nonce, vendors.nat_traversal);
        proof::push_requests(&mut chain, &config);
        let message = header(cookies, ExchangeType::BASE, 0).encode(&chain);
        let setup = Setup { config, cookies, agreed, sa: sa.to_vec(), vendors };
        let nonces = (nonce.into(), own_nonce[..].into());
        Ok((Self { setup, identity: identity.into(), nonces }, message))
    }

    pub(crate) const fn setup(&self) -> &Setup {
        &self.setup
    }

    /// IDii_b.
    pub(crate) const fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// HASH_I or SIG_I of message 3, then whether its public value is one. Refusing costs nothing and moves nothing.
    pub(crate) fn open(&self, body: &Body<'_>, judges: Judges<'_>) -> Result<Proved, Unproved> {
        let public = body.first(PayloadType::KEY_EXCHANGE).ok_or(Discard::MissingPayload)?.body;
        let key = base_key(&self.setup, (&self.nonces.0, &self.nonces.1));
        let hash = key.hash_i(public, self.setup.cookies, &self.setup.sa, &self.identity);
        let proved = judges.check(&self.setup.config.authentication, &self.identity, body, &hash)?;
        if !PeerHalf::with_nonce(body, &self.nonces.0)?.fits(self.setup.agreed.proposal.group) {
            return Err(Discard::BadPublicValue.into());
        }
        Ok(proved)
    }

    /// Consumes the state: `config` is whose identity the peer proved. Gives the SA and message 4.
    pub(crate) fn handle(
        self,
        body: &Body<'_>,
        (config, identity): (Arc<PeerConfig>, Identity),
        path: Path,
        entropy: &mut dyn Entropy,
    ) -> Result<(IsakmpSa, Vec<u8>), Discard> {
        let peer = PeerHalf::with_nonce(body, &self.nonces.0)?;
        let exchange = KeyExchange::generate(self.setup.agreed.proposal.group, entropy);
        let half = Half { exchange, nonce: self.nonces.1.to_vec() };
        let cookies = self.setup.cookies;
        let mut secured = Secured::new(self.setup, Role::Responder, &half, &peer, path)?;
        let nonces = (&self.nonces.0[..], &self.nonces.1[..]);
        let own = own_identity(&secured.setup.config);
        let hash = responder_hash(&secured, nonces, (&self.identity, &own));
        let mut chain = Chain::new().with(PayloadType::KEY_EXCHANGE, half.exchange.public());
        proof::push(&mut chain, &secured.setup.config, &hash, entropy)?;
        secured.setup.push_nat_d(&mut chain, path);
        let message = header(cookies, ExchangeType::BASE, 0).encode(&chain);
        secured.adopt(config);
        Ok((secured.into_sa(Role::Responder, identity), message))
    }
}
