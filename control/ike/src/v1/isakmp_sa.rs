//! An established ISAKMP SA: keys, the IV that exchanges start from, and the message IDs that were used.

use super::exchange::Exchange;
use super::main_mode::header;
use super::nat::Nat;
use super::transaction::Tally;
use super::vendors::Vendors;
use super::xauth;
use super::{informational, phase_one, protection};
use crate::crypto::{Cookies, Iv, PhaseOneKeys, Wiped, is_equal, message_iv};
use crate::limits::{EXCHANGES_MAX, MESSAGE_IDS_MAX};
use crate::wire::{Body, Chain, ExchangeType, Header, NotifyType, PayloadType};
use crate::{Discard, Entropy, Path, PeerConfig, Role};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use warren_policy::Identity;

/// What phase 1 left behind.
pub(crate) struct IsakmpSa {
    pub(crate) config: Arc<PeerConfig>,
    pub(crate) role: Role,
    pub(crate) identity: Identity,
    pub(crate) cookies: Cookies,
    pub(crate) agreed: phase_one::Agreed,
    pub(crate) vendors: Vendors,
    pub(crate) nat: Nat,
    /// By message ID; at most [`EXCHANGES_MAX`] (REQUIREMENTS F-6).
    pub(crate) exchanges: BTreeMap<u32, Exchange>,
    /// How far extended authentication is.
    pub(crate) xauth: xauth::Progress,
    /// Transactions that the peer began.
    pub(crate) asked: Tally,
    /// The last R-U-THERE that the peer sent.
    pub(crate) peer_sequence: Option<u32>,
    keys: PhaseOneKeys,
    last_block: Iv,
    used: HashSet<u32>,
}

/// A message whose exchange has no state yet, decrypted.
pub(crate) struct Opened {
    pub(crate) plain: Wiped,
    pub(crate) iv: Iv,
}

impl IsakmpSa {
    pub(crate) fn new(
        config: Arc<PeerConfig>,
        role: Role,
        identity: Identity,
        cookies: Cookies,
        agreed: phase_one::Agreed,
        (vendors, nat): (Vendors, Nat),
        (keys, last_block): (PhaseOneKeys, Iv),
    ) -> Self {
        Self {
            config,
            role,
            identity,
            cookies,
            agreed,
            vendors,
            nat,
            exchanges: BTreeMap::new(),
            xauth: xauth::Progress::Pending,
            asked: Tally::default(),
            peer_sequence: None,
            keys,
            last_block,
            used: HashSet::new(),
        }
    }

    /// Where both sides float only after phase 1: the port of the initiator's message says whether.
    pub(crate) fn settle_nat(&mut self, path: Path) {
        self.nat = self.nat.settled(path.has_marker() && self.vendors.nat_traversal);
    }

    pub(crate) const fn keys(&self) -> &PhaseOneKeys {
        &self.keys
    }

    /// The IV of the first message under that message ID.
    pub(crate) fn first_iv(&self, message_id: u32) -> Iv {
        message_iv(self.keys.hash(), &self.last_block, message_id)
    }

    /// A random message ID that this SA has not seen, used up by asking (REQUIREMENTS F-6).
    pub(crate) fn fresh_message_id(&mut self, entropy: &mut dyn Entropy) -> u32 {
        loop {
            let message_id = entropy.nonzero_u32();
            if self.used.insert(message_id) {
                return message_id;
            }
        }
    }

    /// Whether so many message IDs are used that a successor is wanted.
    pub(crate) fn is_worn(&self) -> bool {
        self.used.len() >= MESSAGE_IDS_MAX / 4 * 3
    }

    /// Whether an exchange had that message ID, perhaps one that is forgotten.
    pub(crate) fn is_used(&self, message_id: u32) -> bool {
        self.used.contains(&message_id)
    }

    /// Notes a message ID of the peer's. Only authentic messages come here: noting others would let a stranger
    /// use up the table.
    pub(crate) fn use_message_id(&mut self, message_id: u32) -> Result<(), Discard> {
        if self.used.len() >= MESSAGE_IDS_MAX {
            return Err(Discard::ExchangesFull);
        }
        if self.used.insert(message_id) { Ok(()) } else { Err(Discard::MessageIdReused) }
    }

