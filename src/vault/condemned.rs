//! Packs that are to go, in vaults that only drctl writes to: which ones, and up to where they may be swept.
//!
//! `drctl/gc/state` says how many epochs there were and up to which of them packs may be swept: the boundary. It is made with
//! the vault, changed only if it is still what was read, and never removed, so that nobody takes its loss for a vault in
//! which nothing was ever condemned. Each epoch condemns packs: `drctl/gc/condemned/<epoch>-<nonce>` lists those of all epochs
//! up to it, and is written before the state names it. A list that the state does not name is none: its writer was too
//! late, or died. Invariant: a pack that was condemned once is condemned in every later list. docs/prune.md says why.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::config::seal_json;
use super::crypto::MasterKey;
use super::error::{Damage, VaultError};
use super::handle::Vault;
use super::id::Id;
use super::index::Index;
use super::layout::{self, CONDEMNED, GC_STATE};
use super::lock::LockGuard;
use super::settings::Sharing;
use super::unpacked;
use crate::clock::Env;
use crate::monitor::Monitor;
use crate::store::{PutIf, PutNew, Store, StoreErrorKind, Tag};

/// The version of both objects that is written.
const VERSION: u32 = 1;

/// How often the state is read again when the list that it named was gone: the next prune removes it.
const READS: usize = 5;

/// Packs that are to go, as they were read. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Condemned {
    state: State,
    /// Ascending by id.
    packs: Arc<[(Id, u64)]>,
    /// None in a vault that has no state.
    tag: Option<Tag>,
}

/// What the object `drctl/gc/state` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct State {
    version: u32,
    epoch: u64,
    boundary: u64,
    /// The list's name, once there was an epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list: Option<String>,
    /// When the epoch began, by the clock of whoever began it.
    since: Timestamp,
}

#[derive(Serialize, Deserialize)]
struct List {
    version: u32,
    epochs: Vec<(u64, Vec<Id>)>,
}

impl State {
    fn new(now: Timestamp) -> Self {
        Self { version: VERSION, epoch: 0, boundary: 0, list: None, since: now }
    }
}

impl Condemned {
    fn none(now: Timestamp) -> Self {
        Self { state: State::new(now), packs: Arc::default(), tag: None }
    }

    /// How often packs were condemned.
    pub fn epoch(&self) -> u64 {
        self.state.epoch
    }

    /// Packs of epochs up to this one may be swept.
    pub fn boundary(&self) -> u64 {
        self.state.boundary
    }

    /// When the newest epoch began.
    pub fn since(&self) -> Timestamp {
        self.state.since
    }

    /// The epoch in which a pack was condemned, if it was.
    pub fn of(&self, pack: &Id) -> Option<u64> {
        epoch_of(&self.packs, pack)
    }

    /// All of them, by id, with their epochs.
    pub fn packs(&self) -> &Arc<[(Id, u64)]> {
        &self.packs
    }

    /// Packs whose sweeping is still to come.
    pub fn waiting(&self) -> usize {
        self.packs.iter().filter(|(_, epoch)| *epoch > self.boundary()).count()
    }
}

/// The epoch of a pack in a list that ascends by id.
pub(super) fn epoch_of(packs: &[(Id, u64)], pack: &Id) -> Option<u64> {
    packs.binary_search_by_key(pack, |(id, _)| *id).ok().map(|at| packs[at].1)
}

impl Vault {
    /// Which packs are condemned. In a vault that stock tools write to none is, and nothing is asked for.
    pub async fn condemned(&self) -> Result<Condemned, VaultError> {
        if self.sharing() == Sharing::Shared {
            return Ok(Condemned::none(self.env().clock.now()));
        }
        let mut reads = 1;
        loop {
            let (state, tag) = self.gc_state().await?;
            let Some(list) = &state.list else {
                return Ok(Condemned { state, packs: Arc::default(), tag: Some(tag) });
            };
            match self.condemned_list(&layout::condemned(list)).await {
                Err(error) if error.is_not_found() && reads < READS => reads += 1,
                Err(error) if error.is_not_found() => return Err(VaultError::wrong_size(layout::condemned(list))),
                list => return Ok(Condemned { state, packs: flat(list?), tag: Some(tag) }),
            }
        }
    }

