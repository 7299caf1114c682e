//! A store that fails on purpose, and counts what it is asked for. For tests.
//!
//! Wrap any object store, plan [`Fault`]s, read [`FaultStore::count`]. Operations are counted when they are asked for,
//! whether or not they then fail.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What is done to a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// A write, conditional or not.
    Put,
    /// A read of an object or a range of it, or of its size.
    Get,
    /// A listing.
    List,
    /// A removal, counted for each object.
    Delete,
    /// Any of these.
    Any,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// The connection breaks before anything happened.
    Fail,
    /// The store refuses: access denied.
    Deny,
    /// The store refuses: no space left.
    Full,
    /// It takes effect, then the connection breaks before the answer arrives.
    LoseAnswer,
    /// It takes no effect and no answer ever comes.
    Hang,
    /// Only the first so many bytes of a body are written or read, and all seems well.
    Truncate(u64),
    /// As if the object had only its first so many bytes: an answer that is too short and whole in itself.
    Shrink(u64),
    /// It takes effect so much later.
    Delay(Duration),
}

/// Which of the matching operations are hit. Counted from 1, from when the fault is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// This one only.
    Nth(u64),
    /// This one and all after it.
    From(u64),
}

/// A fault to come.
#[derive(Debug, Clone)]
pub struct Fault {
    /// Hits this kind of operation.
    pub on: Operation,
    /// Hits keys that start with this.
    pub prefix: String,
    /// Hits these of them.
    pub when: When,
    /// What goes wrong.
    pub effect: Effect,
}

/// How much of one kind of operation there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Times asked.
    pub operations: u64,
    /// Bytes of bodies sent, or about to be received.
    pub bytes: u64,
}

/// The wrapper. Clones share faults and counts.
#[derive(Debug, Clone)]
pub struct FaultStore {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    counts: [Count; 4],
    /// Each with how many operations it has matched.
    faults: Vec<(Fault, u64)>,
    hits: u64,
}

