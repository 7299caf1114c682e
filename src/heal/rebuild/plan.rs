//! Decides which packs' headers are read, and which packs no index may name any more.

use std::collections::HashMap;

use crate::vault::Id;

/// How far index files are believed that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// What they name is not read again.
    Valid,
    /// Not at all: every pack is read.
    Nothing,
}

/// Why a header is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No index file names the pack.
    Unnamed,
    /// It has another size than its entries add up to.
    OtherSize,
    /// Nothing that index files say is believed.
    Distrusted,
}

/// A pack whose header is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ToRead {
    /// The pack.
    pub pack: Id,
    /// Its size in the store.
    pub size: u64,
    /// Why.
    pub reason: Reason,
}

/// What a rebuild does.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RebuildPlan {
    /// Headers to be read.
    pub read: Vec<ToRead>,
    /// Packs that index files name and the store does not have: their entries lead nowhere, and keep a backup from storing
    /// again what is lost.
    pub gone: Vec<Id>,
}

/// Decides. `named` is what index files name, with the size that follows; `listed` what the store has. Each pack once.
pub fn rebuild(named: impl IntoIterator<Item = (Id, u64)>, listed: &[(Id, u64)], trust: Trust) -> RebuildPlan {
    let mut unseen: HashMap<Id, u64> = named.into_iter().collect();
    let mut plan = RebuildPlan::default();
    for &(pack, size) in listed {
        let reason = match (unseen.remove(&pack), trust) {
            (None, _) => Reason::Unnamed,
            (Some(implied), _) if implied != size => Reason::OtherSize,
            (Some(_), Trust::Nothing) => Reason::Distrusted,
            (Some(_), Trust::Valid) => continue,
        };
        plan.read.push(ToRead { pack, size, reason });
    }
    plan.gone = unseen.into_keys().collect();
    plan.gone.sort_unstable();
    plan.read.sort_unstable();
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> Id {
        Id([n; 32])
    }

    fn to_read(n: u8, size: u64, reason: Reason) -> ToRead {
        ToRead { pack: id(n), size, reason }
    }

    #[test]
    fn only_what_no_index_names_rightly_is_read() {
        let named = [(id(1), 100), (id(2), 100), (id(3), 100)];
        let listed = [(id(1), 100), (id(2), 99), (id(4), 7)];
        let plan = rebuild(named, &listed, Trust::Valid);
        assert_eq!(plan.read, [to_read(2, 99, Reason::OtherSize), to_read(4, 7, Reason::Unnamed)]);
        assert_eq!(plan.gone, [id(3)]);
    }

    #[test]
    fn who_trusts_nothing_reads_all() {
        let plan = rebuild([(id(1), 100)], &[(id(1), 100), (id(2), 7)], Trust::Nothing);
        assert_eq!(plan.read, [to_read(1, 100, Reason::Distrusted), to_read(2, 7, Reason::Unnamed)]);
        assert_eq!(plan.gone, []);
    }

    #[test]
    fn a_whole_index_needs_nothing() {
        assert_eq!(rebuild([(id(1), 100)], &[(id(1), 100)], Trust::Valid), RebuildPlan::default());
        assert_eq!(rebuild([], &[], Trust::Nothing), RebuildPlan::default());
    }
}
