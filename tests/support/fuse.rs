//! A file system that this process serves, and that has trouble where a test says so: it answers with an error, or not at
//! all. Spoken to the kernel as `linux/fuse.h` has it. Needs root and `/dev/fuse`.

use std::ffi::CString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

/// What is asked of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    Attributes,
    Open,
    Read,
    List,
}

/// What becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// This error of the system.
    Error(Errno),
    /// No answer, ever.
    Hang,
}

/// A file or folder.
#[derive(Debug)]
pub(crate) struct Entry {
    /// Its path from the root: `a/b`. Folders come before what is in them.
    path: &'static str,
    /// Nothing for a folder.
    content: Option<Vec<u8>>,
    trouble: Option<(Asked, Trouble)>,
}

impl Entry {
    pub(crate) fn folder(path: &'static str) -> Self {
        Self { path, content: None, trouble: None }
    }

    pub(crate) fn file(path: &'static str, content: impl Into<Vec<u8>>) -> Self {
        Self { path, content: Some(content.into()), trouble: None }
    }

    pub(crate) fn troubled(self, asked: Asked, trouble: Trouble) -> Self {
        Self { trouble: Some((asked, trouble)), ..self }
    }
}

/// A mounted file system; unmounted when dropped, and whoever waits for an answer then gets an error.
#[derive(Debug)]
pub(crate) struct Served {
    point: PathBuf,
    server: Option<JoinHandle<()>>,
    /// Requests that got no answer.
    pub(crate) unanswered: Arc<AtomicU64>,
}

impl Served {
    /// Mounts it on this folder, whose path has no comma; nothing where that cannot be.
    pub(crate) fn mount(point: &Path, entries: Vec<Entry>) -> Option<Self> {
        let device =
            rustix::process::geteuid().is_root().then(|| File::options().read(true).write(true).open("/dev/fuse"));
        let Some(Ok(device)) = device else { return left_out("no root, or no /dev/fuse") };
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other", device.as_raw_fd());
        let options = CString::new(options).unwrap();
        if let Err(error) = mount("drctl-test", point, "fuse", MountFlags::empty(), options.as_c_str()) {
            return left_out(&error.to_string());
        }
        let unanswered = Arc::new(AtomicU64::new(0));
        let mut serving = Server { device, entries, unanswered: unanswered.clone() };
        let server = std::thread::spawn(move || while serving.answer_one() {});
        Some(Self { point: point.to_owned(), server: Some(server), unanswered })
    }
}

fn left_out(why: &str) -> Option<Served> {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // past the runner, which shows what is printed only of tests that fail
    let _ = writeln!(std::io::stderr(), "{test}: left out, nothing can be mounted: {why}");
    None
}

impl Drop for Served {
    fn drop(&mut self) {
        // By force: that gives an error to those who wait, and to the server.
        let _ = unmount(&self.point, UnmountFlags::FORCE | UnmountFlags::DETACH);
        if let Some(server) = self.server.take() {
            let _ = server.join();
        }
    }
}

struct Server {
    device: File,
    entries: Vec<Entry>,
    unanswered: Arc<AtomicU64>,
}

/// What a server may say that is no trouble.
const NO_ENTRY: i32 = Errno::NOENT.raw_os_error();
const NO_SUCH_CALL: i32 = Errno::NOSYS.raw_os_error();
const INTERRUPTED: i32 = Errno::INTR.raw_os_error();

/// The number of the root.
const ROOT: u64 = 1;

impl Server {
    /// The entry of a number. The root has one where it was given one, with an empty path.
    fn entry(&self, node: u64) -> Option<&Entry> {
        if node == ROOT {
            return self.entries.iter().find(|entry| entry.path.is_empty());
        }
        self.entries.get(usize::try_from(node.checked_sub(ROOT + 1)?).unwrap())
    }

    /// The entries of a folder, with their numbers and names.
    fn within(&self, node: u64) -> impl Iterator<Item = (u64, &str, &Entry)> {
        let above = self.entry(node).map_or("", |entry| entry.path);
        (ROOT + 1..).zip(&self.entries).filter_map(move |(number, entry)| {
            let (folder, name) = entry.path.rsplit_once('/').unwrap_or(("", entry.path));
            (folder == above && !name.is_empty()).then_some((number, name, entry))
        })
    }

