//! Reads the sources and holds them to the rules of ARCHITECTURE.md that a machine can check.

use std::collections::HashSet;
use std::path::Path;

use rules::{Rule, check};
use source::Source;

mod rules;
mod source;

#[test]
fn the_sources_keep_the_rules() {
    let sources = source::read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(sources.iter().any(|source| source.name == "lib.rs"), "no sources were read");
    let broken = check(&sources);
    let lines: Vec<String> = broken.iter().map(|it| format!("src/{}:{}: {}", it.file, it.line, it.what)).collect();
    assert!(broken.is_empty(), "{} violations:\n{}", lines.len(), lines.join("\n"));
}

/// What these files break, as (rule, line).
fn broken(files: &[(&str, &str)]) -> Vec<(Rule, usize)> {
    let sources = files.iter().map(|(name, text)| Source::read(name, text)).collect();
    check(&source::without_test_files(sources)).into_iter().map(|it| (it.rule, it.line)).collect()
}

/// Each would pass review on a tired day.
const BAD: &[(Rule, &str, &str)] = &[
    (Rule::Layers, "vault/pack.rs", "use crate::catalog::Catalog;"),
    (Rule::Layers, "backup/run.rs", "use crate::{units::ByteSize, record::{self, Record}};"),
    (Rule::Layers, "store/mod.rs", "fn f() { let _ = crate::vault_of(crate::backup::run()); }"),
    (Rule::Layers, "check/mod.rs", "use super::catalog::Catalog;"),
    (Rule::Layers, "check/data/run.rs", "use super::super::super::drill as d;"),
    (Rule::Layers, "look/ls.rs", "use crate::cli::table;"),
    (Rule::Layers, "config/raw.rs", "use crate::vault::Id;"),
    (Rule::Layers, "schedule/run.rs", "type T = Vec<crate::service::Tick>;"),
    (Rule::Layers, "lib.rs", "pub mod helpers;"),
    (Rule::Pure, "retention/plan.rs", "use std::{collections::BTreeMap, fs};"),
    (Rule::Pure, "prune/plan.rs", "fn f() { tokio::spawn(async {}); }"),
    (Rule::Pure, "schedule/plan/due.rs", "use rusqlite as sql;"),
    (Rule::Pure, "config/raw.rs", "fn f() -> Option<String> { std::env::var(\"HOME\").ok() }"),
    (Rule::Pure, "units.rs", "use ::object_store::path::Path;"),
    (Rule::KeyLayout, "backup/upload.rs", "fn f(id: &str) -> String { format!(\"data/{id}\") }"),
    (Rule::KeyLayout, "record/mod.rs", "const P: &str = r#\"drctl/records/\"#;"),
    (Rule::KeyLayout, "vault/mod.rs", "const P: &[u8] = b\"snapshots/\";"),
    (Rule::KeyLayout, "record/run.rs", "fn f() { store.list(\"drctl/\"); }"),
    (Rule::Sql, "service/mod.rs", "const Q: &str = \"SELECT 1\";"),
    (Rule::Sql, "cli/status.rs", "use rusqlite::Connection;"),
    (Rule::Printing, "vault/key.rs", "fn f() { println!(\"secret\"); }"),
    (Rule::Printing, "backup/run.rs", "fn f() { let _ = std::io::stderr().lock(); }"),
    (Rule::Printing, "restore/run.rs", "use std::io::{self, Write, stdout};"),
    (Rule::Printing, "units.rs", "#[derive(clap::ValueEnum)] enum Tier { Daily }"),
    (Rule::Aws, "store/s3.rs", "use aws_sdk_s3::Client;"),
    (Rule::Aws, "replication/run.rs", "fn f() { aws_config::load(); }"),
];

