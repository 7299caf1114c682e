//! Are two trees the same? Through open directories, so that neither names nor depth matter.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CString;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Dir, FileType, Mode, OFlags, Stat, fstat, getxattr, listxattr, openat, readlinkat};

/// In what a place differs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aspect {
    OnlyInFirst,
    OnlyInSecond,
    Kind,
    Mode,
    Uid,
    Gid,
    Mtime,
    Size,
    Content,
    Target,
    Device,
    /// The named extended attribute; ACLs are some.
    Xattr(String),
    /// Other names are the same file.
    HardLinks,
    /// The second takes a megabyte or more of disk where the first has a hole. Nothing a program can see.
    Holes,
}

/// One difference; `path` is below the roots, "" for the roots themselves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    pub(crate) path: Vec<u8>,
    pub(crate) aspect: Aspect,
    pub(crate) detail: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.path.escape_ascii(), self.aspect, self.detail)
    }
}

/// Everything in which `second` differs from `first`: content and all metadata but atime, ctime and inode numbers.
pub(crate) fn compare_trees(first: &Path, second: &Path) -> Vec<Difference> {
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::open(path, flags, Mode::empty())
            .unwrap_or_else(|error| panic!("cannot open {}: {error}", path.display()))
    };
    let mut comparison = Comparison::default();
    let (a, b) = (open(first), open(second));
    comparison.metadata(b"", &Place::of(&a), &Place::of(&b));
    comparison.folders(b"", &a, &b);
    comparison.links();
    comparison.found.sort();
    comparison.found
}

/// Fails the test with the list of differences.
#[track_caller]
pub(crate) fn assert_same_tree(first: &Path, second: &Path) {
    let found = compare_trees(first, second);
    let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert!(found.is_empty(), "{} and {} differ:\n{}", first.display(), second.display(), lines.join("\n"));
}

/// Something in a tree, held by a descriptor that neither reads nor follows it.
struct Place {
    handle: String,
    stat: Stat,
}

impl Place {
    fn of(fd: &OwnedFd) -> Self {
        Self { handle: format!("/proc/self/fd/{}", fd.as_raw_fd()), stat: fstat(fd).unwrap() }
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    fn xattrs(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        // through /proc the descriptor's own file is meant, a symlink too
        let mut names = vec![0; 64 << 10];
        let len = listxattr(&self.handle, &mut names).unwrap();
        let names = names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty());
        names
            .map(|name| {
                let mut value = vec![0; 64 << 10];
                let len = getxattr(&self.handle, CString::new(name).unwrap(), &mut value).unwrap();
                value.truncate(len);
                (name.to_vec(), value)
            })
            .collect()
    }
}

/// Paths that are one file, by device and inode.
type Groups = BTreeMap<(u64, u64), BTreeSet<Vec<u8>>>;

#[derive(Default)]
struct Comparison {
    found: Vec<Difference>,
    groups: [Groups; 2],
}

impl Comparison {
    fn differs(&mut self, path: &[u8], aspect: Aspect, detail: String) {
        self.found.push(Difference { path: path.to_vec(), aspect, detail });
    }

    fn pair<T: PartialEq + fmt::Debug>(&mut self, path: &[u8], aspect: Aspect, first: &T, second: &T) -> bool {
        let same = first == second;
        if !same {
            self.differs(path, aspect, format!("{first:?} and {second:?}"));
        }
        same
    }

