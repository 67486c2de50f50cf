//! Whole ESP packets made by others: published ones, and random ones with every kind of damage.
#![allow(clippy::unwrap_used, reason = "what panics in a helper fails the test that called it")]

use serde_json::Value;
use warren_aead::{
    Backend, HEADER_OCTETS, Integrity, KeyLength, KeyMaterial, OpenJob, OpeningKey, SealJob, SealingKey,
    Transform, Verdict, open, seal,
};

const VECTORS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/esp/");

fn json_lines(file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{VECTORS}{file}")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn published() -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{VECTORS}esp_packets.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// One SA of a row, and the row's name.
struct Sa {
    name: String,
    transform: Transform,
    encryption: Vec<u8>,
    salt: [u8; 4],
    integrity: Vec<u8>,
    esn_high: Option<u32>,
}

fn octets(row: &Value, field: &str) -> Vec<u8> {
    hex::decode(row[field].as_str().unwrap_or("")).unwrap()
}

/// `None` for transforms that Warren does not have.
fn transform(row: &Value) -> Option<Transform> {
    let length = match octets(row, "enc_key").len() {
        16 => KeyLength::B128,
        24 => KeyLength::B192,
        _ => KeyLength::B256,
    };
    match (row["enc"].as_str()?, row["auth"].as_str()?) {
        ("aes-gcm-128" | "aes-gcm-192" | "aes-gcm-256", _) => Some(Transform::AesGcm16(length)),
        ("chacha20-poly1305", _) => Some(Transform::ChaCha20Poly1305),
        ("aes-cbc", "hmac-sha1-96") => Some(Transform::AesCbcHmac(length, Integrity::Sha1)),
        ("aes-cbc", "hmac-sha2-256-128") => Some(Transform::AesCbcHmac(length, Integrity::Sha256)),
        ("aes-cbc", "hmac-sha2-384-192") => Some(Transform::AesCbcHmac(length, Integrity::Sha384)),
        ("aes-cbc", "hmac-sha2-512-256") => Some(Transform::AesCbcHmac(length, Integrity::Sha512)),
        _ => None,
    }
}

impl Sa {
    fn new(row: &Value) -> Option<Self> {
        Some(Self {
            name: row["id"].as_str().unwrap_or("nested").to_owned(),
            transform: transform(row)?,
            encryption: octets(row, "enc_key"),
            salt: octets(row, "salt").try_into().unwrap_or_default(),
            integrity: octets(row, "auth_key"),
            esn_high: row["esn_hi"].as_u64().map(|high| u32::try_from(high).unwrap()),
        })
    }

    fn keys(&self) -> KeyMaterial<'_> {
        KeyMaterial { encryption: &self.encryption, salt: self.salt, integrity: &self.integrity }
    }

    fn backends(&self) -> impl Iterator<Item = Backend> {
        Backend::available().into_iter().filter(|backend| backend.supports(self.transform))
    }

    /// The text of an authentic packet, by every backend.
    fn open(&self, packet: &[u8]) -> Result<Vec<u8>, Verdict> {
        let mut found = Vec::new();
        for backend in self.backends() {
            let key = OpeningKey::new(backend, self.transform, self.keys()).unwrap();
            let mut packet = packet.to_vec();
            let mut jobs = [OpenJob::new(&key, self.esn_high, &mut packet)];
            open(&mut jobs);
            let verdict = jobs[0].verdict;
            let text = self.transform.text_range(packet.len()).map(|range| packet[range].to_vec());
            if verdict == Verdict::Forged {
                assert!(text.as_ref().unwrap().iter().all(|&octet| octet == 0), "{} {backend}", self.name);
            }
            found.push(if verdict == Verdict::Authentic { Ok(text.unwrap()) } else { Err(verdict) });
        }
        assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{}: backends disagree", self.name);
        found.swap_remove(0)
    }

    /// The packet that `text` becomes; only for an AEAD, whose IV the caller chooses.
    fn seal_like(&self, sealed: &[u8], text: &[u8]) {
        let iv = u64::from_be_bytes(sealed[HEADER_OCTETS..HEADER_OCTETS + 8].try_into().unwrap());
        for backend in self.backends() {
            let key = SealingKey::new(backend, self.transform, self.keys()).unwrap();
            let mut packet = vec![0; sealed.len()];
            packet[..HEADER_OCTETS].copy_from_slice(&sealed[..HEADER_OCTETS]);
            packet[self.transform.text_range(sealed.len()).unwrap()].copy_from_slice(text);
            seal(&mut [SealJob::new(&key, iv, self.esn_high, &mut packet)]);
            assert_eq!(packet, sealed, "{} {backend}", self.name);
        }
    }
}

