//! A worker allocates nothing per packet: a counting allocator watches a batch being sealed and opened.
#![allow(clippy::unwrap_used, reason = "what panics in a helper fails the test that called it")]
#![allow(unsafe_code, reason = "an allocator is an unsafe trait")]

mod common;

use common::{Keys, laid_out, octets};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use warren_aead::{OpenJob, SealJob, Transform, Verdict, open, seal};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is the system allocator's own; counting touches no memory that it manages.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`, which is the same one.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same one.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn sealing_and_opening_allocate_nothing_and_batches_keep_their_memory() {
    for transform in Transform::all() {
        let keys = Keys::new(transform, 31);
        for backend in keys.backends() {
            let (sealing, opening) = (keys.sealing(backend), keys.opening(backend));
            let text = octets(1, 1424);
            let mut packets: Vec<_> = (0..32).map(|at| laid_out(transform, &text, at)).collect();
            let (mut seals, mut opens) = (Vec::with_capacity(32), Vec::with_capacity(32));
            let counted = allocations(|| {
                for round in 0..4 {
                    let mut batch = SealJob::recycle(std::mem::take(&mut seals));
                    for (at, packet) in packets.iter_mut().enumerate() {
                        batch.push(SealJob::new(&sealing, round * 32 + at as u64, None, packet));
                    }
                    seal(&mut batch);
                    seals = SealJob::recycle(batch);
                    let mut batch = OpenJob::recycle(std::mem::take(&mut opens));
                    for packet in &mut packets {
                        batch.push(OpenJob::new(&opening, None, packet));
                    }
                    open(&mut batch);
                    assert!(batch.iter().all(|job| job.verdict == Verdict::Authentic));
                    opens = OpenJob::recycle(batch);
                }
            });
            assert_eq!(counted, 0, "{transform} {backend}");
        }
    }
}
