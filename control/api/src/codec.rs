//! Lines to values and back. The version is read first, so that a newer program gets a word it understands.

use crate::answer::Response;
use crate::limits::{REQUEST_OCTETS_MAX, RESPONSE_OCTETS_MAX};
use crate::refusal::{Refusal, RefusalWord};
use crate::request::Request;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// All that is asked of a line before its version is known.
#[derive(Deserialize)]
struct Envelope {
    version: u32,
}

fn decode<T: DeserializeOwned>(line: &[u8], octets_max: usize, what: &str) -> Result<T, Refusal> {
    if line.len() > octets_max {
        return Err(Refusal::new(RefusalWord::TooLong, format!("a {what} has at most {octets_max} octets")));
    }
    // serde_json's own messages quote the input; what a stranger sent does not belong in a log.
    let place = |error: &serde_json::Error| format!("no {what}: not understood at column {}", error.column());
    let envelope: Envelope =
        serde_json::from_slice(line).map_err(|error| Refusal::new(RefusalWord::Malformed, place(&error)))?;
    if envelope.version != crate::VERSION {
        let message = format!(
            "version {} of the control protocol is not spoken here, only {}",
            envelope.version,
            crate::VERSION
        );
        return Err(Refusal::new(RefusalWord::UnknownVersion, message));
    }
    serde_json::from_slice(line).map_err(|error| Refusal::new(RefusalWord::Malformed, place(&error)))
}

fn encode<T: serde::Serialize>(value: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("string keys and plain values always have a JSON form");
    line.push(b'\n');
    line
}

/// Reads a request; `line` with or without its newline.
pub fn decode_request(line: &[u8]) -> Result<Request, Refusal> {
    decode(line, REQUEST_OCTETS_MAX, "request")
}

/// Reads a response; `line` with or without its newline.
pub fn decode_response(line: &[u8]) -> Result<Response, Refusal> {
    decode(line, RESPONSE_OCTETS_MAX, "response")
}

/// Writes a request as one line, newline included.
#[must_use]
pub fn encode_request(request: &Request) -> Vec<u8> {
    encode(request)
}

/// Writes a response as one line, newline included.
#[must_use]
pub fn encode_response(response: &Response) -> Vec<u8> {
    encode(response)
}
