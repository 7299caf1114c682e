//! A process under watch: it is stopped before each of its calls that change a file system, over all its threads, and the
//! test says what becomes of it.

use std::collections::HashMap;
use std::io::Write;
use std::process::Child;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::{Signal as Kill, kill_process};

use super::house::Call;

/// What a watched process came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// It was killed before this call took effect.
    Killed(&'static str),
    /// It ended by itself, with this code, after so many calls.
    Ended { code: i32, calls: u64 },
}

/// Runs the call and kills it with SIGKILL before its `nth` change of a file system, counted from 1.
pub(crate) fn kill_before(nth: u64, call: Call) -> Watched {
    watch(call.spawn_held(), |at| if at.call != EXIT && at.count == nth { Then::Kill } else { Then::GoOn })
}

/// Runs the call to its end. `look` is told of each change, and of the end, before it takes effect: the whole process stands
/// still meanwhile but for threads that wait, and its memory can be read.
pub(crate) fn look_at_each(call: Call, mut look: impl FnMut(&At)) -> Watched {
    watch(call.spawn_held(), |at| {
        look(at);
        Then::GoOn
    })
}

/// Where a watched process stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    /// The process.
    pub(crate) pid: i32,
    /// Changes until now, with this one.
    pub(crate) count: u64,
    /// What is about to be called.
    pub(crate) call: &'static str,
}

/// How a call is named with which a process ends.
pub(crate) const EXIT: &str = "exit_group";

enum Then {
    GoOn,
    Kill,
}

/// Runs a held child to its end, or until `then` says so.
fn watch(mut child: Child, mut then: impl FnMut(&At) -> Then) -> Watched {
    let leader = Pid::from_raw(child.id().try_into().unwrap());
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(leader, options).unwrap();
    ptrace::interrupt(leader).unwrap();
    let (mut begun, mut calls, mut killed) = (false, 0, None);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let names = changes();
    loop {
        // Of this thread only: other tests wait for their children themselves.
        let stopped = match waitpid(None, Some(WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD)) {
            Err(Errno::EINTR) => continue,
            stopped => stopped.unwrap(),
        };
        let (thread, signal) = match stopped {
            WaitStatus::Exited(pid, code) if pid == leader => return Watched::Ended { code, calls },
            WaitStatus::Signaled(pid, _, _) if pid == leader => {
                return Watched::Killed(killed.expect("nobody else kills it"));
            }
            WaitStatus::PtraceSyscall(thread) => {
                if begun
                    && killed.is_none()
                    && let Some(name) = entered(thread, &names)
                {
                    calls += u64::from(name != EXIT);
                    match then(&At { pid: leader.as_raw(), count: calls, call: name }) {
                        Then::GoOn => {}
                        Then::Kill => {
                            killed = Some(name);
                            kill_process(rustix::process::Pid::from_raw(leader.as_raw()).unwrap(), Kill::KILL).unwrap();
                        }
                    }
                }
                (thread, None)
            }
            WaitStatus::PtraceEvent(thread, _, event) => {
                begun |= event == libc::PTRACE_EVENT_EXEC;
                (thread, None)
            }
            WaitStatus::Stopped(thread, signal) => (thread, Some(signal)),
            _ => continue,
        };
        go_on(thread, signal);
    }
}

/// Lets a thread run to the beginning or the end of its next call. It may have been killed meanwhile.
fn go_on(thread: Pid, signal: Option<Signal>) {
    match ptrace::syscall(thread, signal) {
        Ok(()) | Err(Errno::ESRCH) => {}
        Err(error) => panic!("{error}"),
    }
}

/// The change that a stopped thread is about to make; nothing when it is about something else, or behind it.
fn entered(thread: Pid, names: &HashMap<u64, &'static str>) -> Option<&'static str> {
    let info = ptrace::syscall_info(thread).ok().filter(|info| info.op == libc::PTRACE_SYSCALL_INFO_ENTRY)?;
    #[expect(
        unsafe_code,
        reason = "the kernel's answer is a union, and `op` says that this is the part which it filled"
    )]
    let entry = unsafe { info.u.entry };
    let name = *names.get(&entry.nr)?;
    let creates = |flags: u64| flags & u64::from(libc::O_CREAT.unsigned_abs()) != 0;
    match name {
        "openat" => creates(entry.args[2]).then_some(name),
        "open" => creates(entry.args[1]).then_some(name),
        _ => Some(name),
    }
}

/// The calls that change what lies in a file system: names, content that databases write, attributes, durability.
fn changes() -> HashMap<u64, &'static str> {
    let mut all = vec![
        (libc::SYS_exit_group, EXIT),
        (libc::SYS_openat, "openat"),
        (libc::SYS_mkdirat, "mkdirat"),
        (libc::SYS_symlinkat, "symlinkat"),
        (libc::SYS_linkat, "linkat"),
        (libc::SYS_renameat, "renameat"),
        (libc::SYS_renameat2, "renameat2"),
        (libc::SYS_unlinkat, "unlinkat"),
        (libc::SYS_ftruncate, "ftruncate"),
        (libc::SYS_fallocate, "fallocate"),
        (libc::SYS_pwrite64, "pwrite64"),
        (libc::SYS_fsync, "fsync"),
        (libc::SYS_fdatasync, "fdatasync"),
        (libc::SYS_syncfs, "syncfs"),
        (libc::SYS_fchmod, "fchmod"),
        (libc::SYS_fchmodat, "fchmodat"),
        (libc::SYS_fchown, "fchown"),
        (libc::SYS_fchownat, "fchownat"),
        (libc::SYS_utimensat, "utimensat"),
    ];
    #[cfg(target_arch = "x86_64")]
    all.extend([
        (libc::SYS_open, "open"),
        (libc::SYS_mkdir, "mkdir"),
        (libc::SYS_link, "link"),
        (libc::SYS_rename, "rename"),
        (libc::SYS_unlink, "unlink"),
        (libc::SYS_rmdir, "rmdir"),
    ]);
    all.into_iter().map(|(number, name)| (number.unsigned_abs(), name)).collect()
}

mod tests {
    use std::fs;

    use super::*;
    use crate::support::house::House;

    #[test]
    fn a_process_dies_before_the_change_that_was_named() {
        let house = House::new();
        let made = |house: &House| fs::read_dir(house.path("work")).unwrap().count();
        let call = || house.call("sh").args(["-c", "mkdir a; exec mkdir b c d"]);
        // mkdir is another process's: only what the program that is watched becomes counts
        assert!(matches!(kill_before(3, call()), Watched::Killed(_)));
        assert_eq!(made(&house), 3, "a, b and c");
        assert_eq!(kill_before(9, house.call("mkdir").args(["e", "f"])), Watched::Ended { code: 0, calls: 2 });
        assert_eq!(made(&house), 5);
    }

    #[test]
    fn what_other_threads_change_counts() {
        let house = House::new();
        let program = "import threading, os\nfor name in 'abcdef':\n t = threading.Thread(target=os.mkdir, args=(name,))\n t.start()\n t.join()";
        let call = house.call("python3").args(["-c", program]).env("PYTHONDONTWRITEBYTECODE", "1");
        assert!(matches!(kill_before(4, call), Watched::Killed(_)));
        assert_eq!(fs::read_dir(house.path("work")).unwrap().count(), 3);
    }
}
