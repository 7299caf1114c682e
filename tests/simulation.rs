//! Two writers, a pruner and a reader in one vault, request by request in an order that a seed decides, over a store that
//! fails, loses answers and outlives them: what was acknowledged comes back, garbage goes, nobody waits for ever.
//!
//! `scripts/simulate` runs as many seeds as the time allows. Seeds that failed once are kept in [`FOUND`].

mod turns;
mod world;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use world::{Counts, Outcome, simulate};

/// Seeds that found something.
#[rustfmt::skip]
const FOUND: [u64; 12] = [
    // A check took a backup that ended meanwhile for damage.
    23, 40, 88,
    // A prune that had lost its lock did so, too.
    26, 314,
    // A prune that had lost its lock went on to delete what others had begun to use.
    2455,
    // A prune and a backup both held their locks: each of the other's was refreshed just while it was looked at.
    1_000_144, 1_002_001, 1_002_005,
    // A prune named snapshots as lacking what their backups were just storing again.
    1_795_733_250_420, 1_795_733_250_675, 1_795_733_250_696,
];

/// What a range of seeds came to.
#[derive(Default)]
struct Tally {
    seeds: u64,
    counts: Counts,
    failed: Vec<(u64, Vec<String>)>,
    /// By seed, a hash of all that happened.
    orders: HashMap<u64, u64>,
}

impl Tally {
    fn add(&mut self, seed: u64, mut outcome: Outcome) {
        let mut hasher = DefaultHasher::new();
        outcome.log.hash(&mut hasher);
        let order = hasher.finish();
        if *self.orders.entry(seed).or_insert(order) != order {
            outcome.wrong.push("it went in another order than the first time".to_owned());
        }
        self.seeds += 1;
        self.counts += outcome.counts;
        if !outcome.wrong.is_empty() {
            if let Some(folder) = std::env::var_os("DRCTL_SIMULATE_LOGS") {
                std::fs::write(Path::new(&folder).join(format!("{seed}-{order:x}")), &outcome.log).unwrap();
            }
            self.failed.push((seed, outcome.wrong));
        }
    }
}

/// Runs seeds on every processor until `stop` says so.
fn run(seeds: impl Iterator<Item = u64> + Send, stop: impl Fn() -> bool + Sync) -> Tally {
    let (seeds, tally) = (Mutex::new(seeds), Mutex::new(Tally::default()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !stop() {
                    let Some(seed) = seeds.lock().unwrap().next() else { return };
                    let outcome = std::panic::catch_unwind(|| simulate(seed))
                        .unwrap_or_else(|_| Outcome { wrong: vec!["it panicked".to_owned()], ..Outcome::default() });
                    tally.lock().unwrap().add(seed, outcome);
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

#[test]
fn writers_a_pruner_and_a_reader_lose_nothing_whatever_the_order_and_the_faults() {
    let tally = run(FOUND.into_iter().chain(0..1000), || false);
    assert!(tally.failed.is_empty(), "of {} seeds: {:#?}", tally.seeds, tally.failed);
    // A simulation in which nothing happens shows nothing.
    let Counts { backups, prunes, reads, checks, failed, locked, crashes, locks_lost, swept, overtaken, .. } =
        tally.counts;
    for (what, count) in [
        ("backups", backups),
        ("prunes", prunes),
        ("reads", reads),
        ("checks", checks),
        ("failures", failed),
        ("waits for a lock", locked),
        ("crashes", crashes),
        ("packs that a prune beside backups deleted", swept),
    ] {
        assert!(count > 300, "only {count} {what}: {:?}", tally.counts);
    }
    assert!(locks_lost > 0 && overtaken > 0, "{:?}", tally.counts);
}

#[test]
fn a_seed_decides_the_order_of_all_requests() {
    for seed in 0..24 {
        let (first, second) = (simulate(seed).log, simulate(seed).log);
        let differs = first.lines().zip(second.lines()).position(|(a, b)| a != b);
        let around = |log: &str| -> Vec<String> {
            log.lines().skip(differs.unwrap_or(0).saturating_sub(6)).take(12).map(str::to_owned).collect()
        };
        assert!(first == second, "seed {seed}: {:#?} and {:#?}", around(&first), around(&second));
        assert!(first.lines().count() > 100, "seed {seed}");
    }
}

/// `DRCTL_SIMULATE_SECONDS` and, if wanted, `DRCTL_SIMULATE_FIRST` say how long and from which seed.
/// With `DRCTL_SIMULATE_AGAIN` it is that seed again and again, which must go as it did the first time.
#[test]
#[ignore = "runs for as long as scripts/simulate says"]
fn simulate_for_a_while() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = number("DRCTL_SIMULATE_SECONDS").unwrap_or(60);
    let first = number("DRCTL_SIMULATE_FIRST").unwrap_or(1000);
    let (begun, last, stopped) = (Instant::now(), AtomicU64::new(first), AtomicBool::new(false));
    let step = u64::from(std::env::var_os("DRCTL_SIMULATE_AGAIN").is_none());
    let seeds = std::iter::from_fn(|| Some(last.fetch_add(step, Ordering::SeqCst)));
    let stop = || stopped.load(Ordering::SeqCst) || begun.elapsed() > Duration::from_secs(seconds);
    let tally = run(seeds, stop);
    println!("{} seeds from {first} on: {:?}", tally.seeds, tally.counts);
    for (seed, wrong) in &tally.failed {
        println!("seed {seed} failed: {wrong:#?}");
    }
    assert!(tally.failed.is_empty(), "{} seeds failed", tally.failed.len());
}
