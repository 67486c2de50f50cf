//! Rows about policy that is given and received over the configuration exchange, leases, and who is connected. No
//! secret and no password has a place here (REQUIREMENTS F-33).

use serde::{Deserialize, Serialize};

/// What becomes of a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SetState {
    /// Its SAs are negotiated between client and server.
    Executed,
    /// The client negotiates its SAs through the tunnel of another set.
    Nested,
    /// The client negotiates its SAs with another gateway.
    Elsewhere,
    /// Refused, with a reason.
    Refused,
}

impl SetState {
    /// The word as it stands in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Executed => "executed",
            Self::Nested => "nested",
            Self::Elsewhere => "elsewhere",
            Self::Refused => "refused",
        }
    }
}

/// One set of a policy that was received or given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicySetRow {
    /// Its number in the message, where it could be read.
    pub id: Option<u16>,
    /// The server's name for it.
    pub name: String,
    /// What becomes of it.
    pub state: SetState,
    /// What it protects, outbound.
    pub selectors: Vec<String>,
    /// Transforms, strongest first, of a set whose SAs are negotiated.
    pub transforms: Vec<String>,
    /// Seconds that its SAs live.
    pub lifetime_s: Option<u32>,
    /// Names of the tunnel rules that it became.
    pub rules: Vec<String>,
    /// The number of the set whose tunnel it lies in.
    pub parent: Option<u16>,
    /// The gateway that it names.
    pub gateway: Option<String>,
    /// Why it was refused, as a sentence.
    pub reason: Option<String>,
}

/// What policy from elsewhere may at most ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CeilingRow {
    /// Where SAs may lead.
    pub remote: Vec<String>,
    /// Whose traffic they may take, besides the leased addresses.
    pub local: Vec<String>,
    /// No transform is weaker.
    pub weakest: String,
    /// SAs in all.
    pub sets: u64,
}

/// How things stand with a server that gives us policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullState {
    /// Something failed; a pause before the next try.
    Resting,
    /// Phase 1 is under way.
    Connecting,
    /// We asked, or wait to be told.
    Waiting,
    /// What the server gave is in force, as far as it was accepted.
    Configured,
    /// Taken down by the operator.
    Closed,
}

impl PullState {
    /// The word as it stands in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resting => "resting",
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::Configured => "configured",
            Self::Closed => "closed",
        }
    }
}

/// A server that gives us policy, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PulledPolicy {
    /// The peer's name.
    pub peer: String,
    /// The server's address.
    pub server: String,
    /// How things stand.
    pub state: PullState,
    /// Seconds in this state.
    pub since_s: u64,
    /// Whether it speaks our private attributes; otherwise it gives networks, not sets.
    pub speaks_policy: bool,
    /// Addresses that it leased to us.
    pub addresses: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Default domain.
    pub domain: Option<String>,
    /// Domains that the name servers are for.
    pub split_dns: Vec<String>,
    /// A greeting.
    pub banner: Option<String>,
    /// Sets, accepted ones first.
    pub sets: Vec<PolicySetRow>,
    /// How many were refused; more than are in `sets` when a server sends very many.
    pub refused: u64,
    /// What it may at most ask for.
    pub ceiling: CeilingRow,
    /// Where nothing goes because the policy that protected it was lost.
    pub shielded: Vec<String>,
    /// What the server says that it cannot give.
    pub server_error: Option<String>,
    /// Why the last try failed.
    pub last_error: Option<String>,
}

/// One set of a policy of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedSetRow {
    /// Its name.
    pub name: String,
    /// Our side.
    pub source: Vec<String>,
    /// The client's side: `lease`, or networks.
    pub destination: Vec<String>,
    /// Protocol and ports, where they are not any.
    pub traffic: String,
    /// Proposals, strongest first.
    pub proposals: Vec<String>,
    /// Seconds that its SAs live.
    pub lifetime_s: u32,
    /// The set whose tunnel it lies in.
    pub parent: Option<String>,
    /// Another gateway than ourselves.
    pub gateway: Option<String>,
}

/// A policy of the file, as it is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedPolicyRow {
    /// Its name.
    pub name: String,
    /// Names of the peers that it is served to.
    pub peers: Vec<String>,
    /// Names of its pools.
    pub pools: Vec<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Default domain.
    pub domain: Option<String>,
    /// Domains that the name servers are for.
    pub split_dns: Vec<String>,
    /// A greeting.
    pub banner: Option<String>,
    /// Its sets.
    pub sets: Vec<ServedSetRow>,
    /// Clients that have it at the moment.
    pub clients: u64,
}

/// Policy in both directions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies {
    /// What we serve.
    pub served: Vec<ServedPolicyRow>,
    /// What we receive.
    pub pulled: Vec<PulledPolicy>,
}

/// A pool of addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// Its name.
    pub name: String,
    /// What is leased.
    pub addresses: String,
    /// Addresses that it can lease at a time.
    pub total: u64,
    /// Addresses that are leased, active or not.
    pub used: u64,
    /// Leases whose holders are connected.
    pub active: u64,
    /// How often it had no address left.
    pub exhausted: u64,
}

/// Whether a lease's holder is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LeaseState {
    /// Its holder is connected.
    Active,
    /// Kept for its holder until somebody else needs it.
    Inactive,
}

impl LeaseState {
    /// The word as it stands in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
        }
    }
}

/// A leased address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The pool's name.
    pub pool: String,
    /// Whose it is: an identity, or `user:` and a user's name.
    pub holder: String,
    /// The address.
    pub address: String,
    /// Whether its holder is there.
    pub state: LeaseState,
    /// Whether the file reserves it for its holder.
    #[serde(rename = "static")]
    pub is_static: bool,
}

/// Pools and what is leased of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leases {
    /// In the order of the file.
    pub pools: Vec<Pool>,
    /// By pool and address.
    pub leases: Vec<Lease>,
}

/// A client of ours that is connected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedClient {
    /// The peer's name, with the identity behind a template's.
    pub peer: String,
    /// Who it is.
    pub identity: String,
    /// Its user, with extended authentication.
    pub user: Option<String>,
    /// Where it is.
    pub remote: String,
    /// Seconds since it came.
    pub since_s: u64,
    /// The policy's name.
    pub policy: String,
    /// Whether it was given its policy.
    pub served: bool,
    /// Whether it speaks our private attributes.
    pub speaks_policy: bool,
    /// Addresses that are leased to it.
    pub addresses: Vec<String>,
    /// Its sets, those that it refused among them.
    pub sets: Vec<PolicySetRow>,
    /// Why it gets less than it should.
    pub error: Option<String>,
}

/// Both ends of the configuration exchange: clients that are connected to us, and servers that we are a client of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clients {
    /// Clients of ours.
    pub connected: Vec<ConnectedClient>,
    /// Ourselves, as the client of each server.
    pub own: Vec<PulledPolicy>,
}
