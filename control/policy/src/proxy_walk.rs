//! The boxes of flowcharts 3A, 3B and 3C that an intersection goes through, in words: what `dpctl intersect` shows.
//! What the walk says is taken from the same values that [`Proxy::intersection`] decides by, and a test holds the two
//! together.

use crate::proxy::{Emptiness, Field, MaskedAddress, Proxy};
use crate::selector::Protocol;
use std::fmt;

/// One flowchart, for one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// `3A`, `3B` or `3C`.
    pub figure: &'static str,
    /// `src`, `dst`, `proto`, `sport` or `dport`.
    pub field: &'static str,
    /// The boxes in the order in which they are taken, as numbered in the figures.
    pub boxes: Vec<u16>,
    /// What was compared and what came out, as a sentence.
    pub says: String,
    /// Whether the field has no value.
    pub is_empty: bool,
}

impl fmt::Display for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let boxes: Vec<_> = self.boxes.iter().map(u16::to_string).collect();
        write!(f, "figure {} {:<5} {:<27} {}", self.figure, self.field, boxes.join(" > "), self.says)
    }
}

/// The five walks of one intersection, addresses first; both proxies in the direction of travel.
#[must_use]
pub fn walk(ours: &Proxy, theirs: &Proxy) -> Vec<Walk> {
    vec![
        addresses("src", ours.source(), theirs.source()),
        addresses("dst", ours.destination(), theirs.destination()),
        protocols(ours.protocol(), theirs.protocol()),
        ports("sport", ours.source_port(), theirs.source_port()),
        ports("dport", ours.destination_port(), theirs.destination_port()),
    ]
}

/// What the walks say is empty.
#[must_use]
pub fn emptiness(walks: &[Walk]) -> Emptiness {
    let is_empty = |field| walks.iter().any(|walk| walk.field == field && walk.is_empty);
    Emptiness {
        source: is_empty("src"),
        destination: is_empty("dst"),
        protocol: is_empty("proto"),
        source_port: is_empty("sport"),
        destination_port: is_empty("dport"),
    }
}

fn protocols(ours: Protocol, theirs: Protocol) -> Walk {
    let (boxes, common) = match (ours, theirs) {
        (Protocol::Any, Protocol::Any) => (vec![302, 304], Field::Any),
        (Protocol::Any, Protocol::Is(number)) | (Protocol::Is(number), Protocol::Any) => {
            (vec![302, 306, 312], Field::Is(number))
        }
        (Protocol::Is(own), Protocol::Is(other)) if own == other => {
            (vec![302, 306, 308, 310, 312], Field::Is(own))
        }
        (Protocol::Is(_), Protocol::Is(_)) => (vec![302, 306, 308, 310, 314], Field::Empty),
    };
    let says = match common {
        Field::Any => "both say any protocol".to_owned(),
        Field::Is(number) => format!("{ours} and {theirs} have {} in common", Protocol::Is(number)),
        Field::Empty => format!("{ours} and {theirs} are different protocols: empty"),
    };
    Walk { figure: "3A", field: "proto", boxes, says, is_empty: common == Field::Empty }
}

fn addresses(field: &'static str, ours: &MaskedAddress, theirs: &MaskedAddress) -> Walk {
    let common = ours.intersection(theirs);
    let says = match &common {
        Some(common) => format!("{ours} and {theirs} are compatible: {common}"),
        None if ours.is_ipv6() != theirs.is_ipv6() => {
            format!("{ours} and {theirs} are of different families: empty")
        }
        None => format!("{ours} and {theirs} differ in a bit that both masks fix: empty"),
    };
    let boxes = if common.is_some() { vec![320, 324] } else { vec![320, 322] };
    Walk { figure: "3B", field, boxes, says, is_empty: common.is_none() }
}

fn ports(field: &'static str, ours: Option<u16>, theirs: Option<u16>) -> Walk {
    let (boxes, says, is_empty) = match (ours, theirs) {
        (None, None) => (vec![330, 332, 333], "neither names a port: any".to_owned(), false),
        (Some(port), None) | (None, Some(port)) => {
            (vec![330, 332, 336], format!("one of them names port {port}"), false)
        }
        (Some(own), Some(other)) if own == other => {
            (vec![330, 334, 336], format!("both name port {own}"), false)
        }
        (Some(own), Some(other)) => {
            (vec![330, 334, 338], format!("{own} and {other} are different ports: empty"), true)
        }
    };
    Walk { figure: "3C", field, boxes, says, is_empty }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts() -> impl Strategy<Value = String> {
        let address = || {
            prop::sample::select(vec!["10.1.0.0/16", "10.0.0.0/8", "10.1.7.0/24", "10.2.0.0/16", "0.0.0.0/0"])
        };
        let protocol = prop::sample::select(vec!["ip", "tcp", "udp"]);
        let port = || prop::sample::select(vec!["any", "80", "443"]);
        (address(), address(), protocol, port(), port()).prop_map(|(source, destination, protocol, s, d)| {
            format!("{source} {destination} {protocol} {s} {d}")
        })
    }

    proptest! {
        #[test] // TED-38 … TED-50
        fn the_walk_ends_where_the_intersection_does(ours in texts(), theirs in texts()) {
            let (ours, theirs): (Proxy, Proxy) = (ours.parse().unwrap(), theirs.parse().unwrap());
            let walked = emptiness(&walk(&ours, &theirs));
            match ours.intersection(&theirs) {
                Ok(_) => prop_assert_eq!(walked, Emptiness::default()),
                Err(emptiness) => prop_assert_eq!(walked, emptiness),
            }
        }
    }

    #[test] // TED-38, TED-39, TED-40, TED-41, TED-43, TED-44, TED-46, TED-47, TED-48, TED-49
    fn each_box_of_the_figures_is_taken() {
        let boxes = |ours: &str, theirs: &str| -> Vec<Vec<u16>> {
            walk(&ours.parse().unwrap(), &theirs.parse().unwrap())
                .into_iter()
                .map(|walk| walk.boxes)
                .collect()
        };
        assert_eq!(
            boxes("10.1.0.0/16 10.2.0.0/16 tcp any 443", "10.0.0.0/8 10.3.0.0/16 tcp 80 443"),
            [
                vec![320, 324],
                vec![320, 322],
                vec![302, 306, 308, 310, 312],
                vec![330, 332, 336],
                vec![330, 334, 336]
            ]
        );
        assert_eq!(
            boxes("10.1.0.0/16 10.2.0.0/16 udp 1 any", "10.0.0.0/8 10.2.0.0/16 tcp 2 any")[2..],
            [vec![302, 306, 308, 310, 314], vec![330, 334, 338], vec![330, 332, 333]]
        );
        assert_eq!(boxes("10.1.0.0/16 10.2.0.0/16", "10.0.0.0/8 10.2.0.0/16")[2], [302, 304]);
        assert_eq!(boxes("10.1.0.0/16 10.2.0.0/16", "10.0.0.0/8 10.2.0.0/16 tcp")[2], [302, 306, 312]);
    }
}
