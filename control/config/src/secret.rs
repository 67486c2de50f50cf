//! Where pre-shared keys come from. The file names them; they never stand in it.

use std::path::Path;
use warren_policy::Secret;

/// Why a key could not be had. Says nothing of its contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing is there. The name itself may be a key that someone wrote in the wrong place: it is not repeated.
    #[error("no such file; `secret` names the file that holds the key, never the key itself")]
    Missing,
    /// Something is there, but it is not trusted or not readable.
    #[error("{0}")]
    Refused(String),
}

/// Hands out the octets that `secret = "NAME"` stands for. Tests, the simulator and fuzz targets need no disk.
pub trait SecretSource {
    /// The octets as they are kept; the caller strips a trailing newline and judges their strength.
    fn secret(&self, name: &Path) -> Result<Secret, SecretError>;
}

impl<F: Fn(&Path) -> Result<Secret, SecretError>> SecretSource for F {
    fn secret(&self, name: &Path) -> Result<Secret, SecretError> {
        self(name)
    }
}
