//! Carries a drill out: the loss, the sandbox, the runbook, the tear-down.
//!
//! It runs the code of an incident with another target. Invariant: whatever happens, facts come back that can be judged,
//! and the sandbox is gone or named as a problem. A crash leaves the sandbox; whoever finds the drill cut off removes it.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use jiff::Timestamp;

use super::evidence::{Canary, DrillEnding, Loss, Machine};
use crate::clock::Env;
use crate::config::{CanaryQuery, Production, Runbook};
use crate::monitor::{Cancel, Monitor, Problem};
use crate::objective::Scale;
use crate::record::TimeKind;
use crate::runbook::outcome::{Ending, Moment, Run};
use crate::runbook::plan::Flaw;
use crate::runbook::run::{Hands, Setting, run as run_runbook};
use crate::units::ByteSize;

/// What happens to the sandbox afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// It is removed.
    TearDown,
    /// It stays, to be looked at.
    Keep,
}

/// How and where to drill.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// The steps.
    pub runbook: &'a Runbook,
    /// The sandbox: a folder that does not exist yet.
    pub sandbox: &'a Path,
    /// What happens to it.
    pub afterwards: Afterwards,
    /// Where the newest sign of life is.
    pub canary: Option<&'a CanaryQuery>,
    /// Variables for programs, besides `DRCTL_SANDBOX`.
    pub variables: &'a [(String, String)],
    /// Who chose the instant of the loss.
    pub chosen: &'a str,
    /// Clocks.
    pub env: &'a Env,
    /// Whose wall time the clock shows.
    pub time: TimeKind,
    /// Hears what goes on.
    pub monitor: &'a dyn Monitor,
    /// Stops it.
    pub cancel: &'a Cancel,
}

/// What was observed.
#[derive(Debug, Clone, PartialEq)]
pub struct Observed {
    /// The loss.
    pub fail: Loss,
    /// The steps. `None`: it never came to the first one.
    pub run: Option<Run>,
    /// The newest sign of life that came back; `None`: the plan names none.
    pub canary: Option<Canary>,
    /// What went wrong besides the steps.
    pub problems: Vec<Problem>,
    /// How it ended.
    pub ending: DrillEnding,
}

/// Drills. The loss is the moment of the call. That the steps of a runbook can have an order is looked at before a drill is
/// begun; where they have none all the same, that is what was found.
pub async fn run(hands: &dyn Hands, options: Options<'_>) -> Observed {
    let fail = Loss { at: Moment::now(&*options.env.clock, options.time), chosen: options.chosen.to_owned() };
    let mut observed = Observed { fail, run: None, canary: None, problems: Vec::new(), ending: DrillEnding::Completed };
    if let Err(error) = make_private(options.sandbox) {
        observed.problems.push(failed("make the sandbox", options.sandbox, &error));
        return observed;
    }
    let setting = Setting {
        target: options.sandbox,
        variables: options.variables,
        env: options.env,
        time: options.time,
        monitor: options.monitor,
        cancel: options.cancel,
    };
    match run_runbook(options.runbook, hands, setting).await {
        Ok(run) => {
            observed.ending = match run.ending {
                Ending::Completed => DrillEnding::Completed,
                Ending::Cancelled => DrillEnding::Cancelled,
            };
            observed.run = Some(run);
        }
        Err(flaws) => {
            let flaw =
                |flaw: &Flaw| Problem { what: "order the steps of the runbook".to_owned(), why: flaw.to_string() };
            observed.problems.extend(flaws.iter().map(flaw));
        }
    }
    if let Some(canary) = options.canary {
        let (sandbox, query) = (options.sandbox.to_owned(), canary.clone());
        let found = tokio::task::spawn_blocking(move || newest(&sandbox, &query)).await;
        let found = found.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        let newest = found.map_err(|why| observed.problems.push(Problem { what: "canary".to_owned(), why })).ok();
        observed.canary = Some(Canary { period: canary.period, newest });
    }
    if options.afterwards == Afterwards::TearDown {
        options.monitor.stage("tear down");
        if let Err(error) = tear_down(options.sandbox) {
            observed.problems.push(failed("remove the sandbox", options.sandbox, &error));
        }
    }
    observed
}

/// When the newest canary that came back was written.
fn newest(sandbox: &Path, canary: &CanaryQuery) -> Result<Timestamp, String> {
    let answer = crate::runbook::ask(sandbox, &canary.path, &canary.query)?;
    let answer = answer.ok_or_else(|| format!("{:?} answers nothing", canary.query))?;
    instant(&answer).ok_or_else(|| {
        let shown: String = answer.chars().take(80).collect();
        format!("{shown:?} is no time: it should be milliseconds since 1970, or like 2026-11-25T14:00:00Z")
    })
}

/// Milliseconds since 1970, a time as RFC 3339 has it, or one in UTC as SQLite's `datetime` writes it.
fn instant(text: &str) -> Option<Timestamp> {
    if let Ok(millis) = text.parse::<i64>() {
        return Timestamp::from_millisecond(millis).ok();
    }
    let civil = || text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
    text.parse().ok().or_else(|| civil().map(|zoned| zoned.timestamp()))
}

