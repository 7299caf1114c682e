//! The index, from the headers of packs.
//!
//! [`plan`] decides which headers are read and which entries go; [`run`](run()) reads, writes index files, and removes those
//! that they replace. A crash leaves packs that two index files name, or a damaged index file beside the one that replaces
//! it; the next rebuild goes on. It reads no blob: whether the packs themselves are whole, `check --read-data` says.

pub mod plan;
mod run;
#[cfg(test)]
mod tests;

pub use run::{Mode, Options, Outcome, RebuildError, Unreadable, run};
pub(super) use run::{Scope, rebuild_locked};
