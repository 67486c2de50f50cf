//! What is authenticated besides the text, and the first counter: numbers, because building them in memory costs a
//! packet of 64 octets a tenth of its time.

use super::expanded::{Expanded, block, number, product};

/// The associated data as GHASH takes it in: all blocks but the last hashed already, the last one added.
#[derive(Clone, Copy)]
pub(crate) struct Associated {
    pub(super) block: u128,
    pub(super) octets: usize,
}

impl Associated {
    /// SPI and sequence number, the latter in full when it is extended (RFC 4106 §5).
    #[inline]
    pub(crate) fn esp(header: [u8; 8], esn_high: Option<u32>) -> Self {
        let header = u64::from_be_bytes(header);
        match esn_high {
            None => Self { block: u128::from(header) << 64, octets: 8 },
            Some(high) => {
                let (spi, low) = (header >> 32, header & 0xffff_ffff);
                let block = (u128::from(spi) << 96) | (u128::from(high) << 64) | (u128::from(low) << 32);
                Self { block, octets: 12 }
            }
        }
    }

    /// Any octets.
    #[target_feature(enable = "pclmulqdq,sse4.1")]
    pub(super) fn any(key: &Expanded, octets: &[u8]) -> Self {
        let hash_key = block(key.power(1));
        let folded = octets.chunks(16).fold(0, |sum, chunk| {
            let mut padded = [0; 16];
            padded[..chunk.len()].copy_from_slice(chunk);
            number(product(block(sum), hash_key)) ^ u128::from_be_bytes(padded)
        });
        Self { block: folded, octets: octets.len() }
    }

    /// The last block of GHASH: both lengths in bits.
    #[inline]
    pub(super) const fn lengths(self, text_octets: usize) -> u128 {
        ((self.octets as u128 * 8) << 64) | (text_octets as u128 * 8)
    }
}

/// Salt and IV in front of a counter of zero.
#[derive(Clone, Copy)]
pub(crate) struct Nonce(pub(super) u128);

impl Nonce {
    /// Salt, then IV (RFC 4106 §4).
    #[inline]
    pub(crate) const fn esp(salt: [u8; 4], iv: [u8; 8]) -> Self {
        Self((u32::from_le_bytes(salt) as u128) | ((u64::from_le_bytes(iv) as u128) << 32))
    }
}

/// What turns a counter of zero into that of the tag's mask, 1; the text begins with 2 (NIST SP 800-38D §7.1).
pub(super) const MASK_COUNTER: u128 = 1 << 120;
