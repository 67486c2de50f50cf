//! `dpctl intersect` as a user calls it, against vectors that were made by another program.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn dpctl(arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dpctl"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
    // In a thread of its own: both pipes may fill.
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join().unwrap();
    output
}

fn vectors(name: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/ted");
    std::fs::read(folder.join(name)).unwrap()
}

fn lines(octets: &[u8]) -> Vec<Value> {
    octets
        .split(|octet| *octet == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

#[test] // TED-38 … TED-54, V-13, Q-4, Q-8, Q-10
fn two_thousand_pairs_come_out_as_another_program_says() {
    let vectors = vectors("proxy_intersection.dev.jsonl");
    let output = dpctl(&["intersect", "--batch"], &vectors);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (questions, answers) = (lines(&vectors), lines(&output.stdout));
    assert_eq!((questions.len(), answers.len()), (2000, 2000));
    for (question, answer) in questions.iter().zip(&answers) {
        assert_eq!(answer["id"], question["id"]);
        assert_eq!(answer["result"], question["expected"], "{question}");
        assert_eq!(answer["empty_because"], question["empty_because"], "{question}");
    }
}

#[test] // V-1, V-2, V-3, V-4, V-5, TED-44
fn the_half_proxies_of_the_source_document_come_out() {
    let examples: Vec<Value> = serde_json::from_slice(&vectors("half_proxy_examples.json")).unwrap();
    assert_eq!(examples.len(), 12);
    for example in examples {
        let text = |name: &str| example[name].as_str().unwrap().to_owned();
        // The examined half is the source; the destination is the same on both sides.
        let question = serde_json::json!({"id": 0, "ip": 4,
            "initiator": {"src": text("a"), "smask": text("b_mask"), "dst": "0.0.0.0", "dmask": "0.0.0.0",
                "proto": "ip", "sport": null, "dport": null},
            "responder": {"remote": text("c"), "rmask": text("d_mask"), "local": "0.0.0.0", "lmask": "0.0.0.0",
                "proto": "ip", "rport": null, "lport": null}});
        let answer = &lines(&dpctl(&["intersect", "--batch"], question.to_string().as_bytes()).stdout)[0];
        match &example["expected"] {
            Value::String(empty) => assert_eq!(answer["result"], empty.as_str(), "{example}"),
            expected => {
                assert_eq!(answer["result"]["src"], expected["addr"], "{example}");
                assert_eq!(answer["result"]["smask"], expected["mask"], "{example}");
            }
        }
    }
}

#[test] // V-8, TED-41, TED-43
fn what_is_empty_says_which_boxes_made_it_so() {
    let ours = "10.1.0.0/16 10.2.0.0/16 tcp any 443";
    let said = |theirs: &str| {
        let output = dpctl(&["intersect", ours, theirs], b"");
        assert!(output.status.success());
        String::from_utf8(output.stdout).unwrap()
    };
    let common = said("10.2.5.0/24 10.0.0.0/8 tcp 443 any");
    assert!(common.ends_with("in common: 10.1.0.0/16 -> 10.2.5.0/24 tcp port any -> 443\n"), "{common}");
    let empty = said("10.3.0.0/16 10.0.0.0/8 udp 443 any");
    assert!(empty.contains("320 > 322") && empty.contains("302 > 306 > 308 > 310 > 314"), "{empty}");
    assert!(empty.ends_with("nothing in common, because of dst, proto\n"), "{empty}");
}

#[test]
fn a_line_that_is_no_question_is_refused_by_its_number() {
    for bad in [&b"\n{}\n"[..], b"\nno json\n", &[b'x'; 10_000]] {
        let output = dpctl(&["intersect", "--batch"], bad);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().starts_with("dpctl: line "));
    }
    assert_eq!(dpctl(&["intersect"], b"").status.code(), Some(2));
    assert_eq!(dpctl(&["intersect", "10.0.0.0/8 ::/0", "10.0.0.0/8 10.0.0.0/8"], b"").status.code(), Some(2));
}
