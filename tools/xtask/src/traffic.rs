//! Traffic between the hosts, made and judged by programs that know nothing of Warren: ping and iperf3.

use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::failure::Context;
use crate::lab::{Namespace, end};
use crate::{Failure, limits};

/// In every demo ping, sixteen octets as `ping -p` wants them at most. The listener searches the wire for it.
pub const MARKER: &str = "WARREN-IN-CLEAR!";

/// What a run of ping counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pings {
    /// Requests sent.
    pub sent: u64,
    /// Answers received.
    pub received: u64,
}

impl Pings {
    /// Requests without an answer.
    pub fn lost(self) -> u64 {
        self.sent.saturating_sub(self.received)
    }
}

impl std::ops::AddAssign for Pings {
    fn add_assign(&mut self, other: Self) {
        self.sent += other.sent;
        self.received += other.received;
    }
}

/// Who sends: a host, and the address it sends from where that is not left to its kernel. An address that the host
/// does not have is an error of ping and iperf3, never a packet from another one.
#[derive(Clone, Copy, Debug)]
pub struct Sender<'a> {
    host: &'a Namespace,
    address: Option<IpAddr>,
}

impl<'a> Sender<'a> {
    /// Sends from this address only.
    pub fn at(host: &'a Namespace, address: IpAddr) -> Self {
        Self { host, address: Some(address) }
    }

    /// The host's name.
    pub fn name(&self) -> &'a str {
        self.host.name()
    }
}

impl<'a> From<&'a Namespace> for Sender<'a> {
    fn from(host: &'a Namespace) -> Self {
        Self { host, address: None }
    }
}

/// A ping that carries the marker.
fn ping(from: Sender<'_>, to: IpAddr) -> Command {
    let pattern: String = MARKER.bytes().map(|octet| format!("{octet:02x}")).collect();
    let mut command = from.host.command("ping");
    if let Some(address) = from.address {
        command.args(["-I", &address.to_string()]);
    }
    command.args(["-q", "-n", "-p", &pattern, "-s", "96", &to.to_string()]);
    command
}

/// One ping at a time until one comes back: these are the packets that find no tunnel yet. Returns how many did.
pub fn wait_for_first_answer<'a>(from: impl Into<Sender<'a>>, to: IpAddr) -> Result<u64, Failure> {
    let from = from.into();
    let started = Instant::now();
    let mut unanswered = 0;
    while started.elapsed() < limits::TUNNEL_UP {
        let output = ping(from, to).args(["-c", "1", "-W", "0.1"]).output().context("ping")?;
        if counted(&output.stdout).is_some_and(|pings| pings.received == 1) {
            return Ok(unanswered);
        }
        unanswered += 1;
    }
    let waited = limits::TUNNEL_UP.as_secs();
    Err(Failure::new(format!("no ping to {to} came back in {waited} s ({unanswered} sent)")))
}

/// A few pings, one after the other.
pub fn pings<'a>(from: impl Into<Sender<'a>>, to: IpAddr, count: u32) -> Result<Pings, Failure> {
    let mut command = ping(from.into(), to);
    let output =
        command.args(["-i", "0.05", "-W", "2", "-c", &count.to_string()]).output().context("ping")?;
    counted(&output.stdout).ok_or_else(|| Failure::new(format!("ping to {to} counted nothing")))
}

/// A ping that runs while something else happens.
pub struct Pinging(Option<Child>);

impl Pinging {
    /// A hundred a second for so long.
    pub fn start<'a>(from: impl Into<Sender<'a>>, to: IpAddr, length: Duration) -> Result<Self, Failure> {
        let count = (length.as_millis() / 10).max(1).to_string();
        let child = ping(from.into(), to)
            .args(["-i", "0.01", "-W", "2", "-c", &count])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("ping")?;
        Ok(Self(Some(child)))
    }

    /// Waits for its end and its counts.
    pub fn finish(mut self) -> Result<Pings, Failure> {
        let child = self.0.take().ok_or_else(|| Failure::new("ping is gone"))?;
        let output = child.wait_with_output().context("ping")?;
        counted(&output.stdout).ok_or_else(|| Failure::new("ping counted nothing"))
    }
}

impl Drop for Pinging {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn counted(output: &[u8]) -> Option<Pings> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().find(|line| line.contains("packets transmitted"))?;
    let number = |field: &str| field.split_whitespace().next()?.parse().ok();
    let mut fields = line.split(", ");
    Some(Pings { sent: number(fields.next()?)?, received: number(fields.next()?)? })
}

/// An iperf3 server on a host. Dropping it ends it.
pub struct Server(Child);

