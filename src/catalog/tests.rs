//! The catalog in daily work, and rebuilt from the vaults.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use object_store::memory::InMemory;
use proptest::prelude::*;
use ulid::Ulid;

use super::*;
use crate::config::Tier;
use crate::monitor::Problem;
use crate::record::entry::{CopiedSnapshot, DrillOutcome, Link, MissedDue};
use crate::record::{
    Archive, Completeness, Draft, Entry, MissReason, Record, Recorder, RunId, Status, TimeKind, Work, tests as records,
};
use crate::store::Store;
use crate::vault::Id;
use crate::vault::crypto::MasterKey;

const HOST: &str = "host-a";

/// `n` hours into the time of these tests.
fn at(n: i64) -> Timestamp {
    Timestamp::from_second(1_780_000_000).expect("in range") + SignedDuration::from_hours(n)
}

fn run_id(n: i64) -> RunId {
    RunId(Ulid::from_parts(at(n).as_millisecond().unsigned_abs(), n.unsigned_abs().into()))
}

fn id(n: u8) -> Id {
    Id([n; 32])
}

fn draft(n: i64, work: Work) -> Draft {
    Draft {
        id: run_id(n),
        plan: Some("orders".to_owned()),
        due: None,
        tiers: Vec::new(),
        started: at(n),
        finished: at(n) + SignedDuration::from_mins(5),
        status: Status::Ok,
        work,
        figures: BTreeMap::from([("bytes".to_owned(), 1000 + n)]),
        problems: Vec::new(),
    }
}

fn backup(n: i64, status: Status, tiers: &[Tier]) -> Draft {
    let snapshot = (status != Status::Failed).then(|| id(u8::try_from(n).expect("small")));
    Draft { due: Some(at(n)), tiers: tiers.to_vec(), status, ..draft(n, Work::Backup { snapshot }) }
}

fn missed(n: i64, dues: &[(i64, &[Tier])], reason: MissReason) -> Draft {
    let dues = dues.iter().map(|(n, tiers)| MissedDue { due: at(*n), tiers: tiers.to_vec() }).collect();
    draft(n, Work::Missed { dues, reason })
}

fn entry(draft: Draft) -> Entry {
    let link = Link { chain: run_id(0), seq: 0, prev: None };
    let record = Record::new(draft, HOST, link, TimeKind::Real);
    Entry { digest: Id::of(record.id.to_string().as_bytes()), record }
}

fn listed(n: u8) -> Listed {
    Listed {
        id: id(n),
        time: at(i64::from(n)),
        tree: id(100 + n),
        host: HOST.to_owned(),
        plan: Some("orders".to_owned()),
        tiers: vec![Tier::Daily],
        original: None,
    }
}

fn new_run(n: i64) -> NewRun {
    NewRun {
        id: run_id(n),
        kind: "backup",
        host: HOST.to_owned(),
        vault: "primary".to_owned(),
        plan: Some("orders".to_owned()),
        due: Some(at(n)),
        tiers: vec![Tier::Daily],
        started: at(n),
    }
}

#[test]
fn a_due_instant_is_claimed_once_and_the_run_ends_with_its_record() {
    let catalog = Catalog::in_memory().expect("made");
    assert_eq!(catalog.begin(&new_run(1)).expect("asked"), Claim::Started);
    let rival = NewRun { id: run_id(2), ..new_run(1) };
    assert_eq!(catalog.begin(&rival).expect("asked"), Claim::Taken);
    let going = catalog.unfinished_runs(HOST).expect("asked");
    assert_eq!(going.iter().map(|run| (run.id, run.state)).collect::<Vec<_>>(), [(run_id(1), RunState::Running)]);
    assert_eq!(catalog.history(HOST, "orders").expect("asked").running_since, Some(at(1)));
    assert_eq!(catalog.dump().expect("read"), "");

    catalog.apply("primary", &entry(backup(1, Status::Ok, &[Tier::Daily]))).expect("taken in");
    assert!(catalog.unfinished_runs(HOST).expect("asked").is_empty());
    let history = catalog.history(HOST, "orders").expect("asked");
    assert_eq!((history.last_due, history.running_since), (Some(at(1)), None));
    assert_eq!(history.first_seen, Some(at(1)));
    let last = catalog.last_run("orders", "backup", &[Status::Ok]).expect("asked").expect("one");
    assert_eq!((last.id, last.snapshot, last.figures["bytes"]), (run_id(1), Some(id(1)), 1001));
    assert_eq!(catalog.begin(&NewRun { id: run_id(3), ..new_run(1) }).expect("asked"), Claim::Taken);
}