fn is_aead(transform: Transform) -> bool {
    !matches!(transform, Transform::AesCbcHmac(..))
}

/// Payload, padding 1, 2, 3 …, its length, next header (RFC 4303 §2.4); traffic-flow padding before the first.
fn expected_text(row: &Value) -> Option<Vec<u8>> {
    let mut text = octets(row, "payload");
    text.resize(text.len() + usize::try_from(row["tfc_len"].as_u64()?).ok()?, 0);
    let padding = u8::try_from(row["pad_len"].as_u64()?).ok()?;
    text.extend(1..=padding);
    text.extend([padding, u8::try_from(row["next_header"].as_u64()?).ok()?]);
    Some(text)
}

#[test]
fn published_packets_open_to_the_published_text_and_seal_to_the_same_octets() {
    let mut done = 0;
    for row in published() {
        let Some(sa) = Sa::new(&row) else { continue };
        let sealed = octets(&row, "esp");
        let text = sa.open(&sealed).unwrap_or_else(|verdict| panic!("{}: {verdict:?}", sa.name));
        assert_eq!(text, octets(&row, "padded_plaintext"), "{}", sa.name);
        if is_aead(sa.transform) {
            sa.seal_like(&sealed, &text);
        }
        done += 1;
    }
    assert!(done >= 13, "{done} rows have a transform of ours");
}

#[test]
fn random_packets_open_and_damaged_ones_do_not() {
    let (mut accepted, mut dropped) = (0, 0);
    for row in json_lines("generated.jsonl") {
        let Some(sa) = Sa::new(&row) else { continue };
        let sealed = octets(&row, "esp");
        match (row["expect"].as_str().unwrap(), sa.open(&sealed)) {
            ("accept", Ok(text)) => {
                assert_eq!(Some(&text), expected_text(&row).as_ref(), "{}", sa.name);
                if is_aead(sa.transform) {
                    sa.seal_like(&sealed, &text);
                }
                accepted += 1;
            }
            ("drop", Err(_)) => dropped += 1,
            (expected, found) => panic!("{}: {expected}, but {:?}", sa.name, found.err()),
        }
    }
    assert!((accepted, dropped) == (270, 112), "{accepted} accepted, {dropped} dropped");
}

#[test]
fn packets_with_a_bad_trailer_are_authentic_here_and_left_to_the_decapsulation() {
    let rows = json_lines("generated_bad_trailer.jsonl");
    assert_eq!(rows.len(), 60);
    for row in rows {
        let Some(sa) = Sa::new(&row) else { continue };
        assert!(sa.open(&octets(&row, "esp")).is_ok(), "{}", sa.name);
    }
}

#[test]
fn nested_packets_open_layer_by_layer() {
    for row in json_lines("generated_nested.jsonl") {
        let name = row["id"].as_str().unwrap().to_owned();
        let mut packet = octets(&row, "outer_esp");
        let layers = row["sas_outer_first"].as_array().unwrap();
        for (depth, layer) in layers.iter().enumerate() {
            let Some(sa) = Sa::new(layer) else { panic!("{name}: layer {depth}") };
            let mut text = sa.open(&packet).unwrap_or_else(|verdict| panic!("{name} {depth}: {verdict:?}"));
            let padding = usize::from(text[text.len() - 2]);
            text.truncate(text.len() - 2 - padding);
            let header = if text[0] >> 4 == 4 { 20 } else { 40 };
            packet = if depth + 1 < layers.len() { text.split_off(header) } else { text };
        }
        assert_eq!(packet, octets(&row, "innermost_packet"), "{name}");
    }
}
