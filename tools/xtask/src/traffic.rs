//! Traffic between the hosts, made and judged by programs that know nothing of Warren: ping and iperf3.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
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

/// A ping that carries the marker, ended when it takes longer than any run of it may.
fn ping(from: Sender<'_>, to: IpAddr, longest: Duration) -> Command {
    let pattern: String = MARKER.bytes().map(|octet| format!("{octet:02x}")).collect();
    let mut command = from.host.command("timeout");
    command.args(["-k", "2", &format!("{:.3}", longest.as_secs_f64()), "ping"]);
    if let Some(address) = from.address {
        command.args(["-I", &address.to_string()]);
    }
    command.args(["-n", "-p", &pattern, "-s", "96", &to.to_string()]);
    command
}

/// One ping at a time until one comes back: these are the packets that find no tunnel yet. Returns how many did. Each
/// is waited for a little longer than the one before: where answers are slow, they are not late for ever.
pub fn wait_for_first_answer<'a>(from: impl Into<Sender<'a>>, to: IpAddr) -> Result<u64, Failure> {
    let from = from.into();
    let started = Instant::now();
    let mut unanswered = 0;
    while started.elapsed() < limits::TUNNEL_UP {
        let patience_ms = (100 + unanswered * 20).min(2000);
        let patience = format!("{}.{:03}", patience_ms / 1000, patience_ms % 1000);
        let mut command = ping(from, to, limits::TUNNEL_UP);
        let output = command.args(["-q", "-c", "1", "-W", &patience]).output().context("ping")?;
        if counted(&output.stdout).is_some_and(|pings| pings.received == 1) {
            return Ok(unanswered);
        }
        unanswered += 1;
    }
    let waited = limits::TUNNEL_UP.as_secs();
    Err(Failure::new(format!("no ping to {to} came back in {waited} s ({unanswered} sent)")))
}

/// Pings about a hundred times a second until one comes back. Returns how long that took from the first of them on, and how
/// many went without an answer before.
pub fn first_answer<'a>(from: impl Into<Sender<'a>>, to: IpAddr) -> Result<(Duration, u64), Failure> {
    let asked = Instant::now();
    let mut child = ping(from.into(), to, limits::TUNNEL_UP)
        .args(["-i", "0.01"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .context("ping")?;
    let stdout = child.stdout.take().ok_or_else(|| Failure::new("ping has no output"))?;
    let number = BufReader::new(stdout).lines().map_while(Result::ok).find_map(|line| sequence(&line));
    let waited = asked.elapsed();
    end(&mut child);
    match number {
        Some(number) => Ok((waited, u64::from(number).saturating_sub(1))),
        None => Err(Failure::new(format!("no ping to {to} came back in {} s", waited.as_secs()))),
    }
}

/// Pings without the marker until one comes back, where they may be seen: neighbours learn to know each other by it.
pub fn wait_for_neighbour(from: &Namespace, to: IpAddr) -> Result<(), Failure> {
    let started = Instant::now();
    while started.elapsed() < limits::READY {
        let mut command = from.command("ping");
        command.args(["-q", "-n", "-c", "1", "-W", "2", &to.to_string()]);
        if counted(&command.output().context("ping")?.stdout).is_some_and(|pings| pings.received == 1) {
            return Ok(());
        }
    }
    let waited = limits::READY.as_secs();
    Err(Failure::new(format!("{to} does not answer {} in {waited} s", from.name())))
}

/// A few pings that nobody should answer.
pub fn pings_in_vain<'a>(from: impl Into<Sender<'a>>, to: IpAddr, count: u32) -> Result<Pings, Failure> {
    let mut command = ping(from.into(), to, limits::TUNNEL_UP);
    let output =
        command.args(["-q", "-i", "0.05", "-W", "2", "-c", &count.to_string()]).output().context("ping")?;
    counted(&output.stdout).ok_or_else(|| Failure::new(format!("ping to {to} counted nothing")))
}

/// A few pings, twenty a second.
pub fn pings<'a>(from: impl Into<Sender<'a>>, to: IpAddr, count: u32) -> Result<Pings, Failure> {
    Pinging::with(from.into(), to, u64::from(count), Duration::from_millis(50))?.finish()
}

/// A ping that runs while something else happens.
///
/// Left to itself, ping stops listening two round trips after its last request as soon as it has heard any answer,
/// whatever its `-W` says: on a busy machine the last answers would count as lost. So it goes on asking until all the
/// requests that were wanted are answered, or it is hopeless to wait for them, and the others do not count.
pub struct Pinging {
    child: Child,
    counting: Option<JoinHandle<Pings>>,
}

