//! Cases against strongSwan. Its userland ESP is UDP-encapsulated only and pretends that there is a NAT, so these
//! cases prove NAT traversal at the same time.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use xtask::gateway::{Gateway, Settings};
use xtask::lab::Lab;
use xtask::listener::Listener;
use xtask::peer::{self, StrongSwan};
use xtask::topology::{SITE_A, SITE_B, Topology};
use xtask::traffic::{self, Client, Pinging, Sender, Server, Way};
use xtask::{Failure, repository};

use crate::cases::Role;
use crate::config_mode::until;

/// One configuration and what happens under it.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The folder under `peers/conf`.
    pub(crate) name: &'static str,
    shape: &'static str,
    ike: &'static [&'static str],
    esp: &'static [&'static str],
    peer: &'static str,
    tunnel: &'static str,
    /// RSA signatures instead of a key; their messages are so long that both sides must send them in fragments.
    has_certificates: bool,
    is_rekeyed: bool,
}

/// Phase 1 of all scenes, as the peer's configuration has it.
const IKE: &[&str] = &["aes128-sha256-modp2048"];

const PLAIN: Scene = Scene {
    name: "ikev1-main-aes128gcm",
    shape: "v1-main",
    ike: IKE,
    esp: &["aes128gcm16"],
    peer: "",
    tunnel: "",
    has_certificates: false,
    is_rekeyed: false,
};

pub(crate) const SCENES: &[Scene] = &[
    PLAIN,
    Scene { name: "ikev1-main-aes128cbc-sha256", esp: &["aes128-sha256"], ..PLAIN },
    Scene {
        name: "ikev1-main-rekey-pfs-dpd",
        esp: &["aes128gcm16-modp2048"],
        peer: "nat_traversal = \"force\"\ndpd_delay = \"2s\"\ndpd_timeout = \"10s\"\n",
        tunnel: "lifetime_volume = \"64MiB\"\n",
        is_rekeyed: true,
        ..PLAIN
    },
    Scene { name: "ikev1-aggr-aes128gcm", shape: "v1-aggressive", ..PLAIN },
    Scene { name: "ikev1-main-rsa-frag", has_certificates: true, ..PLAIN },
];

impl Scene {
    fn settings(&self) -> Settings {
        let (shape, ike, esp, peer, tunnel) = (self.shape, self.ike, self.esp, self.peer, self.tunnel);
        let credentials =
            self.has_certificates.then(|| peer::folder().join("conf").join(self.name).join("left"));
        Settings { shape, ike, esp, peer, tunnel, credentials, has_ipv6: false, ..Settings::default() }
    }
}

/// strongSwan on both sides: the lab, the listener and the peer work, so what fails later is Warren's.
pub(crate) fn meets_itself() -> Result<(), Failure> {
    let mut lab = Lab::new(&repository::target())?;
    let topology = Topology::new(&mut lab)?;
    let program = repository::own_program()?;
    let listener = Listener::start(&program, &topology.wide_area, traffic::MARKER, None)?;
    let name = SCENES[0].name;
    let left = StrongSwan::start(&lab, &topology.a.gateway, name, "left")?;
    let _right = StrongSwan::start(&lab, &topology.b.gateway, name, "right")?;
    left.initiate("net")?;
    traffic::wait_for_first_answer(&topology.a.host, SITE_B.host()[0])?;
    pinged(&topology.a.host, SITE_B.host()[0])?;
    let wire = listener.finish()?;
    match (wire.udp_esp, wire.clear_text_leaks) {
        (1.., 0) => Ok(()),
        (seen, leaks) => Err(Failure::new(format!("{seen} ESP packets and {leaks} leaks were seen outside"))),
    }
}

/// Warren at site A, strongSwan at site B.
struct Meeting {
    gateway: Gateway,
    peer: StrongSwan,
    listener: Listener,
    topology: Topology,
    _lab: Lab,
}

/// Runs a scene; what went wrong is told with both daemons' last words.
pub(crate) fn run(scene: &Scene, role: Role) -> Result<String, Failure> {
    let meeting = Meeting::new(scene)?;
    match meeting.play(scene, role) {
        Ok(remark) => concluded(meeting.listener, &remark),
        Err(failure) => Err(Failure::new(format!(
            "{failure}\n── last words of warrend ──\n{}\ndropped: {:?}\n── last words of strongSwan ──\n{}",
            meeting.gateway.last_words(),
            meeting.gateway.drops().unwrap_or_default(),
            meeting.peer.last_words(),
        ))),
    }
}

impl Meeting {
    fn new(scene: &Scene) -> Result<Self, Failure> {
        let mut lab = Lab::new(&repository::target())?;
        let topology = Topology::new(&mut lab)?;
        let program = repository::own_program()?;
        let listener = Listener::start(&program, &topology.wide_area, traffic::MARKER, None)?;
        topology.b.close_clear_way(SITE_A)?;
        let peer = StrongSwan::start(&lab, &topology.b.gateway, scene.name, "right")?;
        let mut gateway = Gateway::start(&lab, &topology.a, SITE_B, &scene.settings())?;
        gateway.wait_until_ready()?;
        Ok(Self { gateway, peer, listener, topology, _lab: lab })
    }

