//! What the initiator makes of answers: honest, wrong, and forged ones.

use super::lab::*;
use crate::limits::CHALLENGES_PER_DISCOVERY_MAX;
use crate::ted::{DiscoverRule, NotFound, Ted, TedConfig, TedCount, TedNotice, TedOutput};
use crate::wire::ted::Response;
use std::net::IpAddr;
use std::time::Duration;
use warren_policy::{Proxy, Selector};

const HONEST: &[&str] = &["10.2.0.0/16 10.0.0.0/8"];

/// GI with a discovery under way, and its cookie.
fn asking(config: TedConfig, rule: DiscoverRule) -> (Ted, [u8; 8]) {
    let mut gi = ted(config, vec![rule], 1);
    gi.acquire(s(1), RULE, p());
    let cookie = decoded(&one_probe(&outputs(&mut gi))).cookie;
    (gi, cookie)
}

fn honest() -> (Ted, [u8; 8]) {
    asking(TedConfig::default(), rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"]))
}

/// The selector that was found.
fn found(outputs: &[TedOutput]) -> Option<Selector> {
    outputs.iter().find_map(|output| match output {
        TedOutput::Found { selector, .. } => Some(*selector),
        _ => None,
    })
}

/// Lets the discovery run out and says why it came to nothing.
fn run_out(gi: &mut Ted) -> NotFound {
    let mut said = Vec::new();
    for at in [2, 4, 8] {
        gi.handle_timeout(s(at));
        said.extend(notices(&outputs(gi)));
    }
    match said.as_slice() {
        [TedNotice::NotFound { why, .. }] => *why,
        other => panic!("{other:?}"),
    }
}

#[test] // TED-59, TED-60, F-7, Q-15
fn no_forged_response_ends_a_discovery_or_moves_it() {
    type Forgery = fn(&mut Response, &mut (IpAddr, IpAddr));
    let forgeries: [(Forgery, TedCount); 8] = [
        (|response, _| response.initiator[0] ^= 1, TedCount::ResponseUnknown),
        (|_, (_, from)| *from = address("203.0.113.66"), TedCount::ResponseSource),
        (|response, _| response.gateway = address("203.0.113.66"), TedCount::ResponseSource),
        (|_, (to, _)| *to = address("198.51.100.9"), TedCount::ResponseElsewhere),
        (multicast, TedCount::ResponseNotUnicast),
        (|response, ends| same(response, ends, "255.255.255.255"), TedCount::ResponseNotUnicast),
        (|response, ends| same(response, ends, GI), TedCount::ResponseOwnAddress),
        (|response, ends| same(response, ends, "192.0.2.66"), TedCount::ResponseNotAllowed),
    ];
    fn multicast(response: &mut Response, ends: &mut (IpAddr, IpAddr)) {
        same(response, ends, "224.0.0.18");
    }
    fn same(response: &mut Response, (_, from): &mut (IpAddr, IpAddr), gateway: &str) {
        (response.gateway, *from) = (address(gateway), address(gateway));
    }
    let config = TedConfig { gateways: vec![range("203.0.113.0/24")], ..TedConfig::default() };
    let (mut gi, cookie) = asking(config, rule(GI, &["10.1.0.0/16 10.0.0.0/8"], &["10.2.0.0/16"]));
    let before = gi.in_flight();
    let mut expected = Vec::<(TedCount, u64)>::new();
    for (forge, count) in forgeries {
        let mut forged = response(cookie, HONEST);
        let mut ends = (address(GI), address(GR));
        forge(&mut forged, &mut ends);
        let way = path(&ends.0.to_string(), &ends.1.to_string());
        gi.handle_message(s(1), way, &forged.encode());
        assert!(outputs(&mut gi).is_empty(), "{count:?}");
        match expected.iter_mut().find(|(other, _)| *other == count) {
            Some((_, counted)) => *counted += 1,
            None => expected.push((count, 1)),
        }
    }
    expect(&gi, &expected);
    assert_eq!(gi.in_flight(), before);
    assert!(is_found(&hear(&mut gi, s(1), &response(cookie, HONEST))), "the honest one still counts");
}

#[test] // TED-45, TED-52, TED-54, TED-55, F-7, Q-4, Q-10
fn an_answer_about_something_else_is_refused_and_says_in_the_end_why_there_is_no_tunnel() {
    let refused = [
        (vec!["10.3.0.0/16 10.9.0.0/16"], NotFound::NothingInCommon, TedCount::ResponseNothingInCommon),
        (vec!["10.1.0.0/16 10.2.0.0/16"], NotFound::NothingInCommon, TedCount::ResponseNothingInCommon),
        (
            vec!["2001:db8:2::/48 2001:db8:1::/48"],
            NotFound::NothingInCommon,
            TedCount::ResponseNothingInCommon,
        ),
        (vec!["10.2.9.0/24 10.0.0.0/8"], NotFound::PacketOutside, TedCount::ResponsePacketOutside),
        (vec!["10.2.0.0/16 10.1.9.0/24"], NotFound::PacketOutside, TedCount::ResponsePacketOutside),
        (vec!["10.2.0.0/16 10.0.0.0/8 udp"], NotFound::PacketOutside, TedCount::ResponsePacketOutside),
        (vec!["10.2.0.0/16 10.0.0.0/8 tcp 80 any"], NotFound::PacketOutside, TedCount::ResponsePacketOutside),
        (vec!["10.0.0.0/8 10.0.0.0/8"], NotFound::NotAuthorisable, TedCount::ResponseNotAuthorisable),
        (vec!["10.2.0.6/255.255.0.255 10.0.0.0/8"], NotFound::MaskNoPrefix, TedCount::ResponseMask),
        (vec!["10.2.0.0/16 10.0.0.0/8 any 443 any"], NotFound::MaskNoPrefix, TedCount::ResponseMask),
    ];
    for (entries, why, count) in refused {
        let (mut gi, cookie) = honest();
        assert!(hear(&mut gi, s(1), &response(cookie, &entries)).is_empty());
        expect(&gi, &[(count, 1)]);
        assert_eq!((gi.in_flight().len(), run_out(&mut gi)), (1, why), "{entries:?}");
        assert_eq!(gi.resting()[0].why, why);
        let (mut gi, cookie) = honest();
        hear(&mut gi, s(1), &response(cookie, &entries));
        assert!(is_found(&hear(&mut gi, s(1), &response(cookie, HONEST))), "a better one may follow");
    }
}

#[test] // TED-53, TED-57, TED-58, TED-45
fn the_largest_common_part_of_several_entries_is_found_whichever_side_narrows_it() {
    let narrow = "10.2.5.0/24 10.1.0.0/16";
    let cases: [(&[&str], &[&str], &str); 5] = [
        (&["10.1.0.0/16 10.2.0.0/16"], &[narrow, "10.2.0.0/16 10.1.0.0/16"], "10.1.0.0/16 10.2.0.0/16"),
        (&["10.1.0.0/16 10.2.0.0/16"], &[narrow, "10.2.9.0/24 10.1.0.0/16"], "10.1.0.0/16 10.2.5.0/24"),
        (&["10.1.0.0/16 10.2.5.0/24"], &["10.2.0.0/16 10.1.3.0/24"], "10.1.3.0/24 10.2.5.0/24"),
        (&["10.1.0.0/16 10.0.0.0/8 tcp"], &["10.2.0.0/16 10.0.0.0/8 any"], "10.1.0.0/16 10.2.0.0/16 tcp"),
        (
            &["10.1.9.0/24 10.2.0.0/16", "10.1.0.0/16 10.0.0.0/8 tcp any 443"],
            &["10.2.0.0/16 10.0.0.0/8 tcp"],
            "10.1.0.0/16 10.2.0.0/16 tcp any 443",
        ),
    ];
    for (ours, theirs, expected) in cases {
        let (mut gi, cookie) = asking(TedConfig::default(), rule(GI, ours, &["10.2.0.0/16"]));
        let outputs = hear(&mut gi, s(1), &response(cookie, theirs));
        let found = found(&outputs);
        assert_eq!(found, Some(selector(expected)), "{ours:?} {theirs:?}");
        assert!(found.unwrap().contains(&p()), "TED-55");
    }
}

#[test] // TED-60
fn the_first_acceptable_response_wins_and_late_ones_are_counted() {
    let (mut gi, cookie) = honest();
    assert!(is_found(&hear(&mut gi, s(1), &response(cookie, HONEST))));
    let other =
        Response { gateway: address("203.0.113.66"), ..response(cookie, &["10.2.5.0/24 10.1.0.0/16"]) };
    gi.handle_message(s(1), path(GI, "203.0.113.66"), &other.encode());
    assert!(outputs(&mut gi).is_empty());
    gi.conclude(s(2), RULE, &p(), true);
    assert!(hear(&mut gi, s(2), &response(cookie, HONEST)).is_empty());
    expect(&gi, &[(TedCount::ResponseLate, 2), (TedCount::ResponseUnknown, 0)]);
    let (mut gi, cookie) = honest();
    run_out(&mut gi);
    assert!(hear(&mut gi, s(9), &response(cookie, HONEST)).is_empty(), "after its time");
    gi.handle_timeout(s(100));
    hear(&mut gi, s(100), &response(cookie, HONEST));
    expect(&gi, &[(TedCount::ResponseLate, 1), (TedCount::ResponseUnknown, 1)]);
}

#[test] // F-7, TED-60
fn a_storm_of_ten_thousand_responses_changes_nothing() {
    let (mut gi, cookie) = honest();
    let before = gi.in_flight();
    for at in 0..10_000u32 {
        let mut forged = response(cookie, &["10.0.0.0/8 10.0.0.0/8"]);
        if at % 2 == 0 {
            forged.initiator = u64::from(at + 1).to_be_bytes();
        }
        assert!(hear(&mut gi, s(1), &forged).is_empty(), "neither an effect nor a line in the log");
    }
    assert_eq!(gi.in_flight(), before);
    expect(&gi, &[(TedCount::ResponseUnknown, 5000), (TedCount::ResponseNotAuthorisable, 5000)]);
    assert!(is_found(&hear(&mut gi, s(1), &response(cookie, HONEST))));
}

#[test] // TED-60, F-7
fn a_response_cut_off_anywhere_or_changed_anywhere_does_no_harm() {
    let whole = response([0; 8], HONEST).encode().len();
    for at in 0..whole {
        let (mut gi, cookie) = honest();
        let octets = response(cookie, HONEST).encode();
        gi.handle_message(s(1), path(GI, GR), &octets[..at]);
        assert!(outputs(&mut gi).is_empty(), "cut off at {at}");
        for bit in 0..8 {
            let mut changed = octets.clone();
            changed[at] ^= 1 << bit;
            gi.handle_message(s(1), path(GI, GR), &changed);
            if let Some(selector) = found(&outputs(&mut gi)) {
                assert!(
                    selector.contains(&p()) && range("10.2.0.0/16").contains_range(&selector.destination)
                );
                return_to_start(&mut gi);
            }
        }
    }

    fn return_to_start(gi: &mut Ted) {
        gi.conclude(s(1), RULE, &p(), true);
        gi.acquire(s(1), RULE, p());
        outputs(gi);
    }
}

#[test] // F-8
fn a_cookie_is_said_again_at_once_and_with_every_repetition_but_not_for_ever() {
    let (mut gi, cookie) = honest();
    let challenge = |number: u8| Response { challenge: Some([number; 16]), ..response(cookie, &[]) };
    for number in 1..=CHALLENGES_PER_DISCOVERY_MAX as u8 {
        let probe = decoded(&one_probe(&hear(&mut gi, s(1), &challenge(number))));
        assert_eq!((probe.cookie, probe.echo), (cookie, Some([number; 16])));
    }
    assert!(hear(&mut gi, s(1), &challenge(9)).is_empty(), "an honest responder asks no more");
    expect(&gi, &[(TedCount::ChallengesExceeded, 1), (TedCount::ProbesEchoed, 2), (TedCount::ProbesSent, 3)]);
    gi.acquire(s(1), RULE, p());
    gi.handle_timeout(s(2));
    assert_eq!(decoded(&one_probe(&outputs(&mut gi))).echo, Some([2; 16]));
    assert!(is_found(&hear(&mut gi, s(2), &response(cookie, HONEST))));
    let forged = Response { gateway: address("192.0.2.1"), ..challenge(1) };
    let (mut gi, _) = honest();
    assert!(hear(&mut gi, s(1), &forged).is_empty(), "from another address than it names");
}

#[test] // TED-22, TED-52, TED-56, W1
fn gateways_speak_one_family_about_traffic_of_the_other() {
    for (gateways, traffic) in [((GI, GR), true), (("2001:db8:a::1", "2001:db8:b::2"), false)] {
        let (far, near, source, destination) = if traffic {
            ("2001:db8:2::/48", "2001:db8:1::/48", "2001:db8:1::4", "2001:db8:2::6")
        } else {
            ("10.2.0.0/16", "10.1.0.0/16", A, B)
        };
        let (local, remote) = gateways;
        let ours = rule(local, &[&format!("{near} {far}")], &[far]);
        let theirs = rule(remote, &[&format!("{far} {near}")], &[near]);
        let (mut gi, mut gr) =
            (ted(TedConfig::default(), vec![ours], 1), ted(TedConfig::default(), vec![theirs], 2));
        gi.acquire(s(1), RULE, packet(source, destination));
        let probe = one_probe(&outputs(&mut gi));
        let asked = probe.len();
        gr.handle_caught(s(1), caught(warren_seam::Catch::Probe, probe));
        let (way, answer) = one_datagram(&outputs(&mut gr));
        assert!(answer.len() + 8 + if remote.contains(':') { 40 } else { 20 } <= asked, "F-8");
        gi.handle_message(s(1), path(&way.remote.ip().to_string(), &way.local.ip().to_string()), &answer);
        assert_eq!(found(&outputs(&mut gi)), Some(selector(&format!("{near} {far}"))));
    }
}

#[test] // TED-28, F-14
fn what_is_neither_probe_nor_response_is_counted() {
    let (mut gi, cookie) = honest();
    let mut octets = response(cookie, HONEST).encode();
    octets[17] = 0x20;
    gi.handle_message(s(1), path(GI, GR), &octets);
    gi.handle_message(s(1), path(GI, GR), b"");
    octets[17] = 0x10;
    octets[18] = 2;
    gi.handle_message(s(1), path(GI, GR), &octets);
    expect(&gi, &[(TedCount::MessagesUnexpected, 3)]);
    assert!(outputs(&mut gi).is_empty());
}

#[test] // TED-62
fn discovery_is_told_from_other_exchanges_and_from_mediation_of_version_2() {
    let octets = response([7; 8], HONEST).encode();
    let with = |version: u8, exchange: u8| {
        let mut octets = octets.clone();
        (octets[17], octets[18]) = (version, exchange);
        crate::ted::is_discovery(&octets)
    };
    assert!(with(0x10, 240) && with(0x10, 241) && with(0x1f, 240));
    assert!(!with(0x20, 240) && !with(0x20, 241) && !with(0x10, 2) && !with(0x00, 240) && !with(0x10, 242));
    assert!(crate::ted::is_discovery(&octets[..28]) && !crate::ted::is_discovery(&octets[..27]));
}

/// Entries of one side each as the other sees it.
#[test] // TED-45, Q-4
fn an_entry_is_mirrored_before_it_is_compared() {
    let entry: Proxy = proxy("10.2.0.0/16 10.1.0.0/16 tcp 443 any");
    let (mut gi, cookie) = honest();
    let answer = Response { entries: vec![entry], ..response(cookie, &[]) };
    assert_eq!(found(&hear(&mut gi, s(1), &answer)), entry.mirrored().selector());
    let (mut gi, cookie) = honest();
    let unmirrored = Response { entries: vec![entry.mirrored()], ..response(cookie, &[]) };
    assert_eq!(found(&hear(&mut gi, s(1), &unmirrored)), None);
    assert_eq!(gi.poll_timeout(), Some(s(1) + Duration::from_secs(1)));
}
