//! The commands about plans.

use std::fs;

use crate::support::house::House;

/// Writes `drctl.toml` into the house's working folder: one vault `main`, and these plans.
pub(super) fn configure(house: &House, plans: &str) {
    let text = format!(
        "[vault.main]\nurl = {:?}\nkey = {{ file = {:?} }}\n{}",
        house.path("vault"),
        house.key_file(),
        plans.replace("ROOT", &house.path("").display().to_string())
    );
    fs::write(house.path("work/drctl.toml"), text).unwrap();
}

pub(super) fn init(house: &House) {
    house.drctl(["init", "--vault", "main"]).ok();
}

const DOCS: &str = r#"
    [plan.docs]
    source = { kind = "files", paths = ["ROOT/docs"] }
    schedule = { at = "01:30", zone = "UTC", weekly = "sun", monthly = 1 }
    vault = "main"
"#;

fn with_docs() -> House {
    let house = House::new();
    fs::create_dir(house.path("docs")).unwrap();
    fs::write(house.path("docs/one"), "one").unwrap();
    configure(&house, DOCS);
    init(&house);
    house
}

#[test]
fn a_plan_is_run_by_hand_and_restored_by_its_name() {
    let house = with_docs();
    let ran = house.drctl(["backup", "docs", "--tier", "weekly", "--json"]).ok().json();
    assert_eq!(ran["runs"][0]["status"], "ok");
    assert_eq!(ran["runs"][0]["tiers"], serde_json::json!(["weekly"]));
    let listed = house.drctl(["snapshots", "--json"]).ok().json();
    assert_eq!(listed["snapshots"][0]["tags"], serde_json::json!(["plan=docs", "tier=weekly"]));
    assert_eq!(listed["snapshots"][0]["signed"], true);
    house.drctl(["restore", "docs", "--to", "back"]).ok();
    let back = house.path("work/back").join(house.path("docs/one").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back).unwrap(), "one");
    let unknown = house.drctl(["backup", "dcos"]).ends(2);
    assert!(unknown.stderr.contains("docs"), "{unknown}");
    let unknown = house.drctl(["restore", "dcos", "--to", "elsewhere"]).ends(1);
    assert!(unknown.stderr.contains("\"dcos\"") && unknown.stderr.contains("vault: docs"), "{unknown}");
}

#[test]
fn a_plan_whose_vault_is_gone_is_restored_from_the_copy_that_is_named() {
    let house = House::new();
    fs::create_dir(house.path("docs")).unwrap();
    fs::write(house.path("docs/one"), "one").unwrap();
    let away = format!("\n[vault.away]\nurl = {:?}\nkey = {{ file = {:?} }}\n", house.path("away"), house.key_file());
    configure(&house, &format!("{DOCS}    copies = [{{ vault = \"away\", max_lag = \"1h\" }}]\n{away}"));
    init(&house);
    house.drctl(["init", "--vault", "away"]).ok();
    house.drctl(["backup", "docs"]).ok();
    house.drctl(["serve", "--once"]).ok();
    fs::rename(house.path("vault"), house.path("the disk is gone")).unwrap();
    let gone = house.drctl(["restore", "docs", "--to", "back"]).ends(10);
    assert!(gone.stderr.contains("the plan is copied to away: `drctl restore docs --vault away"), "{gone}");
    assert!(!gone.stderr.contains("drctl init"), "{gone}");
    house.drctl(["restore", "docs", "--to", "back", "--vault", "away"]).ok();
    let back = house.path("work/back").join(house.path("docs/one").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back).unwrap(), "one");
    // Who names a vault that is gone is told of that one.
    let gone = house.drctl(["restore", "docs", "--to", "elsewhere", "--vault", "main"]).ends(10);
    assert!(gone.stderr.contains("copied to away"), "{gone}");
    fs::rename(house.path("away"), house.path("the other is gone, too")).unwrap();
    let gone = house.drctl(["restore", "docs", "--to", "elsewhere", "--vault", "away"]).ends(10);
    assert!(!gone.stderr.contains("copied to"), "{gone}");
}

