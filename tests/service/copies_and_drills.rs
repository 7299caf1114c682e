//! What follows the backups over simulated weeks: copies that count, drills that are due, and those that never began.

use drctl::catalog::RunState;
use drctl::objective::Disaster;
use drctl::record::{Completeness, Status, Work};
use drctl::replication::{self, Mode, Options, Select, Verify};
use drctl::service::host::archive;
use jiff::{SignedDuration, Timestamp};

use super::host::Host;

const TWO_REGIONS: &str = r#"
    [vault.primary]
    url = "memory://primary"
    region = "eu"
    key = KEY
    [vault.dr]
    url = "ROOT/dr"
    region = "us"
    key = KEY
    [plan.docs]
    source = { kind = "files", paths = ["ROOT/source"] }
    schedule = { at = "01:30", zone = "UTC" }
    vault = "primary"
    copies = [{ vault = "dr", max_lag = "4h" }]
    retries = 0
    [plan.docs.objective]
    region = { rto = "1h", rpo = "100h" }
    [plan.docs.recover]
    runbook = "there"
    drill = { every = "7d" }
    [runbook.there]
    description = "It is there."
    [[runbook.there.step]]
    id = "restore"
    kind = "restore"
    [[runbook.there.step]]
    id = "there"
    kind = "check"
    needs = ["restore"]
    command = ["sh", "-c", "grep -r first ."]
"#;

fn day(n: i64) -> String {
    let start: Timestamp = "2126-03-01T02:00:00Z".parse().unwrap();
    (start + SignedDuration::from_hours(24 * n)).to_string()
}

#[tokio::test]
async fn each_night_is_copied_and_the_copy_vouches_for_itself() {
    let host = Host::at("2126-03-01T00:00:00Z", TWO_REGIONS).await;
    host.tick_at("2126-03-01T00:00:10Z").await;
    for n in 0..3 {
        let tick = host.tick_at(&day(n)).await;
        let copied: Vec<_> = tick.steps.iter().filter(|step| step.kind == "replicate").collect();
        assert_eq!(copied.len(), 1, "{:?}", tick.steps);
        assert_eq!((copied[0].vault.as_str(), copied[0].status), ("dr", Some(Status::Ok)), "{copied:?}");
    }
    assert_eq!(host.tags("dr").await, host.tags("primary").await);
    // What is in the copy is judged by its own records: they name each snapshot as complete.
    let audit = archive(&host.vault("dr").await).audit().await.unwrap();
    assert_eq!(audit.flaws, []);
    assert_eq!(audit.vouched().unwrap().len(), 3);
    let rows = host.service.catalog().snapshots("dr", "host-a", "docs").unwrap();
    assert!(rows.iter().all(|row| row.completeness == Completeness::Complete), "{rows:?}");
    let state = &host.service.copies(&[]).unwrap()[0];
    assert_eq!((state.owed, state.present, state.is_late()), (0, 3, false));
    // A round with nothing owed leaves no record.
    assert!(host.tick_at("2126-03-03T03:00:00Z").await.steps.iter().all(|step| step.kind != "replicate"));
}

#[tokio::test]
async fn what_arrived_without_a_record_is_recorded_by_the_next_run() {
    let host = Host::at("2126-03-01T00:00:00Z", &TWO_REGIONS.replace("copies =", "tags = []\n    #")).await;
    host.tick_at("2126-03-01T00:00:10Z").await;
    host.tick_at(&day(0)).await;
    let (from, into) = (host.vault("primary").await, host.vault("dr").await);
    let options = Options {
        select: Select::All,
        mode: Mode::Write,
        verify: Verify::ReadBack,
        retry_lock: std::time::Duration::ZERO,
    };
    let done =
        replication::run(&from, &into, options, std::sync::Arc::new(drctl::monitor::Silent), Default::default()).await;
    assert_eq!(done.unwrap().copied.len(), 1);
    let mut host = host;
    host.reconfigure("tags = []\n    #", "copies =");
    let tick = host.tick_at(&day(1)).await;
    let step = tick.steps.iter().find(|step| step.kind == "replicate").unwrap();
    assert!(step.what.starts_with("2 snapshots"), "{step:?}");
    let rows = host.service.catalog().snapshots("dr", "host-a", "docs").unwrap();
    assert!(rows.len() == 2 && rows.iter().all(|row| row.completeness == Completeness::Complete), "{rows:?}");
}

