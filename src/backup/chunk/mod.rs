//! Where files are cut.
//!
//! A [`Cutter`] names the length of the next chunk, from the bytes alone: equal stretches of two files are cut alike
//! wherever they lie, so a vault keeps them once. It never copies, hashes or reads, and its answers do not depend on how
//! the bytes arrive. **Cut points are a format**: a changed one makes every vault store its data again. The golden
//! tests beside each chunker hold them fast.
//!
//! - [`Gear`]: vaults that drctl made.
//! - [`Rabin`]: vaults shared with restic, cut as restic cuts them.
//! - fixed lengths: files that change in place by the page.

mod gear;
mod lanes;
mod rabin;
mod stream;

use std::num::NonZeroU32;

pub use self::gear::Gear;
pub use self::rabin::{Rabin, WrongDegree};
pub use self::stream::{Chunks, chunks};

/// No chunk is shorter, but the last of a file.
pub const MIN: usize = crate::vault::ZERO_CHUNK;
/// About the usual length of a chunk.
pub const AVERAGE: usize = 1 << 20;
/// No chunk is longer.
pub const MAX: usize = 8 << 20;
/// Content is looked at in steps of this length, counted from the start of the chunk. Divides the three above.
const BLOCK: usize = 64 << 10;

/// Decides where one stream is cut. Clones share their tables: make one, and clone it for each stream.
#[derive(Debug, Clone)]
pub enum Cutter {
    /// By content, with cut points that only the holder of the vault's secret can foresee.
    Gear(Gear),
    /// By content, as restic does.
    Rabin(Rabin),
    /// Every so many bytes.
    Fixed {
        /// Bytes of every chunk but the last.
        size: NonZeroU32,
    },
}

impl Cutter {
    /// A cutter by the secret of a vault that drctl made.
    pub fn gear(secret: &[u8; 32]) -> Self {
        Self::Gear(Gear::new(secret))
    }

    /// A cutter by the polynomial of a vault in restic's own format.
    pub fn rabin(polynomial: u64) -> Result<Self, WrongDegree> {
        Ok(Self::Rabin(Rabin::new(polynomial)?))
    }

    /// The length of the chunk that `data` starts with.
    ///
    /// `data` starts where the last chunk ended, and holds all bytes since then that have arrived. `None`: more are
    /// needed; call again with at least these and more. What was looked at is not looked at again. With
    /// [`Cutter::longest`] bytes there is always an answer. After an answer the next chunk starts afresh.
    ///
    /// `at_end`: no more will arrive, so that `None` means that `data` is empty.
    pub fn cut(&mut self, data: &[u8], at_end: bool) -> Option<usize> {
        match self {
            Self::Gear(gear) => gear.cut(data, at_end),
            Self::Rabin(rabin) => rabin.cut(data, at_end),
            Self::Fixed { size } => {
                let size = size.get() as usize;
                if data.len() >= size { Some(size) } else { (at_end && !data.is_empty()).then_some(data.len()) }
            }
        }
    }

    /// Bytes of the longest chunk: what a buffer must hold.
    pub fn longest(&self) -> usize {
        match self {
            Self::Gear(_) | Self::Rabin(_) => MAX,
            Self::Fixed { size } => size.get() as usize,
        }
    }

    /// Forgets a chunk that was begun and not finished: the next call starts another stream.
    pub fn reset(&mut self) {
        match self {
            Self::Gear(gear) => gear.begun.reset(),
            Self::Rabin(rabin) => rabin.begun.reset(),
            Self::Fixed { .. } => {}
        }
    }
}

/// How far into the current chunk a chunker has looked.
#[derive(Debug, Clone, Copy, Default)]
struct Begun {
    /// No cut lies below: zero, or a multiple of `BLOCK` from `MIN` on.
    looked: usize,
}

impl Begun {
    fn reset(&mut self) {
        self.looked = 0;
    }

    /// Walks over `data` by blocks. `first` finds the first cut in a range of lengths, having all bytes below its end;
    /// the range is a whole block, but for the last one of a stream.
    fn cut(
        &mut self,
        data: &[u8],
        at_end: bool,
        first: impl Fn(&[u8], std::ops::Range<usize>) -> Option<usize>,
    ) -> Option<usize> {
        let mut from = self.looked.max(MIN);
        let found = loop {
            if from >= MAX {
                break MAX;
            }
            if data.len() < from + BLOCK && !at_end {
                self.looked = from;
                return None;
            }
            if data.len() <= from {
                break data.len();
            }
            let to = data.len().min(from + BLOCK);
            if let Some(cut) = first(data, from..to) {
                break cut;
            }
            from = to;
        };
        self.reset();
        (found > 0).then_some(found)
    }
}

#[cfg(test)]
mod tests;
