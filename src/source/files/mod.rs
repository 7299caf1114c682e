//! Files and folders, with all their metadata.
//!
//! The primitives of a walk: a [`Folder`] held open, its [`Listing`], the [`Node`](crate::vault::tree::Node) of each of
//! its entries, and the bytes of its files. Every look goes through the folder's descriptor, so that a path of any length
//! can be reached and nothing swapped for a symbolic link on the way leads elsewhere. The recursion, what is done with
//! errors, and the pace are the pipeline's.

mod change;
mod error;
mod exclude;
mod far;
mod folder;
mod holes;
mod list;
mod names;
mod node;
mod xattr;

pub use change::{FileState, unchanged};
pub use error::FileError;
pub use exclude::{Case, ExcludeError, Excludes, PatternFault, Verdict};
pub use folder::{CacheTag, Folder, Opened, look_up};
pub use holes::data_after;
pub use list::{Listed, Listing};
pub use names::Names;
pub use xattr::XattrMode;

#[cfg(test)]
mod tests;
