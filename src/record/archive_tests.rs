use object_store::memory::InMemory;

use super::*;
use crate::record::tests::{draft, drilled, env};
use crate::record::verify::Flaw;
use crate::record::{Draft, Recorder, TimeKind, spool::Spool};

struct Rig {
    state: tempfile::TempDir,
    store: Store,
    key: Arc<MasterKey>,
    recorder: Recorder,
    archive: Archive,
}

fn rig() -> Rig {
    under_key(5)
}

/// One whose master key is drawn from this seed.
fn under_key(seed: u64) -> Rig {
    let state = tempfile::tempdir().expect("a folder");
    let store = Store::from_object_store(Arc::new(InMemory::new()), "", "memory://records");
    let key = Arc::new(MasterKey::generate(env(seed).random.as_ref()).expect("a key"));
    let recorder = Recorder::open(state.path(), "host-a", TimeKind::Real, env(1)).expect("opened");
    let archive = Archive::new(store.clone(), key.clone(), env(2));
    Rig { state, store, key, recorder, archive }
}

impl Rig {
    async fn with_records(count: u64) -> Self {
        let rig = rig();
        for n in 0..count {
            rig.recorder.write("primary", draft(n)).expect("written");
        }
        let delivery = rig.recorder.deliver("primary", &rig.archive).await.expect("delivered");
        assert_eq!((delivery.delivered as u64, delivery.stuck.len()), (count, 0));
        rig
    }
}

#[tokio::test]
async fn delivered_records_lie_by_month_are_sealed_and_leave_the_spool() {
    let rig = Rig::with_records(3).await;
    let listed = rig.store.list(layout::RECORDS).await.expect("listed");
    assert_eq!(listed[0].key, format!("drctl/records/2026/05/{}", draft(0).id));
    let stored = rig.store.get(&listed[0].key).await.expect("there");
    assert!(!stored.windows(6).any(|window| window == b"orders"));
    assert_eq!(rig.recorder.waiting().expect("counted"), []);
    let audit = rig.archive.audit().await.expect("audited");
    assert_eq!((audit.entries.len(), audit.flaws.len()), (3, 0));
}

#[tokio::test]
async fn delivering_again_after_a_crash_before_the_removal_is_harmless() {
    let rig = rig();
    rig.recorder.write("primary", draft(0)).expect("written");
    let spool = Spool::at(rig.state.path());
    let kept = spool.waiting("primary").expect("listed").remove(0);
    let signed = kept.content.expect("whole");
    rig.recorder.deliver("primary", &rig.archive).await.expect("delivered");
    spool.keep("primary", kept.id, &signed).expect("as if never removed");
    let again = rig.recorder.deliver("primary", &rig.archive).await.expect("delivered");
    assert_eq!((again.delivered, again.stuck.len()), (1, 0));
    assert_eq!(rig.archive.audit().await.expect("audited").entries.len(), 1);
}

#[tokio::test]
async fn records_wait_while_the_vault_cannot_be_reached_and_arrive_in_order() {
    let rig = rig();
    for n in 0..3 {
        rig.recorder.write("primary", draft(n)).expect("written");
    }
    let blocked = rig.state.path().join("a file, no folder");
    let url = blocked.join("vault").to_string_lossy().into_owned();
    let store = Store::open(&url, &crate::store::OpenOptions::default()).await.expect("opened");
    std::fs::write(&blocked, "").expect("written");
    let unreachable = Archive::new(store, rig.key.clone(), env(3));
    let error = rig.recorder.deliver("primary", &unreachable).await.expect_err("unreachable");
    assert!(matches!(error, crate::record::recorder::RecordError::Archive(ArchiveError::Store(_))), "{error}");
    assert_eq!(rig.recorder.waiting().expect("counted"), [("primary".to_owned(), 3)]);

    let later = Recorder::open(rig.state.path(), "host-a", TimeKind::Real, env(9)).expect("another process");
    assert_eq!(later.deliver("primary", &rig.archive).await.expect("delivered").delivered, 3);
    let audit = rig.archive.audit().await.expect("audited");
    assert_eq!((audit.entries.len(), audit.flaws.len()), (3, 0));
}

