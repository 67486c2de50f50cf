//! The two classes of rules (REQUIREMENTS NT-3, Q-17): transport rules say whether a flow may pass at all, tunnel
//! rules say through which gateway it must.

use crate::limits::RULES_MAX;
use crate::selector::Selector;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A tunnel rule. Its place in the rule set says when it is tried, its identifier who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleId(pub u32);

/// A configured peer gateway, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

/// What the base rule of a flow says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportAction {
    /// The flow may pass; tunnel rules decide how.
    Permit,
    /// The flow passes in clear whatever the tunnel rules say.
    Bypass,
    /// The flow is dropped.
    Discard,
    /// The flow is protected from end to end by ESP in transport mode, inside whatever tunnels the tunnel rules say. Only
    /// for what the gateway itself says: transit traffic may not be in transport mode (RFC 4301 §4.1).
    Protect(Protection),
}

/// The transport mode SAs of one base rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Protection {
    /// Under which identifier they are negotiated and bound; of one space with those of tunnel rules.
    pub rule: RuleId,
    /// With whom.
    pub peer: PeerId,
    /// The host at the far end: the only destination of the rule.
    pub host: IpAddr,
}

/// A base rule. A flow that matches none is dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportRule {
    /// The operator's name for it.
    pub name: String,
    /// Outbound direction: from our side to the far side.
    pub selector: Selector,
    /// What happens.
    pub action: TransportAction,
}

/// Where a tunnel leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gateway {
    /// To this outer destination.
    Address(IpAddr),
    /// To whichever gateway discovery finds in front of a packet's destination (REQUIREMENTS TED-5). Nothing is ever
    /// bound to such a rule: what is found becomes rules of its own in front of it.
    Discover,
}

impl Gateway {
    /// The address, where there is one.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Discover => None,
        }
    }
}

impl From<IpAddr> for Gateway {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl fmt::Display for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Discover => f.write_str("discover"),
        }
    }
}

/// Text that is no gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no gateway: an address or `discover`")]
pub struct NotAGateway(pub String);

impl FromStr for Gateway {
    type Err = NotAGateway;

    fn from_str(text: &str) -> Result<Self, NotAGateway> {
        match text {
            "discover" => Ok(Self::Discover),
            _ => text.parse().map(Self::Address).map_err(|_| NotAGateway(text.to_owned())),
        }
    }
}

/// A rule that says *protect*: through this gateway or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TunnelRule {
    /// Its identifier: unique in the set, and the same rule keeps it from one set to the next.
    pub id: RuleId,
    /// The operator's name for it.
    pub name: String,
    /// Outbound direction: from our side to the far side.
    pub selector: Selector,
    /// Whose tunnel it is; of a rule that discovers, under whose template what is found must authenticate.
    pub peer: PeerId,
    /// Where that tunnel leads.
    pub gateway: Gateway,
}

/// All rules, in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// Base rules; first match wins, no match discards.
    pub transport: Vec<TransportRule>,
    /// Tunnel rules; first match wins.
    pub tunnel: Vec<TunnelRule>,
}

impl RuleSet {
    /// The rule with that identifier.
    #[must_use]
    pub fn tunnel_rule(&self, rule: RuleId) -> Option<&TunnelRule> {
        self.tunnel.iter().find(|own| own.id == rule)
    }

    /// Base rules that protect by themselves, with what they say.
    pub fn protections(&self) -> impl Iterator<Item = (&TransportRule, Protection)> {
        self.transport.iter().filter_map(|rule| match rule.action {
            TransportAction::Protect(protection) => Some((rule, protection)),
            _ => None,
        })
    }

    /// The same, to give them other identifiers.
    pub fn protections_mut(&mut self) -> impl Iterator<Item = &mut Protection> {
        self.transport.iter_mut().filter_map(|rule| match &mut rule.action {
            TransportAction::Protect(protection) => Some(protection),
            _ => None,
        })
    }

    /// Whether both classes stay below [`RULES_MAX`].
    #[must_use]
    pub fn fits(&self) -> bool {
        self.transport.len() <= RULES_MAX && self.tunnel.len() <= RULES_MAX
    }
}
