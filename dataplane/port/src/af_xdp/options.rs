//! Socket options and system calls that `rustix` does not wrap.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use crate::limits::{BUSY_POLL_BUDGET, BUSY_POLL_US};

/// `XDP_MAX_TX_SKB_BUDGET`, Linux 6.17: packets that one system call sends in copy mode, instead of 32.
const XDP_MAX_TX_SKB_BUDGET: libc::c_int = 9;

/// Asks the kernel to let our loop poll the driver. All three options or none.
pub(super) fn prefer_busy_poll(fd: BorrowedFd<'_>) -> io::Result<()> {
    set(fd, libc::SOL_SOCKET, libc::SO_PREFER_BUSY_POLL, 1)?;
    set(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL, BUSY_POLL_US)?;
    set(fd, libc::SOL_SOCKET, libc::SO_BUSY_POLL_BUDGET, BUSY_POLL_BUDGET)
}

/// The NAPI context that the last packet came through; 0 while there was no packet, and for ever where the driver has
/// none to show (veth).
pub(super) fn incoming_napi_id(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut value: libc::c_uint = 0;
    let mut octets = size_of::<libc::c_uint>() as libc::socklen_t;
    // SAFETY: both pointers lead to live locals, and `octets` says how large the first one is.
    let rc = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_INCOMING_NAPI_ID,
            (&raw mut value).cast(),
            &raw mut octets,
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(value) }
}

/// Lets one system call send a whole ring in copy mode. Older kernels refuse and keep to 32.
pub(super) fn raise_transmit_budget(fd: BorrowedFd<'_>, packets: u32) -> io::Result<()> {
    set(fd, libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, libc::c_int::try_from(packets).map_err(io::Error::other)?)
}

/// Wakes the kernel to send what is in the tx ring.
pub(super) fn wake_transmit(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no data and no address are passed.
    let rc =
        unsafe { libc::sendto(fd.as_raw_fd(), std::ptr::null(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Wakes the driver to receive into the fill ring's chunks, and polls it where busy polling is on.
pub(super) fn wake_receive(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: no buffer and no address are passed.
    let rc = unsafe {
        libc::recvfrom(
            fd.as_raw_fd(),
            std::ptr::null_mut(),
            0,
            libc::MSG_DONTWAIT,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn set(fd: BorrowedFd<'_>, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer leads to a live local of the size that is given.
    let rc = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
