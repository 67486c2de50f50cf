//! Known answers at start-up: a library, a compiler or a CPU that computes wrongly must not carry a packet.

use crate::backend::Backend;
use crate::batch::{OpenJob, SealJob, Verdict, open, seal};
use crate::key::{KeyMaterial, OpeningKey, SealingKey};
use crate::known_answers::{
    KNOWN_ANSWERS, KnownAnswer, SALT, SEQUENCE_LONG, SEQUENCE_SHORT, SPI, TEXT_LONG, TEXT_SHORT,
    encryption_octet, integrity_octet, text_octet,
};
use crate::transform::{HEADER_OCTETS, Transform};
use std::fmt;

/// Octets of text that take a kernel over all its ways: each number of registers in the end, with and without whole
/// pieces and stretches before it, and counters of more than one octet.
const TEXTS_AGREED: [usize; 8] = [1, 49, 113, 160, 255, 1537, 3300, 4700];

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No key could be made.
    Key,
    /// The sealed packet is another one.
    Seal,
    /// The packet did not open, or to another text.
    Open,
    /// A forged packet was accepted.
    Accepted,
    /// The text of a forged packet was left behind.
    NotWiped,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "refuses its key",
            Self::Seal => "seals wrongly",
            Self::Open => "opens wrongly",
            Self::Accepted => "accepts a forged packet",
            Self::NotWiped => "leaves the text of a forged packet",
        })
    }
}

/// A backend that must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("self-test: {backend} {fault} ({transform})")]
pub struct SelfTestFailure {
    /// Whose code.
    pub backend: Backend,
    /// For which transform.
    pub transform: Transform,
    /// What it did.
    pub fault: Fault,
}

/// Every available backend against a known answer for every transform it has.
///
/// # Errors
/// The first fault found.
pub fn self_test() -> Result<(), SelfTestFailure> {
    for backend in Backend::available() {
        for answer in KNOWN_ANSWERS.iter().filter(|answer| backend.supports(answer.transform)) {
            check(backend, answer).map_err(|fault| SelfTestFailure {
                backend,
                transform: answer.transform,
                fault,
            })?;
        }
    }
    Ok(())
}

fn check(backend: Backend, answer: &KnownAnswer) -> Result<(), Fault> {
    let transform = answer.transform;
    let encryption: Vec<u8> = (0..transform.key_octets()).map(encryption_octet).collect();
    let integrity: Vec<u8> = (0..transform.integrity_key_octets()).map(integrity_octet).collect();
    let keys = KeyMaterial { encryption: &encryption, salt: SALT, integrity: &integrity };
    let sealing = SealingKey::new(backend, transform, keys).map_err(|_| Fault::Key)?;
    let opening = OpeningKey::new(backend, transform, keys).map_err(|_| Fault::Key)?;

    let [_, _, _, _, low @ ..] = SEQUENCE_SHORT.to_be_bytes();
    let mut short = laid_out(transform, u32::from_be_bytes(low), TEXT_SHORT);
    let mut long = laid_out(transform, SEQUENCE_LONG, TEXT_LONG);
    let high = u32::try_from(SEQUENCE_SHORT >> 32).ok();
    seal(&mut [
        SealJob::new(&sealing, SEQUENCE_SHORT, high, &mut short),
        SealJob::new(&sealing, u64::from(SEQUENCE_LONG), None, &mut long),
    ]);
    if hexadecimal(&short[HEADER_OCTETS..]) != answer.short || !hexadecimal(&long).ends_with(answer.long_icv)
    {
        return Err(Fault::Seal);
    }
    check_opening(&opening, high, &short)?;
    check_opening(&opening, None, &long)?;
    check_agreement(transform, keys, (&sealing, &opening))
}

