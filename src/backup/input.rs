//! What is read in steps: a stream, or a file with holes.
//!
//! A hole yields the zeros that reading it would, so that a sparse file is cut where any copy of it is cut; and it says
//! how far it goes, so that whoever needs no zeros may leave them unread.

use std::io::{self, Read};
use std::ops::Range;

use super::chunk::MIN;
use crate::source::files::Opened;

/// A file that lacks less than this is read as if it were whole: what is between two chunks at most, or compressed.
const WORTH: u64 = 2 * MIN as u64;

/// What the bytes of a file come from.
pub(super) enum Input<'a> {
    /// One byte after another.
    Stream(&'a mut dyn Read),
    /// A file of which only data is read.
    Sparse(Sparse<'a>),
}

/// A file with holes.
pub(super) struct Sparse<'a> {
    file: &'a Opened,
    at: u64,
    /// The stretch of data that `at` lies in or before; empty at the end of the file.
    data: Range<u64>,
}

impl<'a> Input<'a> {
    /// Of an open file of this size.
    pub(super) fn of(file: &'a mut Opened, size: u64) -> Self {
        if file.left_out(size) < WORTH {
            return Self::Stream(file);
        }
        Self::Sparse(Sparse { file, at: 0, data: 0..0 })
    }

    /// Reads on; how many bytes those were, 0 at the end.
    pub(super) fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Stream(stream) => stream.read(out),
            Self::Sparse(sparse) => sparse.read(out),
        }
    }

    /// How many zeros come next for certain.
    pub(super) fn zeros(&mut self) -> io::Result<u64> {
        match self {
            Self::Stream(_) => Ok(0),
            Self::Sparse(sparse) => sparse.zeros(),
        }
    }

    /// Leaves out so many of those zeros.
    pub(super) fn skip(&mut self, zeros: u64) {
        match self {
            Self::Stream(_) => {}
            Self::Sparse(sparse) => sparse.at += zeros,
        }
    }
}

impl Sparse<'_> {
    fn zeros(&mut self) -> io::Result<u64> {
        if self.at >= self.data.end {
            self.data = self.file.data_after(self.at)?;
        }
        Ok(self.data.start.saturating_sub(self.at))
    }

    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let zeros = self.zeros()?;
        let room = if zeros > 0 { zeros } else { self.data.end - self.at };
        let room = usize::try_from(room).unwrap_or(usize::MAX).min(out.len());
        let read = if zeros > 0 {
            out[..room].fill(0);
            room
        } else {
            // Nothing where data was said to be: the file was cut off there.
            self.file.read_at(&mut out[..room], self.at)?
        };
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
