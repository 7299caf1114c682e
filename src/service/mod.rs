//! Carrying plans out: by the daemon, by one round of it, or by hand.
//!
//! [`host`] is what a host needs for it, [`dispatch`] decides and claims, [`job`] runs one plan, [`steps`] follow, and
//! [`serve`] wakes them. [`copies`] and [`drills`] are steps with a file of their own. [`status`] holds promises against what is known,
//! and [`rebuild`] fills the catalog from the vaults.
//!
//! Nothing here prints; the command line shows what is returned.

pub mod copies;
pub mod dispatch;
pub mod drills;
mod due_drills;
mod error;
pub mod evidence;
mod hooks;
pub mod host;
pub mod job;
mod lasting;
mod marks;
pub mod rebuild;
pub mod recovery;
pub mod retain;
pub mod round;
pub mod secret;
pub mod serve;
mod source;
pub mod status;
pub mod steps;
pub mod vaults;
pub mod verify;

pub use error::ServiceError;
pub use host::{Service, Setup};
pub use job::{Job, Ran};
pub use serve::Tick;
pub use steps::Step;
pub use vaults::Vaults;
