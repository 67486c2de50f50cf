//! Peers that no configuration names: whoever authenticates under a template becomes one of them.
//!
//! ```text
//! proof under a template -> settle: (template, identity) known? that peer : a new one -> PeerUp … PeerDown -> sweep
//! ```
//!
//! Addresses play no part: two clients behind one NAT are two peers, and one that moved is the same. Only where many
//! share one identity, a group's name with a secret of the group, are they told apart by where they are: who of them it
//! is, extended authentication says, and that is later.

use super::{Endpoint, Peer};
use crate::limits::DYNAMIC_PEERS_MAX;
use crate::{Authentication, Xauth};
use crate::{Discard, Path, PeerConfig, Remote, RemoteIdentity};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use warren_policy::{Identity, PeerId};

/// What makes a peer under a template this one and no other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Who {
    pub(super) template: PeerId,
    identity: Identity,
    /// Where it is, where its identity is a group's.
    member: Option<SocketAddr>,
}

impl Who {
    fn new(config: &PeerConfig, identity: &Identity, path: Path) -> Self {
        let is_group = matches!(config.authentication, Authentication::PreSharedKey(_))
            && matches!(config.xauth, Xauth::Server(_));
        Self { template: config.id, identity: identity.clone(), member: is_group.then_some(path.remote) }
    }
}

/// Where identifiers of such peers begin: no configuration has as many peers.
const FIRST: u32 = 1 << 31;

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
        let name = match who.member {
            Some(member) => format!("{}/{identity}/{member}", config.name),
            None => format!("{}/{identity}", config.name),
        };
        let own = Arc::new(PeerConfig {
            id,
            name,
            remote: Remote::Host(path.remote.ip()),
            remote_identity: RemoteIdentity::Exactly(identity.clone()),
            ..PeerConfig::clone(&config)
        });
        match self.peers.get_mut(&id) {
            Some(held) => held.config = Arc::clone(&own),
            None => {
                let held = Peer { who: Some(who.clone()), ..Peer::new(Arc::clone(&own)) };
                self.peers.insert(id, held);
                self.dynamic.insert(who, id);
            }
        }
        // Should its negotiation still fail, it goes with the next sweep.
        self.leaving.push(id);
        Ok(own)
    }

    /// The peer at that address under a template with a [`Pad`](warren_policy::Pad): the one that is there, or a new one that
    /// `open_child` can begin with. `None` when there is no such template, or there are too many peers. It stays until
    /// `forget_peer`, and as long as there is an ISAKMP SA with it.
    pub fn find_peer(&mut self, template: PeerId, gateway: std::net::IpAddr) -> Option<PeerId> {
        let _ = (template, gateway);
        todo!()
    }

    /// Nobody needs the peer of `find_peer` any more.
    pub fn forget_peer(&mut self, now: std::time::Duration, peer: PeerId) {
        let _ = (now, peer);
        todo!()
    }

    /// The child that `Output::ChildAsked` asked for exists: its quick mode goes on.
    pub fn grant_child(&mut self, now: std::time::Duration, asked: crate::Asked) {
        let _ = (now, asked);
        todo!()
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
            if held.who.is_some() && !held.is_up && held.isakmps.is_empty() {
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
        self.by_selector.retain(|(peer, _), _| *peer != id);
    }
}
