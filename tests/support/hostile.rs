//! A tree with every kind of node and every kind of bad name.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags, makedev};

use super::Numbers;

/// Names that no program may stumble over; each is one file.
pub(crate) const NAMES: &[&[u8]] = &[
    b"-rf",
    b"--",
    b" leading and trailing ",
    b"...",
    b".hidden",
    b"~",
    b"#comment",
    b"!bang",
    b"*?[a-z]{x,y}",
    b"$(touch owned)",
    b"`touch owned`; rm -rf .",
    b"%s%n%x",
    b"<script>&amp;",
    b"C:",
    b"CON",
    b"case",
    b"CASE",
    b"back\\slash",
    b"back\\\\xff",
    b"\"double\" and 'single'",
    b"new\nline",
    b"carriage\rreturn",
    b"tab\tbell\x07back\x08",
    b"escape\x1b[31mred\x1b]0;title\x07",
    b"\x01\x7f",
    b"\xff\xfe not UTF-8",
    b"half \xc3",
    b"overlong \xc0\xaf",
    b"surrogate \xed\xa0\x80",
    "no-break\u{a0}space".as_bytes(),
    "joined\u{200d}".as_bytes(),
    "tag\u{e0001}".as_bytes(),
    "bidi\u{202e}gpj.exe".as_bytes(),
    "line\u{2028}separator".as_bytes(),
    "replacement\u{fffd}".as_bytes(),
    "byte order\u{feff}mark".as_bytes(),
    "private\u{e000}use".as_bytes(),
    "e\u{301} combining".as_bytes(),
    "\u{e9} combining".as_bytes(),
    "\u{1f4be}".as_bytes(),
];

/// What could not be made here, and why: without root there are no devices; some file systems lack some attributes.
pub(crate) type Missing = Vec<String>;

/// Fills `dir`, which must be there and empty, with what a path-based tool can still reach.
pub(crate) fn hostile_tree(dir: &Path) -> Missing {
    let mut tree = Tree { dir: dir.to_path_buf(), missing: Vec::new(), numbers: Numbers::seeded(1) };
    tree.contents();
    tree.sparse();
    tree.links();
    tree.special();
    tree.names();
    tree.owners_and_modes();
    tree.xattrs();
    tree.times();
    tree.missing
}

/// Adds a file whose path has more than 4096 bytes (PATH_MAX), with this content. Returns the path's length below `dir`.
pub(crate) fn bury(dir: &Path, content: &[u8]) -> usize {
    let name = "d".repeat(250);
    let mut folder: OwnedFd = File::open(dir).unwrap().into();
    for _ in 0..20 {
        rustix::fs::mkdirat(&folder, &name, Mode::from_raw_mode(0o755)).unwrap();
        folder = rustix::fs::openat(&folder, &name, OFlags::DIRECTORY | OFlags::RDONLY, Mode::empty()).unwrap();
    }
    let flags = OFlags::CREATE | OFlags::WRONLY;
    let file = rustix::fs::openat(&folder, "treasure", flags, Mode::from_raw_mode(0o644)).unwrap();
    File::from(file).write_all(content).unwrap();
    20 * 251 + "treasure".len()
}

struct Tree {
    dir: PathBuf,
    missing: Missing,
    numbers: Numbers,
}

/// A POSIX ACL as the kernel stores it: version 2, then tag, permissions, id of each entry.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut out = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        out.extend(tag.to_le_bytes());
        out.extend(permissions.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    out
}

