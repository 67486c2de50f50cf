//! The configuration in the words of tunnels and IKE.

use crate::discovery;
use crate::surroundings::Surroundings;
use std::collections::BTreeMap;
use std::sync::Arc;
use warren_config::{
    Authentication as Configured, Certificate, Config, IkeMode, Peer, Start as ConfiguredStart, TunnelPolicy,
};
use warren_ike::{
    Authentication, ChildConfig, ConfigMode, Credentials, CredentialsError, Dpd, Mode, NatTraversal,
    PeerConfig, Remote, RemoteIdentity, Retransmit, Xauth,
};
use warren_policy::{Gateway, Identity, SaMode, Secret, Selector};
use warren_seam::Carrier;
use warren_tunnels::{ClientConfig, ServerConfig, Start, TunnelConfig, TunnelsConfig};

/// What the file alone could not tell.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Undesirable {
    /// Certificates and key.
    #[error("peer {peer}: {why}")]
    Credentials {
        /// The operator's name for it.
        peer: String,
        /// What is the matter.
        why: CredentialsError,
    },
    /// A peer would refuse us.
    #[error(
        "peer {peer}: our certificate does not name {identity}, which we say we are; `local_identity` must be one of its names"
    )]
    NotOurName {
        /// The operator's name for it.
        peer: String,
        /// Who we say we are.
        identity: Identity,
    },
}

/// What is to be negotiated.
///
/// # Errors
/// Certificates that cannot be used.
pub(crate) fn tunnels(config: &Config, surroundings: &Surroundings) -> Result<TunnelsConfig, Undesirable> {
    let tunnel = |selector: Selector, policy: &TunnelPolicy, mode: SaMode, is_divisible: bool| TunnelConfig {
        child: ChildConfig {
            rule: policy.rule,
            peer: policy.peer,
            selector,
            proposals: policy.esp.clone(),
            lifetime: policy.lifetime,
            window_packets: policy.window_packets,
            mode,
            carrier: Carrier::Network,
            is_divisible,
        },
        start: match policy.start {
            ConfiguredStart::OnTraffic => Start::OnTraffic,
            ConfiguredStart::Immediately => Start::Immediately,
        },
        parallel: policy.parallel,
    };
    let tunnels = config.tunnel_rules().map(|(rule, policy)| {
        tunnel(rule.selector, policy, SaMode::Tunnel, rule.gateway == Gateway::Discover)
    });
    let protections =
        config.protected().map(|(rule, policy)| tunnel(rule.selector, policy, SaMode::Transport, false));
    let users: BTreeMap<String, Secret> =
        config.users.iter().map(|user| (user.name.clone(), user.password.clone())).collect();
    let users = Arc::new(users);
    let peers = config.peers.iter().map(|own| peer(own, surroundings, &users));
    Ok(TunnelsConfig {
        peers: peers.collect::<Result<_, _>>()?,
        tunnels: tunnels.collect(),
        rules: config.rules.clone(),
        clients: config.peers.iter().filter_map(client).collect(),
        servers: config.peers.iter().filter_map(server).collect(),
        policies: config.policies.clone(),
        pools: config.pools.clone(),
        attached: surroundings.attached.clone(),
        ted: discovery::settings(&config.ted),
        concealed: config.tunnels.iter().filter(|own| own.is_concealed).map(|own| own.rule).collect(),
        discovered_idle: config.ted.idle,
        protections: protections.collect(),
        rematch: config.stack.rematch,
        stack_idle: config.stack.idle,
    })
}

fn client(peer: &Peer) -> Option<ClientConfig> {
    let receives = peer.receives.as_ref()?;
    Some(ClientConfig {
        peer: peer.id,
        is_pushed: receives.is_pushed,
        remote_networks: receives.remote_networks.clone(),
        ceiling: receives.ceiling.clone(),
        proposals: receives.proposals.clone(),
        lifetime: receives.lifetime,
        window_packets: receives.window_packets,
    })
}

fn server(peer: &Peer) -> Option<ServerConfig> {
    let serves = peer.serves?;
    Some(ServerConfig { peer: peer.id, policy: serves.policy, pushes: serves.pushes })
}

