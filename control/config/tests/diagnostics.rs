//! What a wrong file is told.

use std::path::Path;
use warren_config::{Diagnostics, SecretError, Severity, parse};
use warren_policy::Secret;

const KEY: &str = "4f1c0b6f2f0e4b7d9f63a1c2d3e4f5061728394a5b6c7d8e9fa0b1c2d3e4f506";

fn secrets(name: &Path) -> Result<Secret, SecretError> {
    match name.to_str() {
        Some("strong.psk") => Ok(Secret::new(format!("{KEY}\n").into_bytes())),
        Some("other.psk") => Ok(Secret::new(KEY.chars().rev().collect::<String>().into_bytes())),
        Some("weak.psk") => Ok(Secret::new(b"warren-test-psk\n".to_vec())),
        Some("empty.psk") => Ok(Secret::new(b"\n".to_vec())),
        _ => Err(SecretError::Missing),
    }
}

const BASE: &str = r#"
[[port]]
interface = "eth0"
side = "outside"

[[peer]]
name = "gw2"
ike = "v1-main"
local = "192.0.2.1"
address = "198.51.100.2"
secret = "strong.psk"

[[transport]]
name = "all"
source = "10.1.0.0/16"
destination = "any"
action = "permit"

[[tunnel]]
name = "net"
source = "10.1.0.0/16"
destination = "10.2.0.0/16"
peer = "gw2"
"#;

/// `BASE` with one line replaced, and what follows added.
fn altered(line: &str, replacement: &str, more: &str) -> String {
    assert!(BASE.contains(line), "{line}");
    format!("{}{more}", BASE.replacen(line, replacement, 1))
}

fn errors(text: &str) -> Diagnostics {
    match parse(text, "gw.toml", &secrets) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(diagnostics) => {
            assert!(diagnostics.0.iter().any(|diagnostic| diagnostic.severity == Severity::Error));
            diagnostics
        }
    }
}

fn warnings(text: &str) -> String {
    let config = parse(text, "gw.toml", &secrets).unwrap_or_else(|errors| panic!("{errors}"));
    config.warnings.iter().map(|warning| format!("{}\n", warning.one_line())).collect()
}

/// The text is refused, and the rendering says each of these.
fn refused(text: &str, said: &[&str]) {
    let rendered = errors(text).to_string();
    for said in said {
        assert!(rendered.contains(said), "`{said}` is missing in\n{rendered}");
    }
}

#[test]
fn the_base_of_these_tests_is_right() {
    assert_eq!(warnings(BASE).lines().count(), 1, "IKEv1 is deprecated, nothing else: {}", warnings(BASE));
}

#[test]
fn an_unknown_peer_is_shown_in_its_line_with_what_was_probably_meant() {
    let rendered = errors(&altered("peer = \"gw2\"", "peer = \"gw1\"", "")).to_string();
    let error = rendered.split("\n\n").find(|part| part.starts_with("error")).unwrap();
    let expected = "\
error: `gw1` is no peer; did you mean `gw2`?
  --> gw.toml:23:8
   |
23 | peer = \"gw1\"
   |        ^^^^^
   = accepted: `gw2`";
    assert_eq!(error, expected);
}

#[test]
fn everything_wrong_is_said_at_once_in_the_order_of_the_lines() {
    let text = altered("side = \"outside\"", "side = \"outsid\"\nmtu = 1500", "")
        .replace("action = \"permit\"", "action = \"allow\"")
        .replace("destination = \"10.2.0.0/16\"", "destination = \"10.2.0.1/16\"\nwindow = 100");
    let errors: Vec<_> =
        errors(&text).0.into_iter().filter(|diagnostic| diagnostic.severity == Severity::Error).collect();
    let said: Vec<(usize, usize, &str)> =
        errors.iter().map(|error| (error.line, error.column, error.message.as_str())).collect();
    assert_eq!(
        said,
        [
            (4, 8, "`outsid` is not known for `side`; did you mean `outside`?"),
            (5, 1, "unknown key `mtu` in [[port]]"),
            (18, 10, "`allow` is not known for `action`"),
            (23, 15, "`10.2.0.1/16` has bits behind its prefix; `10.2.0.0/16` or `10.2.0.1` may be meant"),
            (24, 10, "100 is no multiple of 64"),
        ]
    );
    assert_eq!(errors[0].accepted.as_deref(), Some("`inside` or `outside`"));
}

