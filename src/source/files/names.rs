//! What all folders of a walk share: names of users and groups, asked for once each, and the file systems that may stop
//! answering.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use nix::unistd::{Gid, Group, Uid, User};

use super::far::FarMounts;

/// Remembers the names of users and groups. Shared by all threads of a backup.
///
/// A number without a name has the empty one. So has one whose name could not be looked up, but that is asked for again
/// the next time: a directory server that is down for a moment must not be remembered for the whole run.
#[derive(Debug, Default)]
pub struct Names {
    users: RwLock<HashMap<u32, String>>,
    groups: RwLock<HashMap<u32, String>>,
    far: FarMounts,
}

impl Names {
    /// Knows no names yet, and no mounts: every file system is asked directly.
    pub fn new() -> Self {
        Self::default()
    }

    /// Knows no names yet, and which file systems are served by other machines or programs: those are waited for so long.
    pub fn patient(patience: Duration) -> Self {
        Self { far: FarMounts::of_this_machine(patience), ..Self::default() }
    }

    pub(super) fn far(&self) -> &FarMounts {
        &self.far
    }

    /// The user's name.
    pub fn user(&self, uid: u32) -> String {
        cached(&self.users, uid, || User::from_uid(Uid::from_raw(uid)).map(|user| user.map(|user| user.name)))
    }

    /// The group's name.
    pub fn group(&self, gid: u32) -> String {
        cached(&self.groups, gid, || Group::from_gid(Gid::from_raw(gid)).map(|group| group.map(|group| group.name)))
    }
}

fn cached(
    known: &RwLock<HashMap<u32, String>>,
    number: u32,
    look_up: impl FnOnce() -> nix::Result<Option<String>>,
) -> String {
    // an insert cannot leave the map half-changed, so a poisoned lock is as good as any
    if let Some(name) = known.read().unwrap_or_else(PoisonError::into_inner).get(&number) {
        return name.clone();
    }
    match look_up() {
        Ok(name) => {
            let name = name.unwrap_or_default();
            known.write().unwrap_or_else(PoisonError::into_inner).insert(number, name.clone());
            name
        }
        Err(errno) => {
            tracing::warn!(number, %errno, "failed to look up the name of a user or group");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_once() {
        let names = Names::new();
        assert_eq!((names.user(0), names.group(0)), ("root".to_owned(), "root".to_owned()));
        assert_eq!(names.user(0), "root");
        assert_eq!(names.user(3_999_999_999), "");
        assert_eq!(names.users.read().unwrap().len(), 2);
    }

    #[test]
    fn a_failed_look_up_is_not_remembered() {
        let known = RwLock::default();
        assert_eq!(cached(&known, 1, || Err(nix::Error::EIO)), "");
        assert_eq!(cached(&known, 1, || Ok(Some("one".into()))), "one");
        assert_eq!(cached(&known, 1, || unreachable!("it is known")), "one");
    }
}
