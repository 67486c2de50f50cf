//! What a policy server gives to the peers that ask it (REQUIREMENTS DC-2, DC-10, DC-11), as the operator wrote it.
//! Through the server's eyes: `source` is our side.

use crate::identity::Identity;
use crate::limits::STACK_DEPTH_MAX;
use crate::policy_set::{PolicySet, SaMode, TrafficEnd};
use crate::proposal::{EspProposal, Lifetime};
use crate::selector::{AddressRange, PortRange, Protocol, Selector};
use std::net::IpAddr;

/// Addresses to lease, of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The operator's name for it; leases are kept under it.
    pub name: String,
    /// What is leased.
    pub addresses: AddressRange,
    /// Addresses that belong to one identity for good; they may lie outside of `addresses`.
    pub statics: Vec<(Identity, IpAddr)>,
}

/// The client's side of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientSide {
    /// The leased address of the family.
    Lease,
    /// These networks, behind a client that is a gateway itself.
    Networks(Vec<AddressRange>),
}

/// One set of a policy; it stands for an SA for each pair of source and client's side of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedSet {
    /// The operator's name for it, unique in the policy.
    pub name: String,
    /// Our side; never empty.
    pub source: Vec<AddressRange>,
    /// The client's side.
    pub destination: ClientSide,
    /// Upper layer protocol.
    pub protocol: Protocol,
    /// Ports of our side.
    pub source_port: PortRange,
    /// Ports of the client's side.
    pub destination_port: PortRange,
    /// Strongest first; never empty; all with the same group.
    pub proposals: Vec<EspProposal>,
    /// Hard limits of each SA.
    pub lifetime: Lifetime,
    /// Anti-replay window of our inbound SAs.
    pub window_packets: u32,
    /// Place of the set through whose tunnel this one is negotiated (REQUIREMENTS NT-36).
    pub parent: Option<usize>,
    /// Another gateway than ourselves.
    pub gateway: Option<IpAddr>,
}

/// A policy that peers may pull, or that is pushed to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServedPolicy {
    /// The operator's name for it.
    pub name: String,
    /// Places of its pools: at most one of each family.
    pub pools: Vec<usize>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Default domain.
    pub domain: Option<String>,
    /// Domains that the name servers are for.
    pub split_dns: Vec<String>,
    /// A greeting.
    pub banner: Option<String>,
    /// In the order of negotiation.
    pub sets: Vec<ServedSet>,
}

/// A set for one client, as both sides need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledSet {
    /// What the client is told.
    pub set: PolicySet,
    /// What its SAs protect, in the client's order; source is our side.
    pub selectors: Vec<Selector>,
    /// Strongest first.
    pub proposals: Vec<EspProposal>,
    /// Anti-replay window of our inbound SAs.
    pub window_packets: u32,
}

impl CompiledSet {
    /// Whether its SAs are negotiated with us, and not inside another tunnel or with another gateway.
    #[must_use]
    pub const fn is_ours(&self) -> bool {
        self.set.parent.is_none() && self.set.gateway.is_none()
    }
}

impl ServedPolicy {
    /// The sets of a client with these leases, in their order. A set's number is its place, counted from 1, so that it
    /// keeps it whatever else is given. What no lease has the family for is left out, and what lies inside of that.
    #[must_use]
    pub fn compile(&self, leased: &[IpAddr]) -> Vec<CompiledSet> {
        let mut compiled: Vec<_> =
            self.sets.iter().enumerate().map(|(at, set)| set.compile(at, leased)).collect();
        let has_parents = |at: usize| {
            let mut inner = at;
            (0..STACK_DEPTH_MAX).all(|_| match self.sets[inner].parent {
                Some(parent) => {
                    inner = parent;
                    compiled.get(parent).is_some_and(Option::is_some)
                }
                None => true,
            })
        };
        let kept: Vec<bool> = (0..self.sets.len()).map(has_parents).collect();
        compiled.iter_mut().zip(kept).filter_map(|(set, kept)| set.take().filter(|_| kept)).collect()
    }
}

