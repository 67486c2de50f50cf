//! What must hold for whatever stands in a configuration file. The fuzz target includes this file too.

use std::collections::HashSet;
use std::path::Path;
use warren_config::{Config, Diagnostics, SecretError, SecretSource, Severity, Side, Ted, parse};
use warren_policy::ways::Known;
use warren_policy::{AddressRange, ClientSide, Gateway, Proxy, Secret, WayError, ways};

/// The key behind every name that does not ask for something else; no test writes it into a file.
pub(crate) const KEY: &str = "7d1f5b0c9a8e4d3f2b6a1c0e9f8d7b6a5c4e3d2f1b0a9c8e7d6f5b4a3c2e1d0f";

/// Key files without a disk.
pub(crate) fn secrets(name: &Path) -> Result<Secret, SecretError> {
    match name.to_str().unwrap_or("") {
        "missing" => Err(SecretError::Missing),
        "refused" => Err(SecretError::Refused("refused is open to others".to_owned())),
        "weak" => Ok(Secret::new(b"weak".to_vec())),
        "empty" => Ok(Secret::new(Vec::new())),
        _ => Ok(Secret::new(KEY.as_bytes().to_vec())),
    }
}

/// The same, with certificates where they are asked for.
pub(crate) struct Files;

impl SecretSource for Files {
    fn secret(&self, name: &Path) -> Result<Secret, SecretError> {
        secrets(name)
    }

    fn private_key(&self, name: &Path) -> Result<Secret, SecretError> {
        let pem = "-----BEGIN PRIVATE KEY-----\nAwMD\n-----END PRIVATE KEY-----\n";
        secrets(name).map(|_| Secret::new(pem.into()))
    }

    fn certificate(&self, name: &Path) -> Result<Vec<u8>, SecretError> {
        let pem = "-----BEGIN CERTIFICATE-----\nAQEB\n-----END CERTIFICATE-----\n";
        secrets(name).map(|_| pem.into())
    }
}

/// Reads the text and looks at everything that comes of it.
pub(crate) fn configuration(text: &str) {
    match parse(text, "fuzz.toml", &Files) {
        Ok(config) => accepted(&config),
        Err(errors) => refused(text, &errors),
    }
}

fn accepted(config: &Config) {
    assert!(config.ports.is_empty() == config.automatic_ports && config.gateway.workers > 0);
    let names: HashSet<&str> = config.rules.tunnel.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names.len(), config.rules.tunnel.len(), "names are unique, lists expanded");
    assert_eq!(config.tunnels.len(), config.rules.tunnel.len());
    for (at, (rule, tunnel)) in config.rules.tunnel.iter().zip(&config.tunnels).enumerate() {
        let peer = config.peer(tunnel.peer).expect("every tunnel has its peer");
        assert_eq!(
            peer.is_template(),
            peer.is_discovered(),
            "no tunnel leads to a template but by discovery"
        );
        assert_eq!(rule.gateway == Gateway::Discover, peer.is_discovered());
        assert!(!peer.is_discovered() || Proxy::from_selector(&rule.selector).is_some(), "TED-42");
        assert!(peer.is_discovered() || !tunnel.is_concealed);
        assert_eq!(
            (rule.peer, rule.gateway.address(), tunnel.rule.0 as usize),
            (tunnel.peer, peer.address, at)
        );
        assert!(
            !tunnel.esp.is_empty() && tunnel.window_packets.is_multiple_of(64) && tunnel.window_packets > 0
        );
        assert!(config.tunnels_named(&rule.name).contains(&tunnel.rule));
    }
    for (at, peer) in config.peers.iter().enumerate() {
        assert_eq!(peer.id.0 as usize, at);
        assert!(peer.address.is_none_or(|address| address.is_ipv4() == peer.local.is_ipv4()));
        assert!(!peer.proposals.is_empty());
        assert!(peer.authentication.secret().is_none_or(|secret| !secret.expose().is_empty()));
        assert!(peer.receives.is_none() || (peer.serves.is_none() && !peer.is_template()));
        assert!(peer.receives.as_ref().is_none_or(|receives| !receives.proposals.is_empty()));
        assert!(peer.serves.is_none_or(|serves| serves.policy < config.policies.len()));
        assert!(peer.dpd.is_none_or(|dpd| dpd.timeout > dpd.delay));
    }
    discovery(config);
    served(config);
    assert_eq!(config.protections.len(), config.rules.protections().count());
    for (at, ((rule, own), policy)) in config.rules.protections().zip(&config.protections).enumerate() {
        let peer = config.peer(policy.peer).expect("every rule that protects has its peer");
        assert_eq!(own.rule.0 as usize, config.tunnels.len() + at);
        assert_eq!((policy.rule, policy.peer, own.peer), (own.rule, own.peer, policy.peer));
        let (source, destination) = (rule.selector.source, rule.selector.destination);
        assert_eq!((source, peer.local), (AddressRange::single(peer.local), source.first()), "RFC 4301 §4.1");
        assert_eq!((destination, peer.address), (AddressRange::single(own.host), Some(own.host)));
        assert!(!policy.esp.is_empty() && !peer.is_template() && !peer.is_local_open());
    }
    one_way(config);
    let selectors = config.rules.tunnel.iter().map(|rule| rule.selector);
    for selector in selectors.chain(config.rules.transport.iter().map(|rule| rule.selector)) {
        assert_eq!(selector.source.is_ipv6(), selector.destination.is_ipv6());
    }
    assert!(config.warnings.iter().all(|warning| warning.severity == Severity::Warning));
    assert!(!format!("{config:?}").contains(KEY), "F-33");
}

