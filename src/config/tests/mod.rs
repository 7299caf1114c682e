//! From text to findings: the tables, and what holds for any text.

mod files;
mod impossible;
mod refusals;

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::objective::Disaster;
use crate::units::Age;

/// What every text may refer to; stands below it, so that lines count from the text's first.
const BASE: &str = "\
[vault.main]
url = \"s3://bucket/main\"
region = \"eu\"
key = { env = \"MAIN\" }
";

/// A plan that is whole, and more of its keys; or tables after it.
fn plan(more: &str) -> String {
    format!("{}{more}", source("{ kind = \"files\", paths = [\"/srv\"] }"))
}

fn source(source: &str) -> String {
    format!("[plan.a]\nvault = \"main\"\nsource = {source}\n")
}

fn schedule(schedule: &str) -> String {
    plan(&format!("schedule = {schedule}\n"))
}

fn step(step: &str) -> String {
    format!("[runbook.r]\ndescription = \"d\"\n[[runbook.r.step]]\n{step}")
}

fn parsed(text: &str) -> Result<Config, ConfigError> {
    parse(Path::new("c.toml"), &format!("{text}{BASE}"))
}

fn print(findings: &[Finding]) -> String {
    findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn refused(text: &str) -> String {
    match parsed(text) {
        Err(ConfigError::Refused { findings }) => print(&findings),
        other => panic!("{text}: {other:?}"),
    }
}

fn found(text: &str) -> String {
    print(&check(&parsed(text).unwrap()))
}

#[test]
fn a_refusal_as_an_error_reads_after_failed_to() {
    let error = parsed("[plan.a]\nvualt = 1\n").unwrap_err();
    assert!(error.to_string().starts_with("load the configuration\nerror: "), "{error}");
}

#[test]
fn defaults_are_filled_in() {
    let text = plan("schedule = { cron = \"0 */6 * * *\" }\ncopies = [{ vault = \"v\" }]\n")
        + "[vault.v]\nurl = \"backup\"\nkey = { file = \"v.key\" }\n";
    let config = parse(Path::new("/etc/drctl/c.toml"), &format!("{text}{BASE}")).unwrap();
    let plan = &config.plans["a"];
    assert_eq!((plan.level, plan.retries, plan.timeout), (3, 2, Span::from_hours(24)));
    assert_eq!(plan.retention.as_str(), "gfs");
    assert_eq!(plan.copies[0].retention, plan.retention);
    assert_eq!(plan.copies[0].max_lag, Span::from_hours(24));
    let schedule = plan.schedule.as_ref().unwrap();
    assert_eq!(schedule.zone.to_string(), "UTC");
    assert_eq!(schedule.tiers.iter().map(|days| days.tier).collect::<Vec<_>>(), Tier::ALL);
    assert_eq!(schedule.catch_up, CatchUp::Once);
    let vault = &config.vaults["v"];
    assert_eq!(vault.url, "/etc/drctl/backup");
    assert_eq!(vault.key, SecretRef::File("/etc/drctl/v.key".into()));
    assert_eq!(vault.credentials, CredentialsRef::Environment);
    assert_eq!(vault.prune.max_unused.get(), 5);
    assert!(vault.dies_with_host() && !config.vaults["main"].dies_with_host());
}

#[test]
fn gfs_can_be_defined_otherwise() {
    assert_eq!(parsed("").unwrap().retention["gfs"], Tiers::gfs());
    let own = parsed("[retention.gfs]\nmonthly = { keep = \"7y\" }\n").unwrap();
    assert_eq!(own.retention["gfs"].as_slice(), [Keep { tier: Tier::Monthly, age: Age::months(84), min: 1 }]);
}

#[test]
fn a_drill_loses_in_turn_what_is_promised_for() {
    let text = plan(
        "objective = { region = { rto = \"1h\", rpo = \"2d\" }, host = { rto = \"1h\", rpo = \"2d\" } }\n\
         recover = { runbook = \"r\", drill = { every = \"1mo\" } }\n",
    ) + &step("id = \"a\"\nkind = \"restore\"\nsnapshot = \"0123abcd\"\ninto = \"data\"\n");
    let config = parsed(&text).unwrap();
    let drill = config.plans["a"].recover.as_ref().unwrap().drill.as_ref().unwrap();
    assert_eq!(drill.scenarios, [Disaster::Host, Disaster::Region]);
    let Action::Restore(restore) = &config.runbooks["r"].steps[0].action else { panic!("no restore") };
    assert_eq!(restore.snapshot, SnapshotChoice::Id("0123abcd".into()));
    assert_eq!(restore.into, Path::new("data"));
}

#[test]
fn deep_nesting_is_refused_and_overflows_no_stack() {
    for text in [
        format!("include = {}{}", "[".repeat(50_000), "]".repeat(50_000)),
        format!("{} = 1", vec!["a"; 50_000].join(".")),
        format!("[{}]", vec!["plan"; 50_000].join(".")),
        format!("plan = {}1{}", "{ a = ".repeat(50_000), " }".repeat(50_000)),
    ] {
        assert!(matches!(parse(Path::new("c.toml"), &text), Err(ConfigError::Refused { .. })));
    }
}

#[test]
fn a_secret_in_the_wrong_place_is_not_repeated() {
    for text in [
        "[vault.v]\nurl = \"s3://b/v\"\nkey = \"hunter2\"\n",
        "[vault.v]\nurl = \"s3://b/v\"\nkey = { file = [\"hunter2\"] }\n",
        "[vault.v]\nurl = \"s3://b/v\"\nkey = { command = \"hunter2\" }\n",
        "[vault.v]\nurl = \"s3://b/v\"\nkey = { env = \"K\" }\ncredentials = \"hunter2\"\n",
        "[vault.v]\nurl = \"s3://b/v\"\nkey = { env = \"K\" }\ncredentials = { secret_key = \"hunter2\" }\n",
        "[vault.v]\nurl = \"s3://me:hunter2@b/v\"\nkey = { env = \"K\" }\n",
        "[vault.v]\nurl = \"http://me:hunter2@b/v\"\nkey = { env = \"K\" }\n",
        "[vault.v]\nurl = \"s3://b/v\"\nkey = hunter2\n",
    ] {
        let said = refused(text);
        assert!(!said.contains("hunter2"), "{said}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _: Result<_, ConfigError> = parsed(&text);
    }

    #[test]
    fn no_broken_configuration_panics(at in 0..2000_usize, cut in 0..40_usize, put in "[\\[\\]{}=\".,a-z0-9 \n]{0,6}") {
        const WHOLE: &str = concat!(
            include_str!("../../../schedules/daily.toml"),
            include_str!("../../../runbooks/files-restore.toml"),
            include_str!("../../../runbooks/sqlite-restore.toml")
        );
        let text: String = WHOLE.chars().take(at).chain(put.chars()).chain(WHOLE.chars().skip(at + cut)).collect();
        match parsed(&text) {
            Ok(config) => drop(check(&config)),
            Err(ConfigError::Refused { findings }) => {
                prop_assert!(!findings.is_empty());
                for finding in findings {
                    prop_assert!(finding.place.is_some() && !finding.fix.is_empty(), "{}", finding);
                }
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }
}
