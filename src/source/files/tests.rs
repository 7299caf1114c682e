//! Folders of a real file system.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat};
use rustix::io::Errno;

use super::*;
use crate::vault::tree::{Node, NodeKind};

struct Scene {
    dir: tempfile::TempDir,
    folder: Folder,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path(), Arc::new(Names::new())).unwrap();
        Self { dir, folder }
    }

    fn path(&self, name: &[u8]) -> PathBuf {
        self.dir.path().join(std::ffi::OsStr::from_bytes(name))
    }

    fn file(&self, name: &[u8], content: &[u8]) {
        fs::write(self.path(name), content).unwrap();
    }

    fn node(&self, name: &[u8]) -> Node {
        self.folder.node(name, XattrMode::Read).unwrap()
    }

    /// Makes a fifo or a device; false when only root may.
    fn special(&self, name: &[u8], kind: FileType, device: u64) -> bool {
        match mknodat(CWD, self.path(name), kind, Mode::from_raw_mode(0o640), device) {
            Err(Errno::PERM) => false,
            made => {
                made.unwrap();
                true
            }
        }
    }
}

#[test]
fn every_kind_has_what_belongs_to_it() {
    let scene = Scene::new();
    scene.file(b"file", b"seven b");
    fs::create_dir(scene.path(b"dir")).unwrap();
    symlink(std::ffi::OsStr::from_bytes(b"../\xff"), scene.path(b"link")).unwrap();
    let _listener = UnixListener::bind(scene.path(b"socket")).unwrap();
    assert!(scene.special(b"fifo", FileType::Fifo, 0));

    let file = scene.node(b"file");
    assert_eq!((file.kind, file.size, file.links), (NodeKind::File, 7, 1));
    assert_eq!(file.device_id, scene.folder.device());
    assert_eq!((file.inode != 0, file.atime, file.content.len()), (true, file.mtime, 0));
    assert_eq!(file.uid, rustix::process::geteuid().as_raw());
    let dir = scene.node(b"dir");
    assert_eq!((dir.kind, dir.size, dir.links, dir.subtree), (NodeKind::Dir, 0, 0, None));
    let link = scene.node(b"link");
    assert_eq!((link.kind, &link.linktarget[..], link.size, link.mode), (NodeKind::Symlink, &b"../\xff"[..], 0, 0o777));
    for (name, kind) in [(&b"fifo"[..], NodeKind::Fifo), (b"socket", NodeKind::Socket)] {
        let node = scene.node(name);
        assert_eq!((node.kind, node.links, node.size), (kind, 0, 0));
    }
    for (name, file_type, kind) in
        [(&b"block"[..], FileType::BlockDevice, NodeKind::Dev), (b"char", FileType::CharacterDevice, NodeKind::CharDev)]
    {
        let device = makedev(4000, 1_000_000);
        if scene.special(name, file_type, device) {
            let node = scene.node(name);
            assert_eq!((node.kind, node.device, node.links, node.mode), (kind, device, 1, 0o640));
        }
    }

    let listing = scene.folder.list().unwrap();
    for entry in listing.iter() {
        assert!(entry.kind.is_none_or(|kind| kind == scene.node(entry.name).kind), "{entry:?}");
    }
    fs::set_permissions(scene.dir.path(), Permissions::from_mode(0o1710)).unwrap();
    let own = scene.folder.own_node(b"scene", XattrMode::Read).unwrap();
    assert_eq!((own.kind, own.name, own.mode), (NodeKind::Dir, b"scene".to_vec(), 0o1710));
}

#[test]
fn modes_times_and_hard_links_are_exact() {
    let scene = Scene::new();
    scene.file(b"one", b"");
    fs::hard_link(scene.path(b"one"), scene.path(b"two")).unwrap();
    let (one, two) = (scene.node(b"one"), scene.node(b"two"));
    assert_eq!((one.inode, one.device_id, one.links), (two.inode, two.device_id, 2));
    for mode in [0, 0o400, 0o1644, 0o2755, 0o4755, 0o6711, 0o7777] {
        fs::set_permissions(scene.path(b"one"), Permissions::from_mode(mode)).unwrap();
        assert_eq!(scene.node(b"one").mode, mode);
    }
    for (seconds, nanos) in [(0, 0), (1_700_000_000, 123_456_789), (-2_000_000_000, 1), (4_102_444_800, 999_999_999)] {
        let time = rustix::fs::Timespec { tv_sec: seconds, tv_nsec: nanos };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let file = fs::File::options().write(true).open(scene.path(b"two")).unwrap();
        rustix::fs::futimens(file, &times).unwrap();
        let node = scene.node(b"two");
        assert_eq!(node.mtime.as_nanosecond(), i128::from(seconds) * 1_000_000_000 + i128::from(nanos));
        assert_eq!(node.atime, node.mtime);
    }
}

