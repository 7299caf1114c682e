//! What cannot come true, word by word.

use super::{found, plan, schedule};

#[test]
fn vaults_and_copies_that_cannot_be_are_found() {
    for (text, said) in [
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
[vault.w]
url = "s3://bucket/v/"
key = { env = "W" }
"##
            .to_owned(),
            r##"error: vaults `v` and `w` are one place, which could be pruned in two ways
  --> c.toml:5:1
  fix: use one vault in both plans, or another prefix"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
[vault.w]
url = "s3://bucket/w"
key = { env = "V" }
"##
            .to_owned(),
            r##"warning: vaults `v` and `w` share their key: who reads one reads both
  --> c.toml:6:1
  fix: give each vault a key of its own"##,
        ),
        (
            plan(
                r##"copies = [{ vault = "main" }]
"##,
            ),
            r##"error: plan `a` copies to vault `main`, where it is already
  --> c.toml:4:13
  fix: name another vault"##,
        ),
        (
            plan(
                r##"copies = [{ vault = "v" }, { vault = "v" }]
[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
"##,
            ),
            r##"error: plan `a` copies to vault `v` twice
  --> c.toml:4:30
  fix: remove one of them"##,
        ),
    ] {
        assert_eq!(found(&text), said, "{text}");
    }
}

