//! The control socket: who may ask what, one line each way. Answers come from the control loop.

use crate::limits::{ANSWER_WRITE_MAX, CONNECTION_IDLE_MAX, CONNECTIONS_MAX, REQUESTS_MAX};
use rustix::fs::Mode;
use rustix::process::{getegid, geteuid, umask};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf, UCred};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use warren_api::limits::REQUEST_OCTETS_MAX;
use warren_api::{Answer, Command, Refusal, RefusalWord, Response, decode_request, encode_response};

/// A request on its way to the control loop.
pub(crate) struct Question {
    pub(crate) command: Command,
    pub(crate) reply: oneshot::Sender<Result<Answer, Refusal>>,
}

/// The socket's file. Dropping it removes the file.
pub(crate) struct Server {
    path: PathBuf,
    accepting: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Listens at `path`. The runtime must be running.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, mpsc::Receiver<Question>)> {
        let listener = listen(path)?;
        let (questions, receiver) = mpsc::channel(REQUESTS_MAX);
        let accepting = tokio::spawn(accept(listener, questions));
        Ok((Self { path: path.to_owned(), accepting }, receiver))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!("{}: {error}", self.path.display());
        }
    }
}

/// The file appears with mode 0660: root and the daemon's group. A dead daemon's file is replaced, a living one's not.
fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    }
    // What is no socket refuses connections just as a dead daemon's socket does, and is nobody's to delete.
    let is_socket = |found: std::fs::Metadata| found.file_type().is_socket();
    if std::fs::symlink_metadata(path).is_ok_and(|found| !is_socket(found)) {
        let why = "something that is no socket is there already";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => {
            let why = "another warrend listens there; end it, or give this one its own control_socket";
            return Err(io::Error::new(io::ErrorKind::AddrInUse, why));
        }
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path)?,
        Err(_) => {}
    }
    let before = umask(Mode::from_raw_mode(0o117));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

async fn accept(listener: UnixListener, questions: mpsc::Sender<Question>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("control socket: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!("control socket: more than {CONNECTIONS_MAX} connections, one is refused");
            continue;
        };
        let questions = questions.clone();
        tokio::spawn(async move {
            if let Err(error) = converse(stream, questions).await {
                tracing::debug!("control connection: {error}");
            }
            drop(place);
        });
    }
}

/// Root, and whoever the daemon runs as. Others that the file's mode lets in may look (REQUIREMENTS F-34).
fn may_change(peer: &UCred) -> bool {
    peer.uid() == 0 || peer.uid() == geteuid().as_raw() || peer.gid() == getegid().as_raw()
}

async fn converse(stream: UnixStream, questions: mpsc::Sender<Question>) -> io::Result<()> {
    let trusted = may_change(&stream.peer_cred()?);
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::new(reader);
    loop {
        let Ok(line) = timeout(CONNECTION_IDLE_MAX, read_line(&mut reader)).await else { return Ok(()) };
        let line = line?;
        if line.is_empty() {
            return Ok(());
        }
        let overlong = line.len() > REQUEST_OCTETS_MAX;
        let outcome = match decode_request(&line) {
            Ok(request) => answer(request.command, trusted, &questions).await,
            Err(refusal) => Err(refusal),
        };
        write_line(&mut writer, outcome).await?;
        if overlong {
            return Ok(());
        }
    }
}

/// A line, or as much of it as tells that it is too long.
async fn read_line(reader: &mut BufReader<OwnedReadHalf>) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    reader.take(REQUEST_OCTETS_MAX as u64 + 2).read_until(b'\n', &mut line).await?;
    if line.last() == Some(&b'\n') {
        line.pop();
        // An empty line is malformed, not the end.
        if line.is_empty() {
            line.push(b' ');
        }
    }
    Ok(line)
}

async fn answer(
    command: Command,
    trusted: bool,
    questions: &mpsc::Sender<Question>,
) -> Result<Answer, Refusal> {
    if command.changes_state() && !trusted {
        let message = "only root, or the user and group that warrend runs as, may change tunnels";
        return Err(Refusal::new(RefusalWord::NotPermitted, message));
    }
    let (reply, answer) = oneshot::channel();
    let busy = || Refusal::new(RefusalWord::Busy, "too many requests at once; ask again");
    questions.try_send(Question { command, reply }).map_err(|_| busy())?;
    answer.await.unwrap_or_else(|_| Err(Refusal::new(RefusalWord::Failed, "warrend is stopping")))
}

