//! The operator's program that is run when something did not succeed.
//!
//! It learns what happened from its environment. It runs without a shell, for a bounded time, and never twice at once for
//! one step; whether it succeeds changes nothing but the log. No secret is handed to it.

use std::io::Read;

use super::host::Service;
use crate::config::Hook;
use crate::record::{Record, Status};
use crate::source::command::{CommandError, Program};
use crate::vault::chain;

/// Bytes of a hook's output that are read for the log; the rest is passed over.
const SHOWN: u64 = 4096;

impl Service {
    /// Runs the hook when the recorded run did not succeed.
    pub(super) async fn tell(&self, vault: &str, record: &Record) {
        let Some(hook) = self.config.on_failure.clone().filter(|_| record.status != Status::Ok) else { return };
        let variables = variables(vault, record);
        let ran = tokio::task::spawn_blocking(move || run(&hook, &variables)).await;
        match ran {
            Ok(Ok(printed)) => tracing::info!(run = %record.id, printed, "the failure hook ran"),
            Ok(Err(error)) => tracing::error!(run = %record.id, error = chain(&error), "the failure hook failed"),
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }
}

fn variables(vault: &str, record: &Record) -> Vec<(&'static str, String)> {
    let status = match record.status {
        Status::Ok => "ok",
        Status::Partial => "partial",
        Status::Failed => "failed",
    };
    let problem = record.problems.first().map(|problem| format!("{}: {}", problem.what, problem.why));
    vec![
        ("DRCTL_RUN", record.id.to_string()),
        ("DRCTL_KIND", record.work.kind().to_owned()),
        ("DRCTL_STATUS", status.to_owned()),
        ("DRCTL_PLAN", record.plan.clone().unwrap_or_default()),
        ("DRCTL_VAULT", vault.to_owned()),
        ("DRCTL_HOST", record.host.clone()),
        ("DRCTL_DUE", record.due.map(|due| due.to_string()).unwrap_or_default()),
        ("DRCTL_STARTED", record.started.to_string()),
        ("DRCTL_FINISHED", record.finished.to_string()),
        ("DRCTL_PROBLEMS", (record.problems.len() as u64 + record.problems_omitted).to_string()),
        // A variable cannot hold a NUL; a file's name in a problem cannot either, but its reason comes from anywhere.
        ("DRCTL_PROBLEM", problem.unwrap_or_default().replace('\0', " ")),
    ]
}

fn run(hook: &Hook, variables: &[(&'static str, String)]) -> Result<String, CommandError> {
    let program = Program::new(&hook.command)?.limit(hook.timeout.duration());
    let program = variables.iter().fold(program, |program, (name, value)| program.variable(name, value.as_str()));
    let mut output = program.start()?;
    let mut printed = Vec::new();
    // What it prints is for the log only; how it ended is what counts.
    let _ = output.reader.by_ref().take(SHOWN).read_to_end(&mut printed);
    let _ = std::io::copy(&mut output.reader, &mut std::io::sink());
    (output.finish)()?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}
