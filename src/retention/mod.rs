//! What is kept, and why.
//!
//! [`plan`] decides over the snapshots of one plan in one vault. Snapshots that carry no plan (made by hand) never get
//! here.

mod facts;
pub mod plan;

pub use plan::{Held, RetentionPlan, retention};
