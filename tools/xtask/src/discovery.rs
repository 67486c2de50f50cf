//! The scene of discovery: two gateways that know nothing of each other find each other by a probe that passes a third.
//!
//! ```text
//! gateways 3, 2, 1 start ── A pings B: the packet is dropped, a probe goes in its place ── gateway 3 lets it pass ──
//!   gateway 2 answers it ── IKE ── a tunnel for what both protect ── ping and iperf3, both ways ── A's other network,
//!   which gateway 2 does not protect traffic with, gets no tunnel and nothing through ── verdict
//! ```

use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::capture::{Wire, unix_seconds};
use crate::demo::{Order, Scenario, fresh_secret, last_words, tunnels};
use crate::gateway::Gateway;
use crate::home::Home;
use crate::lab::Lab;
use crate::listener::Listener;
use crate::live::Watch;
use crate::probe::Trace;
use crate::topology::{Crossing, SITE_A, SITE_B};
use crate::traffic::{self, Client, Pinging, Pings, Sender, Server, Transfer, Way};
use crate::verdict::Outcome;
use crate::{Failure, limits, repository};

/// The address family of a scene, as an index into pairs of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4 = 0,
    V6 = 1,
}

impl Family {
    fn of<T: Clone>(self, pair: [T; 2]) -> T {
        pair[self as usize].clone()
    }
}

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// In front of host A.
    One,
    /// In front of host B.
    Two,
}

impl Place {
    const fn number(self) -> u8 {
        match self {
            Self::One => 1,
            Self::Two => 2,
        }
    }

    /// Its side and the other side, as its own tunnel rule has them. Gateway 1 names less of the far side than gateway 2
    /// protects, and gateway 2 less of the near side than gateway 1 does.
    fn sides(self, family: Family) -> [String; 2] {
        match self {
            Self::One => [family.of(Crossing::whole(SITE_A)), family.of(Crossing::whole(SITE_B))],
            Self::Two => [
                family.of(["10.2.0.0/15".to_owned(), "fd00:2::/31".to_owned()]),
                family.of([SITE_A.network(), SITE_A.network_v6()]),
            ],
        }
    }

    /// What both rules have in common, as this gateway sees it.
    fn common(self, family: Family) -> String {
        let (a, b) = (family.of([SITE_A.network(), SITE_A.network_v6()]), family.of(Crossing::whole(SITE_B)));
        match self {
            Self::One => format!("{a} -> {b}"),
            Self::Two => format!("{b} -> {a}"),
        }
    }

    /// The configuration behind its first section. There is nothing in it about the other gateway.
    fn file(self, family: Family) -> String {
        let (outer, authorised) = match self {
            Self::One => (Crossing::near(), Crossing::whole(SITE_B)),
            Self::Two => (Crossing::far(), Crossing::whole(SITE_A)),
        };
        let (outer, authorised) = (family.of(outer), family.of(authorised));
        let (gateways, [source, destination]) = (gateways_live_in(family), self.sides(family));
        format!(
            r#"
[[port]]
interface = "lan"
side = "inside"

[[port]]
interface = "wan"
side = "outside"

[ted]
answer_on = ["wan"]
accept_from = {gateways:?}
gateways = {gateways:?}

[[peer]]
name = "partners"
ike = "v1-main"
local = "{outer}"
address = "discover"
secret = "partners.psk"
group_secret = true
authorised = [{{ networks = ["{authorised}"] }}]

[[transport]]
name = "to-partners"
source = "{source}"
destination = "{destination}"
action = "permit"

[[tunnel]]
name = "to-partners"
source = "{source}"
destination = "{destination}"
gateway = "discover"
peer = "partners"
"#
        )
    }
}

/// Where gateways may live.
fn gateways_live_in(family: Family) -> Vec<&'static str> {
    family.of([vec!["198.51.100.0/24", "203.0.113.0/24"], vec!["2001:db8::/48"]])
}

