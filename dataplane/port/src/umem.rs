//! The memory that packets live in: one mapping, divided into chunks, shared with the kernel by every `AF_XDP` socket
//! that is opened over it.

use std::io;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};

use crate::Frame;
use crate::limits::{FRAME_PAYLOAD_OCTETS_MIN, KERNEL_HEADROOM_OCTETS, UMEM_FRAMES_MAX, UMEM_PARTS_MAX};

/// What a UMEM shall look like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UmemConfig {
    /// Chunks in it.
    pub frames: u32,
    /// Octets of one chunk: 2048 or 4096, the sizes that every driver takes.
    pub frame_octets: u32,
    /// Octets in front of every packet. The kernel keeps 256 of its own in front of what it receives, so fewer than
    /// 256 mean 256.
    pub headroom: u32,
    /// Ask for 2 MiB pages; where the system has none to give, ordinary pages serve.
    pub huge_pages: bool,
}

impl Default for UmemConfig {
    /// 16 MiB: two ports with full rings, and as many frames again in the hands of the engine.
    fn default() -> Self {
        Self { frames: 8192, frame_octets: 2048, headroom: 256, huge_pages: true }
    }
}

/// One worker's share of the memory: the chunks that are free, and the right to turn chunks into frames.
///
/// Frames are counted. When the last share is dropped while frames (or chunks in the kernel's rings) are still out,
/// the mapping is leaked on purpose: a frame points into it.
pub struct Umem {
    mapping: Arc<Mapping>,
    free: Vec<u32>,
    /// Chunks that this share began with.
    share: usize,
    headroom: u32,
}

impl Umem {
    /// Maps the memory, zeroed by the kernel.
    ///
    /// # Errors
    /// `InvalidInput` when the configuration cannot be met by any machine, else what `mmap` said.
    pub fn new(config: &UmemConfig) -> io::Result<Self> {
        let headroom = config.headroom.max(KERNEL_HEADROOM_OCTETS);
        let refuse = |why: &str| Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        if !matches!(config.frame_octets, 2048 | 4096) {
            return refuse("a frame has 2048 or 4096 octets");
        }
        if headroom > config.frame_octets - FRAME_PAYLOAD_OCTETS_MIN {
            return refuse("the headroom leaves no room for an Ethernet frame");
        }
        if config.frames == 0 || config.frames > UMEM_FRAMES_MAX {
            return refuse("a UMEM has between 1 and 2^20 frames");
        }
        let mapping = Mapping::new(config.frames, config.frame_octets, config.huge_pages)?;
        // Lowest address first: neighbouring packets then tend to be neighbours in memory.
        let free = (0..config.frames).rev().collect::<Vec<u32>>();
        Ok(Self { mapping: Arc::new(mapping), share: free.len(), free, headroom })
    }

