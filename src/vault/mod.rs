//! The repository format: everything that knows how a vault is laid out and sealed.

pub mod blob;
pub mod cache;
pub mod crypto;
pub mod id;
pub mod index;
pub mod pack;
pub mod polynomial;
pub mod tree;
pub mod unpacked;

pub use blob::{BlobKey, BlobType, Located};
pub use id::Id;
pub use index::{Index, PackContents, PackInfo};
