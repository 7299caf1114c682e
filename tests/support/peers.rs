//! Other programs that read and write the same format.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::compare::{Aspect, Difference};
use super::house::{Call, House};

/// Where scripts/test-deps puts what it fetches.
pub(crate) fn folder() -> PathBuf {
    let named = std::env::var_os("DRCTL_PEERS").map(PathBuf::from);
    named.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/drctl-peers"))
}

/// A program that scripts/test-deps fetches. A test never skips itself because one is missing.
pub(crate) fn required(program: &str) -> PathBuf {
    let path = folder().join("bin").join(program);
    assert!(path.exists(), "{} is missing: run scripts/test-deps", path.display());
    path
}

/// A restic or a rustic.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    /// "restic-0.18"
    pub(crate) name: &'static str,
    program: PathBuf,
}

pub(crate) fn restic18() -> Peer {
    Peer { name: "restic-0.18", program: required("restic-0.18") }
}

pub(crate) fn restic14() -> Peer {
    Peer { name: "restic-0.14", program: required("restic-0.14") }
}

/// Both restics.
pub(crate) fn restics() -> [Peer; 2] {
    [restic18(), restic14()]
}

/// Takes ten minutes to build, so it is not fetched unasked: a test that finds none says so and proves nothing.
pub(crate) fn rustic() -> Option<Peer> {
    let program = folder().join("bin/rustic");
    if program.exists() {
        return Some(Peer { name: "rustic", program });
    }
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // past the runner, which shows what is printed only of tests that fail
    let _ = writeln!(std::io::stderr(), "{test}: skipped, there is no rustic: scripts/test-deps --rustic");
    None
}

impl Peer {
    /// Differences between the hostile tree and what this peer restores of it, whoever wrote the snapshot: what this
    /// version cannot hold, or does not restore unless it is asked to.
    pub(crate) fn cannot_restore(&self, difference: &Difference) -> bool {
        let old = self.name == "restic-0.14";
        match (&*difference.path, &difference.aspect) {
            (b"special/socket", Aspect::OnlyInFirst) | (_, Aspect::Holes) => true,
            (b"links/not UTF-8", Aspect::Target) | (b"xattrs/symlink", Aspect::Xattr(_)) => old,
            // takes a mode of 0 for one that was not stored
            (b"owned/mode 0000", Aspect::Mode) => self.name == "rustic",
            _ => false,
        }
    }

    /// Differences between the hostile tree and what comes back of a snapshot that this peer wrote, whoever restores it.
    pub(crate) fn cannot_store(&self, difference: &Difference) -> bool {
        match difference.aspect {
            Aspect::Holes | Aspect::Mode => false,
            // of the folder that is backed up, and those above it, rustic stores names and modes
            Aspect::Mtime => self.name == "rustic" && difference.path.is_empty(),
            _ => self.cannot_restore(difference),
        }
    }

    /// A call on this repository, with the house's key, in the house, with a cache of its own.
    pub(crate) fn on<I: AsRef<OsStr>>(
        &self,
        house: &House,
        repository: &Path,
        args: impl IntoIterator<Item = I>,
    ) -> Call {
        self.at(house, repository.as_os_str(), args)
    }

    /// The same for a repository that is named as the peer names it ("s3:http://...").
    pub(crate) fn at<I: AsRef<OsStr>>(
        &self,
        house: &House,
        repository: &OsStr,
        args: impl IntoIterator<Item = I>,
    ) -> Call {
        // rustic looks for where it lies itself
        let program = if self.name == "rustic" { house.reachable(&self.program) } else { self.program.clone() };
        let call = house.call(program).env("RESTIC_CACHE_DIR", house.path("home").join(self.name));
        let call = call.env("RESTIC_REPOSITORY", repository).env("RESTIC_PASSWORD", House::PASSWORD);
        let call = call.env("RUSTIC_REPOSITORY", repository).env("RUSTIC_PASSWORD", House::PASSWORD);
        // progress bars are of no use to a log
        call.env("RESTIC_PROGRESS_FPS", "0.01").env("RUSTIC_NO_PROGRESS", "true").args(args)
    }
}

mod tests {
    use std::fs;

    use super::*;
    use crate::support::compare::compare_trees;
    use crate::support::hostile::hostile_tree;

    #[test]
    fn the_restics_are_those_that_their_names_say_and_work() {
        for peer in restics() {
            let house = House::new();
            let said = house.call(&peer.program).arg("version").ok().text();
            assert!(said.starts_with(&peer.name.replace('-', " ")), "{said}");

            let (repository, tree) = (house.path("repository"), house.path("work/tree"));
            fs::create_dir(&tree).unwrap();
            fs::write(tree.join("file"), "content").unwrap();
            peer.on(&house, &repository, ["init"]).ok();
            peer.on(&house, &repository, ["backup", "--json"]).arg(&tree).ok();
            peer.on(&house, &repository, ["check", "--read-data"]).ok();
            let snapshots = peer.on(&house, &repository, ["snapshots", "--json"]).ok().json();
            assert_eq!(snapshots[0]["paths"][0], tree.to_str().unwrap());
            let time = snapshots[0]["time"].as_str().unwrap();
            assert!(time.ends_with('Z') || time.ends_with("+00:00"), "{time} is not UTC");
        }
    }

    #[test]
    fn a_restic_restores_its_own_hostile_tree_but_for_what_it_cannot() {
        for peer in restics() {
            let house = House::new();
            let (repository, tree, target) = (house.path("repository"), house.path("work/tree"), house.path("out"));
            fs::create_dir(&tree).unwrap();
            hostile_tree(&tree);
            peer.on(&house, &repository, ["init"]).ok();
            peer.on(&house, &repository, ["backup"]).arg(&tree).ok();
            peer.on(&house, &repository, ["restore", "latest", "--target"]).arg(&target).ok();
            let restored = target.join(tree.strip_prefix("/").unwrap());
            let (known, lost): (Vec<_>, Vec<_>) =
                compare_trees(&tree, &restored).into_iter().partition(|difference| peer.cannot_restore(difference));
            assert!(lost.is_empty(), "{}: {lost:#?}", peer.name);
            assert!(!known.is_empty(), "{} restores all: cannot_restore is out of date", peer.name);
        }
    }

    #[test]
    fn rustic_reads_what_restic_wrote_where_it_is_installed() {
        let Some(rustic) = rustic() else { return };
        let house = House::new();
        let repository = house.path("repository");
        restic18().on(&house, &repository, ["init"]).ok();
        restic18().on(&house, &repository, ["backup"]).arg(house.path("work")).ok();
        rustic.on(&house, &repository, ["check", "--read-data"]).ok();
    }

    #[test]
    #[should_panic(expected = "run scripts/test-deps")]
    fn a_missing_peer_says_how_to_get_it() {
        required("restic-9.99");
    }
}
