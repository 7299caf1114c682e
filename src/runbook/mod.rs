//! Typed recovery steps.
//!
//! [`plan`] orders the steps and says what may run next; it runs nothing. [`run`] carries them out against a target folder
//! and writes down when each began, when it ended and what it proved, for drills and incidents alike. [`render`] prints
//! the same steps as a document to follow by hand. [`manifest`] proves content by other code than the backup's.

mod check;
pub mod manifest;
pub mod outcome;
pub mod plan;
pub mod render;
pub mod run;

pub use check::ask;
