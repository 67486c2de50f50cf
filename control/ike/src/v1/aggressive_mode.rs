//! Aggressive mode (RFC 2409 §5), both roles: identities travel in clear, three messages do.
//!
//! ```text
//! 1  I -> R  SA, KE, NONCE, ID, [CR], VID
//! 2  I <- R  SA, KE, NONCE, ID, HASH_R | [CERT] SIG_R, [CR], VID, NAT-D, NAT-D
//! 3  I -> R  { HASH_I | [CERT] SIG_I, NAT-D, NAT-D, [INITIAL-CONTACT] }
//! ```
//!
//! Message 2 is computed for anybody who asks (REQUIREMENTS F-1, F-5): it is rationed, and whoever asks under an
//! identity that we do not know gets one of the same form.

use super::isakmp_sa::IsakmpSa;
use super::main_mode::header;
use super::method::method;
use super::nat::Nat;
use super::proof::{self, Judges, Proved, Unproved};
use super::secured::{Authentic, Half, PeerHalf, Secured, Setup, identity_of, nat_d, own_identity};
use super::vendors::{self, Vendors};
use super::{phase_one, responder};
use crate::crypto::{Cookies, public_octets};
use crate::wire::{Body, Chain, ExchangeType, Header, PayloadType};
use crate::{Discard, Entropy, NatTraversal, Path, PeerConfig, Role};
use std::sync::Arc;
use warren_policy::{Group, Identity, IkeProposal};

/// As initiator, message 1 is out.
pub(crate) struct ExpectAnswer {
    config: Arc<PeerConfig>,
    cookie: [u8; 8],
    proposals: Vec<IkeProposal>,
    sa: Vec<u8>,
    half: Half,
}

impl ExpectAnswer {
    /// A new negotiation and its first message. `None` without a proposal.
    pub(crate) fn begin(
        config: Arc<PeerConfig>,
        cookie: [u8; 8],
        entropy: &mut dyn Entropy,
    ) -> Option<(Self, Vec<u8>)> {
        let proposals = phase_one::of_one_group(&config.proposals);
        let half = Half::generate(proposals.first()?.group, entropy);
        let sa = phase_one::offer(&proposals, method(&config, Role::Initiator), config.lifetime);
        let mut chain = Chain::new()
            .with(PayloadType::SA, &sa)
            .with(PayloadType::KEY_EXCHANGE, half.exchange.public())
            .with(PayloadType::NONCE, &half.nonce)
            .with(PayloadType::IDENTIFICATION, &own_identity(&config));
        proof::push_requests(&mut chain, &config);
        vendors::push(&mut chain, &config, config.nat_traversal != NatTraversal::Off);
        let cookies = Cookies { initiator: cookie, responder: [0; 8] };
        let message = header(cookies, ExchangeType::AGGRESSIVE, 0).encode(&chain);
        Some((Self { config, cookie, proposals, sa, half }, message))
    }

    /// Message 2: keys, and the proof of who answered. Refusing costs nothing and moves nothing.
    pub(crate) fn open(
        &self,
        header: &Header,
        body: &Body<'_>,
        path: Path,
        judges: Judges<'_>,
    ) -> Result<Answer, Unproved> {
        let config = &self.config;
        let answer = body.first(PayloadType::SA).ok_or(Discard::MissingPayload)?;
        let number = method(config, Role::Initiator);
        let agreed = phase_one::accept(&self.proposals, number, config.lifetime, answer.body)?;
        let (peer, identity) = (PeerHalf::of(body)?, identity_of(body)?);
        let setup = Setup {
            config: Arc::clone(config),
            cookies: Cookies { initiator: self.cookie, responder: header.cookie_r },
            agreed,
            sa: self.sa.clone(),
            vendors: Vendors::of(body).for_config(config),
        };
        let secured = Secured::new(setup, Role::Initiator, &self.half, &peer, path)?;
        let hash = secured.hash(Role::Responder, identity);
        let proved = judges.check(&config.authentication, identity, body, &hash)?;
        // What else the message says is not covered by the proof: it is not looked at.
        Ok(Answer { secured, proved })
    }
}

/// An authentic message 2.
pub(crate) struct Answer {
    secured: Secured,
    proved: Proved,
}

impl Answer {
    pub(crate) const fn nat(&self) -> Nat {
        self.secured.nat
    }

    /// The SA and message 3, which goes along `path`; who the peer said it is where that is not whom we wanted.
    pub(crate) fn handle(
        mut self,
        path: Path,
        initial_contact: bool,
        entropy: &mut dyn Entropy,
    ) -> Result<(IsakmpSa, Vec<u8>), Refused> {
        let identity = match (self.proved.identity, self.proved.config) {
            (Some(identity), Some(_)) => identity,
            (other, _) => return Err(Refused::Identity(other)),
        };
        let setup = &self.secured.setup;
        let hash = self.secured.hash(Role::Initiator, &own_identity(&setup.config));
        let mut chain = Chain::new();
        proof::push(&mut chain, &setup.config, &hash, entropy).map_err(Refused::Discard)?;
        setup.push_nat_d(&mut chain, path);
        if initial_contact {
            self.secured.push_initial_contact(&mut chain);
        }
        let message = self.secured.seal(ExchangeType::AGGRESSIVE, &chain);
        Ok((self.secured.into_sa(Role::Initiator, identity), message))
    }
}

