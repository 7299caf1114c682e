//! Asks a store to prove that it honours create-if-absent, which single-writer work rests on.

use bytes::Bytes;

use super::{PutNew, Store, StoreError};

/// What a store does with the condition "only if it is not there".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conditions {
    /// The second creator is turned away.
    Honoured,
    /// The second creator overwrites the first and is told that all is well.
    Ignored,
}

/// Creates one object twice, and removes it. `key` must be one that nothing else uses; a crash leaves the object.
pub async fn conditions(store: &Store, key: &str) -> Result<Conditions, StoreError> {
    let outcome = race(store, key).await;
    store.delete(key).await?;
    outcome
}

async fn race(store: &Store, key: &str) -> Result<Conditions, StoreError> {
    store.put_new(key, Bytes::from_static(b"first")).await?;
    match store.put_new(key, Bytes::from_static(b"second")).await? {
        PutNew::Exists if store.get(key).await? == "first" => Ok(Conditions::Honoured),
        PutNew::Exists | PutNew::Created => Ok(Conditions::Ignored),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
        PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    };

    use super::*;

    /// Answers every create with "done", as some servers do.
    #[derive(Debug)]
    struct Liar(InMemory);

    impl std::fmt::Display for Liar {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Liar")
        }
    }

    #[async_trait]
    impl ObjectStore for Liar {
        async fn put_opts(&self, location: &Path, payload: PutPayload, _: PutOptions) -> Result<PutResult> {
            self.0.put_opts(location, payload, PutMode::Overwrite.into()).await
        }
        async fn put_multipart_opts(&self, path: &Path, o: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(path, o).await
        }
        async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(location, options).await
        }
        fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(locations)
        }
        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }
        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }
        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    async fn probe(objects: Arc<dyn ObjectStore>) -> Conditions {
        let store = Store::from_object_store(objects, "vault", "memory://probe");
        let found = conditions(&store, "probe").await.unwrap();
        assert_eq!(store.list("").await.unwrap(), [], "the probe removes its object");
        found
    }

    #[tokio::test]
    async fn a_store_that_honours_conditions_is_told_from_one_that_does_not() {
        assert_eq!(probe(Arc::new(InMemory::new())).await, Conditions::Honoured);
        assert_eq!(probe(Arc::new(Liar(InMemory::new()))).await, Conditions::Ignored);
    }
}
