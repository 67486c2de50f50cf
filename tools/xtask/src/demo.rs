//! `cargo xtask demo`: what is asked for, and the scenes with two gateways: a host behind each, traffic between the
//! hosts, and a listener on the wire. The scenes of config mode, of discovery and of tunnels inside tunnels have files of
//! their own.
//!
//! ```text
//! build ── lab ── listener ── gateways start ── first pings (no tunnel yet) ── tunnel up ── N seconds of ping and
//! iperf3, both ways, counters shown ── tunnels, counters and wire once more ── verdict ── tear down
//! ```

use std::net::IpAddr;
use std::path::PathBuf;

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::arguments::Arguments;
use crate::capture::{Wire, unix_seconds};
use crate::failure::Context;
use crate::gateway::{Gateway, Settings};
use crate::lab::{Lab, require_root};
use crate::listener::Listener;
use crate::live::Watch;
use crate::nested_files::Far;
use crate::packages::{Purpose, require};
use crate::peer::StrongSwan;
use crate::test::RELEASE_PROGRAMS;
use crate::topology::{SITE_A, SITE_B, Topology};
use crate::traffic::{self, Client, Pinging, Pings, Server, Transfer, Way};
use crate::verdict::Outcome;
use crate::{Failure, config_mode, discovery, nested, repository, supervise};

/// What the command line asks for.
pub(crate) struct Order {
    scenario: Scenario,
    pub(crate) seconds: u64,
    json: Option<PathBuf>,
    pub(crate) is_kept: bool,
    /// Everything in IPv6, or what tunnels begin and end at; the scenes that do not have that to choose have both families or
    /// one.
    pub(crate) is_ipv6: bool,
    /// Who the second of three gateways is, where there are three.
    pub(crate) far: Far,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// Two Warren gateways.
    SiteToSite,
    /// strongSwan on the far side.
    Interop,
    /// A client that pulls its policy from a server.
    ConfigMode,
    /// Two gateways that find each other.
    Discovery,
    /// Tunnels inside tunnels along a row of gateways.
    Nested,
}

impl Scenario {
    /// All of them, in the order in which a test run plays them.
    pub(crate) const ALL: [Self; 5] =
        [Self::SiteToSite, Self::Interop, Self::ConfigMode, Self::Discovery, Self::Nested];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::SiteToSite => "site-to-site",
            Self::Interop => "interop",
            Self::ConfigMode => "config-mode",
            Self::Discovery => "discovery",
            Self::Nested => "nested",
        }
    }

    /// The options with which a test run plays it, each time with one more.
    pub(crate) const fn variants(self) -> &'static [&'static [&'static str]] {
        match self {
            Self::Discovery => &[&[], &["--ipv6"]],
            Self::Nested => &[&[], &["--ipv6"], &["--far", "strongswan"]],
            _ => &[&[]],
        }
    }

    fn from_word(word: &str) -> Result<Self, Failure> {
        let found = Self::ALL.into_iter().find(|scenario| scenario.word() == word);
        found.ok_or_else(|| {
            let words = Self::ALL.map(Self::word).join(", ");
            Failure::new(format!("no scenario `{word}`; there are {words}"))
        })
    }
}

impl Order {
    fn read(mut arguments: Arguments) -> Result<Self, Failure> {
        let scenario = match arguments.value("--scenario")? {
            None => Scenario::SiteToSite,
            Some(word) => Scenario::from_word(&word)?,
        };
        let order = Self {
            scenario,
            seconds: arguments.number("--seconds")?.unwrap_or(20).max(2),
            json: arguments.value("--json")?.map(PathBuf::from),
            is_kept: arguments.flag("--keep"),
            is_ipv6: arguments.flag("--ipv6"),
            far: match arguments.value("--far")?.as_deref() {
                None | Some("warren") => Far::Warren,
                Some("strongswan") => Far::StrongSwan,
                Some(word) => {
                    return Err(Failure::new(format!("--far is warren or strongswan, not `{word}`")));
                }
            },
        };
        arguments.finish()?;
        if order.is_ipv6 && !matches!(scenario, Scenario::Discovery | Scenario::Nested) {
            return Err(Failure::new("--ipv6 belongs to --scenario discovery and --scenario nested"));
        }
        if order.is_ipv6 && order.far == Far::StrongSwan {
            return Err(Failure::new("--far strongswan has its tunnels in IPv4"));
        }
        if order.far == Far::StrongSwan && scenario != Scenario::Nested {
            return Err(Failure::new("--far belongs to --scenario nested"));
        }
        Ok(order)
    }

