//! Drills by the program itself: what they measure, what they refuse to believe, and what is left of them.

mod refusals;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::house::House;

const RUNBOOKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/runbooks/files-restore.toml");

const PLAN: &str = r#"
    [plan.docs]
    owner = "the tests"
    source = { kind = "files", paths = ["ROOT/docs"], exclude = ["*.tmp"] }
    schedule = { at = "01:30", zone = "UTC", weekly = "sun", monthly = 1 }
    vault = "primary"
    copies = [{ vault = "copy", max_lag = "4h" }]
    [plan.docs.objective]
    host = { rto = "2h", rpo = "26h" }
    region = { rto = "1h", rpo = "30h" }
    allow = { detect = "5m", decide = "10m" }
    [plan.docs.recover]
    runbook = "files-restore"
"#;

/// Two vaults in two regions, a folder with a few files, a plan, the shipped runbook.
struct Site {
    house: House,
}

impl Site {
    fn with(plan: &str) -> Self {
        let site = Self { house: House::new() };
        let house = &site.house;
        fs::create_dir_all(house.path("docs/sub")).unwrap();
        for name in ["docs/a.txt", "docs/sub/b.txt", "docs/sub/c.bin"] {
            fs::write(house.path(name), name.repeat(2000)).unwrap();
        }
        fs::write(house.path("docs/left out.tmp"), "not backed up").unwrap();
        let key = house.path("copy.key");
        fs::write(&key, "another password\n").unwrap();
        fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
        site.configure(plan);
        house.drctl(["init", "--vault", "primary"]).ok();
        house.drctl(["init", "--vault", "copy", "--same-chunks-as", "primary"]).ok();
        site
    }

    fn configure(&self, plan: &str) {
        let house = &self.house;
        let text = format!(
            "include = [{RUNBOOKS:?}]
            [vault.primary]
            url = {:?}
            region = \"eu\"
            key = {{ file = {:?} }}
            [vault.copy]
            url = {:?}
            region = \"us\"
            key = {{ file = {:?} }}
            {}",
            house.path("primary"),
            house.key_file(),
            house.path("copy"),
            house.path("copy.key"),
            plan.replace("ROOT", &house.path("").display().to_string()).replace("//", "/")
        );
        fs::write(house.path("work/drctl.toml"), text).unwrap();
    }

    fn back_up_and_copy(&self) {
        self.house.drctl(["backup", "docs"]).ok();
        self.house.drctl(["replicate", "docs"]).ok();
    }

    /// A drill of plan `docs` that ends with this code.
    fn drill(&self, args: &[&str], code: i32) -> Value {
        self.house.drctl(["drill", "run", "docs", "--json"]).args(args).ends(code).json()
    }
}

fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(below(&path)) } else { found.push(path) }
    }
    found
}

fn time(value: &Value) -> jiff::Timestamp {
    value.as_str().unwrap_or_else(|| panic!("{value} is no time")).parse().unwrap()
}

fn step<'a>(drilled: &'a Value, id: &str) -> &'a Value {
    let steps = drilled["evidence"]["facts"]["run"]["steps"].as_array().unwrap();
    steps.iter().find(|step| step["id"] == id).unwrap_or_else(|| panic!("no step {id} in {drilled}"))
}

