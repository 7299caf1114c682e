//! Restore drills that measure.
//!
//! [`plan`] decides what a drill restores from and when one is due, [`run`] carries it out with the code of an incident,
//! [`evidence`] holds what was observed, [`judge`] computes every figure and verdict from it and from nothing else, and
//! [`report`] draws both as one page. Invariant: a number that a person reads can be recomputed from the evidence.

pub mod evidence;
pub mod judge;
pub mod plan;
pub mod report;
pub mod run;

#[cfg(test)]
mod samples;
