//! restic's chunker: Rabin fingerprints with the polynomial of the repository.
//!
//! The fingerprint of a length is the polynomial over GF(2) whose coefficients are the bits of the 64 bytes before it,
//! modulo the repository's polynomial. A chunk ends at the first length of at least 512 KiB whose fingerprint has its low 20
//! bits clear, at 8 MiB, or at the end. (restic starts its window with a byte 1, so that leading zeros count; it has
//! left the window by the time that a cut is possible.) 64 zero bytes have the fingerprint 0, so runs of zeros are cut at
//! exactly 512 KiB without a rule of their own.
//!
//! Checked against restic 0.18: the golden test holds what it made of the same bytes.

use std::sync::Arc;

use super::Begun;
use super::lanes::{Rolling, WINDOW, first_cut};

const DEGREE: u32 = 53;
const SPLIT_MASK: u64 = (1 << 20) - 1;

/// The polynomial of a vault's config is not one that restic cuts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cut files by the vault's polynomial {0:#x}: it is not of degree 53")]
pub struct WrongDegree(pub u64);

/// Cuts as restic does.
#[derive(Debug, Clone)]
pub struct Rabin {
    tables: Arc<Tables>,
    pub(super) begun: Begun,
}

#[derive(Debug)]
struct Tables {
    /// For the top eight bits of a fingerprint: what shifting it by a byte adds, those bits themselves included.
    reduce: [u64; 256],
    /// For a byte: its part in a fingerprint when it is the oldest in the window.
    leave: [u64; 256],
}

impl Rabin {
    /// The chunker that belongs to a repository's polynomial, which opening the vault has proven to be irreducible.
    pub fn new(polynomial: u64) -> Result<Self, WrongDegree> {
        if polynomial.checked_ilog2() != Some(DEGREE) {
            return Err(WrongDegree(polynomial));
        }
        let mut tables = Tables { reduce: [0; 256], leave: [0; 256] };
        for (entry, top) in tables.reduce.iter_mut().zip(0u64..) {
            *entry = (top << DEGREE) | remainder(top << DEGREE, polynomial);
        }
        let oldest = |byte| (1..WINDOW).fold(byte, |fingerprint, _| tables.append(fingerprint, 0));
        tables.leave = std::array::from_fn(|byte| oldest(byte as u64));
        Ok(Self { tables: Arc::new(tables), begun: Begun::default() })
    }

    /// See [`super::Cutter::cut`].
    pub(super) fn cut(&mut self, data: &[u8], at_end: bool) -> Option<usize> {
        let tables = &*self.tables;
        self.begun.cut(data, at_end, |data, lengths| first_cut(tables, data, lengths))
    }
}

fn remainder(mut value: u64, polynomial: u64) -> u64 {
    for bit in (DEGREE..u64::BITS).rev() {
        if value >> bit & 1 == 1 {
            value ^= polynomial << (bit - DEGREE);
        }
    }
    value
}

impl Tables {
    #[inline(always)]
    fn append(&self, fingerprint: u64, byte: u8) -> u64 {
        // Below 2^53 before, so at most eight bits stand out after the shift, and `reduce` clears them.
        let top = (fingerprint >> (DEGREE - 8)) as u8;
        ((fingerprint << 8) | u64::from(byte)) ^ self.reduce[usize::from(top)]
    }
}

impl Rolling for Tables {
    #[inline(always)]
    fn of(&self, window: &[u8]) -> u64 {
        window.iter().fold(0, |fingerprint, byte| self.append(fingerprint, *byte))
    }

    #[inline(always)]
    fn roll(&self, fingerprint: u64, enters: u8, leaves: u8) -> u64 {
        self.append(fingerprint ^ self.leave[usize::from(leaves)], enters)
    }

    #[inline(always)]
    fn cuts(&self, fingerprint: u64) -> bool {
        fingerprint & SPLIT_MASK == 0
    }
}
