//! Carries out one step that runs a program or proves something.
//!
//! Invariant: paths of a step never lead out of the target, not even through a symbolic link that was restored there: a
//! check that follows one to the live system would prove the wrong thing.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::manifest::{Comparison, Manifest, ManifestError, compare_with_source};
use super::outcome::Restored;
use crate::config::{Check, DigestOf, Expect};
use crate::monitor::Cancel;
use crate::source::command::{Program, Stopper};
use crate::source::sqlite;
use crate::units::ByteSize;

/// The end of a program's output that is kept.
const KEEP_OUTPUT: usize = 4096;
/// Differences that an error names.
const NAMED: usize = 10;

/// How a step ended.
#[derive(Debug)]
pub(super) enum Ended {
    Done {
        /// What it proved.
        proved: String,
        /// What it printed.
        output: String,
    },
    Failed {
        why: String,
        output: String,
    },
    /// There was nothing to exercise it on.
    NotExercised {
        why: String,
    },
}

impl Ended {
    fn proved(proved: String) -> Self {
        Self::Done { proved, output: String::new() }
    }

    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self::Failed { why: why.into(), output: String::new() }
    }

    /// The whole chain of an error.
    fn error(error: &dyn std::error::Error) -> Self {
        let chain = std::iter::successors(Some(error), |error| error.source());
        Self::failed(chain.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    }
}

/// Where a step acts.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) target: PathBuf,
    pub(super) variables: Vec<(String, String)>,
    /// What the restore steps before it brought back, each with the folder within the target that stands for `/`.
    pub(super) restored: Vec<(PathBuf, Restored)>,
}

/// Stops the blocking work of a step when its future is dropped: its time is up or the run was cancelled.
struct StopOnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for StopOnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// On a thread of its own, not on the runtime's: what outlives its kill must not keep the program from ending.
async fn blocking(work: impl FnOnce() -> Ended + Send + 'static) -> Ended {
    let (tell, told) = tokio::sync::oneshot::channel();
    let started = std::thread::Builder::new().name("runbook-step".into()).spawn(move || {
        let _ = tell.send(work());
    });
    match started {
        Ok(_) => told.await.unwrap_or_else(|_| Ended::failed("the step's thread ended without an answer")),
        Err(error) => Ended::failed(format!("start a thread for the step: {error}")),
    }
}

/// Runs a program in the target.
pub(super) async fn exec(command: &[String], place: &Place) -> Ended {
    let started = Program::new(command).and_then(|mut program| {
        program = program.in_folder(&place.target).variable("DRCTL_SANDBOX", &place.target);
        for (name, value) in &place.variables {
            program = program.variable(name, value);
        }
        program.start()
    });
    let mut output = match started {
        Ok(output) => output,
        Err(error) => return Ended::error(&error),
    };
    let stopper: Stopper = output.stopper.clone();
    let _stop = StopOnDrop(move || stopper.stop());
    let name = command.first().cloned().unwrap_or_default();
    blocking(move || {
        let printed = tail(&mut output.reader);
        match (output.finish)() {
            Ok(said) => {
                let output = [printed, said].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
                Ended::Done { proved: format!("{name} ended with exit code 0"), output: output.join("\n") }
            }
            Err(error) => match Ended::error(&error) {
                Ended::Failed { why, .. } => Ended::Failed { why, output: printed },
                other => other,
            },
        }
    })
    .await
}

/// The end of what a program prints, without what could move a cursor.
fn tail(reader: &mut dyn Read) -> String {
    let mut kept: VecDeque<u8> = VecDeque::new();
    let mut buffer = [0; 8192];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                kept.extend(&buffer[..read]);
                kept.drain(..kept.len().saturating_sub(KEEP_OUTPUT));
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    let text =
        String::from_utf8_lossy(kept.make_contiguous()).replace(|c: char| c.is_control() && c != '\n', "\u{fffd}");
    text.trim_end().to_owned()
}

/// Proves something about the target.
pub(super) async fn check(check: &Check, place: &Place) -> Ended {
    match check {
        Check::Command(command) => exec(command, place).await,
        Check::File { path, min_size } => file(&place.target, path, *min_size),
        Check::Sqlite { path, query, expect } => {
            let inside = match within(&place.target, path) {
                Ok(inside) => inside,
                Err(why) => return Ended::failed(why),
            };
            let database = match sqlite::Restored::open(&inside) {
                Ok(database) => database,
                Err(error) => return Ended::error(&error),
            };
            let interrupt = database.interrupter();
            let _stop = StopOnDrop(move || interrupt.interrupt());
            let (query, expect) = (query.clone(), expect.clone());
            blocking(move || query_answers(&database, &query, &expect)).await
        }
        Check::Digest { path, against } => {
            let cancel = Cancel::default();
            let stop = cancel.clone();
            let _stop = StopOnDrop(move || stop.cancel());
            let (place, path, against) = (place.clone(), path.clone(), against.clone());
            blocking(move || digest(&place, &path, &against, &cancel)).await
        }
    }
}

/// The real path of what a step names, refused when it lies outside the target.
fn within(target: &Path, path: &Path) -> Result<PathBuf, String> {
    let real = |path: &Path| {
        fs::canonicalize(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => format!("{path:?} is not there"),
            _ => format!("look for {path:?}: {error}"),
        })
    };
    let (target, inside) = (real(target)?, real(&target.join(path))?);
    if inside.starts_with(&target) {
        Ok(inside)
    } else {
        Err(format!("{path:?} leads out of the target, to {inside:?}"))
    }
}

