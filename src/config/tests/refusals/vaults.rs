//! For how long, and where to: retention, vaults, how they are pruned.

use crate::config::tests::refused;

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
