//! `cargo xtask demo`: two gateways, a host behind each, traffic between the hosts, and a listener on the wire.
//!
//! ```text
//! build ── lab ── listener ── gateways start ── first pings (no tunnel yet) ── tunnel up ── N seconds of ping and
//! iperf3, both ways, counters shown ── tunnels, counters and wire once more ── verdict ── tear down
//! ```

use std::net::IpAddr;
use std::path::PathBuf;

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::capture::{Wire, unix_seconds};
use crate::failure::Context;
use crate::gateway::{Gateway, Settings};
use crate::lab::{Lab, require_root};
use crate::listener::Listener;
use crate::live::{Live, gateway_line, wire_line};
use crate::packages::{Purpose, require};
use crate::peer::StrongSwan;
use crate::test::RELEASE_PROGRAMS;
use crate::topology::{SITE_A, SITE_B, Topology};
use crate::traffic::{self, Client, Pinging, Pings, Server, Transfer, Way};
use crate::{Failure, limits, repository, supervise};

/// What the command line asks for.
struct Order {
    scenario: Scenario,
    seconds: u64,
    json: Option<PathBuf>,
    is_kept: bool,
}

/// Who stands on the far side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scenario {
    SiteToSite,
    Interop,
}

impl Scenario {
    const fn word(self) -> &'static str {
        match self {
            Self::SiteToSite => "site-to-site",
            Self::Interop => "interop",
        }
    }
}

impl Order {
    fn read(mut arguments: Arguments) -> Result<Self, Failure> {
        let scenario = match arguments.value("--scenario")?.as_deref() {
            None | Some("site-to-site") => Scenario::SiteToSite,
            Some("interop") => Scenario::Interop,
            Some(other) => {
                return Err(Failure::new(format!(
                    "no scenario `{other}`; there are site-to-site and interop"
                )));
            }
        };
        let order = Self {
            scenario,
            seconds: arguments.number("--seconds")?.unwrap_or(20).max(2),
            json: arguments.value("--json")?.map(PathBuf::from),
            is_kept: arguments.flag("--keep"),
        };
        arguments.finish()?;
        Ok(order)
    }
}

/// Builds, then runs the scene under supervision; `Ok(false)` when the verdict is bad.
pub fn main(arguments: Arguments) -> Result<bool, Failure> {
    let order = Order::read(arguments)?;
    require_root()?;
    require(Purpose::Lab).map_err(|why| Failure::new(format!("{why}: run `cargo xtask setup`")))?;
    if order.scenario == Scenario::Interop {
        require(Purpose::StrongSwan)
            .map_err(|why| Failure::new(format!("{why}: run `cargo xtask setup`")))?;
    }
    let xtask = std::env::current_exe().context("our own path")?;
    if !supervise::is_supervised() {
        build()?;
    }
    let words: Vec<_> =
        [xtask.to_string_lossy().into_owned()].into_iter().chain(std::env::args().skip(1)).collect();
    supervise::supervised(&xtask, &words)?;
    let outcome = Scene::new(&xtask, &order)?.play(&order)?;
    outcome.print();
    if let Some(path) = &order.json {
        std::fs::write(path, format!("{:#}\n", outcome.json())).context(path.display())?;
    }
    Ok(outcome.is_good())
}

fn build() -> Result<(), Failure> {
    println!("building the release programs");
    let mut cargo = repository::cargo(&RELEASE_PROGRAMS[..7]);
    match cargo.status().context("cargo build")?.success() {
        true => Ok(()),
        false => Err(Failure::new("the release programs do not build")),
    }
}

/// Who answers on the far side.
enum Far {
    Warren(Box<Gateway>),
    StrongSwan(StrongSwan),
}

/// Everything that stands while the demo runs. Fields are dropped in this order: programs before their namespaces.
struct Scene {
    near: Gateway,
    far: Far,
    listener: Listener,
    topology: Topology,
    lab: Lab,
    started_s: f64,
    has_ipv6: bool,
}

