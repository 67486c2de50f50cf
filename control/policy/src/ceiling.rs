//! The client's guard (REQUIREMENTS DC-25, F-11): what policy from elsewhere may at most ask for.
//!
//! Every set is judged alone and taken as a whole, or refused as a whole with the reason; nothing is narrowed. The work
//! is linear in the number of sets and of their ends, whatever they say.

use crate::limits::{SET_KILOBYTES_MIN, SET_SECONDS_MIN, STACK_DEPTH_MAX};
use crate::policy_set::{PolicySet, SaMode, TrafficEnd};
use crate::proposal::{EspProposal, EspTransform, Group};
use crate::selector::{AddressRange, PortRange, Protocol, Selector};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// A local ceiling. What exceeds it is refused with the reason, never narrowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ceiling {
    /// Where pulled SAs may lead: each remote selector lies inside one of these.
    pub remote: Vec<AddressRange>,
    /// Whose traffic they may take, besides the leased addresses.
    pub local: Vec<AddressRange>,
    /// No transform is weaker than this one's, by the published order (REQUIREMENTS Q-26).
    pub weakest: EspProposal,
    /// SAs in all: selectors of all sets, pair by pair.
    pub sas_max: usize,
    /// Whether the operator named `remote`; then it may overlap networks that we are attached to.
    pub is_remote_named: bool,
}

/// What the ceiling is held against besides the sets.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Addresses that the server leased to us.
    pub leased: &'a [IpAddr],
    /// Where the server is.
    pub server: IpAddr,
    /// Networks that we are attached to.
    pub attached: &'a [AddressRange],
    /// Traffic that the operator's own tunnels through this server carry.
    pub taken: &'a [Selector],
}

/// Why a set is refused, as the rest of a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Two sets of one message have the same number.
    #[error("its number {0} is used twice")]
    NumberTwice(u16),
    /// An end without addresses, or no transform.
    #[error("it names no traffic or no transform")]
    Empty,
    /// Transport mode.
    #[error("it asks for transport mode")]
    TransportMode,
    /// Its parent is not there.
    #[error("its parent {0} is not among the sets")]
    ParentUnknown(u16),
    /// Sets that lie in each other.
    #[error("it lies inside itself")]
    ParentLoop,
    /// Its parent was refused.
    #[error("its parent {0} is refused")]
    ParentRefused(u16),
    /// Deeper than any stack of ours.
    #[error("it lies {0} levels deep, more than {STACK_DEPTH_MAX}")]
    TooDeep(usize),
    /// Weaker than the operator wants.
    #[error("{0} is weaker than {1}")]
    WeakTransform(EspTransform, EspTransform),
    /// Without the fresh key exchange that the operator wants.
    #[error("its key exchange is weaker than {0}")]
    WeakGroup(Group),
    /// A lifetime that would keep us busy.
    #[error("its lifetime is too short")]
    ShortLifetime,
    /// A range of ports, a port without a protocol, or port or protocol zero.
    #[error("IKEv1 cannot express its ports")]
    Ports,
    /// Different upper layer protocols at the two ends.
    #[error("its ends name different protocols")]
    Protocols,
    /// An end without a partner of its family.
    #[error("{0} has no partner of its address family")]
    Families(AddressRange),
    /// Every address of a family.
    #[error("{0} is a default route")]
    DefaultRoute(AddressRange),
    /// Multicast, loopback, link-local, unspecified or reserved addresses.
    #[error("{0} contains addresses that are no host's")]
    Special(AddressRange),
    /// The way to the server would lead through its own tunnel.
    #[error("{0} contains the gateway {1}")]
    OwnGateway(AddressRange, IpAddr),
    /// A network that we are part of.
    #[error("{0} overlaps the network {1}, to which this gateway is attached")]
    Attached(AddressRange, AddressRange),
    /// Outside of what the operator allows on the far side.
    #[error("{0} is outside of the remote networks that its ceiling allows")]
    Remote(AddressRange),
    /// Outside of what the operator allows on our side.
    #[error("{0} is neither a leased address nor inside the local networks that its ceiling allows")]
    Local(AddressRange),
    /// The same traffic as a set in front of it, or as a tunnel of the operator's.
    #[error("the traffic {0} has a tunnel already")]
    Taken(Selector),
    /// More SAs than the operator allows.
    #[error("its {needed} SAs are too many: {left} of {max} are left")]
    TooMany {
        /// How many it stands for.
        needed: usize,
        /// How many are left for it.
        left: usize,
        /// How many there may be in all.
        max: usize,
    },
}