#[test]
fn unknown_keys_are_errors_in_every_table() {
    for (line, title) in [
        ("[[port]]", "[[port]]"),
        ("[[peer]]", "[[peer]]"),
        ("[[transport]]", "[[transport]]"),
        ("[[tunnel]]", "[[tunnel]]"),
    ] {
        refused(&altered(line, &format!("{line}\nfrobnicate = 1"), ""), &["unknown key `frobnicate`", title]);
    }
    refused(
        &altered("[[port]]", "frobnicate = 1\n[gateway]\nworker = 2\n[[port]]", ""),
        &[
            "unknown key `frobnicate` in the file",
            "unknown key `worker` in [gateway]; did you mean `workers`?",
        ],
    );
}

#[test]
fn what_is_no_toml_is_told_with_its_place() {
    let errors = errors("[[port]]\ninterface = \"eth0\nside = \"inside\"\n");
    assert_eq!((errors.0[0].line, errors.0[0].source.as_str()), (2, "interface = \"eth0"), "{errors}");
}

#[test]
fn values_of_the_wrong_kind_and_out_of_range_are_refused() {
    refused(&altered("side = \"outside\"", "side = 3", ""), &["`side` is a whole number here"]);
    refused(
        &altered("side = \"outside\"", "side = \"outside\"\nqueues = 0", ""),
        &["0 is out of range", "1 to 256"],
    );
    refused(
        &altered("[[port]]", "[gateway]\nstage_sampling = 65537\n[[port]]", ""),
        &["65537 is out of range", "0 to 65536"],
    );
    refused(&altered("interface = \"eth0\"", "interface = \"a/b\"", ""), &["`a/b` is no interface name"]);
    refused(&altered("name = \"net\"", "name = \"net#1\"", ""), &["`net#1` is no name"]);
    let tunnel = |more: &str| altered("name = \"net\"", &format!("name = \"net\"\n{more}"), "");
    refused(&tunnel("lifetime = 3600"), &["`lifetime` is a whole number here", "`30s`"]);
    refused(&tunnel("lifetime = \"5s\""), &["`5s` is out of range", "60 s to 86400 s"]);
    refused(&tunnel("lifetime_volume = \"10KiB\""), &["out of range"]);
    refused(&tunnel("esp = [\"aes128gcm8\"]"), &["`aes128gcm8`", "`aes256gcm16`"]);
    refused(&tunnel("esp = []"), &["`esp` is empty"]);
    refused(&tunnel("esp = [\"aes128gcm16\", \"aes128gcm16\"]"), &["listed twice"]);
    refused(&tunnel("esp = [\"aes128gcm16-ecp256\", \"aes128gcm16\"]"), &["different groups"]);
    let peer = |more: &str| altered("name = \"gw2\"", &format!("name = \"gw2\"\n{more}"), "");
    refused(&peer("dpd_delay = \"30s\"\ndpd_timeout = \"10s\""), &["not longer than `dpd_delay`"]);
    refused(&peer("dpd_delay = \"off\"\ndpd_timeout = \"10s\""), &["says nothing when `dpd_delay` is off"]);
    refused(&peer("retransmit_first = \"1ms\""), &["1 ms is out of range"]);
    refused(&peer("proposals = [\"aes128-md5-modp1024\"]"), &["`md5`"]);
}

#[test]
fn missing_keys_and_tables_are_named() {
    refused("", &["there is no `[[port]]`"]);
    refused(&altered("side = \"outside\"\n", "", ""), &["[[port]] has no `side`"]);
    refused(&altered("peer = \"gw2\"\n", "", ""), &["[[tunnel]] has no `peer`"]);
    refused(&altered("ike = \"v1-main\"\n", "", ""), &["[[peer]] has no `ike`", "`v1-main`"]);
}

#[test] // F-1: the modes that leak a hash of the key are had only by name, and with a warning
fn aggressive_and_base_mode_are_used_only_by_name_and_with_a_warning() {
    refused(&altered("ike = \"v1-main\"", "ike = \"v2\"", ""), &["is not known for `ike`"]);
    refused(
        &altered("ike = \"v1-main\"", "ike = \"v1-agressive\"", ""),
        &["did you mean `v1-aggressive`?", "`v1-main`, `v1-aggressive` or `v1-base`"],
    );
    for (mode, why) in [("v1-aggressive", "to any stranger who asks"), ("v1-base", "whoever listens")] {
        let text = altered("ike = \"v1-main\"", &format!("ike = \"{mode}\""), "");
        let warnings = warnings(&text);
        assert!(warnings.contains(why) && warnings.contains("RFC 9395"), "{warnings}");
    }
}

