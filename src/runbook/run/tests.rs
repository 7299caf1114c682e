use std::os::unix::fs::symlink;
use std::pin::Pin;
use std::sync::Arc;
use std::{fs, future};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::clock::{Clock, Seeded};
use crate::config::{Check, DigestOf, Expect, OnError, SnapshotChoice};
use crate::monitor::{Problem, Silent};
use crate::record::TimeKind;
use crate::runbook::manifest::{Manifest, Origin};
use crate::runbook::outcome::{Cache, OriginOf, PointKind};
use crate::units::ByteSize;

/// Boot time is the machine's; wall time starts where it is told to.
#[derive(Debug)]
struct Running;

const START: Timestamp = Timestamp::UNIX_EPOCH;

impl Clock for Running {
    fn now(&self) -> Timestamp {
        START.checked_add(SignedDuration::try_from(self.boot()).unwrap()).unwrap()
    }

    fn boot(&self) -> Duration {
        let at = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::new(u64::try_from(at.tv_sec).unwrap(), u32::try_from(at.tv_nsec).unwrap())
    }

    fn sleep(&self, span: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(span))
    }
}

/// Restores three files, as the source has them.
struct Fake {
    problems: Vec<Problem>,
    origin: Option<Origin>,
    stuck: bool,
}

impl Fake {
    fn whole() -> Self {
        Self { problems: Vec::new(), origin: None, stuck: false }
    }
}

fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("data")).unwrap();
    fs::write(folder.join("data/a"), "alpha").unwrap();
    fs::write(folder.join("data/b"), "beta").unwrap();
    let database = rusqlite::Connection::open(folder.join("data/app.db")).unwrap();
    database.execute_batch("create table t (x); insert into t values (1), (2), (3);").unwrap();
}

#[async_trait::async_trait]
impl Hands for Fake {
    async fn restore(&self, step: &RestoreStep, into: &Path, cancel: &Cancel) -> Result<Restored, String> {
        if self.stuck {
            while !cancel.is_cancelled() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            return Err("stopped at a safe point".into());
        }
        if step.snapshot != SnapshotChoice::Latest {
            return Err("no such snapshot".into());
        }
        fs::create_dir_all(into).unwrap();
        fill(into);
        Ok(Restored {
            plan: "orders".into(),
            snapshot: "5e".repeat(32),
            tree: "7e".repeat(32),
            host: "db1".into(),
            paths: vec!["/data".into()],
            consistent_to: START,
            point: PointKind::SnapshotStart,
            time: TimeKind::Real,
            files: 3,
            bytes: 9,
            fetched: 100,
            cache: Cache::Cold,
            problems: self.problems.clone(),
            origin: self.origin.clone().map(OriginOf),
        })
    }
}

fn step(id: &str, needs: &[&str], action: Action) -> Step {
    Step {
        id: id.parse().unwrap(),
        description: None,
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        timeout: Span::from_secs(60),
        criticality: Criticality::Critical,
        on_error: OnError::Continue,
        action,
    }
}

fn restore() -> Step {
    let action = RestoreStep { plan: None, snapshot: SnapshotChoice::Latest, include: vec![], into: ".".into() };
    step("restore", &[], Action::Restore(action))
}

fn sh(id: &str, needs: &[&str], script: &str) -> Step {
    step(id, needs, Action::Exec { command: vec!["/bin/sh".into(), "-c".into(), script.into()] })
}

fn check(id: &str, check: Check) -> Step {
    step(id, &["restore"], Action::Check(check))
}

fn digest(id: &str, against: DigestOf) -> Step {
    check(id, Check::Digest { path: ".".into(), against })
}

async fn run_in(target: &Path, steps: Vec<Step>, hands: &Fake, cancel: &Cancel) -> Run {
    let env = Env { clock: Arc::new(Running), random: Arc::new(Seeded::new(1)) };
    let setting = Setting { target, variables: &[], env: &env, time: TimeKind::Real, monitor: &Silent, cancel };
    run(&Runbook { description: String::new(), steps }, hands, setting).await.expect("an order")
}

