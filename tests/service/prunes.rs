//! When the service prunes, and what it heeds of the configuration while it does.

use std::collections::HashSet;

use drctl::record::Status;
use drctl::service::{Step, Tick};
use drctl::vault::lock::Lock;
use drctl::vault::{FileType, Id};

use super::host::Host;

/// One snapshot is kept, so that each night drops the one before.
const ONE_IS_KEPT: &str = r#"
    [vault.primary]
    url = "memory://primary"
    key = KEY
    prune = { PRUNE }
    [plan.docs]
    source = { kind = "files", paths = ["ROOT/source"] }
    schedule = { at = "01:30", zone = "UTC" }
    vault = "primary"
    retries = 0
    retention = "one"
    [retention.one]
    daily = { keep = "1d", min = 1 }
"#;

fn steps<'t>(tick: &'t Tick, kind: &str) -> Vec<&'t Step> {
    tick.steps.iter().filter(|step| step.kind == kind).collect()
}

/// A figure of the newest prune's record.
fn figure(host: &Host, name: &str) -> i64 {
    let runs = host.service.catalog().recent_runs(None, 50).unwrap();
    runs.iter().find(|run| run.kind == "prune").expect("it was pruned").figures[name]
}

async fn packs(host: &Host) -> HashSet<Id> {
    host.vault("primary").await.list(FileType::Pack).await.unwrap().into_iter().map(|(id, _)| id).collect()
}

#[tokio::test]
async fn the_service_comes_back_for_what_it_condemned_once_its_grace_is_over() {
    let config = ONE_IS_KEPT.replace("PRUNE", "grace = \"6h\"");
    // The clock goes on: what was dropped and what was pruned in one instant could not be told apart by their order.
    let host = Host::native("2126-03-02T00:00:00Z", &config).await;
    host.tick_at("2126-03-02T00:00:10Z").await;
    assert_eq!(host.tick_at("2126-03-02T01:30:00Z").await.runs.len(), 1);
    let first = packs(&host).await;
    std::fs::write(host.path("source/file"), "second").unwrap();
    // Some minutes late: the first snapshot was made a moment after 01:30, and has to be a day old.
    let night = host.tick_at("2126-03-03T01:40:00Z").await;
    assert_eq!((steps(&night, "retention").len(), steps(&night, "prune").len()), (1, 1), "{:?}", night.steps);
    assert!(figure(&host, "condemned_bytes") > 0);
    let both = packs(&host).await;
    assert!(first.is_subset(&both), "condemned packs are still there");

    for early in ["2126-03-03T01:50:00Z", "2126-03-03T07:30:00Z"] {
        let tick = host.tick_at(early).await;
        assert_eq!((tick.runs.len(), tick.steps), (0, vec![]), "{early}");
        assert_eq!(packs(&host).await, both, "{early}");
    }

    // Nothing was dropped since.
    let later = host.tick_at("2126-03-03T08:00:00Z").await;
    assert_eq!((later.runs.len(), steps(&later, "retention").len()), (0, 0), "{:?}", later.steps);
    let swept = steps(&later, "prune");
    assert_eq!(swept.iter().map(|step| step.status).collect::<Vec<_>>(), [Some(Status::Ok)], "{:?}", later.steps);
    assert_eq!(figure(&host, "deleted_packs_count"), first.len() as i64);
    assert_eq!(figure(&host, "condemned_bytes"), 0);
    assert_eq!(packs(&host).await, both.difference(&first).copied().collect());
    // And then there is nothing to come back for.
    assert_eq!(host.tick_at("2126-03-03T20:00:00Z").await.steps, []);
}

#[tokio::test]
async fn the_service_leaves_a_vault_alone_while_somebody_may_be_making_it_whole() {
    let config = ONE_IS_KEPT.replace("PRUNE", "grace = \"6h\"");
    let host = Host::native("2126-03-02T00:00:00Z", &config).await;
    host.tick_at("2126-03-02T00:00:10Z").await;
    host.tick_at("2126-03-02T01:30:00Z").await;
    std::fs::write(host.path("source/file"), "second").unwrap();
    host.tick_at("2126-03-03T01:40:00Z").await;
    // Another host's backup: its snapshot is there, and what it lacks is on its way.
    let vault = host.vault("primary").await;
    let newest = vault.snapshots().await.unwrap().whole.pop().unwrap();
    let lacking = drctl::vault::snapshot::Snapshot { tree: Id([7; 32]), ..newest.snapshot };
    let lacking = vault.save_snapshot(&lacking).await.unwrap();
    let lock = |time: &str| serde_json::json!({"time": time, "exclusive": false, "hostname": "elsewhere", "pid": 1});
    let saved = lock("2126-03-03T08:00:00Z").to_string();
    assert!(serde_json::from_str::<Lock>(&saved).is_ok());
    let lock = vault.save(FileType::Lock, saved.as_bytes()).await.unwrap();

    let runs = || host.service.catalog().recent_runs(None, 50).unwrap().len();
    let before = runs();
    let busy = host.tick_at("2126-03-03T08:00:00Z").await;
    assert_eq!((steps(&busy, "prune").len(), runs()), (0, before), "{:?}", busy.steps);
    // It took its snapshot back and is gone: the next round prunes.
    vault.remove(FileType::Snapshot, &lacking).await.unwrap();
    vault.remove(FileType::Lock, &lock).await.unwrap();
    let later = host.tick_at("2126-03-03T08:10:00Z").await;
    let taken = steps(&later, "prune");
    assert_eq!(taken.iter().map(|step| step.status).collect::<Vec<_>>(), [Some(Status::Ok)], "{:?}", later.steps);
}

#[tokio::test]
async fn the_service_rewrites_no_more_than_the_configuration_allows() {
    let config = ONE_IS_KEPT.replace("PRUNE", "max_unused = \"0%\", max_repack = \"1B\"");
    let mut host = Host::at("2026-03-02T00:00:00Z", &config).await;
    for name in ["stays", "goes", "goes too"] {
        std::fs::write(host.path("source").join(name), name).unwrap();
    }
    host.tick_at("2026-03-02T00:00:10Z").await;
    host.tick_at("2026-03-02T01:30:00Z").await;
    // What is left of the first night's data lies beside what is not needed any more.
    std::fs::remove_file(host.path("source/goes")).unwrap();
    let night = host.tick_at("2026-03-03T01:30:00Z").await;
    assert_eq!(steps(&night, "prune").len(), 1, "{:?}", night.steps);
    assert_eq!(figure(&host, "rewritten_packs_count"), 0);
    assert!(figure(&host, "deleted_packs_count") > 0, "what nobody needs goes all the same");

    host.reconfigure(", max_repack = \"1B\"", "");
    std::fs::remove_file(host.path("source/goes too")).unwrap();
    let night = host.tick_at("2026-03-04T01:30:00Z").await;
    assert_eq!(steps(&night, "prune").len(), 1, "{:?}", night.steps);
    assert_eq!(figure(&host, "rewritten_packs_count"), 1);
}
