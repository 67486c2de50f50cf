//! Why a request was not answered as asked.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kind of refusal, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalWord {
    /// The line is of another version of this protocol.
    UnknownVersion,
    /// The line is no request.
    Malformed,
    /// The line is longer than [`crate::limits::REQUEST_OCTETS_MAX`].
    TooLong,
    /// The one who asks may look but not change.
    NotPermitted,
    /// No tunnel rule has that name.
    UnknownTunnel,
    /// No peer has that name, or policy is not received from it.
    UnknownPeer,
    /// No such lease.
    UnknownLease,
    /// No rule of that name has a stack.
    UnknownStack,
    /// Nothing is asked in clear about such a packet, or not now.
    Unasked,
    /// The daemon cannot take it on now.
    Busy,
    /// The daemon tried and could not.
    Failed,
}

impl RefusalWord {
    /// The word as it stands in JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::UnknownVersion => "unknown-version",
            Self::Malformed => "malformed",
            Self::TooLong => "too-long",
            Self::NotPermitted => "not-permitted",
            Self::UnknownTunnel => "unknown-tunnel",
            Self::UnknownPeer => "unknown-peer",
            Self::UnknownLease => "unknown-lease",
            Self::UnknownStack => "unknown-stack",
            Self::Unasked => "unasked",
            Self::Busy => "busy",
            Self::Failed => "failed",
        }
    }
}

/// A kind and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// The kind.
    pub word: RefusalWord,
    /// The sentence.
    pub message: String,
}

impl Refusal {
    /// A refusal of that kind.
    #[must_use]
    pub fn new(word: RefusalWord, message: impl Into<String>) -> Self {
        Self { word, message: message.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.word.word())
    }
}

impl std::error::Error for Refusal {}
