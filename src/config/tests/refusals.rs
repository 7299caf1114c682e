//! What is refused, word by word: each table holds texts and what is said of them.

use super::{plan, refused, schedule, source, step};

#[test]
fn syntax_and_shape_are_refused_with_place_and_fix() {
    for (text, said) in [
        (
            r##"a = 
"##
            .to_owned(),
            r##"error: this is not TOML: string values must be quoted, expected literal string
  --> c.toml:1:5
  fix: texts need quotes, and each key and table may be written once only"##,
        ),
        (
            plan(
                r##"vault = "b"
"##,
            ),
            r##"error: this is not TOML: duplicate key
  --> c.toml:4:1
  fix: texts need quotes, and each key and table may be written once only"##,
        ),
        (
            r##"[vaults.x]
"##
            .to_owned(),
            r##"error: unknown key `vaults`
  --> c.toml:1:2
  fix: did you mean `vault`?"##,
        ),
        (
            plan(
                r##"retension = "gfs"
"##,
            ),
            r##"error: unknown key `retension` in plan `a`
  --> c.toml:4:1
  fix: did you mean `retention`?"##,
        ),
        (
            plan(
                r##"journal = { flush = "5s" }
"##,
            ),
            r##"error: key `journal` in plan `a` is not supported by this version
  --> c.toml:4:1
  fix: remove it"##,
        ),
        (
            plan(
                r##"zzz = 1
"##,
            ),
            r##"error: unknown key `zzz` in plan `a`
  --> c.toml:4:1
  fix: use one of `copies`, `level`, `objective`, `owner`, `recover`, `retention`, `retries`, `schedule`, `tags`, `timeout`, `verify`"##,
        ),
        (
            r##"[plan.a]
owner = "me"
"##
            .to_owned(),
            r##"error: plan `a` has no `source`
  --> c.toml:1:7
  fix: add `source` (What is backed up)
error: plan `a` has no `vault`
  --> c.toml:1:7
  fix: add `vault` (The vault that it is backed up into)"##,
        ),
        (
            r##"[plan.a]
vault = 5
source = { kind = "files", paths = ["/srv"] }
"##
            .to_owned(),
            r##"error: `vault` in plan `a` cannot be a whole number
  --> c.toml:2:1
  fix: write a text in quotes"##,
        ),
        (
            plan(
                r##"timeout = 5
"##,
            ),
            r##"error: `timeout` in plan `a` cannot be a whole number
  --> c.toml:4:1
  fix: write it like "15m""##,
        ),
        (
            plan(
                r##"retries = -1
"##,
            ),
            r##"error: `retries` in plan `a` cannot be -1
  --> c.toml:4:1
  fix: use 0 or more"##,
        ),
        (
            plan(
                r##"level = 23
"##,
            ),
            r##"error: `level` in plan `a` cannot be 23
  --> c.toml:4:1
  fix: use 1 to 22"##,
        ),
        (
            plan(
                r##"tags = ["a,b"]
"##,
            ),
            r##"error: `tags.0` in plan `a` is no tag
  --> c.toml:4:9
  fix: use a text without commas"##,
        ),
        (
            plan(
                r##"objective = { host = { rto = "1mo", rpo = "1h" } }
"##,
            ),
            r##"error: bad value for `objective.host.rto` in plan `a`: "1mo" is not a span: "mo" has no fixed length
  --> c.toml:4:30
  fix: write it like "15m""##,
        ),
        (
            plan(
                r##"objective = { host = { rto = "1h" } }
"##,
            ),
            r##"error: `objective.host` in plan `a` has no `rpo`
  --> c.toml:4:15
  fix: add `rpo` (The oldest that the recovered state may be)"##,
        ),
        (
            plan(
                r##"copies = [{ vault = "main", lag = "5s" }]
"##,
            ),
            r##"error: unknown key `lag` in `copies.0` in plan `a`
  --> c.toml:4:29
  fix: use one of `max_lag`, `retention`"##,
        ),
        (
            plan(
                r##"copies = { vault = "main" }
"##,
            ),
            r##"error: `copies` in plan `a` cannot be a table
  --> c.toml:4:1
  fix: write a list: [ ... ]"##,
        ),
        (
            r##"[hooks]
on_failure = []
"##
            .to_owned(),
            r##"error: `hooks.on_failure` names no program
  --> c.toml:2:1
  fix: write it like ["/usr/bin/true"]"##,
        ),
        (
            r##"include = ["*.toml"]
"##
            .to_owned(),
            r##"error: `include` in a text that is no file
  --> c.toml:1:1
  fix: load it from a file"##,
        ),
        (
            r##"[plan.a]
vualt = "main"
source = { kind = "files", pahts = ["/srv"] }
[retention.x]
daly = { keep = "1d" }
"##
            .to_owned(),
            r##"error: plan `a` has no `vault`
  --> c.toml:1:7
  fix: add `vault` (The vault that it is backed up into)
error: unknown key `vualt` in plan `a`
  --> c.toml:2:1
  fix: did you mean `vault`?
error: unknown key `pahts` in `source` in plan `a`
  --> c.toml:3:28
  fix: did you mean `paths`?
error: unknown key `daly` in retention `x`
  --> c.toml:5:1
  fix: did you mean `daily`?"##,
        ),
        (
            plan(
                r##"recover = { runbook = "r", drill = { every = "1mo" } }
[runbook.r]
description = "d"
[[runbook.r.step]]
id = "a"
kind = "restore"
"##,
            ),
            r##"error: `recover.drill` in plan `a` has no scenario
  --> c.toml:4:28
  fix: add scenarios = ["host"], or an objective"##,
        ),
    ] {
        assert_eq!(refused(&text), said, "{text}");
    }
}

