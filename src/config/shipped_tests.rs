//! Every file that is shipped loads, can come true, and says what its comments say.

use std::path::PathBuf;

use super::*;
use crate::objective::Disaster;

fn shipped(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn loaded(path: &str) -> Config {
    let config = load(&shipped(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    let findings: Vec<_> = check(&config).iter().map(ToString::to_string).collect();
    assert!(findings.is_empty(), "{path}:\n{}", findings.join("\n"));
    config
}

#[test]
fn the_minimal_example_is_one_plan_with_the_built_in_retention() {
    let config = loaded("examples/minimal/drctl.toml");
    assert_eq!(config.plans.len(), 1);
    let plan = &config.plans["documents"];
    assert_eq!(config.retention[plan.retention.as_str()], Tiers::gfs());
    assert_eq!(plan.schedule.as_ref().unwrap().tiers.len(), 3);
}

#[test]
fn the_full_example_includes_what_is_shipped() {
    let config = loaded("examples/full/drctl.toml");
    let names: Vec<_> = config.plans.keys().map(PlanName::as_str).collect();
    assert_eq!(names, ["app-data", "app-database", "archive", "directory-dump", "full-system"]);
    let names: Vec<_> = config.runbooks.keys().map(RunbookName::as_str).collect();
    assert_eq!(names, ["directory-restore", "files-restore", "sqlite-restore"]);
    let tiers = |plan: &str| -> Vec<Tier> {
        config.plans[plan].schedule.as_ref().unwrap().tiers.iter().map(|days| days.tier).collect()
    };
    assert_eq!(tiers("app-data"), Tier::ALL);
    assert_eq!(tiers("full-system"), [Tier::Weekly]);
    assert_eq!(tiers("archive"), [Tier::Monthly]);
    let drill = config.plans["directory-dump"].recover.as_ref().unwrap().drill.as_ref().unwrap();
    assert_eq!(drill.scenarios, Disaster::ALL);
    for runbook in config.runbooks.values() {
        assert!(runbook.steps.iter().any(|step| matches!(step.action, Action::Restore(_))));
        assert!(runbook.steps.iter().any(|step| matches!(step.action, Action::Check(_))));
    }
}

#[test]
fn no_shipped_file_is_left_out() {
    let config = loaded("examples/full/drctl.toml");
    let mut files = 0;
    for folder in ["schedules", "runbooks", "examples/full/plans"] {
        for entry in std::fs::read_dir(shipped(folder)).unwrap() {
            let file = entry.unwrap().path().canonicalize().unwrap();
            let loaded = config.plans.keys().map(|name| format!("plan.{name}"));
            let mut loaded = loaded.chain(config.runbooks.keys().map(|name| format!("runbook.{name}")));
            let found = loaded
                .any(|key| config.places.find(&key).is_some_and(|place| place.file.canonicalize().unwrap() == file));
            assert!(found, "{}", file.display());
            files += 1;
        }
    }
    assert_eq!(files, 6);
}

#[test]
fn what_is_shown_holds_references_and_no_places() {
    let config = loaded("examples/full/drctl.toml");
    let shown = serde_json::to_value(&config).unwrap();
    assert_eq!(shown["vaults"]["primary"]["key"], serde_json::json!({ "file": "/etc/drctl/primary.key" }));
    assert_eq!(
        shown["plans"]["directory-dump"]["schedule"],
        serde_json::json!({
            "rhythm": { "at": "02:30:00" },
            "zone": "Europe/Berlin",
            "daylight": "once",
            "tiers": [
                { "tier": "daily", "days": "every" },
                { "tier": "weekly", "days": { "weekly": "sat" } },
                { "tier": "monthly", "days": { "monthly": 31 } }
            ],
            "catch_up": "once"
        })
    );
    assert_eq!(shown["plans"]["app-data"]["objective"]["region"], serde_json::json!({ "rto": "4h", "rpo": "30h" }));
    assert_eq!(shown.get("places"), None);
}
