//! From a packet to what must happen to it, by linear search: the model the engine's classifier is tested against,
//! and what `dpctl` explains.

use crate::rule::{RuleId, RuleSet, TransportAction, TransportRule};
use crate::selector::FiveTuple;

/// What the rules say about one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// No transport rule speaks of it: dropped (default deny).
    NoRule,
    /// A transport rule drops it; or its ports cannot be seen, and with some of them it would have to be protected, or
    /// protected from end to end.
    Discard,
    /// It passes in clear.
    Clear,
    /// It passes inside the tunnel, or the transport mode SA, of this rule, or not at all.
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
    let Some(at) = rules.transport.iter().position(|rule| rule.selector.contains(&seen)) else {
        return Verdict::NoRule;
    };
    let action = rules.transport[at].action;
    match action {
        TransportAction::Discard => return Verdict::Discard,
        TransportAction::Protect(protection) => return Verdict::Protect(protection.rule),
        TransportAction::Permit | TransportAction::Bypass => {}
    }
    if may_be_protected(rules, at, &seen) {
        return Verdict::Discard;
    }
    let tunnel = rules.tunnel.iter().find(|rule| rule.selector.contains(&seen));
    if let (TransportAction::Permit, Some(tunnel)) = (action, tunnel) {
        return Verdict::Protect(tunnel.id);
    }
    // A rule for some ports does not match a packet that hides its own (RFC 4301 §7), but may mean it: what is
    // protected must not come out in clear by being fragmented.
    let permits =
        |rule: &TransportRule| rule.action == TransportAction::Permit && rule.selector.may_contain(&seen);
    let may_be_carried = rules.transport[..=at].iter().any(permits)
        && rules.tunnel.iter().any(|rule| rule.selector.may_contain(&seen));
    if may_be_carried { Verdict::Discard } else { Verdict::Clear }
}

