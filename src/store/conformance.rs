//! What every store promises, as one test that runs over each of them.

use std::collections::HashSet;

use bytes::Bytes;

use super::*;

/// Checks the promises of `store`, which is empty.
pub(super) async fn check(store: &Store) {
    objects_come_back(store).await;
    listings_are_complete_and_sorted(store).await;
    short_objects_are_errors(store).await;
    ranges_come_into_a_buffer(store).await;
    creates_have_one_winner(store).await;
    updates_have_one_winner(store).await;
    keys_that_no_store_can_hold_are_refused(store).await;
}

async fn objects_come_back(store: &Store) {
    let key = "data/ab/abcd";
    assert_eq!(store.size(key).await.unwrap(), None);
    assert_eq!(store.get(key).await.unwrap_err().kind, StoreErrorKind::NotFound);
    assert_eq!(store.get_range(key, 0..1).await.unwrap_err().kind, StoreErrorKind::NotFound);
    store.delete(key).await.unwrap();

    let body = Bytes::from((0..100_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>());
    store.put(key, body.clone()).await.unwrap();
    store.put(key, body.clone()).await.unwrap();
    assert_eq!(store.get(key).await.unwrap(), body);
    assert_eq!(store.get_range(key, 7..70_000).await.unwrap(), body.slice(7..70_000));
    assert_eq!(store.get_range(key, 9..9).await.unwrap(), Bytes::new());
    assert_eq!(store.size(key).await.unwrap(), Some(400_000));

    store.put(key, Bytes::new()).await.unwrap();
    assert_eq!(store.get(key).await.unwrap(), Bytes::new());
    store.delete(key).await.unwrap();
    assert_eq!(store.size(key).await.unwrap(), None);
}

async fn listings_are_complete_and_sorted(store: &Store) {
    let keys = ["config", "data/00/0001", "data/ff/ff01", "database/x", "keys/k"];
    for key in keys.iter().rev() {
        store.put(key, Bytes::from_static(key.as_bytes())).await.unwrap();
    }
    let listed = store.list("").await.unwrap();
    assert_eq!(listed.iter().map(|info| info.key.as_str()).collect::<Vec<_>>(), keys);
    assert!(listed.iter().all(|info| info.size == info.key.len() as u64 && info.modified > Timestamp::UNIX_EPOCH));
    let data: Vec<_> = store.list("data").await.unwrap().into_iter().map(|info| info.key).collect();
    assert_eq!(data, ["data/00/0001", "data/ff/ff01"]);
    assert_eq!(store.list("nothing").await.unwrap(), []);
    store.delete_many(keys.iter().map(|key| (*key).to_owned()).chain(["gone".to_owned()]).collect()).await.unwrap();
    assert_eq!(store.list("").await.unwrap(), []);
}

async fn short_objects_are_errors(store: &Store) {
    store.put("short", Bytes::from_static(b"0123456789")).await.unwrap();
    for range in [5..11, 10..11, 50..60, 0..u64::MAX] {
        let error = store.get_range("short", range.clone()).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Truncated, "{range:?}: {error}");
    }
    store.delete("short").await.unwrap();
}

async fn ranges_come_into_a_buffer(store: &Store) {
    let body: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
    store.put("long", body.clone().into()).await.unwrap();
    let (shared, on) = (store.clone(), Handle::current());
    let read = move || {
        let mut buffer = Vec::new();
        for range in [7..100_000, 3..4, 0..200_000, 199_990..200_000] {
            let wanted = &body[range.start as usize..range.end as usize];
            assert!(shared.read_range(&on, "long", range, &mut buffer).unwrap() == wanted);
        }
        for (key, range, kind) in [
            ("long", 199_999..200_001, StoreErrorKind::Truncated),
            ("long", 0..u64::MAX, StoreErrorKind::Truncated),
            ("none", 0..1, StoreErrorKind::NotFound),
            ("a//b", 0..1, StoreErrorKind::Config),
        ] {
            assert_eq!(shared.read_range(&on, key, range, &mut buffer).unwrap_err().kind, kind, "{key}");
        }
    };
    tokio::task::spawn_blocking(read).await.unwrap();
    store.delete("long").await.unwrap();
}

async fn creates_have_one_winner(store: &Store) {
    let racers = (0..16).map(|n: u8| {
        let store = store.clone();
        tokio::spawn(async move { store.put_new("leases/race", Bytes::from(vec![n; 64])).await.unwrap() })
    });
    let outcomes: Vec<_> = futures::future::join_all(racers).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = (0..16).filter(|n| outcomes[usize::from(*n)] == PutNew::Created).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    assert_eq!(store.get("leases/race").await.unwrap(), vec![winners[0]; 64]);
    // The winner asks again, as it would after a lost answer.
    assert_eq!(store.put_new("leases/race", vec![winners[0]; 64].into()).await.unwrap(), PutNew::Created);
    assert_eq!(store.put_new("leases/race", "other".into()).await.unwrap(), PutNew::Exists);
    let keys: HashSet<_> = store.list("").await.unwrap().into_iter().map(|info| info.key).collect();
    assert_eq!(keys, HashSet::from(["leases/race".to_owned()]));
    store.delete("leases/race").await.unwrap();
}