/// What becomes of one set: the selectors of its SAs, or why there are none.
pub type Verdict = Result<Vec<Selector>, Refusal>;

impl Ceiling {
    /// Judges the sets of one message, each for itself, in their order. An accepted set becomes the selectors of its
    /// SAs: source is our side. NULL encryption needs no check: an [`EspTransform`] cannot say it.
    #[must_use]
    pub fn check(&self, sets: &[PolicySet], around: &Surroundings<'_>) -> Vec<Verdict> {
        let mut numbers: HashMap<u16, usize> = HashMap::new();
        let mut twice = HashSet::new();
        for (at, set) in sets.iter().enumerate() {
            if numbers.insert(set.id, at).is_some() {
                twice.insert(set.id);
            }
        }
        let alone = |set: &PolicySet| {
            if twice.contains(&set.id) {
                return Err(Refusal::NumberTwice(set.id));
            }
            self.check_alone(set, around).map(|()| Vec::new())
        };
        let mut verdicts: Vec<Verdict> = sets.iter().map(alone).collect();
        check_parents(sets, &numbers, &mut verdicts);
        refuse_orphans(sets, &numbers, &mut verdicts);
        let mut taken: HashSet<Selector> = around.taken.iter().copied().collect();
        let mut left = self.sas_max;
        for (set, verdict) in sets.iter().zip(&mut verdicts).filter(|(_, verdict)| verdict.is_ok()) {
            *verdict = self.count(set, &mut left, &mut taken);
        }
        refuse_orphans(sets, &numbers, &mut verdicts);
        verdicts
    }

    /// Whether a server may lease that address to us.
    ///
    /// # Errors
    /// It is no host's, the server's own, or one of a network that we are attached to.
    pub fn check_address(&self, address: IpAddr, around: &Surroundings<'_>) -> Result<(), Refusal> {
        let range = AddressRange::single(address);
        check_plain(&range)?;
        if address == around.server {
            return Err(Refusal::OwnGateway(range, around.server));
        }
        match around.attached.iter().find(|attached| attached.contains(address)) {
            Some(attached) => Err(Refusal::Attached(range, *attached)),
            None => Ok(()),
        }
    }

    fn check_alone(&self, set: &PolicySet, around: &Surroundings<'_>) -> Result<(), Refusal> {
        if set.local.is_empty() || set.remote.is_empty() || set.transforms.is_empty() {
            return Err(Refusal::Empty);
        }
        if set.mode == SaMode::Transport {
            return Err(Refusal::TransportMode);
        }
        self.check_strength(set)?;
        let kilobytes = set.lifetime.kilobytes.unwrap_or(u64::MAX);
        if set.lifetime.seconds < SET_SECONDS_MIN || kilobytes < SET_KILOBYTES_MIN {
            return Err(Refusal::ShortLifetime);
        }
        let protocol = set.local[0].protocol;
        for end in set.local.iter().chain(&set.remote) {
            check_expressible(end)?;
            if end.protocol != protocol {
                return Err(Refusal::Protocols);
            }
            check_plain(&end.addresses)?;
        }
        check_families(&set.local, &set.remote)?;
        set.remote.iter().try_for_each(|end| self.check_remote(&end.addresses, set.gateway, around))?;
        set.local.iter().try_for_each(|end| self.check_local(&end.addresses, around))
    }

    /// Group and transform are compared each for itself: a strong group makes no weak cipher good.
    fn check_strength(&self, set: &PolicySet) -> Result<(), Refusal> {
        let bits = |group: Option<Group>| group.map_or(0, Group::strength_bits);
        if let Some(group) = self.weakest.pfs.filter(|_| bits(set.pfs) < bits(self.weakest.pfs)) {
            return Err(Refusal::WeakGroup(group));
        }
        let strength = |transform| EspProposal { transform, pfs: None, esn: false }.strength();
        let weakest = self.weakest.transform;
        match set.transforms.iter().find(|transform| strength(**transform) < strength(weakest)) {
            Some(weak) => Err(Refusal::WeakTransform(*weak, weakest)),
            None => Ok(()),
        }
    }

