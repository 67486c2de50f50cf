//! What a right file becomes.

use std::fs;
use std::num::NonZeroU16;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use warren_config::{
    Authentication, Config, Dpd, IkeMode, LogLevel, NatTraversal, Poll, PortMode, Queues, Retransmit,
    SecretError, SecretFiles, SecretSource, Serves, Side, Start, Xauth, ZeroCopy, load, parse,
};
use warren_policy::{
    AddressRange, ClientSide, Identity, PeerId, PortRange, Protocol, RuleId, Secret, TransportAction,
};

fn key(_: &Path) -> Result<Secret, SecretError> {
    Ok(Secret::new(b"Zm9yIGRvY3VtZW50YXRpb24gb25seSwgbmV2ZXIgdXNl\n".to_vec()))
}

fn identity(identity: &Option<Identity>) -> String {
    identity.as_ref().map_or_else(|| "any".into(), ToString::to_string)
}

fn read(text: &str) -> Config {
    parse(text, "gw.toml", &key).unwrap_or_else(|errors| panic!("{errors}"))
}

const EVERYTHING: &str = r#"
[gateway]
control_socket = "/run/w.sock"
workers = 4
poll = "busy"
aead = "ring"
tun = "w0"
mss_clamp = false
stage_sampling = 256
log = "debug"

[[port]]
name = "lan"
interface = "eth1"
side = "inside"
queues = 4
mode = "native"
zero_copy = "on"

[[port]]
interface = "eth0"
side = "outside"
queues = "all"

[[peer]]
name = "gw2"
ike = "v1-main"
local = "192.0.2.1"
address = "198.51.100.2"
local_identity = "left.test"
identity = "keyid:0102"
secret = "gw2.psk"
proposals = ["aes256-sha512-ecp521", "aes128-sha256-modp2048"]
lifetime = "4h"
dpd_delay = "10s"
dpd_timeout = "45s"
nat_traversal = "force"
retransmit_first = "500ms"
retransmit_tries = 3

[[transport]]
name = "dns"
source = "10.1.0.0/16"
destination = "10.2.0.53"
protocol = ["tcp", "udp"]
destination_port = 53
action = "bypass"

[[transport]]
name = "all"
source = "10.1.0.0/16"
destination = "any"
action = "permit"

[[tunnel]]
name = "net"
source = ["10.1.0.0/16", "2001:db8:1::/48"]
destination = ["10.2.0.0/16", "10.3.0.1-10.3.0.9", "2001:db8:2::/48"]
peer = "gw2"
esp = ["aes128-sha256"]
lifetime = "30m"
lifetime_volume = "50GiB"
window = 1024
start = "immediately"
parallel = 4

[[tunnel]]
name = "network"
source = "10.1.0.0/16"
destination = "10.4.0.0/16"
peer = "gw2"
"#;

#[test]
fn every_key_of_the_gateway_and_its_ports_arrives() {
    let config = read(EVERYTHING);
    let gateway = &config.gateway;
    assert_eq!(gateway.control_socket, Path::new("/run/w.sock"));
    assert_eq!((gateway.workers, gateway.poll, gateway.aead.as_deref()), (4, Poll::Busy, Some("ring")));
    assert_eq!((gateway.tun.as_str(), gateway.mss_clamp, gateway.log), ("w0", false, LogLevel::Debug));
    assert_eq!(gateway.stage_sampling, 256);
    let [lan, wan] = &config.ports[..] else { panic!("two ports") };
    assert_eq!((lan.name.as_str(), lan.interface.as_str(), lan.side), ("lan", "eth1", Side::Inside));
    assert_eq!(lan.queues, Queues::First(NonZeroU16::new(4).unwrap()));
    assert_eq!((lan.mode, lan.zero_copy), (PortMode::Native, ZeroCopy::On));
    assert_eq!((wan.name.as_str(), wan.queues, wan.mode), ("eth0", Queues::All, PortMode::Auto));
}

