//! What `dpctl` is told of policy that is given and received, of leases, and of who is connected.

use crate::answers::Sources;
use warren_api::{
    CeilingRow, Clients, ConnectedClient, Lease, LeaseState, Leases, Policies, PolicySetRow, Pool, PullState,
    PulledPolicy, ServedPolicyRow, ServedSetRow, SetState,
};
use warren_policy::{Ceiling, ClientSide, PortRange, Protocol, ServedPolicy, ServedSet};
use warren_tunnels::{
    ClientState, ClientStatus, LeaseStatus, PoolStatus, RefusedSet, ServedStatus, SetStanding, SetStatus,
};

impl Sources<'_> {
    pub(crate) fn policies(&self) -> Policies {
        let served = self.tunnels.served();
        let row = |(at, policy): (usize, &ServedPolicy)| self.policy(at, policy, &served);
        Policies { served: self.config.policies.iter().enumerate().map(row).collect(), pulled: self.pulled() }
    }

    pub(crate) fn clients(&self) -> Clients {
        let connected = self.tunnels.served();
        Clients {
            connected: connected.iter().map(|served| self.connected(served)).collect(),
            own: self.pulled(),
        }
    }

    pub(crate) fn leases(&self) -> Leases {
        let addresses = |name: &str| {
            let pool = self.config.pools.iter().find(|pool| pool.name == name);
            pool.map_or_else(String::new, |pool| pool.addresses.to_string())
        };
        let pool = |pool: PoolStatus| Pool {
            addresses: addresses(&pool.name),
            name: pool.name,
            total: pool.total,
            used: pool.used,
            active: pool.active,
            exhausted: pool.exhausted,
        };
        let lease = |lease: LeaseStatus| Lease {
            pool: lease.pool,
            holder: lease.holder,
            address: lease.address.to_string(),
            state: if lease.active { LeaseState::Active } else { LeaseState::Inactive },
            is_static: lease.is_static,
        };
        Leases {
            pools: self.tunnels.pools().into_iter().map(pool).collect(),
            leases: self.tunnels.leases().into_iter().map(lease).collect(),
        }
    }

    fn pulled(&self) -> Vec<PulledPolicy> {
        self.tunnels.clients().into_iter().filter_map(|client| self.pulled_from(client)).collect()
    }

    fn pulled_from(&self, client: ClientStatus) -> Option<PulledPolicy> {
        let receives = self.config.peer(client.peer)?.receives.as_ref()?;
        let accepted = client.sets.iter().map(|set| self.accepted(set));
        let refused = client.refused.iter().map(refused);
        Some(PulledPolicy {
            sets: accepted.chain(refused).collect(),
            peer: client.name,
            server: client.server.to_string(),
            state: match client.state {
                ClientState::Resting { .. } => PullState::Resting,
                ClientState::Connecting => PullState::Connecting,
                ClientState::Waiting => PullState::Waiting,
                ClientState::Configured => PullState::Configured,
                ClientState::Closed => PullState::Closed,
            },
            since_s: self.now.saturating_sub(client.since).as_secs(),
            speaks_policy: client.speaks_policy,
            addresses: written(&client.addresses),
            dns: written(&client.dns),
            domain: client.domain,
            split_dns: client.split_dns,
            banner: client.banner,
            refused: client.refused_total as u64,
            ceiling: ceiling(&receives.ceiling),
            shielded: written(&client.shielded),
            server_error: client.error,
            last_error: client.last_failure.map(|failure| failure.to_string()),
        })
    }

    fn connected(&self, served: &ServedStatus) -> ConnectedClient {
        let accepted = served.sets.iter().filter(|set| !is_among(set, &served.refused));
        ConnectedClient {
            peer: self.tunnels.peer_name(served.peer),
            identity: served.identity.to_string(),
            user: served.user.clone(),
            remote: served.remote.to_string(),
            since_s: self.now.saturating_sub(served.since).as_secs(),
            policy: served.policy.clone(),
            served: served.served_at.is_some(),
            speaks_policy: served.speaks_policy,
            addresses: written(&served.addresses),
            sets: accepted.map(|set| self.accepted(set)).chain(served.refused.iter().map(refused)).collect(),
            error: served.error.clone(),
        }
    }

    /// A set in force, with what is negotiated for it.
    fn accepted(&self, set: &SetStatus) -> PolicySetRow {
        let child = set.rules.first().and_then(|rule| self.tunnels.child(*rule));
        let names = set.rules.iter().filter_map(|rule| self.tunnels.rules().tunnel_rule(*rule));
        PolicySetRow {
            id: Some(set.id),
            name: set.name.clone(),
            state: match set.standing {
                SetStanding::Executed => SetState::Executed,
                SetStanding::Nested => SetState::Nested,
                SetStanding::Elsewhere => SetState::Elsewhere,
            },
            selectors: written(&set.selectors),
            transforms: child.map_or_else(Vec::new, |child| written(&child.proposals)),
            lifetime_s: child.map(|child| child.lifetime.seconds),
            rules: names.map(|rule| rule.name.clone()).collect(),
            parent: set.parent,
            gateway: set.gateway.map(|gateway| gateway.to_string()),
            reason: None,
        }
    }

    fn policy(&self, at: usize, policy: &ServedPolicy, served: &[ServedStatus]) -> ServedPolicyRow {
        let serves = |peer: &&warren_config::Peer| peer.serves.is_some_and(|serves| serves.policy == at);
        let pool = |pool: &usize| self.config.pools.get(*pool).map(|pool| pool.name.clone());
        ServedPolicyRow {
            name: policy.name.clone(),
            peers: self.config.peers.iter().filter(serves).map(|peer| peer.name.clone()).collect(),
            pools: policy.pools.iter().filter_map(pool).collect(),
            dns: written(&policy.dns),
            domain: policy.domain.clone(),
            split_dns: policy.split_dns.clone(),
            banner: policy.banner.clone(),
            sets: policy.sets.iter().map(|set| served_set(set, &policy.sets)).collect(),
            clients: served.iter().filter(|served| served.policy == policy.name).count() as u64,
        }
    }
}

