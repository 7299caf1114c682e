//! What is backed up.

use crate::config::tests::{refused, source};

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
