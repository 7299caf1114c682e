use jiff::{SignedDuration, ToSpan, tz::TimeZone};
use proptest::prelude::*;

use super::*;
use crate::config::Tiers;
use crate::units::Age;

fn ts(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn gfs() -> Vec<Keep> {
    Tiers::gfs().as_slice().to_vec()
}

fn daily_only(days: u32, min: u32) -> [Keep; 1] {
    [Keep { tier: Tier::Daily, age: Age::days(days), min }]
}

fn held(n: u16, time: &str, tiers: &[Tier]) -> Held {
    let mut id = [0; 32];
    id[..2].copy_from_slice(&n.to_be_bytes());
    Held {
        id: Id(id),
        time: ts(time),
        tiers: tiers.to_vec(),
        completeness: Completeness::Complete,
        verified: None,
        hold: None,
        owed_to: Vec::new(),
    }
}

fn reasons_for(plan: &RetentionPlan, snapshot: &Held) -> Vec<Reason> {
    plan.keep.iter().find(|kept| kept.id == snapshot.id).map(|kept| kept.reasons.clone()).unwrap_or_default()
}

/// A run at 01:30 UTC on each of `days` days, Sundays weekly, firsts monthly.
fn daily_runs(first: &str, days: u16) -> Vec<Held> {
    let first = ts(first).to_zoned(TimeZone::UTC);
    (0..days)
        .map(|n| {
            let day = first.saturating_add(i64::from(n).days());
            let mut tiers = vec![Tier::Daily];
            if day.weekday() == jiff::civil::Weekday::Sunday {
                tiers.push(Tier::Weekly);
            }
            if day.day() == 1 {
                tiers.push(Tier::Monthly);
            }
            held(n, &day.timestamp().to_string(), &tiers)
        })
        .collect()
}

#[test]
fn a_year_of_daily_runs_leaves_thirty_days_twelve_weeks_and_twelve_months() {
    let runs = daily_runs("2026-01-01T01:30:00Z", 365);
    let mut present: Vec<Held> = Vec::new();
    for run in &runs {
        present.push(run.clone());
        let plan = retention(run.time + SignedDuration::from_mins(5), &present, &gfs());
        let dropped = plan.approved(BlastLimit::default(), Consent::None).expect("one or two a day");
        assert!(dropped.len() <= 3, "{dropped:?}");
        present.retain(|snapshot| !plan.drop.iter().any(|gone| gone.id == snapshot.id));
    }
    let kept: Vec<String> = present.iter().map(|s| s.time.to_string()[..10].to_owned()).collect();
    let mut expected: BTreeSet<String> = runs[335..].iter().map(|s| s.time.to_string()[..10].to_owned()).collect();
    assert_eq!(expected.len(), 30);
    let serving = |tier| runs.iter().rev().filter(move |s: &&Held| s.tiers.contains(&tier));
    expected.extend(serving(Tier::Weekly).take(12).map(|s| s.time.to_string()[..10].to_owned()));
    expected.extend(serving(Tier::Monthly).take(12).map(|s| s.time.to_string()[..10].to_owned()));
    // Of the 12 weekly ones 4 lie within the last 30 days (6, 13, 20, 27 December), of the 12 monthly ones none.
    // 1 November is a Sunday and serves both.
    assert_eq!(expected.len(), 30 + 8 + 12 - 1);
    assert_eq!(kept, expected.into_iter().collect::<Vec<_>>());
}

#[test]
fn each_expired_snapshot_names_its_tiers_and_each_kept_one_its_rules() {
    let old = held(1, "2026-01-04T01:30:00Z", &[Tier::Daily, Tier::Weekly]);
    let mut snapshots = daily_runs("2026-05-01T01:30:00Z", 31);
    snapshots.iter_mut().for_each(|s| s.tiers = vec![Tier::Daily, Tier::Weekly]);
    snapshots.push(Held { id: Id([9; 32]), ..old.clone() });
    let now = ts("2026-05-31T02:00:00Z");
    let plan = retention(now, &snapshots, &gfs());
    assert_eq!(plan.drop.len(), 1);
    assert_eq!(
        plan.drop[0].expired,
        [(Tier::Daily, ts("2026-05-01T02:00:00Z")), (Tier::Weekly, ts("2026-03-08T02:00:00Z")),]
    );
    let newest = reasons_for(&plan, &snapshots[30]);
    assert_eq!(newest[0], Reason::Within(Tier::Daily));
    assert!(newest.contains(&Reason::NewestComplete));
    assert_eq!(Reason::Within(Tier::Weekly).to_string(), "within weekly");
}

#[test]
fn the_age_itself_is_the_first_to_go() {
    let tiers = daily_only(30, 0);
    let snapshots = daily_runs("2026-01-02T00:00:00Z", 31);
    let plan = retention(snapshots[30].time, &snapshots, &tiers);
    assert_eq!(plan.drop.iter().map(|gone| gone.id).collect::<Vec<_>>(), [snapshots[0].id]);
}

#[test]
fn backups_that_stopped_do_not_drain_the_vault() {
    let snapshots = daily_runs("2020-01-01T01:30:00Z", 365);
    let plan = retention(ts("2026-01-01T00:00:00Z"), &snapshots, &gfs());
    let minimum = |tier| plan.keep.iter().filter(|kept| kept.reasons.contains(&Reason::Minimum(tier))).count();
    assert_eq!((minimum(Tier::Daily), minimum(Tier::Weekly), minimum(Tier::Monthly)), (7, 4, 3));
}

#[test]
fn the_last_verified_snapshot_stays_however_old() {
    let mut snapshots = daily_runs("2026-01-01T01:30:00Z", 100);
    snapshots[3].verified = Some(ts("2026-01-05T00:00:00Z"));
    snapshots[2].verified = Some(ts("2026-03-05T00:00:00Z"));
    let tiers = daily_only(2, 0);
    let now = ts("2026-06-01T00:00:00Z");
    let all_daily: Vec<Held> = snapshots.into_iter().map(|s| Held { tiers: vec![Tier::Daily], ..s }).collect();
    let plan = retention(now, &all_daily, &tiers);
    let kept: Vec<_> = plan.keep.iter().map(|kept| (kept.id, kept.reasons.clone())).collect();
    assert_eq!(
        kept,
        [(all_daily[3].id, vec![Reason::LastVerified]), (all_daily[99].id, vec![Reason::NewestComplete]),]
    );
}

#[test]
fn partial_and_unrecorded_snapshots_push_nothing_out() {
    let tiers = daily_only(1, 2);
    let mut snapshots = daily_runs("2026-01-01T01:30:00Z", 10);
    snapshots.iter_mut().for_each(|s| s.tiers = vec![Tier::Daily]);
    for snapshot in &mut snapshots[4..8] {
        snapshot.completeness = Completeness::Partial;
        snapshot.verified = Some(ts("2026-01-20T00:00:00Z"));
    }
    snapshots[8].completeness = Completeness::Unknown;
    snapshots[9].completeness = Completeness::Unknown;
    let plan = retention(ts("2026-06-01T00:00:00Z"), &snapshots, &tiers);
    assert_eq!(reasons_for(&plan, &snapshots[3]), [Reason::Minimum(Tier::Daily), Reason::NewestComplete]);
    assert_eq!(reasons_for(&plan, &snapshots[2]), [Reason::Minimum(Tier::Daily)]);
    assert_eq!(reasons_for(&plan, &snapshots[7]), [Reason::LastVerified]);
    assert_eq!(plan.keep.len(), 3);
}

#[test]
fn with_nothing_complete_the_newest_stays() {
    let mut snapshots = daily_runs("2026-01-01T01:30:00Z", 3);
    snapshots.iter_mut().for_each(|s| s.completeness = Completeness::Partial);
    let tiers = daily_only(1, 7);
    snapshots.iter_mut().for_each(|s| s.tiers = vec![Tier::Daily]);
    let plan = retention(ts("2026-06-01T00:00:00Z"), &snapshots, &tiers);
    assert_eq!(plan.keep.len(), 1);
    assert_eq!(reasons_for(&plan, &snapshots[2]), [Reason::NothingBetter]);
}

#[test]
fn holds_copies_owed_and_unnamed_tiers_keep() {
    let mut snapshots = daily_runs("2020-01-02T01:30:00Z", 5);
    snapshots.iter_mut().for_each(|s| s.tiers = vec![Tier::Daily]);
    snapshots[0].hold = Some("case 17".to_owned());
    snapshots[1].owed_to = vec!["dr".to_owned(), "attic".to_owned()];
    snapshots[2].tiers = vec![Tier::Weekly];
    snapshots[3].tiers = Vec::new();
    let tiers = daily_only(30, 0);
    let plan = retention(ts("2026-01-01T00:00:00Z"), &snapshots, &tiers);
    assert_eq!(reasons_for(&plan, &snapshots[0]), [Reason::Held("case 17".to_owned())]);
    assert_eq!(
        reasons_for(&plan, &snapshots[1]),
        [Reason::OwedTo("attic".to_owned()), Reason::OwedTo("dr".to_owned())]
    );
    assert_eq!(reasons_for(&plan, &snapshots[2]), [Reason::NoRuleFor(Tier::Weekly)]);
    assert_eq!(reasons_for(&plan, &snapshots[3]), [Reason::NoTier]);
    assert!(plan.drop.is_empty(), "{:?}", plan.drop);
}

#[test]
fn a_snapshot_from_the_future_is_kept_and_displaces_nothing() {
    let tiers = daily_only(1, 1);
    let mut snapshots = daily_runs("2026-01-02T01:30:00Z", 2);
    snapshots[1].time = ts("2030-01-01T00:00:00Z");
    snapshots[1].verified = Some(ts("2026-01-03T00:00:00Z"));
    let plan = retention(ts("2026-06-01T00:00:00Z"), &snapshots, &tiers);
    assert_eq!(reasons_for(&plan, &snapshots[1]), [Reason::FromTheFuture]);
    assert_eq!(reasons_for(&plan, &snapshots[0]), [Reason::Minimum(Tier::Daily), Reason::NewestComplete]);
}

#[test]
fn a_run_that_would_drop_too_much_needs_consent() {
    let tiers = daily_only(1, 1);
    let mut snapshots = daily_runs("2026-01-02T01:30:00Z", 20);
    snapshots.iter_mut().for_each(|s| s.tiers = vec![Tier::Daily]);
    let plan = retention(ts("2026-06-01T00:00:00Z"), &snapshots, &tiers);
    let refused = plan.approved(BlastLimit::default(), Consent::None).expect_err("19 of 20");
    assert_eq!((refused.dropping, refused.held), (19, 20));
    assert!(refused.to_string().contains("19 of 20 snapshots, more than 50%"), "{refused}");
    assert_eq!(plan.approved(BlastLimit::default(), Consent::Given).map(<[_]>::len), Ok(19));
    let few = retention(ts("2026-06-01T00:00:00Z"), &snapshots[..8], &tiers);
    assert_eq!(few.approved(BlastLimit::default(), Consent::None).map(<[_]>::len), Ok(7));
}

fn any_held() -> impl Strategy<Value = Vec<Held>> {
    let one =
        (0i64..700, proptest::sample::subsequence(vec![Tier::Daily, Tier::Weekly, Tier::Monthly], 0..=3), 0u8..40);
    proptest::collection::vec(one, 0..60).prop_map(|list| {
        (0u16..)
            .zip(list)
            .map(|(n, (age, tiers, kind))| {
                let time = ts("2026-06-01T00:00:00Z") - SignedDuration::from_hours(24 * (age - 2));
                let mut made = held(n, &time.to_string(), &tiers);
                made.completeness = match kind % 4 {
                    0 => Completeness::Partial,
                    1 => Completeness::Unknown,
                    _ => Completeness::Complete,
                };
                made.verified = (kind % 7 == 0).then_some(ts("2026-05-01T00:00:00Z"));
                made.hold = (kind == 33).then(|| "audit".to_owned());
                made.owed_to = if kind == 34 { vec!["dr".to_owned()] } else { Vec::new() };
                made
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn the_order_given_does_not_matter(
        (snapshots, shuffled) in any_held().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle()))
    ) {
        let now = ts("2026-06-01T00:00:00Z");
        prop_assert_eq!(retention(now, &snapshots, &gfs()), retention(now, &shuffled, &gfs()));
    }

    #[test]
    fn each_snapshot_has_one_fate_and_carrying_the_plan_out_leaves_nothing_to_drop(snapshots in any_held()) {
        let now = ts("2026-06-01T00:00:00Z");
        let plan = retention(now, &snapshots, &gfs());
        prop_assert_eq!(plan.keep.len() + plan.drop.len(), snapshots.len());
        prop_assert!(plan.keep.iter().all(|kept| !kept.reasons.is_empty()));
        prop_assert!(plan.drop.iter().all(|gone| !gone.expired.is_empty()));
        let left: Vec<Held> =
            snapshots.iter().filter(|s| plan.keep.iter().any(|kept| kept.id == s.id)).cloned().collect();
        let again = retention(now, &left, &gfs());
        prop_assert_eq!(again.drop, Vec::new());
        prop_assert_eq!(again.keep, plan.keep);
    }

    #[test]
    fn what_must_never_go_stays(snapshots in any_held()) {
        let now = ts("2026-06-01T00:00:00Z");
        let plan = retention(now, &snapshots, &gfs());
        let gone = |snapshot: &Held| plan.drop.iter().any(|gone| gone.id == snapshot.id);
        prop_assert!(!snapshots.iter().any(|s| gone(s) && (s.hold.is_some() || !s.owed_to.is_empty() || s.time > now)));
        let past = || snapshots.iter().filter(|s| s.time <= now);
        let newest = past().filter(|s| s.completeness == Completeness::Complete).max_by_key(|s| (s.time, s.id));
        prop_assert!(newest.is_none_or(|s| !gone(s)));
        let verified = past().filter(|s| s.verified.is_some() && s.completeness == Completeness::Complete);
        prop_assert!(verified.max_by_key(|s| (s.time, s.id)).is_none_or(|s| !gone(s)));
    }
}
