//! Floods, scans and noise: limits hold, and whoever is honest is still served.

use super::answering::{probe, sent};
use super::lab::*;
use crate::limits::{IN_FLIGHT_PER_SOURCE_MAX, RESTS_MAX};
use crate::ted::packet::{build, packet_octets};
use crate::ted::{Ted, TedConfig, TedCount, TedOutput};
use crate::testing::Seeded;
use crate::wire::ted::{ENTRIES_MAX, Probe};
use crate::{Entropy, Path};
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::FiveTuple;
use warren_seam::{Catch, Entry};

/// Octets of IP packets that leave because of an input.
fn octets_out(outputs: &[TedOutput]) -> usize {
    let octets = |output: &TedOutput| match output {
        TedOutput::Inject(injected) => injected.packet.len(),
        TedOutput::Transmit { path, octets } => packet_octets(path.local.is_ipv6(), octets.len()),
        TedOutput::Found { .. } | TedOutput::Log(_) => 0,
    };
    outputs.iter().map(octets).sum()
}

/// A gateway that answers nearly everything, from either family, with as many entries as there may be.
fn generous(seed: u64, cookie_echo: bool) -> Ted {
    let proxies = [
        "10.0.0.0/8 0.0.0.0/0",
        "10.2.0.0/16 0.0.0.0/0",
        "10.2.0.0/17 0.0.0.0/0",
        "0.0.0.0/0 0.0.0.0/0 tcp",
        "2001:db8::/32 ::/0",
        "2001:db8:2::/48 ::/0",
        "::/0 2001:db8::/32",
        "::/0 ::/0",
    ];
    let config = TedConfig {
        answers_per_second: 1_000_000,
        accept_from: vec![range("0.0.0.0/0"), range("::/0")],
        cookie_echo,
        ..TedConfig::default()
    };
    ted(
        config,
        vec![rule(GR, &proxies, &["10.1.0.0/16"]), rule("2001:db8:b::2", &proxies, &["10.1.0.0/16"])],
        seed,
    )
}

fn below(entropy: &mut Seeded, bound: usize) -> usize {
    let entropy: &mut dyn Entropy = entropy;
    u32::from_be_bytes(entropy.octets()) as usize % bound
}

/// A probe of which nearly everything is drawn, then perhaps damaged, its checksum put right again.
fn noise(entropy: &mut Seeded) -> Vec<u8> {
    let mut drawn = probe();
    let address = |entropy: &mut Seeded, is_ipv6: bool| -> IpAddr {
        let mut octets = [0; 16];
        Entropy::fill(entropy, &mut octets);
        if is_ipv6 {
            octets[..4].copy_from_slice(&[0x20, 1, 0x0d, 0xb8]);
            octets.into()
        } else {
            [10, octets[0], octets[1], octets[2]].into()
        }
    };
    let is_ipv6 = below(entropy, 2) == 0;
    (drawn.summary.source, drawn.summary.destination) =
        (address(entropy, is_ipv6), address(entropy, is_ipv6));
    let over_v6 = below(entropy, 2) == 0;
    drawn.gateway = address(entropy, over_v6);
    Entropy::fill(entropy, &mut drawn.cookie);
    drawn.capabilities = below(entropy, 8) as u32;
    drawn.echo = (below(entropy, 4) == 0).then_some([3; 16]);
    let mut octets = drawn.encode(below(entropy, ENTRIES_MAX + 1));
    for _ in 0..below(entropy, 4) {
        let at = below(entropy, octets.len());
        octets[at] ^= 1 << below(entropy, 8);
    }
    if below(entropy, 4) == 0 {
        octets.truncate(below(entropy, octets.len()));
    }
    let length = octets.len() as u32;
    if below(entropy, 2) == 0 && octets.len() >= 28 {
        octets[24..28].copy_from_slice(&length.to_be_bytes());
    }
    build(drawn.summary.source, drawn.summary.destination, 500, &octets).unwrap()
}

