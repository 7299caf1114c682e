use super::super::decision::MaxUnused;
use super::*;
use crate::vault::{BlobType, PackContents};
use proptest::prelude::*;

fn id(n: u8) -> Id {
    Id([n; 32])
}

fn blob(n: u8) -> BlobKey {
    BlobKey::data(id(n))
}

/// A pack with blobs of the given names and lengths, and the size it has in the store.
fn pack(name: u8, blobs: &[(u8, u32)]) -> (Vec<(BlobKey, Located)>, (Id, ByteSize)) {
    let mut offset = 0;
    let mut entries = Vec::new();
    for &(n, length) in blobs {
        entries.push((blob(n), Located { pack: id(name), offset, length, uncompressed: None }));
        offset += length;
    }
    let size = u64::from(offset) + HEADER_OVERHEAD + ENTRY * blobs.len() as u64;
    (entries, (id(name), ByteSize(size)))
}

struct Store {
    index: Vec<(BlobKey, Located)>,
    listed: Vec<(Id, ByteSize)>,
    beside: Option<Beside>,
}

fn store(packs: &[(u8, &[(u8, u32)])]) -> Store {
    let mut made = Store { index: Vec::new(), listed: Vec::new(), beside: None };
    for (name, blobs) in packs {
        let (entries, listed) = pack(*name, blobs);
        made.index.extend(entries);
        made.listed.push(listed);
    }
    made
}

impl Entries for Store {
    fn for_each_blob(&self, mut see: impl FnMut(BlobKey, &[Located], Option<u64>)) {
        let mut sorted = self.index.clone();
        sorted.sort_unstable_by_key(|(key, at)| (*key, at.pack, at.offset));
        for blob in sorted.chunk_by(|(one, _), (other, _)| one == other) {
            see(blob[0].0, &blob.iter().map(|(_, at)| *at).collect::<Vec<_>>(), None);
        }
    }
}

/// What is needed of a store.
struct Used<'a> {
    used: HashSet<BlobKey>,
    store: &'a Store,
}

impl Needed for Used<'_> {
    fn needs(&self, key: &BlobKey, _: Option<u64>) -> bool {
        self.used.contains(key)
    }

    fn unindexed(&self) -> Vec<BlobKey> {
        self.used.iter().filter(|key| !self.store.index.iter().any(|(named, _)| named == *key)).copied().collect()
    }
}

fn limits(percent: u8, max_repack: Option<u64>) -> Limits {
    let max_unused = MaxUnused::percent(percent).expect("at most 100");
    Limits { max_unused, max_repack: max_repack.map(ByteSize) }
}

impl Store {
    fn used(&self, used: &[u8]) -> Used<'_> {
        Used { used: used.iter().map(|&n| blob(n)).collect(), store: self }
    }

    fn plan(&self, used: &[u8], percent: u8) -> Result<PrunePlan, Refusal> {
        self.plan_within(used, limits(percent, None))
    }

    fn plan_within(&self, used: &[u8], limits: Limits) -> Result<PrunePlan, Refusal> {
        prune(self, &self.listed, &self.used(used), limits, self.beside.as_ref())
    }

    /// What moves, all of it at once.
    fn moving(&self, used: &[u8], plan: &PrunePlan) -> Vec<(BlobKey, Located)> {
        let mut moving = plan.moving(self, &self.used(used), &plan.repack);
        plan.repack.iter().flat_map(|repacked| moving.remove(&repacked.pack).unwrap_or_default()).collect()
    }
}

#[test]
fn a_pack_in_full_use_stays_and_an_unused_one_goes() {
    let plan = store(&[(1, &[(1, 100)]), (2, &[(2, 100)])]).plan(&[1], 5).expect("whole");
    assert_eq!(plan.keep, [Kept { pack: id(1), unused: ByteSize(0), reason: KeepReason::FullyUsed }]);
    assert_eq!(plan.delete, [Deleted { pack: id(2), size: ByteSize(173), reason: DeleteReason::Unused }]);
    assert_eq!(plan.index, IndexChange::Rewrite);
    assert_eq!((plan.figures.used, plan.figures.unused, plan.figures.freed), (100, 100, 173));
}

#[test]
fn nothing_to_do_is_an_empty_plan() {
    let plan = store(&[(1, &[(1, 100), (2, 50)])]).plan(&[1, 2], 0).expect("whole");
    assert!(plan.is_empty());
    assert_eq!(plan.figures.freed, 0);
}