impl Pinging {
    /// A hundred a second for so long.
    pub fn start<'a>(from: impl Into<Sender<'a>>, to: IpAddr, length: Duration) -> Result<Self, Failure> {
        let interval = Duration::from_millis(10);
        let wanted = (length.as_millis() / interval.as_millis()).max(1);
        Self::with(from.into(), to, wanted as u64, interval)
    }

    fn with(from: Sender<'_>, to: IpAddr, wanted: u64, interval: Duration) -> Result<Self, Failure> {
        // Twice as long as it should take: a sender that is behind is no reason to count what it did not send.
        let longest = interval.mul_f64(wanted as f64 * 2.0) + limits::LAST_ANSWER;
        let mut child = ping(from, to, longest)
            .args(["-i", &format!("{:.3}", interval.as_secs_f64())])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("ping")?;
        let stdout = child.stdout.take().ok_or_else(|| Failure::new("ping has no output"))?;
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let counting = std::thread::spawn(move || answered(lines, wanted));
        Ok(Self { child, counting: Some(counting) })
    }

    /// Waits until every request is answered, or no answer comes any more.
    pub fn finish(mut self) -> Result<Pings, Failure> {
        let counting = self.counting.take().ok_or_else(|| Failure::new("ping is gone"))?;
        counting.join().map_err(|_| Failure::new("ping counted nothing"))
    }
}

impl Drop for Pinging {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// How many of the first requests are answered in what ping says, each once.
fn answered(lines: impl Iterator<Item = String>, wanted: u64) -> Pings {
    let (mut seen, mut newest) = (BTreeSet::new(), 0_u64);
    for line in lines {
        let Some(sequence) = sequence(&line) else { continue };
        // The number on the wire has 16 bits; the nearest of those that read the same is meant.
        let ahead = sequence.wrapping_sub(newest as u16) as i16;
        let Some(number) = newest.checked_add_signed(i64::from(ahead)) else { continue };
        newest = newest.max(number);
        if (1..=wanted).contains(&number) {
            seen.insert(number);
        }
        if seen.len() as u64 == wanted {
            break;
        }
    }
    Pings { sent: wanted, received: seen.len() as u64 }
}

/// The sequence number in a line about an answer; errors have one too and are none.
fn sequence(line: &str) -> Option<u16> {
    let (start, rest) = line.split_once(" icmp_seq=")?;
    start.contains(" bytes from ").then(|| rest.split(' ').next()?.parse().ok())?
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

impl Way {
    /// How iperf3 is told of it.
    const fn words(self) -> &'static [&'static str] {
        match self {
            Self::Forth => &[],
            Self::Back => &["-R"],
        }
    }
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
pub struct Client {
    child: Option<Child>,
    host: Namespace,
    words: Vec<String>,
    asked: Instant,
}

/// What one run of iperf3 came to.
enum Run {
    Done(Transfer),
    /// It never got so far as to send anything. A server that has just ended a test does not listen for a moment, or
    /// says that it is busy, and how long that moment is depends on what else the machine has to do.
    NotBegun(Failure),
}

impl Client {
    /// One TCP stream for so many seconds.
    pub fn start<'a>(
        from: impl Into<Sender<'a>>,
        to: IpAddr,
        way: Way,
        seconds: u64,
    ) -> Result<Self, Failure> {
        Self::with(from.into(), to, seconds, &[&["-t", &seconds.to_string()], way.words()].concat())
    }

    /// One TCP stream of so many octets, as `iperf3 -n` writes it, that stays below a rate, as `iperf3 -b` does.
    pub fn limited(host: &Namespace, to: IpAddr, rate: &str, volume: &str) -> Result<Self, Failure> {
        Self::with(host.into(), to, limits::VOLUME.as_secs(), &["-b", rate, "-n", volume])
    }

    /// One TCP stream that never has more on its way than the default receive buffer of a UDP socket holds.
    pub fn narrow<'a>(
        from: impl Into<Sender<'a>>,
        to: IpAddr,
        way: Way,
        seconds: u64,
    ) -> Result<Self, Failure> {
        let length = seconds.to_string();
        Self::with(from.into(), to, seconds, &[&["-t", &length, "-w", "64K"], way.words()].concat())
    }

