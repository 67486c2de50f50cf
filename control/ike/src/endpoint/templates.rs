//! Peers that no configuration names: whoever authenticates under a template becomes one of them.
//!
//! ```text
//! proof under a template -> settle: (template, identity) known? that peer : a new one -> PeerUp … PeerDown -> sweep
//! ```
//!
//! Addresses play no part: two clients behind one NAT are two peers, and one that moved is the same.

use super::{Endpoint, Peer};
use crate::limits::DYNAMIC_PEERS_MAX;
use crate::{Discard, Path, PeerConfig, Remote, RemoteIdentity};
use std::mem;
use std::sync::Arc;
use warren_policy::{Identity, PeerId};

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
        let template = config.id;
        let known = self.dynamic.get(&(template, identity.clone())).copied();
        if known.is_none() && self.dynamic.len() >= DYNAMIC_PEERS_MAX {
            return Err(Discard::PeersFull);
        }
        let id = known.unwrap_or_else(|| self.next_dynamic());
        let own = Arc::new(PeerConfig {
            id,
            name: format!("{}/{identity}", config.name),
            remote: Remote::Host(path.remote.ip()),
            remote_identity: RemoteIdentity::Exactly(identity.clone()),
            ..PeerConfig::clone(&config)
        });
        match self.peers.get_mut(&id) {
            Some(held) => held.config = Arc::clone(&own),
            None => {
                let held = Peer { template: Some(template), ..Peer::new(Arc::clone(&own)) };
                self.peers.insert(id, held);
                self.dynamic.insert((template, identity.clone()), id);
            }
        }
        // Should its negotiation still fail, it goes with the next sweep.
        self.leaving.push(id);
        Ok(own)
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
            if held.template.is_some() && !held.is_up && held.isakmps.is_empty() {
                self.remove_dynamic(id);
            }
        }
    }

    /// The peers under that template.
    pub(super) fn of_template(&self, template: PeerId) -> Vec<PeerId> {
        let of = |held: &&Peer| held.template == Some(template);
        self.peers.values().filter(of).map(|held| held.config.id).collect()
    }

    /// Nothing is left of it but its place; rules that name it go along.
    pub(super) fn remove_dynamic(&mut self, id: PeerId) {
        let Some(held) = self.peers.remove(&id) else { return };
        if let (Some(template), RemoteIdentity::Exactly(identity)) =
            (held.template, &held.config.remote_identity)
        {
            self.dynamic.remove(&(template, identity.clone()));
        }
        self.rules.retain(|_, child| child.peer != id);
        self.by_selector.retain(|(peer, _), _| *peer != id);
    }
}
