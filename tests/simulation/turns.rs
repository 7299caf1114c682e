//! Whose turn it is: every request of every actor waits until the scheduler lets it through, one at a time, in an order and
//! with faults that follow from the seed alone.
//!
//! The scheduler acts only while each actor waits for a turn, sleeps or is done, so it does not matter how fast anyone is.
//! Time stands still but for what the scheduler turns it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::{self, Write};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use drctl::clock::Clock;
use drctl::vault::FileType;
use futures::StreamExt;
use futures::stream::BoxStream;
use jiff::{SignedDuration, Timestamp};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::{Notify, oneshot};

use crate::support::Numbers;

/// No request is on its way for longer: a holder of a lock stops 7.5 minutes before others may take it for dead.
const LONGEST_REQUEST: Duration = Duration::from_secs(7 * 60);

/// How often things go wrong, of a thousand requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Odds {
    pub(crate) fail: u64,
    pub(crate) lose_answer: u64,
    pub(crate) crash: u64,
    /// How often, of a thousand steps, time goes on.
    pub(crate) time: u64,
    /// Whether no request for a lock comes through for the latter part of every so many minutes.
    pub(crate) lock_storms: bool,
    /// How often, of a thousand steps, an actor falls asleep with a request on its way, until others have done a lot.
    pub(crate) stall: u64,
}

/// For so many steps at most.
const LONGEST_STALL: u64 = 400;

/// A lock that was refreshed just before a storm is lost before the storm is over, and others may take it for dead.
const STORM_EVERY: u64 = 80;
const STORM_FROM: u64 = 35;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Go,
    Fail,
    LoseAnswer,
    /// The process is gone, before or after the request took effect.
    Dead {
        done: bool,
    },
}

struct Waiting {
    what: String,
    /// When a sleep ends.
    sleep: Option<Duration>,
    go: oneshot::Sender<(Verdict, Underway)>,
}

/// A request that was let through and has not had its effect yet: threads take their time. Nobody else's turn comes before.
struct Underway(Arc<Turns>);

impl Underway {
    fn begin(turns: &Arc<Turns>) -> Self {
        turns.underway.fetch_add(1, Ordering::SeqCst);
        Self(turns.clone())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.underway.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

#[derive(Default)]
struct Lane {
    /// Processes of this actor that are gone.
    life: u64,
    done: bool,
    faults: u64,
    requests: Queue,
    /// Those of locks, which go first: a held lock is refreshed beside what else the actor does.
    locks: Queue,
}

/// Requests in the order in which they came. Only the first is on its way: when the others come depends on how fast the actor is.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Since when the first is on its way.
    since: Duration,
}

impl Queue {
    fn push(&mut self, waiting: Waiting, now: Duration) {
        if self.waiting.is_empty() {
            self.since = now;
        }
        self.waiting.push_back(waiting);
    }

    fn pop(&mut self, now: Duration) -> Option<Waiting> {
        self.since = now;
        self.waiting.pop_front()
    }

    fn purge(&mut self) {
        self.waiting.retain(|waiting| !waiting.go.is_closed());
    }
}

impl Lane {
    fn purge(&mut self) {
        self.requests.purge();
        self.locks.purge();
    }

    fn rests(&self) -> bool {
        self.done || !self.requests.waiting.is_empty() || !self.locks.waiting.is_empty()
    }

    fn queue(&mut self) -> &mut Queue {
        if self.locks.waiting.is_empty() { &mut self.requests } else { &mut self.locks }
    }