#[tokio::test]
async fn drills_come_at_instants_that_were_drawn_and_use_the_vault_that_is_left() {
    let host = Host::on_a_calendar("2126-03-01T00:00:00Z", TWO_REGIONS).await;
    host.tick_at("2126-03-01T00:00:10Z").await;
    for n in 0..6 {
        let tick = host.tick_at(&day(n)).await;
        assert!(tick.steps.iter().all(|step| step.kind != "drill"), "day {n}: {:?}", tick.steps);
    }
    // Drawn from the last day of the week since the first snapshot.
    let docs = "docs".parse().unwrap();
    let first = host.service.catalog().snapshots("primary", "host-a", "docs").unwrap()[0].listed.clone();
    host.turn_to(&day(8));
    let due = host.service.due_drill(&docs).unwrap().unwrap();
    let after = due.at.duration_since(first.time);
    assert!(after > SignedDuration::from_hours(6 * 24) && after <= SignedDuration::from_hours(7 * 24), "{after}");
    assert_eq!((due.disaster, &due.seed, due.overdue.len()), (Disaster::Region, &first.id.to_string(), 0));

    let tick = host.tick_at("2126-03-09T02:01:00Z").await;
    let step = tick.steps.iter().find(|step| step.kind == "drill").unwrap();
    assert!(step.what.contains("from vault dr: indicative"), "{step:?}");
    assert_eq!(step.status, Some(Status::Ok));
    let drill = &host.service.catalog().drills(Some("docs"), 1).unwrap()[0];
    assert_eq!((drill.number, drill.vault.as_str(), drill.scenario.as_str()), (1, "dr", "region"));
    let evidence = host.service.evidence(drill).await.unwrap().unwrap();
    assert_eq!(Some(evidence.digest), drill.evidence);
    let chosen = &evidence.evidence.facts.fail.unwrap().chosen;
    assert!(chosen.contains(&format!("from the seed {}", first.id)), "{chosen}");
    // The worst of the period: two nights that the test skipped.
    let worst = evidence.evidence.judgement.figures.worst_exposure.unwrap();
    assert!(worst.span().duration() > std::time::Duration::from_secs(60 * 3600), "{worst}");
    assert!(host.tick_at(&day(9)).await.steps.iter().all(|step| step.kind != "drill"), "not again so soon");
    // The catalog is rebuilt with it.
    let before = host.service.catalog().dump().unwrap();
    host.service.rebuild().await.unwrap();
    assert_eq!(host.service.catalog().dump().unwrap(), before);
}

#[tokio::test]
async fn drills_that_never_began_are_recorded_as_failed() {
    let mut host = Host::on_a_calendar("2126-03-01T00:00:00Z", TWO_REGIONS).await;
    host.tick_at("2126-03-01T00:00:10Z").await;
    host.tick_at(&day(0)).await;
    host.restart();
    // Down for sixteen days: one drill was due in each of two weeks, and the second is done late.
    host.tick_at(&day(16)).await;
    let drills = host.service.catalog().drills(Some("docs"), 10).unwrap();
    let told: Vec<_> = drills.iter().map(|drill| (drill.number, drill.verdict.as_str())).collect();
    assert_eq!(told, [(2, "indicative"), (1, "fail")]);
    let evidence = host.service.evidence(&drills[1]).await.unwrap().unwrap().evidence;
    assert!(evidence.judgement.doubts.iter().any(|doubt| doubt.to_string().contains("never began")), "{evidence:?}");
    // Both are in the vault that is left, signed.
    let audit = archive(&host.vault("dr").await).audit().await.unwrap();
    let drills = audit.entries.iter().filter(|entry| matches!(entry.record.work, Work::Drill(_)));
    assert_eq!(drills.map(|entry| entry.record.status).collect::<Vec<_>>(), [Status::Failed, Status::Ok]);
    let runs = host.service.catalog().recent_runs(Some("docs"), 50).unwrap();
    assert!(runs.iter().all(|run| run.state != RunState::Running), "{runs:?}");
}
