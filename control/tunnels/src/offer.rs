//! What a server said, typed (REQUIREMENTS DC-3): attributes in, values out. Nothing here decides whether it is taken.

use crate::config::ClientConfig;
use crate::grant::POLICY_VERSION;
use crate::limits::{NAMES_MAX, NETWORKS_MAX};
use crate::status::RefusedSet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use warren_ike::wire::{ConfigAttribute, SetMessage, SplitNetwork};
use warren_policy::{AddressRange, PolicySet, PortRange, Protocol, SaMode, TrafficEnd};

/// One message of a server.
#[derive(Clone, Default)]
pub(crate) struct Offer {
    /// Leased addresses, at most one of each family.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) dns: Vec<IpAddr>,
    pub(crate) domain: Option<String>,
    pub(crate) split_dns: Vec<String>,
    pub(crate) banner: Option<String>,
    pub(crate) error: Option<String>,
    pub(crate) sets: Vec<PolicySet>,
    /// What was not understood as a whole.
    pub(crate) unread: Vec<RefusedSet>,
    /// Networks behind a server that sends no sets.
    pub(crate) networks: Vec<Network>,
}

/// A network behind a foreign server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Network {
    pub(crate) addresses: AddressRange,
    pub(crate) protocol: Protocol,
    pub(crate) local_port: PortRange,
    pub(crate) remote_port: PortRange,
}

impl Network {
    pub(crate) const fn whole(addresses: AddressRange) -> Self {
        Self { addresses, protocol: Protocol::Any, local_port: PortRange::ANY, remote_port: PortRange::ANY }
    }
}

impl Offer {
    /// Reads a reply or a SET. Of an address that is said twice the first counts; words that an operator will see
    /// lose what could steer a terminal.
    pub(crate) fn read(attributes: Vec<ConfigAttribute>) -> Self {
        let mut offer = Self::default();
        for attribute in attributes {
            offer.take(attribute);
        }
        offer.dns.truncate(NAMES_MAX);
        offer.split_dns.truncate(NAMES_MAX);
        offer.networks.truncate(NETWORKS_MAX);
        offer
    }

    fn take(&mut self, attribute: ConfigAttribute) {
        match attribute {
            ConfigAttribute::Ip4Address(Some(address)) => self.lease(address.into()),
            ConfigAttribute::Ip6Address(Some((address, _))) => self.lease(address.into()),
            ConfigAttribute::Ip4Dns(Some(server)) => self.dns.push(server.into()),
            ConfigAttribute::Ip6Dns(Some(server)) => self.dns.push(server.into()),
            ConfigAttribute::Ip4Subnet(Some((address, mask))) => {
                self.network(address, mask, Network::whole);
            }
            ConfigAttribute::Ip6Subnet(Some((address, length))) => {
                let network = AddressRange::from_prefix(address.into(), length).map(Network::whole);
                self.add_network(network, || format!("{address}/{length}"));
            }
            ConfigAttribute::SplitInclude(Some(networks)) => {
                networks.iter().for_each(|network| self.split(network));
            }
            ConfigAttribute::DefaultDomain(Some(domain)) => self.domain = Some(printable(&domain)),
            ConfigAttribute::Banner(Some(banner)) => self.banner = Some(printable(&banner)),
            ConfigAttribute::SplitDns(Some(names)) => {
                self.split_dns.extend(names.iter().take(NAMES_MAX).map(|name| printable(name)));
            }
            ConfigAttribute::PolicyError(Some(error)) => self.error = Some(printable(&error)),
            ConfigAttribute::PolicySet(SetMessage::Offered(set)) => {
                let mut set = *set;
                set.name = printable(&set.name);
                self.sets.push(set);
            }
            ConfigAttribute::PolicySet(SetMessage::Refused { id, reason }) => {
                self.unread.push(RefusedSet { id, name: String::new(), reason });
            }
            _ => {}
        }
    }

    fn lease(&mut self, address: IpAddr) {
        if self.addresses.iter().all(|own| own.is_ipv4() != address.is_ipv4()) {
            self.addresses.push(address);
        }
    }

    fn network(&mut self, address: Ipv4Addr, mask: Ipv4Addr, network: impl Fn(AddressRange) -> Network) {
        let length = u32::from(mask).leading_ones();
        let is_prefix = u32::from(mask).count_ones() == length;
        let range = is_prefix.then(|| AddressRange::from_prefix(address.into(), length as u8)).flatten();
        self.add_network(range.map(network), || format!("{address} mask {mask}"));
    }

    fn split(&mut self, network: &SplitNetwork) {
        let port = |port| if port == 0 { Some(PortRange::ANY) } else { PortRange::new(port, port) };
        let ports = port(network.source_port).zip(port(network.destination_port));
        let Some((local_port, remote_port)) = ports else { return };
        let protocol = if network.protocol == 0 { Protocol::Any } else { Protocol::Is(network.protocol) };
        self.network(network.address, network.mask, |addresses| Network {
            addresses,
            protocol,
            local_port,
            remote_port,
        });
    }

