//! Writes the seeds of every target from the recorded messages under `tests/vectors`: run it after those change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use warren_api::{
    Answer, Command, DropCount, Refusal, RefusalWord, Request, Response, Rules, Stats, Worker,
    encode_request, encode_response,
};
use warren_ike::wire::{Body, Delete, Header, Notify, NotifyType, PayloadType, Sa};

#[path = "../../../control/ike/tests/common/golden.rs"]
mod golden;
#[path = "../../../control/ike/tests/common/pcap.rs"]
mod pcap;

/// For each target its inputs, each once.
#[derive(Default)]
struct Seeds(BTreeMap<&'static str, BTreeSet<Vec<u8>>>);

impl Seeds {
    fn add(&mut self, target: &'static str, octets: &[u8]) {
        self.0.entry(target).or_default().insert(octets.to_vec());
    }

    fn add_chain(&mut self, next: PayloadType, chain: &[u8]) {
        self.add("ike_payloads", &[&[next.0], chain].concat());
        let Ok(body) = Body::decode(next, chain) else { return };
        for payload in body.payloads() {
            match payload.kind {
                PayloadType::SA => self.add_sa(payload.body),
                PayloadType::IDENTIFICATION | PayloadType::NAT_OA => self.add("ike_id", payload.body),
                PayloadType::NOTIFY | PayloadType::DELETE => self.add("ike_notify_delete", payload.body),
                _ => {}
            }
        }
    }

    fn add_sa(&mut self, body: &[u8]) {
        self.add("ike_sa", body);
        let Ok(sa) = Sa::decode(body) else { return };
        for transform in sa.proposals.iter().flat_map(|proposal| &proposal.transforms) {
            let mut octets = Vec::new();
            transform.attributes.iter().for_each(|attribute| attribute.encode(&mut octets));
            self.add("ike_attributes", &octets);
        }
    }

    fn write(&self, folder: &Path) -> std::io::Result<()> {
        for (target, inputs) in &self.0 {
            let folder = folder.join(target);
            if folder.exists() {
                std::fs::remove_dir_all(&folder)?;
            }
            std::fs::create_dir_all(&folder)?;
            for (at, octets) in inputs.iter().enumerate() {
                std::fs::write(folder.join(format!("{at:03}")), octets)?;
            }
        }
        Ok(())
    }
}

/// Identifications that no capture holds: every type, with a length that fits and one that does not.
fn add_identifications(seeds: &mut Seeds) {
    for kind in 0..=12u8 {
        for octets in [0, 4, 8, 16, 32, 33] {
            let data = [0xff, 0xff, 0xff, 0x00].repeat(octets / 4 + 1);
            seeds.add("ike_id", &[&[kind, 17, 0x01, 0xf4], &data[..octets]].concat());
        }
    }
}

/// Notifications and Deletes that no transcript holds decrypted.
fn add_notifications(seeds: &mut Seeds) {
    let lifetime = [0x80, 1, 0, 1, 0, 2, 0, 4, 0, 0, 0x70, 0x80];
    let (i, r) = ([1; 8], [2; 8]);
    for notify in [
        Notify::isakmp(NotifyType::R_U_THERE, i, r, &[0, 0, 0, 9]),
        Notify::isakmp(NotifyType::R_U_THERE_ACK, i, r, &[0, 0, 0, 9]),
        Notify::isakmp(NotifyType::RESPONDER_LIFETIME, i, r, &lifetime),
        Notify::esp(NotifyType::RESPONDER_LIFETIME, 0xc0de_cafe, &lifetime),
        Notify::esp(NotifyType::NO_PROPOSAL_CHOSEN, 0xc0de_cafe, &[]),
    ] {
        seeds.add("ike_notify_delete", &notify.encode());
    }
    seeds.add("ike_notify_delete", &Delete::esp(&[1, 2, 3, 4]).encode());
    seeds.add("ike_notify_delete", &Delete::isakmp(i, r).encode());
    seeds.add("ike_attributes", &lifetime);
}

/// Whole configurations from the documentation, and one with every key.
fn add_configurations(seeds: &mut Seeds) -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    for example in ["gw1.toml", "gw2.toml"] {
        seeds.add("config_file", &std::fs::read(docs.join("examples/site-to-site").join(example))?);
    }
    let reference = std::fs::read_to_string(docs.join("configuration.md"))?;
    for block in reference.split("```toml\n").skip(1) {
        seeds.add("config_file", block.split("```").next().unwrap_or("").as_bytes());
    }
    seeds.add("config_file", EVERY_KEY.as_bytes());
    Ok(())
}