/// What loads has one way to each gateway, as far as our addresses are known.
fn one_way(config: &Config) {
    let local = |peer| config.peer(peer).filter(|peer| !peer.is_local_open()).map(|peer| peer.local);
    let found =
        ways(&config.rules, &Known { rematching: config.stack.rematch, local: &local, within: &|_| None });
    assert!(found.errors().all(|error| matches!(error, WayError::NoSource { .. })));
}

fn discovery(config: &Config) {
    let (ted, ports) = (&config.ted, &config.ports);
    assert!(ted.answer_on.iter().all(|at| ports[*at].side == Side::Outside), "F-8");
    assert!(ted.disclose.iter().all(|range| range.prefix_length().is_some()));
    assert!(ted.rest_min <= ted.rest_max && ted.tries > 0 && ted.in_flight_max > 0);
    for peer in config.peers.iter().filter(|peer| peer.is_discovered()) {
        assert!(peer.address.is_none() && peer.receives.is_none() && peer.serves.is_none());
        let pad = peer.authorised.as_ref().expect("is discovered");
        assert!(!pad.entries().is_empty() && pad.entries().iter().all(|entry| !entry.networks.is_empty()));
    }
    let discovers = config.rules.tunnel.iter().any(|rule| rule.gateway == Gateway::Discover);
    assert!(config.is_ted_on || !discovers && *ted == Ted::default());
}

/// What is served needs no second look either.
fn served(config: &Config) {
    for policy in &config.policies {
        let families: Vec<bool> =
            policy.pools.iter().map(|pool| config.pools[*pool].addresses.is_ipv6()).collect();
        assert!(families.len() < 2 || families[0] != families[1], "one pool of each family");
        for set in &policy.sets {
            assert!(!set.source.is_empty() && !set.proposals.is_empty());
            assert!(set.parent.is_none_or(|parent| parent < policy.sets.len()));
            let leads = |ipv6: bool| match &set.destination {
                ClientSide::Lease => families.contains(&ipv6),
                ClientSide::Networks(networks) => networks.iter().any(|network| network.is_ipv6() == ipv6),
            };
            assert!(set.source.iter().all(|source| leads(source.is_ipv6())));
        }
    }
    for (at, pool) in config.pools.iter().enumerate() {
        assert!(config.pools[..at].iter().all(|other| !other.addresses.overlaps(&pool.addresses)));
        assert!(pool.statics.iter().all(|(_, address)| address.is_ipv6() == pool.addresses.is_ipv6()));
    }
}

fn refused(text: &str, errors: &Diagnostics) {
    assert!(errors.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
    let rendered = format!("{errors}");
    assert!(rendered.chars().all(|c| c == '\n' || !c.is_control()), "{rendered:?}");
    assert!(text.contains(KEY) || !rendered.contains(KEY), "F-33");
    for diagnostic in &errors.0 {
        assert!(diagnostic.mark.start <= diagnostic.mark.end && diagnostic.mark.end <= 200);
        if diagnostic.line > 0 {
            let lines = text.split('\n').count();
            assert!(diagnostic.line <= lines && diagnostic.column > 0, "{}", diagnostic.one_line());
        }
    }
}
