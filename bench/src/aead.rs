//! What sealing and opening an ESP packet costs without anything around it: by every backend that this CPU has, in
//! alternation, beside one bare seal by ring of the same number of octets.
//!
//! A batch is timed as a whole and a round is the lower quartile of its batches, so that what else runs on the machine
//! falls out. The figures are for packets that are in the cache.

use std::hint::black_box;

use clap::Args;
use ring::aead::{Aad, LessSafeKey, Nonce, UnboundKey};
use warren_aead::{
    Backend, HEADER_OCTETS, KeyLength, KeyMaterial, OpenJob, OpeningKey, SealJob, SealingKey, Transform,
    Verdict,
};
use warren_port::cycles;

use crate::report::Report;
use crate::ring_seal::{algorithm, text_octets};
use crate::rounds::{Rounds, lower_quartile};
use crate::rows::{Direction, Row, Size};

/// Packets of a batch, as many as a worker takes from a port.
const BATCH: usize = 64;
const TRANSFORMS: [Transform; 3] =
    [Transform::AesGcm16(KeyLength::B128), Transform::AesGcm16(KeyLength::B256), Transform::ChaCha20Poly1305];
const SIZES: [u16; 3] = [64, 512, 1420];
/// The longest text that a frame of the largest kind takes.
const OCTETS_MAX: i64 = 9000;

/// Arguments of the benchmark.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Arguments {
    /// How often each backend is measured, in alternation.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Batches of a round.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batches: Option<u32>,
    /// Octets of the inner packets.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=OCTETS_MAX))]
    sizes: Vec<u16>,
    /// Transforms: aes128gcm16, aes192gcm16, aes256gcm16, chacha20poly1305.
    #[arg(long, value_delimiter = ',')]
    algs: Vec<String>,
    /// Keys that the packets of a batch take turns with; 1 unless said otherwise.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    keys: Option<u16>,
    /// Fewer cases and shorter rounds.
    #[arg(long)]
    quick: bool,
}

impl Arguments {
    /// What the suite measures.
    pub(crate) fn of_suite(quick: bool) -> Self {
        Self { quick, ..Self::default() }
    }
}

/// Cycles per packet, one for each round.
struct Measured {
    candidate: Candidate,
    seal: Rounds,
    open: Rounds,
}

/// Who is measured.
enum Candidate {
    /// A backend and its keys.
    Ours(Backend, Vec<(SealingKey, OpeningKey)>),
    /// The library itself, in a loop over the packets.
    Bare(Box<LessSafeKey>),
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<(), String> {
    let sizes = match (arguments.sizes.is_empty(), arguments.quick) {
        (false, _) => &arguments.sizes[..],
        (true, true) => &SIZES[..1],
        (true, false) => &SIZES[..],
    };
    for transform in transforms(&arguments.algs)? {
        for &inner in sizes {
            measure(arguments, (transform, inner), report)?;
        }
    }
    Ok(())
}

fn transforms(names: &[String]) -> Result<Vec<Transform>, String> {
    if names.is_empty() {
        return Ok(TRANSFORMS.to_vec());
    }
    let known = |name: &String| {
        let found = Transform::all().find(|transform| transform.to_string() == *name);
        found.ok_or_else(|| format!("`{name}` is no transform"))
    };
    names.iter().map(known).collect()
}

fn measure(
    arguments: &Arguments,
    (transform, inner): (Transform, u16),
    report: &mut Report,
) -> Result<(), String> {
    let (rounds, batches) = if arguments.quick { (5, 100) } else { (11, 600) };
    let keys = arguments.keys.unwrap_or(1);
    let mut all = candidates(transform, keys)?;
    let mut packets = vec![vec![0x5a_u8; transform.overhead_octets() + text_octets(inner)]; BATCH];
    for _ in 0..arguments.rounds.unwrap_or(rounds) {
        for measured in &mut all {
            let batches = arguments.batches.unwrap_or(batches) as usize;
            let (seal, open) = measured.candidate.round(&mut packets, batches)?;
            measured.seal.push(seal);
            measured.open.push(open);
        }
    }
    let bare = all.first().map(|bare| bare.seal.clone()).ok_or("nobody to compare with")?;
    for measured in &all {
        for (dir, rounds) in [(Direction::Encrypt, &measured.seal), (Direction::Decrypt, &measured.open)] {
            report.add(Row {
                variant: Some(measured.candidate.name()),
                alg: Some(transform.to_string()),
                dir: Some(dir),
                share_of_ring_seal: Some(rounds.ratio_to(&bare).median()),
                ring_seal_cycles: Some(bare.median()),
                sas: Some(keys.into()),
                ..Row::of_cycles("aead", rounds).at_rate_of(Size::Octets(inner))
            })?;
        }
    }
    Ok(())
}

/// The library alone first, because the others are compared with it.
fn candidates(transform: Transform, keys: u16) -> Result<Vec<Measured>, String> {
    let fresh = |candidate| Measured { candidate, seal: Rounds::default(), open: Rounds::default() };
    let bare = UnboundKey::new(algorithm(&transform.to_string())?, &[7; 32][..transform.key_octets()])
        .map_err(|_| "ring refuses its key".to_owned())?;
    let mut all = vec![fresh(Candidate::Bare(Box::new(LessSafeKey::new(bare))))];
    for backend in Backend::available().into_iter().filter(|backend| backend.supports(transform)) {
        let pairs = (0..keys).map(|at| key_pair(backend, transform, at)).collect::<Result<_, _>>()?;
        all.push(fresh(Candidate::Ours(backend, pairs)));
    }
    Ok(all)
}

fn key_pair(backend: Backend, transform: Transform, at: u16) -> Result<(SealingKey, OpeningKey), String> {
    let mut encryption = vec![7; transform.key_octets()];
    encryption[..2].copy_from_slice(&at.to_be_bytes());
    let keys = KeyMaterial { encryption: &encryption, salt: [1, 2, 3, 4], integrity: &[] };
    let sealing = SealingKey::new(backend, transform, keys).map_err(|error| error.to_string())?;
    let opening = OpeningKey::new(backend, transform, keys).map_err(|error| error.to_string())?;
    Ok((sealing, opening))
}

impl Candidate {
    fn name(&self) -> String {
        match self {
            Self::Ours(backend, _) => backend.to_string(),
            Self::Bare(_) => "bare ring".to_owned(),
        }
    }