impl Scene {
    fn new(xtask: &std::path::Path, order: &Order) -> Result<Self, Failure> {
        let mut lab = Lab::new(&repository::target())?;
        if order.is_kept {
            lab.keep();
        }
        println!("host A ── gateway 1 ── wide area ── gateway 2 ── host B, in namespaces");
        let topology = Topology::new(&mut lab)?;
        let listener = Listener::start(xtask, &topology.wide_area, traffic::MARKER, None)?;
        let (a, b) = (&topology.a, &topology.b);
        let mut settings = Settings::default();
        let far = match order.scenario {
            Scenario::SiteToSite => None,
            Scenario::Interop => {
                settings.has_ipv6 = false;
                settings.ike = &["aes128-sha256-modp2048"];
                settings.esp = &["aes128gcm16"];
                Some(StrongSwan::start(&lab, &b.gateway, "ikev1-main-aes128gcm", "right")?)
            }
        };
        let started_s = unix_seconds();
        let mut near = Gateway::start(&lab, a, SITE_B, &settings)?;
        let far = match far {
            Some(peer) => Far::StrongSwan(peer),
            None => {
                let mut gateway = Gateway::start(&lab, b, SITE_A, &settings)?;
                gateway.wait_until_ready()?;
                Far::Warren(Box::new(gateway))
            }
        };
        near.wait_until_ready()?;
        Ok(Self { near, far, listener, topology, lab, started_s, has_ipv6: settings.has_ipv6 })
    }

    fn gateways(&self) -> Vec<(&'static str, &Gateway)> {
        let mut all = vec![("gateway 1", &self.near)];
        if let Far::Warren(gateway) = &self.far {
            all.push(("gateway 2", gateway));
        }
        all
    }

    fn play(self, order: &Order) -> Result<Outcome, Failure> {
        let idle = self
            .gateways()
            .iter()
            .map(|(_, gateway)| gateway.resident_kib())
            .collect::<Result<Vec<_>, _>>()?;
        let played = self.flow(order).map_err(|failure| self.explain(&failure));
        if order.is_kept {
            self.point_out();
        }
        let (unanswered, pings, transfers, tunnels, drops) = match played {
            Ok(Flow { unanswered, pings, transfers }) => {
                (unanswered, pings, transfers, self.tunnels()?, self.near.drops()?)
            }
            Err(failure) => {
                // What the listener has to say no longer matters; the failure does.
                let _ = self.release(order);
                return Err(failure);
            }
        };
        let started_s = self.started_s;
        let wire = self.release(order)?;
        Ok(Outcome {
            scenario: order.scenario,
            seconds: order.seconds,
            unanswered,
            pings,
            transfers,
            tunnels,
            drops,
            first_protected_s: wire.first_protected_s.map(|first| first - started_s),
            idle_kib: idle.into_iter().max().unwrap_or(0),
            wire,
        })
    }

    /// The listener stops before the gateways do: what hosts send into a gateway that is gone is not the demo's.
    fn release(self, order: &Order) -> Result<Wire, Failure> {
        let Self { near, far, listener, .. } = self;
        let wire = listener.finish()?;
        if order.is_kept {
            near.keep();
            match far {
                Far::Warren(gateway) => gateway.keep(),
                Far::StrongSwan(peer) => std::mem::forget(peer),
            }
        }
        Ok(wire)
    }

    fn flow(&self, order: &Order) -> Result<Flow, Failure> {
        let (a, b) = (&self.topology.a, &self.topology.b);
        let families = if self.has_ipv6 { 2 } else { 1 };
        let targets: Vec<IpAddr> = SITE_B.host().into_iter().take(families).collect();
        let mut unanswered = 0;
        for target in &targets {
            unanswered += traffic::wait_for_first_answer(&a.host, *target)?;
        }
        println!("tunnel up; {unanswered} pings went unanswered while it was negotiated");
        let _server = Server::start(&b.host)?;
        let length = Duration::from_secs(order.seconds);
        let running = targets
            .iter()
            .map(|target| Pinging::start(&a.host, *target, length))
            .collect::<Result<Vec<_>, _>>()?;
        let mut watch = Watch::default();
        let halves = [(Way::Forth, order.seconds / 2), (Way::Back, order.seconds - order.seconds / 2)];
        let mut transfers = Vec::new();
        for (way, seconds) in halves {
            let client = Client::start(&a.host, targets[0], way, seconds)?;
            watch.until(Instant::now() + Duration::from_secs(seconds), self);
            transfers.push(client.finish()?);
        }
        let mut pings = Pings::default();
        for ping in running {
            pings += ping.finish()?;
        }
        // The listener tells its counts twice a second; the last packets are worth the wait.
        std::thread::sleep(Duration::from_millis(600));
        watch.show(self);
        Ok(Flow { unanswered, pings, transfers })
    }

    /// The tunnels of every Warren gateway, each row with the gateway it stands on.
    fn tunnels(&self) -> Result<Vec<Value>, Failure> {
        let mut all = Vec::new();
        for (name, gateway) in self.gateways() {
            for mut row in gateway.tunnels()? {
                row["gateway"] = name.into();
                all.push(row);
            }
        }
        Ok(all)
    }

