//! How many packs are on their way to a store at the same time.
//!
//! A distant store needs several, as each waits for its answer; too many only take memory, or get in each other's way. So
//! the number follows what was measured: one more as long as that brings more bytes a second, one less when it has not, and
//! on in the direction that helps. It is not changed while the packs come too slowly to tell.

use std::time::Duration;

/// A rate this much above the last one was worth one more.
const BETTER: f64 = 1.05;
/// A rate this much below the last one says that the line has changed, or that there are too many.
const WORSE: f64 = 0.85;
/// Rounds after which one more is tried although nothing has changed.
const TRY_AGAIN: u32 = 8;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    More,
    Less,
    Stay,
}

/// Counts uploads and decides how many go on at once.
#[derive(Debug)]
pub(super) struct Pace {
    most: usize,
    limit: usize,
    /// Bytes a second of the last round, and what it began with.
    rate: f64,
    last: Step,
    steady: u32,
    /// The round so far.
    begun: Duration,
    bytes: u64,
    count: usize,
    waited: bool,
}

impl Pace {
    /// Begins with some, and makes it at most so many.
    pub(super) fn new(first: usize, most: usize, now: Duration) -> Self {
        Self {
            most: most.max(1),
            limit: first.clamp(1, most.max(1)),
            rate: 0.0,
            last: Step::Stay,
            steady: 0,
            begun: now,
            bytes: 0,
            count: 0,
            waited: false,
        }
    }

    /// How many may go on at once.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// All that may go on do: the line is what holds the run up.
    pub(super) fn full(&mut self) {
        self.waited = true;
    }

    /// An upload of `bytes` has ended.
    pub(super) fn ended(&mut self, bytes: u64, now: Duration) {
        self.bytes += bytes;
        self.count += 1;
        if self.count < self.limit * 2 {
            return;
        }
        let seconds = now.saturating_sub(self.begun).as_secs_f64();
        if self.waited && seconds > 0.0 {
            self.decide(self.bytes as f64 / seconds);
        }
        (self.begun, self.bytes, self.count, self.waited) = (now, 0, 0, false);
    }

    fn decide(&mut self, rate: f64) {
        let before = std::mem::replace(&mut self.rate, rate);
        let step = match std::mem::replace(&mut self.last, Step::Stay) {
            // What has helped may help more; of two first steps, one more is the one that is worth a try.
            Step::Less if rate > before * BETTER => Step::Less,
            _ if rate > before * BETTER => Step::More,
            Step::More => Step::Less,
            Step::Less if rate < before * WORSE => Step::More,
            Step::Stay if rate < before * WORSE => Step::Less,
            Step::Stay | Step::Less if self.steady >= TRY_AGAIN => Step::More,
            Step::Stay | Step::Less => Step::Stay,
        };
        let limit = match step {
            Step::More => (self.limit + 1).min(self.most),
            Step::Less => self.limit.saturating_sub(1).max(1),
            Step::Stay => self.limit,
        };
        self.steady = if limit == self.limit { self.steady + 1 } else { 0 };
        if limit != self.limit {
            (self.limit, self.last) = (limit, step);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACK: u64 = 16 << 20;

    /// Where the pace ends up after so many rounds over a line that has this rate for so many uploads at once.
    fn settles(most: usize, rounds: usize, rate: impl Fn(usize) -> f64) -> Vec<usize> {
        let mut now = Duration::from_secs(100);
        let mut pace = Pace::new(most / 2, most, now);
        let mut seen = Vec::new();
        for _ in 0..rounds {
            let limit = pace.limit();
            for _ in 0..limit * 2 {
                pace.full();
                now += Duration::from_secs_f64(PACK as f64 / rate(limit));
                pace.ended(PACK, now);
            }
            seen.push(pace.limit());
        }
        seen
    }

    #[test]
    fn a_distant_store_gets_as_many_as_there_may_be() {
        assert_eq!(settles(8, 10, |many| many as f64 * 20e6).last(), Some(&8));
    }

    #[test]
    fn a_narrow_line_gets_no_more_than_fill_it() {
        let seen = settles(16, 60, |many| (many as f64 * 30e6).min(90e6));
        assert!(seen[10..].iter().all(|limit| (3..=9).contains(limit)), "{seen:?}");
    }

    #[test]
    fn a_server_that_is_asked_too_much_is_asked_less() {
        let seen = settles(16, 80, |many| if many > 4 { 400e6 / (many * many) as f64 } else { many as f64 * 25e6 });
        assert!(seen[20..].iter().all(|limit| *limit <= 6), "{seen:?}");
    }

    #[test]
    fn slow_packs_say_nothing_about_the_line() {
        let mut pace = Pace::new(4, 8, Duration::ZERO);
        for n in 1..100 {
            pace.ended(PACK, Duration::from_secs(n));
        }
        assert_eq!(pace.limit(), 4);
    }

    #[test]
    fn there_is_always_one() {
        assert_eq!(Pace::new(0, 0, Duration::ZERO).limit(), 1);
        assert!(settles(1, 30, |_| 1e6).iter().all(|limit| *limit == 1));
        // However the line behaves, it is one to the most.
        let (mut now, mut pace) = (Duration::ZERO, Pace::new(2, 4, Duration::ZERO));
        for n in 1..400_u32 {
            pace.full();
            now += Duration::from_millis(u64::from(n.wrapping_mul(2_654_435_761) >> 22));
            pace.ended(PACK, now);
            assert!((1..=4).contains(&pace.limit()), "{n}");
        }
    }
}