#[test] // F-1
fn a_weak_key_in_a_mode_that_leaks_it_is_refused_or_used_with_a_loud_warning() {
    for mode in ["v1-aggressive", "v1-base"] {
        let weak =
            altered("strong.psk", "weak.psk", "").replace("ike = \"v1-main\"", &format!("ike = \"{mode}\""));
        refused(&weak, &["any stranger who asks could guess it", "weak_secret = true"]);
        let asked = weak.replace("secret = \"weak.psk\"", "secret = \"weak.psk\"\nweak_secret = true");
        assert!(warnings(&asked).contains("TO ANY STRANGER"), "{}", warnings(&asked));
    }
}

#[test]
fn ikev1_is_used_only_with_a_warning() {
    assert!(warnings(BASE).contains("RFC 9395"), "{}", warnings(BASE));
}

#[test]
fn names_interfaces_and_address_pairs_are_unique() {
    let port = "[[port]]\nname = \"second\"\ninterface = \"eth0\"\nside = \"inside\"\n";
    refused(
        &altered("\n[[peer]]", &format!("\n{port}\n[[peer]]"), ""),
        &["a second port on interface `eth0`"],
    );
    let peer = "[[peer]]\nname = \"gw2\"\nike = \"v1-main\"\nlocal = \"192.0.2.1\"\naddress = \"198.51.100.2\"\nsecret = \"strong.psk\"\n";
    refused(
        &altered("[[transport]]", &format!("{peer}\n[[transport]]"), ""),
        &["a second peer named `gw2`", "between the same two addresses"],
    );
    let tunnel = "[[tunnel]]\nname = \"net\"\nsource = \"10.3.0.0/16\"\ndestination = \"10.2.0.0/16\"\npeer = \"gw2\"\n";
    refused(&altered("\n", "\n", tunnel), &["a second tunnel rule named `net`"]);
    refused(&altered("interface = \"eth0\"", "interface = \"warren0\"", ""), &["own tun interface"]);
}

#[test] // TED-52 in spirit: families do not mix
fn families_agree() {
    refused(&altered("address = \"198.51.100.2\"", "address = \"2001:db8::2\"", ""), &["not of the family"]);
    refused(
        &altered("destination = \"10.2.0.0/16\"", "destination = \"2001:db8:2::/48\"", ""),
        &["`10.1.0.0/16` has no IPv4 destination", "`2001:db8:2::/48` has no IPv6 source"],
    );
    refused(
        &altered("name = \"net\"", "name = \"net\"\nprotocol = \"icmpv6\"", ""),
        &["does not occur between"],
    );
}

#[test]
fn ports_need_a_protocol_that_has_them_and_ikev1_no_range() {
    let tunnel = |more: &str| altered("name = \"net\"", &format!("name = \"net\"\n{more}"), "");
    refused(&tunnel("destination_port = 443"), &["protocol any has none"]);
    refused(&tunnel("protocol = \"icmp\"\ndestination_port = 443"), &["protocol icmp has none"]);
    refused(&tunnel("protocol = \"tcp\"\ndestination_port = \"80-90\""), &["IKEv1 cannot negotiate a range"]);
    refused(&tunnel("protocol = \"tcp\"\ndestination_port = 0"), &["0 is out of range"]);
    refused(&tunnel("protocol = 0"), &["IKEv1 cannot negotiate protocol 0"]);
    assert!(parse(&tunnel("protocol = \"tcp\"\ndestination_port = 443"), "gw.toml", &secrets).is_ok());
}

#[test] // NT-28, V-12
fn a_rule_that_contains_its_own_gateway_is_warned_about() {
    let warnings = warnings(&altered("destination = \"10.2.0.0/16\"", "destination = \"0.0.0.0/0\"", ""));
    assert!(warnings.contains("contains its own gateway 198.51.100.2"), "{warnings}");
}

#[test] // F-24
fn a_forgotten_address_family_is_warned_about() {
    let source = "source = \"10.1.0.0/16\"\ndestination = \"any\"";
    let warnings = warnings(&altered(source, "source = \"any\"\ndestination = \"any\"", ""));
    assert!(warnings.contains("`all` lets IPv6 pass, and every tunnel rule is for IPv4"), "{warnings}");
}

