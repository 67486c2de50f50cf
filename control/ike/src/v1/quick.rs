//! Quick mode (RFC 2409 §5.5): one pair of ESP SAs in three messages.
//!
//! ```text
//! 1  I -> R  { HASH(1), SA, Ni, [KE], IDci, IDcr }
//! 2  I <- R  { HASH(2), SA, Nr, [KE], IDci, IDcr, [RESPONDER-LIFETIME] }
//! 3  I -> R  { HASH(3) }
//! ```

use super::esp_sa::{self, Offer};
use super::isakmp_sa::verify;
use crate::crypto::{KeyExchange, PhaseOneKeys, Wiped, keymat};
use crate::limits::NONCE_OCTETS;
use crate::wire::{Body, Chain, Identification, Notify, NotifyType, PayloadType, ProtocolId, Traffic};
use crate::{ChildConfig, Discard, Entropy, Failure};
use std::net::IpAddr;
use std::sync::Arc;
use warren_policy::selector::AddressRange;
use warren_policy::{EspProposal, EspTransform, Extent, Lifetime, Selector};
use warren_seam::{SaKeys, Spi};

/// What a quick mode gives: everything about a pair of SAs but their outer addresses and names.
pub(crate) struct Negotiated {
    pub(crate) child: Arc<ChildConfig>,
    pub(crate) proposal: EspProposal,
    pub(crate) lifetime: Lifetime,
    pub(crate) inbound_spi: Spi,
    pub(crate) outbound_spi: Spi,
    pub(crate) inbound_keys: SaKeys,
    pub(crate) outbound_keys: SaKeys,
}

/// The nonces and the fresh shared secret that KEYMAT is made of.
struct Material<'a> {
    keys: &'a PhaseOneKeys,
    shared: Option<Wiped>,
    initiator_nonce: &'a [u8],
    responder_nonce: &'a [u8],
}

impl Material<'_> {
    fn sa_keys(&self, transform: EspTransform, spi: Spi) -> SaKeys {
        let shared = self.shared.as_ref().map(|shared| &shared[..]);
        let nonces = (self.initiator_nonce, self.responder_nonce);
        let octets = transform.keymat_octets();
        let material = keymat(self.keys, shared, ProtocolId::ESP.0, spi.0, nonces, octets);
        SaKeys::from_keymat(transform, &material).expect("KEYMAT has the length that the transform needs")
    }
}

/// Our first message is out.
pub(crate) struct ExpectResponse {
    child: Arc<ChildConfig>,
    offered: Vec<EspProposal>,
    /// How the SAs travel, as the SA payload says it.
    mode: u16,
    spi: Spi,
    nonce: Vec<u8>,
    exchange: Option<KeyExchange>,
}

impl ExpectResponse {
    /// A new quick mode and its first message. `None` when identities cannot express the selector.
    pub(crate) fn begin(
        keys: &PhaseOneKeys,
        message_id: u32,
        child: Arc<ChildConfig>,
        (spi, in_udp): (Spi, bool),
        entropy: &mut dyn Entropy,
    ) -> Option<(Self, Chain)> {
        let source = Identification::of_traffic(&Traffic::source(&child.selector))?;
        let destination = Identification::of_traffic(&Traffic::destination(&child.selector))?;
        let offered = esp_sa::offerable(&child.proposals);
        let group = offered.first().and_then(|proposal| proposal.pfs);
        let exchange = group.map(|group| KeyExchange::generate(group, entropy));
        let nonce = entropy.octets::<NONCE_OCTETS>().to_vec();
        let mode = esp_sa::encapsulation_mode(child.mode, in_udp);
        let mut chain = Chain::new()
            .with(PayloadType::SA, &esp_sa::offer(&offered, child.lifetime, spi, mode))
            .with(PayloadType::NONCE, &nonce);
        if let Some(exchange) = &exchange {
            chain.push(PayloadType::KEY_EXCHANGE, exchange.public());
        }
        let chain = chain
            .with(PayloadType::IDENTIFICATION, &source.encode())
            .with(PayloadType::IDENTIFICATION, &destination.encode());
        let hash = keys.hash_1(message_id, chain.octets());
        let chain = chain.with_front(PayloadType::HASH, &hash);
        Some((Self { child, offered, mode, spi, nonce, exchange }, chain))
    }

