//! Stores that live as long as the process: two opens of one name see the same objects.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::memory::InMemory;

static NAMED: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

/// The store called `name`, empty when nobody has opened it before.
pub(super) fn shared(name: &str) -> Arc<dyn ObjectStore> {
    // A panic elsewhere cannot leave the map half changed: it only ever gains whole entries.
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    named.entry(name.to_owned()).or_default().clone()
}
