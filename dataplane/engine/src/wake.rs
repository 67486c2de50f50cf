//! How a sleeper is woken: an eventfd, rung only when somebody may be asleep.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

/// Something that can be waited for in `poll(2)`.
pub(crate) struct Bell {
    fd: OwnedFd,
    asleep: AtomicBool,
}

impl Bell {
    /// A silent bell.
    ///
    /// # Errors
    /// What the kernel says when it has no descriptor left.
    pub(crate) fn new() -> io::Result<Self> {
        let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { fd, asleep: AtomicBool::new(false) })
    }

    /// Rings.
    pub(crate) fn ring(&self) {
        // Refused only when the counter is at its maximum, and then the bell is ringing already.
        let _ = rustix::io::write(&self.fd, &1u64.to_ne_bytes());
    }

    /// Rings if the owner has said that it will sleep. What it shall find must be written before.
    pub(crate) fn ring_if_asleep(&self) {
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.ring();
        }
    }

    /// The owner will sleep; it must look for work once more after this, or it may miss what came a moment ago.
    pub(crate) fn doze(&self) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// The owner is awake, and the bell silent.
    pub(crate) fn wake(&self) {
        self.asleep.store(false, Ordering::Relaxed);
        self.hush();
    }

    /// Silences the bell.
    pub(crate) fn hush(&self) {
        // Refused only when it was silent already.
        let _ = rustix::io::read(&self.fd, &mut [0u8; 8]);
    }

    /// Readable while it rings.
    #[must_use]
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
