//! A blocking client for `dpctl` and tests. The daemon has its own asynchronous end.

use crate::answer::{Answer, Outcome};
use crate::codec::{decode_response, encode_request};
use crate::limits::{ANSWER_WAIT_MAX, RESPONSE_OCTETS_MAX};
use crate::refusal::Refusal;
use crate::request::{Command, Request};
use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Why there is no answer.
#[derive(Debug)]
pub enum CallError {
    /// Nobody listens at that path.
    NotRunning(PathBuf),
    /// The socket is there, but not for us.
    NotAllowed(PathBuf),
    /// The connection broke, or the answer did not come in time.
    Broken(io::Error),
    /// The daemon answered with a refusal, or with something that is no answer.
    Refused(Refusal),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning(path) => write!(
                f,
                "warrend does not answer at {}: is it running? \
                 (start it with `warrend FILE`, or name its control_socket with --socket PATH)",
                path.display()
            ),
            Self::NotAllowed(path) => {
                write!(
                    f,
                    "no permission for {}: run as root or as a member of the socket's group",
                    path.display()
                )
            }
            Self::Broken(error) => write!(f, "the conversation with warrend broke off: {error}"),
            Self::Refused(refusal) => refusal.fmt(f),
        }
    }
}

impl std::error::Error for CallError {}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        Self::Broken(error)
    }
}

/// One connection; calls follow each other.
pub struct Client {
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the daemon's control socket.
    pub fn connect(path: &Path) -> Result<Self, CallError> {
        let stream = UnixStream::connect(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                CallError::NotRunning(path.to_owned())
            }
            io::ErrorKind::PermissionDenied => CallError::NotAllowed(path.to_owned()),
            _ => CallError::Broken(error),
        })?;
        stream.set_read_timeout(Some(ANSWER_WAIT_MAX))?;
        stream.set_write_timeout(Some(ANSWER_WAIT_MAX))?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Asks and waits for the answer.
    pub fn call(&mut self, command: Command) -> Result<Answer, CallError> {
        self.stream.get_mut().write_all(&encode_request(&Request::new(command)))?;
        let mut line = Vec::new();
        // One octet more than allowed, so that an overlong line is told from one that just fits.
        let limit = RESPONSE_OCTETS_MAX as u64 + 1;
        let read = self.stream.by_ref().take(limit).read_until(b'\n', &mut line)?;
        if read == 0 || (line.last() != Some(&b'\n') && line.len() <= RESPONSE_OCTETS_MAX) {
            return Err(CallError::Broken(io::ErrorKind::UnexpectedEof.into()));
        }
        match decode_response(&line).map_err(CallError::Refused)?.outcome {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Refusal(refusal) => Err(CallError::Refused(refusal)),
        }
    }
}
