//! What a running operation says, shown as it happens.
//!
//! On a terminal: a bar with stage, items, bytes, rate and time left. With `--json`: one JSON object a line on standard
//! error, at a bounded rate. Otherwise, and when quiet: only problems. Problems are printed when they happen.

use std::sync::Mutex;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;

use super::escape;
use super::output::{self, Format, Output, Talk};
use crate::clock::Env;
use crate::monitor::{Monitor, Problem};

/// JSON progress is reported at most this often.
const JSON_PERIOD: Duration = Duration::from_millis(500);

/// Shows an operation's progress.
pub(crate) struct Bar {
    out: Output,
    env: Env,
    face: Face,
    count: Mutex<Count>,
}

enum Face {
    None,
    Terminal(ProgressBar),
    Json,
}

#[derive(Debug, Default, Clone)]
struct Count {
    stage: String,
    items: u64,
    bytes: u64,
    total_items: u64,
    total_bytes: u64,
    started: Duration,
    reported: Option<Duration>,
}

impl Bar {
    /// A bar that fits where the output goes.
    pub(crate) fn new(out: Output, env: &Env) -> Self {
        let face = match (out.talk(), out.format()) {
            (Talk::Quiet, _) => Face::None,
            (Talk::Normal | Talk::Logging, Format::Json) => Face::Json,
            (Talk::Normal, Format::Human) if output::stderr_is_terminal() => Face::Terminal(terminal_bar()),
            (Talk::Normal | Talk::Logging, Format::Human) => Face::None,
        };
        Self { out, env: env.clone(), face, count: Mutex::default() }
    }

    /// Takes the bar off the screen; call it before results are printed.
    pub(crate) fn done(&self) {
        match &self.face {
            Face::Terminal(bar) => bar.finish_and_clear(),
            Face::Json => self.report_json(&self.counted(|_| ()), self.env.clock.boot()),
            Face::None => (),
        }
    }

    /// Changes the counters and returns them as they then are.
    fn counted(&self, change: impl FnOnce(&mut Count)) -> Count {
        // A thread that panicked with the lock in hand can have left nothing worse than a wrong number on the screen.
        let mut count = self.count.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        change(&mut count);
        count.clone()
    }

    fn show(&self, count: &Count) {
        match &self.face {
            Face::None => (),
            Face::Terminal(bar) => {
                bar.set_length(count.total_bytes.max(count.bytes));
                bar.set_position(count.bytes);
                bar.set_message(items_text(count));
            }
            Face::Json => {
                let now = self.env.clock.boot();
                if count.reported.is_none_or(|last| now.saturating_sub(last) >= JSON_PERIOD) {
                    self.report_json(count, now);
                }
            }
        }
    }

    fn report_json(&self, count: &Count, now: Duration) {
        if count.stage.is_empty() {
            return;
        }
        self.counted(|count| count.reported = Some(now));
        let seconds = now.saturating_sub(count.started).as_secs_f64();
        self.out.err_line(&progress_json(count, seconds));
    }

    fn say(&self, line: &str) {
        match &self.face {
            Face::Terminal(bar) => bar.suspend(|| self.out.err_line(line)),
            Face::None | Face::Json => self.out.err_line(line),
        }
    }
}

impl Drop for Bar {
    /// An operation that fails or is dropped leaves no bar behind.
    fn drop(&mut self) {
        if let Face::Terminal(bar) = &self.face {
            bar.finish_and_clear();
        }
    }
}

impl Monitor for Bar {
    fn stage(&self, name: &str) {
        let started = self.env.clock.boot();
        let count = self.counted(|count| *count = Count { stage: name.to_owned(), started, ..Count::default() });
        if let Face::Terminal(bar) = &self.face {
            bar.reset();
            bar.set_prefix(escape::text(name));
        }
        self.show(&count);
    }

    fn total(&self, items: u64, bytes: u64) {
        let count = self.counted(|count| {
            count.total_items = items;
            count.total_bytes = bytes;
        });
        self.show(&count);
    }

    fn advance(&self, items: u64, bytes: u64) {
        let count = self.counted(|count| {
            count.items = count.items.saturating_add(items);
            count.bytes = count.bytes.saturating_add(bytes);
        });
        self.show(&count);
    }

    fn problem(&self, problem: &Problem) {
        self.say(&match self.out.format() {
            Format::Json => json!({ "problem": problem }).to_string(),
            Format::Human => format!("problem: {}: {}", escape::text(&problem.what), escape::text(&problem.why)),
        });
    }

    fn note(&self, text: &str) {
        match &self.face {
            Face::Terminal(bar) => bar.suspend(|| self.out.note(text)),
            Face::None | Face::Json => self.out.note(text),
        }
    }
}

fn terminal_bar() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{prefix} {bar:20} {bytes}/{total_bytes} {msg} {binary_bytes_per_sec} ETA {eta}")
            .expect("the template is a literal, and a test draws it")
            .progress_chars("#>-");
    let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr_with_hz(5));
    bar.set_style(style);
    bar
}

fn items_text(count: &Count) -> String {
    match (count.items, count.total_items) {
        (0, 0) => String::new(),
        (items, 0) => format!("{items} items"),
        (items, total) => format!("{items}/{total} items"),
    }
}

fn progress_json(count: &Count, seconds: f64) -> String {
    json!({ "progress": {
        "stage": count.stage,
        "items": count.items,
        "total_items": count.total_items,
        "bytes": count.bytes,
        "total_bytes": count.total_bytes,
        "seconds": (seconds * 1000.0).round() / 1000.0,
    }})
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(talk: Talk, face: Face) -> Bar {
        let env = crate::cli::env::real();
        let mut bar = Bar::new(Output::new(Format::Human, talk), &env);
        bar.face = face;
        bar
    }

    #[test]
    fn counters_start_again_with_each_stage() {
        let bar = bar(Talk::Quiet, Face::None);
        bar.stage("read");
        bar.total(10, 1000);
        bar.advance(1, 100);
        bar.advance(1, 50);
        let count = bar.counted(|_| ());
        assert_eq!((count.items, count.bytes, count.total_items), (2, 150, 10));
        bar.stage("upload");
        assert_eq!(bar.counted(|_| ()).bytes, 0);
    }

    #[test]
    fn the_bar_can_be_drawn() {
        let terminal = terminal_bar();
        terminal.set_draw_target(ProgressDrawTarget::hidden());
        let bar = bar(Talk::Normal, Face::Terminal(terminal));
        bar.stage("fetch");
        bar.advance(3, 1 << 20);
        bar.total(5, 1 << 21);
        bar.done();
        assert_eq!(items_text(&bar.counted(|_| ())), "3/5 items");
    }

    #[test]
    fn json_progress_names_its_units() {
        let count = Count { stage: "fetch".into(), items: 2, bytes: 9, ..Count::default() };
        let shown: serde_json::Value = serde_json::from_str(&progress_json(&count, 1.23456)).expect("JSON");
        assert_eq!(shown["progress"]["stage"], "fetch");
        assert_eq!(shown["progress"]["seconds"], 1.235);
    }
}
