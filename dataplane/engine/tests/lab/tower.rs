//! Tunnels inside tunnels between two gateways, of which the second is every gateway on the way at once.
//!
//! ```text
//!   host A 10.1.0.2 ─ gateway 1 ═╤═ level 2 ═╤═ level 1 ═╤═ rule 0 ═╤═ gateway 2 ─ host B 10.2.0.2
//! ```
//!
//! Rule 0 is a rule; the levels around have numbers that are in no rule set.

use super::*;
use warren_seam::Carrier;

/// How one level travels; level 0 is the rule's own tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Level {
    pub(crate) ipv6: bool,
    pub(crate) encapsulation: Encapsulation,
}

/// From the inside out.
#[derive(Clone, Debug)]
pub(crate) struct Tower(pub(crate) Vec<Level>);

impl Tower {
    pub(crate) fn raw(levels: usize, ipv6: bool) -> Self {
        Self(vec![Level { ipv6, encapsulation: Encapsulation::Raw }; levels])
    }

    /// Every mix of families and encapsulations of so many levels.
    pub(crate) fn all(levels: usize) -> impl Iterator<Item = Self> {
        (0..4_usize.pow(levels as u32)).map(move |bits| {
            let level = |at: usize| Level {
                ipv6: bits >> (2 * at) & 1 == 1,
                encapsulation: if bits >> (2 * at + 1) & 1 == 1 { UDP_4500 } else { Encapsulation::Raw },
            };
            Self((0..levels).map(level).collect())
        })
    }

    pub(crate) fn levels(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn rule(level: usize) -> RuleId {
        RuleId(if level == 0 { 0 } else { 70 + level as u32 })
    }

    /// Our address at a level.
    pub(crate) fn own(&self, level: usize) -> IpAddr {
        ip(if self.0[level].ipv6 { "2001:db8:ff::1" } else { "192.0.2.1" })
    }

    /// The gateway where a level ends.
    pub(crate) fn gateway(&self, level: usize) -> IpAddr {
        far(level, self.0[level].ipv6)
    }

    fn selector(&self, level: usize) -> Selector {
        if level == 0 {
            return rules(1).tunnel[0].selector;
        }
        between(&host(self.own(level - 1)), &host(self.gateway(level - 1)))
    }

    /// From gateway 1 outwards.
    pub(crate) fn forth(&self, level: usize) -> OutboundSa {
        let sa = outbound(Scheme::default(), 1, 0);
        OutboundSa {
            id: SaId(50 + level as u64),
            spi: Spi(0x5000 + level as u32),
            keys: keys(sa.transform, 0x50 + level as u8),
            selector: self.selector(level),
            local: self.own(level),
            remote: self.gateway(level),
            encapsulation: self.0[level].encapsulation,
            rule: Self::rule(level),
            ..sa
        }
    }

    /// From the far gateway back to gateway 1.
    pub(crate) fn back(&self, level: usize) -> OutboundSa {
        let sa = self.forth(level);
        OutboundSa {
            id: SaId(60 + level as u64),
            spi: Spi(0x6000 + level as u32),
            keys: keys(sa.transform, 0x60 + level as u8),
            selector: sa.selector.mirrored(),
            local: sa.remote,
            remote: sa.local,
            ..sa
        }
    }

    pub(crate) fn carrier(&self, level: usize) -> Carrier {
        if level + 1 == self.levels() { Carrier::Network } else { Carrier::Rule(Self::rule(level + 1)) }
    }

    /// What the other end of an outbound SA needs.
    pub(crate) fn received(&self, sa: &OutboundSa, level: usize) -> InboundSa {
        InboundSa {
            id: SaId(1000 + sa.id.0),
            spi: sa.spi,
            keys: sa.keys.clone(),
            selector: sa.selector,
            remote: sa.local,
            local: sa.remote,
            encapsulation: sa.encapsulation,
            rule: sa.rule,
            mode: sa.mode,
            carrier: self.carrier(level),
            ..inbound(Scheme::default(), 1, 0)
        }
    }

    /// SAs of gateway 1 from a level outwards, as control names them.
    pub(crate) fn stack(&self, from: usize) -> Vec<SaId> {
        (from..self.levels()).map(|level| self.forth(level).id).collect()
    }

    /// Both gateways with all SAs of both directions, and rule 0 bound to all of them.
    pub(crate) fn build(&self, workers: usize) -> (Gateway, Gateway) {
        let mut one = Gateway::new(workers, &Settings::default());
        one.submit(Command::Forwarding(table(1)));
        one.submit(Command::Rules(rules(1)));
        let mut two = Gateway::site(2);
        let mut mirror = table(2);
        mirror.local.extend((0..10).flat_map(|level| [far(level, false), far(level, true)]));
        two.submit(Command::Forwarding(mirror));
        for (gateway, forth) in [(&mut one, true), (&mut two, false)] {
            let mut stack = Vec::new();
            for level in 0..self.levels() {
                let (out, into) = if forth {
                    (self.forth(level), self.back(level))
                } else {
                    (self.back(level), self.forth(level))
                };
                stack.push(out.id);
                gateway.submit(Command::InstallInbound(Box::new(self.received(&into, level))));
                gateway.submit(Command::InstallOutbound(Box::new(out)));
            }
            gateway.submit(Command::Bind { rule: RuleId(0), stack });
            gateway.poll();
        }
        (one, two)
    }
}

pub(crate) fn far(level: usize, ipv6: bool) -> IpAddr {
    if ipv6 { ip(&format!("2001:db8:aa::{}", level + 10)) } else { ip(&format!("198.51.100.{}", level + 10)) }
}

pub(crate) fn host(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv6() { 128 } else { 32 })
}
