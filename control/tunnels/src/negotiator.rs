//! What tunnels need of IKE. A trait, so that tests put a scripted conversation in its place.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use warren_ike::wire::ConfigAttribute;
use warren_ike::{Asked, ChildConfig, ConfigExchange, Endpoint, Output, Path, PeerConfig};
use warren_policy::{PeerId, RuleId};
use warren_seam::SaId;

/// The inputs and outputs of [`Endpoint`].
pub trait Negotiator {
    /// Replaces the configuration; what does not change keeps its SAs.
    fn reconfigure(&mut self, now: Duration, peers: Vec<PeerConfig>, children: Vec<ChildConfig>);
    /// A datagram arrived.
    fn handle_datagram(&mut self, now: Duration, path: Path, octets: &[u8]);
    /// The time of [`Negotiator::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Duration);
    /// When `handle_timeout` wants to be called.
    fn poll_timeout(&self) -> Option<Duration>;
    /// The next effect, strictly in order.
    fn poll_output(&mut self) -> Option<Output>;
    /// Negotiates a pair of SAs; a second call during a negotiation is ignored.
    fn open_child(&mut self, now: Duration, rule: RuleId);
    /// Deletes the pair with this inbound SA.
    fn close_child(&mut self, now: Duration, inbound: SaId);
    /// Deletes everything that belongs to the peer.
    fn close_peer(&mut self, now: Duration, peer: PeerId);
    /// Authentic ESP on `sa` came from elsewhere.
    fn peer_moved(&mut self, now: Duration, sa: SaId, remote: SocketAddr);
    /// Authentic ESP of the peer arrived.
    fn inbound_activity(&mut self, now: Duration, peer: PeerId);
    /// Brings up an ISAKMP SA with the peer.
    fn connect(&mut self, now: Duration, peer: PeerId);
    /// CFG_REQUEST.
    fn pull_config(&mut self, now: Duration, peer: PeerId, attributes: Vec<ConfigAttribute>);
    /// CFG_SET.
    fn push_config(&mut self, now: Duration, peer: PeerId, attributes: Vec<ConfigAttribute>);
    /// CFG_REPLY.
    fn reply_config(
        &mut self,
        now: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        attributes: Vec<ConfigAttribute>,
    );
    /// CFG_ACK.
    fn acknowledge_config(
        &mut self,
        now: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        attributes: Vec<ConfigAttribute>,
    );
    /// The peer at that address under a template with a PAD, which stays until `forget_peer`.
    fn find_peer(&mut self, template: PeerId, gateway: IpAddr) -> Option<PeerId>;
    /// Nobody needs the peer of `find_peer` any more.
    fn forget_peer(&mut self, now: Duration, peer: PeerId);
    /// The child that was asked for exists.
    fn grant_child(&mut self, now: Duration, asked: Asked);
    /// One more child that may be negotiated.
    fn add_child(&mut self, now: Duration, child: ChildConfig);
    /// A child that may not be negotiated any more; its pairs are closed.
    fn remove_child(&mut self, now: Duration, rule: RuleId);
}

impl Negotiator for Endpoint {
    fn reconfigure(&mut self, now: Duration, peers: Vec<PeerConfig>, children: Vec<ChildConfig>) {
        Self::reconfigure(self, now, peers, children);
    }

    fn handle_datagram(&mut self, now: Duration, path: Path, octets: &[u8]) {
        Self::handle_datagram(self, now, path, octets);
    }

    fn handle_timeout(&mut self, now: Duration) {
        Self::handle_timeout(self, now);
    }

    fn poll_timeout(&self) -> Option<Duration> {
        Self::poll_timeout(self)
    }

    fn poll_output(&mut self) -> Option<Output> {
        Self::poll_output(self)
    }

    fn open_child(&mut self, now: Duration, rule: RuleId) {
        Self::open_child(self, now, rule);
    }

    fn close_child(&mut self, now: Duration, inbound: SaId) {
        Self::close_child(self, now, inbound);
    }

    fn close_peer(&mut self, now: Duration, peer: PeerId) {
        Self::close_peer(self, now, peer);
    }

    fn peer_moved(&mut self, now: Duration, sa: SaId, remote: SocketAddr) {
        Self::peer_moved(self, now, sa, remote);
    }

    fn inbound_activity(&mut self, now: Duration, peer: PeerId) {
        Self::inbound_activity(self, now, peer);
    }

    fn connect(&mut self, now: Duration, peer: PeerId) {
        Self::connect(self, now, peer);
    }

    fn pull_config(&mut self, now: Duration, peer: PeerId, attributes: Vec<ConfigAttribute>) {
        Self::pull_config(self, now, peer, attributes);
    }

    fn push_config(&mut self, now: Duration, peer: PeerId, attributes: Vec<ConfigAttribute>) {
        Self::push_config(self, now, peer, attributes);
    }

    fn reply_config(
        &mut self,
        now: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        attributes: Vec<ConfigAttribute>,
    ) {
        Self::reply_config(self, now, peer, exchange, attributes);
    }

    fn acknowledge_config(
        &mut self,
        now: Duration,
        peer: PeerId,
        exchange: ConfigExchange,
        attributes: Vec<ConfigAttribute>,
    ) {
        Self::acknowledge_config(self, now, peer, exchange, attributes);
    }

    fn find_peer(&mut self, template: PeerId, gateway: IpAddr) -> Option<PeerId> {
        Self::find_peer(self, template, gateway)
    }

    fn forget_peer(&mut self, now: Duration, peer: PeerId) {
        Self::forget_peer(self, now, peer);
    }

    fn grant_child(&mut self, now: Duration, asked: Asked) {
        Self::grant_child(self, now, asked);
    }

    fn add_child(&mut self, now: Duration, child: ChildConfig) {
        Self::add_child(self, now, child);
    }

    fn remove_child(&mut self, now: Duration, rule: RuleId) {
        Self::remove_child(self, now, rule);
    }
}