    /// What a writer works from: which packs it must not rely on, and then the index, without them.
    pub async fn load_view(&self, monitor: &dyn Monitor) -> Result<(Condemned, Index), VaultError> {
        let condemned = self.condemned().await?;
        let index = self.load_index(monitor).await?.beside(&condemned);
        Ok((condemned, index))
    }

    /// Whether packs may be swept by now that a writer did not know to be condemned when it began.
    pub async fn is_overtaken(&self, seen: &Condemned) -> Result<bool, VaultError> {
        if seen.tag.is_none() {
            return Ok(false);
        }
        let (state, _) = self.gc_state().await?;
        Ok(state.boundary > seen.epoch())
    }

    /// Lets all packs that are condemned so far be swept, unless another prune changed the state meanwhile. Returns how
    /// things stand then; whatever is listed afterwards is listed after the boundary that it has was set.
    pub async fn advance_boundary(&self, seen: &Condemned) -> Result<Condemned, VaultError> {
        self.writable()?;
        let state = State { boundary: seen.epoch(), ..seen.state.clone() };
        if let Some(tag) = &seen.tag {
            self.store().put_if(GC_STATE, seal_json(&state, self.key(), self.env())?.into(), tag).await?;
        }
        self.condemned().await
    }

    /// Condemns packs, in an epoch of their own. False: another prune was first, and nothing is condemned.
    ///
    /// A crash leaves a list that no state names; whoever condemns next removes it.
    pub async fn condemn(&self, seen: &Condemned, packs: &[Id]) -> Result<bool, VaultError> {
        self.writable()?;
        let Some(tag) = &seen.tag else { return Ok(false) };
        let epoch = seen.epoch() + 1;
        let name = format!("{epoch}-{}", hex::encode(self.env().random_bytes::<16>()));
        let mut epochs: BTreeMap<u64, Vec<Id>> = BTreeMap::new();
        seen.packs.iter().for_each(|(id, epoch)| epochs.entry(*epoch).or_default().push(*id));
        epochs.insert(epoch, packs.to_vec());
        self.put_condemned_list(&name, epochs).await?;
        let (list, since) = (Some(name.clone()), self.env().clock.now());
        let state = State { version: VERSION, epoch, boundary: seen.boundary(), list, since };
        match self.store().put_if(GC_STATE, seal_json(&state, self.key(), self.env())?.into(), tag).await? {
            PutIf::Changed => Ok(false),
            PutIf::Written => {
                self.clear_condemned_lists(epoch, &name).await;
                Ok(true)
            }
        }
    }

