//! The primitives of IKEv1 and everything that RFC 2409 derives with them.

mod cbc;
mod comb;
mod dh;
mod keys;
mod modp;
mod prf;
mod primes;
mod signature;

pub(crate) use cbc::{BLOCK_OCTETS, Cipher, Iv};
pub(crate) use dh::{KeyExchange, is_public_value, public_octets};
pub(crate) use keys::{BaseKey, Cookies, PhaseOneKeys, PhaseOneParts, initial_iv, keymat, message_iv};
pub(crate) use prf::{digest, is_equal, prf};
pub(crate) use signature::{AuthMethod, Curve, KeyError, PrivateKey, PublicKey};

/// Octets that are wiped when dropped.
pub(crate) type Wiped = zeroize::Zeroizing<Vec<u8>>;
