//! All integration tests, in one binary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "tests watch real processes in real time")]

mod advice;
mod architecture;
mod backup_behaviour;
mod bad_input;
mod cli;
mod damage;
mod docs;
mod drill;
mod faults;
mod fuzz_replay;
mod heal;
mod interop;
mod kill;
mod kills;
mod memory;
mod packaging;
mod partial;
mod replicate;
mod restore_safety;
mod rotate;
mod secrets;
mod service;
mod simulation;
mod sparse;
mod support;
mod trouble;