    /// Puts a state together again that cannot be read, from all lists that can: what any of them names is condemned.
    /// Returns whether it did. Every writer that began before is told to look again.
    ///
    /// For whoever holds the exclusive lock: no prune is under way.
    pub async fn mend_condemned(&self, lock: &LockGuard) -> Result<bool, VaultError> {
        if self.sharing() == Sharing::Shared {
            return Ok(false);
        }
        match self.condemned().await {
            Ok(_) => return Ok(false),
            Err(VaultError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        let (mut packs, mut last) = (BTreeMap::new(), 0);
        for object in self.store().list(CONDEMNED).await? {
            last = last.max(epoch_in_name(&object.key).unwrap_or_default());
            match self.condemned_list(&object.key).await {
                Ok(List { epochs, .. }) => {
                    packs.extend(epochs.into_iter().flat_map(|(_, ids)| ids).map(|id| (id, ())));
                }
                Err(VaultError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if let Ok((state, _)) = self.gc_state().await {
            last = last.max(state.epoch);
        }
        let epoch = last + 1;
        let name = format!("{epoch}-{}", hex::encode(self.env().random_bytes::<16>()));
        self.put_condemned_list(&name, BTreeMap::from([(epoch, packs.into_keys().collect())])).await?;
        lock.check()?;
        let since = self.env().clock.now();
        let state = State { version: VERSION, epoch, boundary: epoch, list: Some(name.clone()), since };
        self.store().put(GC_STATE, seal_json(&state, self.key(), self.env())?.into()).await?;
        self.clear_condemned_lists(epoch, &name).await;
        Ok(true)
    }

    async fn gc_state(&self) -> Result<(State, Tag), VaultError> {
        let damaged = |why: Damage| VaultError::damaged(GC_STATE, why);
        let (sealed, tag) = match self.store().get_tagged(GC_STATE).await {
            Err(error) if error.kind == StoreErrorKind::NotFound => return Err(damaged(error.into())),
            read => read?,
        };
        let json = self.key().open(&sealed).map_err(|error| damaged(error.into()))?;
        let state: State = serde_json::from_slice(&json).map_err(|error| damaged(error.into()))?;
        match state.version {
            VERSION if state.boundary <= state.epoch && state.list.is_some() == (state.epoch > 0) => Ok((state, tag)),
            VERSION => Err(damaged(Damage::Content("its boundary lies beyond its epoch, or its list is not named"))),
            version => Err(VaultError::NewerVersion { object: GC_STATE, version }),
        }
    }

    async fn condemned_list(&self, key: &str) -> Result<List, VaultError> {
        let sealed = self.store().get(key).await?;
        let json = unpacked::open(self.key(), &sealed).map_err(|error| VaultError::damaged(key, error))?;
        let list: List = serde_json::from_slice(&json).map_err(|error| VaultError::damaged(key, error))?;
        match list.version {
            VERSION => Ok(list),
            version => Err(VaultError::NewerVersion { object: CONDEMNED, version }),
        }
    }

    async fn put_condemned_list(&self, name: &str, epochs: BTreeMap<u64, Vec<Id>>) -> Result<(), VaultError> {
        let list = List { version: VERSION, epochs: epochs.into_iter().collect() };
        let json = serde_json::to_vec(&list).map_err(VaultError::seal)?;
        let sealed = unpacked::seal(self.key(), &*self.env().random, &json).map_err(VaultError::seal)?;
        Ok(self.store().put(&layout::condemned(name), sealed.into()).await?)
    }

    /// Removes the lists that no state will name any more. What stays takes room and harms nobody.
    async fn clear_condemned_lists(&self, epoch: u64, name: &str) {
        let keep = layout::condemned(name);
        let stale = |key: &String| *key != keep && epoch_in_name(key).is_some_and(|it| it <= epoch);
        let cleared = match self.store().list(CONDEMNED).await {
            Ok(listed) => {
                let keys: Vec<String> = listed.into_iter().map(|object| object.key).filter(stale).collect();
                self.store().delete_many(keys).await
            }
            Err(error) => Err(error),
        };
        if let Err(error) = cleared {
            tracing::warn!(%error, "lists of condemned packs that are out of date stay");
        }
    }
}

/// Makes the state of a new vault, unless an earlier try has.
pub(super) async fn begin(store: &Store, key: &MasterKey, env: &Env) -> Result<(), VaultError> {
    match store.put_new(GC_STATE, seal_json(&State::new(env.clock.now()), key, env)?.into()).await? {
        PutNew::Created | PutNew::Exists => Ok(()),
    }
}

/// The epoch of a list, by its key.
fn epoch_in_name(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.split_once('-')?.0.parse().ok()
}

fn flat(list: List) -> Arc<[(Id, u64)]> {
    let mut packs: Vec<(Id, u64)> =
        list.epochs.into_iter().flat_map(|(epoch, ids)| ids.into_iter().map(move |id| (id, epoch))).collect();
    packs.sort_unstable();
    packs.dedup_by_key(|(id, _)| *id);
    packs.into()
}

#[cfg(test)]
mod tests;