    fn folders(&mut self, path: &[u8], first: &OwnedFd, second: &OwnedFd) {
        let (in_first, in_second) = (names(first), names(second));
        for name in in_first.union(&in_second) {
            let mut below = path.to_vec();
            if !path.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.as_bytes());
            match (in_first.contains(name), in_second.contains(name)) {
                (true, true) => self.entry(&below, name, first, second),
                (true, false) => self.differs(&below, Aspect::OnlyInFirst, "missing in the second".to_owned()),
                (false, _) => self.differs(&below, Aspect::OnlyInSecond, "missing in the first".to_owned()),
            }
        }
    }

    fn entry(&mut self, path: &[u8], name: &CString, first: &OwnedFd, second: &OwnedFd) {
        let hold =
            |folder: &OwnedFd| openat(folder, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
        let (held_a, held_b) = (hold(first).unwrap(), hold(second).unwrap());
        let (a, b) = (Place::of(&held_a), Place::of(&held_b));
        if !self.pair(path, Aspect::Kind, &a.kind(), &b.kind()) {
            return;
        }
        self.metadata(path, &a, &b);
        for (groups, place) in self.groups.iter_mut().zip([&a, &b]) {
            if place.kind() != FileType::Directory && place.stat.st_nlink > 1 {
                groups.entry((place.stat.st_dev, place.stat.st_ino)).or_default().insert(path.to_vec());
            }
        }
        match a.kind() {
            FileType::Directory => {
                let open = |folder: &OwnedFd| {
                    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                    openat(folder, name, flags, Mode::empty()).unwrap()
                };
                self.folders(path, &open(first), &open(second));
            }
            FileType::RegularFile => {
                if self.pair(path, Aspect::Size, &a.stat.st_size, &b.stat.st_size) {
                    self.content(path, name, first, second);
                }
                let (own, other) = (a.stat.st_blocks * 512, b.stat.st_blocks * 512);
                if other >= own + (1 << 20) {
                    self.differs(path, Aspect::Holes, format!("{own} and {other} bytes on disk"));
                }
            }
            FileType::Symlink => {
                let target =
                    |held: &OwnedFd| readlinkat(held, c"", Vec::new()).unwrap().to_bytes().escape_ascii().to_string();
                self.pair(path, Aspect::Target, &target(&held_a), &target(&held_b));
            }
            FileType::BlockDevice | FileType::CharacterDevice => {
                self.pair(path, Aspect::Device, &a.stat.st_rdev, &b.stat.st_rdev);
            }
            FileType::Fifo | FileType::Socket | FileType::Unknown => {}
        }
    }

    fn metadata(&mut self, path: &[u8], a: &Place, b: &Place) {
        let mode = |place: &Place| format!("{:o}", place.stat.st_mode & 0o7777);
        self.pair(path, Aspect::Mode, &mode(a), &mode(b));
        self.pair(path, Aspect::Uid, &a.stat.st_uid, &b.stat.st_uid);
        self.pair(path, Aspect::Gid, &a.stat.st_gid, &b.stat.st_gid);
        let mtime = |place: &Place| (place.stat.st_mtime, place.stat.st_mtime_nsec);
        self.pair(path, Aspect::Mtime, &mtime(a), &mtime(b));
        let (first, second) = (a.xattrs(), b.xattrs());
        let names: BTreeSet<&Vec<u8>> = first.keys().chain(second.keys()).collect();
        for name in names {
            let aspect = Aspect::Xattr(name.escape_ascii().to_string());
            let shown = |value: Option<&Vec<u8>>| value.map(|value| value.escape_ascii().to_string());
            self.pair(path, aspect, &shown(first.get(name)), &shown(second.get(name)));
        }
    }

    fn content(&mut self, path: &[u8], name: &CString, first: &OwnedFd, second: &OwnedFd) {
        let open = |folder: &OwnedFd| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            File::from(openat(folder, name, flags, Mode::empty()).unwrap())
        };
        let (mut a, mut b) = (open(first), open(second));
        let (mut piece_a, mut piece_b) = (vec![0; 256 << 10], vec![0; 256 << 10]);
        let mut offset = 0;
        loop {
            let (len_a, len_b) = (fill(&mut a, &mut piece_a), fill(&mut b, &mut piece_b));
            if piece_a[..len_a] != piece_b[..len_b] {
                let at = piece_a[..len_a].iter().zip(&piece_b[..len_b]).take_while(|(x, y)| x == y).count();
                self.differs(path, Aspect::Content, format!("at byte {}", offset + at));
                return;
            }
            if len_a == 0 {
                return;
            }
            offset += len_a;
        }
    }

    fn links(&mut self) {
        let by_path = |groups: &Groups| -> BTreeMap<Vec<u8>, Vec<String>> {
            let groups = groups.values().filter(|paths| paths.len() > 1);
            let shown = |paths: &BTreeSet<Vec<u8>>| paths.iter().map(|path| path.escape_ascii().to_string()).collect();
            groups.flat_map(|paths| paths.iter().map(move |path| (path.clone(), shown(paths)))).collect()
        };
        let [first, second] = &self.groups;
        let (first, second) = (by_path(first), by_path(second));
        let paths: BTreeSet<&Vec<u8>> = first.keys().chain(second.keys()).collect();
        for path in paths {
            self.pair(path, Aspect::HardLinks, &first.get(path), &second.get(path));
        }
    }
}