#[test]
fn the_last_run_in_a_vault_is_found_however_much_came_after_it() {
    let catalog = Catalog::in_memory().expect("made");
    let apply = |vault: &str, draft| catalog.apply(vault, &entry(draft)).expect("taken in");
    let prune = |n, status| Draft { status, plan: None, work: Work::Prune, ..draft(n, Work::Prune) };
    apply("primary", prune(1, Status::Ok));
    apply("other", prune(2, Status::Ok));
    apply("primary", prune(3, Status::Failed));
    for n in 10..3000 {
        apply("primary", backup(n, Status::Failed, &[]));
    }
    let last = |vault, plan, kind, ended: &[Status]| {
        catalog.last_in_vault(vault, plan, kind, ended).expect("asked").map(|run| run.id)
    };
    assert_eq!(last("primary", None, "prune", &[Status::Ok, Status::Partial]), Some(run_id(1)));
    assert_eq!(last("primary", None, "prune", &[Status::Ok, Status::Failed]), Some(run_id(3)));
    assert_eq!(last("other", None, "prune", &[Status::Ok]), Some(run_id(2)));
    assert_eq!(last("primary", Some("orders"), "prune", &[Status::Ok]), None);
    assert_eq!(last("primary", Some("orders"), "backup", &[Status::Failed]), Some(run_id(2999)));
    assert_eq!(last("primary", None, "retention", &[Status::Ok]), None);
}

#[test]
fn tiers_of_missed_and_failed_instants_are_carried_until_a_run_serves_them() {
    let catalog = Catalog::in_memory().expect("made");
    let carried = |catalog: &Catalog| catalog.history(HOST, "orders").expect("asked").carried;
    let apply = |draft| catalog.apply("primary", &entry(draft)).expect("taken in");
    apply(backup(1, Status::Ok, &[Tier::Daily, Tier::Weekly]));
    assert_eq!(carried(&catalog), []);
    apply(missed(3, &[(2, &[Tier::Daily, Tier::Monthly])], MissReason::Overlap));
    assert_eq!(carried(&catalog), [Tier::Daily, Tier::Monthly]);
    apply(backup(4, Status::Failed, &[Tier::Daily, Tier::Weekly, Tier::Monthly]));
    assert_eq!(carried(&catalog), [Tier::Daily, Tier::Weekly, Tier::Monthly]);
    apply(backup(5, Status::Partial, &[Tier::Daily, Tier::Monthly]));
    assert_eq!(carried(&catalog), [Tier::Weekly]);
    assert_eq!(catalog.begin(&NewRun { tiers: vec![Tier::Weekly], ..new_run(6) }).expect("asked"), Claim::Started);
    assert_eq!(carried(&catalog), []);
    assert_eq!(catalog.missed_since(HOST, "orders", at(0)).expect("asked"), 1);
    assert_eq!(catalog.missed_since(HOST, "orders", at(3)).expect("asked"), 0);
    assert_eq!(catalog.history("host-b", "orders").expect("asked").last_due, None);
}