    pub(crate) const fn spi(&self) -> Spi {
        self.spi
    }

    pub(crate) const fn child(&self) -> &Arc<ChildConfig> {
        &self.child
    }

    /// HASH(2). Refusing costs nothing and moves nothing.
    pub(crate) fn open(&self, keys: &PhaseOneKeys, message_id: u32, body: &Body<'_>) -> Result<(), Discard> {
        verify(body, &keys.hash_2(message_id, &self.nonce, body.after_first()))
    }

    /// Consumes the state: the answer is the peer's, good or not. Gives the SAs and the third message.
    pub(crate) fn handle(
        self,
        keys: &PhaseOneKeys,
        message_id: u32,
        body: &Body<'_>,
        hosts: (IpAddr, IpAddr),
    ) -> Result<(Negotiated, Chain), Failure> {
        let refuse = Failure::UnacceptableAnswer;
        let one = |kind| body.first(kind).map(|payload| payload.body);
        let answer = one(PayloadType::SA).ok_or(refuse)?;
        let nonce = one(PayloadType::NONCE).ok_or(refuse)?;
        let agreed =
            esp_sa::accept(&self.offered, self.child.lifetime, self.mode, answer).map_err(|_| refuse)?;
        if selector(body, hosts).map(|theirs| theirs.extent_in(&self.child.selector)) != Some(Extent::Same) {
            return Err(refuse);
        }
        let shared = shared(self.exchange.as_ref(), one(PayloadType::KEY_EXCHANGE)).map_err(|_| refuse)?;
        let material = Material { keys, shared, initiator_nonce: &self.nonce, responder_nonce: nonce };
        let transform = agreed.proposal.transform;
        let lifetime = notified_lifetime(body, agreed.lifetime);
        let hash = keys.hash_3(message_id, &self.nonce, nonce);
        let negotiated = Negotiated {
            proposal: agreed.proposal,
            lifetime,
            inbound_spi: self.spi,
            outbound_spi: agreed.spi,
            inbound_keys: material.sa_keys(transform, self.spi),
            outbound_keys: material.sa_keys(transform, agreed.spi),
            child: self.child,
        };
        Ok((negotiated, Chain::new().with(PayloadType::HASH, &hash)))
    }
}

/// Why an authentic first message gets no second.
pub(crate) struct Refusal {
    pub(crate) reason: Discard,
    /// What the initiator is told.
    pub(crate) notify: NotifyType,
    /// Its SPI, where it could be read.
    pub(crate) spi: Option<u32>,
}

/// Our second message is out.
pub(crate) struct ExpectConfirmation {
    negotiated: Negotiated,
    initiator_nonce: Vec<u8>,
    responder_nonce: Vec<u8>,
}

/// What an authentic first message asks for, as we see it: source is our side. `hosts` are the peer's address and ours.
/// `None` for what is no selector.
pub(crate) fn asked(body: &Body<'_>, hosts: (IpAddr, IpAddr)) -> Option<Selector> {
    // As the peer sees it, the traffic goes to us.
    selector(body, hosts).map(|asked| asked.mirrored())
}

/// Whether it offers anything that the child's proposals allow.
pub(crate) fn is_acceptable(body: &Body<'_>, child: &ChildConfig, in_udp: bool) -> bool {
    let offer = body.first(PayloadType::SA).and_then(|payload| Offer::decode(payload.body).ok());
    let mode = esp_sa::encapsulation_mode(child.mode, in_udp);
    // Nothing is answered yet, so that our SPI does not matter.
    offer.is_some_and(|offer| offer.choose(&child.proposals, child.lifetime, mode, Spi(0)).is_some())
}

