//! The repository format: everything that knows how a vault is laid out and sealed.

pub mod blob;
pub mod crypto;
pub mod id;
pub mod index;
pub mod index_file;
pub mod layout;
pub mod pack;
pub mod polynomial;
pub mod snapshot;
pub mod unpacked;
pub mod whoami;

pub use blob::{BlobKey, BlobType, Located};
pub use id::Id;
pub use index::{Index, PackContents, PackInfo};
pub use layout::FileType;
