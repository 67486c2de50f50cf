//! Several pairs of SAs for one tunnel: between two of us, and with a peer that has never heard of such a thing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::Value;
use xtask::gateway::{Gateway, Settings};
use xtask::lab::Lab;
use xtask::listener::Listener;
use xtask::peer::StrongSwan;
use xtask::topology::{SITE_A, SITE_B, Topology};
use xtask::traffic::{self, Client, Pinging, Server, Way};
use xtask::{Failure, repository};

use crate::config_mode::until;
use crate::strongswan::{concluded, pinged};

/// Of each tunnel.
const LANES: u64 = 3;
/// Three lanes, of which the one with most of the traffic is renewed soon.
const TUNNEL: &str = "parallel = 3\nlifetime_volume = \"64MiB\"\n";
/// Transfers with two flows each until every lane has had one: a lane is left out by all of them once in a thousand times.
const TRANSFERS_MAX: usize = 8;

/// Two Warren gateways: all lanes come up, all are used, one is renewed, and no ping is lost. Each has one worker, which then
/// has all lanes: a worker takes its own, and here only one has a queue.
pub(crate) fn between_two() -> Result<String, Failure> {
    let mut lab = Lab::new(&repository::target())?;
    let topology = Topology::new(&mut lab)?;
    let program = repository::own_program()?;
    let listener = Listener::start(&program, &topology.wide_area, traffic::MARKER, None)?;
    let settings = Settings { tunnel: TUNNEL, ..Settings::default() };
    let mut a = Gateway::start(&lab, &topology.a, SITE_B, &settings)?;
    let mut b = Gateway::start(&lab, &topology.b, SITE_A, &settings)?;
    a.wait_until_ready()?;
    b.wait_until_ready()?;
    let played = play(&a, Some(&b), &topology);
    let remark = played.map_err(|failure| {
        Failure::new(format!("{failure}\n── A ──\n{}\n── B ──\n{}", a.last_words(), b.last_words()))
    })?;
    concluded(listener, &remark)
}

/// strongSwan as responder, with the configuration of a tunnel like any other: it takes every pair, and sends by the
/// newest.
pub(crate) fn with_strongswan() -> Result<String, Failure> {
    let mut lab = Lab::new(&repository::target())?;
    let topology = Topology::new(&mut lab)?;
    let program = repository::own_program()?;
    let listener = Listener::start(&program, &topology.wide_area, traffic::MARKER, None)?;
    topology.b.close_clear_way(SITE_A)?;
    let peer = StrongSwan::start(&lab, &topology.b.gateway, "ikev1-main-aes128gcm", "right")?;
    let settings = Settings {
        ike: &["aes128-sha256-modp2048"],
        esp: &["aes128gcm16"],
        tunnel: TUNNEL,
        has_ipv6: false,
        ..Settings::default()
    };
    let mut a = Gateway::start(&lab, &topology.a, SITE_B, &settings)?;
    a.wait_until_ready()?;
    let played = play(&a, None, &topology).and_then(|remark| {
        let theirs = peer.status()?;
        let pairs = theirs.matches("net: #").count() as u64;
        if pairs < LANES {
            return Err(Failure::new(format!("strongSwan has {pairs} pairs\n{theirs}")));
        }
        Ok(format!("{remark}; strongSwan has {pairs} pairs"))
    });
    let remark = played.map_err(|failure| {
        let (ours, theirs) = (a.last_words(), peer.last_words());
        Failure::new(format!("{failure}\n── warrend ──\n{ours}\n── strongSwan ──\n{theirs}"))
    })?;
    concluded(listener, &remark)
}

fn play(a: &Gateway, b: Option<&Gateway>, topology: &Topology) -> Result<String, Failure> {
    let (host_a, host_b) = (&topology.a.host, &topology.b.host);
    let unanswered = traffic::wait_for_first_answer(host_a, SITE_B.host()[0])?;
    for gateway in [Some(a), b].into_iter().flatten() {
        until("all lanes are up", || Ok((lanes(gateway)? == (0..LANES).collect()).then_some(())))?;
    }
    let shown = a.say(&["tunnel", "list"])?;
    if !shown.contains("up, 3 of 3 lanes") {
        return Err(Failure::new(format!("dpctl does not say so:\n{shown}")));
    }
    let running = Pinging::start(host_a, SITE_B.host()[0], Duration::from_secs(20))?;
    let _server = Server::start(host_b)?;
    let mut transfers = 0;
    while outbound(a)?.values().any(|(_, packets)| *packets == 0) {
        transfers += 1;
        if transfers > TRANSFERS_MAX {
            return Err(Failure::new(format!("a lane carries nothing: {:?}", outbound(a)?)));
        }
        Client::limited(host_a, SITE_B.host()[0], "20M", "2M")?.finish()?;
    }
    let before: BTreeSet<String> = outbound(a)?.into_keys().collect();
    Client::limited(host_a, SITE_B.host()[0], "60M", "86M")?.finish()?;
    let renewed = "the lane that was used up has a successor, and the others are what they were";
    let kept = until(renewed, || {
        let after: BTreeSet<String> = outbound(a)?.into_keys().collect();
        let kept = after.intersection(&before).count() as u64;
        let is_so = after.len() as u64 == LANES && kept + 1 == LANES && lanes(a)?.len() as u64 == LANES;
        Ok(is_so.then_some(kept))
    })?;
    let during = running.finish()?;
    // strongSwan's own ESP drops what its socket has no room for while the stream runs.
    if during.lost() > 0 && b.is_some() {
        return Err(Failure::new(format!("{} of {} pings were lost", during.lost(), during.sent)));
    }
    pinged(host_b, SITE_A.host()[0])?;
    let back = traffic::transfer(host_a, SITE_B.host()[0], Way::Back, 1)?;
    if back.octets == 0 {
        return Err(Failure::new("iperf3 moved nothing back"));
    }
    Ok(format!(
        "{unanswered} unanswered first, {LANES} lanes after {transfers} transfers, {kept} kept when one was renewed, \
         {} of {} pings lost",
        during.lost(),
        during.sent
    ))
}

/// The SPIs of the tunnel's outbound SAs, with their lanes and packets.
fn outbound(gateway: &Gateway) -> Result<BTreeMap<String, (u64, u64)>, Failure> {
    let is_meant = |row: &&Value| row["direction"] == "outbound" && row["rule"] == "net";
    let number = |row: &Value, name: &str| row[name].as_u64().unwrap_or_default();
    let text = |row: &Value| row["spi"].as_str().unwrap_or_default().to_owned();
    let rows = gateway.sas()?;
    let rows = rows.iter().filter(is_meant);
    Ok(rows.map(|row| (text(row), (number(row, "lane"), number(row, "packets")))).collect())
}

fn lanes(gateway: &Gateway) -> Result<BTreeSet<u64>, Failure> {
    Ok(outbound(gateway)?.into_values().map(|(lane, _)| lane).collect())
}
