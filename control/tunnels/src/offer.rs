//! What a server said, typed (REQUIREMENTS DC-3): attributes in, values out. Nothing here decides whether it is taken.

use crate::limits::{NAMES_MAX, NETWORKS_MAX};
use crate::status::RefusedSet;
use std::net::{IpAddr, Ipv4Addr};
use warren_ike::wire::{ConfigAttribute, SetMessage, SplitNetwork};
use warren_policy::{AddressRange, PolicySet, PortRange, Protocol};

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
