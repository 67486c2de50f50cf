//! AES-CBC as phase 1 uses it: no padding of its own, the IV carried on from message to message.

use super::Wiped;
use aws_lc_rs::cipher::{
    AES_128, AES_192, AES_256, Algorithm, DecryptingKey, DecryptionContext, EncryptingKey, EncryptionContext,
    UnboundCipherKey,
};
use warren_policy::KeyBits;

/// Octets of one AES block.
pub(crate) const BLOCK_OCTETS: usize = 16;

/// An initialisation vector, or the last block of ciphertext that will be the next one.
pub(crate) type Iv = [u8; BLOCK_OCTETS];

/// Ka with the cipher that it is for.
pub(crate) struct Cipher {
    bits: KeyBits,
    key: Wiped,
}

impl Cipher {
    /// `key` must have the length that `bits` says.
    pub(crate) fn new(bits: KeyBits, key: Wiped) -> Self {
        assert_eq!(key.len(), bits.octets(), "Ka is cut to the key length of the cipher");
        Self { bits, key }
    }

    #[cfg(test)]
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    fn unbound(&self) -> UnboundCipherKey {
        let algorithm: &'static Algorithm = match self.bits {
            KeyBits::B128 => &AES_128,
            KeyBits::B192 => &AES_192,
            KeyBits::B256 => &AES_256,
        };
        UnboundCipherKey::new(algorithm, &self.key).expect("the key has the length of the algorithm")
    }

    /// Encrypts whole blocks in place; gives the IV of the next message.
    pub(crate) fn encrypt(&self, iv: Iv, blocks: &mut [u8]) -> Iv {
        let key = EncryptingKey::cbc(self.unbound()).expect("AES has CBC");
        key.less_safe_encrypt(blocks, EncryptionContext::Iv128(iv.into()))
            .expect("the sender pads to whole blocks");
        last_block(blocks).unwrap_or(iv)
    }

    /// Decrypts whole blocks in place; gives the IV of the next message. `None`, and nothing changed, unless
    /// there is at least one block and no part of one.
    pub(crate) fn decrypt(&self, iv: Iv, blocks: &mut [u8]) -> Option<Iv> {
        if blocks.is_empty() || !blocks.len().is_multiple_of(BLOCK_OCTETS) {
            return None;
        }
        let next = last_block(blocks)?;
        let key = DecryptingKey::cbc(self.unbound()).expect("AES has CBC");
        key.decrypt(blocks, DecryptionContext::Iv128(iv.into())).expect("whole blocks decrypt");
        Some(next)
    }
}

fn last_block(blocks: &[u8]) -> Option<Iv> {
    blocks.last_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    #[test]
    fn every_key_length_decrypts_what_it_encrypted_and_hands_on_the_last_block() {
        for bits in [KeyBits::B128, KeyBits::B192, KeyBits::B256] {
            let cipher = Cipher::new(bits, Zeroizing::new(vec![7; bits.octets()]));
            let mut blocks = vec![0x5a; 48];
            let next = cipher.encrypt([1; 16], &mut blocks);
            assert_eq!(next, blocks[32..]);
            assert_eq!(cipher.decrypt([1; 16], &mut blocks), Some(next));
            assert_eq!(blocks, [0x5a; 48]);
        }
    }

    #[test] // NIST SP 800-38A F.2.1
    fn the_first_block_of_the_published_example_comes_out() {
        let key = hex::decode("2b7e151628aed2a6abf7158809cf4f3c").unwrap();
        let iv: Iv = hex::decode("000102030405060708090a0b0c0d0e0f").unwrap().try_into().unwrap();
        let mut block = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
        Cipher::new(KeyBits::B128, Zeroizing::new(key)).encrypt(iv, &mut block);
        assert_eq!(hex::encode(block), "7649abac8119b246cee98e9b12e9197d");
    }

    #[test]
    fn parts_of_a_block_are_refused() {
        let cipher = Cipher::new(KeyBits::B128, Zeroizing::new(vec![7; 16]));
        assert_eq!(cipher.decrypt([1; 16], &mut []), None);
        assert_eq!(cipher.decrypt([1; 16], &mut [0; 17]), None);
    }
}
