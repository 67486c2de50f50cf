//! What a client is told (REQUIREMENTS DC-7…DC-11, DC-24): a compiled policy as attributes.

use std::collections::HashSet;
use std::mem::discriminant;
use std::net::{IpAddr, Ipv4Addr};
use warren_ike::wire::{ConfigAttribute, SetMessage, SplitNetwork};
use warren_policy::{ClientSide, CompiledSet, PortRange, Protocol, ServedPolicy, ServedSet};

/// The version of our private attributes (REQUIREMENTS W2).
pub(crate) const POLICY_VERSION: u16 = 1;
const APPLICATION: &str = "Warren";
/// Attribute types that are answered, by number.
const SUPPORTED: [u16; 9] = [1, 2, 3, 7, 8, 10, 13, 14, 15];

/// Everything that one client may be told.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Grant {
    /// For everybody.
    common: Vec<ConfigAttribute>,
    /// For who does not speak our private attributes.
    foreign: Vec<ConfigAttribute>,
    /// For who does.
    private: Vec<ConfigAttribute>,
}

impl Grant {
    pub(crate) fn new(
        policy: &ServedPolicy,
        addresses: &[IpAddr],
        compiled: &[CompiledSet],
        error: Option<&String>,
    ) -> Self {
        let mut common = Vec::new();
        for address in addresses {
            match address {
                IpAddr::V4(address) => common.extend([
                    ConfigAttribute::Ip4Address(Some(*address)),
                    ConfigAttribute::Ip4Netmask(Some(Ipv4Addr::BROADCAST)),
                ]),
                IpAddr::V6(address) => common.push(ConfigAttribute::Ip6Address(Some((*address, Some(128))))),
            }
        }
        common.extend(policy.dns.iter().map(|server| match server {
            IpAddr::V4(server) => ConfigAttribute::Ip4Dns(Some(*server)),
            IpAddr::V6(server) => ConfigAttribute::Ip6Dns(Some(*server)),
        }));
        common.extend(policy.domain.clone().map(|domain| ConfigAttribute::DefaultDomain(Some(domain))));
        if !policy.split_dns.is_empty() {
            common.push(ConfigAttribute::SplitDns(Some(policy.split_dns.clone())));
        }
        common.extend(policy.banner.clone().map(|banner| ConfigAttribute::Banner(Some(banner))));
        let set = |compiled: &CompiledSet| {
            ConfigAttribute::PolicySet(SetMessage::Offered(Box::new(compiled.set.clone())))
        };
        let mut private = vec![ConfigAttribute::PolicyVersion(Some(POLICY_VERSION))];
        private.extend(compiled.iter().map(set));
        private.extend(error.map(|error| ConfigAttribute::PolicyError(Some(error.clone()))));
        Self { common, foreign: networks(policy, addresses), private }
    }

    /// What is pushed.
    pub(crate) fn push(&self, speaks_policy: bool) -> Vec<ConfigAttribute> {
        let own = if speaks_policy { &self.private } else { &self.foreign };
        self.common.iter().chain(own).cloned().collect()
    }

    /// The answer to a request: everything for who asks for policy in our own words, and else what was asked for.
    pub(crate) fn reply(&self, asked: &[ConfigAttribute]) -> Vec<ConfigAttribute> {
        let kinds: HashSet<_> = asked.iter().map(discriminant).collect();
        let is_asked = |attribute: &ConfigAttribute| kinds.contains(&discriminant(attribute));
        let wants_policy = is_asked(&ConfigAttribute::PolicyVersion(None));
        let mut reply = if wants_policy {
            self.push(true)
        } else {
            self.common.iter().chain(&self.foreign).filter(|attribute| is_asked(attribute)).cloned().collect()
        };
        if is_asked(&ConfigAttribute::ApplicationVersion(None)) {
            reply.push(ConfigAttribute::ApplicationVersion(Some(APPLICATION.to_owned())));
        }
        if is_asked(&ConfigAttribute::SupportedAttributes(None)) {
            reply.push(ConfigAttribute::SupportedAttributes(Some(SUPPORTED.to_vec())));
        }
        reply
    }
}