fn file(target: &Path, path: &Path, min_size: ByteSize) -> Ended {
    let inside = match within(target, path) {
        Ok(inside) => inside,
        Err(why) => return Ended::failed(why),
    };
    match fs::metadata(&inside) {
        Ok(meta) if !meta.is_file() => Ended::failed(format!("{path:?} is not a file")),
        Ok(meta) if meta.len() < min_size.0 => {
            Ended::failed(format!("{path:?} has {}, less than {min_size}", ByteSize(meta.len())))
        }
        Ok(meta) => Ended::proved(format!("{path:?} is there, {}", ByteSize(meta.len()))),
        Err(error) => Ended::failed(format!("look at {path:?}: {error}")),
    }
}

/// Asks a restored database. Blocks as long as the query takes.
pub fn ask(target: &Path, path: &Path, query: &str) -> Result<Option<String>, String> {
    let inside = within(target, path)?;
    let answer = sqlite::Restored::open(&inside).and_then(|database| database.first(query));
    answer.map_err(|error| crate::vault::chain(&error))
}

fn query_answers(database: &sqlite::Restored, query: &str, expect: &Expect) -> Ended {
    let answer = match database.first(query) {
        Ok(answer) => answer,
        Err(error) => return Ended::error(&error),
    };
    let shown = answer.as_deref().map_or("nothing".to_owned(), |answer| format!("{:?}", shorten(answer)));
    let right = match expect {
        Expect::Equals(text) => answer.as_ref() == Some(text),
        Expect::AtLeast(least) => match answer.as_deref().map(str::parse::<f64>) {
            #[expect(clippy::cast_precision_loss, reason = "a bound beyond 2^53 is no count of rows")]
            Some(Ok(number)) => number >= *least as f64,
            Some(Err(_)) | None => false,
        },
    };
    match (right, expect) {
        (true, _) => Ended::proved(format!("{query:?} answers {shown}")),
        (false, Expect::Equals(text)) => Ended::failed(format!("{query:?} answers {shown}, not {:?}", shorten(text))),
        (false, Expect::AtLeast(least)) => Ended::failed(format!("{query:?} answers {shown}, not at least {least}")),
    }
}

fn shorten(text: &str) -> String {
    let short: String = text.chars().take(200).collect();
    if short.len() < text.len() { short + "…" } else { short }
}

fn digest(place: &Place, path: &Path, against: &DigestOf, cancel: &Cancel) -> Ended {
    let result = match against {
        DigestOf::Source => return against_source(place, path, cancel),
        DigestOf::Sha256(wanted) => tree(place, path, cancel).map(|(_, found)| {
            let digest = found.digest();
            if digest == *wanted {
                Ended::proved(format!("the tree's {} paths have the digest {digest}", found.len()))
            } else {
                Ended::failed(format!("the tree has the digest {digest}, not {wanted}"))
            }
        }),
        DigestOf::Manifest(list) => fs::read(list)
            .map_err(|source| ManifestError::Read { path: list.clone(), source })
            .and_then(|bytes| Manifest::parse(&bytes))
            .and_then(|wanted| Ok((wanted, tree(place, path, cancel)?)))
            .map(|(wanted, (_, found))| match judge(&wanted.compare(&found)) {
                Ok(said) if wanted.is_empty() => Ended::failed(format!("the manifest is empty; {said}")),
                Ok(said) => {
                    Ended::proved(format!("{said} that the manifest says; the tree's digest is {}", found.digest()))
                }
                Err(why) => Ended::failed(why),
            }),
    };
    result.unwrap_or_else(|error| Ended::error(&error))
}

fn tree(place: &Place, path: &Path, cancel: &Cancel) -> Result<(PathBuf, Manifest), ManifestError> {
    let missing = |why: String| ManifestError::Read { path: path.to_owned(), source: io::Error::other(why) };
    let inside = within(&place.target, path).map_err(missing)?;
    let found = Manifest::create(&inside, cancel)?;
    Ok((inside, found))
}

fn against_source(place: &Place, path: &Path, cancel: &Cancel) -> Ended {
    let mut proved = Vec::new();
    for (root, restored) in &place.restored {
        let Some(origin) = &restored.origin else { continue };
        // the step names a folder in the target; the source has it at the same place below `/`
        let base = place.target.join(root);
        let named: PathBuf = place.target.join(path).components().collect();
        let base: PathBuf = base.components().collect();
        let below = match named.strip_prefix(&base) {
            Ok(below) => Path::new("/").join(below),
            Err(_) if base.starts_with(&named) => PathBuf::from("/"),
            Err(_) => continue,
        };
        match compare_with_source(&origin.0, &base, &below, cancel) {
            Ok(found) => match judge(&found.comparison) {
                Ok(_) if found.comparison.equal == 0 => {}
                Ok(said) => {
                    let left = match found.changed_since {
                        0 => String::new(),
                        changed => format!("; {changed} changed there since and prove nothing"),
                    };
                    proved.push(format!("{said} that the source has, digest {}{left}", found.digest));
                }
                Err(why) => return Ended::failed(why),
            },
            Err(error) => return Ended::error(&error),
        }
    }
    if proved.is_empty() {
        let why = "there is no source to compare with, or nothing in it is as old as the snapshot";
        return Ended::NotExercised { why: why.into() };
    }
    Ended::proved(proved.join("; "))
}

fn judge(comparison: &Comparison) -> Result<String, String> {
    if comparison.differing == 0 {
        let (equal, bytes) = (comparison.equal, ByteSize(comparison.bytes));
        return Ok(format!("{equal} paths with {bytes} have the content"));
    }
    let named: Vec<_> = comparison.differences.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match comparison.differing - named.len() as u64 {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    Err(format!(
        "{} of {} paths differ: {}{more}",
        comparison.differing,
        comparison.differing + comparison.equal,
        named.join("; ")
    ))
}
