//! Cases against a Linux kernel: ESP straight on IP, with and without ESN, manual keys and negotiated ones.

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::process::{Child, Stdio};

use xtask::gateway::{Gateway, Settings};
use xtask::lab::{self, Lab, Namespace};
use xtask::listener::Listener;
use xtask::peer::{self, Kernel};
use xtask::topology::{Outpost, SITE_A, SITE_B, WIDE_AREA_PORTS, bare_wide_area};
use xtask::traffic::{self, Way};
use xtask::{Context, Failure, repository};

use crate::cases::Role;
use crate::strongswan::pinged;

/// One manual-key case, AES-GCM with a 16-octet ICV.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manual {
    pub(crate) bits: u32,
    pub(crate) esn: bool,
}

impl fmt::Display for Manual {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "aes{}gcm16{}", self.bits, if self.esn { "-esn" } else { "" })
    }
}

/// Two guests with manual keys: booting, taps and the listener work, so what fails later is Warren's.
pub(crate) fn meets_itself() -> Result<(), Failure> {
    let mut lab = Lab::new(&repository::target())?;
    let wide_area = bare_wide_area(&mut lab)?;
    let program = repository::own_program()?;
    let listener = Listener::start(&program, &wide_area, traffic::MARKER, None)?;
    let one = Kernel::boot(&lab, &wide_area, WIDE_AREA_PORTS[0], "198.51.100.1/24")?;
    let two = Kernel::boot(&lab, &wide_area, WIDE_AREA_PORTS[1], "198.51.100.2/24")?;
    one.manual(&[
        "local=198.51.100.1",
        "remote=198.51.100.2",
        "inner=10.1.0.0/24",
        "peer=10.2.0.0/24",
        "spi_out=0x1002",
        "spi_in=0x1001",
        "esn=1",
    ])?;
    two.manual(&["esn=1"])?;
    two.shell("ping -q -c 3 -i 0.2 -W 2 10.1.0.10")?;
    let wire = listener.finish()?;
    match (wire.esp, wire.clear_text_leaks) {
        (1.., 0) => Ok(()),
        (seen, leaks) => Err(Failure::new(format!("{seen} ESP packets and {leaks} leaks were seen outside"))),
    }
}

/// Warren at site A, a Linux kernel on a tap as site B.
struct Meeting {
    kernel: Kernel,
    listener: Listener,
    outpost: Outpost,
    lab: Lab,
}

impl Meeting {
    fn new() -> Result<Self, Failure> {
        let mut lab = Lab::new(&repository::target())?;
        let outpost = Outpost::new(&mut lab)?;
        let program = repository::own_program()?;
        let listener = Listener::start(&program, &outpost.wide_area, traffic::MARKER, None)?;
        let kernel = Kernel::boot(&lab, &outpost.wide_area, WIDE_AREA_PORTS[1], "198.51.100.2/24")?;
        Ok(Self { kernel, listener, outpost, lab })
    }

    /// Pings both ways and a transfer each way, then the guest's own counters.
    fn traffic(&self) -> Result<String, Failure> {
        let (a, there) = (&self.outpost.a.host, SITE_B.host()[0]);
        pinged(a, there)?;
        self.kernel.shell("ping -q -c 10 -i 0.05 -W 2 -I 10.2.0.10 10.1.0.10")?;
        // A transfer that finds no server yet is tried again.
        self.kernel.shell("setsid iperf3 -s -D >/dev/null 2>&1")?;
        let forth = traffic::transfer(a, there, Way::Forth, 2)?;
        let back = traffic::transfer(a, there, Way::Back, 2)?;
        if forth.octets == 0 || back.octets == 0 {
            return Err(Failure::new("iperf3 moved nothing in one direction"));
        }
        Ok(format!("iperf3 {:.2} and {:.2} Gbit/s", forth.gbit_s, back.gbit_s))
    }

    fn conclude(self, remark: &str) -> Result<String, Failure> {
        let status = self.kernel.status()?;
        if let Some(error) = xfrm_error(&status) {
            return Err(Failure::new(format!("the kernel counted {error}\n{status}")));
        }
        let wire = self.listener.finish()?;
        match (wire.esp, wire.clear_text_leaks) {
            (1.., 0) => Ok(format!("{remark}; {} raw ESP packets outside, none in clear", wire.esp)),
            (seen, leaks) => {
                Err(Failure::new(format!("{seen} raw ESP packets and {leaks} leaks were seen outside")))
            }
        }
    }
}

/// What the guest's kernel counted against a peer. The counters start with the kernel, and it has met nobody else.
pub(crate) fn xfrm_error(status: &str) -> Option<&str> {
    status.lines().find(|line| line.starts_with("Xfrm") && is_error(line))
}

/// Counters of what a peer did wrong. States that are not there yet, or no longer, are the guest's own affair.
fn is_error(line: &str) -> bool {
    ["InStateProtoError", "InStateSeqError", "InStateModeError", "InTmplMismatch", "InHdrError"]
        .iter()
        .any(|name| line.contains(name))
}