/// The configuration of gateway 3: it discovers too, for networks of its own, and lets pass what goes between gateways.
fn middle_file(family: Family) -> String {
    let [near, far] =
        family.of([["198.51.100.0/24", "203.0.113.0/24"], ["2001:db8::/64", "2001:db8:0:1::/64"]]);
    let [source, destination] = family.of([["10.7.0.0/16", "10.8.0.0/16"], ["fd00:7::/32", "fd00:8::/32"]]);
    let outer = family.of(Crossing::middle_near());
    let mut text = String::new();
    for port in ["near", "far"] {
        text.push_str(&format!("\n[[port]]\ninterface = \"{port}\"\nside = \"outside\"\n"));
    }
    text.push_str(&format!(
        r#"
[ted]
answer_on = ["near", "far"]

[[peer]]
name = "others"
ike = "v1-main"
local = "{outer}"
address = "discover"
secret = "others.psk"
group_secret = true
authorised = [{{ networks = ["{destination}"] }}]
"#
    ));
    let passes = [("forth", near, far), ("back", far, near), ("own", source, destination)];
    for (name, source, destination) in passes {
        text.push_str(&format!(
            "\n[[transport]]\nname = \"{name}\"\nsource = \"{source}\"\ndestination = \"{destination}\"\naction = \"permit\"\n"
        ));
    }
    text.push_str(&format!(
        "\n[[tunnel]]\nname = \"own\"\nsource = \"{source}\"\ndestination = \"{destination}\"\ngateway = \"discover\"\n\
         peer = \"others\"\n"
    ));
    text
}

/// Everything that stands while the scene is played. Fields are dropped in this order: programs before their
/// namespaces.
struct Scene {
    family: Family,
    one: Gateway,
    two: Gateway,
    middle: Gateway,
    listener: Listener,
    topology: Crossing,
    lab: Lab,
    started_s: f64,
}

/// What the traffic came to.
struct Flow {
    unanswered: u64,
    waited: Duration,
    found: Vec<Value>,
    pings: Pings,
    transfers: Vec<Transfer>,
    remarks: Vec<String>,
    complaints: Vec<String>,
}

/// Builds the scene, plays it and takes it down.
pub(crate) fn play(xtask: &Path, order: &Order) -> Result<Outcome, Failure> {
    let family = if order.is_ipv6 { Family::V6 } else { Family::V4 };
    let scene = Scene::new(xtask, order, family)?;
    let idle =
        scene.gateways().iter().map(|(_, gateway)| gateway.resident_kib()).collect::<Result<Vec<_>, _>>()?;
    let played = scene.flow(order.seconds);
    if order.is_kept {
        scene.point_out();
    }
    let flow = match played {
        Ok(flow) => flow,
        Err(failure) => {
            let mut text = last_words(&failure, &scene.gateways());
            // What the listener has to say no longer decides anything, but it knows how far the messages came.
            if let Ok(wire) = scene.release(order) {
                text.push_str(&format!("\n── on the wires ──\n{}", Trace::seen(&wire)));
            }
            return Err(Failure::new(text));
        }
    };
    let Flow { unanswered, waited, found, pings, transfers, mut remarks, mut complaints } = flow;
    let drops = scene.one.drops()?;
    let started_s = scene.started_s;
    let wire = scene.release(order)?;
    let hosts = [SITE_A, SITE_B].map(|site| family.of(site.host()));
    let gateways = [family.of(Crossing::near()), family.of(Crossing::far())];
    match Trace::follow(&wire, hosts, gateways) {
        Ok(lines) => remarks.splice(0..0, lines).for_each(drop),
        Err(why) => complaints.push(format!("{why}; seen were\n{}", Trace::seen(&wire))),
    }
    remarks
        .insert(0, format!("the first ping was answered {} ms after the first was sent", waited.as_millis()));
    Ok(Outcome {
        scenario: Scenario::Discovery.word(),
        seconds: order.seconds,
        ends: ["A to B", "B to A"],
        remarks,
        complaints,
        unanswered,
        pings,
        transfers,
        tunnels: found,
        drops,
        first_protected_s: wire.first_protected_s.map(|first| first - started_s),
        idle_kib: idle.into_iter().max().unwrap_or(0),
        wire,
    })
}

