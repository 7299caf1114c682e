//! Mending a vault: under the exclusive lock, and never good with bad.
//!
//! [`run`](run()) replaces damaged packs, index files and snapshots by what another vault or the files themselves still hold:
//! [`plan`] decides from what a check saw, `run` acts. [`rebuild`] makes the index anew from what the packs say of themselves.
//!
//! Invariant: nothing is removed before what replaces it is durable and was read back, and nothing is stored that was not
//! verified against its id. What is damaged everywhere stays as it is, and listed. It does not look for damage: `check` does.

mod error;
mod files;
mod found;
pub mod plan;
pub mod rebuild;
mod run;
mod snapshots;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use error::HealError;
pub use found::Lost;
pub use run::{Healed, Outcome, Sources, run};
pub use snapshots::HealedSnapshot;
