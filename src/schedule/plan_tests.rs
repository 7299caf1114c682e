use std::collections::BTreeMap;

use jiff::civil::Weekday;
use proptest::prelude::*;

use super::*;
use crate::config::{Days, Rhythm, TierDays};
use crate::units::Span;

fn ts(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn table(rhythm: Rhythm, zone: &str) -> Schedule {
    Schedule {
        rhythm,
        zone: zone.parse().expect("a known zone"),
        daylight: None,
        tiers: vec![
            TierDays { tier: Tier::Daily, days: Days::Every },
            TierDays { tier: Tier::Weekly, days: Days::Weekly(Weekday::Sunday) },
            TierDays { tier: Tier::Monthly, days: Days::Monthly(1) },
        ],
        catch_up: CatchUp::Once,
    }
}

fn nightly() -> Schedule {
    table(Rhythm::At(jiff::civil::time(1, 30, 0, 0)), "UTC")
}

fn facts<'a>(schedule: &'a Schedule, last: &str) -> PlanFacts<'a> {
    let since = ts("2026-01-01T00:00:00Z");
    PlanFacts { plan: "orders", schedule, since, last: Some(ts(last)), running: None, carried: &[] }
}

#[test]
fn a_plan_is_due_at_its_instant_and_not_before() {
    let timetable = nightly();
    let facts = facts(&timetable, "2026-03-02T01:30:00Z");
    let early = schedule(ts("2026-03-03T01:29:59Z"), &[facts]);
    assert_eq!((early.due.len(), early.missed.len()), (0, 0));
    assert_eq!(early.next_due(), Some(ts("2026-03-03T01:30:00Z")));
    let now = schedule(ts("2026-03-03T01:30:00Z"), &[facts]);
    assert_eq!(now.due.len(), 1);
    assert_eq!((now.due[0].due, now.due[0].catches_up), (ts("2026-03-03T01:30:00Z"), 0));
    assert_eq!(now.due[0].tiers, [Tier::Daily]);
    assert_eq!(now.next_due(), Some(ts("2026-03-04T01:30:00Z")));
}

#[test]
fn a_new_plan_owes_nothing_from_before_it_was_known() {
    let timetable = nightly();
    let mut facts = facts(&timetable, "2026-03-02T01:30:00Z");
    facts.last = None;
    facts.since = ts("2026-03-02T10:00:00Z");
    let decision = schedule(ts("2026-03-02T11:00:00Z"), &[facts]);
    assert!(decision.due.is_empty() && decision.missed.is_empty());
    assert_eq!(decision.next_due(), Some(ts("2026-03-03T01:30:00Z")));
}

#[test]
fn after_downtime_one_catch_up_serves_all_that_was_missed() {
    let timetable = nightly();
    let decision = schedule(ts("2026-03-03T09:00:00Z"), &[facts(&timetable, "2026-02-27T01:30:00Z")]);
    let missed: Vec<_> = decision.missed.iter().map(|m| (m.due.to_string(), m.reason)).collect();
    assert_eq!(
        missed,
        [
            ("2026-02-28T01:30:00Z".to_owned(), MissReason::Downtime),
            ("2026-03-01T01:30:00Z".to_owned(), MissReason::Downtime),
            ("2026-03-02T01:30:00Z".to_owned(), MissReason::Downtime),
        ]
    );
    assert_eq!(decision.due.len(), 1);
    assert_eq!(decision.due[0].due, ts("2026-03-03T01:30:00Z"));
    assert_eq!(decision.due[0].catches_up, 3);
    assert_eq!(decision.due[0].tiers, [Tier::Daily, Tier::Weekly, Tier::Monthly]);
}

#[test]
fn without_catch_up_the_next_instant_serves_what_was_missed() {
    let timetable = Schedule { catch_up: CatchUp::Skip, ..nightly() };
    let late = schedule(ts("2026-03-01T09:00:00Z"), &[facts(&timetable, "2026-02-27T01:30:00Z")]);
    assert_eq!((late.due.len(), late.missed.len()), (0, 2));
    let mut facts = facts(&timetable, "2026-03-01T01:30:00Z");
    facts.carried = &late.missed[1].tiers;
    let prompt = schedule(ts("2026-03-02T01:31:00Z"), &[facts]);
    assert_eq!(prompt.due[0].tiers, [Tier::Daily, Tier::Weekly, Tier::Monthly]);
}

#[test]
fn a_due_run_while_the_last_still_goes_is_missed_and_its_tiers_wait() {
    let timetable = nightly();
    let mut facts = facts(&timetable, "2026-02-28T01:30:00Z");
    facts.running = Some(Running { started: ts("2026-02-28T01:30:02Z") });
    let decision = schedule(ts("2026-03-01T01:30:00Z"), &[facts]);
    assert!(decision.due.is_empty());
    assert_eq!(decision.missed.len(), 1);
    assert_eq!(decision.missed[0].reason, MissReason::Overlap);
    assert_eq!(decision.missed[0].tiers, [Tier::Daily, Tier::Weekly, Tier::Monthly]);

    facts.running = None;
    facts.last = Some(ts("2026-03-01T01:30:00Z"));
    facts.carried = &decision.missed[0].tiers;
    let next = schedule(ts("2026-03-02T01:30:00Z"), &[facts]);
    assert_eq!(next.due[0].tiers, [Tier::Daily, Tier::Weekly, Tier::Monthly]);
}