#[test]
fn names_are_refused_with_place_and_fix() {
    for (text, said) in [
        (
            plan(
                r##"timeout = "5 min"
"##,
            ),
            r##"error: bad value for `timeout` in plan `a`: "5 min" is not a span: there is no unit "min"
  --> c.toml:4:11
  fix: write it like "15m""##,
        ),
        (
            r##"[plan.Orders]
vault = "main"
source = { kind = "files", paths = ["/srv"] }
"##
            .to_owned(),
            r##"error: "Orders" cannot name a plan
  --> c.toml:1:7
  fix: use lower-case letters, digits, - and _, a letter or digit first, at most 64"##,
        ),
        (
            r##"[plan.a]
vault = "mian"
source = { kind = "files", paths = ["/srv"] }
"##
            .to_owned(),
            r##"error: there is no vault `mian`, named by `vault` in plan `a`
  --> c.toml:2:1
  fix: did you mean `main`?"##,
        ),
        (
            plan(
                r##"copies = [{ vault = "elsewhere" }]
"##,
            ),
            r##"error: there is no vault `elsewhere`, named by `copies.0.vault` in plan `a`
  --> c.toml:4:13
  fix: use `main`"##,
        ),
        (
            plan(
                r##"retention = "gsf"
"##,
            ),
            r##"error: there is no retention `gsf`, named by `retention` in plan `a`
  --> c.toml:4:1
  fix: did you mean `gfs`?"##,
        ),
        (
            plan(
                r##"recover = { runbook = "r" }
"##,
            ),
            r##"error: there is no runbook `r`, named by `recover.runbook` in plan `a`
  --> c.toml:4:13
  fix: define it as [runbook.r]"##,
        ),
        (
            plan(
                r##"copies = [{ vault = "main", retention = "x" }]
"##,
            ),
            r##"error: there is no retention `x`, named by `copies.0.retention` in plan `a`
  --> c.toml:4:29
  fix: use `gfs`"##,
        ),
    ] {
        assert_eq!(refused(&text), said, "{text}");
    }
}

