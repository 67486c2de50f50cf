//! What tunnels are called: those of tunnel rules, of base rules that protect, and those around others, which stand in no
//! rule set and carry identifiers of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use warren_policy::{Gateway, PeerId, RuleId, RuleSet, SaMode, Selector, Ways};

/// Names that a name of a tunnel around others lists; what follows is an ellipsis, so that a table stays one.
const AROUND_MAX: usize = 2;

/// Who a tunnel is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    /// The name of its rule, and what it is around where that is all that it is for.
    pub(crate) name: String,
    /// The name of its rule.
    pub(crate) rule: String,
    /// With whom.
    pub(crate) peer: PeerId,
    /// Where it leads.
    pub(crate) gateway: Gateway,
    /// What is negotiated for it; source is our side.
    pub(crate) selector: Selector,
    /// Whether it keeps the packet's own header.
    pub(crate) mode: SaMode,
}

/// All of them, by the identifier that their SAs carry. `level` knows that of a rule that is around others, as seen from an
/// address of ours ([`warren_tunnels::Tunnels::level`]).
pub(crate) fn named(
    rules: &RuleSet,
    ways: &Ways,
    level: impl Fn(RuleId, IpAddr) -> Option<RuleId>,
) -> BTreeMap<RuleId, Named> {
    let mut named = BTreeMap::new();
    for rule in &rules.tunnel {
        let (name, mode) = (rule.name.clone(), SaMode::Tunnel);
        let own = Named {
            rule: name.clone(),
            name,
            peer: rule.peer,
            gateway: rule.gateway,
            selector: rule.selector,
            mode,
        };
        named.insert(rule.id, own);
    }
    for (rule, protection) in rules.protections() {
        let own = Named {
            rule: rule.name.clone(),
            name: rule.name.clone(),
            peer: protection.peer,
            gateway: protection.host.into(),
            selector: rule.selector,
            mode: SaMode::Transport,
        };
        named.insert(protection.rule, own);
    }
    add_levels(&mut named, rules, ways, level);
    named
}

