use jiff::civil::Weekday;

use super::*;
use crate::config::CatchUp;

fn ts(text: &str) -> Timestamp {
    text.parse().expect("a timestamp")
}

fn days(weekly: Option<Weekday>, monthly: Option<i8>) -> Vec<TierDays> {
    let mut tiers = vec![TierDays { tier: Tier::Daily, days: Days::Every }];
    tiers.extend(weekly.map(|day| TierDays { tier: Tier::Weekly, days: Days::Weekly(day) }));
    tiers.extend(monthly.map(|day| TierDays { tier: Tier::Monthly, days: Days::Monthly(day) }));
    tiers
}

fn schedule(rhythm: Rhythm, zone: &str) -> Schedule {
    Schedule {
        rhythm,
        zone: zone.parse().expect("a zone of the time zone database"),
        daylight: None,
        tiers: days(Some(Weekday::Sunday), Some(1)),
        catch_up: CatchUp::Once,
    }
}

fn at(hour: i8, minute: i8, zone: &str) -> Schedule {
    schedule(Rhythm::At(jiff::civil::time(hour, minute, 0, 0)), zone)
}

fn cron(pattern: &str, zone: &str) -> Schedule {
    schedule(Rhythm::Cron(pattern.parse().expect("a cron line")), zone)
}

fn dues(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let timetable = Timetable(schedule);
    std::iter::successors(timetable.next_after(ts(after)), |&due| timetable.next_after(due))
        .take(count)
        .map(|due| due.to_string())
        .collect()
}

#[test]
fn a_local_time_that_is_skipped_is_due_at_the_change() {
    let berlin = at(2, 30, "Europe/Berlin");
    let around = ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"];
    assert_eq!(dues(&berlin, "2026-03-28T00:00:00Z", 3), around);
    let start_of_gap = at(2, 0, "Europe/Berlin");
    assert_eq!(dues(&start_of_gap, "2026-03-28T12:00:00Z", 1), ["2026-03-29T01:00:00Z"]);
    let new_york = at(2, 30, "America/New_York");
    assert_eq!(dues(&new_york, "2026-03-07T12:00:00Z", 2), ["2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"]);
}