#[test]
fn sources_are_refused_with_place_and_fix() {
    for (text, said) in [
        (
            source(r##"{ kind = "postgres", dsn = { env = "DSN" } }"##),
            r##"error: kind `postgres` of `source` in plan `a` is not supported by this version
  --> c.toml:3:12
  fix: use one of `files`, `command`, `sqlite`"##,
        ),
        (
            source(r##"{ kind = "fiels" }"##),
            r##"error: unknown word `fiels` for `source.kind` in plan `a`
  --> c.toml:3:12
  fix: did you mean `files`?"##,
        ),
        (
            source(r##"{ kind = "files" }"##),
            r##"error: `source` in plan `a` has kind `files` and no `paths`
  --> c.toml:3:1
  fix: add `paths`"##,
        ),
        (
            source(r##"{ kind = "files", paths = [] }"##),
            r##"error: `source.paths` in plan `a` is empty
  --> c.toml:3:28
  fix: name a folder, like "/srv""##,
        ),
        (
            source(r##"{ kind = "files", paths = ["srv"] }"##),
            r##"error: `source.paths.0` in plan `a` is not an absolute path
  --> c.toml:3:37
  fix: start it with /, so that it means the same wherever drctl runs"##,
        ),
        (
            source(r##"{ kind = "files", paths = ["/srv"], path = "/x" }"##),
            r##"error: key `path` does not belong to kind `files`, in `source` in plan `a`
  --> c.toml:3:46
  fix: remove it, or set kind = "sqlite""##,
        ),
        (
            source(r##"{ kind = "command", command = [], name = "a" }"##),
            r##"error: `source.command` in plan `a` names no program
  --> c.toml:3:30
  fix: write it like ["/usr/bin/true"]"##,
        ),
        (
            source(r##"{ kind = "command", command = ["pg_dump"], name = "../a" }"##),
            r##"error: `source.name` in plan `a` is no file name
  --> c.toml:3:53
  fix: write it like "dump.sql""##,
        ),
        (
            source(r##"{ kind = "command", command = ["pg_dump"] }"##),
            r##"error: `source` in plan `a` has kind `command` and no `name`
  --> c.toml:3:1
  fix: add `name`"##,
        ),
        (
            source(r##"{ kind = "sqlite", path = "app.db" }"##),
            r##"error: `source.path` in plan `a` is not an absolute path
  --> c.toml:3:29
  fix: start it with /, so that it means the same wherever drctl runs"##,
        ),
    ] {
        assert_eq!(refused(&text), said, "{text}");
    }
}

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

#[test]
fn retention_and_vaults_are_refused_with_place_and_fix() {
    for (text, said) in [
        (
            r##"[retention.x]
"##
            .to_owned(),
            r##"error: retention `x` keeps no tier
  --> c.toml:1:12
  fix: add daily = { keep = "30d", min = 7 }"##,
        ),
        (
            r##"[retention.x]
hourly = { keep = "1d" }
"##
            .to_owned(),
            r##"error: key `hourly` in retention `x` is not supported by this version
  --> c.toml:2:1
  fix: remove it"##,
        ),
        (
            r##"[retention.x]
daily = { keep = "0d", min = 0 }
"##
            .to_owned(),
            r##"error: tier `daily` in retention `x` keeps nothing
  --> c.toml:2:1
  fix: set `keep` or `min` above zero, or remove the tier"##,
        ),
        (
            r##"[retention.x]
daily = { keep = "30" }
"##
            .to_owned(),
            r##"error: bad value for `daily.keep` in retention `x`: "30" is not an age: 30 has no unit
  --> c.toml:2:18
  fix: write it like "12mo""##,
        ),
        (
            r##"[vault.v]
url = "s3://key:secret@bucket/v"
key = { env = "V" }
"##
            .to_owned(),
            r##"error: `url` in vault `v` holds credentials
  --> c.toml:2:1
  fix: refer to them with `credentials`; a URL ends up in logs"##,
        ),
        (
            r##"[vault.v]
url = "ftp://host/v"
key = { env = "V" }
"##
            .to_owned(),
            r##"error: `url` in vault `v` has a scheme that this version does not know
  --> c.toml:2:1
  fix: write it like "s3://bucket/prefix" or "file:///folder""##,
        ),
        (
            r##"[vault.v]
url = ""
key = { env = "V" }
"##
            .to_owned(),
            r##"error: `url` in vault `v` is empty
  --> c.toml:2:1
  fix: write it like "s3://bucket/prefix""##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
"##
            .to_owned(),
            r##"error: vault `v` has no `key`
  --> c.toml:1:8
  fix: add `key` (The vault's password)"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = "hunter2"
"##
            .to_owned(),
            r##"error: `key` in vault `v` cannot be a text
  --> c.toml:3:1
  fix: write a table with `command`, `env`, `file`"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { }
"##
            .to_owned(),
            r##"error: `key` in vault `v` says nothing
  --> c.toml:3:1
  fix: add one of `file`, `env`, `command`"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { fil = "k" }
"##
            .to_owned(),
            r##"error: unknown key `fil` in `key` in vault `v`
  --> c.toml:3:9
  fix: did you mean `file`?"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { file = "k", env = "V" }
"##
            .to_owned(),
            r##"error: `file` and `env` exclude each other in `key` in vault `v`
  --> c.toml:3:21
  fix: keep one of them"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { command = [] }
"##
            .to_owned(),
            r##"error: `key.command` in vault `v` names no program
  --> c.toml:3:9
  fix: write it like ["/usr/bin/true"]"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
credentials = { profile = "a", environment = true }
"##
            .to_owned(),
            r##"error: `profile` and `environment` exclude each other in `credentials` in vault `v`
  --> c.toml:4:32
  fix: keep one of them"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
credentials = { environment = false }
"##
            .to_owned(),
            r##"error: `environment = false` says nothing in `credentials` in vault `v`
  --> c.toml:4:17
  fix: remove it"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
credentials = { access_key = { env = "A" } }
"##
            .to_owned(),
            r##"error: `credentials` in vault `v` has no `secret_key`
  --> c.toml:4:1
  fix: add it beside `access_key`"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
credentials = { secret_key = { env = "A" } }
"##
            .to_owned(),
            r##"error: `credentials` in vault `v` has no `access_key`
  --> c.toml:4:1
  fix: add it beside `secret_key`"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
credentials = { }
"##
            .to_owned(),
            r##"error: `credentials` in vault `v` says nothing
  --> c.toml:4:1
  fix: add one of `profile`, `environment`, `access_key`"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
limits = { upload = "0" }
"##
            .to_owned(),
            r##"error: bad value for `limits.upload` in vault `v`: "0" is not a rate: nothing would ever be transferred
  --> c.toml:4:21
  fix: write it like "10MiB/s""##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
prune = { by = "cron" }
"##
            .to_owned(),
            r##"error: unknown word `cron` for `prune.by` in vault `v`
  --> c.toml:4:11
  fix: use one of `service`, `hand`"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
prune = { max_unused = "5" }
"##
            .to_owned(),
            r##"error: bad value for `prune.max_unused` in vault `v`: "5" is not a share: it does not end in %
  --> c.toml:4:24
  fix: write it like "5%""##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
prune = { max_repack = "1X" }
"##
            .to_owned(),
            r##"error: bad value for `prune.max_repack` in vault `v`: "1X" is not a size: there is no unit "X"
  --> c.toml:4:24
  fix: write it like "16MiB""##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
prune = { max_repack = -1 }
"##
            .to_owned(),
            r##"error: `prune.max_repack` in vault `v` cannot be -1
  --> c.toml:4:11
  fix: use 0 or more"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
proxy = "http://me:secret@proxy:3128"
"##
            .to_owned(),
            r##"error: `proxy` in vault `v` holds credentials
  --> c.toml:4:1
  fix: leave them out; a proxy that needs them can be given in HTTPS_PROXY"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
path_style = "yes"
"##
            .to_owned(),
            r##"error: `path_style` in vault `v` cannot be a text
  --> c.toml:4:1
  fix: write true or false"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
region = 2026-01-01
"##
            .to_owned(),
            r##"error: `region` in vault `v` cannot be a date or time
  --> c.toml:4:1
  fix: write a text in quotes"##,
        ),
        (
            r##"[vault.v]
url = "s3://bucket/v"
key = { env = "V" }
immutability = "30d"
"##
            .to_owned(),
            r##"error: key `immutability` in vault `v` is not supported by this version
  --> c.toml:4:1
  fix: remove it"##,
        ),
    ] {
        assert_eq!(refused(&text), said, "{text}");
    }
}

#[test]
fn runbooks_are_refused_with_place_and_fix() {
    for (text, said) in [
        (
            r##"[runbook.r]
description = "d"
step = []
"##
            .to_owned(),
            r##"error: runbook `r` has no step
  --> c.toml:1:10
  fix: add a [[runbook.NAME.step]]"##,
        ),
        (
            r##"[runbook.r]
"##
            .to_owned(),
            r##"error: runbook `r` has no `description`
  --> c.toml:1:10
  fix: add `description` (What it brings back, for whoever reads it in an incident)
error: runbook `r` has no `step`
  --> c.toml:1:10
  fix: add `step` (Steps. One runs as soon as all that it needs have been done)"##,
        ),
        (
            step(
                r##"id = "a"
kind = "gate"
approve = "ops"
"##,
            ),
            r##"error: kind `gate` of step 1 of runbook `r` is not supported by this version
  --> c.toml:5:1
  fix: use one of `restore`, `exec`, `check`"##,
        ),
        (
            step(
                r##"id = "a b"
kind = "restore"
"##,
            ),
            r##"error: "a b" cannot name a step
  --> c.toml:4:1
  fix: use lower-case letters, digits, - and _, a letter or digit first, at most 64"##,
        ),
        (
            step(
                r##"id = "a"
kind = "restore"
snapshot = "newest"
"##,
            ),
            r##"error: `snapshot` in step 1 of runbook `r` is no snapshot
  --> c.toml:6:1
  fix: use "latest", or the first 4 or more hex digits of an id"##,
        ),
        (
            step(
                r##"id = "a"
kind = "restore"
plan = "b"
"##,
            ),
            r##"error: there is no plan `b`, named by `plan` in step 1 of runbook `r`
  --> c.toml:6:1
  fix: define it as [plan.b]"##,
        ),
        (
            step(
                r##"id = "a"
kind = "restore"
into = "../x"
"##,
            ),
            r##"error: `into` in step 1 of runbook `r` does not stay within the target
  --> c.toml:6:1
  fix: use a path without a leading / and without .."##,
        ),
        (
            step(
                r##"id = "a"
kind = "restore"
into = "/x"
"##,
            ),
            r##"error: `into` in step 1 of runbook `r` does not stay within the target
  --> c.toml:6:1
  fix: use a path without a leading / and without .."##,
        ),
        (
            step(
                r##"id = "a"
kind = "restore"
command = ["x"]
"##,
            ),
            r##"error: key `command` does not belong to kind `restore`, in step 1 of runbook `r`
  --> c.toml:6:1
  fix: remove it, or set kind = "exec""##,
        ),
        (
            step(
                r##"id = "a"
kind = "exec"
"##,
            ),
            r##"error: step 1 of runbook `r` has kind `exec` and no `command`
  --> c.toml:3:1
  fix: add `command`"##,
        ),
        (
            step(
                r##"id = "a"
kind = "check"
"##,
            ),
            r##"error: step 1 of runbook `r` says nothing
  --> c.toml:3:1
  fix: add one of `digest`, `file`, `command`, `sqlite`"##,
        ),
        (
            step(
                r##"id = "a"
kind = "check"
file = { path = "a" }
command = ["x"]
"##,
            ),
            r##"error: `file` and `command` exclude each other in step 1 of runbook `r`
  --> c.toml:7:1
  fix: keep one of them"##,
        ),
        (
            step(
                r##"id = "a"
kind = "check"
digest = { sha256 = "abc" }
"##,
            ),
            r##"error: `digest.sha256` in step 1 of runbook `r` is no digest
  --> c.toml:6:12
  fix: write 64 lower-case hex digits"##,
        ),
        (
            step(
                r##"id = "a"
kind = "check"
digest = { against = "backup" }
"##,
            ),
            r##"error: unknown word `backup` for `digest.against` in step 1 of runbook `r`
  --> c.toml:6:12
  fix: use `source`"##,
        ),
        (
            step(
                r##"id = "a"
kind = "check"
sqlite = { path = "a", query = "select 1" }
"##,
            ),
            r##"error: `sqlite` in step 1 of runbook `r` says nothing
  --> c.toml:6:1
  fix: add one of `expect`, `at_least`"##,
        ),
        (
            step(
                r##"id = "a"
kind = "check"
on_error = "skip"
http = "x"
"##,
            ),
            r##"error: unknown word `skip` for `on_error` in step 1 of runbook `r`
  --> c.toml:6:1
  fix: did you mean `stop`?
error: key `http` in step 1 of runbook `r` is not supported by this version
  --> c.toml:7:1
  fix: remove it"##,
        ),
    ] {
        assert_eq!(refused(&text), said, "{text}");
    }
}