impl FaultStore {
    /// `inner`, without a fault so far.
    pub fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, state: Arc::default() }
    }

    /// Adds a fault. When several hit one operation, the first planned wins.
    pub fn plan(&self, fault: Fault) {
        self.state().faults.push((fault, 0));
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// What was asked so far.
    pub fn count(&self, operation: Operation) -> Count {
        let counts = self.state().counts;
        match operation {
            Operation::Any => counts.iter().fold(Count::default(), |sum, count| Count {
                operations: sum.operations + count.operations,
                bytes: sum.bytes + count.bytes,
            }),
            one => counts[one as usize],
        }
    }

    /// How many operations a fault has hit so far. One that has no effect on what it hits counts as well.
    pub fn hits(&self) -> u64 {
        self.state().hits
    }

    /// Starts counting from nought.
    pub fn reset_counts(&self) {
        self.state().counts = Default::default();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked may still want to read the counts.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one operation and gives the effect it suffers.
    fn meet(&self, operation: Operation, key: &Path, bytes: u64) -> Option<Effect> {
        let mut state = self.state();
        let count = &mut state.counts[operation as usize];
        count.operations += 1;
        count.bytes += bytes;
        let mut effect = None;
        for (fault, matched) in &mut state.faults {
            let meant = fault.on == operation || fault.on == Operation::Any;
            if meant && key.as_ref().starts_with(&fault.prefix) {
                *matched += 1;
                let hit = match fault.when {
                    When::Nth(n) => *matched == n,
                    When::From(n) => *matched >= n,
                };
                if hit {
                    effect = effect.or(Some(fault.effect));
                }
            }
        }
        state.hits += u64::from(effect.is_some());
        effect
    }

    fn received(&self, bytes: u64) {
        self.state().counts[Operation::Get as usize].bytes += bytes;
    }
}

/// What comes before the operation itself: an error, an endless wait, or nothing.
async fn before(effect: Option<Effect>, key: &Path) -> Result<()> {
    match effect {
        Some(Effect::Fail) => Err(broken(io::ErrorKind::ConnectionReset)),
        Some(Effect::Full) => Err(broken(io::ErrorKind::StorageFull)),
        Some(Effect::Deny) => Err(Error::PermissionDenied { path: key.to_string(), source: "denied by a test".into() }),
        Some(Effect::Hang) => std::future::pending().await,
        Some(Effect::Delay(span)) => {
            tokio::time::sleep(span).await;
            Ok(())
        }
        Some(Effect::LoseAnswer | Effect::Truncate(_) | Effect::Shrink(_)) | None => Ok(()),
    }
}

fn after(effect: Option<Effect>) -> Result<()> {
    match effect {
        Some(Effect::LoseAnswer) => Err(broken(io::ErrorKind::ConnectionReset)),
        _ => Ok(()),
    }
}

fn broken(kind: io::ErrorKind) -> Error {
    Error::Generic { store: "fault", source: Box::new(io::Error::from(kind)) }
}

fn cut(body: Bytes, effect: Option<Effect>) -> Bytes {
    match effect {
        Some(Effect::Truncate(keep) | Effect::Shrink(keep)) => {
            body.slice(..body.len().min(usize::try_from(keep).unwrap_or(usize::MAX)))
        }
        _ => body,
    }
}

impl std::fmt::Display for FaultStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FaultStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for FaultStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let effect = self.meet(Operation::Put, location, payload.content_length() as u64);
        before(effect, location).await?;
        let payload = match effect {
            Some(Effect::Truncate(_) | Effect::Shrink(_)) => cut(payload.into(), effect).into(),
            _ => payload,
        };
        let result = self.inner.put_opts(location, payload, opts).await?;
        after(effect)?;
        Ok(result)
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let effect = self.meet(Operation::Get, location, 0);
        before(effect, location).await?;
        let mut result = self.inner.get_opts(location, options).await?;
        after(effect)?;
        if let (true, Some(Effect::Shrink(keep))) = (head, effect) {
            result.meta.size = result.meta.size.min(keep);
        }
        if head {
            return Ok(result);
        }
        self.received(result.range.end - result.range.start);
        if let Some(Effect::Truncate(_) | Effect::Shrink(_)) = effect {
            let (mut meta, mut range) = (result.meta.clone(), result.range.clone());
            let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
            let body = cut(result.bytes().await?, effect);
            if let Some(Effect::Shrink(keep)) = effect {
                meta.size = meta.size.min(keep);
                range.end = range.start + body.len() as u64;
            }
            let payload = GetResultPayload::Stream(futures::stream::iter([Ok(body)]).boxed());
            result = GetResult { payload, meta, range, attributes, extensions };
        }
        Ok(result)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        locations
            .then(move |location| {
                let this = this.clone();
                async move {
                    let location = location?;
                    let effect = this.meet(Operation::Delete, &location, 0);
                    before(effect, &location).await?;
                    this.inner.delete(&location).await?;
                    after(effect)?;
                    Ok(location)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned().unwrap_or(Path::ROOT));
        futures::stream::once(async move {
            let effect = this.meet(Operation::List, &prefix, 0);
            match before(effect, &prefix).await.and_then(|()| after(effect)) {
                Ok(()) => this.inner.list(Some(&prefix)),
                Err(error) => futures::stream::iter([Err(error)]).boxed(),
            }
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::store::{PutNew, Store, StoreErrorKind};

    fn faulty() -> (FaultStore, Store) {
        let faults = FaultStore::new(Arc::new(InMemory::new()));
        let store = Store::from_object_store(Arc::new(faults.clone()), "", "memory://faulty");
        (faults, store)
    }

    fn fault(on: Operation, prefix: &str, when: When, effect: Effect) -> Fault {
        Fault { on, prefix: prefix.into(), when, effect }
    }

    #[tokio::test]
    async fn operations_and_bytes_are_counted() {
        let (faults, store) = faulty();
        store.put("a", "12345".into()).await.unwrap();
        store.put_new("b", "678".into()).await.unwrap();
        store.get("a").await.unwrap();
        store.get_range("a", 1..3).await.unwrap();
        store.size("a").await.unwrap();
        store.list("").await.unwrap();
        store.delete_many(vec!["a".into(), "b".into()]).await.unwrap();
        assert_eq!(faults.count(Operation::Put), Count { operations: 2, bytes: 8 });
        assert_eq!(faults.count(Operation::Get), Count { operations: 3, bytes: 7 });
        assert_eq!(faults.count(Operation::List), Count { operations: 1, bytes: 0 });
        assert_eq!(faults.count(Operation::Delete), Count { operations: 2, bytes: 0 });
        faults.reset_counts();
        assert_eq!(faults.count(Operation::Put), Count::default());
    }

    #[tokio::test]
    async fn the_nth_and_those_from_the_nth_on_fail() {
        let (faults, store) = faulty();
        faults.plan(fault(Operation::Put, "data/", When::Nth(2), Effect::Fail));
        faults.plan(fault(Operation::Put, "index/", When::From(2), Effect::Deny));
        let mut outcomes = Vec::new();
        for key in ["data/1", "index/1", "data/2", "data/3", "index/2", "index/3"] {
            outcomes.push(store.put(key, "x".into()).await.map_err(|e| e.kind));
        }
        let (reset, denied) = (Err(StoreErrorKind::Unreachable), Err(StoreErrorKind::Denied));
        assert_eq!(outcomes, [Ok(()), Ok(()), reset, Ok(()), denied, denied]);
        assert_eq!(store.size("data/2").await.unwrap(), None);
        faults.heal();
        store.put("index/2", "x".into()).await.unwrap();
    }

    #[tokio::test]
    async fn a_lost_answer_took_effect_and_put_new_finds_out() {
        let (faults, store) = faulty();
        faults.plan(fault(Operation::Put, "", When::From(1), Effect::LoseAnswer));
        let error = store.put("plain", "x".into()).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unreachable);
        assert_eq!(store.get("plain").await.unwrap(), "x");
        assert_eq!(store.put_new("new", "mine".into()).await.unwrap(), PutNew::Created);
        assert_eq!(store.put_new("new", "theirs".into()).await.unwrap(), PutNew::Exists);
        assert_eq!(store.get("new").await.unwrap(), "mine");
    }

    #[tokio::test]
    async fn a_create_that_never_arrived_is_repeated_a_few_times() {
        let (faults, store) = faulty();
        faults.plan(fault(Operation::Put, "", When::Nth(1), Effect::Fail));
        assert_eq!(store.put_new("k", "x".into()).await.unwrap(), PutNew::Created);
        faults.plan(fault(Operation::Put, "", When::From(1), Effect::Fail));
        assert_eq!(store.put_new("j", "x".into()).await.unwrap_err().kind, StoreErrorKind::Unreachable);
        assert_eq!(faults.count(Operation::Put).operations, 2 + 3);
    }

    #[tokio::test]
    async fn short_bodies_are_errors_never_data() {
        let (faults, store) = faulty();
        store.put("k", "0123456789".into()).await.unwrap();
        faults.plan(fault(Operation::Get, "", When::From(1), Effect::Truncate(4)));
        assert_eq!(store.get("k").await.unwrap_err().kind, StoreErrorKind::Truncated);
        assert_eq!(store.get_range("k", 2..8).await.unwrap_err().kind, StoreErrorKind::Truncated);
        faults.heal();
        faults.plan(fault(Operation::Put, "", When::Nth(1), Effect::Truncate(4)));
        store.put("torn", "0123456789".into()).await.unwrap();
        assert_eq!(store.get("torn").await.unwrap(), "0123");
    }

    #[tokio::test]
    async fn a_short_answer_that_is_whole_in_itself_shows_in_its_length_alone() {
        let (faults, store) = faulty();
        store.put("k", "0123456789".into()).await.unwrap();
        faults.plan(fault(Operation::Get, "", When::From(1), Effect::Shrink(0)));
        assert_eq!(store.get("k").await.unwrap(), "");
        assert_eq!(store.get_range("k", 2..8).await.unwrap_err().kind, StoreErrorKind::Truncated);
        assert_eq!(store.size("k").await.unwrap(), Some(0));
        assert_eq!((faults.hits(), faults.count(Operation::Any).operations), (3, 4));
    }

    #[tokio::test]
    async fn any_operation_is_hit_and_a_delayed_one_takes_effect() {
        let (faults, store) = faulty();
        faults.plan(fault(Operation::Any, "", When::Nth(2), Effect::Fail));
        faults.plan(fault(Operation::Any, "", When::From(3), Effect::Delay(Duration::from_millis(1))));
        store.put("k", "x".into()).await.unwrap();
        assert_eq!(store.list("").await.unwrap_err().kind, StoreErrorKind::Unreachable);
        assert_eq!(store.get("k").await.unwrap(), "x");
        store.delete("k").await.unwrap();
        assert_eq!((store.list("").await.unwrap(), faults.hits()), (vec![], 4));
    }

    #[tokio::test]
    async fn a_hang_lasts_and_a_full_store_says_so() {
        let (faults, store) = faulty();
        faults.plan(fault(Operation::List, "", When::Nth(1), Effect::Hang));
        let patience = std::time::Duration::from_millis(50);
        assert!(tokio::time::timeout(patience, store.list("")).await.is_err());
        assert_eq!(store.list("").await.unwrap(), []);
        faults.plan(fault(Operation::Put, "", When::Nth(1), Effect::Full));
        assert_eq!(store.put("k", "x".into()).await.unwrap_err().kind, StoreErrorKind::NoSpace);
        faults.plan(fault(Operation::Delete, "", When::Nth(1), Effect::Deny));
        assert_eq!(store.delete("k").await.unwrap_err().kind, StoreErrorKind::Denied);
    }
}
