//! What can be asked.

use crate::explain::Matching;
use crate::ted::TedPacket;
use serde::{Deserialize, Serialize};

/// One line from `dpctl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// [`crate::VERSION`] of the one who asks.
    pub version: u32,
    /// What is wanted.
    pub command: Command,
}

impl Request {
    /// The command in this version.
    #[must_use]
    pub const fn new(command: Command) -> Self {
        Self { version: crate::VERSION, command }
    }
}

/// What is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Command {
    /// Who is there. Answered with `Answer::Version`.
    Version,
    /// All counters. Answered with `Answer::Stats`.
    Stats,
    /// Where the workers' cycles go. Answered with `Answer::Stages`.
    Stages,
    /// Every SA. Answered with `Answer::SaList`.
    SaList,
    /// Every tunnel rule and how it stands. Answered with `Answer::TunnelList`.
    TunnelList,
    /// Negotiate this tunnel now. Answered with `Answer::Done` as soon as it is asked for, not when it is up.
    TunnelUp {
        /// The tunnel rule's name.
        name: String,
    },
    /// Take this tunnel down; its traffic is dropped and starts nothing until `TunnelUp`. Answered with
    /// `Answer::Done`.
    TunnelDown {
        /// The tunnel rule's name.
        name: String,
    },
    /// Both classes of rules. Answered with `Answer::RuleList`.
    RuleList,
    /// Every reason for a drop with its count. Answered with `Answer::Drops`.
    Drops,
    /// Policy that we serve and receive. Answered with `Answer::Policies`.
    PolicyList,
    /// Pull policy from this server again, now; undoes `ClientClose`. Answered with `Answer::Done` as soon as it is
    /// asked for.
    PolicyPull {
        /// The peer's name.
        name: String,
    },
    /// Pools and leases. Answered with `Answer::Leases`.
    LeaseList,
    /// Forget a lease; a holder that is connected is disconnected first. Answered with `Answer::Done`.
    LeaseRelease {
        /// The pool's name.
        pool: String,
        /// Whose lease it is, as `LeaseList` shows it.
        holder: String,
    },
    /// Clients that are connected to us, and servers that we are a client of. Answered with `Answer::Clients`.
    ClientList,
    /// Withdraw what this server gave us, and ask for nothing until `PolicyPull`. Answered with `Answer::Done`.
    ClientClose {
        /// The peer's name.
        name: String,
    },
    /// Discovery as a whole. Answered with `Answer::TedStatus`.
    TedStatus,
    /// How it stands with this packet. Answered with `Answer::TedFlow`.
    TedFlow {
        /// The packet.
        packet: TedPacket,
    },
    /// Discover a gateway for this packet, as if it had come; a rest is over at once. Answered with `Answer::TedFlow` as
    /// soon as it is asked for, also when a discovery or a tunnel is there already.
    TedProbe {
        /// The packet.
        packet: TedPacket,
    },
    /// The probe that `TedProbe` would send; nothing is sent. Answered with `Answer::TedPreview`.
    TedPreview {
        /// The packet.
        packet: TedPacket,
    },
    /// Every stack of more than one level, and what it is built of. Answered with `Answer::Stacks`.
    StackList,
    /// Take the stacks of this rule down now, built or not; traffic may build them again. Answered with `Answer::Done` as
    /// soon as it is asked for.
    StackAbort {
        /// The name of a tunnel rule, or of a base rule that protects.
        name: String,
    },
    /// What becomes of this packet, by the rules and SAs in force. Answered with `Answer::Explained`.
    Explain {
        /// The packet.
        packet: TedPacket,
        /// As what it is looked up again; as the daemon does, unless told.
        rematch: Option<Matching>,
        /// Octets of the largest packet on the path to the nearest gateway; that of the outside ports, unless told.
        mtu: Option<u16>,
    },
}

impl Command {
    /// Whether it changes anything: such commands need the right to (REQUIREMENTS F-34).
    #[must_use]
    pub const fn changes_state(&self) -> bool {
        match self {
            Self::TunnelUp { .. }
            | Self::TunnelDown { .. }
            | Self::PolicyPull { .. }
            | Self::LeaseRelease { .. }
            | Self::ClientClose { .. }
            | Self::TedProbe { .. }
            | Self::StackAbort { .. } => true,
            Self::Version
            | Self::Stats
            | Self::Stages
            | Self::SaList
            | Self::TunnelList
            | Self::RuleList
            | Self::Drops
            | Self::PolicyList
            | Self::LeaseList
            | Self::ClientList
            | Self::TedStatus
            | Self::TedFlow { .. }
            | Self::TedPreview { .. }
            | Self::StackList
            | Self::Explain { .. } => false,
        }
    }
}
