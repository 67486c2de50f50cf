//! The responder: whom it answers, what it tells, and what it leaves alone.

use super::lab::*;
use crate::limits::ECHO_EPOCH;
use crate::ted::packet::build;
use crate::ted::{DiscoverRule, Ted, TedConfig, TedCount, TedNotice, TedOutput};
use crate::wire::ted::{ENTRIES_MAX, Echo, Probe, Response, Summary, number};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{Protocol, RuleId};
use warren_seam::{Catch, Entry, Injected};

pub(super) fn probe() -> Probe {
    Probe {
        cookie: [7; 8],
        capabilities: number::IPV6 | number::COOKIE_ECHO | number::SEVERAL,
        gateway: address(GI),
        source: None,
        summary: Summary {
            source: address(A),
            destination: address(B),
            protocol: Protocol::Any,
            source_port: None,
            destination_port: None,
        },
        echo: None,
    }
}

/// The packet of that probe, in the name of whom it names.
pub(super) fn sent(probe: &Probe) -> Vec<u8> {
    let Summary { source, destination, .. } = probe.summary;
    build(source, destination, 49_152, &probe.encode(ENTRIES_MAX)).unwrap()
}

fn offer(gr: &mut Ted, now: Duration, packet: &[u8]) -> Vec<TedOutput> {
    gr.handle_caught(now, caught(Catch::Probe, packet.to_vec()));
    outputs(gr)
}

