//! Phase 1 from the choice of a proposal to the ISAKMP SA, as far as all three exchanges have it in common.

use super::isakmp_sa::IsakmpSa;
use super::main_mode::header;
use super::nat::{self, Nat};
use super::proof::{self, Judges, Proved, Unproved};
use super::vendors::Vendors;
use super::{phase_one, protection};
use crate::crypto::{
    Cookies, Iv, KeyExchange, PhaseOneKeys, PhaseOneParts, Wiped, initial_iv, is_public_value,
};
use crate::limits::{IDENTITY_OCTETS_MAX, LIFETIME_S_MIN, NONCE_OCTETS};
use crate::wire::{
    Body, Chain, ExchangeType, Header, Identification, Notify, NotifyType, PayloadType, ProtocolId,
};
use crate::{Authentication, Discard, Entropy, NatTraversal, Path, PeerConfig, Role};
use std::sync::Arc;
use warren_policy::{Group, Identity};

/// What is settled once a proposal is chosen.
#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) config: Arc<PeerConfig>,
    pub(crate) cookies: Cookies,
    pub(crate) agreed: phase_one::Agreed,
    /// SAi_b.
    pub(crate) sa: Vec<u8>,
    pub(crate) vendors: Vendors,
}

impl Setup {
    /// The two NAT-D payloads of a message on that path, where both sides know what they are.
    pub(crate) fn push_nat_d(&self, chain: &mut Chain, path: Path) {
        if self.vendors.nat_traversal {
            let hash = self.agreed.proposal.hash;
            for body in nat::payloads(hash, self.cookies, path, self.config.nat_traversal) {
                chain.push(PayloadType::NAT_D, &body);
            }
        }
    }

    pub(crate) fn detect_nat(&self, path: Path, nat_d: &[&[u8]]) -> Nat {
        if !self.vendors.nat_traversal || self.config.nat_traversal == NatTraversal::Off {
            return Nat::default();
        }
        nat::detect(self.agreed.proposal.hash, self.cookies, path, self.config.nat_traversal, nat_d)
    }
}

/// The body of our Identification payload.
pub(crate) fn own_identity(config: &PeerConfig) -> Vec<u8> {
    Identification::of_identity(&config.local_identity).encode()
}

/// The body of the payload that says who the sender is, where that must be remembered.
pub(crate) fn identity_of<'a>(body: &Body<'a>) -> Result<&'a [u8], Discard> {
    let identity = body.first(PayloadType::IDENTIFICATION).ok_or(Discard::MissingPayload)?.body;
    if identity.len() > IDENTITY_OCTETS_MAX { Err(Discard::Malformed) } else { Ok(identity) }
}

/// One side's half of the key exchange.
pub(crate) struct Half {
    pub(crate) exchange: KeyExchange,
    pub(crate) nonce: Vec<u8>,
}

impl Half {
    pub(crate) fn generate(group: Group, entropy: &mut dyn Entropy) -> Self {
        let exchange = KeyExchange::generate(group, entropy);
        Self { exchange, nonce: entropy.octets::<NONCE_OCTETS>().to_vec() }
    }
}

/// The peer's half, borrowed from its message.
pub(crate) struct PeerHalf<'a> {
    pub(crate) public: &'a [u8],
    pub(crate) nonce: &'a [u8],
    pub(crate) nat_d: Vec<&'a [u8]>,
    pub(crate) vendors: Vendors,
}

impl<'a> PeerHalf<'a> {
    pub(crate) fn of(body: &Body<'a>) -> Result<Self, Discard> {
        let nonce = body.first(PayloadType::NONCE).ok_or(Discard::MissingPayload)?.body;
        Self::with_nonce(body, nonce)
    }

    /// The same where the nonce came in an earlier message.
    pub(crate) fn with_nonce(body: &Body<'a>, nonce: &'a [u8]) -> Result<Self, Discard> {
        Ok(Self {
            public: body.first(PayloadType::KEY_EXCHANGE).ok_or(Discard::MissingPayload)?.body,
            nonce,
            nat_d: nat_d(body),
            vendors: Vendors::of(body),
        })
    }

    /// Whether the public value is one of the group: cheaper to ask than to compute with.
    pub(crate) fn fits(&self, group: Group) -> bool {
        is_public_value(group, self.public)
    }
}