#[test]
fn timing_that_cannot_be_are_found() {
    for (text, said) in [
        (
            schedule(r##"{ at = "01:30" }"##),
            r##"error: retention `gfs` keeps tier `weekly`, which plan `a` never makes
  --> c.toml:4:1
  fix: add weekly = "sun", or name a retention without it
error: retention `gfs` keeps tier `monthly`, which plan `a` never makes
  --> c.toml:4:1
  fix: add monthly = 1, or name a retention without it"##,
        ),
        (
            plan(
                r##"retention = "d"
schedule = { at = "01:30", weekly = "sun" }
[retention.d]
daily = { keep = "7d" }
"##,
            ),
            r##"error: plan `a` makes tier `weekly`, which retention `d` drops
  --> c.toml:5:1
  fix: keep the tier in the retention, or do not schedule it"##,
        ),
        (
            plan(
                r##"retention = "d"
schedule = { at = "01:30" }
copies = [{ vault = "v", retention = "gfs" }]
[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
[retention.d]
daily = { keep = "7d" }
"##,
            ),
            r##"error: retention `gfs` keeps tier `weekly`, which plan `a` never makes
  --> c.toml:5:1
  fix: add weekly = "sun", or name a retention without it
error: retention `gfs` keeps tier `monthly`, which plan `a` never makes
  --> c.toml:5:1
  fix: add monthly = 1, or name a retention without it"##,
        ),
        (
            schedule(r##"{ cron = "0 0 30 2 *" }"##),
            r##"error: plan `a` never runs
  --> c.toml:4:1
  fix: name a day that exists"##,
        ),
        (
            schedule(r##"{ at = "02:30", zone = "Europe/Berlin", weekly = "sun", monthly = 1 }"##),
            r##"error: plan `a` runs at a time that daylight saving moves: Europe/Berlin has no or two times from 02:00 to 03:00 on 2026-03-29
  --> c.toml:4:1
  fix: add daylight = "once" (at the change when skipped, the first time when it comes twice), or use another time, or UTC"##,
        ),
        (
            schedule(r##"{ cron = "30 2 * * *", zone = "America/New_York" }"##),
            r##"error: plan `a` runs at a time that daylight saving moves: America/New_York has no or two times from 02:00 to 03:00 on 2026-03-08
  --> c.toml:4:1
  fix: add daylight = "once" (at the change when skipped, the first time when it comes twice), or use another time, or UTC"##,
        ),
        (
            plan(
                r##"verify = { boot = "7d" }
"##,
            ),
            r##"error: plan `a` promises a drill at least every 7d and has none
  --> c.toml:4:12
  fix: add recover.drill, or remove verify.boot"##,
        ),
        (
            plan(
                r##"verify = { boot = "7d" }
objective = { host = { rto = "1h", rpo = "2d" } }
schedule = { at = "01:30", weekly = "sun", monthly = 1 }
recover = { runbook = "r", drill = { every = "1mo" } }
[runbook.r]
description = "d"
[[runbook.r.step]]
id = "a"
kind = "restore"
"##,
            ),
            r##"error: plan `a` promises a drill at least every 7d and has one every 1mo
  --> c.toml:4:12
  fix: drill more often, or allow an older proof"##,
        ),
    ] {
        assert_eq!(found(&text), said, "{text}");
    }
}

#[test]
fn promises_that_cannot_be_are_found() {
    for (text, said) in [
        (
            plan(
                r##"schedule = { at = "01:30", weekly = "sun", monthly = 1 }
objective = { host = { rto = "1h", rpo = "15s" } }
"##,
            ),
            r##"error: plan `a` promises an RPO of 15s for host, but its runs are up to 24h apart
  --> c.toml:5:36
  fix: run more often, or promise less"##,
        ),
        (
            plan(
                r##"schedule = { at = "01:30", weekly = "sun", monthly = 1 }
objective = { host = { rto = "1h", rpo = "24h" } }
"##,
            ),
            r##"warning: plan `a` promises an RPO of 24h for host, which leaves no time for the run: its runs are up to 24h apart
  --> c.toml:5:36
  fix: promise a little more, or run more often"##,
        ),
        (
            plan(
                r##"objective = { host = { rto = "1h", rpo = "24h" } }
"##,
            ),
            r##"error: plan `a` promises an RPO of 24h for host and has no schedule
  --> c.toml:4:36
  fix: add a schedule"##,
        ),
        (
            plan(
                r##"schedule = { at = "01:30", weekly = "sun", monthly = 1 }
objective = { host = { rto = "15m", rpo = "2d" }, allow = { detect = "5m", decide = "10m" } }
"##,
            ),
            r##"error: plan `a` promises an RTO of 15m for host, of which its allowances take 15m
  --> c.toml:5:24
  fix: promise a longer RTO, or allow less"##,
        ),
        (
            plan(
                r##"schedule = { at = "01:30", weekly = "sun", monthly = 1 }
objective = { region = { rto = "1h", rpo = "2d" } }
"##,
            ),
            r##"error: plan `a` promises recovery from the loss of the region, which leaves no vault
  --> c.toml:5:15
  fix: copy to a vault whose `region` is not eu"##,
        ),
        (
            plan(
                r##"schedule = { at = "01:30", weekly = "sun", monthly = 1 }
copies = [{ vault = "other", max_lag = "1h" }]
objective = { region = { rto = "1h", rpo = "24h10s" } }
[vault.other]
url = "s3://bucket-us/v"
region = "us"
credentials = { profile = "copy" }
key = { env = "O" }
"##,
            ),
            r##"error: plan `a` promises an RPO of 24h10s for region, but what would be left is up to 25h old: runs 24h apart, copied within 1h
  --> c.toml:6:38
  fix: run more often, or promise less"##,
        ),
        (
            plan(
                r##"schedule = { at = "01:30", weekly = "sun", monthly = 1 }
objective = { attack = { rto = "1h", rpo = "2d" } }
"##,
            ),
            r##"error: plan `a` promises recovery from the loss of all that the host can delete, which leaves no vault
  --> c.toml:5:15
  fix: copy to a vault with other credentials than those of `main`"##,
        ),
        (
            plan(
                r##"schedule = { at = "01:30", weekly = "sun", monthly = 1 }
copies = [{ vault = "v" }]
objective = { attack = { rto = "1h", rpo = "2d" } }
[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
"##,
            ),
            r##"error: plan `a` promises recovery from the loss of all that the host can delete, which leaves no vault
  --> c.toml:6:15
  fix: copy to a vault with other credentials than those of `main`"##,
        ),
        (
            r##"[plan.a]
vault = "disk"
source = { kind = "files", paths = ["/srv"] }
schedule = { at = "01:30", weekly = "sun", monthly = 1 }
objective = { host = { rto = "1h", rpo = "2d" }, region = { rto = "1h", rpo = "2d" } }
[vault.disk]
url = "file:///backup"
key = { env = "D" }
"##
            .to_owned(),
            r##"error: plan `a` promises recovery from the loss of the host, which leaves no vault
  --> c.toml:5:15
  fix: copy to a vault elsewhere; one on a mount of another site names its `region`
error: plan `a` promises recovery from the loss of the region, which leaves no vault
  --> c.toml:5:50
  fix: say which `region` vault `disk` is in, and copy to another"##,
        ),
        (
            plan(
                r##"recover = { runbook = "r", drill = { every = "1mo", scenarios = ["host", "region"] } }
[runbook.r]
description = "d"
[[runbook.r.step]]
id = "a"
kind = "restore"
"##,
            ),
            r##"error: plan `a` drills the loss of the region, which leaves no vault
  --> c.toml:4:53
  fix: copy to a vault whose `region` is not eu"##,
        ),
    ] {
        assert_eq!(found(&text), said, "{text}");
    }
}

#[test]
fn what_can_come_true_has_no_findings() {
    for text in [
        plan(""),
        schedule(r#"{ at = "02:30", zone = "Europe/Berlin", daylight = "once", weekly = "sun", monthly = 1 }"#),
        schedule(r#"{ at = "03:00", zone = "Europe/Berlin", weekly = "sun", monthly = 31 }"#),
        schedule(r#"{ every = "15m" }"#),
        schedule(r#"{ cron = "0 */6 * * *" }"#),
        schedule(
            r#"{ at = "01:30", weekly = "sun", monthly = 1 }
objective = { host = { rto = "16m", rpo = "25h" }, allow = { detect = "15m" } }"#,
        ),
    ] {
        assert_eq!(found(&text), "", "{text}");
    }
}
