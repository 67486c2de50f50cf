//! Text to [`Config`]: sections in their order, then the checks between them.

use crate::authentication::Xauth;
use crate::checks;
use crate::config::Config;
use crate::diagnostic::{Diagnostic, Diagnostics, Severity};
use crate::discovery;
use crate::gateway::Gateway;
use crate::limits::{FILE_OCTETS_MAX, PEERS_MAX, POLICIES_MAX, POOLS_MAX, PORTS_MAX, USERS_MAX};
use crate::name::Unique;
use crate::nesting::Written;
use crate::peer::{KnownPeers, Peer};
use crate::peers;
use crate::policy::{KnownPolicies, ReadPolicy};
use crate::pool::{KnownPools, ReadPool};
use crate::port::PortConfig;
use crate::report::{Report, Span};
use crate::secret::{SecretFiles, SecretSource};
use crate::section::Section;
use crate::stack::Stack;
use crate::ted::{ReadTed, Ted};
use crate::transport::ReadTransport;
use crate::tunnel::{ReadTunnel, TunnelPolicy};
use crate::user::ReadUser;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use toml::de::{DeTable, DeValue};
use warren_policy::limits::RULES_MAX;
use warren_policy::{PeerId, Protection, RuleId, RuleSet, TransportAction, TransportRule, TunnelRule};

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
    let gateway = match table(&mut top, "gateway", "[gateway]", report) {
        None => Some(Gateway::default()),
        Some(section) => section.and_then(|section| Gateway::read(section, report)),
    };
    let port_sections = top.tables(report, "port", "[[port]]");
    let pools = pools(top.tables(report, "pool", "[[pool]]"), report);
    let policies = policies(top.tables(report, "policy", "[[policy]]"), &pools, report);
    let known = KnownPolicies { names: policies.iter().map(|policy| policy.name).collect() };
    let users = users(top.tables(report, "user", "[[user]]"), secrets, report);
    let peers = match top.optional("peer") {
        Some(field) if field.value.as_str().is_some() => {
            KnownPeers::new(vec![Peer::read_short(&mut top, &field, secrets, report)])
        }
        _ => peers(top.tables(report, "peer", "[[peer]]"), &known, secrets, report),
    };
    check_users(&peers, &users, report);
    // A client learns everything else from its peer, so it may leave the ports to the kernel's routes too.
    let receives = |peer: &Peer| peer.receives.is_some();
    let automatic_ports =
        port_sections.is_empty() && peers.read.iter().any(|read| read.peer.as_ref().is_none_or(receives));
    let ports = if automatic_ports { Vec::new() } else { ports(port_sections, gateway.as_ref(), report) };
    let ted = table(&mut top, "ted", "[ted]", report)
        .map(|section| section.and_then(|section| ReadTed::read(section, &ports, report)));
    let transport_sections = top.tables(report, "transport", "[[transport]]");
    let transports: Vec<ReadTransport<'a>> = transport_sections
        .into_iter()
        .filter_map(|section| ReadTransport::read(section, &peers, report))
        .collect();
    let tunnel_sections = top.tables(report, "tunnel", "[[tunnel]]");
    let tunnels: Vec<ReadTunnel<'a>> =
        tunnel_sections.into_iter().filter_map(|section| ReadTunnel::read(section, &peers, report)).collect();
    let stack = stack(&mut top, report);
    top.finish(report);

    unique("transport rule named", transports.iter().map(|rule| (rule.name, &rule.name_span)), report);
    unique("tunnel rule named", tunnels.iter().map(|rule| (rule.name, &rule.name_span)), report);
    discovery::check(ted.as_ref().and_then(Option::as_ref), &peers, &tunnels, report);
    let expanded = rules(&transports, &tunnels, &peers);
    let judged = expanded.as_ref().zip(stack).map(|(expanded, stack)| {
        Written::new(&transports, &tunnels, &peers, &expanded.rules).check(stack.rematch, report)
    });
    checks::shadowed(&transports, &tunnels, report);
    checks::unreached(&transports, &tunnels, &judged.unwrap_or_default(), report);
    checks::family_twins(&transports, &tunnels, report);
    checks::sides(&ports, &tunnels, report);

    let is_ted_on = ted.is_some() || tunnels.iter().any(|tunnel| tunnel.is_discovered);
    let Expanded { rules, tunnels, protections } = expanded?;
    if !rules.fits() {
        report.error_of_file(
            "there are too many rules",
            &format!("at most {RULES_MAX} of each class, lists expanded"),
        );
    }
    let peers = peers.read.into_iter().map(|peer| peer.peer).collect::<Option<Vec<Peer>>>()?;
    Some(Config {
        gateway: gateway?,
        ports,
        automatic_ports,
        peers,
        rules,
        tunnels,
        protections,
        stack: stack?,
        policies: policies.into_iter().map(|read| read.policy).collect::<Option<_>>()?,
        pools: pools.whole()?,
        users: users.into_iter().map(|read| read.user).collect(),
        is_ted_on,
        ted: ted.map_or(Some(Ted::default()), |read| read.map(|read| read.ted))?,
        warnings: Vec::new(),
    })
}

/// `None` only after an error.
fn stack(top: &mut Section<'_>, report: &mut Report<'_>) -> Option<Stack> {
    match table(top, "stack", "[stack]", report) {
        None => Some(Stack::default()),
        Some(section) => section.and_then(|section| Stack::read(section, report)),
    }
}

