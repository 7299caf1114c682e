//! The machine itself: the one place where the real clock and the real randomness are asked.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::clock::{Clock, Env, Random};

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
struct System;

impl Clock for System {
    #[expect(clippy::disallowed_methods, reason = "this is the gate that the ban points to")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn boot(&self) -> Duration {
        let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(at.tv_sec).unwrap_or(0);
        let nanos = u32::try_from(at.tv_nsec).unwrap_or(0);
        Duration::new(seconds, nanos)
    }

    /// Sleeps in steps: tokio's clock stands still while the machine is suspended, boot time does not.
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        const STEP: Duration = Duration::from_secs(30);
        let end = self.boot().saturating_add(span);
        Box::pin(async move {
            loop {
                let left = end.saturating_sub(self.boot());
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left.min(STEP)).await;
            }
        })
    }
}

/// The operating system's random generator.
#[derive(Debug, Clone, Copy)]
struct OsRandom;

impl Random for OsRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the gate that the ban points to")]
    fn fill(&self, out: &mut [u8]) {
        getrandom::fill(out).expect("the trait promises to panic when the operating system has no randomness to give");
    }
}

/// The real machine.
pub(crate) fn real() -> Env {
    Env { clock: Arc::new(System), random: Arc::new(OsRandom) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn boot_time_goes_on_while_sleeping() {
        let env = real();
        let before = env.clock.boot();
        env.clock.sleep(Duration::from_millis(20)).await;
        assert!(env.clock.boot() - before >= Duration::from_millis(20));
        assert!(env.clock.now().as_second() > 1_700_000_000);
    }

    #[test]
    fn two_draws_differ() {
        let env = real();
        assert_ne!(env.random_bytes::<32>(), env.random_bytes::<32>());
    }
}