    /// Divides the free chunks evenly among `parts` workers. All parts are the same memory: a frame handed from one
    /// worker to another may be transmitted and released there.
    ///
    /// # Errors
    /// `InvalidInput` for no parts, or more than there are chunks or workers to serve.
    pub fn split(mut self, parts: usize) -> io::Result<Vec<Self>> {
        if parts == 0 || parts > UMEM_PARTS_MAX || parts > self.free.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "no such number of parts"));
        }
        let each = self.free.len() / parts;
        let mut out: Vec<Self> = (1..parts)
            .map(|_| {
                // A share must be able to take in chunks that other workers began with.
                let mut free = Vec::with_capacity(self.mapping.frames as usize);
                free.extend(self.free.drain(self.free.len() - each..));
                self.share -= each;
                Self { mapping: Arc::clone(&self.mapping), share: each, free, headroom: self.headroom }
            })
            .collect();
        out.push(self);
        Ok(out)
    }

    /// An empty frame with the configured headroom, or `None` when every chunk is out.
    #[inline]
    #[must_use]
    pub fn allocate(&mut self) -> Option<Frame> {
        let index = self.free.pop()?;
        let chunk = self.mapping.chunk(index);
        // SAFETY: the chunk was on the free list, so no frame and no ring holds it, and popping it makes us its only
        // holder. The mapping outlives the frame: `Mapping::drop` leaks it while a chunk is missing.
        Some(unsafe { Frame::new(chunk, self.mapping.frame_octets, self.headroom, 0) })
    }

    /// Takes a frame back.
    ///
    /// # Panics
    /// When the frame belongs to another UMEM, which would let two owners write the same octets.
    #[inline]
    pub fn release(&mut self, frame: Frame) {
        let index = self.mapping.index(frame.chunk()).expect("a frame is released to the UMEM it came from");
        self.free.push(index);
    }

    /// Whether the frame is a chunk of this memory.
    #[must_use]
    pub fn owns(&self, frame: &Frame) -> bool {
        self.mapping.index(frame.chunk()).is_some()
    }

    /// Chunks that can still be allocated.
    #[inline]
    #[must_use]
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Chunks of this share that are out: frames in somebody's hands and chunks in the kernel's rings. With several
    /// shares, what was handed to another worker stays counted here, and is saturated to zero there.
    #[inline]
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.share.saturating_sub(self.free.len())
    }

    /// Octets in front of a packet in a frame that was just allocated or received.
    #[must_use]
    pub fn headroom(&self) -> u32 {
        self.headroom
    }

    /// Octets of one chunk.
    #[must_use]
    pub fn frame_octets(&self) -> u32 {
        self.mapping.frame_octets
    }

    /// Whether 2 MiB pages were asked for and had.
    #[must_use]
    pub fn has_huge_pages(&self) -> bool {
        self.mapping.huge_pages
    }

    pub(crate) fn mapping(&self) -> &Arc<Mapping> {
        &self.mapping
    }

    /// Takes a chunk off the free list for the kernel and returns its offset in the memory.
    #[inline]
    pub(crate) fn lend(&mut self) -> Option<u64> {
        self.free.pop().map(|index| u64::from(index) << self.mapping.frame_shift)
    }

    /// Turns a frame into what the kernel calls an address: the packet's offset in the memory.
    ///
    /// # Panics
    /// When the frame belongs to another memory, which the kernel could not address.
    #[inline]
    pub(crate) fn lend_frame(&self, frame: Frame) -> u64 {
        let index =
            self.mapping.index(frame.chunk()).expect("a frame is transmitted over the UMEM it came from");
        (u64::from(index) << self.mapping.frame_shift) + frame.headroom() as u64
    }

    /// Puts the chunk around `address` back on the free list; `false` when there is no such chunk.
    ///
    /// # Safety
    /// The chunk was lent and the kernel has given it back; nobody else holds it.
    #[inline]
    pub(crate) unsafe fn reclaim(&mut self, address: u64) -> bool {
        let index = address >> self.mapping.frame_shift;
        let known = index < u64::from(self.mapping.frames);
        if known {
            self.free.push(index as u32);
        }
        known
    }

    /// A frame over the packet that the kernel wrote at `address`; `None` when it does not lie in one chunk.
    ///
    /// # Safety
    /// As for [`reclaim`](Self::reclaim).
    #[inline]
    pub(crate) unsafe fn reclaim_frame(&self, address: u64, octets: u32) -> Option<Frame> {
        let index = u32::try_from(address >> self.mapping.frame_shift).ok()?;
        let start = (address & u64::from(self.mapping.frame_octets - 1)) as u32;
        if index >= self.mapping.frames || octets > self.mapping.frame_octets - start {
            return None;
        }
        // SAFETY: the chunk is inside the mapping, the packet inside the chunk, and the caller vouches that we are
        // the only holder.
        Some(unsafe { Frame::new(self.mapping.chunk(index), self.mapping.frame_octets, start, octets) })
    }
}

impl Drop for Umem {
    fn drop(&mut self) {
        self.mapping.home.fetch_add(self.free.len(), Ordering::AcqRel);
    }
}

