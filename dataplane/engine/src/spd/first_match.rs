//! The classifier alone: which of a list of selectors is the first that matches. For measurements, and for comparison
//! with other classifiers of that kind.

use warren_policy::{FiveTuple, Selector};

use super::Direction;
use super::address::{Address, Ipv4Key, Ipv6Key};
use super::bounds::{Bounds, ipv4_bounds, ipv4_probe, ipv6_bounds, ipv6_probe};
use super::build::Numbered;
use super::classifier::Classifier;
use super::tree::NONE;
use crate::limits::SPD_GROUP;

/// What is found where no selector matches.
pub const NO_RULE: u32 = NONE;

/// Compiled selectors.
pub struct FirstMatch {
    ipv4: Classifier<u32>,
    ipv6: Classifier<u128>,
}

impl FirstMatch {
    /// Compiles selectors in the order in which they are tried.
    #[must_use]
    pub fn new(selectors: &[Selector]) -> Self {
        Self {
            ipv4: Classifier::new(&numbered(selectors, ipv4_bounds)),
            ipv6: Classifier::new(&numbered(selectors, ipv6_bounds)),
        }
    }

    /// For each packet the place of the first selector that matches, or [`NO_RULE`]. As many as both slices have.
    pub fn ipv4(&self, keys: &[Ipv4Key], found: &mut [u32]) {
        first(&self.ipv4, keys, found);
    }

    /// The same for IPv6.
    pub fn ipv6(&self, keys: &[Ipv6Key], found: &mut [u32]) {
        first(&self.ipv6, keys, found);
    }

    /// Octets of its tables.
    #[must_use]
    pub fn memory_octets(&self) -> usize {
        self.ipv4.octets() + self.ipv6.octets()
    }
}

fn numbered<A: Address>(
    selectors: &[Selector],
    bounds: impl Fn(&Selector) -> Option<Bounds<A>>,
) -> Vec<Numbered<A>> {
    let places = selectors.iter().zip(0..);
    places.filter_map(|(selector, number)| Some(Numbered { number, bounds: bounds(selector)? })).collect()
}

#[inline]
fn first<A: Address>(classifier: &Classifier<A>, keys: &[A::Key], found: &mut [u32]) {
    let mut group = [NONE; SPD_GROUP];
    for (keys, found) in keys.chunks(SPD_GROUP).zip(found.chunks_mut(SPD_GROUP)) {
        classifier.first(keys, &mut group);
        found.copy_from_slice(&group[..found.len()]);
    }
}

impl Ipv4Key {
    /// `None` for a packet of the other family.
    #[must_use]
    pub fn new(packet: &FiveTuple) -> Option<Self> {
        ipv4_probe(packet, Direction::Outbound).map(|probe| probe.key)
    }
}

impl Ipv6Key {
    /// `None` for a packet of the other family.
    #[must_use]
    pub fn new(packet: &FiveTuple) -> Option<Self> {
        ipv6_probe(packet, Direction::Outbound).map(|probe| probe.key)
    }
}
