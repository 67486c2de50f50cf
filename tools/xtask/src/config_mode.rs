//! The scene of config mode: a host that knows one address and one secret, and a policy server that tells it the rest.
//!
//! ```text
//! server starts ── client starts: main mode, pull, a quick mode for each set ── ping and iperf3 to two networks
//!   ── the server reads a file with a third network, and pushes ── the client reaches it; the first two kept their SAs
//!   ── client ends: its lease is free, nothing leaves in clear ── verdict
//! ```

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::capture::{Wire, unix_seconds};
use crate::demo::{Order, Scenario, fresh_secret, last_words, tunnels};
use crate::gateway::Gateway;
use crate::home::Home;
use crate::lab::{Lab, Namespace};
use crate::listener::Listener;
use crate::live::Watch;
use crate::topology::{ANNEX, LATER, LEASES, SITE_A, SITE_B, Site, Visit, annex_port};
use crate::traffic::{self, Client, Pinging, Pings, Sender, Server, Transfer, Way};
use crate::verdict::Outcome;
use crate::{Context, Failure, limits, repository};

/// What the client may reach from the beginning.
const FIRST: [Site; 2] = [SITE_B, ANNEX];
/// What it may reach after the change.
const CHANGED: [Site; 3] = [SITE_B, ANNEX, LATER];

/// The client's whole configuration.
fn client_file() -> String {
    format!("peer = \"{}\"\nsecret = \"server.psk\"\n", SITE_B.outer())
}

/// The server's configuration behind its first section: one client, and a set for each network that it may reach.
fn server_file(gateway: &str, sites: &[Site]) -> String {
    let mut text = gateway.to_owned();
    let inside = ["lan".to_owned(), annex_port(ANNEX), annex_port(LATER)];
    let ports = inside.iter().map(|port| (port.as_str(), "inside")).chain([("wan", "outside")]);
    for (interface, side) in ports {
        text.push_str(&format!("\n[[port]]\ninterface = \"{interface}\"\nside = \"{side}\"\n"));
    }
    let (client, leases) = (SITE_A.outer(), LEASES.network());
    text.push_str(&format!(
        r#"
[[peer]]
name = "client"
ike = "v1-main"
address = "{client}"
secret = "client.psk"
serves = "visitors"

[[pool]]
name = "leases"
addresses = "{leases}"

[[policy]]
name = "visitors"
pool = "leases"
"#
    ));
    for site in sites {
        let network = site.network();
        text.push_str(&format!("\n[[policy.set]]\nname = \"net{}\"\nsource = \"{network}\"\n", site.0));
    }
    text
}

/// Everything that stands while the scene is played. Fields are dropped in this order: programs before their
/// namespaces.
struct Scene {
    client: Gateway,
    server: Gateway,
    listener: Listener,
    server_home: Home,
    topology: Visit,
    lab: Lab,
    started: (Instant, f64),
}

/// What the traffic came to.
struct Flow {
    lease: IpAddr,
    connected: Duration,
    changed: Duration,
    pings: Pings,
    transfers: Vec<Transfer>,
    complaints: Vec<String>,
}

/// Builds the scene, plays it and takes it down.
pub(crate) fn play(xtask: &Path, order: &Order) -> Result<Outcome, Failure> {
    let scene = Scene::new(xtask, order)?;
    let idle = scene.client.resident_kib()?.max(scene.server.resident_kib()?);
    let played = scene.flow(order.seconds);
    if order.is_kept {
        scene.point_out();
    }
    let flow = match played {
        Ok(flow) => flow,
        Err(failure) => {
            let failure = Failure::new(last_words(&failure, &scene.gateways()));
            // What the listener has to say no longer matters; the failure does.
            let _ = scene.release(order, &mut Vec::new());
            return Err(failure);
        }
    };
    let Flow { lease, connected, changed, pings, transfers, mut complaints } = flow;
    let (tunnels, drops) = (tunnels(&scene.gateways())?, scene.client.drops()?);
    let started_s = scene.started.1;
    let wire = scene.release(order, &mut complaints)?;
    let remarks = vec![
        format!(
            "the client was leased {lease} and reached two networks {} ms after its start",
            connected.as_millis()
        ),
        format!("a third network was pushed to it {} ms after the server was told", changed.as_millis()),
    ];
    Ok(Outcome {
        scenario: Scenario::ConfigMode.word(),
        seconds: order.seconds,
        ends: ["client to B", "B to client"],
        remarks,
        complaints,
        unanswered: 0,
        pings,
        transfers,
        tunnels,
        drops,
        first_protected_s: wire.first_protected_s.map(|first| first - started_s),
        idle_kib: idle,
        wire,
    })
}

