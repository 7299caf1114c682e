//! File systems that other machines or programs serve, and that may stop answering.
//!
//! A call into one of them may never come back, and nothing gets the thread that made it out of it again. So such calls are
//! made by threads that can be done without: whoever asks waits for so long and no longer. A thread that does not come back
//! is left behind and ends with the process. One call without an answer is that file's fault; after a second in a row
//! nothing more is asked of that file system. Local file systems answer at once or not at all, and are asked directly.

use std::collections::HashMap;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Calls in a row without an answer from which on a file system counts as hung.
const STRIKES: u32 = 2;

/// What `/proc/self/mountinfo` calls them. Whatever begins with `fuse` is one, too.
const SERVED: [&str; 11] = ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "afs", "lustre", "virtiofs", "ncpfs"];

/// The mounts of this machine that may stop answering, as they were when a walk began.
#[derive(Debug, Default)]
pub(super) struct FarMounts {
    /// All mount points, and which of them are far.
    points: Vec<(PathBuf, Option<Arc<Mount>>)>,
    /// Far ones by device and inode of the folder that they lie in, and their name there.
    within: HashMap<(u64, u64), Vec<Named>>,
}

/// A mount by the name of its point in the folder that holds it.
type Named = (Vec<u8>, Arc<Mount>);

/// One of them.
#[derive(Debug)]
pub(super) struct Mount {
    point: PathBuf,
    patience: Duration,
    /// Calls without an answer since the last one with an answer.
    strikes: AtomicU32,
    /// Threads that wait for work.
    idle: Mutex<Vec<Sender<Work>>>,
}

type Work = Box<dyn FnOnce() + Send>;

impl FarMounts {
    /// Those of this machine.
    pub(super) fn of_this_machine(patience: Duration) -> Self {
        // Without /proc nothing is known of mounts, and everything is asked directly.
        Self::parse(&std::fs::read(Path::new("/proc/self/mountinfo")).unwrap_or_default(), patience)
    }

    fn parse(mountinfo: &[u8], patience: Duration) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.split(|byte| *byte == b'\n') {
            let Some((point, kind)) = mount(line) else { continue };
            let far = is_served(kind).then(|| Arc::new(Mount::new(point.clone(), patience)));
            // Of several on one point only the last can be seen.
            mounts.points.retain(|(other, _)| *other != point);
            mounts.points.push((point, far));
        }
        let far: Vec<Arc<Mount>> = mounts.points.iter().filter_map(|(_, far)| far.clone()).collect();
        for mount in far {
            let (Some(above), Some(name)) = (mount.point.parent(), mount.point.file_name()) else { continue };
            // What lies in another of them is far anyway, and must not be asked here.
            if mounts.at(above).is_none()
                && let Ok(above) = std::fs::metadata(above)
            {
                let named = (name.as_bytes().to_vec(), mount.clone());
                mounts.within.entry((above.dev(), above.ino())).or_default().push(named);
            }
        }
        mounts
    }

    /// The mount that an absolute path leads into, by its text.
    pub(super) fn at(&self, path: &Path) -> Option<Arc<Mount>> {
        let holders = self.points.iter().filter(|(point, _)| path.starts_with(point));
        holders.max_by_key(|(point, _)| point.as_os_str().len()).and_then(|(_, far)| far.clone())
    }

    /// The mount whose point is this entry of this folder.
    pub(super) fn on(&self, folder: (u64, u64), name: &[u8]) -> Option<Arc<Mount>> {
        if self.within.is_empty() {
            return None;
        }
        let named = self.within.get(&folder)?.iter().find(|(point, _)| point == name);
        named.map(|(_, mount)| mount.clone())
    }
}

/// Mount point and type of a line of mountinfo (`proc_pid_mountinfo(5)`).
fn mount(line: &[u8]) -> Option<(PathBuf, &str)> {
    let point = line.split(|byte| *byte == b' ').nth(4)?;
    let behind = line.windows(3).position(|three| three == b" - ")? + 3;
    let kind = line.get(behind..)?.split(|byte| *byte == b' ').next()?;
    Some((PathBuf::from(std::ffi::OsString::from_vec(unescape(point))), std::str::from_utf8(kind).ok()?))
}