#[test] // NT-4, Q-17
fn a_tunnel_rule_that_no_transport_rule_lets_through_is_warned_about() {
    let warnings = warnings(&altered(
        "source = \"10.1.0.0/16\"\ndestination = \"any\"",
        "source = \"10.9.0.0/16\"\ndestination = \"any\"",
        "",
    ));
    assert!(warnings.contains("all of it is dropped, not protected"), "{warnings}");
}

#[test]
fn a_rule_that_never_matches_is_warned_about() {
    let tunnel = "[[tunnel]]\nname = \"late\"\nsource = \"10.1.3.0/24\"\ndestination = \"10.2.0.0/24\"\npeer = \"gw2\"\n";
    let warnings = warnings(&altered("\n", "\n", tunnel));
    assert!(warnings.contains("`late` never matches: `net` before it"), "{warnings}");
}

#[test] // DC-18
fn a_weaker_proposal_first_is_turned_round_or_said_aloud() {
    let peer = |more: &str| {
        let proposals = "proposals = [\"aes128-sha256-modp2048\", \"aes256-sha384-ecp384\"]";
        altered("name = \"gw2\"", &format!("name = \"gw2\"\n{proposals}\n{more}"), "")
    };
    let order = |text: &str| {
        let config = parse(text, "gw.toml", &secrets).unwrap();
        config.peers[0].proposals.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let sorted = peer("");
    assert_eq!(order(&sorted), ["aes256-sha384-ecp384", "aes128-sha256-modp2048"]);
    assert!(warnings(&sorted).contains("strongest first, not as written"), "{}", warnings(&sorted));
    let kept = peer("proposal_order = \"as-written\"");
    assert_eq!(order(&kept), ["aes128-sha256-modp2048", "aes256-sha384-ecp384"]);
    assert!(warnings(&kept).contains("weaker proposals are offered before"), "{}", warnings(&kept));
}

#[test]
fn sha1_is_used_only_when_named_and_with_a_warning() {
    let config = parse(BASE, "gw.toml", &secrets).unwrap();
    let mut proposals = config.peers[0].proposals.iter().map(ToString::to_string);
    assert!(proposals.all(|proposal| !proposal.contains("sha1")));
    let named = altered("name = \"gw2\"", "name = \"gw2\"\nproposals = [\"aes128-sha1-modp2048\"]", "");
    assert!(warnings(&named).contains("SHA-1"), "{}", warnings(&named));
}

#[test] // F-1
fn a_weak_key_is_refused_unless_asked_for_by_name() {
    let weak = altered("strong.psk", "weak.psk", "");
    refused(&weak, &["cannot hold 128 bits", "weak_secret = true"]);
    let asked = weak.replace("ike = \"v1-main\"", "ike = \"v1-main\"\nweak_secret = true");
    assert!(warnings(&asked).contains("the key is weak"), "{}", warnings(&asked));
    refused(
        &altered("secret = \"strong.psk\"", "secret = \"empty.psk\"\nweak_secret = true", ""),
        &["is empty"],
    );
}

#[test] // F-33
fn no_diagnostic_and_no_debug_output_shows_a_key() {
    let inline = altered("strong.psk", KEY, "");
    let texts = [
        inline.clone(),
        inline.replace("secret =", "psk ="),
        inline.replace("secret = \"", "secret = \""[..9].trim_end()),
        altered("secret = \"strong.psk\"", &format!("secret = \"\"\"\n{KEY}\n"), ""),
        altered("secret = \"strong.psk\"", &format!("secret = [\"{KEY}\"]"), ""),
        altered("secret = \"strong.psk\"", &format!("secret = {{ inline = \"{KEY}\" }}"), ""),
        altered("secret = \"strong.psk\"", &format!("secret = {KEY}"), ""),
    ];
    for text in &texts {
        let errors = errors(text);
        let lines: String = errors.0.iter().map(warren_config::Diagnostic::one_line).collect();
        let everything = format!("{errors}{errors:?}{lines}");
        assert!(!everything.contains(&KEY[..16]), "{everything}");
    }
    let config = parse(BASE, "gw.toml", &secrets).unwrap();
    assert!(!format!("{config:?}").contains(&KEY[..16]));
}

#[test]
fn long_and_hostile_lines_are_quoted_safely() {
    let text = altered(
        "name = \"net\"",
        &format!("name = \"\\u001b[31m\"\nwindow = 1 # {}\u{85}", "x".repeat(10_000)),
        "",
    );
    let rendered = errors(&text).to_string();
    assert!(rendered.chars().all(|c| c == '\n' || !c.is_control()), "{rendered:?}");
    assert!(rendered.lines().all(|line| line.chars().count() < 300));
}

#[test]
fn a_place_at_the_end_of_a_line_is_shown_whatever_ends_it() {
    for text in
        ["interface = \"eth0\r\n", "a = \"\r\n\r\n", "a\r\n", "a\r", "a = [\r\n", "\u{feff}a", "a = \"é\r\n"]
    {
        let errors = errors(text);
        assert!(errors.0.iter().all(|error| error.line > 0 && error.column > 0), "{errors}");
    }
}

#[test]
fn more_errors_than_anyone_reads_are_counted() {
    let many: String = (0..200).map(|n| format!("unknown{n} = 1\n")).collect();
    let errors = errors(&format!("{many}{BASE}"));
    assert!(errors.0.len() <= 60, "{}", errors.0.len());
    assert!(errors.to_string().contains("more are not shown"));
}

#[test] // F-36
fn a_remark_about_the_end_of_a_line_written_elsewhere_is_still_a_remark() {
    // An editor on another system ends lines with CR LF; the CR is part of no line that is shown.
    let text = BASE.replace('\n', "\r\n");
    for at in 0..text.len() {
        let Err(errors) = parse(&text[..at], "gw.toml", &secrets) else { continue };
        assert!(!errors.to_string().is_empty(), "cut to {at}");
    }
    let errors = errors("[gateway]\r\nlog = \"debug\r\n");
    assert_eq!((errors.0[0].line, errors.0[0].source.as_str()), (2, "log = \"debug"));
}

/// A server of policy for a template; each `{}` of a test replaces one line of it.
const SERVER: &str = r#"
[[port]]
interface = "eth0"
side = "outside"

[[peer]]
name = "any"
ike = "v1-main"
address = "any"
identity = "any"
secret = "strong.psk"
group_secret = true
serves = "visitors"

[[pool]]
name = "four"
addresses = "10.99.0.0/24"

[[policy]]
name = "visitors"
pool = "four"

[[policy.set]]
name = "offices"
source = "10.2.0.0/16"
"#;

/// `SERVER` with one line replaced.
fn served(line: &str, replacement: &str) -> String {
    assert!(SERVER.contains(line), "{line}");
    SERVER.replacen(line, replacement, 1)
}

/// The whole file of a client.
const SHORT: &str = "peer = \"198.51.100.2\"\nsecret = \"strong.psk\"\n";

const CLIENT: &str = "[[peer]]\nname = \"hub\"\nike = \"v1-main\"\naddress = \"198.51.100.2\"\nsecret = \"strong.psk\"\n\
                      receives = \"pull\"\n";

#[test] // DC-16
fn what_is_wrong_with_two_lines_is_told_like_anything_else() {
    assert_eq!(warnings(SHORT).lines().count(), 1, "IKEv1 is deprecated, nothing else: {}", warnings(SHORT));
    refused("peer = \"198.51.100.2\"\n", &["the file has no `secret`"]);
    refused(&SHORT.replace("198.51.100.2", "gateway"), &["`gateway` is no address"]);
    refused(&SHORT.replace("198.51.100.2", "any"), &["`any` is no address"]);
    refused(&SHORT.replace("strong.psk", "weak.psk"), &["cannot hold 128 bits"]);
    refused(&SHORT.replace("strong.psk", KEY), &["`secret` names no file"]);
    refused(&format!("{SHORT}lifetime = \"1h\"\n"), &["unknown key `lifetime` in the file"]);
    refused("secret = \"strong.psk\"\n", &["unknown key `secret` in the file", "there is no `[[port]]`"]);
    refused("peer = 7\nsecret = \"strong.psk\"\n", &["`peer` is not a table here"]);
}

#[test] // F-13
fn one_secret_for_everybody_needs_to_be_asked_for_and_is_warned_about_each_time() {
    refused(&served("group_secret = true\n", ""), &["whoever holds it can pretend", "group_secret = true"]);
    assert!(warnings(SERVER).contains("`group_secret` takes that risk"), "{}", warnings(SERVER));
    let known = served("identity = \"any\"", "identity = \"alice@left.test\"");
    refused(&known.replace("group_secret = true\n", ""), &["whoever holds it can pretend"]);
    let told = known.replace("v1-main", "v1-aggressive").replace("group_secret = true\n", "");
    assert!(!warnings(&told).contains("takes that risk"), "the identity comes first: {}", warnings(&told));
    let host = altered("address = \"198.51.100.2\"", "address = \"198.51.100.2\"\nidentity = \"any\"", "");
    refused(&host, &["whoever holds it can pretend"]);
}

#[test] // F-13: main mode needs the key before it knows the identity
fn main_mode_has_one_secret_for_peers_of_any_address() {
    let second = |secret: &str, mode: &str| {
        format!(
            "{SERVER}\n[[peer]]\nname = \"other\"\nike = \"{mode}\"\naddress = \"any\"\nidentity = \"bob@left.test\"\n\
             secret = \"{secret}\"\ngroup_secret = true\nserves = \"visitors\"\n"
        )
    };
    refused(&second("other.psk", "v1-main"), &["`other` has another secret than `any`", "certificates"]);
    assert!(parse(&second("strong.psk", "v1-main"), "f", &secrets).is_ok());
    assert!(parse(&second("other.psk", "v1-aggressive"), "f", &secrets).is_ok());
}

#[test] // F-2
fn a_secret_with_users_behind_it_needs_to_be_asked_for() {
    let client =
        format!("{CLIENT}xauth = \"client\"\nxauth_user = \"alice\"\nxauth_password = \"strong.psk\"\n");
    refused(&client, &["any of them can pretend to be the gateway", "`authentication = \"certificate\"`"]);
    let asked = warnings(&format!("{client}group_secret = true\n"));
    assert!(asked.contains("take the others' passwords; `group_secret` takes that risk"), "{asked}");
    refused(&client.replace("xauth_user = \"alice\"\n", ""), &["has no `xauth_user`"]);
    refused(&client.replace("\"alice\"", "\"a b\""), &["`a b` is no user's name"]);
    refused(&format!("{CLIENT}xauth_user = \"alice\"\n"), &["says nothing without `xauth = \"client\"`"]);
    refused(
        &format!("{CLIENT}xauth = \"server\"\ngroup_secret = true\n"),
        &["asks a peer for a password from which we receive"],
    );
    let server = served("serves =", "xauth = \"server\"\nserves =");
    refused(&server, &["`any` asks for users, and there is none"]);
    let user = "[[user]]\nname = \"alice\"\npassword = \"strong.psk\"\n";
    assert!(parse(&format!("{server}{user}"), "f", &secrets).is_ok());
    assert!(warnings(&format!("{SERVER}{user}")).contains("nobody asks for users"));
    refused(&format!("{server}{user}{user}"), &["a second user named `alice`"]);
    refused(&format!("{server}{}", user.replace("strong", "empty")), &["the password file is empty"]);
}

#[test]
fn a_peer_is_served_or_gives_and_a_template_only_is_served() {
    refused(&served("serves =", "receives = \"pull\"\nserves ="), &["`serves` or `receives`, not both"]);
    refused(&served("serves = \"visitors\"", "receives = \"pull\""), &["nobody knows whom to believe"]);
    refused(&format!("{CLIENT}push = true\n"), &["`push` says nothing without `serves`"]);
    refused(
        &served("serves =", "remote_networks = \"10.0.0.0/8\"\nserves ="),
        &["says nothing without `receives`"],
    );
    refused(
        &served("\"visitors\"\n\n[[pool", "\"visiters\"\n\n[[pool"),
        &["`visiters` is no policy; did you mean `visitors`?"],
    );
    let idle = served("serves = \"visitors\"\n", "");
    assert!(warnings(&idle).contains("who connects gets nothing"), "{}", warnings(&idle));
    let tunnel = "[[tunnel]]\nname = \"net\"\nsource = \"10.1.0.0/16\"\ndestination = \"10.2.0.0/16\"\npeer = \"any\"\n";
    refused(&format!("{SERVER}{tunnel}"), &["no tunnel leads to it"]);
}

#[test]
fn peers_at_the_same_addresses_are_told_apart_by_identity_or_refused() {
    let two = |mode: &str, one: &str, other: &str| {
        let peer = |name: &str, identity: &str| {
            format!(
                "[[peer]]\nname = \"{name}\"\nike = \"{mode}\"\nlocal = \"192.0.2.1\"\naddress = \"198.51.100.9\"\n\
                 identity = \"{identity}\"\nsecret = \"strong.psk\"\n"
            )
        };
        format!("{BASE}{}{}", peer("one", one), peer("other", other))
    };
    refused(&two("v1-main", "a.test", "b.test"), &["`other` is between the same two addresses as `one`"]);
    assert!(parse(&two("v1-aggressive", "a.test", "b.test"), "f", &secrets).is_ok());
    refused(&two("v1-base", "a.test", "a.test"), &["nothing tells `other` from `one`"]);
}

#[test]
fn certificates_and_secrets_exclude_each_other() {
    let peer = |more: &str| altered("name = \"gw2\"", &format!("name = \"gw2\"\n{more}"), "");
    refused(&peer("certificate = \"gw.pem\""), &["says nothing without `authentication = \"certificate\"`"]);
    refused(
        &peer("authentication = \"certificate\""),
        &["`secret` says nothing with", "has no `certificate`", "has no `private_key`", "has no `authority`"],
    );
    let files = "authentication = \"certificate\"\ngroup_secret = true\ncertificate = \"strong.psk\"\nprivate_key = \"strong.psk\"\nauthority = \"no.pem\"";
    refused(
        &peer(files).replace("secret = \"strong.psk\"\n\n", "\n"),
        &[
            "`group_secret` says nothing",
            "0 certificates",
            "no private key that can be read",
            "`authority` names no file",
        ],
    );
    let shown = errors(&peer(files)).to_string();
    assert!(!shown.contains(&KEY[..16]), "{shown}");
}

#[test]
fn pools_do_not_overlap_and_static_addresses_have_one_owner() {
    let pool = |name: &str, addresses: &str, more: &str| {
        format!("{SERVER}[[pool]]\nname = \"{name}\"\naddresses = \"{addresses}\"\n{more}")
    };
    let fixed = |identity: &str, address: &str| {
        format!("[[pool.static]]\nidentity = \"{identity}\"\naddress = \"{address}\"\n")
    };
    refused(&pool("more", "10.99.0.128/25", ""), &["the addresses of `more` are also those of `four`"]);
    refused(&pool("four", "10.98.0.0/24", ""), &["a second pool named `four`"]);
    refused(&pool("more", "any", ""), &["`any` is no address, prefix or range"]);
    refused(&pool("more", "224.0.0.0/24", ""), &["addresses that no host has"]);
    refused(&pool("more", "10.98.0.0/24", &fixed("a.test", "2001:db8::1")), &["not of the pool's family"]);
    let twice = fixed("a.test", "10.98.0.7") + &fixed("a.test", "10.98.0.8");
    refused(&pool("more", "10.98.0.0/24", &twice), &["`a.test` has a static address in this pool already"]);
    let shared = fixed("a.test", "10.98.0.7") + &fixed("b.test", "10.98.0.7");
    refused(&pool("more", "10.98.0.0/24", &shared), &["10.98.0.7 belongs to somebody already"]);
    refused(&pool("more", "10.98.0.0/24", &fixed("a.test", "10.99.0.7")), &["an address of the pool `four`"]);
    assert!(parse(&pool("more", "10.98.0.0/24", &fixed("a.test", "10.97.0.7")), "f", &secrets).is_ok());
    let large = warnings(&pool("more", "10.0.0.0/12", ""));
    assert!(large.contains("the first 65536 are"), "{large}");
}

#[test] // DC-10, DC-11
fn sets_agree_in_family_and_with_their_pool() {
    let pool = "pool = \"four\"";
    refused(&served(pool, "pool = \"for\""), &["`for` is no pool; did you mean `four`?"]);
    refused(&served(pool, "pool = [\"four\", \"four\"]"), &["a second pool of that family"]);
    refused(
        &served("\"10.2.0.0/16\"", "\"2001:db8:2::/48\""),
        &["has no IPv6 leased address", "an IPv6 `pool`"],
    );
    refused(&served("pool = \"four\"\n", ""), &["has no IPv4 leased address"]);
    refused(
        &served("pool = \"four\"\n", "").replace("\"10.2.0.0/16\"", "\"any\""),
        &["no address is leased"],
    );
    let set = |more: &str| served("source = \"10.2.0.0/16\"", &format!("source = \"10.2.0.0/16\"\n{more}"));
    refused(&set("destination = \"leas\""), &["did you mean `lease`?"]);
    refused(&set("destination = \"2001:db8:7::/48\""), &["has no IPv4 destination"]);
    refused(&set("destination = [\"10.7.0.0/16\", \"2001:db8:7::/48\"]"), &["has no IPv6 source"]);
    refused(&set("source_port = 443"), &["needs a protocol that has ports"]);
    refused(&set("protocol = \"tcp\"\nsource_port = \"80-90\""), &["IKEv1 cannot negotiate a range"]);
    refused(&set("protocol = 0"), &["IKEv1 cannot negotiate protocol 0"]);
    refused(&set("protocol = [\"tcp\", \"udp\"]"), &["`protocol` is a list here"]);
    refused(&set("gateway = \"any\""), &["`any` is no address"]);
    refused(&set("esp = [\"aes128gcm16-ecp256\", \"aes128gcm16\"]"), &["different groups"]);
    refused(
        "[[port]]\ninterface = \"eth0\"\nside = \"outside\"\n[[policy]]\nname = \"nothing\"\n",
        &["gives nothing"],
    );
}

#[test] // NT-36
fn parents_of_sets_exist_and_form_no_loop() {
    let sets = |more: &str| format!("{SERVER}{more}");
    let set = |name: &str, parent: &str| {
        format!("[[policy.set]]\nname = \"{name}\"\nsource = \"10.3.0.0/16\"\nparent = \"{parent}\"\n")
    };
    refused(&sets(&set("inner", "office")), &["`office` is no set of this policy; did you mean `offices`?"]);
    refused(&sets(&set("offices", "offices")), &["a second set named `offices`"]);
    refused(&sets(&(set("a", "b") + &set("b", "a"))), &["`a` is below itself", "`b` is below itself"]);
    refused(&sets(&set("a", "a")), &["`a` is below itself"]);
    assert!(parse(&sets(&set("inner", "offices")), "f", &secrets).is_ok());
    let deep: String = (1..9)
        .map(|n| set(&format!("s{n}"), &if n == 1 { "offices".into() } else { format!("s{}", n - 1) }))
        .collect();
    refused(&sets(&deep), &["`s8` is 9 levels deep", "at most 8 levels"]);
}

#[test] // DC-25
fn a_ceiling_is_judged_like_the_rest() {
    let ceiling = |more: &str| format!("{CLIENT}[peer.ceiling]\n{more}\n");
    refused(&ceiling("remot = \"any\""), &["unknown key `remot` in [peer.ceiling]; did you mean `remote`?"]);
    refused(&ceiling("weakest = \"null\""), &["`null`"]);
    refused(&ceiling("sets = 257"), &["257 is out of range", "1 to 256"]);
    refused(&ceiling("remote = []"), &["`remote` is empty"]);
    refused(&format!("{CLIENT}ceiling = 7\n"), &["`ceiling` is not a table here"]);
    assert!(parse(&ceiling("remote = \"any\"\nweakest = \"aes128-sha1\""), "f", &secrets).is_ok());
}

#[test]
fn names_and_texts_of_a_policy_are_bounded() {
    let policy = |more: &str| served("pool = \"four\"", &format!("pool = \"four\"\n{more}"));
    refused(&policy("dns = [\"any\"]"), &["`any` is no address"]);
    refused(&policy("domain = \"a b\""), &["`a b` is no domain"]);
    refused(&policy("banner = \"\\u001b[31m\""), &["control characters"]);
    refused(&policy(&format!("banner = \"{}\"", "x".repeat(2000))), &["2000 octets"]);
    refused(
        &policy(&format!("dns = [{}]", "\"10.0.0.1\",".repeat(9))),
        &["9 entries are too many for `dns`"],
    );
}

#[test] // F-17
fn pairs_side_by_side_are_so_many_as_there_may_be_workers_and_only_where_they_can_be() {
    let tunnel = |more: &str| altered("name = \"net\"", &format!("name = \"net\"\n{more}"), "");
    let parallel = |text: &str| parse(text, "gw.toml", &secrets).unwrap().tunnels[0].parallel.get();
    assert_eq!(
        (parallel(BASE), parallel(&tunnel("parallel = 64")), parallel(&tunnel("parallel = 1"))),
        (1, 64, 1)
    );
    refused(&tunnel("parallel = 0"), &["0 is out of range for `parallel`", "a whole number from 1 to 64"]);
    refused(&tunnel("parallel = 65"), &["65 is out of range for `parallel`"]);
    refused(&tunnel("parallel = \"4\""), &["`parallel` is text here"]);
    refused(&tunnel("paralel = 4"), &["did you mean `parallel`?"]);
    let protect = "action = \"protect\"\npeer = \"gw2\"\nparallel = 2\n";
    refused(
        &altered("[[transport]]", &format!("[[transport]]\nname = \"end\"\n{protect}\n[[transport]]"), ""),
        &["transport mode has one pair of SAs", "a `[[tunnel]]` with `parallel`, or none"],
    );
}
