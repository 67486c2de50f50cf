//! The two gateways' configurations: subnet pair `i` has a rule and a pair of SAs of its own, inside as many further
//! levels as wanted, which all pairs share.

use std::net::{IpAddr, Ipv4Addr};

use warren_policy::{
    AddressRange, EspTransform, KeyBits, PeerId, RuleId, RuleSet, Selector, TransportAction, TransportRule,
    TunnelRule,
};
use warren_seam::{
    Carrier, Command, Encapsulation, ForwardingTable, InboundSa, MacAddress, Neighbour, OutboundSa,
    PortIndex, PortInfo, Route, SaId, SaKeys, SaMode, Side, Spi, Volume,
};

use super::limits::{LEVELS_MAX, MTU, SAS_MAX};

pub(crate) const INSIDE: PortIndex = PortIndex(0);
pub(crate) const OUTSIDE: PortIndex = PortIndex(1);
const UNLIMITED: Volume = Volume { soft_octets: u64::MAX, hard_octets: u64::MAX };

/// One of the two gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    First = 1,
    Second = 2,
}

impl Own {
    pub(crate) const fn peer(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// What both gateways agree about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Site {
    pub(crate) transform: EspTransform,
    /// Subnet pairs, each with a rule and a pair of SAs.
    pub(crate) sas: u32,
    /// Levels of ESP on every packet.
    pub(crate) levels: u8,
    /// Packets of the anti-replay windows; 0 switches the check off.
    pub(crate) window: u32,
    /// What all keys are made from.
    pub(crate) seed: u8,
}

impl Site {
    /// One SA pair with AES-128-GCM and a window of 1024 packets.
    pub(crate) const PLAIN: Self =
        Self { transform: EspTransform::AesGcm16(KeyBits::B128), sas: 1, levels: 1, window: 1024, seed: 7 };

    /// Refuses what the addresses or the frames have no room for.
    pub(crate) fn checked(self) -> Result<Self, String> {
        if self.sas == 0 || self.sas > SAS_MAX {
            return Err(format!("there are between 1 and {SAS_MAX} SAs"));
        }
        if self.levels == 0 || self.levels > LEVELS_MAX {
            return Err(format!("there are between 1 and {LEVELS_MAX} levels"));
        }
        match self.window % 64 {
            0 => Ok(self),
            _ => Err("a window has a multiple of 64 packets".to_owned()),
        }
    }

    /// Everything that makes gateway `own`.
    pub(crate) fn commands(&self, own: Own) -> Result<Vec<Command>, String> {
        let mut commands = vec![Command::Forwarding(forwarding(own)), Command::Rules(self.rules(own)?)];
        for level in 2..=self.levels {
            commands.extend(self.pair(own, level, 0)?);
        }
        let outer = (2..=self.levels).map(|level| sa_id(own, level, 0));
        for index in 0..self.sas {
            commands.extend(self.pair(own, 1, index)?);
            let stack = std::iter::once(sa_id(own, 1, index)).chain(outer.clone()).collect();
            commands.push(Command::Bind { rule: RuleId(index), stack });
        }
        Ok(commands)
    }

    fn rules(&self, own: Own) -> Result<RuleSet, String> {
        let all =
            Selector::between(AddressRange::any(false), AddressRange::any(false)).ok_or("no selector")?;
        let tunnel = (0..self.sas).map(|index| {
            Ok(TunnelRule {
                id: RuleId(index),
                name: format!("pair-{index}"),
                selector: selector(own, 1, index)?,
                peer: PeerId(0),
                gateway: IpAddr::V4(outer(own.peer())).into(),
            })
        });
        Ok(RuleSet {
            transport: vec![TransportRule {
                name: "all".to_owned(),
                selector: all,
                action: TransportAction::Permit,
            }],
            tunnel: tunnel.collect::<Result<_, String>>()?,
        })
    }