fn peer(
    peer: &Peer,
    surroundings: &Surroundings,
    users: &Arc<BTreeMap<String, Secret>>,
) -> Result<PeerConfig, Undesirable> {
    let own = surroundings.own.get(&peer.id).copied();
    // A template that leaves its address open is answered at any of ours; one for whom we ask has an address to name.
    let is_named = peer.address.is_some() || peer.is_discovered();
    let local = own.filter(|_| is_named).unwrap_or(peer.local);
    let local_identity = peer.local_identity.clone().unwrap_or_else(|| of_address(own.unwrap_or(local)));
    Ok(PeerConfig {
        id: peer.id,
        name: peer.name.clone(),
        local,
        remote: peer.address.map_or(Remote::Any, Remote::Host),
        authentication: authentication(peer, &local_identity)?,
        local_identity,
        remote_identity: peer.identity.clone().map_or(RemoteIdentity::Any, RemoteIdentity::Exactly),
        mode: match peer.mode {
            IkeMode::Main => Mode::Main,
            IkeMode::Aggressive => Mode::Aggressive,
            IkeMode::Base => Mode::Base,
        },
        xauth: match &peer.xauth {
            warren_config::Xauth::Off => Xauth::Off,
            warren_config::Xauth::Client { user, password } => {
                Xauth::Client { user: user.clone(), password: password.clone() }
            }
            warren_config::Xauth::Server => Xauth::Server(Arc::clone(users)),
        },
        config_mode: match (&peer.receives, peer.serves) {
            (Some(_), _) => ConfigMode::Client,
            (None, Some(_)) => ConfigMode::Server,
            (None, None) => ConfigMode::Off,
        },
        fragmentation: peer.fragmentation,
        proposals: peer.proposals.clone(),
        lifetime: peer.lifetime_s,
        dpd: peer.dpd.map(|dpd| Dpd { delay: dpd.delay, timeout: dpd.timeout }),
        nat_traversal: match peer.nat_traversal {
            warren_config::NatTraversal::Auto => NatTraversal::Auto,
            warren_config::NatTraversal::Force => NatTraversal::Force,
            warren_config::NatTraversal::Off => NatTraversal::Off,
        },
        retransmit: Retransmit { first: peer.retransmit.first, tries: peer.retransmit.tries },
        pad: peer.authorised.clone().map(Arc::new),
    })
}

fn authentication(peer: &Peer, local_identity: &Identity) -> Result<Authentication, Undesirable> {
    match &peer.authentication {
        Configured::PreSharedKey(secret) => Ok(Authentication::PreSharedKey(secret.clone())),
        Configured::Certificate(files) => {
            let credentials = credentials(peer, files, Some(local_identity))?;
            Ok(Authentication::Signature(Arc::new(credentials)))
        }
    }
}

fn credentials(
    peer: &Peer,
    files: &Certificate,
    local_identity: Option<&Identity>,
) -> Result<Credentials, Undesirable> {
    let name = || peer.name.clone();
    let credentials = Credentials::new(files.chain.clone(), files.key.clone(), files.authorities.clone())
        .map_err(|why| Undesirable::Credentials { peer: name(), why })?;
    match local_identity {
        Some(identity) if !credentials.names(identity) => {
            Err(Undesirable::NotOurName { peer: name(), identity: identity.clone() })
        }
        _ => Ok(credentials),
    }
}

/// Whether every certificate of the file can be used, as far as that can be told without a network.
///
/// # Errors
/// The first that cannot.
pub(crate) fn check(config: &Config) -> Result<(), Undesirable> {
    for peer in &config.peers {
        if let Configured::Certificate(files) = &peer.authentication {
            credentials(peer, files, peer.local_identity.as_ref())?;
        }
    }
    Ok(())
}