/// The bodies of the NAT-D payloads.
pub(crate) fn nat_d<'a>(body: &Body<'a>) -> Vec<&'a [u8]> {
    body.all(PayloadType::NAT_D).map(|payload| payload.body).collect()
}

/// Keys exist; who holds them is not proved yet.
pub(crate) struct Secured {
    pub(crate) setup: Setup,
    pub(crate) nat: Nat,
    pub(crate) iv: Iv,
    keys: PhaseOneKeys,
    initiator_public: Vec<u8>,
    responder_public: Vec<u8>,
}

/// What the peer's authentic message said.
pub(crate) struct Authentic {
    pub(crate) proved: Proved,
    pub(crate) initial_contact: bool,
    pub(crate) lifetime_s: Option<u64>,
    pub(crate) iv: Iv,
}

impl Secured {
    pub(crate) fn new(
        mut setup: Setup,
        role: Role,
        half: &Half,
        peer: &PeerHalf<'_>,
        path: Path,
    ) -> Result<Self, Discard> {
        // Our own message, sent back to us, must not pass for the peer's.
        if peer.public == half.exchange.public() {
            return Err(Discard::Reflected);
        }
        let shared = half.exchange.agree(peer.public).map_err(|_| Discard::BadPublicValue)?;
        let (own, theirs) = ((half.exchange.public(), &half.nonce[..]), (peer.public, peer.nonce));
        let (initiator, responder) = match role {
            Role::Initiator => (own, theirs),
            Role::Responder => (theirs, own),
        };
        let (proposal, cookies) = (setup.agreed.proposal, setup.cookies);
        let nonces = (initiator.1, responder.1);
        let keys = match &setup.config.authentication {
            Authentication::PreSharedKey(secret) => {
                PhaseOneKeys::from_secret(proposal, secret.expose(), nonces, &shared, cookies)
            }
            Authentication::Signature(_) => {
                PhaseOneKeys::from_signature_nonces(proposal, nonces, &shared, cookies)
            }
        };
        setup.vendors = setup.vendors.and(peer.vendors);
        Ok(Self {
            nat: setup.detect_nat(path, &peer.nat_d),
            iv: initial_iv(proposal.hash, initiator.0, responder.0),
            keys,
            initiator_public: initiator.0.to_vec(),
            responder_public: responder.0.to_vec(),
            setup,
        })
    }

    /// HASH_I or HASH_R; `identity` is the body of the sender's Identification payload.
    pub(crate) fn hash(&self, sender: Role, identity: &[u8]) -> Wiped {
        match sender {
            Role::Initiator => self.keys.hash_i(&self.parts(), identity),
            Role::Responder => self.keys.hash_r(&self.parts(), identity),
        }
    }

