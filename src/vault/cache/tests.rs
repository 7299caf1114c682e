use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use super::*;
use crate::vault::index::{Index, Segment};
use crate::vault::{BlobKey, Located, PackContents};

fn id(n: u64) -> Id {
    Id::of(&n.to_le_bytes())
}

/// What index file `n` says: one pack with one blob.
fn contents(n: u64) -> Vec<PackContents> {
    let pack = id(1000 + n);
    let located = Located { pack, offset: 0, length: 100, uncompressed: None };
    vec![PackContents { id: pack, blobs: vec![(BlobKey::data(id(n)), located)] }]
}

fn segment(n: u64) -> Segment {
    Segment::build(&[id(n)], &contents(n)).unwrap()
}

fn holds(segments: Vec<Segment>) -> Vec<u64> {
    let index = Index::new(segments);
    (0..100).filter(|n| index.contains(BlobKey::data(id(*n)))).collect()
}

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<Id> {
    numbers.into_iter().map(id).collect()
}

struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn cache(&self) -> Cache {
        Cache::open(self.dir.path(), &id(7).to_string()).unwrap()
    }

    /// All files in a folder of the vault's cache.
    fn files(&self, folder: &str) -> Vec<PathBuf> {
        let path = self.dir.path().join(id(7).to_string()).join(folder);
        fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect()
    }
}

#[test]
fn segments_are_found_again_and_what_they_lack_is_named() {
    let fixture = Fixture::new();
    let stored = fixture.cache().store_segment(segment(1));
    assert_eq!(holds(vec![stored]), [1]);
    fixture.cache().store_segment(segment(2));
    let (segments, missing) = fixture.cache().index_segments(&ids([1, 2, 3]));
    assert_eq!(holds(segments), [1, 2]);
    assert_eq!(missing, ids([3]));
}

#[test]
fn a_segment_goes_with_the_index_file_that_it_covers() {
    let fixture = Fixture::new();
    let both = [contents(1), contents(2)].concat();
    fixture.cache().store_segment(Segment::build(&ids([1, 2]), &both).unwrap());
    fixture.cache().store_segment(segment(3));
    let (segments, missing) = fixture.cache().index_segments(&ids([2, 3]));
    assert_eq!(holds(segments), [3]);
    assert_eq!(missing, ids([2]), "to be read again, as the segment named blobs of index file 1 as well");
    assert_eq!(fixture.files("index").len(), 1);
}

#[test]
fn a_damaged_segment_is_rebuilt_not_trusted() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    for damage in ["flip", "cut", "empty"] {
        cache.store_segment(segment(1));
        let path = fixture.files("index").remove(0);
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            "flip" => bytes[140] ^= 1,
            "cut" => bytes.truncate(150),
            _ => bytes.clear(),
        }
        fs::write(&path, bytes).unwrap();
        let (segments, missing) = cache.index_segments(&ids([1]));
        assert!(segments.is_empty(), "{damage}");
        assert_eq!(missing, ids([1]));
        assert!(fixture.files("index").is_empty(), "{damage}");
    }
}

#[test]
fn many_segments_become_few_files() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    let segments = (0..20).map(|n| cache.store_segment(segment(n))).collect();
    let segments = cache.compact(segments);
    assert!(segments.len() <= 8);
    assert_eq!(holds(segments), (0..20).collect::<Vec<_>>());
    assert!(fixture.files("index").len() <= 8);
    let (segments, missing) = fixture.cache().index_segments(&ids(0..20));
    assert_eq!((holds(segments).len(), missing.len()), (20, 0));
}

#[test]
fn parts_that_a_killed_merge_left_are_cleared_away() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    cache.compact((0..20).map(|n| cache.store_segment(segment(n))).collect());
    cache.store_segment(segment(4));
    let before = fixture.files("index").len();
    let (segments, missing) = cache.index_segments(&ids(0..20));
    assert_eq!((holds(segments).len(), missing.len()), (20, 0));
    assert_eq!(fixture.files("index").len(), before - 1);
}

#[test]
fn packs_are_read_by_range_until_they_are_forgotten() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    cache.store_pack(&id(1), b"0123456789");
    assert_eq!(cache.pack_range(&id(1), 3..6).unwrap(), "345");
    assert_eq!(fixture.cache().pack_range(&id(1), 0..10).unwrap(), "0123456789");
    assert_eq!(cache.pack_range(&id(2), 0..1), None);
    cache.forget_pack(&id(1));
    cache.forget_pack(&id(1));
    assert_eq!(cache.pack_range(&id(1), 3..6), None);
}

#[test]
fn a_pack_that_is_too_short_is_out_of_the_way() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    for range in [0..11, 11..12, u64::MAX - 1..u64::MAX] {
        cache.store_pack(&id(1), b"0123456789");
        assert_eq!(cache.pack_range(&id(1), range.clone()), None, "{range:?}");
        assert!(!cache.packs.place(&id(1)).exists(), "{range:?}");
    }
}