    /// Whether its next request can be let through.
    fn ready(&mut self, now: Duration) -> bool {
        self.queue().waiting.front().is_some_and(|next| next.sleep.is_none_or(|end| end <= now))
    }
}

#[derive(Default)]
struct State {
    now: Duration,
    lanes: Vec<Lane>,
    timers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
    timers_set: u64,
    /// When each object was written last.
    written: HashMap<Path, Duration>,
    /// Who is asleep, for how many steps yet.
    stalled: Option<(usize, u64)>,
    /// Nothing goes wrong any more.
    calm: bool,
    log: String,
}

/// The turns of all actors of a vault.
#[derive(Default)]
pub(crate) struct Turns {
    state: Mutex<State>,
    underway: AtomicUsize,
    changed: Notify,
}

impl Turns {
    pub(crate) fn new(actors: usize) -> Arc<Self> {
        let turns = Self::default();
        turns.state().lanes.resize_with(actors, Lane::default);
        Arc::new(turns)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The process in which an actor lives by now.
    pub(crate) fn process(self: &Arc<Self>, actor: usize) -> Process {
        Process { turns: self.clone(), actor, life: self.state().lanes[actor].life }
    }

    pub(crate) fn done(&self, actor: usize) {
        self.state().lanes[actor].done = true;
        self.changed.notify_one();
    }

    /// Whether nothing goes wrong any more.
    pub(crate) fn are_calm(&self) -> bool {
        self.state().calm
    }

    /// All that was let through so far.
    pub(crate) fn log(&self) -> String {
        self.state().log.clone()
    }

    /// Lets requests through until every actor is done.
    pub(crate) async fn schedule(self: &Arc<Self>, mut numbers: Numbers, odds: Odds, faulty_steps: u64) {
        let calm = Odds { fail: 0, lose_answer: 0, crash: 0, lock_storms: false, stall: 0, ..odds };
        for step in 0.. {
            self.settle().await;
            if self.state().lanes.iter().all(|lane| lane.done) {
                return;
            }
            assert!(step < 200_000, "it does not come to an end");
            self.state().calm = step >= faulty_steps;
            self.step(&mut numbers, if step < faulty_steps { odds } else { calm });
        }
    }

    /// Waits until everybody waits for us.
    async fn settle(&self) {
        loop {
            // What was let through or woken is polled before we look.
            for _ in 0..24 {
                tokio::task::yield_now().await;
            }
            let rest = {
                let mut state = self.state();
                state.lanes.iter_mut().for_each(Lane::purge);
                self.underway.load(Ordering::SeqCst) == 0 && state.lanes.iter().all(Lane::rests)
            };
            if rest {
                return;
            }
            let patience = tokio::time::timeout(Duration::from_secs(60), self.changed.notified()).await;
            assert!(patience.is_ok(), "an actor neither asks for anything nor ends:\n{}", self.log());
        }
    }

    fn step(self: &Arc<Self>, numbers: &mut Numbers, odds: Odds) {
        let mut state = self.state();
        let now = state.now;
        let mut ready: Vec<usize> = (0..state.lanes.len()).filter(|actor| state.lanes[*actor].ready(now)).collect();
        if odds.stall > 0 {
            if state.stalled.is_none() && !ready.is_empty() && numbers.below(1000) < odds.stall {
                let actor = ready[usize::try_from(numbers.below(ready.len() as u64)).unwrap()];
                state.stalled = Some((actor, numbers.below(LONGEST_STALL)));
            }
            state.stalled = state.stalled.and_then(|(actor, left)| Some((actor, left.checked_sub(1)?)));
            if let Some((asleep, _)) = state.stalled
                && ready.len() > 1
            {
                ready.retain(|actor| *actor != asleep);
            }
        }
        if ready.is_empty() || numbers.below(1000) < odds.time {
            return state.turn_clock(numbers, ready.is_empty());
        }
        let actor = ready[usize::try_from(numbers.below(ready.len() as u64)).unwrap()];
        let lane = &mut state.lanes[actor];
        let is_lock = !lane.locks.waiting.is_empty();
        let next = lane.queue().pop(now).unwrap();
        let storm = odds.lock_storms && is_lock && now.as_secs() / 60 % STORM_EVERY >= STORM_FROM;
        let verdict = match next.sleep {
            Some(_) => Verdict::Go,
            None if storm => Verdict::Fail,
            None => verdict(numbers, odds),
        };
        let what = next.what;
        let _ = next.go.send((verdict, Underway::begin(self)));
        if verdict != Verdict::Go {
            lane.faults += 1;
        }
        if let Verdict::Dead { .. } = verdict {
            lane.life += 1;
            for waiting in lane.requests.waiting.drain(..).chain(lane.locks.waiting.drain(..)) {
                let _ = waiting.go.send((Verdict::Dead { done: false }, Underway::begin(self)));
            }
        }
        writeln!(state.log, "{now:?} {actor} {what} {verdict:?}").unwrap();
    }
}

fn verdict(numbers: &mut Numbers, odds: Odds) -> Verdict {
    let mut dice = numbers.below(1000);
    for (share, verdict) in [
        (odds.fail, Verdict::Fail),
        (odds.lose_answer, Verdict::LoseAnswer),
        (odds.crash / 2, Verdict::Dead { done: false }),
        (odds.crash - odds.crash / 2, Verdict::Dead { done: true }),
    ] {
        if dice < share {
            return verdict;
        }
        dice -= share;
    }
    Verdict::Go
}

impl State {
    fn turn_clock(&mut self, numbers: &mut Numbers, to_next: bool) {
        let first = || self.lanes.iter().flat_map(|lane| [&lane.requests, &lane.locks]);
        let first = || first().filter_map(|queue| Some((queue.since, queue.waiting.front()?)));
        let mut span = Duration::from_millis([50, 2_000, 60_000, 290_000][usize::try_from(numbers.below(4)).unwrap()]);
        if to_next {
            let ends = first().filter_map(|(_, waiting)| waiting.sleep).chain(self.timers.keys().map(|key| key.0));
            span = ends.min().map_or(span, |end| end.saturating_sub(self.now));
        }
        let requests = first().filter(|(_, waiting)| waiting.sleep.is_none());
        let longest = requests.map(|(since, _)| (since + LONGEST_REQUEST).saturating_sub(self.now)).min();
        self.now += span.min(longest.unwrap_or(span));
        while let Some(timer) = self.timers.first_entry()
            && timer.key().0 <= self.now
        {
            let _ = timer.remove().send(());
        }
        writeln!(self.log, "{:?}", self.now).unwrap();
    }
}

/// One process of an actor: its way to the store, and its clock. Once it is gone, nothing that it does has any effect.
#[derive(Clone)]
pub(crate) struct Process {
    turns: Arc<Turns>,
    actor: usize,
    life: u64,
}

impl Process {
    pub(crate) fn is_gone(&self) -> bool {
        self.turns.state().lanes[self.actor].life != self.life
    }

