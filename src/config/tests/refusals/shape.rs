//! The text as a whole, its keys, and names.

use crate::config::tests::{plan, refused};

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
