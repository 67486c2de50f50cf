//! Attaching an XDP program to an interface by a link: a descriptor that detaches the program when it is closed, and so
//! at the latest when the process ends (F-38). It is here and not beside the program because the system call needs
//! `unsafe`, and the library that loads the program offers links without a choice of mode.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use crate::XdpAttach;

const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// The head of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Attaches `program` to the interface in exactly this mode.
///
/// # Errors
/// What the kernel said: `EOPNOTSUPP` for a native attachment when the driver has none, `EBUSY` or `EEXIST` when
/// another program is attached, `EPERM` without `CAP_NET_ADMIN` and `CAP_BPF`.
pub fn attach_xdp(program: BorrowedFd<'_>, interface: u32, attach: XdpAttach) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        program: program.as_raw_fd().cast_unsigned(),
        interface,
        attach_type: BPF_XDP,
        flags: match attach {
            XdpAttach::Native => XDP_FLAGS_DRV_MODE,
            XdpAttach::Generic => XDP_FLAGS_SKB_MODE,
        },
    };
    // SAFETY: the pointer leads to a live, initialised local, and the size is its own.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_LINK_CREATE, &raw const attributes, size_of::<LinkCreate>())
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
