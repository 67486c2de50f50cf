//! What each hop of a row of gateways may show, and in which order it came to show it, judged from the flows that a listener
//! counted.

use std::net::IpAddr;

use crate::chain::{HOPS, Outer, RECEIVER, SENDER_INSIDE, SOURCE};
use crate::flows::{Flow, Flows};
use crate::frame::Kind;

/// What two ends say to each other on a hop, both ways.
pub struct Talk {
    /// What it is, in words.
    pub what: &'static str,
    /// The kinds of its frames.
    pub kinds: &'static [Kind],
    /// Who speaks, the sender's side first.
    pub ends: [IpAddr; 2],
}

/// ESP in either wrapping.
const ESP: &[Kind] = &[Kind::Esp, Kind::UdpEsp];
/// IKE and what keeps its way open.
const IKE: &[Kind] = &[Kind::Ike, Kind::Keepalive];
/// On an open wire: ping and TCP, as their hosts sent them.
const CLEAR: &[Kind] = &[Kind::Icmp, Kind::Other];

/// The names of both ends of each hop.
const NAMES: [&str; 4] = ["G ── SG1", "SG1 ── SG2", "SG2 ── SG3", "SG3 ── B"];

/// All that may be seen on a hop of the row, and must be; the nearest has number 0.
fn talks(number: usize, outer: &Outer) -> Vec<Talk> {
    match outer.gateways.get(number) {
        Some(gateway) => Talk::protected([outer.sender, *gateway]).into(),
        None => {
            let clear = Talk { what: "in clear", kinds: CLEAR, ends: [SOURCE, RECEIVER] };
            [clear].into_iter().chain(Talk::protected([SENDER_INSIDE, RECEIVER])).collect()
        }
    }
}

impl Talk {
    /// What two ends of a tunnel, or of a transport mode SA, say to each other.
    pub const fn protected(ends: [IpAddr; 2]) -> [Self; 2] {
        [Self { what: "ESP", kinds: ESP, ends }, Self { what: "IKE", kinds: IKE, ends }]
    }

    /// Whether the flow is one of its two directions; then which: 0 away from the sender.
    fn direction(&self, flow: &Flow) -> Option<usize> {
        let [from, to] = self.ends;
        let found = [[from, to], [to, from]].iter().position(|ends| *ends == flow.ends)?;
        self.kinds.contains(&flow.kind).then_some(found)
    }
}

/// One line for each hop of the row about what was seen there, and what is wrong with it.
pub(crate) fn layers(flows: &Flows, outer: &Outer) -> (Vec<String>, Vec<String>) {
    let mut lines = Vec::new();
    let mut complaints = complete(flows).err().into_iter().collect::<Vec<_>>();
    for (number, ports) in HOPS.into_iter().enumerate() {
        let (line, wrong) = hop(flows, NAMES[number], ports, &talks(number, outer));
        lines.push(line);
        complaints.extend(wrong);
    }
    (lines, complaints)
}

/// Whether all that was heard was counted.
///
/// # Errors
/// A sentence.
pub fn complete(flows: &Flows) -> Result<(), String> {
    match flows.uncounted {
        0 => Ok(()),
        more => Err(format!("{more} frames belong to flows beyond those that are counted")),
    }
}

/// One line about what was seen on a hop, and what is wrong with it: a talk that is missing or goes the wrong way, and
/// whatever is none of them. By the first port comes what goes away from the sender.
pub fn hop(flows: &Flows, name: &str, ports: [&str; 2], talks: &[Talk]) -> (String, Vec<String>) {
    let (mut said, mut complaints) = (Vec::new(), Vec::new());
    let here = || flows.rows.iter().filter(|flow| ports.contains(&flow.interface.as_str()));
    for talk in talks {
        let mut frames = [0, 0];
        for flow in here() {
            match talk.direction(flow) {
                Some(way) if flow.interface == ports[way] => frames[way] += flow.frames,
                Some(_) => complaints.push(format!("{name}: the wrong way round: {}", describe(flow))),
                None => {}
            }
        }
        let [near, far] = talk.ends;
        said.push(format!("{} {near} -> {far} {}, back {}", talk.what, frames[0], frames[1]));
        if frames.contains(&0) {
            complaints.push(format!("{name}: {} between {near} and {far} was not seen both ways", talk.what));
        }
    }
    let strangers = here().filter(|flow| talks.iter().all(|talk| talk.direction(flow).is_none()));
    complaints.extend(strangers.map(|flow| format!("{name}: {} does not belong there", describe(flow))));
    (format!("{name}: {}", said.join("; ")), complaints)
}

