//! What `dpctl` shows of tunnels.

use crate::pair::SaFacts;
use std::net::IpAddr;
use std::time::Duration;
use warren_ike::{Down, Failure, Role};
use warren_policy::{AddressRange, Identity, Lifetime, PeerId, RuleId, SaMode, Selector};
use warren_seam::SaId;

/// How a tunnel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No SA; its traffic is dropped and starts a negotiation.
    Down,
    /// The operator took it down: its traffic is dropped and starts nothing until `up`.
    Closed,
    /// Being negotiated; its traffic is dropped.
    Negotiating,
    /// Traffic passes.
    Up {
        /// SA for what comes in.
        inbound: SaId,
        /// SA that traffic is bound to.
        outbound: SaId,
    },
    /// Traffic passes and a successor is being negotiated, or has just taken over.
    Rekeying {
        /// Inbound SA of the pair that goes.
        old: SaId,
        /// Inbound SA of the pair that came, once there is one.
        new: Option<SaId>,
    },
    /// A negotiation failed; its traffic is dropped and starts nothing before that time.
    HoldDown {
        /// End of the pause.
        until: Duration,
    },
    /// Never has SAs of its own: its traffic is dropped and looks for a gateway, and what is found becomes tunnels of
    /// their own.
    Discovers,
}

/// How a stack stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StackState {
    /// Its levels are being performed, one after the other.
    Building,
    /// Every level is there, and its traffic passes.
    Done,
    /// A level was lost: no traffic passes, and it is being built again from there on.
    Suspended,
    /// Its levels are being taken away, the innermost first.
    TearingDown,
    /// It is gone; a level failed, and nothing is built before that time.
    HoldDown {
        /// End of the pause.
        until: Duration,
    },
}

/// What was the matter with a level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It could not be negotiated.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// It was there, and was lost.
    #[error("lost: {0}")]
    Lost(Down),
}

/// One level of a stack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackLevel {
    /// The operator's rule, or the server's, that wants it; `None` for a base rule that only permits.
    pub rule: Option<RuleId>,
    /// What it is called.
    pub name: String,
    /// The tunnel that it is, by the identifier that its SAs carry; `None` for a base rule that only permits.
    pub tunnel: Option<RuleId>,
    /// Whose.
    pub peer: Option<PeerId>,
    /// Where it ends; the far host of a transport mode SA.
    pub gateway: Option<IpAddr>,
    /// What is negotiated for it; source is our side.
    pub selector: Selector,
    /// Whether it keeps the packet's own header.
    pub mode: SaMode,
    /// How its tunnel stands.
    pub state: Option<State>,
    /// Stacks that use it, this one among them.
    pub users: usize,
}

/// A transaction with its two stacks (REQUIREMENTS NT-11, NT-14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackStatus {
    /// The tunnel rule, or base rule that protects, whose traffic it is for.
    pub rule: RuleId,
    /// How it stands.
    pub state: StackState,
    /// Since when.
    pub since: Duration,
    /// Not performed yet, or never tried; bottom to top: the last is performed next.
    pub pending: Vec<StackLevel>,
    /// Performed and not torn down; bottom to top: nearest gateway first.
    pub completed: Vec<StackLevel>,
    /// The level that the last attempt ended with, by the name of its rule, and why; `None` where it was not even tried.
    pub failed: Option<(String, Option<Trouble>)>,
}

/// A tunnel that discovery brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredStatus {
    /// Its rule.
    pub rule: RuleId,
    /// The rule that it is a part of.
    pub within: RuleId,
    /// Its peer, under the template of that rule.
    pub peer: PeerId,
    /// Where the peer is.
    pub gateway: IpAddr,
    /// What it protects; source is our side.
    pub selector: Selector,
    /// Whether we found the gateway; otherwise it found us.
    pub is_ours: bool,
    /// Since when.
    pub since: Duration,
}

/// One pair of SAs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PairStatus {
    /// What comes in.
    pub inbound: SaFacts,
    /// What goes out.
    pub outbound: SaFacts,
    /// Who began its negotiation.
    pub role: Role,
    /// As agreed.
    pub lifetime: Lifetime,
    /// When it was complete.
    pub born: Duration,
    /// When it ends.
    pub expires_at: Duration,
    /// Whether the rule's traffic goes through it.
    pub bound: bool,
}

/// One tunnel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelStatus {
    /// Its rule.
    pub rule: RuleId,
    /// How it stands.
    pub state: State,
    /// Since when.
    pub since: Duration,
    /// Pairs that it is to have side by side.
    pub parallel: u16,
    /// All pairs, oldest first.
    pub pairs: Vec<PairStatus>,
    /// Negotiations that failed in a row.
    pub failures: u32,
    /// Why the last one did; forgotten when one succeeds.
    pub last_failure: Option<Failure>,
}