    fn check_remote(
        &self,
        range: &AddressRange,
        gateway: Option<IpAddr>,
        around: &Surroundings<'_>,
    ) -> Result<(), Refusal> {
        if let Some(own) =
            [Some(around.server), gateway].into_iter().flatten().find(|own| range.contains(*own))
        {
            return Err(Refusal::OwnGateway(*range, own));
        }
        let attached = around.attached.iter().find(|attached| attached.overlaps(range));
        if let Some(attached) = attached.filter(|_| !self.is_remote_named) {
            return Err(Refusal::Attached(*range, *attached));
        }
        let allowed = self.remote.iter().any(|allowed| allowed.contains_range(range));
        if allowed { Ok(()) } else { Err(Refusal::Remote(*range)) }
    }

    fn check_local(&self, range: &AddressRange, around: &Surroundings<'_>) -> Result<(), Refusal> {
        let leased = around.leased.iter().any(|leased| *range == AddressRange::single(*leased));
        let allowed = leased || self.local.iter().any(|allowed| allowed.contains_range(range));
        if allowed { Ok(()) } else { Err(Refusal::Local(*range)) }
    }

    /// Takes the SAs of a set out of what is left, or refuses it and takes nothing.
    fn count(&self, set: &PolicySet, left: &mut usize, taken: &mut HashSet<Selector>) -> Verdict {
        let of_family = |ends: &[TrafficEnd], ipv6: bool| {
            ends.iter().filter(|end| end.addresses.is_ipv6() == ipv6).count()
        };
        let needed = [false, true]
            .into_iter()
            .map(|ipv6| of_family(&set.local, ipv6).saturating_mul(of_family(&set.remote, ipv6)))
            .fold(0, usize::saturating_add);
        if needed > *left {
            return Err(Refusal::TooMany { needed, left: *left, max: self.sas_max });
        }
        let selectors = selectors(set);
        let mut fresh = HashSet::with_capacity(selectors.len());
        if let Some(taken) = selectors.iter().find(|own| taken.contains(*own) || !fresh.insert(**own)) {
            return Err(Refusal::Taken(*taken));
        }
        taken.extend(fresh);
        *left -= needed;
        Ok(selectors)
    }
}

/// Every pair of ends of one family, ours in front.
fn selectors(set: &PolicySet) -> Vec<Selector> {
    let pairs = set.local.iter().flat_map(|local| set.remote.iter().map(move |remote| (local, remote)));
    pairs
        .filter_map(|(local, remote)| {
            let selector = Selector::between(local.addresses, remote.addresses)?;
            Some(Selector {
                protocol: local.protocol,
                source_port: local.ports,
                destination_port: remote.ports,
                ..selector
            })
        })
        .collect()
}

/// RFC 2407 §4.6.2 has one port, or all; and zero means all, for ports and protocols alike.
fn check_expressible(end: &TrafficEnd) -> Result<(), Refusal> {
    let one =
        end.ports.first() == end.ports.last() && end.ports.first() != 0 && end.protocol != Protocol::Any;
    if end.protocol != Protocol::Is(0) && (end.ports == PortRange::ANY || one) {
        Ok(())
    } else {
        Err(Refusal::Ports)
    }
}

fn check_families(local: &[TrafficEnd], remote: &[TrafficEnd]) -> Result<(), Refusal> {
    let has = |ends: &[TrafficEnd]| {
        [false, true].map(|ipv6| ends.iter().any(|end| end.addresses.is_ipv6() == ipv6))
    };
    let (locals, remotes) = (has(local), has(remote));
    let alone = |end: &&TrafficEnd, others: [bool; 2]| !others[usize::from(end.addresses.is_ipv6())];
    let lonely =
        local.iter().find(|end| alone(end, remotes)).or(remote.iter().find(|end| alone(end, locals)));
    match lonely {
        Some(end) => Err(Refusal::Families(end.addresses)),
        None => Ok(()),
    }
}

/// No default route, and nothing but hosts' addresses.
fn check_plain(range: &AddressRange) -> Result<(), Refusal> {
    if *range == AddressRange::any(range.is_ipv6()) {
        return Err(Refusal::DefaultRoute(*range));
    }
    if special().iter().flatten().any(|special| special.overlaps(range)) {
        return Err(Refusal::Special(*range));
    }
    Ok(())
}

