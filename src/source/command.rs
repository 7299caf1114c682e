//! What a program prints.
//!
//! Runs a program and its arguments, never a shell, in a process group of its own, and hands out its stdout as a reader.
//! Invariant: the end of the output is no proof of success. Only [`CommandOutput::finish`] says whether the program ended
//! well, and whoever read the output must ask it. A program that outlives its time, or whose output is dropped early, is
//! killed with its whole group; a program that ended well may leave others of its group running.
//!
//! It keeps no output itself but the last lines of stderr, with values of secrets and passwords in URLs blotted out.

mod stderr;

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use stderr::Tail;

/// Why a program did not deliver. Names the program, never its arguments.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is nothing to run.
    #[error("start a command: it is empty")]
    Empty,
    /// It could not be started.
    #[error("start {program:?}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It ended with an exit code other than 0.
    #[error("run {program:?}: it ended with exit code {code}{}", said(stderr))]
    Exit {
        /// The program.
        program: String,
        /// Its exit code.
        code: i32,
        /// The last lines that it wrote to stderr.
        stderr: String,
    },
    /// Somebody else's signal ended it.
    #[error("run {program:?}: signal {signal} ended it{}", said(stderr))]
    Signal {
        /// The program.
        program: String,
        /// The signal's number.
        signal: i32,
        /// The last lines that it wrote to stderr.
        stderr: String,
    },
    /// It was killed because its time was up.
    #[error("run {program:?}: it was killed after {}{}", crate::units::Span::round_up(*limit), said(stderr))]
    Timeout {
        /// The program.
        program: String,
        /// The time that it had.
        limit: Duration,
        /// The last lines that it wrote to stderr.
        stderr: String,
    },
    /// It was killed because nobody wanted the rest.
    #[error("run {program:?}: it was stopped")]
    Stopped {
        /// The program.
        program: String,
    },
    /// Its end could not be learned.
    #[error("wait for {program:?}")]
    Wait {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; its last words: {stderr}") }
}

/// A program and how to run it.
#[derive(Clone)]
pub struct Program {
    program: String,
    arguments: Vec<String>,
    folder: Option<PathBuf>,
    variables: Vec<(String, OsString)>,
    secrets: Vec<String>,
    limit: Option<Duration>,
}

impl std::fmt::Debug for Program {
    /// Without arguments and values: they may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").field("program", &self.program).field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Program {
    /// A program with its arguments.
    pub fn new(command: &[String]) -> Result<Self, CommandError> {
        let (program, arguments) =
            command.split_first().filter(|(name, _)| !name.is_empty()).ok_or(CommandError::Empty)?;
        Ok(Self {
            program: program.clone(),
            arguments: arguments.to_vec(),
            folder: None,
            variables: Vec::new(),
            secrets: Vec::new(),
            limit: None,
        })
    }

    /// Runs it in this folder.
    pub fn in_folder(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Adds a variable to the environment.
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Adds a variable to the environment whose value is never repeated from what the program writes to stderr.
    pub fn secret_variable(mut self, name: &str, value: &str) -> Self {
        self.secrets.push(value.to_owned());
        self.variable(name, value)
    }

    /// Kills it when it has not ended after this time.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Starts it. Its stdin is empty.
    pub fn start(self) -> Result<CommandOutput, CommandError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        let program = self.program.clone();
        let failed = |source| CommandError::Start { program: program.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (Some(group), Some(stdout), Some(stderr)) = (group, child.stdout.take(), child.stderr.take()) else {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(io::Error::other("no pipes")));
        };
        let run = Arc::new(Run { phase: Mutex::new(Phase::Alive(child)), group, killed: Mutex::new(None) });
        let guard = Guard(run.clone()); // from here on an error kills the program
        let stderr = Tail::drain(stderr, self.secrets).map_err(failed)?;
        let watch = self.limit.map(|limit| watch(run.clone(), limit)).transpose().map_err(failed)?;
        let ending = Ending { program: program.clone(), guard, stderr, limit: self.limit, _watch: watch };
        Ok(CommandOutput { reader: Box::new(stdout), finish: Box::new(move || ending.finish()), stopper: Stopper(run) })
    }
}