#[test]
fn a_local_time_that_comes_twice_is_due_once_the_first_time() {
    let berlin = at(2, 30, "Europe/Berlin");
    let around = ["2026-10-24T00:30:00Z", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"];
    assert_eq!(dues(&berlin, "2026-10-24T00:00:00Z", 3), around);
    let new_york = at(1, 30, "America/New_York");
    assert_eq!(dues(&new_york, "2026-10-31T12:00:00Z", 2), ["2026-11-01T05:30:00Z", "2026-11-02T06:30:00Z"]);
}

#[test]
fn a_cron_pattern_with_a_fixed_time_follows_the_same_rule() {
    for (pattern, table) in [("30 2 * * *", at(2, 30, "Europe/Berlin")), ("0 2 * * *", at(2, 0, "Europe/Berlin"))] {
        let cron = cron(pattern, "Europe/Berlin");
        for start in ["2026-03-27T00:00:00Z", "2026-10-23T00:00:00Z"] {
            assert_eq!(dues(&cron, start, 5), dues(&table, start, 5), "{pattern} from {start}");
        }
    }
}

#[test]
fn a_skipped_day_has_no_run_of_its_own() {
    let apia = at(1, 30, "Pacific/Apia");
    let around = ["2011-12-29T11:30:00Z", "2011-12-30T10:00:00Z", "2011-12-30T11:30:00Z"];
    assert_eq!(dues(&apia, "2011-12-28T12:00:00Z", 3), around);
}

#[test]
fn sundays_run_is_also_weekly_and_the_firsts_also_monthly() {
    let table = at(1, 30, "UTC");
    assert_eq!(Timetable(&table).tiers_of(ts("2026-02-28T01:30:00Z")), [Tier::Daily]);
    assert_eq!(Timetable(&table).tiers_of(ts("2026-03-01T01:30:00Z")), [Tier::Daily, Tier::Weekly, Tier::Monthly]);
    assert_eq!(Timetable(&table).tiers_of(ts("2026-03-08T01:30:00Z")), [Tier::Daily, Tier::Weekly]);
    assert_eq!(Timetable(&table).tiers_of(ts("2026-04-01T01:30:00Z")), [Tier::Daily, Tier::Monthly]);
}

#[test]
fn the_tiers_day_is_the_local_one() {
    let table = at(0, 30, "Europe/Berlin");
    let due = Timetable(&table).next_after(ts("2026-04-30T12:00:00Z")).expect("due");
    assert_eq!(due, ts("2026-04-30T22:30:00Z"));
    assert_eq!(Timetable(&table).tiers_of(due), [Tier::Daily, Tier::Monthly]);
}

#[test]
fn without_a_daily_tier_only_the_named_days_are_due() {
    let mut table = at(3, 0, "UTC");
    table.tiers.remove(0);
    let sundays_and_firsts = ["2026-04-01T03:00:00Z", "2026-04-05T03:00:00Z", "2026-04-12T03:00:00Z"];
    assert_eq!(dues(&table, "2026-03-30T00:00:00Z", 3), sundays_and_firsts);
    table.tiers.clear();
    assert_eq!(Timetable(&table).next_after(ts("2026-03-30T00:00:00Z")), None);
}

#[test]
fn day_31_is_the_last_day_of_a_shorter_month_leap_days_too() {
    let mut table = at(4, 0, "UTC");
    table.tiers = vec![TierDays { tier: Tier::Monthly, days: Days::Monthly(31) }];
    let ends = ["2028-01-31T04:00:00Z", "2028-02-29T04:00:00Z", "2028-03-31T04:00:00Z", "2028-04-30T04:00:00Z"];
    assert_eq!(dues(&table, "2028-01-01T00:00:00Z", 4), ends);
    assert_eq!(dues(&table, "2026-02-01T00:00:00Z", 1), ["2026-02-28T04:00:00Z"]);
    assert_eq!(dues(&at(4, 0, "UTC"), "2028-02-28T12:00:00Z", 2), ["2028-02-29T04:00:00Z", "2028-03-01T04:00:00Z"]);
}

#[test]
fn a_span_counts_elapsed_time_from_the_epoch() {
    let table = schedule(Rhythm::Every(Span::from_mins(15)), "Europe/Berlin");
    assert_eq!(dues(&table, "2026-10-25T00:50:01Z", 2), ["2026-10-25T01:00:00Z", "2026-10-25T01:15:00Z"]);
    assert_eq!(dues(&table, "2026-10-25T01:00:00Z", 1), ["2026-10-25T01:15:00Z"]);
    assert_eq!(dues(&table, "1969-12-31T23:50:00Z", 1), ["1970-01-01T00:00:00Z"]);
    assert_eq!(Timetable(&table).next_after(Timestamp::MAX), None);
}

#[test]
fn the_first_run_of_a_week_or_month_serves_it_where_the_day_itself_has_none() {
    let weekdays = cron("0 6 * * 1-5", "UTC");
    assert_eq!(Timetable(&weekdays).tiers_of(ts("2026-02-27T06:00:00Z")), [Tier::Daily]);
    assert_eq!(Timetable(&weekdays).tiers_of(ts("2026-03-02T06:00:00Z")), [Tier::Daily, Tier::Weekly, Tier::Monthly]);
    assert_eq!(Timetable(&weekdays).tiers_of(ts("2026-03-03T06:00:00Z")), [Tier::Daily]);
    let hourly = cron("0 * * * *", "UTC");
    assert_eq!(Timetable(&hourly).tiers_of(ts("2026-03-01T00:00:00Z")), [Tier::Daily, Tier::Weekly, Tier::Monthly]);
    assert_eq!(Timetable(&hourly).tiers_of(ts("2026-03-01T01:00:00Z")), [Tier::Daily]);
}
