//! Peers that no configuration names: whoever authenticates under a template becomes one of them, and so does the
//! gateway that discovery found.
//!
//! ```text
//! proof under a template -> settle: who it is known? that peer : a new one -> PeerUp … PeerDown -> sweep
//! discovery -> find_peer: its address known? that peer : a new one -> open_child … forget_peer -> sweep
//! ```
//!
//! Under most templates addresses play no part: two clients behind one NAT are two peers, and one that moved is the
//! same. Only where many share one identity, a group's name with a secret of the group, are they told apart by where
//! they are: who of them it is, extended authentication says, and that is later.
//!
//! Under a template with a peer authorisation database one address is one gateway, whoever began: discovery knows an
//! address before anybody knows an identity, and both sides may begin at once. Whoever proves to be the gateway is it
//! until all its SAs are gone; meanwhile nobody else becomes a part of that peer.

use super::{Endpoint, Peer};
use crate::limits::DYNAMIC_PEERS_MAX;
use crate::{Authentication, Down, Failure, Notice, Xauth};
use crate::{Discard, Path, PeerConfig, Remote, RemoteIdentity};
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use warren_policy::{Identity, PeerId};

/// What makes a peer under a template this one and no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) template: PeerId,
    mark: Mark,
}

/// What a template tells its peers apart by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Mark {
    Identity(Identity),
    /// A group's identity, and where this member of it is.
    Member(Identity, SocketAddr),
    /// Its address.
    Gateway(IpAddr),
}

impl Who {
    fn new(config: &PeerConfig, identity: &Identity, path: Path) -> Self {
        let is_group = matches!(config.authentication, Authentication::PreSharedKey(_))
            && matches!(config.xauth, Xauth::Server(_));
        let mark = match (&config.pad, is_group) {
            (Some(_), _) => Mark::Gateway(path.remote.ip()),
            (None, true) => Mark::Member(identity.clone(), path.remote),
            (None, false) => Mark::Identity(identity.clone()),
        };
        Self { template: config.id, mark }
    }

    /// Its address, where that is what makes it this peer.
    const fn gateway(&self) -> Option<IpAddr> {
        match self.mark {
            Mark::Gateway(address) => Some(address),
            Mark::Identity(_) | Mark::Member(..) => None,
        }
    }
}

impl Peer {
    /// Whether it has an address of its own, at which we can begin.
    pub(super) fn is_callable(&self) -> bool {
        self.who.as_ref().is_none_or(|who| who.gateway().is_some())
    }

    /// Whether it came by itself and nothing is protected with it any more: renewed, such a peer would stay for ever.
    pub(super) fn is_idle_gateway(&self) -> bool {
        self.who.is_some() && !self.is_held && self.children.is_empty()
    }
}

/// Where identifiers of such peers begin: no configuration has as many peers.
const FIRST: u32 = 1 << 31;

/// The configuration of the gateway at that address.
fn gateway_config(template: &PeerConfig, id: PeerId, gateway: IpAddr, local: IpAddr) -> PeerConfig {
    PeerConfig {
        id,
        name: format!("{}/{gateway}", template.name),
        local,
        remote: Remote::Host(gateway),
        ..PeerConfig::clone(template)
    }
}

/// Our address towards the gateway; `None` where both are of different families.
const fn local_towards(gateway: IpAddr, local: IpAddr) -> Option<IpAddr> {
    match (gateway, local) {
        (IpAddr::V4(_), any) if any.is_unspecified() => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        (IpAddr::V6(_), any) if any.is_unspecified() => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => Some(local),
        _ => None,
    }
}

impl Endpoint {
    /// The configuration of the peer that proved to be `identity` under `config`: itself, unless it is a template.
    pub(super) fn settle(
        &mut self,
        config: Arc<PeerConfig>,
        identity: &Identity,
        path: Path,
    ) -> Result<Arc<PeerConfig>, Discard> {
        if !config.is_template() {
            return Ok(config);
        }
        let who = Who::new(&config, identity, path);
        let known = self.dynamic.get(&who).copied();
        if known.is_none() && self.dynamic.len() >= DYNAMIC_PEERS_MAX {
            return Err(Discard::PeersFull);
        }
        let id = known.unwrap_or_else(|| self.next_dynamic());
        let own = match &who.mark {
            Mark::Gateway(gateway) => match known {
                Some(id) => self.same_gateway(id, identity)?,
                None => Arc::new(gateway_config(&config, id, *gateway, path.local.ip())),
            },
            Mark::Identity(_) | Mark::Member(..) => {
                let name = match who.mark {
                    Mark::Member(_, member) => format!("{}/{identity}/{member}", config.name),
                    _ => format!("{}/{identity}", config.name),
                };
                Arc::new(PeerConfig {
                    id,
                    name,
                    remote: Remote::Host(path.remote.ip()),
                    remote_identity: RemoteIdentity::Exactly(identity.clone()),
                    ..PeerConfig::clone(&config)
                })
            }
        };
        match self.peers.get_mut(&id) {
            Some(held) => held.config = Arc::clone(&own),
            None => self.add_dynamic(who, Arc::clone(&own)),
        }
        // Should its negotiation still fail, it goes with the next sweep.
        self.leaving.push(id);
        Ok(own)
    }

