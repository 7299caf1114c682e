//! From a source to a snapshot.

pub mod chunk;
