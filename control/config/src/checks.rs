//! What is wrong between values that are right each for itself.

use crate::limits::RULE_PAIRS_MAX;
use crate::port::{PortConfig, Side};
use crate::report::Report;
use crate::transport::ReadTransport;
use crate::tunnel::ReadTunnel;
use std::collections::HashSet;
use warren_policy::{Protocol, RuleId, Selector, TransportAction};

/// Whether one packet lies in both.
fn overlap(a: &Selector, b: &Selector) -> bool {
    let ports = |a: warren_policy::PortRange, b: warren_policy::PortRange| {
        a.first() <= b.last() && b.first() <= a.last()
    };
    let protocols = a.protocol == b.protocol || a.protocol == Protocol::Any || b.protocol == Protocol::Any;
    a.source.overlaps(&b.source)
        && a.destination.overlaps(&b.destination)
        && protocols
        && ports(a.source_port, b.source_port)
        && ports(a.destination_port, b.destination_port)
}

/// Whether every packet of `inner` lies in `outer`.
fn covers(outer: &Selector, inner: &Selector) -> bool {
    let ports = |outer: warren_policy::PortRange, inner: warren_policy::PortRange| {
        outer.first() <= inner.first() && inner.last() <= outer.last()
    };
    outer.source.contains_range(&inner.source)
        && outer.destination.contains_range(&inner.destination)
        && (outer.protocol == Protocol::Any || outer.protocol == inner.protocol)
        && ports(outer.source_port, inner.source_port)
        && ports(outer.destination_port, inner.destination_port)
}

/// Rules that can never match, because a rule before them takes all their traffic. Looks at no more pairs than
/// [`RULE_PAIRS_MAX`].
pub(crate) fn shadowed(
    transports: &[ReadTransport<'_>],
    tunnels: &[ReadTunnel<'_>],
    report: &mut Report<'_>,
) {
    let transports: Vec<_> =
        transports.iter().map(|rule| (rule.name, &rule.name_span, &rule.selectors)).collect();
    let tunnels: Vec<_> = tunnels.iter().map(|rule| (rule.name, &rule.name_span, &rule.selectors)).collect();
    let mut pairs_left = RULE_PAIRS_MAX;
    for rules in [transports, tunnels] {
        for (at, (name, span, selectors)) in rules.iter().enumerate() {
            let before = &rules[..at];
            let pairs: usize =
                selectors.len() * before.iter().map(|(_, _, selectors)| selectors.len()).sum::<usize>();
            let Some(left) = pairs_left.checked_sub(pairs) else { return };
            pairs_left = left;
            let taker = |selector: &Selector| {
                before.iter().find(|(_, _, taken)| taken.iter().any(|outer| covers(outer, selector)))
            };
            let takers: Option<Vec<_>> = selectors.iter().map(taker).collect();
            if let Some((taker, _, _)) = takers.as_ref().and_then(|takers| takers.first()) {
                report.warning(
                    span,
                    format!("`{name}` never matches: `{taker}` before it takes all of its traffic"),
                );
            }
        }
    }
}

/// Tunnel rules without a transport rule that lets their traffic come so far (NT-4, Q-17), nor a rule whose gateway they
/// lead to: `around` are the numbers of those that have one.
pub(crate) fn unreached(
    transports: &[ReadTransport<'_>],
    tunnels: &[ReadTunnel<'_>],
    around: &HashSet<RuleId>,
    report: &mut Report<'_>,
) {
    let permitted: Vec<&Selector> = transports
        .iter()
        .filter(|rule| matches!(rule.action, TransportAction::Permit | TransportAction::Protect(_)))
        .flat_map(|rule| &rule.selectors)
        .collect();
    let mut pairs_left = RULE_PAIRS_MAX;
    let mut number = 0;
    for tunnel in tunnels {
        let own = number..number + tunnel.selectors.len() as u32;
        number = own.end;
        if own.map(RuleId).any(|rule| around.contains(&rule)) {
            continue;
        }
        let Some(left) = pairs_left.checked_sub(tunnel.selectors.len() * permitted.len()) else { return };
        pairs_left = left;
        let reached = |selector: &Selector| permitted.iter().any(|permit| overlap(permit, selector));
        if let Some(selector) = tunnel.selectors.iter().find(|selector| !reached(selector)) {
            let message = format!(
                "no `[[transport]]` rule with `action = \"permit\"` speaks of {selector}: all of it is dropped, not protected"
            );
            report.warning(&tunnel.name_span, message);
        }
    }
}

/// The forgotten family (F-24): one family is protected, and a rule lets the other pass in clear. `discard` and no
/// rule at all are safe; `bypass` is what it says.
pub(crate) fn family_twins(
    transports: &[ReadTransport<'_>],
    tunnels: &[ReadTunnel<'_>],
    report: &mut Report<'_>,
) {
    let protected = |ipv6: bool| {
        tunnels.iter().flat_map(|tunnel| &tunnel.selectors).any(|selector| selector.source.is_ipv6() == ipv6)
    };
    for (ipv6, family, other) in [(true, "IPv6", "IPv4"), (false, "IPv4", "IPv6")] {
        if protected(ipv6) || !protected(!ipv6) {
            continue;
        }
        for rule in transports.iter().filter(|rule| rule.action == TransportAction::Permit) {
            if rule.selectors.iter().any(|selector| selector.source.is_ipv6() == ipv6) {
                let message = format!(
                    "`{}` lets {family} pass, and every tunnel rule is for {other}: this {family} traffic leaves in clear",
                    rule.name
                );
                report.warning(&rule.source_span, message);
            }
        }
    }
}

/// A gateway faces two ways, or protects only itself.
pub(crate) fn sides(ports: &[PortConfig], tunnels: &[ReadTunnel<'_>], report: &mut Report<'_>) {
    if let Some(tunnel) = tunnels.first().filter(|_| !ports.is_empty())
        && !ports.iter().any(|port| port.side == Side::Outside)
    {
        report.warning(
            &tunnel.name_span,
            "no `[[port]]` has `side = \"outside\"`: no tunnel can carry traffic",
        );
    }
}
