//! Messages under Ka: padding, encryption and the chain of IVs (RFC 2409 appendix B).

use crate::Discard;
use crate::crypto::{BLOCK_OCTETS, Cipher, Iv, Wiped};
use crate::wire::{Chain, HEADER_OCTETS, Header};
use zeroize::Zeroizing;

/// A whole encrypted message, and the IV of the next one in the exchange.
pub(crate) fn seal(cipher: &Cipher, iv: Iv, mut header: Header, chain: &Chain) -> (Vec<u8>, Iv) {
    header.flags |= Header::ENCRYPTION;
    let mut body = Zeroizing::new(chain.octets().to_vec());
    let padded = body.len().next_multiple_of(BLOCK_OCTETS);
    body.resize(padded, 0);
    let next = cipher.encrypt(iv, &mut body);
    (header.encode_with(chain.first(), &body), next)
}

/// Decrypts the body of a message; says nothing about who wrote it. Nothing is committed: the caller keeps the
/// IV only after the HASH has verified.
pub(crate) fn open(
    cipher: &Cipher,
    iv: Iv,
    header: &Header,
    datagram: &[u8],
) -> Result<(Wiped, Iv), Discard> {
    if !header.is_encrypted() {
        return Err(Discard::NotEncrypted);
    }
    let length = usize::try_from(header.length).map_err(|_| Discard::Malformed)?;
    let ciphertext = datagram.get(HEADER_OCTETS..length).ok_or(Discard::Malformed)?;
    let mut body = Zeroizing::new(ciphertext.to_vec());
    let next = cipher.decrypt(iv, &mut body).ok_or(Discard::Undecryptable)?;
    Ok((body, next))
}