#[test]
fn every_key_of_a_peer_arrives() {
    let config = read(EVERYTHING);
    let peer = config.peer(PeerId(0)).unwrap();
    assert_eq!((peer.id, peer.name.as_str(), peer.mode), (PeerId(0), "gw2", IkeMode::Main));
    assert_eq!(
        (peer.local.to_string(), peer.address.unwrap().to_string()),
        ("192.0.2.1".into(), "198.51.100.2".into())
    );
    assert_eq!(
        (identity(&peer.local_identity), identity(&peer.identity)),
        ("left.test".into(), "keyid:0102".into())
    );
    assert_eq!(
        peer.authentication.secret().unwrap().expose(),
        b"Zm9yIGRvY3VtZW50YXRpb24gb25seSwgbmV2ZXIgdXNl"
    );
    assert_eq!(peer.proposals.len(), 2);
    assert_eq!(peer.lifetime_s, 4 * 3600);
    let dpd = Dpd { delay: Duration::from_secs(10), timeout: Duration::from_secs(45) };
    assert_eq!((peer.dpd, peer.nat_traversal), (Some(dpd), NatTraversal::Force));
    assert_eq!(peer.retransmit, Retransmit { first: Duration::from_millis(500), tries: 3 });
}

#[test] // NT-3
fn lists_become_one_rule_for_each_combination_of_one_family() {
    let config = read(EVERYTHING);
    let tunnels: Vec<_> =
        config.rules.tunnel.iter().map(|rule| format!("{} {}", rule.name, rule.selector)).collect();
    assert_eq!(
        tunnels,
        [
            "net#1 10.1.0.0/16 -> 10.2.0.0/16",
            "net#2 10.1.0.0/16 -> 10.3.0.1-10.3.0.9",
            "net#3 2001:db8:1::/48 -> 2001:db8:2::/48",
            "network 10.1.0.0/16 -> 10.4.0.0/16",
        ]
    );
    let transports: Vec<_> =
        config.rules.transport.iter().map(|rule| format!("{} {}", rule.name, rule.selector)).collect();
    assert_eq!(
        transports,
        [
            "dns#1 10.1.0.0/16 -> 10.2.0.53/32 tcp port any -> 53",
            "dns#2 10.1.0.0/16 -> 10.2.0.53/32 udp port any -> 53",
            "all 10.1.0.0/16 -> 0.0.0.0/0",
        ]
    );
    assert_eq!(config.rules.transport[0].action, TransportAction::Bypass);
    assert!(config.rules.tunnel.iter().all(|rule| rule.gateway.to_string() == "198.51.100.2"));
}

#[test]
fn each_tunnel_rule_has_its_policy_under_its_number() {
    let config = read(EVERYTHING);
    assert!(config.tunnels.iter().enumerate().all(|(at, tunnel)| tunnel.rule == RuleId(at as u32)));
    let first = &config.tunnels[0];
    assert_eq!(first.esp.iter().map(ToString::to_string).collect::<Vec<_>>(), ["aes128-sha256"]);
    assert_eq!((first.lifetime.seconds, first.lifetime.kilobytes), (1800, Some(50 << 20)));
    assert_eq!((first.window_packets, first.start), (1024, Start::Immediately));
    let last = &config.tunnels[3];
    assert_eq!((first.parallel.get(), last.parallel.get()), (4, 1));
    assert_eq!((last.lifetime.seconds, last.lifetime.kilobytes), (3600, None));
    assert_eq!((last.window_packets, last.start), (4096, Start::OnTraffic));
    let esp: Vec<_> = last.esp.iter().map(ToString::to_string).collect();
    assert_eq!(esp, ["aes256gcm16-esn", "aes256gcm16", "aes128gcm16-esn", "aes128gcm16"]);
}

#[test]
fn a_name_means_its_rule_or_all_parts_of_it() {
    let config = read(EVERYTHING);
    assert_eq!(config.tunnels_named("net"), [RuleId(0), RuleId(1), RuleId(2)]);
    assert_eq!(config.tunnels_named("net#2"), [RuleId(1)]);
    assert_eq!(config.tunnels_named("network"), [RuleId(3)]);
    assert!(config.tunnels_named("ne").is_empty());
}

#[test]
fn the_defaults_are_those_of_the_reference() {
    let config = read(
        "port = [{ interface = \"eth0\", side = \"outside\" }]\n[[peer]]\nname = \"a\"\nike = \"v1-main\"\n\
         local = \"2001:db8::1\"\naddress = \"2001:db8::2\"\nsecret = \"x\"\n",
    );
    assert_eq!(config.gateway, warren_config::Gateway::default());
    assert_eq!(config.gateway.control_socket, Path::new("/run/warren/warrend.sock"));
    assert_eq!((config.gateway.tun.as_str(), config.gateway.workers), ("warren0", 1));
    let peer = &config.peers[0];
    assert_eq!(
        (identity(&peer.local_identity), identity(&peer.identity)),
        ("2001:db8::1".into(), "2001:db8::2".into())
    );
    assert_eq!(peer.lifetime_s, 8 * 3600);
    assert_eq!(peer.dpd, Some(Dpd { delay: Duration::from_secs(30), timeout: Duration::from_secs(120) }));
    assert_eq!(peer.retransmit, Retransmit { first: Duration::from_secs(1), tries: 5 });
    assert_eq!(peer.proposals[0].to_string(), "aes256-sha384-ecp384");
}