#[tokio::test]
async fn another_record_under_the_same_name_is_a_conflict_and_blocks_no_other() {
    let rig = rig();
    let key = place(draft(0).id);
    rig.store.put(&key, Bytes::from_static(b"something else")).await.expect("planted");
    rig.recorder.write("primary", draft(0)).expect("written");
    rig.recorder.write("primary", draft(1)).expect("written");
    let delivery = rig.recorder.deliver("primary", &rig.archive).await.expect("delivered");
    assert_eq!(delivery.delivered, 1);
    assert_eq!(delivery.stuck[0].0, draft(0).id);
    assert_eq!(rig.recorder.waiting().expect("counted"), [("primary".to_owned(), 1)]);
}

#[tokio::test]
async fn each_flipped_byte_cut_and_swap_is_found_and_named() {
    let rig = Rig::with_records(3).await;
    let keys: Vec<String> = rig.store.list(layout::RECORDS).await.expect("listed").into_iter().map(|o| o.key).collect();
    let whole = rig.store.get(&keys[1]).await.expect("there");
    let flip = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        bytes
    };
    let other = rig.store.get(&keys[0]).await.expect("there").to_vec();
    let damaged =
        [flip(0), flip(whole.len() / 2), flip(whole.len() - 1), whole[..whole.len() / 2].to_vec(), Vec::new(), other];
    for bytes in damaged {
        rig.store.put(&keys[1], bytes.into()).await.expect("damaged");
        let audit = rig.archive.audit().await.expect("audited");
        assert_eq!(audit.entries.len(), 2);
        let named = |flaw: &Flaw| match flaw {
            Flaw::Unreadable { key, .. } | Flaw::Misplaced { key, .. } => *key == keys[1],
            _ => false,
        };
        assert!(audit.flaws.iter().any(named), "{:?}", audit.flaws);
        let gap = |flaw: &Flaw| matches!(flaw, Flaw::Missing { from: 1, to: 1, .. });
        assert!(audit.flaws.iter().any(gap), "{:?}", audit.flaws);
    }
}

#[tokio::test]
async fn a_removed_host_key_makes_its_records_unknown() {
    let rig = Rig::with_records(1).await;
    for object in rig.store.list(layout::HOSTS).await.expect("listed") {
        rig.store.delete(&object.key).await.expect("deleted");
    }
    let audit = rig.archive.audit().await.expect("audited");
    assert!(matches!(audit.flaws.as_slice(), [Flaw::UnknownSigner { .. }]), "{:?}", audit.flaws);
}

#[tokio::test]
async fn a_damaged_host_key_is_named_and_mended_by_its_host() {
    let rig = Rig::with_records(1).await;
    let key = rig.store.list(layout::HOSTS).await.expect("listed").remove(0).key;
    rig.store.put(&key, Bytes::from_static(b"something else")).await.expect("damaged");
    let audit = rig.archive.audit().await.expect("audited");
    assert_eq!(audit.entries.len(), 0);
    let named = |flaw: &Flaw| matches!(flaw, Flaw::Unreadable { key: at, .. } if *at == key);
    assert!(audit.flaws.iter().any(named), "{:?}", audit.flaws);
    rig.recorder.write("primary", draft(1)).expect("written");
    rig.recorder.deliver("primary", &rig.archive).await.expect("delivered");
    let audit = rig.archive.audit().await.expect("audited");
    assert_eq!((audit.entries.len(), audit.flaws), (2, Vec::new()));
}

#[tokio::test]
async fn a_forger_with_another_vaults_key_writes_nothing_that_counts() {
    let rig = Rig::with_records(1).await;
    let foreign = Arc::new(MasterKey::generate(env(77).random.as_ref()).expect("a key"));
    let forger = Archive::new(rig.store.clone(), foreign, env(3));
    rig.recorder.write("primary", draft(9)).expect("written");
    let signed = Spool::at(rig.state.path()).waiting("primary").expect("listed").remove(0).content.expect("whole");
    forger.file(&signed).await.expect("filed");
    let audit = Archive::new(rig.store, rig.key, env(4)).audit().await.expect("audited");
    assert_eq!(audit.entries.len(), 1);
    assert!(matches!(audit.flaws.as_slice(), [Flaw::Unreadable { .. }]), "{:?}", audit.flaws);
}