#[test]
fn a_plan_may_have_a_name_that_an_id_could_begin_with() {
    let house = House::new();
    for plan in ["db", "other"] {
        fs::create_dir(house.path(plan)).unwrap();
        fs::write(house.path(plan).join("file"), plan).unwrap();
    }
    configure(&house, &(DOCS.replace("docs", "db") + &DOCS.replace("docs", "other")));
    init(&house);
    house.drctl(["backup", "db"]).ok();
    house.drctl(["backup", "other"]).ok();
    // A tag narrows the plan's snapshots down; it does not let in those of others.
    house.drctl(["restore", "db", "--tag", "tier=daily", "--to", "back"]).ok();
    let back = house.path("work/back").join(house.path("db/file").strip_prefix("/").unwrap());
    assert_eq!(fs::read_to_string(back).unwrap(), "db");
}

#[test]
fn the_configuration_is_checked_shown_and_described() {
    let house = with_docs();
    assert!(house.drctl(["config", "check"]).ok().text().contains("1 plans, 1 vaults"));
    let shown = house.drctl(["config", "show", "--json"]).ok().json();
    assert_eq!(shown["plans"]["docs"]["retention"], "gfs");
    assert!(!shown.to_string().contains(House::PASSWORD));
    assert!(house.drctl(["config", "schema"]).ok().json()["properties"]["plan"].is_object());

    configure(&house, &DOCS.replace("schedule", "shedule"));
    let refused = house.drctl(["config", "check"]).ends(2).text();
    assert!(refused.contains("shedule") && refused.contains("did you mean `schedule`"), "{refused}");
    assert!(refused.contains("drctl.toml:"), "{refused}");
    let other = house.drctl(["status"]).ends(2);
    assert!(other.stderr.contains("shedule"), "{other}");

    // A promise that cannot come true keeps plans from being run.
    configure(&house, &(DOCS.to_owned() + "objective = { region = { rto = \"1h\", rpo = \"30h\" } }\n"));
    house.drctl(["config", "check"]).ends(2);
    house.drctl(["backup", "docs"]).ends(2);
}

#[test]
fn status_says_what_is_promised_and_what_would_be_lost() {
    let house = with_docs();
    let region = r#"
        [plan.docs.objective]
        host = { rto = "1h", rpo = "26h" }
    "#;
    // A local vault that names a region is somebody's mount of another site: it survives the host.
    let config =
        fs::read_to_string(house.path("work/drctl.toml")).unwrap().replace("key =", "region = \"site\"\nkey =");
    fs::write(house.path("work/drctl.toml"), config + region).unwrap();
    let nothing = house.drctl(["status"]).ends(4).text();
    assert!(nothing.contains("everything") && nothing.contains("NOT HELD"), "{nothing}");
    house.drctl(["backup", "docs"]).ok();
    let table = house.drctl(["status"]).ok().text();
    assert!(table.contains("docs") && table.contains("holds") && table.contains("just now"), "{table}");
    let status = house.drctl(["status", "docs", "--json"]).ok().json();
    let promise = &status["plans"][0]["promises"][0];
    assert_eq!(
        (promise["point"]["state"].as_str(), promise["point"]["vault"].as_str()),
        (Some("within"), Some("main"))
    );
    assert_eq!(promise["time"]["state"], "not-drilled");
    // Read back on request, which the proof shows.
    house.drctl(["check", "--read-data"]).ok();
    let status = house.drctl(["status", "--json"]).ok().json();
    assert!(status["plans"][0]["read"]["newest"].is_string(), "{status}");
}

#[test]
fn retention_explains_then_applies() {
    let house = with_docs();
    let short = "retention = \"short\"\n[retention.short]\ndaily = { keep = \"1s\", min = 1 }\n";
    configure(&house, &(DOCS.replace(", weekly = \"sun\", monthly = 1", "") + short));
    for content in ["one", "two", "three"] {
        fs::write(house.path("docs/one"), content).unwrap();
        house.drctl(["backup", "docs"]).ok();
    }
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let explained = house.drctl(["retention", "--dry-run"]).ok().text();
    assert!(explained.contains("keeps 1, drops 2"), "{explained}");
    assert!(explained.contains("minimum of daily, newest complete"), "{explained}");
    assert!(explained.contains("daily keeps what is after"), "{explained}");
    assert_eq!(house.drctl(["snapshots", "--json"]).ok().json()["snapshots"].as_array().unwrap().len(), 3);
    let wrong = house.drctl(["retention", "--apply", "--acknowledge", "3"]).ends(2);
    assert!(wrong.stderr.contains("2 snapshots would be dropped"), "{wrong}");
    let applied = house.drctl(["retention", "docs", "--apply", "--json"]).ok().json();
    assert_eq!(applied["applied"][0]["status"], "ok");
    assert_eq!(house.drctl(["snapshots", "--json"]).ok().json()["snapshots"].as_array().unwrap().len(), 1);
    assert!(house.drctl(["retention"]).ok().text().contains("nothing to drop"));
}

