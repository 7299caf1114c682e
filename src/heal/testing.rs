//! What tests of healing share: vaults over stores that fail on demand.

use std::sync::Arc;

use object_store::memory::InMemory;

use crate::store::Store;
use crate::store::fault::{Effect, Fault, FaultStore, Operation, When};
use crate::vault::Vault;
use crate::vault::key::Secret;
use crate::vault::tests::{cheap, env};

/// Every kind of request.
pub(crate) const KINDS: [Operation; 4] = [Operation::Put, Operation::Get, Operation::List, Operation::Delete];

/// A new vault over a store that can be made to fail.
pub(crate) async fn faulty() -> (FaultStore, Vault) {
    let faults = FaultStore::new(Arc::new(InMemory::new()));
    let store = Store::from_object_store(Arc::new(faults.clone()), "", "memory://faulty");
    let vault = Vault::init(store, &Secret::new("password"), &cheap(), &env()).await.unwrap();
    (faults, vault)
}

/// The nth request of a kind fails.
pub(crate) fn nth_fault(on: Operation, nth: u64, effect: Effect) -> Fault {
    Fault { on, prefix: String::new(), when: When::Nth(nth), effect }
}
