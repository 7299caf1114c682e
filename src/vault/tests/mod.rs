//! What tests of the vault share, and tests of the vault as a whole.

mod init;
mod keys;
mod objects;

use std::sync::Arc;

use crate::clock::{Env, Seeded, SetClock};
use crate::store::{OpenOptions as StoreOptions, Store};
use crate::vault::key::{KdfCost, Secret};
use crate::vault::{InitOptions, OpenOptions, Vault, VaultError};

/// Midnight of the first of January 2026, and always the same random bytes.
pub(crate) fn env() -> Env {
    seeded(1)
}

/// As [`env`], with other random bytes.
pub(crate) fn seeded(seed: u64) -> Env {
    let start = "2026-01-01T00:00:00Z".parse().unwrap();
    Env { clock: Arc::new(SetClock::at(start)), random: Arc::new(Seeded::new(seed)) }
}

/// Quick to open.
pub(crate) fn cheap() -> InitOptions {
    InitOptions { cost: KdfCost::Cheap, ..InitOptions::default() }
}

/// A store in memory that nothing else has.
pub(crate) fn memory() -> Store {
    let objects = Arc::new(object_store::memory::InMemory::new());
    Store::from_object_store(objects, "", "memory://test")
}

/// A new vault in memory; its password is "password".
pub(crate) async fn vault() -> Vault {
    Vault::init(memory(), &Secret::new("password"), &cheap(), &env()).await.unwrap()
}

pub(crate) async fn open(store: &Store, password: &str) -> Result<Vault, VaultError> {
    Vault::open(store.clone(), &Secret::new(password), &OpenOptions::default(), &seeded(9)).await
}

async fn init(store: &Store, password: &str, options: &InitOptions, seed: u64) -> Result<Vault, VaultError> {
    Vault::init(store.clone(), &Secret::new(password), options, &seeded(seed)).await
}

async fn folder(path: &std::path::Path) -> Store {
    Store::open(path.to_str().unwrap(), &StoreOptions::default()).await.unwrap()
}

/// The error and its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
