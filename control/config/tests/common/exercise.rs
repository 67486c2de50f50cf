//! What must hold for whatever stands in a configuration file. The fuzz target includes this file too.

use std::collections::HashSet;
use std::path::Path;
use warren_config::{Config, Diagnostics, SecretError, Severity, parse};
use warren_policy::Secret;

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

/// Reads the text and looks at everything that comes of it.
pub(crate) fn configuration(text: &str) {
    match parse(text, "fuzz.toml", &secrets) {
        Ok(config) => accepted(&config),
        Err(errors) => refused(text, &errors),
    }
}

fn accepted(config: &Config) {
    assert!(!config.ports.is_empty() && config.gateway.workers > 0);
    let names: HashSet<&str> = config.rules.tunnel.iter().map(|rule| rule.name.as_str()).collect();
    assert_eq!(names.len(), config.rules.tunnel.len(), "names are unique, lists expanded");
    assert_eq!(config.tunnels.len(), config.rules.tunnel.len());
    for (at, (rule, tunnel)) in config.rules.tunnel.iter().zip(&config.tunnels).enumerate() {
        let peer = config.peer(tunnel.peer).expect("every tunnel has its peer");
        assert_eq!((rule.peer, rule.gateway, tunnel.rule.0 as usize), (tunnel.peer, peer.address, at));
        assert!(
            !tunnel.esp.is_empty() && tunnel.window_packets.is_multiple_of(64) && tunnel.window_packets > 0
        );
        assert!(config.tunnels_named(&rule.name).contains(&tunnel.rule));
    }
    for (at, peer) in config.peers.iter().enumerate() {
        assert_eq!(peer.id.0 as usize, at);
        assert_eq!(peer.local.is_ipv4(), peer.address.is_ipv4());
        assert!(!peer.proposals.is_empty() && !peer.secret.expose().is_empty());
        assert!(peer.dpd.is_none_or(|dpd| dpd.timeout > dpd.delay));
    }
    let selectors = config.rules.tunnel.iter().map(|rule| rule.selector);
    for selector in selectors.chain(config.rules.transport.iter().map(|rule| rule.selector)) {
        assert_eq!(selector.source.is_ipv6(), selector.destination.is_ipv6());
    }
    assert!(config.warnings.iter().all(|warning| warning.severity == Severity::Warning));
    assert!(!format!("{config:?}").contains(KEY), "F-33");
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
