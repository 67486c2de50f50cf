//! The counters while the traffic flows: a few lines that are rewritten in place on a terminal, and plain lines
//! where nobody could see them change.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::capture::Wire;
use crate::gateway::Gateway;
use crate::listener::Listener;

/// Rewrites its own lines.
pub struct Live {
    is_terminal: bool,
    lines: usize,
}

impl Default for Live {
    fn default() -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), lines: 0 }
    }
}

impl Live {
    /// Shows these lines in the place of the last ones.
    pub fn show(&mut self, lines: &[String]) {
        let mut text = String::new();
        if self.is_terminal && self.lines > 0 {
            text.push_str(&format!("\x1b[{}A", self.lines));
        }
        for line in lines {
            let clear = if self.is_terminal { "\x1b[2K" } else { "" };
            text.push_str(&format!("{clear}{line}\n"));
        }
        self.lines = lines.len();
        // A terminal that went away is no reason to stop a measurement.
        let _ = std::io::stdout().lock().write_all(text.as_bytes());
    }
}

/// Shows the counters once a second.
#[derive(Default)]
pub struct Watch {
    live: Live,
    before: Vec<Value>,
}

impl Watch {
    /// Goes on showing until that moment.
    pub fn until(&mut self, end: Instant, gateways: &[(&'static str, &Gateway)], listener: &Listener) {
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            std::thread::sleep(left.min(Duration::from_secs(1)));
            self.show(gateways, listener);
        }
    }

    /// Shows them once.
    pub fn show(&mut self, gateways: &[(&'static str, &Gateway)], listener: &Listener) {
        // A daemon that does not answer for a moment shows zeros; the verdict does not rest on this view.
        let now: Vec<Value> =
            gateways.iter().map(|(_, gateway)| gateway.ask(&["stats"]).unwrap_or_default()).collect();
        let mut lines: Vec<_> = gateways
            .iter()
            .zip(&now)
            .enumerate()
            .map(|(at, ((name, _), value))| gateway_line(name, value, self.before.get(at)))
            .collect();
        lines.push(wire_line(&listener.latest()));
        self.live.show(&lines);
        self.before = now;
    }
}

/// One line about a gateway, from `dpctl stats --json`; the rate from this and the previous answer.
pub fn gateway_line(name: &str, now: &Value, before: Option<&Value>) -> String {
    let totals = &now["totals"];
    let number = |name: &str| totals[name].as_u64().unwrap_or(0);
    let rate = before.map_or(0.0, |before| {
        let was = |name: &str| before["totals"][name].as_u64().unwrap_or(0);
        let packets = (number("sealed") + number("opened")).saturating_sub(was("sealed") + was("opened"));
        let elapsed =
            now["uptime_ms"].as_u64().unwrap_or(0).saturating_sub(before["uptime_ms"].as_u64().unwrap_or(0));
        if elapsed == 0 { 0.0 } else { packets as f64 / elapsed as f64 }
    });
    format!(
        "  {name:10} sealed {:>9}  opened {:>9}  dropped {:>6}  {rate:7.1} kpackets/s",
        number("sealed"),
        number("opened"),
        number("dropped"),
    )
}

/// One line about what the listener saw.
pub fn wire_line(wire: &Wire) -> String {
    format!(
        "  {:10} ESP {:>12}  IKE {:>12}  in clear {:>5}  (listener outside)",
        "wire",
        wire.protected(),
        wire.ike,
        wire.clear_text_leaks
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rate_is_the_difference_over_the_time_between_two_answers() {
        let before = json!({"uptime_ms": 1000, "totals": {"sealed": 100, "opened": 100, "dropped": 0}});
        let now = json!({"uptime_ms": 2000, "totals": {"sealed": 1100, "opened": 2100, "dropped": 7}});
        let line = gateway_line("gateway 1", &now, Some(&before));
        assert!(line.contains("3.0 kpackets/s") && line.contains("1100"), "{line}");
    }

    #[test]
    fn answer_without_the_fields_shows_zeros_instead_of_failing() {
        assert!(gateway_line("gateway 1", &json!({}), None).contains("sealed         0"));
    }
}