/// Whether it says for which traffic the SAs shall be; without, they are for the two hosts themselves (RFC 2409 §5.5).
pub(crate) fn names_traffic(body: &Body<'_>) -> bool {
    body.first(PayloadType::IDENTIFICATION).is_some()
}

impl ExpectConfirmation {
    /// The peer's authentic first message to our second. `child` is what it may have, or why it may not.
    pub(crate) fn begin(
        keys: &PhaseOneKeys,
        message_id: u32,
        body: &Body<'_>,
        child: Result<Arc<ChildConfig>, Discard>,
        (spi, in_udp): (Spi, bool),
        entropy: &mut dyn Entropy,
    ) -> Result<(Self, Chain), Refusal> {
        let one = |kind| body.first(kind).map(|payload| payload.body);
        let refuse = |reason, notify, spi| Refusal { reason, notify, spi };
        let malformed = || refuse(Discard::MissingPayload, NotifyType::PAYLOAD_MALFORMED, None);
        let offer = Offer::decode(one(PayloadType::SA).ok_or_else(malformed)?)
            .map_err(|notify| refuse(Discard::Malformed, notify, None))?;
        let peer_spi = offer.spi();
        let initiator_nonce = one(PayloadType::NONCE).ok_or_else(malformed)?;
        let child = child.map_err(|reason| match reason {
            Discard::NoProposalChosen => refuse(reason, NotifyType::NO_PROPOSAL_CHOSEN, peer_spi),
            // What others may have is not for the peer to know.
            _ => refuse(reason, NotifyType::INVALID_ID_INFORMATION, peer_spi),
        })?;
        let mode = esp_sa::encapsulation_mode(child.mode, in_udp);
        let (agreed, answer) = offer
            .choose(&child.proposals, child.lifetime, mode, spi)
            .ok_or_else(|| refuse(Discard::NoProposalChosen, NotifyType::NO_PROPOSAL_CHOSEN, peer_spi))?;
        let exchange = agreed.proposal.pfs.map(|group| KeyExchange::generate(group, entropy));
        let shared = shared(exchange.as_ref(), one(PayloadType::KEY_EXCHANGE))
            .map_err(|reason| refuse(reason, NotifyType::INVALID_KEY_INFORMATION, peer_spi))?;
        let responder_nonce = entropy.octets::<NONCE_OCTETS>().to_vec();
        let mut chain =
            Chain::new().with(PayloadType::SA, &answer).with(PayloadType::NONCE, &responder_nonce);
        if let Some(exchange) = &exchange {
            chain.push(PayloadType::KEY_EXCHANGE, exchange.public());
        }
        for identity in body.all(PayloadType::IDENTIFICATION) {
            chain.push(PayloadType::IDENTIFICATION, identity.body);
        }
        if agreed.is_shortened {
            let data = esp_sa::responder_lifetime(agreed.lifetime);
            let notify = Notify::esp(NotifyType::RESPONDER_LIFETIME, spi.0, &data);
            chain.push(PayloadType::NOTIFY, &notify.encode());
        }
        let hash = keys.hash_2(message_id, initiator_nonce, chain.octets());
        let material = Material { keys, shared, initiator_nonce, responder_nonce: &responder_nonce };
        let transform = agreed.proposal.transform;
        let negotiated = Negotiated {
            child,
            proposal: agreed.proposal,
            lifetime: agreed.lifetime,
            inbound_spi: spi,
            outbound_spi: agreed.spi,
            inbound_keys: material.sa_keys(transform, spi),
            outbound_keys: material.sa_keys(transform, agreed.spi),
        };
        let initiator_nonce = initiator_nonce.to_vec();
        Ok((
            Self { negotiated, initiator_nonce, responder_nonce },
            chain.with_front(PayloadType::HASH, &hash),
        ))
    }

    pub(crate) const fn negotiated(&self) -> &Negotiated {
        &self.negotiated
    }

