//! Our certificate with its key, and the authorities that we believe.

use warren_policy::Secret;

/// What authentication with signatures needs of us. Certificates are DER.
pub struct Credentials {
    /// Ours first, then intermediates towards the authority.
    pub(crate) chain: Vec<Vec<u8>>,
    /// The private key (PKCS#8, PKCS#1 or SEC 1 DER).
    pub(crate) key: Secret,
    /// Trust anchors.
    pub(crate) authorities: Vec<Vec<u8>>,
}
