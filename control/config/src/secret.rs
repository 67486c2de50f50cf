//! Where pre-shared keys, passwords, private keys and certificates come from. The file names them; they never stand
//! in it.

use crate::limits::{CERTIFICATE_OCTETS_MAX, PRIVATE_KEY_OCTETS_MAX, SECRET_BITS_MIN};
use rustix::fd::OwnedFd;
use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::path::{Path, PathBuf};
use warren_policy::Secret;
use warren_policy::limits::SECRET_OCTETS_MAX;
use zeroize::Zeroizing;

/// Why a key could not be had. Says nothing of its contents.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// Nothing is there. The name itself may be a key that someone wrote in the wrong place: it is not repeated.
    #[error("there is no such file")]
    Missing,
    /// Something is there, but it is not trusted or not readable.
    #[error("{0}")]
    Refused(String),
}

/// Hands out the octets that `secret = "NAME"` and its like stand for. Tests, the simulator and fuzz targets need no
/// disk.
pub trait SecretSource {
    /// The octets as they are kept; the caller strips a trailing newline and judges their strength.
    fn secret(&self, name: &Path) -> Result<Secret, SecretError>;

    /// The octets of a private key: kept like a secret, but longer.
    fn private_key(&self, name: &Path) -> Result<Secret, SecretError> {
        self.secret(name)
    }

    /// The octets of certificates, which are for everybody to read.
    fn certificate(&self, name: &Path) -> Result<Vec<u8>, SecretError> {
        self.secret(name).map(|octets| octets.expose().to_vec())
    }
}

impl<F: Fn(&Path) -> Result<Secret, SecretError>> SecretSource for F {
    fn secret(&self, name: &Path) -> Result<Secret, SecretError> {
        self(name)
    }
}

/// Key files on disk. Relative names are looked up beside the configuration file.
#[derive(Clone, Debug)]
pub struct SecretFiles {
    directory: PathBuf,
}

impl SecretFiles {
    /// For a configuration file in `directory`.
    #[must_use]
    pub fn beside(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }
}

impl SecretSource for SecretFiles {
    fn secret(&self, name: &Path) -> Result<Secret, SecretError> {
        // Two octets more, for the line end that is no part of the key.
        self.closed(name, SECRET_OCTETS_MAX + 2, SECRET_OCTETS_MAX)
    }

    fn private_key(&self, name: &Path) -> Result<Secret, SecretError> {
        self.closed(name, PRIVATE_KEY_OCTETS_MAX, PRIVATE_KEY_OCTETS_MAX)
    }

    fn certificate(&self, name: &Path) -> Result<Vec<u8>, SecretError> {
        let path = self.directory.join(name);
        let refuse = |why: &str| SecretError::Refused(format!("{} {why}", path.display()));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| opening(errno, &refuse))?;
        let stat = look_at(&file, &refuse)?;
        if stat.st_mode & 0o022 != 0 {
            return Err(refuse("may be written by others; `chmod go-w` closes it"));
        }
        let octets = read(&file, CERTIFICATE_OCTETS_MAX, CERTIFICATE_OCTETS_MAX, &refuse)?;
        Ok(octets.expose().to_vec())
    }
}

impl SecretFiles {
    /// The octets of a file that nobody else can read.
    fn closed(&self, name: &Path, octets_max: usize, said_max: usize) -> Result<Secret, SecretError> {
        let path = self.directory.join(name);
        let refuse = |why: &str| SecretError::Refused(format!("{} {why}", path.display()));
        // The last component must be the file itself: a link could be turned to another file by whoever may
        // write the directory. NONBLOCK, because opening a FIFO would wait for ever.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = rustix::fs::open(&path, flags, Mode::empty()).map_err(|errno| opening(errno, &refuse))?;
        let stat = look_at(&file, &refuse)?;
        let own = rustix::process::geteuid().as_raw();
        if stat.st_uid != 0 && stat.st_uid != own {
            return Err(refuse("belongs to another user; root or the user warrend runs as must own it"));
        }
        if stat.st_mode & 0o077 != 0 {
            let mode = stat.st_mode & 0o777;
            return Err(refuse(&format!("has mode {mode:04o} and is open to others; `chmod 600` closes it")));
        }
        read(&file, octets_max, said_max, &refuse)
    }
}

fn opening(errno: Errno, refuse: &dyn Fn(&str) -> SecretError) -> SecretError {
    match errno {
        Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::INVAL => SecretError::Missing,
        Errno::LOOP => refuse("is a symbolic link, which is not followed"),
        Errno::ACCESS => refuse("may not be read"),
        other => refuse(&format!("cannot be opened: {other}")),
    }
}

fn look_at(file: &OwnedFd, refuse: &dyn Fn(&str) -> SecretError) -> Result<Stat, SecretError> {
    let stat = rustix::fs::fstat(file).map_err(|errno| refuse(&format!("cannot be looked at: {errno}")))?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Ok(stat),
        _ => Err(refuse("is not a regular file")),
    }
}

