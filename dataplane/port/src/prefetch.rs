//! Asking for memory before it is needed. A hint and no more: nothing is read, and where there is no such instruction
//! nothing happens.

/// Asks for the cache line in which a value begins.
#[inline]
pub fn prefetch<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code, reason = "the intrinsic is unsafe because it takes a pointer")]
    // SAFETY: a prefetch never faults, and this address is that of a reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}

/// Asks for all the memory of a value without looking into it.
#[inline(always)]
pub fn prefetch_whole<T>(value: &T) {
    #[cfg(target_arch = "x86_64")]
    for line in (0..size_of::<T>()).step_by(64) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch never faults, and this address lies inside what the reference is to.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).byte_add(line).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = value;
}
