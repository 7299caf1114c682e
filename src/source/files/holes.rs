//! Where in a file data is, and where holes are.
//!
//! File systems say so themselves; one that does not says that all of it is data. What they call data may be zeros, what
//! they call a hole is nothing else. What is written meanwhile is seen or not, as it is when reading: who must know
//! compares the file's state before and after.

use std::fs::File;
use std::io;
use std::ops::Range;

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::Errno;

/// The first stretch of data at or after `at`. Up to its start, or to its end if it is
/// empty, there are zeros; empty it is at the end of the file, or at `at` if that lies beyond.
///
/// Moves the place from which the file is read next.
pub fn data_after(file: &File, at: u64) -> io::Result<Range<u64>> {
    let start = match seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return at_end(file, at),
        Err(Errno::INVAL | Errno::OPNOTSUPP) => return Ok(at..u64::MAX),
        Err(error) => return Err(error.into()),
    };
    match seek(file, SeekFrom::Hole(start)) {
        Ok(end) if end > start => Ok(start..end),
        // It was cut off in between.
        Ok(_) | Err(Errno::NXIO) => at_end(file, at),
        Err(error) => Err(error.into()),
    }
}

fn at_end(file: &File, at: u64) -> io::Result<Range<u64>> {
    let end = u64::try_from(fstat(file)?.st_size).unwrap_or_default().max(at);
    Ok(end..end)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn data_and_holes_are_told_apart_up_to_the_end() {
        let file = tempfile::tempfile().unwrap();
        file.set_len(8 << 20).unwrap();
        let all = data_after(&file, 0).unwrap();
        assert_eq!(all, 8 << 20..8 << 20, "nothing but a hole");
        file.write_all_at(&[1; 100], 4 << 20).unwrap();
        let data = data_after(&file, 0).unwrap();
        // How large the pages are is the file system's choice.
        assert!(data.start <= 4 << 20 && data.start > 3 << 20, "{data:?}");
        assert!(data.end >= (4 << 20) + 100 && data.end < 5 << 20, "{data:?}");
        assert_eq!(data_after(&file, data.start + 1).unwrap(), data.start + 1..data.end);
        assert_eq!(data_after(&file, data.end).unwrap(), 8 << 20..8 << 20);
        for beyond in [8 << 20, 9 << 20] {
            assert_eq!(data_after(&file, beyond).unwrap(), beyond..beyond);
        }
    }
}