impl Tree {
    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.join(name)
    }

    fn file(&self, name: impl AsRef<Path>, content: &[u8]) {
        fs::write(self.at(name), content).unwrap();
    }

    fn try_to(&mut self, what: &str, done: rustix::io::Result<()>) {
        if let Err(error) = done {
            self.missing.push(format!("{what}: {error}"));
        }
    }

    fn contents(&mut self) {
        for folder in ["contents", "contents/empty folder", "contents/a/b/c/d"] {
            fs::create_dir_all(self.at(folder)).unwrap();
        }
        self.file("contents/empty", b"");
        self.file("contents/one byte", b"\0");
        self.file("contents/a/b/c/d/text", b"four folders down\n");
        let large = self.numbers.bytes(9 << 20);
        self.file("contents/larger than any chunk", &large);
        self.file("contents/the same again", &large);
        self.file("contents/half of it", &large[..large.len() / 2]);
        let lines: String = (0..120_000).map(|n| format!("line {n} of a file that compresses well\n")).collect();
        self.file("contents/compressible", lines.as_bytes());
        self.file("contents/zeros", &[0; 700_000]);
    }

    fn sparse(&self) {
        fs::create_dir(self.at("sparse")).unwrap();
        let mut file = File::create(self.at("sparse/data, hole, data, hole")).unwrap();
        file.write_all(&[1; 5000]).unwrap();
        file.seek(SeekFrom::Start(10 << 20)).unwrap();
        file.write_all(&[2; 100_000]).unwrap();
        file.set_len(24 << 20).unwrap();
        File::create(self.at("sparse/all hole")).unwrap().set_len(3 << 20).unwrap();
    }

    fn links(&self) {
        fs::create_dir_all(self.at("links/folder")).unwrap();
        self.file("links/target", b"content with three names");
        fs::hard_link(self.at("links/target"), self.at("links/second name")).unwrap();
        fs::hard_link(self.at("links/target"), self.at("links/folder/third name")).unwrap();
        fs::hard_link(self.at("contents/empty"), self.at("links/empty twin")).unwrap();
        let long = "l".repeat(4095);
        let symlinks: [(&[u8], &str); 9] = [
            (b"target", "to a file"),
            (b"folder", "to a folder"),
            (b"nowhere", "dangling"),
            (b"/etc/passwd", "absolute"),
            (b"../../../../../../etc/passwd", "out of the tree"),
            (b"loop", "loop"),
            (b"bad \xff\xfe\n target", "not UTF-8"),
            ("\u{fffd} &<>\u{2028}".as_bytes(), "escaped in JSON"),
            (long.as_bytes(), "as long as can be"),
        ];
        for (target, name) in symlinks {
            symlink(OsStr::from_bytes(target), self.at("links").join(name)).unwrap();
        }
    }

    fn special(&mut self) {
        fs::create_dir(self.at("special")).unwrap();
        let nodes = [
            ("fifo", FileType::Fifo, 0),
            ("socket", FileType::Socket, 0),
            ("char device", FileType::CharacterDevice, makedev(1, 3)),
            ("block device", FileType::BlockDevice, makedev(7, 200)),
            ("large numbers", FileType::CharacterDevice, makedev(4095, 0xf_ffff)),
        ];
        for (name, kind, device) in nodes {
            let made =
                rustix::fs::mknodat(CWD, self.at("special").join(name), kind, Mode::from_raw_mode(0o640), device);
            self.try_to(name, made);
        }
    }

    fn names(&self) {
        let longest = [b'n'; 255];
        let longest_folder = "\u{e9}".repeat(127);
        fs::create_dir(self.at("names")).unwrap();
        for name in NAMES.iter().copied().chain([&longest[..]]) {
            self.file(Path::new("names").join(OsStr::from_bytes(name)), name);
        }
        for name in [b"folder \xff\n" as &[u8], longest_folder.as_bytes()] {
            let folder = Path::new("names").join(OsStr::from_bytes(name));
            fs::create_dir(self.at(&folder)).unwrap();
            self.file(folder.join("inside"), b"inside");
        }
    }

    fn owners_and_modes(&mut self) {
        fs::create_dir(self.at("owned")).unwrap();
        let mut modes = vec![0o400, 0o444, 0o600, 0o755, 0o777, 0o4755, 0o2755, 0o6711, 0o1644];
        if rustix::process::geteuid().is_root() {
            modes.push(0); // others could not read it back
        }
        for mode in modes {
            let name = format!("owned/mode {mode:04o}");
            self.file(&name, b"mode");
            fs::set_permissions(self.at(&name), PermissionsExt::from_mode(mode)).unwrap();
        }
        for mode in [0o700, 0o1777, 0o2775] {
            let name = format!("owned/folder {mode:04o}");
            fs::create_dir(self.at(&name)).unwrap();
            fs::set_permissions(self.at(&name), PermissionsExt::from_mode(mode)).unwrap();
        }
        symlink("nowhere", self.at("owned/a symlink")).unwrap();
        fs::create_dir(self.at("owned/a folder")).unwrap();
        self.file("owned/by numbers without names", b"owned");
        self.file("owned/by daemon, setuid", b"owned");
        let owners = [
            ("by numbers without names", 12345, 54321),
            ("by daemon, setuid", 1, 1),
            ("a symlink", 12345, 1),
            ("a folder", 1, 12345),
        ];
        for (name, uid, gid) in owners {
            if let Err(error) = lchown(self.at("owned").join(name), Some(uid), Some(gid)) {
                self.missing.push(format!("owner of {name}: {error}"));
            }
        }
        // a change of owner drops it, so it comes last
        fs::set_permissions(self.at("owned/by daemon, setuid"), PermissionsExt::from_mode(0o4755)).unwrap_or_else(
            |error| {
                self.missing.push(format!("setuid of another's file: {error}"));
            },
        );
    }

    fn xattrs(&mut self) {
        fs::create_dir(self.at("xattrs")).unwrap();
        fs::create_dir(self.at("xattrs/folder")).unwrap();
        for name in ["several", "acl", "capable"] {
            self.file(Path::new("xattrs").join(name), b"with attributes");
        }
        symlink("nowhere", self.at("xattrs/symlink")).unwrap();
        const USER: (u16, u32) = (0x02, 65534);
        let own = acl(&[
            (0x01, 6, u32::MAX),
            (USER.0, 4, USER.1),
            (0x04, 4, u32::MAX),
            (0x10, 4, u32::MAX),
            (0x20, 0, u32::MAX),
        ]);
        let inherited = acl(&[
            (0x01, 7, u32::MAX),
            (USER.0, 5, 12345),
            (0x04, 5, u32::MAX),
            (0x10, 5, u32::MAX),
            (0x20, 5, u32::MAX),
        ]);
        // revision 2, effective: CAP_NET_BIND_SERVICE permitted
        let capability = [0x0200_0001_u32, 1 << 10, 0, 0, 0].map(u32::to_le_bytes).concat();
        let attributes: [(&str, &str, &[u8]); 9] = [
            ("several", "user.text", b"value"),
            ("several", "user.binary", b"\0\xff\n\"\\"),
            ("several", "user.empty", b""),
            ("several", "user.large", &[b'x'; 2000]),
            ("several", "user.\u{fc}ml\u{e4}ut", b"name beyond ASCII"),
            ("folder", "user.on a folder", b"value"),
            ("folder", "system.posix_acl_default", &inherited),
            ("acl", "system.posix_acl_access", &own),
            ("capable", "security.capability", &capability),
        ];
        for (file, name, value) in attributes {
            let done = rustix::fs::setxattr(self.at("xattrs").join(file), name, value, XattrFlags::empty());
            self.try_to(&format!("{name} of {file}"), done);
        }
        let done =
            rustix::fs::lsetxattr(self.at("xattrs/symlink"), "trusted.drctl", b"on a symlink", XattrFlags::empty());
        self.try_to("attribute of a symlink", done);
    }

    fn times(&mut self) {
        fs::create_dir(self.at("times")).unwrap();
        let times = [
            ("nanoseconds", 1_700_000_000, 123_456_789),
            ("trailing zeros", 1_700_000_000, 120_000_000),
            ("one nanosecond", 1_700_000_000, 1),
            ("epoch", 0, 0),
            ("before the epoch", -1, 999_999_999),
            ("1901 and a bit", -2_147_483_648, 500_000_000),
            ("after 2038", 4_102_444_800, 987_654_321),
        ];
        for (name, ..) in times {
            self.file(Path::new("times").join(name), b"time");
        }
        symlink("nowhere", self.at("times/symlink")).unwrap();
        fs::create_dir(self.at("times/folder")).unwrap();
        let more = [("symlink", 1_234_567_890, 987_654_321), ("folder", 1_111_111_111, 111_111_111)];
        for (name, seconds, nanos) in times.into_iter().chain(more).chain([("", 1_000_000_000, 1)]) {
            let time = Timespec { tv_sec: seconds, tv_nsec: nanos };
            let both = Timestamps { last_access: time, last_modification: time };
            let done = rustix::fs::utimensat(CWD, self.at("times").join(name), &both, AtFlags::SYMLINK_NOFOLLOW);
            self.try_to(&format!("time of {name}"), done);
        }
    }
}