async fn run_steps(steps: Vec<Step>, hands: &Fake) -> (tempfile::TempDir, Run) {
    let target = tempfile::tempdir().unwrap();
    let run = run_in(target.path(), steps, hands, &Cancel::default()).await;
    (target, run)
}

fn states(run: &Run) -> Vec<State> {
    run.steps.iter().map(|step| step.state).collect()
}

fn manifest_of(folder: &Path) -> Manifest {
    Manifest::create(folder, &Cancel::default()).unwrap()
}

#[tokio::test]
async fn every_kind_of_check_proves_what_is_there() {
    let twin = tempfile::tempdir().unwrap();
    fill(twin.path());
    let list = twin.path().join("../").join(format!("{}.list", twin.path().file_name().unwrap().display()));
    let mut file = fs::File::create(&list).unwrap();
    manifest_of(twin.path()).write(&mut file).unwrap();
    let sqlite = |query: &str, expect| Check::Sqlite { path: "data/app.db".into(), query: query.into(), expect };
    let steps = vec![
        check("file", Check::File { path: "data/a".into(), min_size: ByteSize(5) }),
        check("large", Check::File { path: "data/a".into(), min_size: ByteSize(6) }),
        check("gone", Check::File { path: "data/z".into(), min_size: ByteSize(0) }),
        check("folder", Check::File { path: "data".into(), min_size: ByteSize(0) }),
        check("command", Check::Command(vec!["grep".into(), "-q".into(), "beta".into(), "data/b".into()])),
        check("no", Check::Command(vec!["grep".into(), "-q".into(), "gamma".into(), "data/b".into()])),
        check("rows", sqlite("select count(*) from t", Expect::AtLeast(3))),
        check("few", sqlite("select count(*) from t", Expect::AtLeast(4))),
        check("whole", sqlite("pragma integrity_check", Expect::Equals("ok".into()))),
        check("null", sqlite("select max(x) from t where 0", Expect::Equals(String::new()))),
        digest("list", DigestOf::Manifest(list.clone())),
        digest("tree", DigestOf::Sha256(manifest_of(twin.path()).digest())),
        digest("other", DigestOf::Sha256("0".repeat(64))),
        restore(),
    ];
    let (_target, run) = run_steps(steps, &Fake::whole()).await;
    let ended: Vec<(&str, bool)> = run.steps.iter().map(|step| (step.id.as_str(), step.state == State::Done)).collect();
    let failing = ["large", "gone", "folder", "no", "few", "null", "other"];
    for (id, done) in ended {
        let said = &run.steps.iter().find(|step| step.id == id).unwrap().said;
        assert_eq!(done, !failing.contains(&id), "{id}: {said}");
    }
    let said = |id: &str| run.steps.iter().find(|step| step.id == id).unwrap().said.clone();
    assert_eq!(said("large"), "\"data/a\" has 5 B, less than 6 B");
    assert_eq!(said("few"), "\"select count(*) from t\" answers \"3\", not at least 4");
    assert_eq!(said("null"), "\"select max(x) from t where 0\" answers nothing, not \"\"");
    assert!(said("gone").ends_with("is not there"), "{}", said("gone"));
    fs::remove_file(list).unwrap();
}

#[tokio::test]
async fn one_file_that_differs_from_outside_knowledge_fails_the_run() {
    let twin = tempfile::tempdir().unwrap();
    fill(twin.path());
    fs::write(twin.path().join("data/b"), "bete").unwrap(); // the restored one says "beta"
    let list = tempfile::NamedTempFile::new().unwrap();
    manifest_of(twin.path()).write(&mut list.as_file()).unwrap();
    let (_target, run) =
        run_steps(vec![restore(), digest("same", DigestOf::Manifest(list.path().into()))], &Fake::whole()).await;
    assert_eq!(states(&run), [State::Done, State::Failed]);
    assert_eq!(run.steps[1].said, "1 of 4 paths differ: \"data/b\" has other content");
}

