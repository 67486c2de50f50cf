//! Text to [`Config`]: sections in their order, then the checks between them.

use crate::checks;
use crate::config::Config;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::gateway::Gateway;
use crate::limits::{FILE_OCTETS_MAX, PEERS_MAX, PORTS_MAX};
use crate::name::Unique;
use crate::nesting;
use crate::peer::{KnownPeers, Peer};
use crate::port::PortConfig;
use crate::report::{Report, Span};
use crate::secret::{SecretFiles, SecretSource};
use crate::section::Section;
use crate::transport::ReadTransport;
use crate::tunnel::{ReadTunnel, TunnelPolicy};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use warren_policy::limits::RULES_MAX;
use warren_policy::{PeerId, RuleId, RuleSet, TunnelRule};

/// Reads a file and the key files it names, which are looked up beside it.
pub fn load(path: &Path) -> Result<Config, Diagnostics> {
    let file_name = path.display().to_string();
    let refuse =
        |message: String| Diagnostics(vec![Diagnostic::of_file(Severity::Error, &file_name, message)]);
    let (octets, mode) = read_bounded(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    if octets.len() as u64 > FILE_OCTETS_MAX {
        return Err(refuse(format!("is larger than the {FILE_OCTETS_MAX} octets a configuration may have")));
    }
    let text = String::from_utf8(octets).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].split(|octet| *octet == b'\n').count();
        refuse(format!("is not UTF-8 text: the first wrong octet is in line {line}"))
    })?;
    let secrets = SecretFiles::beside(path.parent().unwrap_or(Path::new("")));
    let mut config = parse(&text, &file_name, &secrets)?;
    if mode & 0o022 != 0 {
        let message = format!("has mode {:04o}: others may change what is protected and how", mode & 0o777);
        config.warnings.insert(0, Diagnostic::of_file(Severity::Warning, &file_name, message));
    }
    Ok(config)
}

fn read_bounded(path: &Path) -> io::Result<(Vec<u8>, u32)> {
    let file = File::open(path)?;
    let mode = file.metadata()?.mode();
    let mut octets = Vec::new();
    file.take(FILE_OCTETS_MAX + 1).read_to_end(&mut octets)?;
    Ok((octets, mode))
}

/// Reads text that stands for the file of that name. Nothing but `secrets` is asked for anything else.
pub fn parse(text: &str, file_name: &str, secrets: &dyn SecretSource) -> Result<Config, Diagnostics> {
    let mut report = Report::new(file_name, text);
    let (document, problems) = DeTable::parse_recoverable(text);
    for problem in &problems {
        report.error(&problem.span().unwrap_or(0..0), problem.message(), "");
    }
    if report.has_errors() {
        // Half a document would only bring complaints about the half that is missing.
        return report.finish().map(|_| unreachable!("there are errors"));
    }
    let config = read(Section::new("the file", 0..0, document.get_ref()), secrets, &mut report);
    let warnings = report.finish()?;
    Ok(Config { warnings, ..config.expect("what cannot be read was reported") })
}

/// `None` only after an error.
fn read<'a>(mut top: Section<'a>, secrets: &dyn SecretSource, report: &mut Report<'_>) -> Option<Config> {
    let gateway = match top.optional("gateway") {
        None => Some(Gateway::default()),
        Some(field) => match field.value {
            DeValue::Table(entries) => Gateway::read(Section::new("[gateway]", field.span, entries), report),
            _ => {
                report.error(&field.span, "`gateway` is not a table here", "one `[gateway]`");
                None
            }
        },
    };
    let ports = ports(top.tables(report, "port", "[[port]]"), gateway.as_ref(), report);
    let peers = peers(top.tables(report, "peer", "[[peer]]"), secrets, report);
    let transport_sections = top.tables(report, "transport", "[[transport]]");
    let transports: Vec<ReadTransport<'a>> =
        transport_sections.into_iter().filter_map(|section| ReadTransport::read(section, report)).collect();
    let tunnel_sections = top.tables(report, "tunnel", "[[tunnel]]");
    let tunnels: Vec<ReadTunnel<'a>> =
        tunnel_sections.into_iter().filter_map(|section| ReadTunnel::read(section, &peers, report)).collect();
    top.finish(report);

    unique("transport rule named", transports.iter().map(|rule| (rule.name, &rule.name_span)), report);
    unique("tunnel rule named", tunnels.iter().map(|rule| (rule.name, &rule.name_span)), report);
    nesting::check(&tunnels, &peers, report);
    checks::shadowed(&transports, &tunnels, report);
    checks::unreached(&transports, &tunnels, report);
    checks::family_twins(&transports, &tunnels, report);
    checks::sides(&ports, &tunnels, report);

    let (rules, tunnels) = rules(&transports, &tunnels, &peers)?;
    if !rules.fits() {
        report.error_of_file(
            "there are too many rules",
            &format!("at most {RULES_MAX} of each class, lists expanded"),
        );
    }
    let peers = peers.read.into_iter().map(|peer| peer.peer).collect::<Option<Vec<Peer>>>()?;
    Some(Config { gateway: gateway?, ports, peers, rules, tunnels, warnings: Vec::new() })
}

