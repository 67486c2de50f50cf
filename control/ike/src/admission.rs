//! Who may cost us something (REQUIREMENTS F-5).
//!
//! ```text
//! message 1 -> rate -> compact record in a table of fixed size -> message 2 (no state machine, no DH)
//! message 3 -> cookie is ours for these addresses -> record -> rate -> DH
//! aggressive: message 1 -> rate -> smaller rate -> DH -> record in the same table -> message 2
//! ```
//!
//! IKEv1 has no stateless cookie: SAi_b enters the hashes and is sent only once. So the record keeps it, and the
//! responder's cookie is a keyed hash of addresses and initiator's cookie, checked before anything is looked up.

use crate::crypto::{Cookies, is_equal, prf};
use crate::limits::{
    FIRST_MESSAGES_PER_SECOND, HALF_OPEN_LIFE, HALF_OPEN_MAX, HALF_OPEN_PER_SOURCE_MAX,
    KEY_EXCHANGES_PER_SECOND, NOTIFIES_PER_SECOND, SIGNATURE_WORK, UNPROVED_KEY_EXCHANGES_PER_SECOND,
};
use crate::v1::{aggressive_mode, base_mode, responder};
use crate::wire::{ExchangeType, Identification};
use crate::{Counters, Discard, Entropy, Path};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use warren_policy::{Group, Hash, Identity, PeerId, Secret};

/// What a half-open negotiation waits for: always the third message.
pub(crate) enum Waiting {
    /// Of main mode.
    Main(Box<responder::ExpectKe>),
    /// Of base mode.
    Base(Box<base_mode::ExpectProof>),
    /// Of aggressive mode.
    Aggressive(Box<aggressive_mode::ExpectProof>),
}

/// A first message that we answered.
pub(crate) struct HalfOpen {
    pub(crate) path: Path,
    pub(crate) peer: PeerId,
    pub(crate) cookies: Cookies,
    pub(crate) state: Waiting,
    /// The message as it came, by hash, so that a repetition is known.
    pub(crate) request: [u8; 32],
    pub(crate) response: Box<[u8]>,
    pub(crate) resends: u32,
    /// Whether it was said why its third message is not believed.
    pub(crate) is_suspicious: bool,
    pub(crate) started_at: Duration,
}

impl HalfOpen {
    /// Who the initiator says it is, where the first message says that in a way that we take.
    pub(crate) fn identity(&self) -> Option<Identity> {
        let identity = match &self.state {
            Waiting::Main(_) => return None,
            Waiting::Base(state) => state.identity(),
            Waiting::Aggressive(state) => state.identity(),
        };
        Identification::decode(identity).and_then(|identity| identity.identity()).ok()
    }

    /// The exchange under which long messages go to the peer in fragments, if they may.
    pub(crate) const fn fragments(&self) -> Option<ExchangeType> {
        let (setup, exchange) = match &self.state {
            Waiting::Main(state) => (state.setup(), ExchangeType::MAIN),
            Waiting::Base(state) => (state.setup(), ExchangeType::BASE),
            Waiting::Aggressive(state) => (state.setup(), ExchangeType::AGGRESSIVE),
        };
        if setup.vendors.fragmentation { Some(exchange) } else { None }
    }
}

/// Tokens that come back at a steady rate.
pub(crate) struct TokenBucket {
    per_second: u32,
    /// In millionths of a token.
    tokens: u64,
    refilled_at: Duration,
}

const MILLIONTHS: u64 = 1_000_000;