#[test]
fn a_lost_region_comes_back_from_the_copy_and_is_measured() {
    let site = Site::with(PLAN);
    let house = &site.house;
    site.back_up_and_copy();
    // It is really gone: what is never opened cannot help.
    fs::rename(house.path("primary"), house.path("gone")).unwrap();
    let begun = Instant::now();
    let drilled = site.drill(&["--lose", "primary", "--html", "page.html"], 0);
    let whole = begun.elapsed();

    let (facts, judgement) = (&drilled["evidence"]["facts"], &drilled["evidence"]["judgement"]);
    assert_eq!((&drilled["vault"], &drilled["verdict"]), (&json!("copy"), &json!("indicative")));
    assert_eq!(facts["scenario"], json!({ "disaster": "region", "lost": ["vault primary (eu)"] }));
    assert_eq!((&facts["number"], &facts["owner"]), (&json!(1), &json!("the tests")));
    for id in ["restore", "not-empty", "same-as-source"] {
        assert_eq!(step(&drilled, id)["state"], "done", "{drilled}");
    }
    assert!(step(&drilled, "same-as-source")["said"].as_str().unwrap().starts_with("3 paths"), "{drilled}");

    // What it says of the point, computed here from the copy's own list.
    let listed = house.drctl(["snapshots", "--vault", "copy", "--json"]).ok().json();
    let point = time(&facts["fail"]["at"]["wall"]).duration_since(time(&listed["snapshots"][0]["time"]));
    let said: drctl::units::Span = judgement["figures"]["point"].as_str().unwrap().parse().unwrap();
    let off = said.signed() - point;
    assert!((0..=1).contains(&off.as_millis()), "{said} is not {point} rounded up");
    // And of the time: from the steps, and by a clock that is not drctl's.
    let steps = facts["run"]["steps"].as_array().unwrap();
    let nanos = |step: &Value, which: &str| step[which]["boot_nanos"].as_u64().unwrap();
    let first = steps.iter().map(|step| nanos(step, "started")).min().unwrap();
    let last = steps.iter().map(|step| nanos(step, "ended")).max().unwrap();
    let said: drctl::units::Span = judgement["figures"]["executed"].as_str().unwrap().parse().unwrap();
    let measured = Duration::from_nanos(last - first);
    assert!(said.duration() >= measured && said.duration() - measured <= Duration::from_millis(1), "{said}");
    assert!(said.duration() <= whole, "{said} is longer than the whole call took");
    let with: drctl::units::Span = judgement["figures"]["recovery"].as_str().unwrap().parse().unwrap();
    assert_eq!(with.duration() - said.duration(), Duration::from_secs(15 * 60), "allowances count in full");

    // Nothing is left of it but its evidence, and that is what the record names.
    assert_eq!(below(&house.path("state/sandbox")), Vec::<PathBuf>::new());
    let text = fs::read(drilled["json"].as_str().unwrap()).unwrap();
    assert_eq!(drilled["digest"], hex::encode(Sha256::digest(&text)));
    let page = fs::read_to_string(house.path("work/page.html")).unwrap();
    assert!(page.contains("Indicative") && page.contains(drilled["digest"].as_str().unwrap()), "{page}");
    let drills = house.drctl(["drill", "list", "--json"]).ok().json();
    assert_eq!(drills["drills"][0]["digest"], drilled["digest"]);
    let table = house.drctl(["drill", "list", "docs"]).ok().text();
    assert!(table.contains("INDICATIVE") && table.contains("3 of 3"), "{table}");
    let status = house.drctl(["status", "--json"]).run().json();
    assert!(status["plans"][0]["drilled"]["newest"].is_string(), "{status}");
}

