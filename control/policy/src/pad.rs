//! The peer authorisation database (RFC 4301 §4.4.3): for which networks a gateway that discovery found may speak.
//!
//! Discovery itself authenticates nothing, so this is where trust is decided (REQUIREMENTS F-7, TED-59): by the
//! identity that a peer proved in phase 1, and by nothing that it claims before or after.

use crate::identity::Identity;
use crate::selector::AddressRange;

/// One entry: an identity and its networks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PadEntry {
    /// Exactly this identity; `None` for any that authenticates.
    pub identity: Option<Identity>,
    /// What it may protect.
    pub networks: Vec<AddressRange>,
}

/// Entries in order: the first whose identity matches decides, as RFC 4301 §4.4.3.1 has it. Empty authorises nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pad {
    entries: Vec<PadEntry>,
}

impl Pad {
    /// The entries in the order in which they are tried.
    #[must_use]
    pub const fn new(entries: Vec<PadEntry>) -> Self {
        Self { entries }
    }

    /// The entries.
    #[must_use]
    pub fn entries(&self) -> &[PadEntry] {
        &self.entries
    }

    /// Whether whoever proved to be `identity` may protect all of `network`.
    #[must_use]
    pub fn authorises(&self, identity: &Identity, network: &AddressRange) -> bool {
        let decides = |entry: &&PadEntry| entry.identity.as_ref().is_none_or(|own| own == identity);
        self.entries.iter().find(decides).is_some_and(|entry| entry.covers(network))
    }

    /// Whether anybody at all may protect all of `network`: a negotiation about any other is not worth beginning.
    #[must_use]
    pub fn could_authorise(&self, network: &AddressRange) -> bool {
        self.entries.iter().any(|entry| entry.covers(network))
    }
}

impl PadEntry {
    fn covers(&self, network: &AddressRange) -> bool {
        self.networks.iter().any(|own| own.contains_range(network))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> AddressRange {
        let (address, length) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    #[test] // F-7, TED-59
    fn the_first_entry_of_an_identity_decides_and_a_stranger_gets_only_what_anybody_gets() {
        let identity = |text: &str| text.parse::<Identity>().unwrap();
        let entry = |who: Option<&str>, networks: &[&str]| PadEntry {
            identity: who.map(identity),
            networks: networks.iter().map(|text| range(text)).collect(),
        };
        let pad = Pad::new(vec![
            entry(Some("b.test"), &["10.2.0.0/16", "2001:db8:2::/48"]),
            entry(None, &["10.9.0.0/16"]),
        ]);
        let may = |who: &str, network: &str| pad.authorises(&identity(who), &range(network));
        assert!(
            may("b.test", "10.2.0.0/16") && may("b.test", "10.2.5.0/24") && may("b.test", "2001:db8:2::/64")
        );
        assert!(!may("b.test", "10.0.0.0/8"), "more than its own");
        assert!(!may("b.test", "10.9.0.0/16"), "its own entry decides, not the one for anybody");
        assert!(may("c.test", "10.9.1.0/24") && !may("c.test", "10.2.0.0/16"));
        assert!(pad.could_authorise(&range("10.9.0.0/24")) && !pad.could_authorise(&range("10.3.0.0/24")));
        assert!(!Pad::default().authorises(&identity("b.test"), &range("10.2.0.0/24")));
    }
}