    /// Cycles per packet of sealing and of opening.
    fn round(&self, packets: &mut [Vec<u8>], batches: usize) -> Result<(f64, f64), String> {
        let (mut seals, mut opens) = (Vec::with_capacity(batches), Vec::with_capacity(batches));
        for batch in 0..batches {
            let sequence = (batch * BATCH) as u64;
            packets.iter_mut().for_each(|packet| packet.fill(0x5a));
            let (seal, open) = match self {
                Self::Ours(_, keys) => batch_by_us(keys, sequence, packets)?,
                Self::Bare(key) => batch_by_ring(key, sequence, packets)?,
            };
            seals.push(seal as f64 / BATCH as f64);
            opens.push(open as f64 / BATCH as f64);
        }
        Ok((lower_quartile(&seals), lower_quartile(&opens)))
    }
}

fn batch_by_us(
    keys: &[(SealingKey, OpeningKey)],
    sequence: u64,
    packets: &mut [Vec<u8>],
) -> Result<(u64, u64), String> {
    let at = |place: u64| &keys[(sequence + place) as usize % keys.len()];
    let jobs = (0..).zip(packets.iter_mut());
    let mut jobs: Vec<_> =
        jobs.map(|(place, packet)| SealJob::new(&at(place).0, sequence + place, None, packet)).collect();
    let start = cycles::now();
    warren_aead::seal(black_box(&mut jobs));
    let sealed = cycles::now() - start;
    drop(jobs);
    let is_changed = are_sealed(packets);
    let jobs = (0..).zip(packets.iter_mut());
    let mut jobs: Vec<_> = jobs.map(|(place, packet)| OpenJob::new(&at(place).1, None, packet)).collect();
    let start = cycles::now();
    warren_aead::open(black_box(&mut jobs));
    let opened = cycles::now() - start;
    let is_authentic = jobs.iter().all(|job| job.verdict == Verdict::Authentic);
    drop(jobs);
    match is_changed && is_authentic && are_clear(packets) {
        true => Ok((sealed, opened)),
        false => Err("the work was not done: a packet did not open again to what it was".to_owned()),
    }
}

fn batch_by_ring(key: &LessSafeKey, sequence: u64, packets: &mut [Vec<u8>]) -> Result<(u64, u64), String> {
    let nonce = |at: u64| {
        let mut nonce = [1; 12];
        nonce[4..].copy_from_slice(&at.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    };
    let failed = |_| "ring failed".to_owned();
    let start = cycles::now();
    for (at, packet) in (sequence..).zip(packets.iter_mut()) {
        let (head, text) = packet.split_at_mut(TEXT_AT);
        let (text, icv) = text.split_at_mut(text.len() - 16);
        let aad = Aad::from(&head[..HEADER_OCTETS]);
        let tag = key.seal_in_place_separate_tag(nonce(at), aad, text).map_err(failed)?;
        icv.copy_from_slice(tag.as_ref());
    }
    let sealed = cycles::now() - start;
    let is_changed = are_sealed(packets);
    let start = cycles::now();
    for (at, packet) in (sequence..).zip(packets.iter_mut()) {
        let (head, text) = packet.split_at_mut(TEXT_AT);
        let aad = Aad::from(&head[..HEADER_OCTETS]);
        black_box(key.open_in_place(nonce(at), aad, text).map_err(failed)?);
    }
    let opened = cycles::now() - start;
    match is_changed && are_clear(packets) {
        true => Ok((sealed, opened)),
        false => Err("the work was not done: ring's packets did not open again to what they were".to_owned()),
    }
}

/// Header and IV of an AEAD.
const TEXT_AT: usize = HEADER_OCTETS + 8;

fn text(packet: &[u8]) -> &[u8] {
    &packet[TEXT_AT..packet.len() - 16]
}

fn are_sealed(packets: &[Vec<u8>]) -> bool {
    packets.iter().all(|packet| text(packet).iter().any(|&octet| octet != 0x5a))
}

fn are_clear(packets: &[Vec<u8>]) -> bool {
    packets.iter().all(|packet| text(packet).iter().all(|&octet| octet == 0x5a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_of_every_transform_has_rows_both_ways() {
        let mut report = Report::silent();
        let arguments = Arguments { rounds: Some(1), batches: Some(2), quick: true, ..Arguments::default() };
        run(&arguments, &mut report).unwrap();
        for transform in TRANSFORMS {
            let backends =
                Backend::available().into_iter().filter(|backend| backend.supports(transform)).count();
            let rows = report.rows().iter().filter(|row| row.alg == Some(transform.to_string()));
            assert_eq!(rows.count(), 2 * (backends + 1), "{transform}");
        }
    }

    #[test]
    fn packets_that_do_not_open_again_are_refused() {
        let transform = TRANSFORMS[0];
        let (sealing, _) = key_pair(Backend::AwsLc, transform, 1).unwrap();
        let (_, opening) = key_pair(Backend::AwsLc, transform, 2).unwrap();
        let mut packets = vec![vec![0x5a; 200]; BATCH];
        assert!(batch_by_us(&[(sealing, opening)], 0, &mut packets).unwrap_err().contains("was not done"));
    }
}
