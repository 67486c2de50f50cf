//! `[ted]`, peers that are discovered and the tunnels that lead to them: what a right file becomes, and what a wrong one
//! is told.

#![allow(clippy::unwrap_used)]

mod common {
    pub(crate) mod exercise;
}

use common::exercise::{Files, configuration};
use std::time::Duration;
use warren_config::{Config, Granularity, ProbeSport, Severity, Start, Ted, parse};
use warren_policy::{AddressRange, Gateway, PeerId};

const BASE: &str = r#"
[[port]]
interface = "eth1"
side = "inside"

[[port]]
interface = "eth0"
side = "outside"

[ted]
answer_on = ["eth0"]

[[peer]]
name = "partners"
ike = "v1-main"
local = "192.0.2.1"
address = "discover"
secret = "x"
group_secret = true
authorised = [{ identity = "b.test", networks = ["10.2.0.0/16"] }, { networks = ["10.9.0.0/16"] }]

[[peer]]
name = "fixed"
ike = "v1-main"
local = "192.0.2.1"
address = "198.51.100.2"
secret = "x"

[[transport]]
name = "all"
source = "10.1.0.0/16"
destination = "10.0.0.0/8"
action = "permit"

[[tunnel]]
name = "to-partners"
source = "10.1.0.0/16"
destination = "10.0.0.0/8"
gateway = "discover"
peer = "partners"
"#;

/// `BASE` with a part replaced.
fn altered(part: &str, by: &str) -> String {
    assert!(BASE.contains(part), "{part}");
    BASE.replacen(part, by, 1)
}

/// `BASE` with these lines in `[ted]`.
fn with_ted(lines: &str) -> String {
    altered("[ted]\n", &format!("[ted]\n{lines}\n"))
}

fn read(text: &str) -> Config {
    configuration(text);
    parse(text, "gw.toml", &Files).unwrap_or_else(|errors| panic!("{errors}"))
}

/// What is said besides that IKEv1 is old and a group's secret a risk.
fn warnings(text: &str) -> Vec<String> {
    let usual = |said: &str| said.contains("IKEv1 is deprecated") || said.contains("`group_secret` takes");
    let said = read(text).warnings.iter().map(warren_config::Diagnostic::one_line).collect::<Vec<_>>();
    said.into_iter().filter(|said| !usual(said)).collect()
}

/// The text is refused: the only error is at this line's `at`, says this and accepts that.
#[track_caller]
fn refused(text: &str, (line, at): (&str, &str), said: &str, accepted: &str) {
    configuration(text);
    let Err(diagnostics) = parse(text, "gw.toml", &Files) else { panic!("accepted:\n{text}") };
    let errors: Vec<_> = diagnostics.0.iter().filter(|one| one.severity == Severity::Error).collect();
    let [error] = &errors[..] else { panic!("one error:\n{diagnostics}") };
    assert!(error.message.contains(said), "`{said}` is missing in\n{diagnostics}");
    let hint = error.accepted.as_deref().unwrap_or("");
    assert!(hint.contains(accepted), "`{accepted}` is missing in\n{diagnostics}");
    assert_eq!(text.lines().nth(error.line - 1).unwrap().trim(), line, "{diagnostics}");
    assert_eq!(line.find(at).map(|column| column + 1), Some(error.column), "{diagnostics}");
}

fn range(text: &str) -> AddressRange {
    let (address, length) = text.split_once('/').unwrap();
    AddressRange::from_prefix(address.parse().unwrap(), length.parse().unwrap()).unwrap()
}

#[test]
fn the_base_of_these_tests_is_right() {
    assert_eq!(warnings(BASE), [""; 0]);
}