fn unique<'a>(what: &'static str, names: impl Iterator<Item = (&'a str, &'a Span)>, report: &mut Report<'_>) {
    let mut unique = Unique::new(what);
    names.for_each(|(name, span)| unique.check(name, span, report));
}

fn ports(sections: Vec<Section<'_>>, gateway: Option<&Gateway>, report: &mut Report<'_>) -> Vec<PortConfig> {
    let accepted = format!("1 to {PORTS_MAX} `[[port]]`s, each with `interface` and `side`");
    if sections.is_empty() {
        report.error_of_file("there is no `[[port]]`", &accepted);
    } else if sections.len() > PORTS_MAX {
        report.error_of_file("there are too many `[[port]]`s", &accepted);
    }
    let read: Vec<_> = sections.into_iter().filter_map(|section| PortConfig::read(section, report)).collect();
    unique("port named", read.iter().map(|(port, spans)| (port.name.as_str(), &spans.name)), report);
    let interfaces = read.iter().map(|(port, spans)| (port.interface.as_str(), &spans.interface));
    unique("port on interface", interfaces, report);
    for (port, spans) in &read {
        if gateway.is_some_and(|gateway| gateway.tun == port.interface) {
            let message = format!("`{}` is the gateway's own tun interface", port.interface);
            report.error(&spans.interface, message, "another interface, or another `tun` in `[gateway]`");
        }
    }
    read.into_iter().map(|(port, _)| port).collect()
}

fn peers<'a>(
    sections: Vec<Section<'a>>,
    secrets: &dyn SecretSource,
    report: &mut Report<'_>,
) -> KnownPeers<'a> {
    if sections.len() > PEERS_MAX {
        report.error_of_file("there are too many `[[peer]]`s", &format!("at most {PEERS_MAX}"));
        return KnownPeers::new(Vec::new());
    }
    let mut read = Vec::with_capacity(sections.len());
    for section in sections {
        read.extend(Peer::read(section, PeerId(read.len() as u32), secrets, report));
    }
    unique("peer named", read.iter().map(|peer| (peer.name, &peer.name_span)), report);
    let mut paths = HashMap::new();
    for read in &read {
        let Some(peer) = &read.peer else { continue };
        // Main mode finds the key by the addresses alone (RFC 2409 §5.4).
        if let Some(first) = paths.insert((peer.local, peer.address), read.name) {
            let message = format!("`{}` is between the same two addresses as `{first}`", read.name);
            report.error(&read.address_span, message, "another pair of `local` and `address`");
        }
    }
    KnownPeers::new(read)
}

/// `None` when a peer that a rule names has errors.
fn rules(
    transports: &[ReadTransport<'_>],
    tunnels: &[ReadTunnel<'_>],
    peers: &KnownPeers<'_>,
) -> Option<(RuleSet, Vec<TunnelPolicy>)> {
    let transport = transports.iter().flat_map(ReadTransport::rules).collect();
    let mut tunnel = Vec::with_capacity(tunnels.len());
    let mut policies = Vec::with_capacity(tunnels.len());
    for read in tunnels {
        let gateway = peers.read[read.peer].peer.as_ref()?.address;
        for rule in read.rules(gateway) {
            policies.push(TunnelPolicy { rule: RuleId(tunnel.len() as u32), ..read.policy.clone() });
            let id = RuleId(tunnel.len() as u32);
            tunnel.push(TunnelRule { id, ..rule });
        }
    }
    Some((RuleSet { transport, tunnel }, policies))
}
