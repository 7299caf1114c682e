//! How the process takes large blocks of memory from the system, and gives them back.

use std::alloc::{GlobalAlloc, Layout, System};

/// Blocks from this size on are the system's again as soon as they are freed: packs, the buffers of large files, and what
/// scrypt works in.
const LARGE: usize = 4 << 20;
/// A large page on x86-64, and on 64-bit Arm with pages of 4 KiB.
const PAGE: usize = 2 << 20;

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
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE as i32);
        }
    }
}

/// The system's allocator, asked for large pages where a block is large.
///
/// Such a block comes fresh from the system each time, which hands it out by 4 KiB pages: for a pack of 16 MiB that is
/// four thousand faults, a tenth of what it takes to read and verify it, and for the memory of a key's scrypt a sixth of
/// what the key takes. With large pages a pack has eight faults. Libraries allocate such blocks as well, so that the
/// allocator is the place.
#[derive(Debug)]
pub struct LargePages;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: every block is the system allocator's own, by the same layout; advice moves nothing and changes no content.
unsafe impl GlobalAlloc for LargePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are passed on as they are, here and below.
        advise(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        advise(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        advise(unsafe { System.realloc(block, layout, size) }, size)
    }
}

/// Asks for large pages. The system may have none, or not be Linux: then there are more faults.
#[inline]
fn advise(block: *mut u8, len: usize) -> *mut u8 {
    if len >= LARGE && !block.is_null() {
        ask(block, len);
    }
    block
}

#[cold]
fn ask(block: *mut u8, len: usize) {
    #[cfg(target_os = "linux")]
    {
        let before = block.align_offset(PAGE);
        let whole = len.saturating_sub(before) / PAGE * PAGE;
        if whole > 0 {
            #[expect(unsafe_code, reason = "there is no safe way to advise on memory")]
            // SAFETY: the range lies within the block, and this advice changes no content.
            let advised =
                unsafe { rustix::mm::madvise(block.add(before).cast(), whole, rustix::mm::Advice::LinuxHugepage) };
            let _ = advised;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
    fn blocks_keep_what_is_in_them() {
        for len in [1, LARGE - 1, LARGE, LARGE + 1, 3 * PAGE + 5] {
            let layout = Layout::from_size_align(len, 64).unwrap();
            let more = 2 * len + 7;
            // SAFETY: the layouts are those of the blocks, whose lengths are kept to, and what is read was written.
            unsafe {
                let block = LargePages.alloc_zeroed(layout);
                let slice = std::slice::from_raw_parts_mut(block, len);
                assert!(slice.iter().all(|byte| *byte == 0), "{len}");
                slice.fill(7);
                let block = LargePages.realloc(block, layout, more);
                assert!(block.addr().is_multiple_of(64), "{len}");
                assert!(std::slice::from_raw_parts(block, len).iter().all(|byte| *byte == 7), "{len}");
                let layout = Layout::from_size_align(more, 64).unwrap();
                LargePages.dealloc(block, layout);
                let block = LargePages.alloc(layout);
                std::slice::from_raw_parts_mut(block, more).fill(9);
                LargePages.dealloc(block, layout);
            }
        }
    }
}