    /// Answers one request, or not. False: it is over.
    fn answer_one(&mut self) -> bool {
        let mut request = vec![0; 1 << 18];
        let len = match self.device.read(&mut request) {
            Ok(len) => len,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return true, // taken back meanwhile
            Err(_) => return false,
        };
        let word = |at: usize| u32::from_ne_bytes(request[at..at + 4].try_into().unwrap());
        let long = |at: usize| u64::from_ne_bytes(request[at..at + 8].try_into().unwrap());
        let (operation, unique, node, body) = (word(4), long(8), long(16), &request[40..len]);
        let asked = match operation {
            3 => Some(Asked::Attributes),
            14 => Some(Asked::Open),
            15 => Some(Asked::Read),
            27 => Some(Asked::List),
            _ => None,
        };
        let troubled = |entry: Option<&Entry>, asked: Option<Asked>| {
            entry.and_then(|entry| entry.trouble).filter(|(on, _)| Some(*on) == asked).map(|(_, trouble)| trouble)
        };
        let answer = match troubled(self.entry(node), asked) {
            Some(Trouble::Hang) => {
                self.unanswered.fetch_add(1, Ordering::SeqCst);
                return true;
            }
            Some(Trouble::Error(error)) => Err(error.raw_os_error()),
            None => match operation {
                // forget, batch forget: nobody waits for an answer
                2 | 42 => return true,
                // Somebody who waits was killed. A network file system lets such a one go; were this one to keep silent, the
                // kernel would keep the process for ever.
                36 => {
                    self.reply(long(40), Err(INTERRUPTED));
                    return true;
                }
                1 => {
                    let name = body.split(|byte| *byte == 0).next().unwrap();
                    let found = self.within(node).find(|(_, it, _)| it.as_bytes() == name);
                    match found {
                        None => Err(NO_ENTRY),
                        // A name is looked up together with its attributes.
                        Some((_, _, entry)) if troubled(Some(entry), Some(Asked::Attributes)).is_some() => {
                            match troubled(Some(entry), Some(Asked::Attributes)) {
                                Some(Trouble::Error(error)) => Err(error.raw_os_error()),
                                _ => {
                                    self.unanswered.fetch_add(1, Ordering::SeqCst);
                                    return true;
                                }
                            }
                        }
                        Some((number, _, _)) => {
                            Ok([&longs(&[number, 0, 0, 0])[..], &[0; 8], &self.attributes(number)].concat())
                        }
                    }
                }
                3 => Ok([&[0; 16][..], &self.attributes(node)].concat()),
                // no caching: what is read is asked for
                14 => Ok([&[0; 8][..], &words(&[1, 0])].concat()),
                27 => Ok(vec![0; 16]),
                15 => Ok(self.read(node, long(48), word(56))),
                28 => Ok(self.list(node, long(48))),
                17 => Ok([&longs(&[0; 5])[..], &words(&[512, 255, 512, 0]), &[0; 24]].concat()),
                26 => Ok(self.begin(word(44))),
                18 | 25 | 29 => Ok(Vec::new()),
                38 => return false,
                _ => Err(NO_SUCH_CALL),
            },
        };
        self.reply(unique, answer);
        true
    }

    fn reply(&mut self, unique: u64, answer: Result<Vec<u8>, i32>) {
        let (error, body) = match answer {
            Ok(body) => (0, body),
            Err(error) => (-error, Vec::new()),
        };
        let len = u32::try_from(16 + body.len()).unwrap();
        let head = [&words(&[len, error.cast_unsigned()])[..], &longs(&[unique])].concat();
        // Whoever asked may be gone.
        let _ = self.device.write(&[head, body].concat());
    }

    /// The answer to the first request: version 7, and that one look-up need not wait for another in the same folder
    /// (`FUSE_PARALLEL_DIROPS`).
    fn begin(&self, minor: u32) -> Vec<u8> {
        [&words(&[7, minor.min(31), 0, 1 << 18, 0, 1 << 17, 1, 0])[..], &[0; 32]].concat()
    }

    fn attributes(&self, node: u64) -> Vec<u8> {
        let content = self.entry(node).and_then(|entry| entry.content.as_ref());
        let is_folder = self.entry(node).is_none_or(|entry| entry.content.is_none());
        let size = content.map_or(0, |content| content.len() as u64);
        let mode = if is_folder { 0o040_755 } else { 0o100_644 };
        [
            &longs(&[node, size, 1, 1_700_000_000, 1_700_000_000, 1_700_000_000])[..],
            &words(&[0, 0, 0, mode, 1, 0, 0, 0, 512, 0]),
        ]
        .concat()
    }

    fn read(&self, node: u64, offset: u64, size: u32) -> Vec<u8> {
        let content = self.entry(node).and_then(|entry| entry.content.as_deref()).unwrap_or_default();
        let rest = content.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        rest[..rest.len().min(size as usize)].to_vec()
    }

    /// All entries at once; the second time there are no more.
    fn list(&self, node: u64, offset: u64) -> Vec<u8> {
        let mut out = Vec::new();
        if offset > 0 {
            return out;
        }
        for (turn, (number, name, _)) in self.within(node).enumerate() {
            out.extend(longs(&[number, turn as u64 + 1]));
            out.extend(words(&[u32::try_from(name.len()).unwrap(), 0]));
            out.extend(name.as_bytes());
            out.resize(out.len().next_multiple_of(8), 0);
        }
        out
    }
}

fn longs(all: &[u64]) -> Vec<u8> {
    all.iter().flat_map(|one| one.to_ne_bytes()).collect()
}

fn words(all: &[u32]) -> Vec<u8> {
    all.iter().flat_map(|one| one.to_ne_bytes()).collect()
}

mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_served_is_there_and_trouble_is_where_it_was_planned() {
        let folder = tempfile::tempdir().unwrap();
        let stale = Trouble::Error(Errno::STALE);
        let entries = vec![
            Entry::folder("a"),
            Entry::file("a/good", vec![b'x'; 200_000]),
            Entry::file("a/stale", "never seen").troubled(Asked::Read, stale),
        ];
        let Some(served) = Served::mount(folder.path(), entries) else { return };
        let mut names: Vec<_> =
            fs::read_dir(folder.path().join("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["good", "stale"]);
        assert!(fs::read(folder.path().join("a/good")).unwrap() == vec![b'x'; 200_000]);
        assert_eq!(fs::metadata(folder.path().join("a/stale")).unwrap().len(), 10);
        let error = fs::read(folder.path().join("a/stale")).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::STALE.raw_os_error()));
        drop(served);
        assert!(!folder.path().join("a").exists());
    }
}
