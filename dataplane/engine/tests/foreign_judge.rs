//! ESP made by somebody else's code, through the whole inbound path (tests/vectors/esp).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may")]

mod lab;

use lab::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::net::IpAddr;
use warren_engine::{DropReason, Settings, Tally};
use warren_policy::{EspTransform, Hash, KeyBits, RuleId, Secret};
use warren_seam::{Carrier, Command, Encapsulation, InboundSa, SaId, SaKeys, SaMode, Spi};

fn rows(file: &str) -> Vec<Value> {
    let path = format!("{}/../../tests/vectors/esp/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn octets(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap_or_default()).unwrap()
}

/// The transform of a row; `None` for one that is never negotiated (ChaCha20-Poly1305, NULL).
fn transform(row: &Value) -> Option<EspTransform> {
    let bits = KeyBits::from_bits(octets(&row["enc_key"]).len() as u16 * 8)?;
    let hash = match row["auth"].as_str()? {
        "hmac-sha1-96" => Hash::Sha1,
        "hmac-sha2-256-128" => Hash::Sha256,
        "hmac-sha2-384-192" => Hash::Sha384,
        "hmac-sha2-512-256" => Hash::Sha512,
        _ => return row["enc"].as_str()?.starts_with("aes-gcm").then_some(EspTransform::AesGcm16(bits)),
    };
    (row["enc"] == "aes-cbc").then_some(EspTransform::AesCbcHmac(bits, hash))
}

/// An SA that waits for exactly the row's sequence number.
fn sa(row: &Value, id: u64, selectors: (&str, &str)) -> Option<InboundSa> {
    let transform = transform(row)?;
    let high = row["esn_hi"].as_u64();
    let sequence = high.unwrap_or(0) << 32 | row["seq"].as_u64().unwrap();
    let mut salt = [0; 4];
    salt[..octets(&row["salt"]).len()].copy_from_slice(&octets(&row["salt"]));
    Some(InboundSa {
        id: SaId(id),
        spi: Spi(row["spi"].as_u64().unwrap() as u32),
        transform,
        keys: SaKeys {
            encryption: Secret::new(octets(&row["enc_key"])),
            salt,
            integrity: Secret::new(octets(&row["auth_key"])),
        },
        esn: high.is_some(),
        window_packets: 64,
        selector: between(selectors.0, selectors.1),
        remote: ip("192.0.2.2"),
        local: ip("192.0.2.1"),
        encapsulation: Encapsulation::Raw,
        volume: UNLIMITED,
        mode: SaMode::Tunnel,
        rule: RuleId(0),
        lane: 0,
        carrier: Carrier::Network,
        sequence: sequence.saturating_sub(1),
    })
}

/// A gateway that would let everything through, so that only ESP decides.
fn judge() -> Gateway {
    // Some of the packets are longer than Ethernet has them.
    let mut gateway = Gateway::framed(1, &Settings::default(), 4096);
    let mut table = table(1);
    table.routes =
        vec![route("0.0.0.0/0", Some("10.1.0.2"), INSIDE), route("::/0", Some("2001:db8:1::2"), INSIDE)];
    gateway.submit(Command::Forwarding(table));
    gateway.poll();
    gateway
}

fn on_the_wire(esp: &[u8]) -> Vec<u8> {
    outside(50, esp)
}

/// From the peer's own address to ours.
fn outside(number: u8, payload: &[u8]) -> Vec<u8> {
    let like = Udp { from: "192.0.2.2", to: "192.0.2.1", ..Udp::default() };
    ip_packet(&like, number, payload)
}

/// Sends one row to a fresh gateway; what came out inside, and the reason if nothing did.
fn deliver(row: &Value, selectors: (&str, &str)) -> Option<(Gateway, Vec<Vec<u8>>)> {
    let mut gateway = judge();
    gateway.submit(Command::InstallInbound(Box::new(sa(row, 1, selectors)?)));
    gateway.poll();
    gateway.send_and_poll(1, OUTSIDE, &on_the_wire(&octets(&row["esp"])));
    let out = gateway.receive(INSIDE);
    Some((gateway, out))
}

fn any(ipv6: bool) -> (&'static str, &'static str) {
    if ipv6 { ("::/0", "::/0") } else { ("0.0.0.0/0", "0.0.0.0/0") }
}

/// Random inner addresses are often ones that nobody may forward to; then the packet was opened all the same.
fn is_unforwardable(reason: DropReason) -> bool {
    matches!(reason, DropReason::Martian | DropReason::Multicast | DropReason::TtlExpired)
}

fn is_refusal(reason: DropReason) -> bool {
    matches!(
        reason,
        DropReason::BadIcv | DropReason::EspLength | DropReason::Replayed | DropReason::UnknownSpi
    )
}

#[test] // F-25, F-36
fn packets_made_by_a_foreign_hand_are_opened_or_refused_as_it_expects() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows("generated.jsonl") {
        let id = row["id"].as_str().unwrap();
        let mode = row["mode"].as_str().unwrap();
        let Some((gateway, out)) = deliver(&row, any(mode == "tunnel6")) else {
            *seen.entry("never negotiated").or_default() += 1;
            continue;
        };
        let counters = gateway.counters();
        let drops: Vec<_> = counters.drops().map(|(reason, _)| reason).collect();
        let kind = match (row["expect"].as_str().unwrap(), mode) {
            ("accept", "transport") => {
                // An SA of tunnel mode takes no transport mode: it was opened, and its next header is no IP.
                assert_eq!(counters.of(Tally::Opened), 1, "{id}");
                assert!(drops.iter().all(|reason| *reason == DropReason::NextHeader), "{id} {drops:?}");
                "transport mode"
            }
            ("accept", _) => {
                assert_eq!(counters.of(Tally::Opened), 1, "{id} {drops:?}");
                if out.is_empty() {
                    assert!(drops.iter().copied().all(is_unforwardable), "{id} {drops:?}");
                    "opened, not to be forwarded"
                } else {
                    let payload = octets(&row["payload"]);
                    let expected = after_hops(&payload, 1);
                    assert_eq!(out, [expected[..out[0].len()].to_vec()], "{id}");
                    "delivered"
                }
            }
            ("drop", _) => {
                assert_eq!((counters.of(Tally::Opened), out.len()), (0, 0), "{id}");
                // An octet somewhere was changed: which check it trips depends on where.
                assert!(drops.iter().copied().all(is_refusal), "{id} {drops:?}");
                "refused"
            }
            other => panic!("{id}: {other:?}"),
        };
        *seen.entry(kind).or_default() += 1;
    }
    assert!(seen["delivered"] > 60 && seen["refused"] > 70, "{seen:?}");
    println!("{seen:?}");
}