/// The one table of that name: nothing when it is not there, and nothing inside after an error.
fn table<'a>(
    top: &mut Section<'a>,
    key: &'static str,
    title: &'static str,
    report: &mut Report<'_>,
) -> Option<Option<Section<'a>>> {
    let field = top.optional(key)?;
    let DeValue::Table(entries) = field.value else {
        report.error(&field.span, format!("`{key}` is not a table here"), format!("one `{title}`"));
        return Some(None);
    };
    Some(Some(Section::new(title, field.span, entries)))
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

/// Whether there are no more than so many of a table.
fn few_enough(sections: &[Section<'_>], title: &str, max: usize, report: &mut Report<'_>) -> bool {
    let fits = sections.len() <= max;
    if !fits {
        report.error_of_file(&format!("there are too many `{title}`s"), &format!("at most {max}"));
    }
    fits
}

fn pools<'a>(sections: Vec<Section<'a>>, report: &mut Report<'_>) -> KnownPools<'a> {
    let mut read = Vec::new();
    if few_enough(&sections, "[[pool]]", POOLS_MAX, report) {
        read.extend(sections.into_iter().filter_map(|section| ReadPool::read(section, report)));
    }
    unique("pool named", read.iter().map(|pool| (pool.name, &pool.name_span)), report);
    let known = KnownPools { read };
    known.check(report);
    known
}

fn policies<'a>(
    sections: Vec<Section<'a>>,
    pools: &KnownPools<'_>,
    report: &mut Report<'_>,
) -> Vec<ReadPolicy<'a>> {
    let mut read = Vec::new();
    if few_enough(&sections, "[[policy]]", POLICIES_MAX, report) {
        read.extend(sections.into_iter().filter_map(|section| ReadPolicy::read(section, pools, report)));
    }
    unique("policy named", read.iter().map(|policy| (policy.name, &policy.name_span)), report);
    read
}

fn users<'a>(
    sections: Vec<Section<'a>>,
    secrets: &dyn SecretSource,
    report: &mut Report<'_>,
) -> Vec<ReadUser<'a>> {
    let mut read = Vec::new();
    if few_enough(&sections, "[[user]]", USERS_MAX, report) {
        read.extend(sections.into_iter().filter_map(|section| ReadUser::read(section, secrets, report)));
    }
    unique("user named", read.iter().map(|user| (user.name, &user.name_span)), report);
    read
}

fn check_users(peers: &KnownPeers<'_>, users: &[ReadUser<'_>], report: &mut Report<'_>) {
    let asks = |peer: &Peer| matches!(peer.xauth, Xauth::Server);
    let asking = peers.read.iter().find(|read| read.peer.as_ref().is_some_and(asks));
    match (asking, users.first()) {
        (Some(read), None) => {
            let message = format!("`{}` asks for users, and there is none", read.name);
            report.error(&read.name_span, message, "a `[[user]]` with `name` and `password`");
        }
        (None, Some(user)) if peers.read.iter().all(|read| read.peer.is_some()) => {
            report.warning(&user.name_span, "no peer has `xauth = \"server\"`: nobody asks for users");
        }
        _ => {}
    }
}

fn peers<'a>(
    sections: Vec<Section<'a>>,
    policies: &KnownPolicies<'_>,
    secrets: &dyn SecretSource,
    report: &mut Report<'_>,
) -> KnownPeers<'a> {
    if !few_enough(&sections, "[[peer]]", PEERS_MAX, report) {
        return KnownPeers::new(Vec::new());
    }
    let mut read = Vec::with_capacity(sections.len());
    for section in sections {
        read.extend(Peer::read(section, PeerId(read.len() as u32), policies, secrets, report));
    }
    unique("peer named", read.iter().map(|peer| (peer.name, &peer.name_span)), report);
    let known = KnownPeers::new(read);
    peers::check(&known, report);
    known
}

/// All rules with their numbers, and what their SAs are.
struct Expanded {
    rules: RuleSet,
    tunnels: Vec<TunnelPolicy>,
    protections: Vec<TunnelPolicy>,
}

/// `None` when a peer that a rule names has errors.
fn rules(
    transports: &[ReadTransport<'_>],
    tunnels: &[ReadTunnel<'_>],
    peers: &KnownPeers<'_>,
) -> Option<Expanded> {
    let mut tunnel = Vec::with_capacity(tunnels.len());
    let mut policies = Vec::with_capacity(tunnels.len());
    for read in tunnels {
        let gateway = match peers.read[read.peer].peer.as_ref()? {
            peer if peer.is_discovered() => warren_policy::Gateway::Discover,
            peer => peer.address?.into(),
        };
        for rule in read.rules(gateway) {
            policies.push(TunnelPolicy { rule: RuleId(tunnel.len() as u32), ..read.policy.clone() });
            let id = RuleId(tunnel.len() as u32);
            tunnel.push(TunnelRule { id, ..rule });
        }
    }
    let mut transport = Vec::with_capacity(transports.len());
    let mut protections = Vec::new();
    for read in transports {
        for own in read.rules() {
            let rule = RuleId((tunnel.len() + protections.len()) as u32);
            let action = match own.action {
                TransportAction::Protect(protection) => {
                    TransportAction::Protect(Protection { rule, ..protection })
                }
                action => action,
            };
            protections.extend(read.policy.as_ref().map(|policy| TunnelPolicy { rule, ..policy.clone() }));
            transport.push(TransportRule { action, ..own });
        }
    }
    Some(Expanded { rules: RuleSet { transport, tunnel }, tunnels: policies, protections })
}
