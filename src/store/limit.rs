//! A store that sends and receives no more than so many bytes a second, on average.
//!
//! Each transfer first waits its turn in a lane and stays there for as long as its bytes take at the limit; transfers
//! follow their turn, so that they overlap with the next one's wait. No clock is read and no credit is saved up. Objects
//! are sent whole: on a fast line a limited upload is a train of bursts, one for each pack.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Mutex;

use crate::units::ByteSize;

/// A store behind a limit in each direction.
#[derive(Debug)]
pub(super) struct Limited {
    inner: Arc<dyn ObjectStore>,
    upload: Arc<Lane>,
    download: Arc<Lane>,
}

/// One direction.
#[derive(Debug)]
struct Lane {
    /// Bytes a second; `None`: no limit.
    rate: Option<ByteSize>,
    turn: Mutex<()>,
}

impl Lane {
    fn new(rate: Option<ByteSize>) -> Arc<Self> {
        Arc::new(Self { rate: rate.filter(|rate| rate.0 > 0), turn: Mutex::new(()) })
    }

    async fn pass(&self, bytes: u64) {
        let Some(rate) = self.rate else { return };
        let _turn = self.turn.lock().await;
        tokio::time::sleep(Duration::from_secs_f64(bytes as f64 / rate.0 as f64)).await;
    }
}

impl Limited {
    /// `inner` behind the given limits, in bytes a second; none or nought is no limit.
    pub(super) fn new(inner: Arc<dyn ObjectStore>, upload: Option<ByteSize>, download: Option<ByteSize>) -> Self {
        Self { inner, upload: Lane::new(upload), download: Lane::new(download) }
    }
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Limited({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Limited {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.upload.pass(payload.content_length() as u64).await;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let mut result = self.inner.get_opts(location, options).await?;
        if head {
            return Ok(result);
        }
        result.payload = match result.payload {
            GetResultPayload::Stream(stream) => {
                let lane = self.download.clone();
                let slowed = stream.then(move |part| {
                    let lane = lane.clone();
                    async move {
                        if let Ok(part) = &part {
                            lane.pass(part.len() as u64).await;
                        }
                        part
                    }
                });
                GetResultPayload::Stream(slowed.boxed())
            }
            file @ GetResultPayload::File(..) => {
                self.download.pass(result.range.end - result.range.start).await;
                file
            }
        };
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let bodies = self.inner.get_ranges(location, ranges).await?;
        self.download.pass(bodies.iter().map(|body| body.len() as u64).sum()).await;
        Ok(bodies)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
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
    use tokio::runtime::Handle;

    use super::*;
    use crate::store::{OpenOptions, Store};

    fn limited(upload: u64, download: u64) -> Store {
        let limited = Limited::new(Arc::new(InMemory::new()), Some(ByteSize(upload)), Some(ByteSize(download)));
        Store::from_object_store(Arc::new(limited), "", "memory://limited")
    }

    /// How long `work` takes. The limits are chosen so that a slow machine cannot blur what is measured.
    #[expect(clippy::disallowed_methods, reason = "the measurement is the point")]
    async fn measure(work: impl Future<Output = ()>) -> Duration {
        let start = std::time::Instant::now();
        work.await;
        start.elapsed()
    }

    #[tokio::test]
    async fn both_directions_keep_to_their_limit() {
        let store = limited(10_000, 5_000);
        let sent = measure(async {
            let puts = (0..8).map(|n| {
                let store = store.clone();
                async move { store.put(&format!("k{n}"), vec![0; 250].into()).await.unwrap() }
            });
            futures::future::join_all(puts).await;
        });
        assert!(sent.await >= Duration::from_millis(200), "2000 bytes at 10000 a second");

        let received = measure(async {
            for n in 0..4 {
                store.get(&format!("k{n}")).await.unwrap();
                store.get_range(&format!("k{n}"), 0..125).await.unwrap();
            }
        });
        assert!(received.await >= Duration::from_millis(300), "1500 bytes at 5000 a second");
    }

    #[tokio::test]
    async fn what_a_thread_reads_of_a_folder_itself_keeps_to_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let options = OpenOptions { download_limit: Some(ByteSize(5_000)), ..OpenOptions::default() };
        let store = Store::open(folder.path().to_str().unwrap(), &options).await.unwrap();
        store.put("k", vec![0; 1500].into()).await.unwrap();
        let (reader, on) = (store.clone(), Handle::current());
        let read = move || {
            let mut buffer = Vec::new();
            (0..4).for_each(|n| assert_eq!(reader.read_range(&on, "k", n..n + 500, &mut buffer).unwrap().len(), 500));
        };
        let received = measure(async { tokio::task::spawn_blocking(read).await.unwrap() });
        assert!(received.await >= Duration::from_millis(350), "2000 bytes at 5000 a second");
    }

    #[tokio::test]
    async fn no_limit_and_no_body_cost_no_time() {
        let store = limited(0, 1);
        let spent = measure(async {
            store.put("k", vec![0; 1 << 20].into()).await.unwrap();
            assert_eq!(store.size("k").await.unwrap(), Some(1 << 20));
            store.list("").await.unwrap();
            store.delete("k").await.unwrap();
        });
        assert!(spent.await < Duration::from_secs(60), "at the limit it would be twelve days");
    }
}