    /// Room for one more exchange: the oldest finished one gives way.
    pub(crate) fn make_room(&mut self) -> Result<(), Discard> {
        if self.exchanges.len() < EXCHANGES_MAX {
            return Ok(());
        }
        let finished = (self.exchanges.iter())
            .filter(|(_, exchange)| exchange.is_done())
            .min_by_key(|(_, exchange)| exchange.ends_at)
            .map(|(message_id, _)| *message_id);
        finished.and_then(|message_id| self.exchanges.remove(&message_id)).ok_or(Discard::ExchangesFull)?;
        Ok(())
    }

    /// A whole message with HASH in front of `chain`, encrypted.
    pub(crate) fn seal(
        &self,
        exchange: ExchangeType,
        message_id: u32,
        iv: Iv,
        chain: &Chain,
    ) -> (Vec<u8>, Iv) {
        protection::seal(self.keys.cipher(), iv, header(self.cookies, exchange, message_id), chain)
    }

    /// An informational exchange of one message.
    pub(crate) fn seal_informational(&mut self, chain: Chain, entropy: &mut dyn Entropy) -> Vec<u8> {
        let message_id = self.fresh_message_id(entropy);
        self.seal_one(message_id, chain)
    }

    /// A question or answer of dead peer detection. Its message ID is not noted, because such messages would use
    /// up the table of a long-lived SA; sequence numbers do what noting does.
    pub(crate) fn seal_dpd(&self, kind: NotifyType, sequence: u32) -> Vec<u8> {
        let message_id = self.dpd_message_id(kind, sequence);
        self.seal_one(message_id, informational::dpd(kind, self.cookies, sequence))
    }

    /// Whether such a message is one of ours that somebody sent back. Both directions have the same key, so that
    /// its HASH verifies: believed, it would keep a dead peer alive and spoil the peer's sequence.
    pub(crate) fn is_reflected(&self, message_id: u32, kind: NotifyType, sequence: u32) -> bool {
        message_id == self.dpd_message_id(kind, sequence)
    }

    /// Told from the peer's by our role, which enters it.
    fn dpd_message_id(&self, kind: NotifyType, sequence: u32) -> u32 {
        let role = u8::from(self.role == Role::Initiator);
        let ([high, low], [a, b, c, d]) = (kind.0.to_be_bytes(), sequence.to_be_bytes());
        self.keys.message_id([role, high, low, a, b, c, d])
    }

    fn seal_one(&self, message_id: u32, chain: Chain) -> Vec<u8> {
        let hash = self.keys.hash_1(message_id, chain.octets());
        let chain = chain.with_front(PayloadType::HASH, &hash);
        self.seal(ExchangeType::INFORMATIONAL, message_id, self.first_iv(message_id), &chain).0
    }

    /// Decrypts with the IV that the exchange has come to.
    pub(crate) fn open(&self, received: &Header, datagram: &[u8]) -> Result<Opened, Discard> {
        let iv = match self.exchanges.get(&received.message_id) {
            Some(exchange) => exchange.iv,
            None => self.first_iv(received.message_id),
        };
        let (plain, iv) = protection::open(self.keys.cipher(), iv, received, datagram)?;
        Ok(Opened { plain, iv })
    }

    /// HASH(1) of a quick mode, or the HASH of an informational exchange (RFC 2409 §5.5, §5.7).
    pub(crate) fn verify_hash_1(&self, message_id: u32, body: &Body<'_>) -> Result<(), Discard> {
        verify(body, &self.keys.hash_1(message_id, body.after_first()))
    }
}

/// The HASH payload comes first and is what it must be.
pub(crate) fn verify(body: &Body<'_>, expected: &[u8]) -> Result<(), Discard> {
    let first = body.payloads().first().ok_or(Discard::Undecryptable)?;
    if first.kind != PayloadType::HASH || !is_equal(first.body, expected) {
        return Err(Discard::BadHash);
    }
    Ok(())
}
