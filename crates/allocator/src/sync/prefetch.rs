//! Memory that is asked for before it is needed.
//!
//! A look at a table of millions waits a tenth of a microsecond for memory, and a lock
//! around it keeps the processor from waiting for several at a time. Whoever knows a few
//! keys in advance has them fetched while it still works on others.

/// Has the processor fetch the cache line of this address, whatever is there; elsewhere than
/// on x86-64 it does nothing.
pub(crate) fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch is a hint. It reads and writes nothing that the program could
        // see, and no address makes it fault.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(address.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}
