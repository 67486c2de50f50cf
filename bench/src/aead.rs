//! What sealing and opening an ESP packet costs without anything around it: AES-GCM by every backend that this CPU has,
//! in alternation, beside one bare seal by ring of the same number of octets.
//!
//! A batch is timed as a whole and a round is the median of its batches, so that what else runs on the machine falls
//! out. The figures are for packets that are in the cache.

use std::hint::black_box;
use std::time::Instant;

use clap::Args;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::Serialize;
use warren_aead::{
    Backend, HEADER_OCTETS, KeyLength, KeyMaterial, OpenJob, OpeningKey, SealJob, SealingKey, Transform,
    Verdict,
};

use crate::report::{Report, remark};
use crate::rounds::median;

/// Packets of a batch, as many as a worker takes from a port.
const BATCH: usize = 32;
/// Batches of a round.
const BATCHES: usize = 600;

/// Arguments of the benchmark.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// How often each backend is measured, in alternation.
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Octets of the inner packets.
    #[arg(long, value_delimiter = ',', default_value = "64,512,1420",
          value_parser = clap::value_parser!(u16).range(1..=9000))]
    sizes: Vec<u16>,
    /// Keys that the packets of a batch take turns with.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=4096))]
    keys: u16,
    /// AES-256 instead of AES-128.
    #[arg(long)]
    aes256: bool,
}

/// One line of the result.
#[derive(Serialize)]
struct Row {
    benchmark: &'static str,
    backend: String,
    transform: String,
    keys: u16,
    inner_octets: u16,
    text_octets: usize,
    seal_ns: f64,
    open_ns: f64,
    /// Of one bare seal by ring.
    seal_share: f64,
    open_share: f64,
}

/// Nanoseconds per packet, one for each round.
struct Measured {
    candidate: Candidate,
    seal_ns: Vec<f64>,
    open_ns: Vec<f64>,
}

/// Who is measured.
enum Candidate {
    /// A backend and its keys.
    Ours(Backend, Vec<(SealingKey, OpeningKey)>),
    /// The library itself.
    Ring(Box<LessSafeKey>),
}

/// Measures and writes the rows.
pub(crate) fn run(arguments: &Arguments, out: &mut Report) -> Result<(), String> {
    let length = if arguments.aes256 { KeyLength::B256 } else { KeyLength::B128 };
    let transform = Transform::AesGcm16(length);
    for &inner in &arguments.sizes {
        let mut all = candidates(transform, arguments.keys)?;
        let text_octets = (usize::from(inner) + 2).next_multiple_of(4);
        let mut packets = vec![vec![0x5a_u8; transform.overhead_octets() + text_octets]; BATCH];
        for _ in 0..arguments.rounds {
            for measured in &mut all {
                let (seal, open) = measured.candidate.round(&mut packets)?;
                measured.seal_ns.push(seal);
                measured.open_ns.push(open);
            }
        }
        let ring_ns = all.first().map_or(0.0, |ring| median(&ring.seal_ns));
        for measured in &all {
            report(out, measured, (arguments.keys, inner, text_octets), transform, ring_ns)?;
        }
    }
    Ok(())
}

fn report(
    out: &mut Report,
    measured: &Measured,
    (keys, inner_octets, text_octets): (u16, u16, usize),
    transform: Transform,
    ring_ns: f64,
) -> Result<(), String> {
    let (seal_ns, open_ns) = (median(&measured.seal_ns), median(&measured.open_ns));
    let backend = match &measured.candidate {
        Candidate::Ours(backend, _) => backend.to_string(),
        Candidate::Ring(_) => "ring, bare".to_owned(),
    };
    let (seal_share, open_share) = (seal_ns / ring_ns, open_ns / ring_ns);
    remark(&format!(
        "{inner_octets:>5} octets, {backend:<12} seal {seal_ns:7.1} ns ({seal_share:4.2})  open {open_ns:7.1} ns ({open_share:4.2})"
    ));
    out.write(&Row {
        benchmark: "aead",
        backend,
        transform: transform.to_string(),
        keys,
        inner_octets,
        text_octets,
        seal_ns,
        open_ns,
        seal_share,
        open_share,
    })
}

