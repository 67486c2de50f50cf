//! The four rings of a socket: single producer, single consumer, one side in the kernel.
//!
//! Both indices run freely through `u32` and are masked on access. Each side keeps a private copy of both and reads
//! the other side's only when its copy says that the ring is full or empty: the cache line of the other side is the
//! dear part.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::net::xdp::XdpRingOffset;

/// `XDP_RING_NEED_WAKEUP`.
const NEED_WAKEUP: u32 = 1;

/// What `rx` and `tx` carry: `struct xdp_desc`.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Descriptor {
    pub(super) address: u64,
    pub(super) octets: u32,
    pub(super) options: u32,
}

/// A mapping of ring memory.
struct Region {
    base: NonNull<u8>,
    octets: usize,
}

impl Region {
    fn map(fd: Option<BorrowedFd<'_>>, page_offset: u64, octets: usize) -> io::Result<Self> {
        let (fd, flags) = match fd {
            Some(fd) => (fd.as_raw_fd(), libc::MAP_SHARED | libc::MAP_POPULATE),
            None => (-1, libc::MAP_SHARED | libc::MAP_ANONYMOUS),
        };
        let offset = libc::off_t::try_from(page_offset).map_err(io::Error::other)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
        let base = unsafe {
            libc::mmap(std::ptr::null_mut(), octets, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: NonNull::new(base.cast()).expect("mmap does not return page zero"), octets })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: exactly what `mmap` returned; the ring that points into it is dropped with it.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.octets) };
    }
}

/// What both kinds of ring are made of.
struct Shared<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    /// Absent on kernels before 5.4.
    flags: Option<NonNull<AtomicU32>>,
    entries: NonNull<T>,
    mask: u32,
    _region: Region,
}

// SAFETY: the pointers lead into the region that travels with them, and only the owner of the ring uses them; the
// other side is the kernel, which does not care on which thread we are.
unsafe impl<T: Send> Send for Shared<T> {}

impl<T: Copy> Shared<T> {
    fn map(
        fd: Option<BorrowedFd<'_>>,
        page_offset: u64,
        at: &XdpRingOffset,
        entries: u32,
    ) -> io::Result<Self> {
        let wrong = || io::Error::other("the kernel's ring offsets do not fit into a ring");
        let offset = |octets: u64, align: usize| {
            usize::try_from(octets).ok().filter(|octets| octets % align == 0).ok_or_else(wrong)
        };
        let last = offset(at.desc, align_of::<T>())?;
        let octets = (entries as usize).checked_mul(size_of::<T>()).and_then(|room| room.checked_add(last));
        let octets = octets.ok_or_else(wrong)?;
        let region = Region::map(fd, page_offset, octets)?;
        let index = |at: u64| {
            let at = offset(at, align_of::<AtomicU32>())?;
            if at > octets - size_of::<AtomicU32>() {
                return Err(wrong());
            }
            // SAFETY: `at` and the four octets behind it were just checked to lie in the region.
            Ok(unsafe { region.base.add(at) }.cast::<AtomicU32>())
        };
        Ok(Self {
            producer: index(at.producer)?,
            consumer: index(at.consumer)?,
            flags: at.flags.map(index).transpose()?,
            // SAFETY: `last` is inside the region, which is `entries` values longer than that.
            entries: unsafe { region.base.add(last) }.cast(),
            mask: entries - 1,
            _region: region,
        })
    }

    fn producer(&self) -> &AtomicU32 {
        // SAFETY: points to an aligned, mapped word that both sides access atomically only.
        unsafe { self.producer.as_ref() }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as in `producer`.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as in `producer`.
        self.flags.is_none_or(|flags| unsafe { flags.as_ref() }.load(Ordering::Relaxed) & NEED_WAKEUP != 0)
    }

    fn entry(&self, index: u32) -> *mut T {
        // SAFETY: masked, so below the number of entries.
        unsafe { self.entries.as_ptr().add((index & self.mask) as usize) }
    }
}