/// Why an authentic answer leads to no SA.
pub(crate) enum Refused {
    /// It is somebody else's.
    Identity(Option<Identity>),
    /// Ours, not the peer's fault.
    Discard(Discard),
}

/// Message 1 as responder, worth the work of message 2.
pub(crate) struct Opening<'a> {
    sa: &'a [u8],
    agreed: phase_one::Agreed,
    answer: Vec<u8>,
    peer: PeerHalf<'a>,
    identity: &'a [u8],
}

impl<'a> Opening<'a> {
    /// Chooses, and checks everything that can be checked without work.
    pub(crate) fn of(config: &PeerConfig, body: &Body<'a>) -> Result<Self, Discard> {
        let (peer, identity) = (PeerHalf::of(body)?, identity_of(body)?);
        // The public value says which group the initiator has chosen, whatever else its transforms offer.
        let octets = peer.public.len();
        let proposals: Vec<IkeProposal> =
            config.proposals.iter().filter(|own| public_octets(own.group) == octets).copied().collect();
        let (sa, agreed, answer) = responder::choose(config, &proposals, body)?;
        if !peer.fits(agreed.proposal.group) {
            return Err(Discard::BadPublicValue);
        }
        Ok(Self { sa, agreed, answer, peer, identity })
    }

    pub(crate) const fn group(&self) -> Group {
        self.agreed.proposal.group
    }
}

/// As responder, message 2 is out.
pub(crate) struct ExpectProof {
    secured: Secured,
    /// IDii_b.
    identity: Box<[u8]>,
}

impl ExpectProof {
    /// Message 1 to message 2.
    pub(crate) fn begin(
        config: Arc<PeerConfig>,
        (path, cookies): (Path, Cookies),
        opening: &Opening<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Vec<u8>), Discard> {
        let half = Half::generate(opening.agreed.proposal.group, entropy);
        let vendors = opening.peer.vendors.for_config(&config);
        let (agreed, sa) = (opening.agreed, opening.sa.to_vec());
        let setup = Setup { config, cookies, agreed, sa, vendors };
        let secured = Secured::new(setup, Role::Responder, &half, &opening.peer, path)?;
        let setup = &secured.setup;
        let identity = own_identity(&setup.config);
        let mut chain = Chain::new()
            .with(PayloadType::SA, &opening.answer)
            .with(PayloadType::KEY_EXCHANGE, half.exchange.public())
            .with(PayloadType::NONCE, &half.nonce)
            .with(PayloadType::IDENTIFICATION, &identity);
        proof::push(&mut chain, &setup.config, &secured.hash(Role::Responder, &identity), entropy)?;
        proof::push_requests(&mut chain, &setup.config);
        vendors::push(&mut chain, &setup.config, setup.vendors.nat_traversal);
        setup.push_nat_d(&mut chain, path);
        let message = header(cookies, ExchangeType::AGGRESSIVE, 0).encode(&chain);
        Ok((Self { secured, identity: opening.identity.into() }, message))
    }

    pub(crate) const fn setup(&self) -> &Setup {
        &self.secured.setup
    }

    /// IDii_b.
    pub(crate) const fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// HASH_I as it must come.
    #[cfg(test)]
    pub(crate) fn expected(&self) -> crate::crypto::Wiped {
        self.secured.hash(Role::Initiator, &self.identity)
    }

    /// Message 3, encrypted or, as some peers send it, in clear. Refusing costs nothing and moves nothing.
    pub(crate) fn open(
        &self,
        (received, datagram): (&Header, &[u8]),
        path: Path,
        judges: Judges<'_>,
    ) -> Result<(Authentic, Nat), Unproved> {
        let authentication = &self.secured.setup.config.authentication;
        let hash = self.secured.hash(Role::Initiator, &self.identity);
        let is_encrypted = received.is_encrypted();
        let (plain, iv);
        let body = if is_encrypted {
            (plain, iv) = self.secured.decrypt(received, datagram)?;
            Body::decode(received.next_payload, &plain).map_err(|_| Discard::Undecryptable)?
        } else {
            iv = self.secured.iv;
            let (_, body) = Header::decode(datagram).map_err(|_| Discard::Malformed)?;
            Body::decode(received.next_payload, body).map_err(|_| Discard::Malformed)?
        };
        let proved = judges.check(authentication, &self.identity, &body, &hash)?;
        let mut authentic = self.secured.authentic(proved, &body, iv)?;
        if !is_encrypted {
            // The proof covers no notify, and here nothing else does (REQUIREMENTS F-3).
            authentic.initial_contact = false;
            authentic.lifetime_s = None;
        }
        Ok((authentic, self.secured.setup.detect_nat(path, &nat_d(&body))))
    }

    /// Consumes the state: `config` is whose identity the peer proved.
    pub(crate) fn handle(
        mut self,
        (authentic, nat): (&Authentic, Nat),
        (config, identity): (Arc<PeerConfig>, Identity),
        path: Path,
    ) -> IsakmpSa {
        self.secured.accept(authentic);
        self.secured.nat = nat;
        self.secured.settle_nat(path);
        self.secured.adopt(config);
        self.secured.into_sa(Role::Responder, identity)
    }
}
