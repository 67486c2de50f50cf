//! One chunk of a [`Umem`](crate::Umem) in our hands, and the packet inside it.
//!
//! ```text
//!   chunk:  | headroom ............ | packet (bytes) ............ | tailroom ....... |
//!                 push_front <------|------> pop_front   truncate <---|---> push_back
//! ```
//!
//! Packets never move in memory: headers are pushed into the headroom and pulled back out of it.

use std::fmt;
use std::ptr::NonNull;

/// A chunk that exactly one owner holds. It is not `Clone`, so it cannot be given back twice; who drops it instead
/// of giving it back loses the chunk until the process ends, which wastes memory but breaks nothing.
#[must_use = "a frame that is not given back is lost to its UMEM"]
pub struct Frame {
    /// First octet of the chunk.
    chunk: NonNull<u8>,
    chunk_octets: u32,
    /// Offset of the packet in the chunk. `start + len <= chunk_octets` always.
    start: u32,
    len: u32,
}

// SAFETY: a frame is the only handle on its chunk (the UMEM hands every chunk out once, see `Umem::frame_at`), the
// chunk stays mapped while the frame exists, and nothing in it is bound to a thread.
unsafe impl Send for Frame {}

impl Frame {
    /// # Safety
    /// `chunk` must point to `chunk_octets` initialised octets that stay mapped until this frame is given back and
    /// that nobody else reads or writes until then.
    pub(crate) unsafe fn new(chunk: NonNull<u8>, chunk_octets: u32, start: u32, len: u32) -> Self {
        assert!(start <= chunk_octets && len <= chunk_octets - start, "a packet lies inside its chunk");
        Self { chunk, chunk_octets, start, len }
    }

    /// Address of the chunk, which says where in the UMEM it belongs.
    pub(crate) fn chunk(&self) -> NonNull<u8> {
        self.chunk
    }