/// What a running program prints, and how it ends.
pub struct CommandOutput {
    /// Its stdout, to the end.
    pub reader: Box<dyn Read + Send>,
    /// To be called after the reader came to its end: waits for the program and says whether it ended well, and then what
    /// its last lines on stderr were. Dropped instead, the program is killed.
    pub finish: Box<dyn FnOnce() -> Result<String, CommandError> + Send>,
    /// Kills the program from another thread.
    pub stopper: Stopper,
}

/// Kills a program's group from another thread.
#[derive(Clone)]
pub struct Stopper(Arc<Run>);

impl Stopper {
    /// Kills it, unless it has ended.
    pub fn stop(&self) {
        self.0.kill(Killed::Stopped);
    }
}

#[derive(Clone, Copy)]
enum Killed {
    Late,
    Stopped,
}

enum Phase {
    /// Not reaped: the id of its group can belong to nobody else.
    Alive(Child),
    Ended,
}

struct Run {
    phase: Mutex<Phase>,
    group: Pid,
    killed: Mutex<Option<Killed>>,
}

impl Run {
    fn kill(&self, why: Killed) {
        let phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        if let Phase::Alive(_) = &*phase {
            self.killed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
            // fails only when the group is gone already
            let _ = kill_process_group(self.group, Signal::KILL);
        }
    }

    /// Waits for the program and reaps it. Waiting does not hold the lock, so that it can be killed meanwhile.
    fn reap(&self) -> io::Result<Option<ExitStatus>> {
        let peek = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        while let Err(error) = waitid(WaitId::Pid(self.group), peek) {
            if error == rustix::io::Errno::CHILD {
                break;
            }
            if error != rustix::io::Errno::INTR {
                return Err(error.into());
            }
        }
        let mut phase = self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        match std::mem::replace(&mut *phase, Phase::Ended) {
            Phase::Alive(mut child) => child.wait().map(Some),
            Phase::Ended => Ok(None),
        }
    }
}

/// Kills and reaps a program that nobody waited for.
struct Guard(Arc<Run>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill(Killed::Stopped);
        let _ = self.0.reap();
    }
}

/// Kills the program when its time is up. Dropping the sender calls it off.
fn watch(run: Arc<Run>, limit: Duration) -> io::Result<Sender<()>> {
    let (off, wait) = mpsc::channel();
    let body = move || {
        if wait.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            run.kill(Killed::Late);
        }
    };
    thread::Builder::new().name("command-limit".into()).spawn(body)?;
    Ok(off)
}

struct Ending {
    program: String,
    guard: Guard,
    stderr: Tail,
    limit: Option<Duration>,
    _watch: Option<Sender<()>>,
}

impl Ending {
    fn finish(self) -> Result<String, CommandError> {
        let run = self.guard.0.clone();
        let program = self.program;
        let status = match run.reap() {
            Ok(Some(status)) => status,
            Ok(None) => return Err(CommandError::Stopped { program }),
            Err(source) => return Err(CommandError::Wait { program, source }),
        };
        let killed = *run.killed.lock().unwrap_or_else(PoisonError::into_inner);
        match (killed, status.code()) {
            (Some(Killed::Late), _) => {
                let limit = self.limit.unwrap_or_default();
                Err(CommandError::Timeout { program, limit, stderr: self.stderr.text() })
            }
            (Some(Killed::Stopped), _) => Err(CommandError::Stopped { program }),
            (None, Some(0)) => Ok(self.stderr.text()),
            (None, Some(code)) => Err(CommandError::Exit { program, code, stderr: self.stderr.text() }),
            (None, None) => {
                let signal = status.signal().unwrap_or_default();
                Err(CommandError::Signal { program, signal, stderr: self.stderr.text() })
            }
        }
    }
}

#[cfg(test)]
mod tests;
