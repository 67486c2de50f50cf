//! Following a probe and its answer over both wires of the scene of discovery, from captured octets alone: none of Warren's
//! decoders is used, so that a mistake of theirs would show.

use std::net::IpAddr;

use crate::capture::{Message, Wire};
use crate::topology::CROSSING_PORTS;

/// One captured message.
pub(crate) struct Trace {
    interface: String,
    at_s: f64,
    octets: Vec<u8>,
}

impl Trace {
    fn read(message: &Message) -> Self {
        let digit = |octet: u8| char::from(octet).to_digit(16).unwrap_or(0) as u8;
        let octets = message.packet.as_bytes().chunks(2);
        let octets =
            octets.filter_map(|pair| Some(digit(*pair.first()?) << 4 | digit(*pair.get(1)?))).collect();
        Self { interface: message.interface.clone(), at_s: message.at_s, octets }
    }

    fn all(wire: &Wire) -> Vec<Self> {
        wire.messages.iter().map(Self::read).collect()
    }

    /// Whether it is IPv6.
    fn is_v6(&self) -> bool {
        self.octets.first().is_some_and(|first| first >> 4 == 6)
    }

    fn address(&self, is_source: bool) -> Option<IpAddr> {
        if self.is_v6() {
            let octets: [u8; 16] =
                self.octets.get(if is_source { 8..24 } else { 24..40 })?.try_into().ok()?;
            return Some(octets.into());
        }
        let octets: [u8; 4] = self.octets.get(if is_source { 12..16 } else { 16..20 })?.try_into().ok()?;
        Some(octets.into())
    }

    fn hops(&self) -> Option<u8> {
        self.octets.get(if self.is_v6() { 7 } else { 8 }).copied()
    }

    /// The UDP header and what is behind it. Nobody here sends options or extension headers with discovery.
    fn datagram(&self) -> Option<&[u8]> {
        self.octets.get(if self.is_v6() { 40 } else { 20 }..)
    }

    fn is(&self, exchange: u8) -> bool {
        self.datagram().and_then(|datagram| datagram.get(26)) == Some(&exchange)
    }

    /// CKY-I in hex.
    fn cookie(&self) -> Option<String> {
        Some(self.datagram()?.get(8..16)?.iter().map(|octet| format!("{octet:02x}")).collect())
    }

    /// The packet as it was sent, but for what every router on the way changes.
    fn without_hops(&self) -> Vec<u8> {
        let mut octets = self.octets.clone();
        let changes: &[usize] = if self.is_v6() { &[7] } else { &[8, 10, 11] };
        for at in changes {
            if let Some(octet) = octets.get_mut(*at) {
                *octet = 0;
            }
        }
        octets
    }

    /// One line.
    fn line(&self) -> String {
        let text = |address: Option<IpAddr>| address.map_or("?".into(), |address| address.to_string());
        format!(
            "{}: {} from {} to {}, hops {}, {} octets, cookie {}",
            self.interface,
            if self.is(240) { "probe" } else { "response" },
            text(self.address(true)),
            text(self.address(false)),
            self.hops().unwrap_or(0),
            self.octets.len(),
            self.cookie().unwrap_or_default()
        )
    }

    /// Everything that was kept, for whoever has to find out why.
    pub(crate) fn seen(wire: &Wire) -> String {
        let lines: Vec<_> = Self::all(wire).iter().map(|trace| format!("    {}", trace.line())).collect();
        if lines.is_empty() { "    no discovery message at all".into() } else { lines.join("\n") }
    }

    /// What became of the probe from one host to the other and of the answer from one gateway to the other, in lines for
    /// the terminal.
    ///
    /// # Errors
    /// A sentence about what is not as it should be.
    pub(crate) fn follow(
        wire: &Wire,
        hosts: [IpAddr; 2],
        gateways: [IpAddr; 2],
    ) -> Result<Vec<String>, String> {
        let all = Self::all(wire);
        let [near, from_near, far, from_far] = CROSSING_PORTS;
        let sent = |port: &str, exchange: u8, ends: [IpAddr; 2]| {
            all.iter().find(|trace| {
                trace.interface == port
                    && trace.is(exchange)
                    && [trace.address(true), trace.address(false)] == ends.map(Some)
            })
        };
        let probe = sent(near, 240, hosts).ok_or("gateway 1 sent no probe in host A's name")?;
        let passed = all
            .iter()
            .find(|trace| trace.interface == far && trace.is(240) && trace.cookie() == probe.cookie())
            .ok_or("gateway 3 did not let the probe pass")?;
        passed.follows(probe).map_err(|why| format!("gateway 3 changed the probe: {why}"))?;
        if let Some(other) =
            all.iter().find(|trace| trace.interface == from_near && trace.is(241) && trace.at_s < passed.at_s)
        {
            return Err(format!("somebody answered before gateway 2 could: {}", other.line()));
        }
        let response =
            sent(from_far, 241, [gateways[1], gateways[0]]).ok_or("gateway 2 did not answer the probe")?;
        let arrived =
            sent(from_near, 241, [gateways[1], gateways[0]]).ok_or("the response did not reach gateway 1")?;
        arrived.follows(response).map_err(|why| format!("gateway 3 changed the response: {why}"))?;
        if response.cookie() != probe.cookie() {
            return Err("the response does not have the cookie of the first probe".into());
        }
        if response.octets.len() > probe.octets.len() {
            return Err(format!(
                "the response has {} octets, more than the {} of the probe",
                response.octets.len(),
                probe.octets.len()
            ));
        }
        if response.datagram().and_then(|datagram| datagram.get(..4)) != Some(&[1, 0xf4, 1, 0xf4]) {
            return Err("the response does not go from port 500 to port 500".into());
        }
        let since = |at_s: f64| format!("{:.1} ms", (at_s - probe.at_s) * 1000.0);
        let mut lines = vec![
            probe.line(),
            format!("{}, {} later: unchanged but for one hop", passed.line(), since(passed.at_s)),
            format!("{}, {} after the probe", response.line(), since(response.at_s)),
        ];
        let first = |what: &str, at_s: Option<f64>| {
            at_s.map(|at_s| format!("first {what} {} after the probe", since(at_s)))
        };
        lines.extend(first("IKE message", wire.first_ike_s));
        lines.extend(first("ESP packet", wire.first_protected_s));
        let count = |exchange: u8| {
            all.iter()
                .filter(|trace| [near, from_far].contains(&trace.interface.as_str()) && trace.is(exchange))
                .count()
        };
        lines.push(format!("in all {} probes were sent and {} responses", count(240), count(241)));
        Ok(lines)
    }

