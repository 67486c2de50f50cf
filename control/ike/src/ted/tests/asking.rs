//! The initiator by itself.

use super::lab::*;
use crate::limits::{
    DISCOVERY_NEGOTIATION_MAX, ENDED_DISCOVERY_LIFE, IN_FLIGHT_PER_SOURCE_MAX, TED_NOTICES_PER_SECOND,
};
use crate::ted::{
    DiscoverRule, Granularity, NotFound, ProbeSport, Stage, Ted, TedConfig, TedCount, TedNotice, TedOutput,
    Unasked,
};
use std::collections::BTreeSet;
use std::time::Duration;
use warren_policy::{FiveTuple, Protocol, RuleId};
use warren_seam::Catch;

#[test] // TED-1, TED-4, TED-5, TED-7, TED-54, TED-55, TED-56, TED-58, TED-60, Q-13
fn a_packet_is_asked_about_once_and_the_gateway_that_answers_is_found() {
    let (mut gi, mut gr) = (initiator(), responder());
    gi.acquire(s(10), RULE, p());
    gi.acquire(s(10), RULE, p());
    let probe = one_probe(&outputs(&mut gi));
    gr.handle_caught(s(10), caught(Catch::Probe, probe));
    let (way, answer) = one_datagram(&outputs(&mut gr));
    assert_eq!((way.local.to_string(), way.remote.to_string()), (format!("{GR}:500"), format!("{GI}:500")));
    gi.handle_message(s(10), path(GI, GR), &answer);
    let common = selector("10.1.0.0/16 10.2.0.0/16");
    let found = TedOutput::Found { rule: RULE, packet: p(), gateway: address(GR), selector: common };
    let answered = TedNotice::Answered { rule: RULE, gateway: address(GR), selector: common };
    assert_eq!(outputs(&mut gi), [TedOutput::Log(answered), found]);
    gi.conclude(s(11), RULE, &p(), true);
    assert!(gi.in_flight().is_empty() && gi.resting().is_empty());
    expect(
        &gi,
        &[(TedCount::Acquired, 2), (TedCount::Waiting, 1), (TedCount::Found, 1), (TedCount::TunnelsUp, 1)],
    );
}

#[test] // TED-12, TED-13, TED-14, TED-15, TED-18, TED-26, TED-27, Q-1, Q-2, Q-7, Q-12, F-10
fn a_probe_goes_in_the_name_of_the_end_host_and_tells_no_more_than_the_rule_pins_down() {
    let probe_of = |config: TedConfig, packet: FiveTuple, proxies: &[&str]| {
        let mut gi = ted(config, vec![rule(GI, proxies, &["0.0.0.0/0"])], 1);
        gi.acquire(s(1), RULE, packet);
        one_probe(&outputs(&mut gi))
    };
    let policy = TedConfig::default();
    let octets = probe_of(policy.clone(), p(), &["10.1.0.0/16 10.0.0.0/8"]);
    let caught = caught(Catch::Probe, octets.clone());
    assert_eq!((caught.tuple.source, caught.tuple.destination), (address(A), address(B)));
    assert_eq!((caught.tuple.source_port, caught.tuple.destination_port), (Some(49_152), Some(500)));
    assert_eq!(octets[8], 64, "hops");
    let told = |octets: &[u8]| {
        let summary = decoded(octets).summary;
        (summary.protocol, summary.source_port, summary.destination_port)
    };
    let probe = decoded(&octets);
    assert_eq!(
        (probe.gateway, probe.summary.source, probe.summary.destination),
        (address(GI), address(A), address(B))
    );
    assert_eq!(probe.source.unwrap().0.to_string(), "10.1.0.0/16", "TED-19: the source half");
    assert_eq!(told(&octets), (Protocol::Any, None, None), "the rule leaves it open");
    let pinned = probe_of(policy, p(), &["10.1.0.0/16 10.9.0.0/16", "10.1.0.0/16 10.0.0.0/8 tcp any 443"]);
    assert_eq!(told(&pinned), (Protocol::Is(6), None, Some(443)), "as far as the rule says");
    let letter = TedConfig { granularity: Granularity::Packet, ..TedConfig::default() };
    let letter = probe_of(letter, p(), &["10.1.0.0/16 10.0.0.0/8"]);
    assert_eq!(told(&letter), (Protocol::Is(6), Some(49_152), Some(443)), "the whole packet");
}

