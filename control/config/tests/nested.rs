//! Rules that lead to each other's gateways, `[stack]` and base rules that protect: what a right file becomes, and what a
//! wrong one is told.
#![allow(clippy::unwrap_used)]

mod common {
    pub(crate) mod exercise;
}

use common::exercise::{Files, configuration};
use std::net::IpAddr;
use std::sync::LazyLock;
use std::time::Duration;
use warren_config::{Config, Diagnostics, Severity, Stack, Start, parse};
use warren_policy::ways::Known;
use warren_policy::{
    FiveTuple, Outer, PeerId, Rematching, RuleId, Selector, TransportAction, Verdict, evaluate, ways,
};

/// Its outer rules are for the hosts of one site.
const DOCUMENTED: &str = include_str!("../../../docs/examples/nested/gateway.toml");
/// The same with outer rules for everything, and our outer address towards the receiver.
static EXAMPLE: LazyLock<String> = LazyLock::new(|| {
    let (front, tunnels) = DOCUMENTED.split_at(DOCUMENTED.find("[[tunnel]]").unwrap());
    let tunnels = tunnels.replace("source = \"10.1.0.0/16\"", "source = \"any\"");
    front.replace("local = \"10.1.0.1\"", "local = \"192.0.2.1\"") + &tunnels
});

fn read(text: &str) -> Config {
    parse(text, "gw.toml", &Files).unwrap_or_else(|errors| panic!("{errors}"))
}

fn refused(text: &str, words: &[&str]) -> Diagnostics {
    let Err(diagnostics) = parse(text, "gw.toml", &Files) else { panic!("accepted:\n{text}") };
    let said = diagnostics.to_string();
    for words in words {
        assert!(said.contains(words), "{words:?} not in\n{said}");
    }
    diagnostics
}

fn warned(text: &str) -> String {
    read(text).warnings.iter().map(|warning| format!("{}\n", warning.message)).collect()
}

/// The example with one part replaced.
fn altered(part: &str, replacement: &str) -> String {
    assert!(EXAMPLE.contains(part), "{part}");
    EXAMPLE.replacen(part, replacement, 1)
}

/// A tunnel behind the others.
fn with_tunnel(name: &str, source: &str, destination: &str, peer: &str) -> String {
    let example = EXAMPLE.as_str();
    format!(
        "{example}\n[[tunnel]]\nname = \"{name}\"\nsource = \"{source}\"\ndestination = \"{destination}\"\npeer = \"{peer}\"\n"
    )
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test] // NT-7, NT-8, NT-9, V-9
fn the_example_loads_and_its_gateways_are_reached_through_each_other() {
    configuration(&EXAMPLE);
    let config = read(&EXAMPLE);
    assert_eq!(config.stack, Stack { rematch: Rematching::Destination, idle: Duration::from_secs(600) });
    let said: Vec<_> = config.warnings.iter().map(|warning| &warning.message).collect();
    assert!(said.iter().all(|message| message.contains("IKEv1 is deprecated")), "{said:?}");
    let local = |peer| config.peer(peer).map(|peer| peer.local);
    let known = Known { rematching: config.stack.rematch, local: &local, within: &|_| None };
    let found = ways(&config.rules, &known);
    let around = |host: &str| -> Vec<String> {
        let way = found.to(address("192.0.2.1"), address(host)).unwrap();
        let name = |rule| config.rules.tunnel_rule(rule).unwrap().name.clone();
        way.levels.iter().map(|outer| name(outer.rule)).collect()
    };
    assert_eq!(around("203.0.113.3"), ["to-sg3", "to-sg2"]);
    assert_eq!(around("198.51.100.2"), ["to-sg2"]);
    assert_eq!(around("10.2.0.7"), ["to-site2", "to-sg3", "to-sg2"]);
    assert_eq!(around("192.0.2.254"), [""; 0]);
}

