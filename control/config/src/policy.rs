//! `[[policy]]` and `[[policy.set]]`: what is served to the peers that ask for it (REQUIREMENTS DC-2, DC-10, DC-11).

use crate::addresses::host_address;
use crate::field::{Field, listed, with_suggestion};
use crate::limits::{BANNER_OCTETS_MAX, DNS_MAX, NAME_CHARS_MAX, SETS_MAX, SPLIT_DNS_MAX};
use crate::name::name;
use crate::nearest::nearest;
use crate::pool::KnownPools;
use crate::report::{Report, Span};
use crate::role::ranges;
use crate::section::Section;
use crate::traffic::{
    ADDRESSES_ACCEPTED, PORTS_ACCEPTED, PROTOCOL_ACCEPTED, addresses, has_ports, list, port_range, protocol,
};
use crate::tunnel;
use std::net::IpAddr;
use warren_policy::limits::STACK_DEPTH_MAX;
use warren_policy::{AddressRange, ClientSide, PortRange, Protocol, ServedPolicy, ServedSet};

const DESTINATION_ACCEPTED: &str = "`lease`, or networks behind the client such as `10.7.0.0/16`";
const DOMAIN_ACCEPTED: &str = "a domain such as `example.net`";
const BANNER_ACCEPTED: &str = "text of at most 1024 octets";

/// One `[[policy]]` as it was read. The name counts even when the rest is wrong.
pub(crate) struct ReadPolicy<'a> {
    pub(crate) name: &'a str,
    pub(crate) name_span: Span,
    pub(crate) policy: Option<ServedPolicy>,
}

/// The names of all policies, in the order of the file.
pub(crate) struct KnownPolicies<'a> {
    pub(crate) names: Vec<&'a str>,
}

impl<'a> ReadPolicy<'a> {
    /// `None` when not even its name could be read.
    pub(crate) fn read(
        mut section: Section<'a>,
        pools: &KnownPools<'_>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let field = section.required(report, "name", "a name for peers to refer to");
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let leased = section.or("pool", Leased::default(), |field| Leased::read(&field, pools, report));
        let dns = section.or("dns", Vec::new(), |field| dns(&field, report));
        let domain = section.or("domain", None, |field| domain(&field, report).map(Some));
        let split_dns = section.or("split_dns", Vec::new(), |field| split_dns(&field, report));
        let banner = section.or("banner", None, |field| banner(&field, report).map(Some));
        let tables = section.tables(report, "set", "[[policy.set]]");
        section.finish(report);
        if tables.len() > SETS_MAX {
            report.error(
                &name_span,
                format!("{} sets are too many", tables.len()),
                format!("at most {SETS_MAX}"),
            );
            return None;
        }
        let wanted = tables.len();
        let mut sets: Vec<ReadSet<'a>> = Vec::with_capacity(wanted);
        for table in tables {
            sets.extend(ReadSet::read(table, leased.as_ref(), report));
        }
        let complete = sets.len() == wanted;
        let sets = complete.then(|| with_parents(sets, report)).flatten();
        if wanted == 0 && leased.as_ref().is_some_and(|leased| leased.pools.is_empty()) {
            let message = "a policy with neither `pool` nor `[[policy.set]]` gives nothing";
            report.error(&name_span, message, "a `pool`, a `[[policy.set]]`, or both");
            return None;
        }
        let name = name?;
        let whole = || {
            Some(ServedPolicy {
                name: name.to_owned(),
                pools: leased?.pools,
                dns: dns?,
                domain: domain?,
                split_dns: split_dns?,
                banner: banner?,
                sets: sets?,
            })
        };
        Some(Self { name, name_span, policy: whole() })
    }
}

/// The pools of a policy: at most one of each family.
#[derive(Default)]
struct Leased {
    pools: Vec<usize>,
    /// Families that can be leased; both after an error in a pool, so that nothing else is blamed for it.
    ipv4: bool,
    ipv6: bool,
}

impl Leased {
    fn read(field: &Field<'_>, pools: &KnownPools<'_>, report: &mut Report<'_>) -> Option<Self> {
        const ACCEPTED: &str = "the name of a `[[pool]]`, or of one of each family";
        let mut leased = Self::default();
        let mut complete = true;
        for item in field.items(report, ACCEPTED)? {
            let Some((at, ipv6)) = pools.named(&item, report) else {
                complete = false;
                continue;
            };
            let taken = match ipv6 {
                Some(true) => std::mem::replace(&mut leased.ipv6, true),
                Some(false) => std::mem::replace(&mut leased.ipv4, true),
                None => {
                    (leased.ipv4, leased.ipv6) = (true, true);
                    false
                }
            };
            if taken {
                report.error(&item.span, "a second pool of that family", ACCEPTED);
                complete = false;
            }
            leased.pools.push(at);
        }
        complete.then_some(leased)
    }