#[test]
fn an_orphan_goes_and_the_index_stays() {
    let mut store = store(&[(1, &[(1, 100)])]);
    store.listed.push((id(9), ByteSize(4000)));
    let plan = store.plan(&[1], 5).expect("whole");
    assert_eq!(plan.delete, [Deleted { pack: id(9), size: ByteSize(4000), reason: DeleteReason::Orphan }]);
    assert_eq!(plan.index, IndexChange::None);
    assert!(!plan.is_empty());
}

#[test]
fn the_most_wasteful_pack_is_repacked_first_and_the_rest_tolerated() {
    let store = store(&[(1, &[(1, 900), (2, 20)]), (2, &[(3, 100), (4, 800)])]);
    let plan = store.plan(&[1, 3], 5).expect("whole");
    assert_eq!(plan.repack.len(), 1);
    assert_eq!(plan.repack[0].pack, id(2));
    assert_eq!(plan.repack[0].blobs, 1);
    assert_eq!(store.moving(&[1, 3], &plan).iter().map(|(key, _)| *key).collect::<Vec<_>>(), [blob(3)]);
    assert_eq!(plan.keep, [Kept { pack: id(1), unused: ByteSize(20), reason: KeepReason::Tolerated }]);
    assert_eq!(plan.figures.unused_after, 20);
    assert_eq!(plan.figures.rewrite, 100);
    assert_eq!(store.plan(&[1, 3], 0).expect("whole").repack.len(), 2);
    assert_eq!(store.plan(&[1, 3], 100).expect("whole").repack.len(), 0);
}

#[test]
fn no_more_is_rewritten_than_may_be_and_the_most_wasteful_goes_first() {
    let store = store(&[(1, &[(1, 900), (2, 100)]), (2, &[(3, 100), (4, 800)]), (3, &[(5, 40), (6, 200)])]);
    let rewritten = |most| {
        let plan = store.plan_within(&[1, 3, 5], limits(0, most)).expect("whole");
        let packs: Vec<u8> = plan.repack.iter().map(|repacked| repacked.pack.0[0]).collect();
        (packs, plan.figures.rewrite, plan.figures.unused_after)
    };
    assert_eq!(rewritten(None), (vec![1, 2, 3], 1040, 0));
    assert_eq!(rewritten(Some(1040)), (vec![1, 2, 3], 1040, 0));
    assert_eq!(rewritten(Some(1039)), (vec![2, 3], 140, 100));
    assert_eq!(rewritten(Some(100)), (vec![2], 100, 300));
    // The most wasteful one does not fit, a smaller one does.
    assert_eq!(rewritten(Some(99)), (vec![3], 40, 900));
    assert_eq!(rewritten(Some(0)), (vec![], 0, 1100));
}

#[test]
fn of_two_copies_the_one_in_the_pack_that_stays_anyway_counts() {
    let store = store(&[(1, &[(7, 500)]), (2, &[(7, 500), (8, 100)])]);
    let plan = store.plan(&[7, 8], 5).expect("whole");
    assert_eq!(plan.delete.len(), 1);
    assert_eq!((plan.delete[0].pack, plan.delete[0].reason), (id(1), DeleteReason::OnlyDuplicates));
    assert_eq!(plan.keep.len(), 1);
}

#[test]
fn a_blob_twice_in_one_pack_counts_once() {
    let plan = store(&[(1, &[(7, 500), (7, 500), (8, 500)])]).plan(&[7, 8], 0).expect("whole");
    assert_eq!(plan.repack[0].blobs, 2);
    assert_eq!(plan.figures.duplicate, 500);
}

#[test]
fn a_needed_pack_that_is_gone_or_cut_short_stops_the_prune_by_name() {
    let mut missing = store(&[(1, &[(1, 100)]), (2, &[(2, 100)])]);
    missing.listed.remove(0);
    let refusal = missing.plan(&[1], 5).expect_err("damaged");
    let damaged = DamagedPack { pack: id(1), expected: 173, found: None };
    assert_eq!(refusal, Refusal::Damaged { packs: vec![damaged], count: 1 });
    assert!(refusal.to_string().contains("01010101 is missing"), "{refusal}");

    let mut short = store(&[(1, &[(1, 100)])]);
    short.listed[0].1 = ByteSize(90);
    assert!(short.plan(&[1], 5).expect_err("damaged").to_string().contains("has 90 bytes instead of 173"));
}

#[test]
fn a_damaged_pack_with_a_whole_copy_elsewhere_goes() {
    let mut store = store(&[(1, &[(1, 100)]), (2, &[(1, 100)])]);
    store.listed[0].1 = ByteSize(90);
    let plan = store.plan(&[1], 5).expect("a copy is whole");
    assert_eq!(plan.keep[0].pack, id(2));
    assert_eq!(plan.delete[0].pack, id(1));
}

