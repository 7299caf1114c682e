//! Freeing what no snapshot needs.
//!
//! [`plan`] decides from the index, the listing and the set of used blobs; it touches nothing.

pub mod decision;
pub mod plan;