    const fn has(&self, ipv6: bool) -> bool {
        if ipv6 { self.ipv6 } else { self.ipv4 }
    }
}

/// One `[[policy.set]]`; its parent is still a name.
struct ReadSet<'a> {
    name: &'a str,
    name_span: Span,
    parent: Option<(&'a str, Span)>,
    set: ServedSet,
}

impl<'a> ReadSet<'a> {
    /// `None` only after an error.
    fn read(mut section: Section<'a>, leased: Option<&Leased>, report: &mut Report<'_>) -> Option<Self> {
        let field = section.required(report, "name", "a name for other sets and for `dpctl` to show");
        let name_span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
        let name = field.and_then(|field| name(&field, report));
        let source_field = section.required(report, "source", ADDRESSES_ACCEPTED);
        let sources =
            source_field.as_ref().and_then(|field| list(field, report, ADDRESSES_ACCEPTED, addresses));
        let destination =
            section.or("destination", Some(ClientSide::Lease), |field| client_side(&field, report).map(Some));
        let protocol_field = section.optional("protocol");
        let protocol =
            protocol_field.as_ref().map_or(Some(Protocol::Any), |field| protocol_of(field, report));
        let ports_field = ["source_port", "destination_port"].map(|key| section.optional(key));
        let [source_port, destination_port] = ports_field.each_ref().map(|field| {
            field.as_ref().map_or(Some(PortRange::ANY), |field| one_port(field, protocol, report))
        });
        let proposals = tunnel::esp(&mut section, report);
        let lifetime = tunnel::lifetime(&mut section, report);
        let window_packets = tunnel::window(&mut section, report);
        let parent = section.or("parent", None, |field| {
            Some(Some((field.text(report, "the name of another set of this policy")?, field.span)))
        });
        let gateway = section.or("gateway", None, |field| host_address(&field, report).map(Some));
        section.finish(report);
        let (sources, destination) = (sources?, destination??);
        let span = source_field.map_or_else(|| name_span.clone(), |field| field.span);
        let source = matched(&sources, &destination, leased?, &span, report)?;
        let set = ServedSet {
            name: name?.to_owned(),
            source,
            destination,
            protocol: protocol?,
            source_port: source_port?,
            destination_port: destination_port?,
            proposals: proposals?,
            lifetime: lifetime?,
            window_packets: window_packets?,
            parent: None,
            gateway: gateway?,
        };
        Some(Self { name: name?, name_span, parent: parent?, set })
    }
}

fn client_side(field: &Field<'_>, report: &mut Report<'_>) -> Option<ClientSide> {
    if field.value.as_str() == Some("lease") {
        return Some(ClientSide::Lease);
    }
    if field.value.as_str().is_some_and(|text| nearest(text, ["lease"]).is_some()) {
        let message =
            with_suggestion(format!("`{}` is no network", field.value.as_str().unwrap_or("")), Some("lease"));
        report.error(&field.span, message, DESTINATION_ACCEPTED);
        return None;
    }
    ranges(field, report).map(ClientSide::Networks)
}

fn protocol_of(field: &Field<'_>, report: &mut Report<'_>) -> Option<Protocol> {
    let read = protocol(field, report)?;
    if read == Protocol::Is(0) {
        let message = "IKEv1 cannot negotiate protocol 0: there it means any protocol";
        report.error(&field.span, message, PROTOCOL_ACCEPTED);
        return None;
    }
    Some(read)
}

/// An IKEv1 identification holds one port or all (RFC 2407 §4.6.2).
fn one_port(field: &Field<'_>, protocol: Option<Protocol>, report: &mut Report<'_>) -> Option<PortRange> {
    let range = port_range(field, report)?;
    if range != PortRange::ANY && range.first() != range.last() {
        report.error(&field.span, "IKEv1 cannot negotiate a range of ports", "one port, or all of them");
        return None;
    }
    if range != PortRange::ANY && !has_ports(protocol?) {
        let message = format!("`{}` needs a protocol that has ports", field.key);
        report.error(&field.span, message, PORTS_ACCEPTED);
        return None;
    }
    Some(range)
}

