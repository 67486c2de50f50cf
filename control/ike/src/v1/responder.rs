//! Main mode as responder: a compact record after message 1, one state after message 3.

use super::isakmp_sa::IsakmpSa;
use super::main_mode::{key_message, sa_message};
use super::method::method;
use super::nat::Nat;
use super::phase_one;
use super::proof::{Judges, Unproved};
use super::secured::{Authentic, Half, PeerHalf, Secured, Setup};
use super::vendors::Vendors;
use crate::crypto::Cookies;
use crate::limits::SA_OCTETS_MAX;
use crate::wire::{Body, Header, PayloadType};
use crate::{Discard, Entropy, Path, PeerConfig, Role};
use std::sync::Arc;
use warren_policy::{Identity, IkeProposal};

/// The offer of a first message and our choice: SAi_b, what was agreed, and the body of the answering SA payload.
pub(crate) fn choose<'a>(
    config: &PeerConfig,
    proposals: &[IkeProposal],
    body: &Body<'a>,
) -> Result<(&'a [u8], phase_one::Agreed, Vec<u8>), Discard> {
    let sa = body.first(PayloadType::SA).ok_or(Discard::MissingPayload)?.body;
    if sa.len() > SA_OCTETS_MAX {
        return Err(Discard::Malformed);
    }
    let number = method(config, Role::Responder);
    let (agreed, answer) = phase_one::choose(proposals, number, config.lifetime, sa)?;
    Ok((sa, agreed, answer))
}

/// Message 2 is out.
pub(crate) struct ExpectKe {
    setup: Setup,
}

impl ExpectKe {
    /// Message 1 to message 2: chooses, and remembers no more than it must.
    pub(crate) fn answer(
        config: Arc<PeerConfig>,
        cookies: Cookies,
        body: &Body<'_>,
    ) -> Result<(Self, Vec<u8>), Discard> {
        let (sa, agreed, answer) = choose(&config, &config.proposals, body)?;
        let vendors = Vendors::of(body).for_config(&config);
        let message = sa_message(&config, cookies, &answer, vendors.nat_traversal);
        Ok((Self { setup: Setup { config, cookies, agreed, sa: sa.to_vec(), vendors } }, message))
    }

    pub(crate) const fn setup(&self) -> &Setup {
        &self.setup
    }

    pub(crate) const fn agreed(&self) -> phase_one::Agreed {
        self.setup.agreed
    }

    /// What message 3 carries, if it is worth the work of message 4. A message that is not must cost nothing: its
    /// record stays, so that it could be sent again and again.
    pub(crate) fn check<'a>(&self, body: &Body<'a>) -> Result<PeerHalf<'a>, Discard> {
        let peer = PeerHalf::of(body)?;
        peer.fits(self.setup.agreed.proposal.group).then_some(peer).ok_or(Discard::BadPublicValue)
    }

    /// Message 3 to message 4: the first Diffie-Hellman work of this negotiation. The configuration may have
    /// changed since message 1, and only what does not matter.
    pub(crate) fn handle(
        &self,
        peer: &PeerHalf<'_>,
        path: Path,
        entropy: &mut dyn Entropy,
    ) -> Result<(ExpectAuth, Vec<u8>), Discard> {
        let half = Half::generate(self.setup.agreed.proposal.group, entropy);
        let message = key_message(&self.setup, &half, path);
        let secured = Secured::new(self.setup.clone(), Role::Responder, &half, peer, path)?;
        Ok((ExpectAuth { secured }, message))
    }
}

/// Message 4 is out.
pub(crate) struct ExpectAuth {
    secured: Secured,
}

impl ExpectAuth {
    pub(crate) const fn nat(&self) -> Nat {
        self.secured.nat
    }

    pub(crate) const fn setup(&self) -> &Setup {
        &self.secured.setup
    }

    /// Decryption and the proof. Refusing costs nothing and moves nothing.
    pub(crate) fn open(
        &self,
        header: &Header,
        datagram: &[u8],
        judges: Judges<'_>,
    ) -> Result<Authentic, Unproved> {
        self.secured.open(Role::Initiator, (header, datagram), judges)
    }

    /// Consumes the state: `config` is whose identity the peer proved. Gives the SA and message 6.
    pub(crate) fn handle(
        mut self,
        authentic: &Authentic,
        (config, identity): (Arc<PeerConfig>, Identity),
        path: Path,
        entropy: &mut dyn Entropy,
    ) -> Result<(IsakmpSa, Vec<u8>), Discard> {
        self.secured.accept(authentic);
        self.secured.settle_nat(path);
        self.secured.adopt(config);
        let message = self.secured.auth_message(Role::Responder, false, entropy)?;
        Ok((self.secured.into_sa(Role::Responder, identity), message))
    }
}