#[test]
fn hostile_names_are_listed_byte_for_byte_and_in_order() {
    let scene = Scene::new();
    let long = [0xff; 255];
    let mut names: Vec<&[u8]> =
        vec![b" ", b"-rf", b"...", b"\n", b"\x1b[2J", b"\\", b"\xff", "é".as_bytes(), b"a", b"B", b"~", &long];
    for name in &names {
        scene.file(name, b"x");
    }
    names.sort_unstable();
    let listing = scene.folder.list().unwrap();
    assert_eq!(listing.iter().map(|entry| entry.name).collect::<Vec<_>>(), names);
    for name in names {
        assert_eq!(scene.node(name).name, name);
    }
}

#[test]
fn a_long_listing_is_whole() {
    let scene = Scene::new();
    for at in 0..3000 {
        scene.file(format!("{at:04}{}", "-".repeat(100)).as_bytes(), b"");
    }
    let listing = scene.folder.list().unwrap();
    assert_eq!(listing.len(), 3000);
    assert!(listing.iter().zip(0..).all(|(entry, at)| entry.name.starts_with(format!("{at:04}-").as_bytes())));
}

#[test]
fn extended_attributes_are_read_of_files_links_and_folders() {
    let scene = Scene::new();
    scene.file(b"file\n", b"");
    let large = vec![7; 3000];
    let set = |name: &[u8], xattr: &str, value: &[u8]| {
        rustix::fs::lsetxattr(scene.path(name), xattr, value, XattrFlags::empty())
    };
    if set(b"file\n", "user.empty", b"") == Err(Errno::OPNOTSUPP) {
        return;
    }
    set(b"file\n", "user.large", &large).unwrap();
    let read = |xattrs: Vec<crate::vault::tree::Xattr>| {
        let mut all: Vec<_> = xattrs.into_iter().map(|xattr| (xattr.name, xattr.value)).collect();
        // a file system may list names of its own, as with security labels
        all.retain(|(name, _)| name.starts_with(b"user.") || name.starts_with(b"trusted."));
        all.sort();
        all
    };
    let both = vec![(b"user.empty".to_vec(), Vec::new()), (b"user.large".to_vec(), large.clone())];
    assert_eq!(read(scene.node(b"file\n").xattrs), both);
    assert_eq!(read(scene.folder.xattrs(b"file\n").unwrap()), both);
    assert!(scene.folder.node(b"file\n", XattrMode::Skip).unwrap().xattrs.is_empty());

    symlink("file\n", scene.path(b"link")).unwrap();
    assert_eq!(read(scene.node(b"link").xattrs), []);
    if set(b"link", "trusted.link", b"l").is_ok() {
        assert_eq!(read(scene.node(b"link").xattrs), [(b"trusted.link".to_vec(), b"l".to_vec())]);
    }
    set(b"", "user.folder", b"f").unwrap();
    let own = scene.folder.own_node(b"scene", XattrMode::Read).unwrap();
    assert_eq!(read(own.xattrs), [(b"user.folder".to_vec(), b"f".to_vec())]);
}