#[test]
fn a_pack_is_fetched_by_one_and_few_at_a_time() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    let first = cache.begin_fetch(&id(1));
    assert!(first.is_some() && cache.begin_fetch(&id(1)).is_none());
    let others: Vec<_> = (2..9).filter_map(|n| cache.begin_fetch(&id(n))).collect();
    assert_eq!(others.len(), 3);
    drop(first);
    assert!(cache.begin_fetch(&id(1)).is_some());
}

fn set_age(cache: &Cache, n: u64, days: u64) {
    let now = NamedTempFile::new_in(&cache.new).unwrap().as_file().metadata().unwrap().modified().unwrap();
    let name = id(n).to_string();
    let path = cache.new.with_file_name("packs").join(&name[..2]).join(name);
    let then: SystemTime = now - Duration::from_secs(days * 86_400);
    File::open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn the_least_recently_used_packs_make_room() {
    let fixture = Fixture::new();
    let open = || Cache::open_limited(fixture.dir.path(), &id(7).to_string(), ByteSize(1000)).unwrap();
    let cache = open();
    for n in 0..10 {
        cache.store_pack(&id(n), &[0; 100]);
        set_age(&cache, n, 100 - n);
    }
    let kept = |cache: &Cache| -> Vec<u64> { (0..20).filter(|n| cache.packs.place(&id(*n)).exists()).collect() };
    assert_eq!(kept(&cache).len(), 10, "all fit");
    open().pack_range(&id(0), 0..1).unwrap();
    open().store_pack(&id(10), &[0; 100]);
    assert_eq!(kept(&cache), [0, 3, 4, 5, 6, 7, 8, 9, 10], "0 was used since");
    cache.store_pack(&id(11), &[0; 501]);
    assert!(!kept(&cache).contains(&11), "it would push out most others");
}

#[test]
fn a_cache_that_cannot_be_written_is_done_without() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    cache.store_pack(&id(1), b"kept");
    fs::remove_dir(&cache.new).unwrap();
    cache.store_pack(&id(2), b"lost");
    assert_eq!(cache.pack_range(&id(2), 0..4), None);
    assert_eq!(cache.pack_range(&id(1), 0..4).unwrap(), "kept");
    let segments: Vec<Segment> = (0..20).map(|n| cache.store_segment(segment(n))).collect();
    let segments = cache.compact(segments);
    assert!(segments.len() <= 8, "merged in memory");
    assert_eq!(holds(segments).len(), 20);
    make_folder(&cache.new).unwrap();
    cache.store_pack(&id(2), b"late");
    assert_eq!(cache.pack_range(&id(2), 0..4), None, "not tried again in this run");
}

#[test]
fn only_the_owner_may_look_inside() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    cache.store_pack(&id(1), b"sealed");
    cache.store_segment(segment(1));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&cache.packs.place(&id(1))), 0o600);
    assert_eq!(mode(cache.packs.place(&id(1)).parent().unwrap()), 0o700);
    assert_eq!(mode(&fixture.files("index")[0]), 0o600);
    assert_eq!(mode(&cache.index), 0o700);
    assert!(
        fs::read_to_string(fixture.dir.path().join(TAG)).unwrap().starts_with("Signature: 8a477f597d28d172789f0688")
    );
}

#[test]
fn a_vault_cannot_choose_where_its_cache_lies() {
    let dir = tempfile::tempdir().unwrap();
    for hostile in ["../../etc", "/etc", "", ".", "a/b"] {
        let cache = Cache::open(&dir.path().join("cache"), hostile).unwrap();
        assert_eq!(cache.index.parent().unwrap().parent().unwrap(), dir.path().join("cache"), "{hostile}");
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn unfinished_files_of_dead_processes_are_cleared_away() {
    let fixture = Fixture::new();
    let cache = fixture.cache();
    let (old, fresh) = (cache.new.join("old"), cache.new.join("fresh"));
    fs::write(&fresh, "x").unwrap();
    fs::write(&old, "x").unwrap();
    let now = fs::metadata(&fresh).unwrap().modified().unwrap();
    File::options().write(true).open(&old).unwrap().set_modified(now - ABANDONED - Duration::from_secs(60)).unwrap();
    fixture.cache();
    assert!(fresh.exists() && !old.exists());
}

#[test]
fn several_processes_share_it() {
    let fixture = Fixture::new();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let cache = fixture.cache();
                for n in 0..20 {
                    cache.store_pack(&id(n), &[n as u8; 1000]);
                    assert_eq!(cache.pack_range(&id(n), 0..1000).unwrap(), vec![n as u8; 1000]);
                }
                let (mut segments, missing) = cache.index_segments(&ids(0..20));
                let read = |id: &Id| (0..20).find(|n| super::tests::id(*n) == *id).unwrap();
                segments.extend(missing.iter().map(|id| cache.store_segment(segment(read(id)))));
                assert_eq!(holds(cache.compact(segments)).len(), 20);
            });
        }
    });
    let (segments, missing) = fixture.cache().index_segments(&ids(0..20));
    assert_eq!(holds(segments).len() + missing.len(), 20);
}
