//! `[[port]]`: an interface that the workers take over.

use std::num::NonZeroU16;

/// On which side of the IPsec boundary (RFC 4301 §3.1) a port lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Protected networks.
    Inside,
    /// Unprotected networks.
    Outside,
}

/// How the XDP program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortMode {
    /// Native if the driver can, else generic.
    Auto,
    /// In the driver, or the daemon refuses to start.
    Native,
    /// In the kernel's generic hook.
    Generic,
}

/// Whether frames are shared with the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZeroCopy {
    /// If the driver can.
    Auto,
    /// Or the daemon refuses to start.
    On,
    /// The kernel copies every frame.
    Off,
}

/// Which receive queues of the interface get a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queues {
    /// All that the interface has.
    All,
    /// The first so many; traffic on the others stays with the kernel.
    First(NonZeroU16),
}

/// One port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortConfig {
    /// The operator's name for it.
    pub name: String,
    /// The kernel's name of the interface.
    pub interface: String,
    /// Which way it faces.
    pub side: Side,
    /// Its receive queues.
    pub queues: Queues,
    /// How the XDP program is attached.
    pub mode: PortMode,
    /// Whether frames are shared with the driver.
    pub zero_copy: ZeroCopy,
}
