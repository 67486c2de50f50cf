//! The kernel as the daemon sees it: what it knows is mirrored, what it must not do is switched off.
//!
//! ```text
//!   links, addresses, routes, neighbours ──netlink──▶ mirror ──▶ View ──▶ forwarding table of the engine
//!                                                                    └──▶ addresses of the XDP program
//!   engine: unresolved next hop ──▶ neighbours ──▶ the kernel asks by ARP or ND
//!   gateway's own traffic ──ip rule──▶ table 220 ──▶ warren0       (tun_routes)
//!   transit that the engine does not see ──▶ nowhere               (sysctl, guard)
//! ```

pub(crate) mod guard;
pub(crate) mod limits;
pub(crate) mod links;
pub(crate) mod mirror;
#[cfg(test)]
mod namespace;
pub(crate) mod neighbours;
mod notification;
pub(crate) mod sysctl;
pub(crate) mod tables;
pub(crate) mod tun_addresses;
pub(crate) mod tun_routes;
pub(crate) mod way;

use rtnetlink::Handle;
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::RouteNetlinkMessage;
use std::io;

/// What the kernel refused.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A netlink socket could not be opened.
    #[error("netlink: {0}")]
    Socket(#[from] io::Error),
    /// A netlink request failed.
    #[error("{what}: {reason}")]
    Request {
        /// What was asked.
        what: String,
        /// The kernel's answer.
        reason: String,
    },
    /// No link has that name.
    #[error("there is no interface `{0}`")]
    NoSuchLink(String),
    /// A kernel variable could not be read or written.
    #[error("{path}: {source}")]
    Variable {
        /// Its file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A kernel variable did not take the value.
    #[error("{path} is {found} although {wanted} was written")]
    NotTaken {
        /// Its file.
        path: String,
        /// What was written.
        wanted: &'static str,
        /// What it says.
        found: String,
    },
    /// More routes than [`limits::TUN_ROUTES_MAX`].
    #[error("the tunnel rules need {0} routes, more than {max}", max = limits::TUN_ROUTES_MAX)]
    TooManyRoutes(usize),
}

impl Error {
    /// The kernel's answer in the words of errno.
    fn request(what: impl Into<String>, error: &rtnetlink::Error) -> Self {
        let reason = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io().to_string(),
            other => other.to_string(),
        };
        Self::Request { what: what.into(), reason }
    }
}

/// A connection for requests. Its task ends when the last handle is gone.
///
/// # Errors
/// No netlink socket to be had.
pub(crate) fn connect() -> Result<Handle, Error> {
    let (connection, handle, _) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle)
}

/// The errno of a refused request, 0 for other failures.
fn errno(error: &rtnetlink::Error) -> i32 {
    match error {
        rtnetlink::Error::NetlinkError(message) => message.raw_code().abs(),
        _ => 0,
    }
}

/// Whether the notification socket lost messages.
fn is_overrun(payload: &NetlinkPayload<RouteNetlinkMessage>) -> bool {
    matches!(payload, NetlinkPayload::Overrun(_))
}
