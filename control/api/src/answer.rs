//! What is answered.

use crate::explain::Explanation;
use crate::policy::{Clients, Leases, Policies};
use crate::refusal::Refusal;
use crate::rows::{DropCount, Rules, Sa, Tunnel};
use crate::stack::Stack;
use crate::stages::Stages;
use crate::stats::{Stats, VersionInfo};
use crate::ted::{TedFlow, TedPreview, TedStatus};
use serde::{Deserialize, Serialize};

/// One line from `warrend`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Response {
    /// [`crate::VERSION`] of the one who answers.
    pub version: u32,
    /// How it went.
    pub outcome: Outcome,
}

impl Response {
    /// The outcome in this version.
    #[must_use]
    pub const fn new(outcome: Outcome) -> Self {
        Self { version: crate::VERSION, outcome }
    }
}

impl From<Result<Answer, Refusal>> for Response {
    fn from(result: Result<Answer, Refusal>) -> Self {
        Self::new(match result {
            Ok(answer) => Outcome::Answer(answer),
            Err(refusal) => Outcome::Refusal(refusal),
        })
    }
}

/// How it went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As asked.
    Answer(Answer),
    /// Not done, because.
    Refusal(Refusal),
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// Who is there.
    Version(VersionInfo),
    /// All counters.
    Stats(Box<Stats>),
    /// Where the workers' cycles go.
    Stages(Box<Stages>),
    /// Every SA.
    SaList(Vec<Sa>),
    /// Every tunnel.
    TunnelList(Vec<Tunnel>),
    /// Both classes of rules.
    RuleList(Rules),
    /// Every reason for a drop, those that never happened too.
    Drops(Vec<DropCount>),
    /// Policy that we serve and receive.
    Policies(Box<Policies>),
    /// Pools and what is leased of them.
    Leases(Leases),
    /// Who is connected to us, and what we are connected to.
    Clients(Box<Clients>),
    /// Discovery as a whole.
    TedStatus(Box<TedStatus>),
    /// How it stands with one packet.
    TedFlow(Box<TedFlow>),
    /// What a probe would say.
    TedPreview(Box<TedPreview>),
    /// Stacks of tunnels.
    Stacks(Vec<Stack>),
    /// What becomes of one packet.
    Explained(Box<Explanation>),
    /// The change is on its way.
    Done,
}