#[test]
fn the_catalog_is_rebuilt_from_the_vault() {
    let house = with_docs();
    house.drctl(["backup", "docs"]).ok();
    fs::remove_file(house.path("state/catalog.sqlite")).unwrap();
    let rebuilt = house.drctl(["catalog", "rebuild", "--json"]).ok().json();
    assert_eq!((rebuilt["records"].as_u64(), rebuilt["snapshots"].as_u64()), (Some(1), Some(1)));
    let status = house.drctl(["status", "--json"]).ok().json();
    assert_eq!(status["plans"][0]["last"]["status"], "ok");
}

#[test]
fn a_damaged_catalog_is_named_and_rebuilt_beside_what_was_left_of_it() {
    let house = with_docs();
    house.drctl(["backup", "docs"]).ok();
    let catalog = house.path("state/catalog.sqlite");
    let garbage = "no database\n".repeat(1000);
    fs::write(&catalog, &garbage).unwrap();
    for command in [&["status"][..], &["backup", "docs"], &["serve", "--once"], &["drill", "list"]] {
        let refused = house.drctl(command).ends(1);
        assert!(
            refused.stderr.contains("catalog.sqlite") && refused.stderr.contains("drctl catalog rebuild"),
            "{refused}"
        );
        assert_eq!(fs::read_to_string(&catalog).unwrap(), garbage);
    }
    let rebuilt = house.drctl(["catalog", "rebuild"]).ok();
    assert!(rebuilt.stderr.contains("catalog.sqlite.damaged-1"), "{rebuilt}");
    assert!(rebuilt.text().contains("1 records and 1 snapshots"), "{rebuilt}");
    assert_eq!(fs::read_to_string(house.path("state/catalog.sqlite.damaged-1")).unwrap(), garbage);
    assert_eq!(house.drctl(["status", "--json"]).ok().json()["plans"][0]["last"]["status"], "ok");
    // A whole one is filled anew where it is.
    assert_eq!(house.drctl(["catalog", "rebuild"]).ok().stderr, "");
    assert!(!house.path("state/catalog.sqlite.damaged-2").exists());
}

#[test]
fn latest_is_what_a_signed_record_vouches_for() {
    let house = House::new();
    fs::create_dir(house.path("docs")).unwrap();
    fs::write(house.path("docs/one"), "ours").unwrap();
    let vault = house.path("vault").display().to_string();
    let docs = house.path("docs").display().to_string();
    house.drctl(["init", "--vault", &vault]).ok();
    house.drctl(["backup", "--vault", &vault, "--path", &docs]).ok();
    let ours = house.drctl(["snapshots", "--vault", &vault, "--json"]).ok().json();
    assert_eq!(ours["snapshots"][0]["signed"], true);
    // One whose record is gone is as good as a forger's.
    let records = house.path("vault/drctl/records");
    let kept = house.path("kept");
    fs::write(house.path("docs/one"), "theirs").unwrap();
    house.call("cp").args(["-r".as_ref(), records.as_os_str(), kept.as_os_str()]).ok();
    house.drctl(["backup", "--vault", &vault, "--path", &docs]).ok();
    fs::remove_dir_all(&records).unwrap();
    fs::rename(&kept, &records).unwrap();

    let file = format!("latest:{docs}/one");
    let (snapshot, path) = file.split_once(':').unwrap();
    let dumped = |extra: &[&str]| house.drctl(["dump", "--vault", &vault, snapshot, path]).args(extra).ok();
    let signed = dumped(&[]);
    assert_eq!(signed.text(), "ours");
    assert!(signed.stderr.contains("no signed record vouches"), "{signed}");
    assert_eq!(dumped(&["--unsigned"]).text(), "theirs");
    assert!(house.drctl(["snapshots", "--vault", &vault]).ok().text().contains("UNSIGNED"));
    // A vault without any records is another tool's: the newest counts, with a word.
    fs::remove_dir_all(&records).unwrap();
    let plain = dumped(&[]);
    assert_eq!(plain.text(), "theirs");
    assert!(plain.stderr.contains("no records of drctl"), "{plain}");
}