/// Ring alone first, because the others are compared with it.
fn candidates(transform: Transform, keys: u16) -> Result<Vec<Measured>, String> {
    let fresh = |candidate| Measured { candidate, seal_ns: Vec::new(), open_ns: Vec::new() };
    let octets = [7; 32];
    let algorithm = if transform.key_octets() == 32 { &AES_256_GCM } else { &AES_128_GCM };
    let ring = UnboundKey::new(algorithm, &octets[..transform.key_octets()])
        .map_err(|_| "ring refuses its key".to_owned())?;
    let mut all = vec![fresh(Candidate::Ring(Box::new(LessSafeKey::new(ring))))];
    for backend in Backend::available() {
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
    /// Nanoseconds per packet of sealing and of opening.
    fn round(&self, packets: &mut [Vec<u8>]) -> Result<(f64, f64), String> {
        let (mut seal_ns, mut open_ns) = (Vec::with_capacity(BATCHES), Vec::with_capacity(BATCHES));
        for batch in 0..BATCHES {
            let sequence = (batch * BATCH) as u64;
            let (seal, open) = match self {
                Self::Ours(_, keys) => batch_by_us(keys, sequence, packets)?,
                Self::Ring(key) => batch_by_ring(key, sequence, packets)?,
            };
            seal_ns.push(seal / BATCH as f64);
            open_ns.push(open / BATCH as f64);
        }
        Ok((median(&seal_ns), median(&open_ns)))
    }
}

fn batch_by_us(
    keys: &[(SealingKey, OpeningKey)],
    sequence: u64,
    packets: &mut [Vec<u8>],
) -> Result<(f64, f64), String> {
    let at = |place: u64| &keys[(sequence + place) as usize % keys.len()];
    let jobs = (0..).zip(packets.iter_mut());
    let mut jobs: Vec<_> =
        jobs.map(|(place, packet)| SealJob::new(&at(place).0, sequence + place, None, packet)).collect();
    let start = Instant::now();
    warren_aead::seal(black_box(&mut jobs));
    let sealed = start.elapsed();
    let jobs = (0..).zip(packets.iter_mut());
    let mut jobs: Vec<_> = jobs.map(|(place, packet)| OpenJob::new(&at(place).1, None, packet)).collect();
    let start = Instant::now();
    warren_aead::open(black_box(&mut jobs));
    let opened = start.elapsed();
    match jobs.iter().all(|job| job.verdict == Verdict::Authentic) {
        true => Ok((sealed.as_nanos() as f64, opened.as_nanos() as f64)),
        false => Err("a packet did not open again".to_owned()),
    }
}

fn batch_by_ring(key: &LessSafeKey, sequence: u64, packets: &mut [Vec<u8>]) -> Result<(f64, f64), String> {
    let text_at = HEADER_OCTETS + 8;
    let nonce = |at: u64| {
        let mut nonce = [1; 12];
        nonce[4..].copy_from_slice(&at.to_be_bytes());
        Nonce::assume_unique_for_key(nonce)
    };
    let failed = |_| "ring failed".to_owned();
    let start = Instant::now();
    for (at, packet) in (sequence..).zip(packets.iter_mut()) {
        let (head, text) = packet.split_at_mut(text_at);
        let (text, icv) = text.split_at_mut(text.len() - 16);
        let aad = Aad::from(&head[..HEADER_OCTETS]);
        let tag = key.seal_in_place_separate_tag(nonce(at), aad, text).map_err(failed)?;
        icv.copy_from_slice(tag.as_ref());
    }
    let sealed = start.elapsed();
    let start = Instant::now();
    for (at, packet) in (sequence..).zip(packets.iter_mut()) {
        let (head, text) = packet.split_at_mut(text_at);
        let aad = Aad::from(&head[..HEADER_OCTETS]);
        black_box(key.open_in_place(nonce(at), aad, text).map_err(failed)?);
    }
    Ok((sealed.as_nanos() as f64, start.elapsed().as_nanos() as f64))
}
