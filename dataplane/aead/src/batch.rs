//! Sealing and opening a batch of packets, each with its own key, length and nonce.
//!
//! A call sees the whole slice, so that a kernel that works on several packets in lockstep can take its place
//! without a change to the callers.

use crate::aead::{Aead, NONCE_OCTETS, TAG_OCTETS};
use crate::cbc::{BLOCK_OCTETS, CbcOpening, CbcSealing};
use crate::kernel::{Associated, Kernel, Nonce};
use crate::key::{Cipher, OpeningKey, SealingKey};
use crate::limits::{AAD_OCTETS_MAX, PACKET_OCTETS_MAX};
use crate::transform::{HEADER_OCTETS, Transform};

/// Why [`seal`] may panic.
const LAID_OUT: &str = "the caller lays a packet out for its transform";

/// One packet to protect.
pub struct SealJob<'a> {
    /// Of its SA.
    pub key: &'a SealingKey,
    /// The 64-bit sequence number, from which the IV is made; never twice under one key.
    pub iv: u64,
    /// The upper half of an extended sequence number, which is authenticated but not sent.
    pub esn_high: Option<u32>,
    /// From the SPI to the end of the ICV. The caller has written header and text; IV and ICV are written here.
    pub packet: &'a mut [u8],
}

/// One packet to check and decrypt.
pub struct OpenJob<'a> {
    /// Of its SA.
    pub key: &'a OpeningKey,
    /// The upper half of an extended sequence number, as the receiver infers it (RFC 4303 appendix A).
    pub esn_high: Option<u32>,
    /// From the SPI to the end of the ICV.
    pub packet: &'a mut [u8],
    /// What [`open`] found.
    pub verdict: Verdict,
}

/// What is known of a packet after [`open`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it has not been opened. The state to start from, so that a packet nobody looked at is no good one.
    Unopened,
    /// The ICV is right, the text is plaintext.
    Authentic,
    /// The ICV is wrong, the text is wiped.
    Forged,
    /// No packet of that transform has this length; it is untouched.
    Malformed,
}

impl<'a> SealJob<'a> {
    /// A packet whose text and header are written.
    #[must_use]
    pub const fn new(key: &'a SealingKey, iv: u64, esn_high: Option<u32>, packet: &'a mut [u8]) -> Self {
        Self { key, iv, esn_high, packet }
    }

    /// The memory of a finished batch, empty, for the next one: a worker that allocates nothing keeps its jobs so.
    #[must_use]
    pub fn recycle<'next>(mut jobs: Vec<Self>) -> Vec<SealJob<'next>> {
        jobs.clear();
        // The standard library collects in place when the layouts agree; a test holds it to that.
        jobs.into_iter().map(|_| unreachable!("the batch is empty")).collect()
    }
}

impl<'a> OpenJob<'a> {
    /// A packet as it was received.
    #[must_use]
    pub const fn new(key: &'a OpeningKey, esn_high: Option<u32>, packet: &'a mut [u8]) -> Self {
        Self { key, esn_high, packet, verdict: Verdict::Unopened }
    }

    /// The memory of a finished batch, empty, for the next one.
    #[must_use]
    pub fn recycle<'next>(mut jobs: Vec<Self>) -> Vec<OpenJob<'next>> {
        jobs.clear();
        jobs.into_iter().map(|_| unreachable!("the batch is empty")).collect()
    }
}

/// Protects every packet.
///
/// # Panics
/// When a packet has a length its transform cannot have: the caller laid it out.
pub fn seal(jobs: &mut [SealJob<'_>]) {
    for job in jobs {
        match job.key.cipher() {
            Cipher::Aead(Aead::Kernel(kernel), salt) => seal_by_kernel(kernel, *salt, job),
            Cipher::Aead(aead, salt) => seal_aead(aead, *salt, job),
            Cipher::Cbc(cbc) => seal_cbc(cbc, job),
        }
    }
}

/// Checks every packet and decrypts those that are authentic.
pub fn open(jobs: &mut [OpenJob<'_>]) {
    for job in jobs {
        job.verdict = match job.key.cipher() {
            Cipher::Aead(Aead::Kernel(kernel), salt) => open_by_kernel(kernel, *salt, job),
            Cipher::Aead(aead, salt) => open_aead(aead, *salt, job),
            Cipher::Cbc(cbc) => open_cbc(cbc, job),
        };
    }
}

/// A packet in parts: header with IV, text, ICV.
type Parts<'a> = (&'a mut [u8], &'a mut [u8], &'a mut [u8]);

fn split(transform: Transform, packet: &mut [u8]) -> Option<Parts<'_>> {
    let text = transform.text_range(packet.len())?;
    let (rest, icv) = packet.split_at_mut(text.end);
    let (head, text) = rest.split_at_mut(text.start);
    Some((head, text, icv))
}

