//! A home for one test: nothing of the machine's user reaches the program, nothing of the program reaches the user.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// nobody's user and group.
const NOBODY: u32 = 65534;

/// Who the programs of a house run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tenant {
    /// Whoever runs the tests.
    Me,
    /// nobody, when the tests run as root.
    Nobody,
}

/// HOME, state, a key file that only its owner reads, and room for vaults and trees.
#[derive(Debug)]
pub(crate) struct House {
    root: TempDir,
    tenant: Tenant,
    drctl: PathBuf,
}

impl House {
    /// What the key file holds.
    pub(crate) const PASSWORD: &str = "only for tests: rot-weiss-blau";

    pub(crate) fn new() -> Self {
        Self::of(Tenant::Me)
    }

    /// One whose programs run without privileges. Run by somebody who has none already, it is the same as `new`.
    pub(crate) fn unprivileged() -> Self {
        Self::of(if rustix::process::geteuid().is_root() { Tenant::Nobody } else { Tenant::Me })
    }

    /// One in memory, where that much is free there: for hundreds of thousands of files, which a disk takes minutes to
    /// make and to remove.
    pub(crate) fn roomy(bytes: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let free = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
        let place = if free >= bytes { memory.to_owned() } else { std::env::temp_dir() };
        Self::at(&place, Tenant::Me)
    }

    fn of(tenant: Tenant) -> Self {
        Self::at(&std::env::temp_dir(), tenant)
    }

    fn at(place: &Path, tenant: Tenant) -> Self {
        let root = tempfile::Builder::new().prefix("drctl-test-").tempdir_in(place).unwrap();
        let mut house = Self { root, tenant, drctl: PathBuf::from(env!("CARGO_BIN_EXE_drctl")) };
        house.give(house.root.path());
        for folder in ["home", "state", "work"] {
            fs::create_dir(house.path(folder)).unwrap();
            house.give(&house.path(folder));
        }
        fs::write(house.key_file(), format!("{}\n", Self::PASSWORD)).unwrap();
        fs::set_permissions(house.key_file(), PermissionsExt::from_mode(0o600)).unwrap();
        house.give(&house.key_file());
        house.drctl = house.reachable(&house.drctl);
        house
    }

    /// The program where the tenant can get at it: the build's folder, and those of the peers, may lie in a home that
    /// nobody may not enter.
    pub(crate) fn reachable(&self, program: &Path) -> PathBuf {
        let copy = self.path(program.file_name().unwrap());
        match self.tenant {
            Tenant::Me => return program.to_owned(),
            Tenant::Nobody if copy.exists() => {}
            // by a process of its own: were this one to hold the copy open while another test forks, running it would fail
            // with "text file busy"
            Tenant::Nobody => assert!(Command::new("cp").arg(program).arg(&copy).status().unwrap().success()),
        }
        copy
    }

    /// Hands a file over to the house's tenant.
    pub(crate) fn give(&self, path: &Path) {
        if self.tenant == Tenant::Nobody {
            chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// A path in the house.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.path().join(name)
    }

    pub(crate) fn key_file(&self) -> PathBuf {
        self.path("key")
    }

    /// A call of the program under test.
    pub(crate) fn drctl<I: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = I>) -> Call {
        self.call(&self.drctl).args(args)
    }

    /// A call of any program, in the house's environment.
    pub(crate) fn call(&self, program: impl AsRef<OsStr>) -> Call {
        let program = program.as_ref();
        let mut command = match self.tenant {
            Tenant::Me => Command::new(program),
            Tenant::Nobody => {
                let mut command = Command::new("setpriv");
                let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
                command.args(ids).args(["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--"]).arg(program);
                command
            }
        };
        command.env_clear().current_dir(self.path("work"));
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs([("TZ", "UTC"), ("LANG", "C.UTF-8"), ("RUST_BACKTRACE", "1")]);
        command.env("HOME", self.path("home")).env("TMPDIR", self.path("work"));
        for (name, folder) in [("CACHE", "cache"), ("CONFIG", "config"), ("STATE", "state"), ("DATA", "data")] {
            command.env(format!("XDG_{name}_HOME"), self.path("home").join(folder));
        }
        command.env("DRCTL_STATE_DIR", self.path("state")).env("DRCTL_KEY_FILE", self.key_file());
        Call { command, stdin: Vec::new(), shown: program.to_owned() }
    }
}

/// A program about to be run.
#[derive(Debug)]
pub(crate) struct Call {
    command: Command,
    stdin: Vec<u8>,
    shown: OsString,
}