/// The far side of what a leased address may reach, in the words of others. They have no word for a range of addresses
/// that is no prefix, and for what lies inside another tunnel.
fn networks(policy: &ServedPolicy, addresses: &[IpAddr]) -> Vec<ConfigAttribute> {
    let has = |ipv6: bool| addresses.iter().any(|address| address.is_ipv6() == ipv6);
    let mut subnets = Vec::new();
    let mut split = Vec::new();
    let reachable = |set: &&ServedSet| {
        set.parent.is_none() && set.gateway.is_none() && set.destination == ClientSide::Lease
    };
    for set in policy.sets.iter().filter(reachable) {
        let is_whole = set.protocol == Protocol::Any
            && set.source_port == PortRange::ANY
            && set.destination_port == PortRange::ANY;
        for source in set.source.iter().filter(|source| has(source.is_ipv6())) {
            match (source.first(), source.prefix_length()) {
                (IpAddr::V4(address), Some(length)) => {
                    let mask = Ipv4Addr::from(u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0));
                    split.extend(split_network(set, address, mask));
                    if is_whole {
                        subnets.push(ConfigAttribute::Ip4Subnet(Some((address, mask))));
                    }
                }
                (IpAddr::V6(address), Some(length)) if is_whole => {
                    subnets.push(ConfigAttribute::Ip6Subnet(Some((address, length))));
                }
                _ => {}
            }
        }
    }
    if !split.is_empty() {
        subnets.push(ConfigAttribute::SplitInclude(Some(split)));
    }
    subnets
}

fn split_network(set: &ServedSet, address: Ipv4Addr, mask: Ipv4Addr) -> Option<SplitNetwork> {
    let port = |ports: PortRange| match ports {
        PortRange::ANY => Some(0),
        ports => (ports.first() == ports.last()).then(|| ports.first()),
    };
    let protocol = match set.protocol {
        Protocol::Any => 0,
        Protocol::Is(number) => number,
    };
    // The receiver's port comes first.
    let (source_port, destination_port) = (port(set.destination_port)?, port(set.source_port)?);
    Some(SplitNetwork { address, mask, protocol, source_port, destination_port })
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_policy::{AddressRange, Lifetime};

    fn range(text: &str) -> AddressRange {
        let (address, length) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn policy() -> ServedPolicy {
        ServedPolicy {
            dns: vec!["10.1.0.53".parse().unwrap()],
            banner: Some("welcome".to_owned()),
            sets: vec![ServedSet {
                name: "office".to_owned(),
                source: vec![range("10.1.0.0/16"), range("0.0.0.0/0"), range("fd01::/64")],
                destination: ClientSide::Lease,
                protocol: Protocol::Any,
                source_port: PortRange::ANY,
                destination_port: PortRange::ANY,
                proposals: vec!["aes128gcm16".parse().unwrap()],
                lifetime: Lifetime { seconds: 3600, kilobytes: None },
                window_packets: 4096,
                parent: None,
                gateway: None,
            }],
            ..ServedPolicy::default()
        }
    }

    #[test] // DC-24
    fn who_does_not_speak_policy_gets_what_it_asks_for_in_its_own_words() {
        let policy = policy();
        let addresses = ["10.99.0.7".parse().unwrap()];
        let grant = Grant::new(&policy, &addresses, &policy.compile(&addresses), None);
        let asked = [
            ConfigAttribute::Ip4Address(None),
            ConfigAttribute::Ip4Subnet(None),
            ConfigAttribute::Ip6Dns(None),
            ConfigAttribute::SplitInclude(None),
        ];
        let mask = Ipv4Addr::new(255, 255, 0, 0);
        let split =
            |address, mask| SplitNetwork { address, mask, protocol: 0, source_port: 0, destination_port: 0 };
        let (office, any) = (Ipv4Addr::new(10, 1, 0, 0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(
            grant.reply(&asked),
            [
                ConfigAttribute::Ip4Address(Some(Ipv4Addr::new(10, 99, 0, 7))),
                ConfigAttribute::Ip4Subnet(Some((office, mask))),
                ConfigAttribute::Ip4Subnet(Some((any, any))),
                ConfigAttribute::SplitInclude(Some(vec![split(office, mask), split(any, any)])),
            ]
        );
    }

    #[test] // DC-9, DC-11
    fn who_asks_for_policy_gets_all_of_it_as_sets() {
        let policy = policy();
        let addresses = ["10.99.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let error = "pool six has no address left".to_owned();
        let grant = Grant::new(&policy, &addresses, &policy.compile(&addresses), Some(&error));
        let reply = grant.reply(&[ConfigAttribute::PolicyVersion(Some(1))]);
        assert!(reply.contains(&ConfigAttribute::PolicyVersion(Some(1))));
        assert!(reply.contains(&ConfigAttribute::PolicyError(Some(error))));
        assert!(reply.contains(&ConfigAttribute::Banner(Some("welcome".to_owned()))));
        let is_foreign = |attribute: &ConfigAttribute| {
            matches!(attribute, ConfigAttribute::Ip4Subnet(_) | ConfigAttribute::SplitInclude(_))
        };
        assert!(!reply.iter().any(is_foreign), "the sets say it");
        let set = |attribute: &&ConfigAttribute| matches!(attribute, ConfigAttribute::PolicySet(_));
        assert_eq!(reply.iter().filter(set).count(), 1);
    }
}
