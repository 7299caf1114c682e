//! Object storage behind one narrow handle.
//!
//! Everything above reads and writes whole objects through [`Store`]: get, get a range, put, put if absent, delete, list.
//! Invariant: when a put or delete returns, it is durable, and a body shorter than it should be is an error, never data.
//! The module does not know what objects mean, does not cache, and sets no limit on how many requests run at once.

#[cfg(test)]
mod conformance;
mod credentials;
mod draft;
pub mod error;
pub mod fault;
mod folder;
mod limit;
mod local;
mod memory;
mod options;
pub mod probe;
mod requests;
mod s3;
pub mod s3_admin;
#[cfg(test)]
mod served;
mod url;
mod wire;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::Timestamp;
use object_store::path::Path;
use object_store::{
    Error as ObjectError, GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutPayload, UpdateVersion,
};
use tokio::runtime::Handle;

pub use draft::Draft;
pub use error::{Reaction, StoreError, StoreErrorKind};
pub use options::{Credentials, MAX_PATIENCE, OpenOptions};
pub use requests::Requests;

use requests::Meter;

use url::Address;

/// How often a create whose answer was lost is tried before its error is passed on.
const CREATE_ATTEMPTS: u32 = 3;

/// A handle on the objects beneath one address. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
    url: String,
    /// The server, where settings name it and not the address.
    endpoint: Option<String>,
    lists_at_once: bool,
    meter: Arc<Meter>,
    /// The folder that `objects` ends in, where it does.
    local: Option<Arc<local::DurableLocal>>,
    /// Whether its bytes may be read past `objects`: it is on this machine, and nothing counts or slows them.
    reads_here: bool,
    /// The same for bytes that are written.
    writes_here: bool,
}

/// What a listing says of one object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The key, relative to the store's root.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// When the store says it was last written.
    pub modified: Timestamp,
}

/// The outcome of a create.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutNew {
    /// The object now holds exactly this body.
    Created,
    /// Another body was there before; nothing was changed.
    Exists,
}

/// What an object's content is compared by: a new one with every write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tag(String);

/// The outcome of a put that rests on what was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutIf {
    /// The object now holds exactly this body.
    Written,
    /// Somebody else wrote it since, or removed it; nothing was changed.
    Changed,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Store({})", self.inner.url)
    }
}

