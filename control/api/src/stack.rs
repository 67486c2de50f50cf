//! Stacks of tunnels: transactions with their two stacks (REQUIREMENTS NT-11, NT-14).

use crate::rows::TunnelState;
use serde::{Deserialize, Serialize};

/// How a stack stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StackState {
    /// Its levels are being performed, one after the other.
    Building,
    /// Every level is there, and its traffic passes.
    Done,
    /// A level was lost: no traffic passes, and it is built again from there on.
    Suspended,
    /// Its levels are being taken away, the innermost first.
    TearingDown,
    /// A level failed, and nothing is built for a while.
    HeldDown,
}

impl StackState {
    /// The word as it stands in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Done => "done",
            Self::Suspended => "suspended",
            Self::TearingDown => "tearing-down",
            Self::HeldDown => "held-down",
        }
    }
}

/// What a level does to a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LevelMode {
    /// Nothing: a base rule that permits.
    Permit,
    /// The whole packet is inside, behind another header.
    Tunnel,
    /// Only what follows the packet's own header is.
    Transport,
}

impl LevelMode {
    /// The word as it stands in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Permit => "permit",
            Self::Tunnel => "tunnel",
            Self::Transport => "transport",
        }
    }
}

/// One level of a stack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackLevel {
    /// The name of the rule that wants it.
    pub rule: String,
    /// What it does to a packet.
    pub mode: LevelMode,
    /// The peer's name; none for what is only permitted, and so are all others without an SA.
    pub peer: Option<String>,
    /// Where it ends.
    pub gateway: Option<String>,
    /// What is negotiated for it, outbound.
    pub traffic: String,
    /// How its tunnel stands.
    pub state: Option<TunnelState>,
    /// Seconds for which its tunnel is not negotiated again.
    pub rests_s: Option<u64>,
    /// SPI of the inbound SA, eight hexadecimal digits.
    pub spi_in: Option<String>,
    /// SPI of the outbound SA.
    pub spi_out: Option<String>,
    /// For example `aes256gcm16`, when up.
    pub transform: Option<String>,
    /// The worker that has its SAs.
    pub worker: Option<u16>,
    /// Stacks that use it, this one among them.
    pub users: u64,
}

/// What a stack broke on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StackFailure {
    /// The name of the rule whose level it was.
    pub rule: String,
    /// Why, in words; none where it was given up.
    pub why: Option<String>,
}

/// One stack, as the transaction that builds it or takes it down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// The name of the rule whose traffic it is for.
    pub rule: String,
    /// That traffic, outbound.
    pub traffic: String,
    /// How it stands.
    pub state: StackState,
    /// Seconds in this state.
    pub since_s: u64,
    /// Seconds until it may be built again, when a failure keeps it down.
    pub rests_s: Option<u64>,
    /// The pending stack, top first: the first is performed next.
    pub pending: Vec<StackLevel>,
    /// The completed stack, top first: the first is torn down first, and the last is the nearest gateway.
    pub completed: Vec<StackLevel>,
    /// What it last broke on.
    pub failed: Option<StackFailure>,
}
