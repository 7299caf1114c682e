//! The repository format: everything that knows how a vault is laid out and sealed.

pub mod id;

pub use id::Id;