fn names(folder: &OwnedFd) -> BTreeSet<CString> {
    let entries = Dir::read_from(folder).unwrap().map(|entry| entry.unwrap().file_name().to_owned());
    entries.filter(|name| !matches!(name.as_bytes(), b"." | b"..")).collect()
}

fn fill(file: &mut File, piece: &mut [u8]) -> usize {
    let mut len = 0;
    while len < piece.len() {
        match file.read(&mut piece[len..]).unwrap() {
            0 => break,
            more => len += more,
        }
    }
    len
}

mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, lchown, symlink};
    use std::path::PathBuf;

    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, makedev, mknodat};

    use super::*;
    use crate::support::hostile::{Missing, bury, hostile_tree};
    use crate::support::house::House;

    /// `cp -a` keeps all that the comparison looks at.
    fn twins() -> (House, PathBuf, PathBuf, Missing) {
        let house = House::new();
        let (first, second) = (house.path("first"), house.path("second"));
        fs::create_dir(&first).unwrap();
        let missing = hostile_tree(&first);
        house.call("cp").args(["-a", "--sparse=always", "--"]).arg(&first).arg(&second).ok();
        (house, first, second, missing)
    }

    #[test]
    fn a_faithful_copy_of_a_hostile_tree_has_no_difference() {
        let (_house, first, second, _) = twins();
        assert_same_tree(&first, &second);
        assert_eq!(bury(&first, b"deep"), bury(&second, b"deed"));
        let deep = compare_trees(&first, &second);
        let content: Vec<_> = deep.iter().filter(|it| it.aspect != Aspect::Mtime).collect();
        assert!(matches!(content[..], [it] if it.aspect == Aspect::Content && it.path.len() > 4096), "{content:?}");
    }

    #[test]
    fn every_planted_difference_is_found_and_nothing_else() {
        let (_house, first, second, missing) = twins();
        let at = |name: &str| second.join(name);
        let mut planted: Vec<(&str, Aspect)> = Vec::new();
        let mut plant = |name: &'static str, aspect: Aspect| planted.push((name, aspect));

        fs::remove_dir(at("contents/empty folder")).unwrap();
        plant("contents/empty folder", Aspect::OnlyInFirst);
        fs::write(at("special/new"), b"").unwrap();
        plant("special/new", Aspect::OnlyInSecond);
        fs::remove_file(at("links/to a file")).unwrap();
        fs::write(at("links/to a file"), b"target").unwrap();
        plant("links/to a file", Aspect::Kind);
        fs::remove_file(at("links/dangling")).unwrap();
        symlink("elsewhere", at("links/dangling")).unwrap();
        plant("links/dangling", Aspect::Target);
        plant("links/dangling", Aspect::Mtime);
        fs::remove_file(at("links/second name")).unwrap();
        fs::copy(at("links/target"), at("links/second name")).unwrap();
        plant("links/second name", Aspect::Mtime);
        for name in ["links/target", "links/second name", "links/folder/third name"] {
            plant(name, Aspect::HardLinks);
        }
        let keeping_time = |name: &str, change: &dyn Fn(&Path)| {
            let before = rustix::fs::lstat(at(name)).unwrap();
            change(&at(name));
            set_mtime(&at(name), before.st_mtime, i64::try_from(before.st_mtime_nsec).unwrap());
        };
        keeping_time("contents/larger than any chunk", &|path| {
            let mut bytes = fs::read(path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        });
        plant("contents/larger than any chunk", Aspect::Content);
        keeping_time("contents/one byte", &|path| fs::write(path, b"two").unwrap());
        plant("contents/one byte", Aspect::Size);
        keeping_time("sparse/all hole", &|path| fs::write(path, vec![0; 3 << 20]).unwrap());
        plant("sparse/all hole", Aspect::Holes);
        set_mtime(&at("times/nanoseconds"), 1_700_000_000, 123_456_788);
        plant("times/nanoseconds", Aspect::Mtime);
        set_mtime(&at("times/symlink"), 0, 0);
        plant("times/symlink", Aspect::Mtime);
        fs::set_permissions(at("owned/mode 4755"), PermissionsExt::from_mode(0o755)).unwrap();
        plant("owned/mode 4755", Aspect::Mode);
        let attribute = |name: &str| rustix::fs::setxattr(at("xattrs/several"), name, b"other", XattrFlags::empty());
        attribute("user.text").unwrap();
        plant("xattrs/several", Aspect::Xattr("user.text".to_owned()));
        attribute("user.new").unwrap();
        plant("xattrs/several", Aspect::Xattr("user.new".to_owned()));
        rustix::fs::removexattr(at("xattrs/folder"), "user.on a folder").unwrap();
        plant("xattrs/folder", Aspect::Xattr("user.on a folder".to_owned()));
        if missing.is_empty() {
            lchown(at("owned/a symlink"), Some(7), None).unwrap();
            plant("owned/a symlink", Aspect::Uid);
            lchown(at("owned/mode 0600"), None, Some(8)).unwrap();
            plant("owned/mode 0600", Aspect::Gid);
            keeping_time("special/char device", &|path| {
                fs::remove_file(path).unwrap();
                mknodat(CWD, path, FileType::CharacterDevice, Mode::from_raw_mode(0o640), makedev(1, 5)).unwrap();
            });
            plant("special/char device", Aspect::Device);
            let name = "trusted.drctl";
            rustix::fs::lsetxattr(at("xattrs/symlink"), name, b"other", XattrFlags::empty()).unwrap();
            plant("xattrs/symlink", Aspect::Xattr(name.to_owned()));
        }
        fs::set_permissions(&second, PermissionsExt::from_mode(0o700)).unwrap();
        plant("", Aspect::Mode);

        // folders whose entries were changed have other times by now
        let changed = ["contents", "special", "links", "sparse"];
        let is_side_effect =
            |it: &Difference| it.aspect == Aspect::Mtime && changed.iter().any(|folder| it.path == folder.as_bytes());
        let found = compare_trees(&first, &second);
        let found: BTreeSet<_> =
            found.into_iter().filter(|it| !is_side_effect(it)).map(|it| (it.path, it.aspect)).collect();
        let planted: BTreeSet<_> =
            planted.into_iter().map(|(path, aspect)| (path.as_bytes().to_vec(), aspect)).collect();
        assert_eq!(found, planted);
    }

    #[test]
    #[should_panic(expected = "special/new: OnlyInFirst")]
    fn a_difference_fails_the_test_by_name() {
        let (_house, first, second, _) = twins();
        fs::write(first.join("special/new"), b"").unwrap();
        assert_same_tree(&first, &second);
    }

    fn set_mtime(path: &Path, seconds: i64, nanos: i64) {
        let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
        let both = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, path, &both, AtFlags::SYMLINK_NOFOLLOW).unwrap();
    }
}