    /// HASH(3). Refusing costs nothing and moves nothing.
    pub(crate) fn open(&self, keys: &PhaseOneKeys, message_id: u32, body: &Body<'_>) -> Result<(), Discard> {
        verify(body, &keys.hash_3(message_id, &self.initiator_nonce, &self.responder_nonce))
    }

    /// Consumes the state: the initiator is alive and has what it needs.
    pub(crate) fn handle(self) -> Negotiated {
        self.negotiated
    }
}

/// The proxy identities as the sender of the first message sees them; without any, its address and its peer's
/// (RFC 2409 §5.5). `hosts` are those two addresses. `None` for what is no selector.
fn selector(body: &Body<'_>, hosts: (IpAddr, IpAddr)) -> Option<Selector> {
    let identities: Vec<_> = body.all(PayloadType::IDENTIFICATION).collect();
    match identities[..] {
        [] => Selector::between(AddressRange::single(hosts.0), AddressRange::single(hosts.1)),
        [source, destination] => {
            let traffic = |body| Identification::decode(body).and_then(|identity| identity.traffic()).ok();
            traffic(source.body)?.to(&traffic(destination.body)?)
        }
        _ => None,
    }
}

/// g(qm)^xy: both sides take part, or neither.
fn shared(exchange: Option<&KeyExchange>, peer: Option<&[u8]>) -> Result<Option<Wiped>, Discard> {
    match (exchange, peer) {
        (None, None) => Ok(None),
        (Some(exchange), Some(peer)) => exchange.agree(peer).map(Some).map_err(|_| Discard::BadPublicValue),
        _ => Err(Discard::MissingPayload),
    }
}

fn notified_lifetime(body: &Body<'_>, lifetime: Lifetime) -> Lifetime {
    (body.all(PayloadType::NOTIFY))
        .filter_map(|payload| Notify::decode(payload.body).ok())
        .filter(|notify| notify.kind == NotifyType::RESPONDER_LIFETIME && notify.protocol == ProtocolId::ESP)
        .fold(lifetime, |lifetime, notify| match notify.attributes() {
            Ok(attributes) => esp_sa::shortened(lifetime, &attributes),
            Err(_) => lifetime,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: (IpAddr, IpAddr) = (
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)),
        IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2)),
    );

    fn selected(chain: &Chain) -> Option<String> {
        let body = Body::decode(chain.first(), chain.octets()).unwrap();
        selector(&body, HOSTS).map(|selector| selector.to_string())
    }

    #[test] // RFC 2409 §5.5
    fn without_identities_the_two_hosts_are_meant() {
        let chain = Chain::new().with(PayloadType::NONCE, &[1; 16]);
        assert_eq!(selected(&chain).unwrap(), "192.0.2.1/32 -> 192.0.2.2/32");
    }

    #[test]
    fn one_identity_alone_or_a_name_is_no_selector() {
        let address = [1, 0, 0, 0, 10, 0, 0, 1];
        let name = [&[2, 0, 0, 0][..], b"left.test"].concat();
        let chain = Chain::new().with(PayloadType::IDENTIFICATION, &address);
        assert_eq!(selected(&chain), None);
        assert_eq!(selected(&chain.clone().with(PayloadType::IDENTIFICATION, &name)), None);
        let both = chain.with(PayloadType::IDENTIFICATION, &[1, 6, 1, 187, 10, 0, 0, 2]);
        assert_eq!(selected(&both), None, "the protocols differ");
    }

    #[test]
    fn one_side_with_a_public_value_and_one_without_do_not_agree() {
        let mut entropy = crate::testing::Seeded::new(1);
        let ours = KeyExchange::generate(warren_policy::Group::Ecp256, &mut entropy);
        assert!(shared(Some(&ours), None).is_err());
        assert!(shared(None, Some(ours.public())).is_err());
        assert!(shared(None, None).unwrap().is_none());
    }
}
