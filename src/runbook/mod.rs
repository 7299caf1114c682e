//! Typed recovery steps.
//!
//! [`plan`] orders the steps and says what may run next; it runs nothing.

pub mod plan;
