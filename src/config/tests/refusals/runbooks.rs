//! How it comes back.

use crate::config::tests::{refused, step};

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