#[test]
fn evidence_that_was_changed_is_found_out_and_a_copy_lies_in_the_vault() {
    let site = Site::with(PLAN);
    let house = &site.house;
    site.back_up_and_copy();
    let drilled = site.drill(&["--scenario", "region"], 0);
    let path = PathBuf::from(drilled["json"].as_str().unwrap());
    let text = fs::read_to_string(&path).unwrap();
    let report = |code| house.drctl(["drill", "report", "docs", "--json"]).ends(code);
    assert_eq!(report(0).json()["matches_record"], true);

    // A better verdict, and a smaller figure: one that does not follow, and one that was made to follow.
    fs::write(&path, text.replace(r#""headline":"indicative""#, r#""headline":"pass""#)).unwrap();
    let told = report(1);
    assert_eq!((&told.json()["sound"], &told.json()["matches_record"]), (&json!(false), &json!(false)), "{told}");
    let mut evidence: drctl::drill::evidence::Evidence = serde_json::from_str(&text).unwrap();
    evidence.facts.allowances.clear();
    let made = drctl::drill::evidence::Evidence::conclude(evidence.facts);
    fs::write(&path, made.canonical().unwrap()).unwrap();
    let told = report(1);
    assert_eq!((&told.json()["sound"], &told.json()["matches_record"]), (&json!(true), &json!(false)), "{told}");
    assert!(told.stderr.contains("signed record"), "{told}");

    // The host is lost with its evidence and its catalog: the vault has both.
    fs::remove_dir_all(house.path("state")).unwrap();
    house.drctl(["catalog", "rebuild"]).ok();
    let found = house.drctl(["drill", "report", "--json"]).ok().json();
    assert_eq!((&found["evidence"], &found["matches_record"]), (&drilled["evidence"], &json!(true)));
    house.drctl(["drill", "report", "nothing"]).ends(1);
}

#[test]
fn a_damaged_pack_fails_the_drill() {
    let site = Site::with(PLAN);
    site.back_up_and_copy();
    for pack in below(&site.house.path("copy/data")) {
        let mut bytes = fs::read(&pack).unwrap();
        bytes[40] ^= 1;
        fs::set_permissions(&pack, PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&pack, bytes).unwrap();
    }
    let drilled = site.drill(&["--scenario", "region"], 1);
    assert_eq!((&drilled["verdict"], &step(&drilled, "restore")["state"]), (&json!("fail"), &json!("failed")));
    assert_eq!(drilled["evidence"]["judgement"]["figures"]["executed"], Value::Null, "nothing was measured");
    let shown = site.house.drctl(["drill", "report"]).ends(1).text();
    assert!(shown.contains("verdict: FAIL") && shown.contains("step restore failed"), "{shown}");
    // The vault that is whole still passes.
    assert_eq!(site.drill(&["--scenario", "host", "--from", "primary"], 0)["verdict"], "indicative");
}

/// The backup saw another file than the source holds, sealed and signed what it saw, and every check of the vault is
/// content: only the source, read by other code, tells.
#[test]
fn a_snapshot_in_which_one_file_differs_from_the_source_fails_the_drill() {
    let site = Site::with(PLAN);
    let house = &site.house;
    site.back_up_and_copy();
    let (docs, aside) = (house.path("docs"), house.path("aside"));
    fs::rename(&docs, &aside).unwrap();
    house.call("cp").args(["-a", "--"]).arg(&aside).arg(&docs).ok();
    let planted = docs.join("sub/b.txt");
    let stamp = fs::metadata(&planted).unwrap().modified().unwrap();
    let mut bytes = fs::read(&planted).unwrap();
    bytes[100] ^= 1;
    fs::write(&planted, bytes).unwrap();
    fs::File::options().write(true).open(&planted).unwrap().set_modified(stamp).unwrap();
    site.back_up_and_copy();
    fs::remove_dir_all(&docs).unwrap();
    fs::rename(&aside, &docs).unwrap();

    let checked = house.drctl(["check", "--read-data", "--vault", "copy", "--json"]).ok().json();
    assert_eq!(checked["damage"], json!([]), "it is validly sealed");
    let drilled = site.drill(&["--lose", "primary"], 1);
    let said = step(&drilled, "same-as-source")["said"].as_str().unwrap();
    assert_eq!(drilled["verdict"], "fail");
    assert!(said.contains("1 of 3 paths differ") && said.contains("b.txt") && said.contains("other content"), "{said}");
    // A failed drill proves nothing.
    let status = house.drctl(["status", "--json"]).run().json();
    assert_eq!(status["plans"][0]["drilled"]["newest"], Value::Null, "{status}");
}

#[test]
fn a_missed_objective_has_an_exit_code_of_its_own() {
    let plan = PLAN.replace(r#"{ at = "01:30", zone = "UTC", weekly = "sun", monthly = 1 }"#, r#"{ every = "1s" }"#);
    let site = Site::with(&plan.replace(r#"rto = "2h", rpo = "26h""#, r#"rto = "2h", rpo = "1500ms""#));
    site.back_up_and_copy();
    std::thread::sleep(Duration::from_millis(1600));
    let drilled = site.drill(&["--scenario", "host"], 4);
    let findings = drilled["evidence"]["judgement"]["findings"].as_array().unwrap();
    assert_eq!(findings[0]["verdict"]["why"][0]["kind"], "too-old", "{drilled}");
    assert_eq!(findings[1]["verdict"], Value::Null, "the region was not drilled");
}

#[test]
fn a_plan_that_says_what_production_is_can_pass() {
    let site = Site::with(&(PLAN.to_owned() + "production = { size = \"40KiB\", processors = 1 }\n"));
    site.back_up_and_copy();
    assert_eq!(site.drill(&["--scenario", "region"], 0)["verdict"], "pass");
    site.configure(&(PLAN.to_owned() + "production = { size = \"1TiB\" }\n"));
    let drilled = site.drill(&["--scenario", "region"], 0);
    assert_eq!(drilled["verdict"], "indicative");
    assert_eq!(drilled["evidence"]["facts"]["production"], "1 TiB of data");
    assert_eq!(drilled["evidence"]["facts"]["number"], 2);
    // The exposure since the drill before is looked at, not only the moment of the loss.
    assert!(drilled["evidence"]["judgement"]["figures"]["worst_exposure"].is_string(), "{drilled}");
}

#[test]
fn a_canary_that_disagrees_makes_a_drill_untrustworthy() {
    let canary = |period: &str| {
        format!(
            "canary = {{ path = {:?}, query = \"select max(at) from beats\", period = {period:?} }}\n",
            "INSIDEdocs/beats.db"
        )
    };
    let site = Site::with(PLAN);
    let house = &site.house;
    let inside = house.path("").display().to_string();
    let plan = |period: &str| PLAN.to_owned() + &canary(period).replace("INSIDE", inside.trim_start_matches('/'));
    let database = rusqlite::Connection::open(house.path("docs/beats.db")).unwrap();
    database.execute_batch("create table beats (at integer)").unwrap();
    let old = jiff::Timestamp::now().as_millisecond() - 3_600_000;
    database.execute("insert into beats values (?)", [old]).unwrap();
    site.back_up_and_copy();
    site.configure(&plan("2h"));
    let drilled = site.drill(&["--scenario", "region"], 0);
    let newest = time(&drilled["evidence"]["facts"]["canary"]["newest"]);
    assert_eq!(newest.as_millisecond(), old);
    site.configure(&plan("10m"));
    let drilled = site.drill(&["--scenario", "region"], 1);
    assert_eq!(drilled["evidence"]["judgement"]["doubts"][0]["kind"], "canary", "{drilled}");
    database.execute_batch("delete from beats").unwrap();
    site.back_up_and_copy();
    let drilled = site.drill(&["--scenario", "region"], 1);
    assert_eq!(drilled["evidence"]["judgement"]["doubts"][0]["kind"], "no-canary", "{drilled}");
}

#[test]
fn a_drill_that_was_killed_counts_as_failed() {
    let slow = r#"
        [runbook.slow]
        description = "Never comes to its end."
        [[runbook.slow.step]]
        id = "restore"
        kind = "restore"
        [[runbook.slow.step]]
        id = "wait"
        kind = "exec"
        needs = ["restore"]
        command = ["sh", "-c", "touch waiting; exec sleep 30"]
    "#;
    let site = Site::with(&(PLAN.replace("files-restore", "slow") + slow));
    let house = &site.house;
    site.back_up_and_copy();
    let mut drill = house.drctl(["drill", "run", "docs", "--scenario", "region"]).spawn();
    let begun = Instant::now();
    while !below(&house.path("state/sandbox")).iter().any(|path| path.ends_with("waiting")) {
        assert!(begun.elapsed() < Duration::from_secs(60) && drill.try_wait().unwrap().is_none(), "it never began");
        std::thread::sleep(Duration::from_millis(20));
    }
    let second = house.drctl(["drill", "run", "docs", "--scenario", "region"]).ends(1);
    assert!(second.stderr.contains("going on already"), "{second}");
    drill.kill().unwrap();
    drill.wait().unwrap();
    site.configure(PLAN);
    assert_eq!(site.drill(&["--scenario", "region"], 0)["evidence"]["facts"]["number"], 2);
    let drills = house.drctl(["drill", "list", "--json"]).ok().json();
    assert_eq!((&drills["drills"][1]["number"], &drills["drills"][1]["verdict"]), (&json!(1), &json!("fail")));
    let id = drills["drills"][1]["id"].as_str().unwrap();
    let shown = house.drctl(["drill", "report", id]).ends(1).text();
    assert!(shown.contains("the drill was killed"), "{shown}");
    assert_eq!(below(&house.path("state/sandbox")), Vec::<PathBuf>::new(), "its sandbox is gone, too");
}

#[test]
fn runbooks_are_checked_printed_and_carried_out() {
    let broken = r#"
        [runbook.broken]
        description = "Two steps that wait for each other."
        [[runbook.broken.step]]
        id = "one"
        kind = "exec"
        needs = ["two"]
        command = ["true"]
        [[runbook.broken.step]]
        id = "two"
        kind = "exec"
        needs = ["one", "oen"]
        command = ["true"]
    "#;
    let site = Site::with(&(PLAN.to_owned() + broken));
    let house = &site.house;
    site.back_up_and_copy();
    let checked = house.drctl(["runbook", "check"]).ends(2).text();
    assert!(checked.contains("files-restore: restore > not-empty, same-as-source"), "{checked}");
    assert!(checked.contains("one needs two needs one") && checked.contains("did you mean \"one\""), "{checked}");
    house.drctl(["runbook", "check", "files-restore"]).ok();
    house.drctl(["runbook", "check", "files-resotre"]).ends(2);

    let page = house.drctl(["runbook", "render", "docs"]).ok().text();
    assert!(page.contains("restic restore latest --tag plan=docs") && page.contains("RESTIC_PASSWORD_FILE"), "{page}");
    assert!(!page.contains(House::PASSWORD));

    // In an incident there is no source to compare with: that step counts as not exercised, and the code says so.
    let told = house.drctl(["runbook", "run", "docs", "--to", "back", "--from", "copy", "--json"]).ends(3).json();
    assert_eq!(told["run"]["steps"][2]["state"], "skipped", "{told}");
    let back = house.path("work/back").join(house.path("docs/a.txt").strip_prefix("/").unwrap());
    assert_eq!(fs::read(back).unwrap(), fs::read(house.path("docs/a.txt")).unwrap());
    let refused = house.drctl(["runbook", "run", "docs", "--to", "back"]).ends(2);
    assert!(refused.stderr.contains("not empty") && refused.stderr.contains("--overwrite"), "{refused}");
    house.drctl(["runbook", "run", "docs", "--to", "back", "--overwrite"]).ends(3);
    house.drctl(["runbook", "run", "docs", "--to", "again", "--runbook", "broken"]).ends(1);
}

#[test]
fn the_demo_shows_the_whole_loop_and_leaves_only_its_report() {
    let house = House::new();
    let work = house.path("work");
    let shown = house.drctl(["demo", "--days", "45", "--json", "--report", "demo.html"]).ok().json();
    assert_eq!((&shown["verdict"], &shown["year"]["snapshots"]), (&json!("indicative"), &json!(90)));
    assert!(shown["year"]["dropped"].as_i64() > Some(40) && shown["year"]["freed_bytes"].as_i64() > Some(0), "{shown}");
    assert!(shown["year"]["daily"].as_u64() < Some(36), "{shown}");
    let facts = &shown["evidence"]["facts"];
    assert_eq!((&facts["vault"]["name"], &facts["fail"]["at"]["time"]), (&json!("copy"), &json!("simulated")));
    for step in facts["run"]["steps"].as_array().unwrap() {
        assert_eq!(step["state"], "done", "{step}");
    }
    let evidence: drctl::drill::evidence::Evidence = serde_json::from_value(shown["evidence"].clone()).unwrap();
    assert!(evidence.is_sound());
    let page = fs::read_to_string(work.join("demo.html")).unwrap();
    assert!(page.contains("Simulated calendar") && page.contains("region-b"), "{page}");
    let left: Vec<_> = fs::read_dir(&work).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["demo.html"], "all else was removed");
    house.drctl(["demo", "--path", "nowhere"]).ends(2);
}