/// A ring that we fill and the kernel empties: fill and tx.
pub(super) struct ProducerRing<T> {
    shared: Shared<T>,
    /// What we have written, published or not.
    written: u32,
    /// What the kernel had consumed when we last looked.
    consumed: u32,
}

impl<T: Copy> ProducerRing<T> {
    pub(super) fn map(fd: BorrowedFd<'_>, page: u64, at: &XdpRingOffset, entries: u32) -> io::Result<Self> {
        Shared::map(Some(fd), page, at, entries).map(Self::over)
    }

    fn over(shared: Shared<T>) -> Self {
        let written = shared.producer().load(Ordering::Relaxed);
        let consumed = shared.consumer().load(Ordering::Acquire);
        Self { shared, written, consumed }
    }

    /// Entries that can be pushed now; looks at the kernel's index only when fewer than `wanted` are known.
    pub(super) fn free(&mut self, wanted: u32) -> u32 {
        let size = self.shared.mask + 1;
        if size - self.written.wrapping_sub(self.consumed) < wanted {
            // Acquire: the kernel is done reading the entries that it gave back.
            self.consumed = self.shared.consumer().load(Ordering::Acquire);
        }
        size - self.written.wrapping_sub(self.consumed)
    }

    /// Writes the next entry. The caller has asked `free` first.
    pub(super) fn push(&mut self, value: T) {
        debug_assert!(self.written.wrapping_sub(self.consumed) <= self.shared.mask);
        // SAFETY: the entry lies in the region, and the kernel does not read it before `publish`.
        unsafe { self.shared.entry(self.written).write(value) };
        self.written = self.written.wrapping_add(1);
    }

    /// Shows the kernel what was pushed.
    pub(super) fn publish(&mut self) {
        // Release: the entries are visible before the index that says so.
        self.shared.producer().store(self.written, Ordering::Release);
    }

    /// Entries that the kernel has not consumed yet.
    pub(super) fn unconsumed(&mut self) -> u32 {
        self.consumed = self.shared.consumer().load(Ordering::Acquire);
        self.written.wrapping_sub(self.consumed)
    }

    /// `unconsumed` as of the last look.
    pub(super) fn unconsumed_last_seen(&self) -> u32 {
        self.written.wrapping_sub(self.consumed)
    }

    /// Whether the kernel sleeps over this ring. There is no fence between publishing and asking: a wrong "no" is
    /// corrected by the next call, which happens because entries are left, or by `poll(2)`, which wakes the driver too.
    pub(super) fn needs_wakeup(&self) -> bool {
        self.shared.needs_wakeup()
    }
}

/// A ring that the kernel fills and we empty: rx and completion.
pub(super) struct ConsumerRing<T> {
    shared: Shared<T>,
    /// What the kernel had written when we last looked.
    written: u32,
    /// What we have read, given back or not.
    consumed: u32,
}

impl<T: Copy> ConsumerRing<T> {
    pub(super) fn map(fd: BorrowedFd<'_>, page: u64, at: &XdpRingOffset, entries: u32) -> io::Result<Self> {
        Shared::map(Some(fd), page, at, entries).map(Self::over)
    }

    fn over(shared: Shared<T>) -> Self {
        let consumed = shared.consumer().load(Ordering::Relaxed);
        Self { shared, written: consumed, consumed }
    }

    /// Entries that can be popped now, at most `wanted`.
    pub(super) fn available(&mut self, wanted: u32) -> u32 {
        if self.written == self.consumed {
            // Acquire: what the entries (and the chunks they name) hold was written before the index.
            self.written = self.shared.producer().load(Ordering::Acquire);
        }
        self.written.wrapping_sub(self.consumed).min(wanted)
    }

    /// Reads the next entry. The caller has asked `available` first.
    pub(super) fn pop(&mut self) -> T {
        debug_assert!(self.written != self.consumed);
        // SAFETY: the entry lies in the region and the kernel does not write it again before `give_back`.
        let value = unsafe { self.shared.entry(self.consumed).read() };
        self.consumed = self.consumed.wrapping_add(1);
        value
    }

