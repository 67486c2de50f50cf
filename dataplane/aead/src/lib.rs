//! Batched ESP transforms: AES-GCM (RFC 4106), ChaCha20-Poly1305 (RFC 7634) and AES-CBC with HMAC (RFC 3602,
//! RFC 2404, RFC 4868), each over a batch of packets with their own keys.
//!
//! The caller lays the packet out and numbers it; this crate writes IV and ICV, encrypts, and on the way in
//! verifies before anything can be read: the text of a packet is plaintext when its verdict is
//! [`Verdict::Authentic`], else it is wiped.
//!
//! AES-GCM is our own where the CPU has VAES ([`Backend`] says which code runs), and a library's elsewhere.
//!
//! Keys are expanded once, in [`SealingKey`] and [`OpeningKey`]; per packet nothing is allocated.

mod aead;
pub mod backend;
mod batch;
mod cbc;
#[cfg_attr(not(target_arch = "x86_64"), path = "kernel/absent.rs")]
mod kernel;
mod key;
mod known_answers;
pub mod limits;
mod self_test;
pub mod transform;

pub use backend::Backend;
pub use batch::{OpenJob, SealJob, Verdict, open, seal};
pub use key::{BadKey, KeyMaterial, OpeningKey, SealingKey};
pub use self_test::{Fault, SelfTestFailure, self_test};
pub use transform::{HEADER_OCTETS, Integrity, KeyLength, Transform};
