//! Tunnels inside tunnels (REQUIREMENTS NT-7, NT-28): found, and refused.
//!
//! After a match the rules are asked again with the gateway as destination. A rule that then matches would put the
//! tunnel into another one, which this version cannot do and must not pretend to. A rule that matches its own
//! gateway stops at the first level and is only worth a warning (V-12). Whoever only explains the rules is told.

use crate::checks::overlap_but_destination;
use crate::peer::KnownPeers;
use crate::report::Report;
use crate::tunnel::ReadTunnel;
use std::collections::BTreeMap;
use std::net::IpAddr;
use warren_policy::{AddressRange, Selector};

/// What becomes of tunnels inside tunnels.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nesting {
    /// They are an error.
    Refused,
    /// They are a warning.
    Told,
}

/// The tunnels of one gateway by their sources, so that those of a few are found among many thousands.
#[derive(Default)]
struct Sources<'a>(Vec<Entry<'a>>);

struct Entry<'a> {
    tunnel: &'a ReadTunnel<'a>,
    selector: &'a Selector,
    /// The highest address of this source and of all before it.
    highest: IpAddr,
}

impl<'a> Sources<'a> {
    fn add(&mut self, tunnel: &'a ReadTunnel<'a>) {
        let entry = |selector: &'a Selector| Entry { tunnel, selector, highest: selector.source.last() };
        self.0.extend(tunnel.selectors.iter().map(entry));
    }

    fn sort(&mut self) {
        self.0.sort_by_key(|entry| entry.selector.source.first());
        let mut highest = None;
        for entry in &mut self.0 {
            entry.highest = highest.map_or(entry.highest, |highest: IpAddr| highest.max(entry.highest));
            highest = Some(entry.highest);
        }
    }

    /// A tunnel with packets that `outer` would take if only their destination were another.
    fn overlapping(&self, outer: &Selector) -> Option<&'a ReadTunnel<'a>> {
        let end = self.0.partition_point(|entry| entry.selector.source.first() <= outer.source.last());
        let candidates = self.0[..end].iter().rev().take_while(|entry| entry.highest >= outer.source.first());
        let mut found = candidates.filter(|entry| overlap_but_destination(entry.selector, outer));
        found.next().map(|entry| entry.tunnel)
    }
}

type Gateways<'a> = BTreeMap<IpAddr, Sources<'a>>;

/// Refuses tunnels inside tunnels, and warns of tunnels that contain their own gateway.
pub(crate) fn check(
    tunnels: &[ReadTunnel<'_>],
    peers: &KnownPeers<'_>,
    nesting: Nesting,
    report: &mut Report<'_>,
) {
    let gateway =
        |tunnel: &ReadTunnel<'_>| peers.read[tunnel.peer].peer.as_ref().and_then(|peer| peer.address);
    let mut gateways = Gateways::new();
    for tunnel in tunnels {
        if let Some(gateway) = gateway(tunnel) {
            gateways.entry(gateway).or_default().add(tunnel);
        }
    }
    gateways.values_mut().for_each(Sources::sort);
    for tunnel in tunnels {
        if report.is_full() {
            return;
        }
        if let Some(own) = gateway(tunnel) {
<<<<<<< HEAD
            check_one(tunnel, Some(own), &gateways, report);
        } else if tunnel.is_discovered {
            check_one(tunnel, None, &gateways, report);
=======
            check_one(tunnel, own, &gateways, nesting, report);
>>>>>>> h-nest
        }
    }
}

/// One error or one warning for each tunnel is enough.
<<<<<<< HEAD
fn check_one(tunnel: &ReadTunnel<'_>, own: Option<IpAddr>, gateways: &Gateways<'_>, report: &mut Report<'_>) {
=======
fn check_one(
    tunnel: &ReadTunnel<'_>,
    own: IpAddr,
    gateways: &Gateways<'_>,
    nesting: Nesting,
    report: &mut Report<'_>,
) {
>>>>>>> h-nest
    let mut contains_own = false;
    for selector in &tunnel.selectors {
        let destinations = selector.destination.first()..=selector.destination.last();
        for (other, sources) in gateways.range(destinations) {
            if Some(*other) == own {
                contains_own = true;
            } else if let Some(inner) = sources.overlapping(selector) {
                let message = format!(
                    "the destination of `{}` contains {other}, the gateway of `{}`: that tunnel would run inside this \
                     one, and this version builds no tunnel inside a tunnel",
                    tunnel.name, inner.name
                );
<<<<<<< HEAD
                let accepted = match tunnel.is_discovered {
                    // Its destination is a list of prefixes, and the one without an address may be long.
                    true => format!("a list of prefixes without {other}"),
                    false => {
                        format!("a destination without {other}, for example {}", without(selector, *other))
                    }
                };
                report.error(&tunnel.destination_span, message, accepted);
=======
                let accepted =
                    format!("a destination without {other}, for example {}", without(selector, *other));
                match nesting {
                    Nesting::Refused => report.error(&tunnel.destination_span, message, accepted),
                    Nesting::Told => report.warning(&tunnel.destination_span, message),
                }
>>>>>>> h-nest
                return;
            }
        }
    }
    if let Some(own) = own.filter(|_| contains_own) {
        let message = format!(
            "the destination of `{}` contains its own gateway {own}; traffic to {own} itself goes into the tunnel",
            tunnel.name
        );
        report.warning(&tunnel.destination_span, message);
    }
}

/// The destination without that one address, as it would be written.
fn without(selector: &Selector, address: IpAddr) -> String {
    let (before, after) = match address {
        IpAddr::V4(v4) => (
            u32::from(v4).checked_sub(1).map(|n| IpAddr::V4(n.into())),
            u32::from(v4).checked_add(1).map(|n| IpAddr::V4(n.into())),
        ),
        IpAddr::V6(v6) => (
            u128::from(v6).checked_sub(1).map(|n| IpAddr::V6(n.into())),
            u128::from(v6).checked_add(1).map(|n| IpAddr::V6(n.into())),
        ),
    };
    let range = &selector.destination;
    let below = before.and_then(|before| AddressRange::new(range.first(), before));
    let above = after.and_then(|after| AddressRange::new(after, range.last()));
    let parts: Vec<String> =
        [below, above].into_iter().flatten().map(|range| format!("\"{range}\"")).collect();
    format!("[{}]", parts.join(", "))
}
