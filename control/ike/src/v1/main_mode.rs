//! What both sides of main mode share (RFC 2409 §5.4).
//!
//! ```text
//! 1  I -> R  SA, VID            4  I <- R  KE, NONCE, NAT-D, NAT-D
//! 2  I <- R  SA, VID            5  I -> R  { ID, HASH_I, [INITIAL-CONTACT] }
//! 3  I -> R  KE, NONCE, NAT-D   6  I <- R  { ID, HASH_R }
//! ```

use super::isakmp_sa::IsakmpSa;
use super::nat::{self, Nat};
use super::{phase_one, protection};
use crate::crypto::{
    Cookies, Iv, KeyExchange, PhaseOneKeys, PhaseOneParts, Wiped, initial_iv, is_equal, is_public_value,
};
use crate::limits::{LIFETIME_S_MIN, NONCE_OCTETS};
use crate::wire::vendor::{self, Vendor};
use crate::wire::{
    Body, Chain, ExchangeType, Header, Identification, Notify, NotifyType, PayloadType, ProtocolId,
};
use crate::{ConfigMode, Discard, Entropy, NatTraversal, Path, PeerConfig, Role, Xauth};
use std::sync::Arc;
use warren_policy::{Group, Identity};

/// What the peer's vendor IDs promise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Vendors {
    pub(crate) nat_traversal: bool,
    pub(crate) dpd: bool,
    /// Our private attributes in the configuration exchange (REQUIREMENTS W2).
    pub(crate) policy: bool,
    pub(crate) unity: bool,
}

impl Vendors {
    pub(crate) fn of(body: &Body<'_>) -> Self {
        body.all(PayloadType::VENDOR_ID).fold(Self::default(), |mut vendors, payload| {
            match Vendor::of(payload.body) {
                Vendor::NatTRfc3947 => vendors.nat_traversal = true,
                Vendor::Dpd => vendors.dpd = true,
                Vendor::Policy => vendors.policy = true,
                Vendor::Unity => vendors.unity = true,
                _ => {}
            }
            vendors
        })
    }
}

/// Messages 1 and 2.
pub(crate) fn sa_message(config: &PeerConfig, cookies: Cookies, sa: &[u8], nat_traversal: bool) -> Vec<u8> {
    let mut chain = Chain::new().with(PayloadType::SA, sa);
    if nat_traversal {
        chain.push(PayloadType::VENDOR_ID, &vendor::NAT_T_RFC_3947);
    }
    chain.push(PayloadType::VENDOR_ID, &vendor::DPD);
    if !matches!(config.xauth, Xauth::Off) {
        chain.push(PayloadType::VENDOR_ID, &vendor::XAUTH);
    }
    if config.config_mode != ConfigMode::Off {
        chain.push(PayloadType::VENDOR_ID, &vendor::UNITY);
        chain.push(PayloadType::VENDOR_ID, &vendor::POLICY);
    }
    header(cookies, ExchangeType::MAIN, 0).encode(&chain)
}

/// A header without flags.
pub(crate) const fn header(cookies: Cookies, exchange: ExchangeType, message_id: u32) -> Header {
    Header::new(cookies.initiator, cookies.responder, exchange, 0, message_id)
}

/// What is settled after messages 1 and 2.
pub(crate) struct Setup {
    pub(crate) config: Arc<PeerConfig>,
    pub(crate) cookies: Cookies,
    pub(crate) agreed: phase_one::Agreed,
    /// SAi_b.
    pub(crate) sa: Vec<u8>,
    pub(crate) vendors: Vendors,
}

/// One side's half of messages 3 and 4.
pub(crate) struct Half {
    pub(crate) exchange: KeyExchange,
    pub(crate) nonce: Vec<u8>,
}

impl Half {
    pub(crate) fn generate(setup: &Setup, entropy: &mut dyn Entropy) -> Self {
        let exchange = KeyExchange::generate(setup.agreed.proposal.group, entropy);
        Self { exchange, nonce: entropy.octets::<NONCE_OCTETS>().to_vec() }
    }

    /// Message 3 or 4.
    pub(crate) fn message(&self, setup: &Setup, path: Path) -> Vec<u8> {
        let mut chain = Chain::new()
            .with(PayloadType::KEY_EXCHANGE, self.exchange.public())
            .with(PayloadType::NONCE, &self.nonce);
        if setup.vendors.nat_traversal {
            let hash = setup.agreed.proposal.hash;
            for body in nat::payloads(hash, setup.cookies, path, setup.config.nat_traversal) {
                chain.push(PayloadType::NAT_D, &body);
            }
        }
        header(setup.cookies, ExchangeType::MAIN, 0).encode(&chain)
    }
}

/// The peer's half, borrowed from its message.
pub(crate) struct PeerHalf<'a> {
    public: &'a [u8],
    nonce: &'a [u8],
    nat_d: Vec<&'a [u8]>,
}

impl<'a> PeerHalf<'a> {
    pub(crate) fn of(body: &Body<'a>) -> Result<Self, Discard> {
        let one = |kind| body.first(kind).map(|payload| payload.body).ok_or(Discard::MissingPayload);
        Ok(Self {
            public: one(PayloadType::KEY_EXCHANGE)?,
            nonce: one(PayloadType::NONCE)?,
            nat_d: body.all(PayloadType::NAT_D).map(|payload| payload.body).collect(),
        })
    }

    /// Whether the public value is one of the group: cheaper to ask than to compute with.
    pub(crate) fn fits(&self, group: Group) -> bool {
        is_public_value(group, self.public)
    }
}

/// Keys exist; who holds them is not proved yet.
pub(crate) struct Secured {
    pub(crate) setup: Setup,
    pub(crate) nat: Nat,
    keys: PhaseOneKeys,
    initiator_public: Vec<u8>,
    responder_public: Vec<u8>,
    iv: Iv,
}

