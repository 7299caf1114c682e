//! The gate for time, randomness and fresh ids.
//!
//! Nothing else in the library asks the machine what time it is or draws a random number. The real implementations are
//! made by the command line; tests use [`SetClock`] and [`Seeded`], a simulated year [`Calendar`].

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Wall time, boot time and sleeping.
pub trait Clock: Send + Sync + std::fmt::Debug {
    /// Wall time, UTC. May step in both directions.
    fn now(&self) -> Timestamp;
    /// Time since boot, suspension included. Never steps back. All durations are differences of this.
    fn boot(&self) -> Duration;
    /// Resolves once `boot` has advanced by `span`.
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
    /// As [`Clock::sleep`], for what goes on in the background and must not turn a clock that is turned by hand. `None`: the
    /// runtime's own timer will do.
    fn pause(&self, _span: Duration) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
        None
    }
    /// What the clock that stamps files showed at an instant of wall time. Another time only under a simulated calendar.
    fn file_time(&self, wall: Timestamp) -> Timestamp {
        wall
    }
}

/// Random bytes: IVs, keys, salts, nonces, ids.
pub trait Random: Send + Sync + std::fmt::Debug {
    /// Fills `out` from the operating system's generator (never from a user-space one, which a virtual machine resumed
    /// twice from one image would repeat). Panics when the operating system cannot deliver: nothing can be sealed then.
    fn fill(&self, out: &mut [u8]);
}

/// The machine as the library sees it: handed down, never looked up.
#[derive(Debug, Clone)]
pub struct Env {
    /// Wall and boot time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
}

impl Env {
    /// `N` random bytes.
    pub fn random_bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.random.fill(&mut out);
        out
    }

    /// A fresh id that sorts by the time at which it was drawn.
    pub fn ulid(&self) -> ulid::Ulid {
        let millis = self.clock.now().as_millisecond().max(0).unsigned_abs();
        ulid::Ulid::from_parts(millis, u128::from_le_bytes(self.random_bytes()))
    }
}

/// A clock turned by hand; sleeping turns it.
#[derive(Debug)]
pub struct SetClock {
    start: Timestamp,
    elapsed_nanos: AtomicI64,
}

impl SetClock {
    /// A clock that stands at `start` until it is turned.
    pub fn at(start: Timestamp) -> Self {
        Self { start, elapsed_nanos: AtomicI64::new(0) }
    }

    /// Turns wall and boot time forward together.
    pub fn advance(&self, span: Duration) {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        self.elapsed_nanos.fetch_add(nanos, Ordering::SeqCst);
    }
}

impl Clock for SetClock {
    fn now(&self) -> Timestamp {
        let elapsed = SignedDuration::from_nanos(self.elapsed_nanos.load(Ordering::SeqCst));
        self.start.checked_add(elapsed).unwrap_or(Timestamp::MAX)
    }

    fn boot(&self) -> Duration {
        Duration::from_nanos(self.elapsed_nanos.load(Ordering::SeqCst).max(0).unsigned_abs())
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.advance(span);
        Box::pin(std::future::ready(()))
    }
}

/// A simulated calendar over a real clock: wall time can be turned ahead; boot time and sleeping are real, so that
/// durations are measured and not made up.
#[derive(Debug)]
pub struct Calendar {
    real: Arc<dyn Clock>,
    /// Each turn: the wall time that it led to, and how far ahead of the real clock wall time is since. Never empty.
    turns: Mutex<Vec<(Timestamp, SignedDuration)>>,
}

impl Calendar {
    /// A calendar that shows what `real` shows until it is turned.
    pub fn over(real: Arc<dyn Clock>) -> Self {
        let start = (real.now(), SignedDuration::ZERO);
        Self { real, turns: Mutex::new(vec![start]) }
    }

    /// Turns wall time ahead to `when`; a time that has passed changes nothing.
    pub fn turn_to(&self, when: Timestamp) {
        let ahead = when.duration_since(self.real.now());
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.last().is_none_or(|(_, now)| ahead > *now) {
            turns.push((when, ahead));
        }
    }

    fn ahead_at(&self, wall: Timestamp) -> SignedDuration {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.iter().rev().find(|(led_to, _)| *led_to <= wall).map_or(SignedDuration::ZERO, |(_, ahead)| *ahead)
    }
}

impl Clock for Calendar {
    fn now(&self) -> Timestamp {
        let ahead = self.ahead_at(Timestamp::MAX);
        self.real.now().checked_add(ahead).unwrap_or(Timestamp::MAX)
    }

    fn boot(&self) -> Duration {
        self.real.boot()
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.real.sleep(span)
    }

    fn file_time(&self, wall: Timestamp) -> Timestamp {
        wall.checked_sub(self.ahead_at(wall)).unwrap_or(Timestamp::MIN)
    }
}

/// A reproducible stream of bytes for tests (SplitMix64). Never used to seal anything that is kept.
#[derive(Debug)]
pub struct Seeded(AtomicU64);

impl Seeded {
    /// The stream that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }
}

impl Random for Seeded {
    fn fill(&self, out: &mut [u8]) {
        for part in out.chunks_mut(8) {
            let state = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::SeqCst).wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^= z >> 31;
            part.copy_from_slice(&z.to_le_bytes()[..part.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_clock_moves_only_when_turned() {
        let clock = SetClock::at(Timestamp::UNIX_EPOCH);
        assert_eq!(clock.now(), Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(90));
        assert_eq!(clock.now().as_second(), 90);
        assert_eq!(clock.boot(), Duration::from_secs(90));
    }

    #[test]
    fn a_calendar_is_turned_ahead_and_knows_what_files_were_stamped_with() {
        let hour = SignedDuration::from_hours(1);
        let real = Arc::new(SetClock::at(Timestamp::UNIX_EPOCH));
        let calendar = Calendar::over(real.clone());
        let then = Timestamp::UNIX_EPOCH + 24 * hour;
        calendar.turn_to(then);
        assert_eq!((calendar.now(), calendar.boot()), (then, Duration::ZERO));
        real.advance(Duration::from_secs(60));
        assert_eq!(calendar.now(), then + SignedDuration::from_secs(60));
        calendar.turn_to(then);
        assert_eq!(calendar.now(), then + SignedDuration::from_secs(60), "it is never turned back");
        let later = then + 48 * hour;
        calendar.turn_to(later);
        assert_eq!(calendar.file_time(later), Timestamp::UNIX_EPOCH + SignedDuration::from_secs(60));
        assert_eq!(calendar.file_time(then + SignedDuration::from_secs(5)).as_second(), 5);
        assert_eq!(calendar.file_time(Timestamp::UNIX_EPOCH), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn ulids_sort_by_time_and_seeds_repeat() {
        let clock = Arc::new(SetClock::at(Timestamp::UNIX_EPOCH));
        let env = Env { clock: clock.clone(), random: Arc::new(Seeded::new(7)) };
        let first = env.ulid();
        clock.advance(Duration::from_secs(1));
        assert!(first < env.ulid());
        let again = Env { clock: Arc::new(SetClock::at(Timestamp::UNIX_EPOCH)), random: Arc::new(Seeded::new(7)) };
        assert_eq!(first, again.ulid());
    }
}