#[test]
fn a_file_that_was_replaced_is_not_opened() {
    let scene = Scene::new();
    scene.file(b"file", b"content");
    let node = scene.node(b"file");
    let (mut file, state) = scene.folder.open_file(b"file", &node).unwrap();
    let mut content = Vec::new();
    file.read_to_end(&mut content).unwrap();
    assert_eq!((&content[..], state), (&b"content"[..], FileState::of_node(&node)));

    let replaced = |node: &Node| matches!(scene.folder.open_file(b"file", node), Err(FileError::Replaced { .. }));
    // the inode stays taken, so that no newcomer gets its number
    fs::rename(scene.path(b"file"), scene.path(b"aside")).unwrap();
    scene.file(b"file", b"content");
    assert!(replaced(&node));
    fs::remove_file(scene.path(b"file")).unwrap();
    symlink("aside", scene.path(b"file")).unwrap();
    assert!(replaced(&node));
    fs::remove_file(scene.path(b"file")).unwrap();
    assert!(scene.special(b"file", FileType::Fifo, 0));
    assert!(replaced(&node), "without waiting for a writer");
    fs::remove_file(scene.path(b"file")).unwrap();
    fs::create_dir(scene.path(b"file")).unwrap();
    assert!(replaced(&node));
    fs::remove_dir(scene.path(b"file")).unwrap();
    assert!(scene.folder.open_file(b"file", &node).unwrap_err().is_gone());
    assert!(scene.folder.node(b"file", XattrMode::Skip).unwrap_err().is_gone());
}

#[test]
fn a_change_while_reading_shows() {
    let scene = Scene::new();
    scene.file(b"file", b"content");
    let (file, before) = scene.folder.open_file(b"file", &scene.node(b"file")).unwrap();
    assert_eq!(file.state().unwrap(), before);
    fs::File::options().append(true).open(scene.path(b"file")).unwrap().write_all(b"!").unwrap();
    assert_ne!(file.state().unwrap(), before);
}

#[test]
fn paths_longer_than_any_call_takes_are_reached() {
    let scene = Scene::new();
    let name = [b'd'; 250];
    let names = Arc::new(Names::new());
    let mut made = fs::File::open(scene.dir.path()).unwrap();
    for _ in 0..20 {
        rustix::fs::mkdirat(&made, &name[..], Mode::from_raw_mode(0o700)).unwrap();
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        made = rustix::fs::openat(&made, &name[..], flags, Mode::empty()).unwrap().into();
    }
    let mut folder = Folder::open(scene.dir.path(), names).unwrap();
    for _ in 0..20 {
        assert_eq!(folder.list().unwrap().iter().map(|entry| entry.name).collect::<Vec<_>>(), [&name[..]]);
        assert_eq!(folder.node(&name, XattrMode::Read).unwrap().kind, NodeKind::Dir);
        folder = folder.open_child(&name).unwrap();
    }
    assert!(folder.list().unwrap().is_empty());
}

#[test]
fn a_child_that_is_no_folder_is_refused() {
    let scene = Scene::new();
    fs::create_dir(scene.path(b"dir")).unwrap();
    symlink("dir", scene.path(b"link")).unwrap();
    scene.file(b"file", b"");
    assert!(scene.folder.open_child(b"dir").is_ok());
    for name in [&b"link"[..], b"file", b"none"] {
        let error = scene.folder.open_child(name).unwrap_err();
        assert!(error.to_string().starts_with("open the folder \""), "{error}");
    }
    assert!(Folder::open(&scene.path(b"link"), Arc::new(Names::new())).is_ok());
    assert!(
        Folder::open(&scene.path(b"none\x1b"), Arc::new(Names::new()))
            .unwrap_err()
            .to_string()
            .ends_with("none\\x1b\"")
    );
}

#[test]
fn a_cache_is_known_by_its_tag() {
    let scene = Scene::new();
    assert_eq!(scene.folder.cache_tag().unwrap(), CacheTag::None);
    for (content, tag) in [
        (&b""[..], CacheTag::None),
        (b"Signature: 8a477f597d28d172789f06886806bc5", CacheTag::None),
        (b"Signature: 8a477f597d28d172789f06886806bc56\n", CacheTag::None),
        (b"Signature: 8a477f597d28d172789f06886806bc55", CacheTag::Cache),
        (b"Signature: 8a477f597d28d172789f06886806bc55\n# made by a test", CacheTag::Cache),
    ] {
        scene.file(b"CACHEDIR.TAG", content);
        assert_eq!(scene.folder.cache_tag().unwrap(), tag, "{content:?}");
    }
    fs::remove_file(scene.path(b"CACHEDIR.TAG")).unwrap();
    fs::create_dir(scene.path(b"CACHEDIR.TAG")).unwrap();
    assert_eq!(scene.folder.cache_tag().unwrap(), CacheTag::None);
}