/// Unspecified, loopback, link-local, multicast, reserved and broadcast; in IPv6 also IPv4 in disguise.
fn special() -> [Option<AddressRange>; 10] {
    let v4 = |octets: [u8; 4], length| AddressRange::from_prefix(octets.into(), length);
    let v6 = |segments: [u16; 8], length| AddressRange::from_prefix(segments.into(), length);
    [
        v4([0, 0, 0, 0], 8),
        v4([127, 0, 0, 0], 8),
        v4([169, 254, 0, 0], 16),
        v4([224, 0, 0, 0], 4),
        v4([240, 0, 0, 0], 4),
        v6([0; 8], 128),
        v6([0, 0, 0, 0, 0, 0, 0, 1], 128),
        v6([0, 0, 0, 0, 0, 0xffff, 0, 0], 96),
        v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
        v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
    ]
}

/// How deep a set lies.
#[derive(Clone, Copy, PartialEq)]
enum Depth {
    Unknown,
    /// On the way that is being followed.
    Open,
    Levels(usize),
    /// Part of a loop.
    Endless,
}

/// How deep each set lies, each looked at once: parents are followed until one is known.
fn check_parents(sets: &[PolicySet], numbers: &HashMap<u16, usize>, verdicts: &mut [Verdict]) {
    let parent = |at: usize| sets[at].parent.and_then(|parent| numbers.get(&parent).copied());
    let mut depths = vec![Depth::Unknown; sets.len()];
    for start in 0..sets.len() {
        let mut way = Vec::new();
        let mut at = Some(start);
        while let Some(place) = at.filter(|place| depths[*place] == Depth::Unknown) {
            depths[place] = Depth::Open;
            way.push(place);
            at = parent(place);
        }
        let end = at.filter(|place| depths[*place] == Depth::Open);
        while let Some(place) = way.pop_if(|_| end.is_some_and(|end| depths[end] == Depth::Open)) {
            depths[place] = Depth::Endless;
        }
        // What lies inside a loop without being part of it is refused for its parent's sake.
        let mut levels = match at.map(|place| depths[place]) {
            Some(Depth::Levels(levels)) => levels,
            _ => 0,
        };
        for place in way.into_iter().rev() {
            levels = levels.saturating_add(1);
            depths[place] = Depth::Levels(levels);
        }
    }
    for (at, verdict) in verdicts.iter_mut().enumerate().filter(|(_, verdict)| verdict.is_ok()) {
        match (sets[at].parent, depths[at]) {
            (Some(number), _) if parent(at).is_none() => *verdict = Err(Refusal::ParentUnknown(number)),
            (_, Depth::Levels(levels)) if levels > STACK_DEPTH_MAX => {
                *verdict = Err(Refusal::TooDeep(levels));
            }
            (_, Depth::Endless) => *verdict = Err(Refusal::ParentLoop),
            _ => {}
        }
    }
}

