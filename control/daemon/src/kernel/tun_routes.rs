//! The gateway's own traffic into the tunnels: routes by the tun device, in a table of their own.
//!
//! ```text
//!   gateway's own packet ──rule 220: not marked──▶ table 220 ──▶ PREFIX dev warren0 src OWN      → the engine
//!                                                            └─▶ unreachable PREFIX              when warren0 is gone
//!   IKE's own packet, marked ─────────────────────▶ table main ──▶ the wire
//! ```
//!
//! The unreachable routes have the highest metric. The end of the process, however it ends, takes the tun device and
//! its routes with it; they stay, so that what should have been protected is refused instead of leaving in clear
//! (REQUIREMENTS F-24): a restart is a stop too. The next start builds upon what an earlier one left, and only then
//! removes what it does not need; while policy that a server gave before is still to be pulled anew, it removes nothing.
//! Where policy was lost and nobody knows yet what comes in its place, the unreachable routes alone stay: shielded.
//! To take Warren off a host: `ip rule del pref 220`, `ip -6 rule del pref 220`,
//! `ip route flush table 220 proto 87`, `ip -6 route flush table 220 proto 87`.

use super::guard::{PROTOCOL, mark};
use super::limits::TUN_ROUTES_MAX;
use super::notification::{prefix, table};
use super::{Error, errno, links};
use futures_util::stream::TryStreamExt;
use rtnetlink::packet_route::route::{RouteMessage, RouteType};
use rtnetlink::packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use rtnetlink::{Handle, IpVersion, LinkUnspec, RouteMessageBuilder, RuleAddRequest};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use warren_policy::{AddressRange, RuleSet};

/// The routing table, and the preference of the rule that leads to it.
const TABLE: u32 = 220;
/// Behind every other route.
const METRIC_LAST: u32 = u32::MAX - 1;
/// `EEXIST`, `ESRCH` and `ENOENT`: it is there already, or it is gone already.
const EXISTS: i32 = 17;
const GONE: [i32; 2] = [3, 2];

/// Where the gateway's own traffic enters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tun {
    /// The device's name; it exists already.
    pub(crate) name: String,
    /// Largest packet that still fits the tunnel; the kernel carries no IPv6 below 1280.
    pub(crate) mtu: u32,
    /// `SO_MARK` of the sockets that must never enter a tunnel.
    pub(crate) mark: u32,
}

/// A protected remote prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Prefix {
    /// Network address.
    pub(crate) address: IpAddr,
    /// Prefix length.
    pub(crate) length: u8,
}

/// What becomes of the gateway's own traffic to a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Into the tun device, from that source if the kernel is free to choose one.
    Tunnel(Option<IpAddr>),
    /// Refused.
    Shielded,
}

/// Protected prefixes.
pub(crate) type Plan = BTreeMap<Prefix, Fate>;

/// What the rules protect, seen from the gateway itself, and what is shielded beyond that. A prefix of several rules
/// takes the source that the first rule allows, because the first match wins; base rules that protect come before tunnel
/// rules. A prefix is routed into the tun device
/// also when the gateway has no address that the rule allows: the engine then refuses the packet, and counts it.
///
/// # Errors
/// More routes than [`TUN_ROUTES_MAX`].
pub(crate) fn plan(rules: &RuleSet, shielded: &[AddressRange], own: &[IpAddr]) -> Result<Plan, Error> {
    let mut plan = Plan::new();
    let protected = || {
        let by_themselves = rules.protections().map(|(rule, _)| &rule.selector);
        by_themselves.chain(rules.tunnel.iter().map(|rule| &rule.selector))
    };
    for selector in protected() {
        let inside = |address: &&IpAddr| selector.source.contains(**address) && is_source(**address);
        let source = own.iter().find(inside).copied();
        for prefix in prefixes(&selector.destination) {
            let planned = plan.entry(prefix).or_insert(Fate::Tunnel(source));
            if *planned == Fate::Tunnel(None) {
                *planned = Fate::Tunnel(source);
            }
        }
        if plan.len() > TUN_ROUTES_MAX {
            return Err(Error::TooManyRoutes(plan.len()));
        }
    }
    let is_protected =
        |range: &AddressRange| protected().any(|selector| selector.destination.contains_range(range));
    for range in shielded.iter().filter(|range| !is_protected(range)) {
        for prefix in prefixes(range) {
            plan.entry(prefix).or_insert(Fate::Shielded);
        }
    }
    match plan.len() {
        many if many > TUN_ROUTES_MAX => Err(Error::TooManyRoutes(many)),
        _ => Ok(plan),
    }
}

