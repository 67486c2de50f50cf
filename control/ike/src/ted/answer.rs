//! What an answer is worth: the intersection of what both sides protect, and whether anybody may be trusted with it
//! (REQUIREMENTS TED-45, TED-52 … TED-59).

use super::config::DiscoverRule;
use super::status::NotFound;
use warren_policy::{FiveTuple, PortRange, Protocol, Proxy, Selector, largest_common};

/// What a tunnel would be about; `entries` are as the responder sees them.
///
/// # Errors
/// Why there is no such tunnel.
pub(super) fn common(
    rule: &DiscoverRule,
    entries: &[Proxy],
    packet: &FiveTuple,
) -> Result<Selector, NotFound> {
    let theirs: Vec<_> = entries.iter().map(Proxy::mirrored).collect();
    let Some(common) = largest_common(&rule.proxies, &theirs, packet) else {
        let overlap = |own: &Proxy| theirs.iter().any(|other| own.intersection(other).is_ok());
        let is_some = rule.proxies.iter().any(overlap);
        return Err(if is_some { NotFound::PacketOutside } else { NotFound::NothingInCommon });
    };
    let selector = common.selector().ok_or(NotFound::MaskNoPrefix)?;
    let has_port = selector.source_port != PortRange::ANY || selector.destination_port != PortRange::ANY;
    if has_port && selector.protocol == Protocol::Any {
        return Err(NotFound::MaskNoPrefix);
    }
    if rule.pad.could_authorise(&selector.destination) {
        Ok(selector)
    } else {
        Err(NotFound::NotAuthorisable)
    }
}