#[test]
fn snapshots_carry_what_the_records_say() {
    let catalog = Catalog::in_memory().expect("made");
    let list: Vec<Listed> = (1..=4).map(listed).collect();
    catalog.list_snapshots("primary", &list).expect("noted");
    catalog.list_snapshots("dr", &[Listed { original: Some(id(2)), ..listed(9) }]).expect("noted");
    let apply = |vault: &str, draft| catalog.apply(vault, &entry(draft)).expect("taken in");
    apply("primary", backup(1, Status::Ok, &[Tier::Daily]));
    apply("primary", backup(2, Status::Partial, &[Tier::Daily]));
    apply("primary", draft(20, Work::Verify { snapshots: vec![id(1), id(2)] }));
    apply("primary", draft(21, Work::Verify { snapshots: vec![id(1)] }));
    let copied = CopiedSnapshot { origin: id(2), copy: id(9), completeness: Completeness::Partial };
    apply("dr", draft(22, Work::Replicate { from: "primary".to_owned(), copied: vec![copied] }));

    let rows = catalog.snapshots("primary", HOST, "orders").expect("asked");
    let facts: Vec<_> = rows.iter().map(|row| (row.listed.id, row.completeness, row.verified())).collect();
    assert_eq!(
        facts,
        [
            (id(1), Completeness::Complete, Some(at(21))),
            (id(2), Completeness::Partial, Some(at(20))),
            (id(3), Completeness::Unknown, None),
            (id(4), Completeness::Unknown, None),
        ]
    );
    assert_eq!(rows[0].listed, list[0]);
    let copy = catalog.snapshots("dr", HOST, "orders").expect("asked").remove(0);
    assert_eq!((copy.completeness, copy.verified()), (Completeness::Partial, None));
    assert!(catalog.snapshots("primary", "host-b", "orders").expect("asked").is_empty());

    catalog.list_snapshots("primary", &list[2..]).expect("noted");
    assert_eq!(catalog.snapshots("primary", HOST, "orders").expect("asked").len(), 2);
}

#[test]
fn the_planners_ask_the_catalog() {
    use crate::replication::plan::{Arrived, Origin, replication};
    use crate::retention::{Held, plan::Reason, retention};

    let catalog = Catalog::in_memory().expect("made");
    catalog.list_snapshots("primary", &[listed(1), listed(2)]).expect("noted");
    catalog.list_snapshots("dr", &[Listed { id: id(9), original: Some(id(1)), ..listed(1) }]).expect("noted");
    catalog.apply("primary", &entry(backup(1, Status::Ok, &[Tier::Daily]))).expect("taken in");
    catalog.apply("primary", &entry(draft(3, Work::Verify { snapshots: vec![id(1)] }))).expect("taken in");
    let rows = |vault| catalog.snapshots(vault, HOST, "orders").expect("asked");
    let tiers = crate::config::Tiers::gfs();

    let origins: Vec<Origin> = rows("primary").iter().map(Origin::from).collect();
    let arrived: Vec<Arrived> = rows("dr").iter().map(Arrived::from).collect();
    let copying = replication(at(4), &origins, &arrived, tiers.as_slice());
    assert_eq!((copying.owed.as_slice(), copying.present.as_slice()), (&[id(2)][..], &[(id(1), id(9))][..]));

    let mut held: Vec<Held> = rows("primary").iter().map(Held::from).collect();
    held[1].owed_to.push("dr".to_owned());
    let keep = retention(at(4), &held, tiers.as_slice()).keep;
    assert!(keep[0].reasons.contains(&Reason::LastVerified) && keep[0].reasons.contains(&Reason::NewestComplete));
    assert!(keep[1].reasons.contains(&Reason::OwedTo("dr".to_owned())));
}

fn drill(n: i64, status: Status, verdict: &str) -> Draft {
    let outcome = DrillOutcome {
        number: 1,
        runbook: "files".to_owned(),
        scenario: "region".to_owned(),
        snapshot: Some(id(1)),
        verdict: verdict.to_owned(),
        rta_exec_ms: Some(1234),
        rpa_ms: None,
        exercised: 3,
        steps: 4,
        evidence: Some(id(77)),
    };
    Draft { status, ..draft(n, Work::Drill(outcome)) }
}

