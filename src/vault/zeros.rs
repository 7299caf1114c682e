//! The chunk that holes are made of.
//!
//! Wherever a chunk begins with so many zeros, every chunker that writes to a vault ends it right behind them. So a run of
//! zeros, however long, is this one chunk over and over, whose id everybody knows without looking.

/// Where runs of zeros are cut, in bytes: short enough for stock restic to restore them as holes.
pub const ZERO_CHUNK: usize = 512 << 10;

/// The chunk.
pub const ZEROS: &[u8; ZERO_CHUNK] = &[0; ZERO_CHUNK];

/// Usually known after the first few bytes; whole pages are summed up without a branch.
pub fn is_zero(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|byte| *byte == 0)
        && bytes.chunks(4096).all(|page| page.iter().fold(0, |sum, byte| sum | byte) == 0)
}
