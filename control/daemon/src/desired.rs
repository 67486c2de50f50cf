//! The configuration in the words of tunnels and IKE.

use warren_config::{Config, Peer, Start as ConfiguredStart};
use warren_ike::{ChildConfig, Dpd, NatTraversal, PeerConfig, Retransmit};
use warren_tunnels::{Start, TunnelConfig, TunnelsConfig};

/// What is to be negotiated.
pub(crate) fn tunnels(config: &Config) -> TunnelsConfig {
    let tunnel = |(rule, policy): (&warren_policy::TunnelRule, &warren_config::TunnelPolicy)| TunnelConfig {
        child: ChildConfig {
            rule: policy.rule,
            peer: policy.peer,
            selector: rule.selector,
            proposals: policy.esp.clone(),
            lifetime: policy.lifetime,
            window_packets: policy.window_packets,
        },
        start: match policy.start {
            ConfiguredStart::OnTraffic => Start::OnTraffic,
            ConfiguredStart::Immediately => Start::Immediately,
        },
    };
    TunnelsConfig {
        peers: config.peers.iter().map(peer).collect(),
        tunnels: config.rules.tunnel.iter().zip(&config.tunnels).map(tunnel).collect(),
        rules: config.rules.clone(),
        ..TunnelsConfig::default()
    }
}

fn peer(peer: &Peer) -> PeerConfig {
    PeerConfig {
        id: peer.id,
        name: peer.name.clone(),
        local: peer.local,
        remote: warren_ike::Remote::Host(peer.address),
        local_identity: peer.local_identity.clone(),
        remote_identity: warren_ike::RemoteIdentity::Exactly(peer.identity.clone()),
        mode: warren_ike::Mode::Main,
        authentication: warren_ike::Authentication::PreSharedKey(peer.secret.clone()),
        xauth: warren_ike::Xauth::Off,
        config_mode: warren_ike::ConfigMode::Off,
        fragmentation: true,
        proposals: peer.proposals.clone(),
        lifetime: peer.lifetime_s,
        dpd: peer.dpd.map(|dpd| Dpd { delay: dpd.delay, timeout: dpd.timeout }),
        nat_traversal: match peer.nat_traversal {
            warren_config::NatTraversal::Auto => NatTraversal::Auto,
            warren_config::NatTraversal::Force => NatTraversal::Force,
            warren_config::NatTraversal::Off => NatTraversal::Off,
        },
        retransmit: Retransmit { first: peer.retransmit.first, tries: peer.retransmit.tries },
    }
}