#[test] // F-36, RFC 4303 §3.1.1
fn transport_mode_made_by_a_foreign_hand_is_restored_or_refused_as_it_expects() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows("generated.jsonl").into_iter().filter(|row| row["mode"] == "transport") {
        let id = row["id"].as_str().unwrap();
        let Some(mut sa) = sa(&row, 1, any(false)) else { continue };
        sa.mode = SaMode::Transport;
        let mut gateway = judge();
        gateway.submit(Command::InstallInbound(Box::new(sa)));
        gateway.send_and_poll(1, OUTSIDE, &on_the_wire(&octets(&row["esp"])));
        let heard = gateway.kernel();
        if row["expect"] == "accept" {
            let number = row["next_header"].as_u64().unwrap() as u8;
            assert_eq!(heard, [outside(number, &octets(&row["payload"]))], "{id}");
            *seen.entry("restored").or_default() += 1;
        } else {
            let drops: Vec<_> = gateway.counters().drops().map(|(reason, _)| reason).collect();
            assert!(heard.is_empty() && drops.iter().copied().all(is_refusal), "{id} {drops:?}");
            *seen.entry("refused").or_default() += 1;
        }
    }
    println!("{seen:?}");
    assert!(seen["restored"] > 30 && seen["refused"] > 15, "{seen:?}");
}

