//! What is due.
//!
//! [`timetable`] knows the instants at which a plan is due, [`plan`] decides from recorded runs which of them run now
//! and which are recorded as missed. Nothing here waits, runs or records.

pub mod plan;
pub mod timetable;
