//! Tunnels inside tunnels (REQUIREMENTS NT-7, NT-28): one way to each gateway, or the file is refused.
//!
//! After a match the rules are asked again with the gateway as destination; what they say then is worked out by
//! [`warren_policy::ways`], and here it is said with names and lines. A rule that matches its own gateway stops at the
//! first level and is only worth a warning (V-12).

use crate::peer::{KnownPeers, Peer};
use crate::report::{Report, Span};
use crate::transport::ReadTransport;
use crate::tunnel::ReadTunnel;
use std::collections::HashSet;
use std::net::IpAddr;
use warren_policy::limits::STACK_DEPTH_MAX;
use warren_policy::ways::Known;
use warren_policy::{AddressRange, PeerId, Rematching, RuleId, RuleSet, Selector, WayError, Ways, ways};

/// The rules as they were written, by the numbers of those that they stand for.
pub(crate) struct Written<'a> {
    tunnels: &'a [ReadTunnel<'a>],
    peers: &'a KnownPeers<'a>,
    rules: &'a RuleSet,
    /// Name and span of the destination.
    places: Vec<(&'a str, &'a Span)>,
}

impl<'a> Written<'a> {
    pub(crate) fn new(
        transports: &'a [ReadTransport<'a>],
        tunnels: &'a [ReadTunnel<'a>],
        peers: &'a KnownPeers<'a>,
        rules: &'a RuleSet,
    ) -> Self {
        let of_tunnels = tunnels.iter().map(|own| (own.name, &own.destination_span, own.selectors.len()));
        let protecting = transports.iter().filter(|own| own.policy.is_some());
        let of_transports = protecting.map(|own| (own.name, &own.destination_span, own.selectors.len()));
        let places = of_tunnels.chain(of_transports);
        let places =
            places.flat_map(|(name, span, parts)| std::iter::repeat_n((name, span), parts)).collect();
        Self { tunnels, peers, rules, places }
    }

    /// Refuses rules that lead to a gateway by no way or by two, and warns of tunnels that contain their own gateway.
    /// Says which rules take what goes to another rule's gateway: they are asked without any transport rule.
    pub(crate) fn check(&self, rematching: Rematching, report: &mut Report<'_>) -> HashSet<RuleId> {
        let local = |peer: PeerId| {
            let peer = self.peer(peer)?;
            // By the letter our address decides nothing, so that all can be said before it is known.
            (!peer.is_local_open() || rematching == Rematching::Destination).then_some(peer.local)
        };
        let found = ways(self.rules, &Known { rematching, local: &local, within: &|_| None });
        for error in found.errors() {
            if report.is_full() {
                break;
            }
            self.say(error, report);
        }
        for tunnel in self.tunnels {
            self.check_own(tunnel, report);
        }
        let around = found
            .nested()
            .flat_map(|(_, _, way)| way.levels.iter().map(|outer| outer.rule).chain(way.discovers));
        let around = around.collect();
        self.check_parallel(&found, &around, report);
        around
    }

    /// Of tunnels inside each other each has one pair: the stack of a packet is one way, and has one worker.
    fn check_parallel(&self, found: &Ways, around: &HashSet<RuleId>, report: &mut Report<'_>) {
        let mut rule = 0;
        for tunnel in self.tunnels {
            let rules = rule..rule + tunnel.selectors.len() as u32;
            rule = rules.end;
            let Some(span) = &tunnel.parallel_span else { continue };
            let peer = self.peer(tunnel.policy.peer);
            let way = peer.and_then(|peer| found.to(peer.local, peer.address?).ok());
            let is_inside = way.is_some_and(|way| !way.levels.is_empty() || way.discovers.is_some());
            let place = match rules.into_iter().any(|rule| around.contains(&RuleId(rule))) {
                true => "around another",
                false if is_inside => "inside another",
                false => continue,
            };
            let message =
                format!("`{}` is {place}: tunnels inside each other have one pair of SAs each", tunnel.name);
            report.error(span, message, "1, or no `parallel`");
        }
    }

    /// Which rule is to be changed, what is wrong with it, and what would be accepted.
    fn say(&self, error: WayError, report: &mut Report<'_>) {
        let (rule, message, accepted) = match error {
            WayError::Loop { rule, gateway } => {
                let (name, end) = (self.name(rule), self.end(gateway));
                let message = format!(
                    "`{name}` leads in a circle: the way to {end} would lead through the tunnel to {gateway}"
                );
                let other = "a destination without the gateways that are reached through this one";
                (rule, message, other.to_owned())
            }
            WayError::TooDeep { rule } => {
                let name = self.name(rule);
                let message = format!("`{name}` would be inside of more tunnels than a packet has room for");
                (rule, message, format!("at most {STACK_DEPTH_MAX} levels inside each other"))
            }
            WayError::Ambiguous { rule, gateway, other } => (
                other,
                self.partly(rule, gateway, other),
                format!(
                    "source, protocol and ports in `{}` that hold all of `{}`, for example `source = \"any\"`; or {}",
                    self.name(other),
                    self.name(rule),
                    self.without(other, gateway)
                ),
            ),
            WayError::TwoWays { rule, gateway, other } => (
                rule,
                self.two_ways(rule, gateway, other),
                format!("one rule in front that takes all of what goes to {gateway}, or none"),
            ),
            WayError::WithoutIke { rule, gateway } => {
                let (name, end) = (self.name(rule), self.end(gateway));
                let message = format!(
                    "`{name}` takes ESP to {end} and not all of IKE with it: nothing could be negotiated there"
                );
                let without = self.without(rule, gateway);
                (rule, message, format!("a rule for every protocol in front, or {without}"))
            }
            WayError::DiscoverByTheLetter { rule, gateway } => (
                rule,
                self.unnamed(rule, gateway),
                format!("`rematch = \"wire\"` in `[stack]`, or a list of prefixes without {gateway}"),
            ),
            WayError::TooMany { rule, gateway } => {
                let (name, end) = (self.name(rule), self.end(gateway));
                let message = format!("too many rules could take what `{name}` sends to {end}");
                (rule, message, "fewer rules with gateways in their destinations".to_owned())
            }
            WayError::NoSource { rule, gateway } => return self.warn_of_open(rule, gateway, report),
        };
        report.error(self.place(rule).1, message, accepted);
    }

    fn partly(&self, rule: RuleId, gateway: IpAddr, other: RuleId) -> String {
        let (rule, other, end) = (self.name(rule), self.name(other), self.end(gateway));
        format!(
            "`{other}` takes only a part of what `{rule}` sends to {end}: what comes back could not be told apart"
        )
    }

    fn two_ways(&self, rule: RuleId, gateway: IpAddr, other: RuleId) -> String {
        let (rule, other, end) = (self.name(rule), self.name(other), self.end(gateway));
        format!(
            "`{other}` and `{rule}` lead to {end}, and other rules take what they send there by different ways: what \
             comes back could not be told apart"
        )
    }

    fn unnamed(&self, rule: RuleId, gateway: IpAddr) -> String {
        let (name, end) = (self.name(rule), self.end(gateway));
        format!(
            "the destination of `{name}` contains {end}, and a tunnel around others is discovered only with \
             `rematch = \"wire\"`: by the letter nobody knows for which packets"
        )
    }

    /// Our address is known once the daemon runs, which looks at the ways again.
    fn warn_of_open(&self, rule: RuleId, gateway: IpAddr, report: &mut Report<'_>) {
        let (name, end) = (self.name(rule), self.end(gateway));
        let message = format!(
            "`{name}` leads to {end}, and our address towards it is left open: what is around that tunnel is only \
             known when the daemon runs"
        );
        report.warning(self.place(rule).1, message);
    }

    /// One warning for each tunnel is enough.
    fn check_own(&self, tunnel: &ReadTunnel<'_>, report: &mut Report<'_>) {
        let own = self.peer(tunnel.policy.peer).and_then(|peer| peer.address);
        let contains =
            |own: &IpAddr| tunnel.selectors.iter().any(|selector| selector.destination.contains(*own));
        if let Some(own) = own.filter(contains) {
            let message = format!(
                "the destination of `{}` contains its own gateway {own}; traffic to {own} itself goes into the tunnel",
                tunnel.name
            );
            report.warning(&tunnel.destination_span, message);
        }
    }

    fn peer(&self, peer: PeerId) -> Option<&Peer> {
        self.peers.read.get(peer.0 as usize)?.peer.as_ref()
    }

    fn place(&self, rule: RuleId) -> (&'a str, &'a Span) {
        self.places[rule.0 as usize]
    }

    fn name(&self, rule: RuleId) -> &'a str {
        self.place(rule).0
    }

    /// A gateway as operators call it (NT-9), and its address.
    fn end(&self, gateway: IpAddr) -> String {
        let is_there = |peer: &Peer| peer.address == Some(gateway);
        let named = self.peers.read.iter().find(|read| read.peer.as_ref().is_some_and(is_there));
        named.map_or_else(|| gateway.to_string(), |read| format!("`{}` ({gateway})", read.name))
    }

    /// The destination of a rule without that one address, as it would be written.
    fn without(&self, rule: RuleId, gateway: IpAddr) -> String {
        let parts = self.rules.tunnel_rule(rule).map(|rule| without(&rule.selector, gateway));
        match parts.as_deref() {
            None | Some("[]") => format!("no rule to {gateway}"),
            Some(parts) => format!("a destination without {gateway}, for example {parts}"),
        }
    }
}

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
