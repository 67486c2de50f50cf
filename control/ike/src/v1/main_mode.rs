//! Main mode (RFC 2409 §5), what both sides share; the responder's and the initiator's states stand beside it.
//!
//! ```text
//! 1  I -> R  SA, VID                4  I <- R  KE, NONCE, [CR], NAT-D, NAT-D
//! 2  I <- R  SA, VID                5  I -> R  { ID, HASH_I | [CERT] SIG_I, [INITIAL-CONTACT] }
//! 3  I -> R  KE, NONCE, [CR], NAT-D 6  I <- R  { ID, HASH_R | [CERT] SIG_R }
//! ```

use super::proof;
use super::secured::{Half, Setup};
use super::vendors;
use crate::crypto::Cookies;
use crate::wire::{Chain, ExchangeType, Header, PayloadType};
use crate::{Path, PeerConfig};

/// Messages 1 and 2.
pub(crate) fn sa_message(config: &PeerConfig, cookies: Cookies, sa: &[u8], nat_traversal: bool) -> Vec<u8> {
    let mut chain = Chain::new().with(PayloadType::SA, sa);
    vendors::push(&mut chain, config, nat_traversal);
    header(cookies, ExchangeType::MAIN, 0).encode(&chain)
}

/// Messages 3 and 4.
pub(crate) fn key_message(setup: &Setup, half: &Half, path: Path) -> Vec<u8> {
    let mut chain = Chain::new()
        .with(PayloadType::KEY_EXCHANGE, half.exchange.public())
        .with(PayloadType::NONCE, &half.nonce);
    proof::push_requests(&mut chain, &setup.config);
    setup.push_nat_d(&mut chain, path);
    header(setup.cookies, ExchangeType::MAIN, 0).encode(&chain)
}

/// A header without flags.
pub(crate) const fn header(cookies: Cookies, exchange: ExchangeType, message_id: u32) -> Header {
    Header::new(cookies.initiator, cookies.responder, exchange, 0, message_id)
}
