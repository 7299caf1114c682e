//! The chunker of vaults that drctl made: a gear hash, as in FastCDC, with a table of the vault's own.
//!
//! The rule, version 1, lengths counted from the start of the chunk:
//!
//! 1. `table[n]` for a byte `n` is the little-endian word `n % 4` of SHA-256("drctl gear 1" | secret | byte `n / 4`).
//! 2. The hash of a length is that of the 64 bytes before it: start with 0, then for each byte `hash * 2 + table[byte]`,
//!    modulo 2^64.
//! 3. A chunk ends at the first length L of at least 512 KiB of which one of these is true:
//!    - L is 512 KiB and all bytes before it are zero;
//!    - L is a multiple of 64 KiB and the 64 KiB after it exist and are all zero;
//!    - L is below 1 MiB and its hash is below 2^42 (one in 4 Mi);
//!    - L is at least 1 MiB and its hash is below 2^46 (one in 256 Ki);
//!    - L is 8 MiB, or the stream ends there.
//!
//! So chunks of random data have 1.19 MiB in the mean and few stray far from it. Runs of zeros, however they start, come
//! out as chunks of exactly 512 KiB of zeros, which `restic restore --sparse` punches out. Without the secret, lengths of
//! chunks (visible in a vault as sizes) cannot be matched with known files.

use std::ops::Range;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::lanes::{Rolling, first_cut};
use super::{AVERAGE, BLOCK, Begun, MIN};
use crate::vault::is_zero;

/// A hash below this ends a chunk that is shorter than usual.
const HARD: u64 = 1 << 42;
/// A hash below this ends a chunk that is longer than usual.
const EASY: u64 = 1 << 46;

/// Cuts by a gear hash.
#[derive(Debug, Clone)]
pub struct Gear {
    table: Arc<Table>,
    pub(super) begun: Begun,
}

/// Kept out of debug output: it tells what the secret protects.
struct Table([u64; 256]);

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl Gear {
    /// The chunker that belongs to a vault's secret.
    pub fn new(secret: &[u8; 32]) -> Self {
        let mut table = [0; 256];
        for (part, counter) in table.chunks_exact_mut(4).zip(0u8..) {
            let digest = Sha256::new().chain_update(b"drctl gear 1").chain_update(secret).chain_update([counter]);
            let digest: [u8; 32] = digest.finalize().into();
            for (entry, word) in part.iter_mut().zip(digest.as_chunks::<8>().0) {
                *entry = u64::from_le_bytes(*word);
            }
        }
        Self { table: Arc::new(Table(table)), begun: Begun::default() }
    }

    /// See [`super::Cutter::cut`].
    pub(super) fn cut(&mut self, data: &[u8], at_end: bool) -> Option<usize> {
        let table = &self.table.0;
        self.begun.cut(data, at_end, |data, lengths| first(table, data, lengths))
    }
}

fn first(table: &[u64; 256], data: &[u8], lengths: Range<usize>) -> Option<usize> {
    let next = &data[lengths.clone()];
    let enters_a_hole = next.len() == BLOCK && is_zero(next);
    let fills_a_hole = lengths.start == MIN && is_zero(&data[..MIN]);
    if enters_a_hole || fills_a_hole {
        return Some(lengths.start);
    }
    let below = if lengths.start < AVERAGE { HARD } else { EASY };
    first_cut(&Hash { table, below }, data, lengths)
}

struct Hash<'a> {
    table: &'a [u64; 256],
    below: u64,
}

impl Rolling for Hash<'_> {
    #[inline(always)]
    fn of(&self, window: &[u8]) -> u64 {
        window.iter().fold(0, |hash, byte| self.roll(hash, *byte, 0))
    }

    /// What leaves has been shifted out.
    #[inline(always)]
    fn roll(&self, hash: u64, enters: u8, _leaves: u8) -> u64 {
        (hash << 1).wrapping_add(self.table[usize::from(enters)])
    }

    #[inline(always)]
    fn cuts(&self, hash: u64) -> bool {
        hash < self.below
    }
}
