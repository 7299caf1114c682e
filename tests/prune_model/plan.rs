//! What a prune decides about packs that the index names, in either form.

use super::vault::{Set, Vault};

/// What becomes of packs.
pub(crate) struct Plan {
    /// Needed blobs that are in one of the packs.
    pub(crate) found: Set,
    /// Packs that hold nothing that is needed from them, or too little.
    pub(crate) goes: Set,
    /// Blobs that have to be copied out of those first.
    pub(crate) moves: Set,
}

/// Decides about packs, of which the first that has a blob is the one that keeps it. With `repacks`, a pack goes that is
/// needed for some of its blobs only.
pub(crate) fn decide(vault: &Vault, packs: Set, used: Set, repacks: bool) -> Plan {
    let mut plan = Plan { found: Set::EMPTY, goes: Set::EMPTY, moves: Set::EMPTY };
    for pack in packs.iter().map(Set::one) {
        let blobs = vault.blobs_in(pack);
        let needed = blobs.within(used).without(plan.found);
        let keeps = needed == blobs || (!needed.is_empty() && !repacks);
        if !keeps {
            plan.goes = plan.goes.and(pack);
            plan.moves = plan.moves.and(needed);
        }
        plan.found = plan.found.and(needed);
    }
    plan
}