#[test] // TED-15, Q-1
fn the_source_port_is_that_of_the_packet_or_500() {
    let port_of = |config: TedConfig, source_port: Option<u16>| {
        let mut gi = ted(config, vec![rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"])], 1);
        gi.acquire(s(1), RULE, FiveTuple { source_port, ..p() });
        caught(Catch::Probe, one_probe(&outputs(&mut gi))).tuple.source_port
    };
    assert_eq!(port_of(TedConfig::default(), Some(7777)), Some(7777));
    assert_eq!(port_of(TedConfig::default(), None), Some(500), "ICMP has none");
    assert_eq!(port_of(TedConfig::default(), Some(0)), Some(500));
    let always = TedConfig { probe_sport: ProbeSport::Isakmp, ..TedConfig::default() };
    assert_eq!(port_of(always, Some(7777)), Some(500));
}

/// When probes went out and what was said in the end, for traffic every so many milliseconds.
fn timeline(
    gi: &mut Ted,
    from: Duration,
    until: Duration,
    traffic: Option<u64>,
) -> (Vec<u64>, Vec<TedNotice>) {
    let (mut sent, mut said) = (Vec::new(), Vec::new());
    let mut now = from;
    gi.acquire(now, RULE, p());
    loop {
        let outputs = outputs(gi);
        sent.extend(probes(&outputs).iter().map(|_| (now - from).as_millis() as u64));
        said.extend(notices(&outputs));
        now += Duration::from_millis(100);
        if now > until {
            return (sent, said);
        }
        if traffic.is_some_and(|every| (now - from).as_millis().is_multiple_of(u128::from(every))) {
            gi.acquire(now, RULE, p());
        }
        if gi.poll_timeout().is_some_and(|at| at <= now) {
            gi.handle_timeout(now);
        }
    }
}

#[test] // TED-5, TED-7, Q-14
fn a_probe_is_repeated_after_one_and_two_more_seconds_and_given_up_after_four_more() {
    let mut gi = initiator();
    let (sent, said) = timeline(&mut gi, s(10), s(17), Some(300));
    assert_eq!(sent, [0, 1000, 3000]);
    let gone = |why, rest| TedNotice::NotFound { rule: RULE, packet: p(), why, rest: s(rest) };
    assert_eq!(said, [gone(NotFound::NoAnswer, 30)]);
    let resting = gi.resting();
    assert_eq!((resting.len(), resting[0].until, resting[0].failures), (1, s(47), 1));
    expect(&gi, &[(TedCount::ProbesSent, 3), (TedCount::ProbesRepeated, 2), (TedCount::Unanswered, 1)]);
    let (sent, said) = timeline(&mut gi, s(18), s(46), Some(1000));
    assert!(sent.is_empty() && said.is_empty(), "left alone");
    expect(&gi, &[(TedCount::Rested, 29)]);
    let (sent, said) = timeline(&mut gi, s(47), s(54), Some(300));
    assert_eq!((sent, said), (vec![0, 1000, 3000], vec![gone(NotFound::NoAnswer, 60)]), "twice as long");
}

#[test] // TED-5, Q-14
fn without_further_traffic_no_probe_is_repeated() {
    let mut gi = initiator();
    let (sent, said) = timeline(&mut gi, s(10), s(17), None);
    assert_eq!((sent, said.len()), (vec![0], 1));
    expect(&gi, &[(TedCount::ProbesSpared, 2), (TedCount::ProbesRepeated, 0)]);
    let mut gi = initiator();
    let (sent, _) = timeline(&mut gi, s(10), s(17), Some(2500));
    assert_eq!(sent, [0, 3000], "the second wait had traffic, the first had none");
}

#[test]
fn tries_and_first_wait_are_the_operators() {
    let config = TedConfig { tries: 4, first_wait: Duration::from_millis(500), ..TedConfig::default() };
    let mut gi = ted(config, vec![rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"])], 1);
    let (sent, said) = timeline(&mut gi, s(10), s(18), Some(100));
    assert_eq!((sent, said.len()), (vec![0, 500, 1500, 3500], 1));
    let config = TedConfig { tries: 0, first_wait: Duration::ZERO, ..TedConfig::default() };
    let mut gi = ted(config, vec![rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"])], 1);
    let (sent, said) = timeline(&mut gi, s(10), s(11), None);
    assert_eq!((sent, said.len()), (vec![0], 1), "one at least, and an end");
    let config = TedConfig {
        first_wait: Duration::MAX,
        rest_min: Duration::MAX,
        rest_max: Duration::MAX,
        ..TedConfig::default()
    };
    let mut gi = ted(config, vec![rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"])], 1);
    assert_eq!(timeline(&mut gi, s(10), s(11), None), (vec![0], Vec::new()), "for ever");
    for _ in 0..4 {
        gi.handle_timeout(Duration::MAX);
    }
    assert_eq!((gi.in_flight().len(), gi.resting().len()), (0, 0), "until the end of time");
}

#[test] // TED-10
fn cookies_are_unique_never_zero_and_the_same_for_repetitions() {
    let config = TedConfig { probes_per_second: 100_000, ..TedConfig::default() };
    let mut gi = ted(config, vec![rule(GI, &["10.0.0.0/8 11.0.0.0/8"], &["11.0.0.0/8"])], 1);
    let mut cookies = BTreeSet::new();
    for at in 0..2000u32 {
        let packet = packet(&format!("10.0.{}.1", at / 100), &format!("11.{}.{}.1", at / 200, at % 200));
        gi.acquire(s(1), RULE, packet);
        gi.acquire(s(1), RULE, packet);
        let probe = decoded(&one_probe(&outputs(&mut gi)));
        assert_ne!(probe.cookie, [0; 8]);
        cookies.insert(probe.cookie);
    }
    assert_eq!(cookies.len(), 2000);
    gi.handle_timeout(s(2));
    let repeated: BTreeSet<_> = probes(&outputs(&mut gi)).iter().map(|probe| decoded(probe).cookie).collect();
    assert_eq!(repeated, cookies);
    assert_eq!(gi.in_flight().iter().map(|discovery| discovery.cookie).collect::<BTreeSet<_>>(), cookies);
}

#[test] // F-10
fn a_concealed_rule_never_asks() {
    let concealed =
        DiscoverRule { is_concealed: true, ..rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"]) };
    let mut gi = ted(TedConfig::default(), vec![concealed], 1);
    gi.acquire(s(1), RULE, p());
    assert_eq!(gi.probe(s(1), RULE, p()), Err(Unasked::Concealed));
    assert_eq!(gi.preview(s(1), RULE, p()), Err(Unasked::Concealed));
    assert!(outputs(&mut gi).is_empty() && gi.in_flight().is_empty() && !gi.asks());
    expect(&gi, &[(TedCount::Concealed, 2)]);
}

#[test] // TED-7, F-12
fn addresses_that_are_no_single_host_elsewhere_are_never_asked_about() {
    let everything = ["0.0.0.0/0 0.0.0.0/0", "::/0 ::/0"];
    let mut gi = ted(TedConfig::default(), vec![rule(GI, &everything, &["0.0.0.0/0"])], 1);
    let pairs = [
        (A, "224.0.0.5"),
        (A, "255.255.255.255"),
        (A, "127.0.0.1"),
        (A, "169.254.3.4"),
        (A, "0.0.0.0"),
        (A, A),
        (A, GI),
        ("127.0.0.1", B),
        ("0.0.0.0", B),
        ("239.1.1.1", B),
        (A, "2001:db8::1"),
        ("2001:db8::1", "ff02::1"),
        ("2001:db8::1", "fe80::7"),
        ("fe80::7", "2001:db8::1"),
        ("2001:db8::1", "::1"),
        ("2001:db8::1", "::ffff:10.2.5.6"),
    ];
    for (source, destination) in pairs {
        gi.acquire(s(1), RULE, packet(source, destination));
        assert_eq!(
            gi.probe(s(1), RULE, packet(source, destination)),
            Err(Unasked::Unaskable),
            "{destination}"
        );
    }
    assert!(outputs(&mut gi).is_empty() && gi.in_flight().is_empty());
    expect(&gi, &[(TedCount::Unaskable, 2 * pairs.len() as u64)]);
}

#[test] // TED-2
fn only_what_the_rule_protects_is_asked_about() {
    let mut gi = initiator();
    gi.acquire(s(1), RuleId(9), p());
    gi.acquire(s(1), RULE, packet("10.7.0.1", B));
    assert_eq!(gi.probe(s(1), RuleId(9), p()), Err(Unasked::NotDiscovering));
    assert_eq!(gi.probe(s(1), RULE, packet(A, "192.0.2.9")), Err(Unasked::Outside));
    assert!(outputs(&mut gi).is_empty());
    expect(&gi, &[(TedCount::NotDiscovering, 2), (TedCount::Outside, 2)]);
}

#[test] // TED-7
fn a_granule_is_one_discovery_and_each_flow_has_its_own_only_where_the_operator_wants_that() {
    let discoveries = |config: TedConfig| {
        let mut gi = ted(config, vec![rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"])], 1);
        for destination in ["10.2.5.6", "10.2.5.7", "10.2.6.6"] {
            for port in [443, 80] {
                let packet = FiveTuple { destination_port: Some(port), ..packet(A, destination) };
                gi.acquire(s(1), RULE, packet);
            }
        }
        let sent = probes(&outputs(&mut gi)).len();
        assert_eq!(sent, gi.in_flight().len());
        expect(&gi, &[(TedCount::Waiting, 6 - sent as u64)]);
        sent
    };
    assert_eq!(discoveries(TedConfig::default()), 3);
    assert_eq!(discoveries(TedConfig { granule: (24, 64), ..TedConfig::default() }), 2);
    assert_eq!(discoveries(TedConfig { granularity: Granularity::Packet, ..TedConfig::default() }), 6);
}

#[test] // TED-7, F-12
fn discoveries_in_all_those_of_one_source_and_probes_in_a_second_have_their_limits() {
    let many = |config: TedConfig, sources: u32, each: u32| {
        let mut gi = ted(config, vec![rule(GI, &["10.0.0.0/8 11.0.0.0/8"], &["11.0.0.0/8"])], 1);
        for source in 0..sources {
            for at in 0..each {
                let packet = packet(&format!("10.0.0.{source}"), &format!("11.0.{source}.{at}"));
                gi.acquire(s(1), RULE, packet);
            }
        }
        let sent = probes(&outputs(&mut gi)).len();
        assert_eq!(sent, gi.in_flight().len());
        (gi, sent)
    };
    let fast = TedConfig { probes_per_second: 100_000, ..TedConfig::default() };
    let (gi, sent) = many(TedConfig { in_flight_max: 50, ..fast.clone() }, 2, 100);
    assert_eq!(sent, 50);
    expect(&gi, &[(TedCount::InFlightFull, 150)]);
    let (gi, sent) = many(fast, 2, 200);
    assert_eq!(sent, 2 * IN_FLIGHT_PER_SOURCE_MAX as usize);
    expect(&gi, &[(TedCount::SourceFull, 2 * (200 - u64::from(IN_FLIGHT_PER_SOURCE_MAX)))]);
    let (mut gi, sent) = many(TedConfig::default(), 5, 100);
    assert_eq!(sent, 200);
    expect(&gi, &[(TedCount::ProbesOverRate, 300)]);
    assert_eq!(gi.probe(s(1), RULE, packet("10.0.0.9", "11.9.9.9")), Err(Unasked::TooMany));
    assert_eq!(gi.probe(s(2), RULE, packet("10.0.0.9", "11.9.9.9")), Ok(()), "a second later");
}

#[test] // TED-7
fn the_operators_probe_ends_a_rest_and_is_repeated_without_traffic_and_the_preview_is_that_probe() {
    let mut gi = initiator();
    timeline(&mut gi, s(10), s(17), None);
    assert_eq!(gi.resting().len(), 1);
    let preview = gi.preview(s(18), RULE, p()).unwrap();
    assert!(outputs(&mut gi).is_empty() && gi.in_flight().is_empty(), "nothing happened");
    assert_eq!(decoded_cookie(&preview), [0; 8]);
    assert_eq!(gi.probe(s(18), RULE, p()), Ok(()));
    assert!(gi.resting().is_empty());
    let mut sent = one_probe(&outputs(&mut gi));
    sent[28..36].fill(0);
    sent[26..28].copy_from_slice(&preview[26..28]);
    assert_eq!(sent, preview);
    assert_eq!(gi.probe(s(18), RULE, p()), Err(Unasked::UnderWay));
    assert_eq!(gi.preview(s(18), RULE, p()), Err(Unasked::UnderWay));
    gi.handle_timeout(s(19));
    one_probe(&outputs(&mut gi));
    gi.handle_timeout(s(21));
    one_probe(&outputs(&mut gi));
    gi.handle_timeout(s(25));
    assert_eq!(gi.resting()[0].failures, 2, "what failed before still counts");
}

fn decoded_cookie(packet: &[u8]) -> [u8; 8] {
    packet[payload_at(packet)..][..8].try_into().unwrap()
}

/// GI with a gateway found at that time.
fn found(now: Duration) -> Ted {
    let mut gi = initiator();
    gi.acquire(now, RULE, p());
    let cookie = decoded(&one_probe(&outputs(&mut gi))).cookie;
    assert!(is_found(&hear(&mut gi, now, &response(cookie, &["10.2.0.0/16 10.0.0.0/8"]))));
    gi
}

#[test] // TED-3, TED-7
fn a_tunnel_ends_the_discovery_and_a_failure_begins_a_rest() {
    let mut gi = found(s(1));
    let stage = Stage::Negotiating { gateway: address(GR), selector: selector("10.1.0.0/16 10.2.0.0/16") };
    assert_eq!(gi.in_flight()[0].stage, stage);
    gi.acquire(s(2), RULE, p());
    assert!(outputs(&mut gi).is_empty(), "it has its answer");
    assert_eq!(gi.in_flight()[0].waiting, 2);
    gi.conclude(s(3), RULE, &p(), false);
    assert_eq!(gi.resting()[0].why, NotFound::NotNegotiated);
    assert!(gi.in_flight().is_empty());
    expect(&gi, &[(TedCount::NegotiationsFailed, 1), (TedCount::NotFound, 1)]);
    let mut gi = found(s(1));
    gi.conclude(s(3), RULE, &p(), true);
    assert!(gi.in_flight().is_empty() && gi.resting().is_empty());
    gi.conclude(s(4), RULE, &p(), false);
    assert!(gi.resting().is_empty(), "there is nothing to conclude");
}

#[test] // TED-7
fn a_negotiation_of_which_nothing_is_heard_ends_in_a_rest_that_a_late_tunnel_ends() {
    let mut gi = found(s(1));
    assert_eq!(gi.poll_timeout(), Some(s(1) + DISCOVERY_NEGOTIATION_MAX));
    gi.handle_timeout(s(1) + DISCOVERY_NEGOTIATION_MAX);
    assert!(gi.in_flight().is_empty());
    assert_eq!(gi.resting()[0].why, NotFound::NotNegotiated);
    expect(&gi, &[(TedCount::NegotiationsAbandoned, 1)]);
    gi.conclude(s(130), RULE, &p(), true);
    assert!(gi.resting().is_empty());
}

#[test] // TED-7, F-14
fn another_configuration_keeps_what_it_does_not_change() {
    let other =
        |number, text: &str| DiscoverRule { rule: RuleId(number), ..rule(GI, &[text], &["10.0.0.0/8"]) };
    let rules = || vec![other(1, "10.1.0.0/16 10.2.0.0/16"), other(2, "10.1.0.0/16 10.3.0.0/16")];
    let mut gi = ted(TedConfig::default(), rules(), 1);
    let (one, two) = (packet(A, "10.2.0.1"), packet(A, "10.3.0.1"));
    gi.acquire(s(1), RuleId(1), one);
    gi.acquire(s(1), RuleId(2), two);
    gi.reconfigure(s(2), TedConfig::default(), rules());
    assert_eq!(gi.in_flight().len(), 2, "nothing changed");
    let changed = vec![other(1, "10.1.0.0/16 10.2.0.0/24"), other(2, "10.1.0.0/16 10.3.0.0/16")];
    gi.reconfigure(s(2), TedConfig::default(), changed);
    assert_eq!(gi.in_flight().iter().map(|discovery| discovery.rule).collect::<Vec<_>>(), [RuleId(2)]);
    gi.handle_timeout(s(9));
    gi.handle_timeout(s(12));
    gi.handle_timeout(s(20));
    assert_eq!(gi.resting().len(), 1);
    gi.reconfigure(s(20), TedConfig::default(), Vec::new());
    assert!(gi.resting().is_empty() && gi.in_flight().is_empty());
    gi.acquire(s(21), RuleId(2), two);
    expect(&gi, &[(TedCount::NotDiscovering, 1)]);
    let mut gi = ted(TedConfig::default(), rules(), 1);
    gi.acquire(s(1), RuleId(1), one);
    gi.reconfigure(s(2), TedConfig { granule: (24, 64), ..TedConfig::default() }, rules());
    assert!(gi.in_flight().is_empty(), "something else is one to discovery now");
}

#[test] // TED-28
fn workers_look_out_for_errors_as_long_as_there_may_be_some() {
    let mut gi = initiator();
    assert!(!gi.asks() && gi.poll_timeout().is_none());
    timeline(&mut gi, s(10), s(17), None);
    assert!(gi.asks());
    assert_eq!(gi.poll_timeout(), Some(s(17) + ENDED_DISCOVERY_LIFE));
    gi.handle_timeout(s(17) + ENDED_DISCOVERY_LIFE);
    assert!(!gi.asks() && gi.poll_timeout().is_none());
}

#[test] // TED-7, F-12
fn remarks_have_a_rate_too() {
    let config = TedConfig { probes_per_second: 100_000, tries: 1, ..TedConfig::default() };
    let mut gi = ted(config, vec![rule(GI, &["10.0.0.0/8 11.0.0.0/8"], &["11.0.0.0/8"])], 1);
    for at in 0..100 {
        gi.acquire(s(1), RULE, packet(A, &format!("11.0.0.{at}")));
    }
    outputs(&mut gi);
    gi.handle_timeout(s(2));
    assert_eq!(notices(&outputs(&mut gi)).len(), TED_NOTICES_PER_SECOND as usize);
    expect(
        &gi,
        &[(TedCount::NoticesSuppressed, 100 - u64::from(TED_NOTICES_PER_SECOND)), (TedCount::NotFound, 100)],
    );
}
