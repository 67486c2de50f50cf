//! Policy as pure values and functions: selectors, rules, proposals, identities and what follows from them.
//!
//! Nothing in here reads a clock, a file or a socket; every function gives the same answer twice. The engine
//! compiles its classifier from these values, IKE negotiates with them and `dpctl` explains them, so that the
//! three can never disagree.

pub mod ceiling;
mod dn;
pub mod evaluate;
pub mod extent;
pub mod identity;
pub mod limits;
pub mod overhead;
pub mod pad;
pub mod policy_set;
pub mod proposal;
pub mod proxy;
pub mod proxy_walk;
pub mod rule;
mod rule_tree;
pub mod secret;
pub mod selector;
pub mod served;
pub mod stack;
pub mod stack_loops;
pub mod ways;

pub use ceiling::{Ceiling, Refusal, Surroundings};
pub use evaluate::{Verdict, evaluate};
pub use extent::Extent;
pub use identity::Identity;
pub use overhead::Overhead;
pub use pad::{Pad, PadEntry};
pub use policy_set::{PolicySet, SaMode, TrafficEnd};
pub use proposal::{EspProposal, EspTransform, Group, Hash, IkeProposal, KeyBits, Lifetime};
pub use proxy::{Emptiness, MaskedAddress, Proxy, largest_common};
pub use rule::{Gateway, PeerId, Protection, RuleId, RuleSet, TransportAction, TransportRule, TunnelRule};
pub use secret::Secret;
pub use selector::{AddressRange, FiveTuple, PortRange, Protocol, Selector};
pub use served::{ClientSide, CompiledSet, Pool, ServedPolicy, ServedSet};
pub use stack::{Action, Outcome, PendingStack, Rematch, Round, StackError, Stop, Walk};
pub use stack_loops::{Loops, loops};
pub use ways::{Outer, Rematching, Way, WayError, Ways, ways};