/// The same words where they may stand, or where they are no code.
const GOOD: &[(&str, &str)] = &[
    ("vault/pack.rs", "use crate::store::Store; use crate::units::ByteSize;"),
    ("drill/run.rs", "use crate::catalog::Catalog; use crate::record::Record; use crate::vault::Vault;"),
    ("record/mod.rs", "use crate::vault::layout;"),
    (
        "vault/lock.rs",
        "// use crate::catalog::X;\n/* println!() /* nested */ SELECT */ const A: &str = \"crate::catalog::X\";",
    ),
    (
        "vault/tree/mod.rs",
        "use super::blob; use self::name::Name; fn f<'a>(c: char) -> bool { c == '\"' || c == '\\'' }",
    ),
    (
        "vault/id.rs",
        "fn f() {}\n#[cfg(test)]\nmod tests {\n use crate::catalog::X; fn f() { println!(\"{}\", \"}\"); }\n}\n",
    ),
    ("vault/layout.rs", "pub const PACKS: &str = \"data/\";"),
    ("config/load.rs", "use std::fs; use std::env;"),
    ("retention/run.rs", "use std::fs; fn f() { tokio::spawn(async {}); }"),
    ("catalog/query.rs", "use rusqlite::params; const Q: &str = \"SELECT 1\";"),
    ("source/sqlite.rs", "use rusqlite::backup::Backup;"),
    (
        "source/command.rs",
        "fn f(child: Child) { let out = child.stdout.take(); Command::new(\"x\").stderr(Stdio::null()); }",
    ),
    ("cli/main_loop.rs", "fn f() { println!(); std::io::stdout().flush(); }"),
    ("store/s3_admin.rs", "use aws_sdk_s3::Client; use aws_config::load;"),
    ("store/s3.rs", "use aws_credential_types::Credentials; const A: &str = concat!(\"drctl/\", env!(\"V\"));"),
    ("store/credentials.rs", "use aws_config::profile::ProfileFileCredentialsProvider;"),
    ("clock.rs", "fn env(e: &Env) { e.env.fs(); } const A: &str = \"/var/lib/drctl/state\";"),
    ("main.rs", "fn main() { drctl::cli::run() }"),
    ("lib.rs", "pub mod vault;\n#[cfg(test)]\nmod testing;"),
];

#[test]
fn each_rule_finds_what_breaks_it() {
    for (rule, name, text) in BAD {
        let found = broken(&[(name, text)]);
        assert!(found.contains(&(*rule, 1)), "{rule:?} misses `{text}` in {name}: {found:?}");
    }
    let long = "fn f() {}\n".repeat(601);
    assert_eq!(broken(&[("vault/mod.rs", &long)]), [(Rule::Length, 601)]);
    let tried: HashSet<Rule> = BAD.iter().map(|(rule, ..)| *rule).chain([Rule::Length]).collect();
    assert_eq!(tried.len(), Rule::ALL.len(), "a rule has no example that breaks it");
}

#[test]
fn no_rule_finds_what_keeps_it() {
    for (name, text) in GOOD {
        assert_eq!(broken(&[(name, text)]), [], "`{text}` in {name}");
    }
    let tested = format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "fn g() {}\n".repeat(601));
    assert_eq!(broken(&[("vault/mod.rs", &tested)]), [], "tests do not count");
}

#[test]
fn files_of_test_modules_are_left_out() {
    let declares = ("vault/mod.rs", "mod pack;\n#[cfg(test)]\nmod tests;");
    let breaks = "use crate::cli::run;";
    assert_eq!(broken(&[declares, ("vault/tests.rs", breaks), ("vault/tests/pack.rs", breaks)]), []);
    assert_eq!(broken(&[declares, ("vault/pack.rs", breaks)]), [(Rule::Layers, 1)]);
}

#[test]
fn every_dependency_comes_from_the_registry() {
    let lock = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.lock")).unwrap();
    let sources: HashSet<&str> = lock.lines().filter_map(|line| line.strip_prefix("source = ")).collect();
    assert_eq!(sources, HashSet::from(["\"registry+https://github.com/rust-lang/crates.io-index\""]));
}