#[test] // F-8
fn no_probe_however_damaged_makes_a_gateway_send_more_than_it_was_sent() {
    for (seed, cookie_echo) in [(1, false), (2, true)] {
        let mut entropy = Seeded::new(seed);
        let mut gr = generous(seed, cookie_echo);
        let (mut total_in, mut total_out) = (0, 0);
        for at in 0..20_000u64 {
            let packet = noise(&mut entropy);
            gr.handle_caught(Duration::from_millis(at), caught(Catch::Probe, packet.clone()));
            let outputs = outputs(&mut gr);
            let out = octets_out(&outputs);
            assert!(out <= packet.len(), "{out} octets for {}", packet.len());
            assert!(outputs.iter().filter(|output| !matches!(output, TedOutput::Log(_))).count() <= 1);
            (total_in, total_out) = (total_in + packet.len(), total_out + out);
        }
        assert!(total_out <= total_in);
        let answered = TedCount::ALL
            .iter()
            .find(|count| count.word() == if cookie_echo { "challenges-sent" } else { "responses-sent" });
        assert!(gr.counters().counted(*answered.unwrap()) > 1000, "the test reaches the answers");
        assert!(gr.counters().counted(TedCount::ProbesPassed) > 1000, "and the refusals");
    }
}

#[test] // F-8
fn no_message_to_ourselves_makes_us_send_more_than_we_were_sent() {
    let mut entropy = Seeded::new(3);
    let mut gr = generous(3, false);
    for at in 0..10_000u64 {
        let packet = noise(&mut entropy);
        let tuple = caught(Catch::Probe, packet.clone()).tuple;
        let path = Path { local: (tuple.destination, 500).into(), remote: (tuple.source, 500).into() };
        gr.handle_message(Duration::from_millis(at), path, &packet[payload_at(&packet)..]);
        assert!(octets_out(&outputs(&mut gr)) <= packet.len());
    }
    assert!(gr.counters().counted(TedCount::ResponsesSent) > 500);
}

#[test] // TED-7, F-12
fn a_scan_of_a_large_network_stays_within_its_limits_and_others_are_still_served() {
    let rules =
        || vec![rule(GI, &["10.0.0.0/8 11.0.0.0/8", "2001:db8:1::/48 2001:db8::/32"], &["11.0.0.0/8"])];
    let mut gi = ted(TedConfig::default(), rules(), 1);
    let scanner = |at: u32| FiveTuple {
        destination: IpAddr::from((0x0b00_0000 + at * 61).to_be_bytes()),
        ..packet("10.0.0.66", B)
    };
    let (mut sent, mut served) = (0, 0);
    let mut at = 0;
    for millis in 0..20_000u64 {
        let now = Duration::from_millis(millis);
        // Two thousand packets in a second.
        for _ in 0..2 {
            gi.acquire(now, RULE, scanner(at));
            at += 1;
        }
        if gi.poll_timeout().is_some_and(|at| at <= now) {
            gi.handle_timeout(now);
        }
        sent += probes(&outputs(&mut gi)).len();
        assert!(gi.in_flight().len() <= IN_FLIGHT_PER_SOURCE_MAX as usize + 1);
        // Another host wants something once a second.
        if millis % 1000 == 500 {
            let other = packet("10.0.0.7", &format!("11.255.0.{}", millis / 1000));
            gi.acquire(now, RULE, other);
            let probe = one_probe(&outputs(&mut gi));
            let cookie = decoded(&probe).cookie;
            assert!(is_found(&hear(&mut gi, now, &response(cookie, &["11.0.0.0/8 10.0.0.0/8"]))));
            gi.conclude(now, RULE, &other, true);
            served += 1;
        }
    }
    assert_eq!(served, 20);
    assert!(
        sent < 20 * IN_FLIGHT_PER_SOURCE_MAX as usize / 7 + 2 * IN_FLIGHT_PER_SOURCE_MAX as usize,
        "{sent}"
    );
    assert!(gi.counters().counted(TedCount::SourceFull) > 30_000);
}

