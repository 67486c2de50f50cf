//! The scene of tunnels inside tunnels: A's first packet for B builds three tunnels, one inside the other, along a row of gateways
//! of which each knows only its neighbour's packets; what the sender gateway itself says to B is protected to the end.
//!
//! ```text
//! each negotiation alone, for the clock ── gateways start anew, nothing is up ── A pings B: SG1, SG2, SG3 in that order ──
//!   G pings B: transport mode inside the same tunnels ── ping and iperf3 ── SG3 goes: its debris, SG2, SG1 ── a pause in which
//!   nobody tries ── SG3 comes back: all is there again ── what was seen on each hop ── verdict
//! ```

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::capture::{Wire, unix_seconds};
use crate::chain::{
    Chain, FAR_NETWORK, HOPS, NEAR_NETWORK, OUTER_V4, OUTER_V6, Outer, RECEIVER, SENDER_INSIDE, SOURCE,
};
use crate::demo::{Order, Scenario, fresh_secret, last_words, tunnels};
use crate::gateway::{Gateway, TEST_SECRET};
use crate::home::Home;
use crate::hops;
use crate::lab::Lab;
use crate::listener::Listener;
use crate::live::Watch;
use crate::nested_files::{self, Far, TUNNELS};
use crate::peer::StrongSwan;
use crate::topology::Site;
use crate::traffic::{self, Client, Pinging, Pings, Sender, Server, Transfer, Way};
use crate::verdict::Outcome;
use crate::{Failure, limits, repository};

/// The second gateway.
enum Second {
    Warren(Box<Gateway>),
    StrongSwan(StrongSwan),
}

/// Everything that stands while the scene is played. Fields are dropped in this order: programs before their namespaces.
struct Scene {
    sender: Gateway,
    first: Gateway,
    second: Second,
    third: Gateway,
    receiver: Gateway,
    listener: Listener,
    chain: Chain,
    homes: Homes,
    lab: Lab,
    started_s: f64,
    outer: Outer,
    alone: Alone,
}

/// The folders of the gateways that are started more than once.
struct Homes {
    sender: Home,
    third: Home,
}