#[test]
fn the_documented_examples_are_right_and_mirror_each_other() {
    let example = |name: &str| {
        let path = format!("{}/../../docs/examples/site-to-site/{name}", env!("CARGO_MANIFEST_DIR"));
        let config = parse(&fs::read_to_string(path).unwrap(), name, &key).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(config.warnings.len(), 1, "only IKEv1's: {:?}", config.warnings);
        config
    };
    let (one, two) = (example("gw1.toml"), example("gw2.toml"));
    assert_eq!(Some(one.peers[0].local), two.peers[0].address);
    assert_eq!(one.peers[0].local_identity, two.peers[0].identity);
    assert_eq!(one.peers[0].proposals, two.peers[0].proposals);
    for (left, right) in one.rules.tunnel.iter().zip(&two.rules.tunnel) {
        assert_eq!(left.selector, right.selector.mirrored());
    }
    assert_eq!(one.tunnels[0].esp, two.tunnels[0].esp);
}

/// A source that hands out certificates where they are asked for.
struct Files;

impl SecretSource for Files {
    fn secret(&self, name: &Path) -> Result<Secret, SecretError> {
        key(name)
    }

    fn private_key(&self, _: &Path) -> Result<Secret, SecretError> {
        Ok(Secret::new(pem("PRIVATE KEY", 3).into_bytes()))
    }