#[test]
fn a_run_that_cannot_heal_ends_at_once_with_the_code_and_the_hint_of_its_cause() {
    let house = with_docs();
    let config = fs::read_to_string(house.path("work/drctl.toml")).unwrap();
    let other = house.path("other.key");
    fs::write(&other, "another password\n").unwrap();
    fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (key, vault) = (house.key_file().display().to_string(), house.path("vault").display().to_string());
    let wrong = [
        (config.replace(&key, &other.display().to_string()), 12, "which key file"),
        (config.replace(&vault, &house.path("nowhere").display().to_string()), 10, "drctl init"),
        (config.replace(&key, &house.path("no.key").display().to_string()), 2, "--key-file"),
    ];
    for (text, code, hint) in wrong {
        fs::write(house.path("work/drctl.toml"), text).unwrap();
        let ran = house.drctl(["backup", "docs", "--json"]).ends(code).json();
        let run = &ran["runs"][0];
        assert_eq!((run["status"].as_str(), run["problems"].as_array().unwrap().len()), (Some("failed"), 1), "{run}");
        assert_eq!(run["tries"], 1, "{run}");
        assert!(run["hint"].as_str().unwrap().contains(hint), "{run}");
        let ran = house.drctl(["backup", "docs"]).ends(code).text();
        assert!(ran.contains("docs: failed\n") && ran.contains("\n  hint: "), "{ran}");
    }
    // With a plan that succeeds beside it, something was tried.
    let more = DOCS.replace("[plan.docs]", "[plan.more]").replace("\"main\"", "\"away\"");
    let away = format!("[vault.away]\nurl = {:?}\nkey = {{ file = {:?} }}\n", house.path("away"), house.path("no.key"));
    configure(&house, &(away + DOCS + &more));
    house.drctl(["backup", "docs", "more"]).ends(1);
    house.drctl(["backup", "more"]).ends(2);
}

#[test]
fn the_check_of_a_configuration_looks_at_runbooks_and_key_files() {
    let house = with_docs();
    let broken = r#"
        [runbook.back]
        description = "Its steps wait for each other, or for none."
        [[runbook.back.step]]
        id = "restore"
        kind = "restore"
        needs = ["proof"]
        [[runbook.back.step]]
        id = "proof"
        kind = "exec"
        needs = ["restore", "prof"]
        command = ["true"]
        [[runbook.back.step]]
        id = "proof"
        kind = "exec"
        command = ["true"]
    "#;
    configure(&house, &format!("{DOCS}{broken}"));
    let found = house.drctl(["config", "check", "--json"]).ends(2).json();
    let findings = found["findings"].as_array().unwrap();
    let says = |part: &str| findings.iter().any(|finding| finding["what"].as_str().unwrap().contains(part));
    assert!(says("two steps are named \"proof\"") && says("needs \"prof\", which is no step"), "{found}");
    assert!(findings.iter().all(|finding| finding["place"]["line"].as_u64() > Some(8)), "{found}");
    assert!(house.drctl(["config", "check"]).ends(2).text().contains("not all could be recovered"));
    // Backups are what is least to be kept from running by it.
    house.drctl(["backup", "docs"]).ok();

    configure(&house, DOCS);
    fs::rename(house.key_file(), house.path("elsewhere")).unwrap();
    let warned = house.drctl(["config", "check"]).ok().text();
    assert!(
        warned.contains("key file") && warned.contains("vault `main`") && warned.contains("1 warnings"),
        "{warned}"
    );
}

#[test]
fn status_names_what_the_last_round_could_not_try() {
    let house = with_docs();
    house.drctl(["backup", "docs"]).ok();
    house.drctl(["serve", "--once"]).ok();
    assert_eq!(house.drctl(["status", "--json"]).ok().json()["round"]["untried"], serde_json::json!([]));
    fs::rename(house.path("vault"), house.path("gone")).unwrap();
    let once = house.drctl(["serve", "--once"]).ends(1).text();
    assert!(once.contains("retention  main could not be tried"), "{once}");
    for command in [&["status"][..], &["status", "docs"]] {
        let told = house.drctl(command).ends(4).text();
        assert!(
            told.contains("NOT DONE") && told.contains("retention of plan docs in vault main: failed to"),
            "{told}"
        );
        assert!(told.contains("find a vault at") && !told.contains("NOT HELD"), "{told}");
    }
    fs::rename(house.path("gone"), house.path("vault")).unwrap();
    house.drctl(["serve", "--once"]).ok();
    assert!(!house.drctl(["status"]).ok().text().contains("NOT DONE"));
}