/// Loopback and link-local addresses mean nothing at the far side.
fn is_source(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local(),
    }
}

/// The fewest prefixes that make up the range: at most two for each bit of an address.
fn prefixes(range: &AddressRange) -> Vec<Prefix> {
    let (mut first, last, width) = match (range.first(), range.last()) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            (u128::from(u32::from(first)), u128::from(u32::from(last)), 32)
        }
        (first, last) => (bits(first), bits(last), 128_u32),
    };
    let mut prefixes = Vec::new();
    loop {
        // As large as the alignment of the first address allows and what is left has room for.
        let aligned = first.trailing_zeros().min(width);
        let room = (last - first).checked_add(1).map_or(128, u128::ilog2);
        let host = aligned.min(room);
        prefixes.push(Prefix {
            address: address(first, width),
            length: u8::try_from(width - host).unwrap_or(128),
        });
        let next = 1_u128.checked_shl(host).and_then(|size| first.checked_add(size));
        match next {
            Some(next) if next <= last => first = next,
            _ => return prefixes,
        }
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn address(bits: u128, width: u32) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if width == 32 => Ipv4Addr::from(bits).into(),
        _ => Ipv6Addr::from(bits).into(),
    }
}

/// Routes and rules that are installed.
pub(crate) struct TunRoutes {
    handle: Handle,
    link: u32,
    plan: Plan,
}

impl TunRoutes {
    /// Brings the device up, installs routes, then the rules that lead to them. In this order there is no moment
    /// without a rule where there was one. What an earlier start left beyond that is for [`TunRoutes::sweep`].
    ///
    /// # Errors
    /// The kernel refused something; what was installed is left to the next start.
    pub(crate) async fn install(handle: Handle, tun: &Tun, plan: Plan) -> Result<Self, Error> {
        let link = links::find(&handle, &tun.name).await?.index;
        let up = LinkUnspec::new_with_index(link).mtu(tun.mtu).up().build();
        let set = handle.link().set(up).execute().await;
        set.map_err(|error| Error::request(format!("bringing {} up", tun.name), &error))?;
        let mut installed = Self { handle, link, plan: Plan::new() };
        installed.update(plan).await?;
        add_rule(leading(installed.handle.rule().add().v4(), tun.mark)).await?;
        add_rule(leading(installed.handle.rule().add().v6(), tun.mark)).await?;
        Ok(installed)
    }

    /// The interface index of the device.
    pub(crate) const fn link(&self) -> u32 {
        self.link
    }

    /// Changes what differs: new prefixes are routed before old ones are let go.
    ///
    /// # Errors
    /// The kernel refused a route.
    pub(crate) async fn update(&mut self, plan: Plan) -> Result<(), Error> {
        for (prefix, fate) in &plan {
            if self.plan.get(prefix) != Some(fate) {
                self.route(*prefix, *fate).await?;
            }
        }
        for prefix in self.plan.keys().filter(|prefix| !plan.contains_key(prefix)) {
            delete_route(&self.handle, message(*prefix, None, Some(self.link))).await?;
            delete_route(&self.handle, message(*prefix, None, None)).await?;
        }
        self.plan = plan;
        Ok(())
    }

