//! Copies in other vaults.
//!
//! [`plan`] decides which snapshots a copy still lacks and how far behind it is; [`run()`] copies them. A copy has a
//! master key of its own: blobs are opened, verified and sealed anew, never moved as they are, and not compressed again.
//!
//! Order of writes, in the copy: packs, then the index files that name them, then the snapshot. What an index file names
//! was proven to have arrived before, and a snapshot is written only when every blob of it is there: a snapshot in the
//! copy is whole, or it is not there. A crash leaves packs and index files without a snapshot; the next run takes them
//! over and goes on.
//!
//! [`rotate`] copies a whole vault in this way, and its records, to seal it under a new master key.
//!
//! It deletes nothing, does not decide when copies are due, and does not heal what is damaged on either side.

mod error;
mod facts;
mod gather;
mod job;
mod lost;
pub mod plan;
pub mod rotate;
mod run;
mod ship;
#[cfg(test)]
mod tests;

pub use error::ReplicateError;
pub use run::{Copied, Figures, Mode, NotCopied, Options, Outcome, Select, Status, Verify, run};
