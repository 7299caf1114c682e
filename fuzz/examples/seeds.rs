//! Writes the objects of a vault, opened, as seeds: `cargo run --example seeds -- VAULT PASSWORD NAME CORPUS`.
//!
//! NAME says which program wrote the vault; seeds are called CORPUS/<target>/NAME-<number>.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use drctl::clock::{Env, Seeded, SetClock};
use drctl::store::{OpenOptions as StoreOptions, Store};
use drctl::vault::key::{KeyFile, Secret};
use drctl::vault::layout::{self, CONFIG, SETTINGS};
use drctl::vault::{BlobType, FileType, OpenOptions, Vault};

/// Seeds of one vault. The largest of each kind would fill the corpus, so those past this size are left out.
const LARGEST: usize = 6_000;
const OF_EACH: usize = 6;

struct Seeds {
    corpus: PathBuf,
    name: String,
    written: BTreeMap<&'static str, usize>,
}

impl Seeds {
    fn add(&mut self, target: &'static str, seed: &[u8]) -> Result<(), Box<dyn Error>> {
        let number = self.written.entry(target).or_default();
        if seed.len() <= LARGEST && *number < OF_EACH {
            std::fs::create_dir_all(self.corpus.join(target))?;
            std::fs::write(self.corpus.join(target).join(format!("{}-{number}", self.name)), seed)?;
            *number += 1;
        }
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, password, name, corpus] = &args[..] else { return Err("VAULT PASSWORD NAME CORPUS".into()) };
    // Nothing is sealed here, so nothing has to be random.
    let env = Env { clock: Arc::new(SetClock::at("2026-01-01T00:00:00Z".parse()?)), random: Arc::new(Seeded::new(1)) };
    let password = Secret::new(password.as_bytes());
    let store = Store::open(url, &StoreOptions::default()).await?;
    let vault = Vault::open(store.clone(), &password, &OpenOptions::default(), &env).await?;
    let mut seeds = Seeds { corpus: corpus.into(), name: name.clone(), written: BTreeMap::new() };

    for key in [CONFIG, SETTINGS] {
        if store.size(key).await?.is_some() {
            seeds.add("config", &vault.key().open(&store.get(key).await?)?)?;
        }
    }
    for (id, _) in vault.list(FileType::Key).await? {
        let json = vault.load(FileType::Key, &id).await?;
        KeyFile::parse(&json)?.check()?;
        seeds.add("key", &json)?;
    }
    for (kind, target) in [(FileType::Index, "index"), (FileType::Snapshot, "snapshot"), (FileType::Lock, "lock")] {
        for (id, _) in vault.list(kind).await? {
            seeds.add("unpacked", &vault.key().open(&store.get(&layout::object(kind, &id)).await?)?)?;
            seeds.add(target, &vault.load(kind, &id).await?)?;
        }
    }
    let mut index = Vec::new();
    for (id, _) in vault.list(FileType::Index).await? {
        index.extend(vault.load_index_file(&id).await?.packs);
    }
    for pack in index {
        let bytes = store.get(&layout::pack(&pack.id)).await?;
        let (rest, trailer) = bytes.split_last_chunk::<4>().ok_or("a pack without a trailer")?;
        let sealed = &rest[rest.len() - u32::from_le_bytes(*trailer) as usize..];
        let header = vault.key().open(sealed)?;
        seeds.add("pack_header", &[&(bytes.len() as u64).to_le_bytes()[..], &header].concat())?;
        for (key, at) in pack.blobs.iter().filter(|(key, _)| key.kind == BlobType::Tree) {
            let start = at.offset as usize;
            let sealed = &bytes[start..start + at.length as usize];
            let tree = drctl::vault::pack::open_blob(vault.key(), &key.id, sealed, at.uncompressed)?;
            seeds.add("tree", &tree)?;
        }
    }
    for object in store.list(layout::RECORDS).await? {
        seeds.add("record", &vault.key().open(&store.get(&object.key).await?)?)?;
    }
    Ok(())
}