/// What the peer's authentic message 5 or 6 said.
pub(crate) struct Authentic {
    /// Who it is; `None` for an identity of a kind that we do not take.
    pub(crate) identity: Option<Identity>,
    pub(crate) initial_contact: bool,
    lifetime_s: Option<u64>,
    iv: Iv,
}

impl Secured {
    pub(crate) fn new(
        setup: Setup,
        role: Role,
        half: &Half,
        peer: &PeerHalf<'_>,
        path: Path,
    ) -> Result<Self, Discard> {
        let shared = half.exchange.agree(peer.public).map_err(|_| Discard::BadPublicValue)?;
        let (own, theirs) = ((half.exchange.public(), &half.nonce[..]), (peer.public, peer.nonce));
        let (initiator, responder) = match role {
            Role::Initiator => (own, theirs),
            Role::Responder => (theirs, own),
        };
        let (proposal, cookies) = (setup.agreed.proposal, setup.cookies);
        let nonces = (initiator.1, responder.1);
        let secret = setup.config.authentication.secret().ok_or(Discard::NoProposalChosen)?;
        let keys = PhaseOneKeys::from_secret(proposal, secret.expose(), nonces, &shared, cookies);
        let nat = if setup.vendors.nat_traversal && setup.config.nat_traversal != NatTraversal::Off {
            nat::detect(proposal.hash, cookies, path, setup.config.nat_traversal, &peer.nat_d)
        } else {
            Nat::default()
        };
        Ok(Self {
            nat,
            keys,
            iv: initial_iv(proposal.hash, initiator.0, responder.0),
            initiator_public: initiator.0.to_vec(),
            responder_public: responder.0.to_vec(),
            setup,
        })
    }

    fn hash(&self, sender: Role, identity: &[u8]) -> Wiped {
        let parts = PhaseOneParts {
            initiator_public: &self.initiator_public,
            responder_public: &self.responder_public,
            sa: &self.setup.sa,
            cookies: self.setup.cookies,
        };
        match sender {
            Role::Initiator => self.keys.hash_i(&parts, identity),
            Role::Responder => self.keys.hash_r(&parts, identity),
        }
    }

    /// Message 5 or 6: our identity and the proof of it.
    pub(crate) fn auth_message(&mut self, role: Role, initial_contact: bool) -> Vec<u8> {
        let Cookies { initiator, responder } = self.setup.cookies;
        let identity = Identification::of_identity(&self.setup.config.local_identity).encode();
        let mut chain = Chain::new()
            .with(PayloadType::IDENTIFICATION, &identity)
            .with(PayloadType::HASH, &self.hash(role, &identity));
        if initial_contact {
            let notify = Notify::isakmp(NotifyType::INITIAL_CONTACT, initiator, responder, &[]);
            chain.push(PayloadType::NOTIFY, &notify.encode());
        }
        let header = header(self.setup.cookies, ExchangeType::MAIN, 0);
        let (message, iv) = protection::seal(self.keys.cipher(), self.iv, header, &chain);
        self.iv = iv;
        message
    }

    /// Decrypts message 5 or 6 and verifies its HASH. Refusing costs nothing and moves nothing.
    pub(crate) fn open(
        &self,
        sender: Role,
        received: &Header,
        datagram: &[u8],
    ) -> Result<Authentic, Discard> {
        let (plain, iv) = protection::open(self.keys.cipher(), self.iv, received, datagram)?;
        // Under a wrong key the chain is noise.
        let body = Body::decode(received.next_payload, &plain).map_err(|_| Discard::Undecryptable)?;
        let one = |kind| body.first(kind).map(|payload| payload.body).ok_or(Discard::MissingPayload);
        let (identity, hash) = (one(PayloadType::IDENTIFICATION)?, one(PayloadType::HASH)?);
        if !is_equal(&self.hash(sender, identity), hash) {
            return Err(Discard::BadHash);
        }
        let notifies = self.notifies(&body)?;
        let lifetime_s = (notifies.iter())
            .filter(|notify| notify.kind == NotifyType::RESPONDER_LIFETIME)
            .find_map(|notify| phase_one::notified_seconds(&notify.attributes().ok()?));
        Ok(Authentic {
            identity: Identification::decode(identity).and_then(|identity| identity.identity()).ok(),
            initial_contact: notifies.iter().any(|notify| notify.kind == NotifyType::INITIAL_CONTACT),
            lifetime_s,
            iv,
        })
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

    /// The initiator decides whether to float, and the port of its message 5 says how: NAT-D payloads are not
    /// authenticated, and the two sides could have read different ones.
    pub(crate) fn settle_nat(&mut self, path: Path) {
        self.nat.float = path.has_marker() && self.setup.vendors.nat_traversal;
        if !self.nat.float {
            self.nat = Nat::default();
        }
    }

    /// The peer's message was the last one, or ours is the next.
    pub(crate) fn accept(&mut self, authentic: &Authentic) {
        self.iv = authentic.iv;
        if let Some(seconds) = authentic.lifetime_s {
            let ours = u64::from(self.setup.agreed.lifetime_s);
            self.setup.agreed.lifetime_s = seconds.max(u64::from(LIFETIME_S_MIN)).min(ours) as u32;
        }
    }

    /// Both sides are authenticated, and the last message of main mode is known.
    pub(crate) fn into_sa(self, role: Role, identity: Identity) -> IsakmpSa {
        let Setup { config, cookies, agreed, vendors, .. } = self.setup;
        IsakmpSa::new(config, role, identity, cookies, agreed, (vendors, self.nat), (self.keys, self.iv))
    }
}