/// The mapped memory. Shares and sockets hold it together; the last one to go unmaps it, if every chunk came home.
pub(crate) struct Mapping {
    base: NonNull<u8>,
    octets: usize,
    frames: u32,
    frame_octets: u32,
    /// Base-2 logarithm of `frame_octets`: releasing a frame must not cost a division.
    frame_shift: u32,
    huge_pages: bool,
    /// Chunks on the free lists of shares that were dropped.
    home: AtomicUsize,
    /// Sockets over which the kernel knows this memory, so that the next socket shares instead of pinning it again.
    pub(crate) registrations: Mutex<Vec<Registration>>,
}

/// A bound socket over which the kernel knows the memory.
pub(crate) struct Registration {
    /// Gone when the socket is.
    pub(crate) socket: Weak<OwnedFd>,
    /// Whoever shares it inherits this.
    pub(crate) zero_copy: bool,
    /// See `zero_copy`.
    pub(crate) need_wakeup: bool,
}

// SAFETY: the pointer is only handed out chunk by chunk, each chunk to one owner; the other fields are plain values,
// an atomic and a mutex.
unsafe impl Send for Mapping {}
// SAFETY: as for `Send`; through `&Mapping` nothing but addresses can be computed.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(frames: u32, frame_octets: u32, huge_pages: bool) -> io::Result<Self> {
        const HUGE_PAGE_OCTETS: usize = 2 << 20;
        let octets = frames as usize * frame_octets as usize;
        let huge = octets.next_multiple_of(HUGE_PAGE_OCTETS);
        let (base, octets, huge_pages) = match huge_pages.then(|| map(huge, libc::MAP_HUGETLB)) {
            Some(Ok(base)) => (base, huge, true),
            _ => (map(octets, 0)?, octets, false),
        };
        let frame_shift = frame_octets.trailing_zeros();
        let (home, registrations) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        Ok(Self { base, octets, frames, frame_octets, frame_shift, huge_pages, home, registrations })
    }

    /// Where the memory begins, and how many octets of it are chunks: what the kernel is told at registration.
    pub(crate) fn span(&self) -> (u64, u64) {
        (self.base.as_ptr() as u64, u64::from(self.frames) << self.frame_shift)
    }

    fn chunk(&self, index: u32) -> NonNull<u8> {
        // SAFETY: indices come from `index` or from `Umem::new` and are below `frames`, so the offset is inside the
        // mapping of at least `frames * frame_octets` octets.
        unsafe { self.base.add((index as usize) << self.frame_shift) }
    }

    /// Number of the chunk that begins at `chunk`; `None` for memory that is not ours.
    fn index(&self, chunk: NonNull<u8>) -> Option<u32> {
        let offset = (chunk.as_ptr() as usize).checked_sub(self.base.as_ptr() as usize)?;
        let index = u32::try_from(offset >> self.frame_shift).ok()?;
        (index < self.frames).then_some(index)
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // A frame, or a socket that was dropped with chunks in the kernel's rings, may still point here. Leaking is
        // then the only sound thing to do.
        if *self.home.get_mut() == self.frames as usize {
            // SAFETY: `base` and `octets` are what `mmap` returned, all chunks are home, and no share is left that
            // could hand one out.
            unsafe { libc::munmap(self.base.as_ptr().cast(), self.octets) };
        }
    }
}