/// Where code of its own runs for other lengths than those of the known answers, it agrees with the library.
fn check_agreement(
    transform: Transform,
    keys: KeyMaterial<'_>,
    (sealing, opening): (&SealingKey, &OpeningKey),
) -> Result<(), Fault> {
    let library = SealingKey::new(Backend::AwsLc, transform, keys).map_err(|_| Fault::Key)?;
    for text_octets in TEXTS_AGREED {
        let mut packet =
            laid_out(transform, SEQUENCE_LONG, text_octets.next_multiple_of(transform.block_octets()));
        let mut expected = packet.clone();
        seal(&mut [SealJob::new(&library, u64::from(SEQUENCE_LONG), None, &mut expected)]);
        seal(&mut [SealJob::new(sealing, u64::from(SEQUENCE_LONG), None, &mut packet)]);
        if packet != expected {
            return Err(Fault::Seal);
        }
        check_opening(opening, None, &packet)?;
    }
    Ok(())
}

/// A packet before sealing.
fn laid_out(transform: Transform, sequence: u32, text_octets: usize) -> Vec<u8> {
    let mut packet = vec![0; transform.overhead_octets() + text_octets];
    packet[..4].copy_from_slice(&SPI);
    packet[4..HEADER_OCTETS].copy_from_slice(&sequence.to_be_bytes());
    let from = HEADER_OCTETS + transform.iv_octets();
    for (at, octet) in packet[from..from + text_octets].iter_mut().enumerate() {
        *octet = text_octet(at);
    }
    packet
}

/// The packet opens, and does not with any one of header, IV, text or ICV changed.
fn check_opening(key: &OpeningKey, esn_high: Option<u32>, sealed: &[u8]) -> Result<(), Fault> {
    let text = key.transform().text_range(sealed.len()).ok_or(Fault::Open)?;
    let attempt = |changed: Option<usize>| {
        let mut packet = sealed.to_vec();
        if let Some(at) = changed {
            packet[at] ^= 1;
        }
        let mut jobs = [OpenJob::new(key, esn_high, &mut packet)];
        open(&mut jobs);
        let verdict = jobs[0].verdict;
        (verdict, packet[text.clone()].to_vec())
    };
    let expected: Vec<u8> = (0..text.len()).map(text_octet).collect();
    if attempt(None) != (Verdict::Authentic, expected) {
        return Err(Fault::Open);
    }
    for changed in [0, HEADER_OCTETS, text.start, text.end - 1, sealed.len() - 1] {
        let (verdict, left) = attempt(Some(changed));
        if verdict != Verdict::Forged {
            return Err(Fault::Accepted);
        }
        if left.iter().any(|&octet| octet != 0) {
            return Err(Fault::NotWiped);
        }
    }
    Ok(())
}

fn hexadecimal(octets: &[u8]) -> String {
    octets
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 15])
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test] // F-21
    fn every_backend_gives_the_known_answer_for_every_transform() {
        assert_eq!(self_test(), Ok(()));
        assert!(Transform::all().eq(KNOWN_ANSWERS.iter().map(|answer| answer.transform)));
    }

    #[test]
    fn a_wrong_answer_is_noticed_and_says_whose_it_is() {
        for answer in &KNOWN_ANSWERS {
            let wrong = KnownAnswer { short: answer.short, long_icv: "00", transform: answer.transform };
            assert_eq!(check(Backend::AwsLc, &wrong), Err(Fault::Seal));
            let wrong = KnownAnswer { short: "00", long_icv: answer.long_icv, transform: answer.transform };
            assert_eq!(check(Backend::AwsLc, &wrong), Err(Fault::Seal));
        }
        let transform = KNOWN_ANSWERS[0].transform;
        let failure = SelfTestFailure { backend: Backend::Ring, transform, fault: Fault::Seal };
        assert_eq!(failure.to_string(), "self-test: ring seals wrongly (aes128gcm16)");
    }

    #[test]
    fn a_packet_that_does_not_open_is_noticed() {
        let keys = KeyMaterial { encryption: &[1; 16], salt: SALT, integrity: &[] };
        let transform = KNOWN_ANSWERS[0].transform;
        let key = OpeningKey::new(Backend::AwsLc, transform, keys).unwrap();
        let unsealed = laid_out(transform, SEQUENCE_LONG, TEXT_SHORT);
        assert_eq!(check_opening(&key, None, &unsealed), Err(Fault::Open));
    }
}