#[test] // NT-7, NT-19, NT-22, Q-18
fn the_documented_rules_for_hosts_are_carried_from_our_own_address_and_shared() {
    configuration(DOCUMENTED);
    let config = read(DOCUMENTED);
    let local = |peer| config.peer(peer).map(|peer| peer.local);
    let known = Known { rematching: config.stack.rematch, local: &local, within: &|_| None };
    let found = ways(&config.rules, &known);
    let transit = found.to(address("192.0.2.1"), address("203.0.113.3")).unwrap();
    let ours = found.to(address("10.1.0.1"), address("10.2.0.7")).unwrap();
    let said = |levels: &[Outer]| -> Vec<(String, bool)> {
        levels.iter().map(|outer| (outer.selector.to_string(), outer.is_own)).collect()
    };
    let outer = [
        ("192.0.2.1/32 -> 203.0.113.3/32".to_owned(), false),
        ("192.0.2.1/32 -> 198.51.100.2/32".to_owned(), false),
    ];
    assert_eq!(said(&transit.levels), outer);
    assert_eq!(said(&ours.levels[..1]), [("10.1.0.0/16 -> 10.2.0.0/16".to_owned(), true)]);
    assert_eq!(ours.levels[1..], transit.levels);
}

#[test] // NT-27, Q-19
fn the_stack_section_says_how_rules_are_asked_again_and_how_long_a_stack_may_idle() {
    let wire = altered("rematch = \"destination\"\nidle = \"10m\"", "rematch = \"wire\"\nidle = \"90s\"");
    let config = read(&wire);
    assert_eq!(config.stack, Stack { rematch: Rematching::Wire, idle: Duration::from_secs(90) });
    let without = altered("[stack]\nrematch = \"destination\"\nidle = \"10m\"", "");
    assert_eq!(read(&without).stack, Stack::default());
    refused(
        &altered("\"destination\"\nidle", "\"wires\"\nidle"),
        &["`wires` is not known for `rematch`", "did you mean `wire`?"],
    );
    refused(
        &altered("idle = \"10m\"", "idle = \"0s\""),
        &["`0s` is out of range for `idle`", "`1s` to `1d`"],
    );
    refused(&altered("idle = \"10m\"", "ideal = \"10m\""), &["unknown key `ideal` in [stack]"]);
}

#[test] // Q-17, NT-19
fn a_base_rule_that_protects_has_the_addresses_of_its_peer_and_a_number_behind_the_tunnels() {
    let config = read(&EXAMPLE);
    let rule = &config.rules.transport[0];
    let TransportAction::Protect(protection) = rule.action else { panic!("{rule:?}") };
    assert_eq!(
        (protection.rule, protection.peer, protection.host),
        (RuleId(3), PeerId(3), address("10.2.0.7"))
    );
    assert_eq!(rule.selector.to_string(), "192.0.2.1/32 -> 10.2.0.7/32");
    let [policy] = &config.protections[..] else { panic!("{:?}", config.protections) };
    assert_eq!((policy.rule, policy.peer, policy.start), (RuleId(3), PeerId(3), Start::OnTraffic));
    assert_eq!(policy.esp[0].transform.to_string(), "aes256gcm16");
    assert_eq!(config.policy(RuleId(3)), Some(policy));
    assert_eq!(config.policy(RuleId(0)), Some(&config.tunnels[0]));
    assert_eq!((config.policy(RuleId(4)), config.tunnels.len()), (None, 3));
    let packet = FiveTuple {
        source: address("192.0.2.1"),
        destination: address("10.2.0.7"),
        protocol: 6,
        source_port: Some(50000),
        destination_port: Some(443),
    };
    assert_eq!(evaluate(&config.rules, &packet), Verdict::Protect(RuleId(3)));
    // The same said in full, for two ports, with all that a tunnel may say.
    let full = altered(
        "action = \"protect\"\npeer = \"receiver\"\nesp = \"aes256gcm16\"",
        "action = \"protect\"\nsource = \"192.0.2.1\"\ndestination = [\"10.2.0.7/32\"]\nprotocol = \"tcp\"\n\
         destination_port = [22, 443]\npeer = \"receiver\"\nlifetime = \"10m\"\nlifetime_volume = \"1GiB\"\nwindow = 64\n\
         start = \"immediately\"",
    );
    let config = read(&full);
    let numbers: Vec<_> =
        config.protected().map(|(rule, policy)| (rule.name.as_str(), policy.rule.0)).collect();
    assert_eq!(numbers, [("to-receiver#1", 3), ("to-receiver#2", 4)]);
    let ports: Vec<_> = config.protected().map(|(rule, _)| rule.selector.destination_port.first()).collect();
    assert_eq!(ports, [22, 443]);
    let policy = &config.protections[1];
    assert_eq!((policy.lifetime.seconds, policy.lifetime.kilobytes), (600, Some(1 << 20)));
    assert_eq!((policy.window_packets, policy.start), (64, Start::Immediately));
    assert_eq!(config.rules.protections().map(|(_, own)| own.rule.0).collect::<Vec<_>>(), [3, 4]);
    configuration(&full);
}

