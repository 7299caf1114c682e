//! Freeing what no snapshot needs.
//!
//! [`plan`] decides from the index, the listing and the set of used blobs; it touches nothing. [`run`](run()) carries it
//! out under the exclusive lock. [`forget`] removes snapshots, which is what makes data unneeded.

pub mod decision;
pub mod forget;
pub mod plan;
mod repack;
mod run;
#[cfg(test)]
mod tests;

pub use run::{Mode, Options, Outcome, PruneError, run};
