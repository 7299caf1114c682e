//! Facts of drills, for tests.

use jiff::Timestamp;

use super::evidence::{
    Allowance, Canary, DrillEnding, Exposure, FORMAT, Facts, Loss, Machine, Phase, Promise, RunbookFacts, Scenario,
    VaultFacts,
};
use crate::monitor::Problem;
use crate::objective::{Disaster, Objective, Rpo, Rto, Scale};
use crate::record::TimeKind;
use crate::runbook::outcome::{Cache, Ending, Moment, PointKind, Restored, Run, StepKind, StepRun};
use crate::runbook::plan::State;
use crate::units::Span;

pub(super) fn wall(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

/// So many milliseconds after the drill began.
pub(super) fn at(millis: u64) -> Moment {
    let start = wall("2026-11-23T13:22:07.250Z");
    Moment {
        wall: start + jiff::SignedDuration::from_millis(i64::try_from(millis).expect("small")),
        boot_nanos: (5_000_000 + millis) * 1_000_000,
        time: TimeKind::Real,
    }
}

pub(super) fn step(id: &str, kind: StepKind, from: u64, to: u64, said: &str) -> StepRun {
    StepRun {
        id: id.into(),
        kind,
        description: None,
        critical: true,
        state: State::Done,
        started: Some(at(from)),
        ended: Some(at(to)),
        waited: Span::ZERO,
        said: said.into(),
        output: String::new(),
        restored: None,
    }
}

pub(super) fn skip(step: &mut StepRun, why: &str) {
    (step.state, step.started, step.ended, step.said) = (State::Skipped, None, None, why.into());
}

fn restored() -> Restored {
    Restored {
        plan: "orders".into(),
        snapshot: "5e".repeat(32),
        tree: "7e".repeat(32),
        host: "db1".into(),
        paths: vec!["/srv/orders".into()],
        consistent_to: wall("2026-11-23T13:21:55Z"),
        point: PointKind::SnapshotStart,
        time: TimeKind::Real,
        files: 48_211,
        bytes: 103_079_215_104,
        fetched: 61_847_529_062,
        cache: Cache::Cold,
        problems: Vec::new(),
        origin: None,
    }
}

/// A region is lost; all comes back in time.
pub(super) fn pass() -> Facts {
    let promise = |disaster, rto, rpo| Promise { disaster, objective: Objective { rto: Rto(rto), rpo: Rpo(rpo) } };
    let allowance = |phase, minutes| Allowance { phase, span: Span::from_mins(minutes), source: "plan orders".into() };
    let digest = format!("48211 paths with 96 GiB have the content that the source has, digest {}", "c4".repeat(32));
    let mut steps = vec![
        step(
            "restore",
            StepKind::Restore,
            250,
            702_400,
            "48211 files with 96 GiB, each blob verified against its SHA-256",
        ),
        step("present", StepKind::Check, 702_400, 702_450, "\"srv/orders/ledger.db\" is there, 41.2 GiB"),
        step("intact", StepKind::Check, 702_450, 760_100, "\"pragma integrity_check\" answers \"ok\""),
        step("same-as-source", StepKind::Check, 702_400, 848_750, &digest),
    ];
    steps[0].restored = Some(restored());
    steps[0].description = Some("The newest snapshot that the chosen vault holds.".into());
    Facts {
        format: FORMAT,
        id: "01KARQ5M3ZX9T7V2B4N6P8Q0RS".parse().expect("an id"),
        number: 12,
        plan: "orders".into(),
        owner: Some("payments".into()),
        scenario: Scenario {
            disaster: Disaster::Region,
            lost: vec!["vault primary (eu-central-1)".into(), "host db1".into()],
        },
        vault: VaultFacts {
            name: "dr".into(),
            url: "s3://acme-backup-us/prod".into(),
            region: Some("us-east-1".into()),
        },
        runbook: RunbookFacts { name: "files-restore".into(), digest: "ab".repeat(32) },
        fail: Some(Loss { at: at(0), chosen: "injected when the drill began".into() }),
        allowances: vec![
            allowance(Phase::Detect, 5),
            allowance(Phase::Decide, 10),
            allowance(Phase::Provision, 5),
            allowance(Phase::Switch, 2),
        ],
        promises: vec![
            promise(Disaster::Host, Span::from_mins(45), Span::from_secs(15)),
            promise(Disaster::Region, Span::from_hours(1), Span::from_secs(15)),
            promise(Disaster::Attack, Span::from_hours(8), Span::from_hours(24)),
        ],
        promised_since: at(0),
        exposure: Some(Exposure {
            point: wall("2026-11-02T04:10:00Z"),
            at: wall("2026-11-02T04:10:12Z"),
            since: wall("2026-10-23T13:00:00Z"),
            time: TimeKind::Real,
        }),
        scale: Scale::Production,
        production: Some("96 GiB on 8 cores".into()),
        run: Some(Run { steps, ending: Ending::Completed }),
        canary: Some(Canary { period: Span::from_secs(10), newest: Some(wall("2026-11-23T13:21:50Z")) }),
        machine: Machine {
            host: "drill-7".into(),
            kind: "Linux 6.12, x86_64, 8 processors, 32 GiB".into(),
            version: "drctl 0.1.0".into(),
            clock_offset_millis: Some(-4),
        },
        problems: Vec::new(),
        ending: DrillEnding::Completed,
    }
}

pub(super) fn steps(facts: &mut Facts) -> &mut Vec<StepRun> {
    &mut facts.run.as_mut().expect("it ran").steps
}

/// One file that came back is not what the source has, and the last backup was too old.
pub(super) fn fail() -> Facts {
    let mut facts = pass();
    facts.number = 13;
    let steps = steps(&mut facts);
    steps[3].state = State::Failed;
    steps[3].said = "1 of 48211 paths differ: \"srv/orders/2026/11/invoice-88121.pdf\" has other content".into();
    let back = steps[0].restored.as_mut().expect("it restores");
    back.consistent_to = wall("2026-11-22T23:30:00Z");
    facts.canary = None;
    facts.problems = vec![Problem {
        what: "/var/lib/drctl/sandbox-13".into(),
        why: "device busy while removing the sandbox".into(),
    }];
    facts
}

/// In time, but not everything was tried.
pub(super) fn partial() -> Facts {
    let mut facts = pass();
    facts.number = 14;
    let steps = steps(&mut facts);
    skip(&mut steps[3], "there is no source to compare with, or nothing in it is as old as the snapshot");
    steps[3].critical = false;
    facts
}

/// A simulated year, a small folder, and a promise that execution alone would meet.
pub(super) fn simulated() -> Facts {
    let mut facts = pass();
    (facts.plan, facts.number, facts.scale) = ("demo".into(), 1, Scale::Smaller);
    facts.owner = None;
    facts.production = Some("the demo's data is small".into());
    let simulate = |moment: &mut Moment, millis: u64| {
        moment.wall =
            wall("2027-11-23T18:00:00Z") + jiff::SignedDuration::from_millis(i64::try_from(millis).expect("small"));
        moment.boot_nanos = (5_000_000 + millis) * 1_000_000;
        moment.time = TimeKind::Simulated;
    };
    let times = [(3, 1900), (1900, 1902), (1902, 1931), (1900, 2448)];
    for (step, (from, to)) in facts.run.as_mut().expect("it ran").steps.iter_mut().zip(times) {
        step.started.as_mut().into_iter().for_each(|moment| simulate(moment, from));
        step.ended.as_mut().into_iter().for_each(|moment| simulate(moment, to));
        if let Some(back) = &mut step.restored {
            back.consistent_to = wall("2027-11-23T01:30:00Z");
            back.time = TimeKind::Simulated;
            (back.files, back.bytes, back.fetched) = (3_182, 74_102_884, 31_200_114);
        }
    }
    simulate(&mut facts.fail.as_mut().expect("a loss").at, 0);
    simulate(&mut facts.promised_since, 0);
    for promise in &mut facts.promises {
        promise.objective.rpo = Rpo(Span::from_hours(30));
    }
    facts.exposure = None;
    facts.canary = None;
    facts
}

/// Names and texts at their longest, and as hostile as text can be.
pub(super) fn hostile() -> Facts {
    let mut facts = fail();
    facts.plan = "p".repeat(64);
    facts.owner = Some("<script>alert('owner')</script> & \"co\"".into());
    facts.scenario.lost = vec!["vault <b>primary</b> ".repeat(12)];
    facts.vault.url = format!("s3://bucket/{}", "long".repeat(60));
    facts.runbook.name = "r".repeat(64);
    for (number, step) in steps(&mut facts).iter_mut().enumerate() {
        step.id = format!("{number}-{}", "s".repeat(62));
        step.output = "<img src=x onerror=alert(1)>\n".repeat(4);
        step.said = format!("{} </td></table> {}", step.said, "unbroken".repeat(40));
        step.description = Some("]]> --> </style>".into());
    }
    facts.problems.push(Problem { what: "'\"><svg onload=alert(1)>".into(), why: "x".repeat(300) });
    facts
}