fn entries(outputs: &[TedOutput]) -> Vec<String> {
    let response = Response::decode(&one_datagram(outputs).1).unwrap();
    response.entries.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn goes_on(gr: &mut Ted, packet: &[u8], count: TedCount) {
    let before = gr.counters().counted(count);
    let expected = Injected { entry: Entry::Resume(PORT), packet: packet.to_vec() };
    assert_eq!(offer(gr, s(1), packet), [TedOutput::Inject(expected)], "untouched");
    assert_eq!(gr.counters().counted(count), before + 1, "{}", count.word());
}

#[test] // TED-18, TED-29, TED-30, TED-32, TED-33, TED-34, TED-35, TED-36, TED-37, Q-1, Q-3
fn a_probe_that_a_rule_matches_is_answered_to_port_500_of_the_gateway_that_it_names() {
    let mut gr = responder();
    let outputs = offer(&mut gr, s(1), &sent(&probe()));
    let (way, octets) = one_datagram(&outputs);
    assert_eq!(way, path(GR, GI), "not to A, and not to the port that the probe came from");
    assert_eq!(outputs.len(), 2, "an answer and a remark, and the probe ends here");
    let response = Response::decode(&octets).unwrap();
    assert_eq!((response.initiator, response.gateway), ([7; 8], address(GR)));
    assert_eq!(response.entries, [proxy("10.2.0.0/16 10.0.0.0/8")], "as it sees it: its own side first");
    assert_eq!(response.capabilities, number::IPV6 | number::COOKIE_ECHO | number::SEVERAL);
    let told = TedNotice::Disclosed {
        gateway: address(GI),
        selectors: vec!["10.2.0.0/16 -> 10.0.0.0/8 any".to_owned()],
    };
    assert_eq!(notices(&outputs), [told], "F-9: the operator can read what was told");
    expect(&gr, &[(TedCount::ProbesReceived, 1), (TedCount::ResponsesSent, 1), (TedCount::ProbesPassed, 0)]);
}

#[test] // TED-33, TED-37
fn the_responder_keeps_no_state_and_its_cookies_are_unique() {
    let mut gr = responder();
    let mut cookies = BTreeSet::new();
    for at in 0..20 {
        let (_, octets) = one_datagram(&offer(&mut gr, s(at), &sent(&probe())));
        cookies.insert(Response::decode(&octets).unwrap().responder);
        assert!(
            gr.poll_timeout().is_none() && gr.in_flight().is_empty() && gr.resting().is_empty() && !gr.asks()
        );
    }
    assert_eq!(cookies.len(), 20);
    assert!(!cookies.contains(&[0; 8]));
}

#[test] // TED-30, TED-31, F-14
fn a_probe_that_no_rule_matches_goes_on_untouched() {
    let pinned = rule(GR, &["10.2.0.0/16 10.1.0.0/16 tcp 443 any"], &["10.1.0.0/16"]);
    let mut gr = ted(TedConfig::default(), vec![pinned], 1);
    let with = |change: fn(&mut Summary)| {
        let mut probe = probe();
        change(&mut probe.summary);
        sent(&probe)
    };
    goes_on(&mut gr, &with(|summary| summary.destination = address("10.3.0.1")), TedCount::ProbeUnmatched);
    goes_on(&mut gr, &with(|summary| summary.source = address("10.9.0.1")), TedCount::ProbeUnmatched);
    goes_on(&mut gr, &with(|summary| summary.protocol = Protocol::Is(17)), TedCount::ProbeUnmatched);
    goes_on(&mut gr, &with(|summary| summary.destination_port = Some(80)), TedCount::ProbeUnmatched);
    let v6 = |summary: &mut Summary| {
        (summary.source, summary.destination) = (address("2001:db8:1::4"), address("2001:db8:2::6"));
    };
    goes_on(&mut gr, &with(v6), TedCount::ProbeUnmatched);
    expect(&gr, &[(TedCount::ProbesPassed, 5)]);
    for change in [
        (|_| {}) as fn(&mut Summary),
        |summary| summary.protocol = Protocol::Is(6),
        |summary| summary.destination_port = Some(443),
        |summary| summary.source_port = Some(5555),
    ] {
        assert_eq!(
            entries(&offer(&mut gr, s(1), &with(change))),
            ["10.2.0.0/16 -> 10.1.0.0/16 tcp port 443 -> any"]
        );
    }
}

#[test] // TED-31, Q-15
fn a_probe_that_lies_about_its_packet_or_crossed_a_nat_goes_on_untouched() {
    let mut gr = responder();
    let octets = probe().encode(ENTRIES_MAX);
    for (source, destination) in [("10.1.3.5", B), (A, "10.2.5.7"), (B, A)] {
        let packet = build(address(source), address(destination), 500, &octets).unwrap();
        goes_on(&mut gr, &packet, TedCount::ProbeAddresses);
    }
    let v6 = build(address("2001:db8:1::4"), address("2001:db8:2::6"), 500, &octets).unwrap();
    goes_on(&mut gr, &v6, TedCount::ProbeAddresses);
}

#[test] // F-8
fn only_gateways_that_may_be_answered_are() {
    let answers = |config: TedConfig, gateway: &str| {
        let rules = vec![
            rule(GR, &["10.2.0.0/16 10.0.0.0/8"], &["10.1.0.0/16"]),
            rule("2001:db8:b::2", &["10.2.0.0/16 10.0.0.0/8"], &["10.1.0.0/16"]),
        ];
        let mut gr = ted(config, rules, 1);
        let packet = sent(&Probe { gateway: address(gateway), ..probe() });
        let outputs = offer(&mut gr, s(1), &packet);
        let is_answered = outputs.iter().any(|output| matches!(output, TedOutput::Transmit { .. }));
        let resumed = Injected { entry: Entry::Resume(PORT), packet };
        assert!(is_answered || outputs == [TedOutput::Inject(resumed)]);
        is_answered
    };
    for gateway in [GI, "192.0.2.1", "8.8.8.8", "2001:db8:a::1"] {
        assert!(answers(TedConfig::default(), gateway), "{gateway}");
    }
    let refused = [
        "10.1.0.1",
        "192.168.1.1",
        "172.31.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "0.0.0.0",
        GR,
        "2001:db8:b::2",
        B,
        "fd00::1",
        "fe80::1",
        "ff02::1",
        "::1",
        "::",
        "::ffff:198.51.100.1",
    ];
    for gateway in refused {
        assert!(!answers(TedConfig::default(), gateway), "{gateway}");
    }
    let listed = |ranges: &[&str]| TedConfig {
        accept_from: ranges.iter().map(|text| range(text)).collect(),
        ..TedConfig::default()
    };
    assert!(answers(listed(&["10.1.0.0/24"]), "10.1.0.1"), "a private one that is listed");
    assert!(!answers(listed(&["10.1.0.0/24"]), GI), "a public one that is not");
    assert!(!answers(listed(&["0.0.0.0/0"]), "224.0.0.1") && !answers(listed(&["0.0.0.0/0"]), B));
}

#[test] // TED-31, F-7
fn probes_about_no_hosts_go_on_untouched() {
    let everything = rule(GR, &["0.0.0.0/0 0.0.0.0/0", "::/0 ::/0"], &["0.0.0.0/0"]);
    let mut gr = ted(TedConfig::default(), vec![everything], 1);
    for (source, destination) in [
        ("127.0.0.1", B),
        (A, "127.0.0.1"),
        (A, "224.0.0.1"),
        ("224.0.0.1", B),
        (A, "255.255.255.255"),
        ("0.0.0.0", B),
        (A, A),
        ("::1", "2001:db8::1"),
        ("2001:db8::1", "ff02::1"),
        ("fe80::1", "2001:db8::1"),
    ] {
        let mut probe = probe();
        (probe.summary.source, probe.summary.destination) = (address(source), address(destination));
        goes_on(&mut gr, &sent(&probe), TedCount::ProbeNotUnicast);
    }
    let mut ours = probe();
    ours.summary.source = address(GR);
    goes_on(&mut gr, &sent(&ours), TedCount::ProbeOwnAddress);
}

#[test] // F-9, TED-53
fn what_is_told_is_the_matching_entries_clipped_to_what_may_be_disclosed() {
    let proxies = [
        "10.2.5.0/24 10.1.0.0/16",
        "10.7.0.0/16 10.1.0.0/16",
        "10.2.0.0/16 10.0.0.0/8 tcp",
        "10.2.0.0/16 10.0.0.0/8",
        "10.0.0.0/8 10.1.0.0/16",
    ];
    let tell = |disclose: &[&str], capabilities: u32| {
        let config =
            TedConfig { disclose: disclose.iter().map(|text| range(text)).collect(), ..TedConfig::default() };
        let mut gr = ted(config, vec![rule(GR, &proxies, &["10.1.0.0/16"])], 1);
        let outputs = offer(&mut gr, s(1), &sent(&Probe { capabilities, ..probe() }));
        outputs.iter().any(|output| matches!(output, TedOutput::Transmit { .. })).then(|| entries(&outputs))
    };
    let all = Some(vec![
        "10.2.0.0/16 -> 10.0.0.0/8 any".to_owned(),
        "10.0.0.0/8 -> 10.1.0.0/16 any".to_owned(),
        "10.2.0.0/16 -> 10.0.0.0/8 tcp".to_owned(),
        "10.2.5.0/24 -> 10.1.0.0/16 any".to_owned(),
    ]);
    assert_eq!(tell(&[], number::SEVERAL), all, "those that match, largest first, then in order of rules");
    assert_eq!(tell(&[], 0), Some(vec!["10.2.0.0/16 -> 10.0.0.0/8 any".to_owned()]), "one, if it takes one");
    let clipped = Some(vec![
        "10.2.5.0/25 -> 10.0.0.0/8 any".to_owned(),
        "10.2.5.0/25 -> 10.1.0.0/16 any".to_owned(),
        "10.2.5.0/25 -> 10.0.0.0/8 tcp".to_owned(),
    ]);
    assert_eq!(
        tell(&["10.2.5.0/25", "10.9.0.0/16"], number::SEVERAL),
        clipped,
        "each once, equals in order of rules"
    );
    assert_eq!(tell(&["10.2.5.0/25", "10.0.0.0/8"], number::SEVERAL), all, "the widest that holds B");
    assert_eq!(tell(&["10.2.6.0/24"], number::SEVERAL), None, "B is not among them");
}

#[test] // F-9, TED-31
fn what_may_not_be_told_goes_on_untouched() {
    let config = TedConfig { disclose: vec![range("10.2.6.0/24")], ..TedConfig::default() };
    let mut gr = ted(config, vec![rule(GR, &["10.2.0.0/16 10.0.0.0/8"], &["10.1.0.0/16"])], 1);
    goes_on(&mut gr, &sent(&probe()), TedCount::ProbeUndisclosed);
}

#[test] // TED-53
fn entries_of_all_rules_are_told_that_speak_from_one_address_and_no_more_than_four() {
    let of = |number, local: &str, text: &str| DiscoverRule {
        rule: RuleId(number),
        is_concealed: number == 2,
        ..rule(local, &[text], &["10.1.0.0/16"])
    };
    let rules = vec![
        of(1, "2001:db8:b::2", "10.2.0.0/16 10.1.0.0/16"),
        of(2, GR, "10.2.5.0/24 10.1.0.0/16"),
        of(3, "203.0.113.9", "10.2.0.0/16 10.1.0.0/16"),
        of(4, GR, "10.2.0.0/17 10.1.0.0/16"),
        of(5, GR, "10.2.0.0/18 10.1.0.0/16"),
        of(6, GR, "10.2.0.0/19 10.1.0.0/16"),
        of(7, GR, "10.2.0.0/20 10.1.0.0/16"),
    ];
    let mut gr = ted(TedConfig::default(), rules, 1);
    let outputs = offer(&mut gr, s(1), &sent(&probe()));
    assert_eq!(one_datagram(&outputs).0, path(GR, GI), "the first that can speak to it, concealed or not");
    let told = ["10.2.0.0/17", "10.2.0.0/18", "10.2.0.0/19", "10.2.0.0/20"];
    assert_eq!(entries(&outputs), told.map(|local| format!("{local} -> 10.1.0.0/16 any")));
}

#[test] // F-8
fn a_short_question_gets_a_short_answer_or_none() {
    let proxies = ["10.2.0.0/16 10.0.0.0/8", "10.2.0.0/17 10.0.0.0/8", "10.2.0.0/18 10.0.0.0/8"];
    for (local, gateway) in [(GR, GI), ("2001:db8:b::2", "2001:db8:a::1")] {
        let mut told = Vec::new();
        for padded in 0..=ENTRIES_MAX {
            let mut gr = ted(TedConfig::default(), vec![rule(local, &proxies, &["10.1.0.0/16"])], 1);
            // The least that can be said, then padded with a vendor ID of zeros as far as that goes.
            let mut message = Probe { gateway: address(gateway), ..probe() }.encode(0);
            message.truncate(usize::from(u16::from_be_bytes([message[26], message[27]])));
            message.extend(vec![0; padded * 28]);
            let packet = build(address(A), address(B), 500, &message).unwrap();
            let outputs = offer(&mut gr, s(1), &packet);
            let Some(TedOutput::Transmit { path, octets }) = outputs.first() else {
                assert!(outputs.is_empty(), "it was for us");
                expect(&gr, &[(TedCount::ProbeTooShort, 1)]);
                told.push(0);
                continue;
            };
            let header = if path.local.is_ipv6() { 40 } else { 20 };
            assert!(header + 8 + octets.len() <= packet.len());
            told.push(Response::decode(octets).unwrap().entries.len());
        }
        assert!(told.is_sorted() && told.first() < told.last() && told.last() == Some(&3), "{told:?}");
    }
}

#[test] // F-8
fn answers_have_a_rate_and_what_exceeds_it_ends_here() {
    let config = TedConfig { answers_per_second: 40, ..TedConfig::default() };
    let mut gr = ted(config, vec![rule(GR, &["10.2.0.0/16 0.0.0.0/0"], &["0.0.0.0/0"])], 1);
    let mut answers = |now, gateway: &dyn Fn(u32) -> String, source: &dyn Fn(u32) -> String| {
        (0..100)
            .filter(|at| {
                let mut probe = Probe { gateway: address(&gateway(*at)), ..probe() };
                probe.summary.source = address(&source(*at));
                let outputs = offer(&mut gr, now, &sent(&probe));
                let is_answered = matches!(outputs.first(), Some(TedOutput::Transmit { .. }));
                assert!(is_answered || outputs.is_empty(), "dropped, not passed on");
                is_answered
            })
            .count()
    };
    let (fixed, any) = (|_| GI.to_owned(), |at| format!("11.{at}.0.1"));
    assert_eq!(answers(s(1), &fixed, &any), 10, "one gateway");
    assert_eq!(answers(s(9), &any, &|at| format!("12.0.0.{at}")), 10, "one network of end hosts");
    assert_eq!(answers(s(19), &any, &|at| format!("13.{at}.0.1")), 40, "everybody");
    assert_eq!(answers(s(19), &fixed, &any), 0, "that was all for this second");
    let refused =
        [TedCount::ProbesOverGatewayRate, TedCount::ProbesOverSourceRate, TedCount::ProbesOverAnswerRate];
    let refused: Vec<_> = refused.iter().map(|count| gr.counters().counted(*count)).collect();
    assert!(refused.iter().all(|count| *count > 0) && refused.iter().sum::<u64>() == 400 - 60, "{refused:?}");
}

#[test] // TED-6
fn a_probe_to_ourselves_is_answered_and_one_that_no_rule_matches_ends_here() {
    let config = TedConfig::default();
    let mut host = ted(config, vec![rule(GR, &["203.0.113.2/32 10.1.0.0/16"], &["10.1.0.0/16"])], 1);
    let mut to_us = probe();
    to_us.summary.destination = address(GR);
    let way = crate::Path { local: (address(GR), 500).into(), remote: (address(A), 49_152).into() };
    host.handle_message(s(1), way, &to_us.encode(ENTRIES_MAX));
    let outputs = outputs(&mut host);
    assert_eq!(one_datagram(&outputs).0, path(GR, GI));
    assert_eq!(entries(&outputs), ["203.0.113.2/32 -> 10.1.0.0/16 any"]);
    to_us.summary.source = address("10.9.0.1");
    host.handle_message(s(1), way, &to_us.encode(ENTRIES_MAX));
    let other = crate::Path { remote: (address("10.9.0.1"), 500).into(), ..way };
    host.handle_message(s(1), other, &to_us.encode(ENTRIES_MAX));
    assert!(super::lab::outputs(&mut host).is_empty());
    expect(
        &host,
        &[(TedCount::ProbeAddresses, 1), (TedCount::ProbeUnmatched, 1), (TedCount::ProbesPassed, 0)],
    );
}

#[test] // TED-6
fn an_end_host_that_is_its_own_gateway_asks_and_is_found() {
    let mut gi = ted(
        TedConfig::default(),
        vec![rule(GI, &["198.51.100.1/32 203.0.113.2/32"], &["203.0.113.2/32"])],
        1,
    );
    let mut gr = ted(
        TedConfig::default(),
        vec![rule(GR, &["203.0.113.2/32 198.51.100.1/32"], &["198.51.100.1/32"])],
        2,
    );
    gi.acquire(s(1), RULE, packet(GI, GR));
    let probe = one_probe(&outputs(&mut gi));
    let way = crate::Path { local: (address(GR), 500).into(), remote: (address(GI), 49_152).into() };
    gr.handle_message(s(1), way, &probe[28..]);
    let (way, answer) = one_datagram(&outputs(&mut gr));
    assert_eq!(way, path(GR, GI));
    gi.handle_message(s(1), path(GI, GR), &answer);
    assert!(is_found(&outputs(&mut gi)));
}

#[test] // TED-21, TED-62, TED-11
fn what_only_resembles_a_probe_goes_on_untouched() {
    let mut gr = responder();
    let octets = probe().encode(ENTRIES_MAX);
    let with = |at: usize, octet: u8| {
        let mut octets = octets.clone();
        octets[at] = octet;
        build(address(A), address(B), 500, &octets).unwrap()
    };
    goes_on(&mut gr, &with(17, 0x20), TedCount::ProbeMalformed);
    goes_on(&mut gr, &with(18, 241), TedCount::ProbeMalformed);
    goes_on(&mut gr, &with(19, 1), TedCount::ProbeMalformed);
    goes_on(&mut gr, &with(20, 1), TedCount::ProbeMalformed);
    goes_on(&mut gr, &with(8, 1), TedCount::ProbeMalformed);
    goes_on(&mut gr, &with(84, 2), TedCount::ProbeVersion);
    goes_on(&mut gr, &with(70, 0), TedCount::ProbeVersion);
    let mut damaged = sent(&probe());
    damaged[60] ^= 1;
    goes_on(&mut gr, &damaged, TedCount::ProbeMalformed);
    let mut other_port = build(address(A), address(B), 500, &octets).unwrap();
    other_port[22..24].copy_from_slice(&501u16.to_be_bytes());
    other_port[26..28].fill(0);
    goes_on(&mut gr, &other_port, TedCount::ProbeMalformed);
    assert_eq!(entries(&offer(&mut gr, s(1), &sent(&probe()))).len(), 1);
}

#[test] // TED-20, TED-25, F-36
fn a_summary_or_an_identification_of_any_other_length_goes_on_untouched() {
    use crate::wire::{Chain, ExchangeType, Header, PayloadType};
    let mut gr = responder();
    let whole = probe().encode(0);
    let (identification, summary) = (&whole[56..64], &whole[68..100]);
    let of = |identification: &[u8], summary: &[u8]| {
        let chain = Chain::new()
            .with(PayloadType::IDENTIFICATION, identification)
            .with(PayloadType(number::SUMMARY), summary);
        let octets = Header::new([7; 8], [0; 8], ExchangeType(number::PROBE), 0, 0).encode(&chain);
        build(address(A), address(B), 500, &octets).unwrap()
    };
    let lengthened = |octets: &[u8], length: usize| {
        let mut octets = octets.to_vec();
        octets.resize(length, 1);
        octets
    };
    for length in (0..200).filter(|length| *length != summary.len()) {
        let count = if length < 20 { TedCount::ProbeMalformed } else { TedCount::ProbesPassed };
        goes_on(&mut gr, &of(identification, &lengthened(summary, length)), count);
    }
    for length in (0..60).filter(|length| *length != identification.len()) {
        goes_on(&mut gr, &of(&lengthened(identification, length), summary), TedCount::ProbesPassed);
    }
    for kind in (0..=255u8).filter(|kind| *kind != 1) {
        let mut other = identification.to_vec();
        other[0] = kind;
        goes_on(&mut gr, &of(&other, summary), TedCount::ProbeMalformed);
    }
    let packet = of(identification, summary);
    assert!(offer(&mut gr, s(1), &packet).len() <= 2);
    for octets in 28..packet.len() {
        let mut cut = packet[..octets].to_vec();
        cut[2..4].copy_from_slice(&(octets as u16).to_be_bytes());
        goes_on(&mut gr, &cut, TedCount::ProbeMalformed);
    }
}

#[test] // F-8
fn a_sender_that_does_not_hear_us_learns_nothing_where_that_is_asked_for() {
    let config = || TedConfig { cookie_echo: true, ..TedConfig::default() };
    let ours = || vec![rule(GR, &["10.2.0.0/16 10.0.0.0/8"], &["10.1.0.0/16"])];
    let mut gr = ted(config(), ours(), 1);
    let challenge = |gr: &mut Ted, now, probe: &Probe| -> Option<Echo> {
        let outputs = offer(gr, now, &sent(probe));
        let response = Response::decode(&one_datagram(&outputs).1).unwrap();
        assert_eq!(response.entries.is_empty(), response.challenge.is_some());
        response.challenge
    };
    let cookie = challenge(&mut gr, s(60), &probe()).expect("nothing is told at first");
    let again = |echo: Echo| Probe { echo: Some(echo), ..probe() };
    assert_eq!(challenge(&mut gr, s(60), &again(cookie)), None, "heard, and answered");
    assert!(challenge(&mut gr, s(60), &again([1; 16])).is_some(), "invented");
    let another = Probe { gateway: address("198.51.100.9"), ..again(cookie) };
    assert!(challenge(&mut gr, s(60), &another).is_some(), "another gateway's");
    assert!(
        challenge(&mut gr, s(60), &Probe { cookie: [8; 8], ..again(cookie) }).is_some(),
        "another probe's"
    );
    let mut other = ted(config(), ours(), 2);
    assert!(challenge(&mut other, s(60), &again(cookie)).is_some(), "another responder's");
    assert_eq!(challenge(&mut gr, s(119), &again(cookie)), None);
    assert_eq!(challenge(&mut gr, s(120), &again(cookie)), None, "the last epoch still counts");
    assert!(challenge(&mut gr, s(60) + 2 * ECHO_EPOCH, &again(cookie)).is_some(), "the one before does not");
    let deaf = Probe { capabilities: number::SEVERAL, ..probe() };
    assert!(offer(&mut gr, s(180), &sent(&deaf)).is_empty());
    expect(&gr, &[(TedCount::ProbeNoEcho, 1), (TedCount::ResponsesSent, 3), (TedCount::ChallengesSent, 5)]);
    assert_eq!(gr.poll_timeout(), None, "no state");
}

#[test] // F-14, TED-31
fn our_own_probe_that_comes_back_ends_here() {
    let mut gi = ted(TedConfig::default(), vec![rule(GI, &["10.0.0.0/8 10.0.0.0/8"], &["10.2.0.0/16"])], 1);
    gi.acquire(s(1), RULE, p());
    let probe = one_probe(&outputs(&mut gi));
    assert!(offer(&mut gi, s(1), &probe).is_empty());
    for at in [2, 4, 8] {
        gi.handle_timeout(s(at));
    }
    outputs(&mut gi);
    assert!(offer(&mut gi, s(9), &probe).is_empty(), "after its discovery too");
    expect(&gi, &[(TedCount::OwnProbes, 2), (TedCount::ResponsesSent, 0)]);
}

#[test] // F-14, TED-31
fn a_packet_to_port_500_is_asked_about_like_any_other_and_no_probe_is_asked_about() {
    let mut gi = initiator();
    let ike =
        warren_policy::FiveTuple { protocol: 17, source_port: Some(500), destination_port: Some(500), ..p() };
    gi.acquire(s(1), RULE, ike);
    let probe = one_probe(&outputs(&mut gi));
    // The probe itself is a packet to port 500 that the rule protects; a worker sends it without asking the rules.
    let seen = caught(Catch::Probe, probe);
    assert_eq!(seen.tuple, ike);
    gi.acquire(s(1), RULE, seen.tuple);
    assert!(outputs(&mut gi).is_empty());
    expect(&gi, &[(TedCount::Waiting, 1)]);
}

#[test] // TED-29, TED-34
fn nothing_is_answered_without_an_address_of_the_gateways_family() {
    let mut gr = responder();
    let over_v6 = Probe { gateway: "2001:db8:a::1".parse::<IpAddr>().unwrap(), ..probe() };
    goes_on(&mut gr, &sent(&over_v6), TedCount::ProbeUnmatched);
}
