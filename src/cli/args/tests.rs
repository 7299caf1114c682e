//! Tables of what can be typed.

use clap::{Args, CommandFactory, FromArgMatches};

use super::backup::Backup;
use super::check::{Check, Subset};
use super::forget::Forget;
use super::prune::{Prune, Share};
use super::restore::Restore;
use super::*;
use crate::prune::decision::MaxUnused;
use crate::units::ByteSize;

fn words(line: &str) -> Vec<String> {
    shlex::split(line).expect("a line of words")
}

fn cli(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(words(&format!("drctl {line}")))
}

/// Arguments of a command that may not be registered.
fn alone<T: Args + FromArgMatches>(line: &str) -> Result<T, clap::Error> {
    let command = T::augment_args(clap::Command::new("drctl"));
    T::from_arg_matches(&command.try_get_matches_from(words(&format!("drctl {line}")))?)
}

#[test]
fn the_definition_is_consistent() {
    Cli::command().debug_assert();
    let _ = alone::<Backup>("--path /");
    let _ = alone::<Restore>("latest --to /t");
    let _ = alone::<Check>("");
    let _ = alone::<Forget>("a");
    let _ = alone::<Prune>("");
}

#[test]
fn every_command_has_examples_that_parse() {
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> =
            help.lines().filter_map(|line| line.strip_prefix("  ").filter(|line| line.contains("drctl "))).collect();
        assert!(!examples.is_empty(), "{name} has no example");
        for example in examples {
            let start = example.find("drctl ").expect("filtered above");
            let line = example[start + 6..].split(" | ").next().unwrap_or_default();
            // A comment stands behind three blanks, a redirection behind an angle.
            let line = line.split("   ").next().unwrap_or_default().split(" > ").next().unwrap_or_default();
            if let Err(error) = cli(line) {
                panic!("the example `{line}` of {name} does not parse: {error}");
            }
        }
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let refused = [
        "",
        "snapshtos",
        "init --generate-key k --key-file f",
        "snapshots --quiet --verbose",
        "snapshots --latest 0",
        "snapshots --retry-lock soon",
        "snapshots --limit-upload 0",
        "snapshots --give-up-after 1h",
        "snapshots --give-up-after 5m1s",
        "snapshots --no-cache --cache-dir /c",
        "snapshots --key-file f --password-command c",
        "diff",
        "dump latest",
        "find",
        "key remove",
        "completions cmd",
    ];
    for line in refused {
        assert!(cli(line).is_err(), "{line}");
    }
}

#[test]
fn what_is_out_of_range_is_told_the_range() {
    let error = |line: &str| cli(line).expect_err(line).to_string();
    for line in ["forget --keep-last 0", "snapshots --latest 0"] {
        assert!(error(line).contains("at least 1"), "{}", error(line));
    }
    assert!(error("forget --keep-last x").contains("invalid digit"));
    assert!(error("snapshots --give-up-after 1h").contains("5m is the most"));
    for line in ["snapshots --give-up-after 5m", "snapshots --give-up-after 0s", "snapshots --latest 1"] {
        cli(line).expect(line);
    }
}

#[test]
fn a_typo_gets_the_nearest_right_word() {
    let error = cli("snapshtos").expect_err("a typo").to_string();
    assert!(error.contains("'snapshots'"), "{error}");
    let error = cli("snapshots --hots db1").expect_err("a typo").to_string();
    assert!(error.contains("'--host'"), "{error}");
}

#[test]
fn options_that_all_share_go_anywhere() {
    for line in ["--json --vault /v ls", "ls --vault /v --json", "ls latest --json / --vault /v"] {
        let parsed = cli(line).expect(line);
        assert!(parsed.global.json, "{line}");
        assert_eq!(parsed.global.vault.as_deref(), Some("/v"), "{line}");
    }
}

#[test]
fn backup_needs_one_source() {
    assert!(alone::<Backup>("").is_err());
    assert!(alone::<Backup>("--stdin --path /a").is_err());
    assert!(alone::<Backup>("--path /a --force --parent latest").is_err());
    assert!(alone::<Backup>("--path /a --level 23").is_err());
    assert!(alone::<Backup>("--path /a --stdin-name x").is_err());
    let both = alone::<Backup>("-p /a -p /b --files-from l --tag x,y --tag z -x -n").expect("sources");
    assert_eq!((both.path.len(), both.files_from.len(), both.tag.len()), (2, 1, 3));
    assert!(both.one_file_system && both.dry_run && both.level == 3);
    assert_eq!(alone::<Backup>("--stdin").expect("standard input").stdin_name, "stdin");
}

#[test]
fn restore_needs_one_target() {
    assert!(alone::<Restore>("latest --to /t --in-place").is_err());
    assert!(alone::<Restore>("latest --to /t --delete").is_err(), "--delete needs --overwrite");
    let restore = alone::<Restore>("orders --at '2h ago' --to /t --overwrite --delete").expect("a restore");
    assert!(restore.overwrite && restore.delete && !restore.privileged);
    let restore = alone::<Restore>("latest --in-place --overwrite -i '*.sql'").expect("a restore");
    assert!(restore.in_place && restore.to.is_none());
}

#[test]
fn forget_takes_ids_or_a_rule() {
    assert!(alone::<Forget>("").is_err());
    assert!(alone::<Forget>("4bba --keep-last 2").is_err());
    assert!(alone::<Forget>("--keep-last 0").is_err());
    assert_eq!(alone::<Forget>("--keep-last 7 -n").expect("a rule").keep_last.map(usize::from), Some(7));
}

#[test]
fn parts_and_limits() {
    let subset = |text: &str| text.parse::<Subset>();
    assert_eq!(subset("5%"), Ok(Subset::Percent(5.0)));
    assert_eq!(subset("0.5 %"), Ok(Subset::Percent(0.5)));
    assert_eq!(subset("3/7"), Ok(Subset::Part { part: 3, of: 7 }));
    assert_eq!(subset("20GiB"), Ok(Subset::Size(ByteSize(20 << 30))));
    for bad in ["", "0%", "101%", "NaN%", "-1%", "0/7", "8/7", "1/0", "x"] {
        assert!(subset(bad).is_err(), "{bad}");
    }
    let limit = |text: &str| text.parse::<Share>().map(|share| share.0);
    assert_eq!(limit("unlimited").ok(), MaxUnused::percent(100));
    assert_eq!(limit("0").ok(), MaxUnused::percent(0));
    assert_eq!(limit("7%").ok(), MaxUnused::percent(7));
    assert!(limit("101%").is_err() && limit("5.5%").is_err() && limit("x").is_err());
    assert!(alone::<Check>("--read-data --read-data-subset 5%").is_err());
    assert_eq!(Some(alone::<Prune>("").expect("defaults").max_unused.0), MaxUnused::percent(5));
}