/// Blanks and the like stand as `\040`.
fn unescape(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..3).and_then(|three| std::str::from_utf8(three).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()).filter(|_| *first == b'\\') {
            Some(byte) => {
                out.push(byte);
                rest = &after[3..];
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

fn is_served(kind: &str) -> bool {
    SERVED.contains(&kind) || kind.starts_with("fuse") && kind != "fusectl"
}

impl Mount {
    fn new(point: PathBuf, patience: Duration) -> Self {
        Self { point, patience, strikes: AtomicU32::new(0), idle: Mutex::default() }
    }

    /// Has something done in the file system that is mounted here, and waits for it as long as it is worth waiting.
    pub(super) fn ask<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        if self.strikes.load(Ordering::Relaxed) >= STRIKES {
            return Err(self.hung());
        }
        let (answer, answered) = sync_channel(1);
        let thread = self.hand_over(Box::new(move || drop(answer.send(call()))))?;
        match answered.recv_timeout(self.patience) {
            Ok(done) => {
                self.strikes.store(0, Ordering::Relaxed);
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
                Ok(done)
            }
            Err(_) => {
                self.strikes.fetch_add(1, Ordering::Relaxed);
                Err(self.hung())
            }
        }
    }

    /// Has something dropped, which closes it there, and does not wait.
    pub(super) fn let_go<T: Send + 'static>(&self, what: T) {
        // Where there is no thread to be had it goes with the process.
        if let Ok(thread) = self.hand_over(Box::new(move || drop(what))) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(thread);
        }
    }

    fn hand_over(&self, work: Work) -> io::Result<Sender<Work>> {
        let mut work = work;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(thread) = idle {
            match thread.send(work) {
                Ok(()) => return Ok(thread),
                // It died of a panic; another takes its place.
                Err(dead) => work = dead.0,
            }
        }
        let (sender, receiver) = channel::<Work>();
        std::thread::Builder::new()
            .name("far files".to_owned())
            .spawn(move || receiver.iter().for_each(|work| work()))?;
        // Its receiver lives until this sender is dropped.
        let _ = sender.send(work);
        Ok(sender)
    }

    fn hung(&self) -> io::Error {
        let (point, secs) = (self.point.display(), self.patience.as_secs_f32());
        io::Error::new(io::ErrorKind::TimedOut, format!("the file system at {point} did not answer for {secs} seconds"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:50 / /mnt/with\\040blank rw - nfs4 server:/export rw,vers=4.2
31 22 0:51 / /mnt/fuse rw shared:7 master:2 - fuse.sshfs user@host: rw
32 31 8:2 / /mnt/fuse/disk rw - xfs /dev/sdb1 rw
33 22 0:52 / /sys/fs/fuse/connections rw - fusectl fusectl rw
34 22 0:53 / /mnt/over rw - nfs server:/a rw
35 34 8:3 / /mnt/over rw - ext4 /dev/sdc1 rw
";

    #[test]
    fn far_mounts_are_known_by_their_type_and_the_nearest_counts() {
        let mounts = FarMounts::parse(INFO.as_bytes(), Duration::from_secs(1));
        let at = |path: &str| mounts.at(Path::new(path)).map(|mount| mount.point.display().to_string());
        assert_eq!(at("/mnt/with blank/a/b").as_deref(), Some("/mnt/with blank"));
        assert_eq!(at("/mnt/fuse").as_deref(), Some("/mnt/fuse"));
        for near in ["/", "/mnt", "/mnt/fuse/disk/x", "/mnt/fuse2", "/sys/fs/fuse/connections", "/mnt/over/x"] {
            assert_eq!(at(near), None, "{near}");
        }
        assert!(FarMounts::parse(b"", Duration::ZERO).at(Path::new("/")).is_none());
    }

    #[test]
    fn who_does_not_answer_is_waited_for_twice_and_who_does_is_forgiven() {
        let mount = Mount::new("/far".into(), Duration::from_millis(20));
        let (hold, held) = channel::<()>();
        let held = Arc::new(Mutex::new(held));
        let stuck = || {
            let held = held.clone();
            mount.ask(move || held.lock().unwrap_or_else(PoisonError::into_inner).recv().is_ok())
        };
        let error = stuck().unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains("/far")), (io::ErrorKind::TimedOut, true));
        let patient = Mount { patience: Duration::from_secs(60), ..Mount::new("/far".into(), Duration::ZERO) };
        assert_eq!(patient.ask(|| 7).unwrap(), 7);
        mount.strikes.store(0, Ordering::Relaxed);
        assert!(stuck().is_err() && stuck().is_err());
        assert!(mount.ask(|| unreachable!("a file system that hangs is not asked again")).is_err());
        drop(hold);
    }

    #[test]
    fn threads_are_used_again_and_replaced_when_they_die() {
        let mount = Mount::new("/far".into(), Duration::from_secs(60));
        let thread = || std::thread::current().id();
        let first = mount.ask(thread).unwrap();
        assert_eq!(mount.ask(thread).unwrap(), first);
        assert_ne!(first, std::thread::current().id());
        mount.let_go(Vec::<u8>::new());
        assert_eq!(mount.ask(thread).unwrap(), first, "in turn");
    }
}