    /// Removes rules with another mark and routes to other prefixes, which an earlier start left. Only what carries
    /// our protocol number: other software uses table 220 too.
    ///
    /// # Errors
    /// The kernel does not answer, or refuses.
    pub(crate) async fn sweep(&self, fw_mark: u32) -> Result<(), Error> {
        let handle = &self.handle;
        for version in [IpVersion::V4, IpVersion::V6] {
            let rules: Vec<_> = handle.rule().get(version).execute().try_collect().await.map_err(reading)?;
            let own = RuleAttribute::FwMark(fw_mark);
            for rule in rules.into_iter().filter(|rule| is_leading(rule) && !rule.attributes.contains(&own)) {
                match handle.rule().del(rule).execute().await {
                    Err(error) if !GONE.contains(&errno(&error)) => {
                        return Err(Error::request("removing the tunnels' routing rule", &error));
                    }
                    _ => {}
                }
            }
        }
        let v4 = handle.route().get(RouteMessageBuilder::<Ipv4Addr>::new().build()).execute();
        let v6 = handle.route().get(RouteMessageBuilder::<Ipv6Addr>::new().build()).execute();
        let mut routes: Vec<_> = v4.try_collect().await.map_err(reading)?;
        routes.extend(v6.try_collect::<Vec<_>>().await.map_err(reading)?);
        let ours = |route: &RouteMessage| route.header.protocol == PROTOCOL && table(route) == TABLE;
        for route in routes.into_iter().filter(ours) {
            let planned = |(address, length)| self.plan.contains_key(&Prefix { address, length });
            if prefix(&route).is_some_and(|prefix| !planned(prefix)) {
                delete_route(handle, route).await?;
            }
        }
        Ok(())
    }

    /// The unreachable route first: there is no moment in which the prefix has none.
    async fn route(&self, prefix: Prefix, fate: Fate) -> Result<(), Error> {
        let add = async |message| {
            let added = self.handle.route().add(message).replace().execute().await;
            added.map_err(|error| {
                Error::request(format!("routing {}/{}", prefix.address, prefix.length), &error)
            })
        };
        add(message(prefix, None, None)).await?;
        match fate {
            Fate::Tunnel(source) => add(message(prefix, source, Some(self.link))).await,
            Fate::Shielded => delete_route(&self.handle, message(prefix, None, Some(self.link))).await,
        }
    }
}

/// By the tun device, or, without `link`, the unreachable route behind it.
fn message(prefix: Prefix, source: Option<IpAddr>, link: Option<u32>) -> RouteMessage {
    const SUITS: &str = "prefix and source come from one selector, which has one family";
    let route =
        RouteMessageBuilder::<IpAddr>::new().destination_prefix(prefix.address, prefix.length).expect(SUITS);
    let route = route.table_id(TABLE).protocol(PROTOCOL);
    let Some(link) = link else {
        return route.kind(RouteType::Unreachable).priority(METRIC_LAST).build();
    };
    let route = route.output_interface(link);
    match source {
        Some(source) => route.pref_source(source).expect(SUITS).build(),
        None => route.build(),
    }
}

fn leading<T>(request: RuleAddRequest<T>, fw_mark: u32) -> RuleAddRequest<T> {
    let mut request = request.priority(TABLE).table_id(TABLE).action(RuleAction::ToTable).fw_mark(fw_mark);
    request.message_mut().header.flags |= RuleFlags::Invert;
    mark(request.message_mut());
    request
}

async fn add_rule<T>(request: RuleAddRequest<T>) -> Result<(), Error> {
    match request.execute().await {
        Err(error) if errno(&error) != EXISTS => {
            Err(Error::request("adding the tunnels' routing rule", &error))
        }
        _ => Ok(()),
    }
}

async fn delete_route(handle: &Handle, message: RouteMessage) -> Result<(), Error> {
    match handle.route().del(message).execute().await {
        Err(error) if !GONE.contains(&errno(&error)) => {
            Err(Error::request("removing a tunnel's route", &error))
        }
        _ => Ok(()),
    }
}

fn reading(error: rtnetlink::Error) -> Error {
    Error::request("reading routing rules", &error)
}