#[test] // TED-7, F-8, F-9, Q-1, Q-7, Q-14
fn every_key_of_ted_arrives() {
    let config = read(&with_ted(
        "accept_from = \"198.51.100.0/24\"\ndisclose = [\"10.1.0.0/16\", \"2001:db8:1::/48\"]\n\
         gateways = [\"198.51.100.0/24\", \"203.0.113.7\"]\ncookie_echo = true\nprobe_sport = \"500\"\n\
         granularity = \"packet\"\ngranule = [24, 64]\nfirst_wait = \"500ms\"\ntries = 2\nrest_min = \"10s\"\n\
         rest_max = \"1h\"\nin_flight_max = 50\nprobes_per_second = 7\nanswers_per_second = 9\nidle = \"10min\"",
    ));
    let expected = Ted {
        answer_on: vec![1],
        accept_from: vec![range("198.51.100.0/24")],
        disclose: vec![range("10.1.0.0/16"), range("2001:db8:1::/48")],
        gateways: vec![range("198.51.100.0/24"), range("203.0.113.7/32")],
        cookie_echo: true,
        probe_sport: ProbeSport::Isakmp,
        granularity: Granularity::Packet,
        granule: (24, 64),
        first_wait: Duration::from_millis(500),
        tries: 2,
        rest_min: Duration::from_secs(10),
        rest_max: Duration::from_secs(3600),
        in_flight_max: 50,
        probes_per_second: 7,
        answers_per_second: 9,
        idle: Duration::from_secs(600),
    };
    assert_eq!(config.ted, expected);
}

#[test] // F-8: off on untrusted interfaces by default
fn nothing_is_answered_anywhere_unless_the_file_says_where() {
    let silent = read(&altered("answer_on = [\"eth0\"]\n", ""));
    assert_eq!((silent.ted, silent.is_ted_on), (Ted::default(), true));
    let without = read(&altered("[ted]\nanswer_on = [\"eth0\"]\n", ""));
    assert_eq!((without.ted, without.is_ted_on), (Ted::default(), true), "a rule that discovers is enough");
    assert!(Ted::default().answer_on.is_empty());
}

#[test] // TED-31
fn discovery_messages_are_recognised_with_ted_or_a_rule_that_discovers_and_not_otherwise() {
    let rest = altered("[ted]\nanswer_on = [\"eth0\"]\n", "");
    let fixed = rest.replace("gateway = \"discover\"\npeer = \"partners\"", "peer = \"fixed\"");
    assert!(!read(&fixed).is_ted_on);
    assert!(read(&format!("{fixed}\n[ted]\n")).is_ted_on);
}

#[test]
fn a_long_first_rest_raises_the_longest_one() {
    assert_eq!(read(&with_ted("rest_min = \"1h\"")).ted.rest_max, Duration::from_secs(3600));
}

#[test]
fn every_key_of_ted_has_its_range_and_says_so() {
    for (wrong, said, accepted) in [
        ("answer_on = \"eth9\"", "`eth9` is no port; did you mean `eth0`?", "`eth0`"),
        ("answer_on = [\"eth1\"]", "`eth1` is inside", "`eth0`"),
        ("accept_from = \"x\"", "`x` is no address", "a prefix such as"),
        ("gateways = \"198.51.100.1/24\"", "has bits behind its prefix", "a prefix such as"),
        ("disclose = \"10.1.0.1-10.1.0.9\"", "`10.1.0.1-10.1.0.9` is no prefix", "a prefix such as"),
        ("cookie_echo = 1", "`cookie_echo` is a whole number here", "`true` or `false`"),
        (
            "probe_sport = \"501\"",
            "`501` is not known for `probe_sport`; did you mean `500`?",
            "`packet` or `500`",
        ),
        ("granularity = \"flow\"", "`flow` is not known for `granularity`", "`policy` or `packet`"),
        ("granule = [32]", "`granule` has 1 prefix lengths", "IPv4 from 8 to 32 and IPv6 from 16 to 128"),
        ("granule = [33, 128]", "33 is out of range for `granule`", "a whole number from 8 to 32"),
        ("granule = [32, 8]", "8 is out of range for `granule`", "a whole number from 16 to 128"),
        ("first_wait = \"11s\"", "`11s` is out of range for `first_wait`", "`100ms` to `10s`"),
        ("first_wait = 1", "`first_wait` is a whole number here", "a duration such as"),
        ("tries = 0", "0 is out of range for `tries`", "a whole number from 1 to 6"),
        ("rest_min = \"500ms\"", "`500ms` is out of range for `rest_min`", "`1s` to `1d`"),
        ("rest_max = \"2d\"", "`2d` is out of range for `rest_max`", "`1s` to `1d`"),
        ("rest_max = \"20s\"", "`rest_max` is shorter than `rest_min`, 30s", "`30s` to `1d`"),
        ("in_flight_max = 100001", "100001 is out of range", "a whole number from 1 to 100000"),
        ("probes_per_second = 0", "0 is out of range", "a whole number from 1 to 10000"),
        ("answers_per_second = 10001", "10001 is out of range", "a whole number from 1 to 10000"),
        ("idle = \"0s\"", "`0s` is out of range for `idle`", "`1s` to `1d`"),
    ] {
        let base = altered("answer_on = [\"eth0\"]\n", "");
        let value = wrong.split_once(" = ").unwrap().1;
        let value = match value {
            "[33, 128]" => "33",
            "[32, 8]" => "8]",
            "[\"eth1\"]" => "\"eth1\"",
            value => value,
        };
        refused(&base.replace("[ted]\n", &format!("[ted]\n{wrong}\n")), (wrong, value), said, accepted);
    }
}

