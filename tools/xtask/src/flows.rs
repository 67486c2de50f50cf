//! Who speaks with whom on which wire: what a capture comes to where every hop has to show something else.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::capture::unix_seconds;
use crate::frame::{Kind, ends};
use crate::limits;

/// Frames of one kind from one address to another that entered a wire by one port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    /// The port of the wire.
    pub interface: String,
    /// What they are.
    pub kind: Kind,
    /// Source and destination of the outermost IP header.
    pub ends: [IpAddr; 2],
    /// How many.
    pub frames: u64,
    /// The first one's number among all frames that the listener heard, on whichever wire: earlier ones have smaller numbers.
    pub first: u64,
    /// The last one's.
    pub last: u64,
    /// When the first was heard, in seconds since 1970.
    pub first_s: f64,
    /// When the last was heard.
    pub last_s: f64,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Flows {
    /// In the order in which they began.
    pub rows: Vec<Flow>,
    /// Frames of flows beyond [`limits::FLOWS_KEPT`]: a verdict on what was seen does not cover them.
    pub uncounted: u64,
}

impl Flows {
    /// Counts a frame; `number` is its place among all frames. Neighbours that look for each other, and what is no IP, belong
    /// to nobody.
    pub(crate) fn count(&mut self, interface: &str, kind: Kind, frame: &[u8], number: u64) {
        let Some(ends) = ends(frame).filter(|_| kind != Kind::Neighbour) else { return };
        let now_s = unix_seconds();
        let same = |flow: &&mut Flow| flow.kind == kind && flow.ends == ends && flow.interface == interface;
        if let Some(flow) = self.rows.iter_mut().find(same) {
            flow.frames += 1;
            (flow.last, flow.last_s) = (number, now_s);
        } else if self.rows.len() < limits::FLOWS_KEPT {
            self.rows.push(Flow {
                interface: interface.to_owned(),
                kind,
                ends,
                frames: 1,
                first: number,
                last: number,
                first_s: now_s,
                last_s: now_s,
            });
        } else {
            self.uncounted += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
        let mut frame = vec![0; 12];
        frame.extend([8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, 50, 0, 0]);
        frame.extend(from);
        frame.extend(to);
        frame
    }

    #[test]
    fn flows_differ_by_wire_kind_and_direction_and_keep_the_order_of_their_frames() {
        let (forth, back) =
            (frame([192, 0, 2, 1], [192, 0, 2, 254]), frame([192, 0, 2, 254], [192, 0, 2, 1]));
        let mut flows = Flows::default();
        flows.count("a", Kind::Ike, &forth, 1);
        flows.count("b", Kind::Esp, &back, 2);
        flows.count("a", Kind::Esp, &forth, 3);
        flows.count("a", Kind::Ike, &forth, 4);
        flows.count("a", Kind::Neighbour, &forth, 5);
        flows.count("a", Kind::Other, &forth[..20], 6);
        let seen: Vec<_> = flows
            .rows
            .iter()
            .map(|flow| (flow.interface.as_str(), flow.kind, flow.first, flow.last))
            .collect();
        assert_eq!(seen, [("a", Kind::Ike, 1, 4), ("b", Kind::Esp, 2, 2), ("a", Kind::Esp, 3, 3)]);
        assert_eq!(flows.rows[1].ends.map(|end| end.to_string()), ["192.0.2.254", "192.0.2.1"]);
        assert_eq!(flows.rows[0].frames, 2);
    }

    #[test]
    fn more_flows_than_are_kept_are_noticed() {
        let mut flows = Flows::default();
        for number in 0..=limits::FLOWS_KEPT {
            let to = (number as u16).to_be_bytes();
            flows.count("a", Kind::Esp, &frame([192, 0, 2, 1], [198, 51, to[0], to[1]]), number as u64);
        }
        assert_eq!((flows.rows.len(), flows.uncounted), (limits::FLOWS_KEPT, 1));
    }
}
