//! Every maximum of the kernel's view, with its reason.

use std::time::Duration;

/// Routes mirrored: a full Internet table of both families with room to grow. More are left out and counted.
pub(crate) const ROUTES_MAX: usize = 1 << 21;
/// Neighbours mirrored: far more than the kernel itself keeps by default (`gc_thresh3` = 1024).
pub(crate) const NEIGHBOURS_MAX: usize = 1 << 16;
/// Addresses of the gateway's own mirrored.
pub(crate) const ADDRESSES_MAX: usize = 1 << 14;
/// Links mirrored: hosts with many containers have thousands.
pub(crate) const LINKS_MAX: usize = 1 << 14;

/// Octets of the notification socket's receive buffer: a routing daemon's burst of some ten thousand routes.
pub(crate) const RECEIVE_OCTETS: usize = 4 << 20;
/// How long changes are collected before they are published together.
pub(crate) const SETTLE: Duration = Duration::from_millis(20);
/// Least time between two dumps of the routing tables: a flapping session must not keep a core busy with them.
pub(crate) const ROUTE_DUMPS_APART: Duration = Duration::from_millis(250);
/// How long one dump may take before the connection is made anew.
pub(crate) const DUMP_PATIENCE: Duration = Duration::from_secs(10);
/// Wait before a lost netlink connection is made anew.
pub(crate) const RECONNECT_AFTER: Duration = Duration::from_millis(500);

/// Neighbours that somebody waits for, or did lately.
pub(crate) const RESOLUTIONS_MAX: usize = 4096;
/// Least time between two requests for the same neighbour: the kernel itself asks once a second.
pub(crate) const RESOLUTIONS_APART: Duration = Duration::from_secs(1);
/// Requests in one second over all: a scan of a connected prefix must not become a flood of ARP.
pub(crate) const RESOLUTIONS_EACH_SECOND: u32 = 256;
/// How long after the last request a neighbour counts as used.
pub(crate) const IN_USE_FOR: Duration = Duration::from_secs(600);
/// Least time between two confirmations of the same stale neighbour.
pub(crate) const REFRESHES_APART: Duration = Duration::from_secs(30);
/// Confirmations in one round.
pub(crate) const REFRESHES_MAX: usize = 256;

/// Routes into the tun device: as many as the largest sensible set of remote prefixes.
pub(crate) const TUN_ROUTES_MAX: usize = 1 << 16;