#[test]
fn unknown_keys_are_refused_with_what_was_probably_meant() {
    let text = with_ted("answers_on = \"eth0\"");
    refused(
        &text,
        ("answers_on = \"eth0\"", "answers_on"),
        "unknown key `answers_on` in [ted]; did you mean `answer_on`?",
        "`granularity`",
    );
    let entry = "authorised = [{ identiy = \"b.test\", networks = \"10.2.0.0/16\" }]";
    let text = altered(BASE.lines().find(|line| line.starts_with("authorised")).unwrap(), entry);
    let said = "unknown key `identiy` in [[peer.authorised]]; did you mean `identity`?";
    refused(&text, (entry, "identiy"), said, "`identity` or `networks`");
    let text = BASE.replace("gateway = \"discover\"", "gateway = \"discover\"\nconceald = true");
    let said = "unknown key `conceald` in [[tunnel]]; did you mean `conceal`?";
    refused(&text, ("conceald = true", "conceald"), said, "`gateway`");
    let text = BASE.replace("[ted]", "[tde]");
    refused(&text, ("[tde]", "tde"), "unknown key `tde` in the file; did you mean `ted`?", "`ted`");
    refused(
        &altered("\n[[port]]", "ted = 1\n[[port]]").replace("[ted]\nanswer_on = [\"eth0\"]\n", ""),
        ("ted = 1", "1"),
        "`ted` is not a table here",
        "one `[ted]`",
    );
}

#[test] // F-7, TED-59
fn a_discovered_peer_arrives_with_who_is_trusted_with_what() {
    let config = read(BASE);
    let peer = config.peer(PeerId(0)).unwrap();
    assert!(peer.is_discovered() && peer.is_template() && peer.address.is_none());
    assert_eq!((peer.local.to_string().as_str(), peer.identity.as_ref()), ("192.0.2.1", None));
    let pad = peer.authorised.as_ref().unwrap();
    let may = |who: &str, network: &str| pad.authorises(&who.parse().unwrap(), &range(network));
    assert!(may("b.test", "10.2.0.0/16") && !may("b.test", "10.9.0.0/16"), "its own entry decides");
    assert!(may("c.test", "10.9.7.0/24") && !may("c.test", "10.2.0.0/24"));
    assert!(!config.peer(PeerId(1)).unwrap().is_discovered());
    let named = read(&altered("group_secret", "identity = \"b.test\"\ngroup_secret"));
    assert_eq!(named.peers[0].identity, Some("b.test".parse().unwrap()));
    let open = read(&altered("local = \"192.0.2.1\"\n", ""));
    assert!(open.peers[0].is_local_open() && open.peers[0].local.is_ipv4());
    let table = altered(
        BASE.lines().find(|line| line.starts_with("authorised")).unwrap(),
        "[[peer.authorised]]\nnetworks = \"10.9.0.0/16\"",
    );
    assert_eq!(read(&table).peers[0].authorised.as_ref().unwrap().entries().len(), 1);
}

