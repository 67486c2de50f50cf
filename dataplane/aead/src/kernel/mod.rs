//! Our own AES-GCM (RFC 4106, NIST SP 800-38D), for packets instead of streams: nothing is set up per packet, a text's
//! last octets are read and written through a mask, and a packet of up to 1,536 octets is reduced once.
//!
//! ```text
//!   key octets -> expanded -> packet, on the registers of avx512 | avx2
//! ```
//!
//! What needs instructions that not every CPU has can be called only through a [`Kernel`], and none is made where they
//! are missing.
#![allow(unsafe_code, reason = "intrinsics: loads and stores, and calls into code for this CPU only")]

mod associated;
mod avx2;
mod avx512;
mod counters;
mod expanded;
mod packet;

pub(crate) use associated::{Associated, Nonce};
use expanded::Expanded;

/// Which instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Registers of four blocks.
    Avx512,
    /// Registers of two blocks.
    Avx2,
}

impl Level {
    /// Whether this CPU has them.
    pub(crate) fn is_available(self) -> bool {
        match self {
            Self::Avx512 => avx512::is_available(),
            Self::Avx2 => avx2::is_available(),
        }
    }
}

/// An expanded key, and the proof that this CPU can work with it.
pub(crate) struct Kernel {
    level: Level,
    key: Box<Expanded>,
}

impl Kernel {
    /// `None` when the CPU lacks the instructions, or the key has no length of AES.
    pub(crate) fn new(level: Level, key: &[u8]) -> Option<Self> {
        if !level.is_available() {
            return None;
        }
        // SAFETY: every level has AES-NI, PCLMULQDQ and SSE 4.1, and this CPU has this level.
        let key = unsafe { Expanded::new(key) }?;
        Some(Self { level, key })
    }

    /// Asks for what a packet of any length needs: the round keys, and the powers of its last blocks.
    #[inline]
    pub(crate) fn prefetch(&self) {
        self.key.prefetch();
    }

    /// Any associated data, as the functions below want it.
    pub(crate) fn associated(&self, octets: &[u8]) -> Associated {
        // SAFETY: `new` has found the instructions of this level, PCLMULQDQ among them.
        unsafe { Associated::any(&self.key, octets) }
    }

    /// Encrypts `text` in place; the tag.
    #[inline]
    pub(crate) fn seal(&self, nonce: Nonce, aad: Associated, text: &mut [u8]) -> [u8; 16] {
        let tag = match self.level {
            // SAFETY: `new` has found the instructions of this level.
            Level::Avx512 => unsafe { avx512::seal(&self.key, nonce, aad, text) },
            // SAFETY: `new` has found the instructions of this level.
            Level::Avx2 => unsafe { avx2::seal(&self.key, nonce, aad, text) },
        };
        tag.to_le_bytes()
    }

    /// Decrypts `text` in place, and wipes it when the tag is another one. Nobody else can see the text in between.
    #[inline]
    pub(crate) fn open(&self, nonce: Nonce, aad: Associated, text: &mut [u8], tag: [u8; 16]) -> bool {
        let expected = match self.level {
            // SAFETY: `new` has found the instructions of this level.
            Level::Avx512 => unsafe { avx512::open(&self.key, nonce, aad, text) },
            // SAFETY: `new` has found the instructions of this level.
            Level::Avx2 => unsafe { avx2::open(&self.key, nonce, aad, text) },
        };
        // All 16 octets at once: the time tells only whether they agree, and that the peer hears anyway.
        let authentic = expected ^ u128::from_le_bytes(tag) == 0;
        if !authentic {
            text.fill(0);
        }
        authentic
    }
}