impl Scene {
    fn new(xtask: &Path, order: &Order) -> Result<Self, Failure> {
        let mut lab = Lab::new(&repository::target())?;
        if order.is_kept {
            lab.keep()?;
        }
        println!("client ── wide area ── policy server ─┬─ host B\n{:38}├─ host 4\n{:38}└─ host 5", "", "");
        let topology = Visit::new(&mut lab)?;
        let listener = Listener::start(xtask, &topology.wide_area, traffic::MARKER, None)?;
        let secret = format!("{}\n", fresh_secret()?);
        let (server_home, client_home) = (Home::new(&lab, "server")?, Home::new(&lab, "client")?);
        server_home.write("client.psk", &secret)?;
        server_home.configure(&server_file(&server_home.section(), &FIRST))?;
        client_home.write("server.psk", &secret)?;
        client_home.configure(&client_file())?;
        let mut server = Gateway::run(&topology.server.gateway, &server_home)?;
        server.wait_until_ready()?;
        println!("the client's whole configuration:");
        client_file().lines().for_each(|line| println!("    {line}"));
        let started = (Instant::now(), unix_seconds());
        let mut client = Gateway::run_apart(&topology.client, &client_home)?;
        client.wait_until_ready()?;
        Ok(Self { client, server, listener, server_home, topology, lab, started })
    }

