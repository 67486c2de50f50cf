//! The IKEv1 codec (`control/ike/src/wire`).

use warren_ike::wire::PayloadType;

#[path = "../../../control/ike/tests/common/exercise.rs"]
mod exercise;
#[path = "../../../control/ike/tests/common/ted_exercise.rs"]
mod ted_exercise;

/// A datagram as it comes from the socket, without non-ESP marker.
pub fn message(octets: &[u8]) {
    let _ = exercise::datagram(octets);
}

/// A chain of payloads behind the type of the first one: reached without guessing the header's length.
pub fn payloads(octets: &[u8]) {
    if let Some((&next, chain)) = octets.split_first() {
        let _ = exercise::body(PayloadType(next), chain);
    }
}

/// The body of an SA payload.
pub fn sa(octets: &[u8]) {
    let _ = exercise::sa(octets);
}

/// Data attributes.
pub fn attributes(octets: &[u8]) {
    let _ = exercise::attributes(octets);
}

/// The body of an Identification payload, or of a NAT-OA payload, which is one of few types.
pub fn id(octets: &[u8]) {
    let _ = exercise::identification(octets);
    let _ = exercise::original_address(octets);
}

/// The body of an Attributes payload.
pub fn config(octets: &[u8]) {
    let _ = exercise::configuration(octets);
}

/// The body of a Notify or a Delete payload.
pub fn notify_delete(octets: &[u8]) {
    let _ = exercise::notify(octets);
    let _ = exercise::delete(octets);
}

/// A message of Tunnel Endpoint Discovery.
pub fn probe_response(octets: &[u8]) {
    let _ = ted_exercise::message(octets);
}

/// Steps of a dialogue with a gateway that asks and answers; the first octet says how it is set up.
pub fn ted_dialogue(octets: &[u8]) {
    let _ = ted_exercise::dialogue(octets);
}

/// Right messages and right dialogues, for the fuzzer to start from.
#[must_use]
pub fn ted_seeds() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    ted_exercise::seeds()
}