#[test] // F-7
fn nobody_is_trusted_by_default() {
    let line = BASE.lines().find(|line| line.starts_with("authorised")).unwrap();
    let entry = "`{ identity = \"b.example.net\", networks = [\"10.2.0.0/16\"] }`";
    let text = altered(&format!("{line}\n"), "");
    refused(&text, ("[[peer]]", "["), "[[peer]] has no `authorised`", entry);
    refused(
        &altered(line, "authorised = []"),
        ("authorised = []", "[]"),
        "`authorised` is empty",
        "authorised",
    );
    let without = "authorised = [{ identity = \"b.test\" }]";
    refused(
        &altered(line, without),
        (without, "{"),
        "[[peer.authorised]] has no `networks`",
        "a prefix such as",
    );
    let wrong = "authorised = [{ identity = \"b test\", networks = \"10.2.0.0/16\" }]";
    refused(&altered(line, wrong), (wrong, "\"b test"), "`b test` is no identity", "left out, any");
    let other = altered("name = \"fixed\"", "name = \"fixed\"\nauthorised = [{ networks = \"any\" }]");
    let said = "`authorised` says nothing without `address = \"discover\"`";
    refused(&other, ("authorised = [{ networks = \"any\" }]", "["), said, "both of them or neither");
}

#[test]
fn entries_that_decide_nothing_or_everything_are_warned_of() {
    let line = BASE.lines().find(|line| line.starts_with("authorised")).unwrap();
    let said = |entries: &str| warnings(&altered(line, &format!("authorised = [{entries}]"))).join("\n");
    let twice = said("{ networks = \"10.9.0.0/16\" }, { identity = \"b.test\", networks = \"10.2.0.0/16\" }");
    assert!(twice.contains("never decides: one before it does, for `b.test`"), "{twice}");
    let all = said("{ networks = \"any\" }");
    assert!(all.contains("in front of every network"), "{all}");
    assert_eq!(said("{ identity = \"b.test\", networks = \"any\" }"), "", "it was named");
    let named = altered("group_secret", "identity = \"c.test\"\ngroup_secret");
    let named = warnings(
        &named.replace(line, "authorised = [{ identity = \"b.test\", networks = \"10.2.0.0/16\" }]"),
    );
    assert!(named.concat().contains("no entry is for `c.test`"), "{named:?}");
}

#[test] // F-13
fn a_secret_for_whom_nobody_knows_before_is_a_group_s() {
    for who in ["", "identity = \"b.test\"\n"] {
        for mode in ["v1-main", "v1-aggressive", "v1-base"] {
            let text = altered("group_secret = true\n", who).replacen("v1-main", mode, 1);
            refused(
                &text,
                ("secret = \"x\"", "\"x\""),
                "one secret for whichever peer is discovered",
                "`authentication = \"certificate\"`, or `group_secret = true`",
            );
        }
    }
    let shared = read(BASE);
    let risk = shared.warnings.iter().find(|said| said.message.contains("`group_secret` takes that risk"));
    assert!(risk.is_some_and(|said| said.message.contains("whichever peer is discovered")));
    let certificate = altered(
        "secret = \"x\"\ngroup_secret = true",
        "authentication = \"certificate\"\ncertificate = \"c\"\nprivate_key = \"k\"\nauthority = \"a\"",
    );
    assert_eq!(warnings(&certificate), [""; 0]);
    assert!(read(&certificate).warnings.iter().all(|said| said.message.contains("IKEv1")));
}

