//! Drills that are refused: nothing was done, and nothing is recorded.

use super::*;

#[test]
fn what_cannot_be_drilled_is_said_before_anything_is_done() {
    let site = Site::with(PLAN);
    let house = &site.house;
    let refused = |args: &[&str], code, says: &str| {
        let told = house.drctl(["drill", "run"]).args(args).ends(code);
        assert!(told.stderr.contains(says), "{told}");
    };
    refused(&["dosc"], 2, "docs");
    refused(&["docs", "--lose", "cpoy"], 2, "primary");
    refused(&["docs", "--lose", "primary", "--lose", "copy"], 1, "loss of vault primary and vault copy");
    refused(&["docs", "--scenario", "attack"], 1, "the attack");
    refused(&["docs", "--runbook", "none"], 2, "runbook check");
    let text = fs::read_to_string(house.path("work/drctl.toml")).unwrap();
    let promises =
        text.split_once("[plan.docs.objective]").and_then(|(_, rest)| rest.split_once("[plan.docs.recover]"));
    let unnamed = text.replace(promises.unwrap().0, "\n").replace("region = \"eu\"", "");
    fs::write(house.path("work/drctl.toml"), unnamed).unwrap();
    refused(&["docs", "--scenario", "region"], 1, "primary and copy");
    refused(&["docs", "--scenario", "region"], 1, "hint: vault primary names no region");
    site.configure(PLAN);
    // Nothing was ever backed up: that is found out by drilling, and is a failure.
    let drilled = site.drill(&["--scenario", "host"], 1);
    assert!(step(&drilled, "restore")["said"].as_str().unwrap().contains("of 0 there"), "{drilled}");
    site.configure(&PLAN.replace("[plan.docs.recover]\n    runbook = \"files-restore\"", ""));
    refused(&["docs"], 1, "names no runbook");
    site.configure(&(PLAN.replace("files-restore", "broken") + BROKEN));
    let before = below(&house.path("state/drills"));
    refused(&["docs"], 1, "needs \"resotre\", which is no step");
    refused(&["docs"], 1, "runbook check");
    // It was no drill, and counts as none: neither now nor when the next one looks for drills that were cut off.
    assert_eq!(below(&house.path("state/drills")), before);
    site.configure(PLAN);
    site.back_up_and_copy();
    assert_eq!(site.drill(&["--scenario", "region"], 0)["evidence"]["facts"]["number"], 2);
    assert_eq!(house.drctl(["drill", "list", "--json"]).ok().json()["drills"].as_array().unwrap().len(), 2);
}

/// A runbook with a slip in `needs`.
const BROKEN: &str = r#"
    [runbook.broken]
    description = "Its check waits for a step that there is none of."
    [[runbook.broken.step]]
    id = "restore"
    kind = "restore"
    [[runbook.broken.step]]
    id = "there"
    kind = "check"
    needs = ["resotre"]
    command = ["true"]
"#;