const fn of_address(address: std::net::IpAddr) -> Identity {
    match address {
        std::net::IpAddr::V4(v4) => Identity::Ipv4(v4),
        std::net::IpAddr::V6(v6) => Identity::Ipv6(v6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;
    use warren_policy::{AddressRange, PeerId, Rematching, RuleId};

    fn config(text: &str) -> Config {
        let key = |_: &std::path::Path| Ok(Secret::new(b"00112233445566778899aabbccddeeff".to_vec()));
        warren_config::parse(text, "gw.toml", &key).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn at(own: &str) -> Surroundings {
        Surroundings { own: [(PeerId(0), own.parse::<IpAddr>().unwrap())].into(), attached: Vec::new() }
    }

    #[test] // NT-19, NT-27, Q-17, Q-19
    fn what_the_file_says_of_stacks_and_of_base_rules_that_protect_is_what_is_wanted() {
        let text = "[[port]]\ninterface = \"eth0\"\nside = \"outside\"\n[stack]\nrematch = \"wire\"\nidle = \"7m\"\n\
            [[peer]]\nname = \"b\"\nike = \"v1-main\"\nlocal = \"192.0.2.1\"\naddress = \"198.51.100.2\"\n\
            secret = \"x\"\n[[peer]]\nname = \"sg\"\nike = \"v1-main\"\nlocal = \"192.0.2.1\"\n\
            address = \"203.0.113.2\"\nsecret = \"x\"\n[[transport]]\nname = \"end\"\nsource = \"192.0.2.1\"\n\
            destination = \"198.51.100.2\"\naction = \"protect\"\npeer = \"b\"\nesp = [\"aes128gcm16\"]\n\
            [[tunnel]]\nname = \"t\"\nsource = \"10.1.0.0/16\"\ndestination = \"10.2.0.0/16\"\npeer = \"sg\"\n";
        let wanted = tunnels(&config(text), &at("192.0.2.1")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((wanted.rematch, wanted.stack_idle.as_secs()), (Rematching::Wire, 420));
        let ([tunnel], [protection]) = (&wanted.tunnels[..], &wanted.protections[..]) else {
            panic!("one each")
        };
        assert_eq!((tunnel.child.rule, tunnel.child.mode), (RuleId(0), SaMode::Tunnel));
        assert_eq!((protection.child.rule, protection.child.mode), (RuleId(1), SaMode::Transport));
        assert_eq!((protection.child.peer, protection.child.is_divisible), (PeerId(0), false));
        assert_eq!(protection.child.selector.to_string(), "192.0.2.1/32 -> 198.51.100.2/32");
        assert_eq!(protection.child.proposals.len(), 1);
        assert_eq!(protection.start, Start::OnTraffic);
        // A file that is read again says it anew, and what it leaves out is as if it had never been there.
        let less = text
            .replace("action = \"protect\"\npeer = \"b\"\nesp = [\"aes128gcm16\"]", "action = \"permit\"");
        let less = less.replace("[stack]\nrematch = \"wire\"\nidle = \"7m\"\n", "");
        let wanted = tunnels(&config(&less), &at("192.0.2.1")).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((wanted.rematch, wanted.stack_idle.as_secs()), (Rematching::Destination, 600));
        assert!(wanted.protections.is_empty());
    }

    #[test] // DC-15, DC-16
    fn two_lines_become_a_peer_to_connect_to_and_pull_policy_from() {
        let client = config("peer = \"198.51.100.2\"\nsecret = \"x\"\n");
        let wanted = tunnels(&client, &at("192.0.2.7")).unwrap_or_else(|error| panic!("{error}"));
        let [peer] = &wanted.peers[..] else { panic!("one peer") };
        assert_eq!(peer.local.to_string(), "192.0.2.7");
        assert_eq!(peer.local_identity.to_string(), "192.0.2.7");
        assert_eq!(peer.remote, Remote::Host("198.51.100.2".parse().unwrap()));
        assert_eq!(peer.remote_identity, RemoteIdentity::Exactly("198.51.100.2".parse().unwrap()));
        assert_eq!((peer.mode, peer.config_mode), (Mode::Main, ConfigMode::Client));
        let [client] = &wanted.clients[..] else { panic!("one client") };
        assert!(!client.is_pushed && !client.ceiling.is_remote_named && client.ceiling.sas_max == 16);
        assert!(wanted.tunnels.is_empty() && wanted.servers.is_empty());
    }

    #[test] // F-7, F-10, TED-59
    fn a_peer_that_is_discovered_has_our_address_and_who_is_authorised_and_its_rules_may_be_divided() {
        let text = "[[port]]\ninterface = \"eth0\"\nside = \"outside\"\n[ted]\nidle = \"7m\"\ntries = 2\n[[peer]]\n\
            name = \"p\"\nike = \"v1-main\"\naddress = \"discover\"\nsecret = \"x\"\ngroup_secret = true\n\
            authorised = [{ identity = \"b.test\", networks = \"10.2.0.0/16\" }]\n[[peer]]\nname = \"fixed\"\n\
            ike = \"v1-main\"\nlocal = \"192.0.2.1\"\naddress = \"198.51.100.2\"\nsecret = \"x\"\n\
            [[tunnel]]\nname = \"fix\"\nsource = \"10.1.0.0/16\"\ndestination = \"10.3.0.0/16\"\npeer = \"fixed\"\n\
            [[tunnel]]\nname = \"mute\"\nsource = \"10.1.0.0/24\"\ndestination = \"10.2.0.0/16\"\ngateway = \"discover\"\n\
            peer = \"p\"\nconceal = true\n[[tunnel]]\nname = \"asks\"\nsource = \"10.1.0.0/16\"\n\
            destination = \"10.2.0.0/16\"\ngateway = \"discover\"\npeer = \"p\"\n";
        let wanted = tunnels(&config(text), &at("192.0.2.7")).unwrap_or_else(|error| panic!("{error}"));
        let [peer, fixed] = &wanted.peers[..] else { panic!("two peers") };
        assert_eq!((peer.local.to_string().as_str(), peer.remote), ("192.0.2.7", Remote::Any));
        assert_eq!(peer.local_identity.to_string(), "192.0.2.7");
        let pad = peer.pad.as_ref().unwrap();
        let network = AddressRange::from_prefix("10.2.7.0".parse().unwrap(), 24).unwrap();
        assert!(pad.authorises(&"b.test".parse().unwrap(), &network));
        assert!(!pad.authorises(&"c.test".parse().unwrap(), &network));
        assert!(fixed.pad.is_none() && wanted.servers.is_empty());
        let divisible: Vec<bool> = wanted.tunnels.iter().map(|own| own.child.is_divisible).collect();
        assert_eq!(divisible, [false, true, true]);
        assert_eq!(wanted.concealed, [RuleId(1)]);
        assert_eq!((wanted.discovered_idle.as_secs(), wanted.ted.tries), (420, 2));
    }

    #[test] // NT-19, NT-27
    fn what_is_protected_from_end_to_end_is_negotiated_in_transport_mode_under_its_own_number() {
        let text = include_str!("../../../docs/examples/nested/gateway.toml");
        let short = text
            .replace("idle = \"10m\"", "idle = \"3m\"")
            .replace("rematch = \"destination\"", "rematch = \"wire\"");
        let wanted = tunnels(&config(&short), &at("192.0.2.1")).unwrap_or_else(|error| panic!("{error}"));
        let modes: Vec<_> = wanted.tunnels.iter().map(|own| (own.child.rule, own.child.mode)).collect();
        assert_eq!(modes, [0, 1, 2].map(|rule| (RuleId(rule), SaMode::Tunnel)));
        let [own] = &wanted.protections[..] else { panic!("one rule protects") };
        assert_eq!(
            (own.child.rule, own.child.peer, own.child.mode),
            (RuleId(3), PeerId(3), SaMode::Transport)
        );
        assert_eq!(own.child.selector.to_string(), "10.1.0.1/32 -> 10.2.0.7/32");
        assert!(!own.child.is_divisible && own.start == Start::OnTraffic);
        assert_eq!((wanted.rematch, wanted.stack_idle.as_secs()), (Rematching::Wire, 180));
    }

    #[test]
    fn a_template_keeps_its_open_address_and_is_called_by_what_was_found() {
        let server = config(
            "[[port]]\ninterface = \"eth0\"\nside = \"outside\"\n[[pool]]\nname = \"p\"\naddresses = \"10.99.0.0/24\"\n\
             [[policy]]\nname = \"v\"\npool = \"p\"\n[[user]]\nname = \"alice\"\npassword = \"x\"\n[[peer]]\n\
             name = \"any\"\nike = \"v1-aggressive\"\naddress = \"any\"\nsecret = \"x\"\ngroup_secret = true\n\
             xauth = \"server\"\nserves = \"v\"\npush = true\n",
        );
        let wanted = tunnels(&server, &at("192.0.2.1")).unwrap_or_else(|error| panic!("{error}"));
        let [peer] = &wanted.peers[..] else { panic!("one peer") };
        assert!(peer.local.is_unspecified());
        assert_eq!(peer.local_identity.to_string(), "192.0.2.1");
        assert_eq!((peer.remote, peer.remote_identity.clone()), (Remote::Any, RemoteIdentity::Any));
        assert!(matches!(&peer.xauth, Xauth::Server(users) if users.contains_key("alice")));
        assert_eq!(wanted.servers, [ServerConfig { peer: PeerId(0), policy: 0, pushes: true }]);
    }
}