fn map(octets: usize, flags: libc::c_int) -> io::Result<NonNull<u8>> {
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no memory that exists.
    let base =
        unsafe { libc::mmap(std::ptr::null_mut(), octets, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // Advice only, so a refusal is no error: huge pages where the system makes them by itself, and all pages there
    // before the first packet needs one.
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_POPULATE_WRITE] {
        // SAFETY: the range is the mapping made above, and neither advice changes what is in it.
        unsafe { libc::madvise(base, octets, advice) };
    }
    Ok(NonNull::new(base.cast()).expect("mmap without MAP_FIXED does not return page zero"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(frames: u32) -> UmemConfig {
        UmemConfig { frames, frame_octets: 2048, headroom: 256, huge_pages: false }
    }

    #[test]
    fn every_chunk_is_handed_out_once_and_counted() {
        let mut umem = Umem::new(&config(3)).unwrap();
        let mut frames: Vec<Frame> = std::iter::from_fn(|| umem.allocate()).collect();
        assert_eq!((frames.len(), umem.available(), umem.outstanding()), (3, 0, 3));
        let mut chunks: Vec<usize> = frames.iter().map(|frame| frame.chunk().as_ptr() as usize).collect();
        chunks.sort_unstable();
        chunks.dedup();
        assert_eq!(chunks.len(), 3);
        while let Some(frame) = frames.pop() {
            umem.release(frame);
        }
        assert_eq!((umem.available(), umem.outstanding()), (3, 0));
    }

    #[test] // F-37
    fn fresh_memory_is_zero() {
        let mut umem = Umem::new(&config(2)).unwrap();
        let mut frame = umem.allocate().unwrap();
        assert!(frame.push_back_stale(1792).unwrap().iter().all(|&octet| octet == 0));
        umem.release(frame);
    }

    #[test]
    fn a_frame_outlives_its_umem() {
        let mut umem = Umem::new(&config(2)).unwrap();
        let mut frame = umem.allocate().unwrap();
        drop(umem);
        frame.push_back(100).unwrap().fill(0x5A);
        assert_eq!(frame.bytes(), [0x5A; 100]);
    }

    #[test]
    #[should_panic(expected = "released to the UMEM it came from")]
    fn a_frame_of_another_umem_is_refused() {
        let (mut one, mut other) = (Umem::new(&config(1)).unwrap(), Umem::new(&config(1)).unwrap());
        other.release(one.allocate().unwrap());
    }

    #[test]
    fn a_frame_may_be_released_to_another_part_of_the_same_memory() {
        let mut parts = Umem::new(&config(10)).unwrap().split(3).unwrap();
        assert_eq!(parts.iter().map(Umem::available).sum::<usize>(), 10);
        assert!(parts.iter().all(|part| part.available() >= 3));
        let frame = parts[0].allocate().unwrap();
        assert!(parts[1].owns(&frame));
        parts[1].release(frame);
        assert_eq!(parts.iter().map(Umem::available).sum::<usize>(), 10);
        assert_eq!((parts[0].outstanding(), parts[1].outstanding()), (1, 0));
    }

    #[test]
    fn the_mapping_goes_when_all_chunks_are_home_and_stays_when_one_is_not() {
        let umem = Umem::new(&config(4)).unwrap();
        let weak = Arc::downgrade(umem.mapping());
        let mut parts = umem.split(2).unwrap();
        let frame = parts[0].allocate().unwrap();
        parts[1].release(frame);
        drop(parts);
        assert!(weak.upgrade().is_none());
    }

    #[test]
    fn impossible_configurations_are_refused() {
        for bad in [
            config(0),
            config(UMEM_FRAMES_MAX + 1),
            UmemConfig { frame_octets: 1024, ..config(1) },
            UmemConfig { frame_octets: 3000, ..config(1) },
            UmemConfig { headroom: 531, ..config(1) },
        ] {
            let error = Umem::new(&bad).err().expect("refused");
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
        assert!(Umem::new(&UmemConfig { headroom: 530, ..config(1) }).is_ok());
        assert!(Umem::new(&config(4)).unwrap().split(5).is_err());
        assert!(Umem::new(&config(4)).unwrap().split(0).is_err());
    }

    #[test]
    fn less_headroom_than_the_kernel_keeps_means_what_the_kernel_keeps() {
        let mut umem = Umem::new(&UmemConfig { headroom: 0, ..config(1) }).unwrap();
        let frame = umem.allocate().unwrap();
        assert_eq!(frame.headroom(), 256);
        umem.release(frame);
    }

    #[test]
    fn huge_pages_fall_back_to_ordinary_ones() {
        let umem = Umem::new(&UmemConfig { huge_pages: true, ..config(4) }).unwrap();
        assert_eq!(umem.available(), 4);
    }
}