#[test]
fn gateways_that_discover_each_other_are_equals() {
    let policy = "\n[[pool]]\nname = \"p\"\naddresses = \"10.99.0.0/24\"\n[[policy]]\nname = \"v\"\npool = \"p\"\n\
                  [[user]]\nname = \"alice\"\npassword = \"x\"\n";
    for (key, lines) in [
        ("receives", "receives = \"pull\""),
        ("serves", "serves = \"v\""),
        ("xauth", "xauth = \"client\"\nxauth_user = \"u\"\nxauth_password = \"p\""),
    ] {
        let text = altered("group_secret", &format!("{lines}\ngroup_secret"));
        let said = format!("`{key}` has no place in a peer with `address = \"discover\"`");
        let text = text + if key == "serves" { &policy[..policy.find("[[user]]").unwrap()] } else { "" };
        refused(&text, ("address = \"discover\"", "\"discover"), &said, &format!("the peer without `{key}`"));
    }
}

#[test] // TED-5, NT-35
fn a_tunnel_that_is_discovered_arrives() {
    let config = read(&altered(
        "destination = \"10.0.0.0/8\"\ngateway",
        "destination = [\"10.2.0.0/16\", \"10.9.0.0/16\"]\nprotocol = \"tcp\"\ndestination_port = 443\ngateway",
    ));
    let rules: Vec<_> = config.tunnel_rules().collect();
    assert_eq!(rules.len(), 2);
    for (rule, policy) in rules {
        assert_eq!((rule.gateway, rule.peer), (Gateway::Discover, PeerId(0)));
        assert_eq!((policy.start, policy.is_concealed), (Start::OnTraffic, false));
    }
}

#[test] // F-10
fn a_concealed_tunnel_answers_and_needs_somewhere_to() {
    let concealed = altered("gateway = \"discover\"", "gateway = \"discover\"\nconceal = true");
    assert!(read(&concealed).tunnels[0].is_concealed);
    assert_eq!(warnings(&concealed), [""; 0]);
    let mute = warnings(&concealed.replace("answer_on = [\"eth0\"]\n", ""));
    assert!(mute.concat().contains("`to-partners` neither asks"), "{mute:?}");
    assert!(!read(&concealed.replace("conceal = true", "conceal = false")).tunnels[0].is_concealed);
}

const FIXED: &str =
    "\n[[tunnel]]\nname = \"fix\"\nsource = \"10.1.0.0/16\"\ndestination = \"172.16.0.0/12\"\n";

#[test]
fn what_only_a_discovered_tunnel_can_be_is_refused_for_others_and_the_other_way_round() {
    let permit = BASE.replace("destination = \"10.0.0.0/8\"\naction", "destination = \"0.0.0.0/0\"\naction");
    let fixed = |lines: &str| format!("{permit}{FIXED}{lines}\n");
    assert_eq!(warnings(&fixed("peer = \"fixed\"")), [""; 0]);
    refused(
        &fixed("peer = \"fixed\"\nconceal = true"),
        ("conceal = true", "true"),
        "`conceal` has no effect here",
        "both of them or neither",
    );
    refused(
        &fixed("peer = \"fixed\"\ngateway = \"discover\""),
        ("gateway = \"discover\"", "\"discover"),
        "`fixed` is not discovered",
        "a `peer` with `address = \"discover\"`, or no `gateway`",
    );
    refused(
        &fixed("peer = \"partners\""),
        ("peer = \"partners\"", "\"partners"),
        "`partners` is wherever discovery finds it, and this tunnel does not say so",
        "`gateway = \"discover\"` in this `[[tunnel]]`",
    );
    refused(
        &fixed("peer = \"fixed\"\ngateway = \"198.51.100.2\""),
        ("gateway = \"198.51.100.2\"", "\"198"),
        "`198.51.100.2` is not known for `gateway`",
        "without `gateway`, the tunnel leads to the `address` of its `peer`",
    );
    refused(
        &altered("peer = \"partners\"", "peer = \"partners\"\nstart = \"immediately\""),
        ("start = \"immediately\"", "\"immediately"),
        "nothing is negotiated immediately where a gateway is discovered",
        "`traffic`",
    );
    refused(
        &altered("peer = \"partners\"", "peer = \"partners\"\nparallel = 2"),
        ("parallel = 2", "2"),
        "what discovery finds has one pair of SAs",
        "a `peer` with one `address`, or no `parallel`",
    );
    assert!(
        read(&altered("peer = \"partners\"", "peer = \"partners\"\nparallel = 1")).tunnels[0].parallel.get()
            == 1
    );
}