/// Whether a rule in front of the transport rule `at` would protect the packet from end to end if it showed the right
/// ports. Then it goes nowhere: a tunnel would carry it only to its gateway, and from there it would be in clear.
pub(crate) fn may_be_protected(rules: &RuleSet, at: usize, packet: &FiveTuple) -> bool {
    let mut before = rules.transport[..at].iter();
    before.any(|rule| rule.action.protection().is_some() && rule.selector.may_contain(packet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule::{PeerId, Protection, TunnelRule};
    use crate::selector::{AddressRange, PortRange, Protocol, Selector};

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
                id: RuleId(0),
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

    #[test] // F-24, F-30, RFC 4301 §7
    fn what_hides_its_ports_does_not_pass_in_clear_where_some_ports_are_protected() {
        let mut rules = rules();
        let ports = PortRange::new(443, 443).unwrap();
        rules.tunnel[0].selector.protocol = Protocol::Is(6);
        rules.tunnel[0].selector.destination_port = ports;
        let whole = packet("10.1.0.1", "10.2.0.1");
        let later = FiveTuple { source_port: None, destination_port: None, ..whole };
        assert_eq!(evaluate(&rules, &whole), Verdict::Protect(RuleId(0)));
        assert_eq!(evaluate(&rules, &FiveTuple { destination_port: Some(80), ..whole }), Verdict::Clear);
        assert_eq!(evaluate(&rules, &later), Verdict::Discard);
        let back = FiveTuple { source: later.destination, destination: later.source, ..later };
        assert_eq!(evaluate_inbound(&rules, &back), Verdict::Discard);
        // What cannot be meant passes as before: another protocol, another address, a rule that has no say.
        assert_eq!(evaluate(&rules, &FiveTuple { protocol: 17, ..later }), Verdict::Clear);
        assert_eq!(evaluate(&rules, &FiveTuple { protocol: 1, ..later }), Verdict::Clear);
        let elsewhere = "192.0.2.1".parse().unwrap();
        assert_eq!(evaluate(&rules, &FiveTuple { destination: elsewhere, ..later }), Verdict::Clear);
        let dns = "10.2.0.53".parse().unwrap();
        assert_eq!(evaluate(&rules, &FiveTuple { destination: dns, ..later }), Verdict::Clear);
        // A bypass behind a permit for some ports is not the way round either.
        rules.transport[2].selector.protocol = Protocol::Is(6);
        rules.transport[2].selector.destination_port = ports;
        let bypass = Selector { destination_port: PortRange::ANY, ..rules.transport[2].selector };
        rules.transport.push(TransportRule {
            name: "rest".to_owned(),
            selector: bypass,
            action: TransportAction::Bypass,
        });
        assert_eq!(evaluate(&rules, &later), Verdict::Discard);
    }

    #[test] // F-24, F-30, RFC 4301 §7
    fn what_hides_its_ports_does_not_pass_where_some_ports_are_protected_from_end_to_end() {
        let protection = Protection { rule: RuleId(1), peer: PeerId(1), host: "10.2.0.1".parse().unwrap() };
        let https = Selector {
            protocol: Protocol::Is(6),
            destination_port: PortRange::new(443, 443).unwrap(),
            ..selector("10.1.0.1/32", "10.2.0.1/32")
        };
        let mut rules = rules();
        let protect = TransportAction::Protect(protection);
        rules.transport.insert(0, TransportRule { name: "own".to_owned(), selector: https, action: protect });
        let whole = packet("10.1.0.1", "10.2.0.1");
        let later = FiveTuple { source_port: None, destination_port: None, ..whole };
        let mirrored = |packet: FiveTuple| FiveTuple {
            source: packet.destination,
            destination: packet.source,
            source_port: packet.destination_port,
            destination_port: packet.source_port,
            ..packet
        };
        let with_tunnel = rules.clone();
        rules.tunnel.clear();
        let mut bypassed = rules.clone();
        bypassed.transport[3].action = TransportAction::Bypass;
        for rules in [&with_tunnel, &rules, &bypassed] {
            assert_eq!(evaluate(rules, &whole), Verdict::Protect(RuleId(1)));
            assert_eq!(evaluate_inbound(rules, &mirrored(whole)), Verdict::Protect(RuleId(1)));
            assert_eq!(evaluate(rules, &later), Verdict::Discard);
            assert_eq!(evaluate_inbound(rules, &mirrored(later)), Verdict::Discard);
            // What cannot be meant, and what shows that it is not, passes as before.
            let elsewhere = FiveTuple { destination: "10.3.0.1".parse().unwrap(), ..later };
            assert_eq!(evaluate(rules, &elsewhere), Verdict::Clear);
            let other = FiveTuple { destination_port: Some(80), ..whole };
            assert!(!matches!(evaluate(rules, &other), Verdict::Discard | Verdict::Protect(RuleId(1))));
        }
        // Where the rule in front is about every port, the fragment is its own.
        rules.transport[0].selector = selector("10.1.0.1/32", "10.2.0.1/32");
        assert_eq!(evaluate(&rules, &later), Verdict::Protect(RuleId(1)));
    }

    #[test] // F-24, F-30
    fn a_later_fragment_of_ipv6_may_name_an_extension_header_and_still_be_of_the_protected_protocol() {
        let any = selector("2001:db8:1::/48", "::/0");
        let rules = RuleSet {
            transport: vec![TransportRule {
                name: "all".to_owned(),
                selector: any,
                action: TransportAction::Permit,
            }],
            tunnel: vec![TunnelRule {
                id: RuleId(0),
                name: "tcp".to_owned(),
                selector: Selector { protocol: Protocol::Is(6), ..any },
                peer: PeerId(0),
                gateway: "2001:db8::2".parse().unwrap(),
            }],
        };
        let packet = packet("2001:db8:1::1", "2001:db8:2::1");
        let later = FiveTuple { source_port: None, destination_port: None, ..packet };
        assert_eq!(evaluate(&rules, &later), Verdict::Protect(RuleId(0)));
        assert_eq!(evaluate(&rules, &FiveTuple { protocol: 60, ..later }), Verdict::Discard);
        assert_eq!(evaluate(&rules, &FiveTuple { protocol: 58, ..later }), Verdict::Clear);
    }
}
