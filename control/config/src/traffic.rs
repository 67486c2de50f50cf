//! The traffic a rule speaks of. Lists are expanded: each combination becomes a rule of its own.

use crate::field::Field;
use crate::report::{Report, Span};
use crate::section::Section;
use std::net::IpAddr;
use toml::de::DeValue;
use warren_policy::limits::RULES_MAX;
use warren_policy::{AddressRange, PortRange, Protocol, Selector};

pub(crate) const ADDRESSES_ACCEPTED: &str =
    "a prefix such as `10.1.0.0/16` or `2001:db8::/32`, an address, a range `10.1.0.1-10.1.0.9`, or `any`";
pub(crate) const PREFIXES_ACCEPTED: &str =
    "a prefix such as `10.1.0.0/16` or `2001:db8::/32`, an address, a list of them, or `any`";
pub(crate) const PROTOCOL_ACCEPTED: &str =
    "`any`, `tcp`, `udp`, `icmp`, `icmpv6`, `sctp`, `gre` or a number from 0 to 255";
pub(crate) const PORTS_ACCEPTED: &str = "a port such as `443`, a range \"8000-8999\", or \"any\"";

const PROTOCOLS: &[(&str, u8)] =
    &[("tcp", 6), ("udp", 17), ("icmp", 1), ("icmpv6", 58), ("sctp", 132), ("gre", 47)];
/// Protocols with ports in the first four octets: TCP, UDP, DCCP, SCTP, UDP-Lite.
const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// Whether packets of that protocol have ports to match.
pub(crate) fn has_ports(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Is(number) if WITH_PORTS.contains(&number))
}

/// What one rule of the file stands for.
pub(crate) struct Traffic {
    /// At least one.
    pub(crate) selectors: Vec<Selector>,
    pub(crate) source_span: Span,
    pub(crate) destination_span: Span,
}

/// One item of an address list; `None` is `any`, of both families.
pub(crate) type Addresses = Option<AddressRange>;

impl Traffic {
    /// Reads the five keys. `None` only after an error.
    pub(crate) fn read(section: &mut Section<'_>, report: &mut Report<'_>) -> Option<Self> {
        Self::read_between(section, None, report)
    }

    /// As [`read`](Self::read); where `source` or `destination` is left out, it is the one of `ends`.
    pub(crate) fn read_between(
        section: &mut Section<'_>,
        ends: Option<(IpAddr, IpAddr)>,
        report: &mut Report<'_>,
    ) -> Option<Self> {
        let mut side = |key, end: Option<IpAddr>| {
            let field = match end {
                Some(_) => section.optional(key),
                None => section.required(report, key, ADDRESSES_ACCEPTED),
            };
            let span = field.as_ref().map_or_else(|| section.span.clone(), |field| field.span.clone());
            let read = match (&field, end) {
                (Some(field), _) => list(field, report, ADDRESSES_ACCEPTED, addresses),
                (None, end) => end.map(|end| vec![(Some(AddressRange::single(end)), span.clone())]),
            };
            (read, span)
        };
        let (sources, source_span) = side("source", ends.map(|(local, _)| local));
        let (destinations, destination_span) = side("destination", ends.map(|(_, host)| host));
        let protocol_field = section.optional("protocol");
        let source_port_field = section.optional("source_port");
        let destination_port_field = section.optional("destination_port");

        let protocols = match &protocol_field {
            Some(field) => list(field, report, PROTOCOL_ACCEPTED, protocol),
            None => Some(vec![(Protocol::Any, section.span.clone())]),
        };
        let mut ports = |field: &Option<Field<'_>>| match field {
            Some(field) => list(field, report, PORTS_ACCEPTED, port_range),
            None => Some(vec![(PortRange::ANY, 0..0)]),
        };
        let (source_ports, destination_ports) = (ports(&source_port_field), ports(&destination_port_field));
        let parts = Parts {
            sources: sources?,
            destinations: destinations?,
            protocols: protocols?,
            source_ports: source_ports?,
            destination_ports: destination_ports?,
        };
        parts.check_ports(report)?;
        let selectors = parts.expand(&source_span, report)?;
        Some(Self { selectors, source_span, destination_span })
    }
}

struct Parts {
    sources: Vec<(Addresses, Span)>,
    destinations: Vec<(Addresses, Span)>,
    protocols: Vec<(Protocol, Span)>,
    source_ports: Vec<(PortRange, Span)>,
    destination_ports: Vec<(PortRange, Span)>,
}

impl Parts {
    /// Ports mean something only with a protocol that has them.
    fn check_ports(&self, report: &mut Report<'_>) -> Option<()> {
        let mut ports = self.source_ports.iter().chain(&self.destination_ports);
        let Some((_, span)) = ports.find(|(range, _)| *range != PortRange::ANY) else { return Some(()) };
        let portless = self.protocols.iter().find(|(protocol, _)| !has_ports(*protocol));
        let Some((protocol, _)) = portless else { return Some(()) };
        let message = format!("ports are given, but protocol {protocol} has none to match");
        report.error(span, message, "`protocol = \"tcp\"`, `\"udp\"` or another protocol with ports");
        None
    }