    fn play(&self, scene: &Scene, role: Role) -> Result<String, Failure> {
        let (a, b) = (&self.topology.a.host, &self.topology.b.host);
        let (host_a, host_b) = (SITE_A.host()[0], SITE_B.host()[0]);
        let unanswered = match role {
            Role::Initiator => traffic::wait_for_first_answer(a, host_b)?,
            Role::Responder => {
                self.peer.initiate("net")?;
                traffic::wait_for_first_answer(b, host_a)?
            }
        };
        pinged(a, host_b)?;
        pinged(b, host_a)?;
        let _server = Server::start(b)?;
        let forth = traffic::transfer(a, host_b, Way::Forth, 2)?;
        let back = traffic::transfer(a, host_b, Way::Back, 2)?;
        if forth.octets == 0 || back.octets == 0 {
            return Err(Failure::new("iperf3 moved nothing in one direction"));
        }
        if scene.has_certificates {
            self.fragmented()?;
        }
        let rekeyed = if scene.is_rekeyed { self.rekey()? } else { String::new() };
        Ok(format!(
            "{unanswered} unanswered first, iperf3 {:.2} and {:.2} Gbit/s{rekeyed}",
            forth.gbit_s, back.gbit_s
        ))
    }

    /// The rekey steps, under a ping that runs all the while: the peer renews the child, the peer renews phase 1,
    /// and Warren renews the child because its volume is used up.
    fn rekey(&self) -> Result<String, Failure> {
        let (a, host_b) = (&self.topology.a.host, SITE_B.host()[0]);
        // Longer than the DPD delay: questions and answers of both sides pass here.
        std::thread::sleep(Duration::from_secs(5));
        pinged(a, host_b)?;
        let running = Pinging::start(a, host_b, Duration::from_secs(8))?;
        self.renewed("the peer renewed the child", || {
            self.peer.control(&["--rekey", "--child", "net"]).map(drop)
        })?;
        pinged(a, host_b)?;
        self.peer.control(&["--rekey", "--ike", "gw"])?;
        std::thread::sleep(Duration::from_secs(3));
        pinged(a, host_b)?;
        let during = running.finish()?;
        self.renewed("Warren renewed the child when its volume was used up", || {
            Client::limited(a, host_b, "60M", "86M")?.finish().map(drop)
        })?;
        pinged(a, host_b)?;
        Ok(format!("; {} of {} pings lost while the peer rekeyed", during.lost(), during.sent))
    }

    /// Does something after which there must be an outbound SA that was not there before, and lets a packet through it:
    /// a peer may need a moment more than we do until it has both.
    fn renewed(&self, what: &str, step: impl Fn() -> Result<(), Failure>) -> Result<(), Failure> {
        let before = self.outbound()?;
        step()?;
        let sentence = format!("{what} (the outbound SPIs were {before:?})");
        until(&sentence, || Ok(self.outbound()?.iter().any(|spi| !before.contains(spi)).then_some(())))?;
        traffic::wait_for_first_answer(&self.topology.a.host, SITE_B.host()[0]).map(drop)
    }

    fn outbound(&self) -> Result<Vec<String>, Failure> {
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        let rows = self.gateway.sas()?;
        Ok(rows
            .iter()
            .filter(|row| text(row, "direction") == "outbound")
            .map(|row| text(row, "spi"))
            .collect())
    }

    /// Certificates went both ways in fragments, in the peer's own words.
    fn fragmented(&self) -> Result<(), Failure> {
        let log = self.peer.log();
        for words in ["splitting IKE message", "received fragment"] {
            if !log.contains(words) {
                return Err(Failure::new(format!("strongSwan's log has nothing of `{words}`")));
            }
        }
        Ok(())
    }
}

/// Ends the listener: there must have been ESP, and nothing in clear.
pub(crate) fn concluded(listener: Listener, remark: &str) -> Result<String, Failure> {
    let wire = listener.finish()?;
    if wire.clear_text_leaks > 0 {
        let first = wire.first_leak.unwrap_or_default();
        return Err(Failure::new(format!("{} frames in clear, the first: {first}", wire.clear_text_leaks)));
    }
    match wire.protected() {
        0 => Err(Failure::new("no ESP was seen outside")),
        seen => Ok(format!("{remark}; {seen} ESP packets outside, none in clear")),
    }
}

/// Ten pings, all of which must come back.
pub(crate) fn pinged<'a>(from: impl Into<Sender<'a>>, to: IpAddr) -> Result<(), Failure> {
    let from = from.into();
    let pings = traffic::pings(from, to, 10)?;
    match pings.lost() {
        0 => Ok(()),
        lost => Err(Failure::new(format!(
            "{lost} of {} pings from {} to {to} were lost",
            pings.sent,
            from.name()
        ))),
    }
}
