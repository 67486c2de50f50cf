//! What must hold for whatever comes over the control socket. The fuzz target includes this file too.

use warren_api::{VERSION, decode_request, decode_response, encode_request, encode_response};

/// A line towards the daemon: written again and read again it is the same request.
pub(crate) fn request(line: &[u8]) {
    match decode_request(line) {
        Ok(request) => {
            assert_eq!(request.version, VERSION);
            let written = encode_request(&request);
            assert_eq!(written.iter().position(|octet| *octet == b'\n'), Some(written.len() - 1));
            assert_eq!(decode_request(&written).as_ref(), Ok(&request));
        }
        Err(refusal) => assert!(!refusal.message.is_empty()),
    }
}

/// A line towards `dpctl`.
pub(crate) fn response(line: &[u8]) {
    if let Ok(response) = decode_response(line) {
        let written = encode_response(&response);
        assert_eq!(written.iter().position(|octet| *octet == b'\n'), Some(written.len() - 1));
        assert_eq!(decode_response(&written).as_ref(), Ok(&response));
    }
}
