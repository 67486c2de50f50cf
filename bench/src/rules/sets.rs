//! Sets of rules and packets: read from files, and made here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use warren_engine::spd::NO_RULE;
use warren_policy::{AddressRange, FiveTuple, PortRange, Protocol, Selector};

/// The sets that DPDK's ACL library was measured with, and its cycles for a lookup (PEERS.md, "Rule matching").
const TRACED: [(&str, f64); 4] =
    [("acl1_1k", 57.0), ("acl1_10k", 69.0), ("fw1_1k", 100.0), ("ipc1_1k", 64.0)];
/// Rules of the sets that are made here, and whether they are of IPv6.
const MADE: [(u32, bool); 6] =
    [(10, false), (100, false), (1_000, false), (10_000, false), (10_000, true), (100_000, false)];
/// Packets of a set that is made here.
const PACKETS: usize = 10_000;
/// In a quick run, sets are not larger.
const QUICK_MAX: u32 = 10_000;

/// Rules, packets, and which rule each of them must find.
pub(super) struct Set {
    pub(super) name: String,
    pub(super) rules: Vec<Selector>,
    pub(super) packets: Vec<FiveTuple>,
    pub(super) expected: Vec<u32>,
    /// What a lookup is meant to cost at most.
    pub(super) bound: Option<f64>,
}

/// All sets.
pub(super) fn all(policies: &Path, quick: bool) -> Result<Vec<Set>, String> {
    let mut sets =
        TRACED.iter().map(|&(name, bound)| traced(policies, name, bound)).collect::<Result<Vec<_>, _>>()?;
    let some = MADE.iter().filter(|(count, _)| !quick || *count <= QUICK_MAX);
    sets.extend(some.map(|&(count, ipv6)| made(count, ipv6)));
    Ok(sets)
}

/// What a search from the first rule on finds.
pub(super) fn scan(rules: &[Selector], packet: &FiveTuple) -> u32 {
    rules.iter().position(|rule| rule.contains(packet)).map_or(NO_RULE, |at| at as u32)
}

fn traced(folder: &Path, name: &str, bound: f64) -> Result<Set, String> {
    let text = |end: &str| {
        let path = folder.join(format!("{name}{end}"));
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let unread = |line: &str| format!("{name}: {line}");
    let rules: Result<Vec<_>, _> =
        text(".rules")?.lines().map(|line| rule(line).ok_or_else(|| unread(line))).collect();
    let trace = text(".trace.tsv")?;
    let rows: Result<Vec<_>, _> = trace
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| row(line).ok_or_else(|| unread(line)))
        .collect();
    let (packets, expected) = rows?.into_iter().unzip();
    Ok(Set { name: name.to_owned(), rules: rules?, packets, expected, bound: Some(bound) })
}

/// The first nine columns of a ClassBench rule; the flags behind them are no business of ours.
fn rule(line: &str) -> Option<Selector> {
    let mut fields = line.strip_prefix('@')?.split('\t');
    let mut network = || {
        let (address, length) = fields.next()?.split_once('/')?;
        AddressRange::from_prefix(address.parse().ok()?, length.parse().ok()?)
    };
    let (source, destination) = (network()?, network()?);
    let mut ports = || {
        let (first, last) = fields.next()?.split_once(" : ")?;
        PortRange::new(first.parse().ok()?, last.parse().ok()?)
    };
    let (source_port, destination_port) = (ports()?, ports()?);
    let protocol = match fields.next()?.split_once('/')? {
        (_, "0x00") => Protocol::Any,
        (number, "0xFF") => Protocol::Is(u8::from_str_radix(number.strip_prefix("0x")?, 16).ok()?),
        _ => return None,
    };
    Some(Selector { source, destination, protocol, source_port, destination_port })
}

fn row(line: &str) -> Option<(FiveTuple, u32)> {
    let mut fields = line.split('\t');
    let mut next = || fields.next();
    let packet = FiveTuple {
        source: next()?.parse().ok()?,
        destination: next()?.parse().ok()?,
        source_port: Some(next()?.parse().ok()?),
        destination_port: Some(next()?.parse().ok()?),
        protocol: next()?.parse().ok()?,
    };
    let rule: i64 = next()?.parse().ok()?;
    Some((packet, if rule < 0 { NO_RULE } else { u32::try_from(rule).ok()? }))
}

/// A set of rules as a company with branches has them, always the same for the same size: between networks of some sites,
/// to some services, and last a few about everywhere.
pub(super) fn made(count: u32, ipv6: bool) -> Set {
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15 ^ u64::from(count));
    let mut rules: Vec<_> = (0..count).map(|_| draw.rule(count, ipv6)).collect();
    let any = AddressRange::any(ipv6);
    rules.sort_by_key(|rule| u8::from(rule.source == any) + u8::from(rule.destination == any));
    let packets: Vec<_> = (0..PACKETS)
        .map(|_| {
            let of = rules[draw.below(u64::from(count)) as usize];
            draw.packet(&of)
        })
        .collect();
    let expected = packets.iter().map(|packet| scan(&rules, packet)).collect();
    let family = if ipv6 { "made, IPv6" } else { "made" };
    Set { name: family.to_owned(), rules, packets, expected, bound: None }
}

