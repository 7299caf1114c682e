//! What must not be found where it was: keys and passwords, in the memory of a process that is done with them.

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::support::house::{Call, House};
use crate::support::trace::{EXIT, Watched, look_at_each};
use crate::support::vaults::{cheap_vault, open, wait};

/// Something that is looked for. Kept under a mask, so that whoever copies this process's memory does not carry it along.
struct Needle {
    name: &'static str,
    masked: Vec<u8>,
}

const MASK: u8 = 0x5a;

impl Needle {
    fn new(name: &'static str, bytes: &[u8]) -> Self {
        assert!(bytes.len() >= 16, "{name} is too short to be told from chance");
        Self { name, masked: bytes.iter().map(|byte| byte ^ MASK).collect() }
    }

    fn is_in(&self, bytes: &[u8]) -> bool {
        let first = self.masked[0] ^ MASK;
        memchr::memchr_iter(first, bytes).any(|at| {
            bytes
                .get(at..at + self.masked.len())
                .is_some_and(|found| found.iter().zip(&self.masked).all(|(a, b)| a ^ MASK == *b))
        })
    }
}

/// The names of those that are somewhere in what the process may write to, and where.
fn found(pid: i32, needles: &[Needle]) -> Vec<(&'static str, String)> {
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found = Vec::new();
    for line in fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines() {
        let mut words = line.split_whitespace();
        let (range, may) = (words.next().unwrap(), words.next().unwrap());
        if !may.starts_with("rw") || line.contains("[vvar") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let [from, to] = [from, to].map(|at| u64::from_str_radix(at, 16).unwrap());
        let mut bytes = vec![0; usize::try_from(to - from).unwrap()];
        memory.seek(SeekFrom::Start(from)).unwrap();
        if memory.read_exact(&mut bytes).is_err() {
            continue; // what was never touched may have nothing behind it
        }
        found.extend(needles.iter().filter(|needle| needle.is_in(&bytes)).map(|needle| (needle.name, line.to_owned())));
    }
    found
}

/// The master key of a vault, in each form that it has on its way from the key file, and the password.
fn secrets(vault: &Path) -> Vec<Needle> {
    let key = wait(async { open(vault).await.key().clone() });
    let parts = key.parts();
    let text = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
    vec![
        Needle::new("the key of the cipher", &parts.encrypt),
        // What is expanded from it, and laid out for many blocks at once, has its halves apart.
        Needle::new("the first half of it", &parts.encrypt[..16]),
        Needle::new("the other half of it", &parts.encrypt[16..]),
        Needle::new("the key of the MAC", &parts.mac_k),
        Needle::new("the multiplier of the MAC", &parts.mac_r),
        Needle::new("the key of the cipher as text", text(&parts.encrypt).as_bytes()),
        Needle::new("the key of the MAC as text", text(&parts.mac_k).as_bytes()),
        Needle::new("the multiplier of the MAC as text", text(&parts.mac_r).as_bytes()),
        Needle::new("the password", House::PASSWORD.as_bytes()),
    ]
}

/// Runs the call; what of the secrets it held while it worked, and at its end.
fn held(call: Call, secrets: &[Needle]) -> (Vec<&'static str>, Vec<(&'static str, String)>) {
    let (mut meanwhile, mut at_the_end) = (Vec::new(), None);
    let ended = look_at_each(call, |at| match at.call {
        EXIT => at_the_end = Some(found(at.pid, secrets)),
        // Not before each: reading all memory takes its time.
        "fsync" | "unlink" | "unlinkat" | "openat" => {
            meanwhile.extend(found(at.pid, secrets).into_iter().map(|(name, _)| name));
        }
        _ => {}
    });
    assert!(matches!(ended, Watched::Ended { code: 0, .. }), "{ended:?}");
    (meanwhile, at_the_end.expect("it ended by itself"))
}

#[test]
fn keys_and_passwords_are_in_no_memory_once_a_command_is_done_with_them() {
    let house = House::new();
    let vault = cheap_vault(&house.path("vault"));
    let secrets = secrets(&vault);
    fs::write(house.path("work/file"), "content").unwrap();
    let other = house.path("other.key");
    let script = "umask 077; printf %s \"$1\" > \"$2\"";
    house.call("sh").args(["-c", script, "sh", "another password of a test"]).arg(&other).ok();
    let on = |args: &[&str]| house.drctl(["--vault"]).arg(&vault).args(args);
    let calls: [(&str, &dyn Fn() -> Call); 5] = [
        ("backup", &|| on(&["backup", "--path", "file"])),
        ("check", &|| on(&["check", "--read-data"])),
        ("key add", &|| on(&["key", "add", "--new-key-file"]).arg(&other)),
        ("prune", &|| on(&["prune"])),
        ("restore", &|| on(&["restore", "latest", "--overwrite", "--to", "out"])),
    ];
    for (name, call) in calls {
        // What a command leaves behind it leaves each time. What the loader of shared libraries, or the system, saves of the
        // processor's registers just then is not the command's, and comes by chance.
        let mut left = Vec::new();
        for _ in 0..3 {
            let (meanwhile, at_the_end) = held(call(), &secrets);
            // It is looked for where it can be found.
            assert!(
                meanwhile.contains(&"the key of the cipher"),
                "{name}: the key was not seen even while it was in use"
            );
            left = at_the_end;
            if left.is_empty() {
                break;
            }
        }
        assert_eq!(left, [], "{name}: still there at the end");
    }
}

#[test]
fn what_is_looked_for_is_found_where_it_is() {
    let house = House::new();
    let needle = Needle::new("the needle", b"this is what is looked for");
    // The shell has it in its arguments, and does not wipe them.
    let shell = house.call("sh").args(["-c", "x='this is what is looked for'; : > made; exit 0"]);
    let (_, at_the_end) = held(shell, &[needle]);
    assert!(!at_the_end.is_empty());
}
