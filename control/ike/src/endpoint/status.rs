//! What `dpctl` shows.

use super::Endpoint;
use super::isakmp::Isakmp;
use crate::v1::nat::Nat;
use crate::{ChildStatus, PeerState, PeerStatus};

impl Endpoint {
    /// Every peer: those configured, and those that came under a template.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.peers
            .values()
            .map(|held| {
                let peer = held.config.id;
                let all = || held.isakmps.iter().filter_map(|id| self.isakmps.get(id));
                let shown = held.current.and_then(|id| self.isakmps.get(&id)).or_else(|| all().next_back());
                let state = match (held.current.is_some(), self.is_negotiating(peer)) {
                    (true, true) => PeerState::Renewing,
                    (true, false) => PeerState::Established,
                    (false, true) => PeerState::Negotiating,
                    (false, false) => PeerState::Idle,
                };
                let established = shown.and_then(Isakmp::established);
                let nat = shown.map_or(Nat::default(), Isakmp::nat);
                PeerStatus {
                    peer,
                    name: held.config.name.clone(),
                    state,
                    path: shown.map(|isakmp| isakmp.path),
                    role: shown.map(|isakmp| isakmp.role),
                    initiator_cookie: shown.map_or([0; 8], |isakmp| isakmp.cookies.initiator),
                    responder_cookie: shown.map_or([0; 8], |isakmp| isakmp.cookies.responder),
                    proposal: established.map(|established| established.sa.agreed.proposal),
                    established_at: established.map(|established| established.at),
                    expires_at: established.map(|established| established.expires_at),
                    udp_encapsulation: nat.float,
                    local_behind_nat: nat.local,
                    remote_behind_nat: nat.remote,
                }
            })
            .collect()
    }

    /// Every complete pair of ESP SAs.
    #[must_use]
    pub fn children(&self) -> Vec<ChildStatus> {
        let status = |child: &super::Child| ChildStatus {
            rule: child.rule,
            peer: child.peer,
            inbound: child.inbound,
            outbound: child.outbound,
            inbound_spi: child.inbound_spi,
            outbound_spi: child.outbound_spi,
            role: child.role,
            transform: child.transform,
            lifetime: child.lifetime,
            established_at: child.established_at,
        };
        self.children.values().map(status).collect()
    }
}
