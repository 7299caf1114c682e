//! Restore drills that measure.
//!
//! [`evidence`] holds what was observed, [`judge`] computes every figure and verdict from it and from nothing else, and
//! [`report`] draws both as one page. Invariant: a number that a person reads can be recomputed from the evidence.

pub mod evidence;
pub mod judge;
pub mod report;

pub use crate::runbook::manifest;

#[cfg(test)]
mod samples;