#[test] // TED-42
fn discovery_compares_prefixes_and_single_ports_only() {
    let ranges = "destination = \"10.2.0.1-10.2.0.9\"";
    refused(
        &altered("destination = \"10.0.0.0/8\"\ngateway", &format!("{ranges}\ngateway")),
        (ranges, "\"10"),
        "`10.2.0.1-10.2.0.9` is no prefix, and discovery compares prefixes only",
        "a prefix such as `10.1.0.0/16`",
    );
    let ranges = "source = [\"10.1.0.0/16\", \"10.7.0.1-10.7.0.2\"]";
    refused(
        &altered(
            "source = \"10.1.0.0/16\"\ndestination = \"10.0.0.0/8\"\ngateway",
            &format!("{ranges}\ndestination = \"10.0.0.0/8\"\ngateway"),
        ),
        (ranges, "["),
        "`10.7.0.1-10.7.0.2` is no prefix",
        "a list of them",
    );
    refused(
        &altered(
            "gateway = \"discover\"",
            "protocol = \"tcp\"\ndestination_port = \"8000-8999\"\ngateway = \"discover\"",
        ),
        ("source = \"10.1.0.0/16\"", "\"10"),
        "IKEv1 cannot negotiate a range of ports",
        "one port",
    );
}

#[test] // F-7, F-9
fn settings_under_which_nothing_can_come_up_are_warned_of() {
    let line = BASE.lines().find(|line| line.starts_with("authorised")).unwrap();
    let stranger = warnings(&altered(line, "authorised = [{ networks = \"172.16.0.0/12\" }]"));
    assert!(
        stranger.concat().contains("`authorised` of `partners` names no network of 10.0.0.0/8"),
        "{stranger:?}"
    );
    let elsewhere = warnings(&with_ted("disclose = \"10.77.0.0/16\""));
    assert!(elsewhere.concat().contains("`disclose` holds nothing of `to-partners`"), "{elsewhere:?}");
    let rest = BASE.replace("gateway = \"discover\"\npeer = \"partners\"", "peer = \"fixed\"");
    let idle = warnings(&rest).concat();
    assert!(idle.contains("there is nothing to answer a probe with"), "{idle}");
    assert!(idle.contains("no `[[tunnel]]` leads to `partners`"), "{idle}");
}

#[test] // NT-7
fn a_discovered_tunnel_takes_no_other_tunnel_into_itself() {
    let all = "destination = [\"10.0.0.0/8\", \"198.51.100.0/24\"]";
    let text = altered("destination = \"10.0.0.0/8\"\ngateway", &format!("{all}\ngateway"));
    assert_eq!(read(&text).rules.tunnel.len(), 2, "nobody leads to the other peer");
    let text = format!("{text}{FIXED}peer = \"fixed\"\n");
    refused(
        &text,
        (all, "["),
        "the destination of `to-partners` contains `fixed` (198.51.100.2), and a tunnel around others is discovered only",
        "a list of prefixes without 198.51.100.2",
    );
}

#[test]
fn the_documented_example_is_right() {
    let path = format!("{}/../../docs/examples/discovery.toml", env!("CARGO_MANIFEST_DIR"));
    let config = read(&std::fs::read_to_string(path).unwrap());
    assert_eq!(config.warnings.len(), 1, "only IKEv1's: {:?}", config.warnings);
    assert!(config.is_ted_on && config.ted.answer_on == [1] && config.peers[0].is_discovered());
    assert!(config.rules.tunnel.iter().all(|rule| rule.gateway == Gateway::Discover));
    assert!(config.tunnels[0].is_concealed && !config.tunnels[1].is_concealed);
}