/// xorshift64*: the same sets in every run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 16) % end
    }

    fn rule(&mut self, count: u32, ipv6: bool) -> Selector {
        // Sites grow with the set, so that rules stay as close to each other as they are.
        let sites = u64::from(count / 16 + 4);
        let service = match self.below(8) {
            0 | 1 => (0, u16::MAX),
            2 => (1024, u16::MAX),
            3 => {
                let first = self.below(60_000) as u16;
                (first, first + 99)
            }
            _ => {
                let known = [22, 25, 53, 80, 123, 443, 1433, 1521, 5060, 8080];
                let port = known[self.below(known.len() as u64) as usize];
                (port, port)
            }
        };
        Selector {
            source: self.network(sites, ipv6),
            destination: self.network(sites, ipv6),
            protocol: [Protocol::Is(6), Protocol::Is(6), Protocol::Is(17), Protocol::Any]
                [self.below(4) as usize],
            source_port: PortRange::ANY,
            destination_port: PortRange::new(service.0, service.1).unwrap_or(PortRange::ANY),
        }
    }

    fn network(&mut self, sites: u64, ipv6: bool) -> AddressRange {
        let site = self.below(sites) as u32;
        let host = self.next() as u32 & 0xffff;
        let length = [16, 20, 24, 24, 28, 32, 32, 32][self.below(8) as usize];
        if self.below(25) == 0 {
            return AddressRange::any(ipv6);
        }
        // Sites lie all over the address space.
        let v4 = site.wrapping_mul(0x9e37) << 16 | host;
        let (address, length): (IpAddr, u8) = if ipv6 {
            let prefix = 0x2001_0db8_u128 << 96 | u128::from(v4) << 64;
            let interface = u128::from(host) * 0x0101;
            (Ipv6Addr::from(prefix | interface).into(), if length == 32 { 128 } else { 32 + length })
        } else {
            (Ipv4Addr::from(v4).into(), length)
        };
        AddressRange::from_prefix(address, length).unwrap_or(AddressRange::any(ipv6))
    }

    /// Some packet that the rule matches.
    fn packet(&mut self, rule: &Selector) -> FiveTuple {
        let ports = |draw: &mut Self, range: PortRange| {
            let span = u64::from(range.last() - range.first()) + 1;
            Some(range.first() + draw.below(span) as u16)
        };
        FiveTuple {
            source: self.address(rule.source),
            destination: self.address(rule.destination),
            protocol: match rule.protocol {
                Protocol::Is(number) => number,
                Protocol::Any => 6,
            },
            source_port: ports(self, rule.source_port),
            destination_port: ports(self, rule.destination_port),
        }
    }

    fn address(&mut self, range: AddressRange) -> IpAddr {
        let some = u128::from(self.next()) << 64 | u128::from(self.next());
        match (range.first(), range.last()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let span = u128::from(u32::from(last) - u32::from(first)) + 1;
                Ipv4Addr::from(u32::from(first) + (some % span) as u32).into()
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let mask = u128::from(last) - u128::from(first);
                // A prefix: the bits behind it are free.
                Ipv6Addr::from(u128::from(first) | some & mask).into()
            }
            (first, _) => first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_sets_are_the_same_each_time_and_their_packets_find_late_rules_too() {
        for (count, ipv6) in [(10, false), (1_000, false), (1_000, true)] {
            let (one, other) = (made(count, ipv6), made(count, ipv6));
            assert!(one.rules == other.rules && one.packets == other.packets);
            let late = one.expected.iter().filter(|&&rule| rule >= count / 2 && rule != NO_RULE).count();
            assert!(late > PACKETS / 10, "{late} of {count}");
        }
    }

    #[test]
    fn lines_of_both_files_are_read() {
        let read = rule("@10.1.2.3/24\t0.0.0.0/0\t0 : 65535\t80 : 90\t0x06/0xFF\t0x0000/0x0200\t").unwrap();
        assert_eq!(read.to_string(), "10.1.2.0/24 -> 0.0.0.0/0 tcp port any -> 80-90");
        assert_eq!(rule("@10.1.2.3/24\t0.0.0.0/0\t0 : 65535\t80 : 90\t0x06/0x0F\t"), None);
        assert_eq!(row("10.1.2.3\t10.0.0.1\t5\t80\t6\t-1").map(|(_, rule)| rule), Some(NO_RULE));
        assert_eq!(row("10.1.2.3\t10.0.0.1\t5\t80\t6\t17").map(|(_, rule)| rule), Some(17));
        assert!(row("10.1.2.3\t10.0.0.1\t5\t80\t6").is_none());
    }
}
