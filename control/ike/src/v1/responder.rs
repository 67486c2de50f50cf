//! Main mode as responder: a compact record after message 1, one state after message 3.

use super::isakmp_sa::IsakmpSa;
use super::main_mode::{Authentic, Half, PeerHalf, Secured, Setup, Vendors, sa_message};
use super::nat::Nat;
use super::phase_one;
use crate::admission::HalfOpen;
use crate::crypto::Cookies;
use crate::limits::SA_OCTETS_MAX;
use crate::retransmit::fingerprint;
use crate::wire::{Body, Header, PayloadType};
use crate::{Discard, Entropy, NatTraversal, Path, PeerConfig, Role};
use std::sync::Arc;
use std::time::Duration;
use warren_policy::Identity;

/// Message 1 to message 2: chooses, and remembers no more than it must.
pub(crate) fn answer(
    now: Duration,
    config: &PeerConfig,
    path: Path,
    cookies: Cookies,
    body: &Body<'_>,
    datagram: &[u8],
) -> Result<HalfOpen, Discard> {
    let sa = body.first(PayloadType::SA).ok_or(Discard::MissingPayload)?.body;
    if sa.len() > SA_OCTETS_MAX {
        return Err(Discard::Malformed);
    }
    let (agreed, answer) = phase_one::choose(&config.proposals, config.lifetime, sa)?;
    let vendors = Vendors::of(body);
    let nat_traversal = vendors.nat_traversal && config.nat_traversal != NatTraversal::Off;
    Ok(HalfOpen {
        path,
        peer: config.id,
        cookies,
        sa: sa.into(),
        proposal: agreed.proposal,
        lifetime_s: agreed.lifetime_s,
        nat_traversal,
        vendors,
        request: fingerprint(datagram),
        response: sa_message(config, cookies, &answer, nat_traversal).into(),
        resends: 0,
        started_at: now,
    })
}

/// Message 4 is out.
pub(crate) struct ExpectAuth {
    secured: Secured,
}

impl ExpectAuth {
    /// What message 3 carries, if it is worth the work of message 4. A message that is not must cost nothing: its
    /// record stays, so that it could be sent again and again.
    pub(crate) fn check<'a>(record: &HalfOpen, body: &Body<'a>) -> Result<PeerHalf<'a>, Discard> {
        let peer = PeerHalf::of(body)?;
        peer.fits(record.proposal.group).then_some(peer).ok_or(Discard::BadPublicValue)
    }

    /// Message 3 to message 4: the first Diffie-Hellman work of this negotiation.
    pub(crate) fn begin(
        record: &HalfOpen,
        config: Arc<PeerConfig>,
        peer: &PeerHalf<'_>,
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Vec<u8>), Discard> {
        let setup = Setup {
            config,
            cookies: record.cookies,
            agreed: phase_one::Agreed { proposal: record.proposal, lifetime_s: record.lifetime_s },
            sa: record.sa.to_vec(),
            vendors: Vendors { nat_traversal: record.nat_traversal, ..record.vendors },
        };
        let half = Half::generate(&setup, entropy);
        let message = half.message(&setup, record.path);
        let secured = Secured::new(setup, Role::Responder, &half, peer, record.path)?;
        Ok((Self { secured }, message))
    }

    pub(crate) const fn nat(&self) -> Nat {
        self.secured.nat
    }

    pub(crate) fn agreed(&self) -> phase_one::Agreed {
        self.secured.setup.agreed
    }

    /// Decryption and HASH_I. Refusing costs nothing and moves nothing.
    pub(crate) fn open(&self, header: &Header, datagram: &[u8]) -> Result<Authentic, Discard> {
        self.secured.open(Role::Initiator, header, datagram)
    }

    /// Consumes the state: `config` is whose identity the peer proved. Gives the SA and message 6.
    pub(crate) fn handle(
        mut self,
        authentic: &Authentic,
        config: Arc<PeerConfig>,
        identity: Identity,
        path: Path,
    ) -> (IsakmpSa, Vec<u8>) {
        self.secured.accept(authentic);
        self.secured.settle_nat(path);
        // What was agreed is bounded by the peer whose address this is; the one it proved to be may want less.
        let lifetime_s = &mut self.secured.setup.agreed.lifetime_s;
        *lifetime_s = config.lifetime.min(*lifetime_s);
        self.secured.setup.config = config;
        let message = self.secured.auth_message(Role::Responder, false);
        (self.secured.into_sa(Role::Responder, identity), message)
    }
}