/// How things stand with a server that gives us policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientState {
    /// Something failed; the next try comes at that time. Policy that is in force stays so while its ISAKMP SA lives.
    Resting {
        /// End of the pause.
        until: Duration,
    },
    /// Phase 1 is under way.
    Connecting,
    /// We asked, or wait to be told.
    Waiting,
    /// What the server gave is in force, as far as it was accepted.
    Configured,
    /// The operator closed it: nothing is asked for until he wants it again.
    Closed,
}

/// What becomes of an accepted set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetStanding {
    /// Its SAs are negotiated between client and server.
    Executed,
    /// The client negotiates its SAs through the tunnel of another set (REQUIREMENTS NT-36).
    Nested,
    /// The client negotiates its SAs with another gateway.
    Elsewhere,
}

/// One set of a policy that was received or given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetStatus {
    /// Its number in the message.
    pub id: u16,
    /// The server's name for it.
    pub name: String,
    /// What becomes of it.
    pub standing: SetStanding,
    /// Its tunnel rules, in the order of `selectors`; a server has none but of executed sets.
    pub rules: Vec<RuleId>,
    /// What it protects; source is our side.
    pub selectors: Vec<Selector>,
    /// The number of the set whose tunnel it lies in.
    pub parent: Option<u16>,
    /// The gateway it names.
    pub gateway: Option<IpAddr>,
}

/// A set that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSet {
    /// Its number, where that could be read.
    pub id: Option<u16>,
    /// Its name; empty where it could not be read.
    pub name: String,
    /// Why, as a sentence.
    pub reason: String,
}

/// A server that gives us policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientStatus {
    /// The server's peer.
    pub peer: PeerId,
    /// The operator's name for the peer.
    pub name: String,
    /// How things stand.
    pub state: ClientState,
    /// Since when.
    pub since: Duration,
    /// Tries that failed in a row.
    pub failures: u32,
    /// Why the last one did; forgotten when one succeeds.
    pub last_failure: Option<Failure>,
    /// Where the server is.
    pub server: IpAddr,
    /// Whether it speaks our private attributes (REQUIREMENTS W2).
    pub speaks_policy: bool,
    /// Addresses that it leased to us.
    pub addresses: Vec<IpAddr>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Default domain.
    pub domain: Option<String>,
    /// Domains that the name servers are for.
    pub split_dns: Vec<String>,
    /// A greeting.
    pub banner: Option<String>,
    /// What the server says that it cannot give.
    pub error: Option<String>,
    /// Sets that were accepted, in the server's order.
    pub sets: Vec<SetStatus>,
    /// Sets that were refused: the first [`REFUSED_KEPT_MAX`](crate::limits::REFUSED_KEPT_MAX) of them.
    pub refused: Vec<RefusedSet>,
    /// How many were refused.
    pub refused_total: usize,
    /// Where nothing goes, in clear or otherwise, because the policy that protected it was lost.
    pub shielded: Vec<AddressRange>,
}

/// A peer that is connected to us as a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedStatus {
    /// The peer itself.
    pub peer: PeerId,
    /// The configured peer under which it authenticated; the same unless that is a template.
    pub server: PeerId,
    /// The operator's name for the configured peer.
    pub name: String,
    /// The policy's name.
    pub policy: String,
    /// Who it is.
    pub identity: Identity,
    /// Its user, with extended authentication.
    pub user: Option<String>,
    /// Where it is.
    pub remote: IpAddr,
    /// Whether it speaks our private attributes (REQUIREMENTS W2).
    pub speaks_policy: bool,
    /// When it came.
    pub since: Duration,
    /// When it was last given its policy; `None` before that.
    pub served_at: Option<Duration>,
    /// Addresses that are leased to it.
    pub addresses: Vec<IpAddr>,
    /// Its sets.
    pub sets: Vec<SetStatus>,
    /// Sets that it acknowledged as refused.
    pub refused: Vec<RefusedSet>,
    /// Why it gets less than it should.
    pub error: Option<String>,
}

/// A leased address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseStatus {
    /// The pool's name.
    pub pool: String,
    /// Whose it is: an identity, or `user:` and the name of an XAuth user.
    pub holder: String,
    /// The address.
    pub address: IpAddr,
    /// Whether its holder is connected.
    pub active: bool,
    /// Whether the configuration reserves it for its holder.
    pub is_static: bool,
}

/// A pool of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolStatus {
    /// Its name.
    pub name: String,
    /// Addresses that it can lease at a time, without static ones outside of its range.
    pub total: u64,
    /// Addresses that are leased, active or not.
    pub used: u64,
    /// Leases whose holders are connected.
    pub active: u64,
    /// How often it had no address left.
    pub exhausted: u64,
}