async fn write_line(writer: &mut OwnedWriteHalf, outcome: Result<Answer, Refusal>) -> io::Result<()> {
    let line = encode_response(&Response::from(outcome));
    timeout(ANSWER_WRITE_MAX, writer.write_all(&line)).await?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use warren_api::Request;
    use warren_api::client::{CallError, Client};

    fn with_server(ask: impl FnOnce(&Path) + Send + 'static) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("below").join("warrend.sock");
            let (server, mut questions) = Server::open(&path).unwrap();
            let answering = tokio::spawn(async move {
                while let Some(question) = questions.recv().await {
                    let answer = match question.command {
                        Command::TunnelUp { name } => Err(Refusal::new(RefusalWord::UnknownTunnel, name)),
                        _ => Ok(Answer::Done),
                    };
                    drop(question.reply.send(answer));
                }
            });
            let asked = path.clone();
            tokio::task::spawn_blocking(move || ask(&asked)).await.unwrap();
            drop(server);
            answering.abort();
            assert!(!path.exists(), "the file goes with the server");
        });
    }

    #[test]
    fn one_connection_carries_any_number_of_requests() {
        with_server(|path| {
            let mut client = Client::connect(path).unwrap();
            for _ in 0..10 {
                assert_eq!(client.call(Command::Stats).unwrap(), Answer::Done);
            }
            let refused = client.call(Command::TunnelUp { name: "x".to_owned() });
            assert!(matches!(refused, Err(CallError::Refused(_))));
        });
    }

    #[test] // F-34
    fn the_file_is_for_root_and_the_group() {
        with_server(|path| {
            assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o660);
        });
    }

    #[test] // F-34
    fn an_overlong_line_is_refused_and_ends_the_connection() {
        use std::io::{BufRead, BufReader, Read, Write};
        with_server(|path| {
            let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            drop(stream.write_all(&vec![b'x'; REQUEST_OCTETS_MAX * 3]));
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.contains("too-long"), "{line}");
            let mut rest = Vec::new();
            assert_eq!(reader.read_to_end(&mut rest).unwrap_or(0), 0);
        });
    }

    #[test] // F-34
    fn nonsense_is_refused_without_ending_the_connection() {
        use std::io::{BufRead, BufReader, Write};
        with_server(|path| {
            let stream = std::os::unix::net::UnixStream::connect(path).unwrap();
            let mut reader = BufReader::new(stream);
            for _ in 0..3 {
                reader.get_mut().write_all(b"\n{}\n").unwrap();
                for _ in 0..2 {
                    let mut line = String::new();
                    reader.read_line(&mut line).unwrap();
                    assert!(line.contains("malformed"), "{line}");
                }
            }
            reader.get_mut().write_all(&warren_api::encode_request(&Request::new(Command::Drops))).unwrap();
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            assert!(line.contains("done"), "{line}");
        });
    }

    #[test] // F-34
    fn a_connection_beyond_the_limit_is_closed_and_one_that_ends_makes_room() {
        with_server(|path| {
            let mut clients: Vec<_> = (0..CONNECTIONS_MAX).map(|_| Client::connect(path).unwrap()).collect();
            for client in &mut clients {
                client.call(Command::Version).unwrap();
            }
            let beyond = Client::connect(path).unwrap().call(Command::Version);
            assert!(matches!(beyond, Err(CallError::Broken(_))));
            drop(clients.pop());
            let makes_room = || Client::connect(path).unwrap().call(Command::Version).is_ok();
            let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
            while !makes_room() {
                assert!(std::time::Instant::now() < deadline);
            }
        });
    }

    #[test]
    fn what_is_no_socket_is_never_deleted_for_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gw1.toml");
        std::fs::write(&path, "precious").unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        for taken in [&path, &link] {
            assert_eq!(listen(taken).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        assert!(link.is_symlink());
    }

    #[test]
    fn a_living_daemons_socket_is_not_taken_over_and_a_dead_ones_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("warrend.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_server, _questions) = Server::open(&path).unwrap();
            let second = Server::open(&path).err().unwrap();
            assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        });
    }
}