#[test]
fn a_clock_that_steps_back_runs_nothing_again_and_is_named() {
    let timetable = nightly();
    let facts = facts(&timetable, "2026-03-03T01:30:00Z");
    for now in ["2026-03-03T01:00:00Z", "2026-03-02T01:30:00Z", "2025-03-03T01:30:00Z"] {
        let decision = schedule(ts(now), &[facts]);
        assert!(decision.due.is_empty() && decision.missed.is_empty(), "{now}");
        assert_eq!(decision.next_due(), Some(ts("2026-03-04T01:30:00Z")));
        assert_eq!(decision.ahead[0].last, ts("2026-03-03T01:30:00Z"));
        assert!(decision.ahead[0].by.is_positive());
    }
}

#[test]
fn a_clock_change_night_runs_once() {
    let timetable = table(Rhythm::At(jiff::civil::time(2, 30, 0, 0)), "Europe/Berlin");
    let mut last = ts("2026-10-24T00:30:00Z");
    let mut ran = Vec::new();
    for minute in 0..(48 * 60) {
        let now = ts("2026-10-24T12:00:00Z") + SignedDuration::from_mins(minute);
        let mut facts = facts(&timetable, "2026-10-24T00:30:00Z");
        facts.last = Some(last);
        if let Some(run) = schedule(now, &[facts]).due.first() {
            last = run.due;
            ran.push(run.due.to_string());
        }
    }
    assert_eq!(ran, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
}

#[test]
fn a_long_downtime_of_a_frequent_plan_is_decided_in_batches() {
    let timetable = table(Rhythm::Every(Span::from_mins(1)), "UTC");
    let now = ts("2026-03-03T00:00:00Z");
    let first = schedule(now, &[facts(&timetable, "2026-03-01T00:00:00Z")]);
    assert_eq!((first.due.len(), first.missed.len()), (0, BATCH));
    assert_eq!(first.unfinished, ["orders"]);
    let mut facts = facts(&timetable, "2026-03-01T00:00:00Z");
    let mut missed = 0;
    let run = loop {
        let decision = schedule(now, &[facts]);
        missed += decision.missed.len();
        if let Some(run) = decision.due.first() {
            break run.clone();
        }
        facts.last = decision.missed.last().map(|m| m.due);
    };
    assert_eq!((run.due, missed), (now, 2 * 24 * 60 - 1));
}

#[test]
fn the_longest_overdue_plan_starts_first() {
    let (a, b) = (nightly(), table(Rhythm::At(jiff::civil::time(1, 0, 0, 0)), "UTC"));
    let mut second = facts(&b, "2026-03-02T01:00:00Z");
    second.plan = "archive";
    let decision = schedule(ts("2026-03-03T02:00:00Z"), &[facts(&a, "2026-03-02T01:30:00Z"), second]);
    let order: Vec<_> = decision.due.iter().map(|run| run.plan.as_str()).collect();
    assert_eq!(order, ["archive", "orders"]);
}

fn paces() -> impl Strategy<Value = (Rhythm, &'static str)> {
    let pace = prop_oneof![
        (0i8..24, 0i8..60).prop_map(|(hour, minute)| Rhythm::At(jiff::civil::time(hour, minute, 0, 0))),
        (600u64..200_000).prop_map(|secs| Rhythm::Every(Span::from_secs(secs))),
        (0u8..60, 0u8..24).prop_map(|(minute, hour)| {
            Rhythm::Cron(format!("{minute} {hour} * * 1-6").parse().expect("a cron line"))
        }),
    ];
    (pace, prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]))
}

proptest! {
    /// However the clock moves and however long runs take, every instant that the clock has passed runs or is recorded
    /// as missed, once; and no tier is lost.
    #[test]
    fn every_due_instant_has_exactly_one_fate(
        (pace, zone) in paces(),
        start in 1_700_000_000i64..1_800_000_000,
        steps in proptest::collection::vec((-50_000i64..400_000, 0i64..150_000), 1..60),
    ) {
        let timetable = table(pace, zone);
        let since = Timestamp::from_second(start).expect("in range");
        let (mut now, mut newest) = (since, since);
        let mut fates: BTreeMap<Timestamp, &str> = BTreeMap::new();
        let mut last = None;
        let mut carried: Vec<Tier> = Vec::new();
        let mut running: Option<(Running, Timestamp)> = None;
        for (step, length) in steps {
            now += SignedDuration::from_secs(step);
            newest = newest.max(now);
            if running.is_some_and(|(_, end)| end <= now) {
                running = None;
            }
            let facts = PlanFacts {
                plan: "p", schedule: &timetable, since, last, running: running.map(|(r, _)| r), carried: &carried,
            };
            let decision = schedule(now, &[facts]);
            for missed in &decision.missed {
                prop_assert!(fates.insert(missed.due, "missed").is_none());
                prop_assert_eq!(&missed.tiers, &Timetable(&timetable).tiers_of(missed.due));
                carried.extend(&missed.tiers);
                last = last.max(Some(missed.due));
            }
            for run in &decision.due {
                prop_assert!(running.is_none());
                prop_assert!(run.due <= now);
                prop_assert!(fates.insert(run.due, "run").is_none());
                prop_assert!(carried.iter().all(|tier| run.tiers.contains(tier)));
                carried.clear();
                last = last.max(Some(run.due));
                running = Some((Running { started: now }, now + SignedDuration::from_secs(length)));
            }
        }
        let mut owed = Vec::new();
        let mut next = Timetable(&timetable).next_after(since);
        while let Some(due) = next.filter(|&due| due <= newest) {
            owed.push(due);
            next = Timetable(&timetable).next_after(due);
        }
        prop_assert_eq!(fates.into_keys().collect::<Vec<_>>(), owed);
    }
}