#[tokio::test]
async fn the_source_is_compared_when_there_is_one() {
    let source = tempfile::tempdir().unwrap();
    fs::write(source.path().join("kept"), "1").unwrap();
    struct FromSource(std::path::PathBuf, Timestamp, &'static str);
    #[async_trait::async_trait]
    impl Hands for FromSource {
        async fn restore(&self, step: &RestoreStep, into: &Path, cancel: &Cancel) -> Result<Restored, String> {
            let at = into.join(self.0.strip_prefix("/").unwrap());
            fs::create_dir_all(&at).unwrap();
            fs::write(at.join("kept"), self.2).unwrap();
            let origin = Origin { roots: vec![self.0.clone()], since: self.1, leave_out: Arc::new(|_, _| false) };
            Fake { origin: Some(origin), ..Fake::whole() }.restore(step, into, cancel).await
        }
    }
    let far = Timestamp::MAX;
    let env = Env { clock: Arc::new(Running), random: Arc::new(Seeded::new(1)) };
    let cases = [(far, "1", State::Done), (far, "2", State::Failed), (START, "1", State::Skipped)];
    for (since, content, state) in cases {
        let target = tempfile::tempdir().unwrap();
        let cancel = Cancel::default();
        let setting = Setting {
            target: target.path(),
            variables: &[],
            env: &env,
            time: TimeKind::Real,
            monitor: &Silent,
            cancel: &cancel,
        };
        let runbook = Runbook { description: String::new(), steps: vec![restore(), digest("same", DigestOf::Source)] };
        let hands = FromSource(source.path().to_owned(), since, content);
        let run = run(&runbook, &hands, setting).await.unwrap();
        assert_eq!(states(&run), [State::Done, state], "{}", run.steps[1].said);
    }
    // in an incident there is no source: the step counts as not exercised, and so does what needs it
    let after = sh("after", &["same"], "true");
    let (_target, run) = run_steps(vec![restore(), digest("same", DigestOf::Source), after], &Fake::whole()).await;
    assert_eq!(states(&run), [State::Done, State::Skipped, State::Skipped]);
    assert_eq!(run.steps[2].said, "step \"same\" was not exercised");
    assert_eq!(run.ending, Ending::Completed);
}

#[tokio::test]
async fn a_link_out_of_the_target_proves_nothing() {
    let target = tempfile::tempdir().unwrap();
    symlink("/etc", target.path().join("etc")).unwrap();
    let file = step("file", &[], Action::Check(Check::File { path: "etc/passwd".into(), min_size: ByteSize(1) }));
    let tree = Check::Digest { path: "etc".into(), against: DigestOf::Sha256("0".repeat(64)) };
    let steps = vec![file, step("tree", &[], Action::Check(tree))];
    let run = run_in(target.path(), steps, &Fake::whole(), &Cancel::default()).await;
    for step in &run.steps {
        assert!(step.state == State::Failed && step.said.contains("leads out of the target"), "{}", step.said);
    }
}

#[tokio::test]
async fn a_restore_that_lost_something_has_failed() {
    let lost = Problem { what: "/data/c".into(), why: "pack 12ab is damaged".into() };
    let hands = Fake { problems: vec![lost], ..Fake::whole() };
    let (_target, run) = run_steps(vec![restore(), sh("next", &["restore"], "true")], &hands).await;
    assert_eq!(states(&run), [State::Failed, State::Skipped]);
    assert!(run.steps[0].said.ends_with("/data/c: pack 12ab is damaged"), "{}", run.steps[0].said);
    assert_eq!(run.steps[0].restored.as_ref().unwrap().files, 3, "what did come back is still counted");
    assert_eq!(run.steps[1].said, "step \"restore\" failed");
    assert_eq!((run.steps[1].started, run.steps[1].took()), (None, None));
}

#[tokio::test]
async fn independent_steps_run_side_by_side_and_times_nest() {
    // each waits for the other's mark: one after the other they would never end
    let wait = |mine: &str, other: &str| format!("touch {mine}; while [ ! -e {other} ]; do sleep 0.01; done");
    let steps =
        vec![sh("a", &[], &wait("a", "b")), sh("b", &[], &wait("b", "a")), sh("c", &["a", "b"], "echo $DRCTL_SANDBOX")];
    let (target, run) = run_steps(steps, &Fake::whole()).await;
    assert_eq!(states(&run), [State::Done; 3]);
    let [a, b, c] = [0, 1, 2].map(|at| (run.steps[at].started.unwrap(), run.steps[at].ended.unwrap()));
    assert!(c.0.boot() >= a.1.boot().max(b.1.boot()));
    assert!(a.0.wall <= a.1.wall && run.steps[2].took().is_some());
    assert_eq!(run.steps[2].output, target.path().display().to_string());
}

#[tokio::test]
async fn a_late_step_is_killed_with_all_it_started() {
    let mut slow = sh("slow", &[], "sleep 600 & echo $! > pid; wait");
    slow.timeout = Span::round_up(Duration::from_millis(300));
    let (target, run) = run_steps(vec![slow, sh("other", &[], "true")], &Fake::whole()).await;
    assert_eq!(states(&run), [State::Failed, State::Done]);
    assert_eq!(run.steps[0].said, "it took longer than 300ms");
    let pid = fs::read_to_string(target.path().join("pid")).unwrap();
    let is_gone = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
        stat.is_empty() || stat.contains(") Z")
    };
    for _ in 0..200 {
        if is_gone() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(is_gone());
}

#[tokio::test]
async fn a_failure_says_why_and_stops_the_rest_when_it_should() {
    let mut bad = sh("bad", &[], "echo printed; echo broken >&2; exit 3");
    bad.on_error = OnError::Stop;
    let (_target, run) = run_steps(vec![bad, sh("after", &["bad"], "true")], &Fake::whole()).await;
    assert_eq!(states(&run), [State::Failed, State::Skipped]);
    assert_eq!(run.steps[0].said, "run \"/bin/sh\": it ended with exit code 3; its last words: broken");
    assert_eq!(run.steps[0].output, "printed");
    let missing = step("missing", &[], Action::Exec { command: vec!["/no/such".into()] });
    let (_target, run) = run_steps(vec![missing], &Fake::whole()).await;
    assert!(run.steps[0].said.starts_with("start \"/no/such\": No such file"), "{}", run.steps[0].said);
}

#[tokio::test]
async fn output_is_bounded_and_keeps_its_end() {
    let (_target, run) = run_steps(vec![sh("loud", &[], "yes x | head -n 100000; echo the end")], &Fake::whole()).await;
    assert!(run.steps[0].output.len() <= 4096 && run.steps[0].output.ends_with("the end"));
}

#[tokio::test]
async fn cancelling_stops_what_runs_and_starts_nothing_more() {
    for (first, hands) in
        [(sh("restore", &[], "sleep 600"), Fake::whole()), (restore(), Fake { stuck: true, ..Fake::whole() })]
    {
        let cancel = Cancel::default();
        let target = tempfile::tempdir().unwrap();
        let stop = async {
            tokio::time::sleep(Duration::from_millis(150)).await;
            cancel.cancel();
            future::pending::<()>().await;
        };
        let steps = vec![first, sh("next", &["restore"], "true")];
        let run = tokio::select! {
            run = run_in(target.path(), steps, &hands, &cancel) => run,
            () = stop => unreachable!(),
        };
        assert_eq!(run.ending, Ending::Cancelled);
        assert_eq!(run.steps[0].said, "it was cancelled");
        assert_eq!(states(&run), [State::Failed, State::Skipped]);
    }
}

#[tokio::test]
async fn facts_come_back_from_json() {
    let (_target, run) = run_steps(vec![restore(), sh("next", &["restore"], "echo hi")], &Fake::whole()).await;
    let json = serde_json::to_string(&run).unwrap();
    assert_eq!(serde_json::from_str::<Run>(&json).unwrap(), run);
}