fn failed(what: &str, path: &Path, error: &io::Error) -> Problem {
    Problem { what: path.display().to_string(), why: format!("{what}: {error}") }
}

/// What is restored into it may be as secret as the source, and may carry setuid bits: nobody else looks in.
fn make_private(folder: &Path) -> io::Result<()> {
    if let Some(above) = folder.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(above)?;
    }
    fs::DirBuilder::new().mode(0o700).create(folder)
}

/// Removes a sandbox, also one whose folders were restored without the right to change them. One that is not there is fine.
pub fn tear_down(sandbox: &Path) -> io::Result<()> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    };
    match gone(fs::remove_dir_all(sandbox)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let mut folders = vec![sandbox.to_owned()];
            while let Some(folder) = folders.pop() {
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
                for entry in fs::read_dir(&folder)? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        folders.push(entry.path());
                    }
                }
            }
            gone(fs::remove_dir_all(sandbox))
        }
        other => other,
    }
}

/// What this machine is.
pub fn machine(host: &str, version: &str) -> (Machine, Hardware) {
    let system = rustix::system::uname();
    let hardware = Hardware {
        processors: std::thread::available_parallelism()
            .map_or(1, |count| u32::try_from(count.get()).unwrap_or(u32::MAX)),
        memory: memory(),
    };
    let Hardware { processors, memory } = hardware;
    let kind = format!(
        "{} {}, {}, {processors} processors, {memory}",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy(),
        system.machine().to_string_lossy(),
    );
    (Machine { host: host.to_owned(), kind, version: version.to_owned(), clock_offset_millis: None }, hardware)
}

fn memory() -> ByteSize {
    let info = rustix::system::sysinfo();
    ByteSize(info.totalram.saturating_mul(u64::from(info.mem_unit)))
}

/// What a machine has that recovery depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hardware {
    /// Processors that may be used.
    pub processors: u32,
    /// Memory.
    pub memory: ByteSize,
}

/// How what was drilled compares with production. A plan that does not say what production is can claim nothing.
pub fn scale(production: Option<&Production>, hardware: Hardware, run: Option<&Run>) -> Scale {
    let restored = run.iter().flat_map(|run| &run.steps).filter_map(|step| step.restored.as_ref());
    let bytes = restored.map(|restored| restored.bytes).fold(0, u64::saturating_add);
    let Some(Production { size, processors, memory }) = production else { return Scale::Smaller };
    let enough = size.is_none_or(|size| bytes >= size.0)
        && processors.is_none_or(|count| hardware.processors >= count)
        && memory.is_none_or(|memory| hardware.memory >= memory);
    if enough { Scale::Production } else { Scale::Smaller }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sandbox_goes_with_folders_that_may_not_be_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let sandbox = folder.path().join("a/sandbox");
        make_private(&sandbox).expect("made");
        assert_eq!(fs::metadata(&sandbox).expect("there").permissions().mode() & 0o777, 0o700);
        assert!(make_private(&sandbox).is_err(), "what is there is not a sandbox");
        fs::create_dir_all(sandbox.join("x/y")).expect("made");
        fs::write(sandbox.join("x/y/z"), "z").expect("written");
        for path in ["x/y", "x"] {
            fs::set_permissions(sandbox.join(path), fs::Permissions::from_mode(0o500)).expect("changed");
        }
        tear_down(&sandbox).expect("gone");
        assert!(!sandbox.exists());
        tear_down(&sandbox).expect("still gone");
    }

    #[test]
    fn canaries_tell_the_time_in_three_ways() {
        let at = "2026-11-25T14:00:00.250Z".parse().ok();
        for text in ["1795615200250", "2026-11-25T14:00:00.25Z", "2026-11-25 14:00:00.250"] {
            assert_eq!(instant(text), at, "{text}");
        }
        for text in ["", "yesterday", "12:00"] {
            assert_eq!(instant(text), None, "{text}");
        }
    }

    #[test]
    fn nothing_is_productions_size_unless_the_plan_says_what_that_is() {
        let hardware = Hardware { processors: 4, memory: ByteSize(8 << 30) };
        let run = super::super::samples::pass().run;
        let judged = |production: Option<Production>| scale(production.as_ref(), hardware, run.as_ref());
        assert_eq!(judged(None), Scale::Smaller);
        let said = |size: u64, processors, memory: u64| {
            judged(Some(Production {
                size: Some(ByteSize(size)),
                processors: Some(processors),
                memory: Some(ByteSize(memory)),
            }))
        };
        assert_eq!(said(1 << 30, 4, 8 << 30), Scale::Production);
        for (size, processors, memory) in [(1 << 40, 4, 8 << 30), (1 << 30, 5, 8 << 30), (1 << 30, 4, 9 << 30)] {
            assert_eq!(said(size, processors, memory), Scale::Smaller);
        }
        assert_eq!(
            scale(Some(&Production { size: Some(ByteSize(1)), processors: None, memory: None }), hardware, None),
            Scale::Smaller
        );
    }
}