impl Server {
    /// Starts it and waits until its port is open.
    pub fn start(host: &Namespace) -> Result<Self, Failure> {
        let child = host
            .command("iperf3")
            .arg("-s")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("iperf3")?;
        let server = Self(child);
        let asked = Instant::now();
        while asked.elapsed() < limits::READY {
            let listening = host.command("ss").args(["-H", "-l", "-t", "-n", "sport", "= :5201"]).output();
            if listening.is_ok_and(|output| !output.stdout.is_empty()) {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Err(Failure::new("iperf3 does not open its port"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

/// Which way the octets of a transfer go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Forth,
    /// From the server to the client.
    Back,
}

/// One TCP transfer as it ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transfer {
    /// Octets that arrived.
    pub octets: u64,
    /// Rate at the receiver.
    pub gbit_s: f64,
    /// Segments that had to be sent again.
    pub retransmitted: u64,
}

/// A running iperf3 client.
pub struct Client(Option<Child>);

impl Client {
    /// One TCP stream for so many seconds.
    pub fn start<'a>(
        from: impl Into<Sender<'a>>,
        to: IpAddr,
        way: Way,
        seconds: u64,
    ) -> Result<Self, Failure> {
        Self::with(from.into(), to, seconds, if way == Way::Back { &["-R"] } else { &[] })
    }

    /// One TCP stream that stays below a rate, as `iperf3 -b` writes it.
    pub fn limited(host: &Namespace, to: IpAddr, rate: &str, seconds: u64) -> Result<Self, Failure> {
        Self::with(host.into(), to, seconds, &["-b", rate])
    }

    /// One TCP stream that never has more on its way than the default receive buffer of a UDP socket holds.
    pub fn narrow<'a>(
        from: impl Into<Sender<'a>>,
        to: IpAddr,
        way: Way,
        seconds: u64,
    ) -> Result<Self, Failure> {
        let way = if way == Way::Back { &["-R"][..] } else { &[] };
        Self::with(from.into(), to, seconds, &[&["-w", "64K"], way].concat())
    }

    fn with(from: Sender<'_>, to: IpAddr, seconds: u64, more: &[&str]) -> Result<Self, Failure> {
        let mut command = from.host.command("timeout");
        let longest = seconds + limits::TRANSFER_SPARE.as_secs();
        command.args(["-k", "2", &longest.to_string(), "iperf3"]);
        command.args(["-c", &to.to_string(), "-t", &seconds.to_string(), "-J"]);
        command.args(["--connect-timeout", "3000"]).args(more);
        if let Some(address) = from.address {
            command.args(["-B", &address.to_string()]);
        }
        let child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().context("iperf3")?;
        Ok(Self(Some(child)))
    }

    /// Waits for its end and reads its report.
    pub fn finish(mut self) -> Result<Transfer, Failure> {
        let child = self.0.take().ok_or_else(|| Failure::new("iperf3 is gone"))?;
        let output = child.wait_with_output().context("iperf3")?;
        if output.stdout.is_empty() {
            return Err(Failure::new("iperf3 came to no end: nothing passed any more"));
        }
        let report: Value = serde_json::from_slice(&output.stdout).context("iperf3's report")?;
        if let Some(error) = report["error"].as_str() {
            return Err(Failure::new(format!("iperf3: {error}")));
        }
        let received = &report["end"]["sum_received"];
        Ok(Transfer {
            octets: received["bytes"].as_u64().unwrap_or(0),
            gbit_s: received["bits_per_second"].as_f64().unwrap_or(0.0) / 1e9,
            retransmitted: report["end"]["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
        })
    }
}

/// One TCP stream for so many seconds, from beginning to end.
pub fn transfer<'a>(
    from: impl Into<Sender<'a>>,
    to: IpAddr,
    way: Way,
    seconds: u64,
) -> Result<Transfer, Failure> {
    let from = from.into();
    for _ in 1..limits::TRANSFER_TRIES {
        match Client::start(from, to, way, seconds)?.finish() {
            Err(failure) if failure.to_string().contains("Connection refused") => {
                std::thread::sleep(limits::TRANSFER_PAUSE);
            }
            done => return done,
        }
    }
    Client::start(from, to, way, seconds)?.finish()
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_ping_are_read_with_and_without_errors_between_them() {
        let plain = b"--- 10.2.0.10 ping statistics ---\n5 packets transmitted, 4 received, 20% packet loss, time 4ms\n";
        let errors = b"9 packets transmitted, 0 received, +9 errors, 100% packet loss, time 1ms\n";
        assert_eq!(counted(plain), Some(Pings { sent: 5, received: 4 }));
        assert_eq!(counted(errors), Some(Pings { sent: 9, received: 0 }));
        assert_eq!(counted(b"ping: unknown host"), None);
    }

    #[test]
    fn marker_fits_into_the_pattern_of_ping() {
        assert!(MARKER.len() <= 16);
    }
}
