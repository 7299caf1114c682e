//! Ctrl-C and SIGTERM: asked once, the work winds up; asked twice, the process ends at once.
//!
//! Commands that only read are dropped where they stand. Commands that write are handed the flag and stop between two
//! steps; a process that is killed instead leaves the vault as sound, with more to be uploaded next time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::error::Failure;
use super::exit::Exit;
use super::output::Output;
use crate::monitor::Cancel;

/// Whether the user asked to stop.
#[derive(Debug, Clone)]
pub(crate) struct Stop {
    cancel: Cancel,
    /// Someone winds up in good order when asked to, which may take a while.
    winds_up: Arc<AtomicBool>,
    asked: watch::Receiver<bool>,
}

impl Stop {
    /// Listens for SIGINT and SIGTERM from now on. Must be called inside the runtime.
    ///
    /// SIGHUP is ignored: restic sends it to the holders of a vault's locks to see whether they live (`restic unlock`), and
    /// ignores it itself. A handler that was once installed stays, so nobody has to listen.
    pub(crate) fn listen(out: Output) -> std::io::Result<Self> {
        drop(signal(SignalKind::hangup())?);
        let signals = [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?];
        let (tell, asked) = watch::channel(false);
        let stop = Self { cancel: Cancel::default(), winds_up: Arc::default(), asked };
        tokio::spawn(stop.clone().watch(signals, tell, out));
        Ok(stop)
    }

    /// What an operation is handed that stops between two steps.
    pub(crate) fn cancel(&self) -> Cancel {
        self.winds_up.store(true, Ordering::SeqCst);
        self.cancel.clone()
    }

    /// Resolves when the user asks to stop.
    pub(crate) async fn requested(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|stop| *stop).await.is_err() {
            // The listener is gone, which only happens when the runtime ends: nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }

    /// Whether the user asked to stop.
    pub(crate) fn is_requested(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Runs work that may be dropped at any point: for commands that only read.
    pub(crate) async fn or<T>(&self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.requested() => Err(Failure::interrupted()),
            done = work => done,
        }
    }

    async fn watch(self, mut signals: [Signal; 2], tell: watch::Sender<bool>, out: Output) {
        any(&mut signals).await;
        self.cancel.cancel();
        tell.send_replace(true);
        if self.winds_up.load(Ordering::SeqCst) {
            out.note("stopping; once more ends at once");
        }
        any(&mut signals).await;
        leave_now();
    }
}

async fn any([interrupt, terminate]: &mut [Signal; 2]) {
    tokio::select! {
        _ = interrupt.recv() => (),
        _ = terminate.recv() => (),
    }
}

#[expect(clippy::disallowed_methods, reason = "the second Ctrl-C must not wait for anything")]
fn leave_now() -> ! {
    std::process::exit(i32::from(Exit::Interrupted.code()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop() -> (watch::Sender<bool>, Stop) {
        let (tell, asked) = watch::channel(false);
        (tell, Stop { cancel: Cancel::default(), winds_up: Arc::default(), asked })
    }

    #[tokio::test]
    async fn work_that_nobody_stops_ends_by_itself() {
        let (_tell, stop) = stop();
        assert_eq!(stop.or(async { Ok(7) }).await.ok(), Some(7));
        assert!(!stop.cancel().is_cancelled());
    }

    #[tokio::test]
    async fn work_is_dropped_when_the_user_asks() {
        let (tell, stop) = stop();
        tell.send_replace(true);
        let ended = stop.or(std::future::pending::<Result<(), Failure>>()).await;
        assert_eq!(ended.map_err(|failure| failure.exit()), Err(Exit::Interrupted));
    }
}
