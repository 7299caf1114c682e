//! Typed recovery steps.
