//! What the file leaves open and the host knows: the interface that leads to a peer, our address towards it, and the
//! networks that we are attached to.

use crate::kernel::mirror::View;
use crate::kernel::{self, way};
use rtnetlink::Handle;
use std::collections::BTreeMap;
use std::net::IpAddr;
use warren_config::{Config, Peer, PortConfig, PortMode, Queues, Side, ZeroCopy};
use warren_policy::{AddressRange, PeerId};

/// What the host knows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Surroundings {
    /// Our address, for the peers that leave it open: towards the peer, or, for templates, of an outside port.
    pub(crate) own: BTreeMap<PeerId, IpAddr>,
    /// Networks that policy from elsewhere may not take over; empty where nobody gives us policy.
    pub(crate) attached: Vec<AddressRange>,
}

/// Why something that the file leaves open cannot be found out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    /// The kernel has no way.
    #[error(
        "peer {peer}: there is no route to {address} ({why}), so that nothing tells the interface and our address towards it; `ip route get {address}` must name them"
    )]
    NoRoute {
        /// The operator's name for it.
        peer: String,
        /// Where it should be.
        address: IpAddr,
        /// The kernel's words.
        why: String,
    },
    /// The route leads to ourselves.
    #[error("peer {peer}: {address} is an address of this host")]
    Ourselves {
        /// The operator's name for it.
        peer: String,
        /// The address.
        address: IpAddr,
    },
    /// Nothing to be called by.
    #[error(
        "peer {peer}: no outside port has an {family} address that could be our identity; `local_identity` says who we are"
    )]
    NoIdentity {
        /// The operator's name for it.
        peer: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// Nothing to answer at, and nothing to be answered at.
    #[error(
        "peer {peer}: no outside port has an {family} address that gateways could be told which we discover; `local` says which it is"
    )]
    NoLocal {
        /// The operator's name for it.
        peer: String,
        /// IPv4 or IPv6.
        family: &'static str,
    },
    /// Netlink.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

/// The ports of a file that names none: the interfaces by which the kernel reaches the peers.
///
/// # Errors
/// A peer that cannot be reached.
pub(crate) async fn automatic_ports(
    config: &Config,
    netlink: &Handle,
    mark: u32,
) -> Result<Vec<PortConfig>, Unknown> {
    let mut ports: Vec<PortConfig> = Vec::new();
    for peer in &config.peers {
        let Some(address) = peer.address else { continue };
        let name = || peer.name.clone();
        let no_route = || Unknown::NoRoute { peer: name(), address, why: "no interface".to_owned() };
        let interface = way::interface_towards(netlink, address, mark).await?.ok_or_else(no_route)?;
        if interface == "lo" {
            return Err(Unknown::Ourselves { peer: name(), address });
        }
        if ports.iter().all(|port| port.interface != interface) {
            ports.push(PortConfig {
                name: interface.clone(),
                interface,
                side: Side::Outside,
                queues: Queues::All,
                mode: PortMode::Auto,
                zero_copy: ZeroCopy::Auto,
            });
        }
    }
    Ok(ports)
}

/// Looks around. What a peer's address was `before` stands in where the kernel has no answer at the moment.
///
/// # Errors
/// Something that was never known.
pub(crate) fn look(
    config: &Config,
    view: &View,
    mark: u32,
    before: &Surroundings,
) -> Result<Surroundings, Unknown> {
    let mut own = BTreeMap::new();
    for peer in config.peers.iter().filter(|peer| peer.is_local_open()) {
        let known = || before.own.get(&peer.id).copied();
        let address = match peer.address {
            Some(remote) => match way::source_towards(remote, mark) {
                Ok(local) => local,
                Err(error) => known().ok_or_else(|| Unknown::NoRoute {
                    peer: peer.name.clone(),
                    address: remote,
                    why: error.to_string(),
                })?,
            },
            None => match of_outside(config, view, peer, known()).or_else(known) {
                Some(address) => address,
                // Nobody needs it.
                None if peer.local_identity.is_some() && !peer.is_discovered() => continue,
                None => return Err(no_address(peer)),
            },
        };
        own.insert(peer.id, address);
    }
    let receives = config.peers.iter().any(|peer| peer.receives.is_some());
    let attached = if receives { attached(view, &config.gateway.tun) } else { Vec::new() };
    Ok(Surroundings { own, attached })
}

fn no_address(peer: &Peer) -> Unknown {
    let family = if peer.local.is_ipv6() { "IPv6" } else { "IPv4" };
    let peer_name = peer.name.clone();
    match peer.is_discovered() {
        true => Unknown::NoLocal { peer: peer_name, family },
        false => Unknown::NoIdentity { peer: peer_name, family },
    }
}

/// An address of an outside port, of the peer's family: the one that it was before, as long as it is there.
fn of_outside(config: &Config, view: &View, peer: &Peer, before: Option<IpAddr>) -> Option<IpAddr> {
    let outside = config.ports.iter().filter(|port| port.side == Side::Outside);
    let links: Vec<u32> = outside.filter_map(|port| view.tables.link_named(&port.interface)).collect();
    let fits = |address: IpAddr| address.is_ipv6() == peer.local.is_ipv6() && !is_of_link(address);
    let own = view.tables.addresses.keys().filter(|own| links.contains(&own.link)).map(|own| own.address);
    let fitting: Vec<IpAddr> = own.filter(|own| fits(*own)).collect();
    before.filter(|before| fitting.contains(before)).or_else(|| fitting.first().copied())
}

