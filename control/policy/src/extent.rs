//! How one selector lies to another: the same, a part of it, or neither.
//!
//! IKE decides with it what a peer may ask for. The arithmetic is that of discovery ([`Proxy::intersection`]), so that what
//! one side works out by discovery is what the other accepts in quick mode (REQUIREMENTS TED-56, TED-58).

use crate::proxy::Proxy;
use crate::selector::Selector;
use crate::stack_loops::overlap_but_destination;

/// How a selector lies to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// Both are the same traffic.
    Same,
    /// All of its traffic is the other's too, and the other has more.
    Part,
    /// Some of its traffic is not the other's, or nobody can say.
    Beyond,
}

impl Selector {
    /// How this selector lies to `whole`, both in the same direction. Of selectors that mask form cannot say, ranges
    /// that are no prefix and ranges of ports (REQUIREMENTS Q-10), only the same one is known to lie inside.
    #[must_use]
    pub fn extent_in(&self, whole: &Self) -> Extent {
        if self == whole {
            return Extent::Same;
        }
        match (Proxy::from_selector(self), Proxy::from_selector(whole)) {
            (Some(part), Some(whole)) if part.intersection(&whole) == Ok(part) => Extent::Part,
            _ => Extent::Beyond,
        }
    }

    /// Whether some packet is traffic of both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.destination.overlaps(&other.destination) && overlap_but_destination(self, other)
    }

    /// Whether all of this traffic is `whole`'s too; see [`extent_in`](Self::extent_in).
    #[must_use]
    pub fn is_part_of(&self, whole: &Self) -> bool {
        self.extent_in(whole) != Extent::Beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::selector::{AddressRange, FiveTuple, PortRange, Protocol};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    fn selector(text: &str) -> Selector {
        text.parse::<Proxy>().unwrap().selector().unwrap()
    }

    #[test] // TED-39, TED-44, TED-48, TED-58
    fn a_part_is_smaller_in_some_field_and_larger_in_none() {
        use Extent::{Beyond, Part, Same};
        for (part, whole, expected) in [
            ("10.2.0.0/16 10.1.0.0/16", "10.2.0.0/16 10.1.0.0/16", Same),
            ("10.2.5.0/24 10.1.0.0/16", "10.2.0.0/16 0.0.0.0/0", Part),
            ("10.2.0.0/16 10.1.0.0/16 tcp", "10.2.0.0/16 10.1.0.0/16", Part),
            ("10.2.0.0/16 10.1.0.0/16 tcp 443 any", "10.2.0.0/16 10.1.0.0/16 tcp", Part),
            ("10.2.0.0/16 10.1.0.0/16 tcp 443 any", "10.2.0.0/16 10.1.0.0/16 ip 443", Part),
            ("10.2.0.0/15 10.1.0.0/16", "10.2.0.0/16 10.1.0.0/16", Beyond),
            ("10.2.5.0/24 10.0.0.0/8", "10.2.0.0/16 10.1.0.0/16", Beyond),
            ("10.2.5.0/24 10.9.0.0/16", "10.2.0.0/16 10.1.0.0/16", Beyond),
            ("10.2.0.0/16 10.1.0.0/16", "10.2.0.0/16 10.1.0.0/16 tcp", Beyond),
            ("10.2.0.0/16 10.1.0.0/16 udp", "10.2.0.0/16 10.1.0.0/16 tcp", Beyond),
            ("10.2.0.0/16 10.1.0.0/16 tcp", "10.2.0.0/16 10.1.0.0/16 tcp 443 any", Beyond),
            ("10.2.0.0/16 10.1.0.0/16 tcp any 443", "10.2.0.0/16 10.1.0.0/16 tcp 443 any", Beyond),
            ("2001:db8::/64 2001:db8:1::/64", "::/0 ::/0", Part),
            ("10.2.0.0/16 10.1.0.0/16", "::/0 ::/0", Beyond),
        ] {
            assert_eq!(selector(part).extent_in(&selector(whole)), expected, "{part} in {whole}");
            assert_eq!(selector(part).is_part_of(&selector(whole)), expected != Beyond, "{part} in {whole}");
        }
    }

    #[test]
    fn a_range_is_the_same_as_itself_and_a_part_of_nothing() {
        let whole = selector("10.2.0.0/16 10.1.0.0/16");
        let addresses = AddressRange::new([10, 2, 0, 3].into(), [10, 2, 0, 9].into()).unwrap();
        let range = Selector { source: addresses, ..whole };
        let ports = Selector { destination_port: PortRange::new(1, 1023).unwrap(), ..whole };
        for odd in [range, ports] {
            assert_eq!(odd.extent_in(&odd), Extent::Same);
            assert_eq!(odd.extent_in(&whole), Extent::Beyond);
            assert_eq!(whole.extent_in(&odd), Extent::Beyond);
        }
    }

    fn prefixes() -> impl Strategy<Value = AddressRange> {
        // Few different bits, so that one often lies in another.
        (0u32..4, prop::sample::select(vec![0u8, 8, 16, 30, 31, 32])).prop_map(|(bits, length)| {
            AddressRange::from_prefix(Ipv4Addr::from_bits(0x0a00_0000 | bits).into(), length).unwrap()
        })
    }

    fn selectors() -> impl Strategy<Value = Selector> {
        let protocol = prop::sample::select(vec![Protocol::Any, Protocol::Is(6), Protocol::Is(17)]);
        let port = || prop::sample::select(vec![PortRange::ANY, PortRange::new(443, 443).unwrap()]);
        (prefixes(), prefixes(), protocol, port(), port()).prop_map(|(s, d, protocol, sp, dp)| Selector {
            protocol,
            source_port: sp,
            destination_port: dp,
            ..Selector::between(s, d).unwrap()
        })
    }

    fn packets() -> impl Strategy<Value = FiveTuple> {
        let address = || (0u32..4).prop_map(|bits| Ipv4Addr::from_bits(0x0a00_0000 | bits).into());
        let port = || prop::sample::select(vec![None, Some(80u16), Some(443)]);
        (address(), address(), prop::sample::select(vec![6u8, 17, 1]), port(), port()).prop_map(
            |(source, destination, protocol, source_port, destination_port)| FiveTuple {
                source,
                destination,
                protocol,
                source_port,
                destination_port,
            },
        )
    }

    /// Field by field, without any algebra.
    fn contains(whole: &Selector, part: &Selector) -> bool {
        let ports = |whole: &PortRange, part: &PortRange| {
            whole.first() <= part.first() && part.last() <= whole.last()
        };
        whole.source.contains_range(&part.source)
            && whole.destination.contains_range(&part.destination)
            && (whole.protocol == Protocol::Any || whole.protocol == part.protocol)
            && ports(&whole.source_port, &part.source_port)
            && ports(&whole.destination_port, &part.destination_port)
    }

    proptest! {
        #[test] // TED-51, TED-58
        fn a_part_is_what_a_comparison_field_by_field_says(part in selectors(), whole in selectors()) {
            prop_assert_eq!(part.is_part_of(&whole), contains(&whole, &part));
            prop_assert_eq!(part.extent_in(&whole) == Extent::Same, part == whole);
            prop_assert_eq!(part.mirrored().extent_in(&whole.mirrored()), part.extent_in(&whole));
        }

        #[test] // TED-57, TED-58
        fn no_packet_of_a_part_is_outside_of_the_whole(part in selectors(), whole in selectors(), packet in packets()) {
            if part.is_part_of(&whole) && part.contains(&packet) {
                prop_assert!(whole.contains(&packet));
            }
        }
    }
}