fn is_leading(rule: &RuleMessage) -> bool {
    let has = |wanted: &RuleAttribute| rule.attributes.contains(wanted);
    has(&RuleAttribute::Protocol(PROTOCOL)) && has(&RuleAttribute::Priority(TABLE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use warren_policy::{PeerId, Protection, RuleId, Selector, TransportAction, TransportRule, TunnelRule};

    fn range(first: &str, last: &str) -> AddressRange {
        AddressRange::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
    }

    fn written(prefixes: impl IntoIterator<Item = Prefix>) -> Vec<String> {
        prefixes.into_iter().map(|prefix| format!("{}/{}", prefix.address, prefix.length)).collect()
    }

    #[test]
    fn a_range_falls_into_the_fewest_prefixes() {
        let cases: [(&str, &str, &[&str]); 6] = [
            ("10.0.0.0", "10.255.255.255", &["10.0.0.0/8"]),
            ("0.0.0.0", "255.255.255.255", &["0.0.0.0/0"]),
            ("192.0.2.7", "192.0.2.7", &["192.0.2.7/32"]),
            ("10.0.0.1", "10.0.0.6", &["10.0.0.1/32", "10.0.0.2/31", "10.0.0.4/31", "10.0.0.6/32"]),
            ("::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", &["::/0"]),
            ("2001:db8::1", "2001:db8::3", &["2001:db8::1/128", "2001:db8::2/127"]),
        ];
        for (first, last, expected) in cases {
            assert_eq!(written(prefixes(&range(first, last))), expected, "{first}-{last}");
        }
        assert_eq!(prefixes(&range("0.0.0.1", "255.255.255.254")).len(), 62);
        let almost_all = range("::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe");
        assert_eq!(prefixes(&almost_all).len(), 254);
    }

    #[test]
    fn the_prefixes_of_a_range_cover_it_without_gap_or_overlap() {
        let mut seed = 1_u32;
        for _ in 0..500 {
            let mut next = || {
                seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                seed
            };
            let (one, two) = (next(), next());
            let (first, last) = (Ipv4Addr::from(one.min(two)), Ipv4Addr::from(one.max(two)));
            let range = AddressRange::new(first.into(), last.into()).unwrap();
            let mut expected = u64::from(u32::from(first));
            for prefix in prefixes(&range) {
                assert_eq!(bits(prefix.address), u128::from(expected));
                expected += 1 << (32 - prefix.length);
            }
            assert_eq!(expected, u64::from(u32::from(last)) + 1);
        }
    }

    fn rule(local: (&str, &str), remote: (&str, &str)) -> TunnelRule {
        let selector = Selector::between(range(local.0, local.1), range(remote.0, remote.1)).unwrap();
        let gateway = IpAddr::from([203, 0, 113, 1]).into();
        TunnelRule { id: RuleId(0), name: "r".to_owned(), selector, peer: PeerId(0), gateway }
    }

    fn lines(plan: &Plan) -> Vec<String> {
        let line = |(prefix, fate): (&Prefix, &Fate)| {
            let fate = match fate {
                Fate::Tunnel(Some(source)) => source.to_string(),
                Fate::Tunnel(None) => "any".to_owned(),
                Fate::Shielded => "shielded".to_owned(),
            };
            format!("{}/{} {fate}", prefix.address, prefix.length)
        };
        plan.iter().map(line).collect()
    }

    #[test] // TED-6, F-24
    fn what_a_rule_discovers_for_is_routed_like_what_any_other_protects() {
        let discover = TunnelRule {
            gateway: warren_policy::Gateway::Discover,
            ..rule(("10.1.0.0", "10.1.255.255"), ("10.0.0.0", "10.255.255.255"))
        };
        let rules = RuleSet { transport: Vec::new(), tunnel: vec![discover] };
        let own: Vec<IpAddr> = vec!["192.0.2.1".parse().unwrap(), "10.1.0.1".parse().unwrap()];
        assert_eq!(lines(&plan(&rules, &[], &own).unwrap()), ["10.0.0.0/8 10.1.0.1"]);
    }

    #[test] // NT-19
    fn a_host_that_a_base_rule_protects_is_routed_from_our_address_of_that_rule() {
        let protect = |source: (&str, &str), host: &str, at| TransportRule {
            name: "p".to_owned(),
            selector: Selector::between(range(source.0, source.1), range(host, host)).unwrap(),
            action: TransportAction::Protect(Protection {
                rule: RuleId(at),
                peer: PeerId(0),
                host: host.parse().unwrap(),
            }),
        };
        let own = ("192.0.2.1", "192.0.2.1");
        let permit = TransportRule { action: TransportAction::Permit, ..protect(own, "203.0.113.77", 9) };
        let rules = RuleSet {
            transport: vec![protect(own, "10.2.0.7", 2), permit, protect(own, "203.0.113.9", 3)],
            tunnel: vec![
                rule(("10.1.0.0", "10.1.255.255"), ("10.2.0.7", "10.2.0.7")),
                rule(("10.1.0.0", "10.1.255.255"), ("10.2.0.0", "10.2.255.255")),
            ],
        };
        let own: Vec<IpAddr> = vec!["10.1.0.1".parse().unwrap(), "192.0.2.1".parse().unwrap()];
        assert_eq!(
            lines(&plan(&rules, &[], &own).unwrap()),
            ["10.2.0.0/16 10.1.0.1", "10.2.0.7/32 192.0.2.1", "203.0.113.9/32 192.0.2.1"]
        );
    }

    #[test] // F-24
    fn lost_policy_is_shielded_where_no_other_rule_protects() {
        let tunnel = vec![rule(("10.1.0.0", "10.1.255.255"), ("10.2.0.0", "10.2.255.255"))];
        let rules = RuleSet { transport: Vec::new(), tunnel };
        let shielded = [range("10.2.3.0", "10.2.3.255"), range("10.4.0.0", "10.4.255.255")];
        let plan = plan(&rules, &shielded, &["10.1.0.1".parse().unwrap()]).unwrap();
        assert_eq!(lines(&plan), ["10.2.0.0/16 10.1.0.1", "10.4.0.0/16 shielded"]);
    }

    #[test]
    fn each_remote_prefix_prefers_our_own_address_inside_the_local_selector() {
        let own: Vec<IpAddr> = ["10.1.0.1", "127.0.0.1", "198.51.100.4", "2001:db8:1::1", "fe80::1"]
            .map(|text| text.parse().unwrap())
            .into();
        let rules = RuleSet {
            transport: Vec::new(),
            tunnel: vec![
                rule(("10.7.0.0", "10.7.255.255"), ("10.2.0.0", "10.2.255.255")),
                rule(("10.1.0.0", "10.1.255.255"), ("10.2.0.0", "10.2.255.255")),
                rule(("0.0.0.0", "255.255.255.255"), ("10.2.0.0", "10.2.255.255")),
                rule(("172.16.0.0", "172.16.0.255"), ("10.3.0.0", "10.3.0.255")),
                rule(
                    ("fe80::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
                    ("2001:db8:3::", "2001:db8:3::ffff"),
                ),
                rule(("2001:db8:1::", "2001:db8:1::ffff"), ("2001:db8:2::", "2001:db8:2::ffff")),
            ],
        };
        assert_eq!(
            lines(&plan(&rules, &[], &own).unwrap()),
            [
                "10.2.0.0/16 10.1.0.1",
                "10.3.0.0/24 any",
                "2001:db8:2::/112 2001:db8:1::1",
                "2001:db8:3::/112 any"
            ]
        );
    }

    #[test]
    fn more_routes_than_the_kernel_should_carry_are_refused() {
        let scattered = |at: u32| {
            let (first, last) = (Ipv4Addr::from(at << 8 | 1), Ipv4Addr::from(at << 8 | 254));
            rule(("10.1.0.0", "10.1.255.255"), (&first.to_string(), &last.to_string()))
        };
        let rules = RuleSet { transport: Vec::new(), tunnel: (0..6000).map(scattered).collect() };
        assert!(matches!(plan(&rules, &[], &[]), Err(Error::TooManyRoutes(_))));
    }
}
