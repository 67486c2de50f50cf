//! Tells the service manager how things stand (`sd_notify(3)`): one datagram of text to the socket it names.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where the service manager listens.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// Sends `state`, for example `READY=1`. Without a service manager nothing happens, and nobody misses it.
pub(crate) fn notify(state: &str) {
    if let Some(path) = std::env::var_os(SOCKET_VARIABLE).and_then(|path| path.into_string().ok())
        && let Err(error) = send(&path, state)
    {
        tracing::warn!("the service manager at {path} was not told {state:?}: {error}");
    }
}

/// A leading `@` stands for the abstract namespace.
fn send(path: &str, state: &str) -> std::io::Result<()> {
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_arrives_by_path_and_by_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let abstract_name = format!("warren-test-{}", std::process::id());
        let by_path = UnixDatagram::bind(&path).unwrap();
        let by_name =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&abstract_name).unwrap()).unwrap();
        send(path.to_str().unwrap(), "READY=1").unwrap();
        send(&format!("@{abstract_name}"), "STOPPING=1").unwrap();
        let mut octets = [0; 32];
        let length = by_path.recv(&mut octets).unwrap();
        assert_eq!(&octets[..length], b"READY=1");
        let length = by_name.recv(&mut octets).unwrap();
        assert_eq!(&octets[..length], b"STOPPING=1");
    }
}