#[test] // Q-17, RFC 4301 §4.1
fn what_is_protected_from_end_to_end_is_ours_and_goes_to_one_host() {
    let protect = |more: &str| altered("action = \"protect\"\n", &format!("action = \"protect\"\n{more}\n"));
    refused(
        &protect("source = \"10.1.0.0/16\""),
        &[
            "what we ourselves say to `receiver`, and 10.1.0.0/16 is not our address",
            "`192.0.2.1`, or no `source`",
        ],
    );
    refused(
        &protect("destination = [\"10.2.0.7\", \"10.2.0.8\"]"),
        &["10.2.0.8/32 is not the address of `receiver`, 10.2.0.7", "`10.2.0.7`, or no `destination`"],
    );
    refused(
        &protect("protocol = \"tcp\"\ndestination_port = \"80-90\""),
        &["IKEv1 cannot negotiate a range"],
    );
    refused(
        &altered("peer = \"receiver\"\nesp", "peer = \"reciever\"\nesp"),
        &["`reciever` is no peer", "did you mean `receiver`?"],
    );
    refused(&altered("peer = \"receiver\"\nesp", "esp"), &["[[transport]] has no `peer`"]);
    let open = altered("local = \"192.0.2.1\"\naddress = \"10.2.0.7\"", "address = \"10.2.0.7\"");
    refused(&open, &["our address towards `receiver` is left open", "a peer with `local`"]);
    let template = altered("address = \"10.2.0.7\"", "address = \"any\"\nidentity = \"b.test\"");
    refused(&template, &["`receiver` is no host of one address"]);
    // Keys of SAs belong to no other action, and without a word nobody knows to which they belong.
    let permit = altered("action = \"permit\"", "action = \"permit\"\npeer = \"sg1\"");
    refused(&permit, &["unknown key `peer` in [[transport]]"]);
    let unknown =
        refused(&altered("action = \"protect\"", "action = \"protects\""), &["did you mean `protect`?"]);
    assert!(!unknown.to_string().contains("unknown key"), "{unknown}");
}

#[test] // NT-28, F-26, NT-9
fn a_circle_of_gateways_is_refused_with_the_rules_and_the_gateways_by_name() {
    let circle = with_tunnel("to-sg1", "any", "192.0.2.254", "sg3");
    let said = refused(
        &circle,
        &["leads in a circle", "the way to `sg3` (203.0.113.3) would lead through the tunnel"],
    );
    let errors: Vec<_> = said.0.iter().filter(|own| own.severity == Severity::Error).collect();
    assert_eq!(errors.len(), 3, "{said}");
    let last = EXAMPLE.lines().count() + 4;
    assert!(errors.iter().any(|error| error.line > last - 2 && error.message.contains("`to-sg1`")), "{said}");
}

#[test] // NT-28
fn too_many_levels_are_refused() {
    let mut text = EXAMPLE.clone();
    for at in 1..=7 {
        let (gateway, next) = (format!("198.18.0.{at}"), at + 1);
        text += &format!(
            "\n[[peer]]\nname = \"hop{at}\"\nike = \"v1-main\"\nlocal = \"192.0.2.1\"\naddress = \"{gateway}\"\nsecret = \"k\"\n"
        );
        let to = if at == 1 { "192.0.2.254".to_owned() } else { format!("198.18.0.{}", at - 1) };
        text += &format!(
            "\n[[tunnel]]\nname = \"n{next}\"\nsource = \"any\"\ndestination = \"{to}\"\npeer = \"hop{at}\"\n"
        );
    }
    refused(
        &text,
        &["`to-site2` would be inside of more tunnels than a packet has room for", "at most 8 levels"],
    );
}

