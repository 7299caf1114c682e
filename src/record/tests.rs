//! Records from draft to audit, over an in-memory store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use ulid::Ulid;

use super::entry::{Link, MAX_PROBLEMS};
use super::verify::Flaw;
use super::*;
use crate::clock::{Env, Seeded, SetClock};
use crate::monitor::Problem;
use crate::vault::Id;

pub(crate) fn draft(n: u64) -> Draft {
    let started = Timestamp::from_second(1_780_000_000 + i64::try_from(n).expect("small")).expect("in range");
    Draft {
        id: RunId(Ulid::from_parts(started.as_millisecond().unsigned_abs(), u128::from(n))),
        plan: Some("orders".to_owned()),
        due: Some(started),
        tiers: vec![crate::config::Tier::Daily],
        started,
        finished: started,
        status: Status::Ok,
        work: Work::Backup { snapshot: Some(Id([1; 32])) },
        figures: BTreeMap::from([("files".to_owned(), 3)]),
        problems: Vec::new(),
    }
}

pub(crate) fn record(n: u64) -> Record {
    let link = Link { chain: draft(0).id, seq: 0, prev: None };
    Record::new(draft(n), "host-a", link, TimeKind::Real)
}

pub(crate) fn env(seed: u64) -> Env {
    let clock = SetClock::at("2026-06-01T00:00:00Z".parse().expect("a timestamp"));
    clock.advance(Duration::from_secs(seed));
    Env { clock: Arc::new(clock), random: Arc::new(Seeded::new(seed)) }
}

/// What a drill showed whose evidence has this digest.
pub(super) fn drilled(evidence: Option<Id>) -> entry::DrillOutcome {
    entry::DrillOutcome {
        number: 1,
        runbook: "files".to_owned(),
        scenario: "region".to_owned(),
        snapshot: None,
        verdict: "fail".to_owned(),
        rta_exec_ms: None,
        rpa_ms: Some(5),
        exercised: 3,
        steps: 4,
        evidence,
    }
}

#[test]
fn a_record_reads_back_as_it_was_written() {
    let works = [
        Work::Backup { snapshot: None },
        Work::Restore { snapshot: Id([2; 32]) },
        Work::Retention { dropped: vec![Id([3; 32])] },
        Work::Prune,
        Work::Replicate {
            from: "primary".to_owned(),
            copied: vec![entry::CopiedSnapshot {
                origin: Id([1; 32]),
                copy: Id([2; 32]),
                completeness: Completeness::Partial,
            }],
        },
        Work::Verify { snapshots: vec![Id([4; 32])] },
        Work::Drill(drilled(None)),
        Work::Missed {
            dues: vec![entry::MissedDue { due: Timestamp::UNIX_EPOCH, tiers: vec![] }],
            reason: MissReason::Overlap,
        },
    ];
    for work in works {
        let written = Record { work, ..record(1) };
        let text = canonical::canonical(&written).expect("canonical");
        assert!(text.contains(&format!("\"kind\":\"{}\"", written.work.kind())), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("read back"), written);
    }
}

#[test]
fn a_record_is_bounded_and_says_how_much_it_left_out() {
    let long = Problem { what: "é".repeat(10_000), why: "denied".to_owned() };
    let many = Draft { problems: vec![long; MAX_PROBLEMS + 7], ..draft(1) };
    let record = Record::new(many, "host-a", record(1).link, TimeKind::Simulated);
    assert_eq!((record.problems.len(), record.problems_omitted), (MAX_PROBLEMS, 7));
    assert_eq!(record.problems[0].what.chars().count(), 500);
}

#[test]
fn a_run_id_has_one_spelling() {
    let id = draft(1).id;
    assert_eq!(id.to_string().parse(), Ok(id));
    for bad in [id.to_string().to_lowercase(), String::new(), "x".repeat(26)] {
        assert!(bad.parse::<RunId>().is_err(), "{bad}");
    }
}

fn signed_chain(count: u64) -> (Vec<sign::Signed>, verify::KnownKeys) {
    let state = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::open(state.path(), "host-a", TimeKind::Real, env(1)).expect("opened");
    for n in 0..count {
        recorder.write("primary", draft(n)).expect("written");
    }
    let waiting = spool::Spool::at(state.path()).waiting("primary").expect("listed");
    let mut known = verify::KnownKeys::default();
    known.add("host-a", recorder.public_key());
    (waiting.into_iter().map(|spooled| spooled.content.expect("whole")).collect(), known)
}

fn audit(signed: &[sign::Signed], known: &verify::KnownKeys) -> Audit {
    let found = signed.iter().map(|signed| {
        let record: Record = serde_json::from_str(&signed.record).expect("a record");
        verify::Found { key: archive::place(record.id), content: Ok(signed.clone()) }
    });
    verify::verify(found.collect(), known, archive::place)
}

#[test]
fn a_whole_chain_has_no_flaw() {
    let (signed, known) = signed_chain(4);
    let audit = audit(&signed, &known);
    assert_eq!(audit.flaws, []);
    assert_eq!(audit.entries.iter().map(|e| e.record.link.seq).collect::<Vec<_>>(), [0, 1, 2, 3]);
    assert_eq!(audit.entries[1].record.link.prev, Some(audit.entries[0].digest));
}

