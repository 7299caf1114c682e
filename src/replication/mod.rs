//! Copies in other vaults.
//!
//! [`plan`] decides which snapshots a copy still lacks and how far behind it is.

mod facts;
pub mod plan;