#[test] // NT-7, F-26
fn two_ways_to_one_gateway_are_refused_with_what_would_be_accepted() {
    // The second gateway takes on only what comes from one site.
    let narrow =
        altered("name = \"to-sg3\"\nsource = \"any\"", "name = \"to-sg3\"\nsource = \"10.1.0.0/16\"");
    let said = refused(
        &narrow,
        &[
            "`to-sg3` takes only a part of what `to-site2` sends to `sg3` (203.0.113.3)",
            "`source = \"any\"`; or no rule to 203.0.113.3",
        ],
    );
    let error = said.0.iter().find(|own| own.severity == Severity::Error).unwrap();
    assert_eq!(narrow.lines().nth(error.line - 1).unwrap(), "destination = \"203.0.113.3\"");
    // Another rule leads to the same gateway, from where nothing takes it on; in both orders.
    let sites =
        altered("name = \"to-site2\"\nsource = \"any\"", "name = \"to-site2\"\nsource = \"10.1.0.0/16\"");
    let sites = sites.replacen(
        "name = \"to-sg3\"\nsource = \"any\"",
        "name = \"to-sg3\"\nsource = \"10.1.0.0/16\"",
        1,
    );
    let sites = sites.replacen(
        "name = \"to-sg2\"\nsource = \"any\"",
        "name = \"to-sg2\"\nsource = \"10.1.0.0/16\"",
        1,
    );
    read(&sites);
    let other = "\n[[tunnel]]\nname = \"other\"\nsource = \"10.7.0.0/16\"\ndestination = \"10.2.0.0/16\"\npeer = \"sg3\"\n";
    let front = sites.replacen(
        "[[tunnel]]\nname = \"to-site2\"",
        &format!("{other}\n[[tunnel]]\nname = \"to-site2\""),
        1,
    );
    for text in [format!("{sites}{other}"), front] {
        refused(&text, &["`other`", "`to-site2`", "lead to `sg3` (203.0.113.3)", "by different ways"]);
    }
    // A destination that contains a gateway by accident is told how to leave it out.
    let rest = with_tunnel("rest", "10.1.0.0/24", "192.0.2.0/24", "sg2");
    refused(&rest, &["[\"192.0.2.0-192.0.2.253\", \"192.0.2.255/32\"]"]);
}

#[test] // F-26, Q-19
fn on_the_wire_a_rule_takes_ike_with_esp_or_is_refused() {
    let wire = altered("rematch = \"destination\"", "rematch = \"wire\"");
    read(&wire);
    let esp =
        wire.replacen("destination = \"203.0.113.3\"", "destination = \"203.0.113.3\"\nprotocol = 50", 1);
    refused(&esp, &["`to-sg3` takes ESP to `sg3` (203.0.113.3) and not all of IKE"]);
    // By the letter the rule is about the packet's own protocol, and the rest of it has another way.
    let letter = esp.replacen("\"wire\"", "\"destination\"", 1);
    refused(&letter, &["takes only a part"]);
}

#[test]
fn where_our_address_is_left_open_the_ways_on_the_wire_are_known_later() {
    let open =
        EXAMPLE.replacen("local = \"192.0.2.1\"\naddress = \"203.0.113.3\"", "address = \"203.0.113.3\"", 1);
    assert!(!warned(&open).contains("left open"), "by the letter it has no say");
    let wire = open.replacen("rematch = \"destination\"", "rematch = \"wire\"", 1);
    let said = warned(&wire);
    assert!(
        said.contains("`to-site2` leads to `sg3` (203.0.113.3), and our address towards it is left open"),
        "{said}"
    );
    // What is wrong by the letter is wrong whatever the address will be.
    let narrow = open.replacen(
        "name = \"to-sg3\"\nsource = \"any\"",
        "name = \"to-sg3\"\nsource = \"10.1.0.0/16\"",
        1,
    );
    refused(&narrow, &["takes only a part"]);
}