#[test] // RFC 4303 §2.4, §2.6
fn each_bad_trailer_ends_in_its_own_counter() {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows("generated_bad_trailer.jsonl") {
        let kind = row["kind"].as_str().unwrap();
        let Some((gateway, out)) = deliver(&row, any(false)) else { continue };
        let expected = match kind {
            "padlen-too-big" | "pad-not-monotonic" => DropReason::BadPadding,
            "inner-len-too-long" => DropReason::InnerMalformed,
            "inner-version-mismatch" => DropReason::InnerVersion,
            "unknown-next-header" => DropReason::NextHeader,
            "dummy-nh59" => DropReason::Dummy,
            other => panic!("{other}"),
        };
        assert!(out.is_empty());
        let drops: Vec<_> = gateway.counters().drops().collect();
        assert_eq!(drops, [(expected, 1)], "{} {kind}", row["id"]);
        *seen.entry(kind.to_owned()).or_default() += 1;
    }
    assert_eq!(seen.len(), 6, "{seen:?}");
}

/// A gateway to which all these addresses belong.
fn judge_at(local: &[IpAddr]) -> Gateway {
    let mut gateway = judge();
    let mut mirror = table(1);
    mirror.local.extend(local);
    mirror.routes =
        vec![route("0.0.0.0/0", Some("10.1.0.2"), INSIDE), route("::/0", Some("2001:db8:1::2"), INSIDE)];
    gateway.submit(Command::Forwarding(mirror));
    gateway
}

/// The SAs of a nested packet with the addresses of their outer headers, found by peeling one level after the other
/// and looking at what each would be forwarded to. `None` where a random address is one that nobody forwards to.
fn learn_levels(row: &Value) -> Option<Vec<InboundSa>> {
    let mut found = Vec::new();
    let mut packet = on_the_wire(&octets(&row["outer_esp"]));
    for (at, level) in row["sas_outer_first"].as_array().unwrap().iter().enumerate() {
        let outer = summary(&packet).tuple;
        let mut gateway = judge_at(&[outer.destination]);
        let mut candidates = [any(false), any(true)].into_iter();
        packet = candidates.find_map(|selectors| {
            let mut sa = sa(level, at as u64 + 1, selectors)?;
            (sa.remote, sa.local) = (outer.source, outer.destination);
            gateway.submit(Command::InstallInbound(Box::new(sa.clone())));
            gateway.send_and_poll(1, OUTSIDE, &packet);
            let inner = gateway.receive(INSIDE).pop()?;
            found.push(sa);
            Some(inner)
        })?;
    }
    Some(found)
}

#[test] // NT-23, NT-34
fn nested_packets_are_peeled_level_by_level() {
    let (mut peeled, mut never_negotiated, mut unforwardable) = (0, 0, 0);
    for row in rows("generated_nested.jsonl") {
        // ChaCha20-Poly1305 at some level.
        if row["sas_outer_first"].as_array().unwrap().iter().any(|sa| transform(sa).is_none()) {
            never_negotiated += 1;
            continue;
        }
        let Some(levels) = learn_levels(&row) else {
            unforwardable += 1;
            continue;
        };
        let mut gateway = judge_at(&levels.iter().map(|sa| sa.local).collect::<Vec<_>>());
        for (at, sa) in levels.iter().enumerate() {
            let mut sa = sa.clone();
            sa.rule = RuleId(at as u32 + 1);
            sa.carrier = if at == 0 { Carrier::Network } else { Carrier::Rule(RuleId(at as u32)) };
            gateway.submit(Command::InstallInbound(Box::new(sa)));
        }
        gateway.send_and_poll(1, OUTSIDE, &on_the_wire(&octets(&row["outer_esp"])));
        assert_eq!(
            gateway.receive(INSIDE),
            [after_hops(&octets(&row["innermost_packet"]), 1)],
            "{}",
            row["id"]
        );
        assert_eq!(gateway.tally(Tally::Opened), levels.len() as u64);
        peeled += 1;
    }
    // Of 40. Some of the random addresses are ones that a gateway drops at sight (multicast, loopback).
    assert_eq!((peeled, never_negotiated, unforwardable), (23, 11, 6));
}