#[test] // TED-7, F-12
fn a_scan_from_many_sources_and_of_either_family_fills_no_table_beyond_its_limit() {
    let rules = vec![rule(GI, &["10.0.0.0/8 11.0.0.0/8", "2001:db8:1::/48 2001:db8::/32"], &["11.0.0.0/8"])];
    let config =
        TedConfig { in_flight_max: 500, probes_per_second: 1_000_000, tries: 1, ..TedConfig::default() };
    let mut gi = ted(config, rules, 1);
    for at in 0..60_000u32 {
        let now = Duration::from_millis(u64::from(at));
        let packet = if at % 2 == 0 {
            packet(
                &format!("10.1.{}.{}", at % 251, at % 241),
                &format!("11.{}.{}.1", at / 251 % 251, at % 251),
            )
        } else {
            packet(&format!("2001:db8:1::{:x}", at % 997), &format!("2001:db8:2::{at:x}"))
        };
        gi.acquire(now, RULE, packet);
        if gi.poll_timeout().is_some_and(|at| at <= now) {
            gi.handle_timeout(now);
        }
        outputs(&mut gi);
        if at % 1000 == 0 {
            assert!(gi.in_flight().len() <= 500 && gi.resting().len() <= RESTS_MAX);
        }
    }
    assert!(gi.counters().counted(TedCount::InFlightFull) > 10_000);
    assert!(gi.resting().len() > 5000);
}

#[test] // F-8, F-14
fn a_flood_in_the_name_of_one_gateway_leaves_answers_for_others() {
    let mut gr = ted(TedConfig::default(), vec![rule(GR, &["10.2.0.0/16 0.0.0.0/0"], &["0.0.0.0/0"])], 1);
    let mut answered = 0;
    for at in 0..5000u32 {
        let now = s(10) + Duration::from_micros(u64::from(at) * 200);
        let mut victim = Probe { gateway: address("192.0.2.77"), ..probe() };
        victim.summary.source = IpAddr::from((0x0b00_0000 + at * 977).to_be_bytes());
        gr.handle_caught(now, caught(Catch::Probe, sent(&victim)));
        outputs(&mut gr);
        if at % 500 == 0 {
            gr.handle_caught(now, caught(Catch::Probe, sent(&probe())));
            one_datagram(&outputs(&mut gr));
            answered += 1;
        }
    }
    assert_eq!(answered, 10);
    let towards_the_victim = gr.counters().counted(TedCount::ResponsesSent) - answered;
    assert!(towards_the_victim <= 101, "{towards_the_victim}");
}

#[test] // F-36, F-8
fn noise_of_every_kind_stops_nothing() {
    let mut entropy = Seeded::new(4);
    let mut gi = initiator();
    gi.acquire(s(1), RULE, p());
    let cookie = decoded(&one_probe(&outputs(&mut gi))).cookie;
    for at in 0..20_000u32 {
        let mut packet = noise(&mut entropy);
        if at % 3 == 0 {
            let at = below(&mut entropy, packet.len());
            packet.truncate(at);
        }
        let mut seen = caught(Catch::Probe, noise(&mut entropy));
        seen.upper_at = below(&mut entropy, 80) as u16;
        seen.catch = if at % 2 == 0 { Catch::Stray } else { Catch::Probe };
        let upper = [1, 17, 58, 6][below(&mut entropy, 4)];
        (seen.tuple.protocol, seen.packet) = (upper, packet.clone());
        gi.handle_caught(s(1), seen);
        for output in outputs(&mut gi) {
            let TedOutput::Inject(injected) = output else { continue };
            assert!(injected.packet == packet && injected.entry != Entry::Originate);
        }
        gi.handle_message(s(1), path(GI, GR), &packet);
    }
    outputs(&mut gi);
    assert!(is_found(&hear(&mut gi, s(1), &response(cookie, &["10.2.0.0/16 10.0.0.0/8"]))));
}