    /// Which of the actor's processes this is, from 0.
    pub(crate) fn number(&self) -> u64 {
        self.life
    }

    /// How often the actor met a fault so far.
    pub(crate) fn faults(&self) -> u64 {
        self.turns.state().lanes[self.actor].faults
    }

    async fn ask(&self, what: String, is_lock: bool, sleep: Option<Duration>) -> (Verdict, Option<Underway>) {
        let (go, answer) = oneshot::channel();
        {
            let mut state = self.turns.state();
            let now = state.now;
            let lane = &mut state.lanes[self.actor];
            if lane.life != self.life {
                return (Verdict::Dead { done: false }, None);
            }
            let queue = if is_lock { &mut lane.locks } else { &mut lane.requests };
            queue.push(Waiting { what, sleep: sleep.map(|span| now + span), go }, now);
        }
        self.turns.changed.notify_one();
        match answer.await {
            Ok((verdict, underway)) => (verdict, Some(underway)),
            Err(_) => (Verdict::Dead { done: false }, None),
        }
    }

    async fn request<T>(&self, name: &str, key: &Path, effect: impl Future<Output = Result<T>>) -> Result<T> {
        let is_lock = key.as_ref().starts_with(FileType::Lock.folder());
        let (verdict, _underway) = self.ask(format!("{name} {key}"), is_lock, None).await;
        match verdict {
            Verdict::Go => effect.await,
            Verdict::Fail | Verdict::Dead { done: false } => Err(broken()),
            Verdict::LoseAnswer | Verdict::Dead { done: true } => {
                let _ = effect.await;
                Err(broken())
            }
        }
    }
}

fn broken() -> object_store::Error {
    let cause = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    object_store::Error::Generic { store: "simulation", source: Box::new(cause) }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Process({}.{})", self.actor, self.life)
    }
}

/// When every simulation begins.
fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

impl Clock for Process {
    fn now(&self) -> Timestamp {
        start() + SignedDuration::try_from(self.boot()).unwrap()
    }

    fn boot(&self) -> Duration {
        self.turns.state().now
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.ask(format!("sleep {span:?}"), false, Some(span)).await;
        })
    }

    fn pause(&self, span: Duration) -> Option<Pin<Box<dyn Future<Output = ()> + Send + '_>>> {
        let (end, ended) = oneshot::channel();
        {
            let mut state = self.turns.state();
            let key = (state.now + span, state.timers_set);
            state.timers_set += 1;
            state.timers.insert(key, end);
        }
        Some(Box::pin(async move {
            if ended.await.is_err() {
                std::future::pending::<()>().await;
            }
        }))
    }
}

/// What a process sees of the store.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) objects: Arc<InMemory>,
    pub(crate) process: Process,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Seen({:?})", self.process)
    }
}

#[async_trait]
impl ObjectStore for Seen {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let put = async {
            let put = self.objects.put_opts(location, payload, opts).await;
            let mut state = self.process.turns.state();
            let now = state.now;
            if put.is_ok() {
                state.written.insert(location.clone(), now);
            }
            put
        };
        self.process.request("put", location, put).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.process.request("get", location, self.objects.get_opts(location, options)).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                let location = location?;
                this.process.request("delete", &location, this.objects.delete(&location)).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix) = (self.clone(), prefix.cloned().unwrap_or(Path::ROOT));
        futures::stream::once(async move {
            let listed = async { Ok(this.objects.list(Some(&prefix)).collect::<Vec<_>>().await) };
            match this.process.request("list", &prefix, listed).await {
                Ok(mut all) => {
                    let state = this.process.turns.state();
                    for object in all.iter_mut().flatten() {
                        let since = state.written.get(&object.location).copied().unwrap_or_default();
                        object.last_modified =
                            SystemTime::from(start() + SignedDuration::try_from(since).unwrap()).into();
                    }
                    futures::stream::iter(all)
                }
                Err(error) => futures::stream::iter(vec![Err(error)]),
            }
        })
        .flatten()
        .boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}
