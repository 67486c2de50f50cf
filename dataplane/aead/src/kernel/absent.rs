//! The kernels where there are none: CPUs of other makes than x86-64 take a library.

/// Which instructions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Registers of four blocks.
    Avx512,
    /// Registers of two blocks.
    Avx2,
}

impl Level {
    /// No CPU of this make has them.
    pub(crate) const fn is_available(self) -> bool {
        false
    }
}

/// A value of this type cannot be made.
pub(crate) enum Kernel {}

/// What is authenticated besides the text.
#[derive(Clone, Copy)]
pub(crate) struct Associated;

/// Salt and IV.
#[derive(Clone, Copy)]
pub(crate) struct Nonce;

impl Associated {
    pub(crate) const fn esp(_header: [u8; 8], _esn_high: Option<u32>) -> Self {
        Self
    }
}

impl Nonce {
    pub(crate) const fn esp(_salt: [u8; 4], _iv: [u8; 8]) -> Self {
        Self
    }
}

impl Kernel {
    pub(crate) const fn new(_level: Level, _key: &[u8]) -> Option<Self> {
        None
    }

    pub(crate) fn prefetch(&self) {
        match *self {}
    }

    pub(crate) fn associated(&self, _octets: &[u8]) -> Associated {
        match *self {}
    }

    pub(crate) fn seal(&self, _nonce: Nonce, _aad: Associated, _text: &mut [u8]) -> [u8; 16] {
        match *self {}
    }

    pub(crate) fn open(&self, _nonce: Nonce, _aad: Associated, _text: &mut [u8], _tag: [u8; 16]) -> bool {
        match *self {}
    }
}