/// How long each negotiation took by itself, the ones around it being done.
struct Alone(Vec<(&'static str, Duration)>);

impl Alone {
    fn sum(&self) -> Duration {
        self.0.iter().map(|(_, took)| *took).sum()
    }

    fn line(&self) -> String {
        let each: Vec<_> = self.0.iter().map(|(name, took)| format!("{name} {}", ms(*took))).collect();
        format!("{}, together {}", each.join(", "), ms(self.sum()))
    }
}

/// What the traffic came to.
#[derive(Default)]
struct Flow {
    unanswered: u64,
    answered_s: Option<f64>,
    found: Vec<Value>,
    pings: Pings,
    transfers: Vec<Transfer>,
    remarks: Vec<String>,
    complaints: Vec<String>,
    drops: Vec<(String, u64)>,
}

fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}

/// Builds the scene, plays it and takes it down.
pub(crate) fn play(xtask: &Path, order: &Order) -> Result<Outcome, Failure> {
    let scene = Scene::new(xtask, order)?;
    let idle =
        scene.gateways().iter().map(|(_, gateway)| gateway.resident_kib()).collect::<Result<Vec<_>, _>>()?;
    let mut scene = scene;
    let mut flow = Flow::default();
    let played = scene.flow(order.seconds, &mut flow);
    if order.is_kept {
        scene.point_out();
    }
    if let Err(failure) = played {
        let failure = scene.explain(&failure);
        // What the listener has to say no longer matters; the failure does.
        let _ = scene.release(order);
        return Err(failure);
    }
    // As long as somebody listens at both ends: a kernel without its daemon tells its peers so, in clear.
    let (lines, complaints) = hops::layers(&scene.heard(), &scene.outer);
    flow.complaints.extend(complaints);
    flow.remarks.extend(lines);
    let started_s = scene.started_s;
    let wire = scene.release(order)?;
    Ok(Outcome {
        scenario: Scenario::Nested.word(),
        seconds: order.seconds,
        ends: ["A to B", "B to A"],
        remarks: flow.remarks,
        complaints: flow.complaints,
        unanswered: flow.unanswered,
        pings: flow.pings,
        transfers: flow.transfers,
        tunnels: flow.found,
        drops: flow.drops,
        first_protected_s: flow.answered_s.map(|answered| answered - started_s),
        idle_kib: idle.into_iter().max().unwrap_or(0),
        wire,
    })
}

/// Starts a gateway whose folder holds its keys.
fn start(namespace: &crate::lab::Namespace, home: &Home, text: &str) -> Result<Gateway, Failure> {
    home.configure(&format!("{}{text}", home.section()))?;
    let mut gateway = Gateway::run(namespace, home)?;
    gateway.wait_until_ready()?;
    Ok(gateway)
}

/// Lets the sender gateway negotiate one level after the other, each by itself once the ones around it are up, and ends it
/// again. The clock is the gateway's own.
fn alone(chain: &Chain, home: &Home, far: Far, outer: Outer) -> Result<Alone, Failure> {
    let sender = start(&chain.gateway, home, &nested_files::sender_by_the_wire(far, outer))?;
    let mut times = Vec::new();
    for name in TUNNELS.into_iter().chain([nested_files::OWN]) {
        let said = sender.log().lines().count();
        let up = sender.say(&["tunnel", "up", name, "--wait", "20"]);
        let log: Vec<_> = sender.log().lines().skip(said).map(str::to_owned).collect();
        let took = up.and_then(|_| {
            between(&log, &format!("tunnel {name}: negotiating"), &format!("tunnel {name}: up, as initiator"))
        });
        let took = took.map_err(|failure| Failure::new(last_words(&failure, &[("G", &sender)])))?;
        times.push((name, took));
    }
    Ok(Alone(times))
}

/// The time from the first line of a gateway's log with one sentence to the first after it with the other.
fn between(log: &[String], from: &str, to: &str) -> Result<Duration, Failure> {
    let at = |line: &String| line.split_whitespace().next()?.parse::<f64>().ok();
    let mut lines = log.iter();
    let began = lines.find(|line| line.contains(from)).and_then(at);
    let ended = lines.find(|line| line.contains(to)).and_then(at);
    let took = began.zip(ended).map(|(began, ended)| Duration::from_secs_f64((ended - began).max(0.0)));
    took.ok_or_else(|| Failure::new(format!("the log does not say when it was from `{from}` to `{to}`")))
}

/// How a packet from A to B passes, in words.
fn explanation() -> [String; 6] {
    let [from, to] = [SOURCE, RECEIVER].map(|address| address.to_string());
    ["explain".into(), from, to, "tcp".into(), "50000".into(), "443".into()]
}

/// Whether the lines of G's log say that SG3's debris went first, then SG2's tunnel, then SG1's.
fn farewells(log: &[String]) -> Result<Vec<String>, String> {
    let [nearest, middle, farthest] = TUNNELS;
    let wanted = [
        format!("clearing away what is left of {farthest}"),
        format!("tearing down {middle}"),
        format!("tearing down {nearest}"),
    ];
    let mut at = 0;
    let mut said = Vec::new();
    for words in &wanted {
        let found = log.iter().skip(at).position(|line| line.ends_with(words.as_str()));
        at += 1 + found.ok_or_else(|| format!("G did not say `{words}` in its place"))?;
        said.push(words.clone());
    }
    Ok(said)
}

impl Scene {
    fn new(xtask: &Path, order: &Order) -> Result<Self, Failure> {
        let mut lab = Lab::new(&repository::target())?;
        if order.is_kept {
            lab.keep()?;
        }
        let (far, outer) = (order.far, if order.is_ipv6 { OUTER_V6 } else { OUTER_V4 });
        println!(
            "A ── G ── SG1 ── SG2 ── SG3 ── B, in namespaces; each is reached only through the one before it"
        );
        let chain = Chain::new(&mut lab)?;
        let homes = Homes { sender: Home::new(&lab, "gw")?, third: Home::new(&lab, "sg3")? };
        // Each key is known to the sender gateway, by the other's name, and to that one.
        let gate = |name: &str, home: &Home| -> Result<(), Failure> {
            let secret = match (far, name) {
                (Far::StrongSwan, "sg2") => TEST_SECRET.to_owned(),
                _ => fresh_secret()?,
            };
            homes.sender.write(&format!("{name}.psk"), &format!("{secret}\n"))?;
            home.write("sender.psk", &format!("{secret}\n")).map(drop)
        };
        let [one, two, three] = &chain.gates;
        let (home1, home2, home_b) =
            (Home::new(&lab, "sg1")?, Home::new(&lab, "sg2")?, Home::new(&lab, "b")?);
        for (name, home) in [("sg1", &home1), ("sg2", &home2), ("sg3", &homes.third), ("receiver", &home_b)] {
            gate(name, home)?;
        }
        let first = start(one, &home1, &nested_files::gate(0, outer))?;
        let second = match far {
            Far::Warren => Second::Warren(Box::new(start(two, &home2, &nested_files::gate(1, outer))?)),
            Far::StrongSwan => {
                chain.close_clear_way()?;
                Second::StrongSwan(StrongSwan::start(&lab, two, "nested-sg2", "right")?)
            }
        };
        let third = start(three, &homes.third, &nested_files::gate(2, outer))?;
        let receiver = start(&chain.b, &home_b, &nested_files::receiver())?;
        let alone = alone(&chain, &homes.sender, far, outer)?;
        println!("  each negotiation alone: {}", alone.line());
        let mut inside = Site::inside();
        inside.extend([NEAR_NETWORK, FAR_NETWORK].map(str::to_owned));
        let listener = Listener::start_for_hops(
            xtask,
            &chain.wires.0,
            &Chain::ports(),
            &Chain::open_ports(),
            &inside,
            traffic::MARKER,
        )?;
        // By the letter no rule matches a source of one family and a destination of the other.
        let by_rules = match order.is_ipv6 {
            true => nested_files::sender_by_the_wire(far, outer),
            false => nested_files::sender(far, outer),
        };
        let started_s = unix_seconds();
        let sender = start(&chain.gateway, &homes.sender, &by_rules)?;
        Ok(Self {
            sender,
            first,
            second,
            third,
            receiver,
            listener,
            chain,
            homes,
            lab,
            started_s,
            outer,
            alone,
        })
    }

    fn gateways(&self) -> Vec<(&'static str, &Gateway)> {
        let mut all = vec![("G", &self.sender), ("SG1", &self.first)];
        if let Second::Warren(gateway) = &self.second {
            all.push(("SG2", gateway));
        }
        all.extend([("SG3", &self.third), ("B", &self.receiver)]);
        all
    }

    fn flow(&mut self, seconds: u64, flow: &mut Flow) -> Result<(), Failure> {
        self.nothing_is_up(flow)?;
        self.build(flow)?;
        self.traffic(seconds, flow)?;
        // A rule that is only around others has, besides the tunnel that it is around them, one for its own traffic, and there
        // is none.
        flow.found = tunnels(&self.gateways()[..1])?;
        flow.found.retain(|row| row["state"] != "down");
        if flow.found.len() != TUNNELS.len() + 1 {
            let levels = TUNNELS.len() + 1;
            flow.complaints.push(format!("G has {} tunnels instead of {levels}", flow.found.len()));
        }
        flow.drops = self.sender.drops()?;
        println!("\n{}", self.explained()?);
        for name in [TUNNELS[2], nested_files::OWN] {
            println!("{}", self.sender.say(&["stack", "show", name])?);
        }
        self.lose(flow)?;
        self.recover(flow)
    }

    /// Before A's first packet: no SA, and nothing said to anybody.
    fn nothing_is_up(&self, flow: &mut Flow) -> Result<(), Failure> {
        for (name, gateway) in &self.gateways()[..1] {
            let sas = gateway.sas()?;
            if !sas.is_empty() {
                flow.complaints.push(format!("{name} has {} SAs before any traffic", sas.len()));
            }
        }
        println!("nothing is up; what would become of A's first packet:\n\n{}", self.explained()?);
        Ok(())
    }

    /// A's first packet, and G's own.
    fn build(&self, flow: &mut Flow) -> Result<(), Failure> {
        let said = self.sender.log().lines().count();
        let (three, lost) = traffic::first_answer(Sender::at(&self.chain.a, SOURCE), RECEIVER)?;
        flow.answered_s = Some(unix_seconds());
        println!("{RECEIVER} answers A after {}; {lost} pings before that found no tunnel", ms(three));
        flow.unanswered += lost;
        let (transport, lost) = traffic::first_answer(self.own(), RECEIVER)?;
        println!("{RECEIVER} answers G after {} more, in transport mode", ms(transport));
        flow.unanswered += lost;
        match hops::built_in_order(&self.heard(), &self.outer, 4) {
            Ok(line) => flow.remarks.push(format!("built in order: {line}")),
            Err(why) => flow.complaints.push(why),
        }
        let log: Vec<_> = self.sender.log().lines().skip(said).map(str::to_owned).collect();
        let [tunnels_took, own_took] = [TUNNELS[2], nested_files::OWN].map(|name| {
            between(&log, &format!("stack {name}: traffic wants it"), &format!("stack {name}: up"))
        });
        let (tunnels_took, own_took) = (tunnels_took?, own_took?);
        let whole = tunnels_took + own_took;
        let ratio = whole.as_secs_f64() / self.alone.sum().as_secs_f64();
        flow.remarks.push(format!(
            "first answers after {} and {}, by a ping every ten milliseconds",
            ms(three),
            ms(transport)
        ));
        // A slow machine is slow in both, but a message that is lost costs a repetition here and nothing there: what comes right
        // after the last message of quick mode strongSwan may lose.
        flow.remarks.push(format!(
            "set-up: three tunnels {}, transport mode {}, together {ratio:.2} times the four negotiations alone ({}); {} {}",
            ms(tunnels_took),
            ms(own_took),
            self.alone.line(),
            if ratio < limits::STACK_SETUP_RATIO { "less than the promised" } else { "NOT LESS than the promised" },
            limits::STACK_SETUP_RATIO,
        ));
        Ok(())
    }

    fn explained(&self) -> Result<String, Failure> {
        let words = explanation();
        self.sender.say(&words.each_ref().map(String::as_str))
    }

    /// What G itself says to B.
    fn own(&self) -> Sender<'_> {
        Sender::at(&self.chain.gateway, SENDER_INSIDE)
    }

    fn traffic(&self, seconds: u64, flow: &mut Flow) -> Result<(), Failure> {
        let _server = Server::start(&self.chain.b)?;
        let a = Sender::at(&self.chain.a, SOURCE);
        let length = Duration::from_secs(seconds);
        let running = [Pinging::start(a, RECEIVER, length)?, Pinging::start(self.own(), RECEIVER, length)?];
        let mut watch = Watch::default();
        for (way, seconds) in [(Way::Forth, seconds / 2), (Way::Back, seconds - seconds / 2)] {
            // strongSwan receives ESP on an ordinary UDP socket, whose buffer a whole window would overflow.
            let client = match self.second {
                Second::Warren(_) => Client::start(a, RECEIVER, way, seconds)?,
                Second::StrongSwan(_) => Client::narrow(a, RECEIVER, way, seconds)?,
            };
            watch.until(Instant::now() + Duration::from_secs(seconds), &self.gateways(), &self.listener);
            flow.transfers.push(client.finish()?);
        }
        for ping in running {
            flow.pings += ping.finish()?;
        }
        Ok(())
    }

    /// SG3 loses power while A goes on talking. G notices, takes away what is left in order, and does not try again at once.
    fn lose(&mut self, flow: &mut Flow) -> Result<(), Failure> {
        println!("SG3 loses power");
        let said = self.sender.log().lines().count();
        self.chain.wires.0.ip(&format!("link set {} down", HOPS[2][1]))?;
        self.third.kill()?;
        let talking = Pinging::start(Sender::at(&self.chain.a, SOURCE), RECEIVER, limits::TUNNEL_UP)?;
        let lost = Instant::now();
        while !self.sender.sas()?.is_empty() {
            if lost.elapsed() > limits::TUNNEL_UP {
                return Err(Failure::new("G still has SAs, long after SG3 was gone"));
            }
            std::thread::sleep(limits::LOOK);
        }
        let noticed = lost.elapsed();
        println!("G has no SA any more {} later:\n\n{}", ms(noticed), self.sender.say(&["stack", "list"])?);
        self.rests(flow)?;
        drop(talking);
        let log: Vec<_> = self.sender.log().lines().skip(said).map(str::to_owned).collect();
        match farewells(&log) {
            Ok(lines) => flow.remarks.push(format!(
                "torn down {} after SG3 was gone: {}",
                ms(noticed),
                lines.join(", ")
            )),
            Err(why) => flow.complaints.push(format!("{why}; G said\n{}", log.join("\n"))),
        }
        Ok(())
    }

    /// While the failed level is held down, nothing is said to SG1, and so to nobody behind it, though A goes on.
    fn rests(&self, flow: &mut Flow) -> Result<(), Failure> {
        let began = Instant::now();
        let is_held = || -> Result<bool, Failure> {
            let rows = self.sender.rows(&["stack", "list"])?;
            Ok(rows.iter().any(|row| row["rule"] == TUNNELS[2] && row["state"] == "held-down"))
        };
        if !is_held()? {
            let sentence = format!("`dpctl stack list` does not show that {} is held down", TUNNELS[2]);
            flow.complaints.push(sentence);
            return Ok(());
        }
        let then = self.heard();
        match hops::torn_down_in_order(&then, &self.outer, 2) {
            Ok(line) => flow.remarks.push(format!("the same on the wires: {line}")),
            Err(why) => {
                let seen: Vec<_> =
                    then.rows.iter().map(|row| format!("    {}", hops::describe(row))).collect();
                flow.complaints.push(format!("{why}; seen were\n{}", seen.join("\n")));
            }
        }
        let (mut looks, mut spoken, mut sas) = (0, 0, 0);
        while is_held()? && began.elapsed() < limits::TUNNEL_UP {
            // The wires before the tunnels: what begins after the pause is not to be seen by one without the other.
            spoken = hops::said_to_nearest(&self.listener.latest().flows, &self.outer);
            sas = sas.max(self.sender.sas()?.len());
            looks += 1;
            std::thread::sleep(limits::LOOK);
        }
        let (rested, before) = (ms(began.elapsed()), hops::said_to_nearest(&then, &self.outer));
        if looks > 0 && sas == 0 && spoken == before {
            flow.remarks.push(format!("held down for {rested} and more; A went on, and nobody was bothered"));
        } else {
            flow.complaints.push(format!(
                "{} was to be held down, and after {rested} there were {sas} SAs and {} more IKE messages to SG1 ({looks} looks)",
                TUNNELS[2],
                spoken.saturating_sub(before)
            ));
        }
        Ok(())
    }

    /// SG3 comes back, and nobody does anything about it but A, who still wants to talk to B.
    fn recover(&mut self, flow: &mut Flow) -> Result<(), Failure> {
        println!("SG3 has power again");
        // The wire comes last: as long as no daemon listens, its kernel would say so to whoever asks, in clear.
        self.third = start(&self.chain.gates[2], &self.homes.third, &nested_files::gate(2, self.outer))?;
        self.chain.wires.0.ip(&format!("link set {} up", HOPS[2][1]))?;
        let (waited, _) = traffic::first_answer(Sender::at(&self.chain.a, SOURCE), RECEIVER)?;
        println!("{RECEIVER} answers A again after {}", ms(waited));
        flow.remarks.push(format!("A is answered again {} after SG3 was back", ms(waited)));
        let pings = traffic::pings(Sender::at(&self.chain.a, SOURCE), RECEIVER, 20)?;
        flow.pings += pings;
        Ok(())
    }

    /// All flows until now: the listener tells them twice a second.
    fn heard(&self) -> crate::flows::Flows {
        std::thread::sleep(limits::LISTENER_TELLS);
        self.listener.latest().flows
    }

    fn explain(&self, failure: &Failure) -> Failure {
        let mut text = last_words(failure, &self.gateways());
        if let Second::StrongSwan(peer) = &self.second {
            text.push_str(&format!("\n── last words of strongSwan ──\n{}", peer.last_words()));
        }
        for flow in &self.listener.latest().flows.rows {
            text.push_str(&format!("\n  seen: {}", hops::describe(flow)));
        }
        Failure::new(text)
    }

    /// Ends G while A still sends and the listener still listens: what was to be protected must not leave in clear because its
    /// gateway is gone. With `--keep` everything stays.
    fn release(self, order: &Order) -> Result<Wire, Failure> {
        let Self { sender, first, second, third, receiver, listener, chain, .. } = self;
        if order.is_kept {
            for gateway in [sender, first, third, receiver] {
                gateway.keep();
            }
            match second {
                Second::Warren(gateway) => gateway.keep(),
                Second::StrongSwan(peer) => std::mem::forget(peer),
            }
            return listener.finish();
        }
        drop(sender);
        // Nobody may answer; that is the point.
        let _ = traffic::pings_in_vain(Sender::at(&chain.a, SOURCE), RECEIVER, 5);
        drop((first, second, third, receiver));
        listener.finish()
    }

    fn point_out(&self) {
        println!("kept; everything is in {}", self.lab.folder().display());
        for (name, gateway) in self.gateways() {
            println!("  {name}: dpctl --socket {} sa", gateway.socket().display());
        }
        println!("  ip netns exec {} ping {RECEIVER}", self.chain.a.name());
        println!("  ip netns exec {} tcpdump -n -i {}", self.chain.wires.0.name(), HOPS[1][0]);
        println!("  `cargo xtask sweep` removes it");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|line| format!("    12.345  INFO stack to-site2: {line}")).collect()
    }

    #[test] // NT-16, NT-30, V-10
    fn farewells_in_another_order_are_noticed() {
        let good = [
            "to-site2 failed: no answer",
            "clearing away what is left of to-site2",
            "tearing down to-sg3",
            "tearing down to-sg2",
        ];
        assert_eq!(farewells(&log(&good)).unwrap().len(), 3);
        let mut swapped = good;
        swapped.swap(2, 3);
        assert!(farewells(&log(&swapped)).unwrap_err().contains("tearing down to-sg2"));
        assert!(farewells(&log(&good[..3])).is_err());
        assert!(farewells(&log(&good[2..])).is_err());
    }
}
