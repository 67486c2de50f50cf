//! `dpctl check`: what `warrend --check` says, without a daemon.

use crate::output::{Failure, Output};
use std::path::Path;

/// Reads the file with everything it names. Warnings do not make it wrong.
pub(crate) fn check(file: &Path, output: &mut Output) -> Result<(), Failure> {
    let config = warren_config::load(file).map_err(|diagnostics| {
        Failure::Said(format!("{} cannot be used\n\n{diagnostics}", file.display()))
    })?;
    for warning in &config.warnings {
        output.write(&format!("{warning}\n\n"))?;
    }
    let several = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {what}s"),
    };
    let counts = [
        several(config.ports.len(), "port"),
        several(config.peers.len(), "peer"),
        several(config.rules.transport.len(), "transport rule"),
        several(config.rules.tunnel.len(), "tunnel rule"),
        several(config.warnings.len(), "warning"),
    ];
    Ok(output.write(&format!("{} is right: {}", file.display(), counts.join(", ")))?)
}