    pub(crate) fn parts(&self) -> PhaseOneParts<'_> {
        PhaseOneParts {
            initiator_public: &self.initiator_public,
            responder_public: &self.responder_public,
            sa: &self.setup.sa,
            cookies: self.setup.cookies,
        }
    }

    /// Encrypts a message of phase 1; the next one continues where it ends.
    pub(crate) fn seal(&mut self, exchange: ExchangeType, chain: &Chain) -> Vec<u8> {
        let header = header(self.setup.cookies, exchange, 0);
        let (message, iv) = protection::seal(self.keys.cipher(), self.iv, header, chain);
        self.iv = iv;
        message
    }

    /// Decrypts a message of phase 1: its body and the IV of the next. Says nothing about who wrote it.
    pub(crate) fn decrypt(&self, received: &Header, datagram: &[u8]) -> Result<(Wiped, Iv), Discard> {
        protection::open(self.keys.cipher(), self.iv, received, datagram)
    }

    /// Message 5 or 6 of main mode: our identity and the proof of it.
    pub(crate) fn auth_message(
        &mut self,
        role: Role,
        initial_contact: bool,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, Discard> {
        let identity = own_identity(&self.setup.config);
        let mut chain = Chain::new().with(PayloadType::IDENTIFICATION, &identity);
        proof::push(&mut chain, &self.setup.config, &self.hash(role, &identity), entropy)?;
        if initial_contact {
            self.push_initial_contact(&mut chain);
        }
        Ok(self.seal(ExchangeType::MAIN, &chain))
    }

    pub(crate) fn push_initial_contact(&self, chain: &mut Chain) {
        let Cookies { initiator, responder } = self.setup.cookies;
        let notify = Notify::isakmp(NotifyType::INITIAL_CONTACT, initiator, responder, &[]);
        chain.push(PayloadType::NOTIFY, &notify.encode());
    }

    /// Decrypts message 5 or 6 of main mode and verifies its proof. Refusing costs nothing and moves nothing.
    pub(crate) fn open(
        &self,
        sender: Role,
        (received, datagram): (&Header, &[u8]),
        judges: Judges<'_>,
    ) -> Result<Authentic, Unproved> {
        let (plain, iv) = self.decrypt(received, datagram)?;
        // Under a wrong key the chain is noise.
        let body = Body::decode(received.next_payload, &plain).map_err(|_| Discard::Undecryptable)?;
        let identity = body.first(PayloadType::IDENTIFICATION).ok_or(Discard::MissingPayload)?.body;
        let hash = self.hash(sender, identity);
        let proved = judges.check(&self.setup.config.authentication, identity, &body, &hash)?;
        Ok(self.authentic(proved, &body, iv)?)
    }

    /// What else an encrypted message with a valid proof says.
    pub(crate) fn authentic(&self, proved: Proved, body: &Body<'_>, iv: Iv) -> Result<Authentic, Discard> {
        let notifies = self.notifies(body)?;
        let lifetime_s = (notifies.iter())
            .filter(|notify| notify.kind == NotifyType::RESPONDER_LIFETIME)
            .find_map(|notify| phase_one::notified_seconds(&notify.attributes().ok()?));
        let initial_contact = notifies.iter().any(|notify| notify.kind == NotifyType::INITIAL_CONTACT);
        Ok(Authentic { proved, initial_contact, lifetime_s, iv })
    }

    /// HASH_I and HASH_R do not cover them. At least what cannot be right is refused: a damaged last block would
    /// otherwise become the IV of everything that follows.
    fn notifies<'a>(&self, body: &Body<'a>) -> Result<Vec<Notify<'a>>, Discard> {
        let Cookies { initiator, responder } = self.setup.cookies;
        let mut notifies = Vec::new();
        for payload in body.all(PayloadType::NOTIFY) {
            let notify = Notify::decode(payload.body).map_err(|_| Discard::Malformed)?;
            if notify.cookies().is_some_and(|cookies| cookies != (initiator, responder)) {
                return Err(Discard::BadHash);
            }
            if notify.protocol == ProtocolId::ISAKMP {
                notifies.push(notify);
            }
        }
        Ok(notifies)
    }

    /// The initiator decides whether to float, and the port of its first message behind NAT-D says how: those
    /// payloads are not authenticated, and the two sides could have read different ones.
    pub(crate) fn settle_nat(&mut self, path: Path) {
        self.nat = self.nat.settled(path.has_marker() && self.setup.vendors.nat_traversal);
    }

    /// The peer's message was the last one, or ours is the next.
    pub(crate) fn accept(&mut self, authentic: &Authentic) {
        self.iv = authentic.iv;
        if let Some(seconds) = authentic.lifetime_s {
            let ours = u64::from(self.setup.agreed.lifetime_s);
            self.setup.agreed.lifetime_s = seconds.max(u64::from(LIFETIME_S_MIN)).min(ours) as u32;
        }
    }

    /// As responder: `config` is whose identity the peer proved. What was agreed is bounded by the peer whose
    /// address this is; the one it proved to be may want less.
    pub(crate) fn adopt(&mut self, config: Arc<PeerConfig>) {
        let lifetime_s = &mut self.setup.agreed.lifetime_s;
        *lifetime_s = config.lifetime.min(*lifetime_s);
        self.setup.config = config;
    }

    /// Both sides are authenticated, and the last message of phase 1 is known.
    pub(crate) fn into_sa(self, role: Role, identity: Identity) -> IsakmpSa {
        let Setup { config, cookies, agreed, vendors, .. } = self.setup;
        IsakmpSa::new(config, role, identity, cookies, agreed, (vendors, self.nat), (self.keys, self.iv))
    }
}