impl Call {
    pub(crate) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.shown.push(" ");
        self.shown.push(arg.as_ref());
        self.command.arg(arg);
        self
    }

    pub(crate) fn args<I: AsRef<OsStr>>(self, args: impl IntoIterator<Item = I>) -> Self {
        args.into_iter().fold(self, Self::arg)
    }

    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn envs(self, all: &[(&str, String)]) -> Self {
        all.iter().fold(self, |call, (name, value)| call.env(name, value))
    }

    pub(crate) fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Starts it and goes on; what it writes is lost.
    pub(crate) fn spawn(mut self) -> Child {
        self.command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Starts it and goes on; its stdin stays open until the child's is dropped.
    pub(crate) fn spawn_waiting(mut self) -> Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// The same call, behind a shell that waits for a line before it becomes the program: whoever means to watch all of a
    /// process does not come too late. What it writes is lost.
    pub(crate) fn spawn_held(self) -> Child {
        let mut held = Command::new("sh");
        held.args(["-c", "read -r _; exec \"$@\"", "sh"]).arg(self.command.get_program()).args(self.command.get_args());
        held.env_clear().envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        held.current_dir(self.command.get_current_dir().unwrap_or(Path::new("/")));
        held.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Outcome {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap_or_else(|error| panic!("cannot run {:?}: {error}", self.shown));
        let mut pipe = child.stdin.take().unwrap();
        let input = self.stdin;
        // on a thread, because the program may fill its stdout before it reads on; it may also not read at all
        let feeder = std::thread::spawn(move || drop(pipe.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        Outcome {
            shown: self.shown.to_string_lossy().into_owned(),
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Runs it; it must end with 0.
    #[track_caller]
    pub(crate) fn ok(self) -> Outcome {
        self.ends(0)
    }

    /// Runs it; it must end with this exit code.
    #[track_caller]
    pub(crate) fn ends(self, code: i32) -> Outcome {
        let outcome = self.run();
        assert_eq!(outcome.code, Some(code), "{outcome}");
        outcome
    }
}

/// How a program ended, and what it said.
#[derive(Debug)]
pub(crate) struct Outcome {
    shown: String,
    /// None: killed by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Outcome {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The one JSON document that stdout holds.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stdout)
            .unwrap_or_else(|error| panic!("stdout is not one JSON document: {error}\n{self}"))
    }

    /// The JSON documents that stdout holds, one a line.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<serde_json::Value> {
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}\n{self}"));
        self.text().lines().map(parse).collect()
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{} ended with {:?}", self.shown, self.code)?;
        writeln!(f, "--- stdout\n{}\n--- stderr\n{}", self.text(), self.stderr)
    }
}

mod tests {
    use super::*;

    #[test]
    fn a_program_sees_only_the_house() {
        let house = House::new();
        let seen = house.call("env").env("MINE", "1").ok().text();
        let root = house.path("").display().to_string();
        for line in seen.lines() {
            let (name, value) = line.split_once('=').unwrap();
            let fixed = matches!(name, "PATH" | "TZ" | "LANG" | "RUST_BACKTRACE" | "MINE");
            assert!(fixed || value.starts_with(&root), "{line} leads out of the house");
        }
        assert!(seen.contains("MINE=1"));
        assert_eq!(fs::metadata(house.key_file()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_to_string(house.key_file()).unwrap().trim_end(), House::PASSWORD);
    }

    #[test]
    fn an_outcome_holds_code_streams_and_json() {
        let house = House::new();
        let outcome = house.call("sh").args(["-c", "cat; echo oops >&2; exit 3"]).stdin(r#"{"a": [1]}"#).ends(3);
        assert_eq!(outcome.json()["a"][0], 1);
        assert_eq!(outcome.stderr, "oops\n");
        let lines = house.call("printf").arg("1\n\"x\"\n").ok().json_lines();
        assert_eq!(lines, [serde_json::json!(1), serde_json::json!("x")]);
        assert_eq!(house.call("sh").args(["-c", "kill -9 $$"]).run().code, None);
    }

    #[test]
    #[should_panic(expected = "ended with Some(1)")]
    fn a_wrong_exit_code_fails_the_test() {
        House::new().call("false").ok();
    }

    #[test]
    fn a_large_input_and_output_do_not_block_each_other() {
        let bytes = vec![b'x'; 3 << 20];
        assert_eq!(House::new().call("cat").stdin(bytes.clone()).ok().stdout, bytes);
        House::new().call("true").stdin(bytes).ok();
    }

    #[test]
    fn the_unprivileged_reach_the_program_and_their_key_and_no_more() {
        let house = House::unprivileged();
        let uid = house.call("id").arg("-u").ok().text();
        assert_ne!(uid.trim(), "0");
        house.call("cat").arg(house.key_file()).ok();
        house.call("sh").args(["-c", "touch new && echo > \"$DRCTL_STATE_DIR/new\""]).ok();
        assert!(house.call("sh").args(["-c", "touch /etc/drctl-test"]).run().code != Some(0));
        assert!(house.drctl(["--version"]).run().code.is_some(), "the program was killed or did not start");
    }
}