/// IKEv1 main mode with the charon of the guest; ESP travels raw because there is no NAT.
pub(crate) fn negotiated(role: Role) -> Result<String, Failure> {
    let meeting = Meeting::new()?;
    meeting.kernel.charon(&peer::folder().join("conf/ikev1-main-raw-esp"))?;
    let settings = Settings {
        ike: &["aes128-sha256-modp2048"],
        esp: &["aes128gcm16"],
        has_ipv6: false,
        ..Settings::default()
    };
    let mut gateway = Gateway::start(&meeting.lab, &meeting.outpost.a, SITE_B, &settings)?;
    gateway.wait_until_ready()?;
    let played = (|| {
        let host = SITE_A.host()[0];
        match role {
            Role::Initiator => {
                traffic::wait_for_first_answer(&meeting.outpost.a.host, SITE_B.host()[0])?;
            }
            Role::Responder => {
                meeting.kernel.shell("swanctl --initiate --child net --timeout 60")?;
                meeting.kernel.shell(&format!("ping -q -c 20 -i 0.2 -W 1 -I 10.2.0.10 {host} || true"))?;
            }
        }
        meeting.traffic()
    })();
    match played {
        Ok(remark) => meeting.conclude(&remark),
        Err(failure) => Err(Failure::new(format!(
            "{failure}\n── last words of warrend ──\n{}\ndropped: {:?}\n── the guest ──\n{}",
            gateway.last_words(),
            gateway.drops().unwrap_or_default(),
            meeting.kernel.status().unwrap_or_default(),
        ))),
    }
}

/// Manual keys: the engine with its AF_XDP ports and nothing of control. With ESN the sequence numbers start just
/// below 2^32, so that the high half comes into play with the third packet.
pub(crate) fn manual(case: Manual) -> Result<String, Failure> {
    let meeting = Meeting::new()?;
    let sequence: u64 = if case.esn { 0xffff_fffd } else { 0 };
    let mut settings = vec![format!("bits={}", case.bits), format!("esn={}", u8::from(case.esn))];
    if case.esn {
        settings.push(format!("seq={sequence:#x}"));
    }
    let settings: Vec<_> = settings.iter().map(String::as_str).collect();
    let keys = meeting.kernel.manual(&settings)?;
    // The engine is told its neighbours once, so the gateway's kernel has to know them first.
    let gateway = &meeting.outpost.a.gateway;
    for neighbour in [SITE_A.host()[0], IpAddr::V4(SITE_B.outer())] {
        traffic::wait_for_neighbour(gateway, neighbour)?;
    }
    // What warrend does at its start: the kernel forwards nothing here, not even when the engine is gone.
    gateway.sysctl(&["net.ipv4.ip_forward=0"])?;
    let engine = Engine::start(gateway, case, &keys, sequence)?;
    let played = meeting.traffic();
    let counted = engine.finish()?;
    match played {
        Ok(remark) => meeting.conclude(&remark),
        Err(failure) => {
            let status = meeting.kernel.status().unwrap_or_default();
            Err(Failure::new(format!("{failure}\n── the engine ──\n{counted}\n── the guest ──\n{status}")))
        }
    }
}

/// `interop bare` in a gateway's namespace.
struct Engine(Child);

impl Engine {
    /// `keys` is what the peer printed: its `out` is our inbound.
    fn start(gateway: &Namespace, case: Manual, keys: &str, sequence: u64) -> Result<Self, Failure> {
        let program = repository::own_program()?;
        let mut command = gateway.command(program);
        command.args(["bare", "--bits", &case.bits.to_string(), "--sequence", &sequence.to_string()]);
        if case.esn {
            command.arg("--esn");
        }
        for line in keys.lines() {
            let words: Vec<_> = line.split_whitespace().collect();
            let ["out" | "in", "spi", spi, "key", key] = words[..] else { continue };
            let ours = if words[0] == "out" { "in" } else { "out" };
            command.args([&format!("--spi-{ours}"), spi.trim_start_matches("0x")]);
            command.args([&format!("--key-{ours}"), key.trim_start_matches("0x")]);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting the engine")?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.as_mut() {
            // One line and no more: what a reader with a buffer took too much of would be lost.
            let mut octet = [0];
            while stdout.read(&mut octet).context("the engine")? == 1 && octet[0] != b'\n' {
                line.push(char::from(octet[0]));
            }
        }
        match line.as_str() {
            "ready" => Ok(Self(child)),
            _ => Err(Failure::new(format!("the engine does not start: {line}"))),
        }
    }

    /// Ends it by closing its input; returns what it counted.
    fn finish(mut self) -> Result<String, Failure> {
        drop(self.0.stdin.take());
        let mut text = String::new();
        if let Some(mut stdout) = self.0.stdout.take() {
            stdout.read_to_string(&mut text).context("the engine")?;
        }
        Ok(text)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        lab::end(&mut self.0);
    }
}
