//! Mending a vault: under the exclusive lock, and never good with bad.
//!
//! [`rebuild`] makes the index anew from what the packs say of themselves. Invariant: nothing is removed before what
//! replaces it is durable and was read back, and nothing is stored that was not verified against its id.

pub mod rebuild;
#[cfg(test)]
pub(crate) mod testing;
