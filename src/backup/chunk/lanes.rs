//! Looking for a cut in several places at once.
//!
//! Both rolling hashes depend on nothing but the last 64 bytes, so a stretch can be searched in parts side by side: one
//! alone would wait for its own last result at every byte.

use std::ops::Range;

/// Bytes that a rolling hash depends on.
pub(super) const WINDOW: usize = 64;
const LANES: usize = 4;

/// A hash of the last [`WINDOW`] bytes.
pub(super) trait Rolling {
    /// The hash of these bytes.
    fn of(&self, window: &[u8]) -> u64;
    /// Moves on by a byte: one enters the window and one leaves it.
    fn roll(&self, hash: u64, enters: u8, leaves: u8) -> u64;
    /// Whether a chunk may end after a window with this hash.
    fn cuts(&self, hash: u64) -> bool;
}

/// The least length in `lengths` (all of them at least [`WINDOW`] and at most `data.len()`) that `data` may be cut at.
#[inline(always)]
pub(super) fn first_cut(hash: &impl Rolling, data: &[u8], lengths: Range<usize>) -> Option<usize> {
    let part = lengths.len() / LANES;
    let starts: [usize; LANES] = std::array::from_fn(|lane| lengths.start + lane * part);
    let entering = starts.map(|start| &data[start..start + part]);
    let leaving = starts.map(|start| &data[start - WINDOW..start - WINDOW + part]);
    let mut hashes = starts.map(|start| hash.of(&data[start - WINDOW..start]));
    let mut found = None;
    for n in 0..part {
        if hashes.iter().fold(false, |any, lane| any | hash.cuts(*lane)) {
            // Lanes at or above one with a cut have nothing to say any more.
            let open = found.map_or(LANES, |(lane, _)| lane);
            if let Some(lane) = hashes[..open].iter().position(|lane| hash.cuts(*lane)) {
                found = Some((lane, starts[lane] + n));
                if lane == 0 {
                    break;
                }
            }
        }
        for lane in 0..LANES {
            hashes[lane] = hash.roll(hashes[lane], entering[lane][n], leaving[lane][n]);
        }
    }
    found.map(|(_, cut)| cut).or_else(|| {
        let mut rest = starts[LANES - 1] + part..lengths.end;
        rest.find(|&length| hash.cuts(hash.of(&data[length - WINDOW..length])))
    })
}
