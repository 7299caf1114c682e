//! The daemon: a heartbeat that wakes the dispatcher, runs beside each other, the steps behind them, a clean stop.
//!
//! The alarm clock only wakes. What is due, missed or overlapping is decided by [`Service::dispatch`] over recorded runs,
//! so that a heartbeat that is late, lost or doubled changes nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_cron_scheduler::{Job, JobScheduler};

use super::dispatch::Dispatched;
use super::error::ServiceError;
use super::host::Service;
use super::job::{Claimed, Ran};
use super::marks::Mark;
use super::steps::Step;
use crate::schedule::plan::Missed;
use crate::vault::chain;

/// Seconds of each minute, in UTC, at which the dispatcher is woken.
const HEARTBEAT: &str = "*/10 * * * * *";
/// Backups at the same time: one may wait for its source while another uploads.
const AT_ONCE: usize = 2;
/// What follows the backups is looked at this often, also when there was none.
const STEPS_EVERY: Duration = Duration::from_secs(15 * 60);

/// What one round did.
#[derive(Debug, Default)]
pub struct Tick {
    /// Instants that were recorded as missed.
    pub missed: Vec<Missed>,
    /// Runs that ended.
    pub runs: Vec<Ran>,
    /// Steps behind them.
    pub steps: Vec<Step>,
    /// When the next plan is due.
    pub next: Option<jiff::Timestamp>,
}

impl Service {
    /// One round: what is due runs, one after the other, then the steps behind it.
    pub async fn tick(&self) -> Result<Tick, ServiceError> {
        let Dispatched { claimed, missed, next } = self.dispatch()?;
        let mut tick = Tick { missed, next, ..Tick::default() };
        for claimed in claimed {
            tick.runs.push(self.execute(claimed).await?);
        }
        if !self.cancel.is_cancelled() {
            tick.steps = self.after().await;
        }
        Ok(tick)
    }

    /// One round, by the only service of the state folder.
    pub async fn tick_alone(&self) -> Result<Tick, ServiceError> {
        let _only = self.only()?;
        self.tick().await
    }

    fn only(&self) -> Result<Mark, ServiceError> {
        Mark::of_service(&self.state)?.ok_or_else(|| ServiceError::AlreadyRunning(self.state.clone()))
    }

    /// Serves until `stop` resolves: then running backups stop at a safe point, and their records are written.
    pub async fn serve(self: Arc<Self>, stop: impl Future<Output = ()>) -> Result<(), ServiceError> {
        let _only = self.only()?;
        let (beat, mut beats) = mpsc::channel(1);
        let mut alarm = alarm(beat).await?;
        tracing::info!(host = self.host(), plans = self.config.plans.len(), "serving");
        let mut work = Work::new(self.clone());
        tokio::pin!(stop);
        work.beat()?;
        loop {
            tokio::select! {
                biased;
                () = &mut stop => break,
                _ = beats.recv() => {}
                () = work.progress() => {}
            }
            // A full disk, or another process that holds the catalog for long, passes; the runs that go on need us.
            if let Err(error) = work.beat() {
                tracing::error!(error = chain(&error), "what is due cannot be decided");
            }
        }
        tracing::info!("stopping");
        self.cancel.cancel();
        work.finish().await;
        if let Err(error) = alarm.shutdown().await {
            tracing::warn!(%error, "the alarm clock did not stop");
        }
        tracing::info!("stopped");
        Ok(())
    }
}

/// An alarm clock that sends a beat at each heartbeat. A beat that nobody has taken yet is enough.
async fn alarm(beat: mpsc::Sender<()>) -> Result<JobScheduler, ServiceError> {
    let failed = |error: tokio_cron_scheduler::JobSchedulerError| ServiceError::Alarm(error.to_string());
    let alarm = JobScheduler::new().await.map_err(failed)?;
    let job = Job::new(HEARTBEAT, move |_, _| {
        let _ = beat.try_send(());
    });
    alarm.add(job.map_err(failed)?).await.map_err(failed)?;
    alarm.start().await.map_err(failed)?;
    Ok(alarm)
}

/// What goes on in the daemon.
struct Work {
    service: Arc<Service>,
    slots: Arc<Semaphore>,
    runs: JoinSet<()>,
    steps: JoinSet<()>,
    /// Boot time at which the steps last ended; `None`: they are due.
    stepped: Option<Duration>,
}

impl Work {
    fn new(service: Arc<Service>) -> Self {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        Self { service, slots, runs: JoinSet::new(), steps: JoinSet::new(), stepped: None }
    }

    /// Starts what is due.
    fn beat(&mut self) -> Result<(), ServiceError> {
        let dispatched = self.service.dispatch()?;
        for claimed in dispatched.claimed {
            self.runs.spawn(Self::run(self.service.clone(), self.slots.clone(), claimed));
        }
        let boot = self.service.env.clock.boot();
        let due = self.stepped.is_none_or(|last| boot.saturating_sub(last) >= STEPS_EVERY);
        if due && self.runs.is_empty() && self.steps.is_empty() {
            let service = self.service.clone();
            self.steps.spawn(async move {
                service.after().await;
            });
        }
        Ok(())
    }

    async fn run(service: Arc<Service>, slots: Arc<Semaphore>, claimed: Claimed) {
        let _slot = slots.acquire().await.expect("the semaphore is never closed");
        if let Err(error) = service.execute(claimed).await {
            // The run stays noted as going on without a mark: the next round records it as cut off.
            tracing::error!(error = chain(&error), "a run cannot be recorded");
        }
    }

    /// Resolves when something ended, after which more may be due.
    async fn progress(&mut self) {
        tokio::select! {
            Some(ended) = self.runs.join_next() => {
                self.stepped = None;
                reap(ended);
            }
            Some(ended) = self.steps.join_next() => {
                self.stepped = Some(self.service.env.clock.boot());
                reap(ended);
            }
            else => std::future::pending().await,
        }
    }

    async fn finish(mut self) {
        while let Some(ended) = self.runs.join_next().await {
            reap(ended);
        }
        while let Some(ended) = self.steps.join_next().await {
            reap(ended);
        }
    }
}

/// A run that panicked is left without a mark, so that the next round records it as cut off; the others go on.
fn reap(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a task of the service panicked; this is a bug of drctl");
    }
}