async fn updates_have_one_winner(store: &Store) {
    let key = "leases/held";
    store.put(key, "start".into()).await.unwrap();
    let (body, tag) = store.get_tagged(key).await.unwrap();
    assert_eq!(body, "start");
    let racers = (0..16).map(|n: u8| {
        let (store, tag) = (store.clone(), tag.clone());
        tokio::spawn(async move { store.put_if(key, Bytes::from(vec![n; 5]), &tag).await.unwrap() })
    });
    let outcomes: Vec<_> = futures::future::join_all(racers).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<_> = (0..16).filter(|n| outcomes[usize::from(*n)] == PutIf::Written).collect();
    assert_eq!(winners.len(), 1, "{outcomes:?}");
    let (body, fresh) = store.get_tagged(key).await.unwrap();
    assert_eq!(body, vec![winners[0]; 5]);
    assert_eq!(store.put_if(key, "stale".into(), &tag).await.unwrap(), PutIf::Changed);
    assert_eq!(store.put_if(key, "next".into(), &fresh).await.unwrap(), PutIf::Written);
    assert_eq!(store.put_if(key, "next".into(), &fresh).await.unwrap(), PutIf::Written, "asked again");
    store.delete(key).await.unwrap();
    assert_eq!(store.put_if(key, "gone".into(), &fresh).await.unwrap(), PutIf::Changed);
    assert_eq!(store.size(key).await.unwrap(), None);
}

async fn keys_that_no_store_can_hold_are_refused(store: &Store) {
    for key in ["a//b", "../up", "a/./b", "line\nbreak"] {
        assert_eq!(store.put(key, Bytes::new()).await.unwrap_err().kind, StoreErrorKind::Config, "{key:?}");
        assert_eq!(store.get(key).await.unwrap_err().kind, StoreErrorKind::Config, "{key:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_conforms() {
    check(&Store::open("memory://conformance", &OpenOptions::default()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_conforms() {
    let inner = Arc::new(object_store::memory::InMemory::new());
    let store = Store::from_object_store(inner.clone(), "team/vault", "memory://prefixed");
    check(&store).await;
    store.put("config", "x".into()).await.unwrap();
    assert_eq!(inner.get(&Path::from("team/vault/config")).await.unwrap().bytes().await.unwrap(), "x");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("file://{}/not/yet", folder.path().display());
    check(&Store::open(&url, &OpenOptions::default()).await.unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrappers_conform() {
    let faults = Arc::new(fault::FaultStore::new(Arc::new(object_store::memory::InMemory::new())));
    let limited = Arc::new(limit::Limited::new(faults, None, None));
    check(&Store::from_object_store(limited, "", "memory://wrapped")).await;
}

#[tokio::test]
async fn two_opens_of_a_memory_store_see_the_same_objects() {
    let one = Store::open("memory://twice", &OpenOptions::default()).await.unwrap();
    let two = Store::open("memory://twice", &OpenOptions::default()).await.unwrap();
    one.put("a", "b".into()).await.unwrap();
    assert_eq!(two.get("a").await.unwrap(), "b");
    let other = Store::open("memory://other", &OpenOptions::default()).await.unwrap();
    assert_eq!(other.list("").await.unwrap(), []);
}

/// On a real server: `DRCTL_TEST_S3='s3://new-bucket/prefix?endpoint=http://127.0.0.1:8333' cargo test -- --ignored`, with
/// credentials in the environment. The bucket is made.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an S3 server, named by DRCTL_TEST_S3"]
async fn a_server_conforms() {
    let address = std::env::var("DRCTL_TEST_S3").expect("DRCTL_TEST_S3 names a bucket");
    let options = OpenOptions::default();
    assert!(!s3_admin::describe(&address, &options).await.unwrap().exists);
    let store = Store::open(&address, &options).await.unwrap();
    assert_eq!(store.list("").await.unwrap_err().kind, StoreErrorKind::NoBucket);
    assert_eq!(s3_admin::create_bucket(&address, &options).await.unwrap(), s3_admin::NewBucket::Created);
    assert!(s3_admin::describe(&address, &options).await.unwrap().exists);
    check(&store).await;

    let stranger = Credentials::Keys {
        access_key_id: "nobody".into(),
        secret_access_key: zeroize::Zeroizing::new("wrong".into()),
        session_token: None,
    };
    let stranger = OpenOptions { credentials: stranger, ..OpenOptions::default() };
    let denied = Store::open(&address, &stranger).await.unwrap();
    assert_eq!(denied.get("k").await.unwrap_err().kind, StoreErrorKind::Denied);
    assert_eq!(denied.size("k").await.unwrap_err().kind, StoreErrorKind::Denied);

    assert_eq!(probe::conditions(&store, "probe").await.unwrap(), probe::Conditions::Honoured);
    let pack = Bytes::from(vec![7; 128 << 20]);
    store.put("data/ff/large", pack.clone()).await.unwrap();
    assert_eq!(store.get("data/ff/large").await.unwrap(), pack);
    store.delete("data/ff/large").await.unwrap();
}