    /// Lets the kernel have the popped entries again.
    pub(super) fn give_back(&mut self) {
        // Release: our reads of the entries are done before the kernel may overwrite them.
        self.shared.consumer().store(self.consumed, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: XdpRingOffset = XdpRingOffset { producer: 0, consumer: 64, desc: 192, flags: Some(128) };

    /// Both ends of one ring, the second one playing the kernel.
    fn pair(entries: u32, start: u32) -> (ProducerRing<u64>, ConsumerRing<u64>) {
        let ours = Shared::<u64>::map(None, 0, &AT, entries).unwrap();
        ours.producer().store(start, Ordering::Relaxed);
        ours.consumer().store(start, Ordering::Relaxed);
        let far = Shared {
            producer: ours.producer,
            consumer: ours.consumer,
            flags: ours.flags,
            entries: ours.entries,
            mask: ours.mask,
            // The near end keeps the memory; tests drop the far end first or leak nothing of value.
            _region: Region::map(None, 0, 4096).unwrap(),
        };
        (ProducerRing::over(ours), ConsumerRing::over(far))
    }

    #[test]
    fn what_is_pushed_is_popped_in_order_across_the_wrap_of_the_index() {
        let (mut near, mut far) = pair(4, u32::MAX - 2);
        for round in 0..10u64 {
            assert_eq!(near.free(4), 4);
            for n in 0..4 {
                near.push(round * 4 + n);
            }
            assert_eq!(near.free(1), 0);
            assert_eq!(far.available(9), 0, "nothing is seen before it is published");
            near.publish();
            assert_eq!(near.unconsumed(), 4);
            assert_eq!(far.available(3), 3);
            for n in 0..4 {
                assert_eq!(far.pop(), round * 4 + n);
            }
            assert_eq!(near.free(1), 0, "nothing is free before it is given back");
            far.give_back();
            assert_eq!(near.unconsumed(), 0);
        }
    }

    #[test]
    fn the_wakeup_flag_is_read_afresh() {
        let (near, far) = pair(4, 0);
        assert!(!near.needs_wakeup());
        // SAFETY: the word is mapped as long as `near` lives.
        unsafe { far.shared.flags.unwrap().as_ref() }.store(NEED_WAKEUP, Ordering::Relaxed);
        assert!(near.needs_wakeup());
    }

    #[test]
    fn a_kernel_without_flags_is_always_woken() {
        let at = XdpRingOffset { flags: None, ..AT };
        assert!(ProducerRing::over(Shared::<u64>::map(None, 0, &at, 4).unwrap()).needs_wakeup());
    }

    #[test]
    fn offsets_outside_the_ring_are_refused() {
        for at in [
            XdpRingOffset { producer: 1 << 20, ..AT },
            XdpRingOffset { consumer: 2, ..AT },
            XdpRingOffset { desc: u64::MAX - 7, ..AT },
        ] {
            assert!(Shared::<u64>::map(None, 0, &at, 4).is_err(), "{at:?}");
        }
    }

    #[test]
    fn two_threads_pass_every_value_once() {
        let (mut near, mut far) = pair(64, u32::MAX - 100);
        const VALUES: u64 = 200_000;
        let producer = std::thread::spawn(move || {
            let mut next = 0;
            while next < VALUES {
                for _ in 0..near.free(16).min(16) {
                    near.push(next);
                    next += 1;
                }
                near.publish();
                std::thread::yield_now();
            }
            near
        });
        let mut expected = 0;
        while expected < VALUES {
            for _ in 0..far.available(16) {
                assert_eq!(far.pop(), expected);
                expected += 1;
            }
            far.give_back();
            std::thread::yield_now();
        }
        assert_eq!(producer.join().unwrap().unconsumed(), 0);
    }
}
