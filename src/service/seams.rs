//! Where copies and drills plug into the service.

use async_trait::async_trait;

use super::error::ServiceError;
use super::host::Service;
use crate::config::PlanName;
use crate::monitor::Cancel;
use crate::objective::Disaster;
use crate::record::Status;

/// Makes what a plan's copies lack.
#[async_trait]
pub trait Copies: Send + Sync {
    /// Copies the plan's snapshots to each of its copies, newest first, and records each run in the copy's vault by
    /// [`Service::record`]. Asked at every tick: with nothing owed it does and records nothing. Returns how each run that
    /// it made ended.
    async fn replicate(&self, service: &Service, plan: &PlanName, cancel: &Cancel)
    -> Result<Vec<Status>, ServiceError>;
}

/// Does a drill.
#[async_trait]
pub trait Drills: Send + Sync {
    /// Drills the plan's recovery from the loss of `lost`, and records it by [`Service::record`].
    async fn drill(
        &self,
        service: &Service,
        plan: &PlanName,
        lost: Disaster,
        cancel: &Cancel,
    ) -> Result<Status, ServiceError>;
}