/// One line about a flow.
pub fn describe(flow: &Flow) -> String {
    let [from, to] = flow.ends;
    let (kind, frames, first, last) = (flow.kind, flow.frames, flow.first, flow.last);
    format!(
        "{kind:?} from {from} to {to}, {frames} frames by {}, the first {first}, the last {last}",
        flow.interface
    )
}

/// The flow of that kind by which the sender speaks to the one at the end of a hop.
fn forth<'a>(flows: &'a Flows, outer: &Outer, number: usize, kinds: &[Kind]) -> Option<&'a Flow> {
    let to = outer.gateways.get(number).copied().unwrap_or(RECEIVER);
    flows
        .rows
        .iter()
        .find(|flow| flow.interface == HOPS[number][0] && flow.ends[1] == to && kinds.contains(&flow.kind))
}

/// IKE messages that the sender sent to the nearest gateway.
pub(crate) fn said_to_nearest(flows: &Flows, outer: &Outer) -> u64 {
    forth(flows, outer, 0, IKE).map_or(0, |flow| flow.frames)
}

/// Whether the levels were built one after the other, the nearest first: nothing is said to a gateway before the tunnel that
/// leads to it is there, which on the wire before it shows as the first ESP.
pub(crate) fn built_in_order(flows: &Flows, outer: &Outer, levels: usize) -> Result<String, String> {
    let mut before = 0;
    let mut steps = Vec::new();
    for (number, name) in NAMES.iter().enumerate().take(levels) {
        let ike = forth(flows, outer, number, IKE).ok_or_else(|| format!("{name}: no IKE was seen"))?;
        if ike.first < before {
            return Err(format!("{name}: IKE was seen before the tunnel that leads there was there"));
        }
        steps.push(format!("{name} IKE frame {}", ike.first));
        before = ike.first;
        // The innermost level may be one of transport mode, whose hop shows no further one.
        if let Some(esp) = forth(flows, outer, number, ESP) {
            if esp.first < ike.first {
                return Err(format!("{name}: ESP was seen before IKE"));
            }
            steps.push(format!("ESP frame {}", esp.first));
            before = esp.first;
        } else if number + 1 < levels {
            return Err(format!("{name}: no ESP was seen"));
        }
    }
    Ok(steps.join(", "))
}

