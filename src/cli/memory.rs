//! How the system's allocator handles large blocks.

/// Blocks from this size on are the system's again as soon as they are freed: packs and the buffers of large files.
#[cfg(target_env = "gnu")]
const MAPPED: i32 = 4 << 20;

/// Keeps glibc from raising that size by itself: it does so once a larger block is freed (deriving a key from a password
/// takes 32 MiB), and then keeps freed packs in the heap of whichever thread made them. On 1.5 GB in large files that
/// doubles what a backup holds. The figures are in `docs/failure-model.md`.
pub(super) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    {
        #[expect(unsafe_code, reason = "glibc offers no other way; the call is made before there are other threads")]
        // SAFETY: mallopt takes two integers, and no other thread allocates yet.
        unsafe {
            // Refused, it leaves the default, which is only wasteful.
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED);
        }
    }
}