    /// The configuration of a gateway that is known by its address, if `identity` may be that gateway.
    fn same_gateway(&mut self, id: PeerId, identity: &Identity) -> Result<Arc<PeerConfig>, Discard> {
        let own = Arc::clone(&self.peer(id).config);
        if own.remote_identity.accepts(identity) {
            return Ok(own);
        }
        let (peer, identity) = (own.name.clone(), Some(identity.clone()));
        self.log(Notice::IdentityMismatch { peer, identity });
        Err(Discard::IdentityMismatch)
    }

    /// As long as anything is left of what a gateway negotiated, it is who it proved to be: two at one address would
    /// share their SAs, and each could take the other's down.
    pub(super) fn remember_identity(&mut self, id: PeerId, identity: &Identity) {
        let held = self.peer_mut(id);
        if held.who.as_ref().is_some_and(|who| who.gateway().is_some())
            && held.config.remote_identity == RemoteIdentity::Any
        {
            let remote_identity = RemoteIdentity::Exactly(identity.clone());
            held.config = Arc::new(PeerConfig { remote_identity, ..PeerConfig::clone(&held.config) });
        }
    }

    /// Nothing is left of it: the gateway at that address may be another.
    pub(super) fn forget_identity(&mut self, id: PeerId) {
        let who = self.peer(id).who.as_ref().filter(|who| who.gateway().is_some());
        let template = who.and_then(|who| self.peers.get(&who.template));
        let Some(remote_identity) = template.map(|template| template.config.remote_identity.clone()) else {
            return;
        };
        let held = self.peer_mut(id);
        if held.config.remote_identity != remote_identity {
            held.config = Arc::new(PeerConfig { remote_identity, ..PeerConfig::clone(&held.config) });
        }
    }

    /// The peer at that address under a template with a [`Pad`](warren_policy::Pad): the one that is there, because it
    /// was found before or came by itself, or a new one that `open_child` can begin with once it has a child
    /// (`add_child`). It stays until `forget_peer`, whatever becomes of its SAs, or until its template is another
    /// one. `None` when there is no such template, when there are too many peers, or when the template has only an
    /// address of ours of the other family.
    pub fn find_peer(&mut self, template: PeerId, gateway: IpAddr) -> Option<PeerId> {
        let config = &self.peers.get(&template)?.config;
        if config.pad.is_none() || config.remote != Remote::Any || !config.is_template() {
            return None;
        }
        let (config, local) = (Arc::clone(config), local_towards(gateway, config.local)?);
        let who = Who { template, mark: Mark::Gateway(gateway) };
        let id = match self.dynamic.get(&who) {
            Some(id) => *id,
            None if self.dynamic.len() >= DYNAMIC_PEERS_MAX => return None,
            None => {
                let id = self.next_dynamic();
                self.add_dynamic(who, Arc::new(gateway_config(&config, id, gateway, local)));
                id
            }
        };
        self.peer_mut(id).is_held = true;
        Some(id)
    }

    /// Nobody needs the peer of `find_peer` any more: what is left with it is closed as by `close_peer`, and it is no
    /// peer from now on. Ignored for others.
    pub fn forget_peer(&mut self, _now: Duration, peer: PeerId) {
        let Some(held) = self.peers.get_mut(&peer) else { return };
        if mem::replace(&mut held.is_held, false) {
            self.end_peer(peer, (Down::Closed, Failure::Closed));
            self.sweep();
        }
    }

    /// Gateways under a template that is as it was take over what does not matter for their SAs.
    pub(super) fn renew_gateways(&mut self) {
        for (who, id) in &self.dynamic {
            let template = self.peers.get(&who.template).map(|template| Arc::clone(&template.config));
            let (Some(template), Some(gateway)) = (template, who.gateway()) else { continue };
            let Some(held) = self.peers.get_mut(id) else { continue };
            let remote_identity = held.config.remote_identity.clone();
            let config = gateway_config(&template, *id, gateway, held.config.local);
            held.config = Arc::new(PeerConfig { remote_identity, ..config });
        }
    }

    fn add_dynamic(&mut self, who: Who, config: Arc<PeerConfig>) {
        let id = config.id;
        self.peers.insert(id, Peer { who: Some(who.clone()), ..Peer::new(config) });
        self.dynamic.insert(who, id);
    }

    /// Counted upwards, so that an identifier is not soon another peer's.
    fn next_dynamic(&mut self) -> PeerId {
        loop {
            let id = PeerId(FIRST | self.last_dynamic);
            self.last_dynamic = (self.last_dynamic + 1) % FIRST;
            if !self.peers.contains_key(&id) {
                return id;
            }
        }
    }

    /// Removes peers of templates with which nothing is left. Not earlier than at the end of an input: whoever is at
    /// work on one still names it.
    pub(super) fn sweep(&mut self) {
        for id in mem::take(&mut self.leaving) {
            let Some(held) = self.peers.get(&id) else { continue };
            if held.who.is_some() && !held.is_held && !held.is_up && held.isakmps.is_empty() {
                self.remove_dynamic(id);
            }
        }
    }

    /// The peers under that template.
    pub(super) fn of_template(&self, template: PeerId) -> Vec<PeerId> {
        let of = |held: &&Peer| held.who.as_ref().is_some_and(|who| who.template == template);
        self.peers.values().filter(of).map(|held| held.config.id).collect()
    }

    /// Nothing is left of it but its place; rules that name it go along.
    pub(super) fn remove_dynamic(&mut self, id: PeerId) {
        let Some(held) = self.peers.remove(&id) else { return };
        if let Some(who) = held.who {
            self.dynamic.remove(&who);
        }
        self.rules.retain(|_, child| child.peer != id);
        self.by_selector.retain(|(peer, ..), _| *peer != id);
    }
}
