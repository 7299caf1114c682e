//! When.

use crate::config::tests::{refused, schedule};

#[test]
fn schedules_are_refused_with_place_and_fix() {
    for (text, said) in [
        (
            schedule(r##"{ zone = "UTC" }"##),
            r##"error: `schedule` in plan `a` says nothing
  --> c.toml:4:1
  fix: add one of `at`, `cron`, `every`"##,
        ),
        (
            schedule(r##"{ at = "01:30", every = "15m" }"##),
            r##"error: `at` and `every` exclude each other in `schedule` in plan `a`
  --> c.toml:4:28
  fix: keep one of them"##,
        ),
        (
            schedule(r##"{ at = "1:30" }"##),
            r##"error: `schedule.at` in plan `a` is no time of day
  --> c.toml:4:14
  fix: write it like "01:30""##,
        ),
        (
            schedule(r##"{ at = "25:00" }"##),
            r##"error: `schedule.at` in plan `a` is no time of day
  --> c.toml:4:14
  fix: write it like "01:30""##,
        ),
        (
            schedule(r##"{ cron = "61 * * * *" }"##),
            r##"error: `schedule.cron` in plan `a` is no cron expression: Component error: Number out of bounds
  --> c.toml:4:14
  fix: write minute, hour, day, month and weekday, like "30 1 * * *""##,
        ),
        (
            schedule(r##"{ cron = "0 0 * * * *" }"##),
            r##"error: `schedule.cron` in plan `a` is no cron expression: Invalid pattern: Pattern must have 5 fields when seconds are disallowed
  --> c.toml:4:14
  fix: write minute, hour, day, month and weekday, like "30 1 * * *""##,
        ),
        (
            schedule(r##"{ every = "500ms" }"##),
            r##"error: `schedule.every` in plan `a` is shorter than a second
  --> c.toml:4:14
  fix: write it like "15m""##,
        ),
        (
            schedule(r##"{ at = "01:30", zone = "Europe/Berlim" }"##),
            r##"error: there is no time zone `Europe/Berlim` on this machine
  --> c.toml:4:28
  fix: use an IANA name, like "UTC" or "Europe/Berlin""##,
        ),
        (
            schedule(r##"{ at = "01:30", weekly = "sunday" }"##),
            r##"error: unknown word `sunday` for `schedule.weekly` in plan `a`
  --> c.toml:4:28
  fix: use one of `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`"##,
        ),
        (
            schedule(r##"{ at = "01:30", monthly = 0 }"##),
            r##"error: `schedule.monthly` in plan `a` cannot be 0
  --> c.toml:4:28
  fix: use 1 to 31"##,
        ),
        (
            schedule(r##"{ at = "01:30", monthly = 32 }"##),
            r##"error: `schedule.monthly` in plan `a` cannot be 32
  --> c.toml:4:28
  fix: use 1 to 31"##,
        ),
        (
            schedule(r##"{ at = "01:30", tiers = ["weekly"] }"##),
            r##"error: `schedule` in plan `a` serves tier `weekly` on no day
  --> c.toml:4:1
  fix: add weekly = "sun""##,
        ),
        (
            schedule(r##"{ at = "01:30", tiers = ["daily"], weekly = "sun" }"##),
            r##"error: `schedule` in plan `a` gives a day for tier `weekly` and does not serve it
  --> c.toml:4:47
  fix: add "weekly" to `tiers`, or remove the day"##,
        ),
        (
            schedule(r##"{ at = "01:30", tiers = [] }"##),
            r##"error: `schedule.tiers` in plan `a` is empty
  --> c.toml:4:28
  fix: name a tier, or remove the key"##,
        ),
        (
            schedule(r##"{ at = "01:30", tiers = ["hourly"] }"##),
            r##"error: unknown word `hourly` for `schedule.tiers.0` in plan `a`
  --> c.toml:4:37
  fix: use one of `daily`, `weekly`, `monthly`"##,
        ),
        (
            schedule(r##"{ at = "01:30", daylight = "twice" }"##),
            r##"error: unknown word `twice` for `schedule.daylight` in plan `a`
  --> c.toml:4:28
  fix: use `once`"##,
        ),
    ] {
        assert_eq!(refused(&text), said, "{text}");
    }
}