impl Store {
    /// Opens the store at `url`: `file:///abs`, a plain path, `s3://bucket/prefix?endpoint=..&region=..&path_style=true`
    /// or `memory://name` (shared by all of this process). Nothing is created, and nothing is asked of a server yet.
    pub async fn open(url: &str, options: &OpenOptions) -> Result<Store, StoreError> {
        let address = Address::parse(url).map_err(|e| StoreError::config(url::redacted(url), e))?;
        let shown = address.to_string();
        if let Address::Local { root } = &address {
            folder::refuse_file(root).map_err(|e| StoreError::config(shown.clone(), e))?;
        }
        let (mut local, meter) = (None, Arc::new(Meter::default()));
        let (mut objects, prefix): (Arc<dyn ObjectStore>, Path) = match &address {
            Address::Local { root } => (local.insert(Arc::new(local::DurableLocal::new(root))).clone(), Path::ROOT),
            Address::Memory { name } => (memory::shared(name), Path::ROOT),
            Address::S3(s3) => {
                let bucket = s3::Bucket::resolve(s3, options).await;
                let objects = bucket.and_then(|bucket| bucket.objects(&meter));
                let prefix = Path::parse(&s3.prefix).expect("an address holds a valid prefix");
                (Arc::new(objects.map_err(|e| StoreError::config(shown.clone(), e))?), prefix)
            }
        };
        if options.upload_limit.is_some() || options.download_limit.is_some() {
            objects = Arc::new(limit::Limited::new(objects, options.upload_limit, options.download_limit));
        }
        let lists_at_once = match &address {
            Address::Local { root } => local::is_on_this_machine(root),
            Address::Memory { .. } => true,
            Address::S3(_) => false,
        };
        let here = local.is_some() && lists_at_once;
        let (reads_here, writes_here) =
            (here && options.download_limit.is_none(), here && options.upload_limit.is_none());
        let unsaid = matches!(&address, Address::S3(s3) if s3.endpoint.is_none());
        let endpoint = options.endpoint.as_deref().filter(|_| unsaid).map(url::redacted);
        let inner =
            Inner { objects, prefix, url: shown, endpoint, local, reads_here, writes_here, lists_at_once, meter };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// A store over `inner`, rooted at `prefix`; `url` is what messages call it.
    ///
    /// Panics when `prefix` is not a valid key: it comes from code, not from a user.
    pub fn from_object_store(inner: Arc<dyn ObjectStore>, prefix: &str, url: &str) -> Store {
        let prefix = Path::parse(prefix).expect("a literal prefix");
        Self {
            inner: Arc::new(Inner {
                objects: inner,
                prefix,
                url: url.to_owned(),
                endpoint: None,
                local: None,
                reads_here: false,
                writes_here: false,
                lists_at_once: false,
                meter: Arc::default(),
            }),
        }
    }

    /// Whether every client's listing shows an object as soon as its put has returned. Said only of what is known to: a
    /// file system of this machine, and memory. Not every S3 server does.
    pub fn lists_at_once(&self) -> bool {
        self.inner.lists_at_once
    }

    /// Whether it answers at once or never: a file system of this machine, and memory.
    pub fn is_near(&self) -> bool {
        self.inner.lists_at_once
    }

    /// What its server has been asked so far, through this handle and its clones.
    pub fn requests(&self) -> Requests {
        self.inner.meter.read()
    }

    /// The address, as messages show it. Never holds a secret.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The whole object.
    pub async fn get(&self, key: &str) -> Result<Bytes, StoreError> {
        let path = self.path("get", key)?;
        let result = self.inner.objects.get(&path).await.map_err(|e| self.error("get", key, &e))?;
        self.body("get", key, result).await
    }

    /// Bytes `range` of the object, all of them: when it ends earlier, the error's kind is `Truncated`.
    pub async fn get_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let path = self.path("get", key)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let found = self.inner.objects.get_ranges(&path, std::slice::from_ref(&range)).await;
        match found {
            Ok(mut parts) => match parts.pop() {
                Some(body) if body.len() as u64 == range.end - range.start => Ok(body),
                _ => Err(self.truncated("get", key)),
            },
            Err(cause) => {
                let error = self.error("get", key, &cause);
                // Stores word "starts beyond the end" each in their own way; the object's size is the plain answer.
                match error.kind {
                    StoreErrorKind::Io if self.size(key).await?.is_some_and(|size| size < range.end) => {
                        Err(self.truncated("get", key))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// As [`Store::get_range`], for a thread that may wait, into a buffer that serves again and again: it grows to the
    /// longest range. A folder of this machine is read by the calling thread.
    ///
    /// Panics where it is called by a task of the runtime `on`.
    pub fn read_range<'b>(
        &self,
        on: &Handle,
        key: &str,
        range: Range<u64>,
        buffer: &'b mut Vec<u8>,
    ) -> Result<&'b [u8], StoreError> {
        if let Some(local) = &self.inner.local
            && self.inner.reads_here
        {
            let length = local.read_into(&self.path("get", key)?, &range, buffer).map(<[u8]>::len);
            // What went wrong is told by what is asked in the usual way.
            if let Ok(length) = length {
                return Ok(&buffer[..length]);
            }
        }
        *buffer = on.block_on(self.get_range(key, range))?.into();
        Ok(buffer)
    }

    /// Writes the object, over an older one if there is one. Durable when it returns; may be repeated.
    pub async fn put(&self, key: &str, body: Bytes) -> Result<(), StoreError> {
        let path = self.path("put", key)?;
        let put = self.inner.objects.put(&path, PutPayload::from_bytes(body)).await;
        put.map(|_| ()).map_err(|e| self.error("put", key, &e))
    }

    /// Writes the object unless there is one.
    ///
    /// An answer can be lost after the write took effect, and a retry then finds the object "existing"; so an object
    /// that holds exactly `body` counts as created. Writers that must tell themselves from others put a nonce in it.
    pub async fn put_new(&self, key: &str, body: Bytes) -> Result<PutNew, StoreError> {
        let path = self.path("put", key)?;
        let mut attempt = 1;
        loop {
            let payload = PutPayload::from_bytes(body.clone());
            let cause = match self.inner.objects.put_opts(&path, payload, PutMode::Create.into()).await {
                Ok(_) => return Ok(PutNew::Created),
                Err(cause) => cause,
            };
            let refused = matches!(cause, ObjectError::AlreadyExists { .. } | ObjectError::Precondition { .. });
            let error = self.error("put", key, &cause);
            if !refused && !error.kind.is_ambiguous() {
                return Err(error);
            }
            match self.get(key).await {
                Ok(found) if found == body => return Ok(PutNew::Created),
                Ok(_) => return Ok(PutNew::Exists),
                // Refused because of an object that is gone again, or never written: the create may be repeated.
                Err(read) if read.kind == StoreErrorKind::NotFound && attempt < CREATE_ATTEMPTS => attempt += 1,
                Err(_) => return Err(error),
            }
        }
    }

    /// The whole object, with the tag that [`Store::put_if`] compares.
    pub async fn get_tagged(&self, key: &str) -> Result<(Bytes, Tag), StoreError> {
        let path = self.path("get", key)?;
        let result = self.inner.objects.get(&path).await.map_err(|e| self.error("get", key, &e))?;
        let Some(tag) = result.meta.e_tag.clone() else {
            return Err(StoreError {
                key: key.into(),
                ..StoreError::of_kind("get", self.url(), StoreErrorKind::Config)
            });
        };
        Ok((self.body("get", key, result).await?, Tag(tag)))
    }

    /// Writes the object if it is still the one that was read with `tag`.
    ///
    /// As with [`Store::put_new`], an object that holds exactly `body` counts as written, so bodies carry a nonce.
    pub async fn put_if(&self, key: &str, body: Bytes, tag: &Tag) -> Result<PutIf, StoreError> {
        let path = self.path("put", key)?;
        let mode = PutMode::Update(UpdateVersion { e_tag: Some(tag.0.clone()), version: None });
        let payload = PutPayload::from_bytes(body.clone());
        let Err(cause) = self.inner.objects.put_opts(&path, payload, mode.into()).await else {
            return Ok(PutIf::Written);
        };
        let refused = matches!(cause, ObjectError::Precondition { .. } | ObjectError::AlreadyExists { .. });
        let error = self.error("put", key, &cause);
        if !refused && !error.kind.is_ambiguous() {
            return Err(error);
        }
        match self.get(key).await {
            Ok(found) if found == body => Ok(PutIf::Written),
            Ok(_) if refused => Ok(PutIf::Changed),
            Err(read) if refused && read.kind == StoreErrorKind::NotFound => Ok(PutIf::Changed),
            Ok(_) | Err(_) => Err(error),
        }
    }

    /// Removes the object; one that is not there is fine.
    pub async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.delete_many(vec![key.to_owned()]).await
    }

    /// Removes the objects; those that are not there are fine. Goes on past failures and returns the first.
    pub async fn delete_many(&self, keys: Vec<String>) -> Result<(), StoreError> {
        self.delete_while(keys, || true).await
    }

    /// The same, but begins no further deletion once `may` says no.
    pub async fn delete_while(
        &self,
        keys: Vec<String>,
        may: impl Fn() -> bool + Send + 'static,
    ) -> Result<(), StoreError> {
        let paths = keys.iter().map(|key| self.path("delete", key)).collect::<Result<Vec<_>, _>>()?;
        let what = keys.first().cloned().unwrap_or_default();
        let paths = futures::stream::iter(paths.into_iter().take_while(move |_| may()).map(Ok)).boxed();
        let mut deleted = self.inner.objects.delete_stream(paths);
        let mut first = None;
        while let Some(result) = deleted.next().await {
            match result.map_err(|cause| self.error("delete", &what, &cause)) {
                Err(error) if error.kind != StoreErrorKind::NotFound => first = first.or(Some(error)),
                Ok(_) | Err(_) => {}
            }
        }
        first.map_or(Ok(()), Err)
    }

    /// The object's size, `None` when it is not there.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, StoreError> {
        let path = self.path("look up", key)?;
        match self.inner.objects.head(&path).await {
            Ok(meta) => Ok(Some(meta.size)),
            Err(cause) => match self.error("look up", key, &cause) {
                error if error.kind == StoreErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    /// All objects beneath the folder `prefix` (`""`: all there are), at any depth, sorted by key.
    pub async fn list(&self, prefix: &str) -> Result<Vec<ObjectInfo>, StoreError> {
        let path = self.path("list", prefix)?;
        let listing = self.inner.objects.list(Some(&path)).map_err(|e| self.error("list", prefix, &e));
        let mut found: Vec<_> = listing.map_ok(|meta| self.info(&meta)).try_collect().await?;
        found.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Ok(found)
    }

    async fn body(&self, op: &'static str, key: &str, result: GetResult) -> Result<Bytes, StoreError> {
        let expected = result.range.end - result.range.start;
        let body = result.bytes().await.map_err(|e| self.error(op, key, &e))?;
        if body.len() as u64 == expected { Ok(body) } else { Err(self.truncated(op, key)) }
    }

    fn info(&self, meta: &ObjectMeta) -> ObjectInfo {
        let full = meta.location.as_ref();
        let key = full.strip_prefix(self.inner.prefix.as_ref()).unwrap_or(full).trim_start_matches('/').to_owned();
        let nanos = i32::try_from(meta.last_modified.timestamp_subsec_nanos()).unwrap_or(0);
        let modified = Timestamp::new(meta.last_modified.timestamp(), nanos).unwrap_or(Timestamp::UNIX_EPOCH);
        ObjectInfo { key, size: meta.size, modified }
    }

    fn path(&self, op: &'static str, key: &str) -> Result<Path, StoreError> {
        let parsed = Path::parse(key).map_err(|e| self.error(op, key, &e.into()))?;
        Ok(self.inner.prefix.parts().chain(parsed.parts()).collect())
    }

    fn error(&self, op: &'static str, key: &str, cause: &ObjectError) -> StoreError {
        let error = StoreError::classify(op, key, self.url(), cause);
        match &self.inner.endpoint {
            Some(endpoint) if error.kind.is_of_the_way() => error.at(endpoint),
            Some(_) | None => error,
        }
    }

    fn truncated(&self, op: &'static str, key: &str) -> StoreError {
        StoreError { key: key.into(), ..StoreError::of_kind(op, self.url(), StoreErrorKind::Truncated) }
    }
}
