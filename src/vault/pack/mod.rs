//! Packs: files of sealed blobs.
//!
//! A pack is its sealed blobs, one after another without padding, then a sealed header that lists them, then the length of
//! that sealed header (u32, little-endian). A pack is named by the SHA-256 of its bytes and holds blobs of one type.
//! Invariants: a blob is never handed out unless its plaintext hashes to its id, and no length read from a pack or an index
//! is trusted before it was compared with what can be. What packs are called in a store, and which are needed, is not known
//! here.

mod build;
mod header;
mod open;
mod seal;
mod worth;

use std::num::NonZeroU32;

pub use build::{AddedBlob, Body, FinishedPack, PackBuilder};
pub use header::{decode_header, header_len, implied_size, parse_header, read_header};
pub use open::{BlobReader, Opener, open_blob};
pub use seal::Sealer;

use super::blob::BlobType;
use super::crypto::{CryptoError, OVERHEAD};
use super::id::Id;
use crate::store::StoreError;

/// The size that packs are filled up to unless the vault's settings say otherwise, in bytes.
pub const DEFAULT_PACK_SIZE: u32 = 16 << 20;

/// The largest plaintext of a data blob that is read, in bytes. Chunkers cut at 8 MiB; others may be set to cut later.
pub const MAX_DATA_BLOB: u32 = 128 << 20;

/// The largest plaintext of a tree blob that is written and read, in bytes: a folder of some ten million entries, or a sparse
/// file of 28 TiB. A little more, grown by what zstd may add, would not fit into the 32 bits that a pack has for lengths.
pub const MAX_TREE_BLOB: u32 = 4_000_000_000;

/// The largest sealed header, in bytes.
pub const MAX_HEADER: u32 = 16 << 20;

/// How much a plaintext beyond [`MAX_DATA_BLOB`] may be larger than what it was compressed to. The JSON of a sparse file, one
/// id over and over, reaches 10,900; nothing that is so large is held in memory.
const MAX_RATIO: u64 = 16 << 10;

/// Why a pack or a blob cannot be read or built.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// Not sealed with the vault's key, or changed.
    #[error("open what was sealed")]
    Crypto(#[from] CryptoError),
    /// The plaintext is another one.
    #[error("find blob {expected}: its plaintext is {found}")]
    NotItsId {
        /// The blob that was asked for.
        expected: Id,
        /// What the plaintext hashes to.
        found: Id,
    },
    /// zstd refused, in its own words.
    #[error("use zstd: {0}")]
    Zstd(&'static str),
    /// The plaintext is shorter or longer than the index or the header says.
    #[error("read {declared} bytes of plaintext: there are {}{found}", if *.found > *.declared { "at least " } else { "" })]
    WrongLength {
        /// What was declared.
        declared: u64,
        /// What was found.
        found: u64,
    },
    /// A declared length that no blob has.
    #[error("accept a blob of {0} bytes")]
    Implausible(u64),
    /// The header is none.
    #[error("read the pack's header: {0}")]
    Header(&'static str),
    /// The blob does not fit: offsets have 32 bits and headers an upper limit.
    #[error("fit another blob into the pack")]
    Full,
    /// A pack without blobs.
    #[error("finish a pack that holds nothing")]
    Empty,
    /// The plaintext could not be read while it was sealed.
    #[error("read the plaintext to be sealed")]
    Source(#[source] std::io::Error),
    /// A draft is not what was written to it.
    #[error("read an unfinished pack back: the disk does not have what was written to it")]
    NotAsWritten,
    /// What was sealed could not be written.
    #[error(transparent)]
    Write(StoreError),
}

/// Compares what an index or a header says about a blob with what can be.
pub fn plausible(kind: BlobType, length: u32, uncompressed: Option<NonZeroU32>) -> Result<(), PackError> {
    let Some(payload) = length.checked_sub(OVERHEAD as u32) else {
        return Err(PackError::Implausible(u64::from(length)));
    };
    let plain = uncompressed.map_or(payload, NonZeroU32::get);
    let cap = match kind {
        BlobType::Data => MAX_DATA_BLOB,
        BlobType::Tree => MAX_TREE_BLOB,
    };
    let bomb = plain > MAX_DATA_BLOB && u64::from(plain) > u64::from(payload) * MAX_RATIO;
    if plain > cap || bomb { Err(PackError::Implausible(u64::from(plain))) } else { Ok(()) }
}

#[cfg(test)]
mod draft_tests;
#[cfg(test)]
mod tests;
