//! What must hold between `[ted]`, peers that are discovered and the tunnels that lead to them.

use crate::peer::{KnownPeers, Peer, ReadPeer};
use crate::report::Report;
use crate::ted::ReadTed;
use crate::traffic::{PREFIXES_ACCEPTED, Traffic};
use crate::tunnel::ReadTunnel;
use std::collections::HashSet;
use warren_policy::{AddressRange, Selector};

/// Two gateways compare what they protect in mask form (REQUIREMENTS TED-42), which ranges do not have. Ranges of ports
/// are refused for every tunnel.
pub(crate) fn check_traffic(traffic: &Traffic, report: &mut Report<'_>) {
    let sides = [
        (traffic.selectors.iter().map(|own| own.source).find(is_no_prefix), &traffic.source_span),
        (traffic.selectors.iter().map(|own| own.destination).find(is_no_prefix), &traffic.destination_span),
    ];
    for (range, span) in sides {
        if let Some(range) = range {
            let message = format!("`{range}` is no prefix, and discovery compares prefixes only");
            report.error(span, message, PREFIXES_ACCEPTED);
        }
    }
}

fn is_no_prefix(range: &AddressRange) -> bool {
    range.prefix_length().is_none()
}

/// Settings without effect, and rules under which nothing can come up.
pub(crate) fn check(
    ted: Option<&ReadTed>,
    peers: &KnownPeers<'_>,
    tunnels: &[ReadTunnel<'_>],
    report: &mut Report<'_>,
) {
    let discovered = || tunnels.iter().filter(|tunnel| tunnel.is_discovered);
    let answers = ted.is_some_and(|ted| !ted.ted.answer_on.is_empty());
    let answer_on = ted.and_then(|ted| ted.answer_on_span.as_ref());
    if let Some(span) = answer_on.filter(|_| discovered().next().is_none()) {
        let message = "no `[[tunnel]]` has `gateway = \"discover\"`: there is nothing to answer a probe with";
        report.warning(span, message);
    }
    for tunnel in discovered().filter(|tunnel| tunnel.policy.is_concealed && !answers) {
        let message = format!(
            "`{}` neither asks, because of `conceal`, nor answers without `answer_on` in `[ted]`: its traffic is always dropped",
            tunnel.name
        );
        report.warning(&tunnel.name_span, message);
    }
    if let Some((ted, span)) =
        ted.filter(|_| answers).and_then(|ted| Some((ted, ted.disclose_span.as_ref()?)))
    {
        let told = |selector: &Selector| ted.ted.disclose.iter().any(|own| own.overlaps(&selector.source));
        for tunnel in discovered().filter(|tunnel| !tunnel.selectors.iter().any(told)) {
            let message =
                format!("`disclose` holds nothing of `{}`: no probe is answered for it", tunnel.name);
            report.warning(span, message);
        }
    }
    for tunnel in discovered() {
        check_authorised(tunnel, &peers.read[tunnel.peer], report);
    }
    let led_to: HashSet<usize> = discovered().map(|tunnel| tunnel.peer).collect();
    let idle = peers.read.iter().enumerate().filter(|(at, _)| !led_to.contains(at));
    for (_, read) in idle.filter(|(_, read)| read.peer.as_ref().is_some_and(Peer::is_discovered)) {
        let message = format!("no `[[tunnel]]` leads to `{}`: nothing of it is discovered", read.name);
        report.warning(&read.name_span, message);
    }
}

/// Whether a gateway could be found for the tunnel that may protect any of its traffic (REQUIREMENTS F-7).
fn check_authorised(tunnel: &ReadTunnel<'_>, peer: &ReadPeer<'_>, report: &mut Report<'_>) {
    let Some(pad) = peer.peer.as_ref().and_then(|peer| peer.authorised.as_ref()) else { return };
    let networks = || pad.entries().iter().flat_map(|entry| &entry.networks);
    let reached = |selector: &Selector| networks().any(|network| network.overlaps(&selector.destination));
    if let Some(selector) = tunnel.selectors.iter().find(|selector| !reached(selector)) {
        let message = format!(
            "`authorised` of `{}` names no network of {}: whoever is found, nobody may protect it, and its traffic is always dropped",
            peer.name, selector.destination
        );
        report.warning(&tunnel.destination_span, message);
    }
}
