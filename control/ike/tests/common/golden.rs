//! The captures and transcripts under `tests/vectors`.

use super::pcap::{Datagram, datagrams};
use std::path::{Path, PathBuf};

/// The folder of all vectors.
pub(crate) fn vectors() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")).to_owned()
}

/// Every file below `folder` whose name ends in `.extension`, in a fixed order.
///
/// # Panics
/// When there is none: a test that reads nothing proves nothing.
pub(crate) fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![vectors().join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in
            std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    assert!(!found.is_empty(), "no .{extension} files in {folder}");
    found.sort();
    found
}

/// The datagrams of one capture.
pub(crate) fn capture(path: &Path) -> Vec<Datagram> {
    datagrams(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// Every IKEv1 message, clear or encrypted, of every well-formed capture, with a name for error messages.
pub(crate) fn messages() -> Vec<(String, Vec<u8>)> {
    ["captures", "transcripts", "pcap_nokeys"]
        .iter()
        .flat_map(|folder| files(folder, "pcap"))
        .flat_map(|path| {
            let name = path.strip_prefix(vectors()).unwrap_or(&path).display().to_string();
            capture(&path).into_iter().filter_map(move |datagram| {
                let name = format!("{name} frame {}", datagram.frame);
                datagram.ike().map(|octets| (name, octets.to_vec()))
            })
        })
        .collect()
}

/// Every message that the transcripts show decrypted: its name, first payload type, plaintext, and how many
/// octets of that are payloads.
pub(crate) fn plaintexts() -> Vec<(String, u8, Vec<u8>, usize)> {
    let mut found = Vec::new();
    for path in files("transcripts", "json") {
        let transcript: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        for message in transcript["messages"].as_array().unwrap() {
            let Some(plaintext) = message["plaintext"].as_str() else { continue };
            found.push((
                format!("{} frame {}", path.file_name().unwrap().display(), message["frame"]),
                u8::try_from(message["payloads"][0]["type"].as_u64().unwrap()).unwrap(),
                hex::decode(plaintext).unwrap(),
                usize::try_from(message["payload_bytes_used"].as_u64().unwrap()).unwrap(),
            ));
        }
    }
    assert!(!found.is_empty());
    found
}