#[test]
fn a_drill_proves_its_snapshot_only_when_it_went_well() {
    let catalog = Catalog::in_memory().expect("made");
    catalog.list_snapshots("dr", &[listed(1)]).expect("noted");
    assert_eq!(catalog.next_drill_number("orders").expect("asked"), 1);
    let proof = |catalog: &Catalog| catalog.snapshots("dr", HOST, "orders").expect("asked")[0].drilled;
    catalog.apply("dr", &entry(drill(30, Status::Failed, "fail"))).expect("taken in");
    assert_eq!(proof(&catalog), None);
    catalog.apply("dr", &entry(drill(31, Status::Ok, "pass"))).expect("taken in");
    assert_eq!(proof(&catalog), Some(at(31)));
    let drills = catalog.drills(Some("orders"), 10).expect("asked");
    assert_eq!(drills.iter().map(|drill| drill.verdict.as_str()).collect::<Vec<_>>(), ["pass", "fail"]);
    assert_eq!((drills[0].rta_exec_ms, drills[0].rpa_ms), (Some(1234), None));
    assert_eq!(catalog.next_drill_number("orders").expect("asked"), 2);
    assert!(catalog.drills(Some("other"), 10).expect("asked").is_empty());
}

#[test]
fn a_later_catalog_is_refused_and_a_file_keeps_its_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let catalog = Catalog::open(&path).expect("made");
    catalog.apply("primary", &entry(backup(1, Status::Ok, &[Tier::Daily]))).expect("taken in");
    let dump = catalog.dump().expect("read");
    drop(catalog);
    assert_eq!(Catalog::open(&path).expect("opened").dump().expect("read"), dump);
    let connection = Connection::open(&path).expect("opened");
    let mode: String = connection.pragma_query_value(None, "journal_mode", |row| row.get(0)).expect("a mode");
    assert_eq!(mode, "wal");
    connection.pragma_update(None, "user_version", 99).expect("set");
    let error = Catalog::open(&path).expect_err("newer");
    assert!(matches!(error, CatalogError::Newer { .. }), "{error}");
    assert!(error.to_string().contains("catalog rebuild"), "{error}");
}

#[test]
fn a_file_that_is_no_catalog_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    std::fs::write(&path, "this is not a database, but it is long enough to be read as one".repeat(20))
        .expect("written");
    let before = std::fs::read(&path).expect("there");
    assert!(matches!(Catalog::open(&path), Err(CatalogError::Open { .. })));
    assert_eq!(std::fs::read(&path).expect("there"), before);
}

/// A month of work with everything in it.
fn month() -> Vec<(&'static str, Draft)> {
    let copied = |n| CopiedSnapshot { origin: id(n), copy: id(100 + n), completeness: Completeness::Complete };
    let problems = vec![Problem { what: "/etc/shadow".to_owned(), why: "permission denied".to_owned() }];
    vec![
        ("primary", backup(1, Status::Ok, &[Tier::Daily, Tier::Weekly])),
        ("primary", Draft { problems, ..backup(2, Status::Partial, &[Tier::Daily]) }),
        ("primary", missed(5, &[(3, &[Tier::Daily]), (4, &[Tier::Daily, Tier::Monthly])], MissReason::Downtime)),
        ("primary", Draft { tiers: vec![Tier::Daily, Tier::Monthly], ..backup(6, Status::Ok, &[]) }),
        ("primary", backup(7, Status::Failed, &[Tier::Daily])),
        ("dr", draft(8, Work::Replicate { from: "primary".to_owned(), copied: vec![copied(1), copied(2)] })),
        ("dr", draft(9, Work::Replicate { from: "primary".to_owned(), copied: vec![copied(6)] })),
        ("primary", draft(10, Work::Retention { dropped: vec![id(2)] })),
        ("primary", draft(11, Work::Prune)),
        ("primary", draft(12, Work::Verify { snapshots: vec![id(1), id(6)] })),
        ("dr", drill(13, Status::Ok, "pass")),
        ("dr", draft(14, Work::Restore { snapshot: id(101) })),
        // Recorded as missed by a scheduler that did not know of the run.
        ("primary", missed(15, &[(1, &[Tier::Daily])], MissReason::Overlap)),
    ]
}

