//! Every maximum of this program, with its reason.

use std::time::Duration;

/// Shortest time between two looks: the daemon has better things to do.
pub(crate) const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest time between two looks, and longest wait for a tunnel.
pub(crate) const INTERVAL_MAX: Duration = Duration::from_secs(3600);
/// Time between two looks at a tunnel that is waited for.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// How long `dpctl ted probe` waits for its end: three probes with their waits, and a negotiation.
pub(crate) const PROBE_WAIT_MAX: Duration = Duration::from_secs(15);
/// Columns when the terminal does not say.
pub(crate) const WIDTH_DEFAULT: u16 = 100;
/// Fewest columns that tables are laid out for.
pub(crate) const WIDTH_MIN: u16 = 60;
/// Most columns used: longer lines are hard to follow.
pub(crate) const WIDTH_MAX: u16 = 160;
/// Columns from which on the lists show where an SA leads.
pub(crate) const WIDTH_WIDE: u16 = 120;
/// Drop reasons shown in the live view.
pub(crate) const WATCHED_DROPS_MAX: usize = 8;
/// Octets of one line of `dpctl intersect --batch`: four IPv6 addresses with masks and ports need a quarter of it.
pub(crate) const LINE_OCTETS_MAX: u64 = 4096;
