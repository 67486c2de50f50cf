//! Configurations of the two roles: a client of one server, and a server for whoever comes under its template.

use super::world::{address, config};
use std::net::IpAddr;
use warren_ike::wire::{ConfigAttribute, SetMessage};
use warren_ike::{ConfigMode, Remote, RemoteIdentity};
use warren_policy::{
    AddressRange, Ceiling, ClientSide, EspProposal, Lifetime, PeerId, PolicySet, Pool, PortRange, Protocol,
    SaMode, ServedPolicy, ServedSet, TrafficEnd,
};
use warren_tunnels::{ClientConfig, ServerConfig, Start, TunnelsConfig};

pub(crate) const PEER: PeerId = PeerId(0);
pub(crate) const LIFETIME: Lifetime = Lifetime { seconds: 3600, kilobytes: None };

pub(crate) fn range(text: &str) -> AddressRange {
    let (address, length) = text.split_once('/').unwrap();
    AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

pub(crate) fn esp(text: &str) -> EspProposal {
    text.parse().unwrap()
}

pub(crate) fn ceiling() -> Ceiling {
    let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"];
    Ceiling {
        remote: private.map(range).to_vec(),
        local: Vec::new(),
        weakest: esp("aes128-sha256"),
        sas_max: 16,
        is_remote_named: false,
    }
}

/// A peer and a secret; everything else is pulled.
pub(crate) fn client() -> TunnelsConfig {
    let mut config = config(0, 0, Start::OnTraffic);
    config.peers[0].config_mode = ConfigMode::Client;
    config.clients = vec![ClientConfig {
        peer: PEER,
        is_pushed: false,
        remote_networks: Vec::new(),
        ceiling: ceiling(),
        proposals: vec![esp("aes128gcm16")],
        lifetime: LIFETIME,
        window_packets: 4096,
    }];
    config
}

pub(crate) fn served(name: &str, sources: &[&str]) -> ServedSet {
    ServedSet {
        name: name.to_owned(),
        source: sources.iter().map(|text| range(text)).collect(),
        destination: ClientSide::Lease,
        protocol: Protocol::Any,
        source_port: PortRange::ANY,
        destination_port: PortRange::ANY,
        proposals: vec![esp("aes128gcm16")],
        lifetime: LIFETIME,
        window_packets: 4096,
        parent: None,
        gateway: None,
    }
}

/// A template for anybody who holds the secret.
pub(crate) fn server(sets: Vec<ServedSet>, pool: &str) -> TunnelsConfig {
    let mut config = config(1, 0, Start::OnTraffic);
    let peer = &mut config.peers[0];
    peer.config_mode = ConfigMode::Server;
    (peer.remote, peer.remote_identity) = (Remote::Any, RemoteIdentity::Any);
    config.servers = vec![ServerConfig { peer: PEER, policy: 0, pushes: false }];
    config.pools = vec![Pool { name: "road".to_owned(), addresses: range(pool), statics: Vec::new() }];
    config.policies = vec![ServedPolicy {
        name: "warriors".to_owned(),
        pools: vec![0],
        dns: vec!["10.1.0.53".parse().unwrap()],
        domain: Some("corp.test".to_owned()),
        banner: Some("welcome".to_owned()),
        sets,
        ..ServedPolicy::default()
    }];
    config
}

pub(crate) fn end(text: &str) -> TrafficEnd {
    TrafficEnd { addresses: range(text), protocol: Protocol::Any, ports: PortRange::ANY }
}

pub(crate) fn set(id: u16, local: &str, remote: &str) -> PolicySet {
    PolicySet {
        id,
        name: format!("set-{id}"),
        local: vec![end(local)],
        remote: vec![end(remote)],
        mode: SaMode::Tunnel,
        transforms: vec![esp("aes128gcm16").transform],
        pfs: None,
        lifetime: LIFETIME,
        gateway: None,
        parent: None,
    }
}

pub(crate) fn offered(set: PolicySet) -> ConfigAttribute {
    ConfigAttribute::PolicySet(SetMessage::Offered(Box::new(set)))
}

pub(crate) fn leased(text: &str) -> ConfigAttribute {
    ConfigAttribute::Ip4Address(Some(text.parse().unwrap()))
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn server_address() -> String {
    address(1).to_string()
}
