//! Blobs: the pieces of files and trees that a vault keeps once.

use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use super::crypto::OVERHEAD;
use super::id::Id;

/// What a blob holds. A pack holds blobs of one type only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BlobType {
    /// A piece of a file.
    Data,
    /// One folder's entries as JSON.
    Tree,
}

/// A blob's identity: data and trees are looked up apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobKey {
    /// Data or tree.
    pub kind: BlobType,
    /// SHA-256 of the plaintext.
    pub id: Id,
}

impl BlobKey {
    /// The key of a data blob.
    pub fn data(id: Id) -> Self {
        Self { kind: BlobType::Data, id }
    }

    /// The key of a tree blob.
    pub fn tree(id: Id) -> Self {
        Self { kind: BlobType::Tree, id }
    }
}

/// Where a sealed blob lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Located {
    /// The pack that holds it.
    pub pack: Id,
    /// First byte of the sealed blob in the pack.
    pub offset: u32,
    /// Bytes of the sealed blob, IV and MAC included.
    pub length: u32,
    /// Bytes of the plaintext when it was compressed before sealing.
    pub uncompressed: Option<NonZeroU32>,
}

impl Located {
    /// Bytes of the plaintext.
    pub fn plain_len(&self) -> u64 {
        match self.uncompressed {
            Some(len) => u64::from(len.get()),
            None => u64::from(self.length).saturating_sub(OVERHEAD as u64),
        }
    }
}
