//! Writes the seeds of every target, most from the recorded messages under `tests/vectors`: run it after those
//! change.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use warren_api::explain::{Explanation, Matching};
use warren_api::{
    Answer, Command, DropCount, Outcome, Port, Refusal, RefusalWord, Request, Response, Stack, StackFailure,
    StackState, Stats, TedPacket, VersionInfo, Worker, encode_request, encode_response,
};
use warren_ike::wire::{Body, Delete, Header, Notify, NotifyType, PayloadType, Sa};
use warren_port::{CaptureWriter, Link};

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
                PayloadType::ATTRIBUTES => self.add("ike_config", payload.body),
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

/// Configuration that no transcript holds: what we say to each other, taken and refused, and extended
/// authentication.
fn add_policies(seeds: &mut Seeds) {
    let selector = |class: &str, network: &str| format!("{class}000e04000000ffff{network}");
    let (local, remote) = (selector("0003", "0a03000a0a03000a"), selector("0004", "0a0200000a0200ff"));
    let set = format!(
        "80010007000200036e6574{local}{remote}8005000380060001000700060014008000000007000600\
         0c010000058008001380090e10800a0400000b0004c0000201800c0001"
    );
    let octets = |text: &str| hex::decode(text).expect("written above");
    let framed = |set: &str| format!("6001{:04x}{set}", set.len() / 2);
    for text in [
        "01000001e000000100010000000200000003000000070000000800000000000a0000000d0000000f0000".to_owned(),
        format!("02000001e0000001{}", framed(&set)),
        format!("03000001e0000001{}{}", framed(&set), framed(&format!("{set}800f0001"))),
        format!("04000001{}{}", framed("80010007"), framed("80010008000d00026e6f")),
        "0200000160020004706f6f6c".to_owned(),
        "0200000070000002686970020006612e7465737470030007612e622c632e64".to_owned(),
        "020000007004001c0a5c0000ffffff000006000001bb0a5d0000ffffff00001100000035".to_owned(),
        "02000000000800112001_0db8000000000000000000000007_40000e000400017004".replace('_', ""),
        "01000000c08800004089000040 8a0000".replace(' ', ""),
        "02000000408900056_16c696365408a000a776f6e6465726c616e64".replace('_', ""),
        "03000000c08f0001".to_owned(),
    ] {
        seeds.add("ike_config", &octets(&text));
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

/// The examples of the documentation, and a file with every key.
fn add_configurations(seeds: &mut Seeds) {
    seeds.add("config_file", include_bytes!("everything.toml"));
    seeds.add("config_file", include_bytes!("../../../docs/examples/site-to-site/gw1.toml"));
    seeds.add("config_file", include_bytes!("../../../docs/examples/site-to-site/gw2.toml"));
    seeds.add("config_file", include_bytes!("../../../docs/examples/config-mode/client.toml"));
    seeds.add("config_file", include_bytes!("../../../docs/examples/config-mode/gateway.toml"));
    seeds.add("config_file", include_bytes!("../../../docs/examples/discovery.toml"));
    seeds.add("config_file", include_bytes!("../../../docs/examples/nested/gateway.toml"));
}

/// The packets inside the generated ESP, and the trailers behind them: the first of each kind that was generated.
fn add_packets(seeds: &mut Seeds) -> std::io::Result<()> {
    for file in ["esp/generated.jsonl", "esp/generated_bad_trailer.jsonl"] {
        let text = std::fs::read_to_string(golden::vectors().join(file))?;
        for row in text.lines().take(60) {
            let row: serde_json::Value = serde_json::from_str(row)?;
            let Some(payload) = row["payload"].as_str().and_then(|text| hex::decode(text).ok()) else {
                continue;
            };
            let pad = row["pad_len"].as_u64().unwrap_or(0) as u8;
            let next_header = row["next_header"].as_u64().unwrap_or(4) as u8;
            let padding: Vec<u8> = (1..=pad).collect();
            seeds.add("esp_trailer", &[&payload[..], &padding, &[pad, next_header]].concat());
            seeds.add("ip_packet", &payload);
        }
    }
    for path in golden::files("captures", "pcap").into_iter().take(2) {
        for packet in pcap::packets(&std::fs::read(path)?) {
            seeds.add("ip_packet", &packet);
        }
    }
    Ok(())
}

fn add_lines(seeds: &mut Seeds) {
    let name = || "net#1".to_owned();
    let packet = TedPacket {
        source: [10, 1, 0, 5].into(),
        destination: [10, 2, 0, 7].into(),
        protocol: 6,
        source_port: None,
        destination_port: Some(443),
    };
    for command in [
        Command::Version,
        Command::Stats,
        Command::Stages,
        Command::TunnelUp { name: name() },
        Command::TunnelDown { name: name() },
        Command::Drops,
        Command::StackList,
        Command::StackAbort { name: name() },
        Command::Explain { packet, rematch: Some(Matching::Wire), mtu: Some(1400) },
    ] {
        seeds.add("api_request", &encode_request(&Request::new(command)));
    }
    let explanation = Explanation {
        circles: vec![vec!["to-sg1".to_owned()]],
        inner_mtu: Some(1446),
        next: Some("dropped".to_owned()),
        ..Explanation::default()
    };
    let stats = Stats {
        ports: vec![Port::default()],
        workers: vec![Worker::default()],
        tallies: [("replayed".to_owned(), 7)].into(),
        ..Stats::default()
    };
    let stack = Stack {
        rule: "sites".to_owned(),
        traffic: "any".to_owned(),
        state: StackState::HeldDown,
        since_s: 4,
        rests_s: Some(26),
        pending: Vec::new(),
        completed: Vec::new(),
        failed: Some(StackFailure { rule: "to-sg3".to_owned(), why: None }),
    };
    let drop = DropCount { reason: "replayed".to_owned(), explanation: "Seen before.".to_owned(), count: 1 };
    for outcome in [
        Outcome::Answer(Answer::Version(VersionInfo::default())),
        Outcome::Answer(Answer::Stats(Box::new(stats))),
        Outcome::Answer(Answer::Drops(vec![drop])),
        Outcome::Answer(Answer::Stacks(vec![stack])),
        Outcome::Answer(Answer::Explained(Box::new(explanation))),
        Outcome::Answer(Answer::Done),
        Outcome::Refusal(Refusal::new(RefusalWord::UnknownTunnel, "no tunnel is called `x`")),
    ] {
        seeds.add("api_response", &encode_response(&Response::new(outcome)));
    }
}

/// Both link types, and what a cut file looks like.
fn add_captures(seeds: &mut Seeds) {
    for link in [Link::Ethernet, Link::Ip] {
        let mut file = Vec::new();
        let mut writer = CaptureWriter::new(&mut file, link).expect("memory takes everything");
        for packet in [&b"a packet"[..], b"", &[0x45; 60]] {
            writer.packet(7, packet).expect("memory takes everything");
        }
        seeds.add("capture_file", &file);
        seeds.add("capture_file", &file[..file.len() - 1]);
        seeds.add("capture_file", &file[..24]);
    }
}

/// What decrypted texts look like, by every way into a gateway.
fn add_gateway(seeds: &mut Seeds) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/esp/generated.jsonl");
    let rows = std::fs::read_to_string(path).expect("the vectors are part of the repository");
    for line in rows.lines().step_by(32) {
        let row: serde_json::Value = serde_json::from_str(line).expect("a row is JSON");
        let mut text =
            hex::decode(row["payload"].as_str().unwrap_or_default()).expect("a payload is hexadecimal");
        text.truncate(200);
        text.extend([0, row["next_header"].as_u64().unwrap_or(4) as u8]);
        for way in 0..5u8 {
            seeds.add("gateway", &[&[way], text.as_slice()].concat());
        }
    }
}

fn main() -> std::io::Result<()> {
    let mut seeds = Seeds::default();
    add_gateway(&mut seeds);
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
    add_policies(&mut seeds);
    add_configurations(&mut seeds);
    add_lines(&mut seeds);
    add_packets(&mut seeds)?;
    add_captures(&mut seeds);
    let (messages, dialogues) = warren_fuzz::ike::ted_seeds();
    messages.iter().for_each(|octets| seeds.add("ted_probe_response", octets));
    dialogues.iter().for_each(|octets| seeds.add("ted_dialogue", octets));
    seeds.write(&Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds"))
}
