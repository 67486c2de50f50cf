//! `dpctl psk new`: 256 bits from the operating system (REQUIREMENTS F-1).

use crate::output::{Failure, Output};
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// How the key is written. What stands in the file is the key: it is not decoded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Encoding {
    /// 64 hexadecimal digits
    Hex,
    /// 44 characters
    Base64,
}

const KEY_OCTETS: usize = 32;

/// Makes a key and writes it to a new file, or to standard output.
pub(crate) fn new(out: Option<&Path>, encoding: Encoding, output: &mut Output) -> Result<(), Failure> {
    let key =
        key(encoding).map_err(|error| Failure::Said(format!("no random numbers to be had: {error}")))?;
    let Some(path) = out else { return Ok(output.write(&key)?) };
    let refuse = |error: io::Error| {
        let why = match error.kind() {
            io::ErrorKind::AlreadyExists => "is there already, and a key is never overwritten".to_owned(),
            _ => format!("cannot be written: {error}"),
        };
        Failure::Said(format!("{} {why}", path.display()))
    };
    // Closed from the first moment: a mode set afterwards would leave a gap.
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(refuse)?;
    file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(refuse)?;
    let text =
        format!("{}: a key of {} bits; copy it to the peer over a safe way", path.display(), KEY_OCTETS * 8);
    Ok(output.write(&text)?)
}

/// The key in its written form, with a line end.
fn key(encoding: Encoding) -> io::Result<Zeroizing<String>> {
    loop {
        let mut octets = Zeroizing::new([0; KEY_OCTETS]);
        fill(&mut *octets)?;
        let mut text = match encoding {
            Encoding::Hex => hex(&*octets),
            Encoding::Base64 => base64(&*octets),
        };
        // strongSwan reads `0s…` as base64 and `0x…` as digits of another key than the text is.
        if !text.starts_with("0s") && !text.starts_with("0x") {
            text.push('\n');
            return Ok(text);
        }
    }
}

fn fill(mut octets: &mut [u8]) -> io::Result<()> {
    while !octets.is_empty() {
        match getrandom(&mut *octets, GetRandomFlags::empty()) {
            Ok(filled) => octets = &mut octets[filled..],
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Room for every form and its line end, so that the text never grows and leaves a copy behind.
const TEXT_OCTETS_MAX: usize = 2 * KEY_OCTETS + 1;

fn hex(octets: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = Zeroizing::new(String::with_capacity(TEXT_OCTETS_MAX));
    for octet in octets {
        text.push(char::from(DIGITS[usize::from(octet >> 4)]));
        text.push(char::from(DIGITS[usize::from(octet & 15)]));
    }
    text
}

/// RFC 4648 §4.
fn base64(octets: &[u8]) -> Zeroizing<String> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Zeroizing::new(String::with_capacity(TEXT_OCTETS_MAX));
    for group in octets.chunks(3) {
        let octet = |at: usize| u32::from(group.get(at).copied().unwrap_or(0));
        let bits = octet(0) << 16 | octet(1) << 8 | octet(2);
        for at in 0..4 {
            let digit = char::from(DIGITS[(bits >> (18 - 6 * at) & 63) as usize]);
            text.push(if at <= group.len() { digit } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // RFC 4648 §10
    fn the_written_forms_are_the_standard_ones() {
        let plain = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let coded = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (plain, coded) in plain.into_iter().zip(coded) {
            assert_eq!(*base64(plain.as_bytes()), coded);
        }
        assert_eq!(*hex(b"foobar"), "666f6f626172");
    }

    #[test] // F-1
    fn every_key_is_another_one_of_256_bits() {
        let one = key(Encoding::Hex).unwrap();
        assert_eq!((one.trim_end().len(), one.len()), (64, 65));
        assert_ne!(*one, *key(Encoding::Hex).unwrap());
        assert_eq!(key(Encoding::Base64).unwrap().trim_end().len(), 44);
    }
}
