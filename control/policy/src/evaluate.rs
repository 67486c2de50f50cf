//! From a packet to what must happen to it, by linear search: the model the engine's classifier is tested against,
//! and what `dpctl` explains.

use crate::rule::{RuleId, RuleSet, TransportAction};
use crate::selector::FiveTuple;

/// What the rules say about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No transport rule speaks of it: dropped (default deny).
    NoRule,
    /// A transport rule drops it.
    Discard,
    /// It passes in clear.
    Clear,
    /// It passes inside the tunnel of this rule, or not at all.
    Protect(RuleId),
}

/// Judges a packet that leaves our side (RFC 4301 SPD-O): transport rules first, then tunnel rules (NT-4, NT-6).
#[must_use]
pub fn evaluate(rules: &RuleSet, packet: &FiveTuple) -> Verdict {
    judge(rules, packet, false)
}

/// Judges a packet that came to us in clear from the far side (RFC 4301 SPD-I): the same rules, mirrored. A
/// `Protect` verdict means that it should have come through a tunnel.
#[must_use]
pub fn evaluate_inbound(rules: &RuleSet, packet: &FiveTuple) -> Verdict {
    judge(rules, packet, true)
}

fn judge(rules: &RuleSet, packet: &FiveTuple, mirrored: bool) -> Verdict {
    let seen = if mirrored {
        FiveTuple {
            source: packet.destination,
            destination: packet.source,
            protocol: packet.protocol,
            source_port: packet.destination_port,
            destination_port: packet.source_port,
        }
    } else {
        *packet
    };
    match rules.transport.iter().find(|rule| rule.selector.contains(&seen)).map(|rule| rule.action) {
        None => Verdict::NoRule,
        Some(TransportAction::Discard) => Verdict::Discard,
        Some(TransportAction::Bypass) => Verdict::Clear,
        Some(TransportAction::Permit) => {
            match rules.tunnel.iter().position(|rule| rule.selector.contains(&seen)) {
                Some(at) => Verdict::Protect(RuleId(at as u32)),
                None => Verdict::Clear,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{PeerId, TransportRule, TunnelRule};
    use crate::selector::{AddressRange, Selector};

    fn selector(source: &str, destination: &str) -> Selector {
        let range = |text: &str| {
            let (address, length) = text.split_once('/').unwrap();
            AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
        };
        Selector::between(range(source), range(destination)).unwrap()
    }

    fn packet(source: &str, destination: &str) -> FiveTuple {
        FiveTuple {
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            source_port: Some(50000),
            destination_port: Some(443),
        }
    }

    fn rules() -> RuleSet {
        let transport =
            |name: &str, selector, action| TransportRule { name: name.to_owned(), selector, action };
        RuleSet {
            transport: vec![
                transport("no-printers", selector("10.1.0.0/16", "10.2.9.0/24"), TransportAction::Discard),
                transport("dns", selector("10.1.0.0/16", "10.2.0.53/32"), TransportAction::Bypass),
                transport("all", selector("10.1.0.0/16", "0.0.0.0/0"), TransportAction::Permit),
            ],
            tunnel: vec![TunnelRule {
                name: "site".to_owned(),
                selector: selector("10.1.0.0/16", "10.2.0.0/16"),
                peer: PeerId(0),
                gateway: "198.51.100.2".parse().unwrap(),
            }],
        }
    }

    #[test] // NT-4, Q-17
    fn without_a_transport_rule_nothing_passes() {
        assert_eq!(evaluate(&rules(), &packet("10.9.0.1", "10.2.0.1")), Verdict::NoRule);
    }

    #[test] // NT-3, NT-4, NT-6
    fn transport_rules_are_asked_first_and_the_first_match_wins() {
        let rules = rules();
        assert_eq!(evaluate(&rules, &packet("10.1.0.1", "10.2.9.1")), Verdict::Discard);
        assert_eq!(evaluate(&rules, &packet("10.1.0.1", "10.2.0.53")), Verdict::Clear);
        assert_eq!(evaluate(&rules, &packet("10.1.0.1", "10.2.0.1")), Verdict::Protect(RuleId(0)));
        assert_eq!(evaluate(&rules, &packet("10.1.0.1", "192.0.2.1")), Verdict::Clear);
    }

    #[test] // F-24
    fn clear_text_from_the_far_side_of_a_tunnel_is_recognised() {
        assert_eq!(evaluate_inbound(&rules(), &packet("10.2.0.1", "10.1.0.1")), Verdict::Protect(RuleId(0)));
        assert_eq!(evaluate_inbound(&rules(), &packet("192.0.2.1", "10.1.0.1")), Verdict::Clear);
    }
}