#[tokio::test]
async fn damaged_or_swapped_evidence_of_a_drill_is_named() {
    let rig = rig();
    for (n, text) in [(0, "one"), (1, "other")] {
        let outcome = drilled(Some(Id::of(text.as_bytes())));
        let drill = Draft { work: Work::Drill(outcome), ..draft(n) };
        rig.archive.file_evidence(drill.id, text).await.expect("filed");
        rig.recorder.write("primary", drill).expect("written");
    }
    rig.recorder.deliver("primary", &rig.archive).await.expect("delivered");
    let audit = rig.archive.audit().await.expect("audited");
    assert_eq!(rig.archive.audit_evidence(&audit).await.expect("audited"), []);

    let [key, other] = [0, 1].map(|n| layout::evidence(&draft(n).id.0));
    let whole = rig.store.get(&key).await.expect("there");
    let flipped = |at: usize| {
        let mut bytes = whole.to_vec();
        bytes[at] ^= 1;
        Bytes::from(bytes)
    };
    let swapped = rig.store.get(&other).await.expect("there");
    let record = rig.store.get(&layout::record(&draft(0).id.0)).await.expect("there");
    let (last, cut) = (whole.len() - 1, whole.slice(..whole.len() - 1));
    for bytes in [flipped(0), flipped(last / 2), flipped(last), cut, Bytes::new(), swapped, record] {
        rig.store.put(&key, bytes).await.expect("damaged");
        let flaws = rig.archive.audit_evidence(&audit).await.expect("audited");
        assert!(matches!(flaws.as_slice(), [Flaw::Unreadable { key: named, .. }] if *named == key), "{flaws:?}");
    }
    rig.store.delete(&key).await.expect("deleted");
    assert_eq!(rig.archive.audit_evidence(&audit).await.expect("audited"), []);
}

#[tokio::test]
async fn records_are_carried_into_another_vault_and_count_there() {
    let rig = Rig::with_records(3).await;
    rig.archive.file_evidence(draft(0).id, "what was seen").await.expect("filed");
    let other = under_key(6);
    let done = rig.archive.carry_over(&other.archive).await.expect("carried");
    assert_eq!((done.carried, done.present, done.left.len()), (5, 0, 0), "three records, the host's key, evidence");
    let audits = futures::join!(rig.archive.audit(), other.archive.audit());
    let (here, there) = (audits.0.expect("audited"), audits.1.expect("audited"));
    assert_eq!((there.entries, there.flaws), (here.entries, vec![]));
    assert_eq!(other.archive.evidence(draft(0).id).await.expect("read").as_deref(), Some("what was seen"));
    for object in other.store.list("").await.expect("listed") {
        let sealed = other.store.get(&object.key).await.expect("there");
        assert!(rig.key.open(&sealed).is_err() && other.key.open(&sealed).is_ok(), "{}", object.key);
    }
    let again = rig.archive.carry_over(&other.archive).await.expect("carried");
    assert_eq!((again.carried, again.present, again.left.len()), (0, 5, 0));
}

#[tokio::test]
async fn what_is_damaged_is_left_behind_and_mended_where_it_can_be() {
    let (rig, other) = (Rig::with_records(2).await, under_key(6));
    let records = rig.store.list(layout::RECORDS).await.expect("listed");
    rig.store.put(&records[0].key, vec![1; 90].into()).await.expect("put");
    other.store.put(&records[1].key, vec![2; 90].into()).await.expect("put");
    let done = rig.archive.carry_over(&other.archive).await.expect("carried");
    assert_eq!((done.carried, done.present), (2, 0), "the host's key, and the record that is whole");
    assert!(matches!(&done.left[..], [(key, _)] if *key == records[0].key), "{:?}", done.left);
    assert_eq!(other.archive.audit().await.expect("audited").entries.len(), 1);
}