#[test]
fn only_where_a_record_could_vouch_for_a_snapshot_are_others_suspicious() {
    assert_eq!(Audit::default().vouched(), None);
    let (signed, known) = signed_chain(1);
    let backed_up = audit(&signed, &known);
    assert_eq!(backed_up.vouched(), Some([Id([1; 32])].into()));
    // read back by us, made by another tool
    let mut read_back = backed_up;
    read_back.entries[0].record.work = Work::Verify { snapshots: vec![Id([1; 32])] };
    assert_eq!(read_back.vouched(), None);
    // what a damaged record said is not known
    read_back.flaws.push(Flaw::Unreadable { key: "drctl/records/2026/05/x".to_owned(), why: "damaged".to_owned() });
    assert_eq!(read_back.vouched(), Some([].into()));
}

#[test]
fn a_missing_record_is_named_by_its_place() {
    let (mut signed, known) = signed_chain(5);
    signed.drain(1..3);
    let flaws = audit(&signed, &known).flaws;
    assert!(matches!(flaws.as_slice(), [Flaw::Missing { from: 1, to: 2, .. }]), "{flaws:?}");
    let (signed, known) = signed_chain(3);
    let flaws = audit(&signed[1..], &known).flaws;
    assert!(matches!(flaws.as_slice(), [Flaw::Missing { from: 0, to: 0, .. }]), "{flaws:?}");
}

#[test]
fn tampered_foreign_and_misplaced_records_are_named_and_do_not_count() {
    let (signed, known) = signed_chain(3);
    let mut tampered = signed.clone();
    tampered[2].record = tampered[2].record.replace("\"files\":3", "\"files\":4");
    let audited = audit(&tampered, &known);
    assert_eq!(audited.entries.len(), 2);
    assert!(matches!(audited.flaws.as_slice(), [Flaw::Forged { .. }]), "{:?}", audited.flaws);

    let unknown = audit(&signed, &verify::KnownKeys::default());
    assert!(unknown.entries.is_empty());
    assert!(unknown.flaws.iter().all(|flaw| matches!(flaw, Flaw::UnknownSigner { .. })));

    let moved = verify::Found { key: "drctl/records/2020/01/x".to_owned(), content: Ok(signed[0].clone()) };
    let flaws = verify::verify(vec![moved], &known, archive::place).flaws;
    assert!(matches!(flaws.as_slice(), [Flaw::Misplaced { .. }]), "{flaws:?}");
}

#[test]
fn a_forked_or_relinked_chain_is_named() {
    let state = tempfile::tempdir().expect("a folder");
    let key = sign::HostKey::load_or_create(state.path(), &Seeded::new(1)).expect("made");
    let mut known = verify::KnownKeys::default();
    known.add("host-a", key.public());
    let sign = |n: u64, link: Link| key.sign(&Record::new(draft(n), "host-a", link, TimeKind::Real)).expect("signed");
    let chain = draft(0).id;
    let first = sign(1, Link { chain, seq: 0, prev: None });
    let fork = sign(2, Link { chain, seq: 0, prev: None });
    let flaws = audit(&[first.clone(), fork], &known).flaws;
    assert!(matches!(flaws.as_slice(), [Flaw::Forked { .. }]), "{flaws:?}");
    let stray = sign(3, Link { chain, seq: 1, prev: Some(Id([9; 32])) });
    let flaws = audit(&[first, stray], &known).flaws;
    assert!(matches!(flaws.as_slice(), [Flaw::Unlinked { .. }]), "{flaws:?}");
}

#[test]
fn a_record_of_a_later_version_is_named_not_guessed_at() {
    let state = tempfile::tempdir().expect("a folder");
    let key = sign::HostKey::load_or_create(state.path(), &Seeded::new(1)).expect("made");
    let mut known = verify::KnownKeys::default();
    known.add("host-a", key.public());
    let signed = key.sign(&Record { version: 2, ..record(1) }).expect("signed");
    let flaws = audit(&[signed], &known).flaws;
    assert!(matches!(flaws.as_slice(), [Flaw::Newer { version: 2, .. }]), "{flaws:?}");
}

#[test]
fn two_vaults_have_chains_of_their_own_and_a_new_process_starts_one() {
    let state = tempfile::tempdir().expect("a folder");
    let open = |seed| Recorder::open(state.path(), "host-a", TimeKind::Real, env(seed)).expect("opened");
    let first = open(1);
    let a = first.write("primary", draft(1)).expect("written").record.link;
    let b = first.write("dr", draft(2)).expect("written").record.link;
    let c = first.write("primary", draft(3)).expect("written").record.link;
    let d = open(2).write("primary", draft(4)).expect("written").record.link;
    assert_eq!((a.seq, b.seq, c.seq, d.seq), (0, 0, 1, 0));
    assert!(a.chain == c.chain && a.chain != b.chain && a.chain != d.chain);
    assert_eq!(first.waiting().expect("counted"), [("dr".to_owned(), 1), ("primary".to_owned(), 3)]);
}

#[test]
fn a_record_that_could_not_be_kept_ends_the_chain() {
    let state = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::open(state.path(), "host-a", TimeKind::Real, env(1)).expect("opened");
    let first = recorder.write("primary", draft(1)).expect("written").record.link;
    let spool = state.path().join("spool");
    let aside = state.path().join("aside");
    std::fs::rename(&spool, &aside).expect("moved");
    std::fs::write(&spool, "in the way").expect("written");
    let error = recorder.write("primary", draft(2)).expect_err("nowhere to keep it");
    assert!(matches!(error, recorder::RecordError::Spool(_)), "{error}");
    std::fs::remove_file(&spool).expect("removed");
    std::fs::rename(&aside, &spool).expect("moved back");
    let next = recorder.write("primary", draft(3)).expect("written").record.link;
    assert_eq!((next.seq, next.prev), (0, None));
    assert_ne!(next.chain, first.chain);
}
