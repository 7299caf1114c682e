//! Trees: one folder's entries as JSON, named by the SHA-256 of that JSON.
//!
//! Invariant: what [`TreeBuilder`] writes is byte for byte what restic 0.18 writes for the same entries under TZ=UTC, so
//! that both tools arrive at one id for one folder. What [`TreeReader`] yields has a name that is safe to use as a single
//! path component; whatever else a tree says is not to be trusted. Neither knows where trees are stored.

mod builder;
mod canonical;
mod content;
mod error;
mod escape;
mod mode;
mod name;
mod node;
mod parse;
mod printable;
mod reader;
mod scan;
mod time;
mod writer;

pub use builder::{BuildError, FinishedTree, MEMORY_LIMIT, TreeBody, TreeBuilder};
pub use content::{Content, Run};
pub use error::TreeError;
pub use mode::{go_mode, unix_mode};
pub use name::{NameFault, check_name, quote, unquote};
pub use node::{Node, NodeKind, Xattr};
pub use reader::{Limits, TreeReader};
pub use time::from_unix as time_from_unix;

#[cfg(test)]
mod golden;