/// Whether the levels around the lost one were taken away from the inside out: the last that is said on each hop is the farewell
/// to its gateway, and the farewell to the one behind it, which passes there inside ESP, is before that. (When that one comes
/// out on its own hop is up to the gateway in between.)
pub(crate) fn torn_down_in_order(flows: &Flows, outer: &Outer, levels: usize) -> Result<String, String> {
    let mut steps = Vec::new();
    for number in (0..levels).rev() {
        let name = NAMES[number];
        let ike = forth(flows, outer, number, IKE).ok_or_else(|| format!("{name}: no IKE was seen"))?;
        let esp = forth(flows, outer, number, ESP).ok_or_else(|| format!("{name}: no ESP was seen"))?;
        if ike.last < esp.last {
            return Err(format!("{name}: ESP was seen after the farewell to its gateway"));
        }
        steps.push(format!("{name} last ESP frame {}, last IKE frame {}", esp.last, ike.last));
    }
    Ok(steps.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{GATEWAYS, OUTER_V4, SENDER};

    fn flow(hop: usize, back: bool, kind: Kind, ends: [IpAddr; 2], numbers: (u64, u64)) -> Flow {
        let ends = if back { [ends[1], ends[0]] } else { ends };
        Flow {
            interface: HOPS[hop][usize::from(back)].into(),
            kind,
            ends,
            frames: 7,
            first: numbers.0,
            last: numbers.1,
            first_s: 0.0,
            last_s: 0.0,
        }
    }

    /// A whole scene: built from number 10 on, a hop every ten frames, and taken down again.
    fn good() -> Flows {
        let mut rows = Vec::new();
        for (hop, gateway) in GATEWAYS.into_iter().enumerate() {
            let (number, last) = (hop as u64 * 10, 100 - hop as u64 * 10);
            for back in [false, true] {
                let ends = [SENDER, gateway];
                rows.push(flow(hop, back, Kind::Ike, ends, (number + 1, last + 2)));
                rows.push(flow(hop, back, Kind::Esp, ends, (number + 5, last + 1)));
            }
        }
        for back in [false, true] {
            rows.push(flow(3, back, Kind::Icmp, [SOURCE, RECEIVER], (40, 50)));
            rows.push(flow(3, back, Kind::Esp, [SENDER_INSIDE, RECEIVER], (42, 50)));
            rows.push(flow(3, back, Kind::Ike, [SENDER_INSIDE, RECEIVER], (41, 50)));
        }
        Flows { rows, uncounted: 0 }
    }

    #[test] // NT-22, NT-23
    fn each_hop_shows_its_own_layer_and_a_stranger_or_a_missing_one_is_noticed() {
        let (lines, complaints) = layers(&good(), &OUTER_V4);
        assert!(complaints.is_empty(), "{complaints:?}");
        assert!(lines[1].contains("ESP 192.0.2.1 -> 198.51.100.2 7, back 7"), "{lines:?}");
        for missing in 0..good().rows.len() {
            let mut flows = good();
            flows.rows.remove(missing);
            assert_eq!(layers(&flows, &OUTER_V4).1.len(), 1, "{missing}");
        }
        let strangers = [
            flow(0, false, Kind::Ike, [SENDER, GATEWAYS[1]], (1, 1)),
            flow(1, false, Kind::Esp, [SENDER, GATEWAYS[2]], (1, 1)),
            flow(2, false, Kind::Icmp, [SOURCE, RECEIVER], (1, 1)),
            flow(2, true, Kind::Icmp, [SENDER, GATEWAYS[2]], (1, 1)),
            flow(3, false, Kind::Icmp, [SENDER_INSIDE, RECEIVER], (1, 1)),
        ];
        for stranger in strangers {
            let mut flows = good();
            flows.rows.push(stranger);
            assert_eq!(layers(&flows, &OUTER_V4).1.len(), 1, "{:?}", flows.rows.last());
        }
        assert_eq!(layers(&Flows { uncounted: 1, ..good() }, &OUTER_V4).1.len(), 1);
    }

    #[test] // NT-11, NT-13
    fn levels_that_are_built_in_another_order_are_noticed() {
        assert!(built_in_order(&good(), &OUTER_V4, 4).is_ok());
        for (hop, kind, first) in
            [(1, Kind::Ike, 4), (2, Kind::Ike, 14), (0, Kind::Esp, 0), (1, Kind::Esp, 30)]
        {
            let mut flows = good();
            let port = HOPS[hop][0];
            let flow = flows.rows.iter_mut().find(|flow| flow.interface == port && flow.kind == kind);
            flow.unwrap().first = first;
            assert!(built_in_order(&flows, &OUTER_V4, 4).is_err(), "{hop} {kind:?}");
        }
        let mut flows = good();
        flows.rows.retain(|flow| flow.interface != HOPS[1][0] || flow.kind != Kind::Esp);
        assert!(built_in_order(&flows, &OUTER_V4, 4).is_err());
    }

    #[test] // NT-16, V-10
    fn levels_that_are_taken_away_in_another_order_are_noticed() {
        assert!(torn_down_in_order(&good(), &OUTER_V4, 3).is_ok());
        for (hop, kind, last) in
            [(0, Kind::Esp, 103), (0, Kind::Ike, 91), (1, Kind::Ike, 81), (1, Kind::Esp, 99)]
        {
            let mut flows = good();
            let port = HOPS[hop][0];
            let flow = flows.rows.iter_mut().find(|flow| flow.interface == port && flow.kind == kind);
            flow.unwrap().last = last;
            assert!(torn_down_in_order(&flows, &OUTER_V4, 3).is_err(), "{hop} {kind:?}");
        }
    }
}
