//! drctl keeps data recoverable and proves it.
//!
//! The map, from the ground up. A lower layer never names a higher one; `tests/architecture.rs` reads the sources and
//! enforces it. The library never prints: operations report to a [`monitor::Monitor`].

// ground: no I/O
pub mod clock;
pub mod config;
pub mod monitor;
pub mod objective;
pub mod units;

// storage
pub mod store;
pub mod vault;

// data plane
pub mod backup;
pub mod check;
pub mod heal;
pub mod look;
pub mod prune;
pub mod restore;
pub mod source;

// memory
pub mod catalog;
pub mod record;

// control plane
pub mod drill;
pub mod replication;
pub mod retention;
pub mod runbook;
pub mod schedule;

pub mod service;

// faces
pub mod cli;
