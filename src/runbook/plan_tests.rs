use proptest::prelude::*;

use super::*;

type Row<'a> = (&'a str, &'a [&'a str], OnError);

fn graph(rows: &[Row<'_>]) -> Result<Graph, Vec<Flaw>> {
    let steps: Vec<Step<'_>> =
        rows.iter().map(|(id, needs, on_error)| Step { id, needs: needs.to_vec(), on_error: *on_error }).collect();
    Graph::of(&steps)
}

fn texts(rows: &[Row<'_>]) -> Vec<String> {
    graph(rows).expect_err("flawed").iter().map(ToString::to_string).collect()
}

const STOP: OnError = OnError::Stop;

#[test]
fn steps_without_common_needs_share_a_wave() {
    let rows =
        [("check", &["db", "files"][..], STOP), ("db", &["net"], STOP), ("files", &["net"], STOP), ("net", &[], STOP)];
    assert_eq!(graph(&rows).expect("sound").waves(), [vec![3], vec![1, 2], vec![0]]);
}

#[test]
fn each_flaw_is_named_and_all_at_once() {
    assert_eq!(texts(&[]), ["there are no steps"]);
    let rows = [
        ("restore", &[][..], STOP),
        ("restore", &[], STOP),
        ("check", &["restor"], STOP),
        ("sign", &["zzzzzz"], STOP),
        ("report", &["check"], STOP),
    ];
    assert_eq!(
        texts(&rows),
        [
            "two steps are named \"restore\"",
            "step \"check\" needs \"restor\", which is no step (did you mean \"restore\"?)",
            "step \"sign\" needs \"zzzzzz\", which is no step",
            "step \"report\" could never start: it waits for \"check\"",
        ]
    );
}

#[test]
fn a_cycle_is_named_by_its_path_and_what_waits_for_it_too() {
    let rows = [
        ("a", &["c"][..], STOP),
        ("b", &["a"], STOP),
        ("c", &["b", "free"], STOP),
        ("free", &[], STOP),
        ("late", &["later"], STOP),
        ("later", &["c"], STOP),
    ];
    assert_eq!(
        texts(&rows),
        [
            "steps wait for each other: a needs c needs b needs a",
            "step \"late\" could never start: it waits for \"later\"",
            "step \"later\" could never start: it waits for \"c\"",
        ]
    );
    assert_eq!(texts(&[("self", &["self"], STOP)]), ["steps wait for each other: self needs self"]);
}

fn diamond(on_error: OnError) -> Graph {
    let rows = [
        ("net", &[][..], STOP),
        ("db", &["net"], on_error),
        ("files", &["net"], STOP),
        ("app", &["db", "files"], STOP),
    ];
    graph(&rows).expect("sound")
}

#[test]
fn a_step_starts_when_all_its_needs_are_done() {
    use State::{Done, Running, Waiting};
    let graph = diamond(STOP);
    assert_eq!(graph.advance(&[]).start, [0]);
    assert_eq!(graph.advance(&[Running, Waiting, Waiting, Waiting]).start, [0; 0]);
    assert_eq!(graph.advance(&[Done, Waiting, Waiting, Waiting]).start, [1, 2]);
    assert_eq!(graph.advance(&[Done, Done, Running, Waiting]).start, [0; 0]);
    assert_eq!(graph.advance(&[Done, Done, Done, Waiting]).start, [3]);
    assert!(graph.advance(&[Done, Done, Done, Done]).over);
    assert!(!graph.advance(&[Done, Done, Done, Running]).over);
}

#[test]
fn a_failure_stops_all_or_skips_what_needs_it_as_the_step_says() {
    use State::{Done, Failed, Skipped, Waiting};
    let states = [Done, Failed, Waiting, Waiting];
    let stopped = diamond(STOP).advance(&states);
    assert_eq!(stopped.skip, [Skip { step: 2, because: 1 }, Skip { step: 3, because: 1 }]);
    assert!(stopped.over && stopped.start.is_empty());

    let skipped = diamond(OnError::Continue).advance(&states);
    assert_eq!((skipped.start.as_slice(), skipped.over), (&[2][..], false));
    assert_eq!(skipped.skip, [Skip { step: 3, because: 1 }]);
    assert!(diamond(OnError::Continue).advance(&[Done, Failed, Done, Skipped]).over);
}

#[test]
fn a_skipped_step_passes_the_first_cause_on_when_a_run_is_resumed() {
    use State::{Failed, Skipped, Waiting};
    let rows = [("a", &[][..], OnError::Continue), ("b", &["a"], STOP), ("c", &["b"], STOP)];
    let advance = graph(&rows).expect("sound").advance(&[Failed, Skipped, Waiting]);
    assert_eq!(advance.skip, [Skip { step: 2, because: 0 }]);
}

#[test]
fn running_steps_end_before_a_stopped_run_is_over() {
    use State::{Done, Failed, Running, Waiting};
    let advance = diamond(STOP).advance(&[Done, Failed, Running, Waiting]);
    assert_eq!(advance.skip, [Skip { step: 3, because: 1 }]);
    assert!(!advance.over);
}

#[test]
fn coverage_counts_what_ran() {
    use State::{Done, Failed, Skipped};
    let coverage = diamond(OnError::Continue).coverage(&[Done, Failed, Done, Skipped]);
    assert_eq!((coverage.exercised, coverage.total), (3, 4));
    assert_eq!(coverage.missing, ["app"]);
}

proptest! {
    /// Any graph whose needs point backwards is sound, and any run of it ends with each step in a final state.
    #[test]
    fn every_run_of_a_sound_graph_ends(
        rows in proptest::collection::vec((proptest::collection::vec(0usize..100, 0..4), 0u8..2, proptest::bool::ANY), 1..20),
    ) {
        let names: Vec<String> = (0..rows.len()).map(|n| format!("s{n}")).collect();
        let needs: Vec<Vec<&str>> = rows.iter().enumerate()
            .map(|(n, (needs, ..))| needs.iter().filter(|_| n > 0).map(|need| names[need % n.max(1)].as_str()).collect())
            .collect();
        let on_error = |n: u8| [OnError::Stop, OnError::Continue][usize::from(n)];
        let steps: Vec<Step<'_>> = (0..rows.len())
            .map(|n| Step { id: &names[n], needs: needs[n].clone(), on_error: on_error(rows[n].1) })
            .collect();
        let graph = Graph::of(&steps).expect("needs point backwards");
        let mut states = vec![State::Waiting; rows.len()];
        for _ in 0..=rows.len() {
            let advance = graph.advance(&states);
            for skip in &advance.skip {
                prop_assert_eq!(states[skip.because], State::Failed);
                states[skip.step] = State::Skipped;
            }
            if advance.over {
                break;
            }
            prop_assert!(!advance.start.is_empty());
            for step in advance.start {
                states[step] = if rows[step].2 { State::Done } else { State::Failed };
            }
        }
        prop_assert!(!states.iter().any(|state| matches!(state, State::Waiting | State::Running)));
        prop_assert!(graph.advance(&states).over);
        let coverage = graph.coverage(&states);
        prop_assert_eq!(coverage.exercised + coverage.missing.len(), coverage.total);
    }
}