mod tests {
    use std::collections::BTreeSet;
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use super::*;

    #[test]
    fn the_tree_has_what_it_promises() {
        let root = tempfile::tempdir().unwrap();
        let missing = hostile_tree(root.path());
        if rustix::process::geteuid().is_root() && std::env::var_os("CI").is_some() {
            assert_eq!(missing, [""; 0], "CI must try everything");
        }
        let stat = |name: &str| fs::symlink_metadata(root.path().join(name)).unwrap();
        assert!(stat("special/fifo").file_type().is_fifo());
        assert!(stat("special/socket").file_type().is_socket());
        assert!(stat("sparse/data, hole, data, hole").blocks() * 512 < stat("sparse/data, hole, data, hole").len() / 8);
        assert_eq!(stat("links/target").nlink(), 3);
        assert_eq!(fs::read_link(root.path().join("links/as long as can be")).unwrap().as_os_str().len(), 4095);
        assert_eq!(
            (stat("times/before the epoch").mtime(), stat("times/before the epoch").mtime_nsec()),
            (-1, 999_999_999)
        );
        assert_eq!((stat("times").mtime(), stat("times").mtime_nsec()), (1_000_000_000, 1));
        let names: BTreeSet<Vec<u8>> = fs::read_dir(root.path().join("names"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().as_bytes().to_vec())
            .collect();
        assert!(NAMES.iter().all(|name| names.contains(*name)));
        assert!(names.iter().any(|name| name.len() == 255));
        assert!(names.iter().filter(|name| std::str::from_utf8(name).is_err()).count() >= 5);
        if missing.is_empty() {
            assert!(stat("special/char device").file_type().is_char_device());
            assert!(stat("special/block device").file_type().is_block_device());
            assert_eq!(stat("special/large numbers").rdev(), makedev(4095, 0xf_ffff));
            assert_eq!((stat("owned/a symlink").uid(), stat("owned/a symlink").gid()), (12345, 1));
            assert_eq!(stat("owned/by daemon, setuid").mode() & 0o7777, 0o4755);
        }
    }

    #[test]
    fn what_is_buried_cannot_be_reached_by_its_path() {
        let root = tempfile::tempdir().unwrap();
        assert!(bury(root.path(), b"gold") > 4096);
        let mut path = root.path().to_path_buf();
        path.extend(std::iter::repeat_n("d".repeat(250), 20));
        assert_eq!(fs::read(path.join("treasure")).unwrap_err().raw_os_error(), Some(36), "ENAMETOOLONG");
    }
}
