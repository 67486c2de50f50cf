//! Which flows there are: as many different 5-tuples as were asked for, spread over all addresses and ports.

use std::net::IpAddr;

use crate::address::{AddressSet, PortRange};
use crate::limits::FLOWS_MAX;

/// The addresses and ports of a UDP flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// Where its packets come from.
    pub source: IpAddr,
    /// Where they go to; of the same family.
    pub destination: IpAddr,
    /// UDP source port.
    pub source_port: u16,
    /// UDP destination port.
    pub destination_port: u16,
}

/// What flows are made of.
#[derive(Debug, Clone)]
pub struct Endpoints {
    /// Source addresses.
    pub from: AddressSet,
    /// Destination addresses.
    pub to: AddressSet,
    /// Source ports.
    pub source_ports: PortRange,
    /// Destination ports.
    pub destination_ports: PortRange,
}

/// Why there are no such flows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// Addresses of two families.
    #[error("sources and destinations are of different families")]
    Family,
    /// None, or more than we keep.
    #[error("between 1 and {FLOWS_MAX} flows can be had")]
    Count,
    /// Not that many 5-tuples.
    #[error("the addresses and ports make {0} different flows, not {1}; give larger ranges")]
    TooFew(u128, u32),
    /// No address at all.
    #[error("no destination is left {0} the rules' prefixes")]
    NoDestination(&'static str),
}

impl Endpoints {
    /// `count` different flows. Neighbours differ in everything that has room to differ: destinations first, so that few flows
    /// reach as many of them as possible.
    ///
    /// # Errors
    /// When there are not that many.
    pub fn flows(&self, count: u32) -> Result<Vec<Tuple>, FlowError> {
        if self.from.is_ipv6() != self.to.is_ipv6() {
            return Err(FlowError::Family);
        }
        if count == 0 || count > FLOWS_MAX {
            return Err(FlowError::Count);
        }
        let sizes =
            [self.to.count(), self.from.count(), self.destination_ports.count(), self.source_ports.count()];
        // At most 2^32 · 2^32 · 2^16 · 2^16.
        let total: u128 = sizes.iter().product();
        if total < u128::from(count) {
            return Err(FlowError::TooFew(total, count));
        }
        let step = stride(total);
        let flow = |index: u32| {
            let mut place = u128::from(index) * step % total;
            let digits = sizes.map(|size| {
                let digit = place % size;
                place /= size;
                digit
            });
            Some(Tuple {
                destination: self.to.nth(digits[0])?,
                source: self.from.nth(digits[1])?,
                destination_port: self.destination_ports.nth(digits[2]),
                source_port: self.source_ports.nth(digits[3]),
            })
        };
        Ok((0..count).filter_map(flow).collect())
    }
}

/// A step that meets every place once before it meets one again, near the golden section of the whole, so that the first few
/// places are far apart.
fn stride(total: u128) -> u128 {
    let mut step = (total * 618 / 1000).max(1);
    while gcd(step, total) != 1 {
        step += 1;
    }
    step
}

fn gcd(one: u128, other: u128) -> u128 {
    if other == 0 { one } else { gcd(other, one % other) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn endpoints(from: &str, to: &str, source_ports: &str, destination_ports: &str) -> Endpoints {
        Endpoints {
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            source_ports: source_ports.parse().unwrap(),
            destination_ports: destination_ports.parse().unwrap(),
        }
    }

    #[test]
    fn few_flows_reach_many_destinations() {
        let flows = endpoints("10.1.0.1", "10.2.0.0/24", "1024-65535", "9").flows(256).unwrap();
        let destinations: HashSet<_> = flows.iter().map(|flow| flow.destination).collect();
        assert_eq!(destinations.len(), 256);
        let ports: HashSet<_> = flows.iter().map(|flow| flow.source_port).collect();
        assert!(ports.len() > 200, "{}", ports.len());
    }

    #[test]
    fn flows_that_cannot_be_are_refused() {
        let small = endpoints("10.1.0.1", "10.2.0.0/30", "1", "9-10");
        assert_eq!(small.flows(9), Err(FlowError::TooFew(8, 9)));
        assert_eq!(small.flows(8).unwrap().len(), 8);
        assert_eq!(small.flows(0), Err(FlowError::Count));
        assert_eq!(small.flows(FLOWS_MAX + 1), Err(FlowError::Count));
        assert_eq!(endpoints("10.1.0.1", "2001:db8::1", "1", "1").flows(1), Err(FlowError::Family));
    }

    #[test]
    fn the_largest_ranges_do_not_overflow() {
        let all = endpoints("::/0", "::/0", "0-65535", "0-65535").flows(5000).unwrap();
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 5000);
    }

    proptest! {
        #[test]
        fn no_flow_comes_twice_and_all_can_be_had(from in 1u8..12, to in 1u8..40, low in 1u16..9, high in 1u16..9) {
            let made = endpoints(
                &format!("10.1.0.1-10.1.0.{from}"), &format!("10.2.0.1-10.2.0.{to}"),
                &format!("1-{low}"), &format!("1-{high}"),
            );
            let total = u32::from(from) * u32::from(to) * u32::from(low) * u32::from(high);
            let flows = made.flows(total).unwrap();
            prop_assert_eq!(flows.len() as u32, total);
            prop_assert_eq!(flows.iter().collect::<HashSet<_>>().len() as u32, total);
            prop_assert!(flows.iter().all(|flow| made.to.contains(flow.destination) && made.from.contains(flow.source)));
        }
    }
}