/// The sources with a partner of their family at the client's side. One without would protect nothing, so it is an
/// error; `any` means the families that have a partner.
fn matched(
    sources: &[(Option<AddressRange>, Span)],
    destination: &ClientSide,
    leased: &Leased,
    span: &Span,
    report: &mut Report<'_>,
) -> Option<Vec<AddressRange>> {
    let has = |ipv6: bool| match destination {
        ClientSide::Lease => leased.has(ipv6),
        ClientSide::Networks(networks) => networks.iter().any(|network| network.is_ipv6() == ipv6),
    };
    let partner = |family: &str| match destination {
        ClientSide::Lease => format!("an {family} `pool` in this policy, or a `destination`"),
        ClientSide::Networks(_) => format!("an {family} `destination`"),
    };
    let mut source = Vec::with_capacity(sources.len());
    let mut complete = true;
    for (range, span) in sources {
        match range {
            None => {
                let families = [false, true].into_iter().filter(|ipv6| has(*ipv6));
                source.extend(families.map(AddressRange::any));
            }
            Some(range) if has(range.is_ipv6()) => source.push(*range),
            Some(range) => {
                let family = if range.is_ipv6() { "IPv6" } else { "IPv4" };
                let side = match destination {
                    ClientSide::Lease => "leased address",
                    ClientSide::Networks(_) => "destination",
                };
                report.error(span, format!("`{range}` has no {family} {side}"), partner(family));
                complete = false;
            }
        }
    }
    if complete && source.is_empty() {
        report.error(span, "no address is leased for this set to lead to", partner("IPv4"));
        complete = false;
    }
    if let ClientSide::Networks(networks) = destination
        && let Some(lonely) =
            networks.iter().find(|network| !source.iter().any(|own| own.is_ipv6() == network.is_ipv6()))
        && complete
    {
        let family = if lonely.is_ipv6() { "IPv6" } else { "IPv4" };
        report.error(span, format!("`{lonely}` has no {family} source"), format!("an {family} source"));
        complete = false;
    }
    complete.then_some(source)
}

/// Names of parents into places: each exists, and no set is below itself (REQUIREMENTS NT-36).
fn with_parents(mut read: Vec<ReadSet<'_>>, report: &mut Report<'_>) -> Option<Vec<ServedSet>> {
    let names: Vec<&str> = read.iter().map(|set| set.name).collect();
    let mut complete = true;
    for at in 0..read.len() {
        if names[..at].contains(&names[at]) {
            let message = format!("a second set named `{}` in this policy", names[at]);
            report.error(&read[at].name_span, message, "a name that no other set of this policy has");
            complete = false;
        }
        let Some((name, span)) = read[at].parent.clone() else { continue };
        match names.iter().position(|known| *known == name) {
            Some(parent) => read[at].set.parent = Some(parent),
            None => {
                let message = with_suggestion(
                    format!("`{name}` is no set of this policy"),
                    nearest(name, names.iter().copied()),
                );
                report.error(&span, message, listed(names.iter().copied()));
                complete = false;
            }
        }
    }
    for at in 0..read.len() {
        let above = |set: &usize| read[*set].set.parent;
        let depth = std::iter::successors(Some(at), above).take(read.len() + 1).count();
        let too_deep = depth > STACK_DEPTH_MAX.min(read.len());
        let Some((_, span)) = read[at].parent.as_ref().filter(|_| too_deep) else { continue };
        let message = if depth > read.len() {
            format!("`{}` is below itself, or below sets that are", names[at])
        } else {
            format!("`{}` is {depth} levels deep", names[at])
        };
        report.error(span, message, format!("parents without a loop, at most {STACK_DEPTH_MAX} levels"));
        complete = false;
    }
    complete.then(|| read.into_iter().map(|read| read.set).collect())
}

fn dns(field: &Field<'_>, report: &mut Report<'_>) -> Option<Vec<IpAddr>> {
    let servers = list(field, report, "addresses of name servers", host_address)?;
    bounded(field, servers, DNS_MAX, report)
}

fn split_dns(field: &Field<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    let domains = list(field, report, DOMAIN_ACCEPTED, domain)?;
    bounded(field, domains, SPLIT_DNS_MAX, report)
}

fn bounded<T>(
    field: &Field<'_>,
    read: Vec<(T, Span)>,
    max: usize,
    report: &mut Report<'_>,
) -> Option<Vec<T>> {
    if read.len() > max {
        let message = format!("{} entries are too many for `{}`", read.len(), field.key);
        report.error(&field.span, message, format!("at most {max}"));
        return None;
    }
    Some(read.into_iter().map(|(item, _)| item).collect())
}

fn domain(field: &Field<'_>, report: &mut Report<'_>) -> Option<String> {
    field.parsed(report, DOMAIN_ACCEPTED, |text| {
        let label = |label: &str| {
            (1..NAME_CHARS_MAX).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
        };
        match text.len() <= 253 && text.trim_end_matches('.').split('.').all(label) {
            true => Ok(text.to_owned()),
            false => Err(format!("`{text}` is no domain")),
        }
    })
}

fn banner(field: &Field<'_>, report: &mut Report<'_>) -> Option<String> {
    field.parsed(report, BANNER_ACCEPTED, |text| {
        let fits = (1..=BANNER_OCTETS_MAX).contains(&text.len());
        let printable = text.chars().all(|c| c == '\n' || !c.is_control());
        match (fits, printable) {
            (true, true) => Ok(text.to_owned()),
            (false, _) => Err(format!("the banner has {} octets", text.len())),
            (_, false) => Err("the banner holds control characters".to_owned()),
        }
    })
}
