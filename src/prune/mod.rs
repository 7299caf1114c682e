//! Freeing what no snapshot needs.
//!
//! [`plan`] decides from the index, the listing and the set of used blobs; it touches nothing. [`run`](run()) carries it
//! out, under the exclusive lock or beside running backups; a writer that was overtaken by such a prune sees with
//! [`confirm`] to it that its snapshot stays whole. [`forget`] removes snapshots, which is what makes data unneeded.

mod concurrent;
#[cfg(test)]
pub(crate) mod concurrent_tests;
pub mod confirm;
pub mod decision;
pub mod forget;
mod mover;
pub mod plan;
mod repack;
mod run;
#[cfg(test)]
mod tests;

pub use run::{Form, GRACE, Mode, Options, Outcome, PruneError, run};
