//! What tests of healing share: vaults over stores that fail on demand, and what is done to objects.

use std::sync::Arc;

use object_store::memory::InMemory;

use crate::store::Store;
use crate::store::fault::{Effect, Fault, FaultStore, Operation, When};
use crate::vault::key::Secret;
use crate::vault::tests::{cheap, env, seeded};
use crate::vault::{InitOptions, Vault};

/// Every kind of request.
pub(crate) const KINDS: [Operation; 4] = [Operation::Put, Operation::Get, Operation::List, Operation::Delete];

/// A new vault over a store that can be made to fail.
pub(crate) async fn faulty() -> (FaultStore, Vault) {
    let faults = FaultStore::new(Arc::new(InMemory::new()));
    let store = Store::from_object_store(Arc::new(faults.clone()), "", "memory://faulty");
    let vault = Vault::init(store, &Secret::new("password"), &cheap(), &env()).await.unwrap();
    (faults, vault)
}

/// Which requests fail, from the number of the first.
pub(crate) type Which = fn(u64) -> When;

/// How requests fail: one of them before or after it took effect, or, as in a crash, that one and all that would follow.
pub(crate) const FAILURES: [(Which, Effect); 3] =
    [(When::Nth, Effect::Fail), (When::Nth, Effect::LoseAnswer), (When::From, Effect::Fail)];

/// Requests of a kind fail.
pub(crate) fn fault(on: Operation, when: When, effect: Effect) -> Fault {
    Fault { on, prefix: String::new(), when, effect }
}

/// A vault with a key of its own that cuts files like `vault` does.
pub(crate) async fn beside(vault: &Vault) -> (FaultStore, Vault) {
    let faults = FaultStore::new(Arc::new(InMemory::new()));
    let store = Store::from_object_store(Arc::new(faults.clone()), "", "memory://copy");
    let options = InitOptions { same_chunks_as: Some(*vault.chunker()), ..cheap() };
    let copy = Vault::init(store, &Secret::new("password"), &options, &seeded(2)).await.unwrap();
    (faults, copy)
}

/// Flips a bit of an object; of its last byte, when it is shorter.
pub(crate) async fn flip(vault: &Vault, key: &str, at: usize) {
    let mut bytes = vault.store().get(key).await.unwrap().to_vec();
    let at = at.min(bytes.len() - 1);
    bytes[at] ^= 1;
    vault.store().put(key, bytes.into()).await.unwrap();
}
