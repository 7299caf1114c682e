//! What the records of a vault are worth: signatures, places, chains. Pure.
//!
//! A record counts when its text is signed by a key that the vault knows for the host that it names, and when it lies
//! where its id says. Chains show what is missing between records: a gap, a record that does not fit the one before, two
//! for one place. What a chain cannot show is a missing end (it may still be spooled on its host) and a chain that is
//! gone as a whole.
//!
//! A flaw takes only the record concerned out of the count: damage to one must not hide the others.

use std::collections::{BTreeMap, HashSet};

use super::entry::{Record, RunId, VERSION, Work};
use super::sign::{PublicKey, Signed};
use crate::vault::Id;

/// The public keys that a vault knows, by host.
#[derive(Debug, Clone, Default)]
pub struct KnownKeys(BTreeMap<String, Vec<PublicKey>>);

impl KnownKeys {
    /// Adds a key of a host.
    pub fn add(&mut self, host: &str, key: PublicKey) {
        self.0.entry(host.to_owned()).or_default().push(key);
    }

    /// Whether the key is one of the host's.
    pub fn knows(&self, host: &str, key: &PublicKey) -> bool {
        self.0.get(host).is_some_and(|keys| keys.contains(key))
    }
}

/// An object under the records' prefix, as far as it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its key in the store.
    pub key: String,
    /// The signed record, or why it cannot be read.
    pub content: Result<Signed, String>,
}

/// A record that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it says.
    pub record: Record,
    /// SHA-256 of its canonical text.
    pub digest: Id,
}

/// Something wrong with the records of a vault.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Flaw {
    /// The object cannot be opened, or is no record.
    #[error("{key} cannot be read: {why}")]
    Unreadable {
        /// The object.
        key: String,
        /// Why.
        why: String,
    },
    /// A later program wrote it.
    #[error("{key} has version {version}; this program knows up to {VERSION}")]
    Newer {
        /// The object.
        key: String,
        /// Its version.
        version: u32,
    },
    /// The text was changed, or another key signed it.
    #[error("{key} has a signature that does not fit")]
    Forged {
        /// The object.
        key: String,
    },
    /// The signature fits a key that the vault does not know for this host.
    #[error("{key} is signed by a key that is not known for host {host:?} ({fingerprint})")]
    UnknownSigner {
        /// The object.
        key: String,
        /// The host it names.
        host: String,
        /// The key's fingerprint.
        fingerprint: String,
    },
    /// It lies under another name than its own.
    #[error("{key} is the record {id}, which belongs elsewhere")]
    Misplaced {
        /// The object.
        key: String,
        /// The record.
        id: RunId,
    },
    /// Records are missing in a chain.
    #[error("records {from} to {to} of chain {chain} of host {host:?} are missing")]
    Missing {
        /// The host.
        host: String,
        /// The chain.
        chain: RunId,
        /// The first place without a record.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A record does not follow the one before it in its chain.
    #[error("record {id} does not fit the one before it in chain {chain} of host {host:?}")]
    Unlinked {
        /// The host.
        host: String,
        /// The chain.
        chain: RunId,
        /// The later one.
        id: RunId,
    },
    /// Two records claim one place in a chain.
    #[error("records {first} and {second} claim the same place in chain {chain} of host {host:?}")]
    Forked {
        /// The host.
        host: String,
        /// The chain.
        chain: RunId,
        /// One.
        first: RunId,
        /// The other.
        second: RunId,
    },
}

/// The records that count, ascending by id, and what is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// What counts.
    pub entries: Vec<Entry>,
    /// What is wrong, ascending.
    pub flaws: Vec<Flaw>,
}

impl Audit {
    /// The snapshots that records that count say were made, or copied into the vault.
    ///
    /// `None` when no record could vouch for any: the snapshots are another tool's. A record that such a vault was read
    /// back, or pruned, makes them no more suspicious than they were. Whoever can remove the records that vouch can
    /// remove all of them, so those that are left prove nothing; one that is damaged may have been one that vouched.
    pub fn vouched(&self) -> Option<HashSet<Id>> {
        let mut vouched = HashSet::new();
        for Entry { record, .. } in &self.entries {
            match &record.work {
                Work::Backup { snapshot } => vouched.extend(*snapshot),
                Work::Replicate { copied, .. } => vouched.extend(copied.iter().map(|copied| copied.copy)),
                Work::Restore { .. }
                | Work::Retention { .. }
                | Work::Prune
                | Work::Verify { .. }
                | Work::Drill(_)
                | Work::Missed { .. } => {}
            }
        }
        (!vouched.is_empty() || !self.flaws.is_empty()).then_some(vouched)
    }
}

/// Checks all records of a vault together. `place` gives the key under which a record belongs.
pub fn verify(found: Vec<Found>, known: &KnownKeys, place: impl Fn(RunId) -> String) -> Audit {
    let mut audit = Audit::default();
    for object in found {
        match check_one(object, known, &place) {
            Ok(entry) => audit.entries.push(entry),
            Err(flaw) => audit.flaws.push(flaw),
        }
    }
    audit.entries.sort_by_key(|entry| entry.record.id);
    audit.flaws.extend(check_chains(&audit.entries));
    audit.flaws.sort();
    audit
}

fn check_one(object: Found, known: &KnownKeys, place: &impl Fn(RunId) -> String) -> Result<Entry, Flaw> {
    let Found { key, content } = object;
    let unreadable = |why: String| Flaw::Unreadable { key: key.clone(), why };
    let signed = content.map_err(unreadable)?;
    let Some(signer) = signed.signer() else { return Err(Flaw::Forged { key }) };
    let version: Version = serde_json::from_str(&signed.record).map_err(|e| unreadable(e.to_string()))?;
    if version.version > VERSION {
        return Err(Flaw::Newer { key, version: version.version });
    }
    let record: Record = serde_json::from_str(&signed.record).map_err(|e| unreadable(e.to_string()))?;
    if !known.knows(&record.host, &signer) {
        return Err(Flaw::UnknownSigner { key, host: record.host, fingerprint: signer.fingerprint() });
    }
    if place(record.id) != key {
        return Err(Flaw::Misplaced { key, id: record.id });
    }
    Ok(Entry { digest: signed.digest(), record })
}

/// What every version of a record has.
#[derive(serde::Deserialize)]
struct Version {
    version: u32,
}

fn check_chains(entries: &[Entry]) -> Vec<Flaw> {
    let mut chains: BTreeMap<(&str, RunId), Vec<&Entry>> = BTreeMap::new();
    for entry in entries {
        chains.entry((&entry.record.host, entry.record.link.chain)).or_default().push(entry);
    }
    let mut flaws = Vec::new();
    for ((host, chain), mut links) in chains {
        links.sort_by_key(|entry| (entry.record.link.seq, entry.record.id));
        let host = host.to_owned();
        let mut before: Option<&Entry> = None;
        for &entry in &links {
            let link = entry.record.link;
            let id = entry.record.id;
            let expected = before.map_or(0, |before| before.record.link.seq + 1);
            if let Some(before) = before.filter(|before| before.record.link.seq == link.seq) {
                flaws.push(Flaw::Forked { host: host.clone(), chain, first: before.record.id, second: id });
                continue;
            }
            if link.seq > expected {
                flaws.push(Flaw::Missing { host: host.clone(), chain, from: expected, to: link.seq - 1 });
            } else if link.prev != before.map(|before| before.digest) {
                flaws.push(Flaw::Unlinked { host: host.clone(), chain, id });
            }
            before = Some(entry);
        }
    }
    flaws
}
