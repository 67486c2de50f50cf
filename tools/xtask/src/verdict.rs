//! What a demo comes to: the sentences against it, its result for programs, and the last lines on the terminal.

use serde_json::{Value, json};

use crate::capture::Wire;
use crate::limits;
use crate::traffic::{Pings, Transfer};

/// How it went.
pub(crate) struct Outcome {
    pub(crate) scenario: &'static str,
    pub(crate) seconds: u64,
    /// The two directions of the transfers, in words.
    pub(crate) ends: [&'static str; 2],
    /// What the scene has to say besides.
    pub(crate) remarks: Vec<String>,
    /// What it has against itself, beyond what holds for every scene.
    pub(crate) complaints: Vec<String>,
    pub(crate) unanswered: u64,
    pub(crate) pings: Pings,
    pub(crate) transfers: Vec<Transfer>,
    pub(crate) tunnels: Vec<Value>,
    pub(crate) drops: Vec<(String, u64)>,
    pub(crate) wire: Wire,
    pub(crate) first_protected_s: Option<f64>,
    pub(crate) idle_kib: u64,
}

impl Outcome {
    /// Every reason why the verdict is bad, as sentences.
    fn objections(&self) -> Vec<String> {
        let mut all = self.complaints.clone();
        let mut hold = |holds: bool, sentence: String| {
            if !holds {
                all.push(sentence);
            }
        };
        let up = self
            .tunnels
            .iter()
            .filter(|row| matches!(row["state"].as_str(), Some("up" | "rekeying")))
            .count();
        hold(up == self.tunnels.len() && up > 0, format!("{up} of {} tunnels are up", self.tunnels.len()));
        hold(self.pings.sent > 0, "no ping was sent".into());
        hold(
            self.pings.lost() == 0,
            format!("{} pings were lost after the tunnel was up", self.pings.lost()),
        );
        let octets = self.transfers.iter().all(|transfer| transfer.octets > 0);
        hold(octets, "iperf3 moved nothing in one direction".into());
        let leaks = self.wire.clear_text_leaks;
        let first = self.wire.first_leak.as_deref().unwrap_or_default();
        hold(leaks == 0, format!("{leaks} frames showed the inside in clear; the first: {first}"));
        let enough = self.wire.protected() >= self.pings.sent;
        hold(enough, format!("only {} ESP packets were seen on the wire", self.wire.protected()));
        let small = self.idle_kib < limits::IDLE_RESIDENT_KIB;
        hold(small, format!("an idle gateway holds {} MiB of memory", self.idle_kib / 1024));
        all
    }

    pub(crate) fn is_good(&self) -> bool {
        self.objections().is_empty()
    }

    /// Mean over the whole of both transfers.
    fn gbit_s(&self) -> f64 {
        let octets: u64 = self.transfers.iter().map(|transfer| transfer.octets).sum();
        octets as f64 * 8.0 / 1e9 / self.seconds as f64
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "scenario": self.scenario,
            "ok": self.is_good(),
            "sent": self.pings.sent,
            "received": self.pings.received,
            "clear_text_leaks": self.wire.clear_text_leaks,
            "tunnels": self.tunnels,
            "gbit_s": (self.gbit_s() * 1000.0).round() / 1000.0,
            "seconds": self.seconds,
        })
    }

    pub(crate) fn print(&self) {
        for row in &self.tunnels {
            let text = |name: &str| row[name].as_str().unwrap_or("-").to_owned();
            println!(
                "  {} tunnel {:5} {:10} {}  {}  SPI {} in, {} out",
                text("gateway"),
                text("name"),
                text("state"),
                text("selector"),
                text("transform"),
                text("spi_in"),
                text("spi_out"),
            );
        }
        let drops: Vec<_> = self.drops.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        let drops = if drops.is_empty() { "nothing".to_owned() } else { drops.join(", ") };
        let near = self.tunnels.first().and_then(|row| row["gateway"].as_str()).unwrap_or("gateway 1");
        println!("  {near} dropped {drops}");
        let Wire { frames, ike, discovery, neighbour, other, missed, clear_text_leaks, .. } = &self.wire;
        let discovery = if *discovery > 0 { format!(", {discovery} of discovery") } else { String::new() };
        println!(
            "  wire: {frames} frames: {} ESP, {ike} IKE{discovery}, {neighbour} ARP or ND, {other} other; {clear_text_leaks} in clear; \
             {missed} missed by the listener",
            self.wire.protected()
        );
        println!(
            "  ping: {} sent, {} received, {} unanswered before the tunnel was up",
            self.pings.sent, self.pings.received, self.unanswered
        );
        for (way, transfer) in self.ends.iter().zip(&self.transfers) {
            println!(
                "  iperf3 {way}: {:.2} Gbit/s, {} segments sent again",
                transfer.gbit_s, transfer.retransmitted
            );
        }
        let first =
            self.first_protected_s.map_or("never".into(), |first| format!("{:.0} ms", first * 1000.0));
        println!(
            "  start to first protected packet: {first}; idle memory of a gateway: {} MiB",
            self.idle_kib / 1024
        );
        for remark in &self.remarks {
            println!("  {remark}");
        }
        let objections = self.objections();
        for objection in &objections {
            println!("  not good: {objection}");
        }
        let verdict = if objections.is_empty() { "ok" } else { "NOT OK" };
        println!("{}: {verdict}", self.scenario);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Outcome {
        Outcome {
            scenario: "site-to-site",
            seconds: 5,
            ends: ["A to B", "B to A"],
            remarks: Vec::new(),
            complaints: Vec::new(),
            unanswered: 2,
            pings: Pings { sent: 500, received: 500 },
            transfers: vec![Transfer { octets: 1 << 30, gbit_s: 3.4, retransmitted: 0 }; 2],
            tunnels: vec![json!({"name": "net", "state": "up"})],
            drops: vec![("no-sa".into(), 2)],
            wire: Wire { esp: 9000, ..Wire::default() },
            first_protected_s: Some(0.4),
            idle_kib: 40 * 1024,
        }
    }

    #[test]
    fn json_has_exactly_the_agreed_fields() {
        let value = good().json();
        let names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut agreed =
            ["scenario", "ok", "sent", "received", "clear_text_leaks", "tunnels", "gbit_s", "seconds"];
        agreed.sort_unstable();
        assert_eq!(names, agreed);
        assert_eq!(value["ok"], true);
    }

    #[test]
    fn a_slow_start_is_shown_and_held_against_nobody() {
        assert!(Outcome { first_protected_s: Some(9.0), ..good() }.is_good());
    }

    #[test] // F-24
    fn one_leak_one_lost_ping_or_one_tunnel_down_is_enough_for_a_bad_verdict() {
        let bad = |change: &dyn Fn(&mut Outcome)| {
            let mut outcome = good();
            change(&mut outcome);
            !outcome.is_good()
        };
        assert!(bad(&|outcome| outcome.wire.clear_text_leaks = 1));
        assert!(bad(&|outcome| outcome.pings.received -= 1));
        assert!(bad(&|outcome| outcome.tunnels.push(json!({"state": "down"}))));
        assert!(bad(&|outcome| outcome.wire.esp = 3));
        assert!(bad(&|outcome| outcome.complaints.push("the lease is not shown".into())));
        assert!(bad(&|outcome| outcome.idle_kib = 300 * 1024));
        assert!(bad(&|outcome| outcome.transfers[1].octets = 0));
    }
}