    fn certificate(&self, name: &Path) -> Result<Vec<u8>, SecretError> {
        match name.to_str() {
            Some("empty.pem") => Ok(b"nothing of the kind\n".to_vec()),
            Some("broken.pem") => {
                Ok(b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n".to_vec())
            }
            _ => Ok((pem("CERTIFICATE", 1) + &pem("CERTIFICATE", 2)).into_bytes()),
        }
    }
}

/// Three octets of `what` as PEM.
fn pem(what: &str, octet: u8) -> String {
    let body = match octet {
        1 => "AQEB",
        2 => "AgIC",
        _ => "AwMD",
    };
    format!("-----BEGIN {what}-----\n{body}\n-----END {what}-----\n")
}

fn read_with_files(text: &str) -> Config {
    parse(text, "gw.toml", &Files).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test] // DC-15, DC-16
fn two_lines_are_a_whole_file() {
    let config = read("peer = \"198.51.100.2\"\nsecret = \"gw.psk\"\n");
    assert!(config.ports.is_empty() && config.automatic_ports);
    let [peer] = &config.peers[..] else { panic!("one peer") };
    assert_eq!((peer.name.as_str(), peer.mode), ("server", IkeMode::Main));
    assert!(peer.is_local_open() && peer.local.is_ipv4() && peer.local_identity.is_none());
    assert_eq!(peer.address.unwrap().to_string(), "198.51.100.2");
    assert_eq!(identity(&peer.identity), "198.51.100.2");
    let receives = peer.receives.as_ref().unwrap();
    assert!(!receives.is_pushed && receives.remote_networks.is_empty());
    let ceiling = &receives.ceiling;
    let remote: Vec<_> = ceiling.remote.iter().map(ToString::to_string).collect();
    assert_eq!(remote, ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"]);
    assert!(ceiling.local.is_empty() && !ceiling.is_remote_named);
    assert_eq!((ceiling.weakest.to_string().as_str(), ceiling.sas_max), ("aes128-sha256", 16));
    assert_eq!(config.warnings.len(), 1, "IKEv1 is deprecated, nothing else: {:?}", config.warnings);
    let six = read("peer = \"2001:db8::2\"\nsecret = \"gw.psk\"\n[gateway]\nstate = \"/tmp/w\"\n");
    assert!(six.peers[0].local.is_ipv6() && six.gateway.state == Path::new("/tmp/w"));
}

const SERVER: &str = r#"
[[port]]
interface = "eth0"
side = "outside"

[[peer]]
name = "any"
ike = "v1-base"
address = "any"
identity = "any"
local_identity = "gw.test"
secret = "x"
group_secret = true
xauth = "server"
serves = "visitors"
push = true
fragmentation = false

[[user]]
name = "alice@left.test"
password = "alice.password"

[[pool]]
name = "four"
addresses = "10.99.0.0/24"

[[pool.static]]
identity = "alice@left.test"
address = "10.98.0.7"

[[pool]]
name = "six"
addresses = "2001:db8:99::/64"

[[policy]]
name = "visitors"
pool = ["four", "six"]
dns = ["10.2.0.53", "2001:db8::53"]
domain = "left.test"
split_dns = ["left.test", "right.test"]
banner = "Hello."

[[policy.set]]
name = "all"
source = "any"

[[policy.set]]
name = "web"
source = ["10.2.0.0/16", "10.3.0.0/16"]
destination = ["10.7.0.0/16"]
protocol = "tcp"
source_port = 443
esp = ["aes128gcm16-ecp256"]
lifetime = "30m"
lifetime_volume = "1GiB"
window = 128
parent = "all"
gateway = "203.0.113.9"
"#;

#[test] // DC-2, DC-10, DC-11
fn every_key_of_what_is_served_arrives() {
    let config = read(SERVER);
    let [peer] = &config.peers[..] else { panic!("one peer") };
    assert!(peer.is_template() && peer.local.is_unspecified() && peer.mode == IkeMode::Base);
    assert_eq!((peer.serves, peer.fragmentation), (Some(Serves { policy: 0, pushes: true }), false));
    assert!(matches!(peer.xauth, Xauth::Server));
    assert_eq!(config.users[0].name, "alice@left.test");
    let [four, six] = &config.pools[..] else { panic!("two pools") };
    assert_eq!(four.addresses.to_string(), "10.99.0.0/24");
    assert_eq!(four.statics, [("alice@left.test".parse().unwrap(), "10.98.0.7".parse().unwrap())]);
    assert_eq!(six.addresses.to_string(), "2001:db8:99::/112", "the first 65536 are leased");
    let [policy] = &config.policies[..] else { panic!("one policy") };
    assert_eq!((policy.pools.as_slice(), policy.dns.len()), ([0, 1].as_slice(), 2));
    assert_eq!((policy.domain.as_deref(), policy.banner.as_deref()), (Some("left.test"), Some("Hello.")));
    assert_eq!(policy.split_dns, ["left.test", "right.test"]);
    let [all, web] = &policy.sets[..] else { panic!("two sets") };
    let sources: Vec<_> = all.source.iter().map(ToString::to_string).collect();
    assert_eq!(
        (sources.as_slice(), &all.destination),
        (["0.0.0.0/0", "::/0"].map(String::from).as_slice(), &ClientSide::Lease)
    );
    assert_eq!((all.lifetime.seconds, all.window_packets, all.parent), (3600, 4096, None));
    assert_eq!(
        web.destination,
        ClientSide::Networks(vec![AddressRange::from_prefix("10.7.0.0".parse().unwrap(), 16).unwrap()])
    );
    assert_eq!((web.protocol, web.source_port), (Protocol::Is(6), PortRange::new(443, 443).unwrap()));
    assert_eq!((web.destination_port, web.window_packets), (PortRange::ANY, 128));
    assert_eq!((web.lifetime.seconds, web.lifetime.kilobytes), (1800, Some(1 << 20)));
    assert_eq!(web.proposals[0].to_string(), "aes128gcm16-ecp256");
    assert_eq!((web.parent, web.gateway), (Some(0), Some("203.0.113.9".parse().unwrap())));
}

#[test] // DC-25
fn every_key_of_a_client_arrives() {
    let config = read(
        "[[peer]]\nname = \"hub\"\nike = \"v1-aggressive\"\naddress = \"198.51.100.2\"\nidentity = \"hub.test\"\n\
         local_identity = \"me.test\"\nsecret = \"x\"\ngroup_secret = true\nxauth = \"client\"\nxauth_user = \"alice\"\n\
         xauth_password = \"alice.password\"\nreceives = \"push\"\nremote_networks = [\"10.2.0.0/16\", \"fd00::/8\"]\n\
         [peer.ceiling]\nremote = [\"10.2.0.0/15\", \"192.0.2.0/24\"]\nlocal = \"10.7.0.0/16\"\nweakest = \"aes256gcm16\"\n\
         sets = 256\n",
    );
    assert!(config.automatic_ports, "whoever receives policy may leave the ports out");
    let peer = &config.peers[0];
    assert!(matches!(&peer.xauth, Xauth::Client { user, .. } if user == "alice"));
    let receives = peer.receives.as_ref().unwrap();
    assert!(receives.is_pushed && receives.remote_networks.len() == 2);
    let ceiling = &receives.ceiling;
    assert!(ceiling.is_remote_named && ceiling.remote.len() == 2 && ceiling.sas_max == 256);
    assert_eq!(
        (ceiling.local[0].to_string(), ceiling.weakest.to_string()),
        ("10.7.0.0/16".into(), "aes256gcm16".into())
    );
    let offered: Vec<_> = receives.proposals.iter().map(ToString::to_string).collect();
    assert_eq!(offered, ["aes256gcm16-esn", "aes256gcm16"], "nothing below the ceiling is offered");
}

#[test]
fn certificates_are_read_from_their_files() {
    let text = "[[port]]\ninterface = \"eth0\"\nside = \"outside\"\n[[peer]]\nname = \"a\"\nike = \"v1-main\"\n\
                local = \"192.0.2.1\"\naddress = \"198.51.100.2\"\nauthentication = \"certificate\"\n\
                certificate = \"gw.pem\"\nprivate_key = \"gw.key\"\nauthority = \"ca.pem\"\n";
    let config = read_with_files(text);
    let Authentication::Certificate(files) = &config.peers[0].authentication else { panic!("certificates") };
    assert_eq!(files.chain, [vec![1, 1, 1], vec![2, 2, 2]]);
    assert_eq!((files.key.expose(), files.authorities.len()), (&[3, 3, 3][..], 2));
    for (name, why) in [("empty.pem", "0 certificates"), ("broken.pem", "no PEM file")] {
        let refused = parse(&text.replace("ca.pem", name), "f", &Files).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
}

#[test] // F-33
fn a_private_key_is_kept_like_a_secret_and_a_certificate_is_for_all_to_read() {
    let directory = tempfile::tempdir().unwrap();
    let files = SecretFiles::beside(directory.path());
    let write = |name: &str, octets: &[u8], mode| {
        let path = directory.path().join(name);
        fs::write(&path, octets).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let long = [b'k'; 6000];
    write("gw.key", &long, 0o600);
    write("open.key", &long, 0o640);
    write("gw.pem", &long, 0o644);
    write("others.pem", &long, 0o666);
    let said = |result: Result<usize, SecretError>| result.err().unwrap().to_string();
    let key = |name: &str| files.private_key(Path::new(name)).map(|key| key.expose().len());
    let certificate = |name: &str| files.certificate(Path::new(name)).map(|octets| octets.len());
    assert_eq!((key("gw.key"), certificate("gw.pem")), (Ok(6000), Ok(6000)));
    assert!(said(key("open.key")).contains("chmod 600"));
    assert!(said(certificate("others.pem")).contains("written by others"));
    assert!(said(certificate(".")).contains("regular file"));
    assert_eq!(certificate("nothing"), Err(SecretError::Missing));
}

#[test]
fn the_example_of_config_mode_is_right() {
    let example = |name: &str| {
        let path = format!("{}/../../docs/examples/config-mode/{name}", env!("CARGO_MANIFEST_DIR"));
        read_with_files(&fs::read_to_string(path).unwrap())
    };
    let (client, gateway) = (example("client.toml"), example("gateway.toml"));
    assert_eq!(client.warnings.len(), 1, "only IKEv1's: {:?}", client.warnings);
    assert_eq!(gateway.warnings.len(), 2, "only IKEv1's: {:?}", gateway.warnings);
    assert_eq!(client.peers[0].address, Some(gateway.peers[0].local));
    assert_eq!(client.peers[0].identity, gateway.peers[0].local_identity);
    let ceiling = &client.peers[0].receives.as_ref().unwrap().ceiling;
    let mut sources = gateway.policies[0].sets.iter().flat_map(|set| &set.source);
    let allowed = |range: &AddressRange| ceiling.remote.iter().any(|remote| remote.contains_range(range));
    assert!(sources.all(allowed), "the default ceiling allows all of it");
    assert!(gateway.peers[1].is_template() && gateway.pools.len() == 2);
}

#[test]
fn the_tables_of_the_reference_are_all_accepted() {
    let path = format!("{}/../../docs/configuration.md", env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(path).unwrap();
    let blocks = text.split("```toml\n").skip(1).map(|block| block.split("```").next().unwrap());
    let whole: Vec<&str> = blocks.filter(|block| block.contains("[[port]]")).collect();
    assert!(!whole.is_empty());
    whole.into_iter().for_each(|block| drop(read(block)));
}

/// What the code knows is what an unknown key's diagnostic lists; what the reference knows are its tables' first cells.
#[test]
fn the_reference_has_a_row_for_every_key_and_no_other() {
    let reference =
        fs::read_to_string(format!("{}/../../docs/configuration.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    for (table, title) in [
        ("[gateway]", "[gateway]"),
        ("[ted]", "[ted]"),
        ("[stack]", "[stack]"),
        ("[[port]]", "[[port]]"),
        ("[[peer]]", "[[peer]]"),
        ("[[peer]]\naddress = \"discover\"\n[[peer.authorised]]", "[[peer.authorised]]"),
        ("[[peer]]\nreceives = \"pull\"\n[peer.ceiling]", "[peer.ceiling]"),
        ("[[policy]]", "[[policy]]"),
        ("[[policy.set]]", "[[policy.set]]"),
        ("[[pool]]", "[[pool]]"),
        ("[[pool.static]]", "[[pool.static]]"),
        ("[[user]]", "[[user]]"),
        ("[[transport]]\naction = \"protect\"", "[[transport]]"),
        ("[[tunnel]]", "[[tunnel]]"),
    ] {
        let errors = parse(&format!("{table}\nzzzzzzzz = 1\n"), "f", &key).unwrap_err();
        let unknown = errors.0.iter().find(|error| error.message.contains("zzzzzzzz")).unwrap();
        let accepted = unknown.accepted.as_deref().unwrap();
        let mut known: Vec<&str> = accepted.split('`').skip(1).step_by(2).collect();
        let section =
            reference.split(&format!("## `{title}`")).nth(1).unwrap().split("\n## ").next().unwrap();
        let first_cells = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let mut documented: Vec<&str> = first_cells.collect();
        if title == "[[tunnel]]" {
            documented.extend([
                "name",
                "source",
                "destination",
                "protocol",
                "source_port",
                "destination_port",
            ]);
        }
        known.sort_unstable();
        documented.sort_unstable();
        assert_eq!(known, documented, "{title}");
    }
}

#[test]
fn key_files_are_looked_up_beside_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let path = write("gw.toml", EVERYTHING);
    let missing = load(&path).unwrap_err();
    assert!(missing.to_string().contains("names no file"), "{missing}");
    let key = write("gw2.psk", "Zm9yIGRvY3VtZW50YXRpb24gb25seSwgbmV2ZXIgdXNl\n");
    assert_eq!(load(&path).unwrap().peers[0].authentication.secret().unwrap().expose().len(), 44);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    assert!(load(&path).unwrap().warnings[0].message.contains("others may change"));
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let open = load(&path).unwrap_err().to_string();
    assert!(open.contains("0644") && open.contains("chmod 600"), "{open}");
}

#[test]
fn a_file_that_is_not_there_or_not_text_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(load(&directory.path().join("no.toml")).unwrap_err().to_string().contains("cannot be read"));
    let path = directory.path().join("gw.toml");
    fs::write(&path, b"# one\n# \xff\n").unwrap();
    assert!(load(&path).unwrap_err().to_string().contains("line 2"));
}

/// A search of every rule in every other would take minutes.
#[test]
fn as_many_rules_as_allowed_are_read_in_seconds() {
    use std::fmt::Write;
    let mut text = String::from("[[port]]\ninterface = \"eth0\"\nside = \"outside\"\n");
    for peer in 1..=200 {
        write!(text, "[[peer]]\nname = \"p{peer}\"\nike = \"v1-main\"\nlocal = \"192.0.2.1\"\n").unwrap();
        writeln!(text, "address = \"198.51.100.{peer}\"\nsecret = \"k\"").unwrap();
    }
    for rule in 0..100_000_u32 {
        let [_, a, b, c] = rule.to_be_bytes();
        let peer = rule % 200 + 1;
        write!(text, "[[tunnel]]\nname = \"t{rule}\"\nsource = \"10.{a}.{b}.{c}\"\n").unwrap();
        writeln!(text, "destination = \"0.0.0.0/0\"\npeer = \"p{peer}\"").unwrap();
    }
    assert_eq!(read(&text).rules.tunnel.len(), 100_000);
}