    fn needs_strongswan(&self) -> bool {
        self.scenario == Scenario::Interop || self.far == Far::StrongSwan
    }
}

/// Builds, then runs the scene under supervision; `Ok(false)` when the verdict is bad.
pub fn main(arguments: Arguments) -> Result<bool, Failure> {
    let order = Order::read(arguments)?;
    require_root()?;
    require(Purpose::Lab).map_err(|why| Failure::new(format!("{why}: run `cargo xtask setup`")))?;
    if order.needs_strongswan() {
        require(Purpose::StrongSwan)
            .map_err(|why| Failure::new(format!("{why}: run `cargo xtask setup`")))?;
    }
    let xtask = repository::own_program()?;
    if !supervise::is_supervised() {
        build()?;
    }
    let words: Vec<_> =
        [xtask.to_string_lossy().into_owned()].into_iter().chain(std::env::args().skip(1)).collect();
    supervise::supervised(&xtask, &words)?;
    let outcome = match order.scenario {
        Scenario::ConfigMode => config_mode::play(&xtask, &order)?,
        Scenario::Discovery => discovery::play(&xtask, &order)?,
        Scenario::Nested => nested::play(&xtask, &order)?,
        Scenario::SiteToSite | Scenario::Interop => Scene::new(&xtask, &order)?.play(&order)?,
    };
    outcome.print();
    if let Some(path) = &order.json {
        std::fs::write(path, format!("{:#}\n", outcome.json())).context(path.display())?;
    }
    Ok(outcome.is_good())
}

fn build() -> Result<(), Failure> {
    println!("building the release programs");
    let mut cargo = repository::cargo(&RELEASE_PROGRAMS);
    match cargo.status().context("cargo build")?.success() {
        true => Ok(()),
        false => Err(Failure::new("the release programs do not build")),
    }
}

/// 256 bits in hexadecimal, as `dpctl psk new` makes them.
pub(crate) fn fresh_secret() -> Result<String, Failure> {
    let mut octets = [0; 32];
    let mut source = std::fs::File::open("/dev/urandom").context("/dev/urandom")?;
    std::io::Read::read_exact(&mut source, &mut octets).context("/dev/urandom")?;
    Ok(octets.iter().map(|octet| format!("{octet:02x}")).collect())
}

/// Who answers on the far side.
enum FarSide {
    Warren(Box<Gateway>),
    StrongSwan(StrongSwan),
}