    /// The SAs of one level in both directions, as `own` knows them.
    pub(crate) fn pair(&self, own: Own, level: u8, index: u32) -> Result<[Command; 2], String> {
        let inbound = self.mirrored(self.outbound(own.peer(), level, index)?, level);
        let outbound = self.outbound(own, level, index)?;
        // Inbound first, as ever: the peer may send at once.
        Ok([Command::InstallInbound(Box::new(inbound)), Command::InstallOutbound(Box::new(outbound))])
    }

    fn outbound(&self, from: Own, level: u8, index: u32) -> Result<OutboundSa, String> {
        Ok(OutboundSa {
            id: sa_id(from, level, index),
            spi: spi(from, level, index),
            transform: self.transform,
            keys: SaKeys::from_keymat(self.transform, &self.keymat(from, level, index)).ok_or("no keys")?,
            esn: false,
            selector: selector(from, level, index)?,
            local: outer(from).into(),
            remote: outer(from.peer()).into(),
            encapsulation: Encapsulation::Raw,
            volume: UNLIMITED,
            mode: SaMode::Tunnel,
            rule: self.rule(level, index),
            lane: 0,
            sequence: 0,
        })
    }

    fn mirrored(&self, sa: OutboundSa, level: u8) -> InboundSa {
        InboundSa {
            id: SaId(sa.id.0 | INBOUND),
            spi: sa.spi,
            transform: sa.transform,
            keys: sa.keys,
            esn: sa.esn,
            window_packets: self.window,
            selector: sa.selector,
            remote: sa.local,
            local: sa.remote,
            encapsulation: sa.encapsulation,
            volume: UNLIMITED,
            mode: sa.mode,
            rule: sa.rule,
            lane: 0,
            carrier: match level == self.levels {
                true => Carrier::Network,
                false => Carrier::Rule(self.rule(level + 1, 0)),
            },
            sequence: 0,
        }
    }

    /// Outer levels have the identifiers behind those of the rules.
    fn rule(&self, level: u8, index: u32) -> RuleId {
        if level == 1 { RuleId(index) } else { RuleId(self.sas + u32::from(level)) }
    }

    /// Key material that no other SA has.
    pub(crate) fn keymat(&self, from: Own, level: u8, index: u32) -> Vec<u8> {
        let [_, high, middle, low] = index.to_be_bytes();
        let name = [self.seed, from as u8, level, high, middle, low];
        name.into_iter().cycle().take(self.transform.keymat_octets()).collect()
    }
}

const INBOUND: u64 = 1 << 63;

/// Control's name for what `from` sends in.
pub(crate) fn sa_id(from: Own, level: u8, index: u32) -> SaId {
    SaId(spi(from, level, index).0.into())
}

/// Control's name for the same SA where it is received.
pub(crate) fn inbound_id(from: Own, level: u8, index: u32) -> SaId {
    SaId(sa_id(from, level, index).0 | INBOUND)
}

/// SPIs lie as far apart as those that are drawn by lot: an odd factor permutes all numbers. The reserved ones (below 256)
/// are not among them, which a test sees to.
pub(crate) fn spi(from: Own, level: u8, index: u32) -> Spi {
    let name = (from as u32) << 28 | u32::from(level) << 24 | index;
    Spi(name.wrapping_mul(FACTOR))
}

/// Whose SPI it is: its level and its index.
pub(crate) fn of_spi(spi: Spi) -> (u8, u32) {
    let name = spi.0.wrapping_mul(INVERSE);
    ((name >> 24 & 0xf) as u8, name & 0xff_ffff)
}

const FACTOR: u32 = 0x9e37_79b1;
/// Undoes it: their product is 1.
const INVERSE: u32 = inverse(FACTOR);

/// By Newton's method: each step doubles the number of right bits, of which an odd number has three by itself.
const fn inverse(factor: u32) -> u32 {
    let (mut found, mut step) = (factor, 0);
    while step < 4 {
        found = found.wrapping_mul(2u32.wrapping_sub(factor.wrapping_mul(found)));
        step += 1;
    }
    found
}

/// What the SA of that level may carry, from its sender's side.
fn selector(from: Own, level: u8, index: u32) -> Result<Selector, String> {
    let range = |own| match level {
        1 => AddressRange::from_prefix(host(own, index, 0).into(), 24),
        _ => AddressRange::from_prefix(outer(own).into(), 32),
    };
    let both = range(from).zip(range(from.peer()));
    both.and_then(|(from, to)| Selector::between(from, to)).ok_or_else(|| "no selector".to_owned())
}

/// A host of subnet `index` behind a gateway.
pub(crate) fn host(own: Own, index: u32, number: u8) -> Ipv4Addr {
    let network = match own {
        Own::First => 32 << 24,
        Own::Second => 64 << 24,
    };
    Ipv4Addr::from(network + (index << 8) + u32::from(number))
}

pub(crate) const fn outer(own: Own) -> Ipv4Addr {
    Ipv4Addr::new(192, 0, 2, own as u8)
}

const fn inner(own: Own, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, own as u8, 0, number)
}

