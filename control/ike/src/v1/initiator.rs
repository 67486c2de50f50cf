//! Main mode as initiator: three states, each named for what it waits for.

use super::isakmp_sa::IsakmpSa;
use super::main_mode::{Authentic, Half, PeerHalf, Secured, Setup, Vendors, sa_message};
use super::nat::Nat;
use super::phase_one;
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
        let sa = phase_one::offer(&config.proposals, config.lifetime);
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
        let agreed = phase_one::accept(&self.config.proposals, self.config.lifetime, answer.body)?;
        let mut vendors = Vendors::of(body);
        vendors.nat_traversal &= self.config.nat_traversal != NatTraversal::Off;
        let setup = Setup {
            config: Arc::clone(&self.config),
            cookies: Cookies { initiator: self.cookie, responder: header.cookie_r },
            agreed,
            sa: self.sa.clone(),
            vendors,
        };
        let half = Half::generate(&setup, entropy);
        let message = half.message(&setup, path);
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
    ) -> Result<(ExpectAuth, Vec<u8>), Discard> {
        let peer = PeerHalf::of(body)?;
        let setup = Setup { config: Arc::clone(&self.setup.config), sa: self.setup.sa.clone(), ..self.setup };
        let mut secured = Secured::new(setup, Role::Initiator, &self.half, &peer, path)?;
        let message = secured.auth_message(Role::Initiator, initial_contact);
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

    /// Decryption and HASH_R. Refusing costs nothing and moves nothing.
    pub(crate) fn open(&self, header: &Header, datagram: &[u8]) -> Result<Authentic, Discard> {
        self.secured.open(Role::Responder, header, datagram)
    }

    /// Consumes the state: the peer knows the secret, and is whom we wanted or nobody. On refusal gives who it
    /// said it is.
    pub(crate) fn handle(mut self, authentic: Authentic) -> Result<IsakmpSa, Option<Identity>> {
        self.secured.accept(&authentic);
        match authentic.identity {
            Some(identity) if self.secured.setup.config.remote_identity.accepts(&identity) => {
                Ok(self.secured.into_sa(Role::Initiator, identity))
            }
            other => Err(other),
        }
    }
}