/// One that is directly around another: every tunnel further out is directly around one on another way.
fn add_levels(
    named: &mut BTreeMap<RuleId, Named>,
    rules: &RuleSet,
    ways: &Ways,
    level: impl Fn(RuleId, IpAddr) -> Option<RuleId>,
) {
    let mut around: BTreeMap<RuleId, BTreeSet<&str>> = BTreeMap::new();
    for (local, inside, way) in ways.nested() {
        let Some(outer) = way.levels.first().filter(|outer| !outer.is_own) else { continue };
        let Some((own, rule)) = level(outer.rule, local).zip(rules.tunnel_rule(outer.rule)) else { continue };
        if own == outer.rule {
            continue;
        }
        let new = || Named {
            name: String::new(),
            rule: rule.name.clone(),
            peer: outer.peer,
            gateway: outer.gateway.into(),
            selector: outer.selector,
            mode: SaMode::Tunnel,
        };
        named.entry(own).or_insert_with(new);
        let leads = rules.tunnel.iter().filter(|rule| rule.gateway.address() == Some(inside));
        let protect = rules.protections().filter(|(_, protection)| protection.host == inside);
        let names = leads.map(|rule| &rule.name).chain(protect.map(|(rule, _)| &rule.name));
        around.entry(own).or_default().extend(names.map(String::as_str));
    }
    for (own, inside) in around {
        let more = if inside.len() > AROUND_MAX { ", …" } else { "" };
        let inside: Vec<_> = inside.into_iter().take(AROUND_MAX).collect();
        if let Some(own) = named.get_mut(&own) {
            own.name = format!("{} (around {}{more})", own.rule, inside.join(", "));
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use warren_policy::ways::{Known, ways};
    use warren_policy::{
        AddressRange, PortRange, Protection, Protocol, Rematching, TransportAction, TransportRule, TunnelRule,
    };

    fn prefix(text: &str) -> AddressRange {
        let (address, length) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn selector(source: &str, destination: &str) -> Selector {
        Selector::between(prefix(source), prefix(destination)).unwrap()
    }

    const OWN: &str = "192.0.2.1/32";

    /// `sites` through sg3, reached by `to-sg3` through sg2, reached by `to-sg2` through sg1, whose rule is for the hosts'
    /// sources; `to-sg1` is for all sources and stands for itself; `end` protects as far as a host behind sg3.
    pub(crate) fn figure_7() -> RuleSet {
        let rule = |at, name: &str, source, destination, gateway: &str| TunnelRule {
            id: RuleId(at),
            name: name.to_owned(),
            selector: selector(source, destination),
            peer: PeerId(at),
            gateway: Gateway::Address(gateway.parse().unwrap()),
        };
        let host = "10.2.0.9".parse().unwrap();
        let protection = Protection { rule: RuleId(4), peer: PeerId(4), host };
        let end = TransportRule {
            name: "end".to_owned(),
            selector: Selector {
                protocol: Protocol::Any,
                source_port: PortRange::ANY,
                ..selector(OWN, "10.2.0.9/32")
            },
            action: TransportAction::Protect(protection),
        };
        let all = TransportRule {
            name: "all".to_owned(),
            selector: selector("10.1.0.0/16", "10.2.0.0/16"),
            action: TransportAction::Permit,
        };
        let everyone = "0.0.0.0/0";
        RuleSet {
            transport: vec![end, all],
            tunnel: vec![
                rule(0, "sites", everyone, "10.2.0.0/16", "203.0.113.3"),
                rule(1, "to-sg3", everyone, "203.0.113.3/32", "198.51.100.2"),
                rule(2, "to-sg2", everyone, "198.51.100.2/32", "192.0.2.254"),
                rule(3, "printers", "10.1.0.0/16", "10.3.0.0/16", "203.0.113.3"),
            ],
        }
    }

    pub(crate) fn ways_of(rules: &RuleSet) -> Ways {
        let local = |_| Some("192.0.2.1".parse().unwrap());
        ways(rules, &Known { rematching: Rematching::Destination, local: &local, within: &|_| None })
    }

    #[test] // NT-21
    fn a_tunnel_around_others_has_its_rules_name_and_those_of_what_is_inside() {
        let rules = figure_7();
        let mut narrow = rules.clone();
        // A port: what it carries for others is not what it is for itself.
        narrow.tunnel[0].selector.protocol = Protocol::Is(6);
        narrow.transport.remove(0);
        narrow.tunnel[1].selector.protocol = Protocol::Is(6);
        narrow.tunnel[2].selector.protocol = Protocol::Is(6);
        narrow.tunnel[3].selector.protocol = Protocol::Is(6);
        let found = ways_of(&narrow);
        assert_eq!(found.errors().collect::<Vec<_>>(), []);
        let level = |rule: RuleId, _: IpAddr| Some(RuleId(100 + rule.0));
        let named = named(&narrow, &found, level);
        let names: Vec<_> = named.iter().map(|(id, own)| (id.0, own.name.as_str())).collect();
        let own = [(0, "sites"), (1, "to-sg3"), (2, "to-sg2"), (3, "printers")];
        let around = [(101, "to-sg3 (around printers, sites)"), (102, "to-sg2 (around to-sg3)")];
        assert_eq!(names, [&own[..], &around[..]].concat());
        let outer = &named[&RuleId(102)];
        assert_eq!((outer.gateway.to_string(), outer.peer), ("192.0.2.254".to_owned(), PeerId(2)));
        assert_eq!(outer.selector.to_string(), selector(OWN, "198.51.100.2/32").to_string());
    }

    #[test] // NT-19, NT-29
    fn a_tunnel_that_serves_its_own_traffic_too_has_one_name_and_a_protection_is_one_in_transport_mode() {
        let rules = figure_7();
        let found = ways_of(&rules);
        assert_eq!(found.errors().collect::<Vec<_>>(), []);
        let named = named(&rules, &found, |rule, _| Some(rule));
        let names: Vec<_> = named.values().map(|own| own.name.as_str()).collect();
        assert_eq!(names, ["sites", "to-sg3", "to-sg2", "printers", "end"]);
        let end = &named[&RuleId(4)];
        assert_eq!((end.mode, end.gateway.to_string()), (SaMode::Transport, "10.2.0.9".to_owned()));
    }
}