/// A gateway's own Ethernet address.
pub(crate) const fn mac(own: Own, port: PortIndex) -> MacAddress {
    MacAddress([2, 0, 0, 0, own as u8, port.0 as u8])
}

/// Where packets to a gateway's subnets leave to.
pub(crate) const fn router_mac(own: Own) -> MacAddress {
    MacAddress([2, 0, 0, 1, own as u8, 9])
}

fn forwarding(own: Own) -> ForwardingTable {
    let port =
        |name: &str, port, side| PortInfo { name: name.to_owned(), mac: mac(own, port), mtu: MTU, side };
    let route = |destination: Ipv4Addr, prefix_length, via: Option<Ipv4Addr>, port| Route {
        destination: destination.into(),
        prefix_length,
        via: via.map(IpAddr::V4),
        port,
    };
    let neighbour = |port, address: Ipv4Addr, mac| Neighbour { port, address: address.into(), mac };
    ForwardingTable {
        ports: vec![port("inside", INSIDE, Side::Inside), port("outside", OUTSIDE, Side::Outside)],
        local: vec![inner(own, 1).into(), outer(own).into()],
        routes: vec![
            route(inner(own, 0), 24, None, INSIDE),
            route(host(own, 0, 0), 7, Some(inner(own, 9)), INSIDE),
            route(Ipv4Addr::new(192, 0, 2, 0), 24, None, OUTSIDE),
            route(Ipv4Addr::UNSPECIFIED, 0, Some(outer(own.peer())), OUTSIDE),
        ],
        neighbours: vec![
            neighbour(INSIDE, inner(own, 9), router_mac(own)),
            neighbour(OUTSIDE, outer(own.peer()), mac(own.peer(), OUTSIDE)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spi_is_known_by_its_level_and_index_and_none_is_reserved() {
        for level in 1..=LEVELS_MAX {
            for index in (0..SAS_MAX).step_by(7) {
                for own in [Own::First, Own::Second] {
                    let spi = spi(own, level, index);
                    assert_eq!(of_spi(spi), (level, index));
                    assert!(spi.0 > 255);
                }
            }
        }
    }

    #[test]
    fn no_two_sas_have_the_same_keys() {
        let site = Site { sas: 3, levels: 3, ..Site::PLAIN };
        let mut all = Vec::new();
        for own in [Own::First, Own::Second] {
            all.extend((1..=3).flat_map(|level| (0..3).map(move |index| site.keymat(own, level, index))));
        }
        let count = all.len();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_site_that_the_addresses_have_no_room_for_is_refused() {
        for bad in [
            Site { sas: 0, ..Site::PLAIN },
            Site { sas: SAS_MAX + 1, ..Site::PLAIN },
            Site { levels: 4, ..Site::PLAIN },
            Site { window: 100, ..Site::PLAIN },
        ] {
            assert!(bad.checked().is_err(), "{bad:?}");
        }
        assert!(Site::PLAIN.checked().is_ok());
    }
}
