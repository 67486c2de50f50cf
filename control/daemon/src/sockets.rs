//! IKE's UDP sockets: ports 500 and 4500 of each of our addresses that a peer is configured for.
//!
//! One socket for each address instead of one for all: the path of a datagram then has both its ends without any
//! ancillary data, and an answer leaves from the address that was asked.

use crate::limits::{DATAGRAM_OCTETS_MAX, DATAGRAMS_EACH_TURN_MAX};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::Poll;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;
use warren_ike::Path;

/// ISAKMP, and ISAKMP beside ESP in UDP.
const PORTS: [u16; 2] = [500, 4500];

/// An address that could not be listened on.
#[derive(Debug, thiserror::Error)]
#[error("UDP {address}: {source}{hint}")]
pub(crate) struct ListenError {
    address: SocketAddr,
    source: io::Error,
    hint: &'static str,
}

impl ListenError {
    /// Whether the address may still come: an interface that gets it later is no reason not to start.
    pub(crate) fn may_pass(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrNotAvailable
    }
}

/// All sockets.
#[derive(Default)]
pub(crate) struct Sockets {
    by_address: BTreeMap<SocketAddr, UdpSocket>,
}

impl Sockets {
    /// Listens on both ports of `addresses` and stops listening on others. Datagrams carry `mark`, by which the
    /// routing rules keep IKE out of the tunnels. What could not be listened on is handed back.
    pub(crate) fn listen(
        &mut self,
        addresses: impl IntoIterator<Item = IpAddr>,
        mark: u32,
    ) -> Vec<ListenError> {
        let mut old = std::mem::take(&mut self.by_address);
        let mut errors = Vec::new();
        for address in addresses {
            for port in PORTS {
                let address = SocketAddr::new(address, port);
                if self.by_address.contains_key(&address) {
                    continue;
                }
                match old.remove(&address).map_or_else(|| open(address, mark), Ok) {
                    Ok(socket) => drop(self.by_address.insert(address, socket)),
                    Err(source) => errors.push(ListenError { address, hint: hint(&source), source }),
                }
            }
        }
        errors
    }

    /// Waits for datagrams and hands over those of one socket, at most [`DATAGRAMS_EACH_TURN_MAX`].
    pub(crate) async fn receive(&self, buffer: &mut Vec<u8>, mut take: impl FnMut(Path, &[u8])) {
        buffer.resize(DATAGRAM_OCTETS_MAX, 0);
        poll_fn(|context| {
            let mut any = false;
            for (local, socket) in &self.by_address {
                for _ in 0..DATAGRAMS_EACH_TURN_MAX {
                    let mut octets = ReadBuf::new(buffer);
                    match socket.poll_recv_from(context, &mut octets) {
                        Poll::Ready(Ok(remote)) => {
                            any = true;
                            take(Path { local: *local, remote }, octets.filled());
                        }
                        // An ICMP error about an earlier datagram. Anyone can forge one; repetition decides.
                        Poll::Ready(Err(error)) => {
                            any = true;
                            tracing::debug!("receiving on {local}: {error}");
                        }
                        Poll::Pending => break,
                    }
                }
            }
            if any { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Sends one datagram. What cannot be sent is lost, as on the wire; repetition is IKE's.
    pub(crate) fn send(&self, path: &Path, octets: &[u8]) {
        let Some(socket) = self.by_address.get(&path.local) else {
            tracing::warn!("no socket for {path}: a datagram of {} octets is lost", octets.len());
            return;
        };
        let sent = SockRef::from(socket).send_to(octets, &path.remote.into());
        match sent {
            Ok(_) => tracing::trace!("sent {} octets, {path}", octets.len()),
            Err(error) => tracing::debug!("sending {path}: {error}"),
        }
    }

    /// Where we listen.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &SocketAddr> {
        self.by_address.keys()
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; another IKE daemon runs here",
        io::ErrorKind::AddrNotAvailable => "; no interface has this address",
        io::ErrorKind::PermissionDenied => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, marks CAP_NET_ADMIN"
        }
        _ => "",
    }
}

fn open(address: SocketAddr, mark: u32) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    socket.set_mark(mark)?;
    // A certificate chain or many proposals may not fit the path; IKE has nothing better than IP fragments.
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
        let dont_care = rustix::net::sockopt::Ipv6PathMtuDiscovery::DONT;
        rustix::net::sockopt::set_ipv6_mtu_discover(&socket, dont_care)?;
    } else {
        let dont_care = rustix::net::sockopt::Ipv4PathMtuDiscovery::DONT;
        rustix::net::sockopt::set_ip_mtu_discover(&socket, dont_care)?;
    }
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}
