//! The repository format: everything that knows how a vault is laid out and sealed.
//!
//! A vault is a repository in restic's format, version 2, with our own settings and records beside it. This module reads
//! and writes its objects one by one and hands out a [`Vault`]. Invariants: whatever is read by a name is compared with
//! that name, whatever is sealed is authenticated before it is used, and lengths that others declare are capped before
//! memory is spent on them. It does not decide what to store, keep or delete, nor in which order: see `backup` and `prune`.

pub mod blob;
pub mod cache;
pub mod config;
pub mod crypto;
pub mod error;
pub mod id;
pub mod index;
pub mod index_file;
pub mod key;
pub mod layout;
pub mod lock;
pub mod pack;
pub mod polynomial;
pub mod ranges;
pub mod settings;
pub mod snapshot;
pub mod tree;
pub mod unpacked;
pub mod whoami;

mod adopting;
mod blobs;
mod condemned;
mod handle;
mod keys;
mod load_index;
mod open_tree;
mod opening;
mod payloads;
mod plain_json;
mod rewrite_index;
mod snapshots;
mod spare;
mod vacant;
mod zeros;

pub use adopting::{Adopted, Survey, Wish};
pub use blob::{BlobKey, BlobType, Located};
pub use condemned::Condemned;
pub(crate) use error::chain;
pub use error::{Damage, VaultError};
pub use handle::Vault;
pub use id::Id;
pub use index::{Index, PackContents, PackInfo};
pub use keys::KeyInfo;
pub use layout::FileType;
pub use load_index::LoadedIndex;
pub use open_tree::TreeSource;
pub(crate) use opening::{Ahead, has_threads, off_thread};
pub use opening::{CacheMode, InitOptions, NewChunker, OpenOptions};
pub use payloads::{Payload, Payloads};
pub(crate) use rewrite_index::IndexFiles;
pub use rewrite_index::Rewritten;
pub use snapshots::Snapshots;
pub(crate) use spare::Spare;
pub use zeros::{ZERO_CHUNK, ZEROS, is_zero};

#[cfg(test)]
pub(crate) mod tests;