    fn gateways(&self) -> [(&'static str, &Gateway); 2] {
        [("client", &self.client), ("server", &self.server)]
    }

    fn flow(&self, seconds: u64) -> Result<Flow, Failure> {
        let before = tunnels_up(&self.client, FIRST.len())?;
        let connected = self.started.0.elapsed();
        let lease = leased(&self.topology.client)?;
        println!("{lease} was leased to the client; {} tunnels are up", before.len());
        let mut complaints = Vec::new();
        let shown = self.server.ask(&["lease"])?.to_string();
        if !shown.contains(&lease.to_string()) {
            complaints.push(format!("`dpctl lease` on the server does not show {lease}"));
        }
        let sender = Sender::at(&self.topology.client, lease);
        let targets = FIRST.map(|site| site.host()[0]);
        for target in targets {
            traffic::wait_for_first_answer(sender, target)?;
        }
        let _server = Server::start(&self.topology.server.host)?;
        let running = targets
            .iter()
            .map(|target| Pinging::start(sender, *target, Duration::from_secs(seconds)))
            .collect::<Result<Vec<_>, _>>()?;
        let (first, second) = (seconds / 2, seconds - seconds / 2);
        let forth = Client::start(sender, targets[0], Way::Forth, first)?;
        self.watch(Duration::from_secs(first));
        let mut transfers = vec![forth.finish()?];
        let back = Client::start(sender, targets[0], Way::Back, second)?;
        let begun = Instant::now();
        let changed = self.change()?;
        let third = traffic::pings(sender, LATER.host()[0], 10)?;
        if third.lost() > 0 {
            complaints.push(format!(
                "{} of {} pings into the third network were lost",
                third.lost(),
                third.sent
            ));
        }
        complaints.extend(disturbed(&before, &tunnels_up(&self.client, CHANGED.len())?));
        self.watch(Duration::from_secs(second).saturating_sub(begun.elapsed()));
        transfers.push(back.finish()?);
        let mut pings = third;
        for ping in running {
            pings += ping.finish()?;
        }
        Ok(Flow { lease, connected, changed, pings, transfers, complaints })
    }

    fn watch(&self, length: Duration) {
        Watch::default().until(Instant::now() + length, &self.gateways(), &self.listener);
    }

    /// Gives the server a file with one more set, while everything runs; returns how long the client took to have it.
    fn change(&self) -> Result<Duration, Failure> {
        println!("the server is told of a third network, {}, and pushes it", LATER.network());
        self.server_home.configure(&server_file(&self.server_home.section(), &CHANGED))?;
        let told = Instant::now();
        self.server.reload()?;
        tunnels_up(&self.client, CHANGED.len())?;
        Ok(told.elapsed())
    }

    /// Ends the client while the listener still listens: the server must notice, and what the client was told to
    /// protect must not leave in clear because it is gone. With `--keep` everything stays.
    fn release(self, order: &Order, complaints: &mut Vec<String>) -> Result<Wire, Failure> {
        let Self { client, server, listener, topology, .. } = self;
        if order.is_kept {
            client.keep();
            server.keep();
            return listener.finish();
        }
        drop(client);
        // Nobody may answer; that is the point.
        let _ = traffic::pings_in_vain(&topology.client, SITE_B.host()[0], 5);
        if let Err(failure) = gone(&server) {
            complaints.push(failure.to_string());
        }
        drop(server);
        listener.finish()
    }

    fn point_out(&self) {
        println!("kept; everything is in {}", self.lab.folder().display());
        let ask = |gateway: &Gateway, words| {
            println!("  dpctl --socket {} {words}", gateway.socket().display());
        };
        ask(&self.client, "policy");
        ask(&self.server, "client");
        ask(&self.server, "lease");
        println!("  ip netns exec {} ping {}", self.topology.client.name(), SITE_B.host()[0]);
        println!("  `cargo xtask sweep` removes it");
    }
}

/// Waits until so many tunnels are up and no other is there; returns them.
fn tunnels_up(gateway: &Gateway, count: usize) -> Result<Vec<Value>, Failure> {
    let asked = Instant::now();
    loop {
        let rows = gateway.tunnels()?;
        let up = rows.iter().filter(|row| matches!(row["state"].as_str(), Some("up" | "rekeying"))).count();
        if (up, rows.len()) == (count, count) {
            return Ok(rows);
        }
        if asked.elapsed() > limits::TUNNEL_UP {
            return Err(Failure::new(format!(
                "{up} of {} tunnels are up after {} s, instead of {count}",
                rows.len(),
                limits::TUNNEL_UP.as_secs()
            )));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The address that came with the policy, as the client's kernel has it.
fn leased(client: &Namespace) -> Result<IpAddr, Failure> {
    let output =
        client.command("ip").args(["-j", "-4", "addr", "show", "dev", "warren0"]).output().context("ip")?;
    let links: Value = serde_json::from_slice(&output.stdout).context("what `ip addr` says of warren0")?;
    let address = links[0]["addr_info"][0]["local"].as_str().unwrap_or_default();
    address.parse().map_err(|_| Failure::new("warren0 has no address"))
}

/// What a change did to tunnels that it did not concern: each must have the SAs that it had.
fn disturbed(before: &[Value], after: &[Value]) -> Vec<String> {
    let same = |one: &Value, other: &Value, name: &str| one[name] == other[name];
    let kept = |old: &&Value| {
        after.iter().any(|new| ["selector", "spi_in", "spi_out"].iter().all(|name| same(old, new, name)))
    };
    let disturbed = before.iter().filter(|old| !kept(old));
    disturbed
        .map(|row| format!("the change replaced the SAs of {}, which it did not concern", row["selector"]))
        .collect()
}

/// Waits until the server shows no client any more.
fn gone(server: &Gateway) -> Result<(), Failure> {
    let asked = Instant::now();
    while asked.elapsed() < limits::READY {
        if server.rows(&["client"])?.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::new("the server still shows the client that is gone"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test] // DC-1
    fn client_has_two_lines_and_no_network_in_them() {
        let text = client_file();
        assert_eq!(text.lines().count(), 2);
        assert!(!CHANGED.iter().any(|site| text.contains(&site.network())));
    }

    #[test]
    fn change_of_the_server_adds_a_set_and_nothing_else() {
        let (first, changed) = (server_file("", &FIRST), server_file("", &CHANGED));
        let more = changed.strip_prefix(&first).unwrap();
        assert!(more.contains(&LATER.network()) && !first.contains(&LATER.network()), "{more}");
    }

    #[test] // DC-26
    fn tunnel_with_other_sas_than_before_is_named() {
        let row = |selector: &str, spi: &str| json!({"selector": selector, "spi_in": spi, "spi_out": spi});
        let before = [row("one", "01"), row("two", "02")];
        assert!(disturbed(&before, &[row("two", "02"), row("three", "03"), row("one", "01")]).is_empty());
        let complaints = disturbed(&before, &[row("one", "01"), row("two", "04")]);
        assert!(matches!(&complaints[..], [one] if one.contains("two")), "{complaints:?}");
    }
}