    fn with(from: Sender<'_>, to: IpAddr, longest_s: u64, more: &[&str]) -> Result<Self, Failure> {
        let longest = (longest_s + limits::TRANSFER_SPARE.as_secs()).to_string();
        let to = to.to_string();
        let mut words = vec!["-k", "2", &longest, "iperf3", "-c", &to, "-J", "--connect-timeout", "5000"];
        words.extend(more);
        let address = from.address.map(|address| address.to_string());
        words.extend(address.iter().flat_map(|address| ["-B", address]));
        let words = words.into_iter().map(str::to_owned).collect();
        let mut client = Self { child: None, host: from.host.clone(), words, asked: Instant::now() };
        client.run()?;
        Ok(client)
    }

    fn run(&mut self) -> Result<(), Failure> {
        let mut command = self.host.command("timeout");
        let started = command.args(&self.words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        self.child = Some(started.context("iperf3")?);
        Ok(())
    }

    /// Waits for its end and reads its report. A transfer that did not begin is tried again.
    pub fn finish(mut self) -> Result<Transfer, Failure> {
        loop {
            match self.ended()? {
                Run::Done(transfer) => return Ok(transfer),
                Run::NotBegun(why) if self.asked.elapsed() > limits::TUNNEL_UP => return Err(why),
                Run::NotBegun(_) => std::thread::sleep(limits::TRANSFER_PAUSE),
            }
            self.run()?;
        }
    }

    fn ended(&mut self) -> Result<Run, Failure> {
        let child = self.child.take().ok_or_else(|| Failure::new("iperf3 is gone"))?;
        let output = child.wait_with_output().context("iperf3")?;
        if output.stdout.is_empty() {
            return Err(Failure::new("iperf3 came to no end: nothing passed any more"));
        }
        reported(&serde_json::from_slice(&output.stdout).context("iperf3's report")?)
    }
}

/// Reads what iperf3 wrote at its end.
fn reported(report: &Value) -> Result<Run, Failure> {
    if let Some(error) = report["error"].as_str() {
        let failure = Failure::new(format!("iperf3: {error}"));
        let has_begun = report["start"]["connected"].as_array().is_some_and(|streams| !streams.is_empty());
        return if has_begun { Err(failure) } else { Ok(Run::NotBegun(failure)) };
    }
    let received = &report["end"]["sum_received"];
    Ok(Run::Done(Transfer {
        octets: received["bytes"].as_u64().unwrap_or(0),
        gbit_s: received["bits_per_second"].as_f64().unwrap_or(0.0) / 1e9,
        retransmitted: report["end"]["sum_sent"]["retransmits"].as_u64().unwrap_or(0),
    }))
}

/// One TCP stream for so many seconds, from beginning to end.
pub fn transfer<'a>(
    from: impl Into<Sender<'a>>,
    to: IpAddr,
    way: Way,
    seconds: u64,
) -> Result<Transfer, Failure> {
    Client::start(from, to, way, seconds)?.finish()
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
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

    /// What ping prints for answers to these requests.
    fn said(numbers: &[u64]) -> Vec<String> {
        let line = |number: &u64| {
            format!("104 bytes from 10.2.0.10: icmp_seq={} ttl=62 time=0.4 ms", *number as u16)
        };
        numbers.iter().map(line).collect()
    }

    #[test]
    fn answers_count_once_and_those_beyond_the_wanted_requests_not_at_all() {
        let mut lines = said(&[1, 2, 2, 4, 7]);
        lines.push("From 10.1.0.1 icmp_seq=3 Destination Host Unreachable".into());
        lines.push("PATTERN: 0x57".into());
        assert_eq!(answered(lines.into_iter(), 5), Pings { sent: 5, received: 3 });
    }

    #[test]
    fn late_answer_to_the_last_request_counts() {
        assert_eq!(answered(said(&[1, 2, 4, 5, 3]).into_iter(), 3), Pings { sent: 3, received: 3 });
    }

    #[test]
    fn number_of_a_request_goes_on_after_sixteen_bits() {
        let all: Vec<u64> = (1..=70_000).collect();
        assert_eq!(answered(said(&all).into_iter(), 70_000), Pings { sent: 70_000, received: 70_000 });
        let mut some = all;
        some.retain(|number| *number != 65_536);
        assert_eq!(answered(said(&some).into_iter(), 70_000).lost(), 1);
    }

    #[test]
    fn transfer_that_did_not_begin_is_told_from_one_that_broke_off() {
        let busy =
            serde_json::json!({"start": {"connected": []}, "error": "the server is busy running a test"});
        assert!(matches!(reported(&busy), Ok(Run::NotBegun(_))));
        let broken = serde_json::json!({"start": {"connected": [{"socket": 5}]}, "error": "control socket has closed"});
        assert!(reported(&broken).is_err());
    }
}