fn is_among(set: &SetStatus, refused: &[RefusedSet]) -> bool {
    refused.iter().any(|refused| refused.id == Some(set.id))
}

fn refused(set: &RefusedSet) -> PolicySetRow {
    PolicySetRow {
        id: set.id,
        name: set.name.clone(),
        state: SetState::Refused,
        selectors: Vec::new(),
        transforms: Vec::new(),
        lifetime_s: None,
        rules: Vec::new(),
        parent: None,
        gateway: None,
        reason: Some(set.reason.clone()),
    }
}

fn ceiling(ceiling: &Ceiling) -> CeilingRow {
    CeilingRow {
        remote: written(&ceiling.remote),
        local: written(&ceiling.local),
        weakest: ceiling.weakest.to_string(),
        sets: ceiling.sas_max as u64,
    }
}

fn served_set(set: &ServedSet, all: &[ServedSet]) -> ServedSetRow {
    ServedSetRow {
        name: set.name.clone(),
        source: written(&set.source),
        destination: match &set.destination {
            ClientSide::Lease => vec!["lease".to_owned()],
            ClientSide::Networks(networks) => written(networks),
        },
        traffic: traffic(set),
        proposals: written(&set.proposals),
        lifetime_s: set.lifetime.seconds,
        parent: set.parent.and_then(|parent| all.get(parent)).map(|parent| parent.name.clone()),
        gateway: set.gateway.map(|gateway| gateway.to_string()),
    }
}

/// Protocol and ports, as selectors write them.
fn traffic(set: &ServedSet) -> String {
    let port = |range: PortRange| match range {
        PortRange::ANY => "any".to_owned(),
        range => range.first().to_string(),
    };
    let (source, destination) = (set.source_port, set.destination_port);
    match (set.protocol, source == PortRange::ANY && destination == PortRange::ANY) {
        (Protocol::Any, _) => "any".to_owned(),
        (protocol, true) => protocol.to_string(),
        (protocol, false) => format!("{protocol} port {} -> {}", port(source), port(destination)),
    }
}

fn written(items: &[impl ToString]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}
