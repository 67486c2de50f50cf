//! The client's guard (REQUIREMENTS DC-25, F-11): what policy from elsewhere may at most ask for.

use crate::proposal::EspProposal;
use crate::selector::AddressRange;

/// A local ceiling. What exceeds it is refused with the reason, never narrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Where pulled SAs may lead: each remote selector lies inside one of these.
    pub remote: Vec<AddressRange>,
    /// Whose traffic they may take, besides the leased addresses.
    pub local: Vec<AddressRange>,
    /// No transform is weaker than this one's, by the published order (REQUIREMENTS Q-26).
    pub weakest: EspProposal,
    /// SAs in all: selectors of all sets, pair by pair.
    pub sas_max: usize,
    /// Whether the operator named `remote`; then it may overlap networks that we are attached to.
    pub is_remote_named: bool,
}
