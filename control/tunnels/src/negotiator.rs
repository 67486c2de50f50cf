//! What tunnels need of IKE. A trait, so that tests put a scripted conversation in its place.

use std::net::SocketAddr;
use std::time::Duration;
use warren_ike::{ChildConfig, Endpoint, Output, Path, PeerConfig};
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
}
