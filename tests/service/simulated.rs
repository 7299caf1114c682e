//! What the service does over days and years of simulated time.

use drctl::catalog::RunState;
use drctl::record::{Completeness, Status};
use drctl::service::host::archive;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::host::Host;

/// One plan, every night, into one vault.
const NIGHTLY: &str = r#"
    [vault.primary]
    url = "memory://primary"
    key = KEY
    [plan.docs]
    source = { kind = "files", paths = ["ROOT/source"] }
    schedule = { at = "01:30", zone = "UTC", weekly = "sun", monthly = 1 }
    vault = "primary"
    retries = 0
    tags = ["mine"]
"#;

#[tokio::test]
async fn after_two_missed_days_one_run_catches_up_and_both_misses_are_recorded() {
    let mut host = Host::at("2026-03-02T00:00:00Z", NIGHTLY).await;
    let first = host.tick_at("2026-03-02T00:00:10Z").await;
    assert_eq!((first.runs.len(), first.missed.len()), (0, 0));
    assert_eq!(first.next, Some("2026-03-02T01:30:00Z".parse().unwrap()));
    let night = host.tick_at("2026-03-02T01:30:05Z").await;
    assert_eq!(night.runs.len(), 1);
    assert_eq!(night.runs[0].status, Status::Ok);

    // Down over the nights of the 3rd and the 4th; Sunday the 8th is not reached.
    host.restart();
    let back = host.tick_at("2026-03-05T08:00:00Z").await;
    assert_eq!(
        back.missed.iter().map(|miss| miss.due.to_string()).collect::<Vec<_>>(),
        ["2026-03-03T01:30:00Z", "2026-03-04T01:30:00Z"]
    );
    assert_eq!(back.runs.len(), 1);
    assert_eq!(back.runs[0].due, Some("2026-03-05T01:30:00Z".parse().unwrap()));
    let since = "2026-03-01T00:00:00Z".parse().unwrap();
    assert_eq!(host.service.catalog().missed_since("host-a", "docs", since).unwrap(), 2);
    assert!(host.tick_at("2026-03-05T08:00:10Z").await.runs.is_empty());

    let tags = host.tags("primary").await;
    assert_eq!(tags.len(), 2);
    assert_eq!(tags[0].1, ["plan=docs", "tier=daily", "mine"]);
    // The misses are in the vault, too, where another host learns of them.
    let audit = archive(&host.vault("primary").await).audit().await.unwrap();
    assert_eq!(audit.flaws, []);
    assert_eq!(audit.entries.iter().filter(|entry| entry.record.work.kind() == "missed").count(), 1);
}

#[tokio::test]
async fn a_missed_weekly_run_is_served_by_the_catch_up() {
    let host = Host::at("2026-03-07T00:00:00Z", NIGHTLY).await;
    host.tick_at("2026-03-07T00:00:10Z").await;
    // Sunday the 8th passes; Tuesday's run serves its tier.
    let tick = host.tick_at("2026-03-10T08:00:00Z").await;
    assert_eq!(tick.missed.len(), 3);
    assert_eq!(host.tags("primary").await[0].1, ["plan=docs", "tier=daily", "tier=weekly", "mine"]);
}

