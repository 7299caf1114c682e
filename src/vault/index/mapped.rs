//! A file mapped into memory for reading.

use std::fs::File;
use std::io;

use memmap2::Mmap;

/// The bytes of a segment file, paged in by the kernel on demand and given back under memory pressure.
///
/// Only for files that are written under another name, renamed into place and never changed after: the caller promises
/// that. A file that was cut short while mapped would kill the process (SIGBUS); the cache unlinks, it never truncates.
#[derive(Debug)]
pub(super) struct Mapped(Mmap);

impl Mapped {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        #[expect(unsafe_code, reason = "a 50-million-blob index must not be read into memory; see the type's promise")]
        // SAFETY: segment files are immutable once they have their name (see above), in a folder of mode 0700, so the
        // bytes behind the slice do not change while it is borrowed.
        let map = unsafe { Mmap::map(file) }?;
        Ok(Self(map))
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}
