//! Large buffers that cost few page faults.
//!
//! A buffer of some megabytes comes fresh from the system each time, which hands it out by 4 KiB pages: for a pack of 16 MiB
//! that is four thousand faults, a tenth of what it takes to read and verify it. Asked for large pages, it is eight.

/// Smaller ones come from the allocator's own memory, which has been touched before.
const LARGE: usize = 4 << 20;
/// A large page on x86-64, and on 64-bit Arm with pages of 4 KiB.
const PAGE: usize = 2 << 20;

/// A buffer of zeros.
pub fn zeroed(len: usize) -> Vec<u8> {
    let mut buffer = vec![0; len];
    advise(&mut buffer);
    buffer
}

/// An empty buffer with room for so many bytes.
pub fn with_capacity(capacity: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(capacity);
    advise(&mut buffer);
    buffer
}

/// Asks for large pages. The system may have none, or not be Linux: then there are more faults.
fn advise(buffer: &mut Vec<u8>) {
    #[cfg(target_os = "linux")]
    if buffer.capacity() >= LARGE {
        let start = buffer.as_mut_ptr();
        let before = start.align_offset(PAGE);
        let len = buffer.capacity().saturating_sub(before) / PAGE * PAGE;
        if len > 0 {
            #[expect(unsafe_code, reason = "there is no safe way to advise on a Vec's memory")]
            // SAFETY: the range lies within the Vec's allocation, and this advice changes no content.
            let advised =
                unsafe { rustix::mm::madvise(start.add(before).cast(), len, rustix::mm::Advice::LinuxHugepage) };
            let _ = advised;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_what_was_asked_for() {
        for len in [0, 1, LARGE - 1, LARGE, LARGE + 1, 3 * PAGE + 5] {
            let zeros = zeroed(len);
            assert!(zeros.len() == len && zeros.iter().all(|byte| *byte == 0), "{len}");
            let mut empty = with_capacity(len);
            assert!(empty.is_empty() && empty.capacity() >= len, "{len}");
            empty.resize(len, 7);
            assert!(empty.iter().all(|byte| *byte == 7), "{len}");
        }
    }
}