    fn add_network(&mut self, network: Option<Network>, written: impl Fn() -> String) {
        match network {
            Some(network) if self.networks.contains(&network) => {}
            Some(network) if self.networks.len() < NETWORKS_MAX => self.networks.push(network),
            Some(_) => {}
            None => {
                let reason = "it is no network".to_owned();
                self.unread.push(RefusedSet { id: None, name: written(), reason });
            }
        }
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Offer {
    /// What we ask for.
    pub(crate) fn request(speaks_policy: bool) -> Vec<ConfigAttribute> {
        let version = speaks_policy.then_some(ConfigAttribute::PolicyVersion(Some(POLICY_VERSION)));
        let rest = [
            ConfigAttribute::Ip4Address(None),
            ConfigAttribute::Ip4Netmask(None),
            ConfigAttribute::Ip4Dns(None),
            ConfigAttribute::Ip4Subnet(None),
            ConfigAttribute::Ip6Address(None),
            ConfigAttribute::Ip6Dns(None),
            ConfigAttribute::Ip6Subnet(None),
            ConfigAttribute::ApplicationVersion(None),
            ConfigAttribute::Banner(None),
            ConfigAttribute::DefaultDomain(None),
            ConfigAttribute::SplitDns(None),
            ConfigAttribute::SplitInclude(None),
        ];
        version.into_iter().chain(rest).collect()
    }

    /// Whether it says nothing about what is to be protected.
    pub(crate) fn is_remark(&self) -> bool {
        self.addresses.is_empty() && self.networks.is_empty() && self.unread.is_empty()
    }

    /// Sets for a server that sends none: one for each network, so that each is judged for itself. Our side is the
    /// leased address, or without any what the ceiling allows.
    pub(crate) fn synthesise(
        &self,
        leased: &[IpAddr],
        config: &ClientConfig,
    ) -> (Vec<PolicySet>, Vec<RefusedSet>) {
        let own = || config.remote_networks.iter().copied().map(Network::whole).collect();
        let networks: Vec<Network> = if self.networks.is_empty() { own() } else { self.networks.clone() };
        let leased: Vec<AddressRange> = leased.iter().map(|address| AddressRange::single(*address)).collect();
        let locals = if leased.is_empty() { &config.ceiling.local } else { &leased };
        let (mut sets, mut refused) = (Vec::new(), Vec::new());
        for (at, network) in networks.iter().enumerate() {
            let id = (at + 1) as u16;
            let of_family = |local: &&AddressRange| local.is_ipv6() == network.addresses.is_ipv6();
            let end = |addresses, ports| TrafficEnd { addresses, protocol: network.protocol, ports };
            let local: Vec<_> =
                locals.iter().filter(of_family).map(|local| end(*local, network.local_port)).collect();
            let name = network.addresses.to_string();
            if local.is_empty() {
                let reason = "no address of its family was leased".to_owned();
                refused.push(RefusedSet { id: Some(id), name, reason });
                continue;
            }
            sets.push(PolicySet {
                id,
                name,
                local,
                remote: vec![end(network.addresses, network.remote_port)],
                mode: SaMode::Tunnel,
                transforms: config.proposals.iter().map(|proposal| proposal.transform).collect(),
                pfs: config.proposals.first().and_then(|proposal| proposal.pfs),
                lifetime: config.lifetime,
                gateway: None,
                parent: None,
            });
        }
        (sets, refused)
    }
}

/// What is acknowledged of a SET: the attributes without their values, and of each set whether it was taken.
pub(crate) fn acknowledgement(
    attributes: &[ConfigAttribute],
    refusals: &HashMap<u16, String>,
) -> Vec<ConfigAttribute> {
    attributes.iter().filter_map(|attribute| acknowledge(attribute, refusals)).collect()
}

fn acknowledge(attribute: &ConfigAttribute, refusals: &HashMap<u16, String>) -> Option<ConfigAttribute> {
    Some(match attribute {
        ConfigAttribute::Ip4Address(_) => ConfigAttribute::Ip4Address(None),
        ConfigAttribute::Ip4Netmask(_) => ConfigAttribute::Ip4Netmask(None),
        ConfigAttribute::Ip4Dns(_) => ConfigAttribute::Ip4Dns(None),
        ConfigAttribute::Ip4Subnet(_) => ConfigAttribute::Ip4Subnet(None),
        ConfigAttribute::Ip6Address(_) => ConfigAttribute::Ip6Address(None),
        ConfigAttribute::Ip6Dns(_) => ConfigAttribute::Ip6Dns(None),
        ConfigAttribute::Ip6Subnet(_) => ConfigAttribute::Ip6Subnet(None),
        ConfigAttribute::Banner(_) => ConfigAttribute::Banner(None),
        ConfigAttribute::DefaultDomain(_) => ConfigAttribute::DefaultDomain(None),
        ConfigAttribute::SplitDns(_) => ConfigAttribute::SplitDns(None),
        ConfigAttribute::SplitInclude(_) => ConfigAttribute::SplitInclude(None),
        ConfigAttribute::PolicyVersion(_) => ConfigAttribute::PolicyVersion(None),
        ConfigAttribute::PolicyError(_) => ConfigAttribute::PolicyError(None),
        ConfigAttribute::PolicySet(SetMessage::Offered(set)) => {
            ConfigAttribute::PolicySet(SetMessage::Acknowledged {
                id: set.id,
                refusal: refusals.get(&set.id).cloned(),
            })
        }
        ConfigAttribute::PolicySet(SetMessage::Refused { id: Some(id), reason }) => {
            ConfigAttribute::PolicySet(SetMessage::Acknowledged { id: *id, refusal: Some(reason.clone()) })
        }
        _ => return None,
    })
}