/// The networks around all our addresses, but for those that were leased to us.
fn attached(view: &View, tun: &str) -> Vec<AddressRange> {
    let tun = view.tables.link_named(tun);
    let addresses =
        view.tables.addresses.keys().filter(|own| Some(own.link) != tun && !is_of_link(own.address));
    let mut attached: Vec<_> =
        addresses.filter_map(|own| AddressRange::from_prefix(own.address, own.prefix_length)).collect();
    attached.sort_by_key(|range| (range.first(), range.last()));
    attached.dedup();
    attached
}

/// Loopback and link-local addresses mean nothing to anybody else.
fn is_of_link(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::tables::{Link, OwnAddress, Tables};
    use warren_seam::MacAddress;

    fn view(addresses: &[(u32, &str, u8)]) -> View {
        let link = |name: &str| Link {
            name: name.to_owned(),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            mtu: 1500,
            up: true,
            receive_queues: 1,
        };
        let own = |(link, address, prefix_length): &(u32, &str, u8)| {
            (
                OwnAddress { link: *link, address: address.parse().unwrap(), prefix_length: *prefix_length },
                None,
            )
        };
        let links = [(1, link("lo")), (2, link("eth0")), (3, link("warren0"))];
        let tables = Tables {
            links: links.into(),
            addresses: addresses.iter().map(own).collect(),
            ..Tables::default()
        };
        View { tables, ..View::default() }
    }

    fn config(text: &str) -> Config {
        let key = |_: &std::path::Path| {
            Ok(warren_policy::Secret::new(b"00112233445566778899aabbccddeeff".to_vec()))
        };
        warren_config::parse(text, "gw.toml", &key).unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test] // DC-25
    fn networks_around_our_addresses_are_attached_and_leased_addresses_are_not() {
        let client = config("peer = \"127.0.0.1\"\nsecret = \"x\"\n");
        let view = view(&[
            (1, "127.0.0.1", 8),
            (2, "192.168.7.9", 24),
            (2, "192.168.7.10", 24),
            (2, "2001:db8:7::9", 64),
            (2, "fe80::1", 64),
            (3, "10.99.0.1", 32),
        ]);
        let found = look(&client, &view, 0, &Surroundings::default()).map(|found| found.attached);
        let written: Vec<_> = found.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(written, ["192.168.7.0/24", "2001:db8:7::/64"]);
    }

    #[test]
    fn an_open_local_address_is_the_one_that_the_kernel_would_send_from() {
        let client = config("peer = \"127.0.0.1\"\nsecret = \"x\"\n");
        let found = look(&client, &view(&[]), 0, &Surroundings::default()).unwrap();
        assert_eq!(found.own[&PeerId(0)], "127.0.0.1".parse::<IpAddr>().unwrap());
    }

    const TEMPLATE: &str = "[[port]]\ninterface = \"eth0\"\nside = \"outside\"\n[[pool]]\nname = \"p\"\naddresses = \"10.99.0.0/24\"\n\
        [[policy]]\nname = \"v\"\npool = \"p\"\n[[peer]]\nname = \"any\"\nike = \"v1-main\"\naddress = \"any\"\n\
        secret = \"x\"\ngroup_secret = true\nserves = \"v\"\n";

    #[test]
    fn a_peer_that_is_discovered_always_has_an_address_of_ours_and_keeps_it() {
        let text = "[[port]]\ninterface = \"eth0\"\nside = \"outside\"\n[[peer]]\nname = \"p\"\nike = \"v1-main\"\n\
            address = \"discover\"\nlocal_identity = \"gw.test\"\nsecret = \"x\"\ngroup_secret = true\n\
            authorised = [{ networks = \"10.2.0.0/16\" }]\n";
        let config = config(text);
        let nobody = look(&config, &view(&[]), 0, &Surroundings::default()).unwrap_err().to_string();
        assert!(nobody.contains("`local` says"), "{nobody}");
        let known = look(&config, &view(&[(2, "192.0.2.7", 24)]), 0, &Surroundings::default()).unwrap();
        assert_eq!(known.own[&PeerId(0)].to_string(), "192.0.2.7");
        let another = view(&[(2, "192.0.2.1", 24), (2, "192.0.2.7", 24)]);
        assert_eq!(
            look(&config, &another, 0, &known).unwrap().own,
            known.own,
            "a lower one does not take its place"
        );
        assert_eq!(look(&config, &view(&[]), 0, &known).unwrap().own, known.own);
    }

    #[test]
    fn a_template_that_leaves_both_open_is_called_by_an_address_of_an_outside_port() {
        let server = config(TEMPLATE);
        let known = look(&server, &view(&[(2, "192.0.2.1", 24)]), 0, &Surroundings::default()).unwrap();
        assert_eq!(known.own[&PeerId(0)].to_string(), "192.0.2.1");
        assert_eq!(known.attached, [], "nobody gives policy to a server");
        let nobody = look(&server, &view(&[(2, "2001:db8::1", 64)]), 0, &Surroundings::default());
        assert!(nobody.unwrap_err().to_string().contains("local_identity"));
        let kept = look(&server, &view(&[]), 0, &known).unwrap();
        assert_eq!(kept.own, known.own, "an address that is gone for a moment is still ours");
        let named = TEMPLATE.replace("serves", "local_identity = \"gw.test\"\nserves");
        assert!(look(&config(&named), &view(&[]), 0, &Surroundings::default()).is_ok());
    }
}