/// What is promised is worked out here anew, from the calendar.
#[tokio::test]
async fn a_year_of_nights_leaves_exactly_what_was_promised() {
    let host = Host::at("2025-01-01T00:00:00Z", NIGHTLY).await;
    let start: Timestamp = "2025-01-01T00:00:10Z".parse().unwrap();
    host.tick_at(&start.to_string()).await;
    let mut made = Vec::new();
    for day in 0..400 {
        std::fs::write(host.path("source/file"), format!("day {day}")).unwrap();
        let due = start.checked_add(SignedDuration::from_hours(24 * day)).unwrap() + SignedDuration::from_mins(90);
        let tick = host.tick_at(&due.to_string()).await;
        assert_eq!((tick.runs.len(), tick.missed.len()), (1, 0), "day {day}");
        assert!(tick.steps.iter().all(|step| step.status == Some(Status::Ok)), "{:?}", tick.steps);
        made.push(due);
    }
    let now = host.service.env().clock.now().to_zoned(TimeZone::UTC);
    let day = |at: &Timestamp| at.to_zoned(TimeZone::UTC).date();
    let young = |at: &Timestamp, span| at.to_zoned(TimeZone::UTC) > now.checked_sub(span).unwrap();
    let promised: Vec<_> = made
        .iter()
        .filter(|at| {
            young(at, 30.days())
                || (day(at).weekday() == Weekday::Sunday && young(at, 12.weeks()))
                || (day(at).day() == 1 && young(at, 12.months()))
        })
        .map(day)
        .collect();
    let kept: Vec<_> = host.tags("primary").await.iter().map(|(time, _)| day(time)).collect();
    assert_eq!(kept, promised);
    assert!(promised.len() > 45 && promised.len() < 60, "{}", promised.len());

    // Prune really freed what was dropped, and what is left is whole.
    let vault = host.vault("primary").await;
    let options = drctl::check::Options { read_data: drctl::check::ReadData::All, lock: drctl::check::Lock::None };
    let report = drctl::check::run(&vault, options, std::sync::Arc::new(drctl::monitor::Silent), Default::default());
    let report = report.await.unwrap();
    assert_eq!(report.damage, []);
    assert_eq!(report.snapshots, promised.len() as u64);
    assert!(report.packs < 2 * 400 / 3, "{} packs", report.packs);

    // And the catalog is a cache.
    let before = host.service.catalog().dump().unwrap();
    let rebuilt = host.service.rebuild().await.unwrap();
    assert_eq!(rebuilt.unreachable, []);
    assert_eq!(host.service.catalog().dump().unwrap(), before);
}

#[tokio::test]
async fn the_catalog_is_deleted_and_rebuilt_equal() {
    let mut host = Host::at("2026-03-02T00:00:00Z", NIGHTLY).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    for day in 2..6 {
        host.tick_at(&format!("2026-03-{:02}T02:00:00Z", 2 * day)).await;
    }
    let before = host.service.catalog().dump().unwrap();
    assert!(before.lines().count() > 20, "{before}");
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(host.path(&format!("state/catalog.sqlite{suffix}")));
    }
    host.restart();
    assert_ne!(host.service.catalog().dump().unwrap(), before);
    let rebuilt = host.service.rebuild().await.unwrap();
    assert_eq!(rebuilt.vaults[0].flaws, Vec::<String>::new());
    assert_eq!(host.service.catalog().dump().unwrap(), before);
    // The schedule goes on where it was: nothing is run twice.
    assert!(host.tick_at("2026-03-10T02:10:00Z").await.runs.is_empty());
}

#[tokio::test]
async fn two_plans_share_a_vault_and_keep_their_own() {
    let config = NIGHTLY.to_owned()
        + r#"
        [plan.hourly]
        source = { kind = "command", command = ["printf", "dump"], name = "dump.sql" }
        schedule = { every = "6h", zone = "UTC" }
        vault = "primary"
        retention = "short"
        [retention.short]
        daily = { keep = "1d", min = 2 }
    "#;
    let host = Host::at("2026-03-02T00:00:00Z", &config).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    for hour in 1..24 * 4 {
        let at = "2026-03-02T00:00:10Z".parse::<Timestamp>().unwrap() + SignedDuration::from_hours(hour);
        let tick = host.tick_at(&at.to_string()).await;
        assert!(tick.runs.iter().all(|run| run.status == Status::Ok), "{:?}", tick.runs);
    }
    let tags = host.tags("primary").await;
    let of = |plan: &str| tags.iter().filter(|(_, tags)| tags.contains(&format!("plan={plan}"))).count();
    assert_eq!((of("docs"), of("hourly")), (4, 4));
}

#[tokio::test]
async fn what_cannot_be_delivered_waits_and_arrives_later() {
    let config = NIGHTLY.replace("memory://primary", "ROOT/vault");
    let host = Host::at("2026-03-02T00:00:00Z", &config).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    assert_eq!(host.tick_at("2026-03-02T01:30:00Z").await.runs[0].status, Status::Ok);

    std::fs::rename(host.path("vault"), host.path("unplugged")).unwrap();
    let failed = host.tick_at("2026-03-03T01:30:00Z").await;
    assert_eq!(failed.runs[0].status, Status::Failed);
    assert!(!failed.runs[0].problems.is_empty());
    assert_eq!(host.service.recorder().waiting().unwrap(), [("primary".to_owned(), 1)]);

    std::fs::remove_dir_all(host.path("vault")).ok();
    std::fs::rename(host.path("unplugged"), host.path("vault")).unwrap();
    let back = host.tick_at("2026-03-04T01:30:00Z").await;
    assert_eq!(back.runs[0].status, Status::Ok);
    assert_eq!(host.service.recorder().waiting().unwrap(), []);
    let audit = archive(&host.vault("primary").await).audit().await.unwrap();
    assert_eq!(audit.flaws, []);
    let statuses: Vec<Status> = audit.entries.iter().map(|entry| entry.record.status).collect();
    assert_eq!(statuses, [Status::Ok, Status::Failed, Status::Ok]);
}