impl Scene {
    fn new(xtask: &Path, order: &Order, family: Family) -> Result<Self, Failure> {
        let mut lab = Lab::new(&repository::target())?;
        if order.is_kept {
            lab.keep()?;
        }
        println!("host A ── gateway 1 ── near ── gateway 3 ── far ── gateway 2 ── host B, in namespaces");
        let topology = Crossing::new(&mut lab)?;
        let mut inside = Vec::new();
        for site in [SITE_A, SITE_B] {
            inside.extend(Crossing::whole(site));
        }
        let listener = Listener::start_for_discovery(xtask, &topology.wires, &inside, traffic::MARKER)?;
        let secret = format!("{}\n", fresh_secret()?);
        let start = |name: &str, text: &str, namespace, secret: (&str, &str)| -> Result<Gateway, Failure> {
            let home = Home::new(&lab, name)?;
            home.write(secret.0, secret.1)?;
            home.configure(&format!("{}{text}", home.section()))?;
            let mut gateway = Gateway::run(namespace, &home)?;
            gateway.wait_until_ready()?;
            Ok(gateway)
        };
        let others = ("others.psk", format!("{}\n", fresh_secret()?));
        let partners = ("partners.psk", secret.as_str());
        let middle = start("gw3", &middle_file(family), &topology.middle, (others.0, &others.1))?;
        let two = start("gw2", &Place::Two.file(family), &topology.b.gateway, partners)?;
        for place in [Place::One, Place::Two] {
            let [source, destination] = place.sides(family);
            println!(
                "  gateway {}: {source} to {destination}, by whichever gateway is there",
                place.number()
            );
        }
        let started_s = unix_seconds();
        let one = start("gw1", &Place::One.file(family), &topology.a.gateway, partners)?;
        Ok(Self { family, one, two, middle, listener, topology, lab, started_s })
    }