    fn explain(&self, failure: &Failure) -> Failure {
        let mut text = failure.to_string();
        for (name, gateway) in self.gateways() {
            text.push_str(&format!("\n── last words of {name} ──\n{}", gateway.last_words()));
            match gateway.drops() {
                Ok(drops) => text.push_str(&format!("\n{name} dropped: {drops:?}")),
                Err(failure) => text.push_str(&format!("\n{failure}")),
            }
        }
        if let Far::StrongSwan(peer) = &self.far {
            text.push_str(&format!("\n── last words of strongSwan ──\n{}", peer.last_words()));
        }
        Failure::new(text)
    }

    fn point_out(&self) {
        println!("kept; everything is in {}", self.lab.folder().display());
        for (name, gateway) in self.gateways() {
            println!("  {name}: dpctl --socket {} stats --watch", gateway.socket().display());
        }
        println!("  {}: ping {}", self.topology.a.host.name(), SITE_B.host()[0]);
        println!("  `cargo xtask sweep` removes it");
    }
}

struct Flow {
    unanswered: u64,
    pings: Pings,
    transfers: Vec<Transfer>,
}

/// Shows the counters once a second.
#[derive(Default)]
struct Watch {
    live: Live,
    before: Vec<Value>,
}

impl Watch {
    fn until(&mut self, end: Instant, scene: &Scene) {
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            std::thread::sleep(left.min(Duration::from_secs(1)));
            self.show(scene);
        }
    }

    fn show(&mut self, scene: &Scene) {
        // A daemon that does not answer for a moment shows zeros; the verdict does not rest on this view.
        let now: Vec<Value> =
            scene.gateways().iter().map(|(_, gateway)| gateway.ask(&["stats"]).unwrap_or_default()).collect();
        let mut lines: Vec<_> = scene
            .gateways()
            .iter()
            .zip(&now)
            .enumerate()
            .map(|(at, ((name, _), value))| gateway_line(name, value, self.before.get(at)))
            .collect();
        lines.push(wire_line(&scene.listener.latest()));
        self.live.show(&lines);
        self.before = now;
    }
}

/// How it went.
struct Outcome {
    scenario: Scenario,
    seconds: u64,
    unanswered: u64,
    pings: Pings,
    transfers: Vec<Transfer>,
    tunnels: Vec<Value>,
    drops: Vec<(String, u64)>,
    wire: Wire,
    first_protected_s: Option<f64>,
    idle_kib: u64,
}

impl Outcome {
    /// Every reason why the verdict is bad, as sentences.
    fn objections(&self) -> Vec<String> {
        let mut all = Vec::new();
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
        let limit_s = limits::FIRST_PROTECTED.as_secs_f64();
        let quick = self.first_protected_s.is_some_and(|first| first < limit_s);
        hold(quick, format!("the first protected packet came later than {limit_s} s after the start"));
        let small = self.idle_kib < limits::IDLE_RESIDENT_KIB;
        hold(small, format!("an idle gateway holds {} MiB of memory", self.idle_kib / 1024));
        all
    }

    fn is_good(&self) -> bool {
        self.objections().is_empty()
    }

    /// Mean over the whole of both transfers.
    fn gbit_s(&self) -> f64 {
        let octets: u64 = self.transfers.iter().map(|transfer| transfer.octets).sum();
        octets as f64 * 8.0 / 1e9 / self.seconds as f64
    }

    fn json(&self) -> Value {
        json!({
            "scenario": self.scenario.word(),
            "ok": self.is_good(),
            "sent": self.pings.sent,
            "received": self.pings.received,
            "clear_text_leaks": self.wire.clear_text_leaks,
            "tunnels": self.tunnels,
            "gbit_s": (self.gbit_s() * 1000.0).round() / 1000.0,
            "seconds": self.seconds,
        })
    }

    fn print(&self) {
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
        println!("  gateway 1 dropped {drops}");
        let Wire { frames, ike, neighbour, other, missed, clear_text_leaks, .. } = &self.wire;
        println!(
            "  wire: {frames} frames: {} ESP, {ike} IKE, {neighbour} ARP or ND, {other} other; {clear_text_leaks} in clear; \
             {missed} missed by the listener",
            self.wire.protected()
        );
        println!(
            "  ping: {} sent, {} received, {} unanswered before the tunnel was up",
            self.pings.sent, self.pings.received, self.unanswered
        );
        for (way, transfer) in ["A to B", "B to A"].iter().zip(&self.transfers) {
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
        let objections = self.objections();
        for objection in &objections {
            println!("  not good: {objection}");
        }
        let verdict = if objections.is_empty() { "ok" } else { "NOT OK" };
        println!("{}: {verdict}", self.scenario.word());
    }
}
