//! Immutable records of finished runs, in the vault.
//!
//! [`entry`] is what a record says, [`canonical`] its one text, [`sign`] the host's key and signature, [`spool`] the way
//! to the vault, [`archive`] the place there, [`carry`] the way to another
//! vault, [`verify`] what it is worth, and [`recorder`] the pen of one process. The
//! catalog is filled from here.

pub mod archive;
pub mod canonical;
pub mod carry;
pub mod entry;
pub mod recorder;
pub mod sign;
pub mod spool;
pub mod verify;

pub use archive::Archive;
pub use entry::{Completeness, Draft, MissReason, Proof, Record, RunId, Status, TimeKind, Work};
pub use recorder::Recorder;
pub use verify::{Audit, Entry};

/// Makes names in a folder durable.
fn sync_folder(folder: &std::path::Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
pub(crate) mod tests;
