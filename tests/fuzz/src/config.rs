//! The configuration file (`control/config`).

use std::path::Path;
use warren_config::{Diagnostic, SecretError, Severity, parse};
use warren_policy::Secret;

const KEY: &str = "Zm9yIGRvY3VtZW50YXRpb24gb25seSwgbmV2ZXIgdXNl";

/// The text of a file. Key files are not looked for: their names decide what is found.
pub fn file(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    match parse(text, "fuzz.toml", &secret) {
        Ok(config) => {
            assert_eq!(config.rules.tunnel.len(), config.tunnels.len());
            let peers = config.rules.tunnel.iter().map(|rule| config.peer(rule.peer));
            assert!(peers.into_iter().all(|peer| peer.is_some()), "a rule names a peer that is not there");
            assert!(config.ports.is_empty() == config.automatic_ports && config.rules.fits());
            let policies = config.peers.iter().filter_map(|peer| peer.serves);
            assert!(policies.into_iter().all(|serves| serves.policy < config.policies.len()));
            check(text, &config.warnings, Severity::Warning);
        }
        Err(errors) => {
            assert!(errors.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
            check(text, &errors.0, Severity::Error);
            assert!(!errors.to_string().is_empty());
        }
    }
}

/// Every remark points into the file and shows nothing of a key.
fn check(text: &str, remarks: &[Diagnostic], most: Severity) {
    let lines = text.split('\n').count();
    for remark in remarks {
        assert!(most == Severity::Error || remark.severity == Severity::Warning);
        assert!(remark.line <= lines, "{remark} points behind line {lines}");
        assert!(remark.mark.start <= remark.mark.end && remark.mark.end <= remark.source.chars().count() + 1);
        let shown = format!("{remark}{}", remark.one_line());
        assert!(text.contains(KEY) || !shown.contains(KEY), "a remark shows a key");
    }
}

fn secret(name: &Path) -> Result<Secret, SecretError> {
    match name.extension().and_then(|extension| extension.to_str()) {
        Some("missing") => Err(SecretError::Missing),
        Some("refused") => Err(SecretError::Refused("is open to others".to_owned())),
        Some("weak") => Ok(Secret::new(b"hunter2".to_vec())),
        _ => Ok(Secret::new(format!("{KEY}\n").into_bytes())),
    }
}