/// SPI and sequence number, the latter in full when it is extended (RFC 4106 §5), and how many octets that is.
fn associated_data(head: &[u8], esn_high: Option<u32>) -> ([u8; AAD_OCTETS_MAX], usize) {
    let mut aad = [0; AAD_OCTETS_MAX];
    match esn_high {
        None => {
            aad[..HEADER_OCTETS].copy_from_slice(&head[..HEADER_OCTETS]);
            (aad, HEADER_OCTETS)
        }
        Some(high) => {
            aad[..4].copy_from_slice(&head[..4]);
            aad[4..8].copy_from_slice(&high.to_be_bytes());
            aad[8..].copy_from_slice(&head[4..HEADER_OCTETS]);
            (aad, AAD_OCTETS_MAX)
        }
    }
}

/// Salt, then IV (RFC 4106 §4, RFC 7634 §2).
fn nonce(salt: [u8; 4], iv: [u8; 8]) -> [u8; NONCE_OCTETS] {
    let mut nonce = [0; NONCE_OCTETS];
    nonce[..4].copy_from_slice(&salt);
    nonce[4..].copy_from_slice(&iv);
    nonce
}

fn seal_aead(aead: &Aead, salt: [u8; 4], job: &mut SealJob<'_>) {
    let (head, text, icv) = split(job.key.transform(), job.packet).expect(LAID_OUT);
    let iv = job.iv.to_be_bytes();
    head[HEADER_OCTETS..].copy_from_slice(&iv);
    let (aad, aad_octets) = associated_data(head, job.esn_high);
    icv.copy_from_slice(&aead.seal(&nonce(salt, iv), &aad[..aad_octets], text));
}

/// A packet of AES-GCM in parts: header, IV, text, ICV. Not by way of the transform, which is asked for each packet.
type GcmParts<'a> = (&'a [u8; HEADER_OCTETS], &'a mut [u8; 8], &'a mut [u8], &'a mut [u8; TAG_OCTETS]);

fn split_gcm(packet: &mut [u8]) -> Option<GcmParts<'_>> {
    if packet.len() > PACKET_OCTETS_MAX {
        return None;
    }
    let (header, rest) = packet.split_first_chunk_mut()?;
    let (iv, rest) = rest.split_first_chunk_mut()?;
    let (text, icv) = rest.split_last_chunk_mut()?;
    Some((header, iv, text, icv))
}

fn seal_by_kernel(kernel: &Kernel, salt: [u8; 4], job: &mut SealJob<'_>) {
    let (header, iv, text, icv) = split_gcm(job.packet).expect(LAID_OUT);
    *iv = job.iv.to_be_bytes();
    *icv = kernel.seal(Nonce::esp(salt, *iv), Associated::esp(*header, job.esn_high), text);
}

fn open_by_kernel(kernel: &Kernel, salt: [u8; 4], job: &mut OpenJob<'_>) -> Verdict {
    let Some((header, iv, text, icv)) = split_gcm(job.packet) else {
        return Verdict::Malformed;
    };
    match kernel.open(Nonce::esp(salt, *iv), Associated::esp(*header, job.esn_high), text, *icv) {
        true => Verdict::Authentic,
        false => Verdict::Forged,
    }
}

fn seal_cbc(cbc: &CbcSealing, job: &mut SealJob<'_>) {
    let (head, text, icv) = split(job.key.transform(), job.packet).expect(LAID_OUT);
    let iv = cbc.iv(job.iv);
    head[HEADER_OCTETS..].copy_from_slice(&iv);
    cbc.encrypt(iv, text);
    let icv_octets = icv.len();
    let (authenticated, icv) = job.packet.split_at_mut(job.packet.len() - icv_octets);
    icv.copy_from_slice(&cbc.icv(authenticated, job.esn_high)[..icv_octets]);
}

fn open_aead(aead: &Aead, salt: [u8; 4], job: &mut OpenJob<'_>) -> Verdict {
    let Some((head, text, icv)) = split(job.key.transform(), job.packet) else {
        return Verdict::Malformed;
    };
    let (mut iv, mut tag) = ([0; 8], [0; TAG_OCTETS]);
    iv.copy_from_slice(&head[HEADER_OCTETS..]);
    tag.copy_from_slice(icv);
    let (aad, aad_octets) = associated_data(head, job.esn_high);
    if aead.open(&nonce(salt, iv), &aad[..aad_octets], text, &tag) {
        return Verdict::Authentic;
    }
    // A library may have decrypted before it compared; nobody may find that here.
    text.fill(0);
    Verdict::Forged
}

fn open_cbc(cbc: &CbcOpening, job: &mut OpenJob<'_>) -> Verdict {
    let Some(text) = job.key.transform().text_range(job.packet.len()) else {
        return Verdict::Malformed;
    };
    let (authenticated, icv) = job.packet.split_at_mut(text.end);
    let verified = cbc.verify(authenticated, job.esn_high, icv);
    let (head, text) = authenticated.split_at_mut(text.start);
    if !verified {
        text.fill(0);
        return Verdict::Forged;
    }
    let mut iv = [0; BLOCK_OCTETS];
    iv.copy_from_slice(&head[HEADER_OCTETS..]);
    cbc.decrypt(iv, text);
    Verdict::Authentic
}