const EVERY_KEY: &str = r#"
[gateway]
control_socket = "/run/w.sock"
workers = 4
poll = "busy"
aead = "ring"
tun = "w0"
mss_clamp = false
log = "debug"
[[port]]
name = "lan"
interface = "eth1"
side = "inside"
queues = 4
mode = "native"
zero_copy = "on"
[[peer]]
name = "gw2"
ike = "v1-main"
local = "192.0.2.1"
address = "198.51.100.2"
local_identity = "left.test"
identity = "keyid:0102"
secret = "weak"
weak_secret = true
proposals = ["aes128-sha1-modp2048", "aes256-sha512-ecp521"]
proposal_order = "as-written"
lifetime = "4h"
dpd_delay = "10s"
dpd_timeout = "45s"
nat_traversal = "force"
retransmit_first = "500ms"
retransmit_tries = 3
[[transport]]
name = "dns"
source = "any"
destination = ["10.2.0.53", "2001:db8::/32", "10.3.0.1-10.3.0.9"]
protocol = ["tcp", 17]
source_port = "1024-65535"
destination_port = [53, "any"]
action = "bypass"
[[tunnel]]
name = "net"
source = "10.1.0.0/16"
destination = "0.0.0.0/0"
peer = "gw2"
esp = ["aes128-sha256-modp2048-esn"]
lifetime = "1h30m"
lifetime_volume = "50GiB"
window = 1024
start = "immediately"
"#;

/// Lines of the control protocol, and one of another version.
fn add_lines(seeds: &mut Seeds) {
    let name = || "net#1".to_owned();
    for command in [
        Command::Stats,
        Command::SaList,
        Command::TunnelList,
        Command::TunnelUp { name: name() },
        Command::TunnelDown { name: name() },
        Command::RuleList,
        Command::Drops,
        Command::Version,
    ] {
        seeds.add("api_request", &encode_request(&Request::new(command)));
    }
    let drop = DropCount { reason: "replayed".into(), explanation: "Seen before.".into(), count: 7 };
    for answer in [
        Ok(Answer::Stats(Box::new(Stats { workers: vec![Worker::default()], ..Stats::default() }))),
        Ok(Answer::Drops(vec![drop])),
        Ok(Answer::RuleList(Rules::default())),
        Ok(Answer::Done),
        Err(Refusal::new(RefusalWord::UnknownTunnel, "no tunnel rule is called `x`")),
    ] {
        seeds.add("api_request", &encode_response(&Response::from(answer)));
    }
    seeds.add("api_request", b"{\"version\":2,\"command\":\"explain\"}");
}

fn main() -> std::io::Result<()> {
    let mut seeds = Seeds::default();
    add_configurations(&mut seeds)?;
    add_lines(&mut seeds);
    let malformed = golden::files("malformed", "pcap");
    let broken = malformed.iter().flat_map(|path| golden::capture(path));
    let messages = golden::messages().into_iter().map(|(_, octets)| octets);
    for octets in messages.chain(broken.filter_map(|datagram| datagram.ike().map(<[u8]>::to_vec))) {
        let Ok((header, rest)) = Header::decode(&octets) else {
            seeds.add("ike_message", &octets);
            continue;
        };
        if !header.is_encrypted() {
            seeds.add("ike_message", &octets);
            seeds.add_chain(header.next_payload, rest);
        }
    }
    for (_, first, plaintext, _) in golden::plaintexts() {
        seeds.add_chain(PayloadType(first), &plaintext);
    }
    add_identifications(&mut seeds);
    add_notifications(&mut seeds);
    seeds.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"))
}