/// What lies inside a refused set is refused too, at whatever depth.
fn refuse_orphans(sets: &[PolicySet], numbers: &HashMap<u16, usize>, verdicts: &mut [Verdict]) {
    let mut inside: HashMap<usize, Vec<usize>> = HashMap::new();
    for (at, set) in sets.iter().enumerate() {
        if let Some(parent) = set.parent.and_then(|parent| numbers.get(&parent)) {
            inside.entry(*parent).or_default().push(at);
        }
    }
    let mut refused: Vec<usize> = (0..sets.len()).filter(|at| verdicts[*at].is_err()).collect();
    while let Some(parent) = refused.pop() {
        for at in inside.remove(&parent).unwrap_or_default() {
            if verdicts[at].is_ok() {
                verdicts[at] = Err(Refusal::ParentRefused(sets[parent].id));
                refused.push(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::Lifetime;

    fn range(text: &str) -> AddressRange {
        let (address, length) = text.split_once('/').unwrap();
        AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
    }

    fn end(text: &str) -> TrafficEnd {
        TrafficEnd { addresses: range(text), protocol: Protocol::Any, ports: PortRange::ANY }
    }

    fn set(id: u16, local: &str, remote: &str) -> PolicySet {
        PolicySet {
            id,
            name: format!("set-{id}"),
            local: vec![end(local)],
            remote: vec![end(remote)],
            mode: SaMode::Tunnel,
            transforms: vec!["aes128gcm16".parse::<EspProposal>().unwrap().transform],
            pfs: None,
            lifetime: Lifetime { seconds: 3600, kilobytes: None },
            gateway: None,
            parent: None,
        }
    }

    const LEASE: &str = "10.99.0.7/32";

    fn ceiling() -> Ceiling {
        let private = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];
        Ceiling {
            remote: private.map(range).to_vec(),
            local: Vec::new(),
            weakest: "aes128-sha256".parse().unwrap(),
            sas_max: 16,
            is_remote_named: false,
        }
    }

    fn judge_by(ceiling: &Ceiling, sets: &[PolicySet]) -> Vec<Verdict> {
        let attached = [range("192.168.1.0/24")];
        let leased = ["10.99.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let server = "10.50.0.1".parse().unwrap();
        ceiling.check(sets, &Surroundings { leased: &leased, server, attached: &attached, taken: &[] })
    }

    fn judge(sets: &[PolicySet]) -> Vec<Verdict> {
        judge_by(&ceiling(), sets)
    }

    fn refusal(set: PolicySet) -> Refusal {
        judge(&[set]).remove(0).unwrap_err()
    }

    #[test] // DC-4, DC-10, DC-11
    fn an_accepted_set_becomes_a_selector_for_each_pair_of_one_family() {
        let mut both = set(1, LEASE, "10.1.0.0/16");
        both.local.push(end("fd00::7/128"));
        both.remote.extend([end("10.2.0.0/16"), end("fd01::/64")]);
        let selectors = judge(&[both]).remove(0).unwrap();
        let written: Vec<_> = selectors.iter().map(ToString::to_string).collect();
        let expected =
            ["10.99.0.7/32 -> 10.1.0.0/16", "10.99.0.7/32 -> 10.2.0.0/16", "fd00::7/128 -> fd01::/64"];
        assert_eq!(written, expected);
    }

    #[test] // DC-25, F-11
    fn each_rule_of_the_ceiling_refuses_its_own_kind_of_set() {
        let remote = |text: &str| refusal(set(1, LEASE, text));
        assert!(matches!(remote("0.0.0.0/0"), Refusal::DefaultRoute(_)));
        assert!(matches!(remote("8.8.8.0/24"), Refusal::Remote(_)));
        assert!(matches!(remote("10.0.0.0/8"), Refusal::OwnGateway(..)), "the server is in it");
        assert!(matches!(remote("192.168.0.0/16"), Refusal::Attached(..)));
        for special in ["224.0.0.0/8", "127.0.0.0/8", "169.254.1.0/24", "0.0.0.0/1", "255.255.255.255/32"] {
            assert!(matches!(remote(special), Refusal::Special(_)), "{special}");
        }
        for special in ["ff00::/8", "::1/128", "fe80::/64", "::ffff:10.1.0.0/112", "::/128"] {
            assert!(matches!(refusal(set(1, "fd00::7/128", special)), Refusal::Special(_)), "{special}");
        }
        assert!(matches!(refusal(set(1, "10.99.0.0/24", "10.1.0.0/16")), Refusal::Local(_)));
        assert!(matches!(refusal(set(1, "10.99.0.8/32", "10.1.0.0/16")), Refusal::Local(_)));
        let transport = PolicySet { mode: SaMode::Transport, ..set(1, LEASE, "10.1.0.0/16") };
        assert_eq!(refusal(transport), Refusal::TransportMode);
        let mut elsewhere = set(1, LEASE, "10.1.0.0/16");
        elsewhere.gateway = Some("10.1.2.3".parse().unwrap());
        assert!(matches!(refusal(elsewhere), Refusal::OwnGateway(..)));
        let mut short = set(1, LEASE, "10.1.0.0/16");
        short.lifetime.seconds = 1;
        assert_eq!(refusal(short), Refusal::ShortLifetime);
        let mut empty = set(1, LEASE, "10.1.0.0/16");
        empty.transforms.clear();
        assert_eq!(refusal(empty), Refusal::Empty);
    }

    #[test] // DC-25, Q-26
    fn nothing_weaker_than_the_weakest_is_taken_and_a_strong_group_does_not_help() {
        let with = |esp: &str| {
            let proposal: EspProposal = esp.parse().unwrap();
            let set = set(1, LEASE, "10.1.0.0/16");
            PolicySet { transforms: vec![proposal.transform], pfs: proposal.pfs, ..set }
        };
        assert!(judge(&[with("aes128-sha256")])[0].is_ok());
        assert!(matches!(refusal(with("aes128-sha1")), Refusal::WeakTransform(..)));
        assert!(matches!(refusal(with("aes128-sha1-ecp521")), Refusal::WeakTransform(..)));
        let mut one_is_weak = with("aes256gcm16");
        one_is_weak.transforms.push(EspTransform::AesCbcHmac(crate::KeyBits::B128, crate::Hash::Sha1));
        assert!(matches!(refusal(one_is_weak), Refusal::WeakTransform(..)));
        let pfs = Ceiling { weakest: "aes128-sha256-modp3072".parse().unwrap(), ..ceiling() };
        assert!(judge_by(&pfs, &[with("aes128gcm16-ecp384")])[0].is_ok());
        let weak = judge_by(&pfs, &[with("aes256gcm16-modp2048")]).remove(0);
        assert_eq!(weak, Err(Refusal::WeakGroup(Group::Modp3072)));
    }

    #[test] // DC-25
    fn a_remote_that_the_operator_named_may_be_a_network_of_ours_but_never_the_gateways_own() {
        let named = Ceiling { remote: vec![range("192.168.0.0/16")], is_remote_named: true, ..ceiling() };
        assert!(judge_by(&named, &[set(1, LEASE, "192.168.1.0/24")])[0].is_ok());
        let everything =
            Ceiling { remote: vec![AddressRange::any(false)], is_remote_named: true, ..ceiling() };
        let verdict = judge_by(&everything, &[set(1, LEASE, "10.48.0.0/12")]).remove(0);
        assert!(matches!(verdict, Err(Refusal::OwnGateway(..))));
        let local = Ceiling { local: vec![range("10.7.0.0/16")], ..ceiling() };
        assert!(judge_by(&local, &[set(1, "10.7.3.0/24", "10.1.0.0/16")])[0].is_ok());
    }

    #[test] // DC-3
    fn what_ikev1_cannot_say_is_refused() {
        let with = |protocol, first, last| {
            let mut set = set(1, LEASE, "10.1.0.0/16");
            set.local[0].protocol = protocol;
            set.remote[0].protocol = protocol;
            set.remote[0].ports = PortRange::new(first, last).unwrap();
            judge(&[set]).remove(0)
        };
        assert!(with(Protocol::Is(6), 443, 443).is_ok());
        assert!(with(Protocol::Is(6), 0, u16::MAX).is_ok());
        for (protocol, first, last) in [
            (Protocol::Is(6), 80, 443),
            (Protocol::Is(6), 0, 0),
            (Protocol::Any, 443, 443),
            (Protocol::Is(0), 0, u16::MAX),
        ] {
            assert_eq!(with(protocol, first, last), Err(Refusal::Ports));
        }
        let mut differ = set(1, LEASE, "10.1.0.0/16");
        differ.remote[0].protocol = Protocol::Is(17);
        assert_eq!(refusal(differ), Refusal::Protocols);
        let mut mixed = set(1, LEASE, "10.1.0.0/16");
        mixed.remote.push(end("fd01::/64"));
        assert_eq!(refusal(mixed), Refusal::Families(range("fd01::/64")));
    }

    #[test] // DC-25: refused alone and whole
    fn a_set_that_is_refused_takes_nothing_from_the_others() {
        let few = Ceiling { sas_max: 3, ..ceiling() };
        let mut wide = set(2, LEASE, "10.2.0.0/16");
        wide.remote.extend([end("10.3.0.0/16"), end("10.4.0.0/16")]);
        let sets = [
            set(1, LEASE, "10.1.0.0/16"),
            wide,
            set(3, LEASE, "0.0.0.0/0"),
            set(4, LEASE, "10.5.0.0/16"),
            set(5, LEASE, "10.1.0.0/16"),
            set(6, LEASE, "10.6.0.0/16"),
            set(7, LEASE, "10.7.0.0/16"),
        ];
        let verdicts = judge_by(&few, &sets);
        let taken: Vec<_> = verdicts.iter().map(Result::is_ok).collect();
        assert_eq!(taken, [true, false, false, true, false, true, false]);
        assert_eq!(verdicts[1], Err(Refusal::TooMany { needed: 3, left: 2, max: 3 }));
        assert!(matches!(verdicts[4], Err(Refusal::Taken(_))));
    }

    fn nested(id: u16, parent: u16) -> PolicySet {
        let [high, low] = id.to_be_bytes();
        PolicySet { parent: Some(parent), ..set(id, LEASE, &format!("10.1{high}.{low}.0/24")) }
    }

    #[test] // DC-25, NT-36
    fn parents_are_there_do_not_lie_inside_themselves_and_are_not_too_deep() {
        let mut sets = vec![set(1, LEASE, "10.1.0.0/16"), nested(2, 1), nested(3, 9)];
        sets.extend([nested(4, 4), nested(5, 6), nested(6, 5), nested(7, 6), set(8, LEASE, "0.0.0.0/0")]);
        sets.push(nested(10, 8));
        let twice = set(11, LEASE, "10.11.0.0/16");
        sets.extend([twice.clone(), twice, nested(12, 11)]);
        let reasons: Vec<_> = judge(&sets).into_iter().map(Result::err).collect();
        assert_eq!(reasons[..2], [None, None]);
        assert_eq!(reasons[2], Some(Refusal::ParentUnknown(9)));
        assert_eq!(reasons[3..6], [const { Some(Refusal::ParentLoop) }; 3]);
        assert_eq!(reasons[6], Some(Refusal::ParentRefused(6)));
        assert_eq!(reasons[8], Some(Refusal::ParentRefused(8)));
        assert_eq!(reasons[9..11], [const { Some(Refusal::NumberTwice(11)) }; 2]);
        assert_eq!(reasons[11], Some(Refusal::ParentRefused(11)));
        let mut chain = vec![set(1, LEASE, "10.1.0.0/16")];
        chain.extend((2..=10).map(|id| nested(id, id - 1)));
        chain.reverse();
        let reasons: Vec<_> = judge(&chain).into_iter().map(Result::err).collect();
        assert_eq!(reasons[..2], [Some(Refusal::TooDeep(10)), Some(Refusal::TooDeep(9))]);
        assert!(reasons[2..].iter().all(Option::is_none));
    }

    #[test] // F-11
    fn ten_thousand_hostile_sets_cost_no_more_than_ten_thousand_looks() {
        let mut sets: Vec<_> = (0..10_000u16).map(|id| nested(id, id.wrapping_add(1) % 10_000)).collect();
        let started = std::time::Instant::now();
        assert!(judge(&sets).iter().all(|verdict| *verdict == Err(Refusal::ParentLoop)));
        sets.iter_mut().for_each(|set| set.parent = Some(set.id + 1));
        assert!(judge(&sets).iter().all(Result::is_err));
        sets.iter_mut().for_each(|set| set.parent = None);
        assert_eq!(judge(&sets).iter().filter(|verdict| verdict.is_ok()).count(), 16);
        sets.iter_mut().for_each(|set| set.id = 7);
        assert!(judge(&sets).iter().all(|verdict| *verdict == Err(Refusal::NumberTwice(7))));
        // A quadratic search would take a hundred million steps, many times.
        assert!(started.elapsed() < std::time::Duration::from_secs(5));
    }

    #[test] // DC-25
    fn a_leased_address_is_a_hosts_and_nobody_elses() {
        let attached = [range("192.168.1.0/24")];
        let around = Surroundings {
            leased: &[],
            server: "10.50.0.1".parse().unwrap(),
            attached: &attached,
            taken: &[],
        };
        let check = |text: &str| ceiling().check_address(text.parse().unwrap(), &around);
        assert_eq!(check("10.99.0.7"), Ok(()));
        for text in ["127.0.0.1", "224.0.0.5", "10.50.0.1", "192.168.1.9", "fe80::1", "0.0.0.0"] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_reason_is_a_sentence_about_the_set() {
        let reasons = [
            refusal(set(1, LEASE, "8.8.8.0/24")).to_string(),
            refusal(set(1, LEASE, "10.0.0.0/8")).to_string(),
        ];
        assert_eq!(reasons[0], "8.8.8.0/24 is outside of the remote networks that its ceiling allows");
        assert_eq!(reasons[1], "10.0.0.0/8 contains the gateway 10.50.0.1");
    }
}