/// Everything that stands while the demo runs. Fields are dropped in this order: programs before their namespaces.
struct Scene {
    near: Gateway,
    far: FarSide,
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
            lab.keep()?;
        }
        println!("host A ── gateway 1 ── wide area ── gateway 2 ── host B, in namespaces");
        let topology = Topology::new(&mut lab)?;
        let listener = Listener::start(xtask, &topology.wide_area, traffic::MARKER, None)?;
        let (a, b) = (&topology.a, &topology.b);
        let mut settings = Settings::default();
        let far = match order.scenario {
            Scenario::SiteToSite => {
                settings.secret = fresh_secret()?;
                None
            }
            _ => {
                settings.has_ipv6 = false;
                settings.ike = &["aes128-sha256-modp2048"];
                settings.esp = &["aes128gcm16"];
                b.close_clear_way(SITE_A)?;
                Some(StrongSwan::start(&lab, &b.gateway, "ikev1-main-aes128gcm", "right")?)
            }
        };
        let started_s = unix_seconds();
        let mut near = Gateway::start(&lab, a, SITE_B, &settings)?;
        let far = match far {
            Some(peer) => FarSide::StrongSwan(peer),
            None => {
                let mut gateway = Gateway::start(&lab, b, SITE_A, &settings)?;
                gateway.wait_until_ready()?;
                FarSide::Warren(Box::new(gateway))
            }
        };
        near.wait_until_ready()?;
        Ok(Self { near, far, listener, topology, lab, started_s, has_ipv6: settings.has_ipv6 })
    }

    fn gateways(&self) -> Vec<(&'static str, &Gateway)> {
        let mut all = vec![("gateway 1", &self.near)];
        if let FarSide::Warren(gateway) = &self.far {
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
            scenario: order.scenario.word(),
            seconds: order.seconds,
            ends: ["A to B", "B to A"],
            remarks: Vec::new(),
            complaints: Vec::new(),
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

    /// Ends the gateways while a host still sends and the listener still listens: what a tunnel rule covered must not
    /// leave in clear because its gateway is gone. With `--keep` everything stays.
    fn release(self, order: &Order) -> Result<Wire, Failure> {
        let Self { near, far, listener, topology, .. } = self;
        if order.is_kept {
            near.keep();
            match far {
                FarSide::Warren(gateway) => gateway.keep(),
                FarSide::StrongSwan(peer) => std::mem::forget(peer),
            }
            return listener.finish();
        }
        drop(near);
        // Nobody may answer; that is the point.
        let _ = traffic::pings_in_vain(&topology.a.host, SITE_B.host()[0], 5);
        drop(far);
        listener.finish()
    }

    fn flow(&self, order: &Order) -> Result<Flow, Failure> {
        let (a, b) = (&self.topology.a, &self.topology.b);
        let families = if self.has_ipv6 { 2 } else { 1 };
        let targets: Vec<IpAddr> = SITE_B.host().into_iter().take(families).collect();
        let mut unanswered = 0;
        for target in &targets {
            let waited = Instant::now();
            let lost = traffic::wait_for_first_answer(&a.host, *target)?;
            let waited_ms = waited.elapsed().as_millis();
            println!("{target} answers after {waited_ms} ms; {lost} pings before that found no tunnel");
            unanswered += lost;
        }
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
            let client = match order.scenario {
                // strongSwan receives ESP on an ordinary UDP socket, whose buffer a whole window would overflow.
                Scenario::Interop => Client::narrow(&a.host, targets[0], way, seconds)?,
                _ => Client::start(&a.host, targets[0], way, seconds)?,
            };
            watch.until(Instant::now() + Duration::from_secs(seconds), &self.gateways(), &self.listener);
            transfers.push(client.finish()?);
        }
        let mut pings = Pings::default();
        for ping in running {
            pings += ping.finish()?;
        }
        // The listener tells its counts twice a second; the last packets are worth the wait.
        std::thread::sleep(Duration::from_millis(600));
        watch.show(&self.gateways(), &self.listener);
        Ok(Flow { unanswered, pings, transfers })
    }

    fn tunnels(&self) -> Result<Vec<Value>, Failure> {
        tunnels(&self.gateways())
    }

    fn explain(&self, failure: &Failure) -> Failure {
        let mut text = last_words(failure, &self.gateways());
        if let FarSide::StrongSwan(peer) = &self.far {
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

/// The tunnels of every gateway, each row with the gateway it stands on.
pub(crate) fn tunnels(gateways: &[(&'static str, &Gateway)]) -> Result<Vec<Value>, Failure> {
    let mut all = Vec::new();
    for (name, gateway) in gateways {
        for mut row in gateway.tunnels()? {
            row["gateway"] = (*name).into();
            all.push(row);
        }
    }
    Ok(all)
}

/// What went wrong, with what every gateway has to say.
pub(crate) fn last_words(failure: &Failure, gateways: &[(&'static str, &Gateway)]) -> String {
    let mut text = failure.to_string();
    for (name, gateway) in gateways {
        text.push_str(&format!("\n── last words of {name} ──\n{}", gateway.last_words()));
        match gateway.drops() {
            Ok(drops) => text.push_str(&format!("\n{name} dropped: {drops:?}")),
            Err(failure) => text.push_str(&format!("\n{failure}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_that_there_is_not_is_refused_with_the_ones_there_are() {
        let refused = Scenario::from_word("config").unwrap_err().to_string();
        assert!(Scenario::ALL.iter().all(|scenario| refused.contains(scenario.word())), "{refused}");
        assert_eq!(Scenario::from_word("config-mode").unwrap(), Scenario::ConfigMode);
    }

    #[test]
    fn option_without_a_meaning_for_a_scene_is_refused() {
        let order = |text: &str| Order::read(Arguments::new(text.split(' ').map(str::to_owned)));
        assert!(order("--scenario discovery --ipv6").unwrap().is_ipv6);
        assert!(order("--scenario interop --ipv6").is_err());
        assert_eq!(order("--scenario nested --far strongswan").unwrap().far, Far::StrongSwan);
        assert!(order("--scenario nested --ipv6").unwrap().is_ipv6);
        assert!(order("--scenario nested --ipv6 --far strongswan").is_err());
        assert!(order("--scenario nested --far racoon").is_err());
        assert!(order("--scenario interop --far strongswan").is_err());
    }
}
