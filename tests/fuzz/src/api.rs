//! The lines that dpctl and warrend exchange (`control/api`).

use warren_api::{decode_request, decode_response, encode_request, encode_response};

/// A line from a client: to the daemon, a stranger.
pub fn request(line: &[u8]) {
    match decode_request(line) {
        Ok(request) => assert_eq!(decode_request(&encode_request(&request)), Ok(request)),
        Err(refusal) => assert!(!refusal.message.contains('\n'), "a log line is one line"),
    }
}

/// A line from a daemon, which may be another one than dpctl thinks.
pub fn response(line: &[u8]) {
    if let Ok(response) = decode_response(line) {
        assert_eq!(decode_response(&encode_response(&response)), Ok(response));
    }
}