impl ServedSet {
    fn compile(&self, at: usize, leased: &[IpAddr]) -> Option<CompiledSet> {
        let clients = match &self.destination {
            ClientSide::Lease => leased.iter().map(|address| AddressRange::single(*address)).collect(),
            ClientSide::Networks(networks) => networks.clone(),
        };
        let end = |ports| {
            move |addresses: &AddressRange| TrafficEnd {
                addresses: *addresses,
                protocol: self.protocol,
                ports,
            }
        };
        let with_partner = |own: &[AddressRange], others: &[AddressRange], ports| {
            own.iter()
                .filter(|own| others.iter().any(|other| other.is_ipv6() == own.is_ipv6()))
                .map(end(ports))
                .collect::<Vec<_>>()
        };
        let local = with_partner(&clients, &self.source, self.destination_port);
        let remote = with_partner(&self.source, &clients, self.source_port);
        let first = self.proposals.first()?;
        let mut transforms = Vec::new();
        for proposal in &self.proposals {
            if !transforms.contains(&proposal.transform) {
                transforms.push(proposal.transform);
            }
        }
        let selectors = local.iter().flat_map(|local| {
            remote.iter().filter_map(|remote| {
                let selector = Selector::between(remote.addresses, local.addresses)?;
                Some(Selector {
                    protocol: self.protocol,
                    source_port: remote.ports,
                    destination_port: local.ports,
                    ..selector
                })
            })
        });
        let selectors: Vec<_> = selectors.collect();
        (!selectors.is_empty()).then(|| CompiledSet {
            selectors,
            proposals: self.proposals.clone(),
            window_packets: self.window_packets,
            set: PolicySet {
                id: (at + 1) as u16,
                name: self.name.clone(),
                local,
                remote,
                mode: SaMode::Tunnel,
                transforms,
                pfs: first.pfs,
                lifetime: self.lifetime,
                gateway: self.gateway,
                parent: self.parent.map(|parent| (parent + 1) as u16),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ceiling::{Ceiling, Surroundings};

    fn range(text: &str) -> AddressRange {
        let (address, length) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn served(name: &str, sources: &[&str], destination: ClientSide) -> ServedSet {
        ServedSet {
            name: name.to_owned(),
            source: sources.iter().map(|text| range(text)).collect(),
            destination,
            protocol: Protocol::Is(6),
            source_port: PortRange::new(443, 443).unwrap(),
            destination_port: PortRange::ANY,
            proposals: vec!["aes256gcm16-ecp256-esn".parse().unwrap(), "aes256gcm16-ecp256".parse().unwrap()],
            lifetime: Lifetime { seconds: 3600, kilobytes: None },
            window_packets: 4096,
            parent: None,
            gateway: None,
        }
    }

    #[test] // DC-10, DC-11
    fn what_the_client_is_told_is_what_the_server_negotiates_mirrored() {
        let policy = ServedPolicy {
            sets: vec![
                served("office", &["10.1.0.0/16", "10.2.0.0/16", "fd01::/64"], ClientSide::Lease),
                served("branch", &["10.3.0.0/16"], ClientSide::Networks(vec![range("10.9.0.0/24")])),
            ],
            ..ServedPolicy::default()
        };
        let leased: Vec<IpAddr> = vec!["10.99.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let compiled = policy.compile(&leased);
        let ceiling = Ceiling {
            remote: vec![range("10.0.0.0/8"), range("fc00::/7")],
            local: vec![range("10.9.0.0/16")],
            weakest: "aes128gcm16".parse().unwrap(),
            sas_max: 16,
            is_remote_named: false,
        };
        let around = Surroundings {
            leased: &leased,
            server: "198.51.100.1".parse().unwrap(),
            attached: &[],
            taken: &[],
        };
        let sets: Vec<_> = compiled.iter().map(|compiled| compiled.set.clone()).collect();
        for (verdict, compiled) in ceiling.check(&sets, &around).into_iter().zip(&compiled) {
            let mirrored: Vec<_> = verdict.unwrap().iter().map(Selector::mirrored).collect();
            assert_eq!(mirrored, compiled.selectors);
        }
        assert_eq!(compiled[0].selectors.len(), 3);
        assert_eq!(sets[0].transforms.len(), 1, "a transform is told once");
    }

    #[test] // DC-24
    fn a_set_for_a_family_without_a_lease_is_left_out_and_what_lies_inside_it_too() {
        let mut inner = served("inner", &["10.4.0.0/16"], ClientSide::Lease);
        inner.parent = Some(0);
        let policy = ServedPolicy {
            sets: vec![
                served("six", &["fd01::/64"], ClientSide::Lease),
                served("both", &["10.1.0.0/16", "fd01::/64"], ClientSide::Lease),
                inner,
            ],
            ..ServedPolicy::default()
        };
        let compiled = policy.compile(&["10.99.0.7".parse().unwrap()]);
        let numbers: Vec<_> = compiled.iter().map(|compiled| compiled.set.id).collect();
        assert_eq!(numbers, [2], "a set keeps its number whatever is left out");
        assert_eq!(compiled[0].set.remote.len(), 1);
        assert!(policy.compile(&[]).is_empty());
    }
}
