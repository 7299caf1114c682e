//! Looking into snapshots: walk, find, compare, dump.
//!
//! Reads only: no lock, no record, read-only credentials do. Trees are streamed, so memory grows with the depth of a
//! tree and not with its size. Damage is reported where it is met, and the rest is still shown. Nothing is printed and
//! nothing is written to disk here.

mod diff;
mod dump;
mod error;
mod find;
mod locate;
mod select;
mod tar;
mod walk;

pub use diff::{Change, Diff, Difference};
pub use dump::{DumpSummary, dump_file, dump_folder};
pub use error::LookError;
pub use find::{BadPattern, Case, Finder};
pub use locate::{Found, locate};
pub use select::{BadSpec, Filter, Spec, Which, choose, latest};
pub use walk::Walk;

#[cfg(test)]
mod testing;
