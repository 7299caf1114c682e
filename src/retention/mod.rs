//! What is kept, and why.
//!
//! [`plan`] decides over the snapshots of one plan in one vault, and [`run`] carries it out. Snapshots that carry no plan
//! (made by hand) never get here.

mod facts;
pub mod plan;
pub mod run;

pub use plan::{Held, RetentionPlan, retention};