    /// The packet.
    #[inline]
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start + len` is inside the chunk, which is ours alone and initialised (contract of `new`).
        unsafe { std::slice::from_raw_parts(self.at(self.start), self.len as usize) }
    }

    /// The packet, to be changed in place.
    #[inline]
    #[must_use]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` excludes every other reference into the chunk.
        unsafe { std::slice::from_raw_parts_mut(self.at(self.start), self.len as usize) }
    }

    /// Octets of the packet.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is no packet in it.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Octets that can still be pushed in front of the packet.
    #[inline]
    #[must_use]
    pub fn headroom(&self) -> usize {
        self.start as usize
    }

    /// Octets that can still be pushed behind the packet.
    #[inline]
    #[must_use]
    pub fn tailroom(&self) -> usize {
        (self.chunk_octets - self.start - self.len) as usize
    }

    /// Makes the packet `n` octets longer at its front and returns those octets; `None` when the headroom is smaller.
    ///
    /// They are **not** cleared (they may be the header that was popped a moment ago, or what an older packet left
    /// there), because every caller writes a whole header over them. The caller must write all of them.
    #[inline]
    #[must_use]
    pub fn push_front(&mut self, n: usize) -> Option<&mut [u8]> {
        let grown = u32::try_from(n).ok().filter(|&n| n <= self.start)?;
        self.start -= grown;
        self.len += grown;
        Some(&mut self.bytes_mut()[..n])
    }

    /// Puts the last `used` of these octets in front of the packet, at the price of writing all `N` of them: a copy of
    /// constant length is a few instructions, and one of any other length is a call. What the rest of the headroom held is
    /// lost, which nobody may rely on. `false`, and nothing is changed, when the headroom is smaller than `N`.
    ///
    /// # Panics
    /// When `used` is more than `N`.
    #[inline]
    #[must_use]
    pub fn prepend<const N: usize>(&mut self, octets: &[u8; N], used: usize) -> bool {
        assert!(used <= N, "a packet grows by octets that were written");
        let Some(at) = (self.start as usize).checked_sub(N) else { return false };
        // SAFETY: `at + N` is `start`, which is inside the chunk, and the chunk is ours alone.
        let room = unsafe { std::slice::from_raw_parts_mut(self.at(at as u32), N) };
        room.copy_from_slice(octets);
        self.start -= used as u32;
        self.len += used as u32;
        true
    }

    /// Puts the last `before` octets of `head` and room for `G` more in front of the packet, and the first `behind` octets of
    /// `tail` behind it, as [`prepend`](Self::prepend) does. Returns all `H` octets in front of the gap, to be filled in, as is the
    /// gap, which nobody has cleared; `None`, and nothing is changed, when there is not room for all of it.
    ///
    /// # Panics
    /// When `before` is more than `H`, or `behind` more than `T`.
    #[inline]
    #[must_use]
    pub fn enclose<const H: usize, const G: usize, const T: usize>(
        &mut self,
        (head, before): (&[u8; H], usize),
        (tail, behind): (&[u8; T], usize),
    ) -> Option<&mut [u8; H]> {
        assert!(before <= H && behind <= T, "a packet grows by octets that were written");
        let at = (self.start as usize).checked_sub(H + G)?;
        if self.tailroom() < T {
            return None;
        }
        // SAFETY: the `T` octets behind the packet are inside the chunk, and the chunk is ours alone.
        let room = unsafe { &mut *self.at(self.start + self.len).cast::<[u8; T]>() };
        room.copy_from_slice(tail);
        // SAFETY: as above; these `H` octets end in front of where the packet begins, so that the two do not overlap.
        let room = unsafe { &mut *self.at(at as u32).cast::<[u8; H]>() };
        room.copy_from_slice(head);
        self.start -= (before + G) as u32;
        self.len += (before + G + behind) as u32;
        Some(room)
    }

    /// Takes `n` octets off the packet's front; `false`, and nothing is changed, when the packet is shorter.
    #[inline]
    #[must_use]
    pub fn pop_front(&mut self, n: usize) -> bool {
        let Some(taken) = u32::try_from(n).ok().filter(|&n| n <= self.len) else { return false };
        self.start += taken;
        self.len -= taken;
        true
    }

    /// Makes the packet `n` octets longer at its end and returns those octets, all zero; `None` when the tailroom is
    /// smaller. They are cleared so that padding can never carry what another packet left in the chunk (F-37).
    #[inline]
    #[must_use]
    pub fn push_back(&mut self, n: usize) -> Option<&mut [u8]> {
        let pushed = self.push_back_stale(n)?;
        pushed.fill(0);
        Some(pushed)
    }

    /// `push_back` for ports, which overwrite every octet with what they received.
    pub(crate) fn push_back_stale(&mut self, n: usize) -> Option<&mut [u8]> {
        if n > self.tailroom() {
            return None;
        }
        let before = self.len as usize;
        // No truncation: `n` is at most `tailroom`, which is less than `chunk_octets`.
        self.len += n as u32;
        Some(&mut self.bytes_mut()[before..])
    }

    /// Takes `front` octets off the packet's front and keeps `len` of what is behind them; `false`, and nothing is changed, when
    /// there are not so many.
    #[inline]
    #[must_use]
    pub fn crop(&mut self, front: usize, len: usize) -> bool {
        if front.checked_add(len).is_none_or(|end| end > self.len()) {
            return false;
        }
        // No truncation: both are at most the packet's own length.
        self.start += front as u32;
        self.len = len as u32;
        true
    }

    /// Shortens the packet to `len` octets from its front; does nothing when it is shorter already.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = u32::try_from(len).map_or(self.len, |len| len.min(self.len));
    }

    /// Empties the frame and leaves `headroom` octets in front of where the next packet will begin.
    ///
    /// # Panics
    /// When the chunk is smaller than `headroom`.
    #[inline]
    pub fn clear_to(&mut self, headroom: usize) {
        assert!(headroom <= self.chunk_octets as usize, "headroom lies inside the chunk");
        self.start = headroom as u32;
        self.len = 0;
    }

    fn at(&self, offset: u32) -> *mut u8 {
        // SAFETY: every caller passes an offset of at most `chunk_octets`, so the result is in the chunk or one past
        // its end.
        unsafe { self.chunk.as_ptr().add(offset as usize) }
    }
}