#[tokio::test]
async fn a_failure_is_tried_again_and_then_told() {
    let config = NIGHTLY.replace("retries = 0", "retries = 2").replace("ROOT/source", "ROOT/missing")
        + r#"
        [hooks]
        on_failure = ["sh", "-c", "echo $DRCTL_PLAN $DRCTL_STATUS $DRCTL_KIND $DRCTL_VAULT >> ROOT/told"]
    "#;
    let host = Host::at("2026-03-02T00:00:00Z", &config).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    let tick = host.tick_at("2026-03-02T01:30:00Z").await;
    assert_eq!((tick.runs[0].status, tick.runs[0].tries), (Status::Failed, 3));
    assert!(tick.runs[0].problems[0].why.contains("missing"), "{:?}", tick.runs[0].problems);
    assert_eq!(std::fs::read_to_string(host.path("told")).unwrap(), "docs failed backup primary\n");

    // A run that succeeds tells nobody.
    std::fs::create_dir(host.path("missing")).unwrap();
    std::fs::write(host.path("missing/now"), "there").unwrap();
    assert_eq!(host.tick_at("2026-03-03T01:30:00Z").await.runs[0].status, Status::Ok);
    assert_eq!(std::fs::read_to_string(host.path("told")).unwrap().lines().count(), 1);
}

#[tokio::test]
async fn partial_snapshots_never_push_out_complete_ones() {
    let config = NIGHTLY.replace(", weekly = \"sun\", monthly = 1", "")
        + r#"
        retention = "one"
        [retention.one]
        daily = { keep = "1d", min = 1 }
    "#;
    let mut host = Host::at("2026-03-02T00:00:00Z", &config).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    assert_eq!(host.tick_at("2026-03-02T01:30:00Z").await.runs[0].status, Status::Ok);
    // One's own memory cannot be read from its start, by root neither.
    host.reconfigure("paths = [", "paths = [\"/proc/self/mem\", ");
    for day in 3..6 {
        let tick = host.tick_at(&format!("2026-03-{day:02}T01:30:00Z")).await;
        assert_eq!(tick.runs[0].status, Status::Partial, "{:?}", tick.runs);
    }
    let rows = host.service.catalog().snapshots("primary", "host-a", "docs").unwrap();
    let rows: Vec<_> = rows.iter().map(|row| (row.listed.time.to_string(), row.completeness)).collect();
    assert!(rows[0].0.starts_with("2026-03-02"), "{rows:?}");
    assert_eq!(rows.iter().map(|row| row.1).collect::<Vec<_>>(), [Completeness::Complete, Completeness::Partial]);
}

#[tokio::test]
async fn a_run_that_was_cut_off_is_recorded_and_made_up_for() {
    let mut host = Host::at("2026-03-02T00:00:00Z", NIGHTLY).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    host.turn_to("2026-03-02T01:30:00Z");
    let mut dispatched = host.service.dispatch().unwrap();
    assert_eq!(dispatched.claimed.len(), 1);
    // While its mark is held it goes on, and the instant is not claimed again.
    assert!(host.service.recover().unwrap().is_empty());
    assert!(host.service.dispatch().unwrap().claimed.is_empty());
    // The process dies.
    let lost = dispatched.claimed.pop().unwrap().id();
    host.restart();
    let tick = host.tick_at("2026-03-02T01:40:00Z").await;
    let runs = host.service.catalog().recent_runs(Some("docs"), 10).unwrap();
    let cut_off = runs.iter().find(|run| run.id == lost).unwrap();
    assert!(matches!(cut_off.state, RunState::Ended { status: Status::Failed, .. }));
    assert_eq!(tick.runs.len(), 1);
    assert_eq!((tick.runs[0].status, tick.runs[0].due), (Status::Ok, None));
    assert!(host.tick_at("2026-03-02T01:50:00Z").await.runs.is_empty());
}