/// One octet of the buffer more than the file may have, to tell a full file from one too long. Read into one wiped
/// buffer: a growing one would leave copies behind.
fn read(
    file: &OwnedFd,
    octets_max: usize,
    said_max: usize,
    refuse: &dyn Fn(&str) -> SecretError,
) -> Result<Secret, SecretError> {
    let mut octets = Zeroizing::new(vec![0; octets_max + 1]);
    let mut length = 0;
    while length < octets.len() {
        match rustix::io::read(file, &mut octets[length..]) {
            Ok(0) => {
                octets.truncate(length);
                return Ok(Secret::new(std::mem::take(&mut *octets)));
            }
            Ok(read) => length += read,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(refuse(&format!("cannot be read: {errno}"))),
        }
    }
    Err(refuse(&format!("is longer than the {said_max} octets it may have")))
}

/// The key without the line end that editors put there.
pub(crate) fn without_line_end(secret: &Secret) -> Secret {
    let octets = secret.expose();
    let octets = octets.strip_suffix(b"\n").unwrap_or(octets);
    Secret::new(octets.strip_suffix(b"\r").unwrap_or(octets).to_vec())
}

/// What is the matter with a key, in words that do not describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weakness {
    /// No octet at all: never a key, whatever the operator says.
    Empty,
    /// Too long for the library that will hold it.
    TooLong,
    /// Cannot hold as many bits as are asked for.
    Guessable,
}

/// Judges a key by the most it can hold: its length times the bits of the alphabet it is written in, and whether
/// it uses enough of that alphabet. A bound from above: it refuses what is certainly weak (REQUIREMENTS F-1).
pub(crate) fn weakness(secret: &Secret) -> Option<Weakness> {
    let octets = secret.expose();
    let all = |belongs: fn(&u8) -> bool| octets.iter().all(belongs);
    // In tenths of a bit, rounded down.
    let tenths = if all(u8::is_ascii_digit) {
        33
    } else if all(u8::is_ascii_hexdigit) {
        40
    } else if all(u8::is_ascii_lowercase) || all(u8::is_ascii_uppercase) {
        47
    } else if all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'-' | b'_' | b'=')) {
        60
    } else if all(|b| matches!(b, b' '..=b'~')) {
        65
    } else {
        80
    };
    let mut seen = [false; 256];
    octets.iter().for_each(|octet| seen[usize::from(*octet)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    match octets.len() {
        0 => Some(Weakness::Empty),
        length if length > SECRET_OCTETS_MAX => Some(Weakness::TooLong),
        length if length * tenths < SECRET_BITS_MIN * 10 || distinct < DISTINCT_MIN => {
            Some(Weakness::Guessable)
        }
        _ => None,
    }
}

/// Fewest different octets: 128 random bits show fewer than this once in 2^40 keys, even as digits.
const DISTINCT_MIN: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn judged(text: &[u8]) -> Option<Weakness> {
        weakness(&Secret::new(text.to_vec()))
    }

    #[test] // F-1
    fn a_key_must_be_able_to_hold_128_bits() {
        assert_eq!(judged(b""), Some(Weakness::Empty));
        assert_eq!(judged(b"warren-test-psk"), Some(Weakness::Guessable));
        assert_eq!(judged(b"0123456789abcdef"), Some(Weakness::Guessable), "64 bits of hexadecimal digits");
        assert_eq!(judged(b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"), Some(Weakness::Guessable));
        assert_eq!(judged(b"00112233445566778899aabbccddeeff"), None);
        assert_eq!(judged(&(0..16).map(|n| n * 11 + 3).collect::<Vec<u8>>()), None);
        assert_eq!(judged(&[b'x'; SECRET_OCTETS_MAX + 1]), Some(Weakness::TooLong));
    }

    #[test]
    fn a_trailing_line_end_is_not_part_of_the_key() {
        for text in ["key", "key\n", "key\r\n"] {
            assert_eq!(without_line_end(&Secret::new(text.into())).expose(), b"key");
        }
        assert_eq!(without_line_end(&Secret::new("key\n\n".into())).expose(), b"key\n");
    }

    fn refusal(files: &SecretFiles, name: &str) -> SecretError {
        match files.secret(Path::new(name)) {
            Ok(_) => panic!("{name} was accepted"),
            Err(error) => error,
        }
    }

    #[test] // F-33
    fn only_a_regular_file_that_nobody_else_can_read_is_a_key_file() {
        let directory = tempfile::tempdir().unwrap();
        let files = SecretFiles::beside(directory.path());
        let path = directory.path().join("psk");
        fs::write(&path, "hunter2hunter2\n").unwrap();
        for mode in [0o640, 0o604, 0o610, 0o620, 0o602] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let refused = refusal(&files, "psk").to_string();
            assert!(refused.contains("chmod 600") && !refused.contains("hunter2"), "{refused}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(
            files.secret(Path::new("psk")).unwrap_or_else(|e| panic!("{e}")).expose(),
            b"hunter2hunter2\n"
        );

        symlink(&path, directory.path().join("link")).unwrap();
        assert!(refusal(&files, "link").to_string().contains("symbolic link"));
        assert!(matches!(refusal(&files, "."), SecretError::Refused(_)));
        assert_eq!(refusal(&files, "nothing"), SecretError::Missing);

        fs::write(&path, vec![b'x'; SECRET_OCTETS_MAX + 3]).unwrap();
        assert!(refusal(&files, "psk").to_string().contains("longer"));
    }
}