#[test] // NT-35
fn an_outer_gateway_is_discovered_on_the_wire_and_refused_by_the_letter() {
    let discovers = "\n[[peer]]\nname = \"partners\"\nike = \"v1-main\"\nlocal = \"192.0.2.1\"\naddress = \"discover\"\n\
        secret = \"k\"\ngroup_secret = true\nauthorised = [{ networks = [\"192.0.2.0/24\"] }]\n\
        [[tunnel]]\nname = \"asks\"\nsource = \"192.0.2.1\"\ndestination = \"192.0.2.254\"\ngateway = \"discover\"\n\
        peer = \"partners\"\n";
    let wire = altered("rematch = \"destination\"", "rematch = \"wire\"") + discovers;
    let config = read(&wire);
    assert!(!warned(&wire).contains("speaks of 192.0.2.1/32"), "it is asked about what goes to sg1");
    let known =
        Known { rematching: Rematching::Wire, local: &|_| Some(address("192.0.2.1")), within: &|_| None };
    let found = ways(&config.rules, &known);
    let way = found.to(address("192.0.2.1"), address("203.0.113.3")).unwrap();
    assert_eq!((way.levels.len(), way.discovers), (2, Some(RuleId(3))));
    let letter = wire.replacen("\"wire\"", "\"destination\"", 1).replacen(
        "source = \"192.0.2.1\"\ndestination = \"192.0.2.254\"",
        "source = \"0.0.0.0/0\"\ndestination = \"192.0.2.254\"",
        1,
    );
    refused(&letter, &["`asks` contains `sg1` (192.0.2.254)", "`rematch = \"wire\"` in `[stack]`"]);
}

#[test] // NT-4, NT-8, Q-17
fn a_rule_that_is_only_asked_about_gateways_needs_no_base_rule() {
    // The base rules speak of 10.2.0.0/16, and two tunnel rules of gateways.
    assert!(!warned(&EXAMPLE).contains("dropped, not protected"));
    let lost = with_tunnel("lost", "10.1.0.0/16", "10.3.0.0/16", "sg1");
    assert!(warned(&lost).contains("speaks of 10.1.0.0/16 -> 10.3.0.0/16"), "{}", warned(&lost));
    // A base rule that protects lets its packets come so far too.
    let permit = altered(
        "source = \"10.1.0.0/16\"\ndestination = \"10.2.0.0/16\"\naction = \"permit\"",
        "source = \"10.9.0.0/16\"\ndestination = \"10.9.0.0/16\"\naction = \"permit\"",
    );
    assert!(!warned(&permit).contains("dropped, not protected"), "{}", warned(&permit));
}

#[test] // V-12, NT-28
fn a_rule_that_contains_its_own_gateway_is_one_level_and_warned_about() {
    let all = altered("destination = \"198.51.100.2\"", "destination = \"0.0.0.0/0\"");
    let said = warned(&all);
    assert!(said.contains("the destination of `to-sg2` contains its own gateway 192.0.2.254"), "{said}");
    let selector: Selector = read(&all).rules.tunnel[2].selector;
    assert!(selector.destination.contains(address("192.0.2.254")));
}

#[test] // NT-7, F-17
fn a_tunnel_inside_others_or_around_them_has_one_pair_of_sas() {
    let beside =
        |name: &str| altered(&format!("name = \"{name}\""), &format!("name = \"{name}\"\nparallel = 4"));
    let deep = with_tunnel("deep", "10.1.0.0/16", "10.8.0.0/16", "sg3") + "parallel = 4\n";
    refused(&deep, &["`deep` is inside another: tunnels inside each other have one pair", "1, or no"]);
    refused(&beside("to-site2"), &["`to-site2` is around another"]);
    refused(&beside("to-sg3"), &["`to-sg3` is around another"]);
    refused(&beside("to-sg2"), &["`to-sg2` is around another"]);
    // Beside them is another matter.
    let apart = with_tunnel("apart", "10.1.0.0/16", "10.9.0.0/16", "sg1") + "parallel = 4\n";
    assert_eq!(read(&apart).tunnels.last().unwrap().parallel.get(), 4);
}
