//! The page about discovery says what the code does: its examples octet for octet, its numbers and its limits.

use crate::limits;
use crate::ted::answer::common;
use crate::ted::packet::build;
use crate::ted::{DiscoverRule, TedConfig};
use crate::wire::ted::{ENTRIES_MAX, Probe, Response, Summary, number};
use std::net::IpAddr;
use std::sync::Arc;
use warren_policy::{AddressRange, FiveTuple, MaskedAddress, Pad, PadEntry, Protocol, Proxy, RuleId};

fn page() -> String {
    std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/discovery.md")).unwrap()
}

/// The octets of one example: what stands in front of the bars.
fn example(page: &str, name: &str) -> String {
    let block = page.split(&format!("```hex {name}\n")).nth(1).and_then(|rest| rest.split("```").next());
    let lines = block.unwrap_or_else(|| panic!("no example {name}")).lines();
    lines.filter_map(|line| line.split('|').next()).collect::<String>().replace(' ', "")
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn masked(text: &str) -> MaskedAddress {
    let (first, length) = text.split_once('/').unwrap();
    let range = AddressRange::from_prefix(address(first), length.parse().unwrap()).unwrap();
    MaskedAddress::from_range(&range).unwrap()
}

fn proxy(source: &str, destination: &str) -> Proxy {
    Proxy::new((masked(source), None), (masked(destination), None), Protocol::Any).unwrap()
}

fn probe() -> Probe {
    Probe {
        cookie: *b"@ABCDEFG",
        capabilities: number::IPV6 | number::COOKIE_ECHO | number::SEVERAL,
        gateway: address("198.51.100.1"),
        source: Some((masked("10.1.0.0/16"), Protocol::Any, None)),
        summary: Summary {
            source: address("10.1.0.10"),
            destination: address("10.2.0.10"),
            protocol: Protocol::Any,
            source_port: None,
            destination_port: None,
        },
        echo: None,
    }
}

fn response() -> Response {
    Response {
        initiator: probe().cookie,
        responder: *b"HIJKLMNO",
        capabilities: probe().capabilities,
        gateway: address("203.0.113.2"),
        entries: vec![proxy("10.2.0.0/15", "10.1.0.0/24")],
        challenge: None,
    }
}

#[test] // TED-8, TED-12, TED-13, TED-14, TED-15, TED-16, TED-32, TED-33, TED-35, TED-36, F-8, W1
fn the_examples_of_the_page_are_what_we_write() {
    let page = page();
    let octets = probe().encode(ENTRIES_MAX);
    let packet = build(address("10.1.0.10"), address("10.2.0.10"), 49_152, &octets).unwrap();
    assert_eq!(hex::encode(packet), example(&page, "packet"));
    assert_eq!(hex::encode(response().encode()), example(&page, "response"));
    let echo: [u8; 16] = std::array::from_fn(|at| 0xb0 + at as u8);
    let challenge = Response { entries: Vec::new(), challenge: Some(echo), ..response() };
    assert_eq!(hex::encode(challenge.encode()), example(&page, "challenge"));
    let again = Probe { echo: Some(echo), ..probe() };
    assert_eq!(hex::encode(again.encode(ENTRIES_MAX)), example(&page, "again"));
}

#[test] // TED-45, TED-51, TED-54, TED-55, TED-56
fn what_the_page_says_to_be_common_is_what_we_propose() {
    let rule = DiscoverRule {
        rule: RuleId(0),
        proxies: vec![proxy("10.1.0.0/16", "10.2.0.0/16")],
        local: address("198.51.100.1"),
        pad: Arc::new(Pad::new(vec![PadEntry {
            identity: None,
            networks: vec![AddressRange::from_prefix(address("10.2.0.0"), 16).unwrap()],
        }])),
        is_concealed: false,
    };
    let packet = FiveTuple {
        source: address("10.1.0.10"),
        destination: address("10.2.0.10"),
        protocol: 6,
        source_port: Some(49_152),
        destination_port: Some(443),
    };
    let selector = common(&rule, &response().entries, &packet).unwrap();
    let said = selector.to_string().replace("->", "→");
    assert!(page().contains(&format!("Common to both is {said},")), "{said}");
}

#[test] // W1
fn every_number_of_the_page_is_the_one_in_the_table_of_the_code() {
    let page = page();
    let hex = |octets: [u8; 16]| format!("`0x{}`", hex::encode(octets));
    let rows = [
        (number::PROBE.to_string(), "exchange type: probe"),
        (number::RESPONSE.to_string(), "exchange type: response, challenge"),
        (number::PROXY.to_string(), "payload type: TED Proxy"),
        (number::SUMMARY.to_string(), "payload type: TED Summary"),
        (number::ENTRY.to_string(), "payload type: TED Response"),
        (number::COOKIE.to_string(), "payload type: TED Cookie"),
        (number::VERSION.to_string(), "version of the discovery protocol"),
        (hex(number::VENDOR), "vendor ID, MD5(\"Warren TED v3\")"),
        (hex(number::MAKER), "maker, MD5(\"Cisco TED Probe version #3\")"),
        (number::IPV6.to_string(), "capability: IPv6"),
        (number::COOKIE_ECHO.to_string(), "capability: cookie echo"),
        (number::SEVERAL.to_string(), "capability: several TED Responses"),
    ];
    for (value, words) in rows {
        assert!(page.contains(&format!("| {value} | {words} |")), "{value} {words}");
    }
}

#[test] // TED-7, F-8, F-12
fn every_limit_of_the_page_is_the_one_in_the_code() {
    let page = page();
    let default = TedConfig::default();
    let (v4, v6) = limits::ANSWERS_PREFIX_BITS;
    let rows = [
        ("entries of a response", ENTRIES_MAX.to_string()),
        ("discoveries under way, in all (`in_flight_max`)", default.in_flight_max.to_string()),
        ("discoveries under way for one source host", limits::IN_FLIGHT_PER_SOURCE_MAX.to_string()),
        ("probes of ours in one second (`probes_per_second`)", default.probes_per_second.to_string()),
        ("answers of ours in one second (`answers_per_second`)", default.answers_per_second.to_string()),
        (
            "answers to gateways of one prefix, and for sources of one prefix: a share of that, one in",
            limits::ANSWERS_PREFIX_SHARE.to_string(),
        ),
        ("such a prefix, IPv4 and IPv6: bits", format!("{v4}, {v6}")),
        ("destinations that rest; one more and a random one is forgotten", limits::RESTS_MAX.to_string()),
        (
            "seconds in which a gateway that was found must be negotiated with",
            limits::DISCOVERY_NEGOTIATION_MAX.as_secs().to_string(),
        ),
        (
            "seconds in which errors and answers to a discovery that is over are recognised",
            limits::ENDED_DISCOVERY_LIFE.as_secs().to_string(),
        ),
        ("such discoveries", limits::ENDED_DISCOVERIES_MAX.to_string()),
        (
            "times that one discovery says a TED Cookie again",
            limits::CHALLENGES_PER_DISCOVERY_MAX.to_string(),
        ),
        ("octets of a discovery message in transit", warren_seam::limits::CAUGHT_OCTETS_MAX.to_string()),
        ("lines of log about discovery in one second", limits::TED_NOTICES_PER_SECOND.to_string()),
    ];
    for (words, value) in rows {
        assert!(page.contains(&format!("| {words} | {value} |")), "{words} {value}");
    }
    let epoch = limits::ECHO_EPOCH.as_secs();
    assert!(page.contains(&format!("an epoch is {epoch} seconds")));
    let (least, most) = (default.rest_min.as_secs(), default.rest_max.as_secs() / 60);
    assert!(page.contains(&format!("{least} seconds, twice as long each time, at most {most} minutes")));
}