impl TokenBucket {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { per_second, tokens: u64::from(per_second) * MILLIONTHS, refilled_at: Duration::ZERO }
    }

    /// Takes one token if there is one.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        self.take_several(now, 1)
    }

    /// Takes that many tokens, or none.
    fn take_several(&mut self, now: Duration, tokens: u64) -> bool {
        let elapsed = now.saturating_sub(self.refilled_at).min(Duration::from_secs(1));
        let full = u64::from(self.per_second) * MILLIONTHS;
        let gained = elapsed.as_micros() as u64 * u64::from(self.per_second);
        self.tokens = self.tokens.saturating_add(gained).min(full);
        self.refilled_at = self.refilled_at.max(now);
        match self.tokens.checked_sub(tokens * MILLIONTHS) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

/// The table of half-open negotiations, the cookie's key and the rates.
pub(crate) struct Admission {
    key: [u8; 32],
    slots: Vec<HalfOpen>,
    first_messages: TokenBucket,
    key_exchanges: TokenBucket,
    /// For addresses that nobody proved.
    unproved: TokenBucket,
    notifies: TokenBucket,
}

impl Admission {
    pub(crate) fn new(entropy: &mut dyn Entropy) -> Self {
        Self {
            key: entropy.octets(),
            slots: Vec::with_capacity(HALF_OPEN_MAX),
            first_messages: TokenBucket::new(FIRST_MESSAGES_PER_SECOND),
            key_exchanges: TokenBucket::new(KEY_EXCHANGES_PER_SECOND),
            unproved: TokenBucket::new(UNPROVED_KEY_EXCHANGES_PER_SECOND),
            notifies: TokenBucket::new(NOTIFIES_PER_SECOND),
        }
    }

    pub(crate) fn take_first_message(&mut self, now: Duration) -> bool {
        self.first_messages.take(now)
    }

    pub(crate) fn take_key_exchange(&mut self, now: Duration, group: Group) -> bool {
        self.key_exchanges.take_several(now, work(group))
    }

    /// For a first message of aggressive mode: only a share, so that who proved its address finds some left.
    pub(crate) fn take_unproved(&mut self, now: Duration, group: Group, signs: bool) -> bool {
        let tokens = work(group) + if signs { u64::from(SIGNATURE_WORK) } else { 0 };
        self.unproved.take_several(now, tokens) && self.key_exchanges.take_several(now, tokens)
    }

    /// For a signature to be verified.
    pub(crate) fn take_signature(&mut self, now: Duration) -> bool {
        self.key_exchanges.take_several(now, u64::from(SIGNATURE_WORK))
    }

    /// The pre-shared key of a stranger: nobody knows it, and it is always the same for the same identity
    /// (REQUIREMENTS F-1).
    pub(crate) fn fake_secret(&self, identity: &[u8]) -> Secret {
        Secret::new(prf(Hash::Sha256, &self.key, &[b"no such identity", identity]).to_vec())
    }

    pub(crate) fn take_notify(&mut self, now: Duration) -> bool {
        self.notifies.take(now)
    }

    /// CKY-R for that initiator; never zero, which would mean *none*.
    pub(crate) fn responder_cookie(&self, path: Path, initiator: [u8; 8]) -> [u8; 8] {
        let (local, remote) = (socket_octets(path.local), socket_octets(path.remote));
        let mac = prf(Hash::Sha256, &self.key, &[&local, &remote, &initiator]);
        let mut cookie: [u8; 8] = mac[..8].try_into().expect("a digest is longer");
        cookie[0] |= u8::from(cookie == [0; 8]);
        cookie
    }

    /// Whether we chose that responder cookie for these addresses.
    pub(crate) fn is_ours(&self, path: Path, cookies: Cookies) -> bool {
        is_equal(&self.responder_cookie(path, cookies.initiator), &cookies.responder)
    }

    pub(crate) fn record(&mut self, path: Path, initiator: [u8; 8]) -> Option<&mut HalfOpen> {
        self.slots.iter_mut().find(|slot| slot.cookies.initiator == initiator && slot.path == path)
    }

    /// The record of an aggressive mode whose initiator has floated: its third message comes from other ports than its
    /// first, and only the cookies tell which it is (RFC 3947 §4).
    pub(crate) fn floated(&self, cookies: Cookies) -> Option<Path> {
        let is_it = |slot: &&HalfOpen| {
            slot.cookies == cookies
                && matches!(&slot.state, Waiting::Aggressive(state) if state.setup().vendors.nat_traversal)
        };
        self.slots.iter().find(is_it).map(|slot| slot.path)
    }

    pub(crate) fn remove(&mut self, path: Path, initiator: [u8; 8]) -> Option<HalfOpen> {
        let at =
            self.slots.iter().position(|slot| slot.cookies.initiator == initiator && slot.path == path)?;
        Some(self.slots.swap_remove(at))
    }

    pub(crate) fn remove_peer(&mut self, peer: PeerId) {
        self.slots.retain(|slot| slot.peer != peer);
    }

    /// Remembers one more. A spoofed flood makes us forget the oldest; refusing new ones instead would lock the
    /// real peer out for as long as the flood lasts.
    pub(crate) fn insert(&mut self, now: Duration, record: HalfOpen, counters: &mut Counters) {
        self.expire(now, counters);
        let source = record.path.remote.ip();
        let same = |slot: &HalfOpen| slot.path.remote.ip() == source;
        let crowded = self.slots.iter().filter(|slot| same(slot)).count() >= HALF_OPEN_PER_SOURCE_MAX;
        if crowded || self.slots.len() >= HALF_OPEN_MAX {
            let oldest = (self.slots.iter().enumerate())
                .filter(|(_, slot)| !crowded || same(slot))
                .min_by_key(|(_, slot)| slot.started_at)
                .map(|(at, _)| at);
            if let Some(at) = oldest {
                self.slots.swap_remove(at);
                counters.discard(Discard::HalfOpenReplaced);
            }
        }
        self.slots.push(record);
    }

    fn expire(&mut self, now: Duration, counters: &mut Counters) {
        self.slots.retain(|slot| {
            let alive = now < slot.started_at + HALF_OPEN_LIFE;
            if !alive {
                counters.discard(Discard::HalfOpenExpired);
            }
            alive
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.slots.capacity()
    }
}

/// What an exchange in the group costs, in exchanges on a curve: milliseconds, roughly, on a small machine.
/// Without it, peers that all come back at once with a large group would stop everything else for a minute.
const fn work(group: Group) -> u64 {
    match group {
        Group::Ecp256 | Group::Ecp384 | Group::Ecp521 => 1,
        Group::Modp2048 => 3,
        Group::Modp3072 => 12,
        Group::Modp4096 => 21,
        Group::Modp6144 => 52,
        Group::Modp8192 => 76,
    }
}

fn socket_octets(socket: SocketAddr) -> [u8; 18] {
    let address = match socket.ip() {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    };
    let mut octets = [0; 18];
    octets[..16].copy_from_slice(&address.octets());
    octets[16..].copy_from_slice(&socket.port().to_be_bytes());
    octets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;
    use crate::v1::{method, phase_one};
    use crate::wire::{Body, Chain, PayloadType};
    use crate::{Role, endpoint};
    use std::sync::Arc;

    fn path(source: u32) -> Path {
        let remote = IpAddr::from(source.to_be_bytes());
        Path { local: "192.0.2.1:500".parse().unwrap(), remote: (remote, 500).into() }
    }

    fn state() -> Waiting {
        let [config, _] = endpoint::peer_configs();
        let sa = phase_one::offer(&config.proposals, method::method(&config, Role::Initiator), 3600);
        let chain = Chain::new().with(PayloadType::SA, &sa);
        let body = Body::decode(chain.first(), chain.octets()).unwrap();
        let cookies = Cookies { initiator: [1; 8], responder: [1; 8] };
        Waiting::Main(Box::new(responder::ExpectKe::answer(Arc::new(config), cookies, &body).unwrap().0))
    }

    fn record(source: u32, number: u64, started_at: Duration) -> HalfOpen {
        HalfOpen {
            path: path(source),
            peer: PeerId(0),
            cookies: Cookies { initiator: number.to_be_bytes(), responder: [1; 8] },
            state: state(),
            request: [0; 32],
            response: Box::default(),
            resends: 0,
            is_suspicious: false,
            started_at,
        }
    }

    #[test] // F-5
    fn the_table_never_grows_and_forgets_the_oldest() {
        let mut counters = Counters::default();
        let mut admission = Admission::new(&mut Seeded::new(1));
        let capacity = admission.capacity();
        for number in 0..10_000u32 {
            let now = Duration::from_micros(u64::from(number));
            admission.insert(now, record(number, u64::from(number), now), &mut counters);
        }
        assert_eq!((admission.len(), admission.capacity()), (HALF_OPEN_MAX, capacity));
        assert!(admission.record(path(9_999), 9_999u64.to_be_bytes()).is_some());
        assert!(admission.record(path(0), 0u64.to_be_bytes()).is_none());
        assert_eq!(counters.discarded(Discard::HalfOpenReplaced), 10_000 - HALF_OPEN_MAX as u64);
    }

    #[test] // F-5
    fn one_source_cannot_push_out_another() {
        let mut counters = Counters::default();
        let mut admission = Admission::new(&mut Seeded::new(1));
        admission.insert(Duration::ZERO, record(1, 1, Duration::ZERO), &mut counters);
        for number in 0..1000 {
            let now = Duration::from_micros(number);
            admission.insert(now, record(2, number, now), &mut counters);
        }
        assert_eq!(admission.len(), 1 + HALF_OPEN_PER_SOURCE_MAX);
        assert!(admission.record(path(1), 1u64.to_be_bytes()).is_some());
    }

    #[test] // F-5
    fn records_expire() {
        let mut counters = Counters::default();
        let mut admission = Admission::new(&mut Seeded::new(1));
        admission.insert(Duration::ZERO, record(1, 1, Duration::ZERO), &mut counters);
        admission.insert(HALF_OPEN_LIFE, record(2, 2, HALF_OPEN_LIFE), &mut counters);
        assert_eq!(admission.len(), 1);
        assert_eq!(counters.discarded(Discard::HalfOpenExpired), 1);
    }

    #[test] // F-5
    fn a_cookie_belongs_to_its_addresses() {
        let admission = Admission::new(&mut Seeded::new(1));
        let other = Admission::new(&mut Seeded::new(2));
        let cookies = Cookies { initiator: [7; 8], responder: admission.responder_cookie(path(1), [7; 8]) };
        assert!(admission.is_ours(path(1), cookies));
        assert!(!admission.is_ours(path(2), cookies));
        assert!(!other.is_ours(path(1), cookies));
    }

    #[test]
    fn a_bucket_refills_at_its_rate() {
        let mut bucket = TokenBucket::new(10);
        let taken = |bucket: &mut TokenBucket, now| (0..100).filter(|_| bucket.take(now)).count();
        assert_eq!(taken(&mut bucket, Duration::ZERO), 10);
        assert_eq!(taken(&mut bucket, Duration::from_millis(500)), 5);
        assert_eq!(taken(&mut bucket, Duration::from_secs(60)), 10);
    }

    #[test] // F-5
    fn unproved_addresses_use_up_only_their_share() {
        let mut admission = Admission::new(&mut Seeded::new(1));
        let taken =
            (0..1000).filter(|_| admission.take_unproved(Duration::ZERO, Group::Ecp256, false)).count();
        assert_eq!(taken, UNPROVED_KEY_EXCHANGES_PER_SECOND as usize);
        let left = KEY_EXCHANGES_PER_SECOND - UNPROVED_KEY_EXCHANGES_PER_SECOND;
        let taken = (0..1000).filter(|_| admission.take_key_exchange(Duration::ZERO, Group::Ecp256)).count();
        assert_eq!(taken, left as usize);
    }

    #[test] // F-1
    fn a_fake_secret_is_always_the_same_and_nobody_elses() {
        let (admission, other) = (Admission::new(&mut Seeded::new(1)), Admission::new(&mut Seeded::new(2)));
        let fake = |admission: &Admission, identity: &[u8]| admission.fake_secret(identity).expose().to_vec();
        assert_eq!(fake(&admission, b"a"), fake(&admission, b"a"));
        assert_ne!(fake(&admission, b"a"), fake(&admission, b"b"));
        assert_ne!(fake(&admission, b"a"), fake(&other, b"a"));
    }

    #[test] // F-5
    fn large_groups_use_up_the_rate_sooner() {
        for (group, exchanges) in [(Group::Ecp256, 500), (Group::Modp2048, 166), (Group::Modp8192, 6)] {
            let mut admission = Admission::new(&mut Seeded::new(1));
            let taken = (0..1000).filter(|_| admission.take_key_exchange(Duration::ZERO, group)).count();
            assert_eq!(taken, exchanges, "{group}");
        }
    }
}
