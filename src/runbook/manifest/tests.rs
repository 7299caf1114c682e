use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::Arc;

use jiff::Timestamp;

use super::*;

fn tree() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("a/deep")).unwrap();
    fs::write(root.join("a/deep/one"), "1").unwrap();
    fs::write(root.join("a-b"), "sorted by bytes, not by folders").unwrap();
    fs::write(root.join("empty"), "").unwrap();
    fs::write(root.join(as_path(b"not utf-8 \xff\nnew line")), "2").unwrap();
    symlink("a/deep", root.join("link")).unwrap();
    folder
}

fn manifest(root: &Path) -> Manifest {
    Manifest::create(root, &Cancel::default()).unwrap()
}

fn bytes(manifest: &Manifest) -> Vec<u8> {
    let mut out = Vec::new();
    manifest.write(&mut out).unwrap();
    out
}

#[test]
fn equal_trees_have_equal_manifests_that_come_back() {
    let (one, other) = (tree(), tree());
    let (one, other) = (manifest(one.path()), manifest(other.path()));
    assert_eq!(one.digest(), other.digest());
    assert_eq!(one.len(), 7);
    let text = bytes(&one);
    assert_eq!(Manifest::parse(&text).unwrap(), one);
    let records = ["drctl-manifest 1\na\0d\x000\0".to_owned(), format!("{}\0a-b\0f\x0031\0", "0".repeat(64))];
    assert!(text.starts_with(records.concat().as_bytes()), "{}", String::from_utf8_lossy(&text));
    assert_eq!(hex::encode(Sha256::digest(&text)), one.digest());
}

#[test]
fn every_difference_is_named() {
    let (source, restored) = (tree(), tree());
    let root = restored.path();
    fs::write(root.join("a/deep/one"), "7").unwrap(); // same size, other content
    fs::remove_file(root.join("empty")).unwrap();
    fs::create_dir(root.join("empty")).unwrap();
    fs::remove_file(root.join("a-b")).unwrap();
    fs::write(root.join("new"), "").unwrap();
    fs::remove_file(root.join("link")).unwrap();
    symlink("elsewhere", root.join("link")).unwrap();
    let comparison = manifest(source.path()).compare(&manifest(root));
    let told: Vec<String> = comparison.differences.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "\"a-b\" is missing",
            "\"a/deep/one\" has other content",
            "\"empty\" is of another kind",
            "\"link\" has other content",
            "\"new\" should not be there",
        ]
    );
    assert_eq!((comparison.differing, comparison.equal, comparison.bytes), (5, 3, 1));
}

#[test]
fn lists_of_sha256sum_are_understood() {
    let tree = tree();
    let run = |options: &str| {
        let script = format!("cd {:?} && find {options} -type f -exec sha256sum {{}} +", tree.path());
        let output = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        assert!(output.status.success());
        output.stdout
    };
    for list in [run("."), run("a a-b empty not*")] {
        let comparison = Manifest::parse(&list).unwrap().compare(&manifest(tree.path()));
        assert_eq!((comparison.equal, comparison.differing), (4, 0), "{:?}", comparison.differences);
    }
    // folders and links are not its business; a file that it does not name is
    fs::write(tree.path().join("new"), "").unwrap();
    let comparison = Manifest::parse(&run("a a-b empty not*")).unwrap().compare(&manifest(tree.path()));
    assert_eq!(comparison.differences, [Difference { path: "new".into(), how: How::Unexpected }]);
}

#[test]
fn bad_lines_are_named() {
    let digest = "0".repeat(64);
    for (text, bad) in [
        ("what".to_owned(), 1),
        (format!("{digest}  good\n{digest} bad\n"), 2),
        (format!("{digest}  ../climbs\n"), 1),
        (format!("{digest}  .\n"), 1),
        (format!("\\{digest}  bad\\escape\n"), 1),
        (format!("{}  short\n", &digest[1..]), 1),
        (format!("drctl-manifest 1\na\0f\01\0{digest}\0b\0f\0"), 3),
        (format!("drctl-manifest 1\na\0x\01\0{digest}\0"), 2),
    ] {
        let error = Manifest::parse(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ManifestError::Line { line } if line == bad), "{text:?}: {error}");
    }
    assert!(Manifest::parse(b"").unwrap().is_empty());
}

#[test]
fn the_tree_is_held_against_what_the_source_still_has() {
    let source = tree();
    let restored = tempfile::tempdir().unwrap();
    let at = |path: &str| restored.path().join(source.path().strip_prefix("/").unwrap()).join(path);
    fs::create_dir_all(at("")).unwrap();
    let copied = std::process::Command::new("cp").arg("-a").arg(source.path().join(".")).arg(at("")).status().unwrap();
    assert!(copied.success());
    let later = |seconds: i64| {
        let newest = fs::symlink_metadata(source.path()).unwrap().ctime();
        Timestamp::from_second(newest + seconds).unwrap()
    };
    let mut origin =
        Origin { roots: vec![source.path().to_owned()], since: later(10), leave_out: Arc::new(|_, _| false) };
    let root = source.path().to_owned();
    let compare = |origin: &Origin, below: &Path| {
        compare_with_source(origin, restored.path(), below, &Cancel::default()).unwrap()
    };

    let whole = compare(&origin, &root);
    assert_eq!((whole.comparison.equal, whole.comparison.differing, whole.changed_since), (5, 0, 0));
    assert_eq!(compare(&origin, Path::new("/")), whole);
    assert_eq!(compare(&origin, &root.join("a")).comparison.equal, 1);
    assert_eq!(compare(&origin, Path::new("/elsewhere")).comparison.equal, 0);

    // a planted fault: same size, same time, other content
    let planted = at("a/deep/one");
    let time = fs::metadata(&planted).unwrap().modified().unwrap();
    fs::write(&planted, "7").unwrap();
    File::options().write(true).open(&planted).unwrap().set_modified(time).unwrap();
    fs::remove_file(at("a-b")).unwrap();
    let found = compare(&origin, &root);
    let told: Vec<_> = found.comparison.differences.iter().map(|it| it.how).collect();
    assert_eq!(told, [How::Content, How::Missing]);
    assert_ne!(found.digest, whole.digest);

    // what the backup leaves out is not missed
    origin.leave_out = Arc::new(|path, _| path.ends_with("a-b"));
    assert_eq!(compare(&origin, &root).comparison.differing, 1);

    // all of the source is newer than the snapshot: nothing can be proven, and nothing is
    origin.since = later(-1000);
    let unproven = compare(&origin, &root);
    assert_eq!((unproven.comparison.equal, unproven.comparison.differing, unproven.changed_since), (0, 0, 4));
}

#[test]
fn it_stops_when_asked() {
    let cancel = Cancel::default();
    cancel.cancel();
    assert!(matches!(Manifest::create(tree().path(), &cancel), Err(ManifestError::Stopped)));
}