#[tokio::test]
async fn an_instant_during_a_long_run_is_an_overlap() {
    let config =
        NIGHTLY.replace(r#"at = "01:30", zone = "UTC", weekly = "sun", monthly = 1"#, r#"every = "1h", zone = "UTC""#);
    let host = Host::at("2026-03-02T00:10:00Z", &config).await;
    host.tick_at("2026-03-02T00:10:10Z").await;
    host.turn_to("2026-03-02T01:00:00Z");
    let mut first = host.service.dispatch().unwrap();
    let running = first.claimed.pop().unwrap();
    host.turn_to("2026-03-02T02:00:01Z");
    let second = host.service.dispatch().unwrap();
    assert!(second.claimed.is_empty());
    assert_eq!(second.missed.len(), 1);
    assert_eq!(second.missed[0].reason, drctl::record::MissReason::Overlap);
    assert_eq!(host.service.execute(running).await.unwrap().status, Status::Ok);
}

#[tokio::test]
async fn verification_is_due_before_a_proof_is_too_old_and_keeps_the_last_verified() {
    let config = NIGHTLY.to_owned() + "verify = { read = \"8d\" }\n";
    let host = Host::at("2026-03-02T00:00:00Z", &config).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    let verified = |tick: &drctl::service::Tick| tick.steps.iter().filter(|step| step.kind == "verify").count();
    assert_eq!(verified(&host.tick_at("2026-03-02T01:30:00Z").await), 1);
    assert_eq!(verified(&host.tick_at("2026-03-03T01:30:00Z").await), 0);
    assert_eq!(verified(&host.tick_at("2026-03-08T02:30:00Z").await), 1);
    let rows = host.service.catalog().snapshots("primary", "host-a", "docs").unwrap();
    assert!(rows.iter().all(|row| row.read.is_some()), "{rows:?}");
    let status = host.service.status().unwrap();
    assert!(!status.plans[0].read.overdue);
    host.turn_to("2026-03-20T00:00:00Z");
    assert!(host.service.status().unwrap().plans[0].read.overdue);
    assert!(!host.service.status().unwrap().holds());
}

#[tokio::test]
async fn a_verification_finds_a_record_that_was_changed_and_still_proves_the_snapshots() {
    let config = NIGHTLY.replace("memory://", "ROOT/") + "verify = { read = \"8d\" }\n";
    let host = Host::at("2026-03-02T00:00:00Z", &config).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    host.tick_at("2026-03-02T01:30:00Z").await;
    let record = std::fs::read_dir(host.path("primary/drctl/records/2026/03")).unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&record).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&record, bytes).unwrap();
    let tick = host.tick_at("2026-03-09T01:30:00Z").await;
    let verified = tick.steps.iter().find(|step| step.kind == "verify").expect("the proof is a week old");
    assert_eq!(verified.status, Some(Status::Partial), "{verified:?}");
    let runs = host.service.catalog().recent_runs(None, 50).unwrap();
    let told = runs.iter().find(|run| run.kind == "verify").unwrap();
    assert!(told.problems.iter().any(|problem| problem.what.contains("record")), "{told:?}");
    let rows = host.service.catalog().snapshots("primary", "host-a", "docs").unwrap();
    assert!(rows.iter().all(|row| row.read.is_some()), "{rows:?}");
}

#[tokio::test]
async fn what_a_copy_still_owes_stays() {
    let config = NIGHTLY.replace(", weekly = \"sun\", monthly = 1", "")
        + r#"
        retention = "one"
        copies = [{ vault = "dr", max_lag = "1d", retention = "gfs" }]
        [retention.one]
        daily = { keep = "1d", min = 1 }
        [vault.dr]
        url = "ROOT/dr"
        key = KEY
    "#;
    let host = Host::at("2026-03-02T00:00:00Z", &config).await;
    host.tick_at("2026-03-02T00:00:10Z").await;
    // The other site is dark all week.
    std::fs::rename(host.path("dr"), host.path("dark")).unwrap();
    for day in 2..8 {
        let tick = host.tick_at(&format!("2026-03-{day:02}T01:30:00Z")).await;
        assert!(tick.steps.iter().any(|step| step.kind == "replicate" && step.status != Some(Status::Ok)));
    }
    assert_eq!(host.tags("primary").await.len(), 6);
    std::fs::rename(host.path("dark"), host.path("dr")).unwrap();
    let explained = host.service.explain(&[]).await.unwrap();
    let own = explained.iter().find(|scope| scope.vault.as_str() == "primary").unwrap();
    assert!(own.decided.outcome.drop.is_empty());
    assert!(own.decided.outcome.keep[0].reasons.iter().any(|reason| reason.to_string() == "not yet copied to dr"));
}