    fn gateways(&self) -> [(&'static str, &Gateway); 3] {
        [("gateway 1", &self.one), ("gateway 2", &self.two), ("gateway 3", &self.middle)]
    }

    fn hosts(&self) -> [IpAddr; 2] {
        [SITE_A, SITE_B].map(|site| self.family.of(site.host()))
    }

    fn flow(&self, seconds: u64) -> Result<Flow, Failure> {
        let (a, b) = (&self.topology.a.host, &self.topology.b.host);
        let [from, to] = self.hosts();
        let sender = Sender::at(a, from);
        let asked = Instant::now();
        let unanswered = traffic::wait_for_first_answer(sender, to)?;
        let waited = asked.elapsed();
        println!(
            "{to} answers after {} ms; {unanswered} pings before that found no tunnel",
            waited.as_millis()
        );
        let found = self.found()?;
        let _server = Server::start(b)?;
        let running = Pinging::start(sender, to, Duration::from_secs(seconds))?;
        let mut watch = Watch::default();
        let mut transfers = Vec::new();
        for (way, seconds) in [(Way::Forth, seconds / 2), (Way::Back, seconds - seconds / 2)] {
            let client = Client::start(sender, to, way, seconds)?;
            let end = Instant::now() + Duration::from_secs(seconds);
            watch.until(end, &self.gateways()[..2], &self.listener);
            transfers.push(client.finish()?);
        }
        let pings = running.finish()?;
        let mut complaints = Vec::new();
        let outside = self.outside()?;
        if outside.received > 0 {
            complaints.push(format!(
                "{} pings from a network that gateway 2 does not protect traffic with were answered",
                outside.received
            ));
        }
        let second = self.family.of(Crossing::second());
        let after = self.found()?;
        if spis(&after) != spis(&found) {
            complaints.push("the tunnels changed while somebody else looked for one".into());
        }
        complaints.extend(self.told()?);
        let remarks = vec![format!(
            "{} pings from {second}, which is outside of what both protect: none answered, none in clear",
            outside.sent
        )];
        Ok(Flow { unanswered, waited, found: after, pings, transfers, remarks, complaints })
    }

    /// Traffic that gateway 1 must protect, and for which nobody answers.
    fn outside(&self) -> Result<Pings, Failure> {
        let second = self.family.of(Crossing::second());
        println!("{second} has no tunnel, and must get nothing through");
        traffic::pings_in_vain(Sender::at(&self.topology.a.host, second), self.hosts()[1], 20)
    }

    /// What `dpctl ted status` of the gateways has against the scene.
    fn told(&self) -> Result<Vec<String>, Failure> {
        let [one, two, middle] =
            [&self.one, &self.two, &self.middle].map(|gateway| gateway.ask(&["ted", "status"]));
        let (one, two, middle) = (one?, two?, middle?);
        let [near, far] = [Crossing::near(), Crossing::far()].map(|pair| self.family.of(pair).to_string());
        let second = self.family.of(Crossing::second()).to_string();
        let found = |status: &Value, gateway: &str, is_ours: bool| {
            let rows = status["found"].as_array().map(Vec::as_slice).unwrap_or_default();
            matches!(rows, [row] if row["gateway"] == *gateway && row["is_ours"] == is_ours && row["is_up"] == true)
        };
        let counted = |status: &Value, name: &str| status["counters"][name].as_u64().unwrap_or(0);
        let waits = ["in_flight", "resting"].iter().any(|list| one[*list].to_string().contains(&second));
        let holds = [
            (found(&one, &far, true), format!("gateway 1 does not show that it found {far} and nobody else")),
            (
                found(&two, &near, false),
                format!("gateway 2 does not show that {near} found it, and nobody else"),
            ),
            (waits, format!("gateway 1 does not show that {second} waits for a gateway")),
            (counted(&two, "responses-sent") > 0, "gateway 2 does not count its response".into()),
            (
                counted(&middle, "probes-passed") > 0,
                "gateway 3 does not count the probes that it let pass".into(),
            ),
            (counted(&middle, "responses-sent") == 0, "gateway 3 answered".into()),
            (middle["found"].as_array().is_some_and(Vec::is_empty), "gateway 3 has found somebody".into()),
        ];
        Ok(holds.into_iter().filter(|(holds, _)| !holds).map(|(_, sentence)| sentence).collect())
    }

    /// Waits until both gateways have exactly one tunnel, for exactly what both protect; returns the two rows.
    fn found(&self) -> Result<Vec<Value>, Failure> {
        let asked = Instant::now();
        loop {
            let rows = tunnels(&self.gateways())?;
            let built: Vec<Value> = rows.into_iter().filter(|row| row["state"] != "discovers").collect();
            let wrong = [Place::One, Place::Two].iter().find_map(|place| self.wrong(*place, &built));
            match wrong {
                None if built.len() == 2 => return Ok(built),
                _ if asked.elapsed() < limits::TUNNEL_UP => std::thread::sleep(Duration::from_millis(50)),
                wrong => {
                    let why = wrong.unwrap_or_else(|| "there are other tunnels".into());
                    return Err(Failure::new(format!("{why}; the tunnels are {}", Value::Array(built))));
                }
            }
        }
    }

    /// What is wrong with a gateway's tunnel.
    fn wrong(&self, place: Place, built: &[Value]) -> Option<String> {
        let name = format!("gateway {}", place.number());
        let common = place.common(self.family);
        let is_it = |row: &&Value| {
            row["gateway"] == *name
                && row["selector"] == *common
                && matches!(row["state"].as_str(), Some("up" | "rekeying"))
        };
        match built.iter().filter(is_it).count() {
            1 => None,
            count => Some(format!("{name} has {count} tunnels that are up for {common}, instead of one")),
        }
    }

    /// Ends gateway 1 while host A still sends and the listener still listens: what was to be protected must not leave
    /// in clear because the gateway is gone. With `--keep` everything stays.
    fn release(self, order: &Order) -> Result<Wire, Failure> {
        let Self { family, one, two, middle, listener, topology, .. } = self;
        if order.is_kept {
            one.keep();
            two.keep();
            middle.keep();
            return listener.finish();
        }
        drop(one);
        // Nobody may answer; that is the point.
        let sender = Sender::at(&topology.a.host, family.of(SITE_A.host()));
        let _ = traffic::pings_in_vain(sender, family.of(SITE_B.host()), 5);
        drop(two);
        drop(middle);
        listener.finish()
    }

    fn point_out(&self) {
        println!("kept; everything is in {}", self.lab.folder().display());
        for (name, gateway) in self.gateways() {
            println!("  {name}: dpctl --socket {} ted status", gateway.socket().display());
        }
        let [from, to] = self.hosts();
        println!("  ip netns exec {} ping -I {from} {to}", self.topology.a.host.name());
        println!("  `cargo xtask sweep` removes it");
    }
}

/// What tells two tunnels apart that look the same.
fn spis(rows: &[Value]) -> Vec<[&Value; 3]> {
    rows.iter().map(|row| [&row["gateway"], &row["spi_in"], &row["spi_out"]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

    #[test] // TED-18, TED-34
    fn neither_gateway_names_the_other_anywhere() {
        for family in FAMILIES {
            let [near, far] = [Crossing::near(), Crossing::far()].map(|pair| family.of(pair).to_string());
            let names = |place: Place, address: &str| place.file(family).contains(&format!("\"{address}\""));
            assert!(names(Place::One, &near) && names(Place::Two, &far));
            assert!(!names(Place::One, &far) && !names(Place::Two, &near));
        }
    }

    #[test] // TED-51, TED-58
    fn what_both_protect_is_smaller_than_what_either_does() {
        for family in FAMILIES {
            for place in [Place::One, Place::Two] {
                let [source, destination] = place.sides(family);
                assert_ne!(place.common(family), format!("{source} -> {destination}"));
            }
        }
    }
}