    /// Whether this is `before`, one hop later.
    fn follows(&self, before: &Self) -> Result<(), String> {
        if self.without_hops() != before.without_hops() {
            return Err(format!("{:02x?} became {:02x?}", before.octets, self.octets));
        }
        match (before.hops(), self.hops()) {
            (Some(before), Some(after)) if before.checked_sub(1) == Some(after) => Ok(()),
            (before, after) => Err(format!("hops {before:?} became {after:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: [&str; 2] = ["10.1.0.10", "10.2.0.10"];
    const GATEWAYS: [&str; 2] = ["198.51.100.1", "203.0.113.2"];

    fn addresses(texts: [&str; 2]) -> [IpAddr; 2] {
        texts.map(|text| text.parse().unwrap())
    }

    fn message(interface: &str, exchange: u8, ends: [&str; 2], hops: u8, more: usize) -> Message {
        let mut octets = vec![0x45, 0, 0, 0, 0, 0, 0, 0, hops, 17, hops ^ 0xff, 3];
        for address in addresses(ends) {
            let IpAddr::V4(v4) = address else { unreachable!() };
            octets.extend(v4.octets());
        }
        octets.extend([1, 0xf4, 1, 0xf4, 0, 0, 0, 0]);
        octets.extend([7; 8]);
        octets.extend([if exchange == 240 { 0 } else { 9 }; 8]);
        octets.extend([13, 0x10, exchange]);
        octets.extend(vec![0; more]);
        let packet = octets.iter().map(|octet| format!("{octet:02x}")).collect();
        Message { interface: interface.into(), at_s: 1.0, packet }
    }

    fn good() -> Vec<Message> {
        let back = [GATEWAYS[1], GATEWAYS[0]];
        vec![
            message("to1", 240, HOSTS, 64, 80),
            message("far3", 240, HOSTS, 63, 80),
            message("to2", 241, back, 64, 70),
            message("near3", 241, back, 63, 70),
        ]
    }

    fn judge(messages: Vec<Message>) -> Result<Vec<String>, String> {
        Trace::follow(&Wire { messages, ..Wire::default() }, addresses(HOSTS), addresses(GATEWAYS))
    }

    #[test] // TED-12, TED-13, TED-31, TED-34
    fn probe_that_passes_and_is_answered_is_told_in_lines() {
        let lines = judge(good()).unwrap();
        assert!(lines[0].contains("to1: probe from 10.1.0.10 to 10.2.0.10, hops 64"), "{lines:?}");
        assert!(lines[1].contains("hops 63") && lines[1].contains("unchanged"), "{lines:?}");
    }

    #[test] // TED-31, F-8, F-14
    fn each_message_that_is_missing_changed_or_too_long_is_noticed() {
        for missing in 0..4 {
            let mut messages = good();
            messages.remove(missing);
            assert!(judge(messages).is_err(), "{missing}");
        }
        let with = |at: usize, other: Message| {
            let mut messages = good();
            messages[at] = other;
            judge(messages)
        };
        assert!(with(1, message("far3", 240, HOSTS, 64, 80)).unwrap_err().contains("hops"));
        assert!(with(1, message("far3", 240, HOSTS, 63, 81)).unwrap_err().contains("changed the probe"));
        assert!(with(0, message("to1", 240, [GATEWAYS[0], HOSTS[1]], 64, 80)).is_err(), "not in A's name");
        let long = [
            message("to2", 241, [GATEWAYS[1], GATEWAYS[0]], 64, 90),
            message("near3", 241, [GATEWAYS[1], GATEWAYS[0]], 63, 90),
        ];
        let mut messages = good();
        messages.splice(2..4, long);
        assert!(judge(messages).unwrap_err().contains("more than"));
    }
}