#[test]
fn a_missing_pack_that_nothing_needs_leaves_the_index() {
    let mut store = store(&[(1, &[(1, 100)]), (2, &[(2, 100)])]);
    store.listed.remove(1);
    let plan = store.plan(&[1], 5).expect("nothing needed is missing");
    assert_eq!(plan.forget, [id(2)]);
    assert_eq!(plan.index, IndexChange::Rewrite);
}

#[test]
fn a_needed_blob_in_no_index_stops_the_prune_by_name() {
    let refusal = store(&[(1, &[(1, 100)])]).plan(&[1, 5], 5).expect_err("not indexed");
    assert_eq!(refusal, Refusal::NotIndexed { blobs: vec![blob(5)], count: 1 });
    assert!(refusal.to_string().contains("data 05050505"), "{refusal}");
}

#[test]
fn data_and_tree_of_one_id_are_two_blobs() {
    let made = store(&[(1, &[(1, 100)])]);
    let used = Used { used: HashSet::from([BlobKey { kind: BlobType::Tree, id: id(1) }]), store: &made };
    let refusal = prune(&made, &made.listed, &used, Limits::default(), None);
    assert!(matches!(refusal, Err(Refusal::NotIndexed { count: 1, .. })));
}

#[test]
fn the_vaults_index_is_walked_as_it_is() {
    let made = store(&[(1, &[(1, 100), (2, 50)]), (2, &[(1, 100)])]);
    let pack = |name: u8| PackContents {
        id: id(name),
        blobs: made.index.iter().filter(|(_, at)| at.pack == id(name)).copied().collect(),
    };
    let index = Index::of_packs(&[pack(1), pack(2), pack(1)]).expect("sound");
    let plan = prune(&index, &made.listed, &made.used(&[1, 2]), Limits::default(), None).expect("whole");
    assert_eq!(plan.keep, [Kept { pack: id(1), unused: ByteSize(0), reason: KeepReason::FullyUsed }]);
    assert_eq!((plan.delete[0].pack, plan.delete[0].reason), (id(2), DeleteReason::OnlyDuplicates));
}

/// A store in which a few packs are condemned.
fn beside(packs: &[(u8, &[(u8, u32)])], condemned: &[(u8, u64)], boundary: u64, recent: &[u8]) -> Store {
    let condemned = condemned.iter().map(|&(pack, epoch)| (id(pack), epoch)).collect::<Vec<_>>().into();
    let recent = recent.iter().map(|&pack| id(pack)).collect();
    Store { beside: Some(Beside { condemned, boundary, recent }), ..store(packs) }
}

fn names(packs: &[Deleted]) -> Vec<(u8, DeleteReason)> {
    packs.iter().map(|gone| (gone.pack.0[0], gone.reason)).collect()
}

#[test]
fn beside_others_a_pack_is_condemned_first_and_deleted_once_its_time_has_come() {
    let packs: [(u8, &[(u8, u32)]); 3] = [(1, &[(1, 100)]), (2, &[(2, 100)]), (3, &[(3, 100)])];
    let first = beside(&packs, &[], 0, &[]).plan(&[1], 5).expect("whole");
    assert_eq!(names(&first.delete), [(2, DeleteReason::Unused), (3, DeleteReason::Unused)]);
    assert_eq!((first.sweep.len(), first.index, first.figures.freed), (0, IndexChange::None, 0));
    assert_eq!((first.figures.condemned_packs, first.figures.condemned), (2, 2 * 173));

    let waiting = beside(&packs, &[(2, 1), (3, 2)], 1, &[]).plan(&[1], 5).expect("whole");
    assert_eq!(names(&waiting.sweep), [(2, DeleteReason::Condemned)]);
    assert_eq!((waiting.delete.len(), waiting.index), (0, IndexChange::Rewrite));
    assert_eq!((waiting.figures.delete_packs, waiting.figures.freed), (1, 173));
    assert_eq!((waiting.figures.condemned_packs, waiting.figures.condemned), (1, 173));
}

#[test]
fn what_only_a_condemned_pack_holds_is_rescued_and_a_copy_elsewhere_is_preferred() {
    let packs: [(u8, &[(u8, u32)]); 3] = [(1, &[(1, 100), (2, 100)]), (2, &[(2, 100), (9, 900)]), (3, &[(3, 100)])];
    let store = beside(&packs, &[(1, 1), (3, 2)], 1, &[]);
    let plan = store.plan(&[1, 2, 3], 100).expect("whole");
    let rescued: Vec<(u8, u64)> = plan.rescue.iter().map(|pack| (pack.pack.0[0], pack.blobs)).collect();
    assert_eq!(rescued, [(1, 1), (3, 1)], "blob 2 lies elsewhere, in a pack that is wasteful and stays");
    assert_eq!(names(&plan.sweep), [(1, DeleteReason::Condemned)]);
    let moving = plan.moving(&store, &store.used(&[1, 2, 3]), &plan.rescue);
    assert_eq!(moving[&id(1)].iter().map(|(key, _)| *key).collect::<Vec<_>>(), [blob(1)]);
}

