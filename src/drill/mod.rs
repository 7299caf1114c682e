//! Restore drills that measure.
