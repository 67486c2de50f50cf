//! Main mode as initiator: three states, each named for what it waits for.

use super::isakmp_sa::IsakmpSa;
use super::main_mode::{key_message, sa_message};
use super::method::method;
use super::nat::Nat;
use super::phase_one;
use super::proof::{Judges, Unproved};
use super::secured::{Authentic, Half, PeerHalf, Secured, Setup};
use super::vendors::Vendors;
use crate::crypto::Cookies;
use crate::wire::{Body, Header, PayloadType};
use crate::{Discard, Entropy, NatTraversal, Path, PeerConfig, Role};
use std::sync::Arc;
use warren_policy::Identity;

/// Message 1 is out.
pub(crate) struct ExpectSa {
    config: Arc<PeerConfig>,
    cookie: [u8; 8],
    sa: Vec<u8>,
}

impl ExpectSa {
    /// A new negotiation and its first message.
    pub(crate) fn begin(config: Arc<PeerConfig>, cookie: [u8; 8]) -> (Self, Vec<u8>) {
        let sa = phase_one::offer(&config.proposals, method(&config, Role::Initiator), config.lifetime);
        let cookies = Cookies { initiator: cookie, responder: [0; 8] };
        let message = sa_message(&config, cookies, &sa, config.nat_traversal != NatTraversal::Off);
        (Self { config, cookie, sa }, message)
    }

    /// Message 2 to message 3. Nobody proved anything yet, so this state stays if the message is no good.
    pub(crate) fn handle(
        &self,
        header: &Header,
        body: &Body<'_>,
        path: Path,
        entropy: &mut dyn Entropy,
    ) -> Result<(ExpectKe, Vec<u8>), Discard> {
        let answer = body.first(PayloadType::SA).ok_or(Discard::MissingPayload)?;
        let config = &self.config;
        let number = method(config, Role::Initiator);
        let agreed = phase_one::accept(&config.proposals, number, config.lifetime, answer.body)?;
        let setup = Setup {
            config: Arc::clone(config),
            cookies: Cookies { initiator: self.cookie, responder: header.cookie_r },
            agreed,
            sa: self.sa.clone(),
            vendors: Vendors::of(body).for_config(config),
        };
        let half = Half::generate(setup.agreed.proposal.group, entropy);
        let message = key_message(&setup, &half, path);
        Ok((ExpectKe { setup, half }, message))
    }
}

/// Message 3 is out.
pub(crate) struct ExpectKe {
    setup: Setup,
    half: Half,
}

impl ExpectKe {
    /// Message 4 to message 5. Still unauthenticated: borrows.
    pub(crate) fn handle(
        &self,
        body: &Body<'_>,
        path: Path,
        initial_contact: bool,
        entropy: &mut dyn Entropy,
    ) -> Result<(ExpectAuth, Vec<u8>), Discard> {
        let peer = PeerHalf::of(body)?;
        let mut secured = Secured::new(self.setup.clone(), Role::Initiator, &self.half, &peer, path)?;
        let message = secured.auth_message(Role::Initiator, initial_contact, entropy)?;
        Ok((ExpectAuth { secured }, message))
    }
}

/// Message 5 is out.
pub(crate) struct ExpectAuth {
    secured: Secured,
}

impl ExpectAuth {
    pub(crate) const fn nat(&self) -> Nat {
        self.secured.nat
    }

    /// Decryption and the proof. Refusing costs nothing and moves nothing.
    pub(crate) fn open(
        &self,
        header: &Header,
        datagram: &[u8],
        judges: Judges<'_>,
    ) -> Result<Authentic, Unproved> {
        self.secured.open(Role::Responder, (header, datagram), judges)
    }

    /// Consumes the state: the peer knows the secret, and is whom we wanted or nobody. On refusal gives who it
    /// said it is.
    pub(crate) fn handle(mut self, authentic: Authentic) -> Result<IsakmpSa, Option<Identity>> {
        self.secured.accept(&authentic);
        match (authentic.proved.identity, authentic.proved.config) {
            (Some(identity), Some(_)) => Ok(self.secured.into_sa(Role::Initiator, identity)),
            (other, _) => Err(other),
        }
    }
}