/// Shape only: a packet's octets do not belong in a log.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("headroom", &self.headroom())
            .field("len", &self.len())
            .field("tailroom", &self.tailroom())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use crate::{Umem, UmemConfig};

    fn umem() -> Umem {
        Umem::new(&UmemConfig { frames: 2, frame_octets: 2048, headroom: 256, huge_pages: false })
            .expect("a small UMEM can be had")
    }

    #[test]
    fn headroom_limits_what_can_be_pushed_in_front() {
        let mut umem = umem();
        let mut frame = umem.allocate().unwrap();
        assert_eq!((frame.headroom(), frame.len(), frame.tailroom()), (256, 0, 1792));
        assert!(frame.push_front(257).is_none());
        assert_eq!(frame.len(), 0);
        assert_eq!(frame.push_front(256).unwrap().len(), 256);
        assert_eq!((frame.headroom(), frame.len()), (0, 256));
        assert!(frame.push_front(1).is_none());
        assert!(frame.push_front(usize::MAX).is_none());
        assert!(frame.push_front(0).is_some());
        umem.release(frame);
    }

    #[test]
    fn tailroom_limits_what_can_be_pushed_behind() {
        let mut umem = umem();
        let mut frame = umem.allocate().unwrap();
        assert!(frame.push_back(1793).is_none());
        assert!(frame.push_back(usize::MAX).is_none());
        assert_eq!(frame.push_back(1792).unwrap().len(), 1792);
        assert_eq!(frame.tailroom(), 0);
        assert!(frame.push_back(1).is_none());
        umem.release(frame);
    }

    #[test]
    fn what_was_pushed_can_be_popped_and_no_more() {
        let mut umem = umem();
        let mut frame = umem.allocate().unwrap();
        frame.push_back(3).unwrap().copy_from_slice(b"abc");
        frame.push_front(2).unwrap().copy_from_slice(b"xy");
        assert_eq!(frame.bytes(), b"xyabc");
        assert!(!frame.pop_front(6));
        assert_eq!(frame.bytes(), b"xyabc");
        assert!(frame.pop_front(3));
        assert_eq!(frame.bytes(), b"bc");
        frame.truncate(9);
        assert_eq!(frame.bytes(), b"bc");
        frame.truncate(1);
        frame.bytes_mut()[0] = b'q';
        assert_eq!(frame.bytes(), b"q");
        frame.clear_to(2048);
        assert_eq!((frame.headroom(), frame.tailroom()), (2048, 0));
        umem.release(frame);
    }

    #[test]
    fn a_packet_is_cropped_to_what_it_has_and_no_more() {
        let mut umem = umem();
        let mut frame = umem.allocate().unwrap();
        frame.push_back(6).unwrap().copy_from_slice(b"abcdef");
        assert!(!frame.crop(4, 3) && !frame.crop(7, 0) && !frame.crop(usize::MAX, 2));
        assert_eq!(frame.bytes(), b"abcdef");
        assert!(frame.crop(1, 4));
        assert_eq!((frame.bytes(), frame.headroom()), (&b"bcde"[..], 257));
        assert!(frame.crop(4, 0) && frame.is_empty());
        umem.release(frame);
    }

    #[test] // F-37
    fn a_grown_packet_never_shows_what_an_older_packet_left() {
        let mut umem = umem();
        let mut frame = umem.allocate().unwrap();
        frame.push_back(1792).unwrap().fill(0xAA);
        frame.truncate(10);
        assert_eq!(frame.push_back(20).unwrap(), [0; 20]);
        umem.release(frame);

        let mut reused = umem.allocate().unwrap();
        assert!(reused.push_back(1792).unwrap().iter().all(|&octet| octet == 0));
        umem.release(reused);
    }

    #[test]
    fn a_frame_may_travel_to_another_thread() {
        let mut umem = umem();
        let mut frame = umem.allocate().unwrap();
        frame.push_back(1).unwrap()[0] = 7;
        let frame = std::thread::spawn(move || frame).join().unwrap();
        assert_eq!(frame.bytes(), [7]);
        umem.release(frame);
    }
}