    fn expand(&self, span: &Span, report: &mut Report<'_>) -> Option<Vec<Selector>> {
        let pairs = self.pairs(report)?;
        let most = [pairs.len(), self.protocols.len(), self.source_ports.len(), self.destination_ports.len()]
            .into_iter()
            .fold(1_usize, usize::saturating_mul);
        if most > RULES_MAX {
            report.error(span, format!("the lists make {most} rules"), format!("at most {RULES_MAX}"));
            return None;
        }
        let mut selectors = Vec::with_capacity(most);
        for pair in &pairs {
            for (protocol, _) in self.protocols.iter().filter(|(protocol, _)| fits_family(*protocol, pair)) {
                for (source_port, _) in &self.source_ports {
                    for (destination_port, _) in &self.destination_ports {
                        selectors.push(Selector {
                            protocol: *protocol,
                            source_port: *source_port,
                            destination_port: *destination_port,
                            ..*pair
                        });
                    }
                }
            }
        }
        for (protocol, span) in &self.protocols {
            if !pairs.iter().any(|pair| fits_family(*protocol, pair)) {
                let message = format!("`{protocol}` does not occur between these addresses");
                report.error(span, message, "`icmp` with IPv4, `icmpv6` with IPv6");
                return None;
            }
        }
        Some(selectors)
    }

    /// Every source with every destination of its family. An entry that finds no partner is an error: it would
    /// silently protect nothing.
    fn pairs(&self, report: &mut Report<'_>) -> Option<Vec<Selector>> {
        let both = |range: Addresses| match range {
            Some(range) => vec![range],
            None => vec![AddressRange::any(false), AddressRange::any(true)],
        };
        let mut complete = true;
        let mut lonely = |these: &[(Addresses, Span)], those: &[(Addresses, Span)], what: &str| {
            for (range, span) in these.iter().filter_map(|(range, span)| Some(((*range)?, span))) {
                let found =
                    those.iter().any(|(those, _)| those.is_none_or(|r| r.is_ipv6() == range.is_ipv6()));
                if !found {
                    complete = false;
                    let family = if range.is_ipv6() { "IPv6" } else { "IPv4" };
                    report.error(
                        span,
                        format!("`{range}` has no {family} {what}"),
                        format!("an {family} {what}"),
                    );
                }
            }
        };
        lonely(&self.sources, &self.destinations, "destination");
        lonely(&self.destinations, &self.sources, "source");
        let pairs = self.sources.iter().flat_map(|(source, _)| both(*source)).flat_map(|source| {
            let destinations = self.destinations.iter().flat_map(|(destination, _)| both(*destination));
            destinations
                .filter_map(move |destination| Selector::between(source, destination))
                .collect::<Vec<_>>()
        });
        complete.then(|| pairs.collect())
    }
}

/// ICMP belongs to IPv4 and ICMPv6 to IPv6.
fn fits_family(protocol: Protocol, pair: &Selector) -> bool {
    match protocol {
        Protocol::Is(1) => !pair.source.is_ipv6(),
        Protocol::Is(58) => pair.source.is_ipv6(),
        _ => true,
    }
}

/// Every item of a list, or `None` after at least one error.
pub(crate) fn list<'a, T>(
    field: &Field<'a>,
    report: &mut Report<'_>,
    accepted: &str,
    read: impl Fn(&Field<'a>, &mut Report<'_>) -> Option<T>,
) -> Option<Vec<(T, Span)>> {
    let items = field.items(report, accepted)?;
    let wanted = items.len();
    let read: Vec<_> =
        items.iter().filter_map(|item| Some((read(item, report)?, item.span.clone()))).collect();
    (read.len() == wanted).then_some(read)
}

pub(crate) fn addresses(field: &Field<'_>, report: &mut Report<'_>) -> Option<Addresses> {
    field.parsed(report, ADDRESSES_ACCEPTED, |text| match text {
        "any" => Ok(None),
        _ => range(text).map(Some),
    })
}

pub(crate) fn range(text: &str) -> Result<AddressRange, String> {
    let refuse = || format!("`{text}` is no address, prefix or range");
    let address = |text: &str| text.trim().parse::<IpAddr>().map_err(|_| refuse());
    if let Some((network, length)) = text.split_once('/') {
        let network = address(network)?;
        let length: u8 = length.parse().map_err(|_| refuse())?;
        let range = AddressRange::from_prefix(network, length)
            .ok_or_else(|| format!("`{text}` has a longer prefix than the address has bits"))?;
        return match range.first() == network {
            true => Ok(range),
            false => {
                Err(format!("`{text}` has bits behind its prefix; `{range}` or `{network}` may be meant"))
            }
        };
    }
    if let Some((first, last)) = text.split_once('-') {
        return AddressRange::new(address(first)?, address(last)?)
            .ok_or_else(|| format!("`{text}` is an empty range, or mixes two families"));
    }
    address(text).map(AddressRange::single)
}

pub(crate) fn protocol(field: &Field<'_>, report: &mut Report<'_>) -> Option<Protocol> {
    if let DeValue::Integer(_) = field.value {
        return field.integer(report, 0..=255).map(|number| Protocol::Is(number as u8));
    }
    field.parsed(report, PROTOCOL_ACCEPTED, |text| match text {
        "any" => Ok(Protocol::Any),
        _ => PROTOCOLS
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, number)| Protocol::Is(*number))
            .ok_or_else(|| format!("`{text}` is no protocol")),
    })
}

pub(crate) fn port_range(field: &Field<'_>, report: &mut Report<'_>) -> Option<PortRange> {
    if let DeValue::Integer(_) = field.value {
        let port = field.integer(report, 1..=65_535)? as u16;
        return PortRange::new(port, port);
    }
    field.parsed(report, PORTS_ACCEPTED, |text| {
        let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port != 0);
        let range = match text.split_once('-') {
            _ if text == "any" => Some(PortRange::ANY),
            Some((first, last)) => {
                port(first).zip(port(last)).and_then(|(first, last)| PortRange::new(first, last))
            }
            None => port(text).and_then(|port| PortRange::new(port, port)),
        };
        range.ok_or_else(|| format!("`{text}` is no port and no range of ports"))
    })
}