#[test]
fn a_young_pack_is_left_alone_whatever_is_in_it_or_whether_an_index_names_it() {
    let mut store = beside(&[(1, &[(1, 100)]), (2, &[(2, 100), (3, 100)])], &[], 0, &[1, 2, 9]);
    store.listed.push((id(9), ByteSize(4000)));
    let plan = store.plan(&[2], 0).expect("whole");
    assert!(plan.is_empty(), "{plan:?}");
    assert!(plan.keep.iter().all(|kept| kept.reason == KeepReason::Recent), "{plan:?}");
}

#[test]
fn an_orphan_that_was_condemned_goes_in_its_turn_and_is_condemned_only_once() {
    let mut store = beside(&[(1, &[(1, 100)])], &[(8, 1), (9, 2)], 1, &[]);
    store.listed.extend([(id(8), ByteSize(4000)), (id(9), ByteSize(5000))]);
    let plan = store.plan(&[1], 5).expect("whole");
    assert_eq!((names(&plan.sweep), plan.delete.len()), (vec![(8, DeleteReason::Condemned)], 0));
    assert_eq!((plan.index, plan.figures.condemned), (IndexChange::None, 5000));
}

proptest! {
    /// Carrying out a plan keeps every needed blob, frees what it says, and comes to rest.
    #[test]
    fn what_is_needed_survives_and_pruning_comes_to_rest(
        packs in proptest::collection::vec(proptest::collection::vec(0u8..30, 1..8), 1..12),
        used in proptest::collection::hash_set(0u8..30, 0..30),
        percent in 0u8..=100,
        orphan in proptest::bool::ANY,
    ) {
        let sized = |n: u8| (n, 40 + u32::from(n) * 7);
        let packs: Vec<Vec<(u8, u32)>> = packs.into_iter().map(|p| p.into_iter().map(sized).collect()).collect();
        let named: Vec<(u8, &[(u8, u32)])> = (0..).zip(packs.iter().map(Vec::as_slice)).collect();
        let mut made = store(&named);
        if orphan {
            made.listed.push((id(200), ByteSize(77)));
        }
        let used: Vec<u8> = used.into_iter().filter(|n| made.index.iter().any(|(k, _)| *k == blob(*n))).collect();
        let needed: u64 = used.iter().map(|&n| u64::from(sized(n).1)).sum();
        for round in 100u8.. {
            let plan = made.plan(&used, percent).expect("every needed blob is there and whole");
            prop_assert_eq!(plan.keep.len() + plan.repack.len() + plan.delete.len(), made.listed.len());
            prop_assert_eq!(plan.figures.used, needed);
            prop_assert!(plan.figures.unused_after <= MaxUnused::percent(percent).expect("at most 100").beside(needed));
            if plan.is_empty() {
                break;
            }
            prop_assert!(round < 105, "still busy: {:?}", plan);
            let before: u64 = made.listed.iter().map(|(_, size)| size.0).sum();
            let moving = made.moving(&used, &plan);
            prop_assert_eq!(moving.len() as u64, plan.repack.iter().map(|r| r.blobs).sum::<u64>());
            made = carry_out(&made, &plan, &moving, round);
            let after: u64 = made.listed.iter().map(|(_, size)| size.0).sum();
            let headers = HEADER_OVERHEAD + ENTRY * moving.len() as u64;
            let moved = if plan.repack.is_empty() { 0 } else { headers };
            prop_assert_eq!(after, before - plan.figures.freed + moved);
        }
    }
}

fn carry_out(made: &Store, plan: &PrunePlan, moving: &[(BlobKey, Located)], name: u8) -> Store {
    let gone: HashSet<Id> = plan.delete.iter().map(|d| d.pack).chain(plan.repack.iter().map(|r| r.pack)).collect();
    let mut after = Store {
        index: made.index.iter().filter(|(_, at)| !gone.contains(&at.pack)).copied().collect(),
        listed: made.listed.iter().filter(|(pack, _)| !gone.contains(pack)).copied().collect(),
        beside: None,
    };
    let moved: Vec<(u8, u32)> = moving.iter().map(|(key, at)| (key.id.0[0], at.length)).collect();
    if !moved.is_empty() {
        let (entries, listed) = pack(name, &moved);
        after.index.extend(entries);
        after.listed.push(listed);
    }
    after
}