#[tokio::test]
async fn a_catalog_rebuilt_from_the_vaults_equals_the_one_that_was_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("catalog.db");
    let recorder = Recorder::open(folder.path(), HOST, TimeKind::Real, records::env(1)).expect("opened");
    let archive = |n| {
        let store = Store::from_object_store(Arc::new(InMemory::new()), "", "memory://vault");
        let key = Arc::new(MasterKey::generate(records::env(n).random.as_ref()).expect("a key"));
        Archive::new(store, key, records::env(n))
    };
    let vaults = [("primary", archive(2)), ("dr", archive(3))];
    let snapshots = BTreeMap::from([("primary", vec![listed(1), listed(6)]), ("dr", vec![listed(101), listed(102)])]);

    let lost = Catalog::open(&path).expect("made");
    lost.see_plan("orders", at(-5)).expect("noted");
    lost.see_vault("primary", "abc", "memory://vault").expect("noted");
    for (n, (vault, draft)) in month().into_iter().enumerate() {
        if let (Work::Backup { .. }, Some(due)) = (&draft.work, draft.due) {
            let run = NewRun { id: draft.id, due: Some(due), tiers: draft.tiers.clone(), ..new_run(1) };
            assert_eq!(lost.begin(&run).expect("asked"), Claim::Started);
        }
        let entry = recorder.write(vault, draft).expect("written");
        lost.apply(vault, &entry).expect("taken in");
        if n % 3 == 0 {
            recorder.deliver(vaults[n % 2].0, &vaults[n % 2].1).await.expect("delivered");
        }
    }
    for (vault, list) in &snapshots {
        lost.list_snapshots(vault, list).expect("noted");
    }
    lost.begin(&new_run(40)).expect("a run goes on");
    let before = lost.dump().expect("read");
    assert!(before.lines().count() > 40, "{before}");
    drop(lost);
    std::fs::remove_file(&path).expect("lost");

    let mut contents = Vec::new();
    for (vault, archive) in &vaults {
        recorder.deliver(vault, archive).await.expect("delivered");
        let audit = archive.audit().await.expect("audited");
        assert_eq!(audit.flaws, []);
        let snapshots = snapshots[vault].clone();
        contents.push(VaultContents { vault: (*vault).to_owned(), entries: audit.entries, snapshots });
    }
    let rebuilt = Catalog::open(&path).expect("made");
    let done = rebuilt.rebuild(&contents).expect("rebuilt");
    assert_eq!(done, Rebuilt { records: month().len(), snapshots: 4 });
    assert_eq!(rebuilt.dump().expect("read"), before);
    rebuilt.rebuild(&contents).expect("again");
    assert_eq!(rebuilt.dump().expect("read"), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_order_and_repetition_of_records_do_not_matter(
        shuffled in Just(month()).prop_shuffle(),
        repeated in proptest::collection::vec(0usize..13, 0..5),
    ) {
        let take_in = |list: &[(&str, Draft)]| {
            let catalog = Catalog::in_memory().expect("made");
            for (vault, draft) in list {
                catalog.apply(vault, &entry(draft.clone())).expect("taken in");
            }
            catalog.dump().expect("read")
        };
        let mut list = shuffled.clone();
        list.extend(repeated.iter().map(|&n| shuffled[n].clone()));
        prop_assert_eq!(take_in(&list), take_in(&month()));
    }
}
